//! The daemon's one writer to standard error. Whoever has a line leaves it here and goes on; a thread of
//! its own does the writing, which may block for as long as nobody reads.

use hairtrigger_sandbox::limits::{LOG_LINE_COST, MAX_LOG_EVENTS, MAX_WAITING_OUTPUT};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write, stderr};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::shard::record::Short;

/// A line that waits.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Event(String),
    Report(String),
    Output(Arc<str>, Option<Short>, String),
}

/// What a function has in the queue, and what found no place there.
#[derive(Debug, Default)]
struct Share {
    waiting: usize,
    /// In bytes.
    dropped: u64,
}

/// The lines in the order in which they came, with a bound for the daemon's own and one for each function:
/// none of them can take another's place.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    events: usize,
    dropped_events: u64,
    reports: usize,
    dropped_reports: u64,
    shares: HashMap<Arc<str>, Share>,
    writing: bool,
}

impl Queue {
    fn event(&mut self, text: String) {
        if self.events < MAX_LOG_EVENTS {
            self.events += 1;
            self.entries.push_back(Entry::Event(text));
        } else {
            self.dropped_events += 1;
        }
    }

    fn report(&mut self, text: String) {
        if self.reports < MAX_LOG_EVENTS {
            self.reports += 1;
            self.entries.push_back(Entry::Report(text));
        } else {
            self.dropped_reports += 1;
        }
    }

    fn output(&mut self, function: &Arc<str>, invocation: Option<Short>, text: String) {
        let share = self.shares.entry(Arc::clone(function)).or_default();
        if share.waiting + text.len() + LOG_LINE_COST > MAX_WAITING_OUTPUT {
            share.dropped += text.len() as u64 + 1;
        } else {
            share.waiting += text.len() + LOG_LINE_COST;
            self.entries.push_back(Entry::Output(Arc::clone(function), invocation, text));
        }
    }

    /// Counts bytes that were dropped before they became lines.
    fn dropped(&mut self, function: &Arc<str>, bytes: u64) {
        let share = self.shares.entry(Arc::clone(function)).or_default();
        share.dropped += bytes;
        if share.waiting == 0 {
            self.tell_dropped(function);
        }
    }

    /// Said once the function's lines have been written: one sentence for all that was dropped meanwhile.
    fn tell_dropped(&mut self, function: &Arc<str>) {
        let Some(share) = self.shares.get_mut(function) else { return };
        let dropped = std::mem::take(&mut share.dropped);
        if dropped > 0 {
            self.output(function, None, format!("{dropped} bytes of output were dropped"));
        }
    }

    /// The next line, as it is written.
    fn next(&mut self) -> Option<String> {
        match self.entries.pop_front()? {
            Entry::Event(text) => {
                self.events -= 1;
                if self.events == 0 && self.dropped_events > 0 {
                    let dropped = std::mem::take(&mut self.dropped_events);
                    self.event(format!("{dropped} lines about the daemon were dropped"));
                }
                Some(format!("{text}\n"))
            }
            Entry::Report(text) => {
                self.reports -= 1;
                if self.reports == 0 && self.dropped_reports > 0 {
                    let dropped = std::mem::take(&mut self.dropped_reports);
                    self.event(format!("{dropped} lines about invocations were dropped"));
                }
                Some(format!("{text}\n"))
            }
            Entry::Output(function, invocation, text) => {
                if let Some(share) = self.shares.get_mut(&function) {
                    share.waiting -= text.len() + LOG_LINE_COST;
                    if share.waiting == 0 {
                        self.tell_dropped(&function);
                    }
                }
                Some(match invocation {
                    Some(invocation) => format!("[{function} {invocation}] {text}\n"),
                    None => format!("[{function}] {text}\n"),
                })
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Takes lines and never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Shared>);

impl Log {
    /// Starts the thread that writes.
    pub(super) fn start() -> io::Result<Self> {
        // Not through `stderr()`, whose lock would be held while a write blocks.
        let to = File::from(stderr().as_fd().try_clone_to_owned()?);
        let shared = Arc::new(Shared::default());
        let log = Self(Arc::clone(&shared));
        std::thread::Builder::new().name("log".to_owned()).spawn(move || log.write_to(to))?;
        Ok(Self(shared))
    }

    /// A line about the daemon, if there is one.
    pub(crate) fn event(&self, text: impl Into<Option<String>>) {
        if let Some(text) = text.into() {
            self.change(|queue| queue.event(text));
        }
    }

    /// A line about an invocation, if there is one. They take no other line's place.
    pub(super) fn report(&self, text: impl Into<Option<String>>) {
        if let Some(text) = text.into() {
            self.change(|queue| queue.report(text));
        }
    }

    /// A line of a function, and the invocation it belongs to, if that is known.
    pub(super) fn output(&self, function: &Arc<str>, invocation: Option<Short>, text: String) {
        self.change(|queue| queue.output(function, invocation, text));
    }

    /// Output of a function that was not even taken as lines, in bytes.
    pub(super) fn dropped(&self, function: &Arc<str>, bytes: u64) {
        self.change(|queue| queue.dropped(function, bytes));
    }

    /// Waits until all is written, but not for a reader that does not read.
    pub(super) fn flush(&self, patience: Duration) {
        let waits = |queue: &mut Queue| queue.writing || !queue.entries.is_empty();
        drop(self.0.changed.wait_timeout_while(self.lock(), patience, waits));
    }

    fn change(&self, with: impl FnOnce(&mut Queue)) {
        with(&mut self.lock());
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut to: File) {
        loop {
            let mut queue = self.lock();
            queue.writing = false;
            self.0.changed.notify_all();
            let line = loop {
                match queue.next() {
                    Some(line) => break line,
                    None => queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            queue.writing = true;
            drop(queue);
            // A reader that has gone away is no reason to stop serving.
            let _ = to.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn a_flood_takes_nobody_elses_place() {
        let (loud, quiet) = (Arc::from("loud"), Arc::from("quiet"));
        let mut queue = Queue::default();
        for _ in 0..100_000 {
            queue.output(&loud, None, "x".repeat(100));
        }
        queue.output(&quiet, Some(Short(*b"00112233445566778899aabbccddeeff")), "here".to_owned());
        queue.event("loaded".to_owned());
        let fit = MAX_WAITING_OUTPUT / (100 + LOG_LINE_COST);
        assert_eq!(queue.entries.len(), fit + 2);
        let lines = drain(&mut queue);
        assert_eq!(&lines[fit..fit + 2], ["[quiet 0011…eeff] here\n", "loaded\n"]);
        let dropped = (100_000 - fit) * 101;
        assert_eq!(lines[fit + 2..], [format!("[loud] {dropped} bytes of output were dropped\n")]);
    }

    #[test]
    fn events_are_bounded_and_counted() {
        let mut queue = Queue::default();
        for number in 0..MAX_LOG_EVENTS + 5 {
            queue.event(number.to_string());
        }
        let lines = drain(&mut queue);
        assert_eq!(lines.len(), MAX_LOG_EVENTS + 1);
        assert_eq!(lines[MAX_LOG_EVENTS], "5 lines about the daemon were dropped\n");
    }

    #[test]
    fn reports_take_no_place_of_events() {
        let mut queue = Queue::default();
        for number in 0..MAX_LOG_EVENTS + 5 {
            queue.report(number.to_string());
        }
        queue.event("loaded".to_owned());
        let lines = drain(&mut queue);
        let last = &lines[MAX_LOG_EVENTS - 1..];
        assert_eq!(last, ["4095\n", "loaded\n", "5 lines about invocations were dropped\n"]);
    }

    #[test]
    fn what_a_pipe_dropped_is_told_once_for_the_time_until_it_is_written() {
        let name = Arc::from("f");
        let mut queue = Queue::default();
        queue.dropped(&name, 3);
        queue.dropped(&name, 4);
        queue.dropped(&name, 5);
        let told = ["[f] 3 bytes of output were dropped\n", "[f] 9 bytes of output were dropped\n"];
        assert_eq!(drain(&mut queue), told);
    }
}
