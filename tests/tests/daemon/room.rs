//! `max_workers`: the host has as many workers as it may, whoever wants them, and nobody goes without for long.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, get};
use hairtrigger_tests::process::{Process, eventually};

use crate::{Ends, own};

/// Functions of the same plugin with these tables `concurrency`, on a host of four workers.
fn four_workers(functions: &[(&str, &str)]) -> Home {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2\nmax_workers = 4");
    for (name, concurrency) in functions {
        home.add(name, &own("probe"), &format!("timeout = \"20s\"\nconcurrency = {{ {concurrency} }}"));
    }
    home
}

fn workers(daemon: &Daemon<'_>) -> usize {
    daemon.tree().iter().filter(|process: &&Process| process.name() == "ht-worker").count()
}

/// Keeps as many connections busy with a function as it says, while something else is done; the host never has more than
/// four workers.
fn beside_a_flood(daemon: &Daemon<'_>, path: &str, deed: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&done);
        let clients: Vec<_> = (0..12)
            .map(|_| {
                let (mut connection, done) = (daemon.connect(), &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(connection.get(path).status, 200);
                    }
                })
            })
            .collect();
        let watch = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(workers(daemon) <= 4, "{:?}", daemon.tree());
                thread::sleep(Duration::from_millis(2));
            }
        });
        deed();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("each is served"));
        watch.join().expect("never more");
    });
}

/// One function would take all of them for as long as it is flooded: it gives one up for another that has none, however
/// long or short its own invocations are.
#[test]
fn a_flooded_function_leaves_room_for_others() {
    for path in ["/flooded/sleep?30", "/flooded/pid"] {
        let home =
            four_workers(&[("flooded", "provisioned = 0, max = 16"), ("other", "provisioned = 0, max = 16")]);
        let daemon = home.start();
        beside_a_flood(&daemon, path, || {
            eventually("it has all it can get", || (!daemon.workers("flooded").is_empty()).then_some(()));
            for _ in 0..5 {
                let begin = Instant::now();
                daemon.get("/other/fine").assert_ok("fine");
                assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
            }
        });
        daemon.stop();
    }
}

/// A call of another function costs a flooded one the worker that it needs, and no more; also where the flooded one has
/// more than it reserves.
#[test]
fn one_call_costs_one_worker() {
    for reserved in [0, 2] {
        let flooded = format!("provisioned = 0, reserved = {reserved}, max = 16");
        let home = four_workers(&[("flooded", &flooded), ("other", "provisioned = 0, max = 16")]);
        let daemon = home.start();
        beside_a_flood(&daemon, "/flooded/sleep?30", || {
            let pids =
                |workers: Vec<Process>| workers.iter().map(|worker| worker.pid).collect::<BTreeSet<_>>();
            let before = pids(daemon.await_workers("flooded", 4));
            daemon.get("/other/fine").assert_ok("fine");
            let after = pids(daemon.await_workers("flooded", 3));
            assert!(after.is_subset(&before), "{before:?}, then {after:?}");
        });
        daemon.stop();
    }
}

/// Where all that there is was promised, a new version gets its first worker from the one before it.
#[test]
fn a_full_host_takes_a_new_version() {
    for (warm, concurrency) in
        [(2, "provisioned = 2, max = 4"), (1, "provisioned = 1, reserved = 2, max = 4")]
    {
        let home = four_workers(&[("one", concurrency), ("two", concurrency)]);
        let daemon = home.start();
        ["one", "two"].iter().for_each(|name| drop(daemon.await_workers(name, warm)));
        home.add(
            "one",
            &own("probe"),
            &format!("env = {{ GREETING = \"new\" }}\nconcurrency = {{ {concurrency} }}"),
        );
        let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        eventually("the new version serves", || {
            let answer = daemon.get("/one/env");
            assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
            (answer.text() == "new").then_some(())
        });
        daemon.get("/two/fine").assert_ok("fine");
        assert!(workers(&daemon) <= 4);
        daemon.stop();
    }
}

/// Two that are flooded have two each.
#[test]
fn two_floods_share() {
    let home = four_workers(&[("one", "provisioned = 0, max = 16"), ("two", "provisioned = 0, max = 16")]);
    let daemon = home.start();
    beside_a_flood(&daemon, "/one/sleep?30", || {
        daemon.await_workers("one", 4);
        beside_a_flood(&daemon, "/two/sleep?30", || {
            eventually("two each", || {
                let each = ["one", "two"].map(|name| daemon.workers(name).len());
                (each == [2, 2]).then_some(())
            });
        });
        // All are its own again.
        daemon.await_workers("one", 4);
    });
    daemon.stop();
}

/// What is reserved nobody else gets, and it is there at once.
#[test]
fn reserved_workers_are_kept_free() {
    let home = four_workers(&[
        ("flooded", "provisioned = 0, max = 16"),
        ("careful", "provisioned = 0, reserved = 2, max = 16"),
    ]);
    let daemon = home.start();
    beside_a_flood(&daemon, "/flooded/sleep?30", || {
        daemon.await_workers("flooded", 2);
        let mut slow = [daemon.connect(), daemon.connect()];
        slow.iter_mut().for_each(|connection| {
            connection.send(get("/careful/sleep?500"));
        });
        daemon.await_workers("careful", 2);
        assert_eq!(daemon.workers("flooded").len(), 2, "it has lost none");
        slow.iter_mut().for_each(|connection| assert_eq!(connection.receive().status, 200));
    });
    daemon.stop();
}

/// Workers that only wait for work go at once where others want them; those that are kept warm stay.
#[test]
fn idle_workers_make_room() {
    let home = four_workers(&[
        ("idle", "provisioned = 1, max = 16, idle = \"60m\""),
        ("other", "provisioned = 0, max = 16, idle = \"60m\""),
    ]);
    let daemon = home.start();
    let slow = |name: &str, count: usize| {
        let mut connections: Vec<_> = (0..count).map(|_| daemon.connect()).collect();
        for connection in &mut connections {
            connection.send(get(&format!("/{name}/sleep?2000")));
        }
        daemon.await_workers(name, count);
        connections.iter_mut().for_each(|connection| assert_eq!(connection.receive().status, 200));
    };
    slow("idle", 4);
    assert_eq!(daemon.workers("idle").len(), 4, "they stay as long as nobody else wants them");
    slow("other", 3);
    assert_eq!(daemon.workers("idle").len(), 1, "the one that is kept warm");
    daemon.get("/idle/fine").assert_ok("fine");
    daemon.stop();
}

#[test]
fn more_cannot_be_promised_than_there_are() {
    let home = four_workers(&[("one", "provisioned = 3, max = 16"), ("two", "reserved = 2, max = 16")]);
    let said = home.refusal(1).join("\n");
    let sentence = "5 workers are reserved or provisioned by all functions together, and max_workers is 4; raise that, or \
                    lower concurrency.reserved or concurrency.provisioned";
    assert!(said.contains(sentence), "{said}");
}
