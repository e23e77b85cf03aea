//! Chunked bodies → their bytes and trailers (RFC 9112, 7.1), strictly. Pure: bytes in, bytes out.
//!
//! What is accepted, and what is refused and why, does not depend on how the input was split.

#[cfg(any(test, fuzzing))]
pub(super) mod pieces;
#[cfg(test)]
mod tests;
mod trailers;

use hairtrigger_sandbox::limits::MAX_CHUNK_EXTENSIONS;

use super::parse::BadRequest;
use trailers::Trailers;
pub(super) use trailers::may_trail;

/// Most digits of a chunk's size, leading zeros included: no number of so many exceeds 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// What one call of [`Decoder::decode`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// So many bytes of the input belong to the body and were taken: all, unless the body has ended.
    pub(crate) consumed: usize,
    /// The body has ended; what follows is the next request.
    pub(crate) done: bool,
}

/// Why a body is not decoded further. The connection cannot be used for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkError {
    /// It is no chunked body.
    Bad(BadRequest),
    /// Its chunks announce more than the limit.
    TooLarge,
}

impl From<BadRequest> for ChunkError {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}

/// Decodes one body, however it arrives.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// Bytes that the chunks so far announce, in sum.
    announced: u64,
    /// Bytes of extensions so far.
    extensions: usize,
    trailers: Trailers,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A chunk's size: the value of the digits so far, and how many they are.
    Size { value: u64, digits: u8 },
    /// White space behind a chunk's size: only an extension may follow it.
    Space { size: u64 },
    /// The extensions of a chunk.
    Extension { size: u64 },
    /// The LF behind a chunk's size.
    SizeEnd { size: u64 },
    /// So many bytes of data, at least one.
    Data { left: u64 },
    /// The CR behind the data.
    DataEnd,
    /// The LF behind the data.
    DataEndLf,
    /// Trailers, or the empty line that ends the body.
    Trailers,
    /// Nothing.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

impl Decoder {
    /// Appends the data that `input` holds to `out`. `limit` is the most bytes that the body may have; a chunk that
    /// would exceed it is refused when its size is known, and not only when its data comes.
    ///
    /// To be called with what follows the bytes consumed before, until it is done; not after an error.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
    ) -> Result<Decoded, ChunkError> {
        let mut rest = input;
        while self.state != State::Done {
            if let State::Data { left } = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (data, behind) = rest.split_at(take);
                out.extend_from_slice(data);
                rest = behind;
                let left = left - take as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
            }
            let Some((&byte, behind)) = rest.split_first() else {
                return Ok(Decoded { consumed: input.len(), done: false });
            };
            rest = behind;
            self.take(byte, limit)?;
        }
        Ok(Decoded { consumed: input.len() - rest.len(), done: true })
    }

    /// The trailers that a function may see, encoded as header fields are for the channel, and how many they are.
    /// Complete once the body is done.
    pub(crate) fn trailers(&self) -> (&[u8], u32) {
        self.trailers.fields()
    }

    /// Takes one byte that is not data.
    fn take(&mut self, byte: u8, limit: u64) -> Result<(), ChunkError> {
        self.state = match self.state {
            State::Size { value, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if digits < MAX_SIZE_DIGITS => {
                    State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (None, b'\r' | b';' | b' ' | b'\t') if digits > 0 => self.size_known(value, byte, limit)?,
                _ => return Err(BadRequest::ChunkSize.into()),
            },
            State::Space { size } => match byte {
                b' ' | b'\t' => self.extension(byte, State::Space { size })?,
                b';' => self.extension(byte, State::Extension { size })?,
                _ => return Err(BadRequest::ChunkSize.into()),
            },
            State::Extension { size } => match byte {
                b'\r' => State::SizeEnd { size },
                _ => self.extension(byte, State::Extension { size })?,
            },
            State::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => State::Trailers,
                (b'\n', left) => State::Data { left },
                _ => return Err(BadRequest::ChunkSize.into()),
            },
            State::DataEnd if byte == b'\r' => State::DataEndLf,
            State::DataEndLf if byte == b'\n' => State::default(),
            State::DataEnd | State::DataEndLf => return Err(BadRequest::ChunkEnd.into()),
            State::Trailers => {
                if self.trailers.take(byte)? {
                    State::Done
                } else {
                    State::Trailers
                }
            }
            State::Data { .. } | State::Done => unreachable!("no byte is taken by itself here"),
        };
        Ok(())
    }

    /// A chunk's size is complete, and `byte` follows it.
    fn size_known(&mut self, size: u64, byte: u8, limit: u64) -> Result<State, ChunkError> {
        self.announced = self.announced.saturating_add(size);
        if self.announced > limit {
            return Err(ChunkError::TooLarge);
        }
        match byte {
            b'\r' => Ok(State::SizeEnd { size }),
            b';' => Ok(self.extension(byte, State::Extension { size })?),
            _ => Ok(self.extension(byte, State::Space { size })?),
        }
    }

    /// Counts a byte of an extension, which nobody reads.
    fn extension(&mut self, byte: u8, next: State) -> Result<State, BadRequest> {
        self.extensions += 1;
        if self.extensions > MAX_CHUNK_EXTENSIONS || (byte.is_ascii_control() && byte != b'\t') {
            return Err(BadRequest::ChunkExtension);
        }
        Ok(next)
    }
}
