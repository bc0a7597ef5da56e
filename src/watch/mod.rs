//! Watching: from directories to changes that count.
//!
//! Only directories are ever watched: a watch on a file dies with its inode, and every atomic save makes a new
//! one. A notice is only a hint where to look; whether something changed is decided by comparing the file with the
//! [`Snapshot`] of this generation's start.

mod backend;
mod inotify;
mod notify;
mod poll;
mod snapshot;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use self::backend::{Backend, Entry, Notice, Refusal};
use self::snapshot::Snapshot;
use self::walk::{Depth, Walk, hops};
use crate::change::{Change, ChangeKind, ChangeSet, Look, Stamp};
use crate::config;
use crate::event::Watching;
use crate::filter::{Filter, Rule};
use crate::os;
use crate::settle::{Progress, Settler};

/// How long after a save a file counts as written a moment ago, nanoseconds.
const MOMENT_NS: i64 = 2_000_000_000;

/// Watches everything that a filter lets count.
pub struct Watcher {
    filter: Arc<Filter>,
    backend: Box<dyn Backend>,
    /// Whether file systems without events are to be found out and polled.
    distrustful: bool,
    roots: Vec<PathBuf>,
    snapshot: Snapshot,
    arming: Walk,
    watched: BTreeSet<PathBuf>,
    polled: BTreeSet<PathBuf>,
    interval: Duration,
    next_poll: Option<Instant>,
    /// Places whose change changes what a visible path means: symlinks on its way, and its end.
    hops: HashMap<PathBuf, BTreeSet<PathBuf>>,
    /// The instant of the command's start, by the clock of the files; `None` before it.
    started_ns: Option<i64>,
    /// How the changes behind this start were last seen: they are no news.
    known: HashMap<PathBuf, Look>,
    /// Files that were written a moment before the command started.
    recent: Vec<PathBuf>,
    /// Files that were still being written when this generation had to start: their closing counts.
    still_open: HashSet<PathBuf>,
    complaints: Vec<String>,
    complained: HashSet<&'static str>,
}

impl Watcher {
    /// A watcher that has not armed anything yet. `behind` are the changes that led to this generation.
    pub fn new(config: &config::Config, filter: Arc<Filter>, behind: &ChangeSet) -> Watcher {
        let chosen: Result<Box<dyn Backend>, Refusal> = match config.backend {
            config::Backend::Auto | config::Backend::Inotify => {
                inotify::InotifyBackend::new().map(|backend| Box::new(backend) as Box<dyn Backend>)
            }
            config::Backend::Notify => {
                notify::NotifyBackend::new().map(|backend| Box::new(backend) as Box<dyn Backend>)
            }
            config::Backend::Poll => Ok(Box::new(poll::PollBackend)),
        };
        let (backend, complaints) = match chosen {
            Ok(backend) => (backend, Vec::new()),
            Err(refusal) => {
                let reason = if let Refusal::Limit(reason) = refusal { reason } else { "no events".into() };
                let complaint = format!("{reason}; until then everything is polled every {}", shown(config.interval));
                (Box::new(poll::PollBackend) as Box<dyn Backend>, vec![complaint])
            }
        };
        let mut watcher = Watcher {
            roots: filter.roots(),
            filter,
            backend,
            distrustful: matches!(config.backend, config::Backend::Auto | config::Backend::Notify),
            snapshot: Snapshot::default(),
            arming: Walk::default(),
            watched: BTreeSet::new(),
            polled: BTreeSet::new(),
            interval: config.interval,
            next_poll: None,
            hops: HashMap::new(),
            started_ns: None,
            known: behind.iter().map(|change| (change.path.clone(), change.seen)).collect(),
            recent: Vec::new(),
            still_open: behind.iter().filter(|change| change.open).map(|change| change.path.clone()).collect(),
            complaints,
            complained: HashSet::new(),
        };
        for root in watcher.roots.clone() {
            watcher.begin_root(&root);
        }
        watcher
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known to be ahead; says whether all is done.
    ///
    /// What is armed before [`Watcher::command_starts`] has no gap. Of what is armed later, every file whose inode
    /// changed at or after that instant counts as changed since.
    pub fn arm(&mut self, until: Instant, most_ahead: usize, settler: &mut Settler) -> bool {
        let mut walk = std::mem::take(&mut self.arming);
        let mut done = false;
        while Instant::now() < until && walk.ahead() <= most_ahead {
            let Some((directory, depth)) = walk.next() else {
                done = true;
                break;
            };
            for (path, look) in self.visit(&directory, depth, &mut walk) {
                self.note(&path, look, settler);
            }
        }
        self.arming = walk;
        done
    }

    /// The command starts now: what happens to a file from here on is a change.
    pub fn command_starts(&mut self) {
        self.started_ns = Some(os::clock::file_clock_ns());
    }

    /// Files met before the start that were written a moment ago: they may be no part of the changes behind it, saved
    /// when the child before was gone already.
    pub fn recent(&self) -> &[PathBuf] {
        &self.recent
    }

    /// What is being watched, for the event of that name.
    pub fn watching(&self, patterns: Vec<String>, root: String) -> Watching {
        Watching {
            patterns,
            root,
            directories: self.watched.union(&self.polled).count(),
            files: self.snapshot.len(),
            backend: self.backend.name().to_owned(),
            polled: self.polled.len(),
        }
    }

    /// What is not as good as it should be, said once.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Waits for changes until the instant has come, and pushes them into the settler.
    pub fn next(&mut self, until: Option<Instant>, settler: &mut Settler) {
        if self.next_poll.is_none() && !self.polled.is_empty() {
            self.next_poll = Some(Instant::now() + self.interval);
        }
        let earliest = [until, self.next_poll].into_iter().flatten().min();
        for notice in self.backend.next(earliest) {
            self.take_in(notice, settler);
        }
        if self.next_poll.is_some_and(|due| due <= Instant::now()) {
            let polled = self.polled.clone();
            self.look_again(&polled, settler);
            self.begin_missing_roots(settler);
            self.next_poll = Some(Instant::now() + self.interval);
        }
    }

    /// Looks once more at what is pending, before it passes: what moved on waits on, what is as it was is dropped.
    pub fn confirm(&mut self, settler: &mut Settler, now: Instant) {
        let pending: Vec<Change> = settler.pending().cloned().collect();
        for change in pending {
            let look = os::fs::look(&change.path);
            if look.stamp == self.snapshot.get(&change.path) {
                settler.withdraw(&change.path);
            } else if look != change.seen {
                let progress = if self.backend.tells_close() { Progress::Whole } else { Progress::Partial };
                settler.push(Change { seen: look, ..change }, progress, now);
            }
        }
    }

    /// Takes these changes as the new state of things: only what differs from now on is a change.
    pub fn accept(&mut self, changes: &ChangeSet) {
        for change in changes.iter() {
            self.snapshot.set(&change.path, change.seen.stamp);
            self.known.insert(change.path.clone(), change.seen);
            if change.open {
                self.still_open.insert(change.path.clone());
            }
        }
    }

    fn take_in(&mut self, notice: Notice, settler: &mut Settler) {
        match notice {
            Notice::Overflow => {
                self.complain("overflow", "the kernel's event queue overflowed; everything is looked at again, nothing is lost (fs.inotify.max_queued_events raises its size)".into());
                let all: BTreeSet<PathBuf> = self.watched.union(&self.polled).cloned().collect();
                self.look_again(&all, settler);
                self.begin_missing_roots(settler);
                self.walk_on(Progress::Partial, settler);
            }
            Notice::Gone(directory) => self.lose(&directory, settler),
            Notice::Entry { path, what } => self.take_in_entry(&path, what, settler),
        }
    }

    fn take_in_entry(&mut self, path: &Path, what: Entry, settler: &mut Settler) {
        if let Some(visible) = self.hops.get(path).cloned() {
            for visible in visible {
                self.turn(&visible, settler);
            }
        }
        if what == Entry::Closed && self.still_open.remove(path) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
        }
        match what {
            Entry::Created | Entry::MovedTo if path.is_dir() => {
                let progress = if what == Entry::MovedTo { Progress::Whole } else { Progress::Partial };
                self.gain(path, progress, settler);
            }
            Entry::Vanished => {
                for gone in self.snapshot.below(path) {
                    self.consider(&gone, Progress::Partial, settler);
                }
                if self.watched.contains(path) || self.polled.contains(path) {
                    self.lose(path, settler);
                }
                self.consider(path, Progress::Partial, settler);
            }
            Entry::Created if path.is_symlink() || has_other_names(path) => {
                self.consider(path, Progress::Whole, settler);
            }
            Entry::Created => self.consider(path, Progress::Partial, settler),
            Entry::Modified if self.backend.tells_close() => self.consider(path, Progress::Open, settler),
            Entry::Modified => self.consider(path, Progress::Partial, settler),
            // Times may be set while the file is still being written.
            Entry::Attributes if settler.pending().any(|change| change.path == path) => {}
            Entry::Closed | Entry::MovedTo | Entry::Attributes => self.consider(path, Progress::Whole, settler),
        }
    }

    /// A directory has come: watch it, and everything in it is new.
    fn gain(&mut self, directory: &Path, progress: Progress, settler: &mut Settler) {
        for root in self.roots.clone() {
            if root.starts_with(directory) {
                self.begin_root(&root);
            }
        }
        if self.filter.descend(directory) {
            self.arming.begin(directory.to_owned(), Depth::Deep);
        }
        self.walk_on(progress, settler);
    }

    /// Finishes the walk; what it finds is compared.
    fn walk_on(&mut self, progress: Progress, settler: &mut Settler) {
        let mut walk = std::mem::take(&mut self.arming);
        while let Some((directory, depth)) = walk.next() {
            for (path, look) in self.visit(&directory, depth, &mut walk) {
                self.compare(&path, Some(look), progress, settler);
            }
        }
    }

    /// A watched directory has gone.
    fn lose(&mut self, directory: &Path, settler: &mut Settler) {
        self.backend.forget(directory);
        self.watched.retain(|path| !path.starts_with(directory));
        self.polled.retain(|path| !path.starts_with(directory));
        for gone in self.snapshot.below(directory) {
            self.consider(&gone, Progress::Partial, settler);
        }
        for root in self.roots.clone() {
            if root.starts_with(directory) {
                self.begin_root(&root);
            }
        }
        self.walk_on(Progress::Partial, settler);
    }

    /// A symlink on the way to this path now leads elsewhere.
    fn turn(&mut self, visible: &Path, settler: &mut Settler) {
        self.register_hops(visible);
        if visible.is_dir() {
            self.arming.begin(visible.to_owned(), Depth::Deep);
            self.walk_on(Progress::Whole, settler);
        }
        for known in self.snapshot.below(visible) {
            self.consider(&known, Progress::Whole, settler);
        }
        self.consider(visible, Progress::Whole, settler);
    }

    /// Queues a root to be walked; watches for it where it is not (yet) a directory.
    fn begin_root(&mut self, root: &Path) {
        self.register_hops(root);
        if root.is_dir() && self.filter.descend(root) {
            self.arming.begin(root.to_owned(), Depth::Deep);
            return;
        }
        // If the nearest directory goes, or a nearer one comes, in this very moment, try again.
        for _ in 0..8 {
            let Some(anchor) = anchor(root).map(Path::to_owned) else { return };
            self.watch(&anchor);
            if self::anchor(root) == Some(&anchor) {
                self.arming.begin(anchor, Depth::Shallow);
                return;
            }
        }
    }

    /// Begins the roots that have come where nobody told of it.
    fn begin_missing_roots(&mut self, settler: &mut Settler) {
        for root in self.roots.clone() {
            let start = if root.is_dir() && self.filter.descend(&root) { Some(root.as_path()) } else { anchor(&root) };
            if start.is_some_and(|start| !self.watched.contains(start) && !self.polled.contains(start)) {
                self.begin_root(&root);
            }
        }
        self.walk_on(Progress::Partial, settler);
    }

    /// Watches a directory and then lists it, in this order: what comes in between is told or listed. Gives back the
    /// paths in it that count.
    fn visit(&mut self, directory: &Path, depth: Depth, walk: &mut Walk) -> Vec<(PathBuf, Look)> {
        self.watch(directory);
        match walk.list(directory, depth, &self.filter) {
            Ok(listing) => {
                for link in &listing.links {
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
        if self.watched.contains(directory) && self.started_ns.is_none() {
            return;
        }
        if self.distrustful && let Some(name) = os::fs::without_events(directory) {
            self.polled.insert(directory.to_owned());
            self.complain(name, format!("{} is on {name}, which tells of no changes; it is polled every {} (--interval)", directory.display(), shown(self.interval)));
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
                self.complain("limit", format!("{reason}; until then the rest is polled every {}", shown(self.interval)));
            }
            Err(Refusal::Denied) => self.complain_of_directory(directory),
            Err(Refusal::Gone) => {}
        }
    }

    fn complain_of_directory(&mut self, directory: &Path) {
        self.complain("denied", format!("{} cannot be read, so changes in it go unnoticed; make it readable, or leave it out with -i", directory.display()));
    }

    fn complain(&mut self, kind: &'static str, sentence: String) {
        if self.complained.insert(kind) {
            self.complaints.push(sentence);
        }
    }

    fn register_hops(&mut self, visible: &Path) {
        for hop in hops(visible) {
            if let Some(parent) = hop.parent() && !self.watched.contains(parent) {
                self.watch(parent);
            }
            self.hops.entry(hop).or_default().insert(visible.to_owned());
        }
    }

    /// A file met while arming: it is as it was at the start, unless its inode says otherwise.
    fn note(&mut self, path: &Path, look: Look, settler: &mut Settler) {
        let since_start = self.started_ns.is_some_and(|started| look.ctime_ns >= started);
        if since_start && self.known.get(path) != Some(&look) {
            debug!(path = %path.display(), "changed between the start and the arming of its watch");
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
            self.consider(path, Progress::Whole, settler);
            return;
        }
        if self.started_ns.is_none() && look.ctime_ns >= os::clock::file_clock_ns() - MOMENT_NS {
            self.recent.push(path.to_owned());
        }
        self.snapshot.set(path, look.stamp);
    }

    /// Looks at a file and pushes it if it differs from the snapshot.
    fn consider(&mut self, path: &Path, progress: Progress, settler: &mut Settler) {
        self.compare(path, None, progress, settler);
    }

    /// The same with a look that was taken, if one was.
    fn compare(&mut self, path: &Path, look: Option<Look>, progress: Progress, settler: &mut Settler) {
        let decision = self.filter.decide(path);
        if !decision.counts {
            debug!(path = %path.display(), rule = %decision.rule, "does not count");
            return;
        }
        let before = self.snapshot.get(path);
        let look = look.unwrap_or_else(|| os::fs::look(path));
        if look.stamp == before {
            debug!(path = %path.display(), "is as it was");
            settler.withdraw(path);
            return;
        }
        if path.is_symlink() {
            self.register_hops(path);
        }
        let kind = match (before, look.stamp) {
            (None, _) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Modified,
            (Some(_), None) => ChangeKind::Deleted,
        };
        // An emptied file is seldom what somebody meant to save: the content follows.
        let emptied = look.stamp.is_some_and(|now| now.size == 0) && before.is_none_or(|then| then.size > 0);
        let progress = if emptied && progress == Progress::Whole { Progress::Partial } else { progress };
        debug!(path = %path.display(), rule = %decision.rule, ?kind, ?progress, "counts");
        let config = decision.rule == Rule::ConfigFile;
        let change = Change { path: path.to_owned(), kind, rule: decision.rule.to_string(), config, open: false, seen: look };
        settler.push(change, progress, Instant::now());
    }

    /// Compares whole directories with the snapshot: after an overflow, and for those that are polled.
    fn look_again(&mut self, directories: &BTreeSet<PathBuf>, settler: &mut Settler) {
        for directory in directories {
            let mut below = Walk::default();
            let listed: BTreeMap<PathBuf, Look> = match below.list(directory, Depth::Deep, &self.filter) {
                Ok(listing) => listing.looks().into_iter().collect(),
                Err(_) => BTreeMap::new(),
            };
            if listed.is_empty() && !directory.is_dir() {
                self.lose(directory, settler);
                continue;
            }
            for path in self.snapshot.in_directory(directory) {
                if !listed.contains_key(&path) {
                    self.consider(&path, Progress::Partial, settler);
                }
            }
            for (path, look) in listed {
                self.compare(&path, Some(look), Progress::Partial, settler);
            }
            while let Some((subdirectory, _)) = below.next() {
                if !directories.contains(&subdirectory) && !self.watched.contains(&subdirectory) {
                    self.gain(&subdirectory, Progress::Partial, settler);
                }
            }
        }
    }
}

/// The nearest directory above a path that exists.
fn anchor(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir())
}

/// A hard link is made whole; a file made by open(2) has one name and is yet to be written.
fn has_other_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() > 1)
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
