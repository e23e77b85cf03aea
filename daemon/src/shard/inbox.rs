//! What other threads tell a shard: a queue without a lock, and a bell.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;
use hairtrigger_sandbox::ending::Ending;
use hairtrigger_sandbox::{Ticket, Worker};

/// A message to a shard.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// The function's template serves.
    Loaded {
        /// Which.
        function: u32,
    },
    /// The function cannot be loaded.
    LoadFailed {
        /// Which.
        function: u32,
        /// The end of a sentence that says why.
        reason: std::sync::Arc<str>,
    },
    /// The function is being loaded once more.
    Reloading {
        /// Which.
        function: u32,
    },
    /// A worker is there.
    WorkerReady {
        /// For whom.
        ticket: Ticket,
        /// The worker.
        worker: Box<Worker>,
    },
    /// A worker is gone.
    WorkerGone {
        /// For whom.
        ticket: Ticket,
        /// What ended it.
        ending: Ending,
    },
    /// Take no more connections, finish what is under way, and end.
    Drain,
}

/// A shard's letter box.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: SegQueue<ToShard>,
    bell: OwnedFd,
    rung: AtomicBool,
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let bell = hairtrigger_sandbox::eventfd()?;
        Ok(Self { messages: SegQueue::new(), bell, rung: AtomicBool::new(false) })
    }

    /// Tells the shard something; at most one ring until it looks.
    pub(crate) fn tell(&self, message: ToShard) {
        self.messages.push(message);
        if !self.rung.swap(true, Ordering::AcqRel) {
            hairtrigger_sandbox::ring(self.bell.as_fd());
        }
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// To be called before the messages are taken: what comes later rings again.
    pub(crate) fn answer_bell(&self) {
        self.rung.store(false, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Option<ToShard> {
        self.messages.pop()
    }
}
