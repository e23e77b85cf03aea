//! The request target: its four forms, of which two are served everywhere and one by OPTIONS alone.
//!
//! A path is what several parties look at, each in its own way: proxies, this daemon, a function. Whatever two of
//! them could understand differently is refused here, and only then is the path handed on, as it was sent.

use super::BadRequest;
use super::host::is_authority;

/// A target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Begins with `/`; or it is `*`, and the request concerns the server and nothing on it.
    pub(super) path: &'a [u8],
    /// What follows the first `?`.
    pub(super) query: Option<&'a [u8]>,
    /// Host and port of a target in absolute form, which stand for those of the Host field.
    pub(super) authority: Option<&'a [u8]>,
}

/// Splits a target into its parts.
pub(super) fn take_apart<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, BadRequest> {
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(BadRequest::MethodNotServed);
    }
    // httparse has refused controls and spaces. A fragment never belongs on the wire.
    if !target.is_ascii() {
        return Err(BadRequest::Target);
    }
    let (resource, query) = match memchr::memchr2(b'?', b'#', target) {
        None => (target, None),
        Some(at) if target[at] == b'?' && memchr::memchr(b'#', &target[at..]).is_none() => {
            (&target[..at], Some(&target[at + 1..]))
        }
        Some(_) => return Err(BadRequest::Target),
    };
    if resource.first() == Some(&b'/') {
        check_path(resource)?;
        return Ok(Target { path: resource, query, authority: None });
    }
    if target == b"*" && method == b"OPTIONS" {
        return Ok(Target { path: target, query: None, authority: None });
    }
    absolute(method, resource, query)
}

/// `http://host:port/path`, which a client sends to a proxy and every server must understand.
fn absolute<'a>(
    method: &[u8],
    resource: &'a [u8],
    query: Option<&'a [u8]>,
) -> Result<Target<'a>, BadRequest> {
    if begins(resource, b"https://") {
        // RFC 9110, 7.4: what was asked for securely must not be answered on a connection that is not.
        return Err(BadRequest::SecureTarget);
    }
    if !begins(resource, b"http://") {
        return Err(BadRequest::TargetForm);
    }
    let rest = &resource[b"http://".len()..];
    let (authority, path) = rest.split_at(memchr::memchr(b'/', rest).unwrap_or(rest.len()));
    // User information is no part of a target any more (RFC 9110, 4.2.4): it serves to mislead.
    if matches!(authority.first(), None | Some(b':')) || !is_authority(authority) {
        return Err(BadRequest::TargetAuthority);
    }
    check_path(path)?;
    let path = match path {
        // RFC 9112, 3.2.4: what the last proxy would have turned into an asterisk.
        b"" if method == b"OPTIONS" && query.is_none() => b"*",
        b"" => b"/",
        path => path,
    };
    Ok(Target { path, query, authority: Some(authority) })
}

fn begins(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

/// Refuses broken percent encodings, `%00`, and segments that are `.` or `..`, however they are spelled: clients
/// resolve those before they send a request (RFC 3986, 5.2.4). An encoded slash ends a segment here, though it
/// separates nothing when requests are routed: somebody behind us may decode it.
fn check_path(path: &[u8]) -> Result<(), BadRequest> {
    if memchr::memchr2(b'%', b'.', path).is_none() {
        return Ok(());
    }
    let (mut length, mut dots) = (0_usize, 0_usize);
    let mut rest = path;
    loop {
        let byte = match rest {
            [] => b'/',
            [b'%', tail @ ..] => {
                rest = tail.get(2..).ok_or(BadRequest::PathEncoding)?;
                decoded(tail[0], tail[1]).filter(|byte| *byte != 0).ok_or(BadRequest::PathEncoding)?
            }
            [byte, tail @ ..] => {
                rest = tail;
                *byte
            }
        };
        if byte == b'/' {
            if length == dots && (1..=2).contains(&dots) {
                return Err(BadRequest::DotSegment);
            }
            (length, dots) = (0, 0);
            if rest.is_empty() {
                return Ok(());
            }
        } else {
            length += 1;
            dots += usize::from(byte == b'.');
        }
    }
}

/// The byte that two hexadecimal digits stand for.
pub(in crate::shard) fn decoded(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(target: &str) -> Result<Target<'_>, BadRequest> {
        take_apart(b"GET", target.as_bytes())
    }

    fn parts<'a>(path: &'a str, query: Option<&'a str>, authority: Option<&'a str>) -> Target<'a> {
        Target {
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            authority: authority.map(str::as_bytes),
        }
    }

    #[test]
    fn forms() {
        for (target, expected) in [
            ("/a/b?c", parts("/a/b", Some("c"), None)),
            ("/?", parts("/", Some(""), None)),
            ("/a?http://b/../c%", parts("/a", Some("http://b/../c%"), None)),
            ("http://h/a?b", parts("/a", Some("b"), Some("h"))),
            ("HTTP://h:80", parts("/", None, Some("h:80"))),
            ("http://h:?a/b", parts("/", Some("a/b"), Some("h:"))),
            ("http://[::1]:80/", parts("/", None, Some("[::1]:80"))),
        ] {
            assert_eq!(get(target), Ok(expected), "{target}");
        }
        for (target, why) in [
            ("*", BadRequest::TargetForm),
            ("*?a", BadRequest::TargetForm),
            ("a", BadRequest::TargetForm),
            ("?a", BadRequest::TargetForm),
            ("h:80", BadRequest::TargetForm),
            ("http:/h/", BadRequest::TargetForm),
            ("ftp://h/", BadRequest::TargetForm),
            ("https://h/", BadRequest::SecureTarget),
            ("http://", BadRequest::TargetAuthority),
            ("http:///a", BadRequest::TargetAuthority),
            ("http://:80/", BadRequest::TargetAuthority),
            ("http://a@h/", BadRequest::TargetAuthority),
            ("http://h:8x/", BadRequest::TargetAuthority),
            ("http://h/../", BadRequest::DotSegment),
            ("http://h/#a", BadRequest::Target),
        ] {
            assert_eq!(get(target), Err(why), "{target}");
        }
    }

    #[test]
    fn the_server_itself() {
        let server = parts("*", None, None);
        assert_eq!(take_apart(b"OPTIONS", b"*"), Ok(server));
        assert_eq!(take_apart(b"OPTIONS", b"http://h"), Ok(Target { authority: Some(b"h"), ..server }));
        assert_eq!(take_apart(b"OPTIONS", b"http://h/").map(|target| target.path), Ok(&b"/"[..]));
        assert_eq!(take_apart(b"OPTIONS", b"*?a"), Err(BadRequest::TargetForm));
        assert_eq!(take_apart(b"options", b"*"), Err(BadRequest::TargetForm));
    }

    #[test]
    fn paths() {
        for path in
            ["/a.b", "/...", "/.a", "/a..", "/a%2e", "/..a/b", "/%2e%2e%2e", "/%2f", "/a%20b/%FF", "//"]
        {
            assert_eq!(get(path).map(|target| target.path), Ok(path.as_bytes()), "{path}");
        }
        for path in
            ["/.", "/..", "/a/./b", "/a/../b", "/%2e", "/%2E%2e", "/.%2e/", "/a%2f..", "/..%2Fa", "//./"]
        {
            assert_eq!(get(path), Err(BadRequest::DotSegment), "{path}");
        }
        for path in ["/%", "/%2", "/%2/a", "/%zz", "/%%32", "/%00", "/a%0", "/%+1", "/a/%2e%"] {
            assert_eq!(get(path), Err(BadRequest::PathEncoding), "{path}");
        }
    }

    proptest! {
        /// What is let through has no segment that anybody could resolve, however often it is decoded.
        #[test]
        fn no_accepted_path_climbs(path in "/([a./]|%2[eEfF]|%00|%41|%4?){0,12}") {
            let accepted = get(&path).is_ok();
            let mut decoded = Vec::new();
            let mut rest = path.as_bytes();
            while let [byte, tail @ ..] = rest {
                let octet = if *byte == b'%' { tail.get(..2).and_then(|pair| super::decoded(pair[0], pair[1])) } else { None };
                decoded.push(octet.unwrap_or(*byte));
                rest = if octet.is_some() { &tail[2..] } else { tail };
            }
            let climbs = decoded.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b".."));
            let broken = path.match_indices('%').any(|(at, _)| {
                let digits = path.as_bytes().get(at + 1..at + 3);
                digits.is_none_or(|digits| !digits.iter().all(u8::is_ascii_hexdigit))
            });
            prop_assert_eq!(accepted, !climbs && !broken && !decoded.contains(&0));
        }
    }
}
