//! A daemon's surroundings, made for one test: configuration, functions, state, and a group of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::artefacts;
use crate::daemon::Daemon;
use crate::groups::Groups;

/// Counts the homes of this process, for the names of their groups.
static HOMES: AtomicU32 = AtomicU32::new(0);

/// A temporary directory with everything that `hairtrigger serve` is told.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    /// The daemon's groups.
    pub groups: Groups,
}

impl Home {
    /// An empty one. Fails where the daemon could not confine anything.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        // SAFETY: takes no pointers and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "these tests start the real daemon, for which they must run as root");
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let groups = Groups::named(format!("hairtrigger-test-{}-{number}", std::process::id()));
        let folder = tempfile::Builder::new().prefix("hairtrigger-test-").tempdir();
        let home = Self { folder: folder.expect("a temporary directory can be made"), groups };
        fs::create_dir(home.functions()).expect("a directory can be made");
        home.listen("127.0.0.1:0");
        home
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The tree of functions.
    pub fn functions(&self) -> PathBuf {
        self.path().join("functions")
    }

    /// The configuration's path.
    pub fn config(&self) -> PathBuf {
        self.path().join("hairtrigger.toml")
    }

    /// Writes the configuration, with this address.
    pub fn listen(&self, address: impl std::fmt::Display) {
        self.configure(&format!("listen = \"{address}\""));
    }

    /// Writes the configuration: what every home has, and `rest`.
    pub fn configure(&self, rest: &str) {
        let group = self.groups.name();
        let text = format!("functions = \"functions\"\nstate = \"state\"\ncgroup = \"{group}\"\n{rest}\n");
        fs::write(self.config(), text).expect("a file can be written");
    }

    /// The unix socket that serves functions.
    pub fn socket(&self) -> PathBuf {
        self.path().join("state/run/hairtrigger.sock")
    }

    /// The administration's.
    pub fn admin(&self) -> PathBuf {
        self.path().join("state/run/admin.sock")
    }

    /// Deploys a function: a copy of `plugin`, and a manifest of its name, its library and `rest`.
    pub fn add(&self, name: &str, plugin: &Path, rest: &str) -> &Self {
        let folder = self.folder_of(name);
        // A plugin that is served must not change: a new one is put into its place. Before its manifest, which a reload
        // that goes on meanwhile may read.
        let (fresh, place) = (folder.join(format!("{name}.new")), folder.join(format!("{name}.so")));
        fs::copy(plugin, &fresh)
            .unwrap_or_else(|error| panic!("{} cannot be copied: {error}", plugin.display()));
        fs::rename(fresh, place).expect("a file can be renamed");
        self.add_manifest(name, &format!("name = \"{name}\"\nlibrary = \"{name}.so\"\n{rest}\n"));
        self
    }

    /// Deploys an example of `plugins/` as its own manifest has it; `plugin` is what was built of it.
    pub fn add_example(&self, name: &str, plugin: &Path) -> &Self {
        let path = artefacts::workspace().join("plugins").join(name).join("function.toml");
        let manifest =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // `add` says these itself.
        let own = |line: &&str| line.starts_with("name = ") || line.starts_with("source = ");
        let rest: Vec<&str> = manifest.lines().filter(|line| !own(line)).collect();
        self.add(name, plugin, &rest.join("\n"))
    }

    /// Writes a manifest alone, all of it at once; returns its directory.
    pub fn add_manifest(&self, name: &str, manifest: &str) -> PathBuf {
        let folder = self.folder_of(name);
        let fresh = folder.join("function.toml.new");
        fs::write(&fresh, manifest).expect("a file can be written");
        fs::rename(fresh, folder.join("function.toml")).expect("a file can be renamed");
        folder
    }

    /// The directory of a function, made if it is not there.
    fn folder_of(&self, name: &str) -> PathBuf {
        let folder = self.functions().join(name);
        fs::create_dir_all(&folder).expect("a directory can be made");
        // The function's uid must be able to read it, whatever the umask.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
        folder
    }

    /// How many functions are deployed.
    pub fn count(&self) -> usize {
        fs::read_dir(self.functions()).map_or(0, Iterator::count)
    }

    /// Starts a daemon and waits until it serves and has loaded each function or said why not.
    pub fn start(&self) -> Daemon<'_> {
        Daemon::start(self)
    }

    /// What a daemon says that does not start, one line an element. Fails if it does, or ends with another
    /// exit code.
    pub fn refusal(&self, code: i32) -> Vec<String> {
        Daemon::spawn(self).refusal_with(code)
    }

    /// The uid that the daemon has given to a function.
    pub fn uid(&self, function: &str) -> u32 {
        let path = self.path().join("state/uids.toml");
        let text = fs::read_to_string(&path).expect("a started daemon has written its uids");
        let line = text.lines().filter_map(|line| line.split_once(" = "));
        let mut uid = line.filter(|(name, _)| name.trim_matches('"') == function);
        let (_, uid) = uid.next().unwrap_or_else(|| panic!("{function} has no uid in:\n{text}"));
        uid.parse().expect("a uid is a number")
    }
}

impl Drop for Home {
    /// Groups that a failed daemon left must not pile up; none is left after one that works.
    fn drop(&mut self) {
        for group in self.groups.all() {
            let _ = fs::remove_dir(group);
        }
    }
}
