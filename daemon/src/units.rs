//! Durations and sizes as people write them: "500ms", "64MiB". Read from manifests, written in sentences.

use std::fmt;
use std::time::Duration;

/// Units of time, the greatest first, in nanoseconds.
const TIMES: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size, the greatest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a whole number and a unit from `h` to `ms`, nothing between them.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &TIMES[..4]).map(Duration::from_nanos)
}

/// Reads a whole number and a unit from `GiB` to `B`, nothing between them. In bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Writes with the greatest unit that leaves a whole number: "3s", "1500ms".
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX), &TIMES, "s")
    }
}

/// Writes a measured time for a person, with two or three digits that count: "391 us", "2.2 ms", "1.3 s".
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = (self.0.as_nanos() + 500) / 1_000;
        let text = match microseconds {
            0..1_000 => format!("{microseconds} us"),
            // As many digits as would be read; the rest is rounded.
            1_000..9_950 => format!("{:.1} ms", self.0.as_secs_f64() * 1e3),
            9_950..999_500 => format!("{:.0} ms", self.0.as_secs_f64() * 1e3),
            _ => format!("{:.1} s", self.0.as_secs_f64()),
        };
        f.pad(&text)
    }
}

/// Writes with the greatest unit that leaves a whole number: "64MiB", "1000B".
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES, "B")
    }
}

fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    match units.iter().find(|(_, scale)| value != 0 && value.is_multiple_of(*scale)) {
        Some((unit, scale)) => write!(f, "{}{unit}", value / scale),
        None => write!(f, "0{zero}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("500ms", Some(500)), ("3s", Some(3_000)), ("2m", Some(120_000)), ("1h", Some(3_600_000))]
        {
            assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text}");
        }
        let refused =
            ["", "3", "s", "3 s", " 3s", "3s ", "-3s", "+3s", "3.5s", "3S", "3sec", "3us", "1m30s", "٣s"];
        for text in refused.into_iter().chain(["99999999999999999999s", "9999999999999h"]) {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0B", 0), ("12B", 12), ("512KiB", 512 << 10), ("64MiB", 64 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "64", "64MB", "64M", "64mib", "64 MiB", "1.5GiB", "-1B", "18446744073709551615GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn rounded() {
        for (nanoseconds, text) in [
            (0, "0 us"),
            (499, "0 us"),
            (500, "1 us"),
            (391_400, "391 us"),
            (999_499, "999 us"),
            (999_500, "1.0 ms"),
            (2_236_000, "2.2 ms"),
            (9_949_000, "9.9 ms"),
            (9_950_000, "10 ms"),
            (212_400_000, "212 ms"),
            (999_499_000, "999 ms"),
            (999_500_000, "1.0 s"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(Rounded(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
        assert_eq!(format!("{:>6}", Rounded(Duration::from_micros(7))), "  7 us");
    }

    #[test]
    fn written() {
        assert_eq!(Time(Duration::from_millis(1500)).to_string(), "1500ms");
        assert_eq!(Time(Duration::from_secs(120)).to_string(), "2m");
        assert_eq!(Time(Duration::from_nanos(1)).to_string(), "1ns");
        assert_eq!(Time(Duration::ZERO).to_string(), "0s");
        assert_eq!(Size(6 << 20).to_string(), "6MiB");
        assert_eq!(Size(1000).to_string(), "1000B");
        assert_eq!(Size(0).to_string(), "0B");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<u64>(), milliseconds in 0..u64::MAX / 1_000_000) {
            prop_assert_eq!(parse_size(&Size(bytes).to_string()), Some(bytes));
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&Time(duration).to_string()), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_not(text in any::<String>()) {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
