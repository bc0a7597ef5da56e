//! What git ignores: `.gitignore`, `.git/info/exclude` and `core.excludesFile`, and `.ignore`, which has the same form
//! and wins over a `.gitignore` in the same directory.
//!
//! The nearest directory with a `.git` is where a repository begins, and no rule from above applies in it. Outside of
//! any repository, `.gitignore` and `.ignore` count from where watching begins, and nothing else does.
//!
//! Whether git tracks a file is not asked: a tracked file that a rule matches is ignored here. Neither are `GIT_DIR`,
//! `GIT_WORK_TREE` and `core.worktree`.

mod file;
mod git_config;
mod glob;
mod repository;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::file::{Flaw, MOST_BYTES};
use self::file::{IgnoreFile, Stamp};
pub use self::git_config::Environment;
use self::repository::Repository;
pub use self::rules::{MOST_GLOBS, MOST_RULES};

/// The names of ignore files, the stronger one first.
const NAMES: [&str; 2] = [".ignore", ".gitignore"];

/// Git follows no symlink of this name.
const NOT_FOLLOWED: &str = ".gitignore";

/// What makes a directory the root of a repository.
const ROOT_MARK: &str = ".git";

/// What a rule says about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It is ignored; or else it is not, whatever weaker rules say.
    pub ignored: bool,
    /// The file of the rule.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The rule as it is written; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Rules are not what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesChanged {
    /// Only paths below this directory are concerned.
    pub below: PathBuf,
    /// When the ignore file was changed, nanoseconds since the epoch. When one went away, nobody knows.
    pub since_ns: Option<i64>,
}

/// The ignore files of everything that is asked about. Each is read when a directory is first asked about, and again
/// when somebody says that it has changed.
#[derive(Debug)]
pub struct IgnoreFiles {
    bases: Vec<PathBuf>,
    environment: Environment,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    directories: HashMap<PathBuf, Known>,
    files: HashMap<PathBuf, Arc<IgnoreFile>>,
    repositories: HashMap<PathBuf, Repository>,
    /// What has a say and lies where nobody watches.
    outside: BTreeMap<PathBuf, Option<Stamp>>,
    changes: Vec<RulesChanged>,
    /// What cannot be honoured and was not told yet.
    untold: Vec<Flaw>,
    told: HashSet<Flaw>,
}

/// What is known of a directory.
#[derive(Debug)]
struct Known {
    level: Option<Arc<Level>>,
    /// Whether it has ignore files of its own, or begins a repository.
    own: bool,
}

/// The ignore files of one directory, the strongest first, and those above that have a say.
#[derive(Debug)]
struct Level {
    directory: PathBuf,
    files: Vec<Arc<IgnoreFile>>,
    above: Option<Arc<Level>>,
    /// Whether capitals and small letters are the same here.
    fold: bool,
}

impl IgnoreFiles {
    /// Nothing is read yet. `bases` are the places where watching begins.
    pub fn new(bases: Vec<PathBuf>) -> IgnoreFiles {
        IgnoreFiles::with_environment(bases, Environment::of_process())
    }

    /// The same with given variables for git's own configuration.
    pub fn with_environment(bases: Vec<PathBuf>, environment: Environment) -> IgnoreFiles {
        IgnoreFiles { bases, environment, state: Mutex::default() }
    }

    /// Whether a name is that of an ignore file, or of what begins a repository.
    pub fn is_concerned_by(name: &OsStr) -> bool {
        name == ROOT_MARK || NAMES.iter().any(|known| name == *known)
    }

    /// What the strongest rule that matches this path says; `None` if there is none. The directories above it are the
    /// caller's affair: what lies in an ignored one is ignored.
    pub fn verdict(&self, path: &Path, is_directory: bool) -> Option<Verdict> {
        let top = self.level_of(path.parent()?);
        let mut level = top.as_ref();
        while let Some(here) = level {
            let relative = path.as_os_str().as_bytes().strip_prefix(here.directory.as_os_str().as_bytes())?;
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            for file in &here.files {
                if let Some(rule) = file.rules.decisive(relative, is_directory) {
                    return Some(Verdict {
                        ignored: !rule.negative,
                        file: file.path.clone(),
                        line: rule.line,
                        text: String::from_utf8_lossy(file.rules.text(rule)).into_owned(),
                    });
                }
            }
            level = here.above.as_ref();
        }
        None
    }

    /// Tells what a listing shows: whether a directory has an entry that [`IgnoreFiles::is_concerned_by`] names. If not,
    /// none is looked for; if it has, and is known already, changes are noticed.
    pub fn enter(&self, directory: &Path, has_any: bool) {
        let known = self.lock().directories.get(directory).map(|known| known.own);
        match known {
            Some(own) if own || has_any => {
                for name in NAMES.iter().chain([&ROOT_MARK]) {
                    self.refresh(&directory.join(name));
                }
            }
            None if !has_any => {
                let level = self.above(directory);
                self.lock().directories.insert(directory.to_owned(), Known { level, own: false });
            }
            _ => {}
        }
    }

    /// An ignore file, or a `.git`, may have changed, come or gone: it counts as it is now. See
    /// [`IgnoreFiles::changes`].
    pub fn refresh(&self, path: &Path) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        // Of what was never asked about nothing is known that could be wrong.
        let Some(fold) =
            self.lock().directories.get(directory).map(|known| known.level.as_ref().is_some_and(|level| level.fold))
        else {
            return;
        };
        let changed = if name == ROOT_MARK {
            let now = Repository::begins_at(directory).then(|| Repository::at(directory, &self.environment));
            self.lock().repositories.get(directory) != now.as_ref()
        } else {
            self.differs(path, name != NOT_FOLLOWED, fold)
        };
        if changed {
            self.forget(path, directory);
        }
    }

    /// Looks at what has a say and lies where nobody watches: above the bases, and in `.git` and the home directory. To
    /// be called now and then.
    pub fn look_around(&self) {
        let outside: Vec<(PathBuf, Option<Stamp>)> =
            self.lock().outside.iter().map(|(path, stamp)| (path.clone(), *stamp)).collect();
        for (path, known) in outside {
            let now = Stamp::at(&path);
            if now == known {
                continue;
            }
            self.lock().outside.insert(path.clone(), now);
            if path.file_name().is_some_and(IgnoreFiles::is_concerned_by) {
                self.refresh(&path);
            }
            self.refresh_common(&path);
        }
    }

    /// What has changed since this was last asked.
    pub fn changes(&self) -> Vec<RulesChanged> {
        std::mem::take(&mut self.lock().changes)
    }

    /// The ignore files that cannot be honoured, or not wholly; each is given once.
    pub fn flaws(&self) -> Vec<Flaw> {
        std::mem::take(&mut self.lock().untold)
    }

    /// Something that a repository as a whole goes by: its exclude file, that of all repositories, the configuration.
    fn refresh_common(&self, path: &Path) {
        let repositories: Vec<(PathBuf, Repository)> =
            self.lock().repositories.iter().map(|(root, repository)| (root.clone(), repository.clone())).collect();
        let changed = repositories.iter().any(|(root, known)| {
            let is_rules = known.exclude == path || known.settings.excludes.as_deref() == Some(path);
            if is_rules {
                self.differs(path, true, known.settings.ignore_case)
            } else {
                known.settings.files.iter().any(|file| file == path)
                    && Repository::at(root, &self.environment) != *known
            }
        });
        if changed {
            self.forget(path, Path::new("/"));
        }
    }

    /// Whether an ignore file says something else than it did.
    fn differs(&self, path: &Path, follow: bool, fold: bool) -> bool {
        let known = self.lock().files.get(path).cloned();
        let now = self.read(path, follow, fold);
        let content =
            |file: &Option<Arc<IgnoreFile>>| file.as_ref().map_or(Vec::new(), |file| file.rules.content().to_vec());
        content(&known) != content(&now)
    }

    /// Forgets what was concluded from a file.
    fn forget(&self, file: &Path, below: &Path) {
        let mut state = self.lock();
        state.directories.retain(|directory, _| !directory.starts_with(below));
        state.repositories.retain(|root, _| !root.starts_with(below));
        state.changes.push(RulesChanged { below: below.to_owned(), since_ns: file::changed_at(file) });
    }

    /// The ignore files that have a say in a directory.
    fn level_of(&self, directory: &Path) -> Option<Arc<Level>> {
        if let Some(known) = self.lock().directories.get(directory) {
            return known.level.clone();
        }
        let is_root = Repository::begins_at(directory);
        let repository = is_root.then(|| Repository::at(directory, &self.environment));
        let above = if is_root { None } else { self.above(directory) };
        let fold = match &repository {
            Some(repository) => repository.settings.ignore_case,
            None => above.as_ref().is_some_and(|above| above.fold),
        };
        let own = NAMES.iter().map(|name| (directory.join(name), *name != NOT_FOLLOWED));
        let common = repository.iter().flat_map(|known| [Some(known.exclude.clone()), known.settings.excludes.clone()]);
        let candidates = own.chain(common.flatten().map(|path| (path, true)));
        let files: Vec<Arc<IgnoreFile>> =
            candidates.filter_map(|(path, follow)| self.read(&path, follow, fold)).collect();
        let own = is_root || !files.is_empty();
        let level =
            if own { Some(Arc::new(Level { directory: directory.to_owned(), files, above, fold })) } else { above };
        self.watch_for(directory, repository.as_ref());
        let mut state = self.lock();
        state.repositories.extend(repository.map(|repository| (directory.to_owned(), repository)));
        state.directories.insert(directory.to_owned(), Known { level: level.clone(), own });
        level
    }

    /// The ignore files of the directory above, if they have a say: it lies in what is watched, or in the same repository.
    fn above(&self, directory: &Path) -> Option<Arc<Level>> {
        let parent = directory.parent()?;
        let reached = self.is_inside(parent) || parent.ancestors().any(Repository::begins_at);
        reached.then(|| self.level_of(parent)).flatten()
    }

    fn is_inside(&self, directory: &Path) -> bool {
        self.bases.iter().any(|base| directory.starts_with(base))
    }

    /// Notes what a directory goes by and nobody watches.
    fn watch_for(&self, directory: &Path, repository: Option<&Repository>) {
        let above = NAMES.iter().chain([&ROOT_MARK]).map(|name| directory.join(name));
        let above = above.filter(|_| !self.is_inside(directory));
        let common = repository.into_iter().flat_map(|known| {
            let settings = &known.settings;
            [&known.exclude].into_iter().chain(&settings.excludes).chain(&settings.files).cloned()
        });
        for path in above.chain(common) {
            let stamp = Stamp::at(&path);
            self.lock().outside.insert(path, stamp);
        }
    }

    fn read(&self, path: &Path, follow: bool, fold: bool) -> Option<Arc<IgnoreFile>> {
        let known = self.lock().files.get(path).cloned();
        let found = file::read(path, follow, fold, known.as_ref());
        let mut state = self.lock();
        match &found.file {
            Some(file) => drop(state.files.insert(path.to_owned(), Arc::clone(file))),
            None => drop(state.files.remove(path)),
        }
        if let Some(flaw) = found.flaw
            && state.told.insert(flaw.clone())
        {
            state.untold.push(flaw);
        }
        found.file
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each single note leaves it whole, whatever panicked in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
