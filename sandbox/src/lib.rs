//! Everything that happens in, or to, a confined child process.

pub mod ending;
pub mod limits;
