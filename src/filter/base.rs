//! The ignore rules below one base: the nearest ignore file that has a word on a path, and the built-in lists.
//!
//! They apply below a base and never to the base itself: who names `node_modules/mine` means it. A rule of an ignore file
//! that takes out a base that the user wrote, or everything in it, does not apply below it either: `*` in `out/.gitignore`
//! says nothing about `-w out`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decision::Rule;
use super::last::Last;
use super::lists::{Lists, VIRTUAL_ENVIRONMENT};
use super::trail::Trail;
use crate::ignore_files::{IgnoreFiles, Verdict};

/// Which ignore rules there are.
#[derive(Debug)]
pub struct IgnoreRules {
    /// Those of git's ignore files, and of `.ignore`.
    pub files: IgnoreFiles,
    /// Our own.
    pub lists: Lists,
}

/// Where a pattern begins.
#[derive(Debug)]
pub struct Base {
    /// The directory.
    pub path: PathBuf,
    /// Whether the user wrote it.
    named: bool,
    /// The rules, by file and line, that take out the base as a whole.
    disregarded: Last<(), Arc<Vec<(PathBuf, usize)>>>,
    /// Of the last directories that were asked for, by whether they are swept in.
    trails: [Trail; 2],
}

impl Base {
    /// A base, which the user wrote or not.
    pub fn new(path: PathBuf, named: bool) -> Base {
        Base { path, named, disregarded: Last::default(), trails: Default::default() }
    }

    /// The rule that takes out the path, or a directory between it and the base. `swept` says that no pattern asks for it,
    /// so that outputs of programs do not count, and configuration does.
    pub fn ignored(&self, rules: &IgnoreRules, path: &Path, is_directory: bool, swept: bool) -> Option<Rule> {
        if path == self.path {
            return None;
        }
        if path.file_name().is_some_and(|name| name == VIRTUAL_ENVIRONMENT) {
            // It may be new, or gone.
            self.trails.iter().for_each(Trail::forget);
        }
        let find_out = |directory: &Path| self.part_ignored(rules, directory, true, swept);
        let above =
            path.parent().and_then(|parent| self.trails[usize::from(swept)].verdict(&self.path, parent, &find_out));
        above.or_else(|| self.part_ignored(rules, path, is_directory, swept))
    }

    /// Ignore files have changed.
    pub fn forget(&self) {
        self.disregarded.forget();
        self.trails.iter().for_each(Trail::forget);
    }

    /// The rule that takes out this one piece of a path.
    fn part_ignored(&self, rules: &IgnoreRules, part: &Path, is_directory: bool, swept: bool) -> Option<Rule> {
        let name = part.file_name()?;
        let configuration = swept && !is_directory && rules.lists.configuration.matching(name, false).is_some();
        if !configuration && let Some(verdict) = rules.files.verdict(part, is_directory) {
            if !verdict.ignored {
                return None;
            }
            if !self.named || !self.disregards(rules, &verdict) {
                return Some(Rule::IgnoreFile(verdict.file, verdict.text));
            }
        }
        let built_in = rules.lists.built_in.matching(name, is_directory);
        let listed = built_in.or_else(|| rules.lists.outputs.matching(name, is_directory).filter(|_| swept));
        let environment = || is_directory && part.join(VIRTUAL_ENVIRONMENT).is_file();
        match listed {
            Some(entry) => Some(Rule::BuiltIn(entry)),
            None => environment().then_some(Rule::VirtualEnvironment),
        }
    }

    fn disregards(&self, rules: &IgnoreRules, verdict: &Verdict) -> bool {
        let disregarded = self.disregarded.answer(&(), || Arc::new(self.find_disregarded(&rules.files)));
        disregarded.iter().any(|(file, line)| *line == verdict.line && *file == verdict.file)
    }

    fn find_disregarded(&self, files: &IgnoreFiles) -> Vec<(PathBuf, usize)> {
        let ignored = |path: &Path, is_directory| files.verdict(path, is_directory).filter(|verdict| verdict.ignored);
        let mut found: Vec<Verdict> = self.path.ancestors().filter_map(|part| ignored(part, true)).collect();
        // A name that nobody has: what takes it out, as a file and as a directory, takes out everything.
        let anything = self.path.join("\u{1}reloadrun\u{1}");
        if let (Some(file), Some(directory)) = (ignored(&anything, false), ignored(&anything, true)) {
            found.extend([file, directory]);
        }
        found.into_iter().map(|verdict| (verdict.file, verdict.line)).collect()
    }
}
