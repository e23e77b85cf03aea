//! What ended an invocation. Each outcome has one status, one label and one plain sentence.

use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::ending::{Ending, Syscall, signal_name};
use hairtrigger_sandbox::limits::RETRY_AFTER_SECONDS;
use hairtrigger_sandbox::policy::denied::advice;

use crate::shard::admission::Rate;
use crate::units::{Size, Time};

/// What time is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That on the wall.
    Wall,
    /// That of a worker's CPU time.
    Cpu,
}

/// What ended an invocation. An invocation ends in exactly one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The function gave a response.
    Completed {
        /// Its status.
        status: u16,
    },
    /// The function said that it failed.
    FunctionError {
        /// What `invoke` returned; not zero.
        code: i32,
    },
    /// The worker crashed.
    Fault {
        /// Signal number.
        signal: i32,
    },
    /// The worker made a system call that the policy denies.
    Violation {
        /// Which.
        syscall: Syscall,
    },
    /// The worker was killed at its memory limit.
    OutOfMemory,
    /// The worker left by itself in the middle of the invocation.
    Exited {
        /// Exit code.
        code: i32,
    },
    /// It took longer than it may, or used more CPU time, and the worker was killed.
    Timeout {
        /// The function's limit.
        limit: Duration,
        /// Of what.
        of: Clock,
    },
    /// The worker wrote to the channel what no worker writes.
    ProtocolViolation {
        /// The end of a sentence that begins "It gave …".
        what: &'static str,
    },
    /// The response exceeded the function's limit.
    ResponseTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// No worker could be made: loading or initialisation failed.
    InitFailed {
        /// Why, one clause or sentence.
        reason: Arc<str>,
    },
    /// A limit of the function's is reached.
    Throttled {
        /// Which.
        limit: Limit,
        /// Seconds after which it is worth trying again.
        after: u32,
    },
    /// There is no room for it.
    Overloaded {
        /// In what.
        lack: Lack,
        /// Seconds after which it is worth trying again.
        after: u32,
    },
    /// Nothing of that name is loaded.
    NoSuchFunction,
    /// The request's body exceeds the function's limit.
    RequestTooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The client closed its connection first.
    ClientGone,
    /// The daemon is ending.
    ShuttingDown {
        /// Whether a worker had the invocation.
        begun: bool,
    },
}

/// A limit of a function's that throttles its invocations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// There are as many workers as there may be, all busy, and as many wait as may.
    Concurrency {
        /// Most workers.
        max: u16,
        /// Most that wait.
        queue: u32,
    },
    /// More requests have come than it takes in their time.
    Rate(Rate),
}

/// What an invocation found no room in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The daemon's memory for bodies and answers.
    Memory,
    /// The workers: it has waited for one as long as it may.
    Worker,
    /// The time that it may wait: by what invocations have taken of late, those before it take longer.
    Time {
        /// How many those are.
        before: u32,
    },
}

/// The labels of all outcomes.
pub(crate) const LABELS: [&str; 16] = [
    "completed",
    "function_error",
    "fault",
    "violation",
    "out_of_memory",
    "exited",
    "timeout",
    "protocol_violation",
    "response_too_large",
    "init_failed",
    "throttled",
    "overloaded",
    "no_such_function",
    "request_too_large",
    "client_gone",
    "shutting_down",
];

impl Outcome {
    /// The daemon's memory for bodies and answers is taken.
    pub(crate) const NO_MEMORY: Self = Self::Overloaded { lack: Lack::Memory, after: RETRY_AFTER_SECONDS };

    /// The place of its label in [`LABELS`].
    pub(crate) fn place(&self) -> usize {
        match self {
            Self::Completed { .. } => 0,
            // None of these is on anybody's hot path. That each is there, a test sees to.
            other => LABELS.iter().position(|label| *label == other.label()).unwrap_or(0),
        }
    }

    /// From what ended the worker that held the invocation.
    ///
    /// `if_killed` is why the daemon killed it, if it was the daemon: only the daemon knows.
    pub(crate) fn from_ending(ending: Ending, if_killed: Self) -> Self {
        match ending {
            Ending::Violation(syscall) => Self::Violation { syscall },
            Ending::Fault { signal } => Self::Fault { signal },
            Ending::OutOfMemory => Self::OutOfMemory,
            Ending::Exited { code } => Self::Exited { code },
            // One that is late has no invocation yet.
            Ending::Killed | Ending::Late => if_killed,
        }
    }

    /// Whether another try may well end otherwise: a crash or an exit may be chance, or somebody from outside has
    /// killed the worker. What the function is held to it would break again, and a limit cost as much again.
    pub(crate) fn may_be_chance(&self) -> bool {
        match self {
            Self::Fault { .. } | Self::Exited { .. } => true,
            Self::Completed { .. }
            | Self::FunctionError { .. }
            | Self::Violation { .. }
            | Self::OutOfMemory
            | Self::Timeout { .. }
            | Self::ProtocolViolation { .. }
            | Self::ResponseTooLarge { .. }
            | Self::InitFailed { .. }
            | Self::Throttled { .. }
            | Self::Overloaded { .. }
            | Self::NoSuchFunction
            | Self::RequestTooLarge { .. }
            | Self::ClientGone
            | Self::ShuttingDown { .. } => false,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Completed { status } => *status,
            Self::FunctionError { .. } => 500,
            Self::Fault { .. }
            | Self::Violation { .. }
            | Self::OutOfMemory
            | Self::Exited { .. }
            | Self::ProtocolViolation { .. }
            | Self::ResponseTooLarge { .. } => 502,
            Self::Timeout { .. } => 504,
            Self::InitFailed { .. } | Self::Overloaded { .. } | Self::ShuttingDown { .. } => 503,
            Self::Throttled { .. } => 429,
            Self::NoSuchFunction => 404,
            Self::RequestTooLarge { .. } => 413,
            Self::ClientGone => 499,
        }
    }

    /// The label of metrics and of error bodies.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::FunctionError { .. } => "function_error",
            Self::Fault { .. } => "fault",
            Self::Violation { .. } => "violation",
            Self::OutOfMemory => "out_of_memory",
            Self::Exited { .. } => "exited",
            Self::Timeout { .. } => "timeout",
            Self::ProtocolViolation { .. } => "protocol_violation",
            Self::ResponseTooLarge { .. } => "response_too_large",
            Self::InitFailed { .. } => "init_failed",
            Self::Throttled { .. } => "throttled",
            Self::Overloaded { .. } => "overloaded",
            Self::NoSuchFunction => "no_such_function",
            Self::RequestTooLarge { .. } => "request_too_large",
            Self::ClientGone => "client_gone",
            Self::ShuttingDown { .. } => "shutting_down",
        }
    }

    /// Seconds after which it is worth trying again, if it is without a change of anything; at least one.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Throttled { after, .. } | Self::Overloaded { after, .. } => Some((*after).max(1)),
            Self::InitFailed { .. } | Self::ShuttingDown { .. } => Some(RETRY_AFTER_SECONDS),
            Self::Completed { .. }
            | Self::FunctionError { .. }
            | Self::Fault { .. }
            | Self::Violation { .. }
            | Self::OutOfMemory
            | Self::Exited { .. }
            | Self::Timeout { .. }
            | Self::ProtocolViolation { .. }
            | Self::ResponseTooLarge { .. }
            | Self::NoSuchFunction
            | Self::RequestTooLarge { .. }
            | Self::ClientGone => None,
        }
    }

    /// What happened, to which function, what to do.
    pub(crate) fn sentence(&self, function: &str) -> String {
        match self {
            Self::Completed { status } => format!("Function {function} completed with status {status}."),
            Self::FunctionError { code } => {
                format!("Function {function} returned error code {code}; see its output for the reason.")
            }
            Self::Fault { signal } => format!(
                "Function {function} was ended by {}; see its output, or run it under a debugger.",
                signal_name(*signal)
            ),
            Self::Violation { syscall } => format!(
                "Function {function} made the denied system call {syscall} and was killed: {}.",
                advice(syscall.number)
            ),
            Self::OutOfMemory => format!(
                "Function {function} used more than its memory limit and was killed; \
                 raise memory in its function.toml or use less."
            ),
            Self::Exited { code } => format!(
                "Function {function} exited with code {code} in the middle of an invocation; \
                 return from invoke instead."
            ),
            Self::Timeout { limit, of: Clock::Wall } => format!(
                "Function {function} was killed at its time limit of {}; \
                 raise timeout in its function.toml or do less at once.",
                Time(*limit)
            ),
            Self::Timeout { limit, of: Clock::Cpu } => format!(
                "Function {function} was killed at its CPU time limit of {}; \
                 raise cpu_time in its function.toml or compute less at once.",
                Time(*limit)
            ),
            Self::ProtocolViolation { what } => {
                format!("Function {function} gave {what}; look for a write beyond the bounds of its memory.")
            }
            Self::ResponseTooLarge { limit } => format!(
                "Function {function} gave a response of more than {}; \
                 raise max_response in its function.toml or answer with less.",
                Size(*limit)
            ),
            Self::InitFailed { reason } => format!(
                "Function {function} could not be started: {}; mend it and load it again.",
                reason.trim_end().trim_end_matches('.')
            ),
            Self::Throttled { limit: Limit::Concurrency { max, queue }, .. } => format!(
                "Function {function} is serving {max} invocation{}, as many as it may, and {}; try again later or \
                 raise concurrency.max in its function.toml.",
                if *max == 1 { "" } else { "s" },
                match queue {
                    0 => "none may wait".to_owned(),
                    1 => "1 waits, as many as may".to_owned(),
                    more => format!("{more} wait, as many as may"),
                }
            ),
            Self::Throttled { limit: Limit::Rate(rate), .. } => format!(
                "Function {function} takes {rate}, and was sent more; try again later or raise concurrency.rate in its \
                 function.toml."
            ),
            Self::Overloaded { lack: Lack::Memory, .. } => {
                format!("The daemon has no room for an invocation of function {function}; try again later.")
            }
            Self::Overloaded { lack: Lack::Time { before }, .. } => format!(
                "Function {function} has {before} invocation{} waiting, and one more would wait for longer than it may; \
                 try again later or raise concurrency.max in its function.toml.",
                if *before == 1 { "" } else { "s" }
            ),
            Self::Overloaded { lack: Lack::Worker, .. } => format!(
                "Function {function} had no worker free for as long as an invocation of it may wait; try again later or \
                 raise concurrency.max in its function.toml."
            ),
            Self::NoSuchFunction => format!("There is no function {function}; check the name in the path."),
            Self::RequestTooLarge { limit } => format!(
                "Function {function} takes request bodies of up to {}; \
                 send less or raise max_request in its function.toml.",
                Size(*limit)
            ),
            Self::ClientGone => {
                format!(
                    "The client left before function {function} had answered; wait longer for the answer."
                )
            }
            Self::ShuttingDown { begun: true } => format!(
                "The daemon is shutting down and ended function {function} in the middle of the invocation; \
                 send the request again if it may run twice."
            ),
            Self::ShuttingDown { begun: false } => {
                format!(
                    "The daemon is shutting down and did not run function {function}; send the request again."
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every outcome once, with its status and sentence.
    fn table() -> Vec<(Outcome, u16, &'static str)> {
        let socket = Syscall { number: Some(41) };
        let reason = Arc::from("init returned 7.");
        vec![
            (Outcome::Completed { status: 201 }, 201, "Function hello completed with status 201."),
            (
                Outcome::FunctionError { code: -3 },
                500,
                "Function hello returned error code -3; see its output for the reason.",
            ),
            (
                Outcome::Fault { signal: 6 },
                502,
                "Function hello was ended by SIGABRT (it aborted); see its output, or run it under a debugger.",
            ),
            (
                Outcome::Violation { syscall: socket },
                502,
                "Function hello made the denied system call socket and was killed: a function has no network; grant \
                 TCP ports with allow.connect, or do without that call.",
            ),
            (
                Outcome::OutOfMemory,
                502,
                "Function hello used more than its memory limit and was killed; raise memory in its function.toml \
                 or use less.",
            ),
            (
                Outcome::Exited { code: 3 },
                502,
                "Function hello exited with code 3 in the middle of an invocation; return from invoke instead.",
            ),
            (
                Outcome::Timeout { limit: Duration::from_secs(3), of: Clock::Wall },
                504,
                "Function hello was killed at its time limit of 3s; raise timeout in its function.toml or do less \
                 at once.",
            ),
            (
                Outcome::Timeout { limit: Duration::from_millis(200), of: Clock::Cpu },
                504,
                "Function hello was killed at its CPU time limit of 200ms; raise cpu_time in its function.toml or \
                 compute less at once.",
            ),
            (
                Outcome::ProtocolViolation { what: "a status outside 200 to 599" },
                502,
                "Function hello gave a status outside 200 to 599; look for a write beyond the bounds of its memory.",
            ),
            (
                Outcome::ResponseTooLarge { limit: 6 << 20 },
                502,
                "Function hello gave a response of more than 6MiB; raise max_response in its function.toml or \
                 answer with less.",
            ),
            (
                Outcome::InitFailed { reason },
                503,
                "Function hello could not be started: init returned 7; mend it and load it again.",
            ),
            (
                throttled(16, 256),
                429,
                "Function hello is serving 16 invocations, as many as it may, and 256 wait, as many as may; try again \
                 later or raise concurrency.max in its function.toml.",
            ),
            (
                Outcome::Throttled { limit: Limit::Rate(Rate::new(2.5, 10)), after: 1 },
                429,
                "Function hello takes 2.5 requests a second, and 10 at once, and was sent more; try again later or raise \
                 concurrency.rate in its function.toml.",
            ),
            (
                Outcome::NO_MEMORY,
                503,
                "The daemon has no room for an invocation of function hello; try again later.",
            ),
            (
                Outcome::Overloaded { lack: Lack::Time { before: 40 }, after: 2 },
                503,
                "Function hello has 40 invocations waiting, and one more would wait for longer than it may; try again \
                 later or raise concurrency.max in its function.toml.",
            ),
            (
                Outcome::Overloaded { lack: Lack::Worker, after: 7 },
                503,
                "Function hello had no worker free for as long as an invocation of it may wait; try again later or raise \
                 concurrency.max in its function.toml.",
            ),
            (Outcome::NoSuchFunction, 404, "There is no function hello; check the name in the path."),
            (
                Outcome::RequestTooLarge { limit: 1000 },
                413,
                "Function hello takes request bodies of up to 1000B; send less or raise max_request in its \
                 function.toml.",
            ),
            (
                Outcome::ClientGone,
                499,
                "The client left before function hello had answered; wait longer for the answer.",
            ),
            (
                Outcome::ShuttingDown { begun: false },
                503,
                "The daemon is shutting down and did not run function hello; send the request again.",
            ),
            (
                Outcome::ShuttingDown { begun: true },
                503,
                "The daemon is shutting down and ended function hello in the middle of the invocation; send the \
                 request again if it may run twice.",
            ),
        ]
    }

    #[test]
    fn statuses_and_sentences() {
        for (outcome, status, sentence) in table() {
            assert_eq!((outcome.status(), &outcome.sentence("hello")[..]), (status, sentence));
            let other = outcome.sentence("other-name");
            assert!(other.contains("other-name") && other.ends_with('.'), "{other}");
        }
    }

    fn throttled(max: u16, queue: u32) -> Outcome {
        Outcome::Throttled { limit: Limit::Concurrency { max, queue }, after: 3 }
    }

    #[test]
    fn one_is_no_plural() {
        for (max, queue, expected) in [
            (1, 0, "is serving 1 invocation, as many as it may, and none may wait;"),
            (2, 1, "is serving 2 invocations, as many as it may, and 1 waits, as many as may;"),
        ] {
            let sentence = throttled(max, queue).sentence("hello");
            assert!(sentence.contains(expected), "{sentence}");
        }
    }

    #[test]
    fn who_may_come_again_hears_when() {
        let told = |outcome: &Outcome| outcome.retry_after();
        let throttled = |after| Outcome::Throttled { limit: Limit::Concurrency { max: 1, queue: 1 }, after };
        assert_eq!([0, 1, 9].map(|after| told(&throttled(after))), [Some(1), Some(1), Some(9)]);
        for (outcome, status, _) in table() {
            // What passes by itself, and nothing else.
            assert_eq!(told(&outcome).is_some(), matches!(status, 429 | 503), "{outcome:?}");
        }
    }

    #[test]
    fn labels_are_unique_and_fit_for_metrics() {
        let labels: HashSet<_> = table().iter().map(|(outcome, ..)| outcome.label()).collect();
        assert_eq!(labels.len(), 16, "one for each outcome, and the table has them all");
        for (outcome, ..) in table() {
            assert_eq!(LABELS[outcome.place()], outcome.label());
        }
        assert!(labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn only_a_kill_of_the_daemons_own_takes_its_reason() {
        let timeout = Outcome::Timeout { limit: Duration::from_secs(1), of: Clock::Wall };
        let syscall = Syscall { number: None };
        for (ending, outcome) in [
            (Ending::Killed, timeout.clone()),
            (Ending::OutOfMemory, Outcome::OutOfMemory),
            (Ending::Fault { signal: 11 }, Outcome::Fault { signal: 11 }),
            (Ending::Exited { code: 0 }, Outcome::Exited { code: 0 }),
            (Ending::Violation(syscall), Outcome::Violation { syscall }),
        ] {
            assert_eq!(Outcome::from_ending(ending, timeout.clone()), outcome);
        }
    }
}
