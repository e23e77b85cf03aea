//! Clients that check: each request has an id of its own, and one answer, which is its body or an honest error.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hairtrigger_tests::http::{Connection, NoAnswer, Response};
use hairtrigger_tests::random::Random;

use super::FUNCTIONS;

/// Outcomes that are honest where workers, templates and inits are killed and descriptors are short, with the status of
/// each.
const HONEST: [(&str, u64); 4] =
    [("fault", 502), ("init_failed", 503), ("overloaded", 503), ("throttled", 429)];
/// Lengths of bodies: up to so many bytes, and how many of a hundred are no longer.
const LENGTHS: [(usize, u64); 5] = [(200, 70), (4000, 85), (20_000, 95), (100_000, 99), (700_000, 100)];
/// Longest body of those that are sent before the answer to the one before it is there, in bytes: more would wait for a
/// client that waits itself.
const AHEAD: usize = 8000;

/// What all clients of a run have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    right: AtomicU64,
    /// Behind an answer that ended its connection.
    not_taken: AtomicU64,
    /// By outcome and sentence.
    honest: Mutex<BTreeMap<String, u64>>,
    invocations: Mutex<HashSet<String>>,
}

impl Tally {
    pub(crate) fn right(&self) -> u64 {
        self.right.load(Ordering::Relaxed)
    }

    /// All answers.
    pub(crate) fn count(&self) -> u64 {
        let honest = self.honest.lock().unwrap_or_else(PoisonError::into_inner);
        self.right() + honest.values().sum::<u64>()
    }

    pub(crate) fn report(&self) -> String {
        let honest = self.honest.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = honest.iter().map(|(what, count)| format!("\n    {count} times {what}"));
        format!(
            "answers: {} right, {} honest errors, none lost, wrong or answered twice; {} requests were not taken{}",
            self.right(),
            honest.values().sum::<u64>(),
            self.not_taken.load(Ordering::Relaxed),
            lines.collect::<String>()
        )
    }

    /// Checks the answer to a request that had this body; whether more may come on its connection.
    #[track_caller]
    pub(crate) fn check(&self, id: &str, body: &[u8], answer: &Response) -> bool {
        let invocation = answer.invocation().to_owned();
        let new = self.invocations.lock().unwrap_or_else(PoisonError::into_inner).insert(invocation);
        assert!(new, "{id}: an invocation was answered twice");
        if answer.status == 200 {
            let right = answer.body == body;
            assert!(
                right,
                "{id}: {} bytes instead of {}: {}",
                answer.body.len(),
                body.len(),
                head(&answer.body)
            );
            self.right.fetch_add(1, Ordering::Relaxed);
        } else {
            let json = answer.json();
            let outcome = json["outcome"].as_str().unwrap_or_default();
            let honest = HONEST.contains(&(outcome, answer.status.into()));
            assert!(honest, "{id}: {} {json}", answer.status);
            let mut counts = self.honest.lock().unwrap_or_else(PoisonError::into_inner);
            let sentence = json["message"].as_str().unwrap_or_default();
            *counts.entry(format!("{outcome}: {sentence}")).or_default() += 1;
        }
        !(answer.has("connection") && answer.header("connection") == "close")
    }
}

/// The beginning of a body, for a message.
fn head(body: &[u8]) -> String {
    body[..body.len().min(100)].escape_ascii().to_string()
}

/// What was sent, and waits for its answer.
struct Request {
    id: String,
    body: Vec<u8>,
}

/// Why a request has no answer.
enum Lost {
    /// The daemon takes no connection.
    Unconnected(String),
    /// Which request, and what came instead.
    Unanswered(String, NoAnswer),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconnected(reason) => f.write_str(reason),
            Self::Unanswered(id, why) => write!(f, "{id} has no answer: {why}"),
        }
    }
}

/// One of them.
pub(crate) struct Client<'t> {
    number: usize,
    random: Random,
    address: SocketAddr,
    tally: &'t Tally,
    count: u64,
    connection: Option<Connection>,
}

impl<'t> Client<'t> {
    pub(crate) fn new(number: usize, random: Random, address: SocketAddr, tally: &'t Tally) -> Self {
        Self { number, random, address, tally, count: 0, connection: None }
    }

    /// Goes on until it is told to end.
    pub(crate) fn until(&mut self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            self.round();
        }
    }

    pub(crate) fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    fn round(&mut self) {
        self.try_round().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Goes on until the daemon is killed: then there may be no answer, but none is wrong.
    pub(crate) fn until_it_dies(&mut self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) && self.try_round().is_ok() {}
    }

    /// Goes on until the daemon has ended, as it was told to: a connection may be closed before a request on it is read,
    /// but no answer is cut short.
    pub(crate) fn until_it_ends(&mut self) {
        match (0..).try_for_each(|_| self.try_round()) {
            Ok(()) | Err(Lost::Unconnected(_)) => {}
            Err(lost @ Lost::Unanswered(_, NoAnswer { received, .. })) => {
                assert_eq!(received, 0, "an answer was cut short: {lost}");
            }
        }
    }

    /// One request, or a few at once, and their answers; an error if one of them has none.
    fn try_round(&mut self) -> Result<(), Lost> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::try_to(self.address).map_err(Lost::Unconnected)?,
        };
        let ahead = if self.random.once_in(5) { 1 + self.random.up_to(4) } else { 0 };
        let mut bytes = Vec::new();
        let requests: Vec<Request> = (0..=ahead).map(|_| self.request(ahead > 0, &mut bytes)).collect();
        if self.random.once_in(10) && bytes.len() < AHEAD {
            let size = 1 + self.random.up_to(60);
            bytes.chunks(size).for_each(|piece| _ = connection.send_regardless(piece));
        } else {
            connection.send_regardless(&bytes);
        }
        let mut more = true;
        for (at, Request { id, body }) in requests.iter().enumerate() {
            let answer = connection.try_receive().map_err(|why| Lost::Unanswered(id.clone(), why))?;
            more = self.tally.check(id, body, &answer);
            if !more {
                self.tally.not_taken.fetch_add((requests.len() - at - 1) as u64, Ordering::Relaxed);
                break;
            }
        }
        if more && !self.random.once_in(8) {
            self.connection = Some(connection);
        } else {
            // Nothing more than the answers.
            connection.end_sending_regardless().assert_closed();
        }
        Ok(())
    }

    /// Appends a request to what is to be sent.
    fn request(&mut self, ahead: bool, bytes: &mut Vec<u8>) -> Request {
        self.count += 1;
        let random = &mut self.random;
        let id = format!("request {} of client {}", self.count, self.number);
        let share = random.below(100);
        let longest = LENGTHS.iter().find(|(_, up_to)| share < *up_to).map_or(0, |(length, _)| *length);
        let length = random.up_to(if ahead { longest.min(AHEAD) } else { longest });
        let mut body = format!("{id}\n").into_bytes();
        let mut word = random.number();
        while body.len() < length {
            word = word.rotate_left(9).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            body.extend_from_slice(&word.to_le_bytes());
        }
        let function = random.pick(&FUNCTIONS).expect("there are some");
        let wait = if random.once_in(10) { random.below(20) } else { 0 };
        let start = format!("POST /{function}?{wait} HTTP/1.1\r\nHost: localhost\r\n");
        bytes.extend_from_slice(start.as_bytes());
        if random.once_in(4) {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(1 + random.up_to(body.len())) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        Request { id, body }
    }
}
