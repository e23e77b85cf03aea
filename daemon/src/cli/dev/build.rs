//! From a function's sources to its plugin.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::children::Children;
use super::depends;
use crate::manifest::Manifest;

/// The C header, as this daemon was built with it: a function's author needs no checkout.
const HEADER: &str = include_str!("../../../../abi/include/hairtrigger.h");

/// What a build came to.
#[derive(Debug)]
pub(super) struct Build {
    /// The plugin's file, which is only valid until the next build.
    pub(super) plugin: Result<PathBuf>,
    /// The files and directories that it depends on. If it failed, as far as they are known.
    pub(super) inputs: Vec<PathBuf>,
}

/// Where a function's plugin comes from.
#[derive(Debug)]
enum Source {
    C(PathBuf),
    Cpp(PathBuf),
    Crate(PathBuf),
    Library(PathBuf),
}

/// Builds functions one after another.
#[derive(Debug)]
pub(super) struct Builder {
    /// What is built, and the directory of the header.
    work: PathBuf,
    include: PathBuf,
    children: Children,
}

impl Builder {
    /// One that works in a directory of its own.
    pub(super) fn new(work: PathBuf, children: Children) -> Result<Self> {
        let include = work.join("include");
        fs::create_dir_all(&include).with_context(|| format!("cannot make {}", include.display()))?;
        let header = include.join("hairtrigger.h");
        fs::write(&header, HEADER).with_context(|| format!("cannot write {}", header.display()))?;
        Ok(Self { work, include, children })
    }

    /// Builds the function whose manifest lies in `home`.
    pub(super) fn build(&self, manifest: &Manifest, home: &Path) -> Build {
        let source = match Source::find(manifest, home) {
            Ok(source) => source,
            Err(error) => return Build { plugin: Err(error), inputs: vec![home.to_owned()] },
        };
        match &source {
            Source::C(file) => self.compile(&manifest.name, file, "cc", "-std=c11"),
            Source::Cpp(file) => self.compile(&manifest.name, file, "c++", "-std=c++17"),
            Source::Crate(cargo_toml) => self.cargo(home, cargo_toml),
            Source::Library(file) => {
                let plugin = file.is_file().then(|| file.clone());
                let plugin = plugin.with_context(|| format!("there is no library {}", file.display()));
                Build { plugin, inputs: vec![file.clone()] }
            }
        }
    }

    /// Compiles a C or C++ file.
    fn compile(&self, name: &str, source: &Path, compiler: &str, standard: &str) -> Build {
        let plugin = self.work.join(format!("{name}.so"));
        let depends = self.work.join(format!("{name}.d"));
        let _ = fs::remove_file(&depends);
        let mut command = Command::new(compiler);
        command
            .args([standard, "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"])
            .args(["-MMD", "-MT", "plugin", "-MF"])
            .args([depends.as_os_str(), OsStr::new("-I"), self.include.as_os_str()])
            .args([OsStr::new("-o"), plugin.as_os_str(), source.as_os_str()])
            // Kept, and passed on in one piece: the compiler of one function does not talk into the lines of
            // another.
            .stderr(Stdio::piped());
        if coloured() {
            command.arg("-fdiagnostics-color=always");
        }
        let missing =
            || format!("cannot run {compiler}; install a C and C++ compiler (build-essential on Debian)");
        let result = self.children.run(command).with_context(missing).and_then(|ended| {
            let _ = io::stderr().write_all(&ended.stderr);
            if !ended.status.success() {
                bail!("{compiler} failed on {}", source.display());
            }
            Ok(plugin)
        });
        let rules = fs::read(&depends).ok().filter(|rules| !rules.is_empty());
        let rules = rules.or_else(|| self.preprocess(source, compiler, standard)).unwrap_or_default();
        let mut inputs = depends::prerequisites(&rules);
        inputs.retain(|path| !path.starts_with(&self.include));
        if !inputs.iter().any(|path| path == source) {
            inputs.push(source.to_owned());
        }
        if result.is_err() {
            // A header that is missing may appear.
            inputs.extend(source.parent().map(Path::to_owned));
        }
        Build { plugin: result, inputs }
    }

    /// Asks for a file's dependencies alone: a compiler that fails may not tell them.
    fn preprocess(&self, source: &Path, compiler: &str, standard: &str) -> Option<Vec<u8>> {
        let mut command = Command::new(compiler);
        command.args([standard, "-MM", "-MG", "-MT", "plugin", "-I"]).arg(&self.include).arg(source);
        command.stderr(Stdio::null());
        self.children.run(command).ok().map(|ended| ended.stdout)
    }

    /// Builds a crate.
    fn cargo(&self, home: &Path, cargo_toml: &Path) -> Build {
        let mut inputs = vec![cargo_toml.to_owned(), home.join("Cargo.lock"), home.join("build.rs")];
        tree(&home.join("src"), &mut inputs);
        let plugin = self.artifact(cargo_toml, &mut inputs);
        if let Ok(plugin) = &plugin
            && let Ok(rules) = fs::read(plugin.with_extension("d"))
        {
            inputs.extend(depends::prerequisites(&rules));
        }
        Build { plugin, inputs }
    }

    /// Runs cargo; returns the crate's shared object, and adds the manifests of the crates beside it.
    fn artifact(&self, cargo_toml: &Path, inputs: &mut Vec<PathBuf>) -> Result<PathBuf> {
        let manifest = fs::canonicalize(cargo_toml)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command
            .args([
                "build",
                "--release",
                "--lib",
                "--message-format=json-render-diagnostics",
                "--manifest-path",
            ])
            .arg(&manifest)
            // Cargo shows what it is doing while it does it, in colours on a terminal.
            .stderr(Stdio::inherit());
        let ended = self.children.run(command).context("cannot run cargo; install a Rust toolchain")?;
        let built = String::from_utf8_lossy(&ended.stdout);
        let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
        let artifacts: Vec<Artifact> =
            artifacts.filter(|artifact| artifact.reason == "compiler-artifact").collect();
        let beside = artifacts.iter().filter(|artifact| artifact.package_id.starts_with("path+file:"));
        inputs.extend(beside.map(|artifact| artifact.manifest_path.clone()));
        if !ended.status.success() {
            bail!("cargo failed on {}", manifest.display());
        }
        artifacts
            .into_iter()
            .filter(|artifact| artifact.manifest_path == manifest)
            .flat_map(|artifact| artifact.filenames)
            .find(|file| file.extension().is_some_and(|extension| extension == "so"))
            .with_context(|| {
                format!("{} builds no shared object; set crate-type = [\"cdylib\"]", manifest.display())
            })
    }
}

impl Source {
    fn find(manifest: &Manifest, home: &Path) -> Result<Self> {
        let cargo_toml = home.join("Cargo.toml");
        match (&manifest.source, &manifest.library) {
            (Some(source), _) => {
                let file = home.join(source);
                if !file.is_file() {
                    bail!("there is no source {}", file.display());
                }
                match file.extension().and_then(OsStr::to_str) {
                    Some("c") => Ok(Self::C(file)),
                    Some("cc" | "cpp" | "cxx") => Ok(Self::Cpp(file)),
                    _ => bail!("{} is neither a C nor a C++ file", file.display()),
                }
            }
            (None, _) if cargo_toml.is_file() => Ok(Self::Crate(cargo_toml)),
            (None, Some(library)) => Ok(Self::Library(home.join(library))),
            (None, None) => {
                bail!("its function.toml has neither source nor library, and there is no Cargo.toml")
            }
        }
    }
}

/// Every file and directory below a directory, itself first: a crate's source may name a file that is only
/// about to appear.
fn tree(directory: &Path, found: &mut Vec<PathBuf>) {
    found.push(directory.to_owned());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => tree(&path, found),
            _ => found.push(path),
        }
    }
}

/// Whether what is written to standard error may be coloured.
pub(super) fn coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What `cargo build --message-format=json` says of a crate that it built.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}
