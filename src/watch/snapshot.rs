//! What the files looked like when this generation started: a [`Table`] that does not change, and what differs from it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::table::{self, Builder, Table};
pub use super::table::{Digest, File};
use crate::change::Stamp;
use crate::os::inotify::Watch;

/// The name of a file in its directory, and how it looked.
pub type Named = (Box<OsStr>, Stamp);

/// One directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its inode number: under the same name there may be another one later. `None` where only files in it are known.
    pub inode: Option<u64>,
    /// The files in it that count.
    pub files: BTreeMap<Box<OsStr>, File>,
}

/// What differs from the table in one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Its inode number, if that is another one.
    pub inode: Option<u64>,
    /// Files that are new or other ones (`Some`), or gone (`None`).
    pub files: BTreeMap<Box<OsStr>, Option<File>>,
}

/// Stamps by path, in the order of the tree.
#[derive(Debug, Default)]
pub struct Snapshot {
    base: Option<Arc<Table>>,
    differences: BTreeMap<PathBuf, Difference>,
    files: usize,
}

/// A snapshot that the watcher's thread writes, and the thread that makes the digests.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Snapshot>>);

impl From<Snapshot> for Shared {
    fn from(snapshot: Snapshot) -> Shared {
        Shared(Arc::new(Mutex::new(snapshot)))
    }
}

impl Shared {
    /// Everything; whoever holds on to it stops the watcher.
    pub fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().expect("a panic ends the process")
    }

    /// See [`Snapshot::get`].
    pub fn get(&self, path: &Path) -> Option<Stamp> {
        self.lock().get(path)
    }

    /// See [`Snapshot::set`].
    pub fn set(&self, path: &Path, stamp: Option<Stamp>) {
        self.lock().set(path, stamp);
    }

    /// See [`Snapshot::below`].
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        self.lock().below(path)
    }

    /// See [`Snapshot::in_directory`].
    pub fn in_directory(&self, directory: &Path) -> Vec<PathBuf> {
        self.lock().in_directory(directory)
    }

    /// See [`Snapshot::len`].
    pub fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Snapshot {
    /// The table with what differs from it.
    pub fn resume(base: Arc<Table>, differences: BTreeMap<PathBuf, Difference>) -> Snapshot {
        let mut snapshot = Snapshot { files: base.files(), base: Some(base), differences: BTreeMap::new() };
        for (path, difference) in differences {
            for (name, file) in difference.files {
                snapshot.put(&path, &name, file);
            }
            if let Some(inode) = difference.inode {
                snapshot.enter(&path, inode);
            }
        }
        snapshot
    }

    /// What differs from the table.
    pub fn differences(&self) -> &BTreeMap<PathBuf, Difference> {
        &self.differences
    }

    /// How many files and directories differ from the table.
    pub fn weight(&self) -> usize {
        self.differences.values().map(|difference| 1 + difference.files.len()).sum()
    }

    /// What is known of a file; `None` when it was not there.
    pub fn get(&self, path: &Path) -> Option<Stamp> {
        self.file(path).map(|file| file.stamp)
    }

    /// What the bytes of a file come to, if that is known.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        self.file(path)?.digest
    }

    fn file(&self, path: &Path) -> Option<File> {
        self.file_in(path.parent()?, path.file_name()?)
    }

    fn file_in(&self, directory: &Path, name: &OsStr) -> Option<File> {
        match self.differences.get(directory).and_then(|difference| difference.files.get(name)) {
            Some(file) => *file,
            None => self.file_in_base(directory, name),
        }
    }

    fn file_in_base(&self, directory: &Path, name: &OsStr) -> Option<File> {
        let base = self.base.as_ref()?;
        base.file_of(&base.directory(base.find(directory)?), name)
    }

    /// Notes how a file looks; `None` is a file that is not there. With another stamp its bytes are not known any more;
    /// but if the stamp itself is unknown, they are still those of the start.
    pub fn set(&mut self, path: &Path, stamp: Option<Stamp>) {
        self.note(path, stamp, None);
    }

    /// Notes how files of one directory look, with one search if nothing is known of the directory.
    pub fn set_all<'a>(&mut self, directory: &Path, files: impl Iterator<Item = (&'a Path, Stamp)>) {
        if self.base.is_some() || self.differences.contains_key(directory) {
            files.for_each(|(path, stamp)| self.set(path, Some(stamp)));
            return;
        }
        let file = |(path, stamp): (&Path, Stamp)| Some((path.file_name()?.into(), Some(File { stamp, digest: None })));
        let files: BTreeMap<Box<OsStr>, Option<File>> = files.filter_map(file).collect();
        self.files += files.len();
        self.differences.insert(directory.to_owned(), Difference { inode: None, files });
    }

    /// Notes how a file looks, and what its bytes come to.
    pub fn set_with_digest(&mut self, path: &Path, stamp: Stamp, digest: Digest) {
        self.note(path, Some(stamp), Some(digest));
    }

    /// Notes what the bytes of a file come to, if it is known and still looks like this; says whether it does.
    pub fn add_digest(&mut self, path: &Path, stamp: Stamp, digest: Digest) -> bool {
        let matches = self.get(path) == Some(stamp);
        if matches {
            self.set_with_digest(path, stamp, digest);
        }
        matches
    }

    /// Takes over the digests of files that look as they did.
    pub fn take_digests(&mut self, before: &Snapshot) {
        for (directory, known) in before.directories() {
            for (name, file) in &known.files {
                if let Some(digest) = file.digest {
                    self.add_digest(&directory.join(&**name), file.stamp, digest);
                }
            }
        }
    }

    /// The first directory after this one with files whose bytes are not known, and those files.
    pub fn without_digests(&self, after: Option<&Path>) -> Option<(PathBuf, Vec<Named>)> {
        self.directories_after(after).find_map(|(path, directory)| {
            let missing = directory.files.iter().filter(|(_, file)| file.digest.is_none());
            let files: Vec<_> = missing.map(|(name, file)| (name.clone(), file.stamp)).collect();
            (!files.is_empty()).then_some((path, files))
        })
    }

    fn note(&mut self, path: &Path, stamp: Option<Stamp>, digest: Option<Digest>) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        let file = stamp.map(|stamp| {
            let same = |file: &File| stamp == Stamp::UNKNOWN || stamp == file.stamp;
            let known = || self.file_in(directory, name).filter(same)?.digest;
            File { stamp, digest: digest.or_else(known) }
        });
        self.put(directory, name, file);
    }

    fn put(&mut self, directory: &Path, name: &OsStr, file: Option<File>) {
        let before = self.file_in(directory, name);
        if before == file {
            return;
        }
        self.files = self.files + usize::from(file.is_some()) - usize::from(before.is_some());
        let in_base = self.file_in_base(directory, name);
        match self.differences.get_mut(directory) {
            Some(difference) if in_base == file => {
                difference.files.remove(name);
                if difference == &Difference::default() {
                    self.differences.remove(directory);
                }
            }
            Some(difference) => drop(difference.files.insert(name.into(), file)),
            None => {
                let files = BTreeMap::from([(name.into(), file)]);
                self.differences.insert(directory.to_owned(), Difference { inode: None, files });
            }
        }
    }

    /// Notes which directory stands behind a name.
    pub fn enter(&mut self, directory: &Path, inode: u64) {
        if self.inode_in_base(directory) != Some(inode) {
            self.differences.entry(directory.to_owned()).or_default().inode = Some(inode);
        } else if let Some(difference) = self.differences.get_mut(directory) {
            difference.inode = None;
        }
    }

    fn inode_in_base(&self, directory: &Path) -> Option<u64> {
        let base = self.base.as_ref()?;
        base.directory(base.find(directory)?).inode
    }

    /// The files that are not as they were, those that are gone and those that were not there.
    pub fn differing(&self, before: &Snapshot) -> Vec<PathBuf> {
        let mut differing = BTreeSet::new();
        for (one, other) in [(before, self), (self, before)] {
            for (path, directory) in one.directories() {
                for (name, file) in &directory.files {
                    if other.file_in(&path, name).map(|file| file.stamp) != Some(file.stamp) {
                        differing.insert(path.join(&**name));
                    }
                }
            }
        }
        differing.into_iter().collect()
    }

    /// Every directory, in the order of the tree.
    pub fn directories(&self) -> impl Iterator<Item = (PathBuf, Directory)> {
        self.directories_after(None)
    }

    fn directories_after<'a>(&'a self, after: Option<&'a Path>) -> impl Iterator<Item = (PathBuf, Directory)> + 'a {
        self.known_from(after.map_or(Bound::Unbounded, Bound::Excluded)).map(|(path, known)| {
            let files = known.files().map(|(name, file)| (name.into(), file)).collect();
            (path.to_owned(), Directory { inode: known.inode(), files })
        })
    }

    /// Every directory from this one on, in the order of the tree.
    fn known_from<'a>(&'a self, from: Bound<&'a Path>) -> impl Iterator<Item = (&'a Path, Known<'a>)> {
        let in_base = self.base.iter().flat_map(move |base| base.from(from).map(move |known| (base, known)));
        let differences = self.differences.range::<Path, _>((from, Bound::Unbounded));
        joined(
            in_base.map(|(base, known)| (known.path, (&**base, known))),
            differences.map(|(path, difference)| (path.as_path(), difference)),
        )
        .map(|(path, base, difference)| (path, Known { base, difference }))
    }

    /// The inode number of a directory, if it is known.
    pub fn inode(&self, directory: &Path) -> Option<u64> {
        let other = self.differences.get(directory).and_then(|difference| difference.inode);
        other.or_else(|| self.inode_in_base(directory))
    }

    /// Every file known at this path or below it.
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        let directories =
            self.known_from(Bound::Included(path)).take_while(|(directory, _)| directory.starts_with(path));
        let mut found: Vec<PathBuf> =
            directories.flat_map(|(directory, known)| known.files().map(|(name, _)| directory.join(name))).collect();
        found.extend(self.get(path).map(|_| path.to_owned()));
        found
    }

    /// Every file directly in this directory.
    pub fn in_directory(&self, directory: &Path) -> Vec<PathBuf> {
        let first = self.known_from(Bound::Included(directory)).next().filter(|(path, _)| *path == directory);
        first.into_iter().flat_map(|(_, known)| known.files().map(|(name, _)| directory.join(name))).collect()
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.files
    }

    /// All of it as the bytes of a table, with the watches of the directories, which come in the order of the tree. Of
    /// directories without any files, it keeps the ones that are watched or that `keeps` wants.
    pub fn to_table<'a>(
        &'a self,
        watches: impl Iterator<Item = (&'a Path, Watch)>,
        keeps: impl Fn(&Path) -> bool,
    ) -> Option<Vec<u8>> {
        let mut builder = Builder::default();
        for (path, known, watch) in joined(self.known_from(Bound::Unbounded), watches) {
            let known = known.unwrap_or_default();
            let mut files = known.files().peekable();
            if files.peek().is_none() && watch.is_none() && !keeps(path) {
                continue;
            }
            builder.directory(path, known.inode(), watch);
            files.for_each(|(name, file)| builder.file(name, file));
        }
        builder.finish()
    }

    /// The same, told by this table alone. Returns what told it before, which takes a while to be freed.
    pub fn rebase(&mut self, base: Arc<Table>) -> Snapshot {
        let rebased = Snapshot { files: self.files, base: Some(base), differences: BTreeMap::new() };
        std::mem::replace(self, rebased)
    }
}

/// What is known of one directory: in the table, and what differs from that.
#[derive(Clone, Default)]
struct Known<'a> {
    base: Option<(&'a Table, table::Directory<'a>)>,
    difference: Option<&'a Difference>,
}

impl<'a> Known<'a> {
    fn inode(&self) -> Option<u64> {
        let other = self.difference.and_then(|difference| difference.inode);
        other.or_else(|| self.base.as_ref()?.1.inode)
    }

    /// By name.
    fn files(&self) -> impl Iterator<Item = (&'a OsStr, File)> + use<'a> {
        let in_base = self.base.clone().into_iter().flat_map(|(base, known)| base.files_of(known));
        let differences = self.difference.into_iter().flat_map(|difference| &difference.files);
        let files = joined(in_base, differences.map(|(name, file)| (&**name, *file)));
        files.filter_map(|(name, in_base, other)| Some((name, other.unwrap_or(in_base)?)))
    }
}

/// Two sequences in the order of their keys as one: each key once, with what either has for it.
pub fn joined<K: Ord + Copy, A, B>(
    one: impl Iterator<Item = (K, A)>,
    other: impl Iterator<Item = (K, B)>,
) -> impl Iterator<Item = (K, Option<A>, Option<B>)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (Some((first, _)), Some((second, _))) => first.cmp(second),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let first = one.next_if(|_| order.is_le());
        let second = other.next_if(|_| order.is_ge());
        let key = first.as_ref().map(|(key, _)| *key).or(second.as_ref().map(|(key, _)| *key))?;
        Some((key, first.map(|(_, value)| value), second.map(|(_, value)| value)))
    })
}

#[cfg(test)]
mod tests {
    use super::{Difference, Directory, File, Snapshot};
    use crate::change::Stamp;
    use crate::os::inotify::Watch;
    use crate::watch::table::Table;
    use proptest::prelude::{prop, proptest};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    fn stamp(number: u64) -> Stamp {
        Stamp { mtime_ns: 1, size: 2, inode: number, born_ns: 4 }
    }

    fn has_files((_, directory): &(PathBuf, Directory)) -> bool {
        !directory.files.is_empty()
    }

    /// The same, as the next child has it.
    fn rebased(snapshot: &Snapshot) -> Snapshot {
        let table = Table::own(snapshot.to_table(std::iter::empty(), |_| true).unwrap()).unwrap();
        Snapshot::resume(Arc::new(table), BTreeMap::new())
    }

    #[test]
    fn files_are_found_by_path_and_by_tree() {
        let mut snapshot = Snapshot::default();
        let stamp = stamp(3);
        for path in ["/r/a.py", "/r/d/b.py", "/r/d/e/c.py", "/r/d.py", "/rr/x.py"] {
            snapshot.set(Path::new(path), Some(stamp));
        }
        for mut snapshot in [rebased(&snapshot), snapshot] {
            assert_eq!(snapshot.get(Path::new("/r/d/b.py")), Some(stamp));
            assert_eq!(snapshot.get(Path::new("/r/d/none.py")), None);
            assert_eq!(snapshot.below(Path::new("/r/d")), [Path::new("/r/d/b.py"), Path::new("/r/d/e/c.py")]);
            assert_eq!(snapshot.below(Path::new("/r/d.py")), [Path::new("/r/d.py")]);
            assert_eq!(snapshot.in_directory(Path::new("/r")), [Path::new("/r/a.py"), Path::new("/r/d.py")]);
            snapshot.set(Path::new("/r/a.py"), None);
            assert_eq!((snapshot.get(Path::new("/r/a.py")), snapshot.len()), (None, 4));
        }
    }

    #[test]
    fn what_is_set_back_differs_in_nothing_any_more() {
        let mut snapshot = Snapshot::default();
        snapshot.enter(Path::new("/r"), 1);
        snapshot.set(Path::new("/r/a"), Some(stamp(1)));
        let mut snapshot = rebased(&snapshot);
        for other in [None, Some(Stamp::UNKNOWN), Some(stamp(2))] {
            snapshot.set(Path::new("/r/a"), other);
            snapshot.set(Path::new("/r/new"), Some(stamp(7)));
            assert_eq!(snapshot.weight(), 3);
            snapshot.set(Path::new("/r/a"), Some(stamp(1)));
            snapshot.set(Path::new("/r/new"), None);
            assert_eq!(snapshot.weight(), 0);
        }
        assert_eq!(snapshot.len(), 1);
    }

    proptest! {
        #[test]
        fn a_table_with_differences_is_the_same_as_all_in_one(
            steps in prop::collection::vec((0u8..4, 0u8..4, 0u64..4, 0u8..12), 1..80),
        ) {
            let (mut plain, mut layered) = (Snapshot::default(), Snapshot::default());
            let mut expected: BTreeMap<PathBuf, Stamp> = BTreeMap::new();
            for (directory, file, number, what) in steps {
                let directory = Path::new(["/r", "/r/a", "/r/a/b", "/r/a.x"][usize::from(directory)]);
                let path = directory.join(["f", "g", "h", "i"][usize::from(file)]);
                match what {
                    0 => {
                        let watches = [(Path::new("/r/a"), Watch(3))];
                        let table = Table::own(layered.to_table(watches.into_iter(), |_| true).unwrap());
                        let (before, table) = (layered.len(), Arc::new(table.unwrap()));
                        assert_eq!(table.files(), before);
                        layered.rebase(table);
                    }
                    1 => {
                        // What the next child makes of it.
                        let empty = || Snapshot::default().to_table(std::iter::empty(), |_| true).unwrap();
                        let base = layered.base.clone();
                        let base = base.unwrap_or_else(|| Arc::new(Table::own(empty()).unwrap()));
                        layered = Snapshot::resume(base, layered.differences().clone());
                    }
                    2 => [&mut plain, &mut layered].into_iter().for_each(|snapshot| snapshot.enter(directory, number)),
                    3..6 => {
                        [&mut plain, &mut layered].into_iter().for_each(|snapshot| snapshot.set(&path, None));
                        expected.remove(&path);
                    }
                    _ => {
                        [&mut plain, &mut layered].into_iter().for_each(|snapshot| snapshot.set(&path, Some(stamp(number))));
                        expected.insert(path, stamp(number));
                    }
                }
            }
            assert!(plain.directories().filter(has_files).eq(layered.directories().filter(has_files)));
            for (path, stamp) in &expected {
                assert_eq!((plain.get(path), layered.get(path)), (Some(*stamp), Some(*stamp)));
            }
            assert_eq!((plain.len(), layered.len()), (expected.len(), expected.len()));
            assert_eq!(plain.below(Path::new("/r/a")), layered.below(Path::new("/r/a")));
            assert!(plain.differing(&layered).is_empty());
            let without = |snapshot: &Snapshot| snapshot.without_digests(Some(Path::new("/r/a")));
            assert_eq!(without(&layered), without(&plain));
        }
    }

    #[test]
    fn a_digest_is_kept_as_long_as_the_stamp_is_the_same() {
        let mut snapshot = Snapshot::default();
        let (path, digest) = (Path::new("/r/a"), 7.try_into().unwrap());
        snapshot.set_with_digest(path, stamp(1), digest);
        let mut snapshot = rebased(&snapshot);
        snapshot.set(path, Some(Stamp::UNKNOWN));
        assert_eq!(snapshot.digest(path), Some(digest), "nobody knows how it looks; the bytes of the start are known");
        let difference = Difference {
            inode: None,
            files: [(path.file_name().unwrap().into(), Some(File { stamp: Stamp::UNKNOWN, digest: Some(digest) }))]
                .into(),
        };
        assert_eq!(snapshot.differences().get(Path::new("/r")), Some(&difference));
        snapshot.set(path, Some(stamp(2)));
        assert_eq!(snapshot.digest(path), None);
    }
}
