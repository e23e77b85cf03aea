//! The operator's requests: handed to the control thread as values, and answered with what it says.

use super::Shard;
use super::connection::Phase;
use super::inbox::FromShard;
use super::reply::write_response;
use super::ring::Key;

/// What is asked of the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminRequest {
    /// Who asks.
    pub(crate) connection: Key,
    pub(crate) method: Box<[u8]>,
    /// What follows `/_/`, without the query.
    pub(crate) path: Box<[u8]>,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAnswer {
    /// Who has asked.
    pub(crate) connection: Key,
    pub(crate) status: u16,
    /// The methods that there are, if it was another.
    pub(crate) allow: Option<&'static str>,
    /// JSON.
    pub(crate) body: String,
}

impl Shard {
    /// Hands the request under way to the control thread.
    pub(super) fn ask_control(&mut self, request: AdminRequest) {
        let Some(connection) = self.connections.get_mut(request.connection) else { return };
        connection.phase = Phase::Invoked;
        // It always answers.
        connection.deadline = u64::MAX;
        self.report.tell(FromShard::Asked(Box::new(request)));
    }

    /// The control thread has answered. The client may be gone.
    pub(super) fn control_answered(&mut self, answer: &AdminAnswer) {
        let Self { connections, date, .. } = self;
        let Some(connection) = connections.get_mut(answer.connection) else { return };
        let Some(exchange) = connection.exchange.as_ref().filter(|_| connection.phase == Phase::Invoked)
        else {
            return;
        };
        let allow = answer.allow.map(|allow| (&b"allow"[..], allow.as_bytes()));
        let headers = [(&b"content-type"[..], &b"application/json"[..])].into_iter().chain(allow);
        let body = answer.body.as_bytes();
        let framing = exchange.framing(date);
        let length = body.len() as u64;
        let written =
            write_response(&mut connection.output, answer.status, headers, [], &exchange.id, framing, length);
        if written.is_ok_and(|follows| follows.body) {
            connection.output.extend_from_slice(body);
        }
        self.answered(answer.connection);
    }
}
