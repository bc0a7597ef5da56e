//! Clocks, where std's are not the ones needed.

use nix::time::{ClockId, clock_gettime};

/// The wall clock that the kernel stamps files with, nanoseconds since the epoch.
///
/// It is coarse (it stands still for up to 4 ms at 250 Hz), so that a file written after this call never
/// has a ctime before it; `SystemTime::now()` would be ahead of the stamps of the next few milliseconds.
pub fn file_clock_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
        .unwrap_or(0)
}

/// Monotonic nanoseconds since an arbitrary start (the boot), the same in every process of the machine.
pub fn monotonic_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap_or(0)
}
