//! What pages are told, and when. Pure: time is an argument.
//!
//! | the run                                                | pages                                                    |
//! |--------------------------------------------------------|----------------------------------------------------------|
//! | has a new generation that is ready                     | load again, once a generation                            |
//! | the same, and nothing could show that it is ready      | load again when it has started                           |
//! | sent the command a signal for a change                 | load again                                               |
//! | has a command that has reloaded, and says so           | load again                                               |
//! | ran a command for a change, or has one that ended, with 0 | load again                                            |
//! | saw a stylesheet or an image that only browsers care about | exchange it                                          |
//! | saw another such file                                  | load again                                               |
//! | saw one while the next generation is on its way        | nothing: they load again when that is ready              |
//! | failed: the command, the preparation, the run          | show why, also those that come later                     |
//! | succeeded after that                                   | show it no longer                                        |
//! | ended                                                  | stay as they are                                         |
//!
//! A page that comes and is older than the last time that pages were to load again has missed it, and loads again.

use std::time::{Duration, Instant};

use super::page_id::PageId;

/// So many files are exchanged one by one; with more, the page is loaded again.
const MOST_EXCHANGED: usize = 16;

/// What a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The next generation.
    Next,
    /// A signal to the command.
    Signal,
    /// It concerns browsers alone.
    Browser,
    /// Something whose end is told.
    Later,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Files changed.
    Changed {
        /// What it leads to.
        effect: Effect,
        /// Their names, as pages may see them.
        names: Vec<String>,
        /// How many there are; not all need have a name here.
        count: usize,
    },
    /// The command of this generation has started. How things are will be known in a moment.
    Started(u64),
    /// How things are.
    Status {
        /// The generation.
        generation: u64,
        /// Whether its command runs.
        runs: bool,
        /// Whether it is ready; `None` where nothing can show that.
        ready: Option<bool>,
        /// How the command ended, if it failed.
        failed: Option<String>,
        /// For how long it has been so.
        lasted: Duration,
    },
    /// This generation is ready.
    Ready(u64),
    /// The command is ready again.
    Reloaded,
    /// The command ended by itself.
    Exited {
        /// With 0.
        well: bool,
        /// How, to follow "the command".
        how: String,
    },
    /// The preparation of a change failed.
    PrepareFailed {
        /// How, to follow "the preparation".
        how: String,
    },
    /// It succeeded.
    Prepared,
    /// The run for a change ended.
    Ran {
        /// With 0.
        well: bool,
        /// How, to follow "the run for the change".
        how: String,
    },
    /// The command is not ready in time; the sentence.
    NotReady(String),
    /// The next generation failed, and the one before it stays; the sentence.
    NotReplaced(String),
    /// A page has come, which began to load so long ago.
    Came(PageId, Option<Duration>),
}

/// What pages are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To load again.
    Reload,
    /// To exchange the stylesheet or image of this path.
    Exchange(String),
    /// To show this, or nothing any more.
    Overlay(Option<String>),
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Every page.
    All,
    /// This one.
    One(PageId),
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    text: String,
    /// It is over as soon as a preparation succeeds.
    of_preparation: bool,
}

/// All that pages depend on.
#[derive(Debug, Default)]
pub struct Machine {
    /// The newest generation whose command has started; `None` before anything is known.
    generation: Option<u64>,
    /// The newest for which pages were to load again.
    told: u64,
    /// Whether the next generation is on its way.
    comes: bool,
    /// Whether something changed meanwhile that only browsers care about.
    owed: bool,
    /// The names of the last change.
    changed: String,
    trouble: Option<Trouble>,
    last_reload: Option<Instant>,
    /// Pages that came before anything was known: when, and how old they were.
    early: Vec<(PageId, Instant, Duration)>,
}

impl Machine {
    /// Takes in what happened and says what to tell.
    pub fn step(&mut self, input: Input, now: Instant) -> Vec<(To, Message)> {
        let mut told = Vec::new();
        match input {
            Input::Changed { effect: Effect::Browser, names, count } => self.exchange(names, count, now, &mut told),
            Input::Changed { effect, names, count } => {
                self.changed = summary(&names, count);
                match effect {
                    Effect::Next => self.comes = true,
                    Effect::Signal => self.good(now, &mut told),
                    Effect::Later | Effect::Browser => {}
                }
            }
            Input::Started(generation) => {
                (self.generation, self.comes) = (Some(generation), true);
                // All of them load again when it is up.
                self.early.clear();
            }
            Input::Status { generation, runs, ready, failed, lasted } => {
                let is_first = self.generation.is_none();
                if is_first {
                    self.generation = Some(generation);
                    self.comes = runs && ready == Some(false);
                    if runs && ready != Some(false) {
                        // Pages that are older have missed it; the others need nothing.
                        self.told = generation;
                        self.last_reload = now.checked_sub(lasted);
                    }
                    for (page, came, age) in std::mem::take(&mut self.early) {
                        self.catch_up(page, now.saturating_duration_since(came) + age, now, &mut told);
                    }
                    if let Some(how) = failed.filter(|_| !runs) {
                        self.fail(format!("the command {how}"), false, &mut told);
                    }
                } else if runs && self.generation == Some(generation) && ready != Some(false) {
                    self.up(generation, now, &mut told);
                }
            }
            Input::Ready(generation) => self.up(generation, now, &mut told),
            Input::Reloaded => self.good(now, &mut told),
            Input::Exited { well: true, .. } | Input::Ran { well: true, .. } => self.good(now, &mut told),
            Input::Exited { how, .. } => self.fail(format!("the command {how}"), false, &mut told),
            Input::Ran { how, .. } => self.fail(format!("the run for the change {how}"), false, &mut told),
            Input::PrepareFailed { how } => self.fail(format!("the preparation {how}"), true, &mut told),
            Input::Prepared => {
                if self.trouble.take_if(|trouble| trouble.of_preparation).is_some() {
                    told.push((To::All, Message::Overlay(None)));
                }
            }
            Input::NotReady(sentence) => self.fail(sentence, false, &mut told),
            Input::NotReplaced(sentence) => {
                let owed = self.owed;
                self.fail(sentence, false, &mut told);
                if owed {
                    self.reload(now, &mut told);
                }
            }
            Input::Came(page, age) => match (&self.trouble, age) {
                (Some(trouble), _) => told.push((To::One(page), Message::Overlay(Some(trouble.text.clone())))),
                (None, Some(age)) if self.generation.is_none() => self.early.push((page, now, age)),
                (None, Some(age)) => self.catch_up(page, age, now, &mut told),
                (None, None) => {}
            },
        }
        told
    }

    /// A page of this age may have missed a reload.
    fn catch_up(&self, page: PageId, age: Duration, now: Instant, told: &mut Vec<(To, Message)>) {
        if self.last_reload.is_some_and(|last| now.saturating_duration_since(last) < age) {
            told.push((To::One(page), Message::Reload));
        }
    }

    /// The generation answers.
    fn up(&mut self, generation: u64, now: Instant, told: &mut Vec<(To, Message)>) {
        self.comes = false;
        if generation > self.told {
            self.told = generation;
            return self.good(now, told);
        }
        if self.trouble.take().is_some() {
            told.push((To::All, Message::Overlay(None)));
        }
    }

    /// What was broken is repaired, and pages are out of date.
    fn good(&mut self, now: Instant, told: &mut Vec<(To, Message)>) {
        self.comes = false;
        if self.trouble.take().is_some() {
            told.push((To::All, Message::Overlay(None)));
        }
        self.reload(now, told);
    }

    fn reload(&mut self, now: Instant, told: &mut Vec<(To, Message)>) {
        (self.owed, self.last_reload) = (false, Some(now));
        told.push((To::All, Message::Reload));
    }

    fn fail(&mut self, sentence: String, of_preparation: bool, told: &mut Vec<(To, Message)>) {
        (self.comes, self.owed) = (false, false);
        let text = if self.changed.is_empty() { sentence } else { format!("{} changed; {sentence}", self.changed) };
        self.trouble = Some(Trouble { text: text.clone(), of_preparation });
        told.push((To::All, Message::Overlay(Some(text))));
    }

    fn exchange(&mut self, names: Vec<String>, count: usize, now: Instant, told: &mut Vec<(To, Message)>) {
        if self.comes {
            self.owed = true;
        } else if count <= MOST_EXCHANGED && count == names.len() && names.iter().all(|name| is_exchanged(name)) {
            told.extend(names.into_iter().map(|name| (To::All, Message::Exchange(name))));
        } else {
            self.reload(now, told);
        }
    }
}

/// Whether a page can exchange a file of this name.
fn is_exchanged(name: &str) -> bool {
    const ENDS: [&str; 9] = ["css", "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico"];
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    end.is_some_and(|end| ENDS.contains(&end.as_str()))
}

/// `app.py`, `app.py and 2 more`.
fn summary(names: &[String], count: usize) -> String {
    match names {
        [] => String::new(),
        [one, ..] if count <= 1 => one.clone(),
        [one, ..] => format!("{one} and {} more", count - 1),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
