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

const GEOMETRY: Geometry = Geometry { max_request: 40_000, max_response: 50_000 };

fn pair() -> Pair {
    pair_of(GEOMETRY)
}

/// A channel that has served `sequence` requests; 0, or many.
fn pair_at(sequence: u32) -> Pair {
    let mut pair = pair();
    start_at(&mut pair, sequence);
    pair
}

/// Takes a reply that must be there and returns its body.
fn take(daemon: &mut DaemonEnd) -> Vec<u8> {
    let mut body = Vec::new();
    daemon.take_reply().unwrap().expect("a reply").body.copy_to(&mut body);
    daemon.done_with_reply();
    body
}

fn post(daemon: &mut DaemonEnd, body: &[u8]) {
    assert_ne!(daemon.post(&view(body)), Posted::Full);
}
