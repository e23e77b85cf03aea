//! What a function sees of the file system: its own directory as `/function`, the system's library
//! directories, what it is granted under its own name, nothing else; all of it read-only but what it may write.
//! Without a mount namespace landlock alone sees to that, and the directory keeps its name.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::grants::Grants;
use crate::setup::Assignment;
use crate::step::{SetupError, Step};
use crate::sys::{check, own};

/// Where the function's own directory is seen.
const FUNCTION_DIRECTORY: &str = "/function";

/// Directories that hold shared libraries on the distributions we know. Those that exist are shown.
const LIBRARIES: &[&str] = &["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];

/// Names under which the loader looks for them.
const LINKS: &[(&str, &str)] = &[("usr/lib", "lib"), ("usr/lib64", "lib64")];

/// Of `<linux/mount.h>`, Linux 5.2.
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// What everything is shown with.
const GUARDED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A directory that is sure to exist and that holds nothing anybody binds from. The new root is built on
/// top of it, in this mount namespace only.
const STAGE: &str = "/proc";

/// The library directories of this host.
pub(crate) fn library_directories() -> Vec<PathBuf> {
    LIBRARIES.iter().map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

/// Where a runner finds the function's own directory.
pub(super) fn function_directory(assignment: &Assignment) -> &Path {
    if assignment.level.has_namespaces() { Path::new(FUNCTION_DIRECTORY) } else { &assignment.directory }
}

/// Builds the new root and makes it this namespace's only one.
pub(crate) fn enter(function: &Path, grants: &Grants) -> Result<(), SetupError> {
    let at = |what: &str, path: &Path| {
        let detail = format!("{what} {}", path.display());
        move |error: io::Error| SetupError::with(Step::Root, &error, detail)
    };
    let stage = Path::new(STAGE);
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, None)
        .map_err(at("make private", Path::new("/")))?;
    let guarded = libc::MS_NOSUID | libc::MS_NODEV;
    mount(
        Some(Path::new("tmpfs")),
        stage,
        Some("tmpfs"),
        guarded | libc::MS_NOEXEC,
        Some("mode=0755,size=64k"),
    )
    .map_err(at("mount tmpfs on", stage))?;
    let below = |path: &Path| stage.join(path.strip_prefix("/").unwrap_or(path));
    // What contains another comes first, and would hide it otherwise; the libraries, which can be executed, last.
    for (source, writable) in granted(grants) {
        let attributes =
            GUARDED | libc::MOUNT_ATTR_NOEXEC | if writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
        bind(source, Links::No, &below(source), attributes).map_err(|error| {
            // Whoever is not root must not see what a file system hides that is mounted there.
            let hides = error.raw_os_error() == Some(libc::EINVAL);
            let why = if hides { ", below which other file systems are mounted" } else { "" };
            SetupError::with(Step::Root, &error, format!("bind {}{why}", source.display()))
        })?;
    }
    let read_only = GUARDED | libc::MOUNT_ATTR_RDONLY;
    for source in library_directories() {
        bind(&source, Links::Yes, &below(&source), read_only).map_err(at("bind", &source))?;
    }
    bind(function, Links::Yes, &below(Path::new(FUNCTION_DIRECTORY)), read_only)
        .map_err(at("bind", function))?;
    for (to, name) in LINKS {
        // Where these are directories of their own, something in them may have been granted.
        if !stage.join(name).exists() {
            std::os::unix::fs::symlink(to, stage.join(name)).map_err(at("link", Path::new(name)))?;
        }
    }
    std::env::set_current_dir(stage).map_err(at("enter", stage))?;
    // SAFETY: both paths are NUL-terminated.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
        .map_err(at("pivot to", stage))?;
    // SAFETY: the path is NUL-terminated. The old root lies on top of the new one now.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())
        .map_err(at("detach", Path::new("the old root")))?;
    std::env::set_current_dir("/").map_err(at("enter", Path::new("/")))?;
    let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | guarded | libc::MS_NOEXEC;
    mount(None, Path::new("/"), None, read_only, None).map_err(at("make read-only", Path::new("/")))
}

/// Paths with whether they may be written, those that contain others before these.
fn granted(grants: &Grants) -> Vec<(&Path, bool)> {
    let read = grants.read.iter().map(|path| (&**path, false));
    let mut all: Vec<_> = read.chain(grants.write.iter().map(|path| (&**path, true))).collect();
    all.sort_unstable();
    all
}

/// Whether there may be symbolic links in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// It is the operator's, and leads where it leads.
    Yes,
    /// It had none when it was looked at. Since then a function that may write on the way could have moved a directory
    /// there that holds one.
    No,
}

/// Shows a file or a directory in another place, without what is mounted below it. What it is mounted with (`MOUNT_ATTR_…`)
/// holds before anything can be found there.
fn bind(source: &Path, links: Links, target: &Path, attributes: u64) -> io::Result<()> {
    let source = open_place(source, links)?;
    if source.metadata()?.is_dir() {
        fs::create_dir_all(target)?;
    } else if !target.exists() {
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        File::create(target)?;
    }
    let here = c"".as_ptr();
    // SAFETY: the path is NUL-terminated and empty, which with AT_EMPTY_PATH means the descriptor.
    let tree = own(unsafe {
        let flags = OPEN_TREE_CLONE | libc::AT_EMPTY_PATH.cast_unsigned();
        libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), here, flags)
    })?;
    // Set, and none taken away: what the source's own mount forbids stays forbidden.
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: as above; `attributes` is of the size that is said, and outlives the call.
    check(unsafe {
        let (of, size) = (&raw const attributes, size_of::<libc::mount_attr>());
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), here, libc::AT_EMPTY_PATH, of, size)
    })?;
    // A descriptor as well: below what is shown already, others may move directories about.
    let target = open_place(target, Links::No)?;
    // SAFETY: both paths are NUL-terminated and empty, which with these flags means the descriptors.
    check(unsafe {
        let (from, to) = (tree.as_raw_fd(), target.as_raw_fd());
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
        libc::syscall(libc::SYS_move_mount, from, here, to, here, flags)
    })?;
    Ok(())
}

/// A descriptor that stands for a file or a directory and opens neither.
fn open_place(path: &Path, links: Links) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid `open_how`.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC).cast_unsigned().into();
    how.resolve = match links {
        Links::Yes => 0,
        Links::No => libc::RESOLVE_NO_SYMLINKS,
    };
    // SAFETY: the path is NUL-terminated, `how` is of the size that is said, and both outlive the call.
    let opened = own(unsafe {
        let size = size_of::<libc::open_how>();
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size)
    })?;
    Ok(File::from(opened))
}

fn mount(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    options: Option<&str>,
) -> io::Result<()> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let source = source.map(|path| string(path.as_os_str().as_bytes())).transpose()?;
    let target = string(target.as_os_str().as_bytes())?;
    let kind = kind.map(|kind| string(kind.as_bytes())).transpose()?;
    let options = options.map(|options| string(options.as_bytes())).transpose()?;
    let pointer = |string: &Option<CString>| string.as_ref().map_or(ptr::null(), |s| s.as_ptr());
    // SAFETY: each pointer is null or to a NUL-terminated string that outlives the call.
    check(
        unsafe {
            libc::mount(pointer(&source), target.as_ptr(), pointer(&kind), flags, pointer(&options).cast())
        }
        .into(),
    )
    .map(drop)
}
