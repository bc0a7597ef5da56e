//! When ignore files were looked at, and when changes were last heard of: how old a save must be to be known for sure.

use std::time::{Duration, Instant};

use crate::os;

/// When ignore files were looked at.
#[derive(Debug)]
pub struct RuleClock {
    interval: Duration,
    /// When those outside of the watched directories are looked at next.
    next: Instant,
    /// All notices until then have been taken in, nanoseconds since the epoch.
    heard_ns: i64,
    /// When the directories were last listed that tell nothing.
    listed_ns: i64,
}

impl RuleClock {
    /// Begins now.
    pub fn new(interval: Duration) -> RuleClock {
        let now_ns = os::clock::file_clock_ns();
        RuleClock { interval, next: Instant::now() + interval, heard_ns: now_ns, listed_ns: now_ns }
    }

    /// Begins where the child before has left off: until when all notices were taken in, and when it last listed.
    pub fn resume(interval: Duration, (heard_ns, listed_ns): (i64, i64)) -> RuleClock {
        RuleClock { heard_ns, listed_ns, ..RuleClock::new(interval) }
    }

    /// What the next child is to resume.
    pub fn keep(&self) -> (i64, i64) {
        (self.heard_ns, self.listed_ns)
    }

    /// What is older has been seen in the listing before.
    pub fn last_listing(&self) -> i64 {
        self.listed_ns
    }

    /// All directories that tell nothing have been listed once more, beginning at this time.
    pub fn listed(&mut self, began_ns: i64) {
        self.listed_ns = began_ns;
    }

    /// Whether an interval is over since this last was so.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }

    /// All notices until this time have been taken in.
    pub fn heard(&mut self, until_ns: i64) {
        self.heard_ns = until_ns;
    }

    /// What is older has been told and taken in.
    pub fn last_heard(&self) -> i64 {
        self.heard_ns
    }
}
