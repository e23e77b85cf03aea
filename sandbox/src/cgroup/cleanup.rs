//! Ending what is in groups, and removing them: the daemon's own at its end, and those that a daemon left
//! behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CgroupError, Cgroups};
use crate::sys;

/// How long the processes of a group may take to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Groups, each counted once for each hierarchy.
    pub groups: usize,
    /// Processes that were still running.
    pub processes: usize,
}

/// This process as a name of groups: its pid and its start time, so that a recycled pid is told apart.
pub(super) fn daemon_name() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", start_time(pid).unwrap_or(0))
}

/// Start time of a process since boot in clock ticks; `None` if there is none.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything: count from behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

/// Whether the daemon that a group's name begins with still runs.
fn owner_lives(name: &str) -> bool {
    let owner = name.split('.').next().unwrap_or_default();
    let Some((pid, started)) = owner.split_once('-') else { return false };
    let (Ok(pid), Ok(started)) = (pid.parse::<u32>(), started.parse::<u64>()) else { return false };
    start_time(pid) == Some(started)
}

/// Ends and removes the groups of daemons that are gone.
pub fn remove_leftovers(cgroups: &Cgroups) -> Result<Removed, CgroupError> {
    remove_where(cgroups, |name| !owner_lives(name))
}

/// Ends and removes every group of this daemon.
pub fn remove_all_of(cgroups: &Cgroups) -> Result<Removed, CgroupError> {
    let prefix = format!("{}.", cgroups.daemon());
    remove_where(cgroups, |name| name.starts_with(&prefix))
}

fn remove_where(cgroups: &Cgroups, ours: impl Fn(&str) -> bool) -> Result<Removed, CgroupError> {
    let mut removed = Removed::default();
    let mut ended = BTreeSet::new();
    for root in cgroups.roots() {
        let mut groups: Vec<PathBuf> = children(&root)
            .into_iter()
            .filter(|path| path.file_name().and_then(OsStr::to_str).is_some_and(&ours))
            .collect();
        groups.sort();
        for group in groups {
            ended.extend(end_processes(&group));
            remove_tree(&group)?;
            removed.groups += 1;
        }
        // Stays if another daemon uses it.
        let _ = fs::remove_dir(&root);
    }
    removed.processes = ended.len();
    Ok(removed)
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Sends SIGKILL to every process below a group; returns their pids.
fn end_processes(group: &Path) -> Vec<libc::pid_t> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<libc::pid_t> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for pid in &pids {
        // A pid that was recycled between the reading and the opening is told by its absence here.
        if let Ok(pidfd) = sys::pidfd_open(*pid)
            && fs::read_to_string(group.join("cgroup.procs"))
                .is_ok_and(|now| now.lines().any(|line| line.parse() == Ok(*pid)))
        {
            let _ = sys::kill(pidfd.as_fd());
        }
    }
    pids.extend(children(group).iter().flat_map(|child| end_processes(child)));
    pids
}

/// Removes a group and those below it, waiting while processes in them are still dying.
pub(super) fn remove_tree(group: &Path) -> Result<(), CgroupError> {
    for child in children(group) {
        remove_tree(&child)?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                end_processes(group);
                // The kernel tells nobody when a version 1 group becomes empty.
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(CgroupError { path: group.to_owned(), error }),
        }
    }
}
