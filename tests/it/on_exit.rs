//! `--on-exit`: the values, the default, and the delay of a restart.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::ends::{ENDS, SIGNALS, assert_exited, furnished, left_out, start, wrapped};
use crate::support::session::is_alive;
use crate::support::{Ended, Sandbox, Session};

#[test]
fn with_restart_it_is_started_again_after_a_delay() {
    let sandbox = furnished();
    for (end, (name, code)) in ENDS.iter().zip(SIGNALS.into_iter().cycle()) {
        let mut session = start(&sandbox, "restart", end.command);
        for (generation, delay) in [(1, 100.0), (2, 200.0)] {
            let exited = session.wait("exited");
            assert_eq!(exited["generation"], generation);
            assert_exited(&exited, end);
            let waiting = session.wait("waiting");
            assert_eq!((&waiting["for"], &waiting["delay_ms"]), (&"delay".into(), &delay.into()), "{waiting}");
        }
        session.signal(name);
        let ended = session.wait_end();
        ended.assert_code(code);
        assert!(ended.stderr.matches(end.words).count() >= 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("reloadrun: starting it again in 100 ms, or on a change"), "{}", ended.stderr);
    }
}

#[test]
fn with_wait_a_change_starts_it_again_and_a_signal_ends_the_wait() {
    let sandbox = furnished();
    for (end, (name, code)) in ENDS.iter().zip(SIGNALS.into_iter().cycle()) {
        let mut session = start(&sandbox, "wait", end.command);
        assert_exited(&session.wait("exited"), end);
        let waiting = session.wait("waiting");
        assert_eq!((&waiting["for"], &waiting["delay_ms"]), (&"change".into(), &Value::Null));
        sandbox.write("app.txt", format!("{} {name}", end.words));
        let changed = session.wait("changed");
        assert_eq!((&changed["generation"], &changed["action"]), (&1.into(), &"start".into()));
        let exited = session.wait("exited");
        assert_eq!(exited["generation"], 2);
        assert_exited(&exited, end);
        session.wait("waiting");
        session.signal(name);
        let ended = session.wait_end();
        ended.assert_code(code);
        assert_eq!(ended.stderr.matches(end.words).count(), 2, "{}\n{}", end.words, ended.stderr);
        assert_eq!(ended.stderr.matches("reloadrun: waiting for a change").count(), 2, "{}", ended.stderr);
        assert_eq!(ended.count("started"), if end.runs { 2 } else { 0 });
    }
}

fn with_ci(sandbox: &Sandbox, ci: Option<&str>, arguments: &[&str]) -> Session {
    sandbox.start_with(arguments.iter().chain(&["--", "sh", "-c", "exit 7"]), |command| {
        if let Some(ci) = ci {
            command.env("CI", ci);
        }
    })
}

#[test]
fn in_continuous_integration_the_default_is_to_exit() {
    let sandbox = Sandbox::new();
    for ci in ["true", "1", "yes"] {
        with_ci(&sandbox, Some(ci), &[]).wait_end().assert_code(7);
    }
    for (ci, arguments) in [
        (None, &[][..]),
        (Some(""), &[]),
        (Some("0"), &[]),
        (Some("false"), &[]),
        (Some("true"), &["--on-exit", "wait"]),
    ] {
        let mut session = with_ci(&sandbox, ci, arguments);
        assert_eq!(session.wait("waiting")["for"], "change", "CI={ci:?} {arguments:?}");
        session.stop().assert_code(143);
    }
}

#[test]
fn as_the_init_of_a_container_the_default_is_to_exit() {
    let sandbox = Sandbox::new();
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !wrapped(&container, &sandbox.command(["--version"]), &sandbox)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return left_out("reloadrun as PID 1: no pid namespace can be created here");
    }
    let events = sandbox.events();
    let events = ["--events", events.to_str().expect("plain")];
    let mut inner = sandbox.command(events);
    inner.args(["--", "sh", "-c", "exit 7"]);
    let ended: Ended = Session::start(wrapped(&container, &inner, &sandbox), &sandbox).wait_end();
    ended.assert_code(7);
    assert_eq!(ended.count("waiting"), 0);
}

#[test]
fn the_delay_grows_and_a_change_resets_it_and_starts_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let mut session = start(&sandbox, "restart", &["sh", "-c", "exit 1"]);
    let mut last = Value::Null;
    for delay in [100.0, 200.0, 400.0, 800.0, 1600.0] {
        last = session.wait("waiting");
        assert_eq!(last["delay_ms"], delay, "{last}");
    }
    sandbox.write("app.txt", "two");
    let next = last["generation"].as_u64().expect("a number") + 1;
    let started = session.wait_started(next);
    assert_eq!(started["changes"][0]["path"], sandbox.path("app.txt").to_str().expect("plain"));
    let waited = started["monotonic_ns"].as_u64().expect("a number") - last["monotonic_ns"].as_u64().expect("a number");
    assert!(Duration::from_nanos(waited) < Duration::from_millis(1600), "it started only after {waited} ns");
    assert_eq!(session.wait("waiting")["delay_ms"], 100.0);
    assert_eq!(session.wait("waiting")["delay_ms"], 200.0, "the delay grows again");
    let ended = session.stop();
    let starts: Vec<_> = ended.events.iter().filter(|event| event["event"] == "started").collect();
    for (pair, least) in starts.windows(2).zip([100, 200, 400, 800]) {
        let pause =
            pair[1]["monotonic_ns"].as_u64().expect("a number") - pair[0]["monotonic_ns"].as_u64().expect("a number");
        assert!(Duration::from_nanos(pause) >= Duration::from_millis(least), "{pause} ns instead of {least} ms");
    }
}

/// Starts a process in a new session, notes its pid by generation, and exits.
const LEAVES_SOMETHING: &str = "setsid sh -c 'echo $$ > ../left.$RELOADRUN_GENERATION; exec sleep 600' &
while ! [ -s ../left.$RELOADRUN_GENERATION ]; do :; done
for before in ../left.*; do kill -0 $(cat $before) && echo alive $before; done 2>/dev/null
exit 4";

fn left_by(sandbox: &Sandbox, generation: u64) -> i32 {
    let text = fs::read_to_string(sandbox.beside().join(format!("left.{generation}"))).expect("it was noted");
    text.trim().parse().expect("a pid")
}

#[test]
fn a_leftover_process_keeps_running_during_the_wait_and_is_gone_before_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let mut session = start(&sandbox, "wait", &["sh", "-c", LEAVES_SOMETHING]);
    session.wait("waiting");
    assert!(is_alive(left_by(&sandbox, 1)), "a command may put itself in the background");
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    assert!(!is_alive(left_by(&sandbox, 1)));
    session.wait("waiting");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.stdout, "alive ../left.1\nalive ../left.2\n", "each saw its own only");
    assert!(!is_alive(left_by(&sandbox, 2)));
}

#[test]
fn a_leftover_process_is_gone_before_a_restart_after_a_delay() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, "restart", &["sh", "-c", LEAVES_SOMETHING]);
    for _ in 1..=3 {
        session.wait("waiting");
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert!(ended.stdout.starts_with("alive ../left.1\nalive ../left.2\nalive ../left.3\n"), "{}", ended.stdout);
    for generation in 1..=3 {
        assert!(!is_alive(left_by(&sandbox, generation)));
    }
}

#[test]
fn with_on_change_signal_a_change_starts_a_command_that_has_ended() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let script = "trap 'echo hup; exit 4' HUP; echo ready; while :; do sleep 0.01; done";
    let mut session = sandbox.start(["--on-change", "signal:HUP", "-w", "app.txt", "--", "sh", "-c", script]);
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout() == "ready\n");
    sandbox.write("app.txt", "two");
    assert_eq!(session.wait("changed")["action"], "signal:SIGHUP");
    assert_eq!(session.wait("exited")["code"], 4);
    session.wait("waiting");
    sandbox.write("app.txt", "three");
    assert_eq!(session.wait("changed")["action"], "start");
    session.wait_started(2);
    session.wait_until("the new start", || session.stdout() == "ready\nhup\nready\n");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("started"), 2);
}
