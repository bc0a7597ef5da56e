//! Watching: from directories to changes that count.
//!
//! Only directories are ever watched: a watch on a file dies with its inode, and every atomic save makes a new
//! one.
//!
//! ```text
//! backend    notices of what happened in a watched directory (inotify, the notify crate, or none: polling)
//! coverage   which directories are watched, and polling: which are polled; hops: the symlinks on the way to them
//! ledger     how the files in them looked at the start, what has changed since, when it is over
//! survey     both together: directories come and go, symlinks turn, rules change
//! gap        the first arming, while the command may have started already
//! handover   what one child leaves to the next: a table that is mapped, and the rest
//! Watcher    passes notices to the survey
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
mod lanes;
mod ledger;
mod mounts;
mod notify;
mod poll;
mod polling;
mod rewritten;
mod rule_clock;
mod snapshot;
mod start;
mod survey;
mod table;
mod wait;
mod walk;
mod watches;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use self::contents::digest as content;
use self::coverage::Coverage;
pub use self::explain::explain;
use self::gap::Gap;
use self::handover::{Handover, Rest};
use self::ledger::Ledger;
use self::rule_clock::RuleClock;
use self::snapshot::Snapshot;
use self::survey::Survey;
pub use self::wait::{Door, Mark, Wait};
use self::wait::{Visitors, door};
use self::watches::Watches;
use crate::change::{Change, ChangeKind, ChangeSet, Stamp};
use crate::config::Config;
use crate::degraded::Degraded;
use crate::event::Watching;
use crate::filter::Filter;
use crate::os;
use crate::protocol::WatchState;
use crate::settle::{Progress, Settler};

/// A table is written anew when so many files differ from it,
const MUCH: usize = 512;

/// or one in so many of all.
const PART: usize = 8;

/// For so many files the ignore rules are read in idle time.
const WARMED: usize = 16;

/// Watches everything that a filter lets count.
pub struct Watcher {
    filter: Arc<Filter>,
    survey: Survey,
    /// The gap, until everything is armed.
    gap: Option<Gap>,
    /// The changes that were pending when the previous child left, until this one has read the queue. `None` if this child arms
    /// everything itself.
    pending: Option<Vec<(PathBuf, Progress)>>,
    /// Whether this child arms everything itself.
    walks: bool,
    handover: Handover,
    /// What a table has replaced. It is freed in idle time.
    worn: Option<(Snapshot, Option<Watches>)>,
    door: Door,
    visitors: Visitors,
    /// Requests after which everything that had happened was taken in. Some of it may still be pending.
    marks: Vec<Mark>,
}

impl Watcher {
    /// A watcher that takes over the watches of the previous child, or that has not armed anything yet. `behind` are the changes
    /// that led to this generation.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(
        config: &Config,
        filter: Arc<Filter>,
        behind: &ChangeSet,
        state: WatchState,
    ) -> Result<Watcher, os::Errno> {
        let (mut handover, left) = Handover::open(state.memory);
        let (door, visitors) = door()?;
        let queue = state.queue.filter(|_| config.backend.uses_inotify());
        let (table, mut rest) = left.map_or_else(Default::default, |(table, rest)| (Some(table), rest));
        let before = table.map(|table| (Arc::clone(&table), Snapshot::resume(table, rest.take_differences())));
        let memory = std::mem::take(&mut rest.memory);
        if let (Some(live), Some(kept)) = (filter.live(), rest.discovered.take()) {
            live.resume(kept);
        }
        let (survey, gap, pending) = match (queue, before) {
            (Some(queue), Some((table, snapshot))) if rest.coverage.is_told() => {
                let pending = rest.take_pending();
                if let Some(rules) = rest.rules {
                    filter.resume_rules(rules);
                }
                let coverage = Coverage::resume(config, Arc::clone(&filter), queue, &table, rest.coverage);
                let ledger = Ledger::new(config, Arc::clone(&filter), behind, coverage.bounds(), snapshot);
                let rule_clock = RuleClock::resume(config.interval, rest.rule_clock);
                (Survey::new(Arc::clone(&filter), coverage, ledger, rule_clock), None, Some(pending))
            }
            (queue, before) => {
                handover.give_up_table();
                let mut coverage = Coverage::new(config, Arc::clone(&filter), queue);
                coverage.begin();
                let ledger = Ledger::new(config, Arc::clone(&filter), behind, coverage.bounds(), Snapshot::default());
                let survey = Survey::new(Arc::clone(&filter), coverage, ledger, RuleClock::new(config.interval));
                (survey, Some(Gap::after(before.map(|(_, snapshot)| snapshot))), None)
            }
        };
        let walks = gap.is_some();
        let mut watcher =
            Watcher { filter, survey, gap, pending, walks, handover, worn: None, door, visitors, marks: Vec::new() };
        watcher.survey.ledger.start.remember(memory);
        if watcher.gap.is_some() {
            watcher.watch_discovered();
        }
        Ok(watcher)
    }

    /// The watches of the previous child are lost, and what its command read is to be watched all the same. The walk does not
    /// come by there.
    fn watch_discovered(&self) {
        let known = self.filter.live().map(|live| live.all()).unwrap_or_default();
        if !known.is_empty() {
            self.door.add(
                known.into_iter().map(|path| (os::fs::look(&path), path)).map(|(look, path)| (path, look)).collect(),
            );
        }
    }

    /// The changes that have not passed yet.
    pub fn settler(&self) -> &Settler {
        &self.survey.ledger.settler.command
    }

    /// The content of the event `watching`.
    pub fn watching(&self, patterns: Vec<String>, root: String) -> Watching {
        let (backend, directories, polled) = self.survey.coverage.summary();
        let files = self.survey.ledger.snapshot.len();
        Watching { patterns, root, directories, files, backend: backend.to_owned(), polled, narrows: false }
    }

    /// Every file that counts, and how it looked when it was taken in; `None` before everything is armed, or where there are
    /// more than `most`.
    pub fn counted(&self, most: usize) -> Option<Vec<(PathBuf, Stamp)>> {
        let snapshot = self.survey.ledger.snapshot.lock();
        if self.gap.is_some() || snapshot.len() > most {
            return None;
        }
        let files = |(path, directory): (PathBuf, snapshot::Directory)| {
            directory.files.into_iter().map(move |(name, file)| (path.join(&*name), file.stamp))
        };
        Some(snapshot.directories().flat_map(files).collect())
    }

    /// Hints about patterns that match nothing, once everything is armed.
    pub fn hints(&self) -> Vec<String> {
        self.filter.hints(self.survey.ledger.snapshot.len() > 0)
    }

    /// Takes the degraded states that were not reported yet.
    pub fn degraded(&mut self) -> Vec<Degraded> {
        self.survey.coverage.degraded().into_iter().chain(self.filter.degraded()).collect()
    }

    /// Arms until everything is watched, or until the instant has come, or until more than `most_ahead` directories
    /// are known that are not armed yet. Returns whether everything is armed.
    pub fn arm(&mut self, until: Instant, most_ahead: usize) -> bool {
        let Some(gap) = &mut self.gap else { return true };
        let whole = gap.arm(&mut self.survey, &self.filter, until, most_ahead);
        self.gap.take_if(|_| whole);
        whole
    }

    /// The command starts now: from here on, what happens to a file is a change. The command sees what was saved until now, so
    /// those changes are known and cause no restart.
    pub fn command_starts(&mut self) {
        if let Some(pending) = self.pending.take()
            && !self.survey.catch_up(&pending)
        {
            self.gap = Some(Gap::after(Some(self.survey.begin_anew())));
        }
        let at_ns = self.survey.ledger.begin();
        self.look();
        self.survey.ledger.settle_start(at_ns);
    }

    /// Files that were written just before the start. They may be missing in the changes behind it, if they were saved after the
    /// previous child had left.
    pub fn recent(&self) -> &[PathBuf] {
        &self.survey.ledger.start.recent
    }

    /// See [`Carried::heard_ns`](crate::protocol::Carried::heard_ns).
    pub fn heard_ns(&self) -> i64 {
        self.survey.heard_ns()
    }

    /// The same as changes, without those that the previous child had taken in before this time. New settings were read already.
    pub fn missed(&self, heard_ns: i64) -> ChangeSet {
        let ahead_ns = |path: &Path| self.survey.ledger.start.clocks.ahead_ns(path);
        let missed = self.recent().iter().filter_map(|path| {
            let (look, rule) = (os::fs::look(path), self.filter.decide(path).rule);
            let was_heard = self.walks && look.stamp.is_some() && look.ctime_ns < heard_ns + ahead_ns(path);
            let kind = if look.stamp.is_some() { ChangeKind::Modified } else { ChangeKind::Deleted };
            let change = Change { kind, rule: rule.to_string(), ..Change::unseen(path.clone()) };
            (!was_heard && !rule.is_config()).then_some(change)
        });
        ChangeSet::new(missed)
    }

    /// The descriptors to wait for between two looks.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn wait(&self) -> Result<Wait, os::Errno> {
        self.visitors.wait(self.survey.coverage.fd())
    }

    /// The way for other threads to ask for something, while this one waits.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// When the next poll is due.
    pub fn due(&mut self) -> Option<Instant> {
        self.survey.coverage.due()
    }

    /// Processes what has come since the last look.
    pub fn look(&mut self) {
        let came = self.visitors.paths();
        for (path, seen) in &came {
            self.survey.add(path, *seen);
        }
        if !came.is_empty() && self.gap.is_none() {
            self.survey.ledger.learn_contents();
        }
        // While something is not armed, what has happened there is not known.
        if self.gap.is_none() {
            let before = self.marks.len();
            self.marks.extend(self.visitors.marks());
            if self.marks.len() > before {
                self.survey.coverage.look_everywhere();
            }
        }
        self.survey.look();
    }

    /// Looks at the pending files again before they pass. A file that changed again waits again, and a file with its old state
    /// is dropped.
    pub fn confirm(&mut self, now: Instant) {
        self.survey.confirm(now);
    }

    /// The changes that pass now, if they are due; they become the new state.
    pub fn take(&mut self, now: Instant) -> Option<ChangeSet> {
        let changes = self.survey.ledger.settler.command.take(now);
        let empty = self.settler().is_empty();
        let changes = changes.or_else(|| empty.then(ChangeSet::default))?;
        self.survey.ledger.accept(&changes);
        Some(changes)
    }

    /// When changes for browsers alone pass.
    pub fn due_for_browsers(&self) -> Option<Instant> {
        self.survey.ledger.settler.browsers.due()
    }

    /// Those that pass now; they become the new state.
    pub fn take_for_browsers(&mut self, now: Instant) -> Option<ChangeSet> {
        let changes = self.survey.ledger.settler.browsers.take(now)?;
        self.survey.ledger.accept(&changes);
        Some(changes)
    }

    /// The requests to take everything in that are fulfilled: whatever had happened before them has been taken from
    /// [`Watcher::take`], or came to nothing.
    pub fn passed(&mut self) -> Vec<Mark> {
        if self.survey.ledger.settler.is_empty() { std::mem::take(&mut self.marks) } else { Vec::new() }
    }

    /// Whether somebody outside waits for what has happened until now.
    pub fn is_awaited(&self) -> bool {
        self.marks.iter().any(|mark| matches!(mark, Mark::Asked(_)))
    }

    /// Does what can wait until everything is armed. Returns the files that were created between the previous child and this
    /// one.
    pub fn settle_down(&mut self) -> Vec<PathBuf> {
        self.keep_table();
        self.warm_rules();
        self.survey.ledger.learn_contents();
        std::mem::take(&mut self.survey.ledger.start.came)
    }

    /// The file that was saved last is likely to be saved next. Its rules are read now, and not between save and stop.
    fn warm_rules(&self) {
        let latest = self.survey.ledger.start.known.keys().take(WARMED);
        latest.for_each(|path| drop(self.filter.decide(path)));
    }

    /// Gives memory back that is not needed any more. For idle time: a large tree takes a while.
    pub fn keep_small(&mut self) {
        self.keep_table();
        if self.worn.take().is_some() {
            self.filter.let_go_of_rules();
            os::map::trim_heap();
            self.warm_rules();
        }
    }

    /// Writes a table for the next child if there is none, or if too much differs from it.
    fn keep_table(&mut self) {
        let snapshot = self.survey.ledger.snapshot.lock();
        let differs =
            snapshot.weight() + self.survey.coverage.watches().map_or(0, |watches| watches.differences().len());
        let most = MUCH.max(snapshot.len() / PART);
        drop(snapshot);
        if self.gap.is_none() && (differs > most || !self.handover.has_table()) {
            self.write_table();
        }
        self.handover.release_former();
    }

    fn write_table(&mut self) {
        let coverage = &mut self.survey.coverage;
        let polls = coverage.watches().is_none();
        let mut snapshot = self.survey.ledger.snapshot.lock();
        let watches = coverage.watches();
        let bytes = snapshot.to_table(watches.iter().flat_map(|watches| watches.all()), |_| polls);
        if let Some(table) = bytes.and_then(|bytes| self.handover.write_table(bytes)) {
            let former = snapshot.rebase(Arc::clone(&table));
            self.worn = Some((former, coverage.watches().map(|watches| watches.rebase(table))));
        }
    }

    /// Leaves everything to the next child, and returns whether that may take over. This child reads no more events.
    pub fn leave(&mut self) -> bool {
        if self.gap.is_some() || !self.survey.coverage.can_be_kept() {
            return false;
        }
        if !self.handover.has_table() {
            self.write_table();
        }
        let Survey { coverage, ledger, rule_clock, .. } = &mut self.survey;
        let mut rest = Rest::default();
        rest.coverage = coverage.keep();
        rest.memory = ledger.start.memory();
        rest.rule_clock = rule_clock.keep();
        rest.rules = self.filter.keep_rules();
        rest.discovered = self.filter.live().map(|live| live.keep());
        rest.set_pending(ledger.settler.pending());
        let snapshot = ledger.snapshot.lock();
        rest.set_differences(snapshot.differences());
        self.handover.leave(&rest)
    }
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
