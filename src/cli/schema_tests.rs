use super::super::args::{Args, Parsed, keys, parse};
use super::super::caller::Caller;
use super::super::file::File;
use super::super::resolve::resolve;
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
            let read = File::read(Path::new("a.toml"), &format!("{key} = {value}\n")).expect("it is TOML");
            assert_eq!(
                read.mistakes.is_empty(),
                allows(property, kind, items),
                "{key} = {value}: {read:?}, {property}"
            );
        }
        assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert_eq!(File::read(Path::new("a.toml"), "no-such-key = 'a'").expect("it is TOML").mistakes.len(), 1);
    assert_eq!(schema["additionalProperties"], false);
}

/// Whether a validator takes this value.
fn is_valid(value: &Value, property: &Value) -> bool {
    let types: Vec<&str> = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let kind = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        // For a validator, 2.0 is an integer as well; TOML tells the two apart.
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        _ => "object",
    };
    let has_type = types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
    let fits = value.as_f64().is_none_or(|number| {
        property["minimum"].as_f64().is_none_or(|least| number >= least)
            && property["maximum"].as_f64().is_none_or(|most| number <= most)
            && property["not"]["enum"].as_array().is_none_or(|none| !none.contains(value))
    });
    has_type && fits && property["enum"].as_array().is_none_or(|all| all.contains(value))
}

/// In strings the schema leaves much open; but what it refuses, reloadrun refuses.
#[test]
fn the_schema_and_a_run_take_the_same_numbers_and_what_the_schema_refuses_a_run_refuses() {
    let directory = tempfile::tempdir().expect("there is room");
    let schema = parsed();
    let numbers = [
        "-1",
        "-0.0",
        "0",
        "0.0",
        "0x0",
        "0.0005",
        "0.001",
        "0.009",
        "0.01",
        "1",
        "2",
        "0x10",
        "0o17",
        "0b11",
        "0xF",
        "1_0",
        "+5",
        "1.5",
        "9",
        "31",
        "32",
        "33",
        "34",
        "64",
        "65",
        "1e3",
        "86400",
        "86400.0",
        "86401",
        "86400.1",
        "0x15180",
        "0x15181",
        "1e300",
        "9223372036854775807",
    ];
    let words = ["''", "'x'", "'0'", "'1s'", "'TERM'", "'auto'", "'exit'", "'5'", "true", "false", "[]", "['x']"];
    for (key, property) in schema["properties"].as_object().expect("there are properties") {
        for text in numbers.iter().chain(&words) {
            let line = format!("{key} = {text}\n");
            std::fs::write(directory.path().join("reloadrun.toml"), &line).expect("there is room");
            let environment = crate::environment::tests::environment(&[]);
            let caller = Caller { current: directory.path().to_owned(), environment, is_init: false };
            let Parsed::Args(args) = parse(["reloadrun", "--", "true"].map(Into::into)) else { panic!("it is right") };
            let ran = resolve(&args, &caller, true);
            let table: toml::Table = line.parse().expect("it is TOML");
            let value = serde_json::to_value(&table[key]).expect("JSON has all of these");
            let valid = is_valid(&value, property);
            if value.is_number() {
                assert_eq!(ran.is_ok(), valid, "{line}: {ran:?}, {property}");
            } else {
                assert!(valid || ran.is_err(), "{line}: {property}");
            }
        }
    }
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
