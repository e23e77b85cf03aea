//! One version of a function on one shard: its workers, what each of them holds, and who waits for one.

mod clock;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

use hairtrigger_sandbox::channel::{Posted, RequestView};
use hairtrigger_sandbox::layers::{self, Layer};
use hairtrigger_sandbox::limits::{
    ASK_AGAIN, CHANNEL_DEPTH, GROW_AFTER, HAND_OVER_GROW, HAND_OVER_WINDOW, WAIT_IN_CHANNEL,
};
use hairtrigger_sandbox::{Ticket, WardenHandle, Worker};

use super::admission::{Pace, retry_after, whole_seconds};
use super::body::Content;
use super::demand::Demand;
use super::exchange::Exchange;
use super::live::{Begun, Caller, Live, Served};
use super::meter::Meter;
use super::nanoseconds;
use super::parse::Head;
use super::pool::{Pool, Shape, State, WorkerId};
use super::queue::{self, Queue};
use super::record::{Records, Start};
use super::reply::InvocationId;
use super::request::Request;
use super::ring::Key;
use super::version::{Profile, Version};
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

/// Workers that a shard may start, and those that it has to end, where the control thread sees to it that all functions
/// together have no more than they may.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Granted, and not started yet.
    pub(crate) unused: u32,
    /// What the control thread was told last that is wanted, and when: monotonic, in nanoseconds.
    pub(crate) asked: u32,
    pub(crate) asked_at: u64,
    /// Grants heard of, ever; wraps.
    pub(crate) heard: u32,
    /// Workers that were asked back and are not gone. Whichever goes counts, for whatever reason, and so does a grant that
    /// goes back.
    pub(crate) owed: u32,
    /// One more is to be started than those that come here ask for: many were handed over.
    pub(crate) habit: bool,
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
    pub(crate) fn may_start(&self, now: u64) -> bool {
        let hopes = |grants: &Grants| grants.asked == 0 || now < grants.asked_at + nanoseconds(ASK_AGAIN);
        self.version.has_permit() && self.grants.as_ref().is_none_or(hopes)
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
        if self.profile.fresh || self.owes() {
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
        while self.pool.surplus(0) > 0 {
            if self.pool.surplus(self.expected(now)) == 0 {
                // It would only be started anew. What is expected fades.
                return Some(now + patience);
            }
            // If all are busy, none of them can be due earlier.
            let due = self.pool.longest_idle().map_or(now, |(_, since)| since) + patience;
            let Some((id, _)) = self.pool.longest_idle().filter(|_| due <= now) else { return Some(due) };
            self.end(id, now);
        }
        None
    }

    /// A worker is to end for the sake of another function: one that has no work, else the next that has come to the end
    /// of it. If all have gone, the control thread is being told of that.
    pub(crate) fn give_up(&mut self, now: u64) {
        if !self.pool.is_vacant() {
            self.grants.iter_mut().for_each(|grants| grants.owed += 1);
            self.pay(now);
        }
    }

    /// Ends workers that have no work and were asked back.
    pub(crate) fn pay(&mut self, now: u64) {
        while self.owes() {
            let Some((id, _)) = self.pool.longest_idle() else { return };
            self.end(id, now);
        }
    }

    /// Whether more workers were asked back than are on their way out.
    fn owes(&self) -> bool {
        self.grants.as_ref().is_some_and(|grants| grants.owed as usize > self.pool.counts().draining)
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
