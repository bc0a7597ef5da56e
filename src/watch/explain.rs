//! Whether a change of a file would count, asked from outside.
//!
//! A file that is reached through symlinks has several names, and a run watches it by those that its walk finds. So the
//! same walk answers here.

use std::fs;
use std::path::{Path, PathBuf};

use super::walk::{Depth, Walk};
use crate::filter::{Decision, Filter};
use crate::os::fs::{FileId, look};

/// Whether a change of the file, or in the directory, of this name would count, and why.
pub fn explain(filter: &Filter, path: &Path) -> Decision {
    let by_name = decide(filter, path);
    let real = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    let parent_is_real = real.as_deref() == path.parent();
    if by_name.counts && (parent_is_real || real.is_none()) {
        return by_name;
    }
    // What is written through a symlink is written to the file behind it.
    let target = fs::canonicalize(path).ok().filter(|target| target != path);
    let names = names(filter, path).into_iter().chain(target.iter().flat_map(|target| names(filter, target)));
    let found = names.map(|name| decide(filter, &name)).find(|decision| decision.counts);
    match (found, by_name.counts, real.zip(path.file_name())) {
        (Some(found), ..) => found,
        (None, false, _) | (None, true, None) => by_name,
        // The walk does not come by under this name: what it says of the file itself is why.
        (None, true, Some((parent, name))) => decide(filter, &parent.join(name)),
    }
}

fn decide(filter: &Filter, path: &Path) -> Decision {
    if path.is_dir() { filter.decide_directory(path) } else { filter.decide_seen(path, look(path)) }
}

/// The names by which a walk finds what is behind a path, be it there or not.
fn names(filter: &Filter, path: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent().and_then(FileId::of), path.file_name()) else { return Vec::new() };
    let file = FileId::of(path);
    let is_it = |name: &Path| file.is_some() && FileId::of(name) == file;
    let mut found: Vec<PathBuf> = filter.roots().iter().filter(|root| is_it(root)).cloned().collect();
    let mut walk = Walk::default();
    for root in filter.roots().iter().filter(|root| root.is_dir() && filter.descend(root)) {
        walk.begin(root.clone(), Depth::Deep);
    }
    while let Some((directory, depth)) = walk.next() {
        if FileId::of(&directory) == Some(parent) {
            found.push(directory.join(name));
        }
        // A directory that cannot be read holds nothing that is watched.
        let Ok(listing) = walk.list(&directory, depth, filter) else { continue };
        let links = listing.links.into_iter().chain(listing.followed);
        found.extend(links.filter(|link| is_it(link)));
    }
    found
}
