//! What happens to a child, and what it does.

use std::time::Duration;

use super::job;
use crate::change::ChangeSet;
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::protocol::{Directive, Ready, Report};
use crate::stop::StopAction;
use crate::watch::Mark;

/// Something that happened to a child.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The command runs.
    Started {
        /// Its pid.
        pid: i32,
    },
    /// The command ended, or could not begin.
    Ended {
        /// How.
        status: CommandStatus,
        /// How long it ran.
        ran: Duration,
    },
    /// There is no command, and never will be.
    Alone,
    /// Nothing has been prepared: begin with that, before the command is started.
    Prepare(ChangeSet),
    /// The child before has left these to be run for.
    Owed(ChangeSet),
    /// A process of a job runs.
    JobStarted,
    /// The job is over.
    JobEnded {
        /// How.
        status: CommandStatus,
        /// How long it ran.
        ran: Duration,
    },
    /// The command's first process was stopped.
    Suspended {
        /// Its pid.
        pid: i32,
    },
    /// The signal for the last change has reached nobody, and the command has ended.
    Undelivered,
    /// The command does not say what it does about the signal of this number.
    Unanswered(u64),
    /// Nothing is left of the command's tree.
    TreeGone,
    /// The command is ready.
    Ready(Ready),
    /// It says that it reloads, and is not ready until it says so.
    Reloading {
        /// For the signal of this number.
        answers: Option<u64>,
    },
    /// The watching has ended here, and everything that was noticed before has been told.
    HandedOver {
        /// Whether the next child may take over without a walk.
        whole: bool,
    },
    /// Whether all that is left of it may not be signalled.
    OutOfReach(bool),
    /// The watcher saw a whole save; more may belong to it.
    Certain,
    /// The watcher saw something that has yet to settle.
    Unsettled,
    /// It is quiet: this is what changed since the last time; empty when it came to nothing.
    Settled {
        /// The changes.
        changes: ChangeSet,
        /// Monotonic time of the first notice, nanoseconds.
        noticed_ns: i64,
        /// How long nothing had changed before, since the start.
        quiet: Duration,
    },
    /// Everything that had happened before this request has been said.
    Passed(Mark),
    /// The supervisor said something.
    Told(Directive),
    /// The supervisor is gone.
    SupervisorGone,
    /// The supervisor's heart stands still.
    PulseLost,
    /// The command executes a program that needs rights, and is traced.
    RightsNeeded,
    /// The same of the preparation.
    PreparationNeedsRights,
    /// The child itself got INT, TERM or HUP.
    Interrupted,
    /// Time has passed.
    Tick,
}

/// Something a child does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Tells the supervisor.
    Report(Report),
    /// Tells people directly: there is nobody left to tell it.
    Say(&'static str),
    /// A step of the stop sequence.
    Stop(StopAction),
    /// Starts the command, which was prepared for these changes.
    Start(ChangeSet),
    /// Starts a job for these changes.
    Job(job::Kind, ChangeSet),
    /// Kills the preparation and begins it anew, untraced.
    PrepareUntraced,
    /// Ends the watching, and comes back with [`Input::HandedOver`].
    HandOver,
    /// Sends the command a signal by number.
    Signal(i32),
    /// Collects changes and does nothing about them, or goes on.
    Pause(bool),
    /// Sends the command the signal configured for changes.
    SignalChange,
    /// Tells what is known of the files of the command.
    Recall,
    /// Asks the watcher for everything that has happened until now.
    Mark(Mark),
    /// Tells that this end of the command's first process is to be put down to it.
    TellUnheard(CommandStatus),
    /// Tells who is left of a command that ended well.
    TellSetAside,
    /// Leaves.
    Leave(ChildEnd),
}
