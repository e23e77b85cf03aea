//! The process at the root of a function's processes, as the daemon holds it.
//!
//! At levels with namespaces it is PID 1 of the function's PID namespace: killed, it takes everything with it. At
//! level *bare* it is a guardian: told to end by SIGTERM, which the daemon's death sends it as well, it kills the
//! process group of the template, which no process of a function can leave, waits until nothing is left, and ends.

use std::os::fd::{AsFd, BorrowedFd};

use crate::level::Level;
use crate::sys::{self, Cloned};

/// An init, or a guardian.
#[derive(Debug)]
pub(crate) struct Init {
    process: Cloned,
    level: Level,
}

impl Init {
    pub(crate) fn new(process: Cloned, level: Level) -> Self {
        Self { process, level }
    }

    /// Of the process. In the daemon's PID namespace; nobody else's until it is reaped.
    pub(crate) fn pid(&self) -> libc::pid_t {
        self.process.pid
    }

    /// Readable once everything below it is gone, unless it was killed at level *bare*: see [`Self::gone`].
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// Ends it and everything below it.
    pub(crate) fn end(&self) {
        // A guardian under a uid of its own could end nothing: only where a layer is off is there one at level *full*.
        let guards = !self.level.has_namespaces() && self.level != Level::Full;
        let signal = if guards { libc::SIGTERM } else { libc::SIGKILL };
        let _ = sys::signal(self.pidfd(), signal);
    }

    /// Reaps it. A guardian that somebody killed has left workers behind, though not their template, which follows
    /// it into death by itself: they are ended here, as the group that `template` has led.
    pub(crate) fn gone(&self, template: Option<BorrowedFd<'_>>) {
        sys::reap(self.pidfd());
        if let (false, Some(template)) = (self.level.has_namespaces(), template) {
            let _ = sys::kill_group(template);
        }
    }
}
