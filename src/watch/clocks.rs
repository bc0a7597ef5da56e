//! The clocks that files are stamped with. A file server's, and a virtual machine's host's, may differ from ours by
//! seconds, and then "changed since the start" cannot be read off our own clock.
//!
//! Nothing is written to find out: a write that is told has just been stamped, so its time is the file system's clock.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The longest tick of the clock that files are stamped with (100 Hz), nanoseconds.
pub const TICK_NS: i64 = 10_000_000;

/// A notice may be late by this much, on a busy machine. A clock that is behind by less cannot be told from that.
const LATE_NS: i64 = 500_000_000;

/// A time that is older than this is no time of a moment ago: the file came in with its directory.
const OLD_NS: i64 = 60_000_000_000;

/// How far each file system's clock is ahead of ours, by its device number, nanoseconds; below zero, it is behind.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The most that was seen in this generation.
    seen: HashMap<u64, i64>,
    /// As the child before has left it.
    inherited: HashMap<u64, i64>,
}

impl Clocks {
    /// A file of this device was seen at `now_ns`, at most so long after it was stamped with `ctime_ns`.
    pub fn saw(&mut self, device: u64, ctime_ns: i64, now_ns: i64, delay: Duration) {
        let ahead = ctime_ns.saturating_sub(now_ns);
        let late = LATE_NS + i64::try_from(delay.as_nanos()).unwrap_or(OLD_NS);
        let ahead = match ahead {
            // Both clocks stand still for a tick at a time.
            ahead if ahead > 2 * TICK_NS => ahead - TICK_NS,
            ahead if ahead < -OLD_NS => return,
            ahead if ahead < -late => ahead,
            _ => 0,
        };
        let most = self.seen.entry(device).or_insert(ahead);
        *most = ahead.max(*most);
    }

    /// What the child before knew of a device.
    pub fn inherit(&mut self, known: impl IntoIterator<Item = (u64, i64)>) {
        self.inherited.extend(known);
    }

    /// What is known, for the next child.
    pub fn known(&self) -> HashMap<u64, i64> {
        let mut known = self.inherited.clone();
        known.extend(&self.seen);
        known
    }

    /// How far the clock of a file's file system is ahead of ours.
    pub fn ahead_ns(&self, path: &Path) -> i64 {
        let differs = |(_, ahead): (&u64, &i64)| *ahead != 0;
        if !self.seen.iter().chain(&self.inherited).any(differs) {
            return 0;
        }
        let Some(device) = device(path) else { return 0 };
        self.seen.get(&device).or_else(|| self.inherited.get(&device)).copied().unwrap_or(0)
    }
}

/// The device of a file; of what is gone, that of the nearest directory.
pub fn device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.dev())
}

#[cfg(test)]
mod tests {
    use super::{Clocks, TICK_NS, device};
    use std::path::Path;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000_000;

    fn ahead_after(samples: &[(i64, u64)]) -> i64 {
        let (path, mut clocks) = (Path::new("/"), Clocks::default());
        for (sample, delay) in samples {
            clocks.saw(device(path).unwrap(), 100 * SECOND + sample, 100 * SECOND, Duration::from_secs(*delay));
        }
        clocks.ahead_ns(path)
    }

    #[test]
    fn a_clock_that_differs_is_learnt_from_the_promptest_notice() {
        for (samples, ahead) in [
            (&[][..], 0),
            (&[(0, 0)], 0),
            (&[(TICK_NS, 0)], 0),
            (&[(-SECOND / 3, 0)], 0),
            (&[(2 * SECOND, 0)], 2 * SECOND - TICK_NS),
            (&[(2 * SECOND, 0), (2 * SECOND - 5_000_000, 0)], 2 * SECOND - TICK_NS),
            (&[(-2 * SECOND, 0)], -2 * SECOND),
            (&[(-2 * SECOND, 0), (-SECOND, 0)], -SECOND),
            (&[(-2 * SECOND, 0), (0, 0)], 0),
            (&[(-SECOND, 1)], 0),
            (&[(-2 * SECOND, 1)], -2 * SECOND),
            (&[(-3600 * SECOND, 0)], 0),
        ] {
            assert_eq!(ahead_after(samples), ahead, "{samples:?}");
        }
    }

    #[test]
    fn each_file_system_has_its_own_clock_and_the_newest_word_counts() {
        let mut clocks = Clocks::default();
        let here = device(Path::new("/")).unwrap();
        clocks.saw(here + 1, 102 * SECOND, 100 * SECOND, Duration::ZERO);
        assert_eq!(clocks.ahead_ns(Path::new("/none")), 0, "that was another device");
        clocks.inherit([(here, SECOND)]);
        assert_eq!(clocks.ahead_ns(Path::new("/none")), SECOND);
        clocks.saw(here, 100 * SECOND, 100 * SECOND, Duration::ZERO);
        assert_eq!(clocks.ahead_ns(Path::new("/none")), 0);
        assert_eq!(clocks.known()[&here], 0);
    }
}
