//! What the machine of a smoke run takes in, what it asks for, and what becomes of it.

use std::time::Duration;

use crate::event::What;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::verdict::Reason;

/// What the command is called in sentences.
pub const SERVER: &str = "the server";

/// What the machine must know of the configuration.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The files to touch, as they are shown.
    pub reloads: Vec<String>,
    /// Whether no request may fail meanwhile, because the sockets are held.
    pub requests: bool,
    /// Whether two generations run at a time.
    pub overlap: bool,
    /// A polling interval and the debounce: so long a watcher may take in any case.
    pub notice: Duration,
    /// How long all of it may take.
    pub deadline: Duration,
    /// How long a stop may take until KILL.
    pub stop_timeout: Duration,
}

/// What the events of the run say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The command of a generation runs.
    Started,
    /// It is ready.
    Ready,
    /// It is not ready in time; in words.
    NotReady(String),
    /// Somebody else answers in its place; in words.
    Foreign(String),
    /// It ended by itself, or could not be prepared: what, and how.
    Ended(&'static str, CommandStatusText),
    /// Files changed, and that leads to a restart: which.
    Restarts(String),
    /// It is being stopped because somebody has asked for that.
    Stopping,
    /// Its tree is gone.
    Stopped,
    /// Changes lead to nothing any more.
    Paused,
    /// They do again.
    Resumed,
}

/// An end in words and as an exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandStatusText {
    /// "exited with 1".
    pub words: String,
    /// 1.
    pub code: ExitCode,
}

/// What a look at the server found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Whoever else listens at the address of the probe; in words.
    pub stranger: Option<String>,
    /// Whether the command's process is there.
    pub alive: bool,
    /// The sockets by which the server is reached.
    pub sockets: Vec<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An event of the run.
    News(Generation, News),
    /// The answer to [`Action::Look`].
    Seen(Sight),
    /// A first request was answered.
    Answered,
    /// So many requests were answered, and all that were made: the answer to [`Action::EndRequests`].
    AllAnswered(u64),
    /// A request failed; how.
    RequestFailed(String),
    /// The pause cannot be asked for.
    NoPause,
    /// The check has ended.
    CheckEnded(CommandStatus, Duration),
    /// The run has ended: how the supervisor ended, and what it said last, if it did.
    RunEnded(Option<CommandStatus>, Option<String>),
    /// The answer to [`Action::LookForRest`]: what is left, in words.
    Left(Option<String>),
    /// reloadrun itself cannot go on; why.
    Broken(String),
    /// A signal that asks for the end.
    Signal(Signal),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Looks who listens at the address of the probe; answers with [`Input::Seen`].
    Look,
    /// Starts the run.
    Start,
    /// Begins to make requests.
    BeginRequests,
    /// Ends that; answers with [`Input::AllAnswered`] or [`Input::RequestFailed`].
    EndRequests,
    /// Touches this one of the files.
    Touch(usize),
    /// Asks the run for a pause.
    Pause,
    /// Starts the check.
    Check,
    /// Asks the check to end, or kills it.
    EndCheck {
        /// Kills it.
        kill: bool,
    },
    /// Asks the run to end; each time harder.
    EndRun(Pressure),
    /// Gives the touched files back what they had, and looks for what is left; answers with [`Input::Left`].
    LookForRest,
    /// Tells the world.
    Tell(What),
    /// Ends.
    Finish(Verdict),
}

/// How the run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// By a signal, as anybody would.
    Ask,
    /// Once more: the command is killed.
    Insist,
    /// The supervisor is killed, and everything below it.
    Kill,
}

/// One thing that was to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name in the reports.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Whether it was shown; `None` if it did not come to that.
    pub passed: Option<bool>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Why it has failed, and in words.
    pub failure: Option<(Reason, String)>,
    /// The exit code.
    pub code: ExitCode,
    /// The check's own end.
    pub check: Option<CommandStatus>,
    /// The generation that ran last.
    pub generation: Generation,
    /// What was to be shown, in this order.
    pub steps: Vec<Step>,
}
