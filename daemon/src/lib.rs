//! Hairtrigger: a single-node serverless daemon.
//!
//! The executable is [`main`]; this library exists so that what reads hostile bytes can be fuzzed as well.

mod cli;
mod config;
mod control;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod manifest;
mod outcome;
mod settings;
mod shard;
mod suggest;
mod units;

use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    // Before anything else: a runner is this same executable under another name.
    hairtrigger_sandbox::runner::run_if_runner();
    cli::main()
}
