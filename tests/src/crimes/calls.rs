//! Crimes 39 to 50: system calls that are dangerous by themselves.

use super::Crime;

/// Makes an io_uring.
pub const SETS_UP_IO_URING: Crime = Crime::denied(39, "39-io-uring", "io_uring_setup");

/// The chapter.
pub const CRIMES: &[&Crime] = &[&SETS_UP_IO_URING];
