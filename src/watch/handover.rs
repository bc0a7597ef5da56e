//! What one child leaves to the next: how every file looked when it let go, in a file in memory.
//!
//! Of a large tree only a part is armed before the command starts. What was saved before the rest is armed, a file
//! tells by itself; that it is gone, or that its directory has moved, only those can tell who knew it before.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::snapshot::{Digest, Directory, File, Memory, Snapshot};
use crate::change::Stamp;
use crate::os::memory as memory_file;

/// So much is written at once.
const CHUNK: usize = 64 * 1024;

/// The last word: nothing is missing. A stream that was cut off does not have it.
const ALL_TOLD: &[u8] = b"all told";

/// A directory, its inode and its files.
type Record = (OsString, u64, Vec<(OsString, Stamp, Option<Digest>)>);

/// Writes everything, and says whether it is whole. What this child does not know yet is written as the child before wrote
/// it; what would not be whole is not written.
pub fn give(snapshot: &Snapshot, to: &OwnedFd) -> bool {
    if snapshot.is_complete() {
        return write(snapshot, to).is_ok();
    }
    let Some(mut before) = snapshot.inherited().and_then(|bytes| understand(&bytes)) else {
        // The next child must not take what an earlier one left for the word of this one.
        let _ = memory_file::clear(to);
        return false;
    };
    snapshot.directories().for_each(|(path, directory)| before.take_in(path.to_owned(), directory.clone()));
    before.memory = snapshot.memory.clone();
    write(&before, to).is_ok()
}

fn write(snapshot: &Snapshot, to: &OwnedFd) -> io::Result<()> {
    memory_file::clear(to)?;
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        let at = written;
        written += bytes.len() as u64;
        memory_file::write_at(to, bytes, at)
    };
    let bytes = Vec::with_capacity(CHUNK * 2);
    let mut bytes = postcard::to_extend(&snapshot.memory, bytes).map_err(io::Error::other)?;
    for (path, directory) in snapshot.directories() {
        let files: Vec<(&OsStr, &Stamp, &Option<Digest>)> =
            directory.files.iter().map(|(name, file)| (&**name, &file.stamp, &file.digest)).collect();
        bytes = postcard::to_extend(&(path.as_os_str(), directory.inode, files), bytes).map_err(io::Error::other)?;
        if bytes.len() >= CHUNK {
            put(&bytes)?;
            bytes.clear();
        }
    }
    bytes.extend_from_slice(ALL_TOLD);
    put(&bytes)
}

/// What was left to us, as it came, if it is whole.
pub fn receive(from: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = memory_file::read(from).ok()?;
    let length = bytes.strip_suffix(ALL_TOLD)?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// What it says beside how the files look, without reading all that.
pub fn memory(bytes: &[u8]) -> Memory {
    postcard::take_from_bytes(bytes).map(|(memory, _)| memory).unwrap_or_default()
}

/// What that means.
pub fn understand(bytes: &[u8]) -> Option<Snapshot> {
    let (memory, mut bytes): (Memory, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
    let mut snapshot = Snapshot::default();
    snapshot.memory = memory;
    while !bytes.is_empty() {
        let ((path, inode, files), rest): (Record, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
        let file = |(name, stamp, digest): (OsString, _, _)| (name.into_boxed_os_str(), File { stamp, digest });
        let files = files.into_iter().map(file).collect();
        snapshot.take_in(PathBuf::from(path), Directory { inode, files });
        bytes = rest;
    }
    Some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::{give, receive, understand};
    use crate::change::Stamp;
    use crate::os;
    use crate::watch::snapshot::Snapshot;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    fn snapshot(files: usize) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for number in 0..files {
            let path = Path::new("/r").join(format!("d{}/f{number}.py", number / 10));
            snapshot.set(&path, Some(Stamp { mtime_ns: -5, size: u64::MAX, inode: number as u64, born_ns: 7 }));
        }
        let digest = 77.try_into().unwrap();
        snapshot.memory.clocks.insert(3, -4);
        snapshot.memory.known.insert(PathBuf::from("/r/x.py"), crate::change::Look::ABSENT);
        snapshot.add_digest(Path::new("/r/d0/f0.py"), snapshot.get(Path::new("/r/d0/f0.py")).unwrap(), digest);
        snapshot.set(&PathBuf::from(OsStr::from_bytes(b"/r/\xff.py")), Some(Stamp::UNKNOWN));
        snapshot
    }

    fn handed_over(snapshot: &Snapshot) -> Option<Vec<u8>> {
        let memory = os::memory::create(c"test").unwrap();
        let whole = give(snapshot, &memory);
        let received = receive(&memory);
        assert_eq!(received.is_some(), whole);
        received
    }

    #[test]
    fn what_is_left_arrives_whole() {
        let mut left = snapshot(20_000);
        left.complete();
        let arrived = understand(&handed_over(&left).unwrap()).unwrap();
        assert!(left.directories().eq(arrived.directories()));
        assert_eq!(left.memory, arrived.memory);
    }

    #[test]
    fn what_is_not_known_yet_is_told_as_it_was_told_to_us() {
        let mut first = snapshot(30);
        first.complete();
        let mut second = Snapshot::default();
        second.inherit(handed_over(&first).unwrap());
        let (path, stamp) = (Path::new("/r/d1/f10.py"), Some(Stamp { mtime_ns: 1, size: 1, inode: 1, born_ns: 0 }));
        second.set(path, stamp);
        let third = understand(&handed_over(&second).unwrap()).unwrap();
        assert_eq!((third.get(path), third.get(Path::new("/r/d1/f11.py"))), (stamp, None), "the newer word counts");
        assert_eq!(third.directory(Path::new("/r/d2")), first.directory(Path::new("/r/d2")));
    }

    #[test]
    fn half_of_it_is_worse_than_nothing() {
        assert!(handed_over(&snapshot(10)).is_none(), "not everything was known");
        let mut left = snapshot(1000);
        left.complete();
        let bytes = [handed_over(&left).unwrap(), b"all told".to_vec()].concat();
        for length in (0..bytes.len()).step_by(97) {
            let memory = os::memory::create(c"test").unwrap();
            os::memory::write_at(&memory, &bytes[..length], 0).unwrap();
            assert!(receive(&memory).is_none(), "cut off after {length} bytes");
        }
    }
}
