//! A plugin that cannot be served is refused with the reason; the others are served.

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;

use crate::{echo, own};

/// Starts a daemon with one plugin in trouble between two good ones, and checks that everybody is told.
fn check(plugin: &str, reason: &str) {
    let home = Home::new();
    home.add("a-good", &echo(), "").add("bad", &own(plugin), "").add("good", &echo(), "");
    let daemon = home.start();
    check_answers(&daemon, reason);
    let line = format!("function bad cannot be served: {reason}");
    assert!(daemon.lines().contains(&line), "{:?}", daemon.lines());
    daemon.stop();
}

fn check_answers(daemon: &Daemon<'_>, reason: &str) {
    let sentence = format!("Function bad could not be started: {reason}; mend it and load it again.");
    let mut connection = daemon.connect();
    for _ in 0..3 {
        let answer = connection.get("/bad");
        answer.assert_outcome("bad", 503, "init_failed", &sentence);
        assert_eq!(answer.header("retry-after"), "1");
        connection.get("/good").assert_ok("GET /good\n");
        connection.get("/a-good").assert_ok("GET /a-good\n");
    }
}

#[test]
fn of_another_abi_version() {
    check("wrong_version", "the plugin is refused: built for ABI version 999, this host speaks 1");
}

#[test]
fn without_the_symbol() {
    check("no_symbol", "the plugin exports no symbol hairtrigger_function");
}

#[test]
fn whose_init_refuses() {
    // The header promises that the line logged last is the reason given.
    check("init_fails", "init returned 7: there is no model to load");
}

/// More than a pipe holds: somebody must read it while init runs, and all of it must stand before the verdict.
#[test]
fn whose_init_writes_much() {
    let home = Home::new();
    home.add("good", &own("init_writes"), "").add("bad", &own("init_writes"), "[env]\nREFUSES = \"yes\"");
    let daemon = home.start();
    daemon.get("/good").assert_ok("fine");
    let lines = daemon.lines();
    let verdict = "function bad cannot be served: init returned 7: all is written";
    let stands =
        lines.iter().position(|line| line == verdict).unwrap_or_else(|| panic!("no verdict in {lines:?}"));
    // Not all of them, since the daemon writes only so much at once; but in their place.
    let of_init: Vec<_> = (0..lines.len()).filter(|&at| lines[at].starts_with("[bad] line ")).collect();
    assert!(of_init.len() > 100 && of_init.iter().all(|&at| at < stands), "{of_init:?} and {stands}");
    daemon.stop();
}

#[test]
fn whose_init_crashes() {
    let what = "was ended by SIGSEGV (an invalid memory access or a stack overflow)";
    check("init_crashes", &format!("its initialisation {what}"));
}

#[test]
fn whose_init_makes_a_denied_call() {
    check("init_denied", "its initialisation made the denied system call socket");
}

#[test]
fn whose_constructor_makes_a_denied_call() {
    check("constructor_denied", "its initialisation made the denied system call socket");
}

#[test]
fn that_is_no_shared_object() {
    let home = Home::new();
    let folder = home.add_manifest("bad", "name = \"bad\"\nlibrary = \"bad.so\"\n");
    std::fs::write(folder.join("bad.so"), "no ELF file ".repeat(100)).expect("writable");
    home.add("a-good", &echo(), "").add("good", &echo(), "");
    let daemon = home.start();
    check_answers(&daemon, "the plugin cannot be loaded: its file is no shared object");
    daemon.stop();
}

/// Others are loaded and served while one is still waited for, and that one is given up after ten seconds.
#[test]
fn whose_init_never_ends() {
    let home = Home::new();
    home.add("a-hangs", &own("init_hangs"), "").add("bad", &own("init_hangs"), "").add("good", &echo(), "");
    let mut daemon = Daemon::spawn(&home);
    daemon.await_address();
    daemon.await_line(|line| line.starts_with("loaded good "));
    daemon.get("/good").assert_ok("GET /good\n");
    let reason = "its initialisation took longer than 10s";
    // It may have been the host's fault, so it is tried again; meanwhile callers hear at once what is wrong.
    for name in ["bad", "a-hangs"] {
        let line = format!("function {name} cannot be served yet: {reason}; it is loaded again in ");
        daemon.await_line(|found| found.starts_with(&line));
    }
    let sentence = format!("Function bad could not be started: {reason}; mend it and load it again.");
    daemon.get("/bad").assert_outcome("bad", 503, "init_failed", &sentence);
    daemon.get("/good").assert_ok("GET /good\n");
    daemon.stop();
}

#[test]
fn whose_workers_never_start() {
    let home = Home::new();
    home.add("bad", &own("start_fails"), "").add("good", &echo(), "");
    let daemon = home.start();
    let reason = "its workers end before they can serve: the last one exited with code 121";
    let sentence = format!("Function bad could not be started: {reason}; mend it and load it again.");
    daemon.get("/bad").assert_outcome("bad", 503, "init_failed", &sentence);
    daemon.get("/good").assert_ok("GET /good\n");
    daemon.stop();
}
