//! What the user wants, whole and valid: plain data. Defaults, flags, files and the environment are behind us.

use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use globset::{Glob, GlobBuilder};

use crate::os::signals::Signal;

/// A whole configuration: every path absolute, every pattern compiled, every value in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// Working directory of the command, and what is watched when no pattern is given.
    pub directory: PathBuf,
    /// What to watch; empty means everything in `directory` that is not ignored.
    pub watch: Vec<Pattern>,
    /// What not to watch.
    pub ignore: Vec<Pattern>,
    /// Whether ignore files and the built-in list are to be left alone.
    pub no_ignore: bool,
    /// The config file, which need not exist: it is watched all the same.
    pub config_file: PathBuf,
    /// How to learn of changes.
    pub backend: Backend,
    /// Heartbeat and polling.
    pub interval: Duration,
    /// Nothing is stopped until no watched file has changed for so long.
    pub debounce: Duration,
    /// What makes a file another one.
    pub compare: Compare,
    /// Whether symlinks that lead out of the watched directories are to be left alone.
    pub no_follow: bool,
    /// What a change leads to.
    pub on_change: OnChange,
    /// What the command's own end leads to.
    pub on_exit: OnExit,
    /// The first signal of a stop.
    pub stop_signal: Signal,
    /// The grace: how long after it until KILL.
    pub stop_timeout: Duration,
    /// Where the lockfile goes; `None` is a private one.
    pub lockfile: Option<PathBuf>,
    /// Where events go as JSON lines.
    pub events: Option<EventsTarget>,
    /// Whether to clear the terminal before each start.
    pub clear: bool,
    /// Whether to colour.
    pub color: Color,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// How to learn of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// inotify, and polling where the file system sends no events.
    Auto,
    /// Our own, on the kernel's inotify.
    Inotify,
    /// The `notify` crate.
    Notify,
    /// Looking at every watched file once an interval.
    Poll,
}

/// What makes a file another one than it was at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// A write, or another time.
    Time,
    /// Other bytes.
    Content,
}

/// What a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// The command is ended and started anew.
    Restart,
    /// The command gets this signal and goes on.
    Signal(Signal),
}

/// `restart`, `signal:SIGHUP`.
impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnChange::Restart => f.write_str("restart"),
            OnChange::Signal(signal) => write!(f, "signal:{signal}"),
        }
    }
}

/// What the command's own end leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Wait for a change, then start it anew.
    Wait,
    /// End with its exit code.
    Exit,
    /// Start it anew, with a growing delay.
    Restart,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsTarget {
    /// Standard error.
    Stderr,
    /// A descriptor that the caller opened.
    Descriptor(i32),
    /// A file (appended to) or a FIFO.
    File(PathBuf),
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// One line for each thing that matters.
    Normal,
    /// Every decision.
    Verbose,
}

/// One watch or ignore pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As the user wrote it.
    pub text: String,
    /// What to call it when it is the reason: `-w '*.py'`.
    pub rule: String,
    /// The directory it starts from; for a literal, the path itself. Absolute, without `.` and `..`.
    pub base: PathBuf,
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

/// What makes a piece of a pattern more than a name.
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

impl Pattern {
    /// Reads a watch pattern. A name without wildcards is one path, relative to `directory`.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn watch(text: &str, flag: &str, directory: &Path) -> Result<Pattern, String> {
        Pattern::read(text, flag, directory, false)
    }

    /// Reads an ignore pattern. A name without wildcards or slashes counts at any depth, as in a .gitignore.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn ignore(text: &str, flag: &str, directory: &Path) -> Result<Pattern, String> {
        Pattern::read(text, flag, directory, true)
    }

    fn read(text: &str, flag: &str, directory: &Path, names_at_any_depth: bool) -> Result<Pattern, String> {
        let rule = format!("{flag} '{text}'");
        if text.trim().is_empty() {
            return Err("a pattern is empty; write one like '*.py', or '**' for everything".into());
        }
        if let Some(rest) = text.strip_prefix('!') {
            let remedy = if names_at_any_depth { "leave the '!' out" } else { "to leave files out, use --ignore" };
            return Err(format!("patterns are not negated with '!'; {remedy} (--ignore '{rest}')"));
        }
        let unslashed = text.strip_suffix('/').unwrap_or(text);
        let relative = unslashed.strip_prefix("./").unwrap_or(unslashed);
        let pieces: Vec<&str> = relative.split('/').collect();
        let fixed = pieces.iter().take_while(|piece| !piece.contains(WILDCARDS)).count();
        // As a leading slash in a .gitignore: here, and not at any depth.
        let anchored = relative.len() < unslashed.len();
        let any_depth =
            pieces.len() == 1 && !anchored && (fixed == 0 || names_at_any_depth) && relative != "." && relative != "..";
        if fixed == pieces.len() && !any_depth {
            let base = normalized(&directory.join(unescaped(relative)));
            return Ok(Pattern { text: text.to_owned(), rule, base, shape: Shape::Literal });
        }
        let (prefix, glob) = if any_depth {
            (String::new(), format!("**/{relative}"))
        } else {
            (format!("{}/", pieces[..fixed].join("/")), pieces[fixed..].join("/"))
        };
        let prefix = if fixed == 0 { "" } else { &prefix };
        let base = normalized(&directory.join(unescaped(prefix)));
        let glob = GlobBuilder::new(&glob)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| format!("this is no valid pattern: {}", error.kind()))?;
        Ok(Pattern { text: text.to_owned(), rule, base, shape: Shape::Glob(glob) })
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

/// Splits `*.py;*.toml` at its semicolons; `\;` is a semicolon in a name.
pub fn split_patterns(text: &str) -> Vec<String> {
    let mut patterns = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&';') => {
                characters.next();
                patterns.last_mut().expect("never empty").push(';');
            }
            ';' => patterns.push(String::new()),
            other => patterns.last_mut().expect("never empty").push(other),
        }
    }
    patterns
}

#[cfg(test)]
pub mod tests {
    use super::{Backend, Color, Compare, Config, OnChange, OnExit, Pattern, Shape, Verbosity, split_patterns};
    use crate::os::signals::Signal;
    use std::path::Path;
    use std::time::Duration;

    /// The default of everything, with these patterns.
    pub fn config(root: &Path, watch: &str, ignore: &str) -> Config {
        let patterns = |text: &str| split_patterns(text).into_iter().filter(|piece| !piece.is_empty());
        Config {
            command: vec!["true".into()],
            directory: root.to_owned(),
            watch: patterns(watch).map(|text| Pattern::watch(&text, "-w", root).unwrap()).collect(),
            ignore: patterns(ignore).map(|text| Pattern::ignore(&text, "-i", root).unwrap()).collect(),
            no_ignore: false,
            config_file: root.join("reloadrun.toml"),
            backend: Backend::Auto,
            interval: Duration::from_secs(1),
            debounce: Duration::ZERO,
            compare: Compare::Time,
            no_follow: false,
            on_change: OnChange::Restart,
            on_exit: OnExit::Wait,
            stop_signal: Signal::TERM,
            stop_timeout: Duration::from_secs(5),
            lockfile: None,
            events: None,
            clear: false,
            color: Color::Auto,
            verbosity: Verbosity::Normal,
        }
    }

    fn read(text: &str) -> (String, Option<String>) {
        let pattern = Pattern::watch(text, "-w", Path::new("/home/me/app")).unwrap();
        let glob = match pattern.shape {
            Shape::Literal => None,
            Shape::Glob(glob) => Some(glob.glob().to_owned()),
        };
        (pattern.base.to_str().unwrap().to_owned(), glob)
    }

    #[test]
    fn a_pattern_is_a_base_and_what_matches_below_it() {
        for (text, base, glob) in [
            ("*.py", "/home/me/app", Some("**/*.py")),
            ("**", "/home/me/app", Some("**/**")),
            ("*", "/home/me/app", Some("**/*")),
            ("src/**/*.rs", "/home/me/app/src", Some("**/*.rs")),
            ("./src/*.rs", "/home/me/app/src", Some("*.rs")),
            ("*/x.py", "/home/me/app", Some("*/x.py")),
            ("conf/app.toml", "/home/me/app/conf/app.toml", None),
            (".env", "/home/me/app/.env", None),
            ("./.env", "/home/me/app/.env", None),
            ("./*.py", "/home/me/app", Some("*.py")),
            (".", "/home/me/app", None),
            ("..", "/home/me", None),
            ("src/", "/home/me/app/src", None),
            ("/etc/app/*.toml", "/etc/app", Some("*.toml")),
            ("/etc/app/app.toml", "/etc/app/app.toml", None),
            ("/*.toml", "/", Some("*.toml")),
            ("../lib/**", "/home/me/lib", Some("**")),
            ("../../x/{a,b}/*.py", "/home/x", Some("{a,b}/*.py")),
            (r"odd\*name", "/home/me/app", Some(r"**/odd\*name")),
        ] {
            assert_eq!(read(text), (base.to_owned(), glob.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_sentence() {
        for (text, part) in [
            ("", "empty"),
            ("  ", "empty"),
            ("[", "no valid pattern"),
            ("{a", "no valid pattern"),
            ("src/[z-a]", "no valid pattern"),
            ("!*.py", "--ignore '*.py'"),
        ] {
            let sentence = Pattern::watch(text, "-w", Path::new("/")).unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }

    #[test]
    fn semicolons_separate_and_can_be_escaped() {
        assert_eq!(split_patterns("*.py;*.toml"), ["*.py", "*.toml"]);
        assert_eq!(split_patterns(r"a\;b;c"), ["a;b", "c"]);
        assert_eq!(split_patterns("*.py;"), ["*.py", ""]);
        assert_eq!(split_patterns(""), [""]);
    }
}
