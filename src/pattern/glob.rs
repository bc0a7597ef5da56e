//! Compiled globs, alone and in sets: `globset`, and regular expressions where it matches bytes and people mean characters.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::Regex;

use super::text::{stand_in, stands_for};

/// A compiled glob.
#[derive(Debug, Clone)]
pub struct Glob {
    glob: globset::Glob,
    /// globset matches bytes. Where that differs from characters (`?`, `[é]`), these two decide.
    characters: Option<Characters>,
}

#[derive(Debug, Clone)]
struct Characters {
    /// For paths that are UTF-8: `?` is one character.
    text: Regex,
    /// For all others: `?` is one byte.
    bytes: Regex,
}

impl Glob {
    /// Compiles it: `*` and `?` stop at a slash, `**` does not, `{,x}` may be empty, a backslash escapes.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn new(text: &str) -> Result<Glob, String> {
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .map_err(|error| format!("invalid pattern: {}", error.kind()))?;
        let differs = text.contains(['?', '[']) || text.chars().any(|character| stands_for(character).is_some());
        let characters = differs.then(|| Characters::of(glob.regex())).transpose()?;
        Ok(Glob { glob, characters })
    }

    /// The glob that matches just this name.
    pub fn literal(name: &OsStr) -> Glob {
        Glob::new(&globset::escape(&stand_in(name))).expect("an escaped name is a valid pattern")
    }

    /// As written.
    pub fn text(&self) -> &str {
        self.glob.glob()
    }
}

impl Characters {
    /// From globset's own expression, which is of bytes: `(?-u)^...\xc3\xa9[^/]...$`.
    fn of(expression: &str) -> Result<Characters, String> {
        let whole = expression.strip_prefix("(?-u)").unwrap_or(expression);
        let compiled = |text: &str| {
            regex::bytes::RegexBuilder::new(text)
                .dot_matches_new_line(true)
                .build()
                .map_err(|_| "invalid pattern: it is too large".to_owned())
        };
        let text = compiled(&translated(whole, true))?;
        let bytes = compiled(&format!("(?-u){}", translated(whole, false)))?;
        Ok(Characters { text, bytes })
    }

    fn matches(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        if path.to_str().is_some() { self.text.is_match(bytes) } else { self.bytes.is_match(bytes) }
    }
}

/// Puts characters (or the bytes that stand-ins are for) in the place of escaped bytes, and keeps slashes out of sets.
fn translated(expression: &str, unicode: bool) -> String {
    let mut out = String::with_capacity(expression.len() * 2);
    let mut run = Vec::new();
    let mut rest = expression;
    let mut set = false;
    while let Some(character) = rest.chars().next() {
        let byte = rest.strip_prefix("\\x").and_then(|digits| digits.get(..2));
        if let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte >= 0x80) {
            run.push(byte);
            rest = &rest[4..];
            if let Ok(text) = std::str::from_utf8(&run) {
                for character in text.chars() {
                    out.push_str(&literal(character, unicode));
                }
                run.clear();
            }
            continue;
        }
        let length = if character == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { 1 };
        match &rest[..length] {
            "[" if !set => {
                set = true;
                out.push_str("[[");
            }
            "]" if set => {
                set = false;
                out.push_str("]&&[^/]]");
            }
            same => out.push_str(same),
        }
        rest = &rest[length..];
    }
    out
}

fn literal(character: char, unicode: bool) -> String {
    match (stands_for(character), unicode) {
        (Some(byte), true) => format!("(?-u:\\x{byte:02x})"),
        (Some(byte), false) => format!("\\x{byte:02x}"),
        (None, true) => character.to_string(),
        (None, false) => character.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
    }
}

/// Globs that are matched together.
#[derive(Debug)]
pub struct Globs {
    set: GlobSet,
    /// The number of each glob of the set.
    numbers: Vec<usize>,
    by_character: Vec<(usize, Characters)>,
}

impl Globs {
    /// A set of these; a match is told by the place in the list.
    pub fn new<'a>(globs: impl IntoIterator<Item = &'a Glob>) -> Globs {
        let mut builder = GlobSetBuilder::new();
        let (mut numbers, mut by_character) = (Vec::new(), Vec::new());
        for (number, glob) in globs.into_iter().enumerate() {
            match &glob.characters {
                Some(characters) => by_character.push((number, characters.clone())),
                None => {
                    builder.add(glob.glob.clone());
                    numbers.push(number);
                }
            }
        }
        // Each of them was compiled before; only their sum can be too large, which a cap on their number prevents.
        Globs { set: builder.build().unwrap_or_else(|_| GlobSet::empty()), numbers, by_character }
    }

    /// The places in the list of all that match.
    pub fn matches(&self, path: &Path) -> Vec<usize> {
        let mut found = self.set.matches(path);
        found.iter_mut().for_each(|index| *index = self.numbers[*index]);
        found.extend(self.by_character.iter().filter(|(_, glob)| glob.matches(path)).map(|(number, _)| *number));
        found
    }
}
