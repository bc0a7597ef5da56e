//! When is a save over? Collects changes and lets them pass, as one set, once it is quiet.
//!
//! No fixed window: a file that was closed after writing or renamed into place is whole, and a single such file
//! waits [`QUIET`] only. More files mean that somebody is at work on the tree, and the wait grows with their
//! number. What looks unfinished waits for the configured settle time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::change::{Change, ChangeSet, Look};

/// Quiet time after one whole file. Long enough for what programs do right after a save (set the times, remove
/// the backup), short beside the start of any command.
pub const QUIET: Duration = Duration::from_millis(1);

/// A file that stays open for writing, or unfinished, is waited for this many settle times, counted from its
/// first change.
const BOUND_OF_OPEN: u32 = 10;

/// A burst of whole files is waited for this many settle times.
const BOUND_OF_BURST: u32 = 50;

/// How far along a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Closed after writing, renamed into place, touched: nothing more is expected.
    Whole,
    /// Deleted, emptied, or seen without knowing who is at it: more may follow.
    Partial,
    /// Written to and still open.
    Open,
}

/// One change that waits.
#[derive(Debug)]
struct Pending {
    change: Change,
    progress: Progress,
    /// Since when its file has been unfinished.
    since: Instant,
}

/// Collects the changes of one save or of one burst.
#[derive(Debug)]
pub struct Settler {
    settle: Duration,
    pending: BTreeMap<PathBuf, Pending>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Settler {
    /// An empty one; `settle` is the quiet time after an unfinished save.
    pub fn new(settle: Duration) -> Settler {
        Settler { settle, pending: BTreeMap::new(), first: None, last: None }
    }

    /// Takes a change in, or what is newly known of one.
    pub fn push(&mut self, change: Change, progress: Progress, now: Instant) {
        let known = self.pending.get(&change.path);
        if known.is_some_and(|known| {
            known.progress == progress && known.change.seen == change.seen && progress == Progress::Partial
        }) {
            // Seen once more as it was, by polling: it is as quiet as before.
            return;
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
        let before = self.pending.remove(&change.path);
        let since =
            before.as_ref().filter(|before| before.progress != Progress::Whole).map_or(now, |before| before.since);
        self.pending.insert(change.path.clone(), Pending { change, progress, since });
    }

    /// The file has moved on since it was last seen: the quiet begins anew.
    pub fn refresh(&mut self, path: &Path, seen: Look, now: Instant) {
        if let Some(pending) = self.pending.get_mut(path)
            && pending.change.seen != seen
        {
            pending.change.seen = seen;
            self.last = Some(now);
        }
    }

    /// The file is as it was when the generation started: nothing has changed after all.
    pub fn withdraw(&mut self, path: &Path) {
        self.pending.remove(path);
        if self.pending.is_empty() {
            self.first = None;
            self.last = None;
        }
    }

    /// Whether a whole file is among the changes: then the end of the command may begin at once.
    pub fn is_certain(&self) -> bool {
        self.pending.values().any(|pending| pending.progress == Progress::Whole)
    }

    /// The files that are whole, and those that are gone.
    pub fn over(&self) -> Vec<PathBuf> {
        let over = |pending: &&Pending| pending.progress == Progress::Whole || pending.change.seen.stamp.is_none();
        self.pending.values().filter(over).map(|pending| pending.change.path.clone()).collect()
    }

    /// Whether a file was seen whole, and different from how it was.
    pub fn saw_whole(&self, path: &Path) -> bool {
        let whole = |pending: &Pending| pending.progress == Progress::Whole && pending.change.seen.stamp.is_some();
        self.pending.get(path).is_some_and(whole)
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a change of this file is pending.
    pub fn holds(&self, path: &Path) -> bool {
        self.pending.contains_key(path)
    }

    /// Whether a change at this path or below it is pending.
    pub fn holds_below(&self, path: &std::path::Path) -> bool {
        self.pending.range(path.to_owned()..).next().is_some_and(|(first, _)| first.starts_with(path))
    }

    /// What is pending.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.pending.values().map(|pending| &pending.change)
    }

    /// When the last change came in.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// The files whose changes are pending.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.pending.keys().cloned().collect()
    }

    /// When it will be quiet, if nothing more comes; `None` when nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        let files = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        let quiet = QUIET.saturating_mul(files).min(self.settle.max(QUIET));
        let longest = first + (self.settle * BOUND_OF_BURST).max(quiet);
        let waits = self.pending.values().map(|Pending { progress, since, .. }| {
            let bound = *since + self.settle * BOUND_OF_OPEN;
            match progress {
                Progress::Whole => last + quiet,
                Progress::Partial => (last + self.settle).min(bound).max(last + quiet),
                Progress::Open => bound,
            }
        });
        waits.max().map(|due| due.min(longest))
    }

    /// The whole set, once it is due.
    pub fn take(&mut self, now: Instant) -> Option<ChangeSet> {
        if self.due()? > now {
            return None;
        }
        Some(self.drain())
    }

    /// The whole set, due or not.
    pub fn drain(&mut self) -> ChangeSet {
        self.first = None;
        self.last = None;
        let pending = std::mem::take(&mut self.pending).into_values();
        ChangeSet::new(
            pending.map(|Pending { change, progress, .. }| Change { open: progress == Progress::Open, ..change }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, QUIET, Settler};
    use crate::change::{Change, ChangeKind, Look};
    use proptest::prelude::{any, prop, proptest};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const SETTLE: Duration = Duration::from_millis(100);

    fn change(path: &str) -> Change {
        let path = PathBuf::from(path);
        Change { path, kind: ChangeKind::Modified, rule: String::new(), config: false, open: false, seen: Look::ABSENT }
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn one_whole_file_waits_for_a_moment_only() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.push(change("/a"), Progress::Whole, start);
        assert!(settler.is_certain());
        assert_eq!(settler.due(), Some(start + QUIET));
        assert_eq!(settler.take(start), None);
        assert_eq!(settler.take(start + QUIET).unwrap().len(), 1);
        assert!(settler.is_empty());
    }

    #[test]
    fn a_file_open_for_writing_holds_everything_back_until_it_is_closed() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.push(change("/a"), Progress::Open, start);
        settler.push(change("/b"), Progress::Whole, start);
        assert_eq!(settler.take(start + millis(900)), None);
        settler.push(change("/a"), Progress::Whole, start + millis(900));
        assert_eq!(settler.due(), Some(start + millis(900) + QUIET * 2));
    }

    #[test]
    fn a_file_that_is_never_closed_passes_at_the_bound() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        for step in 0..20 {
            settler.push(change("/log"), Progress::Open, start + millis(step * 60));
        }
        assert_eq!(settler.take(start + millis(999)), None);
        assert_eq!(settler.take(start + millis(1000)).unwrap().len(), 1);
    }

    #[test]
    fn a_deleted_or_emptied_file_waits_for_what_may_follow() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.push(change("/a"), Progress::Partial, start);
        assert!(!settler.is_certain());
        assert_eq!(settler.due(), Some(start + SETTLE));
        settler.push(change("/a"), Progress::Whole, start + millis(30));
        assert_eq!(settler.due(), Some(start + millis(30) + QUIET));
    }

    #[test]
    fn the_more_files_the_longer_the_quiet_that_ends_a_burst() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        for number in 0..500 {
            settler.push(change(&format!("/{number}")), Progress::Whole, start);
        }
        assert_eq!(settler.due(), Some(start + SETTLE));
    }

    #[test]
    fn a_burst_of_new_files_is_not_cut_where_one_open_file_would_be() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        for number in 0..300 {
            let now = start + millis(number * 10);
            settler.push(change(&format!("/{number}")), Progress::Partial, now);
            settler.push(change(&format!("/{number}")), Progress::Open, now);
            assert!(settler.take(now).is_none(), "cut after {number} files");
            settler.push(change(&format!("/{number}")), Progress::Whole, now + millis(1));
        }
        assert_eq!(settler.take(start + millis(3200)).unwrap().len(), 300);
    }

    #[test]
    fn what_is_withdrawn_leads_to_nothing() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.push(change("/a"), Progress::Open, start);
        settler.withdraw(&PathBuf::from("/a"));
        assert_eq!(settler.due(), None);
        assert_eq!(settler.take(start + millis(5000)), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_everything_passes_by_the_bound_and_nothing_is_lost(
            steps in prop::collection::vec((0u8..6, 0u8..3, 0u64..200), 1..60),
            settle in 1u64..300,
            stop_early in any::<bool>(),
        ) {
            let settle = Duration::from_millis(settle);
            let mut settler = Settler::new(settle);
            let mut now = Instant::now();
            let (mut pushed, mut passed) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            for (path, progress, pause) in steps {
                let progress = [Progress::Whole, Progress::Partial, Progress::Open][usize::from(progress)];
                let path = format!("/{path}");
                pushed.insert(PathBuf::from(&path));
                settler.push(change(&path), progress, now);
                assert!(settler.due().unwrap() <= now + (settle * 50).max(QUIET * 60));
                now += Duration::from_millis(pause);
                passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
                if stop_early && passed.len() > 3 { break; }
            }
            now += settle * 51 + QUIET * 60;
            passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
            assert_eq!(pushed, passed);
        }
    }
}
