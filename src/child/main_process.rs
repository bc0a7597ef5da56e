//! Which process is the command's main one, where a pid file names it (`--pidfile`). Without I/O and without a clock.
//!
//! | state     | first process ended                       | file names a process of ours | main process ended            | nothing left | stop        |
//! |-----------|-------------------------------------------|------------------------------|-------------------------------|--------------|-------------|
//! | starting  | with 0: waiting; otherwise the end        | following                    | -                             | the end      | -           |
//! | following | nothing, unless it is the main one        | following that one           | lost; starting, if the first lives | the end | -           |
//! | waiting   | -                                         | following                    | -                             | the end      | the end     |
//! | lost      | -                                         | following (a re-exec)        | -                             | the end      | the end     |
//!
//! *Waiting* and *lost* look at the file again and again, for a limited time; then the end is told. During a stop nothing is
//! waited for. A signal for a change waits until the main process is known. Where none becomes known, it goes to the first
//! process, or if that has ended, the change is not delivered and the command is started again.

use std::time::{Duration, Instant};

use crate::exit_code::CommandStatus;

/// So long after the end of the first process the file may take to name another one, and so long a signal waits for it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// So long after the end of the main process the file may take to name the one that replaces it: gunicorn looks once a
/// second whether its old master is gone.
const SUCCESSION: Duration = Duration::from_secs(3);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is none, or it is empty.
    Missing,
    /// It cannot be read.
    Unreadable(String),
    /// It begins with something else than a pid.
    Garbage(String),
    /// The process has ended: the file is an old one.
    Ended(i32),
    /// The process is not of the command's tree.
    Foreign(i32),
    /// A living process of the command's tree.
    Ours(i32),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The command's first process ended.
    FirstEnded(CommandStatus),
    /// A look at the file.
    Found(Found),
    /// The main process ended.
    MainEnded(CommandStatus),
    /// Nothing is left of the tree.
    TreeGone,
    /// The main process is to get the signal for a change.
    Signal,
    /// The command is being stopped.
    Stop,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// This is the main process from now on.
    Follow(i32),
    /// Send the signal for a change to the main process; if there is none, to the first one.
    Deliver,
    /// Tell that no main process is known, and why; the first process may still run.
    Unknown {
        /// What the file says.
        found: Found,
        /// Whether the first process runs.
        first_runs: bool,
    },
    /// The signal for a change has reached nobody.
    Undelivered,
    /// The command has ended.
    Ended(CommandStatus),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Starting,
    Following(i32),
    Waiting { status: CommandStatus, until: Instant },
    Lost { status: CommandStatus, until: Instant },
    Over,
}

/// The decisions about one command.
#[derive(Debug)]
pub struct MainProcess {
    first: i32,
    first_runs: bool,
    state: State,
    /// Since when a signal waits.
    signal: Option<Instant>,
    next_look: Option<Instant>,
    stopping: bool,
    /// Whether it was told already that no main process is known.
    told: bool,
}

impl MainProcess {
    /// A command whose first process has just been started.
    pub fn new(first: i32) -> MainProcess {
        MainProcess {
            first,
            first_runs: true,
            state: State::Starting,
            signal: None,
            next_look: None,
            stopping: false,
            told: false,
        }
    }

    /// When the file is to be looked at.
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// The main process, if it is known.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            State::Following(pid) => Some(pid),
            _ => None,
        }
    }

    /// Whether it was told that none is known.
    pub fn is_unknown(&self) -> bool {
        self.told
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::FirstEnded(status) => self.first_ended(status, now, &mut outputs),
            Input::Found(found) => self.found(found, now, &mut outputs),
            Input::MainEnded(status) if matches!(self.state, State::Following(_)) => {
                if self.first_runs {
                    self.state = State::Starting;
                } else if self.stopping {
                    self.end(status, &mut outputs);
                } else {
                    self.state = State::Lost { status, until: now + SUCCESSION };
                }
            }
            Input::MainEnded(_) => {}
            Input::TreeGone => match self.state.clone() {
                State::Waiting { status, .. } | State::Lost { status, .. } => self.end(status, &mut outputs),
                // How it ended, another process has taken with it.
                State::Following(_) => self.end(CommandStatus::Exited(0), &mut outputs),
                State::Starting | State::Over => {}
            },
            Input::Signal => {
                self.signal.get_or_insert(now);
            }
            Input::Stop => {
                self.stopping = true;
                self.signal = None;
                if let State::Waiting { status, .. } | State::Lost { status, .. } = self.state.clone() {
                    self.end(status, &mut outputs);
                }
            }
        }
        self.next_look = match (&self.state, &self.next_look) {
            (State::Over, _) => None,
            (State::Starting | State::Following(_), _) if self.signal.is_none() => None,
            (_, Some(planned)) if *planned > now => Some(*planned),
            // The first one at once.
            (_, None) => Some(now),
            (_, Some(_)) => Some(now + PAUSE),
        };
        outputs
    }

    fn first_ended(&mut self, status: CommandStatus, now: Instant, outputs: &mut Vec<Output>) {
        self.first_runs = false;
        match self.state {
            State::Following(main) if main != self.first && !self.stopping => {}
            State::Starting if status == CommandStatus::Exited(0) && !self.stopping => {
                self.state = State::Waiting { status, until: now + PATIENCE };
            }
            State::Following(main) if main == self.first && !self.stopping => {
                // A server may have replaced itself by another process.
                self.state = State::Lost { status, until: now + SUCCESSION };
            }
            State::Over => {}
            _ => self.end(status, outputs),
        }
    }

    fn found(&mut self, found: Found, now: Instant, outputs: &mut Vec<Output>) {
        let waits_since = self.signal;
        match (&self.state, found) {
            (State::Over, _) => {}
            (State::Following(main), Found::Ours(pid)) if *main == pid => self.deliver(outputs),
            (_, Found::Ours(pid)) => {
                self.state = State::Following(pid);
                outputs.push(Output::Follow(pid));
                self.deliver(outputs);
            }
            // The file may be gone for a moment; the process is not.
            (State::Following(_), _) => self.deliver(outputs),
            (State::Starting, found) => {
                if waits_since.is_some_and(|since| since + PATIENCE <= now) {
                    self.tell(found, outputs);
                    self.deliver(outputs);
                }
            }
            (State::Waiting { status, until }, found) if *until <= now => {
                let status = status.clone();
                self.tell(found, outputs);
                self.end(status, outputs);
            }
            (State::Lost { status, until }, _) if *until <= now => {
                let status = status.clone();
                self.end(status, outputs);
            }
            (State::Waiting { .. } | State::Lost { .. }, _) => {}
        }
    }

    fn tell(&mut self, found: Found, outputs: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.told, true) {
            outputs.push(Output::Unknown { found, first_runs: self.first_runs });
        }
    }

    fn deliver(&mut self, outputs: &mut Vec<Output>) {
        outputs.extend(self.signal.take().map(|_| Output::Deliver));
    }

    fn end(&mut self, status: CommandStatus, outputs: &mut Vec<Output>) {
        self.state = State::Over;
        outputs.extend(self.signal.take().map(|_| Output::Undelivered));
        outputs.push(Output::Ended(status));
    }
}

#[cfg(test)]
#[path = "main_process_tests.rs"]
mod tests;
