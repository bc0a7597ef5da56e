//! Whether the command is ready (`--ready`): asked early and often, and proven to be of this generation.
//!
//! A thread of the child's asks: connections and requests may hang, and the child's one wait must not. It ends with the
//! process, or earlier when the command is stopped. Its machine decides; nothing here knows what readiness leads to.

mod attempt;
mod machine;
mod notify;
mod owner;
pub mod place;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use self::attempt::{Attempt, answers};
use self::machine::{Action, Found, Input, Kind, Machine, Verdict};
use self::owner::Ours;
use crate::degraded::Degraded;
use crate::exit_code::CommandStatus;
use crate::os::fd::{Bell, pipe, read_some, wait_readable};
use crate::os::handed_over::{lend, take_back};
use crate::os::notify::NotifySocket;
use crate::os::process::own_pid;
use crate::os::signals::Signal;
use crate::os::tree::{Process, descendants};
use crate::probe::Probe;

/// One run of an `exec:` probe may take so long; then it is killed and has failed.
const LONGEST_RUN: Duration = Duration::from_secs(10);

/// Between two states of the command that are told.
const BETWEEN_STATES: Duration = Duration::from_millis(500);

/// What the thread has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The command is ready, so long after its start.
    Ready(Duration),
    /// What the command says that it is doing, until it is ready.
    Status(String),
    /// Something stands in the way, or cannot be known.
    Degraded(Degraded),
}

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
    Notify(NotifySocket),
    Pipe(OwnedFd),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Notify(socket) => socket.as_fd(),
            Source::Pipe(pipe) => pipe.as_fd(),
        }
    }
}

impl Prober {
    /// Makes everything ready for a command that is about to start.
    ///
    /// # Errors
    /// The system's: no descriptor is left.
    pub fn set_up(probe: Probe, timeout: Duration, held: Vec<u64>) -> io::Result<Prober> {
        let source = match &probe {
            Probe::Notify => Some(Source::Notify(NotifySocket::open()?)),
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
            Some(Source::Notify(socket)) => Some(socket.address()),
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
        let bell = Arc::new(Bell::new()?);
        let over = Arc::new(AtomicBool::new(false));
        let (sender, ended) = channel();
        let kind = match &self.probe {
            Probe::Notify => Kind::Passive("the command has not sent READY=1".to_owned()),
            Probe::Descriptor(number) => {
                Kind::Passive(format!("the command has written no newline to descriptor {number}"))
            }
            _ => Kind::Active { answered_before: self.answered_before },
        };
        let thread = Thread {
            machine: Machine::new(kind, self.timeout, Instant::now()),
            probe: self.probe,
            held: self.held,
            source: self.source,
            bell: Arc::clone(&bell),
            over: Arc::clone(&over),
            ended,
            running: None,
            status: None,
            next_status: Instant::now(),
            start_probe,
            tell: Box::new(tell),
        };
        std::thread::Builder::new().name("ready".into()).spawn(move || thread.run())?;
        Ok(Asking { bell, over, ended: sender })
    }
}

/// The asking thread, from outside.
#[derive(Debug)]
pub struct Asking {
    bell: Arc<Bell>,
    over: Arc<AtomicBool>,
    ended: Sender<(i32, CommandStatus)>,
}

impl Asking {
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
    source: Option<Source>,
    bell: Arc<Bell>,
    over: Arc<AtomicBool>,
    ended: Receiver<(i32, CommandStatus)>,
    running: Option<Run>,
    /// What the command has said last and nobody was told yet.
    status: Option<String>,
    next_status: Instant,
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
                    Action::Ready(after) => (self.tell)(News::Ready(after)),
                    Action::Tell(degraded) => (self.tell)(News::Degraded(degraded)),
                }
            }
            if let Some(attempt) = done {
                input = Input::Tried(attempt.found.clone());
                for action in self.machine.step(input, Instant::now()) {
                    match action {
                        Action::Ready(after) => (self.tell)(News::Ready(after)),
                        Action::Tell(degraded) => (self.tell)(News::Degraded(degraded)),
                        // The next one has its time.
                        Action::Try => {}
                    }
                }
                attempt.finish();
            }
            if self.machine.is_ready() && !matches!(self.source, Some(Source::Notify(_))) {
                return;
            }
            input = match self.wait() {
                Some(input) => input,
                None => return self.kill_run(),
            };
        }
    }

    /// The thread's one wait: for the bell, for the command's own word, for time. `None` when it is all over.
    fn wait(&mut self) -> Option<Input> {
        let run_until = self.running.as_ref().map(|run| run.until);
        let status_at = self.status.as_ref().map(|_| self.next_status);
        let until = [self.machine.due(), run_until, status_at].into_iter().flatten().min();
        let source = self.source.as_ref().map_or(self.bell.as_fd(), AsFd::as_fd);
        let Ok([rung, told]) = wait_readable([self.bell.as_fd(), source], until) else { return None };
        if rung {
            self.bell.hush();
        }
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let ready = told && self.source.is_some() && self.hear();
        self.tell_status();
        if ready {
            return Some(Input::Told);
        }
        Some(self.run_is_over().map_or(Input::Tick, |found| Input::Tried(vec![found])))
    }

    /// Whether the command has said that it is ready.
    fn hear(&mut self) -> bool {
        match &self.source {
            Some(Source::Notify(socket)) => {
                let mut ready = false;
                while let Some(message) = socket.receive() {
                    // Every user of this machine can write to an abstract socket whose name he finds in /proc/net/unix.
                    if !is_of_tree(message.uid) {
                        continue;
                    }
                    let said = notify::read(&message.text);
                    ready |= said.ready;
                    if !ready && !self.machine.is_ready() {
                        self.status = said.status.filter(|status| !status.is_empty()).or(self.status.take());
                    }
                }
                ready
            }
            Some(Source::Pipe(pipe)) => {
                let mut bytes = [0; 512];
                match read_some(pipe, &mut bytes) {
                    Ok(0) | Err(_) => {
                        // Closed without a newline: it will not come any more, and the time runs out.
                        self.source = None;
                        false
                    }
                    Ok(count) => bytes[..count].contains(&b'\n'),
                }
            }
            None => false,
        }
    }

    fn tell_status(&mut self) {
        let now = Instant::now();
        if now >= self.next_status
            && let Some(status) = self.status.take()
        {
            self.next_status = now + BETWEEN_STATES;
            (self.tell)(News::Status(status));
        }
    }

    /// An attempt that is over at once; `None` for a run that has begun.
    fn attempt(&mut self) -> Option<Attempt> {
        let Probe::Exec(line) = &self.probe else {
            let tree: Vec<i32> = descendants(own_pid()).iter().map(|process| process.pid).collect();
            return Some(Attempt::make(&self.probe, &Ours { tree: &tree, held: &self.held }));
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

/// Whether this user is the one of a process of the tree, or may do what they like anyway.
fn is_of_tree(uid: u32) -> bool {
    let owner = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid());
    uid == 0
        || owner(own_pid()) == Some(uid)
        || descendants(own_pid()).iter().any(|process| owner(process.pid) == Some(uid))
}
