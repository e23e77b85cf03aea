//! What is under test, built once a run: the daemon, plugins in Rust, functions in C.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// Names a built daemon, for a run that is not to build its own.
const DAEMON_VARIABLE: &str = "HAIRTRIGGER_DAEMON";

/// What has been built by this process: by name, where it is.
static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// Cargo's target directory, as this test was built.
pub fn target() -> PathBuf {
    profile_folder().parent().expect("a profile's folder lies in the target directory").to_owned()
}

/// The daemon's executable, built as this test was built, or the one that `HAIRTRIGGER_DAEMON` names.
pub fn daemon() -> PathBuf {
    match env::var_os(DAEMON_VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "{DAEMON_VARIABLE} names {}, which is no file", path.display());
            path
        }
        None => once("the daemon", || cargo_build("hairtrigger", "bin")),
    }
}

/// The daemon in which layers of the confinement can be turned off, in a target directory of its own.
pub fn daemon_with_layers_off() -> PathBuf {
    once("the daemon with layers off", || {
        let mut command = cargo();
        command.current_dir(workspace()).args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ]);
        command.args(["-p", "hairtrigger"]).arg("--target-dir").arg(target().join("layers-off"));
        command.env("RUSTFLAGS", "--cfg layers_off").env_remove("CARGO_ENCODED_RUSTFLAGS");
        built_by(command, "hairtrigger", "bin")
    })
}

/// The daemon as it is released.
pub fn released_daemon() -> PathBuf {
    once("the released daemon", || {
        let mut command = cargo();
        command.current_dir(workspace()).args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ]);
        command.args(["--release", "-p", "hairtrigger"]).arg("--target-dir").arg(target());
        built_by(command, "hairtrigger", "bin")
    })
}

/// The shared object of a plugin of the workspace.
pub fn plugin(package: &str) -> PathBuf {
    once(package, || cargo_build(package, "cdylib"))
}

/// The shared object of a plugin that is a workspace of its own.
pub fn plugin_apart(package: &str) -> PathBuf {
    once(package, || {
        let mut command = cargo_apart(package, "build");
        command.args(["--quiet", "--lib", "--message-format=json-render-diagnostics"]);
        built_by(command, package, "cdylib")
    })
}

/// `cargo COMMAND` for a plugin that is a workspace of its own, with a target directory beside that of the others.
pub fn cargo_apart(package: &str, subcommand: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--locked", "--manifest-path"]);
    command.arg(workspace().join("plugins").join(package).join("Cargo.toml"));
    command.arg("--target-dir").arg(target().join(package));
    command
}

/// A function in C or C++, compiled against the header that authors are given, or in one file of Rust. `source` is
/// relative to the workspace.
pub fn function(source: &str) -> PathBuf {
    once(source, || compile(&workspace().join(source)))
}

/// Whether a program is in PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Builds under the lock: the others would only wait for the same.
fn once(name: &str, build: impl FnOnce() -> PathBuf) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let path = build();
    built.insert(name.to_owned(), path.clone());
    path
}

/// `target/debug` or `target/release`: this executable lies in its `deps`.
fn profile_folder() -> PathBuf {
    let executable = env::current_exe().expect("a process knows its executable");
    let folder = executable.parent().expect("an executable lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.to_owned()
}

/// Cargo, behind everybody else: other tests run meanwhile, and measure times.
fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(cargo);
    command
}

/// Builds a package and returns the file that cargo says it made of its target of this kind.
fn cargo_build(package: &str, kind: &str) -> PathBuf {
    let mut command = cargo();
    command.current_dir(workspace()).args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(["-p", package]).arg("--target-dir").arg(target());
    if profile_folder().ends_with("release") {
        command.arg("--release");
    }
    built_by(command, package, kind)
}

/// Runs a `cargo build` that writes messages, and returns the file it made of the target of this kind.
fn built_by(mut command: Command, package: &str, kind: &str) -> PathBuf {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run cargo ({error}); install a Rust toolchain"));
    assert!(output.status.success(), "cargo could not build {package}");
    let text = String::from_utf8(output.stdout).expect("cargo writes JSON");
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let files: Vec<PathBuf> = messages
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == package && message["target"]["kind"][0] == kind)
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .collect();
    files.into_iter().next().unwrap_or_else(|| panic!("cargo says of no {kind} that it belongs to {package}"))
}

fn compile(source: &Path) -> PathBuf {
    let folder = target().join("tmp/functions");
    fs::create_dir_all(&folder).expect("the target directory can be written");
    let name = source.file_stem().and_then(OsStr::to_str).expect("sources have plain names");
    let (to, fresh) =
        (folder.join(format!("{name}.so")), folder.join(format!("{name}.{}", std::process::id())));
    let mut compiler = match source.extension().and_then(OsStr::to_str) {
        Some("rs") => rust_compiler(),
        Some("cpp") => c_compiler("c++", "-std=c++17"),
        _ => c_compiler("cc", "-std=c11"),
    };
    let output = compiler.arg("-o").arg(&fresh).arg(source).output();
    let name = compiler.get_program().display();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run {name} ({error}); install one (build-essential, a Rust toolchain)")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed on {}:\n{said}", source.display());
    // Another run may be using the old one.
    fs::rename(&fresh, &to).expect("a file can be renamed within its folder");
    to
}

fn c_compiler(name: &str, standard: &str) -> Command {
    let mut command = Command::new(name);
    command.args([
        standard,
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
    ]);
    command.arg("-I").arg(workspace().join("abi/include"));
    command
}

fn rust_compiler() -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-D", "warnings"]);
    command
}
