//! What one process knows of the ignore files, for another one that goes on with it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file::Stamp;
use super::git_config::Settings;
use super::repository::Repository;

/// How the ignore files looked, and what the repositories go by. Paths are texts of the system here: they need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    files: Vec<(OsString, Stamp)>,
    outside: Vec<(OsString, Option<Stamp>)>,
    repositories: Vec<KeptRepository>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptRepository {
    root: OsString,
    lock: OsString,
    exclude: OsString,
    excludes: Option<OsString>,
    ignore_case: bool,
    files: Vec<OsString>,
}

/// What is known in the end: the ignore files, what lies outside of what is watched, the repositories.
type Parts = (HashMap<PathBuf, Stamp>, BTreeMap<PathBuf, Option<Stamp>>, HashMap<PathBuf, Repository>);

impl Kept {
    /// What is known now.
    pub fn new(
        files: impl Iterator<Item = (PathBuf, Stamp)>,
        outside: &BTreeMap<PathBuf, Option<Stamp>>,
        repositories: &HashMap<PathBuf, Repository>,
    ) -> Kept {
        let text = |path: &PathBuf| path.clone().into_os_string();
        let repository = |(root, known): (&PathBuf, &Repository)| KeptRepository {
            root: text(root),
            lock: text(&known.lock),
            exclude: text(&known.exclude),
            excludes: known.settings.excludes.as_ref().map(text),
            ignore_case: known.settings.ignore_case,
            files: known.settings.files.iter().map(text).collect(),
        };
        Kept {
            files: files.map(|(path, stamp)| (path.into_os_string(), stamp)).collect(),
            outside: outside.iter().map(|(path, stamp)| (text(path), *stamp)).collect(),
            repositories: repositories.iter().map(repository).collect(),
        }
    }

    /// The same, to look things up in.
    pub fn into_parts(self) -> Parts {
        let repository = |kept: KeptRepository| {
            let settings = Settings {
                excludes: kept.excludes.map(PathBuf::from),
                ignore_case: kept.ignore_case,
                files: kept.files.into_iter().map(PathBuf::from).collect(),
            };
            let (lock, exclude) = (kept.lock.into(), kept.exclude.into());
            (PathBuf::from(kept.root), Repository { lock, exclude, settings })
        };
        (
            self.files.into_iter().map(|(path, stamp)| (path.into(), stamp)).collect(),
            self.outside.into_iter().map(|(path, stamp)| (path.into(), stamp)).collect(),
            self.repositories.into_iter().map(repository).collect(),
        )
    }
}
