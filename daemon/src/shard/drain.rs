//! The end of a shard: it finishes what is under way, and what takes too long it cuts off, with an answer.

use hairtrigger_sandbox::limits::LAST_ANSWERS;

use super::connection::Phase;
use super::inbox::FromShard;
use super::live::Caller;
use super::{Alarm, Shard, nanoseconds};
use crate::outcome::Outcome;

/// What was still under way when there was no more time for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CutOff {
    /// Requests that were there and had no answer; of those whose client had left, the ones under way in a worker.
    pub(crate) invocations: u64,
    /// Connections in the middle of a request, or of an answer that nobody took.
    pub(crate) connections: u64,
}

impl CutOff {
    /// Whether everything was finished.
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for CutOff {
    fn add_assign(&mut self, other: Self) {
        self.invocations += other.invocations;
        self.connections += other.connections;
    }
}

impl Shard {
    /// Takes no more connections, closes those without a request, and waits for the others.
    pub(super) fn drain(&mut self) {
        self.take_no_more();
        self.wheel.insert(self.now + nanoseconds(self.timeouts.drain), Alarm::Drain.pack());
    }

    fn take_no_more(&mut self) {
        self.draining = true;
        self.stop_listening(|_| true);
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.phase == Phase::Head && connection.input.is_empty() {
                self.finish(key);
            } else if let Some(exchange) = &mut connection.exchange {
                exchange.keep_alive = false;
            }
        }
    }

    /// While it drains: says once that nothing is left of its connections and its workers' work. It goes on for the
    /// sake of others, whose last requests may come here; if it has cut them off, there is nothing to go on for.
    pub(super) fn look_whether_drained(&mut self) {
        if !self.draining || self.connections.len() > 0 || !self.busy.is_empty() {
            return;
        }
        self.over |= self.cut_off.is_some();
        if !self.drained {
            self.drained = true;
            self.report.tell(FromShard::Drained);
        }
    }

    /// The last word: every shard has drained, or nobody wants to wait for that any more.
    pub(super) fn end(&mut self) {
        if self.drained {
            self.over = true;
        } else {
            self.cut_off();
        }
    }

    /// Whatever is still under way is over, and told so; then there is a moment for these answers. If that has begun
    /// already, it is over now.
    pub(super) fn cut_off(&mut self) {
        if self.cut_off.is_some() {
            self.over = true;
            return;
        }
        if !self.draining {
            self.take_no_more();
        }
        // What came in time counts.
        let busy = self.busy.clone();
        for &(function, slot) in &busy {
            while self.take_reply(function, slot) {}
        }
        let mut cut = CutOff { invocations: self.forsaken(), connections: 0 };
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let (phase, exchange) = (connection.phase, connection.exchange);
            // The operator's requests are no function's.
            let of_function =
                exchange.is_some_and(|exchange| self.functions.name(exchange.function).is_some());
            match phase {
                Phase::Queued | Phase::Posting | Phase::Invoked if of_function => {
                    cut.invocations += 1;
                    let forsaken = connection.away.take().is_some_and(|claim| claim.forsake());
                    let begun = phase == Phase::Invoked && !forsaken;
                    self.answer_outcome(key, &Outcome::ShuttingDown { begun }, true);
                }
                Phase::Body => {
                    cut.connections += 1;
                    self.answer_outcome(key, &Outcome::ShuttingDown { begun: false }, false);
                }
                Phase::Head | Phase::Queued | Phase::Posting | Phase::Invoked => {
                    cut.connections += 1;
                    self.answer_cut_off(key);
                }
                Phase::Flushing => cut.connections += 1,
                Phase::Lingering | Phase::Closed => {}
            }
        }
        // The shards that have their connections tell them by themselves.
        self.parcels.clear();
        // Nobody waits for these any more; without this they would serve on while the answers are sent.
        for (function, slot) in busy {
            self.fail_worker(function, slot, Outcome::ShuttingDown { begun: true });
        }
        self.cut_off = Some(cut);
        self.wheel.insert(self.now + nanoseconds(LAST_ANSWERS), Alarm::Drain.pack());
    }

    /// How many invocations workers hold for clients that have left.
    fn forsaken(&mut self) -> u64 {
        let Self { functions, connections, busy, .. } = self;
        let mut count = 0;
        for &(function, slot) in &*busy {
            let Some(live) = functions.get_mut(function).and_then(|f| f.worker(slot)) else { continue };
            for flight in &live.flights {
                // Those of parcels are their own shard's to count.
                let Caller::Connection(key) = flight.caller else { continue };
                let waits = connections.get_mut(key).is_some_and(|connection| connection.exchange.is_some());
                count += u64::from(!waits);
            }
        }
        count
    }
}
