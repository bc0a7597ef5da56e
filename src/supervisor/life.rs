//! One generation as the supervisor sees it: its child and its command, from the fork to the last word.
//!
//! | state    | it is in it                                   | it leaves it                                            |
//! |----------|-----------------------------------------------|---------------------------------------------------------|
//! | standby  | forked while the one before stops             | told to start; dismissed                                |
//! | starting | told to start                                 | the command runs, or ended at once                      |
//! | running  | the command runs                              | a stop for a change has begun; the command ended        |
//! | stopping | the child ends the command for a change       | it leaves with 3                                        |
//! | waiting  | the command ended, a change starts the next   | a change                                                |
//! | delayed  | the command ended, and starts again at a time | a change; the time has come                             |
//! | renewing | told to leave, the next one follows           | it leaves                                               |
//! | hosting  | its child watches no more, the command runs on until the next one is ready (`--overlap`) | the next one is ready; the command ended |
//! | retiring | told to leave, another one runs               | it leaves                                               |
//! | ending   | told to leave, the run ends                   | it leaves                                               |
//!
//! A child may die in every state. In `renewing`, `retiring` and `ending` it counts as dead when its time is over.

use std::time::{Duration, Instant};

use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::protocol::Ready;

/// If another Ctrl-C comes within this time after one that the command got from the terminal, the user means us.
pub const TWICE: Duration = Duration::from_secs(5);

/// A command that ends within this time after a Ctrl-C has ended of it: cleaning up may take that long, or the stop timeout
/// if that is longer. If the signal itself has ended it, it does not matter how long that took.
pub const CLEANING_UP: Duration = Duration::from_secs(30);

/// A command that still runs this long after a Ctrl-C has taken it for something else, as far as a save is concerned: the
/// save leads to a start as always.
pub const TAKEN: Duration = Duration::from_millis(500);

/// A command that ends within this time after a Ctrl-\ has ended of it: a runtime that dumps its threads and leaves with a
/// code of its own.
pub const DUMPING: Duration = Duration::from_secs(1);

/// A command that has not stopped this long after a Ctrl-Z is looked at: a shell may hang between vfork and exec, because
/// its offspring stopped there. It goes on when everyone is continued.
const STUCK: Duration = Duration::from_millis(500);

/// A child that was told to leave answers within the grace and this (KILL has its own bound of 10 s); else it hangs.
const ANSWER: Duration = Duration::from_secs(12);

/// The same after a second request.
const ANSWER_SOON: Duration = Duration::from_secs(3);

/// Where a life is; see the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Standby,
    Starting,
    Running,
    Stopping,
    Waiting,
    /// Until this instant.
    Delayed(Instant),
    /// It hangs if it is still there at this instant.
    Renewing(Instant),
    Hosting,
    /// It hangs if it is still there at this instant.
    Retiring(Instant),
    /// The same.
    Ending(Instant),
}

/// Whether a command is ready, as its probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// There is no probe.
    Unknown,
    /// Not yet.
    NotYet,
    /// It is, so long after its start.
    Ready(Duration),
    /// It is too late, or the command has ended before.
    Never,
}

/// Whether a command that was ready is so now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It does not reload.
    Nothing,
    /// It says that it reloads.
    UnderWay,
    /// It is too late, or the command has ended before.
    Late,
}

/// The signals that a command got for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    /// The signal.
    pub signal: Signal,
    /// How many there were.
    pub number: u64,
    /// What became of the last one.
    pub effect: Answer,
}

/// What is known of the effect of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The command may still tell.
    Awaited,
    /// It says that it reloads for it.
    Begun,
    /// Nothing.
    Unknown,
    /// It has taken up what the signal was for.
    Ready,
    /// The signal could not be sent.
    Refused,
}

/// What is done about a change beside the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing, or the command has it.
    Nothing,
    /// It is being prepared, waits for the end of the command, or a run for it is under way.
    UnderWay,
    /// It could not be prepared.
    Unprepared(CommandStatus),
    /// The run for it has ended.
    Ran(CommandStatus),
}

/// One generation.
#[derive(Debug)]
pub struct Life {
    pub generation: Generation,
    pub state: State,
    /// When its child was told to start; of a standby, when it was forked.
    pub since: Instant,
    /// Pid of the command's first process, once it has started.
    pub leader: Option<i32>,
    /// Whether the command runs. It may, while it is being stopped.
    pub command_runs: bool,
    /// The signals that it got for changes.
    pub signalled: Option<Signalled>,
    /// What is done about the last change beside the command.
    pub work: Work,
    /// How the command ended by itself.
    pub ended: Option<CommandStatus>,
    /// Whether it is ready; `NotYet` also where there is no probe.
    pub readiness: Readiness,
    /// Whether it reloads by itself.
    pub reload: Reload,
    /// Keys that the command got from the terminal.
    pub keys: Keys,
    /// Whether it was asked to hand over, so that the next generation starts beside it.
    pub hands_over: bool,
    /// When to see whether a Ctrl-Z has left the command hanging.
    stuck_at: Option<Instant>,
}

impl Life {
    /// A new life in its first state, `Standby` or `Starting`.
    pub fn new(generation: Generation, state: State, now: Instant) -> Life {
        Life {
            generation,
            state,
            since: now,
            leader: None,
            command_runs: false,
            work: Work::Nothing,
            signalled: None,
            ended: None,
            readiness: Readiness::NotYet,
            reload: Reload::Nothing,
            keys: Keys::default(),
            hands_over: false,
            stuck_at: None,
        }
    }

    /// Whether its child has been told to start, and not to leave.
    pub fn is_up(&self) -> bool {
        !matches!(self.state, State::Standby | State::Renewing(_) | State::Retiring(_) | State::Ending(_))
    }

    /// Whether its child takes in what changes, and goes on to.
    pub fn watches(&self) -> bool {
        self.is_up() && self.state != State::Stopping
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Standby => None,
            State::Renewing(hangs_at) | State::Retiring(hangs_at) | State::Ending(hangs_at) => Some(hangs_at),
            State::Delayed(at) => Some(self.stuck_at.map_or(at, |stuck| stuck.min(at))),
            State::Starting | State::Running | State::Stopping | State::Waiting | State::Hosting => self.stuck_at,
        }
    }

    /// The command runs.
    pub fn command_started(&mut self, pid: i32) {
        (self.leader, self.command_runs) = (Some(pid), true);
        if self.state == State::Starting {
            self.state = State::Running;
        }
    }

    /// The child is at work, and no command has started.
    pub fn prepares(&mut self) {
        if self.state == State::Starting {
            self.state = State::Running;
        }
    }

    /// What was prepared is started now.
    pub fn command_starts(&mut self) {
        self.work = Work::Nothing;
        if self.is_up() {
            self.state = State::Starting;
        }
    }

    /// The child ends the command for a change, and leaves.
    pub fn stops_for_change(&mut self) {
        if self.is_up() && self.state != State::Hosting {
            self.state = State::Stopping;
        }
    }

    /// The command has ended by itself.
    pub fn command_ended(&mut self, status: CommandStatus) {
        (self.command_runs, self.ended) = (false, Some(status));
        self.is_not_ready_in_time();
    }

    /// The command is ready, perhaps again. One that was given up on before that was known is not ended.
    pub fn is_ready(&mut self, ready: Ready) {
        if !ready.reload {
            self.readiness = Readiness::Ready(ready.after);
        }
        self.reload = Reload::Nothing;
        let is_last = |sent: &&mut Signalled| ready.answers == Some(sent.number);
        if let Some(sent) = self.signalled.as_mut().filter(is_last) {
            sent.effect = Answer::Ready;
        }
        if self.state == State::Waiting && self.command_runs {
            self.state = State::Running;
        }
    }

    /// It has to be ready by now.
    pub fn is_not_ready_in_time(&mut self) {
        if self.readiness == Readiness::NotYet {
            self.readiness = Readiness::Never;
        }
        if self.reload == Reload::UnderWay {
            self.reload = Reload::Late;
        }
    }

    /// The command gets one more signal for a change. `may_answer`: it may tell what it does about it.
    pub fn is_signalled(&mut self, signal: Signal, may_answer: bool) {
        let number = self.signalled.map_or(0, |before| before.number) + 1;
        let effect = if may_answer { Answer::Awaited } else { Answer::Unknown };
        self.signalled = Some(Signalled { signal, number, effect });
    }

    /// The command reloads, for the signal of this number if it is one.
    pub fn reloads(&mut self, answers: Option<u64>) {
        self.reload = Reload::UnderWay;
        if let Some(sent) = self.signalled.as_mut().filter(|sent| answers == Some(sent.number)) {
            sent.effect = Answer::Begun;
        }
    }

    /// Nothing is known of the effect of this signal.
    pub fn does_not_answer(&mut self, number: u64) {
        let awaited = |sent: &&mut Signalled| sent.number == number && sent.effect == Answer::Awaited;
        if let Some(sent) = self.signalled.as_mut().filter(awaited) {
            sent.effect = Answer::Unknown;
        }
    }

    /// The last signal has not reached it.
    pub fn was_not_reached(&mut self) {
        self.signalled.iter_mut().for_each(|sent| sent.effect = Answer::Refused);
    }

    /// The child was told to leave; `state` is `Renewing`, `Retiring` or `Ending`.
    pub fn leaves(&mut self, state: fn(Instant) -> State, stop_timeout: Duration, now: Instant) {
        self.state = state(now + stop_timeout + ANSWER);
    }

    /// The child was told to leave at once.
    pub fn leaves_soon(&mut self, now: Instant) {
        if let State::Renewing(hangs_at) | State::Retiring(hangs_at) | State::Ending(hangs_at) = &mut self.state {
            *hangs_at = (*hangs_at).min(now + ANSWER_SOON);
        }
    }

    /// The command got a Ctrl-Z.
    pub fn may_be_stuck(&mut self, now: Instant) {
        self.stuck_at = Some(now + STUCK);
    }

    /// The first process of a command that may hang since a Ctrl-Z, once.
    pub fn stuck(&mut self, now: Instant) -> Option<i32> {
        let is_time = self.stuck_at.take_if(|at| *at <= now).is_some();
        self.leader.filter(|_| is_time && self.command_runs && self.is_up())
    }
}

/// The keys that a command got from the terminal while it ran: they may be the reason why it ends.
#[derive(Debug, Default)]
pub struct Keys {
    /// When it got the last Ctrl-C.
    ctrl_c: Option<Instant>,
    /// The same of Ctrl-\.
    ctrl_backslash: Option<Instant>,
}

impl Keys {
    /// The command got this one. Says whether it is a second Ctrl-C soon after the first.
    pub fn pressed(&mut self, signal: Signal, now: Instant) -> bool {
        if signal == Signal::QUIT {
            self.ctrl_backslash = Some(now);
            return false;
        }
        self.ctrl_c.replace(now).is_some_and(|before| now <= before + TWICE)
    }

    /// A file has changed: what ends the command from here on is the save, and not a key that it has outlived.
    pub fn outlived(&mut self, now: Instant) {
        self.ctrl_c.take_if(|at| now > *at + TAKEN);
        self.ctrl_backslash = None;
    }

    /// Whether a Ctrl-C was pressed while the command was stopped for a change: it meant the end, not this stop.
    pub fn mean_the_end(&self) -> bool {
        self.ctrl_c.is_some()
    }

    /// The key that this end of the command is put down to.
    pub fn behind(&mut self, status: &CommandStatus, stop_timeout: Duration, now: Instant) -> Option<Signal> {
        let Keys { ctrl_c, ctrl_backslash } = std::mem::take(self);
        let is_behind = |key: Signal, pressed: Option<Instant>, memory: Duration| {
            let by_it = status.is_of(key.number()) || status.code() == ExitCode::of_signal(key.number());
            pressed.is_some_and(|at| by_it || now <= at + memory)
        };
        if is_behind(Signal::INT, ctrl_c, CLEANING_UP.max(stop_timeout)) {
            return Some(Signal::INT);
        }
        is_behind(Signal::QUIT, ctrl_backslash, DUMPING).then_some(Signal::QUIT)
    }
}
