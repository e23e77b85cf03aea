//! Who is let in, and when whoever is not may come again. Pure.

use std::time::Duration;

use hairtrigger_sandbox::limits::{MAX_RETRY_AFTER, RETRY_AFTER_SECONDS};

/// How a function has served of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long an invocation keeps its worker, in nanoseconds.
    pub(crate) service: u64,
    /// Workers that there may be.
    pub(crate) workers: u16,
}

impl Pace {
    /// How long it takes until so many have been given a worker, in nanoseconds, if all workers are there: an invocation
    /// that has so many before it waits for as long at least.
    pub(crate) fn wait(self, before: u32) -> u64 {
        self.service.saturating_mul(before.into()) / u64::from(self.workers.max(1))
    }
}

/// What somebody is told to wait who can expect what is needed after a time, in nanoseconds: in seconds, and not for
/// longer than an expectation is good for. `None` if nothing is known.
pub(crate) fn retry_after(wait: Option<u64>) -> u32 {
    let Some(wait) = wait else { return RETRY_AFTER_SECONDS };
    whole_seconds(wait).clamp(RETRY_AFTER_SECONDS, MAX_RETRY_AFTER)
}

/// The least whole number of seconds that is not shorter than a time in nanoseconds.
fn whole_seconds(time: u64) -> u32 {
    let time = Duration::from_nanos(time);
    let begun = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs() + begun).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_wait_is_the_service_time_of_those_before_shared_among_the_workers() {
        let pace = |service, workers| Pace { service, workers };
        assert_eq!(pace(SECOND, 1).wait(0), 0);
        assert_eq!(pace(SECOND, 1).wait(7), 7 * SECOND);
        assert_eq!(pace(SECOND, 16).wait(256), 16 * SECOND);
        assert_eq!(pace(3, 2).wait(1), 1, "never more than it is");
        assert_eq!(pace(u64::MAX, 1).wait(u32::MAX), u64::MAX);
    }

    #[test]
    fn seconds_are_rounded_up_and_bounded() {
        for (wait, seconds) in [
            (None, 1),
            (Some(0), 1),
            (Some(1), 1),
            (Some(SECOND), 1),
            (Some(SECOND + 1), 2),
            (Some(7 * SECOND), 7),
            (Some(u64::MAX), MAX_RETRY_AFTER),
        ] {
            assert_eq!(retry_after(wait), seconds, "{wait:?}");
        }
    }

    proptest! {
        /// Who comes again when told to does not come too early, and has not waited a second too long.
        #[test]
        fn what_is_told_is_the_time_in_whole_seconds(wait in 0..u64::from(MAX_RETRY_AFTER) * SECOND) {
            let told = u64::from(retry_after(Some(wait))) * SECOND;
            prop_assert!(told >= wait && (told - wait < SECOND || told == SECOND));
        }
    }
}
