//! When is a save over? Collects changes and lets them pass, as one set, once it is quiet.
//!
//! No fixed window: a file that was closed after writing or renamed into place is whole, and a single such file
//! waits [`QUIET`] only. More files mean that a program is at work on the tree: the wait grows with their number, and
//! then with the pauses that the program has made so far. What looks incomplete waits for [`INCOMPLETE`]. With a debounce
//! time, everything waits at least that long after the last change, and nothing is stopped before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeSet, Look};

/// Quiet time after one whole file. Long enough for what programs do right after a save (set the times, remove the backup),
/// and for the second file of a burst. With half of it, bursts on a busy machine were cut after their first file.
pub const QUIET: Duration = Duration::from_millis(1);

/// Quiet time after several files: so much for each of them,
const PER_FILE: Duration = Duration::from_millis(1);

/// up to this; beyond it, [`GAPS`] times the longest pause between two changes of the burst so far.
const BURST: Duration = Duration::from_millis(20);

/// See [`BURST`].
const GAPS: u32 = 8;

/// Quiet time after a save that looks incomplete, unless the debounce time is longer.
pub const INCOMPLETE: Duration = Duration::from_millis(100);

/// The wait ends this many quiet times after the first change, whether it is quiet or not.
const BOUND: u32 = 10;

/// Git holds its lock while it writes a working tree: until the lock is gone, at most [`INCOMPLETE`] after the last change,
/// this long between two looks. A stale lock, or one that is held while somebody writes a commit message, costs no more.
const LOCKED: Duration = Duration::from_millis(2);

/// Without a debounce time, a burst of whole files is waited for this long.
const LONGEST_BURST: Duration = Duration::from_secs(5);

/// How far along a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    debounce: Duration,
    pending: BTreeMap<PathBuf, Pending>,
    first: Option<Instant>,
    last: Option<Instant>,
    /// The longest pause between two changes so far.
    gap: Duration,
    /// Somebody is known to be at work until then.
    busy_until: Option<Instant>,
}

impl Settler {
    /// An empty one; nothing passes until no file has changed for `debounce`.
    pub fn new(debounce: Duration) -> Settler {
        Settler { debounce, pending: BTreeMap::new(), first: None, last: None, gap: Duration::ZERO, busy_until: None }
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
        self.came(now);
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
            self.came(now);
        }
    }

    /// A program is known to be at work on the files that are pending.
    pub fn wait_while_busy(&mut self, now: Instant) {
        self.busy_until = self.last.map(|last| (last + INCOMPLETE).min(now + LOCKED));
    }

    /// The file is as it was when the generation started: nothing has changed after all.
    pub fn withdraw(&mut self, path: &Path) {
        self.pending.remove(path);
        if self.pending.is_empty() {
            self.forget_times();
        }
    }

    /// Whether the end of the command may begin before it is quiet: a whole file is among the changes, and nobody has
    /// asked to wait (`--debounce`).
    pub fn is_certain(&self) -> bool {
        self.debounce.is_zero() && self.pending.values().any(|pending| pending.progress == Progress::Whole)
    }

    /// Whether the changes pass although somebody goes on writing: the debounce time was never reached.
    pub fn is_cut(&self, now: Instant) -> bool {
        let quiet_since = self.last.is_some_and(|last| now >= last + self.debounce);
        !self.debounce.is_zero() && !self.pending.is_empty() && !quiet_since && self.due().is_some_and(|due| due <= now)
    }

    /// The files that are whole, and those that are gone.
    pub fn over(&self) -> Vec<PathBuf> {
        let over = |pending: &&Pending| pending.progress == Progress::Whole || pending.change.seen.stamp.is_none();
        self.pending.values().filter(over).map(|pending| pending.change.path.clone()).collect()
    }

    /// What is pending of files that nobody has open for writing, and how they were seen.
    pub fn closed(&self) -> Vec<(PathBuf, Look)> {
        let closed = self.pending.values().filter(|pending| pending.progress != Progress::Open);
        closed.map(|pending| (pending.change.path.clone(), pending.change.seen)).collect()
    }

    /// What is pending, and how far along it is.
    pub fn pending(&self) -> impl Iterator<Item = (&Path, Progress)> {
        self.pending.iter().map(|(path, pending)| (path.as_path(), pending.progress))
    }

    /// Whether a file was seen whole, and different from how it was.
    pub fn saw_whole(&self, path: &Path) -> bool {
        let whole = |pending: &Pending| pending.progress == Progress::Whole && pending.change.seen.stamp.is_some();
        self.pending.get(path).is_some_and(whole)
    }

    /// Whether a file was seen with another content, whole or not.
    pub fn saw_content(&self, path: &Path) -> bool {
        self.pending.get(path).is_some_and(|pending| pending.change.seen.stamp.is_some())
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

    /// The files below this path whose changes are pending.
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.pending.range(path.to_owned()..).map(|(found, _)| found);
        from.take_while(|found| found.starts_with(path)).filter(|found| *found != path).cloned().collect()
    }

    /// The files whose changes are pending.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.pending.keys().cloned().collect()
    }

    /// When the changes pass, if nothing more comes; `None` when nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        let quiet = self.quiet();
        let incomplete = self.debounce.max(INCOMPLETE);
        let longest = first + if self.debounce < INCOMPLETE { LONGEST_BURST } else { self.debounce * BOUND };
        let debounced = (last + self.debounce).min(first + self.debounce * BOUND);
        let whole = (last + quiet).max(debounced);
        let waits = self.pending.values().map(|Pending { progress, since, .. }| {
            let bound = *since + incomplete * BOUND;
            match progress {
                Progress::Whole => whole,
                Progress::Partial => (last + incomplete).min(bound).max(whole),
                Progress::Open => bound,
            }
        });
        waits.chain(self.busy_until).max().map(|due| due.min(longest))
    }

    /// How long nothing may change before whole files pass. A burst of many files goes on at the pace that it has had so far.
    fn quiet(&self) -> Duration {
        let files = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        let most = PER_FILE.saturating_mul(files).min(INCOMPLETE);
        if files <= 1 { QUIET } else { (self.gap * GAPS).clamp(most.min(BURST), most) }
    }

    fn came(&mut self, now: Instant) {
        let last = self.last.map_or(now, |last| last.max(now));
        self.gap = self.gap.max(self.last.map_or(Duration::ZERO, |before| last - before));
        self.last = Some(last);
    }

    fn forget_times(&mut self) {
        self.first = None;
        self.last = None;
        self.gap = Duration::ZERO;
        self.busy_until = None;
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
        self.forget_times();
        let pending = std::mem::take(&mut self.pending).into_values();
        ChangeSet::new(
            pending.map(|Pending { change, progress, .. }| Change { open: progress == Progress::Open, ..change }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, INCOMPLETE, LOCKED, LONGEST_BURST, PER_FILE, Progress, QUIET, Settler};
    use crate::change::{Change, ChangeKind, Look};
    use proptest::prelude::{any, prop, proptest};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const AT_ONCE: Duration = Duration::ZERO;

    fn change(path: &str) -> Change {
        let path = PathBuf::from(path);
        Change { path, kind: ChangeKind::Modified, rule: String::new(), config: false, open: false, seen: Look::ABSENT }
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn one_whole_file_waits_for_a_moment_only() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        settler.push(change("/a"), Progress::Whole, start);
        assert!(settler.is_certain());
        assert_eq!(settler.due(), Some(start + QUIET));
        assert_eq!(settler.take(start), None);
        assert_eq!(settler.take(start + QUIET).unwrap().len(), 1);
        assert!(settler.is_empty());
    }

    #[test]
    fn a_file_open_for_writing_holds_everything_back_until_it_is_closed() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        settler.push(change("/a"), Progress::Open, start);
        settler.push(change("/b"), Progress::Whole, start);
        assert_eq!(settler.take(start + millis(900)), None);
        settler.push(change("/a"), Progress::Whole, start + millis(900));
        assert_eq!(settler.due(), Some(start + millis(900) + PER_FILE * 2));
    }

    #[test]
    fn a_file_that_is_never_closed_passes_at_the_bound() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        for step in 0..20 {
            settler.push(change("/log"), Progress::Open, start + millis(step * 60));
        }
        assert_eq!(settler.take(start + millis(999)), None);
        assert_eq!(settler.take(start + millis(1000)).unwrap().len(), 1);
    }

    #[test]
    fn a_deleted_or_emptied_file_waits_for_what_may_follow() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        settler.push(change("/a"), Progress::Partial, start);
        assert!(!settler.is_certain());
        assert_eq!(settler.due(), Some(start + INCOMPLETE));
        settler.push(change("/a"), Progress::Whole, start + millis(30));
        assert_eq!(settler.due(), Some(start + millis(30) + QUIET));
    }

    #[test]
    fn a_program_that_is_known_to_be_at_work_is_waited_for_a_tenth_of_a_second_at_most() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        settler.wait_while_busy(start);
        assert_eq!(settler.due(), None, "nothing is pending");
        settler.push(change("/a"), Progress::Whole, start);
        for step in 0..60 {
            let now = start + LOCKED * step;
            let due = settler.due().unwrap();
            assert!(due <= start + INCOMPLETE, "{step}");
            if due <= now && now < start + INCOMPLETE {
                settler.wait_while_busy(now);
                assert_eq!(settler.take(now), None);
                assert_eq!(settler.due(), Some((now + LOCKED).min(start + INCOMPLETE)), "it is looked at again soon");
            }
        }
        settler.wait_while_busy(start + INCOMPLETE);
        assert_eq!(settler.take(start + INCOMPLETE).unwrap().len(), 1);
        settler.push(change("/b"), Progress::Whole, start + INCOMPLETE);
        assert_eq!(settler.due(), Some(start + INCOMPLETE + QUIET), "the next save knows nothing of it");
    }

    #[test]
    fn the_more_files_and_the_slower_they_come_the_longer_the_quiet_that_ends_a_burst() {
        for (files, micros, quiet) in [
            (1, 0, QUIET),
            (2, 0, PER_FILE * 2),
            (2, 50_000, PER_FILE * 2),
            (10, 3_000, PER_FILE * 10),
            (20, 0, BURST),
            (500, 400, BURST),
            (500, 2_500, millis(20)),
            (500, 8_000, millis(64)),
            (30, 10_000, PER_FILE * 30),
            (100, 40_000, INCOMPLETE),
        ] {
            let (mut settler, mut now) = (Settler::new(AT_ONCE), Instant::now());
            for number in 0..files {
                if number > 0 {
                    now += Duration::from_micros(micros);
                }
                settler.push(change(&format!("/{number}")), Progress::Whole, now);
            }
            assert_eq!(settler.due(), Some(now + quiet), "{files} files, {micros} us");
            settler.drain();
            settler.push(change("/next"), Progress::Whole, now);
            assert_eq!(settler.due(), Some(now + QUIET), "the next save knows nothing of it");
        }
    }

    #[test]
    fn one_pause_makes_a_burst_wait_for_another_such_pause() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        for number in 0..200 {
            let pause = if number > 100 { millis(8) } else { Duration::ZERO };
            settler.push(change(&format!("/{number}")), Progress::Whole, start + millis(number) + pause);
        }
        assert_eq!(settler.due(), Some(start + millis(199 + 8) + millis(9 * 8)));
    }

    #[test]
    fn a_burst_of_new_files_is_not_cut_where_one_open_file_would_be() {
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
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
        let (mut settler, start) = (Settler::new(AT_ONCE), Instant::now());
        settler.push(change("/a"), Progress::Open, start);
        settler.withdraw(&PathBuf::from("/a"));
        assert_eq!(settler.due(), None);
        assert_eq!(settler.take(start + millis(5000)), None);
    }

    #[test]
    fn with_a_debounce_time_nothing_is_certain_and_the_quiet_begins_anew_with_each_change() {
        let (mut settler, start) = (Settler::new(millis(1000)), Instant::now());
        for number in 0..5 {
            settler.push(change(&format!("/{number}")), Progress::Whole, start + millis(number * 200));
            assert!(!settler.is_certain());
        }
        assert_eq!(settler.due(), Some(start + millis(800 + 1000)));
        assert!(!settler.is_cut(start + millis(1800)), "it was quiet");
        assert_eq!(settler.take(start + millis(1800)).unwrap().len(), 5);
    }

    #[test]
    fn steady_writes_pass_ten_debounce_times_after_the_first_and_that_is_known() {
        for debounce in [20, 100, 300] {
            let (mut settler, start) = (Settler::new(millis(debounce)), Instant::now());
            let bound = debounce * 10;
            for step in (0..bound).step_by(10) {
                settler.push(change("/a"), Progress::Whole, start + millis(step));
                assert!(settler.take(start + millis(step)).is_none());
            }
            assert_eq!(settler.due(), Some(start + millis(bound)), "{debounce} ms");
            assert!(settler.is_cut(start + millis(bound)));
        }
    }

    #[test]
    fn an_incomplete_save_waits_for_the_longer_of_both_times() {
        for (debounce, quiet) in [(0, 100), (30, 100), (100, 100), (400, 400)] {
            let (mut settler, start) = (Settler::new(millis(debounce)), Instant::now());
            settler.push(change("/a"), Progress::Partial, start);
            assert_eq!(settler.due(), Some(start + millis(quiet)), "{debounce} ms");
        }
    }

    #[test]
    fn a_short_debounce_time_does_not_cut_a_burst_earlier_than_none() {
        let (mut settler, start) = (Settler::new(millis(5)), Instant::now());
        for number in 0..300 {
            settler.push(change(&format!("/{number}")), Progress::Whole, start + millis(number * 2));
        }
        assert_eq!(settler.due(), Some(start + millis(598) + BURST));
    }

    proptest! {
        #[test]
        fn whatever_comes_everything_passes_by_the_bound_and_nothing_is_lost(
            steps in prop::collection::vec((0u8..6, 0u8..3, 0u64..200), 1..60),
            debounce in 0u64..300,
            stop_early in any::<bool>(),
        ) {
            let debounce = Duration::from_millis(debounce);
            let mut settler = Settler::new(debounce);
            let mut now = Instant::now();
            let (mut pushed, mut passed) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            for (path, progress, pause) in steps {
                let progress = [Progress::Whole, Progress::Partial, Progress::Open][usize::from(progress)];
                let path = format!("/{path}");
                pushed.insert(PathBuf::from(&path));
                settler.push(change(&path), progress, now);
                assert!(settler.due().unwrap() <= now + LONGEST_BURST);
                now += Duration::from_millis(pause);
                passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
                if stop_early && passed.len() > 3 { break; }
            }
            now += LONGEST_BURST;
            passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
            assert_eq!(pushed, passed);
        }
    }
}
