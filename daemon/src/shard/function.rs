//! One function on one shard: its workers, what each of them holds, and who waits for one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::channel::{DaemonEnd, Posted, RequestView, Span};
use hairtrigger_sandbox::limits::{CHANNEL_DEPTH, WAIT_IN_CHANNEL};
use hairtrigger_sandbox::{Ticket, Worker};

use super::nanoseconds;
use super::parse::Head;
use super::pool::{Pool, Shape, WorkerId};
use super::reply::InvocationId;
use super::ring::Key;
use super::wheel::TimerId;
use crate::outcome::Outcome;

/// What a shard knows of a function.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) max_request: u64,
    pub(crate) max_response: u64,
    pub(crate) provisioned: u16,
    pub(crate) max: u16,
    pub(crate) queue: usize,
}

/// Whether there is a template to fork from.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Not yet; requests wait.
    Loading,
    Ready,
    /// No; requests are refused with this reason.
    Failed(Arc<str>),
}

/// An invocation that a worker holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) connection: Key,
    /// Its sequence number in the channel.
    pub(crate) sequence: u32,
}

/// A worker that is there.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: WorkerId,
    pub(crate) channel: DaemonEnd,
    pidfd: OwnedFd,
    pub(crate) flights: VecDeque<Flight>,
    /// Why the shard has killed it.
    pub(crate) killed_for: Option<Outcome>,
    /// When the first of its flights became the first: monotonic, in nanoseconds.
    pub(crate) head_since: u64,
    /// When the first of its flights is over; `u64::MAX` for none.
    pub(crate) deadline: u64,
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
    /// first flight.
    pub(crate) fn look_at(&self) -> u64 {
        if self.reading {
            u64::MAX
        } else if self.flights.len() > 1 {
            self.deadline.min(self.head_since + nanoseconds(WAIT_IN_CHANNEL))
        } else {
            self.deadline
        }
    }

    /// Posts the request that was begun, once its body is written.
    pub(crate) fn finish_post(&mut self, connection: Key, now: u64, timeout: Duration) -> Posted {
        let posted = self.channel.finish_post(now.saturating_add(nanoseconds(timeout)));
        if posted != Posted::Full {
            self.has_one_more(connection, now, timeout);
        }
        posted
    }

    fn has_one_more(&mut self, connection: Key, now: u64, timeout: Duration) {
        self.flights.push_back(Flight { connection, sequence: self.channel.last_posted() });
        if self.flights.len() == 1 {
            self.head_changed(now, timeout);
        }
    }

    /// The first flight is another one, or none.
    pub(crate) fn head_changed(&mut self, now: u64, timeout: Duration) {
        self.head_since = now;
        self.deadline =
            if self.flights.is_empty() { u64::MAX } else { now.saturating_add(nanoseconds(timeout)) };
    }

    /// Keeps the first `count` flights; returns the others.
    pub(crate) fn keep(&mut self, count: usize, now: u64, timeout: Duration) -> VecDeque<Flight> {
        let others = self.flights.split_off(count.min(self.flights.len()));
        if self.flights.is_empty() {
            self.head_changed(now, timeout);
        }
        others
    }

    /// The first flight has come to its end; returns how long it was the first, in nanoseconds.
    pub(crate) fn first_ended(&mut self, now: u64, timeout: Duration) -> (Option<Flight>, u64) {
        let lasted = now.saturating_sub(self.head_since);
        let flight = self.flights.pop_front();
        self.served = true;
        self.head_changed(now, timeout);
        (flight, lasted)
    }
}

/// One function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) index: u32,
    pub(crate) profile: Profile,
    pub(crate) status: Status,
    pub(crate) pool: Pool,
    workers: Vec<Option<Box<Live>>>,
    /// Who waits for a worker, and since when.
    pub(crate) queue: VecDeque<(Key, u64)>,
    /// Workers in a row that ended soon after their start without having answered anything.
    pub(crate) stillborn: u32,
    /// No worker is started before then.
    pub(crate) held_until: u64,
    pub(crate) growth_timer: bool,
    /// Moving average of how long an invocation keeps its worker, in nanoseconds, and of how many.
    service: u64,
    served: u32,
    depth: u32,
}

/// A request with this field is answered with Server-Timing.
const TIMING: &[u8] = b"x-hairtrigger-timing";
/// An average of fewer invocations says nothing.
const ENOUGH_SERVED: u32 = 16;
/// Weight of one invocation in the average: one in so many.
const SERVICE_WEIGHT: u64 = 16;

/// What became of a request that was to be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// A worker has it; `wake` if somebody must wake that worker.
    Posted { slot: u16, wake: bool },
    /// No worker is free.
    Wait,
}

impl Function {
    pub(crate) fn new(index: u32, profile: Profile) -> Self {
        let shape = Shape { provisioned: profile.provisioned, max: profile.max, depth: 1 };
        Self {
            index,
            pool: Pool::new(shape),
            workers: (0..profile.max).map(|_| None).collect(),
            queue: VecDeque::with_capacity(profile.queue.min(1024)),
            status: Status::Loading,
            stillborn: 0,
            held_until: 0,
            growth_timer: false,
            service: 0,
            served: 0,
            depth: 1,
            profile,
        }
    }

    pub(crate) fn worker(&mut self, slot: u16) -> Option<&mut Live> {
        self.workers.get_mut(usize::from(slot))?.as_deref_mut()
    }

    /// The worker of a ticket or token, unless that is from an earlier life of the slot.
    pub(crate) fn worker_of(&mut self, slot: u16, generation: u32) -> Option<&mut Live> {
        let same = |live: &&mut Live| Key::new(0, live.id.generation) == Key::new(0, generation);
        self.worker(slot).filter(same)
    }

    /// Takes a worker in. One that nobody waits for is killed.
    pub(crate) fn arrived(&mut self, ticket: Ticket, worker: Worker, now: u64) {
        let id = WorkerId { slot: ticket.slot, generation: ticket.generation };
        let Worker { pidfd, channel, .. } = worker;
        if !self.pool.ready(id, now) {
            let _ = hairtrigger_sandbox::kill(pidfd.as_fd());
            return;
        }
        self.workers[usize::from(id.slot)] = Some(Box::new(Live {
            id,
            channel,
            pidfd,
            flights: VecDeque::with_capacity(8),
            killed_for: None,
            head_since: 0,
            deadline: u64::MAX,
            timer: None,
            bell_count: Box::new(0),
            bell_armed: false,
            reading: false,
            listed: false,
            served: false,
            arrived: now,
        }));
    }

    /// Takes a worker out that is gone; `None` if it never came, or is from an earlier life.
    pub(crate) fn departed(&mut self, ticket: Ticket) -> Option<Box<Live>> {
        let id = WorkerId { slot: ticket.slot, generation: ticket.generation };
        self.pool.gone(id)?;
        self.workers[usize::from(id.slot)].take()
    }

    /// Posts a request to a worker, if one is free.
    pub(crate) fn post(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        id: &InvocationId,
        connection: Key,
        now: u64,
        scratch: &mut Vec<u8>,
    ) -> Dispatch {
        let Some(worker) = self.pool.take() else { return Dispatch::Wait };
        let timeout = self.profile.timeout;
        let slot = worker.slot;
        let Some(live) = self.workers.get_mut(usize::from(slot)).and_then(Option::as_deref_mut) else {
            unreachable!("the pool gives out only workers that are there")
        };
        // Of one that waits in the channel the time begins later; this is what its function is told.
        let deadline = now.saturating_add(nanoseconds(timeout));
        let posted = live.channel.post(&view(head, body, id, deadline, scratch));
        if posted == Posted::Full {
            // The slab is in use: only with more than one request in a channel.
            self.pool.release(worker, now);
            return Dispatch::Wait;
        }
        live.has_one_more(connection, now, timeout);
        Dispatch::Posted { slot, wake: posted == Posted::MustWake }
    }

    /// Reserves a worker, if one is free, for a request whose body is large: the worker, and where the body is to be
    /// written in its request file before [`Live::finish_post`].
    pub(crate) fn begin(
        &mut self,
        head: &Head<'_>,
        body_len: usize,
        id: &InvocationId,
        now: u64,
        scratch: &mut Vec<u8>,
    ) -> Option<(WorkerId, Span, OwnedFd)> {
        let worker = self.pool.take()?;
        let live = self.workers.get_mut(usize::from(worker.slot)).and_then(Option::as_deref_mut);
        let Some(live) = live else { unreachable!("the pool gives out only workers that are there") };
        let span = live.channel.begin_post(&view(head, b"", id, 0, scratch), body_len);
        let file = live.channel.request_file().try_clone_to_owned();
        let (Some(span), Ok(file)) = (span, file) else {
            // The slab is in use, or descriptors are short. What was begun by somebody else stays.
            if span.is_some() {
                live.channel.abandon_post();
            }
            self.pool.release(worker, now);
            return None;
        };
        Some((worker, span, file))
    }

    /// Takes note of how long an invocation kept its worker. Short ones may wait in a busy worker's
    /// channel, which saves waking it for each; as many as would wait about [`WAIT_IN_CHANNEL`].
    pub(crate) fn served(&mut self, lasted: u64) {
        self.service = (self.service * (SERVICE_WEIGHT - 1) + lasted) / SERVICE_WEIGHT;
        self.served = self.served.saturating_add(1);
        if self.served < ENOUGH_SERVED {
            return;
        }
        let fit = nanoseconds(WAIT_IN_CHANNEL) / self.service.max(1);
        let fit = u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, CHANNEL_DEPTH);
        // Powers of two, so that it does not change all the time.
        let depth = 1 << fit.ilog2();
        if depth != self.depth {
            self.depth = depth;
            self.pool.set_depth(depth);
        }
    }
}

/// A request as a channel takes it; `scratch` takes its fields.
fn view<'a>(
    head: &Head<'a>,
    body: &'a [u8],
    id: &'a InvocationId,
    deadline_ns: u64,
    scratch: &'a mut Vec<u8>,
) -> RequestView<'a> {
    scratch.clear();
    let mut header_count = 0;
    let mut timed = false;
    for (name, value) in head.headers.iter() {
        timed |= name.len() == TIMING.len() && name.eq_ignore_ascii_case(TIMING);
        RequestView::encode_header(scratch, name, value);
        header_count += 1;
    }
    RequestView {
        method: head.method,
        path: head.path,
        query: head.query.unwrap_or_default(),
        headers: scratch,
        header_count,
        body,
        invocation: id,
        deadline_ns,
        timed,
    }
}
