//! Clocks that std does not offer.

use nix::time::{ClockId, clock_gettime};

/// The wall clock that the kernel uses for file times, nanoseconds since the epoch.
///
/// It is coarse (it advances in steps of up to 4 ms at 250 Hz). A file written after this call never has an earlier
/// ctime than the result; `SystemTime::now()` would be ahead of the file times of the next few milliseconds.
pub fn file_clock_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
        .unwrap_or(0)
}

/// The monotonic clock, nanoseconds since boot; the same in all processes.
pub fn monotonic_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unwrap_or(0)
}
