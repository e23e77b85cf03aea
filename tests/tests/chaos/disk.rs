//! A disk that is full where the daemon keeps its state.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::process::eventually;

use super::own;

/// In a namespace of its own, so that no other process sees the mount, and it ends with the daemon.
const MOUNT_AND_SERVE: &str =
    "mount -t tmpfs -o size=64k,mode=700 none \"$1\" && exec \"$2\" serve --config \"$3\"";

#[test]
fn a_full_disk_keeps_what_is_new_out_and_nothing_else() {
    let home = Home::new();
    home.add("old", &own("slow_echo"), "");
    let state = home.path().join("state");
    fs::create_dir(&state).expect("a directory can be made");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_SERVE, "sh"]);
    command.arg(&state).arg(artefacts::daemon()).arg(home.config());
    let daemon = Daemon::start_by(&home, command);
    // As the daemon sees it.
    let inside = daemon.process.path("root").join(state.strip_prefix("/").expect("an absolute path"));
    let uids = inside.join("uids.toml");
    let known = fs::read(&uids).expect("a started daemon has written its uids");
    let filler = inside.join("filler");
    fill(&filler);

    home.add("new", &own("slow_echo"), "");
    daemon.process.signal(libc::SIGHUP);
    daemon.await_line(|line| {
        line.starts_with("not reloaded ") && line.ends_with(": everything stays as it was")
    });
    let said = daemon.await_line(|line| line.ends_with(": No space left on device (os error 28)."));
    assert!(said.contains(": cannot write ") && said.contains("/uids.toml: "), "{said}");
    assert_eq!(fs::read(&uids).expect("it is still there"), known, "all of what was known, and nothing else");
    assert_eq!(daemon.connect().post("/old", b"still here").body, b"still here");
    assert_eq!(daemon.connect().post("/new", b"").status, 404);

    fs::remove_file(&filler).expect("it is there");
    daemon.process.signal(libc::SIGHUP);
    daemon.await_line(|line| line.starts_with("loaded new "));
    eventually("the new one serves", || {
        (daemon.connect().post("/new", b"here").body == b"here").then_some(())
    });
    daemon.stop();
}

/// Until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file can be made");
    let mut piece = vec![b'x'; 4096];
    while !piece.is_empty() {
        match file.write(&piece) {
            Ok(written) if written > 0 => {}
            _ => piece.truncate(piece.len() / 2),
        }
    }
}
