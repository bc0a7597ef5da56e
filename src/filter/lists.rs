//! The built-in lists: names that nobody edits, names that programs write, and names that are configuration.

use std::ffi::OsStr;
use std::path::Path;

use crate::pattern::{Glob, Globs};

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
*~ *.swp *.swo *.swx .*.sw[a-z] .*.sv[a-fh-z] .sw[a-p] 4913
.#* #*# flycheck_* *_flymake.*
*.bck .*.kak.* *.kate-swp .goutputstream-* ___jb_* *___jb_tmp___ *___jb_old___
.~lock.* ~$* ~WRL*.tmp
.syncthing.* ~syncthing~* .stversions/ .fuse_hidden* .nfs*
.DS_Store Thumbs.db ..*
";

/// What builds and running commands write: left out where everything is swept in, not where a pattern asks for it.
const OUTPUTS: &str = "
*.log *.pid *.sock *.sqlite *.sqlite3 *.db *-journal *-wal *-shm dump.rdb
site/ _build/ dist/ build/ out/ staticfiles/ *.o *.a *.so
";

/// What is configuration although nearly every project has git ignore it: counts where everything is swept in.
const CONFIGURATION: &str = ".env .env.* .flaskenv";

/// One list of names.
#[derive(Debug)]
pub struct List {
    globs: Globs,
    entries: Vec<&'static str>,
}

impl List {
    fn of(text: &'static str) -> List {
        let entries: Vec<&str> = text.split_whitespace().collect();
        let globs = entries.iter().map(|entry| Glob::new(entry.trim_end_matches('/')));
        let globs: Vec<Glob> = globs.map(|glob| glob.expect("the lists are well formed")).collect();
        List { globs: Globs::new(&globs), entries }
    }

    /// The entry that matches a name, if one does.
    pub fn matching(&self, name: &OsStr, is_directory: bool) -> Option<&'static str> {
        let found = self.globs.matches(Path::new(name));
        let entries = found.into_iter().map(|index| self.entries[index]);
        entries.filter(|entry| is_directory || !entry.ends_with('/')).min()
    }
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
    /// Compiles them.
    pub fn new() -> Lists {
        Lists { built_in: List::of(BUILT_IN), outputs: List::of(OUTPUTS), configuration: List::of(CONFIGURATION) }
    }
}

/// A directory with this file is a virtual environment of Python's, whatever its name (PEP 405).
pub const VIRTUAL_ENVIRONMENT: &str = "pyvenv.cfg";
