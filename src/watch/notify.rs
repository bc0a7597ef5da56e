//! The `notify` crate behind our trait: one non-recursive watch a directory, since its recursive mode loses files
//! written right after `mkdir` and watches what is ignored.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ::notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use ::notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::backend::{Backend, Entry, Notice, Refusal};
use crate::os::errno;
use crate::os::fd::{Bell, room_for};

/// Watchers of the `notify` crate, their events collected in a channel.
///
/// When a directory goes, a watcher searches through all it holds, so that a tree of 10,000 takes one watcher a minute,
/// and meanwhile it hears nothing. Several that hold a part each are so many times as fast, and search side by side.
pub struct NotifyBackend {
    shards: Vec<Shard>,
    sender: Sender<::notify::Result<Event>>,
    events: Receiver<::notify::Result<Event>>,
    bell: Arc<Bell>,
    /// In which shard each directory is.
    watched: BTreeMap<PathBuf, usize>,
}

/// One watcher, with an inotify instance and a thread of its own.
struct Shard {
    watcher: RecommendedWatcher,
    holds: usize,
}

/// A shard that holds so many directories is full as long as there can be another.
const FULL: usize = 256;

/// A shard takes three descriptors. Some must be left, to read directories and to start the command.
const DESCRIPTORS: usize = 3 + 16;

/// Instances are few: a user may have 128, and an editor wants some.
const MOST_SHARDS: usize = 24;

impl NotifyBackend {
    /// A backend that watches nothing yet.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn new() -> Result<NotifyBackend, Refusal> {
        let (sender, events) = channel();
        let bell = Arc::new(Bell::new().map_err(Refusal::no_instance)?);
        let mut backend = NotifyBackend { shards: Vec::new(), sender, events, bell, watched: BTreeMap::new() };
        room_for(DESCRIPTORS).map_err(Refusal::OpenFilesLimit)?;
        match backend.begin_shard() {
            Ok(()) => Ok(backend),
            Err(::notify::Error { kind: ErrorKind::Io(error), .. }) => Err(Refusal::no_instance(errno(&error))),
            Err(error) => Err(Refusal::Other(error.to_string())),
        }
    }

    fn begin_shard(&mut self) -> ::notify::Result<()> {
        let (sender, ringer) = (self.sender.clone(), Arc::clone(&self.bell));
        let watcher = ::notify::recommended_watcher(move |event| {
            // The receiver goes only together with this closure.
            let _ = sender.send(event);
            ringer.ring();
        })?;
        self.shards.push(Shard { watcher, holds: 0 });
        Ok(())
    }

    /// The shard for a directory: the one it is in, or the one with the most room.
    fn shard_for(&mut self, directory: &Path) -> usize {
        if let Some(shard) = self.watched.get(directory) {
            return *shard;
        }
        let roomiest = |shards: &[Shard]| (0..shards.len()).min_by_key(|index| shards[*index].holds).unwrap_or(0);
        let found = roomiest(&self.shards);
        // If there can be no other, those we have hold more.
        if self.shards[found].holds >= FULL && self.shards.len() < MOST_SHARDS {
            let begun = room_for(DESCRIPTORS).is_ok() && self.begin_shard().is_ok();
            if begun {
                return self.shards.len() - 1;
            }
        }
        found
    }

    fn notices(&self, event: ::notify::Result<Event>) -> Vec<Notice> {
        let Ok(event) = event else { return vec![Notice::Overflow] };
        if event.need_rescan() {
            return vec![Notice::Overflow];
        }
        let what = match event.kind {
            EventKind::Create(_) => Entry::Created,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Entry::Closed,
            EventKind::Modify(ModifyKind::Metadata(_)) => Entry::Attributes,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Entry::Vanished,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Entry::MovedTo,
            // Told by From and To already.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => return Vec::new(),
            EventKind::Modify(ModifyKind::Name(_)) => Entry::MovedTo,
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Entry::Modified,
        };
        let notices = event.paths.into_iter().flat_map(|path| {
            if what != Entry::Vanished || !self.watched.contains_key(&path) {
                return vec![Notice::Entry { path, what }];
            }
            // A late word of an old directory makes the crate forget a new one of its name.
            let again = path.is_dir().then(|| Notice::Entry { path: path.clone(), what: Entry::Created });
            std::iter::once(Notice::Gone(path)).chain(again).collect()
        });
        notices.collect()
    }
}

impl Backend for NotifyBackend {
    fn name(&self) -> &'static str {
        "notify"
    }

    fn tells_close(&self) -> bool {
        cfg!(target_os = "linux")
    }

    /// Threads of the crate read the kernel's queues.
    fn is_prompt(&self) -> bool {
        false
    }

    fn add(&mut self, directory: &Path) -> Result<(), Refusal> {
        let shard = self.shard_for(directory);
        self.shards[shard].watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => Refusal::no_more_watches(self.watched.len()),
            ErrorKind::PathNotFound => Refusal::Gone,
            ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::PermissionDenied => Refusal::Denied,
            ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::NotFound => Refusal::Gone,
            _ => Refusal::Other(error.to_string()),
        })?;
        if self.watched.insert(directory.to_owned(), shard).is_none() {
            self.shards[shard].holds += 1;
        }
        Ok(())
    }

    /// Only in our own book: the crate has found out by itself, unless the directory is still there under another
    /// name, and then a notice too many does no harm.
    fn forget(&mut self, directory: &Path) {
        for path in self.at_or_below(directory) {
            if let Some(shard) = self.watched.remove(&path) {
                self.shards[shard].holds -= 1;
            }
        }
    }

    fn holds(&self, directory: &Path) -> bool {
        self.watched.contains_key(directory)
    }

    fn at_or_below(&self, directory: &Path) -> Vec<PathBuf> {
        let from = self.watched.range(directory.to_owned()..).map(|(path, _)| path);
        from.take_while(|path| path.starts_with(directory)).cloned().collect()
    }

    fn count(&self) -> usize {
        self.watched.len()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }

    fn drain(&mut self) -> Vec<Notice> {
        // In this order, what comes in between rings again.
        self.bell.hush();
        let events: Vec<_> = self.events.try_iter().collect();
        events.into_iter().flat_map(|event| self.notices(event)).collect()
    }
}
