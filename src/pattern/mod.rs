//! Patterns: how a text is split into them, what one means, and whether it matches a path.
//!
//! Nothing here touches the file system; what must be asked of it comes in as [`Place`].

mod glob;
mod text;

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

pub use self::glob::{Glob, Globs};
pub use self::text::{escaped, split};
use self::text::{real, shown, stand_in, unescaped};

/// One watch or ignore pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As the user wrote it; bytes that are not UTF-8 are shown as U+FFFD.
    pub text: String,
    /// What to call it when it is the reason: `-w '*.py'`.
    pub rule: String,
    /// The directory it starts from; for a literal, the path itself. Absolute, without `.` and `..`.
    pub base: PathBuf,
    /// Whether the user wrote the base, or a part of it: `src/*.py`, but not `*.py`.
    pub named: bool,
    /// Whether it has no slash and so applies at any depth.
    pub any_depth: bool,
    /// What matches below the base.
    pub shape: Shape,
}

/// What a pattern matches below its base.
#[derive(Debug, Clone)]
pub enum Shape {
    /// The base itself, and everything in it when it is a directory.
    Literal,
    /// Paths relative to the base, and everything in a directory that matches.
    Glob(Glob),
}

/// Whether a pattern says what to watch or what not to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name without wildcards is one path.
    Watch,
    /// A name without wildcards and slashes applies at any depth, as in a .gitignore.
    Ignore,
}

/// Where patterns are read: what they are called, where relative ones begin, and what the file system says.
pub struct Place<'a> {
    /// The flag or key, as it is shown: `-w`, `ignore`.
    pub name: &'a str,
    /// Watch or ignore.
    pub kind: Kind,
    /// Where relative patterns begin.
    pub directory: &'a Path,
    /// What a leading `~` stands for.
    pub home: Option<&'a Path>,
    /// Whether something of this name exists; symlinks are not followed.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// The one path that a base is known by.
    pub identity: &'a dyn Fn(&Path) -> PathBuf,
}

/// What makes a piece of a pattern more than a name.
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

impl Place<'_> {
    /// Reads one pattern. It may mean two things at once: `pages/[id].tsx` is a file of this name, if there is one, and
    /// a set of characters.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn read(&self, text: &OsStr) -> Result<Vec<Pattern>, String> {
        let text = stand_in(text);
        if text.trim().is_empty() {
            return Err("a pattern is empty; write one like '*.py', or '**' for everything".into());
        }
        if let Some(rest) = text.strip_prefix('!') {
            let remedy =
                if self.kind == Kind::Ignore { "leave the '!' out" } else { "to leave files out, use --ignore" };
            return Err(format!("patterns are not negated with '!'; {remedy} (--ignore '{}')", shown(rest)));
        }
        let expanded = self.expanded(&text);
        let unslashed = expanded.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(&expanded);
        let relative = unslashed.strip_prefix("./").unwrap_or(unslashed);
        // As a leading slash in a .gitignore: here, and not at any depth.
        let anchored = relative.len() < unslashed.len();
        let pieces: Vec<&str> = relative.split('/').collect();
        let fixed = pieces.iter().take_while(|piece| !piece.contains(WILDCARDS)).count();
        let existing = self.existing(&pieces);
        let any_depth = pieces.len() == 1
            && !anchored
            && (fixed == 0 || self.kind == Kind::Ignore)
            && relative != "."
            && relative != "..";
        let mut patterns = Vec::new();
        if existing > fixed {
            patterns.push(self.pattern(&text, &pieces, existing, false, true)?);
        }
        match self.pattern(&text, &pieces, fixed, any_depth, false) {
            Ok(pattern) => patterns.push(pattern),
            Err(sentence) if patterns.is_empty() => return Err(sentence),
            // The name of an existing file need not be a valid pattern.
            Err(_) => {}
        }
        Ok(patterns)
    }

    /// The first `fixed` pieces are names; the rest is a glob.
    fn pattern(
        &self,
        text: &str,
        pieces: &[&str],
        fixed: usize,
        any_depth: bool,
        verbatim: bool,
    ) -> Result<Pattern, String> {
        let rule = format!("{} '{}'", self.name, shown(text));
        let name = |piece: &&str| if verbatim { real(piece) } else { real(&unescaped(piece)) };
        let below = |pieces: &[&str]| {
            let names: Vec<OsString> = pieces.iter().map(name).collect();
            (self.identity)(&self.directory.join(names.join(OsStr::new("/"))))
        };
        let base = |pieces: &[&str]| if pieces == [""] { PathBuf::from("/") } else { below(pieces) };
        let named = pieces[..fixed].iter().any(|piece| !["", ".", ".."].contains(piece));
        let pattern = |base, named, shape| Pattern { text: shown(text), rule, base, named, any_depth, shape };
        if any_depth {
            let glob = Glob::new(&format!("**/{}", pieces[0]))?;
            return Ok(pattern((self.identity)(self.directory), false, Shape::Glob(glob)));
        }
        if fixed == pieces.len() {
            return Ok(pattern(base(pieces), named, Shape::Literal));
        }
        let glob = Glob::new(&pieces[fixed..].join("/"))?;
        let start = if fixed == 0 { (self.identity)(self.directory) } else { base(&pieces[..fixed]) };
        Ok(pattern(start, named, Shape::Glob(glob)))
    }

    /// How many of the first pieces name something that exists, wildcards taken for plain characters.
    fn existing(&self, pieces: &[&str]) -> usize {
        let exists = |count: &usize| {
            let names: Vec<OsString> = pieces[..*count].iter().map(|piece| real(piece)).collect();
            let path = names.join(OsStr::new("/"));
            !path.is_empty() && (self.exists)(&self.directory.join(path))
        };
        (1..=pieces.len()).rev().find(exists).unwrap_or(0)
    }

    /// Nobody means a directory called `~`; who does writes `./~`.
    fn expanded(&self, text: &str) -> String {
        match (text.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                stand_in(home.as_os_str()) + rest.trim_end_matches('/')
            }
            _ => text.to_owned(),
        }
    }
}

/// Takes `.` and `..` out of an absolute path by its text alone, so that it can name what does not exist yet.
pub fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
pub mod tests;
