//! Whether a command that has ended has heard the last signal for a change.
//!
//! | how it ended               | when, after the signal | it has not heard it                                   |
//! |----------------------------|------------------------|-------------------------------------------------------|
//! | killed by that signal      | at any time            | it had no handler                                     |
//! | exited with 128+n          | within 10 s            | the same: its parent, a shell or tini, says so        |
//! | exited with another code   | within 5 s             | with `--on-exit wait`, if there was another signal within 5 s before it: the first may have broken it |
//! | in any way                 | at any time            | if the signal reached nobody                          |
//!
//! In all other cases it has.

use std::time::{Duration, Instant};

use crate::change::ChangeSet;
use crate::config::OnChange;
use crate::exit_code::{CommandStatus, ExitCode};

/// A command that exits with 128+n so soon after the signal n for a change has ended of it: what forwards the signal may
/// take a while.
const AFTERMATH: Duration = Duration::from_secs(10);

/// A command that exits so soon after two changes may have been ending when the second came: a master whose workers fail
/// to boot takes a while to give up.
const GIVING_UP: Duration = Duration::from_secs(5);

/// The changes that the command got a signal for.
#[derive(Debug)]
struct Signalled {
    changes: ChangeSet,
    noticed_ns: i64,
    /// Of signals that follow each other soon, the first.
    first: Instant,
    last: Instant,
}

/// The signals for changes that one command got.
#[derive(Debug)]
pub struct Signals {
    /// The number of the signal, if there is one.
    number: Option<i32>,
    /// Whether the end of the command leads to nothing but waiting.
    waits: bool,
    sent: Option<Signalled>,
    undelivered: bool,
}

impl Signals {
    /// None was sent. `waits`: the end of the command leads to nothing but waiting.
    pub fn new(on_change: &OnChange, waits: bool) -> Signals {
        let number = match on_change {
            OnChange::Signal(signal) => Some(signal.number()),
            OnChange::Restart | OnChange::Queue | OnChange::Run(_) => None,
        };
        Signals { number, waits, sent: None, undelivered: false }
    }

    /// One is sent for these changes, the first of which was noticed at that monotonic time.
    pub fn sent(&mut self, changes: ChangeSet, noticed_ns: i64, now: Instant) {
        let before = self.sent.take().filter(|before| now <= before.last + GIVING_UP);
        self.sent = Some(match before {
            Some(before) => Signalled { changes: before.changes.merge(changes), last: now, ..before },
            None => Signalled { changes, noticed_ns, first: now, last: now },
        });
    }

    /// The last one has reached nobody.
    pub fn undelivered(&mut self) {
        self.undelivered = true;
    }

    /// The command has ended like this. Returns what it got signals for and cannot have taken in, and when the first of it
    /// was noticed.
    pub fn unheard(&mut self, status: &CommandStatus, now: Instant) -> Option<(ChangeSet, i64)> {
        let number = self.number?;
        let sent = self.sent.take()?;
        let within = |time: Duration| now <= sent.last + time;
        let unheard = match status {
            _ if self.undelivered => true,
            CommandStatus::Signaled { signal, .. } => *signal == number,
            CommandStatus::CannotRun(_) | CommandStatus::NotFound(_) => false,
            CommandStatus::Exited(_) if status.code() == ExitCode::of_signal(number) && within(AFTERMATH) => true,
            CommandStatus::Exited(_) => self.waits && within(GIVING_UP) && sent.first < sent.last,
        };
        unheard.then_some((sent.changes, sent.noticed_ns))
    }
}
