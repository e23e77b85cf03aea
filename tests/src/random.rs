//! Chance that can be had again.

/// A sequence that follows from its seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// One for another thread.
    pub fn another(&mut self) -> Self {
        Self(self.number())
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// As a length.
    pub fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.below(most as u64 + 1)).expect("no more than most")
    }

    /// A place among so many, which are not none.
    pub fn place(&mut self, count: usize) -> usize {
        self.up_to(count - 1)
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of them, if there is any.
    pub fn pick<'p, T>(&mut self, all: &'p [T]) -> Option<&'p T> {
        let most = all.len().checked_sub(1)?;
        all.get(self.up_to(most))
    }
}
