//! A function that guards a door: signatures made by OpenSSL, events made into records.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Response;
use serde_json::json;

const SECRET: &str = "as long as it has to be";

/// What `openssl dgst` says of the bytes, as senders write it.
fn sign(secret: &str, bytes: &[u8]) -> String {
    let openssl = artefacts::find_program("openssl");
    let openssl = openssl.expect("this test needs OpenSSL; install it (on Debian: apt-get install openssl)");
    let mut child = Command::new(openssl)
        .args(["dgst", "-sha256", "-hmac", secret, "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("OpenSSL can be executed");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("OpenSSL reads what it is given");
    let output = child.wait_with_output().expect("OpenSSL ends");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    format!("sha256={}", said.split_whitespace().next().expect("a digest"))
}

fn post(daemon: &Daemon<'_>, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut request =
        format!("POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    daemon.connect().send([request.as_bytes(), b"\r\n", body].concat()).receive()
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, sentence: &str) {
    assert_eq!((answer.status, answer.text()), (status, &*format!("{sentence}\n")));
}

#[test]
fn what_openssl_signed_is_taken_and_nothing_else() {
    let home = Home::new();
    home.add("webhook", &artefacts::plugin("webhook"), &format!("[env]\nSECRET = \"{SECRET}\""));
    let daemon = home.start();
    let body = json!({
        "ref": "refs/tags/v1.0", "before": "0".repeat(40), "after": "1".repeat(40), "created": true,
        "repository": {"full_name": "ada/größer"}, "pusher": {"name": "ada"},
        "commits": [{"id": "1".repeat(40), "message": "One\nTwo", "author": {"name": "Ada"}, "added": ["a"]}],
    });
    let body = body.to_string().into_bytes();
    let signature = sign(SECRET, &body);
    let event = ("X-GitHub-Event", "push");
    let headers = [event, ("X-GitHub-Delivery", "72d3162e"), ("X-Hub-Signature-256", &*signature)];
    let answer = post(&daemon, &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
    let expected = json!({
        "event": "push", "delivery": "72d3162e", "repository": "ada/größer", "tag": "v1.0",
        "before": "0".repeat(40), "after": "1".repeat(40), "change": "created", "pusher": "ada",
        "commits": [
            {"id": "1".repeat(40), "author": "Ada", "title": "One", "added": 1, "removed": 0, "modified": 0},
        ],
    });
    assert_eq!(answer.json(), expected);

    // Another body, another secret, no signature, two signatures.
    let other = "The signature is not that of this body and the secret shared with the sender.";
    assert_refused(&post(&daemon, &headers, &[&body[..], b" "].concat()), 401, other);
    let forged = sign("another secret, as long", &body);
    assert_refused(&post(&daemon, &[event, ("x-hub-signature-256", &forged)], &body), 401, other);
    assert_refused(&post(&daemon, &[event], &body), 401, "The request has no x-hub-signature-256.");
    let twice = [event, ("x-hub-signature-256", &*signature), ("x-hub-signature-256", &*forged)];
    assert_refused(&post(&daemon, &twice, &body), 400, "There are several fields x-hub-signature-256.");

    // Signed, and still not what it says it is.
    let signature = sign(SECRET, b"[]");
    let answer = post(&daemon, &[event, ("x-hub-signature-256", &signature)], b"[]");
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("The body is not that of a push: "), "{}", answer.text());
    let answer = post(&daemon, &[("x-hub-signature-256", &signature)], b"[]");
    assert_refused(&answer, 400, "There is no x-github-event, which says what happened.");
    assert_eq!((daemon.get("/webhook").status, daemon.get("/webhook").header("allow")), (405, "POST"));
    daemon.stop();
}

#[test]
fn within_a_window_the_time_is_signed_too() {
    let home = Home::new();
    let env = format!(
        "[env]\nSECRET = \"the new one, of 23 bytes\"\nPREVIOUS_SECRET = \"{SECRET}\"\nWINDOW = \"60\""
    );
    home.add("webhook", &artefacts::plugin("webhook"), &env);
    let daemon = home.start();
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let at = |stamp: u64| {
        let signature = sign(SECRET, format!("{stamp}.{{}}").as_bytes());
        let stamp = stamp.to_string();
        let headers = [
            ("x-github-event", "ping"),
            ("x-webhook-timestamp", &*stamp),
            ("x-hub-signature-256", &*signature),
        ];
        post(&daemon, &headers, b"{}")
    };
    assert_eq!(at(now).json(), json!({"event": "ping", "delivery": null}));
    let late = at(now - 3600);
    assert_eq!(late.status, 401);
    assert!(late.text().starts_with("The request was signed 36"), "{}", late.text());
    assert!(late.text().ends_with(" s ago; 60 s are allowed.\n"), "{}", late.text());
    let bare = sign(SECRET, b"{}");
    let answer = post(&daemon, &[("x-github-event", "ping"), ("x-hub-signature-256", &bare)], b"{}");
    assert_refused(&answer, 401, "The request has no x-webhook-timestamp.");
    daemon.stop();
}

#[test]
fn a_forgotten_secret_is_warned_of_and_a_missing_one_refused() {
    let home = Home::new();
    let plugin = artefacts::plugin("webhook");
    home.add_example("webhook", &plugin);
    home.add("without", &plugin, "");
    let daemon = home.start();
    daemon.await_line(|line| line.contains("the secret is the example's, which everybody knows"));
    let answer = daemon.get("/without");
    assert_eq!((answer.status, &answer.json()["outcome"]), (503, &json!("init_failed")));
    let message = answer.json()["message"].to_string();
    assert!(message.contains("the [env] table of function.toml has no SECRET"), "{message}");
    daemon.stop();
}
