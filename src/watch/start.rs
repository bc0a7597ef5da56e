//! The start of a generation, as its watcher knows it.

use std::collections::HashMap;
use std::path::PathBuf;

use super::walk::Walk;
use crate::change::{ChangeSet, Look};
use crate::os;

/// How long after a save a file counts as written a moment ago, nanoseconds.
pub const MOMENT_NS: i64 = 2_000_000_000;

/// The start of a generation, and what is known of the time before.
#[derive(Debug, Default)]
pub struct Start {
    /// What is still to be armed for the first time; what it meets is the state of the start.
    pub walk: Walk,
    /// The instant of the command's start, by the clock of the files; `None` before it.
    pub at_ns: Option<i64>,
    /// How the changes behind this start were last seen: they are no news.
    pub known: HashMap<PathBuf, Look>,
    /// Files that were written a moment before the command started.
    pub recent: Vec<PathBuf>,
    /// Files that the child before did not know.
    pub came: Vec<PathBuf>,
    /// Whether the child before has left us something.
    pub inherits: bool,
    /// Directories that were moved (or chmodded) since the start.
    pub moved: Vec<PathBuf>,
    /// Files whose inode changed since the start although they were not written: moved here, or merely chmodded.
    pub doubtful: Vec<PathBuf>,
}

impl Start {
    /// Of the changes behind it is known how they were seen.
    pub fn after(behind: &ChangeSet) -> Start {
        let known = behind.iter().map(|change| (change.path.clone(), change.seen)).collect();
        Start { known, ..Start::default() }
    }

    /// Whether something happened at the start or later, by the time of an inode's change.
    pub fn is_since(&self, ctime_ns: i64) -> bool {
        // A time that is still to come proves nothing: a file server's clock is ahead, or ours was set back.
        self.at_ns.is_some_and(|at| ctime_ns >= at) && ctime_ns <= os::clock::file_clock_ns() + MOMENT_NS
    }
}
