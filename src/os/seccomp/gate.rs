//! In a process that gave up gaining rights, a set-uid program would start and fail. So somebody looks at each program before
//! it is executed, in a thread of its own: the file system may keep it waiting, and the loop must go on.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

/// A program starts unseen if the look at it takes longer: the command itself may have to serve the file system.
const PATIENCE: Duration = Duration::from_secs(1);

/// A process is about to execute this program.
#[derive(Debug)]
struct Execution {
    id: u64,
    program: PathBuf,
}

/// The end of the loop.
#[derive(Debug)]
pub struct Gate {
    executions: Sender<Execution>,
    shut: Arc<AtomicBool>,
    waiting: VecDeque<(Instant, u64)>,
}

/// The end of the thread that looks.
#[derive(Debug)]
pub struct Guard {
    executions: Receiver<Execution>,
    shut: Arc<AtomicBool>,
}

/// A gate and its guard.
pub fn gate() -> (Gate, Guard) {
    let (sender, receiver) = channel();
    let shut = Arc::new(AtomicBool::new(false));
    (
        Gate { executions: sender, shut: Arc::clone(&shut), waiting: VecDeque::new() },
        Guard { executions: receiver, shut },
    )
}

impl Gate {
    /// Has a program looked at. False if nobody does.
    pub(super) fn ask(&mut self, id: u64, program: PathBuf) -> bool {
        let asked = self.executions.send(Execution { id, program }).is_ok();
        if asked {
            self.waiting.push_back((Instant::now(), id));
        }
        asked
    }

    /// How long the loop may sleep.
    pub(super) fn within(&self) -> PollTimeout {
        let due = self.waiting.front().filter(|_| !self.is_shut()).map(|(since, _)| *since + PATIENCE);
        due.map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::NONE)
        })
    }

    /// Those that have waited too long. Most of them have been let through long ago.
    pub(super) fn overdue(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        while let Some((since, id)) = self.waiting.front()
            && *since + PATIENCE <= now
        {
            overdue.push(*id);
            self.waiting.pop_front();
        }
        if self.is_shut() { Vec::new() } else { overdue }
    }

    fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }
}

impl Guard {
    /// Looks at every program, until there is no process any more. `may_start` decides; after a no nobody passes, and the
    /// processes at the gate wait until they are killed. `let_pass` answers the call.
    pub fn watch(&self, let_pass: impl Fn(u64), mut may_start: impl FnMut(&Path) -> bool) {
        for Execution { id, program } in &self.executions {
            if !may_start(&program) {
                self.shut.store(true, Ordering::Release);
                return;
            }
            let_pass(id);
        }
    }
}
