//! What outsiders are told: the event stream, documented in `docs/events.md` and stable.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::ChangeSet;
use crate::degraded::Degraded;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::verdict::Reason;

/// Something that happened, in the generation it happened in.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The generation it belongs to.
    pub generation: Generation,
    /// What happened.
    pub what: What,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The config file was read (at the start, or anew).
    ConfigLoaded {
        /// Its path.
        path: String,
    },
    /// The config file was changed for the worse; the last good one stays.
    ConfigRejected {
        /// Its path.
        path: String,
        /// What is wrong, one sentence each.
        mistakes: Vec<String>,
    },
    /// A socket is held for the command, until reloadrun ends.
    Listening {
        /// Where, `tcp:127.0.0.1:8000`.
        address: String,
        /// The command's descriptor of it.
        descriptor: i32,
    },
    /// reloadrun itself answers here (`--http`).
    Serving {
        /// The option that asked for it.
        option: &'static str,
        /// `http://127.0.0.1:9000`, with the port that the kernel chose.
        url: String,
    },
    /// The command runs.
    Started {
        /// Pid of the command.
        pid: i32,
        /// The command as one line.
        command: String,
        /// What led to this start; empty for the first.
        changes: ChangeSet,
        /// How long the stop of the generation before took, milliseconds.
        stop_ms: Option<f64>,
        /// From the notice of the change to this start, milliseconds.
        restart_ms: Option<f64>,
        /// Why it was started.
        cause: Cause,
    },
    /// The watched files have this digest, in the state in which the command has taken them in.
    Digest {
        /// It is the same wherever the same files have the same contents.
        digest: String,
        /// How many files it covers.
        files: usize,
    },
    /// A change is collected, and leads to nothing before its time has come (`--jitter`).
    Postponed {
        /// The first of the files.
        path: String,
        /// The time from here on, milliseconds.
        delay_ms: f64,
    },
    /// The watcher is in place.
    Watching(Watching),
    /// It is known what the command reads and writes at its start.
    Discovered(Discovered),
    /// A preparation has begun (`--prepare`).
    Preparing {
        /// What it is for; empty before the first start.
        changes: ChangeSet,
    },
    /// It has succeeded.
    Prepared {
        /// How long it ran, milliseconds.
        ran_ms: f64,
    },
    /// It has failed.
    PrepareFailed {
        /// How.
        status: CommandStatus,
        /// How long it ran, milliseconds.
        ran_ms: f64,
        /// Whether the command runs on.
        command_runs: bool,
    },
    /// The run for a change set has ended (`--on-change run:`).
    Ran {
        /// How.
        status: CommandStatus,
        /// How long it ran, milliseconds.
        ran_ms: f64,
    },
    /// Files changed, and this is what it leads to.
    Changed {
        /// The files.
        changes: ChangeSet,
        /// What was done.
        action: Effect,
    },
    /// The command's tree is being ended.
    Stopping {
        /// The first signal.
        signal: Signal,
        /// Why.
        reason: StopReason,
    },
    /// The command's tree takes long to end.
    StillStopping {
        /// The first signal.
        signal: Signal,
        /// Why it began.
        reason: StopReason,
        /// How long it has taken so far, milliseconds.
        took_ms: f64,
        /// How long until KILL, milliseconds; `None` after it.
        kill_in_ms: Option<f64>,
        /// Whether the command's first process has ended, and others have not.
        main_ended: bool,
    },
    /// The command's tree is gone.
    Stopped {
        /// How long it took, milliseconds.
        took_ms: f64,
        /// Whether KILL was needed.
        killed: bool,
    },
    /// The command ended by itself, or could not begin.
    Exited {
        /// How.
        status: CommandStatus,
        /// How long it ran, milliseconds.
        ran_ms: f64,
    },
    /// The pid file names another process as the command's main one (`--pidfile`).
    MainProcess {
        /// Its pid.
        pid: i32,
    },
    /// The command is ready (`--ready`).
    Ready {
        /// So long after its start, or after [`What::Reloading`], milliseconds.
        after_ms: f64,
        /// Whether it was ready before.
        reload: bool,
    },
    /// The command says that it reloads (`--ready notify`). It is not ready until it says so.
    Reloading {
        /// The signal for a change that it answers with that.
        signal: Option<Signal>,
    },
    /// What the command says that it is doing, on its way to being ready.
    Status {
        /// Its own words.
        message: String,
    },
    /// Nothing runs until something happens.
    Waiting(WaitingFor),
    /// From here on changes are collected, and lead to nothing.
    Paused,
    /// They lead to something again, and so do those that were collected.
    Resumed,
    /// Something is not as good as it should be; it goes on all the same.
    Degraded(Degraded),
    /// Something that may not be what the user meant; nothing is wrong with it.
    Hint {
        /// What, and a guess at what was meant.
        message: String,
    },
    /// A file is touched, and a new generation is awaited (`--prove-reload`).
    ReloadAsked {
        /// The file.
        path: String,
    },
    /// That generation is ready.
    ReloadProven {
        /// The file.
        path: String,
        /// So long after the touch, milliseconds.
        took_ms: f64,
        /// How many requests were answered meanwhile; `None` where none were made.
        requests: Option<u64>,
    },
    /// The check has begun (`--smoke`).
    CheckStarted {
        /// Its line.
        command: String,
        /// Where the server listens, if that is known.
        address: Option<String>,
    },
    /// The check has ended.
    CheckEnded {
        /// How.
        status: CommandStatus,
        /// How long it ran, milliseconds.
        ran_ms: f64,
    },
    /// What became of the smoke run.
    Judged {
        /// Why it has failed; `None` if it has passed.
        failure: Option<Reason>,
        /// In words.
        message: String,
    },
    /// reloadrun ends.
    Finished {
        /// With this code.
        code: ExitCode,
        /// Why, in words.
        reason: String,
    },
}

/// Why the command was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The run begins.
    First,
    /// Watched files changed.
    Change,
    /// The config file changed, or an env file.
    Config,
    /// Somebody asked for it.
    Asked,
    /// The command ended by itself with 0 (`--on-exit restart`).
    Exit,
    /// It ended in another way.
    Crash,
    /// The child of the generation before died, or could not be had.
    ChildDied,
    /// The command executes a program that needs rights, and is not traced any more.
    Rights,
}

impl Cause {
    /// All that lead to a restart.
    pub const OF_RESTARTS: [Cause; 7] =
        [Cause::Change, Cause::Config, Cause::Asked, Cause::Exit, Cause::Crash, Cause::ChildDied, Cause::Rights];
}

/// The word in the event stream.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::First => "first",
            Cause::Change => "change",
            Cause::Config => "config",
            Cause::Asked => "asked",
            Cause::Exit => "exit",
            Cause::Crash => "crash",
            Cause::ChildDied => "child_died",
            Cause::Rights => "rights",
        })
    }
}

/// What a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The command is ended and started again.
    Restart,
    /// Nothing was running: it is started.
    Start,
    /// The command got this signal.
    Signal(Signal),
    /// The command is started again when it has ended.
    Queue,
    /// Another command runs for it.
    Run,
    /// It concerns browsers alone; they are told.
    Browser,
}

/// The word in the event stream: `restart`, `start`, `signal:SIGHUP`, `queue`, `run`, `browser`.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Restart => f.write_str("restart"),
            Effect::Start => f.write_str("start"),
            Effect::Signal(signal) => write!(f, "signal:{signal}"),
            Effect::Queue => f.write_str("queue"),
            Effect::Run => f.write_str("run"),
            Effect::Browser => f.write_str("browser"),
        }
    }
}

/// Why a command is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A watched file changed.
    Change,
    /// The supervisor said so.
    Request,
    /// The next generation is ready (`--overlap`).
    Replaced,
    /// It did not become ready, and the generation before stays (`--overlap`).
    NotReady,
    /// The child got a signal itself.
    Signal,
    /// The supervisor is gone, or its heartbeat has stopped.
    Supervisor,
    /// The command executes a program that needs rights, and starts again untraced.
    Rights,
}

impl StopReason {
    /// Whether the command is started again because of it.
    pub fn starts_again(self) -> bool {
        matches!(self, StopReason::Change | StopReason::Rights)
    }

    /// Whether reloadrun decided on the stop by itself, so that a request to stop is the first one.
    pub fn is_our_own(self) -> bool {
        self.starts_again() || matches!(self, StopReason::Replaced | StopReason::NotReady)
    }
}

/// The word in the event stream.
impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Change => "change",
            StopReason::Request => "request",
            StopReason::Replaced => "replaced",
            StopReason::NotReady => "not_ready",
            StopReason::Signal => "signal",
            StopReason::Supervisor => "supervisor",
            StopReason::Rights => "rights",
        })
    }
}

/// What ends the time in which nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// A change of a watched file.
    Change,
    /// The end of this delay, or a change before it.
    Delay(Duration),
}

/// What is being watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// The patterns, as the user wrote them; none means everything.
    pub patterns: Vec<String>,
    /// The directory they are relative to.
    pub root: String,
    /// How many directories.
    pub directories: usize,
    /// How many files count.
    pub files: usize,
    /// `inotify`, `notify` or `poll`.
    pub backend: String,
    /// How many of the directories are polled for want of events.
    pub polled: usize,
    /// Whether of all this only what the command reads counts (`--discover only`).
    pub narrows: bool,
}

impl Watching {
    /// How much is watched: `1 file in 3 directories`.
    pub fn extent(&self) -> String {
        let (files, directories) = (self.files, self.directories);
        format!("{} in {}", plural(files, "file", "files"), plural(directories, "directory", "directories"))
    }
}

/// What was found out about the files of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// How many files it reads that count.
    pub files: usize,
    /// How many of these do not lie in its directory.
    pub elsewhere: usize,
    /// How many files it writes.
    pub written: usize,
    /// Whether nothing else counts.
    pub narrows: bool,
}

impl Discovered {
    /// What the command reads and writes, as a sentence without its name.
    pub fn in_words(&self) -> String {
        let Discovered { files, elsewhere, written, narrows } = self;
        let elsewhere = if *elsewhere > 0 { format!(" ({elsewhere} of them elsewhere)") } else { String::new() };
        let only = if *narrows { ", and nothing else counts" } else { "" };
        format!(
            "the command reads {} that count{elsewhere} and writes {} that do not{only}",
            plural(*files, "file", "files"),
            plural(*written, "file", "files")
        )
    }
}

impl What {
    /// The name in the event stream.
    pub fn name(&self) -> &'static str {
        match self {
            What::ConfigLoaded { .. } => "config_loaded",
            What::ConfigRejected { .. } => "config_rejected",
            What::Listening { .. } => "listening",
            What::Serving { .. } => "serving",
            What::Started { .. } => "started",
            What::Digest { .. } => "digest",
            What::Postponed { .. } => "postponed",
            What::Watching(_) => "watching",
            What::Discovered(_) => "discovered",
            What::Preparing { .. } => "preparing",
            What::Prepared { .. } => "prepared",
            What::PrepareFailed { .. } => "prepare_failed",
            What::Ran { .. } => "ran",
            What::Changed { .. } => "changed",
            What::Stopping { .. } => "stopping",
            What::StillStopping { .. } => "still_stopping",
            What::Stopped { .. } => "stopped",
            What::Exited { .. } => "exited",
            What::MainProcess { .. } => "main_process",
            What::Ready { .. } => "ready",
            What::Reloading { .. } => "reloading",
            What::Status { .. } => "status",
            What::Waiting(_) => "waiting",
            What::Paused => "paused",
            What::Resumed => "resumed",
            What::Degraded(_) => "degraded",
            What::Hint { .. } => "hint",
            What::ReloadAsked { .. } => "reload_asked",
            What::ReloadProven { .. } => "reload_proven",
            What::CheckStarted { .. } => "check_started",
            What::CheckEnded { .. } => "check_ended",
            What::Judged { .. } => "judged",
            What::Finished { .. } => "finished",
        }
    }
}

/// A count with its noun: "1 file", "2 files".
pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
