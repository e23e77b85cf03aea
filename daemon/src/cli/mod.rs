//! The command line.

mod dev;
mod doctor;
mod front;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hairtrigger_sandbox::level::Level;

use crate::control::level::CannotConfine;

/// Native functions, confined and warm, on one Linux host.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the functions that a configuration names.
    Serve {
        /// The configuration: a TOML file with at least `functions = "DIR"`.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Build and serve every function below a directory, for its author.
    Dev {
        /// Where the functions are: Cargo crates and C files, each beside its function.toml
        /// [default: plugins if there is such a directory, otherwise the present one].
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// Address to serve on.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        /// Where built plugins and the daemon's state are kept [default: target/hairtrigger].
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Make do with level bare where this user cannot have namespaces: landlock and the system call policy
        /// alone then keep functions from files, processes and the network.
        #[arg(long)]
        allow_degraded: bool,
    },
    /// Try each confinement on this host and print what holds, and which level this user reaches.
    ///
    /// Exits with 0 if the level is reached that this user can expect (full as root, otherwise userns), or the one
    /// that is asked for; with 4 otherwise.
    Doctor {
        /// The level that is to be reached for success.
        #[arg(long, value_name = "LEVEL", value_parser = doctor::level)]
        level: Option<Level>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Exit code: the host does not let this user confine functions at the level that was asked for.
const CANNOT_CONFINE: u8 = 4;

/// Runs the command; the exit code is 0 for success, 1 for a failure, 2 for a wrong command line, 4 for a host that
/// cannot confine.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { config } => serve::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Dev { directory, listen, state, allow_degraded } => {
            dev::run(directory, listen, state, allow_degraded).map(|()| ExitCode::SUCCESS)
        }
        Command::Doctor { level, json } => doctor::run(level, json),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            front::last_words(format!("hairtrigger: {error:#}"));
            if error.is::<CannotConfine>() { ExitCode::from(CANNOT_CONFINE) } else { ExitCode::FAILURE }
        }
    }
}
