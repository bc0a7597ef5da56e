//! The watcher thread of a child.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::inbox::Voice;
use super::machine::Input;
use crate::change::ChangeSet;
use crate::heartbeat::Pulse;
use crate::os;
use crate::protocol::Report;
use crate::settle::Settler;
use crate::strays::Strays;
use crate::watch::{Complaint, Watcher};

/// So long the watcher arms before it looks for changes in what is armed already.
const SLICE: Duration = Duration::from_millis(20);

/// After the command's start, strays are looked for after this time, and then after twice as long, until it is once an
/// interval: daemons detach early.
const FIRST_STRAYS: Duration = Duration::from_millis(5);

/// What the main thread has been told of the watcher's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Quiet,
    Unsettled,
    Certain,
}

/// How far the watcher was armed before the command started.
#[derive(Debug)]
pub enum Armed {
    /// Nothing is left to do.
    Whole,
    /// The rest is armed now.
    Partly {
        /// What the child before has left: it tells what happened to the rest meanwhile.
        inherited: Option<OwnedFd>,
    },
}

/// The watcher thread: arms, compares, settles, feels the pulse, tethers the strays.
pub struct WatchThread {
    /// Armed as far as the command's start allowed.
    pub watcher: Watcher,
    /// What it has found so far.
    pub settler: Settler,
    /// The supervisor's heartbeat.
    pub pulse: Pulse,
    /// Whoever left the command's group.
    pub strays: Strays,
    /// Between two looks at the heartbeat.
    pub interval: Duration,
    /// To the main thread.
    pub voice: Voice,
    /// Whether the patterns are new, so that it is to be told which of them match nothing.
    pub hints: Option<Vec<String>>,
    /// The patterns, as the user wrote them.
    pub patterns: Vec<String>,
    /// What they are relative to.
    pub root: String,
}

impl WatchThread {
    /// Starts the thread; it ends with the process.
    ///
    /// # Errors
    /// The limit of threads is reached.
    pub fn start(self, armed: Armed) -> std::io::Result<()> {
        std::thread::Builder::new().name("watcher".into()).spawn(move || self.run(armed)).map(drop)
    }

    fn run(mut self, armed: Armed) {
        let mut told = Told::Quiet;
        let mut whole = matches!(armed, Armed::Whole);
        match armed {
            Armed::Whole => self.tell_armed(),
            Armed::Partly { inherited: Some(from) } => self.watcher.inherit(from),
            Armed::Partly { inherited: None } => {}
        }
        let mut next_look = Instant::now() + self.interval;
        let mut pause = FIRST_STRAYS.min(self.interval);
        let mut next_strays = Instant::now() + pause;
        let mut noticed_ns = None;
        loop {
            let now = Instant::now();
            if !whole && self.watcher.arm(now + SLICE, usize::MAX, &mut self.settler) {
                whole = true;
                self.tell_armed();
            }
            let timers = next_look.min(next_strays);
            let until = if whole { self.settler.due().map_or(timers, |due| due.min(timers)) } else { now };
            self.watcher.next(Some(until), &mut self.settler);
            for Complaint { message, lasting } in self.watcher.complaints() {
                self.voice.report(Report::Degraded { message, lasting });
            }
            let now = Instant::now();
            if told == Told::Quiet {
                noticed_ns = (!self.settler.is_empty()).then(os::clock::monotonic_ns);
            }
            told = self.tell_pending(told);
            if self.settler.due().is_none_or(|due| due <= now)
                && told != Told::Quiet
                && self.tell_settled(noticed_ns.unwrap_or(0))
            {
                told = Told::Quiet;
                noticed_ns = None;
            }
            if now >= next_look {
                next_look = now + self.interval;
                if !self.pulse.look() {
                    self.voice.input(Input::PulseLost);
                }
            }
            if now >= next_strays {
                self.strays.look();
                pause = (pause * 2).min(self.interval);
                // In the end together with the pulse: one wake-up, not two.
                next_strays = if pause == self.interval { next_look } else { now + pause };
            }
        }
    }

    fn tell_armed(&mut self) {
        let watching = self.watcher.watching(self.patterns.clone(), self.root.clone());
        self.voice.report(Report::Watching(watching));
        if let Some(hints) = self.hints.take() {
            for message in hints.into_iter().chain(self.watcher.hints()) {
                self.voice.report(Report::Hint { message });
            }
        }
    }

    fn tell_pending(&mut self, told: Told) -> Told {
        let news = match (self.settler.is_empty(), self.settler.is_certain()) {
            (true, _) => return told,
            (false, true) => Told::Certain,
            (false, false) => Told::Unsettled,
        };
        if news == told || told == Told::Certain {
            return told;
        }
        self.voice.input(if news == Told::Certain { Input::Certain } else { Input::Unsettled });
        news
    }

    /// False when a last look showed that it is not over yet.
    fn tell_settled(&mut self, noticed_ns: i64) -> bool {
        let now = Instant::now();
        self.watcher.confirm(&mut self.settler, now);
        let changes = match self.settler.take(now) {
            Some(changes) => changes,
            None if self.settler.is_empty() => ChangeSet::default(),
            None => return false,
        };
        self.watcher.accept(&changes);
        self.voice.input(Input::Settled { changes, noticed_ns });
        true
    }
}
