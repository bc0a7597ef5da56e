//! What the user wants, whole and valid: plain data. Defaults, flags, files and the environment are behind us.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::address::Listen;
use crate::environment::Environment;
use crate::os::fs::same_file;
use crate::os::signals::Signal;
use crate::pattern::Pattern;
use crate::probe::Probe;

/// A whole configuration: every path absolute, every pattern compiled, every value in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program and its arguments, which are never empty. `None` where nothing is to be run (`--explain`), or only what a change leads to
    /// (`--on-change run:LINE`).
    pub command: Option<Vec<OsString>>,
    /// Working directory of the command, and what is watched when no pattern is given.
    pub directory: PathBuf,
    /// The same by the name that the user knows, symlinks included, if it leads there: `PWD` of the command.
    pub named_directory: PathBuf,
    /// What to watch; empty means everything in `directory` that is not ignored.
    pub watch: Vec<Pattern>,
    /// What only browsers care about.
    pub browser_watch: Vec<Pattern>,
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
    /// The runs of a fleet are spread over this time before they do anything about a change.
    pub jitter: Duration,
    /// What makes a file another one.
    pub compare: Compare,
    /// Whether symlinks that lead out of the watched directories are to be left alone.
    pub no_follow: bool,
    /// What is made of the files that the command reads and writes.
    pub discover: Discover,
    /// Places of the system where files count that the command reads.
    pub discover_root: Vec<PathBuf>,
    /// What a change leads to.
    pub on_change: OnChange,
    /// A line for the shell that must succeed before a change leads to anything, and before the first start.
    pub prepare: Option<String>,
    /// The file that names the main process of a command that sets itself aside.
    pub pidfile: Option<PathBuf>,
    /// What the command's own end leads to.
    pub on_exit: OnExit,
    /// The first signal of a stop.
    pub stop_signal: Signal,
    /// Who gets it first.
    pub stop_group: StopGroup,
    /// The grace: how long after it until KILL.
    pub stop_timeout: Duration,
    /// The name of the run, by which clients find it.
    pub name: Option<String>,
    /// Whether we read single keys from the terminal, and the command reads nothing.
    pub keys: bool,
    /// The sockets that are held for the command, from descriptor 3 up.
    pub listen: Vec<Listen>,
    /// By what the command is known to be ready.
    pub ready: Option<Probe>,
    /// So long after the start it is too late to become ready.
    pub ready_timeout: Duration,
    /// The files that `variables` came from. They are watched like the config file.
    pub env_files: Vec<PathBuf>,
    /// Variables for the command, unless reloadrun was started with others of the same names.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether the next generation starts beside the old one, which stays until the next is ready.
    pub overlap: bool,
    /// What is made of the run in CI: started, proven, checked and ended.
    pub smoke: Option<Smoke>,
    /// Where reloadrun itself answers probes.
    pub http: Option<SocketAddr>,
    /// Where browsers learn when to load a page again.
    pub browser: Option<SocketAddr>,
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
    /// What is to be told of it, though nothing is wrong.
    pub hints: Vec<String>,
    /// What reloadrun was started with: the command inherits it, and git and Python go by it.
    pub environment: Environment,
}

impl Config {
    /// The files that it was read from, whether they exist or not: the config file, and those with variables.
    pub fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.config_file).chain(&self.env_files)
    }

    /// The words of the command; none where there is none.
    pub fn words(&self) -> &[OsString] {
        self.command.as_deref().unwrap_or_default()
    }

    /// What PWD is to say, as `cd` would set it: the name that the user gave, as long as it leads to this directory.
    pub fn shown_directory(&self) -> &Path {
        let (named, directory) = (&self.named_directory, &self.directory);
        if named == directory || same_file(named, directory) { named } else { directory }
    }

    /// The caller's variables, and those of the env files that the caller does not have.
    pub fn given_variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = self.environment.variables().to_vec();
        let inherited: HashSet<&OsString> = self.environment.variables().iter().map(|(name, _)| name).collect();
        variables.extend(self.variables.iter().filter(|(name, _)| !inherited.contains(name)).cloned());
        variables
    }
}

/// A smoke run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smoke {
    /// The check: a line for the shell.
    pub check: String,
    /// The files that are touched to prove that a reload works.
    pub prove_reload: Vec<PathBuf>,
    /// How long all of it may take.
    pub deadline: Duration,
    /// Where to write what became of it.
    pub reports: Vec<Report>,
    /// Whether this is a job of GitHub Actions.
    pub github: bool,
    /// Where the events of the smoke run go, in the process of the run, whose own events go to the smoke run.
    pub events: Option<EventsTarget>,
}

/// A report of a smoke run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In this form.
    pub format: ReportFormat,
    /// To this file.
    pub path: PathBuf,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFormat {
    /// As test runners write it for CI servers.
    Junit,
    /// For programs.
    Json,
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

impl Backend {
    /// Whether it reads an inotify queue of ours.
    pub fn uses_inotify(self) -> bool {
        matches!(self, Backend::Auto | Backend::Inotify)
    }
}

/// What makes a file another one than it was at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// A write, or another time.
    Time,
    /// Other bytes.
    Content,
}

/// What is made of the files that the command reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discover {
    /// What it reads counts as well, and what it writes does not.
    Add,
    /// Only what it reads counts.
    Only,
    /// It is not traced.
    Off,
}

/// What a change leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnChange {
    /// The command is ended and started anew.
    Restart,
    /// The command gets this signal and goes on.
    Signal(Signal),
    /// The command goes on to its end, and is started anew then.
    Queue,
    /// The command goes on, and this line runs in a shell.
    Run(String),
}

/// `restart`, `signal:SIGHUP`, `queue`, `run:make`.
impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnChange::Restart => f.write_str("restart"),
            OnChange::Signal(signal) => write!(f, "signal:{signal}"),
            OnChange::Queue => f.write_str("queue"),
            OnChange::Run(line) => write!(f, "run:{line}"),
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

/// Who gets the stop signal first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopGroup {
    /// The command's process group.
    All,
    /// The command's first process alone; what is left of the tree gets it when that process has ended.
    Main,
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

#[cfg(test)]
pub mod tests {
    use super::{Backend, Color, Compare, Config, Discover, OnChange, OnExit, StopGroup, Verbosity};
    use crate::environment::Environment;
    use crate::os::signals::Signal;
    use crate::pattern::Kind;
    use crate::pattern::tests::patterns;
    use std::path::Path;
    use std::time::Duration;

    /// The default of everything, with these patterns.
    pub fn config(root: &Path, watch: &str, ignore: &str) -> Config {
        Config {
            command: Some(vec!["true".into()]),
            directory: root.to_owned(),
            named_directory: root.to_owned(),
            watch: patterns(Kind::Watch, "-w", watch, root),
            ignore: patterns(Kind::Ignore, "-i", ignore, root),
            browser_watch: Vec::new(),
            no_ignore: false,
            config_file: root.join("reloadrun.toml"),
            backend: Backend::Auto,
            interval: Duration::from_secs(1),
            debounce: Duration::ZERO,
            jitter: Duration::ZERO,
            compare: Compare::Time,
            no_follow: false,
            discover: if watch.is_empty() { Discover::Add } else { Discover::Off },
            discover_root: Vec::new(),
            on_change: OnChange::Restart,
            prepare: None,
            pidfile: None,
            on_exit: OnExit::Wait,
            stop_signal: Signal::TERM,
            stop_group: StopGroup::All,
            stop_timeout: Duration::from_secs(5),
            name: None,
            keys: false,
            listen: Vec::new(),
            ready: None,
            ready_timeout: Duration::from_secs(60),
            env_files: Vec::new(),
            variables: Vec::new(),
            overlap: false,
            smoke: None,
            http: None,
            browser: None,
            lockfile: None,
            events: None,
            clear: false,
            color: Color::Auto,
            verbosity: Verbosity::Normal,
            hints: Vec::new(),
            environment: Environment::default(),
        }
    }
}
