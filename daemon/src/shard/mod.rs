//! The data plane: one thread, one ring, one file a stage. `mod` lines stand in the order data flows.

#[allow(dead_code)]
pub(crate) mod parse;
#[allow(dead_code)]
pub(crate) mod pool;
#[allow(dead_code)]
pub(crate) mod reply;
#[allow(dead_code)]
pub(crate) mod route;
#[allow(dead_code)]
pub(crate) mod wheel;
