//! The init of a function's processes: forks the template, waits for its end, and does nothing else.
//!
//! With namespaces it is PID 1 of one, so that the kernel ends everything with it. Without, it is a *guardian*,
//! which does by hand what the kernel does there: orphans come to it, and when the template ends, or the daemon
//! does, it kills the template's process group. No process of a function can leave that group or signal the
//! guardian: the calls for both are violations.

use std::io::{self, Read};
use std::mem::zeroed;
use std::ptr::null_mut;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::{EXIT_SETUP, confine, exit, set_name, template};
use crate::level::Level;
use crate::policy::compile;
use crate::setup::{Setup, ToRunner};
use crate::sys::check;

/// From the exec on.
pub(super) fn run() -> ! {
    set_name(c"ht-init");
    confine::die_with_parent(libc::SIGKILL);
    confine::reset_signals();
    // Out of the terminal's foreground: what is typed there is for the daemon.
    // SAFETY: takes no pointers; fails only where it leads a session already.
    unsafe { libc::setsid() };
    let setup = Setup::inherited();
    let (level, uid) = match setup.receive() {
        Ok(ToRunner::Placed { level, init_uid }) => (level, init_uid),
        Ok(_) | Err(_) => exit(EXIT_SETUP),
    };
    if !level.has_namespaces() && become_guardian(&setup).is_err() {
        exit(EXIT_SETUP);
    }
    // SAFETY: takes no pointers and cannot fail.
    let own_pid = unsafe { libc::getpid() };
    // Closed by `lock_down`, for which the template waits: the dialogue that it goes on with ends in the closing of the
    // setup socket, and this process must not take that for the daemon's death.
    let Ok((mut waits, locks)) = io::pipe() else { exit(EXIT_SETUP) };
    // SAFETY: this process has one thread, so the child has all of it.
    match unsafe { libc::fork() } {
        -1 => exit(EXIT_SETUP),
        0 => {
            drop(locks);
            let _ = waits.read(&mut [0]);
            drop(waits);
            if !level.has_namespaces() {
                leave_guardian(own_pid);
            }
            template::run(setup)
        }
        template => {
            std::mem::forget((waits, locks));
            if lock_down(&setup, level, uid).is_err() {
                exit(EXIT_SETUP);
            }
            if level.has_namespaces() { reap_until_gone(template) } else { guard(template) }
        }
    }
}

/// What the guardian waits for: the end of the template, and the word that all is to end.
fn watched() -> libc::sigset_t {
    // SAFETY: all-zero is room for a set; it is made empty before it is used.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        set
    }
}

/// From here on the daemon's death is a SIGTERM that waits, and orphans of the template come here.
fn become_guardian(setup: &Setup) -> io::Result<()> {
    let set = watched();
    // SAFETY: `set` outlives the call; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, null_mut()) }.into())?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())?;
    confine::die_with_parent(libc::SIGTERM);
    if confine::hung_up(setup.as_fd()) {
        exit(EXIT_SETUP);
    }
    Ok(())
}

/// The template does not wait for what the guardian waits for, and dies with it, should somebody kill it.
fn leave_guardian(guardian: libc::pid_t) {
    confine::reset_signals();
    confine::die_with_parent(libc::SIGKILL);
    // SAFETY: takes no pointers and cannot fail.
    if unsafe { libc::getppid() } != guardian {
        exit(EXIT_SETUP);
    }
}

/// Takes from this process everything but waiting, exiting and, of a guardian, killing.
fn lock_down(setup: &Setup, level: Level, uid: Option<u32>) -> io::Result<()> {
    confine::drop_capabilities(level)?;
    if let Some(uid) = uid {
        confine::take_identity(uid)?;
    }
    confine::clear_capabilities()?;
    confine::no_new_privileges()?;
    confine::not_dumpable()?;
    if level.has_namespaces() {
        // Changing the identity has cleared this.
        confine::die_with_parent(libc::SIGKILL);
        if confine::hung_up(setup.as_fd()) {
            exit(EXIT_SETUP);
        }
    }
    // SAFETY: this process uses no descriptor from here on; `setup` is never dropped, since it exits, and the pipe is
    // forgotten.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    compile::install(&filter(level).map_err(io::Error::other)?, false)?;
    Ok(())
}

fn filter(level: Level) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        [libc::SYS_wait4, libc::SYS_exit_group, libc::SYS_restart_syscall]
            .into_iter()
            .map(|call| (call, vec![]))
            .collect();
    if !level.has_namespaces() {
        let sigkill = libc::SIGKILL as u64;
        let only_kill = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, sigkill)?;
        rules.insert(libc::SYS_kill, vec![SeccompRule::new(vec![only_kill])?]);
        rules.insert(libc::SYS_waitid, vec![]);
        rules.insert(libc::SYS_rt_sigtimedwait, vec![]);
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
}

/// Reaps whatever ends in the namespace. When the template is gone, so is the namespace.
fn reap_until_gone(template: libc::pid_t) -> ! {
    loop {
        // SAFETY: a null status is allowed.
        let pid = unsafe { libc::waitpid(-1, null_mut(), 0) };
        if pid == template || pid == -1 {
            exit(0);
        }
    }
}

/// Waits for the template's end or the word to end it, and leaves nothing of it behind.
fn guard(template: libc::pid_t) -> ! {
    let set = watched();
    loop {
        // SAFETY: `set` outlives the call; who sent the signal is not asked.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, null_mut()) };
        if signal == libc::SIGTERM || has_ended(template) {
            break;
        }
    }
    // SAFETY: takes no pointers. The template is this process's child and not reaped, so that its number is its
    // own, as a process and as a group. By itself as well: it may not have come to lead its group yet. A fork that
    // is under way is either in the group already or fails by its parent's death.
    unsafe {
        libc::kill(template, libc::SIGKILL);
        libc::kill(-template, libc::SIGKILL);
    }
    // Orphans of the template are this process's children by now.
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(-1, null_mut(), 0) } != -1 {}
    exit(0)
}

/// Whether a child has ended; it stays unreaped.
fn has_ended(child: libc::pid_t) -> bool {
    // SAFETY: all-zero is room for a siginfo, which outlives the call; its pid stays 0 if nothing has ended.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let result = libc::waitid(libc::P_PID, child.cast_unsigned(), &raw mut info, options);
        result == -1 || info.si_pid() == child
    }
}
