//! Events as JSON lines, for programs; `docs/events.md` is their contract.

use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::change::{Change, ChangeSet};
use crate::escape::escaped_json;
use crate::event::{Event, What};
use crate::exit_code::CommandStatus;

/// One event as one line. `left_out` counts the lines that nobody took, and is told where there are any.
pub fn line(event: &Event, monotonic_ns: i64, wall: SystemTime, left_out: u64) -> String {
    let mut object = Map::new();
    object.insert("event".into(), event.what.name().into());
    object.insert("generation".into(), event.generation.number().into());
    object.insert("monotonic_ns".into(), monotonic_ns.into());
    object.insert("time".into(), humantime::format_rfc3339_micros(wall).to_string().into());
    if left_out > 0 {
        object.insert("left_out".into(), left_out.into());
    }
    if let Value::Object(details) = details(&event.what) {
        object.extend(details);
    }
    // With `--events -` it may go to a terminal.
    escaped_json(&(Value::Object(object).to_string() + "\n")).into_owned()
}

fn details(what: &What) -> Value {
    match what {
        What::ConfigLoaded { path } => json!({ "path": path }),
        What::ConfigRejected { path, mistakes } => json!({ "path": path, "mistakes": mistakes }),
        What::Started { pid, command, changes, stop_ms, restart_ms } => json!({
            "pid": pid, "command": command, "changes": changes_of(changes), "stop_ms": stop_ms, "restart_ms": restart_ms,
        }),
        What::Watching(watching) => serde_json::to_value(watching).unwrap_or_default(),
        What::Changed { changes, action } => json!({ "changes": changes_of(changes), "action": action }),
        What::Stopping { signal, reason } => json!({ "signal": signal, "reason": reason }),
        What::Stopped { took_ms, killed } => json!({ "took_ms": took_ms, "killed": killed }),
        What::Exited { status, ran_ms } => {
            let mut object = json!({ "code": status.code(), "status": status.to_string(), "ran_ms": ran_ms });
            if let CommandStatus::Signaled { name, .. } = status {
                object["signal"] = name.clone().into();
            }
            object
        }
        What::Waiting { waiting_for, delay_ms } => json!({ "for": waiting_for, "delay_ms": delay_ms }),
        What::Degraded { message } | What::Hint { message } => json!({ "message": message }),
        What::Finished { code, reason } => json!({ "code": code, "reason": reason }),
    }
}

fn changes_of(changes: &ChangeSet) -> Value {
    let value = |change: &Change| {
        let mut value = json!({ "path": change.path.to_string_lossy(), "kind": change.kind, "rule": change.rule });
        if change.path.to_str().is_none() {
            // JSON is text, and many readers refuse half a surrogate pair.
            value["bytes"] = change.path.as_os_str().as_bytes().into();
        }
        value
    };
    changes.iter().map(value).collect()
}
