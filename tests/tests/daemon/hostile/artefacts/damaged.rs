//! Five hundred copies that were damaged on their way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use hairtrigger_tests::damage::damages;
use hairtrigger_tests::random::Random;

use super::super::answers::outcome;
use super::*;

/// Damaged copies of each of two plugins, one in C and one in C++.
const COPIES: usize = 250;
/// Clients that ask what could be loaded.
const CLIENTS: usize = 4;
/// How much more memory the daemon may have after the second half than after the first, in KiB.
const GROWTH: u64 = 8 * 1024;

/// What may be said of a plugin that was damaged anywhere, up to what differs.
fn is_one_of_the_reasons(reason: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().is_ok();
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| reason.starts_with(beginning));
    let exited = |text: &str| {
        let code = text.strip_suffix(", as the loader does when a file is damaged; see its output");
        match code {
            Some(code) => code == "127",
            None => number(text) && text != "127",
        }
    };
    match reason.strip_prefix("its initialisation ") {
        Some(ending) => {
            ending.strip_prefix("exited with code ").is_some_and(exited)
                || ["was ended by ", "made the denied system call "]
                    .iter()
                    .any(|beginning| ending.strip_prefix(beginning).is_some_and(|rest| !rest.is_empty()))
                || ["took longer than 10s", "used more than its memory limit"].contains(&ending)
        }
        None => {
            begins(&["the plugin cannot be loaded: ", "the plugin is refused: built ", "init returned "])
                || ["exports no symbol hairtrigger_function", "symbol hairtrigger_function is no descriptor"]
                    .iter()
                    .any(|what| {
                        reason == format!("the plugin {what}") || reason == format!("the plugin's {what}")
                    })
        }
    }
}

/// Every one of them is loaded or not, and everybody is told which, and why.
#[test]
fn c93_five_hundred_damaged_copies_disturb_nobody() {
    beside_the_neighbour(|daemon| {
        let mut random = Random::new(93);
        let mut memory = Vec::new();
        for source in ["plugins/echo/echo.c", "plugins/aggregate/aggregate.cpp"] {
            let plugin = stripped(daemon.home, source);
            let copies: Vec<_> = damages(&plugin, COPIES, &mut random)
                .into_iter()
                .enumerate()
                .map(|(number, damage)| Copy {
                    name: format!("damaged-{number:03}"),
                    what: damage.to_string(),
                    plugin: damage.done_to(&plugin, &mut random),
                })
                .collect();
            println!("{COPIES} of {source}:");
            try_all(daemon, &copies);
            remove_all(daemon.home);
            memory.push(daemon.process.resident());
        }
        println!("the daemon's memory after each half, in KiB: {memory:?}");
        assert!(memory[1] <= memory[0] + GROWTH, "{memory:?}");
    });
}

/// A damaged copy.
struct Copy {
    name: String,
    what: String,
    plugin: Vec<u8>,
}

/// What is said of a runner that did not answer in time.
const SPAWNER_WAITED: &str = "the sandbox could not talk to the spawner (timed out)";

/// Deploys these copies at once, hears of each what becomes of it, and asks it.
fn try_all(daemon: &Daemon<'_>, copies: &[Copy]) {
    let before = daemon.lines().len();
    copies.iter().for_each(|copy| deploy(daemon.home, &copy.name, &copy.plugin, MANIFEST));
    reload(daemon.home);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut loaded, mut busy) = (Vec::new(), 0);
    for copy in copies {
        let Copy { name, what, .. } = copy;
        match verdict_since(daemon, name, before) {
            // The host's fault and not the copy's: so many ends of network namespaces at once keep new ones waiting.
            Some(reason) if reason == SPAWNER_WAITED => busy += 1,
            Some(reason) => {
                assert!(is_one_of_the_reasons(&reason) && is_printable(&reason), "{what}: {reason:?}");
                assert_told(&daemon.get(&format!("/{name}")), name, &reason);
                *reasons.entry(reason).or_default() += 1;
            }
            None => loaded.push(copy),
        }
    }
    assert!(busy <= copies.len() / 10, "the sandbox of {busy} copies could not be set up");
    let next = AtomicUsize::new(0);
    let ask = || {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        while let Some(Copy { name, .. }) = loaded.get(next.fetch_add(1, Ordering::Relaxed)) {
            *outcomes.entry(outcome(name, &daemon.get(&format!("/{name}")))).or_default() += 1;
        }
        outcomes
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().expect("every answer is one")).collect()
    });
    println!("{} loaded, and then: {outcomes:?}\nthe others: {reasons:#?}", loaded.len());
    // Of each kind there are some, or nothing was tried.
    assert!(loaded.len() > copies.len() / 10 && reasons.len() > 10, "{} {reasons:?}", loaded.len());
}

/// A plugin without what only debuggers read, so that what is damaged is what is loaded.
fn stripped(home: &Home, source: &str) -> Vec<u8> {
    let to = home.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&to).arg(artefacts::function(source)).status();
    assert!(status.expect("there are binutils").success());
    fs::read(to).expect("it was made just now")
}
