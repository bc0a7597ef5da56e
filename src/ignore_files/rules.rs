//! The rules of an ignore file, and the one that decides on a path.

use std::collections::HashMap;
use std::ops::Range;

use super::glob;

/// The most rules used from one file.
pub const MOST_RULES: usize = 20_000;

/// The most rules with wildcards. Each of those is tried on each path; in a tree of 100,000 files, more of them would
/// take minutes.
pub const MOST_GLOBS: usize = 5_000;

/// The rules of one ignore file.
#[derive(Debug, Default)]
pub struct Rules {
    content: Vec<u8>,
    /// Whether case is ignored (`core.ignoreCase`).
    fold: bool,
    list: Vec<Rule>,
    /// Indices of rules: those without wildcards by name and by path, the others in order.
    names: HashMap<Box<[u8]>, Vec<usize>>,
    paths: HashMap<Box<[u8]>, Vec<usize>>,
    globs: Vec<usize>,
    whole: bool,
}

/// One rule. It refers to ranges of the content, so that a file takes little more memory than its size.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The line number, counted from 1.
    pub line: usize,
    /// Whether it starts with `!`: matching paths are not ignored.
    pub negative: bool,
    directories_only: bool,
    written: Range<usize>,
    pattern: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    /// `*literal`: names with this ending.
    Ending,
    /// A glob for the name; the length of the literal part before the first wildcard.
    NameGlob(usize),
    Path,
    /// A glob for the path; the length of the literal part before the first wildcard.
    PathGlob(usize),
}

impl Kind {
    fn is_literal(self) -> bool {
        matches!(self, Kind::Name | Kind::Path)
    }
}

impl Rules {
    /// Parses the content. A malformed line does not affect the others.
    pub fn of(content: Vec<u8>, fold: bool) -> Rules {
        let mut rules = Rules { fold, whole: true, ..Rules::default() };
        let mut start = if content.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut line = 0;
        while start < content.len() {
            line += 1;
            let end = content[start..].iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| start + at);
            if let Some(rule) = rule(&content, start..end, line) {
                let is_one_too_many = !rule.kind.is_literal() && rules.globs.len() == MOST_GLOBS;
                if is_one_too_many || rules.list.len() == MOST_RULES {
                    rules.whole = false;
                    break;
                }
                rules.add(&content, rule);
            }
            start = end + 1;
        }
        rules.content = content;
        rules
    }

    fn add(&mut self, content: &[u8], rule: Rule) {
        let index = self.list.len();
        let map = match rule.kind {
            Kind::Name => &mut self.names,
            Kind::Path => &mut self.paths,
            Kind::Ending | Kind::NameGlob(_) | Kind::PathGlob(_) => {
                self.globs.push(index);
                self.list.push(rule);
                return;
            }
        };
        let text = &content[rule.pattern.clone()];
        let key = if self.fold { text.to_ascii_lowercase() } else { text.to_vec() };
        map.entry(key.into_boxed_slice()).or_default().push(index);
        self.list.push(rule);
    }

    /// Whether all rules are used: there are at most [`MOST_RULES`] and [`MOST_GLOBS`].
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether case is ignored.
    pub fn folds(&self) -> bool {
        self.fold
    }

    /// The content of the file.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The text of a rule.
    pub fn text(&self, rule: &Rule) -> &[u8] {
        &self.content[rule.written.clone()]
    }

    /// The last rule that matches a path. The path is relative to the directory of the ignore file.
    pub fn decisive(&self, path: &[u8], is_directory: bool) -> Option<&Rule> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let applies = |index: &&usize| is_directory || !self.list[**index].directories_only;
        let literal = |map: &HashMap<Box<[u8]>, Vec<usize>>, key: &[u8]| {
            if map.is_empty() {
                return None;
            }
            let found = if self.fold { map.get(&*key.to_ascii_lowercase()) } else { map.get(key) };
            found?.iter().rev().find(applies).copied()
        };
        let literal = literal(&self.names, name).max(literal(&self.paths, path));
        let later = self.globs.iter().rev().take_while(|index| literal.is_none_or(|literal| **index > literal));
        let glob = later.filter(applies).find(|index| self.matches(&self.list[**index], name, path)).copied();
        glob.or(literal).map(|index| &self.list[index])
    }

    fn matches(&self, rule: &Rule, name: &[u8], path: &[u8]) -> bool {
        let pattern = &self.content[rule.pattern.clone()];
        match rule.kind {
            Kind::Name => self.equal(pattern, name),
            Kind::Path => self.equal(pattern, path),
            Kind::Ending => {
                let ending = &pattern[1..];
                name.len() >= ending.len() && self.equal(ending, &name[name.len() - ending.len()..])
            }
            Kind::NameGlob(literal) => self.begins_and_matches(pattern, literal, name),
            Kind::PathGlob(literal) => self.begins_and_matches(pattern, literal, path),
        }
    }

    /// The part after the literal beginning is matched as a glob of its own, as in git: `a**/b` means `a`, then `**/b`.
    fn begins_and_matches(&self, pattern: &[u8], literal: usize, text: &[u8]) -> bool {
        text.len() >= literal
            && self.equal(&pattern[..literal], &text[..literal])
            && glob::matches(&pattern[literal..], &text[literal..], self.fold)
    }

    fn equal(&self, one: &[u8], other: &[u8]) -> bool {
        if self.fold { one.eq_ignore_ascii_case(other) } else { one == other }
    }
}

/// Parses one line; `None` for a comment or an empty line.
fn rule(content: &[u8], line: Range<usize>, number: usize) -> Option<Rule> {
    let Range { start, mut end } = line;
    if content[start..end].first().is_none_or(|first| *first == b'#') {
        return None;
    }
    if content[start..end].ends_with(b"\r") {
        end -= 1;
    }
    // For git, a line ends at a NUL byte.
    end = content[start..end].iter().position(|byte| *byte == 0).map_or(end, |at| start + at);
    end = start + without_blanks(&content[start..end]).len();
    let written = start..end;
    let negative = content[start..end].starts_with(b"!");
    let start = if negative { start + 1 } else { start };
    let first_wildcard = |text: &[u8]| text.iter().position(|byte| b"*?[\\".contains(byte));
    let directories_only = content[start..end].ends_with(b"/");
    end -= usize::from(directories_only);
    let pattern = &content[start..end];
    if pattern.is_empty() {
        return None;
    }
    let wildcard = first_wildcard(pattern);
    let (start, kind) = if pattern.contains(&b'/') {
        let skipped = usize::from(pattern[0] == b'/');
        (start + skipped, wildcard.map_or(Kind::Path, |at| Kind::PathGlob(at - skipped)))
    } else {
        let kind = match wildcard {
            None => Kind::Name,
            Some(0) if pattern[0] == b'*' && first_wildcard(&pattern[1..]).is_none() => Kind::Ending,
            Some(at) => Kind::NameGlob(at),
        };
        (start, kind)
    };
    Some(Rule { line: number, negative, directories_only, written, pattern: start..end, kind })
}

/// Strips trailing blanks that are not escaped by a backslash. A tab does not count as a blank.
fn without_blanks(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while at < line.len() {
        match line[at] {
            // A backslash at the very end keeps everything.
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => {
                at += 2;
                end = at;
            }
            b' ' => at += 1,
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}
