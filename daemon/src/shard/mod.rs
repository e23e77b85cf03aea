//! The data plane: one thread, one ring, run to completion. `mod` lines stand in the order data flows.

pub(crate) mod ring;

mod body;
mod claim;
mod connection;
mod exchange;
mod receive;
mod send;

pub(crate) mod chunked;
pub(crate) mod parse;

pub(crate) mod route;

pub(crate) mod admission;
pub(crate) mod function;
mod functions;
mod live;
pub(crate) mod meter;
pub(crate) mod pool;
mod queue;
mod request;
pub(crate) mod totals;
pub(crate) mod version;

mod demand;
mod dispatch;
pub(crate) mod drain;
mod handover;
mod transfer;
mod wheel;
mod workers;

pub(crate) mod admin;
mod answer;
pub(crate) mod record;
pub(crate) mod reply;

mod clocks;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod inbox;
pub(crate) mod pulse;
mod timeouts;

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::limits::{ACCEPT_AGAIN, ADMIN_CONNECTIONS, MAX_CONNECTIONS, RING_ENTRIES};
use hairtrigger_sandbox::{WardenHandle, monotonic_ns};

use clocks::Clocks;
use connection::Connections;
use drain::CutOff;
use function::Status;
use functions::Functions;
use handover::Parcels;
use inbox::{Inbox, Report, ToShard};
use parse::HeaderTable;
use pool::WorkerId;
use pulse::Pulse;
use record::Records;
use reply::HttpDate;
use ring::{Completion, Key, Ring, Token};
pub(crate) use timeouts::Timeouts;
use transfer::Transfers;
use version::Routing;
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
    pub(crate) listeners: Vec<Listener>,
    /// The inboxes of all shards by number, its own among them.
    pub(crate) peers: Arc<[Arc<Inbox>]>,
    pub(crate) report: Report,
    pub(crate) warden: WardenHandle,
    /// Of the connections through [`Door::Tcp`], only requests whose Host names this machine are served.
    pub(crate) local_only: bool,
    /// Workers are started only by a grant of the control thread's: `max_workers` bounds all functions together.
    pub(crate) bounded: bool,
    pub(crate) timeouts: Timeouts,
    /// Who wants to know of each invocation.
    pub(crate) records: Option<Arc<Records>>,
    /// Who wants to know whether it turns looks here.
    pub(crate) pulse: Arc<Pulse>,
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
    /// Workers may have been without work for long enough.
    Idle(u32),
    /// Descriptors were short; there may be some again, for the listener of this number.
    Accept(u32),
    /// A parcel has waited too long.
    Parcel(Key),
    /// The clocks of workers that have no invocation are to be read.
    Clocks,
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
            Self::Accept(listener) => word(3, Key::new(listener, 0)),
            Self::Parcel(key) => word(5, key),
            Self::Idle(function) => word(6, Key::new(function, 0)),
            Self::Clocks => word(7, Key::new(0, 0)),
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
            3 => Self::Accept(key.index),
            5 => Self::Parcel(key),
            6 => Self::Idle(key.index),
            7 => Self::Clocks,
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
    listeners: Vec<Listener>,
    connections: Connections,
    routing: Arc<Routing>,
    functions: Functions,
    /// Versions of which something is left that shall not be.
    retiring: Vec<u32>,
    parcels: Parcels,
    /// Workers that hold invocations: function and slot.
    busy: Vec<(u32, u16)>,
    /// Workers that have served all they may.
    spent: Vec<(u32, WorkerId)>,
    /// Functions that may want workers for what has not come yet.
    wanting: Vec<u32>,
    wheel: Wheel,
    /// Of workers that have no invocation.
    clocks: Clocks,
    warden: WardenHandle,
    peers: Arc<[Arc<Inbox>]>,
    inbox: Arc<Inbox>,
    inbox_count: Box<u64>,
    report: Report,
    local_only: bool,
    bounded: bool,
    timeouts: Timeouts,
    records: Option<Arc<Records>>,
    pulse: Arc<Pulse>,
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
    /// Most connections, from [`ToShard::Route`].
    most_connections: usize,
    /// Channels of workers that are gone, until what was queued for them has been submitted.
    #[expect(clippy::vec_box, reason = "moved here as they are, boxed")]
    departed: Vec<Box<live::Live>>,
    retired: Vec<Retired>,
    transfers: Transfers,
    /// Connections whose input is to be looked at again: their answers are out.
    answered: Vec<Key>,
    draining: bool,
    /// Whether the control thread was told that nothing is left of its connections.
    drained: bool,
    /// What did not come to its end, once there was no more time for it.
    cut_off: Option<CutOff>,
    /// There is nothing more to do, or no more time for it.
    over: bool,
}

impl Shard {
    /// Makes the shard on the thread that will run it.
    pub(crate) fn new(config: ShardConfig) -> io::Result<Self> {
        let now = monotonic_ns();
        let inbox = Arc::clone(&config.peers[usize::from(config.number)]);
        Ok(Self {
            number: config.number,
            ring: Ring::new()?,
            listeners: config.listeners,
            connections: Connections::default(),
            routing: Arc::default(),
            functions: Functions::default(),
            retiring: Vec::new(),
            parcels: Parcels::default(),
            busy: Vec::with_capacity(1024),
            spent: Vec::with_capacity(1024),
            wanting: Vec::with_capacity(1024),
            wheel: Wheel::new(now, RING_ENTRIES as usize),
            clocks: Clocks::default(),
            warden: config.warden,
            peers: config.peers,
            inbox,
            inbox_count: Box::new(0),
            report: config.report,
            local_only: config.local_only,
            bounded: config.bounded,
            timeouts: config.timeouts,
            records: config.records,
            pulse: config.pulse,
            scratch: Scratch::default(),
            ids: Ids::new(),
            date: *b"Thu, 01 Jan 1970 00:00:00 GMT",
            date_until: 0,
            now,
            body_bytes: 0,
            output_bytes: 0,
            most_connections: 0,
            departed: Vec::new(),
            retired: Vec::new(),
            transfers: Transfers::default(),
            answered: Vec::with_capacity(1024),
            draining: false,
            drained: false,
            cut_off: None,
            over: false,
        })
    }

    /// Serves until it is told to end, or has drained for too long. Returns what it did not finish.
    pub(crate) fn run(mut self) -> io::Result<CutOff> {
        self.pulse.begin();
        // What is routed at the start was said before: nobody is to hear that it does not exist.
        self.take_messages();
        for listener in 0..self.listeners.len() {
            self.accept(self.listeners[listener].number);
        }
        while !self.over {
            self.turn()?;
        }
        self.functions.read_clocks(self.now);
        // The kernel may still write to what these hold, or read from it. The process ends soon.
        std::mem::forget((self.connections, self.transfers, self.functions, self.retired));
        Ok(self.cut_off.unwrap_or_default())
    }

    fn turn(&mut self) -> io::Result<()> {
        let more = self.listen_to_workers() || !(self.spent.is_empty() && self.wanting.is_empty());
        let wait = if more { Some(Duration::ZERO) } else { self.time_to_next_alarm() };
        self.ring.turn(wait)?;
        if self.ring.all_submitted() {
            // What was queued for these is with the kernel.
            self.departed.clear();
        }
        self.now = monotonic_ns();
        self.refresh_date();
        self.renew_workers();
        while let Some(completion) = self.ring.next() {
            self.completed(&completion);
        }
        self.collect_replies();
        self.ring_alarms();
        self.go_on();
        self.wind_up();
        self.look_whether_drained();
        self.pulse.beat();
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
            Token::Accept(listener) => self.accepted(completion, listener),
            Token::Receive(key) => self.received(completion, key),
            Token::Fill(key) => self.filled(completion, key),
            Token::Transfer(key) => self.moved(completion, key),
            Token::Send(key) => self.sent(completion, key),
            Token::Bell(key) => self.rung(key),
            Token::Inbox => self.take_messages(),
            Token::Ignored => {}
        }
    }

    fn accepted(&mut self, completion: &Completion, listener: u32) {
        if completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for this completion; nobody else knows of it.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            // One that came in while its listener was taken away is closed, as is one beyond the cap.
            let door = self.listeners.iter().find(|known| known.number == listener).map(|known| known.door);
            let most = |door| match door {
                Door::Tcp | Door::Unix => self.most_connections,
                Door::Admin => self.most_connections + ADMIN_CONNECTIONS,
            };
            if let Some(key) = door.and_then(|door| self.connections.insert(fd, door, most(door))) {
                self.start_connection(key);
            }
        }
        if completion.more {
            return;
        }
        let short = matches!(-completion.result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM);
        if short {
            // At once would be a busy loop: nothing gets better before somebody leaves.
            self.wheel.insert(self.now + nanoseconds(ACCEPT_AGAIN), Alarm::Accept(listener).pack());
        } else {
            self.accept(listener);
        }
    }

    /// Takes connections from a listener, if that is still there.
    fn accept(&mut self, listener: u32) {
        if let Some(known) = self.listeners.iter().find(|known| known.number == listener) {
            self.ring.accept(known.socket.as_fd(), listener);
        }
    }

    fn stop_listening(&mut self, which: impl Fn(u32) -> bool) {
        for listener in self.listeners.extract_if(.., |listener| which(listener.number)) {
            // The multishot accept holds the socket: shutting it down ends both.
            hairtrigger_sandbox::shut_down(listener.socket.as_fd());
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
            ToShard::Begin(version) => self.begin(version),
            ToShard::Loaded { function } => self.loaded(function),
            ToShard::Permit { function } => self.want_workers(function),
            ToShard::Grant { function } => self.granted(function),
            ToShard::GiveUp { function } => self.give_up(function),
            ToShard::LoadFailed { function, reason } => self.load_failed(function, reason),
            ToShard::TemplateGone { function } => {
                if let Some(function) = self.functions.get_mut(function) {
                    function.template = false;
                    // One that sleeps is not loaded before somebody asks for it.
                    if !matches!(function.status, Status::Asleep) {
                        function.status = Status::Loading;
                    }
                }
            }
            ToShard::Route { routing, most_connections } => {
                self.routing = routing;
                self.most_connections = most_connections;
            }
            ToShard::Retire { function } => self.retire_version(function),
            ToShard::Doze { function, round } => self.doze(function, round),
            ToShard::Wake { function } => self.wake(function),
            ToShard::WorkerReady { ticket, worker } => {
                self.worker_ready(ticket, *worker);
                self.watch_clocks();
            }
            ToShard::WorkerGone { ticket, ending } => self.worker_gone(ticket, ending),
            ToShard::Invoke(parcel) => self.take_parcel(parcel),
            ToShard::Answer(answer) => self.take_answer(*answer),
            ToShard::Listen(listeners) => {
                // One that drains would never be rid of them.
                let welcome = !self.draining;
                for listener in listeners.into_iter().filter(|_| welcome) {
                    let number = listener.number;
                    self.listeners.push(listener);
                    self.accept(number);
                }
            }
            ToShard::StopListening(numbers) => self.stop_listening(|number| numbers.contains(&number)),
            ToShard::Timeouts(timeouts) => self.timeouts = timeouts,
            ToShard::ControlAnswered(answer) => self.control_answered(&answer),
            ToShard::Drain => self.drain(),
            ToShard::End => self.end(),
        }
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
                Alarm::Idle(function) => self.idle_alarm(function),
                Alarm::Accept(listener) => self.accept(listener),
                Alarm::Parcel(key) => self.parcel_alarm(key),
                Alarm::Clocks => self.read_idle_clocks(),
                Alarm::Drain => self.cut_off(),
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

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const _: () = assert!(MAX_CONNECTIONS <= u32::MAX as usize);
