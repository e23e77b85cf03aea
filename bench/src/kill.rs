//! `kill`: how long after its deadline a worker that runs away still runs.
//!
//! The function stamps the board with the time, again and again, and never returns. The board is a file that both have
//! mapped: it outlives the worker, and no word of the daemon is between. The last stamp less the deadline, which the
//! daemon has told the function, is how late it was stopped. Stamps are tens of nanoseconds apart.
//!
//! Two daemons take turns: one that may use all cores, as installed, and one that has a single core, so that the
//! runaway has to be taken off the very core that its own end must come from.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::build::with_bench_plugin;
use crate::clock::us_between;
use crate::facts::Facts;
use crate::load::Single;
use crate::process::allowed_cores;
use crate::scene::Scene;
use crate::server::{FunctionFiles, Server};
use crate::stats::{Estimate, SplitMix64, quantile};
use crate::{Output, interrupt};

/// The function's time limit. Long beside a start, so that the next worker is there before it is wanted.
const TIMEOUT: Duration = Duration::from_millis(20);
/// Between two kills: the daemon replaces the worker, and puts it into its group, in the meantime.
const PAUSE: Duration = Duration::from_millis(30);
/// What that is made longer by, at most: kills must not fall into step with a clock of the daemon.
const PHASE: Duration = Duration::from_millis(4);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much earlier than the client's own reckoning the daemon may set a deadline: its clock is read once a turn.
const CLOCK_LAG_US: f64 = 1_000.0;
/// What the median is to be, in microseconds.
const GOAL_US: f64 = 1_000.0;

/// How long after its deadline a worker that runs away still runs, as the worker itself stamps it.
///
/// The client's 504 stands beside it. Two daemons take turns, one on all cores and one on a single core.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Runaways on each of the two daemons [default: 201; with --smoke 5]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: Option<u16>,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// The core of the daemon that has but one [default: the first that may be used]
    #[arg(long, value_name = "CORE")]
    server_core: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// What is known of the runaways of one daemon, one entry each, in microseconds.
#[derive(Debug, Default)]
struct Runaways {
    /// From the deadline to the last stamp; 0 if it did not run at its deadline.
    late: Vec<f64>,
    /// From the deadline to the client's 504.
    answer: Vec<f64>,
    /// From when the client's request and the time limit have it until the deadline that the function was told.
    delivered: Vec<f64>,
    /// Between two stamps, on average.
    tick: Vec<f64>,
}

/// A daemon, the client's connection to it, and what came of it.
struct Side {
    server: Server,
    client: Single,
    answers: Vec<(usize, u64, u64)>,
}

/// Figures of one daemon, in microseconds.
#[derive(Debug, Serialize)]
struct Figures {
    late: Estimate,
    late_p99_us: f64,
    late_max_us: f64,
    answer_p50_us: f64,
    answer_p99_us: f64,
    /// The deadline beside the client's own reckoning: send time and time limit.
    deadline_p50_us: f64,
    deadline_min_us: f64,
    /// Runaways that were not running when their time was up.
    not_running: usize,
}

/// The JSON object. Times in microseconds.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    late_p50_us: f64,
    late_p50_us_lo95: f64,
    late_p50_us_hi95: f64,
    late_p99_us: f64,
    one_core_late_p50_us: f64,
    one_core_late_p50_us_lo95: f64,
    one_core_late_p50_us_hi95: f64,
    one_core_late_p99_us: f64,
    goal_p50_us: f64,
    tick_us: f64,
    timeout_us: f64,
    all_cores: Figures,
    one_core: Figures,
    rounds: u16,
    server_core: usize,
    machine: Facts,
}

/// Runs the bench and prints its result.
///
/// # Errors
/// If a daemon does not start, a runaway is not answered with 504, or the run is interrupted.
pub(crate) fn run(args: &KillArgs) -> Result<bool> {
    let rounds = args.rounds.unwrap_or(if args.output.smoke { 5 } else { 201 });
    let machine = Facts::read();
    let cores = allowed_cores().context("which cores may be used")?;
    let core = args.server_core.unwrap_or(cores[0]);
    let artefacts = with_bench_plugin(args.daemon.as_deref())?;

    let scene = Scene::new(2 * usize::from(rounds))?;
    let manifest = format!(
        "timeout = \"{}ms\"\n[concurrency]\nprovisioned = 2\nmax = 2\n{}",
        TIMEOUT.as_millis(),
        scene.grant()
    );
    let function = FunctionFiles { name: "runaway", plugin: &artefacts.plugin, manifest: &manifest };
    let side = |cores: &[usize]| {
        let server = Server::daemon(cores, &artefacts.daemon, std::slice::from_ref(&function))?;
        let client = Single::connect(&server.target()?, PATIENCE)?;
        anyhow::Ok(Side { server, client, answers: Vec::new() })
    };
    let mut sides = [side(&cores)?, side(&[core])?];
    let mut random = SplitMix64::new(u64::from(rounds));
    for round in 0..usize::from(rounds) {
        // Each goes first as often as second.
        for turn in [round % 2, 1 - round % 2] {
            ensure!(!interrupt::requested(), "interrupted");
            thread::sleep(PAUSE + PHASE.mul_f64(random.share()));
            sides[turn].run_away(2 * round + turn)?;
        }
        if (round + 1) % 50 == 0 {
            eprintln!("round {}/{rounds}", round + 1);
        }
    }
    // A row is final once its worker is gone, and with the daemons all of them are.
    let [all, one] = sides.map(|side| side.answers);
    let (all, one) = (gather(&scene, &all)?, gather(&scene, &one)?);
    let report = report(&all, &one, rounds, core, machine)?;
    args.output.print(&report, table)?;
    Ok(true)
}

impl Side {
    /// Has one worker run away until it is killed; it stamps `row`.
    fn run_away(&mut self, row: usize) -> Result<()> {
        let target = self.server.target_of(&format!("/runaway?deed=run-away&row={row}"))?;
        let answer = self.client.ask(&target).map_err(|error| {
            // A daemon that died explains it better than the connection that broke.
            self.server.check_alive().err().unwrap_or(error)
        })?;
        if answer.status != 504 {
            bail!("status {} instead of 504: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        self.answers.push((row, answer.sent, answer.answered));
        Ok(())
    }
}

fn gather(scene: &Scene, answers: &[(usize, u64, u64)]) -> Result<Runaways> {
    let mut runaways = Runaways::default();
    let timeout = u64::try_from(TIMEOUT.as_nanos())?;
    for &(row, sent, answered) in answers {
        let row = &scene.rows()[row];
        let (begun, deadline) = (row.begun.load(Acquire), row.deadline.load(Acquire));
        let (tick, ticks) = (row.tick.load(Acquire), row.ticks.load(Acquire));
        ensure!(begun > sent && tick >= begun && ticks > 0, "a worker was ended before it could run away");
        let delivered = us_between(sent + timeout, deadline);
        ensure!(
            delivered >= -CLOCK_LAG_US,
            "the daemon states a deadline {:.0} µs before the request's time is up",
            -delivered
        );
        runaways.late.push(us_between(deadline, tick).max(0.0));
        runaways.answer.push(us_between(deadline, answered));
        runaways.delivered.push(delivered);
        // Far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        runaways.tick.push(us_between(begun, tick) / ticks as f64);
    }
    Ok(runaways)
}

impl Runaways {
    fn figures(&self) -> Option<Figures> {
        Some(Figures {
            late: Estimate::of(&self.late)?,
            late_p99_us: quantile(&self.late, 0.99)?,
            late_max_us: quantile(&self.late, 1.0)?,
            answer_p50_us: quantile(&self.answer, 0.5)?,
            answer_p99_us: quantile(&self.answer, 0.99)?,
            deadline_p50_us: quantile(&self.delivered, 0.5)?,
            deadline_min_us: quantile(&self.delivered, 0.0)?,
            not_running: self.late.iter().filter(|late| **late <= 0.0).count(),
        })
    }
}

fn report(all: &Runaways, one: &Runaways, rounds: u16, server_core: usize, machine: Facts) -> Result<Report> {
    let (all_cores, one_core) = (all.figures().context("no rounds")?, one.figures().context("no rounds")?);
    Ok(Report {
        bench: "kill",
        late_p50_us: all_cores.late.median,
        late_p50_us_lo95: all_cores.late.lo95,
        late_p50_us_hi95: all_cores.late.hi95,
        late_p99_us: all_cores.late_p99_us,
        one_core_late_p50_us: one_core.late.median,
        one_core_late_p50_us_lo95: one_core.late.lo95,
        one_core_late_p50_us_hi95: one_core.late.hi95,
        one_core_late_p99_us: one_core.late_p99_us,
        goal_p50_us: GOAL_US,
        tick_us: quantile(&[all.tick.as_slice(), one.tick.as_slice()].concat(), 0.5).context("no rounds")?,
        timeout_us: TIMEOUT.as_secs_f64() * 1e6,
        all_cores,
        one_core,
        rounds,
        server_core,
        machine,
    })
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "\n{}\n{} runaways on each daemon, time limit {:.0} ms, a stamp every {:.3} µs\n\n\
         µs after the deadline       p50 (95% bounds)          p99        max    504 p50    504 p99    not running\n",
        report.machine.line(),
        report.rounds,
        report.timeout_us / 1_000.0,
        report.tick_us,
    );
    for (name, figures) in [("all cores", &report.all_cores), ("one core", &report.one_core)] {
        let late = figures.late;
        text += &format!(
            "last stamp, {name:<10}  {:>8.1} ({:>6.1} – {:<6.1})  {:>9.1}  {:>9.1}  {:>9.1}  {:>9.1}    {:>11}\n",
            late.median,
            late.lo95,
            late.hi95,
            figures.late_p99_us,
            figures.late_max_us,
            figures.answer_p50_us,
            figures.answer_p99_us,
            figures.not_running,
        );
    }
    text += &format!(
        "\nThe goal is a median of {:.0} µs. The deadline that a function is told lies {:.0} µs (at least {:.0}) behind\n\
         the client's own reckoning, send time and time limit: the request's way to the worker.",
        report.goal_p50_us, report.all_cores.deadline_p50_us, report.all_cores.deadline_min_us
    );
    text
}
