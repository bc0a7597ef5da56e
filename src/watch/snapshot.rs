//! What the files looked like when this generation started.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::change::{Look, Stamp};

/// What a file's bytes come to.
pub type Digest = NonZeroU64;

/// The name of a file in its directory, and how it looked.
pub type Named = (Box<OsStr>, Stamp);

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// How it looked.
    pub stamp: Stamp,
    /// What its bytes come to, where that is known and matters.
    pub digest: Option<Digest>,
}

/// One directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its inode number: under the same name there may be another one later.
    pub inode: u64,
    /// The files in it that count.
    pub files: BTreeMap<Box<OsStr>, File>,
}

/// Stamps by path, in the order of the tree. Kept by directory: a hundred thousand files must cost single
/// megabytes.
#[derive(Debug, Default)]
pub struct Snapshot {
    directories: BTreeMap<PathBuf, Directory>,
    complete: bool,
    inherited: Option<Arc<[u8]>>,
    /// What is known beside the files.
    pub memory: Memory,
}

/// What one child tells the next beside how the files look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How far each file system's clock is ahead of ours, by its device number, nanoseconds.
    pub clocks: HashMap<u64, i64>,
    /// How the latest changes were last seen: they are no news.
    pub known: HashMap<PathBuf, Look>,
}

/// A snapshot that the watcher's thread writes and that the main thread hands over at the end.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Snapshot>>);

impl Shared {
    /// Everything; whoever holds on to it stops the watcher.
    pub fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // Every single note leaves it whole, whatever panicked in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// What is known of a file; `None` when it was not there.
    pub fn get(&self, path: &Path) -> Option<Stamp> {
        self.file(path).map(|file| file.stamp)
    }

    /// What the bytes of a file come to, if that is known.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        self.file(path)?.digest
    }

    fn file(&self, path: &Path) -> Option<&File> {
        self.directories.get(path.parent()?)?.files.get(path.file_name()?)
    }

    /// Notes how a file looks; `None` is a file that is not there. With another stamp its bytes are not known any more;
    /// but if the stamp itself is unknown, they are still those of the start.
    pub fn set(&mut self, path: &Path, stamp: Option<Stamp>) {
        self.note(path, stamp, None);
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
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.directories.range::<Path, _>((from, Bound::Unbounded)).find_map(|(path, directory)| {
            let missing = directory.files.iter().filter(|(_, file)| file.digest.is_none());
            let files: Vec<_> = missing.map(|(name, file)| (name.clone(), file.stamp)).collect();
            (!files.is_empty()).then(|| (path.clone(), files))
        })
    }

    fn note(&mut self, path: &Path, stamp: Option<Stamp>, digest: Option<Digest>) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        match (stamp, self.directories.get_mut(directory)) {
            (Some(stamp), Some(directory)) => {
                let same = |file: &&File| stamp == Stamp::UNKNOWN || stamp == file.stamp;
                let known = || directory.files.get(name).filter(same)?.digest;
                let digest = digest.or_else(known);
                directory.files.insert(name.into(), File { stamp, digest });
            }
            (Some(stamp), None) => {
                let files = BTreeMap::from([(name.into(), File { stamp, digest })]);
                self.directories.insert(directory.to_owned(), Directory { inode: 0, files });
            }
            (None, Some(directory)) => {
                directory.files.remove(name);
            }
            (None, None) => {}
        }
    }

    /// Notes which directory stands behind a name.
    pub fn enter(&mut self, directory: &Path, inode: u64) {
        match self.directories.get_mut(directory) {
            Some(known) => known.inode = inode,
            None => {
                self.directories.insert(directory.to_owned(), Directory { inode, ..Directory::default() });
            }
        }
    }

    /// Takes in a whole directory.
    pub fn take_in(&mut self, path: PathBuf, directory: Directory) {
        self.directories.insert(path, directory);
    }

    /// Keeps what the child before has left, as it came, until all is known.
    pub fn inherit(&mut self, bytes: Vec<u8>) {
        self.inherited = Some(bytes.into());
    }

    /// What the child before has left, as long as not all is known.
    pub fn inherited(&self) -> Option<Arc<[u8]>> {
        self.inherited.clone()
    }

    /// Nothing that counts is missing.
    pub fn complete(&mut self) {
        self.complete = true;
        self.inherited = None;
    }

    /// Whether nothing that counts is missing.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The files that are not as they were, those that are gone and those that were not there.
    pub fn differing(&self, before: &Snapshot) -> Vec<PathBuf> {
        let mut differing = Vec::new();
        for (one, other) in [(before, self), (self, before)] {
            for (path, directory) in one.directories() {
                let others = other.directory(path);
                for (name, file) in &directory.files {
                    let same = others.and_then(|others| others.files.get(name)).map(|file| file.stamp);
                    if same != Some(file.stamp) {
                        differing.push(path.join(&**name));
                    }
                }
            }
        }
        differing.sort();
        differing.dedup();
        differing
    }

    /// Every directory, in the order of the tree.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &Directory)> {
        self.directories.iter().map(|(path, directory)| (path.as_path(), directory))
    }

    /// One directory, if it is known.
    pub fn directory(&self, path: &Path) -> Option<&Directory> {
        self.directories.get(path)
    }

    /// Every file known at this path or below it.
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        let of = |(path, directory): (&PathBuf, &Directory)| {
            directory.files.keys().map(|name| path.join(&**name)).collect::<Vec<_>>()
        };
        let inside = self.directories.range(path.to_owned()..).take_while(|(directory, _)| directory.starts_with(path));
        let mut found: Vec<PathBuf> = inside.flat_map(of).collect();
        found.extend(self.get(path).map(|_| path.to_owned()));
        found
    }

    /// Every file directly in this directory.
    pub fn in_directory(&self, directory: &Path) -> Vec<PathBuf> {
        let files = self.directory(directory).into_iter().flat_map(|directory| directory.files.keys());
        files.map(|name| directory.join(&**name)).collect()
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.directories.values().map(|directory| directory.files.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshot;
    use crate::change::Stamp;
    use std::path::Path;

    #[test]
    fn files_are_found_by_path_and_by_tree() {
        let mut snapshot = Snapshot::default();
        let stamp = Stamp { mtime_ns: 1, size: 2, inode: 3, born_ns: 4 };
        for path in ["/r/a.py", "/r/d/b.py", "/r/d/e/c.py", "/r/d.py", "/rr/x.py"] {
            snapshot.set(Path::new(path), Some(stamp));
        }
        assert_eq!(snapshot.get(Path::new("/r/d/b.py")), Some(stamp));
        assert_eq!(snapshot.get(Path::new("/r/d/none.py")), None);
        assert_eq!(snapshot.below(Path::new("/r/d")), [Path::new("/r/d/b.py"), Path::new("/r/d/e/c.py")]);
        assert_eq!(snapshot.below(Path::new("/r/d.py")), [Path::new("/r/d.py")]);
        assert_eq!(snapshot.in_directory(Path::new("/r")), [Path::new("/r/a.py"), Path::new("/r/d.py")]);
        snapshot.set(Path::new("/r/a.py"), None);
        assert_eq!((snapshot.get(Path::new("/r/a.py")), snapshot.len()), (None, 4));
    }
}
