//! What a source of notices must do. Three do it: the kernel's inotify, the `notify` crate, and polling.

use std::path::{Path, PathBuf};
use std::time::Instant;

/// Something was seen in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An entry of a watched directory.
    Entry {
        /// Its path, by the directory's watched name.
        path: PathBuf,
        /// What happened to it.
        what: Entry,
    },
    /// A watched directory was itself deleted, moved or unmounted.
    Gone(PathBuf),
    /// Notices are missing: everything must be looked at again.
    Overflow,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is new, perhaps not yet written.
    Created,
    /// It was written to, and may still be open.
    Modified,
    /// It was closed after writing.
    Closed,
    /// Its times, mode or owner changed.
    Attributes,
    /// It came in whole, by a rename.
    MovedTo,
    /// It is gone, or left for another name.
    Vanished,
}

/// Why a directory cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such directory (any more).
    Gone,
    /// Its changes are not told: it must be polled.
    Poll,
    /// A limit of the system is reached; which, and the remedy.
    Limit(String),
    /// It may not be read.
    Denied,
    /// Anything else.
    Other(String),
}

/// A source of notices about directories.
pub trait Backend: Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Whether the end of a save is told, so that a written file can be waited for.
    fn tells_close(&self) -> bool;

    /// Watches the entries of one directory, not those below. Adding it again is nothing.
    ///
    /// # Errors
    /// See [`Refusal`].
    fn add(&mut self, directory: &Path) -> Result<(), Refusal>;

    /// Forgets a directory and all below it.
    fn forget(&mut self, directory: &Path);

    /// Waits for notices until the instant has come. May come back early with nothing.
    fn next(&mut self, until: Option<Instant>) -> Vec<Notice>;
}
