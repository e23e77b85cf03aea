//! What the daemon does, feature by feature: the real one, started as an operator starts it, asked over
//! real connections, and looked at through `/proc` and the control groups.
//!
//! It needs root, control groups, a C and a C++ compiler and the packages of the README; what is missing
//! is named by the test that needs it.

// In the order in which a reader would ask.
mod serving;
mod shards;
mod versions;

mod bodies;
mod routes;
mod trailers;

mod bad_manifests;
mod bad_plugins;
mod bad_requests;
mod check;
mod llhttp;

mod confinement;
mod grants;
mod hostile;
mod levels;
mod outcomes;

mod clients;

mod admission;
mod capacity;
mod deadline;
mod demotion;
mod fresh;
mod idempotent;
mod idle;
mod life;
mod room;
mod shutdown;

mod admin;
mod placement;
mod reload;
mod service;
mod sockets;
mod usage;
mod watchdog;

mod authoring;
mod dev;
mod dev_loop;
mod invoke;

mod aggregate;
mod classify;
mod thumbnail;
mod webhook;

/// Functions in C, by the name of their source in `tests/functions/`.
fn own(name: &str) -> std::path::PathBuf {
    hairtrigger_tests::artefacts::function(&format!("tests/functions/{name}.c"))
}

/// The tutorial function.
fn echo() -> std::path::PathBuf {
    hairtrigger_tests::artefacts::function("plugins/echo/echo.c")
}

/// Bytes that a mix-up of any two places would change.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}

/// Tells the threads of a test to end, when it is dropped: also when the test fails, which would wait for them.
struct Ends<'o>(&'o std::sync::atomic::AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
