//! The command line.

mod check;
mod dev;
mod doctor;
mod exit;
mod front;
mod invoke;
mod manual;
mod new;
mod serve;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use hairtrigger_sandbox::level::Level;

use crate::config::{DEFAULT_FILE, Origin};
use exit::Exit;

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
    #[command(
        after_help = "Signals: TERM and INT end it once what is under way is finished, or timeouts.drain is over;
a second INT ends it at once. HUP reads configuration and manifests again.

Exit codes: 0 when everything was finished, 6 when something was cut off, 1 for a failure, 2 for a
wrong command line, 3 for wrong settings, 4 for a host that cannot confine functions."
    )]
    Serve(Configuration),
    /// Say everything that is wrong with a tree of functions or a configuration, and start nothing.
    Check {
        /// A tree of functions, built or not; without it, the configuration and what it names.
        #[arg(value_name = "DIR", conflicts_with_all = ["config", "state"])]
        directory: Option<PathBuf>,
        #[command(flatten)]
        configuration: Configuration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build and serve every function below a directory, for its author.
    #[command(after_help = "Examples:
  hairtrigger dev                         serve the functions in ./plugins, or else here
  hairtrigger dev greet --listen [::1]:0  serve one, on a port that is free

Exit codes: 0 when everything was finished, 6 when something was cut off, 1 for a failure, 2 for a
wrong command line, 4 for a host that cannot confine functions.")]
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
    /// Print what the functions of a running daemon have used: calls, time, CPU time, workers.
    #[command(after_help = "Examples:
  hairtrigger usage                       a table of all functions
  hairtrigger usage greet --json          everything that is known of one

Exit codes: 0, 1 if there is no such function, 2 for a wrong command line, 5 if no daemon is there.")]
    Usage(usage::Options),
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

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
struct Configuration {
    /// The configuration: a TOML file with at least `functions = "DIR"`.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Keep state and sockets below this directory, whatever the configuration says.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl From<Configuration> for Origin {
    fn from(Configuration { config, state }: Configuration) -> Self {
        Self { file: config, state }
    }
}

/// Runs the command; [`Exit`] has the exit codes.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::CommandLine } else { Exit::Success };
            // Nobody may be there to read it; that changes nothing about the command line.
            let _ = error.print();
            return exit.into();
        }
    };
    let result = match cli.command {
        Command::Serve(configuration) => serve::run(&configuration.into()).map(ExitCode::from),
        Command::Check { directory, configuration, json } => {
            let what = match directory {
                Some(directory) => check::What::Tree(directory),
                None => check::What::Configuration(configuration.into()),
            };
            check::run(&what, json).map(ExitCode::from)
        }
        Command::Dev(options) => dev::run(options).map(ExitCode::from),
        Command::New(options) => new::run(&options).map(|()| Exit::Success.into()),
        Command::Invoke(options) => invoke::run(options).map(ExitCode::from),
        Command::Usage(options) => usage::run(&options).map(ExitCode::from),
        Command::Completions { shell } => manual::completions(shell).map(|()| Exit::Success.into()),
        Command::Man { directory } => manual::man(directory.as_deref()).map(|()| Exit::Success.into()),
        Command::Doctor { level, json } => doctor::run(level, json).map(ExitCode::from),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let exit = Exit::of(&error);
            let mut text = format!("hairtrigger: {error:#}");
            if exit == Exit::Settings {
                // A line for each mistake, in whatever a journal puts around it.
                text = text.replace('\n', "\nhairtrigger: ");
            }
            front::last_words(text);
            exit.into()
        }
    }
}
