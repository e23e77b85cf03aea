//! Benchmarks: what Hairtrigger costs beside what the machine allows and beside its peers.
//!
//! `hairtrigger-bench NAME [--json] [--smoke]`. With `--json`, standard output is one JSON object and
//! nothing else; progress always goes to standard error.

mod build;
mod cpu;
mod facts;
mod floor;
mod http;
mod interrupt;
mod load;
mod process;
mod server;
mod stats;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// What every hello of every server answers with: the body of `plugins/hello`.
pub(crate) const HELLO: &str = "Hello from Hairtrigger\n";

/// Benchmarks of Hairtrigger: each holds it against a bare reference and a peer, interleaved in one run on
/// this machine, and gives ratios with their bounds.
#[derive(Debug, Parser)]
#[command(name = "hairtrigger-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    Http(http::HttpArgs),
    Load(load::LoadArgs),
    /// Serve the bare io_uring hello until ended
    #[command(hide = true)]
    Floor(FloorArgs),
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

#[derive(Debug, Args)]
struct FloorArgs {
    /// Loopback address to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.bench {
        // Its own role: it ends by the signal that it is sent.
        Bench::Floor(args) => floor::serve(args.listen).map(|()| true),
        bench => {
            interrupt::install();
            match bench {
                Bench::Http(args) => http::run(args),
                Bench::Load(args) => load::run(args),
                Bench::Floor(_) => Ok(true),
            }
        }
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
