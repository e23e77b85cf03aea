//! What a person, or a journal, reads of the daemon's life.

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hairtrigger_sandbox::cgroup::Removed;

use crate::control::Front;
use crate::control::registry::Deployed;
use crate::manifest::Isolation;
use crate::shard::meter::Share;
use crate::shard::record::{Record, Start};

/// What a journal reads: one line an event.
#[derive(Debug)]
pub(super) struct Lines;

/// Writes a line, or a few, to standard error in one piece: other threads write there too.
pub(super) fn say(text: &str) {
    // Whoever has closed it wants to hear nothing.
    let _ = stderr().write_all(format!("{text}\n").as_bytes());
}

/// Says why the daemon ends, without waiting long for a reader: the process is to be gone in any case.
pub(super) fn last_words(text: String) {
    let (done, written) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _done = done;
        let _ = writeln!(stderr(), "{text}");
    });
    let _ = written.recv_timeout(Duration::from_millis(500));
}

impl Front for Lines {
    fn serving(&self, addresses: &[SocketAddr], socket: Option<&Path>, removed: &Removed) -> String {
        let mut lines = Vec::new();
        if removed != &Removed::default() {
            lines.push(format!(
                "removed what an earlier daemon left behind: {} processes, {} groups",
                removed.processes, removed.groups
            ));
        }
        lines.extend(addresses.iter().map(|address| format!("serving on http://{address}")));
        lines.extend(socket.map(|path| format!("serving on the unix socket {}", path.display())));
        lines.join("\n")
    }

    fn loaded(&self, function: &Deployed, took: Duration) -> Option<String> {
        Some(format!("loaded {} in {} us", function.manifest.name, took.as_micros()))
    }

    fn started(&self, function: &Deployed, took: Duration) -> Option<String> {
        // Where each invocation has one of its own, that is no event.
        let event = function.manifest.isolation == Isolation::Reuse;
        event.then(|| format!("started a worker of {} in {} us", function.manifest.name, took.as_micros()))
    }

    fn invoked(&self, record: &Record, cpu: Option<&Share>) -> Option<String> {
        let Record { function, outcome, status, start, request_bytes, response_bytes, .. } = record;
        let us = |ns: u64| ns / 1000;
        let id = String::from_utf8_lossy(&record.invocation);
        let wall = us(record.begin + record.run + record.send);
        let cpu = match cpu {
            Some(Share { cpu, apportioned: false, .. }) => us(*cpu).to_string(),
            Some(Share { cpu, apportioned: true, .. }) => format!("~{}", us(*cpu)),
            // No worker had it, or too much was to be told.
            None if *start == Start::None => "0".to_owned(),
            None => "-".to_owned(),
        };
        Some(format!(
            "REPORT id={id} function={function} outcome={outcome} status={status} start={} wall_us={wall} cpu_us={cpu} \
             queue_us={} bytes_in={request_bytes} bytes_out={response_bytes}",
            start.label(),
            us(record.queue),
        ))
    }

    fn failed(&self, function: &Deployed, reason: &str, again: Option<Duration>) -> Option<String> {
        let name = &function.manifest.name;
        Some(match again {
            Some(hold) => {
                format!("function {name} cannot be served yet: {reason}; it is loaded again in {hold:?}")
            }
            None => format!("function {name} cannot be served: {reason}"),
        })
    }
}
