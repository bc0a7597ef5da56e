//! What the loop has seen, on its way to the thread that looks into it.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::super::fd::Bell;
use super::calls::{Access, Gap};

/// So many wait to be looked at. More than that come only if that thread is blocked.
const MOST_PENDING: usize = 1 << 20;

/// Of so many files it is known that they were asked for in vain.
const MOST_ABSENT: usize = 1 << 14;

/// What was asked for in vain and is asked for again is told so often at most: some programs ask all the time.
const AGAIN: Duration = Duration::from_millis(250);

/// What was seen of a thread of a traced process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// It asks for a file.
    File {
        /// The number of the thread; the pid, if it is the only one.
        thread: i32,
        /// What it does with it.
        access: Access,
        /// What its process is called: `python3 (pid 123)`.
        name: Arc<str>,
        /// The path as the process means it: absolute, symlinks and `..` unresolved.
        path: PathBuf,
        /// The name of the system call.
        call: &'static str,
        /// When it was seen.
        when: Instant,
        /// The same by the clock of file times: what changed the file later has no earlier time.
        seen_ns: i64,
    },
    /// It may do more than is seen.
    Gap {
        /// The number of the thread.
        thread: i32,
        /// Why.
        gap: Gap,
    },
}

impl Sighting {
    /// The program, if one is about to be executed.
    pub(super) fn executed(&self) -> Option<&Path> {
        match self {
            Sighting::File { access: Access::Execute, path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether it must be known before it happens: a set-uid program must not start and fail unnoticed, and no event may
    /// come before the write that explains it.
    pub(super) fn is_early(&self) -> bool {
        !matches!(self, Sighting::File { access: Access::Read | Access::List | Access::Stat, .. })
    }
}

/// The sightings that nobody has taken yet. Its descriptor can be read when there are some, or when no more will come.
#[derive(Debug)]
pub struct Found {
    pending: Mutex<Vec<Sighting>>,
    /// How many were ever added.
    told: AtomicU64,
    bell: Bell,
    ended: AtomicBool,
    absent: Mutex<Absent>,
}

/// What was absent when it was asked for. It may be there the next time, and read.
#[derive(Debug, Default)]
struct Absent {
    known: HashSet<(Access, PathBuf)>,
    /// The last sighting of what was asked for again.
    again: HashMap<(Access, PathBuf), Sighting>,
    /// When those are told.
    due: Option<Instant>,
}

impl Found {
    /// Nothing yet.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> Result<Found, Errno> {
        Ok(Found {
            pending: Mutex::default(),
            told: AtomicU64::new(0),
            bell: Bell::new()?,
            ended: AtomicBool::new(false),
            absent: Mutex::default(),
        })
    }

    /// What this access asks for is absent, or is there: as long as it is absent, it is told again when it is asked for again.
    pub fn note_absent(&self, access: Access, path: &Path, is_absent: bool) {
        let mut absent = self.absent();
        let key = (access, path.to_owned());
        if !is_absent {
            absent.known.remove(&key);
        } else if absent.known.len() < MOST_ABSENT {
            absent.known.insert(key);
        }
    }

    /// Something that was told before is asked for again.
    pub(super) fn ask_again(&self, sightings: Vec<Sighting>) {
        if sightings.is_empty() {
            return;
        }
        let mut absent = self.absent();
        let Absent { known, again, due } = &mut *absent;
        for sighting in sightings {
            let Sighting::File { access, path, .. } = &sighting else { continue };
            let key = (*access, path.clone());
            if known.contains(&key) {
                again.insert(key, sighting);
            }
        }
        if !again.is_empty() && due.is_none() {
            *due = Some(Instant::now() + AGAIN);
            drop(absent);
            self.bell.ring();
        }
    }

    fn absent(&self) -> MutexGuard<'_, Absent> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what was asked for again, if it is time.
    fn tell_again(&self) {
        let mut absent = self.absent();
        if absent.due.is_some_and(|due| due <= Instant::now() || self.has_ended()) {
            absent.due = None;
            let again = std::mem::take(&mut absent.again).into_values().collect();
            drop(absent);
            self.add(again);
        }
    }

    /// Whoever waits is woken only for the first: what comes while it works is taken with the next.
    pub fn add(&self, sightings: Vec<Sighting>) {
        if sightings.is_empty() {
            return;
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let (was_empty, before) = (pending.is_empty(), pending.len());
        if pending.len() < MOST_PENDING {
            pending.extend(sightings);
        } else if pending.len() < MOST_PENDING + 2 {
            pending.push(Sighting::Gap { thread: 0, gap: Gap::Overflow });
        }
        self.told.fetch_add((pending.len() - before) as u64, Ordering::Release);
        drop(pending);
        if was_empty {
            self.bell.ring();
        }
    }

    /// How many were told so far.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// Waits until there are some, or no more will come, or the instant has come.
    pub fn wait(&self, until: Option<Instant>) {
        let until = until.into_iter().chain(self.absent().due).min();
        // An error is an early return, like an interruption.
        let _ = super::super::fd::wait_readable([self.bell.as_fd()], until);
    }

    /// Nothing more is to come.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether no more will come. What came before can still be taken.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes what has come since the last time.
    pub fn take(&self) -> Vec<Sighting> {
        self.tell_again();
        self.bell.hush();
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(path: &str) -> Sighting {
        let (path, name, when) = (PathBuf::from(path), "cat (pid 7)".into(), Instant::now());
        Sighting::File { thread: 7, access: Access::Read, name, path, call: "openat", when, seen_ns: 0 }
    }

    #[test]
    fn what_was_absent_is_told_again_after_a_while_and_only_the_last_time() {
        let found = Found::new().unwrap();
        found.note_absent(Access::Read, Path::new("/absent"), true);
        let last = asks("/absent");
        found.ask_again(vec![asks("/absent"), asks("/there")]);
        found.ask_again(vec![last.clone()]);
        assert!(found.take().is_empty(), "it is too early");
        let began = Instant::now();
        while began.elapsed() < AGAIN {
            found.wait(None);
            found.bell.hush();
        }
        assert_eq!(found.take(), [last]);
        assert_eq!(found.told(), 1);
        // It is there by now.
        found.note_absent(Access::Read, Path::new("/absent"), false);
        found.ask_again(vec![asks("/absent")]);
        found.end();
        assert!(found.take().is_empty());
    }
}
