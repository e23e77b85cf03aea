//! What functions have used: the totals of each by its name, which outlive its versions and go with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::cgroup::CpuCount;
use serde::Serialize;

use crate::outcome::LABELS;
use crate::shard::record::Start;
use crate::shard::totals::{Sum, Totals};

/// The totals of all functions, and what their templates have used.
#[derive(Debug, Default)]
pub(super) struct Usages {
    by_name: BTreeMap<String, Arc<Totals>>,
    /// Of loaded versions, by key.
    loaded: HashMap<u32, Loaded>,
}

/// A version that was loaded, until nothing of it runs any more.
#[derive(Debug)]
struct Loaded {
    name: String,
    totals: Arc<Totals>,
    /// What its template has used, as far as it was told.
    template: Duration,
    count: Option<CpuCount>,
}

impl Usages {
    /// The totals of a function, which begin with its first version.
    pub(super) fn of(&mut self, name: &str, shards: u16) -> Arc<Totals> {
        let totals = self.by_name.entry(name.to_owned()).or_insert_with(|| Arc::new(Totals::new(shards)));
        Arc::clone(totals)
    }

    /// There is no such function any more; one of its name that comes later begins anew.
    pub(super) fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// A version was loaded.
    pub(super) fn loaded(
        &mut self,
        key: u32,
        name: &str,
        totals: &Arc<Totals>,
        cpu: Duration,
        count: Option<CpuCount>,
    ) {
        totals.templates.add(nanoseconds(cpu));
        let (name, totals) = (name.to_owned(), Arc::clone(totals));
        self.loaded.insert(key, Loaded { name, totals, template: cpu, count });
    }

    /// A version's template has used so much by now.
    pub(super) fn template(&mut self, key: u32, cpu: Duration) {
        let Some(loaded) = self.loaded.get_mut(&key) else { return };
        // Of one that has just ended there is less to be known than before.
        let more = cpu.saturating_sub(loaded.template);
        loaded.template += more;
        loaded.totals.templates.add(nanoseconds(more));
    }

    /// A version's groups go, which have counted this.
    pub(super) fn group_gone(&mut self, key: u32, count: &CpuCount, cpu: Duration) {
        // The version may be loaded anew already.
        if let Some(loaded) = self.loaded.get_mut(&key)
            && loaded.count.as_ref() == Some(count)
        {
            loaded.totals.groups.add(nanoseconds(cpu));
            loaded.count = None;
        }
    }

    /// Nothing is left of a version, but perhaps of its groups, whose last word is still to come.
    pub(super) fn unloaded(&mut self, key: u32) {
        if self.loaded.get(&key).is_some_and(|loaded| loaded.count.is_none()) {
            self.loaded.remove(&key);
        }
    }

    /// How many versions are known.
    #[cfg(test)]
    pub(super) fn versions(&self) -> usize {
        self.loaded.len()
    }

    /// Every function there is.
    pub(super) fn views(&self) -> Vec<View<'_>> {
        let mut groups: HashMap<&str, Duration> = HashMap::new();
        for loaded in self.loaded.values() {
            let cpu = loaded.count.as_ref().and_then(CpuCount::read);
            // One that has just gone is not counted before its last word is here.
            if let Some(cpu) = cpu {
                *groups.entry(&loaded.name).or_default() += cpu;
            }
        }
        let all = self.by_name.iter();
        all.map(|(name, totals)| {
            let gone = Duration::from_nanos(totals.groups.get());
            let present = groups.get(name.as_str()).copied().unwrap_or_default();
            View::new(name, &totals.sum(), gone + present)
        })
        .collect()
    }
}

/// What the operator is told of one function.
#[derive(Debug, Serialize)]
pub(super) struct View<'v> {
    name: &'v str,
    invocations: u64,
    /// Those that there were.
    outcomes: BTreeMap<&'static str, u64>,
    /// How those came by their workers.
    starts: BTreeMap<&'static str, u64>,
    wall_us: u64,
    queue_us: u64,
    cpu_us: u64,
    overhead_cpu_us: u64,
    /// What the kernel has counted for all its processes; nothing where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_cpu_us: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    workers: Workers,
}

#[derive(Debug, Serialize)]
struct Workers {
    started: u64,
    ended: u64,
}

impl<'v> View<'v> {
    fn new(name: &'v str, sum: &Sum, group: Duration) -> Self {
        let some = |(label, count): (&&'static str, &u64)| (*count > 0).then_some((*label, *count));
        let labels = Start::ALL.map(Start::label);
        Self {
            name,
            invocations: sum.outcomes.iter().sum(),
            outcomes: LABELS.iter().zip(&sum.outcomes).filter_map(some).collect(),
            starts: labels.iter().zip(&sum.starts).filter_map(some).collect(),
            wall_us: microseconds(sum.wall),
            queue_us: microseconds(sum.queue),
            cpu_us: microseconds(sum.cpu),
            overhead_cpu_us: microseconds(sum.overhead),
            group_cpu_us: Some(microseconds(group)).filter(|group| *group > 0),
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
            workers: Workers { started: sum.workers_started, ended: sum.workers_ended },
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
