//! The shared memory between a shard and one worker.
//!
//! Two sealed memory files: the *request region*, which the worker can only read, and the *reply region*,
//! which it can write and which is therefore hostile. Requests carry sequence numbers from 1; number `n`
//! uses slot `n % CHANNEL_DEPTH` of both regions, and replies come in order. Nothing that the daemon
//! decides by lies in the reply region: it reads a descriptor once, copies it, and validates the copy.
//!
//! Waking. The worker sleeps on the futex word `posted` of the request region and says so in `sleeping` of
//! the reply region (a hint, since it is hostile). The daemon asks to be rung through `bell` of the request
//! region before it sleeps; the worker rings the eventfd at most once for each value of `bell`.

mod daemon_end;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod layout;
#[cfg(any(test, fuzzing))]
mod pair;
mod region;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod worker_end;

pub(crate) use daemon_end::WorkerDescriptors;
pub use daemon_end::{DaemonEnd, Posted, Span};
pub use layout::Geometry;
pub(crate) use layout::{BELL_FD, REPLY_FD, REQUEST_FD};
pub(crate) use region::Region;
pub use reply::{Body, ProtocolViolation, Reply, ReplyHeaders, ReplyKind};
pub use request::RequestView;
pub(crate) use worker_end::{ReplyWriter, WorkerEnd};
