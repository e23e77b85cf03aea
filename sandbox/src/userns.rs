//! The user namespace of level *userns*: who the user is inside, and what the runner may do there until it has
//! confined itself.

use std::fs;
use std::io;

/// What the user's own uid and gid are called inside. Not 0, so that nothing inside is privileged by its uid.
const INSIDE: u32 = 1000;

/// Capabilities that the runner needs within its namespaces: to mount and pivot, and to drop what is left of
/// capabilities from the bounding set.
const NEEDED: [u32; 2] = [CAP_SYS_ADMIN, CAP_SETPCAP];
const CAP_SETPCAP: u32 = 8;
const CAP_SYS_ADMIN: u32 = 21;

/// Maps the caller's user and group, and no others, into the user namespace of a process that was cloned with it:
/// `process` as `/proc` names it. The kernel lets an ordinary user map nobody but himself, and only if the
/// namespace's processes can no longer change their supplementary groups.
pub(crate) fn map(process: impl std::fmt::Display, uid: u32, gid: u32) -> io::Result<()> {
    let write = |file: &str, text: String| fs::write(format!("/proc/{process}/{file}"), text);
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{INSIDE} {uid} 1"))?;
    write("gid_map", format!("{INSIDE} {gid} 1"))
}

/// Uid and gid of this process.
pub(crate) fn own_ids() -> (u32, u32) {
    // SAFETY: neither takes pointers or can fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    own_ids().0 == 0
}

/// Carries [`NEEDED`] over an exec, which would drop all capabilities of a user that is not root. For the first
/// process of a user namespace, which has them all. Makes only system calls, so that a child of a process with
/// threads may use it. Returns whether it succeeded.
pub(crate) fn keep_capabilities_over_exec() -> bool {
    let set = NEEDED.iter().fold(0, |set, capability| set | 1 << capability);
    if !set_capabilities(set) {
        return false;
    }
    NEEDED.iter().all(|capability| {
        // SAFETY: takes no pointers.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, *capability, 0, 0) == 0 }
    })
}

/// Makes these capabilities, of the first 32, and no others effective, permitted and inheritable. Makes only one
/// system call.
pub(crate) fn set_capabilities(set: u32) -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let sets = [set, set, set, 0, 0, 0];
    // SAFETY: the structures are those of version 3 of the interface (a header, and two times three words) and
    // outlive the call.
    unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) == 0 }
}
