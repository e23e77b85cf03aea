//! System calls that no crate wraps: clone3, pidfds, seccomp notifications, memfds, futexes.
//!
//! Numbers are cast to the widths that the kernel's interfaces have; the values that pass (descriptors,
//! pids, sizes of structures, flags) fit both.
//!
//! Every function turns `-1` into [`io::Error`] and owns what it opens. Nothing here decides anything.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "see above"
)]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Turns the `-1` of a system call into its error.
pub(crate) fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_int(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor that a system call has just returned.
pub(crate) fn own(result: c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel returned this descriptor to this call alone, so nobody else owns or closes it; a
    // caller passing the result of anything but a descriptor-making call would break it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Of `clone3`; libc's own constant is too narrow for it.
pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The same; Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Size of `clone_args` before it knew of groups.
const CLONE_ARGS_SIZE_VER1: usize = 80;
/// Size of `clone_args` since.
const CLONE_ARGS_SIZE_VER2: usize = 88;

const _: () = assert!(CLONE_ARGS_SIZE_VER2 <= size_of::<libc::clone_args>());

/// A process that was just cloned, seen from the parent.
#[derive(Debug)]
pub(crate) struct Cloned {
    pub(crate) pid: libc::pid_t,
    pub(crate) pidfd: OwnedFd,
}

/// `clone3` with fork semantics: `None` in the child, which shares nothing but what `flags` says. It is in `group`, a
/// version 2 control group, from its first instruction; without one, in its parent's.
///
/// # Safety
/// In the child of a process with threads only async-signal-safe calls may be made until `execve` or
/// `_exit`: other threads do not exist there, and their locks stay locked.
pub(crate) unsafe fn clone3(flags: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Cloned>> {
    let mut pidfd: c_int = -1;
    // SAFETY: all-zero is a valid clone_args; the fields that matter are set below.
    let mut args: libc::clone_args = unsafe { zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    let size = if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
        CLONE_ARGS_SIZE_VER2
    } else {
        CLONE_ARGS_SIZE_VER1
    };
    // SAFETY: `args` and `pidfd` outlive the call, the size is one that the kernel knows and not more than `args`
    // has (asserted below), and no stack is given, so the child continues on a copy of this one. The caller keeps
    // to the rule above.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    match check(result)? {
        0 => Ok(None),
        pid => Ok(Some(Cloned { pid: pid as libc::pid_t, pidfd: own(c_long::from(pidfd))? })),
    }
}

/// Reads an extended attribute of a file into `value`, and returns how long it is. `ERANGE` if it is longer.
pub(crate) fn attribute(path: &CStr, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    // SAFETY: both names are NUL-terminated, and as many bytes are written to `value` as it has at most; all outlive
    // the call.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(check(length as c_long)?).map_err(io::Error::other)
}

/// Opens a pidfd. The pid may have been recycled by now: the caller checks what it got.
pub(crate) fn pidfd_open(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Copies descriptor `fd` of another process.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })
}

/// Sends SIGKILL through a pidfd. A process that is already gone is no error.
pub fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal(pidfd, libc::SIGKILL)
}

/// Sends a signal through a pidfd. A process that is already gone is no error.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    pidfd_send_signal(pidfd, signal, 0)
}

/// `PIDFD_SIGNAL_PROCESS_GROUP` of Linux 6.9.
const SIGNAL_PROCESS_GROUP: libc::c_uint = 4;

/// Sends SIGKILL to every process of the group that the process behind a pidfd leads, or has led: the pidfd stands
/// for one group, whatever becomes of the number. A group that is empty is no error.
pub(crate) fn kill_group(leader: BorrowedFd<'_>) -> io::Result<()> {
    pidfd_send_signal(leader, libc::SIGKILL, SIGNAL_PROCESS_GROUP)
}

fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int, flags: libc::c_uint) -> io::Result<()> {
    let none: *const c_void = std::ptr::null();
    // SAFETY: a null siginfo is allowed; the pidfd is borrowed for the call.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, flags) };
    match check(result) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the kernel attests about the process behind a pidfd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessInfo {
    pub(crate) parent: libc::pid_t,
    pub(crate) thread_group: libc::pid_t,
    /// Wait status; `None` until the process has been reaped.
    pub(crate) exit: Option<i32>,
}

/// `struct pidfd_info` of Linux 6.15: the first 64 bytes, which later kernels keep.
#[repr(C)]
#[derive(Default)]
struct RawPidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

const PIDFD_INFO_PID: u64 = 1;
const PIDFD_INFO_EXIT: u64 = 8;
/// `_IOWR(0xFF, 11, 64 bytes)`.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
const _: () = assert!(size_of::<RawPidfdInfo>() == 64);

/// Asks the kernel about a process. `ESRCH` once it is gone and its exit status is not kept.
pub(crate) fn pidfd_info(pidfd: BorrowedFd<'_>) -> io::Result<ProcessInfo> {
    let mut raw = RawPidfdInfo { mask: PIDFD_INFO_PID | PIDFD_INFO_EXIT, ..Default::default() };
    // SAFETY: `raw` has the size that the request number encodes and outlives the call.
    check_int(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut raw) })?;
    let exit = (raw.mask & PIDFD_INFO_EXIT != 0).then_some(raw.exit_code);
    Ok(ProcessInfo { parent: raw.ppid as libc::pid_t, thread_group: raw.tgid as libc::pid_t, exit })
}

/// Whether the process behind a pidfd has ended, reaped or not.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one entry and outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// A sealed shared-memory file cannot change its size, so that no peer can make the other fault on it.
pub(crate) fn sealed_memfd(name: &CStr, size: u64) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd = own(c_long::from(unsafe { libc::memfd_create(name.as_ptr(), flags) }))?;
    let length = libc::off_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: no pointers; the descriptor is ours.
    check_int(unsafe { libc::ftruncate(fd.as_raw_fd(), length) })?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers; the descriptor is ours.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(fd)
}

/// The same file behind `fd`, opened again for reading only.
pub(crate) fn reopen_read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::File::open(path).map(OwnedFd::from)
}

/// Appends `length` bytes of a file, from `offset` on; what cannot be read is zeros.
pub(crate) fn read_at(file: BorrowedFd<'_>, offset: usize, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(length);
    let mut done = 0;
    while done < length {
        let from = libc::off_t::try_from(offset + done).unwrap_or(libc::off_t::MAX);
        // SAFETY: `out` has room for `length` bytes behind `start`, of which `done` are written.
        let got = unsafe {
            let to = out.as_mut_ptr().add(start + done);
            libc::pread(file.as_raw_fd(), to.cast(), length - done, from)
        };
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // SAFETY: so many bytes have been written by the reads above.
    unsafe { out.set_len(start + done) };
    out.resize(start + length, 0);
}

/// Gives the pages of a range of a memory file back; they read as zeros afterwards.
pub(crate) fn punch(file: BorrowedFd<'_>, offset: usize, length: usize) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes no pointers. A failure leaves the pages where they are, which is no harm.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, length as libc::off_t) };
}

/// An eventfd that never blocks.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    own(c_long::from(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }))
}

/// A pipe: the read end does not block, the write end does.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    check_int(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let (read, write) = (own(c_long::from(ends[0]))?, own(c_long::from(ends[1]))?);
    // SAFETY: no pointers; the descriptor is ours.
    check_int(unsafe { libc::fcntl(read.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok((read, write))
}

/// A copy of a descriptor whose number is out of the way of those that a child is given.
pub(crate) fn out_of_the_way(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    own(c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 16) }))
}

/// Wakes at most one waiter of a futex shared between processes.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is mapped as long as the reference lives; waking has no other precondition. An
    // error is impossible for a mapped, aligned word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Waits until the word no longer holds `expected` and somebody woke us; returns early at will.
pub(crate) fn futex_wait(word: *const AtomicU32, expected: u32) {
    let forever: *const libc::timespec = std::ptr::null();
    // SAFETY: the kernel checks the address itself; the caller keeps the mapping. The word is on a map
    // that is read-only here, which FUTEX_WAIT without the PRIVATE flag allows.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, expected, forever) };
}

/// Reaps a child. Its status is known from elsewhere.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) {
    // SAFETY: a null status is allowed; the pidfd is borrowed for the call.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let id = pidfd.as_raw_fd().cast_unsigned();
        libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG);
    }
}

// ---- seccomp notifications -----------------------------------------------------------------------

const NOTIF_RECV: libc::c_ulong = 0xC050_2100;
const NOTIF_SEND: libc::c_ulong = 0xC018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    /// Thread that made the call, in the daemon's PID namespace; attested by the kernel.
    pub(crate) thread: libc::pid_t,
    pub(crate) number: i32,
    pub(crate) arguments: [u64; 6],
}

/// Takes one pending notification; `None` if its caller died meanwhile. Blocks when none is pending, even
/// on a non-blocking descriptor: poll first.
pub(crate) fn notification_receive(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    // SAFETY: all-zero is what the kernel demands of the structure it fills.
    let mut raw: libc::seccomp_notif = unsafe { zeroed() };
    // SAFETY: `raw` has the size that the request number encodes and outlives the call.
    match check_int(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut raw) }) {
        Ok(_) => Ok(Some(Notification {
            id: raw.id,
            thread: raw.pid as libc::pid_t,
            number: raw.data.nr,
            arguments: raw.data.args,
        })),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the caller of a notification still waits, so that its pid is still its own.
pub(crate) fn notification_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: `id` outlives the call and has the size that the request number encodes.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ID_VALID, &raw const id) == 0 }
}

/// How a notified call goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// The kernel carries the call out.
    Continue,
    /// The call returns this value without being carried out.
    Return(i64),
    /// The call fails with this error number.
    Fail(c_int),
}

/// Answers a notification. `false` if its caller waits no more: it died, or a signal interrupted it.
pub(crate) fn notification_answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> io::Result<bool> {
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Return(value) => (value, 0, 0),
        Answer::Fail(number) => (0, -number, 0),
    };
    let raw = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: `raw` has the size that the request number encodes and outlives the call.
    match check_int(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw const raw) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts a copy of `fd` into the calling process of a notification, as descriptor `number`.
pub(crate) fn notification_add_fd(
    listener: BorrowedFd<'_>,
    id: u64,
    fd: BorrowedFd<'_>,
    number: u32,
) -> io::Result<()> {
    let raw = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
        srcfd: fd.as_raw_fd() as u32,
        newfd: number,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    // SAFETY: `raw` has the size that the request number encodes and outlives the call.
    check_int(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD, &raw const raw) })?;
    Ok(())
}

/// Copies up to `length` bytes out of another process. What arrives is hostile.
pub(crate) fn read_process_memory(pid: libc::pid_t, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: length };
    // SAFETY: `local` describes `bytes`; the kernel checks the remote range itself.
    let got = check(
        unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as c_long
    )?;
    bytes.truncate(usize::try_from(got).unwrap_or(0));
    Ok(bytes)
}

// ---- waiting -------------------------------------------------------------------------------------

/// An epoll set whose entries carry a number of the caller's.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

/// One ready entry of a [`Poller`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: u64,
    pub(crate) hung_up: bool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        own(c_long::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })).map(Self)
    }

    /// Watches for input, level-triggered, or edge-triggered.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, key: u64, edge: bool) -> io::Result<()> {
        let edge = if edge { libc::EPOLLET } else { 0 };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | edge) as u32, u64: key };
        // SAFETY: `event` outlives the call.
        check_int(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    /// Stops watching. Needed before the last copy of a descriptor is closed elsewhere.
    pub(crate) fn forget(&self, fd: BorrowedFd<'_>) {
        let none: *mut libc::epoll_event = std::ptr::null_mut();
        // SAFETY: the event is not used for EPOLL_CTL_DEL. An entry that is not there is no harm.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) };
    }

    /// Waits for entries; an empty answer is a time-out or an interruption.
    pub(crate) fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // Rounded up: waking early would only spin.
        let timeout = timeout.map_or(-1, |t| i32::try_from(t.as_millis() + 1).unwrap_or(i32::MAX));
        // SAFETY: `events` has room for as many entries as is said.
        let result = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as c_int, timeout)
        };
        let count = match check_int(result) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.extend(
            events[..count]
                .iter()
                .map(|event| Ready { key: event.u64, hung_up: event.events & libc::EPOLLHUP as u32 != 0 }),
        );
        Ok(())
    }
}

/// Adds one to an eventfd, waking whoever waits for it. Never blocks.
pub fn ring(bell: BorrowedFd<'_>) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight bytes are read from `one`. EAGAIN means the counter is full, and so the bell is rung.
    unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Takes what an eventfd has counted.
pub(crate) fn silence(bell: BorrowedFd<'_>) {
    let mut count = [0_u8; 8];
    // SAFETY: eight bytes are written to `count`. EAGAIN means there was nothing to take.
    unsafe { libc::read(bell.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Ends both directions of a socket, whoever holds it. One that is not connected is no error.
pub fn shut_down(socket: BorrowedFd<'_>) {
    // SAFETY: takes no pointers.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Says to the peer that nothing more comes.
pub fn shut_down_writing(socket: BorrowedFd<'_>) {
    // SAFETY: takes no pointers.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
}

/// Fills at most 256 bytes with random ones.
pub fn random(bytes: &mut [u8]) {
    // SAFETY: as many bytes are written as there are; up to 256 are always delivered whole.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
}

/// How many descriptors this process may have.
pub fn descriptor_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    check_int(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    usize::try_from(limit.rlim_cur).map_err(io::Error::other)
}

/// The kernel's clock of the CPU time of all threads of a process together: `MAKE_PROCESS_CPUCLOCK` with
/// `CPUCLOCK_SCHED`.
fn cpu_clock(pid: libc::pid_t) -> libc::clockid_t {
    (!pid << 3) | 2
}

/// CPU time that the process behind a pidfd has used, in nanoseconds, as the kernel counts it; `None` once it has
/// ended. The clock goes by the pid, which is somebody else's some time after that: what was read counts only if the
/// process still has it afterwards.
pub fn cpu_time(pid: libc::pid_t, process: BorrowedFd<'_>) -> Option<u64> {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `used` outlives the call, which fails if there is no such clock.
    let read = unsafe { libc::clock_gettime(cpu_clock(pid), &raw mut used) } == 0;
    (read && !has_ended(process)).then(|| used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64)
}

/// Has a process of one thread run when no other of its control group wants to (`SCHED_IDLE`), or again like all
/// others. False if that could not be done, or the process has ended. The call goes by the pid: if the process has ended
/// meanwhile, whoever has the pid now is as everybody is.
pub fn demote(pid: libc::pid_t, process: BorrowedFd<'_>, demoted: bool) -> bool {
    let set = |policy: c_int| {
        let none = libc::sched_param { sched_priority: 0 };
        // SAFETY: `none` outlives the call.
        unsafe { libc::sched_setscheduler(pid, policy, &raw const none) == 0 }
    };
    if has_ended(process) {
        return false;
    }
    let done = set(if demoted { libc::SCHED_IDLE } else { libc::SCHED_OTHER });
    let ended = has_ended(process);
    if done && demoted && ended {
        set(libc::SCHED_OTHER);
    }
    done && !ended
}

/// Has the calling thread compute for so long at a stretch while others want its core: who asks for less goes first when it
/// wakes. False if the kernel refuses, or the thread has a policy of its own; before 6.12 nothing comes of it.
pub fn take_turns(turn: Duration) -> bool {
    const THIS_THREAD: libc::pid_t = 0;
    const NO_FLAGS: u32 = 0;
    // SAFETY: an all-zero `sched_attr` is valid.
    let mut attributes: libc::sched_attr = unsafe { zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    let of = &raw mut attributes;
    // SAFETY: `attributes` outlives both calls, and is as large as the first is told.
    unsafe {
        if libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, of, size, NO_FLAGS) != 0
            || (*of).sched_policy != libc::SCHED_OTHER as u32
        {
            return false;
        }
        (*of).sched_runtime = turn.as_nanos() as u64;
        libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, of, NO_FLAGS) == 0
    }
}

/// Whether a process of another user may be demoted and restored: that takes `CAP_SYS_NICE`.
pub fn may_restore() -> bool {
    const CAP_SYS_NICE: u32 = 23;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut sets = [0_u32; 6];
    // SAFETY: the structures are those of version 3 of the interface (a header, and two times three words) and
    // outlive the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } == 0;
    // The first word is the effective set's first half.
    got && sets[0] & (1 << CAP_SYS_NICE) != 0
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call, and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
