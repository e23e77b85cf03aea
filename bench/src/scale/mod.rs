//! `scale`: how long it takes until a crowd that comes at once is served at once, and until nothing is left of it.
//!
//! A thousand requests are sent over connections that are open already, to a function with a template and no worker; each
//! keeps its worker for a second. Every invocation stamps the board when it begins and when it ends, so who was served
//! when is known without asking the daemon. All are served at the same time once the last has begun, if none has ended by
//! then. Processes are counted by the kernel, in the function's control group and by its user.

mod picture;
mod processes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench_plugin::board::Row;
use clap::Args;
use serde::Serialize;

use self::picture::Picture;
use self::processes::{Counter, Owner, Sample};
use crate::build::with_bench_plugin;
use crate::facts::Facts;
use crate::load::{Answered, Burst};
use crate::process::{allowed_cores, wait_until};
use crate::scene::Scene;
use crate::server::{FunctionFiles, Server};
use crate::stats::{Estimate, median};
use crate::{Output, interrupt};

/// How long a worker may be without work.
const IDLE: Duration = Duration::from_millis(400);
/// How long the template may be without a worker; the least that a manifest can say is a second.
const UNLOAD: Duration = Duration::from_millis(1500);
/// How long what has begun to go may take to be gone, however busy the machine.
const GONE: Duration = Duration::from_secs(60);
/// The step from nothing.
const STEP: usize = 50;
/// How long each invocation of a step keeps its worker, in ms.
const STEP_SERVICE_MS: u64 = 300;
/// Within this, all are to be served at the same time, in ms.
const GOAL_MS: f64 = 1000.0;
/// Within this, all of a step are to have begun, in ms.
const STEP_GOAL_MS: f64 = 50.0;

/// How long until a thousand requests that come at once are served at once, and until nothing is left.
///
/// The function has a template and no worker when they come, and each request keeps a worker for a second. A step from
/// nothing to 50 stands beside it, and how many of the function's processes there are in the end.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Requests that come at once [default: 1000; with --smoke 20]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    requests: Option<u16>,
    /// How long each keeps its worker, in milliseconds [default: 1000]
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    service: u64,
    /// Crowds, and four times as many steps [default: 3; with --smoke 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Draw requests and processes over time, as SVG: the crowd that took the median time
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// One request of a crowd: nanoseconds of `CLOCK_MONOTONIC`; `served` is from when to when a worker had it.
#[derive(Clone, Copy, Debug)]
struct Request {
    sent: u64,
    answered: u64,
    served: Option<(u64, u64)>,
}

/// What was seen of one crowd.
#[derive(Debug)]
struct Crowd {
    requests: Vec<Request>,
    /// How many were answered with which status.
    statuses: BTreeMap<u16, usize>,
    processes: Vec<Sample>,
}

/// The JSON object. Times in milliseconds from the first request; `null` did not happen.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    /// Until all were served at the same time: the median; `null` if some crowd never was.
    all_serving_ms: Option<f64>,
    all_serving_ms_lo95: Option<f64>,
    all_serving_ms_hi95: Option<f64>,
    all_serving_goal_ms: f64,
    /// Until the last had begun, whether or not the first had ended.
    all_begun_ms: f64,
    /// Most that were served at the same time, in the crowd with the fewest.
    peak_serving: usize,
    step_50_ms: f64,
    step_50_ms_lo95: f64,
    step_50_ms_hi95: f64,
    step_50_goal_ms: f64,
    /// The same step when there is no template either.
    asleep_step_50_ms: f64,
    /// Processes of the function in the end.
    processes_at_end: usize,
    /// From the last answer until there was none, in milliseconds; `null` if some were left.
    gone_after_ms: Option<f64>,
    idle_ms: f64,
    unload_ms: f64,
    statuses: BTreeMap<u16, usize>,
    requests: usize,
    service_ms: u64,
    rounds: u16,
    machine: Facts,
    /// What makes the figures doubtful; empty in a good run.
    errors: Vec<String>,
}

/// Runs the bench and prints its result. Gives whether every request was answered as it should be.
///
/// # Errors
/// If the daemon does not start or answer, or the run is interrupted.
pub(crate) fn run(args: &ScaleArgs) -> Result<bool> {
    let smoke = args.output.smoke;
    let requests = usize::from(args.requests.unwrap_or(if smoke { 20 } else { 1000 }));
    let rounds = args.rounds.unwrap_or(if smoke { 1 } else { 3 });
    let machine = Facts::read();
    let artefacts = with_bench_plugin(args.daemon.as_deref())?;
    let cores = allowed_cores().context("which cores may be used")?;
    let scene = Scene::new(requests.max(STEP))?;
    let manifest = format!(
        "timeout = \"2m\"\n[concurrency]\nprovisioned = 0\nmax = {}\nqueue = 4096\nidle = \"{}ms\"\n\
         unload = \"{}ms\"\n{}",
        requests.max(STEP),
        IDLE.as_millis(),
        UNLOAD.as_millis(),
        scene.grant()
    );
    let function = FunctionFiles { name: "work", plugin: &artefacts.plugin, manifest: &manifest };
    let daemon = Server::daemon(&cores, &artefacts.daemon, &[function])?;
    let owner = Owner::of(&daemon)?;
    let stage = Stage { daemon: &daemon, scene: &scene };

    let mut steps = Vec::new();
    for round in 0..4 * rounds {
        stage.without_workers()?;
        let step = stage.offer(STEP, STEP_SERVICE_MS)?;
        steps.push(step.all_begun_ms().context("a step that was not served")?);
        eprintln!("step {}/{}: {:.1} ms", round + 1, 4 * rounds, steps[steps.len() - 1]);
    }
    let mut asleep = Vec::new();
    for _ in 0..rounds {
        owner.wait_until_gone()?.context("the function does not fall asleep")?;
        asleep
            .push(stage.offer(STEP, STEP_SERVICE_MS)?.all_begun_ms().context("a step that was not served")?);
    }
    let mut crowds = Vec::new();
    for round in 0..rounds {
        let counter = stage.without_workers()?.start();
        let mut crowd = stage.offer(requests, args.service)?;
        let gone = owner.wait_until_gone()?;
        crowd.processes = counter.stop();
        let (serving, peak) = (crowd.all_serving_ms(), crowd.peak_serving());
        eprintln!("crowd {}/{rounds}: all served at once after {serving:.1?} ms, at most {peak}", round + 1);
        crowds.push((crowd, gone));
    }

    let report = report(args, &crowds, (&steps, &asleep), owner.count()?, (rounds, machine))?;
    if let Some(file) = &args.picture {
        let mut by_time: Vec<&Crowd> = crowds.iter().map(|(crowd, _)| crowd).collect();
        by_time.sort_by(|one, other| {
            one.all_begun_ms().unwrap_or(0.0).total_cmp(&other.all_begun_ms().unwrap_or(0.0))
        });
        let crowd = by_time[by_time.len() / 2];
        let picture = Picture::of(crowd, args.service, &report.machine.line()).context("an empty crowd")?;
        std::fs::write(file, picture.svg()).with_context(|| format!("writing {}", file.display()))?;
    }
    args.output.print(&report, table)?;
    for error in &report.errors {
        eprintln!("error: {error}");
    }
    Ok(report.errors.is_empty())
}

/// What crowds are offered to.
struct Stage<'a> {
    daemon: &'a Server,
    scene: &'a Scene,
}

impl Stage<'_> {
    /// Waits until there is a template and no worker; what counts the function's processes then.
    fn without_workers(&self) -> Result<Counter> {
        let deadline = Instant::now() + GONE;
        loop {
            ensure!(!interrupt::requested(), "interrupted");
            ensure!(Instant::now() < deadline, "the function does not come to a template without workers");
            // It may have been asleep.
            self.daemon.get("/work")?;
            let Some(counter) = Counter::of(self.daemon)? else { continue };
            // The worker that answered goes once it has been idle for long enough, and the template long after it.
            if wait_until(IDLE + UNLOAD, || counter.workers() == Some(0)) {
                return Ok(counter);
            }
        }
    }

    /// Sends `count` requests at once, each of which keeps a worker for `service` ms, and waits for their answers.
    fn offer(&self, count: usize, service: u64) -> Result<Crowd> {
        let rows = self.scene.rows().get(..count).context("a row for each request")?;
        for row in rows {
            row.begun.store(0, Release);
            row.ended.store(0, Release);
        }
        let target = |row| self.daemon.target_of(&format!("/work?deed=sleep&ms={service}&row={row}"));
        let burst = Burst::connect((0..count).map(target).collect::<Result<_>>()?)?;
        let answers = burst.run().with_context(|| {
            let begun = rows.iter().filter(|row| row.begun.load(Acquire) > 0).count();
            format!("{begun} of {count} have begun; the daemon's last words: {}", self.daemon.last_words())
        })?;
        Ok(Crowd::of(&answers, rows))
    }
}

impl Crowd {
    fn of(answers: &[Answered], rows: &[Row]) -> Self {
        let mut statuses = BTreeMap::new();
        for answer in answers {
            *statuses.entry(answer.status).or_default() += 1;
        }
        let served = |row: &Row| {
            let (begun, ended) = (row.begun.load(Acquire), row.ended.load(Acquire));
            (begun > 0 && ended > 0).then_some((begun, ended))
        };
        let request = |(answer, row): (&Answered, &Row)| Request {
            sent: answer.sent,
            answered: answer.answered,
            served: served(row),
        };
        let requests = answers.iter().zip(rows).map(request).collect();
        Self { requests, statuses, processes: Vec::new() }
    }

    /// When the first was sent.
    fn offered(&self) -> Option<u64> {
        self.requests.iter().map(|request| request.sent).min()
    }

    /// From the first request until the last had begun; `None` if some never did.
    fn all_begun_ms(&self) -> Option<f64> {
        let served = self.requests.iter().map(|request| request.served);
        let last = served.map(|served| Some(served?.0)).max_by_key(|begun| begun.unwrap_or(u64::MAX))??;
        Some(crate::clock::us_between(self.offered()?, last) / 1_000.0)
    }

    /// The same, if none had ended by then.
    fn all_serving_ms(&self) -> Option<f64> {
        (self.peak_serving() == self.requests.len()).then(|| self.all_begun_ms()).flatten()
    }

    /// Most that were served at the same time.
    fn peak_serving(&self) -> usize {
        let mut changes: Vec<(u64, bool)> = Vec::new();
        for (begun, ended) in self.requests.iter().filter_map(|request| request.served) {
            changes.extend([(begun, true), (ended, false)]);
        }
        // Of two at one time, the end comes first.
        changes.sort_unstable();
        let (mut now, mut peak) = (0_usize, 0);
        for (_, begins) in changes {
            now = if begins { now + 1 } else { now.saturating_sub(1) };
            peak = peak.max(now);
        }
        peak
    }
}

fn report(
    args: &ScaleArgs,
    crowds: &[(Crowd, Option<Duration>)],
    (steps, asleep): (&[f64], &[f64]),
    processes_at_end: usize,
    (rounds, machine): (u16, Facts),
) -> Result<Report> {
    let mut errors = Vec::new();
    let mut statuses = BTreeMap::new();
    for (crowd, _) in crowds {
        for (status, count) in &crowd.statuses {
            *statuses.entry(*status).or_default() += count;
        }
    }
    let wrong: usize = statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum();
    if wrong > 0 {
        errors.push(format!("{wrong} requests were not answered with 200: {statuses:?}"));
    }
    let all: Option<Vec<f64>> = crowds.iter().map(|(crowd, _)| crowd.all_serving_ms()).collect();
    let all = all.and_then(|all| Estimate::of(&all));
    let requests = crowds.first().context("no crowds")?.0.requests.len();
    let peak_serving = crowds.iter().map(|(crowd, _)| crowd.peak_serving()).min().context("no crowds")?;
    if all.is_none() {
        errors.push(format!("a crowd was never served all at once: at most {peak_serving} of {requests}"));
    }
    let begun: Vec<f64> = crowds.iter().filter_map(|(crowd, _)| crowd.all_begun_ms()).collect();
    let gone: Option<Vec<f64>> =
        crowds.iter().map(|(_, gone)| gone.map(|gone| gone.as_secs_f64() * 1e3)).collect();
    if gone.is_none() {
        errors
            .push(format!("processes of the function were left {} s after the last answer", GONE.as_secs()));
    }
    if processes_at_end > 0 {
        errors.push(format!("{processes_at_end} processes of the function are left in the end"));
    }
    let step = Estimate::of(steps).context("no steps")?;
    Ok(Report {
        bench: "scale",
        all_serving_ms: all.map(|all| all.median),
        all_serving_ms_lo95: all.map(|all| all.lo95),
        all_serving_ms_hi95: all.map(|all| all.hi95),
        all_serving_goal_ms: GOAL_MS,
        all_begun_ms: median(&begun).context("no crowd that was served whole")?,
        peak_serving,
        step_50_ms: step.median,
        step_50_ms_lo95: step.lo95,
        step_50_ms_hi95: step.hi95,
        step_50_goal_ms: STEP_GOAL_MS,
        asleep_step_50_ms: median(asleep).context("no steps")?,
        processes_at_end,
        gone_after_ms: gone.and_then(|gone| median(&gone)),
        idle_ms: IDLE.as_secs_f64() * 1e3,
        unload_ms: UNLOAD.as_secs_f64() * 1e3,
        statuses,
        requests,
        service_ms: args.service,
        rounds,
        machine,
        errors,
    })
}

fn table(report: &Report) -> String {
    let range = |median: Option<f64>, lo95: Option<f64>, hi95: Option<f64>| match (median, lo95, hi95) {
        (Some(median), Some(lo95), Some(hi95)) => format!("{median:.1} ms ({lo95:.1} – {hi95:.1})"),
        _ => "never".to_owned(),
    };
    format!(
        "\n{}\n{} requests at once, each for {} ms, {} times; steps to {STEP}, {} times\n\n\
         all served at once after        {}, goal {:.0} ms\n\
         most served at once             {}\n\
         the last has begun after        {:.1} ms\n\
         step from 0 to {STEP}               {}, goal {:.0} ms\n\
         the same from asleep            {:.1} ms\n\
         gone after the last answer      {}, of which idle {:.0} and unload {:.0}\n\
         processes in the end            {}",
        report.machine.line(),
        report.requests,
        report.service_ms,
        report.rounds,
        4 * report.rounds,
        range(report.all_serving_ms, report.all_serving_ms_lo95, report.all_serving_ms_hi95),
        report.all_serving_goal_ms,
        report.peak_serving,
        report.all_begun_ms,
        range(Some(report.step_50_ms), Some(report.step_50_ms_lo95), Some(report.step_50_ms_hi95)),
        report.step_50_goal_ms,
        report.asleep_step_50_ms,
        report.gone_after_ms.map_or_else(|| "never".to_owned(), |gone| format!("{gone:.0} ms")),
        report.idle_ms,
        report.unload_ms,
        report.processes_at_end,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(served: &[Option<(u64, u64)>]) -> Crowd {
        let request =
            |served: &Option<(u64, u64)>| Request { sent: 1_000_000, answered: 9_000_000, served: *served };
        Crowd {
            requests: served.iter().map(request).collect(),
            statuses: BTreeMap::new(),
            processes: Vec::new(),
        }
    }

    #[test]
    fn all_are_served_at_once_when_the_last_begins_before_the_first_ends() {
        let crowd = crowd(&[Some((2_000_000, 5_000_000)), Some((4_000_000, 8_000_000))]);
        assert_eq!(
            (crowd.peak_serving(), crowd.all_serving_ms(), crowd.all_begun_ms()),
            (2, Some(3.0), Some(3.0))
        );
    }

    #[test]
    fn a_worker_that_takes_two_in_turn_serves_one_at_a_time() {
        let crowd = crowd(&[Some((2_000_000, 4_000_000)), Some((4_000_000, 8_000_000))]);
        assert_eq!(
            (crowd.peak_serving(), crowd.all_serving_ms(), crowd.all_begun_ms()),
            (1, None, Some(3.0))
        );
    }

    #[test]
    fn who_never_begins_is_never_served() {
        let crowd = crowd(&[Some((2_000_000, 5_000_000)), None]);
        assert_eq!((crowd.peak_serving(), crowd.all_serving_ms(), crowd.all_begun_ms()), (1, None, None));
    }
}
