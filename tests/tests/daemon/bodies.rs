//! Bodies of any length arrive whole, cost others nothing, and end where they end.

use std::time::{Duration, Instant};

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{get, post};

use crate::{echo, own, pattern};

const LARGE: usize = 64 << 20;

fn home() -> Home {
    let home = Home::new();
    let limits = "memory = \"256MiB\"\nmax_request = \"64MiB\"\nmax_response = \"64MiB\"";
    home.add("echo", &echo(), limits).add("probe", &own("probe"), limits);
    home
}

#[test]
fn a_large_body_comes_back_byte_for_byte() {
    let home = home();
    let daemon = home.start();
    let body = pattern(LARGE);
    let mut connection = daemon.connect();
    // More than once: what the first has left behind must not show in the second.
    for length in [LARGE, LARGE - 1, 64 * 1024 + 1, LARGE] {
        let answer = connection.post("/echo", &body[..length]);
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body == body[..length], "the body came back changed");
    }
    daemon.stop();
}

#[test]
fn what_follows_a_large_body_is_the_next_request() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let body = pattern(1 << 20);
    let requests = [
        get("/echo/before").into_bytes(),
        post("/echo", &body),
        get("/echo/between").into_bytes(),
        post("/echo", &body[..100_000]),
        post("/echo", &body[..10]),
        get("/echo/after").into_bytes(),
    ];
    for _ in 0..3 {
        connection.send(requests.concat());
        connection.receive().assert_ok("GET /echo/before\n");
        connection.receive().assert_ok(&body);
        connection.receive().assert_ok("GET /echo/between\n");
        connection.receive().assert_ok(&body[..100_000]);
        connection.receive().assert_ok(&body[..10]);
        connection.receive().assert_ok("GET /echo/after\n");
    }
    daemon.stop();
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let requests: Vec<Vec<u8>> = (0..1000)
        .map(|number| match number % 4 {
            0 => get(&format!("/echo/{number}")).into_bytes(),
            1 => post("/echo", format!("body {number}").as_bytes()),
            2 => get(&format!("/nobody/{number}")).into_bytes(),
            _ => get(&format!("/probe/{number}")).into_bytes(),
        })
        .collect();
    connection.send(requests.concat());
    for number in 0..1000 {
        let answer = connection.receive();
        match number % 4 {
            0 => answer.assert_ok(format!("GET /echo/{number}\n")),
            1 => answer.assert_ok(format!("body {number}")),
            2 => assert_eq!(answer.status, 404),
            _ => answer.assert_ok(number.to_string()),
        }
    }
    daemon.stop();
}

#[test]
fn a_client_that_leaves_within_a_large_body_takes_nobody_with_it() {
    let home = home();
    let daemon = home.start();
    let request = post("/echo", &pattern(4 << 20));
    let mut other = daemon.connect();
    for part in [200, 5_000, 70_000, 1 << 20, (4 << 20) - 1] {
        daemon.connect().send(&request[..part]);
        daemon.connect().send(&request[..part]).end_sending().assert_closed();
        other.get("/echo").assert_ok("GET /echo\n");
    }
    // One that does not wait for its answer either.
    daemon.connect().send(&request);
    assert_eq!(other.send(&request).receive().body.len(), 4 << 20);
    daemon.stop();
}

#[test]
fn a_client_that_waits_for_100_continue_hears_it_before_a_large_body() {
    let home = home();
    let daemon = home.start();
    let body = pattern(300_000);
    let mut connection = daemon.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n";
    connection.send(head).expect_bytes(b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.send(&body).receive().assert_ok(&body);
    daemon.stop();
}

#[test]
fn large_bodies_do_not_stop_a_shard() {
    let home = home();
    let daemon = home.start();
    let request = post("/echo", &pattern(LARGE));
    daemon.get("/probe/warm").assert_ok("warm");
    let mut waits = std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let mut connection = daemon.connect();
            for _ in 0..3 {
                assert_eq!(connection.send(&request).receive().body.len(), LARGE);
            }
        });
        let mut connection = daemon.connect();
        let mut waits = Vec::new();
        while !large.is_finished() {
            let began = Instant::now();
            connection.get("/probe/short").assert_ok("short");
            waits.push(began.elapsed());
        }
        large.join().expect("three answers");
        waits
    });
    waits.sort_unstable();
    let longest = waits[waits.len() - 1];
    println!("{} short requests: p50 {:?}, longest {longest:?}", waits.len(), waits[waits.len() / 2]);
    assert!(longest < Duration::from_millis(500), "a short request took {longest:?} beside large ones");
    daemon.stop();
}
