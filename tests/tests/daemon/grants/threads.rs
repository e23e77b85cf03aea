//! `threads`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hairtrigger_tests::groups::value;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::process::{Process, eventually};

use super::{Asked, At, EVERYWHERE};
use crate::{Ends, echo, own, pattern};

const ONE_WORKER: &str = "[concurrency]\nmax = 1";

fn with_threads(at: At, threads: u32, rest: &str, test: impl FnOnce(Asked<'_>)) {
    at.with("threads", &format!("threads = {threads}\n{rest}\n{ONE_WORKER}"), test);
}

#[test]
fn so_many_threads_and_no_more() {
    for at in EVERYWHERE {
        with_threads(at, 5, "", |threads| {
            // Again and again by the same worker.
            for _ in 0..20 {
                threads.says("crowd?5", "5: Success");
                threads.says("crowd?6", "5: Resource temporarily unavailable");
                threads.says("crowd?100", "5: Resource temporarily unavailable");
            }
        });
        with_threads(at, 1, "", |threads| {
            threads.says("row?2000", "2000: Success");
            threads.says("crowd?2", "1: Resource temporarily unavailable");
        });
    }
}

/// Threads that ask at the same moment, each for one more.
#[test]
fn the_last_places_are_given_away_once() {
    for at in EVERYWHERE {
        // Below level full, stacks are the manifest's memory.
        with_threads(at, 24, "memory = \"512MiB\"", |threads| {
            for _ in 0..10 {
                threads.says("race?16", "8");
                // The threads that were made stay until their worker ends.
                threads.says("crowd?17", "16: Resource temporarily unavailable");
                aborts(threads, "die");
            }
        });
    }
}

#[test]
fn without_the_grant_a_thread_is_a_violation() {
    for at in EVERYWHERE {
        at.with("threads", "", |threads| {
            threads.is_denied("crowd?1", "clone");
            threads.is_denied("processors", "sched_getaffinity");
        });
    }
}

/// A thread does no more than the first one may, and ends as the whole worker.
#[test]
fn what_a_thread_does_its_worker_answers_for() {
    for at in EVERYWHERE {
        with_threads(at, 2, "timeout = \"20s\"", |threads| {
            threads.is_denied("deny", "socket");
            threads.is_denied("fork", "clone");
            threads.is_denied("like-vfork", "clone");
            threads.is_denied("untraced", "clone");
            threads.is_denied("kill?1", "tgkill");
            let segv = "was ended by SIGSEGV (an invalid memory access or a stack overflow); see its output, or run \
                        it under a debugger.";
            threads.is_ended("crash", 502, "fault", segv);
            threads.says("signal", "Success");
            threads.says("processors", "told, of others: Permission denied");
            aborts(threads, "abort");
            threads.says("crowd?2", "2: Success");
        });
    }
}

#[track_caller]
fn aborts(threads: Asked<'_>, command: &str) {
    let rest = "was ended by SIGABRT (it aborted); see its output, or run it under a debugger.";
    threads.is_ended(command, 502, "fault", rest);
}

/// One worker, once it has answered.
fn worker(threads: Asked<'_>) -> Process {
    assert_eq!(crate::levels::get(threads.daemon, "/threads/pid").status, 200);
    let mut tree = threads.daemon.tree().into_iter();
    tree.rfind(|process| process.name() == "ht-worker").expect("it has just answered")
}

#[test]
fn the_deadline_ends_all_threads() {
    for at in EVERYWHERE {
        with_threads(at, 3, "timeout = \"2s\"", |threads| {
            for command in ["spin?3", "leave"] {
                let worker = worker(threads);
                let rest = "was killed at its time limit of 2s; raise timeout in its function.toml or do less at \
                            once.";
                threads.is_ended(command, 504, "timeout", rest);
                assert!(worker.ends_within(Duration::from_secs(5)), "{command} at {at:?}: threads go on");
                threads.says("crowd?3", "3: Success");
            }
        });
    }
}

#[test]
fn memory_of_threads_is_their_workers() {
    let rest = "memory = \"48MiB\"\ntimeout = \"20s\"";
    with_threads(At::Full, 4, rest, |threads| {
        threads.daemon.await_own_groups("threads");
        let memory =
            "used more than its memory limit and was killed; raise memory in its function.toml or use less.";
        threads.is_ended("memory", 502, "out_of_memory", memory);
        threads.says("crowd?4", "4: Success");
    });
}

/// As many stacks as threads fit beside the memory at level full, whatever the manifest says of memory.
#[test]
fn the_most_threads_fit_the_least_memory() {
    with_threads(At::Full, 64, "memory = \"4MiB\"", |threads| threads.says("crowd?64", "64: Success"));
}

#[test]
fn stacks_are_memory_where_there_are_no_groups() {
    for at in [At::Userns, At::Bare] {
        with_threads(at, 16, "memory = \"64MiB\"", |threads| {
            let answer = crate::levels::get(threads.daemon, "/threads/crowd?16");
            let (made, reason) = answer.text().split_once(": ").expect("a number and a reason");
            let made: u32 = made.parse().expect("a number");
            assert!((4..=8).contains(&made), "{made} stacks of 8 MiB at {at:?}");
            assert_eq!(reason, "Resource temporarily unavailable");
        });
    }
}

#[test]
fn init_may_use_threads_and_must_not_leave_any() {
    let loads = |rest: &str| {
        let home = Home::new();
        home.add("threads", &own("threads"), &format!("threads = 3\n[env]\n{rest}"));
        let daemon = home.start();
        let answer = daemon.get("/threads/crowd?3");
        let said = if answer.status == 200 {
            answer.text().to_owned()
        } else {
            answer.json()["message"].as_str().expect("a sentence").to_owned()
        };
        daemon.stop();
        said
    };
    assert_eq!(loads("LOADS = \"3\""), "3: Success");
    assert_eq!(
        loads("LOADS = \"4\""),
        "Function threads could not be started: init returned 1: Resource temporarily unavailable; mend it and load \
         it again."
    );
    assert_eq!(
        loads("LEAVES = \"1\""),
        "Function threads could not be started: its initialisation left 1 threads running, which a fork does not \
         keep; mend it and load it again."
    );
}

/// The group is behind the gate: each worker with its threads, those that are on their way out too.
#[test]
fn the_group_has_room_for_the_threads() {
    let home = Home::new();
    home.add("threads", &own("threads"), "threads = 4\n[concurrency]\nmax = 3");
    let daemon = home.start();
    let group = home.groups.of("pids", daemon.template("threads").pid);
    assert_eq!(value(&group, "pids.max"), (3 * (1 + 2 * 4) + 2).to_string());
    daemon.stop();
}

/// A thread that goes on when its reply is there, and writes over it: whatever comes of it is its own function's, and
/// the neighbour gets what is his.
#[test]
fn a_thread_that_writes_over_its_reply_harms_nobody_else() {
    for at in EVERYWHERE {
        let home = Home::new();
        at.add(&home, "threads", &format!("threads = 1\ntimeout = \"5s\"\n{ONE_WORKER}"));
        match at {
            At::Full => drop(home.add("echo", &echo(), "timeout = \"60s\"")),
            At::Userns | At::Bare => {
                crate::levels::add(&home, "echo", "plugins/echo/echo.c", "timeout = \"60s\"");
            }
        }
        let daemon = at.serve(&home);
        let asked = Asked { at, name: "threads", daemon: &daemon };
        asked.says("crowd?1", "1: Success");
        let body = pattern(20_000);
        crate::levels::get(&daemon, "/echo");
        let over = AtomicBool::new(false);
        let (mut spoilt, mut exchanged) = (0, 0);
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| {
                let mut connection = daemon.connect();
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = connection.post("/echo", &body);
                    assert!(answer.status == 200 && answer.body.ends_with(&body), "{}", answer.status);
                    count += 1;
                }
                count
            });
            let ends = Ends(&over);
            for _ in 0..100 {
                let answer = crate::levels::get(&daemon, "/threads/scribble");
                let proper = answer.status == 200 && answer.body == b"proper";
                spoilt += u32::from(!proper);
                assert!(matches!(answer.status, 200 | 500 | 502 | 504), "{}", answer.status);
            }
            drop(ends);
            exchanged = neighbour.join().expect("the neighbour gets what is his");
        });
        assert!(exchanged > 0);
        assert!(spoilt > 0, "at {at:?} nothing was ever written over: the test shows nothing");
        eventually("it serves again", || {
            let answer = daemon.get("/threads/crowd?0");
            (answer.status == 200 && answer.text() == "0: Success").then_some(())
        });
        daemon.stop();
    }
}
