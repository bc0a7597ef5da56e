//! From what was typed and written to what is meant: the only place that knows defaults.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::args::Args;
use super::file::{Entry, File, nearest};
use super::trust::{self, CONFIG_FILE};
use crate::config::{Backend, Color, Compare, Config, EventsTarget, OnChange, OnExit, StopGroup, Verbosity};
use crate::os::fs::{identity, same_file};
use crate::os::process::is_init;
use crate::os::reason;
use crate::os::signals::Signal;
use crate::os::user;
use crate::pattern::{self, Kind, Pattern, Place, normalized};

/// What the environment has to say.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The directory reloadrun was started in.
    pub current: PathBuf,
    /// What the shell calls that directory (`PWD`), where it has a say: a path with the symlinks by which one came.
    pub named: Option<PathBuf>,
    /// The user's home, which a leading `~` stands for.
    pub home: Option<PathBuf>,
    /// Whether it runs as the init of a container.
    pub is_init: bool,
    /// Whether it runs in continuous integration.
    pub is_ci: bool,
}

impl Environment {
    /// Of this process.
    ///
    /// # Errors
    /// The current directory is gone.
    pub fn of_process() -> Result<Environment, Vec<String>> {
        let current = std::env::current_dir()
            .map_err(|_| vec!["the current directory does not exist any more; change to one that does".to_owned()])?;
        let ci = std::env::var("CI").unwrap_or_default();
        let named = std::env::var_os("PWD").map(PathBuf::from);
        let named = named.filter(|named| named.is_absolute() && normalized(named) == *named);
        let home = user::home().filter(|home| home.is_absolute());
        Ok(Environment { current, named, home, is_init: is_init(), is_ci: !matches!(ci.as_str(), "" | "0" | "false") })
    }
}

impl Environment {
    /// The directory that `-C` leads to, as `cd` would: all that is relative begins there.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn directory(&self, args: &Args) -> Result<PathBuf, Vec<String>> {
        let Some(given) = &args.directory else { return Ok(canonical(&self.current)) };
        let path = self.current.join(self.expanded(given));
        existing_directory(&path, given, "--directory").map_err(|mistake| vec![mistake])
    }

    /// A path with the home in the place of a leading `~`: nobody means a directory of that name.
    fn expanded(&self, path: &OsStr) -> PathBuf {
        match (Path::new(path).strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }
}

/// Puts flags, file and defaults together. With `needs_command`, one must be there.
///
/// # Errors
/// One sentence for each mistake.
pub fn resolve(args: &Args, environment: &Environment, needs_command: bool) -> Result<Config, Vec<String>> {
    let here = environment.directory(args)?;
    let (config_file, text) = config_file(args, environment, &here).map_err(|mistake| vec![mistake])?;
    let file = match &text {
        Some(found) => File::read(Path::new(&trust::shown(&config_file)), &found.text)?,
        None => File::default(),
    };
    let home = canonical(config_file.parent().unwrap_or(&here));
    let mut resolver =
        Resolver { args, file: &file, mistakes: Vec::new(), environment, here: &here, home: &home, pieces: 0 };
    let chosen = resolver.directory_key();
    let config = resolver.config(chosen, &config_file, needs_command);
    match config {
        Some(config) if resolver.mistakes.is_empty() => {
            Ok(Config { hints: text.and_then(|found| found.caution).into_iter().collect(), ..config })
        }
        _ => Err(resolver.mistakes),
    }
}

fn existing_directory(path: &Path, shown: &OsString, place: &str) -> Result<PathBuf, String> {
    let shown = Path::new(shown).display();
    if shown.to_string().is_empty() {
        return Err(format!("{place} '': a directory is expected"));
    }
    match std::fs::read_dir(path).and_then(|_| std::fs::canonicalize(path)) {
        Ok(path) => Ok(path),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => format!("{place} {shown}: there is no such directory"),
            std::io::ErrorKind::NotADirectory => format!("{place} {shown}: this is no directory"),
            std::io::ErrorKind::PermissionDenied => format!("{place} {shown}: it may not be read"),
            _ => format!("{place} {shown}: {}", reason(error)),
        }),
    }
}

/// The config file, and its text where it is there.
fn config_file(args: &Args, environment: &Environment, here: &Path) -> Result<(PathBuf, Option<trust::Text>), String> {
    let Some(given) = &args.config else { return trust::found_from(here) };
    let path = normalized(&here.join(environment.expanded(given)));
    let mistake = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => return trust::named(&path).map(|text| (path, Some(text))),
        Ok(_) => "this is no file",
        Err(_) => "there is no such file",
    };
    Err(format!("--config {}: {mistake}", Path::new(given).display()))
}

/// As many patterns are taken, of both kinds together. Every file is held against them.
const MOST_PATTERNS: usize = 10_000;

/// Looks for each setting in the flags first, then in the file; collects what is wrong.
struct Resolver<'a> {
    args: &'a Args,
    file: &'a File,
    mistakes: Vec<String>,
    environment: &'a Environment,
    here: &'a Path,
    /// The directory of the config file, where its relative paths begin.
    home: &'a Path,
    /// How many patterns there are, of both kinds.
    pieces: usize,
}

impl Resolver<'_> {
    fn config(&mut self, chosen: Option<PathBuf>, config_file: &Path, needs_command: bool) -> Option<Config> {
        let (command, from_file) = self.command(needs_command);
        let directory = chosen.clone().unwrap_or_else(|| if from_file { self.home } else { self.here }.to_owned());
        let (args, environment) = (self.args, self.environment);
        let config = Config {
            command,
            watch: self.patterns(Kind::Watch, &args.watch, chosen.as_deref(), &directory),
            ignore: self.patterns(Kind::Ignore, &args.ignore, chosen.as_deref(), &directory),
            named_directory: self.named_directory(from_file),
            directory,
            no_ignore: args.no_ignore || self.flag("no-ignore"),
            config_file: canonical_name(config_file),
            backend: self.choice(
                "backend",
                args.backend.as_ref(),
                Backend::Auto,
                &[
                    ("auto", Backend::Auto),
                    ("inotify", Backend::Inotify),
                    ("notify", Backend::Notify),
                    ("poll", Backend::Poll),
                ],
            ),
            interval: self.duration(
                "interval",
                args.interval.as_ref(),
                Duration::from_secs(1),
                Duration::from_millis(10),
            ),
            debounce: self.duration("debounce", args.debounce.as_ref(), Duration::ZERO, Duration::ZERO),
            compare: self.choice(
                "compare",
                args.compare.as_ref(),
                Compare::Time,
                &[("time", Compare::Time), ("content", Compare::Content)],
            ),
            no_follow: args.no_follow || self.flag("no-follow"),
            on_change: self.on_change(),
            on_exit: self.choice(
                "on-exit",
                args.on_exit.as_ref(),
                if environment.is_init || environment.is_ci { OnExit::Exit } else { OnExit::Wait },
                &[("wait", OnExit::Wait), ("exit", OnExit::Exit), ("restart", OnExit::Restart)],
            ),
            stop_signal: self.stop_signal(),
            stop_group: self.choice(
                "stop-group",
                args.stop_group.as_ref(),
                StopGroup::All,
                &[("all", StopGroup::All), ("main", StopGroup::Main)],
            ),
            stop_timeout: self.duration(
                "stop-timeout",
                args.stop_timeout.as_ref(),
                Duration::from_secs(5),
                Duration::ZERO,
            ),
            lockfile: self.path("lockfile", args.lockfile.as_ref()),
            events: self.events(),
            clear: args.clear || self.flag("clear"),
            color: self.choice(
                "color",
                args.color.as_ref(),
                Color::Auto,
                &[("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)],
            ),
            verbosity: self.verbosity(),
            hints: Vec::new(),
        };
        (self.mistakes.is_empty()).then_some(config)
    }

    fn directory_key(&mut self) -> Option<PathBuf> {
        let entry = self.text("directory")?;
        let found = existing_directory(
            &self.home.join(self.expanded(&entry.value)),
            &OsString::from(&entry.value),
            &entry.place,
        );
        found.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    /// The command's directory as the shell would call it after `cd`: from the caller's `PWD`, with symlinks by their names.
    fn named_directory(&self, from_file: bool) -> PathBuf {
        let Environment { current, named, .. } = self.environment;
        let started = named.as_ref().filter(|named| same_file(named, current)).unwrap_or(current);
        let here = match &self.args.directory {
            Some(given) => normalized(&started.join(self.environment.expanded(given))),
            None => started.clone(),
        };
        // A config file found above has a name among those above.
        let up = self.here.ancestors().position(|ancestor| ancestor == self.home);
        let home = up.and_then(|up| here.ancestors().nth(up)).unwrap_or(self.home);
        match self.text("directory") {
            Some(entry) => normalized(&home.join(self.expanded(&entry.value))),
            None if from_file => home.to_owned(),
            None => here,
        }
    }

    fn command(&mut self, needed: bool) -> (Vec<OsString>, bool) {
        if !self.args.command.is_empty() {
            return (self.args.command.clone(), false);
        }
        if let Some(entry) = self.list("command").filter(|entry| !entry.value.is_empty()) {
            return (entry.value.iter().map(OsString::from).collect(), true);
        }
        if needed {
            self.mistakes.push(format!("no command is given; write it after --, as in `reloadrun -w '*.py' -- python app.py`, or as command = [\"python\", \"app.py\"] in {CONFIG_FILE}"));
        }
        (Vec::new(), false)
    }

    /// Flags take the place of the key, as everywhere. Both begin at the `chosen` directory, if the file names one.
    fn patterns(&mut self, kind: Kind, given: &[OsString], chosen: Option<&Path>, directory: &Path) -> Vec<Pattern> {
        let (key, flag) = match kind {
            Kind::Watch => ("watch", "-w"),
            Kind::Ignore => ("ignore", "-i"),
        };
        let (texts, shown, name, root) = match self.list(key) {
            Some(entry) if given.is_empty() => {
                (entry.value.into_iter().map(OsString::from).collect(), entry.place, key, self.home)
            }
            _ => (given.to_vec(), flag.to_owned(), flag, self.here),
        };
        let place = Place {
            name,
            kind,
            directory: chosen.unwrap_or(root),
            home: self.environment.home.as_deref(),
            exists: &|path| path.symlink_metadata().is_ok(),
            identity: &|path| identity(path, directory),
        };
        let mut patterns = Vec::new();
        let pieces = texts.iter().map(|given| pattern::split(given).len()).sum::<usize>();
        self.pieces += pieces;
        if self.pieces > MOST_PATTERNS {
            let all = self.pieces;
            self.mistakes.push(format!("{shown}: {all} patterns are too many, at most {MOST_PATTERNS} of watch and ignore together; a directory or a wildcard stands for all that it matches"));
            return patterns;
        }
        for given in &texts {
            let pieces = pattern::split(given);
            for text in &pieces {
                let given = given.display();
                match place.read(text) {
                    Ok(read) => patterns.extend(read),
                    Err(sentence) if pieces.len() == 1 || text.is_empty() => {
                        self.mistakes.push(format!("{shown} '{given}': {sentence}"));
                    }
                    Err(sentence) => {
                        self.mistakes.push(format!("{shown} '{given}': in '{}': {sentence}", text.display()));
                    }
                }
            }
        }
        patterns
    }

    fn expanded(&self, path: &str) -> PathBuf {
        self.environment.expanded(OsStr::new(path))
    }

    fn duration(&mut self, key: &str, given: Option<&String>, default: Duration, least: Duration) -> Duration {
        let Some(entry) = self.flag_or_text(key, given) else { return default };
        let Some(duration) = parse_duration(&entry.value) else {
            self.wrong(&entry, "a duration is expected, like 500ms, 2s or 1m; a bare number is seconds");
            return default;
        };
        if duration < least || duration > Duration::from_secs(24 * 60 * 60) {
            let least = humantime::format_duration(least);
            self.wrong(&entry, &format!("it must be at least {least} and at most one day"));
        }
        duration
    }

    fn choice<T: Copy>(&mut self, key: &str, given: Option<&String>, default: T, choices: &[(&str, T)]) -> T {
        let Some(entry) = self.flag_or_text(key, given) else { return default };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == entry.value) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.wrong(
            &entry,
            &format!("it must be one of {}{}", names.join(", "), meant(&entry.value, names.iter().copied())),
        );
        default
    }

    fn on_change(&mut self) -> OnChange {
        let Some(entry) = self.flag_or_text("on-change", self.args.on_change.as_ref()) else {
            return OnChange::Restart;
        };
        if entry.value == "restart" {
            return OnChange::Restart;
        }
        match entry.value.strip_prefix("signal:") {
            Some(name) => OnChange::Signal(self.signal(&entry, name)),
            None => {
                self.wrong(&entry, "it must be restart, or signal:NAME as in signal:HUP");
                OnChange::Restart
            }
        }
    }

    fn stop_signal(&mut self) -> Signal {
        match self.flag_or_text("stop-signal", self.args.stop_signal.as_ref()) {
            Some(entry) => self.signal(&entry, &entry.value),
            None => Signal::TERM,
        }
    }

    fn signal(&mut self, entry: &Entry<String>, name: &str) -> Signal {
        Signal::from_str(name).unwrap_or_else(|()| {
            let upper = name.to_ascii_uppercase();
            let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
            self.wrong(
                entry,
                &format!("there is no such signal{} (`kill -l` lists them)", meant(plain, Signal::names())),
            );
            Signal::TERM
        })
    }

    fn path(&mut self, key: &str, given: Option<&OsString>) -> Option<PathBuf> {
        if let Some(path) = given {
            return Some(canonical_name(&self.here.join(self.environment.expanded(path))));
        }
        self.text(key).map(|entry| canonical_name(&self.home.join(self.expanded(&entry.value))))
    }

    fn events(&mut self) -> Option<EventsTarget> {
        let given = self.args.events.as_ref().map(|path| path.to_string_lossy().into_owned());
        let entry = self.flag_or_text("events", given.as_ref())?;
        if entry.value == "-" {
            return Some(EventsTarget::Stderr);
        }
        let Some(number) = entry.value.strip_prefix("fd:") else {
            return self.path("events", self.args.events.as_ref()).map(EventsTarget::File);
        };
        match number.parse() {
            Ok(number) if number >= 0 => Some(EventsTarget::Descriptor(number)),
            _ => {
                self.wrong(&entry, "after fd: stands the number of an open descriptor, as in fd:3");
                None
            }
        }
    }

    fn verbosity(&mut self) -> Verbosity {
        let (quiet, verbose) = match (self.args.quiet, self.args.verbose) {
            (false, false) => (self.flag("quiet"), self.flag("verbose")),
            flags => flags,
        };
        match (quiet, verbose) {
            (true, true) => {
                self.mistakes.push("--quiet and --verbose exclude each other".to_owned());
                Verbosity::Normal
            }
            (true, false) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }

    fn flag_or_text(&self, key: &str, given: Option<&String>) -> Option<Entry<String>> {
        given.map(|value| Entry { value: value.clone(), place: format!("--{key}") }).or_else(|| self.text(key))
    }

    fn text(&self, key: &str) -> Option<Entry<String>> {
        self.file.texts.iter().find(|(name, _)| name == key).map(|(_, entry)| entry.clone())
    }

    fn list(&self, key: &str) -> Option<Entry<Vec<String>>> {
        self.file.lists.iter().find(|(name, _)| name == key).map(|(_, entry)| entry.clone())
    }

    fn flag(&self, key: &str) -> bool {
        self.file.flags.iter().any(|(name, entry)| name == key && entry.value)
    }

    fn wrong(&mut self, entry: &Entry<String>, sentence: &str) {
        self.mistakes.push(format!("{} '{}': {sentence}", entry.place, entry.value));
    }
}

fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

fn canonical(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// The path of something that need not exist, in a directory that has no other name. The last piece is left alone:
/// if it is a symlink, the symlink is meant.
fn canonical_name(path: &Path) -> PathBuf {
    let path = normalized(path);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path,
    }
}

/// `500ms`, `2s`, `1m 30s`; a bare number is seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text.trim()).ok(),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
