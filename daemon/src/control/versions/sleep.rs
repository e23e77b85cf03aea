//! How a version that nobody wants anything of loses its template: only after every shard has agreed to begin nothing, so
//! that no request meets a template that is on its way out.

use std::time::{Duration, Instant};

use super::{Effect, Standing, Versions};
use crate::units::Time;

/// Whether a version has a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// It has one, or will.
    Awake,
    /// So many shards have not said yet whether it may go.
    Dozing { left: u16, wanted: bool },
    /// It has none, or the one that it has is ending. Somebody may have wanted it meanwhile.
    Asleep { wanted: bool },
}

impl Versions {
    /// A shard has nothing of a version any more, or it was loaded and nobody has asked for it. Returns after which time
    /// [`Versions::doze`] is to be called; not if some of its workers are kept warm, or if that is to be called anyway.
    pub(in crate::control) fn quiet(&mut self, key: u32, now: Instant) -> Option<Duration> {
        let entry = self.entries.get_mut(&key)?;
        let concurrency = &entry.deployed.manifest.concurrency;
        if concurrency.provisioned > 0 || matches!(entry.standing, Standing::Retiring(_)) {
            return None;
        }
        entry.quiet_since = now;
        (!std::mem::replace(&mut entry.nap, true)).then_some(concurrency.unload)
    }

    /// A while has passed: if it was quiet all that time, the version goes to sleep, unless a shard objects. Returns after
    /// which time this is to be called again, if it is.
    pub(in crate::control) fn doze(&mut self, key: u32, now: Instant) -> Option<Duration> {
        let entry = self.entries.get_mut(&key)?;
        let due = entry.quiet_since + entry.deployed.manifest.concurrency.unload;
        if now < due {
            return Some(due - now);
        }
        if entry.standing == Standing::Coming {
            return Some(entry.deployed.manifest.concurrency.unload);
        }
        entry.nap = false;
        if entry.standing == Standing::Present && entry.template && entry.sleep == Sleep::Awake {
            entry.round = entry.round.wrapping_add(1);
            entry.sleep = Sleep::Dozing { left: self.shards, wanted: false };
            self.effects.push(Effect::Doze(key, entry.round));
        }
        None
    }

    /// A shard has said whether a version may sleep. Returns after which time [`Versions::doze`] is to be called again, if
    /// it may not.
    pub(in crate::control) fn dozes(
        &mut self,
        key: u32,
        round: u32,
        agreed: bool,
        now: Instant,
    ) -> Option<Duration> {
        let entry = self.entries.get_mut(&key)?;
        // One that was asked before the template went, and has come to answer only now, was asked something else.
        let Sleep::Dozing { left, wanted } = entry.sleep else { return None };
        if round != entry.round {
            return None;
        }
        let (left, wanted) = (left.saturating_sub(1), wanted || !agreed);
        entry.sleep = Sleep::Dozing { left, wanted };
        if left > 0 {
            return None;
        }
        if wanted || entry.standing != Standing::Present {
            entry.sleep = Sleep::Awake;
            self.effects.push(Effect::Wake(key));
            // Whatever it was that somebody wanted, nobody may be left to say when it is over.
            return self.quiet(key, now);
        }
        entry.sleep = Sleep::Asleep { wanted };
        let (name, unload) = (&entry.deployed.manifest.name, entry.deployed.manifest.concurrency.unload);
        let sentence =
            format!("Function {name} had nothing to do for {}; the next request loads it.", Time(unload));
        self.effects.extend([Effect::Unload(key), Effect::Say(sentence)]);
        None
    }

    /// A shard wants something of a version that it was told to sleep.
    pub(in crate::control) fn wanted_again(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        match &mut entry.sleep {
            Sleep::Awake => {}
            Sleep::Dozing { wanted, .. } => *wanted = true,
            // It is loaded once that has ended.
            Sleep::Asleep { wanted } if entry.template => *wanted = true,
            Sleep::Asleep { .. } => {
                entry.sleep = Sleep::Awake;
                self.load(key);
            }
        }
    }
}
