//! The ignore rules of git: `.gitignore`, `.git/info/exclude` and `core.excludesFile`, and also `.ignore`, which has
//! the same syntax and wins over a `.gitignore` in the same directory.
//!
//! A repository begins at the nearest directory with a `.git`, and no rule from above applies in it. Outside of any
//! repository, only `.gitignore` and `.ignore` apply, from the directory where watching begins.
//!
//! It is not checked whether git tracks a file: a tracked file that matches a rule is ignored here. `GIT_DIR`,
//! `GIT_WORK_TREE` and `core.worktree` are not used.

mod file;
mod git_config;
mod glob;
mod kept;
mod repository;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::file::{Flaw, MOST_BYTES};
use self::file::{IgnoreFile, Stamp};
pub use self::git_config::Environment;
pub use self::glob::matches;
pub use self::kept::Kept;
use self::repository::Repository;
pub use self::rules::{MOST_GLOBS, MOST_RULES};

/// The names of ignore files, the one that wins first.
const NAMES: [&str; 2] = [".ignore", ".gitignore"];

/// Git does not follow a symlink of this name.
const NOT_FOLLOWED: &str = ".gitignore";

/// The entry that makes a directory the root of a repository.
const ROOT_MARK: &str = ".git";

/// The decision about one path, and the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is ignored. If not, weaker rules do not apply to it.
    pub ignored: bool,
    /// The ignore file that has the rule.
    pub file: PathBuf,
    /// The line of the rule, counted from 1.
    pub line: usize,
    /// The text of the rule; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A change of the ignore rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesChanged {
    /// It affects only paths below this directory.
    pub below: PathBuf,
    /// When the ignore file was changed, nanoseconds since the epoch; `None` if it was removed.
    pub since_ns: Option<i64>,
}

/// The ignore files of all directories that were asked about. A file is read at the first question about its directory,
/// and again when [`refresh`](Self::refresh) is called for it.
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
    /// Files that influence the rules and are not in a watched directory.
    outside: BTreeMap<PathBuf, Option<Stamp>>,
    changes: Vec<RulesChanged>,
    /// What another process knew, or this one before it let go; `None` where this process is the first.
    before: Option<Before>,
    /// Flaws that were not returned yet.
    untold: Vec<Flaw>,
    told: HashSet<Flaw>,
}

/// What was known before, as long as this process has not looked (again).
#[derive(Debug, Default)]
struct Before {
    /// How each ignore file looked.
    files: HashMap<PathBuf, Stamp>,
    /// The ignore files, and the `.git`s, that this process has looked at.
    seen: HashSet<PathBuf>,
}

impl State {
    /// How each known ignore file looked.
    fn looks(&self) -> impl Iterator<Item = (PathBuf, Stamp)> {
        let read = self.files.values().filter_map(|file| Some((file.path.clone(), file.stamp?)));
        let unread = self.before.iter().flat_map(|before| &before.files).map(|(path, stamp)| (path.clone(), *stamp));
        unread.chain(read)
    }
}

/// A look at an ignore file.
struct Seen {
    /// What was cached.
    known: Option<Arc<IgnoreFile>>,
    /// What was read now.
    now: Option<Arc<IgnoreFile>>,
    /// At the first look of this process: whether the file looks otherwise than the process before it saw it.
    by_stamp: Option<bool>,
}

impl Seen {
    /// Whether the file is another one than before. One that was not there is like an empty one.
    fn differs(&self) -> bool {
        let [known, now] =
            [&self.known, &self.now].map(|file| file.as_ref().map_or(&[][..], |file| file.rules.content()));
        self.by_stamp.unwrap_or(known != now)
    }

    /// The same where nobody has told of it. A file that was not known before is new to us, and not changed.
    fn has_changed_unnoticed(&self) -> bool {
        (self.by_stamp.is_some() || self.known.is_some()) && self.differs()
    }
}

/// The cached facts about a directory.
#[derive(Debug)]
struct Known {
    level: Option<Arc<Level>>,
    /// Whether it has ignore files of its own, or is the root of a repository.
    own: bool,
}

/// The ignore files of one directory, the one that wins first, and the levels above that apply too.
#[derive(Debug)]
struct Level {
    directory: PathBuf,
    files: Vec<Arc<IgnoreFile>>,
    above: Option<Arc<Level>>,
    /// Whether case is ignored here (`core.ignoreCase`).
    fold: bool,
}

impl IgnoreFiles {
    /// Reads nothing yet. `bases` are the directories where watching begins, `environment` is what git's own settings
    /// depend on.
    pub fn with_environment(bases: Vec<PathBuf>, environment: Environment) -> IgnoreFiles {
        IgnoreFiles { bases, environment, state: Mutex::default() }
    }

    /// Whether an entry of this name can influence the rules: an ignore file or `.git`.
    pub fn is_concerned_by(name: &OsStr) -> bool {
        name == ROOT_MARK || NAMES.iter().any(|known| name == *known)
    }

    /// The decision of the strongest rule that matches this path; `None` if none does. The caller must check the
    /// directories above: everything in an ignored directory is ignored.
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

    /// What is known, for a process that goes on with it.
    pub fn keep(&self) -> Kept {
        let state = self.lock();
        Kept::new(state.looks(), &state.outside, &state.repositories)
    }

    /// Everything was asked about, and little of it will be asked again: goes on as [`IgnoreFiles::resume`] does. What is cached
    /// for each directory of a large tree would stay in memory for nothing.
    pub fn let_go(&self) {
        let mut state = self.lock();
        let files = state.looks().collect();
        state.before = Some(Before { files, seen: HashSet::new() });
        (state.directories, state.files) = (HashMap::new(), HashMap::new());
    }

    /// Goes on with what another process knew. Nothing is read now; each ignore file is read when it is first needed, and if
    /// it does not look as it did, that is a change of the rules.
    pub fn resume(&self, kept: Kept) {
        let mut state = self.lock();
        let (files, outside, repositories) = kept.into_parts();
        state.before = Some(Before { files, seen: HashSet::new() });
        state.outside = outside;
        state.repositories = repositories;
    }

    /// Takes in the result of a directory listing: whether the directory has an entry for which
    /// [`IgnoreFiles::is_concerned_by`] holds. If not, no ignore file is searched for in it; if so, and the directory
    /// is cached, its ignore files are checked for changes.
    pub fn enter(&self, directory: &Path, has_any: bool) {
        let known = self.lock().directories.get(directory).map(|known| known.own);
        match known.or_else(|| self.was_known(directory)) {
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

    /// Must be called when an ignore file or a `.git` may have been changed, created or removed. See
    /// [`IgnoreFiles::changes`].
    pub fn refresh(&self, path: &Path) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        // Nothing is cached for a directory that was never asked about.
        let fold = {
            let state = self.lock();
            match state.directories.get(directory) {
                Some(known) => known.level.as_ref().is_some_and(|level| level.fold),
                None if state.before.is_some() => false,
                None => return,
            }
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

    /// Checks the files that influence the rules and are not in watched directories: above the bases, in `.git` and in
    /// the home directory. Must be called periodically.
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

    /// The changes of rules since the last call.
    pub fn changes(&self) -> Vec<RulesChanged> {
        std::mem::take(&mut self.lock().changes)
    }

    /// Whether git is writing in one of the repositories that this says yes to, by their roots: it holds `index.lock`
    /// from the first file of a checkout to the last (`lockfile.h` in git's source).
    pub fn git_is_writing(&self, concerns: impl Fn(&Path) -> bool) -> bool {
        let state = self.lock();
        let mut locks = state.repositories.iter().filter(|(root, _)| concerns(root)).map(|(_, known)| &known.lock);
        locks.any(|lock| lock.symlink_metadata().is_ok())
    }

    /// The ignore files that cannot be used, or only in part; each is returned once.
    pub fn flaws(&self) -> Vec<Flaw> {
        std::mem::take(&mut self.lock().untold)
    }

    /// Checks a file that applies to whole repositories: an exclude file or a configuration file.
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

    /// Whether the process before this one knew an ignore file or a repository in this directory; `None` if not.
    fn was_known(&self, directory: &Path) -> Option<bool> {
        let state = self.lock();
        let before = state.before.as_ref()?;
        let own = NAMES.iter().any(|name| before.files.contains_key(&directory.join(name)));
        (own || state.repositories.contains_key(directory)).then_some(true)
    }

    /// Whether the content of an ignore file differs from the cached one. For a file that the process before this one has
    /// read, the stamps are compared.
    fn differs(&self, path: &Path, follow: bool, fold: bool) -> bool {
        self.see(path, follow, fold).differs()
    }

    /// Reads an ignore file, once: what is compared is what applies from now on.
    fn see(&self, path: &Path, follow: bool, fold: bool) -> Seen {
        let (known, then) = {
            let mut state = self.lock();
            let known = state.files.get(path).cloned();
            let first = |before: &mut Before| before.seen.insert(path.to_owned()).then(|| before.files.remove(path));
            (known, state.before.as_mut().and_then(first))
        };
        let now = self.read(path, follow, fold);
        let by_stamp = then.map(|then| now.as_ref().and_then(|file| file.stamp) != then);
        Seen { known, now, by_stamp }
    }

    /// The same for the `.git` of a directory.
    fn first_look_at_root(&self, directory: &Path, now: Option<&Repository>) -> bool {
        let mut state = self.lock();
        let Some(before) = state.before.as_mut() else { return false };
        before.seen.insert(directory.join(ROOT_MARK)) && state.repositories.get(directory) != now
    }

    /// Drops what is cached below a directory because this file changed.
    fn forget(&self, file: &Path, below: &Path) {
        let mut state = self.lock();
        let State { before, repositories, .. } = &mut *state;
        if let Some(before) = before {
            let roots = repositories.keys().filter(|root| root.starts_with(below)).map(|root| root.join(ROOT_MARK));
            before.seen.extend(roots.chain([file.to_owned()]));
        }
        state.directories.retain(|directory, _| !directory.starts_with(below));
        state.repositories.retain(|root, _| !root.starts_with(below));
        state.changes.push(RulesChanged { below: below.to_owned(), since_ns: file::changed_at(file) });
    }

    /// The ignore files that apply in a directory.
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
        let candidates: Vec<(PathBuf, bool)> = own.chain(common.flatten().map(|path| (path, true))).collect();
        let (mut files, mut changed) = (Vec::new(), Vec::new());
        for (path, follow) in candidates {
            let seen = self.see(&path, follow, fold);
            changed.extend(seen.has_changed_unnoticed().then_some(path));
            files.extend(seen.now);
        }
        changed.extend(self.first_look_at_root(directory, repository.as_ref()).then(|| directory.join(ROOT_MARK)));
        let own = is_root || !files.is_empty();
        let level =
            if own { Some(Arc::new(Level { directory: directory.to_owned(), files, above, fold })) } else { above };
        self.watch_for(directory, repository.as_ref());
        let mut state = self.lock();
        let changed = changed.iter().map(|file| (directory.to_owned(), file::changed_at(file)));
        state.changes.extend(changed.map(|(below, since_ns)| RulesChanged { below, since_ns }));
        state.repositories.extend(repository.map(|repository| (directory.to_owned(), repository)));
        state.directories.insert(directory.to_owned(), Known { level: level.clone(), own });
        level
    }

    /// The ignore files of the parent directory, if they apply: it is in a watched directory or in the same repository.
    fn above(&self, directory: &Path) -> Option<Arc<Level>> {
        let parent = directory.parent()?;
        let reached = self.is_inside(parent) || parent.ancestors().any(Repository::begins_at);
        reached.then(|| self.level_of(parent)).flatten()
    }

    fn is_inside(&self, directory: &Path) -> bool {
        self.bases.iter().any(|base| directory.starts_with(base))
    }

    /// Notes the files that influence this directory and are not in watched directories.
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
        self.state.lock().expect("a panic ends the process")
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
