//! `allow.read` and `allow.write`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::process::Process;

use super::{Asked, At, EVERYWHERE, open_directory};

/// What there is to grant, and what is not: `data` with files, `alone.txt`, and `beside.txt`.
fn furnish(home: &Home) {
    let at = |name: &str| home.path().join(name);
    fs::create_dir_all(open_directory(&at("data")).join("deep/deeper")).expect("directories can be made");
    for (name, text) in [
        ("data/one", "first"),
        ("data/deep/deeper/two", "second"),
        ("alone.txt", "alone"),
        ("beside.txt", "no"),
    ] {
        fs::write(at(name), text).expect("a file can be written");
        // So that it is not its owner that keeps anybody from it.
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o666)).expect("a mode can be set");
    }
    symlink("../beside.txt", at("data/out")).expect("a link can be made");
    symlink("one", at("data/in")).expect("a link can be made");
    open_directory(&at("work"));
}

/// The function `files` with these grants, in which `@` stands for its home.
fn with_files(at: At, grants: &str, test: impl FnOnce(&Home, Asked<'_>)) {
    let home = Home::new();
    furnish(&home);
    let grants = grants.replace('@', &home.path().display().to_string());
    at.add(&home, "files", &format!("[allow]\n{grants}"));
    let daemon = at.serve(&home);
    test(&home, Asked { at, name: "files", daemon: &daemon });
    daemon.stop();
}

#[test]
fn what_may_be_read_is_read_and_nothing_else() {
    for at in EVERYWHERE {
        with_files(at, "read = ['@/data', '../../alone.txt']", |home, files| {
            let says = |command: &str, path: &str, expected: &str| {
                files.says(&format!("{command}?{}/{path}", home.path().display()), expected);
            };
            says("read", "data/one", "first");
            says("read", "data/in", "first");
            says("read", "data/deep/deeper/two", "second");
            says("size", "data/one", "5");
            says("list", "data", "deep in one out");
            says("read", "alone.txt", "alone");
            // One step beyond: beside, above, by a link, by dots; and what the function itself is made of.
            let beyond = at.says("No such file or directory", "Permission denied");
            says("read", "beside.txt", beyond);
            says("list", "", "Permission denied");
            says("read", "data/out", beyond);
            says("read", "data/../beside.txt", beyond);
            says("read", "functions/files/function.toml", beyond);
            files.says("list?.", "Permission denied");
            files.says("read?/etc/passwd", beyond);
            // To look is not to touch.
            let refused = at.says("Read-only file system", "Permission denied");
            says("write", "data/one", refused);
            says("append", "alone.txt", refused);
            says("empty", "data/one", refused);
            says("create", "data/new", refused);
            says("execute", "data/one", "Permission denied");
            says("handle", "data/one", "Permission denied");
            says("handle", "beside.txt", "Permission denied");
            let path = |command: &str| format!("{command}?{}/data/one", home.path().display());
            files.is_denied(&path("unlink"), "unlink");
            files.is_denied(&path("mkdir"), "mkdir");
            files.is_denied(&path("rename"), "rename");
            files.is_denied(&path("chmod"), "chmod");
            assert_eq!(fs::read_to_string(home.path().join("data/one")).expect("it is there"), "first");
        });
    }
}

/// Where there is no root of its own, names and attributes would be those of the host's files.
#[test]
fn names_are_told_where_a_function_has_a_root_of_its_own() {
    for at in EVERYWHERE {
        with_files(at, "read = ['@/data']", |home, files| {
            for (command, expected) in [("stat", "done"), ("access", "done"), ("readlink", "one")] {
                let link = format!("{command}?{}/data/in", home.path().display());
                files.says(&link, at.says(expected, "Permission denied"));
                let beside = format!("{command}?{}/beside.txt", home.path().display());
                files.says(&beside, at.says("No such file or directory", "Permission denied"));
            }
            files.says("cwd", at.says("/function", "Permission denied"));
        });
    }
}

#[test]
fn what_may_be_written_is_written_and_nothing_else() {
    for at in EVERYWHERE {
        with_files(at, "read = ['@/data']\nwrite = ['@/work']", |home, files| {
            let here = home.path().display();
            let says = |command: &str, path: &str, expected: &str| {
                files.says(&format!("{command}?{here}/{path}"), expected);
            };
            let moves = |from: &str, to: &str, expected: &str| {
                files.says(&format!("rename?{here}/{from}:{here}/{to}"), expected);
            };
            let on_host = |path: &str| fs::read_to_string(home.path().join(path));
            says("create", "work/new", "done");
            assert_eq!(on_host("work/new").expect("it was made"), "written");
            says("append", "work/new", "done");
            says("size", "work/new", "14");
            says("read", "work/new", "writtenwritten");
            says("cut", "work/new", "done");
            says("read", "work/new", "wr");
            says("sync", "work/new", "done");
            says("mkdir", "work/folder", "done");
            moves("work/new", "work/folder/moved", "done");
            says("list", "work/folder", "moved");
            says("empty", "work/folder/moved", "done");
            says("size", "work/folder/moved", "0");
            // As long as a file may be, and not a byte longer.
            says("grow", "work/folder/moved", "done");
            let longest = format!("size?{here}/work/folder/moved");
            files.says(&longest, &(1_u64 << 30).to_string());
            files.is_ended(
                &format!("overgrow?{here}/work/folder/moved"),
                502,
                "fault",
                "was ended by SIGXFSZ (its file size limit); see its output, or run it under a debugger.",
            );
            let expected =
                if at == At::Full { home.uid("files") } else { hairtrigger_tests::ordinary::NOBODY };
            let facts = fs::metadata(home.path().join("work/folder/moved")).expect("it is there");
            assert_eq!((facts.uid(), facts.gid()), (expected, expected), "{at:?}");
            // One step beyond.
            let beyond = at.says("No such file or directory", "Permission denied");
            says("create", "beside.new", at.says("Read-only file system", "Permission denied"));
            says("write", "beside.txt", beyond);
            says("write", "work/../beside.txt", beyond);
            says("create", "data/new", at.says("Read-only file system", "Permission denied"));
            moves(
                "work/folder/moved",
                "data/moved",
                at.says("Invalid cross-device link", "Permission denied"),
            );
            moves("work/folder/moved", "moved", at.says("Invalid cross-device link", "Permission denied"));
            moves("data/one", "work/one", at.says("Invalid cross-device link", "Permission denied"));
            says("unlink", "data/one", at.says("Read-only file system", "Permission denied"));
            says("execute", "work/folder/moved", "Permission denied");
            // Nothing but files and directories comes about.
            let two = |command: &str| format!("{command}?{here}/work/folder/moved:{here}/work/other");
            files.is_denied(&two("symlink"), "symlink");
            files.is_denied(&two("link"), "link");
            files.is_denied(&two("exchange"), "renameat2");
            files.is_denied(&format!("fifo?{here}/work/fifo"), "mknodat");
            files.is_denied(&format!("chmod?{here}/work/folder/moved"), "chmod");
            says("unlink", "work/folder/moved", "done");
            says("rmdir", "work/folder", "done");
            assert_eq!(fs::read_dir(home.path().join("work")).expect("it is there").count(), 0);
            assert_eq!(on_host("data/one").expect("it is there"), "first");
            assert_eq!(on_host("beside.txt").expect("it is there"), "no");
        });
    }
}

#[test]
fn the_root_shows_what_is_granted_and_guards_it() {
    for at in [At::Full, At::Userns] {
        with_files(at, "read = ['@/data', '@/alone.txt']\nwrite = ['@/work']", |home, files| {
            files.says("cwd", "/function");
            let tree = files.daemon.tree();
            let worker: &Process =
                tree.iter().find(|process| process.name() == "ht-worker").expect("it has just answered");
            let mounts = worker.read("mountinfo");
            for (name, access) in [("data", "ro"), ("alone.txt", "ro"), ("work", "rw")] {
                let path = home.path().join(name);
                let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
                let mut mount = fields.filter(|fields| Path::new(fields[4]) == path);
                let mount = mount.next().unwrap_or_else(|| panic!("no {name} at {at:?} in:\n{mounts}"));
                let options: BTreeSet<&str> = mount[5].split(',').collect();
                assert!(
                    BTreeSet::from([access, "nosuid", "nodev", "noexec"]).is_subset(&options),
                    "{mount:?}"
                );
            }
            let root = fs::read_dir(worker.path("root")).expect("the process runs");
            let root: BTreeSet<_> =
                root.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
            assert_eq!(root, ["function", "lib", "lib64", "tmp", "usr"].map(str::to_owned).into());
        });
    }
}

/// What its uid may not do is told at the load, with what to do about it.
#[test]
fn a_directory_of_somebody_elses_is_told_when_the_function_is_loaded() {
    let home = Home::new();
    furnish(&home);
    let work = home.path().join("work");
    fs::set_permissions(&work, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    home.add("files", &crate::own("files"), "[allow]\nwrite = ['../../work']");
    let mut daemon = Daemon::spawn(&home);
    daemon.await_address();
    let said = daemon.await_line(|line| line.starts_with("function files cannot be served"));
    let (uid, path) = (home.uid("files"), work.display());
    let expected = format!(
        "function files cannot be served yet: the sandbox could not reach what is granted to the function (user {uid} \
         may not write to {path}; `chown {uid} {path}` gives it to that user): Permission denied (os error 13); it is \
         loaded again in 100ms"
    );
    assert_eq!(said, expected);
    // It does what it is told, and nothing else is needed.
    std::os::unix::fs::chown(&work, Some(uid), Some(uid)).expect("root may give directories away");
    daemon.await_line(|line| line.starts_with("loaded files "));
    daemon.get(&format!("/files/create?{path}/new")).assert_ok("done");
    daemon.stop();
}
