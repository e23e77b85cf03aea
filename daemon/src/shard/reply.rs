//! A response or an outcome → bytes for the client. Pure: writes into a `Vec<u8>`, and no further.
//!
//! What a function gives is hostile. Its fields are validated here, where they are written, so that no way
//! to the client leads around the check; what frames a message, or is the daemon's to say, it cannot set.

mod status;
#[cfg(test)]
mod tests;

use hairtrigger_sandbox::text::harmless;
use serde::Serialize;

use super::chunked::may_trail;
use super::parse::is_token_byte;

/// Asks the client for the body it is holding back.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An invocation's id as clients see it: 32 hexadecimal digits.
pub(crate) type InvocationId = [u8; 32];

/// A date as HTTP writes it ("Sun, 06 Nov 1994 08:49:37 GMT").
pub(crate) type HttpDate = [u8; 29];

/// What the daemon knows of the connection and the request when it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing<'a> {
    /// Whether the connection stays open after this answer.
    pub(crate) keep_alive: bool,
    /// Whether the client speaks HTTP/1.0, which must be told that the connection stays open.
    pub(crate) http10: bool,
    /// Whether the client takes trailers; then it speaks HTTP/1.1.
    pub(crate) takes_trailers: bool,
    /// Whether the method is HEAD: the same head, no body.
    pub(crate) head_only: bool,
    /// The present second, kept by the caller.
    pub(crate) date: Option<&'a HttpDate>,
}

/// Why what a function gave is no response. The caller makes it a protocol violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadResponse {
    /// A status outside 200–599.
    Status,
    /// A field whose name is not a token, or whose value has a control byte.
    Field,
}

impl BadResponse {
    /// The end of a sentence that begins "It gave …".
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Status => "a status outside 200 to 599",
            Self::Field => "a header field with a byte that is not allowed in it",
        }
    }
}

/// What becomes of a field that a function gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRule {
    /// It goes to the client.
    Pass,
    /// It is left out: it frames the message, concerns the connection, or is the daemon's to say.
    Reserved,
}

/// What the caller writes behind the head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Follows {
    /// Whether the body does: it does not for HEAD, nor for statuses that have none (204, 304).
    pub(crate) body: bool,
    /// What follows the body; empty unless there are trailers for a client that takes them.
    pub(crate) tail: Vec<u8>,
}

/// Appends the head of a function's response to `out`, which stays as it was on an error.
///
/// `headers` and `trailers` are the function's fields. `body_len` is the body's length in bytes. With trailers the
/// body is sent as one chunk, whose size is appended with the head.
pub(crate) fn write_response<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    trailers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    invocation: &InvocationId,
    framing: Framing<'_>,
    body_len: u64,
) -> Result<Follows, BadResponse> {
    if !valid_status(status) {
        return Err(BadResponse::Status);
    }
    let start = out.len();
    start_head(out, status, framing);
    for (name, value) in headers {
        if !valid_header(name, value) {
            out.truncate(start);
            return Err(BadResponse::Field);
        }
        match header_rule(name) {
            HeaderRule::Pass => field(out, name, value),
            HeaderRule::Reserved => {}
        }
    }
    field(out, b"x-hairtrigger-invocation", invocation);
    let bodiless = matches!(status, 204 | 304);
    let body = !bodiless && !framing.head_only;
    let Trailers { names, fields } = Trailers::of(trailers).inspect_err(|_| out.truncate(start))?;
    if bodiless || names.is_empty() || !framing.takes_trailers {
        if !bodiless {
            content_length(out, body_len);
        }
        out.extend_from_slice(b"\r\n");
        return Ok(Follows { body, tail: Vec::new() });
    }
    field(out, b"trailer", &names);
    field(out, b"transfer-encoding", b"chunked");
    out.extend_from_slice(b"\r\n");
    if !body {
        return Ok(Follows { body, tail: Vec::new() });
    }
    // A chunk of no bytes would be the last one.
    let mut tail = Vec::with_capacity(fields.len() + 7);
    if body_len > 0 {
        out.extend_from_slice(format!("{body_len:x}\r\n").as_bytes());
        tail.extend_from_slice(b"\r\n");
    }
    tail.extend_from_slice(b"0\r\n");
    tail.extend_from_slice(&fields);
    tail.extend_from_slice(b"\r\n");
    Ok(Follows { body, tail })
}

/// Those of a function's trailers that are sent.
#[derive(Default)]
struct Trailers {
    /// As the field Trailer lists them.
    names: Vec<u8>,
    /// As lines.
    fields: Vec<u8>,
}

impl Trailers {
    fn of<'h>(trailers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>) -> Result<Self, BadResponse> {
        let mut sent = Self::default();
        for (name, value) in trailers {
            if !valid_header(name, value) {
                return Err(BadResponse::Field);
            }
            if header_rule(name) == HeaderRule::Reserved || !may_trail(name) {
                continue;
            }
            if !sent.names.is_empty() {
                sent.names.extend_from_slice(b", ");
            }
            sent.names.extend_from_slice(name);
            field(&mut sent.fields, name, value);
        }
        Ok(sent)
    }
}

/// An answer of the daemon's own: an outcome that is no response, or a refused request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorAnswer<'a> {
    /// 400–599.
    pub(crate) status: u16,
    /// The outcome's label, or what stands for it.
    pub(crate) outcome: &'a str,
    /// The function concerned, if one was reached.
    pub(crate) function: Option<&'a str>,
    /// The invocation's id, if there was one.
    pub(crate) invocation: Option<&'a InvocationId>,
    /// What happened and what to do, one sentence.
    pub(crate) sentence: &'a str,
    /// Whether the client would rather have text than JSON.
    pub(crate) as_text: bool,
    /// Seconds after which trying again may help.
    pub(crate) retry_after: Option<u32>,
    /// The methods that would be allowed; every 405 says them.
    pub(crate) allow: Option<&'a str>,
    /// See [`Framing`].
    pub(crate) framing: Framing<'a>,
}

/// The JSON body of an [`ErrorAnswer`].
#[derive(Serialize)]
struct ErrorBody<'a> {
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation: Option<&'a str>,
    message: &'a str,
}

/// Appends a whole answer, head and body, to `out`.
pub(crate) fn write_error(out: &mut Vec<u8>, answer: &ErrorAnswer<'_>) {
    let (kind, body) = if answer.as_text {
        (&b"text/plain; charset=utf-8"[..], text_body(answer.sentence))
    } else {
        (&b"application/json"[..], json_body(answer))
    };
    start_head(out, answer.status, answer.framing);
    field(out, b"content-type", kind);
    // A name that a client made up stands in the sentence; nobody shall take the answer for a page.
    field(out, b"x-content-type-options", b"nosniff");
    if let Some(invocation) = answer.invocation {
        field(out, b"x-hairtrigger-invocation", invocation);
    }
    if let Some(seconds) = answer.retry_after {
        number_field(out, b"retry-after: ", u64::from(seconds));
    }
    if let Some(methods) = answer.allow {
        field(out, b"allow", methods.as_bytes());
    }
    content_length(out, body.len() as u64);
    out.extend_from_slice(b"\r\n");
    if !answer.framing.head_only {
        out.extend_from_slice(&body);
    }
}

fn json_body(answer: &ErrorAnswer<'_>) -> Vec<u8> {
    let body = ErrorBody {
        outcome: answer.outcome,
        function: answer.function,
        invocation: answer.invocation.and_then(|id| str::from_utf8(id).ok()),
        message: answer.sentence,
    };
    let mut body = serde_json::to_vec(&body).expect("strings in a struct always serialize");
    body.push(b'\n');
    body
}

/// The sentence as one line, harmless to a terminal.
fn text_body(sentence: &str) -> Vec<u8> {
    let line: String = sentence.chars().map(harmless).chain(['\n']).collect();
    line.into_bytes()
}

/// Whether a function may give this status: a final one. Interim answers are the daemon's.
pub(crate) fn valid_status(status: u16) -> bool {
    (200..600).contains(&status)
}

/// Whether a name is a token and a value free of control bytes but tab (RFC 9110, 5.5 and 5.6.2).
pub(crate) fn valid_header(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|&b| is_token_byte(b))
        && value.iter().all(|&b| b == b'\t' || !b.is_ascii_control())
}

/// What becomes of a function's field of this name, in whatever case.
pub(crate) fn header_rule(name: &[u8]) -> HeaderRule {
    let reserved = match name.len() {
        2 => is(name, b"te"),
        4 => is(name, b"date"),
        7 => is(name, b"upgrade") || is(name, b"trailer"),
        10 => is(name, b"connection") || is(name, b"keep-alive"),
        14 => is(name, b"content-length"),
        17 => is(name, b"transfer-encoding"),
        _ => false,
    };
    if reserved || begins(name, b"proxy-") || begins(name, b"x-hairtrigger-") {
        HeaderRule::Reserved
    } else {
        HeaderRule::Pass
    }
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

fn begins(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && is(&name[..prefix.len()], prefix)
}

/// Status line, Date and Connection.
fn start_head(out: &mut Vec<u8>, status: u16, framing: Framing<'_>) {
    match status::line(status) {
        Some(line) => out.extend_from_slice(line),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            decimal(out, u64::from(status));
            out.extend_from_slice(b" \r\n");
        }
    }
    if let Some(date) = framing.date {
        field(out, b"date", date);
    }
    match (framing.keep_alive, framing.http10) {
        (true, false) => {}
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
    }
}

fn content_length(out: &mut Vec<u8>, len: u64) {
    number_field(out, b"content-length: ", len);
}

fn number_field(out: &mut Vec<u8>, name_and_colon: &[u8], value: u64) {
    out.extend_from_slice(name_and_colon);
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal, without the machinery of `format!`.
fn decimal(out: &mut Vec<u8>, mut value: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[(value % 10) as usize];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
