//! Opens a file by walking its path (the *way*) step by step, and records the owners of the symlinks in it.

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

/// The most symlinks followed, the same as in the kernel.
const MOST_LINKS: usize = 40;

/// An opened file and the facts about its path. All facts come from open descriptors, not from names, so no other
/// process can replace the file between the check and the read.
#[derive(Debug)]
pub struct Way {
    /// The file, or the error of opening it for reading.
    pub file: io::Result<File>,
    /// Its owner.
    pub owner: UserId,
    /// Its mode bits (permissions, set-uid, set-gid, sticky).
    pub mode: u32,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// The owners of the symlinks in the path.
    pub link_owners: Vec<UserId>,
    /// The directories that contain the file and each of these symlinks.
    pub places: Vec<Place>,
}

/// A directory that contains the file or a symlink on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its identity.
    pub id: FileId,
    /// Its mode bits.
    pub mode: u32,
}

impl Way {
    /// Walks to the file at an absolute path.
    ///
    /// # Errors
    /// It does not exist, or a directory in the path cannot be searched.
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

/// Opens the file that was seen at this name; an error if it was replaced since.
fn open(directory: &OwnedFd, name: &OsString, seen: &FileStat) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO at this path must not block.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(directory, name.as_os_str(), flags, Mode::empty())?;
    let opened = fstat(&file)?;
    // The owner is compared too: it may have changed since.
    let of = |stat: &FileStat| (stat.st_dev, stat.st_ino, stat.st_uid, stat.st_mode);
    if of(&opened) != of(seen) {
        return Err(io::Error::other("it was replaced while it was being opened"));
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
    fn symlinks_are_followed_and_their_directories_are_recorded() {
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
    fn a_path_that_does_not_lead_to_a_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        symlink("round", directory.path().join("round")).unwrap();
        for name in ["round", "absent", "round/x", "absent/x"] {
            assert!(Way::to(&directory.path().join(name)).is_err(), "{name}");
        }
        assert!(Way::to(std::path::Path::new("/")).is_err());
        assert!(!Way::to(directory.path()).unwrap().is_file);
    }
}
