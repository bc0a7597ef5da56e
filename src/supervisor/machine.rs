//! What the supervisor decides, without I/O and without a clock.
//!
//! The states of one generation are in [`super::life`]. The newest one was told to start last, and it alone reads the queue.
//! Beside it there may be one standby.
//!
//! | state of the newest        | a stop for a change begins | child left        | command exited | asked to end   | child died     |
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
//! when the run ends, the newest dies, the config changed, or the watch state is not handed over. One that dies is forgotten.
//!
//! With `--overlap`, a child whose command is ready does not stop it for a change. It hands the watching over and hosts its
//! command, while the next generation starts beside it:
//!
//! | the newest         | its command is ready | its command exited, or is not ready in time | the host's command exited | a child died        |
//! |--------------------|----------------------|---------------------------------------------|---------------------------|---------------------|
//! | alone, ready       | -                    | policy                                      | -                         | as above            |
//! | alone, not ready   | told                 | policy; it runs on                          | -                         | as above            |
//! | beside a host      | told, host: retire   | told, its command ends, it waits            | host: retire              | only that tree ends |
//! | the same, it waits | the same             | -                                           | host: retire, policy      | only that tree ends |
//!
//! *Retire*: the child ends its command and leaves, and nothing follows. A newest that is not ready stops for a change as
//! without `--overlap`, and the host stays. `reloadrun restart` has one that is ready hand over as a change does. A host whose
//! command may not be traced ends it and leaves; if the newest has failed, another one follows. An end is asked of everyone, and
//! comes when the last one has left.

use std::time::{Duration, Instant};

use super::job::{Job, Suspension};
use super::life::{Life, Readiness, State, Work};
use super::signals::{Asks, Heard, Situation, asks};
pub use super::step::{Action, Input, Rules};
use super::succession::Succession;
use super::wishes::{Consequence, Wishes, restart};
use crate::config::OnChange;
use crate::damping::Damping;
use crate::degraded::{Degraded, Loss};
use crate::event::{Cause, Effect, StopReason, WaitingFor, What};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::reason;
use crate::os::signals::{Received, Signal};
use crate::protocol::{Carried, Directive, Report, Response};
use crate::restart::{AfterExit, Backoff, after_exit};

/// The same signal again within this time is one request: `timeout` and many runtimes signal the process and then
/// its whole group.
const ONE_REQUEST: Duration = Duration::from_millis(200);

/// The number of the signal that a program gets whose output nobody reads.
const SIGPIPE: i32 = 13;

/// The decisions of the supervisor.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    /// Whether the command is in the terminal's foreground group, so that the terminal signals it directly.
    shares_terminal: bool,
    succession: Succession,
    /// The stop or continuation of the whole job that is under way.
    job: Job,
    /// The last signal that asked for the end.
    asked: Option<(Signal, Instant)>,
    /// Whether nobody reads standard output.
    unread: bool,
    /// What clients and keys asked for.
    wishes: Wishes,
    backoff: Backoff,
    /// Whether the command may be traced.
    traces: bool,
    /// Whether HUP is a service manager's word for a reload.
    reloads_on_hup: bool,
}

impl Machine {
    /// Begins; the first child is the first action.
    pub fn begin(rules: Rules, shares_terminal: bool, now: Instant) -> (Machine, Vec<Action>) {
        let (succession, first) = Succession::begin(rules.overlaps, now);
        let machine = Machine {
            rules,
            shares_terminal,
            succession,
            job: Job::default(),
            asked: None,
            unread: false,
            wishes: Wishes::default(),
            backoff: Backoff::new(),
            traces: true,
            reloads_on_hup: false,
        };
        (machine, first)
    }

    /// HUP is a service manager's word for a reload, and not the end of a terminal.
    pub fn reload_on_hup(&mut self, reloads: bool) {
        self.reloads_on_hup = reloads;
    }

    /// What a newly read configuration says.
    pub fn adapt(&mut self, rules: Rules) {
        // Another command may be traced.
        self.traces |= self.rules.command != rules.command;
        self.rules = rules;
        self.wishes.rejected = None;
        self.succession.damping.reset();
    }

    /// The configuration in this file cannot be used, and the one before stays in force.
    pub fn reject(&mut self, path: String) {
        self.wishes.rejected = Some(path);
    }

    /// What is known of the present series of restarts.
    pub fn damping(&self) -> &Damping {
        &self.succession.damping
    }

    /// Whether changes are collected, and lead to nothing.
    pub fn is_paused(&self) -> bool {
        self.wishes.is_paused()
    }

    /// Whether the end has been asked for.
    pub fn is_ending(&self) -> bool {
        self.succession.is_ending()
    }

    /// What the child before has left to do.
    pub fn carried(&self) -> &Carried {
        &self.succession.carried
    }

    /// Whether the command may be traced.
    pub fn traces(&self) -> bool {
        self.traces
    }

    /// Whether the command of the newest generation is ready.
    pub fn readiness(&self) -> Readiness {
        match self.succession.lives.newest() {
            _ if !self.rules.probes => Readiness::Unknown,
            Some(newest) => newest.readiness,
            None => Readiness::NotYet,
        }
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        let job = self.job.due().filter(|_| !self.succession.is_over());
        self.succession.due().into_iter().chain(job).min()
    }

    /// Takes in what happened and says what to do. `monotonic_ns` is the same clock as a report's `noticed_ns`.
    pub fn step(&mut self, input: Input, now: Instant, monotonic_ns: i64) -> Vec<Action> {
        let (mut actions, stop_timeout) = (Vec::new(), self.rules.stop_timeout);
        match input {
            Input::Swept(remains) => self.succession.swept(remains, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
            // Nothing can change the end any more.
            _ if self.succession.is_over() => {}
            Input::Report(generation, report) => {
                self.report(generation, report, now, monotonic_ns, &mut actions);
            }
            Input::ChildDied(generation, loss) => self.succession.lost(generation, loss, now, &mut actions),
            Input::ForkFailed(generation, errno) => self.succession.fork_failed(generation, errno, now, &mut actions),
            Input::ConfigMovedOn(generation) => self.succession.config_moved_on(generation, &mut actions),
            Input::Signal(heard) => self.signal(heard, now, &mut actions),
            Input::Beat(beat) => self.beat(beat, now, &mut actions),
            Input::Unread { all } => self.unread(all, now, &mut actions),
            Input::Asked { client, request, from_tree } => {
                let asked = (client, request, from_tree);
                let consequence = self.wishes.asked(asked, &mut self.succession, stop_timeout, now, &mut actions);
                self.follow(consequence, now, &mut actions);
            }
            Input::ClientGone(client) => self.wishes.forget(client),
            Input::Key(key) => {
                let consequence = self.wishes.key(key, &mut self.succession, stop_timeout, now, &mut actions);
                self.follow(consequence, now, &mut actions);
            }
            Input::Seen(tree) => {
                let awaits_command = self.succession.lives.newest().is_some_and(|life| life.state == State::Starting);
                actions.extend(self.job.seen(&tree, awaits_command, now).into_iter().map(Action::Job));
            }
        }
        self.succession.sweep_if_due(&mut actions);
        self.wishes.answer(&self.succession, self.readiness(), &mut actions);
        actions
    }

    fn report(&mut self, of: Generation, report: Report, now: Instant, monotonic_ns: i64, actions: &mut Vec<Action>) {
        let Some(life) = self.succession.lives.find(of) else { return };
        let tell = |what| Action::Tell(of, what);
        match report {
            Report::Started { pid } => {
                life.command_started(pid);
                self.succession.ever_ran = true;
                actions.push(tell(self.succession.behind.started(pid, self.rules.command.clone(), monotonic_ns)));
            }
            Report::Watching(watching) => {
                if !self.rules.has_command {
                    life.prepares();
                    self.succession.ever_ran = true;
                }
                actions.push(tell(What::Watching(watching)));
            }
            Report::Discovered(discovered) => actions.push(tell(What::Discovered(discovered))),
            Report::Came(files) => self.succession.damping.came(files.paths()),
            // Put together before it comes here.
            Report::Some { .. } => {}
            Report::Changed { changes, response: Response::Browsers, .. } => {
                actions.push(tell(What::Changed { changes, action: Effect::Browser }));
            }
            Report::Changed { changes, noticed_ns, quiet, response } => {
                self.backoff.reset();
                life.keys.outlived(now);
                let action = match (response, &self.rules.on_change) {
                    (Response::Signal, OnChange::Signal(signal)) => Effect::Signal(*signal),
                    (Response::Signal | Response::Restart | Response::HandOver, _) => Effect::Restart,
                    (Response::Start, _) => Effect::Start,
                    (Response::Queue, _) => Effect::Queue,
                    (Response::Run, _) => Effect::Run,
                    (Response::Browsers, _) => Effect::Browser,
                };
                actions.push(tell(What::Changed { changes: changes.clone(), action }));
                if let Effect::Signal(signal) = action {
                    life.is_signalled(signal, self.rules.answers_signals);
                }
                match response {
                    Response::Signal => life.work = Work::Nothing,
                    Response::Queue => life.work = Work::UnderWay,
                    Response::Run => {
                        life.work = Work::UnderWay;
                        self.succession.count(of, &changes, quiet, actions);
                    }
                    Response::Browsers => {}
                    Response::HandOver => self.succession.is_behind(of, changes, noticed_ns, quiet, actions),
                    Response::Restart | Response::Start => {
                        life.stops_for_change();
                        self.succession.is_behind(of, changes, noticed_ns, quiet, actions);
                    }
                }
            }
            Report::Preparing { changes, quiet, first } => {
                life.prepares();
                life.work = Work::UnderWay;
                actions.push(tell(What::Preparing { changes: changes.clone() }));
                if !first {
                    self.succession.count(of, &changes, quiet, actions);
                    self.succession.is_counted = true;
                }
            }
            Report::Starting { changes } => {
                life.command_starts();
                self.succession.behind.changes = changes;
            }
            // The command does not have it yet.
            Report::Prepared { status: CommandStatus::Exited(0), ran_ns, told, .. } => {
                let what = What::Prepared { ran_ms: ran_ns as f64 / 1e6 };
                actions.extend((!told).then(|| tell(what)));
            }
            Report::Prepared { status, ran_ns, nothing_runs, goes_on, told } => {
                if !goes_on {
                    life.work = Work::Unprepared(status.clone());
                }
                let (ran_ms, command_runs) = (ran_ns as f64 / 1e6, life.command_runs);
                let what = What::PrepareFailed { status: status.clone(), ran_ms, command_runs };
                actions.extend((!told).then(|| tell(what)));
                let is_up = life.is_up();
                if nothing_runs
                    && is_up
                    && !self.stays_instead(of, format!("could not be prepared ({status})"), actions)
                {
                    self.policy(of, "the preparation", &status, Duration::from_nanos(ran_ns), now, actions);
                }
            }
            Report::Ran { status, ran_ns, goes_on } => {
                if !goes_on {
                    life.work = Work::Ran(status.clone());
                }
                actions.push(tell(What::Ran { status, ran_ms: ran_ns as f64 / 1e6 }));
            }
            // They were told when they came.
            Report::Dequeued { changes, noticed_ns, quiet } => {
                life.stops_for_change();
                self.succession.is_behind(of, changes, noticed_ns, quiet, actions);
            }
            // It was told when the signal was sent.
            Report::Unheard { changes, noticed_ns } => {
                life.command_runs = false;
                life.stops_for_change();
                self.succession.behind.add(changes, noticed_ns);
            }
            Report::Restarting => {
                life.stops_for_change();
                self.succession.fork_standby(now, actions);
            }
            Report::Stopping { reason } => {
                actions.push(tell(What::Stopping { signal: self.rules.stop_signal, reason }));
                if reason == StopReason::Rights {
                    self.succession.behind.because(Cause::Rights);
                }
                if reason.starts_again() {
                    life.stops_for_change();
                    self.succession.fork_standby(now, actions);
                }
            }
            Report::StillStopping { reason, took_ns, kill_in_ns, main_ended } => {
                let signal = self.rules.stop_signal;
                let (took_ms, kill_in_ms) = (took_ns as f64 / 1e6, kill_in_ns.map(|left| left as f64 / 1e6));
                actions.push(tell(What::StillStopping { signal, reason, took_ms, kill_in_ms, main_ended }));
            }
            Report::Stopped { took_ns, killed } => {
                life.command_runs = false;
                if life.state != State::Hosting && !matches!(life.state, State::Retiring(_)) {
                    self.succession.behind.stopped(took_ns);
                }
                actions.push(tell(What::Stopped { took_ms: took_ns as f64 / 1e6, killed }));
            }
            Report::Exited { status, ran_ns, again } => {
                self.exited(of, status, Duration::from_nanos(ran_ns), again, now, actions);
            }
            Report::Suspended { pid } => {
                if self.shares_terminal && life.is_up() {
                    self.suspend(Suspension::WithCommand(pid), now, actions);
                }
            }
            Report::Digest { digest, files } => actions.push(tell(What::Digest { digest, files })),
            Report::Postponed { path, delay } => {
                actions.push(tell(What::Postponed { path, delay_ms: delay.as_secs_f64() * 1e3 }));
            }
            Report::MainProcess { pid } => actions.push(tell(What::MainProcess { pid })),
            Report::Degraded(Degraded::NotReady { timeout, reason }) => {
                life.is_not_ready_in_time();
                let shown = humantime::format_duration(timeout);
                let how = format!("was not ready after {shown} ({reason}), so it is ended");
                if !self.stays_instead(of, how, actions) {
                    actions.push(tell(What::Degraded(Degraded::NotReady { timeout, reason })));
                }
            }
            Report::Degraded(degraded) => {
                if matches!(degraded, Degraded::SignalRefused { .. }) {
                    life.was_not_reached();
                }
                if self.succession.said.is_news(&degraded) {
                    actions.push(tell(What::Degraded(degraded)));
                }
            }
            Report::Untraced(degraded) => {
                self.traces = false;
                if self.succession.said.is_news(&degraded) {
                    actions.push(tell(What::Degraded(degraded)));
                }
            }
            Report::Reloading { answers } => {
                life.reloads(answers);
                let signal = answers.and(life.signalled).map(|sent| sent.signal);
                actions.push(tell(What::Reloading { signal }));
            }
            Report::Unanswered { number } => life.does_not_answer(number),
            Report::Ready(ready) => {
                life.is_ready(ready);
                let is_up = life.is_up();
                let after_ms = ready.after.as_secs_f64() * 1e3;
                actions.push(tell(What::Ready { after_ms, reload: ready.reload }));
                if is_up && of == self.succession.generation {
                    self.succession.retire_host(self.rules.stop_timeout, now, actions);
                }
            }
            Report::HandedOver { whole, carried } => {
                self.succession.carried = carried;
                self.succession.handed_over(of, whole, self.rules.stop_timeout, now, actions);
            }
            Report::Status { message } => actions.push(tell(What::Status { message })),
            Report::Hint { message } => actions.push(tell(What::Hint { message })),
            Report::Advice { about, message } => {
                if self.succession.said.is_new_advice(about) {
                    actions.push(tell(What::Hint { message }));
                }
            }
            // Nobody has asked.
            Report::Passed { id } => self.wishes.passed(of, id),
            Report::Recalled { known } => self.wishes.recalled(of, &known, actions),
            Report::Leaving { end, hands_over, carried } => {
                if of == self.succession.generation {
                    self.succession.carried = carried;
                }
                self.succession.left(of, (end, hands_over), self.rules.stop_timeout, now, actions);
            }
        }
    }

    fn exited(
        &mut self,
        of: Generation,
        status: CommandStatus,
        ran: Duration,
        again: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(life) = self.succession.lives.find(of) else { return };
        life.command_ended(status.clone());
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
        if life.state == State::Hosting {
            self.succession.retire_host(self.rules.stop_timeout, now, actions);
            // Nothing runs any more where the newest has failed. Else that one may become ready.
            let failed = self.succession.lives.newest().filter(|newest| newest.state == State::Waiting);
            if let Some(generation) = failed.map(|newest| newest.generation) {
                self.policy(generation, "the command", &status, ran, now, actions);
            }
            return;
        }
        if self.stays_instead(of, format!("{status} before it was ready"), actions) {
            return actions.push(Action::NameListen(of));
        }
        if let Some(signal) = key {
            return self.end(ExitCode::of_signal(signal.number()), format!("{signal} from the terminal"), now, actions);
        }
        if again && !self.unread {
            if let Some(life) = self.succession.lives.find(of) {
                life.stops_for_change();
            }
            return self.succession.fork_standby(now, actions);
        }
        self.policy(of, "the command", &status, ran, now, actions);
    }

    /// What the end of a command leads to, or of the preparation before it, where nothing else runs.
    fn policy(
        &mut self,
        of: Generation,
        who: &str,
        status: &CommandStatus,
        ran: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.unread {
            return self.end(status.code(), format!("{who} {status}, and nobody reads its output"), now, actions);
        }
        let after = after_exit(self.rules.on_exit, status, ran, &mut self.backoff);
        let Some(life) = self.succession.lives.find(of) else { return };
        let waiting_for = match after {
            AfterExit::Finish(code) => return self.end(code, format!("{who} {status}"), now, actions),
            AfterExit::Wait => {
                life.state = State::Waiting;
                WaitingFor::Change
            }
            AfterExit::RestartIn(delay) => {
                let well = status.code() == ExitCode::SUCCESS;
                self.succession.behind.because(if well { Cause::Exit } else { Cause::Crash });
                life.state = State::Delayed(now + delay);
                WaitingFor::Delay(delay)
            }
        };
        actions.push(Action::Tell(of, What::Waiting(waiting_for)));
    }

    /// Where the command is not ready, and one before it runs on, that one stays: then this one only watches from here on.
    fn stays_instead(&mut self, of: Generation, how: String, actions: &mut Vec<Action>) -> bool {
        let Some(stays) = self.succession.lives.host().map(|host| host.generation) else { return false };
        let Some(life) = self.succession.lives.newest_mut().filter(|newest| newest.generation == of) else {
            return false;
        };
        if !matches!(life.state, State::Starting | State::Running) || matches!(life.readiness, Readiness::Ready(_)) {
            return false;
        }
        life.state = State::Waiting;
        let degraded = Degraded::NotReplaced { generation: of, how, stays };
        actions.extend([Action::Tell(of, What::Degraded(degraded)), Action::Send(of, Directive::EndCommand)]);
        true
    }

    fn signal(&mut self, heard: Heard, now: Instant, actions: &mut Vec<Action>) {
        let Received { signal, .. } = heard.received;
        let serving = self.succession.lives.serving();
        let situation = Situation {
            shares_terminal: self.shares_terminal,
            command_runs: serving.is_some_and(|life| life.command_runs),
            leader: serving.and_then(|life| life.leader),
            child_leaves: !serving.is_some_and(Life::is_up),
            ending: self.succession.is_ending(),
            reloads_on_hup: self.reloads_on_hup,
        };
        match asks(heard, situation) {
            Asks::Nothing => {}
            Asks::PassOn => {
                let directive = Directive::Signal { number: signal.number() };
                actions.extend(self.succession.lives.serving().map(|life| Action::Send(life.generation, directive)));
            }
            Asks::LookLater => {
                if let Some(life) = self.succession.lives.serving_mut() {
                    life.may_be_stuck(now);
                }
            }
            Asks::Stop(how) => self.suspend(how, now, actions),
            Asks::Continue => {
                actions.extend(self.job.go_on(self.shares_terminal, now).into_iter().map(Action::Job));
            }
            Asks::Key => {
                let Some(life) = self.succession.lives.serving_mut() else { return };
                let generation = life.generation;
                if life.keys.pressed(signal, now) {
                    let reason = format!("{signal} from the terminal, twice");
                    self.end(ExitCode::of_signal(signal.number()), reason, now, actions);
                    // The command has had its chance.
                    actions.push(Action::Send(generation, Directive::Stop));
                }
            }
            Asks::Restart => {
                restart(&mut self.succession, self.rules.stop_timeout, now, actions);
                self.backoff.reset();
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

    fn follow(&mut self, consequence: Consequence, now: Instant, actions: &mut Vec<Action>) {
        match consequence {
            Consequence::Nothing => {}
            Consequence::Restart => self.backoff.reset(),
            Consequence::End(reason) => self.end(ExitCode::SUCCESS, reason.to_owned(), now, actions),
        }
    }

    fn suspend(&mut self, how: Suspension, now: Instant, actions: &mut Vec<Action>) {
        actions.extend(self.job.suspend(how, self.shares_terminal, now).into_iter().map(Action::Job));
    }

    /// Nobody reads what the command says: when it has ended, there is nothing more to wait for. If nobody reads what we
    /// say either, nobody would ever know that anything runs.
    fn unread(&mut self, all: bool, now: Instant, actions: &mut Vec<Action>) {
        self.unread = true;
        if self.succession.is_ending() {
            return;
        }
        match self.succession.lives.serving().filter(|life| life.is_up()).and_then(|life| life.ended.as_ref()) {
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
            Beat::Steady => self.succession.said.beat_failed = false,
            Beat::Removed if !self.succession.is_ending() => {
                self.end(ExitCode::SUCCESS, "the lockfile was removed".to_owned(), now, actions);
            }
            Beat::Removed | Beat::Missed => {}
            Beat::Failed(errno) => {
                if !std::mem::replace(&mut self.succession.said.beat_failed, true) {
                    let degraded = Degraded::LockfileNotTouched { reason: reason(errno) };
                    actions.push(Action::Tell(self.succession.generation, What::Degraded(degraded)));
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.succession.tick(now, actions);
        if self.succession.is_over() {
            return;
        }
        actions.extend(self.job.tick(now).into_iter().map(Action::Job));
        for generation in self.succession.lives.generations() {
            self.tick_of(generation, now, actions);
        }
    }

    fn tick_of(&mut self, generation: Generation, now: Instant, actions: &mut Vec<Action>) {
        let Some(life) = self.succession.lives.find(generation) else { return };
        let stuck = life.stuck(now);
        match life.state {
            State::Delayed(at) if at <= now => {
                self.succession.renew(self.rules.stop_timeout, now, actions);
            }
            State::Renewing(hangs_at) | State::Retiring(hangs_at) | State::Ending(hangs_at) if hangs_at <= now => {
                self.succession.lost(generation, Loss::NoAnswer, now, actions);
            }
            _ => {}
        }
        if let Some(pid) = stuck {
            self.suspend(Suspension::WithStuck(pid), now, actions);
        }
    }

    /// Ends everything; asked once more, it ends it with KILL.
    fn end(&mut self, code: ExitCode, reason: String, now: Instant, actions: &mut Vec<Action>) {
        self.job.give_up_stopping();
        self.succession.end(code, reason, self.rules.stop_timeout, now, actions);
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
