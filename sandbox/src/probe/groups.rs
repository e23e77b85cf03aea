//! Control groups: found, made, limited, read back, entered, removed.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::child::Child;
use super::{About, BELOW_FULL, Doing, FULL, Failure, Options, Row, must};
use crate::cgroup::{CgroupError, Cgroups, Slot, SlotLimits, remove_all_of};
use crate::janitor::Janitor;
use crate::limits::DEFAULT_MEMORY;
use crate::step::Step;

/// The controllers in the order in which [`Slot::set_limits`] writes their files, whose names begin with
/// theirs.
const CONTROLLERS: [(&str, &str, &str); 3] = [
    ("memory", "4.5", "using up the host's memory"),
    ("pids", "4.5", "fork bombs"),
    ("cpu", "4.15", "taking more than its share of the processors"),
];

pub(super) fn rows(options: &Options) -> Vec<Row> {
    let protects = "using more of the host than was granted";
    let about = About::new("find control groups", "4.15", protects, BELOW_FULL).at(FULL);
    let mut limits = None;
    let found = Cgroups::detect(&options.cgroup).map_err(Failure::from).and_then(|cgroups| {
        with_janitor(&cgroups, || {
            limits = Some(in_groups(&cgroups));
            remove_all_of(&cgroups).map(drop).map_err(Failure::from)
        })
    });
    let mut rows = vec![Row::new(about, found)];
    let untried = |about| Row::untried(about, "it needs control groups");
    rows.extend(limits.unwrap_or_else(|| abouts().into_iter().map(untried).collect()));
    rows
}

/// Runs `body` while somebody stands by to remove the groups, should this process be killed meanwhile.
pub(super) fn with_janitor<E: From<Failure>>(
    cgroups: &Cgroups,
    body: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let janitor = Janitor::start(cgroups).doing("start a janitor")?;
    let outcome = body();
    drop(janitor);
    reap_all();
    outcome
}

/// Waits for every child: the janitor, and a runner that a sandbox was still making when it was stopped, which
/// dies with the thread that made it. No trial is under way, so nobody else waits for one.
pub(super) fn reap_all() {
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } != -1
        || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// One for each controller, and that of attaching.
fn abouts() -> Vec<About> {
    let limits = CONTROLLERS
        .map(|(name, kernel, protects)| About::new(format!("{name} limit"), kernel, protects, BELOW_FULL));
    let attach = About::new(Step::Group, "4.5", "escaping the limits by forking", BELOW_FULL);
    limits.into_iter().chain([attach]).map(|about| about.at(FULL)).collect()
}

fn in_groups(cgroups: &Cgroups) -> Vec<Row> {
    // One process: a fork must fail.
    let limits = SlotLimits { memory: DEFAULT_MEMORY, pids: 1, cpu: Some(0.5) };
    let slot = cgroups.create_slot(0);
    let limited = slot.as_ref().map_err(failure).and_then(|slot| {
        slot.set_limits(&limits).map_err(|error| {
            // Which controller's file it is tells which limits were set before.
            let name = error.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let at = CONTROLLERS.iter().position(|(controller, ..)| name.starts_with(controller));
            (at.unwrap_or(0), Failure::from(error))
        })
    });
    let mut rows: Vec<Row> = Vec::new();
    for (index, about) in abouts().into_iter().enumerate() {
        rows.push(match (&limited, &slot) {
            (Ok(()), Ok(slot)) if index == CONTROLLERS.len() => Row::new(about, attach(slot)),
            (Ok(()), _) => Row::new(about, Ok(())),
            (Err((at, _)), _) if index < *at => Row::new(about, Ok(())),
            (Err((at, failure)), _) if index == *at => Row::new(about, Err(failure.clone())),
            (Err(_), _) => Row::untried(about, "the limit before it could not be set"),
        });
    }
    rows
}

/// A group that could not be made: nothing was limited.
fn failure(error: &CgroupError) -> (usize, Failure) {
    (0, Failure::new(format!("cgroup {}", error.path.display()), &error.error))
}

/// A child in a group of one process must not get a second one. Then it is moved to a worker's leaf.
fn attach(slot: &Slot) -> Result<(), Failure> {
    let own_groups = || fs::read_to_string("/proc/self/cgroup").doing("read /proc/self/cgroup");
    let ours = own_groups()?;
    let birthplace = slot.birthplace()?;
    let mut child = Child::start_in(birthplace.as_ref().map(AsFd::as_fd), 0, |link| {
        if birthplace.is_some() {
            must("a process was cloned into a group and is not there", own_groups()? != ours)?;
        }
        link.wait().doing("wait")?;
        // SAFETY: this child has one thread, and the grandchild only ends.
        match unsafe { libc::fork() } {
            -1 => {
                let error = io::Error::last_os_error();
                let refused = error.raw_os_error() == Some(libc::EAGAIN);
                if refused { Ok(()) } else { Err(Failure::new("fork", &error)) }
            }
            // SAFETY: ends the process at once.
            0 => unsafe { libc::_exit(0) },
            grandchild => {
                // SAFETY: a null status is allowed.
                unsafe { libc::waitpid(grandchild, std::ptr::null_mut(), 0) };
                Err(Failure::found("the limit of processes did not stop a fork"))
            }
        }
    })?;
    slot.attach(child.pid)?;
    let leaf = slot.leaf(1);
    leaf.create(DEFAULT_MEMORY / 2)?;
    leaf.attach(child.pid)?;
    let groups = fs::read_to_string(Path::new("/proc").join(child.pid.to_string()).join("cgroup"))
        .doing("read /proc/PID/cgroup")?;
    must("the kernel shows the process in another group", groups.lines().any(|line| line.ends_with("/w1")))?;
    child.go()?;
    child.finish()
}
