//! Whom a crime is done to: real ones, so that a success would be one.

use crate::daemon::Daemon;
use crate::process::Process;

/// Whom a crime is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody but the function itself.
    Nobody,
    /// The daemon's TCP port.
    TcpPort,
    /// The path of the socket that serves functions.
    FunctionSocket,
    /// The path of the administration's socket.
    AdminSocket,
    /// The template of the crime's own function, by the pid that a process of the function would know it by.
    Template,
    /// A worker of the neighbour, by the pid that the host knows it by.
    Neighbour,
    /// The daemon, by the pid that the host knows it by.
    Daemon,
}

/// The function beside the crimes.
pub const NEIGHBOUR: &str = "neighbour";

impl Target {
    /// As a crime of this function is told.
    pub fn resolve(self, daemon: &Daemon<'_>, function: &str) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::TcpPort => daemon.address().port().to_string(),
            Self::FunctionSocket => daemon.home.socket().display().to_string(),
            Self::AdminSocket => daemon.home.admin().display().to_string(),
            Self::Template => inner_pid(&daemon.template(function)),
            Self::Neighbour => daemon.await_workers(NEIGHBOUR, 1)[0].pid.to_string(),
            Self::Daemon => daemon.process.pid.to_string(),
        }
    }
}

/// The pid of a process in its own PID namespace.
fn inner_pid(process: &Process) -> String {
    let pids = process.status("NSpid");
    pids.split_whitespace().last().expect("a process has a pid").to_owned()
}
