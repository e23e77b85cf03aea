//! Version 2: one hierarchy, of which somebody else, mostly systemd, has the upper part.
//!
//! The group of our own lies in what was *delegated* to this daemon, so that whatever limits its service limits
//! its functions: of systemd's unit with `Delegate=yes` that is the unit's own group. A group with controllers
//! enabled for its children must hold no process itself, so the daemon moves into a leaf there. A daemon that
//! nobody has delegated anything to, as one that a person has started, has the group of its own at the top of the
//! hierarchy, provided that the controllers are enabled there: what the top has is not ours to change.
//!
//! For the same reason a slot's own processes live in its leaf `init`. A runner is cloned into it, which costs
//! nothing, while attaching it would wait for a grace period.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cgroups_rs::fs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode};

use super::files::{self, Figures, whole_pages};
use super::{CgroupError, CpuCount, Leaf, SlotLimits};
use crate::limits::CPU_PERIOD_US;
use crate::sys;
use crate::userns::own_ids;

/// What a slot is limited by.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Where out-of-memory kills among a group's own processes are counted.
const OOM_FILE: &str = "memory.events.local";
/// What a worker is limited by.
const OF_LEAVES: [&str; 1] = ["memory"];
/// The daemon's own leaf of a delegated group. No group of our own can be called so: a dot is no part of a name in
/// the configuration.
const DAEMON: &str = ".daemon";
/// The leaf of a slot with the init and the template, and with workers that have not got their own yet.
const INIT: &str = "init";
/// What `cgroup.procs` takes for whoever writes.
const THIS_PROCESS: libc::pid_t = 0;
/// How systemd, since 251, marks a group that it has delegated.
const DELEGATED: &CStr = c"user.delegate";

/// Where in the hierarchy we are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Top of the hierarchy.
    top: PathBuf,
    /// Where the group of our own is made.
    base: PathBuf,
}

impl Place {
    /// `None` where version 2 is not what the controllers belong to.
    pub(super) fn detect() -> Result<Option<Self>, CgroupError> {
        if !is_cgroup2_unified_mode() {
            return Ok(None);
        }
        let top = PathBuf::from(UNIFIED_MOUNTPOINT);
        let own = own_group(&top)?;
        let Some(base) = delegated(&top, &own)? else {
            // The controllers that the children of the top have.
            need(&top, "cgroup.subtree_control", "enabled for groups at the top", || {
                let own =
                    "start the daemon in a group of its own, as its systemd unit does with Delegate=yes";
                format!("{own}, or write +{} to this file", CONTROLLERS.join(" +"))
            })?;
            return Ok(Some(Self { base: top.clone(), top }));
        };
        need(&base, "cgroup.controllers", "delegated to this daemon", || {
            "its systemd unit needs Delegate=yes".to_owned()
        })?;
        if base == own {
            let leaf = base.join(DAEMON);
            files::create(&leaf)?;
            files::attach(&leaf, THIS_PROCESS)?;
        }
        enable(&base, &CONTROLLERS)?;
        Ok(Some(Self { top, base }))
    }

    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn create_slot(&self, name: &Path) -> Result<Slot, CgroupError> {
        let directory = self.base.join(name);
        let root = directory.parent().unwrap_or(&self.base);
        files::create(root)?;
        enable(root, &CONTROLLERS)?;
        files::create(&directory.join(INIT))?;
        enable(&directory, &OF_LEAVES)?;
        let oom = Figures::new(directory.join(INIT).join(OOM_FILE));
        Ok(Slot { directory, top: self.top.clone(), oom })
    }
}

/// The group of this process; the top, if it is in none that is mounted here.
fn own_group(top: &Path) -> Result<PathBuf, CgroupError> {
    let path = Path::new("/proc/self/cgroup");
    let text = fs::read_to_string(path).map_err(|error| CgroupError { path: path.to_owned(), error })?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(if own.starts_with("..") { top.to_owned() } else { top.join(own) })
}

/// The group that was delegated to a process: its own, or the one above, if it was started in a leaf of that
/// (`DelegateSubgroup=`) or has moved there.
fn delegated(top: &Path, own: &Path) -> Result<Option<PathBuf>, CgroupError> {
    for group in own.ancestors().take(2).take_while(|group| *group != top) {
        if is_delegated(group)? {
            return Ok(Some(group.to_owned()));
        }
    }
    Ok(None)
}

/// Whether a group was delegated to whoever this process is: not to a user in whose session root has been called.
fn is_delegated(group: &Path) -> Result<bool, CgroupError> {
    let failed = |error| CgroupError { path: group.to_owned(), error };
    if fs::metadata(group).map_err(failed)?.uid() != own_ids().0 {
        return Ok(false);
    }
    let path = CString::new(group.as_os_str().as_bytes()).map_err(|error| failed(io::Error::other(error)))?;
    let mut value = [0_u8; 1];
    match sys::attribute(&path, DELEGATED, &mut value) {
        Ok(length) => Ok(value[..length] == *b"1"),
        // Not marked, marked with something else, or a kernel without such marks for groups.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::ERANGE | libc::ENOTSUP)) => {
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Fails unless `file` of a group, a list of controllers, has all that we need.
fn need(group: &Path, file: &str, what: &str, hint: impl Fn() -> String) -> Result<(), CgroupError> {
    let path = group.join(file);
    let failed = |error| CgroupError { path: path.clone(), error };
    let text = fs::read_to_string(&path).map_err(failed)?;
    match CONTROLLERS.iter().find(|name| !text.split_whitespace().any(|there| there == **name)) {
        None => Ok(()),
        Some(name) => {
            Err(failed(io::Error::other(format!("the {name} controller is not {what}; {}", hint()))))
        }
    }
}

/// Enables controllers for the children of a group, which must hold no process itself.
fn enable(group: &Path, controllers: &[&str]) -> Result<(), CgroupError> {
    let file = "cgroup.subtree_control";
    files::write(group, file, &format!("+{}", controllers.join(" +"))).map_err(|failure| {
        if failure.error.raw_os_error() != Some(libc::EBUSY) {
            return failure;
        }
        let why = "other processes are in this group, so that it cannot be divided; start the daemon in one of its own";
        CgroupError { error: io::Error::new(failure.error.kind(), why), ..failure }
    })
}

/// One group with a leaf for the runner and one for each worker.
#[derive(Debug)]
pub(crate) struct Slot {
    directory: PathBuf,
    top: PathBuf,
    oom: Figures,
}

impl Slot {
    pub(super) fn directories(&self) -> [PathBuf; 1] {
        [self.directory.clone()]
    }

    pub(super) fn cpu_group(&self) -> &Path {
        &self.directory
    }

    pub(super) fn cpu_count(&self) -> CpuCount {
        let microseconds = |file: &Path| files::counter_in(file, "usage_usec").map(Duration::from_micros);
        CpuCount { file: self.directory.join("cpu.stat"), read: microseconds }
    }

    pub(super) fn birthplace(&self) -> Result<OwnedFd, CgroupError> {
        let path = self.directory.join(INIT);
        File::open(&path).map(OwnedFd::from).map_err(|error| CgroupError { path, error })
    }

    pub(super) fn set_limits(&self, limits: &SlotLimits) -> Result<(), CgroupError> {
        limit_memory(&self.directory, limits.memory)?;
        files::write_and_read_back(&self.directory, "pids.max", &limits.pids.to_string())?;
        let quota = limits.cpu_quota_us().map_or("max".to_owned(), |quota| quota.to_string());
        files::write_and_read_back(&self.directory, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))
    }

    pub(super) fn leaf(&self, index: u64) -> Leaf {
        Leaf {
            directory: self.directory.join(format!("w{index}")),
            home: self.directory.join(INIT),
            // The one group that may hold processes beside other groups.
            outside: self.top.clone(),
            oom_file: OOM_FILE,
            usage_file: "memory.current",
            limit: limit_memory,
            limited: Arc::default(),
        }
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.oom.counter("oom_kill").unwrap_or(0)
    }
}

fn limit_memory(directory: &Path, bytes: u64) -> Result<(), CgroupError> {
    files::write_and_read_back(directory, "memory.max", &whole_pages(bytes).to_string())?;
    files::write_and_read_back(directory, "memory.swap.max", "0")
}
