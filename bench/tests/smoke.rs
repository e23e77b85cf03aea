//! Runs the benches as a user does, as short as they go: they work, print what they promise, and leave
//! nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BENCH: &str = env!("CARGO_BIN_EXE_hairtrigger-bench");

/// The floor, serving until dropped.
struct Floor {
    child: Child,
    address: SocketAddr,
}

impl Floor {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let child = Command::new(BENCH)
            .args(["floor", "--listen", &address.to_string()])
            .spawn()
            .expect("the bench starts");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the floor does not listen");
            std::thread::yield_now();
        }
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the floor listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(arguments).output().expect("the bench starts")
}

/// The one JSON object on standard output of a run that went well.
fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "one object alone: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

#[test]
fn load_counts_and_checks_the_floors_answers() {
    let floor = Floor::start();
    let address = floor.address.to_string();
    let report = json(&bench(&["load", &address, "--json", "--requests", "5000", "--connections", "16"]));
    assert_eq!(report["requests"], 5000);
    assert_eq!(report["wrong"], 0);
    assert!(number(&report, "/p50_us") > 0.0);
    assert!(number(&report, "/p99_us") >= number(&report, "/p50_us"));

    let timed = json(&bench(&["load", &address, "--json", "--smoke"]));
    assert!(number(&timed, "/requests") > 64.0);
    assert!((0.2..5.0).contains(&number(&timed, "/elapsed_s")));
}

#[test]
fn load_fails_when_answers_are_not_the_expected_ones() {
    let floor = Floor::start();
    let wrong = bench(&["load", &floor.address.to_string(), "--requests", "10", "--body", "Goodbye"]);
    assert_eq!(wrong.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&wrong.stderr);
    assert!(errors.contains("10 wrong answers") && errors.contains("Hello"), "{errors}");
}

#[test]
fn load_refuses_other_hosts() {
    let refused = bench(&["load", "192.0.2.1:80", "--requests", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"));
}

#[test]
fn the_floor_answers_pipelined_and_piecemeal_requests_and_outlives_rude_clients() {
    let floor = Floor::start();
    let one = floor_answer(&floor, &[b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert!(one.ends_with(b"Hello from Hairtrigger\n"), "{}", String::from_utf8_lossy(&one));

    // More than fit into one send, all at once.
    let many = b"GET / HTTP/1.1\r\n\r\n".repeat(1000);
    let answers = floor_answer(&floor, &[&many]);
    assert_eq!(answers.len(), 1000 * one.len());
    assert!(answers == one.repeat(1000), "every answer is the same");
    let piecemeal: [&[u8]; 3] = [b"GET / HT", b"TP/1.1\r\nHost: x\r", b"\n\r\nGET"];
    assert!(floor_answer(&floor, &piecemeal) == one);

    // Gone before its answers can be sent.
    for _ in 0..100 {
        let mut stream = floor.connect();
        stream.write_all(&many).expect("the floor reads");
    }
    assert!(floor_answer(&floor, &[b"GET / HTTP/1.1\r\n\r\n"]) == one);
}

/// Everything the floor answers to `pieces`, each sent by itself.
fn floor_answer(floor: &Floor, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = floor.connect();
    stream.set_nodelay(true).expect("a socket");
    // Reads while it writes: thousands of answers do not fit into socket buffers.
    let mut reader = stream.try_clone().expect("a socket");
    let reading = std::thread::spawn(move || {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).expect("the floor closes after the client");
        answer
    });
    for piece in pieces {
        stream.write_all(piece).expect("the floor reads");
    }
    stream.shutdown(Shutdown::Write).expect("a socket");
    reading.join().expect("no panic")
}

#[test]
fn http_holds_the_floor_against_nginx() {
    let report = json(&bench(&["http", "--smoke", "--json", "--only", "floor,nginx"]));
    assert_eq!(report["errors"].as_array().map(Vec::len), Some(0), "{report}");
    for server in ["floor", "nginx"] {
        let us = number(&report, &format!("/servers/{server}/cpu_us_per_request/median"));
        assert!((0.5..1000.0).contains(&us), "{server}: {us} µs");
    }
    assert!(number(&report, "/floor_ratio_nginx_hi95") >= number(&report, "/floor_ratio_nginx"));
    assert!((0.2..5.0).contains(&number(&report, "/nginx_aa_ratio")), "{report}");
    assert!(report["cpu_ratio_nginx"].is_null(), "nothing is claimed that was not measured");
}

#[test]
fn http_says_what_is_wrong_with_a_daemon_that_does_not_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = compile_plugin(&folder, false);
    let failed = bench(&[
        "http",
        "--smoke",
        "--json",
        "--only",
        "hairtrigger",
        "--daemon",
        "/bin/false",
        "--plugin",
        plugin.to_str().expect("a path"),
    ]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stdout.is_empty(), "no JSON without a measurement");
    let errors = String::from_utf8_lossy(&failed.stderr);
    assert!(errors.contains("hairtrigger ended by itself (exit status: 1)"), "{errors}");
}

#[test]
fn cold_measures_bare_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = compile_plugin(&folder, false);
    let report =
        json(&bench(&["cold", "--smoke", "--json", "--bare", "--plugin", plugin.to_str().expect("a path")]));
    let (fork, exec) = (number(&report, "/bare_fork_p50_us"), number(&report, "/bare_exec_p50_us"));
    assert!(fork > 1.0 && exec > fork, "an exec costs more than a fork: {report}");
    assert!(report["fork_ratio_bare"].is_null());
}

#[test]
fn fresh_measures_the_bare_loop() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = compile_plugin(&folder, false);
    let report =
        json(&bench(&["fresh", "--smoke", "--json", "--bare", "--plugin", plugin.to_str().expect("a path")]));
    assert!(number(&report, "/bare_per_core_s") > 10.0, "{report}");
    assert!((0.1..10.0).contains(&number(&report, "/bare_aa_ratio")), "{report}");
    assert!(report["rate_ratio_bare"].is_null() && report["p50_ratio_reuse"].is_null(), "not measured");
}

#[test]
fn cold_fails_when_the_plugin_refuses_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = compile_plugin(&folder, true);
    let failed = bench(&["cold", "--smoke", "--bare", "--plugin", plugin.to_str().expect("a path")]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("returned 7"), "{failed:?}");
}

/// A long run of `http`, with every server started and its files in a folder of ours.
struct LongRun {
    child: Child,
    servers: Vec<u32>,
    folder: TempDir,
}

impl LongRun {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(BENCH)
            .args(["http", "--only", "floor,nginx", "--rounds", "1000", "--json"])
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the bench starts");
        let mut progress = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        progress.read_line(&mut line).expect("the bench tells its progress");
        assert!(line.starts_with("round 1/1000"), "{line}");
        // Nothing reads on; what is left of the run fits into the pipe.
        child.stderr = Some(progress.into_inner());
        let servers = descendants(child.id());
        assert_eq!(servers.len(), 3, "the floor, nginx's master and its worker: {servers:?}");
        Self { child, servers, folder }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh starts").success());
    }

    fn left(&self) -> Vec<u32> {
        self.servers.iter().copied().filter(|pid| is_alive(*pid)).collect()
    }
}

impl Drop for LongRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Only a test that failed has any.
        for pid in self.left() {
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).status();
        }
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = text.split_whitespace().map(|child| child.parse().expect("a pid")).collect();
    children.iter().flat_map(|&child| [vec![child], descendants(child)].concat()).collect()
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn an_interrupted_run_ends_its_servers_and_takes_its_files_away() {
    let mut run = LongRun::start();
    run.signal("INT");
    assert_eq!(run.child.wait().expect("it ends").code(), Some(1));
    assert!(run.left().is_empty(), "{:?}", run.left());
    assert_eq!(fs::read_dir(run.folder.path()).expect("a folder").count(), 0);
    let mut output = String::new();
    run.child.stdout.take().expect("a pipe").read_to_string(&mut output).expect("text");
    assert_eq!(output, "", "a run that was cut short claims nothing");
}

#[test]
fn a_killed_run_leaves_no_server_behind() {
    let mut run = LongRun::start();
    run.signal("KILL");
    run.child.wait().expect("it ends");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !run.left().is_empty() {
        assert!(Instant::now() < deadline, "{:?} outlived the bench", run.left());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn compile_plugin(folder: &TempDir, init_fails: bool) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugin.rs");
    let plugin = folder.path().join("libfixture.so");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-A", "non_upper_case_globals", "-o"]);
    rustc.arg(&plugin).arg(source);
    if init_fails {
        rustc.env("INIT_FAILS", "1");
    }
    assert!(rustc.status().expect("rustc starts").success());
    plugin
}
