//! The daemon's end of a channel. Everything it reads from the reply region is hostile.

mod slab;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::layout::{
    Geometry, REPLY_BODY, REPLY_HEADERS, REPLY_INLINE, REQUEST_INLINE, REVOKED, ReplyControl,
    ReplyDescriptor, RequestControl, RequestDescriptor, Verdict,
};
use super::region::Region;
use super::reply::{Body, ProtocolViolation, Reply, ReplyHeaders, ReplyKind, well_formed};
use super::request::{Outline, RequestView};
use crate::limits::{CHANNEL_DEPTH, LARGE_PAYLOAD, MAX_HEAD, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};
use crate::sys;
use slab::Slab;
pub use slab::Span;

/// What became of [`DaemonEnd::post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The request is in the channel; the worker is awake and will find it.
    Awake,
    /// The request is in the channel; whoever posted it must wake the worker.
    MustWake,
    /// No room: as many requests as fit are under way, or the slab is in use.
    Full,
}

/// Descriptors that the warden puts into the worker.
#[derive(Debug)]
pub(crate) struct WorkerDescriptors {
    pub(crate) request: OwnedFd,
    pub(crate) reply: OwnedFd,
    pub(crate) bell: OwnedFd,
}

/// The daemon's end of one worker's channel.
#[derive(Debug)]
pub struct DaemonEnd {
    request: Region,
    reply: Region,
    request_file: OwnedFd,
    reply_file: OwnedFd,
    geometry: Geometry,
    bell: OwnedFd,
    /// Bytes of the request and of the last reply that lie in the slabs.
    large_request: usize,
    large_reply: usize,
    /// Sequence number of the last request posted.
    posted: u32,
    /// Sequence number of the last reply taken.
    taken: u32,
    /// Requests that were taken back, the first and the last, until the reply before them is taken.
    revoked: Option<(u32, u32)>,
    /// What the slab of the request region is used for.
    slab: Slab,
    /// Whether the reply taken last may still be looked at.
    reply_in_use: bool,
    /// Tags of the requests under way, by slot.
    tags: [u64; CHANNEL_DEPTH as usize],
    /// Makes the tags: keyed by random numbers, so that a worker that has seen some cannot tell the next.
    tagger: RandomState,
    /// Requests tagged so far.
    tagged: u64,
    /// Value of the request region's bell while the daemon sleeps.
    bell_value: u32,
    /// The header fields of the reply that was taken last, copied.
    headers: Vec<u8>,
}

impl DaemonEnd {
    /// Makes a channel and the descriptors of its other end.
    pub(crate) fn create(geometry: Geometry) -> io::Result<(Self, WorkerDescriptors)> {
        let request_file = sys::sealed_memfd(c"hairtrigger-request", geometry.request_region())?;
        let reply_file = sys::sealed_memfd(c"hairtrigger-reply", geometry.reply_region())?;
        let bell = sys::eventfd()?;
        let end = Self {
            request: Region::map(request_file.as_fd(), geometry.request_region(), true)?,
            reply: Region::map(reply_file.as_fd(), geometry.reply_region(), true)?,
            geometry,
            bell: bell.try_clone()?,
            reply_file: reply_file.try_clone()?,
            large_request: 0,
            large_reply: 0,
            posted: 0,
            taken: 0,
            revoked: None,
            slab: Slab::Free,
            reply_in_use: false,
            tags: [0; CHANNEL_DEPTH as usize],
            tagger: RandomState::new(),
            tagged: 0,
            bell_value: 1,
            headers: Vec::with_capacity(MAX_RESPONSE_HEAD),
            request_file,
        };
        let descriptors = WorkerDescriptors {
            // The worker must not be able to write its requests, nor to ask for a writable map of them.
            request: sys::reopen_read_only(end.request_file.as_fd())?,
            reply: reply_file,
            bell,
        };
        Ok((end, descriptors))
    }

    /// As if `sequence` requests had been posted and answered.
    #[cfg(any(test, fuzzing))]
    pub(super) fn start_at(&mut self, sequence: u32) {
        (self.posted, self.taken) = (sequence, sequence);
        self.control().posted.store(sequence, Ordering::Release);
        self.control().taken.store(sequence, Ordering::Release);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn control(&self) -> &RequestControl {
        // SAFETY: `RequestControl` consists of atomics and lies at the start of a page.
        unsafe { self.request.atomics(0) }
    }

    fn reply_control(&self) -> &ReplyControl {
        // SAFETY: as for `control`.
        unsafe { self.reply.atomics(0) }
    }

    /// Requests under way in this channel.
    pub fn under_way(&self) -> u32 {
        self.posted.wrapping_sub(self.taken)
    }

    /// Posts a request. The body must not exceed the geometry's, the head not twice [`MAX_HEAD`].
    pub fn post(&mut self, request: &RequestView<'_>) -> Posted {
        let parts = [request.method, request.path, request.query, request.headers, request.body];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(request.body.len() as u64 <= self.geometry.max_request, "the body was checked before");
        assert!(length - request.body.len() <= 2 * MAX_HEAD, "the head was checked before");
        if self.under_way() == CHANNEL_DEPTH {
            return Posted::Full;
        }
        let in_slab = length > REQUEST_INLINE;
        if in_slab && self.slab != Slab::Free {
            return Posted::Full;
        }
        let sequence = self.posted.wrapping_add(1);
        let to = if in_slab {
            self.slab = Slab::Holds(sequence);
            self.large_request = length;
            self.request.at(Geometry::slab(), length)
        } else {
            self.request.at(Geometry::slot(sequence) + size_of::<RequestDescriptor>(), length)
        };
        // SAFETY: `to` has room for all parts by `Region::at` above, and no request under way uses these bytes:
        // the slot is free, or the slab ours.
        unsafe { copy_parts(&parts, to) };
        self.publish(&Outline::new(request, request.body.len()), request.deadline_ns, in_slab)
    }

    /// Puts a request into the next slot, its payload being where it belongs, and tells the worker.
    fn publish(&mut self, request: &Outline, deadline_ns: u64, in_slab: bool) -> Posted {
        let sequence = self.posted.wrapping_add(1);
        let tag = self.tagger.hash_one(self.tagged);
        self.tagged = self.tagged.wrapping_add(1);
        self.tags[(sequence % CHANNEL_DEPTH) as usize] = tag;
        // SAFETY: `RequestDescriptor` consists of atomics; slots begin at a page.
        let descriptor: &RequestDescriptor = unsafe { self.request.atomics(Geometry::slot(sequence)) };
        descriptor.tag.store(tag, Ordering::Relaxed);
        descriptor.deadline_ns.store(deadline_ns, Ordering::Relaxed);
        descriptor.body_len.store(request.body as u64, Ordering::Relaxed);
        descriptor.method_len.store(request.method, Ordering::Relaxed);
        descriptor.path_len.store(request.path, Ordering::Relaxed);
        descriptor.query_len.store(request.query, Ordering::Relaxed);
        descriptor.headers_len.store(request.headers, Ordering::Relaxed);
        descriptor.header_count.store(request.header_count, Ordering::Relaxed);
        descriptor.trailer_count.store(request.trailer_count, Ordering::Relaxed);
        descriptor.in_slab.store(u32::from(in_slab), Ordering::Relaxed);
        descriptor.timed.store(u32::from(request.timed), Ordering::Relaxed);
        for (word, bytes) in descriptor.invocation.iter().zip(request.invocation.chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        self.posted = sequence;
        self.control().posted.store(sequence, Ordering::Release);
        // Between our store of `posted` and our load of `sleeping`; the worker has its fence between its
        // store of `sleeping` and its load of `posted`. One of the two sees the other's store.
        fence(Ordering::SeqCst);
        match self.reply_control().sleeping.load(Ordering::Relaxed) {
            0 => Posted::Awake,
            _ => Posted::MustWake,
        }
    }

    /// The futex word on which the worker sleeps.
    pub fn wake_word(&self) -> &AtomicU32 {
        &self.control().posted
    }

    /// Wakes the worker by a system call.
    pub fn wake(&self) {
        sys::futex_wake(&self.control().posted);
    }

    /// The eventfd that the worker rings.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Asks to be rung at the next reply. Returns whether a reply is there already: then the shard must not
    /// sleep.
    pub fn listen(&mut self) -> bool {
        self.bell_value = self.bell_value.wrapping_add(1).max(1);
        self.control().bell.store(self.bell_value, Ordering::Relaxed);
        // Pairs with the worker's fence between publishing a reply and reading `bell`.
        fence(Ordering::SeqCst);
        self.reply_waits()
    }

    /// Takes the wish to be rung back.
    pub fn unlisten(&self) {
        self.control().bell.store(0, Ordering::Relaxed);
    }

    /// Whether something that looks like the next reply is there.
    pub fn reply_waits(&self) -> bool {
        let next = self.taken.wrapping_add(1);
        self.under_way() > 0 && self.descriptor(next).sequence.load(Ordering::Acquire) == next
    }

    fn descriptor(&self, sequence: u32) -> &ReplyDescriptor {
        // SAFETY: `ReplyDescriptor` consists of atomics; slots begin at a page.
        unsafe { self.reply.atomics(Geometry::slot(sequence)) }
    }

    /// Sequence number of the request posted last.
    pub fn last_posted(&self) -> u32 {
        self.posted
    }

    /// Sequence number of the last request that the worker says it has begun. Hostile: only ever a reason
    /// to treat the worker's own invocations worse.
    pub fn begun(&self) -> u32 {
        let claim = self.reply_control().claim.load(Ordering::SeqCst);
        u32::try_from(claim & !REVOKED).unwrap_or(u32::MAX)
    }

    /// Takes back the requests that the worker has not begun; returns how many it keeps. Those taken back
    /// will not be begun, unless the worker is hostile, and then its replies to them are not looked at.
    ///
    /// A revocation is not followed by another before the worker has noticed it and what it kept is
    /// answered: until then this takes nothing back and returns [`DaemonEnd::under_way`].
    pub fn revoke(&mut self) -> Result<u32, ProtocolViolation> {
        /// A worker that runs ahead this often meanwhile is not slow.
        const TRIES: usize = 4;
        if self.revoked.is_some() {
            return Ok(self.under_way());
        }
        for _ in 0..TRIES {
            let claim = &self.reply_control().claim;
            let seen = claim.load(Ordering::SeqCst);
            if seen & REVOKED != 0 {
                // It has not noticed the revocation before this one; where it goes on is settled already.
                return Ok(self.under_way());
            }
            // Wider values are as wrong as any other that was not posted.
            let begun = u32::try_from(seen).unwrap_or(self.taken.wrapping_sub(1));
            let kept = begun.wrapping_sub(self.taken);
            if kept > self.under_way() {
                return Err(ProtocolViolation("a claim on a request that was not posted"));
            }
            if kept == self.under_way() {
                return Ok(kept);
            }
            // Before the claim is marked: whoever sees the mark finds where to go on.
            self.control().resume.store(self.posted, Ordering::Release);
            let revoked = seen | REVOKED;
            if claim.compare_exchange(seen, revoked, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                continue;
            }
            let first = begun.wrapping_add(1);
            self.revoked = Some((first, self.posted));
            if matches!(self.slab, Slab::Holds(user) if user.wrapping_sub(first).cast_signed() >= 0) {
                self.slab = Slab::Free;
            }
            self.skip_revoked();
            // This tells that those taken back count as taken. A worker whose last reply lies in the slab waits
            // for that before it uses the slab again; so not while that reply is looked at.
            if !self.reply_in_use {
                self.tell_taken();
            }
            return Ok(kept);
        }
        Ok(self.under_way())
    }

    /// Counts revoked requests as taken once everything before them is.
    fn skip_revoked(&mut self) {
        if let Some((first, last)) = self.revoked
            && self.taken.wrapping_add(1) == first
        {
            self.taken = last;
            self.revoked = None;
        }
    }

    /// Takes the next reply, if there is one.
    pub fn take_reply(&mut self) -> Result<Option<Reply<'_>>, ProtocolViolation> {
        let sequence = self.taken.wrapping_add(1);
        if self.under_way() == 0 {
            return Ok(None);
        }
        let descriptor = self.descriptor(sequence);
        let published = descriptor.sequence.load(Ordering::Acquire);
        if published != sequence {
            // What the slot held before: nothing, or the reply of some rounds earlier.
            let age = sequence.wrapping_sub(published);
            let known = published == 0 || (age.is_multiple_of(CHANNEL_DEPTH) && age < u32::MAX / 2);
            return if known { Ok(None) } else { Err(ProtocolViolation("a reply out of sequence")) };
        }
        // Each field is read once; from here on only these copies count.
        let tag = descriptor.tag.load(Ordering::Relaxed);
        let verdict = descriptor.verdict.load(Ordering::Relaxed);
        let body_len = descriptor.body_len.load(Ordering::Relaxed);
        let result = descriptor.result.load(Ordering::Relaxed);
        let status = descriptor.status.load(Ordering::Relaxed);
        let headers_len = descriptor.headers_len.load(Ordering::Relaxed) as usize;
        let header_count = descriptor.header_count.load(Ordering::Relaxed);
        let trailer_count = descriptor.trailer_count.load(Ordering::Relaxed);
        let in_slab = descriptor.in_slab.load(Ordering::Relaxed) != 0;
        let started = descriptor.started_ns.load(Ordering::Relaxed);
        let finished = descriptor.finished_ns.load(Ordering::Relaxed);
        if tag != self.tags[(sequence % CHANNEL_DEPTH) as usize] {
            return Err(ProtocolViolation("a reply with a foreign tag"));
        }
        let field_count = header_count.saturating_add(trailer_count);
        if headers_len > MAX_RESPONSE_HEAD || field_count as usize > MAX_RESPONSE_HEADERS {
            return Err(ProtocolViolation("a reply with too many header fields"));
        }
        let room = if in_slab { self.geometry.max_response } else { REPLY_INLINE as u64 };
        if body_len > room {
            return Err(ProtocolViolation("a reply longer than its room"));
        }
        let kind = match (verdict, result) {
            (v, _) if v == Verdict::TooLarge as u32 => ReplyKind::TooLarge,
            (v, 0) if v == Verdict::Returned as u32 => match u16::try_from(status) {
                Ok(status @ 200..=599) => ReplyKind::Response { status },
                _ => return Err(ProtocolViolation("a reply with a status outside 200 to 599")),
            },
            (v, code) if v == Verdict::Returned as u32 => ReplyKind::FunctionError(code),
            _ => return Err(ProtocolViolation("a reply with an unknown verdict")),
        };
        let slot = Geometry::slot(sequence);
        self.headers.clear();
        Body {
            start: self.reply.at(slot + REPLY_HEADERS, headers_len),
            length: headers_len,
            in_file: None,
            _region: std::marker::PhantomData,
        }
        .copy_to(&mut self.headers);
        let Some(header_len) = well_formed(&self.headers, header_count, trailer_count) else {
            return Err(ProtocolViolation("a reply with malformed header fields"));
        };
        let body_len = usize::try_from(body_len).unwrap_or(usize::MAX);
        self.large_reply = if in_slab { body_len } else { 0 };
        self.taken = sequence;
        self.reply_in_use = true;
        if self.slab == Slab::Holds(sequence) {
            self.slab = Slab::Free;
        }
        self.skip_revoked();
        let at = if in_slab { Geometry::slab() } else { slot + REPLY_BODY };
        let body = Body {
            start: self.reply.at(at, body_len),
            length: body_len,
            in_file: in_slab.then_some((self.reply_file.as_fd(), at)),
            _region: std::marker::PhantomData,
        };
        let (headers, trailers) = self.headers.split_at(header_len);
        let headers = ReplyHeaders { encoded: headers, left: header_count };
        let trailers = ReplyHeaders { encoded: trailers, left: trailer_count };
        Ok(Some(Reply { kind, headers, trailers, body, times: (started, finished) }))
    }

    fn tell_taken(&self) {
        self.control().taken.store(self.taken, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Copies the parts one behind the other.
///
/// # Safety
/// `to` lies in the request region, with room for all of them, and no request under way uses these bytes. The
/// worker can only read there.
unsafe fn copy_parts(parts: &[&[u8]], mut to: NonNull<u8>) {
    for part in parts {
        // SAFETY: the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(part.as_ptr(), to.as_ptr(), part.len());
            to = to.add(part.len());
        }
    }
}
