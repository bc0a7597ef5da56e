//! The start of a generation, as its watcher knows it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clocks::{Clocks, device};
use crate::change::{ChangeSet, Look};
use crate::os;

/// How long after a save a file counts as written a moment ago, nanoseconds.
pub const MOMENT_NS: i64 = 2_000_000_000;

/// So many changes are remembered for the next child.
const MOST_KNOWN: usize = 1000;

/// What one child tells the next beside how the files look. Paths are stored as `OsString`, because they need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How far each file system's clock is ahead of ours, by its device number, nanoseconds.
    pub clocks: HashMap<u64, i64>,
    /// How the latest changes were last seen: they are no news.
    pub known: Vec<(OsString, Look)>,
}

/// The start of a generation, and what is known of the time before.
#[derive(Debug, Default)]
pub struct Start {
    /// The instant of the command's start, by our own clock of the files; `None` before it.
    pub at_ns: Option<i64>,
    /// How the changes behind this start were last seen: they are no news.
    pub known: HashMap<PathBuf, Look>,
    /// The clocks that files are stamped with.
    pub clocks: Clocks,
    /// Files that were written a moment before the command started.
    pub recent: Vec<PathBuf>,
    /// Files that the child before did not know.
    pub came: Vec<PathBuf>,
}

impl Start {
    /// Of the changes behind it is known how they were seen.
    pub fn after(behind: &ChangeSet) -> Start {
        let known = behind.iter().map(|change| (change.path.clone(), change.seen)).collect();
        Start { known, ..Start::default() }
    }

    /// The instant of the command's start, by the clock of a file's file system.
    pub fn at_ns(&self, path: &Path) -> Option<i64> {
        self.at_ns.map(|at| at + self.clocks.ahead_ns(path))
    }

    /// Whether something happened to a file at the start or later, by the time of its inode's change.
    pub fn is_since(&self, path: &Path, ctime_ns: i64) -> bool {
        let Some(at_ns) = self.at_ns else { return false };
        let ahead_ns = self.clocks.ahead_ns(path);
        // A time that is still to come proves nothing: our clock was set back.
        ctime_ns >= at_ns + ahead_ns && ctime_ns <= os::clock::file_clock_ns() + ahead_ns + MOMENT_NS
    }

    /// The command starts now.
    pub fn begin(&mut self) -> i64 {
        let at_ns = os::clock::file_clock_ns();
        self.at_ns = Some(at_ns);
        // If a change behind this start seems to lie ahead of it, the clock of its file system is ahead.
        for (path, look) in self.known.iter().filter(|(_, look)| look.ctime_ns > at_ns) {
            if let Some(device) = device(path) {
                self.clocks.saw(device, look.ctime_ns, at_ns, Duration::ZERO);
            }
        }
        at_ns
    }

    /// Takes in what the child before has left.
    pub fn remember(&mut self, memory: Memory) {
        self.clocks.inherit(memory.clocks);
        for (path, look) in memory.known {
            self.known.entry(path.into()).or_insert(look);
        }
    }

    /// What the next child should know. Changes of long ago are no longer taken for news.
    pub fn memory(&self) -> Memory {
        let recent = |(path, look): &(&PathBuf, &Look)| {
            let now_ns = os::clock::file_clock_ns() + self.clocks.ahead_ns(path);
            look.ctime_ns >= now_ns - 5 * MOMENT_NS
        };
        let known = self.known.iter().filter(recent).map(|(path, look)| (path.clone().into_os_string(), *look));
        Memory { clocks: self.clocks.known(), known: known.take(MOST_KNOWN).collect() }
    }
}
