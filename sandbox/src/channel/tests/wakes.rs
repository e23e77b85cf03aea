//! Both ends at once, on threads, with real futexes and eventfds.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::*;
use crate::sys;

/// Longer than anything here takes; only a lost wake lasts so long.
const LOST_AFTER_MS: i32 = 20_000;

/// Serves until it is asked to stop; returns the bodies of what it has begun, in order. Its thread is not
/// joined when a test fails, since a lost wake would keep it asleep.
fn serve(mut worker: WorkerEnd, mut random: Random) -> JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let mut begun = Vec::new();
        loop {
            worker.next();
            random.pause();
            let body = echo(&mut worker, 0).0;
            match <[u8; 4]>::try_from(body) {
                Ok(id) => begun.push(u32::from_ne_bytes(id)),
                Err(_) => return begun,
            }
            random.pause();
        }
    })
}

/// Xorshift: pauses need not be good, only different.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Nothing, some spinning, or the processor for the other side.
    fn pause(&mut self) {
        match self.below(8) {
            0 => thread::yield_now(),
            1 | 2 => (0..self.below(400)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

fn post_waking(daemon: &mut DaemonEnd, body: &[u8], random: &mut Random) -> bool {
    let posted = daemon.post(&view(body));
    random.pause();
    if posted == Posted::MustWake {
        daemon.wake();
    }
    posted != Posted::Full
}

/// Sleeps until a reply is there, as a shard does: listens, looks, and only then waits for the bell.
fn await_reply(daemon: &mut DaemonEnd, random: &mut Random) {
    while !daemon.listen() {
        random.pause();
        let mut poll = libc::pollfd { fd: daemon.bell().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` outlives the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, LOST_AFTER_MS) };
        assert_eq!(ready, 1, "a wake was lost");
        sys::silence(daemon.bell());
    }
    daemon.unlisten();
}

/// Its descriptors must outlive both ends, since the worker's end knows its bell by number only.
fn halves(start: u32) -> (DaemonEnd, WorkerEnd, WorkerDescriptors) {
    let Pair { daemon, worker, descriptors } = pair_at(start);
    (daemon, worker, descriptors)
}

#[test]
fn no_wake_is_lost_either_way() {
    const ROUNDS: u32 = 100_000;
    let (mut daemon, worker, descriptors) = halves(u32::MAX - ROUNDS / 2);
    let mut random = Random(0x5EED);
    let served = serve(worker, Random(0xFEED));
    let mut answered = 0;
    let mut posted = 0_u32;
    while answered < ROUNDS {
        // Mostly one at a time: that is when both sides sleep.
        for _ in 0..if random.below(8) == 0 { random.below(5) + 1 } else { 1 } {
            if posted < ROUNDS && post_waking(&mut daemon, &posted.to_ne_bytes(), &mut random) {
                posted += 1;
            }
        }
        await_reply(&mut daemon, &mut random);
        while daemon.reply_waits() {
            assert_eq!(take(&mut daemon), answered.to_ne_bytes());
            answered += 1;
        }
    }
    assert!(post_waking(&mut daemon, b"stop", &mut random) || posted == ROUNDS);
    assert!(post_waking(&mut daemon, b"", &mut random));
    let mut expected: Vec<u32> = (0..ROUNDS).collect();
    expected.push(u32::from_ne_bytes(*b"stop"));
    assert_eq!(served.join().unwrap(), expected);
    drop(descriptors);
}

/// Of what is taken back while the worker runs nothing is begun; all else is, once, and is answered.
#[test]
fn revocations_beside_a_running_worker_lose_and_double_nothing() {
    const ROUNDS: u32 = 20_000;
    let (mut daemon, worker, descriptors) = halves(u32::MAX - ROUNDS);
    let mut random = Random(0xBEEF);
    let served = serve(worker, Random(0xC0DE));
    let (mut next, mut flights) = (0_u32, std::collections::VecDeque::new());
    let (mut answered, mut back) = (Vec::new(), 0_u32);
    for _ in 0..ROUNDS {
        for _ in 0..=random.below(6) {
            if post_waking(&mut daemon, &next.to_ne_bytes(), &mut random) {
                flights.push_back(next);
                next += 1;
            }
        }
        random.pause();
        if random.below(2) == 0 {
            let kept = usize::try_from(daemon.revoke().unwrap()).unwrap();
            if kept < flights.len() {
                back += u32::try_from(flights.drain(kept..).count()).unwrap();
            }
        }
        // All of them, or some, so that revocations meet replies that wait.
        let until = usize::try_from(random.below(4)).unwrap();
        while flights.len() > until {
            await_reply(&mut daemon, &mut random);
            let id = flights.pop_front().unwrap();
            assert_eq!(take(&mut daemon), u32::to_ne_bytes(id));
            answered.push(id);
        }
    }
    while let Some(id) = flights.pop_front() {
        await_reply(&mut daemon, &mut random);
        assert_eq!(take(&mut daemon), u32::to_ne_bytes(id));
        answered.push(id);
    }
    assert_eq!(daemon.under_way(), 0);
    assert!(post_waking(&mut daemon, b"", &mut random));
    assert_eq!(served.join().unwrap(), answered, "begun and answered are the same");
    assert_eq!(u32::try_from(answered.len()).unwrap() + back, next);
    assert!(back > ROUNDS / 100 && answered.len() > 1000, "both happened: {back} were taken back");
    drop(descriptors);
}

/// However often the worker replies, one listening is one ring; and without any there is none.
#[test]
fn a_bell_is_rung_once_for_each_listening() {
    let (mut daemon, mut worker, descriptors) = halves(0);
    let rings = |daemon: &DaemonEnd| {
        let mut count = [0_u8; 8];
        // SAFETY: eight bytes are written to `count`, or none if nothing was rung.
        unsafe { libc::read(daemon.bell().as_raw_fd(), count.as_mut_ptr().cast(), 8) };
        u64::from_ne_bytes(count)
    };
    let mut reply = |daemon: &mut DaemonEnd| {
        post(daemon, b"");
        assert!(worker.claim());
        echo(&mut worker, 0);
    };
    reply(&mut daemon);
    assert_eq!(rings(&daemon), 0);
    assert!(daemon.listen());
    take(&mut daemon);
    assert!(!daemon.listen());
    for _ in 0..3 {
        reply(&mut daemon);
    }
    assert_eq!(rings(&daemon), 1);
    daemon.unlisten();
    reply(&mut daemon);
    assert_eq!(rings(&daemon), 0);
    daemon.listen();
    reply(&mut daemon);
    assert_eq!(rings(&daemon), 1);
    drop(descriptors);
}

/// A worker with nothing to do says that it sleeps, and only then is a wake asked for.
#[test]
fn a_sleeping_worker_must_be_woken() {
    let (mut daemon, mut worker, descriptors) = halves(0);
    let (begun, begins) = mpsc::channel();
    thread::spawn(move || {
        worker.next();
        begun.send(echo(&mut worker, 0).0)
    });
    let forged = Region::map(descriptors.reply.as_fd(), GEOMETRY.reply_region(), true).unwrap();
    while reply_control(&forged).sleeping.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(daemon.post(&view(b"up")), Posted::MustWake);
    daemon.wake();
    assert_eq!(begins.recv().unwrap(), b"up");
}
