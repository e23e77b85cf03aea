//! What is made from the command line's description: completions for shells, and manual pages.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::aot;

use super::Cli;

/// Shells that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints a shell's completions.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    // Into memory first: the generator takes a failed write for a mistake of the program's.
    let mut script = Vec::new();
    aot::generate(shell, &mut Cli::command(), "hairtrigger", &mut script);
    stdout().write_all(&script).context("cannot write the completions")
}

/// Prints the manual page, or writes it and those of the commands into a directory.
pub(super) fn man(directory: Option<&Path>) -> Result<()> {
    match directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            stdout().write_all(&page).context("cannot write the manual page")
        }
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            clap_mangen::generate_to(Cli::command(), directory)
                .with_context(|| format!("cannot write the manual pages into {}", directory.display()))
        }
    }
}
