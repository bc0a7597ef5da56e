//! What the supervisor does: one thread, one loop, one wait.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::debug;

use super::child_process::{ChildEnds, ChildProcess};
use super::job::Job;
use super::machine::{Action, Input, Machine, Rules};
use super::signals::awaited;
use crate::change::ChangeSet;
use crate::command::out_of_reach;
use crate::config::Config;
use crate::damping::Series;
use crate::degraded::{Degraded, Loss, Topic};
use crate::error::{Error, Result};
use crate::event::{Event, What};
use crate::exit_code::{ChildEnd, ExitCode};
use crate::generation::Generation;
use crate::heartbeat::{Beat, Heartbeat};
use crate::os;
use crate::os::fd::{Wanted, error_is_unread, output_is_unread, wait_readable, wait_ready};
use crate::os::process::{Harvest, own_pid, quoted, reap};
use crate::os::signals::{Received, Signal, SignalStream};
use crate::os::tree::{Process, descendants, is_hidden, with_the_dead};
use crate::os::tty;
use crate::pattern::Shape;
use crate::protocol::{Report, StartRequest, Ties};
use crate::remedy::{self, Place, Reach};
use crate::report::Reporter;

/// How long the leavings of a dead child are waited for after KILL.
const SWEEP: Duration = Duration::from_secs(10);

/// The same where /proc shows nobody: our own child may still be ending.
const SWEEP_BLINDLY: Duration = Duration::from_secs(1);
/// So many files are looked at for a remedy.
const MOST_LOOKS: usize = 20_000;

/// After so long it is known whether the directory of a private lockfile goes as well as the file.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// What lies above the supervisor: where configurations come from, and what a child is.
pub trait Host {
    /// The configuration in force.
    fn config(&self) -> &Config;

    /// Reads the configuration anew and puts it in force.
    ///
    /// # Errors
    /// What is wrong with it, one sentence each; then the one before stays in force.
    fn reload(&mut self) -> std::result::Result<(), Vec<String>>;

    /// Learns where the heartbeat really is: a file of ours that must not count as a change.
    fn writes_to(&mut self, lockfile: &Path);

    /// Whether the config file is not as it was when it was last read.
    fn config_moved_on(&self) -> bool;

    /// Whether a change of this file counts.
    fn counts(&self, path: &Path) -> bool;

    /// Whether the caller of reloadrun ignored a signal.
    fn caller_ignores(&self, signal: Signal) -> bool;

    /// Is a child, in a process of its own.
    fn be_child(&self, request: &StartRequest, ties: Ties) -> ChildEnd;
}

/// Supervises until all is over.
///
/// # Errors
/// The lockfile or the event stream cannot be had, or the system refuses the essentials.
pub fn run(host: &mut dyn Host) -> Result<ExitCode> {
    let refused = |errno: os::Errno| Error::own(format!("the system refuses to supervise: {}", os::reason(errno)));
    let heartbeat = Heartbeat::begin(host.config().lockfile.as_deref())?;
    if let Some(path) = heartbeat.path() {
        host.writes_to(path);
    }
    let reporter = Reporter::open(host.config())?;
    let signals = SignalStream::of(&awaited()).map_err(refused)?;
    os::process::become_subreaper().map_err(refused)?;
    let shares_terminal = tty::is_stdin();
    let now = Instant::now();
    let (machine, first) = Machine::begin(rules(host.config()), shares_terminal, now);
    let mut driver = Driver {
        terminal_group: shares_terminal.then(os::process::own_group),
        terminal: tty::Settings::of_stdin(),
        // A shell that became us by exec may have left us children; they are not ours to end.
        before_us: descendants(own_pid()).iter().map(|process| process.pid).collect(),
        next_beat: now + host.config().interval,
        to_tidy: true,
        remedies: HashSet::new(),
        started_file_ns: 0,
        host,
        machine,
        heartbeat,
        reporter,
        signals,
        child: None,
        legacy: None,
    };
    let path = &driver.host.config().config_file;
    if path.is_file() {
        let path = path.display().to_string();
        driver.tell(What::ConfigLoaded { path });
    }
    driver.tell_hints();
    if is_hidden() {
        driver.tell(What::Degraded(Degraded::NoProc));
    }
    driver.drive(first)
}

struct Driver<'a> {
    host: &'a mut dyn Host,
    machine: Machine,
    heartbeat: Heartbeat,
    reporter: Reporter,
    signals: SignalStream,
    child: Option<ChildProcess>,
    /// What the last child has left to the next.
    legacy: Option<OwnedFd>,
    terminal_group: Option<i32>,
    terminal: Option<tty::Settings>,
    before_us: Vec<i32>,
    next_beat: Instant,
    to_tidy: bool,
    /// The remedies that were told.
    remedies: HashSet<Topic>,
    /// When the present child was started, by the clock of the files.
    started_file_ns: i64,
}

impl Driver<'_> {
    fn drive(&mut self, first: Vec<Action>) -> Result<ExitCode> {
        let mut code = self.perform(first);
        // Not before: the command is on its way.
        self.heartbeat.tidy();
        while code.is_none() {
            let inputs = self.wait()?;
            for input in inputs {
                if code.is_none() {
                    code = self.feed(input);
                }
            }
        }
        self.sweep();
        self.reporter.finish();
        Ok(code.unwrap_or(ExitCode::OWN_FAILURE))
    }

    /// The only wait: for signals (a child's death among them), reports and time.
    fn wait(&mut self) -> Result<Vec<Input>> {
        let until = self.machine.due().map_or(self.next_beat, |due| due.min(self.next_beat));
        let reports = self.child.as_ref().map_or(self.signals.as_fd(), ChildProcess::reports);
        let owed = match self.child.as_ref().and_then(ChildProcess::owed) {
            Some(directives) => (directives, Wanted::ToWrite),
            None => (reports, Wanted::ToRead),
        };
        wait_ready([(self.signals.as_fd(), Wanted::ToRead), (reports, Wanted::ToRead), owed], Some(until))
            .map_err(|errno| Error::own(format!("cannot wait: {}", os::reason(errno))))?;
        if let Some(child) = &mut self.child {
            child.flush();
        }
        let mut inputs = Vec::new();
        // Signals first: a Ctrl-C is known before the end of the command that it caused.
        let mut deaths = false;
        while let Some(received) = self.signals.next() {
            match received.signal {
                Signal::CHLD => deaths = true,
                // Under nohup, the end of the terminal is not ours.
                Signal::HUP if self.host.caller_ignores(Signal::HUP) => {}
                Signal::TSTP if self.host.caller_ignores(Signal::TSTP) => {}
                // Nor is the Ctrl-C of a terminal on which a script put us into the background.
                signal if received.from_terminal && self.host.caller_ignores(signal) => {}
                // `kill 0` in a script means its own group, and in the foreground we are a guest in it.
                _ if self.is_from_command(received) => {}
                _ => inputs.push(Input::Signal(received)),
            }
        }
        inputs.extend(self.listen());
        if deaths {
            self.bury(&mut inputs);
        }
        let ended = inputs.iter().any(|input| matches!(input, Input::Report(Report::Exited { .. })));
        if ended && output_is_unread() {
            // That is why, most likely: it was killed by SIGPIPE.
            inputs.insert(0, Input::Unread { all: error_is_unread() });
        }
        let now = Instant::now();
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
            }
            self.reporter.flush();
        }
        inputs.push(Input::Tick);
        Ok(inputs)
    }

    fn is_from_command(&self, received: Received) -> bool {
        let Received { from_terminal, sender, .. } = received;
        // The leader may have ended of the signal that it sent.
        let from_tree =
            || self.machine.leader() == Some(sender) || descendants(own_pid()).iter().any(|p| p.pid == sender);
        self.terminal_group.is_some() && !from_terminal && sender > 0 && from_tree()
    }

    /// What the child has said so far, without waiting.
    fn listen(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        while let Some(child) = &mut self.child
            && matches!(wait_readable([child.reports()], Some(Instant::now())), Ok([true]))
        {
            let Some(reports) = child.listen() else { break };
            inputs.extend(reports.into_iter().map(Input::Report));
        }
        inputs
    }

    /// Collects the dead: the child, and orphans that came to us.
    fn bury(&mut self, inputs: &mut Vec<Input>) {
        while let Harvest::Ended(pid, status) = reap() {
            match self.child.as_mut().filter(|child| child.pid() == pid) {
                Some(child) => child.was_collected(),
                None => continue,
            }
            // Its last words came before its end.
            inputs.extend(self.listen());
            if !inputs.iter().any(|input| matches!(input, Input::Report(Report::Leaving { .. }))) {
                self.release();
                inputs.push(Input::ChildDied(Loss::Ended(status)));
            }
        }
    }

    fn release(&mut self) {
        self.legacy = self.child.take().map(ChildProcess::leave);
        self.restore_terminal();
    }

    fn restore_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
    }

    fn job(&self) -> Job<'_> {
        Job {
            before_us: &self.before_us,
            child: self.child.as_ref().map(ChildProcess::pid),
            shares_group: self.terminal_group.is_some(),
            awaits_command: self.machine.awaits_command(),
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
        for action in actions {
            match action {
                Action::Tell(what) => self.tell(what),
                Action::TellSeries(series) => self.tell_series(&series),
                Action::ReadConfig => self.read_config(),
                Action::Spawn { generation, changes } => {
                    if let Some(code) = self.spawn(generation, changes) {
                        return Some(code);
                    }
                }
                Action::Send(directive) => {
                    if let Some(child) = &mut self.child {
                        child.tell(directive);
                    }
                }
                Action::Release => self.release(),
                Action::EndLine => self.reporter.end_line(),
                Action::Suspend(how) => self.job().suspend(how),
                Action::Continue => self.job().go_on(),
                Action::Sweep => {
                    let left = self.sweep();
                    if !left.is_empty() {
                        self.tell(What::Degraded(out_of_reach(&left)));
                    }
                    self.release();
                }
                Action::Finish(code) => return Some(code),
            }
        }
        None
    }

    fn tell(&mut self, what: What) {
        if matches!(what, What::Stopped { .. } | What::Exited { .. }) {
            // Before the words: on an alternate screen they would be lost.
            self.restore_terminal();
        }
        self.reporter.tell(&Event { generation: self.machine.generation(), what });
    }

    fn tell_hints(&mut self) {
        for message in self.host.config().hints.clone() {
            self.tell(What::Hint { message });
        }
    }

    /// Says what goes on and what to type against it; the same remedy once.
    fn tell_series(&mut self, series: &Series) {
        let config = self.host.config();
        let named: Vec<PathBuf> = (config.watch.iter().filter(|pattern| matches!(pattern.shape, Shape::Literal)))
            .map(|pattern| pattern.base.clone())
            .collect();
        let others = |directory: &Path, reach: Reach| self.others(directory, reach);
        let place = Place { directory: &config.directory, named: &named, others: &others };
        let degraded = remedy::told(series, &place);
        if self.remedies.insert(degraded.topic()) {
            self.tell(What::Degraded(degraded));
        }
    }

    /// The files here that count and that the series did not write: they are older than the present command, whose
    /// last files may not have been told yet.
    fn others(&self, directory: &Path, reach: Reach) -> Vec<PathBuf> {
        let mut directories = vec![directory.to_owned()];
        let (mut found, mut looks) = (Vec::new(), 0);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                looks += 1;
                if looks > MOST_LOOKS {
                    // Who knows what else is there.
                    found.push(directory);
                    return found;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && reach == Reach::Below => directories.push(path),
                    Ok(kind) if kind.is_dir() => {}
                    _ if self.machine.damping().knows(&path) || !self.host.counts(&path) => {}
                    _ if os::fs::look(&path).ctime_ns >= self.started_file_ns => {}
                    _ => found.push(path),
                }
            }
        }
        found
    }

    fn spawn(&mut self, generation: Generation, changes: ChangeSet) -> Option<ExitCode> {
        if self.host.config_moved_on() {
            // Saved while no child was there to see it.
            self.read_config();
        }
        let request = StartRequest { generation, changes, damping: self.machine.damping().clone() };
        let lockfile = self.heartbeat.path_for_child().map(Path::to_owned);
        let heartbeat = if lockfile.is_none() { self.heartbeat.descriptor_for_child() } else { None };
        let (supervisor, terminal_group) = (own_pid(), self.terminal_group);
        if let Some(terminal) = &mut self.terminal {
            terminal.lend();
        }
        self.reporter.clear();
        self.started_file_ns = os::clock::file_clock_ns();
        let host = &*self.host;
        let started = ChildProcess::start(self.legacy.take(), heartbeat, |ends| {
            let ChildEnds { reports, directives, inherited, legacy, heartbeat } = ends;
            let ties = Ties { reports, directives, inherited, legacy, lockfile, heartbeat, supervisor, terminal_group };
            host.be_child(&request, ties)
        });
        match started {
            Ok(child) => {
                self.child = Some(child);
                self.describe(generation);
                None
            }
            Err(errno) => self.feed(Input::SpawnFailed(errno)),
        }
    }

    fn describe(&mut self, generation: Generation) {
        if let Err(error) = self.heartbeat.describe(generation, &quoted(&self.host.config().command))
            && generation == Generation::FIRST
        {
            let path = self.heartbeat.path().unwrap_or(Path::new("")).to_owned();
            self.tell(What::Degraded(Degraded::LockfileNotWritten { path, reason: os::reason(error) }));
        }
    }

    fn read_config(&mut self) {
        let path = self.host.config().config_file.display().to_string();
        match self.host.reload() {
            Ok(()) => {
                self.machine.adapt(rules(self.host.config()));
                self.remedies.clear();
                self.reporter.adapt(self.host.config());
                self.tell(What::ConfigLoaded { path });
                self.tell_hints();
            }
            Err(mistakes) => self.tell(What::ConfigRejected { path, mistakes }),
        }
    }

    /// Kills whatever still descends from us, and waits until it is gone and collected: where nobody collects orphans, a
    /// zombie of ours would stay for ever. Bounded. Gives back who may not be signalled, and so is left behind.
    fn sweep(&mut self) -> Vec<Process> {
        let began = Instant::now();
        loop {
            let mut harvest = reap();
            while let Harvest::Ended(pid, _) = harvest {
                if let Some(child) = self.child.as_mut().filter(|child| child.pid() == pid) {
                    child.was_collected();
                }
                harvest = reap();
            }
            if harvest == Harvest::NoneLeft || began.elapsed() >= SWEEP {
                return Vec::new();
            }
            let (dead, alive): (Vec<Process>, Vec<Process>) =
                with_the_dead(own_pid(), &self.before_us).into_iter().partition(Process::is_dead);
            let refused = |process: &Process| process.signal(Signal::KILL) == Err(os::Errno::EPERM);
            let refused = alive.iter().filter(|process| refused(process)).count();
            let to_collect = dead.iter().any(|process| process.parent == own_pid());
            let seen = !is_hidden() || began.elapsed() >= SWEEP_BLINDLY;
            if refused == alive.len() && !to_collect && seen {
                return alive;
            }
            // Not on the signals: those that are there must stay for the loop.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        command: quoted(&config.command),
        on_change: config.on_change,
        on_exit: config.on_exit,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
    }
}
