//! `density`: what an idle worker costs in memory.
//!
//! The daemon keeps a thousand workers of one function warm. The kernel says what each of them has to itself
//! (`smaps_rollup`), what its page tables take (`VmPTE`), and what is resident of its channel, which it shares with the
//! daemon. What the machine as a whole has less than before stands beside it: that has in it what no process is charged
//! with, such as stacks in the kernel, groups and pipes, and also whatever else went on here.
//!
//! Workers are looked at twice: as they were started, and after each has served one invocation.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::build::with_bench_plugin;
use crate::cold::hairtrigger_starts;
use crate::cpu::{Snapshot, Tree};
use crate::facts::Facts;
use crate::family::families;
use crate::load::Burst;
use crate::process::{allowed_cores, wait_until};
use crate::server::{FunctionFiles, Server};
use crate::stats::{Estimate, median, quantile};
use crate::{Output, interrupt};

/// How long a thousand workers may take to start, however busy the machine.
const STARTS: Duration = Duration::from_secs(120);
/// The daemon is done with what follows a start, groups above all, once its tree uses less than [`SETTLED_NS`] of CPU
/// time in this time.
const SETTLING: Duration = Duration::from_millis(500);
/// See [`SETTLING`].
const SETTLED_NS: u64 = 5_000_000;
/// What a worker is to have to itself at most, in KiB.
const GOAL_KIB: f64 = 200.0;
/// How long each worker is busy with its one invocation, in ms for each worker: none may be free for a second one.
const BUSY_MS: usize = 2;

/// What an idle worker costs in memory, of many of one function.
#[derive(Debug, Args)]
pub(crate) struct DensityArgs {
    /// Workers [default: 1000; with --smoke 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Memory of one worker, in KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    private: f64,
    page_tables: f64,
}

/// Memory of the machine, in KiB.
#[derive(Clone, Copy, Debug)]
struct Machine {
    free: f64,
    /// What is neither free nor to be had back from caches.
    used: f64,
}

/// Figures of all workers at one moment, in KiB.
#[derive(Debug, Serialize)]
struct Figures {
    /// What a worker has to itself, page tables and channel included.
    worker_private: Estimate,
    worker_private_max_kib: f64,
    /// Its pages.
    pages_kib: f64,
    page_tables_kib: f64,
    /// Resident pages of its channel.
    channel_kib: f64,
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    worker_private_kib: f64,
    worker_private_kib_lo95: f64,
    worker_private_kib_hi95: f64,
    goal_kib: f64,
    /// The same once each has served an invocation.
    served_private_kib: f64,
    /// By how much free memory of the machine is less, a worker.
    memfree_kib_per_worker: f64,
    /// By how much used memory is more: without caches, which come and go by themselves.
    used_kib_per_worker: f64,
    started: Figures,
    served: Figures,
    workers: usize,
    machine: Facts,
}

/// Runs the bench and prints its result.
///
/// # Errors
/// If the daemon does not start that many workers, or the run is interrupted.
pub(crate) fn run(args: &DensityArgs) -> Result<bool> {
    let workers = usize::from(args.workers.unwrap_or(if args.output.smoke { 8 } else { 1000 }));
    let facts = Facts::read();
    let artefacts = with_bench_plugin(args.daemon.as_deref())?;
    let cores = allowed_cores().context("which cores may be used")?;

    let one = manifest(1);
    let function = FunctionFiles { name: "idle", plugin: &artefacts.plugin, manifest: &one };
    let daemon = Server::daemon(&cores, &artefacts.daemon, std::slice::from_ref(&function))?;
    settle(&daemon)?;
    let before = Machine::read()?;
    eprintln!("starting {workers} workers");
    let many = manifest(workers);
    daemon.change(&FunctionFiles { manifest: &many, ..function })?;
    let pids = wait_for(&daemon, workers)?;
    settle(&daemon)?;
    let after = Machine::read()?;
    let started = figures(&daemon, &pids)?;

    eprintln!("having each serve once");
    serve_once(&daemon, workers)?;
    settle(&daemon)?;
    ensure!(wait_for(&daemon, workers)? == pids, "the workers are others than before");
    let served = figures(&daemon, &pids)?;

    // Few workers.
    #[allow(clippy::cast_precision_loss)]
    let more = (workers - 1).max(1) as f64;
    let report = Report {
        bench: "density",
        worker_private_kib: started.worker_private.median,
        worker_private_kib_lo95: started.worker_private.lo95,
        worker_private_kib_hi95: started.worker_private.hi95,
        goal_kib: GOAL_KIB,
        served_private_kib: served.worker_private.median,
        memfree_kib_per_worker: (before.free - after.free) / more,
        used_kib_per_worker: (after.used - before.used) / more,
        started,
        served,
        workers,
        machine: facts,
    };
    args.output.print(&report, table)?;
    Ok(true)
}

fn manifest(workers: usize) -> String {
    format!("[concurrency]\nprovisioned = {workers}\nmax = {workers}\nqueue = 4096\n")
}

/// Waits until one version is there, with so many workers that are ready; gives their process ids, in order.
fn wait_for(daemon: &Server, workers: usize) -> Result<Vec<u32>> {
    let deadline = Instant::now() + STARTS;
    loop {
        ensure!(!interrupt::requested(), "interrupted");
        let families = families(&Tree::of(daemon.pid())?);
        let ready = hairtrigger_starts(daemon)?.fork_us.len() > workers || workers == 1;
        if let ([family], true) = (families.as_slice(), ready)
            && family.workers.len() == workers
        {
            let mut pids = family.workers.clone();
            pids.sort_unstable();
            return Ok(pids);
        }
        let found: Vec<usize> = families.iter().map(|family| family.workers.len()).collect();
        ensure!(
            Instant::now() < deadline,
            "{workers} workers were not ready within {} s; by function, there are {found:?}",
            STARTS.as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the daemon has no more to do.
fn settle(daemon: &Server) -> Result<()> {
    let mut last = Snapshot::of(daemon.pid())?;
    let mut quiet = || {
        std::thread::sleep(SETTLING);
        let Ok(now) = Snapshot::of(daemon.pid()) else { return true };
        let spent = now.since(&last).ns;
        last = now;
        spent < SETTLED_NS || interrupt::requested()
    };
    ensure!(wait_until(STARTS, &mut quiet), "the daemon does not come to rest");
    ensure!(!interrupt::requested(), "interrupted");
    Ok(())
}

/// Gives every worker one invocation: all at once, and each so long that none is free for two.
fn serve_once(daemon: &Server, workers: usize) -> Result<()> {
    let path = format!("/idle?deed=sleep&ms={}", 200 + BUSY_MS * workers);
    let targets = (0..workers).map(|_| daemon.target_of(&path)).collect::<Result<_>>()?;
    let answers = Burst::connect(targets)?.run()?;
    let wrong = answers.iter().find(|answer| answer.status != 200);
    ensure!(wrong.is_none(), "a worker answered {wrong:?}");
    Ok(())
}

fn figures(daemon: &Server, pids: &[u32]) -> Result<Figures> {
    // Few workers, and memory far below 2^52 bytes.
    #[allow(clippy::cast_precision_loss)]
    let channel_kib = channels(daemon)? as f64 / 1024.0 / pids.len() as f64;
    let memory = pids.iter().map(|&pid| Memory::of(pid)).collect::<Result<Vec<_>>>()?;
    let sums: Vec<f64> = memory.iter().map(|of| of.private + of.page_tables + channel_kib).collect();
    let middle =
        |of: fn(&Memory) -> f64| median(&memory.iter().map(of).collect::<Vec<_>>()).context("no workers");
    Ok(Figures {
        worker_private: Estimate::of(&sums).context("no workers")?,
        worker_private_max_kib: quantile(&sums, 1.0).context("no workers")?,
        pages_kib: middle(|of| of.private)?,
        page_tables_kib: middle(|of| of.page_tables)?,
        channel_kib,
    })
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("a worker's memory")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a worker's status")?;
        let private = [("Private_Clean:"), ("Private_Dirty:"), ("Private_Hugetlb:")];
        Ok(Self {
            private: private.iter().map(|name| kib(&smaps, name)).sum::<Option<f64>>().context("a sum")?,
            page_tables: kib(&status, "VmPTE:").context("page tables")?,
        })
    }
}

impl Machine {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo")?;
        let of = |name| kib(&text, name).with_context(|| format!("no {name} in /proc/meminfo"));
        let free = of("MemFree:")?;
        let caches = of("Buffers:")? + of("Cached:")? + of("SReclaimable:")? - of("Shmem:")?;
        Ok(Self { free, used: of("MemTotal:")? - free - caches })
    }
}

/// The number in a line like `Private_Dirty:  96 kB`.
fn kib(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Resident bytes of all channels, which the daemon has as memory files.
fn channels(daemon: &Server) -> Result<u64> {
    /// What the kernel counts in, in bytes.
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(format!("/proc/{}/fd", daemon.pid()))? {
        let path = entry?.path();
        // The daemon may close one in the meantime.
        let Ok(name) = fs::read_link(&path) else { continue };
        if name.to_string_lossy().starts_with("/memfd:hairtrigger-") {
            bytes += fs::metadata(&path).map_or(0, |file| file.blocks() * BLOCK);
        }
    }
    ensure!(bytes > 0, "the daemon has no channels that can be found");
    Ok(bytes)
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "\n{}\n{} workers of one function, KiB for each\n\n\
         worker           sum (95% bounds)             max      pages   page tables   channel\n",
        report.machine.line(),
        report.workers
    );
    for (name, figures) in [("started", &report.started), ("served once", &report.served)] {
        let sum = figures.worker_private;
        text += &format!(
            "{name:<12}  {:>8.1} ({:>6.1} – {:<6.1})  {:>8.1}   {:>8.1}   {:>11.1}   {:>7.1}\n",
            sum.median,
            sum.lo95,
            sum.hi95,
            figures.worker_private_max_kib,
            figures.pages_kib,
            figures.page_tables_kib,
            figures.channel_kib
        );
    }
    text += &format!(
        "\nThe goal is {:.0} KiB. The machine has {:.1} KiB less free memory a worker, {:.1} without caches: what else\n\
         went on here is in that.",
        report.goal_kib, report.memfree_kib_per_worker, report.used_kib_per_worker
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_to_itself_is_seen() {
        let before = Memory::of(std::process::id()).expect("this process");
        let bytes = vec![7_u8; 32 << 20];
        let after = Memory::of(std::process::id()).expect("this process");
        assert_eq!(bytes[1 << 20], 7);
        let more = after.private - before.private;
        // Other tests of this process allocate and free as well, but not that much.
        assert!((24_000.0..64_000.0).contains(&more), "{more} KiB");
        assert!(after.page_tables > 0.0);
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "Pss_Dirty:  1 kB\nPrivate_Dirty:        96 kB\n";
        assert_eq!(kib(text, "Private_Dirty:"), Some(96.0));
        assert_eq!(kib(text, "Private_Clean:"), None);
    }
}
