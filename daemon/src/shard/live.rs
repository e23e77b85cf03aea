//! A worker that is there: what it holds, until when, and why it was ended.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hairtrigger_sandbox::channel::{DaemonEnd, Posted, Span};
use hairtrigger_sandbox::layers::{self, Layer};
use hairtrigger_sandbox::limits::WAIT_IN_CHANNEL;

use super::meter::Meter;
use super::nanoseconds;
use super::pool::WorkerId;
use super::reply::InvocationId;
use super::ring::Key;
use super::wheel::TimerId;
use crate::outcome::Outcome;

/// Whom an invocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A connection of this shard.
    Connection(Key),
    /// Another shard, by the parcel that it sent.
    Parcel(Key),
}

/// A worker that is reserved for a request with a large body, and where that is to be written before
/// [`Live::finish_post`].
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) worker: WorkerId,
    pub(crate) file: OwnedFd,
    pub(crate) span: Span,
}

/// An invocation that a worker holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) caller: Caller,
    pub(crate) invocation: InvocationId,
    /// Its sequence number in the channel.
    pub(crate) sequence: u32,
}

impl Flight {
    /// Of an invocation that no worker has begun, and that is to wait again.
    pub(crate) fn not_begun(caller: Caller) -> Self {
        Self { caller, invocation: InvocationId::default(), sequence: 0 }
    }
}

/// What an invocation was to its worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// How long it was the first there, in nanoseconds.
    pub(super) lasted: u64,
    /// It was a long one.
    pub(super) was_demoted: bool,
}

/// A worker that is there.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: WorkerId,
    pub(crate) channel: DaemonEnd,
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: OwnedFd,
    /// Of its CPU time.
    pub(crate) meter: Meter,
    /// It runs when no other worker of its function wants to: its first invocation is a long one.
    pub(crate) demoted: bool,
    pub(crate) flights: VecDeque<Flight>,
    /// Why the shard has killed it.
    pub(crate) killed_for: Option<Outcome>,
    /// When the first of its flights became the first: monotonic, in nanoseconds.
    pub(crate) head_since: u64,
    /// When the first of its flights is over; `u64::MAX` for none.
    pub(crate) deadline: u64,
    /// Before then nothing is taken back from it once more: monotonic, in nanoseconds.
    pub(crate) keeps_until: u64,
    /// The timer in the wheel, and when it fires: at or before `deadline`.
    pub(crate) timer: Option<(TimerId, u64)>,
    /// Takes the bell's count while [`Live::bell_armed`].
    pub(crate) bell_count: Box<u64>,
    pub(crate) bell_armed: bool,
    /// Whether its last reply is still being read; it begins nothing before that.
    pub(crate) reading: bool,
    /// Whether it is on the shard's list of workers to look at.
    pub(crate) listed: bool,
    /// Whether it has answered anything.
    pub(crate) served: bool,
    /// When it arrived: monotonic, in nanoseconds.
    pub(crate) arrived: u64,
}

impl Live {
    /// Ends it; its exit arrives by itself.
    pub(crate) fn kill(&mut self, why: Outcome) {
        if self.killed_for.is_none() {
            self.killed_for = Some(why);
            let _ = hairtrigger_sandbox::kill(self.pidfd.as_fd());
        }
    }

    /// When somebody must look at it: at the deadline, or earlier for the sake of those who wait behind the
    /// first flight, or of what it uses.
    pub(crate) fn look_at(&self) -> u64 {
        let work = if self.reading {
            u64::MAX
        } else if self.flights.len() > 1 {
            self.deadline.min((self.head_since + nanoseconds(WAIT_IN_CHANNEL)).max(self.keeps_until))
        } else {
            self.deadline
        };
        work.min(self.meter.due())
    }

    /// Posts the request that was begun, once its body is written.
    pub(crate) fn finish_post(
        &mut self,
        caller: Caller,
        invocation: InvocationId,
        now: u64,
        timeout: Duration,
    ) -> Posted {
        let posted = self.channel.finish_post(now.saturating_add(nanoseconds(timeout)));
        if posted != Posted::Full {
            self.has_one_more(caller, invocation, now, timeout);
        }
        posted
    }

    pub(super) fn has_one_more(
        &mut self,
        caller: Caller,
        invocation: InvocationId,
        now: u64,
        timeout: Duration,
    ) {
        self.flights.push_back(Flight { caller, invocation, sequence: self.channel.last_posted() });
        if self.flights.len() == 1 {
            self.head_changed(now, timeout);
        }
    }

    /// The first flight is another one, or none.
    pub(crate) fn head_changed(&mut self, now: u64, timeout: Duration) {
        self.head_since = now;
        if self.flights.is_empty() {
            self.meter.rests();
        } else {
            self.meter.begins(now);
        }
        let never = self.flights.is_empty() || !layers::on(Layer::Deadline);
        self.deadline = if never { u64::MAX } else { now.saturating_add(nanoseconds(timeout)) };
    }

    /// Keeps the first `count` flights; returns the others. Those that it keeps it says it has begun, whether that
    /// is so or not: it is a while before it is asked again.
    pub(crate) fn keep(&mut self, count: usize, now: u64, timeout: Duration) -> VecDeque<Flight> {
        self.keeps_until = now + nanoseconds(WAIT_IN_CHANNEL);
        let others = self.flights.split_off(count.min(self.flights.len()));
        if self.flights.is_empty() {
            self.head_changed(now, timeout);
        }
        others
    }

    /// The first flight has come to its end.
    pub(crate) fn first_ended(&mut self, now: u64, timeout: Duration) -> (Option<Flight>, Served) {
        let lasted = now.saturating_sub(self.head_since);
        let flight = self.flights.pop_front();
        if let Some(flight) = &flight {
            self.meter.ends(flight.invocation, now);
        }
        let was_demoted = self.demoted;
        if was_demoted {
            self.demoted = !hairtrigger_sandbox::demote(self.pid, self.pidfd.as_fd(), false);
        }
        self.served = true;
        self.head_changed(now, timeout);
        (flight, Served { lasted, was_demoted })
    }
}
