//! CPU time of one worker: its clock is read from outside now and then, and what it says is shared out among the
//! invocations that the worker has had since it was read the last time. Pure; the caller brings clock and time.
//!
//! An invocation's share goes by the time for which it was the worker's first: a worker serves one at a time, in the
//! order in which they came. Where an invocation was alone between two readings its share is what it used; where there
//! were several it is an apportionment, and is called so. What is given out adds up to what was read.

#[cfg(test)]
mod tests;

use std::time::Duration;

use hairtrigger_sandbox::limits::{CPU_LIMIT_LOOK, CPU_SAMPLE};

use super::nanoseconds;
use super::reply::InvocationId;

/// No moment.
const NEVER: u64 = u64::MAX;

/// What one invocation has used, in nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) invocation: InvocationId,
    pub(crate) cpu: u64,
    /// Some of it was shared out among several.
    pub(crate) apportioned: bool,
}

/// What was read once, in nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// For invocations.
    pub(crate) invocations: u64,
    /// While there was none: the worker's start, and what it does by itself.
    pub(crate) overhead: u64,
}

/// How much CPU time an invocation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuLimit {
    pub(crate) time: Duration,
    /// How many threads of it may use some at once.
    pub(crate) threads: u32,
}

/// The CPU time of one worker. Times are monotonic, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What the clock said, and when it was read.
    reading: u64,
    read_at: u64,
    /// When the worker had an invocation for the first time since then.
    since: u64,
    /// From when on the time of its first invocation counts.
    first_since: u64,
    /// What its first invocation has used up to the last reading.
    first: Used,
    /// Those that have ended since the last reading: their weights together, and how many.
    ended: u64,
    count: u32,
    limit: Option<CpuLimit>,
    /// One by one, if somebody wants to know of each.
    items: Option<Vec<Item>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    cpu: u64,
    apportioned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    invocation: InvocationId,
    weight: u64,
    before: Used,
}

impl Meter {
    /// Of a worker that has arrived now, and whose clock says this. `itemised` if the share of each invocation is
    /// wanted, and not only what all have used.
    pub(crate) fn new(reading: u64, now: u64, itemised: bool, limit: Option<CpuLimit>) -> Self {
        Self {
            reading,
            read_at: now,
            since: NEVER,
            first_since: NEVER,
            first: Used::default(),
            ended: 0,
            count: 0,
            limit,
            items: itemised.then(Vec::new),
        }
    }

    /// Another invocation is the worker's first.
    pub(crate) fn begins(&mut self, now: u64) {
        (self.first_since, self.first) = (now, Used::default());
        self.since = self.since.min(now);
    }

    /// The first invocation has come to its end. To be called before [`Meter::begins`] for the next.
    pub(crate) fn ends(&mut self, invocation: InvocationId, now: u64) {
        if self.first_since == NEVER {
            return;
        }
        let weight = weight(self.first_since, now);
        self.first_since = NEVER;
        self.ended += weight;
        self.count += 1;
        if let Some(items) = &mut self.items {
            items.push(Item { invocation, weight, before: self.first });
        }
    }

    /// The worker has no first invocation.
    pub(crate) fn rests(&mut self) {
        self.first_since = NEVER;
    }

    /// When the clock is to be read, whether the worker has work then or not: never before [`CPU_SAMPLE`] has passed
    /// since it was read, unless the first invocation may come to its limit before that.
    pub(crate) fn due(&self) -> u64 {
        let sample = self.since.saturating_add(nanoseconds(CPU_SAMPLE));
        let Some(CpuLimit { time, threads }) = self.limit.filter(|_| self.first_since != NEVER) else {
            return sample;
        };
        let left = nanoseconds(time).saturating_sub(self.first.cpu);
        let soonest = (left / u64::from(threads.max(1))).max(nanoseconds(CPU_LIMIT_LOOK));
        sample.min(self.first_since.saturating_add(soonest))
    }

    /// What the first invocation has used, as far as was read, in nanoseconds.
    pub(crate) fn first_used(&self) -> u64 {
        if self.first_since == NEVER { 0 } else { self.first.cpu }
    }

    /// The limit, if the first invocation has used more, as far as was read.
    pub(crate) fn exceeded(&self) -> Option<Duration> {
        let limit = self.limit?.time;
        (self.first_since != NEVER && self.first.cpu >= nanoseconds(limit)).then_some(limit)
    }

    /// Whether the clock may be read at once. That is best done when the worker has become idle: what it has used is
    /// then known before somebody else shares it.
    pub(crate) fn may_be_read(&self, now: u64) -> bool {
        self.since != NEVER && now >= self.read_at.saturating_add(nanoseconds(CPU_SAMPLE))
    }

    /// The clock was read; or the worker has ended, and nobody knows any more what it said. Those that have ended since
    /// the last time are given their shares.
    pub(crate) fn read(&mut self, reading: Option<u64>, now: u64, mut give: impl FnMut(Share)) -> Read {
        let reading = reading.unwrap_or(self.reading).max(self.reading);
        let used = reading - self.reading;
        let alive = self.first_since != NEVER;
        let all = self.ended + if alive { weight(self.first_since, now) } else { 0 };
        let several = self.count + u32::from(alive) > 1;
        // What the first so many of all weights have together: differences of these add up to all of it.
        let up_to = |weights: u64| part(used, weights, all);
        let mut weights = 0;
        for Item { invocation, weight, before } in self.items.iter_mut().flat_map(|items| items.drain(..)) {
            let cpu = before.cpu + up_to(weights + weight) - up_to(weights);
            weights += weight;
            give(Share { invocation, cpu, apportioned: before.apportioned || several });
        }
        if alive {
            self.first.cpu += used - up_to(self.ended);
            self.first.apportioned |= several;
            self.first_since = now;
        }
        self.since = if alive { now } else { NEVER };
        (self.reading, self.read_at, self.ended, self.count) = (reading, now, 0, 0);
        if all > 0 {
            Read { invocations: used, overhead: 0 }
        } else {
            Read { invocations: 0, overhead: used }
        }
    }
}

/// What so much time counts for: never nothing, for many begin and end within one turn of the shard.
fn weight(from: u64, to: u64) -> u64 {
    to.saturating_sub(from) + 1
}

/// `weights` parts of `all` that make up `used`, rounded down.
fn part(used: u64, weights: u64, all: u64) -> u64 {
    let part = u128::from(used) * u128::from(weights) / u128::from(all.max(1));
    // At most `used`, for no weight is more than all.
    u64::try_from(part).unwrap_or(used)
}
