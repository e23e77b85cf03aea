//! What a notified call of a function's process is, judged by what is known of its caller. Pure: `gates` knows, asks
//! the kernel for the rest, and acts.

use super::template::Phase;
use crate::policy::{CONTROL_CALL, Control, FORK_FLAGS};
use crate::sys::{Notification, ProcessInfo};

/// What is known without a look at the caller's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) caller: Caller,
    pub(super) stage: Stage,
    /// A `fork` of the template waits already.
    pub(super) fork_waits: bool,
    /// A fork was let through and has not checked in.
    pub(super) awaited: bool,
}

/// Who calls, by the thread id that the kernel attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The template's main thread.
    Template,
    /// The main thread of a worker that has checked in.
    Worker {
        /// It has not said that it is ready.
        starting: bool,
    },
    /// A fork that has not checked in, or another thread of anybody.
    Other,
}

/// A [`Phase`] without its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Loading,
    Serving,
    Ending,
}

impl From<&Phase> for Stage {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Loading(_) => Self::Loading,
            Phase::Serving => Self::Serving,
            Phase::Ending => Self::Ending,
        }
    }
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What nobody may do, or this caller not now.
    Violation,
    /// The template comes to `fork`, where it waits until a worker is wanted.
    Park,
    /// A signal, which may be one to the caller itself: see [`to_itself`].
    Signal,
    /// The plugin is loaded, provided that one thread is left.
    Loaded,
    /// The plugin was refused; why is a text of the template.
    LoadFailed {
        address: u64,
        /// As it says.
        length: u64,
    },
    /// A fork asks for its channel, if it is one: see [`is_fork`].
    CheckIn,
    /// A worker takes requests.
    Ready,
}

/// Judges one call.
pub(super) fn judge(call: &Notification, known: Known) -> Verdict {
    let Known { caller, stage, fork_waits, awaited } = known;
    let number = i64::from(call.number);
    if number == libc::SYS_tgkill {
        return Verdict::Signal;
    }
    if number == libc::SYS_clone {
        let parks = caller == Caller::Template
            && call.arguments[0] == FORK_FLAGS
            && stage == Stage::Serving
            && !fork_waits;
        return if parks { Verdict::Park } else { Verdict::Violation };
    }
    if call.number != CONTROL_CALL {
        return Verdict::Violation;
    }
    match (Control::from_argument(call.arguments[0]), caller, stage) {
        (Some(Control::Loaded), Caller::Template, Stage::Loading) => Verdict::Loaded,
        (Some(Control::LoadFailed), Caller::Template, Stage::Loading) => {
            Verdict::LoadFailed { address: call.arguments[1], length: call.arguments[2] }
        }
        (Some(Control::CheckIn), Caller::Other, _) if awaited => Verdict::CheckIn,
        (Some(Control::Ready), Caller::Worker { starting: true }, _) => Verdict::Ready,
        (Some(Control::Loaded | Control::LoadFailed | Control::CheckIn | Control::Ready) | None, ..) => {
            Verdict::Violation
        }
    }
}

/// Whether a signal goes to the thread that sends it: `abort` and `raise`. `own` are the ids of its process and of
/// itself, as it sees them.
pub(super) fn to_itself(call: &Notification, own: (libc::pid_t, libc::pid_t)) -> bool {
    let to = |argument: u64| libc::pid_t::try_from(argument).ok();
    (to(call.arguments[0]), to(call.arguments[1])) == (Some(own.0), Some(own.1))
}

/// Whether a process is a fork of the template, and `thread` its main thread.
pub(super) fn is_fork(info: &ProcessInfo, template: libc::pid_t, thread: libc::pid_t) -> bool {
    info.parent == template && info.thread_group == thread
}

/// The last number of a line of `/proc/PID/status`: the only one, or that of the innermost namespace. Processes name
/// themselves, with whatever bytes: the text need not be UTF-8.
pub(super) fn status_number(status: &[u8], name: &str) -> Option<libc::pid_t> {
    let field = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
    str::from_utf8(field).ok()?.split_whitespace().last()?.parse().ok()
}

/// The wait status in the `/proc/PID/stat` of a process that has ended and is not reaped; `None` of any other.
pub(super) fn status_of_zombie(stat: &[u8]) -> Option<i32> {
    // Behind the name, which may contain anything: the state, field 3, and the status, field 52.
    let name_ends = stat.windows(2).rposition(|two| two == b") ")?;
    let mut fields = str::from_utf8(&stat[name_ends + 2..]).ok()?.split_whitespace();
    if fields.next() != Some("Z") {
        return None;
    }
    fields.nth(48)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process may name itself `PR_SET_NAME` with any bytes, and its ids must be found all the same: else it is its
    /// function that ends when it aborts.
    #[test]
    fn a_name_that_is_no_text_hides_nothing() {
        let status = b"Name:\t\xFF\xFE)\nTgid:\t17\nNStgid:\t17\t3\nThreads:\t2\n";
        assert_eq!(status_number(status, "Tgid:"), Some(17));
        assert_eq!(status_number(status, "NStgid:"), Some(3));
        assert_eq!(status_number(status, "Threads:"), Some(2));
        assert_eq!(status_number(status, "NSpid:"), None);
        let fields = vec!["0"; 48].join(" ");
        let stat = |name: &[u8], state: &str| {
            [b"17 (", name, format!(") {state} {fields} 139\n").as_bytes()].concat()
        };
        for name in [&b"worker"[..], b"\xFF\xFE", b") R 1 2", b"a) Z 0 (", b""] {
            assert_eq!(status_of_zombie(&stat(name, "Z")), Some(139), "{}", name.escape_ascii());
            assert_eq!(status_of_zombie(&stat(name, "S")), None, "{}", name.escape_ascii());
        }
    }
}
