//! How things are, put together from the events: for whoever asks later. Time is an argument.

use std::time::{Instant, SystemTime};

use super::tally::{Known, Tally, milliseconds, rfc3339};
use crate::config::Config;
use crate::control::{Complaint, ConfigInUse, Greeting, LastChange, State, Status};
use crate::degraded::Degraded;
use crate::event::{Discovered, Effect, Event, WaitingFor, Watching, What};
use crate::generation::Generation;

/// So many changed files are kept.
const MOST_CHANGES: usize = 20;

/// Of so many generations it is known what they have taken in: with `--overlap` an older one may stay.
const MOST_DIGESTS: usize = 4;

/// What kind of complaint it is that a command is not ready in time.
const NOT_READY: &str = "not_ready";

/// So many complaints are kept, the newest.
const MOST_COMPLAINTS: usize = 20;

/// A complaint about something that may be over when the next generation has started.
#[derive(Debug)]
struct Heard {
    complaint: Complaint,
    lasts: bool,
}

/// What is known.
#[derive(Debug)]
pub struct Picture {
    state: State,
    generation: Generation,
    since: (SystemTime, Instant),
    command_pid: Option<i32>,
    ready: Option<bool>,
    /// Whether the command says that it reloads.
    reloading: bool,
    /// The generation that still ran when the present one started, with its pid (`--overlap`).
    before: Option<(Generation, i32)>,
    last_exit: Option<String>,
    /// How the last preparation failed, and whether the command of the generation was started before that.
    prepare_failed: Option<String>,
    started: bool,
    watching: Option<Watching>,
    discovered: Option<Discovered>,
    last_change: Option<LastChange>,
    complaints: Vec<Heard>,
    loaded: bool,
    mistakes: Vec<String>,
    /// The command is ready, and runs on until the next one is.
    hands_over: bool,
    /// What the last generations have taken in.
    digests: Vec<(Generation, String)>,
    tally: Tally,
}

impl Picture {
    /// Before anything has happened.
    pub fn new(wall: SystemTime, now: Instant) -> Picture {
        Picture {
            state: State::Starting,
            generation: Generation::FIRST,
            since: (wall, now),
            command_pid: None,
            ready: None,
            reloading: false,
            before: None,
            last_exit: None,
            prepare_failed: None,
            started: false,
            watching: None,
            discovered: None,
            last_change: None,
            complaints: Vec::new(),
            loaded: false,
            mistakes: Vec::new(),
            hands_over: false,
            digests: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Takes an event in. `changes` makes a JSON list of the first of the changed files.
    pub fn take(
        &mut self,
        event: &Event,
        known: Known,
        changes: impl FnOnce(&crate::change::ChangeSet, usize) -> serde_json::Value,
        wall: SystemTime,
        now: Instant,
    ) {
        let before = self.state;
        let shows_ready = known.shows_ready;
        self.tally.take(event, known, wall, now);
        match &event.what {
            What::Started { pid, restart_ms, changes, .. } => {
                let runs_on = self.command_pid.map(|pid| (self.generation, pid)).filter(|_| known.overlaps);
                self.before = runs_on.or(self.before);
                self.hands_over = false;
                (self.state, self.generation, self.command_pid) = (State::Running, event.generation, Some(*pid));
                self.started = true;
                (self.ready, self.reloading) = (shows_ready.then_some(false), false);
                self.since = (wall, now);
                self.complaints.retain(|heard| heard.lasts);
                if let Some(last) =
                    self.last_change.as_mut().filter(|last| last.led_to.is_none() && !changes.is_empty())
                {
                    (last.led_to, last.restart_ms) = (Some(event.generation), *restart_ms);
                }
            }
            What::Stopping { .. } | What::Stopped { .. } | What::Exited { .. }
                if self.before.is_some_and(|(host, _)| host == event.generation) =>
            {
                self.before = None;
            }
            // Of another one than the one that is shown.
            What::Stopping { .. } | What::StillStopping { .. } | What::Stopped { .. } | What::Exited { .. }
                if event.generation != self.generation => {}
            What::Degraded(Degraded::NotReplaced { .. }) => {
                self.hear(event);
                if let Some((generation, pid)) = self.before.take() {
                    (self.state, self.generation, self.command_pid) = (State::Running, generation, Some(pid));
                    self.ready = shows_ready.then_some(true);
                } else if self.command_pid.is_some() {
                    // The next one was not started at all.
                    (self.state, self.hands_over) = (State::Running, false);
                }
            }
            // The command has nothing to do with it.
            What::Changed { action: Effect::Browser, .. } => {}
            What::Changed { changes: files, action } => {
                self.last_change = Some(LastChange {
                    time: rfc3339(wall),
                    action: action.to_string(),
                    count: files.len(),
                    changes: changes(files, MOST_CHANGES),
                    led_to: None,
                    restart_ms: None,
                });
                if matches!(action, Effect::Restart | Effect::Start) && self.state != State::Ending {
                    self.state = State::Stopping;
                    self.hands_over = known.overlaps && self.command_pid.is_some() && self.ready == Some(true);
                }
            }
            What::Stopping { .. } | What::StillStopping { .. } => {
                self.hands_over = false;
                if self.state != State::Ending {
                    self.state = State::Stopping;
                }
            }
            What::MainProcess { pid } => self.command_pid = Some(*pid),
            // Of the one before, which is only waiting for its end.
            What::Ready { .. } | What::Reloading { .. } if event.generation != self.generation => {}
            // The one before is about to be ended.
            What::Ready { .. } => {
                (self.ready, self.reloading, self.before) = (Some(true), false, None);
                self.complaints.retain(|heard| heard.complaint.kind != NOT_READY);
            }
            What::Reloading { .. } => (self.ready, self.reloading) = (Some(false), true),
            What::Stopped { .. } => {
                (self.command_pid, self.ready, self.reloading) = (None, None, false);
                if self.state != State::Ending {
                    self.state = State::Starting;
                }
            }
            What::Exited { status, .. } => {
                (self.command_pid, self.last_exit, self.ready) = (None, Some(status.to_string()), None);
                self.reloading = false;
            }
            What::Prepared { .. } => self.prepare_failed = None,
            What::PrepareFailed { status, .. } => {
                self.prepare_failed = Some(status.to_string());
                if self.command_pid.is_none() && event.generation != self.generation {
                    (self.generation, self.started) = (event.generation, false);
                }
            }
            What::Discovered(discovered) => self.discovered = Some(*discovered),
            What::Waiting(WaitingFor::Change) => self.state = State::Waiting,
            What::Waiting(WaitingFor::Delay(_)) => self.state = State::Delayed,
            What::Digest { digest, .. } => {
                self.digests.retain(|(of, _)| *of != event.generation);
                self.digests.push((event.generation, digest.clone()));
                let too_many = self.digests.len().saturating_sub(MOST_DIGESTS);
                self.digests.drain(..too_many);
            }
            What::Watching(watching) => self.watching = Some(watching.clone()),
            What::Degraded(Degraded::ChildDied { generation, .. }) => {
                self.hear(event);
                // Its tree was ended, which is told in no other way.
                self.before.take_if(|(host, _)| host == generation);
                if *generation == self.generation {
                    (self.command_pid, self.ready, self.hands_over) = (None, None, false);
                    self.reloading = false;
                    if self.state != State::Ending {
                        self.state = State::Starting;
                    }
                }
            }
            What::Degraded(_) => self.hear(event),
            What::ConfigLoaded { .. } => {
                (self.loaded, self.mistakes) = (true, Vec::new());
                self.complaints.clear();
            }
            What::ConfigRejected { mistakes, .. } => self.mistakes.clone_from(mistakes),
            What::Finished { .. } => self.state = State::Ending,
            _ => {}
        }
        if self.state != before {
            self.since = (wall, now);
        }
    }

    /// The present generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    fn hear(&mut self, event: &Event) {
        let What::Degraded(degraded) = &event.what else { return };
        let complaint = Complaint { kind: degraded.kind().to_owned(), message: degraded.to_string() };
        self.complaints.retain(|heard| heard.complaint != complaint);
        self.complaints.push(Heard { complaint, lasts: degraded.lasts().is_some() });
        let too_many = self.complaints.len().saturating_sub(MOST_COMPLAINTS);
        self.complaints.drain(..too_many);
    }

    /// Whether a command serves.
    pub fn serves(&self, known: Known) -> bool {
        if self.state == State::Ending {
            return false;
        }
        if !known.has_command {
            return self.watching.is_some();
        }
        let runs = self.state == State::Running && self.command_pid.is_some() && self.ready != Some(false);
        runs || self.hands_over || self.before.is_some()
    }

    /// Whether what serves is on its way out.
    pub fn is_replaced(&self) -> bool {
        self.hands_over || self.before.is_some()
    }

    /// How things are, in a line.
    pub fn line(&self) -> String {
        let generation = self.generation;
        let exit = self.last_exit.as_deref().unwrap_or("has ended");
        match (self.state, self.ready) {
            (State::Starting, _) => format!("generation {generation} is about to start"),
            (State::Running, Some(true)) => format!("generation {generation} is ready"),
            (State::Running, Some(false)) if self.reloading => format!("generation {generation} reloads"),
            (State::Running, Some(false)) => match self.before {
                Some((before, _)) => format!("generation {generation} is not ready yet, generation {before} runs on"),
                None => format!("generation {generation} is running, not ready yet"),
            },
            (State::Running, None) if self.command_pid.is_none() => {
                format!("the command of generation {generation} {exit}")
            }
            (State::Running, None) => format!("generation {generation} is running"),
            (State::Stopping, _) if self.hands_over => {
                format!("generation {generation} is running until the next one is ready")
            }
            (State::Stopping, _) => format!("generation {generation} is being stopped"),
            (State::Waiting, _) => format!("the command of generation {generation} {exit}; waiting for a change"),
            (State::Delayed, _) => {
                format!("the command of generation {generation} {exit}; it starts again after a delay")
            }
            (State::Ending, _) => "ending".to_owned(),
        }
    }

    /// The answer to whoever asks.
    pub fn status(&self, greeting: &Greeting, config: &Config, paused: bool, now: Instant) -> Status {
        Status {
            version: greeting.reloadrun.clone(),
            pid: greeting.pid,
            name: greeting.name.clone(),
            directory: greeting.directory.clone(),
            command: crate::escape::quoted(config.words()),
            state: self.state,
            generation: self.generation,
            command_pid: self.command_pid,
            since: rfc3339(self.since.0),
            for_ms: milliseconds(now.saturating_duration_since(self.since.1)),
            ready: self.ready,
            reloading: self.reloading,
            serving: self.serves(Known::of(config)),
            paused,
            last_exit: self.last_exit.clone(),
            prepare_failed: self.prepare_failed.clone(),
            started: self.started,
            discovered: self.discovered,
            watching: self.watching.clone(),
            last_change: self.last_change.clone(),
            degraded: self.complaints.iter().map(|heard| heard.complaint.clone()).collect(),
            config: ConfigInUse {
                path: config.config_file.display().to_string(),
                loaded: self.loaded,
                mistakes: self.mistakes.clone(),
            },
            digest: self.digests.iter().find(|(of, _)| *of == self.generation).map(|(_, digest)| digest.clone()),
            restarts: self.tally.restarts(),
            last_reload: self.tally.last_reload(),
            times: self.tally.times(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use super::Picture;
    use crate::change::{Change, ChangeSet};
    use crate::config::tests::config;
    use crate::control::{Greeting, PROTOCOL, State, in_words};
    use crate::degraded::Degraded;
    use crate::event::{Cause, Effect, Event, StopReason, WaitingFor, What};
    use crate::exit_code::{CommandStatus, ExitCode};
    use crate::generation::Generation;
    use crate::os::signals::Signal;
    use std::path::Path;
    use std::time::{Duration, Instant, SystemTime};

    /// A command without a probe.
    const KNOWN: Known =
        Known { shows_ready: false, overlaps: false, has_command: true, patience: Duration::from_secs(60) };

    #[test]
    fn the_events_of_a_life_make_a_picture() {
        let (wall, start) = (SystemTime::UNIX_EPOCH, Instant::now());
        let mut picture = Picture::new(wall, start);
        let (first, second) = (Generation::FIRST, Generation::FIRST.next());
        let set = ChangeSet::new([Change::unseen("/a.py".into())]);
        let started = |changes: ChangeSet, ms| What::Started {
            pid: 7,
            command: "app".into(),
            changes,
            stop_ms: None,
            restart_ms: ms,
            cause: Cause::Change,
        };
        let stopped = What::Stopped { took_ms: 1.0, killed: false };
        let exited = What::Exited { status: CommandStatus::Exited(3), ran_ms: 1.0 };
        let finished = What::Finished { code: ExitCode::SUCCESS, reason: "x".into() };
        let change = |action| What::Changed { changes: set.clone(), action };
        let lasting = Degraded::NoProc;
        let passing = Degraded::QueueOverflow;
        for (second_no, (generation, what, state, pid)) in [
            (first, started(ChangeSet::default(), None), State::Running, Some(7)),
            (first, What::Degraded(lasting.clone()), State::Running, Some(7)),
            (first, What::Degraded(passing), State::Running, Some(7)),
            (first, change(Effect::Signal(Signal::HUP)), State::Running, Some(7)),
            (first, change(Effect::Restart), State::Stopping, Some(7)),
            (first, What::Stopping { signal: Signal::TERM, reason: StopReason::Change }, State::Stopping, Some(7)),
            (first, stopped, State::Starting, None),
            (second, started(set.clone(), Some(5.0)), State::Running, Some(7)),
            (second, What::MainProcess { pid: 70 }, State::Running, Some(70)),
            (second, exited, State::Running, None),
            (second, What::Waiting(WaitingFor::Change), State::Waiting, None),
            (second, finished, State::Ending, None),
            (second, What::Stopping { signal: Signal::TERM, reason: StopReason::Request }, State::Ending, None),
        ]
        .into_iter()
        .enumerate()
        {
            let now = start + Duration::from_secs(second_no as u64);
            picture.take(&Event { generation, what }, KNOWN, |_, _| serde_json::Value::Null, wall, now);
            assert_eq!(
                (picture.state, picture.command_pid, picture.generation),
                (state, pid, generation),
                "{second_no}"
            );
        }
        let greeting = Greeting {
            reloadrun: "1".into(),
            protocol: PROTOCOL,
            pid: 1,
            name: Some("web".into()),
            directory: "/d".into(),
            command: "app".into(),
        };
        let status = picture.status(&greeting, &config(Path::new("/d"), "", ""), true, start + Duration::from_secs(13));
        assert_eq!(status.degraded.len(), 1, "{status:?}");
        assert_eq!((status.degraded[0].kind.as_str(), status.for_ms), (lasting.kind(), 2000.0));
        assert_eq!(status.last_exit.as_deref(), Some("exited with 3"));
        let last = status.last_change.unwrap();
        assert_eq!((last.action.as_str(), last.led_to, last.restart_ms), ("restart", Some(second), Some(5.0)));
    }

    #[test]
    fn a_command_that_was_never_started_has_not_ended() {
        let (wall, now) = (SystemTime::UNIX_EPOCH, Instant::now());
        let mut picture = Picture::new(wall, now);
        let first = Generation::FIRST;
        let mut take = |generation, what| {
            picture.take(&Event { generation, what }, KNOWN, |_, _| serde_json::Value::Null, wall, now);
            let (word, web) = ("w".to_owned(), Some("web".to_owned()));
            let greeting = Greeting {
                reloadrun: "1".into(),
                protocol: PROTOCOL,
                pid: 1,
                name: web,
                directory: word.clone(),
                command: word,
            };
            in_words(&picture.status(&greeting, &config(Path::new("/d"), "", ""), false, now))[2].clone()
        };
        let failed = |command_runs| What::PrepareFailed { status: CommandStatus::Exited(9), ran_ms: 1.0, command_runs };
        let started = |pid| What::Started {
            pid,
            command: "app".into(),
            changes: ChangeSet::default(),
            stop_ms: None,
            restart_ms: None,
            cause: Cause::First,
        };
        let exited = || What::Exited { status: CommandStatus::Exited(3), ran_ms: 1.0 };
        take(first, failed(false));
        let never = "was not started: the preparation exited with 9 0 ms ago; waiting for a change";
        assert_eq!(take(first, What::Waiting(WaitingFor::Change)), format!("the command of generation 1 {never}"));
        take(first, What::Prepared { ran_ms: 1.0 });
        assert_eq!(take(first, started(7)), "generation 1 has been running for 0 ms (pid 7)");
        let runs = "generation 1 has been running for 0 ms (pid 7); the last change could not be prepared (the preparation exited with 9)";
        assert_eq!(take(first, failed(true)), runs);
        take(first, What::Prepared { ran_ms: 1.0 });
        take(first, exited());
        let ended = "the command of generation 1 exited with 3 0 ms ago; waiting for a change";
        assert_eq!(take(first, What::Waiting(WaitingFor::Change)), ended);
        take(first.next(), failed(false));
        assert_eq!(
            take(first.next(), What::Waiting(WaitingFor::Change)),
            format!("the command of generation 2 {never}")
        );
    }
}
