//! Restarts that come soon after a start, again and again: counts them, says when to tell the user, and how long the next
//! one waits. No I/O and no clock. It never asks who wrote a file.
//!
//! A *series* is restarts that each came within [`SOON`] of a start. It began with the start that its first restart
//! followed.
//!
//! | what comes                                          | what follows                                        |
//! |-----------------------------------------------------|-----------------------------------------------------|
//! | a change later than that                            | the count begins anew, and this restart is not in it |
//! | a change in an old file that was not in the series  | the count begins anew with this restart             |
//! | a change later than [`LONGEST`], or new settings    | the files are forgotten too                         |
//! | anything else                                       | the series goes on                                  |
//!
//! Old files existed when the series began, *fresh* ones came into being in it. The files stay known over a new count:
//! what a looping build wrote does not become old because somebody saves a source in between, or because the build was
//! slow for once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::change::{Change, ChangeKind, ChangeSet};

/// A change this soon after a start makes the restart a part of a series.
pub const SOON: Duration = Duration::from_secs(2);

/// The longest wait, and the first, which doubles until then.
pub const LONGEST: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(500);

/// From the sixth restart on, one for fresh files alone waits: builds and coverage write new names.
const FRESH_PASS: u32 = 5;

/// From the 61st on, the others wait too: somebody may well save an old file each second for a minute.
const OLD_PASS: u32 = 60;

/// The user is told by this restart at the latest.
const TOLD: u32 = 10;

/// More files than this are not kept in mind. Fresh ones are recognised all the same.
const MOST_FILES: usize = 10_000;

/// A file of the series.
#[derive(Debug, Clone, Copy)]
struct Member {
    fresh: bool,
    /// How many restarts it was behind.
    restarts: u32,
}

/// What the user is told of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The files that seem to keep it going.
    pub files: Vec<PathBuf>,
    /// How many restarts there have been.
    pub restarts: u32,
    /// Whether the restarts wait from now on; else they will if it goes on.
    pub waits: bool,
}

/// The decisions about series.
#[derive(Debug, Clone, Default)]
pub struct Damping {
    files: BTreeMap<PathBuf, Member>,
    restarts: u32,
    /// How many of them were for an old file too.
    for_old: u32,
    /// How many of them waited.
    waited: u32,
    told: bool,
}

impl Damping {
    /// How long a restart for just these changes waits, counted from the first notice; `None` if not at all.
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

    /// These changes lead to a restart. `quiet` is the time from the start, or from the last change, to the first of
    /// them. Gives back what the user is to be told, once in a series.
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

    /// These files changed too, or were found to have changed, while the restart was on its way.
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

    /// Whether there was a restart in the present series.
    pub fn is_in_series(&self) -> bool {
        self.restarts > 0
    }

    /// These files came into being between one command and the next, where nobody saw it.
    pub fn came<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) {
        for file in files {
            if self.is_in_series() && self.files.len() < MOST_FILES && !self.knows(file) {
                self.files.insert(file.to_owned(), Member { fresh: true, restarts: 0 });
            }
        }
    }

    /// A restart for something that came and went, before it was known what.
    pub fn restart_for_nothing(&mut self, quiet: Duration) {
        if self.restart(&ChangeSet::default(), quiet).is_some() {
            // There is nothing to tell of it yet.
            self.told = false;
        }
    }

    /// Another command or other patterns may have put an end to it: all is forgotten.
    pub fn reset(&mut self) {
        *self = Damping::default();
    }

    fn begin_anew(&mut self) {
        (self.restarts, self.for_old, self.waited, self.told) = (0, 0, 0, false);
    }

    /// Whether a file is known to belong to the series.
    pub fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether a change goes on with the series: its file is in it, or came into being after it began.
    fn has(&self, change: &Change) -> bool {
        self.knows(&change.path) || change.kind == ChangeKind::Created
    }

    /// The first time that a file is seen decides: what was there then is old, even if it is deleted and made again.
    fn is_fresh(&self, change: &Change) -> bool {
        self.files.get(&change.path).map_or(change.kind == ChangeKind::Created, |known| known.fresh)
    }

    /// Fresh files, and, unless those alone have led to the wait, old ones that changed again.
    fn suspects(&self, fresh_alone: bool) -> Vec<PathBuf> {
        let chosen = |member: &Member| member.fresh || !fresh_alone && member.restarts > 1;
        let of = |(path, _): (&PathBuf, &Member)| path.clone();
        let some: Vec<PathBuf> = self.files.iter().filter(|(_, member)| chosen(member)).map(of).collect();
        if some.is_empty() { self.files.keys().cloned().collect() } else { some }
    }
}

#[cfg(test)]
#[path = "damping_tests.rs"]
mod tests;
