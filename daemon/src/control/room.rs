//! The workers of all functions together, where `max_workers` bounds them: who may start one, and who gives one up.
//! Bookkeeping only. The shards ask for what they want and say what is gone; each has a worker only for a grant of this
//! book's, so that there are never more than there may be.

use std::collections::BTreeMap;

/// What a shard is to be told of a version, named by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// It may start so many workers.
    Grant { key: u32, shard: u16, count: u32 },
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
    pub(super) workers: u32,
    pub(super) idle: u32,
    /// Whether one of the idle has been so for a while.
    pub(super) rested: bool,
}

#[derive(Debug)]
struct Entry {
    name: String,
    promise: Promise,
    /// Workers granted that are not gone.
    held: u32,
    /// Of these, those that each shard was asked to give up.
    owed: Box<[u32]>,
    /// Workers that each shard wants beyond those held.
    wants: Box<[u32]>,
    /// Whether it serves no more: it wants nothing, and nothing is promised to it.
    retiring: bool,
}

impl Entry {
    fn wanting(&self) -> bool {
        self.wants.iter().any(|count| *count > 0)
    }

    /// What it will have once it has given up what it was asked for.
    fn keeps(&self) -> u32 {
        self.held.saturating_sub(self.owed.iter().sum())
    }
}

/// The book.
#[derive(Debug)]
pub(super) struct Room {
    most: u32,
    shards: u16,
    entries: BTreeMap<u32, Entry>,
}

impl Room {
    pub(super) fn new(most: u32, shards: u16) -> Self {
        Self { most, shards, entries: BTreeMap::new() }
    }

    /// A version is there.
    pub(super) fn begin(&mut self, key: u32, name: &str, promise: Promise) {
        let none: Box<[u32]> = vec![0; self.shards.into()].into();
        let (owed, wants) = (none.clone(), none);
        let entry = Entry { name: name.to_owned(), promise, held: 0, owed, wants, retiring: false };
        self.entries.insert(key, entry);
    }

    /// A version serves no more; its workers end.
    pub(super) fn retire(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.retiring = true;
            entry.wants.fill(0);
        }
    }

    /// Nothing is left of a version.
    pub(super) fn forget(&mut self, key: u32) {
        self.entries.remove(&key);
    }

    /// A shard wants so many workers of a version beyond those that it has.
    pub(super) fn wants(&mut self, key: u32, shard: u16, count: u32) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| !entry.retiring)
            && let Some(wants) = entry.wants.get_mut(usize::from(shard))
        {
            *wants = count;
        }
    }

    /// So many workers of a shard's are gone, or were not needed after all. Whichever goes counts as asked back.
    pub(super) fn returns(&mut self, key: u32, shard: u16, count: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            debug_assert!(count <= entry.held, "{count} of {entry:?}");
            entry.held = entry.held.saturating_sub(count);
            if let Some(owed) = entry.owed.get_mut(usize::from(shard)) {
                *owed = owed.saturating_sub(count);
            }
        }
    }

    /// What is to be said for everybody to have what is his. `staffs` knows each shard's workers of a version.
    pub(super) fn settle(&mut self, staffs: impl Fn(u32) -> Vec<Staff>) -> Vec<Say> {
        let mut said = Vec::new();
        while let Some(key) = self.next_to_get() {
            said.push(self.grant(key));
        }
        // One is asked back for each that is wanted, and not twice.
        let wanted: u32 = self.entries.values().flat_map(|entry| entry.wants.iter()).sum();
        let owed: u32 = self.entries.values().flat_map(|entry| entry.owed.iter()).sum();
        for _ in owed..wanted {
            let Some((key, shard)) = self.next_to_give(&staffs) else { break };
            let owed = self.entries.get_mut(&key).and_then(|entry| entry.owed.get_mut(usize::from(shard)));
            if let Some(owed) = owed {
                *owed += 1;
            }
            said.push(Say::GiveUp { key, shard });
        }
        said
    }

    /// Of those that want a worker and may have one, the version with the fewest.
    fn next_to_get(&self) -> Option<u32> {
        let held: u32 = self.entries.values().map(|entry| entry.held).sum();
        if held >= self.most {
            return None;
        }
        let kept_free: u32 = self.promised().map(|(_, reserved, held)| reserved.saturating_sub(held)).sum();
        let free = held + kept_free < self.most;
        let may = |(_, entry): &(&u32, &Entry)| entry.wanting() && (free || self.has_own(&entry.name));
        self.entries.iter().filter(may).min_by_key(|(_, entry)| entry.held).map(|(key, _)| *key)
    }

    /// Once all that was asked back is given to those that want it: who then has the fewest and wants one, and how many
    /// that are.
    fn next_to_want(&self) -> Option<(u32, u32)> {
        let wanting = self.entries.iter().filter(|(_, entry)| entry.wanting());
        let mut wanting: Vec<(u32, u32, u32)> =
            wanting.map(|(key, entry)| (entry.held, *key, entry.wants.iter().sum())).collect();
        let owed: u32 = self.entries.values().flat_map(|entry| entry.owed.iter()).sum();
        for _ in 0..owed {
            let (held, _, wants) = wanting.iter_mut().filter(|(.., wants)| *wants > 0).min()?;
            (*held, *wants) = (*held + 1, *wants - 1);
        }
        wanting.into_iter().filter(|(.., wants)| *wants > 0).min().map(|(held, key, _)| (key, held))
    }

    /// Each function with what it reserves, and the workers that all its versions have.
    fn promised(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        let mut all: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for entry in self.entries.values() {
            let (reserved, held) = all.entry(&entry.name).or_default();
            *held += entry.held;
            if !entry.retiring {
                *reserved = entry.promise.reserved.max(*reserved);
            }
        }
        all.into_iter().map(|(name, (reserved, held))| (name, reserved, held))
    }

    /// Whether a function has not got yet what it reserves.
    fn has_own(&self, name: &str) -> bool {
        self.promised().any(|(other, reserved, held)| other == name && held < reserved)
    }

    /// Grants a worker to the shard of a version that wants most.
    fn grant(&mut self, key: u32) -> Say {
        let entry = self.entries.get_mut(&key);
        let most = entry.and_then(|entry| {
            entry.held += 1;
            entry.wants.iter_mut().enumerate().max_by_key(|(_, wants)| **wants)
        });
        let shard = most.map_or(0, |(shard, wants)| {
            *wants -= 1;
            u16::try_from(shard).unwrap_or(0)
        });
        Say::Grant { key, shard, count: 1 }
    }

    /// Who gives one up for the one that will have the fewest of those that then still want one: who has an idle
    /// worker beyond its floor, and has more or has not needed it for a while, first the one with the most of these; else
    /// who has most, if that is two more at least; else an older version of the same function, which goes in any case.
    fn next_to_give(&self, staffs: &impl Fn(u32) -> Vec<Staff>) -> Option<(u32, u16)> {
        let (poorest, poor) = self.next_to_want()?;
        let name = &self.entries.get(&poorest)?.name;
        let others = || self.entries.iter().filter(|(key, entry)| **key != poorest && entry.keeps() > 0);
        let beyond = |entry: &Entry| entry.retiring || entry.keeps() > entry.promise.floor;
        let idle = |key: u32, entry: &Entry| {
            let spare = |(owed, shard): (&u32, Staff)| shard.idle.saturating_sub(*owed);
            entry.owed.iter().zip(staffs(key)).map(spare).sum::<u32>()
        };
        let at_rest = others()
            .filter(|(_, entry)| beyond(entry) && (!entry.wanting() || entry.keeps() > poor + 1))
            .filter(|(key, entry)| {
                entry.retiring || entry.keeps() > poor || staffs(**key).iter().any(|shard| shard.rested)
            })
            .map(|(key, entry)| (idle(*key, entry), *key))
            .filter(|(idle, _)| *idle > 0)
            .max();
        let rich = || {
            let richer = others().filter(|(_, entry)| beyond(entry) && entry.keeps() > poor + 1);
            richer.max_by_key(|(_, entry)| entry.keeps()).map(|(key, _)| *key)
        };
        let own = || others().find(|(_, entry)| entry.name == *name && poor == 0).map(|(key, _)| *key);
        let key = at_rest.map(|(_, key)| key).or_else(rich).or_else(own)?;
        // From the shard that has an idle one, else from the one that has most.
        let owed = self.entries.get(&key).map(|entry| &entry.owed)?;
        let left = owed.iter().zip(staffs(key)).map(|(owed, shard)| {
            (shard.idle.saturating_sub(*owed).min(1), shard.workers.saturating_sub(*owed))
        });
        let (shard, _) = left.enumerate().max_by_key(|(_, left)| *left)?;
        Some((key, u16::try_from(shard).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests;
