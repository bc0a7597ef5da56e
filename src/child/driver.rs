//! What a child does: two threads, and the only wait.
//!
//! The main thread starts the command, because the command is killed when the thread that started it ends; it
//! waits for everything at one place. The watcher thread rings a bell when it has something to say.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::debug;

use super::digest;
use super::frozen::SharedWatcher;
use super::hold::Hold;
use super::inbox::{Inbox, Voice, Word};
use super::job::{self, Hosted, Job, Refused};
use super::launcher::{Launch, Launched, Launcher, no_thread};
use super::left_behind;
use super::machine::Machine;
use super::main_process;
use super::pause::Pause;
use super::pid_file::PidFile;
use super::standby::{Orders, Standby};
use super::step::{Action, Input};
use super::tracing::Tracing;
use super::watch_thread::WatchThread;
use crate::advice;
use crate::bytecode::Caches;
use crate::change::ChangeSet;
use crate::command::{Command, out_of_reach};
use crate::config::{Config, Discover, OnChange};
use crate::degraded::Degraded;
use crate::discover::Live;
use crate::exit_code::{ChildEnd, CommandStatus, ExitCode};
use crate::filter::Filter;
use crate::generation::Generation;
use crate::jitter::share;
use crate::os;
use crate::os::fd::{Wanted, wait_ready};
use crate::os::seccomp::Installation;
use crate::os::signals::{Dispositions, Signal, SignalStream};
use crate::os::spawn::Group;
use crate::os::tree::Process;
use crate::protocol::{Carried, Decoder, Directive, Report, Response, StartRequest, Ties, encode_report};
use crate::ready::Asking;
use crate::report;
use crate::stop::StopAction;
use crate::strays::Strays;
use crate::watch::{Door, Watcher};

/// So long the start of the command waits for its watches at the most. A small tree is armed in a fraction of it
/// and then has no gap; of a large one the rest is armed while the command starts.
const HEAD_START: Duration = Duration::from_millis(5);

/// A tree with more directories than this ahead will not be armed in that time: then there is nothing to wait for.
const LARGE: usize = 100;

/// Waits until it is told to start, and then runs one generation to its end.
pub fn run(config: &Config, filter: &Arc<Filter>, mut ties: Ties, dispositions: &Dispositions) -> ChildEnd {
    let standby = Standby::set_up(config, &mut ties);
    // A standby that is not needed leaves without a word, whatever was wrong with it.
    let Some(orders) = Orders::wait(&ties.directives) else { return ChildEnd::Ended };
    match standby.and_then(|standby| Driver::set_up(config, filter, standby, orders, ties, dispositions)) {
        Ok(mut driver) => driver.drive(),
        Err(reason) => {
            report::say(&format!("a generation cannot be set up: {reason}"));
            ChildEnd::Failed
        }
    }
}

struct Driver<'a> {
    config: &'a Config,
    launcher: Launcher<'a>,
    reports: OwnedFd,
    directives: OwnedFd,
    machine: Machine,
    /// How the command is traced, until it is started.
    tracing: Option<Installation>,
    /// Who traces the preparations, if they are traced.
    tracer: Option<Tracing>,
    command: Command,
    /// Says which process is the command's main one.
    pid_file: Option<PidFile>,
    /// What runs beside the command.
    job: Option<Job>,
    /// What it was begun for.
    prepared_for: ChangeSet,
    /// Whether that is a preparation.
    prepares: Arc<AtomicBool>,
    /// Whether it is a run for a change.
    runs: Arc<AtomicBool>,
    caches: Caches,
    deaths: SignalStream,
    inbox: Inbox,
    decoder: Decoder,
    /// Directives that came together with the start.
    early: Vec<Directive>,
    tree_told: bool,
    pause: Pause,
    /// `None` once the watching has been handed over.
    watcher: Option<SharedWatcher>,
    door: Door,
    /// What is known of the files of the command.
    live: Option<Arc<Live>>,
    supervisor_gone: bool,
    /// Whether everything is watched, and whether the command was started with it, or need not be.
    armed: bool,
    took_in: bool,
    /// Reports that the supervisor has not taken yet: it may be stopped, and a stop must not wait for that.
    unsent: Vec<u8>,
    /// When the command ended by itself.
    ended: Arc<OnceLock<Instant>>,
    /// Who asks whether the command is ready, until it ends or is stopped.
    asking: Option<Asking>,
    /// How many signals for changes there were.
    signals: u64,
}

impl<'a> Driver<'a> {
    fn set_up(
        config: &'a Config,
        filter: &Arc<Filter>,
        standby: Standby,
        orders: Orders,
        ties: Ties,
        dispositions: &Dispositions,
    ) -> Result<Driver<'a>, String> {
        let Standby { deaths, inbox, voice, pulse } = standby;
        let Orders { request, more, decoder } = orders;
        let Ties { reports, directives, watch_state, lockfile, supervisor, terminal_group, .. } = ties;
        let is_first = request.generation == Generation::FIRST;
        let launcher = Launcher {
            config,
            generation: request.generation,
            lockfile,
            supervisor,
            group: terminal_group.map_or(Group::Own, Group::Join),
            // What we ask for must be able to arrive, also where the caller ignored it.
            dispositions: dispositions.letting_through(&asked_for(config)),
            voice: voice.clone(),
        };
        let starts_at_once = config.command.is_some() && (config.prepare.is_none() || request.carried.prepared);
        let launch = starts_at_once.then(|| launcher.load(&request.changes));
        let mut watcher =
            Watcher::new(config, Arc::clone(filter), &request.changes, watch_state).map_err(os::reason)?;
        if let Some(live) = filter.live().filter(|_| !request.traced) {
            live.forget();
        }
        watcher.arm(Instant::now() + HEAD_START, LARGE);
        watcher.command_starts();
        let tracing = filter.live().filter(|_| request.traced).and_then(|live| {
            let (live, directory) = (Arc::clone(live), config.directory.clone());
            let narrows = config.discover == Discover::Only;
            let prepares = config.prepare.is_some();
            let tracing = Tracing { live, directory, narrows, prepares, door: watcher.door(), voice: voice.clone() };
            tracing.begin(&ties.deposit).map(|installation| (tracing, installation))
        });
        let (tracer, tracing) = tracing.unzip();
        let narrows = config.discover == Discover::Only && tracing.is_some();
        let caches = Caches::of(config);
        caches.drop_compiled(request.changes.paths().chain(watcher.recent().iter().map(PathBuf::as_path)));
        // The command sees what was saved between two children, but nothing has been prepared or run for it.
        let missed = if is_first { ChangeSet::default() } else { watcher.missed(request.carried.heard_ns) };
        let prepares = Arc::new(AtomicBool::new(false));
        let runs = Arc::new(AtomicBool::new(false));
        let hold =
            hold(config, &request, &prepares).without_rest(config.on_change == OnChange::Queue, Arc::clone(&runs));
        let wait = watcher.wait().map_err(os::reason)?;
        let (door, pause) = (watcher.door(), Pause::new(request.paused, watcher.door()));
        let watcher = SharedWatcher::new(watcher);
        let machine = Machine::new(config.on_change.clone(), config.on_exit, config.stop_timeout, config.overlap);
        let machine = machine.paused(request.paused);
        let mut driver = Driver {
            config,
            launcher,
            reports,
            directives,
            machine: match &config.prepare {
                Some(_) => machine.preparing(&request.carried.outputs),
                None => machine,
            },
            tracing,
            tracer: tracer.filter(|tracer| tracer.prepares),
            command: Command::nobody(),
            pid_file: None,
            job: None,
            prepared_for: ChangeSet::default(),
            prepares,
            runs,
            caches,
            deaths,
            inbox,
            decoder,
            early: more,
            tree_told: false,
            supervisor_gone: false,
            armed: false,
            took_in: false,
            unsent: Vec::new(),
            ended: Arc::default(),
            asking: None,
            signals: 0,
            pause: pause.clone(),
            watcher: Some(watcher.clone()),
            door,
            live: filter.live().map(Arc::clone),
        };
        driver.begin(launch, &request, missed);
        driver.listen_to_signals(voice.clone())?;
        let patterns = config.watch.iter().map(|pattern| pattern.text.clone()).collect();
        let root = config.directory.display().to_string();
        let strays = Strays::of(driver.command.own_group());
        let interval = config.interval;
        let hints = (is_first || request.changes.has_config())
            .then(|| advice::second_reloader(config, filter).into_iter().collect());
        let ended = Arc::clone(&driver.ended);
        let thread = WatchThread {
            watcher,
            wait,
            hold,
            pause,
            ended,
            pulse,
            strays,
            interval,
            voice,
            hints,
            patterns,
            root,
            narrows,
        };
        thread.start().map_err(no_thread)?;
        Ok(driver)
    }

    /// Nothing here can be the end of this child. `launch`: what is started at once.
    fn begin(&mut self, launch: Option<Result<Launch, CommandStatus>>, request: &StartRequest, missed: ChangeSet) {
        // What was prepared may not be all that the command would see.
        let is_prepared = self.config.prepare.is_none() || missed.is_empty();
        let input = match launch {
            Some(launch) if is_prepared => self.start(launch),
            _ if self.config.command.is_some() => Input::Prepare(request.changes.clone().merge(missed.clone())),
            _ => {
                self.took_in = true;
                Input::Alone
            }
        };
        let owed = Input::Owed(request.carried.unserved.clone().merge(missed));
        let runs = matches!(self.config.on_change, OnChange::Run(_));
        for input in [input].into_iter().chain(runs.then_some(owed)) {
            assert_eq!(self.feed(input), None, "a child that ends here would stay for ever");
        }
    }

    fn start(&mut self, launch: Result<Launch, CommandStatus>) -> Input {
        let tracing = self.tracing.take();
        match launch.and_then(|launch| self.launcher.start(launch, tracing)) {
            Ok(Launched { command, asking }) => {
                let pid = command.pid();
                (self.command, self.asking, self.tree_told) = (command, asking, false);
                self.took_in = true;
                if self.armed {
                    self.tell_digest();
                }
                self.pid_file = self.config.pidfile.as_ref().map(|path| PidFile::new(path, pid));
                Input::Started { pid }
            }
            Err(status) => Input::Ended { status, ran: Duration::ZERO },
        }
    }

    /// Starts the command after its first preparation.
    fn start_prepared(&mut self, changes: &ChangeSet) -> Input {
        self.caches.drop_compiled(changes.paths());
        self.start(self.launcher.load(changes))
    }

    fn begin_job(&mut self, kind: job::Kind, changes: ChangeSet) -> Option<Input> {
        self.prepares.store(kind == job::Kind::Preparation, Ordering::Relaxed);
        self.runs.store(kind == job::Kind::Run, Ordering::Relaxed);
        self.prepared_for = changes.clone();
        self.job = Some(Job::new(kind, changes));
        self.go_on_with_job()
    }

    fn go_on_with_job(&mut self) -> Option<Input> {
        let mut job = self.job.take()?;
        if let Some((status, ran)) = job.go_on(|kind, changes| self.start_job(kind, changes)) {
            return Some(Input::JobEnded { status, ran });
        }
        (self.job, self.tree_told) = (Some(job), false);
        Some(Input::JobStarted)
    }

    fn start_job(&self, kind: job::Kind, changes: &ChangeSet) -> Result<Hosted, Refused> {
        // What a run reads is no reason to start the command anew.
        let tracer = self.tracer.as_ref().filter(|_| kind == job::Kind::Preparation);
        self.launcher.start_job(kind, changes, tracer.and_then(Tracing::begin_preparation))
    }

    /// INT, TERM and HUP all mean the same to a child: end the command, leave.
    fn listen_to_signals(&self, voice: Voice) -> Result<(), String> {
        ctrlc::set_handler(move || voice.input(Input::Interrupted)).map_err(|error| match error {
            ctrlc::Error::System(error) => no_thread(error),
            error => error.to_string(),
        })?;
        // In the terminal's group they come from the terminal, or from a command that signals its group, and mean the
        // command and the supervisor.
        if self.launcher.group != Group::Join(os::process::FOREIGN_GROUP) {
            os::signals::unblock(&[Signal::INT, Signal::TERM, Signal::HUP]);
        }
        Ok(())
    }

    /// The one loop with the only wait.
    fn drive(&mut self) -> ChildEnd {
        for directive in std::mem::take(&mut self.early) {
            if let Some(end) = self.feed(Input::Told(directive)) {
                return end;
            }
        }
        loop {
            self.look_for_the_rest();
            // The end of a pipe stays readable for ever, and the end of the tree may take a while.
            let directives = if self.supervisor_gone { self.deaths.as_fd() } else { self.directives.as_fd() };
            let unsent = match self.unsent.is_empty() {
                true => (self.deaths.as_fd(), Wanted::ToRead),
                false => (self.reports.as_fd(), Wanted::ToWrite),
            };
            let main_end = self.pid_file.as_ref().and_then(PidFile::end).unwrap_or(self.deaths.as_fd());
            let read = |descriptor| (descriptor, Wanted::ToRead);
            let waited =
                [read(directives), read(self.deaths.as_fd()), read(self.inbox.as_fd()), unsent, read(main_end)];
            let ready = wait_ready(waited, self.due());
            let Ok([told, died, rung, _, main_died]) = ready else { return ChildEnd::Failed };
            self.send_reports();
            let mut inputs = Vec::new();
            if died || main_died {
                inputs.extend(self.collect());
            }
            inputs.extend(self.look_at_pid_file());
            if rung {
                for word in self.inbox.words() {
                    match word {
                        Word::Input(input) => inputs.push(input),
                        // It was told while the command was ended.
                        Word::Report(Report::Status { .. }) if self.asking.is_none() => {}
                        Word::Report(report) => {
                            self.armed |= matches!(report, Report::Watching(_));
                            let is_time = matches!(report, Report::Watching(_)) && self.took_in;
                            self.report(&[report]);
                            if is_time {
                                self.tell_digest();
                            }
                        }
                    }
                }
            }
            if told && !self.supervisor_gone {
                inputs.extend(self.listen());
            }
            inputs.push(Input::Tick);
            for input in inputs {
                // A signal to a command that has ended meanwhile would be lost, and the save with it.
                let acts = matches!(input, Input::Settled { .. } | Input::Passed(_));
                let ended = if acts { self.collect() } else { Vec::new() };
                for input in ended.into_iter().chain([input]) {
                    if let Some(end) = self.feed(input) {
                        return end;
                    }
                }
            }
        }
    }

    fn ask_no_more(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.stop();
        }
    }

    /// Costs nothing before somebody could not be signalled.
    fn look_for_the_rest(&mut self) {
        if self.command.was_refused() {
            let out = !self.command.left_out_of_reach().is_empty();
            // That alone is no reason to leave.
            self.feed(Input::OutOfReach(out));
        }
    }

    fn feed(&mut self, input: Input) -> Option<ChildEnd> {
        let (mut reports, mut end) = (Vec::new(), None);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            inputs.extend(self.act(input, &mut reports, &mut end));
        }
        if let Some(end) = end {
            // From here on nothing more becomes known: what is told now, the next child reads.
            let frozen = self.watcher.as_ref().map(SharedWatcher::freeze);
            let (hands_over, heard_ns) = frozen.map_or((true, 0), |frozen| (frozen.whole, frozen.heard_ns));
            let carried = Carried { heard_ns, ..self.machine.carried() };
            reports.push(Report::Leaving { end, hands_over, carried });
        }
        self.report(&reports);
        if end.is_some() {
            self.send_last_reports();
        }
        end
    }

    /// Returns what follows at once.
    fn act(&mut self, input: Input, reports: &mut Vec<Report>, end: &mut Option<ChildEnd>) -> Vec<Input> {
        if input != Input::Tick {
            debug!(?input, "child");
        }
        if let Input::Ended { .. } = input {
            // There is but one such end.
            let _ = self.ended.set(Instant::now());
            self.ask_no_more();
        }
        let mut follow = Vec::new();
        for action in self.machine.step(input, Instant::now()) {
            match action {
                Action::Report(report) => {
                    self.before(&report);
                    reports.push(report);
                }
                Action::Say(sentence) => report::say(sentence),
                Action::Stop(step) => {
                    self.ask_no_more();
                    reports.extend(self.stop(step));
                    follow.extend(self.follow(main_process::Input::Stop));
                }
                Action::HandOver => self.hand_over(),
                Action::PrepareUntraced => {
                    self.tracer = None;
                    let changes = self.prepared_for.clone();
                    self.job.iter_mut().for_each(|job| job.begin_anew(changes.clone()));
                }
                Action::Signal(number) => {
                    follow.extend(self.look_now());
                    reports.extend(self.signal(Signal::from_number(number)));
                }
                Action::Pause(on) => self.pause.set(on),
                Action::SignalChange => {
                    if let OnChange::Signal(signal) = self.config.on_change {
                        self.signals += 1;
                        match self.pid_file.is_some() {
                            true => follow.extend(self.signal_main()),
                            false => reports.extend(self.signal_for_change(signal)),
                        }
                    }
                    self.tell_digest();
                }
                Action::Recall => {
                    let known = self.live.as_ref().map(|live| Box::new(live.keep())).unwrap_or_default();
                    reports.push(Report::Recalled { known });
                }
                Action::Mark(mark) => self.door.mark(mark),
                Action::TellUnheard(status) => reports.extend(self.unheard(&status)),
                Action::TellSetAside if self.pid_file.as_ref().is_some_and(PidFile::is_unknown) => {}
                Action::TellSetAside => {
                    let left = self.left();
                    let Config { on_change, on_exit, .. } = self.config;
                    reports.extend(left_behind::set_aside(&left, self.config.words(), on_change, *on_exit));
                }
                Action::Start(changes) => follow.push(self.start_prepared(&changes)),
                Action::Job(kind, changes) => follow.extend(self.begin_job(kind, changes)),
                Action::Leave(how) => *end = Some(how),
            }
        }
        follow
    }

    /// Nothing more is noticed here. What has been noticed is in the inbox already, and so this comes behind it.
    fn hand_over(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            self.launcher.voice.input(Input::HandedOver { whole: watcher.freeze().whole });
        }
    }

    /// A command that gets a signal, perhaps from a run, imports anew, and must not find what was compiled from the old
    /// sources.
    fn before(&self, report: &Report) {
        match report {
            Report::Changed { changes, response: Response::Signal | Response::Run, .. } => {
                self.caches.drop_compiled(changes.paths());
            }
            // What changes from here on is no output any more.
            Report::Prepared { .. } => self.prepares.store(false, Ordering::Relaxed),
            Report::Ran { status, goes_on, .. } => {
                self.runs.store(false, Ordering::Relaxed);
                if *status == CommandStatus::Exited(0) && !goes_on {
                    self.tell_digest();
                }
            }
            _ => {}
        }
    }

    /// The command has taken in what changed.
    fn tell_digest(&self) {
        if let Some(watcher) = &self.watcher {
            digest::tell(self.config, watcher, &self.launcher.voice);
        }
    }

    fn unheard(&self, status: &CommandStatus) -> Option<Report> {
        let OnChange::Signal(signal) = self.config.on_change else { return None };
        let by_it = status.code() == ExitCode::of_signal(signal.number());
        by_it.then(|| left_behind::ended_by(signal, &self.left(), self.config.words()))
    }

    fn left(&self) -> Vec<Process> {
        // A job ends by itself.
        let job = self.job.as_ref().and_then(Job::pid);
        self.command.left().into_iter().filter(|process| Some(process.group) != job).collect()
    }

    fn due(&self) -> Option<Instant> {
        self.machine.due().into_iter().chain(self.pid_file.as_ref().and_then(PidFile::due)).min()
    }

    /// Where a pid file says which process is the main one: tells what happened, and does what follows.
    fn follow(&mut self, input: main_process::Input) -> Vec<Input> {
        let Some(pid_file) = &mut self.pid_file else { return Vec::new() };
        let mut inputs = Vec::new();
        for output in pid_file.step(input) {
            match output {
                main_process::Output::Follow(pid) => {
                    self.command.follow(Process::of(pid));
                    self.report(&[Report::MainProcess { pid }]);
                }
                main_process::Output::Deliver => {
                    if let OnChange::Signal(signal) = self.config.on_change
                        && let Some(refused) = self.signal_for_change(signal)
                    {
                        self.report(&[refused]);
                    }
                }
                main_process::Output::Unknown { found, first_runs } => {
                    let why = self.pid_file.as_ref().map(|pid_file| pid_file.why(&found)).unwrap_or_default();
                    let Config { on_change, on_exit, .. } = self.config;
                    let told = match first_runs {
                        true => left_behind::signals_first(&why, on_change),
                        false => left_behind::without_main(&why, &self.left(), on_change, *on_exit),
                    };
                    self.report(&[told]);
                }
                main_process::Output::Undelivered => inputs.push(Input::Undelivered),
                main_process::Output::Ended(status) => {
                    self.command.follow(None);
                    inputs.push(Input::Ended { status, ran: self.command.ran() });
                }
            }
        }
        inputs
    }

    fn look_at_pid_file(&mut self) -> Vec<Input> {
        let due = self.pid_file.as_ref().and_then(PidFile::due).is_some_and(|due| due <= Instant::now());
        if due { self.look_now() } else { Vec::new() }
    }

    fn look_now(&mut self) -> Vec<Input> {
        let Some(pid_file) = &self.pid_file else { return Vec::new() };
        let found = pid_file.look(&self.left());
        self.follow(main_process::Input::Found(found))
    }

    /// Sends the signal for a change to the main process, as soon as it is known.
    fn signal_main(&mut self) -> Vec<Input> {
        let mut inputs = self.follow(main_process::Input::Signal);
        inputs.extend(self.look_now());
        inputs
    }

    /// Of what has ended, the end of the command.
    fn end_of_command(
        &mut self,
        first: Option<CommandStatus>,
        others: &[(i32, CommandStatus)],
        gone: bool,
    ) -> Vec<Input> {
        let Some(pid_file) = &self.pid_file else {
            let ran = self.command.ran();
            return first.map(|status| Input::Ended { status, ran }).into_iter().collect();
        };
        let main = pid_file.main();
        let collected = others.iter().find(|(pid, _)| Some(*pid) == main).map(|(_, status)| status.clone());
        // Its parent lives, and has collected it or will: how it ended is not known here.
        let elsewhere = || pid_file.ended_elsewhere().then_some(CommandStatus::Exited(0));
        let main_ended = collected.or_else(elsewhere);
        let mut inputs = Vec::new();
        // The first process, if it is the parent of the main one, has waited for that.
        if let Some(status) = main_ended {
            inputs.extend(self.follow(main_process::Input::MainEnded(status)));
        }
        if let Some(status) = first {
            inputs.extend(self.follow(main_process::Input::FirstEnded(status)));
        }
        if gone {
            inputs.extend(self.follow(main_process::Input::TreeGone));
        }
        inputs
    }

    fn signal_for_change(&self, signal: Signal) -> Option<Report> {
        if let Some(asking) = &self.asking {
            asking.expect_answer(self.signals);
        }
        self.signal(Some(signal))
    }

    fn signal(&self, signal: Option<Signal>) -> Option<Report> {
        self.command.signal(signal?).err().map(Report::Degraded)
    }

    fn stop(&mut self, step: StopAction) -> Option<Report> {
        let command = &mut self.command;
        match step {
            StopAction::AskGroup => command.ask(self.config.stop_signal, self.config.stop_group),
            StopAction::AskRest => command.ask_rest(self.config.stop_signal),
            StopAction::KillAll => command.kill_all(),
            StopAction::GiveUp => {
                // Somebody may have come within reach this very moment.
                command.kill_all();
                let (refused, left) = (command.left_out_of_reach(), command.left());
                return Some(Report::Degraded(if !refused.is_empty() {
                    out_of_reach(&refused)
                } else if left.is_empty() {
                    Degraded::HiddenProcesses
                } else {
                    Degraded::SurvivedKill { pids: left.iter().map(|process| process.pid).collect() }
                }));
            }
        }
        None
    }

    fn collect(&mut self) -> Vec<Input> {
        while self.deaths.next().is_some() {}
        let collected = self.command.collect();
        let mut job_ended = false;
        let ended = self.end_of_command(collected.leader, &collected.others, collected.tree_gone);
        for (pid, status) in collected.others {
            if let Some(job) = self.job.as_mut().filter(|job| job.pid() == Some(pid)) {
                job.ended(status);
                job_ended = true;
            } else if let Some(asking) = &self.asking {
                asking.collected(pid, status);
            }
        }
        let command = &self.command;
        let gone = (collected.tree_gone && !std::mem::replace(&mut self.tree_told, collected.tree_gone))
            .then_some(Input::TreeGone);
        let suspended = command.was_stopped().then_some(Input::Suspended { pid: command.pid() });
        // In this order nobody looks for a rest that is not there.
        let mut inputs: Vec<Input> = gone.into_iter().chain(ended).chain(suspended).collect();
        if job_ended {
            inputs.extend(self.go_on_with_job());
        }
        inputs
    }

    fn listen(&mut self) -> Vec<Input> {
        let mut buffer = [0; 4096];
        match os::fd::read_some(&self.directives, &mut buffer) {
            Ok(0) | Err(_) => {
                self.supervisor_gone = true;
                vec![Input::SupervisorGone]
            }
            Ok(count) => self.decoder.push::<Directive>(&buffer[..count]).into_iter().map(Input::Told).collect(),
        }
    }

    /// All in one write, so that the supervisor wakes up once.
    fn report(&mut self, reports: &[Report]) {
        for report in reports {
            encode_report(report, &mut self.unsent);
        }
        self.send_reports();
    }

    fn send_reports(&mut self) {
        while !self.unsent.is_empty() {
            match os::fd::write_some(&self.reports, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(os::Errno::EAGAIN) => return,
                // A supervisor that is gone shows at the other pipe.
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// The last reports: nothing of the command is left, so there is time until the supervisor takes them.
    fn send_last_reports(&mut self) {
        while !self.unsent.is_empty() && wait_ready([(self.reports.as_fd(), Wanted::ToWrite)], None).is_ok() {
            self.send_reports();
        }
    }
}

/// The signals that the command hears from us.
fn asked_for(config: &Config) -> Vec<Signal> {
    let change_signal = match config.on_change {
        OnChange::Signal(signal) => Some(signal),
        OnChange::Restart | OnChange::Queue | OnChange::Run(_) => None,
    };
    [config.stop_signal].into_iter().chain(change_signal).collect()
}

/// Which changes are to wait.
fn hold(config: &Config, request: &StartRequest, prepares: &Arc<AtomicBool>) -> Hold {
    let signals = matches!(config.on_change, OnChange::Signal(_)) && config.prepare.is_none();
    let jitter = match config.jitter.is_zero() {
        true => Duration::ZERO,
        false => share(config.jitter, &os::hosts::own_name(), config.name.as_deref()),
    };
    let hold = Hold::new(request.damping.clone(), signals, Instant::now()).spread(jitter);
    match config.prepare.is_some() || matches!(config.on_change, OnChange::Run(_)) {
        true => hold.counting(Arc::clone(prepares)),
        false => hold,
    }
}
