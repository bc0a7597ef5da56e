//! What leads to the next start, and what was said already.

use std::collections::HashSet;

use crate::change::ChangeSet;
use crate::degraded::{Degraded, Topic};
use crate::event::{Cause, What};

/// What leads to a start, collected until the command runs.
#[derive(Debug, Default)]
pub struct Behind {
    /// The files that changed.
    pub changes: ChangeSet,
    noticed_ns: Option<i64>,
    stop_ns: Option<u64>,
    /// What else than a change leads to it.
    cause: Option<Cause>,
    /// Whether a command was started before.
    is_restart: bool,
}

impl Behind {
    /// These files changed too. The first notice counts.
    pub fn add(&mut self, changes: ChangeSet, noticed_ns: i64) {
        self.noticed_ns.get_or_insert(noticed_ns);
        self.changes = std::mem::take(&mut self.changes).merge(changes);
    }

    /// This leads to the start too. What came last counts, and a change counts more.
    pub fn because(&mut self, cause: Cause) {
        self.cause = Some(cause);
    }

    /// The command stopped for a change that came to nothing.
    pub fn came_to_nothing(&mut self) {
        self.cause.get_or_insert(Cause::Change);
    }

    /// The stop of the generation before took this long.
    pub fn stopped(&mut self, took_ns: u64) {
        self.stop_ns = Some(took_ns);
    }

    /// The command runs: what is told of it. From here on all this is behind the start that has been.
    pub fn started(&mut self, pid: i32, command: String, monotonic_ns: i64) -> What {
        let next = Behind { is_restart: true, ..Behind::default() };
        let Behind { changes, noticed_ns, stop_ns, cause, is_restart } = std::mem::replace(self, next);
        let restart_ms = noticed_ns.map(|noticed| (monotonic_ns - noticed).max(0) as f64 / 1e6);
        let cause = match cause {
            _ if !is_restart => Cause::First,
            _ if changes.has_config() => Cause::Config,
            _ if !changes.is_empty() => Cause::Change,
            cause => cause.unwrap_or(Cause::Asked),
        };
        What::Started { pid, command, changes, stop_ms: stop_ns.map(|took| took as f64 / 1e6), restart_ms, cause }
    }
}

/// What is not said again.
#[derive(Debug, Default)]
pub struct Said {
    /// What lasts: every generation finds it anew.
    lasting: HashSet<Topic>,
    /// The advice that was given.
    advice: HashSet<String>,
    /// That the heartbeat fails, until it beats again.
    pub beat_failed: bool,
}

impl Said {
    /// Whether this is news.
    pub fn is_news(&mut self, degraded: &Degraded) -> bool {
        degraded.lasts().is_none_or(|topic| self.lasting.insert(topic))
    }

    /// Whether this advice is given for the first time.
    pub fn is_new_advice(&mut self, about: String) -> bool {
        self.advice.insert(about)
    }

    /// Other settings may watch other places, in another way.
    pub fn forget(&mut self) {
        self.lasting.clear();
        self.advice.clear();
    }
}
