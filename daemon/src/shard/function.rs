//! One version of a function on one shard: its workers, what each of them holds, and who waits for one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::channel::{DaemonEnd, Posted, RequestView, Span};
use hairtrigger_sandbox::layers::{self, Layer};
use hairtrigger_sandbox::limits::{
    CHANNEL_DEPTH, DEMOTE_AFTER, GROW_AFTER, HAND_OVER_GROW, HAND_OVER_WINDOW, WAIT_IN_CHANNEL,
};
use hairtrigger_sandbox::{Ticket, WardenHandle, Worker};

use super::admission::{Pace, retry_after, whole_seconds};
use super::body::Content;
use super::demand::Demand;
use super::exchange::Exchange;
use super::meter::{Meter, Read, Share};
use super::nanoseconds;
use super::parse::Head;
use super::pool::{Pool, Shape, State, WorkerId};
use super::queue::{self, Queue};
use super::record::{Records, Start, Told};
use super::reply::InvocationId;
use super::request::Request;
use super::ring::Key;
use super::version::{Profile, Version};
use super::wheel::TimerId;
use crate::outcome::{Lack, Limit, Outcome};

/// Whether there is a template to fork from.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Not yet; requests wait.
    Loading,
    Ready,
    /// No, since nobody wanted anything; the next request asks for one.
    Asleep,
    /// No; requests are refused with this reason.
    Failed(Arc<str>),
}

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
    lasted: u64,
    /// It was a long one.
    was_demoted: bool,
}

/// A worker that is there.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: WorkerId,
    pub(crate) channel: DaemonEnd,
    pid: libc::pid_t,
    pidfd: OwnedFd,
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

    fn has_one_more(&mut self, caller: Caller, invocation: InvocationId, now: u64, timeout: Duration) {
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

/// Workers that a shard may start, and those that it has to end, where the control thread sees to it that all functions
/// together have no more than they may.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Granted, and not started yet.
    pub(crate) unused: u32,
    /// What the control thread was told last that is wanted.
    pub(crate) asked: u32,
    /// Workers that were asked back and are not gone. Whichever goes counts, for whatever reason.
    owed: u32,
    /// Workers that are gone, of which the control thread has to be told.
    pub(crate) gone: u32,
}

/// One version of one function.
#[derive(Debug)]
pub(crate) struct Function {
    /// The version's key.
    pub(crate) key: u32,
    pub(crate) version: Arc<Version>,
    pub(crate) profile: Profile,
    /// Number of this shard.
    shard: u16,
    pub(crate) status: Status,
    /// Whether there is a template, as far as this shard was told.
    pub(crate) template: bool,
    /// Requests go to another version, or to none: this one is gone once it has nothing left to do.
    pub(crate) retiring: bool,
    pool: Pool,
    workers: Vec<Option<Box<Live>>>,
    /// Who waits for a worker here.
    pub(crate) queue: Queue,
    /// Invocations that other shards have from this one, or whose bodies are on their way to a worker.
    pub(crate) away: u32,
    /// How many were handed over, and from when on they are counted.
    handed: u32,
    handed_since: u64,
    /// Workers in a row that ended soon after their start without having answered anything.
    pub(crate) stillborn: u32,
    /// No worker is started before then.
    pub(crate) held_until: u64,
    /// Why its workers end before they can serve, from when that is certain until one has answered something.
    pub(crate) failing: Option<Arc<str>>,
    pub(crate) growth_timer: bool,
    demand: Demand,
    /// Where workers are started by grants alone.
    pub(crate) grants: Option<Grants>,
    /// Whether there is an alarm for workers without work.
    pub(crate) idle_timer: bool,
    /// Who wants the times of every invocation, whatever the client asks for.
    records: Option<Arc<Records>>,
    /// Whether a worker with a long invocation is demoted. Not where it has threads, of which each would have to be, and
    /// would have to be restored; nor where it could not be restored.
    demotes: bool,
    warden: WardenHandle,
    /// When its template was last loaded: monotonic, in nanoseconds.
    pub(crate) loaded_at: u64,
    /// Moving average of how long an invocation keeps its worker, in nanoseconds, and of how many.
    service: u64,
    served: u32,
    /// Moving average of how long a worker is in coming, in nanoseconds, and when each slot's was asked for.
    start: u64,
    asked: Box<[u64]>,
    depth: u32,
}

/// An average of fewer invocations says nothing.
const ENOUGH_SERVED: u32 = 16;
/// Weight of one invocation in the average: one in so many.
const SERVICE_WEIGHT: u64 = 16;
/// The same of one start.
const START_WEIGHT: u64 = 8;

/// What became of a request that was to be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// A worker has it; `wake` if somebody must wake that worker, `timed` if the client asked for times.
    Posted { slot: u16, wake: bool, timed: bool },
    /// No worker is free.
    Wait,
}

impl Function {
    /// A version that was begun, on the shard of this number; with who wants to know of each invocation.
    pub(crate) fn new(
        version: Arc<Version>,
        shard: u16,
        records: Option<Arc<Records>>,
        warden: WardenHandle,
        bounded: bool,
    ) -> Self {
        let profile = version.profile.clone();
        let shape = Shape {
            provisioned: version.provisioned_on(shard),
            max: profile.max,
            depth: 1,
            single_use: profile.fresh,
        };
        Self {
            key: version.key,
            shard,
            pool: Pool::new(shape),
            workers: (0..profile.max).map(|_| None).collect(),
            queue: Queue::with_capacity(profile.queue.min(1024) as usize),
            status: Status::Loading,
            template: false,
            retiring: false,
            away: 0,
            handed: 0,
            handed_since: 0,
            stillborn: 0,
            held_until: 0,
            failing: None,
            growth_timer: false,
            demand: Demand::default(),
            grants: bounded.then(Grants::default),
            idle_timer: false,
            records,
            demotes: profile.threads == 0 && hairtrigger_sandbox::may_restore(),
            warden,
            loaded_at: 0,
            service: 0,
            served: 0,
            start: 0,
            asked: vec![0; profile.max.into()].into(),
            depth: 1,
            version,
            profile,
        }
    }

    /// Whether no request, no worker and no transfer of it is here, or on its way from here.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.away == 0 && self.pool.is_vacant()
    }

    /// Whether nobody serves yet, and somebody will.
    pub(crate) fn is_starting(&self) -> bool {
        let counts = self.pool.counts();
        let starts = counts.starting > 0 || matches!(self.status, Status::Loading);
        starts && counts.idle + counts.busy == 0
    }

    /// Whether a worker is on its way.
    pub(crate) fn expects_one(&self) -> bool {
        self.pool.counts().starting > 0
    }

    /// Why nobody will serve before further starts are made, if that is so.
    pub(crate) fn held_for(&self, now: u64) -> Option<&Arc<str>> {
        self.failing.as_ref().filter(|_| self.held_until > now && self.staff() == 0)
    }

    /// What a request is told that has waited for a worker as long as it may.
    pub(crate) fn waited_in_vain(&self) -> Outcome {
        match &self.failing {
            Some(reason) => Outcome::InitFailed { reason: Arc::clone(reason) },
            None => Outcome::Overloaded { lack: Lack::Worker, after: self.come_again() },
        }
    }

    /// What a request is told that came at a time at which the function takes no more, if that is so.
    pub(crate) fn beyond_rate(&self, now: u64) -> Option<Outcome> {
        let rate = self.profile.rate?;
        let after = whole_seconds(self.version.let_in(now).err()?);
        Some(Outcome::Throttled { limit: Limit::Rate(rate), after })
    }

    /// A place in the queue for a request that may wait for so many nanoseconds; or what it is told that it has none.
    pub(crate) fn admit(&self, may_wait: u64) -> Result<queue::Place, Outcome> {
        let Some(place) = queue::Place::take(&self.version) else {
            let limit = Limit::Concurrency { max: self.profile.max, queue: self.profile.queue };
            return Err(Outcome::Throttled { limit, after: self.come_again() });
        };
        // Without itself.
        let before = self.version.waiting().saturating_sub(1);
        match self.pace().and_then(|pace| pace.too_late(before, may_wait)) {
            Some(over) => {
                Err(Outcome::Overloaded { lack: Lack::Time { before }, after: retry_after(Some(over)) })
            }
            None => Ok(place),
        }
    }

    /// How it has served of late, if enough is known of that.
    fn pace(&self) -> Option<Pace> {
        let known = self.served >= ENOUGH_SERVED;
        known.then_some(Pace { service: self.service, workers: self.profile.max })
    }

    /// After how many seconds those who wait now will have had their turn.
    fn come_again(&self) -> u32 {
        retry_after(self.pace().map(|pace| pace.wait(self.version.waiting())))
    }

    /// Its workers can serve, as far as anybody knows.
    pub(crate) fn is_well(&mut self) {
        (self.stillborn, self.failing) = (0, None);
    }

    /// Workers that serve or will.
    pub(crate) fn staff(&self) -> usize {
        let counts = self.pool.counts();
        counts.starting + counts.idle + counts.busy
    }

    /// Tells the other shards how it stands. To be called after each change in the pool.
    fn stand(&self) {
        if self.grants.is_some() {
            let since = self.pool.longest_idle().map_or(u64::MAX, |(_, since)| since);
            self.version.stand_idle_since(self.shard, since);
        }
        self.version.stand(self.shard, self.pool.counts().idle, self.staff());
    }

    /// A worker has one more invocation. True if it is time to see how many workers such a stream of them wants.
    pub(crate) fn one_more(&mut self, now: u64) -> bool {
        let due = self.demand.arrived(now);
        if due {
            self.demand.look(now);
        }
        due || self.profile.fresh
    }

    /// How many workers to start, if the host's number allows, with `queued` requests waiting.
    pub(crate) fn starts_wanted(&self, queued: usize, now: u64) -> usize {
        self.pool.starts_wanted(queued, self.expected(now))
    }

    /// How many workers invocations want that come as they did of late. Where each worker serves one, that is how many go
    /// while another is on its way.
    fn expected(&self, now: u64) -> usize {
        if self.retiring {
            return 0;
        }
        if self.profile.fresh {
            return self.demand.at_once(now, self.start);
        }
        if self.served < ENOUGH_SERVED {
            return 0;
        }
        // What takes long is under way already: then a window that happens to be full says little of how many will be.
        let busy = self.pool.counts().busy;
        let chance = self.demand.seen().max(busy / 4 + 1);
        self.demand.at_once(now, self.service).min(busy + chance)
    }

    /// Whether an invocation that finds no worker is sure to wait for longer than the start of one is put off.
    pub(crate) fn takes_long(&self) -> bool {
        self.profile.fresh || (self.served >= ENOUGH_SERVED && self.service > nanoseconds(GROW_AFTER))
    }

    /// Reserves a slot for one more worker; `None` if there are as many as there may be, here or on all shards
    /// together.
    pub(crate) fn start(&mut self, now: u64) -> Option<WorkerId> {
        if !self.version.take_permit() {
            return None;
        }
        let id = self.pool.start();
        match id {
            Some(id) => self.asked[usize::from(id.slot)] = now,
            None => self.version.return_permit(),
        }
        self.stand();
        id
    }

    /// Whether a worker could be started just now, as far as others leave room for it.
    pub(crate) fn may_start(&self) -> bool {
        self.version.has_permit() && self.grants.as_ref().is_none_or(|grants| grants.unused > 0)
    }

    /// An invocation was handed over to another shard at `now`. True if that has become a habit, so that a
    /// worker of its own is due.
    pub(crate) fn handed_over(&mut self, now: u64) -> bool {
        self.away += 1;
        if now.saturating_sub(self.handed_since) > nanoseconds(HAND_OVER_WINDOW) {
            (self.handed, self.handed_since) = (0, now);
        }
        self.handed += 1;
        let habit = self.handed > HAND_OVER_GROW && self.pool.counts().starting == 0;
        if habit {
            self.handed = 0;
        }
        habit
    }

    /// The worker has done with one of its invocations. True if it serves no more, and is to be ended.
    #[must_use]
    pub(crate) fn release(&mut self, id: WorkerId, now: u64) -> bool {
        let owed =
            self.grants.as_ref().is_some_and(|grants| grants.owed as usize > self.pool.counts().draining);
        if self.profile.fresh || owed {
            self.pool.drain(id);
        }
        self.pool.release(id, now);
        self.stand();
        self.pool.state(id) == Some(State::Draining { load: 0 })
    }

    /// The worker gets no more until it is idle again.
    pub(crate) fn hold(&mut self, id: WorkerId) {
        self.pool.hold(id);
    }

    /// The worker gets no more at all.
    pub(crate) fn drain(&mut self, id: WorkerId) {
        self.pool.drain(id);
        self.stand();
    }

    /// Requests no longer begin here: no worker is kept for its own sake.
    pub(crate) fn retire(&mut self) {
        self.retiring = true;
        self.pool.keep_none();
    }

    /// Kills the workers of a retiring version that nobody needs; whether nothing is left of it.
    pub(crate) fn wind_up(&mut self, now: u64) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        while let Some((id, _)) = self.pool.longest_idle() {
            self.end(id, now);
        }
        self.away == 0 && self.pool.is_vacant()
    }

    /// Kills the workers that have had no work for too long and are not kept warm. Returns when there may be more of
    /// them, if there may.
    pub(crate) fn reap(&mut self, now: u64) -> Option<u64> {
        let patience = nanoseconds(self.profile.idle);
        // Those that are expected to be wanted would only be started anew.
        while self.pool.surplus(self.expected(now)) > 0 {
            // If all are busy, none of them can be due earlier.
            let due = self.pool.longest_idle().map_or(now, |(_, since)| since) + patience;
            let Some((id, _)) = self.pool.longest_idle().filter(|_| due <= now) else { return Some(due) };
            self.end(id, now);
        }
        None
    }

    /// Ends a worker for the sake of another function: one that has no work, else the next that has come to the end of it.
    pub(crate) fn give_up(&mut self, now: u64) {
        self.grants.iter_mut().for_each(|grants| grants.owed += 1);
        if let Some((id, _)) = self.pool.longest_idle() {
            self.end(id, now);
        }
    }

    /// Kills a worker that has no work.
    pub(crate) fn end(&mut self, id: WorkerId, now: u64) {
        self.drain(id);
        self.read_clock(id.slot, now);
        if let Some(live) = self.worker(id.slot) {
            live.kill(Outcome::ShuttingDown { begun: false });
        }
    }

    /// What a worker is doing.
    pub(super) fn state(&self, id: WorkerId) -> Option<State> {
        self.pool.state(id)
    }

    /// Reads a worker's CPU clock, and books what it has used since the last time. Returns what of that it has used
    /// without an invocation, in nanoseconds.
    pub(crate) fn read_clock(&mut self, slot: u16, now: u64) -> u64 {
        let tally = self.version.totals.of(self.shard);
        let Some(live) = self.workers.get_mut(usize::from(slot)).and_then(Option::as_deref_mut) else {
            return 0;
        };
        let reading = hairtrigger_sandbox::cpu_time(live.pid, live.pidfd.as_fd());
        let Read { invocations, overhead } =
            live.meter.read(reading, now, |share| tell(self.records.as_ref(), share));
        let is_long = live.meter.first_used() >= nanoseconds(DEMOTE_AFTER);
        if is_long && !live.demoted && self.demotes {
            live.demoted = hairtrigger_sandbox::demote(live.pid, live.pidfd.as_fd(), true);
        }
        let demoted = live.demoted;
        tally.cpu.add(invocations);
        tally.overhead.add(overhead);
        if demoted {
            self.settle();
        }
        overhead
    }

    /// A worker is about to get one more invocation. If that is its first, what threads of it have used by themselves is
    /// not to be this one's.
    pub(crate) fn read_before_first(&mut self, slot: u16, now: u64) {
        if self.profile.threads > 0 && self.worker(slot).is_some_and(|live| live.flights.is_empty()) {
            self.read_clock(slot, now);
        }
    }

    /// Settles whether all of the version's work is long, on all shards. To be called when a worker is demoted or
    /// restored, and now and then while one is demoted.
    fn settle(&self) {
        let has_work = self.workers.iter().flatten().filter(|live| !live.flights.is_empty());
        let demoted = has_work.clone().filter(|live| live.demoted).count();
        let draining = has_work.filter(|live| matches!(self.state(live.id), Some(State::Draining { .. })));
        self.version.stand_demoted(self.shard, demoted, draining.count());
        if self.version.settle_idle() {
            self.tell_idle();
        }
    }

    /// A worker has got work that is not long.
    fn awake(&self) {
        if self.version.awake() {
            self.tell_idle();
        }
    }

    fn tell_idle(&self) {
        self.warden.idle(self.key, Arc::clone(&self.version.idle));
    }

    /// A worker is gone by itself, and takes what it used since its clock was read with it. What is known of those it had
    /// is told, the `last` included, if it had begun one.
    pub(crate) fn last_words(&self, meter: &mut Meter, last: Option<&Flight>, now: u64) {
        match last {
            Some(flight) => meter.ends(flight.invocation, now),
            None => meter.rests(),
        }
        meter.read(None, now, |share| tell(self.records.as_ref(), share));
    }

    /// An invocation ended with its worker and had not come to be the first there: it has used nothing.
    pub(crate) fn never_first(&self, flight: &Flight) {
        tell(self.records.as_ref(), Share { invocation: flight.invocation, cpu: 0, apportioned: false });
    }

    /// An invocation that was its worker's first is given to another one: what this one told of it is not all.
    pub(crate) fn told_again(&self, flight: &Flight) {
        if let Some(records) = self.records.as_ref().filter(|records| records.itemised) {
            records.push(Told::Again(flight.invocation));
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
        let Worker { pid, pidfd, channel } = worker;
        if !self.pool.ready(id, now) {
            let _ = hairtrigger_sandbox::kill(pidfd.as_fd());
            return;
        }
        self.stand();
        let took = now.saturating_sub(self.asked[usize::from(id.slot)]);
        self.start = match self.start {
            0 => took,
            average => (average * (START_WEIGHT - 1) + took) / START_WEIGHT,
        };
        let tally = self.version.totals.of(self.shard);
        tally.workers_started.add(1);
        // What its start took.
        let used = hairtrigger_sandbox::cpu_time(pid, pidfd.as_fd()).unwrap_or(0);
        tally.overhead.add(used);
        let itemised = self.records.as_ref().is_some_and(|records| records.itemised);
        let limit = self.profile.cpu_limit.filter(|_| layers::on(Layer::Deadline));
        self.workers[usize::from(id.slot)] = Some(Box::new(Live {
            id,
            channel,
            pid,
            pidfd,
            meter: Meter::new(used, now, itemised, limit),
            demoted: false,
            flights: VecDeque::with_capacity(8),
            killed_for: None,
            head_since: 0,
            deadline: u64::MAX,
            keeps_until: 0,
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
        self.version.return_permit();
        if let Some(grants) = &mut self.grants {
            grants.owed = grants.owed.saturating_sub(1);
            grants.gone += 1;
        }
        self.stand();
        let live = self.workers[usize::from(id.slot)].take()?;
        self.version.totals.of(self.shard).workers_ended.add(1);
        self.settle();
        Some(live)
    }

    /// Posts the request of a head and a body to a worker, if one is free.
    pub(crate) fn post_head(
        &mut self,
        head: &Head<'_>,
        content: Content<'_>,
        exchange: &Exchange,
        caller: Caller,
        now: u64,
        scratch: &mut Vec<u8>,
    ) -> Dispatch {
        if !self.pool.has_room() {
            return Dispatch::Wait;
        }
        let request = Request::new(head, content, self.profile.route(exchange), scratch);
        self.post(&request, &exchange.id, caller, now)
    }

    /// How one that has waited since `queued`, or not at all if that is 0, came by this worker.
    pub(crate) fn start_of(&mut self, slot: u16, queued: u64) -> Start {
        let arrived = self.worker(slot).map_or(0, |live| live.arrived);
        match queued {
            0 => Start::Warm,
            _ if self.loaded_at > queued => Start::Load,
            _ if arrived > queued => Start::Fork,
            _ => Start::Warm,
        }
    }

    /// Posts a request to a worker, if one is free.
    pub(crate) fn post(
        &mut self,
        request: &Request<'_>,
        id: &InvocationId,
        caller: Caller,
        now: u64,
    ) -> Dispatch {
        let Some(worker) = self.pool.take() else { return Dispatch::Wait };
        let (timeout, measured) = (self.profile.timeout, self.records.is_some());
        let slot = worker.slot;
        self.read_before_first(slot, now);
        let Some(live) = self.workers.get_mut(usize::from(slot)).and_then(Option::as_deref_mut) else {
            unreachable!("the pool gives out only workers that are there")
        };
        // Of one that waits in the channel the time begins later; this is what its function is told.
        let deadline = now.saturating_add(nanoseconds(timeout));
        let posted = live.channel.post(&request.view(id, deadline, measured));
        if posted == Posted::Full {
            // The slab is in use: only with more than one request in a channel.
            self.pool.release(worker, now);
            return Dispatch::Wait;
        }
        live.has_one_more(caller, *id, now, timeout);
        self.stand();
        self.awake();
        Dispatch::Posted { slot, wake: posted == Posted::MustWake, timed: request.timed }
    }

    /// Reserves a worker, if one is free, for a request whose body is large.
    pub(crate) fn begin(&mut self, request: &Request<'_>, id: &InvocationId, now: u64) -> Option<Begun> {
        let measured = self.records.is_some();
        let worker = self.pool.take()?;
        let live = self.workers.get_mut(usize::from(worker.slot)).and_then(Option::as_deref_mut);
        let Some(live) = live else { unreachable!("the pool gives out only workers that are there") };
        let view = RequestView { body: b"", ..request.view(id, 0, measured) };
        let span = live.channel.begin_post(&view, request.body.len());
        let file = live.channel.request_file().try_clone_to_owned();
        let (Some(span), Ok(file)) = (span, file) else {
            // Descriptors are short, or the slab is in use: then what was begun there is somebody else's.
            if span.is_some() {
                live.channel.abandon_post();
            }
            self.pool.release(worker, now);
            return None;
        };
        // Until the body is written this version must not go.
        self.away += 1;
        self.stand();
        self.awake();
        Some(Begun { worker, file, span })
    }

    /// Takes note of an invocation, and of how long it kept its worker. Short ones may wait in a busy worker's
    /// channel, which saves waking it for each; as many as would wait about [`WAIT_IN_CHANNEL`].
    pub(crate) fn served(&mut self, Served { lasted, was_demoted }: Served) {
        self.is_well();
        if was_demoted {
            self.settle();
        }
        self.served = self.served.saturating_add(1);
        // The first few are averaged alone: there was nothing before them.
        let weight = SERVICE_WEIGHT.min(self.served.into());
        self.service = (self.service * (weight - 1) + lasted) / weight;
        if self.served < ENOUGH_SERVED || self.profile.fresh {
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

/// Tells what an invocation has used, if anybody wants to know.
fn tell(records: Option<&Arc<Records>>, share: Share) {
    if let Some(records) = records.filter(|records| records.itemised) {
        records.push(Told::Cpu(share));
    }
}

/// The versions that a shard knows, by key.
#[derive(Debug, Default)]
pub(crate) struct Functions(Vec<Place>);

/// What stands under a key: the version that has it, or nothing but the name of the one that had it last.
#[derive(Debug, Default)]
struct Place {
    name: Option<Arc<str>>,
    function: Option<Box<Function>>,
}

impl Functions {
    pub(crate) fn get(&self, key: u32) -> Option<&Function> {
        self.0.get(key as usize)?.function.as_deref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut Function> {
        self.0.get_mut(key as usize)?.function.as_deref_mut()
    }

    /// The first version that there is from this key on.
    pub(crate) fn next_from(&mut self, key: u32) -> Option<&mut Function> {
        self.0.get_mut(key as usize..)?.iter_mut().find_map(|place| place.function.as_deref_mut())
    }

    /// The function's name, also after the version was removed.
    pub(crate) fn name(&self, key: u32) -> Option<&str> {
        self.0.get(key as usize)?.name.as_deref()
    }

    /// Keys are below [`MAX_VERSIONS`](hairtrigger_sandbox::limits::MAX_VERSIONS), which bounds the list.
    pub(crate) fn insert(&mut self, function: Function) {
        let at = function.key as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Place::default);
        }
        debug_assert!(self.0[at].function.is_none(), "a key is given to one version at a time");
        let name = Some(Arc::clone(&function.profile.name));
        self.0[at] = Place { name, function: Some(Box::new(function)) };
    }

    /// Reads the clocks of all workers, for the last time.
    pub(crate) fn read_clocks(&mut self, now: u64) {
        for function in self.0.iter_mut().filter_map(|place| place.function.as_mut()) {
            for slot in 0..function.profile.max {
                function.read_clock(slot, now);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: u32) {
        if let Some(place) = self.0.get_mut(key as usize) {
            place.function = None;
        }
    }
}
