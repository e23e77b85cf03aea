//! What a function is granted beyond nothing: paths to read and to write, ports to connect to. What would give the
//! sandbox away is refused here, by name.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hairtrigger_sandbox::grants::Grants;
use hairtrigger_sandbox::limits::{MAX_GRANTED_PATH_BYTES, MAX_GRANTED_PATHS, MAX_GRANTED_PORTS};

use crate::config::Config;
use crate::settings::{BadSettings, Mistakes, Setting};

const ALLOW_KEYS: &[&str] = &["read", "write", "connect"];

/// What nobody is granted anything of: the kernel's and the devices' files lead to everything else, and the last
/// is where a function sees its own directory.
const NEVER: &[&str] = &["/proc", "/sys", "/dev", "/function"];

/// So many symbolic links the kernel follows on one way (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// What one daemon keeps from all functions, whatever their manifests say.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffLimits(Vec<Area>);

#[derive(Clone, Debug)]
struct Area {
    path: PathBuf,
    what: &'static str,
    keeps: Keeps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Nothing in it, nor anything that contains it, is granted.
    All,
    /// It may be read. What contains it is not granted to write, so that it stays what and where it is.
    Writing,
    /// Where manifests are, with the secrets in them; who writes there grants himself what he wants. A function may
    /// read what lies in its own directory, since it sees that anyway.
    Functions,
}

impl OffLimits {
    /// For functions below a directory.
    pub(crate) fn functions(root: &Path) -> Self {
        Self::default().and(root, "where the functions are", Keeps::Functions)
    }

    /// For a daemon with this configuration, which is in a file unless it is `dev`'s.
    pub(crate) fn of(config: &Config, file: Option<&Path>) -> Self {
        let mut areas = Self::functions(&config.functions)
            .and(&config.state, "where the daemon's state is", Keeps::All)
            .and(&config.run, "where the daemon's sockets are", Keeps::All);
        for socket in [&config.socket, &config.admin].into_iter().flatten() {
            areas = areas.and(socket, "a socket of the daemon", Keeps::Writing);
        }
        match file {
            Some(file) => areas.and(file, "the daemon's configuration", Keeps::Writing),
            None => areas,
        }
    }

    fn and(mut self, path: &Path, what: &'static str, keeps: Keeps) -> Self {
        // Whoever can take a link away can put something of his own where the daemon looks next time.
        let link = |path| Area { path, what, keeps: Keeps::Writing };
        self.0.push(Area { path: real(path), what, keeps });
        self.0.extend(links(path).into_iter().map(link));
        self
    }

    /// What speaks against a path; a rule for a mistake's sentence.
    fn objection(&self, path: &Path, writes: bool, home: &Path) -> Option<String> {
        if path == Path::new("/") {
            return Some("less than the whole file system".to_owned());
        }
        if let Some(never) = NEVER.iter().find(|never| path.starts_with(never)) {
            return Some(format!("outside of {never}"));
        }
        let meets = |area: &&Area| match area.keeps {
            Keeps::Functions if !writes && path.starts_with(home) => false,
            Keeps::All | Keeps::Functions => path.starts_with(&area.path) || area.path.starts_with(path),
            Keeps::Writing => writes && area.path.starts_with(path),
        };
        let area = self.0.iter().find(meets)?;
        Some(format!("apart from {}, {}", area.path.display(), area.what))
    }
}

/// A path without symbolic links, as far as there is anything of it.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .find_map(|there| {
            let rest = absolute.strip_prefix(there).ok()?;
            fs::canonicalize(there)
                .ok()
                .map(|there| if rest == Path::new("") { there } else { there.join(rest) })
        })
        .unwrap_or(absolute.clone())
}

/// The symbolic links that lead to a path, each without others on its own way.
pub(crate) fn links(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parts = |path: &Path| path.iter().rev().map(OsString::from).collect::<Vec<_>>();
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(&absolute), Vec::new());
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match fs::read_link(&next) {
            Ok(target) if links.len() < MAX_LINKS => {
                links.push(next);
                left.extend(parts(&target));
            }
            // No link, or nothing, or a way that the kernel would not go either.
            Ok(_) | Err(_) => at = next,
        }
    }
    links
}

/// The table `allow`; threads are a key of their own.
pub(super) fn allow(
    setting: Option<Setting<'_>>,
    manifest: &Path,
    off_limits: &OffLimits,
    bad: &mut Mistakes,
) -> Grants {
    let section = setting.map(|setting| setting.section(ALLOW_KEYS, bad));
    let Some(section) = section.and_then(|section| bad.note(section)) else { return Grants::default() };
    let home = real(manifest.parent().unwrap_or(Path::new("")));
    let mut paths = Vec::new();
    for (key, writes) in [("read", false), ("write", true)] {
        let Some(setting) = section.get(key) else { continue };
        let Some(elements) = bad.note(elements(&setting)) else { continue };
        for element in elements {
            let read = path(&element, &home, |path| off_limits.objection(path, writes, &home));
            paths.extend(bad.note(read).map(|path| (element, path, writes)));
        }
    }
    let bytes: usize = paths.iter().map(|(_, path, _)| path.as_os_str().as_bytes().len()).sum();
    if let (true, Some((setting, ..))) = (bytes > MAX_GRANTED_PATH_BYTES, paths.last()) {
        let most = format_args!("paths of at most {MAX_GRANTED_PATH_BYTES} bytes, all together");
        bad.note::<()>(Err(setting.refuse(most)));
    }
    for (index, (setting, path, writes)) in paths.iter().enumerate() {
        let grants_it = |(other, (_, of, of_writes)): &(usize, &(Setting<'_>, PathBuf, bool))| {
            let stronger = *of_writes || !writes;
            let alike = path == of && writes == of_writes;
            *other != index && stronger && path.starts_with(of) && (!alike || *other < index)
        };
        if let Some((_, (_, of, of_writes))) = paths.iter().enumerate().find(grants_it) {
            let (what, of) = (if *of_writes { "write" } else { "read" }, of.display());
            let expected = format_args!("what nothing else grants, and {what} grants all of {of}");
            bad.note::<()>(Err(setting.refuse(expected)));
        }
    }
    let of = |wanted: bool| {
        let mut paths: Vec<_> =
            paths.iter().filter(|(.., writes)| *writes == wanted).map(|(_, path, _)| path.clone()).collect();
        // In whatever order they are written, they grant the same.
        paths.sort_unstable();
        paths
    };
    let connect = section.get("connect").map(|setting| ports(&setting, bad)).unwrap_or_default();
    Grants { read: of(false), write: of(true), connect, threads: 0 }
}

fn elements<'d>(setting: &Setting<'d>) -> Result<Vec<Setting<'d>>, BadSettings> {
    let elements = setting.elements().filter(|elements| elements.len() <= MAX_GRANTED_PATHS);
    elements.ok_or_else(|| {
        setting.refuse(format_args!("an array of at most {MAX_GRANTED_PATHS} paths like \"/srv/data\""))
    })
}

/// A file or a directory that is there, without symbolic links.
fn path(
    setting: &Setting<'_>,
    home: &Path,
    objection: impl Fn(&Path) -> Option<String>,
) -> Result<PathBuf, BadSettings> {
    let path = home.join(setting.path()?);
    let cannot = |error: std::io::Error| {
        setting
            .refuse(format_args!("paths of what is there, and {} cannot be found ({error})", path.display()))
    };
    let path = fs::canonicalize(&path).map_err(cannot)?;
    if let Some(rule) = objection(&path) {
        return Err(setting.refuse(rule));
    }
    let kind = fs::metadata(&path).map_err(cannot)?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        let path = path.display();
        return Err(setting.refuse(format_args!("paths of files and directories, and {path} is neither")));
    }
    if path.to_str().is_none() {
        return Err(setting.refuse(format_args!("paths in UTF-8, and {} is not", path.display())));
    }
    Ok(path)
}

fn ports(setting: &Setting<'_>, bad: &mut Mistakes) -> Vec<u16> {
    let elements = setting.elements().filter(|elements| elements.len() <= MAX_GRANTED_PORTS);
    let elements = elements.ok_or_else(|| {
        setting.refuse(format_args!("an array of at most {MAX_GRANTED_PORTS} TCP ports like 5432"))
    });
    let port = |element: &Setting<'_>| {
        let port = element.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        port.ok_or_else(|| element.refuse("TCP ports from 1 to 65535"))
    };
    let ports = bad.note(elements).unwrap_or_default();
    let mut ports: Vec<_> = ports.iter().filter_map(|element| bad.note(port(element))).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What a function may do by its grants, as the end of a sentence; nothing without any.
pub(crate) struct May<'g>(pub(crate) &'g Grants);

impl fmt::Display for May<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grants { read, write, connect, threads } = self.0;
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, what: &str, of: &[String]| {
            if of.is_empty() {
                return Ok(());
            }
            write!(f, "{separator}{what}{}", of.join(", "))?;
            separator = "; ";
            Ok(())
        };
        let shown =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        part(f, "read ", &shown(read))?;
        part(f, "read and write ", &shown(write))?;
        part(f, "connect to TCP ports ", &connect.iter().map(u16::to_string).collect::<Vec<_>>())?;
        let threads = (*threads > 0).then(|| threads.to_string());
        part(f, "have threads: ", threads.as_slice())
    }
}

#[cfg(test)]
mod tests;
