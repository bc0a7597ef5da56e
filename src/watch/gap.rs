//! The gap: what happens to a file between the start of the command and the arming of its watch.
//!
//! | met while arming                       | the child before left its snapshot | nothing is known of before  |
//! |----------------------------------------|--------------------------------|-----------------------------|
//! | written since the start                | changed                        | changed                     |
//! | inode changed since, but not written   | changed if it differs          | changed                     |
//! | as old as ever, in another directory   | changed if it differs          | changed if that was moved   |
//! | not there                              | deleted, if its directory was changed since | directory changed, if nothing in it tells why |
//!
//! What is armed before the start has no gap. A gap ends when everything is armed.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::debug;

use super::handover;
use super::ledger::Ledger;
use super::snapshot::{Directory, Snapshot};
use super::start::{MOMENT_NS, Start};
use super::survey::Survey;
use crate::change::{Change, ChangeKind, Look, Stamp};
use crate::filter::Filter;
use crate::os;
use crate::os::fs::{ctime_ns, mtime_ns};
use crate::settle::Progress;

/// What was met while arming and cannot be judged before everything is armed.
#[derive(Debug, Default)]
pub struct Gap {
    /// Whether the child before has left its snapshot.
    inherits: bool,
    /// Directories that were moved (or chmodded) since the start.
    moved: Vec<PathBuf>,
    /// Files whose inode changed since the start although they were not written: moved here, or merely chmodded.
    doubtful: Vec<PathBuf>,
}

impl Gap {
    /// Takes what the child before has left, if anything.
    pub fn inherit(&mut self, from: OwnedFd, ledger: &mut Ledger) {
        if let Some(bytes) = handover::receive(from) {
            self.inherits = true;
            ledger.start.remember(handover::memory(&bytes));
            ledger.snapshot.lock().inherit(bytes);
        }
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known to be ahead; says whether all is done.
    pub fn arm(&mut self, survey: &mut Survey, filter: &Filter, until: Instant, most_ahead: usize) -> bool {
        while Instant::now() < until && survey.coverage.ahead() <= most_ahead {
            let Some((directory, looks)) = survey.coverage.arm_next() else {
                self.reconcile(survey);
                survey.coverage.tell_links(&survey.ledger.snapshot);
                let mut snapshot = survey.ledger.snapshot.lock();
                snapshot.complete();
                snapshot.memory = survey.ledger.start.memory();
                return true;
            };
            for (path, look) in looks {
                self.note(&path, look, survey);
            }
            if let Some(metadata) = survey.ledger.enter(&directory)
                && survey.ledger.start.is_since(&directory, ctime_ns(&metadata))
                && !self.inherits
            {
                self.feel(&directory, &metadata, survey, filter);
            }
        }
        false
    }

    /// A file met while arming: it is as it was at the start, unless its inode says otherwise.
    fn note(&mut self, path: &Path, look: Look, survey: &mut Survey) {
        let ledger = &mut survey.ledger;
        if ledger.settler.holds(path) {
            // It has changed already, in a directory that came or moved while others were being armed.
            return;
        }
        let start = &mut ledger.start;
        if start.is_since(path, look.ctime_ns) && start.known.get(path) != Some(&look) {
            let written = look.stamp.is_some_and(|stamp| start.is_since(path, stamp.mtime_ns));
            if written || !self.inherits {
                self.changed_unseen(path, survey);
                return;
            }
            self.doubtful.push(path.to_owned());
        }
        if start.at_ns.is_none() && look.ctime_ns >= os::clock::file_clock_ns() - MOMENT_NS {
            start.recent.push(path.to_owned());
        }
        ledger.snapshot.set(path, look.stamp);
    }

    fn changed_unseen(&self, path: &Path, survey: &mut Survey) {
        debug!(path = %path.display(), "changed between the start and the arming of its watch");
        let born = os::fs::look(path).stamp.map(|stamp| stamp.born_ns);
        let is_new = !self.inherits && survey.ledger.start.at_ns.is_some_and(|at| born >= Some(at));
        survey.ledger.snapshot.set(path, (!is_new).then_some(Stamp::UNKNOWN));
        // Somebody may still be writing it, and its closing may have gone by unseen.
        survey.consider(path, Progress::Partial);
    }

    /// A directory that is not as it was at the start, and nobody knew it before: has something in it gone, or was it
    /// moved as a whole?
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
            ledger.settler.push(change, Progress::Partial, Instant::now());
        }
    }

    /// All is armed: now the snapshot of the child before tells what has gone, and what moved in with its directory.
    fn reconcile(&mut self, survey: &mut Survey) {
        let doubtful: HashSet<PathBuf> = std::mem::take(&mut self.doubtful).into_iter().collect();
        let inherited = survey.ledger.snapshot.lock().inherited();
        let Some(before) = inherited.and_then(|bytes| handover::understand(&bytes)) else {
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

/// Whether a Python source was saved in the moment before the start, when its directory was not armed yet: then nobody
/// has dropped what was compiled from the one before, and the command may have loaded that.
fn may_run_old_code(start: &Start, path: &Path, now: Stamp) -> bool {
    let is_source = path.extension().is_some_and(|extension| extension == "py");
    is_source && start.at_ns(path).is_some_and(|at| now.mtime_ns >= at - MOMENT_NS)
}

/// Whether this very file is among the changes behind this start, by another of its names (a hard link): the child before
/// heard of one name only. What was compiled from it is old to Python too, unless size and second are the same.
fn is_known_by_another_name(start: &Start, look: Look, then: Option<Stamp>) -> bool {
    let as_python_sees = |stamp: Stamp| (stamp.size, stamp.mtime_ns.div_euclid(1_000_000_000));
    look.stamp.map(as_python_sees) != then.map(as_python_sees) && start.known.values().any(|&known| known == look)
}

/// The directories that came since the start: they were not there, or are not the same.
fn others(ledger: &Ledger, before: &Snapshot) -> HashSet<PathBuf> {
    let now = ledger.snapshot.lock();
    let other = |(path, directory): &(&Path, &Directory)| {
        let same = before.directory(path).is_some_and(|before| before.inode == directory.inode);
        !same && is_stirred(&ledger.start, path)
    };
    now.directories().filter(other).map(|(path, _)| path.to_owned()).collect()
}

/// Whether a directory has lost or got an entry since the start, or was moved.
fn is_stirred(start: &Start, directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| start.is_since(directory, ctime_ns(&metadata)))
}

/// Whether the nearest directory that is still there has lost or got an entry since the start.
fn nearest_is_stirred(start: &Start, gone: &Path) -> bool {
    let nearest = gone.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
    nearest.is_some_and(|nearest| is_stirred(start, nearest))
}
