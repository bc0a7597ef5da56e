//! The watcher thread of a child.

use std::time::{Duration, Instant};

use super::inbox::Voice;
use super::machine::Input;
use crate::change::ChangeSet;
use crate::heartbeat::Pulse;
use crate::os;
use crate::protocol::Report;
use crate::settle::Settler;
use crate::watch::{Complaint, Watcher};

/// So long the watcher arms before it looks for changes in what is armed already.
const SLICE: Duration = Duration::from_millis(20);

/// What the main thread has been told of the watcher's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Quiet,
    Unsettled,
    Certain,
}

/// The watcher thread: arms, compares, settles, feels the pulse.
pub struct WatchThread {
    /// Armed as far as the command's start allowed.
    pub watcher: Watcher,
    /// What it has found so far.
    pub settler: Settler,
    /// The supervisor's heartbeat.
    pub pulse: Pulse,
    /// Between two looks at the heartbeat.
    pub interval: Duration,
    /// To the main thread.
    pub voice: Voice,
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
    pub fn start(self, armed: bool) -> std::io::Result<()> {
        std::thread::Builder::new().name("watcher".into()).spawn(move || self.run(armed)).map(drop)
    }

    fn run(mut self, mut armed: bool) {
        let mut told = Told::Quiet;
        if armed {
            self.tell_armed();
        }
        let mut next_look = Instant::now() + self.interval;
        let mut noticed_ns = 0;
        loop {
            let now = Instant::now();
            if !armed && self.watcher.arm(now + SLICE, usize::MAX, &mut self.settler) {
                armed = true;
                self.tell_armed();
            }
            let until = if armed { self.settler.due().map_or(next_look, |due| due.min(next_look)) } else { now };
            self.watcher.next(Some(until), &mut self.settler);
            for Complaint { message, lasting } in self.watcher.complaints() {
                self.voice.report(Report::Degraded { message, lasting });
            }
            let now = Instant::now();
            if told == Told::Quiet && !self.settler.is_empty() {
                noticed_ns = os::clock::monotonic_ns();
            }
            told = self.tell_pending(told);
            if self.settler.due().is_none_or(|due| due <= now) && told != Told::Quiet && self.tell_settled(noticed_ns) {
                told = Told::Quiet;
            }
            if now >= next_look {
                next_look = now + self.interval;
                if !self.pulse.look() {
                    self.voice.input(Input::PulseLost);
                }
            }
        }
    }

    fn tell_armed(&mut self) {
        let watching = self.watcher.watching(self.patterns.clone(), self.root.clone());
        self.voice.report(Report::Watching(watching));
    }

    fn tell_pending(&self, told: Told) -> Told {
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
