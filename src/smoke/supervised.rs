//! The run that is checked: a supervisor in a process of its own, and what its events say.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde_json::Value;

use super::step::{CommandStatusText, News, SERVER};
use crate::change::seen_from;
use crate::config::EventsTarget;
use crate::exit_code::ExitCode;
use crate::generation::Generation;
use crate::os::Errno;
use crate::os::fd::{close_all_but, make_non_blocking, pipe, read_some, write_output_to};
use crate::os::handed_over::offer;
use crate::os::process::{end_at_parents_end, fork_child, lead_own_group, own_pid, parent_pid};
use crate::os::signals::{Signal, send};

/// A supervisor below this process.
#[derive(Debug)]
pub struct Supervised {
    /// Its pid.
    pub pid: i32,
    /// The command's process, while there is one.
    pub command: Option<i32>,
    /// What it said last.
    pub said: Option<String>,
    events: OwnedFd,
    unread: Vec<u8>,
}

/// An event of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The line, to be passed on; the last one is not, because more follows.
    pub line: Option<String>,
    /// What it means for the smoke run, and in which generation.
    pub news: Option<(Generation, News)>,
}

impl Supervised {
    /// Starts it. Its output goes to `output`, if that is given.
    ///
    /// # Errors
    /// No descriptor and no process is left.
    pub fn fork(
        output: Option<(OwnedFd, OwnedFd)>,
        supervise: impl FnOnce(EventsTarget) -> ExitCode,
    ) -> Result<Supervised, Errno> {
        let (events, writer) = pipe()?;
        make_non_blocking(&events)?;
        let parent = own_pid();
        let pid = fork_child(move || {
            end_at_parents_end();
            if parent_pid() != parent {
                return ExitCode::OWN_FAILURE;
            }
            // Ctrl-C is for the smoke run, which then asks for the end.
            lead_own_group();
            let Ok(number) = offer(writer.as_fd()) else { return ExitCode::OWN_FAILURE };
            if let Some((stdout, stderr)) = &output
                && write_output_to(stdout, stderr).is_err()
            {
                return ExitCode::OWN_FAILURE;
            }
            drop((writer, output));
            // Before the sockets for the command are bound, their numbers must be free.
            close_all_but(&[]);
            supervise(EventsTarget::Descriptor(number))
        })?;
        Ok(Supervised { pid, command: None, said: None, events, unread: Vec::new() })
    }

    /// Where its events come from.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = send(self.pid, signal);
    }

    /// The next events, as far as they are there.
    pub fn listen(&mut self, directory: &Path) -> Vec<Heard> {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = read_some(&self.events, &mut buffer) {
            self.unread.extend_from_slice(&buffer[..count]);
        }
        let end = self.unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole: Vec<u8> = self.unread.drain(..end).collect();
        String::from_utf8_lossy(&whole).lines().map(|line| self.hear(line, directory)).collect()
    }

    fn hear(&mut self, line: &str, directory: &Path) -> Heard {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return Heard { line: None, news: None } };
        match event["event"].as_str() {
            Some("started" | "main_process") => self.command = pid_of(&event),
            Some("finished") => {
                self.said = event["reason"].as_str().map(str::to_owned);
                return Heard { line: None, news: None };
            }
            _ => {}
        }
        let generation = serde_json::from_value(event["generation"].clone()).unwrap_or(Generation::FIRST);
        Heard { line: Some(line.to_owned()), news: news(&event, directory).map(|news| (generation, news)) }
    }
}

fn pid_of(event: &Value) -> Option<i32> {
    i32::try_from(event["pid"].as_i64()?).ok()
}

/// What an event means for a smoke run.
fn news(event: &Value, directory: &Path) -> Option<News> {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let end = || CommandStatusText {
        words: text("status"),
        code: serde_json::from_value(event["code"].clone()).unwrap_or(ExitCode::FAILED),
    };
    Some(match event["event"].as_str()? {
        "started" => News::Started,
        "ready" => News::Ready,
        "degraded" if event["kind"] == "not_ready" => News::NotReady(text("message")),
        "degraded" if event["kind"] == "answered_by_other" => News::Foreign(text("message")),
        "exited" => News::Ended(SERVER, end()),
        "prepare_failed" => News::Ended("the preparation", end()),
        "changed" if event["action"] == "restart" || event["action"] == "start" => {
            let changes = event["changes"].as_array().map_or(&[][..], Vec::as_slice);
            let first = changes.first().and_then(|change| change["path"].as_str()).unwrap_or_default();
            let first = seen_from(directory, Path::new(first)).display().to_string();
            let more = if changes.len() > 1 { format!(" and {} more", changes.len() - 1) } else { String::new() };
            News::Restarts(format!("{first}{more} changed"))
        }
        "stopping" if event["reason"] == "request" => News::Stopping,
        "stopped" => News::Stopped,
        "paused" => News::Paused,
        "resumed" => News::Resumed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{CommandStatusText, News, news};
    use crate::exit_code::CommandStatus;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn what_concerns_a_smoke_run_is_read_from_the_events_and_nothing_else() {
        let change = |path: &str| json!({ "path": path, "kind": "modified", "rule": "x" });
        let end = |code: u8| CommandStatusText { words: "exited".into(), code: CommandStatus::Exited(code).code() };
        for (event, expected) in [
            (json!({ "event": "started", "pid": 7 }), Some(News::Started)),
            (json!({ "event": "ready", "after_ms": 1.0 }), Some(News::Ready)),
            (json!({ "event": "degraded", "kind": "not_ready", "message": "m" }), Some(News::NotReady("m".into()))),
            (
                json!({ "event": "degraded", "kind": "answered_by_other", "message": "m" }),
                Some(News::Foreign("m".into())),
            ),
            (json!({ "event": "degraded", "kind": "watch_limit", "message": "m" }), None),
            (json!({ "event": "exited", "status": "exited", "code": 7 }), Some(News::Ended("the server", end(7)))),
            (
                json!({ "event": "prepare_failed", "status": "exited", "code": 1 }),
                Some(News::Ended("the preparation", end(1))),
            ),
            (
                json!({ "event": "changed", "action": "restart", "changes": [change("/app/a.py"), change("/b")] }),
                Some(News::Restarts("a.py and 1 more changed".into())),
            ),
            (json!({ "event": "changed", "action": "signal:SIGHUP", "changes": [change("/app/a.py")] }), None),
            (json!({ "event": "watching" }), None),
            (json!({}), None),
        ] {
            assert_eq!(news(&event, Path::new("/app")), expected, "{event}");
        }
    }
}
