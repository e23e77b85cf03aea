//! Memory, descriptors, output and time.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::crimes::resources::*;

use super::*;

crimes! {
    c51_bombs_memory: BOMBS_MEMORY,
    c52_fills_shared_memory: FILLS_SHARED_MEMORY,
    c53_has_the_kernel_use_memory: FILLS_THE_KERNEL,
    c54_exhausts_descriptors: EXHAUSTS_DESCRIPTORS,
    c55_overflows_the_stack: OVERFLOWS_THE_STACK,
    c56_steps_over_the_guard_of_its_stack: STEPS_OVER_THE_GUARD,
    c57_floods_its_output: FLOODS_ITS_OUTPUT,
    c58_writes_more_than_anybody_reads: WRITES_WHAT_NOBODY_READS,
    c59_loops: LOOPS,
    c60_sleeps_for_ever: SLEEPS,
    c61_stops_itself: STOPS,
    c62_copies_its_body_too_often: COPIES_ITS_BODY,
}

/// Of crime 57: what the daemon passes on of a flood is bounded, a line that is too long is cut and says so, and
/// what was dropped is counted.
#[test]
fn a_flood_is_cut_and_counted() {
    // Of the daemon: the longest line, what a line costs beyond its text, and what is passed on in a second; in bytes.
    const MAX_LOG_LINE: usize = 8 << 10;
    const LOG_LINE_COST: usize = 64;
    const MAX_OUTPUT: usize = 256 << 10;
    let home = Home::new();
    FLOODS_ITS_OUTPUT.deploy(&home);
    let daemon = home.start();
    let name = FLOODS_ITS_OUTPUT.name;
    let [deed] = &FLOODS_ITS_OUTPUT.deeds().collect::<Vec<_>>()[..] else { panic!("it has one deed") };
    check(&FLOODS_ITS_OUTPUT, deed, &daemon.get(&format!("/{name}")));
    let own = format!("[{name}] ");
    let dropped = |line: &str| -> Option<u64> {
        line.strip_prefix(&own)?.strip_suffix(" bytes of output were dropped")?.parse().ok()
    };
    daemon.await_line(|line| dropped(line).is_some());
    let lines = daemon.lines();
    // The first of 64 KiB.
    let cut = (64 << 10) - 1 - MAX_LOG_LINE;
    let long = format!("{own}{} … ({cut} bytes more)", "x".repeat(MAX_LOG_LINE));
    assert!(lines.contains(&long), "a line that is too long");
    let passed = lines.iter().filter_map(|line| line.strip_prefix(&own)).filter(|line| line.is_empty());
    let passed = passed.count() * LOG_LINE_COST;
    // What is passed on in the second that it has, and in the one that may begin in it.
    assert!((1..=2 * MAX_OUTPUT).contains(&passed), "{passed} bytes of empty lines were passed on");
    daemon.stop();
}

/// Of crime 58: where nobody reads what the daemon writes, functions write all the same, and are answered; what
/// waits to be read is bounded.
#[test]
fn output_that_nobody_reads_costs_nobody_anything() {
    const ROUNDS: usize = 4;
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), "");
    WRITES_WHAT_NOBODY_READS.deploy(&home);
    // A pipe that is full after 64 KiB, and is never closed.
    let pipe = home.path().join("unread");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo makes a pipe");
    let unread = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe);
    let unread = unread.expect("a pipe can be opened");
    let mut command = Command::new("sh");
    command.arg("-c").arg("exec \"$0\" \"$@\" 2>\"$UNREAD\"").env("UNREAD", &pipe);
    command.arg(artefacts::daemon()).arg("serve").arg("--config").arg(home.config());
    let daemon = Daemon::run(&home, command);
    let mut connection = eventually("the daemon listens", || {
        let socket = home.socket();
        std::os::unix::net::UnixStream::connect(&socket).ok().map(|_| Connection::to_socket(&socket))
    });
    let [deed] = &WRITES_WHAT_NOBODY_READS.deeds().collect::<Vec<_>>()[..] else { panic!("it has one deed") };
    let mut ask = || {
        let answer = connection.get(&format!("/{}", WRITES_WHAT_NOBODY_READS.name));
        check(&WRITES_WHAT_NOBODY_READS, deed, &answer);
        assert_eq!(connection.post(&format!("/{NEIGHBOUR}"), b"unnoticed").body, b"unnoticed");
    };
    // Whatever is allocated once is allocated now.
    ask();
    let before = resident(&daemon.process);
    for _ in 0..ROUNDS {
        ask();
    }
    let grown = resident(&daemon.process).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB for {ROUNDS} times 512 KiB of output");
    daemon.stop();
    drop(unread);
}

/// Resident memory in KiB.
fn resident(process: &Process) -> u64 {
    let text = process.status("VmRSS");
    text.trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// All workers of a function together get the processor time that its manifest grants, and no more.
#[test]
fn a_busy_function_gets_its_share_and_no_more() {
    const BUSY_MS: u64 = 1000;
    let home = Home::new();
    home.add("probe", &own("probe"), "cpu = 0.2\nconcurrency.provisioned = 2\nconcurrency.max = 2");
    let daemon = home.start();
    let workers = daemon.await_workers("probe", 2);
    // However busy the host is: it is the limit that is to hold it, and not the others.
    let group = home.groups.of("cpu", daemon.template("probe").pid);
    for group in group.ancestors().take_while(|group| home.groups.all().iter().any(|own| own == group)) {
        fs::write(group.join("cpu.shares"), "262144").expect("a group has shares");
    }
    let used = || -> u64 { workers.iter().map(processor_time_ms).sum() };
    let before = used();
    let mut connections = [daemon.connect(), daemon.connect()];
    for connection in &mut connections {
        connection.send(get(&format!("/probe/burn?{BUSY_MS}")));
    }
    for connection in &mut connections {
        connection.receive().assert_ok("burnt\n");
    }
    let used = used() - before;
    // Of 1 s on each of two cores: 200 ms, and what is left of a period at either end.
    assert!((50..300).contains(&used), "{used} ms of processor time");
    daemon.stop();
}

/// What a process has used of the processors, in milliseconds.
fn processor_time_ms(process: &Process) -> u64 {
    let text = process.read("schedstat");
    let nanoseconds: u64 = text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number");
    nanoseconds / 1_000_000
}

/// Of crime 53: what the kernel still counts of a worker that it has ended is not the next worker's.
#[test]
fn the_next_worker_does_not_pay_for_the_one_before() {
    const ROUNDS: usize = 20;
    let home = Home::new();
    FILLS_THE_KERNEL.deploy(&home);
    let daemon = home.start();
    let name = FILLS_THE_KERNEL.name;
    let group = || {
        daemon.await_own_groups(name);
        home.groups.of("memory", daemon.await_workers(name, 1)[0].pid)
    };
    let mut connection = daemon.connect();
    let mut moved = 0;
    for _ in 0..ROUNDS {
        let before = group();
        let answer = connection.get(&format!("/{name}/tables"));
        assert_eq!((answer.status, &answer.json()["outcome"]), (502, &"out_of_memory".into()));
        assert_fine(&FILLS_THE_KERNEL, &mut connection);
        moved += usize::from(group() != before);
    }
    // Its page tables go after a grace period; the next worker is there sooner, almost always.
    assert!(moved > 0, "each worker was put where the one before had filled everything");
    let groups = home.groups.all().len();
    assert!(groups < ROUNDS, "{groups} groups: they are used again");
    daemon.stop();
}
