//! Coverage and ledger together: directories that appear and vanish, symlinks that change, and ignore files that change.
//!
//! | the rules changed, and a file         | then                                                                 |
//! |---------------------------------------|----------------------------------------------------------------------|
//! | was ignored, and counts from now on   | its present state is noted; a save after the change of the rules counts |
//! | counted, and is ignored from now on   | it is forgotten, with a pending change of it                         |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tracing::debug;

use super::backend::{Entry, Notice};
use super::coverage::Coverage;
use super::ledger::Ledger;
use super::rule_clock::RuleClock;
use super::snapshot::Snapshot;
use super::walk::{Depth, Walk};
use crate::change::{Look, Stamp};
use crate::degraded::Degraded;
use crate::filter::Filter;
use crate::ignore_files::RulesChanged;
use crate::os;
use crate::settle::Progress;

/// The watched directories and the files in them.
pub struct Survey {
    filter: Arc<Filter>,
    /// Which directories are watched.
    pub coverage: Coverage,
    /// How the files in them are and were.
    pub ledger: Ledger,
    /// When ignore files were looked at.
    pub rule_clock: RuleClock,
}

impl Survey {
    /// Joins the parts.
    pub fn new(filter: Arc<Filter>, coverage: Coverage, ledger: Ledger, rule_clock: RuleClock) -> Survey {
        Survey { filter, coverage, ledger, rule_clock }
    }

    /// Processes the notices that have come, and polls if a poll is due.
    pub fn look(&mut self) {
        let live = self.filter.live().map(Arc::clone);
        let closed = live.as_ref().map(|live| live.closed_by_now());
        let heard_ns = os::clock::file_clock_ns();
        let (notices, polled) = self.coverage.drain();
        for notice in notices {
            self.take_in(notice);
        }
        if let Some((live, closed)) = live.zip(closed) {
            live.has_taken_in(closed);
        }
        // Arming looks at each directory anyway, and polling would only delay it.
        if let Some(polled) = polled.filter(|_| self.coverage.ahead() == 0) {
            self.look_again(&polled);
        }
        self.look_around_for_rules();
        self.rule_clock.heard(heard_ns);
    }

    /// Processes the changes that were pending when the previous child left, and the notices since then. The command has not
    /// started. Returns false if notices are missing; then nothing was processed.
    pub fn catch_up(&mut self, pending: &[(PathBuf, Progress)]) -> bool {
        let heard_ns = os::clock::file_clock_ns();
        let notices = self.coverage.drain_backend();
        if notices.contains(&Notice::Overflow) {
            return false;
        }
        for (path, progress) in pending {
            self.consider(path, *progress);
        }
        for notice in notices {
            self.take_in(notice);
        }
        self.take_up_rules(i64::MAX);
        self.rule_clock.heard(heard_ns);
        self.ledger.settle_told();
        true
    }

    /// Notices are missing, and the command has not started: everything is to be armed again. Returns what was known.
    pub fn begin_anew(&mut self) -> Snapshot {
        self.coverage.tell(Degraded::QueueOverflow);
        self.coverage.begin_anew();
        std::mem::take(&mut *self.ledger.snapshot.lock())
    }

    /// Looks once more at what is pending, before it passes.
    pub fn confirm(&mut self, now: Instant) {
        // A burst in polled directories may go on in other files, and the next poll may be far off.
        let polled = self.coverage.polled();
        if !self.ledger.settler.is_empty() && !polled.is_empty() {
            self.look_again(&polled);
        }
        self.ledger.confirm(now);
    }

    /// Every save before this time was taken in, nanoseconds since the epoch.
    pub fn heard_ns(&self) -> i64 {
        let heard_ns = self.rule_clock.last_heard();
        if self.coverage.polls() { heard_ns.min(self.rule_clock.last_listing()) } else { heard_ns }
    }

    /// Watches this file, which looked so when it was read. If it looks different by now, it has changed.
    pub fn add(&mut self, path: &Path, seen: Look) {
        let directory = if path.is_dir() { Some(path) } else { path.parent() };
        if let Some(directory) = directory.filter(|directory| !self.coverage.holds(directory)) {
            self.coverage.watch_aside(directory);
            self.coverage.register_hops(directory);
        }
        if path.is_symlink() {
            self.coverage.register_hops(path);
        }
        // Where nothing counts but what is read, its change may have come when it was not known yet that it is read, and then it
        // did not count.
        let was_missed = || self.filter.narrows() && seen.stamp == Some(Stamp::UNKNOWN);
        if !path.is_dir() && (self.ledger.snapshot.get(path).is_none() || was_missed()) {
            self.ledger.snapshot.set(path, seen.stamp);
            let look = os::fs::look(path);
            let progress = if look.stamp == seen.stamp { Progress::Partial } else { self.progress_of_unseen(path) };
            self.compare(path, Some(look), progress);
        }
    }

    /// How far along a save is that was not seen: its program may have closed the file before the watch existed.
    pub fn progress_of_unseen(&self, path: &Path) -> Progress {
        if !path.parent().is_some_and(|directory| self.coverage.tells_all(directory)) {
            return Progress::Partial;
        }
        match os::lease::is_open_for_writing(path) {
            Some(true) => Progress::Open,
            Some(false) => Progress::Whole,
            None => Progress::Partial,
        }
    }

    /// Walks to the end, and compares the files on the way.
    pub fn explore(&mut self, mut walk: Walk, progress: Progress) {
        while let Some((directory, depth)) = walk.next() {
            for (path, look) in self.coverage.visit(&directory, depth, &mut walk) {
                self.compare(&path, Some(look), progress);
            }
            self.ledger.enter(&directory);
        }
        if self.coverage.ahead() == 0 {
            self.coverage.tell_links(&self.ledger.snapshot);
        }
    }

    /// Looks at a file. A difference from the snapshot goes to the settler.
    pub fn consider(&mut self, path: &Path, progress: Progress) {
        self.compare(path, None, progress);
    }

    /// The same for a file that nobody has written since this instant.
    pub fn consider_since(&mut self, path: &Path, progress: Progress, since: Instant) {
        self.compare_since(path, None, progress, since);
    }

    /// The same with a look that was taken, if one was.
    fn compare(&mut self, path: &Path, look: Option<Look>, progress: Progress) {
        self.compare_since(path, look, progress, Instant::now());
    }

    /// A new symlink to nothing is no change, but what appears behind it will be one.
    fn compare_since(&mut self, path: &Path, look: Option<Look>, progress: Progress, since: Instant) {
        let look = look.unwrap_or_else(|| os::fs::look(path));
        let changed = self.ledger.consider_since(path, Some(look), progress, since);
        if (changed || look.stamp.is_none()) && path.is_symlink() && (changed || self.may_matter_later(path)) {
            self.coverage.register_hops(path);
        }
    }

    /// Whether a symlink to nothing may lead to a file that counts, or to a directory with such files.
    fn may_matter_later(&self, link: &Path) -> bool {
        (self.filter.decide(link).counts || self.filter.descend(link)) && !self.coverage.leaves_alone(link)
    }

    fn take_in(&mut self, notice: Notice) {
        match notice {
            Notice::Overflow => {
                self.coverage.tell(Degraded::QueueOverflow);
                if let Some(live) = self.filter.live() {
                    live.has_missed();
                }
                self.coverage.watch_again();
                self.look_again(&self.coverage.all());
            }
            Notice::Gone(directory) => {
                self.lose(&directory);
                // A directory that was hidden by a mount shows again, without another notice.
                if directory.is_dir() && !self.coverage.holds(&directory) {
                    self.gain(&directory, Progress::Partial);
                }
            }
            Notice::Entry { path, what } => self.take_in_entry(&path, what),
        }
    }

    /// Processes a notice about an entry of a watched directory.
    pub fn take_in_entry(&mut self, path: &Path, what: Entry) {
        if path.file_name().is_some_and(Filter::is_ignore_file) {
            self.refresh_rules(path, what);
        }
        for visible in self.coverage.visible_through(path) {
            self.turn(&visible);
        }
        if let Some(live) = self.filter.live() {
            match what {
                Entry::Closed => live.was_closed(path),
                Entry::MovedTo => live.was_moved_in(path),
                _ => {}
            }
        }
        let look = self.ledger.hear(path, what);
        // Setting only the times (`touch -m`) sends MODIFY, and no CLOSE_WRITE follows.
        let what = if what == Entry::Modified && look.is_some_and(has_set_times) { Entry::Attributes } else { what };
        match what {
            Entry::Created | Entry::MovedTo if path.is_dir() => {
                let progress = if what == Entry::MovedTo { Progress::Whole } else { Progress::Partial };
                self.gain(path, progress);
            }
            Entry::Vanished => {
                for gone in self.ledger.snapshot.below(path).into_iter().chain(self.ledger.settler.below(path)) {
                    self.consider(&gone, Progress::Partial);
                }
                if self.coverage.holds(path) {
                    self.lose(path);
                }
                self.consider(path, Progress::Partial);
            }
            Entry::Created if path.is_symlink() || has_other_names(path) => self.consider(path, Progress::Whole),
            Entry::Created => self.consider(path, Progress::Partial),
            Entry::Modified if self.coverage.tells_close() => self.compare(path, look, Progress::Open),
            Entry::Modified => self.compare(path, look, Progress::Partial),
            // A program may set the times while it still writes the file.
            Entry::Attributes if self.ledger.settler.holds(path) => {}
            // The directory may be readable from now on.
            Entry::Attributes if path.is_dir() && !self.coverage.holds(path) && !self.coverage.will_arm(path) => {
                self.gain(path, Progress::Partial);
            }
            Entry::Closed | Entry::MovedTo | Entry::Attributes => self.consider(path, Progress::Whole),
        }
    }

    /// A directory has appeared: watches it, and everything in it is new.
    fn gain(&mut self, directory: &Path, progress: Progress) {
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(directory, &mut walk);
        if directory.is_symlink() {
            if walk.follow(directory, &self.filter) {
                self.coverage.register_hops(directory);
            }
        } else if self.filter.descend(directory) {
            walk.begin(directory.to_owned(), Depth::Deep);
        }
        self.explore(walk, progress);
        self.follow(directory);
        // It may have replaced another directory.
        for known in self.ledger.snapshot.below(directory) {
            self.consider(&known, progress);
        }
    }

    /// Watches what the command names here or further down, as far as no walk has come by.
    fn follow(&mut self, directory: &Path) {
        let Some(live) = self.filter.live() else { return };
        for named in live.directories_below(directory) {
            if !self.coverage.holds(&named) {
                self.coverage.watch_aside(&named);
                self.coverage.register_hops(&named);
            }
        }
    }

    /// A watched directory has vanished.
    fn lose(&mut self, directory: &Path) {
        self.coverage.forget(directory);
        for gone in self.ledger.snapshot.below(directory) {
            self.consider(&gone, Progress::Partial);
        }
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(directory, &mut walk);
        self.explore(walk, Progress::Partial);
        self.follow(directory);
        for visible in self.coverage.visible_through(directory) {
            self.turn(&visible);
        }
    }

    /// A symlink on the way to this path has another target now.
    fn turn(&mut self, visible: &Path) {
        self.coverage.register_hops(visible);
        if visible.is_dir() && self.filter.descend(visible) && !self.coverage.leaves_alone(visible) {
            let mut walk = self.coverage.walk();
            walk.begin(visible.to_owned(), Depth::Deep);
            self.explore(walk, Progress::Whole);
        }
        for known in self.ledger.snapshot.below(visible) {
            self.consider(&known, Progress::Whole);
        }
        self.consider(visible, Progress::Whole);
    }

    /// Compares whole directories with the snapshot: after an overflow, and those that are polled.
    fn look_again(&mut self, directories: &BTreeSet<PathBuf>) {
        let began_ns = os::clock::file_clock_ns();
        for directory in directories {
            let mut below = self.coverage.walk();
            let listed: BTreeMap<PathBuf, Look> = match below.list(directory, Depth::Deep, &self.filter) {
                Ok(listing) => listing.looks().into_iter().collect(),
                Err(_) => self.coverage.named_in(directory).into_iter().collect(),
            };
            // The listing may have shown that an ignore file has changed.
            self.take_up_rules(self.rule_clock.last_listing());
            if listed.is_empty() && !directory.is_dir() {
                self.lose(directory);
                continue;
            }
            for path in self.ledger.snapshot.in_directory(directory) {
                if !listed.contains_key(&path) {
                    self.consider(&path, Progress::Partial);
                }
            }
            let told = self.coverage.tells(directory);
            for (path, look) in listed {
                // Its events show better how far a save is.
                if !(told && self.ledger.settler.holds(&path)) {
                    if self.ledger.snapshot.get(&path).is_some_and(|known| Some(known) != look.stamp) {
                        self.ledger.learn_clock(&path, look, self.coverage.interval());
                    }
                    self.compare(&path, Some(look), Progress::Partial);
                }
            }
            while let Some((subdirectory, _)) = below.next() {
                let known = self.coverage.holds(&subdirectory) || self.coverage.will_arm(&subdirectory);
                if !directories.contains(&subdirectory) && !known {
                    self.gain(&subdirectory, Progress::Partial);
                }
            }
        }
        self.rule_clock.listed(began_ns);
        if self.coverage.ahead() > 0 {
            // Roots that are not armed yet are not missing, and the files in them are not new.
            return;
        }
        let mut walk = self.coverage.walk();
        self.coverage.begin_missing_roots(&mut walk);
        self.explore(walk, Progress::Partial);
    }

    /// There is a notice about an ignore file or a `.git`.
    fn refresh_rules(&mut self, path: &Path, what: Entry) {
        // With half of a file that is being written, some ignored files would count for a moment.
        if what == Entry::Modified && self.coverage.tells_close() {
            return;
        }
        self.filter.refresh_rules(path);
        self.take_up_rules(i64::MAX);
    }

    /// Once an interval, checks the ignore files that send no notices: `.git/info/exclude`, those in the home directory, and
    /// those above the watched directories.
    fn look_around_for_rules(&mut self) {
        if self.coverage.ahead() == 0 && self.rule_clock.is_due(Instant::now()) {
            self.filter.look_around_for_rules();
        }
        self.take_up_rules(i64::MAX);
    }

    /// Applies rules that have changed. A file that was written at `unseen_ns` or later may not have been seen yet.
    fn take_up_rules(&mut self, unseen_ns: i64) {
        for RulesChanged { below, since_ns } in self.filter.changed_rules() {
            debug!(below = %below.display(), "ignore rules have changed");
            self.ledger.forget_ignored(&below);
            self.note_counting(&below, since_ns.unwrap_or(self.rule_clock.last_heard()).min(unseen_ns));
        }
    }

    fn note_counting(&mut self, below: &Path, since_ns: i64) {
        let mut walk = self.coverage.walk();
        self.coverage.begin_roots_at(below, &mut walk);
        if self.coverage.holds(below) && self.filter.descend(below) && !walk.holds(below) {
            walk.begin(below.to_owned(), Depth::Deep);
        }
        while let Some((directory, depth)) = walk.next() {
            if self.coverage.will_arm(&directory) {
                // Arming will look at it.
                continue;
            }
            for (path, look) in self.coverage.visit(&directory, depth, &mut walk) {
                if self.ledger.note_counting(&path, look, since_ns) && path.is_symlink() {
                    self.coverage.register_hops(&path);
                }
            }
            self.ledger.enter(&directory);
        }
    }
}

/// A write stamps the file and its inode with the same time; a time that was set differs.
fn has_set_times(look: Look) -> bool {
    look.stamp.is_some_and(|stamp| stamp.mtime_ns != look.ctime_ns)
}

/// A hard link is complete from the start; a file that open(2) creates has one name and is not written yet.
fn has_other_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.nlink() > 1)
}
