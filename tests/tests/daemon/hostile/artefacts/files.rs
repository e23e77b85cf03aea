//! Files that change, and what is no file.

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

/// Makes something that is no plugin.
type Make<'m> = &'m dyn Fn(&Path);

/// Whoever writes into a plugin's file that is served, as the README forbids, harms that function only.
#[test]
fn c93_a_plugin_that_is_cut_short_while_it_serves() {
    beside_the_neighbour(|daemon| {
        daemon.home.add("cut", &echo(), "concurrency.max = 1");
        reload(daemon.home);
        assert_eq!(verdict(daemon, "cut"), None);
        let mut connection = daemon.connect();
        connection.get("/cut").assert_ok("GET /cut\n");
        let file = daemon.home.functions().join("cut/cut.so");
        File::options().write(true).open(&file).and_then(|file| file.set_len(0)).expect("it can be cut");
        let ended = "was ended by SIGBUS (an invalid memory access, or a file that was cut short while it was mapped)";
        let sentence = format!("Function cut {ended}; see its output, or run it under a debugger.");
        connection.get("/cut").assert_outcome("cut", 502, "fault", &sentence);
        // And those that are forked in its place.
        let reason = format!("its workers end before they can serve: the last one {ended}");
        assert_told(&connection.get("/cut"), "cut", &reason);
        daemon.home.add("cut", &echo(), "concurrency.max = 1");
        reload(daemon.home);
        eventually("the whole one serves", || (connection.get("/cut").status == 200).then_some(()));
    });
}

/// A file that is replaced while it is loaded: what is there in the end is served.
#[test]
fn c93_a_plugin_that_is_replaced_while_it_is_loaded() {
    beside_the_neighbour(|daemon| {
        let home = daemon.home;
        home.add("replaced", &own("init_hangs"), MANIFEST);
        reload(home);
        let loading = |versions: &[Value]| versions.iter().any(|version| version["state"] == "loading");
        eventually("it is being loaded", || loading(&functions(home)).then_some(()));
        for _ in 0..20 {
            home.add("replaced", &own("probe"), MANIFEST).add("replaced", &echo(), MANIFEST);
            reload(home);
        }
        eventually("the last one serves", || {
            let answer = daemon.get("/replaced/a");
            (answer.status == 200 && answer.body == b"GET /replaced/a\n").then_some(())
        });
    });
}

/// Half an upload, and what is no file: nothing is changed by it, and everything that is wrong is said.
#[test]
fn c93_half_an_upload_changes_nothing() {
    beside_the_neighbour(|daemon| {
        let home = daemon.home;
        home.add("good", &echo(), "");
        reload(home);
        assert_eq!(verdict(daemon, "good"), None);
        home.add("good", &own("probe"), "");
        let manifest = "name = \"half\"\nlibrary = \"half.so\"\ntimeout = \"3";
        home.add_manifest("half", manifest);
        let odd: &[(&str, &str, Make<'_>)] = &[
            ("device", "is no file", &|path| symlink("/dev/zero", path).expect("a link can be made")),
            ("directory", "is no file", &|path| fs::create_dir(path).expect("a directory can be made")),
            ("fifo", "is no file", &|path| {
                let path = CString::new(path.as_os_str().as_bytes()).expect("a plain path");
                // SAFETY: the path ends in NUL and outlives the call.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0);
            }),
            ("gone", "No such file", &|path| symlink("nowhere.so", path).expect("a link can be made")),
            ("socket", "cannot be read: No such device or address", &|path| {
                drop(UnixListener::bind(path).expect("a short path"));
            }),
            ("itself", "Too many levels of symbolic links", &|path| {
                symlink(path, path).expect("a link can be made")
            }),
        ];
        for (name, _, make) in odd {
            let folder = home.add_manifest(name, &format!("name = \"{name}\"\nlibrary = \"it\"\n"));
            make(&folder.join("it"));
        }

        let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
        let said = answer.json();
        let mistakes = said["mistakes"].as_array().expect("a list");
        assert_eq!((answer.status, mistakes.len()), (422, odd.len() + 1), "{said}");
        let of = |name: &str| {
            let file = home.functions().join(name).join("function.toml");
            let of_it = |mistake: &&Value| mistake["file"].as_str() == file.to_str();
            let mistake =
                mistakes.iter().find(of_it).unwrap_or_else(|| panic!("nothing of {name} in {said}"));
            mistake.clone()
        };
        assert_eq!((&of("half")["line"], &of("half")["column"]), (&3.into(), &13.into()), "{}", of("half"));
        for (name, what, _) in odd {
            let mistake = of(name);
            let message = mistake["message"].as_str().unwrap_or_default();
            assert!(message.contains(what), "{message}");
            assert!(is_printable(message), "{message:?}");
        }
        daemon.get("/good").assert_ok("GET /good\n");
        assert_eq!(functions(home).len(), 2, "the neighbour and the old version");
    });
}

/// A plugin that the function's uid may not read, and one behind a link: it is where the file is that the function is
/// let in.
#[test]
fn c93_links_and_modes() {
    beside_the_neighbour(|daemon| {
        let home = daemon.home;
        home.add("secret", &echo(), MANIFEST);
        let file = home.functions().join("secret/secret.so");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode can be set");
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("a directory can be made");
        fs::copy(echo(), elsewhere.join("real.so")).expect("a file can be copied");
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).expect("a mode can be set");
        let folder =
            home.add_manifest("linked", &format!("name = \"linked\"\nlibrary = \"link.so\"\n{MANIFEST}"));
        symlink(elsewhere.join("real.so"), folder.join("link.so")).expect("a link can be made");
        reload(home);
        let reason = "the plugin cannot be loaded: the function may not read its file; let everybody read it";
        assert_eq!(verdict(daemon, "secret").as_deref(), Some(reason));
        assert_told(&daemon.get("/secret"), "secret", reason);
        assert_eq!(verdict(daemon, "linked"), None);
        daemon.get("/linked").assert_ok("GET /linked\n");
    });
}
