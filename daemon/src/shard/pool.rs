//! The workers of one function on one shard: which there are, in which state, and which serves next. Pure
//! bookkeeping; the processes themselves are the warden's.
//!
//! A slot goes `Vacant → Starting → Idle → Busy → Idle … → Draining → Vacant`, and its generation grows with
//! each return to `Vacant`: an id from before that is stale, is refused, and is counted.

#[cfg(test)]
mod tests;

use hairtrigger_sandbox::limits::{CHANNEL_DEPTH, MAX_WORKERS};

// Slots are counted in 16 bits.
const _: () = assert!(MAX_WORKERS <= u16::MAX as usize);

/// One life of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId {
    /// Which slot; below the pool's `max`.
    pub(crate) slot: u16,
    /// Which life of the slot.
    pub(crate) generation: u32,
}

/// What a worker slot is doing. Times are monotonic, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no process.
    Vacant,
    /// A process has been asked for.
    Starting,
    /// Ready, and without work.
    Idle {
        /// Since when.
        since: u64,
    },
    /// Serving.
    Busy {
        /// Invocations it holds, at least one.
        load: u32,
        /// It gets no more until it is idle again: the one under way takes long.
        held: bool,
    },
    /// It gets no more work. It may finish what it holds; then its process ends.
    Draining {
        /// Invocations it holds.
        load: u32,
    },
}

/// Number of slots in each state. Their sum is the pool's `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// [`State::Vacant`]
    pub(crate) vacant: usize,
    /// [`State::Starting`]
    pub(crate) starting: usize,
    /// [`State::Idle`]
    pub(crate) idle: usize,
    /// [`State::Busy`]
    pub(crate) busy: usize,
    /// [`State::Draining`]
    pub(crate) draining: usize,
}

/// How large a pool may be and how much its workers hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Workers kept warm; at most `max`.
    pub(crate) provisioned: u16,
    /// Most workers.
    pub(crate) max: u16,
    /// Most invocations a worker holds at first; at least 1, at most [`CHANNEL_DEPTH`].
    pub(crate) depth: u32,
    /// A worker serves one invocation and no more: those that are kept warm are then those that have served none.
    pub(crate) single_use: bool,
}

/// The workers of one function on one shard.
#[derive(Debug)]
pub(crate) struct Pool {
    shape: Shape,
    slots: Box<[Slot]>,
    counts: Counts,
    /// Slots in `Idle`; the last to become idle is the last here, and the first to serve: its caches are warm,
    /// and those that are not needed grow old enough to be reaped.
    idle: Vec<u16>,
    /// Slots in `Vacant`.
    vacant: Vec<u16>,
    /// Slots in `Busy`, not held, with room for more; in no particular order. Empty if `depth` is 1.
    roomy: Vec<u16>,
    stale: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    generation: u32,
    /// The list that it is on, and where.
    on: Option<List>,
    place: u16,
}

/// The list that a slot is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Idle,
    Vacant,
    Roomy,
}

impl Pool {
    /// A pool without workers. All memory it will ever use is taken here.
    ///
    /// # Panics
    /// If `shape` contradicts itself or exceeds the limits; manifests are checked before.
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { provisioned, max, depth, .. } = shape;
        assert!((1..=MAX_WORKERS).contains(&usize::from(max)) && provisioned <= max, "{shape:?}");
        assert!((1..=CHANNEL_DEPTH).contains(&depth), "{shape:?}");
        let slots = (0..max).map(|slot| Slot {
            state: State::Vacant,
            generation: 0,
            on: Some(List::Vacant),
            place: max - 1 - slot,
        });
        Self {
            shape,
            slots: slots.collect(),
            counts: Counts { vacant: max.into(), ..Counts::default() },
            idle: Vec::with_capacity(max.into()),
            // The lowest slot is taken first.
            vacant: (0..max).rev().collect(),
            roomy: Vec::with_capacity(max.into()),
            stale: 0,
        }
    }

    /// Slots by state.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// How often an id of an earlier life was refused.
    #[cfg(test)]
    pub(crate) fn stale(&self) -> u64 {
        self.stale
    }

    /// The state of a worker; `None` if the id is stale.
    pub(crate) fn state(&self, id: WorkerId) -> Option<State> {
        let slot = self.slots.get(usize::from(id.slot))?;
        (slot.generation == id.generation).then_some(slot.state)
    }

    /// Reserves a vacant slot for a worker that is about to be asked for; `None` if there are `max` already.
    pub(crate) fn start(&mut self) -> Option<WorkerId> {
        let slot = *self.vacant.last()?;
        self.transition(slot, State::Starting);
        Some(self.id(slot))
    }

    /// The worker is ready for its first invocation. False if it is not awaited.
    pub(crate) fn ready(&mut self, id: WorkerId, now: u64) -> bool {
        match self.live(id) {
            Some(State::Starting) => self.transition(id.slot, State::Idle { since: now }),
            Some(State::Idle { .. } | State::Busy { .. } | State::Draining { .. } | State::Vacant) | None => {
                false
            }
        }
    }

    /// Chooses a worker for one more invocation, which it then holds: the one that became idle last, else one
    /// that serves and has room. `None`: wait, and see [`Pool::starts_wanted`].
    pub(crate) fn take(&mut self) -> Option<WorkerId> {
        let slot = *self.idle.last().or_else(|| self.roomy.last())?;
        let load = self.slots[usize::from(slot)].state.load() + 1;
        self.transition(slot, State::Busy { load, held: false });
        Some(self.id(slot))
    }

    /// Whether [`Pool::take`] would give one.
    pub(crate) fn has_room(&self) -> bool {
        !(self.idle.is_empty() && self.roomy.is_empty())
    }

    /// No worker is kept warm any more for its own sake.
    pub(crate) fn keep_none(&mut self) {
        self.shape.provisioned = 0;
    }

    /// Whether there is no worker in any state.
    pub(crate) fn is_vacant(&self) -> bool {
        self.counts.vacant == self.slots.len()
    }

    /// The worker has done with one of its invocations. False if it held none.
    pub(crate) fn release(&mut self, id: WorkerId, now: u64) -> bool {
        match self.live(id) {
            Some(State::Busy { load: 1, .. }) => self.transition(id.slot, State::Idle { since: now }),
            Some(State::Busy { load, held }) => {
                self.transition(id.slot, State::Busy { load: load - 1, held })
            }
            Some(State::Draining { load: load @ 1.. }) => {
                self.transition(id.slot, State::Draining { load: load - 1 })
            }
            Some(State::Draining { load: 0 } | State::Idle { .. } | State::Starting | State::Vacant)
            | None => false,
        }
    }

    /// The worker gets no more until it is idle again. False if it is not busy.
    pub(crate) fn hold(&mut self, id: WorkerId) -> bool {
        match self.live(id) {
            Some(State::Busy { load, held: false }) => {
                self.transition(id.slot, State::Busy { load, held: true })
            }
            Some(
                State::Busy { held: true, .. }
                | State::Idle { .. }
                | State::Starting
                | State::Draining { .. }
                | State::Vacant,
            )
            | None => false,
        }
    }

    /// Changes how many invocations a worker may hold. Those that hold more keep them.
    ///
    /// # Panics
    /// If it is not 1 to [`CHANNEL_DEPTH`].
    pub(crate) fn set_depth(&mut self, depth: u32) {
        assert!((1..=CHANNEL_DEPTH).contains(&depth), "depth {depth}");
        self.shape.depth = depth;
        for slot in 0..self.shape.max {
            self.list_anew(slot);
        }
    }

    /// The worker gets no more work: it is to be killed, or to end once it has finished. False if there is
    /// nothing to drain. A worker that is starting is drained too: it will not become idle.
    pub(crate) fn drain(&mut self, id: WorkerId) -> bool {
        match self.live(id) {
            Some(state @ (State::Starting | State::Idle { .. } | State::Busy { .. })) => {
                self.transition(id.slot, State::Draining { load: state.load() })
            }
            Some(State::Draining { .. } | State::Vacant) | None => false,
        }
    }

    /// The process is gone, or never came. Returns how many invocations it held; `None` if the id is stale.
    pub(crate) fn gone(&mut self, id: WorkerId) -> Option<u32> {
        match self.live(id) {
            Some(
                state @ (State::Starting | State::Idle { .. } | State::Busy { .. } | State::Draining { .. }),
            ) => {
                self.transition(id.slot, State::Vacant);
                Some(state.load())
            }
            Some(State::Vacant) | None => None,
        }
    }

    /// The worker that has been idle longest, and since when: the first to be reaped.
    pub(crate) fn longest_idle(&self) -> Option<(WorkerId, u64)> {
        let &slot = self.idle.first()?;
        match self.slots[usize::from(slot)].state {
            State::Idle { since } => Some((self.id(slot), since)),
            State::Vacant | State::Starting | State::Busy { .. } | State::Draining { .. } => None,
        }
    }

    /// How many workers to start now, with `queued` invocations waiting and `expected` workers wanted by those that come:
    /// enough that each of the former finds one and the latter, or `provisioned` if they are more, are there in any case,
    /// those already starting counted, and no more than `max`. Draining workers still hold their slots and serve nobody who
    /// waits.
    pub(crate) fn starts_wanted(&self, queued: usize, expected: usize) -> usize {
        let Counts { vacant, starting, idle, .. } = self.counts;
        let for_floor = expected.max(self.shape.provisioned.into()).saturating_sub(self.ready_for_more());
        let for_queue = queued.saturating_sub(starting + idle);
        for_floor.max(for_queue).min(vacant)
    }

    /// Workers beyond those that are kept warm, or wanted by those `expected` to come.
    pub(crate) fn surplus(&self, expected: usize) -> usize {
        self.ready_for_more().saturating_sub(expected.max(self.shape.provisioned.into()))
    }

    /// Workers that will serve invocations which have not come yet.
    fn ready_for_more(&self) -> usize {
        let Counts { starting, idle, busy, .. } = self.counts;
        starting + idle + if self.shape.single_use { 0 } else { busy }
    }

    fn id(&self, slot: u16) -> WorkerId {
        WorkerId { slot, generation: self.slots[usize::from(slot)].generation }
    }

    /// The state that an event for `id` meets; `None`, and counted, if the id is from an earlier life.
    fn live(&mut self, id: WorkerId) -> Option<State> {
        let state = self.state(id);
        self.stale += u64::from(state.is_none());
        state
    }

    /// The one door: every change of a slot's state, with the accounting. Always true, for its callers' sake.
    fn transition(&mut self, slot: u16, to: State) -> bool {
        let entry = &mut self.slots[usize::from(slot)];
        let from = entry.state;
        debug_assert!(from.may_become(to), "slot {slot}: {from:?} to {to:?}");
        entry.state = to;
        if to == State::Vacant {
            // After 2³² lives of one slot an id could recur; ids do not live that long.
            entry.generation = entry.generation.wrapping_add(1);
        }
        *self.counts.of(from) -= 1;
        *self.counts.of(to) += 1;
        self.list_anew(slot);
        true
    }

    /// Puts a slot on the list that its state asks for.
    fn list_anew(&mut self, slot: u16) {
        let entry = &mut self.slots[usize::from(slot)];
        let (left, joined) = (entry.on, entry.state.list(self.shape.depth));
        if left == joined {
            return;
        }
        entry.on = joined;
        if let Some(list) = left {
            self.remove(list, slot);
        }
        if let Some(list) = joined {
            self.push(list, slot);
        }
    }

    fn list(&mut self, list: List) -> &mut Vec<u16> {
        match list {
            List::Idle => &mut self.idle,
            List::Vacant => &mut self.vacant,
            List::Roomy => &mut self.roomy,
        }
    }

    #[allow(clippy::cast_possible_truncation)] // A list is at most as long as there are slots.
    fn push(&mut self, list: List, slot: u16) {
        let list = self.list(list);
        let place = list.len() as u16;
        list.push(slot);
        self.slots[usize::from(slot)].place = place;
    }

    /// Takes a slot off its list. Among the idle the order matters, among the others it does not.
    fn remove(&mut self, list: List, slot: u16) {
        let place = self.slots[usize::from(slot)].place;
        let entries = self.list(list);
        debug_assert_eq!(entries[usize::from(place)], slot);
        if list == List::Idle {
            // The last one, unless an idle worker dies or is reaped, which is rare.
            entries.remove(usize::from(place));
        } else {
            entries.swap_remove(usize::from(place));
        }
        let moved = usize::from(place)..self.list(list).len();
        for at in moved {
            let other = self.list(list)[at];
            #[allow(clippy::cast_possible_truncation)] // See `push`.
            let at = at as u16;
            self.slots[usize::from(other)].place = at;
            if list != List::Idle {
                break;
            }
        }
    }
}

impl State {
    /// Invocations held.
    fn load(self) -> u32 {
        match self {
            Self::Busy { load, .. } | Self::Draining { load } => load,
            Self::Vacant | Self::Starting | Self::Idle { .. } => 0,
        }
    }

    /// The list that holds a slot in this state.
    fn list(self, depth: u32) -> Option<List> {
        match self {
            Self::Vacant => Some(List::Vacant),
            Self::Idle { .. } => Some(List::Idle),
            Self::Busy { load, held: false } if load < depth => Some(List::Roomy),
            Self::Busy { .. } | Self::Starting | Self::Draining { .. } => None,
        }
    }

    /// Whether the life of a worker has this step.
    fn may_become(self, to: Self) -> bool {
        match (self, to) {
            (Self::Vacant, Self::Starting)
            | (Self::Starting, Self::Idle { .. } | Self::Draining { load: 0 } | Self::Vacant)
            | (Self::Idle { .. }, Self::Busy { load: 1, .. } | Self::Draining { load: 0 } | Self::Vacant)
            | (Self::Busy { load: 1, .. }, Self::Idle { .. })
            | (Self::Busy { .. } | Self::Draining { .. }, Self::Vacant) => true,
            (Self::Busy { load: from, held: was }, Self::Busy { load: to, held }) => {
                let lighter = from == to + 1 && to >= 1 && was == held;
                lighter || (from + 1 == to && !was && !held) || (from == to && !was && held)
            }
            (Self::Busy { load: from, .. }, Self::Draining { load: to }) => from == to,
            (Self::Draining { load: from }, Self::Draining { load: to }) => from == to + 1,
            (
                Self::Vacant | Self::Starting | Self::Idle { .. } | Self::Busy { .. } | Self::Draining { .. },
                _,
            ) => false,
        }
    }
}

impl Counts {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Vacant => &mut self.vacant,
            State::Starting => &mut self.starting,
            State::Idle { .. } => &mut self.idle,
            State::Busy { .. } => &mut self.busy,
            State::Draining { .. } => &mut self.draining,
        }
    }
}
