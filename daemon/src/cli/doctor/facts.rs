//! What the host is: not confinements, but what a person asks next.

use std::ffi::CStr;
use std::fs;

use hairtrigger_sandbox::probe;
use serde::Serialize;

/// The host, and what the process was given of it. What cannot be read is `unknown`.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// Release of the kernel.
    kernel: String,
    /// Processors that this process may use.
    cpus: usize,
    /// Version of the C library that is running.
    glibc: String,
    /// Version of landlock's interface; none if there is no landlock.
    landlock_abi: Option<u32>,
    /// Versions of control groups that are mounted.
    cgroups: &'static str,
    /// `kernel.io_uring_disabled`: 0 is for everybody, 1 for root, 2 for nobody.
    io_uring_disabled: String,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    huge_pages: String,
    /// `user.max_user_namespaces`: how many each user may have; level *userns* takes one a function.
    max_user_namespaces: String,
    /// What keeps ordinary users from user namespaces, or from capabilities in them, by a setting of the distribution.
    user_namespaces_held_back: Option<&'static str>,
    /// `vm.overcommit_memory`: 0 guesses, 1 always, 2 never.
    overcommit: String,
    /// Soft limit of open descriptors.
    nofile_soft: u64,
    /// Hard limit; `serve` raises the soft one to it.
    nofile_hard: u64,
}

impl Facts {
    pub(super) fn read() -> Self {
        let pages = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
        let (nofile_soft, nofile_hard) = nofile();
        Self {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            glibc: glibc(),
            landlock_abi: probe::landlock_abi(),
            cgroups: hierarchies(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
            io_uring_disabled: first_line("/proc/sys/kernel/io_uring_disabled"),
            huge_pages: chosen(&pages).to_owned(),
            max_user_namespaces: first_line("/proc/sys/user/max_user_namespaces"),
            user_namespaces_held_back: held_back(first_line),
            overcommit: first_line("/proc/sys/vm/overcommit_memory"),
            nofile_soft,
            nofile_hard,
        }
    }

    /// Names and values for a person.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kernel", self.kernel.clone()),
            ("processors", self.cpus.to_string()),
            ("C library", format!("glibc {}", self.glibc)),
            ("landlock ABI", self.landlock_abi.map_or("none".to_owned(), |abi| abi.to_string())),
            ("control groups", self.cgroups.to_owned()),
            ("io_uring_disabled", self.io_uring_disabled.clone()),
            ("huge pages", self.huge_pages.clone()),
            ("max_user_namespaces", self.max_user_namespaces.clone()),
            (
                "user namespaces",
                match self.user_namespaces_held_back {
                    None => "not held back by a setting".to_owned(),
                    Some(setting) => format!("held back by {setting}"),
                },
            ),
            ("overcommit_memory", self.overcommit.clone()),
            ("open descriptors", format!("{}, at most {}", self.nofile_soft, self.nofile_hard)),
        ]
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// The first of the settings of Debian and Ubuntu that holds user namespaces back. `read` gives a file's first line.
fn held_back(read: impl Fn(&str) -> String) -> Option<&'static str> {
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return Some("kernel.unprivileged_userns_clone = 0");
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return Some("kernel.apparmor_restrict_unprivileged_userns = 1");
    }
    None
}

/// The word in brackets among those that could be chosen.
fn chosen(line: &str) -> &str {
    line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("unknown", |(word, _)| word)
}

/// By what is mounted: the type stands behind the hyphen of a line.
fn hierarchies(mountinfo: &str) -> &'static str {
    let types = || mountinfo.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
    let (v1, v2) = (types().any(|kind| kind == "cgroup"), types().any(|kind| kind == "cgroup2"));
    match (v1, v2) {
        (true, true) => "hybrid (v1 with a v2 hierarchy beside)",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
}

fn glibc() -> String {
    // SAFETY: returns a constant string of the C library.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

fn nofile() -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call; on a failure it stays 0.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("nothing"), "unknown");
    }

    #[test]
    fn settings_that_hold_back_user_namespaces_are_named() {
        assert_eq!(held_back(|_| "unknown".to_owned()), None);
        assert_eq!(held_back(|_| "1".to_owned()), Some("kernel.apparmor_restrict_unprivileged_userns = 1"));
        assert_eq!(held_back(|_| "0".to_owned()), Some("kernel.unprivileged_userns_clone = 0"));
    }

    #[test]
    fn mounts_tell_the_hierarchies() {
        let v1 = "30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let v2 = "31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchies(v1), "v1");
        assert_eq!(hierarchies(v2), "v2");
        assert_eq!(hierarchies(&format!("{v1}{v2}")), "hybrid (v1 with a v2 hierarchy beside)");
        assert_eq!(hierarchies("32 24 0:28 / /tmp rw - tmpfs tmpfs rw\n"), "none");
    }
}
