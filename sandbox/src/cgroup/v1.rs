//! Version 1, also beside a version 2 hierarchy without controllers ("hybrid").

use std::io;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::Controllers;
use cgroups_rs::fs::hierarchies::V1;

use super::files::{self, whole_pages};
use super::{CgroupError, Leaf, SlotLimits};
use crate::limits::CPU_PERIOD_US;

/// Where the controllers are mounted.
#[derive(Clone, Debug)]
pub(super) struct Mounts {
    memory: PathBuf,
    pids: PathBuf,
    cpu: PathBuf,
}

impl Mounts {
    pub(super) fn detect() -> Result<Self, CgroupError> {
        let mounts = V1::new();
        let find = |controller: Controllers| {
            let name = controller.to_string();
            mounts.get_mount_point(controller).map(|(mount, _)| mount).ok_or_else(|| CgroupError {
                path: PathBuf::from("/proc/self/mountinfo"),
                error: io::Error::other(format!("the {name} controller is not mounted")),
            })
        };
        Ok(Self {
            memory: find(Controllers::Mem)?,
            pids: find(Controllers::Pids)?,
            cpu: find(Controllers::Cpu)?,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.memory, &self.pids, &self.cpu].into_iter().map(PathBuf::as_path)
    }

    pub(super) fn create_slot(&self, name: &Path) -> Result<Slot, CgroupError> {
        let slot =
            Slot { memory: self.memory.join(name), pids: self.pids.join(name), cpu: self.cpu.join(name) };
        slot.directories().iter().try_for_each(|directory| files::create(directory))?;
        Ok(slot)
    }
}

/// One group in each hierarchy.
#[derive(Debug)]
pub(crate) struct Slot {
    memory: PathBuf,
    pids: PathBuf,
    cpu: PathBuf,
}

impl Slot {
    pub(super) fn directories(&self) -> [PathBuf; 3] {
        [self.memory.clone(), self.pids.clone(), self.cpu.clone()]
    }

    pub(super) fn attach(&self, pid: libc::pid_t) -> Result<(), CgroupError> {
        self.directories().iter().try_for_each(|directory| files::attach(directory, pid))
    }

    pub(super) fn set_limits(&self, limits: &SlotLimits) -> Result<(), CgroupError> {
        limit_memory(&self.memory, limits.memory)?;
        files::write_and_read_back(&self.pids, "pids.max", &limits.pids.to_string())?;
        files::write_and_read_back(&self.cpu, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
        let quota = limits.cpu_quota_us().map_or("-1".to_owned(), |quota| quota.to_string());
        files::write_and_read_back(&self.cpu, "cpu.cfs_quota_us", &quota)
    }

    pub(super) fn leaf(&self, index: u64) -> Leaf {
        Leaf {
            directory: self.memory.join(format!("w{index}")),
            home: self.memory.clone(),
            outside: self.memory.parent().unwrap_or(&self.memory).to_owned(),
            oom_file: "memory.oom_control",
            usage_file: "memory.usage_in_bytes",
            limit: limit_memory,
        }
    }

    pub(super) fn oom_kills(&self) -> u64 {
        files::counter(&self.memory.join("memory.oom_control"), "oom_kill")
    }
}

fn limit_memory(directory: &Path, bytes: u64) -> Result<(), CgroupError> {
    files::write_and_read_back(directory, "memory.limit_in_bytes", &whole_pages(bytes).to_string())?;
    // What does not fit must end the worker, not slow the host down.
    files::write_and_read_back(directory, "memory.swappiness", "0")
}
