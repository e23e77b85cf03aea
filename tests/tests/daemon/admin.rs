//! The administration's socket.

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, get};
use hairtrigger_tests::process::eventually;
use serde_json::json;

use crate::{echo, own};

#[test]
fn functions_are_listed_with_their_state_and_workers() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("echo", &echo(), "[concurrency]\nprovisioned = 3");
    home.add("none", &own("probe"), "[concurrency]\nprovisioned = 0");
    let folder = home.add_manifest("text", "name = \"text\"\nlibrary = \"text.so\"\n");
    std::fs::write(folder.join("text.so"), "no plugin").expect("writable");
    let daemon = home.start();
    let mut admin = Connection::to_socket(&home.admin());
    let functions = eventually("three workers are idle", || {
        let answer = admin.get("/_/functions").json();
        let functions = answer["functions"].as_array().expect("a list").clone();
        let idle = |function: &serde_json::Value| -> u64 {
            let workers = function["workers"].as_array().expect("a list");
            workers.iter().map(|shard| shard["idle"].as_u64().expect("a number")).sum()
        };
        (idle(&functions[0]) == 3).then_some(functions)
    });
    let facts: Vec<_> =
        functions.iter().map(|function| json!([function["name"], function["state"]])).collect();
    assert_eq!(facts, [json!(["echo", "ready"]), json!(["none", "ready"]), json!(["text", "failed"])]);
    assert_eq!(functions[2]["reason"], "the plugin cannot be loaded: its file is no shared object");
    assert_eq!(functions[0]["reason"], json!(null));
    // Three, dealt to two shards.
    let shards = functions[0]["workers"].as_array().expect("a list");
    let mut dealt: Vec<_> = shards.iter().map(|shard| shard["all"].as_u64()).collect();
    dealt.sort_unstable();
    assert_eq!(dealt, [Some(1), Some(2)]);
    daemon.stop();
}

#[test]
fn the_daemon_says_what_it_is() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    let daemon = home.start();
    let mut admin = Connection::to_socket(&home.admin());
    let about = admin.get("/_/version").json();
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["pid"], daemon.process.pid);
    assert_eq!((&about["level"], &about["shards"]), (&json!("full"), &json!(2)));
    assert_eq!(about["listen"], json!([daemon.address().to_string()]));
    assert_eq!(about["configuration"], home.config().to_str().expect("text"));
    let head = admin.send("HEAD /_/version HTTP/1.1\r\nHost: a\r\n\r\n").receive_head();
    assert_eq!((head.status, head.header("content-type")), (200, "application/json"));
    admin.get("/_/health").assert_ok("ok\n");

    let unknown = admin.get("/_/nothing");
    assert_eq!((unknown.status, &unknown.json()["outcome"]), (404, &json!("no_such_path")));
    let wrong = admin.post("/_/functions", b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, HEAD"));
    let wrong = admin.get("/_/reload");
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    // One after the other, and in order.
    admin.send([get("/_/health"), get("/_/version"), get("/_/health")].concat());
    admin.receive().assert_ok("ok\n");
    assert_eq!(admin.receive().json()["pid"], daemon.process.pid);
    admin.receive().assert_ok("ok\n");
    daemon.stop();
}

#[test]
fn only_its_own_socket_leads_to_it() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    for mut connection in [daemon.connect(), Connection::to_socket(&home.socket())] {
        connection.get("/_/health").assert_ok("ok\n");
        for path in ["/_/functions", "/_/version", "/_/reload"] {
            let answer = connection.get(path);
            assert_eq!((answer.status, &answer.json()["outcome"]), (404, &json!("no_such_path")), "{path}");
            assert_eq!(connection.post(path, b"").status, 404, "{path}");
        }
    }
    // Functions are asked there, too: it is the operator's.
    Connection::to_socket(&home.admin()).get("/echo").assert_ok("GET /echo\n");
    // And a client that leaves takes nobody with it.
    for _ in 0..100 {
        Connection::to_socket(&home.admin()).send(get("/_/functions"));
    }
    Connection::to_socket(&home.admin()).get("/_/health").assert_ok("ok\n");
    daemon.stop();
}
