//! Whom a crime is done to: real ones, so that a success would be one.

use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::OnceLock;

use crate::daemon::Daemon;
use crate::process::{Process, eventually};

/// Whom a crime is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody but the function itself.
    Nobody,
    /// The daemon, by its TCP port.
    TcpPort,
    /// Somebody on this host who listens at a UDP port.
    UdpPort,
    /// Somebody on this host who listens at an abstract unix socket, by its name.
    AbstractSocket,
    /// The administration, by the path of its socket.
    AdminSocket,
    /// The workers of the crime's own function, by the pids that they know each other by, separated by commas.
    Workers,
    /// The template of the crime's own function, by the pid that its workers know it by.
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
        static UDP: OnceLock<UdpSocket> = OnceLock::new();
        static ABSTRACT: OnceLock<UnixListener> = OnceLock::new();
        match self {
            Self::Nobody => String::new(),
            Self::TcpPort => daemon.address().port().to_string(),
            Self::UdpPort => {
                let socket = UDP.get_or_init(|| UdpSocket::bind("127.0.0.1:0").expect("loopback has room"));
                socket.local_addr().expect("it is bound").port().to_string()
            }
            Self::AbstractSocket => {
                let name = format!("hairtrigger-test-{}", std::process::id());
                let listen = || {
                    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
                    UnixListener::bind_addr(&address).expect("nobody else has this pid")
                };
                ABSTRACT.get_or_init(listen);
                name
            }
            Self::AdminSocket => daemon.home.admin().display().to_string(),
            Self::Workers => {
                let pids = eventually(&format!("workers of {function}"), || {
                    let pids: Option<Vec<String>> = daemon.workers(function).iter().map(inner_pid).collect();
                    pids.filter(|pids| pids.len() > 1)
                });
                pids.join(",")
            }
            // Where nothing protects it, the last deed may have ended it.
            Self::Template => eventually(&format!("the template of {function}"), || {
                daemon.find_template(function).as_ref().and_then(inner_pid)
            }),
            Self::Neighbour => {
                let worker = eventually("a worker of the neighbour", || daemon.workers(NEIGHBOUR).pop());
                worker.pid.to_string()
            }
            Self::Daemon => daemon.process.pid.to_string(),
        }
    }
}

/// The pid of a process in its own PID namespace; `None` if it is gone.
fn inner_pid(process: &Process) -> Option<String> {
    let status = process.read("status");
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_whitespace().last().map(str::to_owned)
}
