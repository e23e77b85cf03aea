//! The shard's io_uring. The only file of the daemon that names it, with the receive buffers beside it.
//!
//! Operations are queued and go to the kernel in one call a turn, [`Ring::turn`], which also waits. What
//! comes back is a [`Completion`]; buffers are read where they are and given back at once.

mod buffers;

use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::limits::{
    COMPLETION_ENTRIES, RECEIVE_BUFFER, RECEIVE_BUFFERS, RING_AGAIN, RING_ENTRIES, RING_PATIENCE,
};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, Probe, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use buffers::ReceiveBuffers;

/// What an operation was for; comes back with its completion. One word: kind, generation, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// New connections, from the listener of this number.
    Accept(u32),
    /// Bytes from a connection.
    Receive(Key),
    /// Bytes of a body from a connection, straight into its buffer.
    Fill(Key),
    /// A large payload that moves beside the shard's turns.
    Transfer(Key),
    /// Bytes to a connection.
    Send(Key),
    /// A worker rang.
    Bell(Key),
    /// The warden or the control thread rang.
    Inbox,
    /// Nobody asks what became of it.
    Ignored,
}

/// An index, and the generation that tells one life of it from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    /// 24 bits count.
    pub(crate) generation: u32,
}

/// A send of no more bytes than this completes when all are sent, which saves looking at it twice; of a longer
/// one each part is told, so that it is seen whether the client reads.
const WAIT_FOR_ALL: usize = 16 * 1024;

const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Key {
    pub(crate) fn new(index: u32, generation: u32) -> Self {
        Self { index, generation: generation & GENERATION_MASK }
    }
}

impl Token {
    fn pack(self) -> u64 {
        let word = |kind: u64, key: Key| {
            kind << 56 | u64::from(key.generation & GENERATION_MASK) << 32 | u64::from(key.index)
        };
        let none = Key::new(0, 0);
        match self {
            Self::Accept(listener) => word(0, Key::new(listener, 0)),
            Self::Receive(key) => word(1, key),
            Self::Send(key) => word(2, key),
            Self::Bell(key) => word(3, key),
            Self::Inbox => word(4, none),
            Self::Ignored => word(5, none),
            Self::Fill(key) => word(6, key),
            Self::Transfer(key) => word(7, key),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes apart what `pack` has put together")]
    fn unpack(word: u64) -> Self {
        let key = Key::new(word as u32, (word >> 32) as u32);
        match word >> 56 {
            0 => Self::Accept(key.index),
            1 => Self::Receive(key),
            2 => Self::Send(key),
            3 => Self::Bell(key),
            4 => Self::Inbox,
            6 => Self::Fill(key),
            7 => Self::Transfer(key),
            _ => Self::Ignored,
        }
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// As a system call's: not negative, or minus the error number.
    pub(crate) result: i32,
    /// Whether the operation goes on by itself.
    pub(crate) more: bool,
    buffer: Option<u16>,
}

/// A loop's only way to the kernel.
pub(crate) struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    buffers: ReceiveBuffers,
    /// Times the kernel was entered.
    pub(crate) enters: u64,
}

/// Tries what locks memory until there is some: no event tells when the kernel is done with the rings of a process that
/// has ended. For a thread that does nothing else yet.
pub(crate) fn patiently<T>(step: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && begun.elapsed() < RING_PATIENCE => {
                thread::sleep(RING_AGAIN);
            }
            outcome => return outcome,
        }
    }
}

/// How much memory this process may lock, in bytes, together with all others of its user; `None` for as much as there is.
/// What it locks are rings.
pub(crate) fn lockable_memory() -> Option<u64> {
    // Bit 14 of the capabilities is CAP_IPC_LOCK, for which the kernel does not count.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    (known && effective & 1 << 14 == 0 && limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max)
}

/// What this program needs of io_uring, by the name that a person can look up.
fn required(ring: &IoUring) -> io::Result<()> {
    let missing = |what: &str, since: &str| {
        Err(io::Error::other(format!("this kernel's io_uring has no {what} (Linux {since})")))
    };
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if !ring.params().is_feature_ext_arg() {
        return missing("wait with a time-out", "5.11");
    }
    if !ring.params().is_feature_skip_cqe_on_success() {
        return missing("suppression of completions", "5.17");
    }
    // Multishot receive has no probe of its own; it is older than this operation.
    if !probe.is_supported(opcode::FutexWake::CODE) {
        return missing("futex operations", "6.7");
    }
    Ok(())
}

/// Makes a ring and does on it what a shard does: bytes arrive twice for one receive, in buffers that the
/// kernel chose, and a futex is woken. For a process that ends soon: a ring is never given back.
pub(crate) fn check() -> io::Result<()> {
    let mut ring = Ring::new()?;
    let (mut peer, connection) = UnixStream::pair()?;
    ring.receive(connection.as_raw_fd(), Key::new(0, 0));
    let word = 0_u32;
    // SAFETY: the word lives until this function returns, behind all turns.
    unsafe { ring.wake(&raw const word) };
    for bytes in [b"one", b"two"] {
        peer.write_all(bytes)?;
        ring.turn(Some(Duration::from_secs(2)))?;
        let none = || io::Error::other("io_uring does not complete what it was given");
        let completion = ring.next().ok_or_else(none)?;
        if completion.result < 0 {
            return Err(io::Error::from_raw_os_error(-completion.result));
        }
        let mut received = Vec::new();
        ring.take(&completion, Some(&mut received));
        // The wake completes in silence unless it fails.
        if completion.token != Token::Receive(Key::new(0, 0)) || !completion.more || received != bytes {
            return Err(io::Error::other("io_uring's multishot receive does not go on by itself"));
        }
    }
    Ok(())
}

impl Ring {
    /// Makes the ring on the thread that will use it; no other may.
    pub(crate) fn new() -> io::Result<Self> {
        let build = || {
            IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag()
                .setup_submit_all()
                .setup_cqsize(COMPLETION_ENTRIES)
                .build(RING_ENTRIES)
        };
        let ring = patiently(build).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => io::Error::new(
                io::ErrorKind::PermissionDenied,
                "io_uring is switched off (kernel.io_uring_disabled)",
            ),
            Some(libc::EINVAL) => io::Error::other("this kernel's io_uring has no DEFER_TASKRUN (Linux 6.1)"),
            _ => error,
        })?;
        required(&ring)?;
        // A shard and its ring live as long as the daemon; the three parts borrow from it for ever.
        let ring = Box::leak(Box::new(ring));
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_ring_fd()?;
        let buffers = ReceiveBuffers::register(&submitter, RECEIVE_BUFFERS, RECEIVE_BUFFER)?;
        Ok(Self { submitter, submissions, completions, buffers, enters: 0 })
    }

    /// Queues an operation, making room if there is none.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion, or, for an operation that the kernel
    /// finishes while it is submitted, until the next [`Ring::turn`] returns.
    unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        // SAFETY: the caller's promise.
        while unsafe { self.submissions.push(&entry) }.is_err() {
            self.submissions.sync();
            self.enters += 1;
            // Whatever the kernel takes makes room; an error here shows again in `turn`.
            let _ = self.submitter.submit();
            self.submissions.sync();
        }
    }

    /// Accepts connections until told otherwise.
    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>, number: u32) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: no pointers.
        unsafe { self.push(entry, Token::Accept(number)) };
    }

    /// Receives into the shard's buffers until told otherwise.
    pub(crate) fn receive(&mut self, connection: RawFd, key: Key) {
        let entry = opcode::RecvMulti::new(Fd(connection), self.buffers.group()).build();
        // SAFETY: no pointers; the buffers are the ring's.
        unsafe { self.push(entry, Token::Receive(key)) };
    }

    /// Ends what [`Ring::receive`] began; its last completion says so.
    pub(crate) fn stop_receiving(&mut self, key: Key) {
        let entry =
            opcode::AsyncCancel::new(Token::Receive(key).pack()).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: no pointers.
        unsafe { self.push(entry, Token::Ignored) };
    }

    /// Receives once, into `room`: as much as is there, or what comes first.
    ///
    /// # Safety
    /// `room` stays where it is, and nobody else touches it, until the completion.
    pub(crate) unsafe fn fill(&mut self, connection: RawFd, room: &mut [MaybeUninit<u8>], key: Key) {
        let length = u32::try_from(room.len()).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(Fd(connection), room.as_mut_ptr().cast(), length).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, Token::Fill(key)) };
    }

    /// Sends `bytes`: all of them, unless they are more than [`WAIT_FOR_ALL`] and the client is slow.
    ///
    /// # Safety
    /// `bytes` stay where they are, unchanged, until the completion.
    pub(crate) unsafe fn send(&mut self, connection: RawFd, bytes: &[u8], key: Key) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let all = if bytes.len() <= WAIT_FOR_ALL { libc::MSG_WAITALL } else { 0 };
        let entry =
            opcode::Send::new(Fd(connection), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL | all).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, Token::Send(key)) };
    }

    /// Writes to a file, on a thread of the kernel's.
    ///
    /// # Safety
    /// `bytes` stay where they are, unchanged, and the file open, until the completion.
    pub(crate) unsafe fn write_aside(&mut self, file: BorrowedFd<'_>, bytes: &[u8], offset: u64, key: Key) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Write::new(Fd(file.as_raw_fd()), bytes.as_ptr(), length).offset(offset).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry.flags(squeue::Flags::ASYNC), Token::Transfer(key)) };
    }

    /// Reads from a file, on a thread of the kernel's.
    ///
    /// # Safety
    /// `room` stays where it is, and nobody else touches it, and the file open, until the completion.
    pub(crate) unsafe fn read_aside(
        &mut self,
        file: BorrowedFd<'_>,
        room: &mut [MaybeUninit<u8>],
        offset: u64,
        key: Key,
    ) {
        let length = u32::try_from(room.len()).unwrap_or(u32::MAX);
        let entry = opcode::Read::new(Fd(file.as_raw_fd()), room.as_mut_ptr().cast(), length);
        let entry = entry.offset(offset).build().flags(squeue::Flags::ASYNC);
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, Token::Transfer(key)) };
    }

    /// Gives the pages of a part of a file back, on a thread of the kernel's.
    pub(crate) fn clear_aside(&mut self, file: BorrowedFd<'_>, offset: u64, length: usize, key: Key) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let entry = opcode::Fallocate::new(Fd(file.as_raw_fd()), length as u64).offset(offset).mode(mode);
        // SAFETY: no pointers.
        unsafe { self.push(entry.build().flags(squeue::Flags::ASYNC), Token::Transfer(key)) };
    }

    /// Gives the pages of a buffer's memory back, on a thread of the kernel's. Of what was in them nothing is left.
    ///
    /// # Safety
    /// `room` stays allocated, and nobody else touches it, until the completion.
    pub(crate) unsafe fn discard_aside(&mut self, room: &mut [MaybeUninit<u8>], key: Key) {
        // Whole pages only: what shares one with others is not this buffer's to give.
        const PAGE: usize = 4096;
        let start = room.as_mut_ptr().addr().next_multiple_of(PAGE);
        let end = (room.as_mut_ptr().addr() + room.len()) / PAGE * PAGE;
        let length = libc::off_t::try_from(end.saturating_sub(start)).unwrap_or(0);
        let start = room.as_mut_ptr().with_addr(start).cast::<libc::c_void>();
        let entry = opcode::Madvise::new(start, length, libc::MADV_DONTNEED).build();
        // SAFETY: the caller's promise; the pages lie within `room`.
        unsafe { self.push(entry.flags(squeue::Flags::ASYNC), Token::Transfer(key)) };
    }

    /// Takes the count of an eventfd as soon as there is one.
    ///
    /// # Safety
    /// `count` and the eventfd stay valid until the completion.
    pub(crate) unsafe fn listen(&mut self, bell: BorrowedFd<'_>, count: *mut u64, token: Token) {
        let entry = opcode::Read::new(Fd(bell.as_raw_fd()), count.cast(), 8).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, token) };
    }

    /// Wakes the one that sleeps on a futex.
    ///
    /// # Safety
    /// The word stays mapped until the next [`Ring::turn`] returns.
    pub(crate) unsafe fn wake(&mut self, word: *const u32) {
        // 32 bits wide and shared between processes, whoever waits.
        const FUTEX2_SIZE_U32: u32 = 2;
        let anyone = u64::from(u32::MAX);
        let entry = opcode::FutexWake::new(word, 1, anyone, FUTEX2_SIZE_U32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the caller's promise; the wake is carried out while it is submitted.
        unsafe { self.push(entry, Token::Ignored) };
    }

    /// Submits what is queued and, unless `wait` is zero, waits for a completion at most that long
    /// (`None`: as long as it takes).
    pub(crate) fn turn(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.submissions.sync();
        self.enters += 1;
        let done = match wait {
            Some(Duration::ZERO) => self.submitter.submit(),
            None => self.submitter.submit_and_wait(1),
            Some(wait) => {
                let wait = Timespec::from(wait);
                self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&wait))
            }
        };
        self.submissions.sync();
        self.completions.sync();
        match done {
            Ok(_) => Ok(()),
            // The time is up; a signal; completions that must be taken first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the kernel has taken every operation that was queued.
    pub(crate) fn all_submitted(&self) -> bool {
        self.submissions.is_empty()
    }

    /// The next completion of this turn.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        Some(Completion {
            token: Token::unpack(entry.user_data()),
            result: entry.result(),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        })
    }

    /// Appends what a receive has brought to `to` and gives the buffer back; or only gives it back.
    pub(crate) fn take(&mut self, completion: &Completion, to: Option<&mut Vec<u8>>) {
        let Some(buffer) = completion.buffer else { return };
        let length = usize::try_from(completion.result).unwrap_or(0);
        if let Some(to) = to {
            to.extend_from_slice(self.buffers.bytes(buffer, length));
        }
        self.buffers.give_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let key = Key::new(u32::MAX, 0x00ab_cdef);
        for token in [
            Token::Accept(u32::MAX),
            Token::Receive(key),
            Token::Fill(key),
            Token::Transfer(key),
            Token::Send(key),
            Token::Bell(key),
            Token::Inbox,
            Token::Ignored,
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
