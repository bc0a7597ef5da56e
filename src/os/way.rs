//! The way to a file, step by step: what is opened, and who owns the symlinks that led there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat};

use super::fs::FileId;
use super::user::UserId;

/// As many symlinks as the kernel follows.
const MOST_LINKS: usize = 40;

/// A file that was opened, and how it was come by. Everything in it was asked of open descriptors, never of a name, so
/// that nobody can exchange the file between the question and the reading.
#[derive(Debug)]
pub struct Way {
    /// The file; the error is that of the attempt to read it.
    pub file: io::Result<File>,
    /// Who owns it.
    pub owner: UserId,
    /// Its permissions.
    pub mode: u32,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Who owns the symlinks that led to it.
    pub link_owners: Vec<UserId>,
    /// The directories that hold the file, and each of these symlinks.
    pub places: Vec<Place>,
}

/// A directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which one it is.
    pub id: FileId,
    /// Its permissions.
    pub mode: u32,
}

impl Way {
    /// Goes to the file at an absolute path.
    ///
    /// # Errors
    /// It is not there, or what leads there cannot be passed.
    pub fn to(path: &Path) -> io::Result<Way> {
        let root = || openat_nothing("/");
        let mut directory = root()?;
        let mut ahead: VecDeque<OsString> = VecDeque::new();
        push_front(&mut ahead, path);
        let (mut link_owners, mut places) = (Vec::new(), Vec::new());
        while let Some(name) = ahead.pop_front() {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let next = openat(&directory, name.as_os_str(), flags, Mode::empty())?;
            let seen = fstat(&next)?;
            if kind(&seen) == libc::S_IFLNK {
                if link_owners.len() == MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                link_owners.push(seen.st_uid);
                places.push(place(&directory)?);
                let target = PathBuf::from(readlinkat(&next, "")?);
                if target.is_absolute() {
                    directory = root()?;
                }
                push_front(&mut ahead, &target);
            } else if ahead.is_empty() {
                places.push(place(&directory)?);
                let file = open(&directory, &name, &seen);
                let (owner, mode) = (seen.st_uid, seen.st_mode & 0o7777);
                return Ok(Way { file, owner, mode, is_file: kind(&seen) == libc::S_IFREG, link_owners, places });
            } else {
                directory = next;
            }
        }
        Err(Errno::EISDIR.into())
    }
}

/// Opens for reading what was seen at this name a moment ago, and nothing else that may be there now.
fn open(directory: &OwnedFd, name: &OsString, seen: &FileStat) -> io::Result<File> {
    // O_NONBLOCK: a FIFO that somebody puts there must not hold us up.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(directory, name.as_os_str(), flags, Mode::empty())?;
    let opened = fstat(&file)?;
    // The owner too: it may have been given away since.
    let of = |stat: &FileStat| (stat.st_dev, stat.st_ino, stat.st_uid, stat.st_mode);
    if of(&opened) != of(seen) {
        return Err(io::Error::other("it was exchanged while it was opened"));
    }
    Ok(File::from(file))
}

fn openat_nothing(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(io::Error::from)
}

fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => ahead.push_front(name.to_owned()),
            Component::ParentDir => ahead.push_front("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

fn kind(stat: &FileStat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

fn place(directory: impl AsFd) -> io::Result<Place> {
    let stat = fstat(directory)?;
    // The types of these fields differ from one architecture to another.
    #[allow(clippy::useless_conversion)]
    let id = FileId { device: u64::from(stat.st_dev), inode: u64::from(stat.st_ino) };
    Ok(Place { id, mode: stat.st_mode & 0o7777 })
}

#[cfg(test)]
mod tests {
    use super::Way;
    use crate::os::fs::FileId;
    use crate::os::user::own_user;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_way_leads_through_every_symlink_and_names_where_they_lie() {
        let directory = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(directory.path()).unwrap();
        for name in ["a", "b", "b/c"] {
            std::fs::create_dir(top.join(name)).unwrap();
        }
        std::fs::write(top.join("b/c/file"), "text").unwrap();
        symlink("../hop/file", top.join("a/link")).unwrap();
        symlink(top.join("b/./c"), top.join("hop")).unwrap();
        let mut way = Way::to(&top.join("a/link")).unwrap();
        let mut text = String::new();
        way.file.as_mut().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), way.owner, way.is_file), ("text", own_user(), true));
        assert_eq!(way.link_owners, [own_user(); 2]);
        let places: Vec<_> = way.places.iter().map(|place| Some(place.id)).collect();
        assert_eq!(places, ["a", ".", "b/c"].map(|name| FileId::of(&top.join(name))));
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        symlink("round", directory.path().join("round")).unwrap();
        for name in ["round", "absent", "round/x", "absent/x"] {
            assert!(Way::to(&directory.path().join(name)).is_err(), "{name}");
        }
        assert!(Way::to(std::path::Path::new("/")).is_err());
        assert!(!Way::to(directory.path()).unwrap().is_file);
    }
}
