//! Globs with one base, matched together.

use std::path::{Path, PathBuf};

use super::last::Last;
use crate::pattern::{Glob, Globs, Pattern, Shape};

/// Globs with a common base.
#[derive(Debug)]
pub struct Group {
    /// Where they begin.
    pub base: PathBuf,
    globs: Globs,
    entries: Vec<Entry>,
    /// How many directories below the base can hold a match; `None` without bound.
    depth: Option<usize>,
    last_directory: Last<PathBuf, Vec<usize>>,
}

/// One glob of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The pattern's place in the configuration.
    pub pattern: usize,
    /// Whether its last piece is a mere `*` or `**`, so that it sweeps everything in.
    pub sweeps: bool,
}

impl Group {
    /// The entries that match the path, or a directory it lies in: what matches a directory means everything in it.
    pub fn matching(&self, path: &Path) -> Vec<Entry> {
        path.strip_prefix(&self.base).map(|relative| self.matching_relative(relative)).unwrap_or_default()
    }

    /// The same for a path that is relative to any base.
    pub fn matching_relative(&self, relative: &Path) -> Vec<Entry> {
        let mut found = self.globs.matches(relative);
        if let Some(parent) = relative.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            found.extend(self.of_directory(parent));
            found.sort_unstable();
            found.dedup();
        }
        found.into_iter().map(|index| self.entries[index]).collect()
    }

    fn of_directory(&self, relative: &Path) -> Vec<usize> {
        self.last_directory.answer(relative, || {
            let parts = relative.ancestors().filter(|part| !part.as_os_str().is_empty());
            parts.flat_map(|part| self.globs.matches(part)).collect()
        })
    }

    /// Whether a glob that is more than `*` or `**` matches the path itself.
    pub fn asks_for(&self, path: &Path) -> bool {
        let asks = |relative| self.globs.matches(relative).into_iter().any(|index| !self.entries[index].sweeps);
        path.strip_prefix(&self.base).is_ok_and(asks)
    }

    /// Whether something in this directory can match.
    pub fn may_match_below(&self, directory: &Path) -> bool {
        let Ok(relative) = directory.strip_prefix(&self.base) else { return false };
        self.depth.is_none_or(|depth| relative.components().count() < depth) || !self.matching(directory).is_empty()
    }

    /// Whether all of its globs sweep everything in.
    pub fn only_sweeps(&self) -> bool {
        self.entries.iter().all(|entry| entry.sweeps)
    }

    /// One of its patterns.
    pub fn first(&self) -> usize {
        self.entries[0].pattern
    }
}

/// The globs of these patterns, by their bases. `glob` gives the base and the glob of a pattern that has one.
pub fn grouped<'a>(
    patterns: impl IntoIterator<Item = (usize, &'a Pattern)>,
    glob: impl Fn(&Pattern) -> Option<(PathBuf, Glob)>,
) -> Vec<Group> {
    let mut by_base: Vec<(PathBuf, Vec<(usize, Glob)>)> = Vec::new();
    for (number, pattern) in patterns {
        let Some((base, glob)) = glob(pattern) else { continue };
        match by_base.iter_mut().find(|(known, _)| *known == base) {
            Some((_, globs)) => globs.push((number, glob)),
            None => by_base.push((base, vec![(number, glob)])),
        }
    }
    by_base.into_iter().map(|(base, globs)| group(base, globs)).collect()
}

/// The base and the glob of a pattern; a literal has none.
pub fn glob_of(pattern: &Pattern) -> Option<(PathBuf, Glob)> {
    match &pattern.shape {
        Shape::Glob(glob) => Some((pattern.base.clone(), glob.clone())),
        Shape::Literal => None,
    }
}

fn group(base: PathBuf, globs: Vec<(usize, Glob)>) -> Group {
    let mut depth = Some(0);
    let mut entries = Vec::new();
    for (pattern, glob) in &globs {
        let text = glob.text();
        let pieces = text.split('/').count();
        depth = if text.contains("**") { None } else { depth.map(|depth: usize| depth.max(pieces)) };
        let sweeps = text.rsplit('/').next().is_some_and(|last| last.chars().all(|character| character == '*'));
        entries.push(Entry { pattern: *pattern, sweeps });
    }
    let globs = Globs::new(globs.iter().map(|(_, glob)| glob));
    Group { base, globs, entries, depth, last_directory: Last::default() }
}
