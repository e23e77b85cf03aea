//! Bytes from clients → requests, and the life of a connection around them.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use hairtrigger_sandbox::limits::{
    BODY_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, INPUT_HIGH_WATER, LINGER_TIMEOUT, MAX_BODY_BYTES,
    MAX_OUTPUT_BYTES, OUTPUT_HIGH_WATER, WRITE_TIMEOUT,
};

use super::connection::{Connection, Exchange, Phase, Stamps};
use super::function::{Caller, Dispatch, Status};
use super::parse::{BadRequest, Version, parse_head};
use super::ring::{Completion, Key};
use super::route::{Route, is_local};
use super::{Alarm, Door, Shard, nanoseconds, reply};
use crate::outcome::Outcome;

/// What to do after one look at a connection's input.
enum Next {
    /// Look again: the next request may be there.
    Again,
    /// Wait for something to happen.
    Wait,
}

impl Shard {
    pub(super) fn start_connection(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.receive_armed = true;
        connection.received_at = now;
        let fd = connection.fd.as_raw_fd();
        self.ring.receive(fd, key);
        self.set_deadline(key, IDLE_TIMEOUT);
    }

    pub(super) fn received(&mut self, completion: &Completion, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            self.ring.take(completion, None);
            return;
        };
        connection.receive_armed = completion.more;
        let wanted = !matches!(connection.phase, Phase::Flushing | Phase::Lingering | Phase::Closed);
        if completion.result > 0 {
            if connection.input.is_empty() {
                connection.received_at = self.now;
            }
            let before = connection.input.len();
            self.ring.take(completion, wanted.then_some(&mut connection.input));
            if let (Phase::Body, Some(exchange)) = (connection.phase, &mut connection.exchange) {
                let more = (connection.input.len() - before) as u64;
                exchange.counted += more;
                self.body_bytes += more;
                if self.body_bytes > MAX_BODY_BYTES {
                    self.answer_outcome(key, &Outcome::Overloaded, false);
                    return;
                }
            }
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
        if connection.phase == Phase::Closed || (connection.phase == Phase::Lingering && connection.ended) {
            self.close(key);
            return;
        }
        self.advance(key);
        self.keep_receiving(key);
    }

    /// Arms or stops the receive, as the connection's state asks for.
    fn keep_receiving(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ahead = match connection.phase {
            // A body may be as long as its head said; that was checked.
            Phase::Body => false,
            Phase::Head | Phase::Queued | Phase::Invoked => {
                let own = connection.exchange.as_ref().map_or(0, |exchange| exchange.length);
                connection.input.len().saturating_sub(own) > INPUT_HIGH_WATER
            }
            Phase::Flushing | Phase::Lingering | Phase::Closed => false,
        };
        connection.paused = ahead;
        if ahead && connection.receive_armed {
            self.ring.stop_receiving(key);
        } else if !ahead
            && !connection.receive_armed
            && !connection.ended
            && connection.phase != Phase::Closed
        {
            connection.receive_armed = true;
            let fd = connection.fd.as_raw_fd();
            self.ring.receive(fd, key);
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
            Phase::Head if connection.output.len() > OUTPUT_HIGH_WATER => Next::Wait,
            Phase::Head if connection.input.is_empty() && connection.ended => {
                self.finish(key);
                Next::Wait
            }
            Phase::Head if connection.input.is_empty() => {
                self.set_deadline(key, IDLE_TIMEOUT);
                Next::Wait
            }
            Phase::Head => self.look_at_head(key),
            Phase::Body => {
                let wanted = connection.exchange.as_ref().map_or(0, |exchange| exchange.length);
                if connection.input.len() >= wanted {
                    self.submit(key);
                    Next::Again
                } else {
                    if connection.ended {
                        self.finish(key);
                    }
                    Next::Wait
                }
            }
            Phase::Queued | Phase::Invoked | Phase::Flushing | Phase::Lingering | Phase::Closed => Next::Wait,
        }
    }

    fn look_at_head(&mut self, key: Key) -> Next {
        let Self { connections, routing, scratch, functions, ids, now, local_only, output_bytes, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return Next::Wait };
        let head = match parse_head(&connection.input, &mut scratch.table, &mut connection.progress) {
            Ok(Some(head)) => head,
            Ok(None) if connection.ended => {
                self.finish(key);
                return Next::Wait;
            }
            Ok(None) => {
                let received_at = connection.received_at;
                self.set_deadline_at(key, received_at + nanoseconds(HEAD_TIMEOUT));
                return Next::Wait;
            }
            Err(bad) => {
                self.refuse(key, bad);
                return Next::Wait;
            }
        };
        if *local_only && connection.door == Door::Tcp && !head.host.is_none_or(is_local) {
            self.answer_foreign_host(key);
            return Next::Wait;
        }
        let mut exchange = Exchange {
            function: u32::MAX,
            id: ids.next(),
            length: 0,
            body: head.content_length,
            counted: 0,
            keep_alive: head.keep_alive && !self.draining,
            http10: head.version == Version::Http10,
            head_only: head.method == b"HEAD",
            prefers_text: head.prefers_text,
            stamps: Stamps { received: connection.received_at, parsed: *now, ..Stamps::default() },
        };
        let head_len = head.head_len;
        let length = usize::try_from(head.content_length).ok().and_then(|body| body.checked_add(head_len));
        let wants_continue = head.expect_continue;
        match routing.router.resolve(head.path) {
            Ok(Route::Function(index)) => {
                exchange.function = index.0;
                let Some(function) = functions.get_mut(index.0) else {
                    unreachable!("what is routed was begun, and is retired only once it is routed no more")
                };
                let limit = function.profile.max_request;
                let (Some(length), true) = (length, head.content_length <= limit) else {
                    connection.exchange = Some(exchange);
                    self.answer_outcome(key, &Outcome::RequestTooLarge { limit }, false);
                    return Next::Wait;
                };
                exchange.length = length;
                if *output_bytes > MAX_OUTPUT_BYTES {
                    connection.exchange = Some(exchange);
                    self.answer_outcome(key, &Outcome::Overloaded, false);
                    return Next::Wait;
                }
                if connection.input.len() < length {
                    connection.exchange = Some(exchange);
                    self.await_body(key, wants_continue);
                    return Next::Wait;
                }
                // The common case: whole, nobody waits, a worker is free. No second look at the head.
                if function.queue.is_empty() && matches!(function.status, Status::Ready) {
                    let body = &connection.input[head_len..length];
                    let id = &exchange.id;
                    let caller = Caller::Connection(key);
                    if let Dispatch::Posted { slot, wake } =
                        function.post_head(&head, body, id, caller, *now, &mut scratch.encoded)
                    {
                        exchange.stamps.dispatched = *now;
                        connection.exchange = Some(exchange);
                        connection.phase = Phase::Invoked;
                        connection.deadline = u64::MAX;
                        self.posted(index.0, slot, wake);
                        return Next::Wait;
                    }
                }
                connection.exchange = Some(exchange);
                self.submit(key);
                Next::Again
            }
            Ok(Route::System(path)) => {
                let healthy = path == b"health";
                // A body that nobody reads ends the connection.
                exchange.keep_alive &= exchange.body == 0;
                exchange.length = head_len;
                connection.exchange = Some(exchange);
                self.answer_system(key, healthy);
                Next::Again
            }
            Err(nothing) => {
                exchange.keep_alive &= exchange.body == 0;
                exchange.length = head_len;
                connection.exchange = Some(exchange);
                self.answer_unknown(key, &nothing);
                Next::Again
            }
        }
    }

    fn await_body(&mut self, key: Key, wants_continue: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        connection.phase = Phase::Body;
        if wants_continue && connection.input.len() < exchange.length {
            connection.output.extend_from_slice(reply::CONTINUE);
        }
        self.set_deadline(key, BODY_TIMEOUT);
    }

    /// Malformed: one answer, and the end.
    fn refuse(&mut self, key: Key, bad: BadRequest) {
        self.answer_refusal(key, bad);
    }

    // ---- output ------------------------------------------------------------------------------

    /// Hands the output to the kernel, unless it still has some.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.send_armed || connection.output.is_empty() || connection.phase == Phase::Closed {
            return;
        }
        std::mem::swap(&mut connection.output, &mut connection.sending);
        self.send(key);
    }

    fn send(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.send_armed = true;
        connection.write_deadline = self.now + nanoseconds(WRITE_TIMEOUT);
        let fd = connection.fd.as_raw_fd();
        let rest = &connection.sending[connection.sent..];
        // SAFETY: `sending` is not touched while `send_armed` is set, and the connection is not removed
        // before the completion has cleared it.
        unsafe { self.ring.send(fd, rest, key) };
        self.arm_timer(key);
    }

    pub(super) fn sent(&mut self, completion: &Completion, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.send_armed = false;
        connection.write_deadline = u64::MAX;
        let Ok(count) = usize::try_from(completion.result) else {
            self.close(key);
            return;
        };
        if connection.phase == Phase::Closed {
            self.close(key);
            return;
        }
        connection.sent += count;
        if connection.sent < connection.sending.len() {
            self.send(key);
            return;
        }
        connection.all_sent();
        let Some(connection) = self.count_output(key) else { return };
        if !connection.output.is_empty() {
            self.flush(key);
        } else if connection.phase == Phase::Flushing {
            self.linger(key);
        } else if connection.phase == Phase::Head {
            // The next request may have waited for room.
            self.advance(key);
        }
    }

    /// Brings the shard's sum of unsent output up to date.
    pub(super) fn count_output(&mut self, key: Key) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(key)?;
        let unsent = if connection.phase == Phase::Closed { 0 } else { connection.unsent() };
        self.output_bytes = self.output_bytes - connection.counted_output + unsent;
        connection.counted_output = unsent;
        Some(connection)
    }

    // ---- ends --------------------------------------------------------------------------------

    /// Nothing more is to come: closes once the output is sent.
    pub(super) fn finish(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.phase = Phase::Flushing;
        connection.input.clear();
        self.body_bytes -= connection.end_exchange();
        if connection.output.is_empty() && !connection.send_armed {
            self.linger(key);
        } else {
            self.flush(key);
        }
    }

    fn linger(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.ended {
            self.close(key);
            return;
        }
        hairtrigger_sandbox::shut_down_writing(connection.fd.as_fd());
        connection.phase = Phase::Lingering;
        self.set_deadline(key, LINGER_TIMEOUT);
        self.keep_receiving(key);
    }

    /// Closes now; the place is free once the kernel has no more to say about it.
    pub(super) fn close(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase != Phase::Closed {
            let queued = connection.phase == Phase::Queued;
            let function = connection.exchange.as_ref().map(|exchange| exchange.function);
            connection.phase = Phase::Closed;
            self.body_bytes -= connection.end_exchange();
            if let (true, Some(entry)) = (queued, function.and_then(|f| self.functions.get_mut(f))) {
                entry.queue.retain(|(waiting, _)| *waiting != Caller::Connection(key));
            }
            self.count_output(key);
            let Some(connection) = self.connections.get_mut(key) else { return };
            hairtrigger_sandbox::shut_down(connection.fd.as_fd());
            if let Some((timer, _)) = connection.timer.take() {
                self.wheel.cancel(timer);
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.receive_armed && !connection.send_armed {
            self.connections.remove(key);
        }
    }

    // ---- deadlines ---------------------------------------------------------------------------

    pub(super) fn set_deadline(&mut self, key: Key, after: Duration) {
        self.set_deadline_at(key, self.now + nanoseconds(after));
    }

    pub(super) fn set_deadline_at(&mut self, key: Key, at: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.deadline = at;
        self.arm_timer(key);
    }

    /// The timer is moved only to an earlier time; one that fires too early is set again.
    fn arm_timer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let at = connection.look_at();
        if at == u64::MAX || connection.timer.is_some_and(|(_, fires)| fires <= at) {
            return;
        }
        if let Some((timer, _)) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        connection.timer = Some((self.wheel.insert(at, Alarm::Connection(key).pack()), at));
    }

    /// While a worker has the request, the invocation's deadline counts.
    pub(super) fn clear_deadline(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.deadline = u64::MAX;
        }
    }

    pub(super) fn connection_alarm(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.timer = None;
        if connection.look_at() > self.now {
            self.arm_timer(key);
            return;
        }
        if connection.write_deadline <= self.now {
            self.close(key);
            return;
        }
        match connection.phase {
            // A client that is slow with its request is told so; an idle one is just closed.
            Phase::Head if connection.input.is_empty() => self.close(key),
            Phase::Head if connection.output.is_empty() => self.answer_too_slow(key, "head"),
            Phase::Body if connection.output.is_empty() => self.answer_too_slow(key, "body"),
            Phase::Queued => self.waited_too_long(key),
            Phase::Head
            | Phase::Body
            | Phase::Invoked
            | Phase::Flushing
            | Phase::Lingering
            | Phase::Closed => {
                self.close(key);
            }
        }
    }
}
