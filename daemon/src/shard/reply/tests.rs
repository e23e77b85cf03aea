use hairtrigger_sandbox::channel::RequestView;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::shard::chunked::Decoder;

const ID: &InvocationId = b"0123456789abcdef0123456789abcdef";
const DATE: &HttpDate = b"Sun, 06 Nov 1994 08:49:37 GMT";
const PLAIN: Framing<'static> =
    Framing { keep_alive: true, http10: false, takes_trailers: false, head_only: false, date: None };

fn respond(status: u16, headers: &[(&str, &str)], framing: Framing<'_>, body_len: u64) -> (String, bool) {
    let mut out = Vec::new();
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let follows = write_response(&mut out, status, headers, [], ID, framing, body_len).unwrap();
    assert!(follows.tail.is_empty());
    (String::from_utf8(out).unwrap(), follows.body)
}

#[test]
fn a_response_is_written() {
    let framing = Framing { keep_alive: false, date: Some(DATE), ..PLAIN };
    let (head, body) = respond(200, &[("content-type", "text/plain"), ("x-empty", "")], framing, 1234);
    assert_eq!(
        head,
        "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\
         content-type: text/plain\r\nx-empty: \r\n\
         x-hairtrigger-invocation: 0123456789abcdef0123456789abcdef\r\ncontent-length: 1234\r\n\r\n"
    );
    assert!(body);
}

#[test]
fn bodies_follow_where_http_has_them() {
    for (status, head_only, length, body) in [
        (200, false, true, true),
        (200, true, true, false),
        (204, false, false, false),
        (304, false, false, false),
        (304, true, false, false),
        (599, false, true, true),
    ] {
        let (head, follows) = respond(status, &[], Framing { head_only, ..PLAIN }, 7);
        assert_eq!((head.contains("content-length: 7\r\n"), follows), (length, body), "{status} {head_only}");
    }
}

#[test]
fn trailers_make_the_body_a_chunk_for_those_who_take_them() {
    let write = |status, framing, trailers: &[(&'static str, &'static str)], body_len| {
        let mut out = Vec::new();
        let trailers = trailers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let follows = write_response(&mut out, status, [], trailers, ID, framing, body_len).unwrap();
        let head = String::from_utf8(out).unwrap();
        let (_, rest) = head.split_once("cdef\r\n").unwrap();
        (rest.to_owned(), follows.body, String::from_utf8(follows.tail).unwrap())
    };
    let text = |rest: &str, body, tail: &str| (rest.to_owned(), body, tail.to_owned());
    let takes = Framing { takes_trailers: true, ..PLAIN };
    let sum = [("x-sum", "1"), ("Set-Cookie", "a"), ("x-b", "")];
    let head = "trailer: x-sum, x-b\r\ntransfer-encoding: chunked\r\n\r\n";
    let tail = "0\r\nx-sum: 1\r\nx-b: \r\n\r\n";
    assert_eq!(write(200, takes, &sum, 300), text(&format!("{head}12c\r\n"), true, &format!("\r\n{tail}")));
    assert_eq!(write(200, takes, &sum, 0), text(head, true, tail));
    assert_eq!(write(200, Framing { head_only: true, ..takes }, &sum, 5), text(head, false, ""));
    assert_eq!(write(204, takes, &sum, 0), text("\r\n", false, ""));
    assert_eq!(write(200, takes, &[("date", "x")], 5), text("content-length: 5\r\n\r\n", true, ""));
    assert_eq!(write(200, PLAIN, &sum, 5), text("content-length: 5\r\n\r\n", true, ""));
}

#[test]
fn the_connection_is_spoken_of_where_it_must_be() {
    for (keep_alive, http10, says) in [
        (true, false, None),
        (true, true, Some("connection: keep-alive\r\n")),
        (false, false, Some("connection: close\r\n")),
        (false, true, Some("connection: close\r\n")),
    ] {
        let (head, _) = respond(200, &[], Framing { keep_alive, http10, ..PLAIN }, 0);
        match says {
            Some(line) => assert!(head.contains(line), "{head}"),
            None => assert!(!head.contains("connection"), "{head}"),
        }
    }
}

#[test]
fn a_function_cannot_frame_the_message_or_speak_for_the_daemon() {
    let reserved = [
        "Connection",
        "keep-alive",
        "TRANSFER-ENCODING",
        "Content-Length",
        "upgrade",
        "te",
        "Trailer",
        "Date",
        "proxy-connection",
        "Proxy-Authenticate",
        "x-hairtrigger-invocation",
        "X-HairTrigger-Anything",
    ];
    for name in reserved {
        assert_eq!(header_rule(name.as_bytes()), HeaderRule::Reserved, "{name}");
        let (head, _) = respond(200, &[(name, "forged")], PLAIN, 0);
        assert!(!head.contains("forged"), "{head}");
    }
    for name in ["content-type", "dates", "t", "proxy", "x-hairtrigger", "set-cookie", "server"] {
        assert_eq!(header_rule(name.as_bytes()), HeaderRule::Pass, "{name}");
    }
}

#[test]
fn a_bad_response_leaves_nothing_behind() {
    let bad_fields: &[(&[u8], &[u8])] = &[
        (b"", b"v"),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"a\r\nb", b"v"),
        (b"\xe9", b"v"),
        (b"a", b"v\r\nset-cookie: stolen"),
        (b"a", b"v\n"),
        (b"a", b"\0"),
        (b"a", b"\x7f"),
        // Reserved names are validated too.
        (b"date", b"\r\n\r\n"),
    ];
    for &(name, value) in bad_fields {
        let mut out = b"before".to_vec();
        let headers = [(&b"fine"[..], &b"value"[..]), (name, value)];
        let result = write_response(&mut out, 200, headers, [], ID, PLAIN, 0);
        assert_eq!((result, &out[..]), (Err(BadResponse::Field), &b"before"[..]), "{name:?}: {value:?}");
        // Whether the client takes trailers makes no difference to what a function may give.
        for takes_trailers in [false, true] {
            let framing = Framing { takes_trailers, ..PLAIN };
            let result = write_response(&mut out, 200, [], headers, ID, framing, 0);
            assert_eq!((result, &out[..]), (Err(BadResponse::Field), &b"before"[..]), "{name:?}: {value:?}");
        }
    }
    for status in [0, 100, 199, 600, 65535] {
        let mut out = b"before".to_vec();
        let result = write_response(&mut out, status, [], [], ID, PLAIN, 0);
        assert_eq!((result, &out[..]), (Err(BadResponse::Status), &b"before"[..]), "{status}");
    }
}

fn fault() -> ErrorAnswer<'static> {
    ErrorAnswer {
        status: 502,
        outcome: "fault",
        function: Some("hello"),
        invocation: Some(ID),
        sentence: "Function hello crashed.",
        as_text: false,
        retry_after: None,
        allow: None,
        framing: PLAIN,
    }
}

fn answer(answer: &ErrorAnswer<'_>) -> String {
    let mut out = Vec::new();
    write_error(&mut out, answer);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_error_is_json_unless_text_is_preferred() {
    assert_eq!(
        answer(&fault()),
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n\
         x-hairtrigger-invocation: 0123456789abcdef0123456789abcdef\r\ncontent-length: 123\r\n\r\n\
         {\"outcome\":\"fault\",\"function\":\"hello\",\
         \"invocation\":\"0123456789abcdef0123456789abcdef\",\"message\":\"Function hello crashed.\"}\n"
    );
    let text = ErrorAnswer { as_text: true, invocation: None, retry_after: Some(2), ..fault() };
    assert_eq!(
        answer(&text),
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
         x-content-type-options: nosniff\r\nretry-after: 2\r\ncontent-length: 24\r\n\r\nFunction hello crashed.\n"
    );
    let bare = ErrorAnswer { function: None, invocation: None, allow: Some("GET, HEAD"), ..fault() };
    let bare = answer(&bare);
    assert!(bare.contains("allow: GET, HEAD\r\n"), "{bare}");
    assert!(bare.ends_with("{\"outcome\":\"fault\",\"message\":\"Function hello crashed.\"}\n"), "{bare}");
    let head = answer(&ErrorAnswer { framing: Framing { head_only: true, ..PLAIN }, ..fault() });
    assert!(head.ends_with("content-length: 123\r\n\r\n"), "{head}");
}

#[test]
fn text_does_not_command_a_terminal() {
    let text = answer(&ErrorAnswer { as_text: true, sentence: "a\x1b[2J\r\nb\u{9b}", ..fault() });
    assert!(text.ends_with("\r\n\r\na\u{fffd}[2J\u{fffd}\u{fffd}b\u{fffd}\n"), "{text:?}");
}

/// What a client reads: status, fields, and where the body begins.
fn read(out: &[u8]) -> (u16, Vec<(String, Vec<u8>)>, usize) {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let len = response.parse(out).unwrap().unwrap();
    let fields = response.headers.iter().map(|h| (h.name.to_owned(), h.value.to_vec())).collect();
    (response.code.unwrap(), fields, len)
}

proptest! {
    #[test]
    fn what_was_written_reads_back(
        status in 200..600_u16,
        fields in vec(("[a-z0-9!#$%&'*+.^_`|~-]{1,20}", "([!-~\u{a0}-\u{ff}]([ -~\t]{0,20}[!-~])?)?"), 0..20),
        body_len in any::<u64>(),
        (keep_alive, http10, head_only, date) in any::<(bool, bool, bool, bool)>(),
    ) {
        let mut out = b"the answer before".to_vec();
        let start = out.len();
        let framing = Framing { keep_alive, http10, head_only, date: date.then_some(DATE), ..PLAIN };
        let given: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let trailers = [(&b"x-sum"[..], &b"1"[..])];
        let follows = write_response(&mut out, status, given.iter().copied(), trailers, ID, framing, body_len);
        let Follows { body, tail } = follows.unwrap();
        prop_assert!(tail.is_empty(), "trailers are for those who ask for them");
        let (code, read, len) = read(&out[start..]);
        prop_assert_eq!((code, len), (status, out.len() - start));
        let bodiless = status == 204 || status == 304;
        prop_assert_eq!(body, !bodiless && !head_only);

        let own = ["date", "connection", "x-hairtrigger-invocation", "content-length"];
        let passed: Vec<_> = read.iter().filter(|(n, _)| !own.contains(&n.as_str())).cloned().collect();
        let expected: Vec<_> = fields
            .iter()
            .filter(|(name, _)| header_rule(name.as_bytes()) == HeaderRule::Pass)
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        prop_assert_eq!(passed, expected);
        let one = |name: &str| read.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        prop_assert_eq!(one("x-hairtrigger-invocation"), vec![ID.to_vec()]);
        let length = if bodiless { vec![] } else { vec![body_len.to_string().into_bytes()] };
        prop_assert_eq!(one("content-length"), length);
        prop_assert_eq!(one("date").len(), usize::from(date));
    }

    /// Whatever a function gives, there is one head, ending where it should, or none.
    #[test]
    fn hostile_fields_add_nothing(name in vec(any::<u8>(), 0..8), value in vec(any::<u8>(), 0..8)) {
        let mut out = Vec::new();
        let result = write_response(&mut out, 200, [(&name[..], &value[..])], [], ID, PLAIN, 0);
        prop_assert_eq!(result.is_ok(), valid_header(&name, &value));
        if result.is_ok() {
            let (_, fields, len) = read(&out);
            prop_assert!(fields.len() <= 3 && len == out.len());
        }
    }

    /// A body with trailers is chunked, and reads back by the decoder for requests.
    #[test]
    fn trailers_read_back(
        fields in vec(("x-[a-z]{0,5}", "([!-~]([ -~]{0,20}[!-~])?)?"), 1..5),
        reserved in prop::sample::select(vec!["content-length", "set-cookie", "date", "x-hairtrigger-a", "x-last"]),
        body in vec(any::<u8>(), 0..40),
    ) {
        let mut out = Vec::new();
        let given = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let given = given.chain([(reserved.as_bytes(), &b"7"[..])]);
        let framing = Framing { takes_trailers: true, ..PLAIN };
        let follows = write_response(&mut out, 200, [], given, ID, framing, body.len() as u64).unwrap();
        let (_, head, at) = read(&out);
        out.extend_from_slice(&body);
        out.extend_from_slice(&follows.tail);
        let mut expected: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        expected.extend((reserved == "x-last").then_some(("x-last", "7")));
        let one = |name: &str| head.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(one("trailer"), vec![names.join(", ").into_bytes()]);
        prop_assert_eq!(one("transfer-encoding"), vec![b"chunked".to_vec()]);
        prop_assert!(follows.body && one("content-length").is_empty());
        let (mut decoder, mut data) = (Decoder::default(), Vec::new());
        let decoded = decoder.decode(&out[at..], &mut data, body.len() as u64).unwrap();
        prop_assert_eq!((decoded.consumed, decoded.done, data), (out.len() - at, true, body));
        let mut encoded = Vec::new();
        for (name, value) in expected {
            RequestView::encode_header(&mut encoded, name.as_bytes(), value.as_bytes());
        }
        prop_assert_eq!(decoder.trailers().0, encoded);
    }

    #[test]
    fn an_error_reads_back(sentence in any::<String>(), function in any::<String>(), as_text in any::<bool>()) {
        let mut out = Vec::new();
        write_error(&mut out, &ErrorAnswer { sentence: &sentence, function: Some(&function), as_text, ..fault() });
        let (code, fields, len) = read(&out);
        let body = &out[len..];
        prop_assert_eq!(code, 502);
        prop_assert!(fields.contains(&("content-length".to_owned(), body.len().to_string().into_bytes())));
        if !as_text {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            prop_assert_eq!(body["message"].as_str(), Some(&sentence[..]));
            prop_assert_eq!(body["function"].as_str(), Some(&function[..]));
        }
    }
}
