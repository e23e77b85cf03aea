//! The policy as data.
//!
//! One entry a call, in the groups a reviewer would look for them. What is not here is a violation. Entries that
//! need a grant stand last: where it is given they hold in place of those of the same call that need none.

use libc::c_long;

use crate::grants::Grant;
use crate::limits::FUNCTION_NOFILE;

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Carried out.
    Allow,
    /// Carried out if one of the alternatives holds, each of them all its conditions.
    AllowIf(&'static [&'static [Condition]]),
    /// Refused with EACCES: libraries probe with it and can live without.
    Refuse,
    /// As [`Rule::Refuse`] if one of the alternatives holds; otherwise a violation.
    RefuseIf(&'static [&'static [Condition]]),
    /// Decided by the warden, call by call.
    Gate,
}

/// A condition on one argument of a call: `argument & mask == value`.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Index of the argument, from 0.
    pub argument: u8,
    /// The bits that count.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

/// One line of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Number of the call on x86-64.
    pub number: c_long,
    /// What happens to it.
    pub rule: Rule,
    /// Without which it does not hold.
    pub grant: Option<Grant>,
    /// Why.
    pub reason: &'static str,
}

const fn is(argument: u8, value: u64) -> Condition {
    Condition { argument, mask: u32::MAX as u64, value }
}

const fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    Condition { argument, mask, value }
}

/// `argument` is null, looked at in its whole width.
const fn null(argument: u8) -> Condition {
    Condition { argument, mask: u64::MAX, value: 0 }
}

const fn entry(number: c_long, rule: Rule, reason: &'static str) -> Entry {
    Entry { number, rule, grant: None, reason }
}

const fn granted(grant: Grant, number: c_long, rule: Rule, reason: &'static str) -> Entry {
    Entry { number, rule, grant: Some(grant), reason }
}

/// The entries of a table that hold for a function with these grants: of each call those that need one of them, and
/// if there are none those that need no grant.
pub fn effective<'t>(table: &'t [Entry], grants: &[Grant]) -> Vec<&'t Entry> {
    let given = |entry: &Entry| entry.grant.is_some_and(|grant| grants.contains(&grant));
    let replaced = |number| table.iter().any(|entry| entry.number == number && given(entry));
    table.iter().filter(|entry| given(entry) || entry.grant.is_none() && !replaced(entry.number)).collect()
}

const WRITE: u64 = libc::PROT_WRITE as u64;
const EXEC: u64 = libc::PROT_EXEC as u64;
const MAP_TYPE: u64 = 0x0f;
/// Flags of a mapping that nothing needs: memory that grows by itself is not counted by RLIMIT_DATA, huge
/// pages come from a pool of the host's, and locked memory cannot be reclaimed.
const UNWANTED: u64 = (libc::MAP_GROWSDOWN | libc::MAP_HUGETLB | libc::MAP_LOCKED) as u64;
const PRIVATE: u64 = libc::MAP_PRIVATE as u64;
const SHARED: u64 = libc::MAP_SHARED as u64;
/// `MAP_DROPPABLE` of Linux 6.11.
const DROPPABLE: u64 = 8;
const ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
/// `FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME` may be set with any operation.
const FUTEX_OPERATION: u64 = 0x7f;
/// The clocks that have names (`CLOCK_REALTIME` to `CLOCK_TAI`), its own CPU time among them.
const CLOCKS: &[&[Condition]] = &[&[masked(0, all_but(15), 0)]];
/// What a process, a thread or a device makes into a clock, by its number or its descriptor.
const OTHERS_CLOCKS: &[&[Condition]] = &[&[masked(0, 1 << 31, 1 << 31)]];
/// What is logged of a domain (`LANDLOCK_RESTRICT_SELF_LOG_*`, Linux 6.15); those that a runner takes say nothing, nor
/// do those below them.
const LANDLOCK_LOGGING: i32 = 7;
/// The operations of `membarrier` that reach the caller's own threads only, of Linux 4.16.
const MEMBARRIER_QUERY: u64 = 0;
const MEMBARRIER_PRIVATE: u64 = 1 << 3;
const MEMBARRIER_REGISTER_PRIVATE: u64 = 1 << 4;
const MEMBARRIER_PRIVATE_SYNC_CORE: u64 = 1 << 5;
const MEMBARRIER_REGISTER_PRIVATE_SYNC_CORE: u64 = 1 << 6;

/// All bits of a 32-bit argument but these.
const fn all_but(bits: i32) -> u64 {
    !bits.cast_unsigned() as u64
}

/// Alternatives, one for each range of descriptors that together are all below the channel's, which are the last
/// three: the daemon shares their open files with the worker, and must not find them changed.
macro_rules! not_of_the_channel {
    ($argument:literal $(, $condition:expr)*) => {
        &[
            &[masked($argument, all_but(31), 0), $($condition),*],
            &[masked($argument, all_but(15), 32), $($condition),*],
            &[masked($argument, all_but(7), 48), $($condition),*],
            &[masked($argument, all_but(3), 56), $($condition),*],
            &[is($argument, 60), $($condition),*],
        ]
    };
}
const _: () = assert!(FUNCTION_NOFILE == 64 && crate::channel::REQUEST_FD == 61);

/// What a socket may be: TCP, over either kind of address. Not MPTCP, whose connections landlock does not see.
const SOCKET_FLAGS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
const INET: u64 = libc::AF_INET as u64;
const INET6: u64 = libc::AF_INET6 as u64;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const TCP: u64 = libc::IPPROTO_TCP as u64;
const SOCKET: u64 = libc::SOL_SOCKET as u64;
/// Flags of what is sent. Not MSG_FASTOPEN, which connects where landlock does not look, and not MSG_ZEROCOPY.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_MORE;
const RECEIVE_FLAGS: i32 =
    libc::MSG_PEEK | libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_TRUNC;
const PATH_ONLY: u64 = libc::O_PATH as u64;
const NOREPLACE: u64 = libc::RENAME_NOREPLACE as u64;

use Grant::{Connect, Names, Read, Threads, Write};
use Rule::{Allow, AllowIf, Gate, Refuse, RefuseIf};

/// What holds from before the plugin is loaded.
pub const POLICY: &[Entry] = &[
    // ---- memory ----
    entry(libc::SYS_brk, Allow, "the heap; RLIMIT_DATA bounds it"),
    entry(
        libc::SYS_mmap,
        AllowIf(&[
            &[masked(3, MAP_TYPE | UNWANTED, PRIVATE), masked(2, WRITE | EXEC, 0)],
            &[masked(3, MAP_TYPE | UNWANTED, PRIVATE), masked(2, WRITE | EXEC, WRITE)],
            &[masked(3, MAP_TYPE | UNWANTED, PRIVATE), masked(2, WRITE | EXEC, EXEC)],
            &[masked(3, MAP_TYPE | UNWANTED | ANONYMOUS, SHARED), masked(2, EXEC, 0)],
        ]),
        "memory and libraries; never writable and executable, and no shared anonymous memory, which \
         RLIMIT_DATA does not count",
    ),
    entry(
        libc::SYS_mprotect,
        AllowIf(&[
            &[masked(2, WRITE | EXEC, 0)],
            &[masked(2, WRITE | EXEC, WRITE)],
            &[masked(2, WRITE | EXEC, EXEC)],
        ]),
        "relocation; never writable and executable",
    ),
    entry(libc::SYS_munmap, Allow, "gives memory back"),
    entry(libc::SYS_mremap, Allow, "realloc"),
    entry(
        libc::SYS_madvise,
        AllowIf(&[
            &[is(2, libc::MADV_NORMAL as u64)],
            &[is(2, libc::MADV_RANDOM as u64)],
            &[is(2, libc::MADV_SEQUENTIAL as u64)],
            &[is(2, libc::MADV_WILLNEED as u64)],
            &[is(2, libc::MADV_DONTNEED as u64)],
            &[is(2, libc::MADV_FREE as u64)],
            &[is(2, libc::MADV_HUGEPAGE as u64)],
            &[is(2, libc::MADV_NOHUGEPAGE as u64)],
            &[is(2, libc::MADV_DONTDUMP as u64)],
        ]),
        "allocators; no MADV_REMOVE, which punches holes into shared files",
    ),
    entry(libc::SYS_mseal, Allow, "only takes rights away"),
    // ---- the files that are open, and libraries ----
    entry(libc::SYS_read, Allow, "open descriptors only"),
    entry(libc::SYS_pread64, Allow, "as read; the loader reads ELF headers"),
    entry(libc::SYS_readv, Allow, "as read"),
    entry(libc::SYS_write, Allow, "open descriptors only: output, and the bell of the channel"),
    entry(libc::SYS_writev, Allow, "as write"),
    entry(libc::SYS_lseek, Allow, "open descriptors only"),
    entry(libc::SYS_close, Allow, "gives descriptors back"),
    entry(
        libc::SYS_close_range,
        AllowIf(&[&[masked(2, libc::CLOSE_RANGE_UNSHARE as u64, 0)]]),
        "gives descriptors back; no table of its own for a thread, in which the limit of descriptors would count anew",
    ),
    entry(libc::SYS_fstat, Allow, "open descriptors only"),
    entry(libc::SYS_openat, Allow, "the loader; landlock grants libraries and the function's directory"),
    entry(
        libc::SYS_newfstatat,
        AllowIf(&[&[masked(3, libc::AT_EMPTY_PATH as u64, libc::AT_EMPTY_PATH as u64)]]),
        "the C library's fstat",
    ),
    entry(
        libc::SYS_fcntl,
        AllowIf(&[
            &[is(1, libc::F_GETFD as u64)],
            &[is(1, libc::F_SETFD as u64)],
            &[is(1, libc::F_GETFL as u64)],
        ]),
        "stdio looks at its descriptors; no locks, owners, leases or pipe sizes",
    ),
    // ---- threads and time ----
    entry(
        libc::SYS_futex,
        AllowIf(&[
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_WAIT as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_WAKE as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_REQUEUE as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_CMP_REQUEUE as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_WAKE_OP as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_WAIT_BITSET as u64)],
            &[masked(1, FUTEX_OPERATION, libc::FUTEX_WAKE_BITSET as u64)],
        ]),
        "locks, and the channel's wait; no priority inheritance",
    ),
    entry(libc::SYS_nanosleep, Allow, "sleeps itself only"),
    entry(libc::SYS_clock_nanosleep, AllowIf(CLOCKS), "sleeps itself only"),
    entry(libc::SYS_clock_gettime, AllowIf(CLOCKS), "clocks, where the vDSO does not serve"),
    entry(libc::SYS_clock_getres, AllowIf(CLOCKS), "clocks"),
    entry(libc::SYS_gettimeofday, Allow, "clocks"),
    entry(libc::SYS_time, Allow, "clocks"),
    entry(libc::SYS_sched_yield, Allow, "yields itself only"),
    entry(libc::SYS_sched_getaffinity, AllowIf(&[&[is(0, 0)]]), "how many processors; of itself only"),
    entry(libc::SYS_getcpu, Allow, "where it runs"),
    entry(
        libc::SYS_membarrier,
        AllowIf(&[
            &[is(0, MEMBARRIER_QUERY)],
            &[is(0, MEMBARRIER_PRIVATE)],
            &[is(0, MEMBARRIER_REGISTER_PRIVATE)],
            &[is(0, MEMBARRIER_PRIVATE_SYNC_CORE)],
            &[is(0, MEMBARRIER_REGISTER_PRIVATE_SYNC_CORE)],
        ]),
        "orders its own memory; the global kinds interrupt, or wait for, processors that run others",
    ),
    entry(libc::SYS_rseq, Allow, "the C library registers it"),
    entry(libc::SYS_set_robust_list, Allow, "the C library, after a fork"),
    entry(libc::SYS_set_tid_address, Allow, "the C library, after a fork"),
    entry(libc::SYS_restart_syscall, Allow, "the kernel's own, after a stop"),
    // ---- signals, to and of itself ----
    entry(libc::SYS_rt_sigaction, Allow, "its own actions"),
    entry(libc::SYS_rt_sigprocmask, Allow, "its own mask"),
    entry(libc::SYS_rt_sigreturn, Allow, "the way out of a handler"),
    entry(libc::SYS_sigaltstack, Allow, "its own stack"),
    entry(libc::SYS_tgkill, Gate, "abort and raise: to the calling thread itself only"),
    // ---- who am I ----
    entry(libc::SYS_getpid, Allow, "within its own namespace"),
    entry(libc::SYS_gettid, Allow, "within its own namespace"),
    entry(libc::SYS_getuid, Allow, "of itself"),
    entry(libc::SYS_geteuid, Allow, "of itself"),
    entry(libc::SYS_getgid, Allow, "of itself"),
    entry(libc::SYS_getegid, Allow, "of itself"),
    entry(libc::SYS_uname, Allow, "within its own namespace"),
    entry(libc::SYS_getrandom, Allow, "random numbers"),
    entry(libc::SYS_getrlimit, Allow, "of itself"),
    entry(libc::SYS_prlimit64, AllowIf(&[&[is(0, 0), null(2)]]), "reads its own limits; changes none"),
    entry(libc::SYS_getrusage, Allow, "of itself"),
    entry(libc::SYS_times, Allow, "of itself"),
    // ---- taking rights away ----
    entry(
        libc::SYS_prctl,
        AllowIf(&[
            &[is(0, libc::PR_SET_NAME as u64)],
            &[is(0, libc::PR_GET_NAME as u64)],
            &[is(0, libc::PR_SET_DUMPABLE as u64), is(1, 0)],
            &[is(0, libc::PR_SET_MDWE as u64)],
            &[is(0, libc::PR_SET_PDEATHSIG as u64), is(1, libc::SIGKILL as u64)],
        ]),
        "names for threads; undumpable; no new executable memory; to die with its parent",
    ),
    entry(
        libc::SYS_seccomp,
        AllowIf(&[&[is(0, libc::SECCOMP_SET_MODE_FILTER as u64), is(1, 0)]]),
        "further filters, which only take away; no listener of its own",
    ),
    entry(libc::SYS_landlock_create_ruleset, Allow, "further restrictions, which only take away"),
    entry(
        libc::SYS_landlock_restrict_self,
        AllowIf(&[&[masked(1, all_but(LANDLOCK_LOGGING), 0)]]),
        "further restrictions, which only take away",
    ),
    // ---- ends ----
    entry(libc::SYS_exit, Allow, "ends itself"),
    entry(libc::SYS_exit_group, Allow, "ends itself"),
    // ---- decided by the warden ----
    entry(libc::SYS_clone, Gate, "the template's fork, when a worker is wanted; nobody else's"),
    entry(super::CONTROL_CALL as c_long, Gate, "the runner speaks to the warden"),
    // ---- what libraries probe and can live without ----
    entry(libc::SYS_open, Refuse, "old form; libraries fall back"),
    entry(libc::SYS_stat, Refuse, "there is nothing to see"),
    entry(libc::SYS_lstat, Refuse, "there is nothing to see"),
    entry(
        libc::SYS_newfstatat,
        RefuseIf(&[&[masked(3, libc::AT_EMPTY_PATH as u64, 0)]]),
        "there is nothing to see",
    ),
    entry(libc::SYS_statx, Refuse, "there is nothing to see"),
    entry(libc::SYS_access, Refuse, "there is nothing to see"),
    entry(libc::SYS_faccessat, Refuse, "there is nothing to see"),
    entry(libc::SYS_faccessat2, Refuse, "there is nothing to see"),
    entry(libc::SYS_readlink, Refuse, "there is nothing to see"),
    entry(libc::SYS_readlinkat, Refuse, "there is nothing to see"),
    entry(libc::SYS_getcwd, Refuse, "there is nothing to see"),
    entry(
        libc::SYS_mmap,
        RefuseIf(&[&[masked(3, MAP_TYPE, DROPPABLE)]]),
        "the C library's random numbers (2.41); it falls back to the call",
    ),
    entry(
        libc::SYS_prctl,
        RefuseIf(&[&[is(0, libc::PR_SET_VMA as u64)]]),
        "names for memory, which allocators give and do without; the kernel counts them as nobody's",
    ),
    entry(
        libc::SYS_clock_nanosleep,
        RefuseIf(OTHERS_CLOCKS),
        "clocks of processes and threads by their number",
    ),
    entry(
        libc::SYS_clock_gettime,
        RefuseIf(OTHERS_CLOCKS),
        "clocks of processes and threads by their number",
    ),
    entry(libc::SYS_clock_getres, RefuseIf(OTHERS_CLOCKS), "clocks of processes and threads by their number"),
    entry(libc::SYS_sysinfo, Refuse, "the host's memory and load are not the function's to know"),
    entry(libc::SYS_ioctl, RefuseIf(&[&[is(1, libc::TCGETS)]]), "isatty"),
    // ---- granted: reading ----
    granted(Read, libc::SYS_getdents64, Allow, "lists directories that landlock let it open"),
    granted(
        Read,
        libc::SYS_landlock_add_rule,
        Allow,
        "the worker's own domain, which grants what the template's does; nested ones only take away",
    ),
    granted(Names, libc::SYS_stat, Allow, "within its own root"),
    granted(Names, libc::SYS_lstat, Allow, "within its own root"),
    granted(Names, libc::SYS_newfstatat, Allow, "within its own root"),
    granted(Names, libc::SYS_statx, Allow, "within its own root"),
    granted(Names, libc::SYS_access, Allow, "within its own root"),
    granted(Names, libc::SYS_faccessat, Allow, "within its own root"),
    granted(Names, libc::SYS_faccessat2, Allow, "within its own root"),
    granted(Names, libc::SYS_readlink, Allow, "within its own root"),
    granted(Names, libc::SYS_readlinkat, Allow, "within its own root"),
    granted(Names, libc::SYS_getcwd, Allow, "within its own root"),
    // ---- granted: writing ----
    granted(Write, libc::SYS_pwrite64, Allow, "as write"),
    granted(Write, libc::SYS_ftruncate, Allow, "open descriptors only; landlock grants where"),
    granted(Write, libc::SYS_fsync, Allow, "open descriptors only"),
    granted(Write, libc::SYS_fdatasync, Allow, "open descriptors only"),
    granted(Write, libc::SYS_copy_file_range, Allow, "open descriptors only; std::io::copy"),
    granted(Write, libc::SYS_mkdir, Allow, "landlock grants where"),
    granted(Write, libc::SYS_mkdirat, Allow, "landlock grants where"),
    granted(Write, libc::SYS_rmdir, Allow, "landlock grants where"),
    granted(Write, libc::SYS_unlink, Allow, "landlock grants where"),
    granted(Write, libc::SYS_unlinkat, Allow, "landlock grants where"),
    granted(Write, libc::SYS_rename, Allow, "landlock grants where"),
    granted(Write, libc::SYS_renameat, Allow, "landlock grants where"),
    granted(
        Write,
        libc::SYS_renameat2,
        AllowIf(&[&[masked(4, u32::MAX as u64 & !NOREPLACE, 0)]]),
        "landlock grants where; no whiteouts, which are devices",
    ),
    // ---- granted: connecting by TCP ----
    granted(
        Connect,
        libc::SYS_socket,
        AllowIf(&[
            &[is(0, INET), masked(1, all_but(SOCKET_FLAGS), STREAM), is(2, 0)],
            &[is(0, INET), masked(1, all_but(SOCKET_FLAGS), STREAM), is(2, TCP)],
            &[is(0, INET6), masked(1, all_but(SOCKET_FLAGS), STREAM), is(2, 0)],
            &[is(0, INET6), masked(1, all_but(SOCKET_FLAGS), STREAM), is(2, TCP)],
        ]),
        "TCP alone: what landlock knows",
    ),
    granted(Connect, libc::SYS_connect, Allow, "landlock grants to which ports"),
    granted(Connect, libc::SYS_landlock_add_rule, Allow, "as with something to read"),
    granted(
        Connect,
        libc::SYS_sendto,
        AllowIf(&[&[masked(3, all_but(SEND_FLAGS), 0), null(4)]]),
        "send; without an address, and without MSG_FASTOPEN, which connects past landlock",
    ),
    granted(
        Connect,
        libc::SYS_recvfrom,
        AllowIf(&[&[masked(3, all_but(RECEIVE_FLAGS), 0), null(4)]]),
        "recv; of a connection, so that nobody asks from whom",
    ),
    granted(Connect, libc::SYS_shutdown, Allow, "its own connections"),
    granted(Connect, libc::SYS_getsockname, Allow, "its own connections"),
    granted(Connect, libc::SYS_getpeername, Allow, "its own connections"),
    granted(
        Connect,
        libc::SYS_getsockopt,
        AllowIf(&[
            &[is(1, SOCKET), is(2, libc::SO_ERROR as u64)],
            &[is(1, SOCKET), is(2, libc::SO_TYPE as u64)],
            &[is(1, SOCKET), is(2, libc::SO_KEEPALIVE as u64)],
            &[is(1, SOCKET), is(2, libc::SO_RCVTIMEO as u64)],
            &[is(1, SOCKET), is(2, libc::SO_SNDTIMEO as u64)],
            &[is(1, TCP), is(2, libc::TCP_NODELAY as u64)],
        ]),
        "whether a connection came about, and what may be set below",
    ),
    granted(
        Connect,
        libc::SYS_setsockopt,
        AllowIf(&[
            &[is(1, SOCKET), is(2, libc::SO_KEEPALIVE as u64)],
            &[is(1, SOCKET), is(2, libc::SO_RCVTIMEO as u64)],
            &[is(1, SOCKET), is(2, libc::SO_SNDTIMEO as u64)],
            &[is(1, TCP), is(2, libc::TCP_NODELAY as u64)],
            &[is(1, TCP), is(2, libc::TCP_KEEPIDLE as u64)],
            &[is(1, TCP), is(2, libc::TCP_KEEPINTVL as u64)],
            &[is(1, TCP), is(2, libc::TCP_KEEPCNT as u64)],
            &[is(1, TCP), is(2, libc::TCP_USER_TIMEOUT as u64)],
        ]),
        "what clients of databases set; nothing that binds, filters, routes or holds memory",
    ),
    granted(Connect, libc::SYS_poll, Allow, "waits itself only"),
    granted(Connect, libc::SYS_ppoll, Allow, "waits itself only"),
    granted(Connect, libc::SYS_epoll_create1, Allow, "event loops"),
    granted(
        Connect,
        libc::SYS_epoll_ctl,
        AllowIf(not_of_the_channel!(2)),
        "event loops; not of the channel's descriptors, whose every event the daemon would pay for (poll cannot be \
         kept from that)",
    ),
    granted(Connect, libc::SYS_epoll_wait, Allow, "waits itself only"),
    granted(Connect, libc::SYS_epoll_pwait, Allow, "waits itself only"),
    granted(Connect, libc::SYS_eventfd2, Allow, "event loops wake themselves by it"),
    granted(
        Connect,
        libc::SYS_fcntl,
        AllowIf(&[
            &[is(1, libc::F_GETFD as u64)],
            &[is(1, libc::F_SETFD as u64)],
            &[is(1, libc::F_GETFL as u64)],
        ]),
        "as without the grant",
    ),
    granted(
        Connect,
        libc::SYS_fcntl,
        AllowIf(not_of_the_channel!(
            0,
            is(1, libc::F_SETFL as u64),
            masked(2, all_but(libc::O_NONBLOCK | libc::O_ACCMODE), 0)
        )),
        "O_NONBLOCK; not of the channel's descriptors, whose open files the daemon shares and must not block on",
    ),
    granted(
        Connect,
        libc::SYS_fcntl,
        AllowIf(not_of_the_channel!(0, is(1, libc::F_DUPFD_CLOEXEC as u64))),
        "event loops; no copies of the channel's descriptors, which would get around the entry above",
    ),
    granted(Connect, libc::SYS_ioctl, RefuseIf(&[&[is(1, libc::TCGETS)]]), "isatty"),
    granted(
        Connect,
        libc::SYS_ioctl,
        AllowIf(not_of_the_channel!(0, is(1, libc::FIONBIO))),
        "O_NONBLOCK, as Rust's library sets it; not of the channel's descriptors, as above",
    ),
    // ---- granted: threads ----
    granted(Threads, libc::SYS_clone, Gate, "the template's fork; and threads, as many as are granted"),
    granted(Threads, libc::SYS_tgkill, Gate, "also to other threads of its own process"),
    granted(Threads, libc::SYS_sched_getaffinity, AllowIf(&[&[is(0, 0)]]), "how many processors"),
    granted(
        Threads,
        libc::SYS_sched_getaffinity,
        Gate,
        "OpenMP and pthread_getattr_np ask by thread: of its own process only",
    ),
];

/// What the runner drops once the plugin is loaded and initialised. Best effort: hostile initialisation
/// can keep the runner from it, and landlock still stands.
pub const AFTER_INIT: &[Entry] = &[
    entry(libc::SYS_openat, Refuse, "everything is loaded"),
    entry(libc::SYS_mmap, RefuseIf(&[&[masked(2, EXEC, EXEC)]]), "everything is loaded"),
    entry(libc::SYS_mprotect, RefuseIf(&[&[masked(2, EXEC, EXEC)]]), "everything is loaded"),
    entry(libc::SYS_seccomp, Refuse, "every filter is installed; one more could fill the host's kernel log"),
    granted(
        Read,
        libc::SYS_openat,
        RefuseIf(&[&[masked(2, PATH_ONLY, PATH_ONLY)]]),
        "landlock grants where; not O_PATH, which opens anything and so tells of any file that it is there",
    ),
];
