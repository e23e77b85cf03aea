//! Where things lie in the two regions.
//!
//! ```text
//! region   page 0     pages 1 … CHANNEL_DEPTH      then
//! request  control    slot: descriptor | payload   slab: a payload that a slot cannot hold
//! reply    control    slot: descriptor | headers | body   slab: a body that a slot cannot hold
//! ```
//!
//! A request's payload is method, path, query, header fields and body, one after the other; a header field
//! is its two lengths (`u16`, native order), name and value. Trailers, in either direction, are the last of the
//! header fields, and the descriptor says how many. There is one slab, so at most one request in
//! the channel uses it, and a reply in the slab must be taken before the next request is begun.

use std::mem::size_of;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use crate::limits::{CHANNEL_DEPTH, CHANNEL_SLOT, FUNCTION_NOFILE, MAX_HEAD, MAX_RESPONSE_HEAD};

/// Descriptor numbers of a worker, as the warden puts them: the highest that it may have, so that they
/// never stand where its `init` has opened something.
#[allow(clippy::cast_possible_truncation)] // A few dozen.
pub(crate) const REQUEST_FD: i32 = FUNCTION_NOFILE as i32 - 3;
/// See [`REQUEST_FD`].
#[allow(clippy::cast_possible_truncation)] // A few dozen.
pub(crate) const REPLY_FD: i32 = FUNCTION_NOFILE as i32 - 2;
/// See [`REQUEST_FD`].
#[allow(clippy::cast_possible_truncation)] // A few dozen.
pub(crate) const BELL_FD: i32 = FUNCTION_NOFILE as i32 - 1;

/// First page of the request region. Written by the daemon only.
#[repr(C, align(64))]
pub(crate) struct RequestControl {
    /// Sequence number of the last request posted: the futex word.
    pub(crate) posted: AtomicU32,
    /// Not 0: ring the eventfd when a reply is published, once for each value.
    pub(crate) bell: AtomicU32,
    /// Sequence number of the last reply taken.
    pub(crate) taken: AtomicU32,
    /// Where to go on after a revocation: every request up to this one is either begun or revoked.
    pub(crate) resume: AtomicU32,
}

/// First page of the reply region. Written by the worker: hostile.
#[repr(C, align(64))]
pub(crate) struct ReplyControl {
    /// Not 0: the worker sleeps, or is about to.
    pub(crate) sleeping: AtomicU32,
    /// Sequence number of the last request begun, and [`REVOKED`]. The worker claims each request by a
    /// compare-and-swap before it reads it; the daemon takes back those that are not claimed by another.
    pub(crate) claim: AtomicU64,
}

/// In [`ReplyControl::claim`]: the requests behind the claimed one have been taken back.
pub(crate) const REVOKED: u64 = 1 << 32;

/// Head of a request slot.
#[repr(C, align(64))]
pub(crate) struct RequestDescriptor {
    pub(crate) tag: AtomicU64,
    pub(crate) deadline_ns: AtomicU64,
    pub(crate) body_len: AtomicU64,
    pub(crate) method_len: AtomicU32,
    pub(crate) path_len: AtomicU32,
    pub(crate) query_len: AtomicU32,
    pub(crate) headers_len: AtomicU32,
    /// Without the trailers.
    pub(crate) header_count: AtomicU32,
    pub(crate) trailer_count: AtomicU32,
    /// Not 0: the payload lies in the slab.
    pub(crate) in_slab: AtomicU32,
    /// Not 0: the reply is to say when the function began and returned.
    pub(crate) timed: AtomicU32,
    pub(crate) invocation: [AtomicU64; 4],
}

/// Head of a reply slot. An all-zero descriptor is no reply, since sequence numbers begin at 1.
#[repr(C, align(64))]
pub(crate) struct ReplyDescriptor {
    /// Stored last, with release: publishes the rest.
    pub(crate) sequence: AtomicU32,
    /// A [`Verdict`].
    pub(crate) verdict: AtomicU32,
    pub(crate) tag: AtomicU64,
    pub(crate) body_len: AtomicU64,
    /// Monotonic time at which the function began, and returned; 0 if nobody asked.
    pub(crate) started_ns: AtomicU64,
    /// See `started_ns`.
    pub(crate) finished_ns: AtomicU64,
    /// What `invoke` returned.
    pub(crate) result: AtomicI32,
    pub(crate) status: AtomicU32,
    pub(crate) headers_len: AtomicU32,
    /// Without the trailers.
    pub(crate) header_count: AtomicU32,
    /// Not 0: the body lies in the slab.
    pub(crate) in_slab: AtomicU32,
    pub(crate) trailer_count: AtomicU32,
}

/// How an invocation ended, as the worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// `invoke` returned.
    Returned = 1,
    /// The response would have exceeded the limit.
    TooLarge = 2,
}

pub(crate) const PAGE: usize = 4096;
/// Bytes of a request slot behind its descriptor.
pub(crate) const REQUEST_INLINE: usize = CHANNEL_SLOT - size_of::<RequestDescriptor>();
/// Where the header fields of a reply begin in its slot.
pub(crate) const REPLY_HEADERS: usize = size_of::<ReplyDescriptor>();
/// Where an inline body of a reply begins in its slot.
pub(crate) const REPLY_BODY: usize = REPLY_HEADERS + MAX_RESPONSE_HEAD;
/// Bytes of body that a reply slot holds.
pub(crate) const REPLY_INLINE: usize = CHANNEL_SLOT - REPLY_BODY;

const _: () = {
    assert!(size_of::<RequestControl>() <= PAGE && size_of::<ReplyControl>() <= PAGE);
    assert!(size_of::<RequestDescriptor>() == 128);
    assert!(size_of::<ReplyDescriptor>() == 64);
    assert!(CHANNEL_SLOT == PAGE);
};

/// Sizes of a function's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Greatest body of a request, in bytes.
    pub max_request: u64,
    /// Greatest body of a response, in bytes.
    pub max_response: u64,
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE as u64) * PAGE as u64
}

impl Geometry {
    /// Offset of slot `sequence % CHANNEL_DEPTH`, the same in both regions.
    pub(crate) fn slot(sequence: u32) -> usize {
        PAGE + (sequence % CHANNEL_DEPTH) as usize * CHANNEL_SLOT
    }

    /// Offset of the slab, the same in both regions.
    pub(crate) fn slab() -> usize {
        PAGE + CHANNEL_DEPTH as usize * CHANNEL_SLOT
    }

    /// Bytes of the request region.
    pub(crate) fn request_region(self) -> u64 {
        Self::slab() as u64 + pages(self.max_request + 2 * MAX_HEAD as u64)
    }

    /// Bytes of the reply region.
    pub(crate) fn reply_region(self) -> u64 {
        Self::slab() as u64 + pages(self.max_response)
    }
}
