//! The steps of confinement, by name, and how one that fails crosses from the child to the daemon.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::level::Level;

macro_rules! steps {
    ($($name:ident = $what:literal,)*) => {
        /// A step of a runner's set-up, in the order in which they are taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Step { $(#[doc = $what] $name,)* }

        impl Step {
            /// Every step, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $what,)* })
            }
        }
    };
}

steps! {
    Clone = "clone the runner",
    Map = "map the user into the runner's user namespace",
    Group = "attach the runner to its cgroup",
    Dialogue = "talk to the spawner",
    DeathSignal = "ask for SIGKILL at the daemon's death",
    ForkTemplate = "fork the template from its init",
    Session = "start a session of its own",
    Signals = "reset signal actions and mask",
    Descriptors = "close inherited descriptors",
    ResourceLimits = "set resource limits",
    Root = "build the function's root file system",
    Capabilities = "drop every capability",
    Identity = "take the function's uid and gid",
    Granted = "reach what is granted to the function",
    NoNewPrivileges = "set no_new_privs",
    Landlock = "restrict file system and network by landlock",
    Seccomp = "install the system call filter",
    Listener = "hand the seccomp listener to the warden",
    NotDumpable = "make the process undumpable",
}

impl Step {
    /// Whether a runner takes this step at a level.
    pub fn taken_at(self, level: Level) -> bool {
        match self {
            Self::Map => level == Level::Userns,
            Self::Group | Self::Identity => level == Level::Full,
            Self::Root => level.has_namespaces(),
            Self::Clone
            | Self::Dialogue
            | Self::DeathSignal
            | Self::ForkTemplate
            | Self::Session
            | Self::Signals
            | Self::Descriptors
            | Self::ResourceLimits
            | Self::Capabilities
            | Self::Granted
            | Self::NoNewPrivileges
            | Self::Landlock
            | Self::Seccomp
            | Self::Listener
            | Self::NotDumpable => true,
        }
    }
}

/// A step that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupError {
    /// Which step.
    pub step: Step,
    /// The error number, 0 where there is none.
    pub errno: i32,
    /// What was being done, where the step does more than one thing; may be empty.
    pub detail: String,
}

impl SetupError {
    /// From an error of the system.
    pub fn new(step: Step, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        let detail = if errno == 0 { error.to_string() } else { String::new() };
        Self { step, errno, detail }
    }

    /// The same, saying what was being done.
    pub fn with(step: Step, error: &io::Error, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..Self::new(step, error) }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.step)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

impl std::error::Error for SetupError {}

/// Names the step of a failed call: `call().step(Step::Root)?`.
pub(crate) trait AtStep<T> {
    fn step(self, step: Step) -> Result<T, SetupError>;
}

impl<T> AtStep<T> for io::Result<T> {
    fn step(self, step: Step) -> Result<T, SetupError> {
        self.map_err(|error| SetupError::new(step, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_error_reads_as_a_sentence() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let error = SetupError::with(Step::Root, &error, "mount tmpfs");
        assert_eq!(
            error.to_string(),
            "could not build the function's root file system (mount tmpfs): Operation not permitted (os error 1)"
        );
    }
}
