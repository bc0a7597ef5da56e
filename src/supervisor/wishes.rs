//! What clients and keys ask for, and what it leads to. Pure.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::keyboard::Key;
use super::life::{Readiness, State};
use super::server::ClientId;
use super::step::{Action, Shown};
use super::succession::Succession;
use super::waits::{Standing, Waits};
use crate::control::{Answer, Request};
use crate::discover::Kept;
use crate::event::{Cause, What};
use crate::generation::Generation;
use crate::protocol::Directive;

/// What a wish leads to beyond what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// The command starts anew because somebody wanted it.
    Restart,
    /// Everything is to end, for this reason.
    End(&'static str),
}

/// Wishes that last.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Changes are collected, and lead to nothing.
    paused: bool,
    /// The file with the settings that were saved last, if they could not be used.
    pub rejected: Option<String>,
    /// Who waits until his saves are live.
    waits: Waits,
    /// Who asks whether a path counts, and whose child was asked what it knows.
    explains: Vec<(ClientId, PathBuf, Generation)>,
}

impl Wishes {
    /// Whether changes are collected, and lead to nothing.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// A client is gone.
    pub fn forget(&mut self, client: ClientId) {
        self.waits.forget(client);
        self.explains.retain(|(asks, ..)| *asks != client);
    }

    /// A client asks; `from_tree` if it descends from us.
    pub fn asked(
        &mut self,
        (client, request, from_tree): (ClientId, Request, bool),
        succession: &mut Succession,
        stop_timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Consequence {
        let mut consequence = Consequence::Nothing;
        let answer = match request {
            Request::Status => Action::AnswerStatus(client),
            Request::Events => Action::Follow(client),
            Request::Explain { path, bytes } => {
                let path = Request::path(path, bytes);
                match succession.lives.newest().filter(|life| life.watches()).map(|life| life.generation) {
                    Some(watching) => {
                        self.explains.push((client, path, watching));
                        actions.push(Action::Send(watching, Directive::Recall));
                        return consequence;
                    }
                    None => Action::AnswerExplain(client, path, Box::default()),
                }
            }
            Request::Restart => {
                let answer = restart(succession, stop_timeout, now, actions);
                consequence = Consequence::Restart;
                Action::Answer(client, answer)
            }
            // It is answered before the end, which may come at once.
            Request::Stop => {
                consequence = Consequence::End("asked to stop");
                Action::Answer(client, Answer::Stop { again: succession.is_ending() })
            }
            Request::Pause => Action::Answer(client, Answer::Pause { already: !self.pause(true, succession, actions) }),
            Request::Resume => {
                Action::Answer(client, Answer::Resume { already: !self.pause(false, succession, actions) })
            }
            Request::Wait if from_tree => {
                let message = "wait would wait for itself: it was started by this run".to_owned();
                Action::Answer(client, Answer::Refused { message })
            }
            Request::Wait => {
                let watching = succession.lives.newest().filter(|life| life.watches() && !self.paused);
                let barrier = self.waits.add(client, watching.map(|life| life.generation));
                actions.extend(barrier.map(|(of, id)| Action::Send(of, Directive::Barrier { id })));
                return consequence;
            }
        };
        actions.push(answer);
        consequence
    }

    /// A key was pressed.
    pub fn key(
        &mut self,
        key: Key,
        succession: &mut Succession,
        stop_timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Consequence {
        match key {
            Key::Restart => {
                restart(succession, stop_timeout, now, actions);
                return Consequence::Restart;
            }
            Key::Pause => _ = self.pause(!self.paused, succession, actions),
            Key::Why => actions.push(Action::Show(Shown::Status)),
            Key::Help => actions.push(Action::Show(Shown::Keys)),
            Key::Quit => return Consequence::End("q was pressed"),
        }
        Consequence::Nothing
    }

    /// A child has passed a barrier.
    pub fn passed(&mut self, by: Generation, id: u64) {
        self.waits.passed(by, id);
    }

    /// A child has told what it knows of the files of the command.
    pub fn recalled(&mut self, by: Generation, known: &Kept, actions: &mut Vec<Action>) {
        let answered = self.explains.extract_if(.., |(_, _, of)| *of == by);
        actions.extend(answered.map(|(client, path, _)| Action::AnswerExplain(client, path, Box::new(known.clone()))));
    }

    /// Answers whoever need not wait any more, after what is told, and before whatever ends it all.
    pub fn answer(&mut self, succession: &Succession, readiness: Readiness, actions: &mut Vec<Action>) {
        let newest = succession.lives.newest();
        // The next one will know it, but may be long in coming.
        let asked = |of: Generation| newest.is_some_and(|life| life.generation == of && life.watches());
        let unanswered = self.explains.extract_if(.., |(_, _, of)| !asked(*of));
        actions.extend(unanswered.map(|(client, path, _)| Action::AnswerExplain(client, path, Box::default())));
        if self.waits.is_empty() {
            return;
        }
        let standing = match newest {
            _ if succession.is_over() => Standing::Over,
            // They lead to a generation that has not started.
            Some(life) if life.state == State::Running && !succession.behind.changes.is_empty() => Standing::Between,
            Some(life) => Standing::of(life, readiness),
            None => Standing::Between,
        };
        let watches = |of| newest.is_some_and(|life| life.generation == of && life.watches());
        let answers =
            self.waits.answers(succession.generation, &standing, self.paused, self.rejected.as_deref(), watches);
        let answers = answers.into_iter().map(|(client, waited)| Action::Answer(client, Answer::Wait(waited)));
        let end = actions.iter().position(|action| matches!(action, Action::Sweep { .. } | Action::Finish(_)));
        let at = end.unwrap_or(actions.len());
        actions.splice(at..at, answers);
    }

    /// Says whether that is news.
    fn pause(&mut self, on: bool, succession: &Succession, actions: &mut Vec<Action>) -> bool {
        let is_news = std::mem::replace(&mut self.paused, on) != on;
        if is_news {
            let newest = succession.lives.newest().map(|life| life.generation);
            actions.extend(newest.map(|generation| Action::Send(generation, Directive::Pause { on })));
            let what = if on { What::Paused } else { What::Resumed };
            actions.push(Action::Tell(succession.generation, what));
        }
        is_news
    }
}

/// Starts the command anew, as if it had been saved.
pub fn restart(succession: &mut Succession, stop_timeout: Duration, now: Instant, actions: &mut Vec<Action>) -> Answer {
    if succession.is_ending() {
        return Answer::Refused { message: "the run is ending".to_owned() };
    }
    let already = !succession.renew(stop_timeout, now, actions);
    if !already {
        succession.behind.because(Cause::Asked);
    }
    Answer::Restart { generation: succession.coming(), already }
}
