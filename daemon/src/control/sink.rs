//! Where the sandbox's events go: workers to their shard, everything else to the control thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hairtrigger_sandbox::{Event, EventSink};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::shard::inbox::{Inbox, ToShard};

/// The read end of the output of a worker or a template.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) function: u32,
    pub(crate) pipe: OwnedFd,
}

pub(crate) struct Sink {
    inbox: Arc<Inbox>,
    events: UnboundedSender<Event>,
    outputs: UnboundedSender<Output>,
}

/// A sink, and what it gives to the control thread.
pub(crate) fn sink(inbox: Arc<Inbox>) -> (Sink, UnboundedReceiver<Event>, UnboundedReceiver<Output>) {
    let (events, from_events) = unbounded_channel();
    let (outputs, from_outputs) = unbounded_channel();
    (Sink { inbox, events, outputs }, from_events, from_outputs)
}

impl EventSink for Sink {
    fn deliver(&self, event: Event) {
        // The control thread stops listening at shutdown; nothing is lost by that.
        match event {
            Event::WorkerReady { ticket, mut worker, .. } => {
                if let Some(pipe) = worker.output.take() {
                    let _ = self.outputs.send(Output { function: ticket.function, pipe });
                }
                self.inbox.tell(ToShard::WorkerReady { ticket, worker });
            }
            Event::WorkerGone { ticket, ending } => self.inbox.tell(ToShard::WorkerGone { ticket, ending }),
            Event::Loaded { function, took, template, mut output } => {
                if let Some(pipe) = output.take() {
                    let _ = self.outputs.send(Output { function, pipe });
                }
                let _ = self.events.send(Event::Loaded { function, took, template, output });
            }
            Event::LoadFailed { function, failure, mut output } => {
                if let Some(pipe) = output.take() {
                    let _ = self.outputs.send(Output { function, pipe });
                }
                let _ = self.events.send(Event::LoadFailed { function, failure, output });
            }
            Event::TemplateGone { .. } | Event::Trouble(_) => {
                let _ = self.events.send(event);
            }
        }
    }
}
