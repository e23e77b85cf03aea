//! "Did you mean …?": the known name nearest to one that is not known.

use strsim::damerau_levenshtein;

/// The nearest of `known` to `given`, if it is near enough to be a slip of the hand: one edit for names of up
/// to four letters, two up to eight, three beyond. The first of equals.
///
/// `given` may come from a client; a text much longer than any name is not compared at all.
pub(crate) fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = match given.chars().count() {
        0..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let given = given.to_lowercase();
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(given.len()) <= 4 * allowed)
        .map(|name| (damerau_levenshtein(&given, name), name))
        // A name of one letter is one edit from every other: at least one letter must stay.
        .filter(|(distance, name)| *distance <= allowed && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_seen_and_strangers_left_alone() {
        let known = ["hello", "echo", "thumbnail", "a"];
        for (given, expected) in [
            ("helo", Some("hello")),
            ("hlelo", Some("hello")),
            ("HELLO", Some("hello")),
            ("ecco", Some("echo")),
            ("tumbnial", Some("thumbnail")),
            ("thumb-nails", Some("thumbnail")),
            ("world", None),
            ("eh", None),
            ("b", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
        assert_eq!(nearest(&"h".repeat(100_000), known), None);
        assert_eq!(nearest("hello", []), None);
    }
}
