//! The calls that the policy allows, with arguments as bad as they come: what is allowed must be harmless whatever it is
//! given. The calls are those of the policy's own table.
//!
//! For a few seconds; for as many as `HAIRTRIGGER_FIRE_SECONDS` says, which `tests/fire.sh` sets.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::policy::table::{Condition, POLICY, Rule, effective};

use super::answers::outcome;
use super::*;

/// How long it takes, in seconds, if nobody says otherwise.
const SECONDS: u64 = 5;
const SECONDS_VARIABLE: &str = "HAIRTRIGGER_FIRE_SECONDS";
/// Calls of one invocation: a few of them end it early, so that the more there are, the fewer come to the end.
const CALLS: u64 = 64;
/// Workers, and clients that keep them busy.
const WORKERS: usize = 4;
/// What hangs in a call is not waited for long.
const MANIFEST: &str = "timeout = \"200ms\"\nmemory = \"64MiB\"\n[concurrency]\nprovisioned = 4\nmax = 4";
/// Fewer completed calls in a second than this are no fire.
const LEAST_RATE: u64 = 1_000;
/// How much more memory the daemon may have in the end: in KiB, and in KiB for each 100,000 invocations.
const GROWTH: (u64, u64) = (4 * 1024, 1024);

/// What came of the invocations of a client.
#[derive(Debug, Default)]
struct Tally {
    /// Calls that came back, of invocations that came to their end.
    calls: u64,
    /// Those of them that were not refused by the kernel.
    well: u64,
    invocations: u64,
    /// By outcome, and by the name of the call that was denied.
    outcomes: BTreeMap<String, u64>,
}

#[test]
fn allowed_calls_with_hostile_arguments_harm_nobody_else() {
    let seconds = env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{SECONDS_VARIABLE} must be a number of seconds; found {text:?}"))
    });
    let half = Duration::from_secs(seconds) / 2;
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST).add("fire", &own("fire"), MANIFEST);
    let daemon = home.start();
    let neighbour = Neighbour::of(&daemon);
    let kernel = kernel_log();
    thread::scope(|scope| {
        let _ends = Ends(&neighbour.done);
        let stream = neighbour.start(scope);
        let before = Rest::before(&daemon, 1 + WORKERS);
        let answers = || neighbour.answers.load(Ordering::Relaxed);
        // What the daemon has once it is warm is in use; what comes on top of that is not.
        let first = fire(&daemon, 0, half);
        let (memory, answered) = (daemon.process.resident(), answers());
        let second = fire(&daemon, 1, half);
        let growth = daemon.process.resident().saturating_sub(memory);
        let invocations = second.invocations + answers() - answered;
        let sum = first.and(second);
        println!(
            "{} calls completed, {} of them without an error, {} a second; {} invocations: {:?}\n\
             the neighbour gave {} answers, each as it should be; the daemon has {growth} KiB more after the second half",
            sum.calls,
            sum.well,
            sum.calls / seconds,
            sum.invocations,
            sum.outcomes,
            answers(),
        );
        assert!(sum.calls >= LEAST_RATE * seconds, "{} calls in {seconds} s", sum.calls);
        assert!(growth <= GROWTH.0 + GROWTH.1 * invocations / 100_000, "the daemon has {growth} KiB more");
        // New workers: those that there are may have given themselves other names.
        home.add("fire", &own("fire"), &format!("max_request = \"1MiB\"\n{MANIFEST}"));
        daemon.process.signal(libc::SIGHUP);
        daemon.await_line(|line| line.starts_with("reloaded ") && line.contains(" 1 changed"));
        before.await_again(&daemon);
        neighbour.done.store(true, Ordering::Relaxed);
        stream.join().expect("the neighbour noticed");
    });
    let trouble = trouble_since(&kernel, &kernel_log());
    assert_eq!(trouble, [""; 0], "the kernel's log has warnings");
    daemon.stop();
}

/// Keeps all workers busy for a time; the numbers of a turn are those of no other.
fn fire(daemon: &Daemon<'_>, turn: u64, time: Duration) -> Tally {
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let seeds = (0..WORKERS as u64).map(|client| (turn * WORKERS as u64 + client) << 32);
        let clients: Vec<_> = seeds.map(|seeds| scope.spawn(move || invoke(daemon, seeds, until))).collect();
        let tallies =
            clients.into_iter().map(|client| client.join().expect("each invocation ends in an outcome"));
        tallies.fold(Tally::default(), Tally::and)
    })
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        self.calls += other.calls;
        self.well += other.well;
        self.invocations += other.invocations;
        other.outcomes.into_iter().for_each(|(name, count)| *self.outcomes.entry(name).or_default() += count);
        self
    }
}

/// One invocation after the other.
fn invoke(daemon: &Daemon<'_>, seeds: u64, until: Instant) -> Tally {
    let rules = rules();
    let mut connection = daemon.connect();
    let mut tally = Tally::default();
    let whole = format!("{CALLS} calls, ");
    for seed in seeds.. {
        if Instant::now() >= until {
            break;
        }
        let words: Vec<u64> = [seed, CALLS].into_iter().chain(rules.iter().copied()).collect();
        let body: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        let answer = connection.post("/fire", &body);
        tally.invocations += 1;
        let text = String::from_utf8_lossy(&answer.body);
        let well = text.strip_prefix(&whole).and_then(|rest| rest.strip_suffix(" well")?.parse::<u64>().ok());
        let outcome = match (answer.status, well) {
            (200, Some(well @ 0..=CALLS)) => {
                tally.calls += CALLS;
                tally.well += well;
                "completed".to_owned()
            }
            // What it answers when a call has written into its own memory is its own affair.
            _ => match (outcome("fire", &answer), text.split_once("system call ")) {
                (outcome, Some((_, call))) => {
                    format!("{outcome}: {}", call.split(" and was").next().unwrap_or(call))
                }
                (outcome, None) => outcome,
            },
        };
        *tally.outcomes.entry(outcome).or_default() += 1;
    }
    tally
}

/// The policy of a function without grants, as the function takes it: how many rules, and the rules.
fn rules() -> Vec<u64> {
    let mut words = Vec::new();
    let mut count = 0;
    let mut rule = |number, weight, conditions: &[Condition]| {
        count += 1;
        words.extend([u64::try_from(number).expect("a number of a call"), weight, conditions.len() as u64]);
        words.extend(conditions.iter().flat_map(|must| [must.argument.into(), must.mask, must.value]));
    };
    for entry in effective(POLICY, &[]) {
        match entry.rule {
            Rule::Allow => rule(entry.number, weight(entry.number), &[]),
            Rule::AllowIf(ways) => ways.iter().for_each(|way| rule(entry.number, weight(entry.number), way)),
            // The warden decides, and most of what it is asked here ends the worker.
            Rule::Gate => rule(entry.number, 1, &[]),
            // Never carried out.
            Rule::Refuse | Rule::RefuseIf(_) => {}
        }
    }
    words.insert(0, count);
    words
}

/// How often a call is drawn: rarely what ends the worker whatever it is given, what often ends it or makes it wait, and
/// what takes its channel away.
fn weight(number: libc::c_long) -> u64 {
    match number {
        libc::SYS_exit | libc::SYS_exit_group | libc::SYS_rt_sigreturn | libc::SYS_close_range => 1,
        libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep
        | libc::SYS_futex
        | libc::SYS_close
        | libc::SYS_membarrier => 2,
        libc::SYS_munmap
        | libc::SYS_mprotect
        | libc::SYS_mmap
        | libc::SYS_mremap
        | libc::SYS_brk
        | libc::SYS_rseq => 4,
        libc::SYS_write | libc::SYS_writev | libc::SYS_read | libc::SYS_readv | libc::SYS_pread64 => 8,
        _ => 32,
    }
}

/// The kernel's log.
fn kernel_log() -> String {
    const READ_ALL: libc::c_int = 3;
    let mut bytes = vec![0_u8; 4 << 20];
    let room = i32::try_from(bytes.len()).expect("4 MiB");
    // SAFETY: the buffer has as many bytes as is said, and outlives the call.
    let length = unsafe { libc::klogctl(READ_ALL, bytes.as_mut_ptr().cast(), room) };
    let length = usize::try_from(length).expect("root may read the kernel's log");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// What the kernel says of itself in `now` beyond what it had said `before`. That a worker was ended is no trouble.
fn trouble_since(before: &str, now: &str) -> Vec<String> {
    const TROUBLE: &[&str] = &[
        "WARNING: ",
        "BUG: ",
        "Oops",
        "kernel BUG",
        "KASAN",
        "UBSAN",
        "refcount_t",
        "stall",
        "soft lockup",
        "blocked for more than",
        "page allocation failure",
    ];
    // Each line begins with its time; old ones fall out of the log.
    let new = match before.lines().last().and_then(|last| now.find(last).map(|at| at + last.len())) {
        Some(at) => &now[at..],
        None => now,
    };
    let is_trouble = |line: &&str| TROUBLE.iter().any(|word| line.contains(word));
    new.lines().filter(is_trouble).map(str::to_owned).collect()
}

#[test]
fn what_the_kernel_says_of_itself_is_found() {
    let before = "<4>[1.0] WARNING: of old\n<6>[2.0] usual\n";
    let now = format!("{before}<6>[3.0] ht-worker[7]: segfault at 8\n<4>[4.0] BUG: sleeping function\n");
    assert_eq!(trouble_since(before, &now), ["<4>[4.0] BUG: sleeping function"]);
    assert_eq!(
        trouble_since(before, "<4>[9.0] WARNING: x"),
        ["<4>[9.0] WARNING: x"],
        "the old lines are gone"
    );
    assert_eq!(trouble_since("", ""), [""; 0]);
}
