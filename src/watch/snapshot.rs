//! What the files looked like when this generation started.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::change::Stamp;

/// Stamps by path, in the order of the tree. Kept by directory: a hundred thousand files must cost single
/// megabytes.
#[derive(Debug, Default)]
pub struct Snapshot {
    directories: BTreeMap<PathBuf, BTreeMap<Box<OsStr>, Stamp>>,
}

impl Snapshot {
    /// What is known of a file; `None` when it was not there.
    pub fn get(&self, path: &Path) -> Option<Stamp> {
        self.directories.get(path.parent()?)?.get(path.file_name()?).copied()
    }

    /// Notes how a file looks; `None` is a file that is not there.
    pub fn set(&mut self, path: &Path, stamp: Option<Stamp>) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        match (stamp, self.directories.get_mut(directory)) {
            (Some(stamp), Some(files)) => {
                files.insert(name.into(), stamp);
            }
            (Some(stamp), None) => {
                self.directories.insert(directory.to_owned(), BTreeMap::from([(name.into(), stamp)]));
            }
            (None, Some(files)) => {
                files.remove(name);
            }
            (None, None) => {}
        }
    }

    /// Every file known at this path or below it.
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        let of = |(directory, files): (&PathBuf, &BTreeMap<Box<OsStr>, Stamp>)| {
            files.keys().map(|name| directory.join(&**name)).collect::<Vec<_>>()
        };
        let inside = self.directories.range(path.to_owned()..).take_while(|(directory, _)| directory.starts_with(path));
        let mut found: Vec<PathBuf> = inside.flat_map(of).collect();
        found.extend(self.get(path).map(|_| path.to_owned()));
        found
    }

    /// Every file directly in this directory.
    pub fn in_directory(&self, directory: &Path) -> Vec<PathBuf> {
        self.directories
            .get(directory)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .map(|name| directory.join(&**name))
            .collect()
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.directories.values().map(BTreeMap::len).sum()
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
        let stamp = Stamp { mtime_ns: 1, size: 2, inode: 3 };
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
