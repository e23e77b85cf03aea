//! Requests → workers, and what comes back from them.

use std::sync::Arc;

use hairtrigger_sandbox::channel::{ProtocolViolation, ReplyKind};
use hairtrigger_sandbox::limits::LARGE_PAYLOAD;

use super::connection::{Connection, Phase};
use super::exchange::Exchange;
use super::function::{Dispatch, Status};
use super::handover::{Response, patience};
use super::live::{Caller, Flight};
use super::parse::{Progress, parse_head};
use super::queue::Place;
use super::record::Said;
use super::reply::{Follows, write_response};
use super::request::Request;
use super::ring::{Key, Token};
use super::route::Route;
use super::transfer::{Holder, Unfinished};
use super::{Alarm, Shard, of_worker_key, worker_key};
use crate::outcome::Outcome;

impl Shard {
    /// Gives a whole request to a worker, here or on another shard, or lets it wait for one.
    pub(super) fn submit(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = connection.exchange else { return };
        let function = exchange.function;
        if self.functions.get(function).is_some_and(|entry| !entry.retiring) {
            self.enter(Caller::Connection(key), function, None);
            return;
        }
        // While its body arrived, its version was retired.
        let length = exchange.body(&connection.input, connection.body.as_deref()).len();
        let head = parse_head(&connection.input, &mut self.scratch.table, &mut Progress::default());
        let Ok(Some(head)) = head else { unreachable!("this head was parsed before") };
        let target = match self.routing.router.resolve(head.method, head.host, head.path) {
            Ok(Route::Function(target)) => target,
            Ok(Route::System(_) | Route::Server) => unreachable!("this is no path of a function's"),
            Err(nothing) => {
                self.answer_no_route(key, &nothing);
                return;
            }
        };
        let limit = self.functions.get(target.function).map_or(0, |entry| entry.profile.max_request);
        if let Some(exchange) = &mut connection.exchange {
            (exchange.function, exchange.route) = (target.function, target.route);
        }
        if length as u64 > limit {
            self.answer_outcome(key, &Outcome::RequestTooLarge { limit }, true);
        } else {
            self.enter(Caller::Connection(key), target.function, None);
        }
    }

    /// The version that has taken over from one that was retired, for a request of another shard with a body of
    /// this length.
    pub(super) fn successor(&self, retired: u32, body: usize) -> Result<u32, Outcome> {
        let name = self.functions.name(retired).ok_or(Outcome::NoSuchFunction)?;
        let key = *self.routing.present.get(name).ok_or(Outcome::NoSuchFunction)?;
        let entry = self.functions.get(key).ok_or(Outcome::NoSuchFunction)?;
        let limit = entry.profile.max_request;
        if body as u64 > limit { Err(Outcome::RequestTooLarge { limit }) } else { Ok(key) }
    }

    /// Gives a request to a worker of a function that is known, or lets it wait for one: in the place that it has, if it
    /// comes from another shard where it has waited.
    pub(super) fn enter(&mut self, caller: Caller, function: u32, place: Option<Place>) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        match &entry.status {
            Status::Failed(reason) => {
                let outcome = Outcome::InitFailed { reason: Arc::clone(reason) };
                self.answer_caller(caller, &outcome);
                return;
            }
            Status::Asleep | Status::Loading | Status::Ready => {}
        }
        // Nobody overtakes those who wait.
        if entry.queue.is_empty() {
            if self.post(caller) {
                return;
            }
            if let Caller::Connection(key) = caller
                && let Some(to) = self.elsewhere(function)
            {
                self.hand_over(key, function, to, None);
                return;
            }
        }
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        if let Some(reason) = entry.held_for(now).map(Arc::clone) {
            self.answer_caller(caller, &Outcome::InitFailed { reason });
            return;
        }
        let admitted = place.is_some();
        let may_wait = patience(entry, now) - now;
        let place = match place.map_or_else(|| entry.admit(may_wait), |place| Ok(place.of(&entry.version))) {
            Ok(place) => place,
            Err(outcome) => {
                self.answer_caller(caller, &outcome);
                return;
            }
        };
        let Some(exchange) = self.exchange(caller) else { return };
        if !admitted {
            exchange.stamps.queued = now;
        }
        let since = exchange.stamps.queued;
        let Some(entry) = self.functions.get_mut(function) else { return };
        entry.queue.push_back(caller, since, place);
        self.rouse(function);
        self.let_wait(caller, function, since);
        self.pass_on(function);
        self.want_workers(function);
    }

    /// A caller waits from now on, and has done so since then.
    fn let_wait(&mut self, caller: Caller, function: u32, since: u64) {
        let Some(entry) = self.functions.get(function) else { return };
        let until = patience(entry, since);
        match caller {
            Caller::Connection(key) => {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.phase = Phase::Queued;
                }
                self.set_deadline_at(key, until);
            }
            Caller::Parcel(key) => self.parcel_waits(key, until),
        }
    }

    /// Whether a caller in a queue is still there.
    pub(super) fn waits(&mut self, caller: Caller) -> bool {
        match caller {
            Caller::Connection(key) => {
                self.connections.get_mut(key).is_some_and(|c| c.phase == Phase::Queued)
            }
            Caller::Parcel(key) => self.parcels.exchange(key).is_some(),
        }
    }

    /// What is known of a caller's request.
    pub(super) fn exchange(&mut self, caller: Caller) -> Option<&mut Exchange> {
        match caller {
            Caller::Connection(key) => self.connections.get_mut(key)?.exchange.as_mut(),
            Caller::Parcel(key) => self.parcels.exchange(key),
        }
    }

    /// Posts the request of a caller to a free worker. False if there is none.
    fn post(&mut self, caller: Caller) -> bool {
        let key = match caller {
            Caller::Connection(key) => key,
            Caller::Parcel(key) => {
                return self.begin_parcel(key).unwrap_or_else(|| self.post_of_parcel(key));
            }
        };
        let Self { connections, functions, scratch, now, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return true };
        let Some(exchange) = &mut connection.exchange else { return true };
        let Some(function) = functions.get_mut(exchange.function) else { return true };
        // Parsed once more rather than kept: the slices of a head cannot outlive a move of the input, and
        // this is cheaper than copying them.
        let head = parse_head(&connection.input, &mut scratch.table, &mut Progress::default());
        let Ok(Some(head)) = head else { unreachable!("this head was parsed before") };
        let content = exchange.content(&connection.input, connection.body.as_deref());
        if content.bytes.len() > LARGE_PAYLOAD {
            let route = function.profile.route(exchange);
            let request = Request::new(&head, content, route, &mut scratch.encoded);
            let Some(begun) = function.begin(&request, &exchange.id, *now) else { return false };
            exchange.timed = request.timed;
            exchange.stamps.dispatched = *now;
            exchange.start = function.start_of(begun.worker.slot, exchange.stamps.queued);
            let function = function.key;
            connection.phase = Phase::Posting;
            let body = connection.body.as_mut().map(|body| body.lend());
            let Some(body) = body else { unreachable!("a large body has a buffer of its own") };
            self.clear_deadline(key);
            self.post_large(caller, function, begun, body);
            return true;
        }
        let dispatch = function.post_head(&head, content, exchange, caller, *now, &mut scratch.encoded);
        let Dispatch::Posted { slot, wake, timed } = dispatch else { return false };
        exchange.stamps.dispatched = *now;
        exchange.timed = timed;
        exchange.start = function.start_of(slot, exchange.stamps.queued);
        connection.phase = Phase::Invoked;
        let index = function.key;
        self.clear_deadline(key);
        self.posted(index, slot, wake);
        true
    }

    fn post_of_parcel(&mut self, key: Key) -> bool {
        match self.post_parcel(key) {
            Some((function, Dispatch::Posted { slot, wake, .. })) => {
                self.posted(function, slot, wake);
                true
            }
            Some((_, Dispatch::Wait)) => false,
            None => true,
        }
    }

    /// A worker has one more invocation.
    pub(super) fn posted(&mut self, function: u32, slot: u16, wake: bool) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        if entry.one_more(self.now) {
            self.wanting.push(function);
        }
        let Some(live) = entry.worker(slot) else { return };
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
    pub(super) fn arm_worker(&mut self, function: u32, slot: u16) {
        let Self { functions, wheel, .. } = self;
        let Some(live) = functions.get_mut(function).and_then(|f| f.worker(slot)) else { return };
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

    /// Nobody must look at the worker any more: its timer would only end the shard's sleep.
    fn disarm_worker(&mut self, function: u32, slot: u16) {
        let Self { functions, wheel, .. } = self;
        let Some(live) = functions.get_mut(function).and_then(|f| f.worker(slot)) else { return };
        if live.look_at() == u64::MAX
            && let Some((timer, _)) = live.timer.take()
        {
            wheel.cancel(timer);
        }
    }

    // ---- replies -----------------------------------------------------------------------------

    /// Asks every busy worker to ring; returns whether one has replied already.
    pub(super) fn listen_to_workers(&mut self) -> bool {
        let Self { functions, busy, ring, .. } = self;
        let mut replied = false;
        for &(function, slot) in &*busy {
            let Some(live) = functions.get_mut(function).and_then(|f| f.worker(slot)) else {
                continue;
            };
            if live.reading {
                continue;
            }
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
        let live = self.functions.get_mut(function).and_then(|f| f.worker_of(slot, key.generation));
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
            let live = self.functions.get_mut(function).and_then(|f| f.worker(slot));
            match live {
                Some(live) if !live.flights.is_empty() && live.killed_for.is_none() => {
                    live.channel.unlisten();
                    at += 1;
                }
                Some(live) => {
                    live.listed = false;
                    let idle = live.killed_for.is_none();
                    let (id, demoted, due) = (live.id, live.demoted, live.meter.may_be_read(self.now));
                    self.busy.swap_remove(at);
                    match self.functions.get_mut(function) {
                        // It could not be restored, or has ended: another is started in its place.
                        Some(entry) if idle && demoted => entry.end(id, self.now),
                        Some(entry) if idle && due => {
                            entry.read_clock(slot, self.now);
                            self.disarm_worker(function, slot);
                        }
                        Some(_) | None => {}
                    }
                }
                None => {
                    self.busy.swap_remove(at);
                }
            }
        }
    }

    /// Takes one reply of one worker, if there is one.
    pub(super) fn take_reply(&mut self, function: u32, slot: u16) -> bool {
        let Self { functions, connections, parcels, now, date, draining, .. } = self;
        let Some(entry) = functions.get_mut(function) else { return false };
        let limit = entry.profile.max_response;
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker(slot) else { return false };
        if live.killed_for.is_some() || live.reading {
            return false;
        }
        let mut large = None;
        let (id, flight) = (live.id, live.flights.front().copied());
        // The answer to a parcel, which is sent on as bytes.
        let mut bytes = Vec::new();
        let (length, times);
        let outcome = match (live.channel.take_reply(), flight) {
            (Ok(None), _) | (_, None) => return false,
            (Err(ProtocolViolation(what)), Some(_)) => {
                self.fail_worker(function, slot, Outcome::ProtocolViolation { what });
                return false;
            }
            (Ok(Some(reply)), Some(flight)) => {
                (length, times) = (reply.body.len() as u64, reply.times);
                let to = match flight.caller {
                    Caller::Connection(key) => connections.get_mut(key).and_then(|connection| {
                        let Connection { exchange, output, .. } = connection;
                        Some((exchange.as_ref()?, output))
                    }),
                    Caller::Parcel(key) => parcels.exchange(key).map(|exchange| {
                        exchange.keep_alive &= !*draining;
                        (&*exchange, &mut bytes)
                    }),
                };
                match (reply.kind, to) {
                    (ReplyKind::FunctionError(code), _) => Outcome::FunctionError { code },
                    (ReplyKind::TooLarge, _) => Outcome::ResponseTooLarge { limit },
                    (ReplyKind::Response { .. }, None) => Outcome::ClientGone,
                    (ReplyKind::Response { status }, Some((exchange, output))) => {
                        let before = output.len();
                        let timing =
                            if exchange.timed { exchange.stamps.timing(reply.times, *now) } else { None };
                        let timing = timing.as_ref().map(|text| (&b"server-timing"[..], text.as_bytes()));
                        let written = write_response(
                            output,
                            status,
                            reply.headers.chain(timing),
                            reply.trailers,
                            &exchange.id,
                            exchange.framing(date),
                            reply.body.len() as u64,
                        );
                        match written {
                            Ok(Follows { body: true, tail }) if let Some(span) = reply.body.large() => {
                                let bytes = std::mem::take(output);
                                let response = Response { status, length, times, bytes };
                                large = Some((Unfinished { response, before, tail }, span));
                                Outcome::Completed { status }
                            }
                            Ok(Follows { body, tail }) => {
                                if body {
                                    reply.body.copy_to(output);
                                }
                                output.extend_from_slice(&tail);
                                Outcome::Completed { status }
                            }
                            Err(bad) => Outcome::ProtocolViolation { what: bad.what() },
                        }
                    }
                }
            }
        };
        if let Outcome::ProtocolViolation { .. } = outcome {
            self.fail_worker(function, slot, outcome);
            return false;
        }
        let holder = Holder { function, worker: id };
        if let (Some((answer, span)), Some(flight)) = (large, flight) {
            self.take_large(holder, flight.caller, answer, span);
            return false;
        }
        let unread = self.leave_unread(holder);
        if !unread {
            self.clear_request(holder);
        }
        let Self { functions, now, .. } = self;
        let Some(entry) = functions.get_mut(function) else { return false };
        let Some(live) = entry.worker(slot) else { return false };
        if !unread {
            live.channel.done_with_reply();
        }
        let (flight, served) = live.first_ended(*now, timeout);
        let more = !live.flights.is_empty();
        entry.served(served);
        if !unread {
            self.release(function, id);
            if more {
                self.arm_worker(function, slot);
            }
        }
        match (flight.map(|flight| flight.caller), outcome) {
            (None, _) => {}
            (Some(Caller::Connection(key)), Outcome::Completed { status }) => {
                self.record(key, Said::Response { status, length, times });
                self.answered(key);
            }
            (Some(Caller::Parcel(key)), Outcome::Completed { status }) => {
                self.return_parcel(key, Ok(Response { status, length, times, bytes }));
            }
            (Some(caller), other) => self.answer_caller(caller, &other),
        }
        self.serve_queue(function);
        !unread
    }

    /// Answers a request with an outcome that is no response.
    pub(super) fn answer_caller(&mut self, caller: Caller, outcome: &Outcome) {
        match caller {
            Caller::Connection(key) => self.answer_outcome(key, outcome, true),
            Caller::Parcel(key) => self.return_parcel(key, Err(outcome.clone())),
        }
    }

    /// The worker is not to be believed any more: it is killed, and whom it served hears why.
    pub(super) fn fail_worker(&mut self, function: u32, slot: u16, why: Outcome) {
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        let Some(live) = entry.worker(slot) else { return };
        let id = live.id;
        // From here on it begins nothing more, so that what it has not begun can be given to others.
        let _ = live.channel.revoke();
        if let Some(first) = live.flights.front() {
            live.meter.ends(first.invocation, now);
        }
        entry.read_clock(slot, now);
        let Some(live) = entry.worker(slot) else { return };
        live.kill(why.clone());
        live.deadline = u64::MAX;
        let flights: Vec<Flight> = live.flights.drain(..).collect();
        let begun = live.channel.begun();
        entry.drain(id);
        self.end_flights(function, flights, begun, &why);
    }

    /// The first of the flights was under way; of the others, those that were not begun wait again. So do those that
    /// may be tried once more.
    pub(super) fn end_flights(&mut self, function: u32, flights: Vec<Flight>, begun: u32, why: &Outcome) {
        let again = why.may_be_chance() && self.functions.get(function).is_some_and(|f| f.profile.idempotent);
        let mut waiting = Vec::new();
        for (place, flight) in flights.into_iter().enumerate() {
            let ended = place == 0 || was_begun(begun, &flight);
            let again = ended && again && self.is_tried_again(flight.caller);
            let entry = self.functions.get(function);
            if !ended || again {
                if let Some(entry) = entry.filter(|_| again && place == 0) {
                    entry.told_again(&flight);
                }
                waiting.push(flight);
                continue;
            }
            if let Some(entry) = entry.filter(|_| place > 0) {
                entry.never_first(&flight);
            }
            self.answer_caller(flight.caller, why);
        }
        self.wait_again(function, waiting);
        self.serve_queue(function);
    }

    /// Whether a caller's request, which a worker had, may be given to another; from then on it may not. It waits as
    /// one that has just come.
    fn is_tried_again(&mut self, caller: Caller) -> bool {
        let now = self.now;
        let Some(exchange) = self.exchange(caller).filter(|exchange| !exchange.retried) else { return false };
        exchange.retried = true;
        exchange.stamps.queued = now;
        true
    }

    /// Puts requests that no worker has begun back to where they came from: the head of the queue. They may
    /// wait as long as a request may, counted from when they were first ready.
    pub(super) fn wait_again(&mut self, function: u32, flights: Vec<Flight>) {
        for Flight { caller, .. } in flights.into_iter().rev() {
            let Some(exchange) = self.exchange(caller) else { continue };
            if exchange.stamps.queued == 0 {
                exchange.stamps.queued = exchange.stamps.dispatched;
            }
            exchange.stamps.dispatched = 0;
            let since = exchange.stamps.queued;
            let Some(entry) = self.functions.get_mut(function) else { return };
            // They were admitted before.
            let place = Place::beyond(&entry.version);
            entry.queue.push_front(caller, since, place);
            self.let_wait(caller, function, since);
        }
    }

    /// Gives free workers to those who wait.
    pub(super) fn serve_queue(&mut self, function: u32) {
        loop {
            let Some(entry) = self.functions.get_mut(function) else { return };
            let Some((caller, _)) = entry.queue.front() else { return };
            if self.waits(caller) && !self.post(caller) {
                self.want_workers(function);
                return;
            }
            self.functions.get_mut(function).and_then(|entry| entry.queue.pop_front());
        }
    }

    /// Whether a caller whose time to wait is over may wait some more, because the workers that it would have been
    /// given have gone, and others start. If so, it does.
    pub(super) fn has_patience(&mut self, caller: Caller, function: u32) -> bool {
        let Some(entry) = self.functions.get(function) else { return false };
        let Some(since) = entry.queue.since(caller) else { return false };
        let more = patience(entry, since) > self.now;
        if more {
            self.let_wait(caller, function, since);
        }
        more
    }

    /// A request has waited for a worker as long as it may.
    pub(super) fn waited_too_long(&mut self, key: Key) {
        let function = self.connections.get_mut(key).and_then(|c| c.exchange.as_ref()).map(|e| e.function);
        if function.is_some_and(|function| self.has_patience(Caller::Connection(key), function)) {
            return;
        }
        let entry = function.and_then(|function| self.functions.get_mut(function));
        let outcome = entry.map_or(Outcome::NoSuchFunction, |entry| {
            entry.queue.remove(Caller::Connection(key));
            entry.waited_in_vain()
        });
        self.answer_outcome(key, &outcome, true);
    }
}

/// Whether a worker that says it has begun the requests up to `begun` has begun this one. Sequence numbers
/// wrap; their difference does not.
pub(super) fn was_begun(begun: u32, flight: &Flight) -> bool {
    begun.wrapping_sub(flight.sequence).cast_signed() >= 0
}
