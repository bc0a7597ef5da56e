//! Does the command restart itself, by writing a file that is watched? Counts the restarts in a row that one file led
//! to soon after a start, and asks before it accuses, without I/O and without a clock.
//!
//! Somebody else may save a file as often: a script, an editor that saves by itself, a test that waits for each start. At
//! the counts of [`TRIALS`] there is a trial:
//!
//! | step  | what is done                                    | what it shows                                             |
//! |-------|-------------------------------------------------|-----------------------------------------------------------|
//! | pause | the next start waits, and nothing runs          | written all the same: by somebody else, who is acquitted  |
//! | hold  | changes of the file alone wait, the command runs | written once more: not by one who waits for each start    |
//!
//! A file that is written while the command runs and not while it does not, in two trials in a row, is convicted. So is
//! one that nobody writes in the pause and that had the same content many times, and one with a very long series. Its
//! changes are held for a time that doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::change::{ChangeSet, Hold, Look};

/// After so many restarts in a row there is a trial.
const TRIALS: [u32; 3] = [4, 16, 64];

/// So many trials in a row must find a file written while the command runs, and only then.
const AGREEING: u32 = 2;

/// After so many restarts in a row, a long pause without a write is enough.
const PATIENCE: u32 = 256;

/// So many restarts in a row with the same content are no edits.
const ALIKE: u32 = 8;

/// The pause of a trial: twice the last time between two changes, so that whoever writes at that pace shows.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The longest pause at the end of the patience: longer than [`Hold::SOON`], the slowest pace that is counted at all.
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long a trial holds.
const TRIAL_HOLD: Duration = Duration::from_secs(2);

/// How long the changes of a convicted file are held, at first and at the most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));

/// So long an acquitted file is not suspected again.
const ACQUITTED: Duration = Duration::from_secs(600);

/// How a file looks while nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The look.
    pub look: Look,
    /// A hash of its content; `None` of a file that is large or not there.
    pub content: Option<u64>,
}

/// What follows once the files have been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next start.
    Start,
    /// A pause, then another look.
    Pause(Duration),
}

/// A file that was found to be written by the command itself, told of once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conviction {
    /// The file.
    pub path: PathBuf,
    /// How long its changes are held from now on.
    pub hold: Duration,
}

/// Where a trial stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    None,
    /// A trial is due.
    Due,
    /// Nothing runs; so the suspects looked when that began.
    Paused(Vec<Look>),
    /// The next command runs, and changes of the suspects are held.
    Holding,
}

/// The decisions about loops.
#[derive(Debug)]
pub struct LoopBreaker {
    /// The files behind every restart of the series.
    suspects: BTreeSet<PathBuf>,
    count: u32,
    stage: Stage,
    /// How many trials in a row have spoken against the suspects.
    against: u32,
    contents: Vec<Option<u64>>,
    /// How many times in a row the contents were these.
    alike: u32,
    last_ns: Option<i64>,
    between: Duration,
    convicted: BTreeMap<PathBuf, Duration>,
    /// Until when, nanoseconds.
    acquitted: BTreeMap<PathBuf, i64>,
    told: BTreeSet<PathBuf>,
}

impl LoopBreaker {
    /// Without a suspicion.
    pub fn new() -> LoopBreaker {
        LoopBreaker {
            suspects: BTreeSet::new(),
            count: 0,
            stage: Stage::None,
            against: 0,
            contents: Vec::new(),
            alike: 0,
            last_ns: None,
            between: Duration::ZERO,
            convicted: BTreeMap::new(),
            acquitted: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// These changes lead to a restart. `started_ns` is the start of the command, if it did start, and `noticed_ns` the
    /// first notice, by one clock.
    pub fn restart(&mut self, changes: &ChangeSet, started_ns: Option<i64>, noticed_ns: i64) -> Vec<Conviction> {
        let was_held = std::mem::replace(&mut self.stage, Stage::None) == Stage::Holding;
        self.between = self.last_ns.replace(noticed_ns).map_or(Duration::ZERO, |last| span(last, noticed_ns));
        self.acquitted.retain(|_, until| *until > noticed_ns);
        let Some(ran) = started_ns.map(|started| span(started, noticed_ns)) else {
            self.end_series();
            return Vec::new();
        };
        self.convicted.retain(|path, time| ran <= Hold { path: path.clone(), time: *time }.window());
        let held_alone = changes.paths().all(|path| self.convicted.contains_key(path));
        if held_alone && !changes.is_empty() {
            for path in changes.paths() {
                self.convicted.entry(path.to_owned()).and_modify(|time| *time = (*time * 2).min(BACK_OFF.1));
            }
            self.end_series();
            return Vec::new();
        }
        if self.count_in(changes, ran) && was_held {
            let rewritten = |path: &PathBuf| changes.iter().any(|change| change.path == *path && change.rewritten);
            if self.suspects.iter().any(rewritten) {
                self.suspects.retain(rewritten);
                self.against += 1;
            } else {
                self.against = 0;
            }
            if self.against >= AGREEING {
                return self.convict();
            }
        }
        if self.against > 0 || TRIALS.contains(&self.count) || self.count >= PATIENCE {
            self.stage = Stage::Due;
        }
        Vec::new()
    }

    /// The files to look at before the next start, if any, while nothing runs; then call [`LoopBreaker::seen`].
    pub fn question(&self) -> Option<Vec<PathBuf>> {
        let asks = match self.stage {
            Stage::None => self.count >= TRIALS[1] - ALIKE,
            Stage::Due | Stage::Paused(_) => true,
            Stage::Holding => false,
        };
        asks.then(|| self.suspects.iter().cloned().collect())
    }

    /// The answer, file by file.
    pub fn seen(&mut self, sights: &[Sight]) -> (Next, Vec<Conviction>) {
        let looks: Vec<Look> = sights.iter().map(|sight| sight.look).collect();
        match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::None | Stage::Holding => self.compare(sights),
            Stage::Due => {
                self.compare(sights);
                self.stage = Stage::Paused(looks);
                // Once one trial has spoken against a file, the next one takes the time to be sure.
                let pause = match (self.count >= PATIENCE, self.against > 0) {
                    (true, _) => (self.between * 2).clamp(PAUSE.1, LAST_PAUSE),
                    (false, true) => PAUSE.1,
                    (false, false) => (self.between * 2).clamp(PAUSE.0, PAUSE.1),
                };
                return (Next::Pause(pause), Vec::new());
            }
            Stage::Paused(before) => {
                let written = before.len() == looks.len() && before.iter().zip(&looks).any(|(a, b)| a.stamp != b.stamp);
                let proven = self.count >= TRIALS[1] && self.alike >= ALIKE || self.count >= PATIENCE;
                if written {
                    self.acquit();
                } else if proven {
                    return (Next::Start, self.convict());
                } else {
                    self.stage = Stage::Holding;
                }
            }
        }
        (Next::Start, Vec::new())
    }

    /// What the next child is to hold.
    pub fn holds(&self) -> Vec<Hold> {
        let on_trial = self.suspects.iter().filter(|_| self.stage == Stage::Holding).map(|path| (path, &TRIAL_HOLD));
        let holds = self.convicted.iter().chain(on_trial);
        holds.map(|(path, time)| Hold { path: path.clone(), time: *time }).collect()
    }

    /// Whether another command or other patterns may have put an end to it: all is forgotten.
    pub fn reset(&mut self) {
        *self = LoopBreaker::new();
    }

    /// Whether the series goes on; else a new one begins, if this restart can be the first of one.
    fn count_in(&mut self, changes: &ChangeSet, ran: Duration) -> bool {
        let fresh: BTreeSet<PathBuf> = (changes.iter().filter(|change| !change.config).map(|change| &change.path))
            .filter(|path| !self.convicted.contains_key(*path) && !self.acquitted.contains_key(*path))
            .cloned()
            .collect();
        let common: BTreeSet<PathBuf> = self.suspects.intersection(&fresh).cloned().collect();
        if ran <= Hold::SOON && !common.is_empty() {
            self.suspects = common;
            self.count += 1;
            return true;
        }
        self.end_series();
        if ran <= Hold::SOON && !fresh.is_empty() {
            self.suspects = fresh;
            self.count = 1;
        }
        false
    }

    fn compare(&mut self, sights: &[Sight]) {
        let contents: Vec<Option<u64>> = sights.iter().map(|sight| sight.content).collect();
        let known = contents.iter().all(Option::is_some);
        self.alike = if known && contents == self.contents { self.alike + 1 } else { u32::from(known) };
        self.contents = contents;
    }

    fn acquit(&mut self) {
        let until = self.last_ns.unwrap_or(0).saturating_add(nanoseconds(ACQUITTED));
        let suspects = std::mem::take(&mut self.suspects);
        self.acquitted.extend(suspects.into_iter().map(|path| (path, until)));
        self.end_series();
    }

    fn convict(&mut self) -> Vec<Conviction> {
        let suspects = std::mem::take(&mut self.suspects);
        self.end_series();
        self.convicted.extend(suspects.iter().map(|path| (path.clone(), BACK_OFF.0)));
        let news = suspects.into_iter().filter(|path| self.told.insert(path.clone()));
        news.map(|path| Conviction { path, hold: BACK_OFF.0 }).collect()
    }

    fn end_series(&mut self) {
        self.suspects.clear();
        self.count = 0;
        self.against = 0;
        self.alike = 0;
        self.stage = Stage::None;
    }
}

impl Conviction {
    /// The sentence for people. Paths are shown relative to `directory`; `named` says that a pattern names the file
    /// literally, against which no `-i` helps.
    pub fn sentence(&self, directory: &Path, named: bool) -> String {
        let path = self.path.strip_prefix(directory).unwrap_or(&self.path).display().to_string();
        let remedy = if named {
            format!("{path} is named by -w: take it out there, and leave it out with -i '{}'", pattern_of(&path))
        } else {
            format!("leave it out with -i '{}'", pattern_of(&path))
        };
        let hold = humantime::format_duration(self.hold);
        format!(
            "{path} is rewritten shortly after every start, by the command itself as it seems; restarts for it back off (next in {hold} at the earliest): {remedy}"
        )
    }
}

/// The pattern that means just this path, as one types it between single quotes.
fn pattern_of(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ';' => pattern.extend(['\\', character]),
            '\'' => pattern.push_str(r"'\''"),
            _ => pattern.push(character),
        }
    }
    if pattern.starts_with('!') { format!("./{pattern}") } else { pattern }
}

fn span(from_ns: i64, to_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "loop_breaker_tests.rs"]
mod tests;
