//! What the supervisor decides, without I/O and without a clock.
//!
//! The states of one generation are in [`super::life`]. Today at most one is in charge: it was told to start, and it alone
//! reads the queue. Beside it there may be one standby.
//!
//! | state of the one in charge | a stop for a change begins | child left        | command exited | asked to end   | child died     |
//! |----------------------------|----------------------------|-------------------|----------------|----------------|----------------|
//! | starting, running          | stopping, fork a standby   | next              | policy         | stop, ending   | sweep, a pause |
//! | stopping                   | -                          | next              | policy         | stop, ending   | sweep, a pause |
//! | waiting                    | stopping                   | next              | -              | stop, ending   | sweep, a pause |
//! | delayed; its time has come: stop, fork a standby, renewing | stopping | next | -              | stop, ending   | sweep, a pause |
//! | renewing                   | -                          | next              | -              | ending         | sweep, a pause |
//! | ending                     | -                          | last sweep        | -              | escalate       | sweep, end     |
//! | none, a pause              | -                          | -                 | -              | last sweep     | -              |
//!
//! *Next* starts the standby; where there is none, or it must not go on from here, it forks one first. A standby is dismissed
//! when the run ends, the one in charge dies, the config changed, or the watch state is not handed over. One that dies is
//! forgotten.

use std::time::{Duration, Instant};

use super::behind::{Behind, Said};
use super::job::{Job, Suspension};
use super::life::{Life, State};
use super::lives::Lives;
use super::signals::{Asks, Heard, Situation, asks};
pub use super::step::{Action, Input, Rules};
use super::sweep::{Remains, Sweep};
use crate::change::ChangeSet;
use crate::config::OnChange;
use crate::damping::Damping;
use crate::degraded::{Degraded, Loss};
use crate::event::{Effect, StopReason, WaitingFor, What};
use crate::exit_code::{ChildEnd, CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::signals::{Received, Signal};
use crate::os::{Errno, reason};
use crate::protocol::{Directive, Report, Response};
use crate::restart::{AfterExit, Backoff, after_exit};

/// The same signal again within this time is one request: `timeout` and many runtimes signal the process and then
/// its whole group.
const ONE_REQUEST: Duration = Duration::from_millis(200);

/// The number of the signal that a program gets whose output nobody reads.
const SIGPIPE: i32 = 13;

/// The first child is tried for until the delay between two attempts is longer than this; later ones for ever.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// The decisions of the supervisor.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    /// Whether the command is in the terminal's foreground group, so that the terminal signals it directly.
    shares_terminal: bool,
    lives: Lives,
    /// The last generation that was told to start, or that no child could be had for.
    generation: Generation,
    /// Nobody has a child: the next one comes then.
    pause: Option<Instant>,
    /// What leads to the next start.
    behind: Behind,
    /// How the run ends, once that is known.
    end: Option<(ExitCode, String)>,
    /// The sweep under way, and what follows it.
    sweep: Option<(Sweep, Afterwards)>,
    /// The stop or continuation of the whole job that is under way.
    job: Job,
    /// The last signal that asked for the end.
    asked: Option<(Signal, Instant)>,
    /// Whether a command was ever started.
    ever_ran: bool,
    /// Whether nobody reads standard output.
    unread: bool,
    said: Said,
    backoff: Backoff,
    child_backoff: Backoff,
    damping: Damping,
}

#[derive(Debug)]
enum Afterwards {
    /// This generation has lost its child; the next one follows, or the end.
    Lost { generation: Generation, loss: Loss, lived: Duration },
    /// All is over, with this code.
    Over(ExitCode),
}

impl Machine {
    /// Begins; the first child is the first action.
    pub fn begin(rules: Rules, shares_terminal: bool, now: Instant) -> (Machine, Vec<Action>) {
        let generation = Generation::FIRST;
        let mut machine = Machine {
            rules,
            shares_terminal,
            lives: Lives::default(),
            generation,
            pause: None,
            behind: Behind::default(),
            end: None,
            sweep: None,
            job: Job::default(),
            asked: None,
            ever_ran: false,
            unread: false,
            said: Said::default(),
            backoff: Backoff::new(),
            child_backoff: Backoff::new(),
            damping: Damping::default(),
        };
        machine.lives.add(Life::new(generation, State::Starting, now));
        (machine, vec![Action::Fork(generation), Action::Start(generation, ChangeSet::default())])
    }

    /// What a newly read configuration says.
    pub fn adapt(&mut self, rules: Rules) {
        self.rules = rules;
        self.damping.reset();
    }

    /// What is known of the present series of restarts.
    pub fn damping(&self) -> &Damping {
        &self.damping
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        let sweep = self.sweep.as_ref().map(|(sweep, _)| sweep.due());
        [self.lives.due(), self.pause, sweep, self.job.due()].into_iter().flatten().min()
    }

    /// Takes in what happened and says what to do. `monotonic_ns` is the same clock as a report's `noticed_ns`.
    pub fn step(&mut self, input: Input, now: Instant, monotonic_ns: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Swept(remains) => self.swept(remains, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
            // Nothing can change the end any more.
            _ if matches!(self.sweep, Some((_, Afterwards::Over(_)))) => {}
            Input::Report(generation, report) => {
                self.report(generation, report, now, monotonic_ns, &mut actions);
            }
            Input::ChildDied(generation, loss) => self.lost(generation, loss, now, &mut actions),
            Input::ForkFailed(generation, errno) => self.fork_failed(generation, errno, now, &mut actions),
            Input::ConfigMovedOn(generation) => {
                if self.lives.find(generation).is_some_and(|life| life.state == State::Starting) {
                    actions.push(Action::Dismiss(generation));
                    self.start_anew(generation, &mut actions);
                }
            }
            Input::Signal(heard) => self.signal(heard, now, &mut actions),
            Input::Beat(beat) => self.beat(beat, now, &mut actions),
            Input::Unread { all } => self.unread(all, now, &mut actions),
            Input::Seen(tree) => {
                let awaits_command = self.lives.in_charge().is_some_and(|life| life.state == State::Starting);
                actions.extend(self.job.seen(&tree, awaits_command, now).into_iter().map(Action::Job));
            }
        }
        actions
    }

    fn tell(&self, what: What) -> Action {
        Action::Tell(self.generation, what)
    }

    fn report(&mut self, of: Generation, report: Report, now: Instant, monotonic_ns: i64, actions: &mut Vec<Action>) {
        let Some(life) = self.lives.find(of) else { return };
        let tell = |what| Action::Tell(of, what);
        match report {
            Report::Started { pid } => {
                life.command_started(pid);
                self.ever_ran = true;
                actions.push(tell(self.behind.started(pid, self.rules.command.clone(), monotonic_ns)));
            }
            Report::Watching(watching) => actions.push(tell(What::Watching(watching))),
            Report::Came(files) => self.damping.came(files.paths()),
            // Put together before it comes here.
            Report::Some { .. } => {}
            Report::Changed { changes, noticed_ns, quiet, response } => {
                self.backoff.reset();
                life.keys.outlived(now);
                let action = match (response, self.rules.on_change) {
                    (Response::Signal, OnChange::Signal(signal)) => Effect::Signal(signal),
                    (Response::Signal | Response::Restart, _) => Effect::Restart,
                    (Response::Start, _) => Effect::Start,
                };
                actions.push(tell(What::Changed { changes: changes.clone(), action }));
                if response != Response::Signal {
                    life.stops_for_change();
                    if self.behind.changes.is_empty() {
                        let series = self.damping.restart(&changes, quiet);
                        actions.extend(series.map(|series| Action::TellSeries(of, series)));
                    } else {
                        self.damping.join(&changes);
                    }
                    self.behind.add(changes, noticed_ns);
                }
            }
            // It was told when the signal was sent.
            Report::Unheard { changes, noticed_ns } => {
                life.command_runs = false;
                life.stops_for_change();
                self.behind.add(changes, noticed_ns);
            }
            Report::Restarting => {
                life.stops_for_change();
                self.fork_standby(now, actions);
            }
            Report::Stopping { reason } => {
                actions.push(tell(What::Stopping { signal: self.rules.stop_signal, reason }));
                if reason == StopReason::Change {
                    life.stops_for_change();
                    self.fork_standby(now, actions);
                }
            }
            Report::StillStopping { reason, took_ns, kill_in_ns, main_ended } => {
                let signal = self.rules.stop_signal;
                let (took_ms, kill_in_ms) = (took_ns as f64 / 1e6, kill_in_ns.map(|left| left as f64 / 1e6));
                actions.push(tell(What::StillStopping { signal, reason, took_ms, kill_in_ms, main_ended }));
            }
            Report::Stopped { took_ns, killed } => {
                life.command_runs = false;
                self.behind.stopped(took_ns);
                actions.push(tell(What::Stopped { took_ms: took_ns as f64 / 1e6, killed }));
            }
            Report::Exited { status, ran_ns } => self.exited(of, status, Duration::from_nanos(ran_ns), now, actions),
            Report::Suspended { pid } => {
                if self.shares_terminal && life.is_up() {
                    self.suspend(Suspension::WithCommand(pid), now, actions);
                }
            }
            Report::Degraded(degraded) => {
                if self.said.is_news(&degraded) {
                    actions.push(tell(What::Degraded(degraded)));
                }
            }
            Report::Hint { message } => actions.push(tell(What::Hint { message })),
            Report::Advice { about, message } => {
                if self.said.is_new_advice(about) {
                    actions.push(tell(What::Hint { message }));
                }
            }
            Report::Leaving { end, hands_over } => self.left(of, end, hands_over, now, actions),
        }
    }

    fn exited(
        &mut self,
        of: Generation,
        status: CommandStatus,
        ran: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(life) = self.lives.find(of) else { return };
        life.command_runs = false;
        life.ended = Some(status.clone());
        let key = life.keys.behind(&status, self.rules.stop_timeout, now);
        if key.is_some_and(|key| status.is_of(key.number())) {
            // It has said nothing after the `^C`.
            actions.push(Action::EndLine);
        }
        let ran_ms = ran.as_secs_f64() * 1e3;
        actions.push(Action::Tell(of, What::Exited { status: status.clone(), ran_ms }));
        if !life.is_up() {
            return;
        }
        if let Some(signal) = key {
            return self.end(ExitCode::of_signal(signal.number()), format!("{signal} from the terminal"), now, actions);
        }
        if self.unread {
            return self.end(status.code(), format!("the command {status}, and nobody reads its output"), now, actions);
        }
        let waiting_for = match after_exit(self.rules.on_exit, &status, ran, &mut self.backoff) {
            AfterExit::Finish(code) => return self.end(code, format!("the command {status}"), now, actions),
            AfterExit::Wait => {
                life.state = State::Waiting;
                WaitingFor::Change
            }
            AfterExit::RestartIn(delay) => {
                life.state = State::Delayed(now + delay);
                WaitingFor::Delay(delay)
            }
        };
        actions.push(Action::Tell(of, What::Waiting(waiting_for)));
    }

    /// A child has said its last word.
    fn left(&mut self, of: Generation, end: ChildEnd, hands_over: bool, now: Instant, actions: &mut Vec<Action>) {
        let Some(state) = self.lives.find(of).map(|life| life.state) else { return };
        let is_expected = match end {
            ChildEnd::Reload => state != State::Standby,
            ChildEnd::Ended => matches!(state, State::Renewing(_)),
            ChildEnd::Failed => false,
        };
        if !is_expected && self.end.is_none() {
            return self.lost(of, Loss::Left, now, actions);
        }
        let Some(life) = self.lives.remove(of) else { return };
        if !hands_over {
            self.dismiss_standby(actions);
            actions.push(Action::ForgetWatches);
        }
        actions.push(Action::Release(life.generation));
        if let Some((code, reason)) = self.end.take() {
            self.finish(code, reason, now, actions);
        } else if end == ChildEnd::Reload && life.keys.mean_the_end() {
            let (signal, code) = (Signal::INT, ExitCode::of_signal(Signal::INT.number()));
            self.finish(code, format!("{signal} from the terminal"), now, actions);
        } else {
            if end == ChildEnd::Reload && self.behind.changes.is_empty() {
                self.damping.restart_for_nothing(now.saturating_duration_since(life.since));
            }
            self.next(now, actions);
        }
    }

    /// A child is dead, or as good as dead.
    fn lost(&mut self, generation: Generation, loss: Loss, now: Instant, actions: &mut Vec<Action>) {
        let Some(life) = self.lives.remove(generation) else { return };
        if life.state == State::Standby {
            // Another is forked when it is needed.
            return actions.push(Action::Dismiss(generation));
        }
        self.dismiss_standby(actions);
        actions.extend([Action::ForgetWatches, Action::Sweep]);
        let lived = now.saturating_duration_since(life.since);
        self.sweep = Some((Sweep::begin(now), Afterwards::Lost { generation, loss, lived }));
    }

    fn swept(&mut self, remains: Remains, now: Instant, actions: &mut Vec<Action>) {
        let Some(swept) = self.sweep.as_mut().and_then(|(sweep, _)| sweep.look(remains, now)) else { return };
        match self.sweep.take() {
            Some((_, Afterwards::Over(code))) => actions.push(Action::Finish(code)),
            Some((_, Afterwards::Lost { generation, loss, lived })) => {
                actions.extend(swept.left.map(|left| Action::Tell(generation, What::Degraded(left))));
                actions.push(Action::Release(generation));
                if let Some((code, reason)) = self.end.take() {
                    return self.finish(code, reason, now, actions);
                }
                let delay = self.child_backoff.after(lived);
                let degraded = Degraded::ChildDied { generation, loss, delay };
                actions.push(Action::Tell(generation, What::Degraded(degraded)));
                self.pause = Some(now + delay);
            }
            None => {}
        }
    }

    fn fork_failed(&mut self, generation: Generation, errno: Errno, now: Instant, actions: &mut Vec<Action>) {
        let Some(life) = self.lives.remove(generation) else { return };
        if life.state == State::Standby {
            // Tried again when it is needed, and told then.
            return;
        }
        let (delay, reason) = (self.child_backoff.after(Duration::ZERO), reason(errno));
        if !self.ever_ran && delay > FIRST_PATIENCE {
            // Nothing has ever run: whoever waits for it should know.
            let reason = format!("no child can be started: {reason}");
            return self.finish(ExitCode::OWN_FAILURE, reason, now, actions);
        }
        self.pause = Some(now + delay);
        actions.push(Action::Tell(generation, What::Degraded(Degraded::ChildNotStarted { reason, delay })));
    }

    fn signal(&mut self, heard: Heard, now: Instant, actions: &mut Vec<Action>) {
        let Received { signal, .. } = heard.received;
        let situation = Situation {
            shares_terminal: self.shares_terminal,
            command_runs: self.lives.in_charge().is_some_and(|life| life.command_runs),
            leader: self.lives.in_charge().and_then(|life| life.leader),
            child_leaves: !self.lives.in_charge().is_some_and(Life::is_up),
            ending: self.end.is_some(),
        };
        match asks(heard, situation) {
            Asks::Nothing => {}
            Asks::PassOn => {
                let directive = Directive::Signal { number: signal.number() };
                actions.extend(self.lives.in_charge().map(|life| Action::Send(life.generation, directive)));
            }
            Asks::LookLater => {
                if let Some(life) = self.lives.in_charge_mut() {
                    life.may_be_stuck(now);
                }
            }
            Asks::Stop(how) => self.suspend(how, now, actions),
            Asks::Continue => {
                actions.extend(self.job.go_on(self.shares_terminal, now).into_iter().map(Action::Job));
            }
            Asks::Key => {
                let Some(life) = self.lives.in_charge_mut() else { return };
                let generation = life.generation;
                if life.keys.pressed(signal, now) {
                    let reason = format!("{signal} from the terminal, twice");
                    self.end(ExitCode::of_signal(signal.number()), reason, now, actions);
                    // The command has had its chance.
                    actions.push(Action::Send(generation, Directive::Stop));
                }
            }
            Asks::End { shown } => {
                let before = self.asked.replace((signal, now));
                if before.is_some_and(|(last, at)| last == signal && now < at + ONE_REQUEST) {
                    return;
                }
                if shown {
                    actions.push(Action::EndLine);
                }
                self.end(ExitCode::of_signal(signal.number()), signal.to_string(), now, actions);
            }
        }
    }

    fn suspend(&mut self, how: Suspension, now: Instant, actions: &mut Vec<Action>) {
        actions.extend(self.job.suspend(how, self.shares_terminal, now).into_iter().map(Action::Job));
    }

    /// Nobody reads what the command says: when it has ended, there is nothing more to wait for. If nobody reads what we
    /// say either, nobody would ever know that anything runs.
    fn unread(&mut self, all: bool, now: Instant, actions: &mut Vec<Action>) {
        self.unread = true;
        if self.end.is_some() {
            return;
        }
        match self.lives.in_charge().filter(|life| life.is_up()).and_then(|life| life.ended.as_ref()) {
            Some(status) => {
                let (code, reason) = (status.code(), format!("the command {status}, and nobody reads its output"));
                self.end(code, reason, now, actions);
            }
            None if all => self.end(ExitCode::of_signal(SIGPIPE), "nobody reads its output".to_owned(), now, actions),
            None => {}
        }
    }

    fn beat(&mut self, beat: Beat, now: Instant, actions: &mut Vec<Action>) {
        match beat {
            Beat::Steady => self.said.beat_failed = false,
            Beat::Removed if self.end.is_none() => {
                self.end(ExitCode::SUCCESS, "the lockfile was removed".to_owned(), now, actions);
            }
            Beat::Removed | Beat::Missed => {}
            Beat::Failed(errno) => {
                if !std::mem::replace(&mut self.said.beat_failed, true) {
                    let degraded = Degraded::LockfileNotTouched { reason: reason(errno) };
                    actions.push(self.tell(What::Degraded(degraded)));
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.sweep.as_ref().is_some_and(|(sweep, _)| sweep.due() <= now) {
            actions.push(Action::Sweep);
        }
        if matches!(self.sweep, Some((_, Afterwards::Over(_)))) {
            return;
        }
        actions.extend(self.job.tick(now).into_iter().map(Action::Job));
        if self.pause.take_if(|until| *until <= now).is_some() {
            return self.next(now, actions);
        }
        let stop_timeout = self.rules.stop_timeout;
        let Some(life) = self.lives.in_charge_mut() else { return };
        let generation = life.generation;
        let stuck = life.stuck(now);
        match life.state {
            State::Delayed(at) if at <= now => {
                life.leaves(State::Renewing, stop_timeout, now);
                actions.push(Action::Send(generation, Directive::Stop));
                self.fork_standby(now, actions);
            }
            State::Renewing(hangs_at) | State::Ending(hangs_at) if hangs_at <= now => {
                self.lost(generation, Loss::NoAnswer, now, actions);
            }
            _ => {}
        }
        if let Some(pid) = stuck {
            self.suspend(Suspension::WithStuck(pid), now, actions);
        }
    }

    /// The next child is forked while the present one stops.
    fn fork_standby(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // A new config means a new child.
        if self.lives.has_standby() || self.end.is_some() || self.behind.changes.has_config() {
            return;
        }
        let generation = self.generation.next();
        self.lives.add(Life::new(generation, State::Standby, now));
        actions.push(Action::Fork(generation));
    }

    fn dismiss_standby(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.lives.take_standby().map(|life| Action::Dismiss(life.generation)));
    }

    /// Starts the next generation.
    fn next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.generation = self.generation.next();
        let generation = self.generation;
        let reads_config = self.behind.changes.has_config();
        if reads_config {
            self.dismiss_standby(actions);
            self.said.forget();
        }
        let standby = self.lives.take_standby();
        self.lives.add(Life::new(generation, State::Starting, now));
        if reads_config {
            return self.start_anew(generation, actions);
        }
        if standby.is_none() {
            actions.push(Action::Fork(generation));
        }
        actions.push(Action::Start(generation, self.behind.changes.clone()));
    }

    /// Starts a generation with a config that is read for it, and with a watch state of its own.
    fn start_anew(&mut self, generation: Generation, actions: &mut Vec<Action>) {
        actions.extend([Action::ForgetWatches, Action::ReadConfig(generation), Action::Fork(generation)]);
        actions.push(Action::Start(generation, self.behind.changes.clone()));
    }

    /// Ends everything; asked once more, it ends it with KILL.
    fn end(&mut self, code: ExitCode, reason: String, now: Instant, actions: &mut Vec<Action>) {
        self.job.give_up_stopping();
        let stop_timeout = self.rules.stop_timeout;
        self.dismiss_standby(actions);
        if self.sweep.is_some() {
            // It is bounded, and the end follows it.
            self.end.get_or_insert((code, reason));
        } else if let Some(life) = self.lives.in_charge_mut() {
            let generation = life.generation;
            match life.state {
                // It has been told already, and a second time would mean KILL.
                State::Renewing(hangs_at) => life.state = State::Ending(hangs_at),
                State::Ending(_) => {
                    life.leaves_soon(now);
                    actions.push(Action::Send(generation, Directive::Stop));
                }
                _ => {
                    life.leaves(State::Ending, stop_timeout, now);
                    actions.push(Action::Send(generation, Directive::Stop));
                }
            }
            self.end.get_or_insert((code, reason));
        } else {
            self.finish(code, reason, now, actions);
        }
    }

    fn finish(&mut self, code: ExitCode, reason: String, now: Instant, actions: &mut Vec<Action>) {
        self.dismiss_standby(actions);
        (self.pause, self.job) = (None, Job::Idle);
        actions.extend([self.tell(What::Finished { code, reason }), Action::Sweep]);
        self.sweep = Some((Sweep::begin(now), Afterwards::Over(code)));
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
