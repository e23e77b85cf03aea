//! How much of the confinement a daemon enforces.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::layers::{self, Layer};

/// Levels, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As root: everything, each function under a uid and in groups of its own.
    Full,
    /// As an ordinary user, by a user namespace: no groups, and all functions have the user's own uid outside.
    Userns,
    /// As an ordinary user without namespaces: no_new_privs, landlock, seccomp and resource limits.
    Bare,
}

impl Level {
    /// Every level, the strongest first.
    pub const ALL: &[Self] = &[Self::Full, Self::Userns, Self::Bare];

    /// Whether a function has namespaces of its own, and with them its own view of files, processes and network.
    pub fn has_namespaces(self) -> bool {
        match self {
            Self::Full | Self::Userns => layers::on(Layer::Namespaces),
            Self::Bare => false,
        }
    }

    /// Whether a runner has, until it takes them away, the capabilities that confine: as root, or within a user namespace.
    pub(crate) fn has_capabilities(self) -> bool {
        match self {
            Self::Full | Self::Userns => true,
            Self::Bare => false,
        }
    }

    /// What level *full* promises and this one does not keep: a sentence each, without its stop.
    pub fn not_enforced(self) -> &'static [&'static str] {
        const MEMORY: &str = "memory is held by a resource limit and no control group: a worker at its limit sees \
                              malloc fail, and its end is not told from another";
        const CPU: &str = "the cpu limit of a function does nothing";
        const IDENTITY: &str = "every function has your own user and group ids outside its user namespace, and \
                                none of its own";
        const OWN_IDENTITY: &str = "every function has your own user and group ids";
        const PROCESSES: &str = "the number of a function's processes is held by the fork gate alone";
        const FILES: &str = "files are kept from functions by landlock and the system call policy alone: there is no \
                             root of their own, and /function does not exist";
        const NAMESPACES: &str = "other processes, the network and the host's name are kept from functions by \
                                  landlock and the system call policy alone";
        match self {
            Self::Full => &[],
            Self::Userns => &[IDENTITY, MEMORY, CPU],
            Self::Bare => &[OWN_IDENTITY, FILES, NAMESPACES, PROCESSES, MEMORY, CPU],
        }
    }
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
