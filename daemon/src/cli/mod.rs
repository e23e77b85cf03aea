//! The command line.

mod dev;
mod doctor;
mod front;
mod invoke;
mod manual;
mod new;
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
    #[command(after_help = "Examples:
  hairtrigger dev                         serve the functions in ./plugins, or else here
  hairtrigger dev greet --listen [::1]:0  serve one, on a port that is free")]
    Dev(dev::Options),
    /// Make a function that compiles, with a test that passes.
    #[command(after_help = "Examples:
  hairtrigger new greet                   in C, in ./greet
  hairtrigger new count --lang cpp        in C++
  hairtrigger new sign --lang rust --dir functions")]
    New(new::Options),
    /// Invoke a function of a running daemon: its answer goes to standard output.
    #[command(after_help = "Examples:
  hairtrigger invoke greet --query name=Ada
  hairtrigger invoke thumbnail?width=64 --file photo.jpg > small.jpg
  date | hairtrigger invoke shout --file - --timing
  hairtrigger invoke greet --json --address http://127.0.0.1:8080

Exit codes: 0 for an answer below 400, 1 for another or none, 2 for a wrong command line,
5 if no daemon is there.")]
    Invoke(invoke::Options),
    /// Try each confinement on this host and print what holds; exits with 0 if level full does.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell.
    #[command(after_help = "Example:
  hairtrigger completions bash > /usr/share/bash-completion/completions/hairtrigger")]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: manual::Shell,
    },
    /// Print the manual page, or write it and those of all commands into a directory.
    #[command(after_help = "Examples:
  hairtrigger man | man -l -
  hairtrigger man /usr/local/share/man/man1")]
    Man {
        /// Where the pages go.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Runs the command; the exit code is 0 for success, 1 for a failure, 2 for a wrong command line.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve { config } => serve::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Dev(options) => dev::run(options).map(|()| ExitCode::SUCCESS),
        Command::New(options) => new::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Invoke(options) => invoke::run(options),
        Command::Doctor { json } => doctor::run(json),
        Command::Completions { shell } => manual::completions(shell).map(|()| ExitCode::SUCCESS),
        Command::Man { directory } => manual::man(directory.as_deref()).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            front::last_words(format!("hairtrigger: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
