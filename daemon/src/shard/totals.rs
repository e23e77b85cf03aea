//! What a function has used and what has become of its invocations, all its versions together. Each shard counts for
//! itself, on cache lines of its own, and the control thread adds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::Start;
use crate::outcome::{LABELS, Outcome};

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// To be called by its own thread: an addition that needs no lock.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The number, as of some time not long ago.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one shard counts. Times in nanoseconds, bodies in bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    /// By the place of the outcome's label in [`LABELS`].
    outcomes: [Count; LABELS.len()],
    /// By [`Start`].
    starts: [Count; Start::ALL.len()],
    /// From when a worker had it until its answer.
    pub(crate) wall: Count,
    /// Waiting for a worker.
    pub(crate) queue: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    pub(crate) cpu: Count,
    /// CPU time of workers that had no invocation.
    pub(crate) overhead: Count,
    pub(crate) workers_started: Count,
    pub(crate) workers_ended: Count,
}

impl Tally {
    /// One more invocation has come to its end.
    pub(crate) fn ended(&self, outcome: &Outcome, start: Start) {
        self.outcomes[outcome.place()].add(1);
        self.starts[start as usize].add(1);
    }
}

/// A function's.
#[derive(Debug)]
pub(crate) struct Totals {
    shards: Box<[Tally]>,
    /// CPU time of its templates and what is above them; the control thread counts it.
    pub(crate) templates: Count,
    /// CPU time of the groups that are gone, as the kernel has counted it; the control thread's as well.
    pub(crate) groups: Count,
}

/// All of it together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) outcomes: [u64; LABELS.len()],
    pub(crate) starts: [u64; Start::ALL.len()],
    pub(crate) wall: Duration,
    pub(crate) queue: Duration,
    pub(crate) cpu: Duration,
    pub(crate) overhead: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) workers_started: u64,
    pub(crate) workers_ended: u64,
}

impl Totals {
    /// Nothing yet, for so many shards.
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards: (0..shards).map(|_| Tally::default()).collect(),
            templates: Count::default(),
            groups: Count::default(),
        }
    }

    /// What a shard counts; only that shard may.
    pub(crate) fn of(&self, shard: u16) -> &Tally {
        // A version knows no more shards than there are.
        &self.shards[usize::from(shard)]
    }

    pub(crate) fn sum(&self) -> Sum {
        let all =
            |count: fn(&Tally) -> &Count| self.shards.iter().map(|shard| count(shard).get()).sum::<u64>();
        let time = |count| Duration::from_nanos(all(count));
        let mut sum = Sum {
            wall: time(|shard| &shard.wall),
            queue: time(|shard| &shard.queue),
            cpu: time(|shard| &shard.cpu),
            overhead: time(|shard| &shard.overhead) + Duration::from_nanos(self.templates.get()),
            bytes_in: all(|shard| &shard.bytes_in),
            bytes_out: all(|shard| &shard.bytes_out),
            workers_started: all(|shard| &shard.workers_started),
            workers_ended: all(|shard| &shard.workers_ended),
            ..Sum::default()
        };
        for shard in &self.shards {
            sum.outcomes.iter_mut().zip(&shard.outcomes).for_each(|(sum, count)| *sum += count.get());
            sum.starts.iter_mut().zip(&shard.starts).for_each(|(sum, count)| *sum += count.get());
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_apart_and_are_added_up() {
        let totals = Totals::new(2);
        totals.of(0).ended(&Outcome::Completed { status: 404 }, Start::Warm);
        totals.of(1).ended(&Outcome::Completed { status: 200 }, Start::Fork);
        totals.of(1).ended(&Outcome::NO_MEMORY, Start::None);
        totals.of(0).cpu.add(5);
        totals.of(1).cpu.add(7);
        totals.of(1).overhead.add(1);
        totals.templates.add(2);
        let sum = totals.sum();
        let outcomes: Vec<_> = LABELS.iter().zip(sum.outcomes).filter(|(_, count)| *count > 0).collect();
        assert_eq!(outcomes, [(&"completed", 2), (&"overloaded", 1)]);
        assert_eq!((sum.cpu, sum.overhead), (Duration::from_nanos(12), Duration::from_nanos(3)));
        assert_eq!(sum.starts, [1, 1, 0, 1]);
    }
}
