//! Where the sandbox's events go: what becomes of templates to every shard, and of workers to theirs, at once and in the
//! order in which it happened; the rest, and what is said of it, to the control thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::{Event, EventSink, StartTimes, Ticket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::shard::inbox::{Inbox, ToShard};

/// The read end of a worker's output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) function: u32,
    pub(crate) pipe: OwnedFd,
}

/// A worker that was forked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) function: u32,
    /// From the wish for it to its check-in.
    pub(crate) took: Duration,
    /// What its template has used so far.
    pub(crate) template_cpu: Duration,
}

pub(crate) struct Sink {
    shards: Arc<[Arc<Inbox>]>,
    events: UnboundedSender<Event>,
    outputs: UnboundedSender<Output>,
    starts: UnboundedSender<Start>,
}

/// What the control thread hears of.
pub(crate) struct Heard {
    pub(crate) events: UnboundedReceiver<Event>,
    pub(crate) outputs: UnboundedReceiver<Output>,
    pub(crate) starts: UnboundedReceiver<Start>,
}

/// A sink, and its other end.
pub(crate) fn sink(shards: Arc<[Arc<Inbox>]>) -> (Sink, Heard) {
    let (to_events, events) = unbounded_channel();
    let (to_outputs, outputs) = unbounded_channel();
    let (to_starts, starts) = unbounded_channel();
    let sink = Sink { shards, events: to_events, outputs: to_outputs, starts: to_starts };
    (sink, Heard { events, outputs, starts })
}

impl Sink {
    fn tell(&self, ticket: Ticket, message: ToShard) {
        match self.shards.get(usize::from(ticket.shard)) {
            Some(shard) => shard.tell(message),
            None => unreachable!("the ticket is a shard's own"),
        }
    }

    fn tell_all(&self, message: impl Fn() -> ToShard) {
        for shard in &*self.shards {
            shard.tell(message());
        }
    }
}

impl EventSink for Sink {
    fn deliver(&self, event: Event) {
        // The control thread stops listening at shutdown; nothing is lost by that.
        match event {
            Event::WorkerStarting { ticket, output } => {
                let _ = self.outputs.send(Output { function: ticket.function, pipe: output });
            }
            Event::WorkerReady { ticket, worker, times } => {
                // The shard first: somebody may wait for this worker.
                let StartTimes { fork: took, template_cpu } = times;
                let start = Start { function: ticket.function, took, template_cpu };
                self.tell(ticket, ToShard::WorkerReady { ticket, worker });
                let _ = self.starts.send(start);
            }
            Event::WorkerGone { ticket, ending } => {
                self.tell(ticket, ToShard::WorkerGone { ticket, ending });
            }
            Event::Loaded { function, .. } => {
                self.tell_all(|| ToShard::Loaded { function });
                let _ = self.events.send(event);
            }
            Event::LoadFailed { function, ref failure } => {
                let reason: Arc<str> = failure.for_callers().into();
                self.tell_all(|| ToShard::LoadFailed { function, reason: Arc::clone(&reason) });
                let _ = self.events.send(event);
            }
            Event::TemplateGone { function, .. } => {
                // Its workers' ends follow, and for none of them may the shard want another worker.
                self.tell_all(|| ToShard::TemplateGone { function });
                let _ = self.events.send(event);
            }
            // The output stays with the event, for its lines come before the end of the load that refers to them.
            Event::Loading { .. } | Event::GroupGone { .. } | Event::Trouble(_) => {
                let _ = self.events.send(event);
            }
        }
    }
}
