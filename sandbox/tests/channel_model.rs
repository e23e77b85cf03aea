//! The orderings of the channel, tried in every interleaving and with every value that the memory model lets
//! a load return. The words, orderings and fences are those of `sandbox/src/channel/`, by the same names;
//! whoever changes them there changes them here. Futex and eventfd are a lock and a condition variable: a
//! lost wake is a deadlock, which the model reports.
//!
//! ```sh
//! RUSTFLAGS="--cfg channel_model" cargo test -p hairtrigger-sandbox --release --test channel_model
//! ```
//!
//! Not `--cfg loom`: flags reach every dependency, and some of them know that one as their own.

#![cfg(channel_model)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const REVOKED: u64 = 1 << 32;
/// Two slots: the third request uses the first one's again.
const DEPTH: u32 = 2;

struct Channel {
    // The request region.
    posted: AtomicU32,
    bell: AtomicU32,
    resume: AtomicU32,
    /// Payloads, written and read without atomics: the model reports two accesses that race.
    slots: [UnsafeCell<u32>; DEPTH as usize],
    // The reply region.
    sleeping: AtomicU32,
    claim: AtomicU64,
    replies: [AtomicU32; DEPTH as usize],
    // What the kernel keeps.
    futex: (Mutex<()>, Condvar),
    eventfd: (Mutex<u32>, Condvar),
}

fn slot(sequence: u32) -> usize {
    (sequence % DEPTH) as usize
}

impl Channel {
    fn new() -> Self {
        Self {
            posted: AtomicU32::new(0),
            bell: AtomicU32::new(0),
            resume: AtomicU32::new(0),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
            sleeping: AtomicU32::new(0),
            claim: AtomicU64::new(0),
            replies: [AtomicU32::new(0), AtomicU32::new(0)],
            futex: (Mutex::new(()), Condvar::new()),
            eventfd: (Mutex::new(0), Condvar::new()),
        }
    }

    fn futex_wait(&self, expected: u32) {
        let (lock, changed) = &self.futex;
        let held = lock.lock().unwrap();
        if self.posted.load(Ordering::Relaxed) == expected {
            drop(changed.wait(held).unwrap());
        }
    }

    fn futex_wake(&self) {
        drop(self.futex.0.lock().unwrap());
        self.futex.1.notify_one();
    }
}

/// `DaemonEnd`.
struct Daemon {
    channel: Arc<Channel>,
    posted: u32,
    taken: u32,
    bell_value: u32,
}

impl Daemon {
    fn new(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), posted: 0, taken: 0, bell_value: 1 }
    }

    fn post(&mut self, payload: u32) {
        assert!(self.posted - self.taken < DEPTH);
        let sequence = self.posted + 1;
        // SAFETY: the model itself checks that nobody else is at the slot.
        self.channel.slots[slot(sequence)].with_mut(|place| unsafe { *place = payload });
        self.posted = sequence;
        self.channel.posted.store(sequence, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.channel.sleeping.load(Ordering::Relaxed) != 0 {
            self.channel.futex_wake();
        }
    }

    fn reply_waits(&self) -> bool {
        let next = self.taken + 1;
        self.channel.replies[slot(next)].load(Ordering::Acquire) == next
    }

    fn listen(&mut self) -> bool {
        self.bell_value += 1;
        self.channel.bell.store(self.bell_value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.reply_waits()
    }

    /// Sleeps until the next reply is there, and takes it.
    fn take_reply(&mut self) {
        while !self.listen() {
            let (count, rung) = &self.channel.eventfd;
            let mut count = count.lock().unwrap();
            while *count == 0 {
                count = rung.wait(count).unwrap();
            }
            *count = 0;
        }
        self.channel.bell.store(0, Ordering::Relaxed);
        self.taken += 1;
    }

    /// How many the worker keeps, of those under way.
    fn revoke(&mut self) -> u32 {
        loop {
            let claim = &self.channel.claim;
            let seen = claim.load(Ordering::SeqCst);
            if seen & REVOKED != 0 {
                return self.posted - self.taken;
            }
            let kept = seen as u32 - self.taken;
            if kept == self.posted - self.taken {
                return kept;
            }
            self.channel.resume.store(self.posted, Ordering::Release);
            if claim.compare_exchange(seen, seen | REVOKED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return kept;
            }
        }
    }
}

/// `WorkerEnd`.
struct Worker {
    channel: Arc<Channel>,
    begun: u32,
    rung: u32,
}

impl Worker {
    fn new(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), begun: 0, rung: 0 }
    }

    fn request_waits(&self) -> bool {
        self.channel.posted.load(Ordering::Acquire) != self.begun
    }

    fn wait(&self) {
        while !self.request_waits() {
            self.channel.sleeping.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !self.request_waits() {
                self.channel.futex_wait(self.begun);
            }
            self.channel.sleeping.store(0, Ordering::Relaxed);
        }
    }

    fn claim(&mut self) -> bool {
        let (claim, from) = (&self.channel.claim, u64::from(self.begun));
        if claim.compare_exchange(from, from + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.begun += 1;
            return true;
        }
        let resume = self.channel.resume.load(Ordering::Acquire);
        claim.store(u64::from(resume), Ordering::SeqCst);
        self.begun = resume;
        false
    }

    /// Begins the next request and returns its payload.
    fn next(&mut self) -> u32 {
        loop {
            self.wait();
            if self.claim() {
                // SAFETY: as in `Daemon::post`.
                return self.channel.slots[slot(self.begun)].with(|place| unsafe { *place });
            }
        }
    }

    fn publish(&mut self) {
        self.channel.replies[slot(self.begun)].store(self.begun, Ordering::Release);
        fence(Ordering::SeqCst);
        let bell = self.channel.bell.load(Ordering::Relaxed);
        if bell != 0 && bell != self.rung {
            self.rung = bell;
            *self.channel.eventfd.0.lock().unwrap() += 1;
            self.channel.eventfd.1.notify_one();
        }
    }
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    // Three forced switches beside those at which a thread waits: more find nothing new and take hours.
    model.preemption_bound = Some(3);
    model.check(run);
}

#[test]
fn no_wake_of_the_worker_is_lost() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        let served = thread::spawn(move || [worker.next(), worker.next()]);
        daemon.post(10);
        daemon.post(20);
        assert_eq!(served.join().unwrap(), [10, 20]);
    });
}

#[test]
fn no_ring_of_the_bell_is_lost() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        daemon.post(10);
        daemon.post(20);
        let served = thread::spawn(move || {
            for _ in 0..2 {
                worker.next();
                worker.publish();
            }
        });
        daemon.take_reply();
        daemon.take_reply();
        served.join().unwrap();
    });
}

/// Two requests, taken back while the worker begins none, one or both; then one more in a slot used again.
#[test]
fn each_request_is_begun_or_taken_back() {
    model(|| {
        const LAST: u32 = 99;
        let channel = Arc::new(Channel::new());
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        let served = thread::spawn(move || {
            let mut begun = Vec::new();
            while begun.last() != Some(&LAST) {
                begun.push(worker.next());
                worker.publish();
            }
            begun
        });
        daemon.post(10);
        daemon.post(20);
        let kept = daemon.revoke();
        for _ in 0..kept {
            daemon.take_reply();
        }
        daemon.taken = daemon.posted;
        daemon.post(LAST);
        daemon.take_reply();
        let expected: &[u32] = match kept {
            0 => &[LAST],
            1 => &[10, LAST],
            _ => &[10, 20, LAST],
        };
        assert_eq!(served.join().unwrap(), expected);
    });
}

/// A revocation, one more request, and another revocation that the worker may not have noticed the first by.
#[test]
fn a_second_revocation_settles_as_well() {
    model(|| {
        const LAST: u32 = 99;
        let channel = Arc::new(Channel::new());
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        let served = thread::spawn(move || {
            let mut begun = Vec::new();
            while begun.last() != Some(&LAST) {
                begun.push(worker.next());
                worker.publish();
            }
            begun
        });
        let mut expected = Vec::new();
        for payload in [10, 20] {
            daemon.post(payload);
            if daemon.revoke() == 1 {
                daemon.take_reply();
                expected.push(payload);
            }
            daemon.taken = daemon.posted;
        }
        daemon.post(LAST);
        daemon.take_reply();
        expected.push(LAST);
        assert_eq!(served.join().unwrap(), expected);
    });
}
