//! The program that is executed afresh for each function: first the init of its processes, which forks the one
//! that becomes the function's template.
//!
//! It is this same executable under another name. Until `dlopen` everything that runs here is ours; from
//! then on nothing that this process says is believed.

pub(crate) mod confine;
mod host;
mod init;
mod plugin;
pub(crate) mod root;
mod template;
mod unloadable;
mod worker;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::setup::{INT_SIZE, SETUP_FD};

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
        init::run();
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
