//! A client's connection: its bytes in and out, and the request under way.

use std::os::fd::OwnedFd;

use hairtrigger_sandbox::limits::{MAX_CONNECTIONS, MIN_TRANSFER_RATE, SKIPPED_BODY};

use super::Door;
use super::body::Body;
use super::chunked::{Decoded, Decoder};
use super::claim::Claim;
use super::exchange::Exchange;
use super::parse::{BodyLength, Progress};
use super::ring::Key;
use super::wheel::TimerId;

/// Buffers beyond this are given back to the allocator once they are empty, in bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Where a connection stands. Times are the wheel's: monotonic, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests, or in the middle of a head.
    Head,
    /// The head is there, the body is not.
    Body,
    /// The request waits for a worker.
    Queued,
    /// A worker is reserved for it; its body is being written into that worker's channel.
    Posting,
    /// A worker has it.
    Invoked,
    /// The last answer is on its way.
    Flushing,
    /// Everything is sent and the write side closed; what still comes in is thrown away, so that the
    /// answer is not lost to a reset.
    Lingering,
    /// Shut down; waits for the kernel's last word on it.
    Closed,
}

/// What the kernel receives for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Nothing.
    No,
    /// Whatever comes, into the shard's buffers.
    Any,
    /// As before, but it has been told to stop.
    Stopping,
    /// A part of a body, into that body's buffer.
    Direct,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) fd: OwnedFd,
    /// By which it came in.
    pub(crate) door: Door,
    pub(crate) phase: Phase,
    /// Received and not yet done with; begins with the request under way.
    pub(crate) input: Vec<u8>,
    /// The body of the request under way, if it is not in `input`. While [`Receive::Direct`] the kernel writes
    /// to it: then it must neither grow nor go.
    pub(crate) body: Option<Box<Body>>,
    /// Bytes of a body that nobody wants, which are still to come.
    pub(crate) skip: u64,
    pub(crate) progress: Progress,
    /// Not yet handed to the kernel.
    pub(crate) output: Vec<u8>,
    /// Handed to the kernel; must not move until it is done with them.
    pub(crate) sending: Vec<u8>,
    /// How many of `sending` are sent.
    pub(crate) sent: usize,
    pub(crate) receive: Receive,
    pub(crate) send_armed: bool,
    /// Not read from, because it is too far ahead.
    pub(crate) paused: bool,
    /// The client has said that nothing more comes.
    pub(crate) ended: bool,
    pub(crate) exchange: Option<Exchange>,
    /// Of a request that was handed over to another shard.
    pub(crate) away: Option<Claim>,
    /// When the phase has lasted too long; `u64::MAX` for never.
    pub(crate) deadline: u64,
    /// When the kernel has had the output for too long; `u64::MAX` for never. Apart from the other, since
    /// the next request may be under way while the client does not read.
    pub(crate) write_deadline: u64,
    /// For how many of the bytes sent that has been put off.
    pub(crate) write_credited: usize,
    /// What it counts for in the shard's sum of unsent output, in bytes.
    pub(crate) counted_output: usize,
    /// The timer in the wheel, and when it fires: at or before both deadlines.
    pub(crate) timer: Option<(TimerId, u64)>,
    /// When the first byte of the request under way came.
    pub(crate) received_at: u64,
}

impl Connection {
    fn new(fd: OwnedFd, door: Door) -> Self {
        Self {
            fd,
            door,
            phase: Phase::Head,
            input: Vec::new(),
            body: None,
            skip: 0,
            progress: Progress::default(),
            output: Vec::new(),
            sending: Vec::new(),
            sent: 0,
            receive: Receive::No,
            send_armed: false,
            paused: false,
            ended: false,
            exchange: None,
            away: None,
            deadline: u64::MAX,
            write_deadline: u64::MAX,
            write_credited: 0,
            counted_output: 0,
            timer: None,
            received_at: 0,
        }
    }

    /// Forgets the first `length` bytes of input.
    pub(crate) fn consume(&mut self, length: usize) {
        if length >= self.input.len() {
            self.input.clear();
        } else {
            self.input.drain(..length);
        }
        self.progress = Progress::default();
    }

    /// Nobody wants the body of a request that is answered without it. What is here of it goes with the request;
    /// if no more than `spare` bytes are still to come, they are thrown away when they do; before more than that,
    /// or what nobody knows the length of, the connection ends.
    pub(crate) fn decline_body(&mut self, exchange: &mut Exchange, body: BodyLength, spare: u64) {
        let here = &self.input[exchange.head..];
        let (taken, missing) = match body.known() {
            Some(length) => {
                let taken = usize::try_from(length).unwrap_or(usize::MAX).min(here.len());
                (taken, length - taken as u64)
            }
            None => match Decoder::default().decode(here, &mut Vec::new(), SKIPPED_BODY) {
                Ok(Decoded { consumed, done: true }) => (consumed, 0),
                Ok(Decoded { done: false, .. }) | Err(_) => (here.len(), u64::MAX),
            },
        };
        exchange.length = exchange.head + taken;
        if missing <= spare {
            self.skip = missing;
        } else {
            exchange.keep_alive = false;
        }
    }

    /// Puts deadlines that have come off by what has moved since they were set.
    pub(crate) fn credit(&mut self, now: u64) {
        if self.write_deadline <= now {
            let moved = self.sent - self.write_credited;
            self.write_deadline = self.write_deadline.saturating_add(grace(moved as u64));
            self.write_credited = self.sent;
        }
        if let (true, Phase::Body, Some(exchange)) = (self.deadline <= now, self.phase, &mut self.exchange) {
            self.deadline = self.deadline.saturating_add(grace(exchange.counted - exchange.credited));
            exchange.credited = exchange.counted;
        }
    }

    /// Forgets the request under way; returns what it counted for in the shard's sum of bodies, and the body's
    /// buffer.
    pub(crate) fn end_exchange(&mut self) -> (u64, Vec<u8>) {
        let body = if self.receive == Receive::Direct { None } else { self.body.take() };
        let buffer = body.map(|mut body| body.lend()).unwrap_or_default();
        (self.exchange.take().map_or(0, |exchange| exchange.counted), buffer)
    }

    /// When somebody must look at it.
    pub(crate) fn look_at(&self) -> u64 {
        self.deadline.min(self.write_deadline)
    }

    /// Unsent output, in bytes.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len() + self.sending.len()
    }

    /// Everything handed to the kernel is sent. Returns the buffer if it is too long to be kept.
    pub(crate) fn all_sent(&mut self) -> Vec<u8> {
        self.sending.clear();
        self.sent = 0;
        self.write_deadline = u64::MAX;
        if self.sending.capacity() > KEPT_CAPACITY { std::mem::take(&mut self.sending) } else { Vec::new() }
    }
}

/// For how long so many bytes excuse a client, in nanoseconds.
fn grace(bytes: u64) -> u64 {
    bytes.saturating_mul(1_000_000_000) / MIN_TRANSFER_RATE
}

/// The connections of a shard, by index and generation.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    places: Vec<Place>,
    free: Vec<u32>,
    /// Empty buffers, for connections that have something to put into them. Idle ones have none.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// Buffers kept for connections that will need them.
const SPARE: usize = 512;

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a connection in; `None`, and it is closed, if there are `most` already.
    pub(crate) fn insert(&mut self, fd: OwnedFd, door: Door, most: usize) -> Option<Key> {
        // Asked before a place is taken: one taken and not used would be lost for ever.
        if self.len() >= most {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < MAX_CONNECTIONS => {
                self.places.push(Place::default());
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let place = &mut self.places[index as usize];
        place.connection = Some(Box::new(Connection::new(fd, door)));
        Some(Key::new(index, place.generation))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        let place = self.places.get_mut(key.index as usize)?;
        if Key::new(key.index, place.generation) == key { place.connection.as_deref_mut() } else { None }
    }

    /// The connection, with buffers for what it receives and sends.
    pub(crate) fn equipped(&mut self, key: Key) -> Option<&mut Connection> {
        let Self { places, spare, .. } = self;
        let place = places.get_mut(key.index as usize)?;
        if Key::new(key.index, place.generation) != key {
            return None;
        }
        let connection = place.connection.as_deref_mut()?;
        for buffer in [&mut connection.input, &mut connection.output] {
            if buffer.capacity() == 0 {
                *buffer = spare.pop().unwrap_or_default();
            }
        }
        Some(connection)
    }

    /// Takes the buffers from a connection that has nothing in them.
    pub(crate) fn rest(&mut self, key: Key) {
        let Self { places, spare, .. } = self;
        let Some(place) = places.get_mut(key.index as usize) else { return };
        if let (true, Some(connection)) =
            (Key::new(key.index, place.generation) == key, place.connection.as_deref_mut())
        {
            give_back(spare, connection);
        }
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(key.index as usize) else { return };
        if Key::new(key.index, place.generation) != key {
            return;
        }
        let Some(mut connection) = place.connection.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        for buffer in [&mut connection.input, &mut connection.output, &mut connection.sending] {
            buffer.clear();
        }
        give_back(&mut self.spare, &mut connection);
    }

    /// Every connection there is.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| place.connection.is_some());
        taken.filter_map(|(i, place)| Some(Key::new(u32::try_from(i).ok()?, place.generation))).collect()
    }
}

/// Puts the empty ones of a connection's buffers with the spare ones.
fn give_back(spare: &mut Vec<Vec<u8>>, connection: &mut Connection) {
    for buffer in [&mut connection.input, &mut connection.output, &mut connection.sending] {
        if !buffer.is_empty() || buffer.capacity() == 0 {
            continue;
        }
        let buffer = std::mem::take(buffer);
        if buffer.capacity() <= KEPT_CAPACITY && spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Stamps;
    use super::super::record::Start;
    use super::*;

    fn connection() -> Connection {
        Connection::new(std::fs::File::open("/dev/null").expect("it is there").into(), Door::Tcp)
    }

    fn exchange() -> Exchange {
        Exchange {
            function: 0,
            route: 0,
            id: [b'0'; 32],
            head: 10,
            length: 10,
            counted: 0,
            credited: 0,
            keep_alive: true,
            http10: false,
            head_only: false,
            prefers_text: false,
            timed: false,
            start: Start::Warm,
            takes_trailers: false,
            retried: false,
            stamps: Stamps::default(),
        }
    }

    #[test]
    fn a_body_that_is_not_whole_is_what_is_there_of_it() {
        let exchange = Exchange { length: 20, ..exchange() };
        assert_eq!(exchange.body(b"0123456789abc", None), b"abc");
        assert_eq!(exchange.body(b"0123456789abcdefghijGET /", None), b"abcdefghij");
    }

    #[test]
    fn what_has_moved_puts_a_deadline_off_once() {
        const SECOND: u64 = 1_000_000_000;
        let mut connection = connection();
        connection.phase = Phase::Body;
        connection.exchange = Some(Exchange { counted: 3 * MIN_TRANSFER_RATE, ..exchange() });
        (connection.deadline, connection.write_deadline) = (60 * SECOND, u64::MAX);
        connection.credit(59 * SECOND);
        assert_eq!(connection.deadline, 60 * SECOND, "it is not yet due");
        connection.credit(60 * SECOND);
        assert_eq!(connection.look_at(), 63 * SECOND);
        connection.credit(63 * SECOND);
        assert_eq!(connection.look_at(), 63 * SECOND, "nothing has moved since");

        // The other direction has a deadline of its own.
        connection.write_deadline = 70 * SECOND;
        connection.sent = usize::try_from(2 * MIN_TRANSFER_RATE).expect("it is small");
        connection.credit(71 * SECOND);
        assert_eq!((connection.deadline, connection.write_deadline), (63 * SECOND, 72 * SECOND));
        connection.credit(72 * SECOND);
        assert_eq!(connection.write_deadline, 72 * SECOND);
    }

    #[test]
    fn a_body_that_nobody_wants_is_thrown_away_if_it_is_small() {
        let declined = |input: usize, length: u64, spare: u64| {
            let (mut connection, mut exchange) = (connection(), exchange());
            connection.input = vec![b'x'; input];
            connection.decline_body(&mut exchange, BodyLength::Length(length), spare);
            (exchange.length, connection.skip, exchange.keep_alive)
        };
        assert_eq!(declined(10, 0, 0), (10, 0, true), "there is none");
        assert_eq!(declined(30, 5, 0), (15, 0, true), "it is here, and so is the next request");
        assert_eq!(declined(12, 5, 3), (12, 3, true), "the rest may come");
        assert_eq!(declined(12, 5, 2), (12, 0, false), "the rest is too long");
        assert_eq!(declined(12, u64::MAX, 2), (12, 0, false));
    }

    #[test]
    fn so_is_a_chunked_one_if_it_is_here() {
        let declined = |input: &[u8]| {
            let (mut connection, mut exchange) = (connection(), exchange());
            connection.input = [b"0123456789", input].concat();
            connection.decline_body(&mut exchange, BodyLength::Chunked, SKIPPED_BODY);
            (exchange.length, connection.skip, exchange.keep_alive)
        };
        assert_eq!(declined(b"1\r\na\r\n0\r\n\r\nGET"), (21, 0, true));
        assert!(!declined(b"1\r\na\r\n0\r\n").2);
        assert!(!declined(b"x").2);
    }

    #[test]
    fn who_is_turned_away_takes_no_place() {
        let mut connections = Connections::default();
        let fd = || std::fs::File::open("/dev/null").expect("it is there").into();
        let keys = [(); 2].map(|()| connections.insert(fd(), Door::Tcp, 2).expect("there is room"));
        connections.remove(keys[0]);
        for _ in 0..5 {
            assert_eq!(connections.len(), 1);
            let last = connections.insert(fd(), Door::Tcp, 2).expect("the place that has become free");
            assert!(connections.insert(fd(), Door::Tcp, 2).is_none() && connections.len() == 2);
            // The bound may sink below what is there.
            connections.remove(last);
            assert!(connections.insert(fd(), Door::Tcp, 1).is_none());
        }
        connections.remove(keys[1]);
        assert_eq!((connections.len(), connections.keys().len()), (0, 0));
    }

    #[test]
    fn a_connection_that_rests_has_no_buffers() {
        let mut connections = Connections::default();
        let fd = || std::fs::File::open("/dev/null").expect("it is there").into();
        let key = connections.insert(fd(), Door::Tcp, 2).expect("there is room");
        let connection = connections.equipped(key).expect("it is there");
        connection.input.extend_from_slice(b"abc");
        connection.output.reserve(1000);
        connection.sending = Vec::with_capacity(KEPT_CAPACITY + 1);
        connections.rest(key);
        let connection = connections.get_mut(key).expect("it is there");
        assert_eq!((&*connection.input, connection.output.capacity()), (&b"abc"[..], 0));
        assert_eq!((connection.sending.capacity(), connections.spare.len()), (0, 1), "a long one is freed");
        let other = connections.insert(fd(), Door::Tcp, 2).expect("there is room");
        let connection = connections.equipped(other).expect("it is there");
        assert!(connection.input.capacity() >= 1000 && connection.input.is_empty());
    }
}
