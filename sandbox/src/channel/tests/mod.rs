//! Both ends of a channel in one process.

mod exchange;
mod hostile;
mod large;
mod races;
mod wakes;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;

use hairtrigger_abi::raw::OK;
use proptest::prelude::*;

use super::layout::ReplyDescriptor;
use super::pair::*;
use super::region::Region;
use super::{DaemonEnd, Geometry, Posted, RequestView, WorkerDescriptors, WorkerEnd};
use crate::limits::CHANNEL_DEPTH;

/// Sequence numbers to start at: the first, and some from which they soon wrap.
fn start() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), u32::MAX - 200..=u32::MAX]
}
