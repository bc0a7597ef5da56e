//! Does a path count, and by which rule?
//!
//! In this order: our own files, which never count; the config file; a name given literally; `-i`; the watch patterns (or everything, without
//! any); then, unless `--no-ignore`, the nearest ignore file that has a word on it, and the built-in list.
//! Ignore rules apply below the base of a pattern, never to the base: who names `.venv/lib/**` means it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::config::{Config, Pattern, Shape};

/// What nobody edits: version control, dependencies, caches, build directories, editors' leavings, and the `..data`
/// behind the files of a Kubernetes volume.
const BUILT_IN: &str = "
.git/ .hg/ .svn/ .bzr/ .jj/ CVS/
node_modules/ bower_components/ .pnpm-store/ .yarn/
__pycache__/ .venv/ venv/ .tox/ .nox/ .eggs/ *.egg-info/ .mypy_cache/ .pytest_cache/ .ruff_cache/ .hypothesis/ .ipynb_checkpoints/
target/ .gradle/ .next/ .nuxt/ .svelte-kit/ .parcel-cache/ .turbo/ .terraform/ .direnv/ .cache/
.idea/ .vscode/ .vs/
*.pyc *.pyo *.pyd *~ *.swp *.swo *.swx .#* #*# 4913 ___jb_* *___jb_tmp___ *___jb_old___ .goutputstream-* .~lock.* *.kate-swp flycheck_*
.DS_Store Thumbs.db .nfs* ..*
";

/// What a running command writes: left out where everything is watched, not where a pattern asks for it.
const OUTPUTS: &str = "*.log *.pid *.sock *.sqlite *.sqlite3 *.db *-journal *-wal *-shm";

/// The names of ignore files, the stronger one first.
const IGNORE_FILES: [&str; 2] = [".ignore", ".gitignore"];

/// The rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// reloadrun itself writes it: the lockfile, the events.
    Own,
    /// It is the config file.
    ConfigFile,
    /// A watch pattern names or matches it: `-w '*.py'`.
    Pattern(Arc<str>),
    /// No pattern was given, so everything counts.
    Everything,
    /// An ignore pattern matches it: `-i 'build'`.
    Ignored(Arc<str>),
    /// An ignore file leaves it out: the file, and its line.
    IgnoreFile(PathBuf, String),
    /// The built-in list leaves it out, by this entry.
    BuiltIn(String),
    /// No watch pattern matches it.
    Unmatched,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Own => f.write_str("reloadrun's own file"),
            Rule::ConfigFile => f.write_str("the config file"),
            Rule::Pattern(rule) | Rule::Ignored(rule) => f.write_str(rule),
            Rule::Everything => f.write_str("everything that is not ignored"),
            Rule::IgnoreFile(file, line) => write!(f, "'{line}' in {}", file.display()),
            Rule::BuiltIn(entry) => write!(f, "'{entry}' in the built-in ignore list"),
            Rule::Unmatched => f.write_str("no watch pattern matches"),
        }
    }
}

/// A verdict on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether a change of it counts.
    pub counts: bool,
    /// Why.
    pub rule: Rule,
}

impl Decision {
    fn yes(rule: Rule) -> Decision {
        Decision { counts: true, rule }
    }

    fn no(rule: Rule) -> Decision {
        Decision { counts: false, rule }
    }
}

/// Patterns with a common base, compiled together.
#[derive(Debug)]
struct Group {
    base: PathBuf,
    set: GlobSet,
    /// For each glob of the set: the rule, and whether its last piece is a mere `*` or `**`.
    rules: Vec<(Arc<str>, bool)>,
    /// How many directories below the base can hold a match; `None` without bound.
    depth: Option<usize>,
    last_directory: Mutex<Option<(PathBuf, Option<usize>)>>,
}

impl Group {
    /// The glob that matches the path, or a directory it lies in: what matches a directory means everything in it.
    fn matching(&self, path: &Path) -> Option<&(Arc<str>, bool)> {
        let relative = path.strip_prefix(&self.base).ok()?;
        let own = || self.set.matches(relative).first().copied();
        let parent = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
        let index = own().or_else(|| self.of_directory(parent?))?;
        Some(&self.rules[index])
    }

    /// The last answer is kept: a walk asks for one file after the other of the same directory.
    fn of_directory(&self, relative: &Path) -> Option<usize> {
        if let Some((last, index)) = locked(&self.last_directory).as_ref()
            && last == relative
        {
            return *index;
        }
        let parts = relative.ancestors().filter(|part| !part.as_os_str().is_empty());
        let index = parts.filter_map(|part| self.set.matches(part).first().copied()).last();
        *locked(&self.last_directory) = Some((relative.to_owned(), index));
        index
    }

    /// Whether a glob that is more than `*` or `**` matches the path itself.
    fn asks_for(&self, path: &Path) -> bool {
        let matches = |relative| self.set.matches(relative).into_iter().any(|index| !self.rules[index].1);
        path.strip_prefix(&self.base).is_ok_and(matches)
    }

    fn may_match_below(&self, directory: &Path) -> bool {
        let Ok(relative) = directory.strip_prefix(&self.base) else { return false };
        self.depth.is_none_or(|depth| relative.components().count() < depth) || self.matching(directory).is_some()
    }
}

/// Ignore files of one directory, and those of the directories above that have a say.
#[derive(Debug)]
struct DirectoryRules {
    own: Vec<Gitignore>,
    above: Option<Arc<DirectoryRules>>,
}

/// Decides by the rules of one configuration. Ignore files are read when a directory is first asked about, and
/// then kept: a change of theirs counts from the next generation on.
#[derive(Debug)]
pub struct Filter {
    config_file: PathBuf,
    /// Files that reloadrun itself writes.
    own: Vec<PathBuf>,
    literals: Vec<(PathBuf, Arc<str>)>,
    watch: Vec<Group>,
    everything: Option<PathBuf>,
    ignore: Vec<Group>,
    built_in: Option<(Gitignore, Gitignore)>,
    directories: Mutex<HashMap<PathBuf, Option<Arc<DirectoryRules>>>>,
    last_directory: Mutex<Option<Answer>>,
}

/// Whether a directory below a base is ignored.
#[derive(Debug)]
struct Answer {
    base: PathBuf,
    directory: PathBuf,
    outputs_too: bool,
    verdict: Option<Rule>,
}

impl Filter {
    /// Compiles the patterns of a configuration.
    ///
    /// `own` are the files that reloadrun itself writes, which never count.
    pub fn new(config: &Config, own: Vec<PathBuf>) -> Filter {
        let literals = config.watch.iter().filter(|pattern| matches!(pattern.shape, Shape::Literal));
        let filter = Filter {
            config_file: config.config_file.clone(),
            own,
            literals: literals.map(|pattern| (pattern.base.clone(), pattern.rule.as_str().into())).collect(),
            watch: groups(&config.watch),
            everything: config.watch.is_empty().then(|| config.directory.clone()),
            ignore: groups_with_literals(&config.ignore),
            built_in: (!config.no_ignore).then(|| (list(BUILT_IN), list(OUTPUTS))),
            directories: Mutex::default(),
            last_directory: Mutex::default(),
        };
        filter.warm_up();
        filter
    }

    /// One more file that reloadrun itself writes.
    pub fn leave_out(&mut self, own: PathBuf) {
        self.own.push(own);
    }

    /// The matchers build what they need at their first use; done here, once, every forked child has it for nothing.
    fn warm_up(&self) {
        let path = Path::new("/some/path.txt");
        for list in self.built_in.iter().flat_map(|(built_in, outputs)| [built_in, outputs]) {
            list.matched(path, false);
        }
        for group in self.watch.iter().chain(&self.ignore) {
            group.matching(&group.base.join("some/path.txt"));
        }
    }

    /// Where the watched paths begin: directories to walk, files, and names that need not exist.
    pub fn roots(&self) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = (self.everything.iter())
            .chain(self.watch.iter().map(|group| &group.base))
            .chain(self.literals.iter().map(|(path, _)| path))
            .chain([&self.config_file])
            .cloned()
            .collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Whether a change of this file counts, and why.
    pub fn decide(&self, path: &Path) -> Decision {
        if self.own.iter().any(|own| own == path) {
            return Decision::no(Rule::Own);
        }
        if path == self.config_file {
            return Decision::yes(Rule::ConfigFile);
        }
        if let Some((_, rule)) = self.literals.iter().find(|(literal, _)| literal == path) {
            return Decision::yes(Rule::Pattern(rule.clone()));
        }
        if let Some(rule) = self.left_out(path) {
            return Decision::no(rule);
        }
        let Some((base, rule, outputs_too)) = self.matching(path) else { return Decision::no(Rule::Unmatched) };
        match self.ignored(base, path, false, outputs_too) {
            Some(ignored) => Decision::no(ignored),
            None => Decision::yes(rule),
        }
    }

    /// Whether a path that counts is merely swept in with its directory: neither named nor matched by a pattern that says
    /// something of its name (`*.py`).
    pub fn is_swept(&self, path: &Path) -> bool {
        let named = path == self.config_file || self.is_literal(path);
        !named && !self.watch.iter().any(|group| group.asks_for(path))
    }

    /// Whether a directory can hold anything that counts, so that it is to be watched and walked.
    pub fn descend(&self, directory: &Path) -> bool {
        self.decide_directory(directory).counts
    }

    /// The same, and why.
    pub fn decide_directory(&self, directory: &Path) -> Decision {
        let everything = self.everything.iter().filter(|base| directory.starts_with(base));
        let groups = self.watch.iter().filter(|group| group.may_match_below(directory));
        let literals = self.literals.iter().filter(|(path, _)| directory.starts_with(path));
        let mut bases = (everything.map(|base| (base, Rule::Everything)))
            .chain(groups.map(|group| (&group.base, Rule::Pattern(group.rules[0].0.clone()))))
            .chain(literals.map(|(path, rule)| (path, Rule::Pattern(rule.clone()))))
            .peekable();
        if bases.peek().is_none() {
            return Decision::no(Rule::Unmatched);
        }
        if let Some(rule) = self.left_out(directory).filter(|_| !self.is_literal(directory)) {
            return Decision::no(rule);
        }
        let mut verdict = Decision::no(Rule::Unmatched);
        for (base, rule) in bases {
            match self.ignored(base, directory, true, true) {
                None => return Decision::yes(rule),
                Some(ignored) => verdict = Decision::no(ignored),
            }
        }
        verdict
    }

    /// Tells which ignore files a directory has, which a walk knows from its listing, so that none is looked for.
    pub fn enter(&self, directory: &Path, has_ignore_files: bool) {
        if !has_ignore_files && self.built_in.is_some() {
            let above = directory.parent().and_then(|parent| self.rules_of(parent));
            locked(&self.directories).insert(directory.to_owned(), above);
        }
    }

    /// Whether a name is that of an ignore file.
    pub fn is_ignore_file(name: &std::ffi::OsStr) -> bool {
        IGNORE_FILES.iter().any(|known| name == *known)
    }

    fn is_literal(&self, path: &Path) -> bool {
        self.literals.iter().any(|(literal, _)| literal == path)
    }

    fn left_out(&self, path: &Path) -> Option<Rule> {
        self.ignore.iter().find_map(|group| group.matching(path)).map(|(rule, _)| Rule::Ignored(rule.clone()))
    }

    /// The base and the rule that match, and whether the pattern means the outputs of programs too.
    fn matching(&self, path: &Path) -> Option<(&Path, Rule, bool)> {
        let of_group = |group: &'_ Group| group.matching(path).cloned();
        let patterns = self.watch.iter().find_map(|group| {
            let (rule, sweeping) = of_group(group)?;
            Some((group.base.as_path(), Rule::Pattern(rule), !sweeping))
        });
        let literals = || {
            let (base, rule) = self.literals.iter().find(|(literal, _)| path.starts_with(literal))?;
            Some((base.as_path(), Rule::Pattern(rule.clone()), false))
        };
        let everything = || {
            let base = self.everything.as_ref().filter(|base| path.starts_with(base))?;
            Some((base.as_path(), Rule::Everything, false))
        };
        patterns.or_else(literals).or_else(everything)
    }

    /// The ignore rule that applies to the path or to a directory between it and the base, if any.
    fn ignored(&self, base: &Path, path: &Path, is_directory: bool, outputs_too: bool) -> Option<Rule> {
        self.built_in.as_ref()?;
        if path == base {
            return None;
        }
        let parent = path.parent().filter(|parent| parent.starts_with(base));
        let above = parent.and_then(|parent| self.directory_ignored(base, parent, outputs_too));
        above.or_else(|| self.part_ignored(path, is_directory, outputs_too))
    }

    /// The same for a directory. The last answer is kept: a walk asks it for one file after the other.
    fn directory_ignored(&self, base: &Path, directory: &Path, outputs_too: bool) -> Option<Rule> {
        if let Some(last) = locked(&self.last_directory).as_ref()
            && (last.base == base && last.directory == directory && last.outputs_too == outputs_too)
        {
            return last.verdict.clone();
        }
        let verdict = self.ignored(base, directory, true, outputs_too);
        let answer =
            Answer { base: base.to_owned(), directory: directory.to_owned(), outputs_too, verdict: verdict.clone() };
        *locked(&self.last_directory) = Some(answer);
        verdict
    }

    /// The ignore rule that applies to this one piece of a path.
    fn part_ignored(&self, part: &Path, is_directory: bool, outputs_too: bool) -> Option<Rule> {
        match self.ignore_file_says(part, is_directory) {
            Match::Ignore(rule) => return Some(rule),
            Match::Whitelist(_) => return None,
            Match::None => {}
        }
        let (built_in, outputs) = self.built_in.as_ref()?;
        let lists = [Some(built_in), (!outputs_too).then_some(outputs)];
        lists.into_iter().flatten().find_map(|list| match list.matched(part, is_directory) {
            // Without the backslash that keeps a leading # from being a comment.
            Match::Ignore(glob) => Some(Rule::BuiltIn(glob.original().trim_start_matches('\\').to_owned())),
            _ => None,
        })
    }

    fn ignore_file_says(&self, path: &Path, is_directory: bool) -> Match<Rule> {
        let mut rules = path.parent().and_then(|parent| self.rules_of(parent));
        while let Some(directory) = rules {
            for file in &directory.own {
                let verdict = file.matched(path, is_directory);
                if !verdict.is_none() {
                    return verdict.map(|glob| {
                        let from = glob.from().map_or_else(|| file.path().to_owned(), Path::to_owned);
                        Rule::IgnoreFile(from, glob.original().to_owned())
                    });
                }
            }
            rules = directory.above.clone();
        }
        Match::None
    }

    /// The ignore files that have a say in a directory: its own and those above it, up to the root of the
    /// repository; outside of a repository, up to the base of what is watched.
    fn rules_of(&self, directory: &Path) -> Option<Arc<DirectoryRules>> {
        if let Some(known) = locked(&self.directories).get(directory) {
            return known.clone();
        }
        let above = directory.parent().filter(|parent| self.reaches(parent)).and_then(|parent| self.rules_of(parent));
        let own: Vec<Gitignore> = IGNORE_FILES
            .iter()
            .map(|name| directory.join(name))
            .chain([directory.join(".git/info/exclude")])
            .filter(|file| file.is_file())
            // A file with a bad line keeps its good ones, as in git.
            .map(|file| {
                let mut builder = GitignoreBuilder::new(directory);
                let _ = builder.add(file);
                builder.build().unwrap_or_else(|_| Gitignore::empty())
            })
            .collect();
        let rules = if own.is_empty() { above } else { Some(Arc::new(DirectoryRules { own, above })) };
        locked(&self.directories).insert(directory.to_owned(), rules.clone());
        rules
    }

    /// Whether ignore files of this directory can have a say: it lies inside what is watched, or between that and
    /// the root of its repository.
    fn reaches(&self, directory: &Path) -> bool {
        let inside = self.roots().iter().any(|root| directory.starts_with(root));
        inside || directory.ancestors().any(|ancestor| ancestor.join(".git").exists())
    }
}

/// A cache is whole after every single assignment, whatever panicked in between.
fn locked<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(entries: &str) -> Gitignore {
    let mut builder = GitignoreBuilder::new("/");
    for entry in entries.split_whitespace() {
        // A leading # would be a comment.
        let line = if entry.starts_with('#') { format!("\\{entry}") } else { entry.to_owned() };
        builder.add_line(None, &line).expect("the built-in list is well formed");
    }
    builder.build().expect("the built-in list is well formed")
}

fn groups(patterns: &[Pattern]) -> Vec<Group> {
    let globs = patterns.iter().filter_map(|pattern| match &pattern.shape {
        Shape::Glob(glob) => Some((pattern, glob.clone())),
        Shape::Literal => None,
    });
    grouped(globs)
}

/// A literal of the ignore list is a glob without wildcards: the path itself and all below it.
fn groups_with_literals(patterns: &[Pattern]) -> Vec<Group> {
    let mut with_names: Vec<(Pattern, Glob)> = Vec::new();
    for pattern in patterns {
        match &pattern.shape {
            Shape::Glob(glob) => with_names.push((pattern.clone(), glob.clone())),
            Shape::Literal => {
                let Some(name) = pattern.base.file_name() else { continue };
                let base = pattern.base.parent().unwrap_or(Path::new("/")).to_owned();
                if let Ok(glob) = compiled(&globset::escape(&name.to_string_lossy())) {
                    with_names.push((Pattern { base, ..pattern.clone() }, glob));
                }
            }
        }
    }
    grouped(with_names.iter().map(|(pattern, glob)| (pattern, glob.clone())))
}

/// Globs with the rules they stand for.
type Entries = Vec<(Arc<str>, Glob)>;

fn grouped<'a>(patterns: impl Iterator<Item = (&'a Pattern, Glob)>) -> Vec<Group> {
    let mut by_base: Vec<(PathBuf, Entries)> = Vec::new();
    for (pattern, glob) in patterns {
        let entry = (pattern.rule.as_str().into(), glob);
        match by_base.iter_mut().find(|(base, _)| *base == pattern.base) {
            Some((_, entries)) => entries.push(entry),
            None => by_base.push((pattern.base.clone(), vec![entry])),
        }
    }
    by_base.into_iter().map(|(base, entries)| group(base, entries)).collect()
}

fn group(base: PathBuf, entries: Entries) -> Group {
    let mut builder = GlobSetBuilder::new();
    let mut rules = Vec::new();
    let mut depth = Some(0);
    for (rule, glob) in entries {
        let text = glob.glob().to_owned();
        let pieces = text.split('/').count();
        depth = if text.contains("**") { None } else { depth.map(|depth: usize| depth.max(pieces)) };
        let sweeping = text.rsplit('/').next().is_some_and(|last| last.chars().all(|c| c == '*'));
        builder.add(glob);
        rules.push((rule, sweeping));
    }
    Group {
        base,
        set: builder.build().unwrap_or_else(|_| GlobSet::empty()),
        rules,
        depth,
        last_directory: Mutex::default(),
    }
}

fn compiled(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
