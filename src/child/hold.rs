//! Which pending changes wait, because restarts follow each other too fast. Pure: time is an argument.
//!
//! The command runs on meanwhile, and what else the series changes waits with them. A change that does not belong to the
//! series lets everything pass at once. So does `reloadrun wait`: a series that nobody wants has nobody who waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::damping::{Damping, SOON};
use crate::settle::Settler;

/// The wait of what is pending.
#[derive(Debug)]
pub struct Hold {
    damping: Damping,
    start: Instant,
    /// Whether a change leads to a signal while the command runs: that is no restart, and does not wait.
    signals: bool,
    /// Whether what has passed counts as a restart here, because the child goes on.
    counts: bool,
    /// All of it waits so long after the first of it.
    jitter: Duration,
    /// Whether a preparation runs. What changes meanwhile is most likely its output; of that, the rollout takes care.
    preparing: Arc<AtomicBool>,
    /// Whether the command is started again when it has ended.
    queues: bool,
    /// Whether a run for a change is under way, which is followed by another one.
    running: Arc<AtomicBool>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
    /// When the change came that it passes for.
    noticed: Instant,
    /// The longest time before a change in which nothing changed.
    quiet: Duration,
    waits: bool,
    /// Whether it was told that it waits.
    told: bool,
}

/// What is known of changes that have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The notice of the change that they passed for: the first one, or the one that ended a wait.
    pub noticed: Instant,
    /// The quiet time before them.
    pub quiet: Duration,
}

impl Hold {
    /// The command starts now.
    pub fn new(damping: Damping, signals: bool, start: Instant) -> Hold {
        let (preparing, running) = (Arc::default(), Arc::default());
        Hold {
            damping,
            start,
            signals,
            counts: false,
            jitter: Duration::ZERO,
            preparing,
            queues: false,
            running,
            pending: None,
        }
    }

    /// Everything waits at least so long (`--jitter`).
    pub fn spread(self, jitter: Duration) -> Hold {
        Hold { jitter, ..self }
    }

    /// The child goes on when changes have passed: then what it does about them counts as a restart.
    pub fn counting(self, preparing: Arc<AtomicBool>) -> Hold {
        Hold { counts: true, preparing, ..self }
    }

    /// Between two commands of a queue, or two runs, there is no rest, however long one takes: what changes meanwhile follows at
    /// once.
    pub fn without_rest(self, queues: bool, running: Arc<AtomicBool>) -> Hold {
        Hold { queues, running, ..self }
    }

    /// Until when all that is pending waits; `None` if it need not. `ended` is when the command ended by itself. `awaited` says
    /// whether somebody waits for what comes of it.
    pub fn until(&mut self, settler: &Settler, ended: Option<Instant>, awaited: bool, now: Instant) -> Option<Instant> {
        let Some(last) = settler.last() else {
            self.pending = None;
            return None;
        };
        let is_busy = self.queues && ended.is_none() || self.running.load(Ordering::Relaxed);
        let quiet = if is_busy { Duration::ZERO } else { now.saturating_duration_since(self.start) };
        let pending =
            self.pending.get_or_insert(Pending { first: now, last, noticed: now, quiet, waits: false, told: false });
        // While the command runs it may just be slow. After its end, quiet is quiet.
        let quiet = ended.map(|ended| last.saturating_duration_since(ended.max(pending.last)));
        pending.quiet = pending.quiet.max(quiet.unwrap_or_default());
        pending.last = last;
        let is_free = self.signals && ended.is_none() || self.preparing.load(Ordering::Relaxed);
        let at_once = pending.quiet > SOON || awaited || is_free;
        let wait = if at_once { None } else { self.damping.wait(settler.changes()) };
        if wait.is_none() && pending.waits {
            pending.noticed = now;
        }
        let damped = wait.map(|wait| pending.first + wait).filter(|until| *until > now);
        pending.waits = damped.is_some();
        let spread = Some(pending.first + self.jitter).filter(|until| *until > now);
        damped.max(spread)
    }

    /// How long what is pending still waits because of `--jitter`, once for each change.
    pub fn postponed(&mut self, now: Instant) -> Option<Duration> {
        let pending = self.pending.as_mut().filter(|pending| !pending.told)?;
        let until = pending.first + self.jitter;
        pending.told = until > now;
        pending.told.then(|| until - now)
    }

    /// Whether a series is on its way.
    pub fn is_in_series(&self) -> bool {
        self.damping.is_in_series()
    }

    /// These files came just before the start; says whether any did.
    pub fn came(&mut self, files: &[PathBuf]) -> bool {
        self.damping.came(files.iter().map(PathBuf::as_path));
        !files.is_empty()
    }

    /// These were pending, and have passed.
    pub fn pass(&mut self, changes: &ChangeSet, now: Instant) -> Passed {
        let pending = self.pending.take();
        let passed = Passed {
            noticed: pending.map_or(now, |pending| pending.noticed),
            quiet: pending.map_or(Duration::ZERO, |pending| pending.quiet),
        };
        if self.counts && !changes.is_empty() && !self.preparing.load(Ordering::Relaxed) {
            // The supervisor counts too, and tells.
            self.damping.restart(changes, passed.quiet);
            self.start = now;
        }
        passed
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
