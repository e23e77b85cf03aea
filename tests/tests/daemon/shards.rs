//! Several shards are one daemon: whoever takes a connection, a function's limits and answers are the same.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, get, post};
use hairtrigger_tests::process::eventually;

use crate::{Ends, echo, own, pattern};

const SHARDS: usize = 3;
/// The kernel deals them out by their ports: that one shard gets none of so many does not happen.
const CONNECTIONS: usize = 48;

fn home() -> Home {
    let home = Home::new();
    let config = fs::read_to_string(home.config()).expect("a home has a configuration");
    fs::write(home.config(), format!("{config}shards = {SHARDS}\n")).expect("a file can be written");
    home
}

fn connect(daemon: &Daemon<'_>) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| daemon.connect()).collect()
}

/// CPU time of each shard's thread, in nanoseconds.
fn cpu_of_shards(daemon: &Daemon<'_>) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(daemon.process.path("task")).expect("the daemon runs");
    let times = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let time = times.split(' ').next()?.parse().ok()?;
        name.starts_with("shard-").then_some((name, time))
    });
    times.collect()
}

#[test]
fn every_shard_takes_connections_and_gets_its_own_workers() {
    let home = home();
    home.add("probe", &own("probe"), "timeout = \"10s\"");
    let daemon = home.start();
    let before = cpu_of_shards(&daemon);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["shard-0", "shard-1", "shard-2"]);
    let mut connections = connect(&daemon);
    for _ in 0..50 {
        for connection in &mut connections {
            connection.send(get("/probe/fine"));
        }
        for connection in &mut connections {
            connection.receive().assert_ok("fine");
        }
    }
    let after = cpu_of_shards(&daemon);
    for (shard, before) in &before {
        // Far less than 500 requests take, and far more than a shard that waits.
        assert!(after[shard] - before > 500_000, "{shard} did nothing: {before} to {} ns", after[shard]);
    }
    daemon.stop();
}

/// One worker in all, whose shard has a third of the connections: the others hand their requests over.
#[test]
fn a_function_of_one_worker_has_one_and_serves_all_connections() {
    let home = home();
    home.add("echo", &echo(), "[concurrency]\nmax = 1\nqueue = 4096");
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 0\nmax = 1\nqueue = 4096");
    let daemon = home.start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = [0, 0];
            while !over.load(Ordering::Relaxed) {
                most =
                    [most[0].max(daemon.workers("echo").len()), most[1].max(daemon.workers("probe").len())];
            }
            most
        });
        let end = Ends(&over);
        let mut connections = connect(&daemon);
        for round in 0..20 {
            let body = |n: usize| pattern(n * 331 + round);
            for (n, connection) in connections.iter_mut().enumerate() {
                connection.send(post("/echo", &body(n))).send(get("/probe/fine"));
            }
            for (n, connection) in connections.iter_mut().enumerate() {
                connection.receive().assert_ok(body(n));
                connection.receive().assert_ok("fine");
            }
        }
        drop(end);
        assert_eq!(watch.join().expect("the watch sees the workers"), [1, 1]);
    });
    let pids: Vec<String> = connect(&daemon)
        .iter_mut()
        .map(|connection| connection.get("/probe/pid").text().to_owned())
        .collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    daemon.stop();
}

#[test]
fn a_long_body_is_handed_over_whole() {
    let home = home();
    let limits = "max_request = \"16MiB\"\nmax_response = \"16MiB\"\ntimeout = \"10s\"";
    home.add("echo", &echo(), &format!("{limits}\n[concurrency]\nmax = 1"));
    let daemon = home.start();
    let body = pattern(12 << 20);
    for mut connection in (0..8).map(|_| daemon.connect()) {
        connection.post("/echo", &body).assert_ok(&body);
    }
    daemon.stop();
}

#[test]
fn outcomes_come_back_from_the_shard_of_the_worker() {
    let home = home();
    home.add("probe", &own("probe"), "timeout = \"300ms\"\n[concurrency]\nmax = 1\nqueue = 4096");
    let daemon = home.start();
    for mut connection in (0..8).map(|_| daemon.connect()) {
        assert_eq!(connection.get("/probe/fail?7").json()["outcome"], "function_error");
        let crash = connection.get("/probe/null");
        assert_eq!((crash.status, &crash.json()["outcome"]), (502, &"fault".into()));
        assert_eq!(crash.json()["invocation"], crash.invocation());
        let slow = connection.get("/probe/spin");
        assert_eq!((slow.status, &slow.json()["outcome"]), (504, &"timeout".into()));
        let timed = "GET /probe/fine HTTP/1.1\r\nHost: localhost\r\nx-hairtrigger-timing: 1\r\n\r\n";
        let answer = connection.send(timed).receive();
        answer.assert_ok("fine");
        assert!(answer.header("server-timing").contains("run;dur="), "{answer:?}");
    }
    daemon.stop();
}

/// The one worker dies under load again and again: somebody hears of each death, all others are served.
#[test]
fn a_worker_that_dies_is_replaced_for_all_shards() {
    let home = home();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nmax = 1\nqueue = 4096");
    let daemon = home.start();
    let mut connections = connect(&daemon);
    for round in 0..10 {
        for (n, connection) in connections.iter_mut().enumerate() {
            let path = if n % 12 == round { "/probe/abort" } else { "/probe/fine" };
            connection.send(get(path));
        }
        for (n, connection) in connections.iter_mut().enumerate() {
            let answer = connection.receive();
            if n % 12 == round {
                assert_eq!(answer.json()["outcome"], "fault");
            } else if answer.status != 200 {
                // What waited in the channel behind the abort and was begun with it.
                panic!("{answer:?}");
            }
        }
    }
    // The last one that died may still be missed.
    daemon.await_workers("probe", 1);
    daemon.stop();
}

#[test]
fn clients_that_leave_cost_the_others_nothing() {
    let home = home();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nmax = 1\nqueue = 4096");
    let daemon = home.start();
    let mut leaving = connect(&daemon);
    for connection in &mut leaving {
        connection.send(get("/probe/sleep?20"));
    }
    drop(leaving);
    for connection in &mut connect(&daemon) {
        connection.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

#[test]
fn a_drain_waits_for_what_was_handed_over() {
    let home = home();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nmax = 1\nqueue = 4096");
    let daemon = home.start();
    let mut connections: Vec<_> = (0..12).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?50"));
    }
    // One that came after them is answered: they are in the shards.
    daemon.get("/probe/fine").assert_ok("fine");
    let begun = Instant::now();
    daemon.stop_while(|_| {
        for connection in &mut connections {
            let answer = connection.receive();
            assert_eq!(answer.status, 200);
            connection.assert_closed();
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody waited for the end of the drain");
}

/// Workers that stand idle on one shard serve the others before more are started.
#[test]
fn provisioned_workers_are_dealt_out_and_found_by_all() {
    let home = home();
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 4\nmax = 4");
    let daemon = home.start();
    let there: Vec<String> =
        daemon.await_workers("probe", 4).iter().map(|worker| worker.pid.to_string()).collect();
    for connection in &mut connect(&daemon) {
        connection.get("/probe/fine").assert_ok("fine");
    }
    let now: Vec<String> = eventually("the workers stand", || {
        let workers = daemon.workers("probe");
        (workers.len() == 4).then(|| workers.iter().map(|worker| worker.pid.to_string()).collect())
    });
    assert_eq!(now, there);
    daemon.stop();
}

/// A request that was handed over for a worker that another one got first goes on to where a worker is idle, and does not
/// wait for a busy one: as many requests as there may be workers are served at the same time, each by its own.
#[test]
fn a_crowd_of_as_many_as_there_may_be_workers_is_served_at_once() {
    let home = home();
    let manifest = format!(
        "timeout = \"20s\"\n[concurrency]\nprovisioned = 0\nmax = {CONNECTIONS}\nidle = \"2500ms\"\nunload = \"1h\""
    );
    home.add("probe", &own("probe"), &manifest);
    let daemon = home.start();
    for crowd in 0..2 {
        // All have to be started, and shorter than a worker may be idle: none is given up for another shard's sake.
        daemon.await_workers("probe", 0);
        let mut connections = connect(&daemon);
        for connection in &mut connections {
            connection.send(get("/probe/sleep?2000"));
        }
        let mut pids: Vec<String> = connections.iter_mut().map(|c| c.receive().text().to_owned()).collect();
        pids.sort();
        pids.dedup();
        assert_eq!(pids.len(), CONNECTIONS, "crowd {crowd}: one worker has served two in turn: {pids:?}");
    }
    daemon.stop();
}
