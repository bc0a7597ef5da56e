//! Finds the exclude file and the settings of a git repository.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::git_config::{Environment, Settings, settings};

/// A repository, by the directory that holds its `.git`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Git holds this file while it writes the working tree or the index: `index.lock` in the repository's own git directory.
    pub lock: PathBuf,
    /// `info/exclude`.
    pub exclude: PathBuf,
    /// The settings in its configuration.
    pub settings: Settings,
}

impl Repository {
    /// Whether a directory is the root of a repository: it has a `.git`, a directory or (in a submodule, in a linked
    /// worktree) a file.
    pub fn begins_at(directory: &Path) -> bool {
        fs::symlink_metadata(directory.join(".git")).is_ok()
    }

    /// Reads the settings of the repository in this directory.
    pub fn at(root: &Path, environment: &Environment) -> Repository {
        let own = git_directory(root);
        // A linked worktree shares exclude file and configuration with the main one.
        let common = first_line(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path));
        Repository {
            lock: own.join("index.lock"),
            exclude: common.join("info/exclude"),
            settings: settings(environment, root, &own, &common),
        }
    }
}

/// The git directory: `.git`, or the directory that a file of that name points to (`gitdir: ../.git/modules/x`).
fn git_directory(root: &Path) -> PathBuf {
    let found = root.join(".git");
    let line = first_line(&found);
    let leads = line.as_deref().and_then(|line| line.as_os_str().as_bytes().strip_prefix(b"gitdir: "));
    leads.map_or_else(|| found.clone(), |path| root.join(OsStr::from_bytes(path)))
}

/// Reads a file whose content is a single path.
fn first_line(file: &Path) -> Option<PathBuf> {
    const LONGEST: u64 = 8192;
    let is_small = fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() < LONGEST);
    let text = is_small.then(|| fs::read(file).ok()).flatten()?;
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    Some(OsStr::from_bytes(&text[..=end]).into())
}
