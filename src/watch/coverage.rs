//! Which directories are watched, and how: the roots, what lies below them, what is polled for want of events, and the
//! symlinks on the way to what is visible.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backend, Notice, Refusal};
use super::footing::Footing;
use super::inotify::InotifyBackend;
use super::notify::NotifyBackend;
use super::poll::PollBackend;
use super::walk::{Depth, Walk, hops};
use crate::change::Look;
use crate::config;
use crate::filter::Filter;
use crate::os;

/// The watched directories. What is in them is not its business.
pub struct Coverage {
    filter: Arc<Filter>,
    backend: Box<dyn Backend>,
    /// Whether file systems without events are to be found out and polled.
    distrustful: bool,
    roots: Vec<PathBuf>,
    watched: BTreeSet<PathBuf>,
    polled: BTreeSet<PathBuf>,
    interval: Duration,
    next_poll: Option<Instant>,
    /// Places whose change changes what a visible path means: symlinks on its way, and its end.
    hops: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    footing: Footing,
    complaints: Vec<String>,
    complained: HashSet<&'static str>,
}

impl Coverage {
    /// Nothing is watched yet.
    pub fn new(config: &config::Config, filter: Arc<Filter>) -> Coverage {
        let mut coverage = Coverage {
            roots: filter.roots(),
            filter,
            backend: Box::new(PollBackend),
            distrustful: matches!(config.backend, config::Backend::Auto | config::Backend::Notify),
            watched: BTreeSet::new(),
            polled: BTreeSet::new(),
            interval: config.interval,
            next_poll: None,
            hops: BTreeMap::new(),
            footing: Footing::new(config.interval),
            complaints: Vec::new(),
            complained: HashSet::new(),
        };
        match backend(config.backend) {
            Ok(backend) => coverage.backend = backend,
            Err(reason) => {
                let interval = shown(config.interval);
                coverage.complain("backend", format!("{reason}; until then everything is polled every {interval}"));
            }
        }
        coverage
    }

    /// The backend's name, and how many directories are watched or polled, and how many of them polled.
    pub fn summary(&self) -> (&'static str, usize, usize) {
        (self.backend.name(), self.watched.union(&self.polled).count(), self.polled.len())
    }

    /// Whether the end of a save is told.
    pub fn tells_close(&self) -> bool {
        self.backend.tells_close()
    }

    /// What is not as good as it should be, said once.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Every directory there is to look at.
    pub fn all(&self) -> BTreeSet<PathBuf> {
        self.watched.union(&self.polled).cloned().collect()
    }

    /// The directories that are polled.
    pub fn polled(&self) -> BTreeSet<PathBuf> {
        self.polled.clone()
    }

    /// Whether a directory is watched or polled.
    pub fn holds(&self, directory: &Path) -> bool {
        self.watched.contains(directory) || self.polled.contains(directory)
    }

    /// The visible paths whose meaning depends on this one, or on something below it.
    pub fn visible_through(&self, hop: &Path) -> BTreeSet<PathBuf> {
        let below = self.hops.range(hop.to_owned()..).take_while(|(path, _)| path.starts_with(hop));
        below.flat_map(|(_, visible)| visible).cloned().collect()
    }

    /// Waits for notices until the instant has come. A poll that is due comes with them: the directories to look at.
    pub fn wait(&mut self, until: Option<Instant>) -> (Vec<Notice>, Option<BTreeSet<PathBuf>>) {
        if self.next_poll.is_none() && !self.polled.is_empty() {
            self.next_poll = Some(Instant::now() + self.interval);
        }
        let earliest = [until, self.next_poll].into_iter().flatten().min();
        let mut notices = self.backend.next(earliest);
        let now = Instant::now();
        // What is polled is looked at by its path anyway.
        let lost = self.footing.lost(now).into_iter().filter(|place| self.watched.contains(place));
        notices.extend(lost.map(Notice::Gone));
        let due = self.next_poll.is_some_and(|due| due <= now);
        if due {
            self.next_poll = Some(now + self.interval);
        }
        (notices, due.then(|| self.polled.clone()))
    }

    /// Queues every root.
    pub fn begin_roots(&mut self, walk: &mut Walk) {
        self.begin_roots_at(Path::new("/"), walk);
    }

    /// Queues the roots at a directory or below it.
    pub fn begin_roots_at(&mut self, directory: &Path, walk: &mut Walk) {
        for root in self.roots.clone() {
            if root.starts_with(directory) {
                self.begin_root(&root, walk);
            }
        }
    }

    /// Queues a root to be walked; watches for it where it is not (yet) a directory.
    fn begin_root(&mut self, root: &Path, walk: &mut Walk) {
        self.register_hops(root);
        let has_come = |coverage: &Coverage| root.is_dir() && coverage.filter.descend(root);
        // If the nearest directory goes, or a nearer one or the root itself comes, in this very moment, try again.
        for _ in 0..64 {
            if has_come(self) {
                self.footing.stand_on(root);
                walk.begin(root.to_owned(), Depth::Deep);
                return;
            }
            let Some(nearest) = anchor(root).map(Path::to_owned) else { return };
            self.watch(&nearest);
            if anchor(root) == Some(&nearest) && !has_come(self) {
                self.footing.stand_on(&nearest);
                walk.begin(nearest, Depth::Shallow);
                return;
            }
        }
    }

    /// Queues the roots that have come where nobody told of it.
    pub fn begin_missing_roots(&mut self, walk: &mut Walk) {
        for root in self.roots.clone() {
            let start = if root.is_dir() && self.filter.descend(&root) { Some(root.as_path()) } else { anchor(&root) };
            if start.is_some_and(|start| !self.holds(start)) {
                self.begin_root(&root, walk);
            }
        }
    }

    /// Forgets a directory and all below it.
    pub fn forget(&mut self, directory: &Path) {
        self.backend.forget(directory);
        self.watched.retain(|path| !path.starts_with(directory));
        self.polled.retain(|path| !path.starts_with(directory));
    }

    /// Watches a directory and then lists it, in this order: what comes in between is told or listed. Gives back the
    /// paths in it that count.
    pub fn visit(&mut self, directory: &Path, depth: Depth, walk: &mut Walk) -> Vec<(PathBuf, Look)> {
        self.watch(directory);
        match walk.list(directory, depth, &self.filter) {
            Ok(listing) => {
                for link in listing.links.iter().chain(&listing.followed) {
                    self.register_hops(link);
                }
                listing.looks()
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::PermissionDenied {
                    self.complain_of_directory(directory);
                }
                Vec::new()
            }
        }
    }

    fn watch(&mut self, directory: &Path) {
        if self.distrustful
            && let Some(name) = os::fs::without_events(directory)
        {
            self.polled.insert(directory.to_owned());
            self.complain(
                name,
                format!(
                    "{} is on {name}, which tells of no changes; it is polled every {} (--interval)",
                    directory.display(),
                    shown(self.interval)
                ),
            );
            return;
        }
        match self.backend.add(directory) {
            Ok(()) => {
                self.watched.insert(directory.to_owned());
            }
            Err(Refusal::Poll) => {
                self.polled.insert(directory.to_owned());
            }
            Err(Refusal::Limit(reason) | Refusal::Other(reason)) => {
                self.polled.insert(directory.to_owned());
                self.complain(
                    "limit",
                    format!("{reason}; until then the rest is polled every {}", shown(self.interval)),
                );
            }
            Err(Refusal::Denied) => self.complain_of_directory(directory),
            Err(Refusal::Gone) => {}
        }
    }

    fn complain_of_directory(&mut self, directory: &Path) {
        self.complain(
            "denied",
            format!(
                "{} cannot be read, so changes in it go unnoticed; make it readable, or leave it out with -i",
                directory.display()
            ),
        );
    }

    /// Says something once.
    pub fn complain(&mut self, kind: &'static str, sentence: String) {
        if self.complained.insert(kind) {
            self.complaints.push(sentence);
        }
    }

    /// Watches every symlink on the way to a visible path, and where the way ends; of what does not exist yet, the
    /// nearest directory that does.
    pub fn register_hops(&mut self, visible: &Path) {
        let mut way = hops(visible);
        // A way that turns before it is watched is told by nobody: it is gone once more.
        for _ in 0..64 {
            for hop in &way {
                self.watch_for(hop);
                self.hops.entry(hop.clone()).or_default().insert(visible.to_owned());
            }
            let again = hops(visible);
            if again == way {
                return;
            }
            way = again;
        }
    }

    /// Watches the nearest directory above a path that exists.
    fn watch_for(&mut self, path: &Path) {
        for _ in 0..64 {
            let Some(nearest) = anchor(path).map(Path::to_owned).filter(|nearest| !self.holds(nearest)) else { return };
            self.footing.stand_on(&nearest);
            self.watch(&nearest);
        }
    }
}

/// The chosen source of notices, or why it cannot be had.
fn backend(chosen: config::Backend) -> Result<Box<dyn Backend>, String> {
    let made: Result<Box<dyn Backend>, Refusal> = match chosen {
        config::Backend::Auto | config::Backend::Inotify => InotifyBackend::new().map(|backend| Box::new(backend) as _),
        config::Backend::Notify => NotifyBackend::new().map(|backend| Box::new(backend) as _),
        config::Backend::Poll => Ok(Box::new(PollBackend)),
    };
    made.map_err(|refusal| if let Refusal::Limit(reason) = refusal { reason } else { "no events can be had".into() })
}

/// The nearest directory above a path that exists.
fn anchor(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir())
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
