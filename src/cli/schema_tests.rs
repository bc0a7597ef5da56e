use super::super::args::{Args, keys};
use super::super::file::File;
use super::schema;
use clap::CommandFactory;
use serde_json::Value;
use std::path::Path;

fn parsed() -> Value {
    serde_json::from_str(&schema(&Args::command())).expect("it is JSON")
}

/// What the schema says of a value of this type.
fn allows(property: &Value, kind: &str, items: Option<&str>) -> bool {
    let types = match &property["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is = |wanted: &str| types.iter().any(|known| known == wanted);
    // Every integer is a number.
    let known = is(kind) || (kind == "integer" && is("number"));
    known && items.is_none_or(|items| property["items"]["type"] == items)
}

#[test]
fn the_schema_and_the_reader_agree_on_every_key_and_type() {
    let schema = parsed();
    let properties = schema["properties"].as_object().expect("there are properties");
    assert_eq!(properties.keys().cloned().collect::<Vec<_>>(), {
        let mut keys = keys();
        keys.sort();
        keys
    });
    for (key, property) in properties {
        for (value, kind, items) in [
            ("'a'", "string", None),
            ("3", "integer", None),
            ("0.5", "number", None),
            ("true", "boolean", None),
            ("['a', 'b']", "array", Some("string")),
            ("[1, 2]", "array", Some("integer")),
            ("{ a = 1 }", "object", None),
            ("2026-11-22", "date", None),
        ] {
            let read = File::read(Path::new("a.toml"), &format!("{key} = {value}\n"));
            assert_eq!(read.is_ok(), allows(property, kind, items), "{key} = {value}: {read:?}, {property}");
        }
        assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert!(File::read(Path::new("a.toml"), "no-such-key = 'a'").is_err());
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reloadrun.schema.json");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        schema(&Args::command()),
        "update it: cargo run -- --generate schema > docs/reloadrun.schema.json"
    );
}
