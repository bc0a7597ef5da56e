//! Ends of the command and of reloadrun: messages, `--on-exit` and exit codes.

use std::fs;
use std::io::{self, Write};
use std::process::Command;

use serde_json::Value;

use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// The same command, started by another program: `unshare`, `setpriv`, ...
pub fn wrapped(wrapper: &[&str], inner: &Command, sandbox: &Sandbox) -> Command {
    let mut outer = Command::new(wrapper[0]);
    outer.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args()).current_dir(sandbox.root());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Prints, bypassing the test harness, what could not be tested on this machine.
pub fn left_out(what: &str) {
    // A closed stderr must not fail the test.
    let _ = writeln!(io::stderr(), "left out: {what}");
}

/// The pid in an event.
pub fn pid_of(event: &Value) -> i32 {
    i32::try_from(event["pid"].as_i64().expect("the event has a pid")).expect("pids are small")
}

/// A way for a command to end: the command, the status in words, the exit code.
pub struct End {
    pub command: &'static [&'static str],
    pub words: &'static str,
    pub code: i32,
    pub runs: bool,
}

const fn end(command: &'static [&'static str], words: &'static str, code: i32, runs: bool) -> End {
    End { command, words, code, runs }
}

pub const ENDS: [End; 11] = [
    end(&["sh", "-c", "exit 0"], "the command exited with 0 (success) after ", 0, true),
    end(&["sh", "-c", "exit 1"], "the command exited with 1 after ", 1, true),
    end(&["sh", "-c", "exit 3"], "the command exited with 3 after ", 3, true),
    end(&["sh", "-c", "exit 77"], "the command exited with 77 after ", 77, true),
    end(&["sh", "-c", "kill -SEGV $$"], "the command was killed by SIGSEGV", 139, true),
    end(&["sh", "-c", "kill -KILL $$"], "the command was killed by SIGKILL", 137, true),
    end(
        &["no-such-program-anywhere"],
        "the command was not found: there is no program no-such-program-anywhere in PATH",
        127,
        false,
    ),
    end(&["./missing"], "the command was not found: there is no ./missing", 127, false),
    end(&["./plain"], "the command cannot be run: ./plain: it is not executable (chmod +x)", 126, false),
    end(&["./directory"], "the command cannot be run: ./directory: it is a directory", 126, false),
    end(
        &["./orphan"],
        "the command cannot be run: ./orphan: the interpreter named in its first line does not exist",
        126,
        false,
    ),
];

/// The four signals that end reloadrun, and the resulting exit codes.
pub const SIGNALS: [(&str, i32); 4] = [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)];

/// A sandbox with the files that those commands need.
pub fn furnished() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    sandbox.write("plain", "no program");
    sandbox.write("directory/file", "");
    let orphan = sandbox.script("orphan", "");
    fs::write(orphan, "#!/no/such/interpreter\n").expect("the test owns it");
    sandbox
}

/// Starts a command under a policy, watching `app.txt`.
pub fn start(sandbox: &Sandbox, policy: &str, command: &[&str]) -> Session {
    sandbox.start(["--on-exit", policy, "-w", "app.txt", "--"].iter().chain(command))
}

/// Asserts that an event reports this end.
pub fn assert_exited(event: &Value, end: &End) {
    assert_eq!(event["code"], end.code, "{event}");
    assert_eq!(event["signal"].is_string(), end.words.contains("killed"), "{event}");
}

#[test]
fn with_on_exit_exit_the_code_is_the_commands_own_and_the_reason_is_printed() {
    let sandbox = furnished();
    for end in &ENDS {
        let ended = start(&sandbox, "exit", end.command).wait_end();
        ended.assert_code(end.code);
        assert_eq!(ended.stderr.matches(end.words).count(), 1, "{}\n{}", end.words, ended.stderr);
        assert!(!ended.stderr.contains("waiting"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.count("started"), usize::from(end.runs), "{ended:#?}");
        let finished = ended.events.last().expect("there are events");
        assert_eq!((&finished["event"], &finished["code"]), (&"finished".into(), &end.code.into()), "{ended:#?}");
        assert_exited(ended.events.iter().find(|event| event["event"] == "exited").expect("it exited"), end);
    }
}

#[test]
fn every_kind_of_exit_code_is_passed_on() {
    let sandbox = Sandbox::new();
    for code in [2, 64, 124, 125, 126, 127, 128, 129, 130, 137, 143, 200, 254, 255] {
        let script = format!("exit {code}");
        let ended = start(&sandbox, "exit", &["sh", "-c", &script]).wait_end();
        ended.assert_code(code);
        assert!(ended.stderr.contains(&format!("the command exited with {code} ")), "{}", ended.stderr);
    }
}

#[test]
fn a_death_by_any_signal_is_128_plus_its_number() {
    let sandbox = Sandbox::new();
    for (number, name) in [(6, "SIGABRT"), (13, "SIGPIPE"), (14, "SIGALRM"), (15, "SIGTERM"), (35, "SIGRTMIN+1")] {
        let script = format!("kill -{number} $$");
        let ended = start(&sandbox, "exit", &["sh", "-c", &script]).wait_end();
        ended.assert_code(128 + number);
        assert!(ended.stderr.contains(&format!("the command was killed by {name}")), "{}", ended.stderr);
    }
}

#[test]
fn a_signal_to_reloadrun_ends_the_running_command_with_the_stop_signal() {
    let sandbox = Sandbox::new();
    for (name, code) in SIGNALS {
        let mut session = sandbox.start([
            "--",
            "sh",
            "-c",
            "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        ]);
        let pid = pid_of(&session.wait_started(1));
        session.wait_until("the trap", || session.stdout() == "ready\n");
        session.signal(name);
        let ended = session.wait_end();
        ended.assert_code(code);
        assert_eq!(ended.stdout, "ready\nasked\n", "the command gets TERM, whichever signal reloadrun got");
        assert!(!is_alive(pid));
        let stopping = ended.events.iter().find(|event| event["event"] == "stopping").expect("it was stopped");
        assert_eq!((&stopping["signal"], &stopping["reason"]), (&"SIGTERM".into(), &"request".into()));
        assert_eq!(ended.events.last().expect("there are events")["event"], "finished");
    }
}

#[test]
fn the_stop_signal_can_be_chosen() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start([
        "--stop-signal",
        "usr1",
        "--",
        "sh",
        "-c",
        "trap 'echo usr1; exit 0' USR1; trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ]);
    session.wait_started(1);
    session.wait_until("the traps", || session.stdout() == "ready\n");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.stdout, "ready\nusr1\n");
}

#[test]
fn a_second_signal_ends_the_grace_period() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start([
        "--stop-timeout",
        "1h",
        "--",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ]);
    let pid = pid_of(&session.wait_started(1));
    session.wait_until("the trap", || session.stdout() == "ready\n");
    session.signal("TERM");
    session.wait("stopping");
    assert!(is_alive(pid), "TERM is ignored, and the grace period is an hour");
    session.signal("INT");
    let ended = session.wait_end();
    ended.assert_code(143);
    let stopped = ended.events.iter().find(|event| event["event"] == "stopped").expect("it was stopped");
    assert_eq!(stopped["killed"], true);
    assert!(ended.stderr.contains("the command had to be killed"), "{}", ended.stderr);
    assert!(!is_alive(pid));
}

#[test]
fn the_grace_period_ends_with_kill() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start([
        "--stop-timeout",
        "50ms",
        "--",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ]);
    let pid = pid_of(&session.wait_started(1));
    session.wait_until("the trap", || session.stdout() == "ready\n");
    let ended = session.stop();
    ended.assert_code(143);
    let stopped = ended.events.iter().find(|event| event["event"] == "stopped").expect("it was stopped");
    assert!(stopped["killed"] == true && stopped["took_ms"].as_f64() >= Some(50.0), "{stopped}");
    assert!(!is_alive(pid));
}

/// A command of three processes, one of which left the session; each notes its pid under its generation.
const FAMILY: &str = "note() { echo $1 >> ../pids.$RELOADRUN_GENERATION; }
setsid sh -c 'echo $$ >> ../pids.$RELOADRUN_GENERATION; exec sleep 600' &
sh -c 'echo $$ >> ../pids.$RELOADRUN_GENERATION; exec sleep 600' &
note $$; wait";

/// The pids of that command in a generation, once all are there.
fn family(session: &Session, sandbox: &Sandbox, generation: u64) -> Vec<i32> {
    let path = sandbox.beside().join(format!("pids.{generation}"));
    let read = || fs::read_to_string(&path).unwrap_or_default();
    session.wait_until("three processes", || read().lines().count() == 3);
    read().lines().map(|line| line.parse().expect("a pid")).collect()
}

#[test]
fn when_the_child_is_killed_or_asked_to_end_its_command_ends_too_and_a_new_child_starts() {
    for name in ["KILL", "TERM"] {
        let sandbox = Sandbox::new();
        let mut session = sandbox.start(["--", "sh", "-c", FAMILY]);
        session.wait_armed(1);
        let pids = family(&session, &sandbox, 1);
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        signal(session.child_pid(), name);
        let degraded = session.wait("degraded");
        assert_eq!(degraded["kind"], "child_died", "{degraded}");
        session.wait_started(2);
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{name}: the old tree is gone before the new command starts");
        let pids = family(&session, &sandbox, 2);
        let ended = session.stop();
        ended.assert_code(143);
        assert!(!pids.iter().any(|pid| is_alive(*pid)));
        assert!(ended.stderr.contains("the child of generation 1 is gone"), "{}", ended.stderr);
    }
}

#[test]
fn a_stop_ends_the_whole_process_tree() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sh", "-c", FAMILY]);
    session.wait_started(1);
    let pids = family(&session, &sandbox, 1);
    session.stop().assert_code(143);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn processes_that_a_command_leaves_behind_are_gone_when_reloadrun_ends() {
    let sandbox = Sandbox::new();
    let script = "setsid sh -c 'echo $$ > ../left; exec sleep 600' & while ! [ -s ../left ]; do :; done; exit 5";
    let ended = start(&sandbox, "exit", &["sh", "-c", script]).wait_end();
    ended.assert_code(5);
    let left: i32 = fs::read_to_string(sandbox.beside().join("left")).expect("noted").trim().parse().expect("a pid");
    assert!(!is_alive(left));
}

#[test]
fn an_inherited_ignored_sigchld_has_no_effect() {
    let sandbox = Sandbox::new();
    let ignore =
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    let events = sandbox.events();
    let events = events.to_str().expect("plain");
    let inner = sandbox.command(["--events", events, "--on-exit", "exit", "--", "sh", "-c", "exit 4"]);
    Session::start(wrapped(&["python3", "-c", ignore], &inner, &sandbox), &sandbox).wait_end().assert_code(4);
}

#[test]
fn a_file_that_is_not_a_lockfile_is_not_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "print('precious')\n");
    let ended = sandbox.start(["--lockfile", "app.py", "--", "sleep", "600"]).wait_end();
    ended.assert_code(2);
    assert!(ended.stderr.contains("is not a reloadrun lockfile"), "{}", ended.stderr);
    assert_eq!(sandbox.read("app.py"), "print('precious')\n");
}
