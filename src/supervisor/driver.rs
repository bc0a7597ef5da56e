//! What the supervisor does: one thread, one loop, one wait.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tracing::debug;

use super::child_process::ChildProcess;
use super::facts::{self, Before};
use super::host::Host;
use super::job::{OwnStop, Step};
use super::keyboard::KEYS;
use super::machine::{Action, Input, Machine, Rules};
use super::outlet_process::OutletProcess;
use super::parent::Parent;
use super::reception::Reception;
use super::remedies::Remedies;
use super::signals::{Heard, asks_for_sender, awaited};
use super::step::Shown;
use super::sweep::Remains;
use crate::change::ChangeSet;
use crate::config::{Config, Discover};
use crate::control::{Answer, Status, in_words};
use crate::degraded::{Degraded, Loss};
use crate::error::{Error, Result};
use crate::escape::quoted;
use crate::event::{Event, What};
use crate::exit_code::ExitCode;
use crate::generation::Generation;
use crate::heartbeat::{Beat, Heartbeat};
use crate::listen::OutletSocket;
use crate::os;
use crate::os::fd::{Wanted, error_is_unread, output_is_unread, wait_for_any};
use crate::os::handed_over::FIRST;
use crate::os::local::Listener;
use crate::os::process::{Harvest, own_pid, reap};
use crate::os::signals::{Received, Signal, SignalStream};
use crate::os::tree::is_hidden;
use crate::os::tty;
use crate::probe::Probe;
use crate::protocol::{Directive, Report, StartRequest, Ties, WatchState};
use crate::report::Reporter;

/// After this time it is known whether the directory of a private lockfile goes as well as the file.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// Supervises until all is over. Without a control socket, that is told.
///
/// # Errors
/// The event stream cannot be had, or the system refuses the essentials.
pub fn run(
    host: &mut dyn Host,
    heartbeat: Heartbeat,
    control: std::result::Result<Listener, String>,
    outlet: Vec<OutletSocket>,
    parent: Parent,
) -> Result<ExitCode> {
    let refused = |errno: os::Errno| Error::own(format!("the system refuses to supervise: {}", os::reason(errno)));
    let mut reporter = Reporter::open(host.config())?;
    let signals = SignalStream::of(&awaited()).map_err(refused)?;
    let has_orphans = os::process::become_subreaper().is_ok();
    // Of two generations at a time, neither can have it.
    let shares_terminal = tty::is_stdin() && !host.config().overlap;
    if shares_terminal {
        reporter.leave_terminal_to_command();
    }
    let now = Instant::now();
    let (mut machine, first) = Machine::begin(rules(host.config()), shares_terminal, now);
    machine.reload_on_hup(parent.is_told() && !tty::is_controlled());
    let (listener, no_control) = match control {
        Ok(listener) => (Some(listener), None),
        Err(sentence) => (None, Some(sentence)),
    };
    let mut driver = Driver {
        terminal_group: shares_terminal.then(os::process::own_group),
        terminal: tty::Settings::of_stdin(host.config().environment.has_dumb_terminal()),
        before: Before::us(),
        next_beat: now + host.config().interval,
        to_tidy: true,
        remedies: Remedies::default(),
        machine,
        heartbeat,
        reporter,
        signals,
        children: Vec::new(),
        later: Vec::new(),
        listen_was_named: false,
        watch_state: None,
        reception: Reception::open(listener, host.config()),
        outlet: OutletProcess::new(outlet, now),
        parent,
        host,
    };
    driver.tell_keys();
    let path = &driver.host.config().config_file;
    if path.is_file() {
        let path = path.display().to_string();
        driver.tell(Generation::FIRST, What::ConfigLoaded { path });
    }
    for (listen, descriptor) in driver.host.config().listen.clone().into_iter().zip(FIRST..) {
        driver.tell(Generation::FIRST, What::Listening { address: listen.address.to_string(), descriptor });
    }
    for what in driver.outlet.as_ref().map(OutletProcess::served).unwrap_or_default() {
        driver.tell(Generation::FIRST, what);
    }
    driver.tell_hints(Generation::FIRST);
    if is_hidden() {
        driver.tell(Generation::FIRST, What::Degraded(Degraded::NoProc));
    }
    if !has_orphans {
        driver.tell(Generation::FIRST, What::Degraded(Degraded::NoSubreaper));
    }
    if let Some(message) = no_control {
        driver.tell(Generation::FIRST, What::Hint { message });
    }
    if let Some(message) = driver.parent.complaint() {
        driver.tell(Generation::FIRST, What::Hint { message });
    }
    driver.drive(first)
}

struct Driver<'a> {
    host: &'a mut dyn Host,
    machine: Machine,
    heartbeat: Heartbeat,
    reporter: Reporter,
    signals: SignalStream,
    children: Vec<ChildProcess>,
    /// What came to light in the middle of something else.
    later: Vec<Input>,
    /// Whether it was told what lets two generations listen at one address.
    listen_was_named: bool,
    /// What the children hand on to each other; made anew where the next one cannot take over.
    watch_state: Option<WatchState>,
    terminal_group: Option<i32>,
    terminal: Option<tty::Settings>,
    before: Before,
    next_beat: Instant,
    to_tidy: bool,
    remedies: Remedies,
    reception: Reception,
    outlet: Option<OutletProcess>,
    parent: Parent,
}

impl Driver<'_> {
    fn drive(&mut self, first: Vec<Action>) -> Result<ExitCode> {
        let mut code = self.perform(first);
        // Not before: the command is on its way.
        self.tend_outlet();
        self.heartbeat.tidy();
        self.reception.server.tidy();
        while code.is_none() {
            let inputs = self.wait()?;
            for input in inputs {
                if code.is_none() {
                    code = self.feed(input);
                }
            }
            self.tell_parent();
        }
        if let Some(terminal) = &self.terminal {
            terminal.leave_keys();
        }
        self.outlet.take().into_iter().for_each(OutletProcess::end);
        self.reporter.finish();
        self.parent.finish();
        Ok(code.unwrap_or(ExitCode::OWN_FAILURE))
    }

    /// The only wait: for signals (a child's death among them), reports, clients, keys and time.
    fn wait(&mut self) -> Result<Vec<Input>> {
        let outlet = self.outlet.as_ref().and_then(OutletProcess::due);
        let dues = [self.machine.due(), outlet, self.parent.due()];
        let mut until = dues.into_iter().flatten().fold(self.next_beat, Instant::min);
        let has_backlog = self.reception.server.has_backlog();
        if !self.later.is_empty() || has_backlog {
            until = Instant::now();
        }
        let reports = self.children.iter().filter_map(ChildProcess::reports).map(|reports| (reports, Wanted::ToRead));
        let owed = self.children.iter().filter_map(ChildProcess::owed).map(|directives| (directives, Wanted::ToWrite));
        let signals = (self.signals.as_fd(), Wanted::ToRead);
        let waited: Vec<_> = [signals].into_iter().chain(reports).chain(owed).chain(self.reception.waits()).collect();
        let ready =
            wait_for_any(&waited, until).map_err(|errno| Error::own(format!("cannot wait: {}", os::reason(errno))))?;
        self.children.iter_mut().for_each(ChildProcess::flush);
        let mut inputs = std::mem::take(&mut self.later);
        if ready || has_backlog {
            self.hear(&mut inputs);
        }
        self.tend_outlet();
        let now = Instant::now();
        self.parent.beat(now);
        if now >= self.next_beat {
            let beat = self.heartbeat.beat();
            let interval = self.host.config().interval;
            self.next_beat = now + if beat == Beat::Missed { interval.min(SECOND_LOOK) } else { interval };
            inputs.push(Input::Beat(beat));
            if output_is_unread() {
                inputs.push(Input::Unread { all: error_is_unread() });
            }
            if std::mem::take(&mut self.to_tidy) {
                // Once more: what somebody had a share in a moment ago.
                self.heartbeat.tidy();
                os::map::let_go_of_code();
            }
            self.reporter.flush();
            self.reception.beat();
        }
        inputs.push(Input::Tick);
        Ok(inputs)
    }

    /// What has come: signals, deaths, reports, and what clients and keys ask for.
    fn hear(&mut self, inputs: &mut Vec<Input>) {
        // Signals first: a Ctrl-C is known before the end of the command that it caused.
        let mut deaths = false;
        while let Some(received) = self.signals.next() {
            match received.signal {
                Signal::CHLD => deaths = true,
                Signal::CONT => {
                    // From the shell's `fg`, after it has made us the foreground again.
                    self.terminal.iter().for_each(tty::Settings::take_keys);
                    inputs.push(Input::Signal(self.heard(received)));
                }
                _ => inputs.push(Input::Signal(self.heard(received))),
            }
        }
        self.children.iter_mut().for_each(|child| listen(child, inputs));
        if deaths {
            self.bury(inputs);
            if self.host.config().discover != Discover::Off {
                self.children.iter().for_each(ChildProcess::keep_going);
            }
        }
        let ended = inputs.iter().any(|input| matches!(input, Input::Report(_, Report::Exited { .. })));
        self.reception.take_in(inputs);
        if ended && output_is_unread() {
            // That is why, most likely: it was killed by SIGPIPE.
            inputs.insert(0, Input::Unread { all: error_is_unread() });
        }
    }

    fn heard(&self, received: Received) -> Heard {
        let asks = asks_for_sender(received, self.terminal_group.is_some());
        Heard {
            received,
            caller_ignores: self.host.caller_ignores(received.signal),
            from_tree: asks && facts::is_in_tree(received.sender),
        }
    }

    /// Collects the dead: children, and orphans that came to us. Says whether anyone is left.
    fn bury(&mut self, inputs: &mut Vec<Input>) -> bool {
        loop {
            let (pid, status) = match reap() {
                Harvest::Ended(pid, status) => (pid, status),
                Harvest::AllAlive => return true,
                Harvest::NoneLeft => return false,
            };
            let (outlet, before) = (&mut self.outlet, &mut self.before);
            if outlet.iter_mut().any(|outlet| outlet.takes_end(pid, &status, before, Instant::now())) {
                continue;
            }
            let Some(at) = self.children.iter().position(|child| child.pid() == pid) else { continue };
            let child = &mut self.children[at];
            child.was_collected();
            // Its last words came before its end.
            listen(child, inputs);
            let generation = child.generation();
            let is_last_word =
                |input: &Input| matches!(input, Input::Report(of, Report::Leaving { .. }) if *of == generation);
            if !inputs.iter().any(is_last_word) {
                inputs.push(Input::ChildDied(generation, Loss::Ended(status)));
            }
        }
    }

    fn tend_outlet(&mut self) {
        let Some(outlet) = &mut self.outlet else { return };
        outlet.tend(&mut self.reception.server, &mut self.before, self.host, Instant::now());
        if let Some(degraded) = outlet.news() {
            self.tell(self.reception.generation(), What::Degraded(degraded));
        }
    }

    fn child(&mut self, generation: Generation) -> Option<&mut ChildProcess> {
        self.children.iter_mut().find(|child| child.generation() == generation)
    }

    fn take_child(&mut self, generation: Generation) -> Option<ChildProcess> {
        let at = self.children.iter().position(|child| child.generation() == generation)?;
        Some(self.children.swap_remove(at))
    }

    fn restore_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
    }

    fn feed(&mut self, input: Input) -> Option<ExitCode> {
        if input != Input::Tick {
            debug!(?input, "supervisor");
        }
        let actions = self.machine.step(input, Instant::now(), os::clock::monotonic_ns());
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Option<ExitCode> {
        actions.into_iter().find_map(|action| self.act(action))
    }

    /// Returns the exit code if this, or what it leads to, ends the run.
    fn act(&mut self, action: Action) -> Option<ExitCode> {
        match action {
            Action::Fork(generation) => return self.fork(generation),
            Action::Start(generation, changes) => return self.start(generation, changes),
            Action::Job(step) => return self.job(step),
            Action::Sweep { spared } => return self.sweep(&spared),
            Action::Finish(code) => return Some(code),
            Action::Tell(generation, what) => self.tell(generation, what),
            Action::TellSeries(generation, series) => {
                let degraded = self.remedies.against(&series, self.machine.damping(), self.host);
                if let Some(degraded) = degraded {
                    self.tell(generation, What::Degraded(degraded));
                }
            }
            Action::ReadConfig(generation) => self.read_config(generation),
            // Ours are closed first: then the kernel tears the watches down at the end of the child, and the only wait
            // never waits for that.
            Action::ForgetWatches => self.watch_state = None,
            Action::Dismiss(generation) => {
                if let Some(child) = self.take_child(generation) {
                    child.dismiss();
                }
            }
            Action::Send(generation, directive) => {
                if let Some(child) = self.child(generation) {
                    child.tell(directive);
                }
            }
            Action::Release(generation) => {
                drop(self.take_child(generation));
                self.restore_terminal();
            }
            Action::NameListen(generation) => self.name_listen(generation),
            Action::EndLine => self.reporter.end_line(),
            Action::Answer(client, answer) => self.reception.server.answer(client, &answer),
            Action::AnswerStatus(client) => {
                let answer = Answer::Status(Box::new(self.status()));
                self.reception.server.answer(client, &answer);
            }
            Action::AnswerExplain(client, path, known) => {
                self.reception.explain(client, &path, *known, &*self.host);
            }
            Action::Follow(client) => self.reception.server.follow(client),
            Action::Show(Shown::Keys) => self.reporter.show(&[KEYS.to_owned()]),
            Action::Show(Shown::Status) => self.reporter.show(&in_words(&self.status())),
        }
        None
    }

    fn sweep(&mut self, spared: &[Generation]) -> Option<ExitCode> {
        // Who is spared may have ended all the same.
        let mut later = std::mem::take(&mut self.later);
        let any_left = self.bury(&mut later);
        self.later = later;
        let children = self.children.iter().filter(|child| spared.contains(&child.generation()));
        let pids: Vec<i32> = children.map(ChildProcess::pid).collect();
        let remains = if any_left { facts::sweep(&self.before, &pids) } else { Remains::Nobody };
        self.feed(Input::Swept(remains))
    }

    fn name_listen(&mut self, generation: Generation) {
        if self.listen_was_named || !self.host.config().listen.is_empty() {
            return;
        }
        if let Some(address) = facts::listens(&self.before) {
            self.listen_was_named = true;
            let message = format!(
                "the generation that stays listens on {address}, and no other can at the same time; with --listen tcp:{address} both take connections from one socket"
            );
            self.tell(generation, What::Hint { message });
        }
    }

    fn job(&mut self, step: Step) -> Option<ExitCode> {
        match step {
            Step::Look => return self.feed(Input::Seen(facts::seen(&self.before, &self.children))),
            Step::Signal(process, signal) => drop(process.signal(signal)),
            Step::StopSelf(how) => {
                if let Some(terminal) = &self.terminal {
                    terminal.leave_keys();
                }
                match how {
                    OwnStop::AsJob => os::signals::stop_as_a_job(),
                    OwnStop::ForCertain => os::signals::stop_for_certain(),
                }
            }
        }
        None
    }

    fn status(&self) -> Status {
        self.reception.status(self.host.config(), self.machine.is_paused())
    }

    fn tell(&mut self, generation: Generation, what: What) {
        if matches!(what, What::Stopped { .. } | What::Exited { .. }) {
            // Before the words: on an alternate screen they would be lost.
            self.restore_terminal();
        }
        let event = Event { generation, what };
        self.reporter.tell(&event);
        self.reception.tell(&event, self.host.config());
        self.tell_parent();
    }

    fn tell_parent(&mut self) {
        let Driver { parent, reception, machine, host, .. } = self;
        parent.tell(|| reception.truth(host.config(), machine.is_ending()));
    }

    fn tell_keys(&mut self) {
        if !self.host.config().keys {
            return;
        }
        let message = match &mut self.terminal {
            Some(terminal) if self.reception.reads_keys() => {
                terminal.read_keys();
                KEYS.to_owned()
            }
            _ => "--keys: standard input is not a terminal, so no keys are read".to_owned(),
        };
        self.tell(Generation::FIRST, What::Hint { message });
    }

    fn tell_hints(&mut self, generation: Generation) {
        for message in self.host.config().hints.clone() {
            self.tell(generation, What::Hint { message });
        }
    }

    fn fork(&mut self, generation: Generation) -> Option<ExitCode> {
        let lockfile = self.heartbeat.path_for_child().map(Path::to_owned);
        let heartbeat = if lockfile.is_none() { self.heartbeat.descriptor_for_child() } else { None };
        let (supervisor, terminal_group) = (own_pid(), self.terminal_group);
        let watch_state = self.watch_state_for_child();
        let host = &*self.host;
        let forked = watch_state.and_then(|watch_state| {
            let tie = |reports, directives, deposit| Ties {
                reports,
                directives,
                watch_state,
                lockfile,
                heartbeat,
                supervisor,
                terminal_group,
                deposit,
            };
            ChildProcess::fork(generation, tie, |ties| host.be_child(ties))
        });
        match forked {
            Ok(child) => {
                self.children.push(child);
                None
            }
            Err(errno) => self.feed(Input::ForkFailed(generation, errno)),
        }
    }

    fn start(&mut self, generation: Generation, changes: ChangeSet) -> Option<ExitCode> {
        // It could not be forked, and that was told.
        self.child(generation)?;
        if self.host.source_moved_on().is_some() {
            // Saved while no child was there to see it.
            return self.feed(Input::ConfigMovedOn(generation));
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.lend();
        }
        self.reporter.clear();
        self.remedies.command_starts();
        let request = StartRequest {
            generation,
            changes,
            damping: self.machine.damping().clone(),
            carried: self.machine.carried().clone(),
            paused: self.machine.is_paused(),
            traced: self.machine.traces(),
        };
        self.child(generation)?.tell(Directive::Start(request));
        self.describe(generation);
        None
    }

    fn watch_state_for_child(&mut self) -> std::result::Result<WatchState, os::Errno> {
        let kept = match self.watch_state.take() {
            Some(kept) => kept,
            None => WatchState::new(self.host.config().backend)?,
        };
        self.watch_state.insert(kept).duplicate()
    }

    fn describe(&mut self, generation: Generation) {
        if let Err(error) = self.heartbeat.describe(generation, &quoted(self.host.config().words()))
            && generation == Generation::FIRST
        {
            let path = self.heartbeat.path().unwrap_or(Path::new("")).to_owned();
            self.tell(generation, What::Degraded(Degraded::LockfileNotWritten { path, reason: os::reason(error) }));
        }
    }

    fn read_config(&mut self, generation: Generation) {
        let path = self.host.source_moved_on().unwrap_or_else(|| self.host.config().config_file.clone());
        let path = path.display().to_string();
        match self.host.reload() {
            Ok(()) => {
                self.machine.adapt(rules(self.host.config()));
                self.remedies.forget();
                self.reporter.adapt(self.host.config());
                self.reception.adapt(self.host.config());
                self.tell(generation, What::ConfigLoaded { path });
                self.tell_hints(generation);
            }
            Err(mistakes) => {
                self.machine.reject(path.clone());
                self.tell(generation, What::ConfigRejected { path, mistakes });
            }
        }
    }
}

/// What a child has said so far.
fn listen(child: &mut ChildProcess, inputs: &mut Vec<Input>) {
    let generation = child.generation();
    inputs.extend(child.said().into_iter().map(|report| Input::Report(generation, report)));
}

fn rules(config: &Config) -> Rules {
    Rules {
        command: quoted(config.words()),
        has_command: config.command.is_some(),
        on_change: config.on_change.clone(),
        on_exit: config.on_exit,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        probes: config.ready.is_some(),
        answers_signals: config.ready == Some(Probe::Notify),
        overlaps: config.overlap,
    }
}
