//! The job as a shell knows it: the supervisor and all that it has started, stopped and continued together.

use std::time::{Duration, Instant};

use crate::os::process::own_pid;
use crate::os::signals::{Signal, stop_as_a_job, stop_for_certain};
use crate::os::tree::{Process, descendants_but};

/// So long one may take to stop or to continue that got the signal when we did: Ctrl-Z and `fg` go to a whole group.
const TOGETHER: Duration = Duration::from_millis(20);

/// After so long, whoever has not stopped for TSTP gets STOP. It may have had a screen to put in order.
const STOP_FOR_CERTAIN: Duration = Duration::from_millis(300);

/// So long the tree is waited for until it has stopped.
const STOPPED: Duration = Duration::from_millis(600);

/// The state of a process that hears nothing until the kernel has done something for it.
const WAITS: char = 'D';

/// Between two looks at it.
const STEP: Duration = Duration::from_millis(2);

/// How the supervisor stops itself.
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

/// What must be known of the job to stop it.
#[derive(Debug)]
pub struct Job<'a> {
    /// Whose descendants are none of ours.
    pub before_us: &'a [i32],
    /// The child. It is never stopped, so that it can end all this if we die.
    pub child: Option<i32>,
    /// Whether the command is in our process group, so that many signals reach both.
    pub shares_group: bool,
    /// Whether a command is about to start.
    pub awaits_command: bool,
}

impl Job<'_> {
    /// Stops this process, and the command as far as it is told. Comes back when somebody has continued us.
    pub fn suspend(&self, how: Suspension) {
        match how {
            Suspension::WithCommand(pid) => {
                // Somebody may have continued it since.
                if Process::of(pid).is_some_and(|process| process.is_stopped()) {
                    stop_as_a_job();
                }
            }
            Suspension::WithStuck(pid) => {
                let waits = Process::of(pid).is_some_and(|process| process.state == WAITS);
                if waits && self.everyone().any(|process| process.is_stopped()) {
                    stop_as_a_job();
                }
            }
            Suspension::Alone => stop_as_a_job(),
            Suspension::WithTree => {
                self.stop_command();
                stop_as_a_job();
                // In case that the kernel would not stop us.
                self.go_on();
            }
            // SIGCONT tells when it is over, also to the init of a container, which cannot be stopped itself.
            Suspension::Asked => {
                self.stop_command();
                stop_for_certain();
            }
        }
    }

    /// Continues whoever is stopped.
    pub fn go_on(&self) {
        // One that waits may stop as soon as it waits no more, of a signal that only SIGCONT takes back.
        let stays = || self.everyone().filter(|process| process.is_stopped() || process.state == WAITS);
        let before: Vec<_> = stays().map(|process| (process.pid, process.switches())).collect();
        if self.shares_group && !before.is_empty() {
            // `fg` continues the whole group, and nobody is to hear of it twice.
            std::thread::sleep(TOGETHER);
        }
        // Who has run since and is stopped again was stopped by a second Ctrl-Z.
        for process in stays().filter(|process| before.contains(&(process.pid, process.switches()))) {
            let _ = process.signal(Signal::CONT);
        }
    }

    /// Stops the command and all that it has started, and waits until they have stopped; bounded.
    fn stop_command(&self) {
        let began = Instant::now();
        let patience = if self.shares_group { TOGETHER } else { Duration::ZERO };
        let mut asked = Vec::new();
        loop {
            let passed = began.elapsed();
            let running = self.everyone().filter(|process| Some(process.pid) != self.child && !process.is_stopped());
            let running: Vec<Process> = running.collect();
            if passed >= STOPPED || (running.is_empty() && !self.awaits_command) {
                return;
            }
            for process in running {
                if passed >= STOP_FOR_CERTAIN {
                    let _ = process.signal(Signal::STOP);
                } else if passed >= patience && !asked.contains(&process.pid) {
                    let _ = process.signal(Signal::TSTP);
                    asked.push(process.pid);
                }
            }
            std::thread::sleep(STEP);
        }
    }

    fn everyone(&self) -> impl Iterator<Item = Process> {
        descendants_but(own_pid(), self.before_us).into_iter()
    }
}
