//! What a source of notices must do. There are three: the kernel's inotify, the `notify` crate, and polling.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::os::Errno;
use crate::os::fd::room_for;
use crate::os::inotify::{Limit, instance_limit, watch_limit};

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
    /// A limit of the system is reached; which, and the remedy.
    Limit(String),
    /// It may not be read.
    Denied,
    /// Anything else.
    Other(String),
}

impl Refusal {
    /// No more directories can be watched; so many of them are ours.
    pub fn no_more_watches(ours: usize) -> Refusal {
        let (of, sysctl) = limit(watch_limit());
        Refusal::Limit(format!(
            "the limit of {of}watched directories a user is reached, of which {ours} are ours; raise it with `sysctl {sysctl}=N`, or watch less with -w and -i"
        ))
    }

    /// Nothing can be watched.
    pub fn no_instance(errno: Errno) -> Refusal {
        match (errno, room_for(1)) {
            (Errno::EMFILE, Err(count)) => Refusal::too_many_files(count),
            (Errno::EMFILE, Ok(())) => {
                let (of, sysctl) = limit(instance_limit());
                Refusal::Limit(format!(
                    "no inotify instance can be had: the limit of {of}instances a user is reached; raise it with `sysctl {sysctl}=N`"
                ))
            }
            (errno, _) => Refusal::Limit(format!("no inotify instance can be had ({})", errno.desc().to_lowercase())),
        }
    }

    /// Nothing can be watched, since the process may not have more than `count` files open.
    pub fn too_many_files(count: u64) -> Refusal {
        Refusal::Limit(format!(
            "no inotify instance can be had: the limit of {count} open files is reached; raise it with `ulimit -n N`"
        ))
    }
}

/// `128 ` and the sysctl; without `/proc` the number is not known.
fn limit(limit: Option<Limit>) -> (String, &'static str) {
    match limit {
        Some(Limit { count, sysctl }) => (format!("{count} "), sysctl),
        None => (String::new(), "fs.inotify.*"),
    }
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

    /// Readable when there are notices; `None` for a source that never has any.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// The notices that have come, oldest first. Does not wait.
    fn drain(&mut self) -> Vec<Notice>;
}
