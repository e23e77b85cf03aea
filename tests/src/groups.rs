//! Control groups below one of the test's own, as the file system shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The groups of one name in each hierarchy.
#[derive(Clone, Debug)]
pub struct Groups {
    name: String,
    /// Of each controller, where its hierarchy is mounted.
    roots: BTreeMap<&'static str, PathBuf>,
    /// Where CPU time is counted, if that is a hierarchy of its own, or one of the others.
    count: Option<PathBuf>,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// A hierarchy for each controller.
    One,
    /// One for all.
    Two,
}

impl Groups {
    /// Those of this name. Fails where the hierarchies that the daemon needs are not mounted.
    pub fn named(name: String) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let of_version = |version| {
            let find = |controller| Some((controller, find_mount(&mounts, version, controller)?));
            CONTROLLERS.into_iter().filter_map(find).collect::<BTreeMap<_, _>>()
        };
        // Where both are mounted, a controller is in one of them.
        let found = [Version::One, Version::Two].map(|version| (of_version(version), version));
        let whole = found.iter().find(|(roots, _)| roots.len() == CONTROLLERS.len());
        let (roots, version) = whole.unwrap_or_else(|| {
            panic!(
                "these tests read limits from control groups; of memory, pids and cpu are mounted: {found:?}"
            )
        });
        let count = match version {
            Version::One => find_mount(&mounts, Version::One, "cpuacct"),
            Version::Two => None,
        };
        Self { name, roots: roots.clone(), count, version: *version }
    }

    /// Their common name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In how many hierarchies each of them is.
    pub fn hierarchies(&self) -> usize {
        self.mounts().len()
    }

    fn mounts(&self) -> BTreeSet<&Path> {
        self.roots.values().chain(&self.count).map(PathBuf::as_path).collect()
    }

    /// Every group there is, leaves first.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for root in self.mounts() {
            walk(&root.join(&self.name), &mut found);
        }
        found
    }

    /// The group of a process in one hierarchy, which must be below this name.
    pub fn of(&self, controller: &str, pid: i32) -> PathBuf {
        self.find(controller, pid)
            .unwrap_or_else(|| panic!("process {pid} is in no {controller} group below {}", self.name))
    }

    /// The group of a process in one hierarchy, if the process is there and in one below this name.
    pub fn find(&self, controller: &str, pid: i32) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let listed = match self.version {
            Version::One => controller,
            Version::Two => "",
        };
        let path = text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == listed).then_some(path)
        })?;
        // The daemon may itself be in a group of a container.
        let at = path.find(&format!("/{}/", self.name))?;
        Some(self.roots[controller].join(&path[at + 1..]))
    }

    /// The group of the whole function that a process belongs to, in one hierarchy. Its processes are in it, or in
    /// groups below it.
    pub fn slot(&self, controller: &str, pid: i32) -> PathBuf {
        let group = self.of(controller, pid);
        let root = self.roots[controller].join(&self.name);
        let below = group.strip_prefix(&root).expect("a group of this name");
        root.join(below.iter().next().expect("a group of a function"))
    }

    /// What a group's memory is limited to, in bytes, and what of it may be swapped out.
    pub fn memory(&self, group: &Path) -> (String, String) {
        let (limit, swap) = match self.version {
            Version::One => ("memory.limit_in_bytes", "memory.swappiness"),
            Version::Two => ("memory.max", "memory.swap.max"),
        };
        (value(group, limit), value(group, swap))
    }

    /// The processor time that a group may have in each period, and the period, in microseconds. `None` is no limit.
    pub fn bandwidth(&self, group: &Path) -> Option<(u64, u64)> {
        let text = match self.version {
            Version::One => {
                format!("{} {}", value(group, "cpu.cfs_quota_us"), value(group, "cpu.cfs_period_us"))
            }
            Version::Two => value(group, "cpu.max"),
        };
        let (quota, period) = text.split_once(' ').expect("two values");
        // `-1` and `max` are none.
        Some((quota.parse().ok()?, period.parse().expect("microseconds")))
    }
}

/// Where the hierarchy of a controller is mounted.
fn find_mount(mounts: &str, version: Version, controller: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mount = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1).unwrap_or_default());
        let found = match (version, kind) {
            (Version::One, "cgroup") => options.split(',').any(|option| option == controller),
            (Version::Two, "cgroup2") => {
                let controllers = fs::read_to_string(mount.join("cgroup.controllers"));
                controllers.is_ok_and(|text| text.split_whitespace().any(|name| name == controller))
            }
            _ => false,
        };
        found.then_some(mount)
    })
}

/// A value of a group, without its line end.
pub fn value(group: &Path, file: &str) -> String {
    let path = group.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

/// A line `name value` of a file of counters.
pub fn counter(group: &Path, file: &str, name: &str) -> u64 {
    let text = value(group, file);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{} has no {name} in its {file}:\n{text}", group.display()));
    line.parse().expect("a number")
}

fn walk(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), found);
    }
    found.push(group.to_owned());
}
