//! What watching stands on: the directories from which it begins. A rename far above one of them, or a mount over it,
//! is told to nobody who watches only the directory itself; its path then leads elsewhere without a word.
//!
//! So each is looked at once an interval, with the heartbeat's wake-up and at the price of one stat(2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The places for the next child. Paths are stored as `OsString`, because they need not be UTF-8.
pub type Kept = Vec<(OsString, (u64, u64))>;

/// The directories, and which inode each was.
#[derive(Debug)]
pub struct Footing {
    places: BTreeMap<PathBuf, (u64, u64)>,
    interval: Duration,
    next: Instant,
}

impl Footing {
    /// None yet.
    pub fn new(interval: Duration) -> Footing {
        Footing { places: BTreeMap::new(), interval, next: Instant::now() + interval }
    }

    /// The places as the child before knew them.
    pub fn resume(kept: Kept, interval: Duration) -> Footing {
        let places = kept.into_iter().map(|(path, inode)| (path.into(), inode)).collect();
        Footing { places, ..Footing::new(interval) }
    }

    /// What the next child is to resume.
    pub fn keep(&self) -> Kept {
        self.places.iter().map(|(path, inode)| (path.clone().into_os_string(), *inode)).collect()
    }

    /// Watching begins from this directory, as it is now.
    pub fn stand_on(&mut self, directory: &Path) {
        if let Some(inode) = inode(directory) {
            self.places.insert(directory.to_owned(), inode);
        }
    }

    /// The directories whose path leads elsewhere or nowhere by now; they are forgotten. Looks once an interval at the
    /// most.
    pub fn lost(&mut self, now: Instant) -> Vec<PathBuf> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now + self.interval;
        let lost: Vec<PathBuf> = self
            .places
            .iter()
            .filter(|(path, known)| inode(path) != Some(**known))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &lost {
            self.places.remove(path);
        }
        lost
    }
}

fn inode(directory: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::Footing;
    use std::fs;
    use std::time::{Duration, Instant};

    #[test]
    fn a_rename_far_above_is_found_out_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b/c");
        fs::create_dir_all(&root).unwrap();
        let interval = Duration::from_secs(1);
        let mut footing = Footing::new(interval);
        footing.stand_on(&root);
        footing.stand_on(directory.path());
        fs::rename(directory.path().join("a"), directory.path().join("z")).unwrap();
        let now = Instant::now();
        assert!(footing.lost(now).is_empty(), "too early");
        assert_eq!(footing.lost(now + interval), [root]);
        assert!(footing.lost(now + interval * 2).is_empty());
    }
}
