//! The policy as it is installed, and each answer that the warden gives, exercised.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::child::Child;
use super::{About, Doing, Failure, NO_FUNCTION, Row, must, must_fail};
use crate::policy::CONTROL_CALL;
use crate::policy::compile::{self, Programs};
use crate::runner::confine;
use crate::step::Step;
use crate::sys::{self, Answer, Notification, Poller, check};

/// Where the child is given a descriptor: a number that it does not use.
const GIVEN: RawFd = 50;
/// What the control call is answered with.
const VALUE: i64 = 4711;
/// How long a notification may take to arrive.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn rows() -> Vec<Row> {
    let filter = "every system call that a function has no business with";
    let kill = "other ABIs' numbers for the same calls";
    let notification = "violations without a name, and forks that nobody wants";
    let descriptors = "sockets between daemon and workers, and descriptors nobody asked for";
    let carried_out = "letting every fork pass, or none";
    vec![
        Row::new(About::new(Step::Seccomp, "4.14", filter, NO_FUNCTION), refusals()),
        Row::new(About::new("seccomp: kill the process", "4.14", kill, NO_FUNCTION), foreign_number()),
        Row::new(
            About::new("seccomp: notify the warden", "5.0", notification, NO_FUNCTION),
            converse(|| Ok(()), |_, _| Ok(())),
        ),
        Row::new(
            About::new("seccomp: ADDFD", "5.9", descriptors, "none: no worker can check in"),
            converse(
                || {
                    // SAFETY: takes no pointers.
                    let flags = check(unsafe { libc::fcntl(GIVEN, libc::F_GETFD) }.into());
                    flags.doing("use the descriptor that was given").map(drop)
                },
                |listener, call| {
                    let null = File::open("/dev/null").doing("open /dev/null")?;
                    let number = GIVEN.cast_unsigned();
                    sys::notification_add_fd(listener, call.id, null.as_fd(), number).doing("ioctl ADDFD")
                },
            ),
        ),
        Row::new(
            About::new("seccomp: CONTINUE", "5.5", carried_out, "none: no worker can be forked"),
            continued(),
        ),
    ]
}

/// Installs what a template installs; returns the listener.
fn install() -> Result<OwnedFd, Failure> {
    let programs = Programs::compile(&[]).doing("compile the policy")?;
    confine::no_new_privileges().doing("set no_new_privs")?;
    compile::install(&programs.numbers, false).doing("install a filter")?;
    compile::install(&programs.refusals, false).doing("install a filter")?;
    let listener = compile::install(&programs.allowed, true).doing("install a filter with a listener")?;
    listener.ok_or_else(|| Failure::found("the filter came without a listener"))
}

fn refusals() -> Result<(), Failure> {
    Child::start(0, |_| {
        let _listener = install()?;
        // SAFETY: the path is NUL-terminated; the filter answers before the kernel reads any pointer.
        let (access, clone3) = unsafe {
            let access = check(libc::syscall(libc::SYS_access, c"/".as_ptr(), 0));
            (access, check(libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::clone_args>(), 0)))
        };
        must_fail("access", libc::EACCES, access)?;
        must_fail("clone3", libc::ENOSYS, clone3)
    })?
    .finish()
}

/// `getpid` by the x32 ABI's number.
fn foreign_number() -> Result<(), Failure> {
    const X32_GETPID: libc::c_long = 0x4000_0027;
    let mut child = Child::start(0, |link| {
        let _listener = install()?;
        link.tell(&()).doing("tell")?;
        // SAFETY: takes no pointers.
        unsafe { libc::syscall(X32_GETPID) };
        Ok(())
    })?;
    child.hear::<()>()?;
    let status = child.wait()?;
    must("a foreign number was let through", status.signal() == Some(libc::SIGSYS))
}

/// A child makes the control call; `during` does to it what is tried, then it is answered; `after` is what the
/// child does then.
fn converse(
    after: impl FnOnce() -> Result<(), Failure>,
    during: impl FnOnce(BorrowedFd<'_>, &Notification) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut child = Child::start(0, |link| {
        let listener = install()?;
        link.tell(&Ok::<_, Failure>(listener.as_raw_fd())).doing("tell")?;
        // SAFETY: Linux never carries this call out.
        let answer = unsafe { libc::syscall(CONTROL_CALL.into(), 0, 0, 0) };
        must("the answer did not arrive as the call's result", answer == VALUE)?;
        after()
    })?;
    let listener = listener_of(&mut child)?;
    let call = next_call(&listener)?;
    must("another call was notified", call.number == CONTROL_CALL && call.thread == child.pid)?;
    during(listener.as_fd(), &call)?;
    sys::notification_answer(listener.as_fd(), call.id, Answer::Return(VALUE)).doing("ioctl NOTIF_SEND")?;
    child.finish()
}

/// A signal to oneself, as `abort` sends it, is for the warden to decide; this one is let go on.
fn continued() -> Result<(), Failure> {
    let mut child = Child::start(0, |link| {
        let listener = install()?;
        link.tell(&Ok::<_, Failure>(listener.as_raw_fd())).doing("tell")?;
        // SAFETY: takes no pointers; signal 0 is none.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), 0) };
        check(result).doing("the call that was let go on").map(drop)
    })?;
    let listener = listener_of(&mut child)?;
    let call = next_call(&listener)?;
    must("another call was notified", libc::c_long::from(call.number) == libc::SYS_tgkill)?;
    sys::notification_answer(listener.as_fd(), call.id, Answer::Continue).doing("ioctl NOTIF_SEND")?;
    child.finish()
}

fn listener_of(child: &mut Child) -> Result<OwnedFd, Failure> {
    let number: RawFd = child.hear::<Result<_, Failure>>()??;
    let pidfd = sys::pidfd_open(child.pid).doing("pidfd_open")?;
    sys::pidfd_getfd(pidfd.as_fd(), number).doing("pidfd_getfd")
}

fn next_call(listener: &OwnedFd) -> Result<Notification, Failure> {
    let poller = Poller::new().doing("epoll_create1")?;
    poller.watch(listener.as_fd(), 0, false).doing("watch the listener")?;
    let mut ready = Vec::new();
    poller.wait(&mut ready, Some(PATIENCE)).doing("wait for a notification")?;
    must("no notification arrived", !ready.is_empty())?;
    let call = sys::notification_receive(listener.as_fd()).doing("ioctl NOTIF_RECV")?;
    call.ok_or_else(|| Failure::new("ioctl NOTIF_RECV", &io::Error::from_raw_os_error(libc::ENOENT)))
}
