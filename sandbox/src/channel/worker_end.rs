//! The worker's end of a channel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use hairtrigger_abi::raw::{self, Bytes};

use super::layout::{
    BELL_FD, Geometry, REPLY_BODY, REPLY_FD, REPLY_HEADERS, REPLY_INLINE, REQUEST_FD, ReplyControl,
    ReplyDescriptor, RequestControl, RequestDescriptor, Verdict,
};
use super::region::Region;
use crate::limits::{MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};
use crate::sys;

/// The worker's end.
pub(crate) struct WorkerEnd {
    request: Region,
    reply: Region,
    geometry: Geometry,
    bell: RawFd,
    /// Sequence number of the last request begun.
    begun: u32,
    /// The value of `bell` that was rung last.
    rung: u32,
    /// Whether the reply before used the slab, which the daemon must have left before it is used again.
    slab_used: bool,
}

/// A request as the plugin gets it: all pointers go into the request region.
pub(crate) struct RequestReader<'a> {
    descriptor: &'a RequestDescriptor,
    payload: *const u8,
    invocation: [u8; 32],
}

impl WorkerEnd {
    /// Maps the descriptors that the warden has put into this process.
    pub(crate) fn open(geometry: Geometry) -> io::Result<Self> {
        // SAFETY: the warden has just put these descriptors here, and they are not closed before the end of
        // this function.
        let (request, reply) =
            unsafe { (BorrowedFd::borrow_raw(REQUEST_FD), BorrowedFd::borrow_raw(REPLY_FD)) };
        let end = Self::map(geometry, request, reply, BELL_FD)?;
        for fd in [request.as_raw_fd(), reply.as_raw_fd()] {
            // SAFETY: nobody else in this process knows these descriptors; the maps stay.
            unsafe { libc::close(fd) };
        }
        Ok(end)
    }

    /// Maps the two regions; `bell` is kept as a number, since a plugin can close it anyway.
    pub(super) fn map(
        geometry: Geometry,
        request: BorrowedFd<'_>,
        reply: BorrowedFd<'_>,
        bell: RawFd,
    ) -> io::Result<Self> {
        Ok(Self {
            request: Region::map(request, geometry.request_region(), false)?,
            reply: Region::map(reply, geometry.reply_region(), true)?,
            geometry,
            bell,
            begun: 0,
            rung: 0,
            slab_used: false,
        })
    }

    /// As if `sequence` requests had been begun and answered.
    #[cfg(any(test, fuzzing))]
    pub(super) fn start_at(&mut self, sequence: u32) {
        self.begun = sequence;
        self.reply_control().claim.store(u64::from(sequence), Ordering::SeqCst);
    }

    fn control(&self) -> &RequestControl {
        // SAFETY: `RequestControl` consists of atomics and lies at the start of a page.
        unsafe { self.request.atomics(0) }
    }

    fn reply_control(&self) -> &ReplyControl {
        // SAFETY: as for `control`.
        unsafe { self.reply.atomics(0) }
    }

    /// Waits for the next request and claims it.
    pub(crate) fn next(&mut self) {
        loop {
            self.wait();
            if self.claim() {
                return;
            }
        }
    }

    /// Whether a request was posted behind the one begun last. It may have been taken back since.
    pub(super) fn request_waits(&self) -> bool {
        self.control().posted.load(Ordering::Acquire) != self.begun
    }

    /// Claims the request behind the one begun last, of which [`WorkerEnd::request_waits`] has told. False
    /// if it was taken back: then everything that was is skipped.
    pub(super) fn claim(&mut self) -> bool {
        let next = self.begun.wrapping_add(1);
        let claim = &self.reply_control().claim;
        let (from, to) = (u64::from(self.begun), u64::from(next));
        if claim.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.begun = next;
            return true;
        }
        // The daemon has taken back what waited here, and says where to go on.
        let resume = self.control().resume.load(Ordering::Acquire);
        claim.store(u64::from(resume), Ordering::SeqCst);
        self.begun = resume;
        false
    }

    /// Waits until a request is there that was not begun.
    fn wait(&self) {
        while !self.request_waits() {
            self.reply_control().sleeping.store(1, Ordering::Relaxed);
            // Pairs with the daemon's fence between storing `posted` and loading `sleeping`.
            fence(Ordering::SeqCst);
            if !self.request_waits() {
                sys::futex_wait(&raw const self.control().posted, self.begun);
            }
            self.reply_control().sleeping.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the slab still holds a reply that the daemon has not left.
    pub(super) fn slab_in_use(&self) -> bool {
        self.slab_used && self.control().taken.load(Ordering::Acquire) != self.begun.wrapping_sub(1)
    }

    /// Waits until the daemon has taken the reply that lies in the slab.
    fn wait_for_slab(&mut self) {
        while self.slab_in_use() {
            // Rare (large replies with further requests waiting behind them), so a short sleep will do.
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        self.slab_used = false;
    }

    /// The request that was begun, and where its reply goes.
    pub(crate) fn parts(&mut self) -> (RequestReader<'_>, ReplyWriter<'_>) {
        self.wait_for_slab();
        let slot = Geometry::slot(self.begun);
        // SAFETY: both descriptors consist of atomics; slots begin at a page.
        let (request, reply): (&RequestDescriptor, &ReplyDescriptor) =
            unsafe { (self.request.atomics(slot), self.reply.atomics(slot)) };
        let payload = if request.in_slab.load(Ordering::Relaxed) != 0 {
            self.request.at(Geometry::slab(), 0)
        } else {
            self.request.at(slot + size_of::<RequestDescriptor>(), 0)
        };
        let mut invocation = [0; 32];
        for (bytes, word) in invocation.chunks_exact_mut(8).zip(&request.invocation) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let reader = RequestReader { descriptor: request, payload: payload.as_ptr(), invocation };
        let writer = ReplyWriter {
            region: &self.reply,
            descriptor: reply,
            slot,
            sequence: self.begun,
            tag: request.tag.load(Ordering::Relaxed),
            started_ns: if request.timed.load(Ordering::Relaxed) == 0 { 0 } else { sys::monotonic_ns() },
            max_response: usize::try_from(self.geometry.max_response).unwrap_or(usize::MAX),
            status: 200,
            headers_len: 0,
            header_count: 0,
            trailers: Vec::new(),
            trailer_count: 0,
            body_len: 0,
            reserved: 0,
            in_slab: false,
            too_large: false,
        };
        (reader, writer)
    }

    /// After [`ReplyWriter::publish`]: rings, if the daemon asked for it.
    pub(crate) fn published(&mut self, used_slab: bool) {
        self.slab_used = used_slab;
        // Pairs with the daemon's fence between storing `bell` and looking for replies.
        fence(Ordering::SeqCst);
        let bell = self.control().bell.load(Ordering::Relaxed);
        if bell != 0 && bell != self.rung {
            self.rung = bell;
            // SAFETY: the descriptor was put here by the warden. A plugin that closed it, or put another in
            // its place, loses its own bell: its invocation then ends at its deadline.
            sys::ring(unsafe { BorrowedFd::borrow_raw(self.bell) });
        }
    }
}

impl RequestReader<'_> {
    /// The plugin's view; `headers`, which takes trailers too, is scratch that must live as long as the view is used.
    pub(crate) fn view(&self, headers: &mut Vec<raw::Header>) -> raw::Request {
        let mut at = self.payload;
        let mut take = |length: usize| {
            let bytes = Bytes { data: at, len: length };
            // SAFETY: the daemon wrote lengths that together stay within the region; it is trusted by the
            // worker, and the worker cannot write them.
            at = unsafe { at.add(length) };
            bytes
        };
        let length = |word: &std::sync::atomic::AtomicU32| word.load(Ordering::Relaxed) as usize;
        let method = take(length(&self.descriptor.method_len));
        let path = take(length(&self.descriptor.path_len));
        let query = take(length(&self.descriptor.query_len));
        let fields = take(length(&self.descriptor.headers_len));
        let body = take(usize::try_from(self.descriptor.body_len.load(Ordering::Relaxed)).unwrap_or(0));
        headers.clear();
        // SAFETY: `fields` lies in the request region, which stays mapped and is not written while the
        // request is under way.
        let mut rest = unsafe { std::slice::from_raw_parts(fields.data, fields.len) };
        while let Some((lengths, after)) = rest.split_at_checked(4) {
            let name = usize::from(u16::from_ne_bytes([lengths[0], lengths[1]]));
            let value = usize::from(u16::from_ne_bytes([lengths[2], lengths[3]]));
            let (name, after) = after.split_at(name);
            let (value, after) = after.split_at(value);
            let bytes = |part: &[u8]| Bytes { data: part.as_ptr(), len: part.len() };
            headers.push(raw::Header { name: bytes(name), value: bytes(value) });
            rest = after;
        }
        let header_count = length(&self.descriptor.header_count);
        raw::Request {
            #[allow(clippy::cast_possible_truncation)] // A hundred bytes or so.
            struct_size: size_of::<raw::Request>() as u32,
            header_count: self.descriptor.header_count.load(Ordering::Relaxed),
            headers: headers.as_ptr(),
            trailers: headers[header_count.min(headers.len())..].as_ptr(),
            trailer_count: self.descriptor.trailer_count.load(Ordering::Relaxed),
            method,
            path,
            query,
            body,
            invocation_id: Bytes { data: self.invocation.as_ptr(), len: self.invocation.len() },
            deadline_ns: self.descriptor.deadline_ns.load(Ordering::Relaxed),
        }
    }
}

/// A reply under construction, in place.
pub(crate) struct ReplyWriter<'a> {
    region: &'a Region,
    descriptor: &'a ReplyDescriptor,
    slot: usize,
    sequence: u32,
    tag: u64,
    /// 0 unless the daemon wants to know.
    started_ns: u64,
    max_response: usize,
    status: u32,
    headers_len: usize,
    header_count: u32,
    /// Encoded as header fields are, to be put behind those.
    trailers: Vec<u8>,
    trailer_count: u32,
    body_len: usize,
    /// Bytes behind the body that [`ReplyWriter::reserve`] gave out.
    reserved: usize,
    in_slab: bool,
    too_large: bool,
}

impl ReplyWriter<'_> {
    pub(crate) fn set_status(&mut self, status: u32) -> i32 {
        if !(200..=599).contains(&status) {
            return raw::INVALID;
        }
        self.status = status;
        raw::OK
    }

    pub(crate) fn add_header(&mut self, name: &[u8], value: &[u8]) -> i32 {
        let Some(lengths) = self.lengths(name, value) else { return raw::TOO_LARGE };
        self.put(&[&lengths, name, value]);
        self.header_count += 1;
        raw::OK
    }

    pub(crate) fn add_trailer(&mut self, name: &[u8], value: &[u8]) -> i32 {
        let Some(lengths) = self.lengths(name, value) else { return raw::TOO_LARGE };
        self.trailers.extend_from_slice(&lengths);
        self.trailers.extend_from_slice(name);
        self.trailers.extend_from_slice(value);
        self.trailer_count += 1;
        raw::OK
    }

    /// The two lengths that stand before a field; `None` if there is no room for it.
    fn lengths(&self, name: &[u8], value: &[u8]) -> Option<[u8; 4]> {
        let [a, b] = u16::try_from(name.len()).ok()?.to_ne_bytes();
        let [c, d] = u16::try_from(value.len()).ok()?.to_ne_bytes();
        let length = self.headers_len + self.trailers.len() + 4 + name.len() + value.len();
        let count = self.header_count + self.trailer_count;
        (length <= MAX_RESPONSE_HEAD && (count as usize) < MAX_RESPONSE_HEADERS).then_some([a, b, c, d])
    }

    /// Appends to the header fields, which have room for it.
    fn put(&mut self, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut to = self.region.at(self.slot + REPLY_HEADERS + self.headers_len, length);
        for part in parts {
            // SAFETY: `to` has room for all parts by `Region::at`; a plugin's own buffers do not overlap
            // the reply region unless it forged a pointer, which harms its own reply only.
            unsafe {
                std::ptr::copy(part.as_ptr(), to.as_ptr(), part.len());
                to = to.add(part.len());
            }
        }
        self.headers_len += length;
    }

    fn body_at(&self, offset: usize, length: usize) -> *mut u8 {
        let start = if self.in_slab { Geometry::slab() } else { self.slot + REPLY_BODY };
        self.region.at(start + offset, length).as_ptr()
    }

    /// Room for `length` more bytes of body, or null.
    pub(crate) fn reserve(&mut self, length: usize) -> *mut u8 {
        let Some(end) = self.body_len.checked_add(length).filter(|end| *end <= self.max_response) else {
            self.too_large = true;
            return std::ptr::null_mut();
        };
        if !self.in_slab && end > REPLY_INLINE {
            let from = self.body_at(0, self.body_len);
            self.in_slab = true;
            let to = self.body_at(0, self.body_len);
            // SAFETY: both lie in the region for `body_len` bytes; slot and slab do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(from, to, self.body_len) };
        }
        self.reserved = length;
        self.body_at(self.body_len, length)
    }

    pub(crate) fn commit(&mut self, length: usize) -> i32 {
        if length > self.reserved {
            return raw::INVALID;
        }
        self.reserved = 0;
        self.body_len += length;
        raw::OK
    }

    /// Publishes the reply; returns whether it uses the slab.
    pub(crate) fn publish(mut self, result: i32) -> bool {
        if self.trailer_count > 0 {
            let trailers = std::mem::take(&mut self.trailers);
            self.put(&[&trailers]);
        }
        let verdict = if self.too_large { Verdict::TooLarge } else { Verdict::Returned };
        let d = self.descriptor;
        d.verdict.store(verdict as u32, Ordering::Relaxed);
        d.tag.store(self.tag, Ordering::Relaxed);
        d.started_ns.store(self.started_ns, Ordering::Relaxed);
        let finished_ns = if self.started_ns == 0 { 0 } else { sys::monotonic_ns() };
        d.finished_ns.store(finished_ns, Ordering::Relaxed);
        d.body_len.store(self.body_len as u64, Ordering::Relaxed);
        d.result.store(result, Ordering::Relaxed);
        d.status.store(self.status, Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // At most MAX_RESPONSE_HEAD.
        d.headers_len.store(self.headers_len as u32, Ordering::Relaxed);
        d.header_count.store(self.header_count, Ordering::Relaxed);
        d.trailer_count.store(self.trailer_count, Ordering::Relaxed);
        d.in_slab.store(u32::from(self.in_slab), Ordering::Relaxed);
        d.sequence.store(self.sequence, Ordering::Release);
        self.in_slab
    }
}
