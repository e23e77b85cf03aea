//! What is told of an invocation once it is over, to whoever wants to know: `dev` prints a line of each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use hairtrigger_sandbox::limits::{RECORDED_TARGET, RECORDS};
use tokio::sync::Notify;

use super::Shard;
use super::exchange::{Exchange, Stamps};
use super::meter::Share;
use super::parse::{Progress, parse_head};
use super::reply::InvocationId;
use super::ring::Key;
use crate::outcome::Outcome;

/// An invocation's id, cut to what tells it from the others on one screen: the beginning is its shard's, the
/// end its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) InvocationId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hexadecimal digits; anything else would be a bug, and is shown.
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        write!(f, "{}…{}", text(&self.0[..4]), text(&self.0[self.0.len() - 4..]))
    }
}

/// How an invocation came by its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A worker was there.
    Warm,
    /// It waited for a worker to be forked.
    Fork,
    /// It waited for the function to be loaded.
    Load,
    /// No worker had it.
    None,
}

impl Start {
    /// Each, by its number.
    pub(crate) const ALL: [Self; 4] = [Self::Warm, Self::Fork, Self::Load, Self::None];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Fork => "fork",
            Self::Load => "load",
            Self::None => "none",
        }
    }
}

/// One invocation. Times are in nanoseconds; 0 for a stage that was not reached.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) function: Arc<str>,
    pub(crate) invocation: InvocationId,
    /// Method, and path with query, as the client sent them; cut to [`RECORDED_TARGET`] bytes.
    ///
    /// [`RECORDED_TARGET`]: hairtrigger_sandbox::limits::RECORDED_TARGET
    pub(crate) method: Box<str>,
    pub(crate) target: Box<str>,
    pub(crate) status: u16,
    /// The outcome's label.
    pub(crate) outcome: &'static str,
    /// The outcome's sentence, unless it is a response.
    pub(crate) sentence: Option<String>,
    pub(crate) start: Start,
    /// Bodies, in bytes.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Waiting for a worker; from there until the function began; in the function; and until the answer was
    /// written.
    pub(crate) queue: u64,
    pub(crate) begin: u64,
    pub(crate) run: u64,
    pub(crate) send: u64,
}

/// Records on their way from the shards to whoever reads them. Nobody waits: what does not fit is counted.
#[derive(Debug)]
pub(crate) struct Records {
    queue: ArrayQueue<Told>,
    bell: Notify,
    lost: AtomicU64,
    /// Whether the CPU time of each invocation is wanted, too.
    pub(crate) itemised: bool,
}

/// What the shards tell.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// An invocation is over.
    Record(Record),
    /// What it has used is known.
    Cpu(Share),
    /// It is given to another worker: what is known so far is not all that it uses.
    Again(InvocationId),
}

impl Records {
    /// Of invocations, and if they are `itemised` of their CPU time.
    pub(crate) fn new(itemised: bool) -> Self {
        let (bell, lost) = (Notify::new(), AtomicU64::new(0));
        Self { queue: ArrayQueue::new(RECORDS), bell, lost, itemised }
    }

    pub(super) fn push(&self, told: Told) {
        if let Err(Told::Record(_)) = self.queue.push(told) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.bell.notify_one();
    }

    /// The next word, and how many records were lost since the last one.
    pub(crate) async fn next(&self) -> (Told, u64) {
        loop {
            if let Some(told) = self.take() {
                return (told, self.lost());
            }
            // A bell that rang before this is remembered.
            self.bell.notified().await;
        }
    }

    /// How many records were lost since this was asked the last time.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// The next word, if there is one already.
    pub(crate) fn take(&self) -> Option<Told> {
        self.queue.pop()
    }
}

/// What a record says of the answer beyond what the exchange knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'o> {
    /// A function's own. Its body's length in bytes, and when the function began and returned, as its worker says.
    Response { status: u16, length: u64, times: (u64, u64) },
    /// An outcome that is no response.
    Outcome(&'o Outcome),
}

impl Shard {
    /// Counts the invocation under way on a connection among what its function has had, and tells of it if anybody
    /// wants to know. To be called before it is forgotten.
    pub(super) fn record(&mut self, key: Key, told: Said<'_>) {
        self.count(key, told);
        let Some(records) = self.records.as_ref() else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        let head = parse_head(&connection.input, &mut self.scratch.table, &mut Progress::default());
        let (method, target) = match head {
            Ok(Some(head)) => {
                let query = head.query.map(|query| [b"?", query].concat()).unwrap_or_default();
                (text(head.method), text(&[head.path, &query].concat()))
            }
            Ok(None) | Err(_) => Default::default(),
        };
        let name = self.functions.name(exchange.function).unwrap_or_default();
        let body = exchange.body(&connection.input, connection.body.as_deref()).len() as u64;
        let (status, outcome, sentence, response_bytes, times) = match told {
            Said::Response { status, length, times } => {
                (status, Outcome::Completed { status }.label(), None, length, times)
            }
            Said::Outcome(outcome) => {
                (outcome.status(), outcome.label(), Some(outcome.sentence(name)), 0, (0, 0))
            }
        };
        let [queue, begin, run, send] = stages(&exchange.stamps, times, self.now);
        records.push(Told::Record(Record {
            function: name.into(),
            invocation: exchange.id,
            method,
            target,
            status,
            outcome,
            sentence,
            start: start_of(exchange),
            // One that was handed over has taken its body along.
            request_bytes: body.max(exchange.counted),
            response_bytes,
            queue,
            begin,
            run,
            send,
        }));
    }

    fn count(&mut self, key: Key, told: Said<'_>) {
        let Self { connections, functions, now, number, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        let Some(entry) = functions.get(exchange.function) else { return };
        let tally = entry.version.totals.of(*number);
        let body = exchange.body(&connection.input, connection.body.as_deref()).len() as u64;
        tally.bytes_in.add(body.max(exchange.counted));
        let start = start_of(exchange);
        match told {
            Said::Response { status, length, .. } => {
                tally.ended(&Outcome::Completed { status }, start);
                tally.bytes_out.add(length);
            }
            Said::Outcome(outcome) => tally.ended(outcome, start),
        }
        // Of what the worker says nothing is believed here.
        let [queue, begin, run, send] = stages(&exchange.stamps, (0, 0), *now);
        tally.queue.add(queue);
        tally.wall.add(begin + run + send);
    }
}

/// How it came by its worker, if it did.
fn start_of(exchange: &Exchange) -> Start {
    if exchange.stamps.dispatched == 0 { Start::None } else { exchange.start }
}

/// What of a request's line is kept, printable.
fn text(bytes: &[u8]) -> Box<str> {
    bytes[..bytes.len().min(RECORDED_TARGET)].escape_ascii().to_string().into()
}

/// How long an invocation was in the queue, in the channel, in the function, and on its way back: nanoseconds. The
/// worker's times are its words, and are moved to between the dispatch and `now`.
fn stages(stamps: &Stamps, (started, finished): (u64, u64), now: u64) -> [u64; 4] {
    let Stamps { queued, dispatched, .. } = *stamps;
    let waited_until = if dispatched == 0 { now } else { dispatched };
    let queue = if queued == 0 { 0 } else { waited_until.saturating_sub(queued) };
    if started == 0 || dispatched == 0 {
        // It began, perhaps, and did not come to an end of its own.
        let run = if dispatched == 0 { 0 } else { now.saturating_sub(dispatched) };
        return [queue, 0, run, 0];
    }
    let started = started.clamp(dispatched, now.max(dispatched));
    let finished = finished.clamp(started, now.max(started));
    [queue, started - dispatched, finished - started, now.saturating_sub(finished)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(queued: u64, dispatched: u64) -> Stamps {
        Stamps { received: 1, parsed: 2, queued, dispatched }
    }

    #[test]
    fn stages_add_up_whatever_a_worker_says() {
        assert_eq!(stages(&stamps(10, 30), (35, 60), 61), [20, 5, 25, 1]);
        assert_eq!(stages(&stamps(0, 30), (35, 60), 61), [0, 5, 25, 1]);
        assert_eq!(stages(&stamps(0, 30), (1, u64::MAX), 61), [0, 0, 31, 0]);
        assert_eq!(stages(&stamps(10, 30), (0, 0), 61), [20, 0, 31, 0], "it was killed");
        assert_eq!(stages(&stamps(10, 0), (0, 0), 61), [51, 0, 0, 0], "nobody had it");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let records = Records::new(false);
        let record = |n: u64| {
            Told::Record(Record {
                function: "f".into(),
                invocation: [b'0'; 32],
                method: "GET".into(),
                target: "/f".into(),
                status: 200,
                outcome: "completed",
                sentence: None,
                start: Start::Warm,
                request_bytes: n,
                response_bytes: 0,
                queue: 0,
                begin: 0,
                run: 0,
                send: 0,
            })
        };
        let bytes = |told| match told {
            Told::Record(record) => record.request_bytes,
            Told::Cpu(_) | Told::Again(_) => unreachable!("there was none"),
        };
        for n in 0..RECORDS as u64 + 3 {
            records.push(record(n));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (first, lost) = runtime.block_on(records.next());
        assert_eq!((bytes(first), lost), (0, 3));
        let (second, lost) = runtime.block_on(records.next());
        assert_eq!((bytes(second), lost), (1, 0));
    }

    #[test]
    fn a_target_is_printable_and_bounded() {
        assert_eq!(&*text(b"/a\x1b[2J"), "/a\\x1b[2J");
        assert_eq!(text(&[b'/'; RECORDED_TARGET + 9]).len(), RECORDED_TARGET);
    }
}
