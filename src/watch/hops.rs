//! Symlinks on the way to visible paths: a place whose change changes what a visible path means.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

/// Every symlink on the way to a visible path, and the end of the way, with the visible paths that depend on it.
#[derive(Debug, Clone, Default)]
pub struct Hops {
    visible: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

/// The same for the next child. Paths are stored as `OsString`, because they need not be UTF-8.
pub type Kept = Vec<(OsString, Vec<OsString>)>;

impl Hops {
    /// The places as the child before knew them.
    pub fn resume(kept: Kept) -> Hops {
        let visible = |visible: Vec<OsString>| visible.into_iter().map(PathBuf::from).collect();
        Hops { visible: kept.into_iter().map(|(hop, known)| (hop.into(), visible(known))).collect() }
    }

    /// What the next child is to resume.
    pub fn keep(&self) -> Kept {
        let text = |path: &PathBuf| path.clone().into_os_string();
        self.visible.iter().map(|(hop, visible)| (text(hop), visible.iter().map(text).collect())).collect()
    }

    /// A change at `hop` changes what `visible` means.
    pub fn add(&mut self, hop: &Path, visible: &Path) {
        match self.visible.get_mut(hop) {
            Some(known) if known.contains(visible) => {}
            Some(known) => drop(known.insert(visible.to_owned())),
            None => drop(self.visible.insert(hop.to_owned(), BTreeSet::from([visible.to_owned()]))),
        }
    }

    /// The visible paths whose meaning depends on this one, or on something below it.
    pub fn visible_through(&self, place: &Path) -> BTreeSet<PathBuf> {
        if self.visible.is_empty() {
            return BTreeSet::new();
        }
        let from = self.visible.range::<Path, _>((Bound::Included(place), Bound::Unbounded));
        from.take_while(|(hop, _)| hop.starts_with(place)).flat_map(|(_, visible)| visible).cloned().collect()
    }

    /// The names of a place below symlinks to directories above it.
    pub fn names_of(&self, place: &Path) -> Vec<PathBuf> {
        let through_links =
            self.visible.iter().filter_map(|(hop, visible)| Some((place.strip_prefix(hop).ok()?, visible)));
        through_links.flat_map(|(rest, visible)| visible.iter().map(move |link| link.join(rest))).collect()
    }
}

/// The most symlinks on one path, as in the kernel (path_resolution(7)).
const MOST_HOPS: usize = 40;

/// Every symlink on the way to a path, and where the way ends: the places whose change changes what the path means.
/// Empty when no symlink is involved.
pub fn hops_to(path: &Path) -> Vec<PathBuf> {
    let mut hops = Vec::new();
    let mut done = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = parts(path);
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        let Ok(target) = fs::read_link(&here) else {
            done = here;
            continue;
        };
        hops.push(here);
        if hops.len() > MOST_HOPS {
            return hops;
        }
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            ahead.push_front(part);
        }
    }
    if !hops.is_empty() {
        hops.push(done);
    }
    hops
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// The nearest directory above a path that exists.
pub fn anchor(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir())
}

#[cfg(test)]
mod tests {
    use super::hops_to;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_hop_of_a_config_map_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(root.join("..2026_1")).unwrap();
        fs::write(root.join("..2026_1/app.toml"), "").unwrap();
        symlink("..2026_1", root.join("..data")).unwrap();
        symlink("..data/app.toml", root.join("app.toml")).unwrap();
        assert_eq!(
            hops_to(&root.join("app.toml")),
            [root.join("app.toml"), root.join("..data"), root.join("..2026_1/app.toml")]
        );
        assert!(hops_to(&root.join("..2026_1/app.toml")).is_empty());
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let directory = tempfile::tempdir().unwrap();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        assert!(hops_to(&directory.path().join("a")).len() <= 42);
    }
}
