//! One template, as the warden knows it: its phase, its workers, who waits for one, and its deadlines.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::kit::Kits;
use super::threads::ThreadStarts;
use super::{FunctionSpec, Ticket};
use crate::cgroup::{Leaf, Slot};
use crate::channel::{DaemonEnd, Geometry};
use crate::ending::Ending;
use crate::init::Init;
use crate::layers::{self, Layer};
use crate::limits::{LEAF_LEFT_OVER, MAX_FREE_LEAVES, WORKER_START_TIMEOUT};
use crate::spawner::Confined;
use crate::sys::{self, Answer};

/// In place of the limit of a load, where that layer is off.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Its own group, if it gets one; made and entered in the background.
    pub(super) leaf: Option<Leaf>,
    pub(super) leaf_oom_kills: u64,
    /// The call it was killed for.
    pub(super) denied: Option<i32>,
    /// The daemon killed it, for its start took too long.
    pub(super) late: bool,
    /// Until it is ready.
    pub(super) starting: Option<Starting>,
    pub(super) signals: Signals,
    pub(super) threads: ThreadStarts,
}

/// A worker on its way from its check-in to its first request.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) channel: DaemonEnd,
    pub(super) wanted_at: Instant,
    pub(super) deadline: Instant,
}

/// What a process has signalled to itself.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) count: u32,
    /// Process and thread id of its main thread as it sees them itself, once they were looked up.
    pub(super) main: Option<(libc::pid_t, libc::pid_t)>,
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
    pub(super) init: Init,
    pub(super) listener: OwnedFd,
    pub(super) slot: Option<Slot>,
    /// Whether its load came to its end.
    pub(super) loaded: bool,
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
    pub(super) parked_fork: Option<u64>,
    /// When the template was last let go on, and so began its way to the next `fork`.
    pub(super) released: Instant,
    pub(super) signals: Signals,
    /// Threads of its own, while it loads.
    pub(super) thread_starts: ThreadStarts,
    /// Of all forks that have not checked in.
    pub(super) stray_signals: Signals,
    pub(super) wanted: VecDeque<(Ticket, Instant)>,
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) workers: HashMap<libc::pid_t, WorkerRecord>,
    /// Workers in the order of their check-in, with their deadlines; some may be ready or gone since.
    pub(super) starting: VecDeque<(libc::pid_t, Instant)>,
    pub(super) kits: Kits,
    pub(super) slot_oom_kills: u64,
    /// Leaves whose workers are gone, for the longest time first.
    pub(super) free_leaves: VecDeque<Leaf>,
    pub(super) next_leaf: u64,
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
    /// Of a confined runner; and the read end of its output.
    pub(super) fn new(confined: Confined) -> (Self, OwnedFd) {
        let Confined { spec, init, pid, pidfd, listener, slot, output, begun } = confined;
        let geometry = Geometry { max_request: spec.max_request, max_response: spec.max_response };
        let kits = Kits::new(geometry);
        let in_time = if layers::on(Layer::Deadline) { spec.init_timeout } else { FOREVER };
        let phase = Phase::Loading(Instant::now() + in_time);
        let slot_oom_kills = slot.as_ref().map_or(0, Slot::oom_kills);
        let template = Self {
            spec,
            pid,
            pidfd,
            init,
            listener,
            slot,
            loaded: false,
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
            thread_starts: ThreadStarts::default(),
            stray_signals: Signals::default(),
            wanted: VecDeque::new(),
            awaited: VecDeque::new(),
            workers: HashMap::new(),
            starting: VecDeque::new(),
            kits,
            slot_oom_kills,
            free_leaves: VecDeque::new(),
            next_leaf: 0,
        };
        (template, output)
    }

    /// A leaf that no worker is in; none at levels without groups. What the last worker had may be counted for a
    /// while after its end (page tables go after a grace period, its channel when the shard lets go of it), and the
    /// next must not be ended for it: such a leaf waits.
    pub(super) fn take_leaf(&mut self) -> Option<Leaf> {
        let free = self.free_leaves.front().is_some_and(|leaf| {
            self.free_leaves.len() >= MAX_FREE_LEAVES || leaf.usage() <= self.spec.memory / LEAF_LEFT_OVER
        });
        let free = if free { self.free_leaves.pop_front() } else { None };
        free.or_else(|| {
            self.next_leaf += 1;
            self.slot.as_ref().map(|slot| slot.leaf(self.next_leaf))
        })
    }

    /// CPU time that it and its init have used so far. Once one of them has ended, what that has used is unknown.
    pub(super) fn cpu(&self) -> Duration {
        let template = sys::cpu_time(self.pid, self.pidfd.as_fd());
        let init = sys::cpu_time(self.init.pid(), self.init.pidfd());
        Duration::from_nanos(template.unwrap_or(0) + init.unwrap_or(0))
    }

    /// Out-of-memory kills that the kernel has counted among the function's processes.
    pub(super) fn slot_oom_kills(&self) -> u64 {
        self.slot.as_ref().map_or(0, Slot::oom_kills)
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
    pub(super) fn let_fork(&mut self) {
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
    pub(super) fn fork_deadline(&self) -> Option<Instant> {
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
                worker.late = true;
                let _ = sys::kill(worker.pidfd.as_fd());
                let name = &self.spec.name;
                return Some(format!(
                    "a worker of {name} was killed: it was not ready within {WORKER_START_TIMEOUT:?}"
                ));
            }
        }
        None
    }

    pub(super) fn give_up(&mut self, why: &str) -> String {
        self.killed = true;
        self.end();
        format!("function {} was ended: {why} within {WORKER_START_TIMEOUT:?}", self.spec.name)
    }

    /// Ends the template and all its workers.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ending;
        self.init.end();
    }

    /// Ends the template for a call it made.
    pub(super) fn deny_template(&mut self, call: i32) {
        self.denied.get_or_insert(call);
        // The template first, by itself, so that its own exit status is its own.
        let _ = sys::kill(self.pidfd.as_fd());
    }
}
