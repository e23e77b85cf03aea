//! A channel between whose daemon's steps the worker does whatever it likes.
//!
//! The input says what happens: steps of the shard, in an order in which a shard takes them; steps of an honest
//! worker; and writes of a hostile one into its region. As long as nothing hostile was written, each request is
//! answered by its own body, or more, or taken back, in order, and nothing is a violation. Afterwards, whatever the daemon takes
//! keeps its bounds and belongs to the oldest request under way; and a request is where it was put until it is
//! answered.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{PAGE, REPLY_BODY, REPLY_HEADERS, REVOKED, RequestDescriptor};
use super::pair::{
    Pair, echo, flawless, forge, pair_of, reply_control, reply_slot, requests, start_at, view,
};
use super::region::Region;
use super::{Geometry, Posted, ProtocolViolation, Reply, ReplyKind, Span};
use crate::fuzz::Input;
use crate::limits::{CHANNEL_DEPTH, LARGE_PAYLOAD, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};

/// Just enough for payloads of every kind: inline, in the slab, and large.
const ROOM: Geometry =
    Geometry { max_request: LARGE_PAYLOAD as u64 + 4096, max_response: LARGE_PAYLOAD as u64 + 4096 };
/// Steps of one run. More only take longer.
const STEPS: usize = 300;

/// A request under way.
struct Flight {
    sequence: u32,
    body: Vec<u8>,
}

struct Run {
    pair: Pair,
    /// As the worker has them.
    region: Region,
    requests: Region,
    flights: VecDeque<Flight>,
    /// A large request whose body is still to be written.
    begun: Option<(Vec<u8>, Span)>,
    /// The reply taken last is still looked at.
    reading: bool,
    /// The worker has begun a request and not answered it.
    claimed: bool,
    /// The worker has written what no worker writes.
    hostile: bool,
    posts: u32,
}

pub(crate) fn run(input: &mut Input<'_>) {
    let mut pair = pair_of(ROOM);
    match input.u8() % 4 {
        0 | 1 => {}
        2 => start_at(&mut pair, u32::MAX - u32::from(input.u8())),
        _ => start_at(&mut pair, input.u32()),
    }
    let (region, requests) = (forge(&pair), requests(&pair));
    let (flights, begun) = (VecDeque::new(), None);
    let mut run = Run {
        pair,
        region,
        requests,
        flights,
        begun,
        reading: false,
        claimed: false,
        hostile: false,
        posts: 0,
    };
    for _ in 0..STEPS {
        if input.is_empty() {
            return;
        }
        if let Err(ProtocolViolation(what)) = run.step(input) {
            assert!(run.hostile, "an honest worker was found guilty: {what}");
            // As the shard does with a worker that it kills.
            let _ = (run.pair.daemon.revoke(), run.pair.daemon.begun());
            return;
        }
        let under_way = run.pair.daemon.under_way();
        assert!(under_way <= CHANNEL_DEPTH && run.flights.len() <= under_way as usize);
        assert_eq!(under_way == 0, run.flights.is_empty(), "whose flights are all over is free");
    }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) -> Result<(), ProtocolViolation> {
        match input.u8() % 20 {
            0 => self.post(usize::from(input.u8())),
            1 => self.post(usize::from(input.u16() % 8192)),
            2 => self.begin(usize::from(input.u8())),
            3 => self.finish(),
            4 => {
                self.begun = None;
                self.pair.daemon.abandon_post();
            }
            5 | 6 => self.take()?,
            7 => self.done(input.u8()),
            8 => {
                let kept = self.pair.daemon.revoke()?;
                self.flights.truncate(kept as usize);
            }
            9 => self.look(),
            10..=12 => self.serve(usize::from(input.u16() % 16384)),
            13 => self.forge_reply(input),
            14 => self.write_field(input),
            15 => self.write_word(input),
            16 => self.write_claim(input),
            17 => self.write_headers(input),
            18 => {
                self.hostile = true;
                reply_control(&self.region).sleeping.store(input.u32(), Ordering::Relaxed);
            }
            _ => self.remove_pages(),
        }
        Ok(())
    }

    // ---- the shard's steps -------------------------------------------------------------------

    /// A body that no other request has.
    fn body(&mut self, length: usize) -> Vec<u8> {
        self.posts += 1;
        let mut body = vec![b'.'; length.max(4)];
        body[..4].copy_from_slice(&self.posts.to_ne_bytes());
        body
    }

    fn flies(&mut self, body: Vec<u8>) {
        let sequence = self.pair.daemon.last_posted();
        self.flights.push_back(Flight { sequence, body });
    }

    fn post(&mut self, length: usize) {
        let body = self.body(length);
        if self.pair.daemon.post(&view(&body)) != Posted::Full {
            self.flies(body);
        }
    }

    fn begin(&mut self, more: usize) {
        let body = self.body(LARGE_PAYLOAD + 1 + more);
        if self.begun.is_some() {
            return;
        }
        if let Some(span) = self.pair.daemon.begin_post(&view(b""), body.len()) {
            assert_eq!(span.length, body.len());
            self.begun = Some((body, span));
        }
    }

    fn finish(&mut self) {
        let Some((body, span)) = self.begun.take() else { return };
        let file = self.pair.daemon.request_file().try_clone_to_owned().unwrap();
        std::fs::File::from(file).write_all_at(&body, span.offset).unwrap();
        if self.pair.daemon.finish_post(7) == Posted::Full {
            self.pair.daemon.abandon_post();
        } else {
            self.flies(body);
        }
    }

    fn take(&mut self) -> Result<(), ProtocolViolation> {
        if self.reading {
            return Ok(());
        }
        // Where the request is that the reply is for, while it is under way.
        if let Some(flight) = self.flights.front() {
            assert_eq!(posted_body(&self.requests, flight), flight.body, "a request was written over");
        }
        let Some(reply) = self.pair.daemon.take_reply()? else { return Ok(()) };
        let flight = self.flights.pop_front().expect("a reply to a request that is not under way");
        check(&reply);
        if !self.hostile {
            let mut body = Vec::new();
            reply.body.copy_to(&mut body);
            assert_eq!(reply.kind, ReplyKind::Response { status: 200 });
            assert!(body.starts_with(&flight.body), "an answer to another request");
        }
        self.reading = true;
        Ok(())
    }

    fn done(&mut self, how: u8) {
        if !self.reading {
            return;
        }
        self.reading = false;
        let daemon = &mut self.pair.daemon;
        let (aside, at_once, later) = (how & 1 == 0, how & 2 == 0, how & 6 == 2);
        if aside {
            // As with transfers: pages are given back by somebody else, who may take his time.
            if let Some(span) = daemon.clear_reply() {
                assert!(span.offset + span.length as u64 <= ROOM.reply_region());
            }
            if let Some(span) = daemon.clear_request() {
                assert!(span.offset + span.length as u64 <= ROOM.request_region());
                if at_once {
                    daemon.request_cleared();
                }
            }
        }
        daemon.done_with_reply();
        if later {
            daemon.request_cleared();
        }
    }

    fn look(&mut self) {
        let daemon = &mut self.pair.daemon;
        if daemon.listen() {
            assert!(daemon.reply_waits() && !self.flights.is_empty());
        }
        daemon.unlisten();
        let _ = daemon.begun();
    }

    // ---- the worker's ------------------------------------------------------------------------

    /// An honest one's.
    fn serve(&mut self, length: usize) {
        let worker = &mut self.pair.worker;
        // Once it has written what it likes, it does not know itself where it is.
        if self.hostile {
            return;
        }
        self.claimed = self.claimed || (worker.request_waits() && worker.claim());
        // It would wait for the daemon to leave the slab.
        if !self.claimed || worker.slab_in_use() {
            return;
        }
        self.claimed = false;
        let (body, _) = echo(worker, length);
        let at = self.flights.iter_mut().find(|flight| flight.body[..4] == body[..4]);
        let flight = at.expect("a request was begun that is not under way");
        assert_eq!(flight.body, body);
    }

    /// A whole reply to one near the oldest request.
    fn forge_reply(&mut self, input: &mut Input<'_>) {
        self.hostile = true;
        flawless(&self.requests, &self.region, self.near(input.u8()));
    }

    fn oldest(&self) -> u32 {
        let daemon = &self.pair.daemon;
        daemon.last_posted().wrapping_sub(daemon.under_way()).wrapping_add(1)
    }

    fn near(&self, distance: u8) -> u32 {
        self.oldest().wrapping_add_signed(i32::from(distance.cast_signed()))
    }

    /// Any number in one field of the reply that is awaited.
    fn write_field(&mut self, input: &mut Input<'_>) {
        self.hostile = true;
        let slot = reply_slot(&self.region, self.oldest());
        let (field, value) = (input.u8() % 12, input.number());
        #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
        let (narrow, order) = (value as u32, Ordering::Relaxed);
        match field {
            0 => slot.sequence.store(narrow, order),
            1 => slot.verdict.store(narrow, order),
            2 => slot.tag.store(value, order),
            3 => slot.body_len.store(value, order),
            4 => slot.started_ns.store(value, order),
            5 => slot.finished_ns.store(value, order),
            6 => slot.result.store(narrow.cast_signed(), order),
            7 => slot.status.store(narrow, order),
            8 => slot.headers_len.store(narrow, order),
            9 => slot.header_count.store(narrow, order),
            10 => slot.trailer_count.store(narrow, order),
            _ => slot.in_slab.store(narrow, order),
        }
    }

    /// Any word anywhere in the region.
    fn write_word(&mut self, input: &mut Input<'_>) {
        self.hostile = true;
        let words = ROOM.reply_region() / 8;
        let at = match input.u8() % 4 {
            0 => u64::from(input.u32()) % words,
            1 => u64::from(input.u8()) % (PAGE as u64 / 8),
            _ => (Geometry::slot(self.near(input.u8())) / 8 + usize::from(input.u8() % 64)) as u64,
        };
        // SAFETY: an aligned word of the region; all of it is atomics or opaque bytes.
        let word: &AtomicU64 = unsafe { self.region.atomics(usize::try_from(at).unwrap_or(0) * 8) };
        word.store(input.number(), Ordering::Relaxed);
    }

    fn write_claim(&mut self, input: &mut Input<'_>) {
        self.hostile = true;
        let claim = match input.u8() {
            0..64 => input.u64(),
            64..128 => u64::from(self.near(input.u8())) | REVOKED,
            128.. => u64::from(self.near(input.u8())),
        };
        reply_control(&self.region).claim.store(claim, Ordering::SeqCst);
    }

    /// Encoded fields, or anything else, with the lengths that belong to it.
    fn write_headers(&mut self, input: &mut Input<'_>) {
        self.hostile = true;
        let slot = Geometry::slot(self.oldest());
        let descriptor = reply_slot(&self.region, self.oldest());
        let (count, trailers, length) = (input.u8() % 8, input.u8() % 4, input.u8());
        let encoded = input.bytes(length.into());
        descriptor.headers_len.store(u32::try_from(encoded.len()).unwrap_or(0), Ordering::Relaxed);
        descriptor.header_count.store(count.into(), Ordering::Relaxed);
        descriptor.trailer_count.store(trailers.into(), Ordering::Relaxed);
        let to = self.region.at(slot + REPLY_HEADERS, REPLY_BODY - REPLY_HEADERS);
        // SAFETY: there is room for more than 255 bytes by `Region::at`.
        unsafe { std::ptr::copy_nonoverlapping(encoded.as_ptr(), to.as_ptr(), encoded.len()) };
    }

    /// What MADV_REMOVE and a punched hole do to the daemon's map.
    fn remove_pages(&mut self) {
        self.hostile = true;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let length = libc::off_t::try_from(ROOM.reply_region()).unwrap_or(0);
        // SAFETY: takes no pointers; what lies in the region are atomics and opaque bytes.
        let done = unsafe { libc::fallocate(self.pair.descriptors.reply.as_raw_fd(), mode, 0, length) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// What must hold of every reply, whoever wrote it.
fn check(reply: &Reply<'_>) {
    let length = reply.body.len();
    assert!(length as u64 <= ROOM.max_response);
    assert_eq!(reply.body.is_empty(), length == 0);
    if let Some(span) = reply.body.large() {
        assert!(span.length == length && span.offset + length as u64 <= ROOM.reply_region());
    }
    let mut body = vec![b'!'; 3];
    reply.body.copy_to(&mut body);
    assert!(body.len() == 3 + length && body.starts_with(b"!!!"));
    if let ReplyKind::Response { status } = reply.kind {
        assert!((200..=599).contains(&status));
    }
    let fields = reply.headers.chain(reply.trailers);
    let (count, length) = fields
        .fold((0, 0), |(count, length), (name, value)| (count + 1, length + 4 + name.len() + value.len()));
    assert!(count <= MAX_RESPONSE_HEADERS && length <= MAX_RESPONSE_HEAD);
}

/// The body of a request as it lies in the channel.
fn posted_body(requests: &Region, flight: &Flight) -> Vec<u8> {
    let slot = Geometry::slot(flight.sequence);
    // SAFETY: `RequestDescriptor` consists of atomics; slots begin at a page.
    let descriptor: &RequestDescriptor = unsafe { requests.atomics(slot) };
    let before =
        [&descriptor.method_len, &descriptor.path_len, &descriptor.query_len, &descriptor.headers_len];
    let before: usize = before.iter().map(|length| length.load(Ordering::Relaxed) as usize).sum();
    let length = usize::try_from(descriptor.body_len.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let payload = match descriptor.in_slab.load(Ordering::Relaxed) {
        0 => slot + size_of::<RequestDescriptor>(),
        _ => Geometry::slab(),
    };
    let from = requests.at(payload + before, length);
    let mut body = Vec::with_capacity(length);
    // SAFETY: `length` bytes are mapped by `Region::at`, and nobody but this thread writes requests.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), body.as_mut_ptr(), length);
        body.set_len(length);
    }
    body
}
