//! `function.toml`: what a function is and may use.

mod allow;
mod rate;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(Path::new("function.toml"), text, &OffLimits::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_enough() {
        let expected = Manifest {
            name: "hello".to_owned(),
            library: None,
            source: None,
            routes: None,
            timeout: Duration::from_secs(3),
            memory: 128 << 20,
            cpu: None,
            cpu_time: None,
            max_request: 6 << 20,
            max_response: 6 << 20,
            isolation: Isolation::Reuse,
            idempotent: false,
            dev: true,
            concurrency: Concurrency {
                provisioned: 1,
                reserved: 0,
                max: 16,
                queue: 256,
                rate: None,
                idle: Duration::from_mins(1),
                unload: Duration::from_mins(10),
            },
            grants: Grants::default(),
            env: vec![],
        };
        assert_eq!(parse("name = 'hello'"), Ok(expected));
    }

    #[test]
    fn everything_can_be_said() {
        let text = r#"
            name = "thumb-2"
            library = "libthumb.so"
            source = "."
            routes = ["GET /thumb/{name}", "example.org/"]
            timeout = "500ms"
            memory = "64MiB"
            cpu = 1.5
            cpu_time = "200ms"
            threads = 4
            max_request = 1_000
            max_response = "1GiB"
            isolation = "fresh"
            idempotent = true
            dev = false
            env = { Z = "last letter first", _a1 = "" }
            [concurrency]
            provisioned = 0
            reserved = 3
            max = 0x10
            queue = 0
            rate = 2.5
            burst = 40
            idle = "1500ms"
            unload = "2h"
            [allow]
            read = []
            connect = [5432]
        "#;
        let expected = Manifest {
            name: "thumb-2".to_owned(),
            library: Some("libthumb.so".into()),
            source: Some(".".into()),
            routes: Some(
                ["GET /thumb/{name}", "example.org/"].map(|route| Pattern::parse(route).unwrap()).into(),
            ),
            timeout: Duration::from_millis(500),
            memory: 64 << 20,
            cpu: Some(1.5),
            cpu_time: Some(Duration::from_millis(200)),
            max_request: 1000,
            max_response: 1 << 30,
            isolation: Isolation::Fresh,
            idempotent: true,
            dev: false,
            concurrency: Concurrency {
                provisioned: 0,
                reserved: 3,
                max: 16,
                queue: 0,
                rate: Some(Rate::new(2.5, 40)),
                idle: Duration::from_millis(1500),
                unload: Duration::from_hours(2),
            },
            grants: Grants { connect: vec![5432], threads: 4, ..Grants::default() },
            env: vec![("Z".into(), "last letter first".into()), ("_a1".into(), String::new())],
        };
        assert_eq!(parse(text), Ok(expected));
        let rate =
            |text: &str| parse(&format!("name = 'a'\nconcurrency.rate = {text}")).unwrap().concurrency.rate;
        assert_eq!(["0.001", "7", "7.5"].map(|text| rate(text).unwrap().burst()), [1, 7, 8], "one second's");
        assert_eq!(parse("name = 'a'\ncpu = 0x10").map(|manifest| manifest.cpu), Ok(Some(16.0)));
    }

    /// What is said of each mistake, word by word.
    #[test]
    fn mistakes() {
        for (text, error) in [
            (
                "",
                "1:1: the key name is missing; it must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first.",
            ),
            (
                "name = 'Hello'",
                "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found \"Hello\".",
            ),
            (
                "name = '-a'",
                "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found \"-a\".",
            ),
            (
                "name = 7",
                "1:8: name must be 1 to 64 letters a-z, digits and hyphens, with no hyphen first; found 7.",
            ),
            ("name = 'a'\nmemroy = 1", "2:1: there is no key memroy here; did you mean memory?"),
            (
                "name = 'a'\n  colour = 1\naardvark = 1",
                "2:3: there is no key colour here; the keys are name, library, source, routes, timeout, memory, cpu, \
                 cpu_time, threads, max_request, max_response, isolation, idempotent, dev, concurrency, allow, env.\n\
                 function.toml:3:1: there is no key aardvark here; the keys are name, library, source, routes, timeout, \
                 memory, cpu, cpu_time, threads, max_request, max_response, isolation, idempotent, dev, concurrency, \
                 allow, env.",
            ),
            (
                "timeout = 3\nmemroy = 1\n[concurrency]\nmax = 0\nprovisioned = 2\nqueue = -1\n[env]\nLD_A = ''\nB = 1",
                "1:1: the key name is missing; it must be 1 to 64 letters a-z, digits and hyphens, with no hyphen \
                 first.\n\
                 function.toml:1:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; \
                 found 3.\n\
                 function.toml:2:1: there is no key memroy here; did you mean memory?\n\
                 function.toml:4:7: max must be a whole number from 1 to 1024; found 0.\n\
                 function.toml:6:9: queue must be a whole number from 0 to 4096; found -1.\n\
                 function.toml:8:8: LD_A must be left out: variables LD_* and GLIBC_* steer the dynamic linker; \
                 found \"\".\n\
                 function.toml:9:5: B must be a string without NUL that makes, with its name, at most 32768 bytes; \
                 found 1.",
            ),
            (
                "name = 'a'\n[concurrency]\nmaximum = 1",
                "3:1: there is no key maximum in [concurrency]; the keys are provisioned, reserved, max, queue, rate, \
                 burst, idle, unload.",
            ),
            (
                "name = 'a'\n[concurrency]\nqueu = 1",
                "3:1: there is no key queu in [concurrency]; did you mean queue?",
            ),
            (
                "name = 'a'\ntimeout = '3 s'",
                "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"3 s\".",
            ),
            (
                "name = 'a'\ntimeout = '1h'",
                "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"1h\".",
            ),
            (
                "name = 'a'\ntimeout = 3",
                "2:11: timeout must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found 3.",
            ),
            (
                "name = 'a'\nmemory = '64MB'",
                "2:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
                 found \"64MB\".",
            ),
            (
                "name = 'a'\nmemory = 1",
                "2:10: memory must be a size from 4MiB to 64GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
                 found 1.",
            ),
            (
                "name = 'a'\nmax_request = -1",
                "2:15: max_request must be a size from 0B to 1GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
                 found -1.",
            ),
            (
                "name = 'a'\nmax_response = []",
                "2:16: max_response must be a size from 0B to 1GiB like \"64MiB\", \"512KiB\" or a number of bytes; \
                 found an array.",
            ),
            ("name = 'a'\ncpu = 0", "2:7: cpu must be a number of cores from 0.01 to 1024; found 0."),
            (
                "name = 'a'\ncpu_time = '0s'",
                "2:12: cpu_time must be a time from 1ms to 15m like \"500ms\", \"3s\" or \"2m\"; found \"0s\".",
            ),
            ("name = 'a'\ncpu = nan", "2:7: cpu must be a number of cores from 0.01 to 1024; found nan."),
            ("name = 'a'\nthreads = 65", "2:11: threads must be a whole number from 0 to 64; found 65."),
            ("name = 'a'\ncpu = '1'", "2:7: cpu must be a number of cores from 0.01 to 1024; found \"1\"."),
            (
                "name = 'a'\nisolation = 'scrub'",
                "2:13: isolation must be \"reuse\" or \"fresh\"; found \"scrub\".",
            ),
            ("name = 'a'\ndev = 'no'", "2:7: dev must be true or false; found \"no\"."),
            ("name = 'a'\nlibrary = ''", "2:11: library must be a path; found \"\"."),
            ("name = 'a'\nsource = {}", "2:10: source must be a path; found a table."),
            (
                "name = 'a'\nroutes = '/a'",
                "2:10: routes must be an array of at most 64 routes like \"GET /users/{id}\"; found \"/a\".",
            ),
            (
                "name = 'a'\nroutes = [7,\n  '/a',\n  'GET b']",
                "2:11: routes must be strings like \"GET /users/{id}\"; found 7.\n\
                 function.toml:4:3: routes must be patterns, and a pattern must have a path, which begins with a slash; \
                 found \"GET b\".",
            ),
            ("name = 'a'\nconcurrency = 4", "2:15: concurrency must be a table; found 4."),
            (
                "name = 'a'\n[concurrency]\nmax = 0",
                "3:7: max must be a whole number from 1 to 1024; found 0.",
            ),
            (
                "name = 'a'\n[concurrency]\nqueue = 1.5",
                "3:9: queue must be a whole number from 0 to 4096; found 1.5.",
            ),
            (
                "name = 'a'\n[concurrency]\nrate = 0",
                "3:8: rate must be a number of requests a second from 0.001 to 1000000; found 0.",
            ),
            (
                "name = 'a'\n[concurrency]\nrate = '10/s'\nburst = 0",
                "3:8: rate must be a number of requests a second from 0.001 to 1000000; found \"10/s\".\n\
                 function.toml:4:9: burst must be a whole number from 1 to 1000000; found 0.",
            ),
            (
                "name = 'a'\n[concurrency]\nburst = 5",
                "3:9: burst must be left out where there is no rate; found 5.",
            ),
            (
                "name = 'a'\n[concurrency]\nmax = 2\nprovisioned = 3",
                "4:15: provisioned must be a whole number from 0 to 2, which is max; found 3.",
            ),
            (
                "name = 'a'\nenv = { é1 = 'ü' }",
                "2:9: invalid unquoted key, expected letters, numbers, `-`, `_`.",
            ),
            (
                "name = 'a'\n# é\nenv = { 'é' = 'ü' }",
                "3:15: é must be named with letters, digits and underscores, with no digit first; found \"ü\".",
            ),
            (
                "name = 'a'\nenv = { 1a = 'x' }",
                "2:14: 1a must be named with letters, digits and underscores, with no digit first; found \"x\".",
            ),
            (
                "name = 'a'\nenv = { A = 1 }",
                "2:13: A must be a string without NUL that makes, with its name, at most 32768 bytes; found 1.",
            ),
            (
                "name = 'a'\nenv = { A = \"a\\u0000\" }",
                "2:13: A must be a string without NUL that makes, with its name, at most 32768 bytes; \
                 found \"a\\0\".",
            ),
            (
                "name = 'a'\nenv = { LD_PRELOAD = 'x' }",
                "2:22: LD_PRELOAD must be left out: variables LD_* and GLIBC_* steer the dynamic linker; found \"x\".",
            ),
            ("name = 'a'\nname = 'b'", "2:1: duplicate key."),
            ("name = ", "1:8: string values must be quoted, expected literal string."),
            ("name = 'a'\n]", "2:1: missing table open, expected `[`."),
        ] {
            assert_eq!(parse(text), Err(format!("function.toml:{error}")), "{text:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Manifest::load(Path::new("/no/such/function.toml"), &OffLimits::default())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "/no/such/function.toml: cannot be opened: No such file or directory (os error 2)."
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_line_by_line(
            text in prop_oneof![
                any::<String>(),
                prop::collection::vec(prop::sample::select(vec![
                    "name", "timeout", "memory", "env", "[concurrency]", "max", "=", "'a'", "\"3s\"", "1", "-1", "1.5",
                    "{", "}", "[", "]", "\n", ".", ",", "é", "\u{0}", "0x", "inf", "1979-05-27", "true", "'''",
                ]), 0..24).prop_map(|words| words.join(" ")),
            ],
        ) {
            if let Err(error) = parse(&text) {
                for line in error.lines() {
                    prop_assert!(line.starts_with("function.toml:") && line.ends_with(['.', '?']), "{line}");
                }
            }
        }
    }
}
