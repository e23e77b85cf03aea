//! One template, as the warden knows it, and what its processes' notified calls come to.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::kit::{Kit, Kits};
use super::{FunctionSpec, Ticket};
use crate::cgroup::{Leaf, Slot};
use crate::channel::{BELL_FD, DaemonEnd, Geometry, REPLY_FD, REQUEST_FD};
use crate::ending::Ending;
use crate::limits::{MAX_LOAD_MESSAGE, MAX_SIGNALS, WORKER_START_TIMEOUT};
use crate::policy::{CONTROL_CALL, Control, FORK_FLAGS};
use crate::spawner::Confined;
use crate::sys::{self, Answer, Cloned, Notification};

/// Where a template stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Loading and initialising, at most until then.
    Loading(Instant),
    /// Only forks.
    Serving,
    /// Killed; its exit has not arrived yet.
    Ending,
}

/// A worker that has checked in.
#[derive(Debug)]
pub(super) struct WorkerRecord {
    pub(super) ticket: Ticket,
    pub(super) pidfd: OwnedFd,
    /// Its own group; made and entered in the background.
    pub(super) leaf: Leaf,
    pub(super) leaf_oom_kills: u64,
    /// The call it was killed for.
    pub(super) denied: Option<i32>,
    /// The daemon killed it.
    pub(super) killed: bool,
    /// Until it is ready.
    starting: Option<Starting>,
    signals: Signals,
}

/// A worker on its way from its check-in to its first request.
#[derive(Debug)]
struct Starting {
    channel: DaemonEnd,
    wanted_at: Instant,
    deadline: Instant,
}

/// What a process has signalled to itself.
#[derive(Debug, Default)]
struct Signals {
    count: u32,
    /// Process and thread id of its main thread as it sees them itself, once they were looked up.
    main: Option<(libc::pid_t, libc::pid_t)>,
}

/// A fork that was let through and has not checked in.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) ticket: Ticket,
    pub(super) wanted_at: Instant,
    pub(super) deadline: Instant,
}

/// One template.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) spec: FunctionSpec,
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: OwnedFd,
    pub(super) init: Cloned,
    pub(super) listener: OwnedFd,
    pub(super) slot: Slot,
    pub(super) output: Option<OwnedFd>,
    pub(super) phase: Phase,
    pub(super) begun: Instant,
    /// The call that the template was killed for.
    pub(super) denied: Option<i32>,
    /// Why it refused to load, in its own words.
    pub(super) refused: Option<String>,
    /// Threads that init left behind.
    pub(super) threads: Option<u32>,
    pub(super) timed_out: bool,
    pub(super) killed: bool,
    /// Its end has been told.
    pub(super) told: bool,
    /// The template's waiting `fork`.
    parked_fork: Option<u64>,
    /// When the template was last let go on, and so began its way to the next `fork`.
    released: Instant,
    signals: Signals,
    /// Of all forks that have not checked in.
    stray_signals: Signals,
    wanted: VecDeque<(Ticket, Instant)>,
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) workers: HashMap<libc::pid_t, WorkerRecord>,
    /// Workers in the order of their check-in, with their deadlines; some may be ready or gone since.
    starting: VecDeque<(libc::pid_t, Instant)>,
    pub(super) kits: Kits,
    pub(super) slot_oom_kills: u64,
    /// Leaves whose workers are gone.
    pub(super) free_leaves: Vec<Leaf>,
    next_leaf: u64,
}

/// What a notification came to, beyond its answer.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    /// The plugin is loaded and initialised.
    Loaded,
    /// A worker checked in.
    CheckedIn {
        pid: libc::pid_t,
        output: OwnedFd,
    },
    /// A worker takes requests.
    Ready {
        pid: libc::pid_t,
        channel: Box<DaemonEnd>,
        took: Duration,
    },
    /// A fork was killed before it checked in, and stands among the workers until its exit arrives.
    Denied {
        pid: libc::pid_t,
    },
    /// A worker did not come about for a reason of the host.
    Stillborn {
        ticket: Ticket,
        ending: Ending,
        trouble: String,
    },
    /// Something that concerns the operator.
    Trouble(String),
}

impl Template {
    pub(super) fn new(confined: Confined) -> Self {
        let Confined { spec, init, pid, pidfd, listener, slot, output, begun } = confined;
        let geometry = Geometry { max_request: spec.max_request, max_response: spec.max_response };
        let kits = Kits::new(geometry);
        let phase = Phase::Loading(Instant::now() + spec.init_timeout);
        let slot_oom_kills = slot.oom_kills();
        Self {
            spec,
            pid,
            pidfd,
            init,
            listener,
            slot,
            output: Some(output),
            phase,
            begun,
            denied: None,
            refused: None,
            threads: None,
            timed_out: false,
            killed: false,
            told: false,
            parked_fork: None,
            released: begun,
            signals: Signals::default(),
            stray_signals: Signals::default(),
            wanted: VecDeque::new(),
            awaited: VecDeque::new(),
            workers: HashMap::new(),
            starting: VecDeque::new(),
            kits,
            slot_oom_kills,
            free_leaves: Vec::new(),
            next_leaf: 0,
        }
    }

    /// A leaf that no worker is in.
    fn take_leaf(&mut self) -> Leaf {
        self.free_leaves.pop().unwrap_or_else(|| {
            self.next_leaf += 1;
            self.slot.leaf(self.next_leaf)
        })
    }

    /// Wants a worker.
    pub(super) fn want(&mut self, ticket: Ticket, at: Instant) {
        self.wanted.push_back((ticket, at));
        self.let_fork();
    }

    /// Tickets that nobody will serve any more.
    pub(super) fn abandoned(&mut self) -> Vec<Ticket> {
        let awaited = self.awaited.drain(..).map(|awaited| awaited.ticket);
        let mut tickets: Vec<_> = awaited.collect();
        tickets.extend(self.wanted.drain(..).map(|(ticket, _)| ticket));
        tickets
    }

    /// Lets the waiting `fork` go on if a worker is wanted.
    fn let_fork(&mut self) {
        if !matches!(self.phase, Phase::Serving) || self.wanted.is_empty() {
            return;
        }
        let Some(id) = self.parked_fork.take() else { return };
        // A template that a signal has interrupted waits no more; it comes again with a new notification. One
        // that died is found by its exit.
        if !matches!(sys::notification_answer(self.listener.as_fd(), id, Answer::Continue), Ok(true)) {
            return;
        }
        let Some((ticket, wanted_at)) = self.wanted.pop_front() else { return };
        self.released = Instant::now();
        let deadline = self.released + WORKER_START_TIMEOUT;
        self.awaited.push_back(Awaited { ticket, wanted_at, deadline });
    }

    /// Until when the template must come to `fork`; `None` while it waits there or nobody is wanted.
    fn fork_deadline(&self) -> Option<Instant> {
        let (_, wanted_at) = self.wanted.front()?;
        let since = self.released.max(*wanted_at);
        self.parked_fork.is_none().then_some(since + WORKER_START_TIMEOUT)
    }

    /// When [`Self::enforce_deadlines`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Loading(deadline) => Some(deadline),
            Phase::Serving => {
                let check_in = self.awaited.front().map(|awaited| awaited.deadline);
                let ready = self.starting.front().map(|(_, deadline)| *deadline);
                check_in.into_iter().chain(self.fork_deadline()).chain(ready).min()
            }
            Phase::Ending => None,
        }
    }

    /// Ends what takes too long; a sentence if that concerns the operator.
    pub(super) fn enforce_deadlines(&mut self, now: Instant) -> Option<String> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.phase {
            Phase::Loading(deadline) if passed(Some(deadline)) => {
                self.timed_out = true;
                self.end();
                None
            }
            // Whatever was forked still runs, under nobody's watch: only its namespace is sure to end it.
            Phase::Serving if passed(self.awaited.front().map(|awaited| awaited.deadline)) => {
                Some(self.give_up("a worker that it forked did not check in"))
            }
            Phase::Serving if passed(self.fork_deadline()) => {
                Some(self.give_up("it did not fork the worker that was wanted"))
            }
            Phase::Serving => self.end_late_start(now),
            Phase::Loading(_) | Phase::Ending => None,
        }
    }

    /// Kills one worker whose start takes too long.
    fn end_late_start(&mut self, now: Instant) -> Option<String> {
        while let Some((pid, deadline)) = self.starting.pop_front_if(|(_, deadline)| *deadline <= now) {
            let Some(worker) = self.workers.get_mut(&pid) else { continue };
            // The pid may be a later worker's by now.
            if worker.starting.as_ref().is_some_and(|starting| starting.deadline == deadline) {
                worker.killed = true;
                let _ = sys::kill(worker.pidfd.as_fd());
                let name = &self.spec.name;
                return Some(format!(
                    "a worker of {name} was killed: it was not ready within {WORKER_START_TIMEOUT:?}"
                ));
            }
        }
        None
    }

    fn give_up(&mut self, why: &str) -> String {
        self.killed = true;
        self.end();
        format!("function {} was ended: {why} within {WORKER_START_TIMEOUT:?}", self.spec.name)
    }

    /// Ends the whole namespace.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ending;
        let _ = sys::kill(self.init.pidfd.as_fd());
    }

    /// Ends the template for a call it made.
    fn deny_template(&mut self, call: i32) {
        self.denied.get_or_insert(call);
        // The template first, by itself, so that its own exit status is its own.
        let _ = sys::kill(self.pidfd.as_fd());
    }

    /// Decides about one notified call.
    pub(super) fn notified(&mut self, call: &Notification) -> Effect {
        let clone = i32::try_from(libc::SYS_clone).unwrap_or(-1);
        let tgkill = i32::try_from(libc::SYS_tgkill).unwrap_or(-1);
        match call.number {
            number if number == clone => self.fork_gate(call),
            number if number == tgkill => self.signal_gate(call),
            CONTROL_CALL => match Control::from_argument(call.arguments[0]) {
                Some(Control::Loaded) => self.loaded(call),
                Some(Control::LoadFailed) => self.load_failed(call),
                Some(Control::CheckIn) => self.check_in(call),
                Some(Control::Ready) => self.ready(call),
                None => self.violation(call),
            },
            _ => self.violation(call),
        }
    }

    fn answer(&self, call: &Notification, answer: Answer) {
        // A caller that died meanwhile is found by its exit.
        let _ = sys::notification_answer(self.listener.as_fd(), call.id, answer);
    }

    fn fork_gate(&mut self, call: &Notification) -> Effect {
        let serving = matches!(self.phase, Phase::Serving);
        if call.thread != self.pid
            || call.arguments[0] != FORK_FLAGS
            || !serving
            || self.parked_fork.is_some_and(|id| sys::notification_valid(self.listener.as_fd(), id))
        {
            return self.violation(call);
        }
        // In place of one that a signal has interrupted, if there was one.
        self.parked_fork = Some(call.id);
        self.let_fork();
        Effect::None
    }

    /// `abort` and `raise`: a thread may signal itself, now and then.
    fn signal_gate(&mut self, call: &Notification) -> Effect {
        let Ok(process) = self.process_of(call.thread) else { return self.violation(call) };
        let signals = match self.workers.get_mut(&process) {
            Some(worker) => &mut worker.signals,
            None if process == self.pid => &mut self.signals,
            None => {
                // Of many processes, so that nothing is known of this one.
                self.stray_signals.main = None;
                &mut self.stray_signals
            }
        };
        signals.count += 1;
        let own = match signals.main {
            _ if signals.count > MAX_SIGNALS => return self.violation(call),
            Some(ids) if call.thread == process => Ok(ids),
            Some(_) | None => own_ids(call.thread),
        };
        let own = match own {
            Ok(own) => own,
            Err(error) => {
                self.answer(call, Answer::Return(-1));
                let name = &self.spec.name;
                return Effect::Trouble(format!("a signal of {name} to itself was refused: {error}"));
            }
        };
        if call.thread == process {
            signals.main = Some(own);
        }
        let to = |argument: u64| libc::pid_t::try_from(argument).ok();
        let itself = (to(call.arguments[0]), to(call.arguments[1])) == (Some(own.0), Some(own.1));
        if !itself || !sys::notification_valid(self.listener.as_fd(), call.id) {
            return self.violation(call);
        }
        self.answer(call, Answer::Continue);
        Effect::None
    }

    fn loaded(&mut self, call: &Notification) -> Effect {
        if call.thread != self.pid || !matches!(self.phase, Phase::Loading(_)) {
            return self.violation(call);
        }
        match status_number(self.pid, "Threads:") {
            Ok(1) => {}
            Ok(threads) => {
                self.threads = Some(threads.unsigned_abs());
                let _ = sys::kill(self.pidfd.as_fd());
                return Effect::None;
            }
            Err(error) => {
                self.refused = Some(format!("its threads could not be counted: {error}"));
                let _ = sys::kill(self.pidfd.as_fd());
                return Effect::None;
            }
        }
        self.phase = Phase::Serving;
        self.released = Instant::now();
        self.answer(call, Answer::Return(0));
        Effect::Loaded
    }

    fn load_failed(&mut self, call: &Notification) -> Effect {
        if call.thread != self.pid || !matches!(self.phase, Phase::Loading(_)) {
            return self.violation(call);
        }
        let length = usize::try_from(call.arguments[2]).unwrap_or(0).min(MAX_LOAD_MESSAGE);
        let text = sys::read_process_memory(self.pid, call.arguments[1], length).unwrap_or_default();
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        self.refused = Some(String::from_utf8_lossy(&text).chars().map(printable).collect());
        let _ = sys::kill(self.pidfd.as_fd());
        Effect::None
    }

    fn check_in(&mut self, call: &Notification) -> Effect {
        let pidfd = match self.forked(call) {
            Ok(Some(pidfd)) => Ok(pidfd),
            Ok(None) => return self.violation(call),
            Err(error) => Err(error),
        };
        let Some(awaited) = self.awaited.pop_front() else { return self.violation(call) };
        let Awaited { ticket, wanted_at, .. } = awaited;
        let outcome = pidfd.and_then(|pidfd| {
            let kit = self.kits.take()?;
            self.equip(call, &kit)?;
            Ok((kit, pidfd))
        });
        match outcome {
            Ok((kit, pidfd)) => {
                // Only the worker's own copies of its ends are left, so that their closing is noticed.
                let Kit { channel, descriptors: _, output, output_theirs: _ } = kit;
                let deadline = Instant::now() + WORKER_START_TIMEOUT;
                let starting = Some(Starting { channel, wanted_at, deadline });
                let record = self.record(ticket, pidfd);
                self.workers.insert(call.thread, WorkerRecord { starting, ..record });
                self.starting.push_back((call.thread, deadline));
                self.answer(call, Answer::Return(0));
                Effect::CheckedIn { pid: call.thread, output }
            }
            Err(error) => {
                // It exits at this answer.
                self.answer(call, Answer::Return(-1));
                let name = &self.spec.name;
                let trouble = format!("a worker of {name} could not be equipped: {error}");
                Effect::Stillborn { ticket, ending: Ending::Killed, trouble }
            }
        }
    }

    /// A worker with a leaf of its own.
    fn record(&mut self, ticket: Ticket, pidfd: OwnedFd) -> WorkerRecord {
        let leaf = self.take_leaf();
        let leaf_oom_kills = leaf.oom_kills();
        WorkerRecord {
            ticket,
            pidfd,
            leaf,
            leaf_oom_kills,
            denied: None,
            killed: false,
            starting: None,
            signals: Signals::default(),
        }
    }

    /// The end of a worker's start.
    fn ready(&mut self, call: &Notification) -> Effect {
        let started = self.workers.get_mut(&call.thread).and_then(|worker| worker.starting.take());
        let Some(Starting { channel, wanted_at, deadline: _ }) = started else { return self.violation(call) };
        self.answer(call, Answer::Return(0));
        Effect::Ready { pid: call.thread, channel: Box::new(channel), took: wanted_at.elapsed() }
    }

    /// The fork that this caller is, if it is one: a child of the template, the main thread of its process,
    /// and not known yet. An error is the host's and says nothing about the caller.
    fn forked(&self, call: &Notification) -> io::Result<Option<OwnedFd>> {
        if self.workers.contains_key(&call.thread) || call.thread == self.pid {
            return Ok(None);
        }
        let pidfd = match sys::pidfd_open(call.thread) {
            Ok(pidfd) => pidfd,
            // A thread that is not its process's first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let info = sys::pidfd_info(pidfd.as_fd())?;
        let valid = sys::notification_valid(self.listener.as_fd(), call.id);
        let its_own = info.parent == self.pid && info.thread_group == call.thread;
        Ok((valid && its_own).then_some(pidfd))
    }

    fn equip(&self, call: &Notification, kit: &Kit) -> io::Result<()> {
        let output = kit.output_theirs.as_fd();
        let given = [
            (output, 1),
            (output, 2),
            (kit.descriptors.request.as_fd(), REQUEST_FD),
            (kit.descriptors.reply.as_fd(), REPLY_FD),
            (kit.descriptors.bell.as_fd(), BELL_FD),
        ];
        given.into_iter().try_for_each(|(fd, number)| {
            sys::notification_add_fd(self.listener.as_fd(), call.id, fd, number.cast_unsigned())
        })
    }

    /// The process that a thread belongs to. Of workers' and the template's main threads it is known.
    fn process_of(&self, thread: libc::pid_t) -> io::Result<libc::pid_t> {
        if thread == self.pid || self.workers.contains_key(&thread) {
            return Ok(thread);
        }
        status_number(thread, "Tgid:")
    }

    /// Records a denied call and kills whoever made it.
    fn violation(&mut self, call: &Notification) -> Effect {
        let process = self.process_of(call.thread);
        // Its pid was its own while we looked only if it still waits.
        if !sys::notification_valid(self.listener.as_fd(), call.id) {
            return Effect::None;
        }
        let outcome = process.and_then(|process| {
            if process == self.pid {
                self.deny_template(call.number);
                return Ok(Effect::None);
            }
            if let Some(worker) = self.workers.get_mut(&process) {
                worker.denied.get_or_insert(call.number);
                sys::kill(worker.pidfd.as_fd())?;
                return Ok(Effect::None);
            }
            self.deny_stray(process, call)
        });
        outcome.unwrap_or_else(|error| {
            // The caller must not be left waiting, and its namespace's descriptor is open already.
            self.denied.get_or_insert(call.number);
            self.end();
            let name = &self.spec.name;
            Effect::Trouble(format!("function {name} was ended: a violation's process is unknown: {error}"))
        })
    }

    /// Kills a process that has not checked in. If it is the template's fork, somebody waits for it.
    fn deny_stray(&mut self, process: libc::pid_t, call: &Notification) -> io::Result<Effect> {
        let pidfd = sys::pidfd_open(process)?;
        let info = sys::pidfd_info(pidfd.as_fd())?;
        if !sys::notification_valid(self.listener.as_fd(), call.id) {
            return Ok(Effect::None);
        }
        sys::kill(pidfd.as_fd())?;
        let awaited = if info.parent == self.pid { self.awaited.pop_front() } else { None };
        let Some(Awaited { ticket, .. }) = awaited else { return Ok(Effect::None) };
        let record = self.record(ticket, pidfd);
        self.workers.insert(process, WorkerRecord { denied: Some(call.number), ..record });
        Ok(Effect::Denied { pid: process })
    }
}

/// A line of `/proc/PID/status`, without its name.
fn status_field(pid: libc::pid_t, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    field.ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no {name}")))
}

/// The last number of such a line: the only one, or that of the innermost namespace.
fn status_number(pid: libc::pid_t, name: &str) -> io::Result<libc::pid_t> {
    let field = status_field(pid, name)?;
    let last = field.split_whitespace().last().unwrap_or_default();
    last.parse().map_err(io::Error::other)
}

/// Process and thread id of a thread as it sees them itself.
fn own_ids(thread: libc::pid_t) -> io::Result<(libc::pid_t, libc::pid_t)> {
    Ok((status_number(thread, "NStgid:")?, status_number(thread, "NSpid:")?))
}
