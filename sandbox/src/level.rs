//! How much of the confinement a daemon enforces.

use std::fmt;

/// Levels, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As root: everything, each function under a uid and in groups of its own.
    Full,
    /// As an ordinary user, by a user namespace: no groups, and all functions have the user's own uid outside.
    Userns,
    /// As an ordinary user without namespaces: no_new_privs, landlock, seccomp and resource limits.
    Bare,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Userns => "userns",
            Self::Bare => "bare",
        })
    }
}
