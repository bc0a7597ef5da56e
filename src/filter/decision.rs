//! A verdict on a path, and the rule behind it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change::seen_from;
use crate::discover::Role;

/// The rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// reloadrun itself writes it (the lockfile, the events), or the command does (its standard output).
    Own,
    /// It is the config file.
    ConfigFile,
    /// `--env-file` names it.
    EnvFile,
    /// A watch pattern names or matches it: `-w '*.py'`.
    Pattern(Arc<str>),
    /// A pattern names or matches it that says what only browsers care about: `--browser-watch '*.css'`.
    Browser(Arc<str>),
    /// No pattern was given, so everything counts.
    Everything,
    /// An ignore pattern matches it: `-i 'build'`.
    Ignored(Arc<str>),
    /// An ignore file leaves it out: the file, and its line.
    IgnoreFile(PathBuf, String),
    /// The built-in list leaves it out, by this entry.
    BuiltIn(&'static str),
    /// It lies in a virtual environment of Python's.
    VirtualEnvironment,
    /// No watch pattern matches it.
    Unmatched,
    /// The command depends on it in this way.
    Discovered(Role, Option<Arc<str>>),
    /// The command makes it itself; who did first, if that is known.
    Written(Option<Arc<str>>),
    /// Nothing but what the command reads counts, and it has not read this.
    NotRead,
}

impl Rule {
    /// Whether the configuration was read from it, so that a change of it is taken in by a restart alone.
    pub fn is_config(&self) -> bool {
        matches!(self, Rule::ConfigFile | Rule::EnvFile)
    }

    /// Whether a change of it concerns browsers alone.
    pub fn is_for_browsers(&self) -> bool {
        matches!(self, Rule::Browser(_))
    }

    /// As people read it from a directory: an ignore file near it by its relative path.
    pub fn seen_from(self, directory: &Path) -> Rule {
        match self {
            Rule::IgnoreFile(file, line) => Rule::IgnoreFile(seen_from(directory, &file), line),
            other => other,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Own => f.write_str("reloadrun or the command writes it"),
            Rule::ConfigFile => f.write_str("the config file"),
            Rule::EnvFile => f.write_str("an env file"),
            Rule::Pattern(rule) | Rule::Browser(rule) | Rule::Ignored(rule) => f.write_str(rule),
            Rule::Everything => f.write_str("everything that is not ignored"),
            Rule::IgnoreFile(file, line) => write!(f, "'{line}' in {}", file.display()),
            Rule::BuiltIn(entry) => write!(f, "'{entry}' in the built-in ignore list"),
            Rule::VirtualEnvironment => f.write_str("a Python virtual environment (it has a pyvenv.cfg)"),
            Rule::Unmatched => f.write_str("no watch pattern matches"),
            Rule::Discovered(role, by) => match (role, by) {
                (Role::Listed, _) => f.write_str("it is new where the command looks for such files"),
                (Role::Executed, Some(by)) => write!(f, "executed by {by}"),
                (Role::Missed, Some(by)) => write!(f, "looked for by {by}"),
                (_, Some(by)) => write!(f, "read by {by}"),
                (Role::Executed, None) => f.write_str("the command executes it"),
                (Role::Missed, None) => f.write_str("the command looks for it"),
                (_, None) => f.write_str("the command reads it"),
            },
            Rule::Written(None) => f.write_str("the command writes it"),
            Rule::Written(Some(by)) => write!(f, "the command writes it: {by}"),
            Rule::NotRead => f.write_str("the command has not read it (--discover only)"),
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
    /// It counts.
    pub fn yes(rule: Rule) -> Decision {
        Decision { counts: true, rule }
    }

    /// It does not count.
    pub fn no(rule: Rule) -> Decision {
        Decision { counts: false, rule }
    }
}
