//! The control plane: starts everything in the right order, follows what becomes of functions, passes
//! their output on, and shuts down.

#[expect(dead_code, reason = "the interface stands before its two sides")]
pub(crate) mod command;
mod holds;
mod listener;
mod log;
mod output;
pub(crate) mod registry;
mod sink;
mod state;
mod watched;

use hairtrigger_sandbox::limits::{BIND_PATIENCE, LAST_LINES};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::cgroup::{Cgroups, Removed, remove_leftovers};
use hairtrigger_sandbox::janitor::Janitor;
use hairtrigger_sandbox::{Event, Sandbox, SandboxConfig, probe};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::shard::inbox::{Inbox, ToShard};
use crate::shard::{Shard, ShardConfig};
use holds::Holds;
use listener::Listeners;
use log::Log;
use registry::Deployed;
use watched::Watched;

/// How a command line front puts the events of the daemon's life. Each text is a line, or a few.
pub(crate) trait Front {
    /// The daemon serves on this address; its functions are still loading.
    fn serving(&self, address: SocketAddr, removed: &Removed) -> String;
    /// A function is loaded.
    fn loaded(&self, function: &Deployed, took: Duration) -> String;
    /// A worker of a function was forked.
    fn started(&self, function: &Deployed, took: Duration) -> String;
    /// A function is not loaded; if the reason may pass, it is tried again after a while.
    fn failed(&self, function: &Deployed, reason: &str, again: Option<Duration>) -> String;
}

/// The host, or who started the daemon, does not allow what confines functions.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CannotConfine(pub(crate) String);

/// Runs the daemon until a signal ends it.
///
/// With `local_only`, only requests whose Host names this machine are served.
pub(crate) fn run(
    config: &Config,
    functions: Vec<Deployed>,
    front: &dyn Front,
    local_only: bool,
) -> Result<()> {
    require_root()?;
    require_confinements(config)?;
    raise_descriptor_limit();
    let _lock = state::lock(&config.state)?;
    let uids = state::uids(config, &functions)?;
    let cgroups = Cgroups::detect(&config.cgroup)?;
    let removed = remove_leftovers(&cgroups).context("what an earlier daemon left cannot be removed")?;
    // Before any thread: the janitor is a fork of this process.
    let _janitor = Janitor::start(&cgroups).context("the janitor cannot be started")?;
    let log = Log::start()?;
    // A panic must not wait for somebody to read of it.
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.event(panic.to_string())));
    let mut listeners = Listeners::default();
    // One shard, one address, until a shard takes more.
    let one = Config { listen: config.listen[..1].to_vec(), socket: None, admin: None, ..config.clone() };
    let prepared = listeners.prepare(&one, 1, BIND_PATIENCE)?;
    let mut change = listeners.commit(prepared)?;
    let address = listeners.addresses()[0];
    let listener = change.new.remove(0).remove(0).socket;
    let inbox = Arc::new(Inbox::new()?);
    let (sink, heard) = sink::sink(Arc::clone(&inbox));
    let sandbox = Sandbox::start(SandboxConfig { cgroups, ns_init_uid: config.uid_base }, Box::new(sink))?;
    let shard = start_shard(ShardConfig {
        number: 0,
        listener,
        functions: functions.iter().map(Deployed::profile).collect(),
        warden: sandbox.handle(),
        inbox: Arc::clone(&inbox),
        local_only,
        timeouts: config.timeouts,
    })?;
    log.event(front.serving(address, &removed));
    for (key, (function, uid)) in (0_u32..).zip(functions.iter().zip(&uids)) {
        sandbox.load(function.spec(key, *uid));
    }
    let Watched { thread, ended } = shard;
    let control = Control { sandbox: &sandbox, functions: &functions, uids, inbox: &inbox, front, log: &log };
    // tokio-uring's runtime is a tokio runtime: the signals and channels of the latter run in it.
    let result = tokio_uring::start(control.run(heard, ended));
    // For a shard that still runs: that is so if the control thread has failed.
    inbox.tell(ToShard::Drain);
    let ended = thread.join();
    let stopped = sandbox.stop();
    log.flush(LAST_LINES);
    match ended {
        Ok(ended) => ended.context("the shard failed")?,
        Err(_) => bail!("the shard panicked; please report this"),
    }
    if result? == End::Untold {
        bail!("the shard ended by itself; please report this");
    }
    stopped.context("the groups of the functions cannot be removed")
}

fn require_root() -> Result<()> {
    // SAFETY: takes no pointers and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        let sentence = "hairtrigger confines functions at level full, for which it must be started as root";
        return Err(CannotConfine(sentence.to_owned()).into());
    }
    Ok(())
}

/// Tries every confinement before anything is served with less: what is missing is refused by name.
fn require_confinements(config: &Config) -> Result<()> {
    let options = probe::Options {
        cgroup: format!("{}-probe-{}", config.cgroup, std::process::id()),
        uid_base: config.uid_base,
        uid_count: config.uid_count,
    };
    let lacking: Vec<String> = probe::confinements(&options)
        .into_iter()
        .filter(|row| !row.holds())
        .map(|row| {
            let reason = row.reason.unwrap_or_else(|| "it does not hold".to_owned());
            format!("{} (Linux {}): {reason}", row.about.name, row.about.least_kernel)
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(CannotConfine(format!(
        "this host cannot confine functions; `hairtrigger doctor` says more\n  {}",
        lacking.join("\n  ")
    ))
    .into())
}

/// As many descriptors as may be: connections and workers are limited by other bounds.
fn raise_descriptor_limit() {
    // SAFETY: `limit` outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Starts the shard's thread and waits until it has its ring: what the kernel lacks is said here.
fn start_shard(config: ShardConfig) -> Result<Watched<io::Result<()>>> {
    let (made, outcome) = std::sync::mpsc::channel();
    let shard = Watched::start("shard-0", move || match Shard::new(config) {
        Ok(shard) => {
            let _ = made.send(None);
            drop(made);
            shard.run()
        }
        Err(error) => {
            let _ = made.send(Some(error));
            Ok(())
        }
    })?;
    match outcome.recv() {
        Ok(None) => Ok(shard),
        Ok(Some(error)) => Err(error).context("the shard cannot be started"),
        Err(_) => bail!("the shard panicked while it started; please report this"),
    }
}

/// What ended the shard, and so the control thread's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A signal: it was told to drain.
    Told,
    /// Nothing that the control thread knows of.
    Untold,
}

/// The state of the control thread.
struct Control<'c> {
    sandbox: &'c Sandbox,
    functions: &'c [Deployed],
    uids: Vec<u32>,
    inbox: &'c Inbox,
    front: &'c dyn Front,
    log: &'c Log,
}

impl Control<'_> {
    /// Follows events until the shard has ended.
    async fn run(self, heard: sink::Heard, mut ended: watched::Ended) -> io::Result<End> {
        let sink::Heard { mut events, mut outputs, mut starts } = heard;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (again, mut reloads) = tokio::sync::mpsc::unbounded_channel();
        let again_after = |function: u32, hold: Duration| {
            let again = again.clone();
            tokio_uring::spawn(async move {
                tokio::time::sleep(hold).await;
                let _ = again.send(function);
            });
        };
        let mut holds = Holds::default();
        let mut end = End::Untold;
        loop {
            tokio::select! {
                _ = &mut ended => return Ok(end),
                // What is still under way is followed until it is done.
                _ = interrupt.recv(), if end == End::Untold => {
                    end = End::Told;
                    self.inbox.tell(ToShard::Drain);
                }
                _ = terminate.recv(), if end == End::Untold => {
                    end = End::Told;
                    self.inbox.tell(ToShard::Drain);
                }
                Some(event) = events.recv() => match event {
                    Event::Loaded { function, took, .. } => {
                        holds.loaded(function, Instant::now());
                        if let Some(deployed) = self.functions.get(function as usize) {
                            self.log.event(self.front.loaded(deployed, took));
                        }
                    }
                    Event::LoadFailed { function, failure, output } => {
                        let hold =
                            holds::may_pass(&failure).then(|| holds.failed(function, Instant::now()));
                        if let Some(deployed) = self.functions.get(function as usize) {
                            if let Some(pipe) = output {
                                output::exhaust(deployed.manifest.name.as_str().into(), pipe, self.log);
                            }
                            self.log.event(self.front.failed(deployed, &failure.to_string(), hold));
                        }
                        if let Some(hold) = hold {
                            again_after(function, hold);
                        }
                    }
                    Event::TemplateGone { function, ending } => {
                        let hold = holds.failed(function, Instant::now());
                        if let Some(deployed) = self.functions.get(function as usize) {
                            let name = &deployed.manifest.name;
                            let sentence = format!(
                                "The template of function {name} {ending}; it is loaded again in {hold:?}."
                            );
                            self.log.event(sentence);
                        }
                        again_after(function, hold);
                    }
                    Event::Trouble(sentence) => self.log.event(sentence),
                    // The sink gives these to the shard.
                    Event::WorkerStarting { .. } | Event::WorkerReady { .. } | Event::WorkerGone { .. } => {}
                },
                Some(start) = starts.recv() => {
                    if let Some(deployed) = self.functions.get(start.function as usize) {
                        self.log.event(self.front.started(deployed, start.took));
                    }
                }
                Some(function) = reloads.recv() => {
                    if let Some(deployed) = self.functions.get(function as usize) {
                        // After a failure the shard goes on refusing until this comes to something.
                        self.sandbox.load(deployed.spec(function, self.uids[function as usize]));
                    }
                }
                Some(output) = outputs.recv() => {
                    if let Some(deployed) = self.functions.get(output.function as usize) {
                        let name = deployed.manifest.name.as_str();
                        output::follow(name.into(), output.pipe, deployed.mark_output, self.log.clone());
                    }
                }
            }
        }
    }
}

/// Makes a directory that only the daemon's user may enter.
fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
