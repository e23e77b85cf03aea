//! A client's connection: its bytes in and out, and the request under way.

use std::os::fd::OwnedFd;

use hairtrigger_sandbox::limits::MAX_CONNECTIONS;

use super::Door;
use super::parse::Progress;
use super::reply::{Framing, HttpDate, InvocationId};
use super::ring::Key;
use super::wheel::TimerId;

/// Buffers beyond this are given back once they are empty, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Where a connection stands. Times are the wheel's: monotonic, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests, or in the middle of a head.
    Head,
    /// The head is there, the body is not.
    Body,
    /// The request waits for a worker.
    Queued,
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

/// What is remembered of a request while it is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) function: u32,
    pub(crate) id: InvocationId,
    /// Length of head and body, in bytes.
    pub(crate) length: usize,
    pub(crate) body: u64,
    /// What it counts for in the shard's sum of bodies under way, in bytes.
    pub(crate) counted: u64,
    pub(crate) keep_alive: bool,
    pub(crate) http10: bool,
    pub(crate) head_only: bool,
    pub(crate) prefers_text: bool,
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
    pub(crate) fn framing<'d>(&self, date: &'d HttpDate) -> Framing<'d> {
        Framing {
            keep_alive: self.keep_alive,
            http10: self.http10,
            head_only: self.head_only,
            date: Some(date),
        }
    }
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
    pub(crate) progress: Progress,
    /// Not yet handed to the kernel.
    pub(crate) output: Vec<u8>,
    /// Handed to the kernel; must not move until it is done with them.
    pub(crate) sending: Vec<u8>,
    /// How many of `sending` are sent.
    pub(crate) sent: usize,
    pub(crate) receive_armed: bool,
    pub(crate) send_armed: bool,
    /// Not read from, because it is too far ahead.
    pub(crate) paused: bool,
    /// The client has said that nothing more comes.
    pub(crate) ended: bool,
    pub(crate) exchange: Option<Exchange>,
    /// When the phase has lasted too long; `u64::MAX` for never.
    pub(crate) deadline: u64,
    /// When the kernel has had the output for too long; `u64::MAX` for never. Apart from the other, since
    /// the next request may be under way while the client does not read.
    pub(crate) write_deadline: u64,
    /// What it counts for in the shard's sum of unsent output, in bytes.
    pub(crate) counted_output: usize,
    /// The timer in the wheel, and when it fires: at or before both deadlines.
    pub(crate) timer: Option<(TimerId, u64)>,
    /// When the first byte of the request under way came.
    pub(crate) received_at: u64,
}

impl Connection {
    fn new(fd: OwnedFd, door: Door, input: Vec<u8>, output: Vec<u8>, sending: Vec<u8>) -> Self {
        Self {
            fd,
            door,
            phase: Phase::Head,
            input,
            progress: Progress::default(),
            output,
            sending,
            sent: 0,
            receive_armed: false,
            send_armed: false,
            paused: false,
            ended: false,
            exchange: None,
            deadline: u64::MAX,
            write_deadline: u64::MAX,
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
        give_back(&mut self.input);
        self.progress = Progress::default();
    }

    /// Forgets the request under way; returns what it counted for in the shard's sum of bodies.
    pub(crate) fn end_exchange(&mut self) -> u64 {
        self.exchange.take().map_or(0, |exchange| exchange.counted)
    }

    /// When somebody must look at it.
    pub(crate) fn look_at(&self) -> u64 {
        self.deadline.min(self.write_deadline)
    }

    /// Unsent output, in bytes.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len() + self.sending.len()
    }

    /// Everything handed to the kernel is sent.
    pub(crate) fn all_sent(&mut self) {
        self.sending.clear();
        self.sent = 0;
        give_back(&mut self.sending);
    }
}

fn give_back(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEPT_CAPACITY {
        *buffer = Vec::new();
    }
}

/// The connections of a shard, by index and generation.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    places: Vec<Place>,
    free: Vec<u32>,
    /// Buffers of connections that are gone, for the next ones.
    spare: Vec<[Vec<u8>; 3]>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// Sets of buffers kept for new connections.
const SPARE: usize = 256;

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a connection in; `None`, and it is closed, if there are `most` already.
    pub(crate) fn insert(&mut self, fd: OwnedFd, door: Door, most: usize) -> Option<Key> {
        let index = match self.free.pop() {
            _ if self.len() >= most => return None,
            Some(index) => index,
            None if self.places.len() < MAX_CONNECTIONS => {
                self.places.push(Place::default());
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let [input, output, sending] = self.spare.pop().unwrap_or_default();
        let place = &mut self.places[index as usize];
        place.connection = Some(Box::new(Connection::new(fd, door, input, output, sending)));
        Some(Key::new(index, place.generation))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        let place = self.places.get_mut(key.index as usize)?;
        if Key::new(key.index, place.generation) == key { place.connection.as_deref_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(key.index as usize) else { return };
        if Key::new(key.index, place.generation) != key {
            return;
        }
        let Some(connection) = place.connection.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        let Connection { mut input, mut output, mut sending, .. } = *connection;
        if self.spare.len() < SPARE {
            for buffer in [&mut input, &mut output, &mut sending] {
                buffer.clear();
                give_back(buffer);
            }
            self.spare.push([input, output, sending]);
        }
    }

    /// Every connection there is.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let taken = self.places.iter().enumerate().filter(|(_, place)| place.connection.is_some());
        taken.filter_map(|(i, place)| Some(Key::new(u32::try_from(i).ok()?, place.generation))).collect()
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
