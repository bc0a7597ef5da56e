//! Who waits until every save made before is live (`reloadrun wait`). Pure.
//!
//! A wait has two steps. First the child that watches takes in everything that the kernel has queued, and reports what came of
//! it (the *barrier*). A child that leaves before that need not: the command of the next one starts after those saves.
//! Then the first line that fits is the answer:
//!
//! | the run                                              | answer                       |
//! |------------------------------------------------------|------------------------------|
//! | is over                                              | ended                        |
//! | is paused                                            | paused, without the barrier  |
//! | has no child, or one that starts, stops or leaves    | none yet                     |
//! | prepares a change, or runs something for it          | none yet                     |
//! | could not prepare the last change                    | failed                       |
//! | ran something for it that did not end with 0         | failed                       |
//! | the same, with 0, and no command could be proven     | live                         |
//! | has a command that ended by itself, with 0           | live                         |
//! | the same, in another way, or before it was ready     | failed                       |
//! | has a command that did not become ready in time      | failed                       |
//! | has a command that a signal could not be sent to     | failed                       |
//! | has a command that got a signal, and may answer it   | none yet                     |
//! | has a command that was not ready again in time after a reload | failed              |
//! | the same, and does not answer it                     | delivered                    |
//! | has a command that reloads                           | none yet                     |
//! | has a command that has answered the signal           | live                         |
//! | has a command that runs, and nothing could prove it  | started                      |
//! | the same, about to be proven                         | none yet                     |
//! | the same, proven                                     | live                         |
//!
//! While the settings that were saved last cannot be used, live, started and delivered become failed.

use super::life::{Answer, Life, Readiness, Reload, Signalled, State, Work};
use super::server::ClientId;
use crate::control::{Outcome, Waited};
use crate::exit_code::ExitCode;
use crate::generation::Generation;

/// What is known of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No command runs, or not for long: the next one will have been started after every save so far.
    Between,
    /// The command runs.
    Running {
        /// How far it has come.
        readiness: Readiness,
        /// The last signal that it got for a change.
        signalled: Option<Signalled>,
        /// Whether it reloads.
        reload: Reload,
    },
    /// The command ended by itself.
    Exited {
        /// How.
        status: String,
        /// With 0.
        well: bool,
    },
    /// The last change could not be prepared.
    Unprepared {
        /// How the preparation ended.
        status: String,
    },
    /// The run for the last change has ended.
    Ran {
        /// How.
        status: String,
        /// With 0.
        well: bool,
    },
    /// All is over.
    Over,
}

impl Standing {
    /// Of the generation that has all saves so far, and how far it has come.
    pub fn of(life: &Life, readiness: Readiness) -> Standing {
        let is_here = matches!(life.state, State::Running | State::Waiting | State::Delayed(_));
        match &life.work {
            Work::UnderWay => return Standing::Between,
            Work::Unprepared(status) if is_here => return Standing::Unprepared { status: status.to_string() },
            Work::Ran(status) if is_here => {
                let well = status.code() == ExitCode::SUCCESS;
                // Else the command has the last word.
                if !well || (readiness == Readiness::Unknown && life.ended.is_none()) {
                    return Standing::Ran { status: status.to_string(), well };
                }
            }
            Work::Nothing | Work::Unprepared(_) | Work::Ran(_) => {}
        }
        match (life.state, &life.ended) {
            (State::Waiting | State::Delayed(_), Some(status)) => {
                let in_time = readiness != Readiness::Never && life.reload == Reload::Nothing;
                let answered =
                    life.signalled.is_none_or(|sent| !matches!(sent.effect, Answer::Awaited | Answer::Begun));
                let well = status.code() == ExitCode::SUCCESS && in_time && answered;
                Standing::Exited { status: status.to_string(), well }
            }
            // Given up on; it is being ended, and another one runs.
            (State::Waiting, None) if readiness == Readiness::Never => {
                Standing::Running { readiness, signalled: None, reload: Reload::Nothing }
            }
            (State::Running, _) => Standing::Running { readiness, signalled: life.signalled, reload: life.reload },
            _ => Standing::Between,
        }
    }
}

#[derive(Debug)]
struct Wait {
    client: ClientId,
    /// The barrier that has not been passed yet, and the generation whose child was asked.
    barrier: Option<(u64, Generation)>,
}

/// Everyone who waits.
#[derive(Debug, Default)]
pub struct Waits {
    all: Vec<Wait>,
    last: u64,
}

impl Waits {
    /// One more waits. `of` is the generation whose child watches, unless it is leaving; the barrier that it has to be told is
    /// returned.
    pub fn add(&mut self, client: ClientId, of: Option<Generation>) -> Option<(Generation, u64)> {
        self.last += 1;
        let barrier = of.map(|of| (self.last, of));
        self.all.push(Wait { client, barrier });
        barrier.map(|(id, of)| (of, id))
    }

    /// A child has passed a barrier, and those before it, and has reported everything before.
    pub fn passed(&mut self, by: Generation, id: u64) {
        for wait in &mut self.all {
            wait.barrier.take_if(|(own, of)| *of == by && *own <= id);
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A client does not wait any more.
    pub fn forget(&mut self, client: ClientId) {
        self.all.retain(|wait| wait.client != client);
    }

    /// The answers that can be given now. `watches` says whether the child of a generation is there and stays.
    pub fn answers(
        &mut self,
        generation: Generation,
        standing: &Standing,
        paused: bool,
        rejected: Option<&str>,
        watches: impl Fn(Generation) -> bool,
    ) -> Vec<(ClientId, Waited)> {
        let mut answers = Vec::new();
        self.all.retain_mut(|wait| {
            wait.barrier.take_if(|(_, of)| !watches(*of));
            let told = answer(generation, standing, paused, wait.barrier.is_some())
                .map(|told| without_what_was_rejected(told, rejected));
            answers.extend(told.clone().map(|waited| (wait.client, waited)));
            told.is_none()
        });
        answers
    }
}

/// No save of the settings is live before they can be used.
fn without_what_was_rejected(told: Waited, rejected: Option<&str>) -> Waited {
    match (rejected, told.outcome) {
        (Some(path), Outcome::Live | Outcome::Started | Outcome::Delivered) => {
            let message = format!("{}, with the settings from before: {path} was rejected", told.message);
            Waited { outcome: Outcome::Failed, message, ..told }
        }
        _ => told,
    }
}

fn answer(generation: Generation, standing: &Standing, paused: bool, before_barrier: bool) -> Option<Waited> {
    let (outcome, message) = match standing {
        Standing::Over => (Outcome::Ended, "the run has ended".to_owned()),
        _ if paused => (
            Outcome::Paused,
            "the run is paused: changes are collected, and lead to nothing until `reloadrun resume`".to_owned(),
        ),
        _ if before_barrier => return None,
        Standing::Between => return None,
        Standing::Exited { status, well: true } => {
            (Outcome::Live, format!("the command of generation {generation} {status}"))
        }
        Standing::Exited { status, well: false } => {
            (Outcome::Failed, format!("the command of generation {generation} {status}"))
        }
        Standing::Unprepared { status } => {
            (Outcome::Failed, format!("generation {generation}: the change could not be prepared ({status})"))
        }
        Standing::Ran { status, well } => {
            let outcome = if *well { Outcome::Live } else { Outcome::Failed };
            (outcome, format!("generation {generation}: the run for the change {status}"))
        }
        Standing::Running { readiness, signalled, reload } => running(generation, *readiness, *signalled, *reload)?,
    };
    Some(Waited { outcome, generation, message })
}

fn running(
    generation: Generation,
    readiness: Readiness,
    signalled: Option<Signalled>,
    reload: Reload,
) -> Option<(Outcome, String)> {
    let effect = signalled.map(|sent| sent.effect);
    let name = signalled.map(|sent| sent.signal.to_string()).unwrap_or_default();
    Some(match (readiness, reload, effect) {
        (Readiness::Never, ..) => (Outcome::Failed, format!("generation {generation} was not ready in time")),
        (_, _, Some(Answer::Refused)) => (Outcome::Failed, format!("{name} did not reach the command")),
        // A reload for it may repair what the one before did not finish.
        (_, _, Some(Answer::Awaited)) => return None,
        (_, Reload::Late, _) => (Outcome::Failed, format!("generation {generation} was not ready again in time")),
        (_, _, Some(Answer::Unknown)) => {
            (Outcome::Delivered, format!("{name} was sent to the command; what it did about it is unknown"))
        }
        (_, Reload::UnderWay, _) | (_, _, Some(Answer::Begun)) | (Readiness::NotYet, ..) => return None,
        (_, _, Some(Answer::Ready)) => {
            (Outcome::Live, format!("generation {generation} has reloaded for {name}, and is ready"))
        }
        (Readiness::Unknown, ..) => (
            Outcome::Started,
            format!("generation {generation} has started; whether it is ready is unknown (--ready PROBE shows it)"),
        ),
        (Readiness::Ready(_), ..) => (Outcome::Live, format!("generation {generation} is ready")),
    })
}

#[cfg(test)]
mod tests {
    use super::{Answer, Readiness, Reload, Signalled, Standing, Waits};
    use crate::control::{Outcome, Waited};
    use crate::generation::Generation;
    use crate::os::signals::Signal;
    use crate::supervisor::server::ClientId;
    use std::time::Duration;

    const READY: Readiness = Readiness::Ready(Duration::ZERO);

    fn running(readiness: Readiness, effect: Option<Answer>) -> Standing {
        reloading(readiness, effect, Reload::Nothing)
    }

    fn reloading(readiness: Readiness, effect: Option<Answer>, reload: Reload) -> Standing {
        let signalled = effect.map(|effect| Signalled { signal: Signal::HUP, number: 1, effect });
        Standing::Running { readiness, signalled, reload }
    }

    #[test]
    fn every_standing_has_its_answer() {
        let exited = |well| Standing::Exited { status: "exited".into(), well };
        for (standing, paused, expected) in [
            (Standing::Over, false, Some(Outcome::Ended)),
            (Standing::Over, true, Some(Outcome::Ended)),
            (Standing::Between, false, None),
            (Standing::Between, true, Some(Outcome::Paused)),
            (exited(true), false, Some(Outcome::Live)),
            (exited(false), false, Some(Outcome::Failed)),
            (running(Readiness::Ready(Duration::ZERO), None), false, Some(Outcome::Live)),
            (running(Readiness::Ready(Duration::ZERO), None), true, Some(Outcome::Paused)),
            (running(READY, Some(Answer::Unknown)), false, Some(Outcome::Delivered)),
            (running(Readiness::Unknown, Some(Answer::Unknown)), false, Some(Outcome::Delivered)),
            (running(READY, Some(Answer::Awaited)), false, None),
            (running(READY, Some(Answer::Awaited)), true, Some(Outcome::Paused)),
            (running(READY, Some(Answer::Refused)), false, Some(Outcome::Failed)),
            (running(READY, Some(Answer::Ready)), false, Some(Outcome::Live)),
            (running(Readiness::Never, Some(Answer::Awaited)), false, Some(Outcome::Failed)),
            (reloading(READY, Some(Answer::Awaited), Reload::UnderWay), false, None),
            (reloading(READY, Some(Answer::Awaited), Reload::Late), false, None),
            (reloading(READY, Some(Answer::Begun), Reload::UnderWay), false, None),
            (reloading(READY, Some(Answer::Begun), Reload::Late), false, Some(Outcome::Failed)),
            (reloading(READY, Some(Answer::Unknown), Reload::Late), false, Some(Outcome::Failed)),
            (reloading(READY, Some(Answer::Ready), Reload::UnderWay), false, None),
            (reloading(READY, None, Reload::UnderWay), false, None),
            (reloading(READY, None, Reload::Late), false, Some(Outcome::Failed)),
            (running(Readiness::Unknown, None), false, Some(Outcome::Started)),
            (Standing::Unprepared { status: "exited".into() }, false, Some(Outcome::Failed)),
            (Standing::Ran { status: "exited".into(), well: true }, false, Some(Outcome::Live)),
            (Standing::Ran { status: "exited".into(), well: false }, false, Some(Outcome::Failed)),
            (running(Readiness::NotYet, None), false, None),
            (running(Readiness::Never, None), false, Some(Outcome::Failed)),
        ] {
            let mut waits = Waits::default();
            assert_eq!(waits.add(ClientId(1), None), None);
            let answers = waits.answers(Generation::FIRST, &standing, paused, None, |_| true);
            assert_eq!(answers.first().map(|(_, waited)| waited.outcome), expected, "{standing:?} {paused}");
            let again = waits.answers(Generation::FIRST, &Standing::Over, false, None, |_| true);
            assert_eq!(again.len(), usize::from(expected.is_none()), "each is answered once");
        }
    }

    #[test]
    fn no_save_is_live_while_the_settings_that_were_saved_last_cannot_be_used() {
        for (standing, expected) in [
            (running(READY, None), Outcome::Failed),
            (running(Readiness::Unknown, None), Outcome::Failed),
            (running(READY, Some(Answer::Unknown)), Outcome::Failed),
            (Standing::Exited { status: "exited".into(), well: true }, Outcome::Failed),
            (Standing::Over, Outcome::Ended),
        ] {
            let mut waits = Waits::default();
            waits.add(ClientId(1), None);
            let answers = waits.answers(Generation::FIRST, &standing, false, Some("/r/reloadrun.toml"), |_| true);
            let (_, Waited { outcome, message, .. }) = &answers[0];
            assert_eq!(*outcome, expected, "{standing:?}");
            assert_eq!(message.contains("/r/reloadrun.toml was rejected"), expected == Outcome::Failed, "{message}");
        }
    }

    #[test]
    fn nobody_is_answered_before_his_own_barrier_and_a_child_that_leaves_is_none() {
        let (first, second) = (Generation::FIRST, Generation::FIRST.next());
        let ready = running(Readiness::Ready(Duration::ZERO), None);
        let mut waits = Waits::default();
        let (_, one) = waits.add(ClientId(1), Some(first)).unwrap();
        let (_, two) = waits.add(ClientId(2), Some(first)).unwrap();
        waits.add(ClientId(3), Some(first)).unwrap();
        assert!(one < two);
        assert_eq!(waits.answers(first, &ready, false, None, |_| true), []);
        waits.passed(second, two);
        assert_eq!(waits.answers(first, &ready, false, None, |_| true), []);
        waits.passed(first, one);
        let answered = |answers: Vec<(ClientId, _)>| answers.iter().map(|(client, _)| client.0).collect::<Vec<_>>();
        assert_eq!(answered(waits.answers(first, &ready, false, None, |_| true)), [1]);
        waits.forget(ClientId(3));
        assert_eq!(answered(waits.answers(first, &ready, false, None, |of| of == second)), [2]);
    }
}
