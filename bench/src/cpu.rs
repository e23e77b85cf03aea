//! CPU time of a whole process tree, in nanoseconds.
//!
//! A server is its processes: a daemon's workers are charged to it like its own threads. The source is the
//! first field of `/proc/PID/task/TID/schedstat`, the time a thread has run as the scheduler accounts it.
//! It is exact for a thread that sleeps and up to one tick (1–4 ms) behind for one that runs, so snapshots
//! are taken when no request is in flight.
//!
//! Workers in PID namespaces of their own are seen from outside, under the ids of this namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io};

/// A process, told apart from a later one that was given the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    /// Id, as this namespace sees it.
    pub(crate) pid: u32,
    /// When it was started, in clock ticks since boot.
    pub(crate) started: u64,
}

/// A process of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The process.
    pub(crate) process: Process,
    /// The process id of its parent.
    pub(crate) parent: u32,
    /// Whether it has ended and waits to be reaped.
    pub(crate) zombie: bool,
}

/// A process and its descendants.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Parents stand before their children, siblings in the order they were started.
    pub(crate) nodes: Vec<Node>,
}

impl Tree {
    /// Finds the descendants of `root` by a scan of all processes' parents.
    ///
    /// # Errors
    /// `NotFound` if `root` does not exist, else what reading `/proc` failed with.
    pub(crate) fn of(root: u32) -> io::Result<Self> {
        let mut children: BTreeMap<u32, Vec<Node>> = BTreeMap::new();
        let mut nodes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end between the listing and the reading.
            let Some(node) = read_node(pid) else { continue };
            if pid == root {
                nodes.push(node);
            } else {
                children.entry(node.parent).or_default().push(node);
            }
        }
        if nodes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no process {root}")));
        }
        let mut next = 0;
        while let Some(node) = nodes.get(next) {
            let mut below = children.remove(&node.process.pid).unwrap_or_default();
            below.sort_unstable_by_key(|child| (child.process.started, child.process.pid));
            nodes.extend(below);
            next += 1;
        }
        Ok(Self { nodes })
    }
}

/// Whether `process` still runs: neither gone, nor ended and unreaped, nor replaced by another.
pub(crate) fn is_alive(process: Process) -> bool {
    read_node(process.pid).is_some_and(|node| node.process == process && !node.zombie)
}

/// CPU time of every thread of a process tree at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Nanoseconds by process and thread id.
    threads: BTreeMap<(Process, u32), u64>,
}

/// CPU time spent between two snapshots of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Nanoseconds, summed over all threads. Too low if anything vanished.
    pub(crate) ns: u64,
    /// Processes with a thread that was there before and not after: what it ran in between is lost.
    pub(crate) vanished: BTreeSet<Process>,
}

impl Snapshot {
    /// Reads the run time of every thread of `root` and its descendants.
    ///
    /// # Errors
    /// As [`Tree::of`], and `NotFound` if no thread of the tree could be read.
    pub(crate) fn of(root: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for Node { process, .. } in Tree::of(root)?.nodes {
            let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", process.pid)) else { continue };
            for task in tasks.flatten() {
                let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
                if let Some(ns) = parse_run_time(&text) {
                    threads.insert((process, tid), ns);
                }
            }
        }
        if threads.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no schedstat of process {root} can be read; the kernel needs CONFIG_SCHED_INFO"),
            ));
        }
        Ok(Self { threads })
    }

    /// What the tree spent from `before` until this snapshot. Threads that came in between count whole.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let ns = self
            .threads
            .iter()
            .map(|(key, after)| after.saturating_sub(before.threads.get(key).copied().unwrap_or(0)))
            .sum();
        let vanished =
            before.threads.keys().filter(|key| !self.threads.contains_key(key)).map(|(process, _)| *process);
        Spent { ns, vanished: vanished.collect() }
    }
}

/// The run time in a text like `972677 2525250 3`.
fn parse_run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn read_node(pid: u32) -> Option<Node> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parent and start time from a line like `42 (name) S 1 …`. The name may hold spaces and parentheses, so
/// fields are counted from its last one.
fn parse_stat(pid: u32, stat: &str) -> Option<Node> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // Behind the name: state (field 3), then the parent (4); the start time is field 22.
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Node { process: Process { pid, started }, parent, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use crate::process::wait_until;

    const MARK: Process = Process { pid: 5, started: 1 };

    fn snapshot(threads: &[(Process, u32, u64)]) -> Snapshot {
        Snapshot { threads: threads.iter().map(|&(process, tid, ns)| ((process, tid), ns)).collect() }
    }

    #[test]
    fn fields_are_counted_behind_the_last_parenthesis_of_the_name() {
        let line = "42 (a) b) (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 0 0";
        let node = parse_stat(42, line).expect("a stat line");
        assert_eq!(node, Node { process: Process { pid: 42, started: 9876 }, parent: 7, zombie: false });
        assert_eq!(parse_stat(42, "42 (short) S"), None);
    }

    #[test]
    fn new_threads_count_whole_and_vanished_ones_are_named() {
        let reused = Process { pid: 5, started: 99 };
        let before = snapshot(&[(MARK, 5, 100), (MARK, 6, 50)]);
        let after = snapshot(&[(MARK, 5, 130), (reused, 6, 7)]);
        let spent = after.since(&before);
        assert_eq!(spent.ns, 37);
        assert_eq!(spent.vanished, BTreeSet::from([MARK]));
        assert_eq!(before.since(&before), Spent { ns: 0, vanished: BTreeSet::new() });
    }

    /// CPU time that the spinning process uses up.
    const SPIN_NS: i64 = 100_000_000;

    /// Spins until this process has used [`SPIN_NS`], between one byte on `go` and one on `done`; then waits
    /// to be killed.
    fn spin(go: i32, done: i32) -> ! {
        let mut byte = [0_u8];
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: only async-signal-safe calls on a live local, as a child forked from a threaded process
        // needs; `go` and `done` are sockets that it inherited. An allocation here could deadlock.
        unsafe {
            libc::read(go, byte.as_mut_ptr().cast(), 1);
            while used.tv_sec == 0 && used.tv_nsec < SPIN_NS {
                libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used);
            }
            libc::write(done, byte.as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
    }

    /// Forks an idle child with a spinning child of its own, and gives the idle one's process id.
    fn fork_family(go: i32, done: i32) -> u32 {
        // SAFETY: parent and child go on with async-signal-safe calls only; both are killed with the thread
        // that made them, so a failing test leaves nothing behind.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "fork: {}", io::Error::last_os_error());
            if child > 0 {
                return u32::try_from(child).expect("positive");
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::fork() == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                spin(go, done);
            }
            loop {
                libc::pause();
            }
        }
    }

    #[test]
    fn what_a_grandchild_spins_is_charged_to_the_tree() {
        let (go_reader, mut go) = UnixStream::pair().expect("a pair");
        let (mut done, done_writer) = UnixStream::pair().expect("a pair");
        let root = fork_family(go_reader.as_raw_fd(), done_writer.as_raw_fd());
        let second = || Tree::of(root).ok()?.nodes.get(1).map(|node| node.process.pid);
        assert!(wait_until(Duration::from_secs(5), || second().is_some()), "no grandchild is found");
        let before = Snapshot::of(root).expect("the child is alive");
        go.write_all(b"g").expect("the spinner reads");
        done.read_exact(&mut [0]).expect("the spinner says that it is done");
        // It spins no more once it sleeps; until then its run time may be a tick behind.
        let spinner = second().expect("the spinner waits to be killed");
        let sleeps = || fs::read_to_string(format!("/proc/{spinner}/stat")).is_ok_and(|s| s.contains(") S "));
        assert!(wait_until(Duration::from_secs(5), sleeps), "the spinner does not sleep");
        let spent = Snapshot::of(root).expect("the child is alive").since(&before);

        crate::process::signal(root, libc::SIGKILL);
        // SAFETY: takes the id of a child of ours and a null pointer, which asks for no status.
        unsafe {
            libc::waitpid(root.try_into().expect("a process id"), std::ptr::null_mut(), 0);
        }
        assert!(spent.vanished.is_empty(), "{spent:?}");
        // A little of its 100 ms went by before the first snapshot, and a little more after them.
        assert!((98_000_000..110_000_000).contains(&spent.ns), "100 ms were spun: {spent:?}");
    }

    #[test]
    fn parents_stand_before_children() {
        let own = std::process::id();
        let tree = Tree::of(own).expect("this process is alive");
        assert_eq!(tree.nodes[0].process.pid, own);
        assert!(!tree.nodes[0].zombie);
        assert!(is_alive(tree.nodes[0].process));
        assert!(!is_alive(Process { started: tree.nodes[0].process.started + 1, pid: own }));
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        // Above the kernel's greatest process id.
        let error = Snapshot::of(1 << 23).expect_err("no such process");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
