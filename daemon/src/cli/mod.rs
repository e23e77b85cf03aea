//! The command line.

mod check;
mod dev;
mod doctor;
mod exit;
mod front;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

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
    Dev(dev::Options),
    /// Try each confinement on this host and print what holds; exits with 0 if level full does.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
        Command::Serve(configuration) => serve::run(&configuration.into()).map(|()| Exit::Success.into()),
        Command::Check { directory, configuration, json } => {
            let what = match directory {
                Some(directory) => check::What::Tree(directory),
                None => check::What::Configuration(configuration.into()),
            };
            check::run(&what, json).map(ExitCode::from)
        }
        Command::Dev(options) => dev::run(options).map(|()| Exit::Success.into()),
        Command::Doctor { json } => doctor::run(json),
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
