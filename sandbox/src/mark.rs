//! Which invocation a worker's output belongs to. If a function is loaded for that, its workers write a mark
//! before each invocation: the byte 0x1e (RECORD SEPARATOR), the invocation's id, and a line feed.
//!
//! The mark goes where the function's own output goes, which may forge one: that mislabels lines of the same
//! function, and nothing else.

/// Length of an invocation's id, in bytes, each a hexadecimal digit in lower case.
pub const ID: usize = 32;
/// Length of a mark, in bytes, its line feed included.
pub const MARK: usize = 1 + ID + 1;

const BEGIN: u8 = 0x1e;

/// The mark of an invocation.
#[must_use]
pub(crate) fn mark(id: &[u8; ID]) -> [u8; MARK] {
    let mut mark = [b'\n'; MARK];
    mark[0] = BEGIN;
    mark[1..=ID].copy_from_slice(id);
    mark
}

/// Takes a line of output, without its line feed, apart: into what stands before a mark, and the id in the
/// mark. A function that has not ended its last line has the mark behind it.
#[must_use]
pub fn split(line: &[u8]) -> (&[u8], Option<[u8; ID]>) {
    let Some((before, [BEGIN, id @ ..])) = line.split_at_checked(line.len().wrapping_sub(MARK - 1)) else {
        return (line, None);
    };
    let digits = id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match id.try_into() {
        Ok(id) if digits => (before, Some(id)),
        _ => (line, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &[u8; ID] = b"00112233445566778899aabbccddeeff";

    #[test]
    fn a_mark_is_found_at_the_end_of_its_line_and_nowhere_else() {
        let mark = mark(SOME);
        let (line, end) = mark.split_at(MARK - 1);
        assert_eq!(end, b"\n");
        assert_eq!(split(line), (&b""[..], Some(*SOME)));
        assert_eq!(split(&[b"unfinished", line].concat()), (&b"unfinished"[..], Some(*SOME)));
        let behind = [line, b"x"].concat();
        assert_eq!(split(&behind), (&behind[..], None));
    }

    #[test]
    fn what_is_no_mark_is_output() {
        for line in [
            &b""[..],
            b"\x1e",
            b"\x1e0011",
            b"00112233445566778899aabbccddeeff",
            b"\x1e00112233445566778899AABBCCDDEEFF",
            b"\x1e00112233445566778899aabbccddee g",
        ] {
            assert_eq!(split(line), (line, None));
        }
    }
}
