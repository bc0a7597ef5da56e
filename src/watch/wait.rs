//! The one wait of the watcher: for notices, for a visitor at the door, for the clock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use crate::change::Look;
use crate::os::fd::{Bell, wait_readable};
use crate::os::{Errno, errno};

/// The way for other threads to wake the watcher.
#[derive(Debug, Clone)]
pub struct Door {
    bell: Arc<Bell>,
    paths: Sender<Vec<(PathBuf, Look)>>,
    marks: Sender<Mark>,
}

/// A request to take in everything that has happened until now: whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The child's: a job has ended.
    Job,
    /// The child's: the command has ended, and changes may have waited for that.
    Ended,
    /// The supervisor's, by its number.
    Asked(u64),
}

impl Door {
    /// Has files watched that looked like this when somebody read them: one that looks otherwise by then has changed.
    pub fn add(&self, paths: Vec<(PathBuf, Look)>) {
        // The receiver ends with the process.
        let _ = self.paths.send(paths);
        self.bell.ring();
    }

    /// Wakes the watcher, for something that it learns in another way.
    pub fn knock(&self) {
        self.bell.ring();
    }

    /// Asks for everything that has happened until now to be taken in; it is answered by [`super::Watcher::passed`].
    pub fn mark(&self, mark: Mark) {
        let _ = self.marks.send(mark);
        self.bell.ring();
    }
}

/// The other side of the door.
#[derive(Debug)]
pub struct Visitors {
    bell: Arc<Bell>,
    paths: Receiver<Vec<(PathBuf, Look)>>,
    marks: Receiver<Mark>,
}

/// A door and its other side.
///
/// # Errors
/// No descriptor is left.
pub fn door() -> Result<(Door, Visitors), Errno> {
    let bell = Arc::new(Bell::new()?);
    let (path_sender, paths) = channel();
    let (mark_sender, marks) = channel();
    let door = Door { bell: Arc::clone(&bell), paths: path_sender, marks: mark_sender };
    Ok((door, Visitors { bell, paths, marks }))
}

impl Visitors {
    /// The paths that are to be watched from now on.
    pub fn paths(&self) -> Vec<(PathBuf, Look)> {
        self.paths.try_iter().flatten().collect()
    }

    /// The requests to take everything in.
    pub fn marks(&self) -> Vec<Mark> {
        self.marks.try_iter().collect()
    }

    /// A wait for this queue, if there is one, and for the door.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn wait(&self, queue: Option<BorrowedFd<'_>>) -> Result<Wait, Errno> {
        let queue = queue.map(|queue| queue.try_clone_to_owned()).transpose().map_err(|error| errno(&error))?;
        Ok(Wait { queue, bell: Arc::clone(&self.bell) })
    }
}

/// What the watcher waits for. It belongs to the thread that waits, so that nobody is kept from the watcher meanwhile.
#[derive(Debug)]
pub struct Wait {
    queue: Option<OwnedFd>,
    bell: Arc<Bell>,
}

impl Wait {
    /// Waits until something was told, somebody is at the door, or the instant has come. May come back early.
    pub fn until(&self, until: Instant) {
        // An error is an early return, like an interruption.
        let _ = match &self.queue {
            Some(queue) => wait_readable([queue.as_fd(), self.bell.as_fd()], Some(until)).map(drop),
            None => wait_readable([self.bell.as_fd()], Some(until)).map(drop),
        };
        self.bell.hush();
    }
}
