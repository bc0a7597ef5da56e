//! The directories that are polled, and when: those on file systems without events, and those that no watch is left for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Polling of directories that are watched as well takes at most one part in so many of the time,
const SELDOM: u32 = 50;

/// and polling of directories that are only polled one part in so many.
const HALF: u32 = 2;

/// The polled directories, and the time of the next poll.
#[derive(Debug)]
pub struct Polling {
    /// The directories.
    pub directories: BTreeSet<PathBuf>,
    /// The time between two polls.
    pub interval: Duration,
    next: Option<Instant>,
    /// When the poll began that is still being processed.
    since: Option<Instant>,
}

impl Polling {
    /// Nothing is polled yet.
    pub fn new(interval: Duration) -> Polling {
        Polling { directories: BTreeSet::new(), interval, next: None, since: None }
    }

    /// The polling that another process has kept.
    pub fn resume(kept: Vec<OsString>, interval: Duration) -> Polling {
        Polling { directories: kept.into_iter().map(PathBuf::from).collect(), ..Polling::new(interval) }
    }

    /// The directories, for another process.
    pub fn keep(&self) -> Vec<OsString> {
        self.directories.iter().map(|path| path.clone().into_os_string()).collect()
    }

    /// Polls a directory from now on.
    pub fn add(&mut self, directory: &Path) {
        self.directories.insert(directory.to_owned());
    }

    /// The polled directories at a path or below it.
    pub fn at_or_below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.directories.range(path.to_owned()..);
        from.take_while(|directory| directory.starts_with(path)).cloned().collect()
    }

    /// Forgets a directory and all below it.
    pub fn forget(&mut self, directory: &Path) {
        // Not by a search through all of them: for each directory of a tree that is removed, that would take minutes.
        for path in self.at_or_below(directory) {
            self.directories.remove(&path);
        }
    }

    /// When it is time to poll. `is_told` says whether a directory is watched as well.
    pub fn due(&mut self, is_told: impl Fn(&Path) -> bool) -> Option<Instant> {
        if self.next.is_none() && !self.directories.is_empty() {
            self.next = Some(Instant::now() + self.interval);
        }
        if let (Some(since), Some(next)) = (self.since.take(), &mut self.next) {
            // Directories that are watched as well seldom change without an event, so polling them must cost little. And a
            // tree whose poll takes longer than the interval must not be polled all the time.
            let all_told = self.directories.iter().all(|directory| is_told(directory));
            let part = if all_told { SELDOM } else { HALF };
            *next = (*next).max(since + since.elapsed() * part);
        }
        self.next
    }

    /// The next poll is due now.
    pub fn hasten(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// Begins a poll if it is due; returns the directories to look at.
    pub fn begin(&mut self, now: Instant) -> Option<BTreeSet<PathBuf>> {
        self.next.filter(|due| *due <= now)?;
        self.next = Some(now + self.interval);
        self.since = Some(now);
        Some(self.directories.clone())
    }
}
