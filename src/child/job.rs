//! Jobs: what a child starts beside the command, one at a time: preparations (`--prepare`) and runs (`--on-change run:`).
//!
//! A job is a line for the shell, in a process group of its own, without input. It belongs to the tree of the child as the
//! command does, and is ended with it.
//!
//! A run names the changed files in its arguments and its environment. What is too much for one exec is split into several
//! runs, one after the other; to the machine they are one job, which has failed if any of them has.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::change::{ChangeKind, ChangeSet};
use crate::command::{Variables, changes_fit};
use crate::exit_code::CommandStatus;
use crate::os::Errno;
use crate::os::seccomp::Installation;
use crate::os::signals::{Dispositions, Signal, send_to_group};
use crate::os::spawn::{Failure, Group, Step, spawn};
use crate::os::tether::Tether;
use crate::program;

const SHELL: &str = "/bin/sh";

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What must succeed before a change is acted on.
    Preparation,
    /// What a change leads to.
    Run,
}

/// Its process.
#[derive(Debug)]
pub struct Hosted {
    /// The pid.
    pub pid: i32,
    /// Kills its group when we are killed.
    pub _tether: Option<Tether>,
}

/// Why it could not be started.
#[derive(Debug)]
pub enum Refused {
    /// There are too many changes for one exec.
    TooMuch,
    /// For this reason.
    Status(CommandStatus),
}

/// The job that is under way.
#[derive(Debug)]
pub struct Job {
    kind: Kind,
    began: Instant,
    present: Option<Hosted>,
    /// What the runs after the present one are for.
    ahead: VecDeque<ChangeSet>,
    /// How the first one ended that failed.
    failed: Option<CommandStatus>,
    /// What the present one is begun anew for when it has ended.
    again: Option<ChangeSet>,
}

impl Job {
    /// A job for these changes, of which nothing has been started.
    pub fn new(kind: Kind, changes: ChangeSet) -> Job {
        // A preparation is one, whatever changed.
        let ahead = match kind {
            Kind::Preparation => VecDeque::from([changes]),
            Kind::Run => pieces(changes),
        };
        Job { kind, began: Instant::now(), present: None, ahead, failed: None, again: None }
    }

    /// Starts what is ahead, as far as nothing has to be waited for. Returns how the job ended, if it is over.
    pub fn go_on(
        &mut self,
        mut start: impl FnMut(Kind, &ChangeSet) -> Result<Hosted, Refused>,
    ) -> Option<(CommandStatus, Duration)> {
        while let Some(changes) = self.ahead.pop_front() {
            match start(self.kind, &changes) {
                Ok(hosted) => {
                    self.present = Some(hosted);
                    return None;
                }
                Err(Refused::TooMuch) if changes.len() > 1 => {
                    let half = changes.len().div_ceil(2);
                    changes.pieces(half).rev().for_each(|piece| self.ahead.push_front(piece));
                }
                Err(Refused::TooMuch) => {
                    let status = CommandStatus::CannotRun("its arguments and environment are too long".to_owned());
                    self.failed.get_or_insert(status);
                }
                Err(Refused::Status(status)) => drop(self.failed.get_or_insert(status)),
            }
        }
        let status = self.failed.take().unwrap_or(CommandStatus::Exited(0));
        Some((status, self.began.elapsed()))
    }

    /// The process that runs now.
    pub fn pid(&self) -> Option<i32> {
        self.present.as_ref().map(|hosted| hosted.pid)
    }

    /// Has the present process killed, and begins it anew when that has ended.
    pub fn begin_anew(&mut self, changes: ChangeSet) {
        if let Some(pid) = self.pid() {
            self.again = Some(changes);
            let _ = send_to_group(pid, Signal::KILL);
        }
    }

    /// The process that ran has ended.
    pub fn ended(&mut self, status: CommandStatus) {
        self.present = None;
        if let Some(changes) = self.again.take() {
            self.ahead.push_front(changes);
        } else if status != CommandStatus::Exited(0) {
            self.failed.get_or_insert(status);
        }
    }
}

/// Sets that fit into the environment: `RELOADRUN_CHANGED` of a run is whole.
fn pieces(changes: ChangeSet) -> VecDeque<ChangeSet> {
    let mut fitting = VecDeque::new();
    let mut ahead = vec![changes];
    while let Some(changes) = ahead.pop() {
        if changes.len() < 2 || changes_fit(&changes) {
            fitting.push_back(changes);
        } else {
            ahead.extend(changes.pieces(changes.len().div_ceil(2)).rev());
        }
    }
    fitting
}

/// Starts a line for the shell.
///
/// # Errors
/// Why there is no process.
pub fn host(
    variables: &Variables,
    directory: &Path,
    line: &str,
    arguments: Vec<OsString>,
    tracing: Option<Installation>,
    dispositions: &Dispositions,
) -> Result<Hosted, Refused> {
    let refused = |reason: String| Refused::Status(CommandStatus::CannotRun(reason));
    let mut words: Vec<OsString> =
        vec!["sh".into(), "-c".into(), format!("exec </dev/null\n{line}").into(), "sh".into()];
    words.extend(arguments);
    let mut executable = variables
        .executable(Path::new(SHELL), &words, directory)
        .map_err(|_| refused("a NUL byte stands in it, its directory or environment".to_owned()))?;
    tracing.into_iter().for_each(|installation| executable.trace(installation));
    let tether = Tether::new().ok();
    match spawn(&executable, Group::Own, tether.as_ref(), dispositions) {
        Ok(pid) => Ok(Hosted { pid, _tether: tether }),
        Err(Failure { step: Step::Program, errno: Errno::E2BIG }) => Err(Refused::TooMuch),
        Err(Failure { errno, .. }) => Err(refused(program::reason(errno))),
    }
}

/// The files of a run that are there.
pub fn arguments(changes: &ChangeSet) -> impl Iterator<Item = OsString> {
    let present =
        changes.iter().filter(|change| change.kind != ChangeKind::Deleted && change.path.symlink_metadata().is_ok());
    present.map(|change| change.path.clone().into_os_string())
}

#[cfg(test)]
mod tests {
    use super::{Hosted, Job, Kind, Refused};
    use crate::change::{Change, ChangeSet};
    use crate::exit_code::CommandStatus;
    use std::path::PathBuf;

    fn changes(count: usize, length: usize) -> ChangeSet {
        let path = |number| PathBuf::from(format!("/{}{number:06}", "x".repeat(length)));
        ChangeSet::new((0..count).map(|number| Change::unseen(path(number))))
    }

    /// Runs a job to its end; each exec takes so many changes. Returns what each run was for.
    fn run(mut job: Job, most: usize, status: impl Fn(usize) -> CommandStatus) -> (Vec<usize>, CommandStatus) {
        let mut sizes = Vec::new();
        loop {
            let over = job.go_on(|_, changes| {
                if changes.len() > most {
                    return Err(Refused::TooMuch);
                }
                sizes.push(changes.len());
                Ok(Hosted { pid: 7, _tether: None })
            });
            if let Some((status, _)) = over {
                assert_eq!(job.pid(), None);
                return (sizes, status);
            }
            assert_eq!(job.pid(), Some(7));
            job.ended(status(sizes.len()));
        }
    }

    #[test]
    fn what_is_too_much_for_one_exec_becomes_several_runs_that_leave_nothing_out() {
        for (count, length, most) in [(1, 10, 10), (10, 10, 10), (11, 10, 10), (1000, 10, 3), (5000, 60, 1_000_000)] {
            let (sizes, status) = run(Job::new(Kind::Run, changes(count, length)), most, |_| CommandStatus::Exited(0));
            assert_eq!(sizes.iter().sum::<usize>(), count);
            assert_eq!(sizes.len() == 1, count <= most && count * length < 90_000, "{sizes:?}");
            assert_eq!(status, CommandStatus::Exited(0));
        }
    }

    #[test]
    fn a_job_has_failed_if_one_of_its_runs_has_and_the_others_run_all_the_same() {
        let status = |run| CommandStatus::Exited(if run == 2 { 3 } else { 0 });
        let (sizes, status) = run(Job::new(Kind::Run, changes(8, 10)), 2, status);
        assert_eq!((sizes, status), (vec![2, 2, 2, 2], CommandStatus::Exited(3)));
    }

    #[test]
    fn one_change_that_does_not_fit_is_a_failure_and_no_loop() {
        let (sizes, status) = run(Job::new(Kind::Run, changes(3, 10)), 0, |_| CommandStatus::Exited(0));
        assert!(sizes.is_empty());
        assert!(matches!(status, CommandStatus::CannotRun(_)));
    }
}
