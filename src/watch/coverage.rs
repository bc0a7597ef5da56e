//! Which directories are watched, and how: the roots, the directories below them, the directories that are polled because
//! they send no events, and the symlinks on the way to visible paths.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{Backend, Entry, Notice, Refusal};
use super::footing::Footing;
use super::handover::KeptCoverage;
use super::hops::{Hops, anchor, hops_to};
use super::inotify::InotifyBackend;
use super::mounts::Mounts;
use super::notify::NotifyBackend;
use super::poll::PollBackend;
use super::polling::Polling;
use super::snapshot::Shared;
use super::table::Table;
use super::walk::{Bounds, Depth, Walk};
use super::watches::Watches;
use crate::change::Look;
use crate::config::{self, Config};
use crate::degraded::{Degraded, Topic};
use crate::discover::Places;
use crate::filter::Filter;
use crate::os;
use crate::os::fs::Silence;
use crate::os::inotify::Watch;

/// The watched directories. The ledger knows the files in them.
pub struct Coverage {
    filter: Arc<Filter>,
    chosen: config::Backend,
    backend: Box<dyn Backend>,
    /// Whether to look for file systems without events, and poll them.
    distrustful: bool,
    roots: Vec<PathBuf>,
    /// Whether the queue of the backend outlives this process.
    shares_queue: bool,
    polling: Polling,
    hops: Hops,
    /// Directories that are not armed yet.
    ahead: Walk,
    mounts: Mounts,
    bounds: Arc<Bounds>,
    no_follow: bool,
    /// Symlinks that lead out of the bounds, with their targets, until they are reported.
    ways_out: BTreeMap<PathBuf, PathBuf>,
    /// Degraded states that were not reported yet.
    untold: Vec<Degraded>,
    /// The topics that this generation has reported.
    told: HashSet<Topic>,
    footing: Footing,
    /// Whether the next drain is to miss nothing that has happened before it.
    misses_nothing: bool,
}

/// A symlink to a tree with more directories than this is reported,
const MANY_DIRECTORIES: usize = 100;

/// and so is one to a tree with more files.
const MANY_FILES: usize = 1000;

impl Coverage {
    /// Nothing is watched yet. A queue that is passed in outlives this process.
    pub fn new(config: &Config, filter: Arc<Filter>, queue: Option<OwnedFd>) -> Coverage {
        let mut coverage = Coverage::with(config, filter, Mounts::new(config.interval));
        match queue {
            Some(queue) => {
                coverage.backend = Box::new(InotifyBackend::on(queue, Watches::default()));
                coverage.shares_queue = true;
            }
            None => coverage.choose_backend(),
        }
        coverage
    }

    fn choose_backend(&mut self) {
        self.shares_queue = false;
        // A queue of its own, or why it cannot be had.
        let backend: Result<Box<dyn Backend>, Refusal> = match self.chosen {
            config::Backend::Auto | config::Backend::Inotify => {
                InotifyBackend::new().map(|backend| Box::new(backend) as _)
            }
            config::Backend::Notify => NotifyBackend::new().map(|backend| Box::new(backend) as _),
            config::Backend::Poll => Ok(Box::new(PollBackend)),
        };
        match backend {
            Ok(backend) => self.backend = backend,
            Err(refusal) => {
                self.backend = Box::new(PollBackend);
                self.tell(refusal.told(None, self.interval()));
            }
        }
    }

    /// Events are missing: everything is to be armed again, with a queue of our own. The old queue stays unread, and no child
    /// uses it again.
    pub fn begin_anew(&mut self) {
        self.choose_backend();
        let interval = self.interval();
        self.polling = Polling::new(interval);
        self.hops = Hops::default();
        self.footing = Footing::new(interval);
        self.mounts = Mounts::new(interval);
        self.begin();
    }

    /// Takes over the watches of the previous child, with the same queue.
    pub fn resume(
        config: &Config,
        filter: Arc<Filter>,
        queue: OwnedFd,
        base: &Arc<Table>,
        kept: KeptCoverage,
    ) -> Coverage {
        let mounts = Mounts::resume(kept.mounts, config.interval);
        let watches = kept.watches.into_iter().map(|(path, watch)| (path.into(), watch.map(Watch))).collect();
        let watches = Watches::resume(Arc::clone(base), watches);
        Coverage {
            backend: Box::new(InotifyBackend::on(queue, watches)),
            shares_queue: true,
            polling: Polling::resume(kept.polled, config.interval),
            hops: Hops::resume(kept.hops),
            footing: Footing::resume(kept.footing, config.interval),
            misses_nothing: false,
            ..Coverage::with(config, filter, mounts)
        }
    }

    /// A coverage that polls, until it has a better backend.
    fn with(config: &Config, filter: Arc<Filter>, mounts: Mounts) -> Coverage {
        Coverage {
            roots: filter.roots().to_vec(),
            bounds: Arc::new(Bounds::new(filter.roots().to_vec())),
            no_follow: config.no_follow,
            ways_out: BTreeMap::new(),
            filter,
            chosen: config.backend,
            backend: Box::new(PollBackend),
            shares_queue: false,
            distrustful: matches!(config.backend, config::Backend::Auto | config::Backend::Notify),
            polling: Polling::new(config.interval),
            hops: Hops::default(),
            ahead: Walk::default(),
            mounts,
            footing: Footing::new(config.interval),
            misses_nothing: false,
            untold: Vec::new(),
            told: HashSet::new(),
        }
    }

    /// Whether the next child can take over: the queue outlives this process, or the backend has none.
    pub fn can_be_kept(&mut self) -> bool {
        self.shares_queue || self.backend.watches().is_none()
    }

    /// The state for the next child.
    pub fn keep(&mut self) -> KeptCoverage {
        let watches = self.backend.watches().map(|watches| watches.differences());
        let watch =
            |(path, watch): (&PathBuf, &Option<Watch>)| (path.clone().into_os_string(), watch.map(|watch| watch.0));
        KeptCoverage {
            watches: watches.into_iter().flatten().map(watch).collect(),
            polled: self.polling.keep(),
            hops: self.hops.keep(),
            footing: self.footing.keep(),
            mounts: self.mounts.keep(),
        }
    }

    /// The watches, if they can outlive this process.
    pub fn watches(&mut self) -> Option<&mut Watches> {
        self.backend.watches()
    }

    /// The backend's name, and how many directories are watched or polled, and how many of them are polled only.
    pub fn summary(&self) -> (&'static str, usize, usize) {
        let only_polled = self.polling.directories.iter().filter(|directory| !self.backend.holds(directory)).count();
        (self.backend.name(), self.backend.count() + only_polled, only_polled)
    }

    /// With `--no-follow`: the bounds that symlinks may not lead out of.
    pub fn bounds(&self) -> Option<Arc<Bounds>> {
        self.no_follow.then(|| Arc::clone(&self.bounds))
    }

    /// An empty walk with these bounds.
    pub fn walk(&self) -> Walk {
        Walk::within(self.bounds())
    }

    /// Whether a path is a symlink that must not be followed.
    pub fn leaves_alone(&self, path: &Path) -> bool {
        self.no_follow && path.is_symlink() && self.bounds.way_out(path).is_some()
    }

    /// The time between two polls.
    pub fn interval(&self) -> Duration {
        self.polling.interval
    }

    /// Whether the backend reports the end of a save.
    pub fn tells_close(&self) -> bool {
        self.backend.tells_close()
    }

    /// Takes the degraded states that were not reported yet.
    pub fn degraded(&mut self) -> Vec<Degraded> {
        std::mem::take(&mut self.untold)
    }

    /// Every watched or polled directory.
    pub fn all(&self) -> BTreeSet<PathBuf> {
        self.backend.at_or_below(Path::new("/")).into_iter().chain(self.polling.directories.iter().cloned()).collect()
    }

    /// The directories that are polled.
    pub fn polled(&self) -> BTreeSet<PathBuf> {
        self.polling.directories.clone()
    }

    /// Whether any directory is polled.
    pub fn polls(&self) -> bool {
        !self.polling.directories.is_empty()
    }

    /// Whether a directory is watched or polled.
    pub fn holds(&self, directory: &Path) -> bool {
        self.backend.holds(directory) || self.polling.directories.contains(directory)
    }

    /// Whether the backend reports saves in this directory, with their ends.
    pub fn tells(&self, directory: &Path) -> bool {
        self.backend.tells_close() && self.backend.holds(directory)
    }

    /// The same, and whoever writes there does so on this machine.
    pub fn tells_all(&self, directory: &Path) -> bool {
        self.tells(directory) && !self.polling.directories.contains(directory)
    }

    /// The visible paths whose meaning depends on this one, or on something below it.
    pub fn visible_through(&self, hop: &Path) -> BTreeSet<PathBuf> {
        self.hops.visible_through(hop)
    }

    /// How many directories are known that are not armed yet.
    pub fn ahead(&self) -> usize {
        self.ahead.ahead()
    }

    /// Whether this directory is known and not armed yet.
    pub fn will_arm(&self, directory: &Path) -> bool {
        self.ahead.holds(directory)
    }

    /// Queues all roots for arming.
    pub fn begin(&mut self) {
        let mut ahead = self.walk();
        self.begin_roots_at(Path::new("/"), &mut ahead);
        self.ahead = ahead;
    }

    /// Arms the next directory, and returns it with the paths in it that count.
    pub fn arm_next(&mut self) -> Option<(PathBuf, Vec<(PathBuf, Look)>)> {
        let (directory, depth) = self.ahead.next()?;
        let mut ahead = std::mem::take(&mut self.ahead);
        let looks = self.visit(&directory, depth, &mut ahead);
        self.ahead = ahead;
        Some((directory, looks))
    }

    /// Readable when there are notices; `None` for a backend without a descriptor.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.backend.fd()
    }

    /// When it is time to poll.
    pub fn due(&mut self) -> Option<Instant> {
        let Coverage { polling, backend, .. } = self;
        polling.due(|directory| backend.holds(directory))
    }

    /// The next drain misses nothing that has happened before it: whatever sends no notices, or sends them late, is polled.
    pub fn look_everywhere(&mut self) {
        self.misses_nothing = true;
    }

    /// The notices that have come, and the directories to poll if a poll is due.
    pub fn drain(&mut self) -> (Vec<Notice>, Option<BTreeSet<PathBuf>>) {
        let mut notices = self.backend.drain();
        let now = Instant::now();
        // A poll looks at directories by their paths anyway.
        let Coverage { footing, backend, .. } = &mut *self;
        let is_told = |place: &Path| place.parent().is_some_and(|parent| backend.holds(parent));
        for place in footing.lost(now, is_told) {
            if backend.holds(&place) {
                notices.push(Notice::Gone(place));
            } else if place.is_dir() {
                notices.push(Notice::Entry { path: place, what: Entry::Created });
            }
        }
        for point in self.mounts.changed(now) {
            for name in self.names_of(&point) {
                notices.push(Notice::Gone(name.clone()));
                notices.push(Notice::Entry { path: name, what: Entry::Created });
            }
        }
        let everywhere = std::mem::take(&mut self.misses_nothing);
        if everywhere && !self.backend.is_prompt() {
            return (notices, Some(self.all()));
        }
        if everywhere && !self.polling.directories.is_empty() {
            self.polling.hasten(now);
        }
        (notices, self.polling.begin(now))
    }

    /// The notices of the backend alone.
    pub fn drain_backend(&mut self) -> Vec<Notice> {
        self.backend.drain()
    }

    /// The names of a place that matter here: its own, and those below symlinks to directories above it.
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

    /// The files in a directory that the patterns name, and how they look. This works where the directory cannot be listed.
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
        self.polling.add(directory);
        let (directory, interval) = (directory.to_owned(), self.interval());
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

    /// Queues a root for the walk. If it is not a directory (yet), the nearest directory above it is watched.
    fn begin_root(&mut self, root: &Path, walk: &mut Walk) {
        self.register_hops(root);
        let has_come = |coverage: &Coverage| root.is_dir() && coverage.filter.descend(root);
        // If the nearest directory vanishes, or a nearer one or the root itself appears at this moment, try again.
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

    /// Queues the roots that appeared without a notice.
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
        self.polling.forget(directory);
    }

    /// Watches a directory and then lists it. In this order, a file that is created in between is in the list or has an
    /// event. Returns the paths in it that count.
    pub fn visit(&mut self, directory: &Path, depth: Depth, walk: &mut Walk) -> Vec<(PathBuf, Look)> {
        self.watch(directory);
        match walk.list(directory, depth, &self.filter) {
            Ok(listing) => {
                for link in listing.links.iter().chain(&listing.dangling).chain(&listing.followed) {
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

    /// Adds all watches again: notices are missing, and any name may mean another directory by now.
    pub fn watch_again(&mut self) {
        for directory in self.backend.at_or_below(Path::new("/")) {
            self.watch(&directory);
        }
        for visible in self.visible_through(Path::new("/")) {
            self.register_hops(&visible);
        }
    }

    /// Watches the entries of one directory, or polls it if it sends no events.
    pub fn watch(&mut self, directory: &Path) {
        let interval = self.interval();
        match self.distrustful.then(|| os::fs::silence(directory)).flatten() {
            Some(Silence::Whole(name)) => {
                self.polling.add(directory);
                let (directory, file_system) = (directory.to_owned(), name.to_owned());
                self.tell(Degraded::Polled { directory, file_system, interval });
                return;
            }
            Some(Silence::Below(name)) if self.mounts.layers_are_within_reach(directory) => {
                self.polling.add(directory);
                let (directory, file_system) = (directory.to_owned(), name.to_owned());
                self.tell(Degraded::Layered { directory, file_system, interval });
            }
            Some(Silence::Below(_)) | None => {}
        }
        match self.backend.add(directory) {
            Ok(()) => {}
            Err(Refusal::Denied) if self.polls_by_name(directory) => {}
            Err(Refusal::Denied) => self.tell(Degraded::UnreadableDirectory { directory: directory.to_owned() }),
            Err(Refusal::Gone) => {}
            Err(refusal) => {
                self.polling.add(directory);
                self.tell(refusal.told(Some(directory), interval));
            }
        }
    }

    /// A mount on a file always shows the same inode. A write to that inode through another path has its event in the
    /// directory of that path, not in the one that we watch.
    fn tell_mount(&mut self, path: &Path) {
        if !self.mounts.is_on(path) {
            return;
        }
        if let Some(directory) = path.parent().filter(|_| self.distrustful) {
            self.polling.add(directory);
        }
        self.tell(Degraded::MountedFile { path: path.to_owned() });
    }

    /// Reports each symlink that leads out of the tree to a large one.
    pub fn tell_links(&mut self, snapshot: &Shared) {
        for (link, real) in std::mem::take(&mut self.ways_out) {
            let polled = self.polling.at_or_below(&link).len();
            let directories = self.backend.at_or_below(&link).len().max(polled);
            let files = snapshot.below(&link).len();
            if directories > MANY_DIRECTORIES || files > MANY_FILES {
                self.tell(Degraded::LargeLink { link, target: real, files, directories });
            }
        }
    }

    /// Reports each topic once a generation.
    pub fn tell(&mut self, degraded: impl Into<Option<Degraded>>) {
        self.untold.extend(degraded.into().filter(|degraded| self.told.insert(degraded.topic())));
    }

    /// Watches every symlink on the way to a visible path, and the end of the way; for a path that does not exist yet, the
    /// nearest directory that exists.
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

    /// Watches a directory that no walk comes by, or what there is of the way to it.
    pub fn watch_aside(&mut self, directory: &Path) {
        for _ in 0..64 {
            let missing = directory.ancestors().take_while(|part| !part.is_dir()).last();
            let Some(nearest) = missing.map_or(Some(directory), Path::parent) else { return };
            if self.holds(nearest) {
                return;
            }
            if let Some(missing) = missing.filter(|_| Places::is_shared(nearest)) {
                return self.footing.await_at(missing);
            }
            self.footing.stand_on(nearest);
            self.watch(nearest);
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
