//! The grace period of a stop: what shortens it, which processes get the stop signal, and what is printed meanwhile.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::ends::{pid_of, wrapped};
use super::terminal::AT_ITS_TERMINAL;
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session, Terminal};

/// The time between two saves of an editor with autosave.
const AUTOSAVE: Duration = Duration::from_millis(600);

/// A server that drains after TERM until a file `drained` exists beside the root.
const DRAINS: &str =
    "trap 'while ! test -e ../drained; do sleep 0.01; done; exit 0' TERM; echo ready; while :; do sleep 0.01; done";

/// Starts that server, and waits until it handles TERM.
fn draining(sandbox: &Sandbox, arguments: &[&str]) -> Session {
    sandbox.write("app.txt", "one");
    // The command looks for a file outside of the directory, and reloadrun would find out that it counts.
    let mut session = sandbox.start(arguments.iter().chain(&["--discover", "off", "--", "sh", "-c", DRAINS]));
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout() == "ready\n");
    session
}

fn let_go(sandbox: &Sandbox) {
    fs::write(sandbox.beside().join("drained"), "").expect("the sandbox is writable");
}

fn files(event: &Value) -> Vec<String> {
    let changes = event["changes"].as_array().expect("a list");
    let name = |change: &Value| change["path"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    changes.iter().map(|change| name(change).expect("a path")).collect()
}

#[test]
fn saves_during_a_stop_never_kill_and_are_among_the_changes_of_the_next_start() {
    for arguments in [&["--stop-timeout", "1h"][..], &["--stop-timeout", "1h", "--debounce", "50ms"]] {
        let sandbox = Sandbox::new();
        let mut session = draining(&sandbox, arguments);
        let pid = pid_of(&session.events().into_iter().find(|event| event["event"] == "started").expect("it runs"));
        sandbox.write("app.txt", "two");
        session.wait("stopping");
        for name in ["b.txt", "c.txt", "app.txt"] {
            // The pauses are the test.
            sleep(AUTOSAVE);
            sandbox.write(name, format!("saved during the stop: {name}"));
            session.wait_where("changed", |event| files(event).iter().any(|file| file == name));
        }
        assert!(is_alive(pid), "{}", session.account());
        let_go(&sandbox);
        assert_eq!(session.wait("stopped")["killed"], false);
        assert_eq!(files(&session.wait_started(2)), ["app.txt", "b.txt", "c.txt"]);
        session.stop().assert_code(143);
    }
}

/// Like that server, with a worker in its process group that records its signals and ends on TERM with its own
/// children.
const LEADS: &str = "$PROBE heard ../heard TERM & echo $! > ../worker
trap 'echo TERM >> ../leader; while ! test -e ../drained; do sleep 0.01; done; exit 0' TERM
echo > ../ready; while :; do sleep 0.01; done";

#[test]
fn with_stop_group_main_the_first_process_is_signalled_alone_and_its_workers_when_it_has_ended() {
    for at_terminal in [false, true] {
        for (arguments, alone) in
            [(&[][..], false), (&["--stop-group", "all"], false), (&["--stop-group", "main"], true)]
        {
            let (terminal, sandbox) = (Terminal::new(), Sandbox::new());
            sandbox.write("app.txt", "one");
            let mut command = sandbox.command(["--events".as_ref(), sandbox.events().as_os_str()]);
            command.args(["--stop-timeout", "1h", "-w", "app.txt"]).args(arguments).args(["--", "sh", "-c", LEADS]);
            let probe = |mut command: Command| {
                command.env("PROBE", env!("CARGO_BIN_EXE_probe"));
                command
            };
            let mut session = match at_terminal {
                true => Session::start_at(&terminal, probe(wrapped(&AT_ITS_TERMINAL, &command, &sandbox)), &sandbox),
                false => Session::start(probe(command), &sandbox),
            };
            let read = |name: &str| fs::read_to_string(sandbox.beside().join(name)).unwrap_or_default();
            session.wait_armed(1);
            session.wait_until("both", || read("ready") == "\n" && read("heard") == "ready\n");
            let worker = read("worker").trim().parse().expect("a pid");
            if alone {
                // The first process may wait for its worker.
                signal(worker, "STOP");
            }
            sandbox.write("app.txt", "two");
            // All processes that should get the signal have got it.
            session.wait("stopping");
            session.wait_until("the leader", || read("leader") == "TERM\n");
            if alone {
                // Of two pending signals, the lower number is delivered first, so a TERM would come before this fence.
                signal(worker, "WINCH");
                session.wait_until("the fence", || read("heard") == "ready\nCONT\nWINCH\n");
            } else {
                session.wait_until("the worker", || read("heard") == "ready\nTERM\n");
            }
            let_go(&sandbox);
            assert_eq!(session.wait("stopped")["killed"], false);
            let heard = if alone { "ready\nCONT\nWINCH\nTERM\n" } else { "ready\nTERM\n" };
            assert!(read("heard").starts_with(heard) && read("leader") == "TERM\n", "{}", read("heard"));
            session.wait_started(2);
            session.stop().assert_code(143);
        }
    }
}

/// The lines of reloadrun that contain this text, in order.
fn lines(stderr: &str, part: &str) -> Vec<String> {
    stderr.lines().filter(|line| line.starts_with("reloadrun: ") && line.contains(part)).map(str::to_owned).collect()
}

#[test]
fn a_slow_stop_is_reported_once_while_it_lasts_with_its_reason() {
    let sandbox = Sandbox::new();
    let mut session = draining(&sandbox, &["--stop-timeout", "1h", "-w", "app.txt"]);
    sandbox.write("app.txt", "two");
    let told = session.wait("still_stopping");
    assert_eq!((&told["signal"], &told["reason"]), (&"SIGTERM".into(), &"change".into()), "{told}");
    assert!(told["took_ms"].as_f64() >= Some(500.0) && told["main_ended"] == false, "{told}");
    let kill_in = told["kill_in_ms"].as_f64().expect("KILL is to come");
    assert!(kill_in > 3_000_000.0 && kill_in <= 3_599_500.0, "{told}");
    let said = lines(&session.stderr(), "app.txt changed");
    let [line] = &said[..] else { panic!("{said:?}") };
    assert!(line.starts_with("reloadrun: app.txt changed; the command has not ended "), "{line}");
    assert!(
        line.contains(" s after SIGTERM (KILL follows in 59m ") && line.ends_with("s; see --stop-timeout)"),
        "{line}"
    );
    let_go(&sandbox);
    session.wait_started(2);
    fs::remove_file(sandbox.beside().join("drained")).expect("it was made");
    session.wait_until("the trap", || session.stdout() == "ready\nready\n");
    // The stop for the change is over; now a stop by request.
    session.signal("TERM");
    let told = session.wait("still_stopping");
    assert_eq!((&told["reason"], &told["generation"]), (&"request".into(), &2.into()));
    let_go(&sandbox);
    let ended = session.wait_end();
    ended.assert_code(143);
    assert_eq!(ended.count("still_stopping"), 2);
    let said = lines(&ended.stderr, "");
    let [_, first, restarted, second] = &said[..] else { panic!("{said:?}") };
    assert_eq!(first, line);
    assert!(restarted.starts_with("reloadrun: app.txt changed (-w 'app.txt'); stopped in "), "{restarted}");
    assert!(second.starts_with("reloadrun: the command has not ended "), "{second}");
}

#[test]
fn a_slow_stop_of_leftover_processes_is_reported_as_such_and_with_q_not_at_all() {
    for quiet in [false, true] {
        let sandbox = Sandbox::new();
        let family = "sh -c 'trap \"\" INT; echo ready; exec sleep 600' & wait";
        let arguments = ["--stop-signal", "INT", "--stop-timeout", "1h", "--", "sh", "-c", family];
        let mut session = sandbox.start(if quiet { &["-q"][..] } else { &[] }.iter().chain(&arguments));
        session.wait_started(1);
        session.wait_until("the command that ignores TERM", || session.stdout() == "ready\n");
        session.signal("TERM");
        let told = session.wait("still_stopping");
        assert_eq!((&told["signal"], &told["main_ended"]), (&"SIGINT".into(), &true.into()));
        // A second request by another signal.
        session.signal("HUP");
        let ended = session.wait_end();
        ended.assert_code(143);
        if quiet {
            assert_eq!(ended.stderr, "");
        } else {
            let said = lines(&ended.stderr, "processes that the command started have not ended ");
            assert!(said.len() == 1 && said[0].contains(" after SIGINT (KILL follows in "), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_kill_for_a_change_is_reported_after_the_change() {
    let sandbox = Sandbox::new();
    let mut session = draining(&sandbox, &["--stop-timeout", "50ms", "-w", "app.txt"]);
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    let ended = session.stop();
    let said = lines(&ended.stderr, "killed, after");
    assert!(
        said[0].starts_with("reloadrun: app.txt changed; the command had to be killed, after "),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.count("still_stopping"), 0);
}
