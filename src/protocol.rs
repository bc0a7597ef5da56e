//! What supervisor and child say to each other: one JSON line a message, reports up, directives down.
//!
//! The end of either stream means that the other side is gone.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeSet};
use crate::damping::Damping;
use crate::degraded::Degraded;
pub use crate::event::StopReason;
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
    /// The heartbeat to feel: in the file at this path,
    pub lockfile: Option<PathBuf>,
    /// or, where there is none, in what is open here.
    pub heartbeat: Option<OwnedFd>,
    /// The supervisor's pid.
    pub supervisor: i32,
    /// The group the command joins, when it shares the terminal.
    pub terminal_group: Option<i32>,
}

/// Child to supervisor: what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Some of the files of the [`Report::Changed`] that comes next: those of a burst come in pieces.
    Some {
        /// The files.
        changes: ChangeSet,
    },
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
    /// The command ended without having heard the signal for these changes. What is left of it is ended, and the next
    /// generation starts because of them.
    Unheard {
        /// The files.
        changes: ChangeSet,
        /// Monotonic time of the first notice, nanoseconds.
        noticed_ns: i64,
    },
    /// The stop has begun.
    Stopping {
        /// Why.
        reason: StopReason,
    },
    /// The stop takes long. Told once a stop, also where the change set is not known yet.
    StillStopping {
        /// Why it began.
        reason: StopReason,
        /// How long it has taken so far, nanoseconds.
        took_ns: u64,
        /// How long until KILL, nanoseconds; `None` after it.
        kill_in_ns: Option<u64>,
        /// Whether the command's first process has ended, and others have not.
        main_ended: bool,
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
    /// Something is not as good as it should be.
    Degraded(Degraded),
    /// Something may not be what the user meant.
    Hint {
        /// The sentence.
        message: String,
    },
    /// A hint that is given once, whichever generation comes to it.
    Advice {
        /// What it is about.
        about: String,
        /// The sentence.
        message: String,
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
    let mut line = Vec::new();
    encode_to(message, &mut line).expect("memory takes everything");
    line
}

/// One message as a line, to wherever.
///
/// # Errors
/// Nobody takes it.
pub fn encode_to(message: &impl Serialize, mut to: impl Write) -> std::io::Result<()> {
    serde_json::to_writer(&mut to, message)?;
    to.write_all(b"\n")
}

/// So many changes go into one message: a line must be whole before it can be read.
const PIECE: usize = 500;

/// A report as lines, to wherever: the changes of a burst in pieces.
///
/// # Errors
/// Nobody takes it.
pub fn encode_report(report: &Report, mut to: impl Write) -> std::io::Result<()> {
    let Report::Changed { changes, noticed_ns, quiet, response } = report else { return encode_to(report, to) };
    let mut pieces = changes.pieces(PIECE);
    let last = pieces.next_back().unwrap_or_default();
    pieces.try_for_each(|changes| encode_to(&Report::Some { changes }, &mut to))?;
    encode_to(&Report::Changed { changes: last, noticed_ns: *noticed_ns, quiet: *quiet, response: *response }, to)
}

/// Puts the pieces of [`encode_report`] together again.
#[derive(Debug, Default)]
pub struct Pieces {
    changes: Vec<Change>,
}

impl Pieces {
    /// Takes one report in, and gives back what is whole.
    pub fn take(&mut self, report: Report) -> Option<Report> {
        match report {
            Report::Some { changes } => {
                self.changes.extend(changes.into_changes());
                None
            }
            Report::Changed { changes, noticed_ns, quiet, response } if !self.changes.is_empty() => {
                let before = std::mem::take(&mut self.changes);
                let changes = ChangeSet::new(before.into_iter().chain(changes.into_changes()));
                Some(Report::Changed { changes, noticed_ns, quiet, response })
            }
            whole => Some(whole),
        }
    }
}

/// Turns a stream of bytes back into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a line that has not come to its end.
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what arrived and gives back the messages that are complete. A line that is no message (a newer
    /// child's, never ours) is left out.
    pub fn push<M: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<M> {
        let mut messages = Vec::new();
        // Each byte is looked at once: a burst of many files is a line of many megabytes, which comes in small pieces.
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.buffer.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                messages.extend(serde_json::from_slice(&self.buffer).ok());
                // Not cleared: the room of a long line is given back.
                self.buffer = Vec::new();
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Directive, PIECE, Pieces, Report, Response, StopReason, encode, encode_report};
    use crate::change::{Change, ChangeKind, ChangeSet, Look};
    use crate::degraded::Degraded;
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
            Report::Degraded(Degraded::LockfileNotTouched { reason: "a\nb".into() }),
            Report::Degraded(Degraded::NoProc),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let received: Vec<Report> = bytes.chunks(size).flat_map(|chunk| decoder.push(chunk)).collect();
            assert_eq!(received, sent, "in pieces of {size}");
        }
    }

    #[test]
    fn the_changes_of_a_burst_come_in_pieces_and_are_whole_again() {
        let change = |number: usize| Change {
            path: format!("/a/{number:06}").into(),
            kind: ChangeKind::Modified,
            rule: "r".into(),
            config: false,
            open: false,
            seen: Look::ABSENT,
        };
        for count in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let changes = ChangeSet::new((0..count).map(change));
            let sent = [
                Report::Changed { changes, noticed_ns: 5, quiet: Duration::ZERO, response: Response::Restart },
                Report::Started { pid: 7 },
            ];
            let mut bytes = Vec::new();
            sent.iter().for_each(|report| encode_report(report, &mut bytes).unwrap());
            assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 200 * PIECE), "no line is long");
            let (mut decoder, mut pieces) = (Decoder::default(), Pieces::default());
            let reports = bytes.chunks(1000).flat_map(|chunk| decoder.push(chunk)).collect::<Vec<Report>>();
            let received: Vec<Report> = reports.into_iter().filter_map(|report| pieces.take(report)).collect();
            assert_eq!(received, sent, "{count}");
        }
    }

    #[test]
    fn a_directive_is_one_line() {
        assert_eq!(encode(&Directive::Signal { number: 10 }), b"{\"directive\":\"signal\",\"number\":10}\n");
    }
}
