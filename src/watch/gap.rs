//! The gap: what happens to a file between the start of the command and the arming of its watch.
//!
//! | met while arming                       | there is a snapshot from before | there is none               |
//! |----------------------------------------|--------------------------------|-----------------------------|
//! | written since the start                | changed                        | changed                     |
//! | inode changed since, but not written   | changed if it differs          | changed                     |
//! | as old as ever, in another directory   | changed if it differs          | changed if that was moved   |
//! | not there                              | deleted, if its directory was changed since | directory changed, if no entry in it explains that |
//!
//! What is armed before the start has no gap. A gap ends when everything is armed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::debug;

use super::ledger::Ledger;
use super::snapshot::Snapshot;
use super::start::{MOMENT_NS, Start};
use super::survey::Survey;
use crate::change::{Change, ChangeKind, Look, Stamp};
use crate::filter::Filter;
use crate::os;
use crate::os::fs::{ctime_ns, mtime_ns};
use crate::settle::Progress;

/// Paths that were met while arming and cannot be judged before everything is armed.
#[derive(Debug, Default)]
pub struct Gap {
    /// The snapshot that the previous child left.
    before: Option<Snapshot>,
    /// Directories that were moved (or chmodded) since the start.
    moved: Vec<PathBuf>,
    /// Files whose inode changed since the start although they were not written: moved here, or merely chmodded.
    doubtful: Vec<PathBuf>,
}

impl Gap {
    /// A gap, with the snapshot of the previous child if there is one.
    pub fn after(before: Option<Snapshot>) -> Gap {
        Gap { before, ..Gap::default() }
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known to be ahead; says whether all is done.
    pub fn arm(&mut self, survey: &mut Survey, filter: &Filter, until: Instant, most_ahead: usize) -> bool {
        while Instant::now() < until && survey.coverage.ahead() <= most_ahead {
            let Some((directory, looks)) = survey.coverage.arm_next() else {
                self.reconcile(survey);
                survey.coverage.tell_links(&survey.ledger.snapshot);
                return true;
            };
            let mut known = Vec::with_capacity(looks.len());
            for (path, look) in &looks {
                known.extend(
                    look.stamp.filter(|_| self.is_known(path, *look, survey)).map(|stamp| (path.as_path(), stamp)),
                );
            }
            // All of them are in this directory.
            survey.ledger.snapshot.lock().set_all(&directory, known.into_iter());
            if let Some(metadata) = survey.ledger.enter(&directory)
                && survey.ledger.start.is_since(&directory, ctime_ns(&metadata))
                && self.before.is_none()
            {
                self.feel(&directory, &metadata, survey, filter);
            }
        }
        false
    }

    /// Whether a file that is met while arming has its state of the start. It has, unless its inode shows a change since then.
    fn is_known(&mut self, path: &Path, look: Look, survey: &mut Survey) -> bool {
        let ledger = &mut survey.ledger;
        if ledger.settler.holds(path) {
            // It is known to have changed, in a directory that appeared or moved during the arming.
            return false;
        }
        let start = &mut ledger.start;
        if start.is_since(path, look.ctime_ns) && start.known.get(path) != Some(&look) {
            let written = look.stamp.is_some_and(|stamp| start.is_since(path, stamp.mtime_ns));
            if written || self.before.is_none() {
                self.changed_unseen(path, survey);
                return false;
            }
            self.doubtful.push(path.to_owned());
        }
        if start.at_ns.is_none() && look.ctime_ns >= os::clock::file_clock_ns() - MOMENT_NS {
            start.recent.push(path.to_owned());
        }
        if look.stamp.is_none() {
            ledger.snapshot.set(path, None);
        }
        true
    }

    fn changed_unseen(&self, path: &Path, survey: &mut Survey) {
        debug!(path = %path.display(), "changed between the start and the arming of its watch");
        let look = os::fs::look(path);
        let born = look.stamp.map(|stamp| stamp.born_ns);
        let is_new = self.before.is_none() && survey.ledger.start.at_ns.is_some_and(|at| born >= Some(at));
        survey.ledger.snapshot.set(path, (!is_new).then_some(Stamp::UNKNOWN));
        // Its quiet time counts from its last change, not from now.
        let now = Instant::now();
        let quiet_ns = os::clock::file_clock_ns() + survey.ledger.start.clocks.ahead_ns(path) - look.ctime_ns;
        let quiet = u64::try_from(quiet_ns).map_or(Duration::ZERO, Duration::from_nanos);
        let progress = survey.progress_of_unseen(path);
        survey.consider_since(path, progress, now.checked_sub(quiet).unwrap_or(now));
    }

    /// A directory changed since the start, and there is no snapshot from before: was an entry removed, or was the whole directory
    /// moved?
    fn feel(&mut self, directory: &Path, metadata: &fs::Metadata, survey: &mut Survey, filter: &Filter) {
        if !filter.descend(directory) {
            return;
        }
        let ledger = &mut survey.ledger;
        if !ledger.start.is_since(directory, mtime_ns(metadata)) {
            self.moved.push(directory.to_owned());
            return;
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let tells_why =
            |entry: fs::DirEntry| entry.metadata().is_ok_and(|own| ledger.start.is_since(directory, ctime_ns(&own)));
        if !ledger.settler.holds_below(directory) && !entries.into_iter().any(tells_why) {
            debug!(directory = %directory.display(), "something in it has gone since the start");
            let rule = filter.decide_directory(directory).rule.to_string();
            ledger.snapshot.set(directory, Some(Stamp::UNKNOWN));
            let (path, kind) = (directory.to_owned(), ChangeKind::Modified);
            let change = Change { path, kind, rule, config: false, open: false, seen: Look::ABSENT };
            ledger.settler.push(change, false, Progress::Partial, Instant::now());
        }
    }

    /// Everything is armed: the snapshot of the previous child shows which files were removed, and which moved in with their
    /// directory.
    fn reconcile(&mut self, survey: &mut Survey) {
        let doubtful: HashSet<PathBuf> = std::mem::take(&mut self.doubtful).into_iter().collect();
        let Some(before) = self.before.take() else {
            let moved = std::mem::take(&mut self.moved).into_iter();
            let below: Vec<PathBuf> = moved.flat_map(|directory| survey.ledger.snapshot.below(&directory)).collect();
            for path in doubtful.into_iter().chain(below) {
                if !survey.ledger.settler.holds(&path) {
                    self.changed_unseen(&path, survey);
                }
            }
            return;
        };
        survey.ledger.snapshot.lock().take_digests(&before);
        let others = others(&survey.ledger, &before);
        let differing = survey.ledger.snapshot.lock().differing(&before);
        for path in differing {
            let ledger = &mut survey.ledger;
            let (then, now) = (before.get(&path), ledger.snapshot.get(&path));
            if then.is_none() {
                ledger.start.came.push(path.clone());
            }
            let look = os::fs::look(&path);
            if ledger.settler.holds(&path) || ledger.start.known.get(&path) == Some(&look) {
                continue;
            }
            let since = match now {
                None => look.stamp.is_none() && nearest_is_stirred(&ledger.start, &path),
                Some(now) => {
                    let came = path.ancestors().any(|ancestor| others.contains(ancestor));
                    let known = is_known_by_another_name(&ledger.start, look, then);
                    doubtful.contains(&path) || came || (may_run_old_code(&ledger.start, &path, now) && !known)
                }
            };
            if since {
                debug!(path = %path.display(), "differs from what the child before has left");
                ledger.snapshot.set(&path, then);
                survey.consider(&path, Progress::Partial);
            }
        }
    }
}

/// Whether a Python source was saved just before the start, in a directory that was not armed yet. Then its old compiled file
/// was not removed, and the command may have loaded it.
fn may_run_old_code(start: &Start, path: &Path, now: Stamp) -> bool {
    let is_source = path.extension().is_some_and(|extension| extension == "py");
    is_source && start.at_ns(path).is_some_and(|at| now.mtime_ns >= at - MOMENT_NS)
}

/// Whether this file is among the changes behind this start under another name (a hard link): the previous child had an event
/// for one name only. Python rejects the old compiled file by itself, unless size and second are the same.
fn is_known_by_another_name(start: &Start, look: Look, then: Option<Stamp>) -> bool {
    let as_python_sees = |stamp: Stamp| (stamp.size, stamp.mtime_ns.div_euclid(1_000_000_000));
    look.stamp.map(as_python_sees) != then.map(as_python_sees) && start.known.values().any(|&known| known == look)
}

/// The directories that appeared since the start: they did not exist, or have another inode.
fn others(ledger: &Ledger, before: &Snapshot) -> HashSet<PathBuf> {
    let now = ledger.snapshot.lock();
    let other = |path: &PathBuf| {
        let same = before.inode(path).is_some_and(|inode| now.inode(path) == Some(inode));
        !same && is_stirred(&ledger.start, path)
    };
    now.directories().map(|(path, _)| path).filter(other).collect()
}

/// Whether an entry of a directory was created or removed since the start, or the directory was moved.
fn is_stirred(start: &Start, directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| start.is_since(directory, ctime_ns(&metadata)))
}

/// The same for the nearest existing directory above a path.
fn nearest_is_stirred(start: &Start, gone: &Path) -> bool {
    let nearest = gone.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
    nearest.is_some_and(|nearest| is_stirred(start, nearest))
}
