//! The workers of all functions together: as many as the host may have, some of them kept free for those that reserve
//! them, and the rest for whoever has the fewest.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hairtrigger_sandbox::limits::LACK_EXPIRES;

use super::nanoseconds;

/// What all functions share. Without a bound nothing of it is touched.
#[derive(Debug)]
pub(crate) struct Host {
    bounded: bool,
    /// Workers that nobody has, and nobody reserves.
    free: AtomicU32,
    /// Of the functions that went without a worker of late, how many the one with the fewest has, in the lowest 16 bits; and
    /// until when that counts, in steps of 2¹⁶ ns.
    lack: AtomicU64,
    /// Whether somebody went without, and has not been told since that there is one.
    short: AtomicBool,
}

/// Bits of [`Host::lack`] that are a number of workers.
const NUMBER: u32 = 16;

impl Host {
    /// A host of so many workers; `None`: of as many as there may be.
    pub(crate) fn new(workers: Option<u32>) -> Self {
        Self {
            bounded: workers.is_some(),
            free: AtomicU32::new(workers.unwrap_or(0)),
            lack: AtomicU64::new(0),
            short: AtomicBool::new(false),
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Whether there is a worker that nobody has.
    pub(super) fn has_room(&self) -> bool {
        !self.bounded || self.free.load(Ordering::SeqCst) > 0
    }

    /// Takes a worker for a function that has so many; false if there is none, or if one with fewer went without.
    pub(super) fn take(&self, has: u32, now: u64) -> bool {
        let outdone = || self.fewest(now).is_some_and(|fewest| fewest < has);
        let take = || !outdone() && self.take_up_to(1) == 1;
        if take() {
            return true;
        }
        self.lacks(has, now);
        self.short.store(true, Ordering::SeqCst);
        // One that was given back in between, by somebody who did not see that yet.
        take()
    }

    /// Takes so many, or as many as there are.
    pub(super) fn take_up_to(&self, count: u32) -> u32 {
        let mut taken = 0;
        let take = |free: u32| {
            taken = free.min(count);
            (taken > 0).then(|| free - taken)
        };
        let _ = self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken
    }

    /// Gives so many back.
    pub(super) fn give(&self, count: u32) {
        self.free.fetch_add(count, Ordering::SeqCst);
    }

    /// Whether somebody has to be told that there may be a worker. To be asked when one was given back.
    pub(super) fn tells(&self) -> bool {
        self.bounded && self.free.load(Ordering::SeqCst) > 0 && self.short.swap(false, Ordering::SeqCst)
    }

    /// Whether a function that has so many workers is to give one up, for the sake of one that has two or more less.
    pub(super) fn asks_back(&self, has: u32, now: u64) -> bool {
        self.fewest(now).is_some_and(|fewest| fewest + 1 < has)
    }

    /// Notes that a function with so many workers went without.
    fn lacks(&self, has: u32, now: u64) {
        let until = now.saturating_add(nanoseconds(LACK_EXPIRES)) >> NUMBER << NUMBER;
        let note = u64::from(has.min((1 << NUMBER) - 1));
        let noted = |lack: u64| {
            let older = lack >> NUMBER << NUMBER > now;
            // As long as one with fewer is known, that one counts.
            let fewer = older && (lack & ((1 << NUMBER) - 1)) < note;
            (!fewer).then_some(until | note)
        };
        let _ = self.lack.fetch_update(Ordering::SeqCst, Ordering::SeqCst, noted);
    }

    /// How many workers the function has that has the fewest of those that went without of late.
    fn fewest(&self, now: u64) -> Option<u32> {
        let lack = self.lack.load(Ordering::SeqCst);
        let live = lack >> NUMBER << NUMBER > now;
        live.then(|| u32::try_from(lack & ((1 << NUMBER) - 1)).unwrap_or(u32::MAX))
    }
}

const _: () = assert!(LACK_EXPIRES.as_nanos() > Duration::from_nanos(1 << NUMBER).as_nanos());

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 1_000_000_000;

    #[test]
    fn there_are_as_many_as_it_has() {
        let host = Host::new(Some(2));
        assert!(host.take(0, 1) && host.take(1, 1) && !host.take(2, 1));
        assert!(!host.tells(), "there is none yet");
        host.give(1);
        assert!(host.tells() && !host.tells(), "once");
        assert!(host.take(0, 1));
        assert_eq!(host.take_up_to(3), 0);
        host.give(2);
        assert_eq!((host.take_up_to(3), host.take_up_to(1)), (2, 0));
    }

    #[test]
    fn whoever_has_fewer_comes_first_as_long_as_that_is_news() {
        let host = Host::new(Some(1));
        assert!(host.take(7, 1));
        assert!(!host.take(7, 1) && !host.take(2, 1), "there is none");
        host.give(1);
        assert!(!host.take(7, 1), "one with two went without");
        assert!(host.take(2, 1));
        host.give(1);
        let expired = 1 + nanoseconds(LACK_EXPIRES) + 1;
        assert!(host.take(7, expired));
    }

    #[test]
    fn one_that_has_two_more_gives_one_up() {
        let host = Host::new(Some(0));
        assert!(!host.asks_back(9, LATER));
        assert!(!host.take(1, LATER));
        assert_eq!([1, 2, 3].map(|has| host.asks_back(has, LATER)), [false, false, true]);
        assert!(!host.take(5, LATER));
        assert!(host.asks_back(3, LATER), "the one with the fewest still counts");
        assert!(!Host::new(None).asks_back(9, LATER));
    }
}
