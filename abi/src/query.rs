//! The query of a request as names and values.

use std::borrow::Cow;

/// Splits `a=1&b=x%20y` into decoded names and values, in their order. Empty pieces are skipped; a piece
/// without `=` is a name with an empty value.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode(name), decode(value))
    })
}

/// Undoes form encoding: `+` is a space, `%41` the byte 0x41. A `%` that is not followed by two hexadecimal
/// digits stands for itself, and bytes that are not UTF-8 become U+FFFD, so every text decodes to something.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'+' || byte == b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(*byte),
        }
    }
    match String::from_utf8_lossy(&decoded) {
        // Nothing was replaced: the buffer is the answer, without another copy.
        Cow::Borrowed(_) => Cow::Owned(String::from_utf8(decoded).unwrap_or_default()),
        Cow::Owned(replaced) => Cow::Owned(replaced),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(query: &str) -> Vec<(String, String)> {
        pairs(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn pieces_become_names_and_values_in_their_order() {
        assert_eq!(all(""), []);
        assert_eq!(all("a=1&b=2&a=3"), owned(&[("a", "1"), ("b", "2"), ("a", "3")]));
        assert_eq!(all("&&flag&=x&a=b=c&"), owned(&[("flag", ""), ("", "x"), ("a", "b=c")]));
    }

    #[test]
    fn encoded_bytes_are_decoded_and_broken_ones_stand_for_themselves() {
        assert_eq!(all("na%6De=J%C3%B6rg+M"), owned(&[("name", "Jörg M")]));
        assert_eq!(
            all("a=100%&b=%4&c=%zz&d=%%41"),
            owned(&[("a", "100%"), ("b", "%4"), ("c", "%zz"), ("d", "%A")])
        );
        assert_eq!(all("a=%ff%41"), owned(&[("a", "\u{fffd}A")]));
        assert_eq!(all("a=%26%3D"), owned(&[("a", "&=")]));
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(names_and_values in prop::collection::vec((".+", ".*"), 0..8)) {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let query: Vec<String> = names_and_values
                .iter()
                .map(|(name, value): &(String, String)| format!("{}={}", encode(name), encode(value)))
                .collect();
            prop_assert_eq!(all(&query.join("&")), names_and_values);
        }

        #[test]
        fn any_text_decodes_to_no_more_pieces_than_it_has(query in ".*") {
            prop_assert!(all(&query).len() <= query.matches('&').count() + 1);
        }
    }
}
