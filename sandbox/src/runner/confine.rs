//! What a template does to itself before it loads the plugin, in order.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::grants::Grants;
use crate::landlock;
use crate::layers::{self, Layer};
use crate::level::Level;
use crate::limits::{FUNCTION_NOFILE, FUNCTION_STACK, GRANTED_FILE_SIZE, WORKER_OOM_SCORE_ADJ};
use crate::policy::compile::{self, Programs};
use crate::setup::{Assignment, FromRunner, SETUP_FD, Setup, ToRunner};
use crate::step::{AtStep, SetupError, Step};
use crate::sys::check;
use crate::userns;

use super::root;

/// The list. Each step takes something away; the filter comes last of those that need other calls.
pub(super) fn confine(assignment: &Assignment, programs: &Programs, setup: &Setup) -> Result<(), SetupError> {
    own_session().step(Step::Session)?;
    close_descriptors().step(Step::Descriptors)?;
    let level = assignment.level;
    if level != Level::Full {
        prefer_for_oom();
    }
    let grants = &assignment.grants;
    if layers::on(Layer::Limits) {
        let file_size = if grants.write.is_empty() { 0 } else { GRANTED_FILE_SIZE };
        limit_resources(assignment.data_limit, file_size, assignment.process_limit)
            .step(Step::ResourceLimits)?;
    }
    if level.has_namespaces() {
        root::enter(&assignment.directory, grants)?;
    }
    let directory = root::function_directory(assignment);
    // At every level, so that a function finds its files by relative names.
    std::env::set_current_dir(directory).step(Step::Root)?;
    if layers::on(Layer::Uid) {
        // While still capable: the bounding set is what a later exec of a setuid file could have brought back.
        drop_capabilities(level).step(Step::Capabilities)?;
        if let Some(uid) = assignment.uid {
            take_identity(uid).step(Step::Identity)?;
        }
        // Leaving uid 0 has cleared them; nothing is to depend on that, and at other levels nobody leaves it.
        clear_capabilities().step(Step::Capabilities)?;
    }
    // As who the function is: what is not its to read would be refused to it later, when nobody understands why.
    reach(grants, assignment.uid)?;
    no_new_privileges().step(Step::NoNewPrivileges)?;
    let readable = root::library_directories();
    let mut readable: Vec<&Path> = readable.iter().map(AsRef::as_ref).collect();
    readable.push(directory);
    if layers::on(Layer::Landlock) {
        landlock::loading(&readable, grants).and_then(landlock::enforce).step(Step::Landlock)?;
    }
    if layers::on(Layer::Seccomp) {
        compile::install(&programs.numbers, false).step(Step::Seccomp)?;
        compile::install(&programs.refusals, false).step(Step::Seccomp)?;
    }
    let gates = layers::gates();
    let listener = compile::install(gates.as_ref().unwrap_or(&programs.allowed), true).step(Step::Seccomp)?;
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
    // process. Without a user namespace the warden could not read, either, why a plugin was refused: there
    // `template::serve` takes this step, after the plugin's initialisation.
    if level.has_capabilities() {
        not_dumpable().step(Step::NotDumpable)?;
    }
    Ok(())
}

/// Makes this process, and all that it will fork, the kernel's first choice when the host is out of memory. Best
/// effort. At level *full* workers alone are put forward, by a daemon that can write to their files.
fn prefer_for_oom() {
    let _ = std::fs::write("/proc/self/oom_score_adj", WORKER_OOM_SCORE_ADJ.to_string());
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

/// `data` and `file_size` in bytes; `processes` where the kernel counts the function's alone.
pub(crate) fn limit_resources(data: u64, file_size: u64, processes: Option<u64>) -> io::Result<()> {
    let limits = [
        // A core file would hold the function's memory, outside its limits.
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_MSGQUEUE, 0),
        // Without something to write, nothing that is granted is a regular file.
        (libc::RLIMIT_FSIZE, file_size),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_SIGPENDING, 64),
        (libc::RLIMIT_NOFILE, FUNCTION_NOFILE),
        (libc::RLIMIT_STACK, FUNCTION_STACK),
        // Where there are cgroups they are what a worker is held to, and this holds it in the moment before it
        // is attached.
        (libc::RLIMIT_DATA, data),
    ];
    let processes = processes.map(|processes| (libc::RLIMIT_NPROC, processes));
    for (resource, value) in limits.into_iter().chain(processes) {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())?;
    }
    Ok(())
}

/// Every capability from the bounding and the ambient set. Without namespaces there is no power to change the
/// former, nor a capability to lose: what it could bring back is kept away by no_new_privs.
pub(crate) fn drop_capabilities(level: Level) -> io::Result<()> {
    let bounding = if level.has_capabilities() { 0..64 } else { 0..0 };
    for capability in bounding {
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

/// The uid and gid, all three of each, without supplementary groups.
pub(crate) fn take_identity(uid: u32) -> io::Result<()> {
    // SAFETY: an empty list of groups needs no pointer, and the other calls take none.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(uid, uid, uid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
    }
    Ok(())
}

/// Whether this user may do what is granted, by the files' own owners and modes.
fn reach(grants: &Grants, uid: Option<u32>) -> Result<(), SetupError> {
    let try_to = |what: &str, mode: libc::c_int, path: &Path| {
        let enter = if path.is_dir() { libc::X_OK } else { 0 };
        let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
        // SAFETY: the path is NUL-terminated and outlives the call.
        let done = name.and_then(|name| check(unsafe { libc::access(name.as_ptr(), mode | enter) }.into()));
        done.map(drop).map_err(|error| {
            let path = path.display();
            let detail = match (uid, error.kind()) {
                (Some(uid), io::ErrorKind::PermissionDenied) => {
                    format!("user {uid} may not {what} {path}; `chown {uid} {path}` gives it to that user")
                }
                (None, io::ErrorKind::PermissionDenied) => format!("the daemon's user may not {what} {path}"),
                (Some(_) | None, _) => format!("{what} {path}"),
            };
            SetupError::with(Step::Granted, &error, detail)
        })
    };
    grants.read.iter().try_for_each(|path| try_to("read", libc::R_OK, path))?;
    grants.write.iter().try_for_each(|path| try_to("write to", libc::R_OK | libc::W_OK, path))
}

/// Every capability from the effective, the permitted and the inheritable set.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    if userns::set_capabilities(0) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(drop)
}

pub(crate) fn not_dumpable() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}

/// This signal when the thread that made this process ends.
pub(crate) fn die_with_parent(signal: libc::c_int) {
    // SAFETY: takes no pointers; cannot fail for a valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
}

/// Whether the other end of a socket is closed.
pub(super) fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `poll` is one entry and outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLHUP != 0 }
}
