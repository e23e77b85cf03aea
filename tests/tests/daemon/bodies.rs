//! Bodies of any length arrive whole, cost others nothing, and end where they end.

use std::path::Path;
use std::time::{Duration, Instant};

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{get, post};

use crate::{echo, own, pattern};

const LARGE: usize = 64 << 20;

/// The bytes of a POST with a body in chunks of so many bytes.
fn chunked(path: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut request = head.into_bytes();
    for chunk in body.chunks(chunk) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

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
fn a_chunked_body_comes_back_byte_for_byte() {
    let home = home();
    let daemon = home.start();
    let body = pattern(LARGE);
    let mut connection = daemon.connect();
    for (length, chunk) in
        [(0, 1), (1, 1), (5000, 7), (64 * 1024, 1000), (1 << 20, 65_537), (LARGE, 100_003), (LARGE, LARGE)]
    {
        let request = [chunked("/echo", &body[..length], chunk), get("/echo/behind").into_bytes()].concat();
        let answer = connection.send(request).receive();
        assert_eq!((answer.status, answer.body.len()), (200, length));
        assert!(answer.body == body[..length], "the body came back changed");
        connection.receive().assert_ok("GET /echo/behind\n");
    }
    daemon.stop();
}

#[test]
fn a_unix_socket_carries_large_bodies_too() {
    let home = home();
    let (socket, body) = (home.path().join("data.sock"), home.path().join("body"));
    let config = std::fs::read_to_string(home.config()).expect("it was written");
    std::fs::write(home.config(), format!("{config}socket = {socket:?}\n")).expect("a file can be written");
    std::fs::write(&body, pattern(LARGE)).expect("a file can be written");
    let daemon = home.start();
    for framing in ["Content-Type: a/b", "Transfer-Encoding: chunked"] {
        let answer = home.path().join("answer");
        let curl = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--header", framing, "--output"])
            .args([&answer, Path::new("--unix-socket"), &socket, Path::new("--data-binary")])
            .arg(format!("@{}", body.display()))
            .arg("http://localhost/echo")
            .status()
            .expect("curl is installed");
        assert!(curl.success(), "{framing}: {curl}");
        let answer = std::fs::read(answer).expect("curl has written it");
        assert!(answer == pattern(LARGE), "{framing}: the body came back changed");
    }
    daemon.stop();
}

#[test]
fn a_large_body_whose_worker_dies_is_answered_and_the_next_is_served() {
    let home = home();
    // One worker at a time: three that die at once before they have served are a function that cannot serve.
    let limits = "memory = \"256MiB\"\nmax_request = \"64MiB\"\nmax_response = \"64MiB\"";
    home.add("echo", &echo(), &format!("{limits}\nconcurrency = {{ max = 1 }}"));
    let daemon = home.start();
    let body = pattern(8 << 20);
    let mut connection = daemon.connect();
    for _ in 0..3 {
        // While it is written, when it has just been begun, and when it is over: at any moment.
        connection.send(post("/echo", &body));
        daemon.workers("echo").iter().for_each(|worker| worker.signal(libc::SIGKILL));
        let answer = connection.receive();
        assert!(answer.status == 502 || (answer.status == 200 && answer.body == body), "{}", answer.status);
        assert!(connection.post("/echo", &body).body == body, "the next one came back changed");
    }
    daemon.stop();
}

#[test]
fn a_chunked_body_may_come_in_odd_pieces() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let body = pattern(300_000);
    let request = [chunked("/echo", &body, 10_007), get("/echo/after").into_bytes()].concat();
    connection.send_in_pieces(&request, &[1, 2, 3, 70, 4095, 4097, 100_003]).receive().assert_ok(&body);
    connection.receive().assert_ok("GET /echo/after\n");
    daemon.stop();
}

#[test]
fn a_chunked_body_beyond_its_functions_limit_is_refused_when_a_chunk_says_so() {
    let home = Home::new();
    home.add("echo", &echo(), "max_request = 1000");
    let daemon = home.start();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut connection = daemon.connect();
    let answer = connection.send(head).send("3e8\r\n").send([b'x'; 1000]).send("\r\n1\r\n").receive();
    let sentence = "Function echo takes request bodies of up to 1000B; send less or raise max_request in its \
                    function.toml.";
    answer.assert_outcome("echo", 413, "request_too_large", sentence);
    connection.assert_closed();

    let mut connection = daemon.connect();
    let answer = connection.send(head).send("1\r\nxyz").receive();
    assert_eq!((answer.status, &answer.json()["outcome"]), (400, &"bad_request".into()));
    connection.assert_closed();
    daemon.stop();
}

#[test]
fn a_client_that_waits_for_100_continue_hears_it_before_its_chunks() {
    let home = home();
    let daemon = home.start();
    let mut connection = daemon.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    connection.send(head).expect_bytes(b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.send("5\r\nhello\r\n0\r\n\r\n").receive().assert_ok("hello");
    // Nobody asks for what nobody wants.
    let answer = connection.send(head.replace("/echo", "/nobody")).receive();
    assert_eq!((answer.status, answer.header("connection")), (404, "close"));
    connection.assert_closed();
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

/// Its worker has written it all the same, and must be rid of it before the next.
#[test]
fn a_large_body_that_nobody_reads_is_in_nobodys_way() {
    let home = Home::new();
    let limits = "memory = \"256MiB\"\nmax_response = \"64MiB\"\n[concurrency]\nmax = 1";
    home.add("probe", &own("probe"), limits);
    let daemon = home.start();
    let mut connection = daemon.connect();
    let large = get(&format!("/probe/answer?{LARGE}"));
    for length in [LARGE, 1 << 20, 100] {
        let answer = connection.send(large.replacen("GET", "HEAD", 1)).receive_head();
        assert_eq!((answer.status, answer.header("content-length")), (200, &*LARGE.to_string()));
        // One that has left before its answer is there.
        daemon.connect().send(&large);
        assert_eq!(connection.get(&format!("/probe/answer?{length}")).body.len(), length);
    }
    daemon.stop();
}

/// What else the machine does may make a short request wait, but hardly in each of three tries; a shard that moves a
/// large body by itself makes one wait in all of them.
#[test]
fn large_bodies_do_not_stop_a_shard() {
    const LARGE: usize = 256 << 20;
    const LONG: Duration = Duration::from_millis(150);
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    let limits = "memory = \"1GiB\"\nmax_request = \"256MiB\"\nmax_response = \"256MiB\"";
    home.add("echo", &echo(), limits).add("probe", &own("probe"), "");
    let daemon = home.start();
    let request = post("/echo", &pattern(LARGE));
    daemon.get("/probe/warm").assert_ok("warm");
    let longest = |_| {
        std::thread::scope(|scope| {
            let large = scope.spawn(|| {
                let mut connection = daemon.connect();
                for _ in 0..2 {
                    assert_eq!(connection.send(&request).receive().body.len(), LARGE);
                }
            });
            let mut connection = daemon.connect();
            let mut longest = Duration::ZERO;
            while !large.is_finished() {
                let began = Instant::now();
                connection.get("/probe/short").assert_ok("short");
                longest = longest.max(began.elapsed());
            }
            large.join().expect("two answers");
            longest
        })
    };
    let tries: Vec<Duration> = (0..3).map(longest).collect();
    println!("a short request waited for at most {tries:?}");
    assert!(tries.iter().any(|longest| *longest < LONG), "a short request waits for large ones: {tries:?}");
    daemon.stop();
}
