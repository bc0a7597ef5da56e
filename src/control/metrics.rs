//! How things are, as Prometheus asks for it: the text format 0.0.4. Pure. `docs/operators.md` lists the metrics.

use std::fmt::{Display, Write};

use super::message::{State, Status};
use crate::event::Cause;

/// What the text is served as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [State; 6] =
    [State::Starting, State::Running, State::Stopping, State::Waiting, State::Delayed, State::Ending];

/// All metrics of a run.
pub fn metrics(status: &Status) -> String {
    let mut page = Page::default();
    let name = status.name.as_deref().unwrap_or_default();
    page.family("run_info", "gauge", "The version of reloadrun, and the name of the run (--name).");
    page.sample("run_info", &[("version", &status.version), ("name", name)], 1);
    page.family("generation", "gauge", "The present generation: how often a child was started.");
    page.sample("generation", &[], status.generation);
    page.family("state", "gauge", "1 for what the command does now, 0 for the rest.");
    for state in STATES {
        page.sample("state", &[("state", &word(state))], u8::from(status.state == state));
    }
    page.family("serving", "gauge", "Whether a command serves: as /ready says.");
    page.sample("serving", &[], u8::from(status.serving));
    page.family("paused", "gauge", "Whether changes are collected and lead to nothing.");
    page.sample("paused", &[], u8::from(status.paused));
    page.family("degraded", "gauge", "How many limitations there are at present.");
    page.sample("degraded", &[], status.degraded.len());
    page.family(
        "config_mistakes",
        "gauge",
        "How many mistakes the config file has; with any, the last good one is in use.",
    );
    page.sample("config_mistakes", &[], status.config.mistakes.len());
    page.family("restarts_total", "counter", "How often the command was started again, by reason.");
    for reason in Cause::OF_RESTARTS {
        let count = status.restarts.by_reason.get(&reason).copied().unwrap_or_default();
        page.sample("restarts_total", &[("reason", &reason.to_string())], count);
    }
    page.family("last_reload_success", "gauge", "Whether the last change is live; 1 where there was none.");
    page.sample("last_reload_success", &[], u8::from(status.last_reload.as_ref().is_none_or(|last| last.success)));
    let last = status.last_reload.as_ref();
    page.measured(
        "last_reload_seconds",
        "From the notice of the last change until it was live, or had failed.",
        last.map(|last| seconds(last.took_ms)),
    );
    let at = last.and_then(|last| humantime::parse_rfc3339(&last.time).ok());
    let at = at.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map(|time| time.as_secs_f64());
    page.measured("last_reload_timestamp_seconds", "When that was, by the wall clock.", at);
    let times = &status.times;
    page.measured("last_stop_seconds", "How long the last stop of the command took.", times.stop_ms.map(seconds));
    page.measured(
        "last_start_seconds",
        "From the notice of the last change to the start of the command, the stop included.",
        times.start_ms.map(seconds),
    );
    page.measured(
        "last_ready_seconds",
        "From the start of the present command until it was ready.",
        times.ready_ms.map(seconds),
    );
    if let Some(digest) = &status.digest {
        page.family("digest_info", "gauge", "What the watched files come to, as the command has taken them in.");
        page.sample("digest_info", &[("digest", digest)], 1);
    }
    page.text
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // To write to a String cannot fail.
        let _ = writeln!(self.text, "# HELP reloadrun_{name} {help}\n# TYPE reloadrun_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "reloadrun_{name}{labels} {value}");
    }

    /// A gauge that is left out where nothing was measured.
    fn measured(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }
}

/// In the unit of Prometheus, to the microsecond.
fn seconds(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e6
}

/// A value of a label, to stand between quotes.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// As in `status`.
fn word(state: State) -> String {
    serde_json::to_value(state).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{metrics, quoted};
    use crate::control::message::{Answer, Status};

    fn status(change: impl FnOnce(&mut Status)) -> Status {
        let json =
            include_str!("../../docs/control.md").lines().find(|line| line.starts_with("{\"answer\":\"status\""));
        let answer = serde_json::from_str(json.expect("the example")).expect("it is what a run answers");
        let Answer::Status(mut status) = answer else { panic!("{answer:?}") };
        change(&mut status);
        *status
    }

    #[test]
    fn the_example_of_the_documents_has_these_metrics() {
        let text = metrics(&status(|_| {}));
        for line in [
            "# TYPE reloadrun_restarts_total counter",
            "reloadrun_run_info{version=\"0.1.0\",name=\"web\"} 1",
            "reloadrun_generation 2",
            "reloadrun_state{state=\"running\"} 1",
            "reloadrun_state{state=\"waiting\"} 0",
            "reloadrun_serving 1",
            "reloadrun_restarts_total{reason=\"change\"} 1",
            "reloadrun_restarts_total{reason=\"crash\"} 0",
            "reloadrun_last_reload_success 1",
            "reloadrun_last_reload_seconds 0.0361",
            "reloadrun_last_stop_seconds 0.0082",
            "reloadrun_digest_info{digest=\"9f0c2c6f4b7d1e05\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("last_ready_seconds"), "nothing was measured\n{text}");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_reload_that_failed_shows_and_one_that_has_not_been_is_none() {
        let success = |change: fn(&mut Status)| {
            let text = metrics(&status(change));
            text.lines().find_map(|line| line.strip_prefix("reloadrun_last_reload_success ")).map(str::to_owned)
        };
        assert_eq!(success(|status| status.last_reload = None).as_deref(), Some("1"));
        assert_eq!(success(|status| status.last_reload.as_mut().unwrap().success = false).as_deref(), Some("0"));
    }

    #[test]
    fn a_value_of_a_label_stays_between_its_quotes() {
        assert_eq!(quoted("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
        let name = "x\"} 1\nreloadrun_generation 9".to_owned();
        let text = metrics(&status(|status| status.name = Some(name)));
        assert!(!text.lines().any(|line| line == "reloadrun_generation 9"), "{text}");
    }
}
