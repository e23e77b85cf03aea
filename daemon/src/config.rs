//! The daemon's configuration: what `hairtrigger serve --config FILE` reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hairtrigger_sandbox::limits::{MAX_CGROUP_NAME, MAX_SHARDS, MIN_UID_BASE, UID_BASE, UID_COUNT};

use crate::settings::{self, BadSettings, Document};

const KEYS: &[&str] = &["listen", "functions", "state", "cgroup", "uid_base", "uid_count", "shards"];

/// The first uid of no use: 2³² − 1 means "none" to the kernel.
const NO_UID: u64 = u32::MAX as u64;

/// The daemon's configuration, every value within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where HTTP is served.
    pub(crate) listen: SocketAddr,
    /// The tree of directories with a `function.toml` each, as written: relative paths begin at the
    /// configuration's directory.
    pub(crate) functions: PathBuf,
    /// What the daemon remembers between starts.
    pub(crate) state: PathBuf,
    /// The name of the daemon's own control group.
    pub(crate) cgroup: String,
    /// The first uid that functions are given.
    pub(crate) uid_base: u32,
    /// How many uids, from the first on.
    pub(crate) uid_count: u32,
    /// Threads of the data plane.
    pub(crate) shards: u32,
}

impl Config {
    /// The defaults, for functions below `functions`.
    pub(crate) fn for_functions(functions: PathBuf) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            functions,
            state: PathBuf::from("/var/lib/hairtrigger"),
            cgroup: "hairtrigger".to_owned(),
            uid_base: UID_BASE,
            uid_count: UID_COUNT,
            shards: 1,
        }
    }

    /// Reads and checks the configuration at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, BadSettings> {
        Self::parse(path, &settings::read(path)?)
    }

    /// Checks a configuration's text; `path` is for messages only.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, BadSettings> {
        let document = Document { path, text };
        let table = document.parse()?;
        let top = document.top(&table, KEYS)?;
        let functions = top.require("functions", "the path of a directory of functions")?;
        let mut config = Self::for_functions(functions.path()?);
        if let Some(listen) = top.get("listen") {
            let expected = "an address and a port like \"127.0.0.1:8080\" or \"[::1]:8080\"";
            config.listen = listen.text(expected, |text| text.parse().ok())?;
        }
        if let Some(state) = top.get("state") {
            config.state = state.path()?;
        }
        if let Some(cgroup) = top.get("cgroup") {
            let expected = format!(
                "1 to {MAX_CGROUP_NAME} letters, digits, hyphens and underscores, with no hyphen first"
            );
            config.cgroup = cgroup.text(expected, valid_cgroup)?;
        }
        if let Some(base) = top.get("uid_base") {
            config.uid_base = base.count(MIN_UID_BASE.into(), NO_UID - 2, "")?;
        }
        let room = NO_UID - u64::from(config.uid_base);
        match top.get("uid_count") {
            // One for the trusted processes of a function, one for a function.
            Some(count) => config.uid_count = count.count(2, room, ", which is what uid_base leaves")?,
            None => config.uid_count = config.uid_count.min(u32::try_from(room).unwrap_or(u32::MAX)),
        }
        if let Some(shards) = top.get("shards") {
            config.shards = shards.count(1, MAX_SHARDS.into(), "")?;
        }
        Ok(config)
    }
}

fn valid_cgroup(name: &str) -> Option<String> {
    let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let valid = allowed && !name.is_empty() && !name.starts_with('-') && name.len() <= MAX_CGROUP_NAME;
    valid.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("h.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_functions_are_enough() {
        let expected = Config {
            listen: "127.0.0.1:8080".parse().unwrap(),
            functions: "functions".into(),
            state: "/var/lib/hairtrigger".into(),
            cgroup: "hairtrigger".into(),
            uid_base: 1_879_048_192,
            uid_count: 65_536,
            shards: 1,
        };
        assert_eq!(parse("functions = 'functions'"), Ok(expected));
    }

    #[test]
    fn everything_can_be_said() {
        let text = "listen = '[::1]:80'\nfunctions = '/srv'\nstate = '/tmp/s'\ncgroup = 'ht-2'\n\
                    uid_base = 100_000\nuid_count = 2\nshards = 1";
        let expected = Config {
            listen: "[::1]:80".parse().unwrap(),
            functions: "/srv".into(),
            state: "/tmp/s".into(),
            cgroup: "ht-2".into(),
            uid_base: 100_000,
            uid_count: 2,
            shards: 1,
        };
        assert_eq!(parse(text), Ok(expected));
        let high = parse("functions = 'f'\nuid_base = 4294967290").unwrap();
        assert_eq!(high.uid_count, 5, "the default range ends where uids end");
    }

    #[test]
    fn mistakes() {
        let address = "an address and a port like \"127.0.0.1:8080\" or \"[::1]:8080\"";
        let group = "1 to 64 letters, digits, hyphens and underscores, with no hyphen first";
        for (text, error) in [
            (
                "",
                "1:1: the key functions is missing; it must be the path of a directory of functions."
                    .to_owned(),
            ),
            ("functions = 1", "1:13: functions must be a path; found 1.".to_owned()),
            ("functions = 'f'\nlisten = '8080'", format!("2:10: listen must be {address}; found \"8080\".")),
            ("functions = 'f'\nlisten = 8080", format!("2:10: listen must be {address}; found 8080.")),
            (
                "functions = 'f'\nlistn = ''",
                "2:1: there is no key listn here; did you mean listen?".to_owned(),
            ),
            ("functions = 'f'\nstate = \"\\u0000\"", "2:9: state must be a path; found \"\\0\".".to_owned()),
            ("functions = 'f'\ncgroup = 'a/b'", format!("2:10: cgroup must be {group}; found \"a/b\".")),
            ("functions = 'f'\ncgroup = '..'", format!("2:10: cgroup must be {group}; found \"..\".")),
            (
                "functions = 'f'\nuid_base = 0",
                "2:12: uid_base must be a whole number from 65536 to 4294967293; found 0.".to_owned(),
            ),
            (
                "functions = 'f'\nuid_base = 4294967290\nuid_count = 6",
                "3:13: uid_count must be a whole number from 2 to 5, which is what uid_base leaves; found 6."
                    .to_owned(),
            ),
            (
                "functions = 'f'\nshards = 65",
                "2:10: shards must be a whole number from 1 to 64; found 65.".to_owned(),
            ),
        ] {
            assert_eq!(parse(text), Err(format!("h.toml:{error}")), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("functions = 'f'\nlisten = '''{text}'''"));
        }
    }
}
