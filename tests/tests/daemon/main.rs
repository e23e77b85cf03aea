//! What the daemon does, feature by feature: the real one, started as an operator starts it, asked over
//! real connections, and looked at through `/proc` and the control groups.
//!
//! It needs root, control groups, a C and a C++ compiler, curl, ImageMagick, OpenSSL and Python; what is missing
//! is named by the test that needs it.

// In the order in which a reader would ask.
mod serving;

mod bad_manifests;
mod bad_plugins;
mod bad_requests;

mod confinement;
mod hostile;
mod outcomes;

mod capacity;
mod deadline;
mod life;

mod dev;

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
