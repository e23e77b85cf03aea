//! The program that is executed afresh for each function: first the ns-init of a PID namespace, which forks
//! the process that becomes the function's template.
//!
//! It is this same executable under another name. Until `dlopen` everything that runs here is ours; from
//! then on nothing that this process says is believed.

pub(crate) mod confine;
mod host;
mod plugin;
pub(crate) mod root;
mod template;
mod worker;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::policy::compile;
use crate::setup::{INT_SIZE, SETUP_FD, Setup, ToRunner};

/// `argv[0]` of a runner.
pub(crate) const RUNNER_NAME: &std::ffi::CStr = c"hairtrigger-runner";

/// Exit codes of a runner's trusted part, for a person who looks at them.
const EXIT_SETUP: i32 = 120;

/// If this process was executed as a runner, be one and do not return. To be called before anything else
/// in `main`.
pub fn run_if_runner() {
    let name = std::env::args_os().next();
    if name.as_deref() != Some(OsStr::from_bytes(RUNNER_NAME.to_bytes())) {
        return;
    }
    if is_socket(SETUP_FD) {
        ns_init();
    }
    eprintln!("hairtrigger-runner is started by the daemon, not by hand");
    std::process::exit(2);
}

fn is_socket(fd: i32) -> bool {
    let mut kind: libc::c_int = 0;
    let mut length = INT_SIZE;
    // SAFETY: both pointers are to variables of the sizes that the option asks for.
    unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length) == 0
    }
}

fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the name is NUL-terminated and read during the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running anybody's exit handlers.
    unsafe { libc::_exit(code) }
}

/// PID 1 of the namespace.
fn ns_init() -> ! {
    set_name(c"ht-init");
    confine::die_with_parent();
    confine::reset_signals();
    let setup = Setup::inherited();
    let ns_init_uid = match setup.receive() {
        Ok(ToRunner::Attached { ns_init_uid }) => ns_init_uid,
        Ok(_) | Err(_) => exit(EXIT_SETUP),
    };
    // SAFETY: this process has one thread, so the child has all of it.
    match unsafe { libc::fork() } {
        -1 => exit(EXIT_SETUP),
        0 => template::run(setup),
        template => match lock_down(&setup, ns_init_uid) {
            Ok(()) => reap_until_gone(template),
            Err(_) => exit(EXIT_SETUP),
        },
    }
}

/// Takes from the ns-init everything but waiting and exiting.
fn lock_down(setup: &Setup, uid: u32) -> io::Result<()> {
    confine::drop_capabilities()?;
    confine::take_identity(uid)?;
    confine::no_new_privileges()?;
    confine::not_dumpable()?;
    // Changing the identity has cleared this.
    confine::die_with_parent();
    if confine::hung_up(setup.as_fd()) {
        exit(EXIT_SETUP);
    }
    // SAFETY: this process uses no descriptor from here on; `setup` is never dropped, since it exits.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    let calls = [libc::SYS_wait4, libc::SYS_exit_group, libc::SYS_restart_syscall];
    let rules = calls.into_iter().map(|call| (call, vec![])).collect();
    let filter = seccompiler::SeccompFilter::new(
        rules,
        seccompiler::SeccompAction::KillProcess,
        seccompiler::SeccompAction::Allow,
        seccompiler::TargetArch::x86_64,
    );
    let program: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).map_err(io::Error::other)?;
    compile::install(&program, false)?;
    Ok(())
}

/// Reaps whatever ends in the namespace. When the template is gone, so is the namespace.
fn reap_until_gone(template: libc::pid_t) -> ! {
    loop {
        let nowhere = std::ptr::null_mut();
        // SAFETY: a null status is allowed.
        let pid = unsafe { libc::waitpid(-1, nowhere, 0) };
        if pid == template || pid == -1 {
            exit(0);
        }
    }
}
