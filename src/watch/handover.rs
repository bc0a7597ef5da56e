//! What one child leaves to the next, in a file in memory that the supervisor keeps and never looks into.
//!
//! ```text
//! header   a magic word; whether all of it is whole; where the table is, where the rest is
//! table    how every file looked and which watch each directory has: written once, mapped by the next child
//! rest     what differs from the table by now, and everything else that the next child must know
//! ```
//!
//! At the end of a child only the rest is written, so that a restart in a large tree costs what it costs in a small one. A
//! new table is written, behind the old one, when too much differs from it. Exactly one child at a time has the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::footing;
use super::hops;
use super::mounts;
use super::snapshot::{self, Difference, Digest};
use super::start::Memory;
use super::table::Table;
use crate::change::Stamp;
use crate::discover;
use crate::ignore_files;
use crate::os::map::{Map, PAGE, release};
use crate::settle::Progress;

/// The first word of the file, with the version of what follows. Both sides are the same program, so it only tells a file
/// that was written from an empty one.
const MAGIC: u64 = u64::from_be_bytes(*b"reload 1");

/// The header: six numbers.
const HEADER: usize = 48;

/// A file that differs from the table: its name and how it looks, `None` if it is gone.
type KeptFile = (OsString, Option<(Stamp, Option<Digest>)>);

/// Everything but the table. Paths are stored as `OsString`, because they need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    differences: Vec<(OsString, Option<u64>, Vec<KeptFile>)>,
    /// The directories.
    pub coverage: KeptCoverage,
    /// Clocks, and the latest changes.
    pub memory: Memory,
    /// Until when all notices were taken in, and when directories were last listed.
    pub rule_clock: (i64, i64),
    /// Changes that did not pass.
    pending: Vec<(OsString, Progress)>,
    /// The ignore files; `None` with `--no-ignore`.
    pub rules: Option<ignore_files::Kept>,
    /// What the command reads and writes; `None` if it is not to be traced.
    pub discovered: Option<discover::Kept>,
}

/// What the next child must know of the directories. Paths are stored as `OsString`, because they need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCoverage {
    pub watches: Vec<(OsString, Option<i32>)>,
    pub polled: Vec<OsString>,
    pub hops: hops::Kept,
    pub footing: footing::Kept,
    pub mounts: mounts::Kept,
}

impl KeptCoverage {
    /// Whether the queue has an event for every change, so that nothing is polled.
    pub fn is_told(&self) -> bool {
        self.polled.is_empty()
    }
}

impl Rest {
    /// Notes what differs from the table.
    pub fn set_differences(&mut self, differences: &BTreeMap<PathBuf, Difference>) {
        let known = |file: snapshot::File| (file.stamp, file.digest);
        let directory = |(path, difference): (&PathBuf, &Difference)| {
            let files = difference.files.iter().map(|(name, file)| (name.to_os_string(), file.map(known)));
            (path.clone().into_os_string(), difference.inode, files.collect())
        };
        self.differences = differences.iter().map(directory).collect();
    }

    /// What differs from the table.
    pub fn take_differences(&mut self) -> BTreeMap<PathBuf, Difference> {
        let file = |(name, file): KeptFile| {
            (name.into_boxed_os_str(), file.map(|(stamp, digest)| snapshot::File { stamp, digest }))
        };
        let directory = |(path, inode, files): (OsString, _, Vec<KeptFile>)| {
            (PathBuf::from(path), Difference { inode, files: files.into_iter().map(file).collect() })
        };
        std::mem::take(&mut self.differences).into_iter().map(directory).collect()
    }

    /// Notes the changes that did not pass.
    pub fn set_pending<'a>(&mut self, pending: impl Iterator<Item = (&'a Path, Progress)>) {
        self.pending = pending.map(|(path, progress)| (path.as_os_str().to_owned(), progress)).collect();
    }

    /// The changes that did not pass.
    pub fn take_pending(&mut self) -> Vec<(PathBuf, Progress)> {
        std::mem::take(&mut self.pending).into_iter().map(|(path, progress)| (path.into(), progress)).collect()
    }
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    at: u64,
    length: u64,
}

impl Part {
    /// Where the next part can begin.
    fn end(self) -> u64 {
        (self.at + self.length).next_multiple_of(PAGE)
    }
}

/// The file, in the hands of the one child that may use it.
#[derive(Debug)]
pub struct Handover {
    memory: File,
    /// The table that is in use; `None` as long as none is in the file.
    table: Option<Part>,
    current: Weak<Table>,
    /// Tables that were replaced, while somebody may still look at them.
    former: Vec<(Weak<Table>, Part)>,
    /// Where the next table goes.
    free: u64,
}

impl Handover {
    /// Takes the file, with what the child before has left in it. From here on it is no longer whole.
    pub fn open(memory: OwnedFd) -> (Handover, Option<(Arc<Table>, Rest)>) {
        let mut handover =
            Handover { memory: memory.into(), table: None, current: Weak::new(), former: Vec::new(), free: PAGE };
        let left = handover.read();
        if let Some((table, _)) = &left {
            handover.current = Arc::downgrade(table);
        }
        (handover, left)
    }

    fn read(&mut self) -> Option<(Arc<Table>, Rest)> {
        let mut header = [0; HEADER];
        self.memory.read_exact_at(&mut header, 0).ok()?;
        let mut numbers =
            header.chunks_exact(8).filter_map(|part| part.first_chunk()).map(|part| u64::from_ne_bytes(*part));
        let mut next = || numbers.next().unwrap_or(0);
        if next() != MAGIC || next() != 1 {
            return None;
        }
        let part = Part { at: next(), length: next() };
        let (at, length) = (next(), next());
        self.write_header(false, part, Part { at, length }).ok()?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.memory.read_exact_at(&mut bytes, at).ok()?;
        let rest = postcard::from_bytes(&bytes).ok()?;
        let table = Table::mapped(Map::of(&self.memory, part.at, part.length).ok()?)?;
        self.table = Some(part);
        self.free = part.end();
        Some((Arc::new(table), rest))
    }

    fn write_header(&self, whole: bool, table: Part, rest: Part) -> io::Result<()> {
        let numbers = [MAGIC, u64::from(whole), table.at, table.length, rest.at, rest.length];
        self.memory.write_all_at(&numbers.map(u64::to_ne_bytes).concat(), 0)
    }

    /// Writes a table and gives it back, mapped. Where that cannot be, it stays in the memory of this process, and nothing
    /// can be left to the next one.
    pub fn write_table(&mut self, bytes: Vec<u8>) -> Option<Arc<Table>> {
        self.release_former();
        let part = Part { at: self.free, length: bytes.len() as u64 };
        self.free = part.end();
        let mapped = || {
            self.memory.write_all_at(&bytes, part.at).ok()?;
            Table::mapped(Map::of(&self.memory, part.at, part.length).ok()?)
        };
        let (table, mapped) = match mapped() {
            Some(table) => (Arc::new(table), Some(part)),
            None => (Arc::new(Table::own(bytes)?), None),
        };
        if let Some(former) = std::mem::replace(&mut self.table, mapped) {
            self.former.push((std::mem::take(&mut self.current), former));
        }
        self.current = Arc::downgrade(&table);
        Some(table)
    }

    /// Gives the memory of tables back that were replaced and that nobody looks at any more.
    pub fn release_former(&mut self) {
        for (_, part) in self.former.extract_if(.., |(table, _)| table.strong_count() == 0) {
            release(&self.memory, part.at, part.length);
        }
    }

    /// What the table says is told anew by this child, in another one: the differences that it will leave are none from this.
    pub fn give_up_table(&mut self) {
        self.former.extend(self.table.take().map(|table| (std::mem::take(&mut self.current), table)));
    }

    /// Whether there is a table that the next child can map.
    pub fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// Leaves everything to the next child; says whether all of it is there.
    pub fn leave(&self, rest: &Rest) -> bool {
        let (Some(table), Ok(bytes)) = (self.table, postcard::to_stdvec(rest)) else { return false };
        let part = Part { at: self.free, length: bytes.len() as u64 };
        let written = self.memory.write_all_at(&bytes, part.at);
        written.and_then(|()| self.write_header(true, table, part)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Handover, Rest};
    use crate::change::{Look, Stamp};
    use crate::os::memory::create;
    use crate::settle::Progress;
    use crate::watch::snapshot::Snapshot;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    fn stamp(number: u64) -> Stamp {
        Stamp { mtime_ns: -5, size: u64::MAX, inode: number, born_ns: 7 }
    }

    fn snapshot(files: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for number in 0..files {
            let path = Path::new("/r").join(format!("d{}/f{number}.py", number / 10));
            snapshot.set_with_digest(&path, stamp(number), (number + 1).try_into().unwrap());
        }
        snapshot.set(&PathBuf::from(OsStr::from_bytes(b"/r/\xff/\xff.py")), Some(Stamp::UNKNOWN));
        snapshot
    }

    fn odd_rest() -> Rest {
        let mut rest = Rest::default();
        let odd = OsStr::from_bytes(b"/r/\xff.py");
        rest.memory.clocks.insert(3, -4);
        rest.memory.known.push((odd.to_owned(), Look::ABSENT));
        rest.set_pending([(Path::new(odd), Progress::Open)].into_iter());
        rest
    }

    #[test]
    fn what_is_left_arrives_whole_through_many_children() {
        let memory = create(c"test").unwrap();
        let (mut handover, left) = Handover::open(memory.try_clone().unwrap());
        assert!(left.is_none(), "the first child finds nothing");
        let mut expected = snapshot(3000);
        assert!(handover.write_table(expected.to_table(std::iter::empty(), |_| true).unwrap()).is_some());
        assert!(handover.leave(&odd_rest()));
        for child in 0..20 {
            let (mut handover, left) = Handover::open(memory.try_clone().unwrap());
            let (table, mut rest) = left.unwrap();
            assert!(Handover::open(memory.try_clone().unwrap()).1.is_none(), "it is in use");
            let mut arrived = Snapshot::resume(table, rest.take_differences());
            assert!(expected.differing(&arrived).is_empty() && expected.len() == arrived.len());
            assert_eq!(rest.take_pending(), odd_rest().take_pending());
            assert_eq!(rest.memory, odd_rest().memory);
            let path = Path::new("/r/new").join(format!("{child}.py"));
            [&mut expected, &mut arrived].into_iter().for_each(|snapshot| {
                snapshot.set(&path, Some(stamp(child)));
                snapshot.set(&Path::new("/r").join(format!("d{child}/f{}.py", child * 10)), None);
            });
            if child % 3 == 0 {
                let table = handover.write_table(arrived.to_table(std::iter::empty(), |_| true).unwrap()).unwrap();
                arrived.rebase(table);
                assert_eq!(arrived.weight(), 0);
                handover.release_former();
            }
            let mut rest = odd_rest();
            rest.set_differences(arrived.differences());
            assert!(handover.leave(&rest));
        }
    }

    #[test]
    fn a_table_that_was_replaced_stays_readable_as_long_as_somebody_looks_at_it() {
        let (mut handover, _) = Handover::open(create(c"test").unwrap());
        let write = |handover: &mut Handover, files| {
            handover.write_table(snapshot(files).to_table(std::iter::empty(), |_| true).unwrap()).unwrap()
        };
        let first = write(&mut handover, 500);
        let second = write(&mut handover, 10);
        handover.release_former();
        assert!(Snapshot::resume(Arc::clone(&first), BTreeMap::new()).differing(&snapshot(500)).is_empty());
        drop(first);
        handover.release_former();
        assert!(Snapshot::resume(second, BTreeMap::new()).differing(&snapshot(10)).is_empty());
    }

    #[test]
    fn a_child_that_has_written_no_table_leaves_nothing() {
        let memory = create(c"test").unwrap();
        let (handover, _) = Handover::open(memory.try_clone().unwrap());
        assert!(!handover.leave(&odd_rest()));
        assert!(Handover::open(memory).1.is_none());
    }
}
