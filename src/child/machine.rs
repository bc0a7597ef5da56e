//! What a child decides, without I/O and without a clock.
//!
//! | state    | whole save      | settled            | command ended                 | tree gone     | stop, signal, supervisor lost |
//! |----------|-----------------|--------------------|-------------------------------|---------------|-------------------------------|
//! | before   | -               | see the rollout    | -                             | -             | stop the rest                 |
//! | running  | stop (restart)  | see the rollout    | report, idle; or stop the rest | -             | stop                          |
//! | idle     | -               | see the rollout    | -                             | -             | stop the rest                 |
//! | stopping | -               | merge, maybe leave | ask the rest                  | maybe leave   | escalate                      |
//!
//! *Before*: the command waits for its first preparation. What a change set leads to is in [`super::rollout`]: a job first, or
//! at once the end of the command, a signal, or its start. At the end of a job, and with `--on-change queue` at that of the
//! command, the watcher is asked for everything that has changed before it, and its answer is waited for.
//!
//! With `--overlap`, a running command that is ready is not stopped for a change: the watching is handed over, and this child
//! only hosts the command until it is told to leave. A command that is not ready when its time is over is ended on demand;
//! then this child is idle, and watches on.
//!
//! A stop for a change is left with 3 when the tree is gone *and* the save has settled, whichever comes last. A save
//! during a stop never shortens the grace: only whoever asks a second time does.
//!
//! A running command that ends without having heard the signal for a change is stopped for that change, see
//! [`super::signalled`].
//!
//! A traced command that executes a set-uid program is stopped as for a change, and the next generation is not traced.
//!
//! The end of a command that ended well and left others behind is reported when they are gone, when something else happens,
//! or 200 ms later; then who they are is told too.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::job;
use super::rollout::{Batch, Goal, Rollout, Step};
use super::signalled::Signals;
use super::step::{Action, Input};
use crate::change::ChangeSet;
use crate::config::{OnChange, OnExit};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::protocol::{Carried, Directive, Report, Response, StopReason};
use crate::stop::{StopAction, StopSequence};
use crate::watch::Mark;

/// Without a supervisor the whole grace is too long: a second later nothing may be left (P3).
const ABANDONED: Duration = Duration::from_millis(600);

/// Whatever is alive so long after the end of the command's first process has been set aside.
const SET_ASIDE: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum State {
    Before,
    Running,
    Idle,
    Stopping { sequence: StopSequence, reason: StopReason, asked_again: bool },
    Left,
}

/// The decisions of one child.
#[derive(Debug)]
pub struct Machine {
    on_change: OnChange,
    rollout: Rollout,
    /// How the job ended, until it is known what had changed before.
    job_ended: Option<Report>,
    /// How a command ended that is started again if something has changed, until that is known. Then, whether the watcher
    /// has answered.
    queue_ended: Option<(Report, bool)>,
    /// What changed during the stop.
    late: ChangeSet,
    grace: Duration,
    /// Whether the next generation starts beside this one, once this one is ready.
    overlaps: bool,
    ready: bool,
    /// Whether the watching has ended here.
    handed_over: bool,
    /// Whether it will end here when the job has ended.
    awaits_job: bool,
    /// Whether changes are collected, and lead to nothing.
    paused: bool,
    state: State,
    signals: Signals,
    /// The end of a command that ended well and left others behind, and when to tell it: most of them are about to end.
    left: Option<(Instant, Report)>,
    /// Whether the command's first process has ended.
    main_ended: bool,
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
    pub fn new(on_change: OnChange, on_exit: OnExit, grace: Duration, overlaps: bool) -> Machine {
        Machine {
            rollout: Rollout::new(goal(&on_change), false, BTreeSet::new()),
            signals: Signals::new(&on_change, on_exit == OnExit::Wait),
            on_change,
            job_ended: None,
            queue_ended: None,
            late: ChangeSet::default(),
            grace,
            overlaps,
            ready: false,
            handed_over: false,
            awaits_job: false,
            paused: false,
            state: State::Running,
            left: None,
            main_ended: false,
            tree_gone: false,
            settled: true,
            reported: false,
            held: Vec::new(),
        }
    }

    /// Each change is prepared. The preparation is known to write these files.
    pub fn preparing(self, outputs: &ChangeSet) -> Machine {
        let outputs = outputs.paths().map(Into::into).collect();
        Machine { rollout: Rollout::new(goal(&self.on_change), true, outputs), ..self }
    }

    /// In a pause from the start.
    pub fn paused(self, paused: bool) -> Machine {
        Machine { paused, ..self }
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Stopping { sequence, .. } if !self.tree_gone => sequence.due(),
            State::Idle => self.left.as_ref().map(|(at, _)| *at),
            _ => None,
        }
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Started { pid } => {
                self.tree_gone = false;
                self.rollout.command_started();
                actions.push(Action::Report(Report::Started { pid }));
            }
            Input::Alone => self.tree_gone = true,
            Input::Prepare(changes) => {
                (self.state, self.tree_gone) = (State::Before, true);
                let batch = Batch { changes, noticed_ns: 0, quiet: Duration::ZERO };
                let step = self.rollout.first(batch);
                self.proceed(step, now, &mut actions);
            }
            Input::Owed(changes) => {
                let batch = Batch { changes, noticed_ns: 0, quiet: Duration::ZERO };
                self.roll(batch, now, &mut actions);
            }
            Input::JobStarted => self.tree_gone = false,
            Input::JobEnded { status, ran } => self.job_over(status, ran, now, &mut actions),
            Input::Ended { status, ran } => self.ended(status, ran, now, &mut actions),
            // During a stop it is no news: the stop continues it.
            Input::Suspended { pid } if matches!(self.state, State::Running) => {
                actions.push(Action::Report(Report::Suspended { pid }));
            }
            Input::Suspended { .. } => {}
            Input::Undelivered => self.signals.undelivered(),
            Input::TreeGone => self.gone(now, &mut actions),
            // What is told while the command is ended comes too late.
            Input::Ready(_) | Input::Reloading { .. } if !matches!(self.state, State::Running) => {}
            Input::Ready(ready) => {
                self.ready = true;
                actions.push(Action::Report(Report::Ready(ready)));
            }
            // It has come up once, and serves on as far as anyone knows.
            Input::Reloading { answers } => actions.push(Action::Report(Report::Reloading { answers })),
            Input::Unanswered(number) => actions.push(Action::Report(Report::Unanswered { number })),
            Input::HandedOver { whole } => {
                actions.push(Action::Report(Report::HandedOver { whole, carried: self.carried() }));
            }
            Input::OutOfReach(out) => {
                if let State::Stopping { sequence, .. } = &mut self.state {
                    sequence.out_of_reach(out, now);
                }
            }
            Input::Certain => {
                self.settled = false;
                // The stop takes time, the save is over in a moment: begin, and learn of the rest meanwhile.
                if matches!(self.state, State::Running) && self.rollout.stops_at_once() && !self.hosts() {
                    self.begin_stop(StopReason::Change, now, &mut actions);
                }
            }
            Input::Unsettled => self.settled = false,
            Input::Settled { changes, noticed_ns, quiet } => self.settle(changes, noticed_ns, quiet, now, &mut actions),
            // It has been told; there is one for each child.
            Input::Told(Directive::Start(_)) => {}
            Input::Told(Directive::Retire) if self.is_stopping() => {}
            Input::Told(Directive::Retire) => self.stop(StopReason::Replaced, now, &mut actions),
            Input::Told(Directive::EndCommand) => self.end_command(now, &mut actions),
            Input::Told(Directive::HandOver) => self.hand_over(&mut actions),
            Input::Told(Directive::Recall) => actions.push(Action::Recall),
            Input::Told(Directive::Barrier { id }) => actions.push(Action::Mark(Mark::Asked(id))),
            Input::Passed(Mark::Asked(id)) => actions.push(Action::Report(Report::Passed { id })),
            Input::Passed(Mark::Job) => self.job_decided(now, &mut actions),
            Input::Passed(Mark::Ended) => self.queue_decided(now, &mut actions),
            Input::Told(Directive::Stop) => self.stop(StopReason::Request, now, &mut actions),
            Input::Told(Directive::Signal { number }) => actions.push(Action::Signal(number)),
            Input::Told(Directive::Pause { on }) => {
                self.paused = on;
                actions.push(Action::Pause(on));
                if on {
                    self.job_over_in_pause(now, &mut actions);
                    self.queue_decided(now, &mut actions);
                }
            }
            Input::SupervisorGone => {
                self.abandon("the supervisor is gone; ending the command", now, &mut actions);
            }
            Input::PulseLost => {
                self.abandon("the supervisor hangs, its heartbeat stands still; ending the command", now, &mut actions);
            }
            Input::RightsNeeded if matches!(self.state, State::Running | State::Idle) => {
                self.stop(StopReason::Rights, now, &mut actions);
            }
            // Whoever waits at the gate is ended.
            Input::RightsNeeded => {}
            Input::PreparationNeedsRights if self.rollout.prepares_now() => actions.push(Action::PrepareUntraced),
            Input::PreparationNeedsRights => {}
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
                if let Some((_, exited)) = self.left.take_if(|(at, _)| *at <= now) {
                    actions.extend([Action::TellSetAside, Action::Report(exited)]);
                }
                self.say_if_slow(now, &mut actions);
            }
        }
        self.leave_if_done(&mut actions);
        actions
    }

    /// Whether a change does not end the command: the next one comes first, or is here already.
    fn hosts(&self) -> bool {
        self.overlaps && self.ready || self.handed_over
    }

    /// The next generation is to start beside the command. Two preparations do not run at a time: it prepares anew what the
    /// one that is under way was for.
    fn hand_over(&mut self, actions: &mut Vec<Action>) {
        if !self.hosts() || self.handed_over || !matches!(self.state, State::Running | State::Idle) {
            // Another start is on its way.
            return;
        }
        self.awaits_job = self.rollout.is_busy();
        if !self.awaits_job {
            self.handed_over = true;
            actions.push(Action::HandOver);
        }
    }

    /// The command did not become ready, and the one before it stays.
    fn end_command(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Running | State::Idle) && !self.ready && !self.tree_gone {
            self.tell_end(actions);
            self.begin_stop(StopReason::NotReady, now, actions);
        }
    }

    /// Does not wait for the change set, or a wait would go unexplained.
    fn say_if_slow(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let State::Stopping { sequence, reason, .. } = &mut self.state else { return };
        if self.tree_gone || !sequence.turns_slow(now) {
            return;
        }
        let report = Report::StillStopping {
            reason: *reason,
            took_ns: nanoseconds(sequence.took(now)),
            kill_in_ns: sequence.until_kill(now).map(nanoseconds),
            main_ended: self.main_ended,
        };
        actions.extend(self.held.drain(..).chain([report]).map(Action::Report));
    }

    fn ended(&mut self, status: CommandStatus, ran: Duration, now: Instant, actions: &mut Vec<Action>) {
        self.main_ended = true;
        match &self.state {
            State::Stopping { sequence, .. } if !self.tree_gone => {
                actions.extend(sequence.leader_gone().map(Action::Stop));
            }
            State::Running => {
                self.state = State::Idle;
                // A job may run beside it.
                self.tree_gone |= !status.ran() && !self.rollout.is_busy();
                if let Some((changes, noticed_ns)) = self.signals.unheard(&status, now) {
                    self.reported = true;
                    actions.push(Action::Report(Report::Unheard { changes, noticed_ns }));
                    actions.push(Action::TellUnheard(status));
                    return self.begin_stop(StopReason::Change, now, actions);
                }
                let ended_well = status == CommandStatus::Exited(0);
                let exited = Report::Exited { status, ran_ns: nanoseconds(ran), again: false };
                if self.rollout.queues() {
                    self.queue_ended = Some((exited, false));
                    // What changes in a pause is collected, and would hold up the answer until the pause is over.
                    if self.paused {
                        return self.queue_decided(now, actions);
                    }
                    return actions.push(Action::Mark(Mark::Ended));
                }
                // Nothing waits for it.
                self.rollout.command_ended();
                if ended_well && !self.tree_gone {
                    self.left = Some((now + SET_ASIDE, exited));
                } else {
                    actions.push(Action::Report(exited));
                }
            }
            State::Before | State::Stopping { .. } | State::Idle | State::Left => {}
        }
    }

    fn job_over(&mut self, status: CommandStatus, ran: Duration, now: Instant, actions: &mut Vec<Action>) {
        let ran_ns = nanoseconds(ran);
        self.job_ended = Some(match self.rollout.prepares_now() {
            true => Report::Prepared { status, ran_ns, nothing_runs: false, goes_on: false, told: false },
            false => Report::Ran { status, ran_ns, goes_on: false },
        });
        if matches!(self.state, State::Stopping { .. } | State::Left) {
            // It was ended with the tree.
            return;
        }
        if std::mem::take(&mut self.awaits_job) {
            actions.extend(self.job_ended.take().map(told_early));
            self.handed_over = true;
            return actions.push(Action::HandOver);
        }
        if self.paused {
            self.job_over_in_pause(now, actions);
        }
        if self.job_ended.is_some() {
            actions.push(Action::Mark(Mark::Job));
        }
    }

    /// The answer may wait for the end of the pause, which can be far away. A command that runs can wait for that too, but
    /// whoever wants to know how the preparation ended cannot.
    fn job_over_in_pause(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Before) || !self.rollout.prepares_now() {
            return self.job_decided(now, actions);
        }
        if let Some(report @ Report::Prepared { told: false, .. }) = &mut self.job_ended {
            actions.push(told_early(report.clone()));
            if let Report::Prepared { told, .. } = report {
                *told = true;
            }
        }
    }

    /// The job has ended, and all that had changed before is known.
    fn job_decided(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Stopping { .. } | State::Left) {
            return;
        }
        let Some(mut report) = self.job_ended.take() else { return };
        let (Report::Prepared { status, .. } | Report::Ran { status, .. }) = &report else { return };
        let succeeded = *status == CommandStatus::Exited(0);
        let step = self.rollout.job_ended(succeeded);
        if let Report::Prepared { goes_on, .. } | Report::Ran { goes_on, .. } = &mut report {
            *goes_on = step.is_some();
        }
        if let Report::Prepared { nothing_runs, .. } = &mut report {
            *nothing_runs = !succeeded && step.is_none() && matches!(self.state, State::Before);
        }
        actions.push(Action::Report(report));
        self.proceed(step, now, actions);
    }

    /// The command has ended, and all that had changed before is known.
    fn queue_decided(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if let Some((_, answered @ false)) = &mut self.queue_ended {
            *answered = true;
            let step = self.rollout.command_ended();
            self.proceed(step, now, actions);
        }
    }

    /// Files have changed, or are owed.
    fn roll(&mut self, batch: Batch, now: Instant, actions: &mut Vec<Action>) {
        let step = self.rollout.changed(batch);
        self.proceed(step, now, actions);
    }

    fn proceed(&mut self, step: Option<Step>, now: Instant, actions: &mut Vec<Action>) {
        let starts = matches!(step, Some(Step::Apply(_) | Step::Dequeue(_)));
        if starts || !self.rollout.is_busy() {
            self.tell_queue_end(starts, actions);
        }
        match step {
            None => {}
            Some(Step::Prepare(Batch { changes, quiet, .. })) => {
                let first = matches!(self.state, State::Before);
                let told = changes.clone();
                actions.push(Action::Report(Report::Preparing { changes: told, quiet, first }));
                actions.push(Action::Job(job::Kind::Preparation, changes));
            }
            Some(Step::Run(batch)) => {
                let changes = batch.changes.clone();
                self.tell_changed(batch, Response::Run, actions);
                actions.push(Action::Job(job::Kind::Run, changes));
            }
            Some(Step::Queue(batch)) => self.tell_changed(batch, Response::Queue, actions),
            Some(Step::Dequeue(Batch { changes, noticed_ns, quiet })) => {
                self.reported = true;
                actions.push(Action::Report(Report::Dequeued { changes, noticed_ns, quiet }));
                self.begin_stop(StopReason::Change, now, actions);
            }
            Some(Step::Apply(Batch { changes, .. })) if matches!(self.state, State::Before) => {
                self.state = State::Running;
                actions.push(Action::Report(Report::Starting { changes: changes.clone() }));
                actions.push(Action::Start(changes));
            }
            Some(Step::Apply(batch)) => self.apply(batch, now, actions),
        }
    }

    fn tell_changed(&self, batch: Batch, response: Response, actions: &mut Vec<Action>) {
        let Batch { changes, noticed_ns, quiet } = batch;
        actions.push(Action::Report(Report::Changed { changes, noticed_ns, quiet, response }));
    }

    /// What a command that ended while changes may have waited for that leads to.
    fn tell_queue_end(&mut self, again: bool, actions: &mut Vec<Action>) {
        let Some((exited, _)) = self.queue_ended.take_if(|(_, answered)| *answered) else { return };
        let Report::Exited { status, ran_ns, .. } = exited else { return };
        actions.push(Action::Report(Report::Exited { status, ran_ns, again }));
    }

    /// What the next child must know.
    pub fn carried(&self) -> Carried {
        let mut carried = self.rollout.carried();
        carried.prepared &= self.late.is_empty();
        if matches!(self.on_change, OnChange::Run(_)) {
            carried.unserved = carried.unserved.merge(self.late.clone());
        }
        carried
    }

    fn tell_end(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.left.take().map(|(_, exited)| Action::Report(exited)));
    }

    fn gone(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.tell_end(actions);
        if std::mem::replace(&mut self.tree_gone, true) {
            return;
        }
        if let State::Stopping { sequence, .. } = &self.state {
            let report = Report::Stopped { took_ns: nanoseconds(sequence.took(now)), killed: sequence.killed() };
            self.tell(report, actions);
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
        self.tell_end(actions);
        let batch = Batch { changes, noticed_ns, quiet };
        match &mut self.state {
            _ if batch.changes.is_empty() => {}
            State::Left => {}
            // Noticed before the watching ended here.
            _ if self.handed_over => {
                self.late = std::mem::take(&mut self.late).merge(batch.changes.clone());
                self.tell_changed(batch, Response::HandOver, actions);
            }
            State::Stopping { reason, .. } => {
                if *reason == StopReason::NotReady {
                    // From here on it is the stop for this change.
                    *reason = StopReason::Change;
                }
                self.reported = true;
                self.late = std::mem::take(&mut self.late).merge(batch.changes.clone());
                self.tell_changed(batch, Response::Restart, actions);
            }
            State::Before | State::Running | State::Idle => self.roll(batch, now, actions),
        }
        // Whatever was held back has had its reason now, or will have none.
        actions.extend(self.held.drain(..).map(Action::Report));
    }

    /// Acts on changes that are prepared, as far as that is wanted.
    fn apply(&mut self, batch: Batch, now: Instant, actions: &mut Vec<Action>) {
        let response = match &self.state {
            State::Before | State::Stopping { .. } | State::Left => return,
            State::Idle => Response::Start,
            State::Running if matches!(self.on_change, OnChange::Signal(_)) && !batch.changes.has_config() => {
                Response::Signal
            }
            State::Running if self.hosts() => Response::HandOver,
            State::Running => Response::Restart,
        };
        if response == Response::HandOver {
            self.handed_over = true;
            self.tell_changed(batch, response, actions);
            return actions.push(Action::HandOver);
        }
        if response == Response::Signal {
            self.signals.sent(batch.changes.clone(), batch.noticed_ns, now);
            self.tell_changed(batch, response, actions);
            return actions.push(Action::SignalChange);
        }
        self.reported = true;
        self.tell_changed(batch, response, actions);
        self.begin_stop(StopReason::Change, now, actions);
    }

    fn stop(&mut self, reason: StopReason, now: Instant, actions: &mut Vec<Action>) {
        self.tell_end(actions);
        actions.extend(self.queue_ended.take().map(|(exited, _)| Action::Report(exited)));
        match &mut self.state {
            State::Before | State::Running | State::Idle => self.begin_stop(reason, now, actions),
            State::Stopping { sequence, reason: current, asked_again } => {
                // A request that follows a stop of our own is the first request; only one more of them escalates.
                if current.is_our_own() && !*asked_again {
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
            State::Before | State::Running | State::Idle => {
                self.grace = self.grace.min(ABANDONED);
                self.stop(StopReason::Supervisor, now, actions);
            }
        }
        actions.push(Action::Say(sentence));
    }

    fn begin_stop(&mut self, reason: StopReason, now: Instant, actions: &mut Vec<Action>) {
        let leader_gone = matches!(self.state, State::Idle | State::Before);
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
            if matches!(report, Report::Stopping { .. }) {
                // That there will be a next child is no secret.
                actions.push(Action::Report(Report::Restarting));
            }
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
        if !self.tree_gone || (reason.starts_again() && !self.settled) {
            return;
        }
        let end = match reason {
            StopReason::NotReady => {
                self.state = State::Idle;
                return;
            }
            StopReason::Change | StopReason::Rights => ChildEnd::Reload,
            StopReason::Request | StopReason::Replaced => ChildEnd::Ended,
            StopReason::Signal | StopReason::Supervisor => ChildEnd::Failed,
        };
        actions.push(Action::Leave(end));
        self.state = State::Left;
    }
}

/// The end of a job, before it is known whether more has changed meanwhile.
fn told_early(mut report: Report) -> Action {
    if let Report::Prepared { goes_on, .. } | Report::Ran { goes_on, .. } = &mut report {
        *goes_on = true;
    }
    Action::Report(report)
}

fn goal(on_change: &OnChange) -> Goal {
    match on_change {
        OnChange::Restart => Goal::Restart,
        OnChange::Signal(_) => Goal::Signal,
        OnChange::Queue => Goal::Queue,
        OnChange::Run(_) => Goal::Run,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
