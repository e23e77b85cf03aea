//! `hairtrigger invoke` against a real daemon.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use hairtrigger_tests::artefacts;
use hairtrigger_tests::home::Home;
use serde_json::Value;

use crate::{echo, own};

/// Runs `hairtrigger invoke` with this standard input.
fn invoke(address: impl std::fmt::Display, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(artefacts::daemon());
    command.arg("invoke").args(arguments).arg("--address").arg(format!("http://{address}"));
    let piped = || Stdio::piped();
    let mut child =
        command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().expect("the program can be executed");
    // One that does not read it may be gone.
    let _ = child.stdin.take().expect("asked for").write_all(input);
    child.wait_with_output().expect("a child can be waited for")
}

fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", outcome(output)))
}

#[test]
fn the_answer_goes_to_standard_output_and_the_verdict_to_the_exit_code() {
    let home = Home::new();
    home.add("echo", &echo(), "").add("probe", &own("probe"), "timeout = '300ms'");
    let daemon = home.start();
    let run = |arguments: &[&str], input: &[u8]| outcome(&invoke(daemon.address(), arguments, input));
    let said = |text: &str| (Some(0), text.to_owned(), String::new());

    assert_eq!(run(&["echo"], b""), said("GET /echo\n"));
    assert_eq!(run(&["echo/a b?c=d", "-q", "e=f g"], b""), said("GET /echo/a%20b?c=d&e=f%20g\n"));
    assert_eq!(run(&["echo", "-X", "GET", "--data", "x"], b""), said("GET /echo\n"));
    assert_eq!(run(&["echo", "--data", "some text"], b""), said("some text"));
    assert_eq!(run(&["echo", "--file", "-"], b"from a pipe"), said("from a pipe"));
    let file = home.path().join("body");
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(|number| number.to_le_bytes()).take(5_000_000).collect();
    fs::write(&file, &large).expect("a file can be written");
    let answer = invoke(daemon.address(), &["echo", "--file", file.to_str().expect("plain")], b"");
    assert!(answer.stdout == large, "{} bytes came back of {}", answer.stdout.len(), large.len());

    // An error of the function's own, one that the daemon reports, and one of nobody.
    let (code, stdout, stderr) = run(&["probe/status?418"], b"");
    assert_eq!((code, &*stdout, &*stderr), (Some(1), "", "hairtrigger: the answer has status 418\n"));
    let (code, stdout, stderr) = run(&["probe/sleep?60000"], b"");
    assert_eq!(code, Some(1));
    assert!(stdout.contains("\"timeout\""), "{stdout}");
    assert!(
        stderr.starts_with("hairtrigger: 504 timeout: Function probe was killed at its time limit"),
        "{stderr}"
    );
    assert_eq!(run(&["nothing"], b"").0, Some(1));
    daemon.stop();
}

#[test]
fn everything_is_in_the_json() {
    let home = Home::new();
    home.add("echo", &echo(), "").add("probe", &own("probe"), "timeout = '300ms'");
    let daemon = home.start();
    let run = |arguments: &[&str]| invoke(daemon.address(), arguments, b"");

    let answer = json(&run(&["echo", "--json", "--timing", "-H", "x-some: thing"]));
    assert_eq!((&answer["status"], &answer["outcome"]), (&200.into(), &"completed".into()));
    assert_eq!(answer["body"], "GET /echo\n");
    let id = answer["invocation"].as_str().expect("an id");
    let headers = answer["headers"].as_array().expect("pairs");
    assert!(headers.contains(&serde_json::json!(["x-hairtrigger-invocation", id])), "{answer}");
    let stages: Vec<&String> = answer["timing"].as_object().expect("stages").keys().collect();
    assert!(["queue", "run", "send"].iter().all(|stage| stages.iter().any(|s| s == stage)), "{answer}");

    let binary = home.path().join("binary");
    fs::write(&binary, [0xff, 0, b'a']).expect("a file can be written");
    let answer = json(&run(&["echo", "--json", "--file", binary.to_str().expect("plain")]));
    assert_eq!((answer.get("body"), &answer["body_base64"]), (None, &"/wBh".into()));
    assert_eq!(answer.get("timing"), None);

    let answer = run(&["probe/sleep?60000", "--json"]);
    assert_eq!((answer.status.code(), &json(&answer)["outcome"]), (Some(1), &"timeout".into()));
    daemon.stop();
}

#[test]
fn where_no_daemon_is_the_exit_code_is_5() {
    // A port that was given by the kernel and is free again.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    let (code, stdout, stderr) = outcome(&invoke(address, &["echo"], b""));
    assert_eq!((code, &*stdout), (Some(5), ""));
    assert!(stderr.starts_with(&format!("hairtrigger: no daemon answers at http://{address} (")), "{stderr}");
    for wrong in [&["echo", "-H", "no colon"][..], &["echo", "--data", "a", "--file", "b"], &[]] {
        assert_eq!(outcome(&invoke(address, wrong, b"")).0, Some(2), "{wrong:?}");
    }
}
