//! Requests → workers, and what comes back from them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::channel::{ProtocolViolation, ReplyKind};
use hairtrigger_sandbox::ending::Ending;
use hairtrigger_sandbox::limits::{
    GROW_AFTER, MAX_STILLBORN, START_AGAIN, START_HOLD, START_HOLD_MAX, STILLBORN_AGE,
};
use hairtrigger_sandbox::{Ticket, Worker};

use super::connection::Phase;
use super::function::{Dispatch, Flight, Live, Status};
use super::parse::{Progress, parse_head};
use super::pool::WorkerId;
use super::reply::write_response;
use super::ring::{Key, Token};
use super::{Alarm, Retired, Shard, nanoseconds, of_worker_key, worker_key};
use crate::outcome::Outcome;

impl Shard {
    /// Gives a whole request to a worker, or lets it wait for one.
    pub(super) fn submit(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        let Some(function) = self.functions.get_mut(exchange.function as usize) else { return };
        let index = function.index;
        match &function.status {
            Status::Failed(reason) => {
                let outcome = Outcome::InitFailed { reason: Arc::clone(reason) };
                self.answer_outcome(key, &outcome, true);
                return;
            }
            Status::Loading | Status::Ready => {}
        }
        // Nobody overtakes those who wait.
        if function.queue.is_empty() && self.post(key) {
            return;
        }
        let Some(function) = self.functions.get_mut(index as usize) else { return };
        if function.queue.len() >= function.profile.queue {
            self.answer_outcome(key, &Outcome::Throttled, true);
            return;
        }
        function.queue.push_back((key, self.now));
        let patience = function.profile.timeout;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.phase = Phase::Queued;
            if let Some(exchange) = &mut connection.exchange {
                exchange.stamps.queued = self.now;
            }
        }
        self.set_deadline(key, patience);
        self.want_workers(index);
    }

    /// Posts the request of a connection to a free worker. False if there is none.
    fn post(&mut self, key: Key) -> bool {
        let Self { connections, functions, scratch, now, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return true };
        let Some(exchange) = &mut connection.exchange else { return true };
        let Some(function) = functions.get_mut(exchange.function as usize) else { return true };
        // Parsed once more rather than kept: the slices of a head cannot outlive a move of the input, and
        // this is cheaper than copying them.
        let head = parse_head(&connection.input, &mut scratch.table, &mut Progress::default());
        let Ok(Some(head)) = head else { unreachable!("this head was parsed before") };
        let body = exchange.body(&connection.input, connection.body.as_deref());
        let dispatch = function.post(&head, body, &exchange.id, key, *now, &mut scratch.encoded);
        let Dispatch::Posted { slot, wake } = dispatch else { return false };
        exchange.stamps.dispatched = *now;
        connection.phase = Phase::Invoked;
        let index = function.index;
        self.clear_deadline(key);
        self.posted(index, slot, wake);
        true
    }

    /// A worker has one more invocation.
    pub(super) fn posted(&mut self, function: u32, slot: u16, wake: bool) {
        let Some(live) = self.functions.get_mut(function as usize).and_then(|f| f.worker(slot)) else {
            return;
        };
        if wake {
            // SAFETY: the channel of a worker that departs is kept until the next turn has submitted this.
            unsafe { self.ring.wake(live.channel.wake_word().as_ptr()) };
        }
        if !live.listed {
            live.listed = true;
            self.busy.push((function, slot));
        }
        self.arm_worker(function, slot);
    }

    /// Sees to it that a timer fires when the worker must be looked at, or before.
    fn arm_worker(&mut self, function: u32, slot: u16) {
        let Self { functions, wheel, .. } = self;
        let Some(live) = functions.get_mut(function as usize).and_then(|f| f.worker(slot)) else { return };
        let at = live.look_at();
        if at == u64::MAX || live.timer.is_some_and(|(_, fires)| fires <= at) {
            return;
        }
        if let Some((timer, _)) = live.timer.take() {
            wheel.cancel(timer);
        }
        let key = worker_key(function, slot, live.id.generation);
        live.timer = Some((wheel.insert(at, Alarm::Worker(key).pack()), at));
    }

    // ---- replies -----------------------------------------------------------------------------

    /// Asks every busy worker to ring; returns whether one has replied already.
    pub(super) fn listen_to_workers(&mut self) -> bool {
        let Self { functions, busy, ring, .. } = self;
        let mut replied = false;
        for &(function, slot) in &*busy {
            let Some(live) = functions.get_mut(function as usize).and_then(|f| f.worker(slot)) else {
                continue;
            };
            if !live.bell_armed {
                live.bell_armed = true;
                let count: *mut u64 = &raw mut *live.bell_count;
                let token = Token::Bell(worker_key(function, slot, live.id.generation));
                // SAFETY: count and bell are kept until the completion, also when the worker departs.
                unsafe { ring.listen(live.channel.bell(), count, token) };
            }
            replied |= live.channel.listen();
        }
        replied
    }

    /// A bell only ends the wait; replies are found by looking.
    pub(super) fn rung(&mut self, key: Key) {
        let (function, slot) = of_worker_key(key);
        let live = self.functions.get_mut(function as usize).and_then(|f| f.worker_of(slot, key.generation));
        match live {
            Some(live) => live.bell_armed = false,
            None => self.retired.retain(|retired| retired.key != key),
        }
    }

    /// Takes the replies of all busy workers, and gives them what waits.
    pub(super) fn collect_replies(&mut self) {
        let mut at = 0;
        while let Some(&(function, slot)) = self.busy.get(at) {
            while self.take_reply(function, slot) {}
            let live = self.functions.get_mut(function as usize).and_then(|f| f.worker(slot));
            match live {
                Some(live) if !live.flights.is_empty() && live.killed_for.is_none() => {
                    live.channel.unlisten();
                    at += 1;
                }
                Some(live) => {
                    live.listed = false;
                    self.busy.swap_remove(at);
                }
                None => {
                    self.busy.swap_remove(at);
                }
            }
        }
    }

    /// Takes one reply of one worker, if there is one.
    fn take_reply(&mut self, function: u32, slot: u16) -> bool {
        let Self { functions, connections, now, date, .. } = self;
        let Some(entry) = functions.get_mut(function as usize) else { return false };
        let limit = entry.profile.max_response;
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker(slot) else { return false };
        if live.killed_for.is_some() {
            return false;
        }
        let (id, flight) = (live.id, live.flights.front().copied());
        let outcome = match (live.channel.take_reply(), flight) {
            (Ok(None), _) | (_, None) => return false,
            (Err(ProtocolViolation(what)), Some(_)) => {
                self.fail_worker(function, slot, Outcome::ProtocolViolation { what });
                return false;
            }
            (Ok(Some(reply)), Some(flight)) => {
                let connection = connections.get_mut(flight.connection);
                match (reply.kind, connection) {
                    (ReplyKind::FunctionError(code), _) => Outcome::FunctionError { code },
                    (ReplyKind::TooLarge, _) => Outcome::ResponseTooLarge { limit },
                    (ReplyKind::Response { .. }, None) => Outcome::ClientGone,
                    (ReplyKind::Response { status }, Some(connection)) => match &connection.exchange {
                        None => Outcome::ClientGone,
                        Some(exchange) => {
                            let timing = exchange.stamps.timing(reply.times, *now);
                            let timing = timing.as_ref().map(|text| (&b"server-timing"[..], text.as_bytes()));
                            let written = write_response(
                                &mut connection.output,
                                status,
                                reply.headers.chain(timing),
                                &exchange.id,
                                exchange.framing(date),
                                reply.body.len() as u64,
                            );
                            match written {
                                Ok(true) => {
                                    reply.body.copy_to(&mut connection.output);
                                    Outcome::Completed { status }
                                }
                                Ok(false) => Outcome::Completed { status },
                                Err(bad) => Outcome::ProtocolViolation { what: bad.what() },
                            }
                        }
                    },
                }
            }
        };
        if let Outcome::ProtocolViolation { .. } = outcome {
            self.fail_worker(function, slot, outcome);
            return false;
        }
        live.channel.done_with_reply();
        let (flight, lasted) = live.first_ended(*now, timeout);
        let more = !live.flights.is_empty();
        entry.stillborn = 0;
        entry.served(lasted);
        entry.pool.release(id, *now);
        if more {
            self.arm_worker(function, slot);
        }
        if let Some(Flight { connection, .. }) = flight {
            match outcome {
                Outcome::Completed { .. } => self.answered(connection),
                other => self.answer_outcome(connection, &other, true),
            }
        }
        self.serve_queue(function);
        true
    }

    /// The worker is not to be believed any more: it is killed, and whom it served hears why.
    fn fail_worker(&mut self, function: u32, slot: u16, why: Outcome) {
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let Some(live) = entry.worker(slot) else { return };
        let id = live.id;
        // From here on it begins nothing more, so that what it has not begun can be given to others.
        let _ = live.channel.revoke();
        live.kill(why.clone());
        live.deadline = u64::MAX;
        let flights: Vec<Flight> = live.flights.drain(..).collect();
        let begun = live.channel.begun();
        entry.pool.drain(id);
        self.end_flights(function, flights, begun, &why);
    }

    /// The first of the flights was under way; of the others, those that were not begun wait again.
    fn end_flights(&mut self, function: u32, flights: Vec<Flight>, begun: u32, why: &Outcome) {
        let mut flights = flights.into_iter();
        if let Some(first) = flights.next() {
            self.answer_outcome(first.connection, why, true);
        }
        let (ended, waiting) = flights.partition(|flight| was_begun(begun, flight));
        let ended: Vec<Flight> = ended;
        for flight in ended {
            self.answer_outcome(flight.connection, why, true);
        }
        self.wait_again(function, waiting);
        self.serve_queue(function);
    }

    /// Puts requests that no worker has begun back to where they came from: the head of the queue. They may
    /// wait as long as a request may, counted from when they were first ready.
    fn wait_again(&mut self, function: u32, flights: Vec<Flight>) {
        for flight in flights.into_iter().rev() {
            let Some(connection) = self.connections.get_mut(flight.connection) else { continue };
            let Some(exchange) = &mut connection.exchange else { continue };
            let Some(entry) = self.functions.get_mut(function as usize) else { return };
            if exchange.stamps.queued == 0 {
                exchange.stamps.queued = exchange.stamps.dispatched;
            }
            let until = exchange.stamps.queued.saturating_add(nanoseconds(entry.profile.timeout));
            connection.phase = Phase::Queued;
            entry.queue.push_front((flight.connection, exchange.stamps.queued));
            self.set_deadline_at(flight.connection, until);
        }
    }

    /// Gives free workers to those who wait.
    fn serve_queue(&mut self, function: u32) {
        loop {
            let Some(entry) = self.functions.get_mut(function as usize) else { return };
            let Some(&(key, _)) = entry.queue.front() else { return };
            let waits = self.connections.get_mut(key).is_some_and(|c| c.phase == Phase::Queued);
            if waits && !self.post(key) {
                self.want_workers(function);
                return;
            }
            self.functions[function as usize].queue.pop_front();
        }
    }

    /// A request has waited for a worker as long as it may.
    pub(super) fn waited_too_long(&mut self, key: Key) {
        let function = self.connections.get_mut(key).and_then(|c| c.exchange.as_ref()).map(|e| e.function);
        if let Some(entry) = function.and_then(|function| self.functions.get_mut(function as usize)) {
            entry.queue.retain(|(waiting, _)| *waiting != key);
        }
        self.answer_outcome(key, &Outcome::Overloaded, true);
    }

    // ---- workers -----------------------------------------------------------------------------

    /// Starts the workers that are wanted: for the floor at once, for a queue once it has waited a while.
    pub(super) fn want_workers(&mut self, function: u32) {
        let Self { functions, warden, wheel, now, number, draining, .. } = self;
        let Some(entry) = functions.get_mut(function as usize) else { return };
        if !matches!(entry.status, Status::Ready) || *draining {
            return;
        }
        if entry.held_until > *now {
            if !entry.growth_timer {
                entry.growth_timer = true;
                wheel.insert(entry.held_until, Alarm::Growth(function).pack());
            }
            return;
        }
        let counts = entry.pool.counts();
        let serving = counts.idle + counts.busy + counts.starting;
        let grow_after = nanoseconds(GROW_AFTER);
        let oldest = entry.queue.front().map(|(_, since)| *since);
        let waited = oldest.is_some_and(|since| *now >= since + grow_after);
        let queued = if serving == 0 || waited { entry.queue.len() } else { 0 };
        for _ in 0..entry.pool.starts_wanted(queued) {
            let Some(WorkerId { slot, generation }) = entry.pool.start() else { break };
            warden.want_worker(Ticket { function, shard: *number, slot, generation });
        }
        if let (Some(since), false) = (oldest, entry.growth_timer) {
            entry.growth_timer = true;
            wheel.insert((since + grow_after).max(*now + grow_after), Alarm::Growth(function).pack());
        }
    }

    pub(super) fn growth_alarm(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function as usize) {
            entry.growth_timer = false;
        }
        self.want_workers(function);
    }

    pub(super) fn loaded(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function as usize) {
            entry.status = Status::Ready;
            entry.stillborn = 0;
            entry.held_until = 0;
        }
        self.want_workers(function);
    }

    pub(super) fn load_failed(&mut self, function: u32, reason: Arc<str>) {
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        entry.status = Status::Failed(Arc::clone(&reason));
        self.refuse_queue(function, &Outcome::InitFailed { reason });
    }

    fn refuse_queue(&mut self, function: u32, why: &Outcome) {
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let queue = std::mem::take(&mut entry.queue);
        for (key, _) in queue {
            if self.connections.get_mut(key).is_some_and(|c| c.phase == Phase::Queued) {
                self.answer_outcome(key, why, true);
            }
        }
    }

    pub(super) fn worker_ready(&mut self, ticket: Ticket, worker: Worker) {
        let Some(entry) = self.functions.get_mut(ticket.function as usize) else { return };
        entry.arrived(ticket, worker, self.now);
        self.serve_queue(ticket.function);
    }

    pub(super) fn worker_gone(&mut self, ticket: Ticket, ending: Ending) {
        let function = ticket.function;
        // A reply that it published before it went counts.
        while self.take_reply(function, ticket.slot) {}
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let Some(live) = entry.departed(ticket) else {
            // It never became ready. Wanting another at once would only go round in a circle.
            if ending == Ending::Killed {
                // Not of its own doing: the template is ending, or the host is short of something.
                entry.held_until = entry.held_until.max(self.now + nanoseconds(START_AGAIN));
            } else {
                self.died_young(function, ending);
            }
            self.want_workers(function);
            return;
        };
        let mut live = live;
        if let Some((timer, _)) = live.timer.take() {
            self.wheel.cancel(timer);
        }
        self.busy.retain(|entry| *entry != (function, ticket.slot));
        let served = live.served;
        let flights: Vec<Flight> = live.flights.drain(..).collect();
        let begun = live.channel.begun();
        let young = self.now < live.arrived + nanoseconds(STILLBORN_AGE);
        let by_us = live.killed_for.is_some();
        self.retire(function, live);
        let idle = flights.first().is_none_or(|first| !was_begun(begun, first));
        if idle && !by_us {
            self.wait_again(function, flights);
            if young && !served {
                self.died_young(function, ending);
            }
            self.serve_queue(function);
        } else {
            // Only the daemon's own kills are not told by the ending, and those have been answered.
            let why = Outcome::from_ending(ending, Outcome::ShuttingDown);
            self.end_flights(function, flights, begun, &why);
        }
        self.want_workers(function);
    }

    /// A worker ended soon after its start, before it had begun an invocation. Several in a row are a function
    /// that cannot start workers.
    fn died_young(&mut self, function: u32, ending: Ending) {
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        entry.stillborn += 1;
        if entry.stillborn < MAX_STILLBORN || !matches!(entry.status, Status::Ready) {
            return;
        }
        let doublings = (entry.stillborn - MAX_STILLBORN).min(16);
        let hold = (START_HOLD * 2_u32.pow(doublings)).min(START_HOLD_MAX);
        entry.held_until = self.now + nanoseconds(hold);
        let reason = format!("its workers end before they can serve: the last one {ending}");
        self.refuse_queue(function, &Outcome::InitFailed { reason: reason.into() });
    }

    /// Keeps of a departed worker what the kernel may still use.
    fn retire(&mut self, function: u32, mut live: Box<Live>) {
        if live.bell_armed {
            let key = worker_key(function, live.id.slot, live.id.generation);
            // Completes the operation that waits for the bell.
            hairtrigger_sandbox::ring(live.channel.bell().as_fd());
            let count = std::mem::take(&mut live.bell_count);
            self.retired.push(Retired { key, _count: count });
        }
        self.departed.push(live);
    }

    pub(super) fn worker_alarm(&mut self, key: Key) {
        let (function, slot) = of_worker_key(key);
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let limit: Duration = entry.profile.timeout;
        let Some(live) = entry.worker_of(slot, key.generation) else { return };
        live.timer = None;
        if live.deadline == u64::MAX {
            return;
        }
        if live.look_at() > self.now {
            self.arm_worker(function, slot);
            return;
        }
        // What came in time counts.
        while self.take_reply(function, slot) {}
        let now = self.now;
        let live = self.functions.get_mut(function as usize).and_then(|f| f.worker_of(slot, key.generation));
        let Some(live) = live else { return };
        if live.deadline <= now {
            self.fail_worker(function, slot, Outcome::Timeout { limit });
        } else if live.look_at() <= now {
            self.take_back(function, slot);
        } else {
            self.arm_worker(function, slot);
        }
    }

    /// The first flight takes long: those behind it wait for another worker instead.
    fn take_back(&mut self, function: u32, slot: u16) {
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker(slot) else { return };
        let id = live.id;
        let kept = match live.channel.revoke() {
            Ok(kept) => kept as usize,
            Err(ProtocolViolation(what)) => {
                self.fail_worker(function, slot, Outcome::ProtocolViolation { what });
                return;
            }
        };
        let taken_back = live.keep(kept, now, timeout);
        entry.pool.hold(id);
        for _ in &taken_back {
            entry.pool.release(id, self.now);
        }
        self.wait_again(function, taken_back.into());
        self.arm_worker(function, slot);
        self.serve_queue(function);
        self.want_workers(function);
    }
}

/// Whether a worker that says it has begun the requests up to `begun` has begun this one. Sequence numbers
/// wrap; their difference does not.
fn was_begun(begun: u32, flight: &Flight) -> bool {
    begun.wrapping_sub(flight.sequence).cast_signed() >= 0
}
