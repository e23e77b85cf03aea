//! A request under way, and when it reached each stage. Pure.

use super::body::{Body, Content};
use super::record::Start;
use super::reply::{Framing, HttpDate, InvocationId};

/// What is remembered of a request while it is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) function: u32,
    /// See [`super::route::Target`].
    pub(crate) route: u16,
    pub(crate) id: InvocationId,
    /// Length of the head, in bytes.
    pub(crate) head: usize,
    /// How much of the connection's input is this request's, in bytes: head and body, or the head alone if the
    /// body has a buffer of its own.
    pub(crate) length: usize,
    /// What it counts for in the shard's sum of bodies under way, in bytes.
    pub(crate) counted: u64,
    /// For how many of those the deadline has been put off.
    pub(crate) credited: u64,
    pub(crate) keep_alive: bool,
    pub(crate) http10: bool,
    pub(crate) head_only: bool,
    pub(crate) prefers_text: bool,
    /// Whether the client asked for the times of the stages.
    pub(crate) timed: bool,
    /// How it came by its worker, once it has one.
    pub(crate) start: Start,
    pub(crate) takes_trailers: bool,
    /// Whether it has been given to a second worker, since the first one ended.
    pub(crate) retried: bool,
    pub(crate) stamps: Stamps,
}

/// When an invocation reached each stage: monotonic, in nanoseconds, 0 for not yet. Stages of one turn of the
/// shard have one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamps {
    /// The first byte of its request was there.
    pub(crate) received: u64,
    /// Its head was parsed.
    pub(crate) parsed: u64,
    /// It began to wait for a worker.
    pub(crate) queued: u64,
    /// It was posted to a worker.
    pub(crate) dispatched: u64,
}

impl Stamps {
    /// The stages as a Server-Timing field, in milliseconds; `None` unless the reply says when the function
    /// `started` and `finished`. Those are the worker's words: they are moved to between the dispatch and
    /// `now`, when the answer is written.
    pub(crate) fn timing(&self, (started, finished): (u64, u64), now: u64) -> Option<String> {
        if started == 0 {
            return None;
        }
        let started = started.clamp(self.dispatched, now.max(self.dispatched));
        let finished = finished.clamp(started, now.max(started));
        let sent = now.max(finished);
        let queued = if self.queued == 0 { self.dispatched } else { self.queued };
        let stages = [
            ("receive", self.received, self.parsed),
            ("queue", queued, self.dispatched),
            ("start", self.dispatched, started),
            ("run", started, finished),
            ("send", finished, sent),
        ];
        let stages = stages.map(|(name, from, to)| {
            let microseconds = to.saturating_sub(from) / 1000;
            format!("{name};dur={}.{:03}", microseconds / 1000, microseconds % 1000)
        });
        Some(stages.join(", "))
    }
}

impl Exchange {
    /// The request's body, which is in the connection's input unless it has a buffer of its `own`.
    pub(crate) fn body<'a>(&self, input: &'a [u8], own: Option<&'a Body>) -> &'a [u8] {
        self.content(input, own).bytes
    }

    /// As [`Exchange::body`], with its trailers.
    pub(crate) fn content<'a>(&self, input: &'a [u8], own: Option<&'a Body>) -> Content<'a> {
        // A request that is refused before its end may have less of it here.
        let end = self.length.min(input.len());
        let inline = || Content { bytes: &input[self.head..end], ..Content::default() };
        own.map_or_else(inline, Body::content)
    }

    pub(crate) fn framing<'d>(&self, date: &'d HttpDate) -> Framing<'d> {
        Framing {
            keep_alive: self.keep_alive,
            http10: self.http10,
            takes_trailers: self.takes_trailers,
            head_only: self.head_only,
            date: Some(date),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_is_kept_between_dispatch_and_answer() {
        let stamps = Stamps { received: 1_000_000, parsed: 1_500_000, queued: 0, dispatched: 2_000_000 };
        assert_eq!(stamps.timing((0, 0), 9_000_000), None);
        let honest = stamps.timing((2_250_000, 5_000_000), 5_001_000);
        let expected = "receive;dur=0.500, queue;dur=0.000, start;dur=0.250, run;dur=2.750, send;dur=0.001";
        assert_eq!(honest.as_deref(), Some(expected));
        let liar = stamps.timing((1, u64::MAX), 5_000_000);
        let expected = "receive;dur=0.500, queue;dur=0.000, start;dur=0.000, run;dur=3.000, send;dur=0.000";
        assert_eq!(liar.as_deref(), Some(expected));
    }
}
