//! The janitor: a process that outlives the daemon by a moment and removes what it left.
//!
//! It is forked before the daemon has a thread, holds nothing but the read end of a pipe, and wakes when
//! the write end closes, which the kernel does however the daemon dies. The processes are gone by then
//! (the ns-inits die with the daemon); what stays are groups.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::cgroup::{self, Cgroups};
use crate::sys;

/// Keeps the janitor waiting. Dropping it, or dying, sets it to work.
#[derive(Debug)]
pub struct Janitor {
    /// Its pid.
    pub pid: libc::pid_t,
    _alive: OwnedFd,
}

impl Janitor {
    /// Forks the janitor. Must be called before the process has a second thread.
    pub fn start(cgroups: &Cgroups) -> io::Result<Self> {
        let (watch, alive) = sys::output_pipe()?;
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads != 1 {
            return Err(io::Error::other("the janitor must be forked before any thread is started"));
        }
        // SAFETY: the process has one thread, as was just checked, so the child has all of it and may go on
        // as an ordinary program.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(alive);
                wait_and_clean(&watch, cgroups)
            }
            pid => Ok(Self { pid, _alive: alive }),
        }
    }
}

fn wait_and_clean(watch: &OwnedFd, cgroups: &Cgroups) -> ! {
    let fd = watch.as_raw_fd();
    // SAFETY: none of these calls takes a pointer but prctl, whose name is NUL-terminated. This process has
    // no use for any descriptor but `fd`, so closing the others takes nothing from anybody.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"ht-janitor".as_ptr());
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let other = fd.cast_unsigned();
        if other > 3 {
            libc::syscall(libc::SYS_close_range, 3, other - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, other + 1, u32::MAX, 0);
        libc::fcntl(fd, libc::F_SETFL, 0);
    }
    let mut byte = [0_u8; 1];
    // SAFETY: one byte is written to `byte`. Nobody ever writes to the pipe, so this returns at its end.
    while unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    let code = i32::from(cgroup::remove_all_of(cgroups).is_err());
    // SAFETY: ends this process at once; it has nothing to flush.
    unsafe { libc::_exit(code) }
}
