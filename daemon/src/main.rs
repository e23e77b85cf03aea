//! The daemon.

#[allow(dead_code)]
mod outcome;
mod shard;
#[allow(dead_code)]
mod suggest;
#[allow(dead_code)]
mod units;

fn main() {}
