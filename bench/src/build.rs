//! The files under test: the daemon and the plugins, built as this bench was built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Where the files under test are.
#[derive(Debug)]
pub(crate) struct Artefacts {
    /// The daemon's executable.
    pub(crate) daemon: PathBuf,
    /// The hello plugin, or that of the benches.
    pub(crate) plugin: PathBuf,
}

impl Artefacts {
    /// Those beside this executable, brought up to date with cargo, unless a path is given.
    ///
    /// # Errors
    /// If a file is missing or does not build.
    pub(crate) fn find(daemon: Option<&Path>, plugin: Option<&Path>) -> Result<Self> {
        Ok(Self { daemon: find_daemon(daemon)?, plugin: find_plugin(plugin)? })
    }
}

/// The hello plugin, as [`Artefacts::find`] finds it.
///
/// # Errors
/// If it is missing or does not build.
pub(crate) fn find_plugin(given: Option<&Path>) -> Result<PathBuf> {
    find(given, "hello", "libhello.so")
}

/// The daemon's executable, as [`Artefacts::find`] finds it.
///
/// # Errors
/// If it is missing or does not build.
pub(crate) fn find_daemon(given: Option<&Path>) -> Result<PathBuf> {
    find(given, "hairtrigger", "hairtrigger")
}

/// The daemon, unless it is given, and the plugin of the benches.
///
/// # Errors
/// If one is missing or does not build.
pub(crate) fn with_bench_plugin(daemon: Option<&Path>) -> Result<Artefacts> {
    let plugin = find(None, "hairtrigger-bench-plugin", "libbench_plugin.so")?;
    Ok(Artefacts { daemon: find_daemon(daemon)?, plugin })
}

fn find(given: Option<&Path>, package: &str, file: &str) -> Result<PathBuf> {
    if let Some(path) = given {
        ensure!(path.is_file(), "{} is not a file", path.display());
        return Ok(path.to_owned());
    }
    let folder = own_folder()?;
    // A bench that measured yesterday's build would be worse than none; where the sources are, cargo knows.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench/ lies in the workspace")?;
    if workspace.join("Cargo.toml").is_file() {
        build(workspace, &folder, package)?;
    }
    let path = folder.join(file);
    ensure!(
        path.is_file(),
        "{} does not exist; build it with `cargo build --release -p {package}` or give its path",
        path.display()
    );
    Ok(path)
}

/// The folder that cargo put this executable in, such as `target/release`.
fn own_folder() -> Result<PathBuf> {
    let executable = env::current_exe().context("where this executable is")?;
    let folder = executable.parent().context("an executable lies in a folder")?;
    // Unit tests run from `deps` inside of it.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

fn build(workspace: &Path, folder: &Path, package: &str) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--quiet", "-p", package]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    // Standard output is for the bench's JSON alone.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`cargo build -p {package}` failed ({status})"),
        // An executable copied away from its toolchain makes do with what lies beside it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("starting cargo"),
    }
}
