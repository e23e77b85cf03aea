//! A version of a function, as all shards share it: what it may use, and a few counters; and which versions
//! requests go to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::admission::{Gate, Rate};
use super::exchange::Exchange;
use super::meter::CpuLimit;
use super::route::{Pattern, Router};
use super::totals::Totals;

/// Where requests go at present. Made once for each change, and then only read, by all shards.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    pub(crate) router: Router,
    /// The version that serves each name.
    pub(crate) present: HashMap<Box<str>, u32>,
}

/// What a shard knows of a function.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: Arc<str>,
    /// The routes that its manifest says; `None`: the path of its name and all below it.
    pub(crate) routes: Option<Arc<[Pattern]>>,
    pub(crate) timeout: Duration,
    pub(crate) cpu_limit: Option<CpuLimit>,
    /// Threads that a worker may have beside its first.
    pub(crate) threads: u32,
    pub(crate) max_request: u64,
    pub(crate) max_response: u64,
    /// Whether an invocation whose worker ends by chance may be tried once more.
    pub(crate) idempotent: bool,
    pub(crate) provisioned: u16,
    pub(crate) max: u16,
    pub(crate) queue: u32,
    pub(crate) rate: Option<Rate>,
    /// How long a worker stays without work, if it is not kept warm.
    pub(crate) idle: Duration,
    /// Each invocation has a worker of its own.
    pub(crate) fresh: bool,
}

impl Profile {
    /// Of a function with one worker at most and a place in its queue.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self {
            name: "f".into(),
            routes: None,
            timeout: Duration::from_secs(1),
            cpu_limit: None,
            threads: 0,
            max_request: 0,
            max_response: 0,
            idempotent: false,
            provisioned: 0,
            max: 1,
            queue: 1,
            rate: None,
            idle: Duration::from_secs(1),
            fresh: false,
        }
    }

    /// The route of its manifest that led a request here, if its manifest says routes.
    pub(crate) fn route(&self, exchange: &Exchange) -> Option<&Pattern> {
        self.routes.as_ref()?.get(usize::from(exchange.route))
    }
}

/// One version of one function.
#[derive(Debug)]
pub(crate) struct Version {
    /// Its number, also the sandbox's; unique among the versions of which anything is left.
    pub(crate) key: u32,
    pub(crate) profile: Profile,
    /// Workers that are starting or alive, on all shards: at most the profile's `max`.
    permits: AtomicU32,
    /// Whether a shard went without a permit that it wanted, and has not been told since that there is one.
    short: AtomicBool,
    waiting: Waiting,
    /// Of a function that has a rate; the same for versions that follow each other and have the same rate.
    gate: Option<Arc<Gate>>,
    standings: Box<[Standing]>,
    /// Whether its processes are to run only where no other function's want to.
    pub(crate) idle: Arc<AtomicBool>,
    /// What its function has used, this version and those before it.
    pub(crate) totals: Arc<Totals>,
}

/// What the others may know of one shard's workers of a version: hints, right at some time not long ago. A
/// cache line pair each: a shard writes its own at every request, and the others seldom read it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Standing {
    idle: AtomicU32,
    /// Starting or alive.
    workers: AtomicU32,
    /// With a long invocation, those that drain included.
    demoted: AtomicU32,
    /// Those that drain and still have invocations, which are not among the workers; as far as that was told.
    draining: AtomicU32,
    /// Since when one of the idle is so: monotonic, in nanoseconds. Only where functions share a number of workers.
    idle_since: AtomicU64,
}

/// How many wait for a worker, on all shards together. Lines of its own: only who waits writes here, and whoever is
/// served at once shall not notice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Waiting(AtomicU32);

impl Version {
    /// A version without workers, for so many shards.
    pub(crate) fn new(key: u32, profile: Profile, shards: u16, totals: Arc<Totals>) -> Self {
        let standings = (0..shards).map(|_| Standing::default()).collect();
        let gate = profile.rate.map(|rate| Arc::new(Gate::new(rate)));
        Self {
            key,
            profile,
            permits: AtomicU32::new(0),
            short: AtomicBool::new(false),
            waiting: Waiting::default(),
            gate,
            standings,
            idle: Arc::default(),
            totals,
        }
    }

    /// One that nothing was before.
    #[cfg(test)]
    pub(crate) fn alone(key: u32, profile: Profile, shards: u16) -> Self {
        Self::new(key, profile, shards, Arc::new(Totals::new(shards)))
    }

    /// The same, in the place of another: if it has the same rate, what that has let in counts for this one as well.
    pub(crate) fn after(mut self, before: &Self) -> Self {
        if self.profile.rate == before.profile.rate {
            self.gate.clone_from(&before.gate);
        }
        self
    }

    /// Whether a request that came at this time is within the function's rate; if not, after how many nanoseconds the
    /// next one is.
    pub(crate) fn let_in(&self, now: u64) -> Result<(), u64> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate.let_in(now))
    }

    /// Workers of it that a shard keeps warm: its share of those that are provisioned, which are dealt out
    /// beginning with the shard that is the version's home.
    pub(crate) fn provisioned_on(&self, shard: u16) -> u16 {
        let shards = self.shards();
        let home = u16::try_from(self.key % u32::from(shards)).unwrap_or(0);
        let place = (shard % shards + shards - home) % shards;
        let all = self.profile.provisioned;
        all / shards + u16::from(place < all % shards)
    }

    /// Takes a permit for one more worker; false if there are as many as there may be. Whoever gives one back then
    /// is told to say so.
    pub(crate) fn take_permit(&self) -> bool {
        let most = u32::from(self.profile.max);
        let more = |taken: u32| (taken < most).then(|| taken + 1);
        let take = || self.permits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        if take() {
            return true;
        }
        self.short.store(true, Ordering::SeqCst);
        // One that was given back in between, by somebody who did not see that yet.
        take()
    }

    /// Whether there is a permit, and a shard that wants it has to be told. To be asked when one was returned: the
    /// shard that is to keep a worker warm may have had no permit because another shard's worker had it.
    pub(crate) fn tells_of_permit(&self) -> bool {
        self.has_permit() && self.short.swap(false, Ordering::SeqCst)
    }

    /// Whether a permit could be had just now.
    pub(crate) fn has_permit(&self) -> bool {
        self.permits.load(Ordering::SeqCst) < u32::from(self.profile.max)
    }

    /// Gives the permit of a worker back that is gone.
    pub(crate) fn return_permit(&self) {
        let before = self.permits.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "each permit is returned once");
    }

    /// Takes a place in the queue; false if as many wait as may. Only for [`Place`](super::queue::Place), which gives it
    /// back.
    pub(super) fn take_place(&self) -> bool {
        let most = self.profile.queue;
        let more = |waiting: u32| (waiting < most).then(|| waiting + 1);
        self.waiting.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One more waits, whether or not there is a place.
    pub(super) fn add_place(&self) {
        self.waiting.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One of those who wait does so no more.
    pub(super) fn return_place(&self) {
        let before = self.waiting.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "each place is returned once");
    }

    /// How many wait for a worker, on all shards together, those included that are on their way to another shard.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.0.load(Ordering::Relaxed)
    }

    /// Says how a shard's workers stand.
    pub(crate) fn stand(&self, shard: u16, idle: usize, workers: usize) {
        let Some(standing) = self.standings.get(usize::from(shard)) else { return };
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        standing.idle.store(narrow(idle), Ordering::Relaxed);
        standing.workers.store(narrow(workers), Ordering::Relaxed);
    }

    /// Says since when the worker is idle that is so for longest.
    pub(crate) fn stand_idle_since(&self, shard: u16, since: u64) {
        if let Some(standing) = self.standings.get(usize::from(shard)) {
            standing.idle_since.store(since, Ordering::Relaxed);
        }
    }

    /// Says how many of a shard's workers have long invocations, and how many drain and have any.
    pub(crate) fn stand_demoted(&self, shard: u16, demoted: usize, draining: usize) {
        let Some(standing) = self.standings.get(usize::from(shard)) else { return };
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        standing.demoted.store(narrow(demoted), Ordering::Relaxed);
        standing.draining.store(narrow(draining), Ordering::Relaxed);
    }

    /// Settles whether all that its workers do, or are about to do, is long; true if that is another than before, which
    /// the sandbox has to be told.
    pub(crate) fn settle_idle(&self) -> bool {
        let (mut long, mut other) = (0, 0);
        for standing in &self.standings {
            let demoted = standing.demoted.load(Ordering::Relaxed);
            let working = standing
                .workers
                .load(Ordering::Relaxed)
                .saturating_sub(standing.idle.load(Ordering::Relaxed))
                .saturating_add(standing.draining.load(Ordering::Relaxed));
            long += demoted;
            other += working.saturating_sub(demoted);
        }
        let idle = long > 0 && other == 0;
        self.idle.swap(idle, Ordering::SeqCst) != idle
    }

    /// Somebody has work for it that is not long. True if the sandbox has to be told.
    pub(crate) fn awake(&self) -> bool {
        // Looked at first, which costs nothing: it is at every request.
        self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::SeqCst)
    }

    /// How the workers stand, shard by shard: all of them, and the idle ones.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (u32, u32)> {
        let look = |standing: &Standing| {
            (standing.workers.load(Ordering::Relaxed), standing.idle.load(Ordering::Relaxed))
        };
        self.standings.iter().map(look)
    }

    /// Since when one of each shard's idle workers is so, where functions share a number of workers.
    pub(crate) fn idle_since(&self) -> impl Iterator<Item = u64> {
        self.standings.iter().map(|standing| standing.idle_since.load(Ordering::Relaxed))
    }

    /// Another shard that seems to have an idle worker, which is counted as taken until that shard says anew
    /// how it stands.
    pub(crate) fn claim_idle(&self, shard: u16) -> Option<u16> {
        self.others(shard).find(|&other| {
            let idle = &self.standings[usize::from(other)].idle;
            let one_less = |idle: u32| idle.checked_sub(1);
            // Looked at first: a failing exchange would take the line from its owner for nothing.
            idle.load(Ordering::Relaxed) > 0
                && idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
        })
    }

    /// Another shard that seems to have workers at all.
    pub(crate) fn staffed(&self, shard: u16) -> Option<u16> {
        self.others(shard)
            .find(|&other| self.standings[usize::from(other)].workers.load(Ordering::Relaxed) > 0)
    }

    /// The other shards, beginning with the next one, so that not all turn to the same.
    fn others(&self, shard: u16) -> impl Iterator<Item = u16> {
        let shards = self.shards();
        (1..shards).map(move |step| {
            // In 32 bits: the sum of two numbers of shards may not fit in 16.
            u16::try_from((u32::from(shard) + u32::from(step)) % u32::from(shards)).unwrap_or(0)
        })
    }

    fn shards(&self) -> u16 {
        // As many as `new` was given, which has 16 bits.
        u16::try_from(self.standings.len()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(key: u32, provisioned: u16, max: u16, shards: u16) -> Version {
        Version::alone(key, Profile { provisioned, max, ..Profile::sample() }, shards)
    }

    #[test]
    fn what_one_version_has_let_in_counts_for_the_next_of_the_same_rate() {
        let with = |rate| Version::alone(0, Profile { rate, ..Profile::sample() }, 1);
        let slow = Some(Rate::new(0.5, 2));
        let first = with(slow);
        assert_eq!([0, 0, 0].map(|now| first.let_in(now).is_ok()), [true, true, false]);
        let second = with(slow).after(&first);
        assert_eq!((second.let_in(0), first.let_in(1)), (Err(2_000_000_000), Err(1_999_999_999)));
        assert!(second.let_in(2_000_000_000).is_ok() && first.let_in(2_000_000_000).is_err(), "one for both");
        assert!(with(Some(Rate::new(0.5, 3))).after(&first).let_in(0).is_ok(), "another rate begins anew");
        assert!((0..99).all(|now| with(None).after(&first).let_in(now).is_ok()));
        assert!(with(slow).after(&with(None)).let_in(0).is_ok());
    }

    #[test]
    fn provisioned_workers_are_dealt_out_from_the_home_on() {
        let dealt = |key, provisioned, shards| {
            let version = version(key, provisioned, 100, shards);
            (0..shards).map(|shard| version.provisioned_on(shard)).collect::<Vec<_>>()
        };
        assert_eq!(dealt(0, 1, 1), [1]);
        assert_eq!(dealt(0, 1, 3), [1, 0, 0]);
        assert_eq!(dealt(7, 1, 3), [0, 1, 0]);
        assert_eq!(dealt(2, 5, 3), [2, 1, 2]);
        assert_eq!(dealt(65_535, 0, 2), [0, 0]);
    }

    #[test]
    fn there_are_as_many_permits_as_workers_may_be() {
        let version = version(0, 0, 2, 2);
        let take = || version.take_permit();
        assert!(take() && version.has_permit() && take());
        assert!(!version.has_permit() && !take());
        version.return_permit();
        assert!(take() && !take());
    }

    #[test]
    fn who_went_without_a_permit_is_told_of_the_next() {
        let version = version(0, 1, 1, 2);
        let take = || version.take_permit();
        assert!(take());
        version.return_permit();
        assert!(!version.tells_of_permit(), "nobody went without");
        assert!(take() && !take());
        assert!(!version.tells_of_permit(), "there is none yet");
        version.return_permit();
        assert!(version.tells_of_permit() && !version.tells_of_permit(), "once");
    }

    #[test]
    fn it_is_idle_while_all_its_work_is_long() {
        let version = version(0, 0, 9, 2);
        version.stand(0, 1, 2);
        assert!(!version.settle_idle(), "nothing is long");
        version.stand_demoted(0, 1, 0);
        assert!(version.settle_idle() && !version.settle_idle() && version.idle.load(Ordering::Relaxed));
        version.stand(1, 0, 1);
        assert!(
            version.settle_idle() && !version.idle.load(Ordering::Relaxed),
            "another shard has short work"
        );
        version.stand_demoted(1, 1, 0);
        assert!(version.settle_idle());
        assert!(version.awake() && !version.awake(), "once");
        version.stand_demoted(0, 0, 0);
        version.stand(0, 2, 2);
        assert!(version.settle_idle(), "one that is idle is no matter");
        version.stand_demoted(1, 0, 0);
        assert!(version.settle_idle() && !version.idle.load(Ordering::Relaxed));
    }

    #[test]
    fn one_that_drains_works_as_the_others_do() {
        let version = version(0, 0, 9, 1);
        version.stand(0, 0, 1);
        version.stand_demoted(0, 1, 1);
        assert!(!version.settle_idle(), "of two one has long work");
        version.stand_demoted(0, 2, 1);
        assert!(version.settle_idle() && version.idle.load(Ordering::Relaxed));
        version.stand(0, 0, 0);
        version.stand_demoted(0, 1, 1);
        assert!(!version.settle_idle(), "the one that drains is left");
        version.stand_demoted(0, 0, 1);
        assert!(version.settle_idle() && !version.idle.load(Ordering::Relaxed));
    }

    #[test]
    fn a_claimed_worker_is_not_claimed_again_until_its_shard_has_spoken() {
        let version = version(0, 0, 9, 4);
        assert_eq!((version.claim_idle(0), version.staffed(0)), (None, None));
        version.stand(0, 5, 5);
        assert_eq!(version.claim_idle(0), None, "its own do not count");
        version.stand(2, 1, 2);
        version.stand(3, 1, 1);
        assert_eq!((version.claim_idle(1), version.claim_idle(1)), (Some(2), Some(3)), "the next one first");
        assert_eq!((version.claim_idle(1), version.claim_idle(1)), (Some(0), Some(0)));
        version.stand(3, 1, 1);
        assert_eq!(version.claim_idle(0), Some(3));
        assert_eq!((version.claim_idle(0), version.staffed(0)), (None, Some(2)));
    }
}
