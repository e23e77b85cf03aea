//! What befalls the daemon, and how long it is until a right answer comes again.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::http::Connection;
use hairtrigger_tests::process::Process;
use hairtrigger_tests::random::Random;

use super::clients::Tally;
use super::{FUNCTIONS, deploy};

/// A recovery that takes longer is told of, with what the daemon has said last.
const SLOW: Duration = Duration::from_secs(3);
/// So many lines of it.
const LAST_LINES: usize = 20;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Worker,
    Workers,
    Template,
    Init,
    Janitor,
    Reload,
    Descriptors,
    Forks,
    Stopped,
    Paused,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "kill -9 of a worker",
            Self::Workers => "kill -9 of all workers of a function",
            Self::Template => "kill -9 of a template",
            Self::Init => "kill -9 of an ns-init",
            Self::Reload => "SIGHUP with another manifest",
            Self::Descriptors => "a time without descriptors",
            Self::Forks => "a time without forks",
            Self::Stopped => "a time in which a worker or template was stopped",
            Self::Paused => "a time in which the daemon was stopped",
            Self::Janitor => "kill -9 of the janitor",
        }
    }
}

/// Faults of a run.
pub(crate) struct Faults<'d> {
    daemon: &'d Daemon<'d>,
    random: Random,
    tally: &'d Tally,
    count: u64,
    recoveries: BTreeMap<Kind, Vec<Duration>>,
    /// Requests that were answered until then, and the daemon's memory, in KiB.
    memory: Vec<(u64, u64)>,
}

impl<'d> Faults<'d> {
    pub(crate) fn new(daemon: &'d Daemon<'d>, random: Random, tally: &'d Tally) -> Self {
        Self { daemon, random, tally, count: 0, recoveries: BTreeMap::new(), memory: Vec::new() }
    }

    /// One more, and the wait until a right answer comes again.
    pub(crate) fn next(&mut self) {
        sleep(Duration::from_millis(20 + self.random.below(300)));
        self.count += 1;
        let kind = match self.random.below(20) {
            0..5 => Kind::Worker,
            5 => Kind::Workers,
            6..8 => Kind::Template,
            8..10 => Kind::Init,
            10..13 => Kind::Reload,
            13..15 => Kind::Descriptors,
            15..17 => Kind::Forks,
            17 => Kind::Stopped,
            18 => Kind::Paused,
            // Once: there is no other after that.
            _ if self.recoveries.contains_key(&Kind::Janitor) => Kind::Worker,
            _ => Kind::Janitor,
        };
        let function = *self.random.pick(&FUNCTIONS).expect("there are some");
        if !self.strike(kind, function) {
            return;
        }
        let struck = Instant::now();
        self.await_right_answer(function, kind);
        let took = struck.elapsed();
        if took > SLOW {
            let lines = self.daemon.lines();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n    ");
            println!(
                "{took:.1?} until {function} answered after {}; the daemon's last lines:\n    {last}",
                kind.name()
            );
        }
        self.recoveries.entry(kind).or_default().push(took);
        self.memory.push((self.tally.count(), self.daemon.process.resident()));
    }

    /// Whether there was anything to strike.
    fn strike(&mut self, kind: Kind, function: &str) -> bool {
        let Self { daemon, random, count, .. } = self;
        let signal = if matches!(kind, Kind::Stopped | Kind::Paused) { libc::SIGSTOP } else { libc::SIGKILL };
        let victim = match kind {
            Kind::Stopped if random.once_in(2) => daemon.find_template(function),
            Kind::Paused => Process::open(daemon.process.pid),
            Kind::Worker | Kind::Stopped => {
                let workers = daemon.workers(function);
                let at = random.up_to(workers.len().saturating_sub(1));
                workers.into_iter().nth(at)
            }
            Kind::Workers => {
                let workers = daemon.workers(function);
                workers.iter().for_each(|worker| worker.signal(libc::SIGKILL));
                return !workers.is_empty();
            }
            Kind::Template => daemon.find_template(function),
            Kind::Init => daemon.find_template(function).and_then(|template| Process::open(template.parent)),
            Kind::Janitor => Some(daemon.janitor()),
            Kind::Reload => {
                deploy(daemon.home, function, 20 + *count % 20);
                daemon.process.signal(libc::SIGHUP);
                return true;
            }
            Kind::Forks => {
                let Some(template) = daemon.find_template(function) else { return false };
                if daemon.home.groups.find("pids", template.pid).is_none() {
                    return false;
                }
                let group = daemon.home.groups.slot("pids", template.pid);
                let Ok(before) = fs::read_to_string(group.join("pids.max")) else { return false };
                // It may be gone at any time.
                let _ = fs::write(group.join("pids.max"), "1");
                daemon.workers(function).iter().for_each(|worker| worker.signal(libc::SIGKILL));
                sleep(Duration::from_millis(50 + random.below(300)));
                let _ = fs::write(group.join("pids.max"), before);
                return true;
            }
            Kind::Descriptors => {
                let open = daemon.process.descriptors().len() as u64;
                let before = limit_descriptors(&daemon.process, open + random.below(8));
                sleep(Duration::from_millis(50 + random.below(300)));
                limit_descriptors(&daemon.process, before);
                return true;
            }
        };
        let Some(victim) = victim else { return false };
        victim.signal(signal);
        if signal == libc::SIGSTOP {
            sleep(Duration::from_millis(50 + random.below(300)));
            victim.signal(libc::SIGCONT);
        }
        true
    }

    fn await_right_answer(&self, function: &str, kind: Kind) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let body = b"is anybody there?";
            let mut connection = Connection::to(self.daemon.address());
            let answer = connection.post(&format!("/{function}"), body);
            self.tally.check(kind.name(), body, &answer);
            if answer.status == 200 {
                return;
            }
            assert!(
                Instant::now() < until,
                "no right answer of {function} since {}: {answer:?}",
                kind.name()
            );
            sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn report(&mut self) -> String {
        let lines = self.recoveries.iter_mut().map(|(kind, times)| {
            format!("until the next right answer, after {}: {}", kind.name(), spread(times))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// How much the daemon's memory grows in 100,000 requests, by least squares over the last two thirds of the run, and
    /// by how much it has grown in these, in KiB.
    pub(crate) fn memory(&self) -> (f64, u64) {
        let samples = &self.memory[self.memory.len() / 3..];
        let [(_, first), .., (_, last)] = samples else { return (0.0, 0) };
        let points: Vec<(f64, f64)> = samples.iter().map(|&(x, y)| (x as f64 / 1e5, y as f64)).collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        (both / square, last.saturating_sub(*first))
    }
}

/// Least, middle and greatest of some times.
pub(crate) fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let [least, .., greatest] = times else { return format!("{times:?}") };
    let (least, greatest) = (*least, *greatest);
    let middle = times[times.len() / 2];
    format!("{least:.1?} to {greatest:.1?}, median {middle:.1?}, {} times", times.len())
}

/// Sets how many descriptors a process may have; returns how many it might have before.
fn limit_descriptors(process: &Process, count: u64) -> u64 {
    // SAFETY: both structures outlive the calls.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::prlimit(process.pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = count;
        assert_eq!(
            libc::prlimit(process.pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()),
            0
        );
        before
    }
}
