//! Outcomes → answers on connections.

use super::Shard;
use super::connection::Phase;
use super::parse::BadRequest;
use super::record::Said;
use super::reply::{ErrorAnswer, Framing, write_error, write_response};
use super::ring::Key;
use super::route::NoRoute;
use crate::outcome::Outcome;

impl Shard {
    /// The answer to the request under way is in the output: on to the next one, or to the end.
    pub(super) fn answered(&mut self, key: Key) {
        let now = self.now;
        let draining = self.draining;
        self.count_output(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = connection.exchange else { return };
        connection.consume(exchange.length);
        connection.received_at = now;
        if exchange.keep_alive && !draining {
            connection.phase = Phase::Head;
            self.end_exchange(key);
            self.answered.push(key);
        } else {
            self.finish(key);
        }
    }

    /// Answers the request under way with an outcome that is no response. `whole` says whether all of the
    /// request was received; if not, the connection ends with this answer.
    pub(super) fn answer_outcome(&mut self, key: Key, outcome: &Outcome, whole: bool) {
        let Self { connections, functions, date, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        exchange.keep_alive &= whole;
        let name = functions.name(exchange.function);
        write_error(
            &mut connection.output,
            &ErrorAnswer {
                status: outcome.status(),
                outcome: outcome.label(),
                function: name,
                invocation: Some(&exchange.id),
                sentence: &outcome.sentence(name.unwrap_or_default()),
                as_text: exchange.prefers_text,
                retry_after: outcome.retry_after(),
                allow: None,
                framing: exchange.framing(date),
            },
        );
        self.record(key, Said::Outcome(outcome));
        self.answered(key);
    }

    /// No function has the path, or not the method; or the path is no text where it must be.
    pub(super) fn answer_no_route(&mut self, key: Key, nothing: &NoRoute) {
        let Self { connections, date, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        let (status, outcome, sentence, allow) = match nothing {
            NoRoute::NoSuchFunction { sentence, .. } => {
                let outcome = Outcome::NoSuchFunction;
                (outcome.status(), outcome.label(), &**sentence, None)
            }
            NoRoute::MethodNotAllowed { allow } => {
                let sentence = "The path has no route for this method; the field Allow lists those it has.";
                (405, "method_not_allowed", sentence, Some(&**allow))
            }
            NoRoute::Undecodable { sentence } => (400, "bad_request", &**sentence, None),
        };
        let function = match nothing {
            NoRoute::NoSuchFunction { name, .. } => Some(&**name).filter(|name| !name.is_empty()),
            NoRoute::MethodNotAllowed { .. } | NoRoute::Undecodable { .. } => None,
        };
        write_error(
            &mut connection.output,
            &ErrorAnswer {
                status,
                outcome,
                function,
                invocation: Some(&exchange.id),
                sentence,
                as_text: exchange.prefers_text,
                retry_after: None,
                allow,
                framing: exchange.framing(date),
            },
        );
        self.answered(key);
    }

    /// Which methods there are, for OPTIONS where no function answers that itself.
    pub(super) fn answer_options(&mut self, key: Key, allow: &str) {
        let Self { connections, date, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        let headers = [(&b"allow"[..], allow.as_bytes())];
        let framing = exchange.framing(date);
        let written = write_response(&mut connection.output, 204, headers, [], &exchange.id, framing, 0);
        debug_assert!(
            written.is_ok_and(|follows| !follows.body),
            "a list of methods is a field, and 204 has no body"
        );
        self.answered(key);
    }

    /// The daemon's own paths: its health, and nothing else on a socket that anybody may reach.
    pub(super) fn answer_system(&mut self, key: Key, health: bool) {
        let Self { connections, date, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else { return };
        if health {
            let body = b"ok\n";
            let headers = [(&b"content-type"[..], &b"text/plain; charset=utf-8"[..])];
            let framing = exchange.framing(date);
            let length = body.len() as u64;
            let written =
                write_response(&mut connection.output, 200, headers, [], &exchange.id, framing, length);
            if written.is_ok_and(|follows| follows.body) {
                connection.output.extend_from_slice(body);
            }
        } else {
            write_error(
                &mut connection.output,
                &ErrorAnswer {
                    status: 404,
                    outcome: "no_such_path",
                    function: None,
                    invocation: Some(&exchange.id),
                    sentence: "There is no such path of the daemon's; /_/health is one.",
                    as_text: exchange.prefers_text,
                    retry_after: None,
                    allow: None,
                    framing: exchange.framing(date),
                },
            );
        }
        self.answered(key);
    }

    /// Malformed: one answer, and the end of the connection.
    pub(super) fn answer_refusal(&mut self, key: Key, bad: BadRequest) {
        self.answer_and_finish(key, bad.status(), "bad_request", &bad.to_string());
    }

    /// A page of some site speaks through its visitor's browser.
    pub(super) fn answer_foreign_host(&mut self, key: Key) {
        let sentence = "This server answers only to this machine's own names; ask for localhost.";
        self.answer_and_finish(key, 421, "misdirected", sentence);
    }

    /// A client that takes too long to send its request.
    pub(super) fn answer_too_slow(&mut self, key: Key, part: &str) {
        let sentence = format!("The request's {part} took too long to arrive; send it faster.");
        self.answer_and_finish(key, 408, "request_timeout", &sentence);
    }

    /// The daemon ends, and does not wait for the rest of a head, or for an answer of the control thread's.
    pub(super) fn answer_cut_off(&mut self, key: Key) {
        let outcome = Outcome::ShuttingDown { begun: false };
        let sentence = "The daemon is shutting down and has no more time for this request; send it again.";
        self.answer_and_finish(key, outcome.status(), outcome.label(), sentence);
    }

    /// In text if the head was read and said so; a head that is refused says nothing.
    fn answer_and_finish(&mut self, key: Key, status: u16, outcome: &str, sentence: &str) {
        let Self { connections, date, .. } = self;
        let Some(connection) = connections.get_mut(key) else { return };
        let exchange = connection.exchange.as_ref();
        write_error(
            &mut connection.output,
            &ErrorAnswer {
                status,
                outcome,
                function: None,
                invocation: None,
                sentence,
                as_text: exchange.is_some_and(|exchange| exchange.prefers_text),
                retry_after: None,
                allow: None,
                framing: Framing {
                    keep_alive: false,
                    http10: false,
                    takes_trailers: false,
                    head_only: exchange.is_some_and(|exchange| exchange.head_only),
                    date: Some(date),
                },
            },
        );
        self.finish(key);
    }
}
