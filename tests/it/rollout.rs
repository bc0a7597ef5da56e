//! `--prepare`, `--on-change run:` and `--on-change queue`: what a change does.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::control::answer;
use crate::support::watched::{names, run};
use crate::support::{Sandbox, Session};

/// A command that says when it starts and goes on for ever.
const SERVER: &str = "echo \"starts with $(cat app.py)\"; exec sleep 1000";

fn action(event: &Value) -> &str {
    event["action"].as_str().unwrap_or_default()
}

fn wait_changed(session: &mut Session, expected: &str) -> Value {
    session.wait_where("changed", |event| action(event) == expected)
}

fn count(session: &Session, name: &str) -> usize {
    session.events().iter().filter(|event| event["event"] == name).count()
}

#[test]
fn a_run_gets_the_files_that_are_there_and_the_names_of_all_and_the_command_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.write("gone.py", "1");
    let line = "run:for f in \"$@\"; do echo \"file $f\"; done; echo \"all $RELOADRUN_CHANGED\"; cat; exit 7";
    let mut session = sandbox.start(["-w", "*.py", "--debounce", "200ms", "--on-change", line, "--", "sleep", "1000"]);
    let pid = session.wait_armed(1)["pid"].clone();
    std::fs::remove_file(sandbox.path("gone.py")).unwrap();
    let new = sandbox.write("a b'\".py", "2");
    let changed = wait_changed(&mut session, "run");
    assert_eq!(names(&changed).len(), 2);
    let ran = session.wait("ran");
    assert_eq!((ran["code"].as_i64(), ran["generation"].as_i64()), (Some(7), Some(1)));
    let out = session.stdout();
    let files: Vec<&str> = out.lines().filter(|line| line.starts_with("file ")).collect();
    assert_eq!(files, [format!("file {}", new.display())], "{out}");
    assert!(out.contains("gone.py"), "{out}");
    session.wait_until("the failure is told", || session.stderr().contains("the run for the change exited with 7"));
    assert_eq!((session.starts(), count(&session, "ran")), (1, 1));
    assert_eq!(session.events().iter().find(|event| event["event"] == "started").unwrap()["pid"], pid);
    session.stop().assert_code(143);
}

#[test]
fn without_a_command_there_are_only_runs_and_nothing_runs_at_the_start() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "*.py", "--on-change", "run:echo ran"]);
    session.wait("watching");
    sandbox.write("app.py", "1");
    session.wait("ran");
    assert_eq!(session.stdout(), "ran\n");
    assert_eq!(session.starts(), 0);
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("exited") + ended.count("waiting"), 0);
}

#[test]
fn new_settings_are_no_change_to_run_for_and_what_a_run_has_seen_is_not_run_again() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "one");
    sandbox.write(".env", "X=1\n");
    sandbox.write("reloadrun.toml", "watch = '*.py'\non-change = 'run:echo \"$X $*\" >> ../ran'\nenv-file = '.env'\n");
    let ran = || fs::read_to_string(sandbox.beside().join("ran")).unwrap_or_default();
    let file = sandbox.path("a.py").display().to_string();
    let mut session = sandbox.start([] as [&str; 0]);
    session.wait("watching");
    sandbox.write("a.py", "two");
    session.wait_until("a run", || ran() == format!("1 {file}\n"));
    sandbox.write("reloadrun.toml", sandbox.read("reloadrun.toml") + "# saved\n");
    session.wait_where("watching", |event| event["generation"] == 2);
    sandbox.write(".env", "X=2\n");
    session.wait_where("watching", |event| event["generation"] == 3);
    sandbox.write("a.py", "three");
    session.wait_until("a run", || ran() == format!("1 {file}\n2 {file}\n"));
    session.wait_until("its end", || count(&session, "ran") == 2);
    assert_eq!(session.stop().count("ran"), 2);
}

#[test]
fn a_run_is_never_cut_off_by_a_change_and_no_change_is_lost() {
    let sandbox = Sandbox::new();
    sandbox.script("one.sh", "echo \"begin $RELOADRUN_CHANGED\"; sleep 0.$(( $$ % 5 )); echo end");
    let mut session = sandbox.start(["-w", "*.py", "--on-change", "run:./one.sh"]);
    session.wait("watching");
    let mut saves: BTreeMap<String, u32> = BTreeMap::new();
    let mut seed = 7_u64;
    for number in 0..200_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("f{number}.py");
        sandbox.write(&name, "x");
        saves.insert(name, 0);
        if seed >> 60 > 9 {
            std::thread::sleep(Duration::from_millis(seed >> 56));
        }
    }
    sandbox.write("last.py", "x");
    wait_changed(&mut session, "run");
    session.wait_where("changed", |event| names(event).contains(&"last.py".to_owned()));
    session.wait("ran");
    let events = session.events();
    for event in events.iter().filter(|event| event["event"] == "changed") {
        for name in names(event) {
            *saves.entry(name).or_default() += 1;
        }
    }
    let wrong: Vec<_> = saves.iter().filter(|(_, runs)| **runs != 1).collect();
    assert!(wrong.is_empty(), "not in exactly one run: {wrong:?}");
    let out = session.stdout();
    let steps: Vec<&str> = out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(steps.chunks(2).all(|pair| pair == ["begin", "end"]), "{out}");
    session.stop().assert_code(143);
}

#[test]
fn more_files_than_one_exec_takes_are_split_and_each_is_in_one_run() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("many")).unwrap();
    let line = "run:for f in \"$@\"; do basename \"$f\" >> ../seen; done; echo \"$#\" >> ../runs";
    let sandbox_root = sandbox.path("many");
    let directory = sandbox_root.display().to_string();
    let mut session = sandbox.start(["-C", &directory, "-w", "*.py", "--debounce", "500ms", "--on-change", line]);
    session.wait("watching");
    let name = |number: usize| format!("{number:04}{}.py", "x".repeat(100));
    for number in 0..1500 {
        sandbox.write(format!("many/{}", name(number)), "");
    }
    session.wait("ran");
    session.wait_until("all have been seen", || sandbox.read("seen").lines().count() >= 1500);
    let mut seen: Vec<String> = sandbox.read("seen").lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, (0..1500).map(name).collect::<Vec<_>>());
    assert!(sandbox.read("runs").lines().count() > 1);
    session.stop().assert_code(143);
}

#[test]
fn a_run_ends_with_reloadrun_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "*.py", "--on-change", "run:echo $$ > pid; sleep 1000 & sleep 1000"]);
    session.wait("watching");
    sandbox.write("app.py", "1");
    session.wait_until("it runs", || sandbox.path("pid").exists() && !sandbox.read("pid").is_empty());
    session.stop().assert_code(143);
}

#[test]
fn a_queued_command_finishes_and_runs_once_more_for_all_that_changed() {
    let sandbox = Sandbox::new();
    let line = "echo \"begin $RELOADRUN_CHANGED\"; while [ ! -e go ]; do sleep 0.02; done; rm go; echo end";
    let mut session = sandbox.start(["-w", "*.py", "--on-change", "queue", "--", "sh", "-c", line]);
    session.wait_armed(1);
    sandbox.write("a.py", "1");
    wait_changed(&mut session, "queue");
    sandbox.write("b.py", "1");
    wait_changed(&mut session, "queue");
    assert_eq!(session.starts(), 1);
    sandbox.write("go", "");
    let started = session.wait_started(2);
    assert_eq!(names(&started), ["a.py", "b.py"]);
    sandbox.write("go", "");
    session.wait("waiting");
    sandbox.write("c.py", "1");
    assert_eq!(names(&session.wait_started(3)), ["c.py"]);
    assert_eq!(count(&session, "stopping"), 0, "nobody was stopped");
    assert_eq!(session.stdout().lines().filter(|line| *line == "end").count(), 2);
    session.stop().assert_code(143);
}

#[test]
fn in_ci_a_queued_command_ends_reloadrun_unless_something_changed_while_it_ran() {
    let sandbox = Sandbox::new();
    let line = "if [ $RELOADRUN_GENERATION -lt 3 ]; then echo 1 > \"$RELOADRUN_GENERATION.py\"; fi; exit $((RELOADRUN_GENERATION + 3))";
    let session = sandbox.start(["-w", "*.py", "--on-change", "queue", "--on-exit", "exit", "--", "sh", "-c", line]);
    let ended = session.wait_end();
    ended.assert_code(6);
    assert_eq!((ended.count("started"), ended.count("exited"), ended.count("waiting")), (3, 3, 0));
}

#[test]
fn in_a_pause_a_queued_command_ends_reloadrun_and_a_restart_starts_what_was_prepared() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "0");
    let line = "until [ -e go ]; do sleep 0.02; done; exit 7";
    let mut session =
        sandbox.start(["-w", "*.py", "--on-change", "queue", "--on-exit", "exit", "--", "sh", "-c", line]);
    session.wait_armed(1);
    answer(&sandbox, &["pause"], 0);
    sandbox.write("app.py", "1");
    sandbox.write("go", "");
    session.wait_end().assert_code(7);
    let prepare = "date +%N > built.py; sleep 0.2";
    let mut session = sandbox.start(["-w", "*.py", "--prepare", prepare, "--", "sleep", "100"]);
    session.wait_started(1);
    answer(&sandbox, &["pause"], 0);
    sandbox.write("app.py", "2");
    answer(&sandbox, &["restart"], 0);
    session.wait_started(2);
    session.stop().assert_code(143);
}

#[test]
fn a_broken_save_stops_nobody_and_the_repair_goes_live() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "fine 0");
    let prepare = "echo \"checking $(cat app.py)\"; ! grep -q broken app.py";
    let mut session = sandbox.start(["-w", "*.py", "--prepare", prepare, "--", "sh", "-c", SERVER]);
    let first = session.wait_started(1)["pid"].clone();
    session.wait_until("it has read", || session.stdout().contains("starts with fine 0"));
    for number in 0..10 {
        sandbox.write("app.py", format!("broken {number}"));
        let failed = session.wait("prepare_failed");
        assert_eq!((&failed["code"], &failed["command_runs"]), (&1.into(), &true.into()));
    }
    assert_eq!(session.starts(), 1);
    run(&sandbox, "kill", &["-0", &first.to_string()]);
    sandbox.write("app.py", "fine 1");
    session.wait_started(2);
    session.wait_until("it is live", || session.stdout().contains("starts with fine 1"));
    assert!(!session.stdout().contains("starts with broken"));
    assert!(session.stderr().contains("the preparation exited with 1"), "{}", session.stderr());
    session.stop().assert_code(143);
}

#[test]
fn a_save_during_a_preparation_leads_to_one_more_before_anything_starts() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "0");
    let prepare = "echo x >> begun; while [ ! -e go ]; do sleep 0.02; done; cp app.py checked";
    sandbox.write("go", "");
    let mut session =
        sandbox.start(["-w", "*.py", "--prepare", prepare, "--", "sh", "-c", "cat checked app.py; exec sleep 1000"]);
    session.wait_started(1);
    session.wait_until("it has read", || session.stdout() == "00");
    std::fs::remove_file(sandbox.path("go")).unwrap();
    sandbox.write("app.py", "1");
    session.wait("preparing");
    sandbox.write("app.py", "2");
    std::thread::sleep(Duration::from_millis(100));
    sandbox.write("app.py", "3");
    sandbox.write("go", "");
    session.wait("preparing");
    session.wait_started(2);
    session.wait_until("it is live", || session.stdout().ends_with("33"));
    assert_eq!(session.stdout(), "0033");
    assert_eq!(sandbox.read("begun").lines().count(), 3);
    session.stop().assert_code(143);
}

#[test]
fn what_a_preparation_writes_leads_to_no_restart_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.write("app.ts", "0");
    let prepare = "cp app.ts app.js; date +%N > stamp.js";
    let mut session = sandbox.start(["--prepare", prepare, "--", "sh", "-c", "cat app.js; exec sleep 1000"]);
    session.wait_started(1);
    for number in 1..6 {
        sandbox.write("app.ts", number.to_string());
        let started = session.wait_started(number + 1);
        assert_eq!(names(&started), ["app.ts"], "generation {}", number + 1);
        session.wait("watching");
    }
    let preparations = count(&session, "preparing");
    assert!(preparations <= 8, "{preparations} preparations of 6 starts");
    // An output that somebody edits is a source.
    sandbox.write("app.js", "by hand");
    session.wait_started(7);
    assert_eq!(session.starts(), 7);
    session.stop().assert_code(143);
}

#[test]
fn a_preparation_that_fails_at_the_first_start_waits_or_ends_as_on_exit_says() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "broken");
    let words = ["-w", "*.py", "--prepare", "grep -q fine app.py || exit 9", "--on-exit"];
    let command = ["--", "sh", "-c", SERVER];
    let ended = sandbox.start(words.into_iter().chain(["exit"]).chain(command)).wait_end();
    ended.assert_code(9);
    assert_eq!(ended.count("started"), 0);
    let mut session = sandbox.start(words.into_iter().chain(["wait"]).chain(command));
    session.wait("prepare_failed");
    session.wait("waiting");
    sandbox.write("app.py", "fine");
    session.wait_started(1);
    assert_eq!(session.starts(), 1);
    session.stop().assert_code(143);
}

#[test]
fn a_signal_is_sent_once_for_each_change_that_passes_and_never_for_another() {
    let sandbox = Sandbox::new();
    sandbox.write("app.conf", "fine");
    let line = "trap 'echo hup' HUP; echo up; while :; do sleep 0.02; done";
    let words =
        ["-w", "*.conf", "--prepare", "! grep -q broken app.conf", "--on-change", "signal:HUP", "--", "sh", "-c", line];
    let mut session = sandbox.start(words);
    session.wait_started(1);
    session.wait_until("it is up", || session.stdout().contains("up"));
    for number in 1..=5 {
        sandbox.write("app.conf", format!("broken {number}"));
        session.wait("prepare_failed");
        sandbox.write("app.conf", format!("fine {number}"));
        wait_changed(&mut session, "signal:SIGHUP");
        session.wait_until("it has heard", || session.stdout().matches("hup").count() == number);
    }
    assert_eq!(session.starts(), 1);
    session.stop().assert_code(143);
}

#[test]
fn a_run_that_writes_a_watched_file_is_slowed_down_and_told() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "*.txt", "--on-change", "run:date +%N > \"$(date +%N).txt\""]);
    session.wait("watching");
    sandbox.write("a.txt", "1");
    session.wait_where("degraded", |event| event["kind"].as_str().is_some_and(|kind| kind == "restart_series"));
    session.stop().assert_code(143);
}

#[test]
fn how_a_preparation_ended_is_told_in_a_pause_too_and_acted_on_after_it() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "0");
    let prepare = "until [ -e go ]; do sleep 0.02; done; rm go";
    sandbox.write("go", "");
    let mut session = sandbox.start(["-w", "*.py", "--prepare", prepare, "--", "sleep", "100"]);
    session.wait_started(1);
    sandbox.write("app.py", "1");
    session.wait("preparing");
    answer(&sandbox, &["pause"], 0);
    sandbox.write("app.py", "2");
    sandbox.write("go", "");
    session.wait("prepared");
    assert_eq!(session.starts(), 1);
    answer(&sandbox, &["resume"], 0);
    // What was saved meanwhile is prepared as well.
    session.wait("preparing");
    sandbox.write("go", "");
    session.wait_started(2);
    assert_eq!(count(&session, "prepared"), count(&session, "preparing"));
    session.stop().assert_code(143);
}

#[test]
fn a_slow_queue_that_restarts_itself_is_told_and_slowed_down_like_a_fast_one() {
    let sandbox = Sandbox::new();
    // Longer than what a restart loop may take to be one.
    let line = "sleep 2.2; date +%N > \"$(date +%N).txt\"";
    let mut session = sandbox.start(["-w", "*.txt", "--on-change", "queue", "--", "sh", "-c", line]);
    let kind = |event: &Value| event["kind"].as_str().is_some_and(|kind| kind == "restart_series");
    let told = session.wait_where("degraded", kind);
    assert!(told["generation"].as_u64().unwrap() <= 10, "{told}");
    session.stop().assert_code(143);
}

#[test]
fn the_status_of_a_command_that_was_never_started_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "broken");
    let prepare = "grep -q fine app.py || exit 9";
    let mut session = sandbox.start(["-w", "*.py", "--prepare", prepare, "--", "sleep", "600"]);
    session.wait("waiting");
    let said = answer(&sandbox, &["status"], 0);
    assert!(said.contains("the command of generation 1 was not started: the preparation exited with 9"), "{said}");
    sandbox.write("app.py", "fine");
    session.wait_started(1);
    let said = answer(&sandbox, &["status"], 0);
    assert!(said.contains("generation 1 has been running") && !said.contains("prepar"), "{said}");
    sandbox.write("app.py", "broken");
    session.wait("prepare_failed");
    let said = answer(&sandbox, &["status"], 0);
    assert!(said.contains("the last change could not be prepared (the preparation exited with 9)"), "{said}");
    session.stop().assert_code(143);
}
