//! `isolation = "fresh"`: each invocation has a worker of its own, forked before it came, that ends with it.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{get, post};
use hairtrigger_tests::process::eventually;

use crate::{own, pattern};

/// Where a function finds what an earlier invocation has hidden. With `reuse`, in every place: so the seeking works.
#[test]
fn nothing_of_one_invocation_is_there_for_the_next() {
    for (isolation, found) in [
        ("reuse", "stack\ndata\nbss\nthread-local\nheap\nenvironment\ndescriptor\nname\nsignal mask\n"),
        ("fresh", ""),
    ] {
        let home = Home::new();
        home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
        let granted = home.path().join("granted");
        fs::create_dir(&granted).expect("a directory can be made");
        let manifest = format!(
            "isolation = \"{isolation}\"\ntimeout = \"20s\"\nenv = {{ GRANTED = {granted:?} }}\n\
             allow = {{ read = [{granted:?}] }}\nconcurrency = {{ provisioned = 1, max = 4 }}"
        );
        home.add("hoarder", &own("hoarder"), &manifest);
        let daemon = home.start();
        daemon.await_workers("hoarder", 1);
        let mut connection = daemon.connect();
        for secret in 0..8 {
            connection.get(&format!("/hoarder/hide?secret-{secret}")).assert_ok("hidden\n");
            connection.get("/hoarder/seek").assert_ok(found);
        }
        daemon.stop();
    }
}

/// Each has another process, also those that come at once and on several connections, and none serves twice; whatever
/// size their bodies have.
#[test]
fn each_invocation_has_a_worker_of_its_own() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add(
        "probe",
        &own("probe"),
        "isolation = \"fresh\"\ntimeout = \"20s\"\n[concurrency]\nprovisioned = 2\nmax = 8",
    );
    home.add(
        "echo",
        &crate::echo(),
        "isolation = \"fresh\"\ntimeout = \"20s\"\nmax_request = \"2MiB\"\nmax_response = \"2MiB\"\n[concurrency]\nmax = 8",
    );
    let daemon = home.start();
    let served: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut connection = daemon.connect();
                scope.spawn(move || {
                    let ask = |_| {
                        let answer = connection.get("/probe/pid");
                        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
                        answer.text().to_owned()
                    };
                    (0..100).map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("an answer each")).collect()
    });
    assert_eq!(served.len(), 400);
    assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), 400, "a process each: {served:?}");
    let bytes = pattern(1_500_000);
    let mut connection = daemon.connect();
    for length in [0, 1, 5_000, 300_000, 1_500_000, 7] {
        let answer = connection.send(post("/echo", &bytes[..length])).receive();
        assert_eq!((answer.status, &*answer.body), (200, &bytes[..length]), "{length} bytes");
    }
    daemon.get("/probe/count").assert_ok("1\n");
    daemon.stop();
}

/// Those that are kept warm are such as have served nothing; they are there again by themselves, and when nobody asks
/// any more no other is.
#[test]
fn the_pool_is_filled_again_and_goes_down_again() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add(
        "probe",
        &own("probe"),
        "isolation = \"fresh\"\ntimeout = \"20s\"\n[concurrency]\nprovisioned = 2\nmax = 16\nidle = \"300ms\"",
    );
    let daemon = home.start();
    let before: BTreeSet<i32> = daemon.await_workers("probe", 2).iter().map(|worker| worker.pid).collect();
    let mut slow = daemon.connect();
    slow.send(get("/probe/sleep?2000"));
    // One serves, and two that have served nothing are there beside it.
    let three = daemon.await_workers("probe", 3);
    assert!(
        before.iter().all(|pid| three.iter().any(|worker| worker.pid == *pid)),
        "{before:?} are there still"
    );
    let mut connection = daemon.connect();
    for _ in 0..200 {
        assert_eq!(connection.get("/probe/pid").status, 200);
    }
    assert_eq!(slow.receive().status, 200);
    let after = daemon.await_workers("probe", 2);
    assert!(after.iter().all(|worker| !before.contains(&worker.pid)), "they have all served");
    daemon.stop();
}

/// A worker that does not end by itself when it has answered is ended.
#[test]
fn a_worker_is_ended_that_would_go_on() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add(
        "probe",
        &own("probe"),
        "isolation = \"fresh\"\ntimeout = \"20s\"\n[concurrency]\nprovisioned = 1\nmax = 2",
    );
    let daemon = home.start();
    let first = daemon.await_workers("probe", 1);
    assert_eq!(daemon.get("/probe/pid").status, 200);
    eventually("it has ended", || fs::metadata(format!("/proc/{}", first[0].pid)).is_err().then_some(()));
    daemon.get("/probe/count").assert_ok("1\n");
    daemon.stop();
}
