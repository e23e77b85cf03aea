//! A hostile worker's end that writes while the daemon's end reads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use super::super::layout::{REPLY_BODY, REPLY_HEADERS, REVOKED, Verdict};
use super::*;
use crate::channel::ProtocolViolation;

/// How long two threads race in a test; longer, if on a busy machine they have not met often enough by then.
const RACE: Duration = Duration::from_secs(1);
const RACE_AT_MOST: Duration = Duration::from_secs(60);
/// Enough of each of the things that a race must have seen happen.
const OFTEN: u32 = 100;

/// Runs `attack` beside `defend` until time is up and `defend` says that it has seen enough.
fn race(mut attack: impl FnMut(&mut u64) + Send, mut defend: impl FnMut() -> bool) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            let mut random = 0x5EED_u64;
            while !over.load(Ordering::Relaxed) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                attack(&mut random);
            }
        });
        /// Also when `defend` panics, so that the scope ends.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(over);
        let began = Instant::now();
        loop {
            let enough = defend();
            let lasted = began.elapsed();
            if (enough && lasted >= RACE) || lasted >= RACE_AT_MOST {
                break;
            }
        }
    });
}

/// The worker flips lengths, counts, places, encoded lengths and bodies while the daemon reads them.
#[test]
fn what_changes_while_it_is_read_is_validated_as_it_was_copied() {
    let mut pair = pair();
    let (region, read_only) = (forge(&pair), requests(&pair));
    let target = AtomicU32::new(0);
    let target_tag = AtomicU64::new(0);
    let (target, target_tag) = (&target, &target_tag);
    let Pair { daemon, .. } = &mut pair;
    let (mut taken, mut violations) = (0_u32, 0_u32);
    let posted = |daemon: &mut DaemonEnd| {
        post(daemon, b"");
        let sequence = daemon.last_posted();
        target_tag.store(tag(&read_only, sequence), Ordering::Release);
        target.store(sequence, Ordering::Release);
    };
    posted(daemon);
    let attack = move |random: &mut u64| {
        let sequence = target.load(Ordering::Acquire);
        let slot = reply_slot(&region, sequence);
        let bit = |at: u32| *random >> at & 1 != 0;
        slot.tag.store(target_tag.load(Ordering::Acquire), Ordering::Relaxed);
        slot.verdict.store(Verdict::Returned as u32, Ordering::Relaxed);
        slot.status.store(if bit(0) && bit(1) { 20_000 } else { 200 }, Ordering::Relaxed);
        slot.body_len.store(if bit(2) && bit(3) { u64::MAX } else { 1000 }, Ordering::Relaxed);
        slot.in_slab.store(u32::from(bit(4)), Ordering::Relaxed);
        slot.headers_len.store(if bit(5) { 7 } else { 14 }, Ordering::Relaxed);
        slot.header_count.store(if bit(6) { 1 } else { 2 }, Ordering::Relaxed);
        // SAFETY: an aligned word of the headers' place, which the test treats as bytes only.
        let lengths: &AtomicU32 = unsafe { region.atomics(Geometry::slot(sequence) + REPLY_HEADERS) };
        lengths.store(if bit(7) { 0x0002_0001 } else { u32::MAX }, Ordering::Relaxed);
        // SAFETY: as before, in the body's place.
        let body: &AtomicU64 = unsafe { region.atomics(Geometry::slot(sequence) + REPLY_BODY) };
        body.store(*random, Ordering::Relaxed);
        slot.sequence.store(sequence, Ordering::Release);
    };
    race(attack, || {
        let done = match daemon.take_reply() {
            Ok(None) => false,
            Err(ProtocolViolation(what)) => {
                assert_ne!(what, "a reply out of sequence");
                violations += 1;
                false
            }
            Ok(Some(reply)) => {
                let mut body = vec![1; 3];
                reply.body.copy_to(&mut body);
                assert_eq!(body.len(), 3 + 1000);
                let fields: Vec<_> = reply.headers.collect();
                assert!(matches!(fields.len(), 1 | 2));
                let length: usize = fields.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
                assert!(matches!(length, 7 | 14));
                true
            }
        };
        if done {
            daemon.done_with_reply();
            taken += 1;
            posted(daemon);
        }
        taken.min(violations) > OFTEN
    });
    assert!(taken.min(violations) > OFTEN, "both happened: {taken} taken, {violations} refused");
}

/// The worker rewrites its claim while the daemon takes back.
#[test]
fn claims_that_change_meanwhile_cost_only_the_worker() {
    let mut pair = pair();
    let (region, answers, read_only) = (forge(&pair), forge(&pair), requests(&pair));
    let posted = AtomicU32::new(0);
    let posted = &posted;
    let Pair { daemon, .. } = &mut pair;
    let (mut some, mut refused) = (0_u32, 0_u32);
    let attack = move |random: &mut u64| {
        let near = u64::from(posted.load(Ordering::Relaxed)).wrapping_add(*random % 8).wrapping_sub(5);
        let mark = if *random & 0x700 == 0 { REVOKED } else { 0 };
        reply_control(&region).claim.store(near | mark, Ordering::SeqCst);
    };
    race(attack, || {
        if daemon.post(&view(b"")) != Posted::Full {
            posted.store(daemon.last_posted(), Ordering::Relaxed);
        }
        let before = daemon.under_way();
        match daemon.revoke() {
            Ok(kept) => {
                assert!(kept <= before);
                some += u32::from(kept < before);
            }
            Err(_) => refused += 1,
        }
        assert!(daemon.under_way() <= before);
        let _ = daemon.begun();
        // It answers meanwhile, so that there is room for more.
        while daemon.under_way() > 4 {
            let oldest = daemon.last_posted().wrapping_sub(daemon.under_way()).wrapping_add(1);
            flawless(&read_only, &answers, oldest);
            assert!(daemon.take_reply().unwrap().is_some());
            daemon.done_with_reply();
        }
        some.min(refused) > OFTEN
    });
    assert!(some.min(refused) > OFTEN, "both happened: {some} taken back, {refused} refused");
}
