//! The entries of the fuzz targets (`tests/fuzz`): arbitrary bytes, given to what reads hostile ones, with what must
//! hold asserted. Built in tests and under `--cfg fuzzing` only.

use std::path::Path;

/// What a client sends, and what a function answers. The first byte chooses.
pub fn http(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => crate::shard::fuzz::head(rest),
        1 => crate::shard::fuzz::body(rest),
        2 => crate::shard::fuzz::routes(rest),
        _ => crate::shard::fuzz::answer(rest),
    }
}

/// What a person writes: a manifest, or the daemon's configuration. The first byte chooses.
pub fn settings(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let file = Path::new("file.toml");
    let refused = match kind % 2 {
        0 => crate::manifest::fuzz(file, text).err(),
        _ => crate::config::fuzz(file, text).err(),
    };
    for mistake in refused.iter().flat_map(|refused| refused.mistakes()) {
        // It goes to a terminal and to a log, a line each.
        let line = mistake.to_string();
        assert!(line.starts_with("file.toml:") && line.ends_with(['.', '?']), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        let place = mistake.place.expect("a place in the text");
        let named = text.split('\n').nth(place.line - 1).expect("a line of the text");
        assert!((1..=named.chars().count() + 1).contains(&place.column), "{line:?}");
    }
}

/// What a function writes to its output.
pub fn output(data: &[u8]) {
    crate::control::fuzz_output(data);
}

#[cfg(test)]
#[path = "../../tests/fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_http() {
        replay("http", super::http);
    }

    #[test]
    fn the_corpus_of_settings() {
        replay("settings", super::settings);
    }

    #[test]
    fn the_corpus_of_output() {
        replay("output", super::output);
    }
}
