//! When is a save over? Collects changes and lets them pass, as one set, once it is quiet.
//!
//! No fixed window: a file that was closed after writing or renamed into place is whole, and a single such file
//! waits [`QUIET`] only. More files mean that somebody is at work on the tree, and the wait grows with their
//! number. What looks unfinished waits for the configured settle time.
//!
//! A file that the command seems to write itself can be [held](Settler::hold): a change of such files alone waits longer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::change::{Change, ChangeSet, Hold, Look};

/// Quiet time after one whole file. Long enough for what programs do right after a save (set the times, remove
/// the backup), short beside the start of any command.
pub const QUIET: Duration = Duration::from_millis(1);

/// A file that stays open for writing, or unfinished, is waited for this many settle times, counted from its
/// first change.
const BOUND_OF_OPEN: u32 = 10;

/// A burst of whole files is waited for this many settle times.
const BOUND_OF_BURST: u32 = 50;

/// What comes so soon after a whole file belongs to the same save.
const SAME_SAVE: Duration = Duration::from_millis(50);

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
    /// When it was first noticed.
    noticed: Instant,
    /// When it was first whole, and how it looked then.
    whole: Option<(Look, Instant)>,
}

impl Pending {
    /// Takes in how the file looks now.
    fn look(&mut self, now: Instant) {
        let seen = self.change.seen;
        if self.progress == Progress::Open || seen.stamp.is_none_or(|stamp| stamp.size == 0) {
            return;
        }
        let (first, at) = *self.whole.get_or_insert((seen, now));
        self.change.rewritten |= first.stamp != seen.stamp && now >= at + SAME_SAVE;
    }
}

/// What is held, and until when a change can be.
#[derive(Debug)]
struct Held {
    time: Duration,
    until: Instant,
}

/// Collects the changes of one save or of one burst.
#[derive(Debug)]
pub struct Settler {
    settle: Duration,
    pending: BTreeMap<PathBuf, Pending>,
    first: Option<Instant>,
    last: Option<Instant>,
    held: BTreeMap<PathBuf, Held>,
    /// What is pending is not held any longer.
    lifted: bool,
}

impl Settler {
    /// An empty one; `settle` is the quiet time after an unfinished save.
    pub fn new(settle: Duration) -> Settler {
        Settler { settle, pending: BTreeMap::new(), first: None, last: None, held: BTreeMap::new(), lifted: false }
    }

    /// From now on, the start of the command, holds changes of these files as long as no other file changes.
    pub fn hold(&mut self, holds: &[Hold], now: Instant) {
        let held = holds.iter().map(|hold| (hold.path.clone(), Held { time: hold.time, until: now + hold.window() }));
        self.held = held.collect();
    }

    /// Until when everything that is pending is held; `None` when something is not.
    pub fn held_until(&self) -> Option<Instant> {
        let all_held = !self.lifted && self.pending.iter().all(|(path, pending)| self.time_of(path, pending).is_some());
        self.free_at().filter(|_| all_held)
    }

    /// How long a change is held, if it is.
    fn time_of(&self, path: &Path, pending: &Pending) -> Option<Duration> {
        self.held.get(path).filter(|held| pending.noticed <= held.until).map(|held| held.time)
    }

    /// When the first of the changes is free to pass.
    fn free_at(&self) -> Option<Instant> {
        let times = self.pending.iter().map(|(path, pending)| {
            let time = self.time_of(path, pending).unwrap_or_default();
            pending.noticed + time
        });
        times.min()
    }

    /// Whether what is pending is held now.
    pub fn is_held(&self, now: Instant) -> bool {
        self.held_until().is_some_and(|until| now < until)
    }

    /// What is pending is told of now, so it cannot be held any longer.
    pub fn lift(&mut self) {
        let Some(free) = self.free_at().filter(|_| !self.held.is_empty() && !self.lifted) else { return };
        self.first = self.first.map(|first| first.max(free));
        self.pending.values_mut().for_each(|pending| pending.since = pending.since.max(free));
        self.lifted = true;
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
        let noticed = before.as_ref().map_or(now, |before| before.noticed);
        let rewritten = before.as_ref().is_some_and(|before| before.change.rewritten);
        let whole = before.and_then(|before| before.whole);
        let mut pending = Pending { change: Change { rewritten, ..change }, progress, since, noticed, whole };
        pending.look(now);
        self.pending.insert(pending.change.path.clone(), pending);
    }

    /// The file has moved on since it was last seen: the quiet begins anew.
    pub fn refresh(&mut self, path: &Path, seen: Look, now: Instant) {
        if let Some(pending) = self.pending.get_mut(path)
            && pending.change.seen != seen
        {
            pending.change.seen = seen;
            pending.look(now);
            self.last = Some(now);
        }
    }

    /// The file is as it was when the generation started: nothing has changed after all.
    pub fn withdraw(&mut self, path: &Path) {
        self.pending.remove(path);
        if self.pending.is_empty() {
            self.first = None;
            self.last = None;
            self.lifted = false;
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

    /// The files whose changes are pending.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.pending.keys().cloned().collect()
    }

    /// When it will be quiet, if nothing more comes; `None` when nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, self.last?);
        // The bounds of what was held begin when it is let go, or a write on its way then would be cut.
        let free = self.free_at().filter(|_| !self.held.is_empty() && !self.lifted);
        let not_before = |instant: Instant| free.map_or(instant, |free| instant.max(free));
        let first = not_before(first);
        let files = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        let quiet = QUIET.saturating_mul(files).min(self.settle.max(QUIET));
        let longest = first + (self.settle * BOUND_OF_BURST).max(quiet);
        let waits = self.pending.values().map(|Pending { progress, since, .. }| {
            let bound = not_before(*since) + self.settle * BOUND_OF_OPEN;
            match progress {
                Progress::Whole => last + quiet,
                Progress::Partial => (last + self.settle).min(bound).max(last + quiet),
                Progress::Open => bound,
            }
        });
        waits.max().map(|due| not_before(due.min(longest)))
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
        self.lifted = false;
        let pending = std::mem::take(&mut self.pending).into_values();
        ChangeSet::new(
            pending.map(|Pending { change, progress, .. }| Change { open: progress == Progress::Open, ..change }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, QUIET, Settler};
    use crate::change::{Change, ChangeKind, Hold, Look, Stamp};
    use proptest::prelude::{any, prop, proptest};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const SETTLE: Duration = Duration::from_millis(100);

    fn change(path: &str) -> Change {
        let path = PathBuf::from(path);
        Change {
            path,
            kind: ChangeKind::Modified,
            rule: String::new(),
            config: false,
            open: false,
            rewritten: false,
            seen: Look::ABSENT,
        }
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

    /// A file with some content, at its so many-th state.
    fn state(path: &str, number: i64) -> Change {
        let stamp = Stamp { mtime_ns: number, size: 9, inode: 1 };
        Change { seen: Look { stamp: Some(stamp), ctime_ns: number }, ..change(path) }
    }

    /// Holds `/own` for two seconds.
    fn holding() -> (Settler, Instant) {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.hold(&[Hold { path: "/own".into(), time: millis(2000) }], start);
        (settler, start)
    }

    #[test]
    fn a_held_file_alone_waits_from_its_first_change_and_passes_with_its_last_state() {
        let (mut settler, start) = holding();
        settler.push(state("/own", 1), Progress::Whole, start + millis(100));
        settler.push(state("/own", 2), Progress::Whole, start + millis(900));
        assert!(settler.is_held(start + millis(2099)) && !settler.is_held(start + millis(2100)));
        assert_eq!(settler.due(), Some(start + millis(2100)));
        assert_eq!(settler.take(start + millis(2099)), None);
        let set = settler.take(start + millis(2100)).unwrap();
        let change = set.iter().next().unwrap();
        assert_eq!(change.seen, state("/own", 2).seen);
        assert!(change.rewritten);
    }

    #[test]
    fn any_other_file_lets_a_held_one_go_and_a_withdrawn_one_comes_to_nothing() {
        let (mut settler, start) = holding();
        settler.push(state("/own", 1), Progress::Whole, start);
        settler.push(state("/other", 1), Progress::Whole, start + millis(500));
        assert!(!settler.is_held(start + millis(500)));
        assert_eq!(settler.due(), Some(start + millis(500) + QUIET * 2));
        settler.withdraw(&PathBuf::from("/other"));
        assert_eq!(settler.due(), Some(start + millis(2000)), "nothing was told yet, so it is held again");
        settler.push(state("/other", 1), Progress::Whole, start + millis(500));
        settler.lift();
        settler.withdraw(&PathBuf::from("/other"));
        assert!(!settler.is_held(start + millis(500)), "what was told is not taken back");
        settler.withdraw(&PathBuf::from("/own"));
        assert_eq!((settler.due(), settler.held_until()), (None, None));
        settler.push(state("/own", 2), Progress::Whole, start + millis(600));
        assert!(settler.is_held(start + millis(600)), "the next change is another one");
    }

    #[test]
    fn a_change_long_after_the_start_is_not_held() {
        let (mut settler, start) = holding();
        settler.push(state("/own", 1), Progress::Whole, start + millis(5001));
        assert_eq!(settler.due(), Some(start + millis(5001) + QUIET));
    }

    #[test]
    fn a_write_on_its_way_when_the_hold_ends_is_waited_for() {
        let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
        settler.hold(&[Hold { path: "/own".into(), time: millis(60_000) }], start);
        settler.push(state("/own", 1), Progress::Whole, start);
        settler.push(state("/own", 2), Progress::Open, start + millis(59_900));
        for _ in 0..2 {
            assert_eq!(settler.due(), Some(start + millis(61_000)), "as if it had begun when it was let go");
            settler.lift();
        }
        settler.push(state("/own", 3), Progress::Whole, start + millis(60_100));
        assert_eq!(settler.due(), Some(start + millis(60_100) + QUIET));
    }

    #[test]
    fn a_file_is_rewritten_when_it_changes_after_it_was_whole_and_not_by_one_slow_save() {
        let whole_then = |steps: &[(Progress, i64, u64)]| {
            let (mut settler, start) = (Settler::new(SETTLE), Instant::now());
            for (progress, number, at) in steps {
                let state = if *number == 0 { change("/own") } else { state("/own", *number) };
                settler.push(state, *progress, start + millis(*at));
            }
            settler.drain().iter().any(|change| change.rewritten)
        };
        use Progress::{Open, Partial, Whole};
        for (steps, expected) in [
            (&[(Whole, 1, 0), (Whole, 2, 50)][..], true),
            (&[(Whole, 1, 0), (Whole, 2, 49)], false),
            (&[(Whole, 1, 0), (Open, 2, 400)], false),
            (&[(Whole, 1, 0), (Open, 2, 400), (Whole, 3, 401)], true),
            (&[(Open, 1, 0), (Open, 2, 300), (Whole, 3, 600)], false),
            (&[(Partial, 0, 0), (Whole, 1, 300)], false),
            (&[(Partial, 1, 0), (Partial, 2, 1000)], true),
            (&[(Whole, 1, 0), (Whole, 1, 1000)], false),
            (&[(Whole, 1, 0), (Whole, 2, 100), (Partial, 0, 200), (Whole, 1, 300)], true),
        ] {
            assert_eq!(whole_then(steps), expected, "{steps:?}");
        }
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
            held in 0u64..3000,
            lifts in any::<bool>(),
        ) {
            let settle = Duration::from_millis(settle);
            let mut settler = Settler::new(settle);
            let mut now = Instant::now();
            let held = Duration::from_millis(held);
            settler.hold(&["/0", "/1"].map(|path| Hold { path: path.into(), time: held }), now);
            let (mut pushed, mut passed) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            for (path, progress, pause) in steps {
                let progress = [Progress::Whole, Progress::Partial, Progress::Open][usize::from(progress)];
                let path = format!("/{path}");
                pushed.insert(PathBuf::from(&path));
                settler.push(change(&path), progress, now);
                if lifts && !settler.is_held(now) {
                    settler.lift();
                }
                assert!(settler.due().unwrap() <= now + held + (settle * 50).max(QUIET * 60));
                now += Duration::from_millis(pause);
                passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
                if stop_early && passed.len() > 3 { break; }
            }
            now += held + settle * 51 + QUIET * 60;
            passed.extend(settler.take(now).iter().flat_map(|set| set.paths().map(PathBuf::from)).collect::<Vec<_>>());
            assert_eq!(pushed, passed);
        }
    }
}
