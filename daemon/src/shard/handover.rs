//! Invocations between shards: one that has no worker hands a request over to one that has, as a message, and
//! gets the answer back as another.

use hairtrigger_sandbox::limits::{INIT_TIMEOUT, LARGE_PAYLOAD, MAX_HANDS, WORKER_START_TIMEOUT};

use super::claim::Claim;
use super::connection::{Phase, Receive};
use super::exchange::Exchange;
use super::function::{Dispatch, Function, Status};
use super::inbox::ToShard;
use super::live::Caller;
use super::parse::{Progress, parse_head};
use super::queue::Place;
use super::record::Said;
use super::request::Request;
use super::ring::Key;
use super::wheel::TimerId;
use super::{Alarm, Shard, nanoseconds};
use crate::outcome::Outcome;

/// An invocation on its way to another shard.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The shard that has the connection, and waits for the answer.
    from: u16,
    connection: Key,
    /// What that shard knows of the request.
    exchange: Exchange,
    /// The version that is to serve it: at first the exchange's.
    function: u32,
    /// Method, path, query, and encoded header fields, one behind the other; and where the first three end.
    head: Vec<u8>,
    ends: [usize; 3],
    header_count: u32,
    trailer_count: u32,
    timed: bool,
    body: Vec<u8>,
    /// Its place in the queue, if it has waited for a worker already.
    place: Option<Place>,
    /// Whether it may still be begun.
    claim: Claim,
    /// Shards that have had it.
    hands: u8,
    /// The timer that ends its wait for a worker.
    timer: Option<TimerId>,
}

/// What became of a parcel.
#[derive(Debug)]
pub(crate) struct Answer {
    connection: Key,
    /// As it was sent, with the stamps of the shard that served it.
    exchange: Exchange,
    /// The response, or why there is none.
    result: Result<Response, Outcome>,
}

/// A function's response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Its body's length, in bytes.
    pub(super) length: u64,
    /// When the function began and returned, as its worker says.
    pub(super) times: (u64, u64),
    /// The whole answer as the client gets it.
    pub(super) bytes: Vec<u8>,
}

impl Parcel {
    fn request(&self) -> Request<'_> {
        let [method, path, query] = self.ends;
        Request {
            method: &self.head[..method],
            path: &self.head[method..path],
            query: &self.head[path..query],
            headers: &self.head[query..],
            header_count: self.header_count,
            trailer_count: self.trailer_count,
            body: &self.body,
            timed: self.timed,
        }
    }
}

/// The parcels that a shard has from others.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    places: Vec<(u32, Option<Box<Parcel>>)>,
    free: Vec<u32>,
}

impl Parcels {
    fn insert(&mut self, parcel: Box<Parcel>) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            // Each is a connection of some shard, of which there are fewer.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let (generation, place) = &mut self.places[index as usize];
        *place = Some(parcel);
        Key::new(index, *generation)
    }

    fn get_mut(&mut self, key: Key) -> Option<&mut Parcel> {
        let (generation, parcel) = self.places.get_mut(key.index as usize)?;
        if Key::new(key.index, *generation) == key { parcel.as_deref_mut() } else { None }
    }

    /// Gives a body back to its parcel; or to the caller, if there is no such parcel.
    pub(super) fn give_back(&mut self, key: Key, body: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.get_mut(key) {
            Some(parcel) => {
                parcel.body = body;
                Ok(())
            }
            None => Err(body),
        }
    }

    /// What is known of the request of a parcel that is here.
    pub(super) fn exchange(&mut self, key: Key) -> Option<&mut Exchange> {
        self.get_mut(key).map(|parcel| &mut parcel.exchange)
    }

    /// Forgets all of them: who sent them gives the answers.
    pub(super) fn clear(&mut self) {
        for index in 0..self.places.len() {
            let (generation, place) = &mut self.places[index];
            if place.take().is_some() {
                *generation = generation.wrapping_add(1);
                self.free.extend(u32::try_from(index));
            }
        }
    }

    fn remove(&mut self, key: Key) -> Option<Box<Parcel>> {
        self.get_mut(key)?;
        let (generation, place) = self.places.get_mut(key.index as usize)?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.index);
        place.take()
    }
}

impl Shard {
    // ---- the shard that has the connection -----------------------------------------------------

    /// The shard that is to have the next request for a function in this one's place, if there is one.
    pub(super) fn elsewhere(&mut self, function: u32) -> Option<u16> {
        let Self { functions, number, now, .. } = self;
        let entry = functions.get_mut(function)?;
        if !matches!(entry.status, Status::Ready) {
            return None;
        }
        entry.version.claim_idle(*number).or_else(|| {
            let forsaken = entry.staff() == 0 && !can_start(entry, *now);
            if forsaken { entry.version.staffed(*number) } else { None }
        })
    }

    /// Hands those who wait for a function's worker over to shards that have one.
    pub(super) fn pass_on(&mut self, function: u32) {
        loop {
            let Some(entry) = self.functions.get_mut(function) else { return };
            let Some((caller, _)) = entry.queue.front() else { return };
            if !self.waits(caller) {
                self.functions.get_mut(function).and_then(|entry| entry.queue.pop_front());
                continue;
            }
            if let Caller::Parcel(key) = caller {
                // It has come here for a worker; on it goes only if none will come, those that are here being busy
                // for who knows how long. Often it came for a worker that another request got first, while the one
                // that was started for it where it came from is idle there, and has the last permit.
                let entry = self.functions.get_mut(function);
                let in_vain = entry.is_some_and(|entry| !entry.expects_one() && !can_start(entry, self.now));
                let tired = self.parcels.get_mut(key).is_none_or(|parcel| parcel.hands >= MAX_HANDS);
                if !in_vain || tired {
                    return;
                }
            }
            let Some(to) = self.elsewhere(function) else { return };
            let place = self.functions.get_mut(function).and_then(|entry| entry.queue.pop_front());
            match caller {
                Caller::Connection(key) => self.hand_over(key, function, to, place),
                Caller::Parcel(key) => self.forward(key, to, place),
            }
        }
    }

    /// Gives the request of a connection to another shard, with the place in the queue that it has if it has waited.
    pub(super) fn hand_over(&mut self, key: Key, function: u32, to: u16, place: Option<Place>) {
        let Self { connections, functions, scratch, now, number, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = connection.exchange else { return };
        let Some(entry) = functions.get_mut(function) else { return };
        let head = parse_head(&connection.input, &mut scratch.table, &mut Progress::default());
        let Ok(Some(head)) = head else { unreachable!("this head was parsed before") };
        // A body with a buffer of its own goes as it is, unless the kernel still receives into that.
        let own = connection.body.take_if(|_| connection.receive != Receive::Direct);
        let content = exchange.content(&connection.input, own.as_deref().or(connection.body.as_deref()));
        let copied = if own.is_some() { Vec::new() } else { content.bytes.to_vec() };
        let request = Request::new(&head, content, entry.profile.route(&exchange), &mut scratch.encoded);
        let Request { method, path, query, headers, header_count, trailer_count, timed, .. } = request;
        let [method_end, path_end] = [method.len(), method.len() + path.len()];
        let ends = [method_end, path_end, path_end + query.len()];
        let head = [method, path, query, headers].concat();
        let body = own.map_or(copied, |body| body.into_bytes());
        let claim = Claim::default();
        let parcel = Box::new(Parcel {
            from: *number,
            connection: key,
            exchange,
            function,
            head,
            ends,
            header_count,
            trailer_count,
            timed,
            body,
            place,
            claim: claim.clone(),
            hands: 1,
            timer: None,
        });
        connection.phase = Phase::Invoked;
        connection.away = Some(claim);
        // What its body counts for goes with it, and comes back with the answer, also if the client does not wait.
        if let Some(exchange) = &mut connection.exchange {
            exchange.counted = 0;
        }
        let habit = entry.handed_over(*now);
        self.clear_deadline(key);
        self.send_parcel(to, parcel);
        if habit {
            if let Some(grants) = self.functions.get_mut(function).and_then(|entry| entry.grants.as_mut()) {
                grants.habit = true;
            }
            self.start_workers(function, 1);
        }
    }

    fn send_parcel(&self, to: u16, parcel: Box<Parcel>) {
        match self.peers.get(usize::from(to)) {
            Some(peer) => peer.tell(ToShard::Invoke(parcel)),
            None => unreachable!("a version knows no more shards than there are"),
        }
    }

    /// An answer came back. Nobody may be there to hear it.
    pub(super) fn take_answer(&mut self, answer: Answer) {
        let Answer { connection: key, exchange: returned, result } = answer;
        if let Some(entry) = self.functions.get_mut(returned.function) {
            entry.away -= 1;
        }
        let exchange = self.connections.get_mut(key).and_then(|connection| connection.exchange.as_mut());
        let Some(exchange) = exchange.filter(|exchange| exchange.id == returned.id) else {
            self.body_bytes -= returned.counted;
            return;
        };
        exchange.counted = returned.counted;
        (exchange.stamps, exchange.start) = (returned.stamps, returned.start);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.away = None;
        match result {
            Ok(Response { status, length, times, bytes }) => {
                if connection.output.is_empty() {
                    connection.output = bytes;
                } else {
                    connection.output.extend_from_slice(&bytes);
                }
                self.record(key, Said::Response { status, length, times });
                self.answered(key);
            }
            Err(outcome) => self.answer_outcome(key, &outcome, true),
        }
    }

    // ---- the shard that has the worker ---------------------------------------------------------

    /// A parcel came in.
    pub(super) fn take_parcel(&mut self, mut parcel: Box<Parcel>) {
        let known = self.functions.get(parcel.function).is_some_and(|entry| !entry.retiring);
        if !known {
            // Its version was retired while it was on its way.
            match self.successor(parcel.function, parcel.request().body.len()) {
                Ok(function) => parcel.function = function,
                Err(outcome) => {
                    self.send_back(*parcel, Err(outcome));
                    return;
                }
            }
        }
        let (function, place) = (parcel.function, parcel.place.take());
        let key = self.parcels.insert(parcel);
        self.enter(Caller::Parcel(key), function, place);
    }

    /// Has a parcel's request written into the channel of a free worker if it is large; `None` if it is not. False
    /// if there is no free worker.
    pub(super) fn begin_parcel(&mut self, key: Key) -> Option<bool> {
        let Self { functions, parcels, wheel, now, .. } = self;
        let parcel = parcels.get_mut(key).filter(|parcel| parcel.body.len() > LARGE_PAYLOAD)?;
        let function = parcel.function;
        let entry = functions.get_mut(function)?;
        let Some(beginning) = parcel.claim.begin() else {
            self.forget_parcel(key);
            return Some(true);
        };
        let Some(begun) = entry.begin(&parcel.request(), &parcel.exchange.id, *now) else {
            parcel.claim.put_back(beginning);
            return Some(false);
        };
        let exchange = &mut parcel.exchange;
        (exchange.timed, exchange.stamps.dispatched) = (parcel.timed, *now);
        exchange.start = entry.start_of(begun.worker.slot, exchange.stamps.queued);
        if let Some(timer) = parcel.timer.take() {
            wheel.cancel(timer);
        }
        let body = std::mem::take(&mut parcel.body);
        self.post_large(Caller::Parcel(key), function, begun, body);
        Some(true)
    }

    /// The shard that a parcel came from has given its request up, and answered it: nobody is to run it.
    fn forget_parcel(&mut self, key: Key) {
        self.return_parcel(key, Err(Outcome::ShuttingDown { begun: false }));
    }

    /// Posts a parcel's request to a free worker of its function; `None` if there is no such parcel, or nobody wants it any
    /// more.
    pub(super) fn post_parcel(&mut self, key: Key) -> Option<(u32, Dispatch)> {
        let Self { functions, parcels, wheel, now, .. } = self;
        let parcel = parcels.get_mut(key)?;
        let entry = functions.get_mut(parcel.function)?;
        let Some(beginning) = parcel.claim.begin() else {
            self.forget_parcel(key);
            return None;
        };
        let dispatch = entry.post(&parcel.request(), &parcel.exchange.id, Caller::Parcel(key), *now);
        if let Dispatch::Posted { slot, timed, .. } = dispatch {
            let exchange = &mut parcel.exchange;
            exchange.stamps.dispatched = *now;
            exchange.timed = timed;
            exchange.start = entry.start_of(slot, exchange.stamps.queued);
            if let Some(timer) = parcel.timer.take() {
                wheel.cancel(timer);
            }
        } else {
            parcel.claim.put_back(beginning);
        }
        Some((parcel.function, dispatch))
    }

    /// A parcel waits from now on, or once more, until then at most.
    pub(super) fn parcel_waits(&mut self, key: Key, until: u64) {
        let Self { parcels, wheel, .. } = self;
        let Some(parcel) = parcels.get_mut(key) else { return };
        if let Some(timer) = parcel.timer.take() {
            wheel.cancel(timer);
        }
        parcel.timer = Some(wheel.insert(until, Alarm::Parcel(key).pack()));
    }

    /// A parcel has waited for a worker as long as it may.
    pub(super) fn parcel_alarm(&mut self, key: Key) {
        let Some(parcel) = self.parcels.get_mut(key) else { return };
        parcel.timer = None;
        let function = parcel.function;
        if self.has_patience(Caller::Parcel(key), function) {
            return;
        }
        let outcome = self.functions.get_mut(function).map_or(Outcome::NoSuchFunction, |entry| {
            entry.queue.remove(Caller::Parcel(key));
            entry.waited_in_vain()
        });
        self.return_parcel(key, Err(outcome));
    }

    /// Gives a parcel's request to a third shard.
    fn forward(&mut self, key: Key, to: u16, place: Option<Place>) {
        let Some(mut parcel) = self.parcels.remove(key) else { return };
        if let Some(timer) = parcel.timer.take() {
            self.wheel.cancel(timer);
        }
        parcel.hands += 1;
        parcel.place = place;
        self.send_parcel(to, parcel);
    }

    /// Sends the answer to a parcel.
    pub(super) fn return_parcel(&mut self, key: Key, result: Result<Response, Outcome>) {
        let Some(mut parcel) = self.parcels.remove(key) else { return };
        if let Some(timer) = parcel.timer.take() {
            self.wheel.cancel(timer);
        }
        self.discard(std::mem::take(&mut parcel.body));
        self.send_back(*parcel, result);
    }

    fn send_back(&self, parcel: Parcel, result: Result<Response, Outcome>) {
        let Parcel { from, connection, exchange, .. } = parcel;
        if let Some(peer) = self.peers.get(usize::from(from)) {
            peer.tell(ToShard::Answer(Box::new(Answer { connection, exchange, result })));
        }
    }
}

/// Whether this shard may start a worker of a function now.
fn can_start(entry: &Function, now: u64) -> bool {
    entry.held_until <= now && entry.may_start(now)
}

/// How long an invocation that began to wait at `since` may wait, as a moment: as long as it may take. Where that is
/// short, and there is nobody yet who could serve it, as long as the start of a worker may take, and before that the load.
pub(super) fn patience(entry: &Function, since: u64) -> u64 {
    let time = entry.profile.timeout;
    let time = match entry.status {
        Status::Asleep | Status::Loading if entry.is_starting() => {
            time.max(INIT_TIMEOUT + WORKER_START_TIMEOUT)
        }
        _ if entry.is_starting() => time.max(WORKER_START_TIMEOUT),
        _ => time,
    };
    since.saturating_add(nanoseconds(time))
}
