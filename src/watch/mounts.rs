//! What is mounted: overlays and their layers, files that are mounts of their own, and mounts that come and go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::os;
use crate::os::fs::{Mount, MountWatch};

/// The table of mounts for the next child: where, which, and the lower layers of overlays. Paths are stored as `OsString`, because they need not be UTF-8.
pub type Kept = Vec<(OsString, Vec<u8>, Vec<OsString>)>;

/// The table of mounts, as it was last read.
#[derive(Debug)]
pub struct Mounts {
    mounts: Vec<Mount>,
    /// Mount points by their last part.
    points: HashMap<OsString, Vec<PathBuf>>,
    watch: Option<MountWatch>,
    /// Whether the table is that of the child before, and nobody has compared it with the present one.
    resumed: bool,
    interval: Duration,
    next: Instant,
}

impl Mounts {
    /// As they are now.
    pub fn new(interval: Duration) -> Mounts {
        // In this order, what changes in between is told.
        let watch = MountWatch::new();
        let (points, next) = (HashMap::new(), Instant::now() + interval);
        let mut mounts = Mounts { mounts: Vec::new(), points, watch, resumed: false, interval, next };
        mounts.take_in(os::fs::mounts());
        mounts
    }

    /// As the child before saw them. What has changed since shows at the first look.
    pub fn resume(kept: Kept, interval: Duration) -> Mounts {
        let mount = |(point, identity, lower): (OsString, Vec<u8>, Vec<OsString>)| Mount {
            point: point.into(),
            identity,
            lower: lower.into_iter().map(PathBuf::from).collect(),
        };
        let (points, next) = (HashMap::new(), Instant::now() + interval);
        let mut mounts = Mounts { mounts: Vec::new(), points, watch: None, resumed: true, interval, next };
        mounts.take_in(kept.into_iter().map(mount).collect());
        mounts
    }

    /// What the next child is to resume.
    pub fn keep(&self) -> Kept {
        let text = |path: &PathBuf| path.clone().into_os_string();
        let mount =
            |mount: &Mount| (text(&mount.point), mount.identity.clone(), mount.lower.iter().map(text).collect());
        self.mounts.iter().map(mount).collect()
    }

    fn take_in(&mut self, mounts: Vec<Mount>) {
        self.points.clear();
        for mount in &mounts {
            if let Some(name) = mount.point.file_name() {
                self.points.entry(name.to_owned()).or_default().push(mount.point.clone());
            }
        }
        self.mounts = mounts;
    }

    /// Where something was mounted or unmounted since the last look. Looks once an interval at the most: some machines mount
    /// all the time.
    pub fn changed(&mut self, now: Instant) -> BTreeSet<PathBuf> {
        if now < self.next {
            return BTreeSet::new();
        }
        if std::mem::take(&mut self.resumed) {
            self.watch = MountWatch::new();
        } else if !self.watch.as_ref().is_some_and(MountWatch::has_changed) {
            return BTreeSet::new();
        }
        self.next = now + self.interval;
        let before = std::mem::take(&mut self.mounts);
        self.take_in(os::fs::mounts());
        changed_points(&before, &self.mounts)
    }

    /// Whether something is mounted on this very file.
    pub fn is_on(&self, path: &Path) -> bool {
        let Some(points) = path.file_name().and_then(|name| self.points.get(name)) else { return false };
        std::fs::canonicalize(path).is_ok_and(|real| points.contains(&real))
    }

    /// Whether a lower layer of an overlay can be seen from here, so that somebody here may change it. Those of a
    /// container's own file system cannot: they are an image's, and polling for them would only cost.
    pub fn layers_are_within_reach(&self, directory: &Path) -> bool {
        let within_reach = |mount: &Mount| mount.lower.iter().any(|layer| layer.is_absolute() && layer.is_dir());
        let Ok(real) = std::fs::canonicalize(directory) else { return false };
        let above = self.mounts.iter().filter(|mount| real.starts_with(&mount.point));
        // The last of several at one place is the one that shows.
        above.max_by_key(|mount| mount.point.components().count()).is_some_and(within_reach)
    }
}

/// Several mounts may lie over each other at one place.
fn changed_points(before: &[Mount], now: &[Mount]) -> BTreeSet<PathBuf> {
    let by_point = |mounts: &[Mount]| {
        let mut points: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
        for mount in mounts {
            points.entry(mount.point.clone()).or_default().push(mount.identity.clone());
        }
        points
    };
    let (before, now) = (by_point(before), by_point(now));
    let all: BTreeSet<&PathBuf> = before.keys().chain(now.keys()).collect();
    all.into_iter().filter(|point| before.get(*point) != now.get(*point)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::changed_points;
    use crate::os::fs::Mount;

    fn mount(point: &str, identity: &str) -> Mount {
        Mount { point: point.into(), identity: identity.into(), lower: Vec::new() }
    }

    #[test]
    fn a_mount_that_came_went_or_was_exchanged_is_a_change_of_its_place() {
        let before = [mount("/", "1"), mount("/a", "2"), mount("/b", "3"), mount("/c", "4")];
        let now = [mount("/", "1"), mount("/b", "5"), mount("/c", "4"), mount("/c", "6"), mount("/d", "7")];
        let changed: Vec<_> = changed_points(&before, &now).into_iter().collect();
        assert_eq!(changed, ["/a", "/b", "/c", "/d"].map(std::path::PathBuf::from));
        assert!(changed_points(&now, &now).is_empty());
    }
}
