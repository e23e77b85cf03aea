//! Who is let in, and when whoever is not may come again. Pure.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hairtrigger_sandbox::limits::{MAX_RETRY_AFTER, RETRY_AFTER_SECONDS};

/// How many requests a function takes in which time. A GCRA: each is due one interval after the one before it, and may come
/// before that by the intervals of the others of a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: u32,
    /// Nanoseconds between two requests.
    interval: u64,
}

impl Rate {
    /// A number of requests a second, and how many may come at once, at least one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds of a rate are positive, and their intervals some seconds"
    )]
    pub(crate) fn new(per_second: f64, burst: u32) -> Self {
        // Rounded up, so that never more are let in.
        let interval = (1e9 / per_second).ceil() as u64;
        Self { per_second, burst: burst.max(1), interval }
    }

    /// The burst of a rate if nothing is said of it: what may come in a second.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds of a rate are those of a burst"
    )]
    pub(crate) fn of_a_second(per_second: f64) -> u32 {
        per_second.ceil() as u32
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn per_second(self) -> f64 {
        self.per_second
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn burst(self) -> u32 {
        self.burst
    }

    /// Lets a request in that comes at `now`, if the next one is due at `due`: then returns when the one after it is due.
    /// Otherwise, in how many nanoseconds one would be let in.
    fn let_in(self, due: u64, now: u64) -> Result<u64, u64> {
        let due = due.max(now);
        let tolerance = self.interval * u64::from(self.burst - 1);
        let early = (due - now).saturating_sub(tolerance);
        if early > 0 { Err(early) } else { Ok(due + self.interval) }
    }
}

impl fmt::Display for Rate {
    /// As in "It takes 5 requests a second, and 10 at once".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, burst, .. } = self;
        let plural = if *per_second > 1.0 { "s" } else { "" };
        write!(f, "{per_second} request{plural} a second, and {burst} at once")
    }
}

/// Where the requests of a function that has a rate come in, on all shards. Lines of its own, which nobody needs but them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Gate {
    /// When the next request is due: monotonic, in nanoseconds.
    due: AtomicU64,
    rate: Rate,
}

impl Gate {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { due: AtomicU64::new(0), rate }
    }

    /// Lets a request in that comes at `now`; or says in how many nanoseconds one would be.
    pub(crate) fn let_in(&self, now: u64) -> Result<(), u64> {
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let next = self.rate.let_in(due, now)?;
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => due = other,
            }
        }
    }
}

/// How a function has served of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long an invocation keeps its worker, in nanoseconds.
    pub(crate) service: u64,
    /// Workers that there may be.
    pub(crate) workers: u16,
}

impl Pace {
    /// In how many nanoseconds so many will have been given a worker, if all workers are there.
    pub(crate) fn wait(self, before: u32) -> u64 {
        self.service.saturating_mul(before.into()) / u64::from(self.workers.max(1))
    }

    /// Whether an invocation that has so many before it gets a worker too late, if it may wait for so many nanoseconds:
    /// then, in how many nanoseconds the queue will be short enough. Those before it are at best begun by all workers at
    /// once, again and again, the first of them now; who could be in time by that is.
    pub(crate) fn too_late(self, before: u32, may_wait: u64) -> Option<u64> {
        let turns = before / u32::from(self.workers.max(1));
        let at_best = self.service.saturating_mul(turns.into());
        (at_best > may_wait).then(|| self.wait(before).saturating_sub(may_wait))
    }
}

/// What somebody is told to wait who can expect what is needed after a time, in nanoseconds: in seconds, and not for
/// longer than an expectation is good for. `None` if nothing is known.
pub(crate) fn retry_after(wait: Option<u64>) -> u32 {
    let Some(wait) = wait else { return RETRY_AFTER_SECONDS };
    whole_seconds(wait).clamp(RETRY_AFTER_SECONDS, MAX_RETRY_AFTER)
}

/// The least whole number of seconds that is not shorter than a time in nanoseconds.
pub(super) fn whole_seconds(time: u64) -> u32 {
    let time = Duration::from_nanos(time);
    let begun = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs() + begun).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hairtrigger_sandbox::limits::{MAX_BURST, MAX_RATE, MIN_RATE};
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

    #[test]
    fn a_rate_lets_a_burst_in_and_then_one_each_interval() {
        let gate = Gate::new(Rate::new(4.0, 3));
        let now = 77 * SECOND;
        let interval = SECOND / 4;
        assert_eq!([0; 3].map(|_| gate.let_in(now)), [Ok(()); 3]);
        assert_eq!([0, 1].map(|later| gate.let_in(now + later)), [Err(interval), Err(interval - 1)]);
        assert_eq!(gate.let_in(now + interval), Ok(()));
        assert_eq!(gate.let_in(now + interval), Err(interval));
        // After a pause there is a burst again, and no more than that.
        assert_eq!([0; 3].map(|_| gate.let_in(now + 9 * SECOND)), [Ok(()); 3]);
        assert_eq!(gate.let_in(now + 9 * SECOND), Err(interval));
    }

    #[test]
    fn the_slowest_and_the_fastest_rate() {
        let slowest = Gate::new(Rate::new(MIN_RATE, 1));
        assert_eq!((slowest.let_in(5), slowest.let_in(5)), (Ok(()), Err(1000 * SECOND)));
        let longest = Gate::new(Rate::new(MIN_RATE, MAX_BURST));
        // A machine that has run for thirty years.
        assert!((0..100).all(|_| longest.let_in(SECOND << 30).is_ok()));
        let fastest = Gate::new(Rate::new(MAX_RATE, 1));
        assert_eq!((fastest.let_in(5), fastest.let_in(5)), (Ok(()), Err(1000)));
        assert_eq!([0.001, 0.5, 1.0, 1.5, 1e6].map(Rate::of_a_second), [1, 1, 1, 2, 1_000_000]);
        let texts =
            [(0.5, 1), (1.0, 1), (2.5, 7), (1e6, 3)].map(|(rate, burst)| Rate::new(rate, burst).to_string());
        let expected = [
            "0.5 request a second, and 1 at once",
            "1 request a second, and 1 at once",
            "2.5 requests a second, and 7 at once",
            "1000000 requests a second, and 3 at once",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn shards_that_ask_at_the_same_time_get_one_burst_together() {
        let gate = Gate::new(Rate::new(MIN_RATE, 1000));
        let ask = || (0..1000).filter(|_| gate.let_in(SECOND).is_ok()).count();
        let let_in: usize = thread::scope(|scope| {
            let shards: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!(let_in, 1000);
    }

    #[test]
    fn who_would_wait_for_too_long_is_told_when_that_is_over() {
        let pace = |service, workers| Pace { service, workers };
        assert_eq!(pace(SECOND, 1).too_late(3, 3 * SECOND), None, "just in time");
        assert_eq!(pace(SECOND, 1).too_late(4, 3 * SECOND), Some(SECOND));
        assert_eq!(pace(SECOND, 4).too_late(15, 3 * SECOND), None, "in the fourth turn");
        assert_eq!(pace(SECOND, 4).too_late(18, 3 * SECOND), Some(SECOND * 3 / 2));
        assert_eq!(pace(u64::MAX, 1).too_late(0, 0), None, "nobody is before it");
        assert_eq!(pace(0, 1).too_late(u32::MAX, 0), None);
    }

    proptest! {
        /// Whatever the workers are at: who could be in time is not refused, if those before it take what such take.
        #[test]
        fn nobody_is_refused_who_could_be_in_time(
            service in 1..1_000_000_u64,
            free_in in prop::collection::vec(0.0..=1.0, 1..20_usize),
            before in 0..300_u32,
            may_wait in 0..10_000_000_u64,
        ) {
            let pace = Pace { service, workers: u16::try_from(free_in.len()).unwrap() };
            // When each worker is free next.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let mut free: Vec<u64> = free_in.iter().map(|part: &f64| (part * service as f64) as u64).collect();
            let mut wait = 0;
            for _ in 0..=before {
                let next = free.iter_mut().min().expect("a worker");
                wait = *next;
                *next += service;
            }
            if wait <= may_wait {
                prop_assert_eq!(pace.too_late(before, may_wait), None);
            }
            // And it is no empty promise: who waits for as long as no queue could explain is, and told to come again once
            // the queue has gone, part of a turn sooner or later.
            if wait > may_wait + 2 * service {
                prop_assert!(pace.too_late(before, may_wait).is_some_and(|over| over <= wait + service));
            }
        }

        /// Never more than the burst and what the rate allows for, in any window of time.
        #[test]
        fn no_window_has_more_than_the_burst_and_the_rate_allow(
            per_second in prop_oneof![MIN_RATE..1.0, 1.0..1000.0, 1000.0..=MAX_RATE],
            burst in prop_oneof![1..4_u32, 1..=MAX_BURST],
            // In intervals and their fractions, a shard's clock being some behind another's.
            pauses in prop::collection::vec((prop_oneof![Just(0.0), 0.0..3.0, 0.0..100.0], 0.0..2.0), 1..120),
        ) {
            let rate = Rate::new(per_second, burst);
            let (gate, interval) = (Gate::new(rate), 1e9 / per_second);
            let (mut clock, mut let_in) = (1e15, Vec::new());
            for (pause, behind) in pauses {
                clock += pause * interval;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some 1e15")]
                let now = (clock - behind * interval) as u64;
                match gate.let_in(now) {
                    Ok(()) => let_in.push(now),
                    // Who waits for as long is let in, and a moment earlier is not.
                    Err(wait) => {
                        let due = gate.due.load(Ordering::Relaxed);
                        prop_assert!(rate.let_in(due, now + wait).is_ok() && rate.let_in(due, now + wait - 1).is_err());
                        prop_assert!(wait <= 3 * rate.interval + 2, "{wait}");
                    }
                }
            }
            let_in.sort_unstable();
            for (from, first) in let_in.iter().enumerate() {
                for (to, last) in let_in.iter().enumerate().skip(from) {
                    let most = u64::from(burst) + (last - first) / rate.interval;
                    prop_assert!((to - from + 1) as u64 <= most, "{} in {} ns", to - from + 1, last - first);
                    prop_assert!(rate.interval as f64 >= interval);
                }
            }
        }

        /// Who keeps to the rate is never refused.
        #[test]
        fn who_keeps_to_the_rate_is_let_in(
            per_second in MIN_RATE..=MAX_RATE,
            burst in 1..10_u32,
            late in prop::collection::vec(0..1_000_000_u64, 1..100),
        ) {
            let rate = Rate::new(per_second, burst);
            let (gate, mut now) = (Gate::new(rate), SECOND);
            for late in late {
                prop_assert_eq!(gate.let_in(now), Ok(()));
                now += rate.interval + late;
            }
        }

        /// Who comes again when told to does not come too early, and has not waited a second too long.
        #[test]
        fn what_is_told_is_the_time_in_whole_seconds(wait in 0..u64::from(MAX_RETRY_AFTER) * SECOND) {
            let told = u64::from(retry_after(Some(wait))) * SECOND;
            prop_assert!(told >= wait && (told - wait < SECOND || told == SECOND));
        }
    }
}
