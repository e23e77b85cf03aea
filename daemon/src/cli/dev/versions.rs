//! Where built plugins lie. Each version has a directory of its own, which is all that its function sees, and
//! what lies in it never changes.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The directories of all versions: `ROOT/NAME/NUMBER/NAME.so`.
#[derive(Debug)]
pub(super) struct Versions {
    root: PathBuf,
    last: u64,
}

impl Versions {
    /// Begins anew: what an earlier daemon has left below `root` is removed.
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        remove(&root).with_context(|| format!("cannot empty {}", root.display()))?;
        directory(&root)?;
        Ok(Self { root, last: 0 })
    }

    /// Makes a version of a function from its plugin's file; returns where the plugin lies then, and the
    /// version's number.
    pub(super) fn place(&mut self, function: &str, plugin: &Path) -> Result<(PathBuf, u64)> {
        self.last += 1;
        let number = self.last;
        let to = self.root.join(function).join(number.to_string());
        directory(&to)?;
        let file = to.join(format!("{function}.so"));
        fs::copy(plugin, &file).with_context(|| format!("cannot copy {}", plugin.display()))?;
        readable(&file)?;
        Ok((file, number))
    }

    /// Removes the versions of a function but one, or all. Processes that still run one have it open.
    pub(super) fn keep_only(&self, function: &str, number: Option<u64>) {
        let directory = self.root.join(function);
        let keep = number.map(|number| number.to_string());
        let Ok(entries) = fs::read_dir(&directory) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_str() != keep.as_deref() {
                // What stays is in nobody's way, and the next start removes it.
                let _ = remove(&entry.path());
            }
        }
        if number.is_none() {
            let _ = fs::remove_dir(&directory);
        }
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a directory which the function's uid can read, whatever the umask.
fn directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    readable(path)
}

fn readable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} readable", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_as_it_is_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let state = folder.path();
        let plugin = state.join("plugin");
        let write = |text: &str| fs::write(&plugin, text).expect("a file can be written");
        let read = |path: &Path| fs::read_to_string(path).ok();
        fs::create_dir_all(state.join("built/left/over")).expect("a directory can be made");
        let mut versions = Versions::new(state.join("built")).expect("it can be emptied");
        assert!(!state.join("built/left").exists());
        write("one");
        let (first, _) = versions.place("f", &plugin).expect("it can be placed");
        write("two");
        let (second, number) = versions.place("f", &plugin).expect("it can be placed");
        assert_eq!((read(&first).as_deref(), read(&second).as_deref()), (Some("one"), Some("two")));
        assert_ne!(first.parent(), second.parent());
        versions.keep_only("f", Some(number));
        assert_eq!((read(&first), read(&second).as_deref()), (None, Some("two")));
        versions.keep_only("f", None);
        assert!(!state.join("built/f").exists());
    }
}
