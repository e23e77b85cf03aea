//! The control plane: starts everything in the right order, follows what becomes of functions, passes
//! their output on, and shuts down.

mod listener;
mod output;
pub(crate) mod registry;
mod sink;
mod state;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::cgroup::{Cgroups, Removed, remove_leftovers};
use hairtrigger_sandbox::janitor::Janitor;
use hairtrigger_sandbox::limits::{RELOAD_HOLD, RELOAD_HOLD_MAX};
use hairtrigger_sandbox::{Event, Sandbox, SandboxConfig, probe};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::shard::inbox::{Inbox, ToShard};
use crate::shard::{Shard, ShardConfig};
use registry::Deployed;

/// What a command line front sees of the daemon's life.
pub(crate) trait Front {
    /// The daemon serves on this address; its functions are still loading.
    fn serving(&self, address: SocketAddr, removed: &Removed);
    /// A function is loaded.
    fn loaded(&self, function: &Deployed, took: Duration);
    /// A worker of a function was forked.
    fn started(&self, function: &Deployed, took: Duration);
    /// A function is not loaded.
    fn failed(&self, function: &Deployed, reason: &str);
    /// A line of a function's output.
    fn output(&self, function: &str, line: &str);
    /// Something for the operator.
    fn trouble(&self, sentence: &str);
}

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
    let listener = listener::bind(config.listen)?;
    let address = listener.local_addr()?;
    let inbox = Arc::new(Inbox::new()?);
    let (sink, heard) = sink::sink(Arc::clone(&inbox));
    let sandbox = Sandbox::start(SandboxConfig { cgroups, ns_init_uid: config.uid_base }, Box::new(sink))?;
    let shard = start_shard(ShardConfig {
        number: 0,
        listener: listener.into(),
        functions: functions.iter().map(Deployed::profile).collect(),
        warden: sandbox.handle(),
        inbox: Arc::clone(&inbox),
        local_only,
    })?;
    front.serving(address, &removed);
    for (key, (function, uid)) in (0_u32..).zip(functions.iter().zip(&uids)) {
        sandbox.load(function.spec(key, *uid));
    }
    let control = Control { sandbox: &sandbox, functions: &functions, uids, inbox: &inbox, front };
    // tokio-uring's runtime is a tokio runtime: the signals and channels of the latter run in it.
    let result = tokio_uring::start(control.run(heard));
    inbox.tell(ToShard::Drain);
    let ended = shard.join();
    sandbox.stop().context("the groups of the functions cannot be removed")?;
    result?;
    match ended {
        Ok(ended) => ended.context("the shard failed"),
        Err(_) => bail!("the shard panicked; please report this"),
    }
}

fn require_root() -> Result<()> {
    // SAFETY: takes no pointers and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("hairtrigger confines functions at level full, for which it must be started as root");
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
    bail!("this host cannot confine functions; `hairtrigger doctor` says more\n  {}", lacking.join("\n  "))
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
fn start_shard(config: ShardConfig) -> Result<JoinHandle<io::Result<()>>> {
    let (made, outcome) = std::sync::mpsc::channel();
    let thread =
        std::thread::Builder::new().name("shard-0".to_owned()).spawn(move || match Shard::new(config) {
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
        Ok(None) => Ok(thread),
        Ok(Some(error)) => Err(error).context("the shard cannot be started"),
        Err(_) => bail!("the shard panicked while it started; please report this"),
    }
}

/// The state of the control thread.
struct Control<'c> {
    sandbox: &'c Sandbox,
    functions: &'c [Deployed],
    uids: Vec<u32>,
    inbox: &'c Inbox,
    front: &'c dyn Front,
}

impl Control<'_> {
    async fn run(self, heard: sink::Heard) -> io::Result<()> {
        let sink::Heard { mut events, mut outputs, mut starts } = heard;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (written, mut texts) = tokio::sync::mpsc::unbounded_channel();
        let (again, mut reloads) = tokio::sync::mpsc::unbounded_channel();
        // Reloads in a row of a template from which no worker was forked, by function.
        let mut failures: HashMap<u32, u32> = HashMap::new();
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                Some(event) = events.recv() => match event {
                    Event::Loaded { function, took, .. } => {
                        self.inbox.tell(ToShard::Loaded { function });
                        if let Some(deployed) = self.functions.get(function as usize) {
                            self.front.loaded(deployed, took);
                        }
                    }
                    Event::LoadFailed { function, failure, .. } => {
                        let reason = failure.to_string();
                        self.inbox.tell(ToShard::LoadFailed { function, reason: reason.as_str().into() });
                        if let Some(deployed) = self.functions.get(function as usize) {
                            self.front.failed(deployed, &reason);
                        }
                    }
                    Event::TemplateGone { function, ending } => {
                        self.inbox.tell(ToShard::Reloading { function });
                        let count = failures.entry(function).or_default();
                        let hold = (RELOAD_HOLD * 2_u32.pow((*count).min(16))).min(RELOAD_HOLD_MAX);
                        *count += 1;
                        if let Some(deployed) = self.functions.get(function as usize) {
                            let name = &deployed.manifest.name;
                            let sentence = format!(
                                "The template of function {name} {ending}; it is loaded again in {hold:?}."
                            );
                            self.front.trouble(&sentence);
                        }
                        let again = again.clone();
                        tokio_uring::spawn(async move {
                            tokio::time::sleep(hold).await;
                            let _ = again.send(function);
                        });
                    }
                    Event::Trouble(sentence) => self.front.trouble(&sentence),
                    // The sink gives these to the shard.
                    Event::WorkerStarting { .. } | Event::WorkerReady { .. } | Event::WorkerGone { .. } => {}
                },
                Some(start) = starts.recv() => {
                    failures.remove(&start.function);
                    if let Some(deployed) = self.functions.get(start.function as usize) {
                        self.front.started(deployed, start.took);
                    }
                }
                Some(function) = reloads.recv() => {
                    if let Some(deployed) = self.functions.get(function as usize) {
                        self.sandbox.load(deployed.spec(function, self.uids[function as usize]));
                    }
                }
                Some(output) = outputs.recv() => {
                    let name = self.functions.get(output.function as usize).map(|f| f.manifest.name.clone());
                    output::follow(name.unwrap_or_default(), output.pipe, written.clone());
                }
                Some(output::Line { function, text }) = texts.recv() => self.front.output(&function, &text),
            }
        }
    }
}

/// Makes a directory that only the daemon's user may enter.
fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
