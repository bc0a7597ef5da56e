//! Watching: from directories to changes that count.
//!
//! Only directories are ever watched: a watch on a file dies with its inode, and every atomic save makes a new
//! one.
//!
//! ```text
//! backend    notices of what happened in a watched directory (inotify, the notify crate, or none: polling)
//! coverage   which directories are watched or polled; hops: the symlinks on the way to them
//! ledger     how the files in them looked at the start, what has changed since, when it is over
//! survey     both together: directories come and go, symlinks turn, rules change
//! gap        the first arming, while the command may have started already
//! Watcher    hands what was told to the survey
//! ```

mod backend;
mod clocks;
mod contents;
mod coverage;
mod explain;
mod footing;
mod fresh;
mod gap;
mod handover;
mod hops;
mod inotify;
mod ledger;
mod mounts;
mod notify;
mod poll;
mod rewritten;
mod rule_clock;
mod snapshot;
mod start;
mod survey;
mod wait;
mod walk;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use self::coverage::Coverage;
pub use self::explain::explain;
use self::gap::Gap;
pub use self::handover::give;
use self::ledger::Ledger;
use self::rule_clock::RuleClock;
pub use self::snapshot::Shared as SharedSnapshot;
use self::survey::Survey;
pub use self::wait::{Door, Wait};
use self::wait::{Visitors, door};
use crate::change::ChangeSet;
use crate::config::Config;
use crate::degraded::Degraded;
use crate::event::Watching;
use crate::filter::Filter;
use crate::os;
use crate::settle::Settler;

/// Watches everything that a filter lets count.
pub struct Watcher {
    filter: Arc<Filter>,
    survey: Survey,
    /// Until everything is armed.
    gap: Option<Gap>,
    door: Door,
    visitors: Visitors,
}

impl Watcher {
    /// A watcher that has not armed anything yet. `behind` are the changes that led to this generation.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(config: &Config, filter: Arc<Filter>, behind: &ChangeSet) -> Result<Watcher, os::Errno> {
        let mut coverage = Coverage::new(config, Arc::clone(&filter));
        coverage.begin();
        let ledger = Ledger::new(config, Arc::clone(&filter), behind, coverage.bounds());
        let survey = Survey::new(Arc::clone(&filter), coverage, ledger, RuleClock::new(config.interval));
        let (door, visitors) = door()?;
        Ok(Watcher { filter, survey, gap: Some(Gap::default()), door, visitors })
    }

    /// What the files look like, for the one who hands it over.
    pub fn snapshot(&self) -> SharedSnapshot {
        self.survey.ledger.snapshot.clone()
    }

    /// What has changed and has not passed yet.
    pub fn settler(&self) -> &Settler {
        &self.survey.ledger.settler
    }

    /// What is being watched, for the event of that name.
    pub fn watching(&self, patterns: Vec<String>, root: String) -> Watching {
        let (backend, directories, polled) = self.survey.coverage.summary();
        let files = self.survey.ledger.snapshot.len();
        Watching { patterns, root, directories, files, backend: backend.to_owned(), polled }
    }

    /// What is to be said of patterns that match nothing, now that all is armed.
    pub fn hints(&self) -> Vec<String> {
        self.filter.hints(self.survey.ledger.snapshot.len() > 0)
    }

    /// What is not as good as it should be and was not told yet.
    pub fn degraded(&mut self) -> Vec<Degraded> {
        self.survey.coverage.degraded().into_iter().chain(self.filter.degraded()).collect()
    }

    /// Takes what the child before has left, if anything.
    pub fn inherit(&mut self, from: OwnedFd) {
        if let Some(gap) = &mut self.gap {
            gap.inherit(from, &mut self.survey.ledger);
        }
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known to be ahead; says whether all is done.
    pub fn arm(&mut self, until: Instant, most_ahead: usize) -> bool {
        let Some(gap) = &mut self.gap else { return true };
        let whole = gap.arm(&mut self.survey, &self.filter, until, most_ahead);
        self.gap.take_if(|_| whole);
        whole
    }

    /// The command starts now: what happens to a file from here on is a change.
    ///
    /// What was saved until now is seen by the command: those changes are known, and no reason to start it again.
    pub fn command_starts(&mut self) {
        let at_ns = self.survey.ledger.begin();
        self.look();
        self.survey.ledger.settle_start(at_ns);
    }

    /// Files met before the start that were written a moment ago: they may be no part of the changes behind it, saved
    /// when the child before was gone already.
    pub fn recent(&self) -> &[PathBuf] {
        &self.survey.ledger.start.recent
    }

    /// What to wait for between two looks.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn wait(&self) -> Result<Wait, os::Errno> {
        self.visitors.wait(self.survey.coverage.fd())
    }

    /// The way for other threads to have a path watched, while this one waits.
    #[cfg_attr(not(test), expect(dead_code, reason = "discovery is the first to come in this way"))]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// When it wants to look although nothing was told: to poll.
    pub fn due(&mut self) -> Option<Instant> {
        self.survey.coverage.due()
    }

    /// Takes in what was told since the last look.
    pub fn look(&mut self) {
        for (path, seen) in self.visitors.paths() {
            self.survey.add(&path, seen);
        }
        self.survey.look();
    }

    /// Looks once more at what is pending, before it passes: what moved on waits on, what is as it was is dropped.
    pub fn confirm(&mut self, now: Instant) {
        self.survey.confirm(now);
    }

    /// The changes that pass now, if it is time; they are the new state of things.
    pub fn take(&mut self, now: Instant) -> Option<ChangeSet> {
        let changes = self.survey.ledger.settler.take(now);
        let empty = self.survey.ledger.settler.is_empty();
        let changes = changes.or_else(|| empty.then(ChangeSet::default))?;
        self.survey.ledger.accept(&changes);
        Some(changes)
    }

    /// Everything is armed, and nothing is urgent: takes over what the child before has left, where that is of use. Gives
    /// back the files that came in the moment between that child and this one, where `in_series` asks for them.
    pub fn take_over(&mut self, inherited: Option<OwnedFd>, in_series: bool) -> Vec<PathBuf> {
        let ledger = &mut self.survey.ledger;
        let wanted = in_series || ledger.contents_matter();
        let left = inherited.filter(|_| wanted).and_then(handover::receive);
        if let Some(before) = left.and_then(|bytes| handover::understand(&bytes)) {
            let mut snapshot = ledger.snapshot.lock();
            if in_series {
                let differing = snapshot.differing(&before).into_iter();
                ledger.start.came = differing.filter(|path| before.get(path).is_none()).collect();
            }
            snapshot.take_digests(&before);
        }
        ledger.learn_contents();
        std::mem::take(&mut ledger.start.came)
    }
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
