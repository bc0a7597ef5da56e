//! The `notify` crate behind our trait: one non-recursive watch a directory, since its recursive mode loses files
//! written right after `mkdir` and watches what is ignored.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use ::notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use ::notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::backend::{Backend, Entry, Notice, Refusal};
use crate::os::fd::{Bell, wait_readable};

/// A watcher of the `notify` crate, its events collected in a channel.
pub struct NotifyBackend {
    watcher: RecommendedWatcher,
    events: Receiver<::notify::Result<Event>>,
    bell: Arc<Bell>,
    watched: BTreeSet<PathBuf>,
}

impl NotifyBackend {
    /// A backend that watches nothing yet.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn new() -> Result<NotifyBackend, Refusal> {
        let limit = |error: &dyn std::fmt::Display| Refusal::Limit(format!("the notify backend cannot start: {error}"));
        let (sender, events) = channel();
        let bell = Arc::new(Bell::new().map_err(|errno| limit(&errno))?);
        let ringer = Arc::clone(&bell);
        let watcher = ::notify::recommended_watcher(move |event| {
            // The receiver goes only together with this closure.
            let _ = sender.send(event);
            ringer.ring();
        })
        .map_err(|error| limit(&error))?;
        Ok(NotifyBackend { watcher, events, bell, watched: BTreeSet::new() })
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
        let notices = event.paths.into_iter().map(|path| {
            if what == Entry::Vanished && self.watched.contains(&path) {
                Notice::Gone(path)
            } else {
                Notice::Entry { path, what }
            }
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

    fn add(&mut self, directory: &Path) -> Result<(), Refusal> {
        self.watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|error| match error.kind {
            ErrorKind::MaxFilesWatch => Refusal::no_more_watches(self.watched.len()),
            ErrorKind::PathNotFound => Refusal::Gone,
            ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::PermissionDenied => Refusal::Denied,
            ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::NotFound => Refusal::Gone,
            _ => Refusal::Other(error.to_string()),
        })?;
        self.watched.insert(directory.to_owned());
        Ok(())
    }

    /// Only in our own book: taking a watch from `notify` searches through all of them. A directory that is gone
    /// costs it nothing more.
    fn forget(&mut self, directory: &Path) {
        self.watched.retain(|path| !path.starts_with(directory));
    }

    fn next(&mut self, until: Option<Instant>) -> Vec<Notice> {
        // An error is an early return, like an interruption.
        let _ = wait_readable([self.bell.as_fd()], until);
        self.bell.hush();
        self.events.try_iter().collect::<Vec<_>>().into_iter().flat_map(|event| self.notices(event)).collect()
    }
}
