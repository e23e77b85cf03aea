//! `hairtrigger doctor`: tries each confinement on this host and prints what holds, and which level that makes.

mod facts;

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Result;
use hairtrigger_sandbox::level::Level;
use hairtrigger_sandbox::limits::{DEFAULT_MEMORY, UID_BASE, UID_COUNT};
use hairtrigger_sandbox::probe::{self, About, NO_SERVE, Options, Row, Runner};
use serde::Serialize;

use super::exit::Exit;
use crate::shard::ring;
use facts::Facts;

/// Everything that was found, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    /// The strongest level that this user reaches on this host; none may be.
    level: Option<Level>,
    /// Each level, the strongest first.
    levels: Vec<Reach>,
    confinements: Vec<Row>,
    /// A real runner at each level.
    runners: Vec<Runner>,
    facts: Facts,
    limits: Limits,
}

/// How far this user is from a level.
#[derive(Serialize)]
struct Reach {
    level: Level,
    reached: bool,
    /// Names of what it needs and what does not hold.
    lacking: Vec<String>,
    /// What level *full* promises and this one does not keep.
    not_enforced: &'static [&'static str],
}

/// What would apply if nothing else was configured.
#[derive(Serialize)]
struct Limits {
    /// First uid of the functions' range, at level *full*.
    uid_base: u32,
    /// Number of uids in it.
    uid_count: u32,
    /// Memory of a worker, in bytes.
    memory: u64,
}

impl Report {
    fn new(confinements: Vec<Row>, runners: Vec<Runner>, facts: Facts) -> Self {
        let rows = || confinements.iter().chain(runners.iter().map(|runner| &runner.row));
        let reach = |level: &Level| {
            let lacking = rows().filter(|row| row.about.levels.contains(level) && !row.holds());
            let lacking: Vec<_> = lacking.map(|row| row.about.name.clone()).collect();
            Reach { level: *level, reached: lacking.is_empty(), lacking, not_enforced: level.not_enforced() }
        };
        let levels: Vec<Reach> = Level::ALL.iter().map(reach).collect();
        let level = levels.iter().find(|reach| reach.reached).map(|reach| reach.level);
        let limits = Limits { uid_base: UID_BASE, uid_count: UID_COUNT, memory: DEFAULT_MEMORY };
        Self { level, levels, confinements, runners, facts, limits }
    }

    /// Everything that was tried, the real runners last.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.confinements.iter().chain(self.runners.iter().map(|runner| &runner.row))
    }
}

/// A level by its name on the command line.
pub(super) fn level(name: &str) -> Result<Level, String> {
    let known = Level::ALL.iter().find(|level| level.to_string() == name);
    known.copied().ok_or_else(|| "it must be full, userns or bare".to_owned())
}

/// Exits with 0 if `wanted` is reached, or without it the level that this user can expect.
pub(super) fn run(wanted: Option<Level>, json: bool) -> Result<Exit> {
    let options = Options {
        // A group that no other doctor uses at the same time.
        cgroup: format!("hairtrigger-doctor-{}", std::process::id()),
        uid_base: UID_BASE,
        uid_count: UID_COUNT,
    };
    let mut confinements = probe::confinements(&options, Level::ALL);
    let io_uring = About::new(
        "io_uring",
        "6.7",
        "nothing: the daemon serves with it, and workers are kept from it",
        NO_SERVE,
    );
    confinements.push(probe::attempt(io_uring, ring::check));
    let runners = Level::ALL.iter().map(|level| probe::runner(&options, *level)).collect();
    let report = Report::new(confinements, runners, Facts::read());
    let text = if json { serde_json::to_string(&report)? + "\n" } else { table(&report) };
    io::stdout().write_all(text.as_bytes())?;
    let wanted = wanted.unwrap_or(if is_root() { Level::Full } else { Level::Userns });
    let reached = report.levels.iter().any(|reach| reach.level == wanted && reach.reached);
    Ok(if reached { Exit::Success } else { Exit::Confinement })
}

fn is_root() -> bool {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The report for a person; the last line sums up.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in report.facts.lines() {
        line(&mut text, format_args!("{name:<22}{value}"));
    }
    let Limits { uid_base, uid_count, memory } = report.limits;
    let last = uid_base + (uid_count - 1);
    line(&mut text, format_args!("{:<22}{uid_base} to {last}, at level full", "uids of functions"));
    line(&mut text, format_args!("{:<22}{} MiB", "memory of a worker", memory >> 20));
    let width = report.rows().map(|row| row.about.name.chars().count()).max().unwrap_or(0);
    line(&mut text, format_args!(""));
    line(
        &mut text,
        format_args!(
            "{:<width$}  {:<7}  {:<6}  {:<17}  PROTECTS AGAINST",
            "CONFINEMENT", "STATE", "LINUX", "LEVELS"
        ),
    );
    for row in report.rows() {
        let About { name, least_kernel, protects, fallback, levels } = &row.about;
        let (state, levels) = (row.state, names(levels));
        line(
            &mut text,
            format_args!("{name:<width$}  {state:<7}  {least_kernel:<6}  {levels:<17}  {protects}"),
        );
        if let Some(reason) = &row.reason {
            line(&mut text, format_args!("    {reason}"));
            line(&mut text, format_args!("    fallback: {fallback}"));
        }
    }
    steps(&mut text, report);
    line(&mut text, format_args!(""));
    for reach in &report.levels {
        line(&mut text, format_args!("{}", sentence(reach, is_root())));
        if Some(reach.level) == report.level {
            for what in reach.not_enforced {
                line(&mut text, format_args!("    {what}"));
            }
        }
    }
    let summary = match report.level {
        Some(level) => format!("this user reaches level {level}"),
        None => "this user reaches no level: functions cannot be served".to_owned(),
    };
    line(&mut text, format_args!("{summary}"));
    text
}

/// The steps of a real runner's confinement: one line each, one column for each level.
fn steps(text: &mut String, report: &Report) {
    let all = report.runners.iter().flat_map(|runner| &runner.steps).map(|step| &*step.step);
    let width = all.map(|step| step.chars().count()).max().unwrap_or(0);
    line(text, format_args!(""));
    let mut heading = format!("{:<width$}", "STEP OF A RUNNER");
    for level in Level::ALL {
        let _ = write!(heading, "  {:<8}", level.to_string().to_uppercase());
    }
    line(text, format_args!("{}", heading.trim_end()));
    for step in hairtrigger_sandbox::step::Step::ALL {
        let name = step.to_string();
        let mut cells = format!("{name:<width$}");
        for runner in &report.runners {
            let state = runner.steps.iter().find(|state| state.step == name);
            let state = state.map_or("-".to_owned(), |state| state.state.to_string());
            let _ = write!(cells, "  {state:<8}");
        }
        line(text, format_args!("{}", cells.trim_end()));
    }
}

fn names(levels: &[Level]) -> String {
    if levels == Level::ALL {
        return "all".to_owned();
    }
    levels.iter().map(Level::to_string).collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{what}");
}

fn sentence(reach: &Reach, root: bool) -> String {
    let level = reach.level;
    match reach.lacking.len() {
        _ if root && level != Level::Full => format!("level {level}: for an ordinary user"),
        _ if !root && level == Level::Full => format!("level {level}: for root"),
        0 => format!("level {level}: every confinement holds"),
        lacking => format!(
            "level {level} is not reached: {lacking} confinements do not hold ({})",
            reach.lacking.join("; ")
        ),
    }
}
