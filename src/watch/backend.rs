//! What a source of notices must do. There are three: the kernel's inotify, the `notify` crate, and polling.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watches::Watches;
use crate::degraded::{Degraded, Limit};
use crate::os::fd::room_for;
use crate::os::inotify::{instance_limit, watch_limit};
use crate::os::{self, Errno, reason};

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
    /// The source sends no notices for it: it must be polled.
    Poll,
    /// This user can watch no more directories; so many are ours.
    WatchLimit { limit: Option<Limit>, held: usize },
    /// This user can have no more inotify instances.
    InstanceLimit { limit: Option<Limit> },
    /// This process can have no more files open than this.
    OpenFilesLimit(u64),
    /// It may not be read.
    Denied,
    /// Anything else.
    Other(String),
}

impl Refusal {
    /// No more directories can be watched; so many of them are ours.
    pub fn no_more_watches(held: usize) -> Refusal {
        Refusal::WatchLimit { limit: watch_limit().map(told), held }
    }

    /// No inotify instance can be had.
    pub fn no_instance(errno: Errno) -> Refusal {
        match (errno, room_for(1)) {
            (Errno::EMFILE, Err(count)) => Refusal::OpenFilesLimit(count),
            (Errno::EMFILE, Ok(())) => Refusal::InstanceLimit { limit: instance_limit().map(told) },
            (errno, _) => Refusal::Other(reason(errno)),
        }
    }

    /// What to tell when a directory (`None`: the whole backend) was refused, and is polled at this interval instead.
    /// `None` where nothing is polled instead.
    pub fn told(self, directory: Option<&Path>, interval: Duration) -> Option<Degraded> {
        Some(match (self, directory) {
            (Refusal::WatchLimit { limit, held }, _) => Degraded::WatchLimit { limit, held, interval },
            (Refusal::InstanceLimit { limit }, _) => Degraded::InstanceLimit { limit, interval },
            (Refusal::OpenFilesLimit(count), _) => Degraded::OpenFilesLimit { count, interval },
            (Refusal::Other(reason), Some(directory)) => {
                Degraded::WatchRefused { directory: directory.to_owned(), reason, interval }
            }
            (Refusal::Other(reason), None) => Degraded::BackendRefused { reason, interval },
            (Refusal::Gone | Refusal::Poll | Refusal::Denied, _) => return None,
        })
    }
}

fn told(os::inotify::Limit { count, sysctl }: os::inotify::Limit) -> Limit {
    Limit { count, sysctl: sysctl.to_owned() }
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

    /// Ends the watches of a directory and of all below it.
    fn forget(&mut self, directory: &Path);

    /// Whether a directory is watched.
    fn holds(&self, directory: &Path) -> bool;

    /// The watched directories that are this one or lie below it.
    fn at_or_below(&self, directory: &Path) -> Vec<PathBuf>;

    /// How many directories are watched.
    fn count(&self) -> usize;

    /// The watches, where they can outlive the process.
    fn watches(&mut self) -> Option<&mut Watches> {
        None
    }

    /// Readable when there are notices; `None` for a source that never has any.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Whether a drain gives the notices of everything that has happened before it.
    fn is_prompt(&self) -> bool {
        true
    }

    /// The notices that have come, oldest first. Does not wait.
    fn drain(&mut self) -> Vec<Notice>;
}
