//! The daemon under a service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::eventually;

use crate::{echo, own};

/// What a manager is told next, field by field.
fn told(manager: &UnixDatagram) -> Vec<String> {
    let mut room = [0; 4096];
    let length = manager.recv(&mut room).expect("the manager is told something");
    String::from_utf8_lossy(&room[..length]).lines().map(str::to_owned).collect()
}

#[test]
fn the_manager_hears_of_start_reload_and_end() {
    let home = Home::new();
    home.add("echo", &echo(), "");
    let path = home.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket can be made");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has this option");
    let mut command = Command::new(artefacts::daemon());
    command.arg("serve").arg("--config").arg(home.config()).env("NOTIFY_SOCKET", &path);
    let mut daemon = Daemon::run(&home, command);
    let ready = told(&manager);
    assert_eq!(ready[0], "READY=1", "{ready:?}");
    daemon.await_address();
    // It was true when it was said.
    daemon.get("/echo").assert_ok("GET /echo\n");

    let now = || {
        let uptime = fs::read_to_string("/proc/uptime").expect("/proc is mounted");
        uptime.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok()).expect("seconds")
    };
    for text in ["", "colour = 1"] {
        home.configure(&format!("listen = \"127.0.0.1:0\"\n{text}"));
        daemon.process.signal(libc::SIGHUP);
        let reloading = told(&manager);
        assert_eq!(reloading[0], "RELOADING=1");
        let time =
            reloading[1].strip_prefix("MONOTONIC_USEC=").expect("when").parse::<u64>().expect("a number");
        assert!(now().abs_diff(time / 1_000_000) < 100, "{time}");
        let ready = told(&manager);
        assert_eq!(ready[0], "READY=1", "whatever came of it, it serves");
        let status = if text.is_empty() { "STATUS=reloaded " } else { "STATUS=not reloaded " };
        assert!(ready[1].starts_with(status), "{ready:?}");
    }
    daemon.stop_while(|_| assert_eq!(told(&manager)[0], "STOPPING=1"));
}

/// All capabilities that the unit leaves it are all that it needs.
#[test]
fn the_units_capabilities_are_enough() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"60s\"\n[concurrency]\nmax = 1");
    let unit = artefacts::workspace().join("daemon/hairtrigger.service");
    let unit = fs::read_to_string(unit).expect("the unit is there");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = lines.flat_map(str::split_whitespace).map(|name| {
        format!(",+{}", name.strip_prefix("CAP_").expect("capabilities have this prefix").to_lowercase())
    });
    let set = format!("-all{}", names.collect::<String>());
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set").arg(&set).arg("--no-new-privs").arg("--");
    command.arg(artefacts::daemon()).arg("serve").arg("--config").arg(home.config());
    let mut daemon = Daemon::run(&home, command);
    daemon.await_address();
    let bounding = daemon.process.status("CapBnd");
    let count = u64::from_str_radix(&bounding, 16).expect("a number").count_ones() as usize;
    assert!((1..=set.matches('+').count()).contains(&count), "it has others: {bounding}");
    let worker = daemon.await_workers("probe", 1).remove(0);
    let mut connection = daemon.connect();
    connection.send(get("/probe/use?300"));
    eventually("a worker with a long invocation is demoted", || worker.is_demoted().then_some(()));
    connection.receive().assert_ok("used\n");
    assert!(!worker.is_demoted(), "who has the answer finds the worker restored");
    daemon.stop();
}
