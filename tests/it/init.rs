//! reloadrun as the init of a container: PID 1 of a pid namespace.

use super::ends::{left_out, wrapped};
use crate::support::session::signal;
use crate::support::{Sandbox, Session};

/// A session as PID 1; `None` if no pid namespace can be created.
fn as_init(sandbox: &Sandbox, arguments: &[&str]) -> Option<Session> {
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let probe = wrapped(&container, &sandbox.command(["--version"]), sandbox).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        left_out("reloadrun as PID 1: no pid namespace can be created here");
        return None;
    }
    let mut inner = sandbox.command(["--events", sandbox.events().to_str().expect("plain")]);
    inner.args(arguments);
    Some(Session::start(wrapped(&container, &inner, sandbox), sandbox))
}

/// A shell line that counts processes in /proc by their state.
const COUNT: &str = "count() { cat /proc/[0-9]*/stat 2>/dev/null | grep -c \"$1\"; }";

#[test]
fn a_hundred_orphans_are_reaped() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let command = format!(
        "{COUNT}; i=0; while [ $i -lt 100 ]; do (sleep 0.2 &); i=$((i + 1)); done
        until [ \"$(count '(sleep) S')\" = 0 ] && [ \"$(count ') Z ')\" = 0 ]; do :; done
        echo generation $RELOADRUN_GENERATION is clean; exec sleep 600"
    );
    let Some(mut session) = as_init(&sandbox, &["-w", "app.txt", "--", "sh", "-c", &command]) else { return };
    session.wait_armed(1);
    session.wait_until("the first clean state", || session.stdout().contains("generation 1 is clean"));
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    session.wait_until("the second clean state", || session.stdout().contains("generation 2 is clean"));
    signal(session.child_pid(), "TERM");
    session.wait_end().assert_code(143);
}

#[test]
fn orphans_of_a_killed_child_are_gone_before_the_next_command() {
    let sandbox = Sandbox::new();
    let command = format!(
        "{COUNT}; echo generation $RELOADRUN_GENERATION finds $(count '(sleep) ') and $(count ') Z ')
        setsid sleep 600 & (setsid setsid sleep 600 &) & sleep 0.1; echo ready $RELOADRUN_GENERATION; sleep 600"
    );
    let Some(mut session) = as_init(&sandbox, &["-w", "app.txt", "--", "sh", "-c", &command]) else { return };
    session.wait_armed(1);
    session.wait_until("the first tree", || session.stdout().contains("ready 1"));
    let init = session.child_pid();
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
    let child = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("it has a child");
    signal(child, "KILL");
    session.wait_started(2);
    session.wait_until("the second tree", || session.stdout().contains("ready 2"));
    assert!(session.stdout().contains("generation 2 finds 0 and 0"), "{}", session.account());
    signal(init, "TERM");
    session.wait_end().assert_code(143);
}

#[test]
fn signals_are_forwarded_and_the_exit_code_is_the_commands() {
    let sandbox = Sandbox::new();
    let command = "trap 'echo usr1' USR1; trap 'echo usr2; exit 9' USR2; echo ready; while :; do sleep 0.05; done";
    let Some(mut session) = as_init(&sandbox, &["-w", "app.txt", "--", "sh", "-c", command]) else { return };
    session.wait_armed(1);
    session.wait_until("the traps", || session.stdout().contains("ready"));
    let init = session.child_pid();
    signal(init, "USR1");
    session.wait_until("the first signal", || session.stdout().contains("usr1"));
    signal(init, "USR2");
    let ended = session.wait_end();
    ended.assert_code(9);
    assert_eq!(ended.stdout, "ready\nusr1\nusr2\n");
}

#[test]
fn a_command_that_ignores_term_is_killed_after_the_grace_period() {
    let sandbox = Sandbox::new();
    let command = "trap '' TERM; echo ready; while :; do sleep 600; done";
    let arguments = ["--stop-timeout", "300ms", "-w", "app.txt", "--", "sh", "-c", command];
    let Some(mut session) = as_init(&sandbox, &arguments) else { return };
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout().contains("ready"));
    signal(session.child_pid(), "TERM");
    let ended = session.wait_end();
    ended.assert_code(143);
    assert!(ended.events.iter().any(|event| event["event"] == "stopped" && event["killed"] == true), "{ended:#?}");
}
