//! Whether the command is ready (`--ready`): asked early and often, and proven to be of this generation.
//!
//! A thread of the child's asks: connections and requests may hang, and the child's one wait must not. It ends with the
//! process, or earlier when the command is stopped. Its machine decides; nothing here knows what readiness leads to.

mod attempt;
mod machine;
mod news;
mod notify;
mod owner;
pub mod place;
mod reloads;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use self::attempt::{Attempt, Limits, answers};
use self::machine::{Action, Found, Input, Kind, Machine, Verdict};
pub use self::news::News;
use self::notify::{Ear, Listening};
use self::owner::Ours;
use self::reloads::Reloads;
use crate::degraded::Degraded;
use crate::exit_code::CommandStatus;
use crate::os::fd::{Bell, pipe, read_some, wait_readable};
use crate::os::handed_over::{lend, take_back};
use crate::os::process::own_pid;
use crate::os::signals::Signal;
use crate::os::tree::{Process, descendants};
use crate::probe::Probe;
use crate::protocol::Ready;

/// One run of an `exec:` probe may take so long; then it is killed and has failed.
const LONGEST_RUN: Duration = Duration::from_secs(10);

/// Of the addresses at which the command listens, so many are told.
const MOST_SHOWN: usize = 3;

/// Starts the line of an `exec:` probe, and gives back its pid. It leads a group of its own.
pub type StartProbe = Box<dyn Fn(&str) -> Result<i32, String> + Send>;

/// A probe that is set up before the command starts.
#[derive(Debug)]
pub struct Prober {
    probe: Probe,
    timeout: Duration,
    /// The inodes of the sockets that reloadrun holds.
    held: Vec<u64>,
    answered_before: bool,
    source: Option<Source>,
}

/// Where the command itself tells that it is ready.
#[derive(Debug)]
enum Source {
    Notify(Ear),
    Pipe(OwnedFd),
}

impl Prober {
    /// Makes everything ready for a command that is about to start.
    ///
    /// # Errors
    /// The system's: no descriptor is left.
    pub fn set_up(probe: Probe, timeout: Duration, held: Vec<u64>) -> io::Result<Prober> {
        let source = match &probe {
            Probe::Notify => Some(Source::Notify(Ear::open()?)),
            Probe::Descriptor(number) => {
                let (reader, writer) = pipe()?;
                lend(writer.as_fd(), *number)?;
                Some(Source::Pipe(reader))
            }
            Probe::Http { .. } | Probe::Tcp { .. } | Probe::Unix(_) | Probe::Exec(_) => None,
        };
        let answered_before = answers(&probe, &held);
        Ok(Prober { probe, timeout, held, answered_before, source })
    }

    /// What the command finds in `NOTIFY_SOCKET`.
    pub fn notify_socket(&self) -> Option<String> {
        match &self.source {
            Some(Source::Notify(ear)) => Some(ear.address()),
            _ => None,
        }
    }

    /// Asks from now on, for a command that has started now.
    ///
    /// # Errors
    /// The limit of threads is reached.
    pub fn start(self, start_probe: StartProbe, tell: impl Fn(News) + Send + 'static) -> io::Result<Asking> {
        if let Probe::Descriptor(number) = self.probe {
            // The command has its own by now, and the end of the pipe is to be noticed.
            take_back(number)?;
        }
        let (bell, over) = (Arc::new(Bell::new()?), Arc::new(AtomicBool::new(false)));
        let (sender, ended) = channel();
        let (tell, now) = (Box::new(tell), Instant::now());
        let thread = std::thread::Builder::new().name("ready".into());
        let mut asking = Asking { bell: Arc::clone(&bell), over: Arc::clone(&over), ended: sender, ear: None };
        let pipe = match self.source {
            Some(Source::Notify(ear)) => {
                let ear = Arc::new(ear);
                asking.ear = Some(Arc::clone(&ear));
                let machine = Reloads::new(self.timeout, now);
                thread.spawn(move || Listening { machine, ear, bell, over, tell }.run())?;
                return Ok(asking);
            }
            Some(Source::Pipe(pipe)) => Some(pipe),
            None => None,
        };
        let kind = match &self.probe {
            Probe::Descriptor(number) => {
                Kind::Passive(format!("the command has written no newline to descriptor {number}"))
            }
            _ => Kind::Active { answered_before: self.answered_before },
        };
        let machine = Machine::new(kind, self.timeout, now);
        let Prober { probe, held, .. } = self;
        let thread_of = Thread { machine, probe, held, pipe, bell, over, ended, running: None, start_probe, tell };
        thread.spawn(move || thread_of.run())?;
        Ok(asking)
    }
}

/// The asking thread, from outside.
#[derive(Debug)]
pub struct Asking {
    bell: Arc<Bell>,
    over: Arc<AtomicBool>,
    ended: Sender<(i32, CommandStatus)>,
    /// Where the command tells by itself what it does about a signal.
    ear: Option<Arc<Ear>>,
}

impl Asking {
    /// The command is about to get the signal of this number for a change: what it has said before is no answer.
    pub fn expect_answer(&self, number: u64) {
        if let Some(ear) = &self.ear {
            ear.expect_answer(number);
            self.bell.ring();
        }
    }

    /// Asks no more: the command has ended, or is being stopped.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    /// A child of this process was collected; it may be the run of an `exec:` probe.
    pub fn collected(&self, pid: i32, status: CommandStatus) {
        if self.ended.send((pid, status)).is_ok() {
            self.bell.ring();
        }
    }
}

/// A run of an `exec:` probe.
#[derive(Debug)]
struct Run {
    pid: i32,
    process: Option<Process>,
    until: Instant,
}

struct Thread {
    machine: Machine,
    probe: Probe,
    held: Vec<u64>,
    /// Of `fd:N`.
    pipe: Option<OwnedFd>,
    bell: Arc<Bell>,
    over: Arc<AtomicBool>,
    ended: Receiver<(i32, CommandStatus)>,
    running: Option<Run>,
    start_probe: StartProbe,
    tell: Box<dyn Fn(News) + Send>,
}

impl Thread {
    fn run(mut self) {
        let mut input = Input::Tick;
        loop {
            let mut done = None;
            for action in self.machine.step(input, Instant::now()) {
                match action {
                    Action::Try => done = self.attempt(),
                    told => self.pass_on(told),
                }
            }
            if let Some(attempt) = done {
                // What it has found is the stop's doing.
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                input = Input::Tried(attempt.found.clone());
                let actions = self.machine.step(input, Instant::now());
                // The next attempt has its time.
                actions.into_iter().filter(|action| *action != Action::Try).for_each(|told| self.pass_on(told));
                attempt.finish();
            }
            // A second newline, of another worker perhaps, must not end whoever writes it.
            if self.machine.is_ready() && self.pipe.is_none() {
                return;
            }
            input = match self.wait() {
                Some(input) => input,
                None => return self.kill_run(),
            };
        }
    }

    fn pass_on(&self, action: Action) {
        (self.tell)(match action {
            Action::Ready(after) => News::Ready(Ready::at_start(after)),
            Action::Tell(degraded) => News::Degraded(degraded),
            Action::Late { timeout, reason, unreached } => {
                let elsewhere = if unreached { listens(&place::listens_on(&tree())) } else { String::new() };
                News::Degraded(Degraded::NotReady { timeout, reason: reason + &elsewhere })
            }
            Action::Try => return,
        });
    }

    /// The thread's one wait: for the bell, for the command's own word, for time. `None` when it is all over.
    fn wait(&mut self) -> Option<Input> {
        let run_until = self.running.as_ref().map(|run| run.until);
        let until = self.machine.due().into_iter().chain(run_until).min();
        let pipe = self.pipe.as_ref().map_or(self.bell.as_fd(), AsFd::as_fd);
        let Ok([rung, told]) = wait_readable([self.bell.as_fd(), pipe], until) else { return None };
        if rung {
            self.bell.hush();
        }
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        if told && self.hear() {
            return Some(Input::Told);
        }
        Some(self.run_is_over().map_or(Input::Tick, |found| Input::Tried(vec![found])))
    }

    /// Whether the command has said that it is ready.
    fn hear(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut bytes = [0; 512];
        match read_some(pipe, &mut bytes) {
            Ok(0) | Err(_) => {
                // Closed without a newline: it will not come any more, and the time runs out.
                self.pipe = None;
                false
            }
            Ok(count) => bytes[..count].contains(&b'\n'),
        }
    }

    /// An attempt that is over at once; `None` for a run that has begun.
    fn attempt(&mut self) -> Option<Attempt> {
        let Probe::Exec(line) = &self.probe else {
            let limits = Limits { until: self.machine.late_at(), bell: &self.bell, over: &self.over };
            return Some(Attempt::make(&self.probe, &Ours { tree: &tree, held: &self.held }, &limits));
        };
        match (self.start_probe)(line) {
            Ok(pid) => {
                self.running = Some(Run { pid, process: Process::of(pid), until: Instant::now() + LONGEST_RUN });
                None
            }
            Err(reason) => Some(Attempt::of(Found::NotYet(format!("the probe cannot be run: {reason}")))),
        }
    }

    /// What the run of the probe has found, if it is over.
    fn run_is_over(&mut self) -> Option<Found> {
        let ended: Vec<(i32, CommandStatus)> = self.ended.try_iter().collect();
        let run = self.running.as_ref()?;
        if let Some((_, status)) = ended.into_iter().find(|(pid, _)| *pid == run.pid) {
            self.running = None;
            return Some(match status {
                CommandStatus::Exited(0) => Found::Good(self.probe.to_string(), Verdict::Ours),
                status => Found::NotYet(format!("the probe {status}")),
            });
        }
        if Instant::now() >= run.until {
            self.kill_run();
            return Some(Found::NotYet(format!("the probe took longer than {LONGEST_RUN:?} and was killed")));
        }
        None
    }

    /// The run with all that it has started, as far as that stayed in its group.
    fn kill_run(&mut self) {
        let Some(run) = self.running.take() else { return };
        let group = descendants(own_pid()).into_iter().filter(|process| process.group == run.pid);
        for process in group.chain(run.process) {
            let _ = process.signal(Signal::KILL);
        }
    }
}

/// The command's processes.
fn tree() -> Vec<i32> {
    descendants(own_pid()).iter().map(|process| process.pid).collect()
}

/// `; the command listens on [::1]:8000`: many servers take one address of `localhost` only, or a port of their own.
fn listens(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(MOST_SHOWN).map(SocketAddr::to_string).collect();
    if shown.is_empty() { String::new() } else { format!("; the command listens on {}", shown.join(", ")) }
}
