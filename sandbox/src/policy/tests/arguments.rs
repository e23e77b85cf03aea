//! What the kernel calls the arguments that conditions look at, how wide it takes them, and what their values mean.

use crate::policy::table::Condition;

/// How wide the kernel takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// A C `int` or `unsigned int`: the kernel itself drops the upper half of the register.
    Int,
    /// A C `unsigned long` of which the kernel reads single bits of the lower half, and refuses others or ignores
    /// them: what is in the upper half gives no other meaning to the bits that a condition looks at.
    Bits,
    /// A C `unsigned long` that the kernel compares whole with what the condition wants: with something in the upper
    /// half it refuses the call (EINVAL), so that nothing is lost by not looking.
    Refused,
    /// All of it counts: a pointer.
    Whole,
}

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Argument {
    pub(super) call: libc::c_long,
    pub(super) index: u8,
    /// Its name in the call's manual page.
    pub(super) name: &'static str,
    pub(super) width: Width,
    /// What it is made of.
    pub(super) parts: &'static [Part],
}

/// Some bits of an argument that mean something together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// One bit: its name.
    Flag(i32, &'static str),
    /// Several bits, and the names of values of theirs.
    Field(i32, &'static [(i64, &'static str)]),
}

use Part::{Field, Flag};
use Width::{Bits, Int, Refused, Whole};

const fn argument(
    call: libc::c_long,
    index: u8,
    name: &'static str,
    width: Width,
    parts: &'static [Part],
) -> Argument {
    Argument { call, index, name, width, parts }
}

/// All 32 bits.
const ALL: i32 = -1;

/// The names of constants, by what they are.
macro_rules! named {
    ($($name:ident),* $(,)?) => { &[$((libc::$name as i64, stringify!($name))),*] };
}
macro_rules! flags {
    ($($name:ident),* $(,)?) => { &[$(Flag(libc::$name as i32, stringify!($name))),*] };
}

const COMMANDS: &[Part] = &[Field(ALL, named![F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC])];
#[expect(clippy::cast_possible_wrap, reason = "small positive numbers")]
const REQUESTS: &[Part] = &[Field(ALL, named![TCGETS, FIONBIO])];
const MESSAGES: &[Part] =
    flags![MSG_NOSIGNAL, MSG_DONTWAIT, MSG_MORE, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_FASTOPEN];
const LEVELS: &[Part] = &[Field(ALL, named![SOL_SOCKET, IPPROTO_TCP])];
const FAMILIES: &[Part] = &[Field(ALL, named![AF_INET, AF_INET6])];

/// Every argument that a condition looks at. Widths are those of the kernel's `SYSCALL_DEFINE`.
#[rustfmt::skip]
pub(super) const ARGUMENTS: &[Argument] = &[
    argument(libc::SYS_mmap, 2, "prot", Bits, flags![PROT_WRITE, PROT_EXEC]),
    argument(libc::SYS_mmap, 3, "flags", Bits, &[
        Field(0x0f, &[(1, "MAP_SHARED"), (2, "MAP_PRIVATE"), (8, "MAP_DROPPABLE")]),
        Flag(libc::MAP_ANONYMOUS, "MAP_ANONYMOUS"),
        Flag(libc::MAP_GROWSDOWN, "MAP_GROWSDOWN"),
        Flag(libc::MAP_LOCKED, "MAP_LOCKED"),
        Flag(libc::MAP_HUGETLB, "MAP_HUGETLB"),
    ]),
    // Bits that the kernel does not know are refused.
    argument(libc::SYS_mprotect, 2, "prot", Bits, flags![PROT_WRITE, PROT_EXEC]),
    argument(libc::SYS_madvise, 2, "advice", Int, &[Field(ALL, named![
        MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE,
        MADV_NOHUGEPAGE, MADV_DONTDUMP,
    ])]),
    argument(libc::SYS_close_range, 2, "flags", Int, &[Flag(2, "CLOSE_RANGE_UNSHARE")]),
    argument(libc::SYS_openat, 2, "flags", Int, flags![O_PATH]),
    argument(libc::SYS_newfstatat, 3, "flags", Int, flags![AT_EMPTY_PATH]),
    argument(libc::SYS_renameat2, 4, "flags", Int, &[Flag(1, "RENAME_NOREPLACE")]),
    argument(libc::SYS_fcntl, 0, "fd", Int, &[]),
    argument(libc::SYS_fcntl, 1, "cmd", Int, COMMANDS),
    // An unsigned long that F_SETFL cuts to an int.
    argument(libc::SYS_fcntl, 2, "arg", Int, flags![O_NONBLOCK, O_WRONLY, O_RDWR]),
    argument(libc::SYS_ioctl, 0, "fd", Int, &[]),
    argument(libc::SYS_ioctl, 1, "cmd", Int, REQUESTS),
    // Without FUTEX_PRIVATE_FLAG, which is the next bit.
    argument(libc::SYS_futex, 1, "op", Int, &[Field(0x7f, named![
        FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_WAIT_BITSET,
        FUTEX_WAKE_BITSET,
    ])]),
    argument(libc::SYS_membarrier, 0, "cmd", Int, &[Field(ALL, &[
        (0, "MEMBARRIER_CMD_QUERY"),
        (8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"),
        (16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"),
        (32, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE"),
        (64, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE"),
    ])]),
    // From 2^31 on they are negative: a clock of a process, a thread or a descriptor.
    argument(libc::SYS_clock_nanosleep, 0, "clockid", Int, &[]),
    argument(libc::SYS_clock_gettime, 0, "clockid", Int, &[]),
    argument(libc::SYS_clock_getres, 0, "clockid", Int, &[]),
    argument(libc::SYS_landlock_restrict_self, 1, "flags", Int, &[
        Flag(1, "LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF"),
        Flag(2, "LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON"),
        Flag(4, "LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF"),
    ]),
    argument(libc::SYS_epoll_ctl, 2, "fd", Int, &[]),
    argument(libc::SYS_sched_getaffinity, 0, "pid", Int, &[Field(ALL, &[(0, "itself")])]),
    argument(libc::SYS_prlimit64, 0, "pid", Int, &[Field(ALL, &[(0, "itself")])]),
    argument(libc::SYS_prlimit64, 2, "new_limit", Whole, &[]),
    argument(libc::SYS_prctl, 0, "option", Int, &[Field(ALL, named![
        PR_SET_NAME, PR_GET_NAME, PR_SET_DUMPABLE, PR_SET_MDWE, PR_SET_PDEATHSIG, PR_SET_VMA,
    ])]),
    // PR_SET_DUMPABLE takes 0 or 1, PR_SET_PDEATHSIG the number of a signal.
    argument(libc::SYS_prctl, 1, "arg2", Refused, &[Field(ALL, &[(0, "0"), (9, "SIGKILL")])]),
    argument(libc::SYS_seccomp, 0, "operation", Int, &[Field(ALL, named![SECCOMP_SET_MODE_FILTER])]),
    argument(libc::SYS_seccomp, 1, "flags", Int, &[Field(ALL, &[(0, "none")])]),
    argument(libc::SYS_socket, 0, "domain", Int, FAMILIES),
    argument(libc::SYS_socket, 1, "type", Int, &[
        Flag(libc::SOCK_NONBLOCK, "SOCK_NONBLOCK"),
        Flag(libc::SOCK_CLOEXEC, "SOCK_CLOEXEC"),
        Field(!(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), named![SOCK_STREAM]),
    ]),
    argument(libc::SYS_socket, 2, "protocol", Int, &[Field(ALL, &[(0, "0"), (6, "IPPROTO_TCP")])]),
    argument(libc::SYS_sendto, 3, "flags", Int, MESSAGES),
    argument(libc::SYS_sendto, 4, "dest_addr", Whole, &[]),
    argument(libc::SYS_recvfrom, 3, "flags", Int, MESSAGES),
    argument(libc::SYS_recvfrom, 4, "src_addr", Whole, &[]),
    argument(libc::SYS_getsockopt, 1, "level", Int, LEVELS),
    argument(libc::SYS_getsockopt, 2, "optname", Int, &[Field(ALL, named![
        SO_ERROR, SO_TYPE, SO_KEEPALIVE, SO_RCVTIMEO, SO_SNDTIMEO, TCP_NODELAY,
    ])]),
    argument(libc::SYS_setsockopt, 1, "level", Int, LEVELS),
    argument(libc::SYS_setsockopt, 2, "optname", Int, &[Field(ALL, named![
        SO_KEEPALIVE, SO_RCVTIMEO, SO_SNDTIMEO, TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
        TCP_USER_TIMEOUT,
    ])]),
];

/// A condition in words: "prot PROT_WRITE, no PROT_EXEC".
pub(super) fn words(call: libc::c_long, condition: &Condition) -> String {
    let Argument { name, parts, width, .. } = of(call, condition.argument);
    let (mask, value) = (condition.mask, condition.value);
    if *width == Whole {
        assert_eq!((mask, value), (u64::MAX, 0), "of {name} there are no words but null");
        return format!("{name} null");
    }
    let free = !mask & u64::from(u32::MAX);
    if parts.is_empty() {
        return if free == 0 {
            format!("{name} {value}")
        } else {
            format!("{name} {value} to {}", value | free)
        };
    }
    let flags = parts.iter().all(|part| matches!(part, Flag(..)));
    let mut said = Vec::new();
    // Of almost all bits it is shorter to say which may be set.
    if flags && value == 0 && mask.count_ones() > 16 {
        let may = parts.iter().filter_map(|part| match part {
            Flag(bit, flag) => (free & low(*bit) != 0).then_some(*flag),
            Field(..) => None,
        });
        let may: Vec<_> = may.collect();
        return format!("no {name} but {}", may.join(", "));
    }
    let mut left = mask;
    for part in *parts {
        match part {
            Flag(bit, flag) if mask & low(*bit) != 0 => {
                said.push(if value & low(*bit) == 0 { format!("no {flag}") } else { (*flag).to_owned() });
                left &= !low(*bit);
            }
            Field(bits, names) if mask & low(*bits) == low(*bits) => {
                let is = value & low(*bits);
                let known = names.iter().find(|(number, _)| number.cast_unsigned() & low(ALL) == is);
                said.push(known.map_or_else(|| format!("{is:#x}"), |(_, name)| (*name).to_owned()));
                left &= !low(*bits);
            }
            Flag(..) | Field(..) => {}
        }
    }
    if left != 0 {
        said.push(format!("bits {left:#x} {:#x}", value & left));
    }
    format!("{name} {}", said.join(", "))
}

/// Bits of an `int` as they stand in a register's lower half.
fn low(bits: i32) -> u64 {
    bits.cast_unsigned().into()
}

/// The argument of a call. Whoever adds a condition adds what it looks at.
pub(super) fn of(call: libc::c_long, index: u8) -> &'static Argument {
    let found = ARGUMENTS.iter().find(|argument| (argument.call, argument.index) == (call, index));
    found.unwrap_or_else(|| {
        panic!("ARGUMENTS does not say how the kernel takes argument {index} of call {call}")
    })
}
