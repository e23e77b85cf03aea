//! The listening socket.

#![expect(clippy::cast_possible_truncation, reason = "sizes of structures and names of families")]

use hairtrigger_sandbox::limits::BIND_PATIENCE;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, mem};

use anyhow::{Context, Result};

/// Binds and listens, waiting a while for an address that is still in use.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match try_bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.with_context(|| format!("cannot listen on {address}")),
        }
    }
}

fn try_bind(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no pointers; the descriptor is owned at once.
    let socket = unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // Accepted sockets inherit NODELAY; answers are written whole, so nothing is gained by waiting.
    for (level, option) in [(libc::SOL_SOCKET, libc::SO_REUSEADDR), (libc::IPPROTO_TCP, libc::TCP_NODELAY)] {
        let on: libc::c_int = 1;
        let length = mem::size_of_val(&on) as libc::socklen_t;
        // SAFETY: both options are ints, and `on` outlives the call.
        if unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) } != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    let (storage, length) = raw_address(address);
    // SAFETY: `storage` holds an address of `length` bytes and outlives the call.
    unsafe {
        if libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length) != 0
            || libc::listen(socket.as_raw_fd(), 4096) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(TcpListener::from(socket))
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
