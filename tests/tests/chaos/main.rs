//! Everything at once, at random: clients that check every answer, while processes are killed, settings read again,
//! descriptors taken away, and other clients do what they should not.
//!
//! A run lasts `HAIRTRIGGER_CHAOS_SECONDS` (20), and begins from `HAIRTRIGGER_CHAOS_SEED` or the clock; it prints the seed.
//! What follows from a seed is what is done, and in which order by each thread; not when.
//!
//! Left out, with reasons. Memory that is refused to the daemon: a program in Rust aborts at the first allocation that
//! fails, so this is the end that the second test here looks at. A wall clock that jumps: it is the machine's, a time namespace
//! has none of its own, and of the daemon only the Date field looks at it.

mod clients;
mod disk;
mod faults;
mod nuisances;
mod rest;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clients::{Client, Tally};
use faults::Faults;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::process::{eventually, left_after};
use hairtrigger_tests::random::Random;
use rest::Rest;

/// Clients that check what they get, and such that get in the way.
const CLIENTS: usize = 6;
const NUISANCES: usize = 3;
/// What a function of the daemon's that may run twice is called, and one that may not.
const FUNCTIONS: [&str; 2] = ["once", "again"];
/// What the daemon may grow by in 100,000 requests, in KiB.
const GROWTH: f64 = 1024.0;
/// A slope over fewer requests than this says nothing: what allocators keep is larger.
const ENOUGH_FOR_SLOPE: u64 = 200_000;
/// What they may keep, in KiB.
const KEPT: u64 = 32 * 1024;

/// Functions in C, by the name of their source in `tests/functions/`.
fn own(name: &str) -> PathBuf {
    hairtrigger_tests::artefacts::function(&format!("tests/functions/{name}.c"))
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number; found {text}")))
}

fn seconds() -> Duration {
    Duration::from_secs(number("HAIRTRIGGER_CHAOS_SECONDS").unwrap_or(20))
}

fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = number("HAIRTRIGGER_CHAOS_SEED").unwrap_or_else(clock);
    println!("seed: HAIRTRIGGER_CHAOS_SEED={seed}");
    seed
}

/// Two functions that echo, one of which may run twice.
fn deploy(home: &Home, function: &str, timeout: u64) {
    let idempotent = function == "again";
    let concurrency = "[concurrency]\nprovisioned = 2\nmax = 6\nidle = \"200ms\"";
    let manifest = format!("timeout = \"{timeout}s\"\nidempotent = {idempotent}\n{concurrency}");
    home.add(function, &own("slow_echo"), &manifest);
}

/// Tells the threads of a test to end, when it is dropped: also when the test fails, which would wait for them.
struct Ends<'o>(&'o AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn each_request_has_one_right_or_honest_answer_whatever_happens() {
    let mut random = Random::new(seed());
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    FUNCTIONS.iter().for_each(|function| deploy(&home, function, 30));
    let daemon = home.start();
    let address = daemon.address();
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    // What the first requests take for good is not what the others cost.
    let warm = |client: usize| Client::new(client, Random::new(7), address, &tally);
    (0..2).for_each(|client| warm(client).rounds(200));
    let before = Rest::await_quiet(&daemon);
    let mut faults = Faults::new(&daemon, random.another(), &tally);
    thread::scope(|scope| {
        let ends = Ends(&done);
        let (tally, done) = (&tally, &done);
        for client in 0..CLIENTS {
            let random = random.another();
            scope.spawn(move || {
                // Whoever waits for its answers is not to wait in vain.
                let _ends = Ends(done);
                Client::new(100 + client, random, address, tally).until(done);
            });
        }
        for _ in 0..NUISANCES {
            let random = random.another();
            scope.spawn(move || {
                let _ends = Ends(done);
                nuisances::until(random, address, done);
            });
        }
        let until = Instant::now() + seconds();
        while Instant::now() < until {
            assert!(!done.load(Ordering::Relaxed), "somebody was not served as everybody must be");
            faults.next();
        }
        drop(ends);
    });
    before.await_again(&daemon);
    println!("{}", tally.report());
    println!("{}", faults.report());
    let (slope, growth) = faults.memory();
    let requests = tally.count();
    println!("memory: {growth} KiB in {requests} requests; {slope:.0} KiB in 100,000");
    assert!(tally.right() > 1000, "hardly anything was served");
    if requests >= ENOUGH_FOR_SLOPE {
        assert!(slope <= GROWTH, "the daemon grows");
    } else {
        assert!(growth <= KEPT, "the daemon has grown");
    }
    // Of the janitor, which may have been killed, nothing is expected.
    daemon.stop();
}

/// Under load, too, nobody is told that there is no time for him, and no answer ends in its middle.
#[test]
fn a_daemon_told_to_end_under_load_cuts_nothing_short() {
    let mut random = Random::new(seed());
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    FUNCTIONS.iter().for_each(|function| deploy(&home, function, 30));
    for _ in 0..2 + seconds().as_secs() / 30 {
        let daemon = home.start();
        let address = daemon.address();
        let tally = Tally::default();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (random, tally) = (random.another(), &tally);
                scope.spawn(move || Client::new(client, random, address, tally).until_it_ends());
            }
            let wanted = 200 + random.below(800);
            eventually("clients are served", || (tally.right() >= wanted).then_some(()));
            daemon.stop();
        });
        println!("{}", tally.report());
    }
}

/// The janitor and the kernel remove everything that the daemon had, and the next one serves on the same address.
#[test]
fn a_daemon_killed_under_load_leaves_nothing_and_the_next_serves() {
    let mut random = Random::new(seed());
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    FUNCTIONS.iter().for_each(|function| deploy(&home, function, 30));
    let rounds = 3 + seconds().as_secs() / 30;
    let mut times = Vec::new();
    let mut daemon = home.start();
    home.configure(&format!("listen = \"{}\"\nshards = 2", daemon.address()));
    for round in 0..rounds {
        let address = daemon.address();
        let (tally, done) = (Tally::default(), AtomicBool::new(false));
        daemon = thread::scope(|scope| {
            let _ends = Ends(&done);
            for client in 0..CLIENTS {
                let (random, tally, done) = (random.another(), &tally, &done);
                scope.spawn(move || Client::new(client, random, address, tally).until_it_dies(done));
            }
            let wanted = 200 + random.below(800);
            eventually("clients are served", || (tally.right() >= wanted).then_some(()));
            let family = daemon.tree();
            let killed = Instant::now();
            daemon.kill();
            let next = home.start();
            Client::new(99, random.another(), address, &tally).rounds(1);
            times.push(killed.elapsed());
            assert_eq!(left_after(&family, Duration::from_secs(1)), [""; 0], "round {round}");
            next
        });
    }
    // Whoever is in a group is one of the living daemon's; the groups of dead ones are looked for at its end.
    eventually("nobody is left in groups", || {
        let inside = |group: PathBuf| std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let pids: String = home.groups.all().into_iter().map(inside).collect();
        let living: Vec<_> = daemon.tree().iter().map(|process| process.pid.to_string()).collect();
        pids.lines().all(|pid| living.iter().any(|known| known == pid)).then_some(())
    });
    println!("from SIGKILL to the next daemon's first right answer: {}", faults::spread(&mut times));
    daemon.stop();
}
