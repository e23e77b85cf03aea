//! The daemon.

mod shard;

fn main() {}
