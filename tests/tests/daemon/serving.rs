//! Well-formed requests are answered, however they are sent.

use std::collections::HashSet;
use std::thread;

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{get, post};

use crate::{echo, own, pattern};

fn home() -> Home {
    let home = Home::new();
    home.add("echo", &echo(), "").add("probe", &own("probe"), "env = { GREETING = \"good day\" }");
    home
}

#[test]
fn a_function_answers_with_its_own_headers_and_an_id() {
    let home = home();
    let daemon = home.start();
    let answer = daemon.get("/echo/a/b?c=d");
    answer.assert_ok("GET /echo/a/b?c=d\n");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("content-length"), "18");
    assert!(answer.header("date").ends_with(" GMT") && !answer.has("connection"), "{answer:?}");

    let mut ids = HashSet::new();
    let mut connection = daemon.connect();
    for _ in 0..1000 {
        let answer = connection.get("/probe/id");
        assert_eq!(answer.text(), answer.invocation(), "the function and its caller are told the same id");
        assert!(ids.insert(answer.invocation().to_owned()), "an id was given twice");
    }
    daemon.stop();
}

#[test]
fn functions_in_rust_and_c_stand_side_by_side() {
    let home = home();
    home.add("hello", &hairtrigger_tests::artefacts::plugin("hello"), "");
    let daemon = home.start();
    daemon.get("/hello").assert_ok("Hello from Hairtrigger\n");
    daemon.get("/hello?name=Ada").assert_ok("Hello from Hairtrigger, Ada\n");
    daemon.get("/probe/env").assert_ok("good day");
    daemon.get("/_/health").assert_ok("ok\n");
    daemon.stop();
}

#[test]
fn what_a_function_logs_is_in_the_daemons_output() {
    let home = home();
    let daemon = home.start();
    daemon.get("/probe/log").assert_ok("logged\n");
    daemon.await_line(|line| line == "[probe] warn: a line of the log");
    daemon.await_line(|line| line == "[probe] a line of stdout");
    daemon.stop();
}

#[test]
fn a_connection_is_kept_as_the_client_says() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    for number in 0..200 {
        connection.get(&format!("/echo/{number}")).assert_ok(format!("GET /echo/{number}\n"));
    }
    let answer = connection.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").receive();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    connection.assert_closed();

    let mut old = daemon.connect();
    let answer = old.send("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").receive();
    assert_eq!((answer.status, answer.header("connection")), (200, "keep-alive"));
    let answer = old.send("GET /echo HTTP/1.0\r\n\r\n").receive();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    old.assert_closed();
    daemon.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let requests: Vec<Vec<u8>> = (0..100)
        .map(|number| match number % 3 {
            0 => get(&format!("/echo/{number}")).into_bytes(),
            1 => post("/echo", &pattern(number * 97)),
            _ => get(&format!("/probe/{number}")).into_bytes(),
        })
        .collect();
    connection.send(requests.concat());
    for number in 0..100 {
        let answer = connection.receive();
        match number % 3 {
            0 => answer.assert_ok(format!("GET /echo/{number}\n")),
            1 => answer.assert_ok(pattern(number * 97)),
            _ => answer.assert_ok(number.to_string()),
        }
    }
    // The same byte by byte: where a segment ends means nothing.
    let some = requests[..9].concat();
    for byte in &some {
        connection.send([*byte]);
    }
    for number in 0..9 {
        let answer = connection.receive();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), if number % 3 == 1 { number * 97 } else { answer.body.len() });
    }
    daemon.stop();
}

#[test]
fn an_answer_to_head_is_that_to_get_without_its_body() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let head = connection.send("HEAD /echo/x HTTP/1.1\r\nHost: a\r\n\r\n").receive_head();
    assert_eq!((head.status, head.header("content-length")), (200, "13"), "HEAD /echo/x and a line end");
    let head = connection.send("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n").receive_head();
    assert_eq!((head.status, head.has("content-length")), (404, true));
    connection.get("/echo").assert_ok("GET /echo\n");
    connection.get("/probe/status?204").assert_empty(204);
    connection.get("/probe/status?304").assert_empty(304);
    connection.get("/probe/status?418").assert_empty(418);
    connection.get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
}

#[test]
fn bodies_of_every_length_come_back_as_they_went() {
    const LIMIT: usize = 6 << 20;
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    // Around what a slot of the channel, a receive buffer and a page hold, and at the limit.
    let edges = [1984, 3900, 3968, 4096, 8192, 32 * 1024, 64 * 1024, 256 * 1024];
    let around = edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]);
    for length in [0, 1, 2].into_iter().chain(around).chain([LIMIT - 1, LIMIT, 3]) {
        connection.post("/echo", &pattern(length)).assert_ok(pattern(length));
    }
    daemon.stop();
}

#[test]
fn a_body_may_come_in_odd_pieces() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let body = pattern(5 << 20);
    let request = [post("/echo", &body), get("/echo/after").into_bytes()].concat();
    let sizes = [1, 2, 3, 70, 4095, 4097, 100_003, 1_000_003];
    connection.send_in_pieces(&request, &sizes).receive().assert_ok(&body);
    connection.receive().assert_ok("GET /echo/after\n");
    daemon.stop();
}

#[test]
fn a_client_that_waits_for_100_continue_hears_it() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    connection.send(head).expect_bytes(b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.send("hello").receive().assert_ok("hello");
    // One that did not wait does not.
    connection.send([head, "hello"].concat()).receive().assert_ok("hello");
    daemon.stop();
}

#[test]
fn a_client_that_has_said_all_still_hears_the_answer() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    connection.send(get("/probe/sleep?100")).send(get("/echo")).end_sending();
    assert_eq!(connection.receive().status, 200);
    connection.receive().assert_ok("GET /echo\n");
    connection.assert_closed();
    daemon.stop();
}

#[test]
fn many_connections_get_each_their_own_answers() {
    let home = home();
    let daemon = home.start();
    thread::scope(|scope| {
        for client in 0..10_usize {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut connection = daemon.connect();
                for number in 0..300 {
                    let body = pattern(client * 500 + number);
                    let path = format!("/echo/{client}/{number}");
                    connection.send([post("/echo", &body), get(&path).into_bytes()].concat());
                    connection.receive().assert_ok(&body);
                    connection.receive().assert_ok(format!("GET {path}\n"));
                }
            });
        }
    });
    daemon.stop();
}

#[test]
fn a_client_that_leaves_takes_nobody_with_it() {
    let home = home();
    let daemon = home.start();
    let mut other = daemon.connect();
    for _ in 0..50 {
        // In the middle of a head, of a body, of an invocation, and of an answer.
        daemon.connect().send("GET /echo HT");
        daemon.connect().send(&post("/echo", &[b'x'; 1000])[..500]);
        daemon.connect().send(get("/probe/sleep?5"));
        daemon.connect().send(get("/probe/answer?1000000"));
        other.get("/echo").assert_ok("GET /echo\n");
    }
    assert_eq!(other.get("/probe/sleep?1").status, 200);
    daemon.stop();
}

#[test]
fn the_stages_of_an_invocation_are_told_on_request() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    assert!(!connection.get("/echo").has("server-timing"));
    let request = "GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Hairtrigger-Timing: 1\r\n\r\n";
    let answer = connection.send(request).receive();
    let stages: Vec<(&str, f64)> = answer
        .header("server-timing")
        .split(", ")
        .map(|stage| stage.split_once(";dur=").expect("a duration"))
        .map(|(name, milliseconds)| (name, milliseconds.parse().expect("a number")))
        .collect();
    let names: Vec<&str> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["receive", "queue", "start", "run", "send"]);
    assert!(stages.iter().all(|(_, milliseconds)| (0.0..10_000.0).contains(milliseconds)), "{stages:?}");
    // Something took time: the clock is read where the function runs.
    assert!(stages.iter().any(|(_, milliseconds)| *milliseconds > 0.0), "{stages:?}");
    daemon.stop();
}

#[test]
fn a_daemon_without_functions_answers() {
    let home = Home::new();
    let daemon = home.start();
    daemon.get("/_/health").assert_ok("ok\n");
    assert_eq!(daemon.get("/echo").json()["outcome"], "no_such_function");
    daemon.stop();
}
