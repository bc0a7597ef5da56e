//! What the machine is told, and what it answers.

use std::path::PathBuf;
use std::time::Duration;

use super::job::{Seen, Step};
use super::keyboard::Key;
use super::server::ClientId;
use super::signals::Heard;
use super::sweep::Remains;
use crate::change::ChangeSet;
use crate::config::{OnChange, OnExit};
use crate::control::{Answer, Request};
use crate::damping::Series;
use crate::degraded::Loss;
use crate::discover::Kept;
use crate::event::What;
use crate::exit_code::ExitCode;
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::Signal;
use crate::protocol::{Directive, Report};

/// What the machine must know of the configuration.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The command as one line.
    pub command: String,
    /// Whether there is a command; else there are only runs.
    pub has_command: bool,
    /// What a change leads to.
    pub on_change: OnChange,
    /// What the command's own end leads to.
    pub on_exit: OnExit,
    /// The first signal of a stop.
    pub stop_signal: Signal,
    /// How long a stop may take until KILL.
    pub stop_timeout: Duration,
    /// Whether there is a probe that tells when the command is ready.
    pub probes: bool,
    /// Whether the command may tell what it does about a signal (`--ready notify`).
    pub answers_signals: bool,
    /// Whether the next generation starts beside the one that runs (`--overlap`). It never changes.
    pub overlaps: bool,
}

/// Something that happened to the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The child of this generation reported.
    Report(Generation, Report),
    /// The child died without a last word, and everything it had to say has been read.
    ChildDied(Generation, Loss),
    /// No child could be forked.
    ForkFailed(Generation, Errno),
    /// The config file is not as it was when it was last read, and this child has not been told to start yet.
    ConfigMovedOn(Generation),
    /// A signal.
    Signal(Heard),
    /// The heartbeat has beaten.
    Beat(Beat),
    /// Nobody reads standard output any more, which is a pipe.
    Unread {
        /// Nor standard error.
        all: bool,
    },
    /// A client asks for something.
    Asked {
        /// Who.
        client: ClientId,
        /// For what.
        request: Request,
        /// Whether it descends from us. Only looked up where [`Request::asks_for_sender`] says so.
        from_tree: bool,
    },
    /// A client is gone.
    ClientGone(ClientId),
    /// A key was pressed (`--keys`).
    Key(Key),
    /// The answer to [`Step::Look`]: the command's tree and our children.
    Seen(Vec<Seen>),
    /// The answer to [`Action::Sweep`].
    Swept(Remains),
    /// Time has passed.
    Tick,
}

/// What the person at the terminal wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The keys.
    Keys,
    /// Why what runs runs, and what is watched.
    Status,
}

/// Something the supervisor does. What belongs to a generation names the one it was decided in.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Reads the config file anew, for this generation.
    ReadConfig(Generation),
    /// Throws the watch state away. The next child gets a new one.
    ForgetWatches,
    /// Forks a child, which waits until it is told to start.
    Fork(Generation),
    /// Tells a child to start, because of these changes.
    Start(Generation, ChangeSet),
    /// Lets go of a child that was never told to start; it leaves.
    Dismiss(Generation),
    /// Tells a child.
    Send(Generation, Directive),
    /// Tells the world.
    Tell(Generation, What),
    /// Tells the world of a series of restarts, and the remedy.
    TellSeries(Generation, Series),
    /// Lets go of a child that has said its last word, or is dead.
    Release(Generation),
    /// Answers a client.
    Answer(ClientId, Answer),
    /// Answers a client with how things are.
    AnswerStatus(ClientId),
    /// Answers a client whether a change of this path would count, with what is known of the files of the command.
    AnswerExplain(ClientId, PathBuf, Box<Kept>),
    /// Lets a client follow the events.
    Follow(ClientId),
    /// Tells the person at the terminal, and nobody else.
    Show(Shown),
    /// Ends the line on which the terminal has shown a key.
    EndLine,
    /// Looks at the tree and answers with [`Input::Seen`], signals one process, or stops the supervisor itself.
    Job(Step),
    /// Tells, once, what lets two generations listen at one address.
    NameListen(Generation),
    /// Kills whatever descends from us and collects the dead, once and without waiting; answers with [`Input::Swept`].
    Sweep {
        /// The generations that live: their children and all below them are left alone.
        spared: Vec<Generation>,
    },
    /// Ends with this code.
    Finish(ExitCode),
}
