//! The body of a request that has a buffer of its own: a long one. Pure bookkeeping; who receives is
//! `receive.rs`.
//!
//! Its bytes come in two ways: first with what the connection's shared receive has brought ([`Body::take`]),
//! then straight into the buffer ([`Body::room`], [`Body::filled`]). The buffer's address range is taken at
//! once; its memory is taken page by page, as bytes arrive.

use std::mem::MaybeUninit;

use hairtrigger_sandbox::limits::TRANSFER_SLICE;

/// A body, as far as it has arrived.
#[derive(Debug)]
pub(crate) struct Body {
    /// Has room for the whole body.
    bytes: Vec<u8>,
    /// Length of the whole body, in bytes.
    length: usize,
}

impl Body {
    /// Of `length` bytes, of which none is there. `None` if the host has no room for so many.
    pub(crate) fn sized(length: u64) -> Option<Self> {
        let length = usize::try_from(length).ok()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        Some(Self { bytes, length })
    }

    /// Takes what belongs to it from the beginning of `input`; returns how many bytes that were.
    pub(crate) fn take(&mut self, input: &[u8]) -> usize {
        let count = input.len().min(self.missing());
        self.bytes.extend_from_slice(&input[..count]);
        count
    }

    /// Where its next bytes go: never more than are missing, so that nothing behind the body is received.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        let count = self.missing().min(TRANSFER_SLICE);
        &mut self.bytes.spare_capacity_mut()[..count]
    }

    /// So many bytes were written to the beginning of what [`Body::room`] gave.
    ///
    /// # Safety
    /// They were.
    pub(crate) unsafe fn filled(&mut self, count: usize) {
        assert!(count <= self.missing(), "more than there was room for");
        // SAFETY: initialised by the caller's promise, and within the capacity by the assertion.
        unsafe { self.bytes.set_len(self.bytes.len() + count) };
    }

    /// Bytes that have not arrived.
    fn missing(&self) -> usize {
        self.length - self.bytes.len()
    }

    /// Whether all of it has arrived.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing() == 0
    }

    /// What has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_is_its_own_and_no_more() {
        let mut body = Body::sized(5).expect("five bytes");
        assert_eq!(body.take(b"ab"), 2);
        assert!(!body.is_whole());
        let room = body.room();
        assert_eq!(room.len(), 3);
        room[0].write(b'c');
        // SAFETY: one byte was written just now.
        unsafe { body.filled(1) };
        assert_eq!(body.take(b"deGET /"), 2);
        assert!(body.is_whole() && body.room().is_empty());
        assert_eq!((body.take(b"GET /"), body.bytes()), (0, &b"abcde"[..]));
    }

    #[test]
    fn one_operation_fills_a_slice_at_most() {
        let mut body = Body::sized(3 * TRANSFER_SLICE as u64).expect("three slices");
        assert_eq!(body.room().len(), TRANSFER_SLICE);
        assert_eq!(Body::sized(u64::MAX / 2).map(|_| ()), None);
    }
}
