//! Whatever becomes of an invocation, its caller gets one exact answer, and the function serves the next.

use hairtrigger_tests::home::Home;
use hairtrigger_tests::sentences::denied;

use crate::own;

#[test]
fn each_ending_has_its_status_label_and_sentence() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"1500ms\"\nmemory = \"32MiB\"\nmax_response = 1000");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let ended = |by: &str| format!("was ended by {by}; see its output, or run it under a debugger.");
    let segv = ended("SIGSEGV (an invalid memory access or a stack overflow)");
    let exited =
        |code| format!("exited with code {code} in the middle of an invocation; return from invoke instead.");
    let too_large =
        "gave a response of more than 1000B; raise max_response in its function.toml or answer with less.";
    let memory =
        "used more than its memory limit and was killed; raise memory in its function.toml or use less.";
    let time =
        "was killed at its time limit of 1500ms; raise timeout in its function.toml or do less at once.";
    for (command, status, outcome, rest) in [
        ("fail?3", 500, "function_error", "returned error code 3; see its output for the reason.".to_owned()),
        (
            "status?600",
            500,
            "function_error",
            "returned error code -1; see its output for the reason.".into(),
        ),
        ("answer?1001", 502, "response_too_large", too_large.to_owned()),
        ("null", 502, "fault", segv.clone()),
        ("overflow", 502, "fault", segv),
        ("abort", 502, "fault", ended("SIGABRT (it aborted)")),
        ("nameless", 502, "fault", ended("SIGABRT (it aborted)")),
        ("socket", 502, "violation", denied("socket")),
        ("kill?1", 502, "violation", denied("kill")),
        ("foreign", 502, "violation", denied("of a foreign or unknown number")),
        ("exit?0", 502, "exited", exited(0)),
        ("exit?3", 502, "exited", exited(3)),
        ("bomb", 502, "out_of_memory", memory.to_owned()),
        ("spin", 504, "timeout", time.to_owned()),
        ("sleep?60000", 504, "timeout", time.to_owned()),
    ] {
        daemon.await_own_groups("probe");
        let answer = connection.get(&format!("/probe/{command}"));
        answer.assert_outcome("probe", status, outcome, &format!("Function probe {rest}"));
        assert!(!answer.has("connection"), "the connection is not to blame for {command}");
        connection.get("/probe/fine").assert_ok("fine");
    }
    let letters: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
    connection.get("/probe/answer?1000").assert_ok(letters);
    daemon.stop();
}

/// A function's own error does not cost its worker; a crash does.
#[test]
fn a_worker_lives_on_after_an_error_and_not_after_a_crash() {
    let home = Home::new();
    home.add("probe", &own("probe"), "max_response = 100\n[concurrency]\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    connection.get("/probe/count").assert_ok("1\n");
    assert_eq!(connection.get("/probe/fail?1").status, 500);
    assert_eq!(connection.get("/probe/answer?101").status, 502);
    connection.get("/probe/count").assert_ok("4\n");
    assert_eq!(connection.get("/probe/abort").status, 502);
    connection.get("/probe/count").assert_ok("1\n");
    daemon.stop();
}

/// The rest of a pipeline is answered after the crash of its first, each request once.
#[test]
fn a_pipeline_outlives_a_crash_in_its_middle() {
    let home = Home::new();
    home.add("probe", &own("probe"), "[concurrency]\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let commands = ["one", "abort", "two", "exit?1", "three"];
    let requests: String =
        commands.iter().map(|command| hairtrigger_tests::http::get(&format!("/probe/{command}"))).collect();
    connection.send(requests);
    let statuses: Vec<u16> = commands.iter().map(|_| connection.receive().status).collect();
    assert_eq!(statuses, [200, 502, 200, 502, 200]);
    connection.get("/probe/last").assert_ok("last");
    daemon.stop();
}
