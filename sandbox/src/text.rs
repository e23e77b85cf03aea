//! Text that somebody else has written, on its way to a person's terminal.

/// The character itself, or one that stands for what a terminal would obey instead of showing it: controls, and
/// what turns the direction of writing, which could make a line read as another.
pub fn harmless(c: char) -> char {
    let steers = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if steers { char::REPLACEMENT_CHARACTER } else { c }
}

/// One line of at most `most` bytes of a text, which says so if there was more.
pub(crate) fn line(text: &[u8], most: usize) -> String {
    let kept = String::from_utf8_lossy(text.get(..most).unwrap_or(text));
    let blank = |c: char| if c.is_whitespace() { ' ' } else { harmless(c) };
    let mut line: String = kept.chars().map(blank).collect();
    if text.len() > most {
        // The cut may go through a character.
        line.truncate(line.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        line.push_str(" …");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_and_shows_all_that_it_says() {
        assert_eq!(line("plain, naïve".as_bytes(), 100), "plain, naïve");
        assert_eq!(line(b"two\nlines\tand\x1b[31m red", 100), "two lines and\u{fffd}[31m red");
        assert_eq!(line("user\u{202e}txt.exe".as_bytes(), 100), "user\u{fffd}txt.exe");
        assert_eq!(line(b"sym\xffbol", 100), "sym\u{fffd}bol");
    }

    #[test]
    fn a_line_that_is_cut_says_so() {
        assert_eq!(line(b"abcdef", 6), "abcdef");
        assert_eq!(line(b"abcdef", 5), "abcde …");
        assert_eq!(line("aé".as_bytes(), 2), "a …", "not half a character");
    }
}
