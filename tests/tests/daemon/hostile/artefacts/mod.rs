//! Crime 93: plugins that are no plugins. Damaged, built for another machine, of another contract, half copied, or with
//! code that runs before anybody has asked it to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use hairtrigger_tests::admin::functions;
use hairtrigger_tests::artefacts;
use serde_json::Value;

use super::answers::is_printable;
use super::*;

mod damaged;
mod refused;

mod files;

/// Every copy is deployed with this: what hangs in an invocation is not waited for long.
const MANIFEST: &str = "timeout = \"250ms\"\n[concurrency]\nprovisioned = 0\nmax = 1";

/// A daemon with the neighbour, whose stream goes on while `deed` is done; after it, and after what it deployed is
/// gone, there is what was there before.
fn beside_the_neighbour(deed: impl FnOnce(&Daemon<'_>)) {
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST);
    let daemon = home.start();
    let neighbour = Neighbour::of(&daemon);
    thread::scope(|scope| {
        let _ends = Ends(&neighbour.done);
        let stream = neighbour.start(scope);
        let before = Rest::before(&daemon, 1);
        neighbour.serves_during(|| deed(&daemon));
        neighbour.await_answers(ANSWERS);
        remove_all(&home);
        before.await_again(&daemon);
        neighbour.done.store(true, Ordering::Relaxed);
        stream.join().expect("the neighbour noticed");
    });
    daemon.stop();
}

/// Has everything read again, in which nothing is wrong.
#[track_caller]
fn reload(home: &Home) {
    let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
}

/// Removes all functions but the neighbour, and waits until nothing is left of them, for as long as it becomes less.
fn remove_all(home: &Home) {
    for entry in fs::read_dir(home.functions()).expect("it is there").flatten() {
        if entry.file_name() != NEIGHBOUR {
            fs::remove_dir_all(entry.path()).expect("what was deployed can be removed");
        }
    }
    reload(home);
    let mut left = functions(home).len();
    while left > 1 {
        // What is left when it becomes no less, is told.
        let fewer = |now: &[Value]| if now.len() < left { Vec::new() } else { now.to_vec() };
        eventually_equal("one less", &Vec::new(), || fewer(&functions(home)));
        left = functions(home).len();
    }
}

/// What the daemon says first of a function: why it is not served, or nothing if it is loaded.
fn verdict(daemon: &Daemon<'_>, name: &str) -> Option<String> {
    verdict_since(daemon, name, 0)
}

/// As [`verdict`], behind so many lines.
fn verdict_since(daemon: &Daemon<'_>, name: &str, lines: usize) -> Option<String> {
    let (loaded, not) = (format!("loaded {name} in "), format!("function {name} cannot be served"));
    let is_one = |line: &str| line.starts_with(&loaded) || line.starts_with(&not);
    let earlier = daemon.lines().iter().take(lines).filter(|line| is_one(line)).count();
    let said = daemon.await_lines(earlier + 1, is_one);
    let reason = said.strip_prefix(&not)?;
    let reason = reason.strip_prefix(": ").or_else(|| {
        // One that took too long may have had bad luck.
        reason
            .strip_prefix(" yet: ")
            .and_then(|rest| rest.split_once("; it is loaded again in "))
            .map(|(why, _)| why)
    });
    Some(reason.unwrap_or_else(|| panic!("{said}")).to_owned())
}

/// That a caller hears the same reason.
#[track_caller]
fn assert_told(answer: &Response, name: &str, reason: &str) {
    let sentence = format!("Function {name} could not be started: {reason}; mend it and load it again.");
    answer.assert_outcome(name, 503, "init_failed", &sentence);
}

/// Deploys a function whose plugin is made of these bytes.
fn deploy(home: &Home, name: &str, plugin: &[u8], manifest: &str) {
    let file = home.path().join("plugin");
    fs::write(&file, plugin).expect("a file can be written");
    home.add(name, &file, manifest);
}
