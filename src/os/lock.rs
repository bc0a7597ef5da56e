//! The file behind the heartbeat: created safely, locked, touched by descriptor, never through a symlink.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::fs::mtime_ns;
use super::user::own_user;

/// Why the lock cannot be had.
#[derive(Debug)]
pub enum Refusal {
    /// Somebody holds it; what the file says of them.
    InUse(String),
    /// The path is a symlink or something else that is no regular file.
    NotAFile,
    /// Somebody else's file is there.
    NotOurs,
    /// The system refused.
    System(io::Error),
}

/// So long a new owner waits at the most for those whom the dead one left: they have a second to end.
const LEGACY: Duration = Duration::from_secs(3);

/// An exclusively locked file at a known path.
#[derive(Debug)]
pub struct LockedFile {
    file: Flock<File>,
    identity: (u64, u64),
}

impl LockedFile {
    /// Creates the file (0600, O_EXCL, O_NOFOLLOW) and locks it. One that is left over from a dead owner is replaced:
    /// nobody holds its lock, and `is_ours` knows its first line (or it is empty). Whoever still shares in it is waited
    /// for, bounded.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn create(path: &Path, is_ours: fn(&str) -> bool) -> Result<LockedFile, Refusal> {
        // Each round loses to another process that creates or replaces in the same moment; nobody loses for long.
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
                    // Held by nobody: left over. Locked by us while we unlink it, so nobody else takes it for free.
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
        Err(Refusal::System(io::Error::other("it is created and removed again and again by others")))
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// ENOSPC on a full disk; the lock and the heartbeat do not need the content.
    pub fn write(&self, content: &str) -> io::Result<()> {
        self.file.write_all_at(content.as_bytes(), 0)?;
        self.file.set_len(content.len() as u64)
    }

    /// Sets the modification time to now. Needs no space on the disk.
    ///
    /// # Errors
    /// The system's: a file system that has become read-only.
    pub fn touch(&self) -> Result<(), Errno> {
        touch(self.file.as_fd())
    }

    /// One more descriptor for it, which holds the lock as well.
    ///
    /// # Errors
    /// EMFILE.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Whether this very file is still what the path names.
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

/// Removes those of these files whose owner is dead, and with whom nobody shares: they are of the kind that we make, and
/// `is_ours` knows their first line, or they are empty, since their owner died early. Whoever is about to lock one of them
/// finds that its path names it no more, and begins again.
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

/// A file whose modification time is felt. As long as it lives, a new owner of that lockfile waits. The command never
/// holds it.
#[derive(Debug)]
pub struct Felt(File);

impl Felt {
    /// Takes part in the file at `path`.
    pub fn at(path: &Path) -> Option<Felt> {
        let file = open(path, false).ok()?;
        // An OFD lock: it goes with the descriptor, and has nothing to do with flock(2), which is the owner's. A file
        // system that knows no such locks has nobody wait.
        let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&region(libc::F_RDLCK)));
        Some(Felt(file))
    }

    /// What is open here.
    pub fn of(descriptor: OwnedFd) -> Felt {
        Felt(File::from(descriptor))
    }

    /// When it was last touched, nanoseconds since the epoch. That it has lost its name does not matter.
    pub fn beat(&self) -> Option<i64> {
        self.0.metadata().ok().map(|metadata| mtime_ns(&metadata))
    }
}

/// A file without a name, in memory.
#[derive(Debug)]
pub struct Memory(OwnedFd);

impl Memory {
    /// An empty one.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Memory, Errno> {
        memfd_create(c"reloadrun heartbeat", MFdFlags::MFD_CLOEXEC).map(Memory)
    }

    /// Sets the modification time to now.
    ///
    /// # Errors
    /// None that is known.
    pub fn touch(&self) -> Result<(), Errno> {
        touch(&self.0)
    }

    /// One more descriptor for it.
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

/// A number that nobody can guess; `None` where the kernel has none to give.
pub fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is ours, and 16 bytes long.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    (usize::try_from(count) == Ok(bytes.len())).then(|| u128::from_ne_bytes(bytes))
}

/// Waits for those who share in this file.
fn await_shares(file: &File) {
    let until = Instant::now() + LEGACY;
    while matches!(whole(file), Err(Errno::EAGAIN | Errno::EACCES)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nobody shares in it, and nobody will.
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
    // O_NONBLOCK: a FIFO somebody put there must not hold us up.
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
