//! `cold`: what a start costs beside a bare one of the same plugin.
//!
//! Four kinds of start take turns on one core, in a random order: a fork start of the daemon and a bare
//! fork, a load start of the daemon and a bare exec with dlopen. Bare forks come twice a round: their ratio (A/A) is the machine's noise.

mod bare;
mod plugin;
mod starts;

pub(crate) use bare::{BATCH, LOADER, Starter, be_loader, serve_execs, serve_forks, serve_invocations};
pub(crate) use starts::hairtrigger_starts;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::build::{Artefacts, find_plugin};
use crate::facts::Facts;
use crate::family::families;
use crate::process::{allowed_cores, pin_to};
use crate::server::Server;
use crate::stats::{Estimate, SplitMix64, median};
use crate::{Output, interrupt};

/// Fork and load starts of a function, beside a bare fork and a bare exec with dlopen.
///
/// A fork start makes a worker from a template; a load start makes a template. The bare ones do the same
/// without confinement: a process that holds the same plugin forks a child that says it is ready, and a
/// program is started that loads the plugin, calls its init and says so. All starts happen on one core,
/// taking turns.
#[derive(Debug, Args)]
pub(crate) struct ColdArgs {
    /// Rounds, each with one start of every kind [default: 101; with --smoke 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: Option<u32>,
    /// Measure the bare references alone, without the daemon
    #[arg(long)]
    bare: bool,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// The hello plugin [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Core that every start happens on [default: the first that may be used]
    #[arg(long, value_name = "CORE")]
    server_core: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// Arguments of the hidden roles that make bare starts.
#[derive(Debug, Args)]
pub(crate) struct StarterArgs {
    /// The plugin to load
    pub(crate) plugin: PathBuf,
    /// Core to run on
    #[arg(long, value_name = "CORE")]
    pub(crate) core: usize,
}

/// A kind of start.
#[derive(Clone, Copy, Debug)]
enum Start {
    Fork,
    Load,
    BareFork,
    BareForkAgain,
    BareExec,
}

/// Starts by kind, one of each a round, in microseconds. Those of the daemon are empty without one.
#[derive(Debug, Default)]
struct Samples {
    fork: Vec<f64>,
    load: Vec<f64>,
    bare_fork: Vec<f64>,
    bare_fork_again: Vec<f64>,
    bare_exec: Vec<f64>,
}

/// The JSON object. Times are medians in microseconds; `null` was not measured.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    fork_ratio_bare: Option<f64>,
    fork_ratio_bare_lo95: Option<f64>,
    fork_ratio_bare_hi95: Option<f64>,
    load_ratio_bare: Option<f64>,
    load_ratio_bare_lo95: Option<f64>,
    load_ratio_bare_hi95: Option<f64>,
    bare_fork_aa_ratio: f64,
    bare_fork_aa_ratio_lo95: f64,
    bare_fork_aa_ratio_hi95: f64,
    fork_p50_us: Option<f64>,
    load_p50_us: Option<f64>,
    bare_fork_p50_us: f64,
    bare_exec_p50_us: f64,
    /// Resident memory of the process that forks: the daemon's template and the bare one, in KiB.
    template_image_kib: Option<u64>,
    bare_image_kib: Option<u64>,
    rounds: u32,
    server_core: usize,
    machine: Facts,
}

/// Runs the bench and prints its result.
///
/// # Errors
/// If a start fails, or the run is interrupted.
pub(crate) fn run(args: &ColdArgs) -> Result<bool> {
    let rounds = args.rounds.unwrap_or(if args.output.smoke { 3 } else { 101 });
    let machine = Facts::read();
    let cores = allowed_cores().context("which cores may be used")?;
    let core = args.server_core.unwrap_or(cores[0]);

    let (daemon, plugin) = if args.bare {
        (None, find_plugin(args.plugin.as_deref())?)
    } else {
        let artefacts = Artefacts::find(args.daemon.as_deref(), args.plugin.as_deref())?;
        (Some(Server::hairtrigger(core, &artefacts, 1)?), artefacts.plugin)
    };
    let mut forker = Starter::new("bare-fork", &plugin, core)?;
    let mut execer = Starter::new("bare-exec", &plugin, core)?;
    if let Some(&other) = cores.iter().find(|&&other| other != core) {
        // This thread only waits, but it should not be woken where the starts are.
        pin_to(other)?;
    }
    // The first of each finds cold caches.
    forker.start_us()?;
    execer.start_us()?;

    let mut samples = Samples::default();
    // A start is quicker right after one of its own kind, whose caches it finds. So neighbours must change
    // from round to round, and a rotation would keep them.
    let mut random = SplitMix64::new(u64::from(rounds));
    let mut order = [Start::Fork, Start::Load, Start::BareFork, Start::BareForkAgain, Start::BareExec];
    for _ in 0..rounds {
        random.shuffle(&mut order);
        take_round(&order, daemon.as_ref(), &mut forker, &mut execer, &mut samples)?;
    }
    let template_image_kib = daemon.as_ref().and_then(|daemon| {
        let tree = crate::cpu::Tree::of(daemon.pid()).ok()?;
        resident_kib(families(&tree).first()?.template)
    });
    let bare_image_kib = resident_kib(forker.pid());
    drop(daemon);

    let report = Report { template_image_kib, bare_image_kib, ..report(&samples, rounds, core, machine)? };
    args.output.print(&report, |report| table(report, &plugin))?;
    Ok(true)
}

/// One start of every kind, in the order given.
fn take_round(
    order: &[Start],
    daemon: Option<&Server>,
    forker: &mut Starter,
    execer: &mut Starter,
    samples: &mut Samples,
) -> Result<()> {
    for start in order {
        ensure!(!interrupt::requested(), "interrupted");
        match start {
            Start::Fork => samples.fork.extend(daemon.map(starts::fork_us).transpose()?),
            Start::Load => samples.load.extend(daemon.map(starts::load_us).transpose()?),
            Start::BareFork => samples.bare_fork.push(forker.start_us()?),
            Start::BareForkAgain => samples.bare_fork_again.push(forker.start_us()?),
            Start::BareExec => samples.bare_exec.push(execer.start_us()?),
        }
    }
    Ok(())
}

fn report(samples: &Samples, rounds: u32, core: usize, machine: Facts) -> Result<Report> {
    let fork = Estimate::of_ratios(&samples.fork, &samples.bare_fork);
    let load = Estimate::of_ratios(&samples.load, &samples.bare_exec);
    let again = Estimate::of_ratios(&samples.bare_fork_again, &samples.bare_fork).context("no rounds")?;
    Ok(Report {
        bench: "cold",
        fork_ratio_bare: fork.map(|ratio| ratio.median),
        fork_ratio_bare_lo95: fork.map(|ratio| ratio.lo95),
        fork_ratio_bare_hi95: fork.map(|ratio| ratio.hi95),
        load_ratio_bare: load.map(|ratio| ratio.median),
        load_ratio_bare_lo95: load.map(|ratio| ratio.lo95),
        load_ratio_bare_hi95: load.map(|ratio| ratio.hi95),
        bare_fork_aa_ratio: again.median,
        bare_fork_aa_ratio_lo95: again.lo95,
        bare_fork_aa_ratio_hi95: again.hi95,
        fork_p50_us: median(&samples.fork),
        load_p50_us: median(&samples.load),
        bare_fork_p50_us: median(&samples.bare_fork).context("no rounds")?,
        bare_exec_p50_us: median(&samples.bare_exec).context("no rounds")?,
        template_image_kib: None,
        bare_image_kib: None,
        rounds,
        server_core: core,
        machine,
    })
}

/// Resident memory of a process.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn table(report: &Report, plugin: &Path) -> String {
    let time = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    let image = |kib: Option<u64>| kib.map_or_else(|| "-".to_owned(), |kib| kib.to_string());
    let ratio = |median: Option<f64>, lo95: Option<f64>, hi95: Option<f64>| match (median, lo95, hi95) {
        (Some(median), Some(lo95), Some(hi95)) => format!("{median:.2} ({lo95:.2} – {hi95:.2})"),
        _ => "-".to_owned(),
    };
    format!(
        "\n{}\n{} rounds on core {}, plugin {}\n\n\
         start                hairtrigger p50 µs    bare p50 µs    ratio (95% bounds)\n\
         fork to ready        {:>18}    {:>11.0}    {}\n\
         load to ready        {:>18}    {:>11.0}    {}\n\
         bare fork, A/A       {:>18}    {:>11}    {}\n\n\
         resident image that forks: hairtrigger {} KiB, bare {} KiB",
        report.machine.line(),
        report.rounds,
        report.server_core,
        plugin.display(),
        time(report.fork_p50_us),
        report.bare_fork_p50_us,
        ratio(report.fork_ratio_bare, report.fork_ratio_bare_lo95, report.fork_ratio_bare_hi95),
        time(report.load_p50_us),
        report.bare_exec_p50_us,
        ratio(report.load_ratio_bare, report.load_ratio_bare_lo95, report.load_ratio_bare_hi95),
        "",
        "",
        ratio(
            Some(report.bare_fork_aa_ratio),
            Some(report.bare_fork_aa_ratio_lo95),
            Some(report.bare_fork_aa_ratio_hi95)
        ),
        image(report.template_image_kib),
        image(report.bare_image_kib),
    )
}
