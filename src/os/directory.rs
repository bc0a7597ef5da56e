//! Access to files by open directories, so that no other process can insert a symlink between a look and a removal.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::UnlinkatFlags;

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory(Dir);

impl Directory {
    /// Opens a directory; symlinks in the path are followed. `None` if it does not exist or cannot be read.
    pub fn open(path: &Path) -> Option<Directory> {
        Dir::open(path, FLAGS, Mode::empty()).ok().map(Directory)
    }

    /// Opens the subdirectory of this name; `None` also for a symlink.
    pub fn enter(&self, name: &OsStr) -> Option<Directory> {
        Dir::openat(&self.0, name, FLAGS | OFlag::O_NOFOLLOW, Mode::empty()).ok().map(Directory)
    }

    /// The names of the regular files in it.
    pub fn files(&mut self) -> Vec<OsString> {
        let mut names = Vec::new();
        let mut unknown = Vec::new();
        for entry in self.0.iter().flatten() {
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            match entry.file_type() {
                Some(Type::File) => names.push(name),
                Some(_) => {}
                // Some file systems do not report the type in the listing.
                None => unknown.push(name),
            }
        }
        names.extend(unknown.into_iter().filter(|name| self.is_file(name)));
        names
    }

    fn is_file(&self, name: &OsStr) -> bool {
        let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        let kind = nix::sys::stat::fstatat(self.0.as_fd(), name.as_bytes(), flags).map(|stat| stat.st_mode);
        kind.is_ok_and(|mode| mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits())
    }

    /// Removes the entry of this name, a symlink itself and not its target; false if that failed.
    pub fn remove(&self, name: &OsStr) -> bool {
        nix::unistd::unlinkat(self.0.as_fd(), name.as_bytes(), UnlinkatFlags::NoRemoveDir).is_ok()
    }
}
