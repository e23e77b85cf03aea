//! What is said of an answer. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: u16,
    /// Names in lower case, in the order they came.
    pub(super) headers: Vec<(String, String)>,
    pub(in crate::cli) body: Vec<u8>,
}

/// An answer as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Json<'a> {
    status: u16,
    /// `completed`, or what kept the function from answering; null if no function was invoked.
    outcome: Option<String>,
    invocation: Option<&'a str>,
    /// Pairs, for names may repeat.
    headers: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// In the place of a body that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Stages in milliseconds, if they were asked for.
    #[serde(skip_serializing_if = "Map::is_empty")]
    timing: Map<String, Value>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The error that the daemon gave instead of the function's response: its outcome and its sentence. It says
    /// which invocation it belongs to, which a function does not by accident.
    fn error(&self) -> Option<(String, String)> {
        if self.status < 400 || self.header("content-type") != Some("application/json") {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let same = body.get("invocation").and_then(Value::as_str) == self.header("x-hairtrigger-invocation");
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        same.then(|| Some((text("outcome")?, text("message")?)))?
    }

    /// What is wrong with it, if something is.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.error() {
            Some((outcome, message)) => Some(format!("{} {outcome}: {message}", self.status)),
            None if self.status >= 400 => Some(format!("the answer has status {}", self.status)),
            None => None,
        }
    }

    /// The stages that `Server-Timing` names, in milliseconds as they are written there.
    pub(super) fn timing(&self) -> Vec<(&str, &str)> {
        let stages = self.header("server-timing").unwrap_or_default().split(',');
        stages.filter_map(|stage| stage.trim().split_once(";dur=")).collect()
    }

    pub(super) fn json(&self) -> Json<'_> {
        let invocation = self.header("x-hairtrigger-invocation");
        let outcome = match self.error() {
            Some((outcome, _)) => Some(outcome),
            None => invocation.map(|_| "completed".to_owned()),
        };
        let body = std::str::from_utf8(&self.body).ok();
        let number = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
        let timing = self.timing().into_iter();
        Json {
            status: self.status,
            outcome,
            invocation,
            headers: &self.headers,
            body,
            body_base64: body.is_none().then(|| STANDARD.encode(&self.body)),
            timing: timing.filter_map(|(stage, ms)| Some((stage.to_owned(), number(ms)?))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn answer(status: u16, kind: &str, body: &[u8]) -> Answer {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![field("content-type", kind), field("x-hairtrigger-invocation", ID)];
        Answer { status, headers, body: body.to_vec() }
    }

    fn printed(answer: &Answer) -> Value {
        serde_json::to_value(answer.json()).expect("JSON")
    }

    #[test]
    fn a_response_is_printed_as_it_is() {
        let mut answer = answer(404, "text/plain", b"not here");
        answer.headers.push(("server-timing".to_owned(), "queue;dur=0.001, run;dur=2.5, odd".to_owned()));
        let json = printed(&answer);
        assert_eq!((&json["outcome"], &json["body"]), (&"completed".into(), &"not here".into()));
        assert_eq!(json["timing"].to_string(), r#"{"queue":0.001,"run":2.5}"#);
        assert_eq!(json["invocation"], ID);
        assert_eq!(answer.trouble().as_deref(), Some("the answer has status 404"));
    }

    #[test]
    fn an_outcome_is_told_from_a_response_that_looks_like_one() {
        let body = |id: &str| {
            format!(
                r#"{{"outcome":"timeout","function":"f","invocation":"{id}","message":"It took too long."}}"#
            )
        };
        let ours = answer(504, "application/json", body(ID).as_bytes());
        assert_eq!(printed(&ours)["outcome"], "timeout");
        assert_eq!(ours.trouble().as_deref(), Some("504 timeout: It took too long."));
        for other in [
            answer(504, "application/json", body("another").as_bytes()),
            answer(200, "application/json", body(ID).as_bytes()),
            answer(504, "text/plain", body(ID).as_bytes()),
            answer(504, "application/json", b"{}"),
        ] {
            assert_eq!(printed(&other)["outcome"], "completed", "{other:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let json = printed(&answer(200, "image/png", &[0x89, b'P', 0xff]));
        assert_eq!((json.get("body"), &json["body_base64"]), (None, &"iVD/".into()));
        let nothing = Answer { status: 404, headers: vec![], body: vec![] };
        assert_eq!((printed(&nothing)["outcome"].clone(), nothing.trouble().is_some()), (Value::Null, true));
    }
}
