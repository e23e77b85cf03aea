//! Where the daemon listens: several addresses, unix sockets, and who may use them.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::Connection;
use hairtrigger_tests::process::eventually;

use crate::echo;

/// Whether it is a socket, its mode, and its group.
fn rights(path: &Path) -> (bool, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.file_type().is_socket(), metadata.mode() & 0o7777, metadata.gid())
}

#[test]
fn the_unix_socket_serves_what_tcp_serves() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nsocket_group = 4242");
    home.add("echo", &echo(), "");
    let daemon = home.start();
    assert_eq!(rights(&home.socket()), (true, 0o660, 4242));
    assert_eq!(rights(&home.admin()), (true, 0o600, 0));
    let mut connection = Connection::to_socket(&home.socket());
    connection.get("/echo/over?unix").assert_ok("GET /echo/over?unix\n");
    let body = vec![b'x'; 1 << 20];
    assert_eq!(connection.post("/echo", &body).body, body);
    connection.send("GET /echo HTTP/1.1\r\nHost: example.org\r\n\r\n").receive().assert_ok("GET /echo\n");
    daemon.get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
    assert!(!home.socket().exists() && !home.admin().exists(), "they go with the daemon");
}

#[test]
fn there_may_be_many_addresses_or_none() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    home.configure("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"[::1]:0\"]\nsocket = false\nadmin = false");
    let daemon = home.start();
    let lines = daemon.lines();
    let addresses: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("serving on http://")).collect();
    assert_eq!(addresses.len(), 3, "{lines:?}");
    for address in addresses {
        Connection::to(address.parse().expect("an address")).get("/echo").assert_ok("GET /echo\n");
    }
    assert!(!home.socket().exists() && !home.admin().exists());
    daemon.stop();

    home.configure("listen = \"none\"\nsocket = \"here.sock\"");
    let mut command = Command::new(artefacts::daemon());
    command.arg("serve").arg("--config").arg(home.config());
    let daemon = Daemon::run(&home, command);
    let socket = home.path().join("here.sock");
    daemon.await_line(|line| line == format!("serving on the unix socket {}", socket.display()));
    Connection::to_socket(&socket).get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
}

/// Whatever the configuration says.
#[test]
fn the_command_line_can_move_what_the_daemon_writes() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    home.configure("listen = \"none\"\nsocket = \"here.sock\"\nrun = \"run\"");
    let state = home.path().join("elsewhere");
    let mut command = Command::new(artefacts::daemon());
    command.arg("serve").arg("--config").arg(home.config()).arg("--state").arg(&state);
    let daemon = Daemon::run(&home, command);
    let socket = state.join("run/hairtrigger.sock");
    daemon.await_line(|line| line == format!("serving on the unix socket {}", socket.display()));
    Connection::to_socket(&socket).get("/echo").assert_ok("GET /echo\n");
    assert!(state.join("uids.toml").is_file() && state.join("run/admin.sock").exists());
    for other in ["here.sock", "run", "state"] {
        assert!(!home.path().join(other).exists(), "{other}");
    }
    daemon.stop();
}

#[test]
fn a_dead_daemons_sockets_are_taken_over_and_a_living_ones_are_not() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let other = Home::new();
    other.configure(&format!("listen = \"none\"\nsocket = \"{}\"", home.socket().display()));
    let said = other.refusal(1);
    let path = home.socket();
    assert_eq!(
        said,
        [format!("hairtrigger: cannot listen on {}: somebody listens there already", path.display())]
    );
    Connection::to_socket(&path).get("/echo").assert_ok("GET /echo\n");
    daemon.kill();
    assert!(rights(&path).0, "nobody was there to remove it");
    let next = home.start();
    Connection::to_socket(&path).get("/echo").assert_ok("GET /echo\n");
    next.stop();
}

#[test]
fn connections_have_a_cap_and_the_operator_gets_in() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1\nmax_connections = 64");
    let daemon = home.start();
    let enter = || {
        let mut connection = daemon.connect();
        connection.get("/echo").assert_ok("GET /echo\n");
        connection
    };
    let mut inside: Vec<_> = (0..64).map(|_| enter()).collect();
    daemon.connect().assert_closed();
    Connection::to_socket(&home.socket()).assert_closed();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1\nmax_connections = 66");
    // Its own connection counts, too.
    let mut admin = Connection::to_socket(&home.admin());
    assert_eq!(admin.post("/_/reload", b"").status, 200);
    inside.push(enter());
    daemon.connect().assert_closed();
    daemon.stop();
}

/// The listeners of a killed daemon live on for a moment, and would take connections to nowhere.
#[test]
fn no_connection_is_lost_to_a_dead_daemons_listener() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("echo", &echo(), "");
    let mut daemon = home.start();
    let address = daemon.address();
    home.configure(&format!("listen = \"{address}\"\nshards = 2"));
    for _ in 0..3 {
        daemon.kill();
        daemon = home.start();
        for _ in 0..64 {
            daemon.get("/echo").assert_ok("GET /echo\n");
        }
    }
    daemon.stop();
    eventually("nobody listens", || TcpStream::connect(address).is_err().then_some(()));
}
