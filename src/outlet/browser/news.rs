//! From the lines of the run to what concerns pages. Pure.
//!
//! Pages see no path of this machine: a name is relative to the directory of the command, or nothing but the name of the file.

use std::time::Duration;

use serde_json::Value;

use super::machine::{Effect, Input};
use crate::control::{State, Status};
use crate::exit_code::CommandStatus;

/// So many names of a change are looked at.
const MOST_NAMES: usize = 64;

/// What an event means for pages, seen from the directory of the command.
pub fn of_event(event: &Value, directory: &str) -> Option<Input> {
    let text = |key: &str| shown(event[key].as_str().unwrap_or_default(), directory);
    let well = || event["code"].as_u64() == Some(0);
    let generation = || event["generation"].as_u64();
    Some(match event["event"].as_str()? {
        "changed" => {
            let effect = match event["action"].as_str()? {
                "restart" | "start" => Effect::Next,
                "browser" => Effect::Browser,
                action if action.starts_with("signal:") => Effect::Signal,
                _ => Effect::Later,
            };
            let (names, count) = names(event, directory);
            Input::Changed { effect, names, count }
        }
        "preparing" => {
            let (names, count) = names(event, directory);
            Input::Changed { effect: Effect::Later, names, count }
        }
        "started" => Input::Started(generation()?),
        "ready" if event["reload"] == true => Input::Reloaded,
        "ready" => Input::Ready(generation()?),
        "exited" => Input::Exited { well: well(), how: text("status") },
        "prepare_failed" => Input::PrepareFailed { how: text("status") },
        "prepared" => Input::Prepared,
        "ran" => Input::Ran { well: well(), how: text("status") },
        "degraded" => match event["kind"].as_str()? {
            "not_ready" => Input::NotReady(text("message")),
            "not_replaced" => Input::NotReplaced(text("message")),
            _ => return None,
        },
        _ => return None,
    })
}

/// The same of how things are.
pub fn of_status(status: &Status, directory: &str) -> Input {
    let well = CommandStatus::Exited(0).to_string();
    let failed = status.last_exit.as_ref().filter(|how| **how != well);
    Input::Status {
        generation: status.generation.number(),
        runs: status.state == State::Running,
        ready: status.ready,
        failed: failed
            .filter(|_| matches!(status.state, State::Waiting | State::Delayed))
            .map(|how| shown(how, directory)),
        lasted: Duration::try_from_secs_f64(status.for_ms / 1e3).unwrap_or_default(),
    }
}

fn names(event: &Value, directory: &str) -> (Vec<String>, usize) {
    let changes = event["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = changes.iter().take(MOST_NAMES).filter_map(|change| Some(name(change["path"].as_str()?, directory)));
    (names.collect(), changes.len())
}

fn name(path: &str, directory: &str) -> String {
    match path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) {
        Some(inside) => inside.to_owned(),
        None => path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// A sentence whose absolute paths have become names.
fn shown(sentence: &str, directory: &str) -> String {
    let is_end = |character: char| character.is_whitespace() || "'\"`();,".contains(character);
    let mut text = String::new();
    for piece in sentence.split_inclusive(is_end) {
        let word = piece.trim_end_matches(is_end);
        let (path, end) = (word, &piece[word.len()..]);
        match path.starts_with('/') && path.len() > 1 {
            true => text.push_str(&name(path.trim_end_matches('/'), directory)),
            false => text.push_str(path),
        }
        text.push_str(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{name, of_event, of_status, shown};
    use crate::exit_code::CommandStatus;
    use crate::outlet::browser::machine::{Effect, Input};
    use serde_json::json;

    #[test]
    fn pages_see_no_path_of_this_machine() {
        for (path, expected) in [
            ("/home/ann/shop/static/a.css", "static/a.css"),
            ("/srv/shared/a.css", "a.css"),
            ("/home/ann/shopping/a.css", "a.css"),
        ] {
            assert_eq!(name(path, "/home/ann/shop"), expected);
        }
        for (sentence, expected) in [
            ("exited with 1", "exited with 1"),
            ("could not be found: /home/ann/shop/bin/app", "could not be found: bin/app"),
            ("cannot run ('/opt/x/app': no)", "cannot run ('app': no)"),
            (
                "not ready after 1s: http://localhost:8000/ refused",
                "not ready after 1s: http://localhost:8000/ refused",
            ),
            ("a / b", "a / b"),
        ] {
            assert_eq!(shown(sentence, "/home/ann/shop"), expected);
        }
    }

    #[test]
    fn of_how_things_are_only_the_failure_of_a_command_is_shown() {
        for (status, expected) in [
            (CommandStatus::Exited(0), None),
            (CommandStatus::Exited(3), Some("exited with 3".to_owned())),
            (
                CommandStatus::NotFound("/d/app".into()),
                Some(shown(&CommandStatus::NotFound("/d/app".into()).to_string(), "/d")),
            ),
        ] {
            let text = json!({
                "version": "1", "pid": 1, "name": null, "directory": "/d", "command": "app", "state": "waiting",
                "generation": 2, "command_pid": null, "since": "", "for_ms": 5.0, "ready": null, "serving": false,
                "paused": false, "last_exit": status.to_string(), "watching": null, "last_change": null, "degraded": [],
                "config": { "path": "", "loaded": false, "mistakes": [] }, "digest": null,
                "restarts": { "total": 0, "by_reason": {} }, "last_reload": null,
                "times": { "stop_ms": null, "start_ms": null, "ready_ms": null },
            });
            let Input::Status { failed, .. } = of_status(&serde_json::from_value(text).unwrap(), "/d") else {
                panic!("it is a status");
            };
            assert_eq!(failed, expected, "{status}");
        }
    }

    #[test]
    fn the_events_that_concern_pages_are_understood_and_others_are_left_alone() {
        let changes = json!([{ "path": "/d/a.py" }, { "path": "/d/b.py" }]);
        let names = vec!["a.py".to_owned(), "b.py".to_owned()];
        let changed = |action: &str| of_event(&json!({"event": "changed", "action": action, "changes": changes}), "/d");
        for (action, effect) in [
            ("restart", Effect::Next),
            ("start", Effect::Next),
            ("signal:SIGHUP", Effect::Signal),
            ("browser", Effect::Browser),
            ("queue", Effect::Later),
            ("run", Effect::Later),
        ] {
            assert_eq!(changed(action), Some(Input::Changed { effect, names: names.clone(), count: 2 }), "{action}");
        }
        for (event, expected) in [
            (json!({"event": "started", "generation": 3}), Some(Input::Started(3))),
            (json!({"event": "ready", "generation": 3}), Some(Input::Ready(3))),
            (json!({"event": "ready", "generation": 3, "reload": false}), Some(Input::Ready(3))),
            (json!({"event": "ready", "generation": 3, "reload": true}), Some(Input::Reloaded)),
            (
                json!({"event": "exited", "code": 1, "status": "exited with 1"}),
                Some(Input::Exited { well: false, how: "exited with 1".into() }),
            ),
            (
                json!({"event": "degraded", "kind": "not_replaced", "message": "generation 2 failed"}),
                Some(Input::NotReplaced("generation 2 failed".into())),
            ),
            (json!({"event": "degraded", "kind": "polled", "message": "x"}), None),
            (json!({"event": "stopping", "generation": 3}), None),
            (json!({"answer": "status"}), None),
        ] {
            assert_eq!(of_event(&event, "/d"), expected, "{event}");
        }
    }
}
