//! What may be said of a function of which nobody knows what it does.

use hairtrigger_tests::http::Response;
use serde_json::Value;

/// That a sentence can be printed as it is.
pub(super) fn is_printable(sentence: &str) -> bool {
    !sentence
        .contains(|c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// What an invocation has come to: one of a closed list, each with its status and a sentence. What a function answers is
/// its own affair.
pub(super) fn outcome(name: &str, answer: &Response) -> String {
    let said = serde_json::from_slice::<Value>(&answer.body).ok().filter(|json| json["outcome"].is_string());
    let Some(said) = said else { return "answered".to_owned() };
    let (outcome, sentence) = (&said["outcome"], said["message"].as_str().unwrap_or_default());
    let expected: &[(&str, u16)] = &[
        ("function_error", 500),
        ("fault", 502),
        ("violation", 502),
        ("out_of_memory", 502),
        ("exited", 502),
        ("protocol_violation", 502),
        ("response_too_large", 502),
        ("timeout", 504),
        ("init_failed", 503),
        // It has waited for a worker as long as it may: others hang, or the host is busy.
        ("overloaded", 503),
    ];
    assert!(expected.iter().any(|(label, status)| outcome == label && answer.status == *status), "{said}");
    assert!(sentence.starts_with(&format!("Function {name} ")) && sentence.ends_with('.'), "{sentence}");
    assert!(is_printable(sentence), "{sentence:?}");
    outcome.as_str().unwrap_or_default().to_owned()
}
