//! The switch is in one build only.

use std::path::Path;
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::crimes::crime;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::layers::VARIABLE;
use hairtrigger_tests::sentences::denied;

fn mentions_the_switch(executable: &Path) -> bool {
    let bytes = std::fs::read(executable).unwrap_or_else(|error| panic!("{}: {error}", executable.display()));
    bytes.windows(VARIABLE.len()).any(|window| window == VARIABLE.as_bytes())
}

#[test]
fn no_other_executable_holds_the_switch() {
    assert!(mentions_the_switch(&artefacts::daemon_with_layers_off()), "one sees it where it is");
    for executable in [artefacts::daemon(), artefacts::released_daemon()] {
        assert!(!mentions_the_switch(&executable), "{} holds the switch", executable.display());
    }
}

#[test]
fn an_ordinary_daemon_turns_nothing_off() {
    for executable in [artefacts::daemon(), artefacts::released_daemon()] {
        let home = Home::new();
        let connects = crime(13);
        connects.deploy(&home);
        let mut command = Command::new(executable);
        command.arg("serve").arg("--config").arg(home.config());
        command.env(VARIABLE, "seccomp,landlock,namespaces,uid,groups,limits,deadline");
        let daemon = Daemon::start_by(&home, command);
        let deed = connects.deeds().next().expect("it has a deed");
        let answer = daemon.get(&connects.path(&deed, &daemon));
        let sentence = format!("Function {} {}", connects.name, denied("socket"));
        answer.assert_outcome(connects.name, 502, "violation", &sentence);
        daemon.stop();
    }
}

/// Nobody serves with the one that has the switch without knowing it.
#[test]
fn the_daemon_with_the_switch_says_so() {
    for (off, said) in [("", "none"), ("landlock,seccomp", "seccomp, landlock")] {
        let home = Home::new();
        let mut command = Command::new(artefacts::daemon_with_layers_off());
        command.arg("serve").arg("--config").arg(home.config()).env(VARIABLE, off);
        let mut daemon = Daemon::run(&home, command);
        daemon.await_address();
        daemon.await_line(|line| {
            line == format!(
                "THIS DAEMON IS BUILT FOR TESTS: layers of its confinement can be off, and these are: {said}."
            )
        });
        daemon.stop();
    }
}
