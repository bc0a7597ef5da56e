//! A machine with a clock and a tree of its own, and short words for what it is told and what it answers.

use crate::change::{Change, ChangeKind, ChangeSet, Look};
use crate::config::{OnChange, OnExit};
use crate::control::{Answer, Request};
use crate::degraded::{Degraded, Loss};
use crate::event::{Watching, What};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::generation::Generation;
use crate::os::Errno;
use crate::os::signals::{Received, Signal};
use crate::os::tree::Process;
use crate::protocol::{Carried, Directive, Ready, Report, Response, StopReason};
use crate::supervisor::job::{OwnStop, Seen, Step};
use crate::supervisor::machine::{Action, Input, Machine, Rules};
use crate::supervisor::server::ClientId;
use crate::supervisor::signals::Heard;
use crate::supervisor::sweep::Remains;
use std::time::{Duration, Instant};

pub const FIRST_DELAY: Duration = Duration::from_millis(100);

/// How long a child may take to leave, with a grace of 5 s.
pub const HANGS: Duration = Duration::from_secs(17);

pub fn rules(on_exit: OnExit) -> Rules {
    Rules {
        command: "app".into(),
        has_command: true,
        on_change: OnChange::Restart,
        on_exit,
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(5),
        probes: true,
        answers_signals: false,
        overlaps: false,
    }
}

pub fn set(config: bool) -> ChangeSet {
    let path = if config { "/reloadrun.toml" } else { "/app.py" };
    ChangeSet::new([Change {
        path: path.into(),
        kind: ChangeKind::Modified,
        rule: "r".into(),
        config,
        open: false,
        seen: Look::ABSENT,
    }])
}

/// From the one in charge: [`Bench::step`] puts its generation there.
pub fn report(report: Report) -> Input {
    Input::Report(Generation::FIRST, report)
}

pub fn started() -> Input {
    report(Report::Started { pid: 7 })
}

pub fn watching() -> Input {
    let (root, backend) = ("/".to_owned(), "inotify".to_owned());
    report(Report::Watching(Watching {
        patterns: vec![],
        root,
        directories: 1,
        files: 1,
        backend,
        polled: 0,
        narrows: false,
    }))
}

pub fn changed(config: bool, response: Response) -> Input {
    report(Report::Changed { changes: set(config), noticed_ns: 1_000_000, quiet: Duration::ZERO, response })
}

pub fn stopping() -> Input {
    report(Report::Stopping { reason: StopReason::Change })
}

pub fn restarting() -> Input {
    report(Report::Restarting)
}

pub fn stopped() -> Input {
    report(Report::Stopped { took_ns: 2_000_000, killed: false })
}

pub fn exited(code: u8) -> Input {
    report(Report::Exited { status: CommandStatus::Exited(code), ran_ns: 5, again: false })
}

pub fn ready() -> Input {
    report(Report::Ready(Ready::at_start(Duration::ZERO)))
}

/// The command says that it reloads, for the signal of this number.
pub fn reloading(answers: Option<u64>) -> Input {
    report(Report::Reloading { answers })
}

/// It is ready again.
pub fn reloaded(answers: Option<u64>) -> Input {
    report(Report::Ready(Ready { after: Duration::ZERO, reload: true, answers }))
}

pub fn unanswered(number: u64) -> Input {
    report(Report::Unanswered { number })
}

pub fn handed_over(whole: bool) -> Input {
    report(Report::HandedOver { whole, carried: Carried::default() })
}

pub fn not_ready() -> Input {
    report(Report::Degraded(Degraded::NotReady { timeout: Duration::from_secs(60), reason: "x".into() }))
}

pub fn status() -> Input {
    report(Report::Status { message: "x".into() })
}

pub fn degraded() -> Input {
    report(Report::Degraded(Degraded::QueueOverflow))
}

pub fn suspended() -> Input {
    report(Report::Suspended { pid: 7 })
}

pub fn leaving(end: ChildEnd) -> Input {
    report(Report::Leaving { end, hands_over: true, carried: Carried::default() })
}

pub fn died() -> Input {
    Input::ChildDied(Generation::FIRST, Loss::NoAnswer)
}

pub fn fork_failed() -> Input {
    Input::ForkFailed(Generation::FIRST, Errno::EAGAIN)
}

pub fn signal(signal: Signal) -> Input {
    heard(Received { signal, from_terminal: false, sender: 1 })
}

pub fn from_terminal(signal: Signal) -> Input {
    heard(Received { signal, from_terminal: true, sender: 0 })
}

pub fn ends(status: CommandStatus) -> Input {
    report(Report::Exited { status, ran_ns: 5, again: false })
}

pub fn killed_by(signal: Signal) -> CommandStatus {
    CommandStatus::Signaled { signal: signal.number(), name: signal.to_string(), core: false }
}

pub fn at_the_terminal(on_exit: OnExit) -> Bench {
    let mut bench = Bench::new(on_exit, true);
    bench.step(started());
    bench
}

fn heard(received: Received) -> Input {
    Input::Signal(Heard { received, caller_ignores: false, from_tree: false })
}

/// A process as a look at the tree shows it.
pub fn seen(pid: i32, state: char) -> Seen {
    Seen {
        process: Process { pid, parent: 1, group: 1, session: 1, state, started: 1 },
        switches: None,
        is_child: false,
    }
}

/// A list of actions, short enough for a table: `release; fork 2; start 2`.
pub fn short(actions: &[Action]) -> String {
    let words = actions.iter().map(|action| match action {
        Action::ReadConfig(_) => "read config".to_owned(),
        Action::ForgetWatches => "forget watches".to_owned(),
        Action::Fork(generation) => format!("fork {generation}"),
        Action::Start(generation, _) => format!("start {generation}"),
        Action::Dismiss(generation) => format!("dismiss {generation}"),
        Action::Send(_, Directive::Start(_)) => "send start".to_owned(),
        Action::Send(_, Directive::Stop) => "send stop".to_owned(),
        Action::Send(of, Directive::Retire) => format!("retire {of}"),
        Action::Send(of, Directive::EndCommand) => format!("end command of {of}"),
        Action::Send(of, Directive::HandOver) => format!("hand over {of}"),
        Action::Send(of, Directive::Recall) => format!("recall {of}"),
        Action::Send(_, Directive::Signal { number }) => format!("send {number}"),
        Action::Send(_, Directive::Pause { on }) => format!("send pause {on}"),
        Action::Tell(_, What::Degraded(degraded @ Degraded::NotReplaced { .. })) => format!("tell {}", degraded.kind()),
        Action::Send(_, Directive::Barrier { id }) => format!("send barrier {id}"),
        Action::Tell(_, what) => format!("tell {}", what.name()),
        Action::TellSeries(_, series) => format!("tell series of {}", series.restarts),
        Action::Release(_) => "release".to_owned(),
        Action::NameListen(_) => "name listen".to_owned(),
        Action::EndLine => "end line".to_owned(),
        Action::Answer(_, answer) => format!("answer {}", answered(answer)),
        Action::AnswerStatus(_) => "answer status".to_owned(),
        Action::AnswerExplain(_, path, _) => format!("explain {}", path.display()),
        Action::Follow(_) => "follow".to_owned(),
        Action::Show(shown) => format!("show {shown:?}"),
        Action::Sweep { .. } => "sweep".to_owned(),
        Action::Job(Step::Look) => "look".to_owned(),
        Action::Job(Step::Signal(process, signal)) => format!("{signal} to {}", process.pid),
        Action::Job(Step::StopSelf(OwnStop::AsJob)) => "stop as a job".to_owned(),
        Action::Job(Step::StopSelf(OwnStop::ForCertain)) => "stop for certain".to_owned(),
        Action::Finish(code) => format!("finish {}", code.number()),
    });
    words.collect::<Vec<_>>().join("; ")
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Restart { generation, already } => format!("restart {generation} {already}"),
        Answer::Stop { again } => format!("stop {again}"),
        Answer::Pause { already } => format!("pause {already}"),
        Answer::Resume { already } => format!("resume {already}"),
        Answer::Refused { message } => format!("refused: {message}"),
        Answer::Wait(waited) => format!("{:?} {}", waited.outcome, waited.generation),
        Answer::Status(_) | Answer::Events | Answer::Explain { .. } => unreachable!("the driver answers that"),
    }
}

/// A client asks.
pub fn asked(request: Request) -> Input {
    Input::Asked { client: ClientId(1), request, from_tree: false }
}

/// The machine. A sweep leaves `remains`, and a look shows `tree`.
pub struct Bench {
    pub machine: Machine,
    pub now: Instant,
    pub tree: Vec<Seen>,
    pub remains: Remains,
}

impl Bench {
    pub fn new(on_exit: OnExit, shares_terminal: bool) -> Bench {
        Bench::with(rules(on_exit), shares_terminal)
    }

    /// With `--overlap`.
    pub fn overlapping(on_exit: OnExit) -> Bench {
        Bench::with(Rules { overlaps: true, ..rules(on_exit) }, false)
    }

    fn with(rules: Rules, shares_terminal: bool) -> Bench {
        let now = Instant::now();
        let (machine, first) = Machine::begin(rules, shares_terminal, now);
        assert_eq!(short(&first), "fork 1; start 1");
        Bench { machine, now, tree: vec![seen(7, 'T')], remains: Remains::Nobody }
    }

    pub fn after(on_exit: OnExit, inputs: &[Input]) -> Bench {
        let mut bench = Bench::new(on_exit, false);
        for input in inputs {
            bench.step(input.clone());
        }
        bench
    }

    /// What the one in charge reports, or what happens to it, and all that follows at once.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let of = self.machine.succession.lives.newest().map_or(Generation::FIRST, |life| life.generation);
        self.step_of(match input {
            Input::Report(_, report) => Input::Report(of, report),
            Input::ChildDied(_, loss) => Input::ChildDied(of, loss),
            Input::ForkFailed(_, errno) => Input::ForkFailed(of, errno),
            Input::ConfigMovedOn(_) => Input::ConfigMovedOn(of),
            other => other,
        })
    }

    /// The same of exactly this generation.
    pub fn step_of(&mut self, input: Input) -> Vec<Action> {
        let mut all = Vec::new();
        for action in self.machine.step(input, self.now, 9_000_000) {
            let answer = match action {
                Action::Sweep { .. } => Some(Input::Swept(self.remains.clone())),
                Action::Job(Step::Look) => Some(Input::Seen(self.tree.clone())),
                _ => None,
            };
            all.push(action);
            all.extend(answer.into_iter().flat_map(|answer| self.step_of(answer)));
        }
        all
    }

    pub fn says(&mut self, input: Input) -> String {
        short(&self.step(input))
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}
