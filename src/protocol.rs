//! What supervisor and child say to each other: reports up, directives down.
//!
//! Both are forks of one program, so a message is its length (4 bytes, little-endian) and then that many bytes of
//! postcard. The end of either stream means that the other side is gone.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::change::{Change, ChangeSet};
use crate::config::Backend;
use crate::damping::Damping;
use crate::degraded::Degraded;
use crate::discover::Kept;
pub use crate::event::StopReason;
use crate::event::{Discovered, Watching};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::generation::Generation;
use crate::os;
use crate::os::inotify::Inotify;

/// What a child must know to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    /// Which generation this child is.
    pub generation: Generation,
    /// What led to it; empty for the first.
    pub changes: ChangeSet,
    /// Which changes are to wait.
    pub damping: Damping,
    /// Whether all of them are, until [`Directive::Pause`] says otherwise.
    pub paused: bool,
    /// What the child before has left to do.
    pub carried: Carried,
    /// Whether the command may be traced.
    pub traced: bool,
}

#[cfg(test)]
impl StartRequest {
    /// That of a first child: nothing has led to it, and nothing is to wait.
    pub fn first() -> StartRequest {
        StartRequest {
            generation: Generation::FIRST,
            changes: ChangeSet::default(),
            damping: Damping::default(),
            paused: false,
            carried: Carried::default(),
            traced: true,
        }
    }
}

/// What one child leaves to the next about changes that nothing was done about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Whether everything that has changed has been prepared.
    pub prepared: bool,
    /// The files that the preparation writes.
    pub outputs: ChangeSet,
    /// The changes that a run is to follow for.
    pub unserved: ChangeSet,
    /// Every save before this time was taken in, nanoseconds since the epoch; 0 where that is not known.
    pub heard_ns: i64,
}

/// What ties a child to its supervisor, and to the children before and after it.
#[derive(Debug)]
pub struct Ties {
    /// Where its reports go.
    pub reports: OwnedFd,
    /// Where directives come from; its end is the supervisor's.
    pub directives: OwnedFd,
    /// What outlives the children of one configuration.
    pub watch_state: WatchState,
    /// The heartbeat to feel: in the file at this path,
    pub lockfile: Option<PathBuf>,
    /// or, where there is none, in what is open here.
    pub heartbeat: Option<OwnedFd>,
    /// The supervisor's pid.
    pub supervisor: i32,
    /// The group the command joins, when it shares the terminal.
    pub terminal_group: Option<i32>,
    /// Where the listener of a traced command is left, so that its calls wait if this child dies, and do not fail.
    pub deposit: OwnedFd,
}

impl Ties {
    /// The descriptors among them.
    pub fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let Ties { reports, directives, watch_state: WatchState { queue, memory }, heartbeat, deposit, .. } = self;
        [reports, directives, memory, deposit].into_iter().chain(queue).chain(heartbeat)
    }
}

/// What the children of one configuration hand on to each other. The supervisor holds it and never looks into it. Exactly
/// one child at a time, the one that was told to start last, reads the queue and writes the memory.
#[derive(Debug)]
pub struct WatchState {
    /// An inotify instance. `None` where the backend needs none, or none can be had; then a child tries itself.
    pub queue: Option<OwnedFd>,
    /// A file in memory, empty at first. Its content belongs to `watch`.
    pub memory: OwnedFd,
}

impl WatchState {
    /// A new one, with a queue if the backend reads one.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new(backend: Backend) -> Result<WatchState, os::Errno> {
        let memory = os::memory::create(c"reloadrun watches")?;
        // The child tries again where this fails, and says why.
        let queue = backend.uses_inotify().then(|| Inotify::new().map(OwnedFd::from).ok()).flatten();
        Ok(WatchState { queue, memory })
    }

    /// The same queue and the same memory under descriptors of their own.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> Result<WatchState, os::Errno> {
        let again = |descriptor: &OwnedFd| descriptor.try_clone().map_err(|error| os::errno(&error));
        Ok(WatchState { queue: self.queue.as_ref().map(again).transpose()?, memory: again(&self.memory)? })
    }
}

/// Child to supervisor: what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The command runs.
    Started {
        /// Its pid.
        pid: i32,
    },
    /// The command is ready.
    Ready(Ready),
    /// The command says that it reloads, and is not ready until it says so.
    Reloading {
        /// For the signal of this number: of the changes that were reported as [`Response::Signal`], counted from 1.
        answers: Option<u64>,
    },
    /// The command does not say what it does about a signal for a change.
    Unanswered {
        /// Its number.
        number: u64,
    },
    /// This child watches no more: the next one may start beside it.
    HandedOver {
        /// Whether the watch state is whole, so that the next child may take over without a walk.
        whole: bool,
        /// What is left to do.
        carried: Carried,
    },
    /// What the command says that it is doing.
    Status {
        /// Its own words.
        message: String,
    },
    /// The watcher is in place.
    Watching(Watching),
    /// What the watched files come to, in the state in which the command has taken them in.
    Digest {
        /// In hexadecimal.
        digest: String,
        /// How many files.
        files: usize,
    },
    /// A change is collected, and leads to nothing before its time has come.
    Postponed {
        /// The first file.
        path: String,
        /// From here on.
        delay: Duration,
    },
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
    /// A preparation has begun.
    Preparing {
        /// What it is for; nothing before the first start.
        changes: ChangeSet,
        /// How long nothing had changed before, since the start.
        quiet: Duration,
        /// Whether the command has not been started yet.
        first: bool,
    },
    /// The command is started now that it is prepared, for these changes in all.
    Starting {
        /// The files.
        changes: ChangeSet,
    },
    /// The preparation has ended, and what it was for may be acted on unless more has changed meanwhile.
    Prepared {
        /// How.
        status: CommandStatus,
        /// How long it ran, nanoseconds.
        ran_ns: u64,
        /// Whether a failure leaves nothing to do but to wait: the command has not been started.
        nothing_runs: bool,
        /// Whether more has changed, so that another job begins at once.
        goes_on: bool,
        /// Whether it was told before, when what had changed meanwhile was not known.
        told: bool,
    },
    /// The run for a change set has ended.
    Ran {
        /// How.
        status: CommandStatus,
        /// How long it ran, nanoseconds.
        ran_ns: u64,
        /// Whether more has changed, so that another job begins at once, or the next generation.
        goes_on: bool,
    },
    /// The command has ended, and these changes waited for that: it is started again.
    Dequeued {
        /// The files.
        changes: ChangeSet,
        /// Monotonic time of the first notice, nanoseconds.
        noticed_ns: i64,
        /// How long nothing had changed before, since the start.
        quiet: Duration,
    },
    /// The command ended without having heard the signal for these changes. What is left of it is ended, and the next
    /// generation starts because of them.
    Unheard {
        /// The files.
        changes: ChangeSet,
        /// Monotonic time of the first notice, nanoseconds.
        noticed_ns: i64,
    },
    /// A stop for a change has begun. It is told as [`Report::Stopping`] when the changes are known; the supervisor forks
    /// the next child meanwhile.
    Restarting,
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
        /// Whether it is started again at once, for changes that waited for its end.
        again: bool,
    },
    /// The command's first process was stopped: by Ctrl-Z, by a signal, by itself.
    Suspended {
        /// Its pid.
        pid: i32,
    },
    /// The pid file names this process as the command's main one.
    MainProcess {
        /// Its pid.
        pid: i32,
    },
    /// Something is not as good as it should be.
    Degraded(Degraded),
    /// What the command reads and writes, once it names nothing new.
    Discovered(Discovered),
    /// The command cannot be traced, or must not be: from the next start on it is not.
    Untraced(Degraded),
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
    /// The answer to [`Directive::Barrier`]: every change that was made before it has been reported.
    Passed {
        /// Its number. It answers for lower numbers too.
        id: u64,
    },
    /// The answer to [`Directive::Recall`]; nothing if the command is not traced.
    Recalled {
        /// What the next generation would be told too.
        known: Box<Kept>,
    },
    /// The last word: nothing of the command is left, and the process ends. It is told because the end of a process
    /// that holds inotify watches takes the kernel 10 to 20 ms, and nobody need wait for that.
    Leaving {
        /// How; the exit code says the same.
        end: ChildEnd,
        /// Whether the watch state is whole, so that the next child may take over without a walk.
        hands_over: bool,
        /// What is left to do.
        carried: Carried,
    },
}

/// A command that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// So long after its start, or after it said that it reloads.
    pub after: Duration,
    /// Whether it was ready before.
    pub reload: bool,
    /// It has taken up what the signal of this number was for, and those before it.
    pub answers: Option<u64>,
}

impl Ready {
    /// For the first time.
    pub fn at_start(after: Duration) -> Ready {
        Ready { after, reload: false, answers: None }
    }
}

/// What a child did about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It stops the command and leaves with 3.
    Restart,
    /// It sent the command the configured signal.
    Signal,
    /// It hands the watching over, and its command runs on until the next one is ready.
    HandOver,
    /// Nothing was running: it leaves with 3, so that something does.
    Start,
    /// The command is started again when it has ended.
    Queue,
    /// It runs another command.
    Run,
    /// Nothing: it concerns browsers alone.
    Browsers,
}

/// Supervisor to child: what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Directive {
    /// Begin: the first one, once.
    Start(StartRequest),
    /// End the command's tree and leave. Said twice, it means: with KILL.
    Stop,
    /// The next generation is ready: the same, and told as such.
    Retire,
    /// End the command's tree, unless the command is ready, and watch on.
    EndCommand,
    /// Watch no more, and come back with [`Report::HandedOver`], as for a change: the next generation starts beside a command
    /// that is ready.
    HandOver,
    /// Tell everything that is known of the files of the command: [`Report::Recalled`].
    Recall,
    /// Send the command this signal.
    Signal {
        /// Its number.
        number: i32,
    },
    /// Collect changes and do nothing about them, or go on.
    Pause {
        /// Whether to collect.
        on: bool,
    },
    /// Report every change that has been made until now, and then [`Report::Passed`]. A child that leaves before that does
    /// not answer; the next one is to be asked again.
    Barrier {
        /// Its number; a later one has a higher number.
        id: u64,
    },
}

/// The bytes of a message's length.
const HEAD: usize = size_of::<u32>();

/// Adds one message to the bytes that are to be sent.
pub fn encode(message: &impl Serialize, to: &mut Vec<u8>) {
    let begin = to.len();
    to.extend([0; HEAD]);
    let bytes = postcard::to_extend(message, std::mem::take(to)).expect("messages are plain data");
    *to = bytes;
    let length = u32::try_from(to.len() - begin - HEAD).expect("no message has 4 GiB");
    to[begin..begin + HEAD].copy_from_slice(&length.to_le_bytes());
}

/// At most this many changes go into one message: a message must be whole before it can be read.
const PIECE: usize = 500;

/// Adds a report to the bytes that are to be sent; the changes of a burst become several messages.
pub fn encode_report(report: &Report, to: &mut Vec<u8>) {
    let Report::Changed { changes, noticed_ns, quiet, response } = report else { return encode(report, to) };
    let mut pieces = changes.pieces(PIECE);
    let last = pieces.next_back().unwrap_or_default();
    pieces.for_each(|changes| encode(&Report::Some { changes }, to));
    encode(&Report::Changed { changes: last, noticed_ns: *noticed_ns, quiet: *quiet, response: *response }, to);
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
    /// What has arrived of a message that is not complete.
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what arrived and gives back the messages that are complete. Bytes that are no message, which only
    /// another program could have sent, are left out.
    pub fn push<M: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<M> {
        self.buffer.extend_from_slice(bytes);
        let (mut messages, mut rest) = (Vec::new(), &self.buffer[..]);
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD>()
            && let Some((message, next)) = behind.split_at_checked(u32::from_le_bytes(*head) as usize)
        {
            messages.extend(postcard::from_bytes(message).ok());
            rest = next;
        }
        match self.buffer.len() - rest.len() {
            // The room of a large message is given back.
            all if all == self.buffer.len() => self.buffer = Vec::new(),
            read => drop(self.buffer.drain(..read)),
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
            Report::Exited { status: CommandStatus::Exited(3), ran_ns: 1, again: false },
            Report::Degraded(Degraded::LockfileNotTouched { reason: "a\nb".into() }),
            Report::Degraded(Degraded::NoProc),
        ];
        let mut bytes = Vec::new();
        sent.iter().for_each(|report| encode(report, &mut bytes));
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
            sent.iter().for_each(|report| encode_report(report, &mut bytes));
            let (mut decoder, mut pieces) = (Decoder::default(), Pieces::default());
            let mut reports: Vec<Report> = Vec::new();
            for chunk in bytes.chunks(1000) {
                reports.extend(decoder.push::<Report>(chunk));
                assert!(decoder.buffer.len() < 100 * PIECE, "no message is long");
            }
            let received: Vec<Report> = reports.into_iter().filter_map(|report| pieces.take(report)).collect();
            assert_eq!(received, sent, "{count}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_left_out() {
        let mut bytes = vec![3, 0, 0, 0, 0xff, 0xff, 0xff];
        encode(&Directive::Signal { number: 10 }, &mut bytes);
        assert_eq!(Decoder::default().push::<Directive>(&bytes), [Directive::Signal { number: 10 }]);
    }
}
