//! What is counted and measured of a run, from its events. Time is an argument.
//!
//! A *reload* is an attempt to bring a new state live: a change, a new config, or a restart that was asked for.
//!
//! | a reload                                        | it has                                                     |
//! |-------------------------------------------------|------------------------------------------------------------|
//! | begins with a preparation, a change or a start   | -                                                          |
//! | its command is ready                            | succeeded                                                  |
//! | its command has started, and nothing shows when it is ready | succeeded; failed, if the command fails within `--ready-timeout` |
//! | the command got the signal, or the run for it ended with 0 | succeeded                                       |
//! | the command says that it reloads for the signal | begun again; succeeded when it is ready, failed if it is not in time or ends |
//! | the preparation or the run for it failed        | failed                                                     |
//! | its command ended before it was ready, could not be started, or is not ready in time | failed                |
//! | the config file that led to it has mistakes     | failed, whatever the command does                          |

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::control::{LastReload, Restarts, Times};
use crate::degraded::Degraded;
use crate::event::{Cause, Effect, Event, What};
use crate::exit_code::ExitCode;
use crate::generation::Generation;

/// What must be known of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Whether an event shows when the command is ready.
    pub shows_ready: bool,
    /// Whether the next generation starts beside the old one.
    pub overlaps: bool,
    /// Whether there is a command; else there are only runs.
    pub has_command: bool,
    /// A command that fails so soon after a reload has failed of it.
    pub patience: Duration,
}

impl Known {
    /// Of this configuration.
    pub fn of(config: &Config) -> Known {
        Known {
            shows_ready: config.ready.is_some(),
            overlaps: config.overlap,
            has_command: config.command.is_some(),
            patience: config.ready_timeout,
        }
    }
}

/// A reload that has not come to its end.
#[derive(Debug)]
struct UnderWay {
    began: Instant,
    cause: Cause,
    /// Its command, once that has started, and from the notice of the change to that start.
    started: Option<(Generation, Duration)>,
    /// Whether the config was rejected.
    rejected: bool,
}

/// Everything that is counted and measured.
#[derive(Debug, Default)]
pub struct Tally {
    restarts: BTreeMap<Cause, u64>,
    times: Times,
    last: Option<LastReload>,
    under_way: Option<UnderWay>,
    /// Since when the command is to take up a change that it got a signal for.
    signalled: Option<(Instant, Cause)>,
    /// The last reload has succeeded as far as anyone can see, and its command may still fail until then.
    on_trial: Option<(Generation, Instant)>,
}

impl Tally {
    /// Takes an event in.
    pub fn take(&mut self, event: &Event, known: Known, wall: SystemTime, now: Instant) {
        let of = event.generation;
        match &event.what {
            What::Preparing { changes } if !changes.is_empty() => self.begin(cause_of(changes.has_config()), now),
            What::Changed { changes, action } => {
                self.begin(cause_of(changes.has_config()), now);
                if matches!(action, Effect::Signal(_)) {
                    self.signalled = self.under_way.as_ref().map(|reload| (reload.began, reload.cause));
                    self.finish(of, true, None, wall, now);
                }
            }
            What::Stopped { took_ms, .. } => self.times.stop_ms = Some(*took_ms),
            What::Started { cause, restart_ms, .. } => self.started(of, *cause, *restart_ms, known, wall, now),
            What::Reloading { signal: Some(_) } => {
                let Some((began, cause)) = self.signalled.take() else { return };
                let started = Some((of, now.saturating_duration_since(began)));
                self.under_way.get_or_insert(UnderWay { began, cause, started, rejected: false });
            }
            What::Ready { after_ms, reload: true } => self.come_to_an_end(of, true, Some(*after_ms), wall, now),
            What::Ready { after_ms, reload: false } => {
                self.times.ready_ms = Some(*after_ms);
                self.come_to_an_end(of, true, Some(*after_ms), wall, now);
            }
            What::Exited { status, .. } if !status.ran() => self.finish(of, false, None, wall, now),
            What::Exited { status, .. } => {
                if status.code() != ExitCode::SUCCESS && self.is_on_trial(of, now) {
                    self.revoke();
                }
                self.come_to_an_end(of, false, None, wall, now);
            }
            What::Degraded(Degraded::NotReady { .. } | Degraded::NotReplaced { .. }) => {
                self.come_to_an_end(of, false, None, wall, now);
            }
            What::Degraded(Degraded::SignalRefused { .. }) => self.revoke(),
            What::PrepareFailed { .. } => self.finish(of, false, None, wall, now),
            What::Ran { status, .. } => self.finish(of, status.code() == ExitCode::SUCCESS, None, wall, now),
            What::ConfigRejected { .. } => {
                self.begin(Cause::Config, now);
                self.under_way.iter_mut().for_each(|reload| reload.rejected = true);
            }
            _ => {}
        }
    }

    fn begin(&mut self, cause: Cause, now: Instant) {
        let new = UnderWay { began: now, cause, started: None, rejected: false };
        let reload = self.under_way.get_or_insert(new);
        if cause == Cause::Config {
            reload.cause = cause;
        }
    }

    fn started(
        &mut self,
        of: Generation,
        cause: Cause,
        restart_ms: Option<f64>,
        known: Known,
        wall: SystemTime,
        now: Instant,
    ) {
        (self.on_trial, self.signalled) = (None, None);
        if cause != Cause::First {
            *self.restarts.entry(cause).or_default() += 1;
        }
        self.times.ready_ms = None;
        if matches!(cause, Cause::Change | Cause::Config | Cause::Asked) {
            self.begin(cause, now);
        }
        let Some(reload) = &mut self.under_way else { return };
        let took = restart_ms.map_or(now.saturating_duration_since(reload.began), from_milliseconds);
        reload.started = Some((of, took));
        self.times.start_ms = Some(milliseconds(took));
        if !known.shows_ready {
            self.come_to_an_end(of, true, None, wall, now);
            self.on_trial = Some((of, now + known.patience));
        }
    }

    /// The command of this generation has shown what it is worth. Before it has started, that is another one's.
    fn come_to_an_end(&mut self, of: Generation, well: bool, after_ms: Option<f64>, wall: SystemTime, now: Instant) {
        let started = self.under_way.as_ref().and_then(|reload| reload.started);
        if started.is_some_and(|(generation, _)| generation == of) {
            self.finish(of, well, after_ms, wall, now);
        }
    }

    fn finish(&mut self, of: Generation, well: bool, after_ms: Option<f64>, wall: SystemTime, now: Instant) {
        let Some(UnderWay { began, cause, started, rejected }) = self.under_way.take() else { return };
        let took = match started {
            Some((_, to_start)) if well => to_start + after_ms.map_or(Duration::ZERO, from_milliseconds),
            _ => now.saturating_duration_since(began),
        };
        self.last = Some(LastReload {
            success: well && !rejected,
            reason: cause,
            generation: of,
            took_ms: milliseconds(took),
            time: rfc3339(wall),
        });
    }

    fn is_on_trial(&self, of: Generation, now: Instant) -> bool {
        self.on_trial.is_some_and(|(generation, until)| generation == of && now <= until)
    }

    fn revoke(&mut self) {
        self.on_trial = None;
        self.last.iter_mut().for_each(|last| last.success = false);
    }

    /// How often the command was started again, and why.
    pub fn restarts(&self) -> Restarts {
        let of = |cause: &Cause| (*cause, self.restarts.get(cause).copied().unwrap_or_default());
        let by_reason: BTreeMap<Cause, u64> = Cause::OF_RESTARTS.iter().map(of).collect();
        Restarts { total: by_reason.values().sum(), by_reason }
    }

    /// The last stop, start and way to being ready.
    pub fn times(&self) -> Times {
        self.times.clone()
    }

    /// The last reload that has come to its end.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.last.clone()
    }
}

fn cause_of(has_config: bool) -> Cause {
    if has_config { Cause::Config } else { Cause::Change }
}

/// A moment, for people and programs.
pub fn rfc3339(wall: SystemTime) -> String {
    humantime::format_rfc3339_millis(wall).to_string()
}

fn from_milliseconds(count: f64) -> Duration {
    Duration::from_secs_f64(count.max(0.0) / 1e3)
}

/// For people and programs: to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
