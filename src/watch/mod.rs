//! Watching: from directories to changes that count.
//!
//! Only directories are ever watched: a watch on a file dies with its inode, and every atomic save makes a new
//! one. A notice is only a hint where to look; whether something changed is decided by comparing the file with the
//! [`Shared`] snapshot of this generation's start.

mod arming;
mod backend;
mod clocks;
mod compare;
mod contents;
mod coverage;
mod explain;
mod footing;
mod fresh;
mod handover;
mod inotify;
mod mounts;
mod notify;
mod poll;
mod rewritten;
mod rule_clock;
mod rules;
mod snapshot;
mod start;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use self::backend::{Entry, Notice};
use self::clocks::device;
use self::contents::Contents;
use self::coverage::Coverage;
pub use self::explain::explain;
pub use self::handover::give;
use self::rewritten::Told;
use self::rule_clock::RuleClock;
use self::snapshot::Shared;
pub use self::snapshot::Shared as SharedSnapshot;
use self::start::Start;
use self::walk::{Depth, Walk};
use crate::change::{Change, ChangeKind, ChangeSet, Look, Stamp};
use crate::config;
use crate::degraded::Degraded;
use crate::event::Watching;
use crate::filter::{Filter, Rule};
use crate::os;
use crate::settle::{Progress, Settler};

/// Watches everything that a filter lets count.
pub struct Watcher {
    filter: Arc<Filter>,
    coverage: Coverage,
    snapshot: Shared,
    start: Start,
    rule_clock: RuleClock,
    /// Files that were still being written when this generation had to start: their closing counts.
    still_open: HashSet<PathBuf>,
    told: Told,
    contents: Contents,
}

impl Watcher {
    /// A watcher that has not armed anything yet. `behind` are the changes that led to this generation.
    pub fn new(config: &config::Config, filter: Arc<Filter>, behind: &ChangeSet) -> Watcher {
        let mut coverage = Coverage::new(config, Arc::clone(&filter));
        let mut start = Start::after(behind);
        start.walk = coverage.walk();
        coverage.begin_roots(&mut start.walk);
        Watcher {
            filter,
            coverage,
            snapshot: Shared::default(),
            start,
            rule_clock: RuleClock::new(config.interval),
            still_open: behind.iter().filter(|change| change.open).map(|change| change.path.clone()).collect(),
            told: Told::default(),
            contents: Contents::new(config.compare),
        }
    }

    /// What the files look like, for the one who hands it over.
    pub fn snapshot(&self) -> Shared {
        self.snapshot.clone()
    }

    /// What is being watched, for the event of that name.
    pub fn watching(&self, patterns: Vec<String>, root: String) -> Watching {
        let (backend, directories, polled) = self.coverage.summary();
        Watching { patterns, root, directories, files: self.snapshot.len(), backend: backend.to_owned(), polled }
    }

    /// What is to be said of patterns that match nothing, now that all is armed.
    pub fn hints(&self) -> Vec<String> {
        self.filter.hints(self.snapshot.len() > 0)
    }

    /// What is not as good as it should be and was not told yet.
    pub fn degraded(&mut self) -> Vec<Degraded> {
        self.coverage.degraded().into_iter().chain(self.filter.degraded()).collect()
    }

    /// Waits for changes until the instant has come, and pushes them into the settler.
    pub fn next(&mut self, until: Option<Instant>, settler: &mut Settler) {
        let (notices, polled) = self.coverage.wait(until);
        let heard_ns = os::clock::file_clock_ns();
        for notice in notices {
            self.take_in(notice, settler);
        }
        // While a large tree is being armed, each of its directories is looked at anyway, and polling would only delay it.
        if let Some(polled) = polled.filter(|_| self.start.walk.ahead() == 0) {
            self.look_again(&polled, settler);
        }
        self.look_around_for_rules(settler);
        self.rule_clock.heard(heard_ns);
    }

    /// Looks once more at what is pending, before it passes: what moved on waits on, what is as it was is dropped.
    pub fn confirm(&mut self, settler: &mut Settler, now: Instant) {
        // A burst that is polled may go on in other files, and the next poll may be a long time off.
        let polled = self.coverage.polled();
        if !settler.is_empty() && !polled.is_empty() {
            self.look_again(&polled, settler);
        }
        for path in settler.paths() {
            let look = os::fs::look(&path);
            if self.is_by_product(&path) {
                self.snapshot.set(&path, look.stamp);
                settler.withdraw(&path);
            } else if self.is_as_it_was(&path, look, settler) || self.has_same_content(&path, look) {
                settler.withdraw(&path);
            } else {
                settler.refresh(&path, look, now);
            }
        }
    }

    /// Takes these changes as the new state of things: only what differs from now on is a change.
    pub fn accept(&mut self, changes: &ChangeSet) {
        for change in changes.iter() {
            self.snapshot.set(&change.path, change.seen.stamp);
            self.keep_content(&change.path, change.seen);
            self.start.known.insert(change.path.clone(), change.seen);
            if change.open {
                self.still_open.insert(change.path.clone());
            }
        }
        self.learn_contents();
        self.snapshot.lock().memory = self.start.memory();
    }

    /// A file was stamped a moment ago, at most so long: so late it is by the clock of its file system.
    fn learn_clock(&mut self, path: &Path, look: Look, delay: Duration) {
        if let (Some(_), Some(device)) = (look.stamp, device(path)) {
            self.start.clocks.saw(device, look.ctime_ns, os::clock::file_clock_ns(), delay);
        }
    }

    fn take_in(&mut self, notice: Notice, settler: &mut Settler) {
        match notice {
            Notice::Overflow => {
                self.coverage.tell(Degraded::QueueOverflow);
                self.coverage.watch_again();
                self.look_again(&self.coverage.all(), settler);
            }
            Notice::Gone(directory) => {
                self.lose(&directory, settler);
                // What was below a mount shows again, and nothing else tells of it.
                if directory.is_dir() && !self.coverage.holds(&directory) {
                    self.gain(&directory, Progress::Partial, settler);
                }
            }
            Notice::Entry { path, what } => self.take_in_entry(&path, what, settler),
        }
    }

    fn take_in_entry(&mut self, path: &Path, what: Entry, settler: &mut Settler) {
        if path.file_name().is_some_and(Filter::is_ignore_file) {
            self.refresh_rules(path, what, settler);
        }
        for visible in self.coverage.visible_through(path) {
            self.turn(&visible, settler);
        }
        if what == Entry::Closed && self.still_open.remove(path) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
        }
        if what == Entry::Modified {
            self.learn_clock(path, os::fs::look(path), Duration::ZERO);
        }
        if (what == Entry::Modified && self.hides_a_write(path)) || self.is_rewritten(path, what) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
        }
        // Setting the times alone (`touch -m`) is told like a write that never ends.
        let what = if what == Entry::Modified && has_set_times(path) { Entry::Attributes } else { what };
        match what {
            Entry::Created | Entry::MovedTo if path.is_dir() => {
                let progress = if what == Entry::MovedTo { Progress::Whole } else { Progress::Partial };
                self.gain(path, progress, settler);
            }
            Entry::Vanished => {
                for gone in self.snapshot.below(path).into_iter().chain(settler.below(path)) {
                    self.consider(&gone, Progress::Partial, settler);
                }
                if self.coverage.holds(path) {
                    self.lose(path, settler);
                }
                self.consider(path, Progress::Partial, settler);
            }
            Entry::Created if path.is_symlink() || has_other_names(path) => {
                self.consider(path, Progress::Whole, settler);
            }
            Entry::Created => self.consider(path, Progress::Partial, settler),
            Entry::Modified if self.coverage.tells_close() => self.consider(path, Progress::Open, settler),
            Entry::Modified => self.consider(path, Progress::Partial, settler),
            // Times may be set while the file is still being written.
            Entry::Attributes if settler.holds(path) => {}
            // A directory that may be read from now on.
            Entry::Attributes if path.is_dir() && !self.coverage.holds(path) && !self.start.walk.holds(path) => {
                self.gain(path, Progress::Partial, settler);
            }
            Entry::Closed | Entry::MovedTo | Entry::Attributes => self.consider(path, Progress::Whole, settler),
        }
    }

    /// A directory has come: watch it, and everything in it is new.
    fn gain(&mut self, directory: &Path, progress: Progress, settler: &mut Settler) {
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(directory, &mut walk);
        if directory.is_symlink() {
            if walk.follow(directory, &self.filter) {
                self.coverage.register_hops(directory);
            }
        } else if self.filter.descend(directory) {
            walk.begin(directory.to_owned(), Depth::Deep);
        }
        self.explore(walk, progress, settler);
        // It may have taken the place of another.
        for known in self.snapshot.below(directory) {
            self.consider(&known, progress, settler);
        }
    }

    /// Walks to the end; what it meets is compared.
    fn explore(&mut self, mut walk: Walk, progress: Progress, settler: &mut Settler) {
        while let Some((directory, depth)) = walk.next() {
            for (path, look) in self.coverage.visit(&directory, depth, &mut walk) {
                self.compare(&path, Some(look), progress, settler);
            }
            self.enter(&directory);
        }
        if self.start.walk.ahead() == 0 {
            self.coverage.tell_links(&self.snapshot);
        }
    }

    /// A watched directory has gone.
    fn lose(&mut self, directory: &Path, settler: &mut Settler) {
        self.coverage.forget(directory);
        for gone in self.snapshot.below(directory) {
            self.consider(&gone, Progress::Partial, settler);
        }
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(directory, &mut walk);
        self.explore(walk, Progress::Partial, settler);
        for visible in self.coverage.visible_through(directory) {
            self.turn(&visible, settler);
        }
    }

    /// A symlink on the way to this path now leads elsewhere.
    fn turn(&mut self, visible: &Path, settler: &mut Settler) {
        self.coverage.register_hops(visible);
        if visible.is_dir() && self.filter.descend(visible) && !self.coverage.leaves_alone(visible) {
            let mut walk = self.coverage.walk();
            walk.begin(visible.to_owned(), Depth::Deep);
            self.explore(walk, Progress::Whole, settler);
        }
        for known in self.snapshot.below(visible) {
            self.consider(&known, Progress::Whole, settler);
        }
        self.consider(visible, Progress::Whole, settler);
    }

    /// Looks at a file and pushes it if it differs from the snapshot.
    fn consider(&mut self, path: &Path, progress: Progress, settler: &mut Settler) {
        self.compare(path, None, progress, settler);
    }

    /// The same with a look that was taken, if one was.
    fn compare(&mut self, path: &Path, look: Option<Look>, progress: Progress, settler: &mut Settler) {
        let look = look.unwrap_or_else(|| os::fs::look(path));
        let decision = self.filter.decide_seen(path, look);
        if !decision.counts {
            info!(path = %path.display(), rule = %decision.rule, "does not count");
            return;
        }
        if self.snapshot.get(path).is_none() && self.coverage.leaves_alone(path) {
            info!(path = %path.display(), "leads out of what is watched, and does not count (--no-follow)");
            return;
        }
        if self.is_as_it_was(path, look, settler) {
            info!(path = %path.display(), "is as it was, and does not count");
            settler.withdraw(path);
            return;
        }
        if progress == Progress::Whole && self.has_same_content(path, look) {
            settler.withdraw(path);
            return;
        }
        let before = self.snapshot.get(path);
        if path.is_symlink() {
            self.coverage.register_hops(path);
        }
        let kind = match (before, look.stamp) {
            (None, _) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Modified,
            (Some(_), None) => ChangeKind::Deleted,
        };
        // An emptied or vanished file is seldom what somebody meant to save: the content follows.
        let emptied = match (before, look.stamp) {
            (_, None) => true,
            (before, Some(now)) => now.size == 0 && before.is_none_or(|then| then.size > 0),
        };
        let waits = emptied || self.is_fresh(path);
        let progress = if waits && progress == Progress::Whole { Progress::Partial } else { progress };
        info!(path = %path.display(), rule = %decision.rule, "{kind} and counts");
        let config = decision.rule == Rule::ConfigFile;
        let rule = decision.rule.to_string();
        let change = Change { path: path.to_owned(), kind, rule, config, open: false, seen: look };
        settler.push(change, progress, Instant::now());
    }

    /// Compares whole directories with the snapshot: after an overflow, and for those that are polled.
    fn look_again(&mut self, directories: &BTreeSet<PathBuf>, settler: &mut Settler) {
        let began_ns = os::clock::file_clock_ns();
        for directory in directories {
            let mut below = self.coverage.walk();
            let listed: BTreeMap<PathBuf, Look> = match below.list(directory, Depth::Deep, &self.filter) {
                Ok(listing) => listing.looks().into_iter().collect(),
                Err(_) => self.coverage.named_in(directory).into_iter().collect(),
            };
            // The listing may have shown that an ignore file has changed.
            self.take_up_rules(self.rule_clock.last_listing(), settler);
            if listed.is_empty() && !directory.is_dir() {
                self.lose(directory, settler);
                continue;
            }
            for path in self.snapshot.in_directory(directory) {
                if !listed.contains_key(&path) {
                    self.consider(&path, Progress::Partial, settler);
                }
            }
            let told = self.coverage.tells(directory);
            for (path, look) in listed {
                // How far a save has come is known better from its events.
                if !(told && settler.holds(&path)) {
                    if self.snapshot.get(&path).is_some_and(|known| Some(known) != look.stamp) {
                        self.learn_clock(&path, look, self.coverage.interval());
                    }
                    self.compare(&path, Some(look), Progress::Partial, settler);
                }
            }
            while let Some((subdirectory, _)) = below.next() {
                let known = self.coverage.holds(&subdirectory) || self.start.walk.holds(&subdirectory);
                if !directories.contains(&subdirectory) && !known {
                    self.gain(&subdirectory, Progress::Partial, settler);
                }
            }
        }
        self.rule_clock.listed(began_ns);
        if self.start.walk.ahead() > 0 {
            // Roots that are not watched yet are not missing, and what is in them is not new.
            return;
        }
        let mut walk = self.coverage.walk();
        self.coverage.begin_missing_roots(&mut walk);
        self.explore(walk, Progress::Partial, settler);
    }
}

/// A write stamps the file and its inode with the same time; a time that was set differs.
fn has_set_times(path: &Path) -> bool {
    let look = os::fs::look(path);
    look.stamp.is_some_and(|stamp| stamp.mtime_ns != look.ctime_ns)
}

/// A hard link is made whole; a file made by open(2) has one name and is yet to be written.
fn has_other_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() > 1)
}
