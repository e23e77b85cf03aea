//! What a daemon has while nobody wants anything.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::process::{Process, eventually, eventually_equal};

/// Descriptors and processes, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    descriptors: BTreeMap<String, usize>,
    processes: BTreeMap<String, usize>,
}

impl Rest {
    fn look(daemon: &Daemon<'_>) -> Self {
        let kind = |what: &str| what.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let tree = daemon.tree();
        // Of the janitor there is one at most, and it may have been killed.
        let names = tree.iter().map(Process::name).filter(|name| name != "ht-janitor");
        Self {
            descriptors: counted(daemon.process.descriptors().values().map(|target| kind(target))),
            processes: counted(names),
        }
    }

    /// Once it has not changed for a while.
    pub(crate) fn await_quiet(daemon: &Daemon<'_>) -> Self {
        let mut before = Self::look(daemon);
        eventually("the daemon is at rest", || {
            // Longer than workers stay without work.
            sleep(Duration::from_secs(1));
            let now = Self::look(daemon);
            let quiet = now == before;
            before = now;
            quiet.then_some(())
        });
        before
    }

    /// Waits until it is so again.
    pub(crate) fn await_again(&self, daemon: &Daemon<'_>) {
        eventually_equal("the daemon has again what it had", self, || Self::look(daemon));
    }
}

fn counted(all: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}
