//! What all versions share, and whether it is enough: descriptors for workers and connections, and the workers of the host.

use hairtrigger_sandbox::limits::{
    AT_REST, DESCRIPTOR_RESERVE, DESCRIPTORS_PER_WORKER, LEAST_CONNECTIONS, MAX_CONNECTIONS, MAX_FUNCTIONS,
};
use hairtrigger_sandbox::monotonic_ns;

use super::super::registry::Deployed;
use super::super::room::{Say, Staff};
use super::{Effect, Entry, Versions};
use crate::shard::nanoseconds;

impl Versions {
    /// Why this function cannot be begun beside the others.
    pub(in crate::control) fn objection(&self, function: &Deployed) -> Option<String> {
        let name = &function.manifest.name;
        if !self.present.contains_key(name) && self.present.len() >= MAX_FUNCTIONS {
            return Some(format!("there are {MAX_FUNCTIONS} functions, as many as one daemon takes"));
        }
        self.objection_to_all(&[function])
    }

    /// Why these functions cannot be begun beside what there is; there may be both versions of each for a while.
    pub(in crate::control) fn objection_to_all(&self, functions: &[&Deployed]) -> Option<String> {
        let more: usize = functions.iter().map(|function| function.manifest.concurrency.max as usize).sum();
        self.objection_to_promises(functions).or_else(|| self.objection_to_workers(self.workers() + more))
    }

    /// Whether the host can keep what these functions, and those of other names, are promised.
    fn objection_to_promises(&self, functions: &[&Deployed]) -> Option<String> {
        let most = self.max_workers? as usize;
        let replaced = |name: &str| functions.iter().any(|function| function.manifest.name == name);
        let others = self.names().into_iter().filter(|name| !replaced(name));
        let others = others.filter_map(|name| {
            let key = self.coming.get(&name).or_else(|| self.present.get(&name))?;
            self.entries.get(key).map(|entry| &entry.deployed.manifest.concurrency)
        });
        let promised: usize = functions
            .iter()
            .map(|function| &function.manifest.concurrency)
            .chain(others)
            .map(|concurrency| concurrency.reserved.max(concurrency.provisioned) as usize)
            .sum();
        (promised > most).then(|| {
            format!(
                "{promised} workers are reserved or provisioned by all functions together, and max_workers is {most}; raise \
                 that, or lower concurrency.reserved or concurrency.provisioned"
            )
        })
    }

    fn objection_to_workers(&self, workers: usize) -> Option<String> {
        (self.room_beside(workers) < LEAST_CONNECTIONS).then(|| {
            format!(
                "{} file descriptors are too few for {workers} workers and {LEAST_CONNECTIONS} connections; raise \
                 RLIMIT_NOFILE (LimitNOFILE of a systemd unit) or lower concurrency.max",
                self.descriptors
            )
        })
    }

    /// How many connections all shards together may have; `None`: as many as descriptors allow.
    pub(in crate::control) fn cap_connections(&mut self, cap: Option<u32>) {
        self.cap = cap;
        if self.connections_each() != self.most_connections {
            self.route_anew();
        }
    }

    /// A shard that has heard of so many grants of a version wants so many workers beyond those that it has.
    pub(in crate::control) fn shard_wants(&mut self, key: u32, shard: u16, count: u32, heard: u32) {
        if let Some(room) = &mut self.room {
            room.wants(key, shard, count, heard);
        }
    }

    /// So many of a shard's workers of a version are gone, or were not needed.
    pub(in crate::control) fn shard_returns(&mut self, key: u32, shard: u16, count: u32) {
        if let Some(room) = &mut self.room {
            room.returns(key, shard, count);
        }
    }

    /// What follows from what was written into the book of all workers.
    pub(super) fn settle_room(&mut self) {
        let Self { room, entries, effects, .. } = self;
        let Some(room) = room else { return };
        let now = monotonic_ns();
        let staffs = |key: u32| {
            let Some(Entry { version, .. }) = entries.get(&key) else { return Vec::new() };
            let staff = |((_, idle), since)| {
                let rested = idle > 0 && now.saturating_sub(since) >= nanoseconds(AT_REST);
                Staff { idle, rested }
            };
            version.standings().zip(version.idle_since()).map(staff).collect()
        };
        effects.extend(room.settle(now, staffs).into_iter().map(|say| match say {
            Say::Grant { key, shard } => Effect::Grant(key, shard),
            Say::GiveUp { key, shard } => Effect::GiveUp(key, shard),
        }));
    }

    /// Workers that all versions together may have, those included that retire.
    fn workers(&self) -> usize {
        self.entries.values().map(|entry| usize::from(entry.version.profile.max)).sum()
    }

    /// Connections that so many workers leave descriptors for.
    fn room_beside(&self, workers: usize) -> usize {
        let workers = self.max_workers.map_or(workers, |most| workers.min(most as usize));
        self.descriptors.saturating_sub(workers * DESCRIPTORS_PER_WORKER + DESCRIPTOR_RESERVE)
    }

    pub(super) fn connections_each(&self) -> usize {
        let room = self.room_beside(self.workers()) / usize::from(self.shards);
        let share = self.cap.map_or(usize::MAX, |cap| (cap as usize).div_ceil(usize::from(self.shards)));
        room.min(share).clamp(1, MAX_CONNECTIONS)
    }
}
