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

use super::Watcher;
use super::backend::Entry;
use crate::change::Stamp;
use crate::os;
use crate::os::fs::Silence;
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

impl Watcher {
    /// Whether a file was written since the start, although it may look as it did then.
    pub(super) fn is_rewritten(&mut self, path: &Path, what: Entry) -> bool {
        let Some(known) = self.snapshot.get(path) else { return false };
        if what == Entry::Created {
            self.told.made.insert(path.to_owned());
        }
        if !matches!(what, Entry::Modified | Entry::Attributes) {
            return false;
        }
        if os::fs::look(path).stamp != Some(known) {
            // The next look may come after the old time was set again.
            return what == Entry::Modified;
        }
        let now = Instant::now();
        let is_recent = |at: &Instant| now < *at + INCOMPLETE;
        let was_modified = self.told.modified.get(path).is_some_and(is_recent);
        if what == Entry::Modified {
            if self.told.modified.len() >= MOST {
                self.told.modified.retain(|_, at| is_recent(at));
            }
            self.told.modified.insert(path.to_owned(), now);
        }
        was_modified
    }

    /// Whether two stamps stand for the same state of a file. On an overlay, the first open for writing copies a file from
    /// a lower layer, and so gives it another time of birth.
    pub(super) fn is_same(&self, path: &Path, then: Option<Stamp>, now: Option<Stamp>) -> bool {
        let (Some(one), Some(other)) = (then, now) else { return then == now };
        let copied_up = || {
            let directory = path.parent().unwrap_or(path);
            matches!(os::fs::silence(directory), Some(Silence::Below(_))) && !self.told.made.contains(path)
        };
        one == other || (one.is_twin(&other) && copied_up())
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Entry::{self, Attributes, Closed, Created, Modified, MovedTo, Vanished};
    use crate::change::ChangeSet;
    use crate::filter::Filter;
    use crate::settle::Settler;
    use crate::watch::Watcher;
    use std::sync::Arc;
    use std::time::{Duration, Instant, SystemTime};

    /// Whether these notices of a file that looks as ever lead to a restart.
    fn counts(told: &[Entry]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(directory.path()).unwrap().join("a.py");
        std::fs::write(&path, "one").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let config = crate::config::tests::config(path.parent().unwrap(), "*.py", "");
        let filter = Arc::new(Filter::new(&config, Vec::new()));
        let mut watcher = Watcher::new(&config, filter, &ChangeSet::default());
        let mut settler = Settler::new(Duration::ZERO);
        assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX, &mut settler));
        for what in told {
            watcher.take_in_entry(&path, *what, &mut settler);
        }
        watcher.confirm(&mut settler, Instant::now());
        !settler.is_empty()
    }

    #[test]
    fn a_write_that_left_no_trace_is_told_from_what_wrote_nothing() {
        for (told, rewritten) in [
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
            assert_eq!(counts(told), rewritten, "{told:?}");
        }
    }
}
