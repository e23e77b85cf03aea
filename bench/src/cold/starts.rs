//! Starts of the daemon's workers: provoked from outside, timed by the daemon.
//!
//! The daemon writes a line for every start, in microseconds:
//!
//! ```text
//! loaded hello in 1402 us
//! started a worker of hello in 291 us
//! ```
//!
//! The first counts from the decision to load until the template is ready, the second from the decision to
//! fork until the worker can be given a request.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cpu::Tree;
use crate::family::{Family, families};
use crate::process::signal;
use crate::server::Server;
use crate::{HELLO, interrupt};

/// How long the daemon may take to replace what was killed.
const REPLACEMENT: Duration = Duration::from_secs(10);

/// How long a template must live for the daemon to load it again at once.
const SETTLED: Duration = Duration::from_millis(1100);

/// Starts of a daemon, oldest first, in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Starts {
    /// Of workers, forked from a template.
    pub(crate) fork_us: Vec<f64>,
    /// Of templates: loaded and initialised.
    pub(crate) load_us: Vec<f64>,
}

/// Every start of `daemon` until now.
///
/// # Errors
/// If the daemon's output cannot be read.
pub(crate) fn hairtrigger_starts(daemon: &Server) -> Result<Starts> {
    let path = daemon.output();
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Starts::of(&text))
}

impl Starts {
    /// The starts that a daemon's output tells of.
    fn of(output: &str) -> Self {
        let mut starts = Self::default();
        // The last line may be written just now.
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let Some((what, took)) = line.strip_suffix(" us").and_then(|line| line.rsplit_once(" in "))
            else {
                continue;
            };
            let Ok(took) = took.parse() else { continue };
            if what.starts_with("started a worker of ") {
                starts.fork_us.push(took);
            } else if what.starts_with("loaded ") {
                starts.load_us.push(took);
            }
        }
        starts
    }
}

/// Kills an idle worker and gives the time of the fork start that replaces it, in microseconds.
///
/// # Errors
/// If there is no worker, or it is not replaced within 10 s.
pub(super) fn fork_us(daemon: &Server) -> Result<f64> {
    let worker = |family: &Family| family.workers.first().copied();
    replace(daemon, worker, |starts| &starts.fork_us).context("a fork start of hairtrigger")
}

/// Kills a template, asks for an answer, and gives the time of the load start, in microseconds.
///
/// # Errors
/// If there is no template, or it is not replaced within 10 s.
pub(super) fn load_us(daemon: &Server) -> Result<f64> {
    // A template that ends sooner after its load counts as a failing one and is held back.
    let settled = Instant::now() + SETTLED;
    while Instant::now() < settled {
        pause()?;
    }
    replace(daemon, |family| Some(family.template), |starts| &starts.load_us)
        .context("a load start of hairtrigger")
}

fn replace(
    daemon: &Server,
    victim: impl Fn(&Family) -> Option<u32>,
    times: impl Fn(&Starts) -> &Vec<f64>,
) -> Result<f64> {
    let known = times(&hairtrigger_starts(daemon)?).len();
    let deadline = Instant::now() + REPLACEMENT;
    let victim = loop {
        // Right after a start, the worker may not be there yet.
        let families = families(&Tree::of(daemon.pid())?);
        if let Some(pid) = families.iter().find_map(&victim) {
            break pid;
        }
        ensure!(Instant::now() < deadline, "no worker or template is found below process {}", daemon.pid());
        pause()?;
    };
    signal(victim, libc::SIGKILL);
    loop {
        // Asks for a worker, in case the daemon only starts what somebody wants. While there is none, the
        // answer may be an error.
        let answered = daemon.get("/hello").is_ok_and(|body| body == HELLO.as_bytes());
        let starts = hairtrigger_starts(daemon)?;
        if let (true, Some(&start)) = (answered, times(&starts).get(known)) {
            return Ok(start);
        }
        if Instant::now() >= deadline {
            bail!("process {victim} was killed and not replaced within {} s", REPLACEMENT.as_secs());
        }
        pause()?;
    }
}

/// Lets the daemon work: this core may be its own.
fn pause() -> Result<()> {
    ensure!(!interrupt::requested(), "interrupted");
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn starts_are_read_from_whole_lines() {
        let output = "serving on http://127.0.0.1:1\nloaded hello in 1402 us\n\
                      started a worker of hello in 291 us\n[hello] in 3 us\n\
                      started a worker of hello in 288 us\nstarted a worker of hello in 1";
        assert_eq!(Starts::of(output), Starts { fork_us: vec![291.0, 288.0], load_us: vec![1402.0] });
    }
}
