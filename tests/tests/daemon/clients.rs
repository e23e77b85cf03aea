//! The clients that people have at hand find nothing to complain of.
//!
//! Needs h2load (nghttp2-client), ab (apache2-utils), wrk and curl.

use std::process::{Command, Stdio};

use hairtrigger_tests::artefacts::find_program;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;

use crate::echo;

/// Requests of a run that counts them.
const REQUESTS: usize = 20_000;

fn home() -> Home {
    let home = Home::new();
    home.add("echo", &echo(), "");
    home
}

/// Runs a client to its end; returns what it wrote to both of its outputs.
fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    assert!(find_program(program).is_some(), "there is no {program}; install {package}");
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it was found");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?} ended with {}:\n{text}", output.status);
    text
}

fn url(daemon: &Daemon<'_>, path: &str) -> String {
    format!("http://{}{path}", daemon.address())
}

#[track_caller]
fn assert_says(text: &str, line: &str) {
    assert!(text.lines().any(|said| said.trim() == line), "it did not say {line:?} but:\n{text}");
}

#[test]
fn h2load_counts_every_request_as_succeeded() {
    let home = home();
    let daemon = home.start();
    let (count, url) = (REQUESTS.to_string(), url(&daemon, "/echo/a?b"));
    for depth in ["1", "16"] {
        let text = run("h2load", "nghttp2-client", &["--h1", "-n", &count, "-c", "64", "-m", depth, &url]);
        let all = format!(
            "requests: {count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        assert_says(&text, &all);
        assert_says(&text, &format!("status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx"));
    }
    daemon.stop();
}

#[test]
fn ab_finds_no_failed_request_with_kept_connections_and_without() {
    let home = home();
    let daemon = home.start();
    let (count, url) = (REQUESTS.to_string(), url(&daemon, "/echo/a?b"));
    let kept = run("ab", "apache2-utils", &["-q", "-k", "-n", &count, "-c", "64", &url]);
    assert_says(&kept, &format!("Keep-Alive requests:    {count}"));
    let fresh = run("ab", "apache2-utils", &["-q", "-n", &count, "-c", "64", &url]);
    for text in [kept, fresh] {
        assert_says(&text, &format!("Complete requests:      {count}"));
        assert_says(&text, "Failed requests:        0");
        assert!(!text.contains("Non-2xx"), "{text}");
    }
    daemon.stop();
}

#[test]
fn wrk_sees_neither_errors_nor_other_statuses() {
    let home = home();
    let daemon = home.start();
    let text = run("wrk", "wrk", &["-d2", "-c64", "-t2", &url(&daemon, "/echo/a?b")]);
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let (count, _) = count.unwrap_or_else(|| panic!("no count in:\n{text}"));
    assert!(count.parse::<u64>().is_ok_and(|count| count > 1000), "{text}");
    daemon.stop();
}

#[test]
fn curl_is_answered_in_every_way_it_can_ask() {
    let home = home();
    let daemon = home.start();
    let url = url(&daemon, "/echo/a?b");
    let curl = |arguments: &[&str]| {
        let always = ["--silent", "--show-error", "--fail", "--max-time", "20"];
        run("curl", "curl", &[&always[..], arguments, &[&url]].concat())
    };
    assert_eq!(curl(&[]), "GET /echo/a?b\n");
    assert_eq!(curl(&["--http1.0"]), "GET /echo/a?b\n");
    assert_eq!(curl(&["--data", "body"]), "body");
    assert!(curl(&["--head"]).starts_with("HTTP/1.1 200 OK\r\n"));
    // Longer than what curl sends without asking first.
    let long = "x".repeat(2 << 20);
    let file = home.path().join("long");
    std::fs::write(&file, &long).expect("a file can be written");
    let from_file = format!("@{}", file.display());
    assert_eq!(curl(&["--data-binary", &from_file]), long);
    assert_eq!(
        curl(&["--expect100-timeout", "20", "-H", "Expect: 100-continue", "--data-binary", &from_file]),
        long
    );
    assert_eq!(curl(&["-H", "Transfer-Encoding: chunked", "--data-binary", &from_file]), long);
    assert_eq!(curl(&["-X", "OPTIONS", "--data", "body"]), "body");
    assert_eq!(curl(&["--proxy", &format!("http://{}", daemon.address())]), "GET /echo/a?b\n");
    daemon.stop();
}
