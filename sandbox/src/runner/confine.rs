//! What a template does to itself before it loads the plugin, in order.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use crate::landlock;
use crate::limits::{FUNCTION_NOFILE, FUNCTION_STACK};
use crate::policy::compile::{self, Programs};
use crate::setup::{Assignment, FromRunner, SETUP_FD, Setup, ToRunner};
use crate::step::{AtStep, SetupError, Step};
use crate::sys::check;

use super::root;

/// The list. Each step takes something away; the filter comes last of those that need other calls.
pub(super) fn confine(assignment: &Assignment, programs: &Programs, setup: &Setup) -> Result<(), SetupError> {
    own_session().step(Step::Session)?;
    close_descriptors().step(Step::Descriptors)?;
    limit_resources(assignment.data_limit).step(Step::ResourceLimits)?;
    root::enter(&assignment.directory)?;
    // While uid 0: the bounding set is what a later exec of a setuid file could have brought back.
    drop_capabilities().step(Step::Capabilities)?;
    take_identity(assignment.uid).step(Step::Identity)?;
    no_new_privileges().step(Step::NoNewPrivileges)?;
    let readable = root::library_directories();
    let mut readable: Vec<&Path> = readable.iter().map(AsRef::as_ref).collect();
    readable.push(Path::new(root::FUNCTION_DIRECTORY));
    landlock::loading(&readable).and_then(landlock::enforce).step(Step::Landlock)?;
    compile::install(&programs.numbers, false).step(Step::Seccomp)?;
    compile::install(&programs.refusals, false).step(Step::Seccomp)?;
    let listener = compile::install(&programs.allowed, true).step(Step::Seccomp)?;
    let listener = listener.ok_or_else(|| io::Error::other("no listener")).step(Step::Seccomp)?;
    // From here on only what the policy allows.
    setup.send(&FromRunner::Confined { listener: listener.as_raw_fd() }).step(Step::Listener)?;
    match setup.receive().step(Step::Listener)? {
        ToRunner::ListenerTaken => {}
        other => {
            let error = io::Error::other(format!("unexpected {other:?}"));
            return Err(SetupError::new(Step::Listener, &error));
        }
    }
    drop(listener);
    // Only now: as an ordinary user the spawner could not have taken the listener from an undumpable
    // process.
    not_dumpable().step(Step::NotDumpable)
}

fn own_session() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

fn close_descriptors() -> io::Result<()> {
    // SAFETY: takes no pointers. Nothing behind the setup socket belongs to this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, SETUP_FD + 1, u32::MAX, 0) }).map(drop)
}

/// Default actions and an empty mask; Rust's runtime has installed its own, and ignores SIGPIPE.
pub(super) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: default actions have no preconditions; for signals that cannot be changed this fails.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set and the stack are initialised before use; disabling the alternate stack that Rust's
    // runtime made is safe because no handler is left that would run on it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let mut off: libc::stack_t = std::mem::zeroed();
        off.ss_flags = libc::SS_DISABLE;
        libc::sigaltstack(&raw const off, std::ptr::null_mut());
    }
}

pub(crate) fn limit_resources(data: u64) -> io::Result<()> {
    let limits = [
        // A core file would hold the function's memory, outside its limits.
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_MSGQUEUE, 0),
        // Nothing that is granted is a regular file.
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_SIGPENDING, 64),
        (libc::RLIMIT_NOFILE, FUNCTION_NOFILE),
        (libc::RLIMIT_STACK, FUNCTION_STACK),
        // The cgroup is what a worker is held to; this holds it in the moment before it is attached.
        (libc::RLIMIT_DATA, data),
    ];
    for (resource, value) in limits {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())?;
    }
    Ok(())
}

/// Every capability, in every set, the bounding set included.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: takes no pointers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result == -1 {
            let error = io::Error::last_os_error();
            // Behind the last capability that this kernel knows.
            if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 {
                break;
            }
            return Err(error);
        }
    }
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())
        .map(drop)
}

/// The uid and gid, all three of each, without supplementary groups. Leaving uid 0 clears the capability
/// sets; they are cleared once more by hand, so that nothing depends on that.
pub(crate) fn take_identity(uid: u32) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: an empty list of groups needs no pointer; the capability structures are those of version 3
    // of the interface (a header, and two times three words) and outlive the call.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(uid, uid, uid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
        check(libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()))?;
    }
    Ok(())
}

pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(drop)
}

pub(crate) fn not_dumpable() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}

/// SIGKILL when the thread that made this process ends.
pub(crate) fn die_with_parent() {
    // SAFETY: takes no pointers; cannot fail for a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Whether the other end of a socket is closed.
pub(super) fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `poll` is one entry and outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLHUP != 0 }
}
