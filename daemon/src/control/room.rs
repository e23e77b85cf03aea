//! The workers of all functions together, where `max_workers` bounds them: who may start one, and who gives one up.
//! Bookkeeping only. The shards ask for what they want and say what is gone; each has a worker only for a grant of this
//! book's, so that there are never more than there may be.
//!
//! What is said crosses what is heard, so no rule relies on the other side having heard it: a grant that nobody needs
//! comes back, a debt goes with whichever worker goes first, and a wish is told together with the grants that it knows of.

use std::collections::BTreeMap;

use hairtrigger_sandbox::limits::AT_REST;

use crate::shard::nanoseconds;

/// What a shard is to be told of a version, named by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// It may start a worker.
    Grant { key: u32, shard: u16 },
    /// One of its workers is to end as soon as that has nothing more to do.
    GiveUp { key: u32, shard: u16 },
}

/// What is promised to a function, whatever version of it serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// Workers that nobody else gets.
    pub(super) reserved: u32,
    /// Workers that it need not give up: those that are reserved, or kept warm.
    pub(super) floor: u32,
}

/// One shard's workers of a version, as far as others know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Staff {
    pub(super) idle: u32,
    /// Whether one of the idle has been so for a while.
    pub(super) rested: bool,
}

/// A version on one shard.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Workers granted that are not gone.
    held: u32,
    /// Of these, those that were asked back.
    owed: u32,
    /// Workers that it wants beyond those held.
    wants: u32,
    /// Grants that it was told of, ever; wraps.
    granted: u32,
}

#[derive(Debug)]
struct Entry {
    name: String,
    promise: Promise,
    shares: Box<[Share]>,
    /// When it was last granted a worker: monotonic, in nanoseconds.
    granted_at: u64,
    /// Whether it gets no more requests: nothing is promised to it.
    retiring: bool,
}

impl Entry {
    fn sum(&self, of: impl Fn(&Share) -> u32) -> u32 {
        self.shares.iter().map(of).sum()
    }

    fn held(&self) -> u32 {
        self.sum(|share| share.held)
    }

    fn wants(&self) -> u32 {
        self.sum(|share| share.wants)
    }

    /// What it will have once it has given up what it was asked for.
    fn keeps(&self) -> u32 {
        self.sum(|share| share.held - share.owed)
    }

    /// Whether it has more than it need not give up.
    fn is_beyond(&self) -> bool {
        self.keeps() > if self.retiring { 0 } else { self.promise.floor }
    }
}

/// The book.
#[derive(Debug)]
pub(super) struct Room {
    most: u32,
    shards: u16,
    entries: BTreeMap<u32, Entry>,
    /// Whether something was written since it was settled.
    changed: bool,
}

/// What all versions of a name have, and are promised.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    reserved: u32,
    held: u32,
}

impl Room {
    pub(super) fn new(most: u32, shards: u16) -> Self {
        Self { most, shards, entries: BTreeMap::new(), changed: false }
    }

    /// A version is there.
    pub(super) fn begin(&mut self, key: u32, name: &str, promise: Promise) {
        let shares = vec![Share::default(); self.shards.into()].into();
        let entry = Entry { name: name.to_owned(), promise, shares, granted_at: 0, retiring: false };
        self.entries.insert(key, entry);
        self.changed = true;
    }

    /// A version gets no more requests; its workers end. For what it has it may still want some.
    pub(super) fn retire(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.retiring = true;
            self.changed = true;
        }
    }

    /// A shard has nothing left of a version, and will not speak of it any more.
    pub(super) fn retired(&mut self, key: u32, shard: u16) {
        if let Some(share) = self.share(key, shard) {
            *share = Share::default();
            self.changed = true;
        }
    }

    /// Nothing is left of a version.
    pub(super) fn forget(&mut self, key: u32) {
        self.changed |= self.entries.remove(&key).is_some();
    }

    /// A shard that has heard of so many grants of a version, ever, wants so many workers more.
    pub(super) fn wants(&mut self, key: u32, shard: u16, count: u32, heard: u32) {
        if let Some(share) = self.share(key, shard) {
            share.wants = count.saturating_sub(share.granted.wrapping_sub(heard));
            self.changed = true;
        }
    }

    /// So many workers of a shard's are gone, or were not needed after all. Whichever goes counts as asked back.
    pub(super) fn returns(&mut self, key: u32, shard: u16, count: u32) {
        if let Some(share) = self.share(key, shard) {
            debug_assert!(count <= share.held, "{count} of {share:?}");
            share.held = share.held.saturating_sub(count);
            share.owed = share.owed.saturating_sub(count).min(share.held);
            self.changed = true;
        }
    }

    fn share(&mut self, key: u32, shard: u16) -> Option<&mut Share> {
        self.entries.get_mut(&key)?.shares.get_mut(usize::from(shard))
    }

    /// What is to be said for everybody to have what is his. `staffs` knows each shard's workers of a version; `now` is
    /// monotonic, in nanoseconds.
    pub(super) fn settle(&mut self, now: u64, staffs: impl Fn(u32) -> Vec<Staff>) -> Vec<Say> {
        let mut said = Vec::new();
        if !std::mem::take(&mut self.changed) {
            return said;
        }
        let mut own = self.own();
        while let Some(key) = self.next_to_get(&own) {
            if let Some(entry) = self.entries.get(&key)
                && let Some(own) = own.get_mut(&entry.name)
            {
                own.held += 1;
            }
            said.push(self.grant(key, now));
        }
        // One is asked back for each that is wanted, and not twice.
        let sum = |of: fn(&Share) -> u32| self.entries.values().map(|entry| entry.sum(of)).sum::<u32>();
        for _ in sum(|share| share.owed)..sum(|share| share.wants) {
            let Some((key, shard)) = self.next_to_give(&own, now, &staffs) else { break };
            if let Some(share) = self.share(key, shard) {
                share.owed += 1;
            }
            said.push(Say::GiveUp { key, shard });
        }
        said
    }

    /// What each function is promised and has.
    fn own(&self) -> BTreeMap<String, Own> {
        let mut all: BTreeMap<String, Own> = BTreeMap::new();
        for entry in self.entries.values() {
            if !all.contains_key(&entry.name) {
                all.insert(entry.name.clone(), Own::default());
            }
            let Some(own) = all.get_mut(&entry.name) else { continue };
            own.held += entry.held();
            if !entry.retiring {
                own.reserved = entry.promise.reserved.max(own.reserved);
            }
        }
        all
    }

    /// Of those that want a worker and may have one, the version with the fewest.
    fn next_to_get(&self, own: &BTreeMap<String, Own>) -> Option<u32> {
        let held: u32 = own.values().map(|own| own.held).sum();
        let kept_free: u32 = own.values().map(|own| own.reserved.saturating_sub(own.held)).sum();
        let free = held + kept_free < self.most;
        let has_own = |entry: &Entry| own.get(&entry.name).is_some_and(|own| own.held < own.reserved);
        let may = |(_, entry): &(&u32, &Entry)| entry.wants() > 0 && (free || has_own(entry));
        if held >= self.most {
            return None;
        }
        self.entries.iter().filter(may).min_by_key(|(_, entry)| entry.held()).map(|(key, _)| *key)
    }

    /// Grants a worker to the shard of a version that wants most.
    fn grant(&mut self, key: u32, now: u64) -> Say {
        let most = self.entries.get_mut(&key).and_then(|entry| {
            entry.granted_at = now;
            entry.shares.iter_mut().enumerate().max_by_key(|(_, share)| share.wants)
        });
        let shard = most.map_or(0, |(shard, share)| {
            (share.held, share.wants) = (share.held + 1, share.wants.saturating_sub(1));
            share.granted = share.granted.wrapping_add(1);
            u16::try_from(shard).unwrap_or(0)
        });
        Say::Grant { key, shard }
    }

    /// Once all that was asked back is given to those that want it: who then has the fewest and wants one, and how many
    /// that are.
    fn next_to_want(&self) -> Option<(u32, u32)> {
        let wanting = self.entries.iter().filter(|(_, entry)| entry.wants() > 0);
        let mut wanting: Vec<(u32, u32, u32)> =
            wanting.map(|(key, entry)| (entry.held(), *key, entry.wants())).collect();
        let owed: u32 = self.entries.values().map(|entry| entry.sum(|share| share.owed)).sum();
        for _ in 0..owed {
            let (held, _, wants) = wanting.iter_mut().filter(|(.., wants)| *wants > 0).min()?;
            (*held, *wants) = (*held + 1, *wants - 1);
        }
        wanting.into_iter().filter(|(.., wants)| *wants > 0).min().map(|(held, key, _)| (key, held))
    }

    /// Who gives one up for the one that will have the fewest of those that then still want one, and on which shard. First who
    /// has an idle worker beyond its floor, and has more or has not needed it for a while, the one with the most of these;
    /// else who has most, if that is two more at least; else, for one that has none or not what it reserves, whose last grant
    /// was longest ago, if that is a while; else, for a new version, the one before it.
    fn next_to_give(
        &self,
        own: &BTreeMap<String, Own>,
        now: u64,
        staffs: &impl Fn(u32) -> Vec<Staff>,
    ) -> Option<(u32, u16)> {
        let (poorest, poor) = self.next_to_want()?;
        let name = &self.entries.get(&poorest)?.name;
        let others = || self.entries.iter().filter(|(key, entry)| **key != poorest && entry.keeps() > 0);
        let idle = |key: u32, entry: &Entry| {
            let staffs = staffs(key);
            let rested = staffs.iter().any(|staff| staff.rested);
            let left = |(share, staff): (&Share, &Staff)| {
                staff.idle.saturating_sub(share.owed).min(share.held - share.owed)
            };
            let idle: u32 = entry.shares.iter().zip(&staffs).map(left).sum();
            (entry.retiring || entry.keeps() > poor || rested).then_some(idle).filter(|idle| *idle > 0)
        };
        let at_rest = others()
            .filter(|(_, entry)| entry.is_beyond() && (entry.wants() == 0 || entry.keeps() > poor + 1))
            .filter_map(|(key, entry)| Some((idle(*key, entry)?, *key)))
            .max();
        let rich = || {
            let richer = others().filter(|(_, entry)| entry.is_beyond() && entry.keeps() > poor + 1);
            richer.max_by_key(|(_, entry)| entry.keeps()).map(|(key, _)| *key)
        };
        let due = poor == 0 || own.get(name).is_some_and(|own| own.held < own.reserved);
        let in_turn = || {
            let long_ago = |entry: &Entry| now.saturating_sub(entry.granted_at) >= nanoseconds(AT_REST);
            let others = others().filter(|(_, entry)| due && entry.is_beyond() && long_ago(entry));
            others.min_by_key(|(_, entry)| entry.granted_at).map(|(key, _)| *key)
        };
        let before = || others().find(|(_, entry)| entry.name == *name && poor == 0).map(|(key, _)| *key);
        let key = at_rest.map(|(_, key)| key).or_else(rich).or_else(in_turn).or_else(before)?;
        // From the shard that has an idle one, else from the one that has most.
        let left = self.entries.get(&key)?.shares.iter().zip(staffs(key)).map(|(share, staff)| {
            let keeps = share.held - share.owed;
            (staff.idle.saturating_sub(share.owed).min(keeps).min(1), keeps)
        });
        let (shard, _) =
            left.enumerate().filter(|(_, (_, keeps))| *keeps > 0).max_by_key(|(_, left)| *left)?;
        Some((key, u16::try_from(shard).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests;
