//! `thumbnail`: a JPEG or PNG in, the same picture smaller out, in the same format.
//!
//! ```text
//! curl --data-binary @photo.jpg -o small.jpg 'http://127.0.0.1:8080/thumbnail?width=320'
//! ```
//!
//! The picture is made to fit `width` and `height`, of which one may be left out; it keeps its proportions and
//! is never enlarged. It is turned as its EXIF data says. No metadata is carried over.
//!
//! Whoever sends a picture is not trusted: its dimensions are read and judged before anything is decoded, and
//! see [`picture`] for what a worker may need at most.

pub mod picture;
pub mod size;

use hairtrigger_abi::{Error, Request, Response};
use picture::{Picture, Refusal};
use size::Wanted;
use std::io::{BufWriter, Write};

const USAGE: &str = "POST a JPEG or PNG image to /thumbnail?width=N, with N from 1 to 4096, to get it N pixels \
                     wide; &height=M bounds its height too.";

fn thumbnail(request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
    match make(request) {
        Ok(picture) => {
            response.header("content-type", picture.media_type())?;
            // Straight into the response: no second copy, and the host stops what grows too large.
            let mut body = BufWriter::new(response);
            picture.encode(&mut body)?;
            body.flush()?;
        }
        Err(refusal) => {
            response.set_status(refusal.status)?;
            if refusal.status == 405 {
                response.header("allow", "POST")?;
            }
            response.text(refusal.sentence + "\n")?;
        }
    }
    Ok(())
}

fn make(request: &Request<'_>) -> Result<Picture, Refusal> {
    if request.method() != "POST" {
        return Err(Refusal::new(405, USAGE));
    }
    let wanted =
        Wanted::parse(request.query_value("width").as_deref(), request.query_value("height").as_deref())
            .map_err(|sentence| Refusal::new(400, sentence))?;
    picture::shrink(request.body(), wanted)
}

hairtrigger_abi::export!(fn thumbnail);
