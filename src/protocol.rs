//! What supervisor and child say to each other: one JSON line a message, reports up, directives down.
//!
//! The end of either stream means that the other side is gone.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::change::ChangeSet;
use crate::damping::Damping;
use crate::event::Watching;
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::generation::Generation;

/// What the supervisor hands to a new child.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// Which generation this child is.
    pub generation: Generation,
    /// What led to it; empty for the first.
    pub changes: ChangeSet,
    /// Which changes are to wait.
    pub damping: Damping,
}

/// What ties a child to its supervisor, and to the children before and after it.
#[derive(Debug)]
pub struct Ties {
    /// Where its reports go.
    pub reports: OwnedFd,
    /// Where directives come from; its end is the supervisor's.
    pub directives: OwnedFd,
    /// What the child before has left, to be read to its end.
    pub inherited: Option<OwnedFd>,
    /// Where it leaves what the next one should know.
    pub legacy: OwnedFd,
    /// The heartbeat to feel.
    pub lockfile: PathBuf,
    /// The supervisor's pid.
    pub supervisor: i32,
    /// The group the command joins, when it shares the terminal.
    pub terminal_group: Option<i32>,
}

/// Child to supervisor: what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The command runs.
    Started {
        /// Its pid.
        pid: i32,
    },
    /// The watcher is in place.
    Watching(Watching),
    /// These files came just before the command's start, where nobody saw them come.
    Came(ChangeSet),
    /// These files changed. In the restart mode the stop has begun or is over.
    Changed {
        /// The files.
        changes: ChangeSet,
        /// Monotonic time of the first notice, nanoseconds.
        noticed_ns: i64,
        /// How long nothing had changed before, since the start.
        quiet: Duration,
        /// What was done about it.
        response: Response,
    },
    /// The stop has begun.
    Stopping {
        /// Why.
        reason: StopReason,
    },
    /// The whole tree is gone.
    Stopped {
        /// How long it took, nanoseconds.
        took_ns: u64,
        /// Whether KILL was needed.
        killed: bool,
    },
    /// The command ended by itself, or could not begin.
    Exited {
        /// How.
        status: CommandStatus,
        /// How long it ran, nanoseconds.
        ran_ns: u64,
    },
    /// The command's first process was stopped: by Ctrl-Z, by a signal, by itself.
    Suspended {
        /// Its pid.
        pid: i32,
    },
    /// Something is not as good as it should be; the sentence has the remedy.
    Degraded {
        /// The sentence.
        message: String,
        /// What it is about, if that lasts: the next generation finds it again, and it need not be said again.
        lasting: Option<String>,
    },
    /// The last word: nothing of the command is left, and the process ends. It is told because the end of a process
    /// that holds inotify watches takes the kernel 10 to 20 ms, and nobody need wait for that.
    Leaving {
        /// How; the exit code says the same.
        end: ChildEnd,
    },
}

/// What a child did about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It stops the command and leaves with 3.
    Restart,
    /// It sent the command the configured signal.
    Signal,
    /// Nothing was running: it leaves with 3, so that something does.
    Start,
}

/// Why a command is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A watched file changed.
    Change,
    /// The supervisor said so.
    Request,
    /// The child got a signal itself.
    Signal,
    /// The supervisor is gone, or its heart stands still.
    Supervisor,
}

impl StopReason {
    /// In the event stream's word.
    pub fn word(self) -> &'static str {
        match self {
            StopReason::Change => "change",
            StopReason::Request => "request",
            StopReason::Signal => "signal",
            StopReason::Supervisor => "supervisor",
        }
    }
}

/// Supervisor to child: what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "directive", rename_all = "snake_case")]
pub enum Directive {
    /// End the command's tree and leave. Said twice, it means: with KILL.
    Stop,
    /// Send the command this signal.
    Signal {
        /// Its number.
        number: i32,
    },
}

/// One message as a line.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages are plain data");
    line.push(b'\n');
    line
}

/// Turns a stream of bytes back into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what arrived and gives back the messages that are complete. A line that is no message (a newer
    /// child's, never ours) is left out.
    pub fn push<M: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<M> {
        self.buffer.extend_from_slice(bytes);
        let Some(end) = self.buffer.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let rest = self.buffer.split_off(end + 1);
        let lines = std::mem::replace(&mut self.buffer, rest);
        lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Directive, Report, Response, StopReason, encode};
    use crate::change::ChangeSet;
    use crate::exit_code::CommandStatus;
    use std::time::Duration;

    #[test]
    fn messages_survive_however_the_pipe_cuts_them() {
        let sent = vec![
            Report::Started { pid: 7 },
            Report::Changed {
                changes: ChangeSet::default(),
                noticed_ns: 5,
                quiet: Duration::from_millis(3),
                response: Response::Restart,
            },
            Report::Stopping { reason: StopReason::Change },
            Report::Exited { status: CommandStatus::Exited(3), ran_ns: 1 },
            Report::Degraded { message: "a\nb".into(), lasting: Some("limit".into()) },
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let received: Vec<Report> = bytes.chunks(size).flat_map(|chunk| decoder.push(chunk)).collect();
            assert_eq!(received, sent, "in pieces of {size}");
        }
    }

    #[test]
    fn a_directive_is_one_line() {
        assert_eq!(encode(&Directive::Signal { number: 10 }), b"{\"directive\":\"signal\",\"number\":10}\n");
    }
}
