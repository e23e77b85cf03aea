//! `hairtrigger dev`: builds what is there, then serves it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::front::Lines;
use crate::config::Config;
use crate::control::registry::{self, Deployed};
use crate::control::{self, level};
use crate::manifest::Manifest;

/// The C header, as this daemon was built with it: a function's author needs no checkout.
const HEADER: &str = include_str!("../../../abi/include/hairtrigger.h");

pub(super) fn run(
    directory: Option<PathBuf>,
    listen: SocketAddr,
    state: Option<PathBuf>,
    allow_degraded: bool,
) -> Result<()> {
    let directory = directory.unwrap_or_else(|| {
        let plugins = PathBuf::from("plugins");
        if plugins.is_dir() { plugins } else { PathBuf::from(".") }
    });
    let state = state.unwrap_or_else(|| PathBuf::from("target/hairtrigger"));
    let built = state.join("built");
    fs::create_dir_all(&built).with_context(|| format!("cannot make {}", built.display()))?;
    let manifests = registry::find(&directory)?;
    if manifests.is_empty() {
        bail!("there is no function.toml below {}", directory.display());
    }
    let mut functions = Vec::new();
    let mut skipped = 0;
    for path in manifests {
        let manifest = Manifest::load(&path)?;
        if !manifest.dev {
            skipped += 1;
            continue;
        }
        let home = path.parent().unwrap_or(&directory);
        eprintln!("building {}", manifest.name);
        let plugin = build(&manifest, home, &built.join(&manifest.name))
            .with_context(|| format!("function {} cannot be built", manifest.name))?;
        functions.push(Deployed::new(manifest, &plugin)?);
    }
    registry::distinct(&functions)?;
    if skipped > 0 {
        eprintln!("left out {skipped} functions that say dev = false");
    }
    let mut config = Config::for_functions(directory);
    config.listen = listen;
    config.state = state;
    let level = level::settle(level::Wanted::Best { allow_degraded }, &config)?;
    for line in level::warnings(level) {
        eprintln!("{line}");
    }
    control::run(&config, functions, &Lines::new(true), true, level)
}

/// Builds one function into a directory of its own, which is all that it will see; returns the plugin.
fn build(manifest: &Manifest, home: &Path, to: &Path) -> Result<PathBuf> {
    fs::create_dir_all(to)?;
    // The function's uid must be able to read it.
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    let plugin = to.join(format!("{}.so", manifest.name));
    match (&manifest.source, &manifest.library) {
        (Some(source), _) if home.join(source).is_file() => compile(&home.join(source), &plugin)?,
        (Some(source), _) => bail!("there is no source {}", home.join(source).display()),
        (None, _) if home.join("Cargo.toml").is_file() => {
            replace(&cargo(&home.join("Cargo.toml"))?, &plugin)?;
        }
        (None, Some(library)) => replace(&home.join(library), &plugin)?,
        (None, None) => bail!("its function.toml has neither source nor library, and there is no Cargo.toml"),
    }
    Ok(plugin)
}

/// Puts a file into a place atomically: a running daemon may have the old one open.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, to)?;
    Ok(())
}

/// Compiles a C or C++ file.
fn compile(source: &Path, to: &Path) -> Result<()> {
    let include = to.with_extension("include");
    fs::create_dir_all(&include)?;
    fs::write(include.join("hairtrigger.h"), HEADER)?;
    let (compiler, standard) = match source.extension().and_then(|extension| extension.to_str()) {
        Some("c") => ("cc", "-std=c11"),
        Some("cc" | "cpp" | "cxx") => ("c++", "-std=c++17"),
        _ => bail!("{} is neither a C nor a C++ file", source.display()),
    };
    let fresh = to.with_extension("new");
    let status = Command::new(compiler)
        .args([standard, "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden", "-I"])
        .arg(&include)
        .arg("-o")
        .arg(&fresh)
        .arg(source)
        .status()
        .with_context(|| {
            format!("cannot run {compiler}; install a C compiler (build-essential on Debian)")
        })?;
    fs::remove_dir_all(&include)?;
    if !status.success() {
        bail!("{compiler} failed on {}", source.display());
    }
    fs::rename(&fresh, to)?;
    Ok(())
}

/// What `cargo build --message-format=json` says of a crate that it built.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds a crate; returns its shared object.
fn cargo(manifest: &Path) -> Result<PathBuf> {
    let manifest = fs::canonicalize(manifest)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--lib", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo; install a Rust toolchain")?;
    if !output.status.success() {
        bail!("cargo failed on {}", manifest.display());
    }
    let built = String::from_utf8_lossy(&output.stdout);
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts
        .filter(|artifact| artifact.reason == "compiler-artifact" && artifact.manifest_path == manifest)
        .flat_map(|artifact| artifact.filenames)
        .find(|file| file.extension().is_some_and(|extension| extension == "so"))
        .with_context(|| {
            format!("{} builds no shared object; set crate-type = [\"cdylib\"]", manifest.display())
        })
}
