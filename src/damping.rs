//! Slows down restart loops: counts restarts that come soon after a start, decides when to report them to the user, and
//! how long the next one is delayed. No I/O and no clock. It does not try to find out which process wrote a file.
//!
//! A *series* is a row of restarts, each of them within [`SOON`] of a start. It begins at the start before its first
//! restart.
//!
//! | input                                               | effect                                              |
//! |-----------------------------------------------------|-----------------------------------------------------|
//! | a change later than [`SOON`] after the start        | the count restarts at 0                             |
//! | a change to an old file that was not in the series  | the count restarts at 1 with this restart           |
//! | a change later than [`LONGEST`], or a new config    | the count restarts at 0, and the files are forgotten |
//! | anything else                                       | the series continues                                |
//!
//! *Old* files existed when the series began, *fresh* files were created during it. A new count keeps the known files:
//! the output of a looping build stays fresh when the user saves a source in between or when one build was slow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeKind, ChangeSet};

/// A change this soon after a start makes the restart a part of a series.
pub const SOON: Duration = Duration::from_secs(2);

/// The longest delay of a restart. Delays start at `FIRST` and double up to this.
pub const LONGEST: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(500);

/// From the sixth restart on, a restart for fresh files alone is delayed: builds and coverage tools write new names.
const FRESH_PASS: u32 = 5;

/// From the 61st restart on, the others are delayed too. A user may well save an old file each second for a minute.
const OLD_PASS: u32 = 60;

/// A series is reported at this restart at the latest.
const TOLD: u32 = 10;

/// The most files that are remembered. Fresh files are recognised without it.
const MOST_FILES: usize = 10_000;

/// A file of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    fresh: bool,
    /// How many restarts it caused or took part in.
    restarts: u32,
}

/// A series, as reported to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The files that probably cause it.
    pub files: Vec<PathBuf>,
    /// The number of restarts so far.
    pub restarts: u32,
    /// Whether restarts are delayed from now on; else they will be if the series continues.
    pub waits: bool,
}

/// The state of the present series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damping {
    #[serde(with = "members")]
    files: BTreeMap<PathBuf, Member>,
    restarts: u32,
    /// How many of the restarts had an old file among their changes.
    for_old: u32,
    /// How many of the restarts were delayed.
    waited: u32,
    told: bool,
}

impl Damping {
    /// How long a restart for exactly these changes is delayed, counted from the first event; `None` if not at all.
    pub fn wait<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Option<Duration> {
        let may_wait = if self.for_old >= OLD_PASS {
            |damping: &Damping, change: &Change| damping.has(change)
        } else if self.restarts >= FRESH_PASS {
            |damping: &Damping, change: &Change| damping.is_fresh(change)
        } else {
            return None;
        };
        let all = changes.into_iter().all(|change| !change.config && may_wait(self, change));
        all.then(|| FIRST.saturating_mul(1 << self.waited.min(8)).min(LONGEST))
    }

    /// Takes in a restart for these changes. `quiet` is the time from the start, or from the last change, to the first
    /// of them. Returns the series when it must be reported, once per series.
    pub fn restart(&mut self, changes: &ChangeSet, quiet: Duration) -> Option<Series> {
        if changes.has_config() || quiet > LONGEST {
            self.reset();
            return None;
        }
        if quiet > SOON {
            self.begin_anew();
            return None;
        }
        let waited = !changes.is_empty() && self.wait(changes.iter()).is_some();
        let for_old = changes.iter().any(|change| !self.is_fresh(change));
        self.join(changes);
        self.restarts += 1;
        self.for_old += u32::from(for_old);
        self.waited += u32::from(waited);
        if self.told || !(waited || self.restarts >= TOLD) {
            return None;
        }
        self.told = true;
        Some(Series { files: self.suspects(waited), restarts: self.restarts, waits: waited })
    }

    /// Takes in changes that were found while the restart was in progress.
    pub fn join(&mut self, changes: &ChangeSet) {
        if changes.iter().any(|change| !self.has(change)) {
            self.begin_anew();
        }
        for change in changes.iter() {
            let fresh = self.is_fresh(change);
            if let Some(known) = self.files.get_mut(&change.path) {
                known.restarts += 1;
            } else if self.files.len() < MOST_FILES {
                self.files.insert(change.path.clone(), Member { fresh, restarts: 1 });
            }
        }
    }

    /// Whether the present series has a restart.
    pub fn is_in_series(&self) -> bool {
        self.restarts > 0
    }

    /// Takes in files that were created between two commands, where no watcher saw them.
    pub fn came<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) {
        for file in files {
            if self.is_in_series() && self.files.len() < MOST_FILES && !self.knows(file) {
                self.files.insert(file.to_owned(), Member { fresh: true, restarts: 0 });
            }
        }
    }

    /// Takes in a restart for a file that was created and deleted before its path was known.
    pub fn restart_for_nothing(&mut self, quiet: Duration) {
        if self.restart(&ChangeSet::default(), quiet).is_some() {
            // Without a file there is nothing to report yet.
            self.told = false;
        }
    }

    /// Forgets everything: another command or other patterns may have ended the loop.
    pub fn reset(&mut self) {
        *self = Damping::default();
    }

    fn begin_anew(&mut self) {
        (self.restarts, self.for_old, self.waited, self.told) = (0, 0, 0, false);
    }

    /// Whether a file belongs to the series.
    pub fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether a change continues the series: its file is in it, or was created after it began.
    fn has(&self, change: &Change) -> bool {
        self.knows(&change.path) || change.kind == ChangeKind::Created
    }

    /// Whether the file was created during the series. The first change to it decides: a file that existed then is old,
    /// even if it is deleted and created again.
    fn is_fresh(&self, change: &Change) -> bool {
        self.files.get(&change.path).map_or(change.kind == ChangeKind::Created, |known| known.fresh)
    }

    /// The probable causes: fresh files, and old files that changed more than once, unless fresh files alone led to the
    /// delay.
    fn suspects(&self, fresh_alone: bool) -> Vec<PathBuf> {
        let chosen = |member: &Member| member.fresh || !fresh_alone && member.restarts > 1;
        let of = |(path, _): (&PathBuf, &Member)| path.clone();
        let some: Vec<PathBuf> = self.files.iter().filter(|(_, member)| chosen(member)).map(of).collect();
        if some.is_empty() { self.files.keys().cloned().collect() } else { some }
    }
}

/// The files between two processes. A path need not be UTF-8.
mod members {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Member;

    #[derive(Serialize, Deserialize)]
    struct Entry(#[serde(with = "crate::change::path")] PathBuf, Member);

    pub fn serialize<S: Serializer>(files: &BTreeMap<PathBuf, Member>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(files.iter().map(|(path, member)| Entry(path.clone(), *member)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<PathBuf, Member>, D::Error> {
        let entries = Vec::<Entry>::deserialize(deserializer)?;
        Ok(entries.into_iter().map(|Entry(path, member)| (path, member)).collect())
    }
}

#[cfg(test)]
#[path = "damping_tests.rs"]
mod tests;
