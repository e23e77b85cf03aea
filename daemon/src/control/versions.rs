//! Which versions of functions there are, and where requests go. Bookkeeping only: what happens comes in as
//! calls, what is to be done goes out as [`Effect`]s, in the order in which they must be carried out.
//!
//! A version *comes*: it is loaded while an older one of its name serves. It is *present*: requests go to it;
//! at once, if nothing else could serve them. There it may *sleep*: unloaded, until somebody wants something of it. It
//! *retires*: the shards finish what they have of it, its template is unloaded, and its key is free.

mod shared;
mod sleep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hairtrigger_sandbox::FunctionSpec;
use hairtrigger_sandbox::cgroup::CpuCount;
use hairtrigger_sandbox::grants::Grants;
use hairtrigger_sandbox::limits::{MAX_STILLBORN, MAX_VERSIONS};
use tokio::sync::oneshot;

use super::command::{NotReplaced, Replaced};
use super::registry::Deployed;
use super::room::{Promise, Room};
use super::usage::{Usages, View};
use crate::shard::route::{Conflict, Pattern, Router};
use crate::shard::version::{Routing, Version};
use sleep::Sleep;

/// Hears what became of a wish for a new version.
pub(super) type Done = oneshot::Sender<Result<Replaced, NotReplaced>>;

/// Something to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Tell every shard of a version.
    Begin(Arc<Version>),
    /// Load a version.
    Load(Box<FunctionSpec>),
    /// Tell every shard where requests go, and how many connections each may have.
    Route(Arc<Routing>, usize),
    /// Tell every shard why requests to a version are refused, until it is loaded the next time.
    Refuse(u32, String),
    /// Tell every shard that a version retires.
    Retire(u32),
    /// Ask every shard whether a version may sleep; with the number of the question.
    Doze(u32, u32),
    /// Tell every shard that it does not.
    Wake(u32),
    /// Tell a shard that it may start one more worker of a version.
    Grant(u32, u16),
    /// Tell a shard to end a worker of a version.
    GiveUp(u32, u16),
    /// End a version's template.
    Unload(u32),
    /// Nothing is left of a version.
    Forget(u32),
    /// Tell the operator.
    Say(String),
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Coming,
    Present,
    /// So many shards still have something of it.
    Retiring(u16),
}

/// One version.
#[derive(Debug)]
struct Entry {
    deployed: Arc<Deployed>,
    version: Arc<Version>,
    uid: u32,
    standing: Standing,
    /// The sandbox was asked to load it and has not answered.
    asked: bool,
    /// It has a template.
    template: bool,
    /// It was loaded at least once.
    proven_good: bool,
    sleep: Sleep,
    /// Of the questions whether it may sleep, the number of the last.
    round: u32,
    /// When it was last seen that nobody wants anything of it.
    quiet_since: Instant,
    /// Whether it is to be seen whether that is still so.
    nap: bool,
    /// Templates in a row that ended before they had a worker that served.
    barren: u32,
    /// Requests to it are answered, or will be soon: it was loaded once, and the last load did not fail.
    serves: bool,
    /// It could take over.
    ready: bool,
    begun: Instant,
    /// Why it does not serve, as far as it was tried.
    failure: Option<String>,
    /// Until it is known what becomes of it.
    done: Option<Done>,
}

/// A version, as the operator is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'v> {
    pub(super) version: &'v Version,
    pub(super) routes: Option<&'v [Pattern]>,
    pub(super) grants: &'v Grants,
    pub(super) state: &'static str,
    pub(super) reason: Option<&'v str>,
}

/// All versions.
#[derive(Debug)]
pub(super) struct Versions {
    shards: u16,
    /// Descriptors that this process may have.
    descriptors: usize,
    /// Most workers of all versions together, and who has how many of them.
    max_workers: Option<u32>,
    room: Option<Room>,
    entries: BTreeMap<u32, Entry>,
    present: BTreeMap<String, u32>,
    coming: BTreeMap<String, u32>,
    next: u32,
    /// What the shards were told last.
    most_connections: usize,
    /// Most connections of all shards, as the operator wishes.
    cap: Option<u32>,
    usages: Usages,
    effects: Vec<Effect>,
}

impl Versions {
    /// None yet, for so many shards in a process that may have so many descriptors, on a host of so many workers.
    pub(super) fn new(shards: u16, descriptors: usize, max_workers: Option<u32>) -> Self {
        let mut versions = Self {
            shards,
            descriptors,
            max_workers,
            room: max_workers.map(|most| Room::new(most, shards)),
            entries: BTreeMap::new(),
            present: BTreeMap::new(),
            coming: BTreeMap::new(),
            next: 0,
            most_connections: 0,
            cap: None,
            usages: Usages::default(),
            effects: Vec::new(),
        };
        // Without any function the shards are to answer as well, and take connections for it.
        versions.route(Router::default());
        versions
    }

    /// What is to be done since the last call.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        self.settle_room();
        std::mem::take(&mut self.effects)
    }

    /// A version's function.
    pub(super) fn deployed(&self, key: u32) -> Option<&Arc<Deployed>> {
        self.entries.get(&key).map(|entry| &entry.deployed)
    }

    /// Whether requests go to this very function, and are not refused.
    pub(super) fn serves(&self, function: &Deployed) -> bool {
        let present = self.present.get(&function.manifest.name).and_then(|key| self.entries.get(key));
        present.is_some_and(|entry| *entry.deployed == *function && (entry.serves || entry.asked))
            && !self.coming.contains_key(&function.manifest.name)
    }

    /// The names of all functions that are served or will be.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.present.keys().chain(self.coming.keys()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every version of which anything is left.
    pub(super) fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.values().map(|entry| Listed {
            version: &entry.version,
            routes: entry.version.profile.routes.as_deref(),
            grants: &entry.deployed.manifest.grants,
            state: match entry.standing {
                Standing::Retiring(_) => "retiring",
                Standing::Coming => "coming",
                Standing::Present if entry.failure.is_some() => "failed",
                Standing::Present if matches!(entry.sleep, Sleep::Asleep { .. }) => "asleep",
                Standing::Present if entry.template => "ready",
                Standing::Present => "loading",
            },
            reason: entry.failure.as_deref(),
        })
    }

    /// What each function has used.
    pub(super) fn usage(&self) -> Vec<View<'_>> {
        self.usages.views()
    }

    // ---- wishes ----------------------------------------------------------------------------------

    /// Which routes of this function contradict those of others, once all that comes is there.
    pub(super) fn conflict(&self, function: &Deployed) -> Option<String> {
        let name = function.manifest.name.as_str();
        let mut keys: BTreeMap<&str, u32> = self.present.iter().map(|(name, key)| (&**name, *key)).collect();
        keys.extend(self.coming.iter().map(|(name, key)| (&**name, *key)));
        keys.remove(name);
        let others = keys.iter().filter_map(|(name, key)| {
            Some((*key, *name, self.entries.get(key)?.deployed.manifest.routes.as_ref()))
        });
        let this = (u32::MAX, name, function.manifest.routes.as_ref());
        Router::new(others.chain([this])).err().map(|conflict| conflict.to_string())
    }

    /// Begins a version of a function: in the place of the one of its name as soon as it can serve, or at once
    /// if there is none that serves. To be called after [`Versions::objection`].
    pub(super) fn begin(&mut self, deployed: Arc<Deployed>, uid: u32, done: Option<Done>) {
        let name = deployed.manifest.name.clone();
        let totals = self.usages.of(&name, self.shards);
        let mut version = Version::new(self.free_key(), deployed.profile(), self.shards, totals);
        for before in [self.present.get(&name), self.coming.get(&name)].into_iter().flatten() {
            if let Some(entry) = self.entries.get(before) {
                version = version.after(&entry.version);
            }
        }
        let (key, version) = (version.key, Arc::new(version));
        if let Some(&overtaken) = self.coming.get(&name) {
            self.abandon(overtaken, "a newer version was begun");
        }
        let entry = Entry {
            deployed,
            version: Arc::clone(&version),
            uid,
            standing: Standing::Coming,
            asked: false,
            template: false,
            proven_good: false,
            sleep: Sleep::Awake,
            round: 0,
            quiet_since: Instant::now(),
            nap: false,
            barren: 0,
            serves: false,
            ready: false,
            begun: Instant::now(),
            failure: None,
            done,
        };
        if let Some(room) = &mut self.room {
            let concurrency = &entry.deployed.manifest.concurrency;
            let reserved = concurrency.reserved;
            room.begin(key, &name, Promise { reserved, floor: reserved.max(concurrency.provisioned) });
        }
        self.entries.insert(key, entry);
        self.effects.push(Effect::Begin(version));
        self.load(key);
        let old = self.present.get(&name).and_then(|old| self.entries.get(old));
        let waits = old.is_some_and(|old| old.serves);
        // One whose routes contradict an old version that is about to go waits for that.
        match if waits { None } else { self.router(&[key]).ok() } {
            Some(router) => self.take_over(&[key], router),
            None => {
                self.coming.insert(name, key);
            }
        }
    }

    /// Serves the function of this name no more. False if there is none.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        if let Some(&coming) = self.coming.get(name) {
            self.abandon(coming, "the function was removed");
        }
        self.usages.forget(name);
        let Some(key) = self.present.remove(name) else { return false };
        self.route_anew();
        self.retire(key);
        self.let_take_over();
        true
    }

    /// The time of a version's next load has come.
    pub(super) fn reload(&mut self, key: u32) {
        let Some(entry) = self.entries.get(&key) else { return };
        if !entry.asked && !entry.template && entry.standing != Standing::Retiring(0) {
            self.load(key);
        }
    }

    // ---- what happens ----------------------------------------------------------------------------

    /// A version is loaded.
    pub(super) fn loaded(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        (entry.asked, entry.template, entry.serves) = (false, true, true);
        (entry.sleep, entry.proven_good) = (Sleep::Awake, true);
        entry.failure = None;
        if entry.standing == Standing::Retiring(0) {
            self.effects.push(Effect::Unload(key));
        } else if entry.version.profile.provisioned == 0 {
            self.proven(key);
        }
    }

    /// What the load of a version, which has just come to its end, has used, and where it is counted from now on.
    pub(super) fn load_used(&mut self, key: u32, cpu: Duration, count: Option<CpuCount>) {
        let Some(entry) = self.entries.get(&key) else { return };
        self.usages.loaded(key, &entry.deployed.manifest.name, &entry.version.totals, cpu, count);
    }

    /// What a version's template has used by now.
    pub(super) fn template_used(&mut self, key: u32, cpu: Duration) {
        self.usages.template(key, cpu);
    }

    /// What the kernel has counted for a version's processes, of which there are no more.
    pub(super) fn group_gone(&mut self, key: u32, count: &CpuCount, cpu: Duration) {
        self.usages.group_gone(key, count, cpu);
        if !self.entries.contains_key(&key) {
            self.usages.unloaded(key);
        }
    }

    /// A version has a worker that serves.
    pub(super) fn worker_ready(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.barren = 0;
        }
        self.proven(key);
    }

    /// Whether it was loaded before: then whatever keeps it from that now may pass.
    pub(super) fn was_loaded(&self, key: u32) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.proven_good)
    }

    /// Whether anybody could still want something of a version.
    pub(super) fn wanted(&self, key: u32) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.standing != Standing::Retiring(0))
    }

    /// A version is not loaded. Returns whether it should be tried again, if the reason may pass.
    pub(super) fn load_failed(&mut self, key: u32, reason: &str) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        (entry.asked, entry.serves) = (false, false);
        match entry.standing {
            Standing::Coming => {
                self.give_up(key, reason);
                false
            }
            Standing::Present => {
                self.failed(key, reason);
                true
            }
            Standing::Retiring(0) => {
                self.forget(key);
                false
            }
            // The shards refuse those who wait.
            Standing::Retiring(_) => false,
        }
    }

    /// A loaded version's template is gone. Returns whether it must be loaded again. Requests wait for that, but not for
    /// one whose templates end time and again before anything comes of them.
    pub(super) fn template_gone(&mut self, key: u32, why: &str) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        entry.template = false;
        let asleep = match std::mem::replace(&mut entry.sleep, Sleep::Awake) {
            Sleep::Asleep { wanted } => Some(wanted),
            Sleep::Awake | Sleep::Dozing { .. } => None,
        };
        if let Some(wanted) = asleep.filter(|_| entry.standing != Standing::Retiring(0)) {
            if wanted {
                self.load(key);
            } else {
                entry.sleep = Sleep::Asleep { wanted };
            }
            return false;
        }
        entry.failure = Some(why.to_owned());
        match entry.standing {
            Standing::Coming => {
                self.give_up(key, why);
                false
            }
            Standing::Retiring(0) => {
                self.forget(key);
                false
            }
            // Somebody may still wait for its workers.
            Standing::Present | Standing::Retiring(_) => {
                entry.barren += 1;
                if entry.barren >= MAX_STILLBORN {
                    self.effects.push(Effect::Refuse(key, why.to_owned()));
                }
                true
            }
        }
    }

    /// The workers of a version end before they can serve.
    pub(super) fn failing(&mut self, key: u32, reason: &str) {
        let Some(entry) = self.entries.get(&key) else { return };
        match entry.standing {
            Standing::Coming => self.give_up(key, reason),
            Standing::Present => {
                // Each shard says so, and says it again after each hold.
                if entry.failure.as_deref() != Some(reason) {
                    let name = &entry.deployed.manifest.name;
                    self.effects.push(Effect::Say(format!("Function {name} does not serve: {reason}.")));
                }
                self.failed(key, reason);
            }
            Standing::Retiring(_) => {}
        }
    }

    /// A shard has nothing left of a version that retires.
    pub(super) fn retired(&mut self, key: u32, shard: u16) {
        if let Some(room) = &mut self.room {
            room.retired(key, shard);
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Standing::Retiring(left) = entry.standing else { return };
        entry.standing = Standing::Retiring(left.saturating_sub(1));
        if left > 1 {
            return;
        }
        if entry.template || entry.asked {
            // One that is still being loaded may take long, and nobody waits for it. If there is no template of it yet,
            // it goes as soon as there is.
            self.effects.push(Effect::Unload(key));
        } else {
            self.forget(key);
        }
    }

    // ---- steps -----------------------------------------------------------------------------------

    fn load(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.asked = true;
            self.effects.push(Effect::Load(Box::new(entry.deployed.spec(key, entry.uid))));
        }
    }

    /// A version is known to serve.
    fn proven(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.ready = true;
        entry.failure = None;
        match entry.standing {
            Standing::Coming => self.let_take_over(),
            Standing::Present => self.announce(key),
            Standing::Retiring(_) => {}
        }
    }

    /// Whoever wished for a version that is present hears that it serves, once it does.
    fn announce(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.ready) else { return };
        if let Some(done) = entry.done.take() {
            let _ = done.send(Ok(Replaced { took: entry.begun.elapsed() }));
        }
    }

    /// Lets the versions take over that are ready: together, for a route may go from one function to another. If
    /// their routes contradict those of old versions, they wait for what else is to come.
    fn let_take_over(&mut self) {
        let is_ready = |key: &u32| self.entries.get(key).is_some_and(|entry| entry.ready);
        let (ready, awaited): (Vec<u32>, Vec<u32>) = self.coming.values().copied().partition(is_ready);
        match self.router(&ready) {
            Ok(router) => self.take_over(&ready, router),
            Err(_) if !awaited.is_empty() => {}
            Err(_) => {
                for key in ready {
                    if !self.coming.values().any(|coming| *coming == key) {
                        continue;
                    }
                    match self.router(&[key]) {
                        Ok(router) => self.take_over(&[key], router),
                        Err(conflict) => self.give_up(key, &conflict.to_string()),
                    }
                }
            }
        }
    }

    /// Requests go to these versions from now on.
    fn take_over(&mut self, keys: &[u32], router: Router) {
        let mut old = Vec::new();
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            entry.standing = Standing::Present;
            let name = entry.deployed.manifest.name.clone();
            self.coming.remove(&name);
            old.extend(self.present.insert(name, *key));
        }
        if keys.is_empty() {
            return;
        }
        self.route(router);
        for key in old {
            self.retire(key);
        }
        for key in keys {
            self.announce(*key);
        }
    }

    /// A version that comes will not serve; nor does what waited for its routes wait any longer.
    fn give_up(&mut self, key: u32, reason: &str) {
        self.abandon(key, reason);
        self.let_take_over();
        let name = self.entries.get(&key).map(|entry| entry.deployed.manifest.name.as_str());
        let unknown = |name: &&str| !self.present.contains_key(*name) && !self.coming.contains_key(*name);
        // It was the first of its name.
        if let Some(name) = name.filter(unknown) {
            self.usages.forget(name);
        }
    }

    /// A version that comes will not serve; the older one, if there is one, goes on.
    fn abandon(&mut self, key: u32, reason: &str) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let name = &entry.deployed.manifest.name;
        self.coming.remove(name);
        let kept = self.present.contains_key(name);
        match entry.done.take() {
            Some(done) => {
                let _ = done.send(Err(NotReplaced { reason: reason.to_owned(), kept }));
            }
            None => {
                let rest = if kept { "; the one before it goes on" } else { "" };
                let sentence = format!("The new version of function {name} does not serve: {reason}{rest}.");
                self.effects.push(Effect::Say(sentence));
            }
        }
        self.retire(key);
    }

    /// A version that requests go to does not serve.
    fn failed(&mut self, key: u32, reason: &str) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.failure = Some(reason.to_owned());
        if let Some(done) = entry.done.take() {
            let _ = done.send(Err(NotReplaced { reason: reason.to_owned(), kept: false }));
        }
    }

    fn retire(&mut self, key: u32) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.standing = Standing::Retiring(self.shards);
        if let Some(done) = entry.done.take() {
            let reason = "another version took its place before it could serve".to_owned();
            let _ = done.send(Err(NotReplaced { reason, kept: false }));
        }
        self.effects.push(Effect::Retire(key));
        if let Some(room) = &mut self.room {
            room.retire(key);
        }
    }

    fn forget(&mut self, key: u32) {
        self.entries.remove(&key);
        self.usages.unloaded(key);
        self.effects.push(Effect::Forget(key));
        if let Some(room) = &mut self.room {
            room.forget(key);
        }
        if self.connections_each() != self.most_connections {
            self.route_anew();
        }
    }

    /// The one place where a router is made: for what is present, with these in the places of their names.
    fn router(&self, with: &[u32]) -> Result<Router, Conflict> {
        let mut keys: BTreeMap<&str, u32> = self.present.iter().map(|(name, key)| (&**name, *key)).collect();
        for key in with {
            if let Some(entry) = self.entries.get(key) {
                keys.insert(&entry.deployed.manifest.name, *key);
            }
        }
        Router::new(keys.into_iter().filter_map(|(name, key)| {
            let routes = self.entries.get(&key)?.deployed.manifest.routes.as_ref();
            Some((key, name, routes))
        }))
    }

    /// Requests go where this router says, which is for what is present.
    fn route(&mut self, router: Router) {
        let present = self.present.iter().map(|(name, key)| (name.as_str().into(), *key)).collect();
        self.most_connections = self.connections_each();
        self.effects.push(Effect::Route(Arc::new(Routing { router, present }), self.most_connections));
    }

    /// Some of what was present is no more.
    fn route_anew(&mut self) {
        match self.router(&[]) {
            Ok(router) => self.route(router),
            Err(conflict) => unreachable!("these routes stood side by side before: {conflict}"),
        }
    }

    /// Keys go round, so that one that was free a moment ago, of which a late word may still be under way, is
    /// not given at once.
    fn free_key(&mut self) -> u32 {
        loop {
            let key = self.next;
            self.next = (self.next + 1) % MAX_VERSIONS;
            if !self.entries.contains_key(&key) {
                return key;
            }
        }
    }
}
