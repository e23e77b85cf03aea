//! `hairtrigger doctor`: tries each confinement on this host and prints what holds.

mod facts;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use hairtrigger_sandbox::limits::{UID_BASE, UID_COUNT};
use hairtrigger_sandbox::probe::{self, About, NO_SERVE, Options, Row, Runner};
use serde::Serialize;

use crate::shard::ring;
use facts::Facts;

/// Everything that was found, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    /// `full`, or `none`: there is no other level yet.
    level: &'static str,
    /// Names of what does not hold.
    lacking: Vec<String>,
    confinements: Vec<Row>,
    runner: Runner,
    facts: Facts,
}

impl Report {
    fn new(confinements: Vec<Row>, runner: Runner, facts: Facts) -> Self {
        let all = confinements.iter().chain([&runner.row]);
        let lacking: Vec<_> = all.filter(|row| !row.holds()).map(|row| row.about.name.clone()).collect();
        let level = if lacking.is_empty() { "full" } else { "none" };
        Self { level, lacking, confinements, runner, facts }
    }
}

/// Exits with 0 if level *full* holds, with 1 otherwise.
pub(super) fn run(json: bool) -> Result<ExitCode> {
    let options = Options {
        // A group that no other doctor uses at the same time.
        cgroup: format!("hairtrigger-doctor-{}", std::process::id()),
        uid_base: UID_BASE,
        uid_count: UID_COUNT,
    };
    let mut confinements = probe::confinements(&options);
    let io_uring = About::new(
        "io_uring",
        "6.7",
        "nothing: the daemon serves with it, and workers are kept from it",
        NO_SERVE,
    );
    confinements.push(probe::attempt(io_uring, ring::check));
    let runner = probe::runner(&options);
    let report = Report::new(confinements, runner, Facts::read());
    let text = if json { serde_json::to_string(&report)? + "\n" } else { table(&report) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if report.lacking.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report for a person; the last line sums up.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in report.facts.lines() {
        line(&mut text, format_args!("{name:<22}{value}"));
    }
    let rows = || report.confinements.iter().chain([&report.runner.row]);
    let width = rows().map(|row| row.about.name.chars().count()).max().unwrap_or(0);
    line(&mut text, format_args!(""));
    line(
        &mut text,
        format_args!("{:<width$}  {:<7}  {:<6}  PROTECTS AGAINST", "CONFINEMENT", "STATE", "LINUX"),
    );
    for row in rows() {
        let About { name, least_kernel, protects, fallback } = &row.about;
        let state = row.state;
        line(&mut text, format_args!("{name:<width$}  {state:<7}  {least_kernel:<6}  {protects}"));
        if let Some(reason) = &row.reason {
            line(&mut text, format_args!("    {reason}"));
            line(&mut text, format_args!("    fallback: {fallback}"));
        }
    }
    let width = report.runner.steps.iter().map(|step| step.step.chars().count()).max().unwrap_or(0);
    for step in &report.runner.steps {
        let (name, state) = (&step.step, step.state);
        line(&mut text, format_args!("  {name:<width$}  {state}"));
    }
    line(&mut text, format_args!(""));
    line(&mut text, format_args!("{}", summary(report)));
    text
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{what}");
}

fn summary(report: &Report) -> String {
    let all = report.confinements.len() + 1;
    match report.lacking.len() {
        0 => "level full: every confinement holds".to_owned(),
        lacking => format!(
            "level full is not reached: {lacking} of {all} confinements do not hold ({})",
            report.lacking.join("; ")
        ),
    }
}
