//! The time of day, where the person is who reads it.

use std::fmt;
use std::time::SystemTime;

/// Hour, minute and second in the local time zone; printed as `12:03:07`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalTime {
    hour: i32,
    minute: i32,
    second: i32,
}

impl LocalTime {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::of(libc::time_t::try_from(since.as_secs()).unwrap_or(0))
    }

    /// Of a time in seconds since 1970.
    fn of(seconds: libc::time_t) -> Self {
        // SAFETY: all-zero is a valid tm; both outlive the call, which keeps neither. The environment, which
        // the C library reads the zone from, is not changed by this program once it has threads.
        let time = unsafe {
            let mut time: libc::tm = std::mem::zeroed();
            libc::localtime_r(&raw const seconds, &raw mut time);
            time
        };
        Self { hour: time.tm_hour, minute: time.tm_min, second: time.tm_sec }
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_each() {
        assert_eq!(LocalTime { hour: 9, minute: 3, second: 7 }.to_string(), "09:03:07");
        // Zones differ by quarters of an hour: the seconds are the same everywhere.
        assert_eq!(LocalTime::of(1_000_000_007).second, 47);
        assert_ne!(LocalTime::of(0).to_string(), LocalTime::of(3600).to_string());
    }
}
