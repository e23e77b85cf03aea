//! What a function is granted works, and one step beyond it is refused: at every level.

mod deploy;
mod files;
mod network;
mod threads;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::sentences::denied;

use crate::levels::{self, Level};

/// Where functions run: as root, or as nobody with user namespaces or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Full,
    Userns,
    Bare,
}

const EVERYWHERE: [At; 3] = [At::Full, At::Userns, At::Bare];

impl At {
    fn add(self, home: &Home, name: &str, rest: &str) {
        match self {
            Self::Full => drop(home.add(name, &crate::own(name), rest)),
            Self::Userns | Self::Bare => levels::add_own(home, name, rest),
        }
    }

    fn serve(self, home: &Home) -> Daemon<'_> {
        match self {
            Self::Full => home.start(),
            Self::Userns => levels::dev(home, Level::Userns),
            Self::Bare => levels::dev(home, Level::Bare),
        }
    }

    /// A function of `tests/functions` alone.
    fn with(self, name: &str, rest: &str, test: impl FnOnce(Asked<'_>)) {
        let home = Home::new();
        self.add(&home, name, rest);
        let daemon = self.serve(&home);
        test(Asked { at: self, name, daemon: &daemon });
        daemon.stop();
    }

    /// The one of these that is said here: with a root of its own, or without.
    fn says<'s>(self, with_root: &'s str, without: &'s str) -> &'s str {
        if self == Self::Bare { without } else { with_root }
    }
}

/// A function that does what it is told.
#[derive(Clone, Copy)]
struct Asked<'d> {
    at: At,
    name: &'d str,
    daemon: &'d Daemon<'d>,
}

impl Asked<'_> {
    /// Asserts what it says of `command`.
    #[track_caller]
    fn says(self, command: &str, expected: &str) {
        let answer = levels::get(self.daemon, &format!("/{}/{command}", self.name));
        let said = (answer.status, answer.text());
        assert_eq!(said, (200, expected), "{command} at {:?}", self.at);
    }

    /// Asserts that it is ended for `command`.
    #[track_caller]
    fn is_ended(self, command: &str, status: u16, outcome: &str, rest: &str) {
        let answer = levels::get(self.daemon, &format!("/{}/{command}", self.name));
        assert_eq!(answer.status, status, "{command} at {:?}: {}", self.at, answer.text());
        answer.assert_outcome(self.name, status, outcome, &format!("Function {} {rest}", self.name));
    }

    #[track_caller]
    fn is_denied(self, command: &str, call: &str) {
        let rest = denied(call);
        self.is_ended(command, 502, "violation", &rest);
    }
}

/// A directory that everybody may use.
fn open_directory(path: &Path) -> PathBuf {
    fs::create_dir_all(path).expect("a directory can be made");
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("a mode can be set");
    path.to_owned()
}
