//! `--overlap`: the next generation starts beside the old one, which stays until the next is ready.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::control::answer;
use super::ends::{pid_of, wrapped};
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session, apps};

/// Does what `app.txt` says, and then runs on; `ready` is told on descriptor 9.
const APP: &str = "sleep 600 & printf '%s %s\\n' $RELOADRUN_GENERATION $! >>pids; eval \"$(cat app.txt)\"; wait";

const READY: &str = "echo >&9";

fn start_with(sandbox: &Sandbox, options: &[&str], command: &[&str]) -> Session {
    let options = ["-w", "app.txt", "--overlap"].iter().chain(options);
    sandbox.start(options.chain(&["--"]).chain(command).copied())
}

fn start(sandbox: &Sandbox, options: &[&str]) -> Session {
    sandbox.write("app.txt", READY);
    start_with(sandbox, &[&["--ready", "fd:9"], options].concat(), &["sh", "-c", APP])
}

/// The pids of the command of a generation: its shell, and what that has started.
fn tree(sandbox: &Sandbox, started: &Value) -> [i32; 2] {
    let pids = fs::read_to_string(sandbox.path("pids")).unwrap_or_default();
    let generation = started["generation"].to_string();
    let line = pids.lines().find_map(|line| line.strip_prefix(&format!("{generation} ")).map(str::to_owned));
    [pid_of(started), line.expect("it said so").parse().expect("a pid")]
}

/// Waits until so many generations have said who they are.
fn wait_for_words(session: &Session, sandbox: &Sandbox, count: u64) {
    let said = || fs::read_to_string(sandbox.path("pids")).map_or(0, |pids| pids.lines().count());
    session.wait_until("their words", || said() as u64 == count);
}

fn alive(pids: [i32; 2]) -> bool {
    pids.iter().all(|pid| is_alive(*pid))
}

fn gone(pids: [i32; 2]) -> bool {
    pids.iter().all(|pid| !is_alive(*pid))
}

fn of(generation: u64) -> impl Fn(&Value) -> bool {
    move |seen| seen["generation"] == generation
}

fn children(session: &Session) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.pid())).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The first generation, ready and armed.
fn first(session: &mut Session, sandbox: &Sandbox) -> [i32; 2] {
    let started = session.wait_armed(1);
    session.wait_until("ready", || session.events().iter().any(|seen| seen["event"] == "ready"));
    tree(sandbox, &started)
}

#[test]
fn the_old_generation_runs_until_the_next_one_is_ready_and_then_goes() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[]);
    let mut old = first(&mut session, &sandbox);
    for generation in 2..=5 {
        let go = format!("go{generation}");
        sandbox.write("app.txt", format!("while ! test -e {go}; do sleep 0.01; done; {READY}"));
        assert_eq!(session.wait("changed")["generation"], generation - 1);
        let started = session.wait_started(generation);
        session.wait_where("watching", of(generation));
        wait_for_words(&session, &sandbox, generation);
        assert!(alive(old), "{}", session.account());
        sandbox.write(&go, "");
        session.wait_where("ready", of(generation));
        let stopping = session.wait("stopping");
        assert_eq!((&stopping["generation"], &stopping["reason"]), (&(generation - 1).into(), &"replaced".into()));
        session.wait_where("stopped", of(generation - 1));
        session.wait_until("one child", || children(&session).len() == 1);
        assert!(gone(old));
        old = tree(&sandbox, &started);
        assert!(alive(old));
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert!(gone(old));
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_generation_that_ends_before_it_is_ready_leaves_the_old_one_and_the_repair_goes_live() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[]);
    let old = first(&mut session, &sandbox);
    for generation in 2..=11 {
        sandbox.write("app.txt", format!("exit {generation}"));
        session.wait_started(generation);
        let told = session.wait_where("degraded", |seen| seen["kind"] == "not_replaced");
        let expected =
            format!("generation {generation} exited with {generation} before it was ready; generation 1 stays");
        assert_eq!((&told["generation"], &told["message"]), (&generation.into(), &expected.into()));
        assert!(alive(old), "{}", session.account());
    }
    sandbox.write("app.txt", READY);
    let repaired = session.wait_started(12);
    session.wait_where("ready", of(12));
    session.wait_where("stopped", of(1));
    assert!(gone(old));
    let new = tree(&sandbox, &repaired);
    session.wait_until("one child", || children(&session).len() == 1);
    session.stop().assert_code(143);
    assert!(gone(new));
}

#[test]
fn a_generation_that_is_not_ready_in_time_is_ended_with_all_its_processes_and_the_old_one_stays() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &["--ready-timeout", "1500ms"]);
    let old = first(&mut session, &sandbox);
    sandbox.write("app.txt", ":");
    let started = session.wait_started(2);
    let told = session.wait_where("degraded", |seen| seen["kind"] == "not_replaced");
    assert_eq!(
        told["message"],
        "generation 2 was not ready after 1s 500ms (the command has written no newline to descriptor 9), so it is ended; generation 1 stays"
    );
    assert_eq!(session.wait("stopping")["reason"], "not_ready");
    session.wait_where("stopped", of(2));
    assert!(gone(tree(&sandbox, &started)) && alive(old), "{}", session.account());
    sandbox.write("app.txt", READY);
    session.wait_where("ready", of(3));
    session.wait_where("stopped", of(1));
    assert!(gone(old));
    session.stop().assert_code(143);
}

#[test]
fn a_change_while_two_run_ends_the_one_that_is_not_ready() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[]);
    let old = first(&mut session, &sandbox);
    sandbox.write("app.txt", ": 2");
    for generation in 2..=4 {
        let started = session.wait_armed(generation);
        wait_for_words(&session, &sandbox, generation);
        let unready = tree(&sandbox, &started);
        sandbox.write("app.txt", if generation == 4 { READY.to_owned() } else { format!(": {generation}, changed") });
        session.wait_where("stopped", of(generation));
        assert!(gone(unready) && alive(old), "{}", session.account());
    }
    session.wait("ready");
    session.wait_where("stopped", of(1));
    assert!(gone(old));
    session.stop().assert_code(143);
}

#[test]
fn an_old_generation_that_ends_by_itself_leaves_the_word_to_the_next() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &["--on-exit", "exit"]);
    let [old, _] = first(&mut session, &sandbox);
    sandbox.write("app.txt", "while ! test -e go; do sleep 0.01; done; exit 7");
    session.wait_started(2);
    signal(old, "KILL");
    session.wait_where("exited", of(1));
    sandbox.write("go", "");
    let ended = session.wait_end();
    ended.assert_code(7);
}

#[test]
fn a_child_that_is_killed_takes_only_its_own_command_with_it() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[]);
    let old = first(&mut session, &sandbox);
    let host = session.child_pid();
    sandbox.write("app.txt", "sleep 600");
    let started = session.wait_armed(2);
    wait_for_words(&session, &sandbox, 2);
    let new = tree(&sandbox, &started);
    let watcher = children(&session).into_iter().find(|pid| *pid != host).expect("the newest child");
    signal(watcher, "KILL");
    let told = session.wait_where("degraded", |seen| seen["kind"] == "child_died");
    assert_eq!(told["generation"], 2);
    assert!(gone(new) && alive(old), "{}", session.account());
    // Another one tries in its place.
    let third = session.wait_armed(3);
    wait_for_words(&session, &sandbox, 3);
    signal(host, "KILL");
    let told = session.wait_where("degraded", |seen| seen["kind"] == "child_died");
    assert_eq!(
        (&told["generation"], told["message"].as_str().unwrap().ends_with("its command was ended")),
        (&1.into(), true)
    );
    let third = tree(&sandbox, &third);
    assert!(gone(old) && alive(third), "{}", session.account());
    sandbox.write("app.txt", READY);
    session.wait_where("ready", of(4));
    assert!(gone(third));
    session.stop().assert_code(143);
}

#[test]
fn nothing_is_left_of_two_trees_whoever_is_killed() {
    for (victims, code) in [("supervisor", None), ("everyone", None), ("asked", Some(143))] {
        let sandbox = Sandbox::new();
        let mut session = start(&sandbox, &[]);
        let old = first(&mut session, &sandbox);
        sandbox.write("app.txt", "sleep 600");
        let started = session.wait_armed(2);
        wait_for_words(&session, &sandbox, 2);
        let new = tree(&sandbox, &started);
        assert!(alive(old) && alive(new));
        let children = children(&session);
        assert_eq!(children.len(), 2, "{}", session.account());
        match victims {
            "supervisor" => session.signal("KILL"),
            "everyone" => [session.pid()].iter().chain(&children).for_each(|pid| signal(*pid, "KILL")),
            _ => session.signal("TERM"),
        }
        let ended = session.wait_end();
        assert_eq!(ended.code(), code, "{ended:#?}");
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !(gone(old) && gone(new)) {
            assert!(std::time::Instant::now() < deadline, "{victims}: {old:?} {new:?} are left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_command_gets_no_standard_input_and_that_is_told_where_there_was_one() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", READY);
    let script = "read -r line || echo no input; echo >&9; exec sleep 600";
    sandbox.write("given", "typed\n");
    let events = sandbox.events().display().to_string();
    let options = ["-w", "app.txt", "--events", &events, "--overlap", "--ready", "fd:9"];
    let inner = sandbox.command(options.iter().chain(&["--", "sh", "-c", script]));
    let outer = wrapped(&["sh", "-c", "exec \"$@\" <given", "sh"], &inner, &sandbox);
    let mut session = Session::start(outer, &sandbox);
    session.wait("ready");
    session.wait_until("its word", || session.stdout() == "no input\n");
    let hint = session.events().into_iter().find(|seen| seen["event"] == "hint").expect("a hint");
    assert!(hint["message"].as_str().unwrap().contains("no standard input"), "{hint}");
    session.stop().assert_code(143);
}

#[test]
fn a_probe_knows_which_generation_it_is_about_and_the_answer_of_the_old_one_does_not_count() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "touch ready$RELOADRUN_GENERATION");
    let probe = "exec:test -e ready$RELOADRUN_GENERATION";
    let mut session = start_with(&sandbox, &["--ready", probe], &["sh", "-c", APP]);
    first(&mut session, &sandbox);
    sandbox.write("app.txt", "sleep 600");
    session.wait_armed(2);
    sandbox.write("app.txt", "touch ready$RELOADRUN_GENERATION # again");
    session.wait_where("stopped", of(2));
    session.wait_started(3);
    session.wait_where("ready", of(3));
    session.wait_where("stopped", of(1));
    let ended = session.stop();
    assert_eq!(ended.count("ready"), 2, "{ended:#?}");
}

#[test]
fn a_server_that_binds_its_own_port_is_told_of_listen() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let script = format!(
        "import os, socket, time\nheld = socket.create_server(('127.0.0.1', {port}))\nos.write(9, b'\\n')\ntime.sleep(600)"
    );
    sandbox.write("app.txt", "one");
    let mut session = start_with(&sandbox, &["--ready", "fd:9"], &["python3", "-c", &script]);
    session.wait_armed(1);
    session.wait_until("ready", || session.events().iter().any(|seen| seen["event"] == "ready"));
    sandbox.write("app.txt", "two");
    session.wait_where("degraded", |seen| seen["kind"] == "not_replaced");
    let hint = session.wait("hint");
    assert_eq!(
        hint["message"],
        format!(
            "the generation that stays listens on 127.0.0.1:{port}, and no other can at the same time; with --listen tcp:127.0.0.1:{port} both take connections from one socket"
        )
    );
    session.stop().assert_code(143);
}

#[test]
fn a_changed_config_counts_for_the_next_generation_and_the_old_one_stays_until_that_is_ready() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", READY);
    let config = |name: &str| {
        format!("watch = '{name}'\noverlap = true\nready = 'fd:9'\ncommand = ['sh', '-c', \"\"\"{APP}\"\"\"]\n")
            .replace("\\n", "\\\\n")
    };
    sandbox.write("reloadrun.toml", config("app.txt"));
    let mut session = sandbox.start([] as [&str; 0]);
    let old = first(&mut session, &sandbox);
    sandbox.write("reloadrun.toml", config("other.txt"));
    session.wait_where("config_loaded", of(2));
    session.wait_where("ready", of(2));
    session.wait_where("stopped", of(1));
    assert!(gone(old));
    session.wait_until("armed", || {
        session.events().iter().any(|seen| seen["event"] == "watching" && seen["generation"] == 2)
    });
    sandbox.write("other.txt", "now it counts");
    session.wait_where("ready", of(3));
    sandbox.write("reloadrun.toml", config("other.txt").replace("overlap = true\n", ""));
    let rejected = session.wait("config_rejected");
    assert!(rejected["mistakes"][0].as_str().unwrap().contains("overlap cannot be changed"), "{rejected}");
    session.wait_where("ready", of(4));
    session.stop().assert_code(143);
}

#[test]
fn a_restart_that_is_asked_for_starts_the_next_one_beside_the_old_one() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[]);
    let old = first(&mut session, &sandbox);
    sandbox.write("app.txt", READY);
    session.wait_started(2);
    session.wait_where("stopped", of(1));
    assert!(gone(old));
    wait_for_words(&session, &sandbox, 2);
    let ready = |generation| move |seen: &Value| seen["event"] == "ready" && seen["generation"] == generation;
    session.wait_until("ready", || session.events().iter().any(ready(2)));
    let old = tree(&sandbox, session.events().iter().find(|seen| seen["event"] == "started" && of(2)(seen)).unwrap());
    answer(&sandbox, &["pause"], 0);
    sandbox.write("app.txt", format!("while ! test -e go; do sleep 0.01; done; {READY}"));
    let said = answer(&sandbox, &["restart"], 0);
    assert!(said.contains("generation 3"), "{said}");
    session.wait_started(3);
    wait_for_words(&session, &sandbox, 3);
    assert!(alive(old), "{}", session.account());
    // What was saved in the pause is in it already, and that it is on its way is no second one.
    answer(&sandbox, &["resume"], 0);
    sandbox.write("go", "");
    session.wait_where("ready", of(3));
    session.wait_where("stopped", of(2));
    assert!(gone(old));
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!((ended.count("started"), ended.count("degraded")), (3, 0), "{ended:#?}");
}
