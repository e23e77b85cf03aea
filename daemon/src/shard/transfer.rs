//! Large bodies on their way into and out of channels, and large memory on its way back to the host. The kernel's
//! own threads move them, so that 64 MiB keep nobody else waiting.
//!
//! What an operation uses is the transfer's own: the bytes, and a descriptor of the file. So it may outlast the
//! connection and the worker that it was begun for; who of them is still there is asked at its end.

use std::os::fd::{AsFd, OwnedFd};

use hairtrigger_sandbox::channel::{Posted, Span};
use hairtrigger_sandbox::limits::DISCARD_ASIDE;

use super::Shard;
use super::connection::Phase;
use super::function::Flight;
use super::pool::WorkerId;
use super::ring::{Completion, Key};
use crate::outcome::Outcome;

/// A worker, by its function's index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) function: u32,
    pub(super) worker: WorkerId,
}

/// What moves, and what for.
#[derive(Debug)]
pub(super) enum Cargo {
    /// The body of this connection's request, into a worker's request file. The last bytes are still to be written.
    Request { caller: Key, body: Vec<u8> },
    /// The body of this connection's answer, from a worker's reply file; to be appended to `output`, of which all
    /// but the first `before` bytes are the answer's head.
    Reply { caller: Key, output: Vec<u8>, before: usize },
    /// Pages of a reply file that was read.
    ReplyPages,
    /// Pages of a request file that is not used.
    RequestPages,
}

/// One operation.
#[derive(Debug)]
enum Transfer {
    File {
        cargo: Cargo,
        holder: Holder,
        file: OwnedFd,
        /// What is still to be moved.
        span: Span,
    },
    /// Memory that nobody needs.
    Discard(Vec<u8>),
}

/// The operations under way, by index.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    places: Vec<Option<Box<Transfer>>>,
    free: Vec<u32>,
}

impl Transfers {
    fn insert(&mut self, transfer: Transfer) -> Option<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        self.places[index as usize] = Some(Box::new(transfer));
        // An operation completes once, and its place is its own until then: no generation is needed.
        Some(Key::new(index, 0))
    }

    fn remove(&mut self, key: Key) -> Option<Box<Transfer>> {
        let transfer = self.places.get_mut(key.index as usize)?.take()?;
        self.free.push(key.index);
        Some(transfer)
    }
}

impl Shard {
    /// Begins to move `cargo` between a worker's file and memory.
    pub(super) fn transfer(&mut self, cargo: Cargo, holder: Holder, file: OwnedFd, span: Span) {
        self.begin(Transfer::File { cargo, holder, file, span });
    }

    /// Frees memory; much of it without stopping the shard.
    pub(super) fn discard(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > DISCARD_ASIDE {
            bytes.clear();
            self.begin(Transfer::Discard(bytes));
        }
    }

    fn begin(&mut self, transfer: Transfer) {
        let Self { transfers, ring, .. } = self;
        let Some(key) = transfers.insert(transfer) else { return };
        let Some(Some(transfer)) = transfers.places.get_mut(key.index as usize) else { return };
        match &mut **transfer {
            Transfer::File { cargo: Cargo::Request { body, .. }, file, span, .. } => {
                let rest = &body[body.len() - span.length..];
                // SAFETY: bytes and file are the transfer's, which is kept as it is until the completion.
                unsafe { ring.write_aside(file.as_fd(), rest, span.offset, key) };
            }
            Transfer::File { cargo: Cargo::Reply { output, .. }, file, span, .. } => {
                let room = &mut output.spare_capacity_mut()[..span.length];
                // SAFETY: as above.
                unsafe { ring.read_aside(file.as_fd(), room, span.offset, key) };
            }
            Transfer::File { cargo: Cargo::ReplyPages | Cargo::RequestPages, file, span, .. } => {
                ring.clear_aside(file.as_fd(), span.offset, span.length, key);
            }
            Transfer::Discard(bytes) => {
                // SAFETY: as above.
                unsafe { ring.discard_aside(bytes.spare_capacity_mut(), key) };
            }
        }
    }

    /// The kernel has done what it could of an operation.
    pub(super) fn moved(&mut self, completion: &Completion, key: Key) {
        let Some(transfer) = self.transfers.remove(key) else { return };
        let (mut cargo, holder, file, mut span) = match *transfer {
            Transfer::File { cargo, holder, file, span } => (cargo, holder, file, span),
            // Its pages are gone; what is left costs little to free.
            Transfer::Discard(_) => return,
        };
        let again = matches!(-completion.result, libc::EINTR | libc::EAGAIN);
        let count = usize::try_from(completion.result).unwrap_or(0).min(span.length);
        span = Span { offset: span.offset + count as u64, length: span.length - count };
        match &mut cargo {
            Cargo::Reply { output, .. } => {
                // SAFETY: the kernel has written so many bytes behind those that were there, where there is room
                // for all of the span.
                unsafe { output.set_len(output.len() + count) };
            }
            Cargo::Request { .. } => {}
            Cargo::ReplyPages => return self.reply_is_read(holder),
            Cargo::RequestPages => return self.request_is_cleared(holder),
        }
        if span.length > 0 && (count > 0 || again) {
            return self.begin(Transfer::File { cargo, holder, file, span });
        }
        let whole = span.length == 0;
        match cargo {
            Cargo::Request { caller, body } => self.request_is_written(holder, caller, body, whole),
            Cargo::Reply { caller, output, before } => {
                self.clear_reply(holder, file);
                self.reply_has_come(caller, output, before, whole);
            }
            Cargo::ReplyPages | Cargo::RequestPages => {}
        }
    }

    /// The body of a request is in the channel, or cannot be put there: `whole` says which.
    fn request_is_written(&mut self, holder: Holder, caller: Key, body: Vec<u8>, whole: bool) {
        let Holder { function, worker } = holder;
        let waiting =
            self.connections.get_mut(caller).filter(|connection| connection.phase == Phase::Posting);
        let wanted = waiting.is_some();
        match waiting.and_then(|connection| connection.body.as_mut()) {
            Some(own) => own.give_back(body),
            None => self.discard(body),
        }
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let timeout = entry.profile.timeout;
        let live = entry.worker_of(worker.slot, worker.generation).filter(|live| live.killed_for.is_none());
        let Some(live) = live else {
            // It has gone meanwhile. It had not begun this.
            if wanted {
                self.wait_again(function, vec![Flight { connection: caller, sequence: 0 }]);
                self.serve_queue(function);
                self.want_workers(function);
            }
            return;
        };
        let posted = if wanted && whole { live.finish_post(caller, now, timeout) } else { Posted::Full };
        if posted == Posted::Full {
            live.channel.abandon_post();
            entry.pool.release(worker, now);
            if wanted {
                // The host has no memory for it, which is the one thing that goes wrong here.
                self.answer_outcome(caller, &Outcome::Overloaded, true);
            }
            self.serve_queue(function);
            return;
        }
        if let Some(connection) = self.connections.get_mut(caller) {
            connection.phase = Phase::Invoked;
            if let Some(exchange) = &mut connection.exchange {
                exchange.stamps.dispatched = now;
            }
        }
        self.posted(function, worker.slot, posted == Posted::MustWake);
    }

    /// The body of an answer is behind its head, or could not be read: `whole` says which.
    pub(super) fn reply_has_come(&mut self, caller: Key, mut output: Vec<u8>, before: usize, whole: bool) {
        let connection =
            self.connections.get_mut(caller).filter(|connection| connection.phase == Phase::Invoked);
        let Some(connection) = connection else { return self.discard(output) };
        if whole {
            connection.output = output;
            self.answered(caller);
        } else {
            output.truncate(before);
            connection.output = output;
            self.answer_outcome(caller, &Outcome::Overloaded, true);
        }
    }

    /// Nobody looks at the reply any more; its pages go before the worker hears of it.
    fn clear_reply(&mut self, holder: Holder, file: OwnedFd) {
        let Some(live) = self.holder(holder) else { return };
        match live.channel.clear_reply() {
            Some(span) => self.begin(Transfer::File { cargo: Cargo::ReplyPages, holder, file, span }),
            None => self.reply_is_read(holder),
        }
    }

    /// The worker may use the place of its reply, and get the next request.
    pub(super) fn reply_is_read(&mut self, holder: Holder) {
        let Holder { function, worker } = holder;
        self.clear_request(holder);
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function as usize) else { return };
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker_of(worker.slot, worker.generation) else { return };
        live.channel.done_with_reply();
        live.reading = false;
        live.head_changed(now, timeout);
        let more = !live.flights.is_empty();
        entry.pool.release(worker, now);
        if more {
            self.posted(function, worker.slot, false);
        }
        self.serve_queue(function);
    }

    /// Gives the pages of a large request back, if the worker has one that is done.
    pub(super) fn clear_request(&mut self, holder: Holder) {
        let Some(live) = self.holder(holder) else { return };
        let Some(span) = live.channel.clear_request() else { return };
        match live.channel.request_file().try_clone_to_owned() {
            Ok(file) => self.transfer(Cargo::RequestPages, holder, file, span),
            // They stay until the next large request is done.
            Err(_) => self.request_is_cleared(holder),
        }
    }

    fn request_is_cleared(&mut self, holder: Holder) {
        if let Some(live) = self.holder(holder) {
            live.channel.request_cleared();
            self.serve_queue(holder.function);
        }
    }

    fn holder(&mut self, Holder { function, worker }: Holder) -> Option<&mut super::function::Live> {
        self.functions.get_mut(function as usize)?.worker_of(worker.slot, worker.generation)
    }
}
