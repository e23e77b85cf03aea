//! Ending what is in groups, and removing them: the daemon's own at its end, and those that a daemon left
//! behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CgroupError, Cgroups};
use crate::sys;

/// How long the processes of groups may take to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Groups, each counted once for each hierarchy.
    pub groups: usize,
    /// Processes that were still running.
    pub processes: usize,
}

/// A daemon, as it stands in the names of its groups: `<pid>-<start>-<namespace>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// In clock ticks since boot, so that a recycled pid is told apart.
    started: u64,
    /// Inode of its PID namespace: the pid means nothing in any other.
    namespace: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.started, self.namespace)
    }
}

impl Owner {
    /// This process.
    fn this() -> io::Result<Self> {
        // Its pid where this /proc was mounted, which is where pids of other daemons are looked up as well.
        let stat = fs::read_to_string("/proc/self/stat")?;
        let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok());
        let (Some(pid), Some(started)) = (pid, start_time(&stat)) else {
            return Err(io::Error::other("it does not say when this process started"));
        };
        Ok(Self { pid, started, namespace: pid_namespace()? })
    }

    /// From the name of a slot, `<owner>.<index>` in decimal numbers. `None` for every other name: that group
    /// was made by somebody else.
    fn of_slot(name: &str) -> Option<Self> {
        let (owner, index) = name.split_once('.')?;
        let mut parts = owner.splitn(3, '-').map(decimal);
        let (pid, started, namespace) = (parts.next()??, parts.next()??, parts.next()??);
        decimal(index)?;
        Some(Self { pid: u32::try_from(pid).ok()?, started, namespace })
    }

    /// Whether it is certain that no such daemon runs any more. Of another PID namespace nothing is certain.
    fn is_gone(self, namespace: u64) -> bool {
        if self.namespace != namespace {
            return false;
        }
        // Whoever has this pid now names himself, and not always in UTF-8.
        match fs::read(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => {
                start_time(&String::from_utf8_lossy(&stat)).is_some_and(|started| started != self.started)
            }
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
            }
        }
    }
}

/// A number of digits only: `parse` by itself would take a sign.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Start time in clock ticks since boot, from the text of a `stat` file.
fn start_time(stat: &str) -> Option<u64> {
    // The name, in parentheses, may contain anything: count from behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

/// This process as a name of groups.
pub(super) fn daemon_name() -> Result<String, CgroupError> {
    let failed = |error| CgroupError { path: PathBuf::from("/proc/self"), error };
    Owner::this().map(|owner| owner.to_string()).map_err(failed)
}

/// Ends and removes the groups of daemons that are gone.
pub fn remove_leftovers(cgroups: &Cgroups) -> Result<Removed, CgroupError> {
    let namespace =
        pid_namespace().map_err(|error| CgroupError { path: PathBuf::from("/proc/self/ns/pid"), error })?;
    remove_where(cgroups, |name| Owner::of_slot(name).is_some_and(|owner| owner.is_gone(namespace)))
}

/// Ends and removes every group of this daemon.
pub fn remove_all_of(cgroups: &Cgroups) -> Result<Removed, CgroupError> {
    let prefix = format!("{}.", cgroups.daemon());
    remove_where(cgroups, |name| name.starts_with(&prefix))
}

/// One that cannot be removed keeps none of the others.
fn remove_where(cgroups: &Cgroups, ours: impl Fn(&str) -> bool) -> Result<Removed, CgroupError> {
    let roots = cgroups.roots();
    let found: Vec<_> = roots.iter().map(|root| children(root)).collect();
    let is_ours = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(&ours);
    let groups: Vec<_> = found.iter().flatten().flatten().filter(|path| is_ours(path)).cloned().collect();
    let mut ended = BTreeSet::new();
    let outcome = remove_trees(&groups, &mut ended);
    for root in &roots {
        // Stays if another daemon uses it.
        let _ = fs::remove_dir(root);
    }
    found.into_iter().try_for_each(|found| found.map(|_| ()))?;
    outcome.map(|()| Removed { groups: groups.len(), processes: ended.len() })
}

/// The groups below one; none if it is gone itself.
fn children(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let failed = |error| CgroupError { path: directory.to_owned(), error };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a group or a process was not there any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH))
}

/// The processes of a group; none if it is gone. A list that cannot be read is not an empty one.
pub(super) fn processes(group: &Path) -> Result<Vec<libc::pid_t>, CgroupError> {
    let path = group.join("cgroup.procs");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(CgroupError { path, error }),
    }
}

/// Sends SIGKILL to every process of a group, and notes their pids.
fn end_processes(group: &Path, ended: &mut BTreeSet<libc::pid_t>) -> Result<(), CgroupError> {
    for pid in processes(group)? {
        let failed = |error| CgroupError { path: group.to_owned(), error };
        let pidfd = match sys::pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        // A pid that was recycled between the reading and the opening is told by its absence here.
        if processes(group)?.contains(&pid) {
            sys::kill(pidfd.as_fd()).map_err(failed)?;
            ended.insert(pid);
        }
    }
    Ok(())
}

/// Removes a group and those below it, ending the processes in them.
pub(super) fn remove_tree(group: &Path) -> Result<(), CgroupError> {
    remove_trees(&[group.to_owned()], &mut BTreeSet::new())
}

/// Removes groups and those below them, all of them that can be; the failure is that of the first that could not.
fn remove_trees(groups: &[PathBuf], ended: &mut BTreeSet<libc::pid_t>) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut left: Vec<&PathBuf> = groups.iter().collect();
    loop {
        let mut failed = None;
        left.retain(|group| match try_to_remove(group, ended) {
            Ok(()) => false,
            Err(failure) => {
                failed.get_or_insert(failure);
                true
            }
        });
        // What fails for want of descriptors, or because processes are still dying, may succeed soon.
        match failed {
            Some(failure) if Instant::now() >= deadline => return Err(failure),
            Some(_) => {}
            None => return Ok(()),
        }
        // The kernel tells nobody when a version 1 group becomes empty.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes first, in the whole tree: what forks in one group lands in the same.
fn try_to_remove(group: &Path, ended: &mut BTreeSet<libc::pid_t>) -> Result<(), CgroupError> {
    end_processes(group, ended)?;
    for child in children(group)? {
        try_to_remove(&child, ended)?;
    }
    match fs::remove_dir(group) {
        Err(error) if !is_gone(&error) => Err(CgroupError { path: group.to_owned(), error }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_slots_have_an_owner() {
        let owner = Owner { pid: 71, started: 90_210, namespace: 4_026_531_836 };
        assert_eq!(Owner::of_slot(&format!("{owner}.12")), Some(owner));
        for name in [
            "",
            "innocent",
            "innocent.0",
            "71",
            "71.0",
            "71-90210.0",
            "71-90210-4026531836",
            "71-90210-4026531836.",
            "71-90210-4026531836.0.0",
            "71-90210-4026531836.w0",
            "71-90210-4026531836-1.0",
            "71--90210-1.0",
            "-71-90210-1.0",
            "+71-90210-1.0",
            " 71-90210-1.0",
            "71-90210-1.0\n",
            "71-90210-0x1.0",
            "4294967296-1-1.0",
            "71-99999999999999999999-1.0",
        ] {
            assert_eq!(Owner::of_slot(name), None, "{name:?}");
        }
    }

    #[test]
    fn this_process_lives_and_an_earlier_one_of_its_pid_does_not() {
        let this = Owner::this().expect("has a /proc");
        assert!(!this.is_gone(this.namespace));
        let earlier = Owner { started: this.started - 1, ..this };
        assert!(earlier.is_gone(this.namespace));
    }

    #[test]
    fn nothing_is_known_of_other_namespaces() {
        let this = Owner::this().expect("has a /proc");
        let elsewhere = Owner { started: this.started - 1, namespace: this.namespace + 1, ..this };
        assert!(!elsewhere.is_gone(this.namespace));
    }
}
