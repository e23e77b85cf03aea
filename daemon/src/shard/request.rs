//! A parsed request → what a channel takes.

use hairtrigger_sandbox::channel::RequestView;

use super::body::Content;
use super::parse::Head;
use super::reply::InvocationId;
use super::route::Pattern;

/// Fields that begin so are the daemon's word, and not passed on from a client; but for [`TIMING`].
const OURS: &[u8] = b"x-hairtrigger-";
/// Tells a function which of its routes led to it.
const ROUTE: &[u8] = b"x-hairtrigger-route";
/// A request with this field is answered with Server-Timing.
const TIMING: &[u8] = b"x-hairtrigger-timing";

/// A request as a channel takes it, but for what the worker and the moment decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    /// Encoded as [`RequestView::encode_header`] does.
    pub(crate) headers: &'a [u8],
    pub(crate) header_count: u32,
    /// Trailers are the last of the fields in `headers`.
    pub(crate) trailer_count: u32,
    pub(crate) body: &'a [u8],
    /// Whether the client asked for the times of the stages.
    pub(crate) timed: bool,
}

impl<'a> Request<'a> {
    /// Of a head, what follows it, and the manifest's route that led here; `encoded` takes the fields.
    pub(crate) fn new(
        head: &Head<'a>,
        content: Content<'a>,
        route: Option<&Pattern>,
        encoded: &'a mut Vec<u8>,
    ) -> Self {
        encoded.clear();
        let mut header_count = 0;
        let mut timed = false;
        for (name, value) in head.headers.iter() {
            if name.len() >= OURS.len() && name[..OURS.len()].eq_ignore_ascii_case(OURS) {
                if !name.eq_ignore_ascii_case(TIMING) {
                    continue;
                }
                timed = true;
            }
            RequestView::encode_header(encoded, name, value);
            header_count += 1;
        }
        if let Some(pattern) = route {
            RequestView::encode_header(encoded, ROUTE, pattern.as_str().as_bytes());
            header_count += 1;
            for (field, value) in pattern.values(head.path) {
                RequestView::encode_header(encoded, field.as_bytes(), &value);
                header_count += 1;
            }
        }
        encoded.extend_from_slice(content.trailers);
        Self {
            method: head.method,
            path: head.path,
            query: head.query.unwrap_or_default(),
            headers: encoded,
            header_count,
            trailer_count: content.trailer_count,
            body: content.bytes,
            timed,
        }
    }

    /// `measured` if the times of the stages are wanted, whatever the client asks for.
    pub(super) fn view<'v>(
        &'v self,
        id: &'v InvocationId,
        deadline_ns: u64,
        measured: bool,
    ) -> RequestView<'v> {
        RequestView {
            method: self.method,
            path: self.path,
            query: self.query,
            headers: self.headers,
            header_count: self.header_count,
            trailer_count: self.trailer_count,
            body: self.body,
            invocation: id,
            deadline_ns,
            timed: self.timed || measured,
        }
    }
}
