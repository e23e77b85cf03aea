//! `hairtrigger dev`: builds what is there, then serves it.

mod build;
mod children;
mod depends;
mod versions;

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::front::{Lines, say};
use crate::config::Config;
use crate::control::command::commands;
use crate::control::registry::{self, Deployed};
use crate::control::{self, Launch};
use crate::manifest::Manifest;
use build::{Build, Builder};
use children::Children;
use versions::Versions;

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
}

pub(super) fn run(options: Options) -> Result<()> {
    let directory = options.directory.unwrap_or_else(|| {
        let plugins = PathBuf::from("plugins");
        if plugins.is_dir() { plugins } else { PathBuf::from(".") }
    });
    let state = options.state.unwrap_or_else(|| PathBuf::from("target/hairtrigger"));
    let manifests = registry::find(&directory)?;
    if manifests.is_empty() {
        bail!("there is no function.toml below {}", directory.display());
    }
    fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let _lock = lock(&state)?;
    let mut versions = Versions::new(state.join("built"))?;
    let builder = Builder::new(state.join("work"), Children::default())?;
    let mut functions = Vec::new();
    let mut skipped = 0;
    for path in manifests {
        let manifest = Manifest::load(&path)?;
        if !manifest.dev {
            skipped += 1;
            continue;
        }
        say(&format!("building {}", manifest.name));
        let Build { plugin, .. } = builder.build(&manifest, path.parent().unwrap_or(&directory));
        let plugin = plugin.with_context(|| format!("function {} cannot be built", manifest.name))?;
        let (plugin, _) = versions.place(&manifest.name, &plugin)?;
        functions.push(Deployed::new(manifest, &plugin)?);
    }
    registry::distinct(&functions)?;
    if skipped > 0 {
        say(&format!("left out {skipped} functions that say dev = false"));
    }
    let mut config = Config::for_functions(directory);
    config.listen = vec![options.listen];
    config.set_state(state);
    // Nobody asks for anything.
    let (_, wishes) = commands();
    let front = Lines::new(true);
    control::run(Launch {
        config: &config,
        functions,
        front: &front,
        local_only: true,
        wishes,
        records: true,
    })
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
