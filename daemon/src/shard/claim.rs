//! Who decides about a request that was handed over: the shard that has it may begin it, or the one that it came from may
//! give it up, and never both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const FORSAKEN: u8 = 2;

/// The right to have a worker begin it, and whether none has before.
#[derive(Debug)]
pub(super) struct Beginning {
    is_first: bool,
}

/// One request's, held by both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicU8>);

impl Claim {
    /// A worker is about to have it. `None` if it was given up: then none must.
    pub(super) fn begin(&self) -> Option<Beginning> {
        match self.0.compare_exchange(WAITS, BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(Beginning { is_first: true }),
            // It is tried once more.
            Err(BEGUN) => Some(Beginning { is_first: false }),
            Err(_) => None,
        }
    }

    /// There was no worker after all. A request that another worker has had stays one that may have been run.
    pub(super) fn put_back(&self, beginning: Beginning) {
        if beginning.is_first {
            self.0.store(WAITS, Ordering::Release);
        }
    }

    /// Gives it up. False if a worker may have had it.
    pub(super) fn forsake(&self) -> bool {
        self.0.compare_exchange(WAITS, FORSAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two_decides() {
        let (here, there) = (Claim::default(), Claim::default());
        assert!(here.begin().is_some());
        let again = here.begin().expect("it may be tried again");
        here.put_back(again);
        assert!(!here.clone().forsake(), "the first may have run it");
        assert!(there.forsake());
        assert!(there.begin().is_none(), "nobody may run it any more");
        let back = Claim::default();
        back.put_back(back.begin().expect("it waits"));
        assert!(back.forsake(), "nobody had it");
        assert!(back.begin().is_none(), "what was given up stays so");
    }

    /// However the two meet, exactly one of them has it.
    #[test]
    fn two_at_a_time_never_both_have_it() {
        for _ in 0..2000 {
            let claim = Claim::default();
            let other = claim.clone();
            let begun = std::thread::scope(|scope| {
                let beginner = scope.spawn(move || other.begin().is_some());
                let forsaken = claim.forsake();
                (beginner.join().expect("it does not panic"), forsaken)
            });
            assert!(begun.0 != begun.1, "{begun:?}");
        }
    }
}
