//! Whatever a client sends, it gets one sentence that says what is wrong, and nobody else notices.

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{get, post};

use crate::{echo, own};

/// One request, its status, and what is said of it.
type Refusal = (&'static str, u16, &'static str);

const MALFORMED: &[Refusal] = &[
    (
        "GET\r\n\r\n",
        400,
        "The request line must be a method, a target and an HTTP version, with one space between them.",
    ),
    (
        "GET  /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The request line must be a method, a target and an HTTP version, with one space between them.",
    ),
    (
        "G\0T /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The method has a byte that is not allowed in a token; plain HTTP/1.1 is spoken here.",
    ),
    ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", 400, ""),
    (
        "GET /e\x7fcho HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The request target has a byte that must be percent-encoded or left out.",
    ),
    (
        "GET echo HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The request target must be a path that begins with a slash, or that path behind http:// and a host.",
    ),
    (
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The request target must be a path that begins with a slash, or that path behind http:// and a host.",
    ),
    (
        "GET http://me@a/echo HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The request target must have a host and an optional port between http:// and its path.",
    ),
    (
        "GET https://a/echo HTTP/1.1\r\nHost: a\r\n\r\n",
        421,
        "The request target is https, but this connection is not; ask for http.",
    ),
    (
        "GET /echo/%2e%2E/secret HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "The path has a segment that is one dot or two; resolve it before you ask.",
    ),
    (
        "GET /echo/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "Each % in the path must stand before two hexadecimal digits, and must not encode NUL.",
    ),
    ("CONNECT /echo HTTP/1.1\r\nHost: a\r\n\r\n", 501, "The methods CONNECT and TRACE are not served."),
    ("GET /echo HTTP/2.0\r\nHost: a\r\n\r\n", 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
    (
        "GET /echo HTTP/1.1\nHost: a\n\n",
        400,
        "A line of the request head ends in LF alone; it must end in CR LF.",
    ),
    (
        "\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "More than one empty line stands before the request line.",
    ),
    (
        "GET /echo HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        400,
        "A line of the request head begins with white space; folded lines are refused.",
    ),
    (
        "GET /echo HTTP/1.1\r\nHost : a\r\n\r\n",
        400,
        "White space stands between a header field's name and its colon.",
    ),
    (
        "GET /echo HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        400,
        "A header field has no name, no colon, or a name that is not a token.",
    ),
    ("GET /echo HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", 400, "A header field's value has a control byte."),
    ("GET /echo HTTP/1.1\r\n\r\n", 400, "An HTTP/1.1 request must have a Host field."),
    ("GET /echo HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "The request has more than one Host field."),
    (
        "GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n",
        400,
        "The Host field is not a host name or address with an optional port.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        400,
        "Content-Length must be one decimal number.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        400,
        "Content-Length must be one decimal number.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        400,
        "Content-Length must be one decimal number.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
        "The request has more than one Content-Length field.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "The request has both Content-Length and Transfer-Encoding.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
        "No Transfer-Encoding but chunked is understood here.",
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        400,
        "The only Transfer-Encoding is chunked, once.",
    ),
    ("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0 has no Transfer-Encoding."),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: money\r\n\r\n",
        417,
        "The only expectation that can be met is 100-continue.",
    ),
];

fn home() -> Home {
    let home = Home::new();
    home.add("echo", &echo(), "max_request = 1000").add("probe", &own("probe"), "max_response = 1000");
    home
}

#[test]
fn malformed_requests_get_one_sentence_and_the_connection_ends() {
    let home = home();
    let daemon = home.start();
    let mut neighbour = daemon.connect();
    for (request, status, sentence) in MALFORMED {
        let mut connection = daemon.connect();
        // What follows would be the smuggled request: it must never be answered.
        let bytes = [request.as_bytes(), get("/echo/smuggled").as_bytes()].concat();
        let answer = connection.send_regardless(bytes).receive();
        let json = answer.json();
        assert_eq!((answer.status, &json["outcome"]), (*status, &"bad_request".into()), "{request:?}");
        let message = json["message"].as_str().expect("a sentence");
        assert!(sentence.is_empty() || message == *sentence, "{request:?}: {message}");
        assert!(message.ends_with('.') && !message.contains('\n'), "{message}");
        assert_eq!(answer.header("connection"), "close");
        connection.assert_closed();
        neighbour.get("/echo").assert_ok("GET /echo\n");
    }
    daemon.stop();
}

#[test]
fn what_is_too_long_is_refused_by_name() {
    let home = home();
    let daemon = home.start();
    let line = format!("GET /echo/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8 * 1024));
    let field = format!("GET /echo HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(32 * 1024));
    let fields = format!("GET /echo HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(100));
    for (request, status, sentence) in [
        (line, 414, "The request line is longer than 8192 bytes."),
        (field, 431, "The request head is longer than 32768 bytes."),
        (fields, 431, "The request has more than 100 header fields."),
        // Without an end in sight.
        ("x".repeat(100_000), 414, "The request line is longer than 8192 bytes."),
    ] {
        let mut connection = daemon.connect();
        let answer = connection.send_regardless(request).receive();
        assert_eq!((answer.status, &answer.json()["message"]), (status, &sentence.into()));
        connection.assert_closed();
    }
    // Just short enough.
    let line = format!("GET /echo/{} HTTP/1.1", "x".repeat(8192 - 19));
    assert_eq!(line.len(), 8192);
    let answer = daemon.connect().send(format!("{line}\r\nHost: a\r\n\r\n")).receive();
    assert_eq!((answer.status, answer.body.len()), (200, 8192 - 8));
    let fields = format!("GET /echo HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(99));
    daemon.connect().send(fields).receive().assert_ok("GET /echo\n");
    daemon.stop();
}

#[test]
fn a_body_beyond_the_functions_limit_is_refused_before_it_is_sent() {
    let sentence = "Function echo takes request bodies of up to 1000B; send less or raise max_request in its \
                    function.toml.";
    let home = home();
    let daemon = home.start();
    daemon.connect().post("/echo", &[b'x'; 1000]).assert_ok([b'x'; 1000]);
    for head in ["", "Expect: 100-continue\r\n"] {
        let mut connection = daemon.connect();
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 1001\r\n\r\n");
        let answer = connection.send(head).receive();
        answer.assert_outcome("echo", 413, "request_too_large", sentence);
        assert_eq!(answer.header("connection"), "close");
        connection.assert_closed();
    }
    // The answer arrives also at a client that sends its body first.
    let mut connection = daemon.connect();
    let answer = connection.send_regardless(post("/echo", &vec![b'x'; 100_000])).receive();
    answer.assert_outcome("echo", 413, "request_too_large", sentence);
    daemon.stop();
}

#[test]
fn a_name_that_is_nobodys_gets_the_nearest_one() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    for (path, function, sentence) in [
        ("/ecko/a", "ecko", "There is no function ecko; did you mean echo?"),
        ("/zzzzzz", "zzzzzz", "There is no function zzzzzz; check the name in the path."),
        ("/%45cho", "Echo", "There is no function Echo; did you mean echo?"),
    ] {
        connection.get(path).assert_outcome(function, 404, "no_such_function", sentence);
    }
    let answer = connection.get("/");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["message"], "The path names no function; ask for /<function>.");
    assert_eq!(connection.get("/_/secrets").status, 404);
    // The connection lives on, and a body that nobody reads is not taken for a request.
    connection.get("/echo").assert_ok("GET /echo\n");
    let smuggled = post("/nobody", get("/echo/smuggled").as_bytes());
    assert_eq!(connection.send(&smuggled).receive().status, 404);
    connection.get("/echo/after").assert_ok("GET /echo/after\n");
    let (first, second) = smuggled.split_at(smuggled.len() - 10);
    assert_eq!(connection.send(first).receive().status, 404, "the answer does not wait for the body");
    connection.send(second).get("/echo/after").assert_ok("GET /echo/after\n");
    // A long one is not waited for, nor one that the client asks about first.
    for head in ["Content-Length: 65537", "Content-Length: 5\r\nExpect: 100-continue"] {
        let mut connection = daemon.connect();
        let answer = connection.send(format!("POST /nobody HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n")).receive();
        assert_eq!((answer.status, answer.header("connection")), (404, "close"));
        connection.assert_closed();
    }
    daemon.stop();
}

#[test]
fn an_error_is_json_unless_the_client_would_rather_read_text() {
    let home = home();
    let daemon = home.start();
    let ask = |accept: &str| {
        let request = format!("GET /ecko HTTP/1.1\r\nHost: a\r\n{accept}\r\n");
        daemon.connect().send(request).receive()
    };
    let text = "There is no function ecko; did you mean echo?\n";
    for accept in ["Accept: text/plain\r\n", "Accept: text/plain, application/json;q=0.5\r\n"] {
        let answer = ask(accept);
        assert_eq!(
            (answer.header("content-type"), answer.text()),
            ("text/plain; charset=utf-8", text),
            "{accept}"
        );
    }
    for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        assert_eq!(ask(accept).json()["outcome"], "no_such_function", "{accept}");
    }
    // A head that is refused has not said anything that counts.
    let refused = "GET /echo HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\nContent-Length: x\r\n\r\n";
    assert_eq!(daemon.connect().send(refused).receive().json()["outcome"], "bad_request");
    daemon.stop();
}
