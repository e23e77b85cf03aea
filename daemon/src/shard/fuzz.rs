//! What clients send and functions answer, arbitrary: heads, chunked bodies, routes, responses.
//!
//! Two ways to the same verdict are compared wherever there are two: in one piece and byte by byte, the router's short
//! way and its long one, what was read and what is read of it once it is written down again.

use std::sync::Arc;

use hairtrigger_sandbox::limits::{
    MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS, MAX_TRAILER_FIELDS,
};

use super::chunked::{self, ChunkError};
use super::parse::{self, BadRequest, BodyLength, Version, decoded, is_token_byte};
use super::reply::{BadResponse, Framing, HeaderRule, header_rule, valid_header, write_response};
use super::route::{NoRoute, Pattern, Route, Router, Target};

type Owned = parse::pieces::Owned;

const ID: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

// ---- heads -----------------------------------------------------------------------------------

pub(crate) fn head(input: &[u8]) {
    let verdict = parse::pieces::whole(input);
    let byte_by_byte = parse::pieces::in_pieces(input, 0..input.len());
    assert_eq!(byte_by_byte, verdict, "a verdict depends on how the input was split");
    let middle = input.len() / 2;
    assert_eq!(parse::pieces::in_pieces(input, [middle]), verdict);
    if verdict != Ok(None) {
        let longer = [input, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse::pieces::whole(&longer), verdict, "a verdict depends on what follows");
    }
    match verdict {
        Err(bad) => assert!((400..=599).contains(&bad.status()) && bad.to_string().ends_with('.')),
        Ok(None) => assert!(input.len() < MAX_HEAD),
        Ok(Some(head)) => {
            check_head(&head, input);
            written_down(&head);
            let resolved =
                router().resolve(head.method.as_bytes(), head.host.as_deref(), head.path.as_bytes());
            check_resolved(router(), &head, resolved);
        }
    }
}

fn values<'h>(head: &'h Owned, name: &str) -> Vec<&'h [u8]> {
    let named = head.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| &value[..]).collect()
}

fn check_head(head: &Owned, input: &[u8]) {
    assert!(head.head_len <= input.len().min(MAX_HEAD) && head.headers.len() <= MAX_HEADERS);
    assert!(input[..head.head_len].ends_with(b"\r\n\r\n"));
    assert!(head.method.len() + head.path.len() < MAX_REQUEST_LINE);
    assert!(head.method.bytes().all(is_token_byte) && !head.method.is_empty());
    for (name, value) in &head.headers {
        assert!(valid_header(name.as_bytes(), value), "{name:?}");
        assert_eq!(value.trim_ascii(), value);
    }
    // Nothing that two parties could frame differently.
    let (lengths, codings) = (values(head, "content-length"), values(head, "transfer-encoding"));
    let framed = match head.body {
        BodyLength::None => lengths.is_empty() && codings.is_empty(),
        BodyLength::Length(length) => {
            let said = lengths.first().and_then(|said| str::from_utf8(said).ok()?.parse().ok());
            lengths.len() == 1 && codings.is_empty() && said == Some(length)
        }
        BodyLength::Chunked => {
            codings.len() == 1 && lengths.is_empty() && codings[0].eq_ignore_ascii_case(b"chunked")
        }
    };
    assert!(framed, "{head:?}");
    let hosts = values(head, "host");
    assert!(hosts.len() <= 1 && (head.version == Version::Http10 || head.host.is_some()));
    if let [host] = hosts[..] {
        assert_eq!(head.host.as_deref(), Some(host));
    }
    // A path that means the same to whoever decodes it, once.
    assert!(head.path.starts_with('/') || (head.path == "*" && head.method == "OPTIONS"));
    let mut plain = Vec::new();
    let mut rest = head.path.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, behind @ ..]) = (byte, tail) {
            plain.push(decoded(*high, *low).expect("two digits"));
            rest = behind;
        } else {
            assert!(byte.is_ascii_graphic() && !b"%?#".contains(byte), "{}", head.path);
            plain.push(*byte);
        }
    }
    assert!(!plain.contains(&0));
    assert!(
        plain.split(|&byte| byte == b'/').all(|segment| segment != b"." && segment != b".."),
        "{}",
        head.path
    );
}

/// A head that was read is one still when it is written down again, and says the same.
fn written_down(head: &Owned) {
    let query = head.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    let version = if head.version == Version::Http11 { "1.1" } else { "1.0" };
    let mut text = format!("{} {}{query} HTTP/{version}\r\n", head.method, head.path).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    // A host that only the target had is said nowhere else; HTTP/1.0 needs none.
    let host = head.host.clone().filter(|_| !values(head, "host").is_empty());
    let expected = Owned { head_len: text.len(), host, ..head.clone() };
    assert_eq!(parse::pieces::whole(&text), Ok(Some(expected)));
}

fn router() -> &'static Router {
    static ROUTER: std::sync::LazyLock<Router> = std::sync::LazyLock::new(|| {
        let routes = ["GET /users/{id}", "/files/{path...}", "h/{x}/b", "POST /a%2fb/{$}", "/hello/special"];
        let routes: Arc<[Pattern]> = routes.iter().map(|route| Pattern::parse(route).unwrap()).collect();
        let functions = [(0, "hello", None), (1, "routed", Some(&routes)), (2, "a", None)];
        Router::new(functions).expect("no conflicts")
    });
    &ROUTER
}

fn check_resolved(router: &Router, head: &Owned, resolved: Result<Route<'_>, NoRoute>) {
    let (method, path) = (head.method.as_bytes(), head.path.as_bytes());
    let at_length = router.resolve_at_length(method, head.host.as_deref(), path);
    assert_eq!(resolved, at_length, "the short way leads elsewhere: {head:?}");
    match resolved {
        Ok(Route::Function(target)) => {
            for (field, value) in router.pattern(target).into_iter().flat_map(|pattern| pattern.values(path))
            {
                assert!(valid_header(field.as_bytes(), &value), "{field}");
                assert!(str::from_utf8(&value).is_ok_and(|text| !text.contains(char::is_control)));
            }
        }
        Ok(Route::System(rest)) => assert!(path.starts_with(b"/_/") && path.ends_with(rest)),
        Ok(Route::Server) => assert_eq!(path, b"*"),
        Err(NoRoute::MethodNotAllowed { allow }) => {
            // OPTIONS goes nowhere unless a function says so, and is answered with what there is.
            let others = allow.split(", ").filter(|method| *method != "OPTIONS");
            assert!(others.into_iter().all(|method| method.as_bytes() != head.method.as_bytes()), "{allow}");
        }
        Err(NoRoute::NoSuchFunction { sentence, .. } | NoRoute::Undecodable { sentence }) => {
            assert!(!sentence.is_empty() && !sentence.contains(char::is_control), "{sentence:?}");
        }
    }
}

// ---- bodies ----------------------------------------------------------------------------------

pub(crate) fn body(input: &[u8]) {
    let Some((&limit, input)) = input.split_first() else { return };
    let limit = if limit == u8::MAX { u64::MAX } else { u64::from(limit) };
    let verdict = chunked::pieces::in_pieces(input, [], limit);
    assert_eq!(chunked::pieces::in_pieces(input, 0..input.len(), limit), verdict, "it depends on the pieces");
    let (Ok((data, _)) | Err((data, _))) = &verdict;
    assert!(data.len() as u64 <= limit && data.len() <= input.len());
    let Ok((data, Some((trailers, count, consumed)))) = verdict else { return };
    assert!(input[..consumed].ends_with(b"\r\n") && count as usize <= MAX_TRAILER_FIELDS);
    // The same in one chunk, with the trailers that were kept.
    let mut text = Vec::new();
    if !data.is_empty() {
        text.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        text.extend_from_slice(&data);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n");
    let (mut rest, mut seen) = (&trailers[..], 0);
    while let [a, b, c, d, more @ ..] = rest {
        let (name, more) = more.split_at(usize::from(u16::from_ne_bytes([*a, *b])));
        let (value, more) = more.split_at(usize::from(u16::from_ne_bytes([*c, *d])));
        assert!(
            valid_header(name, value) && chunked::may_trail(name) && !name.iter().any(u8::is_ascii_uppercase)
        );
        text.extend_from_slice(&[name, b":", value, b"\r\n"].concat());
        (rest, seen) = (more, seen + 1);
    }
    assert!(rest.is_empty() && seen == count);
    text.extend_from_slice(b"\r\n");
    let again = Ok((data, Some((trailers, count, text.len()))));
    assert_eq!(chunked::pieces::in_pieces(&text, [], limit), again);
}

// ---- routes ----------------------------------------------------------------------------------

/// Lines: routes of a function, an empty one, and requests as `METHOD host/path`.
pub(crate) fn routes(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (said, asked) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut routes = Vec::new();
    for line in said.lines().take(16) {
        match Pattern::parse(line) {
            Ok(pattern) => {
                assert_eq!(pattern.as_str(), line);
                routes.push(pattern);
            }
            Err(rule) => assert!(!rule.is_empty()),
        }
    }
    let routes: Arc<[Pattern]> = routes.into();
    let functions = [(0, "hello", None), (1, "routed", Some(&routes)), (2, "a", None)];
    let router = match Router::new(functions) {
        Ok(router) => router,
        Err(conflict) => {
            assert!(conflict.to_string().contains("neither is more specific"));
            return;
        }
    };
    for line in asked.lines().take(16) {
        let Some((method, place)) = line.split_once(' ') else { continue };
        let Some(slash) = place.find('/') else { continue };
        let (host, path) = place.split_at(slash);
        // Only what the parser lets through comes to a router.
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let Ok(Some(head)) = parse::pieces::whole(text.as_bytes()) else { continue };
        let resolved = router.resolve(head.method.as_bytes(), head.host.as_deref(), head.path.as_bytes());
        if let Ok(Route::Function(Target { function, route })) = resolved {
            assert!(function < 3 && (route == Target::DEFAULT) == (function != 1));
        }
        check_resolved(&router, &head, resolved);
    }
}

// ---- answers ---------------------------------------------------------------------------------

/// What a function gives, of its reply everything but the body: status, options, and lines of a name and a value.
pub(crate) fn answer(input: &[u8]) {
    let [low, high, options, length, fields @ ..] = input else { return };
    let (status, body_len) = (u16::from_le_bytes([*low, *high]), u64::from(*length));
    let framing = Framing {
        keep_alive: options & 1 != 0,
        http10: options & 2 != 0,
        takes_trailers: options & 6 == 4,
        head_only: options & 8 != 0,
        date: (options & 16 != 0).then_some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
    };
    let field = |line: &'_ [u8]| {
        let colon = memchr::memchr(b'=', line).unwrap_or(line.len());
        (line[..colon].to_vec(), line.get(colon + 1..).unwrap_or_default().to_vec())
    };
    // Not at line ends: those are what a function would forge a field with.
    let parts: Vec<_> = fields.split(|&byte| byte == 0xFF).map(field).take(MAX_RESPONSE_HEADERS).collect();
    let length_in_all: usize = parts.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    if length_in_all > MAX_RESPONSE_HEAD {
        return;
    }
    let (headers, trailers) = parts.split_at(parts.len().min(usize::from(options >> 5)));
    let mut out = b"before".to_vec();
    let written = write_response(
        &mut out,
        status,
        headers.iter().map(|(name, value)| (&name[..], &value[..])),
        trailers.iter().map(|(name, value)| (&name[..], &value[..])),
        ID,
        framing,
        body_len,
    );
    let valid = |fields: &[(Vec<u8>, Vec<u8>)]| fields.iter().all(|(name, value)| valid_header(name, value));
    match written {
        Err(bad) => {
            assert_eq!(out, b"before", "a refused answer leaves nothing behind");
            match bad {
                BadResponse::Status => assert!(!(200..=599).contains(&status)),
                BadResponse::Field => assert!(!valid(headers) || !valid(trailers)),
            }
        }
        Ok(follows) => {
            assert!(valid(headers) && valid(trailers) && (200..=599).contains(&status));
            let mut bytes = out.split_off(b"before".len());
            if follows.body {
                bytes.extend(std::iter::repeat_n(b'x', usize::from(*length)));
            }
            bytes.extend_from_slice(&follows.tail);
            check_answer(&bytes, status, headers, body_len, follows.body);
        }
    }
}

/// The bytes are one answer, as another parser reads them, with the function's fields and no others of its making.
fn check_answer(bytes: &[u8], status: u16, headers: &[(Vec<u8>, Vec<u8>)], body_len: u64, body: bool) {
    let mut fields = [httparse::EMPTY_HEADER; 300];
    let mut response = httparse::Response::new(&mut fields);
    let head_len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        other => panic!("{other:?} of {}", bytes.escape_ascii()),
    };
    assert_eq!(response.code, Some(status));
    let named = |name: &str| -> Vec<&[u8]> {
        let named = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    assert_eq!(named("x-hairtrigger-invocation"), [ID]);
    assert!(named("content-length").len() + named("transfer-encoding").len() <= 1, "framed twice");
    assert!(named("connection").len() <= 1 && named("date").len() <= 1);
    let passed = |name: &[u8]| header_rule(name) == HeaderRule::Pass;
    let given: Vec<_> = headers.iter().filter(|(name, _)| passed(name)).collect();
    let sent: Vec<_> = response.headers.iter().filter(|field| passed(field.name.as_bytes())).collect();
    assert_eq!(sent.len(), given.len());
    for (sent, (name, value)) in sent.iter().zip(given) {
        assert_eq!((sent.name.as_bytes(), sent.value.trim_ascii()), (&name[..], value.trim_ascii()));
    }
    let rest = &bytes[head_len..];
    match (&named("content-length")[..], &named("transfer-encoding")[..]) {
        ([length], []) => {
            assert_eq!(*length, body_len.to_string().as_bytes());
            assert_eq!(rest.len() as u64, if body { body_len } else { 0 });
        }
        ([], [b"chunked"]) if body => {
            match chunked::pieces::in_pieces(rest, [], body_len) {
                Ok((data, Some((_, _, consumed)))) => {
                    assert_eq!((data.len() as u64, consumed), (body_len, rest.len()));
                }
                // A function may send more of them than a client may.
                Err((data, ChunkError::Bad(BadRequest::TrailersTooLong))) => {
                    assert_eq!(data.len() as u64, body_len);
                }
                other => panic!("{other:?} of {}", rest.escape_ascii()),
            }
        }
        ([], [b"chunked"] | []) => assert!(rest.is_empty()),
        _ => unreachable!("framed once, or not at all"),
    }
}
