//! The configuration and the functions are read again while the daemon serves.

use std::fs;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hairtrigger_tests::admin;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Connection;
use hairtrigger_tests::process::eventually;
use serde_json::{Value, json};

use crate::{echo, own};

/// Asks for a reload over the administration's socket; status and answer.
fn reload(home: &Home) -> (u16, Value) {
    let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
    (answer.status, answer.json())
}

/// Waits until exactly these functions are ready, and nothing is left of others.
fn await_functions(home: &Home, expected: &[&str]) {
    eventually("the functions are as they should be", || {
        let functions = admin::functions(home);
        let ready = functions.iter().all(|function| function["state"] == "ready");
        let mut names: Vec<_> = functions.iter().filter_map(|function| function["name"].as_str()).collect();
        names.sort_unstable();
        (ready && names == expected).then_some(())
    });
}

fn not_reloaded(daemon: &Daemon<'_>) -> String {
    daemon.await_line(|line| line.starts_with("not reloaded "))
}

#[test]
fn a_signal_brings_what_is_new_and_takes_what_is_gone() {
    let home = Home::new();
    home.add("stays", &echo(), "").add("changes", &own("probe"), "max_request = 3").add("goes", &echo(), "");
    let daemon = home.start();
    let mut client = daemon.connect();
    client.get("/stays").assert_ok("GET /stays\n");
    let before = daemon.workers("stays")[0].pid;
    assert_eq!(client.post("/changes/fine", b"long").status, 413);
    let mut client = daemon.connect();

    home.add("comes", &echo(), "").add("changes", &own("probe"), "max_request = 4");
    fs::remove_dir_all(home.functions().join("goes")).expect("it is there");
    daemon.process.signal(libc::SIGHUP);
    let said = daemon.await_line(|line| line.starts_with("reloaded "));
    let config = home.config();
    assert_eq!(said, format!("reloaded {}: 1 new, 1 changed, 1 removed, 1 as before", config.display()));
    await_functions(&home, &["changes", "comes", "stays"]);
    client.get("/comes").assert_ok("GET /comes\n");
    assert_eq!(client.post("/changes/fine", b"long").status, 200);
    assert_eq!(client.get("/goes").status, 404);
    client.get("/stays").assert_ok("GET /stays\n");
    assert_eq!(daemon.workers("stays")[0].pid, before, "nobody touched it");
    daemon.stop();
}

#[test]
fn what_is_wrong_is_refused_whole() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let address = daemon.address();

    home.add("good", &echo(), "").add("bad", &echo(), "timout = \"3s\"\nmemory = 1");
    home.configure("listen = \"127.0.0.1:0\"");
    let (status, answer) = reload(&home);
    let mistakes = answer["mistakes"].as_array().expect("a list");
    let file = home.functions().join("bad/function.toml");
    assert_eq!((status, mistakes.len(), &answer["ok"]), (422, 2, &json!(false)));
    let expected = json!({
        "file": file.to_str(), "line": 3, "column": 1,
        "message": "there is no key timout here; did you mean timeout?",
    });
    assert_eq!(mistakes[0], expected);
    assert_eq!(
        not_reloaded(&daemon),
        format!("not reloaded {}: everything stays as it was", home.config().display())
    );
    let line = format!("  {}:3:1: there is no key timout here; did you mean timeout?", file.display());
    daemon.await_line(|said| said == line);
    assert_eq!(daemon.get("/good").status, 404, "not even what is right");
    daemon.get("/echo").assert_ok("GET /echo\n");

    // What the daemon stands on stays, with the line that would change it.
    fs::remove_dir_all(home.functions().join("bad")).expect("it is there");
    home.configure("listen = \"127.0.0.1:0\"\nuid_count = 100");
    let (status, answer) = reload(&home);
    let expected = json!([{
        "file": home.config().to_str(), "line": 5, "column": 13,
        "message": "uid_count must be 65536 until the daemon is restarted; found 100",
    }]);
    assert_eq!((status, &answer["mistakes"]), (422, &expected));
    assert_eq!(daemon.get("/good").status, 404);

    // An address that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has room");
    let taken = taken.local_addr().expect("bound");
    let other = Home::new();
    other.add("echo", &echo(), "");
    other.listen(taken);
    home.configure(&format!("listen = [\"127.0.0.1:0\", \"{address}\"]"));
    let (status, answer) = reload(&home);
    assert_eq!(status, 422);
    let message = answer["mistakes"][0]["message"].as_str().expect("a sentence");
    assert_eq!(message, format!("cannot listen on {address}: Address already in use (os error 98)"));
    daemon.get("/echo").assert_ok("GET /echo\n");

    home.configure("listen = \"127.0.0.1:0\"");
    assert_eq!(reload(&home).0, 200);
    await_functions(&home, &["echo", "good"]);
    daemon.get("/good").assert_ok("GET /good\n");
    daemon.stop();
}

/// One that fails to load keeps its old version, and the others are not its hostages.
#[test]
fn a_version_that_does_not_load_leaves_the_old_one() {
    let home = Home::new();
    home.add("one", &echo(), "").add("two", &echo(), "");
    let daemon = home.start();
    let library = home.functions().join("one/one.so");
    fs::write(library.with_extension("new"), "no plugin").expect("writable");
    fs::rename(library.with_extension("new"), &library).expect("renamed");
    home.add("two", &own("probe"), "");
    let (status, answer) = reload(&home);
    assert_eq!((status, &answer["functions"]["changed"]), (200, &json!(["one", "two"])));
    daemon.await_line(|line| line.contains("one") && line.contains("the one before it goes on"));
    eventually("the other is changed", || (daemon.get("/two/fine").body == b"fine").then_some(()));
    daemon.get("/one").assert_ok("GET /one\n");
    daemon.stop();
}

#[test]
fn addresses_come_and_go() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    home.configure("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nshards = 2");
    let daemon = home.start();
    let old = daemon.address();
    let mut client = daemon.connect();
    client.get("/echo").assert_ok("GET /echo\n");
    let old_socket = home.socket();
    home.configure(
        "listen = [\"127.0.0.2:0\", \"127.0.0.3:0\"]\nshards = 2\nsocket = \"new.sock\"\nsocket_group = 4242",
    );
    assert_eq!(reload(&home).0, 200);
    let about = Connection::to_socket(&home.admin()).get("/_/version").json();
    let addresses: Vec<_> =
        about["listen"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(addresses.iter().map(|address| &address[..9]).collect::<Vec<_>>(), ["127.0.0.2", "127.0.0.3"]);
    for address in addresses {
        // Each shard has its listener.
        for _ in 0..16 {
            Connection::to(address.parse().expect("an address")).get("/echo").assert_ok("GET /echo\n");
        }
    }
    Connection::to_socket(&home.path().join("new.sock")).get("/echo").assert_ok("GET /echo\n");
    assert!(!old_socket.exists());
    eventually("the old address is closed", || TcpStream::connect(old).is_err().then_some(()));
    // Whoever had come by it is not sent away.
    client.get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
}

#[test]
fn times_change_for_what_comes() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    home.configure("listen = \"127.0.0.1:0\"\n[timeouts]\nidle = \"100ms\"");
    assert_eq!(reload(&home).0, 200);
    let begun = Instant::now();
    let mut client = daemon.connect();
    client.get("/echo").assert_ok("GET /echo\n");
    client.assert_closed();
    assert!(begun.elapsed() < Duration::from_secs(20), "the default is 75 s");
    daemon.stop();
}

/// Each request is answered, by the old version or by the new one, while they change again and again.
#[test]
fn nobody_notices_a_reload_but_by_what_is_new() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let over = AtomicBool::new(false);
    let answered: usize = std::thread::scope(|scope| {
        let client = || {
            let mut connection = daemon.connect();
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                connection.get("/echo/a").assert_ok("GET /echo/a\n");
                count += 1;
            }
            count
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        for round in 0..20 {
            home.add("echo", &echo(), &format!("timeout = \"{}s\"", 2 + round));
            let (status, answer) = reload(&home);
            assert_eq!((status, &answer["functions"]["changed"]), (200, &json!(["echo"])), "{answer}");
            await_functions(&home, &["echo"]);
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no request failed")).sum()
    });
    assert!(answered > 100, "{answered}");
    daemon.stop();
}

#[test]
fn a_reload_that_is_asked_for_while_another_goes_on_sees_what_is_newest() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let mut askers: Vec<_> = (0..8).map(|_| Connection::to_socket(&home.admin())).collect();
    for (number, asker) in askers.iter_mut().enumerate() {
        home.add(&format!("echo-{number}"), &echo(), "[concurrency]\nprovisioned = 0");
        asker.send("POST /_/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    }
    for asker in &mut askers {
        assert_eq!(asker.receive().status, 200);
    }
    let functions = admin::functions(&home);
    assert_eq!(functions.len(), 9, "{functions:?}");
    daemon.stop();
}

/// Its time would be up after ten seconds, and nobody has to wait for that.
#[test]
fn a_function_that_is_removed_while_its_init_hangs_goes_at_once() {
    let home = Home::new();
    home.add("hangs", &own("init_hangs"), "").add("stays", &echo(), "");
    let mut daemon = Daemon::spawn(&home);
    daemon.await_address();
    let begun = Instant::now();
    daemon.await_line(|line| line.starts_with("[hangs] "));
    let template = daemon.template("hangs");
    fs::remove_dir_all(home.functions().join("hangs")).expect("it is there");
    assert_eq!(reload(&home).0, 200);
    await_functions(&home, &["stays"]);
    assert!(template.ends_within(Duration::ZERO) && begun.elapsed() < Duration::from_secs(9), "{begun:?}");
    daemon.get("/stays").assert_ok("GET /stays\n");
    let lines = daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("hangs cannot be served")), "{lines:?}");
    daemon.stop();
}
