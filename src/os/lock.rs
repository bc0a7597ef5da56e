//! The lockfile of the heartbeat: created safely, locked, touched by its descriptor, never through a symlink.
//!
//! The owner holds a flock(2). Each child holds a shared OFD lock on the same file, so that a new owner waits until the
//! children of a dead one have ended.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::fs::mtime_ns;
use super::memory;
use super::user::own_user;

/// Why the file cannot be locked.
#[derive(Debug)]
pub enum Refusal {
    /// Another process holds the lock; the first line of the file.
    InUse(String),
    /// The path is a symlink or not a regular file.
    NotAFile,
    /// The file exists and is not a lockfile.
    NotOurs,
    /// The system refused.
    System(io::Error),
}

/// How long a new owner waits at most for the children of a dead one. They need up to a second to end.
const LEGACY: Duration = Duration::from_secs(3);

/// An exclusively locked file at a known path.
#[derive(Debug)]
pub struct LockedFile {
    file: Flock<File>,
    identity: (u64, u64),
}

impl LockedFile {
    /// Creates the file (0600, O_EXCL, O_NOFOLLOW) and locks it. A file left over from a dead owner is replaced: its
    /// lock is free, and `is_ours` accepts its first line or it is empty. Children of the dead owner are waited for, up
    /// to 3 s.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn create(path: &Path, is_ours: fn(&str) -> bool) -> Result<LockedFile, Refusal> {
        // A round fails only if another process creates or replaces the file in the same moment, so a few rounds are
        // enough.
        for _ in 0..16 {
            match open(path, true) {
                Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(file) if identity_at(path) == identity_of(&file) => {
                        let identity = identity_of(&file).ok_or(Refusal::NotAFile)?;
                        return Ok(LockedFile { file, identity });
                    }
                    Ok(_) | Err((_, Errno::EWOULDBLOCK)) => continue,
                    Err((_, errno)) => return Err(Refusal::System(errno.into())),
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Refusal::System(error)),
            }
            match open(path, false) {
                Ok(file) if !file.metadata().is_ok_and(|metadata| metadata.is_file()) => return Err(Refusal::NotAFile),
                Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    // A leftover file. It stays locked while it is removed, so no other process can take it over.
                    Ok(stale) if identity_at(path) == identity_of(&stale) => {
                        let line = first_line(&stale);
                        if !is_empty_or(&line, is_ours) {
                            return Err(Refusal::NotOurs);
                        }
                        await_shares(&stale);
                        let _ = std::fs::remove_file(path);
                    }
                    Ok(_) => {}
                    Err((file, Errno::EWOULDBLOCK)) => return Err(Refusal::InUse(first_line(&file))),
                    Err((_, errno)) => return Err(Refusal::System(errno.into())),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Err(Refusal::NotAFile),
                Err(error) => return Err(Refusal::System(error)),
            }
        }
        Err(Refusal::System(io::Error::other("other processes keep creating and removing it")))
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// ENOSPC on a full disk. The lock and the heartbeat work without the content.
    pub fn write(&self, content: &str) -> io::Result<()> {
        self.file.write_all_at(content.as_bytes(), 0)?;
        self.file.set_len(content.len() as u64)
    }

    /// Sets the modification time to now. Needs no space on the disk.
    ///
    /// # Errors
    /// EROFS when the file system has become read-only.
    pub fn touch(&self) -> Result<(), Errno> {
        touch(self.file.as_fd())
    }

    /// Another descriptor for the file. It shares the lock.
    ///
    /// # Errors
    /// EMFILE.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Whether the path still names this file.
    pub fn is_at(&self, path: &Path) -> bool {
        identity_at(path) == Some(self.identity)
    }

    /// Removes the file, if the path still names it.
    pub fn remove(&self, path: &Path) {
        if self.is_at(path) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes leftover lockfiles of dead owners: regular files of this user with mode 0600 and one link, not locked, and
/// with a first line that `is_ours` accepts, or empty because their owner died early. A process that is about to lock
/// such a file finds that the path no longer names it, and tries again.
pub fn remove_dead(candidates: impl IntoIterator<Item = PathBuf>, is_ours: fn(&str) -> bool) {
    for path in candidates {
        let Ok(file) = open(&path, false) else { continue };
        let as_we_make_them = |metadata: &Metadata| {
            metadata.is_file()
                && metadata.uid() == own_user()
                && metadata.mode() & 0o7777 == 0o600
                && metadata.nlink() == 1
        };
        if !file.metadata().is_ok_and(|metadata| as_we_make_them(&metadata)) {
            continue;
        }
        if let Ok(dead) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            && identity_at(&path) == identity_of(&dead)
            && is_empty_or(&first_line(&dead), is_ours)
            && whole(&dead).is_ok()
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn is_empty_or(line: &str, is_ours: fn(&str) -> bool) -> bool {
    line.is_empty() || is_ours(line)
}

/// The child's access to the heartbeat file. While it is open, a new owner of the lockfile waits. The command does not
/// inherit it.
#[derive(Debug)]
pub struct Felt(File);

impl Felt {
    /// Opens the file at `path` and takes the shared lock.
    pub fn at(path: &Path) -> Option<Felt> {
        let file = open(path, false).ok()?;
        // An OFD lock belongs to the descriptor and is independent of the owner's flock(2). On a file system without
        // such locks, a new owner does not wait.
        let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&region(libc::F_RDLCK)));
        Some(Felt(file))
    }

    /// Uses a file that is open already, without a lock.
    pub fn of(descriptor: OwnedFd) -> Felt {
        Felt(File::from(descriptor))
    }

    /// The modification time, nanoseconds since the epoch; also works after the file was removed.
    pub fn beat(&self) -> Option<i64> {
        self.0.metadata().ok().map(|metadata| mtime_ns(&metadata))
    }
}

/// A file in memory without a name (memfd).
#[derive(Debug)]
pub struct Memory(OwnedFd);

impl Memory {
    /// Creates an empty file.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Memory, Errno> {
        memory::create(c"reloadrun heartbeat").map(Memory)
    }

    /// Sets the modification time to now.
    ///
    /// # Errors
    /// None known.
    pub fn touch(&self) -> Result<(), Errno> {
        touch(&self.0)
    }

    /// Another descriptor for the same file.
    ///
    /// # Errors
    /// EMFILE.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

fn touch(file: impl AsFd) -> Result<(), Errno> {
    futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
}

/// A random number from the kernel; `None` if it has none.
pub fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is ours, and 16 bytes long.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    (usize::try_from(count) == Ok(bytes.len())).then(|| u128::from_ne_bytes(bytes))
}

/// Waits until no child of a dead owner holds the shared lock, at most `LEGACY`.
fn await_shares(file: &File) {
    let until = Instant::now() + LEGACY;
    while matches!(whole(file), Err(Errno::EAGAIN | Errno::EACCES)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Takes the exclusive OFD lock, which fails while a child holds the shared one.
fn whole(file: &File) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&region(libc::F_WRLCK))).map(drop)
}

fn region(kind: i32) -> libc::flock {
    libc::flock {
        // Both constants fit: they are 0 and 1.
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO at this path must not block.
    File::options()
        .read(true)
        .write(true)
        .create_new(create)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
}

fn identity_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn identity_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn first_line(file: &File) -> String {
    let mut buffer = [0; 4096];
    let count = file.read_at(&mut buffer, 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).lines().next().unwrap_or_default().to_owned()
}
