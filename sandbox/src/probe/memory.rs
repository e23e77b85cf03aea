//! The channel's memory, and memory that stays data.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::child::Child;
use super::{About, Doing, Failure, NO_FUNCTION, Row, child, must_fail};
use crate::channel::Region;
use crate::sys::{self, check};

const NAME: &CStr = c"hairtrigger-doctor";
/// One page.
const LENGTH: u64 = 4096;
/// How long the child sleeps on its futex at most.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn rows() -> Vec<Row> {
    let sealed = "a worker that shrinks the channel under the daemon's feet";
    let read_only = "a worker that writes to requests";
    let futex = "workers that must be able to write where they wait";
    let mdwe = "code that is written at run time, after init";
    let no_worker = "none: no worker can check in";
    vec![
        Row::new(About::new("sealed memory files", "6.3", sealed, no_worker), seals()),
        Row::new(About::new("read-only memory files", "3.17", read_only, no_worker), read_only_reopen()),
        Row::new(About::new("futex on a read-only map", "3.1", futex, no_worker), futex_wait()),
        Row::new(
            About::new("no new executable memory (MDWE)", "6.3", mdwe, NO_FUNCTION),
            child::run(0, no_new_code),
        ),
    ]
}

fn seals() -> Result<(), Failure> {
    let file = sys::sealed_memfd(NAME, LENGTH).doing("make a sealed memory file")?;
    for (what, length) in [("shrinking it", 0), ("growing it", 2 * LENGTH)] {
        let length = libc::off_t::try_from(length).map_err(io::Error::other).doing("a length")?;
        // SAFETY: takes no pointers.
        must_fail(what, libc::EPERM, check(unsafe { libc::ftruncate(file.as_raw_fd(), length) }.into()))?;
    }
    // SAFETY: takes no pointers.
    let another = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) };
    must_fail("a further seal", libc::EPERM, check(another.into()))
}

fn read_only_reopen() -> Result<(), Failure> {
    let file = sys::sealed_memfd(NAME, LENGTH).doing("make a sealed memory file")?;
    let read_only = sys::reopen_read_only(file.as_fd()).doing("open it again for reading")?;
    must_fail("a writable map", libc::EACCES, Region::map(read_only.as_fd(), LENGTH, true))?;
    let map = Region::map(read_only.as_fd(), LENGTH, false).doing("map it for reading")?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let address = map.at(0, 4096).as_ptr().cast();
    // SAFETY: the range is the map's own; were it allowed, nothing would be written.
    must_fail(
        "making it writable",
        libc::EACCES,
        check(unsafe { libc::mprotect(address, 4096, both) }.into()),
    )
}

fn futex_wait() -> Result<(), Failure> {
    let file = sys::sealed_memfd(NAME, LENGTH).doing("make a sealed memory file")?;
    let read_only = sys::reopen_read_only(file.as_fd()).doing("open it again for reading")?;
    let ours = Region::map(file.as_fd(), LENGTH, true).doing("map it for writing")?;
    let child = Child::start(0, |_| {
        let theirs = Region::map(read_only.as_fd(), LENGTH, false).doing("map it for reading")?;
        // The value stays 0, so that only a wake ends the wait before its time.
        let wait = libc::timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        let word = theirs.at(0, 4).as_ptr();
        // SAFETY: the word is mapped and aligned, and `wait` outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, &raw const wait) };
        check(result).doing("FUTEX_WAIT").map(drop)
    })?;
    // SAFETY: an atomic at the start of a map, which is aligned to a page.
    let word: &AtomicU32 = unsafe { ours.atomics(0) };
    let deadline = Instant::now() + PATIENCE;
    // Until the child sleeps there is nobody to wake.
    // SAFETY: the word is mapped and aligned.
    while unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) } == 0
        && Instant::now() < deadline
    {
        std::thread::yield_now();
    }
    child.finish()
}

fn no_new_code() -> Result<(), Failure> {
    let map = |protection| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the kernel chooses the address; the map stays until the child ends.
        let start = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start) }
    };
    let (write, exec) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: takes no pointers.
    let set = unsafe { libc::prctl(libc::PR_SET_MDWE, libc::PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
    check(set.into()).doing("prctl PR_SET_MDWE")?;
    must_fail("a writable and executable map", libc::EACCES, map(write | exec))?;
    let data = map(write).doing("map memory")?;
    // SAFETY: the range was mapped just now, by nobody else.
    let turned = check(unsafe { libc::mprotect(data, 4096, exec) }.into());
    must_fail("making data executable", libc::EACCES, turned)
}
