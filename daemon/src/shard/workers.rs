//! The workers of a shard: when they are started, how they end, and how a version of a function comes and
//! goes with them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::channel::ProtocolViolation;
use hairtrigger_sandbox::ending::Ending;
use hairtrigger_sandbox::limits::{
    ASK_AGAIN, GROW_AFTER, MAX_STILLBORN, START_AGAIN, START_HOLD, START_HOLD_MAX, STILLBORN_AGE,
};
use hairtrigger_sandbox::{Ticket, Worker};

use super::dispatch::was_begun;
use super::function::{Function, Grants, Status};
use super::inbox::{FromShard, ToShard};
use super::live::{Flight, Live};
use super::pool::WorkerId;
use super::ring::Key;
use super::version::Version;
use super::{Alarm, Retired, Shard, nanoseconds, of_worker_key, worker_key};
use crate::outcome::{Clock, Outcome};

impl Shard {
    /// Starts the workers that are wanted: for the floor at once, for a queue once it has waited a while.
    pub(super) fn want_workers(&mut self, function: u32) {
        let Self { functions, wheel, now, draining, .. } = self;
        let Some(entry) = functions.get_mut(function) else { return };
        // A shard that drains keeps no workers warm, but it serves those who wait.
        if !matches!(entry.status, Status::Ready) || (*draining && entry.queue.is_empty()) {
            return;
        }
        if entry.held_until > *now {
            if !entry.growth_timer {
                entry.growth_timer = true;
                wheel.insert(entry.held_until, Alarm::Growth(function).pack());
            }
            return;
        }
        let grow_after = nanoseconds(GROW_AFTER);
        let oldest = entry.queue.front().map(|(_, since)| since);
        let waited = entry.takes_long() || oldest.is_some_and(|since| *now >= since + grow_after);
        let queued = if entry.staff() == 0 || waited { entry.queue.len() } else { 0 };
        let starts = entry.starts_wanted(queued, *now);
        if let (Some(since), false) = (oldest, entry.growth_timer) {
            entry.growth_timer = true;
            wheel.insert((since + grow_after).max(*now + grow_after), Alarm::Growth(function).pack());
        }
        self.start_workers(function, starts);
        let Self { functions, wheel, now, .. } = self;
        if let Some(entry) = functions.get_mut(function)
            && entry.grants.as_ref().is_some_and(|grants| grants.asked > 0)
            && !entry.growth_timer
        {
            entry.growth_timer = true;
            wheel.insert(*now + nanoseconds(ASK_AGAIN), Alarm::Growth(function).pack());
        }
    }

    /// Starts so many workers, as far as there may be more; those for which a grant is missing are asked for.
    pub(super) fn start_workers(&mut self, function: u32, count: usize) {
        let Self { functions, warden, report, number, now, .. } = self;
        let Some(entry) = functions.get_mut(function) else { return };
        for left in (1..=count).rev() {
            if let Some(grants) = &mut entry.grants {
                let Some(unused) = grants.unused.checked_sub(1) else {
                    if grants.asked == 0 {
                        grants.asked = u32::try_from(left).unwrap_or(u32::MAX);
                        grants.asked_at = *now;
                        let (count, heard) = (grants.asked, grants.heard);
                        report.tell(FromShard::Wants { function, count, heard });
                    }
                    return;
                };
                grants.unused = unused;
            }
            match entry.start(*now) {
                Some(WorkerId { slot, generation }) => {
                    warden.want_worker(Ticket { function, shard: *number, slot, generation });
                }
                None => {
                    entry.grants.iter_mut().for_each(|grants| grants.unused += 1);
                    return;
                }
            }
        }
    }

    /// One of the workers that were asked for may be started. What is not needed any more goes back.
    pub(super) fn granted(&mut self, function: u32) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        let Some(grants) = &mut entry.grants else { return };
        (grants.unused, grants.asked) = (grants.unused + 1, grants.asked.saturating_sub(1));
        grants.heard = grants.heard.wrapping_add(1);
        let habit = std::mem::take(&mut grants.habit);
        self.want_workers(function);
        if habit && self.grants(function).is_some_and(|grants| grants.unused > 0) {
            self.start_workers(function, 1);
        }
        let Some(grants) = self.grants(function) else { return };
        let count = std::mem::take(&mut grants.unused);
        if count > 0 {
            grants.owed = grants.owed.saturating_sub(count);
            self.report.tell(FromShard::Returns { function, count });
        }
    }

    /// What a version has of the workers of the host, where that is bounded.
    fn grants(&mut self, function: u32) -> Option<&mut Grants> {
        self.functions.get_mut(function)?.grants.as_mut()
    }

    /// Another function is to have one of this one's workers.
    pub(super) fn give_up(&mut self, function: u32) {
        let now = self.now;
        if let Some(entry) = self.functions.get_mut(function) {
            entry.give_up(now);
        }
    }

    /// Says anew what is wanted, if that was said a while ago and nobody could give it.
    fn ask_again(&mut self, function: u32) {
        let asked_long_ago = self.now.saturating_sub(nanoseconds(ASK_AGAIN));
        let Some(grants) = self.grants(function) else { return };
        if grants.asked_at > asked_long_ago || std::mem::take(&mut grants.asked) == 0 {
            return;
        }
        self.want_workers(function);
        let Some(&mut Grants { asked: 0, heard, .. }) = self.grants(function) else { return };
        self.report.tell(FromShard::Wants { function, count: 0, heard });
    }

    /// A worker has done with one of its invocations. One that serves no more is ended a little later.
    pub(super) fn release(&mut self, function: u32, id: WorkerId) {
        let now = self.now;
        if self.functions.get_mut(function).is_some_and(|entry| entry.release(id, now)) {
            self.spent.push((function, id));
        }
    }

    /// Ends the workers that serve no more, and starts those that what comes next will want: after all that the turn has
    /// for clients and workers is on its way.
    pub(super) fn renew_workers(&mut self) {
        let now = self.now;
        while let Some((function, id)) = self.spent.pop() {
            let Some(entry) = self.functions.get_mut(function) else { continue };
            if entry.worker_of(id.slot, id.generation).is_none() {
                continue;
            }
            entry.read_clock(id.slot, now);
            if let Some(live) = entry.worker(id.slot) {
                live.kill(Outcome::ShuttingDown { begun: false });
            }
        }
        while let Some(function) = self.wanting.pop() {
            self.want_workers(function);
        }
    }

    /// Those who wait have waited a while: another shard may have a worker, or this one gets one more.
    pub(super) fn growth_alarm(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function) {
            entry.growth_timer = false;
        }
        self.pass_on(function);
        self.ask_again(function);
        self.want_workers(function);
    }

    /// Workers that are not kept warm may have been without work for long enough.
    pub(super) fn idle_alarm(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function) {
            entry.idle_timer = false;
        }
        self.reap_workers(function);
    }

    /// Ends the workers that have been without work for too long, and looks again when the next may be.
    fn reap_workers(&mut self, function: u32) {
        let Self { functions, wheel, now, .. } = self;
        let Some(entry) = functions.get_mut(function) else { return };
        if entry.idle_timer {
            return;
        }
        if let Some(due) = entry.reap(*now) {
            entry.idle_timer = true;
            wheel.insert(due, Alarm::Idle(function).pack());
        }
    }

    /// Nobody has wanted anything of a version for a while: whether that is so here as well. Then nothing begins here before
    /// it is loaded anew.
    pub(super) fn doze(&mut self, function: u32, round: u32) {
        let entry = self.functions.get_mut(function);
        let quiet = entry.filter(|entry| entry.is_quiet() && matches!(entry.status, Status::Ready));
        let agreed = quiet.map(|entry| entry.status = Status::Asleep).is_some();
        self.report.tell(FromShard::Dozes { function, round, agreed });
    }

    /// Another shard did not agree: it goes on.
    pub(super) fn wake(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function)
            && matches!(entry.status, Status::Asleep | Status::Loading)
        {
            // It may have gone while the shards were asked; then it is being loaded.
            entry.status = if entry.template { Status::Ready } else { Status::Loading };
            self.want_workers(function);
        }
    }

    /// Somebody wants something of a version: if that sleeps, it is time to load it.
    pub(super) fn rouse(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function)
            && matches!(entry.status, Status::Asleep)
        {
            entry.status = Status::Loading;
            self.report.tell(FromShard::Wanted { function });
        }
    }

    /// A version was begun.
    pub(super) fn begin(&mut self, version: Arc<Version>) {
        let records = self.records.clone();
        let function = Function::new(version, self.number, records, self.warden.clone(), self.bounded);
        self.functions.insert(function);
    }

    /// A version serves no more requests than it has.
    pub(super) fn retire_version(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function) {
            entry.retire();
            self.retiring.push(function);
        }
    }

    /// Looks whether anything is left of the versions that retire.
    pub(super) fn wind_up(&mut self) {
        let Self { functions, retiring, report, now, .. } = self;
        retiring.retain(|&function| {
            let left = functions.get_mut(function).is_some_and(|entry| !entry.wind_up(*now));
            if !left {
                functions.remove(function);
                report.tell(FromShard::Retired { function });
            }
            left
        });
    }

    pub(super) fn loaded(&mut self, function: u32) {
        if let Some(entry) = self.functions.get_mut(function) {
            (entry.status, entry.template) = (Status::Ready, true);
            entry.loaded_at = self.now;
            entry.is_well();
            entry.held_until = 0;
        }
        self.want_workers(function);
    }

    pub(super) fn load_failed(&mut self, function: u32, reason: Arc<str>) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        (entry.status, entry.template) = (Status::Failed(Arc::clone(&reason)), false);
        self.refuse_queue(function, &Outcome::InitFailed { reason });
    }

    fn refuse_queue(&mut self, function: u32, why: &Outcome) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        for caller in entry.queue.clear() {
            if self.waits(caller) {
                self.answer_caller(caller, why);
            }
        }
    }

    pub(super) fn worker_ready(&mut self, ticket: Ticket, worker: Worker) {
        let Some(entry) = self.functions.get_mut(ticket.function) else { return };
        entry.arrived(ticket, worker, self.now);
        self.serve_queue(ticket.function);
        let now = self.now;
        if let Some(entry) = self.functions.get_mut(ticket.function) {
            entry.pay(now);
        }
        self.reap_workers(ticket.function);
    }

    pub(super) fn worker_gone(&mut self, ticket: Ticket, ending: Ending) {
        self.without_worker(ticket, ending);
        let grants = self.grants(ticket.function);
        if let Some(count) = grants.map(|grants| std::mem::take(&mut grants.gone)).filter(|count| *count > 0)
        {
            self.report.tell(FromShard::Returns { function: ticket.function, count });
        }
        self.want_workers(ticket.function);
        let entry = self.functions.get_mut(ticket.function);
        if entry.as_ref().is_some_and(|entry| entry.profile.provisioned == 0 && entry.is_quiet()) {
            self.report.tell(FromShard::Quiet { function: ticket.function });
        }
        // If this shard did not want one in its place, another may have waited for that.
        if entry.is_some_and(|entry| entry.version.tells_of_permit()) {
            self.peers.iter().for_each(|peer| peer.tell(ToShard::Permit { function: ticket.function }));
        }
    }

    /// What follows for those who waited for this worker.
    fn without_worker(&mut self, ticket: Ticket, ending: Ending) {
        let function = ticket.function;
        // A reply that it published before it went counts.
        while self.take_reply(function, ticket.slot) {}
        let Some(entry) = self.functions.get_mut(function) else { return };
        let Some(live) = entry.departed(ticket) else {
            // It never became ready. Wanting another at once would only go round in a circle.
            if ending == Ending::Killed {
                // Not of its own doing: the template is ending, or the host is short of something.
                entry.held_until = entry.held_until.max(self.now + nanoseconds(START_AGAIN));
            } else {
                self.died_young(function, ending);
            }
            return;
        };
        let mut live = live;
        if let Some((timer, _)) = live.timer.take() {
            self.wheel.cancel(timer);
        }
        self.busy.retain(|entry| *entry != (function, ticket.slot));
        let served = live.served;
        let flights: Vec<Flight> = live.flights.drain(..).collect();
        let begun = live.channel.begun();
        entry.last_words(&mut live.meter, flights.first().filter(|first| was_begun(begun, first)), self.now);
        let young = self.now < live.arrived + nanoseconds(STILLBORN_AGE);
        let by_us = live.killed_for.is_some();
        self.keep_departed(function, live);
        let idle = flights.first().is_none_or(|first| !was_begun(begun, first));
        if idle && !by_us {
            self.wait_again(function, flights);
            if young && !served {
                self.died_young(function, ending);
            }
            self.serve_queue(function);
        } else {
            // Whom this shard has killed it has answered for. Others are killed with their template, which had to go: as
            // far as callers are concerned, by chance.
            let killed = match self.draining {
                true => Outcome::ShuttingDown { begun: true },
                false => Outcome::Fault { signal: libc::SIGKILL },
            };
            let why = Outcome::from_ending(ending, killed);
            self.end_flights(function, flights, begun, &why);
        }
    }

    /// A worker ended soon after its start, before it had begun an invocation. Several in a row are a function
    /// that cannot start workers.
    fn died_young(&mut self, function: u32, ending: Ending) {
        let Some(entry) = self.functions.get_mut(function) else { return };
        // One that was late has cost more time than several that ended at once.
        entry.stillborn =
            if ending == Ending::Late { MAX_STILLBORN.max(entry.stillborn + 1) } else { entry.stillborn + 1 };
        if entry.stillborn < MAX_STILLBORN || !matches!(entry.status, Status::Ready) {
            return;
        }
        let doublings = (entry.stillborn - MAX_STILLBORN).min(16);
        let hold = (START_HOLD * 2_u32.pow(doublings)).min(START_HOLD_MAX);
        entry.held_until = self.now + nanoseconds(hold);
        let reason: Arc<str> = format!("its workers end before they can serve: the last one {ending}").into();
        entry.failing = Some(Arc::clone(&reason));
        self.report.tell(FromShard::Failing { function, reason: Arc::clone(&reason) });
        self.refuse_queue(function, &Outcome::InitFailed { reason });
    }

    /// Keeps of a departed worker what the kernel may still use.
    fn keep_departed(&mut self, function: u32, mut live: Box<Live>) {
        if live.bell_armed {
            let key = worker_key(function, live.id.slot, live.id.generation);
            // Completes the operation that waits for the bell.
            hairtrigger_sandbox::ring(live.channel.bell().as_fd());
            let count = std::mem::take(&mut live.bell_count);
            self.retired.push(Retired { key, _count: count });
        }
        self.departed.push(live);
    }

    pub(super) fn worker_alarm(&mut self, key: Key) {
        let (function, slot) = of_worker_key(key);
        let Some(entry) = self.functions.get_mut(function) else { return };
        let limit: Duration = entry.profile.timeout;
        let Some(live) = entry.worker_of(slot, key.generation) else { return };
        live.timer = None;
        if live.look_at() > self.now {
            self.arm_worker(function, slot);
            return;
        }
        // What came in time counts.
        while self.take_reply(function, slot) {}
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        if entry.worker_of(slot, key.generation).is_some_and(|live| live.meter.due() <= now) {
            entry.read_clock(slot, now);
        }
        let Some(live) = entry.worker_of(slot, key.generation) else { return };
        let exceeded = live.meter.exceeded();
        if let Some(limit) = exceeded {
            self.fail_worker(function, slot, Outcome::Timeout { limit, of: Clock::Cpu });
        } else if live.reading {
            self.arm_worker(function, slot);
        } else if live.deadline <= now {
            self.fail_worker(function, slot, Outcome::Timeout { limit, of: Clock::Wall });
        } else if live.look_at() <= now {
            self.take_back(function, slot);
        } else {
            self.arm_worker(function, slot);
        }
    }

    /// The first flight takes long: those behind it wait for another worker instead.
    fn take_back(&mut self, function: u32, slot: u16) {
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker(slot) else { return };
        let id = live.id;
        let kept = match live.channel.revoke() {
            Ok(kept) => kept as usize,
            Err(ProtocolViolation(what)) => {
                self.fail_worker(function, slot, Outcome::ProtocolViolation { what });
                return;
            }
        };
        let taken_back = live.keep(kept, now, timeout);
        entry.hold(id);
        for _ in &taken_back {
            self.release(function, id);
        }
        self.wait_again(function, taken_back.into());
        self.arm_worker(function, slot);
        self.serve_queue(function);
        self.want_workers(function);
    }
}
