//! The clock that processes share.

/// `CLOCK_MONOTONIC` in nanoseconds. Async-signal-safe.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` into a live local. This clock always exists.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
    }
    // Neither is negative: this clock counts from the boot.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Microseconds from `earlier` to `later`, both in nanoseconds; negative if it is the other way round.
pub(crate) fn us_between(earlier: u64, later: u64) -> f64 {
    // Spans of a bench are below 2^53 ns.
    #[allow(clippy::cast_precision_loss)]
    let ns = later.abs_diff(earlier) as f64;
    if later < earlier { -ns / 1_000.0 } else { ns / 1_000.0 }
}
