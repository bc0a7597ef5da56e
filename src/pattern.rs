//! Patterns: how a text is split into them, what one means, and whether it matches a path.
//!
//! Nothing here touches the file system; what must be asked of it comes in as [`Place`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::Regex;

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

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
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

/// Splits a text into its patterns, at semicolons and line ends, and takes the blanks around them away. `\;` is a
/// semicolon in a name. A piece between two semicolons with nothing in it comes back empty.
pub fn split(text: &OsStr) -> Vec<OsString> {
    let mut pieces: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let last = pieces.last_mut().expect("never empty");
        match byte {
            b'\\' if bytes.peek() == Some(&b';') => {
                bytes.next();
                last.push(b';');
            }
            // A backslash keeps the blank behind it.
            b'\\' => last.extend([byte].into_iter().chain(bytes.next())),
            b';' => pieces.push(Vec::new()),
            other => last.push(other),
        }
    }
    let mut patterns = Vec::new();
    for piece in pieces {
        let lines: Vec<&[u8]> = piece.split(|byte| matches!(byte, b'\n' | b'\r')).map(trimmed).collect();
        let blank = lines.iter().all(|line| line.is_empty());
        match lines.len() {
            1 => patterns.push(lines[0].to_vec()),
            _ if blank => {}
            _ => patterns.extend(lines.into_iter().filter(|line| !line.is_empty()).map(<[u8]>::to_vec)),
        }
    }
    if patterns.is_empty() {
        patterns.push(Vec::new());
    }
    patterns.into_iter().map(OsString::from_vec).collect()
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.trim_ascii_start();
    let end = start.trim_ascii_end();
    // `\ ` at the end is a blank that belongs to the name.
    if end.len() < start.len() && end.ends_with(b"\\") { &start[..=end.len()] } else { end }
}

/// A byte that is not UTF-8 is kept in text as a character of a private-use plane, one for each.
const FIRST_STAND_IN: u32 = 0x0010_FE00;

fn stand_in(text: &OsStr) -> String {
    let mut whole = String::with_capacity(text.len());
    for chunk in text.as_bytes().utf8_chunks() {
        whole.push_str(chunk.valid());
        whole.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(FIRST_STAND_IN + u32::from(*byte))));
    }
    whole
}

fn stands_for(character: char) -> Option<u8> {
    u32::from(character).checked_sub(FIRST_STAND_IN).and_then(|byte| u8::try_from(byte).ok())
}

fn real(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match stands_for(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

fn shown(text: &str) -> String {
    real(text).to_string_lossy().into_owned()
}

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

#[cfg(test)]
#[path = "pattern_tests.rs"]
pub mod tests;
