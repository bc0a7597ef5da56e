//! The gap: what happens to a file between the start of the command and the arming of its watch.
//!
//! | met while arming                       | left to us by the child before | first generation            |
//! |----------------------------------------|--------------------------------|-----------------------------|
//! | written since the start                | changed                        | changed                     |
//! | inode changed since, but not written   | changed if it differs          | changed                     |
//! | as old as ever, in another directory   | changed if it differs          | changed if that was moved   |
//! | not there                              | deleted, if its directory was changed since | directory changed, if nothing in it tells why |
//!
//! What is armed before the start has no gap.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::debug;

use super::Watcher;
use super::clocks::TICK_NS;
use super::handover;
use super::snapshot::{Directory, Snapshot};
use super::start::MOMENT_NS;
use crate::change::{Change, ChangeKind, Look, Stamp};
use crate::os;
use crate::os::fs::{ctime_ns, mtime_ns};
use crate::settle::{Progress, Settler};

impl Watcher {
    /// Takes what the child before has left, if anything.
    pub fn inherit(&mut self, from: OwnedFd) {
        if let Some(bytes) = handover::receive(&from) {
            self.start.inherits = true;
            self.start.remember(handover::memory(&bytes));
            self.snapshot.lock().inherit(bytes);
        }
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known to be ahead; says whether all is done.
    pub fn arm(&mut self, until: Instant, most_ahead: usize, settler: &mut Settler) -> bool {
        while Instant::now() < until && self.start.walk.ahead() <= most_ahead {
            let Some((directory, depth)) = self.start.walk.next() else {
                self.reconcile(settler);
                self.coverage.tell_links(&self.snapshot);
                let mut snapshot = self.snapshot.lock();
                snapshot.complete();
                snapshot.memory = self.start.memory();
                return true;
            };
            for (path, look) in self.coverage.visit(&directory, depth, &mut self.start.walk) {
                self.note(&path, look, settler);
            }
            if let Some(metadata) = self.enter(&directory)
                && self.start.is_since(&directory, ctime_ns(&metadata))
                && !self.start.inherits
            {
                self.feel(&directory, &metadata, settler);
            }
        }
        false
    }

    /// The command starts now: what happens to a file from here on is a change.
    ///
    /// What was saved until now is seen by the command: those changes are known, and no reason to start it again.
    pub fn command_starts(&mut self, settler: &mut Settler) {
        let at_ns = self.start.begin();
        self.next(Some(Instant::now()), settler);
        for path in settler.over() {
            let look = os::fs::look(&path);
            if look.ctime_ns < self.start.at_ns(&path).unwrap_or(at_ns) {
                self.snapshot.set(&path, look.stamp);
                settler.withdraw(&path);
                self.start.recent.push(path);
            }
        }
    }

    /// Files met before the start that were written a moment ago: they may be no part of the changes behind it, saved
    /// when the child before was gone already.
    pub fn recent(&self) -> &[PathBuf] {
        &self.start.recent
    }

    /// Notes which directory this is.
    pub(super) fn enter(&self, directory: &Path) -> Option<fs::Metadata> {
        let metadata = fs::metadata(directory).ok()?;
        self.snapshot.lock().enter(directory, metadata.ino());
        Some(metadata)
    }

    /// A file met while arming: it is as it was at the start, unless its inode says otherwise.
    fn note(&mut self, path: &Path, look: Look, settler: &mut Settler) {
        if settler.holds(path) {
            // It has changed already, in a directory that came or moved while others were being armed.
            return;
        }
        if self.start.is_since(path, look.ctime_ns) && self.start.known.get(path) != Some(&look) {
            let written = look.stamp.is_some_and(|stamp| self.start.is_since(path, stamp.mtime_ns));
            if written || !self.start.inherits {
                self.changed_unseen(path, settler);
                return;
            }
            self.start.doubtful.push(path.to_owned());
        }
        if self.start.at_ns.is_none() && look.ctime_ns >= os::clock::file_clock_ns() - MOMENT_NS {
            self.start.recent.push(path.to_owned());
        }
        self.snapshot.set(path, look.stamp);
    }

    fn changed_unseen(&mut self, path: &Path, settler: &mut Settler) {
        debug!(path = %path.display(), "changed between the start and the arming of its watch");
        let born = os::fs::look(path).stamp.map(|stamp| stamp.born_ns);
        let is_new = !self.start.inherits && self.start.at_ns.is_some_and(|at| born >= Some(at));
        self.snapshot.set(path, (!is_new).then_some(Stamp::UNKNOWN));
        // Somebody may still be writing it, and its closing may have gone by unseen.
        self.consider(path, Progress::Partial, settler);
    }

    /// A directory that is not as it was at the start, and nobody knew it before: has something in it gone, or was it
    /// moved as a whole?
    fn feel(&mut self, directory: &Path, metadata: &fs::Metadata, settler: &mut Settler) {
        if !self.filter.descend(directory) {
            return;
        }
        if !self.start.is_since(directory, mtime_ns(metadata)) {
            self.start.moved.push(directory.to_owned());
            return;
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let tells_why =
            |entry: fs::DirEntry| entry.metadata().is_ok_and(|own| self.start.is_since(directory, ctime_ns(&own)));
        if !settler.holds_below(directory) && !entries.into_iter().any(tells_why) {
            debug!(directory = %directory.display(), "something in it has gone since the start");
            let rule = self.filter.decide_directory(directory).rule.to_string();
            self.snapshot.set(directory, Some(Stamp::UNKNOWN));
            let (path, kind) = (directory.to_owned(), ChangeKind::Modified);
            let change = Change { path, kind, rule, config: false, open: false, seen: Look::ABSENT };
            settler.push(change, Progress::Partial, Instant::now());
        }
    }

    /// All is armed: now what was left to us tells what has gone, and what moved in with its directory.
    fn reconcile(&mut self, settler: &mut Settler) {
        let doubtful: HashSet<PathBuf> = std::mem::take(&mut self.start.doubtful).into_iter().collect();
        let inherited = self.snapshot.lock().inherited();
        let Some(before) = inherited.and_then(|bytes| handover::understand(&bytes)) else {
            let moved = std::mem::take(&mut self.start.moved);
            let below = moved.into_iter().flat_map(|directory| self.snapshot.below(&directory)).collect::<Vec<_>>();
            for path in doubtful.into_iter().chain(below) {
                if !settler.holds(&path) {
                    self.changed_unseen(&path, settler);
                }
            }
            return;
        };
        self.snapshot.lock().take_digests(&before);
        let others = self.others(&before);
        for path in self.differing(&before) {
            let (then, now) = (before.get(&path), self.snapshot.get(&path));
            if then.is_none() {
                self.start.came.push(path.clone());
            }
            let look = os::fs::look(&path);
            if settler.holds(&path) || self.start.known.get(&path) == Some(&look) {
                continue;
            }
            let since = match now {
                None => look.stamp.is_none() && self.nearest_is_stirred(&path),
                Some(now) => {
                    let came = path.ancestors().any(|ancestor| others.contains(ancestor));
                    let known = self.is_known_by_another_name(look, then);
                    doubtful.contains(&path) || came || (self.may_run_old_code(&path, now) && !known)
                }
            };
            if since {
                debug!(path = %path.display(), "differs from what the child before has left");
                self.snapshot.set(&path, then);
                self.consider(&path, Progress::Partial, settler);
            }
        }
    }

    /// Whether a Python source was saved in the moment before the start, when its directory was not armed yet: then nobody
    /// has dropped what was compiled from the one before, and the command may have loaded that.
    fn may_run_old_code(&self, path: &Path, now: Stamp) -> bool {
        let is_source = path.extension().is_some_and(|extension| extension == "py");
        is_source && self.start.at_ns(path).is_some_and(|at| now.mtime_ns >= at - MOMENT_NS)
    }

    /// Whether this very file is among the changes behind this start, by another of its names (a hard link): the child before
    /// heard of one name only. What was compiled from it is old to Python too, unless size and second are the same.
    fn is_known_by_another_name(&self, look: Look, then: Option<Stamp>) -> bool {
        let as_python_sees = |stamp: Stamp| (stamp.size, stamp.mtime_ns.div_euclid(1_000_000_000));
        look.stamp.map(as_python_sees) != then.map(as_python_sees)
            && self.start.known.values().any(|&known| known == look)
    }

    /// The directories that came since the start: they were not there, or are not the same.
    fn others(&self, before: &Snapshot) -> HashSet<PathBuf> {
        let now = self.snapshot.lock();
        let other = |(path, directory): &(&Path, &Directory)| {
            let same = before.directory(path).is_some_and(|before| before.inode == directory.inode);
            !same && self.is_stirred(path)
        };
        now.directories().filter(other).map(|(path, _)| path.to_owned()).collect()
    }

    /// The files that are not as they were, those that are gone and those that were not there.
    pub(super) fn differing(&self, before: &Snapshot) -> Vec<PathBuf> {
        let now = self.snapshot.lock();
        let mut differing = Vec::new();
        for (one, other) in [(before, &*now), (&*now, before)] {
            for (path, directory) in one.directories() {
                let others = other.directory(path);
                for (name, file) in &directory.files {
                    let same = others.and_then(|others| others.files.get(name)).map(|file| file.stamp);
                    if same != Some(file.stamp) {
                        differing.push(path.join(&**name));
                    }
                }
            }
        }
        differing.sort();
        differing.dedup();
        differing
    }

    /// Whether a write may have left a file looking as it did at the start. Kernels before 6.13 stamp all writes of one tick
    /// with the same time; a write that is told is one after the start, since the queue was emptied before it.
    pub(super) fn hides_a_write(&self, path: &Path) -> bool {
        let (Some(at_ns), Some(known)) = (self.start.at_ns(path), self.snapshot.get(path)) else { return false };
        let look = os::fs::look(path);
        // A time that was set is told like a write, and is none.
        known.mtime_ns.abs_diff(at_ns) <= TICK_NS.unsigned_abs()
            && look.stamp == Some(known)
            && look.ctime_ns == known.mtime_ns
    }

    /// Whether a directory has lost or got an entry since the start, or was moved.
    fn is_stirred(&self, directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|metadata| self.start.is_since(directory, ctime_ns(&metadata)))
    }

    /// Whether the nearest directory that is still there has lost or got an entry since the start.
    fn nearest_is_stirred(&self, gone: &Path) -> bool {
        let nearest = gone.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
        nearest.is_some_and(|nearest| self.is_stirred(nearest))
    }
}

#[cfg(test)]
mod tests {
    use crate::change::ChangeSet;
    use crate::filter::{Filter, OwnFiles};
    use crate::settle::Settler;
    use crate::watch::Watcher;
    use crate::watch::backend::Entry;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// A watcher that has armed a directory.
    fn armed(directory: &Path, settler: &mut Settler) -> Watcher {
        let config = crate::config::tests::config(directory, "*.py", "");
        let filter = Arc::new(Filter::new(&config, OwnFiles::default()));
        let mut watcher = Watcher::new(&config, filter, &ChangeSet::default());
        assert!(watcher.arm(Instant::now() + Duration::from_secs(60), usize::MAX, settler));
        watcher
    }

    fn settle(watcher: &mut Watcher, settler: &mut Settler) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while settler.is_empty() && Instant::now() < deadline {
            watcher.next(Some(deadline), settler);
        }
    }

    #[test]
    fn a_write_in_the_very_tick_of_the_start_counts_although_it_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(directory.path()).unwrap().join("a.py");
        std::fs::write(&path, "one").unwrap();
        let mut settler = Settler::new(Duration::ZERO);
        let mut watcher = armed(path.parent().unwrap(), &mut settler);
        // As if the command had started in the tick of this write, and another one had come in the same tick.
        watcher.start.at_ns = watcher.snapshot.get(&path).map(|stamp| stamp.mtime_ns);
        watcher.take_in_entry(&path, Entry::Closed, &mut settler);
        assert!(settler.is_empty(), "to open a file for writing is no change");
        watcher.take_in_entry(&path, Entry::Modified, &mut settler);
        watcher.take_in_entry(&path, Entry::Closed, &mut settler);
        assert!(settler.is_certain());
        assert_eq!(settler.paths(), [path]);
    }

    #[test]
    fn a_link_that_turned_there_and_back_counts_because_the_command_may_have_read_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        for name in ["one.txt", "two.txt"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let link = root.join("app.py");
        let turn = |target: &str| {
            std::os::unix::fs::symlink(target, root.join("new")).unwrap();
            std::fs::rename(root.join("new"), &link).unwrap();
        };
        turn("one.txt");
        let mut settler = Settler::new(Duration::ZERO);
        let mut watcher = armed(&root, &mut settler);
        watcher.command_starts(&mut settler);
        turn("two.txt");
        settle(&mut watcher, &mut settler);
        assert_eq!(settler.paths(), [link.as_path()]);
        turn("one.txt");
        watcher.next(Some(Instant::now()), &mut settler);
        watcher.confirm(&mut settler, Instant::now());
        assert_eq!(settler.paths(), [link.as_path()]);
    }

    #[test]
    fn what_was_saved_before_the_start_is_no_change_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::write(root.join("a.py"), "one").unwrap();
        let mut settler = Settler::new(Duration::ZERO);
        let mut watcher = armed(&root, &mut settler);
        std::fs::write(root.join("a.py"), "before the start").unwrap();
        std::fs::write(root.join("b.py"), "before the start").unwrap();
        std::thread::sleep(Duration::from_millis(20)); // beyond the tick, in which nobody can tell before from after
        watcher.command_starts(&mut settler);
        assert!(settler.is_empty(), "{:?}", settler.paths());
        assert!(watcher.recent().contains(&root.join("a.py")), "its compiled file may be old");
        std::fs::write(root.join("a.py"), "after the start").unwrap();
        settle(&mut watcher, &mut settler);
        assert_eq!(settler.paths(), [root.join("a.py")]);
    }
}
