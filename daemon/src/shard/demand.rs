//! How many workers a function wants on a shard: what has come of late, times how long each keeps a worker. Pure.

use hairtrigger_sandbox::limits::{DEMAND_FADE, DEMAND_WINDOW};

use super::nanoseconds;

/// Arrivals of late. Times are monotonic, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// When the window began, and what has come since.
    since: u64,
    arrivals: u32,
    /// What came in the window before it.
    seen: u32,
    /// Arrivals a second as the windows before it tell: rises at once, and fades.
    rate: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Demand {
    /// One has come. True if a window is over, so that it is time to look how many workers are wanted.
    pub(crate) fn arrived(&mut self, now: u64) -> bool {
        self.arrivals = self.arrivals.saturating_add(1);
        now.saturating_sub(self.since) >= nanoseconds(DEMAND_WINDOW)
    }

    /// Begins another window.
    pub(crate) fn look(&mut self, now: u64) {
        let lasted = now.saturating_sub(self.since).max(1);
        let seen = u64::from(self.arrivals) * SECOND / lasted;
        self.rate = seen.max(self.faded(now));
        (self.since, self.seen, self.arrivals) = (now, self.arrivals, 0);
    }

    /// How many came in the last window.
    pub(crate) fn seen(&self) -> usize {
        self.seen as usize
    }

    /// The rate as far as it can still be believed: what was seen before a pause says ever less.
    fn faded(&self, now: u64) -> u64 {
        let windows = now.saturating_sub(self.since) / nanoseconds(DEMAND_WINDOW);
        let steps = u32::try_from(windows / DEMAND_FADE).unwrap_or(u32::MAX);
        self.rate.checked_shr(steps).unwrap_or(0)
    }

    /// How many are under way at once where each takes `time` nanoseconds (Little's law), and a quarter more, so that
    /// chance finds room.
    pub(crate) fn at_once(&self, now: u64, time: u64) -> usize {
        let rate = u128::from(self.faded(now));
        let at_once = (rate * u128::from(time) * 5).div_ceil(u128::from(SECOND) * 4);
        usize::try_from(at_once).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// What is said after arrivals every `gap` for `count` of them, from one second on; and when the last came.
    fn steady(gap: u64, count: u64) -> (Demand, u64) {
        let mut demand = Demand::default();
        demand.look(SECOND);
        let mut now = SECOND;
        for _ in 0..count {
            now += gap;
            if demand.arrived(now) {
                demand.look(now);
            }
        }
        (demand, now)
    }

    #[test]
    fn as_many_as_come_in_the_time_of_one_and_a_quarter_more() {
        let (demand, now) = steady(MS, 200);
        assert_eq!(demand.at_once(now, 8 * MS), 10);
        assert_eq!(demand.at_once(now, 1), 1, "a part of one is one");
        assert_eq!(demand.at_once(now, 0), 0);
    }

    #[test]
    fn a_rise_counts_within_one_window_and_a_pause_fades() {
        let (mut demand, mut now) = steady(MS, 200);
        let window = nanoseconds(DEMAND_WINDOW);
        let until = now + window;
        while now < until {
            now += MS / 10;
            if demand.arrived(now) {
                demand.look(now);
            }
        }
        assert!((95..=125).contains(&demand.at_once(now, 8 * MS)), "{demand:?}");
        let later = now + window * DEMAND_FADE;
        assert!((45..=63).contains(&demand.at_once(later, 8 * MS)), "half");
        assert_eq!(demand.at_once(now + 60 * SECOND, SECOND), 0);
    }

    proptest! {
        /// Whatever the pace, the answer is never below Little's law for what came steadily, and not far above it.
        #[test]
        fn it_is_littles_law(gap in 1_000..100 * MS, time in 1_000..10 * SECOND) {
            let (demand, now) = steady(gap, 200 + 4 * nanoseconds(DEMAND_WINDOW) / gap);
            let law = (u128::from(time) / u128::from(gap)) as usize;
            let said = demand.at_once(now, time);
            prop_assert!(said >= law, "{said} of {law}");
            prop_assert!(said <= law * 2 + 2, "{said} of {law}");
        }

        #[test]
        fn no_numbers_are_too_large(arrivals in any::<u32>(), now in any::<u64>(), time in any::<u64>()) {
            let mut demand = Demand { since: 0, arrivals, seen: 0, rate: u64::MAX };
            let _ = demand.at_once(now, time);
            let _ = demand.arrived(now);
            demand.look(now);
        }
    }
}
