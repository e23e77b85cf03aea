//! How far a shard has come, as another thread may see it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shard's turns, and the clock of its thread. On cache lines of its own: it is written at each turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Pulse {
    turns: AtomicU64,
    clock: OnceLock<libc::clockid_t>,
}

impl Pulse {
    /// This thread is the shard's.
    pub(super) fn begin(&self) {
        let mut clock = 0;
        // SAFETY: a thread may always ask for its own clock; `clock` outlives the call.
        if unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } == 0 {
            let _ = self.clock.set(clock);
        }
    }

    /// A turn has come to its end. Only the shard says so.
    pub(super) fn beat(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Turns, and the processor time that the thread has had, in nanoseconds; `None` if it has not begun, or has ended.
    pub(crate) fn look(&self) -> Option<(u64, u64)> {
        let clock = *self.clock.get()?;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` outlives the call; the clock of a thread that has ended is an error, or another thread's of this
        // process, which is no harm: its shard turns no more.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return None;
        }
        let nanoseconds =
            u64::try_from(time.tv_sec).ok()? * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?;
        Some((self.turns.load(Ordering::Relaxed), nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn another_thread_sees_turns_and_processor_time_and_none_in_sleep() {
        let pulse = Arc::new(Pulse::default());
        assert_eq!(pulse.look(), None, "nobody has begun");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (here, seen) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let pulse = Arc::clone(&pulse);
            move || {
                pulse.begin();
                pulse.beat();
                here.send(()).unwrap();
                wait.recv().unwrap();
                let until = pulse.look().unwrap().1 + 50_000_000;
                while pulse.look().unwrap().1 < until {}
                pulse.beat();
                here.send(()).unwrap();
                let _ = wait.recv();
            }
        });
        seen.recv().unwrap();
        let (turns, before) = pulse.look().unwrap();
        go.send(()).unwrap();
        seen.recv().unwrap();
        let (later, after) = pulse.look().unwrap();
        assert_eq!((turns, later), (1, 2));
        assert!(after >= before + 50_000_000, "{before} {after}");
        // It sleeps until it is told to end.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (_, still) = pulse.look().unwrap();
        assert!(still < after + 40_000_000, "{after} {still}");
        drop(go);
        thread.join().unwrap();
    }
}
