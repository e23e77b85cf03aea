//! `function.toml`: what a function is and may use.

mod allow;
mod rate;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hairtrigger_sandbox::grants::Grants;
use hairtrigger_sandbox::limits::{
    DEFAULT_CONCURRENCY, DEFAULT_IDLE, DEFAULT_MAX_REQUEST, DEFAULT_MAX_RESPONSE, DEFAULT_MEMORY,
    DEFAULT_PROVISIONED, DEFAULT_QUEUE, DEFAULT_TIMEOUT, DEFAULT_UNLOAD, MAX_CPU, MAX_ENV, MAX_ENV_BYTES,
    MAX_FUNCTION_NAME, MAX_IDLE, MAX_MEMORY, MAX_QUEUE, MAX_REQUEST, MAX_RESPONSE, MAX_ROUTES, MAX_THREADS,
    MAX_TIMEOUT, MAX_UNLOAD, MAX_WORKERS, MIN_CPU, MIN_IDLE, MIN_MEMORY, MIN_TIMEOUT, MIN_UNLOAD,
};

pub(crate) use allow::{May, OffLimits, links};

use crate::settings::{self, BadSettings, Document, Mistakes, Setting};
use crate::shard::admission::Rate;
use crate::shard::route::Pattern;
use crate::units::{Size, parse_size};

/// The name of the file.
pub(crate) const FILE_NAME: &str = "function.toml";

const KEYS: &[&str] = &[
    "name",
    "library",
    "source",
    "routes",
    "timeout",
    "memory",
    "cpu",
    "cpu_time",
    "threads",
    "max_request",
    "max_response",
    "isolation",
    "idempotent",
    "dev",
    "concurrency",
    "allow",
    "env",
];
const CONCURRENCY_KEYS: &[&str] =
    &["provisioned", "reserved", "max", "queue", "rate", "burst", "idle", "unload"];

/// What a function is and may use, every value within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// `[a-z0-9][a-z0-9-]*`, also the first segment of its path.
    pub(crate) name: String,
    /// The plugin, as written: relative paths begin at the manifest's directory.
    pub(crate) library: Option<PathBuf>,
    /// What `hairtrigger dev` builds the plugin from (a C file or a crate's directory), as written.
    pub(crate) source: Option<PathBuf>,
    /// Which requests are its; `None`: those for the path of its name, and all below it.
    pub(crate) routes: Option<Arc<[Pattern]>>,
    /// Longest time of one invocation.
    pub(crate) timeout: Duration,
    /// Memory of one worker, in bytes.
    pub(crate) memory: u64,
    /// CPU bandwidth of all its workers together, in cores; `None`: no limit.
    pub(crate) cpu: Option<f64>,
    /// Most CPU time of one invocation; `None`: no limit but that of time.
    pub(crate) cpu_time: Option<Duration>,
    /// Longest body of a request, in bytes.
    pub(crate) max_request: u64,
    /// Longest body of a response, in bytes.
    pub(crate) max_response: u64,
    /// What becomes of a worker between invocations.
    pub(crate) isolation: Isolation,
    /// Whether an invocation whose worker ends by chance may be tried once more.
    pub(crate) idempotent: bool,
    /// Whether `hairtrigger dev` serves it.
    pub(crate) dev: bool,
    /// How many at once.
    pub(crate) concurrency: Concurrency,
    /// What it may touch beyond nothing.
    pub(crate) grants: Grants,
    /// Its environment, in the order of the file.
    pub(crate) env: Vec<(String, String)>,
}

/// What becomes of a worker between invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// It serves the next one as it is.
    Reuse,
    /// It ends: each invocation has a worker of its own, forked before it came.
    Fresh,
}

/// How many workers, how long a queue, and how many requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Concurrency {
    /// Workers kept warm; at most `max`.
    pub(crate) provisioned: u32,
    /// Workers that the host keeps free for it; at most `max`.
    pub(crate) reserved: u32,
    /// Most workers.
    pub(crate) max: u32,
    /// Most invocations that wait for one.
    pub(crate) queue: u32,
    /// Most requests in a time; `None`: no limit.
    pub(crate) rate: Option<Rate>,
    /// How long a worker stays without work, if it is not kept warm.
    pub(crate) idle: Duration,
    /// How long the template stays without workers, if none is kept warm.
    pub(crate) unload: Duration,
}

impl Manifest {
    /// Reads and checks the manifest at `path`.
    pub(crate) fn load(path: &Path, off_limits: &OffLimits) -> Result<Self, BadSettings> {
        Self::parse(path, &settings::read(path)?, off_limits)
    }

    /// Checks a manifest's text. `path` is for messages, and where granted paths begin.
    pub(crate) fn parse(path: &Path, text: &str, off_limits: &OffLimits) -> Result<Self, BadSettings> {
        let document = Document { path, text };
        let table = document.parse()?;
        let mut bad = Mistakes::default();
        let top = document.top(&table, KEYS, &mut bad);
        let name_rule =
            format!("1 to {MAX_FUNCTION_NAME} letters a-z, digits and hyphens, with no hyphen first");
        let name = top.require("name", &name_rule).and_then(|name| name.text(&name_rule, valid_name));
        let manifest = Self {
            // Without one, the manifest is refused below.
            name: bad.note(name).unwrap_or_default(),
            library: bad.read(&top, "library", Setting::path),
            source: bad.read(&top, "source", Setting::path),
            routes: routes(top.get("routes"), &mut bad),
            timeout: bad
                .read(&top, "timeout", |setting| setting.time(MIN_TIMEOUT, MAX_TIMEOUT))
                .unwrap_or(DEFAULT_TIMEOUT),
            memory: bad.read(&top, "memory", |s| size(s, MIN_MEMORY, MAX_MEMORY)).unwrap_or(DEFAULT_MEMORY),
            cpu: bad.read(&top, "cpu", cores),
            cpu_time: bad.read(&top, "cpu_time", |setting| setting.time(MIN_TIMEOUT, MAX_TIMEOUT)),
            max_request: bad
                .read(&top, "max_request", |s| size(s, 0, MAX_REQUEST))
                .unwrap_or(DEFAULT_MAX_REQUEST),
            max_response: bad
                .read(&top, "max_response", |s| size(s, 0, MAX_RESPONSE))
                .unwrap_or(DEFAULT_MAX_RESPONSE),
            isolation: bad.read(&top, "isolation", isolation).unwrap_or(Isolation::Reuse),
            idempotent: bad.read(&top, "idempotent", Setting::boolean).unwrap_or(false),
            dev: bad.read(&top, "dev", Setting::boolean).unwrap_or(true),
            concurrency: concurrency(top.get("concurrency"), &mut bad),
            grants: Grants {
                threads: bad.read(&top, "threads", |s| s.count(0, MAX_THREADS.into(), "")).unwrap_or(0),
                ..allow::allow(top.get("allow"), path, off_limits, &mut bad)
            },
            env: environment(top.get("env"), &mut bad),
        };
        bad.unless_any(manifest)
    }
}

fn valid_name(name: &str) -> Option<String> {
    let allowed = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let valid = allowed && !name.is_empty() && !name.starts_with('-') && name.len() <= MAX_FUNCTION_NAME;
    valid.then(|| name.to_owned())
}

/// What is wrong with a route is said where it stands.
fn routes(setting: Option<Setting<'_>>, bad: &mut Mistakes) -> Option<Arc<[Pattern]>> {
    let setting = setting?;
    let elements = setting.elements().filter(|elements| elements.len() <= MAX_ROUTES);
    let elements = elements.ok_or_else(|| {
        setting.refuse(format_args!("an array of at most {MAX_ROUTES} routes like \"GET /users/{{id}}\""))
    });
    let route = |element: &Setting<'_>| {
        let text = element.as_str().ok_or_else(|| element.refuse("strings like \"GET /users/{id}\""))?;
        Pattern::parse(text)
            .map_err(|rule| element.refuse(format_args!("patterns, and a pattern must {rule}")))
    };
    Some(bad.note(elements)?.iter().filter_map(|element| bad.note(route(element))).collect())
}

/// A number of bytes, or a string with a unit.
fn size(setting: &Setting<'_>, least: u64, most: u64) -> Result<u64, BadSettings> {
    let value = setting.as_u64().or_else(|| setting.as_str().and_then(parse_size));
    value.filter(|size| (least..=most).contains(size)).ok_or_else(|| {
        let (least, most) = (Size(least), Size(most));
        setting.refuse(format_args!(
            "a size from {least} to {most} like \"64MiB\", \"512KiB\" or a number of bytes"
        ))
    })
}

fn cores(setting: &Setting<'_>) -> Result<f64, BadSettings> {
    let value = setting.as_f64().filter(|cores| (MIN_CPU..=MAX_CPU).contains(cores));
    value.ok_or_else(|| setting.refuse(format_args!("a number of cores from {MIN_CPU} to {MAX_CPU}")))
}

fn isolation(setting: &Setting<'_>) -> Result<Isolation, BadSettings> {
    setting.text("\"reuse\" or \"fresh\"", |text| match text {
        "reuse" => Some(Isolation::Reuse),
        "fresh" => Some(Isolation::Fresh),
        _ => None,
    })
}

fn concurrency(setting: Option<Setting<'_>>, bad: &mut Mistakes) -> Concurrency {
    let mut concurrency = Concurrency {
        provisioned: DEFAULT_PROVISIONED,
        reserved: 0,
        max: DEFAULT_CONCURRENCY,
        queue: DEFAULT_QUEUE,
        rate: None,
        idle: DEFAULT_IDLE,
        unload: DEFAULT_UNLOAD,
    };
    let section = setting.map(|setting| setting.section(CONCURRENCY_KEYS, bad));
    let Some(section) = section.and_then(|section| bad.note(section)) else { return concurrency };
    let queue = bad.read(&section, "queue", |queue| queue.count(0, MAX_QUEUE as u64, ""));
    concurrency.queue = queue.unwrap_or(concurrency.queue);
    concurrency.rate = rate::rate(&section, bad);
    let idle = bad.read(&section, "idle", |idle| idle.time(MIN_IDLE, MAX_IDLE));
    concurrency.idle = idle.unwrap_or(concurrency.idle);
    let unload = bad.read(&section, "unload", |unload| unload.time(MIN_UNLOAD, MAX_UNLOAD));
    concurrency.unload = unload.unwrap_or(concurrency.unload);
    if let Some(max) = section.get("max") {
        // What is wrong with max says nothing about provisioned.
        let Some(max) = bad.note(max.count(1, MAX_WORKERS as u64, "")) else { return concurrency };
        concurrency.max = max;
    }
    let most = u64::from(concurrency.max);
    let provisioned =
        bad.read(&section, "provisioned", |provisioned| provisioned.count(0, most, ", which is max"));
    concurrency.provisioned = provisioned.unwrap_or(concurrency.provisioned);
    let reserved = bad.read(&section, "reserved", |reserved| reserved.count(0, most, ", which is max"));
    concurrency.reserved = reserved.unwrap_or(concurrency.reserved);
    concurrency
}

fn environment(setting: Option<Setting<'_>>, bad: &mut Mistakes) -> Vec<(String, String)> {
    let Some(setting) = setting else { return Vec::new() };
    let Some(section) = bad.note(setting.any_section()) else { return Vec::new() };
    let entries = section.entries();
    if entries.len() > MAX_ENV {
        let most = format_args!("a table of at most {MAX_ENV} variables");
        bad.note::<()>(Err(setting.refuse(most)));
        return Vec::new();
    }
    entries.iter().filter_map(|entry| bad.note(variable(entry))).collect()
}

fn variable(entry: &Setting<'_>) -> Result<(String, String), BadSettings> {
    let name = entry.key;
    let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() || !allowed || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(entry.refuse("named with letters, digits and underscores, with no digit first"));
    }
    // They would steer the dynamic linker of the runner, before it is confined.
    if name.starts_with("LD_") || name.starts_with("GLIBC_") {
        return Err(entry.refuse("left out: variables LD_* and GLIBC_* steer the dynamic linker"));
    }
    let expected = format!("a string without NUL that makes, with its name, at most {MAX_ENV_BYTES} bytes");
    let value = entry.text(expected, |value| {
        (!value.contains('\0') && name.len() + value.len() <= MAX_ENV_BYTES).then(|| value.to_owned())
    })?;
    Ok((name.to_owned(), value))
}

/// What must hold of any text: one that is taken has every value within its bounds, and reads the same again.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(file: &Path, text: &str) -> Result<(), BadSettings> {
    use hairtrigger_sandbox::limits::{MAX_BURST, MAX_RATE, MIN_RATE};

    let manifest = Manifest::parse(file, text, &OffLimits::default())?;
    let Manifest { name, timeout, memory, cpu, max_request, max_response, concurrency, .. } = &manifest;
    assert_eq!(valid_name(name).as_ref(), Some(name));
    assert!((MIN_TIMEOUT..=MAX_TIMEOUT).contains(timeout) && (MIN_MEMORY..=MAX_MEMORY).contains(memory));
    assert!(*max_request <= MAX_REQUEST && *max_response <= MAX_RESPONSE);
    assert!(cpu.is_none_or(|cores| (MIN_CPU..=MAX_CPU).contains(&cores)));
    let Concurrency { provisioned, reserved, max, queue, rate, idle, unload } = *concurrency;
    assert!(rate.is_none_or(|rate| (MIN_RATE..=MAX_RATE).contains(&rate.per_second())));
    assert!(rate.is_none_or(|rate| (1..=MAX_BURST).contains(&rate.burst())));
    assert!((MIN_IDLE..=MAX_IDLE).contains(&idle) && (MIN_UNLOAD..=MAX_UNLOAD).contains(&unload));
    assert!(
        provisioned <= max
            && reserved <= max
            && (1..=MAX_WORKERS).contains(&(max as usize))
            && queue as usize <= MAX_QUEUE
    );
    assert!(manifest.routes.as_ref().is_none_or(|routes| routes.len() <= MAX_ROUTES));
    assert!(manifest.env.len() <= MAX_ENV);
    for (name, value) in &manifest.env {
        assert!(!name.starts_with("LD_") && !name.starts_with("GLIBC_") && !name.contains('='), "{name}");
        assert!(!name.is_empty() && !value.contains('\0') && name.len() + value.len() <= MAX_ENV_BYTES);
    }
    assert_eq!(Manifest::parse(file, text, &OffLimits::default()).as_ref(), Ok(&manifest));
    Ok(())
}
