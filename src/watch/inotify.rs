//! The kernel's inotify, one watch a directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::backend::{Backend, Entry, Notice, Refusal};
use super::watches::Watches;
use crate::os::inotify::{Happening, Inotify, What};
use crate::os::{Errno, reason};

/// Watches by the kernel's numbers.
#[derive(Debug)]
pub struct InotifyBackend {
    queue: Inotify,
    watches: Watches,
}

impl InotifyBackend {
    /// A backend that watches nothing yet, with a queue of its own.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn new() -> Result<InotifyBackend, Refusal> {
        let queue = Inotify::new().map_err(Refusal::no_instance)?;
        Ok(InotifyBackend { queue, watches: Watches::default() })
    }

    /// One that goes on with a queue that has these watches.
    pub fn on(queue: OwnedFd, watches: Watches) -> InotifyBackend {
        InotifyBackend { queue: queue.into(), watches }
    }

    fn notices(&mut self, happening: Happening, notices: &mut Vec<Notice>) {
        let Happening { watch, what, name } = happening;
        let entry = match what {
            What::Overflow => return notices.push(Notice::Overflow),
            What::Ended => {
                let names = self.watches.names(watch);
                for name in &names {
                    self.watches.remove(name);
                }
                return notices.extend(names.into_iter().map(Notice::Gone));
            }
            What::SelfGone => return notices.extend(self.watches.names(watch).into_iter().map(Notice::Gone)),
            What::Created => Entry::Created,
            What::Modified => Entry::Modified,
            What::Closed => Entry::Closed,
            What::Attributes => Entry::Attributes,
            What::MovedTo => Entry::MovedTo,
            What::Deleted | What::MovedFrom => Entry::Vanished,
        };
        // Without a name it happened to the directory itself: a chmod of it.
        let Some(name) = name else { return };
        let directories = self.watches.names(watch).into_iter();
        notices.extend(directories.map(|directory| Notice::Entry { path: directory.join(&name), what: entry }));
    }
}

impl Backend for InotifyBackend {
    fn name(&self) -> &'static str {
        "inotify"
    }

    fn tells_close(&self) -> bool {
        true
    }

    fn add(&mut self, directory: &Path) -> Result<(), Refusal> {
        let watch = self.queue.add(directory).map_err(|errno| match errno {
            Errno::ENOSPC => Refusal::no_more_watches(self.watches.len()),
            Errno::EACCES | Errno::EPERM => Refusal::Denied,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => Refusal::Gone,
            errno => Refusal::Other(reason(errno)),
        })?;
        // The name may mean another directory now; the old one may live on under another name.
        if let Some(former) = self.watches.set(directory, watch) {
            self.queue.remove(former);
        }
        Ok(())
    }

    fn forget(&mut self, directory: &Path) {
        for path in self.watches.at_or_below(directory) {
            if let Some(watch) = self.watches.remove(&path) {
                self.queue.remove(watch);
            }
        }
    }

    fn holds(&self, directory: &Path) -> bool {
        self.watches.get(directory).is_some()
    }

    fn at_or_below(&self, directory: &Path) -> Vec<PathBuf> {
        self.watches.at_or_below(directory)
    }

    fn count(&self) -> usize {
        self.watches.len()
    }

    fn watches(&mut self) -> Option<&mut Watches> {
        Some(&mut self.watches)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn drain(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for happening in self.queue.read() {
            self.notices(happening, &mut notices);
        }
        notices
    }
}
