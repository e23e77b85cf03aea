//! What is told of an invocation once it is over, to whoever wants to know: `dev` prints a line of each.

use std::fmt;
use std::sync::Arc;

use super::reply::InvocationId;

/// An invocation's id, cut to what tells it from the others on one screen: the beginning is its shard's, the
/// end its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) InvocationId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hexadecimal digits; anything else would be a bug, and is shown.
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        write!(f, "{}…{}", text(&self.0[..4]), text(&self.0[self.0.len() - 4..]))
    }
}

/// How an invocation came by its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A worker was there.
    Warm,
    /// It waited for a worker to be forked.
    Fork,
    /// It waited for the function to be loaded.
    Load,
    /// No worker had it.
    None,
}

/// One invocation. Times are in nanoseconds; 0 for a stage that was not reached.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) function: Arc<str>,
    pub(crate) invocation: InvocationId,
    /// Method, and path with query, as the client sent them; cut to [`RECORDED_TARGET`] bytes.
    ///
    /// [`RECORDED_TARGET`]: hairtrigger_sandbox::limits::RECORDED_TARGET
    pub(crate) method: Box<str>,
    pub(crate) target: Box<str>,
    pub(crate) status: u16,
    /// The outcome's label.
    pub(crate) outcome: &'static str,
    /// The outcome's sentence, unless it is a response.
    pub(crate) sentence: Option<String>,
    pub(crate) start: Start,
    /// Bodies, in bytes.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Waiting for a worker; from there until the function began; in the function; and until the answer was
    /// written.
    pub(crate) queue: u64,
    pub(crate) begin: u64,
    pub(crate) run: u64,
    pub(crate) send: u64,
}
