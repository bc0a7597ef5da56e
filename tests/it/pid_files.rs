//! `--pidfile`: commands that move to the background, and the files that name their main process.

use std::fs;

use serde_json::Value;

use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// Moves to the background as daemons do (two forks, a session of its own), waits for the file `go`, and writes its pid into
/// `app.pid`. Prints "GENERATION heard" at each HUP and exits with 7 at USR1. At USR2 it starts another process of itself,
/// which writes its pid when this one has ended.
const DAEMON: &str = "import os, pathlib, signal, sys, time
g = os.environ['RELOADRUN_GENERATION']
if len(sys.argv) == 1:
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    while not pathlib.Path('go').exists(): time.sleep(0.005)
def renew(*_):
    old = os.getpid()
    if os.fork() == 0: os.execv(sys.executable, [sys.executable, 'daemon.py', str(old)])
    os._exit(0)
signal.signal(signal.SIGHUP, lambda *_: print(g, 'heard', os.getpid(), flush=True))
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
signal.signal(signal.SIGUSR2, renew)
while len(sys.argv) == 2 and os.getppid() == int(sys.argv[1]): time.sleep(0.005)
pathlib.Path('app.pid.tmp').write_text(f'{os.getpid()}\\n')
os.rename('app.pid.tmp', 'app.pid')
print(g, 'up', flush=True)
while True: time.sleep(600)
";

/// Everything in the directory is watched, the pid file too.
fn start(sandbox: &Sandbox, options: &[&str]) -> Session {
    sandbox.write("daemon.py", DAEMON);
    let options = ["--discover", "off", "--pidfile", "app.pid", "-i", "*.tmp;go"].iter().chain(options);
    sandbox.start(options.chain(&["--", "python3", "daemon.py"]))
}

fn pid(event: &Value) -> i32 {
    i32::try_from(event["pid"].as_i64().unwrap()).unwrap()
}

fn written(sandbox: &Sandbox) -> i32 {
    sandbox.read("app.pid").trim().parse().unwrap()
}

fn count(session: &Session, name: &str) -> usize {
    session.events().iter().filter(|event| event["event"] == name).count()
}

fn wait_said(session: &Session, line: &str) {
    session.wait_until(line, || session.stdout().contains(line));
}

#[test]
fn each_save_sends_the_signal_to_the_daemon_and_it_ends_with_reloadrun() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    let mut session = start(&sandbox, &["--on-change", "signal:HUP"]);
    session.wait_armed(1);
    let main = pid(&session.wait("main_process"));
    assert_eq!(main, written(&sandbox));
    wait_said(&session, "1 up");
    for number in 1..=20 {
        sandbox.write("a.txt", number.to_string());
        let line = format!("1 heard {main}\n");
        session.wait_until("the signal", || session.stdout().matches(&line).count() == number);
    }
    assert_eq!((session.starts(), count(&session, "exited"), count(&session, "hint")), (1, 0, 0));
    // The event may come a moment after the signal. The pid file is no change.
    session.wait_until("the last event", || count(&session, "changed") >= 20);
    assert_eq!(count(&session, "changed"), 20);
    session.stop().assert_code(143);
    assert!(!is_alive(main));
}

#[test]
fn each_save_replaces_the_daemon() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    for group in ["all", "main"] {
        let mut session = start(&sandbox, &["--stop-group", group]);
        session.wait_armed(1);
        let mut old = pid(&session.wait("main_process"));
        for generation in 2..=4 {
            sandbox.write("a.txt", format!("{group} {generation}"));
            session.wait_armed(generation);
            let main = pid(&session.wait_where("main_process", |event| event["generation"] == generation));
            assert!(!is_alive(old) && main != old && main == written(&sandbox));
            old = main;
        }
        let ended = session.stop();
        assert_eq!((ended.count("changed"), ended.count("hint"), ended.count("degraded")), (3, 0, 0), "{ended:#?}");
        assert!(!is_alive(old));
    }
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_the_command() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    let mut session = start(&sandbox, &["--on-exit", "exit"]);
    let main = pid(&session.wait("main_process"));
    signal(main, "USR1");
    session.wait_end().assert_code(7);
}

#[test]
fn a_save_before_the_daemon_has_written_its_pid_reaches_it_afterwards() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &["--on-change", "signal:HUP"]);
    session.wait_armed(1);
    sandbox.write("app.pid", "not yet\n");
    sandbox.write("a.txt", "1");
    session.wait("changed");
    sandbox.write("go", "");
    let main = pid(&session.wait("main_process"));
    wait_said(&session, &format!("1 heard {main}"));
    assert_eq!((session.starts(), count(&session, "hint")), (1, 0));
    session.stop().assert_code(143);
}

#[test]
fn a_daemon_that_replaces_itself_is_followed() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    let mut session = start(&sandbox, &["--on-change", "signal:USR2", "--on-exit", "exit"]);
    session.wait_armed(1);
    let mut main = pid(&session.wait("main_process"));
    for number in 1..=3 {
        session.wait_until("the handler", || session.stdout().matches("1 up").count() == number);
        sandbox.write("a.txt", number.to_string());
        let old = main;
        main = pid(&session.wait_where("main_process", |event| pid(event) != old));
        assert_eq!(main, written(&sandbox));
        session.wait_until("the end of the old one", || !is_alive(old));
    }
    assert_eq!((session.starts(), count(&session, "exited")), (1, 0));
    session.wait_until("the handler", || session.stdout().matches("1 up").count() == 4);
    signal(main, "USR1");
    session.wait_end().assert_code(7);
}

#[test]
fn a_file_that_names_no_process_of_the_command_is_told_in_one_sentence() {
    let ended =
        std::process::Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id())).unwrap();
    let cases = [
        (None, "the command wrote no pid into".to_owned()),
        (Some("4711x\n".to_owned()), "does not begin with a pid but with \"4711x\"".to_owned()),
        (Some(format!("{ended}\n")), format!("names process {ended}, which does not run")),
        (
            Some(format!("{}\n", std::process::id())),
            format!("names process {}, which the command did not start", std::process::id()),
        ),
    ];
    let started = cases.map(|(content, sentence)| {
        let sandbox = Sandbox::new();
        if let Some(content) = content {
            sandbox.write("app.pid", content);
        }
        // Without `go` it never writes.
        let session = start(&sandbox, &["--on-change", "signal:HUP"]);
        (sandbox, session, sentence)
    });
    for (sandbox, mut session, sentence) in started {
        session.wait_armed(1);
        let told = session.wait("hint")["message"].as_str().unwrap().to_owned();
        assert!(told.contains(&sentence) && told.contains("left python3 ("), "{told}");
        assert_eq!(session.wait("exited")["code"], 0);
        // A save is not lost.
        sandbox.write("a.txt", "1");
        session.wait_armed(2);
        let _ = fs::remove_file(sandbox.path("app.pid"));
        sandbox.write("go", "");
        session.wait("main_process");
        let ended = session.stop();
        assert_eq!((ended.count("hint"), ended.count("main_process")), (1, 1), "{ended:#?}");
    }
}

#[test]
fn a_command_that_fails_before_it_moves_to_the_background_ends_with_its_code() {
    let sandbox = Sandbox::new();
    let options = ["-w", "a.txt", "--on-exit", "exit", "--pidfile", "app.pid"];
    sandbox.start(options.iter().chain(&["--", "sh", "-c", "sleep 1000 & exit 3"])).wait_end().assert_code(3);
}

#[test]
fn a_save_is_not_lost_when_the_command_ends_before_its_main_process_is_known() {
    for on_exit in ["wait", "exit"] {
        let sandbox = Sandbox::new();
        let options = ["-w", "a.txt", "--on-change", "signal:HUP", "--pidfile", "app.pid", "--on-exit", on_exit];
        let line = "while ! test -e go; do sleep 0.01; done; exit 1";
        let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", line]));
        session.wait_armed(1);
        sandbox.write("a.txt", "1");
        session.wait("changed");
        sandbox.write("go", "");
        session.wait_started(2);
        assert_eq!(session.wait("exited")["generation"], 2);
    }
}

#[test]
fn a_command_that_stays_in_the_foreground_gets_the_signal_where_the_file_says() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    sandbox.write("daemon.py", DAEMON.replace("if len(sys.argv) == 1:", "if False:"));
    let options = ["-w", "a.txt", "--on-change", "signal:HUP", "--pidfile", "app.pid"];
    // The shell is the first process and has no handler.
    let line = "python3 daemon.py; exit 9";
    let mut session = sandbox.start(options.iter().chain(&["--", "sh", "-c", line]));
    session.wait_armed(1);
    wait_said(&session, "1 up");
    sandbox.write("a.txt", "1");
    let main = pid(&session.wait("main_process"));
    wait_said(&session, &format!("1 heard {main}"));
    signal(main, "USR1");
    assert_eq!(session.wait("exited")["code"], 9);
    assert_eq!(session.starts(), 1);
    session.stop().assert_code(143);
}

#[test]
fn without_a_command_there_is_nobody_who_could_write_a_pid() {
    let sandbox = Sandbox::new();
    let output = sandbox.command(["--pidfile", "app.pid", "--on-change", "run:true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("reloadrun: --pidfile 'app.pid': there is no command; give one after --"), "{said}");
}
