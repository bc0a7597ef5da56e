//! What watching stands on: the directories from which it begins. A rename far above one of them, or a mount over it,
//! is told to nobody who watches only the directory itself; its path then leads elsewhere without a word. Also directories
//! that are not there yet, where nobody watches because of what else happens beside them.
//!
//! So each is looked at once an interval, with the heartbeat's wake-up and at the price of one stat(2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The places for the next child. Paths are stored as `OsString`, because they need not be UTF-8.
pub type Kept = Vec<(OsString, Option<(u64, u64)>)>;

/// The directories, and which inode each was, if any.
#[derive(Debug)]
pub struct Footing {
    places: BTreeMap<PathBuf, Option<(u64, u64)>>,
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
            self.places.insert(directory.to_owned(), Some(inode));
        }
    }

    /// Something is to begin here once it is there.
    pub fn await_at(&mut self, place: &Path) {
        self.places.entry(place.to_owned()).or_insert(None);
    }

    /// The directories whose path leads elsewhere or nowhere by now, or somewhere at last; they are forgotten. Looks once an
    /// interval at the most. Those that others would tell of as well are forgotten too.
    pub fn lost(&mut self, now: Instant, is_told: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now + self.interval;
        self.places.retain(|place, _| !is_told(place));
        let lost: Vec<PathBuf> =
            self.places.iter().filter(|(path, known)| inode(path) != **known).map(|(path, _)| path.clone()).collect();
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
    use std::path::Path;
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
        let nobody = |_: &Path| false;
        assert!(footing.lost(now, nobody).is_empty(), "too early");
        assert_eq!(footing.lost(now + interval, nobody), [root]);
        assert!(footing.lost(now + interval * 2, nobody).is_empty());
    }

    #[test]
    fn a_directory_that_comes_is_found_out_once_and_one_that_others_tell_of_is_not_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let [awaited, told] = ["awaited", "told/of"].map(|name| directory.path().join(name));
        fs::create_dir_all(&told).unwrap();
        let interval = Duration::from_secs(1);
        let mut footing = Footing::new(interval);
        footing.await_at(&awaited);
        footing.stand_on(&told);
        let is_told = |place: &Path| place == told;
        let now = Instant::now();
        assert!(footing.lost(now + interval, is_told).is_empty());
        fs::create_dir(&awaited).unwrap();
        fs::rename(&told, directory.path().join("other")).unwrap();
        assert_eq!(footing.lost(now + interval * 2, is_told), [awaited]);
        assert!(footing.lost(now + interval * 3, is_told).is_empty());
    }
}
