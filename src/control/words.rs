//! The answers in words, for people.

use std::time::Duration;

use super::message::{Restarts, State, Status};
use crate::event::Discovered;

/// What the command does, as one sentence.
pub fn state_in_words(status: &Status) -> String {
    let Status { generation, .. } = status;
    let since = rounded(status.for_ms);
    let exit = status.last_exit.as_deref().unwrap_or("has ended");
    let unprepared = status.prepare_failed.as_deref();
    let mut first = match status.state {
        State::Starting => format!("generation {generation} is about to start"),
        State::Running => match status.command_pid {
            Some(pid) => format!("generation {generation} has been running for {since} (pid {pid})"),
            None => format!("the command of generation {generation} {exit}"),
        },
        State::Waiting | State::Delayed if !status.started => {
            let how = unprepared.map(|how| format!(": the preparation {how} {since} ago")).unwrap_or_default();
            let then =
                if status.state == State::Waiting { "waiting for a change" } else { "tried again after a delay" };
            format!("the command of generation {generation} was not started{how}; {then}")
        }
        State::Stopping => format!("generation {generation} is being stopped, for {since} now"),
        State::Waiting => format!("the command of generation {generation} {exit} {since} ago; waiting for a change"),
        State::Delayed => {
            format!("the command of generation {generation} {exit} {since} ago; it starts again after a delay")
        }
        State::Ending => format!("generation {generation} is ending, and the run with it"),
    };
    match status.ready {
        Some(true) => first += ", ready",
        Some(false) if status.reloading => first += ", reloading",
        Some(false) => first += ", not ready yet",
        None => {}
    }
    if let (true, Some(how)) = (status.started, unprepared) {
        first += &format!("; the last change could not be prepared (the preparation {how})");
    }
    first
}

/// How things are, a sentence a line.
pub fn in_words(status: &Status) -> Vec<String> {
    let first = state_in_words(status);
    let name = status.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let mut lines =
        vec![format!("{name}{}", status.command), format!("directory {}, pid {}", status.directory, status.pid), first];
    if status.paused {
        lines.push("paused: changes are collected, and lead to nothing until it is resumed".to_owned());
    }
    lines.extend(status.last_change.as_ref().map(|change| {
        let paths = change.changes.as_array().into_iter().flatten().filter_map(|change| change["path"].as_str());
        let shown: Vec<&str> = paths.take(3).collect();
        let more = match change.count.saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let led_to = match (change.led_to, change.restart_ms) {
            (Some(generation), Some(took)) => format!("; generation {generation} started {} after it", rounded(took)),
            (Some(generation), None) => format!("; generation {generation} started because of it"),
            _ => String::new(),
        };
        format!("last change at {}: {}{more} ({}){led_to}", change.time, shown.join(", "), change.action)
    }));
    lines.extend(restarts_in_words(status));
    lines.push(match &status.watching {
        Some(watching) => {
            let what = match watching.patterns.is_empty() {
                true => "everything that is not ignored".to_owned(),
                false => watching.patterns.join("; "),
            };
            let only = if watching.narrows { "only what the command reads of " } else { "" };
            let polled = match watching.polled {
                0 => String::new(),
                polled => format!(", {polled} of them polled"),
            };
            format!(
                "watches {only}{what}: {} below {}, by {}{polled}",
                watching.extent(),
                watching.root,
                watching.backend
            )
        }
        None => "the watches are not in place yet".to_owned(),
    });
    lines.extend(status.discovered.as_ref().map(Discovered::in_words));
    lines.push(match (&status.config.loaded, status.config.mistakes.is_empty()) {
        (false, _) => format!("no config file ({} is not there)", status.config.path),
        (true, true) => format!("config {}", status.config.path),
        (true, false) => {
            format!("config {}: its newest state cannot be used, the last good one stays", status.config.path)
        }
    });
    lines.extend(status.config.mistakes.iter().cloned());
    lines.extend(status.degraded.iter().map(|complaint| format!("degraded: {}", complaint.message)));
    lines
}

/// How often the command was started again, and whether the last change is live. Nothing where nothing has happened.
fn restarts_in_words(status: &Status) -> Option<String> {
    let Restarts { total, by_reason } = &status.restarts;
    let reasons: Vec<String> =
        by_reason.iter().filter(|(_, count)| **count > 0).map(|(reason, count)| format!("{reason} {count}")).collect();
    let restarts = match total {
        0 => None,
        1 => Some(format!("restarted once ({})", reasons.join(", "))),
        total => Some(format!("restarted {total} times ({})", reasons.join(", "))),
    };
    let last = status.last_reload.as_ref().map(|last| {
        let how = if last.success { "succeeded" } else { "failed" };
        format!("the last reload has {how}, after {}", rounded(last.took_ms))
    });
    let parts: Vec<String> = restarts.into_iter().chain(last).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A time as people say it.
fn rounded(milliseconds: f64) -> String {
    let duration = Duration::from_secs_f64(milliseconds.max(0.0) / 1e3);
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds => humantime::format_duration(Duration::from_secs(seconds - seconds % 60)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Answer, Status};
    use super::{in_words, restarts_in_words, rounded};

    #[test]
    fn a_time_is_said_as_roughly_as_people_say_it() {
        for (milliseconds, said) in [
            (0.4, "0 ms"),
            (999.0, "999 ms"),
            (1000.0, "1 s"),
            (59_999.0, "59 s"),
            (61_000.0, "1m"),
            (7_290_000.0, "2h 1m"),
        ] {
            assert_eq!(rounded(milliseconds), said);
        }
    }

    /// As the documents have it.
    fn status(change: impl FnOnce(&mut Status)) -> Status {
        let book = include_str!("../../docs/control.md");
        let line = book.lines().find(|line| line.starts_with("{\"answer\":\"status\"")).expect("the example");
        let Ok(Answer::Status(mut status)) = serde_json::from_str(line) else { panic!("{line}") };
        change(&mut status);
        *status
    }

    #[test]
    fn what_was_restarted_is_said_and_whether_the_last_change_is_live() {
        let said = |change: fn(&mut Status)| restarts_in_words(&status(change));
        assert_eq!(
            said(|_| {}).as_deref(),
            Some("restarted once (change 1); the last reload has succeeded, after 36 ms")
        );
        let failed = said(|status| {
            status.restarts.total = 0;
            status.last_reload.as_mut().expect("there was one").success = false;
        });
        assert_eq!(failed.as_deref(), Some("the last reload has failed, after 36 ms"));
        let nothing = status(|status| (status.restarts.total, status.last_reload) = (0, None));
        assert_eq!(restarts_in_words(&nothing), None);
        assert!(in_words(&status(|_| {})).iter().any(|line| line.starts_with("restarted once")));
    }
}
