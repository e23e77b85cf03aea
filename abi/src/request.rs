//! What an invocation is given.

use crate::error::Error;
use crate::host::Host;
use crate::{query, raw};
use std::borrow::Cow;
use std::fmt;
use std::mem::offset_of;
use std::ptr;
use std::slice;
use std::str;
use std::time::Duration;

/// One request. Everything it lends lives until the invocation is over.
pub struct Request<'a> {
    host: Host,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    invocation_id: &'a str,
    headers: &'a [raw::Header],
    trailers: &'a [raw::Header],
    body: &'a [u8],
    deadline_ns: u64,
}

impl<'a> Request<'a> {
    /// # Errors
    /// One of the texts is not UTF-8: the host broke the contract.
    ///
    /// # Safety
    /// `request`, as far as its `struct_size` goes, and all it points to are valid and unchanged for `'a`.
    pub(crate) unsafe fn from_raw(host: Host, request: *const raw::Request) -> Result<Self, Error> {
        // Read field by field, without a reference to the whole: an older host's request is shorter.
        // SAFETY: the caller promises a valid request, which has at least the fields of version 1.
        let (size, headers, header_count, method, path, query, body, invocation_id, deadline_ns) = unsafe {
            (
                (*request).struct_size as usize,
                (*request).headers,
                (*request).header_count,
                (*request).method,
                (*request).path,
                (*request).query,
                (*request).body,
                (*request).invocation_id,
                (*request).deadline_ns,
            )
        };
        let (trailers, trailer_count) = if size >= offset_of!(raw::Request, trailer_count) + size_of::<u32>()
        {
            // SAFETY: the host says that its request has these fields.
            unsafe { ((*request).trailers, (*request).trailer_count) }
        } else {
            (ptr::null(), 0)
        };
        // SAFETY: the caller promises validity for `'a` also of what the request points to, and the host gives as
        // many entries behind each address as its count says. A count that exceeds them would break it.
        let (headers, trailers, body) = unsafe {
            (
                borrow(headers, header_count as usize),
                borrow(trailers, trailer_count as usize),
                borrow::<'a>(body.data, body.len),
            )
        };
        let text = |what: &str, bytes: raw::Bytes| {
            // SAFETY: as for `headers`.
            let bytes = unsafe { borrow::<'a>(bytes.data, bytes.len) };
            str::from_utf8(bytes)
                .map_err(|_| Error::new(format_args!("the host passed a {what} that is not text")))
        };
        Ok(Self {
            host,
            method: text("method", method)?,
            path: text("path", path)?,
            query: text("query", query)?,
            invocation_id: text("invocation id", invocation_id)?,
            headers,
            trailers,
            body,
            deadline_ns,
        })
    }

    /// Method, as sent: `GET`, `POST`, …
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// Path, as sent: begins with `/`, still percent-encoded, without the query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// What stood behind the `?`, as sent; may be empty.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.query
    }

    /// The query's names and values, decoded, in their order: `+` is a space, `%41` is `A`. Broken
    /// encodings stand for themselves.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        query::pairs(self.query)
    }

    /// The first value of `name` in the query, decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(candidate, _)| candidate == name).map(|(_, value)| value)
    }

    /// The value of the first header field called `name`, in any case, if it is UTF-8. Values are bytes:
    /// see [`Request::headers`] for those that are not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.headers().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// All header fields in the order they came, with names in lower case. Names may repeat.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + use<'a> {
        fields(self.headers)
    }

    /// The trailers: fields that came behind a chunked body, as [`Request::headers`]. Those that only make sense
    /// before it (framing, routing, authorization …) are left out. None from a host before 0.2.
    pub fn trailers(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + use<'a> {
        fields(self.trailers)
    }

    /// Body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Identifies this invocation in answers, logs and metrics: 32 hexadecimal digits.
    #[must_use]
    pub fn invocation_id(&self) -> &'a str {
        self.invocation_id
    }

    /// When the worker is killed if it has not returned, on the clock of [`Host::now`].
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline_ns)
    }

    /// The time left until [`Request::deadline`]; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_sub(self.host.now())
    }

    /// The host, for its log, clock and environment.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("invocation_id", &self.invocation_id)
            .finish_non_exhaustive()
    }
}

/// Fields of a request that is valid for `'a`, as [`Request::from_raw`]'s caller promised.
fn fields<'a>(fields: &'a [raw::Header]) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + use<'a> {
    fields.iter().map(|field| {
        // SAFETY: these fields come from `from_raw` alone, whose caller promised that all they point to is valid and
        // unchanged for `'a`.
        let (name, value) = unsafe {
            (borrow::<'a>(field.name.data, field.name.len), borrow::<'a>(field.value.data, field.value.len))
        };
        // Names are HTTP tokens, hence ASCII. Should a host break that, the name matches nothing.
        (str::from_utf8(name).unwrap_or_default(), value)
    })
}

/// What the contract calls "address and length", where the address says nothing if the length is 0.
///
/// # Safety
/// If `len` is not 0, `data` points to `len` values that are valid and unchanged for `'a`.
unsafe fn borrow<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise; nothing behind a length of 0 was touched.
    unsafe { slice::from_raw_parts(data, len) }
}

#[cfg(test)]
mod tests {
    use crate::fake::{self, Ask};
    use std::time::Duration;

    #[test]
    fn everything_arrives_as_it_was_sent() {
        let ask = Ask {
            method: b"POST",
            path: b"/thumbnail/a%20b",
            query: b"width=64&note=a+b",
            headers: &[(b"content-type", b"image/png"), (b"x-twice", b"1"), (b"x-twice", b"2")],
            body: &[0, 255, 10],
            trailers: &[(b"x-sum", b"3")],
            ..Ask::default()
        };
        fake::with_request(&ask, |request| {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.path(), "/thumbnail/a%20b");
            assert_eq!(request.query(), "width=64&note=a+b");
            assert_eq!(request.query_value("note").as_deref(), Some("a b"));
            assert_eq!(request.query_value("height"), None);
            assert_eq!(request.body(), [0, 255, 10]);
            assert_eq!(request.trailers().collect::<Vec<_>>(), [("x-sum", &b"3"[..])]);
            assert_eq!(request.invocation_id(), "00112233445566778899aabbccddeeff");
            let headers: Vec<_> = request.headers().collect();
            assert_eq!(
                headers,
                [("content-type", &b"image/png"[..]), ("x-twice", &b"1"[..]), ("x-twice", &b"2"[..])]
            );
        })
        .expect("the request is in order");
    }

    #[test]
    fn a_header_is_found_in_any_case_and_the_first_one_counts() {
        let ask = Ask { headers: &[(b"x-a", b"1"), (b"x-a", b"2"), (b"x-bytes", b"\xff")], ..Ask::default() };
        fake::with_request(&ask, |request| {
            assert_eq!(request.header("X-A"), Some("1"));
            assert_eq!(request.header("x-a"), Some("1"));
            assert_eq!(request.header("x-"), None);
            assert_eq!(request.header("x-bytes"), None);
            assert_eq!(request.headers().last(), Some(("x-bytes", &b"\xff"[..])));
        })
        .expect("the request is in order");
    }

    #[test]
    fn empty_parts_may_have_any_address() {
        // The fake host gives every empty part a null or dangling address.
        fake::with_request(&Ask::default(), |request| {
            assert_eq!((request.query(), request.body(), request.headers().len()), ("", &[][..], 0));
            assert_eq!(request.trailers().len(), 0);
        })
        .expect("the request is in order");
    }

    #[test]
    fn the_time_left_is_counted_on_the_hosts_clock_and_ends_at_zero() {
        let left = |deadline_ns| {
            let mut left = None;
            fake::with_request(&Ask { deadline_ns, ..Ask::default() }, |request| {
                left = Some(request.remaining())
            })
            .expect("the request is in order");
            left.expect("the closure ran")
        };
        assert_eq!(left(fake::NOW_NS + 1_500_000), Duration::from_micros(1_500));
        assert_eq!(left(fake::NOW_NS - 1), Duration::ZERO);
        assert_eq!(left(u64::MAX), Duration::from_nanos(u64::MAX - fake::NOW_NS));
    }

    #[test]
    fn a_host_from_before_trailers_gives_none() {
        // What lies behind an old request is not even memory.
        let ask = Ask { trailers: &[(b"x-sum", b"3")], old: true, ..Ask::default() };
        fake::with_request(&ask, |request| assert_eq!(request.trailers().len(), 0))
            .expect("the request is in order");
    }

    #[test]
    fn a_text_that_is_none_is_an_error_and_not_undefined() {
        let error =
            fake::with_request(&Ask { path: b"/\xff", ..Ask::default() }, |_| panic!("must not be built"))
                .expect_err("the path is not UTF-8");
        assert_eq!(error.to_string(), "the host passed a path that is not text");
    }
}
