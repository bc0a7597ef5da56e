//! Writes that leave a file looking as it did: `cp -p` from a copy with the same time and size, `rm` and `tar x`.
//!
//! An inode that was made anew shows by the time of its birth. A write into the old inode shows only in the notices:
//!
//! | told within 100 ms, while time and size are as ever | what it was           |
//! |-----------------------------------------------------|-----------------------|
//! | MODIFY alone                                        | only the time was set |
//! | MODIFY, and MODIFY again or ATTRIB                  | written, then the time was set |
//! | ATTRIB alone, or CLOSE_WRITE alone                  | chmod, `touch`, an open without a write |
//!
//! Setting the modification time without the access time is told as MODIFY, like a write.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::backend::Entry;
use crate::settle::INCOMPLETE;

/// So many files are remembered before the old ones among them are dropped.
const MOST: usize = 1024;

/// What was told of files that look as they did.
#[derive(Debug, Default)]
pub struct Told {
    /// When a write was told.
    modified: HashMap<PathBuf, Instant>,
    /// Names at which an inode was made.
    made: HashSet<PathBuf>,
}

impl Told {
    /// Takes in what was told of a file that is known; says whether it was written since the start. `looks_same` is
    /// whether it looks as it did then.
    pub fn is_write(&mut self, path: &Path, what: Entry, looks_same: bool, now: Instant) -> bool {
        if what == Entry::Created {
            self.made.insert(path.to_owned());
        }
        if !matches!(what, Entry::Modified | Entry::Attributes) {
            return false;
        }
        if !looks_same {
            // The next look may come after the old time was set again.
            return what == Entry::Modified;
        }
        let is_recent = |at: &Instant| now < *at + INCOMPLETE;
        let was_modified = self.modified.get(path).is_some_and(is_recent);
        if what == Entry::Modified {
            if self.modified.len() >= MOST {
                self.modified.retain(|_, at| is_recent(at));
            }
            self.modified.insert(path.to_owned(), now);
        }
        was_modified
    }

    /// Whether an inode was made at this name.
    pub fn was_made(&self, path: &Path) -> bool {
        self.made.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Entry::{self, Attributes, Closed, Created, Modified, MovedTo, Vanished};
    use super::Told;
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// Whether these notices of a file that looks as ever, each so long after the one before, mean a write.
    fn is_write(notices: &[Entry], pause: Duration) -> bool {
        let (mut told, mut now) = (Told::default(), Instant::now());
        notices.iter().fold(false, |before, what| {
            now += pause;
            told.is_write(Path::new("/a.py"), *what, true, now) || before
        })
    }

    #[test]
    fn a_write_that_left_no_trace_is_told_from_what_wrote_nothing() {
        for (notices, write) in [
            (&[Modified, Attributes, Closed][..], true),    // cp -p
            (&[Modified, Closed, Attributes], true),        // shutil.copy2, rsync --inplace
            (&[Modified, Closed, Modified, Closed], true),  // a write, then touch -m -r
            (&[Modified, Closed], false),                   // touch -m -r
            (&[Attributes, Closed], false),                 // touch -r
            (&[Attributes, Attributes, Attributes], false), // chmod, chown, chmod
            (&[Closed, Attributes, Closed], false),         // open, chmod, open
            (&[Vanished, MovedTo], false),                  // mv away, mv back
            (&[Created, Attributes], false),                // what was told before the start
        ] {
            assert_eq!(is_write(notices, Duration::from_millis(1)), write, "{notices:?}");
            assert!(!is_write(notices, Duration::from_secs(1)), "they have nothing to do with each other: {notices:?}");
        }
    }
}
