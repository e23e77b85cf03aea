//! `webhook`: takes what a service like GitHub sends, if its signature is right, and answers with a compact record
//! of it.
//!
//! ```text
//! body='{"ref":"refs/heads/main", …}'
//! signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d ' ' -f 1)
//! curl --data "$body" -H "x-hub-signature-256: sha256=$signature" -H 'x-github-event: push' \
//!     http://127.0.0.1:8080/webhook
//! ```
//!
//! The secret is in the `[env]` table of `function.toml`, with the other settings.
//!
//! Nothing of a request is looked at before its signature is right, save what the signature covers and the
//! signature itself. What the signature does not cover is the header: so `x-github-event` says how to read the
//! body, and is not believed beyond that.

pub mod event;
pub mod settings;
pub mod signature;

use event::Event;
use hairtrigger_abi::{Error, Function, Host, Request, Response};
use settings::Settings;
use signature::Verifier;
use std::time::SystemTime;

const USAGE: &str = "POST an event to /webhook, signed in x-hub-signature-256.";

/// Why there is no record: an HTTP status and one sentence for the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 and up.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub sentence: String,
}

impl Refusal {
    /// A refusal with this status and sentence.
    pub fn new(status: u16, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }
}

struct Webhook {
    verifier: Verifier,
}

impl Webhook {
    /// The record of a request, as JSON.
    fn record(&self, request: &Request<'_>) -> Result<String, Refusal> {
        if request.method() != "POST" {
            return Err(Refusal::new(405, USAGE));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.verifier.verify(
            one(request, "x-hub-signature-256")?,
            one(request, "x-webhook-timestamp")?,
            request.body(),
            now,
        )?;
        let kind = one(request, "x-github-event")?
            .ok_or_else(|| Refusal::new(400, "There is no x-github-event, which says what happened."))?;
        let event = Event::parse(kind, one(request, "x-github-delivery")?, request.body())?;
        Ok(serde_json::to_string(&event).expect("strings and numbers are JSON"))
    }
}

impl Function for Webhook {
    fn init(host: &Host) -> Result<Self, Error> {
        let settings = Settings::read(|name| host.env(name)).map_err(Error::new)?;
        if settings.has_the_examples_secret() {
            host.warn("the secret is the example's, which everybody knows: set SECRET in function.toml");
        }
        Ok(Self { verifier: Verifier::new(&settings) })
    }

    fn invoke(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
        match self.record(request) {
            Ok(record) => response.json(record + "\n")?,
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
}

/// The value of a field that may not be there twice: of two, the sender and a proxy on the way might mean different
/// ones.
fn one<'r>(request: &Request<'r>, name: &str) -> Result<Option<&'r str>, Refusal> {
    let mut values = request.headers().filter(|(field, _)| *field == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value)
            .map(Some)
            .map_err(|_| Refusal::new(400, format!("The value of {name} is not UTF-8."))),
        (Some(_), Some(_)) => Err(Refusal::new(400, format!("There are several fields {name}."))),
    }
}

hairtrigger_abi::export!(Webhook);
