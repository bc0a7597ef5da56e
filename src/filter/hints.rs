//! What is said of a pattern that matches nothing, with a guess at what was meant.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use crate::pattern::{Glob, Globs, Kind, Pattern, Shape, normalized};

/// What there is around the patterns: enough to guess by, not everything.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The directory that relative patterns begin at.
    pub directory: PathBuf,
    /// Absolute paths of files and directories, those of the directory itself first.
    pub paths: Vec<PathBuf>,
}

/// So many files and directories are enough to guess by.
const MOST: usize = 4096;

/// A pattern that matches nothing, by the text the user wrote.
pub struct Unmatched<'a> {
    /// The pattern.
    pub pattern: &'a Pattern,
    /// Watch or ignore.
    pub kind: Kind,
}

impl Unmatched<'_> {
    /// The sentence. Of an ignore pattern something is said only where there is a guess: what it is for may come.
    pub fn sentence(&self, around: &Surroundings) -> Option<String> {
        let rule = &self.pattern.rule;
        let guess = self.guess(around);
        let what = match (&self.pattern.shape, self.kind) {
            (Shape::Literal, Kind::Watch) if self.pattern.base.is_dir() => "holds no file that counts",
            (Shape::Literal, Kind::Watch) => "does not exist yet",
            (_, Kind::Watch) => "matches no file yet",
            (_, Kind::Ignore) => "matches nothing",
        };
        match guess {
            Some(guess) => Some(format!("{rule} {what}; {guess}")),
            None => (self.kind == Kind::Watch).then(|| format!("{rule} {what}")),
        }
    }

    fn guess(&self, around: &Surroundings) -> Option<String> {
        let text = self.pattern.text.trim();
        let meant = |pattern: String| format!("did you mean '{pattern}'?");
        quoted(text)
            .map(|inner| format!("the quotes are part of the pattern; did you mean '{inner}'?"))
            .or_else(|| separated(text, around).map(|joined| format!("patterns are separated by ';': '{joined}'")))
            .or_else(|| expression(text))
            .or_else(|| extension(text, self.kind, around).map(meant))
            .or_else(|| relative(text, &self.pattern.base, around).map(meant))
            .or_else(|| backslashes(text, around).map(meant))
            .or_else(|| self.typo(text, around).map(meant))
            .or_else(|| self.deeper(text, around).map(meant))
            .or_else(|| self.far_away(text))
    }

    /// A name that is nearly another one, or differs in case only.
    fn typo(&self, text: &str, around: &Surroundings) -> Option<String> {
        let fixed = self.pattern.base.strip_prefix(&around.directory).ok()?;
        let mut known = around.directory.clone();
        for (place, piece) in fixed.components().enumerate() {
            let wanted = piece.as_os_str().to_string_lossy();
            let next = known.join(piece);
            if !around.holds(&next) {
                let near = around
                    .names_in(&known)
                    .filter(|name| is_near(&wanted, name))
                    .min_by_key(|name| strsim::damerau_levenshtein(&wanted.to_lowercase(), &name.to_lowercase()))?;
                let pieces: Vec<&str> = text.strip_prefix("./").unwrap_or(text).split('/').collect();
                let mut right: Vec<&str> = pieces;
                *right.get_mut(place)? = &near;
                return Some(right.join("/"));
            }
            known = next;
        }
        if self.kind == Kind::Ignore {
            let near = around.names_in(&around.directory).find(|name| is_near(text, name) && text != name)?;
            return (!text.contains(['*', '?', '[', '{', '/'])).then_some(near);
        }
        let glob = self.lower_case_glob()?;
        let in_other_case = around.below(&self.pattern.base).find(|path| glob.fits(&path.to_lowercase()))?;
        let (stem, _) = text.rsplit_once('.')?;
        let right = format!("{stem}.{}", in_other_case.rsplit_once('.')?.1);
        (right != text).then_some(right)
    }

    /// `-i /tests`, where there is no such directory at the root of the file system.
    fn far_away(&self, text: &str) -> Option<String> {
        let far = self.kind == Kind::Ignore && text.starts_with('/') && !self.pattern.base.exists();
        far.then(|| "a leading '/' is the root of the file system".to_owned())
    }

    fn lower_case_glob(&self) -> Option<Globs> {
        let Shape::Glob(glob) = &self.pattern.shape else { return None };
        Glob::new(&glob.text().to_lowercase()).ok().map(|glob| Globs::new([&glob]))
    }

    /// `src/*.rs`, where they are in `src/bin`.
    fn deeper(&self, text: &str, around: &Surroundings) -> Option<String> {
        let Shape::Glob(glob) = &self.pattern.shape else { return None };
        let deep = Globs::new([&Glob::new(&format!("**/{}", glob.text())).ok()?]);
        let (start, last) = text.rsplit_once('/').filter(|_| self.kind == Kind::Watch && !text.contains("**"))?;
        let found = around.below(&self.pattern.base).any(|path| deep.fits(&path));
        found.then(|| format!("{start}/**/{last}"))
    }
}

impl Globs {
    fn fits(&self, path: &str) -> bool {
        !self.matches(Path::new(path)).is_empty()
    }
}

impl Surroundings {
    /// Looks around, breadth first, and no further than is needed for a guess.
    pub fn of(directory: &Path) -> Surroundings {
        let mut paths = Vec::new();
        let mut ahead = VecDeque::from([directory.to_owned()]);
        while let Some(next) = ahead.pop_front().filter(|_| paths.len() < MOST) {
            for entry in fs::read_dir(next).into_iter().flatten().flatten().take(MOST) {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    ahead.push_back(entry.path());
                }
                paths.push(entry.path());
            }
        }
        paths.truncate(MOST);
        Surroundings { directory: directory.to_owned(), paths }
    }

    fn holds(&self, path: &Path) -> bool {
        self.paths.iter().any(|known| known == path) || path.exists()
    }

    fn names_in<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = String> + 'a {
        let inside = self.paths.iter().filter(move |path| path.parent() == Some(directory));
        inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
    }

    fn below<'a>(&'a self, base: &'a Path) -> impl Iterator<Item = String> + 'a {
        let relative = self.paths.iter().filter_map(move |path| path.strip_prefix(base).ok());
        relative.filter_map(|path| path.to_str().map(str::to_owned))
    }
}

fn is_near(wanted: &str, name: &str) -> bool {
    let (wanted, name) = (wanted.to_lowercase(), name.to_lowercase());
    let most = if wanted.chars().count() <= 4 { 1 } else { 2 };
    // A name of two letters is one letter from too many.
    wanted.chars().count() > 2 && strsim::damerau_levenshtein(&wanted, &name) <= most
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .filter(|text| !text.is_empty())
}

/// `*.py,*.toml`, `*.py *.toml`, `*.py|*.toml`, `*.py:*.toml`.
fn separated(text: &str, around: &Surroundings) -> Option<String> {
    let depths = text.chars().scan(0i32, |depth, character| {
        *depth += i32::from(matches!(character, '{' | '[' | '(')) - i32::from(matches!(character, '}' | ']' | ')'));
        Some(*depth)
    });
    let (mut pieces, mut blanks_only) = (vec![String::new()], true);
    for (character, depth) in text.chars().zip(depths) {
        if depth == 0 && matches!(character, ',' | '|' | ':' | ' ' | '\t') {
            blanks_only &= matches!(character, ' ' | '\t');
            pieces.push(String::new());
        } else {
            pieces.last_mut()?.push(character);
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    let is_pattern = |piece: &String| piece.contains(['*', '?', '/']) || around.holds(&around.directory.join(piece));
    let is_extension = |piece: &String| piece.strip_prefix('.').is_some_and(is_plain) || is_plain(piece);
    let enough = if blanks_only { pieces.iter().any(is_pattern) } else { true };
    (pieces.len() > 1 && enough && pieces.iter().all(|piece| is_pattern(piece) || is_extension(piece))).then(|| {
        let pattern = |piece: &String| {
            if is_pattern(piece) { piece.clone() } else { format!("*.{}", piece.trim_start_matches('.')) }
        };
        pieces.iter().map(pattern).collect::<Vec<_>>().join(";")
    })
}

fn is_plain(word: &str) -> bool {
    (1..=5).contains(&word.len()) && word.chars().all(|character| character.is_ascii_alphanumeric())
}

/// `.*\.py$`, `^src/`, `(a|b)\.js`, `.+\.py`.
fn expression(text: &str) -> Option<String> {
    let signs = text.starts_with('^')
        || text.ends_with('$')
        || [r"\.", ".*.", ".+", r"\w", r"\d"].iter().any(|sign| text.contains(sign));
    let group = text.contains('(') && text.contains(')') && text.contains('|');
    if !signs && !group {
        return None;
    }
    let end = text.trim_end_matches(['$', ')']);
    let extension = end.rsplit(['.', '|']).next().filter(|word| is_plain(word));
    let like = extension.map(|word| format!(", like '*.{word}'")).unwrap_or_default();
    Some(format!("it looks like a regular expression, and patterns are globs as in a .gitignore{like}"))
}

/// `py`, `.py`.
fn extension(text: &str, kind: Kind, around: &Surroundings) -> Option<String> {
    let word = text.strip_prefix('.').unwrap_or(text);
    let has_it = |path: &PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(word));
    let there = around.paths.iter().any(has_it);
    (kind == Kind::Watch && is_plain(word) && there).then(|| format!("*.{word}"))
}

/// `/src`, where `src` is meant.
fn relative(text: &str, base: &Path, around: &Surroundings) -> Option<String> {
    let rest = text.strip_prefix('/')?;
    let first = rest.split('/').next().filter(|first| !first.is_empty())?;
    let here = around.holds(&around.directory.join(first)) || first.contains('*');
    (here && !base.starts_with(&around.directory) && (!base.exists() || base == Path::new("/")))
        .then(|| rest.to_owned())
}

/// `src\app.py`.
fn backslashes(text: &str, around: &Surroundings) -> Option<String> {
    let slashes = text.contains('\\').then(|| text.replace('\\', "/"))?;
    let fixed: Vec<&str> = slashes.split('/').take_while(|piece| !piece.contains(['*', '?', '[', '{'])).collect();
    let path = normalized(&around.directory.join(fixed.join("/")));
    (!fixed.is_empty() && around.holds(&path)).then_some(slashes)
}

#[cfg(test)]
mod tests {
    use super::{Surroundings, Unmatched};
    use crate::pattern::Kind;
    use crate::pattern::tests::patterns;
    use std::path::{Path, PathBuf};

    fn said(kind: Kind, text: &str) -> String {
        let directory = PathBuf::from("/nowhere/app");
        let there = [
            "src",
            "src/deep",
            "src/deep/main.rs",
            "app.py",
            "conf",
            "conf/app.toml",
            "tests",
            "README.md",
            "a.tsx",
            "x.go",
        ];
        let paths = there.iter().map(|name| directory.join(name)).collect();
        let around = Surroundings { directory: directory.clone(), paths };
        let name = if kind == Kind::Watch { "-w" } else { "-i" };
        let pattern = &patterns(kind, name, text, Path::new(&directory))[0];
        let sentence = Unmatched { pattern, kind }.sentence(&around).unwrap_or_default();
        sentence.strip_prefix(&format!("{name} '{text}' ")).unwrap_or(&sentence).to_owned()
    }

    #[test]
    fn a_watch_pattern_that_matches_nothing_is_told_with_a_guess() {
        for (text, expected) in [
            ("*.py,*.toml", "matches no file yet; patterns are separated by ';': '*.py;*.toml'"),
            ("*.py *.toml", "matches no file yet; patterns are separated by ';': '*.py;*.toml'"),
            ("*.py|*.toml", "matches no file yet; patterns are separated by ';': '*.py;*.toml'"),
            ("*.py:*.toml", "matches no file yet; patterns are separated by ';': '*.py;*.toml'"),
            ("app.py,conf/*", "matches no file yet; patterns are separated by ';': 'app.py;conf/*'"),
            ("py,toml", "does not exist yet; patterns are separated by ';': '*.py;*.toml'"),
            (".py, .toml", "does not exist yet; patterns are separated by ';': '*.py;*.toml'"),
            ("*.{py,txt} x", "matches no file yet; patterns are separated by ';': '*.{py,txt};*.x'"),
            ("my notes", "does not exist yet"),
            ("py", "does not exist yet; did you mean '*.py'?"),
            (".py", "does not exist yet; did you mean '*.py'?"),
            ("tsx", "does not exist yet; did you mean '*.tsx'?"),
            (".env", "does not exist yet"),
            ("data", "does not exist yet"),
            (
                r".*\.py$",
                "matches no file yet; it looks like a regular expression, and patterns are globs as in a .gitignore, like '*.py'",
            ),
            (
                r".*\.(js|ts)$",
                "matches no file yet; it looks like a regular expression, and patterns are globs as in a .gitignore, like '*.ts'",
            ),
            (
                "^src/",
                "does not exist yet; it looks like a regular expression, and patterns are globs as in a .gitignore",
            ),
            (
                ".*.py",
                "matches no file yet; it looks like a regular expression, and patterns are globs as in a .gitignore, like '*.py'",
            ),
            ("scr", "does not exist yet; did you mean 'src'?"),
            ("scr/**", "matches no file yet; did you mean 'src/**'?"),
            ("./scr/*.rs", "matches no file yet; did you mean 'src/*.rs'?"),
            ("config/app.toml", "does not exist yet; did you mean 'conf/app.toml'?"),
            ("conf/ap.toml", "does not exist yet; did you mean 'conf/app.toml'?"),
            ("Src/**", "matches no file yet; did you mean 'src/**'?"),
            ("readme.md", "does not exist yet; did you mean 'README.md'?"),
            ("*.PY", "matches no file yet; did you mean '*.py'?"),
            ("src/*.rs", "matches no file yet; did you mean 'src/**/*.rs'?"),
            ("/src/**", "matches no file yet; did you mean 'src/**'?"),
            ("/conf/app.toml", "does not exist yet; did you mean 'conf/app.toml'?"),
            (r"conf\app.toml", "does not exist yet; did you mean 'conf/app.toml'?"),
            (r"src\*.rs", "matches no file yet; did you mean 'src/*.rs'?"),
            ("'*.py'", "matches no file yet; the quotes are part of the pattern; did you mean '*.py'?"),
            ("*.rb", "matches no file yet"),
            ("*.{rb,erb}", "matches no file yet"),
        ] {
            assert_eq!(said(Kind::Watch, text), expected, "{text}");
        }
    }

    #[test]
    fn an_ignore_pattern_that_matches_nothing_is_told_only_with_a_guess() {
        for (text, expected) in [
            ("/tests", "matches nothing; did you mean 'tests'?"),
            ("*.log,*.tmp", "matches nothing; patterns are separated by ';': '*.log;*.tmp'"),
            ("test", "matches nothing; did you mean 'tests'?"),
            ("scr/gen", "matches nothing; did you mean 'src/gen'?"),
            (
                r".*\.log$",
                "matches nothing; it looks like a regular expression, and patterns are globs as in a .gitignore, like '*.log'",
            ),
            ("/nowhere/at/all", "matches nothing; a leading '/' is the root of the file system"),
            ("*.log", ""),
            ("build", ""),
            ("src/gen", ""),
        ] {
            assert_eq!(said(Kind::Ignore, text), expected, "{text}");
        }
    }
}
