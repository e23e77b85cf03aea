//! What the author reads of the daemon's life.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hairtrigger_sandbox::cgroup::Removed;

use super::clock::LocalTime;
use super::lines::{self, Style};
use crate::cli::front::Lines;
use crate::control::Front;
use crate::control::registry::Deployed;
use crate::shard::meter::Share;
use crate::shard::record::Record;

/// Leaves to the session what that says itself.
pub(super) struct DevFront {
    address: OnceCell<SocketAddr>,
    /// Functions that were printed with a command that calls them.
    introduced: RefCell<BTreeSet<String>>,
    style: Style,
    /// Begins the session.
    begin: Cell<Option<Box<dyn FnOnce()>>>,
}

impl DevFront {
    /// One that calls `begin` once the daemon serves: not earlier, for the daemon forks its janitor before it
    /// has threads.
    pub(super) fn new(begin: impl FnOnce() + 'static) -> Self {
        Self {
            address: OnceCell::new(),
            introduced: RefCell::default(),
            style: if super::build::coloured() { Style::Coloured } else { Style::Plain },
            begin: Cell::new(Some(Box::new(begin))),
        }
    }
}

impl Front for DevFront {
    fn serving(&self, addresses: &[SocketAddr], socket: Option<&Path>, removed: &Removed) -> String {
        if let Some(address) = addresses.first() {
            let _ = self.address.set(*address);
        }
        if let Some(begin) = self.begin.take() {
            begin();
        }
        Lines.serving(addresses, socket, removed)
    }

    fn loaded(&self, function: &Deployed, took: Duration) -> Option<String> {
        let name = &function.manifest.name;
        // Of later versions the session says how long the whole took.
        self.introduced.borrow_mut().insert(name.clone()).then(|| {
            let took = took.as_micros();
            match self.address.get() {
                Some(address) => format!("loaded {name} in {took} us\n    curl http://{address}/{name}"),
                None => format!("loaded {name} in {took} us"),
            }
        })
    }

    fn started(&self, _: &Deployed, _: Duration) -> Option<String> {
        None
    }

    fn invoked(&self, record: &Record, _: Option<&Share>) -> Option<String> {
        let width = self.introduced.borrow().iter().map(String::len).max().unwrap_or(0);
        Some(lines::line(record, LocalTime::now(), width, self.style))
    }

    fn failed(&self, function: &Deployed, reason: &str, again: Option<Duration>) -> Option<String> {
        // Of a version that was just built, the session says what became of it.
        again.map(|hold| format!("function {} is loaded again in {hold:?}: {reason}", function.manifest.name))
    }
}
