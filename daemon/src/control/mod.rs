//! The control plane: starts everything in the right order, follows what becomes of functions, passes
//! their output on, and shuts down.

mod admin;
pub(crate) mod command;
mod follow;
mod holds;
pub(crate) mod level;
mod listener;
mod log;
mod notify;
mod output;
pub(crate) mod registry;
mod reload;
mod report;
mod room;
mod sink;
mod state;
mod usage;
mod versions;
mod watchdog;
mod watched;

#[cfg(any(test, fuzzing))]
pub(crate) use output::fuzz as fuzz_output;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hairtrigger_sandbox::Sandbox;
use hairtrigger_sandbox::cgroup::Removed;
use hairtrigger_sandbox::limits::{BIND_PATIENCE, LAST_LINES, RING_MEMORY, TURN};
use tokio::sync::mpsc::unbounded_channel;

use crate::config::{Config, Origin};
use crate::shard::drain::CutOff;
use crate::shard::inbox::{Inbox, Report, ToShard};
use crate::shard::meter::Share;
use crate::shard::pulse::Pulse;
use crate::shard::record::{Record, Records};
use crate::shard::ring::{lockable_memory, patiently};
use crate::shard::{Shard, ShardConfig};
use command::Wishes;
use follow::{Control, Ears, End};
use holds::Holds;
use level::Ground;
use listener::Listeners;
use log::Log;
use registry::Deployed;
use reload::Reloads;
use versions::Versions;
use watchdog::Watchdog;
use watched::Watched;

/// How a command line front puts the events of the daemon's life. Each text is a line, or a few; `None` says
/// nothing.
pub(crate) trait Front {
    /// The daemon serves on these addresses, and on a unix socket; its functions are still loading.
    fn serving(&self, addresses: &[SocketAddr], socket: Option<&Path>, removed: &Removed) -> String;
    /// A function is loaded.
    fn loaded(&self, function: &Deployed, took: Duration) -> Option<String>;
    /// A worker of a function was forked.
    fn started(&self, function: &Deployed, took: Duration) -> Option<String>;
    /// A function is not loaded; if the reason may pass, it is tried again after a while.
    fn failed(&self, function: &Deployed, reason: &str, again: Option<Duration>) -> Option<String>;
    /// An invocation is over; with its CPU time, if that was wanted and is known.
    fn invoked(&self, record: &Record, cpu: Option<&Share>) -> Option<String>;
}

/// What a daemon is started with.
pub(crate) struct Launch<'l> {
    pub(crate) config: &'l Config,
    /// What the configuration was read from, if it can be read again.
    pub(crate) origin: Option<Origin>,
    /// What is served from the start.
    pub(crate) functions: Vec<Deployed>,
    pub(crate) front: &'l dyn Front,
    /// Of the connections over TCP, only requests whose Host names this machine are served.
    pub(crate) local_only: bool,
    /// What it is asked for while it runs.
    pub(crate) wishes: Wishes,
    /// Whether the front is told of each invocation.
    pub(crate) records: bool,
}

/// Runs the daemon until a signal ends it. Returns what was not finished then.
///
/// That the host reaches the configuration's level must have been found out before; see [`level::settle`].
pub(crate) fn run(launch: Launch<'_>) -> Result<CutOff> {
    let Launch { config, origin, functions, front, local_only, wishes, records } = launch;
    let records = records.then(|| Arc::new(Records::new(config.report)));
    raise_limits();
    let _lock = state::lock(&config.state)?;
    let uids = level::uids(config, &functions)?;
    let shards = config.shards;
    let mut versions = Versions::new(shards, hairtrigger_sandbox::descriptor_limit()?, config.max_workers);
    versions.cap_connections(config.max_connections);
    for (function, uid) in functions.into_iter().zip(uids) {
        if let Some(objection) = versions.objection(&function) {
            bail!("function {} cannot be served: {objection}", function.manifest.name);
        }
        versions.begin(Arc::new(function), uid, None);
    }
    // Before any thread.
    let ground = Ground::take(config)?;
    let log = Log::start()?;
    // A panic must not wait for somebody to read of it.
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.event(panic.to_string())));
    let mut listeners = Listeners::default();
    let prepared = listeners.prepare(config, shards, BIND_PATIENCE)?;
    let change = listeners.commit(prepared)?;
    let inboxes = (0..shards).map(|_| Inbox::new().map(Arc::new)).collect::<io::Result<Arc<[_]>>>()?;
    let (sink, heard) = sink::sink(Arc::clone(&inboxes));
    let sandbox = Sandbox::start(ground.sandbox(), Box::new(sink))?;
    let (report, reports) = unbounded_channel();
    let (read, readings) = unbounded_channel();
    let mut control = Control {
        sandbox: &sandbox,
        shards: &inboxes,
        versions,
        config: config.clone(),
        listeners,
        reloads: Reloads::new(origin, read),
        ending: false,
        front,
        log: &log,
        holds: Holds::default(),
        loading: HashMap::new(),
    };
    // The shards find in their inboxes what there is to serve before they take the first connection.
    control.carry_out();
    // tokio-uring's runtime is a tokio runtime: the signals and channels of the latter run in it. Its ring comes before those
    // of the shards, which may leave nothing for it.
    let runtime = patiently(|| tokio_uring::Runtime::new(&tokio_uring::builder()))
        .map_err(|error| not_started("the control thread", &error))?;
    let mut threads = Vec::new();
    let mut ends = Vec::new();
    let pulses: Vec<Arc<Pulse>> = (0..shards).map(|_| Arc::default()).collect();
    // Before the shards: if it cannot be started, there is nothing to end. Those that have not begun it does not mind.
    let watchdog = Watchdog::start(pulses.clone(), log.clone())?;
    for (number, listeners) in (0..shards).zip(change.new) {
        let started = start_shard(ShardConfig {
            number,
            listeners,
            peers: Arc::clone(&inboxes),
            report: Report::new(number, report.clone()),
            warden: sandbox.handle(),
            local_only,
            bounded: config.max_workers.is_some(),
            timeouts: config.timeouts,
            records: records.clone(),
            pulse: Arc::clone(&pulses[usize::from(number)]),
        });
        match started {
            Ok(Watched { thread, ended }) => {
                threads.push(thread);
                ends.push(ended);
            }
            Err(error) => {
                end_all(&inboxes);
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(error);
            }
        }
    }
    let result = runtime.block_on(control.run(Ears {
        heard,
        reports,
        wishes,
        readings,
        ends,
        records,
        watchdog: &watchdog,
        removed: ground.removed,
    }));
    // For shards that still run: that is so if the control thread, or one of them, has failed.
    end_all(&inboxes);
    let ended: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    drop(watchdog);
    let mut cut_off = CutOff::default();
    ended.iter().flatten().flatten().for_each(|cut| cut_off += *cut);
    if !cut_off.is_nothing() {
        let several = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        log.event(format!(
            "cut off what was still under way: {}, {}",
            several(cut_off.invocations, "invocation"),
            several(cut_off.connections, "connection")
        ));
    }
    let stopped = sandbox.stop();
    log.flush(LAST_LINES);
    for ended in ended {
        match ended {
            Ok(ended) => drop(ended.context("a shard failed")?),
            Err(_) => bail!("a shard panicked; please report this"),
        }
    }
    if result? == End::Untold {
        bail!("a shard ended by itself; please report this");
    }
    stopped.context("the groups of the functions cannot be removed").map(|()| cut_off)
}

fn end_all(shards: &[Arc<Inbox>]) {
    for shard in shards {
        shard.tell(ToShard::End);
    }
}

/// As many descriptors, and as much memory for rings, as may be: connections, workers and shards are limited by other
/// bounds.
fn raise_limits() {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK] {
        // SAFETY: `limit` outlives both calls.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            if libc::getrlimit(resource, &raw mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &raw const limit);
            }
        }
    }
}

/// Starts the shard's thread and waits until it has its ring: what the kernel lacks is said here.
fn start_shard(config: ShardConfig) -> Result<Watched<io::Result<CutOff>>> {
    let (made, outcome) = std::sync::mpsc::channel();
    let number = config.number;
    let name = format!("shard-{number}");
    let shard = Watched::start(&name, move || {
        hairtrigger_sandbox::take_turns(TURN);
        match Shard::new(config) {
            Ok(shard) => {
                let _ = made.send(None);
                drop(made);
                shard.run()
            }
            Err(error) => {
                let _ = made.send(Some(error));
                Ok(CutOff::default())
            }
        }
    })?;
    match outcome.recv() {
        Ok(None) => Ok(shard),
        Ok(Some(error)) => Err(not_started(&format!("shard {number}"), &error)),
        Err(_) => bail!("the shard panicked while it started; please report this"),
    }
}

/// Why something has no ring, in the words of who can change it.
fn not_started(what: &str, error: &io::Error) -> anyhow::Error {
    let why = if error.kind() == io::ErrorKind::OutOfMemory && lockable_memory().is_some() {
        let shard = RING_MEMORY / 1024;
        format!(
            "all memory that this user may lock is in use (RLIMIT_MEMLOCK, for all his processes together, of which each \
             shard takes {shard} KiB); raise it, or set fewer shards"
        )
    } else {
        error.to_string()
    };
    anyhow!("{what} cannot be started: {why}")
}

/// Makes a directory that only the daemon's user may enter.
fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
