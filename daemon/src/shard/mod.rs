//! The data plane: one thread, one ring, run to completion. `mod` lines stand in the order data flows.

pub(crate) mod ring;

mod body;
mod connection;
mod receive;

pub(crate) mod chunked;
pub(crate) mod parse;

pub(crate) mod route;

pub(crate) mod function;
pub(crate) mod pool;

mod dispatch;
mod wheel;

mod answer;
#[expect(dead_code, reason = "the interface stands before its two sides")]
pub(crate) mod record;
pub(crate) mod reply;

pub(crate) mod inbox;
mod timeouts;

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::limits::{
    ACCEPT_AGAIN, DESCRIPTOR_RESERVE, DESCRIPTORS_PER_WORKER, LEAST_CONNECTIONS, MAX_CONNECTIONS,
    RING_ENTRIES,
};
use hairtrigger_sandbox::{WardenHandle, monotonic_ns};

use connection::{Connections, Phase};
use function::{Function, Profile, Status};
use inbox::{Inbox, ToShard};
use parse::HeaderTable;
use reply::HttpDate;
use ring::{Completion, Key, Ring, Token};
use route::Router;
pub(crate) use timeouts::Timeouts;
use wheel::Wheel;

/// What came in by a listener may ask for what is behind its door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A TCP address, which anybody may reach.
    Tcp,
    /// The unix socket for requests to functions.
    Unix,
    /// The unix socket of the operator.
    Admin,
}

/// A socket that listens, and does not block.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "shards take one listener yet"))]
pub(crate) struct Listener {
    /// The control thread's number for it; no two that live have the same.
    pub(crate) number: u32,
    pub(crate) socket: OwnedFd,
    pub(crate) door: Door,
}

/// What a shard is made of.
pub(crate) struct ShardConfig {
    /// Number of the shard.
    pub(crate) number: u16,
    /// Listens, does not block.
    pub(crate) listener: OwnedFd,
    pub(crate) functions: Vec<Profile>,
    pub(crate) warden: WardenHandle,
    pub(crate) inbox: Arc<Inbox>,
    /// Only requests whose Host names this machine are served.
    pub(crate) local_only: bool,
    pub(crate) timeouts: Timeouts,
}

/// What a timer is for, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// A phase of a connection has lasted too long.
    Connection(Key),
    /// An invocation's time is over. The index is function and slot.
    Worker(Key),
    /// Requests have waited long enough for more workers.
    Growth(u32),
    /// Descriptors were short; there may be some again.
    Accept,
    /// The drain has lasted long enough.
    Drain,
}

impl Alarm {
    fn pack(self) -> u64 {
        let word = |kind: u64, key: Key| kind << 56 | u64::from(key.generation) << 32 | u64::from(key.index);
        match self {
            Self::Connection(key) => word(0, key),
            Self::Worker(key) => word(1, key),
            Self::Growth(function) => word(2, Key::new(function, 0)),
            Self::Accept => word(3, Key::new(0, 0)),
            Self::Drain => word(4, Key::new(0, 0)),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes apart what `pack` has put together")]
    fn unpack(word: u64) -> Self {
        let key = Key::new(word as u32, (word >> 32) as u32);
        match word >> 56 {
            0 => Self::Connection(key),
            1 => Self::Worker(key),
            2 => Self::Growth(key.index),
            3 => Self::Accept,
            _ => Self::Drain,
        }
    }
}

/// Function and slot in one index.
fn worker_key(function: u32, slot: u16, generation: u32) -> Key {
    Key::new(function << 16 | u32::from(slot), generation)
}

/// The other way.
fn of_worker_key(key: Key) -> (u32, u16) {
    (key.index >> 16, u16::try_from(key.index & 0xffff).unwrap_or(u16::MAX))
}

/// Memory that is used anew for each request.
#[derive(Default)]
struct Scratch {
    table: HeaderTable,
    encoded: Vec<u8>,
}

/// Ids of invocations: 8 random bytes of the shard's, and a count.
struct Ids {
    prefix: [u8; 16],
    count: u64,
}

/// What is kept of a worker that is gone until the kernel no longer writes to it.
struct Retired {
    key: Key,
    _count: Box<u64>,
}

/// One shard.
pub(crate) struct Shard {
    number: u16,
    ring: Ring,
    listener: Option<OwnedFd>,
    connections: Connections,
    router: Router,
    functions: Vec<Function>,
    /// Workers that hold invocations: function and slot.
    busy: Vec<(u32, u16)>,
    wheel: Wheel,
    warden: WardenHandle,
    inbox: Arc<Inbox>,
    inbox_count: Box<u64>,
    local_only: bool,
    timeouts: Timeouts,
    scratch: Scratch,
    ids: Ids,
    date: HttpDate,
    date_until: u64,
    /// Monotonic time of this turn, in nanoseconds.
    now: u64,
    /// Bodies of requests that are incomplete or under way, in bytes.
    body_bytes: u64,
    /// Output that the kernel has not taken or not sent, in bytes.
    output_bytes: usize,
    /// Most connections: what the descriptors that this process may have leave beside its workers.
    most_connections: usize,
    /// Channels of workers that are gone, until what was queued for them has been submitted.
    #[expect(clippy::vec_box, reason = "moved here as they are, boxed")]
    departed: Vec<Box<function::Live>>,
    retired: Vec<Retired>,
    /// Connections whose input is to be looked at again: their answers are out.
    answered: Vec<Key>,
    draining: bool,
    drained_out: bool,
}

impl Shard {
    /// Makes the shard on the thread that will run it.
    pub(crate) fn new(config: ShardConfig) -> io::Result<Self> {
        let now = monotonic_ns();
        let router = Router::new(config.functions.iter().map(|profile| &*profile.name));
        let workers = config.functions.iter().map(|profile| usize::from(profile.max)).sum();
        let functions = (0_u32..).zip(config.functions);
        Ok(Self {
            number: config.number,
            ring: Ring::new()?,
            listener: Some(config.listener),
            connections: Connections::default(),
            router,
            functions: functions.map(|(index, profile)| Function::new(index, profile)).collect(),
            busy: Vec::with_capacity(1024),
            wheel: Wheel::new(now, RING_ENTRIES as usize),
            warden: config.warden,
            inbox: config.inbox,
            inbox_count: Box::new(0),
            local_only: config.local_only,
            timeouts: config.timeouts,
            scratch: Scratch::default(),
            ids: Ids::new(),
            date: *b"Thu, 01 Jan 1970 00:00:00 GMT",
            date_until: 0,
            now,
            body_bytes: 0,
            output_bytes: 0,
            most_connections: most_connections(workers)?,
            departed: Vec::new(),
            retired: Vec::new(),
            answered: Vec::with_capacity(1024),
            draining: false,
            drained_out: false,
        })
    }

    /// Serves until it is told to drain and has done so.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.listen_to_inbox();
        self.accept();
        while !self.finished() {
            self.turn()?;
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        self.draining && (self.drained_out || self.connections.len() == 0)
    }

    fn turn(&mut self) -> io::Result<()> {
        let wait = if self.listen_to_workers() { Some(Duration::ZERO) } else { self.time_to_next_alarm() };
        self.ring.turn(wait)?;
        if self.ring.all_submitted() {
            // What was queued for these is with the kernel.
            self.departed.clear();
        }
        self.now = monotonic_ns();
        self.refresh_date();
        while let Some(completion) = self.ring.next() {
            self.completed(&completion);
        }
        self.collect_replies();
        self.ring_alarms();
        self.go_on();
        Ok(())
    }

    /// Looks at the connections whose answers are out. What that leads to may answer further ones at once,
    /// so this is a list and not a recursion.
    fn go_on(&mut self) {
        while let Some(key) = self.answered.pop() {
            self.advance(key);
        }
    }

    fn completed(&mut self, completion: &Completion) {
        match completion.token {
            Token::Accept => self.accepted(completion),
            Token::Receive(key) => self.received(completion, key),
            Token::Fill(key) => self.filled(completion, key),
            Token::Send(key) => self.sent(completion, key),
            Token::Bell(key) => self.rung(key),
            Token::Inbox => self.take_messages(),
            Token::Ignored => {}
        }
    }

    fn accepted(&mut self, completion: &Completion) {
        if completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for this completion; nobody else knows of it.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            // Beyond the cap it is closed at once.
            if let Some(key) = self.connections.insert(fd, self.most_connections) {
                self.start_connection(key);
            }
        }
        if completion.more {
            return;
        }
        let short = matches!(-completion.result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM);
        if short {
            // At once would be a busy loop: nothing gets better before somebody leaves.
            self.wheel.insert(self.now + nanoseconds(ACCEPT_AGAIN), Alarm::Accept.pack());
        } else {
            self.accept();
        }
    }

    fn accept(&mut self) {
        if let Some(listener) = &self.listener {
            self.ring.accept(listener.as_fd());
        }
    }

    fn listen_to_inbox(&mut self) {
        let count: *mut u64 = &raw mut *self.inbox_count;
        // SAFETY: count and inbox live as long as the shard, and one operation at a time uses them.
        unsafe { self.ring.listen(self.inbox.bell(), count, Token::Inbox) };
    }

    fn take_messages(&mut self) {
        self.inbox.answer_bell();
        while let Some(message) = self.inbox.take() {
            self.told(message);
        }
        self.listen_to_inbox();
    }

    fn told(&mut self, message: ToShard) {
        match message {
            ToShard::Loaded { function } => self.loaded(function),
            ToShard::LoadFailed { function, reason } => self.load_failed(function, reason),
            ToShard::Reloading { function } => {
                if let Some(function) = self.functions.get_mut(function as usize) {
                    function.status = Status::Loading;
                }
            }
            ToShard::WorkerReady { ticket, worker } => self.worker_ready(ticket, *worker),
            ToShard::WorkerGone { ticket, ending } => self.worker_gone(ticket, ending),
            ToShard::Drain => self.drain(),
        }
    }

    /// Takes no more connections, closes those without a request, and waits for the others.
    fn drain(&mut self) {
        self.draining = true;
        // The multishot accept holds the listener: shutting it down ends both.
        if let Some(listener) = self.listener.take() {
            hairtrigger_sandbox::shut_down(listener.as_fd());
        }
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.phase == Phase::Head && connection.input.is_empty() {
                self.finish(key);
            } else if let Some(exchange) = &mut connection.exchange {
                exchange.keep_alive = false;
            }
        }
        self.wheel.insert(self.now + nanoseconds(self.timeouts.drain), Alarm::Drain.pack());
    }

    fn time_to_next_alarm(&self) -> Option<Duration> {
        let at = self.wheel.next_expiry()?;
        Some(Duration::from_nanos(at.saturating_sub(monotonic_ns()).max(1)))
    }

    fn ring_alarms(&mut self) {
        // Collected first: what an alarm leads to may set and cancel timers.
        let mut due = Vec::new();
        self.wheel.expire(self.now, |key| due.push(Alarm::unpack(key)));
        for alarm in due {
            match alarm {
                Alarm::Connection(key) => self.connection_alarm(key),
                Alarm::Worker(key) => self.worker_alarm(key),
                Alarm::Growth(function) => self.growth_alarm(function),
                Alarm::Accept => self.accept(),
                Alarm::Drain => self.drained_out = true,
            }
        }
    }

    fn refresh_date(&mut self) {
        if self.now < self.date_until {
            return;
        }
        let now = std::time::SystemTime::now();
        let text = httpdate::fmt_http_date(now);
        if let Ok(date) = text.as_bytes().try_into() {
            self.date = date;
        }
        let into_second = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        self.date_until = self.now + u64::from(1_000_000_000 - into_second);
    }
}

impl Ids {
    fn new() -> Self {
        let mut random = [0_u8; 8];
        hairtrigger_sandbox::random(&mut random);
        let mut prefix = [0; 16];
        hex(u64::from_ne_bytes(random), &mut prefix);
        Self { prefix, count: 0 }
    }

    fn next(&mut self) -> reply::InvocationId {
        self.count += 1;
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.prefix);
        let (_, count) = id.split_at_mut(16);
        hex(self.count, count);
        id
    }
}

/// Sixteen hexadecimal digits.
fn hex(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// How many connections there may be beside so many workers.
fn most_connections(workers: usize) -> io::Result<usize> {
    let allowed = hairtrigger_sandbox::descriptor_limit()?;
    let left = allowed.saturating_sub(workers * DESCRIPTORS_PER_WORKER + DESCRIPTOR_RESERVE);
    if left < LEAST_CONNECTIONS {
        return Err(io::Error::other(format!(
            "{allowed} file descriptors are too few for {workers} workers and {LEAST_CONNECTIONS} connections; \
             raise RLIMIT_NOFILE (LimitNOFILE of a systemd unit) or lower concurrency.max"
        )));
    }
    Ok(left.min(MAX_CONNECTIONS))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const _: () = assert!(MAX_CONNECTIONS <= u32::MAX as usize);
