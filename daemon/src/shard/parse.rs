//! Bytes → [`Head`], as strictly as RFC 9112 lets a server on the open network be. Pure; no allocation.
//!
//! Two ways lead to the same verdict. The *short* one: the whole head is there and httparse takes it; what
//! httparse tolerates and this file does not (bare LF, long lines) is then checked in a few comparisons.
//! Everything else goes the *long* way: the head is looked at line by line, in byte order, each byte once
//! however it arrives, and the first offence decides. A verdict never depends on how the input was split.

mod accept;
mod error;
mod host;
#[cfg(any(test, fuzzing))]
pub(super) mod pieces;
mod target;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use hairtrigger_sandbox::limits::{MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE};

pub(crate) use error::BadRequest;
pub(super) use error::field_line;
pub(super) use host::{is_authority, split as split_authority};
use target::Target;
pub(super) use target::decoded;

// Fields are remembered as 16-bit offsets.
const _: () = assert!(MAX_HEAD <= u16::MAX as usize);

/// The length of "HTTP/1.1" with the two spaces of the request line, in bytes.
const LINE_FIXED: usize = 10;

/// Versions of HTTP that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a request's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body: neither a length nor a coding was sent.
    None,
    /// So many bytes follow the head; may be 0.
    Length(u64),
    /// Chunks follow, for [`super::chunked::Decoder`].
    Chunked,
}

impl BodyLength {
    /// The length in bytes, if the head says it.
    pub(crate) fn known(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(bytes) => Some(bytes),
            Self::Chunked => None,
        }
    }
}

/// A request's head: valid, and with everything decided that framing and answering need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// A token, as sent (methods are case-sensitive).
    pub(crate) method: &'a [u8],
    /// The target up to its `?`, without scheme and authority: begins with `/`, ASCII without controls, not decoded,
    /// every `%` before two hexadecimal digits, no `.` or `..` for a segment. Or `*`, of OPTIONS only.
    pub(crate) path: &'a [u8],
    /// What follows the target's first `?`.
    pub(crate) query: Option<&'a [u8]>,
    /// The client's version.
    pub(crate) version: Version,
    /// The fields, in the order sent. Host has the authority of a target in absolute form, if it was one.
    pub(crate) headers: Headers<'a>,
    /// Host with its port, which every HTTP/1.1 request has; may be empty.
    pub(crate) host: Option<&'a [u8]>,
    /// The body that follows the head.
    pub(crate) body: BodyLength,
    /// Whether the client wants another request on this connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body. False without a body.
    pub(crate) expect_continue: bool,
    /// Whether the client would rather read plain text than JSON.
    pub(crate) prefers_text: bool,
    /// Whether the client takes trailers behind a chunked answer.
    pub(crate) takes_trailers: bool,
    /// Length of the head in bytes, its empty line and an empty line before it included.
    pub(crate) head_len: usize,
}

/// Where the fields of a head are. Reusable scratch, one a shard.
#[derive(Debug)]
pub(crate) struct HeaderTable {
    fields: [Field; MAX_HEADERS],
}

/// Offsets into the input, in bytes.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: u16,
    name_len: u16,
    value: u16,
    value_len: u16,
}

impl Default for HeaderTable {
    fn default() -> Self {
        let nowhere = Field { name: 0, name_len: 0, value: 0, value_len: 0 };
        Self { fields: [nowhere; MAX_HEADERS] }
    }
}

/// The fields of a head: `(name, value)`, names as sent, values without surrounding white space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers<'a> {
    input: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Headers<'a> {
    /// The fields in the order sent.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let input = self.input;
        let slice = move |start: u16, len: u16| &input[usize::from(start)..][..usize::from(len)];
        self.fields.iter().map(move |f| (slice(f.name, f.name_len), slice(f.value, f.value_len)))
    }
}

/// How far an incomplete head has been looked at: one a connection, so that a head which trickles in is
/// looked at once and not again from its beginning with every byte. Starts anew by itself after a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes looked at.
    scanned: usize,
    /// Where the line under way begins.
    line: usize,
    /// Complete lines, the request line included.
    lines: usize,
}

/// Parses the head at the beginning of `input`.
///
/// `None`: more bytes are needed; call again with the same bytes and more behind them, and the same
/// `progress`. Limits are enforced on incomplete heads too.
pub(crate) fn parse_head<'a>(
    input: &'a [u8],
    table: &'a mut HeaderTable,
    progress: &mut Progress,
) -> Result<Option<Head<'a>>, BadRequest> {
    let window = &input[..input.len().min(MAX_HEAD)];
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);

    // An empty line before the request line takes the long way: httparse would skip any number of them.
    let fresh = *progress == Progress::default();
    if fresh
        && !matches!(window.first(), Some(b'\r' | b'\n'))
        && let Ok(httparse::Status::Complete(len)) = request.parse_with_uninit_headers(window, &mut fields)
        && let Some(lines) = Lines::of(&request)
        && lines.fit(window, len)
    {
        return lines.judge(window, len, table).map(Some);
    }

    let verdict = progress.scan(window);
    if verdict != Ok(None) {
        *progress = Progress::default();
    }
    let Some((start, end)) = verdict? else { return Ok(None) };
    let head = &window[..end];
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let complete = request.parse_with_uninit_headers(&head[start..], &mut fields);
    match (complete, Lines::of(&request)) {
        (Ok(httparse::Status::Complete(_)), Some(lines)) => lines.judge(window, end, table).map(Some),
        _ => Err(error::in_fields(&head[start..])),
    }
}

impl Progress {
    /// Looks at what has not been looked at; `Some` with the bounds of the head from its request line on.
    fn scan(&mut self, window: &[u8]) -> Result<Option<(usize, usize)>, BadRequest> {
        self.check_first_byte(window)?;
        while let Some(found) = memchr::memchr(b'\n', &window[self.scanned..]) {
            let end = self.scanned + found + 1;
            let line = &window[self.line..end];
            self.scanned = end;
            if self.lines == 0 && line_len(&line[..line.len() - 1]) > MAX_REQUEST_LINE {
                return Err(BadRequest::LineTooLong);
            }
            match line {
                b"\r\n" if self.lines > 0 => return Ok(Some((usize::from(window[0] == b'\r') * 2, end))),
                b"\r\n" if self.line == 0 => {
                    self.line = end;
                    self.check_first_byte(window)?;
                    continue;
                }
                b"\r\n" => return Err(BadRequest::EmptyLines),
                [.., b'\r', b'\n'] => {}
                _ => return Err(BadRequest::BareLineFeed),
            }
            if self.lines == 0 {
                check_request_line(line)?;
            } else if self.lines > MAX_HEADERS {
                return Err(BadRequest::TooManyFields);
            }
            self.lines += 1;
            self.line = end;
        }
        self.scanned = window.len();
        if self.lines == 0 && line_len(&window[self.line..]) > MAX_REQUEST_LINE {
            return Err(BadRequest::LineTooLong);
        }
        if window.len() == MAX_HEAD {
            return Err(BadRequest::HeadTooLong);
        }
        Ok(None)
    }

    /// Whoever speaks something else, TLS for one, often sends no line end to wait for.
    fn check_first_byte(&self, window: &[u8]) -> Result<(), BadRequest> {
        match window.get(self.line) {
            Some(&first) if self.lines == 0 && !is_token_byte(first) && first != b'\r' && first != b'\n' => {
                Err(BadRequest::Method)
            }
            _ => Ok(()),
        }
    }
}

/// Length of a line without the CR that may be half of its end.
fn line_len(line: &[u8]) -> usize {
    line.len() - usize::from(line.ends_with(b"\r"))
}

/// `line` with its CR LF.
fn check_request_line(line: &[u8]) -> Result<(), BadRequest> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(line, &mut []) {
        // Partial, since the fields are missing.
        Ok(_) => match (request.method, request.path) {
            (Some(method), Some(target)) => {
                target::take_apart(method.as_bytes(), target.as_bytes()).map(drop)
            }
            _ => Err(BadRequest::RequestLine),
        },
        Err(_) => Err(error::in_request_line(line)),
    }
}

/// The lines of a complete head, as httparse took them apart.
struct Lines<'h, 'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
    fields: &'h [httparse::Header<'a>],
}

impl<'h, 'a> Lines<'h, 'a> {
    fn of(request: &'h httparse::Request<'_, 'a>) -> Option<Self> {
        Some(Self {
            method: request.method?.as_bytes(),
            target: request.path?.as_bytes(),
            version: if request.version? == 0 { Version::Http10 } else { Version::Http11 },
            fields: request.headers,
        })
    }

    /// Whether the request line keeps its limit and every line ends in CR LF, which httparse does not ask.
    /// There is no LF but at line ends, and a line ends before each name, before the empty line and with it.
    fn fit(&self, window: &[u8], head_len: usize) -> bool {
        self.method.len() + self.target.len() + LINE_FIXED <= MAX_REQUEST_LINE
            && window[..head_len].ends_with(b"\r\n\r\n")
            && self.fields.iter().all(|f| window[offset(window, f.name.as_bytes()) - 2] == b'\r')
    }

    /// What the head means, or why it is refused. The request line comes first, as on the long way.
    fn judge(
        &self,
        window: &'a [u8],
        head_len: usize,
        table: &'a mut HeaderTable,
    ) -> Result<Head<'a>, BadRequest> {
        let Target { path, query, authority } = target::take_apart(self.method, self.target)?;
        let mut seen = Seen::default();
        for (field, header) in table.fields.iter_mut().zip(self.fields) {
            let name = header.name.as_bytes();
            *field = Field {
                name: small(offset(window, name)),
                name_len: small(name.len()),
                value: small(offset(window, header.value)),
                value_len: small(header.value.len()),
            };
            seen.field(name, header.value)?;
        }
        let body = seen.framing(self.version)?;
        let fields = &mut table.fields[..self.fields.len()];
        if let Some(authority) = authority
            && let Some(host) = seen.host.replace(authority)
        {
            // RFC 9112, 3.2.2: who reads the field, reads what the target says.
            let sent = small(offset(window, host));
            let field = fields.iter_mut().find(|field| field.value == sent && field.name_len == 4);
            if let Some(field) = field {
                (field.value, field.value_len) = (small(offset(window, authority)), small(authority.len()));
            }
        }
        let modern = self.version == Version::Http11;
        Ok(Head {
            method: self.method,
            path,
            query,
            version: self.version,
            headers: Headers { input: window, fields },
            host: seen.host,
            body,
            keep_alive: match self.version {
                Version::Http11 => !seen.close,
                Version::Http10 => seen.stay && !seen.close,
            },
            // RFC 9110, 10.1.1: not for HTTP/1.0 clients, and needless when nothing follows.
            expect_continue: seen.expect && modern && body.known() != Some(0),
            prefers_text: seen.accept.prefers_text(),
            takes_trailers: seen.trailers && modern,
            head_len,
        })
    }
}

/// What the fields have said so far.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    transfer_encoding: Option<&'a [u8]>,
    close: bool,
    stay: bool,
    expect: bool,
    trailers: bool,
    accept: accept::Preference,
}

impl<'a> Seen<'a> {
    /// Lengths first: most fields are none of these, and are let go after one comparison.
    fn field(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), BadRequest> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => {
                let mut codings = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
                self.trailers |= codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            4 if name.eq_ignore_ascii_case(b"host") => {
                once(&mut self.host, value, BadRequest::RepeatedHost)?;
                if !host::is_authority(value) {
                    return Err(BadRequest::Host);
                }
            }
            6 if name.eq_ignore_ascii_case(b"accept") => self.accept.add(value),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(BadRequest::Expectation);
                }
                self.expect = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.stay |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value).ok_or(BadRequest::ContentLength)?;
                once(&mut self.content_length, length, BadRequest::RepeatedContentLength)?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                once(&mut self.transfer_encoding, value, BadRequest::TransferEncoding)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112, 6.3, without its leniences: what two parties could read differently is no request.
    fn framing(&self, version: Version) -> Result<BodyLength, BadRequest> {
        if self.host.is_none() && version == Version::Http11 {
            return Err(BadRequest::MissingHost);
        }
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(BodyLength::None),
            (None, Some(length)) => Ok(BodyLength::Length(length)),
            (Some(_), Some(_)) => Err(BadRequest::LengthAndEncoding),
            (Some(_), None) if version == Version::Http10 => Err(BadRequest::EncodingInHttp10),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
            (Some(codings), None) => Err(not_chunked_alone(codings)),
        }
    }
}

/// Codings other than `chunked`, once. If `chunked` comes last, the body's end would be known all the same, so
/// that the request is sound and only not served; if not, it has no end.
fn not_chunked_alone(codings: &[u8]) -> BadRequest {
    let mut codings = codings.split(|&b| b == b',').map(<[u8]>::trim_ascii).rev();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_coding = |coding: &[u8]| {
        let name = coding.split(|&b| b == b';').next().unwrap_or_default().trim_ascii_end();
        !name.is_empty() && name.iter().all(|&b| is_token_byte(b))
    };
    if codings.next().is_some_and(is_chunked)
        && codings.all(|coding| is_coding(coding) && !is_chunked(coding))
    {
        BadRequest::OtherEncoding
    } else {
        BadRequest::TransferEncoding
    }
}

/// Fills `slot`, which must be empty.
fn once<T>(slot: &mut Option<T>, value: T, otherwise: BadRequest) -> Result<(), BadRequest> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(otherwise),
    }
}

/// Digits and nothing else; `None` also when they exceed a `u64`.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        digit.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// An offset or a length within a head; see the assertion on [`MAX_HEAD`] above.
#[allow(clippy::cast_possible_truncation)]
fn small(n: usize) -> u16 {
    debug_assert!(n <= MAX_HEAD);
    n as u16
}
