//! The built-in lists: names that nobody edits, names that programs write, and names that are configuration.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::ignore_files::matches;

/// What nobody edits: version control, dependencies, caches, build directories, what editors leave behind, and the
/// `..data` behind the files of a Kubernetes volume. A slash at the end: directories only.
const BUILT_IN: &str = "
.git/ .hg/ .svn/ .bzr/ .jj/ CVS/
node_modules/ bower_components/ .pnpm-store/ .yarn/
__pycache__/ .venv/ venv/ .tox/ .nox/ .eggs/ *.egg-info/ .mypy_cache/ .pytest_cache/ .ruff_cache/ .hypothesis/ .ipynb_checkpoints/
.coverage .coverage.* htmlcov/ coverage/ .nyc_output/ *.prof celerybeat-schedule*
target/ .gradle/ .next/ .nuxt/ .svelte-kit/ .parcel-cache/ .turbo/ .terraform/ .direnv/ .cache/ .sass-cache/
*.timestamp-*.mjs
.idea/ .vscode/ .vs/
*.pyc *.pyo *.pyd
*~ *.swp *.swo *.swx .*.sw? .sw? 4913
.#* #*# flycheck_* *_flymake.*
*.bck .*.kak.* *.kate-swp .goutputstream-* ___jb_* *___jb_tmp___ *___jb_old___
.~lock.* ~$* ~WRL*.tmp
.syncthing.* ~syncthing~* .stversions/ .fuse_hidden* .nfs*
.DS_Store Thumbs.db ..*
";

/// What builds and running commands write: left out where everything is swept in, not where a pattern asks for it.
const OUTPUTS: &str = "
*.log *.pid *.sock *.sqlite *.sqlite3 *.db *-journal *-wal *-shm dump.rdb
site/ _build/ dist/ build/ out/ staticfiles/ *.o *.a *.so *.obj *.class *.gcda *.gcno
";

/// What is configuration although nearly every project has git ignore it: counts where everything is swept in.
const CONFIGURATION: &str = ".env .env.* .flaskenv";

/// One list of names. Not of [`Globs`](crate::pattern::Globs): to compile those takes longer than to start a command.
#[derive(Debug)]
pub struct List {
    names: HashMap<&'static [u8], &'static str>,
    wild: Vec<&'static str>,
}

impl List {
    fn of(text: &'static str) -> List {
        let is_wild = |entry: &&str| entry.contains(['*', '?']);
        let (wild, names): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(is_wild);
        List { names: names.into_iter().map(|entry| (name_of(entry), entry)).collect(), wild }
    }

    /// The entry that matches a name, if one does.
    pub fn matching(&self, name: &OsStr, is_directory: bool) -> Option<&'static str> {
        let name = name.as_bytes();
        let applies = |entry: &&str| is_directory || !entry.ends_with('/');
        let exact = self.names.get(name).copied().filter(applies);
        exact.or_else(|| self.wild.iter().copied().filter(applies).find(|entry| matches(name_of(entry), name, false)))
    }
}

fn name_of(entry: &'static str) -> &'static [u8] {
    entry.trim_end_matches('/').as_bytes()
}

/// All three.
#[derive(Debug)]
pub struct Lists {
    /// See [`BUILT_IN`].
    pub built_in: List,
    /// See [`OUTPUTS`].
    pub outputs: List,
    /// See [`CONFIGURATION`].
    pub configuration: List,
}

impl Lists {
    /// Reads them.
    pub fn new() -> Lists {
        Lists { built_in: List::of(BUILT_IN), outputs: List::of(OUTPUTS), configuration: List::of(CONFIGURATION) }
    }
}

/// The built-in entry for what is reached through symlinks only: the `..data` of a Kubernetes volume.
pub const BEHIND_LINKS: &str = "..*";

/// A directory with this file is a virtual environment of Python's, whatever its name (PEP 405).
pub const VIRTUAL_ENVIRONMENT: &str = "pyvenv.cfg";

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, CONFIGURATION, OUTPUTS, matches};
    use crate::pattern::{Glob, Globs};
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::path::Path;

    proptest! {
        #[test]
        fn a_list_matches_as_a_glob_would(pattern in "[ab.]?[ab*?.]{1,6}", name in "[ab][ab.]{0,6}") {
            let globs = Globs::new([&Glob::new(&pattern).unwrap()]);
            let expected = !globs.matches(Path::new(&name)).is_empty();
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes(), false), expected, "{} on {}", pattern, name);
        }
    }

    #[test]
    fn no_entry_has_a_wildcard_that_a_list_does_not_know() {
        for entry in [BUILT_IN, OUTPUTS, CONFIGURATION].iter().flat_map(|list| list.split_whitespace()) {
            assert!(!entry.contains(['[', '{', '\\']), "{entry}");
        }
    }
}
