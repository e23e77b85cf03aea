//! What ended a process of a function: exit status, and what the warden knows besides, → [`Ending`].

use std::fmt;

use crate::limits::WORKER_START_TIMEOUT;
use crate::policy::denied;

/// How a worker exits that could not start: its channel, its own restrictions or the plugin's `worker_start`
/// failed.
pub const EXIT_WORKER_START: i32 = 121;

/// How the dynamic linker exits that finds a contradiction in a file, after it has said which.
pub(crate) const LOADER_GAVE_UP: i32 = 127;

/// What ended a worker or a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It made a system call that the policy denies, and was killed for it.
    Violation(Syscall),
    /// A signal of its own making: a crash, an abort.
    Fault {
        /// Signal number.
        signal: i32,
    },
    /// The kernel killed it at its memory limit.
    OutOfMemory,
    /// It left by itself.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// The daemon killed it.
    Killed,
    /// The daemon killed it because it was not ready in time: what the function does at a worker's start takes too
    /// long.
    Late,
}

/// A denied system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Number on x86-64; `None` where the kernel killed the process at once (foreign or unknown numbers).
    pub number: Option<i32>,
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => match u32::try_from(number).ok().and_then(denied::name) {
                Some(name) => f.write_str(name),
                None => write!(f, "number {number}"),
            },
            None => f.write_str("of a foreign or unknown number"),
        }
    }
}

/// What the warden and the shard know of a process when its exit arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// The system call that the warden denied it, if it did.
    pub denied: Option<i32>,
    /// Whether the daemon sent SIGKILL for a reason of its own.
    pub killed: bool,
    /// Whether the warden sent SIGKILL because its start took too long.
    pub late: bool,
    /// Whether the kernel counted an out-of-memory kill in its group.
    pub oom_killed: bool,
}

impl Ending {
    /// From a wait status, as `waitpid` and `PIDFD_GET_INFO` give it.
    pub fn from_wait_status(status: i32, known: Circumstances) -> Self {
        if let Some(number) = known.denied {
            return Self::Violation(Syscall { number: Some(number) });
        }
        if !libc::WIFSIGNALED(status) {
            return Self::Exited { code: libc::WEXITSTATUS(status) };
        }
        match libc::WTERMSIG(status) {
            libc::SIGKILL if known.oom_killed => Self::OutOfMemory,
            libc::SIGKILL if known.killed => Self::Killed,
            libc::SIGKILL if known.late => Self::Late,
            libc::SIGSYS => Self::Violation(Syscall { number: None }),
            signal => Self::Fault { signal },
        }
    }
}

impl fmt::Display for Ending {
    /// What the process did, as the end of a sentence: "… made the denied system call socket".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(syscall) => write!(f, "made the denied system call {syscall}"),
            Self::Fault { signal } => write!(f, "was ended by {}", signal_name(*signal)),
            Self::OutOfMemory => f.write_str("used more than its memory limit"),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Killed => f.write_str("was killed by the daemon"),
            Self::Late => write!(f, "was not ready within {WORKER_START_TIMEOUT:?}"),
        }
    }
}

/// Name and meaning of a signal, for a sentence.
pub fn signal_name(signal: i32) -> String {
    let known = match signal {
        libc::SIGSEGV => "SIGSEGV (an invalid memory access or a stack overflow)",
        libc::SIGABRT => "SIGABRT (it aborted)",
        libc::SIGBUS => "SIGBUS (an invalid memory access, or a file that was cut short while it was mapped)",
        libc::SIGFPE => "SIGFPE (an arithmetic fault)",
        libc::SIGILL => "SIGILL (an illegal instruction)",
        libc::SIGTRAP => "SIGTRAP (a trap)",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU (its CPU time limit)",
        libc::SIGXFSZ => "SIGXFSZ (its file size limit)",
        _ => return format!("signal {signal}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_wins_over_the_kill_that_followed() {
        let known = Circumstances { denied: Some(41), killed: true, ..Default::default() };
        let ending = Ending::from_wait_status(libc::SIGKILL, known);
        assert_eq!(ending.to_string(), "made the denied system call socket");
    }

    #[test]
    fn sigkill_is_told_apart() {
        let by_us = Circumstances { killed: true, ..Default::default() };
        let by_kernel = Circumstances { oom_killed: true, ..Default::default() };
        assert_eq!(Ending::from_wait_status(libc::SIGKILL, by_us), Ending::Killed);
        assert_eq!(Ending::from_wait_status(libc::SIGKILL, by_kernel), Ending::OutOfMemory);
        let late = Circumstances { late: true, ..Default::default() };
        assert_eq!(Ending::from_wait_status(libc::SIGKILL, late), Ending::Late);
        let unloaded = Circumstances { late: true, killed: true, ..Default::default() };
        assert_eq!(Ending::from_wait_status(libc::SIGKILL, unloaded), Ending::Killed);
        let unknown = Ending::from_wait_status(libc::SIGKILL, Circumstances::default());
        assert_eq!(unknown, Ending::Fault { signal: libc::SIGKILL });
    }

    #[test]
    fn an_exit_is_never_a_success() {
        let ending = Ending::from_wait_status(0, Circumstances::default());
        assert_eq!(ending, Ending::Exited { code: 0 });
    }
}
