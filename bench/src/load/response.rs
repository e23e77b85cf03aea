//! Whether what a server sent is the answer it was asked for; pure.

use std::ops::Range;

use memchr::memmem;

/// Longest response head that is waited for, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// What every response must be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Status code.
    pub(crate) status: u16,
    /// Body, byte for byte.
    pub(crate) body: Vec<u8>,
}

/// A response that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Its length, head and body, in bytes.
    pub(crate) len: usize,
    /// Whether status and body are the expected ones.
    pub(crate) as_expected: bool,
}

/// Bytes of which no end of a response can be told: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first line is not `HTTP/1.1 NNN`.
    StatusLine,
    /// No single, decimal Content-Length.
    ContentLength,
    /// No end of the head within [`MAX_HEAD`].
    HeadTooLong,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::StatusLine => "a response does not begin with an HTTP/1.1 status line",
            Self::ContentLength => "a response carries no single, decimal Content-Length",
            Self::HeadTooLong => "a response's head does not end within 16 KiB",
        })
    }
}

impl std::error::Error for Malformed {}

/// Where a whole response is in the bytes that begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Status code.
    pub(crate) status: u16,
    /// Position of the body; the response ends with it.
    pub(crate) body: Range<usize>,
}

/// Finds the response that `bytes` begins with; `None` as long as it is incomplete.
///
/// # Errors
/// See [`Malformed`].
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err(Malformed::HeadTooLong) } else { Ok(None) };
    };
    let head = &bytes[..end];
    let status = parse_status(head).ok_or(Malformed::StatusLine)?;
    let length = content_length(head).ok_or(Malformed::ContentLength)?;
    let body = end + 4..end + 4 + length;
    Ok((body.end <= bytes.len()).then_some(Frame { status, body }))
}

/// Checks the response that `bytes` begins with; `None` as long as it is incomplete.
///
/// # Errors
/// See [`Malformed`].
pub(crate) fn check(bytes: &[u8], expected: &Expected) -> Result<Option<Checked>, Malformed> {
    Ok(frame(bytes)?.map(|Frame { status, body }| Checked {
        len: body.end,
        as_expected: status == expected.status && bytes[body] == expected.body,
    }))
}

fn parse_status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    parse_decimal(digits).and_then(|status| u16::try_from(status).ok())
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut found = None;
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        rest = &rest[end + 1..];
        if rest.len() >= NAME.len() && rest[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = &rest[NAME.len()..];
            let value = &value[..memchr::memchr(b'\r', value).unwrap_or(value.len())];
            if found.replace(parse_decimal(value.trim_ascii())?).is_some() {
                return None;
            }
        }
    }
    found
}

/// Up to nine decimal digits: a bench's answers are short.
fn parse_decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Expected {
        Expected { status: 200, body: b"hello".to_vec() }
    }

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH:  5 \r\n\r\nhello";

    #[test]
    fn every_prefix_is_incomplete_and_the_whole_is_checked() {
        for end in 0..GOOD.len() {
            assert_eq!(check(&GOOD[..end], &hello()), Ok(None), "{end}");
        }
        let mut two = GOOD.to_vec();
        two.extend_from_slice(b"HTTP/1.1 ");
        let whole = Checked { len: GOOD.len(), as_expected: true };
        assert_eq!(check(GOOD, &hello()), Ok(Some(whole)));
        assert_eq!(check(&two, &hello()), Ok(Some(whole)));
    }

    #[test]
    fn another_status_body_or_length_is_not_as_expected() {
        for other in [
            &b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell",
        ] {
            assert_eq!(check(other, &hello()), Ok(Some(Checked { len: other.len(), as_expected: false })));
        }
    }

    #[test]
    fn bytes_without_an_end_are_malformed() {
        for (bytes, why) in [
            (&b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], Malformed::StatusLine),
            (b"HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello", Malformed::StatusLine),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", Malformed::ContentLength),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", Malformed::ContentLength),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Malformed::ContentLength),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", Malformed::ContentLength),
        ] {
            assert_eq!(check(bytes, &hello()), Err(why), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(check(&vec![b'x'; MAX_HEAD + 1], &hello()), Err(Malformed::HeadTooLong));
    }
}
