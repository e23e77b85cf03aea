//! `hairtrigger new`, and what helps at the command line.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hairtrigger_tests::artefacts;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;

use crate::dev::dev;

fn hairtrigger(arguments: &[&str]) -> Output {
    let output = Command::new(artefacts::daemon()).args(arguments).stdin(Stdio::null()).output();
    output.expect("the daemon can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a shell's line in a directory; it must succeed.
fn shell(directory: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).current_dir(directory).output();
    let output = output.expect("bash can be executed");
    assert!(output.status.success(), "{line}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The line that `new` prints as the one to test with.
fn own_test(said: &str) -> &str {
    said.lines().find_map(|line| line.strip_prefix("test it:")).expect("it says how to test").trim()
}

#[test]
fn a_new_function_passes_its_own_test_builds_and_answers() {
    let home = Home::new();
    let root = home.functions();
    let directory = root.to_str().expect("a plain path");
    for (language, verdict) in [("c", "passed"), ("cpp", "passed"), ("rust", "2 passed; 0 failed")] {
        let name = format!("new-{language}");
        let made = hairtrigger(&["new", &name, "--lang", language, "--dir", directory]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        // The other tests' crates were built for the same target directory.
        let shared = artefacts::target().join("tmp/dev");
        let line = format!("export CARGO_TARGET_DIR={shared:?}; {}", own_test(&text(&made.stderr)));
        let said = shell(&root, &line);
        assert!(said.contains(verdict), "{said}");
    }
    let mut daemon = Daemon::run(&home, dev(&home));
    daemon.await_address();
    for language in ["c", "cpp", "rust"] {
        daemon.await_line(|line| line.starts_with(&format!("loaded new-{language} in ")));
        daemon.get(&format!("/new-{language}")).assert_ok(format!("Hello from new-{language}\n"));
    }
    daemon.connect().post("/new-c", b"quietly").assert_ok("QUIETLY");
    daemon.connect().post("/new-cpp", b"b a b").assert_ok("a 1\nb 2\n");
    daemon.get("/new-rust?name=Ada").assert_ok("Hello from new-rust, Ada\n");
    daemon.stop();
}

#[test]
fn new_natives_compile_without_a_warning_and_run_without_a_finding() {
    let home = Home::new();
    let directory = home.functions();
    for (language, compile) in [("c", "cc -std=c11"), ("cpp", "c++ -std=c++17")] {
        let name = format!("clean-{language}");
        let made =
            hairtrigger(&["new", &name, "--lang", language, "--dir", directory.to_str().expect("plain")]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let strict = "-Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all";
        let line = format!("{compile} {strict} -I. -o test test.{language} && ./test");
        assert_eq!(shell(&directory.join(&name), &line), "passed\n");
    }
}

#[test]
fn a_new_function_takes_nobodys_place() {
    let home = Home::new();
    let taken = home.functions().join("taken");
    fs::create_dir(&taken).expect("a directory can be made");
    fs::write(taken.join("mine"), "mine").expect("a file can be written");
    let directory = home.functions().display().to_string();
    for (arguments, sentence) in [
        (
            &["new", "taken", "--dir", &directory][..],
            format!("{} is there already; choose another name or another --dir", taken.display()),
        ),
        (
            &["new", "../escapes", "--dir", &directory],
            "the name of a function must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found \
             \"../escapes\""
                .to_owned(),
        ),
        (
            &["new", "lonely", "--lang", "rust", "--dir", &directory, "--sdk", &directory],
            format!("{directory} is not the crate hairtrigger-abi; give the directory abi of a checkout"),
        ),
    ] {
        let refused = hairtrigger(arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(text(&refused.stderr), format!("hairtrigger: {sentence}\n"));
    }
    let left: Vec<_> =
        fs::read_dir(home.functions()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["taken"]);
    assert_eq!(fs::read_to_string(taken.join("mine")).expect("still there"), "mine");
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let home = Home::new();
    for shell_name in ["bash", "zsh", "fish"] {
        let script = hairtrigger(&["completions", shell_name]);
        assert!(script.status.success());
        let script = text(&script.stdout);
        assert!(["invoke", "doctor", "listen"].iter().all(|word| script.contains(word)), "{shell_name}");
        let path = home.path().join(shell_name);
        fs::write(&path, script).expect("a file can be written");
        if artefacts::find_program(shell_name).is_some() {
            shell(home.path(), &format!("{shell_name} -n {shell_name}"));
        } else {
            assert_ne!(shell_name, "bash", "this test needs bash");
        }
    }
    // What a person gets who presses the key.
    let line = "source ./bash; COMP_WORDS=(hairtrigger invo); COMP_CWORD=1; _hairtrigger hairtrigger invo \
                hairtrigger; echo \"${COMPREPLY[*]}\"";
    assert_eq!(shell(home.path(), line), "invoke\n");
    assert_eq!(hairtrigger(&["completions", "powershell"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::new();
    let pages = home.path().join("man1");
    let made = hairtrigger(&["man", pages.to_str().expect("a plain path")]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let help = text(&hairtrigger(&["--help"]).stdout);
    // What a command is for may go on in further lines, which begin farther right.
    let names = help.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let commands: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"dev") && commands.contains(&"man"), "{help}");
    for command in commands {
        let page = pages.join(format!("hairtrigger-{command}.1"));
        let page_text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(page_text.contains(".SH SYNOPSIS"), "{page_text}");
        if artefacts::find_program("man").is_some() {
            let shown = shell(&pages, &format!("MANPAGER=cat man --warnings -l {}", page.display()));
            assert!(shown.contains(command), "{shown}");
        }
    }
    assert!(text(&hairtrigger(&["man"]).stdout).contains("hairtrigger\\-invoke(1)"));
}
