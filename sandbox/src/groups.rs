//! A thread for errands to the cgroup file system, which can wait for a grace period of about 10 ms.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::cgroup::{Leaf, Slot};
use crate::limits::WORKER_OOM_SCORE_ADJ;
use crate::sys;

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Attach a worker to its leaf with this memory limit; one that cannot be attached is killed.
    Attach { pid: libc::pid_t, pidfd: OwnedFd, leaf: Leaf, memory: u64 },
    /// Write into a function's `cpu.idle` what is wished by then.
    Idle { file: PathBuf, wish: Arc<AtomicBool> },
    /// Remove the groups of a runner that is gone.
    Remove(Slot),
}

/// Starts the thread. It ends when the last sender is dropped; `trouble` hears what went wrong.
pub(crate) fn start(
    trouble: impl Fn(String) + Send + 'static,
) -> std::io::Result<(Sender<Errand>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let thread =
        std::thread::Builder::new().name("groups".to_owned()).spawn(move || run(&receiver, trouble))?;
    Ok((sender, thread))
}

/// The next errand: of those that have come the first that is urgent, or else the first. `None` once there are no more.
fn next<T>(come: &Receiver<T>, waiting: &mut VecDeque<T>, is_urgent: impl Fn(&T) -> bool) -> Option<T> {
    if waiting.is_empty() {
        waiting.push_back(come.recv().ok()?);
    }
    waiting.extend(come.try_iter());
    let first = waiting.iter().position(is_urgent).unwrap_or(0);
    waiting.remove(first)
}

fn run(errands: &Receiver<Errand>, trouble: impl Fn(String)) {
    let mut waiting = VecDeque::new();
    // A function with work that may be short is held up by all others until that is written.
    let is_urgent = |errand: &Errand| matches!(errand, Errand::Idle { .. });
    while let Some(errand) = next(errands, &mut waiting, is_urgent) {
        match errand {
            // Many a worker that serves one invocation only has ended by now.
            Errand::Attach { pidfd, .. } if sys::has_ended(pidfd.as_fd()) => {}
            Errand::Attach { pid, pidfd, leaf, memory } => {
                prefer_for_oom(pid, pidfd.as_fd());
                let outcome = leaf.create(memory).and_then(|()| leaf.attach(pid));
                // The worker has ended: there is nothing to limit, but its pid may have been somebody else's
                // by the time it was written.
                if sys::has_ended(pidfd.as_fd()) {
                    if let Err(failure) = leaf.give_back() {
                        trouble(format!("a process may be in a worker's group by mistake: {failure}"));
                    }
                    continue;
                }
                let Err(failure) = outcome else { continue };
                trouble(format!("a worker was killed because its memory could not be limited: {failure}"));
                let _ = sys::kill(pidfd.as_fd());
            }
            // Best effort: the group may be gone. The wish is read here, so that the last of several errands writes the
            // last wish, in whatever order they came.
            Errand::Idle { file, wish } => {
                let value = if wish.load(Ordering::SeqCst) { "1" } else { "0" };
                let _ = std::fs::write(file, value);
            }
            Errand::Remove(slot) => {
                if let Err(failure) = slot.remove() {
                    trouble(format!("groups were left behind: {failure}"));
                }
            }
        }
    }
}

/// Makes a worker the kernel's first choice when the host is out of memory. Best effort.
fn prefer_for_oom(pid: libc::pid_t, worker: BorrowedFd<'_>) {
    let file = File::options().write(true).open(format!("/proc/{pid}/oom_score_adj"));
    // The open file stands for one process, whatever becomes of the pid; if the worker still lives it is the
    // worker.
    if let Ok(mut file) = file
        && !sys::has_ended(worker)
    {
        let _ = file.write_all(WORKER_OOM_SCORE_ADJ.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_urgent_goes_first_and_nothing_is_left() {
        let (sender, come) = channel();
        let mut waiting = VecDeque::new();
        let mut next = || next(&come, &mut waiting, |errand| *errand >= 10);
        for errand in [1, 2, 10, 3, 11] {
            sender.send(errand).unwrap();
        }
        assert_eq!([next(), next(), next()], [Some(10), Some(11), Some(1)]);
        sender.send(12).unwrap();
        drop(sender);
        assert_eq!([next(), next(), next(), next()], [Some(12), Some(2), Some(3), None]);
    }
}
