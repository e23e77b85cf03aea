//! A reply as the daemon takes it: what of it was copied and validated, and what is still the worker's.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use super::daemon_end::Span;
use super::region::Region;
use crate::limits::LARGE_PAYLOAD;
use crate::sys;

/// A worker that broke the rules of the channel, and how. It is to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolViolation(pub &'static str);

impl fmt::Display for ProtocolViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How an invocation ended, as the worker says; validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// The function answered.
    Response {
        /// HTTP status, 200 to 599.
        status: u16,
    },
    /// `invoke` returned this instead of 0.
    FunctionError(i32),
    /// The response would have exceeded the limit.
    TooLarge,
}

/// A reply, its descriptor and header fields copied and validated, its body still in the region.
#[derive(Debug)]
pub struct Reply<'a> {
    /// How it ended.
    pub kind: ReplyKind,
    /// Header fields, well-formed as to lengths; names and values are the function's words.
    pub headers: ReplyHeaders<'a>,
    /// Trailers, as `headers`.
    pub trailers: ReplyHeaders<'a>,
    /// Body.
    pub body: Body<'a>,
    /// Monotonic times at which the function began and returned, in nanoseconds, as the worker says; 0 if
    /// nobody asked.
    pub times: (u64, u64),
}

/// Bytes that the worker can still change: they are copied, never looked at in place.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    pub(super) start: NonNull<u8>,
    pub(super) length: usize,
    /// Where it lies in the region's file, if in the slab.
    pub(super) in_file: Option<(BorrowedFd<'a>, usize)>,
    pub(super) _region: std::marker::PhantomData<&'a Region>,
}

impl Body<'_> {
    /// Where it lies in the file of [`DaemonEnd::reply_file`](super::DaemonEnd::reply_file), if it is worth having the kernel read it while
    /// others are served.
    pub fn large(&self) -> Option<Span> {
        let (_, offset) = self.in_file?;
        (self.length > LARGE_PAYLOAD).then_some(Span { offset: offset as u64, length: self.length })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends the bytes to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        if let Some((file, offset)) = self.in_file {
            // By a call, and not through the mapping: what the worker never wrote is read as zeros, where
            // touching it would allocate pages at the daemon's expense.
            sys::read_at(file, offset, self.length, out);
            return;
        }
        out.reserve(self.length);
        // SAFETY: the source lies in a mapping that the lifetime keeps, `length` bytes of it were checked
        // by `Region::at`; the target has room by `reserve`. The worker may write the source meanwhile:
        // then the bytes are any mixture, which is all that is promised of them, and nobody branches on
        // them here.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr(), out.as_mut_ptr().add(out.len()), self.length);
            out.set_len(out.len() + self.length);
        }
    }
}

/// The header fields of a reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHeaders<'a> {
    pub(super) encoded: &'a [u8],
    pub(super) left: u32,
}

impl<'a> Iterator for ReplyHeaders<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (lengths, rest) = self.encoded.split_at_checked(4)?;
        let name = usize::from(u16::from_ne_bytes([lengths[0], lengths[1]]));
        let value = usize::from(u16::from_ne_bytes([lengths[2], lengths[3]]));
        let (name, rest) = rest.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.encoded = rest;
        Some((name, value))
    }
}

/// The length of the first `count` encoded fields, if they and `more` others are whole and all there is.
pub(super) fn well_formed(encoded: &[u8], count: u32, more: u32) -> Option<usize> {
    let mut first = ReplyHeaders { encoded, left: count };
    let found = first.by_ref().count();
    let mut rest = ReplyHeaders { encoded: first.encoded, left: more };
    let whole = found == count as usize && rest.by_ref().count() == more as usize && rest.encoded.is_empty();
    whole.then(|| encoded.len() - first.encoded.len())
}
