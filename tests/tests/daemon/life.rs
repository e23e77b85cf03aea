//! Whoever dies, nothing is left behind, and what can go on goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::{Process, eventually, left_after};

use crate::{echo, own};

/// How long what a dead daemon had may outlive it.
const AFTERMATH: Duration = Duration::from_secs(1);

fn home() -> Home {
    let home = Home::new();
    home.add("echo", &echo(), "").add(
        "probe",
        &own("probe"),
        "timeout = \"10s\"\n[concurrency]\nprovisioned = 2",
    );
    home
}

/// Everything that a daemon of this home comes to have: its janitor, an ns-init and a template for each
/// function and for the parked runner, three workers.
fn whole_family(daemon: &Daemon<'_>) -> Vec<Process> {
    eventually("the whole family", || {
        let family = daemon.tree();
        let count = |name: &str| family.iter().filter(|process| process.name() == name).count();
        let all = [count("ht-janitor"), count("ht-init"), count("ht-template"), count("ht-worker")];
        (all == [1, 3, 3, 3]).then_some(family)
    })
}

#[test]
fn sigterm_leaves_nothing_and_answers_what_is_under_way() {
    let home = home();
    let daemon = home.start();
    let family = whole_family(&daemon);
    let mut idle = daemon.connect();
    idle.get("/echo").assert_ok("GET /echo\n");
    let mut busy = daemon.connect();
    busy.send(get("/probe/sleep?500"));
    // A request that arrives on another connection after it is under way: both are in the shard.
    daemon.get("/probe/fine").assert_ok("fine");
    daemon.stop_while(|daemon| {
        let begun = Instant::now();
        idle.assert_closed();
        let answer = busy.receive();
        assert!(begun.elapsed() < Duration::from_secs(5), "it did not wait for those who ask for nothing");
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
        busy.assert_closed();
        assert!(std::net::TcpStream::connect(daemon.address()).is_err(), "no more connections are taken");
    });
    assert_eq!(left_after(&family, Duration::ZERO), [""; 0]);
}

/// A template's dialogue ends in the closing of the setup socket. An init that still looked at that would take it for the
/// daemon's death, and end: it must have closed everything before its template begins.
#[test]
fn no_template_begins_before_its_init_has_closed_everything() {
    let home = Home::new();
    for number in 0..120 {
        home.add(&format!("echo-{number}"), &echo(), "");
    }
    let mut daemon = Daemon::spawn(&home);
    daemon.await_address();
    let loaded = |daemon: &Daemon<'_>| {
        daemon.lines().iter().filter(|line| line.starts_with("loaded ")).count() == home.count()
    };
    // The moment is short, so it is looked for as often as can be, while runners are made for all functions.
    let (mut begun, mut looks) = (BTreeSet::new(), 0);
    let started = Instant::now();
    while !loaded(&daemon) {
        assert!(started.elapsed() < Duration::from_secs(60), "they are not all loaded: {:?}", daemon.lines());
        for init in children(daemon.process.pid) {
            for template in children(init) {
                looks += 1;
                if begun.contains(&template) {
                    continue;
                }
                let name = fs::read_to_string(format!("/proc/{template}/comm")).unwrap_or_default();
                if name != "ht-template\n" {
                    continue;
                }
                let open = fs::read_dir(format!("/proc/{init}/fd")).map_or(0, Iterator::count);
                assert_eq!(open, 0, "descriptors of an init whose template has begun");
                begun.insert(template);
            }
        }
    }
    assert!(begun.len() > 40, "only {} templates were seen at all, in {looks} looks", begun.len());
    daemon.stop();
}

/// The processes that a process's threads have made.
fn children(parent: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let of_thread =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads
        .map(of_thread)
        .flat_map(|line| line.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

#[test]
fn sigint_is_as_good() {
    let home = home();
    let daemon = home.start();
    let family = whole_family(&daemon);
    daemon.process.signal(libc::SIGINT);
    assert_eq!(left_after(&family, AFTERMATH + Duration::from_secs(4)), [""; 0]);
    assert!(home.groups.all().is_empty());
}

/// Again and again, on one port and one state directory, with no pause between.
#[test]
fn a_killed_daemon_takes_everything_with_it_and_the_next_starts_at_once() {
    let home = home();
    for round in 0..3 {
        let daemon = home.start();
        home.listen(daemon.address());
        let family = whole_family(&daemon);
        let mut busy = daemon.connect();
        busy.send(get("/probe/sleep?5000"));
        daemon.get("/probe/fine").assert_ok("fine");
        daemon.kill();
        let next = (round == 1).then(|| home.start());
        assert_eq!(left_after(&family, AFTERMATH), [""; 0], "round {round}");
        if let Some(next) = next {
            next.get("/echo").assert_ok("GET /echo\n");
            next.stop();
        }
        // The janitor has ended, and it removes the groups first.
        assert!(home.groups.all().is_empty(), "round {round}: {:?}", home.groups.all());
        assert!(busy.try_receive().is_err(), "nobody answers for the dead");
    }
}

#[test]
fn with_the_janitor_killed_too_the_next_start_removes_and_counts() {
    let home = home();
    let daemon = home.start();
    let family = whole_family(&daemon);
    let janitor = daemon.janitor();
    janitor.signal(libc::SIGKILL);
    assert!(janitor.ends_within(AFTERMATH));
    daemon.get("/echo").assert_ok("GET /echo\n");
    daemon.kill();
    assert_eq!(left_after(&family, AFTERMATH), [""; 0], "the processes go without the janitor's help");
    // Three slots in each hierarchy; the leaves below them and the roots above are not counted.
    let slots = 3 * home.groups.hierarchies();
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains('.'));
    assert_eq!(home.groups.all().iter().filter(|path| named(path)).count(), slots, "{:?}", home.groups.all());

    let next = home.start();
    let line = next.await_line(|line| line.starts_with("removed "));
    assert_eq!(line, format!("removed what an earlier daemon left behind: 0 processes, {slots} groups"));
    next.get("/echo").assert_ok("GET /echo\n");
    next.stop();
    let third = home.start();
    assert!(!third.lines().iter().any(|line| line.starts_with("removed ")), "nothing was left");
    third.stop();
}

/// Exactly one answer, which does not pretend, and then service again.
fn check_after_killing(which: impl Fn(&Daemon<'_>) -> Process, expected: &[&str]) {
    let home = home();
    let daemon = home.start();
    whole_family(&daemon);
    for _ in 0..3 {
        let mut busy: Vec<_> = (0..2).map(|_| daemon.connect()).collect();
        for connection in &mut busy {
            connection.send(get("/probe/sleep?3000"));
        }
        // Both are under way once a third request had to wait for a third worker.
        daemon.get("/probe/fine").assert_ok("fine");
        let victim = which(&daemon);
        victim.signal(libc::SIGKILL);
        assert!(victim.ends_within(AFTERMATH));
        let mut killed = 0;
        for connection in &mut busy {
            let answer = connection.receive();
            if answer.status == 200 {
                continue;
            }
            let json = answer.json();
            let label = json["outcome"].as_str().expect("a label");
            assert!(expected.contains(&label), "{} {json}", answer.status);
            assert!((500..600).contains(&answer.status));
            killed += 1;
            connection.get("/probe/fine").assert_ok("fine");
        }
        assert!(killed <= 2);
        daemon.get("/echo").assert_ok("GET /echo\n");
        daemon.get("/probe/fine").assert_ok("fine");
        // Wait until the function has its provisioned workers again.
        eventually("the workers are back", || (daemon.workers("probe").len() >= 2).then_some(()));
    }
    daemon.stop();
}

#[test]
fn a_killed_worker_costs_one_invocation() {
    check_after_killing(
        |daemon| daemon.workers("probe").into_iter().next().expect("two are busy"),
        &["fault"],
    );
}

#[test]
fn a_killed_template_is_loaded_again() {
    check_after_killing(|daemon| daemon.template("probe"), &["fault"]);
}

#[test]
fn a_killed_ns_init_is_made_again() {
    check_after_killing(|daemon| daemon.ns_init("probe"), &["fault"]);
}

/// The daemon itself ends a template that does not fork, and its workers with it. That is no shutdown, and nobody is told
/// that it is one; an invocation that may be repeated is.
#[test]
fn a_template_that_has_to_go_is_no_shutdown() {
    for idempotent in [false, true] {
        let home = Home::new();
        home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
        let manifest = "timeout = \"30s\"\n[concurrency]\nprovisioned = 1\nmax = 2";
        home.add("probe", &own("probe"), &format!("idempotent = {idempotent}\n{manifest}"));
        let daemon = home.start();
        daemon.await_workers("probe", 1);
        daemon.template("probe").signal(libc::SIGSTOP);
        let [mut busy, mut waiting] = [(); 2].map(|()| daemon.connect());
        busy.send(get("/probe/sleep?7000"));
        // It makes the daemon want another worker, for which the template is given some seconds.
        waiting.send(get("/probe/fine"));
        let answer = busy.receive();
        if idempotent {
            assert_eq!(answer.status, 200, "{}", answer.text());
        } else {
            let sentence = "Function probe was ended by SIGKILL; see its output, or run it under a debugger.";
            answer.assert_outcome("probe", 502, "fault", sentence);
        }
        waiting.receive().assert_ok("fine");
        daemon.stop();
    }
}
