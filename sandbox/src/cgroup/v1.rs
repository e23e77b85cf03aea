//! Version 1, also beside a version 2 hierarchy without controllers ("hybrid").

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cgroups_rs::fs::Controllers;
use cgroups_rs::fs::hierarchies::V1;

use super::files::{self, Figures, whole_pages};
use super::{CgroupError, CpuCount, Leaf, SlotLimits};
use crate::limits::CPU_PERIOD_US;

/// Where the controllers are mounted.
#[derive(Clone, Debug)]
pub(super) struct Mounts {
    memory: PathBuf,
    pids: PathBuf,
    cpu: PathBuf,
    /// Which only counts, and is mounted with the one before, apart, or not at all.
    cpuacct: Option<PathBuf>,
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
            cpuacct: mounts.get_mount_point(Controllers::CpuAcct).map(|(mount, _)| mount),
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        let apart = self.cpuacct.as_ref().filter(|mount| **mount != self.cpu);
        [&self.memory, &self.pids, &self.cpu].into_iter().chain(apart).map(PathBuf::as_path)
    }

    pub(super) fn create_slot(&self, name: &Path) -> Result<Slot, CgroupError> {
        let slot = Slot {
            oom: Figures::new(self.memory.join(name).join(OOM_FILE)),
            memory: self.memory.join(name),
            pids: self.pids.join(name),
            cpu: self.cpu.join(name),
            cpuacct: self.cpuacct.as_ref().map(|mount| mount.join(name)),
        };
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
    /// May be the one before.
    cpuacct: Option<PathBuf>,
    oom: Figures,
}

impl Slot {
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let apart = self.cpuacct.as_ref().filter(|directory| **directory != self.cpu);
        [&self.memory, &self.pids, &self.cpu].into_iter().chain(apart).cloned().collect()
    }

    pub(super) fn cpu_group(&self) -> &Path {
        &self.cpu
    }

    pub(super) fn cpu_count(&self) -> Option<CpuCount> {
        let nanoseconds = |file: &Path| files::number_in(file).map(Duration::from_nanos);
        self.cpuacct.as_ref().map(|group| CpuCount { file: group.join("cpuacct.usage"), read: nanoseconds })
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
            oom_file: OOM_FILE,
            usage_file: "memory.usage_in_bytes",
            limit: limit_memory,
            limited: Arc::default(),
        }
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.oom.counter("oom_kill").unwrap_or(0)
    }
}

/// Where out-of-memory kills are counted.
const OOM_FILE: &str = "memory.oom_control";
/// The limit of buffers of TCP connections.
const TCP_MEMORY: &str = "memory.kmem.tcp.limit_in_bytes";

fn limit_memory(directory: &Path, bytes: u64) -> Result<(), CgroupError> {
    files::write_and_read_back(directory, "memory.limit_in_bytes", &whole_pages(bytes).to_string())?;
    // What does not fit must end the worker, not slow the host down.
    files::write_and_read_back(directory, "memory.swappiness", "0")?;
    // Buffers of TCP are counted apart, and outlive whoever filled them: unbounded, they would be taken from what the
    // host as a whole may have, the daemon's own clients included. A kernel without TCP has no such file.
    if directory.join(TCP_MEMORY).exists() {
        files::write_and_read_back(directory, TCP_MEMORY, &whole_pages(bytes).to_string())?;
    }
    Ok(())
}
