//! `--env-file`: variables for the command, read again whenever the file changes.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Sandbox, Session};

/// A command that prints two variables and stays.
const PRINTS: [&str; 4] = ["--", "sh", "-c", "echo \"$FIRST_OF_TEST/$SECOND_OF_TEST\"; exec sleep 600"];

/// Replaces a file in one step.
fn save(sandbox: &Sandbox, name: &str, text: &str) {
    let new = sandbox.beside().join("new");
    fs::write(&new, text).expect("the sandbox is writable");
    fs::rename(new, sandbox.path(name)).expect("the test owns it");
}

fn start(sandbox: &Sandbox, options: &[&str]) -> Session {
    let mut session = sandbox.start([options, &PRINTS[..]].concat());
    session.wait_armed(1);
    session
}

fn wait_printed(session: &Session, lines: &[&str]) {
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    session.wait_until(&format!("{expected:?}"), || session.stdout() == expected);
}

#[test]
fn a_change_of_the_file_restarts_with_what_it_holds_then_even_where_a_change_means_a_signal() {
    for action in ["restart", "signal:USR1"] {
        let sandbox = Sandbox::new();
        sandbox.write(".gitignore", ".env\n");
        sandbox.write(".env", "FIRST_OF_TEST=one\nexport SECOND_OF_TEST='t w o' # why\n");
        let mut session = start(&sandbox, &["-w", "x", "--env-file", ".env", "--on-change", action]);
        wait_printed(&session, &["one/t w o"]);
        save(&sandbox, ".env", "FIRST_OF_TEST=three\n");
        assert_eq!(session.wait("changed")["changes"][0]["rule"], "an env file");
        let loaded = session.wait("config_loaded");
        assert_eq!(loaded["path"], sandbox.path(".env").to_str().expect("plain"));
        session.wait_armed(2);
        wait_printed(&session, &["one/t w o", "three/"]);
        session.stop().assert_code(143);
    }
}

#[test]
fn the_callers_variables_win_then_the_later_file() {
    let sandbox = Sandbox::new();
    sandbox.write("a.env", "FIRST_OF_TEST=a\nSECOND_OF_TEST=a\nRELOADRUN_GENERATION=9\n");
    sandbox.write("b.env", "FIRST_OF_TEST=b\nSECOND_OF_TEST=b\n");
    sandbox.write("reloadrun.toml", "env-file = 'none.env'\non-exit = 'exit'\n");
    let script = "echo $FIRST_OF_TEST $SECOND_OF_TEST $RELOADRUN_GENERATION";
    let options = ["--env-file", "a.env", "--env-file", "b.env", "--", "sh", "-c", script];
    let ended = sandbox.start_with(options, |command| {
        command.env("SECOND_OF_TEST", "caller");
    });
    assert_eq!(ended.wait_end().assert_code(0).stdout, "b caller 1\n", "a flag replaces the key");
}

#[test]
fn a_relative_path_in_the_config_file_begins_there() {
    let sandbox = Sandbox::new();
    sandbox.write("vars", "FIRST_OF_TEST=one\n");
    sandbox.write("reloadrun.toml", "env-file = 'vars'\non-exit = 'exit'\ncommand = 'echo $FIRST_OF_TEST'\n");
    fs::create_dir(sandbox.path("below")).expect("a fresh name");
    let ended = sandbox.start_with::<&str>([], |command| {
        command.current_dir(sandbox.path("below"));
    });
    assert_eq!(ended.wait_end().assert_code(0).stdout, "one\n");
}

#[test]
fn a_file_that_is_missing_or_wrong_is_an_error_before_anything_starts() {
    let sandbox = Sandbox::new();
    sandbox.write("wrong.env", "FIRST_OF_TEST=one\nsecret\n");
    for (file, expected) in [
        ("none.env", "reloadrun: --env-file none.env: no such file"),
        (".", "not a file"),
        ("", "--env-file '': expected a file"),
        ("wrong.env", "reloadrun: --env-file wrong.env:2: expected NAME=value"),
    ] {
        let output = sandbox.command(["--env-file", file, "--", "echo", "x"]).output().expect("reloadrun starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected) && !stderr.contains("secret"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_file_that_becomes_wrong_or_vanishes_keeps_the_last_good_variables() {
    let sandbox = Sandbox::new();
    sandbox.write(".env", "FIRST_OF_TEST=one\n");
    let mut session = start(&sandbox, &["-w", "x", "--env-file", ".env"]);
    wait_printed(&session, &["one/"]);
    save(&sandbox, ".env", "FIRST_OF_TEST='two\n");
    let rejected = session.wait("config_rejected");
    let mistake = rejected["mistakes"][0].as_str().expect("a sentence");
    assert!(mistake.starts_with("--env-file .env:1: expected NAME=value"), "{mistake}");
    session.wait_armed(2);
    wait_printed(&session, &["one/", "one/"]);
    fs::remove_file(sandbox.path(".env")).expect("it is there");
    let rejected = session.wait("config_rejected");
    assert_eq!(rejected["mistakes"][0], "--env-file .env: no such file");
    session.wait_armed(3);
    wait_printed(&session, &["one/", "one/", "one/"]);
    save(&sandbox, ".env", "FIRST_OF_TEST=four\n");
    session.wait("config_loaded");
    session.wait_armed(4);
    wait_printed(&session, &["one/", "one/", "one/", "four/"]);
    session.stop().assert_code(143);
}

#[test]
fn a_file_behind_symlinks_that_are_swapped_as_a_whole_is_read_again() {
    let sandbox = Sandbox::new();
    sandbox.write("mount/one/vars", "FIRST_OF_TEST=one\n");
    sandbox.write("mount/two/vars", "FIRST_OF_TEST=two\n");
    symlink("one", sandbox.path("mount/data")).expect("a fresh name");
    symlink("data/vars", sandbox.path("mount/vars")).expect("a fresh name");
    let mut session = start(&sandbox, &["-w", "x", "--env-file", "mount/vars"]);
    wait_printed(&session, &["one/"]);
    symlink("two", sandbox.path("mount/data.new")).expect("a fresh name");
    fs::rename(sandbox.path("mount/data.new"), sandbox.path("mount/data")).expect("the test owns it");
    session.wait("config_loaded");
    session.wait_armed(2);
    wait_printed(&session, &["one/", "two/"]);
    session.stop().assert_code(143);
}
