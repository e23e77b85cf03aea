//! File system and network rules by landlock: the layer that still stands when the seccomp policy allows
//! `openat` for the loader.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What is handled: everything of the ABI that has scopes (Linux 6.12), required, not best effort.
const REQUIRED: ABI = ABI::V6;

fn everything_denied() -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .handle_access(AccessNet::from_all(REQUIRED))?
        .scope(Scope::from_all(REQUIRED))?
        .create()
}

/// A ruleset that grants reading below `readable` and nothing else: no writing, no executing, no network,
/// no signals and no abstract sockets beyond the domain.
pub(crate) fn loading(readable: &[&Path]) -> io::Result<RulesetCreated> {
    let mut ruleset = everything_denied().map_err(io::Error::other)?;
    for path in readable {
        let directory = PathFd::new(path).map_err(io::Error::other)?;
        let rule = PathBeneath::new(directory, AccessFs::ReadFile | AccessFs::ReadDir);
        ruleset = ruleset.add_rule(rule).map_err(io::Error::other)?;
    }
    Ok(ruleset)
}

/// A ruleset that grants nothing: a worker's own domain.
pub(crate) fn nothing() -> io::Result<RulesetCreated> {
    everything_denied().map_err(io::Error::other)
}

/// Applies a ruleset to this thread; partial enforcement is an error.
pub(crate) fn enforce(ruleset: RulesetCreated) -> io::Result<()> {
    // no_new_privs is set already, and inside a worker the policy no longer lets it be set.
    let status = ruleset.no_new_privs(false).restrict_self().map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err(io::Error::other(format!("landlock is only {:?}", status.ruleset)))
        }
    }
}
