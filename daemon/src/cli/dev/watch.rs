//! When something happens in directories. What has happened is for others to find out: events only say when to
//! look, so none that is lost or misread does harm.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::limits::{WATCH_PATIENCE, WATCH_QUIET};
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

/// Whatever may make a file's content different: its writing is done, or another takes its name.
fn wanted() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR
}

/// Directories that are watched, not what lies below them.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    directories: BTreeMap<PathBuf, WatchDescriptor>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init()?, directories: BTreeMap::new() })
    }

    /// Watches exactly these directories. Returns those that were not watched before, in which something may
    /// have happened meanwhile, and of those that cannot be watched, the first with its reason.
    pub(super) fn cover(&mut self, wanted_now: &BTreeSet<PathBuf>) -> (usize, Option<(PathBuf, io::Error)>) {
        let mut watches = self.inotify.watches();
        self.directories.retain(|path, watch| {
            let keep = wanted_now.contains(path);
            if !keep {
                // One that is gone already has ended its watch by itself.
                let _ = watches.remove(watch.clone());
            }
            keep
        });
        let (mut fresh, mut failed) = (0, None);
        for path in wanted_now {
            if self.directories.contains_key(path) {
                continue;
            }
            match watches.add(path, wanted()) {
                Ok(watch) => {
                    self.directories.insert(path.clone(), watch);
                    fresh += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = failed.or_else(|| Some((path.clone(), error))),
            }
        }
        (fresh, failed)
    }

    /// Waits until something has happened and then been quiet for a moment: editors and version control make
    /// several changes of one. Returns when the first was noticed.
    pub(super) fn wait(&mut self) -> io::Result<Instant> {
        self.readable(None)?;
        let noticed = Instant::now();
        self.take()?;
        // Something may write all the time; it does not keep the rest from being looked at.
        while noticed.elapsed() < WATCH_PATIENCE && self.readable(Some(WATCH_QUIET))? {
            self.take()?;
        }
        Ok(noticed)
    }

    /// Whether there are events, waiting for them for a time or for ever.
    fn readable(&self, time: Option<Duration>) -> io::Result<bool> {
        let mut poll =
            libc::pollfd { fd: self.inotify.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = time.map_or(-1, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
        loop {
            // SAFETY: `poll` is one entry and outlives the call; the descriptor is open as long as `self` is.
            let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
            let error = io::Error::last_os_error();
            match ready {
                -1 if error.kind() == io::ErrorKind::Interrupted => {}
                -1 => return Err(error),
                ready => return Ok(ready == 1),
            }
        }
    }

    /// Takes the events that are there, and forgets the directories that are gone or have another name: what has
    /// their name now is another directory.
    fn take(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut gone = Vec::new();
        match self.inotify.read_events(&mut buffer) {
            Ok(events) => {
                for event in events {
                    let ends = EventMask::IGNORED | EventMask::MOVE_SELF | EventMask::DELETE_SELF;
                    if event.mask.intersects(ends) {
                        gone.push(event.wd);
                    }
                    if event.mask.contains(EventMask::Q_OVERFLOW) {
                        // Such an end may be among what was lost.
                        gone.extend(self.directories.values().cloned());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut watches = self.inotify.watches();
        self.directories.retain(|_, watch| {
            let keep = !gone.contains(watch);
            if !keep {
                let _ = watches.remove(watch.clone());
            }
            keep
        });
        Ok(())
    }

    #[cfg(test)]
    fn watches(&self, path: &std::path::Path) -> bool {
        self.directories.contains_key(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_way_of_saving_is_noticed_and_directories_may_come_and_go() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let (root, below) = (folder.path().to_owned(), folder.path().join("below"));
        let file = root.join("a.c");
        let all = BTreeSet::from([root.clone(), below.clone()]);
        let mut watch = Watch::new().expect("there is inotify");
        assert!(matches!(watch.cover(&all), (1, None)), "one of them is not there yet");
        assert!(matches!(watch.cover(&all), (0, None)));
        let noticed = |watch: &mut Watch| watch.readable(Some(Duration::from_secs(20))).expect("poll works");
        for save in [
            &|| fs::write(&file, "in place").expect("writable"),
            &|| {
                fs::write(root.join("#new"), "beside").expect("writable");
                fs::rename(root.join("#new"), &file).expect("renameable");
            },
            &|| fs::remove_file(&file).expect("removable"),
            &|| fs::create_dir(&below).expect("a directory can be made"),
        ] as [&dyn Fn(); 4]
        {
            save();
            assert!(noticed(&mut watch));
            watch.wait().expect("events can be read");
            assert!(!watch.readable(Some(Duration::ZERO)).expect("poll works"), "all of it was one change");
        }
        assert!(matches!(watch.cover(&all), (1, None)));
        fs::rename(&below, root.join("other")).expect("renameable");
        watch.wait().expect("events can be read");
        assert!(watch.watches(&root) && !watch.watches(&below));
        fs::create_dir(&below).expect("a directory can be made");
        assert!(matches!(watch.cover(&all), (1, None)), "the new one is another");
        watch.wait().expect("events can be read");
        fs::write(below.join("b.h"), "").expect("writable");
        assert!(noticed(&mut watch));
    }
}
