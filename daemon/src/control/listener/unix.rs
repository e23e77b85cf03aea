//! Listeners on unix sockets: one socket in the file system, which all shards share.

use std::fs::{self, DirBuilder, Permissions, TryLockError};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::limits::{BACKLOG, MAX_SOCKET_PATH};

/// How long others that start in the same directory are waited for, and how often they are looked for.
const TURN_PATIENCE: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(5);

/// The file of a socket that listens. Dropped, it is removed, if it is still the one that was made.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl File {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // What is left behind is removed by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes a socket that may be written to as `mode` and `group` say (`None`: the daemon's own), in a directory
/// that is made if it is not there.
pub(super) fn listen(path: &Path, mode: u32, group: Option<u32>) -> Result<(File, OwnedFd)> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("the directory {} cannot be made", directory.display());
    // The sockets have rights of their own; whoever may use one must be able to reach it.
    DirBuilder::new().recursive(true).mode(0o755).create(directory).with_context(cannot)?;
    // Whoever starts at the same moment waits: between the question whether anybody answers and the answer to it
    // nobody else may take the place.
    let _turn = turn(directory)?;
    remove_stale(path)?;
    let listener = socket()?;
    bind(&listener, path)?;
    let file = File { path: path.to_owned(), identity: identity(path)? };
    // Nobody can connect before it listens: its rights are settled by then, whatever the umask made of them.
    lchown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    start_listening(&listener)?;
    Ok((file, listener))
}

/// Waits until nobody else starts in a directory, but not for long: a start takes a moment, while a lock can be held
/// for ever by anybody who can open the directory.
fn turn(directory: &Path) -> io::Result<fs::File> {
    let (turn, deadline) = (fs::File::open(directory)?, Instant::now() + TURN_PATIENCE);
    loop {
        match turn.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(AGAIN),
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(turn),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Gives a socket that listens to another group.
pub(super) fn give_to(path: &Path, group: Option<u32>) -> io::Result<()> {
    // SAFETY: takes no pointers and cannot fail.
    let own = unsafe { libc::getegid() };
    lchown(path, None, Some(group.unwrap_or(own)))
}

/// Removes the socket of a daemon that is gone. Refuses where one answers, and what is no socket.
fn remove_stale(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => bail!("what is there is no socket"),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match connect(&socket()?, path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // A full queue is somebody's, too.
        Ok(()) => bail!("somebody listens there already"),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!("somebody listens there already"),
        Err(error) => Err(error.into()),
    }
}

/// A socket that does not block.
fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointers; the descriptor is owned at once.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, kind, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn bind(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let (address, length) = raw_address(path)?;
    // SAFETY: `address` has `length` bytes and outlives the call.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn connect(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let (address, length) = raw_address(path)?;
    // SAFETY: `address` has `length` bytes and outlives the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn start_listening(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let done = unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(clippy::cast_possible_truncation, reason = "the name of a family and the size of a structure")]
fn raw_address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX.cast_unsigned() as libc::sa_family_t;
    // What is not written over is the NUL at the end.
    if bytes.len() > MAX_SOCKET_PATH || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    Ok((address, mem::size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

const _: () =
    assert!(MAX_SOCKET_PATH < mem::size_of::<libc::sockaddr_un>() - mem::size_of::<libc::sa_family_t>());
