//! The line that is printed of an invocation. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::clock::LocalTime;
use crate::shard::record::{Record, Short, Start};
use crate::units::Rounded;

/// Whether, and how, lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// With the escape sequences of a terminal.
    Coloured,
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Time, id, status, function in a column of `width` characters, stages, bodies, and what was asked for; then, on
/// a line of its own, what kept the function from answering.
pub(super) fn line(record: &Record, at: LocalTime, width: usize, style: Style) -> String {
    let mut text = format!("{at} {} ", Short(record.invocation));
    let colour = match record.status {
        0..400 => GREEN,
        400..500 => YELLOW,
        500.. => RED,
    };
    let status = record.status;
    // Writing to a string cannot fail.
    let _ = match style {
        Style::Plain => write!(text, "{status}"),
        Style::Coloured => write!(text, "{colour}{status}{RESET}"),
    };
    let _ = write!(text, " {:width$}", record.function);
    let begin = match record.start {
        Start::Warm | Start::None => "start",
        Start::Fork => "fork",
        Start::Load => "load",
    };
    for (stage, time) in
        [("queue", record.queue), (begin, record.begin), ("run", record.run), ("send", record.send)]
    {
        let _ = write!(text, "  {stage:>5} {:>6}", Rounded(Duration::from_nanos(time)));
    }
    let _ = write!(text, "  {:>8} → {:<8}", bytes(record.request_bytes), bytes(record.response_bytes));
    let _ = write!(text, "  {} {}", harmless(&record.method), harmless(&record.target));
    if let Some(sentence) = &record.sentence {
        let _ = write!(text, "\n    {}: {}", record.outcome, harmless(sentence));
    }
    text
}

/// A size for a person, with two or three digits that count.
fn bytes(size: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let size_in = |unit: u64| size as f64 / unit as f64;
    match size {
        0..10_000 => format!("{size} B"),
        10_000..10_000_000 => format!("{:.0} KiB", size_in(1 << 10)),
        _ => format!("{:.0} MiB", size_in(1 << 20)),
    }
}

/// A client chose these.
fn harmless(text: &str) -> String {
    text.chars().map(hairtrigger_sandbox::text::harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            function: "greet".into(),
            invocation: *b"3f2a0011223344550000000000000007",
            method: "GET".into(),
            target: "/greet?name=Ada".into(),
            status: 200,
            outcome: "completed",
            sentence: None,
            start: Start::Warm,
            request_bytes: 0,
            response_bytes: 19,
            queue: 3_000,
            begin: 12_400,
            run: 1_250_000,
            send: 800,
        }
    }

    fn printed(record: &Record, style: Style) -> String {
        line(record, LocalTime::now(), 9, style)[9..].to_owned()
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut other = record();
        (other.start, other.status, other.function) = (Start::Fork, 404, "thumbnail".into());
        (other.request_bytes, other.response_bytes, other.run) = (3_000_000, 25_000, 2_500_000_000);
        let (line, other) = (printed(&record(), Style::Plain), printed(&other, Style::Plain));
        let expected = [
            "3f2a…0007 200 greet    ",
            "queue   3 us",
            "start  12 us",
            "  run 1.2 ms",
            " send   1 us",
            "     0 B → 19 B    ",
            "GET /greet?name=Ada",
        ];
        assert_eq!(line, expected.join("  "));
        let places = |line: &str| {
            line.char_indices().filter(|(_, c)| *c == '→' || *c == 'G').map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(places(&line), places(&other));
        assert!(
            other.contains(" 404 thumbnail ")
                && other.contains("  fork ")
                && other.contains("2930 KiB → 24 KiB ")
        );
    }

    #[test]
    fn an_outcome_is_said_in_full() {
        let mut late = record();
        (late.status, late.outcome) = (504, "timeout");
        late.sentence = Some("Function greet was killed at its time limit of 3s.".to_owned());
        let text = printed(&late, Style::Plain);
        assert!(
            text.ends_with("\n    timeout: Function greet was killed at its time limit of 3s."),
            "{text}"
        );
    }

    #[test]
    fn only_a_terminal_gets_escapes_and_never_a_clients() {
        let mut hostile = record();
        hostile.target = "/\x1b[2J".into();
        assert!(!printed(&hostile, Style::Plain).contains('\x1b'));
        let coloured = printed(&hostile, Style::Coloured);
        assert!(coloured.contains("\x1b[32m200\x1b[0m") && coloured.contains("/\u{fffd}[2J"), "{coloured}");
    }
}
