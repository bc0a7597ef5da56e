//! The next child is forked while the old command stops. Whatever happens to it meanwhile, the run goes on or ends as it would
//! without it.

use std::fs;
use std::time::Duration;

use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session, Terminal};
use crate::terminal::start;

/// A command that ignores the stop signal, as it says: the standby waits until KILL, for longer than a test.
const STUBBORN: [&str; 7] = [
    "--stop-timeout",
    "10m",
    "--",
    "sh",
    "-c",
    "trap '' TERM INT; echo deaf > deaf.$RELOADRUN_GENERATION; while :; do sleep 0.1; done",
    "x",
];

/// The same for a second.
const SLOW: [&str; 6] = [
    "--stop-timeout",
    "1s",
    "--",
    "sh",
    "-c",
    "trap '' TERM; echo deaf > deaf.$RELOADRUN_GENERATION; sleep 600 & wait; wait",
];

/// The command of this generation runs and ignores the stop signal.
fn wait_deaf(sandbox: &Sandbox, session: &mut Session, generation: u64) {
    session.wait_armed(generation);
    session.wait_until("its trap", || sandbox.path(format!("deaf.{generation}")).exists());
}

/// A run that watches `*.txt`, with a command that runs.
fn running(sandbox: &Sandbox, more: &[&str]) -> Session {
    sandbox.write("app.txt", "one");
    let mut session = sandbox.start(["-w", "*.txt"].iter().chain(more).copied());
    wait_deaf(sandbox, &mut session, 1);
    session
}

/// A run whose command is being stopped for a change; its child and the standby.
fn stopping(sandbox: &Sandbox, more: &[&str]) -> (Session, i32, i32) {
    let mut session = running(sandbox, &[more, &STUBBORN].concat());
    let child = session.child_pid();
    assert_eq!(children(&session), [child], "nobody waits before there is a change");
    sandbox.write("app.txt", "two");
    session.wait("stopping");
    session.wait_until("the standby", || children(&session).len() == 2);
    let standby = session.child_pid();
    assert_ne!(standby, child);
    (session, child, standby)
}

fn children(session: &Session) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.pid())).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn the_child_that_waited_hosts_the_next_generation_and_no_other_process_stays() {
    let sandbox = Sandbox::new();
    let mut session = running(&sandbox, &SLOW);
    for generation in 2..5 {
        sandbox.write("app.txt", generation.to_string());
        session.wait("stopping");
        session.wait_until("the standby", || children(&session).len() == 2);
        let standby = session.child_pid();
        wait_deaf(&sandbox, &mut session, generation);
        session.wait_until("the end of the old child", || children(&session) == [standby]);
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_standby_that_is_killed_is_replaced_and_one_that_is_stopped_goes_on() {
    let sandbox = Sandbox::new();
    let mut session = running(&sandbox, &SLOW);
    let child = session.child_pid();
    for (generation, name) in [(2, "KILL"), (3, "STOP")] {
        let old = children(&session);
        sandbox.write("app.txt", generation.to_string());
        session.wait("stopping");
        session.wait_until("the standby", || children(&session).iter().any(|pid| !old.contains(pid)));
        // A stopped one is continued when it is told to start.
        signal(session.child_pid(), name);
        wait_deaf(&sandbox, &mut session, generation);
    }
    assert!(!is_alive(child));
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn an_end_while_a_standby_waits_dismisses_it_and_starts_nothing() {
    for name in ["TERM", "INT", "HUP"] {
        let sandbox = Sandbox::new();
        let (session, child, standby) = stopping(&sandbox, &[]);
        session.signal(name);
        session.wait_until("the end of the standby", || !is_alive(standby));
        assert!(is_alive(child), "the command has its time");
        // A request that comes too soon after another of the same kind is the same request.
        std::thread::sleep(Duration::from_millis(300));
        session.signal(name);
        let ended = session.wait_end();
        ended.assert_code(match name {
            "TERM" => 143,
            "INT" => 130,
            _ => 129,
        });
        assert_eq!(ended.count("started"), 1, "{ended:#?}");
    }
}

#[test]
fn a_ctrl_c_while_a_standby_waits_ends_all_of_it() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let terminal = Terminal::new();
    let (options, command) = STUBBORN.split_at(2);
    let mut session = start(&terminal, &sandbox, options, &command[1..]);
    wait_deaf(&sandbox, &mut session, 1);
    sandbox.write("app.txt", "two");
    session.wait("stopping");
    session.wait_until("the standby", || children(&session).len() == 2);
    let standby = session.child_pid();
    // The first belongs to the command, which runs; it does not end the standby.
    terminal.press("\x03");
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(standby));
    terminal.press("\x03");
    let ended = session.wait_end();
    ended.assert_code(130);
    assert!(!is_alive(standby));
    assert_eq!(ended.count("started"), 1, "{ended:#?}");
}

#[test]
fn after_kill_9_of_the_supervisor_the_standby_leaves_and_the_next_owner_of_the_lockfile_finds_nobody() {
    let sandbox = Sandbox::new();
    let lockfile = sandbox.beside().join("it.lock");
    let text = lockfile.to_str().expect("a plain name").to_owned();
    let (session, child, standby) = stopping(&sandbox, &["--lockfile", &text]);
    signal(standby, "STOP");
    signal(session.pid(), "KILL");
    let mut next = sandbox.start(["--lockfile", &text, "--", "sleep", "600"]);
    next.wait_started(1);
    assert!(!is_alive(child) && !is_alive(standby), "the next owner waits for both");
    let ended = session.wait_end();
    assert_eq!(ended.code(), None, "it was killed");
    assert!(!ended.stderr.contains("cannot be set up"), "the standby says nothing: {}", ended.stderr);
    next.stop().assert_code(143);
}
