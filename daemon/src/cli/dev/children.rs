//! Compilers, as processes that end with the daemon.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a compiler that has ended leaves.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// What it wrote to standard output, and to standard error if that was a pipe.
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs one compiler at a time. May be ended from another thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Children(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Process group of the compiler that runs; its id is not given anew before this is cleared.
    group: Option<libc::pid_t>,
    ending: bool,
}

impl Children {
    /// Runs a command until it ends. It has no standard input, and its standard output is kept; its standard
    /// error is kept if the command says that it is a pipe.
    pub(super) fn run(&self, mut command: Command) -> io::Result<Ended> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // A group of its own, so that what it starts can be ended with it.
        command.process_group(0);
        // SAFETY: between fork and exec one system call is made, on numbers. If this process is killed, its
        // compiler is as well.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = {
            let mut state = self.state();
            if state.ending {
                return Err(io::Error::other("the daemon is ending"));
            }
            let child = command.spawn()?;
            state.group = libc::pid_t::try_from(child.id()).ok();
            child
        };
        let streams = streams(&mut child);
        wait_without_reaping(&child);
        let mut state = self.state();
        state.group = None;
        let status = child.wait()?;
        drop(state);
        let (stdout, stderr) = streams?;
        Ok(Ended { status, stdout, stderr })
    }

    /// Ends the compiler that runs, with everything it has started, and lets no other begin.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        if let Some(group) = state.group {
            // SAFETY: takes no pointers. The group's leader has not been reaped, since `run` takes its id out
            // under this lock before it does: the id is nobody else's.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads both streams to their ends, at the same time: a full pipe would stop the child.
fn streams(child: &mut Child) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let stderr = scope.spawn(|| all_of(stderr));
        let stdout = all_of(stdout);
        let stderr = stderr.join().map_err(|_| io::Error::other("a reader panicked"))?;
        Ok((stdout?, stderr?))
    })
}

fn all_of(stream: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Waits for the end of a child and leaves it to be reaped.
fn wait_without_reaping(child: &Child) {
    loop {
        // SAFETY: all-zero is a valid siginfo_t, which outlives the call.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command
    }

    #[test]
    fn both_streams_and_the_status_are_kept() {
        let ended = Children::default().run(shell("echo out; echo err >&2; exit 3")).expect("sh runs");
        assert_eq!(
            (ended.status.code(), &*ended.stdout, &*ended.stderr),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn the_end_ends_what_a_compiler_has_started_and_lets_none_begin() {
        let children = Children::default();
        let other = children.clone();
        let begun = Instant::now();
        // The one that sleeps is a child of the shell and holds the pipes.
        let thread = std::thread::spawn(move || other.run(shell("sleep 600 & wait")));
        while children.state().group.is_none() {
            std::thread::yield_now();
        }
        children.end();
        let ended = thread.join().expect("no panic").expect("it ran");
        assert!(!ended.status.success() && begun.elapsed() < Duration::from_secs(60));
        assert!(children.run(shell("true")).is_err());
    }
}
