//! Large payloads, which move into and out of the slabs while the shard serves others.
//!
//! A large request is begun ([`DaemonEnd::begin_post`]), its body written to the request file by whoever can do so
//! without stopping the shard, and finished ([`DaemonEnd::finish_post`]). A large reply is read from the reply file;
//! the worker waits until [`DaemonEnd::done_with_reply`]. Pages of both are given back: at once by
//! `done_with_reply`, or before it by whoever takes over with [`DaemonEnd::clear_reply`] and
//! [`DaemonEnd::clear_request`].

use std::os::fd::{AsFd, BorrowedFd};

use super::{
    CHANNEL_DEPTH, DaemonEnd, Geometry, LARGE_PAYLOAD, MAX_HEAD, Outline, Posted, RequestView, copy_parts,
};
use crate::sys;

/// A part of a region's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: usize,
}

/// What the slab of the request region is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slab {
    /// Nothing.
    Free,
    /// A request that is being written and not yet posted.
    Begun(Outline),
    /// The payload of the posted request of this sequence number.
    Holds(u32),
    /// Its pages are being given back.
    Clearing,
}

impl DaemonEnd {
    /// Begins to post a request whose body, of `body_len` bytes, is not `request.body` but is written by the caller
    /// to the returned part of [`DaemonEnd::request_file`]. `None`: there is no room now. Other requests may be
    /// posted meanwhile, and come before this one. Lengths as for [`DaemonEnd::post`].
    pub fn begin_post(&mut self, request: &RequestView<'_>, body_len: usize) -> Option<Span> {
        let parts = [request.method, request.path, request.query, request.headers];
        let head: usize = parts.iter().map(|part| part.len()).sum();
        assert!(request.body.is_empty() && body_len > LARGE_PAYLOAD, "a small body is posted at once");
        assert!(body_len as u64 <= self.geometry.max_request, "the body was checked before");
        assert!(head <= 2 * MAX_HEAD, "the head was checked before");
        if self.slab != Slab::Free || self.under_way() == CHANNEL_DEPTH {
            return None;
        }
        self.slab = Slab::Begun(Outline::new(request, body_len));
        self.large_request = head + body_len;
        let to = self.request.at(Geometry::slab(), head + body_len);
        // SAFETY: `to` has room by `Region::at`, and the slab is ours.
        unsafe { copy_parts(&parts, to) };
        Some(Span { offset: (Geometry::slab() + head) as u64, length: body_len })
    }

    /// Posts the request that was begun; its body is written. [`Posted::Full`] if as many requests as fit are under
    /// way: then it is still begun.
    pub fn finish_post(&mut self, deadline_ns: u64) -> Posted {
        let Slab::Begun(request) = self.slab else { unreachable!("a request was begun before") };
        if self.under_way() == CHANNEL_DEPTH {
            return Posted::Full;
        }
        self.slab = Slab::Holds(self.posted.wrapping_add(1));
        self.publish(&request, deadline_ns, true)
    }

    /// Gives up the request that was begun. Nobody writes its body any more.
    pub fn abandon_post(&mut self) {
        if let Slab::Begun(_) = self.slab {
            self.slab = Slab::Free;
        }
    }

    /// The request region's file.
    pub fn request_file(&self) -> BorrowedFd<'_> {
        self.request_file.as_fd()
    }

    /// The reply region's file: hostile, as the region is.
    pub fn reply_file(&self) -> BorrowedFd<'_> {
        self.reply_file.as_fd()
    }

    /// Whether [`DaemonEnd::clear_reply`] would give a part.
    pub fn has_large_reply(&self) -> bool {
        self.large_reply > LARGE_PAYLOAD
    }

    /// The part of the reply file whose pages the caller is to give back before it calls
    /// [`DaemonEnd::done_with_reply`], if it is worth it.
    pub fn clear_reply(&mut self) -> Option<Span> {
        let length = std::mem::take(&mut self.large_reply);
        (length > LARGE_PAYLOAD).then_some(Span { offset: Geometry::slab() as u64, length })
    }

    /// The part of the request file whose pages the caller is to give back, if it is worth it and no request uses
    /// it. Until [`DaemonEnd::request_cleared`] no request is posted there.
    pub fn clear_request(&mut self) -> Option<Span> {
        if self.slab != Slab::Free {
            return None;
        }
        let length = std::mem::take(&mut self.large_request);
        if length <= LARGE_PAYLOAD {
            return None;
        }
        self.slab = Slab::Clearing;
        Some(Span { offset: Geometry::slab() as u64, length })
    }

    /// What [`DaemonEnd::clear_request`] asked for is done.
    pub fn request_cleared(&mut self) {
        if self.slab == Slab::Clearing {
            self.slab = Slab::Free;
        }
    }

    /// Says that the reply taken last is no longer looked at, so that the worker may use its place. Pages of large
    /// payloads are given back now, unless somebody has taken that over.
    pub fn done_with_reply(&mut self) {
        if let Some(Span { length, .. }) = self.clear_reply() {
            sys::punch(self.reply_file.as_fd(), Geometry::slab(), length);
        }
        if let Some(Span { length, .. }) = self.clear_request() {
            sys::punch(self.request_file.as_fd(), Geometry::slab(), length);
            self.request_cleared();
        }
        self.reply_in_use = false;
        self.tell_taken();
    }
}
