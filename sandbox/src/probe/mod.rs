//! Tries each confinement on this very host, for `hairtrigger doctor`.
//!
//! Nothing is concluded from a version number: what has effects is tried in a forked child, with the code
//! that confines a runner, and the effect is looked for (an open that must fail, a map that must be refused).
//! What a trial makes is gone when it ends: children are killed and reaped, groups removed, and mounts lie in
//! namespaces that end with the child.

mod child;
mod files;
mod groups;
mod memory;
mod namespaces;
mod privileges;
mod processes;
mod runner;
mod seccomp;
mod userns;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupError;
use crate::level::Level;
use crate::step::SetupError;

pub use crate::landlock::abi as landlock_abi;
pub use runner::{Runner, StepState};

/// What the trials are made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of a group of the trial's own. Nobody else may use it: it is removed.
    pub cgroup: String,
    /// First uid of the functions' range.
    pub uid_base: u32,
    /// Number of uids in it, at least 2.
    pub uid_count: u32,
}

impl Options {
    fn last_uid(&self) -> u32 {
        self.uid_base + (self.uid_count - 1)
    }
}

/// What is tried, in words.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// What it is called; a step of confinement has the step's name.
    pub name: String,
    /// The least version of Linux that has it.
    pub least_kernel: &'static str,
    /// What it is good for.
    pub protects: &'static str,
    /// What happens where it does not hold.
    pub fallback: &'static str,
    /// The levels that need it.
    pub levels: &'static [Level],
}

impl About {
    /// These four, for something that every level needs.
    pub fn new(
        name: impl fmt::Display,
        least_kernel: &'static str,
        protects: &'static str,
        fallback: &'static str,
    ) -> Self {
        Self { name: name.to_string(), least_kernel, protects, fallback, levels: Level::ALL }
    }

    /// The same, for something that only these levels need.
    pub fn at(self, levels: &'static [Level]) -> Self {
        Self { levels, ..self }
    }
}

/// The fallback of what only root can have.
const BELOW_FULL: &str = "level userns, as an ordinary user";
/// The levels of what only root can have.
const FULL: &[Level] = &[Level::Full];
/// The fallback of what every runner needs.
pub const NO_FUNCTION: &str = "none: no function can be loaded";
/// The fallback of what the daemon needs.
pub const NO_SERVE: &str = "none: serve refuses";

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was done and has its effect.
    Holds,
    /// The kernel does not have it, or it is without effect.
    Missing,
    /// The kernel has it and does not let us.
    Refused,
    /// Something that it needs does not hold.
    Untried,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Untried => "untried",
        })
    }
}

/// One confinement, and what came of trying it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was tried.
    #[serde(flatten)]
    pub about: About,
    /// What came of it.
    pub state: State,
    /// Why it does not hold: a sentence without its stop, the system's error included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error number, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl Row {
    fn new(about: About, outcome: Result<(), Failure>) -> Self {
        let Err(failure) = outcome else {
            return Self { about, state: State::Holds, reason: None, errno: None };
        };
        let errno = (failure.errno != 0).then_some(failure.errno);
        Self { about, state: failure.state(), reason: Some(failure.to_string()), errno }
    }

    fn untried(about: About, why: impl Into<String>) -> Self {
        Self { about, state: State::Untried, reason: Some(why.into()), errno: None }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.state == State::Holds
    }
}

/// Why a trial failed; crosses from the child that made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failure {
    /// What was being done, or what was found; may be empty.
    what: String,
    /// The error number, 0 where there is none.
    errno: i32,
    /// Whether it was forbidden, though no error number says so.
    forbidden: bool,
}

impl Failure {
    /// Something else was found than should be.
    fn found(what: impl Into<String>) -> Self {
        Self { what: what.into(), errno: 0, forbidden: false }
    }

    /// From an error of the system, or of a library that keeps one inside.
    fn new(what: impl Into<String>, error: &io::Error) -> Self {
        let mut what = what.into();
        let errno = error_number(error);
        // The library's own words say more than the number alone.
        if error.raw_os_error().is_none() {
            let words = error.to_string();
            what = if what.is_empty() { words } else { format!("{what}: {words}") };
        }
        let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        Self { what, errno: errno.unwrap_or(0), forbidden }
    }

    fn state(&self) -> State {
        match self.errno {
            libc::ENOSYS | libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP => State::Missing,
            0 if !self.forbidden => State::Missing,
            _ => State::Refused,
        }
    }
}

/// The number behind an error, looked for among its causes.
fn error_number(error: &io::Error) -> Option<i32> {
    if let Some(number) = error.raw_os_error() {
        return Some(number);
    }
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = cause {
        if let Some(number) = inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        cause = inner.source();
    }
    None
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let system = if self.errno == 0 {
            String::new()
        } else {
            io::Error::from_raw_os_error(self.errno).to_string()
        };
        // A library may have told the number already.
        if system.is_empty() || self.what.ends_with(&system) {
            return Ok(());
        }
        let colon = if self.what.is_empty() { "" } else { ": " };
        write!(f, "{colon}{system}")
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let errno = error.errno;
        let step = error.to_string();
        Self { what: step, errno, forbidden: false }
    }
}

impl From<CgroupError> for Failure {
    fn from(error: CgroupError) -> Self {
        Self::new(format!("cgroup {}", error.path.display()), &error.error)
    }
}

/// Says what was being done: `call().doing("mount a tmpfs")?`.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(what, &error))
    }
}

/// A confinement shows by what it stops, and by the error it stops it with.
fn must_fail<T>(what: &str, with: i32, outcome: io::Result<T>) -> Result<(), Failure> {
    let expected = io::Error::from_raw_os_error(with);
    match outcome {
        Ok(_) => Err(Failure::found(format!("{what} was not stopped"))),
        Err(error) if error.raw_os_error() == Some(with) => Ok(()),
        Err(error) => Err(Failure::found(format!("{what} ended in \"{error}\" and not in \"{expected}\""))),
    }
}

fn must(what: &str, holds: bool) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::found(what)) }
}

/// Tries something of the caller's in a forked child.
///
/// Must be called while the process has one thread.
pub fn attempt(about: About, body: impl FnOnce() -> io::Result<()>) -> Row {
    let outcome = child::run(0, || body().doing(""));
    Row::new(about, outcome)
}

/// Tries each confinement of these levels by itself, in the order in which a runner meets them.
///
/// Must be called while the process has one thread; it has one again afterwards.
pub fn confinements(options: &Options, levels: &[Level]) -> Vec<Row> {
    let full = levels.contains(&Level::Full);
    let mut rows = Vec::new();
    if full {
        rows.push(privileges::root());
        rows.extend(namespaces::rows());
        rows.extend(groups::rows(options));
        let mount = rows.iter().any(|row| row.about.name == namespaces::MOUNT && row.holds());
        rows.push(files::root(mount));
        rows.extend(privileges::of_root(options));
    }
    if levels.iter().any(|level| *level != Level::Full) {
        let ordinary = userns::ordinary_user();
        if levels.contains(&Level::Userns) {
            rows.extend(userns::rows(ordinary.holds()));
        }
        rows.insert(0, ordinary);
    }
    if levels.contains(&Level::Bare) {
        rows.push(processes::guardian());
    }
    rows.extend(processes::rows());
    rows.extend(privileges::rows());
    rows.extend(files::landlock());
    rows.extend(seccomp::rows());
    rows.extend(memory::rows());
    rows
}

/// Confines a real runner at a level, end to end, with everything up to the plugin's loader.
///
/// Must be called while the process has one thread; it has one again afterwards.
pub fn runner(options: &Options, level: Level) -> Runner {
    runner::confined(options, level)
}

/// Something that exists, is a directory, and that every runner is shown anyway.
fn harmless_directory() -> Result<PathBuf, Failure> {
    crate::runner::root::library_directories().into_iter().next().ok_or_else(|| {
        Failure::found("this host has none of the library directories that a function is shown")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_a_sentence_and_tells_missing_from_refused() {
        let refused = Failure::new("clone3", &io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(refused.to_string(), "clone3: Operation not permitted (os error 1)");
        assert_eq!(refused.state(), State::Refused);
        let missing = Failure::new("clone3", &io::Error::from_raw_os_error(libc::ENOSYS));
        assert_eq!(missing.state(), State::Missing);
        let forbidden = Failure::new("", &io::Error::new(io::ErrorKind::PermissionDenied, "switched off"));
        assert_eq!((forbidden.to_string().as_str(), forbidden.state()), ("switched off", State::Refused));
    }

    #[test]
    fn the_number_inside_a_librarys_error_is_found_and_said_once() {
        let inner = io::Error::other(io::Error::from_raw_os_error(libc::EACCES));
        let failure = Failure::new("landlock", &inner);
        assert_eq!(failure.errno, libc::EACCES);
        assert_eq!(failure.to_string(), "landlock: Permission denied (os error 13)");
    }

    #[test]
    fn what_is_not_stopped_does_not_hold() {
        assert!(
            must_fail("x", libc::EACCES, Err::<(), _>(io::Error::from_raw_os_error(libc::EACCES))).is_ok()
        );
        assert!(
            must_fail("x", libc::EACCES, Err::<(), _>(io::Error::from_raw_os_error(libc::ENOENT))).is_err()
        );
        assert_eq!(must_fail("x", libc::EACCES, Ok(())).unwrap_err().state(), State::Missing);
    }
}
