//! Both ends of a channel in one process, for tests and the fuzzer.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;

use hairtrigger_abi::raw::{Bytes, OK};

use super::layout::{ReplyControl, ReplyDescriptor, RequestDescriptor, Verdict};
use super::region::Region;
use super::{DaemonEnd, Geometry, RequestView, WorkerDescriptors, WorkerEnd};
use crate::limits::CHANNEL_DEPTH;

/// A channel. The worker's end knows its bell by number only: keep the descriptors where it may ring.
pub(super) struct Pair {
    pub(super) daemon: DaemonEnd,
    pub(super) worker: WorkerEnd,
    pub(super) descriptors: WorkerDescriptors,
}

pub(super) fn pair_of(geometry: Geometry) -> Pair {
    let (daemon, descriptors) = DaemonEnd::create(geometry).unwrap();
    let (request, reply) = (descriptors.request.as_fd(), descriptors.reply.as_fd());
    let worker = WorkerEnd::map(geometry, request, reply, descriptors.bell.as_raw_fd()).unwrap();
    Pair { daemon, worker, descriptors }
}

/// As if it had served `sequence` requests; 0, or many.
pub(super) fn start_at(pair: &mut Pair, sequence: u32) {
    pair.daemon.start_at(sequence);
    pair.worker.start_at(sequence);
    if sequence != 0 {
        // Every slot holds the reply that it was used for last. One never used would look as if it held the
        // reply to request 0, which comes again when the numbers wrap.
        let region = forge(pair);
        for back in 0..CHANNEL_DEPTH {
            let used = sequence.wrapping_sub(back);
            reply_slot(&region, used).sequence.store(used, Ordering::Release);
        }
    }
}

pub(super) fn reply_slot(region: &Region, sequence: u32) -> &ReplyDescriptor {
    // SAFETY: `ReplyDescriptor` consists of atomics; slots begin at a page.
    unsafe { region.atomics(Geometry::slot(sequence)) }
}

pub(super) fn reply_control(region: &Region) -> &ReplyControl {
    // SAFETY: `ReplyControl` consists of atomics and lies at the start of a page.
    unsafe { region.atomics(0) }
}

/// A second map of the reply region, as a hostile worker has it.
pub(super) fn forge(pair: &Pair) -> Region {
    Region::map(pair.descriptors.reply.as_fd(), pair.daemon.geometry().reply_region(), true).unwrap()
}

/// The tag of the request, as the worker can read it.
pub(super) fn tag(requests: &Region, sequence: u32) -> u64 {
    // SAFETY: `RequestDescriptor` consists of atomics; slots begin at a page.
    let slot: &RequestDescriptor = unsafe { requests.atomics(Geometry::slot(sequence)) };
    slot.tag.load(Ordering::Relaxed)
}

pub(super) fn requests(pair: &Pair) -> Region {
    Region::map(pair.descriptors.request.as_fd(), pair.daemon.geometry().request_region(), false).unwrap()
}

/// Writes a flawless, empty reply.
pub(super) fn flawless(requests: &Region, region: &Region, sequence: u32) {
    let slot = reply_slot(region, sequence);
    slot.verdict.store(Verdict::Returned as u32, Ordering::Relaxed);
    slot.tag.store(tag(requests, sequence), Ordering::Relaxed);
    slot.body_len.store(0, Ordering::Relaxed);
    slot.result.store(0, Ordering::Relaxed);
    slot.status.store(200, Ordering::Relaxed);
    slot.headers_len.store(0, Ordering::Relaxed);
    slot.header_count.store(0, Ordering::Relaxed);
    slot.in_slab.store(0, Ordering::Relaxed);
    slot.trailer_count.store(0, Ordering::Relaxed);
    slot.sequence.store(sequence, Ordering::Release);
}

pub(super) fn view(body: &[u8]) -> RequestView<'_> {
    RequestView {
        method: b"POST",
        path: b"/",
        query: b"",
        headers: b"",
        header_count: 0,
        trailer_count: 0,
        body,
        invocation: b"0123456789abcdef0123456789abcdef",
        deadline_ns: 7,
        timed: false,
    }
}

pub(super) fn bytes(of: Bytes) -> Vec<u8> {
    // SAFETY: the request region stays mapped and unchanged while its reader is used.
    unsafe { std::slice::from_raw_parts(of.data, of.len) }.to_vec()
}

/// Begins the next request, which must wait, and answers it with its own body, padded by a letter to at
/// least `length` bytes. Returns the body and whether the reply took the slab.
pub(super) fn echo(worker: &mut WorkerEnd, length: usize) -> (Vec<u8>, bool) {
    let (reader, mut reply) = worker.parts();
    let request = reader.view(&mut Vec::new());
    let body = bytes(request.body);
    let mut answer = body.clone();
    answer.resize(length.max(body.len()), b'x');
    let to = reply.reserve(answer.len());
    assert!(!to.is_null());
    // SAFETY: `reserve` has given this much room.
    unsafe { std::ptr::copy_nonoverlapping(answer.as_ptr(), to, answer.len()) };
    assert_eq!(reply.commit(answer.len()), OK);
    let used_slab = reply.publish(0);
    worker.published(used_slab);
    (body, used_slab)
}
