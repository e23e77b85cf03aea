//! How long a client may take.

use std::time::Duration;

use hairtrigger_sandbox::limits::{BODY_TIMEOUT, DRAIN_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, WRITE_TIMEOUT};

/// How long each phase of a connection may last. A body, and the reading of an answer, may take longer by what
/// [`MIN_TRANSFER_RATE`](hairtrigger_sandbox::limits::MIN_TRANSFER_RATE) grants for what has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// A request's head, from its first byte.
    pub(crate) head: Duration,
    /// A request's body, from the end of its head.
    pub(crate) body: Duration,
    /// Reading an answer.
    pub(crate) write: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// What is under way when the daemon is told to end.
    pub(crate) drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: HEAD_TIMEOUT,
            body: BODY_TIMEOUT,
            write: WRITE_TIMEOUT,
            idle: IDLE_TIMEOUT,
            drain: DRAIN_TIMEOUT,
        }
    }
}
