//! Crimes 79 to 87: what a worker may do to its channel.

use super::Expected::{Answered, Committed, Fault, ProtocolViolation, Refused, Violation};
use super::{Crime, Expected, Layer, Variant};

const fn deed(deed: &'static str, invoke: Expected) -> Variant {
    Variant { deed, invoke, init: None }
}

const BEYOND: Expected = ProtocolViolation("a reply longer than its room");
const FIELDS: Expected = ProtocolViolation("a reply with malformed header fields");
const MANY: Expected = ProtocolViolation("a reply with too many header fields");
const TAG: Expected = ProtocolViolation("a reply with a foreign tag");
const SEQUENCE: Expected = ProtocolViolation("a reply out of sequence");
const ACCESS: Expected = Fault("SIGSEGV (an invalid memory access or a stack overflow)");

/// Every request of a worker's goes through one channel, one after the other.
const ONE_WORKER: &str = "concurrency.max = 1";

/// Says that its reply is longer than its room, or empty.
pub const LENGTHS: Crime = Crime {
    number: 79,
    name: "79-lengths",
    manifest: "max_response = \"4KiB\"",
    invoke: BEYOND,
    variants: &[
        deed("minus-one", BEYOND),
        deed("two-to-the-32", BEYOND),
        deed("wraps", BEYOND),
        deed("beyond-the-slab", BEYOND),
        deed("head", MANY),
        deed("zero", Answered("")),
    ],
    ..Crime::DEFAULT
};

/// Encodes header fields that lie outside their room or reach into each other.
pub const OFFSETS: Crime = Crime {
    number: 80,
    name: "80-offsets",
    invoke: FIELDS,
    variants: &[
        deed("into-the-body", FIELDS),
        deed("overlap", FIELDS),
        deed("one-more", FIELDS),
        deed("one-left", FIELDS),
        deed("trailers-beyond", FIELDS),
        deed("count-wraps", MANY),
    ],
    ..Crime::DEFAULT
};

/// Changes a reply while it is read. What comes of it is chance, within the bounds of [`DOUBLE_FETCH_REFUSED`].
pub const DOUBLE_FETCH: Crime = Crime {
    number: 81,
    name: "81-double-fetch",
    manifest: "concurrency.provisioned = 3\nconcurrency.max = 3",
    invoke: BEYOND,
    ..Crime::DEFAULT
};

/// What may be said of it, if it is refused.
pub const DOUBLE_FETCH_REFUSED: &[Expected] =
    &[BEYOND, FIELDS, ProtocolViolation("a reply with a status outside 200 to 599")];

/// Gives an old reply once more.
pub const REPLAY: Crime = Crime {
    number: 82,
    name: "82-replay",
    manifest: ONE_WORKER,
    invoke: TAG,
    variants: &[deed("as-it-was", SEQUENCE)],
    ..Crime::DEFAULT
};

/// Answers with a tag or a sequence number that no request had.
pub const FORGED: Crime = Crime {
    number: 83,
    name: "83-forged",
    invoke: TAG,
    variants: &[deed("no-tag", TAG), deed("next", SEQUENCE), deed("far", SEQUENCE)],
    ..Crime::DEFAULT
};

/// Answers the next request before it is asked: it is that one which ends as [`TOO_EARLY_NEXT`] says.
pub const TOO_EARLY: Crime = Crime {
    number: 84,
    name: "84-too-early",
    manifest: ONE_WORKER,
    invoke: Committed("answered the next request"),
    variants: &[deed("told", Committed("answered the next request"))],
    ..Crime::DEFAULT
};

/// See [`TOO_EARLY`].
pub const TOO_EARLY_NEXT: Expected = TAG;

/// Lets the numbers jump that say where it is.
pub const JUMPS: Crime = Crime {
    number: 85,
    name: "85-jumps",
    manifest: ONE_WORKER,
    invoke: SEQUENCE,
    variants: &[deed("back", SEQUENCE)],
    ..Crime::DEFAULT
};

/// Its last deed, which is noticed when something waits behind it.
pub const CLAIMS: Variant = deed("claims", ProtocolViolation("a claim on a request that was not posted"));

/// Takes pages and files away, and writes what it can only read.
pub const TAKES_AWAY: Crime = Crime {
    number: 86,
    name: "86-takes-it-away",
    invoke: Violation("madvise"),
    variants: &[
        deed("drops", Committed("madvise")),
        deed("descriptors", Refused("lseek: Bad file descriptor")),
        deed("truncates", Violation("ftruncate")),
        deed("punches", Violation("fallocate")),
        deed("unmaps", ACCESS),
        deed("wants-to-write", Refused("mprotect: Permission denied")),
        deed("writes", ACCESS),
    ],
    defence: &[Layer::Seccomp],
    ..Crime::DEFAULT
};

/// Jams the bell, and wakes whoever sleeps, for nothing.
pub const BELL: Crime = Crime {
    number: 87,
    name: "87-bell",
    invoke: Committed("write"),
    variants: &[deed("storm", Committed("rang")), deed("wakes", Committed("woke nobody"))],
    ..Crime::DEFAULT
};

/// The chapter.
pub const CRIMES: &[&Crime] =
    &[&LENGTHS, &OFFSETS, &DOUBLE_FETCH, &REPLAY, &FORGED, &TOO_EARLY, &JUMPS, &TAKES_AWAY, &BELL];
