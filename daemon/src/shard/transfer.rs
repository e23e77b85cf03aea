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
use super::handover::Response;
use super::live::{Begun, Caller, Flight, Live};
use super::pool::WorkerId;
use super::record::Said;
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
enum Cargo {
    /// The body of a request, into a worker's request file. The last bytes are still to be written.
    Request { caller: Caller, body: Vec<u8> },
    /// The body of an answer, from a worker's reply file.
    Reply { caller: Caller, answer: Unfinished },
    /// Pages of a reply file that was read.
    ReplyPages,
    /// Pages of a request file that is not used.
    RequestPages,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// What the body is appended to: all but the first `before` bytes are the answer's head.
    pub(super) response: Response,
    pub(super) before: usize,
    /// What comes behind the body.
    pub(super) tail: Vec<u8>,
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
    /// Has the body of a request written into the channel of the worker that was reserved for it.
    pub(super) fn post_large(&mut self, caller: Caller, function: u32, begun: Begun, body: Vec<u8>) {
        let Begun { worker, file, span } = begun;
        let holder = Holder { function, worker };
        self.start(Transfer::File { cargo: Cargo::Request { caller, body }, holder, file, span });
    }

    /// Has the body of a reply read; until then its worker begins nothing.
    pub(super) fn take_large(&mut self, holder: Holder, caller: Caller, mut answer: Unfinished, span: Span) {
        let Holder { function, worker } = holder;
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker(worker.slot) else { return };
        let (_, served) = live.first_ended(now, timeout);
        live.reading = true;
        let file = answer.response.bytes.try_reserve_exact(span.length + answer.tail.len()).ok();
        let file = file.and_then(|()| live.channel.reply_file().try_clone_to_owned().ok());
        entry.served(served);
        if let Some(file) = file {
            self.start(Transfer::File { cargo: Cargo::Reply { caller, answer }, holder, file, span });
        } else {
            self.reply_is_read(holder);
            self.reply_has_come(caller, answer, false);
        }
    }

    /// Frees memory; much of it without stopping the shard.
    pub(super) fn discard(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > DISCARD_ASIDE {
            bytes.clear();
            self.start(Transfer::Discard(bytes));
        }
    }

    fn start(&mut self, transfer: Transfer) {
        let Self { transfers, ring, .. } = self;
        let Some(key) = transfers.insert(transfer) else { return };
        let Some(Some(transfer)) = transfers.places.get_mut(key.index as usize) else { return };
        match &mut **transfer {
            Transfer::File { cargo: Cargo::Request { body, .. }, file, span, .. } => {
                let rest = &body[body.len() - span.length..];
                // SAFETY: bytes and file are the transfer's, which is kept as it is until the completion.
                unsafe { ring.write_aside(file.as_fd(), rest, span.offset, key) };
            }
            Transfer::File { cargo: Cargo::Reply { answer, .. }, file, span, .. } => {
                let room = &mut answer.response.bytes.spare_capacity_mut()[..span.length];
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
            Cargo::Reply { answer: Unfinished { response: Response { bytes, .. }, .. }, .. } => {
                // SAFETY: the kernel has written so many bytes behind those that were there, where there is room
                // for all of the span.
                unsafe { bytes.set_len(bytes.len() + count) };
            }
            Cargo::Request { .. } => {}
            Cargo::ReplyPages => return self.reply_is_read(holder),
            Cargo::RequestPages => return self.request_is_cleared(holder),
        }
        if span.length > 0 && (count > 0 || again) {
            return self.start(Transfer::File { cargo, holder, file, span });
        }
        let whole = span.length == 0;
        match cargo {
            Cargo::Request { caller, body } => self.request_is_written(holder, caller, body, whole),
            Cargo::Reply { caller, answer } => {
                self.clear_reply(holder, file);
                self.reply_has_come(caller, answer, whole);
            }
            Cargo::ReplyPages | Cargo::RequestPages => {}
        }
    }

    /// The body of a request is in the channel, or cannot be put there: `whole` says which.
    fn request_is_written(&mut self, holder: Holder, caller: Caller, body: Vec<u8>, whole: bool) {
        let Holder { function, worker } = holder;
        let wanted = self.give_body_back(caller, body);
        let invocation = self.exchange(caller).map(|exchange| exchange.id);
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else {
            unreachable!("a version stays while bodies are on their way to its workers")
        };
        entry.away -= 1;
        let timeout = entry.profile.timeout;
        entry.read_before_first(worker.slot, now);
        let live = entry.worker_of(worker.slot, worker.generation).filter(|live| live.killed_for.is_none());
        let Some(live) = live else {
            // It has gone meanwhile. It had not begun this.
            if wanted {
                self.wait_again(function, vec![Flight::not_begun(caller)]);
                self.serve_queue(function);
                self.want_workers(function);
            }
            return;
        };
        let posted = match invocation.filter(|_| wanted && whole) {
            Some(invocation) => live.finish_post(caller, invocation, now, timeout),
            None => Posted::Full,
        };
        if posted == Posted::Full {
            live.channel.abandon_post();
            self.release(function, worker);
            if wanted {
                // The host has no memory for it, which is the one thing that goes wrong here.
                self.answer_caller(caller, &Outcome::NO_MEMORY);
            }
            self.serve_queue(function);
            return;
        }
        if let Some(exchange) = self.exchange(caller) {
            exchange.stamps.dispatched = now;
        }
        if let Caller::Connection(key) = caller
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.phase = Phase::Invoked;
        }
        self.posted(function, worker.slot, posted == Posted::MustWake);
    }

    /// Gives the caller back what it lent; whether it still waits.
    fn give_body_back(&mut self, caller: Caller, body: Vec<u8>) -> bool {
        let left = match caller {
            Caller::Connection(key) => {
                let connection = self.connections.get_mut(key).filter(|c| c.phase == Phase::Posting);
                match connection.and_then(|connection| connection.body.as_mut()) {
                    Some(own) => {
                        own.give_back(body);
                        Ok(())
                    }
                    None => Err(body),
                }
            }
            Caller::Parcel(key) => self.parcels.give_back(key, body),
        };
        left.map_err(|body| self.discard(body)).is_ok()
    }

    /// The body of an answer is behind its head, or could not be read: `whole` says which.
    fn reply_has_come(&mut self, caller: Caller, answer: Unfinished, whole: bool) {
        let Unfinished { mut response, before, tail } = answer;
        if whole {
            response.bytes.extend_from_slice(&tail);
        } else {
            response.bytes.truncate(before);
        }
        let key = match caller {
            Caller::Connection(key) => key,
            Caller::Parcel(key) => {
                let result = if whole { Ok(response) } else { Err(Outcome::NO_MEMORY) };
                return self.return_parcel(key, result);
            }
        };
        let Response { status, length, times, bytes } = response;
        let connection =
            self.connections.get_mut(key).filter(|connection| connection.phase == Phase::Invoked);
        let Some(connection) = connection else { return self.discard(bytes) };
        connection.output = bytes;
        if whole {
            self.record(key, Said::Response { status, length, times });
            self.answered(key);
        } else {
            self.answer_outcome(key, &Outcome::NO_MEMORY, true);
        }
    }

    /// Has the pages of a large reply given back whose body nobody wants: to HEAD, or to one who has left. False if it
    /// is not large; else its worker begins nothing until that is done, as with one that is read.
    pub(super) fn leave_unread(&mut self, holder: Holder) -> bool {
        let Some(live) = self.holder(holder) else { return false };
        if !live.channel.has_large_reply() {
            return false;
        }
        let Ok(file) = live.channel.reply_file().try_clone_to_owned() else { return false };
        live.reading = true;
        self.clear_reply(holder, file);
        true
    }

    /// Nobody looks at the reply any more; its pages go before the worker hears of it.
    fn clear_reply(&mut self, holder: Holder, file: OwnedFd) {
        let Some(live) = self.holder(holder) else { return };
        match live.channel.clear_reply() {
            Some(span) => self.start(Transfer::File { cargo: Cargo::ReplyPages, holder, file, span }),
            None => self.reply_is_read(holder),
        }
    }

    /// The worker may use the place of its reply, and get the next request.
    fn reply_is_read(&mut self, holder: Holder) {
        let Holder { function, worker } = holder;
        self.clear_request(holder);
        let now = self.now;
        let Some(entry) = self.functions.get_mut(function) else { return };
        let timeout = entry.profile.timeout;
        let Some(live) = entry.worker_of(worker.slot, worker.generation) else { return };
        live.channel.done_with_reply();
        live.reading = false;
        live.head_changed(now, timeout);
        let more = !live.flights.is_empty();
        self.release(function, worker);
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
            Ok(file) => {
                self.start(Transfer::File { cargo: Cargo::RequestPages, holder, file, span });
            }
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

    fn holder(&mut self, Holder { function, worker }: Holder) -> Option<&mut Live> {
        self.functions.get_mut(function)?.worker_of(worker.slot, worker.generation)
    }
}
