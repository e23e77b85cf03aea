//! The spawner: a thread that makes runners ahead of need and turns them into templates.
//!
//! A *parked* runner is cloned, in its namespaces, into its cgroup slot or attached to it (as far as the level has
//! either), and waits. Given a function it confines itself; when its filter stands, the spawner takes the listener over and hands the template
//! to the warden, before any code of the function has run. The thread lives as long as the daemon: an
//! ns-init dies with the thread that made it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::cgroup::{Slot, SlotLimits};
use crate::init::Init;
use crate::layers::{self, Layer};
use crate::level::Level;
use crate::limits::{
    DATA_SLACK, FUNCTION_STACK, PARK_AGAIN, PARK_IDLE, PARKED_RUNNERS, RUNNER_DATA, SETUP_TIMEOUT,
    TEMPLATE_MEMORY,
};
use crate::runner::RUNNER_NAME;
use crate::setup::{Assignment, FromRunner, SETUP_FD, Setup, ToRunner};
use crate::step::{AtStep, SetupError, Step};
use crate::sys::{self, Cloned};
use crate::userns;
use crate::warden::{Command, FunctionSpec, LoadFailure, SandboxConfig, WardenSender};

/// Namespaces of each kind that a function has of its own.
pub(crate) const NAMESPACES: libc::c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Which network a runner is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// An empty one of its own.
    Own,
    /// The daemon's, for a function that may connect to something.
    Hosts,
}

/// What the spawner is asked to do.
#[derive(Debug)]
pub(crate) enum SpawnRequest {
    /// Make a template of this function.
    Load(Box<FunctionSpec>),
    /// Make no more.
    Stop,
}

/// A runner that waits for its function.
#[derive(Debug)]
struct Parked {
    init: Init,
    template_pid: libc::pid_t,
    template: OwnedFd,
    setup: Setup,
    slot: Option<Slot>,
    output: OwnedFd,
}

/// A template whose filter stands and which has run none of the function's code yet.
#[derive(Debug)]
pub(crate) struct Confined {
    pub(crate) spec: FunctionSpec,
    pub(crate) init: Init,
    pub(crate) pid: libc::pid_t,
    pub(crate) pidfd: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) slot: Option<Slot>,
    pub(crate) output: OwnedFd,
    /// When the load was begun.
    pub(crate) begun: Instant,
}

/// The state of the thread.
pub(crate) struct Spawner {
    executable: OwnedFd,
    null: OwnedFd,
    config: SandboxConfig,
    next_slot: u64,
    parked: VecDeque<Parked>,
    warden: WardenSender,
}

impl Spawner {
    pub(crate) fn new(config: SandboxConfig, warden: WardenSender) -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self {
            executable: sys::out_of_the_way(File::open("/proc/self/exe")?.as_fd())?,
            null: sys::out_of_the_way(null.as_fd())?,
            config,
            next_slot: 0,
            parked: VecDeque::new(),
            warden,
        })
    }

    /// Serves until told to stop, and then keeps its place for the sake of the ns-inits.
    pub(crate) fn run(mut self, requests: Receiver<SpawnRequest>) {
        // Between requests there is time to make the next runner.
        let mut idle = PARK_IDLE;
        loop {
            let request = if self.parked.len() < PARKED_RUNNERS {
                requests.recv_timeout(idle)
            } else {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match request {
                Ok(SpawnRequest::Load(spec)) => self.load(*spec),
                Ok(SpawnRequest::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let parked = self.park(Network::Own);
                    // A load that comes before the next try meets the same failure and reports it to somebody who waits.
                    idle = if parked.is_ok() { PARK_IDLE } else { PARK_AGAIN };
                    self.parked.extend(parked);
                }
            }
        }
        for parked in self.parked.drain(..) {
            self.warden.send(Command::Discard { init: parked.init, slot: parked.slot });
        }
        self.warden.send(Command::SpawnerDone);
        // The thread must outlive the ns-inits, which the warden ends.
        self.warden.all_gone().wait();
    }

    fn load(&mut self, spec: FunctionSpec) {
        let begun = Instant::now();
        let outcome = match self.make(&spec, begun) {
            // Nothing that the function could be blamed for, and nothing that must come again: a runner that was
            // killed while it was parked, or that a busy host kept from running. A new version of a function has
            // but this one load.
            Err(error) if error.step == Step::Dialogue => self.make(&spec, begun),
            outcome => outcome,
        };
        self.warden.send(match outcome {
            Ok(confined) => Command::Adopt(Box::new(confined)),
            Err(error) => Command::LoadFailed(spec.key, LoadFailure::Setup(error)),
        });
    }

    /// Makes a template, of a parked runner if there is one.
    fn make(&mut self, spec: &FunctionSpec, begun: Instant) -> Result<Confined, SetupError> {
        let network = if spec.grants.connect.is_empty() { Network::Own } else { Network::Hosts };
        let parked = match (network, self.parked.pop_front()) {
            (Network::Own, Some(parked)) => parked,
            (Network::Own, None) => self.park(network)?,
            (Network::Hosts, waiting) => {
                self.parked.extend(waiting);
                self.park(network)?
            }
        };
        self.assign(parked, spec.clone(), begun)
    }

    /// Makes a runner and brings it to where it waits for its function.
    fn park(&mut self, network: Network) -> Result<Parked, SetupError> {
        let index = self.next_slot;
        self.next_slot += 1;
        let group = |error: crate::cgroup::CgroupError| {
            SetupError::with(Step::Group, &error.error, error.path.display().to_string())
        };
        let level = self.config.level();
        let slot =
            self.config.cgroups().map(|cgroups| cgroups.create_slot(index)).transpose().map_err(group)?;
        let birthplace = slot.as_ref().map(Slot::birthplace).transpose().map_err(group)?.flatten();
        let (setup, theirs) = Setup::pair().step(Step::Dialogue)?;
        let (output, output_theirs) = sys::output_pipe().step(Step::Dialogue)?;
        let cloned = self.clone_runner(network, birthplace.as_ref().map(AsFd::as_fd), theirs, output_theirs);
        let init = Init::new(cloned.step(Step::Clone)?, level);
        let rest = (|| {
            let init_uid = match &self.config {
                SandboxConfig::Full { ns_init_uid, .. } => Some(*ns_init_uid),
                SandboxConfig::Userns => {
                    let (uid, gid) = userns::own_ids();
                    userns::map(init.pid(), uid, gid).step(Step::Map)?;
                    None
                }
                SandboxConfig::Bare => None,
            };
            slot.as_ref().map_or(Ok(()), |slot| slot.attach(init.pid())).map_err(group)?;
            setup.send(&ToRunner::Placed { level, init_uid }).step(Step::Dialogue)?;
            let template_pid = expect(&setup, |message| matches!(message, FromRunner::Parked))?.1;
            let template = sys::pidfd_open(template_pid).step(Step::Dialogue)?;
            Ok((template_pid, template))
        })();
        match rest {
            Ok((template_pid, template)) => Ok(Parked { init, template_pid, template, setup, slot, output }),
            Err(error) => {
                self.warden.send(Command::Discard { init, slot });
                Err(error)
            }
        }
    }

    /// Gives a parked runner its function, up to where its filter stands.
    fn assign(&self, parked: Parked, spec: FunctionSpec, begun: Instant) -> Result<Confined, SetupError> {
        let Parked { init, template_pid, template, setup, slot, output } = parked;
        let outcome = (|| {
            let workers = u64::from(spec.max_workers);
            let threads = u64::from(spec.grants.threads);
            // The init, the template, and the workers with their threads, each of which may still be on its way out
            // when the next one comes. The template has as many only before there are workers.
            let pids = workers * (1 + 2 * threads) + 2;
            if let Some(slot) = &slot {
                let memory = TEMPLATE_MEMORY + DATA_SLACK + spec.memory * workers;
                slot.set_limits(&SlotLimits { memory, pids, cpu: spec.cpu }).map_err(|error| {
                    SetupError::with(Step::Group, &error.error, error.path.display().to_string())
                })?;
            }
            let level = self.config.level();
            let (uid, slack, process_limit) = match level {
                // What stacks of threads reserve is no memory yet: the group counts what they use.
                Level::Full => {
                    (layers::on(Layer::Uid).then_some(spec.uid), DATA_SLACK + threads * FUNCTION_STACK, None)
                }
                // In a user namespace of its own, nobody else's processes are counted.
                Level::Userns => (None, RUNNER_DATA, Some(pids)),
                Level::Bare => (None, RUNNER_DATA, None),
            };
            let assignment = Assignment {
                function: spec.name.clone(),
                level,
                directory: spec.directory.clone(),
                library: spec.library.clone(),
                uid,
                environment: spec.environment.clone(),
                data_limit: spec.memory + slack,
                process_limit,
                max_request: spec.max_request,
                max_response: spec.max_response,
                grants: spec.grants.clone(),
                mark_output: spec.mark_output,
            };
            setup.send(&ToRunner::Become(Box::new(assignment))).step(Step::Dialogue)?;
            let (message, _) = expect(&setup, |message| matches!(message, FromRunner::Confined { .. }))?;
            let FromRunner::Confined { listener } = message else { unreachable!("expected just now") };
            let listener = sys::pidfd_getfd(template.as_fd(), listener).step(Step::Listener)?;
            setup.send(&ToRunner::ListenerTaken).step(Step::Listener)?;
            Ok(listener)
        })();
        match outcome {
            Ok(listener) => {
                Ok(Confined { spec, init, pid: template_pid, pidfd: template, listener, slot, output, begun })
            }
            Err(error) => {
                self.warden.send(Command::Discard { init, slot });
                Err(error)
            }
        }
    }

    /// Clones and executes a runner: PID 1 of new namespaces of every kind that a function has of its own, where
    /// the level has them, in `group`, if that can be.
    fn clone_runner(
        &self,
        network: Network,
        group: Option<BorrowedFd<'_>>,
        setup: OwnedFd,
        output: OwnedFd,
    ) -> io::Result<Cloned> {
        let level = self.config.level();
        let namespaces = match network {
            Network::Own => NAMESPACES,
            Network::Hosts => NAMESPACES & !libc::CLONE_NEWNET,
        };
        let namespaces = match level {
            Level::Full => namespaces,
            Level::Userns => namespaces | libc::CLONE_NEWUSER,
            Level::Bare => 0,
        };
        let namespaces = if layers::on(Layer::Namespaces) { namespaces } else { 0 };
        let flags = sys::CLONE_CLEAR_SIGHAND | u64::from(namespaces.cast_unsigned());
        let arguments = [RUNNER_NAME.as_ptr(), std::ptr::null()];
        let of_layers = layers::for_runner();
        let environment = [
            c"LANG=C.UTF-8".as_ptr(),
            c"TZ=UTC".as_ptr(),
            // Room for thread-local variables of plugins that were compiled for the static kind.
            c"GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096".as_ptr(),
            of_layers.as_ref().map_or(std::ptr::null(), |variable| variable.as_ptr()),
            std::ptr::null(),
        ];
        let (setup, output) = (sys::out_of_the_way(setup.as_fd())?, sys::out_of_the_way(output.as_fd())?);
        // Numbers are looked up before the clone; in the child only system calls are made.
        let null = self.null.as_raw_fd();
        let wanted: [(RawFd, RawFd); 4] =
            [(null, 0), (output.as_raw_fd(), 1), (output.as_raw_fd(), 2), (setup.as_raw_fd(), SETUP_FD)];
        let executable = self.executable.as_raw_fd();
        debug_assert!(executable > SETUP_FD && wanted.iter().all(|(from, _)| *from > SETUP_FD));
        // SAFETY: the child below makes only system calls, on values that were prepared above, until it
        // executes or exits.
        if let Some(cloned) = unsafe { sys::clone3(flags, group)? } {
            return Ok(cloned);
        }
        // SAFETY: this is the child: raw system calls on its own copies. The descriptors it needs stand
        // above the numbers that dup2 fills (asserted above), the arrays end in null, and whatever fails,
        // the child exits.
        unsafe {
            for (from, to) in wanted {
                if libc::dup2(from, to) == -1 {
                    libc::_exit(127);
                }
            }
            if level == Level::Userns && !userns::keep_capabilities_over_exec() {
                libc::_exit(127);
            }
            let close_at_exec = libc::CLOSE_RANGE_CLOEXEC;
            libc::syscall(libc::SYS_close_range, SETUP_FD + 1, u32::MAX, close_at_exec);
            libc::syscall(
                libc::SYS_execveat,
                executable,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            libc::_exit(127)
        }
    }
}

/// Receives the message that comes next in the dialogue.
fn expect(
    setup: &Setup,
    right: impl Fn(&FromRunner) -> bool,
) -> Result<(FromRunner, libc::pid_t), SetupError> {
    match setup.receive_from(SETUP_TIMEOUT).step(Step::Dialogue)? {
        (FromRunner::Failed(error), _) => Err(error),
        (message, sender) if right(&message) => Ok((message, sender)),
        (message, _) => {
            let error = io::Error::other(format!("unexpected {message:?}"));
            Err(SetupError::new(Step::Dialogue, &error))
        }
    }
}
