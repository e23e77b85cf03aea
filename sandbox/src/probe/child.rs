//! A forked child that tries one thing and reports.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{Doing, Failure};
use crate::runner::confine;
use crate::sys;

/// How long a child may be silent. Each does no more than a few dozen system calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// The child's way to the parent: one JSON value a line. Used under the policy, so by plain reads and writes.
pub(super) struct Link(File);

impl Link {
    pub(super) fn tell(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }

    /// Waits until the parent says so.
    pub(super) fn wait(&self) -> io::Result<()> {
        (&self.0).read_exact(&mut [0])
    }
}

/// The child, seen from the parent. Dropping it kills and reaps it.
pub(super) struct Child {
    pub(super) pid: libc::pid_t,
    link: BufReader<UnixStream>,
    reaped: bool,
}

impl Child {
    /// Forks, with namespaces of its own for `flags`. The child reports what `body` returns and ends.
    ///
    /// The process must have one thread: then the child has all of it and may go on as an ordinary program.
    pub(super) fn start(
        flags: u64,
        body: impl FnOnce(&Link) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        Self::start_in(None, flags, body)
    }

    /// As [`Child::start`], into a version 2 control group.
    pub(super) fn start_in(
        group: Option<BorrowedFd<'_>>,
        flags: u64,
        body: impl FnOnce(&Link) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let threads = std::fs::read_dir("/proc/self/task").doing("count threads in /proc")?.count();
        assert_eq!(threads, 1, "trials fork, so they are made before any thread is started");
        let (ours, theirs) = UnixStream::pair().doing("make a pair of sockets")?;
        ours.set_read_timeout(Some(PATIENCE)).doing("set a time-out")?;
        let pid = if flags == 0 && group.is_none() {
            // SAFETY: the process has one thread, as was just checked.
            match unsafe { libc::fork() } {
                -1 => Err(Failure::new("fork", &io::Error::last_os_error())),
                pid => Ok(pid),
            }?
        } else {
            // SAFETY: the process has one thread, as was just checked.
            let cloned = unsafe { sys::clone3(flags | sys::CLONE_CLEAR_SIGHAND, group) }.doing("clone3")?;
            cloned.map_or(0, |cloned| cloned.pid)
        };
        if pid != 0 {
            return Ok(Self { pid, link: BufReader::new(ours), reaped: false });
        }
        // Some of what is tried waits for this parent's answer.
        confine::die_with_parent(libc::SIGKILL);
        drop(ours);
        let link = Link(File::from(OwnedFd::from(theirs)));
        let outcome = body(&link);
        let told = link.tell(&outcome);
        // SAFETY: ends this process at once; what it has of the parent's buffers is not its to flush.
        unsafe { libc::_exit(i32::from(told.is_err())) }
    }

    /// The next value that the child tells.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        match self.link.read_line(&mut line) {
            Ok(0) => {
                let status = self.wait()?;
                Err(Failure::found(format!("the process that tried it ended early ({status})")))
            }
            Ok(_) => serde_json::from_str(&line).map_err(io::Error::from).doing("read a report"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Failure::found(format!("the process that tried it hung for {PATIENCE:?}")))
            }
            Err(error) => Err(Failure::new("read a report", &error)),
        }
    }

    /// Ends a [`Link::wait`].
    pub(super) fn go(&mut self) -> Result<(), Failure> {
        self.link.get_mut().write_all(b".").doing("wake the process that tries it")
    }

    /// What the body returned.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.hear::<Result<(), Failure>>()?
    }

    /// Waits for the child's end.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let mut status = 0;
        // SAFETY: `status` outlives the call; the pid is a child's that nobody has reaped.
        sys::check(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }.into()).doing("waitpid")?;
        self.reaped = true;
        Ok(ExitStatus::from_raw(status))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // SAFETY: the pid is a child's that nobody has reaped, so it is nobody else's.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // It cannot fail: the child is there, and the kill is on its way.
        let _ = self.wait();
    }
}

/// Runs `body` in a child and returns what it returned.
pub(super) fn run(flags: u64, body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    Child::start(flags, |_| body())?.finish()
}
