//! Benchmarks: what Hairtrigger costs beside what the machine allows and beside its peers.
//!
//! `hairtrigger-bench NAME [--json] [--smoke]`. With `--json`, standard output is one JSON object and
//! nothing else; progress always goes to standard error.

mod build;
mod clock;
mod cold;
mod cpu;
mod density;
mod facts;
mod family;
mod floor;
mod fresh;
mod http;
mod interrupt;
mod kill;
mod load;
mod neighbour;
mod process;
mod scale;
mod scene;
mod server;
mod stats;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

/// What every hello of every server answers with: the body of `plugins/hello`.
pub(crate) const HELLO: &str = "Hello from Hairtrigger\n";

/// Benchmarks of Hairtrigger, on this machine. Some hold it against a reference, interleaved in one run, and give
/// ratios with their bounds; others measure times, memory and processes, and give them beside the goal of each.
#[derive(Debug, Parser)]
#[command(name = "hairtrigger-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Http(http::HttpArgs),
    Cold(cold::ColdArgs),
    Density(density::DensityArgs),
    Kill(kill::KillArgs),
    Scale(scale::ScaleArgs),
    Neighbour(neighbour::NeighbourArgs),
    Fresh(fresh::FreshArgs),
    Load(load::LoadArgs),
    /// Serve the bare io_uring hello until ended
    #[command(hide = true)]
    Floor(FloorArgs),
    /// Take a core that nobody else wants, for `neighbour`
    #[command(hide = true)]
    IdleSpinner,
    /// Make bare forks for `cold`
    #[command(hide = true)]
    BareFork(cold::StarterArgs),
    /// Make bare execs for `cold`
    #[command(hide = true)]
    BareExec(cold::StarterArgs),
    /// Make bare invocations in forks for `fresh`
    #[command(hide = true)]
    BareInvoke(cold::StarterArgs),
}

/// How a bench tells what it found.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Run as short as it goes: shows that the bench works, not what it measures
    #[arg(long)]
    pub(crate) smoke: bool,
}

impl Output {
    /// Prints `report` as JSON, or the table that it makes.
    ///
    /// # Errors
    /// If nobody reads it.
    pub(crate) fn print<R: Serialize>(&self, report: &R, table: impl FnOnce(&R) -> String) -> Result<()> {
        let mut text = if self.json { serde_json::to_string(report)? } else { table(report) };
        text.push('\n');
        std::io::stdout().write_all(text.as_bytes()).context("printing the result")
    }
}

#[derive(Debug, Args)]
struct FloorArgs {
    /// Loopback address to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|role| role == cold::LOADER) {
        return cold::be_loader(&arguments[1..]);
    }
    let result = match &Cli::parse().bench {
        Bench::Http(args) => interruptible(|| http::run(args)),
        Bench::Cold(args) => interruptible(|| cold::run(args)),
        Bench::Density(args) => interruptible(|| density::run(args)),
        Bench::Kill(args) => interruptible(|| kill::run(args)),
        Bench::Scale(args) => interruptible(|| scale::run(args)),
        Bench::Neighbour(args) => interruptible(|| neighbour::run(args)),
        Bench::Fresh(args) => interruptible(|| fresh::run(args)),
        Bench::Load(args) => interruptible(|| load::run(args)),
        // Roles: whoever started them ends them.
        Bench::Floor(args) => floor::serve(args.listen).map(|()| true),
        Bench::IdleSpinner => neighbour::spin_when_idle().map(|()| true),
        Bench::BareFork(args) => cold::serve_forks(&args.plugin, args.core).map(|()| true),
        Bench::BareInvoke(args) => cold::serve_invocations(&args.plugin, args.core).map(|()| true),
        Bench::BareExec(args) => cold::serve_execs(&args.plugin, args.core).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a bench that ends in good order at Ctrl-C.
fn interruptible(bench: impl FnOnce() -> Result<bool>) -> Result<bool> {
    interrupt::install();
    bench()
}
