//! Builds the Config from the command line, the config file and the environment. The only place that knows defaults.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::args::Args;
use super::caller::Caller;
use super::env_file;
use super::file::{Entry, File, nearest};
use super::paths::{canonical, canonical_name, existing_directory};
use super::settings::{Settings, meant};
use super::smoke;
use super::together;
use super::trust::{self, CONFIG_FILE};
use crate::address::{Listen, duplicate, of_outlet};
use crate::config::{Backend, Color, Compare, Config, Discover, EventsTarget, OnChange, OnExit, StopGroup, Verbosity};
use crate::control;
use crate::os::fs::{identity, same_file};
use crate::os::reason;
use crate::os::signals::Signal;
use crate::pattern::{self, Kind, Pattern, Place, normalized};
use crate::probe::Probe;

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
    let settings = Settings { file: &file, mistakes: Vec::new(), caller, here: &here, home: &home };
    let mut resolver = Resolver { args, settings, pieces: 0 };
    let chosen = resolver.directory_key();
    let config = resolver.config(chosen, &config_file, needs_command);
    let mistakes = [file.mistakes.clone(), resolver.settings.mistakes].concat();
    match config {
        Some(config) if mistakes.is_empty() => {
            Ok(Config { hints: text.and_then(|found| found.caution).into_iter().collect(), ..config })
        }
        _ => Err(mistakes),
    }
}

/// The path of the config file, and its text if the file exists.
fn config_file(args: &Args, caller: &Caller, here: &Path) -> Result<(PathBuf, Option<trust::Text>), String> {
    let Some(given) = &args.config else { return trust::found_from(here, &caller.current) };
    if given.is_empty() {
        return Err("--config '': expected a file".to_owned());
    }
    let path = normalized(&here.join(caller.expanded(given)));
    let mistake = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {
            return trust::named(&path, &caller.current).map(|text| (path, Some(text)));
        }
        Ok(_) => "not a file".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "no such file".to_owned(),
        Err(error) => reason(error),
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

/// Puts the settings together.
struct Resolver<'a> {
    args: &'a Args,
    settings: Settings<'a>,
    /// The number of patterns so far, of all kinds.
    pieces: usize,
}

impl Resolver<'_> {
    fn config(&mut self, chosen: Option<PathBuf>, config_file: &Path, needs_command: bool) -> Option<Config> {
        // What is missing, and what does not fit together, may be only so because of a key that could not be read.
        let is_whole = self.settings.file.mistakes.is_empty();
        let on_change = self.on_change();
        let smoke = smoke::read(&mut self.settings, self.args);
        let may_lack = matches!(on_change, OnChange::Run(_)) && smoke.is_none();
        let (command, from_file) = self.command(needs_command && !may_lack && is_whole);
        let directory = chosen
            .clone()
            .unwrap_or_else(|| if from_file { self.settings.home } else { self.settings.here }.to_owned());
        let (args, caller) = (self.args, self.settings.caller);
        let (env_files, variables) = self.env_files();
        let watch = self.patterns(
            PatternsOf { kind: Kind::Watch, key: "watch", flag: "-w", given: &args.watch },
            chosen.as_deref(),
            &directory,
        );
        let mut config = Config {
            command,
            discover: self.settings.choice(
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
            no_ignore: args.no_ignore || self.settings.flag("no-ignore"),
            config_file: canonical_name(config_file),
            backend: self.settings.choice(
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
            interval: self.settings.duration("interval", args.interval.as_ref(), Duration::from_secs(1)),
            debounce: self.settings.duration("debounce", args.debounce.as_ref(), Duration::ZERO),
            jitter: self.settings.duration("jitter", args.jitter.as_ref(), Duration::ZERO),
            compare: self.settings.choice(
                "compare",
                args.compare.as_ref(),
                Compare::Time,
                &[("time", Compare::Time), ("content", Compare::Content)],
            ),
            no_follow: args.no_follow || self.settings.flag("no-follow"),
            on_change,
            prepare: self.prepare(),
            pidfile: self.settings.path("pidfile", args.pidfile.as_ref()),
            on_exit: self.settings.choice(
                "on-exit",
                args.on_exit.as_ref(),
                if caller.is_init || caller.environment.is_ci() { OnExit::Exit } else { OnExit::Wait },
                &[("wait", OnExit::Wait), ("exit", OnExit::Exit), ("restart", OnExit::Restart)],
            ),
            stop_signal: self.stop_signal(),
            stop_group: self.settings.choice(
                "stop-group",
                args.stop_group.as_ref(),
                StopGroup::All,
                &[("all", StopGroup::All), ("main", StopGroup::Main)],
            ),
            stop_timeout: self.settings.duration("stop-timeout", args.stop_timeout.as_ref(), Duration::from_secs(5)),
            name: self.name(),
            keys: args.keys || self.settings.flag("keys"),
            ready: self.ready(),
            ready_timeout: self.settings.duration(
                "ready-timeout",
                args.ready_timeout.as_ref(),
                Duration::from_secs(60),
            ),
            listen: self.listen(),
            env_files,
            variables,
            overlap: args.overlap || self.settings.flag("overlap"),
            smoke: smoke.clone(),
            http: self.outlet("http", args.http.as_ref(), None),
            browser: self.outlet("browser", args.browser.as_ref(), Some(BROWSER_PORT)),
            lockfile: self.settings.path("lockfile", args.lockfile.as_ref()),
            events: self.events(),
            clear: args.clear || self.settings.flag("clear"),
            color: self.settings.choice(
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
        if is_whole {
            let mistakes = together::mistakes(&config);
            let placed: Vec<String> = mistakes.into_iter().map(|mistake| self.placed(mistake)).collect();
            self.settings.mistakes.extend(placed);
        }
        if is_whole && needs_command && config.command.is_none() && may_lack {
            self.ensure_nothing_concerns_a_command();
        }
        (self.settings.mistakes.is_empty()).then_some(config)
    }

    /// A mistake that begins with an option, with the line of the config file in its place if it was set there.
    fn placed(&self, mistake: String) -> String {
        let Some(rest) = mistake.strip_prefix("--") else { return mistake };
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-').unwrap_or(rest.len());
        let (key, rest) = rest.split_at(end);
        let args = self.args;
        let is_typed = match key {
            "ready" => args.ready.is_some(),
            "overlap" => args.overlap,
            "http" => args.http.is_some(),
            "browser" => args.browser.is_some(),
            "smoke" => args.smoke.is_some(),
            "prove-reload" => !args.prove_reload.is_empty(),
            _ => true,
        };
        match self.settings.place(key) {
            Some(place) if !is_typed => format!("{place}{rest}"),
            _ => mistake,
        }
    }

    fn directory_key(&mut self) -> Option<PathBuf> {
        let entry = self.settings.text("directory")?;
        let found = existing_directory(
            &self.settings.home.join(self.settings.expanded(&entry.value)),
            &OsString::from(&entry.value),
            &entry.place,
        );
        found.map_err(|mistake| self.settings.mistakes.push(mistake)).ok()
    }

    /// The command's directory by the name that a shell would use after `cd`: based on the caller's `PWD`, with
    /// symlinks kept.
    fn named_directory(&self, from_file: bool) -> PathBuf {
        let current = self.settings.caller.current.as_path();
        let started = self.settings.caller.named().filter(|named| same_file(named, current)).unwrap_or(current);
        let here = match &self.args.directory {
            Some(given) => normalized(&started.join(self.settings.caller.expanded(given))),
            None => started.to_owned(),
        };
        // A config file found in a parent directory: take as many steps up in the name as in the real path.
        let up = self.settings.here.ancestors().position(|ancestor| ancestor == self.settings.home);
        let home = up.and_then(|up| here.ancestors().nth(up)).unwrap_or(self.settings.home);
        match self.settings.text("directory") {
            Some(entry) => normalized(&home.join(self.settings.expanded(&entry.value))),
            None if from_file => home.to_owned(),
            None => here,
        }
    }

    /// The command, and whether it is from the file.
    fn command(&mut self, needed: bool) -> (Option<Vec<OsString>>, bool) {
        if !self.args.command.is_empty() {
            return (Some(self.args.command.clone()), false);
        }
        if let Some(entry) = self.settings.list("command").filter(|entry| !entry.value.is_empty()) {
            return (Some(entry.value.iter().map(OsString::from).collect()), true);
        }
        if needed {
            self.settings.mistakes.push(format!("no command given; write it after --, as in `reloadrun -w '*.py' -- python app.py`, or set command = [\"python\", \"app.py\"] in {CONFIG_FILE}"));
        }
        (None, false)
    }

    /// The patterns of the flags, else those of the key. Relative ones begin at the `chosen` directory, if the file
    /// names one.
    fn patterns(&mut self, of: PatternsOf<'_>, chosen: Option<&Path>, directory: &Path) -> Vec<Pattern> {
        let PatternsOf { kind, key, flag, given } = of;
        let (texts, shown, name, root) = match self.settings.list(key) {
            Some(entry) if given.is_empty() => {
                (entry.value.into_iter().map(OsString::from).collect(), entry.place, key, self.settings.home)
            }
            _ => (given.to_vec(), flag.to_owned(), flag, self.settings.here),
        };
        let place = Place {
            name,
            kind,
            directory: chosen.unwrap_or(root),
            home: self.settings.caller.environment.home().map(PathBuf::as_path),
            exists: &|path| path.symlink_metadata().is_ok(),
            identity: &|path| identity(path, directory),
        };
        let mut patterns = Vec::new();
        let pieces = texts.iter().map(|given| pattern::split(given).len()).sum::<usize>();
        self.pieces += pieces;
        if self.pieces > MOST_PATTERNS {
            let all = self.pieces;
            self.settings.mistakes.push(format!("{shown}: {all} patterns are too many (the limit is {MOST_PATTERNS}, watch and ignore together); use a directory or a wildcard in place of single names"));
            return patterns;
        }
        for given in &texts {
            let pieces = pattern::split(given);
            for text in &pieces {
                let given = given.display();
                match place.read(text) {
                    Ok(read) => patterns.extend(read),
                    Err(sentence) if pieces.len() == 1 || text.is_empty() => {
                        self.settings.mistakes.push(format!("{shown} '{given}': {sentence}"));
                    }
                    Err(sentence) => {
                        self.settings.mistakes.push(format!("{shown} '{given}': in '{}': {sentence}", text.display()));
                    }
                }
            }
        }
        patterns
    }

    /// The directories of the flags, else those of the key.
    fn discover_root(&mut self) -> Vec<PathBuf> {
        let (texts, place, base) = self.settings.flag_or_paths("discover-root", &self.args.discover_root);
        let directory = |text: &OsString| match normalized(&base.join(self.settings.caller.expanded(text))) {
            _ if text.is_empty() => Err(format!("{place} '': expected a directory")),
            // It need not exist yet.
            path if path.exists() && !path.is_dir() => Err(format!("{place} '{}': not a directory", text.display())),
            path => Ok(canonical(&path)),
        };
        let (directories, mistakes): (Vec<_>, Vec<_>) = texts.iter().map(directory).partition(Result::is_ok);
        self.settings.mistakes.extend(mistakes.into_iter().filter_map(Result::err));
        directories.into_iter().flatten().collect()
    }

    fn on_change(&mut self) -> OnChange {
        let Some(entry) = self.settings.flag_or_text("on-change", self.args.on_change.as_ref()) else {
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
                self.settings.wrong(&entry, "expected a command after run:, as in run:'make test'");
                OnChange::Restart
            }
            _ => {
                let meant = meant_on_change(&entry.value);
                let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                self.settings.wrong(
                    &entry,
                    &format!("must be restart, signal:NAME as in signal:HUP, queue or run:COMMAND{meant}"),
                );
                OnChange::Restart
            }
        }
    }

    fn prepare(&mut self) -> Option<String> {
        let entry = self.settings.flag_or_text("prepare", self.args.prepare.as_ref())?;
        if entry.value.trim().is_empty() {
            self.settings.wrong(&entry, "expected a command, as in --prepare 'nginx -t'");
        }
        Some(entry.value)
    }

    /// Without a command, what is said of one is a mistake.
    fn ensure_nothing_concerns_a_command(&mut self) {
        let pidfile = self.args.pidfile.as_ref().map(|path| path.to_string_lossy().into_owned());
        let (on_exit, ready) = (self.args.on_exit.as_ref(), self.args.ready.as_ref());
        let given = [("on-exit", on_exit), ("ready", ready), ("pidfile", pidfile.as_ref())];
        for (key, given) in given {
            if let Some(entry) = self.settings.flag_or_text(key, given) {
                self.settings.wrong(&entry, "there is no command; give one after --, or leave this out");
            }
        }
    }

    fn stop_signal(&mut self) -> Signal {
        match self.settings.flag_or_text("stop-signal", self.args.stop_signal.as_ref()) {
            Some(entry) => self.signal(&entry, &entry.value),
            None => Signal::TERM,
        }
    }

    fn signal(&mut self, entry: &Entry<String>, name: &str) -> Signal {
        Signal::from_str(name).unwrap_or_else(|()| {
            let upper = name.to_ascii_uppercase();
            let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
            self.settings
                .wrong(entry, &format!("unknown signal{} (`kill -l` lists them)", meant(plain, Signal::names())));
            Signal::TERM
        })
    }

    fn name(&mut self) -> Option<String> {
        let entry = self.settings.flag_or_text("name", self.args.name.as_ref())?;
        if !control::is_name(&entry.value) {
            self.settings.wrong(&entry, "must be 1 to 64 letters, digits, dots, dashes and underscores");
        }
        Some(entry.value)
    }

    /// The files with variables, and what they hold.
    fn env_files(&mut self) -> (Vec<PathBuf>, Vec<(OsString, OsString)>) {
        let (texts, place, base) = self.settings.flag_or_paths("env-file", &self.args.env_file);
        if texts.iter().any(|text| text.is_empty()) {
            self.settings.mistakes.push(format!("{place} '': expected a file"));
            return (Vec::new(), Vec::new());
        }
        let named = |text: &OsString| canonical_name(&base.join(self.settings.caller.expanded(text)));
        let files: Vec<PathBuf> = texts.iter().map(named).collect();
        let variables = env_file::read_all(&files, &self.settings.caller.current);
        (
            files,
            variables
                .map_err(|sentence| self.settings.mistakes.push(format!("{place} {sentence}")))
                .unwrap_or_default(),
        )
    }

    fn ready(&mut self) -> Option<Probe> {
        let base = if self.args.ready.is_some() { self.settings.here } else { self.settings.home };
        let entry = self.settings.flag_or_text("ready", self.args.ready.as_ref())?;
        let caller = self.settings.caller;
        let absolute = |path: &str| canonical_name(&base.join(caller.expanded(OsStr::new(path))));
        let probe = Probe::read(&entry.value, &absolute);
        probe.map_err(|sentence| self.settings.wrong(&entry, &sentence)).ok()
    }

    fn listen(&mut self) -> Vec<Listen> {
        let (texts, place, base) = match self.settings.list("listen") {
            Some(entry) if self.args.listen.is_empty() => (entry.value, entry.place, self.settings.home),
            _ => (self.args.listen.clone(), "--listen".to_owned(), self.settings.here),
        };
        let caller = self.settings.caller;
        let absolute = |path: &str| canonical_name(&base.join(caller.expanded(OsStr::new(path))));
        let mut listens = Vec::new();
        for text in &texts {
            match Listen::read(text, &absolute) {
                Ok(listen) => listens.push(listen),
                Err(sentence) => self.settings.mistakes.push(format!("{place} '{text}': {sentence}")),
            }
        }
        if let Some(twice) = duplicate(&listens) {
            self.settings.mistakes.push(format!("{place}: {twice} is given twice"));
        }
        listens
    }

    fn outlet(&mut self, key: &str, given: Option<&String>, port: Option<u16>) -> Option<SocketAddr> {
        let entry = self.settings.flag_or_text(key, given)?;
        if !cfg!(feature = "outlet") {
            self.settings.wrong(&entry, WITHOUT_OUTLET);
            return None;
        }
        of_outlet(&entry.value, port).map_err(|sentence| self.settings.wrong(&entry, &sentence)).ok()
    }

    fn events(&mut self) -> Option<EventsTarget> {
        let given = self.args.events.as_ref().map(|path| path.to_string_lossy().into_owned());
        let entry = self.settings.flag_or_text("events", given.as_ref())?;
        if entry.value == "-" {
            return Some(EventsTarget::Stderr);
        }
        let Some(number) = entry.value.strip_prefix("fd:") else {
            return self.settings.path("events", self.args.events.as_ref()).map(EventsTarget::File);
        };
        match number.parse() {
            Ok(number) if number >= 0 => Some(EventsTarget::Descriptor(number)),
            _ => {
                self.settings.wrong(&entry, "expected the number of an open descriptor after fd:, as in fd:3");
                None
            }
        }
    }

    fn verbosity(&mut self) -> Verbosity {
        let (quiet, verbose) = match (self.args.quiet, self.args.verbose) {
            (false, false) => (self.settings.flag("quiet"), self.settings.flag("verbose")),
            flags => flags,
        };
        match (quiet, verbose) {
            (true, true) => {
                let typed = self.args.quiet && self.args.verbose;
                let verbose = self.settings.file.flags.iter().find(|(key, _)| key == "verbose" && !typed);
                self.settings.mistakes.push(match verbose {
                    Some((_, entry)) => format!("{} and quiet cannot be used together", entry.place),
                    None => "--quiet and --verbose cannot be used together".to_owned(),
                });
                Verbosity::Normal
            }
            (true, false) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// What a value of `on-change` that is none may have been meant as.
fn meant_on_change(value: &str) -> Option<String> {
    if Signal::from_str(value).is_ok() {
        return Some(format!("signal:{value}"));
    }
    let (word, rest) = value.split_once([':', '=', ' ']).unwrap_or((value, ""));
    let rest = |usual: &'static str| if rest.trim().is_empty() { usual } else { rest.trim() };
    match nearest(word, ["restart", "signal", "queue", "run"].into_iter())? {
        "signal" => Some(format!("signal:{}", rest("HUP"))),
        "run" => Some(format!("run:{}", rest("COMMAND"))),
        whole => Some(whole.to_owned()),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
