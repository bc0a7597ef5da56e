//! Which directories are watched, and how: the roots, what lies below them, what is polled for want of events, and the
//! symlinks on the way to what is visible.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backend, Entry, Notice, Refusal};
use super::footing::Footing;
use super::hops::{Hops, hops_to};
use super::inotify::InotifyBackend;
use super::mounts::Mounts;
use super::notify::NotifyBackend;
use super::poll::PollBackend;
use super::snapshot::Shared;
use super::walk::{Bounds, Depth, Walk};
use crate::change::Look;
use crate::config;
use crate::degraded::{Degraded, Topic};
use crate::filter::Filter;
use crate::os;
use crate::os::fs::Silence;

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
    /// When a poll began that is still being worked off.
    polling_since: Option<Instant>,
    hops: Hops,
    /// What is still to be armed for the first time; what it meets is the state of the start.
    ahead: Walk,
    mounts: Mounts,
    bounds: Arc<Bounds>,
    no_follow: bool,
    /// Symlinks that were followed out of the bounds, with where they lead, until that was said.
    ways_out: BTreeMap<PathBuf, PathBuf>,
    /// What is not as good as it should be and was not told yet.
    untold: Vec<Degraded>,
    /// What of it this generation has told.
    told: HashSet<Topic>,
    footing: Footing,
}

/// A symlink into something with more than this is said.
const MANY_DIRECTORIES: usize = 100;

/// Or with more than this.
const MANY_FILES: usize = 1000;

/// Of its time, the polling of what is watched as well takes at most one part in so many.
const SELDOM: u32 = 50;

/// And of what is polled only, one part in so many.
const HALF: u32 = 2;

impl Coverage {
    /// Nothing is watched yet.
    pub fn new(config: &config::Config, filter: Arc<Filter>) -> Coverage {
        let mut coverage = Coverage {
            roots: filter.roots().to_vec(),
            bounds: Arc::new(Bounds::new(filter.roots().to_vec())),
            no_follow: config.no_follow,
            ways_out: BTreeMap::new(),
            filter,
            backend: Box::new(PollBackend),
            distrustful: matches!(config.backend, config::Backend::Auto | config::Backend::Notify),
            watched: BTreeSet::new(),
            polled: BTreeSet::new(),
            interval: config.interval,
            next_poll: None,
            polling_since: None,
            hops: Hops::default(),
            ahead: Walk::default(),
            mounts: Mounts::new(config.interval),
            footing: Footing::new(config.interval),
            untold: Vec::new(),
            told: HashSet::new(),
        };
        match backend(config.backend) {
            Ok(backend) => coverage.backend = backend,
            Err(refusal) => coverage.tell(refusal.told(None, config.interval)),
        }
        coverage
    }

    /// The backend's name, and how many directories are watched or polled, and how many of them are polled only.
    pub fn summary(&self) -> (&'static str, usize, usize) {
        let only_polled = self.polled.difference(&self.watched).count();
        (self.backend.name(), self.watched.len() + only_polled, only_polled)
    }

    /// With `--no-follow`: what symlinks may not lead out of.
    pub fn bounds(&self) -> Option<Arc<Bounds>> {
        self.no_follow.then(|| Arc::clone(&self.bounds))
    }

    /// A walk that goes where this one may.
    pub fn walk(&self) -> Walk {
        Walk::within(self.bounds())
    }

    /// Whether a path is a symlink that is not to be followed.
    pub fn leaves_alone(&self, path: &Path) -> bool {
        self.no_follow && path.is_symlink() && self.bounds.way_out(path).is_some()
    }

    /// Between two polls.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the end of a save is told.
    pub fn tells_close(&self) -> bool {
        self.backend.tells_close()
    }

    /// What is not as good as it should be and was not told yet.
    pub fn degraded(&mut self) -> Vec<Degraded> {
        std::mem::take(&mut self.untold)
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

    /// Whether the saves in a directory are told, their ends included.
    pub fn tells(&self, directory: &Path) -> bool {
        self.backend.tells_close() && self.watched.contains(directory)
    }

    /// The visible paths whose meaning depends on this one, or on something below it.
    pub fn visible_through(&self, hop: &Path) -> BTreeSet<PathBuf> {
        self.hops.visible_through(hop)
    }

    /// Whether there is still something to be armed for the first time.
    pub fn is_arming(&self) -> bool {
        self.ahead.ahead() > 0
    }

    /// How many directories are known to be ahead.
    pub fn ahead(&self) -> usize {
        self.ahead.ahead()
    }

    /// Whether a directory is still to be armed for the first time.
    pub fn will_arm(&self, directory: &Path) -> bool {
        self.ahead.holds(directory)
    }

    /// Everything that is to be watched is ahead.
    pub fn begin(&mut self) {
        let mut ahead = self.walk();
        self.begin_roots_at(Path::new("/"), &mut ahead);
        self.ahead = ahead;
    }

    /// Arms the next directory that is ahead. Gives it back, with the paths in it that count.
    pub fn arm_next(&mut self) -> Option<(PathBuf, Vec<(PathBuf, Look)>)> {
        let (directory, depth) = self.ahead.next()?;
        let mut ahead = std::mem::take(&mut self.ahead);
        let looks = self.visit(&directory, depth, &mut ahead);
        self.ahead = ahead;
        Some((directory, looks))
    }

    /// Readable when something was told.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.backend.fd()
    }

    /// When it is time to poll.
    pub fn due(&mut self) -> Option<Instant> {
        if self.next_poll.is_none() && !self.polled.is_empty() {
            self.next_poll = Some(Instant::now() + self.interval);
        }
        if let (Some(since), Some(next)) = (self.polling_since.take(), &mut self.next_poll) {
            // What is watched as well changes unseen so seldom that no machine shall be kept busy with it; and a tree that
            // takes longer than the interval shall not be polled all the time.
            let part = if self.polled.is_subset(&self.watched) { SELDOM } else { HALF };
            *next = (*next).max(since + since.elapsed() * part);
        }
        self.next_poll
    }

    /// What has been told. A poll that is due comes with it: the directories to look at.
    pub fn drain(&mut self) -> (Vec<Notice>, Option<BTreeSet<PathBuf>>) {
        let mut notices = self.backend.drain();
        let now = Instant::now();
        // What is polled is looked at by its path anyway.
        let lost = self.footing.lost(now).into_iter().filter(|place| self.watched.contains(place));
        notices.extend(lost.map(Notice::Gone));
        for point in self.mounts.changed(now) {
            for name in self.names_of(&point) {
                notices.push(Notice::Gone(name.clone()));
                notices.push(Notice::Entry { path: name, what: Entry::Created });
            }
        }
        let due = self.next_poll.is_some_and(|due| due <= now);
        if due {
            self.next_poll = Some(now + self.interval);
            self.polling_since = Some(now);
        }
        (notices, due.then(|| self.polled.clone()))
    }

    /// The names of a place, as far as they matter: its own, and those below symlinks to directories above it.
    fn names_of(&self, place: &Path) -> Vec<PathBuf> {
        let mut names = self.hops.names_of(place);
        names.push(place.to_owned());
        let matters = |name: &PathBuf| {
            let inside = self.holds(name) || name.parent().is_some_and(|parent| self.holds(parent));
            inside || self.roots.iter().any(|root| root.starts_with(name))
        };
        names.retain(matters);
        names
    }

    /// The files in a directory that were named, and how they look: they can be looked at although the directory cannot be
    /// listed.
    pub fn named_in(&self, directory: &Path) -> Vec<(PathBuf, Look)> {
        let named = self.roots.iter().filter(|root| root.parent() == Some(directory));
        let looks = named.map(|path| (path.clone(), os::fs::look(path)));
        looks.filter(|(_, look)| look.stamp.is_some()).collect()
    }

    /// Whether a file was named in a directory that may be entered but not listed; then it is polled.
    fn polls_by_name(&mut self, directory: &Path) -> bool {
        let named = self.roots.iter().find(|root| root.parent() == Some(directory));
        let may_enter = |path: &&PathBuf| {
            std::fs::symlink_metadata(path).map_or_else(|error| error.kind() == ErrorKind::NotFound, |_| true)
        };
        let Some(name) = named.filter(may_enter).cloned() else { return false };
        self.polled.insert(directory.to_owned());
        let (directory, interval) = (directory.to_owned(), self.interval);
        self.tell(Degraded::EnteredNotListed { directory, file: name, interval });
        true
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
        // A search through all of them, for each directory of a tree that goes, would take minutes.
        for set in [&mut self.watched, &mut self.polled] {
            for path in at_or_below(set, directory) {
                set.remove(&path);
            }
        }
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
                for link in &listing.followed {
                    self.ways_out.extend(self.bounds.way_out(link).map(|real| (link.clone(), real)));
                }
                let looks = listing.looks();
                for (path, _) in &looks {
                    self.tell_mount(path);
                }
                looks
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::PermissionDenied if self.polls_by_name(directory) => return self.named_in(directory),
                    ErrorKind::PermissionDenied => {
                        self.tell(Degraded::UnreadableDirectory { directory: directory.to_owned() });
                    }
                    ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                    _ => self.tell(Degraded::UnlistedDirectory {
                        directory: directory.to_owned(),
                        reason: os::reason(error),
                    }),
                }
                Vec::new()
            }
        }
    }

    /// Watches everything once more: notices are missing, and any name may mean another directory by now.
    pub fn watch_again(&mut self) {
        for directory in self.watched.clone() {
            self.watch(&directory);
        }
        for visible in self.visible_through(Path::new("/")) {
            self.register_hops(&visible);
        }
    }

    /// Watches the entries of one directory, or polls it where no events come.
    pub fn watch(&mut self, directory: &Path) {
        let interval = self.interval;
        match self.distrustful.then(|| os::fs::silence(directory)).flatten() {
            Some(Silence::Whole(name)) => {
                self.polled.insert(directory.to_owned());
                let (directory, file_system) = (directory.to_owned(), name.to_owned());
                self.tell(Degraded::Polled { directory, file_system, interval });
                return;
            }
            Some(Silence::Below(name)) if self.mounts.layers_are_within_reach(directory) => {
                self.polled.insert(directory.to_owned());
                let (directory, file_system) = (directory.to_owned(), name.to_owned());
                self.tell(Degraded::Layered { directory, file_system, interval });
            }
            Some(Silence::Below(_)) | None => {}
        }
        match self.backend.add(directory) {
            Ok(()) => {
                self.watched.insert(directory.to_owned());
            }
            Err(Refusal::Denied) if self.polls_by_name(directory) => {}
            Err(Refusal::Denied) => self.tell(Degraded::UnreadableDirectory { directory: directory.to_owned() }),
            Err(Refusal::Gone) => {}
            Err(refusal) => {
                self.polled.insert(directory.to_owned());
                self.tell(refusal.told(Some(directory), interval));
            }
        }
    }

    /// What is mounted on a file is that one inode for ever. A write to it elsewhere is told to the directory where that
    /// was done, and not to the one where we see it.
    fn tell_mount(&mut self, path: &Path) {
        if !self.mounts.is_on(path) {
            return;
        }
        if self.distrustful {
            self.polled.extend(path.parent().map(Path::to_owned));
        }
        self.tell(Degraded::MountedFile { path: path.to_owned() });
    }

    /// Says of each symlink that led out of the tree into something large how much that is.
    pub fn tell_links(&mut self, snapshot: &Shared) {
        for (link, real) in std::mem::take(&mut self.ways_out) {
            let directories = at_or_below(&self.watched, &link).len().max(at_or_below(&self.polled, &link).len());
            let files = snapshot.below(&link).len();
            if directories > MANY_DIRECTORIES || files > MANY_FILES {
                self.tell(Degraded::LargeLink { link, target: real, files, directories });
            }
        }
    }

    /// Tells each topic once a generation.
    pub fn tell(&mut self, degraded: impl Into<Option<Degraded>>) {
        self.untold.extend(degraded.into().filter(|degraded| self.told.insert(degraded.topic())));
    }

    /// Watches every symlink on the way to a visible path, and where the way ends; of what does not exist yet, the
    /// nearest directory that does.
    pub fn register_hops(&mut self, visible: &Path) {
        let mut way = hops_to(visible);
        // A symlink that changes before its watch exists sends no event, so resolve the path again.
        for _ in 0..64 {
            for hop in &way {
                self.watch_for(hop);
                self.hops.add(hop, visible);
            }
            let again = hops_to(visible);
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
fn backend(chosen: config::Backend) -> Result<Box<dyn Backend>, Refusal> {
    match chosen {
        config::Backend::Auto | config::Backend::Inotify => InotifyBackend::new().map(|backend| Box::new(backend) as _),
        config::Backend::Notify => NotifyBackend::new().map(|backend| Box::new(backend) as _),
        config::Backend::Poll => Ok(Box::new(PollBackend)),
    }
}

/// The nearest directory above a path that exists.
fn anchor(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir())
}

/// The paths of a set that are a directory or lie below it.
fn at_or_below(set: &BTreeSet<PathBuf>, directory: &Path) -> Vec<PathBuf> {
    set.range(directory.to_owned()..).take_while(|path| path.starts_with(directory)).cloned().collect()
}
