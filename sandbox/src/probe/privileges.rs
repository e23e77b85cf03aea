//! Root, and what a runner gives up of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;

use super::{About, BELOW_FULL, Doing, FULL, Failure, NO_FUNCTION, Options, Row, child, must, must_fail};
use crate::level::Level;
use crate::limits::{DATA_SLACK, FUNCTION_NOFILE, MIN_MEMORY};
use crate::runner::confine;
use crate::step::Step;
use crate::sys::check;

/// Capabilities that the daemon and the trusted part of a runner use: number, name.
const NEEDED: [(u32, &str); 6] = [
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

/// User 0 with what it takes to confine others.
pub(super) fn root() -> Row {
    let protects = "nothing by itself; it makes the confinements of level full";
    Row::new(About::new("root", "2.6.25", protects, BELOW_FULL).at(FULL), capabilities())
}

fn capabilities() -> Result<(), Failure> {
    // SAFETY: takes no pointers and cannot fail.
    let uid = unsafe { libc::geteuid() };
    if uid != 0 {
        return Err(Failure {
            forbidden: true,
            ..Failure::found(format!("it was started as uid {uid}, not as root"))
        });
    }
    let status = fs::read_to_string("/proc/self/status").doing("read /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let lacking: Vec<_> =
        NEEDED.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Failure { forbidden: true, ..Failure::found(format!("root here lacks {}", lacking.join(", "))) })
}

/// What a runner gives up of root.
pub(super) fn of_root(options: &Options) -> Vec<Row> {
    let capabilities = "using any of root's powers, also through a setuid file";
    let identity = "touching what belongs to root, to people or to another function";
    let trial = child::run(0, without_capabilities);
    vec![
        Row::new(About::new(Step::Capabilities, "4.3", capabilities, BELOW_FULL).at(FULL), trial),
        Row::new(About::new(Step::Identity, "2.6.26", identity, BELOW_FULL).at(FULL), identities(options)),
    ]
}

/// What a runner of any user gives up.
pub(super) fn rows() -> Vec<Row> {
    let gain = "gaining privileges by executing a file";
    let look = "being traced or read through /proc by its siblings";
    vec![
        resource_limits(),
        Row::new(
            About::new(Step::NoNewPrivileges, "3.5", gain, NO_FUNCTION),
            child::run(0, || {
                confine::no_new_privileges().doing("prctl")?;
                // SAFETY: takes no pointers.
                must("it did not stay", unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } == 1)
            }),
        ),
        Row::new(
            About::new(Step::NotDumpable, "2.4", look, NO_FUNCTION),
            child::run(0, || {
                confine::not_dumpable().doing("prctl")?;
                // SAFETY: takes no pointers.
                must("it did not stay", unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 0)
            }),
        ),
    ]
}

fn without_capabilities() -> Result<(), Failure> {
    confine::drop_capabilities(Level::Full).doing("drop from the bounding set")?;
    for capability in 0..64 {
        // SAFETY: takes no pointers. Behind the last capability this is an error, and so not 1.
        let bounded = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        must(&format!("capability {capability} stayed in the bounding set"), bounded != 1)?;
    }
    Ok(())
}

/// Both ends of the range: inside a user namespace the host may have mapped only a part of it.
fn identities(options: &Options) -> Result<(), Failure> {
    [options.uid_base, options.last_uid()].into_iter().try_for_each(|uid| {
        child::run(0, || {
            confine::take_identity(uid).doing(&format!("become uid {uid}"))?;
            confine::clear_capabilities().doing("capset")?;
            let status = fs::read_to_string("/proc/self/status").doing("read /proc/self/status")?;
            let four = |name: &str| status.contains(&format!("{name}:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
            must("a uid or gid is another", four("Uid") && four("Gid"))?;
            must("a capability stayed", status.contains("CapPrm:\t0000000000000000\n"))?;
            // SAFETY: takes no pointers.
            must_fail("becoming root again", libc::EPERM, check(unsafe { libc::setuid(0) }.into()))
        })
    })
}

/// The limits of a runner, tried where they are felt.
fn resource_limits() -> Row {
    let protects = "using up descriptors, memory and disk, and leaving core files";
    let outcome = child::run(0, || {
        let data = MIN_MEMORY + DATA_SLACK;
        confine::limit_resources(data, 0, None).doing("setrlimit")?;
        let mut open = Vec::new();
        let error = loop {
            match File::open("/dev/null") {
                Ok(file) if u64::from(file.as_raw_fd().cast_unsigned()) < FUNCTION_NOFILE => open.push(file),
                other => break other,
            }
        };
        drop(open);
        must_fail("opening one descriptor too many", libc::EMFILE, error)?;
        must_fail("mapping more memory than is allowed", libc::ENOMEM, map(data))
    });
    Row::new(About::new(Step::ResourceLimits, "4.7", protects, NO_FUNCTION), outcome)
}

fn map(length: u64) -> io::Result<()> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses the address; the map stays until the child ends.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
