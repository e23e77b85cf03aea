//! How many processes a function has, as the kernel counts them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::GONE;
use crate::clock;
use crate::cpu::Tree;
use crate::family::families;
use crate::interrupt;
use crate::server::Server;

/// So often the group is looked at.
const LOOK: Duration = Duration::from_millis(4);
/// So often all processes are looked at for those that are left; that takes a while itself.
const LOOK_FOR_LEFT: Duration = Duration::from_millis(50);
/// The template, and its init.
const WITHOUT_WORKERS: usize = 2;

/// How many processes there were at a time, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) processes: usize,
}

/// Counts the processes of a loaded function: one short read, whatever their number.
#[derive(Debug)]
pub(super) struct Counter {
    group: File,
}

/// A counter at work.
#[derive(Debug)]
pub(super) struct Counting {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Counter {
    /// Of a daemon's one function; `None` if it has no worker just now.
    pub(super) fn of(daemon: &Server) -> Result<Option<Self>> {
        let families = families(&Tree::of(daemon.pid())?);
        let Some(family) = families.first() else { return Ok(None) };
        let Ok(groups) = fs::read_to_string(format!("/proc/{}/cgroup", family.template)) else {
            return Ok(None);
        };
        let path = group_file(&groups).context("the function has no group that counts processes")?;
        Ok(Some(Self { group: File::open(&path).with_context(|| format!("opening {path}"))? }))
    }

    /// Workers now; `None` once the group is gone.
    pub(super) fn workers(&self) -> Option<usize> {
        self.processes().map(|processes| processes.saturating_sub(WITHOUT_WORKERS))
    }

    fn processes(&self) -> Option<usize> {
        let mut text = [0; 24];
        let length = self.group.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    }

    /// Counts from now on, beside what else goes on.
    pub(super) fn start(self) -> Counting {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                samples.push(Sample { at: clock::now_ns(), processes: self.processes().unwrap_or(0) });
                thread::sleep(LOOK);
            }
            samples
        });
        Counting { stop, thread }
    }
}

impl Counting {
    /// What was counted.
    pub(super) fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The file that has the number of processes, from the text of `/proc/PID/cgroup`: of either version.
fn group_file(groups: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let of_pids = controllers.split(',').any(|controller| controller == "pids");
        let mount = if of_pids { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
        let file = format!("{mount}{path}/pids.current");
        (of_pids || controllers.is_empty() && fs::exists(&file).unwrap_or(false)).then_some(file)
    })
}

/// Tells a function's processes from the daemon's others: they have a user of their own, and an init.
#[derive(Debug)]
pub(super) struct Owner {
    daemon: u32,
    /// The function's.
    user: u32,
    /// That of inits, which parked runners have as well.
    of_inits: u32,
}

impl Owner {
    /// Of a daemon's one function, which has just answered.
    ///
    /// # Errors
    /// If it has no worker any more.
    pub(super) fn of(daemon: &Server) -> Result<Self> {
        let families = families(&Tree::of(daemon.pid())?);
        let family = families.first().context("the function has no worker")?;
        let user = |pid| user(pid).context("a process of the function is gone");
        Ok(Self { daemon: daemon.pid(), user: user(family.template)?, of_inits: user(family.init)? })
    }

    /// How many there are: those of its user, and inits that have nothing below them.
    ///
    /// # Errors
    /// If the daemon is gone.
    pub(super) fn count(&self) -> Result<usize> {
        let tree = Tree::of(self.daemon).context("looking for processes of the function")?;
        let alive = tree.nodes.iter().filter(|node| !node.zombie);
        let of_function = |pid| {
            let below = || tree.nodes.iter().any(|node| node.parent == pid && !node.zombie);
            user(pid).is_some_and(|user| user == self.user || user == self.of_inits && !below())
        };
        Ok(alive.filter(|node| of_function(node.process.pid)).count())
    }

    /// Waits until there is none, and gives how long that took; `None` if some are left after [`GONE`].
    ///
    /// # Errors
    /// If the daemon is gone, or the run is interrupted.
    pub(super) fn wait_until_gone(&self) -> Result<Option<Duration>> {
        let begin = Instant::now();
        while self.count()? > 0 {
            ensure!(!interrupt::requested(), "interrupted");
            if begin.elapsed() >= GONE {
                return Ok(None);
            }
            thread::sleep(LOOK_FOR_LEFT);
        }
        Ok(Some(begin.elapsed()))
    }
}

/// The user of a process; `None` if it is gone.
fn user(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_group_is_found_among_those_of_the_first_version() {
        let groups = "9:name=systemd:/\n8:pids:/hairtrigger/1.2\n2:cpu,cpuacct:/hairtrigger/1.2\n0::/\n";
        assert_eq!(group_file(groups).as_deref(), Some("/sys/fs/cgroup/pids/hairtrigger/1.2/pids.current"));
        assert_eq!(group_file("0::/there/is/none\n"), None);
    }

    #[test]
    fn a_process_has_a_user_until_it_is_gone() {
        assert_eq!(
            user(std::process::id()),
            Some(fs::metadata("/proc/self").map(|own| own.uid()).expect("own"))
        );
        assert_eq!(user(1 << 23), None);
    }
}
