//! What the supervisor decides, without I/O and without a clock.
//!
//! | phase   | changed, child left | exited               | asked to end   | child died      |
//! |---------|---------------------|----------------------|----------------|-----------------|
//! | up      | start the next      | policy               | stop, then end | sweep, backoff  |
//! | ending  | end                 | -                    | escalate       | sweep, end      |
//! | down    | -                   | -                    | end            | -               |
//!
//! `down` is the time between a child that died by itself and the next one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::job::Suspension;
use super::signals::{Meaning, meaning};
use crate::change::ChangeSet;
use crate::config::{OnChange, OnExit};
use crate::damping::{Damping, Series};
use crate::degraded::{Degraded, Loss, Topic};
use crate::event::{Effect, WaitingFor, What};
use crate::exit_code::{ChildEnd, CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::signals::{Received, Signal};
use crate::os::{Errno, reason};
use crate::protocol::{Directive, Report, Response};
use crate::restart::{AfterExit, Backoff, after_exit};

/// If another Ctrl-C comes so soon after one that the command got from the terminal, the user means us.
const TWICE: Duration = Duration::from_secs(5);

/// A command that ends so soon after a Ctrl-C has ended of it: that is how long cleaning up may take, or the stop timeout
/// if that is longer. If the signal itself has ended it, it does not matter how long that took.
const CLEANING_UP: Duration = Duration::from_secs(30);

/// A command that still runs so long after a Ctrl-C has taken it for something else, as far as a save is concerned: then
/// the save leads to a start as always.
const TAKEN: Duration = Duration::from_millis(500);

/// A command that ends so soon after a Ctrl-\ has ended of it: a runtime that dumps its threads and leaves with a code of
/// its own.
const DUMPING: Duration = Duration::from_secs(1);

/// The same signal again within this time is one request: `timeout` and many runtimes signal the process and then
/// its whole group.
const ONE_REQUEST: Duration = Duration::from_millis(200);

/// How long after a Ctrl-Z a command that has not stopped is looked at: a shell may hang between vfork and exec, because
/// its offspring stopped there. It will go on when everyone is continued.
const STUCK: Duration = Duration::from_millis(500);

/// A child that was told to end answers within the grace and this (KILL has its own bound of 10 s); else it hangs.
const ANSWER: Duration = Duration::from_secs(12);

/// The same after a second request.
const ANSWER_SOON: Duration = Duration::from_secs(3);

/// The number of the signal that a program gets whose output nobody reads.
const SIGPIPE: i32 = 13;

/// The first child is tried for until the delay between two attempts is longer than this; later ones for ever.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// What the machine must know of the configuration.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The command as one line.
    pub command: String,
    /// What a change leads to.
    pub on_change: OnChange,
    /// What the command's own end leads to.
    pub on_exit: OnExit,
    /// The first signal of a stop.
    pub stop_signal: Signal,
    /// How long a stop may take until KILL.
    pub stop_timeout: Duration,
}

/// Something that happened to the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The child reported.
    Report(Report),
    /// The child died without a last word, and everything it had to say has been read.
    ChildDied(Loss),
    /// No child could be started.
    SpawnFailed(Errno),
    /// A signal.
    Signal(Received),
    /// The heart has beaten.
    Beat(Beat),
    /// Nobody reads standard output any more, which is a pipe.
    Unread {
        /// Nor standard error.
        all: bool,
    },
    /// Time has passed.
    Tick,
}

/// Something the supervisor does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Reads the config file anew, before the next child.
    ReadConfig,
    /// Starts a child.
    Spawn {
        /// Which generation.
        generation: Generation,
        /// What led to it.
        changes: ChangeSet,
    },
    /// Tells the child.
    Send(Directive),
    /// Tells the world.
    Tell(What),
    /// Tells the world of a series of restarts, and the remedy.
    TellSeries(Series),
    /// Lets go of a child that has said its last word.
    Release,
    /// Ends the line on which the terminal has shown a key.
    EndLine,
    /// Stops until somebody continues us.
    Suspend(Suspension),
    /// Continues whoever is stopped in the tree.
    Continue,
    /// Ends whatever a dead child left behind.
    Sweep,
    /// Ends with this code.
    Finish(ExitCode),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// A child is there.
    Up,
    /// It was told to leave, and the next one follows.
    Renewing,
    /// It was told to leave, and then all is over.
    Ending(ExitCode, String),
    /// No child; the next one comes then.
    Down(Instant),
}

/// The decisions of the supervisor.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    /// Whether the command is in the terminal's foreground group, so that the terminal signals it directly.
    shares_terminal: bool,
    phase: Phase,
    generation: Generation,
    command_runs: bool,
    /// Whether a command was ever started.
    ever_ran: bool,
    /// Pid of the command's first process, of the last one that was started.
    leader: Option<i32>,
    /// When to see whether a Ctrl-Z has left the command hanging.
    stuck_at: Option<Instant>,
    changes: ChangeSet,
    noticed_ns: Option<i64>,
    stop_ns: Option<u64>,
    restart_at: Option<Instant>,
    /// When the command got the last Ctrl-C from the terminal.
    ctrl_c: Option<Instant>,
    /// The same of Ctrl-\.
    ctrl_backslash: Option<Instant>,
    /// How the command of this generation ended.
    ended: Option<CommandStatus>,
    unread: bool,
    /// When a child that was told to end has had its time.
    hangs_at: Option<Instant>,
    /// The last signal that asked for the end.
    asked: Option<(Signal, Instant)>,
    backoff: Backoff,
    child_backoff: Backoff,
    child_since: Instant,
    beat_failed: bool,
    /// What was told and lasts: every generation finds it anew.
    known_to_last: HashSet<Topic>,
    /// The advice that was given.
    advice_given: HashSet<String>,
    damping: Damping,
    /// When the command started, by the clock of `noticed_ns`.
    started_ns: Option<i64>,
}

impl Machine {
    /// Begins; the first child is the first action.
    pub fn begin(rules: Rules, shares_terminal: bool, now: Instant) -> (Machine, Vec<Action>) {
        let machine = Machine {
            rules,
            shares_terminal,
            phase: Phase::Up,
            generation: Generation::FIRST,
            command_runs: false,
            ever_ran: false,
            leader: None,
            stuck_at: None,
            changes: ChangeSet::default(),
            noticed_ns: None,
            stop_ns: None,
            restart_at: None,
            ctrl_c: None,
            ctrl_backslash: None,
            ended: None,
            unread: false,
            hangs_at: None,
            asked: None,
            backoff: Backoff::new(),
            child_backoff: Backoff::new(),
            child_since: now,
            beat_failed: false,
            known_to_last: HashSet::new(),
            advice_given: HashSet::new(),
            damping: Damping::default(),
            started_ns: None,
        };
        let first = Action::Spawn { generation: Generation::FIRST, changes: ChangeSet::default() };
        (machine, vec![first])
    }

    /// The generation that runs.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Pid of the command's first process, which may have ended since.
    pub fn leader(&self) -> Option<i32> {
        self.leader
    }

    /// Whether a command is about to start.
    pub fn awaits_command(&self) -> bool {
        self.phase == Phase::Up && self.started_ns.is_none()
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
        match self.phase {
            Phase::Down(until) => Some(until),
            Phase::Up => self.restart_at.into_iter().chain(self.stuck_at).min(),
            Phase::Renewing | Phase::Ending(..) => self.hangs_at,
        }
    }

    /// Takes in what happened and says what to do. `monotonic_ns` is the same clock as a report's `noticed_ns`.
    pub fn step(&mut self, input: Input, now: Instant, monotonic_ns: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Report(report) => self.report(report, now, monotonic_ns, &mut actions),
            Input::ChildDied(loss) => self.child_died(loss, now, &mut actions),
            Input::SpawnFailed(errno) => {
                let reason = reason(errno);
                let delay = self.child_backoff.after(Duration::ZERO);
                if !self.ever_ran && delay > FIRST_PATIENCE {
                    // Nothing has ever run: whoever waits for it should know.
                    let reason = format!("no child can be started: {reason}");
                    self.finish(ExitCode::OWN_FAILURE, reason, &mut actions);
                    return actions;
                }
                self.phase = Phase::Down(now + delay);
                actions.push(Action::Tell(What::Degraded(Degraded::ChildNotStarted { reason, delay })));
            }
            Input::Signal(received) => self.signal(received, now, &mut actions),
            Input::Beat(beat) => self.beat(beat, now, &mut actions),
            Input::Unread { all } => self.unread(all, now, &mut actions),
            Input::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    fn report(&mut self, report: Report, now: Instant, monotonic_ns: i64, actions: &mut Vec<Action>) {
        match report {
            Report::Started { pid } => {
                self.command_runs = true;
                self.ever_ran = true;
                self.leader = Some(pid);
                self.started_ns = Some(monotonic_ns);
                let restart_ms = self.noticed_ns.take().map(|noticed| milliseconds(monotonic_ns - noticed));
                let stop_ms = self.stop_ns.take().map(|took| took as f64 / 1e6);
                let changes = std::mem::take(&mut self.changes);
                let command = self.rules.command.clone();
                actions.push(Action::Tell(What::Started { pid, command, changes, stop_ms, restart_ms }));
            }
            Report::Watching(watching) => actions.push(Action::Tell(What::Watching(watching))),
            Report::Came(files) => self.damping.came(files.paths()),
            // Put together before it comes here.
            Report::Some { .. } => {}
            Report::Changed { changes, noticed_ns, quiet, response } => {
                self.backoff.reset();
                // What ends the command from here on is the save, and not a key that it has outlived.
                self.ctrl_c.take_if(|at| now > *at + TAKEN);
                self.ctrl_backslash = None;
                let action = match response {
                    Response::Restart => Effect::Restart,
                    Response::Start => Effect::Start,
                    Response::Signal => match self.rules.on_change {
                        OnChange::Signal(signal) => Effect::Signal(signal),
                        OnChange::Restart => Effect::Restart,
                    },
                };
                actions.push(Action::Tell(What::Changed { changes: changes.clone(), action }));
                if response != Response::Signal {
                    if self.changes.is_empty() {
                        actions.extend(self.damping.restart(&changes, quiet).map(Action::TellSeries));
                    } else {
                        self.damping.join(&changes);
                    }
                    self.noticed_ns.get_or_insert(noticed_ns);
                    self.restart_at = None;
                    self.changes = std::mem::take(&mut self.changes).merge(changes);
                }
            }
            // It was told when the signal was sent.
            Report::Unheard { changes, noticed_ns } => {
                self.command_runs = false;
                self.noticed_ns.get_or_insert(noticed_ns);
                self.changes = std::mem::take(&mut self.changes).merge(changes);
            }
            Report::Stopping { reason } => {
                actions.push(Action::Tell(What::Stopping { signal: self.rules.stop_signal, reason }));
            }
            Report::StillStopping { reason, took_ns, kill_in_ns, main_ended } => {
                let signal = self.rules.stop_signal;
                let (took_ms, kill_in_ms) = (took_ns as f64 / 1e6, kill_in_ns.map(|left| left as f64 / 1e6));
                actions.push(Action::Tell(What::StillStopping { signal, reason, took_ms, kill_in_ms, main_ended }));
            }
            Report::Stopped { took_ns, killed } => {
                self.command_runs = false;
                self.stop_ns = Some(took_ns);
                actions.push(Action::Tell(What::Stopped { took_ms: took_ns as f64 / 1e6, killed }));
            }
            Report::Exited { status, ran_ns } => self.exited(status, Duration::from_nanos(ran_ns), now, actions),
            Report::Suspended { pid } if self.shares_terminal && self.phase == Phase::Up => {
                actions.push(Action::Suspend(Suspension::WithCommand(pid)));
            }
            Report::Suspended { .. } => {}
            Report::Degraded(degraded) => {
                if degraded.lasts().is_none_or(|topic| self.known_to_last.insert(topic)) {
                    actions.push(Action::Tell(What::Degraded(degraded)));
                }
            }
            Report::Hint { message } => actions.push(Action::Tell(What::Hint { message })),
            Report::Advice { about, message } => {
                if self.advice_given.insert(about) {
                    actions.push(Action::Tell(What::Hint { message }));
                }
            }
            Report::Leaving { end } => self.child_left(end, now, actions),
        }
    }

    fn exited(&mut self, status: CommandStatus, ran: Duration, now: Instant, actions: &mut Vec<Action>) {
        self.command_runs = false;
        self.ended = Some(status.clone());
        let key = self.key_behind(&status, now);
        if key.is_some_and(|key| status.is_of(key.number())) {
            // It has said nothing after the `^C`.
            actions.push(Action::EndLine);
        }
        actions.push(Action::Tell(What::Exited { status: status.clone(), ran_ms: ran.as_secs_f64() * 1e3 }));
        if self.phase != Phase::Up {
            return;
        }
        if let Some(signal) = key {
            return self.end(ExitCode::of_signal(signal.number()), format!("{signal} from the terminal"), now, actions);
        }
        if self.unread {
            return self.end(status.code(), format!("the command {status}, and nobody reads its output"), now, actions);
        }
        match after_exit(self.rules.on_exit, &status, ran, &mut self.backoff) {
            AfterExit::Wait => actions.push(Action::Tell(What::Waiting(WaitingFor::Change))),
            AfterExit::Finish(code) => self.end(code, format!("the command {status}"), now, actions),
            AfterExit::RestartIn(delay) => {
                self.restart_at = Some(now + delay);
                actions.push(Action::Tell(What::Waiting(WaitingFor::Delay(delay))));
            }
        }
    }

    fn child_left(&mut self, end: ChildEnd, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Release);
        match (self.phase.clone(), end) {
            (Phase::Ending(code, reason), _) => self.finish(code, reason, actions),
            (_, ChildEnd::Reload) if self.ctrl_c.is_some() => {
                // Pressed while the command was being stopped for a change: it meant the end, not this stop.
                let signal = Signal::INT;
                self.finish(ExitCode::of_signal(signal.number()), format!("{signal} from the terminal"), actions);
            }
            (_, ChildEnd::Reload) => {
                if self.changes.is_empty() {
                    self.damping.restart_for_nothing(now.saturating_duration_since(self.child_since));
                }
                self.spawn(now, actions);
            }
            (Phase::Renewing, ChildEnd::Ended) => self.spawn(now, actions),
            (_, ChildEnd::Ended | ChildEnd::Failed) => {
                self.child_died(Loss::Left, now, actions);
            }
        }
    }

    /// The key that the end of the command is to be put down to.
    fn key_behind(&mut self, status: &CommandStatus, now: Instant) -> Option<Signal> {
        let (ctrl_c, ctrl_backslash) = (self.ctrl_c.take(), self.ctrl_backslash.take());
        let is_behind = |key: Signal, pressed: Option<Instant>, memory: Duration| {
            let by_it = status.is_of(key.number()) || status.code() == ExitCode::of_signal(key.number());
            pressed.is_some_and(|at| by_it || now <= at + memory)
        };
        if is_behind(Signal::INT, ctrl_c, CLEANING_UP.max(self.rules.stop_timeout)) {
            return Some(Signal::INT);
        }
        is_behind(Signal::QUIT, ctrl_backslash, DUMPING).then_some(Signal::QUIT)
    }

    /// Nobody reads what the command says: when it has ended, there is nothing more to wait for. If nobody reads what we
    /// say either, nobody would ever know that anything runs.
    fn unread(&mut self, all: bool, now: Instant, actions: &mut Vec<Action>) {
        self.unread = true;
        if matches!(self.phase, Phase::Ending(..)) {
            return;
        }
        match &self.ended {
            Some(status) if self.phase == Phase::Up => {
                let (code, reason) = (status.code(), format!("the command {status}, and nobody reads its output"));
                self.end(code, reason, now, actions);
            }
            _ if all => self.end(ExitCode::of_signal(SIGPIPE), "nobody reads its output".to_owned(), now, actions),
            _ => {}
        }
    }

    fn child_died(&mut self, loss: Loss, now: Instant, actions: &mut Vec<Action>) {
        self.command_runs = false;
        self.restart_at = None;
        actions.push(Action::Sweep);
        if let Phase::Ending(code, reason) = self.phase.clone() {
            return self.finish(code, reason, actions);
        }
        let delay = self.child_backoff.after(now.saturating_duration_since(self.child_since));
        let degraded = Degraded::ChildDied { generation: self.generation, loss, delay };
        actions.push(Action::Tell(What::Degraded(degraded)));
        self.phase = Phase::Down(now + delay);
    }

    fn signal(&mut self, received: Received, now: Instant, actions: &mut Vec<Action>) {
        let Received { signal, from_terminal, .. } = received;
        let reached_command = from_terminal && self.shares_terminal && self.command_runs;
        match signal {
            // The size of the window, above all: the command knows, and one that only starts will look.
            Signal::USR1 | Signal::USR2 | Signal::WINCH if from_terminal && self.shares_terminal => {}
            _ if meaning(signal) == Meaning::PassedOn => {
                actions.push(Action::Send(Directive::Signal { number: signal.number() }));
            }
            // It is the command's to stop or not. If it does, we follow.
            Signal::TSTP if reached_command => self.stuck_at = Some(now + STUCK),
            // An end that has begun goes on.
            Signal::TSTP if matches!(self.phase, Phase::Ending(..)) => {}
            Signal::TSTP if from_terminal && self.shares_terminal => actions.push(Action::Suspend(Suspension::Alone)),
            Signal::TSTP if from_terminal => actions.push(Action::Suspend(Suspension::WithTree)),
            Signal::TSTP => actions.push(Action::Suspend(Suspension::Asked)),
            Signal::CONT => actions.push(Action::Continue),
            // It is the command's: a thread dump, or its end.
            Signal::QUIT if reached_command => self.ctrl_backslash = Some(now),
            Signal::INT if reached_command && self.phase == Phase::Up => {
                let before = self.ctrl_c.replace(now);
                if before.is_some_and(|at| now <= at + TWICE) {
                    let reason = format!("{signal} from the terminal, twice");
                    self.end(ExitCode::of_signal(signal.number()), reason, now, actions);
                    // The command has had its chance.
                    actions.push(Action::Send(Directive::Stop));
                }
            }
            Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT => {
                let before = self.asked.replace((signal, now));
                if before.is_some_and(|(last, at)| last == signal && now < at + ONE_REQUEST) {
                    return;
                }
                if from_terminal && !reached_command && signal != Signal::HUP {
                    actions.push(Action::EndLine);
                }
                self.end(ExitCode::of_signal(signal.number()), signal.to_string(), now, actions);
            }
            _ => {}
        }
    }

    fn beat(&mut self, beat: Beat, now: Instant, actions: &mut Vec<Action>) {
        match beat {
            Beat::Steady => self.beat_failed = false,
            Beat::Removed if !matches!(self.phase, Phase::Ending(..)) => {
                self.end(ExitCode::SUCCESS, "the lockfile was removed".to_owned(), now, actions);
            }
            Beat::Removed | Beat::Missed => {}
            Beat::Failed(errno) => {
                if !std::mem::replace(&mut self.beat_failed, true) {
                    let degraded = Degraded::LockfileNotTouched { reason: reason(errno) };
                    actions.push(Action::Tell(What::Degraded(degraded)));
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stuck_at.take_if(|at| *at <= now).is_some()
            && self.command_runs
            && let Some(pid) = self.leader
        {
            actions.push(Action::Suspend(Suspension::WithStuck(pid)));
        }
        match self.phase {
            Phase::Down(until) if until <= now => self.spawn(now, actions),
            Phase::Up if self.restart_at.is_some_and(|at| at <= now) => {
                self.restart_at = None;
                self.phase = Phase::Renewing;
                self.hangs_at = Some(now + self.rules.stop_timeout + ANSWER);
                actions.push(Action::Send(Directive::Stop));
            }
            Phase::Renewing | Phase::Ending(..) if self.hangs_at.is_some_and(|at| at <= now) => {
                self.hangs_at = None;
                self.child_died(Loss::NoAnswer, now, actions);
            }
            _ => {}
        }
    }

    fn spawn(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.phase = Phase::Up;
        self.started_ns = None;
        self.command_runs = false;
        self.stuck_at = None;
        self.restart_at = None;
        self.child_since = now;
        self.ctrl_c = None;
        self.ctrl_backslash = None;
        self.ended = None;
        self.hangs_at = None;
        self.generation = self.generation.next();
        if self.changes.has_config() {
            // Other settings may watch other places, in another way.
            self.known_to_last.clear();
            self.advice_given.clear();
            actions.push(Action::ReadConfig);
        }
        actions.push(Action::Spawn { generation: self.generation, changes: self.changes.clone() });
    }

    /// Ends everything; asked once more, it ends it with KILL.
    fn end(&mut self, code: ExitCode, reason: String, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Down(_) => self.finish(code, reason, actions),
            Phase::Ending(..) => {
                self.hangs_at = self.hangs_at.map(|at| at.min(now + ANSWER_SOON));
                actions.push(Action::Send(Directive::Stop));
            }
            Phase::Up => {
                self.phase = Phase::Ending(code, reason);
                self.hangs_at = Some(now + self.rules.stop_timeout + ANSWER);
                actions.push(Action::Send(Directive::Stop));
            }
            // It has been told already, and a second time would mean KILL.
            Phase::Renewing => self.phase = Phase::Ending(code, reason),
        }
    }

    fn finish(&mut self, code: ExitCode, reason: String, actions: &mut Vec<Action>) {
        actions.push(Action::Tell(What::Finished { code, reason }));
        actions.push(Action::Finish(code));
    }
}

fn milliseconds(nanoseconds: i64) -> f64 {
    nanoseconds.max(0) as f64 / 1e6
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
