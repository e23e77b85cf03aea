use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn pool(provisioned: u16, max: u16, depth: u32) -> Pool {
    Pool::new(Shape { provisioned, max, depth, single_use: false })
}

/// A pool of `max` idle workers; the last of those returned became idle last.
fn warm(max: u16, depth: u32) -> (Pool, Vec<WorkerId>) {
    let mut pool = pool(0, max, depth);
    let workers: Vec<_> = (0..max).map(|_| pool.start().unwrap()).collect();
    for (now, &worker) in (0..).zip(&workers) {
        assert!(pool.ready(worker, now));
    }
    (pool, workers)
}

#[test]
fn the_last_to_become_idle_serves_first() {
    let (mut pool, workers) = warm(3, 1);
    assert_eq!(pool.take(), Some(workers[2]));
    assert_eq!(pool.take(), Some(workers[1]));
    assert!(pool.release(workers[2], 10));
    assert_eq!(pool.longest_idle(), Some((workers[0], 0)));
    assert_eq!(pool.take(), Some(workers[2]));
    assert_eq!(pool.take(), Some(workers[0]));
    assert_eq!(pool.take(), None);
}

#[test]
fn an_idle_worker_that_dies_leaves_the_order_of_the_others() {
    let (mut pool, workers) = warm(4, 1);
    assert_eq!(pool.gone(workers[1]), Some(0));
    let order: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(order, [workers[3], workers[2], workers[0]]);
}

#[test]
fn a_worker_holds_as_many_as_it_may_and_idle_ones_come_first() {
    let (mut pool, workers) = warm(2, 3);
    let order: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(order[..2], [workers[1], workers[0]], "idle first");
    assert_eq!(order.len(), 6);
    assert!(workers.iter().all(|&worker| pool.state(worker) == Some(State::Busy { load: 3, held: false })));
    assert!(pool.release(workers[0], 0));
    assert_eq!(pool.take(), Some(workers[0]));
}

#[test]
fn a_held_worker_gets_no_more_until_it_is_idle_again() {
    let (mut pool, workers) = warm(1, 3);
    let worker = workers[0];
    assert!(!pool.hold(worker), "it serves nothing");
    assert_eq!((pool.take(), pool.take()), (Some(worker), Some(worker)));
    assert!(pool.hold(worker) && !pool.hold(worker));
    assert_eq!(pool.take(), None);
    assert!(pool.release(worker, 1));
    pool.set_depth(4);
    assert_eq!(pool.take(), None, "neither fewer invocations nor more room end it");
    assert!(pool.release(worker, 2));
    assert_eq!(pool.take(), Some(worker));
    assert_eq!(pool.state(worker), Some(State::Busy { load: 1, held: false }));
}

#[test]
fn another_depth_takes_nothing_away() {
    let (mut pool, workers) = warm(1, 3);
    let worker = workers[0];
    assert_eq!((pool.take(), pool.take()), (Some(worker), Some(worker)));
    pool.set_depth(1);
    assert_eq!((pool.take(), pool.state(worker)), (None, Some(State::Busy { load: 2, held: false })));
    assert!(pool.release(worker, 1));
    assert_eq!(pool.take(), None, "full again");
    pool.set_depth(2);
    assert_eq!(pool.take(), Some(worker));
}

#[test]
fn ids_of_an_earlier_life_are_refused_and_counted() {
    let mut pool = pool(0, 1, 1);
    let first = pool.start().unwrap();
    assert_eq!(pool.start(), None);
    assert_eq!(pool.gone(first), Some(0));
    let second = pool.start().unwrap();
    assert_eq!((second.slot, second.generation), (first.slot, first.generation + 1));
    assert!(!pool.ready(first, 0) && !pool.release(first, 0) && !pool.drain(first));
    assert_eq!(pool.gone(first), None);
    assert_eq!(pool.gone(WorkerId { slot: 9, generation: 0 }), None, "no such slot");
    assert_eq!(pool.stale(), 5);
    assert_eq!(pool.state(second), Some(State::Starting), "nothing of that has touched the second");
}

#[test]
fn events_out_of_turn_change_nothing() {
    let (mut pool, workers) = warm(1, 1);
    let worker = workers[0];
    assert!(!pool.ready(worker, 1), "ready twice");
    assert!(!pool.release(worker, 1), "nothing is held");
    assert_eq!(pool.state(worker), Some(State::Idle { since: 0 }));
    pool.take().unwrap();
    assert!(pool.drain(worker) && !pool.drain(worker));
    assert_eq!(pool.state(worker), Some(State::Draining { load: 1 }));
    assert!(pool.release(worker, 2) && !pool.release(worker, 2));
    assert_eq!(pool.take(), None, "a draining worker never serves again");
    assert_eq!(pool.gone(worker), Some(0));
    assert_eq!(pool.stale(), 0);
}

#[test]
fn a_worker_that_dies_tells_what_it_held() {
    let (mut pool, workers) = warm(1, 4);
    for _ in 0..3 {
        pool.take().unwrap();
    }
    assert_eq!(pool.gone(workers[0]), Some(3));
    assert_eq!(pool.counts(), Counts { vacant: 1, ..Counts::default() });
}

#[test]
fn starts_keep_the_floor_and_follow_the_queue() {
    let mut pool = pool(2, 4, 1);
    assert_eq!((pool.starts_wanted(0, 0), pool.starts_wanted(3, 0), pool.starts_wanted(9, 0)), (2, 3, 4));
    let first = pool.start().unwrap();
    assert_eq!((pool.starts_wanted(0, 0), pool.starts_wanted(3, 0)), (1, 2), "one is coming");
    pool.ready(first, 0);
    pool.take().unwrap();
    assert_eq!(
        (pool.starts_wanted(0, 0), pool.starts_wanted(1, 0)),
        (1, 1),
        "a busy one keeps the floor, but nobody waits for it"
    );
    let second = pool.start().unwrap();
    assert_eq!((pool.starts_wanted(0, 0), pool.starts_wanted(1, 0), pool.starts_wanted(2, 0)), (0, 0, 1));
    pool.drain(second);
    assert_eq!(
        (pool.starts_wanted(0, 0), pool.starts_wanted(9, 0)),
        (1, 2),
        "one that drains counts for neither, and holds its slot"
    );
}

#[test]
fn those_that_are_expected_are_a_floor_as_well() {
    let (mut pool, _) = warm(4, 1);
    assert_eq!((pool.starts_wanted(0, 4), pool.starts_wanted(9, 9)), (0, 0), "there are no more");
    let gone = pool.take().unwrap();
    pool.gone(gone);
    assert_eq!((pool.starts_wanted(0, 3), pool.starts_wanted(0, 4), pool.starts_wanted(0, 9)), (0, 1, 1));
}

#[test]
fn a_worker_for_one_invocation_is_replaced_as_soon_as_it_has_one() {
    let mut pool = Pool::new(Shape { provisioned: 2, max: 4, depth: 1, single_use: true });
    assert_eq!(pool.starts_wanted(0, 0), 2);
    let workers = [pool.start().unwrap(), pool.start().unwrap()];
    workers.iter().for_each(|&worker| assert!(pool.ready(worker, 0)));
    let first = pool.take().unwrap();
    assert_eq!((pool.starts_wanted(0, 0), pool.starts_wanted(0, 3), pool.surplus(0)), (1, 2, 0));
    assert!(pool.drain(first) && pool.release(first, 1));
    assert_eq!(pool.starts_wanted(0, 3), 2, "it holds its slot until it is gone");
    assert_eq!(pool.gone(first), Some(0));
    assert_eq!(pool.starts_wanted(0, 4), 3);
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Ready(usize),
    Take,
    Release(usize),
    Hold(usize),
    SetDepth(u32),
    Drain(usize),
    Gone(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..64_usize;
    prop_oneof![
        3 => Just(Step::Start),
        3 => which.clone().prop_map(Step::Ready),
        4 => Just(Step::Take),
        3 => which.clone().prop_map(Step::Release),
        2 => which.clone().prop_map(Step::Hold),
        1 => (1..6_u32).prop_map(Step::SetDepth),
        1 => which.clone().prop_map(Step::Drain),
        1 => which.prop_map(Step::Gone),
    ]
}

/// What the pool must be like, kept in the plainest way: the live workers with their states, and who became
/// idle in which order.
#[derive(Default)]
struct Model {
    live: HashMap<WorkerId, State>,
    idle: Vec<WorkerId>,
}

impl Model {
    fn set(&mut self, id: WorkerId, state: Option<State>) {
        let was_idle = matches!(self.live.get(&id), Some(State::Idle { .. }));
        self.idle.retain(|&other| !was_idle || other != id);
        if matches!(state, Some(State::Idle { .. })) {
            self.idle.push(id);
        }
        match state {
            Some(state) => drop(self.live.insert(id, state)),
            None => drop(self.live.remove(&id)),
        }
    }

    fn counts(&self, max: u16) -> Counts {
        let mut counts = Counts { vacant: usize::from(max) - self.live.len(), ..Counts::default() };
        for &state in self.live.values() {
            *counts.of(state) += 1;
        }
        counts
    }
}

proptest! {
    /// Ids live and stale, steps in and out of turn.
    #[test]
    fn the_pool_is_its_model(
        max in 1..6_u16,
        mut depth in 1..4_u32,
        steps in vec(step(), 0..200),
    ) {
        let mut pool = pool(max / 2, max, depth);
        let mut model = Model::default();
        let mut issued: Vec<WorkerId> = Vec::new();
        for (now, step) in (0..).zip(steps) {
            // Mostly recent ids, so that many of them are alive.
            let pick = |back: usize| issued.iter().rev().nth(back % issued.len().max(1)).copied();
            match step {
                Step::Start => {
                    let id = pool.start();
                    prop_assert_eq!(id.is_some(), model.live.len() < usize::from(max));
                    if let Some(id) = id {
                        prop_assert!(!issued.contains(&id), "an id is issued once");
                        issued.push(id);
                        model.set(id, Some(State::Starting));
                    }
                }
                Step::Take => {
                    let id = pool.take();
                    let load = |id: &WorkerId| model.live.get(id).copied().map_or(0, State::load);
                    let has_room = |id: &WorkerId| {
                        let gets_more = matches!(model.live.get(id), Some(State::Busy { held: false, .. }));
                        gets_more && load(id) < depth
                    };
                    match (id, model.idle.last()) {
                        (Some(id), Some(&last)) => prop_assert_eq!(id, last),
                        (Some(id), None) => prop_assert!(has_room(&id)),
                        (None, last) => prop_assert!(last.is_none() && !model.live.keys().any(has_room)),
                    }
                    if let Some(id) = id {
                        let load = load(&id) + 1;
                        model.set(id, Some(State::Busy { load, held: false }));
                    }
                }
                Step::Ready(back) => {
                    let Some(id) = pick(back) else { continue };
                    let expected = model.live.get(&id) == Some(&State::Starting);
                    prop_assert_eq!(pool.ready(id, now), expected);
                    if expected {
                        model.set(id, Some(State::Idle { since: now }));
                    }
                }
                Step::Release(back) => {
                    let Some(id) = pick(back) else { continue };
                    let next = match model.live.get(&id) {
                        Some(State::Busy { load: 1, .. }) => Some(State::Idle { since: now }),
                        Some(&State::Busy { load, held }) => Some(State::Busy { load: load - 1, held }),
                        Some(&State::Draining { load }) if load > 0 => Some(State::Draining { load: load - 1 }),
                        _ => None,
                    };
                    prop_assert_eq!(pool.release(id, now), next.is_some());
                    if next.is_some() {
                        model.set(id, next);
                    }
                }
                Step::Hold(back) => {
                    let Some(id) = pick(back) else { continue };
                    let next = match model.live.get(&id) {
                        Some(&State::Busy { load, held: false }) => Some(State::Busy { load, held: true }),
                        _ => None,
                    };
                    prop_assert_eq!(pool.hold(id), next.is_some());
                    if next.is_some() {
                        model.set(id, next);
                    }
                }
                Step::SetDepth(to) => {
                    pool.set_depth(to);
                    depth = to;
                }
                Step::Drain(back) => {
                    let Some(id) = pick(back) else { continue };
                    let next = match model.live.get(&id) {
                        None | Some(State::Draining { .. }) => None,
                        Some(state) => Some(State::Draining { load: state.load() }),
                    };
                    prop_assert_eq!(pool.drain(id), next.is_some());
                    if next.is_some() {
                        model.set(id, next);
                    }
                }
                Step::Gone(back) => {
                    let Some(id) = pick(back) else { continue };
                    let held = model.live.get(&id).copied().map(State::load);
                    prop_assert_eq!(pool.gone(id), held);
                    model.set(id, None);
                }
            }
            let counts = pool.counts();
            prop_assert_eq!(counts, model.counts(max));
            for &id in &issued {
                prop_assert_eq!(pool.state(id), model.live.get(&id).copied());
            }
            let oldest = pool.longest_idle().map(|(_, since)| since);
            let expected = model.idle.iter().filter_map(|id| match model.live[id] {
                State::Idle { since } => Some(since),
                _ => None,
            });
            prop_assert_eq!(oldest, expected.min());
        }
        // Nothing leaks: when all have gone, all slots can be used again.
        let live: Vec<_> = model.live.keys().copied().collect();
        for id in live {
            prop_assert!(pool.gone(id).is_some());
        }
        prop_assert_eq!(std::iter::from_fn(|| pool.start()).count(), usize::from(max));
    }
}
