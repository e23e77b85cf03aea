//! Ways to end, and to break the contract.

use std::time::Duration;

use hairtrigger_tests::crimes::exits::*;
use hairtrigger_tests::crimes::resources::SEGMENTATION_FAULT;
use hairtrigger_tests::process::left_after;

use super::*;

crimes! {
    c63_exits: EXITS,
    c64_aborts: ABORTS,
    c65_handles_crashes_by_crashing: HANDLES_CRASHES_BY_CRASHING,
    c66_masks_all_signals: MASKS_SIGNALS,
    c67_panics_across_the_abi: PANICS_ACROSS_THE_ABI,
    c67_throws_across_the_abi: THROWS_ACROSS_THE_ABI,
    c68_jumps_out_of_its_invocation: JUMPS_OUT,
    c69_hangs_in_exit_handlers: HANGS_IN_EXIT_HANDLERS,
    c70_leaves_a_thread_behind: LEAVES_A_THREAD,
    c71_sets_alarms_for_others: SETS_ALARMS,
    c72_keeps_state_between_requests: KEEPS_STATE,
    c73_starts_a_thread_in_init: STARTS_A_THREAD_IN_INIT,
    c74_loads_slowly: LOADS_SLOWLY,
    c75_hangs: HANGS,
    c76_crashes: CRASHES,
    c77_answers_too_much: ANSWERS_TOO_MUCH,
    c78_closes_its_descriptors: CLOSES_DESCRIPTORS,
}

/// A deed with whatever expectations, to be committed where its crime is not by every test.
const FIRST: Variant = Variant { deed: "", invoke: Expected::Timeout, init: None };

/// The sentence for a function that does not come to serve.
fn not_started(name: &str, reason: &str) -> String {
    format!("Function {name} could not be started: {reason}; mend it and load it again.")
}

/// Of crime 69: nobody waits for destructors and exit handlers when a function is no longer wanted.
#[test]
fn a_function_is_gone_whatever_its_exit_handlers_do() {
    let home = Home::new();
    HANGS_IN_EXIT_HANDLERS.deploy(&home);
    let daemon = home.start();
    let name = HANGS_IN_EXIT_HANDLERS.name;
    assert_fine(&HANGS_IN_EXIT_HANDLERS, &mut daemon.connect());
    let mut processes = daemon.workers(name);
    processes.extend([daemon.template(name), daemon.ns_init(name)]);
    fs::remove_dir_all(home.functions().join(name)).expect("it was deployed");
    reload(&daemon);
    assert_eq!(left_after(&processes, Duration::from_secs(5)), [""; 0]);
    daemon.stop();
}

/// Of crime 72: what one request leaves behind, another of the same function may find, and none of another function.
#[test]
fn state_is_shared_within_a_function_and_never_beyond() {
    let home = Home::new();
    KEEPS_STATE.deploy(&home);
    home.add("other", &KEEPS_STATE.plugin(), "concurrency.max = 1");
    let daemon = home.start();
    let name = KEEPS_STATE.name;
    for secret in ["one", "two"] {
        daemon.get(&format!("/{name}?{secret}")).assert_ok(format!("committed: kept {secret}"));
        daemon.get(&format!("/{name}/tell")).assert_ok(format!("committed: kept {secret}"));
        daemon.get("/other/tell").assert_ok("committed: nothing");
    }
    daemon.stop();
}

/// Of crime 74: others are served while it loads, and who asked for it early is answered when it has.
#[test]
fn others_are_served_while_one_loads_slowly() {
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), "");
    let daemon = home.start();
    LOADS_SLOWLY.deploy(&home);
    reload(&daemon);
    let (mut early, mut other) = (daemon.connect(), daemon.connect());
    early.send(get(&format!("/{}", LOADS_SLOWLY.name)));
    let loaded = |line: &String| line.starts_with("loaded 74-slow-init ");
    let mut served = 0;
    while !daemon.lines().iter().any(loaded) {
        assert_eq!(other.post(&format!("/{NEIGHBOUR}"), b"unnoticed").body, b"unnoticed");
        served += 1;
    }
    assert!(served > 1, "{served} answers of the neighbour's in 600 ms");
    early.receive().assert_ok("committed: loaded at last");
    daemon.stop();
}

/// Of crime 75: wherever it hangs it is ended, and everybody is told; in one test, for it takes ten seconds.
#[test]
fn hanging_is_bounded_wherever_it_happens() {
    let late = "its initialisation took longer than 10s";
    let unready = "its workers end before they can serve: the last one was not ready within 5s";
    let places = [
        ("in-init", At::Init, late),
        ("in-constructor", At::Constructor, late),
        ("in-resolver", At::Resolver, late),
        ("in-start", At::Start, unready),
    ];
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST);
    let daemon = home.start();
    let neighbour = Neighbour::of(&daemon);
    thread::scope(|scope| {
        let _ends = Ends(&neighbour.done);
        let stream = neighbour.start(scope);
        for (name, at, _) in places {
            HANGS.deploy_for_load(&home, name, &FIRST, at, &daemon);
        }
        neighbour.serves_during(|| reload(&daemon));
        for (name, at, reason) in places {
            let line = match at {
                At::Start => format!("Function {name} does not serve: {reason}."),
                _ => format!("function {name} cannot be served yet: {reason}; it is loaded again in "),
            };
            neighbour.serves_during(|| drop(daemon.await_line(|said| said.starts_with(&line))));
        }
        for (name, _, reason) in places {
            daemon.get(&format!("/{name}")).assert_outcome(
                name,
                503,
                "init_failed",
                &not_started(name, reason),
            );
        }
        neighbour.done.store(true, Ordering::Relaxed);
        stream.join().expect("the neighbour noticed");
    });
    daemon.stop();
}

/// Of crime 76: what crashes when it is loaded is not tried again, however many ask for it; what crashes later is,
/// and waits twice as long each time.
#[test]
fn crashes_in_a_row_are_held_back() {
    let (loading, forking) = ("in-init", "in-fork");
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST);
    let daemon = home.start();
    CRASHES.deploy_for_load(&home, loading, &FIRST, At::Init, &daemon);
    CRASHES.deploy_for_load(&home, forking, &FIRST, At::Fork, &daemon);
    reload(&daemon);
    for hold in ["100ms", "200ms", "400ms"] {
        let line = format!(
            "The template of function {forking} was ended by {SEGMENTATION_FAULT}; it is loaded again in {hold}."
        );
        daemon.await_line(|said| said == line);
    }
    let reason = format!("its template was ended by {SEGMENTATION_FAULT}");
    daemon.get(&format!("/{forking}")).assert_outcome(
        forking,
        503,
        "init_failed",
        &not_started(forking, &reason),
    );
    let reason = format!("its initialisation was ended by {SEGMENTATION_FAULT}");
    let mut connection = daemon.connect();
    for _ in 0..20 {
        connection.get(&format!("/{loading}")).assert_outcome(
            loading,
            503,
            "init_failed",
            &not_started(loading, &reason),
        );
        assert_eq!(connection.post(&format!("/{NEIGHBOUR}"), b"unnoticed").body, b"unnoticed");
    }
    let failures = daemon.lines().iter().filter(|line| line.starts_with("function in-init cannot")).count();
    assert_eq!(failures, 1, "it was tried again");
    daemon.stop();
}

/// Of crime 78: exactly one answer, also behind each other on one connection.
#[test]
fn a_worker_without_descriptors_answers_each_once() {
    let home = Home::new();
    CLOSES_DESCRIPTORS.deploy(&home);
    let daemon = home.start();
    let name = CLOSES_DESCRIPTORS.name;
    let mut connection = daemon.connect();
    let [crime, fine] = [get(&format!("/{name}")), get(&format!("/{name}/fine"))];
    connection.send([crime.clone(), fine.clone(), crime, fine].concat());
    for _ in 0..2 {
        connection.receive().assert_ok("committed: close_range");
        connection.receive().assert_ok("fine");
    }
    connection.end_sending().assert_closed();
    daemon.stop();
}
