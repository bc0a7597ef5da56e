//! The kernel's inotify, one watch a directory.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::backend::{Backend, Entry, Notice, Refusal};
use crate::os::inotify::{Happening, Inotify, Watch, What};
use crate::os::{Errno, reason};

/// So many times the queue is read before its events are worked off.
const MOST_READS: usize = 256;

/// Watches by the kernel's numbers. Both maps are kept so that a lost directory costs nothing but itself: a
/// search through all watches for each makes `rm -rf` of a large tree quadratic.
#[derive(Debug)]
pub struct InotifyBackend {
    queue: Inotify,
    /// Two names of one directory share a number.
    names: HashMap<Watch, Vec<PathBuf>>,
    watches: BTreeMap<PathBuf, Watch>,
}

impl InotifyBackend {
    /// A backend that watches nothing yet.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn new() -> Result<InotifyBackend, Refusal> {
        match Inotify::new() {
            Ok(queue) => Ok(InotifyBackend { queue, names: HashMap::new(), watches: BTreeMap::new() }),
            Err(errno) => Err(Refusal::no_instance(errno)),
        }
    }

    fn notices(&mut self, happening: Happening) -> Vec<Notice> {
        let Happening { watch, what, name, .. } = happening;
        let entry = match what {
            What::Overflow => return vec![Notice::Overflow],
            What::Ended => {
                let names = self.names.remove(&watch).unwrap_or_default();
                for name in &names {
                    self.watches.remove(name);
                }
                return names.into_iter().map(Notice::Gone).collect();
            }
            What::SelfGone => return self.names.get(&watch).into_iter().flatten().cloned().map(Notice::Gone).collect(),
            What::Created => Entry::Created,
            What::Modified => Entry::Modified,
            What::Closed => Entry::Closed,
            What::Attributes => Entry::Attributes,
            What::MovedTo => Entry::MovedTo,
            What::Deleted | What::MovedFrom => Entry::Vanished,
        };
        // Without a name it happened to the directory itself: a chmod of it.
        let Some(name) = name else { return Vec::new() };
        let directories = self.names.get(&watch).into_iter().flatten();
        directories.map(|directory| Notice::Entry { path: directory.join(&name), what: entry }).collect()
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
        if let Some(former) = self.watches.insert(directory.to_owned(), watch)
            && former != watch
            && let Some(names) = self.names.get_mut(&former)
        {
            // The name means another directory now; the old one may live on under another name.
            names.retain(|name| name != directory);
            if names.is_empty() {
                self.names.remove(&former);
                self.queue.remove(former);
            }
        }
        let names = self.names.entry(watch).or_default();
        if !names.iter().any(|name| name == directory) {
            names.push(directory.to_owned());
        }
        Ok(())
    }

    fn forget(&mut self, directory: &Path) {
        let below: Vec<PathBuf> = self
            .watches
            .range(directory.to_owned()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(directory))
            .cloned()
            .collect();
        for path in below {
            let Some(watch) = self.watches.remove(&path) else { continue };
            let Some(names) = self.names.get_mut(&watch) else { continue };
            names.retain(|name| *name != path);
            if names.is_empty() {
                self.names.remove(&watch);
                self.queue.remove(watch);
            }
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn drain(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        // Bounded: a program that writes all the time would keep the queue from ever being empty.
        for _ in 0..MOST_READS {
            let happenings = self.queue.read();
            if happenings.is_empty() {
                break;
            }
            happenings.into_iter().for_each(|happening| notices.extend(self.notices(happening)));
        }
        notices
    }
}
