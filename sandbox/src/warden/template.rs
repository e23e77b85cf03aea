//! One template, as the warden knows it, and what its processes' notified calls come to.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::kit::{Kit, Kits};
use super::{FunctionSpec, Ticket};
use crate::cgroup::{Leaf, Slot};
use crate::channel::{BELL_FD, Geometry, REPLY_FD, REQUEST_FD};
use crate::limits::{MAX_LOAD_MESSAGE, WORKER_START_TIMEOUT};
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
    /// The template's waiting `fork`.
    parked_fork: Option<u64>,
    wanted: VecDeque<(Ticket, Instant)>,
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) workers: HashMap<libc::pid_t, WorkerRecord>,
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
        kit: Box<Kit>,
        took: Duration,
    },
    /// A worker's check-in failed for a reason of the host.
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
            parked_fork: None,
            wanted: VecDeque::new(),
            awaited: VecDeque::new(),
            workers: HashMap::new(),
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
        let Some((ticket, wanted_at)) = self.wanted.pop_front() else { return };
        let deadline = Instant::now() + WORKER_START_TIMEOUT;
        self.awaited.push_back(Awaited { ticket, wanted_at, deadline });
        // A template that died meanwhile is found by its exit.
        let _ = sys::notification_answer(self.listener.as_fd(), id, Answer::Continue);
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
            || self.parked_fork.is_some()
        {
            return self.violation(call);
        }
        self.parked_fork = Some(call.id);
        self.let_fork();
        Effect::None
    }

    /// `abort` and `raise`: a thread may signal itself.
    fn signal_gate(&mut self, call: &Notification) -> Effect {
        let own = own_ids(call.thread);
        let to = |argument: u64| libc::pid_t::try_from(argument).ok();
        let itself = own.is_some_and(|(group, thread)| {
            to(call.arguments[0]) == Some(group) && to(call.arguments[1]) == Some(thread)
        });
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
        let threads = status_field(self.pid, "Threads:").and_then(|text| text.trim().parse().ok());
        if threads != Some(1_u32) {
            self.threads = Some(threads.unwrap_or(0).max(2));
            let _ = sys::kill(self.pidfd.as_fd());
            return Effect::None;
        }
        self.phase = Phase::Serving;
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
        let Some(awaited) = self.checked_in(call) else { return self.violation(call) };
        let Awaited { ticket, wanted_at, .. } = awaited;
        let outcome = self.kits.take().and_then(|kit| {
            let pidfd = sys::pidfd_open(call.thread)?;
            self.equip(call, &kit)?;
            Ok((kit, pidfd))
        });
        match outcome {
            Ok((kit, pidfd)) => {
                let leaf = self.take_leaf();
                let leaf_oom_kills = leaf.oom_kills();
                let record = WorkerRecord { ticket, pidfd, leaf, leaf_oom_kills, denied: None };
                self.workers.insert(call.thread, record);
                self.answer(call, Answer::Return(0));
                Effect::CheckedIn { pid: call.thread, kit: Box::new(kit), took: wanted_at.elapsed() }
            }
            Err(error) => {
                // Left among the awaited, so that its ticket is given back when the time is up.
                self.awaited.push_front(Awaited { ticket, wanted_at, deadline: Instant::now() });
                self.answer(call, Answer::Return(-1));
                Effect::Trouble(format!("a worker of {} could not be equipped: {error}", self.spec.name))
            }
        }
    }

    /// The fork that this caller is, if it is one: a child of the template, the main thread of its process,
    /// and not known yet.
    fn checked_in(&mut self, call: &Notification) -> Option<Awaited> {
        if self.workers.contains_key(&call.thread) || call.thread == self.pid {
            return None;
        }
        let pidfd = sys::pidfd_open(call.thread).ok()?;
        let info = sys::pidfd_info(pidfd.as_fd()).ok()?;
        let valid = sys::notification_valid(self.listener.as_fd(), call.id);
        let its_own = info.parent == self.pid && info.thread_group == call.thread;
        if valid && its_own { self.awaited.pop_front() } else { None }
    }

    fn equip(&self, call: &Notification, kit: &Kit) -> std::io::Result<()> {
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

    /// Records a denied call and kills whoever made it.
    fn violation(&mut self, call: &Notification) -> Effect {
        let group = status_field(call.thread, "Tgid:").and_then(|text| text.trim().parse().ok());
        // Its pid was its own while we looked only if it still waits.
        if !sys::notification_valid(self.listener.as_fd(), call.id) {
            return Effect::None;
        }
        let group: libc::pid_t = group.unwrap_or(call.thread);
        if group == self.pid {
            self.deny_template(call.number);
        } else if let Some(worker) = self.workers.get_mut(&group) {
            worker.denied.get_or_insert(call.number);
            let _ = sys::kill(worker.pidfd.as_fd());
        } else if let Ok(stray) = sys::pidfd_open(group)
            && sys::notification_valid(self.listener.as_fd(), call.id)
        {
            let _ = sys::kill(stray.as_fd());
        }
        Effect::None
    }
}

/// A line of `/proc/PID/status`, without its name.
fn status_field(pid: libc::pid_t, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

/// Process and thread id of a thread as it sees them itself.
fn own_ids(thread: libc::pid_t) -> Option<(libc::pid_t, libc::pid_t)> {
    let innermost = |name: &str| -> Option<libc::pid_t> {
        status_field(thread, name)?.split_whitespace().last()?.parse().ok()
    };
    Some((innermost("NStgid:")?, innermost("NSpid:")?))
}
