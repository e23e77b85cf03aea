//! What is said to a function's author about a call that was denied.
//!
//! The calls that no function may make, in families: each says why a function has no business there, and what to do.
//! Together with the [`table`](super::table) they are all calls that there are. A call that needs a grant stands here
//! as well, for functions without.

use std::borrow::Cow;

use syscalls::Sysno;

use super::compile::HIGHEST_KNOWN_CALL;
use super::table::{POLICY, Rule};

/// Calls that are denied for the same reason.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What they are about.
    pub name: &'static str,
    /// Which.
    pub calls: &'static [Sysno],
    /// Why they are denied, and what to do: the end of a sentence.
    pub advice: &'static str,
}

macro_rules! calls {
    ($($name:ident)*) => { &[$(Sysno::$name),*] };
}

/// All families. A call is in one of them or in the policy without a grant; those that the warden decides about are
/// in both.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    Family {
        name: "network",
        calls: calls![
            socket connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind listen
            getsockname getpeername socketpair setsockopt getsockopt
        ],
        advice: "a function has no network; grant TCP ports with allow.connect, or do without that call",
    },
    Family {
        name: "processes",
        calls: calls![
            clone fork vfork execve execveat wait4 waitid getppid getpgrp getpgid setpgid getsid setsid
        ],
        advice: "a function is one process and starts no other; grant threads, or do the work in that one",
    },
    Family {
        name: "other processes",
        calls: calls![
            kill tkill tgkill ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp
            pidfd_open pidfd_getfd pidfd_send_signal move_pages migrate_pages get_robust_list
        ],
        advice: "a function reaches no process and no thread but the one that it runs in; do without that call",
    },
    Family {
        name: "signals and timers",
        calls: calls![
            pause alarm getitimer setitimer rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo
            rt_sigsuspend timer_create timer_settime timer_gettime timer_getoverrun timer_delete signalfd signalfd4
            timerfd_create timerfd_settime timerfd_gettime
        ],
        advice: "a function has no timers and waits for no signals; sleep, or ask the clock between two steps",
    },
    Family {
        name: "files",
        calls: calls![
            creat openat2 open_by_handle_at name_to_handle_at rename renameat renameat2 mkdir mkdirat rmdir link linkat
            unlink unlinkat symlink symlinkat truncate ftruncate fallocate flock fsync fdatasync syncfs
            sync_file_range pwrite64 pwritev pwritev2 preadv preadv2 copy_file_range readahead fadvise64 cachestat
            getdents getdents64 chdir fchdir umask statfs fstatfs ustat chmod fchmod fchmodat fchmodat2 chown fchown
            lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr
            listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr setxattrat getxattrat listxattrat
            removexattrat file_getattr file_setattr landlock_add_rule
        ],
        advice: "a function reads its own directory while it is loaded, and no other file; grant paths with \
                 allow.read or allow.write, or do without that call",
    },
    Family {
        name: "descriptors",
        calls: calls![
            pipe pipe2 dup dup2 dup3 eventfd eventfd2 memfd_create sendfile splice tee vmsplice poll ppoll select pselect6
            epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 epoll_ctl_old epoll_wait_old
            inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
        ],
        advice: "a function is given the descriptors that it needs, and makes or awaits no others; grant TCP ports \
                 with allow.connect where it waits for connections, or do without that call",
    },
    Family {
        name: "shared memory and queues",
        calls: calls![
            shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink
            mq_timedsend mq_timedreceive mq_notify mq_getsetattr
        ],
        advice: "a function shares no memory and no queue with anybody; use memory of its own",
    },
    Family {
        name: "memory",
        calls: calls![
            msync mincore mlock mlock2 mlockall munlock munlockall remap_file_pages mbind set_mempolicy get_mempolicy
            set_mempolicy_home_node pkey_alloc pkey_free pkey_mprotect map_shadow_stack memfd_secret userfaultfd
        ],
        advice: "a function's memory is private, can be reclaimed, and is bounded by memory in its function.toml; use \
                 malloc",
    },
    Family {
        name: "locks",
        calls: calls![futex_waitv futex_wake futex_wait futex_requeue],
        advice: "a function's locks use the call futex; build for a C library that does",
    },
    Family {
        name: "asynchronous operations",
        calls: calls![
            io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_uring_setup io_uring_enter
            io_uring_register
        ],
        advice: "what is done by such a queue passes by this policy; use read and write",
    },
    Family {
        name: "scheduling",
        calls: calls![
            getpriority setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler
            sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_setattr
            sched_getattr ioprio_set ioprio_get
        ],
        advice: "when and where a function runs is not its own to say; do without that call",
    },
    Family {
        name: "privileges",
        calls: calls![
            setuid setgid setreuid setregid setresuid getresuid setresgid getresgid setfsuid setfsgid getgroups
            setgroups capget capset setrlimit personality unshare setns add_key request_key keyctl
            lsm_get_self_attr lsm_set_self_attr lsm_list_modules
        ],
        advice: "a function keeps the identity and the limits that it is given, and has no privileges; do without \
                 that call",
    },
    Family {
        name: "processor",
        calls: calls![modify_ldt arch_prctl iopl ioperm set_thread_area get_thread_area uretprobe uprobe],
        advice: "the processor's state is not a function's to change; do without that call",
    },
    Family {
        name: "administration",
        calls: calls![
            mount umount2 pivot_root chroot mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount
            fspick statmount listmount mknod mknodat swapon swapoff reboot sethostname setdomainname settimeofday
            clock_settime adjtimex clock_adjtime syslog acct sync vhangup quotactl quotactl_fd sysfs init_module
            finit_module delete_module kexec_load kexec_file_load bpf perf_event_open fanotify_init fanotify_mark
            lookup_dcookie
        ],
        advice: "the machine is not a function's to change or to watch; do without that call",
    },
    Family {
        name: "not implemented by Linux",
        calls: calls![
            uselib _sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall tuxcall
            security vserver
        ],
        advice: "Linux has no such call; do without it",
    },
];

/// Name of a call; none where there is no such call.
pub fn name(number: u32) -> Option<&'static str> {
    Sysno::new(usize::try_from(number).ok()?).map(|call| call.name())
}

/// The family of a denied call.
pub fn family(number: u32) -> Option<&'static Family> {
    let call = Sysno::new(usize::try_from(number).ok()?)?;
    FAMILIES.iter().find(|family| family.calls.contains(&call))
}

/// Why a call is denied, and what to do: the end of a sentence. `None` is one that the kernel killed at once, of which
/// nobody knows the number.
pub fn advice(number: Option<i32>) -> Cow<'static, str> {
    let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else {
        return format!(
            "a function makes this machine's own 64-bit system calls, up to number {HIGHEST_KNOWN_CALL}; do without \
             that call"
        )
        .into();
    };
    if let Some(family) = family(number) {
        return family.advice.into();
    }
    let conditional = POLICY.iter().find(|entry| {
        entry.number == i64::from(number) && entry.grant.is_none() && matches!(entry.rule, Rule::AllowIf(_))
    });
    match conditional {
        Some(entry) => {
            format!("it may be made with some arguments only ({}); do without the others", entry.reason)
                .into()
        }
        // What the policy refuses in one form and knows in no other, and numbers that no call has.
        None => "a function has no use for it; do without that call".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the policy allows, refuses or decides without a grant.
    fn in_policy(number: u32) -> bool {
        POLICY.iter().any(|entry| entry.number == i64::from(number) && entry.grant.is_none())
    }

    fn is_gate(number: u32) -> bool {
        POLICY.iter().any(|entry| {
            entry.number == i64::from(number) && entry.grant.is_none() && matches!(entry.rule, Rule::Gate)
        })
    }

    #[test]
    fn every_call_is_in_the_policy_or_in_one_family() {
        for number in (0..=HIGHEST_KNOWN_CALL).filter(|number| i64::from(*number) != libc::SYS_clone3) {
            let name = name(number).map_or_else(|| number.to_string(), str::to_owned);
            let families =
                FAMILIES.iter().flat_map(|family| family.calls).filter(|call| call.name() == name).count();
            let expected = usize::from(!in_policy(number) || is_gate(number));
            // Numbers that were never given to a call stand nowhere.
            let expected = if super::name(number).is_some() { expected } else { 0 };
            assert_eq!(families, expected, "families of {name}");
        }
    }

    /// 337 to 423 is the gap that keeps the numbers of all machines the same from 424 on.
    #[test]
    fn every_number_that_has_a_call_has_a_name() {
        let nameless: Vec<_> = (0..=HIGHEST_KNOWN_CALL).filter(|number| name(*number).is_none()).collect();
        assert_eq!(nameless, (337..=423).collect::<Vec<_>>());
        assert_eq!(name(HIGHEST_KNOWN_CALL), Some("file_setattr"));
    }

    #[test]
    fn advice_is_the_end_of_a_sentence() {
        for number in (0..=HIGHEST_KNOWN_CALL.cast_signed()).map(Some).chain([None, Some(-1)]) {
            let advice = advice(number);
            let ends = advice.ends_with(|end: char| end.is_ascii_alphanumeric());
            assert!(ends && advice.contains("; ") && !advice.contains('\n'), "{number:?}: {advice}");
        }
    }

    #[test]
    fn what_is_said() {
        assert_eq!(
            advice(Some(41)),
            "a function has no network; grant TCP ports with allow.connect, or do without that call"
        );
        assert_eq!(
            advice(Some(72)),
            "it may be made with some arguments only (stdio looks at its descriptors; no locks, owners, leases or pipe \
             sizes); do without the others"
        );
        assert_eq!(
            advice(None),
            "a function makes this machine's own 64-bit system calls, up to number 469; do without that call"
        );
    }
}
