//! What a smoke run does: one thread, one loop, one wait.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::check::Check;
use super::github;
use super::machine::Machine;
use super::output::Output;
use super::reports::{self, About};
use super::requests::{self, Requests};
use super::step::{Action, Input, Plan, Pressure, Sight, Verdict};
use super::supervised::Supervised;
use super::touched::{Leads, Touched};
use crate::change::seen_from;
use crate::client;
use crate::config::{Config, EventsTarget, Smoke};
use crate::error::{Error, Result};
use crate::escape::quoted;
use crate::event::{Event, What};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::os;
use crate::os::fd::{Wanted, have_no_input, wait_for_any};
use crate::os::process::{Harvest, become_subreaper, own_pid, reap};
use crate::os::signals::{Dispositions, Signal, SignalStream, send, stop_for_certain};
use crate::os::tree::{Process, descendants};
use crate::probe::Probe;
use crate::ready::place::{Place, place, sockets, stranger, stranger_at, tree_of};
use crate::report::{Reporter, complain};
use crate::supervisor::signals_passed_on;

/// The signals that ask for the end.
const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// What the caller of reloadrun ignored stays ignored, whoever sends it.
const KEPT: [Signal; 2] = [Signal::HUP, Signal::TSTP];

/// So long a stop as a job waits for that of the run.
const TO_STOP: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The run answers the request for a pause within this time, or changes go on leading to something.
const PAUSE: Duration = Duration::from_secs(2);

/// What is left in the end is killed, and a socket that is being closed is waited for, for so long.
const REST: Duration = Duration::from_millis(500);

/// A stranger that is a process of a former run, or a worker of the server, that is ending just now is gone within this time.
const ENDING_STRANGER: Duration = Duration::from_millis(500);

/// Between two looks at what is left.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Without anything to do.
const LONG: Duration = Duration::from_secs(3600);

/// Runs it, and gives back the exit code. `supervise` is an ordinary run of the same command, which tells its events there.
///
/// # Errors
/// Nothing was started: a report or the events cannot be written, or the system refuses the essentials.
pub fn run(
    config: &Config,
    smoke: &Smoke,
    probe: &Probe,
    dispositions: &Dispositions,
    supervise: &mut dyn FnMut(EventsTarget) -> ExitCode,
) -> Result<ExitCode> {
    let refused = |errno: os::Errno| Error::own(format!("the system refuses to supervise: {}", os::reason(errno)));
    let now = Instant::now();
    let (machine, first) = Machine::begin(plan(config, smoke), now);
    let began = SystemTime::now();
    write_reports(config, smoke, &reports::unfinished(machine.steps().to_vec()), began, Duration::ZERO, None)?;
    let reporter = Reporter::open(config)?;
    let mut awaited = ENDING.to_vec();
    awaited.extend([Signal::CHLD, Signal::TSTP, Signal::CONT]);
    awaited.extend(signals_passed_on());
    let signals = SignalStream::of(&awaited).map_err(refused)?;
    become_subreaper().map_err(refused)?;
    have_no_input().map_err(refused)?;
    let output = if smoke.github { Some(Output::open().map_err(refused)?) } else { None };
    let mut driver = Driver {
        config,
        smoke,
        probe,
        dispositions,
        supervise,
        machine,
        reporter,
        signals,
        output,
        run: None,
        check: None,
        requests: None,
        touched: Vec::new(),
        place: Place::default(),
        rest: None,
        before: tree_of(own_pid()),
        began,
        clock: now,
        verdict: None,
    };
    driver.drive(first)
}

fn plan(config: &Config, smoke: &Smoke) -> Plan {
    let shown = |path: &PathBuf| seen_from(&config.directory, path).display().to_string();
    Plan {
        reloads: smoke.prove_reload.iter().map(shown).collect(),
        requests: requests::can_be_made(config),
        overlap: config.overlap,
        notice: 3 * config.interval + 10 * config.debounce,
        deadline: smoke.deadline,
        stop_timeout: config.stop_timeout,
    }
}

fn write_reports(
    config: &Config,
    smoke: &Smoke,
    verdict: &Verdict,
    began: SystemTime,
    took: Duration,
    output: Option<String>,
) -> Result<()> {
    let (command, check) = (quoted(config.words()), smoke.check.clone());
    let about = About { command, check, began, took, output };
    for report in &smoke.reports {
        reports::write(report, &about, verdict).map_err(|error| {
            Error::own(format!("--report {}: it cannot be written: {}", report.path.display(), os::reason(error)))
        })?;
    }
    Ok(())
}

struct Driver<'a> {
    config: &'a Config,
    smoke: &'a Smoke,
    probe: &'a Probe,
    dispositions: &'a Dispositions,
    supervise: &'a mut dyn FnMut(EventsTarget) -> ExitCode,
    machine: Machine,
    reporter: Reporter,
    signals: SignalStream,
    /// The output of the command, where it comes through here.
    output: Option<Output>,
    run: Option<Supervised>,
    check: Option<Check>,
    requests: Option<Requests>,
    touched: Vec<Touched>,
    /// Where the server was reached.
    place: Place,
    /// Until when what is left is waited for.
    rest: Option<Instant>,
    /// This process, and whoever descended from it before: a shell that became us by exec may have left us children.
    before: Vec<i32>,
    began: SystemTime,
    clock: Instant,
    verdict: Option<Verdict>,
}

impl Driver<'_> {
    fn drive(&mut self, first: Vec<Action>) -> Result<ExitCode> {
        self.perform(first);
        while self.verdict.is_none() {
            let inputs = self.wait()?;
            for input in inputs {
                self.feed(input);
            }
        }
        self.finish()
    }

    /// The only wait: for signals (a child's death among them), for what the run, the check and the requests tell, for output
    /// and for time.
    fn wait(&mut self) -> Result<Vec<Input>> {
        let now = Instant::now();
        let mut until = self.machine.due().unwrap_or(now + LONG);
        if self.rest.is_some() {
            until = now + LOOK_AGAIN;
        }
        let mut waited = vec![(self.signals.as_fd(), Wanted::ToRead)];
        waited.extend(self.run.iter().map(|run| (run.descriptor(), Wanted::ToRead)));
        waited.extend(self.requests.iter().map(|requests| (requests.descriptor(), Wanted::ToRead)));
        waited.extend(self.output.iter().flat_map(Output::waits));
        wait_for_any(&waited, until).map_err(|errno| Error::own(format!("cannot wait: {}", os::reason(errno))))?;
        let mut inputs = Vec::new();
        let (mut deaths, mut stops) = (false, false);
        while let Some(received) = self.signals.next() {
            match received.signal {
                Signal::CHLD => deaths = true,
                // `nohup`, and `&` in a script.
                signal if self.dispositions.ignores(signal) && (received.from_terminal || KEPT.contains(&signal)) => {}
                Signal::TSTP => stops = true,
                Signal::CONT => self.pass_on(Signal::CONT),
                signal if !ENDING.contains(&signal) => self.run.iter().for_each(|run| run.signal(signal)),
                signal => {
                    if received.from_terminal {
                        // After `^C`, what we say begins a line.
                        self.reporter.end_line();
                    }
                    inputs.push(Input::Signal(signal));
                }
            }
        }
        if stops {
            self.stop_as_a_job();
        }
        if let Some(output) = &mut self.output {
            output.copy();
        }
        self.listen(&mut inputs);
        if let Some(requests) = &mut self.requests {
            match requests.listen() {
                Ok(true) => inputs.push(Input::Answered),
                Ok(false) => {}
                Err(how) => {
                    self.requests = None;
                    inputs.push(Input::RequestFailed(how));
                }
            }
        }
        if deaths {
            self.bury(&mut inputs);
        }
        self.reporter.flush();
        inputs.extend(self.rest_input());
        inputs.push(Input::Tick);
        Ok(inputs)
    }

    /// To the run and to the check.
    fn pass_on(&self, signal: Signal) {
        self.run.iter().for_each(|run| run.signal(signal));
        self.check.iter().for_each(|check| check.signal(signal));
    }

    /// All of it stops, and goes on when somebody continues this process. The deadline stays where it is.
    fn stop_as_a_job(&self) {
        self.pass_on(Signal::TSTP);
        // A supervisor that is still about to stop would not hear that it is to go on.
        let (run, until) = (self.run.as_ref().map(|run| run.pid), Instant::now() + TO_STOP);
        while run.and_then(Process::of).is_some_and(|run| !run.is_stopped()) && Instant::now() < until {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        stop_for_certain();
        self.pass_on(Signal::CONT);
    }

    fn listen(&mut self, inputs: &mut Vec<Input>) {
        let Some(run) = &mut self.run else { return };
        for heard in run.listen(&self.config.directory) {
            if let Some(line) = heard.line {
                self.reporter.relay(&line);
            }
            inputs.extend(heard.news.map(|(generation, news)| Input::News(generation, news)));
        }
    }

    /// Collects the dead.
    fn bury(&mut self, inputs: &mut Vec<Input>) {
        while let Harvest::Ended(pid, status) = reap() {
            if self.run.as_ref().is_some_and(|run| run.pid == pid) {
                // Its last words came before its end.
                self.listen(inputs);
                let said = self.run.take().and_then(|run| run.said);
                inputs.push(Input::RunEnded(Some(status), said));
            } else if self.check.as_ref().is_some_and(|check| check.pid == pid) {
                inputs.extend(self.check.take().map(|check| check_ended(check, status)));
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let actions = self.machine.step(input, Instant::now());
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Look => {
                let mut sight = self.look();
                // Of a process that is ending, the socket is there longer than anything that names it.
                let until = Instant::now() + ENDING_STRANGER;
                while sight.stranger.is_some() && Instant::now() < until {
                    std::thread::sleep(LOOK_AGAIN);
                    sight = self.look();
                }
                self.feed(Input::Seen(sight));
            }
            Action::Start => self.start(),
            Action::BeginRequests => match Requests::begin(self.config) {
                Ok(requests) => self.requests = Some(requests),
                Err(errno) => self.broken("requests cannot be made", errno),
            },
            Action::EndRequests => self.end_requests(),
            Action::Touch(index) => match Touched::touch(&self.smoke.prove_reload[index]) {
                Ok(touched) => self.touched.push(touched),
                Err(error) => {
                    let path = self.smoke.prove_reload[index].display();
                    self.feed(Input::Broken(format!("{path} cannot be touched: {}", os::reason(error))));
                }
            },
            Action::Pause => {
                let pid = self.run.as_ref().map_or(0, |run| run.pid);
                if !client::pause(pid, &self.config.environment, Instant::now() + PAUSE) {
                    self.feed(Input::NoPause);
                }
            }
            Action::Check => self.start_check(),
            Action::EndCheck { kill } => {
                if let Some(check) = &mut self.check {
                    check.end(kill);
                }
            }
            Action::EndRun(pressure) => {
                let Some(run) = &self.run else { return };
                run.signal(if pressure == Pressure::Kill { Signal::KILL } else { Signal::TERM });
            }
            Action::LookForRest => {
                self.restore();
                self.rest = Some(Instant::now() + REST);
            }
            Action::Tell(what) => self.tell(what),
            Action::Finish(verdict) => self.verdict = Some(verdict),
        }
    }

    fn broken(&mut self, what: &str, errno: os::Errno) {
        self.feed(Input::Broken(format!("{what}: {}", os::reason(errno))));
    }

    fn tree(&self) -> Vec<i32> {
        self.run.as_ref().map(|run| tree_of(run.pid)).unwrap_or_default()
    }

    fn look(&mut self) -> Sight {
        let tree = self.tree();
        let command = self.run.as_ref().and_then(|run| run.command);
        let alive = command.is_some_and(|pid| Process::of(pid).is_some_and(|process| !process.is_ending()));
        // The supervisor may listen too (`--http`), so the command's own tree comes first; a daemon has left it.
        let own = command.map(tree_of).unwrap_or_default();
        let of_command = sockets(self.probe, &own);
        let (tree_of_server, sockets) =
            if of_command.is_empty() { (&tree, sockets(self.probe, &tree)) } else { (&own, of_command) };
        if self.run.is_some() {
            self.place = place(self.probe, tree_of_server);
        }
        Sight { stranger: stranger(self.probe, &|| self.tree()), alive, sockets }
    }

    fn start(&mut self) {
        let output = self.output.as_mut().and_then(Output::ends);
        if self.output.is_some() {
            self.say_to_github(&github::group(&quoted(self.config.words())));
        }
        let supervise = &mut self.supervise;
        match Supervised::fork(output, supervise) {
            Ok(run) => self.run = Some(run),
            Err(errno) => {
                self.broken("no process can be started", errno);
                self.feed(Input::RunEnded(None, None));
            }
        }
    }

    fn start_check(&mut self) {
        let (command, address) = (self.smoke.check.clone(), self.place.address.clone());
        self.say_to_github(github::END_GROUP);
        self.say_to_github(&github::group(&command));
        self.tell(What::CheckStarted { command, address });
        // What it prints itself comes after that.
        self.reporter.flush();
        let (generation, line) = (self.machine.generation(), &self.smoke.check);
        match Check::start(self.config, line, &self.place, generation, self.dispositions) {
            Ok(check) => self.check = Some(check),
            Err(errno) => {
                let status = CommandStatus::CannotRun(os::reason(errno));
                self.feed(Input::CheckEnded(status, Duration::ZERO));
            }
        }
    }

    fn end_requests(&mut self) {
        let Some(mut requests) = self.requests.take() else { return };
        requests.end();
        match requests.listen() {
            Ok(_) => self.feed(Input::AllAnswered(requests.answered)),
            Err(how) => self.feed(Input::RequestFailed(how)),
        }
    }

    fn restore(&mut self) {
        for mut touched in self.touched.drain(..).rev() {
            let restored = touched.restore();
            let path = touched.path().display();
            match restored {
                Ok(Leads::There) => {}
                Ok(Leads::Elsewhere) => complain(&[format!(
                    "{path} does not lead to the file that was touched any more; what it leads to now is left as it is"
                )]),
                Err(error) => complain(&[format!(
                    "{path} cannot be given back what it had before it was touched: {}",
                    os::reason(error)
                )]),
            }
        }
    }

    /// Kills whatever is left, and says what does not go. `None` as long as that is not known.
    fn rest_input(&mut self) -> Option<Input> {
        let until = self.rest?;
        let left: Vec<Process> =
            descendants(own_pid()).into_iter().filter(|process| !self.before.contains(&process.pid)).collect();
        for process in &left {
            let _ = process.signal(Signal::KILL);
        }
        let started = self.machine.has_started();
        let port = if started { self.still_there() } else { None };
        if (!left.is_empty() || port.is_some()) && Instant::now() < until {
            return None;
        }
        self.rest = None;
        let names: Vec<String> = left.iter().map(|process| format!("{} ({})", process.pid, process.name())).collect();
        let processes =
            (!names.is_empty()).then(|| format!("processes that cannot be ended are left: {}", names.join(", ")));
        let port = port.map(|who| format!("the address of the server is not free after its end: {who}"));
        let sentences: Vec<String> = processes.into_iter().chain(port).collect();
        Some(Input::Left((!sentences.is_empty()).then(|| sentences.join("; "))))
    }

    /// Whoever listens where the server was.
    fn still_there(&self) -> Option<String> {
        let there = stranger(self.probe, &Vec::new);
        there.or_else(|| {
            let address: SocketAddr = self.place.address.as_ref()?.parse().ok()?;
            stranger_at(address, &Vec::new)
        })
    }

    fn tell(&mut self, what: What) {
        self.reporter.tell(&Event { generation: self.machine.generation(), what });
    }

    fn say_to_github(&mut self, text: &str) {
        if let Some(output) = &mut self.output {
            output.say(text);
        }
    }

    fn finish(&mut self) -> Result<ExitCode> {
        let Some(verdict) = self.verdict.take() else { return Ok(ExitCode::OWN_FAILURE) };
        // In case of a failure that came before.
        self.restore();
        if let Some(requests) = self.requests.take() {
            requests.end();
            let _ = send(requests.pid, Signal::KILL);
        }
        let tail = self.output.as_mut().map(Output::finish);
        if let Some(output) = &mut self.output {
            output.say(github::END_GROUP);
            if let Some((reason, message)) = &verdict.failure {
                output.say(&github::error(*reason, message));
            }
            output.flush_for_good();
        }
        self.reporter.finish();
        if self.smoke.github {
            self.write_summary(&verdict, tail.as_deref().unwrap_or_default());
        }
        let written = write_reports(self.config, self.smoke, &verdict, self.began, self.clock.elapsed(), tail);
        match written {
            Err(error) if verdict.code == ExitCode::SUCCESS => Err(error),
            Err(error) => {
                complain(&[error.to_string()]);
                Ok(verdict.code)
            }
            Ok(()) => Ok(verdict.code),
        }
    }

    fn write_summary(&self, verdict: &Verdict, tail: &str) {
        use std::io::Write;
        let Some(path) = self.config.environment.get("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
            return;
        };
        let steps: Vec<(String, Option<bool>)> =
            verdict.steps.iter().map(|step| (step.name.clone(), step.passed)).collect();
        let command = quoted(self.config.words());
        let text = github::summary(&command, &self.smoke.check, verdict.failure.as_ref(), &steps, tail);
        let file = std::fs::File::options().append(true).create(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            complain(&[format!("the summary of the step cannot be written: {}", os::reason(error))]);
        }
    }
}

fn check_ended(check: Check, host: CommandStatus) -> Input {
    let (status, ran) = check.status(host);
    Input::CheckEnded(status, ran)
}
