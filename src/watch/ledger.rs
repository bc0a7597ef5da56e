//! The state of the files: how they looked when the command started, and what has changed since.
//!
//! A notice is only a hint where to look. Whether a file changed is decided here, by comparing it with the snapshot.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::backend::Entry;
use super::clocks::{TICK_NS, device};
use super::contents::Contents;
use super::fresh::is_made_by_running;
use super::lanes::Lanes;
use super::rewritten::Told;
use super::snapshot::{Shared, Snapshot};
use super::start::Start;
use super::walk::Bounds;
use crate::change::{Change, ChangeKind, ChangeSet, Look, Stamp};
use crate::config;
use crate::filter::Filter;
use crate::os;
use crate::os::fs::Silence;
use crate::settle::Progress;

/// The files that count, as they were and as they are.
pub struct Ledger {
    filter: Arc<Filter>,
    /// How the files looked when this generation started.
    pub snapshot: Shared,
    /// What has changed since, until it passes.
    pub settler: Lanes,
    /// When this generation started, and what was known then.
    pub start: Start,
    /// Files that were still being written when this generation had to start: their closing counts.
    still_open: HashSet<PathBuf>,
    told: Told,
    contents: Contents,
    /// With `--no-follow`: symlinks that lead out of these are left alone.
    bounds: Option<Arc<Bounds>>,
}

impl Ledger {
    /// `behind` are the changes that led to this generation; `snapshot` is what is known of the files, if anything.
    pub fn new(
        config: &config::Config,
        filter: Arc<Filter>,
        behind: &ChangeSet,
        bounds: Option<Arc<Bounds>>,
        snapshot: Snapshot,
    ) -> Ledger {
        Ledger {
            filter,
            snapshot: snapshot.into(),
            settler: Lanes::new(config.debounce),
            start: Start::after(behind),
            still_open: behind.iter().filter(|change| change.open).map(|change| change.path.clone()).collect(),
            told: Told::default(),
            contents: Contents::new(config.compare),
            bounds,
        }
    }

    /// Notes the inode behind the name of a directory, and returns its metadata.
    pub fn enter(&self, directory: &Path) -> Option<fs::Metadata> {
        let metadata = fs::metadata(directory).ok()?;
        self.snapshot.lock().enter(directory, metadata.ino());
        Some(metadata)
    }

    /// Processes a notice before the file is compared: some writes leave the file looking as before. Returns the look that this
    /// took, if any.
    pub fn hear(&mut self, path: &Path, what: Entry) -> Option<Look> {
        if what == Entry::Closed && self.still_open.remove(path) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
        }
        let look = matches!(what, Entry::Modified | Entry::Attributes).then(|| os::fs::look(path));
        if let (Entry::Modified, Some(look)) = (what, look) {
            self.learn_clock(path, look, Duration::ZERO);
        }
        if let Some(known) = self.snapshot.get(path) {
            let looks_same = look.is_some_and(|look| look.stamp == Some(known));
            let hidden = what == Entry::Modified && look.is_some_and(|look| self.hides_a_write(path, known, look));
            if self.told.is_write(path, what, looks_same, Instant::now()) || hidden {
                self.snapshot.set(path, Some(Stamp::UNKNOWN));
            }
        }
        look
    }

    /// Compares a file with the snapshot, by this look or by a new one. A change goes to the settler. Returns whether there is
    /// one.
    pub fn consider(&mut self, path: &Path, look: Option<Look>, progress: Progress) -> bool {
        self.consider_since(path, look, progress, Instant::now())
    }

    /// The same for a file that nobody has written since this instant.
    pub fn consider_since(&mut self, path: &Path, look: Option<Look>, progress: Progress, since: Instant) -> bool {
        let look = look.unwrap_or_else(|| os::fs::look(path));
        let decision = self.filter.decide_seen(path, look);
        if !decision.counts {
            info!(path = %path.display(), rule = %decision.rule, "does not count");
            return false;
        }
        if self.snapshot.get(path).is_none() && self.leaves_alone(path) {
            info!(path = %path.display(), "leads out of what is watched, and does not count (--no-follow)");
            return false;
        }
        if self.is_as_it_was(path, look) {
            info!(path = %path.display(), "is as it was, and does not count");
            self.settler.withdraw(path);
            return false;
        }
        if progress == Progress::Whole && self.has_same_content(path, look) {
            self.settler.withdraw(path);
            return false;
        }
        let decision = self.filter.decide_by_now(path, decision);
        if !decision.counts {
            info!(path = %path.display(), rule = %decision.rule, "does not count");
            self.settler.withdraw(path);
            return false;
        }
        // The comparison may have set it to unknown.
        let before = self.snapshot.get(path);
        let kind = match (before, look.stamp) {
            (None, _) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Modified,
            (Some(_), None) => ChangeKind::Deleted,
        };
        // An empty or vanished file is seldom a complete save: the content usually follows.
        let emptied = match (before, look.stamp) {
            (_, None) => true,
            (before, Some(now)) => now.size == 0 && before.is_none_or(|then| then.size > 0),
        };
        let waits = emptied || self.is_fresh(path);
        let progress = if waits && progress == Progress::Whole { Progress::Partial } else { progress };
        info!(path = %path.display(), rule = %decision.rule, "{kind} and counts");
        let (config, for_browsers) = (decision.rule.is_config(), decision.rule.is_for_browsers());
        let rule = decision.rule.to_string();
        let change = Change { path: path.to_owned(), kind, rule, config, open: false, seen: look };
        self.settler.push(change, for_browsers, progress, since);
        true
    }

    /// Looks at the pending files again before they pass. A file that changed again waits again, and a file with its old state
    /// is dropped.
    pub fn confirm(&mut self, now: Instant) {
        for path in self.settler.paths() {
            let look = os::fs::look(&path);
            if self.filter.live().is_some() && !self.filter.decide(&path).counts && !path.is_dir() {
                // Meanwhile it is known that the command made it.
                self.settler.withdraw(&path);
            } else if self.is_fresh(&path) && is_made_by_running(&path) {
                self.snapshot.set(&path, look.stamp);
                self.settler.withdraw(&path);
            } else if self.is_as_it_was(&path, look) || self.has_same_content(&path, look) {
                self.settler.withdraw(&path);
            } else {
                self.settler.refresh(&path, look, now);
            }
        }
        if self.filter.git_is_writing(|root| self.settler.holds_below(root)) {
            self.settler.wait_while_busy(now);
        }
    }

    /// Takes these changes as the new state: from now on only a difference from it is a change.
    pub fn accept(&mut self, changes: &ChangeSet) {
        for change in changes.iter() {
            let (path, look) = (&change.path, change.seen);
            self.snapshot.set(path, look.stamp);
            if let (Some(stamp), Some(digest)) = (look.stamp, self.contents.take(path, look)) {
                self.snapshot.lock().set_with_digest(path, stamp, digest);
            }
            self.start.known.insert(path.clone(), look);
            self.filter.live().iter().for_each(|live| live.has_passed(path));
            if change.open {
                self.still_open.insert(path.clone());
            }
        }
        self.learn_contents();
    }

    /// All events from before the command's start are processed, and each later change will have an event. So the files are
    /// known as they were seen. Only files that are open for writing stay pending: they may be closed after the start.
    pub fn settle_told(&mut self) {
        for (path, seen) in self.settler.closed() {
            let is_new = seen.stamp.is_some() && self.snapshot.get(&path).is_none();
            if is_new && !self.filter.decide(&path).rule.is_for_browsers() {
                self.start.came.push(path.clone());
            }
            self.snapshot.set(&path, seen.stamp);
            self.settler.withdraw(&path);
            self.start.recent.push(path);
        }
    }

    /// The command starts now: from here on, what happens to a file is a change. Returns the instant.
    pub fn begin(&mut self) -> i64 {
        self.start.begin()
    }

    /// All notices from before the start are processed. The command sees what was saved until then, so those changes are known
    /// and cause no restart.
    pub fn settle_start(&mut self, at_ns: i64) {
        for path in self.settler.over() {
            let look = os::fs::look(&path);
            if look.ctime_ns < self.start.at_ns(&path).unwrap_or(at_ns) {
                self.snapshot.set(&path, look.stamp);
                self.settler.withdraw(&path);
                self.start.recent.push(path);
            }
        }
    }

    /// Forgets the files below a directory that no longer count.
    pub fn forget_ignored(&mut self, below: &Path) {
        let pending = self.settler.paths().into_iter().filter(|path| path.starts_with(below));
        for path in self.snapshot.below(below).into_iter().chain(pending) {
            if !self.filter.decide(&path).counts && !path.is_dir() {
                self.snapshot.set(&path, None);
                self.settler.withdraw(&path);
            }
        }
    }

    /// A file counts from now on because rules changed. If it was written since then, it has changed; otherwise its present state
    /// is noted. Returns whether it has changed.
    pub fn note_counting(&mut self, path: &Path, look: Look, since_ns: i64) -> bool {
        if self.snapshot.get(path).is_some() || self.settler.holds(path) {
            return false;
        }
        if look.ctime_ns < since_ns {
            self.snapshot.set(path, look.stamp);
            return false;
        }
        self.snapshot.set(path, Some(Stamp::UNKNOWN));
        self.consider(path, None, Progress::Partial)
    }

    /// A file was stamped at most so long ago. The difference to our clock is that of its file system's clock.
    pub fn learn_clock(&mut self, path: &Path, look: Look, delay: Duration) {
        if let (Some(_), Some(device)) = (look.stamp, device(path)) {
            self.start.clocks.saw(device, look.ctime_ns, os::clock::file_clock_ns(), delay);
        }
    }

    /// Starts to compute missing digests if contents are compared.
    pub fn learn_contents(&mut self) {
        if self.contents.matter() {
            self.contents.make_missing(&self.snapshot);
        }
    }

    /// Whether a file has its state of the start and had no other in between. If it had another (a symlink that was changed and
    /// changed back, files that were swapped twice), the command may have read that; or the file was written, and its old time was
    /// restored. A file that came and went was a temporary one.
    fn is_as_it_was(&self, path: &Path, look: Look) -> bool {
        let same = self.is_same(path, self.snapshot.get(path), look.stamp);
        if same && look.stamp.is_some() && (self.settler.saw_whole(path) || self.settler.saw_content(path)) {
            self.snapshot.set(path, Some(Stamp::UNKNOWN));
            return false;
        }
        same
    }

    /// Whether two stamps mean the same state of a file. On an overlay, the first open for writing copies the file from a lower
    /// layer, which changes its birth time.
    fn is_same(&self, path: &Path, then: Option<Stamp>, now: Option<Stamp>) -> bool {
        let (Some(one), Some(other)) = (then, now) else { return then == now };
        let copied_up = || {
            let directory = path.parent().unwrap_or(path);
            matches!(os::fs::silence(directory), Some(Silence::Below(_))) && !self.told.was_made(path)
        };
        one == other || (one.is_twin(&other) && copied_up())
    }

    /// Whether contents are compared and the file has the same bytes as at the start. Then its new stamp is noted.
    fn has_same_content(&mut self, path: &Path, look: Look) -> bool {
        if !self.contents.matter() {
            return false;
        }
        let (Some(stamp), Some(at_start)) = (look.stamp, self.snapshot.lock().digest(path)) else { return false };
        if self.contents.of(path, look) != Some(at_start) {
            return false;
        }
        debug!(path = %path.display(), "has the same content");
        self.snapshot.lock().set_with_digest(path, stamp, at_start);
        true
    }

    /// Whether a path counts that did not exist at the start and that no pattern asks for.
    fn is_fresh(&self, path: &Path) -> bool {
        self.snapshot.get(path).is_none() && self.filter.is_swept(path)
    }

    fn leaves_alone(&self, path: &Path) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| path.is_symlink() && bounds.way_out(path).is_some())
    }

    /// Whether a write may have left a file with its state of the start. Kernels before 6.13 stamp all writes of one tick with the
    /// same time. The write came after the start, because the queue was read before it.
    fn hides_a_write(&self, path: &Path, known: Stamp, look: Look) -> bool {
        let Some(at_ns) = self.start.at_ns(path) else { return false };
        // Setting the time sends the same event as a write.
        known.mtime_ns.abs_diff(at_ns) <= TICK_NS.unsigned_abs()
            && look.stamp == Some(known)
            && look.ctime_ns == known.mtime_ns
    }
}
