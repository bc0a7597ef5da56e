//! What is known so far of a command that runs: one thread learns, the watcher asks.
//!
//! A write of the command is told before it happens, and so before its event. Whoever sees an event and has to know whose it
//! is waits until all that was told by then has been learned ([`Live::catch_up`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::first::First;
use super::look::observe;
use super::place::Places;
use super::renames::{Fate, Rename, fates};
use super::sets::{Discovery, Entry, Gap, Kept, NewNames, Node, Role, Verdict, Writes};
use crate::change::{Look, Stamp};
use crate::os::fs::{look, mtime_ns};
use crate::os::lease::is_open_for_writing;
use crate::os::seccomp::{Found, Sighting};

/// So long it is waited for the next of what was told. It takes longer only where a file system does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// So long it is waited for all of it. On a busy machine a start that names thousands of files is learned seconds later.
const MOST_PATIENCE: Duration = Duration::from_secs(3);

/// A command that has named no new file for so long has started.
const QUIET: Duration = Duration::from_millis(500);

/// An event of the command's own write comes so soon after the call.
const COMES: Duration = Duration::from_secs(1);

/// Of so many files at once it is asked whether they are open.
const MOST_ASKED: usize = 256;

/// Of a directory with more names than these, none is new.
const MOST_NAMES: usize = 10_000;

/// What a path is to the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// It makes it itself.
    pub own: bool,
    /// It depends on it: it reads it, or asks for it; [`Role::Listed`] if the path is new in a directory that it lists.
    pub depends: Option<Role>,
    /// Who has named it first, as far as that is known.
    pub by: Option<Arc<str>>,
}

/// How much is known, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that the command depends on.
    pub files: usize,
    /// Of these, those that do not lie in its directory.
    pub elsewhere: usize,
    /// Files that it writes.
    pub written: usize,
}

/// A file that is to be watched from now on, and how it looked when the command named it.
pub type News = (PathBuf, Look);

/// What was learned.
#[derive(Debug)]
pub enum Learned {
    /// Files that are to be watched from now on.
    News(Vec<News>),
    /// The trace is incomplete, as this thread shows.
    Gap(Gap, i32),
    /// There is more of this than is kept; some of it lies elsewhere.
    TooMany(Role, bool),
    /// Told once: nothing new has come for a while.
    Quiet(Summary),
}

/// Shared between the threads of a child.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
    /// Whether anything is known at all.
    any: AtomicBool,
    /// Where sightings come from, once the command is traced.
    found: OnceLock<Arc<Found>>,
    /// Whether the command has begun: before that, they are those of its preparation.
    has_begun: AtomicBool,
    learned: Mutex<u64>,
    more: Condvar,
    /// How much was learned when a wait was in vain.
    stuck_at: AtomicU64,
    /// Whether the command of another generation may write at the same time (`--overlap`). Then no event is taken for somebody
    /// else's.
    overlaps: bool,
}

#[derive(Debug)]
struct State {
    discovery: Discovery,
    /// The names in directories that the command lists, as they were then.
    listed: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// When the command started.
    began: Option<Instant>,
    /// Files of which events may be missing, and since when: the kernel makes one of equal neighbours, and drops what its
    /// queue has no room for.
    uneven: BTreeMap<PathBuf, Instant>,
}

/// All writes of a file up to now, of which the events have come when everything has been taken in that has happened until now.
#[derive(Debug)]
pub struct Closed {
    path: PathBuf,
    /// How often it was opened for writing, and renamed to; `None` if only the name that it had before has writes.
    writes: Option<(u32, u32)>,
}

impl Live {
    /// Nothing is known yet.
    pub fn new(places: Places, overlaps: bool) -> Live {
        let state =
            State { discovery: Discovery::new(places), listed: BTreeMap::new(), began: None, uneven: BTreeMap::new() };
        Live {
            state: Mutex::new(state),
            any: AtomicBool::new(false),
            found: OnceLock::new(),
            has_begun: AtomicBool::new(false),
            learned: Mutex::new(0),
            more: Condvar::new(),
            stuck_at: AtomicU64::new(u64::MAX),
            overlaps,
        }
    }

    /// The command is about to start, and what is seen of it comes from here. Events of earlier processes have been taken in.
    pub fn begin(&self, found: Arc<Found>) {
        self.state().began = Some(Instant::now());
        let _ = self.found.set(found);
    }

    /// Where what is seen of the command is to go.
    pub fn found(&self) -> Option<Arc<Found>> {
        self.found.get().map(Arc::clone)
    }

    /// The command has begun.
    pub fn command_begins(&self) {
        self.state().began = Some(Instant::now());
        self.has_begun.store(true, Ordering::Release);
    }

    /// Learns what has been seen, until nothing more will come of the command; or for ever, if more may come of its
    /// preparations. For a thread of its own: a file system may keep it waiting.
    pub fn learn_all(&self, directory: &Path, for_ever: bool, mut tell: impl FnMut(Learned)) {
        let Some(found) = self.found.get() else { return };
        let (mut count, mut told, mut last) = (0, false, Instant::now());
        let (mut has_begun, mut too_many) = (false, Vec::new());
        loop {
            let has_ended = found.has_ended();
            if !has_begun && self.has_begun.load(Ordering::Acquire) {
                (has_begun, last) = (true, Instant::now());
            }
            let sightings = found.take();
            let mut gaps = Vec::new();
            let mut news = Vec::new();
            for sighting in sightings {
                if let Sighting::Gap { gap, thread } = sighting {
                    gaps.extend(self.state().discovery.add_gap(gap, thread).then_some((gap, thread)));
                } else {
                    news.extend(self.learn(&sighting, directory));
                }
                count += 1;
                *self.learned() = count;
                self.more.notify_all();
            }
            if !news.is_empty() {
                last = Instant::now();
                tell(Learned::News(news));
            }
            gaps.into_iter().for_each(|(gap, thread)| tell(Learned::Gap(gap, thread)));
            let now: Vec<(Role, bool)> = self.state().discovery.too_many().collect();
            now.iter()
                .filter(|more| !too_many.contains(*more))
                .for_each(|(role, is)| tell(Learned::TooMany(*role, *is)));
            too_many = now;
            self.settle();
            let is_quiet = has_ended || has_begun && last.elapsed() >= QUIET;
            if is_quiet && !std::mem::replace(&mut told, true) {
                tell(Learned::Quiet(self.summary(directory)));
            }
            if has_ended && !for_ever {
                return;
            }
            let due = self.state().discovery.renames_due();
            found.wait((has_begun && !told).then_some(last + QUIET).into_iter().chain(due).min());
        }
    }

    /// The state, when it is known of each directory whether it was renamed.
    fn settled(&self) -> MutexGuard<'_, State> {
        let is_open = self.state().discovery.open_renames().any(|rename| rename.is_directory);
        if is_open {
            self.settle();
        }
        self.state()
    }

    fn learned(&self) -> MutexGuard<'_, u64> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out what has become of the renames that were seen.
    fn settle(&self) {
        let open: Vec<Rename> = self.state().discovery.open_renames().cloned().collect();
        // The file system is asked while nobody is kept from the rest.
        let fates = fates(open);
        self.state().discovery.settle(&fates, Instant::now());
    }

    /// Takes in one sighting of a file; says what is to be watched because of it.
    fn learn(&self, sighting: &Sighting, directory: &Path) -> Vec<News> {
        let Sighting::File { seen_ns, name, access, path, .. } = sighting else { return Vec::new() };
        if !self.state().discovery.concerns(sighting) {
            return Vec::new();
        }
        // The file system is asked while nobody is kept from the rest.
        let observed = observe(sighting, directory);
        let mut changed = Vec::new();
        let mut state = self.settled();
        for (looked, access, first) in &observed.looked {
            for path in looked.paths() {
                let before = state.standing(path).depends;
                changed.push((path.clone(), before));
            }
            state.discovery.add(looked, *access, *first);
        }
        for (path, before) in &changed {
            let Standing { own, depends, .. } = state.standing(path);
            if (own || depends.is_some()) && (before.is_none() || state.of_earlier(path)) {
                state.name(path, name);
            }
        }
        // Where it means something that it appears, it is watched already.
        if let Some((looked, ..)) = observed.looked.last()
            && let Some(found) = self.found.get()
            && state.discovery.counts_at(&looked.name)
            && !state.discovery.can_be_missed(&looked.name)
        {
            found.note_absent(*access, path, looked.node == Node::Absent);
        }
        observed.privileged.into_iter().for_each(|program| state.discovery.add_privileged(program));
        self.any.store(true, Ordering::Release);
        let is_news = |(path, before): (PathBuf, Option<Role>)| match state.discovery.of(&path) {
            Some((Entry { role: Role::Listed, .. }, Verdict::Counts)) => {
                let can_be_new = state.discovery.can_be_missed(&path.join("new"));
                (can_be_new && !state.listed.contains_key(&path)).then_some((path, true))
            }
            _ => (before.is_none() && state.standing(&path).depends.is_some()).then_some((path, false)),
        };
        let news: Vec<(PathBuf, bool)> = changed.into_iter().filter_map(is_news).collect();
        drop(state);
        let mut told = Vec::new();
        for (path, is_listed) in news {
            if is_listed {
                let names = names_in(&path);
                self.state().listed.insert(path.clone(), names);
                told.push((path, Look::ABSENT));
            } else {
                let seen = seen_at(&path, *seen_ns);
                told.push((path, seen));
            }
        }
        told
    }

    /// Waits until all that was told by now has been learned.
    pub fn catch_up(&self) {
        let Some(found) = self.found.get() else { return };
        let (told, until) = (found.told(), Instant::now() + MOST_PATIENCE);
        let mut learned = self.learned();
        // Where it was in vain once, it is not tried again before there was progress.
        while *learned < told && self.stuck_at.load(Ordering::Relaxed) != *learned && Instant::now() < until {
            let before = *learned;
            let waited = self.more.wait_timeout_while(learned, PATIENCE, |learned| *learned == before);
            let (next, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return self.stuck_at.store(before, Ordering::Relaxed);
            }
            learned = next;
        }
    }

    /// What a path is to the command, as far as that is known.
    pub fn standing(&self, path: &Path) -> Standing {
        if self.any.load(Ordering::Acquire) { self.settled().standing(path) } else { Standing::default() }
    }

    /// Whether the command depends on something below a directory.
    pub fn depends_below(&self, directory: &Path) -> bool {
        self.any.load(Ordering::Acquire) && {
            let state = self.settled();
            state.discovery.below(directory).any(|path| state.standing(path).depends.is_some())
        }
    }

    /// Whether nothing is known that the trace has missed, and something is known at all.
    pub fn is_complete(&self) -> bool {
        self.any.load(Ordering::Acquire) && {
            let state = self.state();
            state.discovery.gaps().next().is_none() && state.discovery.too_many().next().is_none()
        }
    }

    /// There is an event: a file was closed after writing. If the command has not done that, the file counts until its change
    /// has passed.
    pub fn was_closed(&self, path: &Path) {
        self.was_written(|State { discovery, uneven, .. }| {
            let Some(writes) = discovery.writes_at(path) else { return };
            if writes.closed < writes.opened {
                writes.closed += 1;
                if writes.closed < writes.opened {
                    uneven.insert(path.to_owned(), Instant::now());
                }
            } else if !discovery.closes_renamed(path)
                && let Some(writes) = discovery.writes_at(path)
            {
                // What the command writes later must not be put down to somebody else for this one.
                (writes.closed, writes.opened) = (writes.closed + 1, writes.opened + 1);
                writes.foreign = true;
            }
        });
    }

    /// There is an event: something was renamed to this name. The same follows.
    pub fn was_moved_in(&self, path: &Path) {
        let mut pending = Vec::new();
        self.was_written(|State { discovery, .. }| {
            let is_here = |rename: &&Rename| rename.new.each().any(|name| name == path);
            pending = discovery.open_renames().filter(is_here).cloned().collect();
        });
        // What is at its old name still cannot have led to this event.
        let not_yet = pending.iter().filter(|rename| rename.fate() != Fate::Done).count();
        let not_yet = u32::try_from(not_yet).unwrap_or(u32::MAX);
        self.was_written(|State { discovery, .. }| {
            let Some(writes) = discovery.writes_at(path) else { return };
            if writes.placed <= writes.moved_in.saturating_add(not_yet) {
                writes.foreign = true;
                writes.placed += 1;
            }
            writes.moved_in += 1;
        });
    }

    /// Events are missing.
    pub fn has_missed(&self) {
        self.was_written(|State { discovery, uneven, .. }| {
            let now = Instant::now();
            uneven.extend(discovery.unexplained().map(|path| (path.to_owned(), now)));
        });
    }

    /// The files of which fewer events have come than were to be expected, and which nobody has open for writing: before the
    /// events are taken in that have come until now. See [`Live::has_taken_in`].
    pub fn closed_by_now(&self) -> Vec<Closed> {
        let now = Instant::now();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= COMES;
        let mut state = self.state();
        if state.uneven.is_empty() && !state.discovery.has_arrived()
            || self.found.get().is_some_and(|found| found.told() != *self.learned())
        {
            return Vec::new();
        }
        let State { discovery, uneven, .. } = &mut *state;
        let due = uneven.iter().filter(|(_, since)| is_over(**since)).map(|(path, _)| path.clone());
        let due: Vec<PathBuf> = due.take(MOST_ASKED).collect();
        let mut asked = Vec::new();
        for path in due {
            // What is written all the time is left for a quiet moment.
            let Some(Writes { opened, placed, .. }) =
                discovery.writes_at(&path).copied().filter(|writes| writes.last.is_none_or(is_over))
            else {
                uneven.insert(path, now);
                continue;
            };
            uneven.remove(&path);
            asked.push(Closed { path, writes: Some((opened, placed)) });
        }
        let arrived = discovery.take_arrived(MOST_ASKED, is_over).into_iter();
        asked.extend(arrived.map(|path| Closed { path, writes: None }));
        drop(state);
        // Of one that is open it is not known how often. It is asked again after the next event.
        asked.retain(|Closed { path, .. }| is_open_for_writing(path) != Some(true));
        asked
    }

    /// All events have been taken in that had come when this was asked: none of these writes explains another one.
    pub fn has_taken_in(&self, closed: Vec<Closed>) {
        if closed.is_empty() {
            return;
        }
        let mut state = self.state();
        for Closed { path, writes } in closed {
            let Some((opened, placed)) = writes else {
                state.discovery.note_whole(path);
                continue;
            };
            if let Some(writes) = state.discovery.writes_at(&path) {
                writes.closed = writes.closed.max(opened);
                writes.moved_in = writes.moved_in.max(placed);
            }
        }
    }

    fn was_written(&self, note: impl FnOnce(&mut State)) {
        // Before the start, events are those of earlier processes.
        if self.found.get().is_none() || self.overlaps {
            return;
        }
        self.catch_up();
        note(&mut self.settled());
    }

    /// What the next generation must know.
    pub fn keep(&self) -> Kept {
        let state = self.settled();
        let mut kept = state.discovery.keep();
        let plain = |(path, names): (&PathBuf, &BTreeSet<OsString>)| {
            (path.clone().into_os_string(), names.iter().cloned().collect())
        };
        kept.listed = state.listed.iter().map(plain).collect();
        kept
    }

    /// Goes on with what the generation before knew. The writes of its command are over.
    pub fn resume(&self, mut kept: Kept) {
        let mut state = self.state();
        let listed = std::mem::take(&mut kept.listed).into_iter();
        state.listed = listed.map(|(path, names)| (path.into(), names.into_iter().collect())).collect();
        state.discovery.resume(kept);
        self.any.store(true, Ordering::Release);
    }

    /// Takes over what was found out about a command that has ended, as if the next generation were to start now.
    pub fn take_over(&self, discovery: &Discovery) {
        let mut kept = discovery.keep_all();
        let listed = discovery.entries().filter(|(path, entry, verdict)| {
            (entry.role, *verdict) == (Role::Listed, Verdict::Counts) && discovery.can_be_missed(&path.join("new"))
        });
        let listed = listed.map(|(path, ..)| (path.as_os_str().to_owned(), names_in(path).into_iter().collect()));
        kept.listed = listed.collect();
        self.resume(kept);
    }

    /// The command is not traced: what an earlier generation knew of it may be wrong by now.
    pub fn forget(&self) {
        self.any.store(false, Ordering::Release);
        let mut state = self.state();
        state.listed.clear();
        state.uneven.clear();
        state.discovery.forget();
    }

    /// What the command depends on, as far as it is known.
    pub fn all(&self) -> Vec<PathBuf> {
        let state = self.settled();
        let paths = state.discovery.entries().filter(|(_, _, verdict)| *verdict == Verdict::Counts);
        paths.map(|(path, ..)| path.to_owned()).collect()
    }

    /// The directories in which something counts, of those below this one and of itself.
    pub fn directories_below(&self, directory: &Path) -> BTreeSet<PathBuf> {
        if !self.any.load(Ordering::Acquire) {
            return BTreeSet::new();
        }
        let state = self.settled();
        let counting = state.discovery.below(directory).filter_map(|path| match state.discovery.of(path) {
            Some((Entry { role: Role::Listed, .. }, Verdict::Counts)) => Some(path),
            Some((_, Verdict::Counts)) => path.parent(),
            _ => None,
        });
        counting.map(Path::to_owned).collect()
    }

    /// How much is known.
    pub fn summary(&self, directory: &Path) -> Summary {
        let state = self.settled();
        let mut summary = Summary::default();
        for (path, entry, verdict) in state.discovery.entries() {
            let is_file = matches!(entry.role, Role::Executed | Role::Read | Role::Asked);
            let counts = verdict == Verdict::Counts && is_file;
            summary.files += usize::from(counts);
            summary.elsewhere += usize::from(counts && !path.starts_with(directory));
            summary.written += usize::from(entry.role == Role::Written && !entry.gone);
        }
        summary
    }

    /// A change of this path has passed: from now on the command's writes do not count again.
    pub fn has_passed(&self, path: &Path) {
        if self.any.load(Ordering::Acquire)
            && let Some(writes) = self.settled().discovery.writes_at(path)
        {
            writes.foreign = false;
        }
    }
}

impl State {
    /// Whether it is not known in this generation who has named a path.
    fn of_earlier(&self, path: &Path) -> bool {
        self.discovery.of(path).is_some_and(|(entry, _)| entry.by.is_none())
    }

    /// Notes who has named a path.
    fn name(&mut self, path: &Path, name: &str) {
        let State { discovery, began, .. } = self;
        discovery.name(path, |First { when, .. }| {
            let after = began.map_or(Duration::ZERO, |began| when.saturating_duration_since(began));
            format!("{name} {:.1} s after the start", after.as_secs_f64()).into()
        });
    }

    fn standing(&self, path: &Path) -> Standing {
        match self.discovery.of(path) {
            Some((Entry { writes, read, by, .. }, Verdict::Own)) => Standing {
                own: !writes.foreign,
                depends: (writes.foreign && *read && self.discovery.counts_at(path)).then_some(Role::Read),
                // Of a file that it reads as well, it is not known whether that was the write.
                by: by.clone().filter(|_| writes.foreign || !*read),
            },
            Some((entry, Verdict::Counts)) if entry.role != Role::Listed => {
                Standing { own: false, depends: Some(entry.role), by: entry.by.clone() }
            }
            Some(_) => Standing::default(),
            None => Standing {
                own: self.discovery.was_moved(path),
                depends: self.is_new_name(path).then_some(Role::Listed),
                by: None,
            },
        }
    }

    fn is_new_name(&self, path: &Path) -> bool {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let Some(names) = self.listed.get(directory) else { return false };
        !names.is_empty()
            && !names.contains(name)
            && names.len() < MOST_NAMES
            && self.discovery.can_be_missed(path)
            && match self.discovery.new_names(directory) {
                NewNames::All => true,
                NewNames::With(extensions) => extensions.contains(path.extension().unwrap_or_default()),
            }
    }
}

fn names_in(directory: &Path) -> BTreeSet<OsString> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(MOST_NAMES).map(|entry| entry.file_name()).collect()
}

/// How a file looked when the command named it. One whose content may be another one since then looks unknown: it was written
/// (its time), or it is a new file, or its inode was touched and names in its directory have changed, so that it may have been
/// renamed into place. A new mode or one more link changes nothing. What was written in this moment and given an old time
/// again, in place, is not noticed.
fn seen_at(path: &Path, seen_ns: i64) -> Look {
    let seen = look(path);
    let Some(stamp) = seen.stamp.filter(|_| seen.ctime_ns >= seen_ns) else { return seen };
    let directory = path.parent().and_then(|directory| std::fs::metadata(directory).ok());
    let is_other = stamp.mtime_ns >= seen_ns
        || stamp.born_ns >= seen_ns
        || directory.is_none_or(|directory| mtime_ns(&directory) >= seen_ns);
    if is_other { Look { stamp: Some(Stamp::UNKNOWN), ..seen } } else { seen }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
