//! Who waits on this shard for a worker of a version, and the places that they have in the function's queue, which is
//! one for all shards. Bookkeeping only.

use std::collections::VecDeque;
use std::sync::Arc;

use super::live::Caller;
use super::version::Version;

/// A place in a function's queue. Whoever waits has one; it is given back when it is dropped, so that none is lost,
/// whatever becomes of the one who had it.
#[derive(Debug)]
pub(crate) struct Place(Arc<Version>);

impl Place {
    /// One of those that there may be, or none.
    pub(crate) fn take(version: &Arc<Version>) -> Option<Self> {
        version.take_place().then(|| Self(Arc::clone(version)))
    }

    /// One for a request that was admitted before, and is not refused for want of a place.
    pub(crate) fn beyond(version: &Arc<Version>) -> Self {
        version.add_place();
        Self(Arc::clone(version))
    }

    /// The same for another version, to which its request now goes.
    pub(crate) fn of(self, version: &Arc<Version>) -> Self {
        if Arc::ptr_eq(&self.0, version) { self } else { Self::beyond(version) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.return_place();
    }
}

/// Those who wait on this shard, in their order.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    caller: Caller,
    /// Monotonic, in nanoseconds.
    since: u64,
    place: Place,
}

impl Queue {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(VecDeque::with_capacity(capacity))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait here.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Who is next, and since when that one has waited.
    pub(crate) fn front(&self) -> Option<(Caller, u64)> {
        self.0.front().map(|waiting| (waiting.caller, waiting.since))
    }

    /// Since when a caller has waited, if it does.
    pub(crate) fn since(&self, caller: Caller) -> Option<u64> {
        self.0.iter().find(|waiting| waiting.caller == caller).map(|waiting| waiting.since)
    }

    pub(crate) fn push_back(&mut self, caller: Caller, since: u64, place: Place) {
        self.0.push_back(Waiting { caller, since, place });
    }

    pub(crate) fn push_front(&mut self, caller: Caller, since: u64, place: Place) {
        self.0.push_front(Waiting { caller, since, place });
    }

    /// The next one waits here no more; its place goes with it if it waits elsewhere.
    pub(crate) fn pop_front(&mut self) -> Option<Place> {
        self.0.pop_front().map(|waiting| waiting.place)
    }

    /// This one waits no more.
    pub(crate) fn remove(&mut self, caller: Caller) {
        self.0.retain(|waiting| waiting.caller != caller);
    }

    /// Nobody waits any more; returns who did.
    pub(crate) fn clear(&mut self) -> Vec<Caller> {
        self.0.drain(..).map(|waiting| waiting.caller).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::shard::ring::Key;
    use crate::shard::version::Profile;

    const SHARDS: u16 = 3;

    fn version(queue: u32) -> Arc<Version> {
        let profile = Profile { queue, ..Profile::sample() };
        Arc::new(Version::alone(0, profile, SHARDS))
    }

    fn caller(number: u32) -> Caller {
        Caller::Connection(Key::new(number, 0))
    }

    /// What may happen to requests that wait.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// One comes to a shard that has no worker for it.
        Arrive(usize),
        /// One that a worker held, and has not begun, waits once more.
        WaitAgain(usize),
        /// The next one of a shard gets a worker.
        Serve(usize),
        /// The next one of a shard is sent to another.
        HandOver(usize),
        /// What was sent first arrives, and waits there. If its version has retired, for another.
        Arrived(usize, bool),
        /// What was sent first arrives, and finds a worker.
        ArrivedAndServed,
        /// The client of one has gone, or its time is over.
        Gone(usize, u32),
        /// Nobody is served here any more.
        Refuse(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let shard = 0..usize::from(SHARDS);
        prop_oneof![
            4 => shard.clone().prop_map(Step::Arrive),
            1 => shard.clone().prop_map(Step::WaitAgain),
            2 => shard.clone().prop_map(Step::Serve),
            2 => shard.clone().prop_map(Step::HandOver),
            2 => (shard.clone(), any::<bool>()).prop_map(|(shard, retired)| Step::Arrived(shard, retired)),
            1 => Just(Step::ArrivedAndServed),
            1 => (shard.clone(), 0..64_u32).prop_map(|(shard, number)| Step::Gone(shard, number)),
            1 => shard.prop_map(Step::Refuse),
        ]
    }

    proptest! {
        /// The count is that of those who wait, on their way included, and nobody is let in beyond the limit.
        #[test]
        fn a_place_is_held_by_each_who_waits_and_by_nobody_else(
            limit in 0..6_u32,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let (version, next) = (version(limit), version(limit));
            let mut queues: Vec<Queue> = (0..SHARDS).map(|_| Queue::default()).collect();
            let mut successor = Queue::default();
            let mut under_way = VecDeque::new();
            let mut number = 0;
            for step in steps {
                number = (number + 1) % 64;
                match step {
                    Step::Arrive(shard) => {
                        let before = version.waiting();
                        let place = Place::take(&version);
                        prop_assert_eq!(place.is_some(), before < limit, "{} wait", before);
                        if let Some(place) = place {
                            queues[shard].push_back(caller(number), 1, place);
                        }
                    }
                    Step::WaitAgain(shard) => {
                        queues[shard].push_front(caller(number), 1, Place::beyond(&version));
                    }
                    Step::Serve(shard) => drop(queues[shard].pop_front()),
                    Step::HandOver(shard) => under_way.extend(queues[shard].pop_front()),
                    Step::Arrived(shard, retired) => {
                        if let Some(place) = under_way.pop_front() {
                            let (queue, version) =
                                if retired { (&mut successor, &next) } else { (&mut queues[shard], &version) };
                            queue.push_back(caller(number), 1, place.of(version));
                        }
                    }
                    Step::ArrivedAndServed => drop(under_way.pop_front()),
                    Step::Gone(shard, number) => queues[shard].remove(caller(number)),
                    Step::Refuse(shard) => drop(queues[shard].clear()),
                }
                let here: usize = queues.iter().map(Queue::len).sum();
                prop_assert_eq!(version.waiting() as usize, here + under_way.len());
                prop_assert_eq!(next.waiting() as usize, successor.len());
            }
            drop((queues, under_way, successor));
            prop_assert_eq!((version.waiting(), next.waiting()), (0, 0));
        }
    }

    /// All shards at once: never more than there may be, and none is left over.
    #[test]
    fn shards_that_take_places_at_the_same_time_never_have_too_many() {
        let version = version(3);
        let (held, refused) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Some(place) = Place::take(&version) else {
                            refused.fetch_add(1, Ordering::SeqCst);
                            continue;
                        };
                        let others = held.fetch_add(1, Ordering::SeqCst);
                        assert!(others < 3, "{others} had a place");
                        thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(version.waiting(), 0);
        assert!(refused.into_inner() > 0, "eight at a time found three places enough");
    }

    #[test]
    fn they_wait_in_their_order() {
        let version = version(9);
        let mut queue = Queue::default();
        for number in 1..=3 {
            queue.push_back(caller(number), number.into(), Place::beyond(&version));
        }
        queue.push_front(caller(0), 7, Place::beyond(&version));
        queue.remove(caller(2));
        assert_eq!((queue.since(caller(2)), queue.since(caller(3))), (None, Some(3)));
        assert_eq!(queue.front(), Some((caller(0), 7)));
        drop(queue.pop_front());
        assert_eq!(queue.clear(), [caller(1), caller(3)]);
        assert!(queue.is_empty() && queue.front().is_none());
    }
}
