//! `fresh`: what it costs that every invocation has a process of its own.
//!
//! **Rate.** The daemon, on one core, serves a closed loop of a function with `isolation = "fresh"`. On the same core, in
//! turns with it, a bare process that holds the same plugin forks, has the child invoke the function and exit, and waits for
//! that: no confinement, no channel, no HTTP. The bare loop comes twice a round; that ratio (A/A) is the machine's noise.
//!
//! **Latency.** At a rate at which the pool keeps up, an open loop asks the same function and its twin with
//! `isolation = "reuse"`, in turns.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::build::{Artefacts, find_plugin};
use crate::cold::{BATCH, Starter, resident_kib};
use crate::cpu::Tree;
use crate::facts::Facts;
use crate::family::families;
use crate::load::{ClosedLoop, Expected, OpenLoop, Target, Until, Window, quantile_us};
use crate::process::{allowed_cores, pin_to};
use crate::server::{FunctionFiles, Server};
use crate::stats::{Estimate, SplitMix64, median};
use crate::{HELLO, Output, interrupt};

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;
/// Connections of the open loop: far more than are busy at a time.
const OPEN: usize = 32;
/// What is offered for the latency, of what the daemon has reached in its warm-up.
const OFFERED: f64 = 0.2;
/// Least that is offered, in requests a second: a window needs some to have a median.
const LEAST_OFFERED: f64 = 50.0;
/// Workers that wait for an invocation.
const PROVISIONED: usize = 8;
/// Most workers.
const MAX: usize = 64;
/// What the rate is to be of the bare loop's, at least.
const RATE_GOAL: f64 = 0.75;
/// What the median latency may be of that with `reuse`.
const LATENCY_GOAL: f64 = 1.3;

/// Rate and latency of invocations with a process each, beside a bare fork→invoke→exit loop and beside reused workers.
#[derive(Debug, Args)]
pub(crate) struct FreshArgs {
    /// Rounds, each with a window of the daemon's rate, two of the bare loop's and two of latency [default: 11; with
    /// --smoke 2]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Length of a window [default: 1; with --smoke 0.2]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,
    /// Measure the bare loop alone, without the daemon
    #[arg(long)]
    bare: bool,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// The hello plugin [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Core that the daemon and the bare loop run on [default: the first that may be used]
    #[arg(long, value_name = "CORE")]
    server_core: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// Windows, one of each kind a round: invocations a second, and medians of latencies in microseconds. Those of the daemon
/// are empty without one.
#[derive(Debug, Default)]
struct Samples {
    rate: Vec<f64>,
    bare: Vec<f64>,
    bare_again: Vec<f64>,
    fresh_p50: Vec<f64>,
    reuse_p50: Vec<f64>,
    fresh_p99: Vec<f64>,
    reuse_p99: Vec<f64>,
}

/// The JSON object; `null` was not measured.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    invocations_per_core_s: Option<f64>,
    bare_per_core_s: f64,
    rate_ratio_bare: Option<f64>,
    rate_ratio_bare_lo95: Option<f64>,
    rate_ratio_bare_hi95: Option<f64>,
    rate_goal_ratio: f64,
    bare_aa_ratio: f64,
    bare_aa_ratio_lo95: f64,
    bare_aa_ratio_hi95: f64,
    p50_ratio_reuse: Option<f64>,
    p50_ratio_reuse_lo95: Option<f64>,
    p50_ratio_reuse_hi95: Option<f64>,
    p50_goal_ratio: f64,
    fresh_p50_us: Option<f64>,
    fresh_p99_us: Option<f64>,
    reuse_p50_us: Option<f64>,
    reuse_p99_us: Option<f64>,
    /// What was offered while latencies were measured, in requests a second.
    offered_per_s: Option<f64>,
    /// Resident memory of the process that forks: the daemon's template and the bare one, in KiB.
    template_image_kib: Option<u64>,
    bare_image_kib: Option<u64>,
    rounds: u16,
    window_s: f64,
    server_core: usize,
    machine: Facts,
    /// What makes the figures doubtful; empty in a good run.
    errors: BTreeSet<String>,
}

/// The daemon, and the loads of it.
struct Side {
    daemon: Server,
    closed: ClosedLoop,
    fresh: OpenLoop,
    reuse: OpenLoop,
    offered: f64,
    random: SplitMix64,
}

/// Runs the bench and prints its result. Gives whether it went without errors.
///
/// # Errors
/// If the daemon refuses the function or does not answer, the bare loop fails, or the run is interrupted.
pub(crate) fn run(args: &FreshArgs) -> Result<bool> {
    let smoke = args.output.smoke;
    let rounds = args.rounds.unwrap_or(if smoke { 2 } else { 11 });
    let window_s = args.window.unwrap_or(if smoke { 0.2 } else { 1.0 });
    ensure!((0.05..=60.0).contains(&window_s), "a window takes between 0.05 and 60 s");
    let time = Duration::from_secs_f64(window_s);
    let machine = Facts::read();
    let cores = allowed_cores().context("which cores may be used")?;
    let core = args.server_core.unwrap_or(cores[0]);
    let plugin = find_plugin(args.plugin.as_deref())?;
    let mut errors = BTreeSet::new();
    // The client waits and checks elsewhere.
    let client = cores.iter().copied().find(|&other| other != core).unwrap_or(core);
    let mut bare = Starter::new("bare-invoke", &plugin, core)?;
    let mut side = match args.bare {
        true => None,
        false => {
            let artefacts = Artefacts::find(args.daemon.as_deref(), Some(&plugin))?;
            let daemon = start(core, &artefacts)?;
            pin_to(client)?;
            Some(Side::new(daemon, time, &mut errors)?)
        }
    };
    // The first of each finds cold caches.
    bare.start_us()?;

    let mut samples = Samples::default();
    let mut random = SplitMix64::new(u64::from(rounds));
    let mut order = [Kind::Rate, Kind::Bare, Kind::BareAgain, Kind::Fresh, Kind::Reuse];
    for round in 0..rounds {
        random.shuffle(&mut order);
        for kind in order {
            ensure!(!interrupt::requested(), "interrupted");
            match (kind, &mut side) {
                (Kind::Bare, _) => samples.bare.push(bare_rate(&mut bare, time)?),
                (Kind::BareAgain, _) => samples.bare_again.push(bare_rate(&mut bare, time)?),
                (_, None) => {}
                (Kind::Rate, Some(side)) => samples.rate.push(side.rate(time, &mut errors)?),
                (Kind::Fresh, Some(side)) => {
                    let window = side.latency(true, time, &mut errors)?;
                    samples.fresh_p50.push(quantile_us(&window.latency, 0.5));
                    samples.fresh_p99.push(quantile_us(&window.latency, 0.99));
                }
                (Kind::Reuse, Some(side)) => {
                    let window = side.latency(false, time, &mut errors)?;
                    samples.reuse_p50.push(quantile_us(&window.latency, 0.5));
                    samples.reuse_p99.push(quantile_us(&window.latency, 0.99));
                }
            }
        }
        let last = |series: &[f64]| series.last().map_or_else(|| "-".to_owned(), |last| format!("{last:.0}"));
        eprintln!(
            "round {}/{rounds}:  fresh {}/s  bare {}/s  p50 fresh {} µs  reuse {} µs",
            round + 1,
            last(&samples.rate),
            last(&samples.bare),
            last(&samples.fresh_p50),
            last(&samples.reuse_p50)
        );
    }
    let images = (side.as_ref().and_then(Side::template_image_kib), resident_kib(bare.pid()));
    let offered = side.as_ref().map(|side| side.offered);
    drop(side);
    let settings = Settings { rounds, window_s, core, offered, images };
    let report = report(&samples, settings, machine, errors)?;
    args.output.print(&report, table)?;
    for error in &report.errors {
        eprintln!("error: {error}");
    }
    Ok(report.errors.is_empty())
}

/// A kind of window.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Rate,
    Bare,
    BareAgain,
    Fresh,
    Reuse,
}

fn start(core: usize, artefacts: &Artefacts) -> Result<Server> {
    let manifest = |isolation| {
        format!(
            "isolation = \"{isolation}\"\n[concurrency]\nprovisioned = {PROVISIONED}\nmax = {MAX}\nqueue = 4096\n"
        )
    };
    let (fresh, reuse) = (manifest("fresh"), manifest("reuse"));
    let function = |name, manifest| FunctionFiles { name, plugin: &artefacts.plugin, manifest };
    let functions = [function("fresh", fresh.as_str()), function("reuse", reuse.as_str())];
    let daemon = Server::daemon(&[core], &artefacts.daemon, &functions)?;
    daemon.get("/reuse")?;
    Ok(daemon)
}

/// Invocations a second of the bare loop.
fn bare_rate(bare: &mut Starter, time: Duration) -> Result<f64> {
    let (begin, mut us, mut batches) = (Instant::now(), 0.0, 0.0);
    while begin.elapsed() < time {
        us += bare.start_us()?;
        batches += 1.0;
    }
    Ok(f64::from(BATCH) * batches / (us / 1e6))
}

impl Side {
    fn new(daemon: Server, time: Duration, errors: &mut BTreeSet<String>) -> Result<Self> {
        let expected = || Expected { status: 200, body: HELLO.into() };
        let (fresh, reuse): (Target, Target) = (daemon.target()?, daemon.target_of("/reuse")?);
        let mut side = Self {
            closed: ClosedLoop::connect(&fresh, expected(), CONNECTIONS)?,
            fresh: OpenLoop::connect(&fresh, expected(), OPEN)?,
            reuse: OpenLoop::connect(&reuse, expected(), OPEN)?,
            daemon,
            offered: 0.0,
            random: SplitMix64::new(1),
        };
        side.offered = (OFFERED * side.rate(time, errors)?).max(LEAST_OFFERED);
        Ok(side)
    }

    /// Invocations a second in a closed loop.
    fn rate(&mut self, time: Duration, errors: &mut BTreeSet<String>) -> Result<f64> {
        let window = self.closed.run(Until::Elapsed(time)).map_err(|error| self.explain(error))?;
        check(&window, "the closed loop", errors)?;
        Ok(window.rate())
    }

    /// An open loop of one of the two functions.
    fn latency(&mut self, fresh: bool, time: Duration, errors: &mut BTreeSet<String>) -> Result<Window> {
        let load = if fresh { &mut self.fresh } else { &mut self.reuse };
        let window = load.run(self.offered, time, &mut self.random).map_err(|error| self.explain(error))?;
        check(&window, if fresh { "the open loop of fresh" } else { "the open loop of reuse" }, errors)?;
        Ok(window)
    }

    /// A daemon that died explains it better than the connection that broke.
    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        self.daemon.check_alive().err().unwrap_or(error)
    }

    fn template_image_kib(&self) -> Option<u64> {
        resident_kib(families(&Tree::of(self.daemon.pid()).ok()?).first()?.template)
    }
}

fn check(window: &Window, which: &str, errors: &mut BTreeSet<String>) -> Result<()> {
    ensure!(window.requests > 0, "{which} had no answer");
    if let Some(wrong) = &window.first_wrong {
        errors.insert(format!("{which} had {} wrong answers, the first: {wrong:?}", window.wrong));
    }
    Ok(())
}

struct Settings {
    rounds: u16,
    window_s: f64,
    core: usize,
    offered: Option<f64>,
    images: (Option<u64>, Option<u64>),
}

fn report(samples: &Samples, settings: Settings, machine: Facts, errors: BTreeSet<String>) -> Result<Report> {
    let rate = Estimate::of_ratios(&samples.rate, &samples.bare);
    let again = Estimate::of_ratios(&samples.bare_again, &samples.bare).context("no rounds")?;
    let p50 = Estimate::of_ratios(&samples.fresh_p50, &samples.reuse_p50);
    Ok(Report {
        bench: "fresh",
        invocations_per_core_s: median(&samples.rate),
        bare_per_core_s: median(&samples.bare).context("no rounds")?,
        rate_ratio_bare: rate.map(|ratio| ratio.median),
        rate_ratio_bare_lo95: rate.map(|ratio| ratio.lo95),
        rate_ratio_bare_hi95: rate.map(|ratio| ratio.hi95),
        rate_goal_ratio: RATE_GOAL,
        bare_aa_ratio: again.median,
        bare_aa_ratio_lo95: again.lo95,
        bare_aa_ratio_hi95: again.hi95,
        p50_ratio_reuse: p50.map(|ratio| ratio.median),
        p50_ratio_reuse_lo95: p50.map(|ratio| ratio.lo95),
        p50_ratio_reuse_hi95: p50.map(|ratio| ratio.hi95),
        p50_goal_ratio: LATENCY_GOAL,
        fresh_p50_us: median(&samples.fresh_p50),
        fresh_p99_us: median(&samples.fresh_p99),
        reuse_p50_us: median(&samples.reuse_p50),
        reuse_p99_us: median(&samples.reuse_p99),
        offered_per_s: settings.offered,
        template_image_kib: settings.images.0,
        bare_image_kib: settings.images.1,
        rounds: settings.rounds,
        window_s: settings.window_s,
        server_core: settings.core,
        machine,
        errors,
    })
}

fn table(report: &Report) -> String {
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0}"));
    let image = |kib: Option<u64>| kib.map_or_else(|| "-".to_owned(), |kib| kib.to_string());
    let ratio = |median: Option<f64>, lo95: Option<f64>, hi95: Option<f64>| match (median, lo95, hi95) {
        (Some(median), Some(lo95), Some(hi95)) => format!("{median:.3} ({lo95:.3} – {hi95:.3})"),
        _ => "-".to_owned(),
    };
    format!(
        "\n{}\n{} rounds of {} s on core {}\n\n\
         invocations/s on one core     fresh {}, bare fork, invoke and exit {:.0}\n\
         ratio of these                {}, goal at least {}\n\
         bare loop, A/A                {}\n\
         p50 µs at {} requests/s     fresh {}, reuse {}\n\
         ratio of these                {}, goal at most {}\n\
         p99 µs                        fresh {}, reuse {}\n\
         resident image that forks     hairtrigger {} KiB, bare {} KiB",
        report.machine.line(),
        report.rounds,
        report.window_s,
        report.server_core,
        number(report.invocations_per_core_s),
        report.bare_per_core_s,
        ratio(report.rate_ratio_bare, report.rate_ratio_bare_lo95, report.rate_ratio_bare_hi95),
        report.rate_goal_ratio,
        ratio(Some(report.bare_aa_ratio), Some(report.bare_aa_ratio_lo95), Some(report.bare_aa_ratio_hi95)),
        number(report.offered_per_s),
        number(report.fresh_p50_us),
        number(report.reuse_p50_us),
        ratio(report.p50_ratio_reuse, report.p50_ratio_reuse_lo95, report.p50_ratio_reuse_hi95),
        report.p50_goal_ratio,
        number(report.fresh_p99_us),
        number(report.reuse_p99_us),
        image(report.template_image_kib),
        image(report.bare_image_kib),
    )
}
