//! `reloadrun.toml`: found, read, watched, and used only if it has no mistakes.

use std::fs;

use crate::support::{Sandbox, Session};

/// Replaces the config file in one step, as most editors do.
fn save(sandbox: &Sandbox, text: &str) {
    let new = sandbox.beside().join("reloadrun.toml.new");
    fs::write(&new, text).expect("the sandbox is writable");
    fs::rename(new, sandbox.path("reloadrun.toml")).expect("the test owns it");
}

#[test]
fn reloadrun_alone_runs_the_command_of_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "reloadrun.toml",
        "command = ['sh', '-c', 'echo hello; exit 7']\non-exit = 'exit'\nevents = '../events.jsonl'\n",
    );
    let ended = Session::start(sandbox.command::<&str>([]), &sandbox).wait_end();
    ended.assert_code(7);
    assert_eq!(ended.stdout, "hello\n");
    assert_eq!(ended.events[0]["event"], "config_loaded", "{ended:#?}");
    assert_eq!(ended.events[0]["path"], sandbox.path("reloadrun.toml").to_str().expect("plain"));
}

#[test]
fn a_command_may_be_a_shell_line() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "command = 'echo a b | tr a-z A-Z'\non-exit = 'exit'\n");
    let ended = sandbox.start::<&str>([]).wait_end();
    ended.assert_code(0);
    assert_eq!(ended.stdout, "A B\n");
}

#[test]
fn the_file_is_found_upwards_and_its_command_runs_where_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "command = 'pwd; exec sleep 600'\nwatch = 'src/*.txt'\n");
    sandbox.write("src/a.txt", "one");
    fs::create_dir_all(sandbox.path("deep/er")).expect("fresh names");
    let mut session = sandbox.start_with::<&str>([], |command| {
        command.current_dir(sandbox.path("deep/er"));
    });
    session.wait_armed(1);
    let pwd = format!("{}\n", sandbox.root().display());
    session.wait_until("its directory", || session.stdout() == pwd);
    sandbox.write("src/a.txt", "two");
    assert_eq!(session.wait("changed")["changes"][0]["rule"], "watch 'src/*.txt'");
    session.wait_started(2);
    session.stop().assert_code(143);
}

#[test]
fn a_change_to_the_file_restarts_with_the_new_settings() {
    let sandbox = Sandbox::new();
    save(&sandbox, "command = 'echo one; exec sleep 600'\nwatch = 'a.txt'\n");
    sandbox.write("a.txt", "one");
    sandbox.write("b.txt", "one");
    let mut session = sandbox.start::<&str>([]);
    session.wait("config_loaded");
    session.wait_armed(1);
    session.wait_until("the first command", || session.stdout() == "one\n");
    save(&sandbox, "command = 'echo two; exec sleep 600'\nwatch = 'b.txt'\n");
    let changed = session.wait("changed");
    assert_eq!(changed["changes"][0]["rule"], "the config file");
    session.wait("config_loaded");
    assert_eq!(session.wait_armed(2)["command"], "/bin/sh -c 'echo two; exec sleep 600'");
    session.wait_until("the second command", || session.stdout() == "one\ntwo\n");
    // The old pattern does not count any more, the new one does.
    sandbox.write("a.txt", "two");
    sandbox.write("b.txt", "two");
    let changed = session.wait("changed");
    assert_eq!(changed["changes"].as_array().map(Vec::len), Some(1), "{changed}");
    assert_eq!(changed["changes"][0]["path"], sandbox.path("b.txt").to_str().expect("plain"));
    session.wait_started(3);
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!((ended.count("config_loaded"), ended.count("started")), (2, 3), "read once a change of it");
}

#[test]
fn a_file_with_mistakes_is_reported_and_the_last_good_one_stays_until_it_is_repaired() {
    let sandbox = Sandbox::new();
    save(&sandbox, "command = 'echo good; exec sleep 600'\n");
    let mut session = sandbox.start::<&str>([]);
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "good\n");
    save(&sandbox, "command = 'echo bad; exec sleep 600'\nintervall = 1\nclear = 'yes'\n");
    let rejected = session.wait("config_rejected");
    assert_eq!(rejected["path"], sandbox.path("reloadrun.toml").to_str().expect("plain"));
    let mistakes = rejected["mistakes"].as_array().expect("a list");
    assert_eq!(mistakes.len(), 2, "{rejected}");
    assert!(
        mistakes.iter().any(|mistake| mistake == "reloadrun.toml:2: intervall: unknown key; did you mean interval?"),
        "{rejected}"
    );
    session.wait_armed(2);
    session.wait_until("the last good command", || session.stdout() == "good\ngood\n");
    // Still the same mistake.
    save(&sandbox, "command = [\n");
    session.wait("config_rejected");
    session.wait_armed(3);
    session.wait_until("the last good command again", || session.stdout() == "good\ngood\ngood\n");
    save(&sandbox, "command = 'echo better; exec sleep 600'\n");
    session.wait("config_loaded");
    session.wait_armed(4);
    session.wait_until("the repaired command", || session.stdout() == "good\ngood\ngood\nbetter\n");
    let ended = session.stop();
    ended.assert_code(143);
    for part in [
        "reloadrun: reloadrun.toml:2: intervall: unknown key; did you mean interval?\n",
        "reloadrun: reloadrun.toml:3: clear must be true or false, not a string\n",
        "was changed and cannot be used; the last good one stays\n",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_created_while_running_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.write("b.txt", "one");
    let mut session = sandbox.start(["-w", "a.txt", "--", "sleep", "600"]);
    session.wait_armed(1);
    save(&sandbox, "ignore = 'x'\nstop-signal = 'KILL'\n");
    let changed = session.wait("changed");
    assert_eq!(
        (&changed["changes"][0]["kind"], &changed["changes"][0]["rule"]),
        (&"created".into(), &"the config file".into())
    );
    session.wait("config_loaded");
    session.wait_armed(2);
    let ended = session.stop();
    ended.assert_code(143);
    let last = ended.events.iter().rfind(|event| event["event"] == "stopping").expect("it was stopped");
    assert_eq!(last["signal"], "SIGKILL", "the new setting counts");
}

#[test]
fn a_flag_wins_over_the_key_after_a_change_too() {
    let sandbox = Sandbox::new();
    save(&sandbox, "stop-signal = 'INT'\n");
    let mut session = sandbox.start(["--stop-signal", "USR1", "--", "sleep", "600"]);
    session.wait_armed(1);
    save(&sandbox, "stop-signal = 'QUIT'\n");
    assert_eq!(session.wait("stopping")["signal"], "SIGUSR1");
    session.wait_armed(2);
    let ended = session.stop();
    ended.assert_code(143);
    let last = ended.events.iter().rfind(|event| event["event"] == "stopping").expect("it was stopped");
    assert_eq!(last["signal"], "SIGUSR1");
}

#[test]
fn a_changed_on_exit_applies_to_the_next_exit() {
    let sandbox = Sandbox::new();
    save(&sandbox, "command = 'exit 4'\n");
    let mut session = sandbox.start::<&str>([]);
    session.wait("waiting");
    save(&sandbox, "command = 'exit 5'\non-exit = 'exit'\n");
    let ended = session.wait_end();
    ended.assert_code(5);
    assert_eq!(ended.count("started"), 2);
}

#[test]
fn after_the_removal_of_a_file_with_the_command_the_last_good_one_stays() {
    let sandbox = Sandbox::new();
    save(&sandbox, "command = 'echo $RELOADRUN_GENERATION; exec sleep 600'\n");
    let mut session = sandbox.start::<&str>([]);
    session.wait_armed(1);
    fs::remove_file(sandbox.path("reloadrun.toml")).expect("it exists");
    let rejected = session.wait("config_rejected");
    assert!(rejected["mistakes"][0].as_str().is_some_and(|text| text.starts_with("no command given")), "{rejected}");
    session.wait_armed(2);
    session.wait_until("the same command", || session.stdout().ends_with("2\n"));
    save(&sandbox, "command = 'echo back; exec sleep 600'\n");
    session.wait("config_loaded");
    session.wait_started(3);
    session.wait_until("the new command", || session.stdout().ends_with("back\n"));
    session.stop().assert_code(143);
}

#[test]
fn a_file_given_by_name_is_watched_wherever_it_is() {
    let sandbox = Sandbox::new();
    let file = sandbox.beside().join("mine.toml");
    fs::write(&file, "stop-signal = 'INT'\n").expect("the test owns it");
    let mut session = sandbox.start(["-c", "../mine.toml", "-w", "a.txt", "--", "sleep", "600"]);
    assert_eq!(session.wait("config_loaded")["path"], file.to_str().expect("plain"));
    session.wait_armed(1);
    fs::write(&file, "stop-signal = 'QUIT'\n").expect("the test owns it");
    session.wait("config_loaded");
    session.wait_armed(2);
    let ended = session.stop();
    ended.assert_code(143);
    let signals: Vec<_> =
        ended.events.iter().filter(|event| event["event"] == "stopping").map(|event| &event["signal"]).collect();
    assert_eq!(signals, ["SIGINT", "SIGQUIT"]);
}
