//! A file that functions write and a bench reads while they do: memory that outlives a worker, and no word of the
//! daemon.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::{io, ptr, slice};

/// What one invocation writes: nanoseconds of `CLOCK_MONOTONIC`, 0 for what has not happened. A cache line, so that two
/// invocations do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Row {
    /// When it was begun.
    pub begun: AtomicU64,
    /// When the daemon will kill it, as the daemon says.
    pub deadline: AtomicU64,
    /// When it ended.
    pub ended: AtomicU64,
    /// When it last was seen alive, if it runs away.
    pub tick: AtomicU64,
    /// How many such ticks there were.
    pub ticks: AtomicU64,
}

/// Rows in a mapped file.
#[derive(Debug)]
pub struct Board {
    rows: &'static [Row],
}

impl Board {
    /// Makes the file `path` with so many rows, all 0.
    ///
    /// # Errors
    /// If there is a file already, or it cannot be made.
    pub fn create(path: &Path, rows: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len((rows * size_of::<Row>()) as u64)?;
        Self::map(&file, rows)
    }

    /// Maps the file `path`.
    ///
    /// # Errors
    /// If it cannot be opened for reading and writing, or mapped.
    pub fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Self::map(&file, length / size_of::<Row>())
    }

    /// Its rows.
    pub fn rows(&self) -> &[Row] {
        self.rows
    }

    fn map(file: &File, rows: usize) -> io::Result<Self> {
        let (access, length) = (libc::PROT_READ | libc::PROT_WRITE, rows * size_of::<Row>());
        // SAFETY: a new mapping of an open file, at an address of the kernel's choice.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is as long as the rows, aligned to a page, and never unmapped. A row is atomics alone, for
        // which all bits are valid, and all processes write to it through them. The bench makes the file as long as it
        // stays; were it cut short, the next access would be a SIGBUS.
        Ok(Self { rows: unsafe { slice::from_raw_parts(address.cast(), rows) } })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn two_mappings_of_one_file_are_one_board() {
        let path = std::env::temp_dir().join(format!("hairtrigger-board-{}", std::process::id()));
        let board = Board::create(&path, 3).expect("made");
        let other = Board::open(path.to_str().expect("text")).expect("there");
        let again = Board::create(&path, 3);
        std::fs::remove_file(&path).expect("there");
        assert_eq!(again.expect_err("there already").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(other.rows().len(), 3);
        assert_eq!(board.rows()[2].tick.load(Relaxed), 0);
        other.rows()[2].tick.store(7, Relaxed);
        assert_eq!(board.rows()[2].tick.load(Relaxed), 7);
    }
}
