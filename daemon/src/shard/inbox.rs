//! What other threads tell a shard: a queue without a lock, and a bell. And what a shard tells the control
//! thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::SegQueue;
use hairtrigger_sandbox::ending::Ending;
use hairtrigger_sandbox::{Ticket, Worker};
use tokio::sync::mpsc::UnboundedSender;

use super::admin::{AdminAnswer, AdminRequest};
use super::handover::{Answer, Parcel};
use super::version::{Routing, Version};
use super::{Listener, Timeouts};

/// A message to a shard. Functions are named by the keys of their versions.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// A version is being loaded: know it, and start its workers once it is.
    Begin(Arc<Version>),
    /// The version's template serves.
    Loaded {
        /// Which.
        function: u32,
    },
    /// The version cannot be loaded.
    LoadFailed {
        /// Which.
        function: u32,
        /// The end of a sentence that says why.
        reason: Arc<str>,
    },
    /// The version's template is gone. Unless it sleeps, it is loaded once more.
    TemplateGone {
        /// Which.
        function: u32,
    },
    /// Requests go where this says from now on. Every version in it was begun before.
    Route {
        /// Where.
        routing: Arc<Routing>,
        /// Most connections: what the workers of these versions leave of the process's descriptors.
        most_connections: usize,
    },
    /// No request goes to this version any more: finish what is under way, end its workers, say so, forget it.
    Retire {
        /// Which.
        function: u32,
    },
    /// Nobody seems to want anything of this version any more: begin nothing, if that is so, and say whether it is.
    Doze {
        /// Which.
        function: u32,
        /// The number of the question.
        round: u32,
    },
    /// Somebody wants something of it after all.
    Wake {
        /// Which.
        function: u32,
    },
    /// There may be one more worker of this version again, somewhere.
    Permit {
        /// Which.
        function: u32,
    },
    /// One of the workers that were asked for may be started.
    Grant {
        /// Of which version.
        function: u32,
    },
    /// A worker of this version is to end, for the sake of another function, as soon as it has nothing more to do.
    GiveUp {
        /// Of which version.
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
    /// Another shard has no worker for this invocation.
    Invoke(Box<Parcel>),
    /// What became of an invocation that was handed over.
    Answer(Box<Answer>),
    /// Take connections from these, too.
    Listen(Vec<Listener>),
    /// Take no more connections from the listeners of these numbers.
    StopListening(Vec<u32>),
    /// Clients may take this long from now on.
    Timeouts(Timeouts),
    /// The control thread answers the operator.
    ControlAnswered(Box<AdminAnswer>),
    /// Take no more connections, finish what is under way, and say so. Others may still hand invocations over.
    Drain,
    /// Every shard has drained: end.
    End,
}

/// A message from a shard to the control thread.
#[derive(Clone, Debug)]
pub(crate) enum FromShard {
    /// Nothing is left of a version that was to retire.
    Retired {
        /// Which.
        function: u32,
    },
    /// Where `max_workers` bounds all functions together: this shard wants so many workers of a version beyond those that it
    /// has.
    Wants {
        /// Which.
        function: u32,
        /// How many.
        count: u32,
        /// Grants of it that the shard has heard of, ever; wraps.
        heard: u32,
    },
    /// So many workers of a version are gone, or were granted and not needed.
    Returns {
        /// Which.
        function: u32,
        /// How many.
        count: u32,
    },
    /// The last of a version's workers on this shard is gone, and nobody waits for one.
    Quiet {
        /// Which.
        function: u32,
    },
    /// The answer to [`ToShard::Doze`].
    Dozes {
        /// Which.
        function: u32,
        /// The number of the question.
        round: u32,
        /// Whether it begins nothing any more.
        agreed: bool,
    },
    /// Somebody wants something of a version that sleeps.
    Wanted {
        /// Which.
        function: u32,
    },
    /// The workers of a version end before they can serve.
    Failing {
        /// Which.
        function: u32,
        /// The end of a sentence that says more.
        reason: Arc<str>,
    },
    /// The operator asks something.
    Asked(Box<AdminRequest>),
    /// Nothing is left of this shard's connections.
    Drained,
}

/// A shard's way to the control thread.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    shard: u16,
    control: UnboundedSender<(u16, FromShard)>,
}

impl Report {
    pub(crate) fn new(shard: u16, control: UnboundedSender<(u16, FromShard)>) -> Self {
        Self { shard, control }
    }

    /// Tells it something. It does not listen any more when the daemon ends.
    pub(crate) fn tell(&self, message: FromShard) {
        let _ = self.control.send((self.shard, message));
    }
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
        // A swap and not a store, which the look into the queue could overtake: whoever finds the bell rung has
        // its message seen by that look, whoever comes later rings.
        self.rung.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn take(&self) -> Option<ToShard> {
        self.messages.pop()
    }
}
