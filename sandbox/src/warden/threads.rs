//! Threads of functions that may have some: each start is decided here, and how many there are is known from the
//! kernel.

use std::fs;
use std::io;
use std::time::Instant;

use super::gates::own_ids;
use super::template::{Effect, Phase, Template};
use super::verdict;
use crate::limits::{IDLE_LOOKS_WINDOW, MAX_IDLE_LOOKS, THREAD_START};
use crate::sys::{self, Answer, Notification};
use std::os::fd::AsFd;

/// Starts of threads of one process that were let through.
#[derive(Debug, Default)]
pub(super) struct ThreadStarts {
    /// Who was let through, and when, without that it is known to have been carried out.
    under_way: Vec<(libc::pid_t, Instant)>,
    /// The threads that there were at the last look, in order.
    seen: Vec<libc::pid_t>,
    /// Since when, and how often, the warden has looked for nothing.
    idle: Option<(Instant, u32)>,
}

impl ThreadStarts {
    /// How many threads there are, or will be in a moment; `caller` is one of `threads` and asks for another.
    fn count(&mut self, mut threads: Vec<libc::pid_t>, caller: libc::pid_t, now: Instant) -> usize {
        threads.sort_unstable();
        let lives = |thread: &libc::pid_t| threads.binary_search(thread).is_ok();
        let before = self.under_way.len();
        // Who asks again has come back from its call; so has who ended, or will never.
        self.under_way.retain(|(thread, since)| {
            *thread != caller && lives(thread) && now.saturating_duration_since(*since) < THREAD_START
        });
        let over = before - self.under_way.len();
        // Each thread that is new is a start carried out; of those that are known to be it may be one.
        let fresh = threads.iter().filter(|thread| self.seen.binary_search(thread).is_err()).count();
        let shown = fresh.saturating_sub(over).min(self.under_way.len());
        self.under_way.drain(..shown);
        let count = threads.len() + self.under_way.len();
        self.seen = threads;
        count
    }

    /// Counts a look that comes to nothing for the function: a start that is refused, a question about processors.
    fn looked_in_vain(&mut self, now: Instant) {
        let (_, count) = self.idle.get_or_insert((now, 0));
        *count += 1;
    }

    /// Whether there have been so many of those that the next call is refused without a look: each costs the warden,
    /// who is everybody's, far more than the call costs its caller.
    fn tires(&mut self, now: Instant) -> bool {
        self.idle.take_if(|(since, _)| now.saturating_duration_since(*since) >= IDLE_LOOKS_WINDOW);
        self.idle.is_some_and(|(_, count)| count >= MAX_IDLE_LOOKS)
    }

    fn let_through(&mut self, caller: libc::pid_t, now: Instant) {
        self.under_way.push((caller, now));
    }
}

impl Template {
    /// A thread of a worker, or of the template while that loads: what it leaves behind then is refused afterwards.
    pub(super) fn thread_gate(&mut self, call: &Notification) -> Effect {
        let Ok(process) = self.process_of(call.thread) else { return self.violation(call) };
        let loading = matches!(self.phase, Phase::Loading(_));
        let starts = match self.workers.get_mut(&process) {
            Some(worker) => &mut worker.threads,
            None if process == self.pid && loading => &mut self.thread_starts,
            None => return self.violation(call),
        };
        let now = Instant::now();
        if starts.tires(now) {
            self.answer(call, Answer::Fail(libc::EAGAIN));
            return Effect::None;
        }
        let threads = match threads_of(process) {
            Ok(threads) => threads,
            Err(error) => {
                // A caller that died meanwhile is no trouble, and hears nothing.
                let waits = sys::notification_valid(self.listener.as_fd(), call.id);
                self.answer(call, Answer::Fail(libc::EAGAIN));
                let name = &self.spec.name;
                let text = format!("a thread of {name} was refused, for its threads are unknown: {error}");
                return if waits { Effect::Trouble(text) } else { Effect::None };
            }
        };
        // The pid was its own while we looked only if it still waits.
        if !sys::notification_valid(self.listener.as_fd(), call.id) {
            return Effect::None;
        }
        let most = usize::try_from(self.spec.grants.threads).unwrap_or(usize::MAX);
        let mut count = starts.count(threads, call.thread, now);
        if count > most {
            // Whoever waits for a thread's end goes on a little before the thread is gone.
            count -= starts.seen.iter().filter(|thread| is_ending(process, **thread)).count();
        }
        let answer = if count <= most {
            starts.let_through(call.thread, now);
            Answer::Continue
        } else {
            starts.looked_in_vain(now);
            // What the kernel says at its own limits, so that libraries know it.
            Answer::Fail(libc::EAGAIN)
        };
        self.answer(call, answer);
        Effect::None
    }

    /// Which processors a thread may run on. OpenMP asks for the calling one, by its number; of others nothing is
    /// said.
    pub(super) fn affinity_gate(&mut self, call: &Notification) -> Effect {
        let Ok(process) = self.process_of(call.thread) else { return self.violation(call) };
        let starts = match self.workers.get_mut(&process) {
            Some(worker) => &mut worker.threads,
            None => &mut self.thread_starts,
        };
        let now = Instant::now();
        let tired = starts.tires(now);
        starts.looked_in_vain(now);
        let own = if tired { None } else { own_ids(call.thread).ok() };
        let answer = match own {
            Some((_, own)) if libc::pid_t::try_from(call.arguments[0]) == Ok(own) => Answer::Continue,
            Some(_) | None => Answer::Fail(libc::EACCES),
        };
        if sys::notification_valid(self.listener.as_fd(), call.id) {
            self.answer(call, answer);
        }
        Effect::None
    }
}

fn is_ending(process: libc::pid_t, thread: libc::pid_t) -> bool {
    match fs::read(format!("/proc/{process}/task/{thread}/stat")) {
        Ok(stat) => verdict::is_ending(&stat),
        // What is gone has ended; of what cannot be read nothing is known.
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    }
}

fn threads_of(process: libc::pid_t) -> io::Result<Vec<libc::pid_t>> {
    let number = |entry: io::Result<fs::DirEntry>| {
        let name = entry?.file_name();
        name.to_str().and_then(|name| name.parse().ok()).ok_or_else(|| io::Error::other("no thread's number"))
    };
    fs::read_dir(format!("/proc/{process}/task"))?.map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_over_and_over_is_not_looked_at_for_a_while() {
        let (mut starts, now) = (ThreadStarts::default(), Instant::now());
        for _ in 0..MAX_IDLE_LOOKS {
            assert!(!starts.tires(now));
            starts.looked_in_vain(now);
        }
        assert!(starts.tires(now) && starts.tires(now + IDLE_LOOKS_WINDOW / 2));
        assert!(!starts.tires(now + IDLE_LOOKS_WINDOW), "and then again");
    }

    #[test]
    fn a_start_under_way_counts_until_it_is_seen() {
        let now = Instant::now();
        let mut starts = ThreadStarts::default();
        assert_eq!(starts.count(vec![1], 1, now), 1);
        starts.let_through(1, now);
        // Another thread asks before the kernel has come to the first.
        assert_eq!(starts.count(vec![1, 2], 2, now), 2, "2 is what 1 has started");
        starts.let_through(2, now);
        assert_eq!(starts.count(vec![2, 1], 1, now), 3, "the start of 2 has not been seen");
        starts.let_through(1, now);
        assert_eq!(
            starts.count(vec![1, 2], 2, now),
            3,
            "2 has come back, and what it started is gone; 1 has not"
        );
    }

    #[test]
    fn a_thread_that_is_known_is_no_start() {
        let now = Instant::now();
        let mut starts = ThreadStarts::default();
        starts.count(vec![1, 2, 3], 1, now);
        starts.let_through(1, now);
        assert_eq!(starts.count(vec![1, 2, 3], 2, now), 4);
        // 1 comes back: whether what it started lives or not is seen.
        assert_eq!(starts.count(vec![1, 2, 3, 4], 1, now), 4);
        assert_eq!(starts.count(vec![1, 2, 3], 1, now), 3);
    }

    #[test]
    fn what_came_of_a_start_is_not_counted_for_another() {
        let now = Instant::now();
        let mut starts = ThreadStarts::default();
        starts.count(vec![1, 2], 1, now);
        starts.let_through(1, now);
        starts.let_through(2, now);
        // 3 may be the one of 1, who is back: that of 2 is still to come.
        assert_eq!(starts.count(vec![1, 2, 3], 1, now), 4);
        assert_eq!(starts.count(vec![1, 3], 1, now), 2, "2 has ended");
    }

    #[test]
    fn nobody_waits_for_a_start_for_ever() {
        let now = Instant::now();
        let mut starts = ThreadStarts::default();
        starts.let_through(2, now);
        let seen = vec![1, 2];
        assert_eq!(starts.count(seen.clone(), 1, now), 2, "both were new");
        starts.let_through(2, now);
        assert_eq!(starts.count(seen.clone(), 1, now), 3);
        assert_eq!(starts.count(seen, 1, now + THREAD_START), 2);
    }
}
