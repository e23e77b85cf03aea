//! Control groups below one of the test's own, as the file system shows them.

use std::fs;
use std::path::{Path, PathBuf};

/// The groups of one name in each hierarchy.
#[derive(Clone, Debug)]
pub struct Groups {
    name: String,
    roots: Vec<(String, PathBuf)>,
}

impl Groups {
    /// Those of this name. Fails where the hierarchies that the daemon needs are not mounted.
    pub fn named(name: String) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let mut roots = Vec::new();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            for controller in ["memory", "pids", "cpu"] {
                if kind == Some("cgroup") && options.split(',').any(|option| option == controller) {
                    roots.push((controller.to_owned(), PathBuf::from(mount)));
                }
            }
        }
        let missing: Vec<&str> = ["memory", "pids", "cpu"]
            .into_iter()
            .filter(|controller| !roots.iter().any(|(name, _)| name == controller))
            .collect();
        assert!(
            missing.is_empty(),
            "these tests read limits from version 1 control groups; not mounted here: {}",
            missing.join(", ")
        );
        Self { name, roots }
    }

    /// Their common name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every group there is, leaves first.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for (_, root) in &self.roots {
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
        let path = text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        })?;
        // The daemon may itself be in a group of a container.
        let at = path.find(&format!("/{}/", self.name))?;
        let (_, root) = self.roots.iter().find(|(name, _)| name == controller)?;
        Some(root.join(&path[at + 1..]))
    }
}

/// A value of a group, without its line end.
pub fn value(group: &Path, file: &str) -> String {
    let path = group.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

fn walk(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), found);
    }
    found.push(group.to_owned());
}
