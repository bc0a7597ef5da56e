//! What a command says of itself by sd_notify(3): when it is ready, and when it reloads. No I/O and no clock.
//!
//! | what comes                                      | what follows                                                      |
//! |-------------------------------------------------|-------------------------------------------------------------------|
//! | READY=1, for the first time                     | ready                                                             |
//! | RELOADING=1 of a command that is ready          | told: it is not ready until READY=1 comes again                   |
//! | READY=1 after that                              | ready again                                                       |
//! | the same, and RELOADING=1 came after the last signal for a change | the same, and the signal is answered            |
//! | READY=1 of a command that is ready              | nothing: it proves nothing                                        |
//! | no RELOADING=1 for 5 s after a signal           | told: the signal stays unanswered. So does the next one, at once  |
//! | the same, of a command that has answered one    | as long as it may take to be ready                                |
//! | no READY=1 for so long as it may take           | told once each time                                               |
//!
//! RELOADING=1 comes after the signal if its MONOTONIC_USEC says so, or, without that, if it was received after it. The time for
//! an answer begins when the command is ready: while it starts, it cannot reload.

use std::time::{Duration, Instant};

use crate::degraded::Degraded;
use crate::protocol::Ready;

/// A command that knows the protocol says RELOADING=1 within this time after the first signal, if the machine is not very busy.
const GRACE: Duration = Duration::from_secs(5);

/// Something that came, or was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// READY=1.
    Ready,
    /// RELOADING=1. Its MONOTONIC_USEC, if it has one.
    Reloading {
        /// Microseconds.
        sent_us: Option<i64>,
    },
    /// The command is sent a signal for a change.
    Signalled {
        /// Its number.
        number: u64,
        /// When, by the same clock.
        at_us: i64,
    },
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is ready.
    Ready(Ready),
    /// It reloads, and is not ready meanwhile.
    Reloading {
        /// For the signal of this number.
        answers: Option<u64>,
    },
    /// The signal of this number is not answered, as far as one can tell.
    Unanswered(u64),
    /// Tell this.
    Tell(Degraded),
}

/// What is known of a command whose signals are not answered, or are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// It got none.
    Unknown,
    /// It has answered one.
    Answers,
    /// It did not answer the last one.
    Silent,
}

#[derive(Debug)]
struct NotReady {
    since: Instant,
    /// When it is too late; `None` when that was told.
    late_at: Option<Instant>,
    /// Whether it was ready before.
    reload: bool,
    /// The signal that is answered by being ready.
    answers: Option<u64>,
}

/// A signal that no RELOADING=1 has come for.
#[derive(Debug)]
struct Sent {
    number: u64,
    at_us: i64,
    /// When that is told; `None` when it was.
    unanswered_at: Option<Instant>,
}

/// One generation's word.
#[derive(Debug)]
pub struct Reloads {
    timeout: Duration,
    /// `None` while it is ready.
    not_ready: Option<NotReady>,
    signal: Option<Sent>,
    knows: Knows,
}

impl Reloads {
    /// For a command that starts now.
    pub fn new(timeout: Duration, started: Instant) -> Reloads {
        let starts = NotReady { since: started, late_at: Some(started + timeout), reload: false, answers: None };
        Reloads { timeout, not_ready: Some(starts), signal: None, knows: Knows::Unknown }
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.not_ready.is_none()
    }

    /// When the next tick is due.
    pub fn due(&self) -> Option<Instant> {
        let late_at = self.not_ready.as_ref().and_then(|not_ready| not_ready.late_at);
        late_at.into_iter().chain(self.unanswered_at()).min()
    }

    /// One step.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => {}
            Input::Ready => actions.extend(self.ready(now)),
            Input::Reloading { sent_us } => actions.extend(self.reloading(sent_us, now)),
            Input::Signalled { number, at_us } => {
                let patience = match self.knows {
                    Knows::Unknown => GRACE,
                    Knows::Answers => self.timeout,
                    Knows::Silent => Duration::ZERO,
                };
                self.signal = Some(Sent { number, at_us, unanswered_at: Some(now + patience) });
            }
        }
        self.tick(now, &mut actions);
        actions
    }

    fn ready(&mut self, now: Instant) -> Option<Action> {
        let NotReady { since, reload, answers, .. } = self.not_ready.take()?;
        if !reload && let Some(at) = self.signal.as_mut().and_then(|sent| sent.unanswered_at.as_mut()) {
            *at += now - since;
        }
        Some(Action::Ready(Ready { after: now - since, reload, answers }))
    }

    fn reloading(&mut self, sent_us: Option<i64>, now: Instant) -> Option<Action> {
        let answered = self.signal.take_if(|sent| sent_us.is_none_or(|sent_us| sent_us >= sent.at_us));
        let answers = answered.map(|sent| sent.number);
        if answers.is_some() {
            self.knows = Knows::Answers;
        }
        match &mut self.not_ready {
            Some(not_ready) => {
                not_ready.answers = answers.or(not_ready.answers);
                if answers.is_some() && not_ready.reload {
                    // Another reload, with a time of its own.
                    not_ready.late_at = Some(now + self.timeout);
                }
                (answers.is_some() && not_ready.reload).then_some(Action::Reloading { answers })
            }
            None => {
                let late_at = Some(now + self.timeout);
                self.not_ready = Some(NotReady { since: now, late_at, reload: true, answers });
                Some(Action::Reloading { answers })
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.unanswered_at().is_some_and(|at| at <= now)
            && let Some(sent) = &mut self.signal
        {
            sent.unanswered_at = None;
            self.knows = Knows::Silent;
            actions.push(Action::Unanswered(sent.number));
        }
        let Some(not_ready) = &mut self.not_ready else { return };
        if not_ready.late_at.take_if(|at| *at <= now).is_some() {
            let since = if not_ready.reload { " since RELOADING=1" } else { "" };
            let reason = format!("the command has not sent READY=1{since}");
            actions.push(Action::Tell(Degraded::NotReady { timeout: self.timeout, reason }));
        }
    }

    /// While it starts, the time does not run.
    fn unanswered_at(&self) -> Option<Instant> {
        let starts = self.not_ready.as_ref().is_some_and(|not_ready| !not_ready.reload);
        self.signal.as_ref().and_then(|sent| sent.unanswered_at).filter(|_| !starts)
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, GRACE, Input, Reloads};
    use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::time::{Duration, Instant};

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Milliseconds of its clock are milliseconds since its start.
    struct Bench {
        machine: Reloads,
        start: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            let start = Instant::now();
            Bench { machine: Reloads::new(TIMEOUT, start), start }
        }

        fn ready() -> Bench {
            let mut bench = Bench::new();
            assert_eq!(bench.at(1, Input::Ready), "ready 1ms");
            bench
        }

        fn at(&mut self, ms: u64, input: Input) -> String {
            let actions = self.machine.step(input, self.start + Duration::from_millis(ms));
            actions.iter().map(short).collect::<Vec<_>>().join("; ")
        }
    }

    fn short(action: &Action) -> String {
        match action {
            Action::Ready(ready) => {
                let again = if ready.reload { " again" } else { "" };
                format!("ready{again} {:?}{}", ready.after, of(ready.answers))
            }
            Action::Reloading { answers } => format!("reloading{}", of(*answers)),
            Action::Unanswered(number) => format!("unanswered {number}"),
            Action::Tell(degraded) => format!("tell {degraded}"),
        }
    }

    fn of(answers: Option<u64>) -> String {
        answers.map(|number| format!(" for {number}")).unwrap_or_default()
    }

    fn reloading(sent_ms: i64) -> Input {
        Input::Reloading { sent_us: Some(sent_ms * 1000) }
    }

    fn signalled(number: u64, ms: i64) -> Input {
        Input::Signalled { number, at_us: ms * 1000 }
    }

    const GRACE_MS: u64 = GRACE.as_millis() as u64;

    #[test]
    fn a_signal_is_answered_by_reloading_and_then_ready() {
        let mut bench = Bench::ready();
        assert_eq!(bench.at(100, signalled(1, 100)), "");
        assert_eq!(bench.at(101, Input::Ready), "", "it proves nothing");
        assert_eq!(bench.at(110, reloading(100)), "reloading for 1");
        assert_eq!(bench.at(150, Input::Ready), "ready again 40ms for 1");
        assert_eq!(bench.machine.due(), None);
        // Without a time, what comes after the signal counts.
        assert_eq!(bench.at(200, signalled(2, 200)), "");
        assert_eq!(bench.at(210, Input::Reloading { sent_us: None }), "reloading for 2");
        assert_eq!(bench.at(211, Input::Ready), "ready again 1ms for 2");
    }

    #[test]
    fn a_reload_that_began_before_the_signal_does_not_answer_it() {
        let mut bench = Bench::ready();
        bench.at(100, signalled(1, 100));
        assert_eq!(bench.at(110, reloading(99)), "reloading");
        assert_eq!(bench.at(120, Input::Ready), "ready again 10ms");
        assert_eq!(bench.at(130, reloading(125)), "reloading for 1");
        assert_eq!(bench.at(140, Input::Ready), "ready again 10ms for 1");
    }

    #[test]
    fn of_two_signals_the_first_ready_does_not_answer_the_second() {
        let mut bench = Bench::ready();
        bench.at(100, signalled(1, 100));
        assert_eq!(bench.at(110, reloading(105)), "reloading for 1");
        bench.at(120, signalled(2, 120));
        assert_eq!(bench.at(130, Input::Ready), "ready again 20ms for 1");
        assert_eq!(bench.at(140, reloading(135)), "reloading for 2");
        assert_eq!(bench.at(150, Input::Ready), "ready again 10ms for 2");
        // The second RELOADING may come before the first READY.
        bench.at(200, signalled(3, 200));
        bench.at(210, reloading(205));
        bench.at(220, signalled(4, 220));
        assert_eq!(bench.at(230, reloading(225)), "reloading for 4");
        assert_eq!(bench.at(240, Input::Ready), "ready again 30ms for 4");
    }

    #[test]
    fn a_command_that_does_not_know_it_is_waited_for_once_and_one_that_does_for_longer() {
        let mut bench = Bench::ready();
        bench.at(100, signalled(1, 100));
        assert_eq!(bench.at(99 + GRACE_MS, Input::Tick), "");
        assert_eq!(bench.at(100 + GRACE_MS, Input::Tick), "unanswered 1");
        assert_eq!(bench.at(200 + GRACE_MS, Input::Tick), "", "once");
        assert_eq!(bench.at(10_000, signalled(2, 10_000)), "unanswered 2");
        assert_eq!(bench.at(10_100, reloading(10_050)), "reloading for 2", "late, but it does know it");
        assert_eq!(bench.at(10_200, Input::Ready), "ready again 100ms for 2");
        bench.at(20_000, signalled(3, 20_000));
        assert_eq!(bench.at(79_999, Input::Tick), "");
        assert_eq!(bench.at(80_000, Input::Tick), "unanswered 3");
    }

    #[test]
    fn while_it_starts_the_time_for_an_answer_does_not_run_and_it_may_answer() {
        let mut bench = Bench::new();
        bench.at(100, signalled(1, 100));
        assert_eq!(bench.at(20_000, Input::Tick), "");
        assert_eq!(bench.at(20_000, Input::Ready), "ready 20s");
        assert_eq!(bench.at(20_000 + GRACE_MS, Input::Tick), "");
        assert_eq!(bench.at(20_100 + GRACE_MS, Input::Tick), "unanswered 1");
        let mut bench = Bench::new();
        bench.at(100, signalled(1, 100));
        assert_eq!(bench.at(200, reloading(150)), "", "it has not been ready before");
        assert_eq!(bench.at(300, Input::Ready), "ready 300ms for 1");
    }

    #[test]
    fn a_command_that_is_not_ready_in_time_is_told_once_at_its_start_and_at_each_reload() {
        let mut bench = Bench::new();
        let late = "tell not ready after 1m: the command has not sent READY=1; the command runs on";
        assert_eq!(bench.at(59_999, Input::Tick), "");
        assert_eq!(bench.at(60_000, Input::Tick), late);
        assert_eq!(bench.at(99_000, Input::Tick), "");
        assert_eq!(bench.at(100_000, Input::Ready), "ready 100s");
        for begin in [200_000, 400_000] {
            assert_eq!(bench.at(begin, reloading(0)), "reloading");
            let late =
                "tell not ready after 1m: the command has not sent READY=1 since RELOADING=1; the command runs on";
            assert_eq!(bench.at(begin + 60_000, Input::Tick), late);
            assert_eq!(bench.at(begin + 70_000, Input::Tick), "");
            assert_eq!(bench.at(begin + 80_000, Input::Ready), "ready again 80s");
        }
    }

    #[test]
    fn a_reload_that_repairs_one_that_never_ended_has_a_time_of_its_own() {
        let mut bench = Bench::ready();
        bench.at(100, signalled(1, 100));
        bench.at(200, reloading(150));
        assert!(bench.at(60_200, Input::Tick).starts_with("tell not ready"));
        bench.at(70_000, signalled(2, 70_000));
        assert_eq!(bench.at(70_100, reloading(70_050)), "reloading for 2");
        assert_eq!(bench.at(130_099, Input::Tick), "");
        assert!(bench.at(130_100, Input::Tick).starts_with("tell not ready"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_comes_the_last_signal_is_answered_or_told_and_only_by_a_reload_that_began_after_it(
            inputs in proptest::collection::vec((0..4u8, 0..20_000u64, prop_oneof![
                (0..5_000u64).prop_map(Some), proptest::strategy::Just(None),
            ]), 1..100),
        ) {
            let (mut bench, mut now) = (Bench::new(), 0);
            let (mut sent, mut began, mut settled) = (Vec::new(), i64::MIN, 0);
            let rest = [(0, 1_000_000, None), (3, 1_000_000, None)];
            for (which, passed, age) in inputs.into_iter().chain(rest) {
                now += passed;
                let (instant, us) = (bench.start + Duration::from_millis(now), i64::try_from(now).unwrap() * 1000);
                let mut actions = bench.machine.step(Input::Tick, instant);
                let sent_us = age.map(|age| us - i64::try_from(age).unwrap() * 1000);
                let input = match which {
                    0 => Input::Ready,
                    1 => Input::Reloading { sent_us },
                    2 => Input::Signalled { number: sent.len() as u64 + 1, at_us: us },
                    _ => Input::Tick,
                };
                match input {
                    Input::Signalled { at_us, .. } => sent.push(at_us),
                    Input::Reloading { sent_us } => began = began.max(sent_us.unwrap_or(us)),
                    Input::Ready | Input::Tick => {}
                }
                actions.extend(bench.machine.step(input, instant));
                for action in actions {
                    let answered = match action {
                        Action::Ready(ready) => ready.answers,
                        Action::Reloading { answers } => {
                            prop_assert!(!bench.machine.is_ready());
                            prop_assert!(answers.is_none_or(|number| began >= sent[number as usize - 1]));
                            None
                        }
                        Action::Unanswered(number) => Some(number),
                        Action::Tell(_) => None,
                    };
                    settled = settled.max(answered.unwrap_or_default());
                }
            }
            prop_assert_eq!(settled, sent.len() as u64, "nobody waits for ever");
            prop_assert_eq!(bench.machine.due(), None);
        }
    }
}
