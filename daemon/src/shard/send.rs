//! Bytes → clients, the ends of connections, and their deadlines.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use hairtrigger_sandbox::limits::{DISCARD_ASIDE, LINGER_TIMEOUT, TRANSFER_SLICE};

use super::connection::{Connection, Phase, Receive};
use super::live::Caller;
use super::record::Said;
use super::ring::{Completion, Key};
use super::{Alarm, Shard, nanoseconds};
use crate::outcome::Outcome;

impl Shard {
    /// Hands the output to the kernel, unless it still has some.
    pub(super) fn flush(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.send_armed || connection.output.is_empty() || connection.phase == Phase::Closed {
            return;
        }
        std::mem::swap(&mut connection.output, &mut connection.sending);
        connection.write_deadline = self.now + nanoseconds(self.timeouts.write);
        connection.write_credited = 0;
        self.send(key);
    }

    fn send(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.send_armed = true;
        let fd = connection.fd.as_raw_fd();
        let rest = &connection.sending[connection.sent..];
        let rest = &rest[..rest.len().min(TRANSFER_SLICE)];
        // SAFETY: `sending` is not touched while `send_armed` is set, and the connection is not removed
        // before the completion has cleared it.
        unsafe { self.ring.send(fd, rest, key) };
        self.arm_timer(key);
    }

    pub(super) fn sent(&mut self, completion: &Completion, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.send_armed = false;
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
        let buffer = connection.all_sent();
        self.discard(buffer);
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
        self.end_exchange(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.output.is_empty() && !connection.send_armed {
            self.linger(key);
        } else {
            self.flush(key);
        }
    }

    /// Forgets the request under way.
    pub(super) fn end_exchange(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (counted, buffer) = connection.end_exchange();
        self.body_bytes -= counted;
        self.discard(buffer);
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
            let awaited = matches!(connection.phase, Phase::Queued | Phase::Posting | Phase::Invoked);
            if awaited && function.is_some_and(|function| self.functions.get(function).is_some()) {
                self.record(key, Said::Outcome(&Outcome::ClientGone));
            }
            let Some(connection) = self.connections.get_mut(key) else { return };
            connection.phase = Phase::Closed;
            self.end_exchange(key);
            if let (true, Some(entry)) = (queued, function.and_then(|f| self.functions.get_mut(f))) {
                entry.queue.remove(Caller::Connection(key));
            }
            self.count_output(key);
            let Some(connection) = self.connections.get_mut(key) else { return };
            hairtrigger_sandbox::shut_down(connection.fd.as_fd());
            if let Some((timer, _)) = connection.timer.take() {
                self.wheel.cancel(timer);
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.receive == Receive::No && !connection.send_armed {
            // Long ones take long to free.
            let buffers = [&mut connection.output, &mut connection.sending];
            let long = buffers.map(|buffer| {
                if buffer.capacity() > DISCARD_ASIDE { std::mem::take(buffer) } else { Vec::new() }
            });
            long.into_iter().for_each(|buffer| self.discard(buffer));
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
        connection.credit(self.now);
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
            | Phase::Posting
            | Phase::Invoked
            | Phase::Flushing
            | Phase::Lingering
            | Phase::Closed => {
                self.close(key);
            }
        }
    }
}
