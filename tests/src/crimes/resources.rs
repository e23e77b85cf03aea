//! Crimes 51 to 62: memory, descriptors, output and time.

use super::Expected::{Fault, OutOfMemory, Refused, Timeout};
use super::{Crime, Layer};

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

/// Recurses until the stack is used up.
pub const OVERFLOWS_THE_STACK: Crime = Crime {
    number: 55,
    name: "55-stack-overflow",
    invoke: Fault(SEGMENTATION_FAULT),
    init: Some(Fault(SEGMENTATION_FAULT)),
    constructor: true,
    defence: &[Layer::Limits],
    ..Crime::DEFAULT
};

/// Computes without end.
pub const LOOPS: Crime = Crime {
    number: 59,
    name: "59-busy-loop",
    manifest: "timeout = \"300ms\"",
    invoke: Timeout,
    // In init it takes the ten seconds of a load: see `bad_plugins`.
    init: None,
    defence: &[Layer::Deadline],
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] = &[&BOMBS_MEMORY, &OVERFLOWS_THE_STACK, &LOOPS];
