//! Processes by pidfd, and what `/proc` says of them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long [`eventually`] waits: on two cores with many tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that was there, and cannot be mistaken for another that is given its pid later.
#[derive(Debug)]
pub struct Process {
    /// Its pid, as the tests see it.
    pub pid: i32,
    /// Pid of its parent when it was found.
    pub parent: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens a process; `None` if it is gone.
    pub fn open(pid: i32) -> Option<Self> {
        let before = Stat::read(pid)?;
        // SAFETY: takes no pointers; the descriptor is owned at once.
        let pidfd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            OwnedFd::from_raw_fd(i32::try_from(fd).ok().filter(|fd| *fd >= 0)?)
        };
        let after = Stat::read(pid)?;
        (before.started == after.started).then_some(Self { pid, parent: after.parent, pidfd })
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.read("comm").trim_end().to_owned()
    }

    /// A file of its directory in `/proc`; empty once it is gone.
    pub fn read(&self, file: &str) -> String {
        fs::read(self.path(file))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Where a file of its directory in `/proc` is.
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid))
    }

    /// A line of its `status`, without name and white space around.
    pub fn status(&self, field: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("process {} has no {field} in its status", self.pid)).trim().to_owned()
    }

    /// What it has in memory, in KiB.
    pub fn resident(&self) -> u64 {
        let line = self.status("VmRSS");
        line.trim_end_matches(" kB").parse().unwrap_or_else(|_| panic!("VmRSS: {line}"))
    }

    /// Its effective uid.
    pub fn uid(&self) -> Option<u32> {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Whether it runs only when no other of its control group wants to. Of one that does neither that nor run as all
    /// others do, the test fails.
    pub fn is_demoted(&self) -> bool {
        // SAFETY: takes no pointers.
        let policy = unsafe { libc::sched_getscheduler(self.pid) };
        assert!(policy == libc::SCHED_IDLE || policy == libc::SCHED_OTHER, "its policy is {policy}");
        policy == libc::SCHED_IDLE
    }

    /// Which namespace of a kind it is in.
    pub fn namespace(&self, kind: &str) -> String {
        let link = fs::read_link(self.path(&format!("ns/{kind}")));
        link.unwrap_or_else(|error| panic!("namespace {kind} of {}: {error}", self.pid)).display().to_string()
    }

    /// Its open descriptors, and what `/proc` calls them.
    pub fn descriptors(&self) -> BTreeMap<i32, String> {
        let entries = fs::read_dir(self.path("fd")).expect("the process runs");
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.parse().ok());
        numbers
            .filter_map(|fd: i32| Some((fd, fs::read_link(self.path(&format!("fd/{fd}"))).ok()?)))
            .map(|(fd, target)| (fd, target.display().to_string()))
            .collect()
    }

    /// Sends a signal to it and to no other.
    pub fn signal(&self, signal: i32) {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed; one that is gone is an error that is no harm.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, nothing, 0) };
    }

    /// Whether it ends within a time. Waits for the event, not for the clock.
    pub fn ends_within(&self, time: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            // SAFETY: `poll` is one entry and outlives the call.
            match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
                1 => return true,
                // Interrupted, or rounded down to too little.
                _ if Instant::now() < deadline => {}
                _ => return false,
            }
        }
    }
}

/// Those of `processes` that are still there after `time`, for a message.
pub fn left_after(processes: &[Process], time: Duration) -> Vec<String> {
    let deadline = Instant::now() + time;
    let late = |process: &&Process| !process.ends_within(deadline.saturating_duration_since(Instant::now()));
    let late = processes.iter().filter(late);
    late.map(|process| format!("{} {}", process.pid, process.name())).collect()
}

/// A process and all below it, parents before children.
pub fn tree(root: i32) -> Vec<Process> {
    let mut family: Vec<Process> = Process::open(root).into_iter().collect();
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::read(pid)?))) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut at = 0;
    while let Some(parent) = family.get(at).map(|process| process.pid) {
        let below = children.remove(&parent).unwrap_or_default();
        family.extend(below.into_iter().filter_map(Process::open).filter(|process| process.parent == parent));
        at += 1;
    }
    family
}

/// Waits for what no event tells of, looking every few milliseconds; fails when it takes longer than `PATIENCE`.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// As [`eventually`], for what is to be seen exactly; what is seen at the end is told.
pub fn eventually_equal<T: PartialEq + Debug>(what: &str, expected: &T, mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found == *expected {
            return;
        }
        if Instant::now() >= deadline {
            assert_eq!(found, *expected, "waited {PATIENCE:?} in vain: {what}");
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// What `/proc/PID/stat` says, as far as it is needed.
struct Stat {
    parent: i32,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The name, in parentheses, may contain anything: count from behind it.
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let (parent, started) = (fields.nth(1)?, fields.nth(17)?);
        Some(Self { parent: parent.parse().ok()?, started: started.parse().ok()? })
    }
}
