//! Random pauses.

use std::time::Duration;

use crate::random::Random;

impl Random {
    /// A duration between two numbers of microseconds.
    pub fn micros(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_micros(u64::try_from(from + self.below(to - from)).expect("64 bits hold any index"))
    }
}
