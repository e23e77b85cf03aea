//! The orderings of the channel, tried in every interleaving and with every value that the memory model lets
//! a load return. The words, orderings and fences are those of `sandbox/src/channel/`, by the same names;
//! whoever changes them there changes them here. Futex and eventfd are a lock and a condition variable: a
//! lost wake is a deadlock, which the model reports.
//!
//! ```sh
//! RUSTFLAGS="--cfg channel_model" cargo test -p hairtrigger-sandbox --release --target-dir target/model \
//!     --test channel_model
//! ```
//!
//! That the model would notice is shown as well: each test of the second half takes one of the orderings away, and must
//! fail. Those of `resume` are not among them: the claim's own orderings, which are, keep it as well.
//!
//! Not `--cfg loom`: flags reach every dependency, and some of them know that one as their own.

#![cfg(channel_model)]

use std::process::{Command, Output};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const REVOKED: u64 = 1 << 32;
/// Two slots: the third request uses the first one's again.
const DEPTH: u32 = 2;

/// What orders the channel's accesses; [`CODE`] is what the code says.
#[derive(Clone, Copy)]
struct Orders {
    post: Ordering,
    see_post: Ordering,
    reply: Ordering,
    see_reply: Ordering,
    claim: Ordering,
    taken: Ordering,
    see_taken: Ordering,
    /// Between storing `posted` and loading `sleeping`, and the other way round.
    fence_of_post: bool,
    fence_of_wait: bool,
    /// Between storing `bell` and looking for a reply, and the other way round.
    fence_of_listen: bool,
    fence_of_publish: bool,
    /// What was revoked is told as taken only when the reply before it is left.
    tells_late: bool,
    /// The pages of a reply are given back before that reply is told as taken.
    clears_first: bool,
}

const CODE: Orders = Orders {
    post: Ordering::Release,
    see_post: Ordering::Acquire,
    reply: Ordering::Release,
    see_reply: Ordering::Acquire,
    claim: Ordering::SeqCst,
    taken: Ordering::Release,
    see_taken: Ordering::Acquire,
    fence_of_post: true,
    fence_of_wait: true,
    fence_of_listen: true,
    fence_of_publish: true,
    tells_late: true,
    clears_first: true,
};

fn fence_if(there: bool) {
    if there {
        fence(Ordering::SeqCst);
    }
}

struct Channel {
    orders: Orders,
    // The request region.
    posted: AtomicU32,
    bell: AtomicU32,
    taken: AtomicU32,
    resume: AtomicU32,
    /// Payloads, written and read without atomics: the model reports two accesses that race.
    slots: [UnsafeCell<u32>; DEPTH as usize],
    // The reply region.
    sleeping: AtomicU32,
    claim: AtomicU64,
    replies: [AtomicU32; DEPTH as usize],
    /// What a reply's sequence number publishes: its body, if that is not in the slab.
    answers: [UnsafeCell<Option<u32>>; DEPTH as usize],
    /// A body too long for a slot. The daemon gives its pages back when it has read them.
    slab: UnsafeCell<u32>,
    // What the kernel keeps.
    futex: (Mutex<()>, Condvar),
    eventfd: (Mutex<u32>, Condvar),
}

fn slot(sequence: u32) -> usize {
    (sequence % DEPTH) as usize
}

impl Channel {
    fn new(orders: Orders) -> Self {
        Self {
            orders,
            posted: AtomicU32::new(0),
            bell: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            resume: AtomicU32::new(0),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
            sleeping: AtomicU32::new(0),
            claim: AtomicU64::new(0),
            replies: [AtomicU32::new(0), AtomicU32::new(0)],
            answers: [UnsafeCell::new(None), UnsafeCell::new(None)],
            slab: UnsafeCell::new(0),
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
    reply_in_use: bool,
}

impl Daemon {
    fn new(channel: &Arc<Channel>) -> Self {
        let channel = Arc::clone(channel);
        Self { channel, posted: 0, taken: 0, bell_value: 1, reply_in_use: false }
    }

    fn post(&mut self, payload: u32) {
        assert!(self.posted - self.taken < DEPTH);
        let sequence = self.posted + 1;
        // SAFETY: the model itself checks that nobody else is at the slot.
        self.channel.slots[slot(sequence)].with_mut(|place| unsafe { *place = payload });
        self.posted = sequence;
        self.channel.posted.store(sequence, self.channel.orders.post);
        fence_if(self.channel.orders.fence_of_post);
        if self.channel.sleeping.load(Ordering::Relaxed) != 0 {
            self.channel.futex_wake();
        }
    }

    fn reply_waits(&self) -> bool {
        let next = self.taken + 1;
        self.channel.replies[slot(next)].load(self.channel.orders.see_reply) == next
    }

    fn listen(&mut self) -> bool {
        self.bell_value += 1;
        self.channel.bell.store(self.bell_value, Ordering::Relaxed);
        fence_if(self.channel.orders.fence_of_listen);
        self.reply_waits()
    }

    /// Sleeps until the next reply is there, and takes it. `None`: its body lies in the slab.
    fn take_reply(&mut self) -> Option<u32> {
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
        self.reply_in_use = true;
        // SAFETY: as in `post`.
        self.channel.answers[slot(self.taken)].with(|place| unsafe { *place })
    }

    /// Reads the slab, as a transfer does beside the shard's turns.
    fn read_slab(&self) -> u32 {
        // SAFETY: as in `post`.
        self.channel.slab.with(|place| unsafe { *place })
    }

    fn clear_slab(&self) {
        // SAFETY: as in `post`.
        self.channel.slab.with_mut(|place| unsafe { *place = 0 });
    }

    fn done_with_reply(&mut self, in_slab: bool) {
        self.reply_in_use = false;
        if in_slab && self.channel.orders.clears_first {
            self.clear_slab();
        }
        self.tell_taken();
        if in_slab && !self.channel.orders.clears_first {
            self.clear_slab();
        }
    }

    fn tell_taken(&self) {
        self.channel.taken.store(self.taken, self.channel.orders.taken);
        fence(Ordering::SeqCst);
    }

    /// Takes a reply that lies in its slot.
    fn take(&mut self) -> u32 {
        let answer = self.take_reply().expect("it is in its slot");
        self.done_with_reply(false);
        answer
    }

    /// How many the worker keeps, of those under way.
    fn revoke(&mut self) -> u32 {
        loop {
            let (claim, order) = (&self.channel.claim, self.channel.orders.claim);
            let seen = claim.load(order);
            if seen & REVOKED != 0 {
                return self.posted - self.taken;
            }
            let kept = seen as u32 - self.taken;
            if kept == self.posted - self.taken {
                return kept;
            }
            self.channel.resume.store(self.posted, Ordering::Release);
            if claim.compare_exchange(seen, seen | REVOKED, order, order).is_ok() {
                if kept == 0 {
                    self.taken = self.posted;
                    if !(self.reply_in_use && self.channel.orders.tells_late) {
                        self.tell_taken();
                    }
                }
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
    slab_used: bool,
}

impl Worker {
    fn new(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), begun: 0, rung: 0, slab_used: false }
    }

    fn request_waits(&self) -> bool {
        self.channel.posted.load(self.channel.orders.see_post) != self.begun
    }

    fn wait(&self) {
        while !self.request_waits() {
            self.channel.sleeping.store(1, Ordering::Relaxed);
            fence_if(self.channel.orders.fence_of_wait);
            if !self.request_waits() {
                self.channel.futex_wait(self.begun);
            }
            self.channel.sleeping.store(0, Ordering::Relaxed);
        }
    }

    fn claim(&mut self) -> bool {
        let (claim, order, from) = (&self.channel.claim, self.channel.orders.claim, u64::from(self.begun));
        if claim.compare_exchange(from, from + 1, order, order).is_ok() {
            self.begun += 1;
            return true;
        }
        let resume = self.channel.resume.load(Ordering::Acquire);
        claim.store(u64::from(resume), order);
        self.begun = resume;
        false
    }

    /// Begins the next request and returns its payload.
    fn next(&mut self) -> u32 {
        loop {
            self.wait();
            if self.claim() {
                self.wait_for_slab();
                // SAFETY: as in `Daemon::post`.
                return self.channel.slots[slot(self.begun)].with(|place| unsafe { *place });
            }
        }
    }

    fn wait_for_slab(&mut self) {
        while self.slab_used && self.channel.taken.load(self.channel.orders.see_taken) != self.begun - 1 {
            thread::yield_now();
        }
        self.slab_used = false;
    }

    /// Answers the request that was begun.
    fn publish(&mut self, answer: u32, in_slab: bool) {
        let place = slot(self.begun);
        if in_slab {
            // SAFETY: as in `Daemon::post`.
            self.channel.slab.with_mut(|slab| unsafe { *slab = answer });
        }
        // SAFETY: as in `Daemon::post`.
        self.channel.answers[place].with_mut(|place| unsafe { *place = (!in_slab).then_some(answer) });
        self.channel.replies[place].store(self.begun, self.channel.orders.reply);
        self.slab_used = in_slab;
        fence_if(self.channel.orders.fence_of_publish);
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

fn wakes(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        let served = thread::spawn(move || [worker.next(), worker.next()]);
        daemon.post(10);
        daemon.post(20);
        assert_eq!(served.join().unwrap(), [10, 20]);
    });
}

fn rings(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        daemon.post(10);
        daemon.post(20);
        let served = thread::spawn(move || {
            for _ in 0..2 {
                let payload = worker.next();
                worker.publish(payload + 1, false);
            }
        });
        assert_eq!([daemon.take(), daemon.take()], [11, 21]);
        served.join().unwrap();
    });
}

/// A worker that serves until it has answered this.
const LAST: u32 = 99;

fn serve(mut worker: Worker) -> thread::JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let mut begun = Vec::new();
        while begun.last() != Some(&LAST) {
            let payload = worker.next();
            begun.push(payload);
            worker.publish(payload, false);
        }
        begun
    })
}

/// Two requests, taken back while the worker begins none, one or both; then one more in a slot used again.
fn revocation(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let mut daemon = Daemon::new(&channel);
        let served = serve(Worker::new(&channel));
        daemon.post(10);
        daemon.post(20);
        let kept = daemon.revoke();
        for payload in [10, 20].into_iter().take(kept as usize) {
            assert_eq!(daemon.take(), payload);
        }
        daemon.taken = daemon.posted;
        daemon.post(LAST);
        assert_eq!(daemon.take(), LAST);
        let expected: &[u32] = match kept {
            0 => &[LAST],
            1 => &[10, LAST],
            _ => &[10, 20, LAST],
        };
        assert_eq!(served.join().unwrap(), expected);
    });
}

/// A revocation, one more request, and another revocation that the worker may not have noticed the first by.
fn second_revocation(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let mut daemon = Daemon::new(&channel);
        let served = serve(Worker::new(&channel));
        let mut expected = Vec::new();
        for payload in [10, 20] {
            daemon.post(payload);
            if daemon.revoke() == 1 {
                daemon.take();
                expected.push(payload);
            }
            daemon.taken = daemon.posted;
        }
        daemon.post(LAST);
        daemon.take();
        expected.push(LAST);
        assert_eq!(served.join().unwrap(), expected);
    });
}

/// Two answers that are both too long for a slot, each read beside the shard's turns.
fn slab(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        daemon.post(10);
        daemon.post(20);
        let served = thread::spawn(move || {
            for _ in 0..2 {
                let payload = worker.next();
                worker.publish(payload + 1, true);
            }
        });
        for answer in [11, 21] {
            assert_eq!(daemon.take_reply(), None);
            assert_eq!(daemon.read_slab(), answer);
            daemon.done_with_reply(true);
        }
        served.join().unwrap();
    });
}

/// While a long answer is read, what waits behind it is taken back, and another request posted.
fn revocation_beside_a_transfer(orders: Orders) {
    model(move || {
        let channel = Arc::new(Channel::new(orders));
        let (mut daemon, mut worker) = (Daemon::new(&channel), Worker::new(&channel));
        daemon.post(10);
        let served = thread::spawn(move || {
            loop {
                let payload = worker.next();
                worker.publish(payload, true);
                if payload == LAST {
                    break;
                }
            }
        });
        assert_eq!(daemon.take_reply(), None);
        daemon.post(20);
        let kept = daemon.revoke();
        if kept == 0 {
            daemon.post(LAST);
        }
        assert_eq!(daemon.read_slab(), 10);
        daemon.done_with_reply(true);
        for payload in if kept == 0 { vec![LAST] } else { vec![20, LAST] } {
            if payload == LAST && kept != 0 {
                daemon.post(LAST);
            }
            assert_eq!(daemon.take_reply(), None);
            assert_eq!(daemon.read_slab(), payload);
            daemon.done_with_reply(true);
        }
        served.join().unwrap();
    });
}

macro_rules! holds {
    ($($test:ident: $scenario:ident;)*) => {
        $(
            #[test]
            fn $test() {
                $scenario(CODE);
            }
        )*
    };
}

holds! {
    no_wake_of_the_worker_is_lost: wakes;
    no_ring_of_the_bell_is_lost: rings;
    each_request_is_begun_or_taken_back: revocation;
    a_second_revocation_settles_as_well: second_revocation;
    the_slab_is_left_before_it_is_used_again: slab;
    nor_is_it_when_others_are_taken_back_meanwhile: revocation_beside_a_transfer;
}

/// Set in the process in which a scenario is to fail.
const CHILD: &str = "CHANNEL_MODEL_CHILD";

/// Without one of its orderings a scenario must fail. In a process of its own: a model that ends in a deadlock does so
/// amidst its threads' destructors, and aborts.
fn fails(test: &str, scenario: fn(Orders), orders: Orders) {
    if std::env::var_os(CHILD).is_some() {
        return scenario(orders);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", "0");
    let Output { status, stdout, stderr } = child.output().unwrap();
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(!status.success(), "the model does not notice: {said}");
    let reasons = ["deadlock; threads", "Causality violation", "assertion `left == right` failed"];
    assert!(reasons.iter().any(|reason| said.contains(reason)), "it failed otherwise: {said}");
}

macro_rules! needed {
    ($($test:ident: $scenario:ident with $($field:ident: $value:expr),+;)*) => {
        $(
            #[test]
            fn $test() {
                fails(stringify!($test), $scenario, Orders { $($field: $value,)+ ..CODE });
            }
        )*
    };
}

needed! {
    needs_release_of_posted: wakes with post: Ordering::Relaxed;
    needs_acquire_of_posted: wakes with see_post: Ordering::Relaxed;
    needs_release_of_replies: rings with reply: Ordering::Relaxed;
    needs_acquire_of_replies: rings with see_reply: Ordering::Relaxed;
    needs_the_order_of_claims: revocation with claim: Ordering::Relaxed;
    needs_release_of_taken: slab with taken: Ordering::Relaxed;
    needs_acquire_of_taken: slab with see_taken: Ordering::Relaxed;
    needs_the_fence_of_post: wakes with fence_of_post: false;
    needs_the_fence_of_wait: wakes with fence_of_wait: false;
    needs_the_fence_of_listen: rings with fence_of_listen: false;
    needs_the_fence_of_publish: rings with fence_of_publish: false;
    needs_pages_cleared_before_that_is_told: slab with clears_first: false;
    needs_revocations_told_late: revocation_beside_a_transfer with tells_late: false;
}
