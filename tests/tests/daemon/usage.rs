//! What functions have used: counted to the last call, and billed by the kernel's clocks.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hairtrigger_tests::admin::usage;
use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, Response, get};
use hairtrigger_tests::process::eventually;
use serde_json::{Value, json};

use crate::{Ends, own};

const SHARDS: &str = "listen = \"127.0.0.1:0\"\nshards = 2";

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The outcome that an answer tells of.
fn outcome(answer: &Response) -> String {
    let of_daemon = answer.headers.contains(&("content-type".to_owned(), "application/json".to_owned()));
    if of_daemon {
        answer.json()["outcome"].as_str().expect("a label").to_owned()
    } else {
        "completed".to_owned()
    }
}

/// Kills workers of a function one after the other, until told to end; how many it has killed.
fn kill_workers(daemon: &Daemon<'_>, name: &str, pause: Duration, over: &AtomicBool) -> usize {
    let mut killed = 0;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(pause);
        if let Some(worker) = daemon.workers(name).into_iter().nth(killed % 2) {
            worker.signal(libc::SIGKILL);
            killed += 1;
        }
    }
    killed
}

/// What one client's answers come to.
#[derive(Debug, Default)]
struct Heard {
    outcomes: BTreeMap<String, u64>,
    /// Bytes of the bodies of those that completed.
    bytes: u64,
}

impl Heard {
    fn add(&mut self, answer: &Response) {
        let outcome = outcome(answer);
        if outcome == "completed" {
            self.bytes += answer.body.len() as u64;
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn join(mut self, other: Self) -> Self {
        other
            .outcomes
            .into_iter()
            .for_each(|(outcome, count)| *self.outcomes.entry(outcome).or_default() += count);
        self.bytes += other.bytes;
        self
    }
}

/// As many calls of each outcome as the clients have had answers of it, also while workers die under them. There are 3,600
/// calls, or as many as `HAIRTRIGGER_COUNTED_CALLS` says, with fewer deaths to a call: then the CPU time is held against the
/// kernel's as well, of which each death loses what was used since the clock was read.
#[test]
fn every_call_is_counted_once() {
    const CLIENTS: u64 = 6;
    const CALLS: u64 = 600;
    let wanted = std::env::var("HAIRTRIGGER_COUNTED_CALLS").ok();
    let (calls, exits, pause) = wanted.as_ref().map_or((CALLS, 100, Duration::from_millis(10)), |wanted| {
        let calls = wanted.parse::<u64>().expect("a number of calls") / CLIENTS;
        (calls, 10_000, Duration::from_millis(100))
    });
    let home = Home::new();
    home.configure(SHARDS);
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nprovisioned = 3\nmax = 4");
    let daemon = home.start();
    let over = AtomicBool::new(false);
    let (heard, killed) = thread::scope(|scope| {
        let ends = Ends(&over);
        let killer = scope.spawn(|| kill_workers(&daemon, "probe", pause, &over));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut connection = daemon.connect();
                scope.spawn(move || {
                    let paths = [
                        "/probe/fine",
                        "/probe/status?404",
                        "/probe/fail?3",
                        "/probe/burn?1",
                        "/probe/exit?1",
                    ];
                    // The last, which ends its worker, now and then.
                    let path = |call: u64| {
                        if call % exits == 7 {
                            paths[4]
                        } else {
                            paths[usize::try_from((call + client) % 4).expect("one of four")]
                        }
                    };
                    let mut heard = Heard::default();
                    (0..calls).for_each(|call| heard.add(&connection.get(path(call))));
                    heard
                })
            })
            .collect();
        let heard = clients.into_iter().map(|client| client.join().expect("every call is answered"));
        let heard = heard.fold(Heard::default(), Heard::join);
        drop(ends);
        (heard, killer.join().expect("it kills"))
    });
    assert!(killed > 10, "only {killed} workers were killed");
    let Heard { outcomes, bytes } = heard;
    assert!(
        outcomes["exited"] > 0 && outcomes["function_error"] > 0 && outcomes["completed"] > 0,
        "{outcomes:?}"
    );
    let used = usage(&home, "probe");
    assert_eq!(used["outcomes"], json!(outcomes));
    assert_eq!(number(&used["invocations"]), CLIENTS * calls);
    let starts = used["starts"].as_object().expect("a table").values().map(number).sum::<u64>();
    assert_eq!(starts, CLIENTS * calls);
    assert_eq!(number(&used["bytes_out"]), bytes);
    // Workers that are there have started and not ended.
    eventually("the workers add up", || {
        let (used, there) = (usage(&home, "probe"), daemon.workers("probe").len() as u64);
        let workers = &used["workers"];
        (number(&workers["started"]) == number(&workers["ended"]) + there).then_some(())
    });
    assert!(number(&used["workers"]["ended"]) > 10, "{used}");
    let billed = number(&used["cpu_us"]) + number(&used["overhead_cpu_us"]);
    let counted = number(&used["group_cpu_us"]);
    println!(
        "{} calls, {killed} workers killed, {outcomes:?}; billed {billed} of {counted} us",
        CLIENTS * calls
    );
    if wanted.is_some() {
        assert!(billed.abs_diff(counted) <= counted / 50, "billed {billed} us, counted {counted} us");
    }
    // Nobody has asked for a line of each.
    assert!(!daemon.lines().iter().any(|line| line.starts_with("REPORT")));
    daemon.stop();
}

/// What is billed is what the kernel counts for the function's group, to within a hundredth, although workers are killed at
/// their time limit, and by others. Of each of the latter, what it used since its clock was read is lost.
#[test]
fn cpu_time_is_what_the_kernel_counts() {
    let home = Home::new();
    home.configure(SHARDS);
    home.add("probe", &own("probe"), "timeout = \"2s\"\n[concurrency]\nprovisioned = 2\nmax = 4");
    let daemon = home.start();
    daemon.await_workers("probe", 2);
    let over = AtomicBool::new(false);
    let killed = thread::scope(|scope| {
        let ends = Ends(&over);
        let killer = scope.spawn(|| kill_workers(&daemon, "probe", Duration::from_millis(700), &over));
        let clients: Vec<_> = ["use?100", "use?30", "use?30", "spin"]
            .map(|command| {
                let (home, mut connection) = (&home, daemon.connect());
                scope.spawn(move || {
                    // Others may have the cores as well: until enough was used, however long that takes.
                    while number(&usage(home, "probe")["group_cpu_us"]) < 4_000_000 {
                        connection.get(&format!("/probe/{command}"));
                    }
                })
            })
            .into();
        clients.into_iter().for_each(|client| client.join().expect("every call is answered"));
        drop(ends);
        killer.join().expect("it kills") as u64
    });
    // The clock is read when a worker becomes idle, or soon after.
    eventually("what is billed is what was used", || {
        let used = usage(&home, "probe");
        let billed = number(&used["cpu_us"]) + number(&used["overhead_cpu_us"]);
        let counted = number(&used["group_cpu_us"]);
        println!("billed {billed}, counted {counted}: {used}");
        assert!(number(&used["outcomes"]["timeout"]) > 0, "{used}");
        let none_twice = billed <= counted + counted / 100;
        // Twice the time between two readings: who reads has to come to it.
        let none_lost = counted.saturating_sub(billed) <= killed * 20_000 + counted / 100;
        (none_twice && none_lost).then_some(())
    });
    daemon.stop();
}

/// One line for each call, whatever comes of it, and together they have used what is billed.
#[test]
fn each_call_is_reported_once_if_that_is_wanted() {
    const CALLS: usize = 40;
    let home = Home::new();
    home.configure(&format!("{SHARDS}\nreport = true"));
    home.add(
        "probe",
        &own("probe"),
        "timeout = \"300ms\"\n[concurrency]\nprovisioned = 2\nmax = 3\nqueue = 1",
    );
    let daemon = home.start();
    let paths = [
        "/probe/fine",
        "/probe/use?20",
        "/probe/fail?3",
        "/probe/exit?1",
        "/probe/spin",
        "/probe/answer?100",
    ];
    let answers: Vec<Response> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let mut connection = daemon.connect();
                scope.spawn(move || {
                    (0..CALLS).map(|call| connection.get(paths[(call + client) % 6])).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("every call is answered")).collect()
    });
    let is_report = |line: &str| line.starts_with("REPORT ");
    daemon.await_lines(answers.len(), is_report);
    let lines: Vec<_> = daemon.lines().into_iter().filter(|line| is_report(line)).collect();
    assert_eq!(lines.len(), answers.len());
    let fields = |line: &str| -> BTreeMap<String, String> {
        let fields = line.split(' ').skip(1).map(|field| field.split_once('=').expect("a name and a value"));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let mut by_id: BTreeMap<String, _> =
        lines.iter().map(|line| fields(line)).map(|fields| (fields["id"].clone(), fields)).collect();
    let (mut sum, mut exact) = (0, 0);
    for answer in &answers {
        let report = by_id.remove(answer.header("x-hairtrigger-invocation")).expect("a line for each answer");
        let told = (&*report["function"], &*report["outcome"], &*report["status"]);
        assert_eq!(told, ("probe", &*outcome(answer), &*answer.status.to_string()));
        let (cpu, wall) = (&report["cpu_us"], report["wall_us"].parse::<u64>().expect("a number"));
        exact += usize::from(!cpu.starts_with('~'));
        let cpu = cpu.trim_start_matches('~').parse::<u64>().unwrap_or_else(|_| panic!("{report:?}"));
        sum += cpu;
        match answer.text() {
            "used\n" => assert!(cpu > 10_000 && wall >= 20_000, "{report:?}"),
            text if text.len() == 100 => assert_eq!(report["bytes_out"], "100"),
            _ => {}
        }
        if report["start"] == "none" {
            assert!(cpu == 0 && wall == 0 && report["outcome"] == "throttled", "{report:?}");
        }
    }
    assert!(exact > 0, "some were alone");
    let billed = number(&usage(&home, "probe")["cpu_us"]);
    // Each is rounded down to a microsecond.
    assert!((sum..=sum + answers.len() as u64).contains(&billed), "{sum} is reported, {billed} billed");
    daemon.stop();
}

/// One line also for a call that two workers had, with what both have used.
#[test]
fn a_call_that_two_workers_had_is_reported_with_what_both_used() {
    let home = Home::new();
    home.configure(&format!("{SHARDS}\nreport = true"));
    let rest = "timeout = \"60s\"\nidempotent = true\n[concurrency]\nmax = 1";
    home.add("probe", &own("probe"), rest);
    let daemon = home.start();
    let first = daemon.await_workers("probe", 1).remove(0);
    let mut connection = daemon.connect();
    connection.send(get("/probe/use?400"));
    eventually("it has used some", || (number(&usage(&home, "probe")["cpu_us"]) > 100_000).then_some(()));
    first.signal(libc::SIGKILL);
    connection.receive().assert_ok("used\n");
    daemon.await_lines(1, |line| line.starts_with("REPORT "));
    let lines: Vec<_> = daemon.lines().into_iter().filter(|line| line.starts_with("REPORT ")).collect();
    let field =
        |line: &str| line.split(' ').find_map(|field| field.strip_prefix("cpu_us=")?.parse::<u64>().ok());
    let cpu = field(&lines[0]).unwrap_or_else(|| panic!("it was alone: {lines:?}"));
    assert!(lines.len() == 1 && cpu > 500_000, "{lines:?}");
    assert!(number(&usage(&home, "probe")["cpu_us"]).abs_diff(cpu) <= 1);
    daemon.stop();
}

/// What a thread uses while its worker has no invocation is no invocation's: neither billed to the next one, nor counted for
/// its limit.
#[test]
fn threads_that_go_on_by_themselves_use_nobody_elses_time() {
    let home = Home::new();
    home.configure(SHARDS);
    let rest = "threads = 1\ntimeout = \"20s\"\ncpu_time = \"300ms\"\n[concurrency]\nmax = 1";
    home.add("threads", &own("threads"), rest);
    let daemon = home.start();
    let mut connection = daemon.connect();
    assert_eq!(connection.get("/threads/behind?600").status, 200);
    eventually("it has gone on", || {
        (number(&usage(&home, "threads")["group_cpu_us"]) > 600_000).then_some(())
    });
    // Long enough for its clock to be read meanwhile.
    assert_eq!(connection.get("/threads/sleep?100").status, 200);
    let used = usage(&home, "threads");
    assert!(number(&used["overhead_cpu_us"]) > 300_000 && number(&used["cpu_us"]) < 300_000, "{used}");
    daemon.stop();
}

/// A worker that computes without an invocation is ended, although no time limit holds for it, and what it used is billed as
/// what it is.
#[test]
fn a_worker_that_goes_on_after_its_reply_is_ended() {
    let home = Home::new();
    home.configure(SHARDS);
    home.add("goes-on", &own("goes_on"), "timeout = \"60s\"\n[concurrency]\nmax = 1").add(
        "probe",
        &own("probe"),
        "timeout = \"60s\"\n[concurrency]\nmax = 1",
    );
    let daemon = home.start();
    let honest = daemon.await_workers("probe", 1).remove(0);
    let worker = daemon.await_workers("goes-on", 1).remove(0);
    let mut connection = daemon.connect();
    connection.get("/probe/use?600").assert_ok("used\n");
    connection.get("/goes-on").assert_ok("here it is");
    assert!(worker.ends_within(Duration::from_secs(40)), "it goes on for ever");
    let next = daemon.await_workers("goes-on", 1).remove(0);
    assert_ne!(next.pid, worker.pid);
    let used = usage(&home, "goes-on");
    let overhead = number(&used["overhead_cpu_us"]);
    assert!(overhead > 250_000 && number(&used["cpu_us"]) < overhead, "{used}");
    assert_eq!(used["outcomes"], json!({ "completed": 1 }));
    assert_eq!(daemon.workers("probe")[0].pid, honest.pid, "who has computed for an invocation is not");
    daemon.stop();
}

#[test]
fn totals_outlive_versions_and_go_with_their_function() {
    let home = Home::new();
    home.configure(SHARDS);
    home.add("probe", &own("probe"), "").add("stays", &own("probe"), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let mut admin = Connection::to_socket(&home.admin());
    for calls in 1..=3_u64 {
        connection.get("/probe/fine").assert_ok("fine");
        assert_eq!(number(&usage(&home, "probe")["invocations"]), calls);
        home.add("probe", &own("probe"), &format!("[env]\nROUND = \"{calls}\""));
        assert_eq!(admin.post("/_/reload", b"").status, 200);
    }
    let used = usage(&home, "probe");
    assert!(number(&used["overhead_cpu_us"]) > 0, "the loads have cost something: {used}");
    std::fs::remove_dir_all(home.functions().join("probe")).expect("it can be removed");
    assert_eq!(admin.post("/_/reload", b"").status, 200);
    eventually("it is forgotten", || usage(&home, "probe").is_null().then_some(()));
    assert!(!usage(&home, "stays").is_null());
    home.add("probe", &own("probe"), "");
    assert_eq!(admin.post("/_/reload", b"").status, 200);
    eventually("it is served", || (connection.get("/probe/fine").status == 200).then_some(()));
    assert_eq!(usage(&home, "probe")["outcomes"]["completed"], 1);
    daemon.stop();
}

#[test]
fn a_client_that_leaves_is_counted_and_what_it_had_done_is_billed() {
    let home = Home::new();
    home.configure(SHARDS);
    home.add("probe", &own("probe"), "");
    let daemon = home.start();
    let mut leaves = daemon.connect();
    leaves.send([get("/probe/fine"), get("/probe/use?1000")].concat());
    eventually("the first is answered", || {
        (usage(&home, "probe")["outcomes"]["completed"] == 1).then_some(())
    });
    // With an answer unread it does not end the connection but breaks it off.
    drop(leaves);
    eventually("it is counted and billed", || {
        let used = usage(&home, "probe");
        let left = used["outcomes"]["client_gone"] == 1;
        (left && number(&used["cpu_us"]) > 20_000).then_some(())
    });
    daemon.stop();
}

#[test]
fn the_command_prints_a_table_or_json() {
    let home = Home::new();
    home.configure(SHARDS);
    home.add("echo", &crate::echo(), "").add("probe", &own("probe"), "");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(artefacts::daemon());
        command.arg("usage").args(arguments).arg("--socket").arg(home.admin());
        let output = command.output().expect("it can be executed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, said) = run(&[]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.starts_with("hairtrigger: no daemon answers at ") && said.contains("--socket"), "{said}");
    let daemon = home.start();
    daemon.get("/echo").assert_ok("GET /echo\n");
    assert_eq!(daemon.get("/probe/fail?1").status, 500);
    let (code, table, _) = run(&[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 4), "{table}");
    assert!(
        lines[0].starts_with("FUNCTION") && lines[1].starts_with("echo ") && lines[2].starts_with("probe ")
    );
    assert_eq!(lines[3], "    1 function_error");
    let (code, text, _) = run(&["echo", "--json"]);
    let one: Value = serde_json::from_str(&text).expect("JSON");
    let facts = (&one["functions"][0]["name"], &one["functions"][0]["bytes_out"], &one["functions"][1]);
    assert_eq!((code, facts), (Some(0), (&json!("echo"), &json!(10), &Value::Null)));
    let (code, _, said) = run(&["nobody"]);
    assert_eq!((code, &*said), (Some(1), "hairtrigger: the daemon has no function nobody\n"));
    daemon.stop();
}
