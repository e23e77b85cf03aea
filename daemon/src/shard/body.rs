//! The body of a request that has a buffer of its own: a long one, or one of unknown length. Pure bookkeeping;
//! who receives is `receive.rs`.
//!
//! Its bytes come in two ways: first with what the connection's shared receive has brought ([`Body::take`]),
//! then, if it is long, straight from the socket ([`Body::room`], [`Body::filled`]): into the buffer itself if
//! the length is known, else into a slice that is decoded from. The buffer's address range is taken at once;
//! its memory is taken page by page, as bytes arrive.

use std::mem::MaybeUninit;

use hairtrigger_sandbox::limits::{CHUNKED_SLICE, INLINE_BODY, TRANSFER_SLICE};

use super::chunked::{ChunkError, Decoder};

/// A whole body, and what came behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Content<'a> {
    pub(crate) bytes: &'a [u8],
    /// The trailers that a function may see, encoded as header fields are for the channel.
    pub(crate) trailers: &'a [u8],
    pub(crate) trailer_count: u32,
}

/// A body, as far as it has arrived.
#[derive(Debug)]
pub(crate) struct Body {
    /// Has room for the whole body, if the length is known.
    bytes: Vec<u8>,
    framing: Framing,
}

/// How the end of a body is found.
#[derive(Debug)]
enum Framing {
    /// By its length, in bytes.
    Sized(usize),
    Chunked(Chunks),
}

#[derive(Debug)]
struct Chunks {
    decoder: Decoder,
    /// Most bytes that the body may have.
    limit: u64,
    done: bool,
    /// What is received straight from the socket, before it is decoded.
    slice: Vec<u8>,
}

impl Body {
    /// Of `length` bytes, of which none is there. `None` if the host has no room for so many.
    pub(crate) fn sized(length: u64) -> Option<Self> {
        let length = usize::try_from(length).ok()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        Some(Self { bytes, framing: Framing::Sized(length) })
    }

    /// In chunks, which may hold `limit` bytes in sum.
    pub(crate) fn chunked(limit: u64) -> Self {
        let chunks = Chunks { decoder: Decoder::default(), limit, done: false, slice: Vec::new() };
        Self { bytes: Vec::new(), framing: Framing::Chunked(chunks) }
    }

    /// Takes what belongs to it from the beginning of `input`; returns how many bytes that were. After an error
    /// nobody knows where the next request begins.
    pub(crate) fn take(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        match &mut self.framing {
            Framing::Sized(length) => {
                let count = input.len().min(*length - self.bytes.len());
                self.bytes.extend_from_slice(&input[..count]);
                Ok(count)
            }
            Framing::Chunked(chunks) => chunks.take(input, &mut self.bytes),
        }
    }

    /// Whether more of it is best received straight from the socket.
    pub(crate) fn is_long(&self) -> bool {
        match &self.framing {
            Framing::Sized(_) => true,
            Framing::Chunked(_) => self.bytes.len() > INLINE_BODY,
        }
    }

    /// Where its next bytes are to be received. If the length is known, there is never more room than bytes are
    /// missing, so that nothing behind the body is received.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        match &mut self.framing {
            Framing::Sized(length) => {
                let count = (*length - self.bytes.len()).min(TRANSFER_SLICE);
                &mut self.bytes.spare_capacity_mut()[..count]
            }
            Framing::Chunked(Chunks { slice, .. }) => {
                slice.clear();
                slice.reserve_exact(CHUNKED_SLICE);
                &mut slice.spare_capacity_mut()[..CHUNKED_SLICE]
            }
        }
    }

    /// So many bytes were written to the beginning of what [`Body::room`] gave. Returns those of them that are
    /// not the body's, because it has ended before them.
    ///
    /// # Safety
    /// They were, and nothing was done with the body since.
    pub(crate) unsafe fn filled(&mut self, count: usize) -> Result<&[u8], ChunkError> {
        match &mut self.framing {
            Framing::Sized(length) => {
                assert!(count <= *length - self.bytes.len(), "more than there was room for");
                // SAFETY: initialised by the caller's promise; within the capacity, which holds the whole body.
                unsafe { self.bytes.set_len(self.bytes.len() + count) };
                Ok(&[])
            }
            Framing::Chunked(chunks) => {
                assert!(count <= CHUNKED_SLICE && chunks.slice.is_empty(), "more than there was room for");
                // SAFETY: as above; `room` has reserved as many.
                unsafe { chunks.slice.set_len(count) };
                let slice = std::mem::take(&mut chunks.slice);
                let taken = chunks.take(&slice, &mut self.bytes);
                chunks.slice = slice;
                Ok(&chunks.slice[taken?..])
            }
        }
    }

    /// Whether all of it has arrived.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.framing {
            Framing::Sized(length) => self.bytes.len() == *length,
            Framing::Chunked(chunks) => chunks.done,
        }
    }

    /// All of it, once it is whole.
    pub(crate) fn content(&self) -> Content<'_> {
        let (trailers, trailer_count) = match &self.framing {
            Framing::Sized(_) => (&[][..], 0),
            Framing::Chunked(chunks) => chunks.decoder.trailers(),
        };
        Content { bytes: &self.bytes, trailers, trailer_count }
    }

    /// Lends a whole body, to be [given back](Body::give_back).
    pub(crate) fn lend(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// See [`Body::lend`].
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// What has arrived, for good.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Chunks {
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, ChunkError> {
        if self.done {
            return Ok(0);
        }
        let decoded = self.decoder.decode(input, out, self.limit)?;
        self.done = decoded.done;
        Ok(decoded.consumed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a socket would do that has these bytes.
    fn receive(body: &mut Body, from: &[u8]) -> (usize, Vec<u8>) {
        let room = body.room();
        let count = room.len().min(from.len());
        for (place, byte) in room.iter_mut().zip(from) {
            place.write(*byte);
        }
        // SAFETY: so many were written just now.
        let behind = unsafe { body.filled(count) };
        (count, behind.expect("a body").to_vec())
    }

    #[test]
    fn it_takes_what_is_its_own_and_no_more() {
        let mut body = Body::sized(5).expect("five bytes");
        assert_eq!(body.take(b"ab"), Ok(2));
        assert!(!body.is_whole());
        assert_eq!(body.room().len(), 3);
        assert_eq!(receive(&mut body, b"c"), (1, Vec::new()));
        assert_eq!(body.take(b"deGET /"), Ok(2));
        assert!(body.is_whole() && body.room().is_empty());
        assert_eq!((body.take(b"GET /"), body.bytes()), (Ok(0), &b"abcde"[..]));
    }

    #[test]
    fn one_operation_fills_a_slice_at_most() {
        let mut body = Body::sized(3 * TRANSFER_SLICE as u64).expect("three slices");
        assert_eq!(body.room().len(), TRANSFER_SLICE);
        assert!(Body::sized(u64::MAX / 2).is_none());
    }

    #[test]
    fn what_is_received_behind_the_last_chunk_is_told() {
        let mut body = Body::chunked(100);
        assert_eq!(body.take(b"5\r\nab"), Ok(5));
        assert_eq!(receive(&mut body, b"cde\r\n0\r\n\r\nGET /"), (15, b"GET /".to_vec()));
        assert!(body.is_whole());
        assert_eq!((body.take(b"GET /"), body.bytes()), (Ok(0), &b"abcde"[..]));
    }

    #[test]
    fn chunks_are_held_to_their_limit() {
        let mut body = Body::chunked(4);
        assert_eq!(body.take(b"5\r\n"), Err(ChunkError::TooLarge));
    }

    proptest! {
        /// However it arrives, partly through the shared receive and partly straight.
        #[test]
        fn the_way_of_its_bytes_changes_nothing(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..8),
            cuts in proptest::collection::vec((1_usize..300, any::<bool>()), 1..40),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nGET /next");
            let mut body = Body::chunked(10_000);
            let mut rest = &wire[..];
            let mut behind = Vec::new();
            for (cut, straight) in cuts.iter().cycle() {
                if body.is_whole() {
                    break;
                }
                let piece = &rest[..rest.len().min(*cut)];
                let used = if *straight {
                    let (used, more) = receive(&mut body, piece);
                    behind = more;
                    used
                } else {
                    body.take(piece).expect("a body")
                };
                rest = &rest[used..];
            }
            behind.extend_from_slice(rest);
            prop_assert_eq!(body.bytes(), chunks.concat());
            prop_assert_eq!(behind, b"GET /next");
        }
    }
}
