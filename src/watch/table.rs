//! A snapshot that does not change: every directory and every file, sorted, in one piece of memory that the next child
//! maps instead of reading it.
//!
//! ```text
//! counts       directories, watches, files: 3 numbers of 8 bytes
//! directories  by path: path (offset, length), first file, files, inode, watch number, flags
//! watches      by number: number, directory
//! files        by directory and name: name (offset, length), stamp, digest
//! texts        paths of directories and names of files; offsets count from here
//! ```
//!
//! Both sides are the same program, forked from the same process, so the numbers stand as the processor has them.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::ops::{Bound, Deref, Range};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::change::Stamp;
use crate::os::inotify::Watch;
use crate::os::map::Map;

/// What a file's bytes come to.
pub type Digest = NonZeroU64;

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// How it looked.
    pub stamp: Stamp,
    /// What its bytes come to, where that is known and matters.
    pub digest: Option<Digest>,
}

/// One directory of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory<'a> {
    /// Its path.
    pub path: &'a Path,
    /// Its inode number: under the same name there may be another one later. `None` where only files in it are known.
    pub inode: Option<u64>,
    /// Its watch, if it has one.
    pub watch: Option<Watch>,
    files: Range<usize>,
}

const COUNTS: usize = 24;
const DIRECTORY: usize = 40;
const WATCH: usize = 8;
const FILE: usize = 48;

/// Flags of a directory: its inode is known, it has a watch.
const ENTERED: u32 = 1;
const WATCHED: u32 = 2;

/// Where the bytes are.
#[derive(Debug)]
enum Bytes {
    Own(Vec<u8>),
    Mapped(Map),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    bytes: Bytes,
    directories: usize,
    watches: usize,
    files: usize,
    /// Where the texts begin.
    texts: usize,
}

impl Table {
    /// A table in memory of this process.
    pub fn own(bytes: Vec<u8>) -> Option<Table> {
        Table::of(Bytes::Own(bytes))
    }

    /// A table in memory that is shared.
    pub fn mapped(map: Map) -> Option<Table> {
        Table::of(Bytes::Mapped(map))
    }

    fn of(bytes: Bytes) -> Option<Table> {
        let count = |index: usize| usize::try_from(number(bytes.get(index * 8..)?)).ok();
        let (directories, watches, files) = (count(0)?, count(1)?, count(2)?);
        let length = COUNTS + directories * DIRECTORY + watches * WATCH + files * FILE;
        (bytes.len() >= length).then_some(Table { bytes, directories, watches, files, texts: length })
    }

    /// How many watches it has.
    pub fn watches(&self) -> usize {
        self.watches
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.files
    }

    /// The directory at this place in the order of the tree.
    pub fn directory(&self, index: usize) -> Directory<'_> {
        let record = &self.bytes[COUNTS + index * DIRECTORY..][..DIRECTORY];
        let flags = small(&record[36..]);
        let first = small(&record[8..]) as usize;
        Directory {
            path: Path::new(OsStr::from_bytes(self.text(record))),
            inode: (flags & ENTERED != 0).then(|| number(&record[16..])),
            watch: (flags & WATCHED != 0).then(|| Watch(small(&record[24..]).cast_signed())),
            files: first..first + small(&record[12..]) as usize,
        }
    }

    /// The directories from this one on, in the order of the tree.
    pub fn from(&self, from: Bound<&Path>) -> impl Iterator<Item = Directory<'_>> + use<'_> {
        let first = match from {
            Bound::Unbounded => 0,
            Bound::Included(path) => self.place(path),
            Bound::Excluded(path) => self.place(path) + usize::from(self.find(path).is_some()),
        };
        (first..self.directories).map(|index| self.directory(index))
    }

    /// The place of a directory.
    pub fn find(&self, path: &Path) -> Option<usize> {
        let place = self.place(path);
        (place < self.directories && self.directory(place).path == path).then_some(place)
    }

    /// The places of a directory and of all below it.
    pub fn at_or_below(&self, path: &Path) -> Range<usize> {
        let from = self.place(path);
        let to = (from..self.directories).find(|index| !self.directory(*index).path.starts_with(path));
        from..to.unwrap_or(self.directories)
    }

    fn place(&self, path: &Path) -> usize {
        partition(0..self.directories, |index| self.directory(index).path.cmp(path))
    }

    /// The directories that have this watch: several names may lead to one directory.
    pub fn watched_as(&self, watch: Watch) -> impl Iterator<Item = &Path> {
        let start = COUNTS + self.directories * DIRECTORY;
        let record = move |index: usize| &self.bytes[start + index * WATCH..][..WATCH];
        let number = move |index: usize| small(record(index)).cast_signed();
        let from = partition(0..self.watches, |index| number(index).cmp(&watch.0));
        let same = (from..self.watches).take_while(move |index| number(*index) == watch.0);
        same.map(move |index| self.directory(small(&record(index)[4..]) as usize).path)
    }

    /// The files of a directory, by name.
    pub fn files_of<'a>(&'a self, directory: Directory<'a>) -> impl Iterator<Item = (&'a OsStr, File)> {
        directory.files.map(|index| (self.name(index), self.file(index)))
    }

    /// One file of a directory.
    pub fn file_of(&self, directory: &Directory<'_>, name: &OsStr) -> Option<File> {
        let place = partition(directory.files.clone(), |index| self.name(index).cmp(name));
        (directory.files.contains(&place) && self.name(place) == name).then(|| self.file(place))
    }

    fn file_record(&self, index: usize) -> &[u8] {
        &self.bytes[COUNTS + self.directories * DIRECTORY + self.watches * WATCH + index * FILE..][..FILE]
    }

    fn name(&self, index: usize) -> &OsStr {
        OsStr::from_bytes(self.text(self.file_record(index)))
    }

    fn file(&self, index: usize) -> File {
        let record = self.file_record(index);
        let at = |index: usize| number(&record[8 + index * 8..]);
        let (mtime_ns, size, inode, born_ns) = (at(0).cast_signed(), at(1), at(2), at(3).cast_signed());
        File { stamp: Stamp { mtime_ns, size, inode, born_ns }, digest: Digest::new(at(4)) }
    }

    /// The text that a record begins with.
    fn text(&self, record: &[u8]) -> &[u8] {
        let (offset, length) = (small(record) as usize, small(&record[4..]) as usize);
        &self.bytes[self.texts + offset..][..length]
    }
}

/// The first place in a sorted range that is not before what is looked for.
fn partition(range: Range<usize>, order: impl Fn(usize) -> Ordering) -> usize {
    let (mut from, mut to) = (range.start, range.end);
    while from < to {
        let middle = from + (to - from) / 2;
        if order(middle) == Ordering::Less {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn small(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Makes a table out of directories that come in the order of their paths, each followed by its files in the order of
/// their names.
#[derive(Debug, Default)]
pub struct Builder {
    directories: Vec<u8>,
    watches: Vec<(Watch, u32)>,
    files: Vec<u8>,
    texts: Vec<u8>,
    /// How many directories and files there are.
    counts: (u32, u32),
}

impl Builder {
    /// The next directory.
    pub fn directory(&mut self, path: &Path, inode: Option<u64>, watch: Option<Watch>) {
        let flags = if inode.is_some() { ENTERED } else { 0 } | if watch.is_some() { WATCHED } else { 0 };
        self.watches.extend(watch.map(|watch| (watch, self.counts.0)));
        let text = self.text(path.as_os_str());
        let watch = watch.map_or(0, |watch| watch.0.cast_unsigned());
        self.directories.extend([text.0, text.1, self.counts.1, 0].map(u32::to_ne_bytes).as_flattened());
        self.directories.extend(inode.unwrap_or(0).to_ne_bytes());
        self.directories.extend([watch, 0, 0, flags].map(u32::to_ne_bytes).as_flattened());
        self.counts.0 += 1;
    }

    /// The next file of the directory that came last.
    pub fn file(&mut self, name: &OsStr, file: File) {
        let text = self.text(name);
        self.files.extend([text.0, text.1].map(u32::to_ne_bytes).as_flattened());
        let File { stamp, digest } = file;
        let digest = digest.map_or(0, Digest::get);
        let parts = [stamp.mtime_ns.cast_unsigned(), stamp.size, stamp.inode, stamp.born_ns.cast_unsigned(), digest];
        self.files.extend(parts.map(u64::to_ne_bytes).as_flattened());
        self.counts.1 += 1;
        if let Some(record) = self.directories.len().checked_sub(DIRECTORY) {
            let count = &mut self.directories[record + 12..record + 16];
            let more = small(count) + 1;
            count.copy_from_slice(&more.to_ne_bytes());
        }
    }

    fn text(&mut self, text: &OsStr) -> (u32, u32) {
        let bytes = text.as_bytes();
        let offset = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.extend_from_slice(bytes);
        (offset, u32::try_from(bytes.len()).unwrap_or(0))
    }

    /// The bytes of the table; `None` if there is too much of it.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.watches.sort_unstable();
        let before = COUNTS + self.directories.len() + self.watches.len() * WATCH + self.files.len();
        u32::try_from(self.texts.len()).ok()?;
        let mut bytes = Vec::with_capacity(before + self.texts.len());
        for count in [self.counts.0 as usize, self.watches.len(), self.counts.1 as usize] {
            bytes.extend((count as u64).to_ne_bytes());
        }
        bytes.append(&mut self.directories);
        for (watch, directory) in self.watches {
            bytes.extend(watch.0.to_ne_bytes());
            bytes.extend(directory.to_ne_bytes());
        }
        bytes.append(&mut self.files);
        bytes.append(&mut self.texts);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Builder, File, Table};
    use crate::change::Stamp;
    use crate::os::inotify::Watch;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    fn file(number: u64) -> File {
        let stamp = Stamp { mtime_ns: -5, size: u64::MAX, inode: number, born_ns: i64::MIN };
        File { stamp, digest: (number % 2 == 1).then(|| number.try_into().unwrap()) }
    }

    #[test]
    fn what_goes_in_is_found_by_path_by_tree_and_by_watch() {
        let odd = Path::new(OsStr::from_bytes(b"/r/\xff"));
        // In the order of paths, `/r/d/e` comes before `/r/d.x`, unlike in the order of bytes.
        let tree: BTreeMap<PathBuf, Vec<&str>> = [
            (Path::new("/r"), vec!["a", "b", "c"]),
            (Path::new("/r/d"), vec![]),
            (Path::new("/r/d/e"), vec!["x"]),
            (Path::new("/r/d.x"), vec!["y", "z"]),
            (odd, vec!["q"]),
        ]
        .map(|(path, files)| (path.to_owned(), files))
        .into();
        let mut builder = Builder::default();
        for (number, (path, files)) in (0u64..).zip(&tree) {
            let watch = [Some(Watch(7)), None, Some(Watch(3)), Some(Watch(7)), Some(Watch(i32::MAX))];
            builder.directory(path, (number != 1).then_some(number), watch[usize::try_from(number).unwrap()]);
            for (more, name) in (0..).zip(files) {
                builder.file(OsStr::new(name), file(number * 10 + more));
            }
        }
        let table = Table::own(builder.finish().unwrap()).unwrap();
        assert_eq!((table.directories, table.watches(), table.files()), (5, 4, 7));
        for (number, (path, files)) in (0u64..).zip(&tree) {
            let directory = table.directory(table.find(path).unwrap());
            assert_eq!((directory.path, directory.inode), (path.as_path(), (number != 1).then_some(number)));
            let expected = (0..).zip(files).map(|(more, name)| (OsStr::new(*name), file(number * 10 + more)));
            assert!(table.files_of(directory.clone()).eq(expected.clone()));
            for (name, file) in expected {
                assert_eq!(table.file_of(&directory, name), Some(file));
            }
            assert_eq!(table.file_of(&directory, OsStr::new("none")), None);
        }
        for none in ["/", "/q", "/r/dd", "/r/d/e/f", "/s"] {
            assert_eq!(table.find(Path::new(none)), None, "{none}");
        }
        let below = |path: &str| table.at_or_below(Path::new(path)).map(|index| table.directory(index).path);
        assert!(below("/r/d").eq([Path::new("/r/d"), Path::new("/r/d/e")]));
        assert_eq!(below("/").count(), 5);
        assert_eq!(below("/r/a").count(), 0);
        let watched = |number: i32| table.watched_as(Watch(number)).collect::<Vec<_>>();
        assert_eq!(watched(7), [Path::new("/r"), Path::new("/r/d.x")]);
        assert_eq!(watched(i32::MAX), [odd]);
        assert!(watched(4).is_empty());
    }

    #[test]
    fn nothing_and_half_of_something_are_told_apart() {
        let bytes = Builder::default().finish().unwrap();
        assert_eq!(Table::own(bytes).unwrap().directories, 0);
        let mut builder = Builder::default();
        builder.directory(Path::new("/r"), Some(1), None);
        builder.file(OsStr::new("a"), file(1));
        let bytes = builder.finish().unwrap();
        for length in 0..super::COUNTS + super::DIRECTORY + super::FILE {
            assert!(Table::own(bytes[..length].to_vec()).is_none(), "{length} bytes");
        }
    }
}
