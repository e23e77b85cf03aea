//! Listeners for TCP: one socket for each shard, to which the kernel deals the connections.

#![expect(clippy::cast_possible_truncation, reason = "sizes of structures and names of families")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, mem, ptr, thread};

use hairtrigger_sandbox::limits::BACKLOG;

/// How long after an address was in use it is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// As many listening sockets as there are shards, on one address; the address has the port that the kernel
/// chose if 0 was asked for.
///
/// Sockets with `SO_REUSEPORT` share an address with every other one of the same user: with another daemon's, or
/// with those of one that has just died and whose listeners live on for a moment, taking connections that nobody
/// will answer. So the address is first taken by a guard that shares with nobody. While it holds the address, it
/// is opened to our own sockets; when they all listen, the guard goes. There is no moment at which the address is
/// free, and two daemons that start at once do not both pass the guard. What remains is a program of the same
/// user that asks for a share on purpose, once the daemon listens.
pub(super) fn listen(
    address: SocketAddr,
    shards: u16,
    patience: Duration,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let deadline = Instant::now() + patience;
    loop {
        match try_listen(address, shards) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(AGAIN);
            }
            other => return other,
        }
    }
}

fn try_listen(address: SocketAddr, shards: u16) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let guard = Guard::take(address)?;
    guard.share()?;
    let address = guard.0.local_addr()?;
    let mut sockets = Vec::new();
    for _ in 0..shards {
        let socket = socket(address)?;
        share(socket.as_raw_fd())?;
        bind(&socket, address)?;
        start_listening(&socket)?;
        sockets.push(socket);
    }
    Ok((address, sockets))
}

/// Holds an address.
pub(super) struct Guard(TcpListener);

impl Guard {
    /// Takes an address that nobody has.
    pub(super) fn take(address: SocketAddr) -> io::Result<Self> {
        let guard = socket(address)?;
        // It has to listen, since nothing else excludes another guard. But it is deaf: a client that comes now
        // repeats its SYN and finds a shard.
        be_deaf(&guard, address)?;
        bind(&guard, address)?;
        start_listening(&guard)?;
        Ok(Self(TcpListener::from(guard)))
    }

    /// Lets sockets in that share the address; other guards stay out.
    pub(super) fn share(&self) -> io::Result<()> {
        share(self.0.as_raw_fd())
    }
}

/// A socket for this kind of address.
fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no pointers; the descriptor is owned at once.
    let socket = unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let on: libc::c_int = 1;
    set(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, on)?;
    // Accepted sockets inherit it; answers are written whole, so nothing is gained by waiting.
    set(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, on)?;
    if address.is_ipv6() {
        // An address means itself: whoever wants both kinds names both.
        set(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, on)?;
    }
    Ok(socket)
}

fn share(socket: libc::c_int) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1 as libc::c_int)
}

/// Drops every packet that has passed a router, or was sent as nearly all are, with fewer than the 255 hops that
/// a packet may have left. A socket filter would do so, too, but there are hosts where only the privileged may have
/// one.
fn be_deaf(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    const MOST_HOPS: libc::c_int = 255;
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket.as_raw_fd(), level, option, MOST_HOPS)
}

/// Sets an option whose value is a `T`, as the kernel's headers say of it.
fn set<T>(socket: libc::c_int, level: libc::c_int, option: libc::c_int, value: T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has `length` bytes and outlives the call; what it points to is alive in the callers above.
    let done = unsafe { libc::setsockopt(socket, level, option, ptr::from_ref(&value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let (storage, length) = raw_address(address);
    // SAFETY: `storage` holds an address of `length` bytes and outlives the call.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn start_listening(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let done = unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: all-zero is a valid sockaddr_in6; the smaller sockaddr_in is written over its beginning.
    unsafe {
        let mut storage: libc::sockaddr_in6 = mem::zeroed();
        match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET.cast_unsigned() as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (&raw mut storage).cast::<libc::sockaddr_in>().write(raw);
                (storage, mem::size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                storage.sin6_family = libc::AF_INET6.cast_unsigned() as libc::sa_family_t;
                storage.sin6_port = v6.port().to_be();
                storage.sin6_addr.s6_addr = v6.ip().octets();
                storage.sin6_scope_id = v6.scope_id();
                (storage, mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }
}
