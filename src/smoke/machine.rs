//! What a smoke run decides, without I/O and without a clock.
//!
//! | state     | what is awaited                               | what follows                                            |
//! |-----------|-----------------------------------------------|---------------------------------------------------------|
//! | starting  | the first generation is ready                 | the first reload, or the pause                          |
//! | asking    | a first request is answered (held sockets)    | the file is touched: reloading                          |
//! | reloading | another generation is ready                   | the next reload, or the pause                           |
//! | pausing   | changes lead to nothing any more              | a look at who listens; the check                        |
//! | checking  | the end of the check                          | a look at who listens; ending                           |
//! | confirming| how the server ended, which is dead           | ending                                                  |
//! | ending    | the ends of the check and of the run          | a look at what is left; done                            |
//!
//! Before the start, somebody who answers at the probe's address ends it at once. In every state before *ending*, a signal and
//! the deadline end all of it, and so does the server's own end, except that the check may come to its end within
//! [`LAST_WORDS`]: what it reports is worth it, and its exit code counts.

use std::time::{Duration, Instant};

use super::step::{Action, CommandStatusText, Input, News, Plan, Pressure, SERVER, Sight, Step, Verdict};
use crate::event::What;
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::verdict::Reason;

/// When the server is gone, the check may go on for so long.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

/// So long the watcher may take to notice what was touched, beside its interval and the debounce.
const NOTICE: Duration = Duration::from_secs(10);

/// So long after the check's end the server is looked at: what the check has led to needs a moment.
const SETTLE: Duration = Duration::from_millis(100);

/// A dead server's end is told within this time.
const CONFIRM: Duration = Duration::from_secs(2);

/// The same signal again within this time is one request: `timeout` signals the process and then its whole group.
const ONE_REQUEST: Duration = Duration::from_millis(200);

/// What is left of a stop that takes longer than it may is asked again, and then killed, after this time each.
const IMPATIENCE: Duration = Duration::from_millis(1000);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing has been started.
    Before,
    Starting,
    Asking(usize),
    Reloading {
        index: usize,
        from: Generation,
        /// When the watcher must have noticed it; `None` once it has.
        notice_by: Option<Instant>,
        touched: Instant,
        /// Whether the next generation is ready.
        ready: bool,
        /// Whether the one before is gone.
        replaced: bool,
    },
    Pausing {
        paused: bool,
        looked: bool,
    },
    Checking {
        /// The server has ended: so long the check may go on.
        until: Option<Instant>,
        /// The check has ended: then the server is looked at.
        look_at: Option<Instant>,
    },
    Confirming(Instant),
    Ending {
        asked: Option<Instant>,
        pressure: Pressure,
        looks: bool,
    },
    Done,
}

/// The decisions of a smoke run.
#[derive(Debug)]
pub struct Machine {
    plan: Plan,
    state: State,
    deadline: Instant,
    generation: Generation,
    /// The generation that is ready, as long as it is.
    ready: Option<Generation>,
    failure: Option<(Reason, String)>,
    /// The last signal that asked for the end.
    asked: Option<(Signal, Instant)>,
    /// The exit code that stands above all others.
    code: Option<ExitCode>,
    /// The code of the command's own end.
    command: Option<ExitCode>,
    /// The sockets by which the server was reached when the check began.
    sockets: Vec<u64>,
    /// The check's own end. One that we ended has none.
    check: Option<CommandStatus>,
    check_runs: bool,
    check_is_ended: bool,
    run_runs: bool,
    /// Whether the run has begun to stop the server, as it was asked to.
    stopping: bool,
    /// Whether the check itself has let changes lead to something again.
    resumed: bool,
    steps: Vec<Step>,
    step_began: Instant,
}

impl Machine {
    /// Begins; nothing has been started.
    pub fn begin(plan: Plan, now: Instant) -> (Machine, Vec<Action>) {
        let deadline = now + plan.deadline;
        let step = |name: String| Step { name, took: Duration::ZERO, passed: None };
        let names = ["the port is free".to_owned(), "the server is ready".to_owned()].into_iter();
        let reloads = plan.reloads.iter().map(|path| format!("a change of {path} leads to a new generation"));
        let rest = ["the check succeeds".to_owned(), "nothing is left".to_owned()];
        let steps = names.chain(reloads).chain(rest).map(step).collect();
        let machine = Machine {
            plan,
            state: State::Before,
            deadline,
            generation: Generation::FIRST,
            ready: None,
            failure: None,
            asked: None,
            code: None,
            command: None,
            sockets: Vec::new(),
            check: None,
            check_runs: false,
            check_is_ended: false,
            run_runs: false,
            stopping: false,
            resumed: false,
            steps,
            step_began: now,
        };
        (machine, vec![Action::Look])
    }

    /// The generation that was started last.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What is to be shown.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether anything was started: before that, the address is somebody else's affair.
    pub fn has_started(&self) -> bool {
        self.steps[0].passed == Some(true)
    }

    /// When it wants a tick.
    pub fn due(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Reloading { notice_by, .. } => *notice_by,
            State::Checking { until, look_at } => look_at.or(*until),
            State::Confirming(until) => Some(*until),
            State::Ending { asked, pressure, .. } => asked.map(|asked| asked + self.patience(*pressure)),
            State::Before | State::Starting | State::Asking(_) | State::Pausing { .. } | State::Done => None,
        };
        let deadline = (!self.is_ending()).then_some(self.deadline);
        own.into_iter().chain(deadline).min()
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. } | State::Done)
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::News(generation, news) => self.news(generation, news, now, &mut actions),
            Input::Seen(sight) => self.seen(sight, now, &mut actions),
            Input::Answered => self.touch(now, &mut actions),
            Input::AllAnswered(count) => self.proven(Some(count), now, &mut actions),
            Input::RequestFailed(how) => {
                if !self.is_ending() {
                    let message = format!("a request failed while a new generation started: {how}");
                    self.fail(Reason::ReloadFailed, message, now, &mut actions);
                }
            }
            Input::NoPause => self.paused(&mut actions),
            Input::CheckEnded(status, ran) => self.check_ended(status, ran, now, &mut actions),
            Input::RunEnded(status, said) => self.run_ended(status, said, now, &mut actions),
            Input::Left(left) => self.left(left, now, &mut actions),
            Input::Broken(why) => {
                self.code.get_or_insert(ExitCode::OWN_FAILURE);
                self.fail(Reason::OwnFailure, why, now, &mut actions);
            }
            Input::Signal(signal) => self.signal(signal, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    fn news(&mut self, of: Generation, news: News, now: Instant, actions: &mut Vec<Action>) {
        match news {
            News::Started => {
                self.generation = self.generation.max(of);
                self.ready = None;
            }
            News::Ready => {
                self.ready = Some(of);
                self.became_ready(of, now, actions);
            }
            News::Stopping => self.stopping = true,
            News::Stopped => {
                if let State::Reloading { from, replaced, .. } = &mut self.state
                    && of == *from
                {
                    *replaced = true;
                    self.is_replaced(now, actions);
                }
            }
            News::Paused => self.paused(actions),
            News::Resumed => self.resumed |= matches!(self.state, State::Checking { .. }),
            News::NotReady(message) => {
                if matches!(self.state, State::Starting | State::Reloading { .. } | State::Pausing { .. }) {
                    self.fail(Reason::NotReady, message, now, actions);
                }
            }
            News::Foreign(message) => {
                if !self.is_ending() {
                    self.fail(Reason::PortTaken, message, now, actions);
                }
            }
            News::Restarts(what) => match &mut self.state {
                State::Reloading { notice_by, .. } => *notice_by = None,
                State::Checking { .. } if !self.resumed => {
                    let message = format!("the server was restarted during the check, because {what}");
                    self.died_during_check(message, now, actions);
                }
                _ => {}
            },
            News::Ended(what, CommandStatusText { words, code }) => {
                self.ready = None;
                // The answer to a stop is another event.
                let by_itself =
                    !self.is_ending() || (!self.stopping && self.failure.is_none() && self.state != State::Done);
                if !by_itself {
                    return;
                }
                if code != ExitCode::SUCCESS {
                    self.command.get_or_insert(code);
                }
                match &mut self.state {
                    State::Checking { .. } | State::Confirming(_) => {
                        self.died_during_check(format!("{what} {words} during the check"), now, actions);
                    }
                    State::Ending { .. } => {
                        let check = self.steps.len() - 2;
                        self.steps[check].passed = Some(false);
                        let message = format!("{what} {words} at the end of the check");
                        self.failure = Some((Reason::DiedDuringCheck, message));
                    }
                    State::Pausing { .. } => {
                        let message = format!("{what} {words} before the check began");
                        self.fail(Reason::DiedBeforeReady, message, now, actions);
                    }
                    _ => {
                        let when = if what == SERVER { " before it was ready" } else { "" };
                        let message = format!("{what} {words}{when}");
                        self.fail(Reason::DiedBeforeReady, message, now, actions);
                    }
                }
            }
        }
    }

    /// The check may say its last words, if it has not.
    fn died_during_check(&mut self, message: String, now: Instant, actions: &mut Vec<Action>) {
        self.note(Reason::DiedDuringCheck, message, now);
        match &mut self.state {
            State::Checking { until, .. } if self.check_runs => {
                until.get_or_insert(now + LAST_WORDS);
            }
            _ => self.end(now, actions),
        }
    }

    fn became_ready(&mut self, of: Generation, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Starting => {
                self.passed(1, now);
                self.next(0, now, actions);
            }
            State::Reloading { from, ready, .. } if of > *from => {
                *ready = true;
                self.is_replaced(now, actions);
            }
            State::Pausing { paused: true, .. } => self.look_for_check(actions),
            _ => {}
        }
    }

    /// The next generation is ready, and where two ran at a time, the one before is gone.
    fn is_replaced(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let State::Reloading { ready: true, replaced, .. } = self.state else { return };
        if self.plan.overlap && !replaced {
            return;
        }
        if self.plan.requests {
            actions.push(Action::EndRequests);
        } else {
            self.proven(None, now, actions);
        }
    }

    fn proven(&mut self, requests: Option<u64>, now: Instant, actions: &mut Vec<Action>) {
        let State::Reloading { index, touched, .. } = self.state else { return };
        let path = self.plan.reloads[index].clone();
        let took_ms = now.saturating_duration_since(touched).as_secs_f64() * 1e3;
        actions.push(Action::Tell(What::ReloadProven { path, took_ms, requests }));
        self.passed(2 + index, now);
        self.next(index + 1, now, actions);
    }

    /// The next reload, or the pause before the check.
    fn next(&mut self, index: usize, now: Instant, actions: &mut Vec<Action>) {
        if index >= self.plan.reloads.len() {
            self.state = State::Pausing { paused: false, looked: false };
            actions.push(Action::Pause);
            return;
        }
        self.state = State::Asking(index);
        if self.plan.requests {
            actions.push(Action::BeginRequests);
        } else {
            self.touch(now, actions);
        }
    }

    fn touch(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let State::Asking(index) = self.state else { return };
        let path = self.plan.reloads[index].clone();
        self.state = State::Reloading {
            index,
            from: self.generation,
            notice_by: Some(now + NOTICE + self.plan.notice),
            touched: now,
            ready: false,
            replaced: false,
        };
        actions.extend([Action::Tell(What::ReloadAsked { path }), Action::Touch(index)]);
    }

    fn paused(&mut self, actions: &mut Vec<Action>) {
        if let State::Pausing { paused, .. } = &mut self.state {
            *paused = true;
            if self.ready.is_some() {
                self.look_for_check(actions);
            }
        }
    }

    fn look_for_check(&mut self, actions: &mut Vec<Action>) {
        if let State::Pausing { looked, .. } = &mut self.state
            && !std::mem::replace(looked, true)
        {
            actions.push(Action::Look);
        }
    }

    fn seen(&mut self, sight: Sight, now: Instant, actions: &mut Vec<Action>) {
        let has_other = !self.resumed && self.has_other(&sight.sockets);
        match (&mut self.state, sight.stranger) {
            (State::Before, None) => {
                self.passed(0, now);
                self.state = State::Starting;
                self.run_runs = true;
                actions.push(Action::Start);
            }
            (State::Before, Some(who)) => {
                let message = format!("{who} before the start; stop it, or use another port");
                self.fail(Reason::PortTaken, message, now, actions);
            }
            (State::Pausing { .. }, Some(who)) => {
                self.fail(Reason::PortTaken, format!("{who} before the check began"), now, actions);
            }
            (State::Pausing { looked, .. }, None) if !sight.alive => *looked = false,
            (State::Pausing { .. }, None) => {
                self.sockets = sight.sockets;
                self.state = State::Checking { until: None, look_at: None };
                self.step_began = now;
                self.check_runs = true;
                actions.push(Action::Check);
            }
            (State::Checking { .. }, Some(who)) => {
                self.fail(Reason::PortTaken, format!("{who} at the end of the check"), now, actions);
            }
            (State::Checking { .. }, None) if !sight.alive => self.state = State::Confirming(now + CONFIRM),
            (State::Checking { .. }, None) if has_other => {
                let message = if sight.sockets.is_empty() {
                    "the server listens no more at the end of the check"
                } else {
                    "the server has started again during the check: it listens with another socket"
                };
                self.fail(Reason::DiedDuringCheck, message.to_owned(), now, actions);
            }
            (State::Checking { .. }, None) => self.judge_check(now, actions),
            _ => {}
        }
    }

    /// Whether none of the sockets is left. Of several that share a port, some may come and go.
    fn has_other(&self, sockets: &[u64]) -> bool {
        !self.sockets.is_empty() && !sockets.iter().any(|socket| self.sockets.contains(socket))
    }

    /// The server is as it was before the check.
    fn judge_check(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.check.clone() {
            Some(CommandStatus::Exited(0)) => {
                let index = self.steps.len() - 2;
                self.passed(index, now);
                self.end(now, actions);
            }
            status => {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                self.fail(Reason::CheckFailed, format!("the check {status}"), now, actions);
            }
        }
    }

    fn check_ended(&mut self, status: CommandStatus, ran: Duration, now: Instant, actions: &mut Vec<Action>) {
        self.check_runs = false;
        let ran_ms = ran.as_secs_f64() * 1e3;
        actions.push(Action::Tell(What::CheckEnded { status: status.clone(), ran_ms }));
        if !self.check_is_ended {
            self.check = Some(status);
        }
        match &mut self.state {
            State::Checking { until: Some(_), .. } => self.end(now, actions),
            State::Checking { look_at, .. } => *look_at = Some(now + SETTLE),
            State::Ending { .. } => self.go_on_ending(actions),
            _ => {}
        }
    }

    fn run_ended(
        &mut self,
        status: Option<CommandStatus>,
        said: Option<String>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.run_runs = false;
        if let State::Ending { .. } = self.state {
            return self.go_on_ending(actions);
        }
        if self.failure.is_some() {
            // The server's own end, which was told before.
            if !self.check_runs {
                self.end(now, actions);
            }
            return;
        }
        if let Some(said) = said {
            // Somebody has ended the run: the lockfile was removed, or `reloadrun stop`.
            let during = matches!(self.state, State::Checking { .. } | State::Confirming(_));
            let reason = if during { Reason::DiedDuringCheck } else { Reason::DiedBeforeReady };
            return self.fail(reason, format!("the run was ended: {said}"), now, actions);
        }
        // It has said why, or was killed.
        let code = status.as_ref().map_or(ExitCode::OWN_FAILURE, CommandStatus::code);
        let is_own = [ExitCode::USAGE, ExitCode::OWN_FAILURE].contains(&code);
        self.code = Some(if is_own { code } else { ExitCode::OWN_FAILURE });
        let words = status.map_or_else(|| "has ended".to_owned(), |status| status.to_string());
        self.fail(Reason::OwnFailure, format!("the supervisor {words}"), now, actions);
    }

    fn left(&mut self, left: Option<String>, now: Instant, actions: &mut Vec<Action>) {
        if self.state == State::Done {
            return;
        }
        match left {
            Some(left) => self.note(Reason::Leaked, left, now),
            None if self.steps[0].passed == Some(true) => {
                let index = self.steps.len() - 1;
                self.steps[index].passed = Some(true);
                self.steps[index].took = now.saturating_duration_since(self.step_began);
            }
            None => {}
        }
        let message = match &self.failure {
            Some((_, message)) => message.clone(),
            None => "the check succeeded, and nothing of the server is left".to_owned(),
        };
        let failure = self.failure.as_ref().map(|(reason, _)| *reason);
        actions.push(Action::Tell(What::Judged { failure, message: message.clone() }));
        let code = self.code();
        actions.push(Action::Tell(What::Finished { code, reason: message }));
        self.state = State::Done;
        let verdict = Verdict {
            failure: self.failure.clone(),
            code,
            check: self.check.clone(),
            generation: self.generation,
            steps: self.steps.clone(),
        };
        actions.push(Action::Finish(verdict));
    }

    fn signal(&mut self, signal: Signal, now: Instant, actions: &mut Vec<Action>) {
        let again = self.asked.is_some_and(|(asked, at)| asked == signal && now < at + ONE_REQUEST);
        self.asked = Some((signal, now));
        if again {
            return;
        }
        if let State::Ending { asked, pressure, .. } = &mut self.state {
            // A second request is one for KILL.
            if self.run_runs && *pressure == Pressure::Ask && asked.is_some() {
                (*asked, *pressure) = (Some(now), Pressure::Insist);
                actions.push(Action::EndRun(Pressure::Insist));
            }
            if self.check_runs {
                actions.push(Action::EndCheck { kill: true });
            }
            return;
        }
        if self.state == State::Done {
            return;
        }
        self.code = Some(ExitCode::of_signal(signal.number()));
        self.fail(Reason::Interrupted, format!("ended by {signal}"), now, actions);
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.is_ending() && now >= self.deadline {
            let what = match &self.state {
                State::Before | State::Starting => "the server was not ready",
                State::Asking(_) | State::Reloading { .. } => "the new generation was not ready",
                State::Pausing { .. } => "the check had not begun",
                State::Checking { .. } | State::Confirming(_) => "the check had not ended",
                State::Ending { .. } | State::Done => "",
            };
            let deadline = humantime::format_duration(self.plan.deadline);
            self.fail(Reason::Deadline, format!("{what} {deadline} after the start (--deadline)"), now, actions);
            return;
        }
        match self.state.clone() {
            State::Reloading { index, notice_by: Some(notice_by), .. } if now >= notice_by => {
                let path = &self.plan.reloads[index];
                let message =
                    format!("{path} was touched, and no restart followed; `reloadrun --explain {path}` says why");
                self.fail(Reason::ReloadFailed, message, now, actions);
            }
            State::Checking { look_at: Some(at), .. } if now >= at => {
                self.state = State::Checking { until: None, look_at: None };
                actions.push(Action::Look);
            }
            State::Checking { until: Some(until), .. } if now >= until => self.end(now, actions),
            State::Confirming(until) if now >= until => {
                let message = "the server's process ended during the check".to_owned();
                self.fail(Reason::DiedDuringCheck, message, now, actions);
            }
            State::Ending { asked: Some(asked), pressure, .. } if now >= asked + self.patience(pressure) => {
                let harder = if pressure == Pressure::Ask { Pressure::Insist } else { Pressure::Kill };
                if let State::Ending { asked, pressure, .. } = &mut self.state {
                    (*asked, *pressure) = (Some(now), harder);
                }
                if self.run_runs {
                    actions.push(Action::EndRun(harder));
                }
                if self.check_runs {
                    actions.push(Action::EndCheck { kill: true });
                }
            }
            _ => {}
        }
    }

    fn patience(&self, pressure: Pressure) -> Duration {
        if pressure == Pressure::Ask { self.plan.stop_timeout + IMPATIENCE } else { IMPATIENCE }
    }

    /// The first reason is the one that counts.
    fn note(&mut self, reason: Reason, message: String, now: Instant) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some((reason, message));
        // What something is left after has passed before.
        if let Some(step) = self.steps.iter_mut().find(|step| step.passed.is_none()) {
            (step.passed, step.took) = (Some(false), now.saturating_duration_since(self.step_began));
        }
    }

    fn fail(&mut self, reason: Reason, message: String, now: Instant, actions: &mut Vec<Action>) {
        self.note(reason, message, now);
        self.end(now, actions);
    }

    fn passed(&mut self, index: usize, now: Instant) {
        let step = &mut self.steps[index];
        (step.passed, step.took) = (Some(true), now.saturating_duration_since(self.step_began));
        self.step_began = now;
    }

    fn end(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.is_ending() {
            return;
        }
        self.step_began = now;
        if matches!(self.state, State::Reloading { .. }) && self.plan.requests {
            actions.push(Action::EndRequests);
        }
        // One after the other would take twice as long, and the caller may be about to kill us.
        if self.check_runs {
            self.check_is_ended = true;
            actions.push(Action::EndCheck { kill: false });
        }
        if self.run_runs {
            actions.push(Action::EndRun(Pressure::Ask));
        }
        self.state = State::Ending { asked: Some(now), pressure: Pressure::Ask, looks: false };
        self.go_on_ending(actions);
    }

    fn go_on_ending(&mut self, actions: &mut Vec<Action>) {
        if let State::Ending { asked, looks, .. } = &mut self.state
            && !self.check_runs
            && !self.run_runs
            && !std::mem::replace(looks, true)
        {
            *asked = None;
            actions.push(Action::LookForRest);
        }
    }

    /// The check's own code where it ran to its end and failed; else never 0 if something else has failed.
    fn code(&self) -> ExitCode {
        let Some((reason, _)) = &self.failure else { return ExitCode::SUCCESS };
        if let Some(code) = self.code {
            return code;
        }
        let check = self.check.as_ref().map(CommandStatus::code).filter(|code| *code != ExitCode::SUCCESS);
        let deadline = (*reason == Reason::Deadline).then_some(ExitCode::TIME_IS_UP);
        check.or(self.command).or(deadline).unwrap_or(ExitCode::FAILED)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
