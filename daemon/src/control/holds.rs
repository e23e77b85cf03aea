//! How long a function that has failed waits until it is loaded again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::LoadFailure;
use hairtrigger_sandbox::limits::{RELOAD_HOLD, RELOAD_HOLD_MAX, RELOAD_RECOVERED};

/// Whether the failure is a matter of the moment; the others are the function's own and would come again.
pub(super) fn may_pass(failure: &LoadFailure) -> bool {
    match failure {
        LoadFailure::Setup(_) | LoadFailure::TimedOut(_) => true,
        LoadFailure::Refused(_) | LoadFailure::Ended(_) | LoadFailure::Threads(_) => false,
    }
}

/// Failures in a row of one function.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    failures: u32,
    loaded: Option<Instant>,
}

/// The failures in a row of each function. A row ends when a template has lived for [`RELOAD_RECOVERED`]:
/// that workers could be forked from it says little, for they may be what ends it.
#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<u32, Record>);

impl Holds {
    /// The function is loaded.
    pub(super) fn loaded(&mut self, function: u32, now: Instant) {
        self.0.entry(function).or_default().loaded = Some(now);
    }

    /// The function has failed; returns how long it is to wait.
    pub(super) fn failed(&mut self, function: u32, now: Instant) -> Duration {
        let record = self.0.entry(function).or_default();
        if record.loaded.take().is_some_and(|since| now.duration_since(since) >= RELOAD_RECOVERED) {
            record.failures = 0;
        }
        let hold = RELOAD_HOLD.saturating_mul(1 << record.failures.min(16)).min(RELOAD_HOLD_MAX);
        record.failures = record.failures.saturating_add(1);
        hold
    }

    /// Nothing is left of the function.
    pub(super) fn forget(&mut self, function: u32) {
        self.0.remove(&function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_double_up_to_the_longest() {
        let mut holds = Holds::default();
        let now = Instant::now();
        assert_eq!(holds.failed(7, now), RELOAD_HOLD);
        assert_eq!(holds.failed(7, now), RELOAD_HOLD * 2);
        assert_eq!(holds.failed(8, now), RELOAD_HOLD, "functions are held apart from each other");
        for _ in 0..100 {
            holds.failed(7, now);
        }
        assert_eq!(holds.failed(7, now), RELOAD_HOLD_MAX);
    }

    #[test]
    fn only_a_template_that_lived_a_while_ends_the_row() {
        let mut holds = Holds::default();
        let start = Instant::now();
        holds.failed(7, start);
        holds.loaded(7, start);
        let soon = start + RELOAD_RECOVERED / 2;
        assert_eq!(holds.failed(7, soon), RELOAD_HOLD * 2);
        holds.loaded(7, soon);
        let later = soon + RELOAD_RECOVERED;
        assert_eq!(holds.failed(7, later), RELOAD_HOLD);
        assert_eq!(holds.failed(7, later + RELOAD_RECOVERED), RELOAD_HOLD * 2, "it was not loaded meanwhile");
    }
}
