//! Decides what to do when the command has exited by itself (`--on-exit`).

use std::time::Duration;

use crate::config::OnExit;
use crate::exit_code::{CommandStatus, ExitCode};

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExit {
    /// Wait for a change.
    Wait,
    /// End reloadrun with this exit code.
    Finish(ExitCode),
    /// Start the command again after this delay.
    RestartIn(Duration),
}

/// Delays that double from 100 ms to 30 s, so that a command that always fails costs little.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);
    /// A run that lasts this long, and at least as long as the next delay, ends the series of failures.
    const STABLE: Duration = Duration::from_secs(10);

    /// Starts with the shortest delay.
    pub fn new() -> Backoff {
        Backoff { next: Backoff::FIRST }
    }

    /// The delay before the next start, after a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= Backoff::STABLE.max(self.next) {
            self.reset();
        }
        let delay = self.next;
        self.next = (delay * 2).min(Backoff::LONGEST);
        delay
    }

    /// Returns to the shortest delay: a file changed, so the next run is a new attempt.
    pub fn reset(&mut self) {
        self.next = Backoff::FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new()
    }
}

/// Applies the policy to this exit. `ran` is how long the command ran.
pub fn after_exit(policy: OnExit, status: &CommandStatus, ran: Duration, backoff: &mut Backoff) -> AfterExit {
    match policy {
        OnExit::Wait => AfterExit::Wait,
        OnExit::Exit => AfterExit::Finish(status.code()),
        OnExit::Restart => AfterExit::RestartIn(backoff.after(ran)),
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn delays_double_from_a_tenth_of_a_second_to_thirty_seconds() {
        let mut backoff = Backoff::new();
        let delays: Vec<u128> = (0..11).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn a_stable_run_and_a_change_reset_the_delay() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.after(Duration::from_secs(9));
        }
        assert_eq!(backoff.after(Duration::from_secs(29)), Duration::from_secs(30), "29 s is less than the delay");
        assert_eq!(backoff.after(Duration::from_secs(30)), Duration::from_millis(100));
        backoff.after(Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.after(Duration::ZERO), Duration::from_millis(100));
    }
}
