//! Control groups: memory, processes and CPU of a function, and memory of each of its workers.
//!
//! Everything lies below one group of our own, `hairtrigger` unless configured otherwise, as
//! `hairtrigger/<daemon>.<slot>`; `<daemon>` is the daemon's pid, start time and PID namespace, so that a
//! later daemon knows what was left behind by one that is gone. Groups of any other name are not touched. A
//! *slot* holds one runner and later its workers. A *leaf* below it (in the memory hierarchy) holds one
//! worker, so that the kernel ends the worker that is greedy and not another, and says so.
//!
//! Attaching a process waits for a grace period of about 10 ms, so runners are cloned into their slot where the
//! kernel can do that (version 2), and otherwise attached before they are needed; they only have their limits
//! rewritten. Every limit is read back.

mod cleanup;
mod files;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use cleanup::{Removed, remove_all_of, remove_leftovers};

use crate::limits::CPU_PERIOD_US;

/// What a slot is limited to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotLimits {
    /// Memory of all its processes, in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
    /// CPU time per time; `None` is no limit.
    pub cpu: Option<f64>,
}

impl SlotLimits {
    /// CPU time per [`CPU_PERIOD_US`], in microseconds.
    pub(crate) fn cpu_quota_us(&self) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the manifest"
        )]
        self.cpu.map(|cores| ((cores * CPU_PERIOD_US as f64) as u64).max(1000))
    }
}

/// A group that could not be made, written or read back.
#[derive(Debug)]
pub struct CgroupError {
    /// The file or directory.
    pub path: PathBuf,
    /// What went wrong.
    pub error: io::Error,
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroup {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for CgroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Which hierarchies this host has, and where our own group is.
#[derive(Clone, Debug)]
pub struct Cgroups {
    kind: Kind,
    /// Name of the group of our own.
    root: String,
    /// Name of this daemon in it.
    daemon: String,
}

#[derive(Clone, Debug)]
enum Kind {
    V1(v1::Mounts),
    V2(v2::Place),
}

impl Cgroups {
    /// Looks at what is mounted. `root` is the name of the group of our own.
    ///
    /// On version 2, if this process is in a group that was delegated to it, it moves into a leaf of that. To be
    /// called before there are other processes of ours.
    pub fn detect(root: &str) -> Result<Self, CgroupError> {
        let kind = match v2::Place::detect()? {
            Some(place) => Kind::V2(place),
            None => Kind::V1(v1::Mounts::detect()?),
        };
        Ok(Self { kind, root: root.to_owned(), daemon: cleanup::daemon_name()? })
    }

    /// Directories that hold the group of our own, one a hierarchy.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        match &self.kind {
            Kind::V1(mounts) => mounts.all().map(|mount| mount.join(&self.root)).collect(),
            Kind::V2(place) => vec![place.base().join(&self.root)],
        }
    }

    /// Makes slot `index` of this daemon.
    pub(crate) fn create_slot(&self, index: u64) -> Result<Slot, CgroupError> {
        let name = Path::new(&self.root).join(format!("{}.{index}", self.daemon));
        match &self.kind {
            Kind::V1(mounts) => mounts.create_slot(&name).map(Slot::V1),
            Kind::V2(place) => place.create_slot(&name).map(Slot::V2),
        }
    }

    /// Name of this daemon among the groups.
    pub(crate) fn daemon(&self) -> &str {
        &self.daemon
    }
}

/// The groups of one runner.
#[derive(Debug)]
pub(crate) enum Slot {
    V1(v1::Slot),
    V2(v2::Slot),
}

impl Slot {
    /// The group to clone the first of its processes into, and with it all that it will fork. `None` where that
    /// cannot be done: there it is [attached](Self::attach).
    pub(crate) fn birthplace(&self) -> Result<Option<OwnedFd>, CgroupError> {
        match self {
            Self::V1(_) => Ok(None),
            Self::V2(slot) => slot.birthplace().map(Some),
        }
    }

    /// Attaches a process, unless it was cloned into its place. Waits for a grace period of about 10 ms unless
    /// another attach was just made.
    pub(crate) fn attach(&self, pid: libc::pid_t) -> Result<(), CgroupError> {
        match self {
            Self::V1(slot) => slot.attach(pid),
            Self::V2(_) => Ok(()),
        }
    }

    /// Writes the limits and reads them back.
    pub(crate) fn set_limits(&self, limits: &SlotLimits) -> Result<(), CgroupError> {
        match self {
            Self::V1(slot) => slot.set_limits(limits),
            Self::V2(slot) => slot.set_limits(limits),
        }
    }

    /// Names a leaf for one worker. It is made by [`Leaf::create`].
    pub(crate) fn leaf(&self, index: u64) -> Leaf {
        match self {
            Self::V1(slot) => slot.leaf(index),
            Self::V2(slot) => slot.leaf(index),
        }
    }

    /// Out-of-memory kills that the kernel counted among the slot's own processes.
    pub(crate) fn oom_kills(&self) -> u64 {
        match self {
            Self::V1(slot) => slot.oom_kills(),
            Self::V2(slot) => slot.oom_kills(),
        }
    }

    /// Where the kernel counts the CPU time of all its processes; `None` if it does so nowhere.
    pub(crate) fn cpu_count(&self) -> Option<CpuCount> {
        match self {
            Self::V1(slot) => slot.cpu_count(),
            Self::V2(slot) => Some(slot.cpu_count()),
        }
    }

    /// The file that says whether the kernel runs its processes only where no other group's want to.
    pub(crate) fn idle_file(&self) -> PathBuf {
        let group = match self {
            Self::V1(slot) => slot.cpu_group(),
            Self::V2(slot) => slot.cpu_group(),
        };
        group.join("cpu.idle")
    }

    /// Removes the groups. Its processes must be gone, or be going.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let directories = match self {
            Self::V1(slot) => slot.directories(),
            Self::V2(slot) => slot.directories().to_vec(),
        };
        directories.into_iter().try_for_each(|directory| cleanup::remove_tree(&directory))
    }
}

/// Whether two processes, neither of them this one's, are in one PID namespace. Each function has its own.
fn share_namespace(one: libc::pid_t, other: libc::pid_t) -> bool {
    let namespace = |pid| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace(one).is_some_and(|of_one| namespace(other) == Some(of_one))
}

/// Where the kernel counts the CPU time of a function's processes, those included that have ended.
#[derive(Clone, Debug)]
pub struct CpuCount {
    file: PathBuf,
    read: fn(&Path) -> Option<Duration>,
}

impl CpuCount {
    /// What it says; `None` once the group is gone.
    pub fn read(&self) -> Option<Duration> {
        (self.read)(&self.file)
    }
}

impl PartialEq for CpuCount {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

/// The group of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    directory: PathBuf,
    /// Where the slot's own processes are.
    home: PathBuf,
    /// A group without limits, whose processes nobody ends.
    outside: PathBuf,
    oom_file: &'static str,
    usage_file: &'static str,
    limit: fn(&Path, u64) -> Result<(), CgroupError>,
    /// The limit that it has, in bytes, once it was made and that was read back; 0 before.
    limited: Arc<AtomicU64>,
}

impl Leaf {
    /// Makes the group, unless it is there, and sets its memory limit in bytes, unless it has that: one that had another
    /// worker before keeps it.
    pub(crate) fn create(&self, memory: u64) -> Result<(), CgroupError> {
        if self.limited.load(Ordering::Relaxed) == memory {
            return Ok(());
        }
        files::create(&self.directory)?;
        (self.limit)(&self.directory, memory)?;
        self.limited.store(memory, Ordering::Relaxed);
        Ok(())
    }

    /// Attaches a worker.
    pub(crate) fn attach(&self, pid: libc::pid_t) -> Result<(), CgroupError> {
        // Somebody may have removed the group: then it is made anew for the next.
        files::attach(&self.directory, pid).inspect_err(|_| self.limited.store(0, Ordering::Relaxed))
    }

    /// Moves out whatever is in the group, once its worker has ended: a process that was given the worker's
    /// pid before the pid was written. One of the same function goes to where the slot's own processes are, so that
    /// it does not escape its limits; any other to a group that has none and whose processes nobody ends.
    pub(crate) fn give_back(&self) -> Result<(), CgroupError> {
        for pid in cleanup::processes(&self.directory)? {
            let kin = cleanup::processes(&self.home)?.into_iter().any(|own| share_namespace(own, pid));
            match files::attach(if kin { &self.home } else { &self.outside }, pid) {
                Err(failure) if failure.error.raw_os_error() != Some(libc::ESRCH) => return Err(failure),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What the kernel counts here, in bytes; 0 if there is no such group yet.
    pub(crate) fn usage(&self) -> u64 {
        files::number_in(&self.directory.join(self.usage_file)).unwrap_or(0)
    }

    /// Out-of-memory kills that the kernel counted here.
    pub(crate) fn oom_kills(&self) -> u64 {
        files::counter_in(&self.directory.join(self.oom_file), "oom_kill").unwrap_or(0)
    }
}
