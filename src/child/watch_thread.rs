//! The watcher thread of a child.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::frozen::SharedWatcher;
use super::hold::{Hold, Passed};
use super::inbox::Voice;
use super::pause::Pause;
use super::step::Input;
use crate::change::{Change, ChangeSet};
use crate::degraded::Degraded;
use crate::event::Watching;
use crate::heartbeat::Pulse;
use crate::os;
use crate::protocol::{Report, Response};
use crate::strays::Strays;
use crate::watch::{Wait, Watcher};

/// So long the watcher arms before it looks for changes in what is armed already.
const SLICE: Duration = Duration::from_millis(5);

/// After the command's start, strays are looked for after this time, and then after twice as long, until it is once an
/// interval: daemons detach early.
const FIRST_STRAYS: Duration = Duration::from_millis(5);

/// A pause is looked at again after this time, at the latest.
const LONG: Duration = Duration::from_secs(3600);

/// What the main thread has been told of the watcher's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Quiet,
    Unsettled,
    Certain,
}

/// The watcher thread: arms, compares, settles, feels the pulse, tethers the strays.
pub struct WatchThread {
    /// Armed as far as the command's start allowed. Locked while this thread looks, and not while it waits.
    pub watcher: SharedWatcher,
    /// What it waits for.
    pub wait: Wait,
    /// What of it has to wait.
    pub hold: Hold,
    /// When all of it waits, as the user wants it.
    pub pause: Pause,
    /// When the command ended by itself.
    pub ended: Arc<OnceLock<Instant>>,
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
    /// Whether of all that only what the command reads counts.
    pub narrows: bool,
}

impl WatchThread {
    /// Starts the thread; it ends with the process.
    ///
    /// # Errors
    /// The limit of threads is reached.
    pub fn start(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("watcher".into()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        self.watch();
        // The next child watches, and this one only hosts its command. What it watched with is closed.
        let WatchThread { watcher, wait, mut pulse, mut strays, interval, voice, .. } = self;
        drop((watcher, wait));
        loop {
            std::thread::sleep(interval);
            if !pulse.look() {
                voice.input(Input::PulseLost);
            }
            strays.look();
        }
    }

    /// Until the child leaves, or hands the watching over.
    fn watch(&mut self) {
        let shared = self.watcher.clone();
        let mut told = Told::Quiet;
        let (mut whole, mut fresh) = (false, true);
        let mut next_look = Instant::now() + self.interval;
        let mut pause = FIRST_STRAYS.min(self.interval);
        let mut next_strays = Instant::now() + pause;
        let mut held = None;
        loop {
            let Some(mut watcher) = shared.look() else { return };
            let now = Instant::now();
            if !whole && watcher.arm(now + SLICE, usize::MAX) {
                whole = true;
                self.tell_armed(&mut watcher);
            }
            if whole {
                let due = held.or_else(|| watcher.settler().due());
                let browsers = watcher.due_for_browsers().filter(|_| !self.pause.is_on());
                let until = [due, browsers, watcher.due(), Some(next_strays)]
                    .into_iter()
                    .flatten()
                    .fold(next_look, Instant::min);
                drop(watcher);
                self.wait.until(until);
                let Some(again) = shared.look() else { return };
                watcher = again;
            }
            watcher.look();
            for degraded in watcher.degraded() {
                self.voice.report(Report::Degraded(degraded));
            }
            let now = Instant::now();
            if told == Told::Quiet {
                held = self.hold(&mut watcher, held, now);
            }
            // Of what waits, the main thread learns nothing: no stop begins for it, and none goes on for it.
            if held.is_none() {
                told = self.tell_pending(&watcher, told);
            }
            self.tell_browsers(&mut watcher, now);
            let is_due = watcher.settler().due().is_none_or(|due| due <= now);
            if is_due && told != Told::Quiet && self.tell_settled(&mut watcher) {
                told = Told::Quiet;
            }
            if told == Told::Quiet {
                // Whatever was pending has been told.
                watcher.passed().into_iter().for_each(|mark| self.voice.input(Input::Passed(mark)));
            }
            if now >= next_look {
                watcher.keep_small();
                if whole && std::mem::take(&mut fresh) {
                    os::map::let_go_of_code();
                }
            }
            drop(watcher);
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

    fn tell_armed(&mut self, watcher: &mut Watcher) {
        let watching = watcher.watching(self.patterns.clone(), self.root.clone());
        self.voice.report(Report::Watching(Watching { narrows: self.narrows, ..watching }));
        if let Some(hints) = self.hints.take() {
            for message in hints.into_iter().chain(watcher.hints()) {
                self.voice.report(Report::Hint { message });
            }
        }
        let came = watcher.settle_down();
        if self.hold.is_in_series() && self.hold.came(&came) {
            self.voice.report(Report::Came(ChangeSet::new(came.into_iter().map(Change::unseen))));
        }
    }

    /// Until when all that is pending waits.
    fn hold(&mut self, watcher: &mut Watcher, held: Option<Instant>, now: Instant) -> Option<Instant> {
        if self.pause.is_on() {
            // Its end rings the bell.
            return Some(now + LONG);
        }
        let until = self.hold.until(watcher.settler(), self.ended.get().copied(), watcher.is_awaited(), now);
        if let Some(delay) = self.hold.postponed(now) {
            let path =
                watcher.settler().changes().next().map(|change| change.path.display().to_string()).unwrap_or_default();
            self.voice.report(Report::Postponed { path, delay });
        }
        if held.is_some() && until.is_none() {
            // It may be as it was at the start by now, and then nothing is to be stopped.
            watcher.confirm(now);
        }
        until
    }

    fn tell_pending(&self, watcher: &Watcher, told: Told) -> Told {
        let news = match (watcher.settler().is_empty(), watcher.settler().is_certain()) {
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

    fn tell_browsers(&self, watcher: &mut Watcher, now: Instant) {
        if self.pause.is_on() || watcher.due_for_browsers().is_none_or(|due| due > now) {
            return;
        }
        watcher.confirm(now);
        let Some(changes) = watcher.take_for_browsers(now) else { return };
        let (noticed_ns, quiet, response) = (os::clock::monotonic_ns(), Duration::ZERO, Response::Browsers);
        self.voice.report(Report::Changed { changes, noticed_ns, quiet, response });
    }

    /// False when a last look showed that it is not over yet.
    fn tell_settled(&mut self, watcher: &mut Watcher) -> bool {
        let now = Instant::now();
        watcher.confirm(now);
        let cut = watcher.settler().is_cut(now);
        let Some(changes) = watcher.take(now) else { return false };
        if cut && !changes.is_empty() {
            self.voice.report(never_quiet(&changes));
        }
        let Passed { noticed, quiet } = self.hold.pass(&changes, now);
        let since = i64::try_from(noticed.elapsed().as_nanos()).unwrap_or(0);
        self.voice.input(Input::Settled { changes, noticed_ns: os::clock::monotonic_ns() - since, quiet });
        true
    }
}

/// Somebody writes all the time.
fn never_quiet(changes: &ChangeSet) -> Report {
    let path = changes.paths().next().unwrap_or(Path::new("")).to_owned();
    Report::Degraded(Degraded::NeverQuiet { path })
}
