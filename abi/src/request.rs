//! What an invocation is given.

use crate::error::Error;
use crate::host::Host;
use crate::{query, raw};
use std::borrow::Cow;
use std::fmt;
use std::slice;
use std::str;
use std::time::Duration;

/// One request. Everything it lends lives until the invocation is over.
pub struct Request<'a> {
    raw: &'a raw::Request,
    host: Host,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    invocation_id: &'a str,
    headers: &'a [raw::Header],
}

impl<'a> Request<'a> {
    /// # Errors
    /// One of the texts is not UTF-8: the host broke the contract.
    ///
    /// # Safety
    /// `request` and all it points to are valid and unchanged for `'a`.
    pub(crate) unsafe fn from_raw(host: Host, request: *const raw::Request) -> Result<Self, Error> {
        // SAFETY: the caller promises a valid request for `'a`.
        let raw = unsafe { &*request };
        // SAFETY: the caller promises the same for all it points to, and the host gives `header_count`
        // entries behind `headers`. A count that exceeds them would break it.
        let headers = unsafe { borrow(raw.headers, raw.header_count as usize) };
        let text = |what: &str, bytes: &raw::Bytes| {
            // SAFETY: as for `headers`.
            let bytes = unsafe { borrow::<'a>(bytes.data, bytes.len) };
            str::from_utf8(bytes)
                .map_err(|_| Error::new(format_args!("the host passed a {what} that is not text")))
        };
        Ok(Self {
            raw,
            host,
            method: text("method", &raw.method)?,
            path: text("path", &raw.path)?,
            query: text("query", &raw.query)?,
            invocation_id: text("invocation id", &raw.invocation_id)?,
            headers,
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
        self.headers.iter().map(|header| {
            // SAFETY: valid for `'a`, as `from_raw`'s caller promised.
            let (name, value) = unsafe {
                (
                    borrow::<'a>(header.name.data, header.name.len),
                    borrow::<'a>(header.value.data, header.value.len),
                )
            };
            // Names are HTTP tokens, hence ASCII. Should a host break that, the name matches nothing.
            (str::from_utf8(name).unwrap_or_default(), value)
        })
    }

    /// Body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        // SAFETY: valid for `'a`, as `from_raw`'s caller promised.
        unsafe { borrow(self.raw.body.data, self.raw.body.len) }
    }

    /// Identifies this invocation in answers, logs and metrics: 32 hexadecimal digits.
    #[must_use]
    pub fn invocation_id(&self) -> &'a str {
        self.invocation_id
    }

    /// When the worker is killed if it has not returned, on the clock of [`Host::now`].
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.raw.deadline_ns)
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
            .field("body_bytes", &self.raw.body.len)
            .field("invocation_id", &self.invocation_id)
            .finish_non_exhaustive()
    }
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
            ..Ask::default()
        };
        fake::with_request(&ask, |request| {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.path(), "/thumbnail/a%20b");
            assert_eq!(request.query(), "width=64&note=a+b");
            assert_eq!(request.query_value("note").as_deref(), Some("a b"));
            assert_eq!(request.query_value("height"), None);
            assert_eq!(request.body(), [0, 255, 10]);
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
    fn a_text_that_is_none_is_an_error_and_not_undefined() {
        let error =
            fake::with_request(&Ask { path: b"/\xff", ..Ask::default() }, |_| panic!("must not be built"))
                .expect_err("the path is not UTF-8");
        assert_eq!(error.to_string(), "the host passed a path that is not text");
    }
}
