//! Why a request's head is refused: a status and one sentence.

use std::fmt;

use hairtrigger_sandbox::limits::{
    MAX_CHUNK_EXTENSIONS, MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE, MAX_TRAILER_FIELDS, MAX_TRAILERS,
};

use super::is_token_byte;

/// Why a head is refused. The connection is closed after the answer: where the next request would begin is
/// not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRequest {
    /// Beyond [`MAX_REQUEST_LINE`].
    LineTooLong,
    /// Beyond [`MAX_HEAD`].
    HeadTooLong,
    /// Beyond [`MAX_HEADERS`].
    TooManyFields,
    /// A line that ends in LF without CR.
    BareLineFeed,
    /// More than the one empty line that is tolerated before a request.
    EmptyLines,
    /// Not three parts with one space between them.
    RequestLine,
    /// Not a token.
    Method,
    /// CONNECT or TRACE.
    MethodNotServed,
    /// Empty, or with bytes that never stand in a target.
    Target,
    /// Neither a path nor a target in absolute form, nor the asterisk of OPTIONS.
    TargetForm,
    /// In absolute form, but with an authority that is not host and port.
    TargetAuthority,
    /// In absolute form, of the scheme `https`.
    SecureTarget,
    /// A `%` that encodes nothing, or NUL.
    PathEncoding,
    /// A segment `.` or `..`, plain or encoded.
    DotSegment,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A line that begins with white space (obs-fold).
    FoldedLine,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// An empty name, or one that is not a token.
    FieldName,
    /// A control byte in a value.
    FieldValue,
    /// HTTP/1.1 without Host.
    MissingHost,
    /// More than one Host.
    RepeatedHost,
    /// Bytes that never stand in a host or port.
    Host,
    /// Not a decimal number, or beyond 64 bits.
    ContentLength,
    /// More than one Content-Length, equal or not.
    RepeatedContentLength,
    /// Content-Length and Transfer-Encoding: how requests are smuggled.
    LengthAndEncoding,
    /// Transfer-Encoding in HTTP/1.0.
    EncodingInHttp10,
    /// A Transfer-Encoding that does not end in `chunked`, or has it twice.
    TransferEncoding,
    /// A sound Transfer-Encoding that is more than `chunked`.
    OtherEncoding,
    /// An Expect other than `100-continue`.
    Expectation,
    /// A chunk's size that is no hexadecimal number of at most 16 digits, or its line does not end in CR LF.
    ChunkSize,
    /// Chunk extensions beyond [`MAX_CHUNK_EXTENSIONS`], or with a control byte.
    ChunkExtension,
    /// A chunk without CR LF behind its data.
    ChunkEnd,
    /// A line behind the last chunk that is no field.
    Trailer,
    /// Beyond [`MAX_TRAILERS`] or [`MAX_TRAILER_FIELDS`].
    TrailersTooLong,
}

impl BadRequest {
    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::LineTooLong => 414,
            Self::SecureTarget => 421,
            Self::HeadTooLong | Self::TooManyFields | Self::TrailersTooLong => 431,
            Self::MethodNotServed | Self::OtherEncoding => 501,
            Self::Version => 505,
            Self::Expectation => 417,
            Self::BareLineFeed
            | Self::EmptyLines
            | Self::RequestLine
            | Self::Method
            | Self::Target
            | Self::TargetForm
            | Self::TargetAuthority
            | Self::PathEncoding
            | Self::DotSegment
            | Self::FoldedLine
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::Host
            | Self::ContentLength
            | Self::RepeatedContentLength
            | Self::LengthAndEncoding
            | Self::EncodingInHttp10
            | Self::TransferEncoding
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer => 400,
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong => {
                return write!(f, "The request line is longer than {MAX_REQUEST_LINE} bytes.");
            }
            Self::HeadTooLong => return write!(f, "The request head is longer than {MAX_HEAD} bytes."),
            Self::TooManyFields => return write!(f, "The request has more than {MAX_HEADERS} header fields."),
            Self::BareLineFeed => "A line of the request head ends in LF alone; it must end in CR LF.",
            Self::EmptyLines => "More than one empty line stands before the request line.",
            Self::RequestLine => {
                "The request line must be a method, a target and an HTTP version, with one space between them."
            }
            Self::Method => "The method has a byte that is not allowed in a token; plain HTTP/1.1 is spoken here.",
            Self::MethodNotServed => "The methods CONNECT and TRACE are not served.",
            Self::Target => "The request target has a byte that must be percent-encoded or left out.",
            Self::TargetForm => {
                "The request target must be a path that begins with a slash, or that path behind http:// and a host."
            }
            Self::TargetAuthority => {
                "The request target must have a host and an optional port between http:// and its path."
            }
            Self::SecureTarget => "The request target is https, but this connection is not; ask for http.",
            Self::PathEncoding => {
                "Each % in the path must stand before two hexadecimal digits, and must not encode NUL."
            }
            Self::DotSegment => "The path has a segment that is one dot or two; resolve it before you ask.",
            Self::Version => "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
            Self::FoldedLine => "A line of the request head begins with white space; folded lines are refused.",
            Self::SpaceBeforeColon => "White space stands between a header field's name and its colon.",
            Self::FieldName => "A header field has no name, no colon, or a name that is not a token.",
            Self::FieldValue => "A header field's value has a control byte.",
            Self::MissingHost => "An HTTP/1.1 request must have a Host field.",
            Self::RepeatedHost => "The request has more than one Host field.",
            Self::Host => "The Host field is not a host name or address with an optional port.",
            Self::ContentLength => "Content-Length must be one decimal number.",
            Self::RepeatedContentLength => "The request has more than one Content-Length field.",
            Self::LengthAndEncoding => "The request has both Content-Length and Transfer-Encoding.",
            Self::EncodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::TransferEncoding => "The only Transfer-Encoding is chunked, once.",
            Self::OtherEncoding => "No Transfer-Encoding but chunked is understood here.",
            Self::Expectation => "The only expectation that can be met is 100-continue.",
            Self::ChunkSize => {
                "A chunk must begin with its size, at most 16 hexadecimal digits, and that line end in CR LF."
            }
            Self::ChunkExtension => {
                return write!(
                    f,
                    "The extensions of the chunks have a control byte, or are longer than \
                     {MAX_CHUNK_EXTENSIONS} bytes in all."
                );
            }
            Self::ChunkEnd => "A chunk's data must be followed by CR LF; its size may be wrong.",
            Self::Trailer => "What follows the last chunk must be fields, each on a line that ends in CR LF.",
            Self::TrailersTooLong => {
                return write!(
                    f,
                    "What follows the last chunk is longer than {MAX_TRAILERS} bytes or {MAX_TRAILER_FIELDS} fields."
                );
            }
        })
    }
}

/// What is wrong with a request line that httparse refused. `line` with its CR LF.
pub(super) fn in_request_line(line: &[u8]) -> BadRequest {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return BadRequest::RequestLine;
    };
    if !method.iter().all(|&b| is_token_byte(b)) {
        return BadRequest::Method;
    }
    if target.iter().any(|&b| !b.is_ascii_graphic()) {
        return BadRequest::Target;
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            BadRequest::Version
        }
        _ => BadRequest::RequestLine,
    }
}

/// What is wrong with the fields of a head that httparse refused: the first line at fault says it.
pub(super) fn in_fields(head: &[u8]) -> BadRequest {
    for line in head.split(|&b| b == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Err(bad) = field_line(line) {
            return bad;
        }
    }
    BadRequest::FieldName
}

/// Takes a field line apart, without its CR LF: the name, and the value without surrounding white space.
pub(in crate::shard) fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), BadRequest> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(BadRequest::FoldedLine);
    }
    let colon = memchr::memchr(b':', line).ok_or(BadRequest::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        return Err(BadRequest::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().all(|&b| is_token_byte(b)) {
        return Err(BadRequest::FieldName);
    }
    if value.iter().any(|&b| b.is_ascii_control() && b != b'\t') {
        return Err(BadRequest::FieldValue);
    }
    Ok((name, value.trim_ascii()))
}
