//! When to try, and what an attempt means. No I/O and no clock.
//!
//! | what an attempt found             | what follows                                                        |
//! |-----------------------------------|---------------------------------------------------------------------|
//! | nobody listens                    | the next attempt 10 ms later, or 1 s later after the time is over   |
//! | an answer that is not good yet    | the next attempt later, each time twice as late, up to 1 s          |
//! | a good answer, of ours            | ready                                                               |
//! | a good answer, surely not of ours | told once for each who; the next attempt as after an answer that is not good |
//! | a good answer, of nobody knows whom | if nobody answered before the start: told, and ready; else told once, and as for one that is not of ours |
//! | the time is over                  | told once, with what the last attempt found; attempts go on. One that was cut by it counts if there was no answer before |
//!
//! A refused connection costs the server nothing. An attempt that reaches it costs it an answer and a line in its log, so
//! those are made seldom.

use std::time::{Duration, Instant};

use crate::degraded::Degraded;

/// Between two attempts while nobody listens: ready is known this long after the listen(2), at the most.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two attempts at the most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whose socket has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Of this generation's tree, or one that reloadrun holds for it.
    Ours,
    /// Of somebody else: `process 4711 (python3)`.
    Foreign(String),
    /// It cannot be told; why, in words.
    Unknown(String),
}

/// What an attempt found at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nobody was reached: a sentence.
    Nobody(String),
    /// An answer that is not good (yet): a sentence.
    NotYet(String),
    /// The attempt had less time than others, because the time was over: a sentence.
    Cut(String),
    /// A good answer at this place.
    Good(String, Verdict),
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The attempt is over, with what it found at each address.
    Tried(Vec<Found>),
    /// The command itself has said that it is ready.
    Told,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make an attempt, and come back with what it found.
    Try,
    /// It is ready, so long after its start.
    Ready(Duration),
    /// Tell this.
    Tell(Degraded),
    /// Tell that it is not ready in time.
    Late {
        /// So long it had.
        timeout: Duration,
        /// What the last attempt found.
        reason: String,
        /// Whether nobody was reached.
        unreached: bool,
    },
}

/// Which kind of probe the machine is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Attempts are made. Whether somebody answered before the command started.
    Active {
        /// Somebody did.
        answered_before: bool,
    },
    /// The command tells. What it has not done so far, to follow "not ready after 60 s:".
    Passive(String),
}

/// One generation's way to being ready.
#[derive(Debug)]
pub struct Machine {
    started: Instant,
    /// When it is too late; `None` when that was told.
    late_at: Option<Instant>,
    timeout: Duration,
    answered_before: bool,
    /// When the next attempt is due; `None` while one is made, and where none are made.
    next: Option<Instant>,
    pause: Duration,
    told: Vec<Degraded>,
    /// What the last attempt found.
    last: String,
    /// Whether it found nobody.
    unreached: bool,
    /// Whether there was an answer, and it was not good.
    has_answered: bool,
    ready: bool,
}

impl Machine {
    /// For a command that starts now.
    pub fn new(kind: Kind, timeout: Duration, started: Instant) -> Machine {
        let (answered_before, next, last) = match kind {
            Kind::Active { answered_before } => {
                (answered_before, Some(started), "no attempt has come to an end".to_owned())
            }
            Kind::Passive(last) => (false, None, last),
        };
        Machine {
            started,
            late_at: Some(started + timeout),
            timeout,
            answered_before,
            next,
            pause: PAUSE,
            told: Vec::new(),
            last,
            unreached: false,
            has_answered: false,
            ready: false,
        }
    }

    /// When the next tick is due; `None` when nothing is to be done by the clock.
    pub fn due(&self) -> Option<Instant> {
        if self.ready {
            return None;
        }
        self.next.into_iter().chain(self.late_at).min()
    }

    /// When it is too late; `None` when that was told.
    pub fn late_at(&self) -> Option<Instant> {
        self.late_at
    }

    /// Whether the command has become ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// One step.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ready {
            return actions;
        }
        match input {
            Input::Tick => {}
            Input::Told => self.becomes_ready(now, &mut actions),
            Input::Tried(found) => self.tried(found, now, &mut actions),
        }
        if !self.ready && self.late_at.take_if(|at| *at <= now).is_some() {
            let reason = self.last.clone();
            actions.push(Action::Late { timeout: self.timeout, reason, unreached: self.unreached });
        }
        if !self.ready && self.next.take_if(|at| *at <= now).is_some() {
            actions.push(Action::Try);
        }
        actions
    }

    fn tried(&mut self, found: Vec<Found>, now: Instant, actions: &mut Vec<Action>) {
        let mut accepted = false;
        let mut answered = false;
        let mut nobody = None;
        for one in found {
            answered |= !matches!(one, Found::Nobody(_));
            match one {
                Found::Nobody(sentence) => nobody = nobody.or(Some(sentence)),
                Found::NotYet(sentence) => {
                    self.last = sentence;
                    self.has_answered = true;
                }
                // What it answered before says more than that it did not within a few milliseconds.
                Found::Cut(sentence) if !self.has_answered => self.last = sentence,
                Found::Cut(_) => {}
                Found::Good(_, Verdict::Ours) => accepted = true,
                Found::Good(place, Verdict::Foreign(who)) => {
                    self.last = format!("{place} answers, but it is {who}, not ours");
                    self.tell_once(Degraded::AnsweredByOther { place, who }, actions);
                }
                Found::Good(place, Verdict::Unknown(why)) => {
                    accepted |= !self.answered_before;
                    self.last =
                        format!("{place} answers as it did before the start, and it cannot be told whose socket it is");
                    let accepted = !self.answered_before;
                    self.tell_once(Degraded::OwnerUnknown { place, why, accepted }, actions);
                }
            }
        }
        self.unreached = !answered;
        if accepted {
            return self.becomes_ready(now, actions);
        }
        if answered {
            self.next = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.last = nobody.unwrap_or_default();
            self.pause = if self.late_at.is_some() { PAUSE } else { LONGEST_PAUSE };
            self.next = Some(now + self.pause);
        }
    }

    fn becomes_ready(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.ready = true;
        actions.push(Action::Ready(now - self.started));
    }

    fn tell_once(&mut self, degraded: Degraded, actions: &mut Vec<Action>) {
        if !self.told.contains(&degraded) {
            self.told.push(degraded.clone());
            actions.push(Action::Tell(degraded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Found, Input, Kind, LONGEST_PAUSE, Machine, PAUSE, Verdict};
    use crate::degraded::Degraded;
    use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::time::{Duration, Instant};

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn active(answered_before: bool) -> (Machine, Instant) {
        let now = Instant::now();
        (Machine::new(Kind::Active { answered_before }, TIMEOUT, now), now)
    }

    fn nobody() -> Found {
        Found::Nobody("nothing listens on 127.0.0.1:8000".into())
    }

    fn good(verdict: Verdict) -> Found {
        Found::Good("127.0.0.1:8000".into(), verdict)
    }

    fn foreign(who: &str) -> Found {
        good(Verdict::Foreign(who.into()))
    }

    fn unknown() -> Found {
        good(Verdict::Unknown("docker".into()))
    }

    /// `try; ready 5ms; say ...`.
    fn short(actions: &[Action]) -> String {
        let words = actions.iter().map(|action| match action {
            Action::Try => "try".to_owned(),
            Action::Ready(after) => format!("ready {after:?}"),
            Action::Tell(degraded) => format!("tell {degraded}"),
            Action::Late { timeout, reason, unreached } => {
                let degraded = Degraded::NotReady { timeout: *timeout, reason: reason.clone() };
                format!("tell {degraded}{}", if *unreached { " (unreached)" } else { "" })
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_finding_leads_to_what_the_table_says() {
        let not_ours =
            "tell 127.0.0.1:8000 answers, but it is process 7 (x), not ours; the command is not ready by that";
        let taken = "tell 127.0.0.1:8000 answers, and whose socket it is cannot be told (docker); it is taken for the command's, because nothing answered before the start; ready 0ns";
        let refused = "tell 127.0.0.1:8000 answers, but something answered there before the start already, and whose socket it is cannot be told (docker); the command is not ready by that";
        let table = [
            (vec![nobody()], "", ""),
            (vec![Found::NotYet("503".into())], "", ""),
            (vec![good(Verdict::Ours)], "ready 0ns", "ready 0ns"),
            (vec![nobody(), good(Verdict::Ours)], "ready 0ns", "ready 0ns"),
            (vec![foreign("process 7 (x)")], not_ours, not_ours),
            (vec![unknown()], taken, refused),
            (vec![nobody(), nobody()], "", ""),
        ];
        for (found, quiet_before, answered_before) in table {
            for (before, expected) in [(false, quiet_before), (true, answered_before)] {
                let (mut machine, now) = active(before);
                assert_eq!(short(&machine.step(Input::Tick, now)), "try");
                assert_eq!(short(&machine.step(Input::Tried(found.clone()), now)), expected, "{found:?}, {before}");
                assert_eq!(machine.is_ready(), expected.contains("ready 0ns"));
            }
        }
        let (mut machine, now) = active(false);
        let both = machine.step(Input::Tried(vec![foreign("process 7 (x)"), good(Verdict::Ours)]), now);
        assert_eq!(short(&both), format!("{not_ours}; ready 0ns"), "a stranger at the other of two addresses is told");
    }

    #[test]
    fn a_refused_connection_is_tried_again_soon_and_an_answer_later_each_time() {
        let (mut machine, mut now) = active(false);
        for _ in 0..100 {
            assert_eq!(machine.step(Input::Tick, now), [Action::Try]);
            assert_eq!(machine.step(Input::Tick, now), [], "one attempt at a time");
            machine.step(Input::Tried(vec![nobody()]), now);
            assert_eq!(machine.due(), Some(now + PAUSE));
            now += PAUSE;
        }
        let mut pauses = Vec::new();
        for _ in 0..9 {
            machine.step(Input::Tick, now);
            machine.step(Input::Tried(vec![Found::NotYet("503".into())]), now);
            let due = machine.due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn who_is_not_ours_is_told_once_and_another_one_is_told_again() {
        let (mut machine, now) = active(false);
        let mut said = 0;
        for who in ["a", "a", "b", "a", "b"] {
            said += machine.step(Input::Tried(vec![foreign(who)]), now).len();
        }
        assert_eq!(said, 2);
    }

    #[test]
    fn what_is_not_ready_in_time_is_told_once_with_the_last_finding_and_may_become_ready_later() {
        for (found, expected) in [
            (nobody(), "tell not ready after 1m: nothing listens on 127.0.0.1:8000; the command runs on (unreached)"),
            (
                Found::NotYet("it answers with 503".into()),
                "tell not ready after 1m: it answers with 503; the command runs on",
            ),
        ] {
            let (mut machine, start) = active(false);
            machine.step(Input::Tick, start);
            machine.step(Input::Tried(vec![found.clone()]), start);
            let late = machine.step(Input::Tick, start + TIMEOUT);
            assert_eq!(short(&late), format!("{expected}; try"));
            machine.step(Input::Tried(vec![nobody()]), start + TIMEOUT);
            assert_eq!(machine.due(), Some(start + TIMEOUT + LONGEST_PAUSE), "seldom from now on");
            let ready = machine.step(Input::Tried(vec![good(Verdict::Ours)]), start + 2 * TIMEOUT);
            assert_eq!(short(&ready), "ready 120s");
            assert_eq!(machine.due(), None);
        }
    }

    #[test]
    fn an_attempt_that_is_cut_by_the_time_does_not_hide_what_was_answered_before() {
        let (answer, cut) = (Found::NotYet("it answers with 503".into()), Found::Cut("it does not answer".into()));
        for (first, expected) in [(answer, "it answers with 503"), (nobody(), "it does not answer")] {
            let (mut machine, start) = active(false);
            machine.step(Input::Tried(vec![first]), start);
            let late = short(&machine.step(Input::Tried(vec![cut.clone()]), start + TIMEOUT));
            assert_eq!(late, format!("tell not ready after 1m: {expected}; the command runs on"));
        }
    }

    #[test]
    fn a_command_that_tells_by_itself_is_not_asked() {
        let now = Instant::now();
        let kind = || Kind::Passive("the command has not sent READY=1".into());
        let mut machine = Machine::new(kind(), TIMEOUT, now);
        assert_eq!(machine.due(), Some(now + TIMEOUT));
        assert_eq!(machine.step(Input::Tick, now), []);
        assert_eq!(short(&machine.step(Input::Told, now + Duration::from_millis(5))), "ready 5ms");
        assert_eq!(machine.step(Input::Told, now + Duration::from_millis(6)), [], "once");
        let mut machine = Machine::new(kind(), TIMEOUT, now);
        let late = short(&machine.step(Input::Tick, now + TIMEOUT));
        assert_eq!(late, "tell not ready after 1m: the command has not sent READY=1; the command runs on");
        assert_eq!(machine.due(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_happens_ready_comes_once_never_by_a_stranger_and_attempts_never_stop_before(
            inputs in proptest::collection::vec(
                (prop_oneof![
                    proptest::strategy::Just(vec![nobody()]),
                    proptest::strategy::Just(vec![Found::NotYet("503".into())]),
                    proptest::strategy::Just(vec![foreign("p")]),
                    proptest::strategy::Just(vec![unknown()]),
                    proptest::strategy::Just(vec![nobody(), foreign("q")]),
                    proptest::strategy::Just(vec![good(Verdict::Ours)]),
                ], (0..3000u64).prop_map(Duration::from_millis)), 1..200),
            before in proptest::bool::ANY,
        ) {
            let (mut machine, mut now) = active(before);
            let (mut ready, mut late) = (0, 0);
            for (found, passed) in inputs {
                let deserves = found.contains(&good(Verdict::Ours)) || (!before && found.contains(&unknown()));
                let was_ready = machine.is_ready();
                now = machine.due().unwrap_or(now).max(now);
                let actions = machine.step(Input::Tick, now);
                late += actions.iter().filter(|action| short(&[(*action).clone()]).starts_with("tell not ready")).count();
                if !was_ready && actions.contains(&Action::Try) {
                    now += passed;
                    let actions = machine.step(Input::Tried(found), now);
                    let became = actions.iter().filter(|action| matches!(action, Action::Ready(_))).count();
                    prop_assert_eq!(became == 1, deserves);
                    ready += became;
                    late += actions.iter().filter(|action| short(&[(*action).clone()]).starts_with("tell not ready after")).count();
                }
                prop_assert!(ready <= 1 && late <= 1);
                prop_assert_eq!(machine.due().is_none(), ready == 1);
                if let Some(due) = machine.due() {
                    prop_assert!(due <= now + LONGEST_PAUSE);
                }
            }
        }
    }
}
