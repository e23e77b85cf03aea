//! Verdicts about heads that come whole and in pieces, for tests and the fuzzer.

use super::*;

/// A head without its borrows, to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Owned {
    pub(in crate::shard) method: String,
    pub(in crate::shard) path: String,
    pub(in crate::shard) query: Option<String>,
    pub(in crate::shard) version: Version,
    pub(in crate::shard) headers: Vec<(String, Vec<u8>)>,
    pub(in crate::shard) host: Option<Vec<u8>>,
    pub(in crate::shard) body: BodyLength,
    pub(in crate::shard) keep_alive: bool,
    pub(in crate::shard) expect_continue: bool,
    pub(in crate::shard) prefers_text: bool,
    pub(in crate::shard) takes_trailers: bool,
    pub(in crate::shard) head_len: usize,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl From<Head<'_>> for Owned {
    fn from(head: Head<'_>) -> Self {
        Self {
            method: text(head.method),
            path: text(head.path),
            query: head.query.map(text),
            version: head.version,
            headers: head.headers.iter().map(|(name, value)| (text(name), value.to_vec())).collect(),
            host: head.host.map(<[u8]>::to_vec),
            body: head.body,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            prefers_text: head.prefers_text,
            takes_trailers: head.takes_trailers,
            head_len: head.head_len,
        }
    }
}

pub(in crate::shard) type Verdict = Result<Option<Owned>, BadRequest>;

pub(super) fn with(input: &[u8], progress: &mut Progress) -> Verdict {
    parse_head(input, &mut HeaderTable::default(), progress).map(|head| head.map(Owned::from))
}

pub(in crate::shard) fn whole(input: &[u8]) -> Verdict {
    with(input, &mut Progress::default())
}

/// Gives the input in pieces that end at `cuts`, then whole; stops at the first verdict.
pub(in crate::shard) fn in_pieces(input: &[u8], cuts: impl IntoIterator<Item = usize>) -> Verdict {
    let mut progress = Progress::default();
    for cut in cuts {
        let verdict = with(&input[..cut], &mut progress);
        if verdict != Ok(None) {
            assert_eq!(progress, Progress::default(), "progress starts anew after a verdict");
            return verdict;
        }
    }
    with(input, &mut progress)
}
