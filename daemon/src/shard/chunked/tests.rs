use hairtrigger_sandbox::limits::{MAX_TRAILER_FIELDS, MAX_TRAILERS};
use proptest::collection::vec;
use proptest::prelude::*;

use super::pieces::in_pieces;
use super::*;

fn whole(input: impl AsRef<[u8]>) -> pieces::Verdict {
    in_pieces(input.as_ref(), [], u64::MAX)
}

fn data(input: &str) -> String {
    match whole(input) {
        Ok((data, Some((_, _, consumed)))) => {
            assert_eq!(consumed, input.len(), "{input:?}");
            String::from_utf8(data).unwrap()
        }
        other => panic!("{other:?} for {input:?}"),
    }
}

fn refused(input: impl AsRef<[u8]>) -> BadRequest {
    match whole(input.as_ref()) {
        Err((_, ChunkError::Bad(bad))) => bad,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(input.as_ref())),
    }
}

fn trailers(section: &str) -> Vec<(String, String)> {
    let Ok((_, Some((encoded, count, _)))) = whole(format!("0\r\n{section}\r\n")) else {
        panic!("{section:?} is refused")
    };
    let mut fields = Vec::new();
    let mut rest = &encoded[..];
    while let [a, b, c, d, more @ ..] = rest {
        let (name, more) = more.split_at(usize::from(u16::from_ne_bytes([*a, *b])));
        let (value, more) = more.split_at(usize::from(u16::from_ne_bytes([*c, *d])));
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        fields.push((text(name), text(value)));
        rest = more;
    }
    assert_eq!(fields.len(), count as usize);
    fields
}

#[test]
fn bodies() {
    for (input, expected) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n2\r\nbc\r\n000\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("1;a=b;c=\"d;e\"\r\nx\r\n0;last\r\n\r\n", "x"),
        ("1 \t; a = b\r\nx\r\n0 ;\r\n\r\n", "x"),
        ("1\r\nx\r\n0\r\nA: b\r\n\r\n", "x"),
    ] {
        assert_eq!(data(input), expected, "{input:?}");
        let Ok((_, Some((_, _, consumed)))) = whole(format!("{input}GET / HTTP/1.1\r\n")) else {
            panic!("{input:?}")
        };
        assert_eq!(consumed, input.len(), "what follows is left alone");
        for end in 0..input.len() {
            assert!(matches!(whole(&input[..end]), Ok((_, None))), "{:?}", &input[..end]);
        }
    }
}

#[test]
fn what_is_no_chunk() {
    use BadRequest as B;
    for (input, why) in [
        ("\r\n", B::ChunkSize),
        (";a\r\n", B::ChunkSize),
        (" 1\r\n", B::ChunkSize),
        ("\t1\r\n", B::ChunkSize),
        ("+1\r\n", B::ChunkSize),
        ("-1\r\n", B::ChunkSize),
        ("0x1\r\n", B::ChunkSize),
        ("1h\r\n", B::ChunkSize),
        ("g\r\n", B::ChunkSize),
        ("1 \r\nx\r\n", B::ChunkSize),
        ("1 1\r\nx\r\n", B::ChunkSize),
        ("1,\r\n", B::ChunkSize),
        ("1\nx", B::ChunkSize),
        ("1\rx", B::ChunkSize),
        ("1\r\r\n", B::ChunkSize),
        ("00000000000000001\r\n", B::ChunkSize),
        ("10000000000000000\r\n", B::ChunkSize),
        ("1;a\nx", B::ChunkExtension),
        ("1;a\0\r\n", B::ChunkExtension),
        ("1;a\x7f\r\n", B::ChunkExtension),
        ("1;\"a\r\nb\"\r\n", B::ChunkEnd),
        ("1;a\rb\r\n", B::ChunkSize),
        ("1\r\nxy", B::ChunkEnd),
        ("1\r\nx\n", B::ChunkEnd),
        ("1\r\nx\rx", B::ChunkEnd),
        ("2\r\nx\r\n0\r\n\r\n", B::ChunkEnd),
        ("0\r\n\n", B::Trailer),
        ("0\r\nno colon\r\n\r\n", B::Trailer),
        ("0\r\n: a\r\n\r\n", B::Trailer),
        ("0\r\nA : b\r\n\r\n", B::Trailer),
        ("0\r\nA: b\n\r\n", B::Trailer),
        ("0\r\nA: b\r\n c\r\n\r\n", B::Trailer),
        ("0\r\nA: b\0\r\n\r\n", B::Trailer),
        ("0\r\nA: b\rB: c\r\n\r\n", B::Trailer),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", B::Trailer),
    ] {
        assert_eq!(refused(input), why, "{input:?}");
        assert!(why.to_string().ends_with('.') && why.status() == 400, "{why}");
    }
}

#[test]
fn bounds_are_exact() {
    use BadRequest as B;
    // The body, as soon as a chunk announces too much.
    assert!(
        in_pieces(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", [], 5)
            .is_ok_and(|(data, end)| data == b"abcde" && end.is_some())
    );
    assert_eq!(in_pieces(b"3\r\nabc\r\n3\r", [], 5), Err((b"abc".to_vec(), ChunkError::TooLarge)));
    assert_eq!(in_pieces(b"ffffffffffffffff;", [], u64::MAX - 1), Err((vec![], ChunkError::TooLarge)));
    assert_eq!(
        in_pieces(b"1\r\na\r\nffffffffffffffff\r\n", [], u64::MAX - 1),
        Err((b"a".to_vec(), ChunkError::TooLarge))
    );
    // Extensions, of all chunks together.
    let extended = |each: usize| format!("1;{}\r\nx\r\n", "e".repeat(each - 1));
    let rest = "0\r\n\r\n";
    assert_eq!(data(&(extended(MAX_CHUNK_EXTENSIONS) + rest)), "x");
    assert_eq!(data(&(extended(MAX_CHUNK_EXTENSIONS / 4).repeat(4) + rest)), "xxxx");
    assert_eq!(refused(extended(MAX_CHUNK_EXTENSIONS + 1)), B::ChunkExtension);
    assert_eq!(refused(extended(MAX_CHUNK_EXTENSIONS / 4).repeat(4) + "1;"), B::ChunkExtension);
    // Trailers: their length, with the empty line, and their number.
    let section = |length: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(length - "A: \r\n\r\n".len()));
    assert_eq!(data(&section(MAX_TRAILERS)), "");
    assert_eq!(refused(section(MAX_TRAILERS + 1)), B::TrailersTooLong);
    assert_eq!(refused("0\r\n".to_owned() + &"b".repeat(MAX_TRAILERS + 1)), B::TrailersTooLong, "no end yet");
    let fields = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert_eq!(data(&fields(MAX_TRAILER_FIELDS)), "");
    assert_eq!(refused(fields(MAX_TRAILER_FIELDS + 1)), B::TrailersTooLong);
    assert_eq!(B::TrailersTooLong.status(), 431);
}

#[test]
fn trailers_that_mean_something_are_kept() {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(trailers(""), []);
    assert_eq!(
        trailers(
            "Server-Timing: db;dur=5 \r\nX-Empty:\r\nContent-Digest:\t sha-256=:x:\r\nx-a: 1\r\nx-a: 2\r\n"
        ),
        [
            field("server-timing", "db;dur=5"),
            field("x-empty", ""),
            field("content-digest", "sha-256=:x:"),
            field("x-a", "1"),
            field("x-a", "2"),
        ]
    );
    for name in [
        "Content-Length",
        "transfer-encoding",
        "HOST",
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "Trailer",
        "TE",
        "Connection",
        "Cookie",
        "If-Match",
        "X-Hairtrigger-Route",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "Expect",
    ] {
        assert_eq!(trailers(&format!("{name}: 5\r\nX-A: b\r\n")), [field("x-a", "b")], "{name}");
    }
}

/// Pieces of bodies, put together at random.
fn near_bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "1\r\nx\r\n", "3\r\nabc\r\n", "0\r\n", "\r\n", "0\r\n\r\n", "\r", "\n", "1", "a", "f", ";", ";a=b", " ", "A: b\r\n",
            "Content-Length: 5\r\n", ":", "5\r\nhello\r\n", "0000000000000001\r\ny\r\n",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_verdict_does_not_depend_on_how_the_input_was_split(
        input in near_bodies(),
        cuts in vec(any::<prop::sample::Index>(), 0..5),
        limit in 0_u64..20,
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let verdict = in_pieces(&input, [], limit);
        prop_assert_eq!(&in_pieces(&input, cuts, limit), &verdict);
        prop_assert_eq!(in_pieces(&input, 0..input.len(), limit), verdict);
    }

    #[test]
    fn what_was_written_is_read(
        chunks in vec((vec(any::<u8>(), 1..40), prop::bool::ANY, 0_usize..4), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        behind in "[ -~]{0,10}",
    ) {
        let mut input = Vec::new();
        for (data, upper, zeros) in &chunks {
            let size = if *upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            input.extend_from_slice(format!("{}{size}\r\n", "0".repeat(*zeros)).as_bytes());
            input.extend_from_slice(data);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\n\r\n");
        let length = input.len();
        input.extend_from_slice(behind.as_bytes());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(length)).collect();
        cuts.sort_unstable();
        let expected: Vec<u8> = chunks.iter().flat_map(|(data, ..)| data.clone()).collect();
        let exact = expected.len() as u64;
        prop_assert_eq!(in_pieces(&input, cuts.clone(), exact), Ok((expected, Some((vec![], 0, length)))));
        if exact > 0 {
            prop_assert!(matches!(in_pieces(&input, cuts, exact - 1), Err((_, ChunkError::TooLarge))));
        }
    }

    #[test]
    fn any_bytes_get_a_verdict(input in vec(any::<u8>(), 0..200)) {
        if let Ok((data, _)) = whole(&input) {
            prop_assert!(data.len() <= input.len());
        }
    }
}
