//! A request as the daemon posts it.

/// A request as it is posted. Header names must be in lower case.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Method.
    pub method: &'a [u8],
    /// Path, without the query.
    pub path: &'a [u8],
    /// What stood behind the `?`.
    pub query: &'a [u8],
    /// Header fields, encoded by [`RequestView::encode_header`], and trailers behind them.
    pub headers: &'a [u8],
    /// How many of the fields in `headers` are header fields.
    pub header_count: u32,
    /// How many of the fields in `headers`, the last ones, are trailers.
    pub trailer_count: u32,
    /// Body.
    pub body: &'a [u8],
    /// The invocation's id, 32 hexadecimal digits.
    pub invocation: &'a [u8; 32],
    /// Monotonic time at which the worker will be killed, in nanoseconds.
    pub deadline_ns: u64,
    /// Whether the reply is to say when the function began and returned.
    pub timed: bool,
}

impl RequestView<'_> {
    /// Appends a header field, its name in lower case, to what [`RequestView::headers`] takes.
    pub fn encode_header(encoded: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let length = |part: &[u8]| u16::try_from(part.len()).unwrap_or(u16::MAX);
        let (name, value) = (&name[..length(name) as usize], &value[..length(value) as usize]);
        encoded.extend_from_slice(&length(name).to_ne_bytes());
        encoded.extend_from_slice(&length(value).to_ne_bytes());
        let start = encoded.len();
        encoded.extend_from_slice(name);
        encoded[start..].make_ascii_lowercase();
        encoded.extend_from_slice(value);
    }
}

/// What a request's descriptor says of it, but for the deadline: lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) method: u32,
    pub(super) path: u32,
    pub(super) query: u32,
    pub(super) headers: u32,
    pub(super) header_count: u32,
    pub(super) trailer_count: u32,
    pub(super) body: usize,
    pub(super) invocation: [u8; 32],
    pub(super) timed: bool,
}

impl Outline {
    pub(super) fn new(request: &RequestView<'_>, body: usize) -> Self {
        let narrow = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        Self {
            method: narrow(request.method),
            path: narrow(request.path),
            query: narrow(request.query),
            headers: narrow(request.headers),
            header_count: request.header_count,
            trailer_count: request.trailer_count,
            body,
            invocation: *request.invocation,
            timed: request.timed,
        }
    }
}
