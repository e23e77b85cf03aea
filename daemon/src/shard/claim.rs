//! Who decides about a request that was handed over: the shard that has it may begin it, or the one that it came from may
//! give it up, and never both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const FORSAKEN: u8 = 2;

/// One request's, held by both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicU8>);

impl Claim {
    /// A worker is about to have it. False if it was given up: then none must.
    pub(super) fn begin(&self) -> bool {
        let before = self.0.compare_exchange(WAITS, BEGUN, Ordering::AcqRel, Ordering::Acquire);
        // Begun before, if it is tried once more elsewhere.
        matches!(before, Ok(_) | Err(BEGUN))
    }

    /// Of a request that [began](Self::begin), and for which there was no worker after all.
    pub(super) fn put_back(&self) {
        let _ = self.0.compare_exchange(BEGUN, WAITS, Ordering::AcqRel, Ordering::Acquire);
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
        assert!(here.begin() && here.begin(), "it may be tried again");
        assert!(!here.clone().forsake());
        assert!(there.forsake());
        assert!(!there.begin(), "nobody may run it any more");
        let back = Claim::default();
        assert!(back.begin());
        back.put_back();
        assert!(back.forsake());
        back.put_back();
        assert!(!back.begin(), "what was given up stays so");
    }

    /// However the two meet, exactly one of them has it.
    #[test]
    fn two_at_a_time_never_both_have_it() {
        for _ in 0..2000 {
            let claim = Claim::default();
            let other = claim.clone();
            let begun = std::thread::scope(|scope| {
                let beginner = scope.spawn(move || other.begin());
                let forsaken = claim.forsake();
                (beginner.join().expect("it does not panic"), forsaken)
            });
            assert!(begun.0 != begun.1, "{begun:?}");
        }
    }
}
