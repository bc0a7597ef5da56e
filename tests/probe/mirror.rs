//! A read-only file system in user space that mirrors a directory without caching. Changes behind it send no events, as
//! on every FUSE file system.
//!
//! Standard input is `/dev/fuse`, opened for reading and writing; another program mounts it (`mount -i -t fuse -o
//! fd=0`) before or soon after. It ends when the mount does. The names are those of linux/fuse.h.

use std::collections::HashMap;
use std::env::ArgsOs;
use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Ended;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const ENOSYS: i32 = 38;

/// The deadline for the mount.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest request of the kernel: more than a page of payload and the header.
const REQUEST: usize = 256 * 1024;

/// The header of a request: length, opcode, unique, node, uid, gid, pid, padding.
const HEADER: usize = 40;

/// The node ID of each path. The root is 1.
struct Nodes {
    paths: Vec<PathBuf>,
    numbers: HashMap<PathBuf, u64>,
}

impl Nodes {
    fn path(&self, node: u64) -> Result<&Path, i32> {
        let index = usize::try_from(node).ok().and_then(|node| node.checked_sub(1)).ok_or(ENOENT)?;
        self.paths.get(index).map(PathBuf::as_path).ok_or(ENOENT)
    }

    fn number(&mut self, path: PathBuf) -> u64 {
        if let Some(number) = self.numbers.get(&path) {
            return *number;
        }
        self.paths.push(path.clone());
        let number = self.paths.len() as u64;
        self.numbers.insert(path, number);
        number
    }
}

/// Serves `SOURCE` on standard input until the mount is gone.
pub fn run(mut words: ArgsOs) -> Ended {
    let source = words.next().ok_or("expected the directory to show")?;
    let source = fs::canonicalize(source).map_err(|error| format!("the directory: {error}"))?;
    let device = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| format!("standard input: {error}"))?;
    let mut device = File::from(device);
    let mut nodes = Nodes { paths: Vec::new(), numbers: HashMap::new() };
    nodes.number(source);
    let mut buffer = vec![0; REQUEST];
    let patience = Instant::now() + PATIENCE;
    loop {
        let length = match device.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) => match error.raw_os_error() {
                // Not mounted yet.
                Some(EPERM) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                // A request that was withdrawn before it was read, or an interruption.
                Some(ENOENT | EINTR) => continue,
                Some(ENODEV) => return Ok(()),
                _ => return Err(format!("reading a request: {error}")),
            },
        };
        let request = &buffer[..length];
        if length < HEADER {
            return Err("a request without a header".into());
        }
        let Some(answer) = answer(request, &mut nodes) else { continue };
        let (error, payload) = match answer {
            Ok(payload) => (0, payload),
            Err(number) => (-number, Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + payload.len());
        reply.extend(u32::try_from(16 + payload.len()).unwrap_or(u32::MAX).to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(&request[8..16]);
        reply.extend(payload);
        // ENOENT: the request was interrupted.
        if let Err(error) = device.write_all(&reply)
            && !matches!(error.raw_os_error(), Some(ENOENT | ENODEV))
        {
            return Err(format!("writing an answer: {error}"));
        }
    }
}

/// The answer or the error; `None` for a request without an answer.
fn answer(request: &[u8], nodes: &mut Nodes) -> Option<Result<Vec<u8>, i32>> {
    let body = &request[HEADER..];
    let node = number(request, 16);
    Some(match short_number(request, 4) {
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return None,
        // LOOKUP
        1 => lookup(node, body, nodes),
        // GETATTR
        3 => nodes.path(node).and_then(look).map(|found| [vec![0; 16], attributes(&found)].concat()),
        // OPEN, OPENDIR: the kernel does not cache pages (FOPEN_DIRECT_IO).
        14 => Ok([0_u64.to_ne_bytes(), 1_u64.to_ne_bytes()].concat()),
        27 => Ok(vec![0; 16]),
        // READ
        15 => nodes.path(node).and_then(|path| read(path, body)),
        // STATFS
        17 => Ok(vec![0; 80]),
        // RELEASE, FLUSH, RELEASEDIR, DESTROY
        18 | 25 | 29 | 38 => Ok(Vec::new()),
        // INIT
        26 => Ok(init()),
        // READDIR
        28 => nodes.path(node).and_then(|path| list(path, body)),
        _ => Err(ENOSYS),
    })
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn short_number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Version 7.31, one page at a time, times in nanoseconds.
fn init() -> Vec<u8> {
    let mut answer = Vec::new();
    for word in [7_u32, 31, 0, 0, 0, 4096, 1] {
        answer.extend(word.to_ne_bytes());
    }
    answer.resize(64, 0);
    answer
}

fn look(path: &Path) -> Result<Metadata, i32> {
    fs::symlink_metadata(path).map_err(|error| error.raw_os_error().unwrap_or(EIO))
}

fn lookup(node: u64, body: &[u8], nodes: &mut Nodes) -> Result<Vec<u8>, i32> {
    let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
    let path = nodes.path(node)?.join(std::ffi::OsString::from_vec(name.to_vec()));
    let found = look(&path)?;
    let mut answer = nodes.number(path).to_ne_bytes().to_vec();
    // A generation, and cache times of name and attributes: zero.
    answer.resize(40, 0);
    answer.extend(attributes(&found));
    Ok(answer)
}

fn attributes(found: &Metadata) -> Vec<u8> {
    let time = |seconds: i64| seconds.cast_unsigned();
    let long =
        [found.ino(), found.size(), found.blocks(), time(found.atime()), time(found.mtime()), time(found.ctime())];
    let part = |nanoseconds: i64| u32::try_from(nanoseconds).unwrap_or(0);
    let short = [
        part(found.atime_nsec()),
        part(found.mtime_nsec()),
        part(found.ctime_nsec()),
        found.mode(),
        u32::try_from(found.nlink()).unwrap_or(1),
        found.uid(),
        found.gid(),
        0,
        4096,
        0,
    ];
    let long = long.iter().flat_map(|word| word.to_ne_bytes());
    long.chain(short.iter().flat_map(|word| word.to_ne_bytes())).collect()
}

fn read(path: &Path, body: &[u8]) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0; usize::try_from(short_number(body, 16)).unwrap_or(0)];
    let file = File::open(path).map_err(|error| error.raw_os_error().unwrap_or(EIO))?;
    let length = file.read_at(&mut bytes, number(body, 8)).map_err(|error| error.raw_os_error().unwrap_or(EIO))?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The entries from an offset on, as many as fit.
fn list(path: &Path, body: &[u8]) -> Result<Vec<u8>, i32> {
    let room = usize::try_from(short_number(body, 16)).unwrap_or(0);
    let mut entries: Vec<_> = fs::read_dir(path)
        .map_err(|error| error.raw_os_error().unwrap_or(EIO))?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    entries.sort();
    let mut answer = Vec::new();
    for (offset, name) in (1_u64..).zip(entries).skip(usize::try_from(number(body, 8)).unwrap_or(usize::MAX)) {
        let Ok(found) = look(&path.join(&name)) else { continue };
        let mut entry = [found.ino().to_ne_bytes(), offset.to_ne_bytes()].concat();
        entry.extend(u32::try_from(name.len()).unwrap_or(0).to_ne_bytes());
        // The type, as in the upper bits of the mode.
        entry.extend(((found.mode() & 0o170_000) >> 12).to_ne_bytes());
        entry.extend(name.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        if answer.len() + entry.len() > room {
            break;
        }
        answer.extend(entry);
    }
    Ok(answer)
}
