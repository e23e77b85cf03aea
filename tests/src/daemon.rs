//! The real daemon, started for a test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::artefacts;
use crate::home::Home;
use crate::http::{Connection, Response};
use crate::process::{self, Process, eventually, left_after};

/// How long anything may take that a healthy daemon does at once: two cores may serve many tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what the daemon leaves may outlive it.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A running daemon. Dropped without [`Daemon::stop`], it is killed, as it is if the test dies.
#[derive(Debug)]
pub struct Daemon<'h> {
    /// What it was started with.
    pub home: &'h Home,
    /// Its process.
    pub process: Process,
    child: Child,
    lines: Arc<Lines>,
    address: SocketAddr,
}

/// What it has written to its standard error.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl<'h> Daemon<'h> {
    /// Starts it and waits until it serves and has said of each function whether it is loaded.
    pub fn start(home: &'h Home) -> Self {
        Self::serving(home, Self::spawn(home))
    }

    /// As [`Daemon::start`], by a command of one's own.
    pub fn start_by(home: &'h Home, command: Command) -> Self {
        Self::serving(home, Self::run(home, command))
    }

    fn serving(home: &'h Home, mut daemon: Self) -> Self {
        daemon.await_address();
        // One after the other, so that many may take longer than one.
        for count in 1..=home.count() {
            let verdict = |line: &str| line.starts_with("loaded ") || line.contains(" cannot be served: ");
            daemon.lines.wait(|lines| {
                let verdicts = lines.iter().filter(|line| verdict(line)).count();
                (verdicts >= count).then(String::new)
            });
        }
        daemon
    }

    /// Starts `hairtrigger serve` and waits for nothing.
    pub fn spawn(home: &'h Home) -> Self {
        let mut command = Command::new(artefacts::daemon());
        command.arg("serve").arg("--config").arg(home.config());
        Self::run(home, command)
    }

    /// Starts any command of the daemon's.
    pub fn run(home: &'h Home, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: between fork and exec one system call is made, on numbers.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().expect("the daemon can be executed");
        let lines = Arc::new(Lines::default());
        let stderr = child.stderr.take().expect("asked for above");
        let gatherer = Arc::clone(&lines);
        thread::spawn(move || gatherer.gather(stderr));
        let pid = i32::try_from(child.id()).expect("a pid is positive");
        let process = Process::open(pid).expect("a child is there until it is waited for");
        Self { home, process, child, lines, address: ([127, 0, 0, 1], 0).into() }
    }

    /// Waits until it says where it serves.
    pub fn await_address(&mut self) {
        let line = self.await_line(|line| line.starts_with("serving on http://"));
        let address = line.trim_start_matches("serving on http://");
        self.address = address.parse().unwrap_or_else(|_| panic!("no address in: {line}"));
    }

    /// The first line that it has written, or will, that is `right`.
    pub fn await_line(&self, right: impl Fn(&str) -> bool) -> String {
        self.lines.wait(|lines| lines.iter().find(|line| right(line)).cloned())
    }

    /// The last of the first `count` lines that are `right`, once there are so many.
    pub fn await_lines(&self, count: usize, right: impl Fn(&str) -> bool) -> String {
        let nth = count.checked_sub(1).expect("at least one");
        self.lines.wait(|lines| lines.iter().filter(|line| right(line)).nth(nth).cloned())
    }

    /// What it has written so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection of its own.
    pub fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// `GET path`, on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// Every process of it, itself first.
    pub fn tree(&self) -> Vec<Process> {
        process::tree(self.process.pid)
    }

    /// Its janitor.
    pub fn janitor(&self) -> Process {
        let janitor = self.tree().into_iter().find(|process| process.name() == "ht-janitor");
        janitor.expect("a daemon has a janitor")
    }

    /// The live workers of a function, at this moment.
    pub fn workers(&self, function: &str) -> Vec<Process> {
        self.named("ht-worker", function)
    }

    /// Waits until a function has exactly `count` workers.
    pub fn await_workers(&self, function: &str, count: usize) -> Vec<Process> {
        eventually(&format!("{count} workers of {function}"), || {
            let workers = self.workers(function);
            (workers.len() == count).then_some(workers)
        })
    }

    /// Waits until a function has workers and each is in a group of its own, which takes some ten
    /// milliseconds from its start: from then on it is the kernel that ends a greedy one. Before, its
    /// `malloc` refuses.
    pub fn await_own_groups(&self, function: &str) {
        eventually("the workers are in groups of their own", || {
            let template = self.home.groups.find("memory", self.template(function).pid)?;
            let workers = self.workers(function);
            let own = |pid| self.home.groups.find("memory", pid).is_some_and(|group| group != template);
            (!workers.is_empty() && workers.iter().all(|worker| own(worker.pid))).then_some(())
        });
    }

    /// The template of a loaded function.
    pub fn template(&self, function: &str) -> Process {
        self.find_template(function).expect("a loaded function has a template")
    }

    /// The template of a function, if it has one at this moment.
    pub fn find_template(&self, function: &str) -> Option<Process> {
        self.named("ht-template", function).into_iter().next()
    }

    /// The ns-init of a loaded function.
    pub fn ns_init(&self, function: &str) -> Process {
        Process::open(self.template(function).parent).expect("a template has an ns-init")
    }

    fn named(&self, name: &str, function: &str) -> Vec<Process> {
        let uid = self.home.uid(function);
        // By its own directory where that layer is off, and all have root's uid.
        let directory = fs::metadata(self.home.functions().join(function)).ok();
        let directory = directory.map(|known| (known.dev(), known.ino()));
        let sees = |process: &Process| {
            let seen = fs::metadata(process.path("root/function")).ok();
            process.uid() == Some(0) && seen.map(|seen| (seen.dev(), seen.ino())) == directory
        };
        let of_function = |process: &Process| process.uid() == Some(uid) || sees(process);
        self.tree().into_iter().filter(|process| process.name() == name && of_function(process)).collect()
    }

    /// Asks it to end, and sees that it does so properly: exit code 0, and no process and no group left.
    pub fn stop(self) {
        self.stop_while(|_| ());
    }

    /// As [`Daemon::stop`], doing something after SIGTERM has been sent.
    pub fn stop_while<T>(self, meanwhile: impl FnOnce(&Self) -> T) -> T {
        self.process.signal(libc::SIGTERM);
        self.ends_while(0, meanwhile)
    }

    /// That it ends, with this exit code, since it was told to, and that nothing is left of it; does something until
    /// then.
    pub fn ends_while<T>(mut self, code: i32, meanwhile: impl FnOnce(&Self) -> T) -> T {
        let family = self.tree();
        let result = meanwhile(&self);
        assert!(self.process.ends_within(PATIENCE), "the signal was not obeyed; {}", self.last_words());
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.code(), Some(code), "it ended with {status}; {}", self.last_words());
        self.lines.wait_for_end();
        assert_eq!(left_after(&family, AFTERMATH), [""; 0], "processes outlived the daemon");
        assert_eq!(
            self.home.groups.all(),
            [""; 0].map(std::path::PathBuf::from),
            "groups outlived the daemon"
        );
        let lines = self.lines();
        let bad = |line: &str| line.contains("panicked") || line.contains("groups were left behind");
        // A function's own lines begin with its name in brackets.
        let trouble = lines.iter().find(|line| !line.starts_with('[') && bad(line));
        assert_eq!(trouble, None, "a daemon that ended properly was in trouble");
        result
    }

    /// SIGKILL, and waits for its end; what it had is another matter.
    pub fn kill(mut self) -> ExitStatus {
        self.process.signal(libc::SIGKILL);
        self.child.wait().expect("a child can be waited for")
    }

    /// Waits for its end by itself, with nothing left of it, however it ends; returns how.
    pub fn death(mut self, patience: Duration) -> ExitStatus {
        let family = self.tree();
        assert!(self.process.ends_within(patience), "it lives after {patience:?}; {}", self.last_words());
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(left_after(&family, AFTERMATH), [""; 0], "processes outlived the daemon");
        assert!(
            self.home.groups.all().is_empty(),
            "groups outlived the daemon: {:?}",
            self.home.groups.all()
        );
        status
    }

    /// Waits for its end by itself, as a failure, and returns what it said.
    pub fn refusal(self) -> Vec<String> {
        self.refusal_with(1)
    }

    /// Waits for its end by itself, with this exit code, and returns what it said.
    pub fn refusal_with(mut self, code: i32) -> Vec<String> {
        assert!(self.process.ends_within(PATIENCE), "it started: {}", self.last_words());
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.code(), Some(code), "{}", self.last_words());
        self.lines.wait_for_end();
        self.lines()
    }

    fn last_words(&self) -> String {
        format!("it wrote:\n{}", self.lines().join("\n"))
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = self.tree();
        if thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        self.process.signal(libc::SIGKILL);
        let _ = self.child.wait();
        // The janitor among them, which removes the groups before it ends.
        let _ = left_after(&family, PATIENCE);
    }
}

impl Lines {
    fn gather(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).split(b'\n') {
            let Ok(line) = line else { break };
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.push(String::from_utf8_lossy(&line).into_owned());
            self.changed.notify_all();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    fn wait(&self, look: impl Fn(&[String]) -> Option<String>) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&state.0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let written = || state.0.join("\n");
            assert!(
                !state.1,
                "the daemon ended before it wrote what was waited for; it wrote:\n{}",
                written()
            );
            assert!(!left.is_zero(), "the daemon did not write what was waited for, but:\n{}", written());
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| !state.1);
        assert!(waited.unwrap_or_else(PoisonError::into_inner).0.1, "its standard error was never closed");
    }
}
