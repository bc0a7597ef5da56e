//! The messages.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::escape::escaped_json;
use crate::event::{Cause, Discovered, Watching};
use crate::generation::Generation;

/// The variable that names the control socket of the run to its command.
pub const VARIABLE: &str = "RELOADRUN_CONTROL";

/// The number of the protocol. It grows when something that exists changes its meaning; additions do not count.
pub const PROTOCOL: u32 = 1;

/// A longer line is not read.
pub const LONGEST_LINE: usize = 64 * 1024;

/// The first line that a client gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The version of the program.
    pub reloadrun: String,
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// The supervisor's pid.
    pub pid: i32,
    /// The name of the run, if it has one (`--name`).
    pub name: Option<String>,
    /// The directory of the command.
    pub directory: String,
    /// The command as one line.
    pub command: String,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How things are.
    Status,
    /// To start the command anew.
    Restart,
    /// To end the run; the second time with KILL.
    Stop,
    /// To collect changes from now on.
    Pause,
    /// To let them lead to something again.
    Resume,
    /// The events from now on.
    Events,
    /// Whether a change of this file would count.
    Explain {
        /// An absolute path.
        path: String,
        /// The same, where it is no text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<Vec<u8>>,
    },
    /// When every save made before now is live.
    Wait,
}

impl Request {
    /// A question about a path.
    pub fn explain(path: &Path) -> Request {
        let bytes = path.to_str().is_none().then(|| path.as_os_str().as_bytes().to_vec());
        Request::Explain { path: path.to_string_lossy().into_owned(), bytes }
    }

    /// Whether it matters if whoever asks descends from the run.
    pub fn asks_for_sender(&self) -> bool {
        *self == Request::Wait
    }

    /// The path of such a question.
    pub fn path(path: String, bytes: Option<Vec<u8>>) -> PathBuf {
        bytes.map_or_else(|| path.into(), |bytes| std::ffi::OsString::from_vec(bytes).into())
    }
}

/// What a run answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How things are.
    Status(Box<Status>),
    /// The command is started anew.
    Restart {
        /// As this generation.
        generation: Generation,
        /// Whether that was on its way already.
        already: bool,
    },
    /// The run ends. When it has ended, the connection is closed.
    Stop {
        /// Whether it was ending already; now it ends with KILL.
        again: bool,
    },
    /// Changes are collected.
    Pause {
        /// Whether they were already.
        already: bool,
    },
    /// Changes lead to something.
    Resume {
        /// Whether they did already.
        already: bool,
    },
    /// What follows are events, as from `--events`.
    Events,
    /// Whether a change counts.
    Explain {
        /// It does.
        counts: bool,
        /// What it leads to, and by which rule.
        message: String,
    },
    /// The answer to [`Request::Wait`].
    Wait(Waited),
    /// The request is not understood or not granted. The connection is closed where the rest of it cannot be trusted.
    Refused {
        /// Why.
        message: String,
    },
}

/// How a wait has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// What is known.
    pub outcome: Outcome,
    /// Of this generation.
    pub generation: Generation,
    /// The same in words.
    pub message: String,
}

/// What is known of the saves at the end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// They are live.
    Live,
    /// The generation that has them failed.
    Failed,
    /// The run has ended.
    Ended,
    /// The generation that has them has started. Whether it is ready is unknown.
    Started,
    /// The command got the signal for them. What it did about it is unknown.
    Delivered,
    /// The run is paused.
    Paused,
}

/// How things are. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The supervisor's pid.
    pub pid: i32,
    /// The name of the run, if it has one.
    pub name: Option<String>,
    /// The directory of the command.
    pub directory: String,
    /// The command as one line.
    pub command: String,
    /// What the command does.
    pub state: State,
    /// The present generation.
    pub generation: Generation,
    /// Pid of the command, while it runs.
    pub command_pid: Option<i32>,
    /// When this state began, RFC 3339.
    pub since: String,
    /// For how long it has lasted.
    pub for_ms: f64,
    /// Whether the command is ready; `null` where that cannot be known.
    pub ready: Option<bool>,
    /// Whether the command says that it reloads; it is not ready meanwhile.
    #[serde(default)]
    pub reloading: bool,
    /// Whether a command serves: it is ready, or it runs and nothing was asked for that could show whether it is ready. With
    /// `--overlap` it may be the one before.
    pub serving: bool,
    /// Whether changes are collected.
    pub paused: bool,
    /// How the last command that ended by itself ended.
    pub last_exit: Option<String>,
    /// How the last preparation failed; `null` once one has succeeded.
    #[serde(default)]
    pub prepare_failed: Option<String>,
    /// Whether the command of this generation was ever started.
    #[serde(default = "started")]
    pub started: bool,
    /// What is watched, and how; `null` before the first watcher is in place.
    pub watching: Option<Watching>,
    /// What the command reads and writes, as far as that is known.
    #[serde(default)]
    pub discovered: Option<Discovered>,
    /// The last change and what it led to.
    pub last_change: Option<LastChange>,
    /// What is not as good as it should be.
    pub degraded: Vec<Complaint>,
    /// The config file.
    pub config: ConfigInUse,
    /// What the watched files come to in the state in which the command has taken them in; `null` where that is not known.
    pub digest: Option<String>,
    /// How often the command was started again.
    pub restarts: Restarts,
    /// The last reload that has come to its end.
    pub last_reload: Option<LastReload>,
    /// How long the last of each took.
    pub times: Times,
}

/// How often the command was started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// In all.
    pub total: u64,
    /// For each reason.
    pub by_reason: BTreeMap<Cause, u64>,
}

/// A reload: an attempt to bring a new state live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    /// Whether the new state is live.
    pub success: bool,
    /// What it was for: `change`, `config` or `asked`.
    pub reason: Cause,
    /// The generation in which that was known.
    pub generation: Generation,
    /// From the notice of the change to the end.
    pub took_ms: f64,
    /// When that end was, RFC 3339.
    pub time: String,
}

/// How long the last of each took, milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The stop of a command.
    pub stop_ms: Option<f64>,
    /// From the notice of a change to the start of the command, the stop included.
    pub start_ms: Option<f64>,
    /// From the start of the present command until it was ready.
    pub ready_ms: Option<f64>,
}

/// What a run that does not say so means.
fn started() -> bool {
    true
}

/// What the command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is about to start.
    Starting,
    /// It runs.
    Running,
    /// It is being ended.
    Stopping,
    /// It has ended. A change starts it.
    Waiting,
    /// It has ended, and starts again after a delay.
    Delayed,
    /// All is ending.
    Ending,
}

/// The last change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastChange {
    /// When it was told, RFC 3339.
    pub time: String,
    /// What was done: `restart`, `start`, `signal:SIGHUP`.
    pub action: String,
    /// The number of files.
    pub count: usize,
    /// The first of them, with kind and rule as in the event `changed`.
    pub changes: Value,
    /// The generation that started because of it; `null` until then, and where a signal was sent.
    pub led_to: Option<Generation>,
    /// From the notice of the change to that start.
    pub restart_ms: Option<f64>,
}

/// Something that is not as good as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// As in the event `degraded`.
    pub kind: String,
    /// The sentence, with the remedy.
    pub message: String,
}

/// The config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigInUse {
    /// Where it is, or would be.
    pub path: String,
    /// Whether it was read.
    pub loaded: bool,
    /// What is wrong with the newest state of it; then the last good one is in use.
    pub mistakes: Vec<String>,
}

/// Whether a run may have this name.
pub fn is_name(name: &str) -> bool {
    let fits = |character: char| character.is_alphanumeric() || "._-".contains(character);
    (1..=64).contains(&name.chars().count()) && name.chars().all(fits)
}

/// A message as its line.
pub fn line(message: &impl Serialize) -> String {
    // It may be shown on a terminal.
    escaped_json(serde_json::to_string(message).expect("messages are plain data") + "\n")
}

/// The request on a line.
///
/// # Errors
/// A sentence for whoever sent it.
pub fn request(line: &[u8]) -> Result<Request, String> {
    let text = std::str::from_utf8(line).map_err(|_| "a request is a line of JSON in UTF-8".to_owned())?;
    let request = serde_json::from_str(text).map_err(|error| format!("this is no request: {error}"))?;
    match &request {
        Request::Explain { path, bytes } if !is_absolute(path, bytes.as_deref()) => {
            Err("explain needs an absolute path".to_owned())
        }
        _ => Ok(request),
    }
}

fn is_absolute(path: &str, bytes: Option<&[u8]>) -> bool {
    Path::new(bytes.map_or(OsStr::new(path), OsStr::from_bytes)).is_absolute()
}

#[cfg(test)]
mod tests {
    use super::{Request, request};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    #[test]
    fn every_request_is_one_short_line() {
        for (line, expected) in [
            (r#"{"ask":"status"}"#, Request::Status),
            (r#" {"ask" : "stop", "later":1} "#, Request::Stop),
            (r#"{"ask":"explain","path":"/a b"}"#, Request::Explain { path: "/a b".into(), bytes: None }),
        ] {
            assert_eq!(request(line.as_bytes()), Ok(expected), "{line}");
        }
        for bad in
            ["", "status", "[]", "{}", r#"{"ask":"fly"}"#, r#"{"ask":"explain"}"#, r#"{"ask":"explain","path":"a"}"#]
        {
            assert!(request(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(request(b"\xff\xfe").is_err());
    }

    #[test]
    fn a_path_that_is_no_text_arrives_as_it_is() {
        let path = PathBuf::from(OsString::from_vec(b"/a\xff\n".to_vec()));
        let line = super::line(&Request::explain(&path));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let Ok(Request::Explain { path: text, bytes }) = request(line.as_bytes()) else { panic!("{line}") };
        assert_eq!(Request::path(text, bytes), path);
    }
}
