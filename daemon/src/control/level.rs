//! The level of confinement that a daemon runs at: what was asked for, what the host has, and what goes with it.

use anyhow::{Context, Result};
use hairtrigger_sandbox::SandboxConfig;
use hairtrigger_sandbox::cgroup::{Cgroups, Removed, remove_leftovers};
use hairtrigger_sandbox::janitor::Janitor;
use hairtrigger_sandbox::level::Level;
use hairtrigger_sandbox::probe::{self, Row};

use super::registry::Deployed;
use super::state;
use crate::config::Config;

/// What is asked of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This level, and no other: what an operator has written.
    Exactly(Level),
    /// The best that this user reaches: *full* as root, otherwise *userns*.
    Best {
        /// Whether *bare* will do where *userns* is not reached.
        allow_degraded: bool,
    },
}

/// The host does not let this user confine functions as was asked; a sentence, and a line for each confinement that
/// does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CannotConfine(pub(crate) String);

/// Finds the level, trying every confinement of it: what is missing is refused by name before anything is served
/// with less.
///
/// Must be called while the process has one thread.
pub(crate) fn settle(wanted: Wanted, config: &Config) -> Result<Level, CannotConfine> {
    let root = own_uid() == 0;
    let candidates = match (wanted, root) {
        (Wanted::Exactly(Level::Full), false) => {
            let why = "hairtrigger confines functions at level full, for which it must be started as root";
            return Err(CannotConfine(why.to_owned()));
        }
        (Wanted::Exactly(level @ (Level::Userns | Level::Bare)), true) => {
            return Err(CannotConfine(format!(
                "level {level} is for an ordinary user: as root, functions would have root's own uid"
            )));
        }
        (Wanted::Exactly(level), _) => vec![level],
        (Wanted::Best { .. }, true) => vec![Level::Full],
        (Wanted::Best { .. }, false) => vec![Level::Userns, Level::Bare],
    };
    let options = probe::Options {
        cgroup: format!("{}-probe-{}", config.cgroup, std::process::id()),
        uid_base: config.uid_base,
        uid_count: config.uid_count,
    };
    choose(wanted, &candidates, &probe::confinements(&options, &candidates))
}

/// The choice, given what came of the trials.
fn choose(wanted: Wanted, candidates: &[Level], rows: &[Row]) -> Result<Level, CannotConfine> {
    let lacking = |level: Level| -> Vec<String> {
        rows.iter()
            .filter(|row| row.about.levels.contains(&level) && !row.holds())
            .map(|row| {
                let reason = row.reason.as_deref().unwrap_or("it does not hold");
                format!("\n  {} (Linux {}): {reason}", row.about.name, row.about.least_kernel)
            })
            .collect()
    };
    let refused = |level: Level, hint: &str| {
        let lacking = lacking(level).concat();
        Err(CannotConfine(format!(
            "this host cannot confine functions at level {level}; `hairtrigger doctor` says more{hint}{lacking}"
        )))
    };
    match (wanted, candidates) {
        (_, [first, ..]) if lacking(*first).is_empty() => Ok(*first),
        (Wanted::Best { allow_degraded }, [first, second]) if lacking(*second).is_empty() => {
            if allow_degraded {
                return Ok(*second);
            }
            refused(*first, &format!(", and --allow-degraded makes do with level {second}"))
        }
        (_, [.., last]) => refused(*last, ""),
        (_, []) => unreachable!("there is always a candidate"),
    }
}

/// What a level does not enforce, for the user to read: a heading, and a line each. Nothing at level *full*.
pub(crate) fn warnings(level: Level) -> Vec<String> {
    let missing = level.not_enforced();
    if missing.is_empty() {
        return Vec::new();
    }
    let heading = format!("functions are confined at level {level}; compared with level full:");
    std::iter::once(heading).chain(missing.iter().map(|what| format!("  {what}"))).collect()
}

/// What a daemon has of its host at its level. To be kept until the daemon's end: the janitor sets to work when it
/// is dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    sandbox: SandboxConfig,
    /// What an earlier daemon has left and this one has removed.
    pub(crate) removed: Removed,
    _janitor: Option<Janitor>,
}

impl Ground {
    /// Takes what the configuration's level needs: at *full* the control groups and a janitor for them, otherwise nothing.
    ///
    /// Must be called while the process has one thread: the janitor is a fork of it.
    pub(crate) fn take(config: &Config) -> Result<Self> {
        let sandbox = match config.level {
            Level::Full => {
                let cgroups = Cgroups::detect(&config.cgroup)?;
                let removed =
                    remove_leftovers(&cgroups).context("what an earlier daemon left cannot be removed")?;
                let janitor = Janitor::start(&cgroups).context("the janitor cannot be started")?;
                let sandbox = SandboxConfig::Full { cgroups, ns_init_uid: config.uid_base };
                return Ok(Self { sandbox, removed, _janitor: Some(janitor) });
            }
            Level::Userns => SandboxConfig::Userns,
            Level::Bare => SandboxConfig::Bare,
        };
        Ok(Self { sandbox, removed: Removed::default(), _janitor: None })
    }

    /// What the sandbox is to confine with.
    pub(crate) fn sandbox(&self) -> SandboxConfig {
        self.sandbox.clone()
    }
}

/// The uid of each function: at level *full* one of its own, which it keeps; otherwise the user's.
pub(crate) fn uids(config: &Config, functions: &[Deployed]) -> Result<Vec<u32>> {
    match config.level {
        Level::Full => state::uids(config, functions),
        Level::Userns | Level::Bare => Ok(vec![own_uid(); functions.len()]),
    }
}

fn own_uid() -> u32 {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use hairtrigger_sandbox::probe::{About, State};

    use super::*;

    const BOTH: &[Level] = &[Level::Userns, Level::Bare];

    /// A trial that a level needs alone, and one that both need.
    fn rows(userns: State, both: State) -> Vec<Row> {
        let row = |name: &str, levels, state| {
            let about = About::new(name, "3.8", "", "").at(levels);
            Row { about, state, reason: Some("no".to_owned()), errno: None }
        };
        vec![row("namespaces", &BOTH[..1], userns), row("filter", BOTH, both)]
    }

    #[test]
    fn the_best_is_taken_and_the_second_only_when_allowed() {
        let (strict, lax) = (Wanted::Best { allow_degraded: false }, Wanted::Best { allow_degraded: true });
        let all = rows(State::Holds, State::Holds);
        assert_eq!(choose(strict, BOTH, &all), Ok(Level::Userns));
        assert_eq!(choose(lax, BOTH, &all), Ok(Level::Userns));
        let some = rows(State::Refused, State::Holds);
        assert_eq!(choose(lax, BOTH, &some), Ok(Level::Bare));
        let refusal = choose(strict, BOTH, &some).unwrap_err().to_string();
        let expected = "this host cannot confine functions at level userns; `hairtrigger doctor` says more, and \
                        --allow-degraded makes do with level bare\n  namespaces (Linux 3.8): no";
        assert_eq!(refusal, expected);
    }

    #[test]
    fn what_not_even_the_last_has_is_named_for_the_last() {
        let none = rows(State::Refused, State::Missing);
        for allow_degraded in [false, true] {
            let refusal = choose(Wanted::Best { allow_degraded }, BOTH, &none).unwrap_err().to_string();
            let expected = "this host cannot confine functions at level bare; `hairtrigger doctor` says more\n  \
                            filter (Linux 3.8): no";
            assert_eq!(refusal, expected);
        }
    }

    #[test]
    fn an_operators_level_is_taken_or_refused() {
        let some = rows(State::Refused, State::Holds);
        assert_eq!(choose(Wanted::Exactly(Level::Bare), &BOTH[1..], &some), Ok(Level::Bare));
        let refusal = choose(Wanted::Exactly(Level::Userns), &BOTH[..1], &some).unwrap_err().to_string();
        assert!(
            refusal
                .ends_with("at level userns; `hairtrigger doctor` says more\n  namespaces (Linux 3.8): no")
        );
    }
}
