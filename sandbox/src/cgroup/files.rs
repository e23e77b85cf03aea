//! Reading and writing the files of a group.

use std::fs;
use std::io;
use std::path::Path;

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

/// A file that holds a number; 0 if there is none.
pub(super) fn number(path: &Path) -> u64 {
    number_in(path).unwrap_or(0)
}

/// As [`number`], if there is one.
pub(super) fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// A line `name value` of a file of counters; 0 if there is none.
pub(super) fn counter(path: &Path, name: &str) -> u64 {
    counter_in(path, name).unwrap_or(0)
}

/// As [`counter`], if there is one.
pub(super) fn counter_in(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// A number of bytes as the kernel keeps it: whole pages.
pub(super) fn whole_pages(bytes: u64) -> u64 {
    bytes / 4096 * 4096
}
