//! `hairtrigger check`, and the exit codes that all commands share.

use std::path::Path;
use std::process::{Command, Output};

use hairtrigger_tests::artefacts;
use hairtrigger_tests::home::Home;

use crate::echo;

fn hairtrigger(arguments: &[&str]) -> Output {
    Command::new(artefacts::daemon()).args(arguments).output().expect("the daemon can be executed")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// Exit code, standard output and standard error, without the temporary directory's name.
fn check(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = hairtrigger(&[&["check"], arguments].concat());
    assert_eq!(home.groups.all(), [""; 0].map(std::path::PathBuf::from), "it made groups");
    assert!(!home.path().join("state").exists(), "it made the state directory");
    let said = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("text");
        text.replace(&format!("{}/", home.path().display()), "")
    };
    (output.status.code(), said(output.stdout), said(output.stderr))
}

#[test]
fn what_is_right_is_counted() {
    let home = Home::new();
    home.add("one", &echo(), "");
    let config = home.config();
    let right = |count: &str| (Some(0), format!("{count}, no mistakes\n"), String::new());
    assert_eq!(check(&home, &["--config", path(&config)]), right("1 function"));
    home.add("two", &echo(), "");
    assert_eq!(check(&home, &[path(&home.functions())]), right("2 functions"));
    let (code, said, _) = check(&home, &["--json", path(&home.functions())]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let expected = serde_json::json!({ "ok": true, "functions": ["one", "two"], "mistakes": [] });
    assert_eq!((code, said), (Some(0), expected));
}

/// The examples are right, and they have sources only.
#[test]
fn a_tree_need_not_be_built() {
    let output = hairtrigger(&["check", path(&artefacts::workspace().join("plugins"))]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// In every file, and every one in a file.
#[test]
fn every_mistake_is_said() {
    let home = Home::new();
    home.add("good", &echo(), "");
    home.add("bad", &echo(), "timeout = 3\nmemory = \"1B\"\ncolour = 1");
    home.add_manifest("lost", "name = \"lost\"\nlibrary = \"lost.so\"\n");
    home.add_manifest("shy", "name = \"shy\"\n");
    home.add_manifest("twin", "name = \"good\"\nlibrary = \"../good/good.so\"\n");
    let common = "functions/bad/function.toml:3:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \
                  \"2m\"; found 3.\n\
                  functions/bad/function.toml:4:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \
                  \"512KiB\" or a number of bytes; found \"1B\".\n\
                  functions/bad/function.toml:5:1: there is no key colour here; the keys are ";
    let (code, out, said) = check(&home, &["--config", path(&home.config())]);
    assert_eq!((code, &*out), (Some(3), ""));
    let rest = said.strip_prefix(common).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(
        rest.lines().skip(1).collect::<Vec<_>>(),
        [
            "functions/twin/function.toml: a function named good is already in functions/good/function.toml.",
            "functions/lost/function.toml: there is no plugin functions/lost/lost.so: No such file or directory \
             (os error 2).",
            "functions/shy/function.toml: serve needs the key library, the path of the plugin's file.",
        ]
    );
    let (code, _, said) = check(&home, &[path(&home.functions())]);
    let rest = said.strip_prefix(common).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(code, Some(3));
    assert_eq!(
        rest.lines().skip(2).collect::<Vec<_>>(),
        [
            "functions/lost/function.toml: the plugin functions/lost/lost.so cannot be read: No such file or \
             directory (os error 2).",
            "functions/shy/function.toml: it has neither source nor library, and there is no Cargo.toml beside it.",
        ]
    );
    let (code, said, _) = check(&home, &["--json", path(&home.functions())]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &said["ok"]), (Some(3), &false.into()));
    let first = serde_json::json!({
        "file": "functions/bad/function.toml", "line": 3, "column": 11,
        "message": "timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found 3",
    });
    let mistakes = said["mistakes"].as_array().expect("an array");
    assert_eq!((mistakes.len(), &mistakes[0]), (6, &first));
    assert_eq!(mistakes[5].get("line"), None, "no line of that file is wrong");

    // And `serve` says as much.
    let said = home.refusal(3);
    assert_eq!(said.len(), 6, "{said:?}");
    assert!(said.iter().all(|line| line.starts_with("hairtrigger: ")), "{said:?}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["srve"], 2),
        (&["check", "--config", "h.toml", "functions"], 2),
        (&["serve", "--config", "/nowhere/hairtrigger.toml"], 3),
        (&["check", "/nowhere"], 3),
    ] {
        let output = hairtrigger(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(said.is_empty(), code == 0, "{arguments:?}: {said}");
    }
}

/// A pipe in the place of a file is told, and not waited for.
#[test]
fn a_pipe_is_no_file() {
    let home = Home::new();
    let manifest = home.add_manifest("manifest", "").join("function.toml");
    let library = home.add_manifest("library", "name = \"library\"\nlibrary = \"a.so\"\n").join("a.so");
    std::fs::remove_file(&manifest).expect("it was written just now");
    for pipe in [manifest, library] {
        let pipe = std::ffi::CString::new(path(&pipe)).expect("no NUL");
        // SAFETY: the name is NUL-terminated and read during the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o644) }, 0);
    }
    let (code, _, said) = check(&home, &["--config", path(&home.config())]);
    assert_eq!(code, Some(3), "{said}");
    let lines = said.lines().filter(|line| line.contains("it is no file")).count();
    assert_eq!(lines, 2, "{said}");
}
