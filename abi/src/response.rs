//! What an invocation answers.

use crate::error::Refused;
use crate::host::Host;
use crate::raw;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::slice;

/// The response of the invocation under way. Nothing is sent before the function has returned `Ok`; if it
/// fails, what was written is dropped.
///
/// Without [`set_status`](Response::set_status) the status is 200. The host writes the fields that belong to
/// the connection (`content-length`, `connection`, `date`, …) itself, and does not send a function's.
pub struct Response<'a> {
    host: Host,
    invocation: *mut raw::Invocation,
    lives: PhantomData<&'a mut raw::Invocation>,
}

impl Response<'_> {
    /// # Safety
    /// `invocation` is the host's handle of the invocation under way on this thread, and it stays so for
    /// the lifetime chosen for the result. There is no other `Response` for it.
    pub(crate) unsafe fn from_raw(host: Host, invocation: *mut raw::Invocation) -> Self {
        Self { host, invocation, lives: PhantomData }
    }

    /// Sets the status. The last call counts.
    ///
    /// # Errors
    /// [`Refused::Invalid`] unless it is 200 to 599.
    pub fn set_status(&mut self, status: u16) -> Result<(), Refused> {
        // SAFETY: in the host's table since version 1. The handle is valid for this `Response`'s life, on this thread: a `Response` cannot be
        // sent to another one (it holds a raw pointer) nor outlive `invoke` (`from_raw`'s caller).
        let result = unsafe { ((*self.host.table()).set_status)(self.invocation, status.into()) };
        accepted(result, "the status")
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// [`Refused::Invalid`] for a name that is no HTTP token, and for a value with control characters other
    /// than tab; [`Refused::TooLarge`] for too many or too long ones.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Refused> {
        let value = value.as_ref();
        // SAFETY: the handle as in `set_status`; both addresses with their lengths are borrowed slices, which
        // the host copies before it returns.
        let result = unsafe {
            ((*self.host.table()).add_header)(
                self.invocation,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        };
        accepted(result, "a header field")
    }

    /// Adds a trailer: a field that is sent behind the body. Clients that did not ask for trailers (HTTP/1.1 with
    /// `TE: trailers`) do not get it, nor does anybody get one that must be known before the body, like
    /// `content-type` or `set-cookie`; a host from before 0.2 drops them all. So nothing may depend on it.
    ///
    /// # Errors
    /// As [`Response::header`]; number and length are counted together with the header fields'.
    pub fn trailer(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Refused> {
        if !self.host.takes_trailers() {
            return Ok(());
        }
        let value = value.as_ref();
        // SAFETY: the host's table reaches as far, as was just asked; else as in `header`.
        let result = unsafe {
            ((*self.host.table()).add_trailer)(
                self.invocation,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        };
        accepted(result, "a trailer")
    }

    /// Appends to the body.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] if the body would exceed the function's limit.
    pub fn write(&mut self, data: impl AsRef<[u8]>) -> Result<(), Refused> {
        let data = data.as_ref();
        // SAFETY: as in `header`.
        let result = unsafe { ((*self.host.table()).write)(self.invocation, data.as_ptr(), data.len()) };
        accepted(result, "a part of the body")
    }

    /// Appends formatted text to the body: what `write!(response, "…")` calls.
    ///
    /// # Errors
    /// As [`Response::write`]. A `Display` that fails by itself is [`Refused::Invalid`].
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), Refused> {
        struct Pieces<'r, 'a> {
            response: &'r mut Response<'a>,
            refused: Option<Refused>,
        }
        impl fmt::Write for Pieces<'_, '_> {
            fn write_str(&mut self, piece: &str) -> fmt::Result {
                self.response.write(piece).map_err(|refused| {
                    self.refused = Some(refused);
                    fmt::Error
                })
            }
        }
        let mut pieces = Pieces { response: self, refused: None };
        fmt::write(&mut pieces, text).map_err(|fmt::Error| {
            pieces.refused.unwrap_or(Refused::Invalid("a value that cannot be formatted"))
        })
    }

    /// Appends up to `room` bytes that `fill` writes in place, without the copy that [`Response::write`]
    /// makes. `fill` gets exactly `room` bytes with unspecified content and returns how many of them, from
    /// the first on, belong to the body. If it panics, none do.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] if the body would exceed the function's limit with `room` more bytes;
    /// [`Refused::Invalid`] if `fill` returns more than `room`.
    pub fn write_in_place(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), Refused> {
        if room == 0 {
            // The host reserves no empty room; `fill` sees one all the same.
            return if fill(&mut []) == 0 {
                Ok(())
            } else {
                Err(Refused::Invalid("more bytes than there was room for"))
            };
        }
        // SAFETY: the handle as in `set_status`.
        let start = unsafe { ((*self.host.table()).reserve)(self.invocation, room) };
        if start.is_null() {
            return Err(Refused::TooLarge);
        }
        // SAFETY: the host lends `room` bytes, readable and writable, until the next reserve, commit or write;
        // `fill` can make none of those calls, since this `Response` is borrowed until it has returned.
        let used = fill(unsafe { slice::from_raw_parts_mut(start, room) });
        // SAFETY: the handle as in `set_status`. The host checks `used` against the reservation.
        let result = unsafe { ((*self.host.table()).commit)(self.invocation, used) };
        accepted(result, "more bytes than there was room for")
    }

    /// Sets the content type to UTF-8 text and appends `text`. For a response that has no content type yet.
    ///
    /// # Errors
    /// As [`Response::header`] and [`Response::write`].
    pub fn text(&mut self, text: impl AsRef<str>) -> Result<(), Refused> {
        self.header("content-type", "text/plain; charset=utf-8")?;
        self.write(text.as_ref())
    }

    /// Sets the content type to JSON and appends `json`, which must be JSON already. For a response that has
    /// no content type yet.
    ///
    /// # Errors
    /// As [`Response::header`] and [`Response::write`].
    pub fn json(&mut self, json: impl AsRef<str>) -> Result<(), Refused> {
        self.header("content-type", "application/json")?;
        self.write(json.as_ref())
    }
}

impl io::Write for Response<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Response::write(self, data).map_err(io::Error::other)?;
        Ok(data.len())
    }

    /// Does nothing: the response is sent when the function returns.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").finish_non_exhaustive()
    }
}

fn accepted(result: i32, what: &'static str) -> Result<(), Refused> {
    match result {
        raw::OK => Ok(()),
        raw::TOO_LARGE => Err(Refused::TooLarge),
        _ => Err(Refused::Invalid(what)),
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Refused;
    use crate::fake;
    use std::io::Write as _;

    #[test]
    fn status_fields_and_body_reach_the_host() {
        let answer = fake::with_response(|response| {
            response.set_status(404)?;
            response.set_status(201)?;
            response.header("x-a", "1")?;
            response.header("x-a", b"\xff")?;
            response.trailer("x-t", "2")?;
            response.write("one ")?;
            response.write([0u8, 255])?;
            Ok(())
        });
        assert_eq!(answer.status, 201);
        assert_eq!(answer.headers, [("x-a".to_owned(), b"1".to_vec()), ("x-a".to_owned(), b"\xff".to_vec())]);
        assert_eq!(answer.trailers, [("x-t".to_owned(), b"2".to_vec())]);
        assert_eq!(answer.body, b"one \x00\xff");
    }

    #[test]
    fn what_the_host_refuses_is_told_apart() {
        fake::with_response(|response| {
            assert_eq!(response.set_status(100), Err(Refused::Invalid("the status")));
            assert_eq!(response.set_status(600), Err(Refused::Invalid("the status")));
            assert_eq!(response.header("bad name", "x"), Err(Refused::Invalid("a header field")));
            assert_eq!(response.trailer("bad name", "x"), Err(Refused::Invalid("a trailer")));
            assert_eq!(response.write(vec![0; fake::MAX_BODY + 1]), Err(Refused::TooLarge));
            assert_eq!(response.write(vec![0; fake::MAX_BODY]), Ok(()));
            assert_eq!(response.write("x"), Err(Refused::TooLarge));
            assert_eq!(response.write(""), Ok(()));
            Ok(())
        });
    }

    #[test]
    fn a_host_from_before_trailers_is_asked_for_none() {
        let answer = fake::with_old_response(|response| Ok(response.trailer("x-t", "2")?));
        assert!(answer.trailers.is_empty());
    }

    #[test]
    fn formatting_and_io_write_append_to_the_body() {
        let answer = fake::with_response(|response| {
            let name = "a";
            write!(response, "{name}-{:02}", 7)?;
            std::io::copy(&mut &b"-copied"[..], response)?;
            response.flush()?;
            Ok(())
        });
        assert_eq!(answer.body, b"a-07-copied");
    }

    #[test]
    fn formatting_says_what_stopped_it() {
        struct Broken;
        impl std::fmt::Display for Broken {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                Err(std::fmt::Error)
            }
        }
        fake::with_response(|response| {
            assert_eq!(
                write!(response, "{Broken}"),
                Err(Refused::Invalid("a value that cannot be formatted"))
            );
            assert_eq!(write!(response, "{:1$}", 7, fake::MAX_BODY + 1), Err(Refused::TooLarge));
            Ok(())
        });
    }

    #[test]
    fn bytes_written_in_place_count_up_to_what_was_used() {
        let answer = fake::with_response(|response| {
            response.write("<")?;
            response.write_in_place(8, |room| {
                assert_eq!(room.len(), 8);
                room[..3].copy_from_slice(b"abc");
                3
            })?;
            response.write_in_place(0, |room| room.len())?;
            response.write(">")?;
            Ok(())
        });
        assert_eq!(answer.body, b"<abc>");
    }

    #[test]
    fn more_than_the_room_is_refused_and_adds_nothing() {
        let answer = fake::with_response(|response| {
            let too_many = Err(Refused::Invalid("more bytes than there was room for"));
            assert_eq!(response.write_in_place(4, |_| 5), too_many);
            assert_eq!(response.write_in_place(0, |_| 1), too_many);
            assert_eq!(
                response.write_in_place(fake::MAX_BODY + 1, |_| panic!("there is no room")),
                Err(Refused::TooLarge)
            );
            Ok(())
        });
        assert_eq!(answer.body, b"");
    }

    #[test]
    fn text_and_json_state_their_type() {
        let answer = fake::with_response(|response| Ok(response.text("grün")?));
        assert_eq!(answer.headers, [("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec())]);
        assert_eq!(answer.body, "grün".as_bytes());
        let answer = fake::with_response(|response| Ok(response.json("{}")?));
        assert_eq!(answer.headers, [("content-type".to_owned(), b"application/json".to_vec())]);
        assert_eq!(answer.body, b"{}");
    }
}
