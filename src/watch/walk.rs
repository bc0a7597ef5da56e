//! The pruned walk: only directories that can hold a match, nothing below an ignored one.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::change::Look;
use crate::filter::{BEHIND_LINKS, Filter, Rule};
use crate::ignore_files::IgnoreFiles;
use crate::os::fs::{look, look_of};

/// A walk in progress, directory by directory, so that it can be left and taken up again.
#[derive(Debug, Default)]
pub struct Walk {
    queue: VecDeque<(PathBuf, Depth)>,
    queued: HashSet<PathBuf>,
    followed: HashSet<(u64, u64)>,
    /// Where symlinks may lead; `None` is everywhere.
    bounds: Option<Arc<Bounds>>,
}

/// The watched trees. Their real paths are looked up when they are first needed.
#[derive(Debug, Default)]
pub struct Bounds {
    roots: Vec<PathBuf>,
    inside: OnceLock<Vec<PathBuf>>,
}

impl Bounds {
    /// Everything below these.
    pub fn new(roots: Vec<PathBuf>) -> Bounds {
        Bounds { roots, inside: OnceLock::new() }
    }

    /// Where a symlink leads, if that is outside and nobody has named the symlink itself.
    pub fn way_out(&self, link: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(link).ok()?;
        let real_root = |root: &PathBuf| fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        let roots = self.inside.get_or_init(|| self.roots.iter().map(real_root).collect());
        let inside = self.roots.iter().any(|root| root == link) || roots.iter().any(|root| real.starts_with(root));
        (!inside).then_some(real)
    }
}

/// How far a walk goes from a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The directory alone: it is watched for the sake of a name in it.
    Shallow,
    /// And everything below that can hold a match.
    Deep,
}

/// The files of a directory that count.
#[derive(Debug, Default)]
pub struct Listing {
    /// Regular files, and how they look.
    pub files: Vec<(PathBuf, Look)>,
    /// Symlinks to files, or to nothing yet.
    pub links: Vec<PathBuf>,
    /// Symlinks to nothing yet that may lead to a directory with matches later.
    pub dangling: Vec<PathBuf>,
    /// Symlinks to directories that are walked under their visible names.
    pub followed: Vec<PathBuf>,
}

impl Listing {
    /// Every path that counts, and how it looks.
    pub fn looks(self) -> Vec<(PathBuf, Look)> {
        let links = self.links.into_iter().map(|link| {
            let look = look(&link);
            (link, look)
        });
        self.files.into_iter().chain(links).collect()
    }
}

impl Walk {
    /// One that follows no symlink out of these bounds.
    pub fn within(bounds: Option<Arc<Bounds>>) -> Walk {
        Walk { bounds, ..Walk::default() }
    }

    /// Whether a symlink is to be left alone because of where it leads.
    fn leaves_alone(&self, link: &Path) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.way_out(link).is_some())
    }

    /// Adds a directory to begin from.
    pub fn begin(&mut self, directory: PathBuf, depth: Depth) {
        self.queued.insert(directory.clone());
        self.queue.push_back((directory, depth));
    }

    /// How many directories are known to be ahead.
    pub fn ahead(&self) -> usize {
        self.queue.len()
    }

    /// The next directory, to be watched first and listed then: what is created in between is told or listed.
    pub fn next(&mut self) -> Option<(PathBuf, Depth)> {
        let next = self.queue.pop_front()?;
        self.queued.remove(&next.0);
        Some(next)
    }

    /// Whether a directory is ahead.
    pub fn holds(&self, directory: &Path) -> bool {
        self.queued.contains(directory)
    }

    /// Lists a directory and, going deep, queues those of its directories that can hold a match.
    ///
    /// # Errors
    /// The system's: it is gone, or may not be read.
    pub fn list(&mut self, directory: &Path, depth: Depth, filter: &Filter) -> io::Result<Listing> {
        let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.filter_map(Result::ok).collect();
        filter.enter(directory, entries.iter().any(|entry| IgnoreFiles::is_concerned_by(&entry.file_name())));
        let mut listing = Listing::default();
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                if depth == Depth::Deep && filter.descend(&path) {
                    self.begin(path, depth);
                }
            } else if kind.is_symlink() {
                match fs::metadata(&path) {
                    Ok(target) if target.is_dir() && depth == Depth::Shallow => {}
                    Ok(target) if target.is_dir() => {
                        let followed = self.follow(&path, filter);
                        listing.followed.extend(followed.then_some(path));
                    }
                    _ if self.leaves_alone(&path) => {}
                    _ if filter.decide(&path).counts => listing.links.push(path),
                    Err(_) if depth == Depth::Deep && filter.descend(&path) => listing.dangling.push(path),
                    _ => {}
                }
            } else if kind.is_file() && filter.decide(&path).counts {
                // By the open directory and its name in it: cheaper than by its path.
                let look = entry.metadata().map_or(Look::ABSENT, |metadata| look_of(&metadata));
                if !filter.is_own(&path, look) {
                    listing.files.push((path, look));
                }
            }
        }
        Ok(listing)
    }

    /// A symlinked directory is walked under its visible name, once, unless it is walked by its own name anyway or
    /// leads back up, or is ignored there. Says whether it is.
    pub fn follow(&mut self, link: &Path, filter: &Filter) -> bool {
        if !filter.descend(link) || self.leaves_alone(link) {
            return false;
        }
        let (Ok(real), Ok(target)) = (fs::canonicalize(link), fs::metadata(link)) else { return false };
        let leads_up = filter.roots().iter().any(|root| root.starts_with(&real));
        // What is ignored under its own name is not watched under another one.
        let elsewhere = match filter.decide_directory(&real).rule {
            Rule::Unmatched => true,
            Rule::BuiltIn(entry) => entry == BEHIND_LINKS,
            _ => false,
        };
        let followed = !leads_up && elsewhere && self.followed.insert((target.dev(), target.ino()));
        if followed {
            self.begin(link.to_owned(), Depth::Deep);
        }
        followed
    }
}
