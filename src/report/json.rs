//! Events as JSON lines, for programs; `docs/events.md` is their contract.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::change::{Change, ChangeKind, ChangeSet};
use crate::escape::escaped_json;
use crate::event::{Event, WaitingFor, What};
use crate::exit_code::CommandStatus;

/// One event as one line. `left_out` counts the lines that nobody took, and is told where there are any.
pub fn line(event: &Event, monotonic_ns: i64, wall: SystemTime, left_out: u64) -> String {
    let mut object: BTreeMap<String, Field> = BTreeMap::new();
    object.insert("event".into(), Field::Value(event.what.name().into()));
    object.insert("generation".into(), Field::Value(event.generation.number().into()));
    object.insert("monotonic_ns".into(), Field::Value(monotonic_ns.into()));
    object.insert("time".into(), Field::Value(humantime::format_rfc3339_micros(wall).to_string().into()));
    if left_out > 0 {
        object.insert("left_out".into(), Field::Value(left_out.into()));
    }
    if let Value::Object(details) = details(&event.what) {
        object.extend(details.into_iter().map(|(key, value)| (key, Field::Value(value))));
    }
    if let What::Started { changes, .. } | What::Changed { changes, .. } | What::Preparing { changes } = &event.what {
        object.insert("changes".into(), Field::Changes(Changes(changes)));
    }
    let json = serde_json::to_string(&object).expect("events are plain data") + "\n";
    // With `--events -` it may go to a terminal.
    escaped_json(json)
}

/// A value of an event.
#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Value(Value),
    Changes(Changes<'a>),
}

fn details(what: &What) -> Value {
    match what {
        What::ConfigLoaded { path } => json!({ "path": path }),
        What::ConfigRejected { path, mistakes } => json!({ "path": path, "mistakes": mistakes }),
        What::Listening { address, descriptor } => json!({ "address": address, "descriptor": descriptor }),
        What::Serving { option, url } => json!({ "option": option, "url": url }),
        What::Started { pid, command, stop_ms, restart_ms, cause, changes: _ } => json!({
            "pid": pid, "command": command, "stop_ms": stop_ms, "restart_ms": restart_ms, "reason": cause,
        }),
        What::Digest { digest, files } => json!({ "digest": digest, "files": files }),
        What::Postponed { path, delay_ms } => json!({ "path": path, "delay_ms": delay_ms }),
        What::Discovered(discovered) => serde_json::to_value(discovered).unwrap_or_default(),
        What::Watching(watching) => {
            let mut details = serde_json::to_value(watching).unwrap_or_default();
            if let Some(details) = details.as_object_mut().filter(|_| !watching.narrows) {
                details.remove("narrows");
            }
            details
        }
        What::Changed { action, changes: _ } => json!({ "action": action.to_string() }),
        What::Stopping { signal, reason } => json!({ "signal": signal.to_string(), "reason": reason }),
        What::StillStopping { signal, reason, took_ms, kill_in_ms, main_ended } => json!({
            "signal": signal.to_string(), "reason": reason, "took_ms": took_ms, "kill_in_ms": kill_in_ms, "main_ended": main_ended,
        }),
        What::Stopped { took_ms, killed } => json!({ "took_ms": took_ms, "killed": killed }),
        What::Preparing { changes: _ } => json!({}),
        What::Prepared { ran_ms } => json!({ "ran_ms": ran_ms }),
        What::PrepareFailed { status, ran_ms, command_runs } => {
            let mut object = ended(status, *ran_ms);
            object["command_runs"] = (*command_runs).into();
            object
        }
        What::Exited { status, ran_ms } | What::Ran { status, ran_ms } => ended(status, *ran_ms),
        What::Waiting(WaitingFor::Change) => json!({ "for": "change", "delay_ms": null }),
        What::Waiting(WaitingFor::Delay(delay)) => json!({ "for": "delay", "delay_ms": delay.as_secs_f64() * 1e3 }),
        What::Paused | What::Resumed => json!({}),
        What::Degraded(degraded) => json!({ "kind": degraded.kind(), "message": degraded.to_string() }),
        What::MainProcess { pid } => json!({ "pid": pid }),
        What::Ready { after_ms, reload } => json!({ "after_ms": after_ms, "reload": reload }),
        What::Reloading { signal } => json!({ "signal": signal.map(|signal| signal.to_string()) }),
        What::Status { message } | What::Hint { message } => json!({ "message": message }),
        What::ReloadAsked { path } => json!({ "path": path }),
        What::ReloadProven { path, took_ms, requests } => {
            json!({ "path": path, "took_ms": took_ms, "requests": requests })
        }
        What::CheckStarted { command, address } => json!({ "command": command, "address": address }),
        What::CheckEnded { status, ran_ms } => ended(status, *ran_ms),
        What::Judged { failure, message } => json!({
            "passed": failure.is_none(), "reason": failure, "message": message,
        }),
        What::Finished { code, reason } => json!({ "code": code, "reason": reason }),
    }
}

fn ended(status: &CommandStatus, ran_ms: f64) -> Value {
    let mut object = json!({ "code": status.code(), "status": status.to_string(), "ran_ms": ran_ms });
    if let CommandStatus::Signaled { name, .. } = status {
        object["signal"] = name.clone().into();
    }
    object
}

/// The first of these changes as in an event.
pub fn first_changes(changes: &ChangeSet, most: usize) -> Value {
    let first: Vec<OneChange<'_>> = changes.iter().take(most).map(OneChange::of).collect();
    serde_json::to_value(first).unwrap_or_default()
}

/// The changes as they are written, one after the other: those of a burst would take a hundred megabytes as values.
struct Changes<'a>(&'a ChangeSet);

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(OneChange::of))
    }
}

#[derive(Serialize)]
struct OneChange<'a> {
    /// Of a path that is no text: JSON is text, and many readers refuse half a surrogate pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a [u8]>,
    kind: ChangeKind,
    path: Cow<'a, str>,
    rule: &'a str,
}

impl OneChange<'_> {
    fn of(change: &Change) -> OneChange<'_> {
        OneChange {
            bytes: change.path.to_str().is_none().then(|| change.path.as_os_str().as_bytes()),
            kind: change.kind,
            path: change.path.to_string_lossy(),
            rule: &change.rule,
        }
    }
}
