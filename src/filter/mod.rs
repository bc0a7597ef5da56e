//! Does a path count, and by which rule?
//!
//! In this order: our own files, which never count; the config file; what only browsers care about; a name given literally; `-i`; the watch patterns (or
//! everything, without any), each with the ignore rules below its base. One pattern by which a path counts is enough.

mod base;
mod decision;
mod discovered;
mod group;
mod hints;
mod last;
mod lists;
mod own;
mod trail;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use self::base::{Base, IgnoreRules};
pub use self::decision::{Decision, Rule};
use self::group::{Entry, Group, glob_of, grouped};
use self::hints::{Surroundings, Unmatched};
use self::last::Last;
pub use self::lists::BEHIND_LINKS;
use self::lists::Lists;
pub use self::own::OwnFiles;
use crate::change::{Look, seen_from};
use crate::config::{Config, Discover};
use crate::degraded::Degraded;
use crate::discover::{Live, Places, Role};
use crate::ignore_files::{self, Flaw, IgnoreFiles, MOST_BYTES, MOST_GLOBS, MOST_RULES, RulesChanged};
use crate::os;
use crate::pattern::{Glob, Kind, Pattern, Shape};

/// A pattern, and what has been seen of it so far.
#[derive(Debug)]
struct Known {
    pattern: Pattern,
    rule: Arc<str>,
    /// Whether it matched anything (an ignore pattern), or something that counts (a watch pattern).
    useful: AtomicBool,
    /// The first match that is ignored, and why.
    refused: OnceLock<(PathBuf, Rule)>,
}

impl Known {
    fn of(pattern: &Pattern) -> Known {
        Known {
            pattern: pattern.clone(),
            rule: pattern.rule.as_str().into(),
            useful: AtomicBool::new(false),
            refused: OnceLock::new(),
        }
    }

    fn is_useful(&self) -> bool {
        // Set while a tree is armed and read after that, by the same thread: no order is needed.
        self.useful.load(Ordering::Relaxed)
    }

    /// Whether it names a file that is there, which may be known from elsewhere than the walk.
    fn is_there(&self) -> bool {
        matches!(self.pattern.shape, Shape::Literal) && self.pattern.base.is_file()
    }

    fn mark(&self) {
        if !self.is_useful() {
            self.useful.store(true, Ordering::Relaxed);
        }
    }
}

/// A way in which a path is reached from a base.
struct Reach<'a> {
    base: &'a Base,
    rule: Rule,
    swept: bool,
    pattern: Option<usize>,
}

/// Decides by the rules of one configuration.
#[derive(Debug)]
pub struct Filter {
    config_file: PathBuf,
    env_files: Vec<PathBuf>,
    own: OwnFiles,
    /// The directory that relative patterns and `-i` names begin at.
    directory: PathBuf,
    watch: Vec<Known>,
    /// From this place on, the watch patterns are those of `--browser-watch`.
    first_for_browsers: usize,
    ignore: Vec<Known>,
    /// Literal names, and their places among the watch patterns.
    literals: Vec<(Base, usize)>,
    groups: Vec<(Base, Group)>,
    everything: Option<Base>,
    /// Ignore patterns without a slash.
    anywhere: Vec<Group>,
    /// Ignore patterns that begin at a base.
    anchored: Vec<Group>,
    /// The last directory that an anchored pattern asked for, and what it is called without symlinks.
    last_real: Last<PathBuf, Option<PathBuf>>,
    rules: Option<IgnoreRules>,
    roots: Vec<PathBuf>,
    discover: Discover,
    live: Option<Arc<Live>>,
}

impl Filter {
    /// Compiles the patterns of a configuration.
    ///
    /// `own` are the files that reloadrun and the command write, which never count.
    pub fn new(config: &Config, own: OwnFiles) -> Filter {
        let all = || config.watch.iter().chain(&config.browser_watch);
        let numbered = || all().enumerate();
        let literal = |(number, pattern): (usize, &Pattern)| match pattern.shape {
            Shape::Literal => Some((Base::new(pattern.base.clone(), pattern.named), number)),
            Shape::Glob(_) => None,
        };
        let named = |base: &Path| all().any(|pattern| pattern.named && pattern.base == base);
        let groups = grouped(numbered(), glob_of).into_iter();
        let (anywhere, anchored): (Vec<_>, Vec<_>) =
            config.ignore.iter().enumerate().partition(|(_, pattern)| pattern.any_depth);
        let mut roots: Vec<PathBuf> = all().map(|pattern| pattern.base.clone()).collect();
        roots.extend(config.watch.is_empty().then(|| config.directory.clone()));
        let bases = roots.clone();
        let git = ignore_files::Environment::among(config.environment.variables());
        roots.extend(config.sources().cloned());
        roots.sort();
        roots.dedup();
        Filter {
            config_file: config.config_file.clone(),
            env_files: config.env_files.clone(),
            own,
            directory: config.directory.clone(),
            watch: all().map(Known::of).collect(),
            first_for_browsers: config.watch.len(),
            ignore: config.ignore.iter().map(Known::of).collect(),
            literals: numbered().filter_map(literal).collect(),
            groups: groups.map(|group| (Base::new(group.base.clone(), named(&group.base)), group)).collect(),
            everything: config.watch.is_empty().then(|| Base::new(config.directory.clone(), false)),
            anywhere: grouped(anywhere, glob_of),
            anchored: [below_itself, below_its_real_self]
                .into_iter()
                .flat_map(|of| grouped(anchored.clone(), of))
                .collect(),
            last_real: Last::default(),
            rules: (!config.no_ignore)
                .then(|| IgnoreRules { files: IgnoreFiles::with_environment(bases, git), lists: Lists::new() }),
            roots,
            discover: config.discover,
            live: (config.discover != Discover::Off).then(|| {
                let home = config.environment.home().map(PathBuf::as_path);
                let places = Places::new(&config.directory, home, &config.discover_root).of(&config.environment);
                Arc::new(Live::new(places, config.overlap))
            }),
        }
    }

    /// What is known of the files that the command reads and writes; `None` if it is not to be traced.
    pub fn live(&self) -> Option<&Arc<Live>> {
        self.live.as_ref()
    }

    /// Whether nothing counts but what the command reads.
    pub fn narrows(&self) -> bool {
        self.discover == Discover::Only
    }

    /// Where the watched paths begin: directories to walk, files, and names that need not exist.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Whether a change of the file behind this name counts, which looks so now.
    pub fn decide_seen(&self, path: &Path, look: Look) -> Decision {
        let decision = self.decide(path);
        if decision.counts && self.is_own(path, look) { Decision::no(Rule::Own) } else { decision }
    }

    /// Whether it is one of our own files, under whatever name.
    pub fn is_own(&self, path: &Path, look: Look) -> bool {
        look.stamp.is_some_and(|stamp| self.own.has_file(path, stamp.inode))
    }

    /// Whether a change of a file of this name counts, and why. What only the file itself can tell, whether it is one of
    /// our own under another name, is told by [`Filter::decide_seen`].
    pub fn decide(&self, path: &Path) -> Decision {
        if self.own.has_path(path) {
            return Decision::no(Rule::Own);
        }
        if path == self.config_file {
            return Decision::yes(Rule::ConfigFile);
        }
        if self.env_files.iter().any(|file| file == path) {
            return Decision::yes(Rule::EnvFile);
        }
        if let Some(rule) = self.for_browsers(path) {
            return Decision::yes(rule);
        }
        if let Some((_, number)) = self.literals.iter().find(|(literal, _)| literal.path == path) {
            let others = self.reaches(path).filter_map(|reach| reach.pattern);
            others.chain([*number]).for_each(|number| self.watch[number].mark());
            return Decision::yes(self.rule_of(*number));
        }
        match &self.live {
            Some(live) => self.decide_discovered(live, path),
            None => self.decide_by_patterns(path),
        }
    }

    /// The rule by which a change of this path concerns browsers alone, whatever the command does with it.
    fn for_browsers(&self, path: &Path) -> Option<Rule> {
        if self.first_for_browsers == self.watch.len() {
            return None;
        }
        let left_out = self.left_out(path);
        let of_browsers = |number: &usize| *number >= self.first_for_browsers;
        let mut found = None;
        for reach in self.reaches(path) {
            let Some(number) = reach.pattern.filter(of_browsers) else { continue };
            let known = &self.watch[number];
            let is_named = || self.literals.iter().any(|(literal, of)| *of == number && literal.path == path);
            let refused = if is_named() { None } else { self.refused(&reach, left_out.as_ref(), path) };
            match refused {
                None => {
                    known.mark();
                    found = found.or(Some(Rule::Browser(Arc::clone(&known.rule))));
                }
                Some(rule) if !known.is_useful() => drop(known.refused.get_or_init(|| (path.to_owned(), rule))),
                Some(_) => {}
            }
        }
        found
    }

    /// The rule that takes out a path that is reached in this way.
    fn refused(&self, reach: &Reach<'_>, left_out: Option<&Rule>, path: &Path) -> Option<Rule> {
        left_out.cloned().or_else(|| self.left_out_below(reach.base, path)).or_else(|| {
            let rules = self.rules.as_ref()?;
            reach.base.ignored(rules, path, false, reach.swept)
        })
    }

    /// The same decision once more, if all that was seen of the command by now could change it.
    pub fn decide_by_now(&self, path: &Path, decision: Decision) -> Decision {
        let Some(live) = &self.live else { return decision };
        live.catch_up();
        self.decide(path)
    }

    /// By the patterns, and by what the command does with the file.
    fn decide_discovered(&self, live: &Live, path: &Path) -> Decision {
        let mut by_patterns = self.decide_by_patterns(path);
        if by_patterns.rule == Rule::Unmatched && !path.starts_with(&self.directory) {
            // No pattern reaches it, but those of `-i` take out what was found as well: names without a slash apply below what
            // it shares with the directory.
            let shared = path.ancestors().find(|part| self.directory.starts_with(part));
            let relative = shared.and_then(|shared| path.strip_prefix(shared).ok());
            let left_out = |relative: &Path| self.left_out_anywhere(relative).or_else(|| self.listed(relative));
            by_patterns.rule = relative.and_then(left_out).unwrap_or(by_patterns.rule);
        }
        discovered::decide(self.discover, self.everything.is_none(), live.standing(path), path, by_patterns, live)
    }

    /// What takes a path out whose directories no walk has come by.
    fn listed(&self, relative: &Path) -> Option<Rule> {
        let lists = &self.rules.as_ref()?.lists;
        let parts = relative.iter().enumerate();
        let last = parts.clone().count() - 1;
        let mut entries = parts.filter_map(|(at, name)| lists.built_in.matching(name, at < last));
        entries.next().map(Rule::BuiltIn)
    }

    fn decide_by_patterns(&self, path: &Path) -> Decision {
        let left_out = self.left_out(path);
        let mut verdict = Decision::no(Rule::Unmatched);
        for reach in self.reaches(path) {
            let refused = self.refused(&reach, left_out.as_ref(), path);
            if let Some(known) = reach.pattern.map(|number| &self.watch[number]) {
                match &refused {
                    None => known.mark(),
                    Some(rule) if !known.is_useful() => {
                        known.refused.get_or_init(|| (path.to_owned(), rule.clone()));
                    }
                    Some(_) => {}
                }
            }
            match refused {
                None if !verdict.counts => verdict = Decision::yes(reach.rule),
                None => {}
                Some(rule) if verdict.rule == Rule::Unmatched => verdict = Decision::no(rule),
                Some(_) => {}
            }
        }
        match left_out {
            Some(rule) if !verdict.counts => Decision::no(rule),
            _ => verdict,
        }
    }

    /// Whether a directory can hold anything that counts, so that it is to be watched and walked.
    pub fn descend(&self, directory: &Path) -> bool {
        self.decide_directory(directory).counts || self.live.as_ref().is_some_and(|live| live.depends_below(directory))
    }

    /// The same, and why.
    pub fn decide_directory(&self, directory: &Path) -> Decision {
        let everything = self.everything.iter().filter(|base| directory.starts_with(&base.path));
        let groups = self.groups.iter().filter(|(_, group)| group.may_match_below(directory));
        let literals = self.literals.iter().filter(|(literal, _)| directory.starts_with(&literal.path));
        let mut ways = (everything.map(|base| (base, Rule::Everything, true)))
            .chain(groups.map(|(base, group)| (base, self.rule_of(group.first()), group.only_sweeps())))
            .chain(literals.map(|(literal, number)| (literal, self.rule_of(*number), true)))
            .peekable();
        if ways.peek().is_none() {
            return Decision::no(Rule::Unmatched);
        }
        let is_literal = self.literals.iter().any(|(literal, _)| literal.path == directory);
        let left_out = self.left_out(directory).filter(|_| !is_literal);
        if let Some(rule) = left_out {
            return Decision::no(rule);
        }
        let mut verdict = Decision::no(Rule::Unmatched);
        for (base, rule, swept) in ways {
            let ignored = || self.rules.as_ref().and_then(|rules| base.ignored(rules, directory, true, swept));
            match self.left_out_below(base, directory).or_else(ignored) {
                None => return Decision::yes(rule),
                Some(ignored) => verdict = Decision::no(ignored),
            }
        }
        verdict
    }

    /// Whether a path that counts is merely swept in with its directory: neither named nor matched by a pattern that says
    /// something of its name (`*.py`).
    pub fn is_swept(&self, path: &Path) -> bool {
        let is_source = path == self.config_file || self.env_files.iter().any(|file| file == path);
        let named = is_source || self.literals.iter().any(|(literal, _)| literal.path == path);
        let looked_for = || {
            self.live.as_ref().is_some_and(|live| live.standing(path).depends.is_some_and(|role| role != Role::Listed))
        };
        !named && !looked_for() && !self.groups.iter().any(|(_, group)| group.asks_for(path))
    }

    /// Whether git is writing in one of the repositories that this says yes to, by their roots. False where no ignore files
    /// are read.
    pub fn git_is_writing(&self, concerns: impl Fn(&Path) -> bool) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.files.git_is_writing(concerns))
    }

    /// What is known of the ignore files, for a process that goes on with it.
    pub fn keep_rules(&self) -> Option<ignore_files::Kept> {
        self.rules.as_ref().map(|rules| rules.files.keep())
    }

    /// Goes on with what another process knew of the ignore files.
    pub fn resume_rules(&self, kept: ignore_files::Kept) {
        if let Some(rules) = &self.rules {
            rules.files.resume(kept);
        }
    }

    /// Everything has been walked: forgets what is cached for each directory. Ignore files are read again where they are needed.
    pub fn let_go_of_rules(&self) {
        if let Some(rules) = &self.rules {
            rules.files.let_go();
        }
    }

    /// Tells whether a directory has ignore files, which a walk knows from its listing, so that none is looked for.
    pub fn enter(&self, directory: &Path, has_ignore_files: bool) {
        if let Some(rules) = &self.rules {
            rules.files.enter(directory, has_ignore_files);
        }
    }

    /// Whether a name is that of an ignore file, or of what begins a repository.
    pub fn is_ignore_file(name: &OsStr) -> bool {
        IgnoreFiles::is_concerned_by(name)
    }

    /// An ignore file, or a `.git`, may have changed, come or gone: it counts as it is now.
    pub fn refresh_rules(&self, ignore_file: &Path) {
        self.rules.iter().for_each(|rules| rules.files.refresh(ignore_file));
    }

    /// Looks at the ignore files that lie where nobody watches.
    pub fn look_around_for_rules(&self) {
        self.rules.iter().for_each(|rules| rules.files.look_around());
    }

    /// What has changed in the ignore files since this was last asked.
    pub fn changed_rules(&self) -> Vec<RulesChanged> {
        let changes = self.rules.as_ref().map(|rules| rules.files.changes()).unwrap_or_default();
        if !changes.is_empty() {
            let bases = self.groups.iter().map(|(base, _)| base).chain(self.literals.iter().map(|(base, _)| base));
            bases.chain(&self.everything).for_each(Base::forget);
        }
        changes
    }

    /// The ignore files that cannot be honoured, or not wholly; each is given once.
    pub fn degraded(&self) -> Vec<Degraded> {
        let flaws = self.rules.iter().flat_map(|rules| rules.files.flaws());
        let told = |flaw| match flaw {
            Flaw::IsLink(path) => Degraded::IgnoreFileIsLink { path },
            Flaw::TooLarge(path) => {
                Degraded::IgnoreFileTooLarge { path, bytes: MOST_BYTES, rules: MOST_RULES, globs: MOST_GLOBS }
            }
            Flaw::Unreadable(path, kind) => Degraded::IgnoreFileUnreadable { path, reason: kind.to_string() },
        };
        flaws.map(told).collect()
    }

    /// What is to be said of patterns that match nothing, now that all is armed; `counts` says whether anything does.
    pub fn hints(&self, counts: bool) -> Vec<String> {
        // These count whatever the patterns say, so no pattern has been asked about them.
        for source in self.env_files.iter().chain([&self.config_file]).filter(|source| source.is_file()) {
            self.reaches(source).filter_map(|reach| reach.pattern).for_each(|number| self.watch[number].mark());
            self.left_out(source);
        }
        let unmatched = |known: &&Known| !known.is_useful();
        // What a text means twice (a name and a set of characters) need match only once.
        let alone =
            |known: &&Known, all: &[Known]| !all.iter().any(|other| other.rule == known.rule && other.is_useful());
        let watch: Vec<&Known> = self
            .watch
            .iter()
            .filter(unmatched)
            .filter(|known| alone(known, &self.watch) && !known.is_there())
            .collect();
        let ignore: Vec<&Known> =
            self.ignore.iter().filter(unmatched).filter(|known| alone(known, &self.ignore)).collect();
        if watch.is_empty() && ignore.is_empty() && (counts || self.everything.is_none()) {
            return Vec::new();
        }
        let around = Surroundings::of(&self.directory);
        let mut hints: Vec<String> = Vec::new();
        if self.everything.is_some() && !counts {
            hints.extend(self.refused_everything(&around));
        }
        for (kind, all) in [(Kind::Watch, watch), (Kind::Ignore, ignore)] {
            for known in all {
                let sentence = || Unmatched { pattern: &known.pattern, kind }.sentence(&around);
                hints.extend(self.only_ignored(known, kind, &around).or_else(sentence));
            }
        }
        hints.dedup();
        hints
    }

    /// A watch pattern that matches, but only what is ignored.
    fn only_ignored(&self, known: &Known, kind: Kind, around: &Surroundings) -> Option<String> {
        if kind == Kind::Ignore {
            return None;
        }
        let below_ignored = || {
            let one = grouped([(0, &known.pattern)], glob_of);
            let fits = |path: &&PathBuf| one.iter().any(|group| !group.matching(path).is_empty()) && path.is_file();
            let path = around.paths.iter().find(fits)?;
            let decision = self.decide(path);
            (!decision.counts).then(|| (path.clone(), decision.rule))
        };
        let (path, rule) = known.refused.get().cloned().or_else(below_ignored)?;
        let (shown, rule) = self.seen(&path, rule);
        Some(format!("{} matches only what is ignored, like {shown} ({rule}); name it, or use --no-ignore", known.rule))
    }

    fn refused_everything(&self, around: &Surroundings) -> Option<String> {
        let (path, rule) = around.paths.iter().find_map(|path| {
            let decision = if path.is_dir() { self.decide_directory(path) } else { self.decide(path) };
            (!decision.counts).then_some((path, decision.rule))
        })?;
        let (shown, rule) = self.seen(path, rule);
        Some(format!("nothing here counts yet: {shown} and the like are ignored ({rule}); name what to watch with -w"))
    }

    /// The path and the rule as people read them from the directory.
    fn seen(&self, path: &Path, rule: Rule) -> (String, Rule) {
        (seen_from(&self.directory, path).display().to_string(), rule.seen_from(&self.directory))
    }

    fn rule_of(&self, number: usize) -> Rule {
        Rule::Pattern(Arc::clone(&self.watch[number].rule))
    }

    /// Every way in which a pattern reaches the path.
    fn reaches<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = Reach<'a>> {
        let of_group = move |(base, group): &'a (Base, Group)| {
            let reach = move |Entry { pattern, sweeps }: Entry| Reach {
                base,
                rule: self.rule_of(pattern),
                swept: sweeps,
                pattern: Some(pattern),
            };
            group.matching(path).into_iter().map(reach)
        };
        let patterns = self.groups.iter().flat_map(of_group);
        let literals = self.literals.iter().filter(move |(literal, _)| path.starts_with(&literal.path));
        let literals = literals.map(|(literal, number)| Reach {
            base: literal,
            rule: self.rule_of(*number),
            swept: true,
            pattern: Some(*number),
        });
        let everything = self.everything.iter().filter(move |base| path.starts_with(&base.path));
        let everything = everything.map(|base| Reach { base, rule: Rule::Everything, swept: true, pattern: None });
        patterns.chain(literals).chain(everything)
    }

    /// The ignore pattern that takes out the path, wherever it is reached from.
    fn left_out(&self, path: &Path) -> Option<Rule> {
        let relative = path.strip_prefix(&self.directory).ok();
        let anywhere = relative.and_then(|relative| self.left_out_anywhere(relative));
        anywhere.or_else(|| self.left_out_anchored(path))
    }

    /// The same for what lies below a base elsewhere: names without a slash apply at any depth of it.
    fn left_out_below(&self, base: &Base, path: &Path) -> Option<Rule> {
        // Below the directory itself they have been asked already.
        if self.anywhere.is_empty() || base.path.starts_with(&self.directory) {
            return None;
        }
        self.left_out_anywhere(path.strip_prefix(&base.path).ok()?)
    }

    fn left_out_anywhere(&self, relative: &Path) -> Option<Rule> {
        if relative.as_os_str().is_empty() {
            return None;
        }
        self.ignored_by(self.anywhere.iter().flat_map(|group| group.matching_relative(relative)))
    }

    fn left_out_anchored(&self, path: &Path) -> Option<Rule> {
        if self.anchored.is_empty() {
            return None;
        }
        let by_name = self.ignored_by(self.anchored.iter().flat_map(|group| group.matching(path)));
        by_name.or_else(|| {
            let real = self.real(path).filter(|real| real != path)?;
            self.ignored_by(self.anchored.iter().flat_map(|group| group.matching(&real)))
        })
    }

    fn ignored_by(&self, entries: impl Iterator<Item = Entry>) -> Option<Rule> {
        let mut first = None;
        for entry in entries {
            let known = &self.ignore[entry.pattern];
            known.mark();
            first.get_or_insert_with(|| Rule::Ignored(Arc::clone(&known.rule)));
        }
        first
    }

    /// The path without symlinks on the way to it.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let real = self.last_real.answer(parent, || std::fs::canonicalize(parent).ok())?;
        Some(real.join(name))
    }
}

/// The base and the glob of an ignore pattern: a literal is a glob without wildcards, the path itself and all below it.
fn below_itself(pattern: &Pattern) -> Option<(PathBuf, Glob)> {
    match &pattern.shape {
        Shape::Glob(glob) => Some((pattern.base.clone(), glob.clone())),
        Shape::Literal => literal_glob(&pattern.base),
    }
}

/// The same where the base has another name without symlinks.
fn below_its_real_self(pattern: &Pattern) -> Option<(PathBuf, Glob)> {
    let real = os::fs::resolved(&pattern.base).filter(|real| *real != pattern.base)?;
    match &pattern.shape {
        Shape::Glob(glob) => Some((real, glob.clone())),
        Shape::Literal => literal_glob(&real),
    }
}

fn literal_glob(path: &Path) -> Option<(PathBuf, Glob)> {
    Some((path.parent()?.to_owned(), Glob::literal(path.file_name()?)))
}

#[cfg(test)]
mod tests;
