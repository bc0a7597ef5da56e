//! The stop sequence: signal, grace, KILL, as a pure machine.
//!
//! | state    | leader gone   | grace over | escalate | the rest out of reach | tree gone |
//! |----------|---------------|------------|----------|-----------------------|-----------|
//! | asked    | ask the rest  | kill all   | kill all | give up soon          | done      |
//! | killing  | -             | kill again | -        | give up soon          | done      |
//!
//! Out of reach is who may not be signalled (sudo): nothing that we do can end it, so nothing is waited for.

use std::time::{Duration, Instant};

/// While killing, the tree is walked again this often: it may have forked meanwhile.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// A process that outlives KILL this long is stuck in the kernel; it is left behind and said so.
const GIVE_UP: Duration = Duration::from_secs(10);

/// If only processes out of reach are left, they have so long to end by themselves, now that the others are gone:
/// `server | sudo tee log` does.
const OUT_OF_REACH: Duration = Duration::from_millis(200);

/// The end of a process whose parent is out of reach is told to that parent alone, so it is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A stop that takes longer than this is said to, while it lasts; so is a KILL that has not ended everybody.
const SLOW: Duration = Duration::from_millis(500);

/// What the sequence wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAction {
    /// Send the stop signal (and CONT) to the command's process group, or to its first process alone (`--stop-group`).
    AskGroup,
    /// Send it to whoever of the tree has not had it: the leader is gone, nobody else will tell them.
    AskRest,
    /// Send KILL to everyone in the tree.
    KillAll,
    /// Nothing more can be done: these are left behind.
    GiveUp,
}

/// The end of one command's tree.
#[derive(Debug, Clone)]
pub struct StopSequence {
    began: Instant,
    killing_since: Option<Instant>,
    next: Option<Instant>,
    /// When there is nothing more to hope for, because the rest is out of reach.
    hopeless_at: Option<Instant>,
    /// When to look again who is left.
    look_at: Option<Instant>,
    /// Whether it was said that it takes long.
    said_slow: bool,
}

impl StopSequence {
    /// Begins; the first thing to do is to ask.
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

    /// The command's first process has ended, others are still there.
    pub fn leader_gone(&self) -> Option<StopAction> {
        self.killing_since.is_none().then_some(StopAction::AskRest)
    }

    /// Somebody asked a second time.
    pub fn escalate(&mut self, now: Instant) -> Option<StopAction> {
        if self.killing_since.is_some() {
            return None;
        }
        self.killing_since = Some(now);
        self.next = Some(now + KILL_AGAIN);
        Some(StopAction::KillAll)
    }

    /// Ends the grace at this instant, if it would last longer.
    pub fn hurry(&mut self, until: Instant) {
        if self.killing_since.is_none() {
            self.next = self.next.map(|next| next.min(until));
        }
    }

    /// Somebody is out of reach; and so is all that is left, or not yet.
    pub fn out_of_reach(&mut self, all: bool, now: Instant) {
        self.hopeless_at = if all { self.hopeless_at.or(Some(now + OUT_OF_REACH)) } else { None };
        self.look_at = if all { None } else { Some(now + LOOK_AGAIN) };
    }

    /// When it wants to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.hopeless_at).chain(self.look_at).chain(self.slow_at()).min()
    }

    /// Whether it is to be said now that it takes long; once.
    pub fn turns_slow(&mut self, now: Instant) -> bool {
        let slow = self.slow_at().is_some_and(|at| at <= now);
        self.said_slow |= slow;
        slow
    }

    fn slow_at(&self) -> Option<Instant> {
        // What is out of reach will be named in a moment.
        let silent = self.said_slow || self.next.is_none() || self.hopeless_at.is_some();
        (!silent).then(|| self.killing_since.unwrap_or(self.began) + SLOW)
    }

    /// How long until KILL, if it is still to come.
    pub fn until_kill(&self, now: Instant) -> Option<Duration> {
        let at = self.next.filter(|_| self.killing_since.is_none());
        at.map(|at| at.saturating_duration_since(now))
    }

    /// What the time that has passed demands.
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

    /// Whether KILL was needed.
    pub fn killed(&self) -> bool {
        self.killing_since.is_some()
    }

    /// How long it has taken.
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
    fn kill_comes_when_the_grace_is_over_and_not_before() {
        let start = Instant::now();
        let (mut stop, first) = StopSequence::begin(GRACE, start);
        assert_eq!(first, StopAction::AskGroup);
        assert_eq!(stop.tick(start + GRACE - Duration::from_millis(1)), None);
        assert_eq!(stop.tick(start + GRACE), Some(StopAction::KillAll));
        assert!(stop.killed());
    }

    #[test]
    fn that_it_takes_long_is_said_once_after_half_a_second_of_asking_or_killing() {
        let start = Instant::now();
        for (grace, at, until_kill) in [
            (GRACE, SLOW, Some(GRACE - SLOW)),
            (SLOW + KILL_AGAIN, SLOW, Some(KILL_AGAIN)),
            // What takes its whole short grace is killed, and that is quick.
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
        assert_eq!(stop.leader_gone(), None, "nobody is asked who is being killed");
    }

    #[test]
    fn for_whoever_is_out_of_reach_nobody_waits() {
        let start = Instant::now();
        for killing in [false, true] {
            let (mut stop, _) = StopSequence::begin(GRACE, start);
            if killing {
                stop.escalate(start);
            }
            stop.out_of_reach(true, start);
            let soon = start + OUT_OF_REACH;
            // Asked again, it does not begin anew; and it may come within reach.
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
    fn whoever_is_left_when_the_leader_is_gone_is_asked_too() {
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
        assert!(steps > 100, "the tree is killed again and again: {steps}");
        assert_eq!(stop.due(), None);
    }
}
