//! An invocation's record and its CPU time come from the shards each for itself, in either order: its answer does not
//! wait until the clock of its worker is read. Here they find each other. One that was given to a second worker has two
//! shares, of which the first is told before all else. Bookkeeping only.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use hairtrigger_sandbox::limits::{LOST_TOLD, RECORDS};

use crate::shard::meter::Share;
use crate::shard::record::{Record, Start, Told};
use crate::shard::reply::InvocationId;

/// An invocation that can be told of. Without its CPU time, if nothing came of that: the daemon had too much to tell.
pub(super) type Whole = (Record, Option<Share>);

/// What is known of one invocation.
#[derive(Debug, Default)]
struct Parts {
    record: Option<Record>,
    cpu: Option<Share>,
    /// More CPU time is to come: it was given to a second worker.
    more: bool,
}

/// Those of which a part is there.
#[derive(Debug, Default)]
pub(super) struct Halves {
    waiting: HashMap<InvocationId, Parts>,
    /// In the order in which they came; some are not waiting any more.
    order: VecDeque<InvocationId>,
}

impl Halves {
    /// One more is there; what can be told by that.
    pub(super) fn take(&mut self, told: Told) -> Vec<Whole> {
        let invocation = match &told {
            Told::Record(record) => record.invocation,
            Told::Cpu(share) => share.invocation,
            Told::Again(invocation) => *invocation,
        };
        let parts = self.waiting.entry(invocation).or_insert_with(|| {
            self.order.push_back(invocation);
            Parts::default()
        });
        // Whether no worker has it, or will.
        let mut over = false;
        match told {
            Told::Record(record) => {
                over = record.start == Start::None;
                parts.record = Some(record);
            }
            Told::Cpu(share) => {
                let before = parts.cpu.take();
                parts.cpu = Some(Share {
                    invocation,
                    cpu: share.cpu + before.map_or(0, |before| before.cpu),
                    apportioned: share.apportioned || before.is_some_and(|before| before.apportioned),
                });
                parts.more = false;
            }
            Told::Again(_) => parts.more = true,
        }
        let mut whole = Vec::new();
        if over || (parts.record.is_some() && parts.cpu.is_some() && !parts.more) {
            let parts = self.waiting.remove(&invocation);
            whole.extend(parts.and_then(|parts| Some((parts.record?, parts.cpu))));
        }
        while self.order.len() > RECORDS
            || self.order.front().is_some_and(|id| !self.waiting.contains_key(id))
        {
            let first = self.order.pop_front().and_then(|id| self.waiting.remove(&id));
            whole.extend(first.and_then(Parts::alone));
        }
        whole
    }

    /// Nothing more comes; what was not told yet.
    pub(super) fn rest(&mut self) -> Vec<Whole> {
        let parts = self.order.drain(..).filter_map(|id| self.waiting.remove(&id));
        parts.filter_map(Parts::alone).collect()
    }
}

impl Parts {
    /// Of one whose CPU time is not known, or not all of it.
    fn alone(self) -> Option<Whole> {
        self.record.map(|record| (record, None))
    }
}

/// Invocations that were too many to tell of: summed up, and said once in a while.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: u64,
    /// Since when there are some, or when it was said the last time.
    since: Option<Instant>,
}

impl Lost {
    /// So many more.
    pub(super) fn add(&mut self, count: u64, now: Instant) {
        self.count += count;
        if self.count > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// When it is to be said; `None` if there is nothing to say.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.count > 0).map(|since| since + LOST_TOLD)
    }

    /// What is to be said of all of them.
    pub(super) fn tell(&mut self, now: Instant) -> Option<String> {
        let count = std::mem::take(&mut self.count);
        self.since = Some(now);
        (count > 0).then(|| format!("{count} more invocations were too many to tell of"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_summed_up() {
        let mut lost = Lost::default();
        let begin = Instant::now();
        lost.add(0, begin);
        assert_eq!(lost.due(), None);
        for _ in 0..5000 {
            lost.add(2, begin);
        }
        let due = begin + LOST_TOLD;
        assert_eq!(lost.due(), Some(due));
        assert_eq!(lost.tell(due).as_deref(), Some("10000 more invocations were too many to tell of"));
        assert_eq!((lost.due(), lost.tell(due)), (None, None), "once");
        lost.add(1, due);
        assert_eq!(lost.due(), Some(due + LOST_TOLD), "not again at once");
    }

    fn record(id: u8, start: Start) -> Told {
        Told::Record(Record {
            function: "f".into(),
            invocation: [id; 32],
            method: "GET".into(),
            target: "/f".into(),
            status: 200,
            outcome: "completed",
            sentence: None,
            start,
            request_bytes: 0,
            response_bytes: 0,
            queue: 0,
            begin: 0,
            run: 0,
            send: 0,
        })
    }

    fn cpu(id: u8) -> Told {
        Told::Cpu(Share { invocation: [id; 32], cpu: id.into(), apportioned: false })
    }

    fn told(whole: Vec<Whole>) -> Vec<(u8, Option<u64>)> {
        whole.iter().map(|(record, share)| (record.invocation[0], share.map(|share| share.cpu))).collect()
    }

    #[test]
    fn halves_find_each_other_in_either_order() {
        let mut halves = Halves::default();
        assert_eq!(told(halves.take(record(1, Start::Warm))), []);
        assert_eq!(told(halves.take(cpu(2))), []);
        assert_eq!(told(halves.take(record(3, Start::None))), [(3, None)], "nobody has used anything for it");
        assert_eq!(told(halves.take(record(2, Start::Fork))), [(2, Some(2))]);
        assert_eq!(told(halves.take(cpu(1))), [(1, Some(1))]);
        assert!(halves.waiting.is_empty() && halves.order.is_empty());
        assert_eq!(told(halves.take(cpu(4))), []);
        assert_eq!(told(halves.take(record(5, Start::Warm))), []);
        assert_eq!(told(halves.rest()), [(5, None)]);
    }

    #[test]
    fn what_two_workers_used_for_one_is_told_together() {
        let mut halves = Halves::default();
        let again = || Told::Again([1; 32]);
        assert_eq!(told(halves.take(cpu(1))), []);
        assert_eq!(told(halves.take(again())), []);
        assert_eq!(told(halves.take(record(1, Start::Warm))), [], "its second worker's is to come");
        assert_eq!(told(halves.take(cpu(1))), [(1, Some(2))]);
        for told in [cpu(1), again(), cpu(1)] {
            assert!(halves.take(told).is_empty());
        }
        assert_eq!(told(halves.take(record(1, Start::Warm))), [(1, Some(2))]);
        for told in [cpu(1), again()] {
            assert!(halves.take(told).is_empty());
        }
        assert_eq!(told(halves.take(record(1, Start::None))), [(1, Some(1))], "no second worker had it");
        assert!(halves.waiting.is_empty() && halves.order.is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut halves = Halves::default();
        assert_eq!(told(halves.take(record(0, Start::Warm))), []);
        let mut others = Vec::new();
        for number in 0..RECORDS as u64 {
            let mut invocation = [1; 32];
            invocation[..8].copy_from_slice(&number.to_ne_bytes());
            others.extend(halves.take(Told::Cpu(Share { invocation, cpu: 1, apportioned: true })));
        }
        assert_eq!(told(others), [(0, None)], "the oldest waits no longer");
        assert_eq!((halves.waiting.len(), halves.order.len()), (RECORDS, RECORDS));
    }
}
