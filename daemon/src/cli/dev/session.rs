//! What `dev` does beside serving: builds what is there, and again what changes, and has it served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Result, bail};
use tokio::sync::oneshot;

use super::build::{Build, Builder};
use super::clock::LocalTime;
use super::prints::Prints;
use super::versions::Versions;
use super::watch::Watch;
use crate::cli::front::say;
use crate::control::command::{Command, Commands, NotReplaced, Replaced};
use crate::control::registry::{self, Deployed};
use crate::manifest::{Manifest, OffLimits};
use crate::units::Rounded;

/// All functions below a directory.
pub(super) struct Session {
    root: PathBuf,
    off_limits: OffLimits,
    builder: Builder,
    versions: Versions,
    commands: Commands,
    /// By the path of the manifest.
    functions: BTreeMap<PathBuf, Known>,
    /// The directories that were walked through for manifests.
    directories: Vec<PathBuf>,
}

/// What is known of the function of a manifest.
#[derive(Debug, Default)]
struct Known {
    /// The files of its last build, whatever came of it; none before the first.
    prints: Prints,
    /// Whether they were built, or refused, as they are.
    built: bool,
    /// Its name, which no other has.
    name: Option<String>,
    /// The name that it would have if another did not have it.
    refused_name: Option<String>,
    serving: Option<Serving>,
    /// The names under which the daemon may have it, whether it serves or not: more than one if it was given
    /// another name and what has that does not serve yet.
    told: BTreeSet<String>,
}

/// The version of a function that serves.
#[derive(Debug)]
struct Serving {
    manifest: Manifest,
    plugin: PathBuf,
    version: u64,
    since: LocalTime,
}

/// The daemon is ending: nobody takes wishes any more.
struct Ending;

/// What came of a function that was built.
enum Step {
    /// It is what serves already.
    Same,
    /// It serves, under this name, which it may have had before or not.
    Serves,
    /// It is not to be served by `dev`.
    LeftOut,
}

impl Session {
    pub(super) fn new(
        root: PathBuf,
        off_limits: OffLimits,
        builder: Builder,
        versions: Versions,
        commands: Commands,
    ) -> Self {
        Self {
            root,
            off_limits,
            builder,
            versions,
            commands,
            functions: BTreeMap::new(),
            directories: Vec::new(),
        }
    }

    /// Builds everything once.
    pub(super) fn build_all(&mut self) {
        let _ = self.look(Instant::now());
        let left_out = self.functions.values().filter(|known| known.built && known.name.is_none()).count();
        if left_out > 0 {
            say(&format!("left out {left_out} functions that say dev = false"));
        }
    }

    /// Goes on building what changes until the daemon ends.
    pub(super) fn follow(mut self, mut watch: Watch) {
        let mut noticed = Instant::now();
        let mut complained = BTreeSet::new();
        loop {
            // What is watched only now may have changed since it was built.
            loop {
                let (fresh, failed) = watch.cover(&self.watched());
                if let Some((path, error)) = failed
                    && complained.insert(path.clone())
                {
                    say(&format!("changes in {} will not be noticed: {error}", path.display()));
                }
                if self.look(noticed).is_err() {
                    return;
                }
                if fresh == 0 {
                    break;
                }
            }
            match watch.wait() {
                Ok(first) => noticed = first,
                Err(error) => {
                    say(&format!("changes will not be noticed any more: {error}"));
                    return;
                }
            }
        }
    }

    fn watched(&self) -> BTreeSet<PathBuf> {
        let inputs = self.functions.values().flat_map(|known| known.prints.directories());
        inputs.map(Path::to_owned).chain(self.directories.iter().cloned()).collect()
    }

    /// Finds out what is new, changed or gone since the last look, and acts on it.
    fn look(&mut self, noticed: Instant) -> Result<(), Ending> {
        let found = match registry::look(&self.root) {
            Ok(found) => found,
            // What was there a moment ago may be gone.
            Err(error) => {
                say(&format!("{error:#}"));
                return Ok(());
            }
        };
        self.directories = found.directories;
        let gone: Vec<PathBuf> =
            self.functions.keys().filter(|path| !found.manifests.contains(path)).cloned().collect();
        for path in gone {
            if let Some(known) = self.functions.remove(&path) {
                known.told.iter().for_each(|name| self.remove(name));
                self.free(known.name.as_deref());
            }
        }
        let mut manifests = found.manifests;
        manifests.sort_by_key(|path| patience(path));
        for path in manifests {
            let known = self.functions.entry(path.clone()).or_default();
            if !known.built || known.prints.stale() {
                self.renew(&path, noticed)?;
            }
        }
        Ok(())
    }

    /// A name may be had by another function from now on.
    fn free(&mut self, name: Option<&str>) {
        for known in self.functions.values_mut().filter(|known| known.refused_name.is_some()) {
            if known.refused_name.as_deref() == name {
                known.built = false;
            }
        }
    }

    /// Serves a function no more.
    fn remove(&self, name: &str) {
        self.commands.send(Command::Remove { name: name.to_owned() });
        self.versions.keep_only(name, None);
        say(&format!("removed {name}"));
    }

    /// Builds a function and has it served; says what comes of it.
    fn renew(&mut self, path: &Path, noticed: Instant) -> Result<(), Ending> {
        let Some(mut known) = self.functions.remove(path) else { return Ok(()) };
        known.built = true;
        let name_before = known.name.clone();
        let step = self.step(path, &mut known, noticed);
        if known.name != name_before {
            self.free(name_before.as_deref());
        }
        match step {
            Ok(Step::Same | Step::Serves) => {}
            Ok(Step::LeftOut) => {
                known.serving = None;
                std::mem::take(&mut known.told).iter().for_each(|name| self.remove(name));
            }
            Err(Failed::Said(error)) => say(&match &known.serving {
                Some(Serving { manifest, since, .. }) => {
                    format!("{error:#}\nstill serving the version of {} of {since}", manifest.name)
                }
                None => format!("{error:#}"),
            }),
            Err(Failed::Ending) => return Err(Ending),
        }
        self.functions.insert(path.to_owned(), known);
        Ok(())
    }

    fn step(&mut self, path: &Path, known: &mut Known, noticed: Instant) -> Result<Step, Failed> {
        let begun = SystemTime::now();
        // As they are before they are read: what changes from here on is built once more.
        let mut inputs: Vec<PathBuf> = known.prints.paths().map(Path::to_owned).collect();
        if !inputs.iter().any(|input| input == path) {
            inputs.push(path.to_owned());
        }
        known.prints = Prints::take(inputs.iter().map(PathBuf::as_path));
        let manifest = Manifest::load(path, &self.off_limits).map_err(anyhow::Error::from)?;
        if !manifest.dev {
            (known.name, known.refused_name) = (None, None);
            known.prints.learn(vec![path.to_owned()], begun);
            return Ok(Step::LeftOut);
        }
        known.refused_name = Some(manifest.name.clone());
        self.only_one(path, &manifest.name)?;
        known.name = known.refused_name.take();
        say(&format!("building {}", manifest.name));
        let build_began = Instant::now();
        let home = path.parent().unwrap_or(&self.root);
        let Build { plugin, mut inputs } = self.builder.build(&manifest, home);
        inputs.push(path.to_owned());
        known.prints.learn(inputs, begun);
        let plugin =
            plugin.map_err(|error| error.context(format!("function {} cannot be built", manifest.name)))?;
        let build = build_began.elapsed();
        if known.serving.as_ref().is_some_and(|serving| serving.same(&manifest, &plugin)) {
            return Ok(Step::Same);
        }
        let (plugin, version) = self.versions.place(&manifest.name, &plugin)?;
        let mut deployed = Deployed::new(manifest.clone(), &plugin)?;
        deployed.mark_output = true;
        self.take_name(&manifest.name);
        known.told.insert(manifest.name.clone());
        match self.replace(deployed)? {
            Ok(Replaced { took }) => {
                let whole = noticed.elapsed();
                self.versions.keep_only(&manifest.name, Some(version));
                if known.serving.is_some() {
                    say(&format!(
                        "swapped {} in {} (build {}, load {})",
                        manifest.name,
                        Rounded(whole),
                        Rounded(build),
                        Rounded(took)
                    ));
                }
                known.told.retain(|told| {
                    let stays = *told == manifest.name;
                    if !stays {
                        self.remove(told);
                    }
                    stays
                });
                known.serving = Some(Serving { manifest, plugin, version, since: LocalTime::now() });
                Ok(Step::Serves)
            }
            Err(NotReplaced { reason, kept }) => {
                // What serves under another name goes on.
                let of_its_name = |serving: &Serving| serving.manifest.name == manifest.name;
                if !kept && known.serving.as_ref().is_some_and(of_its_name) {
                    known.serving = None;
                }
                // Without an older one, the daemon may try this one again.
                let older = known.serving.as_ref().filter(|serving| of_its_name(serving));
                let older = older.map(|serving| serving.version);
                self.versions.keep_only(&manifest.name, older.or(Some(version)));
                let reason = reason.trim_end_matches('.');
                Err(Failed::Said(anyhow::anyhow!("function {} cannot be served: {reason}", manifest.name)))
            }
        }
    }

    /// Whatever the daemon has under this name will be another function's: one that has been given another name
    /// serves under this one until it serves under that.
    fn take_name(&mut self, name: &str) {
        for other in self.functions.values_mut().filter(|other| other.told.contains(name)) {
            other.told.remove(name);
            other.serving.take_if(|serving| serving.manifest.name == name);
        }
    }

    /// No other manifest has this name.
    fn only_one(&self, path: &Path, name: &str) -> Result<()> {
        let other = self.functions.iter().find(|(_, known)| known.name.as_deref() == Some(name));
        if let Some((other, _)) = other {
            bail!("two functions are named {name}: in {} and in {}", other.display(), path.display());
        }
        Ok(())
    }

    /// Has a version served and waits for what becomes of it.
    fn replace(&self, function: Deployed) -> Result<Result<Replaced, NotReplaced>, Failed> {
        let (done, heard) = oneshot::channel();
        self.commands.send(Command::Replace { function: Box::new(function), done });
        heard.blocking_recv().map_err(|_| Failed::Ending)
    }
}

impl Serving {
    /// Whether a build came to what serves already.
    fn same(&self, manifest: &Manifest, plugin: &Path) -> bool {
        self.manifest == *manifest
            && matches!((fs::read(&self.plugin), fs::read(plugin)), (Ok(old), Ok(new)) if old == new)
    }
}

/// Why a function was not renewed.
enum Failed {
    /// Its author is told.
    Said(anyhow::Error),
    /// Nobody is there to serve it.
    Ending,
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Said(error)
    }
}

/// In which order functions are built, so that nobody waits for the slow ones: a C or C++ file takes a moment, a crate
/// longer, and one with a lock file of its own seldom shares what it depends on with others.
fn patience(manifest: &Path) -> u8 {
    let beside = |name: &str| manifest.with_file_name(name).is_file();
    u8::from(beside("Cargo.toml")) + u8::from(beside("Cargo.lock"))
}
