//! The fields behind the last chunk.

use hairtrigger_sandbox::channel::RequestView;
use hairtrigger_sandbox::limits::{MAX_TRAILER_FIELDS, MAX_TRAILERS};

use crate::shard::parse::{BadRequest, field_line};

/// The trailer section as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// The line under way.
    line: Vec<u8>,
    /// Bytes so far.
    length: usize,
    /// Fields so far, those that nobody gets included.
    seen: usize,
    /// The fields that a function may see.
    encoded: Vec<u8>,
    count: u32,
}

impl Trailers {
    /// Takes one byte; true if it ends the section.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, BadRequest> {
        self.length += 1;
        if self.length > MAX_TRAILERS {
            return Err(BadRequest::TrailersTooLong);
        }
        self.line.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        let Some(line) = self.line.strip_suffix(b"\r\n") else { return Err(BadRequest::Trailer) };
        if line.is_empty() {
            return Ok(true);
        }
        let (name, value) = field_line(line).map_err(|_| BadRequest::Trailer)?;
        self.seen += 1;
        if self.seen > MAX_TRAILER_FIELDS {
            return Err(BadRequest::TrailersTooLong);
        }
        if may_trail(name) {
            RequestView::encode_header(&mut self.encoded, name, value);
            self.count += 1;
        }
        self.line.clear();
        Ok(false)
    }

    pub(super) fn fields(&self) -> (&[u8], u32) {
        (&self.encoded, self.count)
    }
}

/// Whether a field of this name, in whatever case, means something behind a body.
///
/// RFC 9110, 6.5.1: what frames or routes a message, authenticates, modifies a request or describes its content must
/// be known before the body. Such a field is left out, in either direction; it does not make the message a bad one,
/// since whoever takes no trailers at all would not even have seen it.
pub(crate) fn may_trail(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 26] = [
        b"age",
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"allow",
    ];
    const NEVER_BEGINS: [&[u8]; 6] =
        [b"content-", b"if-", b"proxy-", b"x-forwarded-", b"x-hairtrigger-", b"access-control-"];
    let begins =
        |prefix: &&[u8]| name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix);
    // What a signature or a digest of the content is, is often known at its end only.
    let digest = name.eq_ignore_ascii_case(b"content-digest") || name.eq_ignore_ascii_case(b"content-md5");
    !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
        && (digest || !NEVER_BEGINS.iter().any(begins))
}
