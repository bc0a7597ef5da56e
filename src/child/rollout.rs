//! From a change set to what it leads to: prepare first, then act. No I/O and no clock.
//!
//! A *job* is a process that the child hosts beside the command: a preparation (`--prepare`) or a run
//! (`--on-change run:`). One job runs at a time.
//!
//! | phase     | change set        | job succeeded                        | job failed                            | command ended |
//! |-----------|-------------------|--------------------------------------|---------------------------------------|---------------|
//! | at rest   | prepare, or apply | -                                    | -                                     | -             |
//! | preparing | keep              | kept some: prepare again; else apply | kept some: prepare again; else rest   | -             |
//! | running   | keep              | kept some: prepare, or run again     | the same                              | -             |
//! | prepared  | prepare, or keep  | -                                    | -                                     | dequeue       |
//!
//! *Prepared* exists with `--on-change queue` only: the command is to finish before it starts again. A change set that
//! could not be prepared is kept, and the next change set is merged into it. Where no command runs, to apply is to start it.
//!
//! What a preparation writes must not lead to the next preparation for ever:
//!
//! | changed during                             | taken as                                                            |
//! |--------------------------------------------|---------------------------------------------------------------------|
//! | each of two or more in a row, never at rest | an output of the preparation; it leads to no preparation while one runs |
//! | each of three in a row, also at rest       | a source that the preparation writes; it is applied, not prepared again |
//! | anything else                              | a save: one more preparation                                            |

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::change::{Change, ChangeSet};
use crate::protocol::Carried;

/// After this many preparations in a row for the same files, the preparation itself writes them.
const MOST_IN_A_ROW: u32 = 3;

/// What a change set leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Stop the command and start it again.
    Restart,
    /// Send the command a signal.
    Signal,
    /// Let the command finish, then start it again.
    Queue,
    /// Run another command.
    Run,
}

/// Changes that settled together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The files.
    pub changes: ChangeSet,
    /// Monotonic time of the first notice, nanoseconds.
    pub noticed_ns: i64,
    /// How long nothing had changed before, since the start of the generation.
    pub quiet: Duration,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Start the preparation for these changes.
    Prepare(Batch),
    /// Restart or signal the command.
    Apply(Batch),
    /// Start the run for these changes.
    Run(Batch),
    /// Nothing yet: these wait for the end of the command.
    Queue(Batch),
    /// Start the command again, which has ended; that these wait has been told.
    Dequeue(Batch),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AtRest,
    Preparing,
    Running,
    Prepared,
}

/// What the change sets of one generation lead to.
#[derive(Debug)]
pub struct Rollout {
    prepares: bool,
    goal: Goal,
    phase: Phase,
    command_runs: bool,
    /// Whether a command was started, or does not wait for a preparation.
    has_started: bool,
    /// What has not been applied: the changes of a preparation, and what has come since a run began.
    pending: Option<Batch>,
    /// What of it nobody has been told yet; for [`Goal::Queue`].
    untold: ChangeSet,
    /// What the present run is for.
    serving: Option<ChangeSet>,
    /// What changed during the present preparation.
    kept: Option<Batch>,
    /// How many preparations have followed each other, and the paths that changed during each of them.
    in_a_row: u32,
    in_each: BTreeSet<PathBuf>,
    /// Files that the preparation writes.
    outputs: BTreeSet<PathBuf>,
    /// Files that changed while no job ran.
    sources: BTreeSet<PathBuf>,
}

impl Rollout {
    /// The rollout of a generation whose command runs. `outputs` are those of the generation before.
    pub fn new(goal: Goal, prepares: bool, outputs: BTreeSet<PathBuf>) -> Rollout {
        Rollout {
            prepares,
            goal,
            phase: Phase::AtRest,
            command_runs: true,
            has_started: true,
            pending: None,
            untold: ChangeSet::default(),
            serving: None,
            kept: None,
            in_a_row: 0,
            in_each: BTreeSet::new(),
            outputs,
            sources: BTreeSet::new(),
        }
    }

    /// What the next generation must know.
    pub fn carried(&self) -> Carried {
        let owed = self.serving.clone().unwrap_or_default();
        let owed =
            [&self.pending, &self.kept].into_iter().flatten().fold(owed, |owed, b| owed.merge(b.changes.clone()));
        Carried {
            prepared: self.pending.is_none() && self.kept.is_none(),
            outputs: ChangeSet::new(self.outputs.iter().cloned().map(Change::unseen)),
            unserved: if self.goal == Goal::Run { owed.without_config() } else { ChangeSet::default() },
            heard_ns: 0,
        }
    }

    /// Nothing has been prepared yet: begins with that, before the command starts. These changes led to the start.
    pub fn first(&mut self, batch: Batch) -> Option<Step> {
        (self.command_runs, self.has_started) = (false, false);
        self.pending = Some(batch);
        self.begin()
    }

    /// The command runs.
    pub fn command_started(&mut self) {
        (self.command_runs, self.has_started) = (true, true);
    }

    /// Whether it matters what had changed before the end of the command.
    pub fn queues(&self) -> bool {
        self.goal == Goal::Queue
    }

    /// Whether a job runs.
    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Preparing | Phase::Running)
    }

    /// Whether the job is a preparation.
    pub fn prepares_now(&self) -> bool {
        self.phase == Phase::Preparing
    }

    /// Whether the command may be stopped before the change set is known: only a restart without a preparation.
    pub fn stops_at_once(&self) -> bool {
        self.goal == Goal::Restart && !self.prepares
    }

    /// Files have changed.
    pub fn changed(&mut self, batch: Batch) -> Option<Step> {
        if batch.changes.is_empty() {
            return None;
        }
        match self.phase {
            Phase::AtRest | Phase::Prepared => {
                for path in batch.changes.paths() {
                    self.outputs.remove(path);
                    self.sources.insert(path.to_owned());
                }
                self.keep(if self.waits_for_end() { at_once(batch) } else { batch });
                self.begin()
            }
            Phase::Preparing => {
                self.kept = Some(merged(self.kept.take(), batch));
                None
            }
            Phase::Running => {
                self.keep(at_once(batch));
                None
            }
        }
    }

    /// The job has ended, and every change that it made has been given to [`Rollout::changed`].
    pub fn job_ended(&mut self, succeeded: bool) -> Option<Step> {
        match std::mem::replace(&mut self.phase, Phase::AtRest) {
            Phase::Preparing => self.prepared(succeeded),
            Phase::Running => {
                self.serving = None;
                self.begin()
            }
            phase @ (Phase::AtRest | Phase::Prepared) => {
                self.phase = phase;
                None
            }
        }
    }

    /// The command has ended by itself.
    pub fn command_ended(&mut self) -> Option<Step> {
        self.command_runs = false;
        if self.phase != Phase::Prepared {
            return None;
        }
        self.phase = Phase::AtRest;
        self.pending.take().map(Step::Dequeue)
    }

    /// Whether what changes now waits for the end of a command that may be the one who changes it.
    fn waits_for_end(&self) -> bool {
        self.goal == Goal::Queue && self.command_runs
    }

    fn prepared(&mut self, succeeded: bool) -> Option<Step> {
        let kept = self.kept.take();
        let changed: BTreeSet<PathBuf> =
            kept.iter().flat_map(|batch| batch.changes.paths()).map(PathBuf::from).collect();
        self.in_each = match self.in_a_row {
            0 => changed.clone(),
            _ => self.in_each.intersection(&changed).cloned().collect(),
        };
        self.in_a_row += 1;
        if self.in_a_row > 1 {
            self.outputs.extend(self.in_each.difference(&self.sources).cloned());
        }
        let written = |path: &PathBuf| {
            self.outputs.contains(path) || (self.in_a_row >= MOST_IN_A_ROW && self.in_each.contains(path))
        };
        let again = !changed.iter().all(written);
        if let Some(kept) = kept {
            self.keep(kept);
        }
        if again {
            return self.begin();
        }
        self.in_a_row = 0;
        if succeeded { self.apply() } else { None }
    }

    fn keep(&mut self, batch: Batch) {
        if self.goal == Goal::Queue {
            self.untold = std::mem::take(&mut self.untold).merge(batch.changes.clone());
        }
        self.pending = Some(merged(self.pending.take(), batch));
    }

    fn begin(&mut self) -> Option<Step> {
        let pending = self.pending.as_ref()?;
        if !self.prepares {
            return self.apply();
        }
        let changes = self.without_outputs(pending.changes.clone());
        let batch = Batch { changes, ..*pending };
        self.phase = Phase::Preparing;
        Some(Step::Prepare(batch))
    }

    fn apply(&mut self) -> Option<Step> {
        let untold = std::mem::take(&mut self.untold);
        if self.goal == Goal::Queue && self.command_runs {
            self.phase = Phase::Prepared;
            let untold = self.without_outputs(untold);
            let (noticed_ns, quiet) = self.pending.as_ref().map(|pending| (pending.noticed_ns, pending.quiet))?;
            return (!untold.is_empty()).then_some(Step::Queue(Batch { changes: untold, noticed_ns, quiet }));
        }
        let Batch { changes, noticed_ns, quiet } = self.pending.take()?;
        let batch = Batch { changes: self.without_outputs(changes), noticed_ns, quiet };
        if self.goal == Goal::Run && self.command_runs {
            self.serving = Some(batch.changes.clone());
            // Nothing less than a restart takes a new configuration in. The run for the rest is left to the next generation.
            if !batch.changes.has_config() {
                self.phase = Phase::Running;
                return Some(Step::Run(batch));
            }
        }
        Some(Step::Apply(batch))
    }

    /// What the preparation has written is no reason to tell anybody, unless there is no other.
    fn without_outputs(&self, changes: ChangeSet) -> ChangeSet {
        if !changes.paths().any(|path| self.outputs.contains(path)) {
            return changes;
        }
        let told = ChangeSet::new(changes.iter().filter(|change| !self.outputs.contains(&change.path)).cloned());
        if told.is_empty() && self.has_started { changes } else { told }
    }
}

/// What changed during a run that is followed by another one: between the two there is no rest, however long a run takes.
fn at_once(batch: Batch) -> Batch {
    Batch { quiet: Duration::ZERO, ..batch }
}

/// Both as one: noticed when the first was noticed.
fn merged(before: Option<Batch>, later: Batch) -> Batch {
    match before {
        Some(before) => Batch { changes: before.changes.merge(later.changes), ..before },
        None => later,
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
