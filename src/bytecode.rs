//! Removes stale compiled Python files. CPython accepts a `.pyc` if the size of the source and its time in whole
//! seconds match, so a fast restart after a small edit could run the old code. Before a start, and before a signal that
//! makes the command import again, the compiled files of the changed sources are removed.
//!
//! Only `<stem>.*.pyc` in the caches of a changed source are removed, and never through a symlink. The caches are
//! `__pycache__` beside the source and, as `importlib` has it (`cache_from_source`), the same path below
//! `sys.pycache_prefix`.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tracing::debug;

use crate::config::Config;
use crate::os::directory::Directory;

/// The variable that sets `sys.pycache_prefix`.
const PREFIX: &str = "PYTHONPYCACHEPREFIX";

/// The option that does the same: `-X pycache_prefix=PATH`.
const OPTION: &str = "pycache_prefix=";

/// Where the command's Python keeps compiled files.
#[derive(Debug)]
pub struct Caches {
    /// The command's directory: its real path and the name that the user knows.
    directory: PathBuf,
    named_directory: PathBuf,
    /// Directories that mirror absolute paths (`sys.pycache_prefix`). A Python without that setting uses `__pycache__`.
    prefixes: Vec<PathBuf>,
}

impl Caches {
    /// Finds the caches from the words of the command and from the environment that it inherits.
    pub fn of(config: &Config) -> Caches {
        let inherited = config.environment.get(PREFIX).map(OsStr::to_owned);
        // `env PYTHONPYCACHEPREFIX=...`, `python -X pycache_prefix=...`.
        let words = config.words().iter().filter_map(|word| {
            let word = word.as_bytes();
            let word = word.strip_prefix(b"-X").unwrap_or(word);
            let value = word.strip_prefix(OPTION.as_bytes()).or_else(|| {
                let value = word.strip_prefix(PREFIX.as_bytes())?;
                value.strip_prefix(b"=")
            })?;
            Some(OsStr::from_bytes(value).to_owned())
        });
        let given = inherited.into_iter().chain(words).filter(|prefix| !prefix.is_empty());
        Caches {
            prefixes: given.map(|prefix: OsString| config.directory.join(prefix)).collect(),
            directory: config.directory.clone(),
            named_directory: config.named_directory.clone(),
        }
    }

    /// Removes the compiled files of these sources. Other paths than Python sources are skipped.
    pub fn drop_compiled<'a>(&self, sources: impl Iterator<Item = &'a Path>) {
        let mut stems: HashMap<&Path, HashSet<&OsStr>> = HashMap::new();
        for source in sources.filter(|path| path.extension().is_some_and(|extension| extension == "py")) {
            if let (Some(directory), Some(stem)) = (source.parent(), source.file_stem()) {
                stems.entry(directory).or_default().insert(stem);
            }
        }
        // Each cache is read once, however many of its sources have changed.
        for (directory, stems) in stems {
            let beside = Directory::open(directory).and_then(|sources| sources.enter(OsStr::new("__pycache__")));
            for cache in beside.into_iter().chain(self.mirrors(directory)) {
                drop_from(cache, &stems);
            }
        }
    }

    /// The directories below the prefixes that can hold compiled files of `directory`. Python builds the path from its
    /// own name of the directory, so all names of it are tried.
    fn mirrors(&self, directory: &Path) -> Vec<Directory> {
        if self.prefixes.is_empty() {
            return Vec::new();
        }
        let mut names = vec![directory.to_owned()];
        names.extend(std::fs::canonicalize(directory));
        names.extend(directory.strip_prefix(&self.directory).map(|rest| self.named_directory.join(rest)));
        if directory == Path::new("/") {
            // For `/x.py`, Python mirrors the current directory: the path without its last part is empty.
            names.extend([self.directory.clone(), self.named_directory.clone()]);
        }
        let names: HashSet<PathBuf> = names.into_iter().collect();
        let of_prefix = |prefix: &PathBuf| names.iter().filter_map(|name| mirror(prefix, name)).collect::<Vec<_>>();
        self.prefixes.iter().flat_map(of_prefix).collect()
    }
}

fn mirror(prefix: &Path, directory: &Path) -> Option<Directory> {
    let pieces = directory.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut way = Directory::open(prefix)?;
    for name in pieces {
        way = way.enter(name)?;
    }
    Some(way)
}

fn drop_from(mut cache: Directory, stems: &HashSet<&OsStr>) {
    for name in cache.files() {
        // A file that cannot be removed stays.
        if source_stem(&name).is_some_and(|stem| stems.contains(stem)) && cache.remove(&name) {
            debug!(?name, "dropped, its source has just changed");
        }
    }
}

/// `x` of `x.cpython-311.pyc` and `x.cpython-311.opt-2.pyc`; `x.y` of `x.y.pypy39.pyc`.
fn source_stem(compiled: &OsStr) -> Option<&OsStr> {
    let name = compiled.as_bytes().strip_suffix(b".pyc")?;
    let plain = [b".opt-1", b".opt-2"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    let before_tag = |name: &'_ [u8]| name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot + 1 < name.len());
    let (name, dot) = match plain.and_then(|plain| Some((plain, before_tag(plain)?))) {
        Some(found) => found,
        None => (name, before_tag(name)?),
    };
    Some(OsStr::from_bytes(&name[..dot]))
}

#[cfg(test)]
#[path = "bytecode_tests.rs"]
mod tests;
