//! A namespace of each kind that a function has of its own.

use std::fs;
use std::path::PathBuf;

use super::{About, BELOW_FULL, Doing, FULL, Failure, Row, child, must};

/// Name of the row on which others depend.
pub(super) const MOUNT: &str = "mount namespace";

/// The flag, the entry of `/proc/PID/ns`, name, and what it is good for.
const KINDS: [(libc::c_int, &str, &str, &str); 6] = [
    (libc::CLONE_NEWPID, "pid", "pid namespace", "listing, tracing and signalling the host's processes"),
    (libc::CLONE_NEWNS, "mnt", MOUNT, "seeing and changing the host's mounts"),
    (libc::CLONE_NEWNET, "net", "network namespace", "reaching any network, local sockets included"),
    (libc::CLONE_NEWIPC, "ipc", "ipc namespace", "sharing System V memory and message queues"),
    (libc::CLONE_NEWUTS, "uts", "uts namespace", "learning the host's name"),
    (libc::CLONE_NEWCGROUP, "cgroup", "cgroup namespace", "seeing the host's tree of control groups"),
];

pub(super) fn rows() -> Vec<Row> {
    let rows = KINDS.map(|(flag, entry, name, protects)| {
        Row::new(About::new(name, "5.5", protects, BELOW_FULL).at(FULL), try_one(flag, entry))
    });
    rows.into()
}

fn try_one(flag: libc::c_int, entry: &str) -> Result<(), Failure> {
    let link = PathBuf::from("/proc/self/ns").join(entry);
    let identity = || fs::read_link(&link).doing("read /proc/self/ns");
    let ours = identity()?;
    child::run(u64::from(flag.cast_unsigned()), || {
        if flag == libc::CLONE_NEWPID {
            // This /proc shows the parent's namespace; of its own the child is the first process.
            // SAFETY: takes no pointers.
            return must("the child is not the first process", unsafe { libc::getpid() } == 1);
        }
        must("the child shares its parent's", identity()? != ours)
    })
}
