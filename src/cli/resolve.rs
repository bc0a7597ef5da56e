//! Builds the Config from the command line, the config file and the environment. The only place that knows defaults.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::args::Args;
use super::duration::parse_duration;
use super::env_file;
use super::file::{Entry, File, nearest};
use super::smoke;
use super::together;
use super::trust::{self, CONFIG_FILE};
use crate::address::{Listen, duplicate, of_outlet};
use crate::config::{
    Backend, Color, Compare, Config, Discover, EventsTarget, OnChange, OnExit, Report, Smoke, StopGroup, Verbosity,
};
use crate::control;
use crate::environment::Environment;
use crate::os::fs::{identity, same_file};
use crate::os::process::{is_init, own_pid};
use crate::os::reason;
use crate::os::signals::Signal;
use crate::os::user::home;
use crate::pattern::{self, Kind, Pattern, Place, normalized};
use crate::probe::Probe;

/// What is known of the process that started reloadrun, besides the arguments.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The directory reloadrun was started in.
    pub current: PathBuf,
    /// The environment variables.
    pub environment: Environment,
    /// Whether reloadrun is the init process of a container (PID 1), or the process that a systemd unit consists of: then its
    /// end is the command's, and whoever started it decides what follows.
    pub is_init: bool,
}

impl Caller {
    /// Reads the working directory and the environment of this process.
    ///
    /// # Errors
    /// The current directory no longer exists.
    pub fn of_process() -> Result<Caller, Vec<String>> {
        let current = std::env::current_dir()
            .map_err(|_| vec!["the current directory no longer exists; change to another one".to_owned()])?;
        let environment = Environment::of_process(home());
        // systemd tells the process of ExecStart= its own pid; those below it inherit the variable.
        let is_unit = environment.text("SYSTEMD_EXEC_PID") == Some(own_pid().to_string().as_str());
        Ok(Caller { current, environment, is_init: is_init() || is_unit })
    }

    /// The shell's name for that directory (`PWD`, if it is absolute and normal): it keeps the symlinks in the path.
    fn named(&self) -> Option<&Path> {
        let named = self.environment.get("PWD").map(Path::new);
        named.filter(|named| named.is_absolute() && normalized(named) == *named)
    }

    /// The start directory: the current one, or the one that `-C` names, as after `cd`. Relative paths begin there.
    ///
    /// # Errors
    /// The directory does not exist or cannot be read.
    pub fn directory(&self, args: &Args) -> Result<PathBuf, Vec<String>> {
        let Some(given) = &args.directory else { return Ok(canonical(&self.current)) };
        let path = self.current.join(self.expanded(given));
        existing_directory(&path, given, "--directory").map_err(|mistake| vec![mistake])
    }

    /// The path with a leading `~` replaced by the home directory, as a shell does.
    fn expanded(&self, path: &OsStr) -> PathBuf {
        match (Path::new(path).strip_prefix("~"), self.environment.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }
}

/// Combines flags, config file and defaults. With `needs_command`, a missing command is a mistake.
///
/// # Errors
/// One message for each mistake.
pub fn resolve(args: &Args, caller: &Caller, needs_command: bool) -> Result<Config, Vec<String>> {
    let here = caller.directory(args)?;
    let (config_file, text) = config_file(args, caller, &here).map_err(|mistake| vec![mistake])?;
    let file = match &text {
        Some(found) => File::read(Path::new(&trust::shown(&config_file, &caller.current)), &found.text)?,
        None => File::default(),
    };
    let home = canonical(config_file.parent().unwrap_or(&here));
    let mut resolver =
        Resolver { args, file: &file, mistakes: Vec::new(), caller, here: &here, home: &home, pieces: 0 };
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
        return Err(format!("{place} '': expected a directory"));
    }
    match std::fs::read_dir(path).and_then(|_| std::fs::canonicalize(path)) {
        Ok(path) => Ok(path),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => format!("{place} {shown}: no such directory"),
            std::io::ErrorKind::NotADirectory => format!("{place} {shown}: not a directory"),
            std::io::ErrorKind::PermissionDenied => format!("{place} {shown}: permission denied"),
            _ => format!("{place} {shown}: {}", reason(error)),
        }),
    }
}

/// The path of the config file, and its text if the file exists.
fn config_file(args: &Args, caller: &Caller, here: &Path) -> Result<(PathBuf, Option<trust::Text>), String> {
    let Some(given) = &args.config else { return trust::found_from(here, &caller.current) };
    let path = normalized(&here.join(caller.expanded(given)));
    let mistake = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {
            return trust::named(&path, &caller.current).map(|text| (path, Some(text)));
        }
        Ok(_) => "not a file",
        Err(_) => "no such file",
    };
    Err(format!("--config {}: {mistake}", Path::new(given).display()))
}

/// What is said of an option whose part of the program was left out.
const WITHOUT_OUTLET: &str =
    "this reloadrun was built without its feature `outlet`; leave this out, or install one that has it";

/// The port of LiveReload, which browser extensions know.
const BROWSER_PORT: u16 = 35729;

/// The most patterns accepted, `watch` and `ignore` together: each file is matched against all of them.
const MOST_PATTERNS: usize = 10_000;

/// Where patterns come from.
struct PatternsOf<'a> {
    kind: Kind,
    key: &'static str,
    flag: &'static str,
    given: &'a [OsString],
}

/// Looks for each setting first in the flags, then in the file, and collects the mistakes.
struct Resolver<'a> {
    args: &'a Args,
    file: &'a File,
    mistakes: Vec<String>,
    caller: &'a Caller,
    here: &'a Path,
    /// The directory of the config file: relative paths in it begin there.
    home: &'a Path,
    /// The number of patterns so far, of both kinds.
    pieces: usize,
}

impl Resolver<'_> {
    fn config(&mut self, chosen: Option<PathBuf>, config_file: &Path, needs_command: bool) -> Option<Config> {
        let on_change = self.on_change();
        let smoke = self.smoke();
        let may_lack = matches!(on_change, OnChange::Run(_)) && smoke.is_none();
        let (command, from_file) = self.command(needs_command && !may_lack);
        let directory = chosen.clone().unwrap_or_else(|| if from_file { self.home } else { self.here }.to_owned());
        let (args, caller) = (self.args, self.caller);
        let (env_files, variables) = self.env_files();
        let watch = self.patterns(
            PatternsOf { kind: Kind::Watch, key: "watch", flag: "-w", given: &args.watch },
            chosen.as_deref(),
            &directory,
        );
        let mut config = Config {
            command,
            discover: self.choice(
                "discover",
                args.discover.as_ref(),
                if watch.is_empty() { Discover::Add } else { Discover::Off },
                &[("add", Discover::Add), ("only", Discover::Only), ("off", Discover::Off)],
            ),
            discover_root: self.discover_root(),
            watch,
            browser_watch: self.patterns(
                PatternsOf {
                    kind: Kind::Watch,
                    key: "browser-watch",
                    flag: "--browser-watch",
                    given: &args.browser_watch,
                },
                chosen.as_deref(),
                &directory,
            ),
            ignore: self.patterns(
                PatternsOf { kind: Kind::Ignore, key: "ignore", flag: "-i", given: &args.ignore },
                chosen.as_deref(),
                &directory,
            ),
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
            jitter: self.duration("jitter", args.jitter.as_ref(), Duration::ZERO, Duration::ZERO),
            compare: self.choice(
                "compare",
                args.compare.as_ref(),
                Compare::Time,
                &[("time", Compare::Time), ("content", Compare::Content)],
            ),
            no_follow: args.no_follow || self.flag("no-follow"),
            on_change,
            prepare: self.prepare(),
            pidfile: self.path("pidfile", args.pidfile.as_ref()),
            on_exit: self.choice(
                "on-exit",
                args.on_exit.as_ref(),
                if caller.is_init || caller.environment.is_ci() { OnExit::Exit } else { OnExit::Wait },
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
            name: self.name(),
            keys: args.keys || self.flag("keys"),
            ready: self.ready(),
            ready_timeout: self.duration(
                "ready-timeout",
                args.ready_timeout.as_ref(),
                Duration::from_secs(60),
                Duration::from_millis(1),
            ),
            listen: self.listen(),
            env_files,
            variables,
            overlap: args.overlap || self.flag("overlap"),
            smoke: smoke.clone(),
            http: self.outlet("http", args.http.as_ref(), None),
            browser: self.outlet("browser", args.browser.as_ref(), Some(BROWSER_PORT)),
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
            environment: caller.environment.clone(),
        };
        if let Some(smoke) = &smoke {
            smoke::adapt(&mut config, smoke);
        }
        self.mistakes.extend(together::mistakes(&config));
        if needs_command && config.command.is_none() && may_lack {
            self.ensure_nothing_concerns_a_command();
        }
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

    /// The command's directory by the name that a shell would use after `cd`: based on the caller's `PWD`, with
    /// symlinks kept.
    fn named_directory(&self, from_file: bool) -> PathBuf {
        let current = self.caller.current.as_path();
        let started = self.caller.named().filter(|named| same_file(named, current)).unwrap_or(current);
        let here = match &self.args.directory {
            Some(given) => normalized(&started.join(self.caller.expanded(given))),
            None => started.to_owned(),
        };
        // A config file found in a parent directory: take as many steps up in the name as in the real path.
        let up = self.here.ancestors().position(|ancestor| ancestor == self.home);
        let home = up.and_then(|up| here.ancestors().nth(up)).unwrap_or(self.home);
        match self.text("directory") {
            Some(entry) => normalized(&home.join(self.expanded(&entry.value))),
            None if from_file => home.to_owned(),
            None => here,
        }
    }

    /// The command, and whether it is from the file.
    fn command(&mut self, needed: bool) -> (Option<Vec<OsString>>, bool) {
        if !self.args.command.is_empty() {
            return (Some(self.args.command.clone()), false);
        }
        if let Some(entry) = self.list("command").filter(|entry| !entry.value.is_empty()) {
            return (Some(entry.value.iter().map(OsString::from).collect()), true);
        }
        if needed {
            self.mistakes.push(format!("no command given; write it after --, as in `reloadrun -w '*.py' -- python app.py`, or set command = [\"python\", \"app.py\"] in {CONFIG_FILE}"));
        }
        (None, false)
    }

    /// The patterns of the flags, else those of the key. Relative ones begin at the `chosen` directory, if the file
    /// names one.
    fn patterns(&mut self, of: PatternsOf<'_>, chosen: Option<&Path>, directory: &Path) -> Vec<Pattern> {
        let PatternsOf { kind, key, flag, given } = of;
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
            home: self.caller.environment.home().map(PathBuf::as_path),
            exists: &|path| path.symlink_metadata().is_ok(),
            identity: &|path| identity(path, directory),
        };
        let mut patterns = Vec::new();
        let pieces = texts.iter().map(|given| pattern::split(given).len()).sum::<usize>();
        self.pieces += pieces;
        if self.pieces > MOST_PATTERNS {
            let all = self.pieces;
            self.mistakes.push(format!("{shown}: {all} patterns are too many (the limit is {MOST_PATTERNS}, watch and ignore together); use a directory or a wildcard in place of single names"));
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

    /// The directories of the flags, else those of the key.
    fn discover_root(&mut self) -> Vec<PathBuf> {
        let (texts, place, base) = self.flag_or_paths("discover-root", &self.args.discover_root);
        let directory = |text: &OsString| match normalized(&base.join(self.caller.expanded(text))) {
            _ if text.is_empty() => Err(format!("{place} '': expected a directory")),
            // It need not exist yet.
            path if path.exists() && !path.is_dir() => Err(format!("{place} '{}': not a directory", text.display())),
            path => Ok(canonical(&path)),
        };
        let (directories, mistakes): (Vec<_>, Vec<_>) = texts.iter().map(directory).partition(Result::is_ok);
        self.mistakes.extend(mistakes.into_iter().filter_map(Result::err));
        directories.into_iter().flatten().collect()
    }

    fn expanded(&self, path: &str) -> PathBuf {
        self.caller.expanded(OsStr::new(path))
    }

    fn duration(&mut self, key: &str, given: Option<&String>, default: Duration, least: Duration) -> Duration {
        let Some(entry) = self.flag_or_text(key, given) else { return default };
        let Some(duration) = parse_duration(&entry.value) else {
            self.wrong(&entry, "expected a duration like 500ms, 2s or 1m; a bare number is seconds");
            return default;
        };
        if duration < least || duration > Duration::from_secs(24 * 60 * 60) {
            let least = humantime::format_duration(least);
            self.wrong(&entry, &format!("must be at least {least} and at most one day"));
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
            &format!("must be one of {}{}", names.join(", "), meant(&entry.value, names.iter().copied())),
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
        if entry.value == "queue" {
            return OnChange::Queue;
        }
        match entry.value.split_once(':') {
            Some(("signal", name)) => OnChange::Signal(self.signal(&entry, name)),
            Some(("run", line)) if !line.trim().is_empty() => OnChange::Run(line.to_owned()),
            _ if entry.value.trim_end_matches([' ', ':']) == "run" => {
                self.wrong(&entry, "expected a command after run:, as in run:'make test'");
                OnChange::Restart
            }
            _ => {
                let names = ["restart", "signal", "queue", "run"].into_iter();
                let meant = meant(entry.value.split(':').next().unwrap_or_default(), names);
                self.wrong(
                    &entry,
                    &format!("must be restart, signal:NAME as in signal:HUP, queue or run:COMMAND{meant}"),
                );
                OnChange::Restart
            }
        }
    }

    fn prepare(&mut self) -> Option<String> {
        let entry = self.flag_or_text("prepare", self.args.prepare.as_ref())?;
        if entry.value.trim().is_empty() {
            self.wrong(&entry, "expected a command, as in --prepare 'nginx -t'");
        }
        Some(entry.value)
    }

    /// Without a command, what is said of one is a mistake.
    fn ensure_nothing_concerns_a_command(&mut self) {
        let pidfile = self.args.pidfile.as_ref().map(|path| path.to_string_lossy().into_owned());
        let (on_exit, ready) = (self.args.on_exit.as_ref(), self.args.ready.as_ref());
        let given = [("on-exit", on_exit), ("ready", ready), ("pidfile", pidfile.as_ref())];
        for (key, given) in given {
            if let Some(entry) = self.flag_or_text(key, given) {
                self.wrong(&entry, "there is no command; give one after --, or leave this out");
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
            self.wrong(entry, &format!("unknown signal{} (`kill -l` lists them)", meant(plain, Signal::names())));
            Signal::TERM
        })
    }

    fn name(&mut self) -> Option<String> {
        let entry = self.flag_or_text("name", self.args.name.as_ref())?;
        if !control::is_name(&entry.value) {
            self.wrong(&entry, "must be 1 to 64 letters, digits, dots, dashes and underscores");
        }
        Some(entry.value)
    }

    fn path(&mut self, key: &str, given: Option<&OsString>) -> Option<PathBuf> {
        if let Some(path) = given {
            return Some(canonical_name(&self.here.join(self.caller.expanded(path))));
        }
        self.text(key).map(|entry| canonical_name(&self.home.join(self.expanded(&entry.value))))
    }

    /// The files with variables, and what they hold.
    fn env_files(&mut self) -> (Vec<PathBuf>, Vec<(OsString, OsString)>) {
        let (texts, place, base) = self.flag_or_paths("env-file", &self.args.env_file);
        let named = |text: &OsString| canonical_name(&base.join(self.caller.expanded(text)));
        let files: Vec<PathBuf> = texts.iter().map(named).collect();
        let variables = env_file::read_all(&files, &self.caller.current);
        (files, variables.map_err(|sentence| self.mistakes.push(format!("{place} {sentence}"))).unwrap_or_default())
    }

    /// The smoke run. Its keys count under `reloadrun ci` alone.
    fn smoke(&mut self) -> Option<Smoke> {
        let (args, ci) = (self.args, self.args.ci);
        let flag = |value: &String| Entry { value: value.clone(), place: "--smoke".to_owned() };
        let check = args.smoke.as_ref().map(flag).or_else(|| self.text("smoke").filter(|_| ci));
        let Some(check) = check else {
            self.mistakes.extend(smoke::without_a_check(args));
            return None;
        };
        if check.value.trim().is_empty() {
            self.wrong(&check, "expected a command, as in 'pytest tests/smoke'");
        }
        let counting = |own: Option<&Vec<OsString>>| ci || own.is_some_and(|given| !given.is_empty());
        let given = |own| if counting(Some(own)) { Some(own.clone()) } else { None };
        let mut prove_reload = Vec::new();
        if let Some(own) = given(&args.prove_reload) {
            let (texts, place, base) = self.flag_or_paths("prove-reload", &own);
            for text in &texts {
                let path = canonical_name(&base.join(self.caller.expanded(text)));
                match smoke::can_be_touched(&path) {
                    Ok(()) => prove_reload.push(path),
                    Err(sentence) => self.mistakes.push(format!("{place} {}: {sentence}", text.display())),
                }
            }
        }
        let mut reports = Vec::new();
        if let Some(own) = given(&args.report) {
            let (texts, place, base) = self.flag_or_paths("report", &own);
            for text in &texts {
                match smoke::report(text) {
                    Ok((format, path)) => {
                        let path = canonical_name(&base.join(self.caller.expanded(&path)));
                        reports.push(Report { format, path });
                    }
                    Err(sentence) => self.mistakes.push(format!("{place} '{}': {sentence}", text.display())),
                }
            }
        }
        let default = Duration::from_secs(10 * 60);
        let deadline = match (&args.deadline, ci) {
            (None, false) => default,
            (given, _) => self.duration("deadline", given.as_ref(), default, Duration::from_millis(1)),
        };
        let github = self.caller.environment.text("GITHUB_ACTIONS") == Some("true");
        Some(Smoke { check: check.value, prove_reload, deadline, reports, github, events: None })
    }

    fn ready(&mut self) -> Option<Probe> {
        let base = if self.args.ready.is_some() { self.here } else { self.home };
        let entry = self.flag_or_text("ready", self.args.ready.as_ref())?;
        let caller = self.caller;
        let absolute = |path: &str| canonical_name(&base.join(caller.expanded(OsStr::new(path))));
        let probe = Probe::read(&entry.value, &absolute);
        probe.map_err(|sentence| self.wrong(&entry, &sentence)).ok()
    }

    fn listen(&mut self) -> Vec<Listen> {
        let (texts, place, base) = match self.list("listen") {
            Some(entry) if self.args.listen.is_empty() => (entry.value, entry.place, self.home),
            _ => (self.args.listen.clone(), "--listen".to_owned(), self.here),
        };
        let caller = self.caller;
        let absolute = |path: &str| canonical_name(&base.join(caller.expanded(OsStr::new(path))));
        let mut listens = Vec::new();
        for text in &texts {
            match Listen::read(text, &absolute) {
                Ok(listen) => listens.push(listen),
                Err(sentence) => self.mistakes.push(format!("{place} '{text}': {sentence}")),
            }
        }
        if let Some(twice) = duplicate(&listens) {
            self.mistakes.push(format!("{place}: {twice} is given twice"));
        }
        listens
    }

    fn outlet(&mut self, key: &str, given: Option<&String>, port: Option<u16>) -> Option<SocketAddr> {
        let entry = self.flag_or_text(key, given)?;
        if !cfg!(feature = "outlet") {
            self.wrong(&entry, WITHOUT_OUTLET);
            return None;
        }
        of_outlet(&entry.value, port).map_err(|sentence| self.wrong(&entry, &sentence)).ok()
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
                self.wrong(&entry, "expected the number of an open descriptor after fd:, as in fd:3");
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
                self.mistakes.push("--quiet and --verbose cannot be used together".to_owned());
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

    /// Paths of a repeatable flag or of its key, what to call it in a message, and where relative ones begin.
    fn flag_or_paths(&self, key: &str, given: &[OsString]) -> (Vec<OsString>, String, PathBuf) {
        match self.list(key) {
            Some(entry) if given.is_empty() => {
                (entry.value.into_iter().map(OsString::from).collect(), entry.place, self.home.to_owned())
            }
            _ => (given.to_vec(), format!("--{key}"), self.here.to_owned()),
        }
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

/// The canonical path of a file that need not exist. Symlinks are resolved in its directory, but not in the last
/// component: if that is a symlink, the symlink itself is meant.
fn canonical_name(path: &Path) -> PathBuf {
    let path = normalized(path);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
