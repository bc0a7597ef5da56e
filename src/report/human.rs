//! Events as calm single lines, for people.

use std::path::{Path, PathBuf};

use crate::change::ChangeSet;
use crate::config::Verbosity;
use crate::escape::escaped;
use crate::event::{Event, Watching, What};

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
    /// The config file in use: the first line names it.
    config: Option<String>,
}

#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Good,
    Bad,
}

impl Human {
    /// For paths shown relative to `directory`.
    pub fn new(directory: PathBuf, color: bool, verbosity: Verbosity, clear: bool) -> Human {
        Human { directory, color, verbosity, clear, kept: String::new(), first: None, config: None }
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
        if let (true, What::ConfigRejected { .. } | What::Degraded { .. }, Some(text)) = (self.clear, &event.what, &own)
        {
            self.kept.push_str(text);
        }
        match (first, own) {
            (Some(first), Some(text)) => Some(first + &text),
            (first, text) => first.or(text),
        }
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
            What::Degraded { message } => (Tone::Bad, message.clone()),
            What::Exited { status, .. } if !status.ran() => (Tone::Bad, format!("the command {status}")),
            _ if self.verbosity == Verbosity::Quiet => return None,
            What::Hint { message } => (Tone::Plain, message.clone()),
            What::Started { pid, command, changes, stop_ms, restart_ms } => {
                if changes.is_empty() && number.number() == 1 {
                    self.first = Some((command.clone(), *pid));
                    return None;
                }
                let sentence = self.restarted(changes, *stop_ms, *restart_ms, event, *pid);
                return Some(self.line(Tone::Good, &sentence));
            }
            What::Watching(watching) => match self.first.take() {
                Some((command, pid)) => {
                    let config = self.config_in_use();
                    (Tone::Good, format!("{config}{}; running {command} (pid {pid})", watched(watching)))
                }
                None if verbose || number.number() == 1 => (Tone::Plain, watched(watching)),
                None => return None,
            },
            What::Changed { changes, action } => match action.strip_prefix("signal:") {
                Some(signal) => (
                    Tone::Good,
                    format!("{}; sent {signal} to the command (generation {number})", self.reason(changes)),
                ),
                None => return None,
            },
            What::Stopped { took_ms, killed: true } => {
                (Tone::Bad, format!("the command had to be killed, after {}", milliseconds(*took_ms)))
            }
            What::Exited { status, ran_ms } => {
                let tone = if status.code().number() == 0 { Tone::Plain } else { Tone::Bad };
                (tone, format!("the command {status} after {}", milliseconds(*ran_ms)))
            }
            What::Waiting { delay_ms: Some(delay), .. } => {
                (Tone::Plain, format!("starting it again in {}, or on a change", milliseconds(*delay)))
            }
            What::Waiting { .. } => (Tone::Plain, "waiting for a change".to_owned()),
            What::ConfigLoaded { path } => {
                self.config = Some(path.clone());
                if !verbose {
                    return None;
                }
                (Tone::Plain, format!("read {path}"))
            }
            What::Stopping { signal, reason } if verbose => (Tone::Plain, format!("stopping with {signal} ({reason})")),
            What::Stopped { took_ms, .. } if verbose => (Tone::Plain, format!("stopped in {}", milliseconds(*took_ms))),
            What::Finished { code, reason } if verbose => {
                (Tone::Plain, format!("ending with {}: {reason}", code.number()))
            }
            What::Stopping { .. } | What::Stopped { .. } | What::Finished { .. } => {
                return None;
            }
        };
        Some(self.line(tone, &sentence))
    }

    /// `using reloadrun.toml; `, once.
    fn config_in_use(&mut self) -> String {
        self.config.take().map(|path| format!("using {}; ", self.shown(Path::new(&path)))).unwrap_or_default()
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
        let Some(first) = changes.iter().next() else { return "nothing changed".to_owned() };
        let path = self.shown(&first.path);
        match changes.len() - 1 {
            0 => format!("{path} {} ({})", first.kind, first.rule),
            more => format!("{path} and {more} more changed ({})", first.rule),
        }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.directory).unwrap_or(path).display().to_string()
    }

    fn line(&self, tone: Tone, sentence: &str) -> String {
        let line = escaped(sentence);
        let color = match tone {
            Tone::Plain => "2",
            Tone::Good => "32",
            Tone::Bad => "33",
        };
        if self.color { format!("\x1b[{color}mreloadrun:\x1b[0m {line}\n") } else { format!("reloadrun: {line}\n") }
    }
}

fn watched(watching: &Watching) -> String {
    let Watching { patterns, root, directories, files, backend, polled } = watching;
    let what = match patterns.as_slice() {
        [] => format!("everything in {root}"),
        patterns => format!("'{}'", patterns.join(";")),
    };
    let polled = match polled {
        0 => String::new(),
        all if all == directories => ", polled".to_owned(),
        some => format!(", {some} of them polled"),
    };
    let plural = |count: &usize, one: &str, many: &str| format!("{count} {}", if *count == 1 { one } else { many });
    format!(
        "watching {what}: {} in {} ({backend}{polled})",
        plural(files, "file", "files"),
        plural(directories, "directory", "directories"),
    )
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
    use super::milliseconds;

    #[test]
    fn durations_are_short_to_read() {
        for (count, text) in
            [(0.04, "0.0 ms"), (3.21, "3.2 ms"), (42.4, "42 ms"), (1500.0, "1.5 s"), (61_000.0, "61.0 s")]
        {
            assert_eq!(milliseconds(count), text);
        }
    }
}
