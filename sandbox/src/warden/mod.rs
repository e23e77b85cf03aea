//! The warden: the thread that decides, from outside, what the processes of functions may do next.
//!
//! It owns the seccomp listeners. A template waits in `fork` until a worker is wanted; a forked worker
//! checks in and is given its channel; any other call that the policy does not allow is recorded and its
//! caller killed. Pids come from the kernel, never from the processes.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gates;
mod kit;
mod template;
mod threads;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cgroup::{Cgroups, CpuCount, Slot};
use crate::channel::DaemonEnd;
use crate::ending::{Ending, LOADER_GAVE_UP};
use crate::grants::Grants;
use crate::init::Init;
use crate::layers::{self, Layer};
use crate::level::Level;
use crate::spawner::{Confined, SpawnRequest, Spawner};
use crate::step::SetupError;
use crate::sys;

/// The daemon's number for a loaded function; never reused while anything of it lives.
pub type FunctionKey = u32;

/// A function as it is loaded.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Its number.
    pub key: FunctionKey,
    /// Its name.
    pub name: String,
    /// The directory that it sees as `/function`; its uid must be able to read it. Absolute.
    pub directory: PathBuf,
    /// Name of the plugin's file in the directory.
    pub library: String,
    /// Uid and gid that no other live function has; of no meaning below level *full*.
    pub uid: u32,
    /// Memory of a worker, in bytes.
    pub memory: u64,
    /// CPU time per time of all its processes; `None` is no limit. Not enforced below level *full*.
    pub cpu: Option<f64>,
    /// Most workers at a time.
    pub max_workers: u32,
    /// Greatest body of a request, in bytes.
    pub max_request: u64,
    /// Greatest body of a response, in bytes.
    pub max_response: u64,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What it may touch beyond nothing.
    pub grants: Grants,
    /// How long load and init may take.
    pub init_timeout: Duration,
    /// Whether its output is marked with the invocation that it belongs to, see [`crate::mark`]. Costs each
    /// invocation a write.
    pub mark_output: bool,
}

/// Whom a worker is for. The warden hands it back with what becomes of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The function.
    pub function: FunctionKey,
    /// The shard.
    pub shard: u16,
    /// The slot of the shard's pool.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u32,
}

/// A worker that has started. Requests may be posted at once.
#[derive(Debug)]
pub struct Worker {
    /// Its pid.
    pub pid: libc::pid_t,
    /// For killing it.
    pub pidfd: OwnedFd,
    /// The channel to it.
    pub channel: DaemonEnd,
}

/// Why a function could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadFailure {
    /// A step of the confinement failed: a matter of the host, not of the function.
    Setup(SetupError),
    /// The loader, the version check or `init` refused. The function's own words, made printable.
    Refused(String),
    /// The template ended while it loaded or initialised.
    Ended(Ending),
    /// It took longer than it may.
    TimedOut(Duration),
    /// It left threads behind, which a fork does not carry over.
    Threads(u32),
}

impl LoadFailure {
    /// As callers may know it, who are not to be told of the host's paths and users: those are for whoever reads the
    /// log.
    pub fn for_callers(&self) -> String {
        match self {
            Self::Setup(_) => "its sandbox could not be set up, as the daemon's log says".to_owned(),
            Self::Refused(_) | Self::Ended(_) | Self::TimedOut(_) | Self::Threads(_) => self.to_string(),
        }
    }
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => write!(f, "the sandbox {error}"),
            Self::Refused(why) => f.write_str(why),
            Self::Ended(ending) => {
                write!(f, "its initialisation {ending}")?;
                match ending {
                    Ending::Exited { code: LOADER_GAVE_UP } => {
                        f.write_str(", as the loader does when a file is damaged; see its output")
                    }
                    Ending::Violation(_)
                    | Ending::Fault { .. }
                    | Ending::OutOfMemory
                    | Ending::Exited { .. }
                    | Ending::Killed
                    | Ending::Late => Ok(()),
                }
            }
            Self::TimedOut(limit) => write!(f, "its initialisation took longer than {limit:?}"),
            Self::Threads(count) => {
                write!(f, "its initialisation left {} threads running, which a fork does not keep", count - 1)
            }
        }
    }
}

/// How long the start of a worker took.
#[derive(Clone, Copy, Debug)]
pub struct StartTimes {
    /// From the wish for a worker until it is ready, its `worker_start` included.
    pub fork: Duration,
    /// CPU time that its template has used so far, the init of both included.
    pub template_cpu: Duration,
}

/// What the warden tells the daemon.
#[derive(Debug)]
pub enum Event {
    /// A function's template stands and loads it; followed by `Loaded` or `LoadFailed`.
    Loading {
        /// Which.
        function: FunctionKey,
        /// The read end of the template's standard output and error; does not block.
        output: OwnedFd,
    },
    /// The function is loaded; workers may be wanted.
    Loaded {
        /// Which.
        function: FunctionKey,
        /// From the wish to load to the end of init.
        took: Duration,
        /// Pid of its template.
        template: libc::pid_t,
        /// CPU time that it took, the init included.
        cpu: Duration,
        /// Where that of all its processes together is counted, if the host does so.
        count: Option<CpuCount>,
    },
    /// The function is not loaded.
    LoadFailed {
        /// Which.
        function: FunctionKey,
        /// Why.
        failure: LoadFailure,
    },
    /// A loaded function's template is gone, and its workers with it.
    TemplateGone {
        /// Which.
        function: FunctionKey,
        /// What ended it.
        ending: Ending,
    },
    /// Nothing of a function that was loaded runs any more, and its groups go.
    GroupGone {
        /// Which.
        function: FunctionKey,
        /// Where the CPU time of its processes was counted.
        count: CpuCount,
        /// What that came to.
        cpu: Duration,
    },
    /// A worker is forked and begins its start; followed by `WorkerReady` or `WorkerGone`.
    WorkerStarting {
        /// For whom.
        ticket: Ticket,
        /// The read end of its standard output and error; does not block.
        output: OwnedFd,
    },
    /// A worker is there.
    WorkerReady {
        /// For whom.
        ticket: Ticket,
        /// The worker.
        worker: Box<Worker>,
        /// How long it took.
        times: StartTimes,
    },
    /// A worker is gone, or did not come about.
    WorkerGone {
        /// For whom.
        ticket: Ticket,
        /// What ended it.
        ending: Ending,
    },
    /// Something went wrong that concerns the operator; a sentence.
    Trouble(String),
}

/// Where events go. Called on the sandbox's threads; must not block.
pub trait EventSink: Send + 'static {
    /// Takes an event.
    fn deliver(&self, event: Event);
}

/// What the sandbox confines with.
#[derive(Clone, Debug)]
pub enum SandboxConfig {
    /// As root.
    Full {
        /// The host's groups.
        cgroups: Cgroups,
        /// Uid and gid of the ns-inits; no function's.
        ns_init_uid: u32,
    },
    /// As an ordinary user, with a user namespace for each function.
    Userns,
    /// As an ordinary user, without namespaces.
    Bare,
}

impl SandboxConfig {
    /// The level that is enforced.
    pub fn level(&self) -> Level {
        match self {
            Self::Full { .. } => Level::Full,
            Self::Userns => Level::Userns,
            Self::Bare => Level::Bare,
        }
    }

    pub(crate) fn cgroups(&self) -> Option<&Cgroups> {
        match self {
            Self::Full { cgroups, .. } if layers::on(Layer::Groups) => Some(cgroups),
            Self::Full { .. } | Self::Userns | Self::Bare => None,
        }
    }
}

/// To the warden's thread.
#[derive(Debug)]
pub(crate) enum Command {
    Adopt(Box<Confined>),
    LoadFailed(FunctionKey, LoadFailure),
    Discard {
        init: Init,
        slot: Option<Slot>,
    },
    WantWorker(Ticket, std::time::Instant),
    Idle(FunctionKey, Arc<AtomicBool>),
    Unload(FunctionKey),
    Trouble(String),
    Stop,
    /// The spawner has made its last runner, and given back those that waited.
    SpawnerDone,
}

/// Set once everything that the sandbox made is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllGone(Arc<(Mutex<bool>, Condvar)>);

impl AllGone {
    pub(crate) fn wait(&self) {
        let (done, changed) = &*self.0;
        let guard = done.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(guard, |done| !*done));
    }

    fn set(&self) {
        let (done, changed) = &*self.0;
        *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

/// The way to the warden's thread.
#[derive(Clone, Debug)]
pub(crate) struct WardenSender {
    commands: Sender<Command>,
    bell: Arc<OwnedFd>,
    /// Set by a sender before it rings; taken back by the warden before it looks.
    rung: Arc<AtomicBool>,
    gone: AllGone,
}

impl WardenSender {
    pub(crate) fn send(&self, command: Command) {
        // The warden outlives all its senders but at the very end, when nobody waits for an answer.
        let _ = self.commands.send(command);
        if !self.rung.swap(true, Ordering::AcqRel) {
            sys::ring(self.bell.as_fd());
        }
    }

    pub(crate) fn all_gone(&self) -> AllGone {
        self.gone.clone()
    }
}

/// What a shard has of the warden.
#[derive(Clone, Debug)]
pub struct WardenHandle(WardenSender);

impl WardenHandle {
    /// Wants a worker; answered by `WorkerReady` or `WorkerGone` with the same ticket.
    pub fn want_worker(&self, ticket: Ticket) {
        self.0.send(Command::WantWorker(ticket, std::time::Instant::now()));
    }

    /// Whether a function's processes are to run only where no other function's want to has changed, to what `wish`
    /// says by the time that it is done. Nothing comes of it where there are no groups.
    pub fn idle(&self, function: FunctionKey, wish: Arc<AtomicBool>) {
        self.0.send(Command::Idle(function, wish));
    }
}

/// The sandbox: its threads, and what they are asked.
#[derive(Debug)]
pub struct Sandbox {
    warden: WardenSender,
    spawner: Sender<SpawnRequest>,
    threads: Vec<JoinHandle<()>>,
    cgroups: Option<Cgroups>,
}

impl Sandbox {
    /// Starts the threads. Fails with the kernel feature or permission that is missing; and as root at a level at
    /// which functions have their user's own uid.
    pub fn start(config: SandboxConfig, sink: Box<dyn EventSink>) -> io::Result<Self> {
        if config.level() != Level::Full && crate::userns::is_root() {
            let why = format!("at level {} functions would have root's own uid", config.level());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let (commands, receiver): (_, Receiver<Command>) = channel();
        let warden = WardenSender {
            commands,
            bell: Arc::new(sys::eventfd()?),
            rung: Arc::default(),
            gone: AllGone::default(),
        };
        let (spawner, requests) = channel();
        let trouble = warden.clone();
        let (errands, groups) = crate::groups::start(move |text| trouble.send(Command::Trouble(text)))?;
        if let Some(warning) = layers::warning() {
            sink.deliver(Event::Trouble(warning));
        }
        let watch = watch::Watch::new(receiver, warden.clone(), errands, sink)?;
        let cgroups = config.cgroups().cloned();
        let make = Spawner::new(config, warden.clone())?;
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = vec![
            named("warden").spawn(move || watch.run())?,
            named("spawner").spawn(move || make.run(requests))?,
            groups,
        ];
        Ok(Self { warden, spawner, threads, cgroups })
    }

    /// What a shard needs.
    pub fn handle(&self) -> WardenHandle {
        WardenHandle(self.warden.clone())
    }

    /// Loads a function; answered by `Loaded` or `LoadFailed`.
    pub fn load(&self, spec: FunctionSpec) {
        // The spawner ends only after `stop`.
        let _ = self.spawner.send(SpawnRequest::Load(Box::new(spec)));
    }

    /// Ends a function: its template and all its workers.
    pub fn unload(&self, function: FunctionKey) {
        self.warden.send(Command::Unload(function));
    }

    /// Ends every process and removes every group that this sandbox made.
    pub fn stop(self) -> Result<(), crate::cgroup::CgroupError> {
        let _ = self.spawner.send(SpawnRequest::Stop);
        self.warden.send(Command::Stop);
        drop((self.spawner, self.warden));
        for thread in self.threads {
            let _ = thread.join();
        }
        self.cgroups.map_or(Ok(()), |cgroups| crate::cgroup::remove_all_of(&cgroups).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl EventSink for Nobody {
        fn deliver(&self, _event: Event) {}
    }

    #[test]
    fn callers_hear_of_a_function_and_not_of_the_host() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let setup = LoadFailure::Setup(SetupError::with(crate::step::Step::Root, &error, "bind /srv/secret"));
        assert!(setup.to_string().contains("/srv/secret") && !setup.for_callers().contains("/srv"));
        let refused = LoadFailure::Refused("init returned 7".to_owned());
        assert_eq!(refused.for_callers(), refused.to_string());
    }

    #[test]
    fn root_gets_no_level_at_which_functions_would_be_root() {
        assert!(crate::userns::is_root(), "the tests run as root");
        for config in [SandboxConfig::Userns, SandboxConfig::Bare] {
            let error = Sandbox::start(config, Box::new(Nobody)).expect_err("it is refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        }
    }
}
