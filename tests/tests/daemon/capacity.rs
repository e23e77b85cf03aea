//! Workers are there before they are needed, more come when they are, and what is too much is refused.

use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::admin;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::eventually;

use crate::own;

#[test]
fn provisioned_workers_are_there_and_are_replaced() {
    let home = Home::new();
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 3\nmax = 8");
    let daemon = home.start();
    // Before anybody has asked for anything.
    let workers = daemon.await_workers("probe", 3);
    workers[1].signal(libc::SIGKILL);
    assert!(workers[1].ends_within(std::time::Duration::from_secs(1)));
    let replaced = daemon.await_workers("probe", 3);
    assert!(replaced.iter().all(|worker| worker.pid != workers[1].pid));
    daemon.get("/probe/fine").assert_ok("fine");
    daemon.stop();
}

#[test]
fn a_function_without_provisioned_workers_starts_one_when_asked() {
    let home = Home::new();
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 0\nmax = 8");
    home.add("z-last", &own("probe"), "");
    let daemon = home.start();
    // Loaded after the other: by now that one would have its worker too.
    daemon.await_workers("z-last", 1);
    assert_eq!(daemon.workers("probe").len(), 0);
    daemon.get("/probe/fine").assert_ok("fine");
    assert_eq!(daemon.workers("probe").len(), 1);
    daemon.stop();
}

#[test]
fn a_burst_starts_workers_up_to_the_limit() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nprovisioned = 1\nmax = 4");
    let daemon = home.start();
    let mut connections: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?300"));
    }
    let mut pids: Vec<String> = connections.iter_mut().map(|c| c.receive().text().to_owned()).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 4, "eight requests were served by {pids:?}");
    assert_eq!(daemon.workers("probe").len(), 4);
    daemon.stop();
}

/// Of a stream, workers are there for as many as come in the time of one and a quarter more (here 12.5), so that chance
/// finds room; waiting alone would have started ten or eleven.
#[test]
fn a_stream_has_workers_before_anybody_waits() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add(
        "probe",
        &own("probe"),
        "timeout = \"20s\"\n[concurrency]\nprovisioned = 0\nmax = 20\nidle = \"300ms\"",
    );
    let daemon = home.start();
    let mut connections: Vec<_> = (0..25).map(|_| daemon.connect()).collect();
    let begin = Instant::now();
    // Fifty a second, each of which takes 200 ms; a connection has an answer long before its next turn.
    for number in 0..150_u32 {
        let due = begin + Duration::from_millis(20) * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let connection = &mut connections[number as usize % 25];
        if number >= 25 {
            assert_eq!(connection.receive().status, 200);
        }
        connection.send(get("/probe/sleep?200"));
    }
    assert!(daemon.workers("probe").len() >= 12, "{:?}", daemon.workers("probe"));
    connections.iter_mut().for_each(|connection| assert_eq!(connection.receive().status, 200));
    // What is expected fades.
    daemon.await_workers("probe", 0);
    daemon.stop();
}

/// Two that come 25 ms apart are no stream of forty a second.
#[test]
fn two_slow_requests_do_not_start_all_workers() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add("probe", &own("probe"), "timeout = \"20s\"\n[concurrency]\nprovisioned = 1\nmax = 16");
    let daemon = home.start();
    let mut connection = daemon.connect();
    // So many that it is known how long they take.
    for _ in 0..16 {
        assert_eq!(connection.get("/probe/sleep?200").status, 200);
    }
    let mut two = [daemon.connect(), daemon.connect()];
    for connection in &mut two {
        connection.send(get("/probe/sleep?200"));
        thread::sleep(Duration::from_millis(25));
    }
    two.iter_mut().for_each(|connection| assert_eq!(connection.receive().status, 200));
    assert!(daemon.workers("probe").len() <= 5, "{:?}", daemon.workers("probe"));
    daemon.stop();
}

#[test]
fn what_the_queue_cannot_hold_is_throttled() {
    let sentence = "Function probe is serving 1 invocation, as many as it may, and 2 wait, as many as may; \
                    try again later or raise concurrency.max in its function.toml.";
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nprovisioned = 1\nmax = 1\nqueue = 2");
    let daemon = home.start();
    daemon.get("/probe/fine").assert_ok("fine");
    let mut connections: Vec<_> = (0..6).map(|_| daemon.connect()).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            connections.iter_mut().map(|c| scope.spawn(move || c.get("/probe/sleep?500"))).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    });
    let (served, throttled): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((served.len(), throttled.len()), (3, 3), "one serves, two wait");
    for answer in throttled {
        answer.assert_outcome("probe", 429, "throttled", sentence);
        assert_eq!(answer.header("retry-after"), "1");
    }
    // A refusal costs nobody the connection.
    for connection in &mut connections {
        connection.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

#[test]
fn a_request_that_waits_longer_than_its_function_may_take_is_refused() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"500ms\"\n[concurrency]\nprovisioned = 1\nmax = 1");
    let daemon = home.start();
    daemon.get("/probe/fine").assert_ok("fine");
    let mut connections: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?450"));
    }
    let mut statuses: Vec<u16> = connections.iter_mut().map(|c| c.receive().status).collect();
    statuses.sort_unstable();
    // One is served at once; one when the first is done, or too late; one too late.
    assert!(statuses == [200, 200, 503] || statuses == [200, 503, 503], "{statuses:?}");
    daemon.stop();
}

/// Workers beyond those that are kept warm go again; one that works stays, however long that takes, and when more are
/// wanted again they come.
#[test]
fn workers_without_work_go_down_to_those_that_are_kept_warm() {
    for provisioned in [0, 1] {
        let home = Home::new();
        home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
        let concurrency = format!("[concurrency]\nprovisioned = {provisioned}\nmax = 4\nidle = \"300ms\"");
        home.add("probe", &own("probe"), &format!("timeout = \"30s\"\n{concurrency}"));
        let daemon = home.start();
        let mut connections: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
        for (connection, path) in connections.iter_mut().zip(["5000", "700", "700", "700"]) {
            connection.send(get(&format!("/probe/sleep?{path}")));
        }
        eventually("a burst has more than one worker", || (daemon.workers("probe").len() > 1).then_some(()));
        connections.iter_mut().skip(1).for_each(|connection| assert_eq!(connection.receive().status, 200));
        // The one that works, which counts among those that are kept warm.
        let last = daemon.await_workers("probe", 1);
        assert_eq!(connections[0].receive().status, 200);
        if provisioned == 0 {
            daemon.await_workers("probe", 0);
            daemon.get("/probe/fine").assert_ok("fine");
            daemon.await_workers("probe", 0);
        } else {
            // What does not happen cannot be awaited: three times as long as it would stay if it were not kept warm.
            assert!(!last[0].ends_within(Duration::from_millis(900)), "the last one was ended");
        }
        daemon.stop();
    }
}

/// No process at all of a function that nobody calls, and the next request is answered as if nothing had been.
#[test]
fn a_function_that_nobody_calls_has_no_process() {
    let home = Home::new();
    let concurrency = "[concurrency]\nprovisioned = 0\nidle = \"100ms\"\nunload = \"1s\"";
    home.add("probe", &own("probe"), concurrency).add("never", &own("probe"), concurrency);
    home.add("warm", &own("probe"), "");
    let daemon = home.start();
    for round in 1..=3 {
        for name in ["probe", "never"] {
            let said = format!("Function {name} had nothing to do for 1s; the next request loads it.");
            // Nobody calls the second.
            daemon.await_lines(if name == "probe" { round } else { 1 }, |line| line == said);
        }
        eventually("nothing of them is left", || {
            let none = |name| daemon.find_template(name).is_none() && daemon.workers(name).is_empty();
            (none("probe") && none("never")).then_some(())
        });
        assert_eq!(states(&home), [("never", "asleep"), ("probe", "asleep"), ("warm", "ready")].map(owned));
        assert!(daemon.find_template("warm").is_some() && !daemon.workers("warm").is_empty());
        // Several at once, on all shards.
        let mut connections: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
        for connection in &mut connections {
            connection.send(get("/probe/fine"));
        }
        connections.iter_mut().for_each(|connection| connection.receive().assert_ok("fine"));
    }
    // One request after another at about the time at which it goes to sleep: each has its answer.
    for pause in (900..1300).step_by(40) {
        std::thread::sleep(Duration::from_millis(pause));
        daemon.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

fn owned((name, state): (&str, &str)) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// Functions and their states, by name.
fn states(home: &Home) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let mut states: Vec<_> =
        admin::functions(home).iter().map(|f| (text(&f["name"]), text(&f["state"]))).collect();
    states.sort();
    states
}
