//! Crimes 63 to 78: ways to end, and to break the contract.

use super::Expected::{Committed, Exited, Fault, ResponseTooLarge, Timeout, Violation};
use super::resources::SEGMENTATION_FAULT;
use super::{Crime, Layer, variant};

/// How an abort is told.
pub const ABORTED: &str = "SIGABRT (it aborted)";

/// What the crimes say that are to be ended by their time limit. A new worker starts in that time on a busy host, too.
pub(super) const SHORT: &str = "timeout = \"1s\"";

/// Exits with success instead of answering.
pub const EXITS: Crime = Crime {
    number: 63,
    name: "63-exit",
    invoke: Exited(0),
    init: Some(Exited(0)),
    constructor: true,
    start: true,
    ..Crime::DEFAULT
};

/// Aborts.
pub const ABORTS: Crime = Crime {
    number: 64,
    name: "64-abort",
    invoke: Fault(ABORTED),
    init: Some(Fault(ABORTED)),
    constructor: true,
    start: true,
    ..Crime::DEFAULT
};

/// Crashes in the handler of its crash, for ever.
pub const HANDLES_CRASHES_BY_CRASHING: Crime = Crime {
    number: 65,
    name: "65-segv-handler",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Masks and ignores every signal, and computes.
pub const MASKS_SIGNALS: Crime = Crime {
    number: 66,
    name: "66-mask-signals",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Lets a Rust panic leave `invoke`.
pub const PANICS_ACROSS_THE_ABI: Crime =
    Crime { number: 67, name: "67-panic", extension: "rs", invoke: Fault(ABORTED), ..Crime::DEFAULT };

/// Lets a C++ exception leave its entries.
pub const THROWS_ACROSS_THE_ABI: Crime = Crime {
    number: 67,
    name: "67-throw",
    extension: "cpp",
    invoke: Fault(ABORTED),
    init: Some(Fault(ABORTED)),
    constructor: true,
    start: true,
    ..Crime::DEFAULT
};

/// Leaves `invoke` by a jump.
pub const JUMPS_OUT: Crime = Crime {
    number: 68,
    name: "68-longjmp",
    invoke: Exited(0),
    init: Some(Exited(0)),
    start: true,
    ..Crime::DEFAULT
};

/// Exits through handlers that never return.
pub const HANGS_IN_EXIT_HANDLERS: Crime = Crime {
    number: 69,
    name: "69-exit-handlers",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Leaves a thread behind that changes the response.
pub const LEAVES_A_THREAD: Crime =
    Crime { constructor: true, ..Crime::denied(70, "70-leftover-thread", "clone") };

/// Sets signals that are to go off in other requests.
pub const SETS_ALARMS: Crime = Crime {
    constructor: true,
    start: true,
    variants: &[
        variant("interval", Violation("setitimer"), Some(Violation("setitimer"))),
        variant("timer", Violation("timer_create"), Some(Violation("timer_create"))),
    ],
    ..Crime::denied(71, "71-alarm", "alarm")
};

/// Tells in one request what another has told.
pub const KEEPS_STATE: Crime = Crime {
    number: 72,
    name: "72-state-between-requests",
    manifest: "concurrency.max = 1",
    invoke: Committed("kept "),
    variants: &[variant("tell", Committed("kept "), None)],
    ..Crime::DEFAULT
};

/// Leaves a thread behind in the template.
pub const STARTS_A_THREAD_IN_INIT: Crime =
    Crime { constructor: true, start: true, ..Crime::denied(73, "73-thread-in-init", "clone") };

/// Takes its time to be loaded.
pub const LOADS_SLOWLY: Crime =
    Crime { number: 74, name: "74-slow-init", invoke: Committed("loaded at last"), ..Crime::DEFAULT };

/// Hangs wherever it may.
pub const HANGS: Crime = Crime {
    number: 75,
    name: "75-hang",
    manifest: SHORT,
    invoke: Timeout,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// Crashes wherever it may.
pub const CRASHES: Crime = Crime {
    number: 76,
    name: "76-crash",
    invoke: Fault(SEGMENTATION_FAULT),
    init: Some(Fault(SEGMENTATION_FAULT)),
    constructor: true,
    start: true,
    ..Crime::DEFAULT
};

/// Answers with more than it may.
pub const ANSWERS_TOO_MUCH: Crime =
    Crime { number: 77, name: "77-huge-output", invoke: ResponseTooLarge("6MiB"), ..Crime::DEFAULT };

/// Closes its descriptors.
pub const CLOSES_DESCRIPTORS: Crime = Crime {
    number: 78,
    name: "78-close-descriptors",
    invoke: Committed("close_range"),
    variants: &[variant("die", Fault(ABORTED), None)],
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[
    &EXITS,
    &ABORTS,
    &HANDLES_CRASHES_BY_CRASHING,
    &MASKS_SIGNALS,
    &PANICS_ACROSS_THE_ABI,
    &THROWS_ACROSS_THE_ABI,
    &JUMPS_OUT,
    &HANGS_IN_EXIT_HANDLERS,
    &LEAVES_A_THREAD,
    &SETS_ALARMS,
    &KEEPS_STATE,
    &STARTS_A_THREAD_IN_INIT,
    &LOADS_SLOWLY,
    &HANGS,
    &CRASHES,
    &ANSWERS_TOO_MUCH,
    &CLOSES_DESCRIPTORS,
];
