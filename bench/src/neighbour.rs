//! `neighbour`: what a quiet function's callers notice of a loud one.
//!
//! The quiet function answers a modest open loop, in windows of four kinds that take turns: beside nobody, twice; beside a
//! function of which one invocation a core computes without end; and beside a function that 64 connections flood. A p99 is
//! held against that of the same round beside nobody.
//!
//! *Nobody* are processes outside of the daemon that take every core which nobody else wants (`SCHED_IDLE`): waking a core
//! that sleeps costs a virtual machine tens of microseconds, and a spinning neighbour would save it that. The quiet
//! function's client runs before all others, and the flood's takes what the daemon leaves it of the cores, for neither is
//! what is measured.

use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use crate::build::with_bench_plugin;
use crate::facts::Facts;
use crate::load::{Burst, ClosedLoop, Expected, OpenLoop, Until, quantile_us};
use crate::process::{Guarded, allowed_cores, run_first, run_last, signal, take_what_is_left, wait_until};
use crate::scene::Scene;
use crate::server::{FunctionFiles, Server};
use crate::stats::{Estimate, SplitMix64, median};
use crate::{HELLO, Output, clock};

/// Connections of the quiet function's client: far more than are busy at a time.
const CONNECTIONS: usize = 32;
/// Connections of the flood.
const FLOOD: usize = 64;
/// The flood begins so long before a window, and goes on so long behind it.
const AROUND: Duration = Duration::from_millis(150);
/// How long a neighbour may take until it spins.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the p99 beside a spinning function may be of that beside nobody.
const GOAL: f64 = 3.0;

/// Latency of a quiet function beside a spinning one and beside a flooded one, against that beside nobody.
#[derive(Debug, Args)]
pub(crate) struct NeighbourArgs {
    /// Rounds, each with two windows beside nobody and one beside each neighbour [default: 11; with --smoke 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Length of a window [default: 2; with --smoke 0.3]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,
    /// Requests a second of the quiet function
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    rate: u32,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Who is beside the quiet function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    NobodyAgain,
    Spinning,
    Flooded,
}

impl Beside {
    const ALL: [Self; 4] = [Self::Nobody, Self::Spinning, Self::NobodyAgain, Self::Flooded];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::NobodyAgain => "nobody (A/A)",
            Self::Spinning => "spinning",
            Self::Flooded => "flooded",
        }
    }
}

/// Windows of one kind, one a round; latencies in microseconds.
#[derive(Debug, Default)]
struct Series {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Figures beside one neighbour, in microseconds: medians of the windows' own.
#[derive(Debug, Serialize)]
struct Figures {
    beside: &'static str,
    p50_us: f64,
    p99_us: f64,
}

/// The JSON object. Ratios are of windows in one round.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    p99_ratio_spinning: f64,
    p99_ratio_spinning_lo95: f64,
    p99_ratio_spinning_hi95: f64,
    p99_ratio_flooded: f64,
    p99_ratio_flooded_lo95: f64,
    p99_ratio_flooded_hi95: f64,
    /// The noise: of two windows beside nobody.
    p99_ratio_aa: f64,
    p99_ratio_aa_lo95: f64,
    p99_ratio_aa_hi95: f64,
    p50_ratio_spinning: f64,
    p50_ratio_flooded: f64,
    goal_ratio: f64,
    figures: Vec<Figures>,
    flood_requests_per_s: f64,
    rate: u32,
    rounds: u16,
    window_s: f64,
    spinners: usize,
    /// Whether the client ran before all others.
    client_first: bool,
    machine: Facts,
}

/// Runs the bench and prints its result.
///
/// # Errors
/// If the daemon does not start or answer, an answer is wrong, or the run is interrupted.
pub(crate) fn run(args: &NeighbourArgs) -> Result<bool> {
    let smoke = args.output.smoke;
    let rounds = args.rounds.unwrap_or(if smoke { 1 } else { 11 });
    let window_s = args.window.unwrap_or(if smoke { 0.3 } else { 2.0 });
    ensure!((0.05..=60.0).contains(&window_s), "a window takes between 0.05 and 60 s");
    let machine = Facts::read();
    let artefacts = with_bench_plugin(args.daemon.as_deref())?;
    let cores = allowed_cores().context("which cores may be used")?;
    let scene = Scene::new(cores.len())?;
    let spinner = format!(
        "timeout = \"5m\"\n[concurrency]\nprovisioned = {0}\nmax = {0}\n{1}",
        cores.len(),
        scene.grant()
    );
    let function = |name, manifest| FunctionFiles { name, plugin: &artefacts.plugin, manifest };
    let functions = [
        function("quiet", ""),
        function("spinner", spinner.as_str()),
        function("flooded", "[concurrency]\nqueue = 4096\n"),
    ];
    let daemon = Server::daemon(&cores, &artefacts.daemon, &functions)?;
    // Both are loaded before anything is measured.
    daemon.get("/spinner")?;
    daemon.get("/flooded")?;
    let nobody = IdleSpinners::start(&cores)?;
    take_what_is_left();
    let client_first = run_first();
    if !client_first {
        eprintln!("the client may not run before all others: its own waits are in the figures");
    }

    let expected = Expected { status: 200, body: HELLO.into() };
    let mut quiet = OpenLoop::connect(&daemon.target()?, expected, CONNECTIONS)?;
    let mut random = SplitMix64::new(u64::from(args.rate));
    let time = Duration::from_secs_f64(window_s);
    let mut window = || {
        let window = quiet.run(f64::from(args.rate), time, &mut random)?;
        ensure!(window.wrong == 0, "a wrong answer: {:?}", window.first_wrong);
        ensure!(window.requests > 0, "a window without a request");
        Ok((quantile_us(&window.latency, 0.5), quantile_us(&window.latency, 0.99)))
    };
    window()?;
    let mut series = Beside::ALL.map(|_| Series::default());
    let mut floods = Vec::new();
    for round in 0..usize::from(rounds) {
        let mut line = String::new();
        for turn in 0..Beside::ALL.len() {
            // Every kind comes first as often as last.
            let which = (turn + round) % Beside::ALL.len();
            let (p50, p99) = match Beside::ALL[which] {
                Beside::Nobody | Beside::NobodyAgain => window()?,
                Beside::Spinning => nobody.away(|| beside_spinners(&daemon, &scene, time, &mut window))?,
                Beside::Flooded => {
                    let (latency, rate) = beside_flood(&daemon, time, &mut window)?;
                    floods.push(rate);
                    latency
                }
            };
            series[which].p50.push(p50);
            series[which].p99.push(p99);
            line += &format!("  {} {p99:.0} µs", Beside::ALL[which].name());
        }
        eprintln!("round {}/{rounds}, p99:{line}", round + 1);
    }
    drop((nobody, daemon));

    let report = report(&series, &floods, args, (rounds, window_s, cores.len(), client_first), machine)?;
    args.output.print(&report, table)?;
    Ok(true)
}

/// A p50 and a p99, in microseconds.
type Latency = (f64, f64);

/// A window while one invocation a core computes without end.
fn beside_spinners(
    daemon: &Server,
    scene: &Scene,
    time: Duration,
    window: &mut impl FnMut() -> Result<Latency>,
) -> Result<Latency> {
    for row in scene.rows() {
        row.begun.store(0, Release);
        row.ended.store(0, Release);
    }
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let until = clock::now_ns() + nanoseconds(time + AROUND * 4);
    let target = |row| daemon.target_of(&format!("/spinner?deed=spin&until={until}&row={row}"));
    let burst = Burst::connect((0..scene.rows().len()).map(target).collect::<Result<_>>()?)?;
    let spinners = thread::spawn(move || burst.run());
    let all_begun = || scene.rows().iter().all(|row| row.begun.load(Acquire) > 0);
    ensure!(wait_until(PATIENCE, all_begun), "not every core has a spinning neighbour");
    let latency = window()?;
    let end = clock::now_ns();
    let answers = spinners.join().map_err(|_| anyhow::anyhow!("the spinners' client panicked"))??;
    ensure!(answers.iter().all(|answer| answer.status == 200), "a spinner answered {answers:?}");
    let early = scene.rows().iter().filter(|row| row.ended.load(Acquire) < end).count();
    // The last answers of a window may be late; then the neighbours were gone for a moment of it.
    if early > 0 {
        eprintln!("{early} spinning neighbours ended before the window's last answer");
    }
    Ok(latency)
}

/// A window while connections without pause ask for nothing; and how many they were answered a second.
fn beside_flood(
    daemon: &Server,
    time: Duration,
    window: &mut impl FnMut() -> Result<Latency>,
) -> Result<(Latency, f64)> {
    let expected = Expected { status: 200, body: Vec::new() };
    let mut load = ClosedLoop::connect(&daemon.target_of("/flooded?deed=nothing")?, expected, FLOOD)?;
    let flood = thread::spawn(move || load.run(Until::Elapsed(time + 2 * AROUND)));
    thread::sleep(AROUND);
    let latency = window()?;
    let flood = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    ensure!(flood.wrong == 0, "the flood had a wrong answer: {:?}", flood.first_wrong);
    Ok((latency, flood.rate()))
}

/// The role `idle-spinner`: computes where no other wants to, until it is ended.
///
/// # Errors
/// If the kernel does not know of such.
pub(crate) fn spin_when_idle() -> Result<()> {
    run_last().context("SCHED_IDLE")?;
    loop {
        std::hint::spin_loop();
    }
}

/// A process for each core that takes what no other wants. Dropping it ends them.
struct IdleSpinners {
    processes: Vec<Guarded>,
    _folder: TempDir,
}

impl IdleSpinners {
    fn start(cores: &[usize]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let start = |&core: &usize| {
            let mut command = std::process::Command::new(std::env::current_exe()?);
            command.arg("idle-spinner");
            let output = folder.path().join(format!("{core}.log"));
            Guarded::start("an idle spinner", command, &[core], output)
        };
        Ok(Self { processes: cores.iter().map(start).collect::<Result<_>>()?, _folder: folder })
    }

    /// Does something while they stand still.
    fn away<T>(&self, something: impl FnOnce() -> T) -> T {
        self.tell(libc::SIGSTOP);
        let result = something();
        self.tell(libc::SIGCONT);
        result
    }

    fn tell(&self, what: i32) {
        self.processes.iter().for_each(|process| signal(process.pid(), what));
    }
}

fn report(
    series: &[Series; 4],
    floods: &[f64],
    args: &NeighbourArgs,
    (rounds, window_s, spinners, client_first): (u16, f64, usize, bool),
    machine: Facts,
) -> Result<Report> {
    let of = |beside: Beside| {
        let place = Beside::ALL.iter().position(|kind| *kind == beside);
        place.map(|place| &series[place]).context("a kind of window")
    };
    let nobody = of(Beside::Nobody)?;
    let p99 = |beside| Estimate::of_ratios(&of(beside)?.p99, &nobody.p99).context("no rounds");
    let p50 = |beside| Estimate::of_ratios(&of(beside)?.p50, &nobody.p50).context("no rounds");
    let (spinning, flooded, again) =
        (p99(Beside::Spinning)?, p99(Beside::Flooded)?, p99(Beside::NobodyAgain)?);
    let figures = |(beside, series): (&Beside, &Series)| {
        Some(Figures { beside: beside.name(), p50_us: median(&series.p50)?, p99_us: median(&series.p99)? })
    };
    Ok(Report {
        bench: "neighbour",
        p99_ratio_spinning: spinning.median,
        p99_ratio_spinning_lo95: spinning.lo95,
        p99_ratio_spinning_hi95: spinning.hi95,
        p99_ratio_flooded: flooded.median,
        p99_ratio_flooded_lo95: flooded.lo95,
        p99_ratio_flooded_hi95: flooded.hi95,
        p99_ratio_aa: again.median,
        p99_ratio_aa_lo95: again.lo95,
        p99_ratio_aa_hi95: again.hi95,
        p50_ratio_spinning: p50(Beside::Spinning)?.median,
        p50_ratio_flooded: p50(Beside::Flooded)?.median,
        goal_ratio: GOAL,
        figures: Beside::ALL.iter().zip(series).map(figures).collect::<Option<_>>().context("no rounds")?,
        flood_requests_per_s: median(floods).context("no rounds")?,
        rate: args.rate,
        rounds,
        window_s,
        spinners,
        client_first,
        machine,
    })
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "\n{}\n{} requests/s of a quiet function, {} rounds of {} s; {} spinning neighbours, a flood of {:.0} requests/s\n\n\
         beside             p50 µs     p99 µs\n",
        report.machine.line(),
        report.rate,
        report.rounds,
        report.window_s,
        report.spinners,
        report.flood_requests_per_s,
    );
    for Figures { beside, p50_us, p99_us } in &report.figures {
        text += &format!("{beside:<14}  {p50_us:>9.1}  {p99_us:>9.1}\n");
    }
    text += "\nratio of p99 to that beside nobody    median (95% bounds)\n";
    for (name, median, lo95, hi95) in [
        (
            "spinning",
            report.p99_ratio_spinning,
            report.p99_ratio_spinning_lo95,
            report.p99_ratio_spinning_hi95,
        ),
        ("flooded", report.p99_ratio_flooded, report.p99_ratio_flooded_lo95, report.p99_ratio_flooded_hi95),
        ("nobody (A/A)", report.p99_ratio_aa, report.p99_ratio_aa_lo95, report.p99_ratio_aa_hi95),
    ] {
        text += &format!("{name:<34}  {median:>8.2}  ({lo95:.2} – {hi95:.2})\n");
    }
    text += &format!("\nThe goal beside a spinning function is {:.0}.", report.goal_ratio);
    text
}
