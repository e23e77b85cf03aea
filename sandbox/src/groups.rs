//! A thread for errands to the cgroup file system, which can wait for a grace period of about 10 ms.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::cgroup::{Leaf, Slot};
use crate::sys;

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Attach a worker to its leaf with this memory limit; one that cannot be attached is killed.
    Attach { pid: libc::pid_t, pidfd: OwnedFd, leaf: Leaf, memory: u64 },
    /// Remove the groups of a runner that is gone.
    Remove(Slot),
}

/// Starts the thread. It ends when the last sender is dropped; `trouble` hears what went wrong.
pub(crate) fn start(
    trouble: impl Fn(String) + Send + 'static,
) -> std::io::Result<(Sender<Errand>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let thread =
        std::thread::Builder::new().name("groups".to_owned()).spawn(move || run(receiver, trouble))?;
    Ok((sender, thread))
}

fn run(errands: Receiver<Errand>, trouble: impl Fn(String)) {
    for errand in errands {
        match errand {
            Errand::Attach { pid, pidfd, leaf, memory } => {
                let Err(failure) = leaf.create(memory).and_then(|()| leaf.attach(pid)) else { continue };
                // The worker is gone already: nothing is left to limit.
                if failure.error.raw_os_error() == Some(libc::ESRCH) {
                    continue;
                }
                trouble(format!("a worker was killed because its memory could not be limited: {failure}"));
                let _ = sys::kill(pidfd.as_fd());
            }
            Errand::Remove(slot) => {
                if let Err(failure) = slot.remove() {
                    trouble(format!("groups were left behind: {failure}"));
                }
            }
        }
    }
}
