//! Whether a client would rather read an error as plain text than as JSON: the `Accept` field.

/// What `Accept` has said of either form. The more specific range wins (RFC 9110, 12.5.1).
#[derive(Default)]
pub(super) struct Preference {
    text: Weight,
    json: Weight,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    /// 1 for `*/*`, 2 for `type/*`, 3 for the type itself; 0: not named.
    precision: u8,
    /// Thousandths.
    quality: u16,
}

impl Weight {
    fn offer(&mut self, precision: u8, quality: u16) {
        if precision > self.precision {
            *self = Self { precision, quality };
        }
    }
}

impl Preference {
    /// Takes in one `Accept` field.
    pub(super) fn add(&mut self, value: &[u8]) {
        // What most clients send that are no browsers; it prefers nothing.
        if value == b"*/*" {
            return;
        }
        for element in value.split(|&b| b == b',') {
            let mut parts = element.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            let (text, json) = match range.len() {
                3 if range == b"*/*" => (1, 1),
                6 if range.eq_ignore_ascii_case(b"text/*") => (2, 0),
                10 if range.eq_ignore_ascii_case(b"text/plain") => (3, 0),
                13 if range.eq_ignore_ascii_case(b"application/*") => (0, 2),
                16 if range.eq_ignore_ascii_case(b"application/json") => (0, 3),
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
                .map_or(1000, thousandths);
            self.text.offer(text, quality);
            self.json.offer(json, quality);
        }
    }

    /// JSON unless text is asked for more strongly.
    pub(super) fn prefers_text(&self) -> bool {
        self.text.quality > self.json.quality
    }
}

/// A quality value ("1", "0.8", "0.25"); one that is not in order counts for nothing.
fn thousandths(quality: &[u8]) -> u16 {
    let (whole, fraction) = match quality {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return 0,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let value =
        [100, 10, 1].iter().zip(fraction).fold(u16::from(whole - b'0') * 1000, |value, (weight, digit)| {
            value + weight * u16::from(digit - b'0')
        });
    value.min(1000)
}
