//! Verdicts about bodies that come whole and in pieces, for tests and the fuzzer.

use super::*;

/// Data, trailers, and how many bytes were consumed; `None` for a body that is not complete.
pub(in crate::shard) type Verdict = Result<(Vec<u8>, Option<(Vec<u8>, u32, usize)>), (Vec<u8>, ChunkError)>;

pub(in crate::shard) fn in_pieces(
    input: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    limit: u64,
) -> Verdict {
    let (mut decoder, mut out, mut at) = (Decoder::default(), Vec::new(), 0);
    for cut in cuts.into_iter().chain([input.len()]) {
        match decoder.decode(&input[at..cut.max(at)], &mut out, limit) {
            Err(error) => return Err((out, error)),
            Ok(Decoded { consumed, done: true }) => {
                let (trailers, count) = decoder.trailers();
                return Ok((out, Some((trailers.to_vec(), count, at + consumed))));
            }
            Ok(Decoded { consumed, done: false }) => {
                assert_eq!(consumed, cut.max(at) - at, "an incomplete body takes all");
                at += consumed;
            }
        }
    }
    Ok((out, None))
}
