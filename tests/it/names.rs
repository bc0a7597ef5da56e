//! Hostile file names, keys and arguments: they reach a terminal or a log only escaped, and cannot forge a line of
//! reloadrun.

use std::fs;

use super::ends::left_out;
use crate::support::Sandbox;

/// A name that would clear the screen, forge a line and be displayed backwards.
const HOSTILE: &str = "a\x1b[2J\nreloadrun: forged\u{202e}b\u{2028}\u{200b}\u{9b}\r.py";

fn assert_harmless(text: &str, what: &str) {
    for character in ['\x1b', '\r', '\u{202e}', '\u{2028}', '\u{200b}', '\u{9b}'] {
        assert!(!text.contains(character), "{what}: {character:?} in {text:?}");
    }
    assert!(text.lines().all(|line| !line.starts_with("reloadrun: forged")), "{what}: {text}");
}

/// Runs to the end, and returns the output of both streams.
fn said(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = sandbox.command(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("202e"), "the name is shown: {arguments:?}: {text}");
    text
}

#[test]
fn arguments_are_escaped_on_the_terminal() {
    let sandbox = Sandbox::new();
    let long = format!("--{HOSTILE}");
    let short = format!("-x{HOSTILE}");
    let mut cases: Vec<Vec<&str>> = vec![vec![&long], vec![HOSTILE], vec!["-w", "a", &long, "--", "true"]];
    let joined: Vec<String> = ["clear", "quiet", "no-ignore"].map(|flag| format!("--{flag}={HOSTILE}")).into();
    cases.extend(joined.iter().map(|word| vec![word.as_str(), "--", "true"]));
    let flags = [
        "-C",
        "--backend",
        "--interval",
        "--debounce",
        "--on-change",
        "--on-exit",
        "--stop-signal",
        "--stop-timeout",
        "--color",
        "-c",
    ];
    cases.extend(flags.map(|flag| vec![flag, HOSTILE, "--", "true"]));
    let patterns = ["[", "a{b", "//", "!"].map(|prefix| format!("{prefix}{HOSTILE}"));
    for (flag, pattern) in ["-w", "-i"].into_iter().zip(&patterns) {
        cases.push(vec![flag, pattern, "--on-exit", "exit", "--", "/nonexistent/\u{202e}"]);
    }
    let lockfile = format!("/nonexistent/{HOSTILE}");
    let (signal, descriptor) = (format!("signal:{HOSTILE}"), format!("fd:{HOSTILE}"));
    cases.push(vec!["--lockfile", &lockfile, "--", "true"]);
    cases.push(vec!["--events", &lockfile, "--", "true"]);
    cases.push(vec!["--events", &descriptor, "--", "true"]);
    cases.push(vec!["--on-change", &signal, "--", "true"]);
    cases.push(vec!["--on-exit", "exit", "--", HOSTILE]);
    cases.push(vec!["--on-exit", "exit", "--", "true", HOSTILE]);
    cases.push(vec!["--on-exit", "exit", "-v", "--", "true", HOSTILE]);
    cases.push(vec!["--on-exit", "exit", "--events", "-", "--", "true", HOSTILE]);
    cases.push(vec!["--explain", HOSTILE]);
    cases.push(vec!["-w", HOSTILE, "--explain", HOSTILE]);
    cases.push(vec!["-i", HOSTILE, "--explain", HOSTILE]);
    for case in cases {
        let text = said(&sandbox, &case);
        assert_harmless(&text, &format!("{case:?}"));
    }
    let _ = short;
}

#[test]
fn keys_and_values_of_a_config_file_are_escaped_on_the_terminal() {
    let sandbox = Sandbox::new();
    let quoted: String = HOSTILE
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { format!("\\U{:08x}", u32::from(c)) })
        .collect();
    for text in [
        format!("\"{quoted}\" = 1\n"),
        format!("\"intervall{quoted}\" = 1\n"),
        format!("interval = \"{quoted}\"\n"),
        format!("backend = \"{quoted}\"\n"),
        format!("stop-signal = \"{quoted}\"\n"),
        format!("on-change = \"signal:{quoted}\"\n"),
        format!("directory = \"{quoted}\"\n"),
        format!("watch = \"a;[{quoted}\"\ncommand = [\"{quoted}\"]\non-exit = \"exit\"\n"),
        format!("command = [\"{quoted}\"]\non-exit = \"exit\"\n"),
        // Unescaped, which TOML allows only in some comments: the parser's own message must be escaped too.
        format!("interval = \"{}\"\n", HOSTILE.replace(['\n', '\x1b', '\r'], "")),
        format!("interval \u{202e}= 3\n{HOSTILE}"),
        "[a\u{202e}]\nb = 1\n[a\u{202e}]\n".to_owned(),
    ] {
        sandbox.write("reloadrun.toml", &text);
        assert_harmless(&said_or_not(&sandbox, &[]), &text);
    }
}

fn said_or_not(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = sandbox.command(arguments).output().expect("it starts");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_name_of_the_directory_is_escaped() {
    let sandbox = Sandbox::new();
    let name = HOSTILE.replace('/', "");
    let directory = sandbox.path(&name);
    if fs::create_dir(&directory).is_err() {
        return left_out("a directory with a hostile name: this file system takes none");
    }
    for text in ["x = 1\n", "interval = 'x'\n"] {
        fs::write(directory.join("reloadrun.toml"), text).expect("the test owns it");
        let named = directory.join("reloadrun.toml");
        assert_harmless(&said(&sandbox, &["-c", named.to_str().expect("UTF-8")]), text);
        let _ = fs::remove_file(&named);
    }
    let output =
        sandbox.command(["--on-exit", "exit", "-v", "--", "true"]).current_dir(&directory).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_harmless(&text, "-v in that directory");
}

#[test]
fn the_names_of_changed_files_are_escaped() {
    let sandbox = Sandbox::new();
    for verbose in [&["-v"][..], &[]] {
        let mut session = sandbox.start([verbose, &["-w", "*.py", "--", "sleep", "600"]].concat());
        session.wait_armed(1);
        sandbox.write(HOSTILE, format!("{verbose:?}"));
        let changed = session.wait("changed");
        assert_eq!(changed["changes"][0]["path"], sandbox.path(HOSTILE).to_str().expect("UTF-8"));
        session.wait_armed(2);
        let ended = session.stop();
        ended.assert_code(143);
        assert_harmless(&ended.stderr, "a change");
        assert!(ended.stderr.contains("\\u{202e}"), "{}", ended.stderr);
    }
    let events = fs::read_to_string(sandbox.events()).expect("it exists");
    assert_harmless(&events, "the event stream");
}
