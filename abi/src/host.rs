//! What the host does for a function at any time.

use crate::raw;
use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::offset_of;
use std::time::Duration;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something happened that an operator wants to know.
    Info,
    /// Something that matters while looking for a mistake.
    Debug,
}

/// The host, for a function's whole life: log, clock, environment. Small and `Copy`: keep one.
#[derive(Clone, Copy)]
pub struct Host {
    /// A pointer and no reference: an older host's table is shorter than [`raw::Host`].
    table: *const raw::Host,
}

// SAFETY: the table is never written, and its functions that are not bound to an invocation may be called from any
// thread; the contract has every host keep to that.
unsafe impl Send for Host {}

// SAFETY: as for `Send`.
unsafe impl Sync for Host {}

impl Host {
    /// # Safety
    /// `table` points to a table of at least version 1's size, of this ABI version, that stays valid and
    /// unchanged for the life of the process.
    pub(crate) unsafe fn from_raw(table: *const raw::Host) -> Self {
        Self { table }
    }

    /// Valid for the life of the process as far as the host's `struct_size` goes, which is at least that of version
    /// 1: what was added later must be asked for first.
    pub(crate) fn table(self) -> *const raw::Host {
        self.table
    }

    /// Whether the host has [`raw::Host::add_trailer`].
    pub(crate) fn takes_trailers(self) -> bool {
        // SAFETY: the size has been there since version 1.
        let size = unsafe { (*self.table).struct_size };
        size as usize >= offset_of!(raw::Host, add_trailer) + size_of::<usize>()
    }

    /// Writes one line to the function's log. The host cuts what is too long.
    pub fn log(self, level: Level, text: &str) {
        let level = match level {
            Level::Error => raw::LOG_ERROR,
            Level::Warn => raw::LOG_WARN,
            Level::Info => raw::LOG_INFO,
            Level::Debug => raw::LOG_DEBUG,
        };
        // SAFETY: in the table since version 1 (see `table`); address and length are those of a live `str`, which the
        // host copies before it returns.
        unsafe { ((*self.table).log)(level, text.as_ptr(), text.len()) }
    }

    /// [`Host::log`] with [`Level::Error`].
    pub fn error(self, text: impl fmt::Display) {
        self.log(Level::Error, &text.to_string());
    }

    /// [`Host::log`] with [`Level::Warn`].
    pub fn warn(self, text: impl fmt::Display) {
        self.log(Level::Warn, &text.to_string());
    }

    /// [`Host::log`] with [`Level::Info`].
    pub fn info(self, text: impl fmt::Display) {
        self.log(Level::Info, &text.to_string());
    }

    /// [`Host::log`] with [`Level::Debug`].
    pub fn debug(self, text: impl fmt::Display) {
        self.log(Level::Debug, &text.to_string());
    }

    /// The value of `name` in the `[env]` table of the manifest. `None` if it has no such entry, or one that
    /// is not UTF-8.
    #[must_use]
    pub fn env(self, name: &str) -> Option<&'static str> {
        // No entry's name contains a NUL.
        let name = CString::new(name).ok()?;
        // SAFETY: in the table since version 1; `name` is NUL-terminated and lives until the call is over.
        let value = unsafe { ((*self.table).env)(name.as_ptr()) };
        if value.is_null() {
            return None;
        }
        // SAFETY: the contract says that a value is NUL-terminated, and valid and unchanged for the life of
        // the process. A host that builds values in a buffer it reuses would break it.
        unsafe { CStr::from_ptr(value) }.to_str().ok()
    }

    /// Now, as the time since the origin of `CLOCK_MONOTONIC`: the clock of
    /// [`Request::deadline`](crate::Request::deadline). Not the time of day.
    #[must_use]
    pub fn now(self) -> Duration {
        // SAFETY: in the table since version 1; takes nothing and may be called at any time.
        Duration::from_nanos(unsafe { ((*self.table).now_ns)() })
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: in the table since version 1.
        let abi_version = unsafe { (*self.table).abi_version };
        f.debug_struct("Host").field("abi_version", &abi_version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Level;
    use crate::fake;
    use std::time::Duration;

    #[test]
    fn log_lines_arrive_with_their_level() {
        let host = fake::host();
        host.error("first");
        host.warn(format_args!("sec{}", "ond"));
        host.info("");
        host.debug("vierte Zeile: ü");
        assert_eq!(
            fake::take_log(),
            [
                (1, "first".to_owned()),
                (2, "second".to_owned()),
                (3, String::new()),
                (4, "vierte Zeile: ü".to_owned())
            ]
        );
        host.log(Level::Warn, "again");
        assert_eq!(fake::take_log(), [(2, "again".to_owned())]);
    }

    #[test]
    fn env_gives_what_the_manifest_has_and_nothing_else() {
        let host = fake::host();
        assert_eq!(host.env("GREETING"), Some("Grüß Gott"));
        assert_eq!(host.env("EMPTY"), Some(""));
        assert_eq!(host.env("LATIN1"), None);
        assert_eq!(host.env("PATH"), None);
        assert_eq!(host.env("GREETING\0"), None);
    }

    #[test]
    fn the_clock_is_the_hosts() {
        assert_eq!(fake::host().now(), Duration::from_nanos(fake::NOW_NS));
    }
}
