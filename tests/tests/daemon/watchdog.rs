//! A shard that does not turn is noticed, and whoever watches the daemon hears no more that all is well.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::stall::{stall, thread};

use crate::echo;

/// What the manager wants to hear at least so often, in microseconds.
const WATCHDOG_USEC: u32 = 400_000;
/// Longer than that.
const SILENCE: Duration = Duration::from_millis(1200);

/// What the manager is told next; `None` if that takes longer than [`SILENCE`].
fn told(manager: &UnixDatagram) -> Option<String> {
    let mut room = [0; 4096];
    let length = manager.recv(&mut room).ok()?;
    Some(String::from_utf8_lossy(&room[..length]).into_owned())
}

#[test]
fn a_shard_that_stalls_is_told_of_and_the_manager_is_not_reassured() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add("echo", &echo(), "");
    let path = home.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket can be made");
    let mut command = Command::new(artefacts::daemon());
    command.arg("serve").arg("--config").arg(home.config());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG_USEC.to_string());
    let daemon = Daemon::start_by(&home, command);
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has this option");
    assert!(told(&manager).is_some_and(|text| text.starts_with("READY=1")));
    for _ in 0..5 {
        assert_eq!(told(&manager).as_deref(), Some("WATCHDOG=1\n"));
    }
    daemon.get("/echo").assert_ok("GET /echo\n");

    manager.set_read_timeout(Some(SILENCE)).expect("a socket has this option");
    let stalled = stall(&daemon.process, thread(&daemon.process, "shard-0"));
    let said = daemon.await_line(|line| line.starts_with("Shard 0 "));
    let expected = "Shard 0 has computed for 2s without coming to the end of a turn; after 10s the daemon ends itself. \
                    Please report this.";
    assert_eq!(said, expected);
    // What was said before waits to be heard, and one more word may be on its way; from then on it is silent.
    manager.set_nonblocking(true).expect("a socket can do so");
    while told(&manager).is_some() {}
    manager.set_nonblocking(false).expect("a socket can do so");
    let heard = std::iter::from_fn(|| told(&manager)).take(3).count();
    assert!(heard <= 1, "it goes on saying that all is well");
    stalled.release();
    daemon.await_line(|line| line == "Shard 0 turns again.");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has this option");
    assert_eq!(told(&manager).as_deref(), Some("WATCHDOG=1\n"));
    daemon.get("/echo").assert_ok("GET /echo\n");
    daemon.stop();
}

/// The next one can serve at once.
#[test]
fn a_shard_that_is_lost_ends_the_daemon() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let _ = stall(&daemon.process, thread(&daemon.process, "shard-1"));
    daemon.await_line(|line| line == "Shard 1 does not turn any more: the daemon ends itself.");
    let status = daemon.death(Duration::from_secs(60));
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    let next = home.start();
    next.get("/echo").assert_ok("GET /echo\n");
    next.stop();
}
