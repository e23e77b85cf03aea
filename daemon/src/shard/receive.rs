//! Bytes from clients → requests, and the life of a connection around them.

use std::os::fd::AsRawFd;

use hairtrigger_sandbox::limits::{
    INLINE_BODY, INPUT_HIGH_WATER, MAX_BODY_BYTES, MAX_OUTPUT_BYTES, OUTPUT_HIGH_WATER, SKIPPED_BODY,
};

use super::admin::AdminRequest;
use super::body::Body;
use super::chunked::ChunkError;
use super::connection::{Phase, Receive};
use super::exchange::{Exchange, Stamps};
use super::function::{Dispatch, Status};
use super::live::Caller;
use super::parse::{BadRequest, BodyLength, Version, parse_head};
use super::record::Start;
use super::ring::{Completion, Key};
use super::route::{NoRoute, Route, SERVER_ALLOWS, Target, is_local};
use super::{Door, Shard, nanoseconds, reply};
use crate::outcome::Outcome;

/// What to do after one look at a connection's input.
enum Next {
    /// Look again: the next request may be there.
    Again,
    /// Wait for something to happen.
    Wait,
}

/// The length of a body that stays in its connection's input.
fn inline(body: BodyLength) -> Option<usize> {
    let length = body.known().and_then(|length| usize::try_from(length).ok())?;
    (length <= INLINE_BODY).then_some(length)
}

impl Shard {
    pub(super) fn start_connection(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receive = Receive::Any;
        connection.received_at = now;
        let fd = connection.fd.as_raw_fd();
        self.ring.receive(fd, key);
        self.set_deadline(key, self.timeouts.idle);
    }

    pub(super) fn received(&mut self, completion: &Completion, key: Key) {
        let Some(connection) = self.connections.equipped(key) else {
            self.ring.take(completion, None);
            return;
        };
        if !completion.more {
            connection.receive = Receive::No;
        }
        let wanted = !matches!(connection.phase, Phase::Flushing | Phase::Lingering | Phase::Closed);
        if completion.result > 0 {
            if connection.input.is_empty() && connection.skip == 0 {
                connection.received_at = self.now;
            }
            self.ring.take(completion, wanted.then_some(&mut connection.input));
        } else {
            self.ring.take(completion, None);
            match -completion.result {
                // All buffers are taken, or the receive was stopped on purpose: no word about the client.
                libc::ENOBUFS | libc::ECANCELED => {}
                0 => connection.ended = true,
                _ => {
                    self.close(key);
                    return;
                }
            }
        }
        self.received_some(key);
    }

    /// A part of a body has arrived in its buffer.
    pub(super) fn filled(&mut self, completion: &Completion, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receive = Receive::No;
        match (usize::try_from(completion.result), connection.phase, &mut connection.body) {
            (Ok(0), _, _) => connection.ended = true,
            (Ok(count), Phase::Body, Some(body)) => {
                // SAFETY: the kernel says that it has received so many bytes; it was given `room` to put them,
                // and while it had it nobody touched the body.
                match unsafe { body.filled(count) } {
                    Ok(behind) => connection.input.extend_from_slice(behind),
                    Err(bad) => {
                        self.refuse_body(key, bad);
                        return;
                    }
                }
            }
            // The request has been answered meanwhile.
            (Ok(_), _, _) => {}
            (Err(_), _, _) if matches!(-completion.result, libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
            (Err(_), _, _) => {
                self.close(key);
                return;
            }
        }
        if connection.phase != Phase::Body
            && let Some(body) = connection.body.take()
        {
            self.discard(body.into_bytes());
        }
        self.received_some(key);
    }

    fn received_some(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Closed || (connection.phase == Phase::Lingering && connection.ended) {
            self.close(key);
            return;
        }
        self.advance(key);
        self.keep_receiving(key);
    }

    /// Arms or stops the receive, as the connection's state asks for.
    pub(super) fn keep_receiving(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let wanted = match connection.phase {
            Phase::Body if connection.body.as_ref().is_some_and(|body| body.is_long()) => Receive::Direct,
            Phase::Head | Phase::Queued | Phase::Posting | Phase::Invoked => {
                let own = connection.exchange.as_ref().map_or(0, |exchange| exchange.length);
                let ahead = connection.input.len().saturating_sub(own) > INPUT_HIGH_WATER;
                if ahead { Receive::No } else { Receive::Any }
            }
            Phase::Closed => Receive::No,
            // A body is as long as its function may take; that is checked.
            Phase::Body | Phase::Flushing | Phase::Lingering => Receive::Any,
        };
        connection.paused = wanted == Receive::No;
        let fd = connection.fd.as_raw_fd();
        match (connection.receive, wanted) {
            (Receive::Any, Receive::No | Receive::Direct) => {
                connection.receive = Receive::Stopping;
                self.ring.stop_receiving(key);
            }
            (Receive::No, Receive::Any) if !connection.ended => {
                connection.receive = Receive::Any;
                self.ring.receive(fd, key);
            }
            (Receive::No, Receive::Direct) if !connection.ended => {
                let Some(body) = &mut connection.body else { return };
                connection.receive = Receive::Direct;
                // SAFETY: while `Receive::Direct` a body is neither added to nor dropped, its buffer never
                // grows, and the connection is not removed before the completion.
                unsafe { self.ring.fill(fd, body.room(), key) };
            }
            _ => {}
        }
    }

    /// Does whatever the bytes that are there allow.
    pub(super) fn advance(&mut self, key: Key) {
        while let Next::Again = self.look(key) {}
        let paused = self.connections.get_mut(key).is_some_and(|connection| connection.paused);
        if paused {
            self.keep_receiving(key);
        }
        self.flush(key);
    }

    fn look(&mut self, key: Key) -> Next {
        let Some(connection) = self.connections.get_mut(key) else { return Next::Wait };
        match connection.phase {
            Phase::Head if connection.skip > 0 && !connection.input.is_empty() => self.skip_body(key),
            Phase::Head if connection.output.len() > OUTPUT_HIGH_WATER => Next::Wait,
            Phase::Head if connection.input.is_empty() && connection.ended => {
                self.finish(key);
                Next::Wait
            }
            Phase::Head if connection.input.is_empty() => {
                self.connections.rest(key);
                self.set_deadline(key, self.timeouts.idle);
                Next::Wait
            }
            Phase::Head => self.look_at_head(key),
            Phase::Body => self.look_at_body(key),
            Phase::Queued
            | Phase::Posting
            | Phase::Invoked
            | Phase::Flushing
            | Phase::Lingering
            | Phase::Closed => Next::Wait,
        }
    }

    fn look_at_head(&mut self, key: Key) -> Next {
        let Self {
            connections, routing, scratch, functions, ids, now, local_only, output_bytes, peers, ..
        } = self;
        let Some(connection) = connections.equipped(key) else { return Next::Wait };
        let head = match parse_head(&connection.input, &mut scratch.table, &mut connection.progress) {
            Ok(Some(head)) => head,
            Ok(None) if connection.ended => {
                self.finish(key);
                return Next::Wait;
            }
            Ok(None) => {
                let received_at = connection.received_at;
                self.set_deadline_at(key, received_at + nanoseconds(self.timeouts.head));
                return Next::Wait;
            }
            Err(bad) => {
                self.refuse(key, bad);
                return Next::Wait;
            }
        };
        let mut exchange = Exchange {
            function: u32::MAX,
            route: Target::DEFAULT,
            id: ids.next(),
            head: head.head_len,
            length: head.head_len,
            counted: 0,
            credited: 0,
            keep_alive: head.keep_alive && !self.draining,
            http10: head.version == Version::Http10,
            head_only: head.method == b"HEAD",
            prefers_text: head.prefers_text,
            timed: false,
            start: Start::Warm,
            takes_trailers: head.takes_trailers,
            retried: false,
            stamps: Stamps { received: connection.received_at, parsed: *now, ..Stamps::default() },
        };
        if *local_only && connection.door == Door::Tcp && !head.host.is_none_or(is_local) {
            connection.exchange = Some(exchange);
            self.answer_foreign_host(key);
            return Next::Wait;
        }
        let body = head.body;
        let wants_continue = head.expect_continue;
        match routing.router.resolve(head.method, head.host, head.path) {
            Ok(Route::Function(target)) => {
                exchange.function = target.function;
                exchange.route = target.route;
                let Some(function) = functions.get_mut(target.function) else {
                    unreachable!("what is routed was begun, and is retired only once it is routed no more")
                };
                let limit = function.profile.max_request;
                if body.known().is_some_and(|length| length > limit) {
                    connection.decline_body(&mut exchange, body, 0);
                    connection.exchange = Some(exchange);
                    self.answer_outcome(key, &Outcome::RequestTooLarge { limit }, true);
                    return Next::Again;
                }
                if *output_bytes as u64 > MAX_OUTPUT_BYTES / peers.len().max(1) as u64 {
                    connection.decline_body(&mut exchange, body, 0);
                    connection.exchange = Some(exchange);
                    self.answer_outcome(key, &Outcome::NO_MEMORY, true);
                    return Next::Again;
                }
                if let Some(outcome) = function.beyond_rate(*now) {
                    let spare = if wants_continue { 0 } else { SKIPPED_BODY };
                    connection.decline_body(&mut exchange, body, spare);
                    connection.exchange = Some(exchange);
                    self.answer_outcome(key, &outcome, true);
                    return Next::Again;
                }
                let here = connection.input.len() - exchange.head;
                let inline = inline(body).filter(|length| *length <= here);
                let Some(length) = inline else {
                    connection.exchange = Some(exchange);
                    return self.await_body(key, body, limit, wants_continue);
                };
                exchange.length += length;
                // The common case: whole, nobody waits, a worker is free. No second look at the head.
                if function.queue.is_empty() && matches!(function.status, Status::Ready) {
                    let content = exchange.content(&connection.input, None);
                    let caller = Caller::Connection(key);
                    if let Dispatch::Posted { slot, wake, timed } =
                        function.post_head(&head, content, &exchange, caller, *now, &mut scratch.encoded)
                    {
                        exchange.stamps.dispatched = *now;
                        exchange.timed = timed;
                        connection.exchange = Some(exchange);
                        connection.phase = Phase::Invoked;
                        connection.deadline = u64::MAX;
                        self.posted(target.function, slot, wake);
                        return Next::Wait;
                    }
                }
                connection.exchange = Some(exchange);
                self.submit(key);
                Next::Again
            }
            Ok(Route::System(path)) => {
                let healthy = path == b"health";
                let asked = (!healthy && connection.door == Door::Admin).then(|| AdminRequest {
                    connection: key,
                    method: head.method.into(),
                    path: path.into(),
                });
                let spare = if wants_continue { 0 } else { SKIPPED_BODY };
                connection.decline_body(&mut exchange, body, spare);
                connection.exchange = Some(exchange);
                match asked {
                    Some(request) => {
                        self.ask_control(request);
                        Next::Wait
                    }
                    None => {
                        self.answer_system(key, healthy);
                        Next::Again
                    }
                }
            }
            Ok(Route::Server) => {
                let spare = if wants_continue { 0 } else { SKIPPED_BODY };
                connection.decline_body(&mut exchange, body, spare);
                connection.exchange = Some(exchange);
                self.answer_options(key, SERVER_ALLOWS);
                Next::Again
            }
            Err(nothing) => {
                let spare = if wants_continue { 0 } else { SKIPPED_BODY };
                let options = head.method == b"OPTIONS";
                connection.decline_body(&mut exchange, body, spare);
                connection.exchange = Some(exchange);
                match &nothing {
                    NoRoute::MethodNotAllowed { allow } if options => self.answer_options(key, allow),
                    nothing => self.answer_no_route(key, nothing),
                }
                Next::Again
            }
        }
    }

    /// The head is there, its body is not, or it is to be moved to a buffer of its own.
    fn await_body(&mut self, key: Key, body: BodyLength, limit: u64, wants_continue: bool) -> Next {
        let Some(connection) = self.connections.get_mut(key) else { return Next::Wait };
        let Some(exchange) = &mut connection.exchange else { return Next::Wait };
        let here = connection.input.len() - exchange.head;
        if let Some(length) = inline(body) {
            exchange.length += length;
            connection.input.reserve(exchange.length.saturating_sub(connection.input.len()));
        } else {
            let body = body.known().map_or_else(|| Some(Body::chunked(limit)), Body::sized);
            let Some(body) = body else {
                self.answer_outcome(key, &Outcome::NO_MEMORY, false);
                return Next::Wait;
            };
            connection.body = Some(Box::new(body));
        }
        connection.phase = Phase::Body;
        // One who has begun to send does not wait.
        if wants_continue && here == 0 {
            connection.output.extend_from_slice(reply::CONTINUE);
        }
        self.set_deadline(key, self.timeouts.body);
        Next::Again
    }

    /// What this shard may have of a bound that is the daemon's, in bytes.
    fn share_of(&self, bound: u64) -> u64 {
        bound / self.peers.len().max(1) as u64
    }

    fn look_at_body(&mut self, key: Key) -> Next {
        let Some(connection) = self.connections.get_mut(key) else { return Next::Wait };
        let Some(exchange) = &mut connection.exchange else { return Next::Wait };
        let (here, whole) = match &mut connection.body {
            Some(body) => {
                let taken = match body.take(&connection.input[exchange.head..]) {
                    Ok(taken) => taken,
                    Err(bad) => {
                        self.refuse_body(key, bad);
                        return Next::Wait;
                    }
                };
                connection.input.drain(exchange.head..exchange.head + taken);
                (body.bytes().len(), body.is_whole())
            }
            None => {
                let here = connection.input.len().min(exchange.length);
                (here - exchange.head, here == exchange.length)
            }
        };
        self.body_bytes += here as u64 - exchange.counted;
        exchange.counted = here as u64;
        let others = self.body_bytes - exchange.counted;
        if whole {
            self.submit(key);
            return Next::Again;
        }
        if connection.ended {
            self.finish(key);
        } else if others > 0 && self.body_bytes > self.share_of(MAX_BODY_BYTES) {
            self.answer_outcome(key, &Outcome::NO_MEMORY, false);
        }
        Next::Wait
    }

    /// What comes is no chunked body, or too long a one.
    fn refuse_body(&mut self, key: Key, why: ChunkError) {
        match why {
            ChunkError::Bad(bad) => self.refuse(key, bad),
            ChunkError::TooLarge => {
                let exchange = self.connections.get_mut(key).and_then(|connection| connection.exchange);
                let function = exchange.and_then(|exchange| self.functions.get(exchange.function));
                let limit = function.map_or(0, |function| function.profile.max_request);
                self.answer_outcome(key, &Outcome::RequestTooLarge { limit }, false);
            }
        }
    }

    /// Throws away what has come of a body that nobody wants.
    fn skip_body(&mut self, key: Key) -> Next {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return Next::Wait };
        let count = usize::try_from(connection.skip).unwrap_or(usize::MAX).min(connection.input.len());
        connection.input.drain(..count);
        connection.skip -= count as u64;
        if connection.skip == 0 {
            connection.received_at = now;
        }
        Next::Again
    }

    /// Malformed: one answer, and the end.
    fn refuse(&mut self, key: Key, bad: BadRequest) {
        self.answer_refusal(key, bad);
    }
}
