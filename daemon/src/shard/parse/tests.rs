use proptest::collection::vec;
use proptest::prelude::*;

use super::pieces::{Owned, in_pieces, whole, with};
use super::*;

fn accept(input: impl AsRef<[u8]>) -> Owned {
    let input = input.as_ref();
    match whole(input) {
        Ok(Some(head)) => head,
        other => panic!("{:?} for {}", other, String::from_utf8_lossy(input)),
    }
}

fn get(fields: &str) -> Owned {
    accept(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
}

#[test]
fn a_request_is_taken_apart() {
    let input = "POST /hello/a%20b?x=1&y=?z HTTP/1.1\r\nhOsT: example.org:8080\r\nContent-Length:  12 \t\r\n\
         Accept: text/plain\r\nExpect: 100-Continue\r\nX-Empty:\r\nX-Latin: \u{e9}\r\n\r\nbody";
    let head = accept(input);
    let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let expected = Owned {
        method: "POST".into(),
        path: "/hello/a%20b".into(),
        query: Some("x=1&y=?z".into()),
        version: Version::Http11,
        headers: vec![
            field("hOsT", "example.org:8080"),
            field("Content-Length", "12"),
            field("Accept", "text/plain"),
            field("Expect", "100-Continue"),
            field("X-Empty", ""),
            field("X-Latin", "\u{e9}"),
        ],
        host: Some(b"example.org:8080".to_vec()),
        body: BodyLength::Length(12),
        keep_alive: true,
        expect_continue: true,
        prefers_text: true,
        takes_trailers: false,
        head_len: input.len() - "body".len(),
    };
    assert_eq!(head, expected);
}

#[test]
fn accepted() {
    for input in [
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /? HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET //a;b=c,d:@!$&'()*+ HTTP/1.1\r\nHost: h\r\n\r\n",
        "M-SEARCH~!#$%&'*+.^_`| / HTTP/1.1\r\nHost: h\r\n\r\n",
        "get / HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 000000000000000000000000000005\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\tb  c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a:b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent_Length: nonsense\r\n\r\n",
    ] {
        let head = accept(input);
        assert_eq!(head.head_len, input.len());
        for end in 0..input.len() {
            assert_eq!(whole(&input.as_bytes()[..end]), Ok(None), "{:?}", &input[..end]);
        }
    }
}

#[test]
fn refused() {
    use BadRequest as B;
    for (input, why) in [
        // request line
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", B::EmptyLines),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", B::BareLineFeed),
        ("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", B::BareLineFeed),
        ("GET / HTTP/1.1\r\n\n", B::BareLineFeed),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET / HTTP/1.10\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET / HTTP/1\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET /\r\n", B::RequestLine),
        ("GET\r\n", B::RequestLine),
        ("GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", B::Version),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", B::Version),
        ("GET / HTTP/0.9\r\n\r\n", B::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", B::Version),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        ("G\u{e9}T / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        ("\x16\x03\x01", B::Method),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", B::MethodNotServed),
        ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", B::MethodNotServed),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", B::TargetForm),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", B::TargetForm),
        ("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", B::SecureTarget),
        ("GET http://a@h/ HTTP/1.1\r\nHost: h\r\n\r\n", B::TargetAuthority),
        ("GET http://h/ HTTP/1.1\r\n\r\n", B::MissingHost),
        ("GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n", B::DotSegment),
        ("GET /a/%2e%2E/b HTTP/1.1\r\nHost: h\r\n\r\n", B::DotSegment),
        ("GET /100% HTTP/1.1\r\nHost: h\r\n\r\n", B::PathEncoding),
        ("GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", B::PathEncoding),
        ("GET hello HTTP/1.1\r\nHost: h\r\n\r\n", B::TargetForm),
        ("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /\t HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        ("GET /\rX HTTP/1.1\r\nHost: h\r\n\r\n", B::Target),
        // fields
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", B::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\n\r\n", B::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: h\r\nA:\nB: c\r\n\r\n", B::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n", B::FieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0\r\n\r\n", B::FieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n", B::FieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: \x1b[1m\r\n\r\n", B::FieldValue),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n", B::FoldedLine),
        ("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", B::FoldedLine),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", B::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length\t: 5\r\n\r\n", B::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nHost: h\r\n: v\r\n\r\n", B::FieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", B::FieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA B: v\r\n\r\n", B::FieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\0: v\r\n\r\n", B::FieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\r: v\r\n\r\n", B::FieldName),
        ("GET / HTTP/1.1\r\nHost: h\r\n\u{e9}: v\r\n\r\n", B::FieldName),
        // Host
        ("GET / HTTP/1.1\r\n\r\n", B::MissingHost),
        ("GET / HTTP/1.1\r\nHost: h\r\nHOST: h\r\n\r\n", B::RepeatedHost),
        ("GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", B::RepeatedHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", B::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", B::Host),
        ("GET / HTTP/1.1\r\nHost: user@h\r\n\r\n", B::Host),
        ("GET / HTTP/1.1\r\nHost: h:port\r\n\r\n", B::Host),
        ("GET / HTTP/1.1\r\nHost: %68\r\n\r\n", B::Host),
        ("GET http://h/ HTTP/1.1\r\nHost: a/b\r\n\r\n", B::Host),
        // Expect
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: a-pony\r\n\r\n", B::Expectation),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect:\r\n\r\n", B::Expectation),
    ] {
        assert_eq!(whole(input.as_bytes()), Err(why), "{input:?}");
        let bytewise = in_pieces(input.as_bytes(), 0..input.len());
        assert_eq!(bytewise, Err(why), "byte by byte: {input:?}");
        let sentence = why.to_string();
        assert!(sentence.ends_with('.') && why.status() >= 400, "{sentence}");
    }
}

/// Whatever two parsers could disagree on about where a request ends is refused, in every spelling.
#[test]
fn smuggling() {
    use BadRequest as B;
    let lengths =
        ["", "5 5", "5, 5", "5,5", "+5", "-5", "0x5", "5a", "5.0", "1e1", "٥", "18446744073709551616"];
    for length in lengths {
        for name in ["Content-Length", "content-length", "CONTENT-LENGTH"] {
            let input = format!("POST / HTTP/1.1\r\nHost: h\r\n{name}: {length}\r\n\r\n");
            assert_eq!(whole(input.as_bytes()), Err(B::ContentLength), "{length:?}");
        }
    }
    let codings = [
        ("chunked, chunked", B::TransferEncoding),
        ("gzip, chunked", B::OtherEncoding),
        ("gzip ; level=1, br, Chunked", B::OtherEncoding),
        ("gzip, , chunked", B::TransferEncoding),
        ("chunked, gzip, chunked", B::TransferEncoding),
        ("chunked, gzip", B::TransferEncoding),
        ("gzip", B::TransferEncoding),
        ("chunked, identity", B::TransferEncoding),
        ("identity", B::TransferEncoding),
        ("xchunked", B::TransferEncoding),
        ("\"chunked\"", B::TransferEncoding),
        ("chunked;q=1", B::TransferEncoding),
        ("chunked,", B::TransferEncoding),
        ("\x0bchunked", B::FieldValue),
        ("", B::TransferEncoding),
    ];
    for (coding, why) in codings {
        let input = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(whole(input.as_bytes()), Err(why), "{coding:?}");
        let old = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {coding}\r\n\r\n");
        let why = if why == B::FieldValue { why } else { B::EncodingInHttp10 };
        assert_eq!(whole(old.as_bytes()), Err(why), "1.0, {coding:?}");
    }
    for coding in ["chunked", "Chunked", " \tCHUNKED "] {
        let head = accept(format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n"));
        assert_eq!(head.body, BodyLength::Chunked);
    }
    let length = "Content-Length: 5\r\n";
    let encoding = "transfer-encoding: chunked\r\n";
    for (fields, why) in [
        (format!("{length}{encoding}"), B::LengthAndEncoding),
        (format!("{encoding}{length}"), B::LengthAndEncoding),
        (format!("{encoding}X: y\r\n{length}"), B::LengthAndEncoding),
        (format!("{encoding}{encoding}"), B::TransferEncoding),
        (format!("{length}{length}"), B::RepeatedContentLength),
        (format!("{length}content-length: 6\r\n"), B::RepeatedContentLength),
        (format!("{length}Transfer-Encoding : chunked\r\n"), B::SpaceBeforeColon),
        (format!("{length}X: y\r\n\ttransfer-encoding: chunked\r\n"), B::FoldedLine),
        (format!("{length}X: y\nTransfer-Encoding: chunked\r\n"), B::BareLineFeed),
        (format!("{length}X: y\rTransfer-Encoding: chunked\r\n"), B::FieldValue),
        (format!("{length}\0Transfer-Encoding: chunked\r\n"), B::FieldName),
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\nhello");
        assert_eq!(whole(input.as_bytes()), Err(why), "{fields:?}");
    }
}

#[test]
fn limits_are_exact_and_hold_for_incomplete_heads() {
    use BadRequest as B;
    // Request line: "GET /aaa HTTP/1.1".
    let line = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - 14));
    let rest = "\r\nHost: h\r\n\r\n";
    accept(line(MAX_REQUEST_LINE) + rest);
    let long = line(MAX_REQUEST_LINE + 1) + rest;
    assert_eq!(whole(long.as_bytes()), Err(B::LineTooLong));
    assert_eq!(whole(&long.as_bytes()[..=MAX_REQUEST_LINE]), Err(B::LineTooLong), "no line end yet");
    assert_eq!(whole(&long.as_bytes()[..MAX_REQUEST_LINE]), Ok(None));
    assert_eq!(B::LineTooLong.status(), 414);

    // Number of fields.
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}Host: h\r\n", "a: b\r\n".repeat(count - 1));
    accept(fields(MAX_HEADERS) + "\r\n");
    assert_eq!(whole((fields(MAX_HEADERS + 1) + "\r\n").as_bytes()), Err(B::TooManyFields));
    assert_eq!(whole(fields(MAX_HEADERS + 1).as_bytes()), Err(B::TooManyFields), "no end yet");
    assert_eq!(B::TooManyFields.status(), 431);

    // Size of the head.
    let start = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
    let head = |len: usize| format!("{start}{}\r\n\r\n", "b".repeat(len - start.len() - 4));
    assert_eq!(accept(head(MAX_HEAD)).head_len, MAX_HEAD);
    assert_eq!(accept(head(MAX_HEAD) + &"body".repeat(MAX_HEAD)).head_len, MAX_HEAD);
    let long = head(MAX_HEAD + 1);
    assert_eq!(whole(long.as_bytes()), Err(B::HeadTooLong));
    assert_eq!(whole(&long.as_bytes()[..MAX_HEAD]), Err(B::HeadTooLong), "no end yet");
    assert_eq!(whole(&long.as_bytes()[..MAX_HEAD - 1]), Ok(None));
    assert_eq!(B::HeadTooLong.status(), 431);
}

#[test]
fn a_head_that_trickles_in_is_looked_at_once() {
    let input = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "b".repeat(MAX_HEAD - 100));
    let mut progress = Progress::default();
    for end in 0..input.len() {
        assert_eq!(with(&input.as_bytes()[..end], &mut progress), Ok(None));
        assert_eq!(progress.scanned, end, "each call ends where the next one begins");
    }
}

#[test]
fn statuses() {
    let status = |input: &str| whole(input.as_bytes()).unwrap_err().status();
    assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    assert_eq!(status("CONNECT h:1 HTTP/1.1\r\n"), 501);
    assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
    assert_eq!(status("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n"), 421);
    assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n"), 400);
    assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n"), 417);
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn connection_and_expect() {
    for (fields, keep_alive) in [
        ("", true),
        ("Connection: close\r\n", false),
        ("Connection: CLOSE\r\n", false),
        ("Connection: keep-alive, Close , x\r\n", false),
        ("Connection: x\r\nConnection: close\r\n", false),
        ("Connection: closed\r\n", true),
        ("Connection: \"close\"\r\n", true),
    ] {
        assert_eq!(get(fields).keep_alive, keep_alive, "{fields:?}");
    }
    for (fields, keep_alive) in
        [("", false), ("Connection: Keep-Alive\r\n", true), ("Connection: keep-alive, close\r\n", false)]
    {
        let head = accept(format!("GET / HTTP/1.0\r\n{fields}\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "1.0 {fields:?}");
    }
    assert!(!get("Expect: 100-continue\r\n").expect_continue, "there is no body");
    assert!(!get("Expect: 100-continue\r\nContent-Length: 0\r\n").expect_continue, "nothing follows");
    assert!(get("Expect: 100-continue\r\nContent-Length: 1\r\n").expect_continue);
    assert!(get("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n").expect_continue);
    let old = accept("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(!old.expect_continue, "HTTP/1.0 has no interim answers");
}

#[test]
fn a_target_in_absolute_form_says_the_host() {
    let head = accept("GET http://h:81/a?b HTTP/1.1\r\nhost: other\r\nX-A: other\r\n\r\n");
    assert_eq!((head.path.as_str(), head.query.as_deref()), ("/a", Some("b")));
    assert_eq!(head.host.as_deref(), Some(&b"h:81"[..]));
    let fields = [("host".to_owned(), b"h:81".to_vec()), ("X-A".to_owned(), b"other".to_vec())];
    assert_eq!(head.headers, fields);
    let empty = accept("GET http://h HTTP/1.1\r\nX: \r\nHost:\r\n\r\n");
    assert_eq!(empty.headers[0], ("X".to_owned(), vec![]), "an empty value is nowhere in particular");
    assert_eq!(empty.headers[1], ("Host".to_owned(), b"h".to_vec()));
    let old = accept("GET http://h HTTP/1.0\r\n\r\n");
    assert_eq!((old.host.as_deref(), old.path.as_str()), (Some(&b"h"[..]), "/"));
    assert_eq!(accept("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path, "*");
}

#[test]
fn trailers_are_taken_by_who_says_so() {
    for (fields, takes) in [
        ("", false),
        ("TE: trailers\r\n", true),
        ("te: deflate;q=0.5, Trailers\r\n", true),
        ("TE:\r\n", false),
        ("TE: gzip\r\n", false),
        ("TE: gzip\r\nTE: trailers\r\n", true),
        ("Trailer: x\r\n", false),
    ] {
        assert_eq!(get(fields).takes_trailers, takes, "{fields:?}");
    }
    assert!(!accept("GET / HTTP/1.0\r\nTE: trailers\r\n\r\n").takes_trailers, "HTTP/1.0 has no chunks");
}

#[test]
fn preference_for_text() {
    for (accept, text) in [
        ("*/*", false),
        ("text/plain", true),
        ("TEXT/*", true),
        ("text/plain, application/json", false),
        ("text/plain;q=0.5, application/json;q=0.4", true),
        ("text/plain; q=0.5, application/*;q=0.501", false),
        ("text/plain, */*", false),
        ("text/plain, */*;q=0.9", true),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
        ("text/*;q=0.9, text/plain;q=0, application/json;q=0.1", false),
        ("text/plain;q=nonsense", false),
        ("text/plain;q=9", false),
        ("text/plain;format=flowed;q=0.3", true),
    ] {
        assert_eq!(get(&format!("Accept: {accept}\r\n")).prefers_text, text, "{accept}");
    }
    assert!(get("Accept: application/json;q=0.1\r\nAccept: text/plain\r\n").prefers_text);
}

#[test]
fn the_next_request_begins_where_the_head_and_body_end() {
    let input = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    let first = accept(input);
    let second = accept(&input[first.head_len..]);
    assert_eq!((first.path.as_str(), second.path.as_str()), ("/a", "/b"));
    assert_eq!(first.head_len + second.head_len, input.len());
}

/// Bytes that are likely to hurt: pieces of heads, put together at random.
fn near_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "GET ", "/", "/a?b", " HTTP/1.1", "HTTP/1.0", "\r\n", "\r", "\n", "Host: h", "Host:", " ", "\t", ":",
            "Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close", "Expect: 100-continue",
            "Accept: text/plain", "\0", "A: b\r\n", "GET / HTTP/1.1\r\nHost: h\r\n", "\r\n\r\n",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}"
}

proptest! {
    #[test]
    fn a_verdict_does_not_depend_on_how_the_input_was_split(
        input in near_requests(),
        cuts in vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let verdict = whole(&input);
        prop_assert_eq!(in_pieces(&input, cuts), verdict.clone());
        prop_assert_eq!(in_pieces(&input, 0..input.len()), verdict);
    }

    #[test]
    fn a_verdict_stands_whatever_follows(input in near_requests(), more in near_requests()) {
        let verdict = whole(&input);
        if verdict != Ok(None) {
            prop_assert_eq!(whole(&[input, more].concat()), verdict);
        }
    }

    #[test]
    fn any_bytes_get_a_verdict(input in vec(any::<u8>(), 0..300)) {
        let _ = whole(&input);
    }

    #[test]
    fn what_was_written_is_read(
        method in token().prop_filter("served", |m| m != "CONNECT" && m != "TRACE"),
        path in "/([!\"$&-\\-/-9:->@-~]|%(2[0-9]|4[1-9a-f])){0,20}",
        query in prop::option::of("[!-\"$-~]{0,40}"),
        fields in vec((token().prop_map(|name| format!("x-{name}")), "([!-~\u{a0}-\u{ff}]([ -~\t]{0,30}[!-~])?)?"), 0..20),
        length in prop::option::of(any::<u64>()),
        close in any::<bool>(),
    ) {
        let mut input = format!("{method} {path}");
        if let Some(query) = &query {
            input += &format!("?{query}");
        }
        input += " HTTP/1.1\r\nHost: example.org\r\n";
        for (name, value) in &fields {
            input += &format!("{name}:{value}\r\n");
        }
        if let Some(length) = length {
            input += &format!("content-length: {length}\r\n");
        }
        if close {
            input += "Connection: close\r\n";
        }
        input += "\r\n";
        let head = accept(&input);
        prop_assert_eq!(head.method, method);
        prop_assert_eq!(head.path, path);
        prop_assert_eq!(head.query, query);
        prop_assert_eq!(head.body, length.map_or(BodyLength::None, BodyLength::Length));
        prop_assert_eq!(head.keep_alive, !close);
        prop_assert_eq!(head.head_len, input.len());
        let given: Vec<_> = fields.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        prop_assert_eq!(&head.headers[1..=given.len()], &given[..]);
    }
}
