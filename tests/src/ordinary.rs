//! The daemon as an ordinary user starts it: nobody, on a host that lets him have user namespaces or does not.

use std::ffi::CStr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{fs, io};

use crate::artefacts;
use crate::home::Home;

/// Who.
pub const NOBODY: u32 = 65534;

/// `hairtrigger` with these arguments, as nobody. The executable is put where he can reach it: the build may lie in
/// root's home.
pub fn command(home: &Home, arguments: &[&str]) -> Command {
    let executable = home.path().join("hairtrigger");
    if !executable.exists() {
        let built = artefacts::daemon();
        let linked = fs::hard_link(&built, &executable);
        linked.or_else(|_| fs::copy(&built, &executable).map(drop)).expect("there is room for another copy");
    }
    // His state goes beside the functions, which he need only read.
    chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("root may give directories away");
    let mut command = Command::new(executable);
    command.args(arguments).current_dir(home.path()).uid(NOBODY).gid(NOBODY);
    command
}

/// `hairtrigger dev` as nobody.
pub fn dev(home: &Home, arguments: &[&str]) -> Command {
    let mut command = command(home, &["dev", "functions", "--listen", "127.0.0.1:0", "--state", "state"]);
    command.args(arguments);
    command
}

/// Takes user namespaces from a process and all that it starts, as a setting of the host would. It is put into a
/// user namespace where it is who it was, and where there may be no others.
pub fn without_user_namespaces(command: &mut Command) {
    const ID_MAP: &CStr = c"65534 65534 1";
    let steps = || {
        // SAFETY: take no pointers. Having changed its uid the process is undumpable, and files of /proc are root's.
        unsafe {
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
            check(libc::unshare(libc::CLONE_NEWUSER))?;
        }
        write(c"/proc/self/setgroups", c"deny")?;
        write(c"/proc/self/uid_map", ID_MAP)?;
        write(c"/proc/self/gid_map", ID_MAP)?;
        write(c"/proc/sys/user/max_user_namespaces", c"0")
    };
    // SAFETY: between fork and exec the closure makes system calls only, on constants.
    unsafe { command.pre_exec(steps) };
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn write(path: &CStr, text: &CStr) -> io::Result<()> {
    // SAFETY: both strings are NUL-terminated constants; the descriptor is this function's own.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, text.as_ptr().cast(), text.count_bytes());
        libc::close(file);
        if written == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
