//! Watching, killing and ending processes without trusting their pids.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;

use super::child::Child;
use super::{About, Doing, Failure, NO_FUNCTION, Row, child, must, must_fail};
use crate::level::Level;
use crate::runner::confine;
use crate::step::Step;
use crate::sys::{self, check};

/// How a child ends that is watched.
const CODE: i32 = 7;

pub(super) fn rows() -> Vec<Row> {
    let pid = "killing or asking about another process that has the same pid by now";
    let descriptor = "violations that nobody hears of";
    let parent = "a process that checks in as somebody else's worker";
    let exit = "believing a function about how its processes ended";
    let death = "functions that outlive the daemon";
    let inherited = "reading and writing files that the daemon has open";
    vec![
        Row::new(About::new("kill by pidfd", "5.3", pid, NO_FUNCTION), kill()),
        Row::new(About::new("pidfd_getfd", "5.6", descriptor, NO_FUNCTION), copy_descriptor()),
        Row::new(About::new("PIDFD_GET_INFO", "6.13", parent, "none: no worker can check in"), parent_of()),
        Row::new(
            About::new("PIDFD_INFO_EXIT", "6.15", exit, "every fault is reported as SIGKILL"),
            exit_status(),
        ),
        Row::new(About::new(Step::DeathSignal, "2.6.26", death, NO_FUNCTION), child::run(0, death_signal)),
        Row::new(About::new(Step::Descriptors, "5.11", inherited, NO_FUNCTION), child::run(0, close_range)),
    ]
}

/// Ending everything below a process without a PID namespace: orphans come to it, and it ends their group.
pub(super) fn guardian() -> Row {
    let protects = "processes of a function that outlive it, where no namespace ends them";
    let about = About::new("ending a process group by pidfd", "6.9", protects, "none: nothing is served");
    Row::new(about.at(&[Level::Bare]), child::run(0, end_orphans))
}

/// A grandchild whose parent, the leader of its group, has gone: it must come to this process, and end with the
/// group.
fn end_orphans() -> Result<(), Failure> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
        .doing("become a subreaper")?;
    let (read, write) = sys::output_pipe().doing("make a pipe")?;
    // SAFETY: neither child has a second thread to miss, and both end by `_exit` or a signal: the grandchild's
    // alarm bounds its life if the kill does not come.
    let leader = unsafe {
        match libc::fork() {
            -1 => return Err(Failure::new("fork", &io::Error::last_os_error())),
            0 => {
                libc::setsid();
                if libc::fork() == 0 {
                    libc::signal(libc::SIGALRM, libc::SIG_DFL);
                    libc::alarm(2);
                    libc::write(write.as_raw_fd(), c".".as_ptr().cast(), 1);
                    loop {
                        libc::pause();
                    }
                }
                let mut poll = libc::pollfd { fd: read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                libc::poll(&raw mut poll, 1, 2000);
                libc::_exit(0)
            }
            leader => leader,
        }
    };
    let pidfd = sys::pidfd_open(leader).doing("pidfd_open")?;
    let mut status = 0;
    // SAFETY: `status` outlives the calls; this process has no children but these.
    check(unsafe { libc::waitpid(leader, &raw mut status, 0) }.into()).doing("waitpid")?;
    // Its leader is reaped; the group is the pidfd's nonetheless.
    sys::kill_group(pidfd.as_fd()).doing("pidfd_send_signal to a group")?;
    // SAFETY: as above.
    check(unsafe { libc::waitpid(-1, &raw mut status, 0) }.into()).doing("wait for the orphan")?;
    let status = std::process::ExitStatus::from_raw(status);
    must("the orphan was not ended with its group", status.signal() == Some(libc::SIGKILL))
}

fn kill() -> Result<(), Failure> {
    let mut child = Child::start(0, |link| link.wait().doing("wait to be killed"))?;
    let pidfd = sys::pidfd_open(child.pid).doing("pidfd_open")?;
    sys::kill(pidfd.as_fd()).doing("pidfd_send_signal")?;
    let status = child.wait()?;
    must("the kill did not end the process", status.signal() == Some(libc::SIGKILL))
}

fn copy_descriptor() -> Result<(), Failure> {
    let mut child = Child::start(0, |link| {
        let mine = sys::eventfd().doing("eventfd")?;
        sys::ring(mine.as_fd());
        link.tell(&mine.as_raw_fd()).doing("tell")?;
        link.wait().doing("wait")
    })?;
    let number = child.hear()?;
    let pidfd = sys::pidfd_open(child.pid).doing("pidfd_open")?;
    let copy = sys::pidfd_getfd(pidfd.as_fd(), number).doing("pidfd_getfd")?;
    let mut count = [0; 8];
    // SAFETY: eight bytes are written to `count`.
    let got = unsafe { libc::read(copy.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    must("the copy is of another file", got == 8 && u64::from_ne_bytes(count) == 1)?;
    child.go()?;
    child.finish()
}

fn parent_of() -> Result<(), Failure> {
    let mut child = Child::start(0, |link| link.wait().doing("wait"))?;
    let pidfd = sys::pidfd_open(child.pid).doing("pidfd_open")?;
    let info = sys::pidfd_info(pidfd.as_fd()).doing("ioctl PIDFD_GET_INFO")?;
    let own = libc::pid_t::try_from(std::process::id()).unwrap_or(-1);
    must("the kernel names another parent", info.parent == own && info.thread_group == child.pid)?;
    child.go()?;
    child.finish()
}

fn exit_status() -> Result<(), Failure> {
    let mut child = Child::start(0, |link| {
        link.wait().doing("wait")?;
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(CODE) }
    })?;
    let pidfd = sys::pidfd_open(child.pid).doing("pidfd_open")?;
    child.go()?;
    child.wait()?;
    let info = sys::pidfd_info(pidfd.as_fd()).doing("ioctl PIDFD_GET_INFO of a reaped process")?;
    let exit = info.exit.ok_or_else(|| Failure::found("the kernel did not keep the exit status"))?;
    must("the kernel kept another exit status", libc::WEXITSTATUS(exit) == CODE)
}

/// A grandchild whose parent leaves it: it must be killed, and its new parent (this process) sees by what.
fn death_signal() -> Result<(), Failure> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
        .doing("become a subreaper")?;
    let (read, write) = sys::output_pipe().doing("make a pipe")?;
    // SAFETY: neither child has a second thread to miss, and both end by `_exit` or a signal. The
    // grandchild's alarm bounds its life if the death signal does not come. The parent leaves only when the
    // grandchild has written, which it does behind its prctl.
    unsafe {
        match libc::fork() {
            -1 => return Err(Failure::new("fork", &io::Error::last_os_error())),
            0 => {
                if libc::fork() == 0 {
                    confine::die_with_parent(libc::SIGKILL);
                    libc::signal(libc::SIGALRM, libc::SIG_DFL);
                    libc::alarm(2);
                    libc::write(write.as_raw_fd(), c".".as_ptr().cast(), 1);
                    loop {
                        libc::pause();
                    }
                }
                let mut poll = libc::pollfd { fd: read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                libc::poll(&raw mut poll, 1, 2000);
                libc::_exit(0)
            }
            _ => {}
        }
    }
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        check(unsafe { libc::waitpid(-1, &raw mut status, 0) }.into())
            .doing("wait for the abandoned process")?;
        ends.push(status);
    }
    let killed =
        ends.iter().any(|status| libc::WIFSIGNALED(*status) && libc::WTERMSIG(*status) == libc::SIGKILL);
    must("the abandoned process was not killed", killed)
}

/// Numbers far behind those that this process uses.
fn close_range() -> Result<(), Failure> {
    const FROM: libc::c_int = 200;
    let open = || {
        // SAFETY: takes no pointers; nobody else uses numbers this high in this child.
        check(unsafe { libc::dup2(0, FROM) }.into()).or_else(|_| {
            // Standard input may be closed.
            let null = std::fs::File::open("/dev/null")?;
            // SAFETY: as above.
            check(unsafe { libc::dup2(null.as_raw_fd(), FROM) }.into())
        })
    };
    let range = |flags: libc::c_uint| {
        // SAFETY: takes no pointers; nobody uses the numbers from there on.
        check(unsafe { libc::syscall(libc::SYS_close_range, FROM, u32::MAX, flags) })
    };
    // SAFETY: takes no pointers.
    let flags = || check(unsafe { libc::fcntl(FROM, libc::F_GETFD) }.into());
    open().doing("open a descriptor")?;
    range(libc::CLOSE_RANGE_CLOEXEC).doing("close_range CLOSE_RANGE_CLOEXEC")?;
    let marked = flags().doing("fcntl")?;
    must("a descriptor was not marked", marked == libc::c_long::from(libc::FD_CLOEXEC))?;
    range(0).doing("close_range")?;
    must_fail("using a closed descriptor", libc::EBADF, flags())
}
