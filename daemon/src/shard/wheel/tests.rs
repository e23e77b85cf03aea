use std::collections::{BTreeMap, HashMap};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const NONE: [u64; 0] = [];

fn expire(wheel: &mut Wheel, now: u64) -> Vec<u64> {
    let mut keys = Vec::new();
    wheel.expire(now, |key| keys.push(key));
    keys
}

#[test]
fn a_timer_fires_once_at_the_end_of_its_millisecond() {
    let mut wheel = Wheel::new(10 * MS, 4);
    wheel.insert(12 * MS + 1, 7);
    wheel.insert(12 * MS, 6);
    assert_eq!(wheel.next_expiry(), Some(12 * MS));
    assert_eq!(expire(&mut wheel, 12 * MS - 1), NONE);
    assert_eq!(expire(&mut wheel, 12 * MS), [6]);
    assert_eq!(expire(&mut wheel, 13 * MS - 1), NONE);
    assert_eq!(expire(&mut wheel, 13 * MS), [7]);
    assert_eq!(expire(&mut wheel, 1_000 * MS), NONE);
    assert_eq!((wheel.len(), wheel.next_expiry()), (0, None));
}

#[test]
fn what_is_overdue_when_it_is_set_fires_next() {
    let mut wheel = Wheel::new(10 * MS, 0);
    wheel.insert(0, 1);
    wheel.insert(10 * MS, 2);
    assert!(wheel.next_expiry().unwrap() <= 10 * MS);
    let mut keys = expire(&mut wheel, 10 * MS);
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);
}

#[test]
fn a_cancelled_timer_is_gone_and_its_id_is_no_other_timers() {
    let mut wheel = Wheel::new(0, 0);
    let first = wheel.insert(5 * MS, 1);
    assert!(wheel.cancel(first) && !wheel.cancel(first));
    let second = wheel.insert(5 * MS, 2);
    assert!(!wheel.cancel(first));
    assert_eq!(expire(&mut wheel, 9 * MS), [2]);
    assert!(!wheel.cancel(second), "it has fired");
}

#[test]
fn memory_is_taken_once() {
    let mut wheel = Wheel::new(0, 100);
    for round in 0..1_000 {
        let now = round * 7 * MS;
        let ids: Vec<_> = (0..100).map(|key| wheel.insert(now + key * 100 * MS, key)).collect();
        assert!(ids.iter().all(|&id| wheel.cancel(id)));
        expire(&mut wheel, now);
    }
    assert_eq!((wheel.timers.len(), wheel.timers.capacity()), (100, 100));
}

#[test]
fn every_deadline_is_in_range() {
    let mut wheel = Wheel::new(0, 0);
    let deadlines = [u64::MAX, u64::MAX - 2 * MS, 1 << 63, 900_000 * MS, 1];
    for deadline in deadlines {
        wheel.insert(deadline, deadline);
    }
    assert_eq!(expire(&mut wheel, MS), [1]);
    assert_eq!(expire(&mut wheel, 900_000 * MS), [900_000 * MS]);
    assert_eq!(expire(&mut wheel, u64::MAX), [1 << 63, u64::MAX - 2 * MS]);
    assert_eq!(wheel.len(), 1, "the last has a deadline in the very last tick, which does not end");
}

#[derive(Clone, Debug)]
enum Step {
    /// Nanoseconds from the present, which may be negative.
    Insert(i64),
    Cancel(usize),
    Advance(u64),
}

/// Spans from nanoseconds to years, each order of magnitude alike.
fn span() -> impl Strategy<Value = u64> {
    (0..55_u32, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => span().prop_map(|span| Step::Insert(i64::try_from(span).unwrap())),
        1 => (0..5_000_000_i64).prop_map(|span| Step::Insert(-span)),
        1 => (0..1000_usize).prop_map(Step::Cancel),
        2 => span().prop_map(Step::Advance),
    ]
}

/// Timers by the tick at which they fire.
type Model = BTreeMap<(u64, u64), TimerId>;

proptest! {
    #[test]
    fn the_wheel_is_its_model(begin in span(), steps in vec(step(), 0..200)) {
        let mut now = begin;
        let mut wheel = Wheel::new(now, 0);
        let mut model = Model::new();
        let mut issued: HashMap<TimerId, (u64, u64)> = HashMap::new();
        for (key, step) in (0..).zip(steps) {
            match step {
                Step::Insert(span) => {
                    let deadline = now.saturating_add_signed(span);
                    let id = wheel.insert(deadline, key);
                    prop_assert_eq!(issued.insert(id, (deadline.div_ceil(MS), key)), None, "ids are not used twice");
                    model.insert((deadline.div_ceil(MS), key), id);
                }
                Step::Cancel(which) => {
                    let Some((&id, entry)) = issued.iter().nth(which % issued.len().max(1)) else { continue };
                    prop_assert_eq!(wheel.cancel(id), model.remove(entry).is_some());
                }
                Step::Advance(span) => {
                    now += span;
                    let later = model.split_off(&(now / MS + 1, 0));
                    let mut fired = Vec::new();
                    wheel.expire(now, |key| fired.push(key));
                    // In the order of ticks, but for what was overdue when it was set.
                    fired.sort_unstable();
                    let mut expected: Vec<u64> = model.keys().map(|&(_, key)| key).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(fired, expected);
                    model = later;
                    prop_assert!(wheel.next_expiry().is_none_or(|next| next > now), "no busy loop");
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            prop_assert_eq!(wheel.next_expiry().is_some(), !model.is_empty());
            if let (Some(next), Some((&(first, _), _))) = (wheel.next_expiry(), model.first_key_value()) {
                prop_assert!(next <= (first * MS).max(now), "{next} is after {first}");
            }
        }
    }

    /// A loop that sleeps until `next_expiry` sees each timer in the tick it belongs to, soon enough.
    #[test]
    fn sleeping_until_the_next_expiry_is_enough(begin in span(), spans in vec(span(), 1..50)) {
        let mut wheel = Wheel::new(begin, 0);
        let mut expected: Vec<u64> = spans.iter().map(|span| (begin + span).div_ceil(MS)).collect();
        for span in &spans {
            wheel.insert(begin + span, (begin + span).div_ceil(MS));
        }
        let mut seen = Vec::new();
        let mut turns = 0;
        while let Some(next) = wheel.next_expiry() {
            turns += 1;
            let before = seen.len();
            wheel.expire(next, |tick| seen.push(tick));
            prop_assert!(seen[before..].iter().all(|&tick| tick * MS == next || tick * MS <= begin));
        }
        expected.sort_unstable();
        prop_assert_eq!(seen, expected, "earlier ticks first");
        prop_assert!(turns <= spans.len() * LEVELS);
    }
}
