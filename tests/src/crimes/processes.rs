//! Crimes 22 to 38: other processes.

use super::Expected::Refused;
use super::{Crime, Layer, Target, Variant};

/// Two, so that each has a sibling.
const TWO_WORKERS: &str = "concurrency.provisioned = 2\nconcurrency.max = 2";

/// What opening comes to in a worker, and in init of what is not in its view.
const SHUT: &str = "open: Permission denied";
const ABSENT: &str = "open: No such file or directory";

/// Forks.
pub const FORKS: Crime = Crime {
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::denied(22, "22-fork", "clone")
};

/// Forks with its memory shared.
pub const VFORKS: Crime =
    Crime { defence: &[Layer::Seccomp, Layer::Groups], ..Crime::denied(23, "23-vfork", "vfork") };

/// Forks by a call whose flags no filter sees.
pub const CALLS_CLONE3: Crime = Crime {
    number: 24,
    name: "24-clone3",
    invoke: Refused("clone3: Function not implemented"),
    init: Some(Refused("clone3: Function not implemented")),
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::DEFAULT
};

/// Makes and enters namespaces.
pub const MAKES_NAMESPACES: Crime = Crime {
    variants: &[Variant::denied("unshare"), Variant::denied("setns")],
    ..Crime::denied(25, "25-namespaces", "clone")
};

/// Forks without end.
pub const BOMBS_WITH_FORKS: Crime = Crime {
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::denied(26, "26-fork-bomb", "clone")
};

/// Starts threads without end.
pub const BOMBS_WITH_THREADS: Crime = Crime {
    constructor: true,
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::denied(27, "27-thread-bomb", "clone")
};

/// Signals everybody.
pub const KILLS_EVERYBODY: Crime = Crime {
    variants: &[
        Variant::named("group", "kill"),
        Variant::named("init", "kill"),
        Variant::denied("tkill"),
        Variant::denied("rt_sigqueueinfo"),
        Variant::denied("rt_tgsigqueueinfo"),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces, Layer::Uid],
    ..Crime::denied(28, "28-kill-everybody", "kill")
};

/// Signals another worker of its function.
pub const KILLS_A_SIBLING: Crime = Crime {
    manifest: TWO_WORKERS,
    target: Target::Workers,
    variants: &[Variant::denied("tgkill"), Variant::denied("tkill")],
    defence: &[Layer::Seccomp, Layer::Landlock],
    ..Crime::denied(29, "29-kill-sibling", "kill")
};

/// Signals its template.
pub const KILLS_ITS_TEMPLATE: Crime = Crime {
    target: Target::Template,
    variants: &[Variant::denied("tgkill"), Variant::denied("tkill")],
    defence: &[Layer::Seccomp, Layer::Landlock],
    ..Crime::denied(30, "30-kill-template", "kill")
};

/// Takes descriptors of the daemon's.
pub const TAKES_DESCRIPTORS: Crime = Crime {
    target: Target::Daemon,
    variants: &[
        Variant::denied("pidfd_getfd"),
        Variant::denied("pidfd_send_signal"),
        Variant::denied("kcmp"),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces, Layer::Uid],
    ..Crime::denied(31, "31-pidfds", "pidfd_open")
};

/// Traces another worker of its function.
pub const TRACES: Crime = Crime {
    manifest: TWO_WORKERS,
    target: Target::Workers,
    defence: &[Layer::Seccomp, Layer::Landlock],
    ..Crime::denied(32, "32-ptrace", "ptrace")
};

/// Reads the memory of another worker of its function.
pub const READS_FOREIGN_MEMORY: Crime = Crime {
    manifest: TWO_WORKERS,
    target: Target::Workers,
    variants: &[
        Variant::denied("process_vm_writev"),
        Variant::denied("process_mrelease"),
        Variant::refused("proc", SHUT, ABSENT),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock],
    ..Crime::denied(33, "33-foreign-memory", "process_vm_readv")
};

/// Types into a terminal.
pub const TYPES_INTO_A_TERMINAL: Crime = Crime {
    variants: &[
        Variant::named("type-wide", "ioctl"),
        Variant::named("paste", "ioctl"),
        Variant::named("size", "ioctl"),
        Variant::named("count", "ioctl"),
        Variant::named("async", "ioctl"),
        Variant::refused("is", "ioctl: Permission denied", "ioctl: Permission denied"),
    ],
    ..Crime::denied(34, "34-terminal-input", "ioctl")
};

/// Leaves its session, and a child behind.
pub const DAEMONISES: Crime = Crime {
    variants: &[Variant::denied("setpgid"), Variant::named("child", "clone")],
    defence: &[Layer::Seccomp, Layer::Namespaces, Layer::Groups],
    ..Crime::denied(35, "35-daemonise", "setsid")
};

/// Takes privileges.
pub const TAKES_PRIVILEGES: Crime = Crime {
    variants: &[
        Variant::denied("setgid"),
        Variant::denied("setreuid"),
        Variant::denied("setresuid"),
        Variant::denied("setfsuid"),
        Variant::denied("setgroups"),
        Variant::denied("capset"),
        Variant::named("dumpable", "prctl"),
        Variant::named("tracer", "prctl"),
        Variant::named("orphan", "prctl"),
        Variant::named("subreaper", "prctl"),
        Variant::named("keep", "prctl"),
    ],
    defence: &[Layer::Seccomp, Layer::Uid],
    ..Crime::denied(36, "36-privileges", "setuid")
};

/// Reads what the kernel says of others.
pub const SNOOPS: Crime = Crime {
    number: 37,
    name: "37-proc",
    invoke: Refused(SHUT),
    init: Some(Refused(ABSENT)),
    variants: &[
        Variant::refused("maps", SHUT, ABSENT),
        Variant::refused("environ", SHUT, ABSENT),
        Variant::refused("root", SHUT, ABSENT),
        Variant::refused("sys", SHUT, ABSENT),
        Variant::refused("groups", SHUT, ABSENT),
        Variant::refused("memory", SHUT, ABSENT),
        Variant::refused("log", SHUT, ABSENT),
        Variant::refused("shared", SHUT, ABSENT),
        Variant::refused("temporary", SHUT, ABSENT),
        Variant::refused("run", SHUT, ABSENT),
        Variant::refused("home", SHUT, ABSENT),
    ],
    defence: &[Layer::Seccomp, Layer::Landlock, Layer::Namespaces],
    ..Crime::DEFAULT
};

/// Changes limits and priorities of the daemon's, and its own.
pub const CHANGES_LIMITS: Crime = Crime {
    target: Target::Daemon,
    variants: &[
        Variant::named("own", "prlimit64"),
        Variant::denied("setrlimit"),
        Variant::denied("setpriority"),
        Variant::denied("sched_setaffinity"),
        Variant::denied("sched_getaffinity"),
        Variant::denied("sched_setscheduler"),
        Variant::denied("sched_setattr"),
        Variant::denied("ioprio_set"),
        Variant::denied("migrate_pages"),
        Variant::denied("move_pages"),
        Variant::denied("getpgid"),
        Variant::denied("getppid"),
    ],
    defence: &[Layer::Seccomp, Layer::Namespaces, Layer::Uid],
    ..Crime::denied(38, "38-limits-of-others", "prlimit64")
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &FORKS,
    &VFORKS,
    &CALLS_CLONE3,
    &MAKES_NAMESPACES,
    &BOMBS_WITH_FORKS,
    &BOMBS_WITH_THREADS,
    &KILLS_EVERYBODY,
    &KILLS_A_SIBLING,
    &KILLS_ITS_TEMPLATE,
    &TAKES_DESCRIPTORS,
    &TRACES,
    &READS_FOREIGN_MEMORY,
    &TYPES_INTO_A_TERMINAL,
    &DAEMONISES,
    &TAKES_PRIVILEGES,
    &SNOOPS,
    &CHANGES_LIMITS,
];
