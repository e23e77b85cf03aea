//! Processes that a bench starts: each on its core, and ended whatever happens to the bench.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, mem, thread};

use anyhow::{Context, Result, bail};

use crate::cpu::{Process, Tree, is_alive};

/// How long a server may take to drain after SIGTERM before it is killed. Longer than the daemon's own
/// drain timeout.
const DRAIN: Duration = Duration::from_secs(12);
/// How long what a killed server left behind may take to go by itself.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Cores that a `cpu_set_t` holds.
const MAX_CORES: usize = 8 * size_of::<libc::cpu_set_t>();

/// Pins the calling thread, and the threads and processes it starts from now on, to one core.
///
/// # Errors
/// If the core does not exist or is not ours to use.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    keep_to(&[core])
}

/// As [`pin_to`], to several cores. Async-signal-safe.
///
/// # Errors
/// If one does not exist, or none is ours to use.
pub(crate) fn keep_to(cores: &[usize]) -> io::Result<()> {
    if cores.iter().any(|&core| core >= MAX_CORES) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero `cpu_set_t` is the empty set, and every core is within it by the check above; the
    // kernel reads exactly the size it is given.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for &core in cores {
            libc::CPU_SET(core, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the calling thread run before all others as soon as it has something to do; threads and processes that it starts
/// do not. False if it may not.
pub(crate) fn run_first() -> bool {
    schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1).is_ok()
}

/// Has what this session does count little, where the kernel shares the cores out among sessions. Best effort: on others it
/// counts as much as anybody.
pub(crate) fn take_what_is_left() {
    let _ = fs::write("/proc/self/autogroup", "10");
}

/// Has the calling thread run only where no other wants to.
///
/// # Errors
/// If the kernel does not know of such.
pub(crate) fn run_last() -> io::Result<()> {
    // Its session counts as any other, whatever it does there, unless it is as nice as can be. Not every kernel has such
    // groups of sessions.
    let _ = fs::write("/proc/self/autogroup", "19");
    schedule(libc::SCHED_IDLE, 0)
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // SAFETY: an all-zero `sched_param` is valid; the kernel reads it before it returns.
    let result = unsafe {
        let mut parameters: libc::sched_param = mem::zeroed();
        parameters.sched_priority = priority;
        libc::sched_setscheduler(0, policy, &raw const parameters)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The cores that this process may use, in order; never empty.
///
/// # Errors
/// If the kernel has more cores than a `cpu_set_t` holds.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set; the kernel writes no more than the size it is given.
    let (result, set) = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set), set)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every core that is asked for lies within the set.
    Ok((0..MAX_CORES).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// A process and what it starts. Dropping it ends them all.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    name: &'static str,
    output: PathBuf,
}

impl Guarded {
    /// Starts `command` on `cores`, its output going to the file `output`.
    ///
    /// The child is sent SIGTERM when the calling thread ends, however it ends: a bench that is killed
    /// leaves no server behind.
    ///
    /// # Errors
    /// If the program cannot be started or pinned.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        cores: &[usize],
        output: PathBuf,
    ) -> Result<Self> {
        let log = File::create(&output).with_context(|| format!("creating {}", output.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let parent = std::process::id();
        let theirs = cores.to_owned();
        // SAFETY: between fork and exec only system calls on locals are made: nothing allocates on success
        // or takes a lock, as a child of a threaded process must not.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) < 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have died before the line above.
                if u32::try_from(libc::getppid()) != Ok(parent) {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                // As a service manager would: the kernel shares the cores out among sessions first, and what this session
                // does besides is not to count as the server's.
                if libc::setsid() < 0 {
                    return Err(io::Error::last_os_error());
                }
                keep_to(&theirs)
            });
        }
        let child = command.spawn().with_context(|| {
            format!("starting {name} ({}) on cores {cores:?}", Path::new(command.get_program()).display())
        })?;
        Ok(Self { child, name, output })
    }

    /// The file that its output goes to.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// The process id at the root of the tree.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the last lines of its output if the process has ended by itself.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}): {}", self.name, self.last_output()),
        }
    }

    /// The end of what the process wrote, for an error message.
    pub(crate) fn last_output(&self) -> String {
        last_lines(&self.output).unwrap_or_else(|| "it wrote nothing".to_owned())
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let family: BTreeMap<u32, Process> = Tree::of(self.pid())
            .map(|tree| tree.nodes.iter().skip(1).map(|node| (node.process.pid, node.process)).collect())
            .unwrap_or_default();
        signal(self.pid(), libc::SIGTERM);
        let gone = wait_until(DRAIN, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)));
        if !gone {
            eprintln!("{} did not end within {} s of SIGTERM and is killed", self.name, DRAIN.as_secs());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // What it had started ends with it or a moment later; what does not is ended here, one by one. The
        // start time tells a process from another that was given its id.
        let left = || family.values().filter(|process| is_alive(**process)).copied().collect::<Vec<_>>();
        if !wait_until(AFTERMATH, || left().is_empty()) {
            for process in left() {
                eprintln!("process {} outlived {} and is killed", process.pid, self.name);
                signal(process.pid, libc::SIGKILL);
            }
            wait_until(AFTERMATH, || left().is_empty());
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends `signal` to the process `pid`; one that is gone already is no error.
pub(crate) fn signal(pid: u32, signal: i32) {
    // Zero and what looks negative to the kernel name process groups, which are never meant here.
    let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else { return };
    // SAFETY: takes two integers and touches no memory.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Looks every millisecond whether `condition` holds, for at most `time`.
pub(crate) fn wait_until(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The last few lines of a file, on one line; `None` if there are none.
fn last_lines(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(6).collect();
    lines.reverse();
    if lines.is_empty() { None } else { Some(lines.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_core() -> usize {
        allowed_cores().expect("an affinity")[0]
    }

    fn shell(script: &str) -> (Guarded, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process =
            Guarded::start("the shell", command, &[first_core()], folder.path().join("log")).expect("starts");
        (process, folder)
    }

    #[test]
    fn children_run_on_their_core_and_end_with_the_guard_and_all_they_started() {
        let (process, _folder) = shell("sleep 1000 & wait");
        assert!(wait_until(Duration::from_secs(5), || {
            Tree::of(process.pid()).is_ok_and(|tree| tree.nodes.len() == 2)
        }));
        let tree = Tree::of(process.pid()).expect("alive");
        let status = fs::read_to_string(format!("/proc/{}/status", tree.nodes[1].process.pid));
        let allowed = format!("Cpus_allowed_list:\t{}\n", first_core());
        assert!(status.expect("alive").contains(&allowed));
        drop(process);
        for node in tree.nodes {
            assert!(!is_alive(node.process), "{node:?}");
        }
    }

    #[test]
    fn cores_that_are_not_ours_are_refused() {
        let allowed = allowed_cores().expect("an affinity");
        // A quota of CPU time can make the second one less.
        assert!(allowed.len() >= thread::available_parallelism().expect("an affinity").get());
        assert!(pin_to(MAX_CORES).is_err());
        assert!(pin_to(MAX_CORES - 1).is_err(), "no machine has that many");
        // The pinning is this test's thread's own.
        pin_to(allowed[0]).expect("an allowed core");
        assert_eq!(allowed_cores().expect("an affinity"), allowed[..1]);
    }

    #[test]
    fn a_child_that_ends_by_itself_is_reported_with_its_last_words() {
        let (mut process, _folder) = shell("echo no such port; exit 3");
        let mut error = None;
        assert!(wait_until(Duration::from_secs(5), || {
            error = process.check_alive().err();
            error.is_some()
        }));
        let error = error.expect("it ended").to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such port"), "{error}");
    }
}
