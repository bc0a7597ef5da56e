//! What a child decides, without I/O and without a clock.
//!
//! | state    | whole save      | settled            | command ended | tree gone     | stop, signal, supervisor lost |
//! |----------|-----------------|--------------------|---------------|---------------|-------------------------------|
//! | running  | stop (restart)  | stop or signal     | report, idle  | -             | stop                          |
//! | idle     | -               | stop the rest      | -             | -             | stop the rest                 |
//! | stopping | later: escalate | merge, maybe leave | ask the rest  | maybe leave   | escalate                      |
//!
//! A stop for a change is left with 3 when the tree is gone *and* the save has settled, whichever comes last.

use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::config::OnChange;
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::protocol::{Directive, Report, Response, StopReason};
use crate::stop::{StopAction, StopSequence};

/// A save this long after a stop began is a second request, and escalates it.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Without a supervisor the whole grace is too long: a second later nothing may be left (P3).
const ABANDONED: Duration = Duration::from_millis(600);

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
    /// The command's first process was stopped.
    Suspended {
        /// Its pid.
        pid: i32,
    },
    /// Nothing is left of the command's tree.
    TreeGone,
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
    /// The supervisor said something.
    Told(Directive),
    /// The supervisor is gone.
    SupervisorGone,
    /// The supervisor's heart stands still.
    PulseLost,
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
    /// Sends the command a signal by number.
    Signal(i32),
    /// Sends the command the signal configured for changes.
    SignalChange,
    /// Leaves.
    Leave(ChildEnd),
}

#[derive(Debug)]
enum State {
    Running,
    Idle,
    Stopping { sequence: StopSequence, reason: StopReason, asked_again: bool },
    Left,
}

/// The decisions of one child.
#[derive(Debug)]
pub struct Machine {
    on_change: OnChange,
    grace: Duration,
    state: State,
    tree_gone: bool,
    /// Whether the watcher has nothing pending.
    settled: bool,
    /// Whether a change set has been reported.
    reported: bool,
    /// What must wait until the change set has been told, so that the reason comes first.
    held: Vec<Report>,
}

impl Machine {
    /// A child whose command is about to start.
    pub fn new(on_change: OnChange, grace: Duration) -> Machine {
        Machine {
            on_change,
            grace,
            state: State::Running,
            tree_gone: false,
            settled: true,
            reported: false,
            held: Vec::new(),
        }
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Stopping { sequence, .. } if !self.tree_gone => sequence.due(),
            _ => None,
        }
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Started { pid } => actions.push(Action::Report(Report::Started { pid })),
            Input::Ended { status, ran } => self.ended(status, ran, &mut actions),
            // During a stop it is no news: the stop continues it.
            Input::Suspended { pid } if matches!(self.state, State::Running) => {
                actions.push(Action::Report(Report::Suspended { pid }));
            }
            Input::Suspended { .. } => {}
            Input::TreeGone => self.gone(now, &mut actions),
            Input::Certain => {
                self.settled = false;
                self.save_seen(now, &mut actions);
            }
            Input::Unsettled => self.settled = false,
            Input::Settled { changes, noticed_ns, quiet } => self.settle(changes, noticed_ns, quiet, now, &mut actions),
            Input::Told(Directive::Stop) => self.stop(StopReason::Request, now, &mut actions),
            Input::Told(Directive::Signal { number }) => actions.push(Action::Signal(number)),
            Input::SupervisorGone => {
                self.abandon("the supervisor is gone; ending the command", now, &mut actions);
            }
            Input::PulseLost => {
                self.abandon("the supervisor hangs, its heartbeat stands still; ending the command", now, &mut actions);
            }
            Input::Interrupted => self.stop(StopReason::Signal, now, &mut actions),
            Input::Tick => {
                if let State::Stopping { sequence, .. } = &mut self.state
                    && let Some(step) = sequence.tick(now)
                {
                    actions.push(Action::Stop(step));
                    if step == StopAction::GiveUp {
                        self.gone(now, &mut actions);
                    }
                }
            }
        }
        self.leave_if_done(&mut actions);
        actions
    }

    fn ended(&mut self, status: CommandStatus, ran: Duration, actions: &mut Vec<Action>) {
        match &self.state {
            State::Stopping { sequence, .. } if !self.tree_gone => {
                actions.extend(sequence.leader_gone().map(Action::Stop));
            }
            State::Running => {
                self.state = State::Idle;
                self.tree_gone |= !status.ran();
                actions.push(Action::Report(Report::Exited { status, ran_ns: nanoseconds(ran) }));
            }
            State::Stopping { .. } | State::Idle | State::Left => {}
        }
    }

    fn gone(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.tree_gone, true) {
            return;
        }
        if let State::Stopping { sequence, .. } = &self.state {
            let report = Report::Stopped { took_ns: nanoseconds(sequence.took(now)), killed: sequence.killed() };
            self.tell(report, actions);
        }
    }

    fn save_seen(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            // The stop takes time, the save is over in a moment: begin, and learn of the rest meanwhile.
            State::Running if self.on_change == OnChange::Restart => {
                self.begin_stop(StopReason::Change, now, actions);
            }
            State::Stopping { sequence, .. } if self.reported && sequence.took(now) >= IMPATIENCE => {
                actions.extend(sequence.escalate(now).map(Action::Stop));
            }
            _ => {}
        }
    }

    fn settle(
        &mut self,
        changes: ChangeSet,
        noticed_ns: i64,
        quiet: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.settled = true;
        let response = match &self.state {
            _ if changes.is_empty() => None,
            State::Left => None,
            State::Idle => Some(Response::Start),
            State::Running if self.on_change != OnChange::Restart && !changes.has_config() => Some(Response::Signal),
            State::Running | State::Stopping { .. } => Some(Response::Restart),
        };
        if let Some(response) = response {
            self.reported |= response != Response::Signal;
            actions.push(Action::Report(Report::Changed { changes, noticed_ns, quiet, response }));
            if response == Response::Signal {
                actions.push(Action::SignalChange);
            }
        }
        // Whatever was held back has had its reason now, or will have none.
        actions.extend(self.held.drain(..).map(Action::Report));
        if matches!(response, Some(Response::Start | Response::Restart)) && !self.is_stopping() {
            self.begin_stop(StopReason::Change, now, actions);
        }
    }

    fn stop(&mut self, reason: StopReason, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Running | State::Idle => self.begin_stop(reason, now, actions),
            State::Stopping { sequence, reason: current, asked_again } => {
                // A request that follows a change is the first request; only one more of them escalates.
                if *current == StopReason::Change && !*asked_again {
                    *asked_again = true;
                } else {
                    actions.extend(sequence.escalate(now).map(Action::Stop));
                }
                *current = reason;
                actions.extend(self.held.drain(..).map(Action::Report));
            }
            State::Left => {}
        }
    }

    fn abandon(&mut self, sentence: &'static str, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Left | State::Stopping { reason: StopReason::Supervisor, .. } => return,
            State::Stopping { sequence, reason, .. } => {
                *reason = StopReason::Supervisor;
                sequence.hurry(now + ABANDONED);
            }
            State::Running | State::Idle => {
                self.grace = self.grace.min(ABANDONED);
                self.stop(StopReason::Supervisor, now, actions);
            }
        }
        actions.push(Action::Say(sentence));
    }

    fn begin_stop(&mut self, reason: StopReason, now: Instant, actions: &mut Vec<Action>) {
        let leader_gone = matches!(self.state, State::Idle);
        let (sequence, first) = StopSequence::begin(self.grace, now);
        let first = if leader_gone { StopAction::AskRest } else { first };
        self.state = State::Stopping { sequence, reason, asked_again: false };
        if !self.tree_gone {
            actions.push(Action::Stop(first));
            self.tell(Report::Stopping { reason }, actions);
        }
    }

    /// Reports now, or after the change set that is the reason.
    fn tell(&mut self, report: Report, actions: &mut Vec<Action>) {
        let for_change = matches!(self.state, State::Stopping { reason: StopReason::Change, .. });
        if for_change && !self.reported && !self.settled {
            self.held.push(report);
        } else {
            actions.push(Action::Report(report));
        }
    }

    fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. })
    }

    fn leave_if_done(&mut self, actions: &mut Vec<Action>) {
        let State::Stopping { reason, .. } = &self.state else { return };
        if !self.tree_gone || (*reason == StopReason::Change && !self.settled) {
            return;
        }
        let end = match reason {
            StopReason::Change => ChildEnd::Reload,
            StopReason::Request => ChildEnd::Ended,
            StopReason::Signal | StopReason::Supervisor => ChildEnd::Failed,
        };
        actions.push(Action::Leave(end));
        self.state = State::Left;
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
