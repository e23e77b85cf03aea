//! What the notified calls of a function's processes come to: what `verdict` says they are, done.

use super::Ticket;
use super::kit::Kit;
use super::template::{Awaited, Effect, Phase, Signals, Starting, Template, WorkerRecord};
use super::threads::ThreadStarts;
use super::verdict::{self, Caller, Known, Stage, Verdict, is_fork, judge, to_itself};
use crate::cgroup::Leaf;
use crate::channel::{BELL_FD, REPLY_FD, REQUEST_FD};
use crate::ending::Ending;
use crate::layers::{self, Layer};
use crate::limits::{MAX_LOAD_MESSAGE, MAX_SIGNALS, WORKER_START_TIMEOUT};
use crate::sys::{self, Answer, Notification};
use crate::text;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl Template {
    /// Sees to one notified call.
    pub(super) fn notified(&mut self, call: &Notification) -> Effect {
        match judge(call, self.known(call)) {
            Verdict::Violation => self.violation(call),
            Verdict::Park => self.park(call),
            Verdict::Thread => self.thread_gate(call),
            Verdict::Affinity => self.affinity_gate(call),
            Verdict::Signal => self.signal_gate(call),
            Verdict::Loaded => self.loaded(call),
            Verdict::LoadFailed { address, length } => self.load_failed(address, length),
            Verdict::CheckIn => self.check_in(call),
            Verdict::Ready => self.ready(call),
        }
    }

    fn known(&self, call: &Notification) -> Known {
        let caller = match self.workers.get(&call.thread) {
            _ if call.thread == self.pid => Caller::Template,
            Some(worker) => Caller::Worker { starting: worker.starting.is_some() },
            None => Caller::Other,
        };
        let waits = |id| sys::notification_valid(self.listener.as_fd(), id);
        let fork_waits = self.parked_fork.is_some_and(waits);
        let threads = self.spec.grants.threads > 0;
        Known {
            caller,
            stage: Stage::from(&self.phase),
            fork_waits,
            awaited: !self.awaited.is_empty(),
            threads,
        }
    }

    pub(super) fn answer(&self, call: &Notification, answer: Answer) {
        // A caller that died meanwhile is found by its exit.
        let _ = sys::notification_answer(self.listener.as_fd(), call.id, answer);
    }

    fn park(&mut self, call: &Notification) -> Effect {
        // In place of one that a signal has interrupted, if there was one.
        self.parked_fork = Some(call.id);
        self.let_fork();
        Effect::None
    }

    /// `abort` and `raise`: a thread may signal itself, now and then, and where it may have started others also them.
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
        if !to_itself(call, own, self.spec.grants.threads > 0)
            || !sys::notification_valid(self.listener.as_fd(), call.id)
        {
            return self.violation(call);
        }
        self.answer(call, Answer::Continue);
        Effect::None
    }

    fn loaded(&mut self, call: &Notification) -> Effect {
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
        self.loaded = true;
        self.released = Instant::now();
        self.answer(call, Answer::Return(0));
        Effect::Loaded
    }

    fn load_failed(&mut self, address: u64, length: u64) -> Effect {
        // One byte more shows that there was more.
        let length = usize::try_from(length).unwrap_or(0).min(MAX_LOAD_MESSAGE + 1);
        let said = sys::read_process_memory(self.pid, address, length).unwrap_or_default();
        let why = text::line(&said, MAX_LOAD_MESSAGE);
        // The plugin itself can make this call, about nothing.
        let silent = why.trim().is_empty();
        self.refused = Some(if silent { "it was given up without a reason".to_owned() } else { why });
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
        let leaf_oom_kills = leaf.as_ref().map_or(0, Leaf::oom_kills);
        WorkerRecord {
            ticket,
            pidfd,
            leaf,
            leaf_oom_kills,
            denied: None,
            late: false,
            starting: None,
            signals: Signals::default(),
            threads: ThreadStarts::default(),
        }
    }

    /// The end of a worker's start.
    fn ready(&mut self, call: &Notification) -> Effect {
        let started = self.workers.get_mut(&call.thread).and_then(|worker| worker.starting.take());
        let Some(Starting { channel, wanted_at, deadline: _ }) = started else { return self.violation(call) };
        self.answer(call, Answer::Return(0));
        Effect::Ready { pid: call.thread, channel: Box::new(channel), took: wanted_at.elapsed() }
    }

    /// The fork that this caller is, who is not known yet, if it is one. An error is the host's and says nothing
    /// about the caller.
    fn forked(&self, call: &Notification) -> io::Result<Option<OwnedFd>> {
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
        Ok((valid && is_fork(&info, self.pid, call.thread)).then_some(pidfd))
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
    pub(super) fn process_of(&self, thread: libc::pid_t) -> io::Result<libc::pid_t> {
        if thread == self.pid || self.workers.contains_key(&thread) {
            return Ok(thread);
        }
        status_number(thread, "Tgid:")
    }

    /// Records a denied call and kills whoever made it.
    pub(super) fn violation(&mut self, call: &Notification) -> Effect {
        if !layers::on(Layer::Seccomp) {
            self.answer(call, Answer::Continue);
            return Effect::None;
        }
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

/// The last number of a line of `/proc/PID/status`: the only one, or that of the innermost namespace.
fn status_number(pid: libc::pid_t, name: &str) -> io::Result<libc::pid_t> {
    let status = fs::read(format!("/proc/{pid}/status"))?;
    let missing = || io::Error::other(format!("/proc/{pid}/status has no number at {name}"));
    verdict::status_number(&status, name).ok_or_else(missing)
}

/// Process and thread id of a thread as it sees them itself.
pub(super) fn own_ids(thread: libc::pid_t) -> io::Result<(libc::pid_t, libc::pid_t)> {
    Ok((status_number(thread, "NStgid:")?, status_number(thread, "NSpid:")?))
}
