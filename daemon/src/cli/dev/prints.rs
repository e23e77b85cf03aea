//! Whether files are still as they were. Their metadata is compared: an event only says when to look.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Device, inode, size, times of change of content and of inode in seconds and nanoseconds; `None` if there is
/// no such file. For a directory it changes with its list of entries.
type Print = Option<(u64, u64, u64, [i64; 4])>;

fn print(path: &Path) -> Print {
    let file = fs::metadata(path).ok()?;
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    // What is read or executed in a directory changes nothing that matters here.
    let size = if file.is_dir() { 0 } else { file.size() };
    Some((file.dev(), file.ino(), size, times))
}

/// The files of one build, as they were when it began.
#[derive(Debug, Default)]
pub(super) struct Prints(BTreeMap<PathBuf, Print>);

impl Prints {
    /// Takes those of `paths`, now.
    pub(super) fn take<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self(paths.into_iter().map(|path| (path.to_owned(), print(path))).collect())
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether a file is not as it was.
    pub(super) fn stale(&self) -> bool {
        self.0.iter().any(|(path, known)| print(path) != *known)
    }

    /// Takes in the files that the build turned out to use. Of one that was not known before, nobody can say
    /// how it was when the build began: if it changed later than that, it counts as changed.
    pub(super) fn learn(&mut self, paths: Vec<PathBuf>, begun: SystemTime) {
        let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let begun = (i64::try_from(begun.as_secs()).unwrap_or(i64::MAX), i64::from(begun.subsec_nanos()));
        let mut fresh = BTreeMap::new();
        for path in paths {
            let known = match self.0.remove(&path) {
                Some(known) => known,
                None => print(&path).filter(|(.., times)| (times[0], times[1]) < begun),
            };
            fresh.insert(path, known);
        }
        self.0 = fresh;
    }

    /// The directories in which something may happen to these files.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().flat_map(|path| [path.parent(), path.is_dir().then_some(path.as_path())]).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (known, missing) = (directory.path().join("known"), directory.path().join("missing"));
        fs::write(&known, "1").expect("a file can be written");
        let mut prints = Prints::take([&*known, &*missing]);
        assert!(!prints.stale());
        fs::write(&missing, "").expect("a file can be written");
        assert!(prints.stale(), "what was not there is");
        // Found by a build that began before it was written, and by one that began after.
        let later = SystemTime::now() + Duration::from_secs(60);
        let mut other = Prints::default();
        other.learn(vec![known.clone()], SystemTime::UNIX_EPOCH);
        assert!(other.stale(), "it may have changed while the build ran");
        prints.learn(vec![known.clone()], later);
        assert!(!prints.stale(), "what the build does not use does not matter");
        fs::write(&known, "22").expect("a file can be written");
        assert!(prints.stale());
    }
}
