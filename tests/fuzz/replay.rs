//! Gives the corpus of a fuzz target to its entry once more. Part of the crates whose entries are fuzzed.

use std::path::Path;

/// Each file by itself, in the order of their names.
pub(crate) fn replay(target: &str, entry: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let files = directory.read_dir().unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file of the corpus").path()).collect();
    files.sort();
    for file in &files {
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let done = std::panic::catch_unwind(|| entry(&bytes));
        assert!(done.is_ok(), "{} is not handled as it must be", file.display());
    }
    println!("{} files of {target} replayed", files.len());
    assert!(!files.is_empty(), "{} is empty", directory.display());
}
