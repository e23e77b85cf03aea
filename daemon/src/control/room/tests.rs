use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const PLAIN: Promise = Promise { reserved: 0, floor: 0 };

/// A version's workers on one shard, which does as shards do.
#[derive(Default)]
struct Workers {
    /// Wanted beyond those that are there.
    short: u32,
    idle: u32,
    busy: u32,
    owed: u32,
    heard: u32,
}

/// What a shard tells the book.
#[derive(Clone, Copy)]
enum Told {
    Wants(u32, u32),
    Returns(u32),
}

/// Shards, and what is under way to and from them.
struct World {
    room: Room,
    now: u64,
    workers: BTreeMap<(u32, u16), Workers>,
    to_shards: BTreeMap<u16, VecDeque<Say>>,
    to_book: BTreeMap<u16, VecDeque<(u32, Told)>>,
    /// Whether those that are idle have been so for a while.
    rested: bool,
}

impl World {
    /// So many workers on two shards, for functions with these promises.
    fn new(most: u32, promises: &[Promise]) -> Self {
        let mut room = Room::new(most, 2);
        for (key, promise) in (0..).zip(promises) {
            room.begin(key, &format!("f{key}"), *promise);
        }
        let (workers, to_shards, to_book) = Default::default();
        Self { room, now: 1, workers, to_shards, to_book, rested: false }
    }

    fn of(&mut self, key: u32, shard: u16) -> &mut Workers {
        self.workers.entry((key, shard)).or_default()
    }

    fn all(&self, key: u32) -> u32 {
        let of = self.workers.iter().filter(|((of, _), _)| *of == key);
        of.map(|(_, workers)| workers.idle + workers.busy).sum()
    }

    fn tell(&mut self, key: u32, shard: u16, told: Told) {
        self.to_book.entry(shard).or_default().push_back((key, told));
    }

    fn wants(&mut self, key: u32, shard: u16, count: u32) {
        let workers = self.of(key, shard);
        workers.short = count;
        let heard = workers.heard;
        self.tell(key, shard, Told::Wants(count, heard));
    }

    fn works(&mut self, key: u32, shard: u16) {
        let workers = self.of(key, shard);
        if workers.idle > 0 {
            (workers.idle, workers.busy) = (workers.idle - 1, workers.busy + 1);
        }
    }

    fn rests(&mut self, key: u32, shard: u16) {
        let workers = self.of(key, shard);
        if workers.busy > 0 {
            (workers.idle, workers.busy) = (workers.idle + 1, workers.busy - 1);
            self.pay(key, shard);
        }
    }

    /// One goes by itself.
    fn dies(&mut self, key: u32, shard: u16) {
        let workers = self.of(key, shard);
        if workers.idle > 0 {
            (workers.idle, workers.owed) = (workers.idle - 1, workers.owed.saturating_sub(1));
            self.tell(key, shard, Told::Returns(1));
        }
    }

    /// Ends idle workers that were asked back.
    fn pay(&mut self, key: u32, shard: u16) {
        while {
            let workers = self.of(key, shard);
            workers.owed > 0 && workers.idle > 0
        } {
            self.dies(key, shard);
        }
    }

    /// A shard hears the next thing that it was told.
    fn hear(&mut self, shard: u16) -> bool {
        let Some(say) = self.to_shards.entry(shard).or_default().pop_front() else { return false };
        match say {
            Say::Grant { key, .. } => {
                let workers = self.of(key, shard);
                workers.heard += 1;
                if workers.short > 0 {
                    (workers.short, workers.idle) = (workers.short - 1, workers.idle + 1);
                    self.pay(key, shard);
                } else {
                    workers.owed = workers.owed.saturating_sub(1);
                    self.tell(key, shard, Told::Returns(1));
                }
            }
            Say::GiveUp { key, .. } => {
                let workers = self.of(key, shard);
                if workers.idle + workers.busy > 0 {
                    workers.owed += 1;
                }
                self.pay(key, shard);
            }
        }
        true
    }

    /// The book hears the next thing that a shard told it, and settles.
    fn read(&mut self, shard: u16) -> bool {
        let Some((key, told)) = self.to_book.entry(shard).or_default().pop_front() else { return false };
        match told {
            Told::Wants(count, heard) => self.room.wants(key, shard, count, heard),
            Told::Returns(count) => self.room.returns(key, shard, count),
        }
        self.settle();
        true
    }

    fn settle(&mut self) -> Vec<Say> {
        let Self { room, workers, rested, now, .. } = self;
        let staff = |key, shard| {
            let idle = workers.get(&(key, shard)).map_or(0, |workers: &Workers| workers.idle);
            Staff { idle, rested: *rested && idle > 0 }
        };
        let said = room.settle(*now, |key| (0..2).map(|shard| staff(key, shard)).collect());
        for say in &said {
            let (Say::Grant { shard, .. } | Say::GiveUp { shard, .. }) = *say;
            self.to_shards.entry(shard).or_default().push_back(*say);
        }
        said
    }

    /// Until nothing is under way, with each shard saying once more what it wants.
    fn quiet(&mut self) {
        loop {
            while (0..2).map(|shard| u32::from(self.read(shard)) + u32::from(self.hear(shard))).sum::<u32>()
                > 0
            {}
            let short: Vec<_> = self.workers.iter().map(|(of, workers)| (*of, workers.short)).collect();
            short.iter().for_each(|((key, shard), count)| self.wants(*key, *shard, *count));
            while self.read(0) || self.read(1) {}
            if self.to_shards.values().all(VecDeque::is_empty) {
                return;
            }
        }
    }
}

#[test]
fn there_are_as_many_as_there_may_be() {
    let mut world = World::new(4, &[PLAIN]);
    world.wants(0, 1, 9);
    world.quiet();
    assert_eq!((world.all(0), world.of(0, 1).short), (4, 5));
    world.dies(0, 1);
    world.quiet();
    assert_eq!(world.all(0), 4, "it still wants one");
    world.wants(0, 1, 0);
    world.dies(0, 1);
    world.quiet();
    assert_eq!(world.all(0), 3);
}

#[test]
fn one_that_wants_one_costs_one_and_keeps_it_for_a_while() {
    let mut world = World::new(4, &[PLAIN, PLAIN]);
    world.wants(0, 0, 9);
    world.quiet();
    (0..4).for_each(|_| world.works(0, 0));
    world.wants(1, 1, 1);
    world.quiet();
    assert_eq!((world.all(0), world.of(0, 0).owed), (4, 1), "once, however often it is said");
    (0..4).for_each(|_| world.rests(0, 0));
    (0..4).for_each(|_| world.works(0, 0));
    world.quiet();
    assert_eq!((world.all(0), world.all(1)), (3, 1));
    world.quiet();
    assert_eq!((world.all(0), world.all(1)), (3, 1), "it is idle, and all that it has");
    world.rested = true;
    world.quiet();
    assert_eq!((world.all(0), world.all(1)), (4, 0), "and has not needed it for a while");
}

#[test]
fn two_that_are_flooded_have_half_each() {
    let mut world = World::new(4, &[PLAIN, PLAIN]);
    world.wants(0, 0, 9);
    world.quiet();
    (0..4).for_each(|_| world.works(0, 0));
    world.wants(1, 1, 9);
    for _ in 0..9 {
        world.quiet();
        for (key, shard) in [(0, 0), (1, 1)] {
            (0..4).for_each(|_| world.rests(key, shard));
            (0..4).for_each(|_| world.works(key, shard));
        }
    }
    assert_eq!((world.all(0), world.all(1)), (2, 2));
}

#[test]
fn what_is_reserved_is_kept_free_and_what_is_beyond_is_not() {
    let mut world = World::new(4, &[PLAIN, Promise { reserved: 2, floor: 2 }]);
    world.wants(0, 0, 9);
    world.quiet();
    assert_eq!(world.all(0), 2);
    world.wants(0, 0, 0);
    world.wants(1, 1, 4);
    world.rested = true;
    world.quiet();
    assert_eq!((world.all(0), world.all(1)), (0, 4), "idle ones of another's it may have");
    (0..4).for_each(|_| world.works(1, 1));
    world.wants(0, 0, 1);
    world.quiet();
    world.rests(1, 1);
    world.quiet();
    assert_eq!((world.all(0), world.all(1)), (1, 3));
}

#[test]
fn where_all_are_busy_and_each_has_one_they_take_turns() {
    let mut world = World::new(2, &[PLAIN, PLAIN, PLAIN]);
    for key in 0..2 {
        world.wants(key, 0, 2);
        world.quiet();
        world.works(key, 0);
        world.now += 1;
    }
    world.wants(2, 1, 1);
    world.quiet();
    assert_eq!((world.of(0, 0).owed, world.of(1, 0).owed), (0, 0), "not at once");
    world.now += nanoseconds(AT_REST);
    world.quiet();
    assert_eq!((world.of(0, 0).owed, world.of(1, 0).owed), (1, 0), "whose turn has lasted longest");
    world.rests(0, 0);
    world.quiet();
    assert_eq!([0, 1, 2].map(|key| world.all(key)), [0, 1, 1]);
}

#[test]
fn a_new_version_gets_its_first_worker_from_the_old_one_which_still_gets_what_it_needs() {
    let warm = Promise { reserved: 0, floor: 2 };
    let mut world = World::new(4, &[warm, warm]);
    world.wants(0, 0, 2);
    world.wants(1, 1, 2);
    world.quiet();
    world.room.begin(7, "f1", warm);
    world.wants(7, 1, 2);
    world.quiet();
    assert_eq!([0, 1, 7].map(|key| world.all(key)), [2, 1, 1], "and no other function's");
    world.room.retire(1);
    world.dies(1, 1);
    world.wants(7, 1, 0);
    world.wants(1, 1, 1);
    world.quiet();
    assert_eq!(world.all(1), 1, "somebody still waits for it");
    world.dies(1, 1);
    world.wants(1, 1, 1);
    while world.read(1) {}
    world.to_shards.clear();
    world.room.retired(1, 0);
    world.room.retired(1, 1);
    assert_eq!(
        world.room.entries[&1].held() + world.room.entries[&1].wants(),
        0,
        "the shard has gone with it"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Wants(u32, u16, u32),
    Works(u32, u16),
    Rests(u32, u16),
    Dies(u32, u16),
    Hear(u16),
    Read(u16),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let whose = (0..3_u32, 0..2_u16);
    prop_oneof![
        2 => (whose.clone(), 0..5_u32).prop_map(|((key, shard), count)| Step::Wants(key, shard, count)),
        2 => whose.clone().prop_map(|(key, shard)| Step::Works(key, shard)),
        2 => whose.clone().prop_map(|(key, shard)| Step::Rests(key, shard)),
        1 => whose.prop_map(|(key, shard)| Step::Dies(key, shard)),
        4 => (0..2_u16).prop_map(Step::Hear),
        4 => (0..2_u16).prop_map(Step::Read),
        1 => (0..200_000_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever crosses whatever: there are never more than there may be, what is reserved stays free for its function, and
    /// once all is quiet the book is right, nobody owes anything, and nobody goes without for the sake of one that has two
    /// more.
    #[test]
    fn nobody_has_more_than_there_is_nor_goes_without_what_is_his(
        most in 3..9_u32,
        reserved in 0..3_u32,
        steps in vec(step(), 0..150),
    ) {
        let mut world = World::new(most, &[PLAIN, PLAIN, Promise { reserved, floor: reserved }]);
        for step in steps {
            match step {
                Step::Wants(key, shard, count) => world.wants(key, shard, count),
                Step::Works(key, shard) => world.works(key, shard),
                Step::Rests(key, shard) => world.rests(key, shard),
                Step::Dies(key, shard) => world.dies(key, shard),
                Step::Hear(shard) => drop(world.hear(shard)),
                Step::Read(shard) => drop(world.read(shard)),
                Step::Wait(time) => world.now += time,
            }
            let held: u32 = world.room.entries.values().map(Entry::held).sum();
            let there: u32 = (0..3).map(|key| world.all(key)).sum();
            prop_assert!(there <= held && held <= most, "{there} of {held}");
            prop_assert!(held + reserved.saturating_sub(world.room.entries[&2].held()) <= most);
            for share in world.room.entries.values().flat_map(|entry| entry.shares.iter()) {
                prop_assert!(share.owed <= share.held, "{share:?}");
            }
        }
        let of: Vec<_> = world.workers.keys().copied().collect();
        world.rested = true;
        world.now += nanoseconds(AT_REST);
        for _ in 0..9 {
            of.iter().for_each(|(key, shard)| (0..9).for_each(|_| world.rests(*key, *shard)));
            world.quiet();
        }
        let entries = &world.room.entries;
        for (key, entry) in entries {
            prop_assert_eq!((entry.held(), entry.sum(|share| share.owed)), (world.all(*key), 0), "{:?}", entry);
        }
        if let Some(fewest) = entries.values().filter(|entry| entry.wants() > 0).map(Entry::held).min() {
            for entry in entries.values() {
                let fair = if entry.wants() > 0 { fewest + 1 } else { 0 };
                prop_assert!(entry.held() <= entry.promise.floor.max(fair), "{:?}", world.room);
            }
        }
    }
}
