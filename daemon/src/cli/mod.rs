//! The command line.

mod dev;
mod doctor;
mod front;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Dev(dev::Options),
    /// Try each confinement on this host and print what holds; exits with 0 if level full does.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command; the exit code is 0 for success, 1 for a failure, 2 for a wrong command line.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { config } => serve::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Dev(options) => dev::run(options).map(|()| ExitCode::SUCCESS),
        Command::Doctor { json } => doctor::run(json),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            front::last_words(format!("hairtrigger: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
