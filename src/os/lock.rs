//! The file behind the heartbeat: created safely, locked, touched by descriptor, never through a symlink.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

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

/// An exclusively locked file at a known path.
#[derive(Debug)]
pub struct LockedFile {
    file: Flock<File>,
    identity: (u64, u64),
}

impl LockedFile {
    /// Creates the file (0600, O_EXCL, O_NOFOLLOW) and locks it. One that is left over from a dead owner is replaced:
    /// nobody holds its lock, and `is_ours` knows its first line (or it is empty).
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
                        if !line.is_empty() && !is_ours(&line) {
                            return Err(Refusal::NotOurs);
                        }
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
        futimens(self.file.as_fd(), &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
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
