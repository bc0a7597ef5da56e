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
    wild: Vec<Wild>,
}

/// An entry with wildcards.
#[derive(Debug, Clone, Copy)]
struct Wild {
    entry: &'static str,
    /// What a name must begin and end with. Most names are told apart by that, which is much faster than to match.
    begin: &'static [u8],
    end: &'static [u8],
}

impl Wild {
    fn of(entry: &'static str) -> Wild {
        let name = name_of(entry);
        let is_wild = |byte: &u8| matches!(byte, b'*' | b'?');
        let first = name.iter().position(is_wild).unwrap_or(name.len());
        let after = name.iter().rposition(is_wild).map_or(0, |last| last + 1);
        Wild { entry, begin: &name[..first], end: &name[after..] }
    }

    fn matches(&self, name: &[u8]) -> bool {
        name.starts_with(self.begin) && name.ends_with(self.end) && matches(name_of(self.entry), name, false)
    }
}

impl List {
    fn of(text: &'static str) -> List {
        let is_wild = |entry: &&str| entry.contains(['*', '?']);
        let (wild, names): (Vec<&str>, Vec<&str>) = text.split_whitespace().partition(is_wild);
        List {
            names: names.into_iter().map(|entry| (name_of(entry), entry)).collect(),
            wild: wild.into_iter().map(Wild::of).collect(),
        }
    }

    /// The entry that matches a name, if one does.
    pub fn matching(&self, name: &OsStr, is_directory: bool) -> Option<&'static str> {
        let name = name.as_bytes();
        let applies = |entry: &&str| is_directory || !entry.ends_with('/');
        let exact = self.names.get(name).copied().filter(applies);
        let wild = || self.wild.iter().filter(|wild| applies(&wild.entry)).find(|wild| wild.matches(name));
        exact.or_else(|| wild().map(|wild| wild.entry))
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
    use super::{BUILT_IN, CONFIGURATION, OUTPUTS, Wild};
    use crate::pattern::{Glob, Globs};
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::path::Path;

    proptest! {
        #[test]
        fn a_list_matches_as_a_glob_would(pattern in "[ab.]?[ab*?.]{1,6}", name in "[ab][ab.]{0,6}") {
            let globs = Globs::new([&Glob::new(&pattern).unwrap()]);
            let expected = !globs.matches(Path::new(&name)).is_empty();
            // Leaked, because the entries are part of the program.
            let entry = Wild::of(pattern.clone().leak());
            prop_assert_eq!(entry.matches(name.as_bytes()), expected, "{} on {}", pattern, name);
        }
    }

    #[test]
    fn no_entry_has_a_wildcard_that_a_list_does_not_know() {
        for entry in [BUILT_IN, OUTPUTS, CONFIGURATION].iter().flat_map(|list| list.split_whitespace()) {
            assert!(!entry.contains(['[', '{', '\\']), "{entry}");
        }
    }
}
