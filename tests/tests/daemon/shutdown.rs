//! The end of a daemon: what is under way is finished, what takes too long is cut off and told so, and the exit code
//! says which it was.

use std::time::{Duration, Instant};

use hairtrigger_tests::admin;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, get};
use hairtrigger_tests::process::eventually_equal;

use crate::own;

/// Longer than any of these tests may take.
const FOR_EVER: &str = "/probe/sleep?50000";
/// What a client is told whose invocation has begun.
const ENDED: &str = "The daemon is shutting down and ended function probe in the middle of the invocation; send the \
                     request again if it may run twice.";
/// What one is told whose invocation has not.
const NOT_RUN: &str = "The daemon is shutting down and did not run function probe; send the request again.";

fn home(shards: u32, drain: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("listen = \"127.0.0.1:0\"\nshards = {shards}\n[timeouts]\ndrain = \"{drain}\""));
    let manifest = "timeout = \"60s\"\nmax_response = \"32MiB\"\n[concurrency]\nprovisioned = 1\nmax = 2";
    home.add("probe", &own("probe"), manifest);
    home
}

/// The one answer of a connection that was cut off, and its end.
#[track_caller]
fn assert_cut(connection: &mut Connection, sentence: &str) {
    let answer = connection.receive();
    assert_eq!(answer.header("connection"), "close");
    answer.assert_outcome("probe", 503, "shutting_down", sentence);
    connection.assert_closed();
}

/// On one shard, and where connections and workers are on different ones.
#[test]
fn what_takes_longer_than_the_drain_is_cut_off_and_told_so() {
    for shards in [1, 2] {
        let home = home(shards, "300ms");
        let daemon = home.start();
        let mut busy: Vec<_> = (0..2).map(|_| daemon.connect()).collect();
        busy.iter_mut().for_each(|connection| _ = connection.send(get(FOR_EVER)));
        // A second worker is there because the second of them was.
        daemon.await_workers("probe", 2);
        eventually_equal("each has one", &0, || admin::waiting(&home, "probe"));
        let mut waiting = daemon.connect();
        waiting.send(get("/probe/fine"));
        eventually_equal("it waits", &1, || admin::waiting(&home, "probe"));
        // What comes with a request that is answered was read with it.
        let mut head = daemon.connect();
        head.send(get("/_/health") + "GET /probe/fi").receive().assert_ok("ok\n");
        // Whoever is told to continue is one whose head was read.
        let mut body = daemon.connect();
        let expecting =
            "POST /probe/fine HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        body.send(expecting).expect_bytes(b"HTTP/1.1 100 Continue\r\n\r\n").send("fo");
        daemon.process.signal(libc::SIGTERM);
        let begun = Instant::now();
        daemon.ends_while(6, |daemon| {
            busy.iter_mut().for_each(|connection| assert_cut(connection, ENDED));
            assert!(begun.elapsed() >= Duration::from_millis(300), "they had this time");
            assert_cut(&mut waiting, NOT_RUN);
            assert_cut(&mut body, NOT_RUN);
            let answer = head.receive();
            let sentence =
                "The daemon is shutting down and has no more time for this request; send it again.";
            assert_eq!((answer.status, answer.json()["message"].as_str()), (503, Some(sentence)));
            head.assert_closed();
            let said = daemon.await_line(|line| line.starts_with("cut off "));
            assert_eq!(said, "cut off what was still under way: 3 invocations, 2 connections");
        });
    }
}

#[test]
fn who_interrupts_twice_does_not_wait() {
    let home = home(1, "1h");
    let daemon = home.start();
    let mut busy = daemon.connect();
    busy.send(get(FOR_EVER));
    let mut idle = daemon.connect();
    idle.get("/probe/fine").assert_ok("fine");
    daemon.process.signal(libc::SIGINT);
    // It has heard the first.
    idle.assert_closed();
    daemon.process.signal(libc::SIGINT);
    daemon.ends_while(6, |daemon| {
        assert_cut(&mut busy, ENDED);
        let said = daemon.await_line(|line| line.starts_with("cut off "));
        assert_eq!(said, "cut off what was still under way: 1 invocation, 0 connections");
    });
}

/// Its client may have left, but what it does may matter to others.
#[test]
fn an_invocation_is_finished_whoever_has_left() {
    let home = home(1, "20s");
    let daemon = home.start();
    let begun = Instant::now();
    let mut busy = daemon.connect();
    busy.send(get("/probe/sleep?1000"));
    // It is under way: the daemon looks at connections in the order in which they come.
    daemon.get("/probe/fine").assert_ok("fine");
    busy.reset();
    daemon.stop();
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was ended after {:?}", begun.elapsed());
    // And if there is not so much time, that is said.
    let home = self::home(1, "100ms");
    let daemon = home.start();
    let mut busy = daemon.connect();
    busy.send(get(FOR_EVER));
    daemon.get("/probe/fine").assert_ok("fine");
    busy.reset();
    daemon.process.signal(libc::SIGTERM);
    daemon.ends_while(6, |daemon| {
        let said = daemon.await_line(|line| line.starts_with("cut off "));
        assert_eq!(said, "cut off what was still under way: 1 invocation, 0 connections");
    });
}

/// A client that never reads its answer is not waited for longer than any other.
#[test]
fn an_answer_that_nobody_takes_is_cut_off() {
    let home = home(1, "300ms");
    let daemon = home.start();
    let mut slow = daemon.connect();
    // More than sockets hold.
    slow.send(get("/probe/answer?20000000")).expect_bytes(b"HTTP/1.1 200 ");
    daemon.process.signal(libc::SIGTERM);
    daemon.ends_while(6, |daemon| {
        daemon.await_line(|line| line == "cut off what was still under way: 0 invocations, 1 connection")
    });
}
