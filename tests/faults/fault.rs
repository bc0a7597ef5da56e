//! One fault: the moment, the processes, the signal, and what follows.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::random::Random;

/// The process that gets the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Supervisor,
    Child,
    Command,
}

/// The moment of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after a start of reloadrun.
    Start,
    /// When the command is up and nothing happens.
    Idle,
    /// Within the milliseconds after a save.
    Settling,
    /// While a file is still open for writing.
    Writing,
    /// While the old command is being stopped.
    Stopping,
    /// Right after the old command has gone.
    Between,
}

/// A fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub moment: Moment,
    /// The delay after the moment.
    pub delay: Duration,
    /// One or two, in this order.
    pub targets: Vec<Role>,
    pub signal: Signal,
    /// Whether and when SIGCONT follows a SIGSTOP; else it never does.
    pub continued: Option<Duration>,
    /// After a STOP without CONT: whether the supervisor is killed, or asked to end.
    pub killed_after: bool,
    /// The delay of a save after the fault.
    pub save: Option<Duration>,
    /// Whether the next start waits until no process is left.
    pub patient: bool,
}

impl Fault {
    /// A random fault.
    pub fn random(random: &mut Random) -> Fault {
        use Moment::{Between, Idle, Settling, Start, Stopping, Writing};
        use Role::{Child, Command, Supervisor};
        let moment = *random.pick(&[Start, Start, Idle, Idle, Idle, Settling, Settling, Writing, Stopping, Between]);
        let delay = match moment {
            Start => random.micros(0, 40_000),
            Idle => random.micros(0, 60_000),
            Settling | Writing | Stopping => random.micros(0, 15_000),
            Between => random.micros(0, 3_000),
        };
        let mut targets = random
            .pick(&[
                vec![Supervisor],
                vec![Child],
                vec![Command],
                vec![Supervisor, Child],
                vec![Supervisor, Child],
                vec![Child, Command],
                vec![Supervisor, Command],
            ])
            .clone();
        if random.chance(50) {
            targets.reverse();
        }
        let signal = match random.below(100) {
            0..55 => Signal::SIGKILL,
            55..75 => Signal::SIGSTOP,
            _ => *random.pick(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]),
        };
        let (pause, later) = (random.micros(0, 600_000), random.chance(60));
        let (wait, save) = (random.micros(0, 100_000), random.chance(40));
        Fault {
            moment,
            delay,
            targets,
            signal,
            continued: later.then_some(pause),
            killed_after: random.chance(60),
            save: save.then_some(wait),
            patient: random.chance(60),
        }
    }

    /// Whether it hits this process.
    pub fn hits(&self, role: Role) -> bool {
        self.targets.contains(&role)
    }

    /// Its name in the counts.
    pub fn kind(&self) -> String {
        let mut names: Vec<String> = self.targets.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
        names.sort();
        format!("{} {}", self.signal.as_str().trim_start_matches("SIG"), names.join("+"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {:?}, {:?} + {:.1?}", self.signal, self.targets, self.moment, self.delay)?;
        if self.signal == Signal::SIGSTOP {
            match self.continued {
                Some(pause) => write!(f, ", continued after {pause:.0?}")?,
                None if self.killed_after => write!(f, ", never continued, then KILL")?,
                None => write!(f, ", never continued, then TERM")?,
            }
        }
        if let Some(save) = self.save {
            write!(f, ", a save after {save:.0?}")?;
        }
        write!(f, "{}", if self.patient { "" } else { ", next start at once" })
    }
}
