//! What the daemon remembers between starts: its lock, and which uid is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::private_directory;
use super::registry::Deployed;
use crate::config::Config;

/// Takes the state directory for this daemon, for as long as the file is kept.
pub(crate) fn lock(state: &Path) -> Result<File> {
    private_directory(state)
        .with_context(|| format!("cannot make the state directory {}", state.display()))?;
    let path = state.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another daemon uses the state directory {}", state.display()),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The uid of each function. A function keeps its uid for ever; no two have the same.
pub(crate) fn uids(config: &Config, functions: &[Deployed]) -> Result<Vec<u32>> {
    let path = config.state.join("uids.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let written: BTreeMap<String, u32> =
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let mut known = written.clone();
    // The first is the ns-inits'.
    let range = config.uid_base + 1..=config.uid_base + (config.uid_count - 1);
    known.retain(|_, uid| range.contains(uid));
    let mut taken: BTreeSet<u32> = known.values().copied().collect();
    if taken.len() != known.len() {
        bail!("{} gives one uid to two functions; remove the file to have them given anew", path.display());
    }
    let mut uids = Vec::new();
    for function in functions {
        let name = &function.manifest.name;
        let uid = match known.get(name) {
            Some(uid) => *uid,
            None => {
                let free = range.clone().find(|uid| !taken.contains(uid));
                let Some(uid) = free else { bail!("no uid is left for function {name}; raise uid_count") };
                taken.insert(uid);
                known.insert(name.clone(), uid);
                uid
            }
        };
        uids.push(uid);
    }
    // On a busy disk, taking the place of another file can take seconds.
    if known == written {
        return Ok(uids);
    }
    let fresh = path.with_extension("toml.new");
    fs::write(&fresh, toml::to_string(&known)?)
        .and_then(|()| fs::rename(&fresh, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(uids)
}
