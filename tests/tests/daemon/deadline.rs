//! When its time is up, an invocation ends, whatever it does.

use std::time::{Duration, Instant};

use hairtrigger_tests::admin;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;

use crate::own;

/// The manifest's timeout in these tests.
const TIMEOUT: Duration = Duration::from_millis(400);
/// How late a kill may be on a machine that does much else, and be no fault.
const GRACE: Duration = Duration::from_millis(1500);

#[test]
fn a_busy_loop_and_a_sleeper_are_killed_in_time() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"400ms\"\n[concurrency]\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    connection.get("/probe/count").assert_ok("1\n");
    for command in ["spin", "sleep?60000"] {
        let workers = daemon.await_workers("probe", 1);
        let begun = Instant::now();
        let answer = connection.get(&format!("/probe/{command}"));
        let took = begun.elapsed();
        assert_eq!((answer.status, &answer.json()["outcome"]), (504, &"timeout".into()), "{command}");
        assert!((TIMEOUT..TIMEOUT + GRACE).contains(&took), "{command} was answered after {took:?}");
        assert!(workers[0].ends_within(Duration::from_secs(1)), "{command} outlived its answer");
        connection.get("/probe/count").assert_ok("1\n");
    }
    daemon.stop();
}

#[test]
fn an_answer_just_in_time_is_kept() {
    let home = Home::new();
    // Longer than anything that could keep a thread from running here.
    home.add("probe", &own("probe"), "timeout = \"2s\"\n[concurrency]\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..2 {
        connection.get("/probe/almost?300").assert_ok("in time\n");
    }
    // By the same worker: time that one invocation left over is not taken from the next.
    connection.get("/probe/count").assert_ok("3\n");
    daemon.stop();
}

#[test]
fn others_are_served_while_one_overruns() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"600ms\"\n[concurrency]\nmax = 2");
    let daemon = home.start();
    let mut slow = daemon.connect();
    slow.send(get("/probe/spin"));
    let begun = Instant::now();
    let mut connection = daemon.connect();
    let mut served = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        connection.get("/probe/fine").assert_ok("fine");
        served += 1;
    }
    assert!(served > 10, "only {served} were served beside it");
    assert_eq!(slow.receive().status, 504);
    connection.get("/probe/fine").assert_ok("fine");
    daemon.stop();
}

/// Many at once: each is answered once, and the workers are all replaced.
#[test]
fn sixteen_overrun_together() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"400ms\"\n[concurrency]\nprovisioned = 8\nmax = 16");
    let daemon = home.start();
    daemon.await_workers("probe", 8);
    let mut connections: Vec<_> = (0..16).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?60000"));
    }
    for connection in &mut connections {
        assert_eq!(connection.receive().status, 504);
    }
    for connection in &mut connections {
        connection.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

/// The limit is one of CPU time: who sleeps does not come near it, whoever computes does, and each invocation has its own.
#[test]
fn who_uses_more_cpu_time_than_it_may_is_killed() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add("probe", &own("probe"), "timeout = \"60s\"\ncpu_time = \"200ms\"\n[concurrency]\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let sentence = "Function probe was killed at its CPU time limit of 200ms; raise cpu_time in its function.toml or \
                    compute less at once.";
    let used = || admin::usage(&home, "probe")["cpu_us"].as_u64().expect("a number");
    for _ in 0..2 {
        let before = used();
        connection.get("/probe/spin").assert_outcome("probe", 504, "timeout", sentence);
        let spun = used() - before;
        assert!((200_000..300_000).contains(&spun), "it was killed after {spun} us of CPU time");
    }
    let worker = connection.get("/probe/pid").text().to_owned();
    assert_eq!(connection.get("/probe/sleep?500").text(), worker, "sleep is no CPU time");
    for _ in 0..5 {
        connection.get("/probe/use?100").assert_ok("used\n");
    }
    assert_eq!(connection.get("/probe/pid").text(), worker, "each invocation has a limit of its own");
    daemon.stop();
}
