//! Stands in for the engine that follows git's own matcher, until that is merged.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

const IGNORE_FILES: [&str; 2] = [".ignore", ".gitignore"];

/// What an ignore file says.
pub struct Verdict {
    pub ignored: bool,
    pub file: PathBuf,
    pub line: usize,
    pub text: String,
}

#[derive(Debug)]
struct DirectoryRules {
    own: Vec<Gitignore>,
    above: Option<Arc<DirectoryRules>>,
}

#[derive(Debug)]
pub struct IgnoreFiles {
    bases: Vec<PathBuf>,
    directories: Mutex<HashMap<PathBuf, Option<Arc<DirectoryRules>>>>,
}

impl IgnoreFiles {
    pub fn new(bases: Vec<PathBuf>) -> IgnoreFiles {
        IgnoreFiles { bases, directories: Mutex::default() }
    }

    pub fn is_name(name: &std::ffi::OsStr) -> bool {
        IGNORE_FILES.iter().any(|known| name == *known)
    }

    pub fn enter(&self, directory: &Path, has_ignore_files: bool) {
        if !has_ignore_files {
            let above = directory.parent().and_then(|parent| self.rules_of(parent));
            self.directories.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned(), above);
        }
    }

    pub fn verdict(&self, path: &Path, is_directory: bool) -> Option<Verdict> {
        let mut rules = path.parent().and_then(|parent| self.rules_of(parent));
        while let Some(directory) = rules {
            for file in &directory.own {
                let verdict = file.matched(path, is_directory);
                let ignored = verdict.is_ignore();
                if let Match::Ignore(glob) | Match::Whitelist(glob) = verdict {
                    let from = glob.from().map_or_else(|| file.path().to_owned(), Path::to_owned);
                    let line = glob.original().len();
                    return Some(Verdict { ignored, file: from, line, text: glob.original().to_owned() });
                }
            }
            rules = directory.above.clone();
        }
        None
    }

    fn rules_of(&self, directory: &Path) -> Option<Arc<DirectoryRules>> {
        if let Some(known) = self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(directory) {
            return known.clone();
        }
        let stop = directory.join(".git").exists();
        let above =
            directory.parent().filter(|parent| !stop && self.reaches(parent)).and_then(|parent| self.rules_of(parent));
        let own: Vec<Gitignore> = IGNORE_FILES
            .iter()
            .map(|name| directory.join(name))
            .chain([directory.join(".git/info/exclude")])
            .filter(|file| file.is_file())
            .map(|file| {
                let mut builder = GitignoreBuilder::new(directory);
                let _ = builder.add(file);
                builder.build().unwrap_or_else(|_| Gitignore::empty())
            })
            .collect();
        let rules = if own.is_empty() { above } else { Some(Arc::new(DirectoryRules { own, above })) };
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned(), rules.clone());
        rules
    }

    fn reaches(&self, directory: &Path) -> bool {
        let inside = self.bases.iter().any(|root| directory.starts_with(root));
        inside || directory.ancestors().any(|ancestor| ancestor.join(".git").exists())
    }
}
