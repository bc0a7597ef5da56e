//! The stop sequence: stop signal, grace period, KILL, as a pure machine. It ends when its owner finds the process tree
//! gone and drops it.
//!
//! | input                                          | while asking           | while killing     |
//! |------------------------------------------------|------------------------|-------------------|
//! | begin                                          | ask the group          |                   |
//! | leader exited, others are left                 | ask the rest           | -                 |
//! | `hurry`                                        | the grace ends earlier | -                 |
//! | second request (`escalate`)                    | kill all               | -                 |
//! | grace over                                     | kill all               |                   |
//! | every 20 ms after a kill                       |                        | kill all          |
//! | 10 s of killing                                |                        | give up           |
//! | all that is left is out of reach, after 200 ms | give up                | give up           |
//! | some are out of reach                          | wake up after 50 ms    | wake up after 50 ms |
//! | 500 ms of asking, else of killing              | report the slow stop, once | the same      |
//!
//! A process is *out of reach* if this user may not signal it (sudo). Nothing here can end it, so the sequence does not
//! wait for it.

use std::time::{Duration, Instant};

/// KILL is repeated at this interval, because the tree may have forked meanwhile.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// A process that survives KILL this long is blocked in the kernel. It is reported and left running.
const GIVE_UP: Duration = Duration::from_secs(10);

/// If only processes out of reach are left, they get this long to end by themselves once the others are gone, as in
/// `server | sudo tee log`.
const OUT_OF_REACH: Duration = Duration::from_millis(200);

/// Only its parent gets SIGCHLD when a process ends. If that parent is out of reach, the tree is checked this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A stop that lasts longer than this is reported while it lasts, and so is a KILL that has not ended all processes.
const SLOW: Duration = Duration::from_millis(500);

/// What the caller must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAction {
    /// Send the stop signal (and CONT) to the command's process group, or to its first process alone (`--stop-group`).
    AskGroup,
    /// Send it to all processes of the tree that have not had it. The leader, which could pass it on, has exited.
    AskRest,
    /// Send KILL to every process in the tree.
    KillAll,
    /// Stop waiting: the processes that are left keep running.
    GiveUp,
}

/// The stop of one command's process tree.
#[derive(Debug, Clone)]
pub struct StopSequence {
    began: Instant,
    killing_since: Option<Instant>,
    next: Option<Instant>,
    /// When to give up because all that is left is out of reach.
    hopeless_at: Option<Instant>,
    /// When to check again which processes are left.
    look_at: Option<Instant>,
    /// Whether the slow stop was reported.
    said_slow: bool,
}

impl StopSequence {
    /// Starts the sequence and returns its first action. `grace` is the time until KILL.
    pub fn begin(grace: Duration, now: Instant) -> (StopSequence, StopAction) {
        let sequence = StopSequence {
            began: now,
            killing_since: None,
            next: Some(now + grace),
            hopeless_at: None,
            look_at: None,
            said_slow: false,
        };
        (sequence, StopAction::AskGroup)
    }

    /// The command's first process has exited and others are left.
    pub fn leader_gone(&self) -> Option<StopAction> {
        self.killing_since.is_none().then_some(StopAction::AskRest)
    }

    /// A second stop request came: KILL now.
    pub fn escalate(&mut self, now: Instant) -> Option<StopAction> {
        if self.killing_since.is_some() {
            return None;
        }
        self.killing_since = Some(now);
        self.next = Some(now + KILL_AGAIN);
        Some(StopAction::KillAll)
    }

    /// Shortens the grace period to end at this instant at the latest.
    pub fn hurry(&mut self, until: Instant) {
        if self.killing_since.is_none() {
            self.next = self.next.map(|next| next.min(until));
        }
    }

    /// Some processes are out of reach; `all` says whether they are all that is left.
    pub fn out_of_reach(&mut self, all: bool, now: Instant) {
        self.hopeless_at = if all { self.hopeless_at.or(Some(now + OUT_OF_REACH)) } else { None };
        self.look_at = if all { None } else { Some(now + LOOK_AGAIN) };
    }

    /// When [`tick`](Self::tick) or [`turns_slow`](Self::turns_slow) must be called next.
    pub fn due(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.hopeless_at).chain(self.look_at).chain(self.slow_at()).min()
    }

    /// Whether the stop must be reported as slow now; true once.
    pub fn turns_slow(&mut self, now: Instant) -> bool {
        let slow = self.slow_at().is_some_and(|at| at <= now);
        self.said_slow |= slow;
        slow
    }

    fn slow_at(&self) -> Option<Instant> {
        // Processes out of reach are reported by their own message shortly.
        let silent = self.said_slow || self.next.is_none() || self.hopeless_at.is_some();
        (!silent).then(|| self.killing_since.unwrap_or(self.began) + SLOW)
    }

    /// The time left until KILL; `None` once KILL was sent.
    pub fn until_kill(&self, now: Instant) -> Option<Duration> {
        let at = self.next.filter(|_| self.killing_since.is_none());
        at.map(|at| at.saturating_duration_since(now))
    }

    /// The action that is due at this instant, if any.
    pub fn tick(&mut self, now: Instant) -> Option<StopAction> {
        if self.hopeless_at.is_some_and(|at| at <= now) {
            (self.next, self.hopeless_at, self.look_at) = (None, None, None);
            return Some(StopAction::GiveUp);
        }
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        match self.killing_since {
            None => self.escalate(now),
            Some(since) if now >= since + GIVE_UP => {
                self.next = None;
                Some(StopAction::GiveUp)
            }
            Some(_) => {
                self.next = Some(now + KILL_AGAIN);
                Some(StopAction::KillAll)
            }
        }
    }

    /// Whether KILL was sent.
    pub fn killed(&self) -> bool {
        self.killing_since.is_some()
    }

    /// The time since the sequence began.
    pub fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::{GIVE_UP, KILL_AGAIN, LOOK_AGAIN, OUT_OF_REACH, SLOW, StopAction, StopSequence};
    use std::time::{Duration, Instant};

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn kill_is_sent_when_the_grace_period_is_over_and_not_before() {
        let start = Instant::now();
        let (mut stop, first) = StopSequence::begin(GRACE, start);
        assert_eq!(first, StopAction::AskGroup);
        assert_eq!(stop.tick(start + GRACE - Duration::from_millis(1)), None);
        assert_eq!(stop.tick(start + GRACE), Some(StopAction::KillAll));
        assert!(stop.killed());
    }

    #[test]
    fn a_slow_stop_is_reported_once_after_half_a_second_of_asking_or_killing() {
        let start = Instant::now();
        for (grace, at, until_kill) in [
            (GRACE, SLOW, Some(GRACE - SLOW)),
            (SLOW + KILL_AGAIN, SLOW, Some(KILL_AGAIN)),
            // A short grace period that is used up leads to KILL, which is fast.
            (SLOW, SLOW + SLOW, None),
            (Duration::ZERO, SLOW, None),
        ] {
            let (mut stop, _) = StopSequence::begin(grace, start);
            let mut said = Vec::new();
            while let Some(due) = stop.due().filter(|due| *due < start + GRACE + SLOW + SLOW) {
                stop.tick(due);
                if stop.turns_slow(due) {
                    said.push((due - start, stop.until_kill(due)));
                }
            }
            assert_eq!(said, [(at, until_kill)], "{grace:?}");
        }
    }

    #[test]
    fn a_second_request_escalates_once() {
        let start = Instant::now();
        let (mut stop, _) = StopSequence::begin(GRACE, start);
        assert_eq!(stop.escalate(start), Some(StopAction::KillAll));
        assert_eq!(stop.escalate(start), None);
        assert_eq!(stop.leader_gone(), None, "no stop signal after KILL");
    }

    #[test]
    fn processes_out_of_reach_are_not_waited_for() {
        let start = Instant::now();
        for killing in [false, true] {
            let (mut stop, _) = StopSequence::begin(GRACE, start);
            if killing {
                stop.escalate(start);
            }
            stop.out_of_reach(true, start);
            let soon = start + OUT_OF_REACH;
            // A second call does not restart the 200 ms; and a process may come within reach again.
            stop.out_of_reach(true, start + OUT_OF_REACH / 2);
            assert!(stop.due() <= Some(soon));
            let mut reached = stop.clone();
            reached.out_of_reach(false, start);
            assert_eq!(reached.due(), Some(start + if killing { KILL_AGAIN } else { LOOK_AGAIN }));
            assert_ne!(reached.tick(soon), Some(StopAction::GiveUp));
            assert_eq!(stop.tick(soon), Some(StopAction::GiveUp));
            assert_eq!((stop.due(), stop.killed()), (None, killing));
        }
    }

    #[test]
    fn processes_that_are_left_when_the_leader_exits_get_the_signal_too() {
        let (stop, _) = StopSequence::begin(GRACE, Instant::now());
        assert_eq!(stop.leader_gone(), Some(StopAction::AskRest));
    }

    #[test]
    fn the_stop_is_bounded_even_when_kill_does_not_help() {
        let start = Instant::now();
        let (mut stop, _) = StopSequence::begin(GRACE, start);
        let mut steps = 0;
        while let Some(due) = stop.due() {
            let action = stop.tick(due);
            stop.turns_slow(due);
            steps += 1;
            assert!(due <= start + GRACE + GIVE_UP + Duration::from_secs(1), "endless");
            if action == Some(StopAction::GiveUp) {
                break;
            }
        }
        assert!(steps > 100, "KILL must be repeated: {steps}");
        assert_eq!(stop.due(), None);
    }
}
