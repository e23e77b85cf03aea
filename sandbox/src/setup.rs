//! The dialogue between the spawner and a runner, until the runner is confined.
//!
//! Messages travel over a `SOCK_SEQPACKET` pair as JSON; both ends are trusted. The runner closes its end
//! before it loads anything.

use std::collections::BTreeMap;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::grants::Grants;
use crate::level::Level;
use crate::limits::{MAX_GRANTED_PATH_BYTES, MAX_SETTINGS};
use crate::step::SetupError;

/// Descriptor of the runner's end.
pub(crate) const SETUP_FD: RawFd = 3;

/// Longest message, in bytes. An environment is the largest part: a whole manifest at most, of which JSON makes twice
/// as much if it is all quotation marks; beside it are two paths and those that are granted.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB")]
const MAX_MESSAGE: usize = 2 * MAX_SETTINGS as usize + 2 * MAX_GRANTED_PATH_BYTES + 32 * 1024;

/// From the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToRunner {
    /// The runner is where it belongs (in its group, or mapped into its user namespace), so that what it forks is
    /// as well.
    Placed {
        /// How it is to be confined.
        level: Level,
        /// Uid and gid that the init takes; none where it keeps the user's.
        init_uid: Option<u32>,
    },
    /// Become the template of this function.
    Become(Box<Assignment>),
    /// The listener was taken over.
    ListenerTaken,
}

/// From the runner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromRunner {
    /// The template process is there and waits for its assignment.
    Parked,
    /// Everything is enforced; the listener is this descriptor.
    Confined {
        /// Descriptor number in the runner.
        listener: RawFd,
    },
    /// A step failed.
    Failed(SetupError),
}

/// What a runner is to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) function: String,
    pub(crate) level: Level,
    /// Directory that is seen as `/function`, or under its own name where there is no mount namespace.
    pub(crate) directory: PathBuf,
    /// Name of the plugin's file in it.
    pub(crate) library: String,
    /// Uid and gid; none where it keeps the user's.
    pub(crate) uid: Option<u32>,
    pub(crate) environment: BTreeMap<String, String>,
    /// RLIMIT_DATA, in bytes.
    pub(crate) data_limit: u64,
    /// RLIMIT_NPROC; none where it would count processes that are not the function's.
    pub(crate) process_limit: Option<u64>,
    pub(crate) max_request: u64,
    pub(crate) max_response: u64,
    /// What it may touch beyond nothing.
    pub(crate) grants: Grants,
    /// Whether workers mark their output with the invocation that it belongs to.
    pub(crate) mark_output: bool,
}

/// Size of a socket option that is an int.
#[expect(clippy::cast_possible_truncation, reason = "four")]
pub(crate) const INT_SIZE: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;

/// One end of the dialogue.
#[derive(Debug)]
pub(crate) struct Setup(OwnedFd);

impl Setup {
    /// Both ends: ours tells who sends, theirs crosses the exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let mut ends = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `ends` has room for two descriptors, which nobody else owns.
        let (ours, theirs) = unsafe {
            crate::sys::check(libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()).into())?;
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        let on: libc::c_int = 1;
        // SAFETY: the option is an int, and `on` outlives the call.
        crate::sys::check(unsafe {
            libc::setsockopt(
                ours.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                INT_SIZE,
            )
            .into()
        })?;
        Ok((Self(ours), theirs))
    }

    /// The runner's end.
    pub(crate) fn inherited() -> Self {
        // SAFETY: the spawner put this end at this number, and the runner makes one `Setup` of it.
        Self(unsafe { OwnedFd::from_raw_fd(SETUP_FD) })
    }

    pub(crate) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {} bytes is too long", bytes.len())));
        }
        // write and not send: the former is what the system call policy allows. A closed peer is EPIPE,
        // since SIGPIPE is ignored on both ends by now or its default is right for a runner.
        // SAFETY: `bytes` is as long as is said.
        let sent = unsafe { libc::write(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        crate::sys::check(sent as libc::c_long)?;
        Ok(())
    }

    /// Receives a message.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<T> {
        let mut bytes = vec![0; MAX_MESSAGE];
        // SAFETY: `bytes` has room for as much as is said.
        let got = unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        parse(&bytes, crate::sys::check(got as libc::c_long)?)
    }

    /// Receives a message within a time, with the sender's pid as the kernel attests it.
    pub(crate) fn receive_from<T: DeserializeOwned>(&self, within: Duration) -> io::Result<(T, libc::pid_t)> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one entry and outlives the call.
        if crate::sys::check(unsafe { libc::poll(&raw mut poll, 1, timeout) }.into())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all-zero is a valid msghdr; the fields that matter are set below.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: `header` describes buffers that outlive the call and are as long as it says.
        let got = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        let message = parse(&bytes, crate::sys::check(got as libc::c_long)?)?;
        // SAFETY: `header` was filled by recvmsg, so the macros walk within `control`.
        let sender = unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (!first.is_null() && (*first).cmsg_type == libc::SCM_CREDENTIALS)
                .then(|| libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned().pid)
        };
        let sender = sender.ok_or_else(|| io::Error::other("a message without its sender"))?;
        Ok((message, sender))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], got: libc::c_long) -> io::Result<T> {
    let got = usize::try_from(got).map_err(io::Error::other)?;
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&bytes[..got])?)
}
