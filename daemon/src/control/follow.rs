//! What the control thread does while the daemon runs: it follows what becomes of functions, does what is
//! wished of it, and ends the shards when it is told to.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::cgroup::Removed;
use hairtrigger_sandbox::{Event, Sandbox};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::command::{Command, NotReplaced, Wishes};
use super::holds::{self, Holds};
use super::listener::Listeners;
use super::log::Log;
use super::output::Followed;
use super::registry::Deployed;
use super::reload::{Reading, Reloads};
use super::report::{Halves, Lost};
use super::versions::{Done, Effect, Versions};
use super::watchdog::Watchdog;
use super::{Front, level, notify, output, sink, watched};
use crate::config::Config;
use crate::settings::BadSettings;
use crate::shard::Door;
use crate::shard::inbox::{FromShard, Inbox, ToShard};
use crate::shard::record::{Records, Told};

/// Reports of shards that are heard before what follows from them is done.
const REPORTS_AT_ONCE: usize = 1024;

/// What ended the shards, and so the control thread's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A signal: they were told to drain.
    Told,
    /// Nothing that the control thread knows of.
    Untold,
}

/// All that the control thread hears.
pub(super) struct Ears<'e> {
    pub(super) heard: sink::Heard,
    pub(super) reports: UnboundedReceiver<(u16, FromShard)>,
    pub(super) wishes: Wishes,
    /// What was read again.
    pub(super) readings: UnboundedReceiver<Result<Reading, BadSettings>>,
    /// Of the shards, by number.
    pub(super) ends: Vec<watched::Ended>,
    /// Of invocations, if the front wants to know.
    pub(super) records: Option<Arc<Records>>,
    pub(super) watchdog: &'e Watchdog,
    /// What was left of an earlier daemon.
    pub(super) removed: Removed,
}

/// The state of the control thread.
pub(super) struct Control<'c> {
    pub(super) sandbox: &'c Sandbox,
    pub(super) shards: &'c [Arc<Inbox>],
    pub(super) versions: Versions,
    /// As it is now.
    pub(super) config: Config,
    pub(super) listeners: Listeners,
    pub(super) reloads: Reloads,
    /// It was told to end: nothing new is begun.
    pub(super) ending: bool,
    pub(super) front: &'c dyn Front,
    pub(super) log: &'c Log,
    pub(super) holds: Holds,
    /// The output of templates that load.
    pub(super) loading: HashMap<u32, Followed>,
}

impl Control<'_> {
    /// Follows everything until the shards have ended.
    pub(super) async fn run(mut self, ears: Ears<'_>) -> io::Result<End> {
        let Ears { heard, mut reports, mut wishes, mut readings, ends, records, watchdog, removed } = ears;
        let sink::Heard { mut events, mut outputs, mut starts } = heard;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        // The shards listen, and a signal is heard from now on.
        let (addresses, socket) = (self.listeners.addresses(), self.listeners.socket(Door::Unix));
        self.log.event(self.front.serving(&addresses, socket, &removed));
        notify::ready("serving");
        let mut beats = notify::beats();
        let (again, mut reloads) = unbounded_channel();
        let mut heard_of = Vec::with_capacity(REPORTS_AT_ONCE);
        let (nap, mut naps) = unbounded_channel();
        let mut running = ends.len();
        let mut ended = any_end(ends);
        let mut draining = self.shards.len();
        let itemised = records.as_ref().is_some_and(|records| records.itemised);
        let mut halves = itemised.then(Halves::default);
        let mut lost = Lost::default();
        loop {
            tokio::select! {
                _ = ended.recv() => {
                    running -= 1;
                    if running == 0 || !self.ending {
                        self.tell_rest(records.as_deref(), halves, lost);
                        return Ok(if self.ending { End::Told } else { End::Untold });
                    }
                }
                // What is still under way is followed until it is done.
                // Whoever interrupts twice does not want to wait.
                _ = interrupt.recv() => match self.ending {
                    false => self.drain(),
                    true => self.tell_all(|| ToShard::End),
                },
                _ = terminate.recv(), if !self.ending => self.drain(),
                // Where there is nothing to read again, it means that the terminal is gone.
                _ = hangup.recv(), if !self.ending => if !self.read_again(None) {
                    self.drain();
                },
                Some(reading) = readings.recv() => self.reloaded(reading),
                Some(event) = events.recv() => self.happened(event, &again, &nap),
                Some(start) = starts.recv() => {
                    if let Some(deployed) = self.versions.deployed(start.function) {
                        self.log.event(self.front.started(deployed, start.took));
                    }
                    self.versions.template_used(start.function, start.template_cpu);
                    self.versions.worker_ready(start.function);
                }
                // As many as there are: what follows for all is found out once.
                _ = reports.recv_many(&mut heard_of, REPORTS_AT_ONCE) => for (shard, report) in heard_of.drain(..) {
                    match report {
                        FromShard::Retired { function } => self.versions.retired(function, shard),
                        FromShard::Wants { function, count, heard } => {
                            self.versions.shard_wants(function, shard, count, heard);
                        }
                        FromShard::Returns { function, count } => {
                            self.versions.shard_returns(function, shard, count);
                        }
                        FromShard::Quiet { function } => self.quiet(function, &nap),
                        FromShard::Dozes { function, round, agreed } => {
                            if let Some(after) = self.versions.dozes(function, round, agreed, Instant::now()) {
                                send_after(after, function, &nap);
                            }
                        }
                        FromShard::Wanted { function } => self.versions.wanted_again(function),
                        FromShard::Failing { function, reason } => self.versions.failing(function, &reason),
                        FromShard::Asked(request) => self.asked(shard, &request),
                        FromShard::Drained => {
                            draining -= 1;
                            if draining == 0 {
                                self.tell_all(|| ToShard::End);
                            }
                        }
                    }
                },
                Some(function) = reloads.recv() => self.versions.reload(function),
                Some(function) = naps.recv() => {
                    if let Some(after) = self.versions.doze(function, Instant::now()) {
                        send_after(after, function, &nap);
                    }
                }
                Some(output) = outputs.recv() => {
                    if let Some(deployed) = self.versions.deployed(output.function) {
                        let name = deployed.manifest.name.as_str();
                        output::follow(name.into(), output.pipe, deployed.mark_output, self.log);
                    }
                }
                (told, more) = next_record(records.as_deref()) => {
                    self.tell(told, halves.as_mut());
                    lost.add(more, Instant::now());
                }
                () = at(lost.due()) => self.log.report(lost.tell(Instant::now())),
                Some(wish) = wishes.recv(), if !self.ending => self.obey(wish),
                () = next_beat(&mut beats) => if watchdog.is_content() {
                    notify::alive();
                },
            }
            self.carry_out();
        }
    }

    /// Tells of an invocation that is over; not before its CPU time is known, if there are `halves`.
    fn tell(&self, told: Told, halves: Option<&mut Halves>) {
        let whole = match (told, halves) {
            (told, Some(halves)) => halves.take(told),
            (Told::Record(record), None) => vec![(record, None)],
            (Told::Cpu(_) | Told::Again(_), None) => vec![],
        };
        for (record, cpu) in whole {
            self.log.report(self.front.invoked(&record, cpu.as_ref()));
        }
    }

    /// The shards have ended: tells of what they told last.
    fn tell_rest(&self, records: Option<&Records>, mut halves: Option<Halves>, mut lost: Lost) {
        while let Some(told) = records.and_then(Records::take) {
            self.tell(told, halves.as_mut());
        }
        for (record, cpu) in halves.iter_mut().flat_map(Halves::rest) {
            self.log.report(self.front.invoked(&record, cpu.as_ref()));
        }
        lost.add(records.map_or(0, Records::lost), Instant::now());
        self.log.report(lost.tell(Instant::now()));
    }

    /// What is under way is finished, and nothing else.
    fn drain(&mut self) {
        self.ending = true;
        notify::stopping();
        self.tell_all(|| ToShard::Drain);
    }

    fn tell_all(&self, message: impl Fn() -> ToShard) {
        for shard in self.shards {
            shard.tell(message());
        }
    }

    /// Does what the books say.
    pub(super) fn carry_out(&mut self) {
        for effect in self.versions.effects() {
            match effect {
                Effect::Begin(version) => self.tell_all(|| ToShard::Begin(Arc::clone(&version))),
                Effect::Load(spec) => self.sandbox.load(*spec),
                Effect::Route(routing, most_connections) => {
                    self.tell_all(|| ToShard::Route { routing: Arc::clone(&routing), most_connections });
                }
                Effect::Refuse(function, reason) => {
                    let reason: Arc<str> = reason.into();
                    self.tell_all(|| ToShard::LoadFailed { function, reason: Arc::clone(&reason) });
                }
                Effect::Retire(function) => self.tell_all(|| ToShard::Retire { function }),
                Effect::Doze(function, round) => self.tell_all(|| ToShard::Doze { function, round }),
                Effect::Wake(function) => self.tell_all(|| ToShard::Wake { function }),
                Effect::Grant(function, shard) => {
                    self.shards[usize::from(shard)].tell(ToShard::Grant { function });
                }
                Effect::GiveUp(function, shard) => {
                    self.shards[usize::from(shard)].tell(ToShard::GiveUp { function });
                }
                Effect::Unload(function) => self.sandbox.unload(function),
                Effect::Forget(function) => self.holds.forget(function),
                Effect::Say(sentence) => self.log.event(sentence),
            }
        }
    }

    /// Something became of a function in the sandbox.
    fn happened(&mut self, event: Event, again: &UnboundedSender<u32>, nap: &UnboundedSender<u32>) {
        match event {
            Event::Loading { function, output } => {
                if !self.versions.wanted(function) {
                    // It was told to go before there was anything of it.
                    self.sandbox.unload(function);
                }
                let Some(deployed) = self.versions.deployed(function) else { return };
                let name = deployed.manifest.name.as_str();
                self.loading
                    .extend(output::follow(name.into(), output, false, self.log).map(|f| (function, f)));
            }
            Event::Loaded { function, took, cpu, count, .. } => {
                self.loading.remove(&function);
                self.versions.load_used(function, cpu, count);
                self.holds.loaded(function, Instant::now());
                if let Some(deployed) = self.versions.deployed(function) {
                    self.log.event(self.front.loaded(deployed, took));
                }
                self.versions.loaded(function);
                self.quiet(function, nap);
            }
            Event::LoadFailed { function, failure } => {
                if let Some(output) = self.loading.remove(&function) {
                    output.exhaust(self.log);
                }
                let Some(deployed) = self.versions.deployed(function).map(Arc::clone) else { return };
                let reason = failure.to_string();
                let wanted = self.versions.wanted(function);
                // After a failure the shards go on refusing until the next load comes to something.
                let may_pass = holds::may_pass(&failure) || self.versions.was_loaded(function);
                let retry = self.versions.load_failed(function, &reason) && may_pass;
                let hold = retry.then(|| self.holds.failed(function, Instant::now()));
                if wanted {
                    self.log.event(self.front.failed(&deployed, &reason, hold));
                }
                if let Some(hold) = hold {
                    send_after(hold, function, again);
                }
            }
            Event::TemplateGone { function, ending } => {
                let name = self.versions.deployed(function).map(|deployed| deployed.manifest.name.clone());
                if self.versions.template_gone(function, &format!("its template {ending}")) {
                    let hold = self.holds.failed(function, Instant::now());
                    let name = name.unwrap_or_default();
                    self.log.event(format!(
                        "The template of function {name} {ending}; it is loaded again in {hold:?}."
                    ));
                    send_after(hold, function, again);
                }
            }
            Event::GroupGone { function, count, cpu } => self.versions.group_gone(function, &count, cpu),
            Event::Trouble(sentence) => self.log.event(sentence),
            // The sink gives these to the shards.
            Event::WorkerStarting { .. } | Event::WorkerReady { .. } | Event::WorkerGone { .. } => {}
        }
    }

    /// Nobody wants anything of a version: it may go to sleep if that stays so.
    fn quiet(&mut self, function: u32, nap: &UnboundedSender<u32>) {
        if let Some(after) = self.versions.quiet(function, Instant::now()) {
            send_after(after, function, nap);
        }
    }

    pub(super) fn obey(&mut self, wish: Command) {
        match wish {
            Command::Replace { function, done } => self.begin(*function, Some(done)),
            Command::Remove { name } => {
                self.versions.remove(&name);
            }
            Command::Apply { functions } => {
                let stay = |name: &String| functions.iter().any(|function| function.manifest.name == *name);
                for name in self.versions.names().iter().filter(|name| !stay(name)) {
                    self.versions.remove(name);
                }
                for function in functions {
                    if !self.versions.serves(&function) {
                        self.begin(function, None);
                    }
                }
            }
        }
    }

    /// Begins a version, if there is room for it.
    fn begin(&mut self, function: Deployed, done: Option<Done>) {
        let name = function.manifest.name.clone();
        // What comes as a whole was checked as a whole.
        let conflict = done.as_ref().and_then(|_| self.versions.conflict(&function));
        let uid = match conflict.or_else(|| self.versions.objection(&function)) {
            Some(objection) => Err(objection),
            None => level::uids(&self.config, std::slice::from_ref(&function))
                .map(|uids| uids[0])
                .map_err(|error| format!("{error:#}")),
        };
        match (uid, done) {
            (Ok(uid), done) => self.versions.begin(Arc::new(function), uid, done),
            (Err(reason), Some(done)) => {
                let kept = self.versions.names().contains(&name);
                let _ = done.send(Err(NotReplaced { reason, kept }));
            }
            (Err(reason), None) => {
                self.log.event(format!("Function {name} cannot be served as it is now: {reason}."));
            }
        }
    }
}

/// The next word of invocations and how many were lost before it; never, if nobody wants to know.
async fn next_record(records: Option<&Records>) -> (Told, u64) {
    match records {
        Some(records) => records.next().await,
        None => std::future::pending().await,
    }
}

/// At this moment; never, if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// When the service manager wants to hear again; never, if it does not.
async fn next_beat(beats: &mut Option<tokio::time::Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// Sends a version's key after a while.
fn send_after(hold: Duration, function: u32, to: &UnboundedSender<u32>) {
    let to = to.clone();
    tokio_uring::spawn(async move {
        tokio::time::sleep(hold).await;
        let _ = to.send(function);
    });
}

/// Resolves once for each thread that has ended.
fn any_end(ends: Vec<watched::Ended>) -> UnboundedReceiver<()> {
    let (sender, receiver) = unbounded_channel();
    for end in ends {
        let sender = sender.clone();
        tokio_uring::spawn(async move {
            let _ = end.await;
            let _ = sender.send(());
        });
    }
    receiver
}
