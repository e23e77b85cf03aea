//! The warden's thread: waits for notifications, exits and commands, and tells the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::template::{Effect, Phase, Template, WorkerRecord};
use super::verdict;
use super::{Command, Event, EventSink, FunctionKey, LoadFailure, StartTimes, WardenSender, Worker};
use crate::cgroup::{Leaf, Slot};
use crate::channel::DaemonEnd;
use crate::ending::{Circumstances, Ending};
use crate::groups::Errand;
use crate::init::Init;
use crate::limits::{REAP_GRACE, TURN};
use crate::sys::{self, Poller, Ready};

/// What an entry of the poll set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Commands,
    Listener(u32),
    Template(u32),
    Init(u32),
    Worker(u32, libc::pid_t),
    Discarded(u32),
}

const KIND_BITS: u32 = 4;
const PID_BITS: u32 = 24;

impl Watched {
    /// Kind, number of the template or discarded runner, pid; pids are at most 22 bits on Linux.
    fn key(self) -> u64 {
        let pack = |kind: u64, number: u32, pid: u32| {
            kind | u64::from(pid) << KIND_BITS | u64::from(number) << (KIND_BITS + PID_BITS)
        };
        match self {
            Self::Commands => pack(0, 0, 0),
            Self::Listener(number) => pack(1, number, 0),
            Self::Template(number) => pack(2, number, 0),
            Self::Init(number) => pack(3, number, 0),
            Self::Worker(number, pid) => pack(4, number, pid.cast_unsigned()),
            Self::Discarded(number) => pack(5, number, 0),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes apart what `key` has put together")]
    fn from_key(key: u64) -> Self {
        let number = (key >> (KIND_BITS + PID_BITS)) as u32;
        let pid = ((key >> KIND_BITS) as u32 & ((1 << PID_BITS) - 1)).cast_signed();
        match key & ((1 << KIND_BITS) - 1) {
            0 => Self::Commands,
            1 => Self::Listener(number),
            2 => Self::Template(number),
            3 => Self::Init(number),
            4 => Self::Worker(number, pid),
            _ => Self::Discarded(number),
        }
    }
}

/// The state of the thread.
pub(super) struct Watch {
    poller: Poller,
    commands: Receiver<Command>,
    sender: WardenSender,
    errands: Sender<Errand>,
    sink: Box<dyn EventSink>,
    /// By a number that counts up, so that late events of one that is gone find nothing.
    templates: BTreeMap<u32, Template>,
    by_function: BTreeMap<FunctionKey, u32>,
    /// Runners that never became templates and are dying.
    discarded: BTreeMap<u32, (Init, Option<Slot>)>,
    next: u32,
    /// Workers that have ended and were not reaped when that was looked at; and until when that may last.
    ended: VecDeque<(u32, libc::pid_t, Instant)>,
    stopping: bool,
    spawner_done: bool,
}

impl Watch {
    pub(super) fn new(
        commands: Receiver<Command>,
        sender: WardenSender,
        errands: Sender<Errand>,
        sink: Box<dyn EventSink>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(sender.bell.as_fd(), Watched::Commands.key(), false)?;
        Ok(Self {
            poller,
            commands,
            sender,
            errands,
            sink,
            templates: BTreeMap::new(),
            by_function: BTreeMap::new(),
            discarded: BTreeMap::new(),
            next: 0,
            ended: VecDeque::new(),
            stopping: false,
            spawner_done: false,
        })
    }

    pub(super) fn run(mut self) {
        // Starts wait for it.
        sys::take_turns(TURN);
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            // A moment without events is the time to make kits.
            let short = self.short_of_kits();
            let timeout = match short {
                Some(_) => Some(Duration::ZERO),
                None => self.next_deadline().map(|at| at.saturating_duration_since(Instant::now())),
            };
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                self.sink.deliver(Event::Trouble(format!("the warden cannot wait: {error}")));
                break;
            }
            for entry in &ready {
                self.happened(*entry);
            }
            self.enforce_deadlines();
            if let (true, Some(number)) = (ready.is_empty(), short)
                && let Some(template) = self.templates.get_mut(&number)
            {
                template.kits.replenish();
            }
            if self.stopping && self.spawner_done && self.templates.is_empty() && self.discarded.is_empty() {
                break;
            }
        }
        self.sender.gone.set();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let reaped = self.ended.front().map(|(_, _, until)| *until);
        self.templates.values().filter_map(Template::next_deadline).chain(reaped).min()
    }

    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        for template in self.templates.values_mut() {
            if let Some(sentence) = template.enforce_deadlines(now) {
                self.sink.deliver(Event::Trouble(sentence));
            }
        }
        while let Some((number, pid, _)) = self.ended.pop_front_if(|(_, _, until)| *until <= now) {
            self.worker_kept(number, pid);
        }
    }

    fn short_of_kits(&self) -> Option<u32> {
        let short = |template: &Template| matches!(template.phase, Phase::Serving) && template.kits.short();
        self.templates.iter().find(|(_, template)| short(template)).map(|(number, _)| *number)
    }

    fn happened(&mut self, entry: Ready) {
        match Watched::from_key(entry.key) {
            Watched::Commands => self.take_commands(),
            Watched::Listener(number) => self.take_notification(number, entry.hung_up),
            // Its status is kept by the kernel once it is reaped, which the hang-up tells.
            Watched::Template(number) if entry.hung_up => self.template_gone(number),
            Watched::Worker(number, pid) if entry.hung_up => self.worker_gone(number, pid, None),
            // The kernel reaps it in a moment, which the hang-up tells.
            Watched::Worker(number, pid) => self.ended.push_back((number, pid, Instant::now() + REAP_GRACE)),
            Watched::Init(number) => self.init_gone(number),
            Watched::Discarded(number) => self.discarded_gone(number),
            Watched::Template(_) => {}
        }
    }

    fn take_commands(&mut self) {
        sys::silence(self.sender.bell.as_fd());
        // A swap and not a store, which the look into the queue could overtake: then a command would lie there
        // with the bell believed rung.
        self.sender.rung.swap(false, Ordering::AcqRel);
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt(confined) => {
                let (template, output) = Template::new(*confined);
                // From now on somebody reads it, so that an init that writes much does not wait for ever.
                self.sink.deliver(Event::Loading { function: template.spec.key, output });
                self.adopt(template);
            }
            Command::LoadFailed(function, failure) => {
                self.sink.deliver(Event::LoadFailed { function, failure });
            }
            Command::Discard { init, slot } => {
                init.end();
                let key = Watched::Discarded(self.next).key();
                if self.poller.watch(init.pidfd(), key, false).is_ok() {
                    self.discarded.insert(self.next, (init, slot));
                }
                self.next += 1;
            }
            Command::WantWorker(ticket, at) => {
                let number = self.by_function.get(&ticket.function);
                match number.and_then(|number| self.templates.get_mut(number)) {
                    Some(template) if !matches!(template.phase, Phase::Ending) => template.want(ticket, at),
                    Some(_) | None => {
                        self.sink.deliver(Event::WorkerGone { ticket, ending: Ending::Killed });
                    }
                }
            }
            Command::Idle(function, wish) => {
                let template = self.by_function.get(&function).and_then(|number| self.templates.get(number));
                if let Some(slot) = template.and_then(|template| template.slot.as_ref()) {
                    let _ = self.errands.send(Errand::Idle { file: slot.idle_file(), wish });
                }
            }
            Command::Unload(function) => {
                let number = self.by_function.get(&function);
                if let Some(template) = number.and_then(|number| self.templates.get_mut(number)) {
                    template.killed = true;
                    template.end();
                }
            }
            Command::SpawnerDone => self.spawner_done = true,
            Command::Trouble(text) => self.sink.deliver(Event::Trouble(text)),
            Command::Stop => {
                self.stopping = true;
                for template in self.templates.values_mut() {
                    template.killed = true;
                    template.end();
                }
            }
        }
    }

    fn adopt(&mut self, mut template: Template) {
        let number = self.next;
        self.next += 1;
        let init = Watched::Init(number).key();
        // First what tells that everything is gone: whatever fails later, the end is heard of.
        if let Err(error) = self.poller.watch(template.init.pidfd(), init, false) {
            template.end();
            self.sink.deliver(Event::Trouble(format!("a template cannot be watched: {error}")));
            let function = template.spec.key;
            let failure = LoadFailure::Ended(Ending::Killed);
            self.sink.deliver(Event::LoadFailed { function, failure });
            self.remove(template.slot);
            return;
        }
        let listener = Watched::Listener(number).key();
        let watched = self
            .poller
            .watch(template.listener.as_fd(), listener, false)
            .and_then(|()| self.poller.watch(template.pidfd.as_fd(), Watched::Template(number).key(), true));
        if let Err(error) = &watched {
            self.sink.deliver(Event::Trouble(format!("a template cannot be watched: {error}")));
        }
        if watched.is_err() || self.stopping {
            template.killed = true;
            template.end();
        }
        self.by_function.insert(template.spec.key, number);
        self.templates.insert(number, template);
    }

    fn take_notification(&mut self, number: u32, hung_up: bool) {
        let Some(template) = self.templates.get_mut(&number) else { return };
        if hung_up {
            // Nobody runs under this filter any more.
            self.poller.forget(template.listener.as_fd());
            return;
        }
        let call = match sys::notification_receive(template.listener.as_fd()) {
            Ok(Some(call)) => call,
            Ok(None) => return,
            Err(error) => {
                template.end();
                let text = format!("the listener of {} failed: {error}", template.spec.name);
                self.sink.deliver(Event::Trouble(text));
                return;
            }
        };
        match template.notified(&call) {
            Effect::None => {}
            Effect::Loaded => {
                let (function, took, cpu) = (template.spec.key, template.begun.elapsed(), template.cpu());
                let count = template.slot.as_ref().and_then(Slot::cpu_count);
                let template = template.pid;
                self.sink.deliver(Event::Loaded { function, took, template, cpu, count });
            }
            Effect::CheckedIn { pid, output } => self.checked_in(number, pid, output),
            Effect::Ready { pid, channel, took } => self.ready(number, pid, *channel, took),
            Effect::Denied { pid } => self.denied(number, pid),
            Effect::Stillborn { ticket, ending, trouble } => {
                self.sink.deliver(Event::Trouble(trouble));
                self.sink.deliver(Event::WorkerGone { ticket, ending });
            }
            Effect::Trouble(text) => self.sink.deliver(Event::Trouble(text)),
        }
    }

    fn checked_in(&mut self, number: u32, pid: libc::pid_t, output: OwnedFd) {
        let Some(template) = self.templates.get(&number) else { return };
        let Some(record) = template.workers.get(&pid) else { return };
        let (ticket, leaf, memory) = (record.ticket, record.leaf.clone(), template.spec.memory);
        self.sink.deliver(Event::WorkerStarting { ticket, output });
        match self.watch_worker(number, pid, record).and_then(|()| record.pidfd.try_clone()) {
            Ok(pidfd) => {
                if let Some(leaf) = leaf {
                    let _ = self.errands.send(Errand::Attach { pid, pidfd, leaf, memory });
                }
            }
            Err(error) => self.give_up_worker(number, pid, &error),
        }
    }

    fn ready(&mut self, number: u32, pid: libc::pid_t, channel: DaemonEnd, took: Duration) {
        let Some(template) = self.templates.get(&number) else { return };
        let Some(record) = template.workers.get(&pid) else { return };
        match record.pidfd.try_clone() {
            Ok(pidfd) => {
                let (ticket, worker) = (record.ticket, Box::new(Worker { pid, pidfd, channel }));
                let times = StartTimes { fork: took, template_cpu: template.cpu() };
                self.sink.deliver(Event::WorkerReady { ticket, worker, times });
            }
            Err(error) => self.give_up_worker(number, pid, &error),
        }
    }

    /// Waits for the exit of a fork that was killed before it checked in.
    fn denied(&mut self, number: u32, pid: libc::pid_t) {
        let Some(template) = self.templates.get(&number) else { return };
        let Some(record) = template.workers.get(&pid) else { return };
        if let Err(error) = self.watch_worker(number, pid, record) {
            self.give_up_worker(number, pid, &error);
        }
    }

    fn watch_worker(&self, number: u32, pid: libc::pid_t, record: &WorkerRecord) -> io::Result<()> {
        self.poller.watch(record.pidfd.as_fd(), Watched::Worker(number, pid).key(), true)
    }

    /// Kills a worker that the host has no means to watch; its exit will not be heard of.
    fn give_up_worker(&mut self, number: u32, pid: libc::pid_t, error: &io::Error) {
        let Some(template) = self.templates.get_mut(&number) else { return };
        let Some(record) = template.workers.remove(&pid) else { return };
        let _ = sys::kill(record.pidfd.as_fd());
        self.poller.forget(record.pidfd.as_fd());
        template.free_leaves.extend(record.leaf);
        self.sink.deliver(Event::Trouble(format!("a worker cannot be watched: {error}")));
        self.sink.deliver(Event::WorkerGone { ticket: record.ticket, ending: Ending::Killed });
    }

    /// A worker has ended and was not reaped for a while: its template, which was to leave it to the kernel, keeps it. Its
    /// end is told all the same.
    fn worker_kept(&mut self, number: u32, pid: libc::pid_t) {
        let record = self.templates.get(&number).and_then(|template| template.workers.get(&pid));
        let Some(record) = record else { return };
        let Some(status) = status_of_zombie(pid) else { return };
        // What was read is the worker's own if the worker still had its pid afterwards.
        if matches!(sys::pidfd_info(record.pidfd.as_fd()), Ok(sys::ProcessInfo { exit: None, .. })) {
            self.worker_gone(number, pid, Some(status));
        }
    }

    /// A worker is gone; with its wait status if that is known already.
    fn worker_gone(&mut self, number: u32, pid: libc::pid_t, status: Option<i32>) {
        let Some(template) = self.templates.get_mut(&number) else { return };
        let Some(record) = template.workers.remove(&pid) else { return };
        self.ended.retain(|(of, ended, _)| (*of, *ended) != (number, pid));
        self.poller.forget(record.pidfd.as_fd());
        let slot_oom_kills = template.slot_oom_kills();
        let leaf_oom_kills = record.leaf.as_ref().map_or(0, Leaf::oom_kills);
        let known = Circumstances {
            denied: record.denied,
            killed: template.killed,
            late: record.late,
            oom_killed: leaf_oom_kills > record.leaf_oom_kills || slot_oom_kills > template.slot_oom_kills,
        };
        template.slot_oom_kills = slot_oom_kills;
        let ending = match status {
            Some(status) => Ending::from_wait_status(status, known),
            None => status_of(record.pidfd.as_fd(), known),
        };
        template.free_leaves.extend(record.leaf);
        self.sink.deliver(Event::WorkerGone { ticket: record.ticket, ending });
    }

    /// The template has ended; the ns-init follows, and all its workers with it.
    fn template_gone(&mut self, number: u32) {
        let Some(template) = self.templates.get_mut(&number) else { return };
        self.poller.forget(template.pidfd.as_fd());
        let loading = !template.loaded;
        template.phase = Phase::Ending;
        template.told = true;
        let known = Circumstances {
            denied: template.denied,
            killed: template.killed || template.timed_out,
            late: false,
            oom_killed: template.slot_oom_kills() > template.slot_oom_kills,
        };
        let ending = status_of(template.pidfd.as_fd(), known);
        let function = template.spec.key;
        let event = if loading {
            let failure = if template.timed_out {
                LoadFailure::TimedOut(template.spec.init_timeout)
            } else if let Some(threads) = template.threads {
                LoadFailure::Threads(threads)
            } else if let Some(why) = template.refused.take() {
                LoadFailure::Refused(why)
            } else {
                LoadFailure::Ended(ending)
            };
            Event::LoadFailed { function, failure }
        } else {
            Event::TemplateGone { function, ending }
        };
        template.init.end();
        self.sink.deliver(event);
    }

    /// Nothing of the template runs any more: everything that is left of it can be tidied away.
    fn init_gone(&mut self, number: u32) {
        // Exits that came in the same turn are told first.
        self.template_gone_if_untold(number);
        let Some(mut template) = self.templates.remove(&number) else { return };
        template.init.gone(Some(template.pidfd.as_fd()));
        self.poller.forget(template.init.pidfd());
        self.poller.forget(template.listener.as_fd());
        for ticket in template.abandoned() {
            self.sink.deliver(Event::WorkerGone { ticket, ending: Ending::Killed });
        }
        if self.by_function.get(&template.spec.key) == Some(&number) {
            self.by_function.remove(&template.spec.key);
        }
        let count = template.slot.as_ref().filter(|_| template.loaded).and_then(Slot::cpu_count);
        if let Some(count) = count {
            // Also if it cannot be read: nobody is to wait for it.
            let cpu = count.read().unwrap_or_default();
            self.sink.deliver(Event::GroupGone { function: template.spec.key, count, cpu });
        }
        self.remove(template.slot);
    }

    /// Has the groups of a runner removed, if it had any.
    fn remove(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            let _ = self.errands.send(Errand::Remove(slot));
        }
    }

    fn template_gone_if_untold(&mut self, number: u32) {
        let Some(template) = self.templates.get(&number) else { return };
        let pids: Vec<_> = template.workers.keys().copied().collect();
        if !template.told {
            self.template_gone(number);
        }
        for pid in pids {
            self.worker_gone(number, pid, None);
        }
    }

    fn discarded_gone(&mut self, number: u32) {
        if let Some((init, slot)) = self.discarded.remove(&number) {
            init.gone(None);
            self.poller.forget(init.pidfd());
            self.remove(slot);
        }
    }
}

/// What ended a process that has been reaped, as the kernel kept it.
fn status_of(pidfd: std::os::fd::BorrowedFd<'_>, known: Circumstances) -> Ending {
    match sys::pidfd_info(pidfd) {
        Ok(sys::ProcessInfo { exit: Some(status), .. }) => Ending::from_wait_status(status, known),
        // Not reaped, or not kept: it was ended from outside as far as anybody can tell.
        Ok(_) | Err(_) => Ending::from_wait_status(libc::SIGKILL, known),
    }
}

/// Wait status of a process that has ended and is not reaped, as its `stat` gives it.
fn status_of_zombie(pid: libc::pid_t) -> Option<i32> {
    verdict::status_of_zombie(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}
