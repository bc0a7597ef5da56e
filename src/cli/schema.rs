//! The JSON schema of `reloadrun.toml`, made of what reads the file: the options of clap, and the kinds of their keys.

use clap::Command;
use serde_json::{Map, Value, json};

use super::keys::{CHOICES, Kind, keys_of, least};

/// The schema, as text. Draft 7 is what editors and taplo know.
pub fn schema(command: &Command) -> String {
    let properties: Map<String, Value> =
        keys_of(command).into_iter().map(|key| (key.clone(), property(&key, command))).collect();
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "reloadrun.toml",
        "description": "The config file of reloadrun. Each key is the option of the same name.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}\n")
}

fn property(key: &str, command: &Command) -> Value {
    let option = command.get_arguments().find(|argument| argument.get_long() == Some(key));
    let help = option.and_then(|option| option.get_long_help().or(option.get_help())).map(ToString::to_string);
    let strings = json!({ "type": "string" });
    let mut property = match Kind::of(key) {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::List | Kind::Command => json!({ "type": ["string", "array"], "items": strings }),
        Kind::Duration => {
            json!({ "type": ["string", "number"], "minimum": least(key).as_secs_f64(), "maximum": 86400 })
        }
        Kind::Switch => json!({ "type": ["string", "boolean"] }),
        Kind::Signal => json!({ "type": ["string", "integer"], "minimum": 1, "maximum": 64 }),
        Kind::Text => strings,
    };
    let name = key.replace('-', "_");
    if let Some((_, values)) = CHOICES.iter().find(|(option, _)| *option == name) {
        property["enum"] = json!(values);
    }
    property["description"] = match help {
        Some(help) => json!(help),
        None => json!("The command: a list like [\"python\", \"app.py\"], or a line for the shell."),
    };
    property
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
