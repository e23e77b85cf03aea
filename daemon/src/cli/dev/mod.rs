//! `hairtrigger dev`: builds what is there, serves it, and keeps it up to date.

// In the order in which an edit goes through them.
mod watch;

mod session;

mod prints;

mod build;
mod children;
mod depends;

mod versions;

mod clock;
mod front;
mod lines;

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::exit::Exit;
use super::front::say;
use crate::config::Config;
use crate::control::command::commands;
use crate::control::level::{self, Wanted};
use crate::control::{self, Launch, registry};
use crate::manifest::OffLimits;
use build::Builder;
use children::Children;
use front::DevFront;
use session::Session;
use versions::Versions;
use watch::Watch;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where the functions are: Cargo crates and C or C++ files, each beside its function.toml
    /// [default: plugins if there is such a directory, otherwise the present one].
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Address to serve on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where built plugins and the daemon's state are kept [default: target/hairtrigger].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Build everything once, and do not look at what changes.
    #[arg(long)]
    no_watch: bool,
    /// Make do with level bare where this user cannot have namespaces: landlock and the system call policy alone then
    /// keep functions from files, processes and the network.
    #[arg(long)]
    allow_degraded: bool,
}

pub(super) fn run(options: Options) -> Result<Exit> {
    let directory = options.directory.unwrap_or_else(|| {
        let plugins = PathBuf::from("plugins");
        if plugins.is_dir() { plugins } else { PathBuf::from(".") }
    });
    let state = options.state.unwrap_or_else(|| PathBuf::from("target/hairtrigger"));
    let mut config = Config::for_functions(directory.clone());
    // Before any thread, and before anybody waits for a build.
    config.level = level::settle(Wanted::Best { allow_degraded: options.allow_degraded }, &config)?;
    for line in level::warnings(config.level) {
        say(&line);
    }
    if registry::look(&directory)?.manifests.is_empty() {
        bail!("there is no function.toml below {}", directory.display());
    }
    fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let _lock = lock(&state)?;
    let versions = Versions::new(state.join("built"))?;
    let children = Children::default();
    let builder = Builder::new(state.join("work"), children.clone())?;
    let watch = match options.no_watch {
        true => None,
        false => Some(Watch::new().context("cannot watch files; --no-watch does without")?),
    };
    let (commands, wishes) = commands();
    config.listen = vec![options.listen];
    config.set_state(state);
    let off_limits = OffLimits::of(&config, None);
    let session = Session::new(directory, off_limits, builder, versions, commands);
    let front = DevFront::new(move || begin(session, watch));
    let ended = control::run(Launch {
        config: &config,
        origin: None,
        functions: Vec::new(),
        front: &front,
        local_only: true,
        wishes,
        records: true,
    });
    // A compiler may be running, and what it makes is of no use any more.
    children.end();
    ended.map(Exit::with)
}

/// Builds in a thread of its own, which ends with the process.
fn begin(mut session: Session, watch: Option<Watch>) {
    let thread = std::thread::Builder::new().name("builder".to_owned()).spawn(move || {
        session.build_all();
        if let Some(watch) = watch {
            session.follow(watch);
        }
    });
    if let Err(error) = thread {
        say(&format!("nothing can be built: {error}"));
    }
}

/// Takes what is built in a state directory for this process: the daemon's own lock comes later.
fn lock(state: &Path) -> Result<File> {
    let path = state.join("dev.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `hairtrigger dev` uses {}; give this one its own --state", state.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
