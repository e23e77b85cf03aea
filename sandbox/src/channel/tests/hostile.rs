//! A worker's end that breaks the rules: the daemon's end refuses it, finds nothing, or copies garbage that
//! it promised nothing about; it never panics and never leaves its regions.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;

use proptest::collection::vec;

use super::super::layout::{PAGE, REPLY_HEADERS, REPLY_INLINE, REVOKED};
use super::*;
use crate::channel::ProtocolViolation;
use crate::limits::{CHANNEL_SLOT, MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};

/// What the daemon says to a flawless reply that `spoil` has spoilt.
fn spoilt(spoil: impl FnOnce(&ReplyDescriptor, &Region)) -> Result<usize, ProtocolViolation> {
    let mut pair = pair();
    post(&mut pair.daemon, b"body");
    let region = forge(&pair);
    flawless(&requests(&pair), &region, 1);
    spoil(reply_slot(&region, 1), &region);
    let reply = pair.daemon.take_reply()?.expect("it looks like a reply");
    let mut body = Vec::new();
    reply.body.copy_to(&mut body);
    Ok(body.len())
}

#[test]
fn lengths_beyond_their_room_are_refused() {
    assert_eq!(spoilt(|_, _| {}), Ok(0), "otherwise nothing below says anything");
    let inline = REPLY_INLINE as u64;
    let longer = Err(ProtocolViolation("a reply longer than its room"));
    for (in_slab, most) in [(0, inline), (1, GEOMETRY.max_response), (u32::MAX, GEOMETRY.max_response)] {
        let body = |length| {
            spoilt(|slot, _| {
                slot.in_slab.store(in_slab, Ordering::Relaxed);
                slot.body_len.store(length, Ordering::Relaxed);
            })
        };
        assert_eq!(body(most), Ok(usize::try_from(most).unwrap()));
        for length in [most + 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX - 4096, u64::MAX] {
            assert_eq!(body(length), longer, "{length}");
        }
    }
}

#[test]
fn header_fields_that_do_not_add_up_are_refused() {
    let most = u32::try_from(MAX_RESPONSE_HEAD).unwrap();
    let fields = |length: u32, count: u32, encoded: &[u8]| {
        spoilt(|slot, region| {
            slot.headers_len.store(length, Ordering::Relaxed);
            slot.header_count.store(count, Ordering::Relaxed);
            let to = region.at(Geometry::slot(1) + REPLY_HEADERS, encoded.len());
            // SAFETY: `to` has room for these bytes by `Region::at`.
            unsafe { std::ptr::copy_nonoverlapping(encoded.as_ptr(), to.as_ptr(), encoded.len()) };
        })
    };
    let more = u32::try_from(MAX_RESPONSE_HEADERS).unwrap() + 1;
    let field = [1, 0, 2, 0, b'n', b'v', b'v'];
    assert_eq!(fields(7, 1, &field), Ok(0));
    for (length, count) in [(most + 1, 1), (u32::MAX, 1), (7, more), (7, u32::MAX)] {
        let refused = fields(length, count, &field);
        assert_eq!(
            refused,
            Err(ProtocolViolation("a reply with too many header fields")),
            "{length} {count}"
        );
    }
    // Too few, too many, cut short, trailing bytes, lengths that point outside.
    let far = [0xFF, 0xFF, 0xFF, 0xFF, b'n', b'v', b'v'];
    for (length, count, encoded) in [
        (7, 0, field),
        (7, 2, field),
        (6, 1, field),
        (3, 1, field),
        (8, 1, field),
        (7, 1, far),
        (most, 1, far),
    ] {
        let refused = fields(length, count, &encoded);
        assert_eq!(
            refused,
            Err(ProtocolViolation("a reply with malformed header fields")),
            "{length} {count} {encoded:?}"
        );
    }
    // Trailers are fields too.
    let trailed = |header_count: u32, trailer_count: u32| {
        spoilt(|slot, region| {
            slot.headers_len.store(14, Ordering::Relaxed);
            slot.header_count.store(header_count, Ordering::Relaxed);
            slot.trailer_count.store(trailer_count, Ordering::Relaxed);
            let to = region.at(Geometry::slot(1) + REPLY_HEADERS, 14);
            // SAFETY: `to` has room for these bytes by `Region::at`.
            unsafe { std::ptr::copy_nonoverlapping([field, field].concat().as_ptr(), to.as_ptr(), 14) };
        })
    };
    for (headers, trailers) in [(2, 0), (1, 1), (0, 2)] {
        assert_eq!(trailed(headers, trailers), Ok(0));
    }
    for (headers, trailers) in [(1, 0), (0, 1), (1, 2), (2, 1), (0, 0), (3, 0)] {
        let expected = ProtocolViolation("a reply with malformed header fields");
        assert_eq!(trailed(headers, trailers), Err(expected), "{headers} {trailers}");
    }
    for (headers, trailers) in [(1, more - 1), (more - 1, 1), (u32::MAX, 1), (1, u32::MAX)] {
        let expected = ProtocolViolation("a reply with too many header fields");
        assert_eq!(trailed(headers, trailers), Err(expected), "{headers} {trailers}");
    }
    // Fields of no bytes, as many as there may be.
    assert_eq!(fields(4 * 64, 64, &[0; 256]), Ok(0));
}

#[test]
fn unknown_verdicts_and_statuses_are_refused() {
    for verdict in [0, 3, u32::MAX] {
        let refused = spoilt(|slot, _| slot.verdict.store(verdict, Ordering::Relaxed));
        assert_eq!(refused, Err(ProtocolViolation("a reply with an unknown verdict")), "{verdict}");
    }
    for status in [0, 199, 600, 65_536 + 200, u32::MAX] {
        let refused = spoilt(|slot, _| slot.status.store(status, Ordering::Relaxed));
        let expected = ProtocolViolation("a reply with a status outside 200 to 599");
        assert_eq!(refused, Err(expected), "{status}");
    }
}

#[test]
fn forged_tags_and_sequences_are_refused() {
    let foreign = Err(ProtocolViolation("a reply with a foreign tag"));
    for change in [1, 1 << 63, u64::MAX] {
        let flip = |slot: &ReplyDescriptor| slot.tag.fetch_xor(change, Ordering::Relaxed);
        assert_eq!(
            spoilt(|slot, _| {
                flip(slot);
            }),
            foreign
        );
    }
    // Jumps ahead and aside, also by whole rounds; and behind, to what this slot cannot have held.
    for sequence in [2, 64, 1 + 64, 1 + 640, 1 << 31, u32::MAX] {
        let mut pair = pair();
        post(&mut pair.daemon, b"");
        let region = forge(&pair);
        flawless(&requests(&pair), &region, 1);
        reply_slot(&region, 1).sequence.store(sequence, Ordering::Release);
        assert!(!pair.daemon.reply_waits());
        let refused = pair.daemon.take_reply().map(|reply| reply.is_some());
        assert_eq!(refused, Err(ProtocolViolation("a reply out of sequence")), "{sequence}");
    }
}

#[test]
fn old_replies_are_not_taken_again() {
    let mut pair = pair();
    for _ in 0..CHANNEL_DEPTH {
        post(&mut pair.daemon, b"old");
        assert!(pair.worker.claim());
        echo(&mut pair.worker, 0);
        take(&mut pair.daemon);
    }
    post(&mut pair.daemon, b"new");
    // The slot as it was left: no reply. The same with the number that is awaited: one with an old tag.
    assert!(!pair.daemon.reply_waits() && pair.daemon.take_reply().unwrap().is_none());
    let region = forge(&pair);
    reply_slot(&region, CHANNEL_DEPTH + 1).sequence.store(CHANNEL_DEPTH + 1, Ordering::Release);
    assert_eq!(pair.daemon.take_reply().unwrap_err(), ProtocolViolation("a reply with a foreign tag"));
}

#[test]
fn replies_before_their_requests_are_not_taken() {
    let mut pair = pair();
    let region = forge(&pair);
    flawless(&requests(&pair), &region, 1);
    assert!(!pair.daemon.reply_waits() && !pair.daemon.listen());
    assert!(pair.daemon.take_reply().unwrap().is_none(), "nothing was asked");
    post(&mut pair.daemon, b"");
    assert_eq!(pair.daemon.take_reply().unwrap_err(), ProtocolViolation("a reply with a foreign tag"));
}

/// A worker knows every tag that it was given. None of them tells the next.
#[test]
fn the_tag_of_a_request_to_come_cannot_be_told() {
    let mut pair = pair();
    let (region, read_only) = (forge(&pair), requests(&pair));
    let mut seen = Vec::new();
    for _ in 0..CHANNEL_DEPTH / 2 {
        post(&mut pair.daemon, b"");
        assert!(pair.worker.claim());
        seen.push(tag(&read_only, pair.daemon.last_posted()));
        echo(&mut pair.worker, 0);
        take(&mut pair.daemon);
    }
    let last = seen[seen.len() - 1];
    let steps: Vec<u64> = seen.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    assert!(steps.windows(2).all(|two| two[0] != two[1]), "each as far from the one before");
    let next = pair.daemon.last_posted().wrapping_add(1);
    flawless(&read_only, &region, next);
    reply_slot(&region, next).tag.store(last.wrapping_add(steps[0]), Ordering::Relaxed);
    post(&mut pair.daemon, b"");
    assert_eq!(pair.daemon.take_reply().unwrap_err(), ProtocolViolation("a reply with a foreign tag"));
}

#[test]
fn replies_to_what_was_taken_back_are_not_looked_at() {
    let mut pair = pair();
    for _ in 0..3 {
        post(&mut pair.daemon, b"");
    }
    assert!(pair.worker.claim());
    assert_eq!(pair.daemon.revoke(), Ok(1));
    let region = forge(&pair);
    for sequence in 1..=3 {
        flawless(&requests(&pair), &region, sequence);
    }
    assert!(pair.daemon.take_reply().unwrap().is_some());
    pair.daemon.done_with_reply();
    assert!(!pair.daemon.reply_waits() && pair.daemon.take_reply().unwrap().is_none());
    assert_eq!(pair.daemon.under_way(), 0);
}

/// MADV_REMOVE by the worker zeroes the region under the daemon.
#[test]
fn a_region_of_zeros_is_no_reply() {
    for start in [0, u32::MAX] {
        let mut pair = pair_at(start);
        post(&mut pair.daemon, b"");
        let region = forge(&pair);
        flawless(&requests(&pair), &region, start.wrapping_add(1));
        let length = usize::try_from(GEOMETRY.reply_region()).unwrap();
        // SAFETY: the range is this map's own; what lies in it are atomics and opaque bytes.
        let done = unsafe { libc::madvise(region.at(0, 0).as_ptr().cast(), length, libc::MADV_REMOVE) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
        let replied = matches!(pair.daemon.take_reply(), Ok(Some(_)));
        assert!(!replied);
        let _ = pair.daemon.revoke();
        pair.daemon.post(&view(b""));
    }
}

/// The errno of a call that must fail.
fn refused(result: libc::c_int) -> Option<i32> {
    assert_eq!(result, -1, "it was allowed");
    io::Error::last_os_error().raw_os_error()
}

#[test]
fn no_end_can_change_the_size_of_a_region() {
    let pair = pair();
    let reply = pair.descriptors.reply.as_raw_fd();
    for length in [0, 4096, 1 << 30] {
        // SAFETY: takes no pointers.
        assert_eq!(refused(unsafe { libc::ftruncate(reply, length) }), Some(libc::EPERM));
    }
    // SAFETY: takes no pointers.
    let seals = unsafe { libc::fcntl(reply, libc::F_ADD_SEALS, libc::F_SEAL_WRITE) };
    assert_eq!(refused(seals), Some(libc::EPERM), "the daemon's own writes would fail");
    let request = pair.descriptors.request.as_raw_fd();
    // SAFETY: takes no pointers.
    assert_eq!(refused(unsafe { libc::ftruncate(request, 0) }), Some(libc::EINVAL), "not open for writing");
}

#[test]
fn a_worker_cannot_write_its_requests() {
    let pair = pair();
    let request: BorrowedFd<'_> = pair.descriptors.request.as_fd();
    let error = Region::map(request, GEOMETRY.request_region(), true).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    let region = requests(&pair);
    let start = region.at(0, PAGE).as_ptr();
    // SAFETY: the page belongs to the map just made; more rights than it has are refused.
    let more = unsafe { libc::mprotect(start.cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(refused(more), Some(libc::EACCES));
    // SAFETY: as before; a map that cannot be written refuses to have holes punched, too.
    let removed = unsafe { libc::madvise(start.cast(), PAGE, libc::MADV_REMOVE) };
    assert_eq!(refused(removed), Some(libc::EACCES));
    // SAFETY: one byte is read from a static.
    let written = unsafe { libc::pwrite(request.as_raw_fd(), b"!".as_ptr().cast(), 1, 0) };
    assert_eq!(refused(i32::try_from(written).unwrap()), Some(libc::EBADF));
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes no pointers.
    let punched = unsafe { libc::fallocate(request.as_raw_fd(), punch, 0, 4096) };
    assert_eq!(refused(punched), Some(libc::EBADF));
}

#[test]
fn a_jammed_bell_and_a_storm_of_rings_are_no_replies() {
    let mut pair = pair();
    let full = (u64::MAX - 1).to_ne_bytes();
    let bell = pair.descriptors.bell.as_raw_fd();
    // SAFETY: eight bytes are read from `full`.
    assert_eq!(unsafe { libc::write(bell, full.as_ptr().cast(), 8) }, 8);
    assert!(!pair.daemon.listen());
    post(&mut pair.daemon, b"b");
    assert!(pair.worker.claim());
    // Does not block, though the counter is full.
    echo(&mut pair.worker, 0);
    assert_eq!(take(&mut pair.daemon), b"b");
    crate::sys::silence(pair.daemon.bell());
    for _ in 0..1000 {
        crate::sys::ring(pair.descriptors.bell.as_fd());
        assert!(!pair.daemon.listen() && pair.daemon.take_reply().unwrap().is_none());
    }
}

#[test]
fn claims_that_cannot_be_are_refused() {
    let claimed = |claim: u64| {
        let mut pair = pair();
        for _ in 0..3 {
            post(&mut pair.daemon, b"");
        }
        assert!(pair.worker.claim());
        echo(&mut pair.worker, 0);
        take(&mut pair.daemon);
        reply_control(&forge(&pair)).claim.store(claim, Ordering::SeqCst);
        (pair.daemon.revoke(), pair.daemon.under_way())
    };
    let refused = Err(ProtocolViolation("a claim on a request that was not posted"));
    // Requests 2 and 3 are under way.
    for (claim, kept, left) in [(1, Ok(0), 0), (2, Ok(1), 2), (3, Ok(2), 2)] {
        assert_eq!(claimed(claim), (kept, left), "{claim}");
    }
    for claim in [0, 4, 5, 1 << 31, u64::from(u32::MAX), 1 << 33, (1 << 33) + 2, 1 << 63] {
        assert_eq!(claimed(claim), (refused, 2), "{claim}");
    }
    for marked in [REVOKED, REVOKED + 2, u64::MAX] {
        assert_eq!(claimed(marked), (Ok(2), 2), "a mark that nobody has set takes nothing back");
    }
}

proptest! {
    /// Whatever lies in the reply region, before and between the daemon's steps.
    #[test]
    fn arbitrary_bytes_in_the_reply_region_never_panic(
        start in start(),
        posts in 0..70_usize,
        rounds in vec((vec(any::<u64>(), 64), any::<u64>(), 0..6_u8), 1..6),
        plausible in any::<[bool; 6]>(),
    ) {
        let mut pair = pair_at(start);
        let (region, read_only) = (forge(&pair), requests(&pair));
        for _ in 0..posts {
            pair.daemon.post(&view(b"x"));
        }
        for (words, claim, small) in rounds {
            let low = u32::try_from(claim >> 32).unwrap();
            let head = u32::try_from(MAX_RESPONSE_HEAD).unwrap();
            let words_at = |offset: usize, count: usize| {
                for at in 0..count {
                    // SAFETY: an aligned word of the region; all of it is atomics or opaque bytes.
                    let word: &AtomicU64 = unsafe { region.atomics(offset + 8 * at) };
                    word.store(words[at % words.len()].rotate_left(u32::try_from(at / words.len()).unwrap()), Ordering::Relaxed);
                }
            };
            words_at(0, 8);
            words_at(PAGE, CHANNEL_DEPTH as usize * CHANNEL_SLOT / 8);
            words_at(Geometry::slab(), usize::try_from(GEOMETRY.max_response).unwrap() / 8);
            let oldest = pair.daemon.last_posted().wrapping_sub(pair.daemon.under_way()).wrapping_add(1);
            let slot = reply_slot(&region, oldest);
            // Some fields as they must be, so that those behind them in the validation are reached.
            if plausible[0] {
                slot.sequence.store(oldest, Ordering::Relaxed);
            }
            if plausible[1] {
                slot.tag.store(tag(&read_only, oldest), Ordering::Relaxed);
            }
            if plausible[2] {
                slot.headers_len.store(low % (head + 2), Ordering::Relaxed);
                slot.header_count.store(u32::from(small), Ordering::Relaxed);
            }
            if plausible[3] {
                slot.body_len.store(claim % (GEOMETRY.max_response + 2), Ordering::Relaxed);
            }
            if plausible[4] {
                slot.verdict.store(u32::from(small), Ordering::Relaxed);
                slot.status.store(low % 700, Ordering::Relaxed);
            }
            if plausible[5] {
                let near = u64::from(oldest.wrapping_add(u32::from(small)).wrapping_sub(2));
                reply_control(&region).claim.store(near, Ordering::SeqCst);
            }
            let before = pair.daemon.under_way();
            if let Ok(Some(reply)) = pair.daemon.take_reply() {
                let mut body = Vec::new();
                reply.body.copy_to(&mut body);
                prop_assert!(body.len() as u64 <= GEOMETRY.max_response);
                prop_assert!(reply.headers.count() <= MAX_RESPONSE_HEADERS);
                pair.daemon.done_with_reply();
            }
            let kept = pair.daemon.revoke();
            prop_assert!(kept.is_err() || kept.is_ok_and(|kept| kept <= before));
            prop_assert!(pair.daemon.under_way() <= before);
            let _ = (pair.daemon.begun(), pair.daemon.listen(), pair.daemon.reply_waits());
            pair.daemon.post(&view(b"y"));
        }
    }
}
