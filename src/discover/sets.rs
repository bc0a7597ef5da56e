//! The sets themselves. Whether a call succeeded is not known, so a file counts as it was right after the call.
//!
//! A trace with a gap (see [`Gap`]) is incomplete: what it has found counts, what it has not found says nothing.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::first::First;
use super::place::Places;
use super::renames::{Fate, Names, Rename, Renames};
use super::rules;
use crate::os::fs::FileId;
use crate::os::seccomp::Access;
use crate::os::seccomp::Sighting;

pub use crate::os::seccomp::Gap;

/// What is at a path, through symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something that has no content of its own: a socket, a pipe, a device.
    Other,
    /// It lies where we may not look, and so cannot be watched either.
    Hidden,
}

/// A path, and what was there right after a call had named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Absolute, without `.` and `..`; symlinks stay, because they may be turned.
    pub name: PathBuf,
    /// The same name in the directory where it really lies, if symlinks are on the way there. What happens to it has its event
    /// there, be it a link itself or absent.
    pub entry: Option<PathBuf>,
    /// Where it leads, if symlinks are on the way.
    pub target: Option<PathBuf>,
    /// What is there.
    pub node: Node,
    /// What has the name itself: a symlink, if it is one. `None` as well if that was made after the call.
    pub id: Option<FileId>,
    /// The device of the directory where it really lies: no rename leads from one to another.
    pub device: Option<u64>,
}

impl Looked {
    /// Every path by which it is known.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let Looked { name, entry, target, .. } = self;
        let target = target.as_ref().filter(|target| Some(*target) != entry.as_ref());
        [Some(name), entry.as_ref(), target].into_iter().flatten()
    }

    /// The name in the directory where it really lies.
    fn real(&self) -> &PathBuf {
        self.entry.as_ref().unwrap_or(&self.name)
    }

    fn names(&self) -> Names {
        Names { name: self.name.clone(), real: self.real().clone() }
    }
}

/// What a path is to the command. Of several, the first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// It writes, makes or removes it.
    Written,
    /// It executes it.
    Executed,
    /// It reads it.
    Read,
    /// It asks what it is.
    Asked,
    /// It lists this directory.
    Listed,
    /// It asks for it, and it is absent.
    Missed,
}

/// So many paths of each role are kept, of those that count and of the others each. What a directory walk of a tool only asks about (git status, a bundler) has no
/// end otherwise.
pub fn most(role: Role) -> usize {
    match role {
        Role::Written => 1 << 18,
        Role::Executed | Role::Read => 1 << 16,
        Role::Asked | Role::Listed | Role::Missed => 1 << 12,
    }
}

/// A file that is renamed more often than that while it is written is taken for somebody else's.
const MOST_RENAMES: usize = 8;

/// Of so many renamed files it is looked whether they are open.
const MOST_ARRIVED: usize = 1 << 12;

/// What one generation leaves to the next. Paths are stored as `OsString`, because they need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    entries: Vec<(OsString, Role, bool, Option<Arc<str>>)>,
    moved: Vec<OsString>,
    gaps: Vec<(Gap, i32)>,
    too_many: Vec<(Role, bool)>,
    /// The names in directories that are listed.
    pub listed: Vec<(OsString, Vec<OsString>)>,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is to the command.
    pub role: Role,
    /// The first call that named it.
    pub first: First,
    /// Where it leads, if symlinks are on the way.
    pub target: Option<PathBuf>,
    /// Whether it was read or executed, before or after it was written.
    pub read: bool,
    /// Whether the last that the command did was to take the name away.
    pub gone: bool,
    /// By whom it was named first, and when, as a sentence goes on: `python3 (pid 123) 2.1 s after the start`.
    pub by: Option<Arc<str>>,
    /// What the command writes, and what was seen of it.
    pub writes: Writes,
}

/// The writes to one path: each of the command's explains one event. An event that none explains is somebody else's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// How often it was opened for writing.
    pub opened: u32,
    /// How often something was renamed to it.
    pub placed: u32,
    /// When it was opened for writing, or renamed to, for the last time.
    pub last: Option<Instant>,
    /// How often it was closed after writing, as the events say.
    pub closed: u32,
    /// How often something was renamed to it, as the events say.
    pub moved_in: u32,
    /// Whether somebody else wrote it since the last change that passed.
    pub foreign: bool,
}

/// Whether a change of a path counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The command depends on it.
    Counts,
    /// The command makes it itself.
    Own,
    /// It is compiled from a file that counts.
    Compiled,
    /// The system or a toolchain installed it.
    Installed,
    /// It is absent from a place where an installation or a build makes files.
    NotMissed,
}

/// The names in a listed directory that count when they are new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewNames {
    /// Nothing in it was read, so nothing is known about its files.
    All,
    /// Those with the extension of a file in it that was read. The empty one stands for names without.
    With(BTreeSet<OsString>),
}

/// All that was found out about a command.
#[derive(Debug)]
pub struct Discovery {
    places: Places,
    entries: BTreeMap<PathBuf, Entry>,
    /// How many there are of each role, of those that count and of the others.
    counts: BTreeMap<(Role, bool), usize>,
    /// Of what there is more than is kept, and whether some of that lies elsewhere.
    too_many: BTreeMap<Role, bool>,
    /// Each with the thread that it was first seen of.
    gaps: BTreeMap<Gap, i32>,
    /// Directories that were renamed: with everything in them they are the command's own.
    moved: BTreeSet<PathBuf>,
    /// What was renamed: where it was before, by where it is now.
    before: BTreeMap<PathBuf, PathBuf>,
    /// New names of files that may have been open when they were renamed, and when that was.
    arrived: BTreeMap<PathBuf, Instant>,
    /// New names of files that were closed a while after they were renamed.
    whole: BTreeSet<PathBuf>,
    /// The old name in the rename that is being taken in.
    renamed: Option<(First, Looked, Access)>,
    /// Renames whose outcome may still show.
    renames: Renames,
    /// Programs that gain rights when they are executed.
    privileged: BTreeSet<PathBuf>,
}

impl Discovery {
    /// Nothing yet.
    pub fn new(places: Places) -> Discovery {
        Discovery {
            places,
            entries: BTreeMap::new(),
            counts: BTreeMap::new(),
            too_many: BTreeMap::new(),
            gaps: BTreeMap::new(),
            moved: BTreeSet::new(),
            before: BTreeMap::new(),
            arrived: BTreeMap::new(),
            whole: BTreeSet::new(),
            renamed: None,
            renames: Renames::default(),
            privileged: BTreeSet::new(),
        }
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Discovery::new(self.places.clone());
    }

    /// Notes that the trace is incomplete, and of which thread. Says whether that is news.
    pub fn add_gap(&mut self, gap: Gap, thread: i32) -> bool {
        let is_news = !self.gaps.contains_key(&gap);
        self.gaps.entry(gap).or_insert(thread);
        is_news
    }

    /// Notes that a program gains rights when it is executed.
    pub fn add_privileged(&mut self, program: PathBuf) {
        self.privileged.insert(program);
    }

    /// Programs that were executed and gain rights by that, unless they are traced for an ordinary user.
    pub fn privileged(&self) -> impl Iterator<Item = &Path> {
        self.privileged.iter().map(PathBuf::as_path)
    }

    /// Takes in what a call does with a path.
    pub fn add(&mut self, looked: &Looked, access: Access, first: First) {
        let entry = looked.entry.as_ref();
        match access {
            Access::Remove => {
                if let Some((rename, fate)) = self.renames.is_taken(looked.real(), first) {
                    self.note_fate(&rename, fate);
                }
            }
            Access::Write | Access::Place | Access::Rename => self.renames.is_made(looked.real()),
            _ => {}
        }
        let failed = self.note_rename(looked, access, first);
        let Some(role) = role(access, looked.node) else { return };
        self.insert(looked.name.clone(), role, access, first, looked.target.clone());
        if let Some(entry) = entry {
            self.insert(entry.clone(), role, access, first, None);
        }
        // The target counts as well as the link. What removes or replaces a link leaves its target alone.
        if let Some(target) = looked.target.as_ref().filter(|target| Some(*target) != entry)
            && !matches!(access, Access::Remove | Access::Place | Access::Rename)
        {
            self.insert(target.clone(), role, access, first, None);
        }
        if let Some(rename) = failed {
            self.note_fate(&rename, Fate::Failed);
        }
    }

    /// Keeps the old name of what is renamed. Both names come from one call. Returns a rename that cannot succeed.
    fn note_rename(&mut self, looked: &Looked, access: Access, first: First) -> Option<Rename> {
        let old = self.renamed.take().filter(|(of, ..)| *of == first);
        match (old, access) {
            (Some((_, old, of_old)), Access::Rename) => return self.rename(&old, of_old, looked, first),
            (_, Access::Remove | Access::Rename) => self.renamed = Some((first, looked.clone(), access)),
            _ => {}
        }
        None
    }

    fn rename(&mut self, old: &Looked, of_old: Access, new: &Looked, first: First) -> Option<Rename> {
        if of_old == Access::Rename {
            // An exchange.
            [old, new].iter().filter(|one| one.node == Node::Directory).for_each(|one| self.note_moved(&one.names()));
        }
        let one = if old.id.is_some() { old } else { new };
        let is_directory = one.node == Node::Directory;
        let (replaces, is_remade) = (new.node != Node::Absent, false);
        let rename =
            Rename { first, old: old.names(), new: new.names(), id: old.id, is_directory, replaces, is_remade };
        if old.device != new.device {
            return Some(rename);
        }
        for new in rename.new.each() {
            let replaced = self.whole.range(new.clone()..).take_while(|path| path.starts_with(new));
            let replaced: Vec<PathBuf> = replaced.cloned().collect();
            replaced.iter().for_each(|path| drop(self.whole.take(path)));
        }
        if self.before.len() < most(Role::Written) {
            // Each by itself: where both are watched, each has its event.
            self.before.insert(rename.new.name.clone(), rename.old.name.clone());
            self.before.insert(rename.new.real.clone(), rename.old.real.clone());
        }
        if of_old == Access::Remove {
            if old.id.is_none() {
                // It has been made already, unless the same thread goes on with the old name.
                self.note_fate(&rename, Fate::Done);
            }
            self.renames.follow(rename);
        }
        None
    }

    /// With a directory, everything in it is the command's own; but never with its own directory, or one above that.
    fn note_moved(&mut self, names: &Names) {
        if !names.each().any(|name| self.places.is_directory_or_above(name)) {
            self.moved.extend(names.each().cloned());
        }
    }

    fn note_fate(&mut self, rename: &Rename, fate: Fate) {
        if fate == Fate::Done {
            self.note_arrived(&rename.old.name, &rename.new.name, rename.first.when);
            self.note_arrived(&rename.old.real, &rename.new.real, rename.first.when);
        }
        match (fate, rename.is_directory) {
            (Fate::Done, true) => self.note_moved(&rename.new),
            (Fate::Failed, true) => self.moved.retain(|moved| !rename.new.each().any(|name| name == moved)),
            (Fate::Failed, false) => {
                for name in rename.new.each() {
                    if let Some(writes) = self.writes_to(name) {
                        writes.placed = writes.placed.saturating_sub(1).max(writes.moved_in);
                    }
                }
            }
            (Fate::Done, false) | (Fate::NotYet, _) => {}
        }
    }

    fn note_arrived(&mut self, old: &Path, new: &Path, when: Instant) {
        let below = self.entries.range(old.to_owned()..).take_while(|(path, _)| path.starts_with(old));
        let open = below.filter(|(_, Entry { writes, .. })| writes.opened > writes.closed);
        let names = open.filter_map(|(path, _)| Some((name_after(path, old, new)?, when)));
        self.arrived.extend(names.take(MOST_ARRIVED.saturating_sub(self.arrived.len())));
    }

    /// Whether files may have been open when they were renamed.
    pub fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// So many of their new names at most, of those that were renamed long enough ago.
    pub fn take_arrived(&mut self, most: usize, is_over: impl Fn(Instant) -> bool) -> Vec<PathBuf> {
        let over = self.arrived.iter().filter(|(_, when)| is_over(**when)).map(|(path, _)| path.clone());
        let over: Vec<PathBuf> = over.take(most).collect();
        self.arrived.retain(|path, _| !over.contains(path));
        over
    }

    /// This file is closed, and all events of that have come: under its new name, none is to come.
    pub fn note_whole(&mut self, path: PathBuf) {
        self.whole.insert(path);
    }

    /// The renames that have to be looked into.
    pub fn open_renames(&self) -> impl Iterator<Item = &Rename> {
        self.renames.open()
    }

    /// When they have to be looked into for the last time.
    pub fn renames_due(&self) -> Option<Instant> {
        self.renames.due()
    }

    /// Takes in what has become of them.
    pub fn settle(&mut self, fates: &[(Rename, Fate)], now: Instant) {
        for (rename, fate) in fates {
            if let Some((rename, fate)) = self.renames.settle(rename, *fate, now) {
                self.note_fate(&rename, fate);
            }
        }
        self.renames.prune(now);
    }

    /// Whether this may be about a file at all.
    pub fn concerns(&self, sighting: &Sighting) -> bool {
        matches!(sighting, Sighting::File { path, .. } if self.places.has_files(path))
    }

    fn insert(&mut self, path: PathBuf, role: Role, access: Access, first: First, target: Option<PathBuf>) {
        if !self.places.has_files(&path) {
            return;
        }
        let known = self.entries.get(&path).map(|entry| entry.role);
        if known.is_none_or(|known| role < known) {
            let kind = self.kind(&path, role);
            let count = self.counts.entry(kind).or_default();
            if *count >= most(role) {
                // What the system installed is no loss.
                if kind.1 {
                    *self.too_many.entry(role).or_default() |= self.places.is_elsewhere(&path);
                }
                return;
            }
            *count += 1;
            if let Some(known) = known {
                let kind = self.kind(&path, known);
                self.counts.entry(kind).and_modify(|count| *count -= 1);
            }
        }
        let new = Entry { role, first, target: None, read: false, gone: false, by: None, writes: Writes::default() };
        let entry = self.entries.entry(path).or_insert(new);
        if entry.first.is_of_earlier() {
            (entry.first, entry.by) = (first, None);
        }
        entry.gone = access == Access::Remove;
        entry.role = entry.role.min(role);
        entry.target = target.or(entry.target.take());
        entry.read |= matches!(role, Role::Read | Role::Executed);
        entry.writes.opened += u32::from(access == Access::Write);
        entry.writes.placed += u32::from(access == Access::Rename);
        if matches!(access, Access::Write | Access::Rename) {
            entry.writes.last = Some(first.when);
        }
    }

    /// What a path is counted as.
    fn kind(&self, path: &Path, role: Role) -> (Role, bool) {
        (role, self.places.counts(path) && (role != Role::Missed || self.places.can_be_missed(path)))
    }

    /// What the next generation must know. Temporary files are gone.
    pub fn keep(&self) -> Kept {
        self.kept(|entry| entry.read || !entry.gone)
    }

    /// Temporary files as well.
    pub fn keep_all(&self) -> Kept {
        self.kept(|_| true)
    }

    fn kept(&self, is_wanted: impl Fn(&Entry) -> bool) -> Kept {
        let matters = |verdict: Verdict| matches!(verdict, Verdict::Counts | Verdict::Own);
        let kept = self.entries().filter(|(_, entry, verdict)| is_wanted(entry) && matters(*verdict));
        let plain = |path: &Path| path.as_os_str().to_owned();
        Kept {
            entries: kept.map(|(path, entry, _)| (plain(path), entry.role, entry.read, entry.by.clone())).collect(),
            moved: self.moved.iter().map(|path| plain(path)).collect(),
            gaps: self.gaps().collect(),
            too_many: self.too_many().collect(),
            listed: Vec::new(),
        }
    }

    /// Goes on with what the generation before knew.
    pub fn resume(&mut self, kept: Kept) {
        for (path, role, read, by) in kept.entries {
            let (first, writes) = (First::of_earlier(), Writes::default());
            let path = PathBuf::from(path);
            *self.counts.entry(self.kind(&path, role)).or_default() += 1;
            self.entries.insert(path, Entry { role, first, target: None, read, gone: false, by, writes });
        }
        self.moved.extend(kept.moved.into_iter().map(PathBuf::from));
        self.gaps.extend(kept.gaps);
        self.too_many.extend(kept.too_many);
    }

    /// Notes by whom a path was named first, if that is not known.
    pub fn name(&mut self, path: &Path, by: impl FnOnce(&First) -> Arc<str>) {
        if let Some(entry) = self.entries.get_mut(path).filter(|entry| entry.by.is_none()) {
            entry.by = Some(by(&entry.first));
        }
    }

    /// Whether the command opened what is at this path for writing when it had another name, and has not closed it until
    /// now. The event of that has the new name.
    pub fn closes_renamed(&mut self, path: &Path) -> bool {
        if self.whole.contains(path) {
            return false;
        }
        let mut path = path.to_owned();
        for _ in 0..MOST_RENAMES {
            let Some(old) = self.name_before(&path) else { return false };
            if let Some(writes) = self.writes_to(&old)
                && writes.opened > writes.closed
            {
                writes.closed += 1;
                return true;
            }
            path = old;
        }
        false
    }

    /// The name before the last rename, of it or of a directory on the way to it.
    fn name_before(&self, path: &Path) -> Option<PathBuf> {
        path.ancestors().find_map(|new| {
            let old = self.before.get(new)?;
            name_after(path, new, old)
        })
    }

    /// The same, and of what lies in a directory that was renamed: nothing but a call that has not been closed writes that.
    pub fn writes_at(&mut self, path: &Path) -> Option<&mut Writes> {
        let is_known = self.entries.contains_key(path);
        if path.parent().is_some_and(|directory| self.was_moved(directory)) && !self.moved.contains(path) {
            if !is_known {
                let first = First::of_earlier();
                self.insert(path.to_owned(), Role::Written, Access::Alter, first, None);
            }
            return self.entries.get_mut(path).map(|entry| &mut entry.writes);
        }
        self.writes_to(path)
    }

    /// The writes to a path that the command writes.
    pub fn writes_to(&mut self, path: &Path) -> Option<&mut Writes> {
        self.entries.get_mut(path).filter(|entry| entry.role == Role::Written).map(|entry| &mut entry.writes)
    }

    /// The paths of which an event is still to come.
    pub fn unexplained(&self) -> impl Iterator<Item = &Path> {
        let is_open = |writes: &Writes| writes.opened > writes.closed || writes.placed > writes.moved_in;
        self.entries.iter().filter(move |(_, entry)| is_open(&entry.writes)).map(|(path, _)| path.as_path())
    }

    /// Whether a path lies in a directory that was renamed.
    pub fn was_moved(&self, path: &Path) -> bool {
        !self.moved.is_empty() && path.ancestors().any(|part| self.moved.contains(part))
    }

    /// Whether a path lies where files count.
    pub fn counts_at(&self, path: &Path) -> bool {
        self.places.counts(path)
    }

    /// Whether it means something that a file appears at this path.
    pub fn can_be_missed(&self, path: &Path) -> bool {
        self.places.can_be_missed(path)
    }

    /// The paths at or below a directory.
    pub fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a Path> {
        let at_or_after = self.entries.range(directory.to_owned()..).map(|(path, _)| path.as_path());
        at_or_after.take_while(move |path| path.starts_with(directory))
    }

    /// What is known of a path, and whether a change of it counts.
    pub fn of(&self, path: &Path) -> Option<(&Entry, Verdict)> {
        match self.entries.get(path) {
            Some(entry) => Some((entry, self.verdict(path, entry))),
            None => None,
        }
    }

    /// Every path, in order, and whether a change of it counts.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry, Verdict)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry, self.verdict(path, entry)))
    }

    fn verdict(&self, path: &Path, entry: &Entry) -> Verdict {
        if entry.role == Role::Written || self.was_moved(path) {
            Verdict::Own
        } else if !self.places.counts(path) {
            Verdict::Installed
        } else if rules::is_compiled(path) {
            Verdict::Compiled
        } else if entry.role == Role::Missed && !self.places.can_be_missed(path) {
            Verdict::NotMissed
        } else {
            Verdict::Counts
        }
    }

    /// Which new names in a listed directory count.
    pub fn new_names(&self, directory: &Path) -> NewNames {
        let below = self.entries.range(directory.to_owned()..).take_while(|(path, _)| path.starts_with(directory));
        let here = below.filter(|(path, entry)| {
            path.parent() == Some(directory) && matches!(entry.role, Role::Executed | Role::Read | Role::Asked)
        });
        let extensions: BTreeSet<OsString> =
            here.map(|(path, _)| path.extension().unwrap_or_default().to_owned()).collect();
        if extensions.is_empty() { NewNames::All } else { NewNames::With(extensions) }
    }

    /// Of what there is more than is kept, and whether some of that lies elsewhere.
    pub fn too_many(&self) -> impl Iterator<Item = (Role, bool)> {
        self.too_many.iter().map(|(role, elsewhere)| (*role, *elsewhere))
    }

    /// What makes it incomplete, each with the first thread that it was seen of.
    pub fn gaps(&self) -> impl Iterator<Item = (Gap, i32)> {
        self.gaps.iter().map(|(gap, thread)| (*gap, *thread))
    }
}

/// What a path is called after a rename, of itself or of a directory on the way to it.
fn name_after(path: &Path, old: &Path, new: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(old).ok()?;
    Some(if rest.as_os_str().is_empty() { new.to_owned() } else { new.join(rest) })
}

/// What a call makes of a path; `None` for what no change can concern. A directory is never the command's own: that
/// `mkdir -p src` was tried says nothing about `src`.
fn role(access: Access, node: Node) -> Option<Role> {
    match (node, access) {
        (Node::Directory, Access::Read | Access::List) => Some(Role::Listed),
        (Node::Directory | Node::Other, _) => None,
        (
            Node::File | Node::Absent | Node::Hidden,
            Access::Write | Access::Alter | Access::Place | Access::Remove | Access::Rename,
        ) => Some(Role::Written),
        (Node::Hidden, _) => None,
        (Node::Absent, Access::Read | Access::List | Access::Stat | Access::Execute) => Some(Role::Missed),
        (Node::File, Access::Execute) => Some(Role::Executed),
        (Node::File, Access::Read | Access::List) => Some(Role::Read),
        (Node::File, Access::Stat) => Some(Role::Asked),
    }
}

#[cfg(test)]
#[path = "sets_tests.rs"]
mod tests;
