//! Functions that exist to be stopped, beside a neighbour that never notices.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Response, post};
use hairtrigger_tests::process::Process;
use hairtrigger_tests::{artefacts, process};

use crate::{echo, own};

/// A crime: its directory, and status, outcome and end of the sentence of the answer; 200 with a body for
/// one that is merely refused.
struct Crime(&'static str, u16, &'static str, &'static str);

const CRIMES: &[Crime] = &[
    Crime("01-open-passwd", 200, "completed", "open: Permission denied"),
    Crime(
        "13-tcp-connect",
        502,
        "violation",
        "made the denied system call socket and was killed; do without that call.",
    ),
    Crime(
        "22-fork",
        502,
        "violation",
        "made the denied system call clone and was killed; do without that call.",
    ),
    Crime(
        "39-io-uring",
        502,
        "violation",
        "made the denied system call io_uring_setup and was killed; do without that call.",
    ),
    Crime(
        "51-memory-bomb",
        502,
        "out_of_memory",
        "used more than its memory limit and was killed; raise memory in its function.toml or use less.",
    ),
    Crime(
        "55-stack-overflow",
        502,
        "fault",
        "was ended by SIGSEGV (an invalid memory access or a stack overflow); see its output, or run it under a \
         debugger.",
    ),
    Crime(
        "59-busy-loop",
        504,
        "timeout",
        "was killed at its time limit of 300ms; raise timeout in its function.toml or do less at once.",
    ),
    Crime(
        "63-exit",
        502,
        "exited",
        "exited with code 0 in the middle of an invocation; return from invoke instead.",
    ),
];

impl Crime {
    #[track_caller]
    fn check(&self, answer: &Response) {
        let Self(name, status, outcome, rest) = self;
        if *status == 200 {
            answer.assert_ok(rest);
        } else {
            answer.assert_outcome(name, *status, outcome, &format!("Function {name} {rest}"));
        }
    }
}

/// A manifest of `plugins/hostile`, which names its library already.
fn add_hostile(home: &Home, name: &str) {
    let folder = artefacts::workspace().join("plugins/hostile").join(name);
    let manifest = std::fs::read_to_string(folder.join("function.toml"));
    let manifest = manifest.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let to = home.add_manifest(name, &manifest);
    let plugin = artefacts::function(&format!("plugins/hostile/{name}/{name}.c"));
    std::fs::copy(plugin, to.join(Path::new(name).with_extension("so"))).expect("a file can be copied");
}

/// The eight crimes, over and over and at the same time, while four clients of the neighbour check 10,000
/// answers.
#[test]
fn eight_crimes_beside_ten_thousand_right_answers() {
    const CLIENTS: usize = 4;
    const ANSWERS: usize = 10_000;
    let home = Home::new();
    home.add("neighbour", &echo(), "");
    CRIMES.iter().for_each(|crime| add_hostile(&home, crime.0));
    let daemon = home.start();
    let done = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let criminals: Vec<_> = CRIMES
            .iter()
            .map(|crime| {
                let (daemon, done) = (&daemon, &done);
                scope.spawn(move || {
                    let mut connection = daemon.connect();
                    let mut rounds = 0;
                    // Each round but the first shows that the function serves after its crime.
                    while rounds < 3 || !done.load(Ordering::Relaxed) {
                        crime.check(&connection.get(&format!("/{}", crime.0)));
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut connection = daemon.connect();
                    for number in 0..ANSWERS / CLIENTS {
                        let body = format!("{client}: {number} {}", "x".repeat(number % 3000));
                        let answer = connection.send(post("/neighbour", body.as_bytes())).receive();
                        answer.assert_ok(&body);
                    }
                })
            })
            .collect();
        let innocent = clients.into_iter().map(|client| client.join()).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        assert!(innocent.iter().all(Result::is_ok), "the neighbour noticed");
        criminals.into_iter().map(|criminal| criminal.join().expect("an exact answer")).collect::<Vec<i32>>()
    });
    assert!(rounds.iter().all(|rounds| *rounds >= 3), "{rounds:?}");
    daemon.stop();
}

/// The worker that is greedy is ended, and not the other of the same function.
#[test]
fn a_memory_bomb_does_not_reach_its_sibling() {
    let home = Home::new();
    let manifest = "timeout = \"20s\"\nmemory = \"32MiB\"\n[concurrency]\nprovisioned = 2\nmax = 2";
    home.add("probe", &own("probe"), manifest);
    let daemon = home.start();
    for _ in 0..5 {
        daemon.await_workers("probe", 2);
        daemon.await_own_groups("probe");
        let mut long = daemon.connect();
        long.send(hairtrigger_tests::http::get("/probe/sleep?400"));
        let bomb = daemon.get("/probe/bomb");
        assert_eq!((bomb.status, &bomb.json()["outcome"]), (502, &"out_of_memory".into()));
        assert_eq!(long.receive().status, 200, "the sibling completes");
    }
    daemon.stop();
}

/// In the first milliseconds of a worker, before it has entered its own group, RLIMIT_DATA bounds it, and lets
/// it go on for long enough that the group ends it.
#[test]
fn a_bomb_in_a_fresh_worker_ends_the_same_way() {
    let home = Home::new();
    home.add("probe", &own("probe"), "memory = \"32MiB\"\n[concurrency]\nprovisioned = 0\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for round in 0..20 {
        let answer = connection.get("/probe/bomb");
        assert_eq!(answer.json()["outcome"], "out_of_memory", "round {round}");
    }
    daemon.stop();
}

/// A function that is killed over and over leaves no process behind, dead ones that nobody reaped included.
#[test]
fn crimes_leave_no_process_behind() {
    let home = Home::new();
    add_hostile(&home, "22-fork");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..50 {
        assert_eq!(connection.get("/22-fork").status, 502);
    }
    process::eventually("one worker, as provisioned, and no remains of others", || {
        let names: Vec<String> = daemon.tree().iter().map(Process::name).collect();
        let count = |name: &str| names.iter().filter(|known| *known == name).count();
        // Of the function and of the parked runner.
        let all = [count("ht-init"), count("ht-template"), count("ht-worker")];
        (all == [2, 2, 1] && names.len() == 7).then_some(())
    });
    daemon.stop();
}
