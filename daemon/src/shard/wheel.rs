//! Deadlines: a hierarchical timer wheel with ticks of one millisecond. Pure; the caller brings the time.
//!
//! Level 0 has a slot for each of the 64 ticks around the present, level 1 a slot for each 64 of those, and so
//! on. A timer lies at the highest level at which its tick and the present differ, so the first timer is
//! always in the first slot of the lowest level in use, and no deadline is out of range. When the present
//! reaches a slot of a higher level, its timers move down.
//!
//! Timers live in a slab and are linked through it: setting and cancelling take constant time, and no
//! allocation once the slab has seen its greatest number of timers.

#[cfg(test)]
mod tests;

/// One tick, in nanoseconds.
const TICK: u64 = 1_000_000;
/// Bits of a tick that one level tells apart.
const BITS: u32 = 6;
/// Slots of a level; as many as a `u64` has bits.
const SLOTS: usize = 1 << BITS;
/// Enough for the ticks of every `u64` of nanoseconds.
const LEVELS: usize = 8;
const _: () = assert!((u64::MAX / TICK) >> (BITS as usize * LEVELS) == 0 && SLOTS == u64::BITS as usize);

/// The list of the timers whose tick had passed when they were set; the slots' lists come before it.
const OVERDUE: usize = LEVELS * SLOTS;
/// The end of a list.
const NIL: u32 = u32::MAX;

/// A timer that was set. Ids of timers that fired or were cancelled are told apart from later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

/// The timers of a shard. Times are monotonic, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The present tick: every timer of an earlier or the same one has fired, but for those overdue.
    present: u64,
    timers: Vec<Timer>,
    /// First of the list of unused timers.
    unused: u32,
    len: usize,
    /// First timer of each list.
    heads: [u32; OVERDUE + 1],
    /// For each level, the slots that are not empty.
    occupied: [u64; LEVELS],
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    key: u64,
    tick: u64,
    generation: u32,
    next: u32,
    previous: u32,
    /// The list it is on; of no meaning while it is unused.
    list: u16,
    set: bool,
}

impl Wheel {
    /// A wheel that begins at `now` and takes the memory for `capacity` timers; more make it grow.
    pub(crate) fn new(now: u64, capacity: usize) -> Self {
        Self {
            present: now / TICK,
            timers: Vec::with_capacity(capacity),
            unused: NIL,
            len: 0,
            heads: [NIL; OVERDUE + 1],
            occupied: [0; LEVELS],
        }
    }

    /// Number of timers that are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets a timer: `key` is given back at the first [`Wheel::expire`] that is not before `deadline`, rounded
    /// up to a whole tick.
    pub(crate) fn insert(&mut self, deadline: u64, key: u64) -> TimerId {
        let tick = deadline.div_ceil(TICK);
        let index = self.unused;
        let index = if index == NIL {
            let index = u32::try_from(self.timers.len()).ok().filter(|&index| index != NIL);
            let index = index.expect("fewer timers than 2^32 are set");
            self.timers.push(Timer {
                key,
                tick,
                generation: 0,
                next: NIL,
                previous: NIL,
                list: 0,
                set: true,
            });
            index
        } else {
            let timer = &mut self.timers[index as usize];
            self.unused = timer.next;
            *timer = Timer { key, tick, set: true, ..*timer };
            index
        };
        self.len += 1;
        self.link(index);
        TimerId { index, generation: self.timers[index as usize].generation }
    }

    /// Unsets a timer. False if it has fired or was cancelled before.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        let timer = self.timers.get(id.index as usize);
        let set = timer.is_some_and(|timer| timer.set && timer.generation == id.generation);
        if set {
            self.unlink(id.index);
            self.discard(id.index);
        }
        set
    }

    /// When to call [`Wheel::expire`] next: not after the time at which the first timer fires. It may be before
    /// that, when timers are to move down; asking again after each call leads to the first timer in at most as
    /// many steps as there are levels.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        if self.heads[OVERDUE] != NIL {
            return Some(self.present.saturating_mul(TICK));
        }
        self.first_slot().map(|(_, _, start)| start.saturating_mul(TICK))
    }

    /// Gives back the keys of all timers whose tick is not after `now`, earlier ticks first.
    ///
    /// None fires before its deadline; one whose deadline is a tick or more before `now` has fired.
    pub(crate) fn expire(&mut self, now: u64, mut fired: impl FnMut(u64)) {
        let now = now / TICK;
        self.fire(OVERDUE, &mut fired);
        while let Some((level, list, start)) = self.first_slot() {
            if start > now {
                break;
            }
            self.present = start;
            if level == 0 {
                self.fire(list, &mut fired);
                continue;
            }
            // Their slot begins now: each belongs to a lower level, or has come to its tick.
            while self.heads[list] != NIL {
                let index = self.heads[list];
                self.unlink(index);
                self.link(index);
            }
            self.fire(OVERDUE, &mut fired);
        }
        self.present = self.present.max(now);
    }

    /// The slot of the first timers that are not overdue: level, list, and the tick at which it begins.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        // All of them lie behind the present: see `link`.
        let slot = self.occupied[level].trailing_zeros();
        let shift = BITS * u32::try_from(level).unwrap_or(0);
        let begun = self.present >> shift >> BITS << BITS;
        let start = (begun | u64::from(slot)) << shift;
        Some((level, level * SLOTS + slot as usize, start))
    }

    fn fire(&mut self, list: usize, fired: &mut impl FnMut(u64)) {
        while self.heads[list] != NIL {
            let index = self.heads[list];
            let key = self.timers[index as usize].key;
            self.unlink(index);
            self.discard(index);
            fired(key);
        }
    }

    /// The list on which a timer of this tick belongs.
    fn list_of(&self, tick: u64) -> usize {
        if tick <= self.present {
            return OVERDUE;
        }
        let level = (tick ^ self.present).ilog2() / BITS;
        let slot = (tick >> (BITS * level)) % SLOTS as u64;
        // Both fit: a level is below LEVELS, a slot below SLOTS.
        level as usize * SLOTS + usize::try_from(slot).unwrap_or(0)
    }

    #[allow(clippy::cast_possible_truncation)] // OVERDUE, the greatest list, is below 2^16.
    fn link(&mut self, index: u32) {
        let list = self.list_of(self.timers[index as usize].tick);
        let next = std::mem::replace(&mut self.heads[list], index);
        let timer = &mut self.timers[index as usize];
        timer.list = list as u16;
        timer.previous = NIL;
        timer.next = next;
        if next != NIL {
            self.timers[next as usize].previous = index;
        }
        if list != OVERDUE {
            self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Timer { next, previous, list, .. } = self.timers[index as usize];
        let list = usize::from(list);
        if next != NIL {
            self.timers[next as usize].previous = previous;
        }
        if previous != NIL {
            self.timers[previous as usize].next = next;
            return;
        }
        self.heads[list] = next;
        if next == NIL && list != OVERDUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// Makes a timer, which is on no list, free to be used again.
    fn discard(&mut self, index: u32) {
        let timer = &mut self.timers[index as usize];
        timer.set = false;
        timer.generation = timer.generation.wrapping_add(1);
        timer.next = self.unused;
        self.unused = index;
        self.len -= 1;
    }
}
