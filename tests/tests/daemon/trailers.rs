//! Fields behind a chunked body, in both directions.

use hairtrigger_tests::home::Home;

use crate::own;

#[test]
fn trailers_of_a_request_reach_its_function() {
    let home = Home::new();
    home.add("tells", &own("tells"), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let head = "POST /tells HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let trailers = "X-Sum: 12 \r\nContent-Length: 99\r\nAuthorization: me\r\nx-hairtrigger-route: /\r\nX-Sum: 13\r\n\r\n";
    for _ in 0..2 {
        let answer = connection.send(format!("{head}{trailers}")).receive();
        assert_eq!(answer.status, 200);
        let lines: Vec<_> = answer.text().lines().collect();
        let expected = ["host: a", "transfer-encoding: chunked", "trailer x-sum: 12", "trailer x-sum: 13"];
        assert_eq!(lines, expected);
    }
    // One that is no field ends the connection, and its function never hears of the request.
    let answer = connection.send(format!("{head}no field\r\n\r\n")).receive();
    assert_eq!((answer.status, &answer.json()["outcome"]), (400, &"bad_request".into()));
    connection.assert_closed();
    daemon.stop();
}

#[test]
fn trailers_of_a_function_reach_clients_that_take_them() {
    let home = Home::new();
    home.add("tells", &own("tells"), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let mut ask = |method: &str, fields: &str| {
        let request = format!("{method} /tells HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 3\r\n\r\nabc");
        connection.send(request);
        if method == "HEAD" { connection.receive_head() } else { connection.receive() }
    };
    let answer = ask("POST", "TE: trailers\r\n");
    assert_eq!(
        (answer.status, answer.header("trailer"), answer.header("x-added")),
        (200, "x-received", "between trailers")
    );
    assert!(!answer.has("content-length"));
    assert_eq!(answer.text(), "host: a\nte: trailers\ncontent-length: 3\n");
    assert_eq!(answer.trailers, [("x-received".to_owned(), "3".to_owned())]);
    // Others get the same answer without them, on the same connection.
    for fields in ["", "TE: gzip\r\n"] {
        let answer = ask("POST", fields);
        assert!(answer.trailers.is_empty() && !answer.has("trailer") && !answer.has("transfer-encoding"));
        assert_eq!(answer.header("x-added"), "between trailers");
    }
    // A body of the daemon's own has none.
    let answer = connection.send("GET /nobody HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").receive();
    assert_eq!((answer.status, answer.has("content-length")), (404, true));
    let old = daemon.connect().send("GET /tells HTTP/1.0\r\nTE: trailers\r\n\r\n").receive();
    assert_eq!((old.has("content-length"), old.has("transfer-encoding")), (true, false));
    daemon.stop();
}

/// Such bodies have ways of their own through the daemon.
#[test]
fn trailers_of_large_bodies_arrive_too() {
    const LENGTH: usize = 3 << 20;
    let home = Home::new();
    home.add("tells", &own("tells"), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let body: Vec<u8> = (0..LENGTH).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let head = "POST /tells?body HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = format!("{head}{LENGTH:x}\r\n");
    for _ in 0..2 {
        connection.send([head.as_bytes(), &body, b"\r\n0\r\nX-Sum: 12\r\n\r\n"].concat());
        let answer = connection.receive();
        let told = "host: a\nte: trailers\ntransfer-encoding: chunked\ntrailer x-sum: 12\n";
        let (lines, echoed) = answer.body.split_at(told.len());
        assert_eq!(lines.escape_ascii().to_string(), told.as_bytes().escape_ascii().to_string());
        assert!(echoed == body, "the body comes back as it was");
        assert_eq!(answer.trailers, [("x-received".to_owned(), LENGTH.to_string())]);
    }
    connection.get("/tells").assert_ok("host: localhost\n");
    daemon.stop();
}
