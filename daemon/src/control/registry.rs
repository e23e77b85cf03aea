//! The functions below a directory: found, read and checked, all or none.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::grants::Grants;
use hairtrigger_sandbox::limits::{INIT_TIMEOUT, MAX_FUNCTIONS, MAX_TREE_DEPTH};
use hairtrigger_sandbox::{FunctionKey, FunctionSpec};

use crate::config::Config;
use crate::manifest::{FILE_NAME, Isolation, Manifest, OffLimits, links};
use crate::settings::{self, BadSettings, Mistake, Mistakes};
use crate::shard::meter::CpuLimit;
use crate::shard::route::{Conflict, Router};
use crate::shard::version::Profile;

/// What tells one state of a file from another, as far as the file system does: device, inode, time of the last
/// change in nanoseconds, and size in bytes.
type Stamp = (u64, u64, i128, u64);

/// A function that can be loaded. Two are equal if loading one in place of the other would change nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deployed {
    pub(crate) manifest: Manifest,
    /// The directory that the function sees.
    pub(crate) directory: PathBuf,
    /// The plugin's file in it.
    pub(crate) library: String,
    /// Whether what it writes is told apart by invocation, which costs each a system call.
    pub(crate) mark_output: bool,
    stamp: Stamp,
    /// What stands at each path that it is granted: device and inode. Another there is another grant.
    granted: Vec<(u64, u64)>,
}

/// The manifests below `root`, in the order of their paths.
pub(crate) fn find(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(look(root)?.manifests)
}

/// Looks for manifests below `root`.
pub(crate) fn look(root: &Path) -> Result<Found> {
    let mut found = Found::default();
    walk(root, 0, &mut found)?;
    found.manifests.sort();
    Ok(found)
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of their paths.
    pub(crate) manifests: Vec<PathBuf>,
    /// Where was looked for them: a manifest may appear in each.
    pub(crate) directories: Vec<PathBuf>,
}

fn walk(directory: &Path, depth: usize, found: &mut Found) -> Result<()> {
    found.directories.push(directory.to_owned());
    let cannot = || format!("cannot read the directory {}", directory.display());
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name();
        let kind = entry.file_type().with_context(cannot)?;
        if kind.is_dir() {
            let hidden = name.to_string_lossy().starts_with('.');
            if !hidden && name != "target" && name != "node_modules" && depth < MAX_TREE_DEPTH {
                walk(&entry.path(), depth + 1, found)?;
            }
        } else if name == FILE_NAME {
            found.manifests.push(entry.path());
        }
    }
    Ok(())
}

/// Reads and checks every manifest below `root`; what is wrong is noted, and so are two of one name and
/// routes in conflict.
pub(crate) fn manifests(root: &Path, off_limits: &OffLimits, bad: &mut Mistakes) -> Vec<(PathBuf, Manifest)> {
    let paths = find(root).map_err(|error| Mistake::of(root, format_args!("{error:#}")).into());
    let paths = bad.note(paths).unwrap_or_default();
    if paths.len() > MAX_FUNCTIONS {
        let count = paths.len();
        bad.add(Mistake::of(
            root,
            format_args!("there are {count} functions; one daemon takes {MAX_FUNCTIONS}"),
        ));
        return Vec::new();
    }
    let read = |path: PathBuf| bad.note(Manifest::load(&path, off_limits)).map(|manifest| (path, manifest));
    let manifests: Vec<_> = paths.into_iter().filter_map(read).collect();
    let mut names: BTreeMap<&str, &PathBuf> = BTreeMap::new();
    for (path, manifest) in &manifests {
        if let Some(other) = names.insert(&manifest.name, path) {
            let (name, other) = (&manifest.name, other.display());
            bad.add(Mistake::of(path, format_args!("a function named {name} is already in {other}")));
        }
    }
    if names.len() == manifests.len()
        && let Some(conflict) = conflict(manifests.iter().map(|(_, manifest)| manifest))
    {
        let [(other, _), (name, _)] = &conflict.sides;
        let (path, other_path) = (names[&**name], names[&**other].display());
        bad.add(Mistake::of(path, format_args!("{conflict}; {other} is in {other_path}")));
    }
    manifests
}

/// Reads the functions of a configuration, which is in `file`: all of them, or what is wrong with any.
pub(crate) fn deployed(config: &Config, file: &Path) -> Result<Vec<Deployed>, BadSettings> {
    let mut bad = Mistakes::default();
    let root = &config.functions;
    let manifests = manifests(root, &OffLimits::of(config, Some(file)), &mut bad);
    let with_plugin = |(path, manifest): (PathBuf, Manifest)| {
        let Some(library) = &manifest.library else {
            let sentence = "serve needs the key library, the path of the plugin's file";
            return Err(Mistake::of(&path, sentence).into());
        };
        let file = path.parent().unwrap_or(root).join(library);
        Deployed::new(manifest, &file).map_err(|error| Mistake::of(&path, format_args!("{error:#}")).into())
    };
    let places: Vec<_> = manifests.iter().map(|(path, manifest)| Places::of(path, manifest)).collect();
    let read = |function| bad.note(with_plugin(function));
    let functions: Vec<Option<Deployed>> = manifests.into_iter().map(read).collect();
    let all: Vec<_> = places
        .iter()
        .zip(&functions)
        .filter_map(|(places, function)| Some((places, function.as_ref()?)))
        .collect();
    for mistake in keep_apart(&all) {
        bad.add(mistake);
    }
    bad.unless_any(functions.into_iter().flatten().collect())
}

/// Where a function comes from.
struct Places {
    manifest: PathBuf,
    /// The same, without links.
    real: PathBuf,
    /// The links that lead to it and to the plugin.
    links: Vec<PathBuf>,
}

impl Places {
    fn of(path: &Path, manifest: &Manifest) -> Self {
        let home = path.parent().unwrap_or(Path::new(""));
        let library = manifest.library.iter().map(|library| home.join(library));
        Self {
            manifest: path.to_owned(),
            real: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            links: library.chain([path.to_owned()]).flat_map(|path| links(&path)).collect(),
        }
    }
}

/// What is wrong with what functions see, read and write of each other. Whoever sees a manifest sees the secrets in it; whoever
/// writes a manifest, a plugin or a link to either puts something of his own there, with the other's grants.
fn keep_apart(all: &[(&Places, &Deployed)]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut shown: BTreeMap<&Path, Vec<&Deployed>> = BTreeMap::new();
    for (_, function) in all {
        shown.entry(&function.directory).or_default().push(function);
    }
    for (places, function) in all {
        let name = &function.manifest.name;
        let around = places.real.ancestors().filter_map(|directory| shown.get(directory)).flatten();
        if let Some(other) = around.copied().find(|other| other.manifest.name != *name) {
            let (other, directory) = (&other.manifest.name, other.directory.display());
            let what = format_args!(
                "function {other} would see it: its plugin is in {directory}, all of which it sees; functions lie beside \
                 each other"
            );
            mistakes.push(Mistake::of(&places.manifest, what));
        }
        let Grants { read, write, .. } = &function.manifest.grants;
        for granted in read {
            let in_it = |(other, _): &&(&Places, &Deployed)| {
                other.manifest != places.manifest && other.real.starts_with(granted)
            };
            if let Some((_, other)) = all.iter().find(in_it) {
                let (granted, other) = (granted.display(), &other.manifest.name);
                let what = format_args!("it must not read {granted}: the manifest of {other} is in it");
                mistakes.push(Mistake::of(&places.manifest, what));
            }
        }
        for granted in write {
            let touches = |(other, deployed): &(&Places, &Deployed)| {
                let (name, directory) = (&deployed.manifest.name, &deployed.directory);
                if granted.starts_with(directory) || directory.starts_with(granted) {
                    return Some(format!("the plugin of {name} is in {}", directory.display()));
                }
                if other.real.starts_with(granted) {
                    return Some(format!("the manifest of {name} is {}", other.real.display()));
                }
                let link = other.links.iter().find(|link| link.starts_with(granted))?;
                Some(format!("{} is a link to the plugin or the manifest of {name}", link.display()))
            };
            if let Some(why) = all.iter().find_map(touches) {
                let what = format_args!("it must not write to {}: {why}", granted.display());
                mistakes.push(Mistake::of(&places.manifest, what));
            }
        }
    }
    mistakes
}

/// Two routes that match the same requests, if there are such. The later one comes second.
fn conflict<'m>(manifests: impl Iterator<Item = &'m Manifest>) -> Option<Conflict> {
    let routes = (0_u32..).zip(manifests);
    Router::new(routes.map(|(key, manifest)| (key, &*manifest.name, manifest.routes.as_ref()))).err()
}

impl Deployed {
    /// A function whose plugin is `file`.
    pub(crate) fn new(manifest: Manifest, file: &Path) -> Result<Self> {
        let file =
            fs::canonicalize(file).with_context(|| format!("there is no plugin {}", file.display()))?;
        let (Some(directory), Some(library)) = (file.parent(), file.file_name()) else {
            bail!("{} is no file", file.display());
        };
        let library = library.to_string_lossy().into_owned();
        let cannot = || format!("the plugin {} cannot be read", file.display());
        let facts = settings::open(&file).and_then(|file| file.metadata()).with_context(cannot)?;
        if !facts.is_file() {
            bail!("{} is no file", file.display());
        }
        let changed = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
        let stamp = (facts.dev(), facts.ino(), changed, facts.size());
        let granted = manifest.grants.read.iter().chain(&manifest.grants.write).map(|path| {
            let facts = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
            Ok((facts.dev(), facts.ino()))
        });
        let granted = granted.collect::<Result<_>>()?;
        Ok(Self { manifest, directory: directory.to_owned(), library, mark_output: false, stamp, granted })
    }

    /// As the sandbox takes it.
    pub(crate) fn spec(&self, key: FunctionKey, uid: u32) -> FunctionSpec {
        let Manifest { name, memory, cpu, max_request, max_response, concurrency, env, grants, .. } =
            &self.manifest;
        FunctionSpec {
            key,
            name: name.clone(),
            directory: self.directory.clone(),
            library: self.library.clone(),
            uid,
            memory: *memory,
            cpu: *cpu,
            max_workers: concurrency.max,
            max_request: *max_request,
            max_response: *max_response,
            environment: env.iter().cloned().collect(),
            grants: grants.clone(),
            init_timeout: INIT_TIMEOUT,
            mark_output: self.mark_output,
        }
    }

    /// As a shard takes it.
    pub(crate) fn profile(&self) -> Profile {
        let Manifest {
            name, routes, timeout, cpu_time, grants, max_request, max_response, concurrency, ..
        } = &self.manifest;
        Profile {
            name: name.as_str().into(),
            routes: routes.clone(),
            timeout: *timeout,
            cpu_limit: cpu_time.map(|time| CpuLimit { time, threads: grants.threads + 1 }),
            threads: grants.threads,
            max_request: *max_request,
            max_response: *max_response,
            idempotent: self.manifest.idempotent,
            provisioned: u16::try_from(concurrency.provisioned).unwrap_or(u16::MAX),
            max: u16::try_from(concurrency.max).unwrap_or(u16::MAX),
            queue: concurrency.queue,
            rate: concurrency.rate,
            idle: concurrency.idle,
            fresh: self.manifest.isolation == Isolation::Fresh,
        }
    }
}
