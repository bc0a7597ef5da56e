//! The job as a shell knows it: the supervisor and all that it has started, stopped and continued together. Pure: the
//! driver looks at the tree, sends the signals and stops the supervisor.
//!
//! | what is asked             | looks at                    | what follows                                               |
//! |---------------------------|-----------------------------|------------------------------------------------------------|
//! | stop with the command     | its first process           | if that has stopped, stop ourselves                        |
//! | stop with a stuck command | the whole tree              | if its first process waits in the kernel and another has stopped, stop ourselves |
//! | stop alone                | nobody                      | stop ourselves                                             |
//! | stop the tree             | all but our children        | TSTP, after 300 ms STOP; all have stopped, or 600 ms later: stop ourselves |
//! | continue                  | the whole tree              | CONT to all that have stopped; 20 ms later, where `fg` may have continued them |

use std::time::{Duration, Instant};

use crate::os::signals::Signal;
use crate::os::tree::Process;

/// A process may take this long to stop or to continue of a signal that it got when we did: Ctrl-Z and `fg` go to a whole
/// group.
const TOGETHER: Duration = Duration::from_millis(20);

/// A process that has not stopped for TSTP gets STOP after this time. It may have had a screen to put in order.
const STOP_FOR_CERTAIN: Duration = Duration::from_millis(300);

/// The tree gets this long to stop.
const STOPPED: Duration = Duration::from_millis(600);

/// Between two looks at it.
const STEP: Duration = Duration::from_millis(2);

/// The state of a process that takes no signal until the kernel has done something for it.
const WAITS: char = 'D';

/// How the supervisor comes to stop itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspension {
    /// The command in the foreground has stopped, this process of it: a shell that ran it would say so now.
    WithCommand(i32),
    /// The same, if this process cannot stop because it waits in the kernel for one that has stopped.
    WithStuck(i32),
    /// Ctrl-Z while no command shares the terminal: nobody else stops for it.
    Alone,
    /// Ctrl-Z that reaches us and not the command, which has a group of its own.
    WithTree,
    /// Somebody else asked us to stop: with the whole tree.
    Asked,
}

/// How the supervisor stops itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnStop {
    /// As Ctrl-Z does. The kernel does not do so where nobody could continue us.
    AsJob,
    /// By STOP.
    ForCertain,
}

/// One process as it was just seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The process.
    pub process: Process,
    /// How often it has left a processor.
    pub switches: Option<u64>,
    /// Whether it is a child of ours. That is never stopped, so that it can end all this if we die.
    pub is_child: bool,
}

impl Seen {
    fn is_held(&self) -> bool {
        self.process.is_stopped() || self.process.state == WAITS
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Look at the tree, and tell.
    Look,
    /// Send a signal to one process.
    Signal(Process, Signal),
    /// Stop until somebody continues us.
    StopSelf(OwnStop),
}

/// What is under way.
#[derive(Debug, Default)]
pub enum Job {
    /// Nothing.
    #[default]
    Idle,
    /// The supervisor stops if the command has.
    Following(Suspension),
    /// The tree is stopped, and then the supervisor.
    Stopping {
        /// How to stop in the end.
        own: OwnStop,
        /// How long to wait for those who got the signal when we did.
        patience: Duration,
        /// When it was asked for.
        began: Instant,
        /// Who has got TSTP.
        asked: Vec<i32>,
        /// When to look again.
        next_look: Instant,
    },
    /// Whoever is stopped is continued.
    Continuing {
        /// Whether `fg` may have continued them: it continues the whole group, and nobody is to get CONT twice.
        with_us: bool,
        /// Who was stopped at the first look, and had run so often.
        before: Option<Vec<(i32, Option<u64>)>>,
        /// When to look again.
        next_look: Instant,
        /// The command has stopped meanwhile: whether it is still stopped then.
        then: Option<Suspension>,
    },
}

impl Job {
    /// When it wants to look again.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Job::Idle | Job::Following(_) => None,
            Job::Stopping { next_look, .. } | Job::Continuing { next_look, .. } => Some(*next_look),
        }
    }

    /// Stops the supervisor, and the command as far as it is asked. `shares_group`: many signals reach us and the command
    /// together.
    pub fn suspend(&mut self, how: Suspension, shares_group: bool, now: Instant) -> Vec<Step> {
        let patience = if shares_group { TOGETHER } else { Duration::ZERO };
        if matches!(how, Suspension::WithCommand(_) | Suspension::WithStuck(_)) {
            match self {
                // That is why it has stopped.
                Job::Stopping { .. } => return Vec::new(),
                // It may have stopped before, and it may have stopped once more.
                Job::Continuing { then, .. } => {
                    *then = Some(how);
                    return Vec::new();
                }
                Job::Idle | Job::Following(_) => {}
            }
        }
        let stopping = |own| Job::Stopping { own, patience, began: now, asked: Vec::new(), next_look: now };
        *self = match how {
            Suspension::Alone => {
                *self = Job::Idle;
                return vec![Step::StopSelf(OwnStop::AsJob)];
            }
            Suspension::WithCommand(_) | Suspension::WithStuck(_) => Job::Following(how),
            Suspension::WithTree => stopping(OwnStop::AsJob),
            Suspension::Asked => stopping(OwnStop::ForCertain),
        };
        vec![Step::Look]
    }

    /// Continues whoever is stopped.
    pub fn go_on(&mut self, shares_group: bool, now: Instant) -> Vec<Step> {
        *self = Job::Continuing { with_us: shares_group, before: None, next_look: now, then: None };
        vec![Step::Look]
    }

    /// Nothing is to be stopped any more: all is ended.
    pub fn give_up_stopping(&mut self) {
        if !matches!(self, Job::Continuing { .. }) {
            *self = Job::Idle;
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Step> {
        if self.due().is_some_and(|due| due <= now) { vec![Step::Look] } else { Vec::new() }
    }

    /// The tree looks so. `awaits_command`: a command is about to start, which is to be stopped as well.
    pub fn seen(&mut self, tree: &[Seen], awaits_command: bool, now: Instant) -> Vec<Step> {
        match self {
            Job::Idle => Vec::new(),
            Job::Following(how) => {
                let stops = follows(*how, tree);
                *self = Job::Idle;
                if stops { vec![Step::StopSelf(OwnStop::AsJob)] } else { Vec::new() }
            }
            Job::Stopping { own, patience, began, asked, next_look } => {
                let passed = now.saturating_duration_since(*began);
                let running: Vec<&Process> = (tree.iter().filter(|seen| !seen.is_child))
                    .map(|seen| &seen.process)
                    .filter(|process| !process.is_stopped())
                    .collect();
                if passed >= STOPPED || (running.is_empty() && !awaits_command) {
                    let own = *own;
                    *self = Job::Idle;
                    let mut steps = vec![Step::StopSelf(own)];
                    if own == OwnStop::AsJob {
                        // When we are back, or if the kernel would not stop us. Of the other way SIGCONT tells.
                        steps.extend(self.go_on(false, now));
                    }
                    return steps;
                }
                *next_look = now + STEP;
                let mut steps = Vec::new();
                for process in running {
                    if passed >= STOP_FOR_CERTAIN {
                        steps.push(Step::Signal(*process, Signal::STOP));
                    } else if passed >= *patience && !asked.contains(&process.pid) {
                        steps.push(Step::Signal(*process, Signal::TSTP));
                        asked.push(process.pid);
                    }
                }
                steps
            }
            Job::Continuing { with_us, before, next_look, then } => {
                let held = tree.iter().filter(|seen| seen.is_held());
                match before {
                    None if *with_us && held.clone().next().is_some() => {
                        // One that waits may stop as soon as it waits no more, of a signal that only SIGCONT takes back.
                        *before = Some(held.map(|seen| (seen.process.pid, seen.switches)).collect());
                        *next_look = now + TOGETHER;
                        Vec::new()
                    }
                    before => {
                        // A process that has run since and is stopped again was stopped by a second Ctrl-Z.
                        let is_meant = |seen: &&Seen| {
                            before.as_ref().is_none_or(|before| before.contains(&(seen.process.pid, seen.switches)))
                        };
                        let mut steps: Vec<Step> =
                            held.filter(is_meant).map(|seen| Step::Signal(seen.process, Signal::CONT)).collect();
                        let then = then.take();
                        *self = then.map_or(Job::Idle, Job::Following);
                        steps.extend(then.map(|_| Step::Look));
                        steps
                    }
                }
            }
        }
    }
}

/// Whether the supervisor stops, because the command in the foreground has.
fn follows(how: Suspension, tree: &[Seen]) -> bool {
    let find = |pid: i32| tree.iter().find(|seen| seen.process.pid == pid);
    match how {
        // Somebody may have continued it since.
        Suspension::WithCommand(pid) => find(pid).is_some_and(|seen| seen.process.is_stopped()),
        Suspension::WithStuck(pid) => {
            let waits = find(pid).is_some_and(|seen| seen.process.state == WAITS);
            waits && tree.iter().any(|seen| seen.process.is_stopped())
        }
        Suspension::Alone | Suspension::WithTree | Suspension::Asked => false,
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
