//! The entries of the fuzz targets (`tests/fuzz`): arbitrary bytes, given to what reads hostile ones, with what must
//! hold asserted. Built in tests and under `--cfg fuzzing` only.

use std::io::Read;

/// The daemon's end of a channel, between whose steps a worker writes whatever it likes.
pub fn channel(data: &[u8]) {
    crate::channel::fuzz::run(&mut Input(data));
}

/// What the processes of a function ask of the warden, and call themselves.
pub fn listener(data: &[u8]) {
    crate::warden::fuzz::run(&mut Input(data));
}

/// What the bytes say, taken off one by one; 0 when there are no more.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl Input<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// A number of whatever size, small ones and the greatest ones more often than by chance.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            shift @ 0..64 => (1 << shift) - 1 + u64::from(self.u8()),
            64..160 => self.u8().into(),
            160..192 => self.u16().into(),
            192..224 => u64::from(self.u8()).wrapping_neg(),
            224.. => self.u64(),
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        // What is missing stays 0.
        let _ = self.0.read(&mut bytes);
        bytes
    }
}

#[cfg(test)]
#[path = "../../tests/fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_channel() {
        replay("channel", super::channel);
    }

    #[test]
    fn the_corpus_of_listener() {
        replay("listener", super::listener);
    }
}
