//! What outsiders are told: the event stream, documented in `docs/events.md` and stable.

use serde::Serialize;

use crate::change::ChangeSet;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;

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
    },
    /// The watcher is in place.
    Watching(Watching),
    /// Files changed, and this is what it leads to.
    Changed {
        /// The files.
        changes: ChangeSet,
        /// `restart`, `signal:SIGHUP`, `start`.
        action: String,
    },
    /// The command's tree is being ended.
    Stopping {
        /// The first signal.
        signal: String,
        /// Why: `change`, `request`, `signal`, `supervisor`.
        reason: String,
    },
    /// The command's tree takes long to end.
    StillStopping {
        /// The first signal.
        signal: String,
        /// As in `Stopping`.
        reason: String,
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
    /// Nothing runs until something happens.
    Waiting {
        /// For what: `change`, or `delay` before a restart.
        waiting_for: &'static str,
        /// How long at most, milliseconds.
        delay_ms: Option<f64>,
    },
    /// Something is not as good as it should be; it goes on all the same.
    Degraded {
        /// What, and the remedy.
        message: String,
    },
    /// Something that may not be what the user meant; nothing is wrong with it.
    Hint {
        /// What, and a guess at what was meant.
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

/// What is being watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
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
}

impl What {
    /// The name in the event stream.
    pub fn name(&self) -> &'static str {
        match self {
            What::ConfigLoaded { .. } => "config_loaded",
            What::ConfigRejected { .. } => "config_rejected",
            What::Listening { .. } => "listening",
            What::Started { .. } => "started",
            What::Watching(_) => "watching",
            What::Changed { .. } => "changed",
            What::Stopping { .. } => "stopping",
            What::StillStopping { .. } => "still_stopping",
            What::Stopped { .. } => "stopped",
            What::Exited { .. } => "exited",
            What::Waiting { .. } => "waiting",
            What::Degraded { .. } => "degraded",
            What::Hint { .. } => "hint",
            What::Finished { .. } => "finished",
        }
    }
}
