use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PLAIN: Promise = Promise { reserved: 0, floor: 0 };

/// Shards that do as they are told: each worker is idle or busy, and one that is given up goes at once if it is idle.
#[derive(Default)]
struct Shards {
    idle: BTreeMap<(u32, u16), u32>,
    busy: BTreeMap<(u32, u16), u32>,
    owed: BTreeMap<(u32, u16), u32>,
    /// Whether those that are idle have been so for a while.
    rested: bool,
}

impl Shards {
    fn staffs(&self, key: u32, shards: u16) -> Vec<Staff> {
        let staff = |shard| {
            let count = |of: &BTreeMap<_, _>| of.get(&(key, shard)).copied().unwrap_or(0);
            Staff {
                workers: count(&self.idle) + count(&self.busy),
                idle: count(&self.idle),
                rested: self.rested && count(&self.idle) > 0,
            }
        };
        (0..shards).map(staff).collect()
    }

    /// Settles, and does what is said until there is no more of it. New workers are idle.
    fn settle(&mut self, room: &mut Room) -> Vec<Say> {
        let mut all = Vec::new();
        loop {
            let count = room.shards;
            let said = room.settle(|key| self.staffs(key, count));
            if said.is_empty() {
                return all;
            }
            for say in &said {
                match *say {
                    Say::Grant { key, shard, count } => *self.idle.entry((key, shard)).or_default() += count,
                    Say::GiveUp { key, shard } => {
                        let idle = self.idle.entry((key, shard)).or_default();
                        if *idle > 0 {
                            *idle -= 1;
                            room.returns(key, shard, 1);
                        } else {
                            *self.owed.entry((key, shard)).or_default() += 1;
                        }
                    }
                }
            }
            all.extend(said);
        }
    }

    fn works(&mut self, key: u32, shard: u16) {
        if let Some(idle) = self.idle.get_mut(&(key, shard)).filter(|idle| **idle > 0) {
            *idle -= 1;
            *self.busy.entry((key, shard)).or_default() += 1;
        }
    }

    fn rests(&mut self, room: &mut Room, key: u32, shard: u16) {
        let Some(busy) = self.busy.get_mut(&(key, shard)).filter(|busy| **busy > 0) else { return };
        *busy -= 1;
        match self.owed.get_mut(&(key, shard)).filter(|owed| **owed > 0) {
            Some(owed) => {
                *owed -= 1;
                room.returns(key, shard, 1);
            }
            None => *self.idle.entry((key, shard)).or_default() += 1,
        }
    }

    fn all(&self, key: u32) -> u32 {
        let of = |of: &BTreeMap<(u32, u16), u32>| {
            of.iter().filter(|((k, _), _)| *k == key).map(|(_, n)| n).sum::<u32>()
        };
        of(&self.idle) + of(&self.busy)
    }
}

/// A room of four workers on two shards, with these functions.
fn four(promises: &[Promise]) -> Room {
    let mut room = Room::new(4, 2);
    for (key, promise) in (0..).zip(promises) {
        room.begin(key, &format!("f{key}"), *promise);
    }
    room
}

#[test]
fn there_are_as_many_as_there_may_be() {
    let (mut room, mut shards) = (four(&[PLAIN]), Shards::default());
    room.wants(0, 1, 9);
    let said = shards.settle(&mut room);
    assert_eq!(said, [Say::Grant { key: 0, shard: 1, count: 1 }; 4]);
    room.returns(0, 1, 1);
    *shards.idle.get_mut(&(0, 1)).unwrap() -= 1;
    assert_eq!(shards.settle(&mut room).len(), 1, "it still wants one");
    room.wants(0, 1, 0);
    room.returns(0, 1, 2);
    assert_eq!(shards.settle(&mut room), []);
}

#[test]
fn idle_ones_go_first_and_one_for_each_that_is_wanted() {
    let (mut room, mut shards) = (four(&[PLAIN, PLAIN, PLAIN]), Shards::default());
    room.wants(0, 0, 2);
    room.wants(1, 1, 2);
    shards.settle(&mut room);
    shards.works(1, 1);
    shards.works(1, 1);
    room.wants(2, 0, 1);
    assert_eq!(
        shards.settle(&mut room),
        [Say::GiveUp { key: 0, shard: 0 }, Say::Grant { key: 2, shard: 0, count: 1 }]
    );
    assert_eq!([0, 1, 2].map(|key| shards.all(key)), [1, 2, 1]);
}

#[test]
fn who_has_two_more_gives_one_up_once_it_rests_and_is_asked_once() {
    let (mut room, mut shards) = (four(&[PLAIN, PLAIN]), Shards::default());
    room.wants(0, 0, 4);
    shards.settle(&mut room);
    (0..4).for_each(|_| shards.works(0, 0));
    room.wants(1, 1, 4);
    assert_eq!(shards.settle(&mut room), [Say::GiveUp { key: 0, shard: 0 }; 2]);
    assert_eq!(shards.settle(&mut room), [], "and not again");
    shards.rests(&mut room, 0, 0);
    assert_eq!(shards.settle(&mut room), [Say::Grant { key: 1, shard: 1, count: 1 }]);
    shards.works(1, 1);
    // The first wants them back, but has no fewer.
    room.wants(0, 0, 4);
    shards.rests(&mut room, 0, 0);
    assert_eq!(shards.settle(&mut room), [Say::Grant { key: 1, shard: 1, count: 1 }]);
    shards.works(1, 1);
    assert_eq!(shards.settle(&mut room), [], "two each");
    assert_eq!([0, 1].map(|key| shards.all(key)), [2, 2]);
}

/// One that has served its only call keeps its worker for a while.
#[test]
fn one_that_wants_one_costs_one() {
    let (mut room, mut shards) = (four(&[PLAIN, PLAIN]), Shards::default());
    room.wants(0, 0, 9);
    shards.settle(&mut room);
    (0..4).for_each(|_| shards.works(0, 0));
    room.wants(1, 1, 1);
    assert_eq!(shards.settle(&mut room), [Say::GiveUp { key: 0, shard: 0 }]);
    room.wants(0, 0, 9);
    assert_eq!(shards.settle(&mut room), []);
    shards.rests(&mut room, 0, 0);
    assert_eq!(shards.settle(&mut room), [Say::Grant { key: 1, shard: 1, count: 1 }]);
    room.wants(0, 0, 9);
    assert_eq!(shards.settle(&mut room), [], "it is idle, and all that it has");
    shards.rested = true;
    assert_eq!(
        shards.settle(&mut room)[0],
        Say::GiveUp { key: 1, shard: 1 },
        "and has not needed it for a while"
    );
}

#[test]
fn what_is_reserved_is_kept_free_and_not_more() {
    let reserved = Promise { reserved: 2, floor: 2 };
    let (mut room, mut shards) = (four(&[PLAIN, reserved]), Shards::default());
    room.wants(0, 0, 9);
    shards.settle(&mut room);
    assert_eq!(shards.all(0), 2);
    (0..2).for_each(|_| shards.works(0, 0));
    room.wants(1, 1, 4);
    assert_eq!(shards.settle(&mut room).len(), 2);
    assert_eq!((shards.all(0), shards.all(1)), (2, 2));
    // One that reserves, and has more than that, gives up like any other.
    room.wants(0, 0, 0);
    (0..2).for_each(|_| shards.rests(&mut room, 0, 0));
    shards.rested = true;
    room.wants(1, 1, 2);
    shards.settle(&mut room);
    assert_eq!((shards.all(0), shards.all(1)), (0, 4));
    (0..4).for_each(|_| shards.works(1, 1));
    room.wants(0, 0, 1);
    assert_eq!(shards.settle(&mut room), [Say::GiveUp { key: 1, shard: 1 }]);
    shards.rests(&mut room, 1, 1);
    assert_eq!(shards.settle(&mut room), [Say::Grant { key: 0, shard: 0, count: 1 }]);
}

#[test]
fn a_new_version_gets_its_first_worker_from_the_old_one() {
    let warm = Promise { reserved: 0, floor: 2 };
    let (mut room, mut shards) = (four(&[warm, warm]), Shards::default());
    room.wants(0, 0, 2);
    room.wants(1, 1, 2);
    shards.settle(&mut room);
    room.begin(7, "f1", warm);
    room.wants(7, 1, 2);
    assert_eq!(
        shards.settle(&mut room),
        [Say::GiveUp { key: 1, shard: 1 }, Say::Grant { key: 7, shard: 1, count: 1 }],
        "and no other function's; the second one waits until the old version goes"
    );
    room.retire(1);
    shards.settle(&mut room);
    assert_eq!([0, 1, 7].map(|key| shards.all(key)), [2, 0, 2]);
    room.forget(1);
}

#[derive(Clone, Debug)]
enum Step {
    Wants(u32, u16, u32),
    Works(u32, u16),
    Rests(u32, u16),
    Dies(u32, u16),
}

proptest! {
    /// Whatever happens there are never more than there may be, none is lost, what is reserved is there at once, and
    /// once all have come to rest nobody goes without for the sake of one that has two more.
    #[test]
    fn nobody_has_more_than_there_is_nor_goes_without_what_is_his(
        most in 3..9_u32,
        reserved in 0..3_u32,
        steps in vec(prop_oneof![
            (0..3_u32, 0..2_u16, 0..5_u32).prop_map(|(key, shard, count)| Step::Wants(key, shard, count)),
            (0..3_u32, 0..2_u16).prop_map(|(key, shard)| Step::Works(key, shard)),
            (0..3_u32, 0..2_u16).prop_map(|(key, shard)| Step::Rests(key, shard)),
            (0..3_u32, 0..2_u16).prop_map(|(key, shard)| Step::Dies(key, shard)),
        ], 0..120),
    ) {
        let (mut room, mut shards) = (Room::new(most, 2), Shards::default());
        room.begin(0, "a", PLAIN);
        room.begin(1, "b", PLAIN);
        room.begin(2, "c", Promise { reserved, floor: reserved });
        for step in steps {
            match step {
                Step::Wants(key, shard, count) => room.wants(key, shard, count),
                Step::Works(key, shard) => shards.works(key, shard),
                Step::Rests(key, shard) => shards.rests(&mut room, key, shard),
                Step::Dies(key, shard) => {
                    if let Some(idle) = shards.idle.get_mut(&(key, shard)).filter(|idle| **idle > 0) {
                        *idle -= 1;
                        room.returns(key, shard, 1);
                    }
                }
            }
            shards.settle(&mut room);
            let held = [0, 1, 2].map(|key| shards.all(key));
            prop_assert_eq!(held, [0, 1, 2].map(|key| room.entries[&key].held), "the book is right");
            prop_assert!(held.iter().sum::<u32>() <= most);
            prop_assert!(held[2] >= reserved || !room.entries[&2].wanting(), "{:?}", room);
            prop_assert!(held.iter().sum::<u32>() + reserved.saturating_sub(held[2]) <= most);
        }
        for (key, shard) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            (0..9).for_each(|_| shards.rests(&mut room, key, shard));
        }
        shards.rested = true;
        shards.settle(&mut room);
        let idle: u32 = shards.idle.values().sum();
        let wanting = room.entries.values().filter(|entry| entry.wanting()).map(|entry| entry.held).min();
        if let Some(fewest) = wanting {
            let kept = reserved.saturating_sub(shards.all(2));
            prop_assert_eq!(idle + kept, most, "all are there");
            for entry in room.entries.values() {
                let fair = if entry.wanting() { fewest + 1 } else { 0 };
                prop_assert!(entry.held <= entry.promise.floor.max(fair), "{:?}", room);
            }
        }
    }
}
