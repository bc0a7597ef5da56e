//! The files that reloadrun writes itself, and those that it and the command write through descriptors they were given.
//! Known by name, and by device and inode: one file has many names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::os::fs::FileId;

/// Files that never count.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles {
    paths: Vec<PathBuf>,
    files: Vec<FileId>,
}

impl OwnFiles {
    /// A file that is or will be there under this name.
    pub fn add_path(&mut self, path: PathBuf) {
        self.files.extend(FileId::of(&path));
        self.paths.push(path);
    }

    /// A file that is open under whatever name.
    pub fn add_file(&mut self, file: FileId) {
        self.files.push(file);
    }

    /// Whether it is one of these names.
    pub fn has_path(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| own == path)
    }

    /// Whether the file behind this name, which has this inode, is one of these files.
    pub fn has_file(&self, path: &Path, inode: u64) -> bool {
        // The number alone is known from every look; only where it is the same is the device asked for.
        self.files.iter().any(|own| own.inode == inode)
            && path.metadata().is_ok_and(|metadata| self.files.contains(&FileId { device: metadata.dev(), inode }))
    }
}
