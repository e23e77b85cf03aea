//! Workers that have no invocation, and what they use all the same. Nobody waits for them, so that no limit of an
//! invocation's holds: one that has published its reply and computes on would do so for ever. Their clocks are read now and
//! then, as long as there are any.

use hairtrigger_sandbox::limits::{CLOCKS_AT_ONCE, CPU_SAMPLE, IDLE_CLOCKS, IDLE_CPU};

use super::function::Function;
use super::pool::State;
use super::{Alarm, Shard, nanoseconds};

/// How far the shard has come with them.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Whether there is an alarm.
    watched: bool,
    /// The version whose turn is next, and whether one before it had workers.
    next: u32,
    found: bool,
}

impl Shard {
    /// There is a worker.
    pub(super) fn watch_clocks(&mut self) {
        if !self.clocks.watched {
            self.clocks.watched = true;
            self.wheel.insert(self.now + nanoseconds(IDLE_CLOCKS), Alarm::Clocks.pack());
        }
    }

    /// Reads the clocks that are next; after the last one there is a pause.
    pub(super) fn read_idle_clocks(&mut self) {
        let Self { functions, wheel, clocks, now, .. } = self;
        let mut read = 0;
        while read < CLOCKS_AT_ONCE {
            let Some(entry) = functions.next_from(clocks.next) else {
                let found = clocks.found;
                *clocks = Clocks::default();
                if found {
                    self.watch_clocks();
                }
                return;
            };
            clocks.next = entry.key + 1;
            let workers = entry.read_idle_clocks(*now);
            read += workers;
            clocks.found |= workers > 0;
        }
        wheel.insert(*now + nanoseconds(CPU_SAMPLE), Alarm::Clocks.pack());
    }
}

impl Function {
    /// Reads the clocks of its workers that have no invocation; what they have used is overhead. Ends those that have used
    /// more than anything explains. Threads may have something to do, and are only billed. Returns how many workers there
    /// are.
    fn read_idle_clocks(&mut self, now: u64) -> usize {
        let mut workers = 0;
        for slot in 0..self.profile.max {
            let Some(live) = self.worker(slot) else { continue };
            workers += 1;
            let id = live.id;
            if !matches!(self.state(id), Some(State::Idle { .. })) {
                continue;
            }
            let idle = self.read_clock(slot, now);
            if self.profile.threads == 0 && idle >= nanoseconds(IDLE_CPU) {
                self.end(id, now);
            }
        }
        workers
    }
}
