//! What a version's workers have used of the processors, and whether its work is long.

use std::os::fd::AsFd;
use std::sync::Arc;

use hairtrigger_sandbox::limits::DEMOTE_AFTER;

use super::super::meter::{Meter, Read, Share};
use super::super::nanoseconds;
use super::super::pool::State;
use super::super::record::{Records, Told};

use super::super::live::Flight;
use super::Function;

impl Function {
    /// Reads a worker's CPU clock, and books what it has used since the last time. Returns what of that it has used
    /// without an invocation, in nanoseconds.
    pub(crate) fn read_clock(&mut self, slot: u16, now: u64) -> u64 {
        let tally = self.version.totals.of(self.shard);
        let Some(live) = self.workers.get_mut(usize::from(slot)).and_then(Option::as_deref_mut) else {
            return 0;
        };
        let reading = hairtrigger_sandbox::cpu_time(live.pid, live.pidfd.as_fd());
        let Read { invocations, overhead } =
            live.meter.read(reading, now, |share| tell(self.records.as_ref(), share));
        let is_long = live.meter.first_used() >= nanoseconds(DEMOTE_AFTER);
        if is_long && !live.demoted && self.demotes {
            live.demoted = hairtrigger_sandbox::demote(live.pid, live.pidfd.as_fd(), true);
        }
        let demoted = live.demoted;
        tally.cpu.add(invocations);
        tally.overhead.add(overhead);
        if demoted {
            self.settle();
        }
        overhead
    }

    /// A worker is about to get one more invocation. If that is its first, what threads of it have used by themselves is
    /// not to be this one's.
    pub(crate) fn read_before_first(&mut self, slot: u16, now: u64) {
        if self.profile.threads > 0 && self.worker(slot).is_some_and(|live| live.flights.is_empty()) {
            self.read_clock(slot, now);
        }
    }

    /// Settles whether all of the version's work is long, on all shards. To be called when a worker is demoted or
    /// restored, and now and then while one is demoted.
    pub(super) fn settle(&self) {
        let has_work = self.workers.iter().flatten().filter(|live| !live.flights.is_empty());
        let demoted = has_work.clone().filter(|live| live.demoted).count();
        let draining = has_work.filter(|live| matches!(self.state(live.id), Some(State::Draining { .. })));
        self.version.stand_demoted(self.shard, demoted, draining.count());
        if self.version.settle_idle() {
            self.tell_idle();
        }
    }

    /// A worker has got work that is not long.
    pub(super) fn awake(&self) {
        if self.version.awake() {
            self.tell_idle();
        }
    }

    fn tell_idle(&self) {
        self.warden.idle(self.key, Arc::clone(&self.version.idle));
    }

    /// A worker is gone by itself, and takes what it used since its clock was read with it. What is known of those it had
    /// is told, the `last` included, if it had begun one.
    pub(crate) fn last_words(&self, meter: &mut Meter, last: Option<&Flight>, now: u64) {
        match last {
            Some(flight) => meter.ends(flight.invocation, now),
            None => meter.rests(),
        }
        meter.read(None, now, |share| tell(self.records.as_ref(), share));
    }

    /// An invocation ended with its worker and had not come to be the first there: it has used nothing.
    pub(crate) fn never_first(&self, flight: &Flight) {
        tell(self.records.as_ref(), Share { invocation: flight.invocation, cpu: 0, apportioned: false });
    }

    /// An invocation that was its worker's first is given to another one: what this one told of it is not all.
    pub(crate) fn told_again(&self, flight: &Flight) {
        if let Some(records) = self.records.as_ref().filter(|records| records.itemised) {
            records.push(Told::Again(flight.invocation));
        }
    }
}

/// Tells what an invocation has used, if anybody wants to know.
fn tell(records: Option<&Arc<Records>>, share: Share) {
    if let Some(records) = records.filter(|records| records.itemised) {
        records.push(Told::Cpu(share));
    }
}
