//! Versions of a function come and go beneath its callers, and leave nothing behind.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, get};
use hairtrigger_tests::process::eventually;

use crate::{Ends, own};

const SETTINGS: &str = "timeout = \"10s\"\n[concurrency]\nprovisioned = 1\nmax = 2\nqueue = 4096";

fn home() -> Home {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home
}

/// Deploys the version that greets with this word.
fn deploy(home: &Home, word: &str) {
    home.add("probe", &own("probe"), &format!("{SETTINGS}\n[env]\nGREETING = \"{word}\""));
}

fn reload(home: &Home) {
    let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn templates(daemon: &Daemon<'_>, home: &Home) -> usize {
    let uid = Some(home.uid("probe"));
    daemon.tree().iter().filter(|process| process.name() == "ht-template" && process.uid() == uid).count()
}

/// The word that new requests are greeted with.
fn await_word(daemon: &Daemon<'_>, word: &str) {
    eventually("the new version serves", || (daemon.get("/probe/env").text() == word).then_some(()));
}

#[test]
fn versions_follow_each_other_under_load_without_a_failed_request() {
    let home = home();
    deploy(&home, "v0");
    let daemon = home.start();
    let over = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let end = Ends(&over);
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = daemon.connect();
                let mut last = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = connection.get("/probe/env");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let version: usize = answer.text()[1..].parse().expect("the greeting of a version");
                    assert!(version >= last, "version {version} answered after {last}");
                    last = version;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for version in 1..=20 {
            deploy(&home, &format!("v{version}"));
            reload(&home);
            await_word(&daemon, &format!("v{version}"));
        }
        drop(end);
    });
    assert!(answered.load(Ordering::Relaxed) > 1000);
    eventually("the old versions are gone", || (templates(&daemon, &home) == 1).then_some(()));
    eventually("their workers are gone", || (daemon.workers("probe").len() <= 2).then_some(()));
    daemon.stop();
}

#[test]
fn an_old_version_finishes_what_it_has() {
    let home = home();
    deploy(&home, "old");
    let daemon = home.start();
    let mut busy: Vec<_> = (0..6).map(|_| daemon.connect()).collect();
    for connection in &mut busy {
        connection.send(get("/probe/sleep?2000"));
    }
    // Two are under way, four wait; one of them is answered when all are in the shards.
    busy[0].receive();
    deploy(&home, "new");
    reload(&home);
    eventually("both versions are there", || (templates(&daemon, &home) == 2).then_some(()));
    for connection in &mut busy[1..] {
        assert_eq!(connection.receive().status, 200);
    }
    await_word(&daemon, "new");
    eventually("the old version is gone", || (templates(&daemon, &home) == 1).then_some(()));
    daemon.stop();
}

#[test]
fn a_version_whose_workers_die_leaves_the_old_one_in_place() {
    let home = home();
    deploy(&home, "old");
    let daemon = home.start();
    let good = fs::read(home.functions().join("probe/probe.so")).expect("it was deployed");
    home.add("probe", &own("start_fails"), SETTINGS);
    reload(&home);
    let line = daemon.await_line(|line| line.contains("the one before it goes on"));
    assert!(line.starts_with("The new version of function probe does not serve: "), "{line}");
    daemon.get("/probe/env").assert_ok("old");
    eventually("nothing is left of the new one", || (templates(&daemon, &home) == 1).then_some(()));
    // Put right, it is served.
    fs::write(home.functions().join("probe/probe.so"), good).expect("a file can be written");
    deploy(&home, "mended");
    reload(&home);
    await_word(&daemon, "mended");
    daemon.stop();
}

#[test]
fn a_body_that_was_on_its_way_goes_to_the_version_that_is_there() {
    let home = home();
    deploy(&home, "old");
    let daemon = home.start();
    let mut slow = daemon.connect();
    slow.send("POST /probe/env HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    // Answered on another connection later than the head came in: which shard has it does not matter.
    await_word(&daemon, "old");
    deploy(&home, "new");
    reload(&home);
    await_word(&daemon, "new");
    eventually("the old version is gone", || (templates(&daemon, &home) == 1).then_some(()));
    slow.send("cd").receive().assert_ok("new");
    let mut gone = daemon.connect();
    gone.send("POST /probe/env HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab");
    await_word(&daemon, "new");
    fs::remove_dir_all(home.functions().join("probe")).expect("it was deployed");
    reload(&home);
    eventually("the function is gone", || (templates(&daemon, &home) == 0).then_some(()));
    assert_eq!(gone.send("cd").receive().json()["outcome"], "no_such_function");
    daemon.stop();
}
