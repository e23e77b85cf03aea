//! The policy as data.
//!
//! One entry a call, in the groups a reviewer would look for them. What is not here is a violation.

use libc::c_long;

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
    Entry { number, rule, reason }
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
/// The operations of `membarrier` that reach the caller's own threads only, of Linux 4.16.
const MEMBARRIER_QUERY: u64 = 0;
const MEMBARRIER_PRIVATE: u64 = 1 << 3;
const MEMBARRIER_REGISTER_PRIVATE: u64 = 1 << 4;
const MEMBARRIER_PRIVATE_SYNC_CORE: u64 = 1 << 5;
const MEMBARRIER_REGISTER_PRIVATE_SYNC_CORE: u64 = 1 << 6;

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
    entry(libc::SYS_close_range, Allow, "gives descriptors back"),
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
    entry(libc::SYS_clock_nanosleep, Allow, "sleeps itself only"),
    entry(libc::SYS_clock_gettime, Allow, "clocks, where the vDSO does not serve"),
    entry(libc::SYS_clock_getres, Allow, "clocks"),
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
            &[is(0, 0x5356_4d41)],
        ]),
        "names for threads and memory; undumpable; no new executable memory; to die with its parent",
    ),
    entry(
        libc::SYS_seccomp,
        AllowIf(&[&[is(0, libc::SECCOMP_SET_MODE_FILTER as u64), is(1, 0)]]),
        "further filters, which only take away; no listener of its own",
    ),
    entry(libc::SYS_landlock_create_ruleset, Allow, "further restrictions, which only take away"),
    entry(libc::SYS_landlock_restrict_self, Allow, "further restrictions, which only take away"),
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
    entry(libc::SYS_sysinfo, Refuse, "the host's memory and load are not the function's to know"),
    entry(libc::SYS_ioctl, RefuseIf(&[&[is(1, libc::TCGETS)]]), "isatty"),
];

/// What the runner drops once the plugin is loaded and initialised. Best effort: hostile initialisation
/// can keep the runner from it, and landlock still stands.
pub const AFTER_INIT: &[Entry] = &[
    entry(libc::SYS_openat, Refuse, "everything is loaded"),
    entry(libc::SYS_mmap, RefuseIf(&[&[masked(2, EXEC, EXEC)]]), "everything is loaded"),
    entry(libc::SYS_mprotect, RefuseIf(&[&[masked(2, EXEC, EXEC)]]), "everything is loaded"),
    entry(libc::SYS_seccomp, Refuse, "every filter is installed; one more could fill the host's kernel log"),
];
