//! Reading and writing the files of a group.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::CgroupError;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |error| CgroupError { path, error }
}

/// Makes a group, and those above it, unless they exist.
pub(super) fn create(directory: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(directory).map_err(failed(directory))
}

/// Attaches a process.
pub(super) fn attach(directory: &Path, pid: libc::pid_t) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.procs");
    fs::write(&path, pid.to_string()).map_err(failed(&path))
}

/// Writes a value.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = directory.join(file);
    fs::write(&path, value).map_err(failed(&path))
}

/// Writes a value and makes sure that it is what the kernel says afterwards.
pub(super) fn write_and_read_back(directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = directory.join(file);
    fs::write(&path, value).map_err(failed(&path))?;
    let found = fs::read_to_string(&path).map_err(failed(&path))?;
    if found.trim_end() == value {
        return Ok(());
    }
    let error = io::Error::other(format!("wrote {value}, read back {}", found.trim_end()));
    Err(CgroupError { path, error })
}

/// What a file holds that is a number and nothing else.
pub(super) fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// The number of a line `name value` of a file of counters.
pub(super) fn counter_in(path: &Path, name: &str) -> Option<u64> {
    counter(&fs::read_to_string(path).ok()?, name)
}

fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// A file of figures that is read over and over, and so kept open from the first time on.
#[derive(Debug)]
pub(super) struct Figures {
    path: PathBuf,
    open: Mutex<Option<File>>,
}

impl Figures {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: Mutex::default() }
    }

    /// The number of its line `name value`, if there is one.
    pub(super) fn counter(&self, name: &str) -> Option<u64> {
        let mut room = [0; 1024];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match open.as_ref().map(|file| file.read_at(&mut room, 0)) {
            Some(Ok(length)) => length,
            // Its group was removed meanwhile, and may have been made anew.
            Some(Err(_)) | None => open.insert(File::open(&self.path).ok()?).read_at(&mut room, 0).ok()?,
        };
        counter(str::from_utf8(&room[..length]).ok()?, name)
    }
}

/// A number of bytes as the kernel keeps it: whole pages.
pub(super) fn whole_pages(bytes: u64) -> u64 {
    bytes / 4096 * 4096
}
