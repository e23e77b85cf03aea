//! The contract between Hairtrigger and a function.
//!
//! [`raw`] mirrors the C header; the rest of the crate is the Rust SDK on top of it.

pub mod raw;
