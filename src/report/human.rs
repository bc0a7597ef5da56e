//! Events as calm single lines, for people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::line::{Tone, line, shown};
use crate::change::ChangeSet;
use crate::config::Verbosity;
use crate::event::{Discovered, Effect, Event, StopReason, WaitingFor, Watching, What, plural};
use crate::exit_code::ExitCode;
use crate::generation::Generation;
use crate::os::signals::Signal;

/// Clears the screen and the scroll-back, and goes to the top left corner (ECMA-48 ED 2, xterm ED 3, CUP).
pub const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";

/// Writes lines for people.
#[derive(Debug)]
pub struct Human {
    directory: PathBuf,
    color: bool,
    verbosity: Verbosity,
    clear: bool,
    /// Complaints since the last start: clearing must not take them away.
    kept: String,
    /// The command and pid of the first start, told together with what is watched.
    first: Option<(String, i32)>,
    /// The command, and whether it is to be told which files it reads: once a run.
    command: Option<String>,
    discovers: bool,
    /// The generation whose watcher was told to be in place.
    watched: Option<Generation>,
    /// The line that says what is waited for, until there is a watcher that could see it.
    waits: Option<String>,
    /// The change that the command is being stopped for, until it is said.
    unsaid: Option<String>,
    /// The config file in use, until it is said: the first line names it.
    config: Option<String>,
    /// Whether there was a line.
    has_begun: bool,
}

impl Human {
    /// For paths shown relative to `directory`.
    pub fn new(directory: PathBuf, color: bool, verbosity: Verbosity, clear: bool) -> Human {
        Human {
            directory,
            color,
            verbosity,
            clear,
            kept: String::new(),
            first: None,
            command: None,
            discovers: true,
            watched: None,
            waits: None,
            unsaid: None,
            config: None,
            has_begun: false,
        }
    }

    /// The command has the terminal: what comes later than its own first words would stand in the middle of what is typed.
    pub fn leave_terminal_to_command(&mut self) {
        self.discovers = false;
    }

    /// Takes over what a new configuration says.
    pub fn adapt(&mut self, color: bool, verbosity: Verbosity, clear: bool) {
        (self.color, self.verbosity, self.clear) = (color, verbosity, clear);
    }

    /// What clears the screen before a start, if that is wanted.
    pub fn clear(&mut self) -> Option<String> {
        let kept = std::mem::take(&mut self.kept);
        self.clear.then(|| CLEAR.to_owned() + &kept)
    }

    /// A sentence as its line.
    pub fn plain(&self, sentence: &str) -> String {
        self.line(Tone::Plain, sentence)
    }

    /// The text for one who has not taken so many lines.
    pub fn left_out(&self, count: u64) -> String {
        self.line(Tone::Bad, &format!("{count} lines were left out here, because nobody took them"))
    }

    /// The text for an event, if it is worth one.
    pub fn text(&mut self, event: &Event) -> Option<String> {
        // The first line waits for the watcher, but not so long that the command's end comes before its name.
        let overtaken = matches!(event.what, What::Exited { .. } | What::Changed { .. } | What::Finished { .. });
        let first = self.first.take_if(|_| overtaken);
        let first = first.map(|(command, pid)| {
            let config = self.config_in_use();
            self.line(Tone::Good, &format!("{config}running {command} (pid {pid})"))
        });
        let own = self.own_text(event);
        if let (true, What::ConfigRejected { .. } | What::Degraded(_), Some(text)) = (self.clear, &event.what, &own) {
            self.kept.push_str(text);
        }
        let waits = self.waits(event);
        let text = [first, own, waits].into_iter().flatten().collect::<String>();
        self.has_begun |= !text.is_empty();
        (!text.is_empty()).then_some(text)
    }

    /// That a change is waited for is said after the line that somebody watches, where that one is said, and not if a
    /// change has come meanwhile.
    fn waits(&mut self, event: &Event) -> Option<String> {
        let tells_watching = event.generation.number() == 1 || self.verbosity == Verbosity::Verbose;
        match event.what {
            What::Waiting(WaitingFor::Change) if self.verbosity != Verbosity::Quiet => {
                self.waits = Some(self.line(Tone::Plain, "waiting for a change"));
            }
            What::Watching(_) => self.watched = Some(event.generation),
            What::Changed { .. } | What::Started { .. } | What::Finished { .. } => self.waits = None,
            _ => {}
        }
        self.waits.take_if(|_| !tells_watching || self.watched == Some(event.generation))
    }

    fn own_text(&mut self, event: &Event) -> Option<String> {
        let number = event.generation;
        let verbose = self.verbosity == Verbosity::Verbose;
        let (tone, sentence) = match &event.what {
            What::ConfigRejected { path, mistakes } => {
                let lines: Vec<String> = mistakes.iter().map(|mistake| self.line(Tone::Bad, mistake)).collect();
                let last = format!("{path} was changed and cannot be used; the last good one stays");
                return Some(lines.concat() + &self.line(Tone::Bad, &last));
            }
            What::Degraded(degraded) => (Tone::Bad, degraded.to_string()),
            What::Exited { status, .. } if !status.ran() => (Tone::Bad, format!("the command {status}")),
            What::PrepareFailed { status, ran_ms, command_runs } => {
                let then = if *command_runs { "; the command runs on as it is" } else { "" };
                (Tone::Bad, format!("the preparation {status} after {}{then}", milliseconds(*ran_ms)))
            }
            What::Ran { status, ran_ms } if status.code() != ExitCode::SUCCESS => {
                (Tone::Bad, format!("the run for the change {status} after {}", milliseconds(*ran_ms)))
            }
            What::Judged { failure: Some(reason), message } => (Tone::Bad, format!("failed ({reason}): {message}")),
            _ if self.verbosity == Verbosity::Quiet => return None,
            What::Judged { failure: None, message } => (Tone::Good, format!("passed: {message}")),
            What::ReloadAsked { path } => (Tone::Plain, format!("touching {path}, to prove that a reload works")),
            What::ReloadProven { took_ms, requests, .. } => {
                let requests = match requests {
                    Some(1) => ", and the request meanwhile was answered".to_owned(),
                    Some(count) => format!(", and all {count} requests meanwhile were answered"),
                    None => String::new(),
                };
                (Tone::Good, format!("the reload works: ready again after {}{requests}", milliseconds(*took_ms)))
            }
            What::CheckStarted { command, address } => {
                let address =
                    address.as_ref().map(|address| format!("the server at {address} with ")).unwrap_or_default();
                (Tone::Plain, format!("checking {address}`{command}`"))
            }
            What::CheckEnded { status, ran_ms } => {
                let tone = if status.code() == ExitCode::SUCCESS { Tone::Plain } else { Tone::Bad };
                (tone, format!("the check {status} after {}", milliseconds(*ran_ms)))
            }
            What::Hint { message } => (Tone::Plain, message.clone()),
            What::Paused => {
                (Tone::Plain, "paused: changes are collected, and lead to nothing until it is resumed".into())
            }
            What::Resumed => (Tone::Plain, "resumed".into()),
            What::MainProcess { pid } => (Tone::Plain, format!("the main process is {pid}")),
            What::Ready { after_ms, reload: false } => (Tone::Good, format!("ready after {}", milliseconds(*after_ms))),
            What::Ready { after_ms, reload: true } => {
                (Tone::Good, format!("the command has reloaded, and is ready after {}", milliseconds(*after_ms)))
            }
            What::Reloading { signal: None } => (Tone::Plain, "the command reloads".into()),
            // The line before has named the signal.
            What::Reloading { signal: Some(_) } if !verbose => return None,
            What::Reloading { signal: Some(signal) } => (Tone::Plain, format!("the command reloads for {signal}")),
            What::Status { message } => (Tone::Plain, format!("the command says: {message}")),
            What::Listening { address, descriptor } => {
                (Tone::Plain, format!("holding {address} for the command, as descriptor {descriptor}"))
            }
            What::Serving { option: "browser", url } => (
                Tone::Plain,
                format!("pages with <script src=\"{url}/livereload.js\"></script> load again after a restart"),
            ),
            What::Serving { option: _, url } => (Tone::Plain, format!("answering at {url}/live")),
            What::Started { pid, command, changes, stop_ms, restart_ms, .. } => {
                self.unsaid = None;
                self.command = Some(command.clone());
                if changes.is_empty() && number.number() == 1 {
                    if self.watched != Some(number) {
                        self.first = Some((command.clone(), *pid));
                        return None;
                    }
                    (Tone::Good, format!("running {command} (pid {pid})"))
                } else {
                    (Tone::Good, self.restarted(changes, *stop_ms, *restart_ms, event, *pid))
                }
            }
            What::Watching(watching) => match self.first.take() {
                Some((command, pid)) => (Tone::Good, format!("{}; running {command} (pid {pid})", watched(watching))),
                None if verbose || number.number() == 1 => (Tone::Plain, watched(watching)),
                None => return None,
            },
            What::Discovered(Discovered { files, elsewhere, narrows, .. }) => {
                let is_first = std::mem::take(&mut self.discovers);
                if !verbose && (!is_first || *elsewhere == 0 && !narrows) {
                    return None;
                }
                let files = plural(*files, "file", "files");
                let command = self.command.as_deref().unwrap_or("the command");
                let root = if *elsewhere > 0 { format!(", {elsewhere} of them elsewhere") } else { String::new() };
                (Tone::Plain, format!("watching {files} that {command} reads{root}"))
            }
            What::Changed { changes, action } => match action {
                Effect::Signal(signal) => (
                    Tone::Good,
                    format!("{}; sent {signal} to the command (generation {number})", self.reason(changes)),
                ),
                Effect::Queue => {
                    (Tone::Good, format!("{}; the command is started again when it has ended", self.reason(changes)))
                }
                Effect::Browser => (Tone::Good, format!("{}; browsers are told", self.reason(changes))),
                Effect::Run => (Tone::Good, format!("{}; a run for it begins", self.reason(changes))),
                Effect::Restart | Effect::Start => {
                    self.unsaid = Some(self.what_changed(changes));
                    return None;
                }
            },
            What::Preparing { changes } if changes.is_empty() => (Tone::Plain, "preparing the first start".to_owned()),
            What::Preparing { changes } => (Tone::Plain, format!("{}; preparing", self.reason(changes))),
            What::Prepared { ran_ms } if verbose => (Tone::Plain, format!("prepared in {}", milliseconds(*ran_ms))),
            What::Ran { ran_ms, .. } if verbose => {
                (Tone::Plain, format!("the run has succeeded after {}", milliseconds(*ran_ms)))
            }
            What::StillStopping { signal, reason, took_ms, kill_in_ms, main_ended } => {
                let why = match self.unsaid.take() {
                    None if *reason == StopReason::Change => "a watched file is being written; ".to_owned(),
                    change => said_first(change),
                };
                (Tone::Plain, format!("{why}{}", slow(*signal, *took_ms, *kill_in_ms, *main_ended)))
            }
            What::Stopped { took_ms, killed: true } => {
                let why = said_first(self.unsaid.take());
                (Tone::Bad, format!("{why}the command had to be killed, after {}", milliseconds(*took_ms)))
            }
            What::Exited { status, ran_ms } => {
                let tone = if status.code().number() == 0 { Tone::Plain } else { Tone::Bad };
                (tone, format!("the command {status} after {}", milliseconds(*ran_ms)))
            }
            What::Waiting(WaitingFor::Delay(delay)) => {
                let delay = milliseconds(delay.as_secs_f64() * 1e3);
                (Tone::Plain, format!("starting it again in {delay}, or on a change"))
            }
            What::ConfigLoaded { path } => {
                if !self.has_begun {
                    self.config = Some(path.clone());
                }
                return verbose.then(|| self.line(Tone::Plain, &format!("read {path}")));
            }
            What::Stopping { signal, reason } if verbose => (Tone::Plain, format!("stopping with {signal} ({reason})")),
            What::Stopped { took_ms, .. } if verbose => (Tone::Plain, format!("stopped in {}", milliseconds(*took_ms))),
            What::Finished { code, reason } if verbose => {
                (Tone::Plain, format!("ending with {}: {reason}", code.number()))
            }
            What::Postponed { path, delay_ms } => (
                Tone::Plain,
                format!(
                    "{} changed; nothing is done about it for {} (--jitter)",
                    shown(Path::new(path), &self.directory),
                    milliseconds(*delay_ms)
                ),
            ),
            What::Digest { digest, files } if verbose => (
                Tone::Plain,
                format!("the digest of what is watched is {digest} ({})", plural(*files, "file", "files")),
            ),
            What::Prepared { .. } | What::Ran { .. } | What::Digest { .. } => return None,
            What::Waiting(_) | What::Stopping { .. } | What::Stopped { .. } | What::Finished { .. } => {
                return None;
            }
        };
        let config = self.config_in_use();
        Some(self.line(tone, &format!("{config}{sentence}")))
    }

    /// `using reloadrun.toml; `, once, and not among errors alone.
    fn config_in_use(&mut self) -> String {
        self.config
            .take_if(|_| self.verbosity != Verbosity::Quiet)
            .map(|path| format!("using {}; ", shown(Path::new(&path), &self.directory)))
            .unwrap_or_default()
    }

    fn restarted(
        &self,
        changes: &ChangeSet,
        stop: Option<f64>,
        restart: Option<f64>,
        event: &Event,
        pid: i32,
    ) -> String {
        let reason = if changes.is_empty() { "started again".to_owned() } else { self.reason(changes) };
        let stop = stop.map(|took| format!("stopped in {}, ", milliseconds(took))).unwrap_or_default();
        let restart = restart.map(|took| format!(" after {}", milliseconds(took))).unwrap_or_default();
        format!("{reason}; {stop}generation {} runs{restart} (pid {pid})", event.generation)
    }

    /// `app.py changed (-w '*.py')`, `app.py and 2 more changed (-w '*.py')`.
    fn reason(&self, changes: &ChangeSet) -> String {
        let rule = changes.iter().next().map(|first| format!(" ({})", first.rule)).unwrap_or_default();
        self.what_changed(changes) + &rule
    }

    /// The same without the rule.
    fn what_changed(&self, changes: &ChangeSet) -> String {
        let Some(first) = changes.iter().next() else { return "nothing changed".to_owned() };
        let path = shown(&first.path, &self.directory);
        match changes.len() - 1 {
            0 => format!("{path} {}", first.kind),
            more => format!("{path} and {more} more changed"),
        }
    }

    fn line(&self, tone: Tone, sentence: &str) -> String {
        line(tone, self.color, sentence)
    }
}

fn watched(watching: &Watching) -> String {
    let Watching { patterns, root, directories, backend, polled, narrows, .. } = watching;
    let what = match patterns.as_slice() {
        [] => format!("everything in {root}"),
        patterns => format!("'{}'", patterns.join(";")),
    };
    let polled = match polled {
        0 => String::new(),
        all if all == directories => ", polled".to_owned(),
        some => format!(", {some} of them polled"),
    };
    if *narrows {
        // How much is walked is not how much counts.
        let of = if patterns.is_empty() { String::new() } else { format!(", of {what}") };
        return format!("watching only what the command reads{of} ({backend}{polled})");
    }
    format!("watching {what}: {} ({backend}{polled})", watching.extent())
}

fn said_first(change: Option<String>) -> String {
    change.map(|change| change + "; ").unwrap_or_default()
}

/// `the command has not ended 0.5 s after SIGTERM (KILL follows in 4.5 s; see --stop-timeout)`.
fn slow(signal: Signal, took: f64, kill_in: Option<f64>, main_ended: bool) -> String {
    let who = if main_ended { "processes that the command started have" } else { "the command has" };
    let took = format!("{:.1} s", took / 1000.0);
    match kill_in {
        Some(left) => {
            format!("{who} not ended {took} after {signal} (KILL follows in {}; see --stop-timeout)", rough(left))
        }
        None => format!(
            "{who} not ended {took} after {signal}, though KILL was sent; what hangs in the kernel is left behind 10 s after it"
        ),
    }
}

/// A time ahead, as a person would say it: `4.5 s`, `29.5 s`, `59m 59s`.
fn rough(milliseconds: f64) -> String {
    let seconds = milliseconds / 1000.0;
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
}

fn milliseconds(count: f64) -> String {
    match count {
        tiny if tiny < 10.0 => format!("{tiny:.1} ms"),
        short if short < 1000.0 => format!("{short:.0} ms"),
        long => format!("{:.1} s", long / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, rough, slow};
    use crate::os::signals::Signal;

    #[test]
    fn durations_are_short_to_read() {
        for (count, text) in
            [(0.04, "0.0 ms"), (3.21, "3.2 ms"), (42.4, "42 ms"), (1500.0, "1.5 s"), (61_000.0, "61.0 s")]
        {
            assert_eq!(milliseconds(count), text);
        }
    }
    #[test]
    fn a_time_ahead_is_rough() {
        for (count, text) in [
            (0.4, "0.0 s"),
            (4_499.8, "4.5 s"),
            (29_499.0, "29.5 s"),
            (59_960.0, "1m"),
            (3_599_499.0, "59m 59s"),
            (3_599_500.0, "1h"),
            (86_399_499.0, "23h 59m 59s"),
        ] {
            assert_eq!(rough(count), text);
        }
    }

    #[test]
    fn who_is_slow_is_said_as_it_is() {
        for (kill_in, main_ended, sentence) in [
            (
                Some(4_499.8),
                false,
                "the command has not ended 0.5 s after SIGTERM (KILL follows in 4.5 s; see --stop-timeout)",
            ),
            (
                Some(9_499.8),
                true,
                "processes that the command started have not ended 0.5 s after SIGTERM (KILL follows in 9.5 s; see --stop-timeout)",
            ),
            (
                None,
                false,
                "the command has not ended 0.5 s after SIGTERM, though KILL was sent; what hangs in the kernel is left behind 10 s after it",
            ),
        ] {
            assert_eq!(slow(Signal::TERM, 500.2, kill_in, main_ended), sentence);
        }
    }
}
