//! A shard that has stopped turning is noticed, and told of; if it goes on, the daemon ends itself, so that another can
//! take its place.
//!
//! What counts is the processor time that the shard's thread has had since its last turn. A shard that sleeps has none;
//! nor has one that a busy host keeps waiting, or that somebody has stopped: none of these is stalled.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};

use hairtrigger_sandbox::limits::{LAST_LINES, STALL_FATAL, STALL_TOLD, WATCHDOG_LOOK};

use super::log::Log;
use crate::shard::pulse::Pulse;

/// What is known of one shard.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The number of its turns, and the processor time, in nanoseconds, when that number was first seen.
    seen: (u64, u64),
    told: bool,
}

/// What a look at a shard comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It has not turned for too long; said once.
    Stalls,
    /// It still does not.
    StillStalls,
    /// It turns again.
    Recovered,
    /// There is no hope for it.
    Lost,
}

impl Progress {
    /// The shard has come so far, and has had so much processor time, in nanoseconds.
    fn look(&mut self, turns: u64, time: u64) -> Verdict {
        if turns != self.seen.0 || time < self.seen.1 {
            let told = std::mem::take(&mut self.told);
            self.seen = (turns, time);
            return if told { Verdict::Recovered } else { Verdict::Well };
        }
        let without = u128::from(time - self.seen.1);
        if without >= STALL_FATAL.as_nanos() {
            Verdict::Lost
        } else if without < STALL_TOLD.as_nanos() {
            Verdict::Well
        } else if std::mem::replace(&mut self.told, true) {
            Verdict::StillStalls
        } else {
            Verdict::Stalls
        }
    }
}

/// The thread that watches. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    stalled: Arc<AtomicBool>,
    /// Never used but for its end.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches these shards, by number.
    pub(super) fn start(pulses: Vec<Arc<Pulse>>, log: Log) -> io::Result<Self> {
        let stalled = Arc::new(AtomicBool::new(false));
        let (over, told) = mpsc::channel();
        let thread = Builder::new().name("watchdog".to_owned()).spawn({
            let stalled = Arc::clone(&stalled);
            move || {
                let mut progress = vec![Progress::default(); pulses.len()];
                while told.recv_timeout(WATCHDOG_LOOK) == Err(RecvTimeoutError::Timeout) {
                    stalled.store(look(&pulses, &mut progress, &log), Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { stalled, over: Some(over), thread: Some(thread) })
    }

    /// Whether every shard turns, as far as that is known.
    pub(super) fn is_content(&self) -> bool {
        !self.stalled.load(Ordering::Relaxed)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Looks at each shard; whether one does not turn. Does not return if one is lost.
fn look(pulses: &[Arc<Pulse>], progress: &mut [Progress], log: &Log) -> bool {
    let mut stalled = false;
    for (shard, (pulse, progress)) in pulses.iter().zip(progress).enumerate() {
        let Some((turns, time)) = pulse.look() else { continue };
        match progress.look(turns, time) {
            Verdict::Well => {}
            Verdict::Stalls => {
                stalled = true;
                log.event(format!(
                    "Shard {shard} has computed for {STALL_TOLD:?} without coming to the end of a turn; after \
                     {STALL_FATAL:?} the daemon ends itself. Please report this."
                ));
            }
            Verdict::StillStalls => stalled = true,
            Verdict::Recovered => log.event(format!("Shard {shard} turns again.")),
            Verdict::Lost => {
                log.event(format!("Shard {shard} does not turn any more: the daemon ends itself."));
                log.flush(LAST_LINES);
                // The janitor removes what is left, and a service manager starts another.
                std::process::abort();
            }
        }
    }
    stalled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_processor_time_without_a_turn_counts() {
        let mut shard = Progress::default();
        for (turns, seconds, expected) in [
            (7, 100, Verdict::Well),
            // It sleeps, however long.
            (7, 100, Verdict::Well),
            (7, 101, Verdict::Well),
            (7, 102, Verdict::Stalls),
            (7, 103, Verdict::StillStalls),
            (8, 109, Verdict::Recovered),
            (8, 110, Verdict::Well),
            (9, 130, Verdict::Well),
            (9, 132, Verdict::Stalls),
            (9, 139, Verdict::StillStalls),
            (9, 140, Verdict::Lost),
        ] {
            assert_eq!(shard.look(turns, seconds * SECOND), expected, "{turns} turns after {seconds} s");
        }
    }

    proptest! {
        /// One that turns at least once in less than the shorter time is never spoken of, however the looks fall.
        #[test]
        fn whoever_turns_is_well(steps in prop::collection::vec((0_u64..3, 0_u64..1_999_999_999), 1..200)) {
            let mut shard = Progress::default();
            let (mut turns, mut time) = (1, 0);
            shard.look(turns, time);
            for (more, lasted) in steps {
                // A turn, and then some time that may be looked at in the middle.
                turns += 1 + more;
                prop_assert_eq!(shard.look(turns, time), Verdict::Well);
                time += lasted;
                prop_assert_eq!(shard.look(turns, time), Verdict::Well);
            }
        }
    }
}
