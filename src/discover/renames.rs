//! Renames that were seen. A call is told before it is made, so whether it succeeds shows only afterwards: what was at the old
//! name is still there, or is at the new one, or the same thread takes the old name away once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::first::First;
use crate::os::fs::FileId;

/// A call that was let go on so long ago has been made. So soon, too, a program does something else after a rename that failed.
const MADE: Duration = Duration::from_secs(1);

/// So many are followed at once.
const MOST: usize = 1 << 14;

/// A path as a call has it, and where it really lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// As the call has it.
    pub name: PathBuf,
    /// Where it really lies.
    pub real: PathBuf,
}

impl Names {
    /// Both; once, if they are the same.
    pub fn each(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.name).chain((self.name != self.real).then_some(&self.real))
    }
}

/// One rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The call.
    pub first: First,
    /// The name that it takes away.
    pub old: Names,
    /// The name that it makes.
    pub new: Names,
    /// What was at the old name, if that was looked at before the call was made, or if the call failed.
    pub id: Option<FileId>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether something was at the new name.
    pub replaces: bool,
    /// Whether the old name has been made anew since then.
    pub is_remade: bool,
}

/// What has become of a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has happened.
    Done,
    /// It has failed, or is still to come.
    NotYet,
    /// It has failed.
    Failed,
}

impl Rename {
    /// What has become of it. Asks the file system.
    pub fn fate(&self) -> Fate {
        let at = |path: &Path| std::fs::symlink_metadata(path).ok().map(|metadata| FileId::from(&metadata));
        let Some(id) = self.id else { return Fate::Done };
        let (old, new) = (at(&self.old.real), at(&self.new.real));
        if !self.is_remade && old == Some(id) {
            // Two names of one file stay as they are, too.
            return Fate::NotYet;
        }
        // Where the old name has been made anew, that may have been looked at.
        let has_arrived = new == Some(id) || self.is_remade && !self.replaces;
        if self.is_directory && !has_arrived { Fate::Failed } else { Fate::Done }
    }
}

/// What has become of each of these. Asks the file system.
pub fn fates(renames: impl IntoIterator<Item = Rename>) -> Vec<(Rename, Fate)> {
    renames.into_iter().map(|rename| (rename.clone(), rename.fate())).collect()
}

/// Those whose outcome may still show, by the old name.
#[derive(Debug, Default)]
pub struct Renames {
    followed: BTreeMap<PathBuf, Rename>,
    /// Those that have to be looked into.
    open: BTreeSet<PathBuf>,
}

impl Renames {
    /// One more.
    pub fn follow(&mut self, rename: Rename) {
        if self.followed.len() < MOST {
            if rename.id.is_some() {
                self.open.insert(rename.old.real.clone());
            }
            self.followed.insert(rename.old.real.clone(), rename);
        }
    }

    /// This name is made anew, so nothing that happens to it or below it says anything about an earlier rename.
    pub fn is_made(&mut self, real: &Path) {
        let below = self.followed.range_mut(real.to_owned()..).take_while(|(old, _)| old.starts_with(real));
        below.for_each(|(_, rename)| rename.is_remade = true);
    }

    /// A thread takes this name away. Returns what it was renamed to before, and what has become of that. That the old name is
    /// unlinked says nothing of a file: many programs do so in any case, when they are done.
    pub fn is_taken(&mut self, real: &Path, by: First) -> Option<(Rename, Fate)> {
        let known = self.followed.get(real)?;
        if !(by.call.starts_with("rename") || known.is_directory && known.id.is_none()) {
            return None;
        }
        let rename = self.followed.remove(real)?;
        self.open.remove(real);
        let is_again = rename.first.thread == by.thread && by.when.saturating_duration_since(rename.first.when) < MADE;
        if !rename.is_remade && (is_again || rename.id.is_some()) {
            Some((rename, Fate::Failed))
        } else if rename.id.is_some() {
            let fate = if rename.is_directory && rename.replaces { Fate::Failed } else { Fate::Done };
            Some((rename, fate))
        } else {
            None
        }
    }

    /// Those that have to be looked into.
    pub fn open(&self) -> impl Iterator<Item = &Rename> {
        self.open.iter().filter_map(|old| self.followed.get(old))
    }

    /// Takes in what has become of one that was open. Returns it once that is certain.
    pub fn settle(&mut self, rename: &Rename, fate: Fate, now: Instant) -> Option<(Rename, Fate)> {
        let old = &rename.old.real;
        let known = self.followed.get_mut(old).filter(|known| known.first == rename.first && known.id.is_some())?;
        let settled = known.clone();
        let fate = match fate {
            Fate::NotYet if now.saturating_duration_since(known.first.when) < MADE => return None,
            // The same name may yet be taken once more.
            Fate::Done => {
                known.id = None;
                Fate::Done
            }
            Fate::NotYet | Fate::Failed => {
                self.followed.remove(old);
                Fate::Failed
            }
        };
        self.open.remove(old);
        Some((settled, fate))
    }

    /// Lets go of those about which nothing more will show.
    pub fn prune(&mut self, now: Instant) {
        let is_fresh = |rename: &Rename| now.saturating_duration_since(rename.first.when) < MADE;
        self.followed.retain(|_, rename| rename.id.is_some() || is_fresh(rename));
    }

    /// When one that is open has to be looked into at last.
    pub fn due(&self) -> Option<Instant> {
        self.open().map(|rename| rename.first.when + MADE).min()
    }
}
