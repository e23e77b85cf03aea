//! What a service manager is told, if one has started the daemon (`NOTIFY_SOCKET`). That it does not listen is
//! no reason to stop.

use sd_notify::{NotifyState, notify};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The daemon serves, with this to be said of it.
pub(super) fn ready(status: &str) {
    let _ = notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What is served is read anew. [`ready`] is the end of it, whatever came of it.
pub(super) fn reloading() {
    // The manager compares the time with that of its own wish.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]);
    }
}

/// The daemon takes no more requests and ends when it has answered those under way.
pub(super) fn stopping() {
    let _ = notify(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// When the service manager is to be told that the daemon works: twice as often as it wants to hear it (`WATCHDOG_USEC`),
/// if it does.
pub(super) fn beats() -> Option<Interval> {
    let often = sd_notify::watchdog_enabled().map(|most| most / 2).filter(|often| !often.is_zero())?;
    let mut beats = interval(often);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(beats)
}

/// The daemon works.
pub(super) fn alive() {
    let _ = notify(&[NotifyState::Watchdog]);
}
