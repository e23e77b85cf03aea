//! Crimes 39 to 50: system calls that are dangerous by themselves.

use super::Expected::{Committed, Fault, Refused, Violation};
use super::resources::SEGMENTATION_FAULT;
use super::{Crime, Layer, Variant};

/// How a call is named that is killed by its number alone.
const NAMELESS: &str = "of a foreign or unknown number";

/// Makes an io_uring.
pub const SETS_UP_IO_URING: Crime = Crime {
    variants: &[
        Variant::denied("io_uring_enter"),
        Variant::denied("io_uring_register"),
        Variant::denied("io_setup"),
    ],
    ..Crime::denied(39, "39-io-uring", "io_uring_setup")
};

/// Loads programs into the kernel.
pub const CALLS_BPF: Crime =
    Crime { defence: &[Layer::Seccomp, Layer::Uid], ..Crime::denied(40, "40-bpf", "bpf") };

/// Handles page faults itself.
pub const CALLS_USERFAULTFD: Crime = Crime::denied(41, "41-userfaultfd", "userfaultfd");

/// Counts events of the processor.
pub const COUNTS_EVENTS: Crime = Crime {
    variants: &[Variant::denied("lookup_dcookie")],
    defence: &[Layer::Seccomp, Layer::Uid],
    ..Crime::denied(42, "42-perf", "perf_event_open")
};

/// Advises about memory of others.
pub const ADVISES_OTHERS: Crime = Crime {
    variants: &[
        Variant::named("remove", "madvise"),
        Variant::named("poison", "madvise"),
        Variant::named("populate", "madvise"),
    ],
    ..Crime::denied(43, "43-process-madvise", "process_madvise")
};

/// Installs filters of its own.
pub const LISTENS_TO_ITS_OWN_CALLS: Crime = Crime {
    number: 44,
    name: "44-own-filter",
    invoke: Refused("seccomp: Permission denied"),
    init: Some(Violation("seccomp")),
    variants: &[
        Variant {
            deed: "log",
            invoke: Refused("seccomp: Permission denied"),
            init: Some(Violation("seccomp")),
        },
        Variant {
            deed: "all-threads",
            invoke: Refused("seccomp: Permission denied"),
            init: Some(Violation("seccomp")),
        },
        Variant::denied("prctl"),
    ],
    defence: &[Layer::Seccomp],
    ..Crime::DEFAULT
};

/// Changes segments.
pub const CHANGES_SEGMENTS: Crime =
    Crime { variants: &[Variant::denied("arch_prctl")], ..Crime::denied(45, "45-segments", "modify_ldt") };

/// Calls as 32-bit programs do.
pub const CALLS_AS_I386: Crime = Crime { constructor: true, ..Crime::denied(46, "46-int80", NAMELESS) };

/// Calls by other numbers.
pub const CALLS_BY_OTHER_NUMBERS: Crime = Crime {
    constructor: true,
    variants: &[
        Variant::named("x32-execve", NAMELESS),
        Variant::named("minus-one", NAMELESS),
        Variant::named("not-yet", NAMELESS),
        Variant::named("far", NAMELESS),
    ],
    ..Crime::denied(47, "47-other-numbers", NAMELESS)
};

/// Calls into the page of calls that are none.
pub const JUMPS_INTO_VSYSCALL: Crime = Crime {
    number: 48,
    name: "48-vsyscall",
    invoke: Fault(SEGMENTATION_FAULT),
    init: Some(Fault(SEGMENTATION_FAULT)),
    variants: &[Variant {
        deed: "time",
        invoke: Committed("the time, or nothing"),
        init: Some(Committed("the time, or nothing")),
    }],
    ..Crime::DEFAULT
};

/// Changes the host.
pub const CHANGES_THE_HOST: Crime = Crime {
    variants: &[
        Variant::denied("kexec_file_load"),
        Variant::denied("reboot"),
        Variant::denied("settimeofday"),
        Variant::denied("clock_settime"),
        Variant::denied("adjtimex"),
        Variant::denied("clock_adjtime"),
        Variant::denied("sethostname"),
        Variant::denied("setdomainname"),
        Variant::denied("init_module"),
        Variant::denied("finit_module"),
        Variant::denied("delete_module"),
        Variant::denied("swapon"),
        Variant::denied("swapoff"),
        Variant::denied("acct"),
        Variant::denied("quotactl"),
        Variant::denied("syslog"),
        Variant::denied("iopl"),
        Variant::denied("ioperm"),
    ],
    defence: &[Layer::Seccomp, Layer::Uid],
    ..Crime::denied(49, "49-the-host", "kexec_load")
};

/// Makes any call, with bad arguments; without a number from whoever asks, the one that no call ever has.
pub const MAKES_EVERY_CALL: Crime = Crime::denied(50, "50-every-call", "of a foreign or unknown number");

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &SETS_UP_IO_URING,
    &CALLS_BPF,
    &CALLS_USERFAULTFD,
    &COUNTS_EVENTS,
    &ADVISES_OTHERS,
    &LISTENS_TO_ITS_OWN_CALLS,
    &CHANGES_SEGMENTS,
    &CALLS_AS_I386,
    &CALLS_BY_OTHER_NUMBERS,
    &JUMPS_INTO_VSYSCALL,
    &CHANGES_THE_HOST,
    &MAKES_EVERY_CALL,
];
