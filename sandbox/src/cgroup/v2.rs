//! Version 2. Written after the kernel's documentation; not yet verified on a host that has it.
//!
//! A slot's own processes live in the leaf `init`, because a group with controllers enabled for its
//! children must hold no process itself.

use std::path::{Path, PathBuf};

use cgroups_rs::fs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode};

use super::files::{self, whole_pages};
use super::{CgroupError, Leaf, SlotLimits};
use crate::limits::CPU_PERIOD_US;

const CONTROLLERS: &str = "+memory +pids +cpu";

/// The one hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Mount(PathBuf);

impl Mount {
    pub(super) fn detect() -> Option<Self> {
        is_cgroup2_unified_mode().then(|| Self(PathBuf::from(UNIFIED_MOUNTPOINT)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn create_slot(&self, name: &Path) -> Result<Slot, CgroupError> {
        let directory = self.0.join(name);
        let root = directory.parent().unwrap_or(&self.0);
        files::create(root)?;
        files::write(root, "cgroup.subtree_control", CONTROLLERS)?;
        files::create(&directory.join("init"))?;
        files::write(&directory, "cgroup.subtree_control", "+memory")?;
        Ok(Slot(directory))
    }
}

/// One group with a leaf for the runner and one for each worker.
#[derive(Debug)]
pub(crate) struct Slot(PathBuf);

impl Slot {
    pub(super) fn directories(&self) -> [PathBuf; 1] {
        [self.0.clone()]
    }

    pub(super) fn attach(&self, pid: libc::pid_t) -> Result<(), CgroupError> {
        files::attach(&self.0.join("init"), pid)
    }

    pub(super) fn set_limits(&self, limits: &SlotLimits) -> Result<(), CgroupError> {
        limit_memory(&self.0, limits.memory)?;
        files::write_and_read_back(&self.0, "pids.max", &limits.pids.to_string())?;
        let quota = limits.cpu_quota_us().map_or("max".to_owned(), |quota| quota.to_string());
        files::write_and_read_back(&self.0, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))
    }

    pub(super) fn leaf(&self, index: u64) -> Leaf {
        let directory = self.0.join(format!("w{index}"));
        Leaf { directory, oom_file: "memory.events.local", usage_file: "memory.current", limit: limit_memory }
    }

    pub(super) fn oom_kills(&self) -> u64 {
        files::counter(&self.0.join("init/memory.events.local"), "oom_kill")
    }
}

fn limit_memory(directory: &Path, bytes: u64) -> Result<(), CgroupError> {
    files::write_and_read_back(directory, "memory.max", &whole_pages(bytes).to_string())?;
    files::write_and_read_back(directory, "memory.swap.max", "0")
}
