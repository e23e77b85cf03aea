//! The daemon's configuration: what `hairtrigger serve` reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use hairtrigger_sandbox::level::Level;
use hairtrigger_sandbox::limits::{
    LEAST_CONNECTIONS, MAX_ADDRESSES, MAX_CGROUP_NAME, MAX_CONNECTIONS, MAX_HOST_WORKERS, MAX_PHASE,
    MAX_SHARDS, MAX_SOCKET_PATH, MIN_PHASE, MIN_UID_BASE, RING_MEMORY, UID_BASE, UID_COUNT,
};

use crate::settings::{self, BadSettings, Document, Mistakes, Section, Setting};
use crate::shard::Timeouts;
use crate::shard::ring::lockable_memory;

mod group;

/// Where the configuration is unless something else is said.
pub(crate) const DEFAULT_FILE: &str = "/etc/hairtrigger/hairtrigger.toml";

const KEYS: &[&str] = &[
    "functions",
    "listen",
    "socket",
    "socket_group",
    "admin",
    "state",
    "run",
    "cgroup",
    "uid_base",
    "uid_count",
    "shards",
    "level",
    "max_connections",
    "max_workers",
    "report",
    "timeouts",
];
const TIMEOUT_KEYS: &[&str] = &["head", "body", "write", "idle", "drain"];

/// The first uid of no use: 2³² − 1 means "none" to the kernel.
const NO_UID: u64 = u32::MAX as u64;

/// The daemon's configuration, every value within its bounds. Relative paths in the file begin at its
/// directory; here they do so already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The tree of directories with a `function.toml` each.
    pub(crate) functions: PathBuf,
    /// Where HTTP is served by TCP.
    pub(crate) listen: Vec<SocketAddr>,
    /// The unix socket where HTTP is served.
    pub(crate) socket: Option<PathBuf>,
    /// The group that may use it; `None`: the daemon's own.
    pub(crate) socket_group: Option<u32>,
    /// The unix socket of the administration.
    pub(crate) admin: Option<PathBuf>,
    /// What the daemon remembers between starts.
    pub(crate) state: PathBuf,
    /// Where its sockets are unless something else is said.
    pub(crate) run: PathBuf,
    /// The name of the daemon's own control group.
    pub(crate) cgroup: String,
    /// The first uid that functions are given.
    pub(crate) uid_base: u32,
    /// How many uids, from the first on.
    pub(crate) uid_count: u32,
    /// Threads of the data plane.
    pub(crate) shards: u16,
    /// What must be enforced.
    pub(crate) level: Level,
    /// Most connections at a time; `None`: what descriptors and memory allow.
    pub(crate) max_connections: Option<u32>,
    /// Most workers of all functions together; `None`: as many as each may have.
    pub(crate) max_workers: Option<u32>,
    /// Whether the log has a line of each invocation.
    pub(crate) report: bool,
    /// How long clients may take.
    pub(crate) timeouts: Timeouts,
}

/// Where a configuration comes from: for the start, and for each time it is read again.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// A directory for everything that the daemon writes, whatever the file says.
    pub(crate) state: Option<PathBuf>,
}

impl Origin {
    /// Reads and checks the configuration.
    pub(crate) fn load(&self) -> Result<Config, BadSettings> {
        self.parse(&settings::read(&self.file)?, None)
    }

    /// Reads and checks it for a daemon that runs: what cannot change in one must be as it is.
    pub(crate) fn reload(&self, running: &Config) -> Result<Config, BadSettings> {
        self.parse(&settings::read(&self.file)?, Some(running))
    }

    fn parse(&self, text: &str, running: Option<&Config>) -> Result<Config, BadSettings> {
        let document = Document { path: &self.file, text };
        let table = document.parse()?;
        let mut bad = Mistakes::default();
        let top = document.top(&table, KEYS, &mut bad);
        let home = self.file.parent().unwrap_or(Path::new(""));
        let path = |setting: &Setting<'_>| setting.path().map(|path| home.join(path));

        let functions = top.require("functions", "the path of a directory of functions");
        let functions = bad.note(functions.and_then(|setting| path(&setting)));
        // Without it, the configuration is refused below.
        let mut config = Config::for_functions(functions.unwrap_or_default());
        if let Some(listen) = bad.read(&top, "listen", addresses) {
            config.listen = listen;
        }
        if let Some(state) = bad.read(&top, "state", path) {
            config.set_state(state);
        }
        if let Some(run) = bad.read(&top, "run", path) {
            config.set_run(run);
        }
        let socket_or_none = |setting: &Setting<'_>| match setting.is_false() {
            true => Ok(None),
            false => path(setting).map(Some).map_err(|_| setting.refuse("a path or false")),
        };
        let socket = bad.read(&top, "socket", socket_or_none);
        let admin = bad.read(&top, "admin", socket_or_none);
        config.socket = socket.clone().unwrap_or(config.socket);
        config.admin = admin.clone().unwrap_or(config.admin);
        if let Some(state) = &self.state {
            config.set_state(state.clone());
            config.socket = config.socket.filter(|_| socket != Some(None));
            config.admin = config.admin.filter(|_| admin != Some(None));
        }
        config.socket_group = bad.read(&top, "socket_group", group);
        if let Some(cgroup) = bad.read(&top, "cgroup", cgroup) {
            config.cgroup = cgroup;
        }
        uids(&top, &mut config, &mut bad);
        if let Some(shards) = bad.read(&top, "shards", |shards| shards.count(1, MAX_SHARDS as u64, "")) {
            config.shards = u16::try_from(shards).unwrap_or(u16::MAX);
        }
        if let Some(level) = bad.read(&top, "level", level) {
            config.level = level;
        }
        let (least, most) = (LEAST_CONNECTIONS as u64, (MAX_SHARDS * MAX_CONNECTIONS) as u64);
        config.max_connections = bad.read(&top, "max_connections", |s| s.count(least, most, ""));
        config.max_workers = bad.read(&top, "max_workers", |s| s.count(1, MAX_HOST_WORKERS as u64, ""));
        config.report = bad.read(&top, "report", Setting::boolean).unwrap_or(false);
        config.timeouts = timeouts(top.get("timeouts"), &mut bad);

        check_sockets(&top, &config, &mut bad);
        if let Some(running) = running {
            refuse_changes(&top, &config, running, &mut bad);
        }
        bad.unless_any(config)
    }
}

impl Config {
    /// The defaults, for functions below `functions`.
    pub(crate) fn for_functions(functions: PathBuf) -> Self {
        let mut config = Self {
            functions,
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)],
            socket: None,
            socket_group: None,
            admin: None,
            state: PathBuf::from("/var/lib/hairtrigger"),
            run: PathBuf::new(),
            cgroup: "hairtrigger".to_owned(),
            uid_base: UID_BASE,
            uid_count: UID_COUNT,
            shards: usual_shards(),
            level: Level::Full,
            max_connections: None,
            max_workers: None,
            report: false,
            timeouts: Timeouts::default(),
        };
        config.set_run(PathBuf::from("/run/hairtrigger"));
        config
    }

    /// Puts everything that the daemon writes below one directory.
    pub(crate) fn set_state(&mut self, state: PathBuf) {
        self.set_run(state.join("run"));
        self.state = state;
    }

    fn set_run(&mut self, run: PathBuf) {
        self.socket = Some(run.join("hairtrigger.sock"));
        self.admin = Some(run.join("admin.sock"));
        self.run = run;
    }
}

/// A shard for each core that this process may use, if there is the memory for their rings.
fn usual_shards() -> u16 {
    let cores = available_parallelism().map_or(1, usize::from);
    shards(cores, lockable_memory().unwrap_or(u64::MAX))
}

/// As many shards as there are cores and half of the lockable memory has room for: the user may have other daemons.
fn shards(cores: usize, lockable: u64) -> u16 {
    let room = usize::try_from(lockable / 2 / RING_MEMORY).unwrap_or(usize::MAX);
    u16::try_from(cores.min(room).clamp(1, MAX_SHARDS)).unwrap_or(1)
}

/// One address, several, or "none".
fn addresses(setting: &Setting<'_>) -> Result<Vec<SocketAddr>, BadSettings> {
    let one = |setting: &Setting<'_>| {
        let expected = "an address and a port like \"127.0.0.1:8080\" or \"[::1]:8080\"";
        setting.text(expected, |text| text.parse::<SocketAddr>().ok())
    };
    let Some(elements) = setting.elements() else {
        return if setting.as_str() == Some("none") { Ok(Vec::new()) } else { Ok(vec![one(setting)?]) };
    };
    if elements.len() > MAX_ADDRESSES {
        return Err(setting.refuse(format_args!("at most {MAX_ADDRESSES} addresses")));
    }
    let mut bad = Mistakes::default();
    let mut addresses = Vec::new();
    for element in &elements {
        match bad.note(one(element)) {
            // With port 0 the kernel chooses, another each time.
            Some(address) if address.port() != 0 && addresses.contains(&address) => {
                bad.note::<()>(Err(element.refuse("another address than those before it")));
            }
            address => addresses.extend(address),
        }
    }
    bad.unless_any(addresses)
}

/// The name of a group, or its number.
fn group(setting: &Setting<'_>) -> Result<u32, BadSettings> {
    if setting.as_u64().is_some() {
        return setting.count(0, NO_UID - 1, "");
    }
    setting.text("the name or the number of a group of this host", group::id)
}

fn cgroup(setting: &Setting<'_>) -> Result<String, BadSettings> {
    let expected =
        format!("1 to {MAX_CGROUP_NAME} letters, digits, hyphens and underscores, with no hyphen first");
    setting.text(expected, |name| {
        let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let valid = allowed && !name.is_empty() && !name.starts_with('-') && name.len() <= MAX_CGROUP_NAME;
        valid.then(|| name.to_owned())
    })
}

fn uids(top: &Section<'_>, config: &mut Config, bad: &mut Mistakes) {
    let base = bad.read(top, "uid_base", |base| base.count(MIN_UID_BASE.into(), NO_UID - 2, ""));
    config.uid_base = base.unwrap_or(config.uid_base);
    let room = NO_UID - u64::from(config.uid_base);
    // One for the trusted processes of a function, one for a function.
    let count = bad.read(top, "uid_count", |count| count.count(2, room, ", which is what uid_base leaves"));
    config.uid_count = count.unwrap_or(config.uid_count.min(u32::try_from(room).unwrap_or(u32::MAX)));
}

fn level(setting: &Setting<'_>) -> Result<Level, BadSettings> {
    setting.text("\"full\", \"userns\" or \"bare\"", |text| {
        [Level::Full, Level::Userns, Level::Bare].into_iter().find(|level| level.to_string() == text)
    })
}

fn timeouts(setting: Option<Setting<'_>>, bad: &mut Mistakes) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let section = setting.map(|setting| setting.section(TIMEOUT_KEYS, bad));
    let Some(section) = section.and_then(|section| bad.note(section)) else { return timeouts };
    for (key, time) in [
        ("head", &mut timeouts.head),
        ("body", &mut timeouts.body),
        ("write", &mut timeouts.write),
        ("idle", &mut timeouts.idle),
        ("drain", &mut timeouts.drain),
    ] {
        *time = bad.read(&section, key, |setting| setting.time(MIN_PHASE, MAX_PHASE)).unwrap_or(*time);
    }
    timeouts
}

/// What no key tells by itself.
fn check_sockets(top: &Section<'_>, config: &Config, bad: &mut Mistakes) {
    // At the first of these keys that is there.
    let blame = |keys: &[&'static str], expected: &str| match keys.iter().find_map(|key| top.get(key)) {
        Some(setting) => setting.refuse(expected),
        None => top.refuse_absence(format_args!("the key {} must be {expected}", keys[0])),
    };
    let too_long = |path: &PathBuf| path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH;
    for (key, path) in [("socket", &config.socket), ("admin", &config.admin)] {
        if let Some(path) = path.as_ref().filter(|path| too_long(path)) {
            let expected = format!(
                "so short that the socket's path has at most {MAX_SOCKET_PATH} bytes, and not {}",
                path.display()
            );
            bad.note::<()>(Err(blame(&[key, "run", "state"], &expected)));
        }
    }
    if config.socket.is_some() && config.socket == config.admin {
        bad.note::<()>(Err(blame(&["admin", "socket"], "another path than that of the other socket")));
    }
    if config.listen.is_empty() && config.socket.is_none() {
        bad.note::<()>(Err(blame(&["listen"], "an address, since socket is false")));
    }
}

/// What a running daemon has built on does not change under it.
fn refuse_changes(top: &Section<'_>, new: &Config, running: &Config, bad: &mut Mistakes) {
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let number = |number: Option<u32>| number.map_or("left out".to_owned(), |number| number.to_string());
    for (key, new, old) in [
        ("state", path(&new.state), path(&running.state)),
        ("cgroup", format!("{:?}", new.cgroup), format!("{:?}", running.cgroup)),
        ("uid_base", new.uid_base.to_string(), running.uid_base.to_string()),
        ("uid_count", new.uid_count.to_string(), running.uid_count.to_string()),
        ("shards", new.shards.to_string(), running.shards.to_string()),
        ("max_workers", number(new.max_workers), number(running.max_workers)),
        ("level", format!("\"{}\"", new.level), format!("\"{}\"", running.level)),
        ("report", new.report.to_string(), running.report.to_string()),
    ] {
        if new != old {
            bad.note::<()>(Err(match top.get(key) {
                Some(setting) => setting.refuse(format_args!("{old} until the daemon is restarted")),
                None => top.refuse_absence(format_args!(
                    "the key {key} is missing; it must be {old} until the daemon is restarted"
                )),
            }));
        }
    }
}

/// What must hold of any text: one that is taken has every value within its bounds, and is taken again by the daemon
/// that runs by it.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(file: &Path, text: &str) -> Result<(), BadSettings> {
    let origin = Origin { file: file.to_owned(), state: None };
    let config = origin.parse(text, None)?;
    assert!(config.listen.len() <= MAX_ADDRESSES && !(config.listen.is_empty() && config.socket.is_none()));
    for path in [&config.socket, &config.admin].into_iter().flatten() {
        assert!(path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH, "{}", path.display());
    }
    assert!(config.uid_base >= MIN_UID_BASE && config.uid_count >= 2);
    assert!(u64::from(config.uid_base) + u64::from(config.uid_count) <= NO_UID);
    assert!((1..=MAX_SHARDS).contains(&config.shards.into()) && config.cgroup.len() <= MAX_CGROUP_NAME);
    let Timeouts { head, body, write, idle, drain } = config.timeouts;
    for phase in [head, body, write, idle, drain] {
        assert!((MIN_PHASE..=MAX_PHASE).contains(&phase), "{phase:?}");
    }
    assert_eq!(origin.parse(text, Some(&config)).as_ref(), Ok(&config));
    Ok(())
}

#[cfg(test)]
mod tests;
