//! File system and network rules by landlock: the layer that still stands when the seccomp policy allows
//! `openat` for the loader.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::grants::Grants;

/// The version since which a domain can be told to log nothing (Linux 6.15).
const QUIET: u32 = 7;

/// The landlock ABI that the kernel speaks; `None` if it has no landlock or it is switched off.
pub fn abi() -> Option<u32> {
    const VERSION: u32 = 1;
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel reads no attributes, and demands that there are none.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(version).ok()
}

/// What is handled: everything of the ABI that has scopes (Linux 6.12), required, not best effort.
const REQUIRED: ABI = ABI::V6;

fn everything_denied() -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .handle_access(AccessNet::from_all(REQUIRED))?
        .scope(Scope::from_all(REQUIRED))?
        .create()
}

/// A ruleset that grants reading below `readable`, what the function is granted, and nothing else: no executing, no
/// signals and no abstract sockets beyond the domain.
pub(crate) fn loading(readable: &[&Path], grants: &Grants) -> io::Result<RulesetCreated> {
    let read = |ruleset, path: &&Path| beneath(ruleset, path, reading());
    readable.iter().try_fold(working(grants)?, read)
}

/// A ruleset that grants what the function is granted: a worker's own domain.
pub(crate) fn working(grants: &Grants) -> io::Result<RulesetCreated> {
    let ruleset = everything_denied().map_err(io::Error::other)?;
    let ruleset = grants.read.iter().try_fold(ruleset, |to, path| beneath(to, path, reading()))?;
    let ruleset = grants.write.iter().try_fold(ruleset, |to, path| beneath(to, path, writing()))?;
    grants.connect.iter().try_fold(ruleset, |ruleset, port| {
        let rule = NetPort::new(*port, AccessNet::ConnectTcp);
        ruleset.add_rule(rule).map_err(io::Error::other)
    })
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Regular files and directories, from the first byte to their removal, and from one directory into another. No
/// symbolic links, which would mean something else to whoever else follows them, and nothing that is not a file.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// A rule for a file, or a directory and all below it.
fn beneath(ruleset: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    let open = |flags| File::options().read(true).custom_flags(libc::O_PATH | flags).open(path);
    // Of a file there is only what a file has: more is an error. Which of them it is cannot be asked for everywhere
    // once the policy holds.
    let (file, rights) = match open(libc::O_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            (open(0)?, rights & AccessFs::from_file(REQUIRED))
        }
        directory => (directory?, rights),
    };
    ruleset.add_rule(PathBeneath::new(file, rights)).map_err(io::Error::other)
}

/// Applies a ruleset to this thread; partial enforcement is an error.
pub(crate) fn enforce(ruleset: RulesetCreated) -> io::Result<()> {
    // no_new_privs is set already, and inside a worker the policy no longer lets it be set.
    // What a function is refused is its business: with an audit daemon on the host it could fill the log. Kernels that
    // cannot be told so lack more than this, and `doctor` is to name that.
    let loud = abi() < Some(QUIET);
    let quiet = ruleset.no_new_privs(false).log_same_exec(loud).and_then(|quiet| quiet.log_subdomains(loud));
    let status = quiet.and_then(RulesetCreated::restrict_self).map_err(io::Error::other)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err(io::Error::other(format!("landlock is only {:?}", status.ruleset)))
        }
    }
}
