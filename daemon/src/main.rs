//! The daemon.

#[allow(dead_code)]
mod config;
#[allow(dead_code)]
mod manifest;
#[allow(dead_code)]
mod outcome;
#[allow(dead_code)]
mod settings;
mod shard;
#[allow(dead_code)]
mod suggest;
#[allow(dead_code)]
mod units;

fn main() {}
