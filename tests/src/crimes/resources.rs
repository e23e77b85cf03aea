//! Crimes 51 to 62: memory, descriptors, output and time.

use super::Expected::{Committed, Fault, NotConfined, OutOfMemory, Refused, Timeout, Violation};
use super::exits::SHORT;
use super::{Crime, Layer, variant};

/// How a stack overflow is told.
pub const SEGMENTATION_FAULT: &str = "SIGSEGV (an invalid memory access or a stack overflow)";

/// Allocates until it is stopped.
pub const BOMBS_MEMORY: Crime = Crime {
    number: 51,
    name: "51-memory-bomb",
    invoke: OutOfMemory,
    // The group of all counts for the workers as well: the template's resource limit is less.
    init: Some(Refused("malloc: Cannot allocate memory")),
    defence: &[Layer::Groups, Layer::Limits],
    ..Crime::DEFAULT
};

/// Fills shared memory.
pub const FILLS_SHARED_MEMORY: Crime = Crime {
    number: 52,
    name: "52-shared-memory",
    // Room for a response of eight times its memory.
    manifest: "max_response = \"256MiB\"\ntimeout = \"20s\"",
    invoke: Violation("mmap"),
    init: Some(Violation("mmap")),
    variants: &[variant("response", OutOfMemory, None)],
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::DEFAULT
};

/// Has the kernel use memory for it.
pub const FILLS_THE_KERNEL: Crime = Crime {
    number: 53,
    name: "53-kernel-memory",
    // Less than what the records of as many mappings as there may be take.
    manifest: "memory = \"8MiB\"\ntimeout = \"20s\"",
    invoke: Violation("pipe2"),
    init: Some(Violation("pipe2")),
    variants: &[variant("tables", OutOfMemory, None), variant("mappings", OutOfMemory, None)],
    defence: &[Layer::Seccomp, Layer::Groups],
    ..Crime::DEFAULT
};

/// What a ruleset comes to that is one too many.
const NO_MORE_RULESETS: &str = "landlock_create_ruleset: Too many open files";

/// Opens files until it has no descriptor left.
pub const EXHAUSTS_DESCRIPTORS: Crime = Crime {
    number: 54,
    name: "54-descriptors",
    invoke: Refused("open: Permission denied"),
    init: Some(Refused("open: Too many open files")),
    constructor: true,
    variants: &[
        variant(
            "keep",
            Refused("open: Permission denied"),
            Some(NotConfined("failed to create a ruleset: Too many open files (os error 24)")),
        ),
        variant("rulesets", Refused(NO_MORE_RULESETS), Some(Refused(NO_MORE_RULESETS))),
    ],
    defence: &[Layer::Limits],
    ..Crime::DEFAULT
};

/// Recurses until the stack is used up. The kernel's own guard ends it; the limit says only how far that is away.
pub const OVERFLOWS_THE_STACK: Crime = Crime {
    number: 55,
    name: "55-stack-overflow",
    invoke: Fault(SEGMENTATION_FAULT),
    init: Some(Fault(SEGMENTATION_FAULT)),
    constructor: true,
    ..Crime::DEFAULT
};

/// Steps over the guard of its stack.
pub const STEPS_OVER_THE_GUARD: Crime = Crime {
    number: 56,
    name: "56-alloca",
    invoke: Fault(SEGMENTATION_FAULT),
    init: Some(Fault(SEGMENTATION_FAULT)),
    constructor: true,
    ..Crime::DEFAULT
};

/// Writes to standard output without end.
pub const FLOODS_ITS_OUTPUT: Crime = Crime {
    number: 57,
    name: "57-stdout-flood",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Writes to standard output more than anybody keeps.
pub const WRITES_WHAT_NOBODY_READS: Crime = Crime {
    number: 58,
    name: "58-stdout-unread",
    manifest: "timeout = \"20s\"",
    invoke: Committed("512 KiB of output"),
    ..Crime::DEFAULT
};

/// Computes without end.
pub const LOOPS: Crime = Crime {
    number: 59,
    name: "59-busy-loop",
    manifest: SHORT,
    invoke: Timeout,
    // In init it takes the ten seconds of a load: see `bad_plugins`.
    init: None,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Sleeps for ever.
pub const SLEEPS: Crime = Crime {
    number: 60,
    name: "60-sleep",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Stops itself.
pub const STOPS: Crime = Crime {
    number: 61,
    name: "61-stop",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Copies a large body too often.
pub const COPIES_ITS_BODY: Crime = Crime {
    number: 62,
    name: "62-body-copies",
    body: 4 << 20,
    manifest: "timeout = \"20s\"",
    invoke: OutOfMemory,
    defence: &[Layer::Groups, Layer::Limits],
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &BOMBS_MEMORY,
    &FILLS_SHARED_MEMORY,
    &FILLS_THE_KERNEL,
    &EXHAUSTS_DESCRIPTORS,
    &OVERFLOWS_THE_STACK,
    &STEPS_OVER_THE_GUARD,
    &FLOODS_ITS_OUTPUT,
    &WRITES_WHAT_NOBODY_READS,
    &LOOPS,
    &SLEEPS,
    &STOPS,
    &COPIES_ITS_BODY,
];
