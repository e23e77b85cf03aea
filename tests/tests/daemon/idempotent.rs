//! A request that may be run twice survives the chance end of its worker; one that may not is run once.

use std::time::{Duration, Instant};

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::post;

use crate::{own, pattern};

/// The right answer, and one, whatever the size of the body and wherever the worker is.
#[test]
fn a_killed_worker_costs_nothing_where_invocations_may_be_repeated() {
    for shards in [1, 2] {
        let home = Home::new();
        home.configure(&format!("listen = \"127.0.0.1:0\"\nshards = {shards}"));
        let concurrency = "[concurrency]\nmax = 2\nidle = \"100ms\"";
        home.add("slow", &own("slow_echo"), &format!("idempotent = true\ntimeout = \"20s\"\n{concurrency}"));
        let daemon = home.start();
        for length in [0, 3, 100_000, 1 << 20] {
            let body = pattern(length);
            let mut connection = daemon.connect();
            let first = daemon.await_workers("slow", 1);
            connection.send(post("/slow?2000", &body));
            // Whoever comes next is served by another worker: the first has it.
            let mut another = daemon.connect();
            another.post("/slow", b"another").assert_ok("another");
            first[0].signal(libc::SIGKILL);
            let begun = Instant::now();
            let answer = connection.receive();
            assert!((answer.status, &answer.body) == (200, &body), "{} for {length} bytes", answer.status);
            assert!(begun.elapsed() >= Duration::from_secs(2), "it was begun anew");
            connection.post("/slow", b"more").assert_ok("more");
        }
        daemon.stop();
    }
}

/// What may be chance has two tries, and then the honest answer; what is not has one.
#[test]
fn only_what_may_be_chance_is_tried_again_and_once() {
    let cases = [
        ("abort", "fault", 2),
        ("exit?3", "exited", 2),
        ("socket", "violation", 1),
        ("spin", "timeout", 1),
        ("bomb", "out_of_memory", 1),
        ("fail?7", "function_error", 1),
    ];
    for (path, outcome, tries) in cases {
        for idempotent in [true, false] {
            let tries = if idempotent { tries } else { 1 };
            let home = Home::new();
            let manifest = format!(
                "idempotent = {idempotent}\ntimeout = \"500ms\"\nmemory = \"32MiB\"\n[concurrency]\nmax = 1"
            );
            home.add("probe", &own("probe"), &manifest);
            let daemon = home.start();
            daemon.await_own_groups("probe");
            let mut connection = daemon.connect();
            let answer = connection.get(&format!("/probe/{path}"));
            assert_eq!(answer.json()["outcome"], outcome, "{path}");
            // Each end of a worker is followed by the start of another: there may be one at a time.
            let ends = if outcome == "function_error" { 0 } else { tries };
            let started = |line: &str| line.starts_with("started a worker of probe ");
            daemon.await_lines(1 + ends, started);
            connection.get("/probe/fine").assert_ok("fine");
            let lines = daemon.lines();
            let starts = lines.iter().filter(|line| started(line)).count();
            assert_eq!(starts, 1 + ends, "{path}, idempotent {idempotent}: {lines:?}");
            daemon.stop();
        }
    }
}
