//! What a person, or a journal, reads of the daemon's life.

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::time::Duration;

use hairtrigger_sandbox::cgroup::Removed;

use crate::control::Front;
use crate::control::registry::Deployed;

/// One line an event on standard error.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Whether each function is printed with a command that calls it.
    pub(crate) with_commands: bool,
    address: std::cell::OnceCell<SocketAddr>,
}

impl Lines {
    pub(crate) fn new(with_commands: bool) -> Self {
        Self { with_commands, address: std::cell::OnceCell::new() }
    }

    fn line(text: std::fmt::Arguments<'_>) {
        // A reader that has gone away is no reason to stop serving.
        let _ = writeln!(stderr(), "{text}");
    }
}

impl Front for Lines {
    fn serving(&self, address: SocketAddr, removed: &Removed) {
        let _ = self.address.set(address);
        if removed != &Removed::default() {
            Self::line(format_args!(
                "removed what an earlier daemon left behind: {} processes, {} groups",
                removed.processes, removed.groups
            ));
        }
        Self::line(format_args!("serving on http://{address}"));
    }

    fn loaded(&self, function: &Deployed, took: Duration) {
        let name = &function.manifest.name;
        let took = took.as_micros();
        match self.address.get() {
            Some(address) if self.with_commands => {
                Self::line(format_args!("loaded {name} in {took} us\n    curl http://{address}/{name}"));
            }
            Some(_) | None => Self::line(format_args!("loaded {name} in {took} us")),
        }
    }

    fn started(&self, function: &Deployed, took: Duration) {
        Self::line(format_args!("started a worker of {} in {} us", function.manifest.name, took.as_micros()));
    }

    fn failed(&self, function: &Deployed, reason: &str, again: Option<Duration>) {
        let name = &function.manifest.name;
        match again {
            Some(hold) => Self::line(format_args!(
                "function {name} cannot be served yet: {reason}; it is loaded again in {hold:?}"
            )),
            None => Self::line(format_args!("function {name} cannot be served: {reason}")),
        }
    }

    fn output(&self, function: &str, line: &str) {
        Self::line(format_args!("[{function}] {line}"));
    }

    fn trouble(&self, sentence: &str) {
        Self::line(format_args!("{sentence}"));
    }
}
