//! `--on-change signal:NAME`: commands that the signal ends, signals that do not reach the program, daemons, and
//! imports of the new code.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::session::is_alive;
use crate::support::watched::{is_installed, names};
use crate::support::{Sandbox, Session};

/// Prints "GENERATION up", sets its handler when the file `go` exists, prints "GENERATION ready", and then "GENERATION
/// heard" at each HUP.
const LATE: &str = "import os, pathlib, signal, time
g = os.environ['RELOADRUN_GENERATION']
print(g, 'up', flush=True)
while not pathlib.Path('go').exists(): time.sleep(0.005)
signal.signal(signal.SIGHUP, lambda *_: print(g, 'heard', flush=True))
print(g, 'ready', flush=True)
while True: time.sleep(600)
";

fn start(sandbox: &Sandbox, arguments: &[&str], command: &[&str]) -> Session {
    sandbox.write("a.txt", "0");
    let fixed = ["-w", "a.txt;b.txt", "--on-change", "signal:HUP"];
    sandbox.start(fixed.iter().chain(arguments).chain(&["--"]).chain(command))
}

fn wait_said(session: &Session, line: &str) {
    session.wait_until(line, || session.stdout().contains(line));
}

fn hints(events: &[Value]) -> Vec<String> {
    let hints = events.iter().filter(|event| event["event"] == "hint");
    hints.map(|hint| hint["message"].as_str().unwrap().to_owned()).collect()
}

fn pid(event: &Value) -> i32 {
    i32::try_from(event["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn a_signal_before_the_handler_is_set_causes_a_start_with_any_on_exit() {
    for on_exit in ["wait", "exit", "restart"] {
        let sandbox = Sandbox::new();
        sandbox.write("late.py", LATE);
        let mut session = start(&sandbox, &["--on-exit", on_exit], &["python3", "late.py"]);
        session.wait_armed(1);
        wait_said(&session, "1 up");
        sandbox.write("a.txt", "one");
        let started = session.wait_armed(2);
        assert_eq!(names(&started), ["a.txt"]);
        assert!(started["restart_ms"].is_number(), "{started}");
        // Now with the handler.
        sandbox.write("go", "");
        wait_said(&session, "2 ready");
        sandbox.write("b.txt", "two");
        wait_said(&session, "2 heard");
        let ended = session.stop();
        let counts = ["started", "changed", "exited", "waiting"].map(|event| ended.count(event));
        assert_eq!(counts, [2, 2, 0, 0], "{ended:#?}");
        let hints = hints(&ended.events);
        assert!(hints.len() == 2 && hints[1].contains("SIGHUP ended the command"), "{hints:?}");
    }
}

#[test]
fn each_save_whose_signal_kills_causes_one_start_and_it_is_reported_once() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[], &["sleep", "600"]);
    for generation in 1..6 {
        session.wait_armed(generation);
        sandbox.write("a.txt", generation.to_string());
    }
    session.wait_armed(6);
    let ended = session.stop();
    let counts = ["started", "changed", "exited", "waiting"].map(|event| ended.count(event));
    assert_eq!(counts, [6, 5, 0, 0], "{ended:#?}");
    let told = hints(&ended.events).iter().filter(|hint| hint.contains("SIGHUP ended the command")).count();
    assert_eq!(told, 1, "{ended:#?}");
}

#[test]
fn exit_code_128_plus_n_counts_as_killed_and_any_other_exit_is_the_commands_own() {
    for (code, starts) in [(129, 2), (7, 1)] {
        let sandbox = Sandbox::new();
        let script = format!("trap 'exit {code}' HUP; echo $RELOADRUN_GENERATION up; sleep 600 & wait");
        let mut session = start(&sandbox, &["--on-exit", "exit"], &["sh", "-c", &script]);
        session.wait_armed(1);
        wait_said(&session, "1 up");
        sandbox.write("a.txt", "one");
        let ended = if starts == 2 {
            assert_eq!(names(&session.wait_armed(2)), ["a.txt"]);
            session.stop()
        } else {
            session.wait_end()
        };
        ended.assert_code(if starts == 2 { 143 } else { code });
        assert_eq!(ended.count("started"), starts, "{ended:#?}");
    }
}

#[test]
fn a_save_while_the_command_fails_slowly_is_not_lost() {
    // Like a master whose workers fail to start: it ignores the signal and exits slowly.
    let sandbox = Sandbox::new();
    let script = "trap '' HUP; grep -q good a.txt && exec sleep 600; echo $RELOADRUN_GENERATION up
        until [ -e go ]; do sleep 0.01; done; exit 3";
    let mut session = start(&sandbox, &[], &["sh", "-c", script]);
    session.wait_armed(1);
    wait_said(&session, "1 up");
    for content in ["bad", "good"] {
        sandbox.write("a.txt", content);
        session.wait("changed");
    }
    sandbox.write("go", "");
    assert_eq!(names(&session.wait_started(2)), ["a.txt"]);
    let ended = session.stop();
    assert_eq!(ended.count("waiting"), 0, "{ended:#?}");
}

#[test]
fn if_the_signal_ends_a_shell_the_old_tree_is_stopped_first_and_a_hint_names_the_remedy() {
    let sandbox = Sandbox::new();
    // It ignores HUP, so that only a stop ends it.
    sandbox.script("server.sh", "trap '' HUP\necho $RELOADRUN_GENERATION $$\nwhile :; do sleep 0.05; done");
    let mut session = start(&sandbox, &[], &["sh", "-c", "./server.sh; true"]);
    session.wait_armed(1);
    wait_said(&session, "1 ");
    session.wait_until("a whole line", || session.stdout().ends_with('\n'));
    let orphan: i32 = session.stdout().trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    sandbox.write("a.txt", "one");
    session.wait_started(2);
    assert!(!is_alive(orphan), "{}", session.account());
    let ended = session.stop();
    let hints = hints(&ended.events);
    let told = hints.iter().find(|hint| hint.contains("did not reach")).expect("the hint");
    assert!(told.contains(&format!("server.sh {orphan}")) || told.contains(&format!("server.sh ({orphan})")), "{told}");
    assert!(told.contains("Write `exec` before the program that sh runs"), "{told}");
    assert_eq!((ended.count("waiting"), ended.count("exited")), (0, 0), "{ended:#?}");
}

#[test]
fn a_command_string_with_one_simple_command_gets_the_signal_itself() {
    let sandbox = Sandbox::new();
    sandbox.write("late.py", LATE);
    sandbox.write("go", "");
    sandbox.write("a.txt", "0");
    let lines = ["watch = 'a.txt'", "on-change = 'signal:HUP'", "command = \"X=1 python3 'late.py' > out.log 2>&1\""];
    sandbox.write("reloadrun.toml", lines.join("\n"));
    let mut session = sandbox.start::<&str>([]);
    let started = session.wait_armed(1);
    let said = |line: &str| fs::read_to_string(sandbox.path("out.log")).is_ok_and(|text| text.contains(line));
    session.wait_until("the handler", || said("1 ready"));
    let command = fs::read_to_string(format!("/proc/{}/cmdline", pid(&started))).unwrap();
    assert!(command.ends_with("python3\0late.py\0"), "{command:?}");
    sandbox.write("a.txt", "one");
    session.wait_until("the signal", || said("1 heard"));
    assert_eq!(session.stop().count("started"), 1);
}

#[test]
fn npm_does_not_pass_the_signal_on_and_is_started_again() {
    if !is_installed("npm", "npm start with --on-change signal:HUP") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("package.json", r#"{"scripts":{"start":"node server.js"}}"#);
    sandbox.write(
        "server.js",
        "process.on('SIGHUP', () => {}); console.log(process.env.RELOADRUN_GENERATION, process.pid); setInterval(() => {}, 1e6)",
    );
    let mut session = start(&sandbox, &[], &["npm", "start", "--silent", "--no-update-notifier"]);
    session.wait_armed(1);
    let server = |generation: &str| -> Option<i32> {
        let text = session.stdout();
        let line = text.split_inclusive('\n').find_map(|line| line.strip_suffix('\n')?.strip_prefix(generation));
        line.and_then(|pid| pid.trim().parse().ok())
    };
    session.wait_until("the server", || server("1 ").is_some());
    let old = server("1 ").unwrap();
    sandbox.write("a.txt", "one");
    session.wait_until("the new server", || server("2 ").is_some());
    assert!(!is_alive(old), "{}", session.account());
    let ended = session.stop();
    assert_eq!(ended.count("waiting"), 0, "{ended:#?}");
}

/// A double fork in a new session, as in daemon(7).
const DAEMON: &str = "import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open('daemon.' + os.environ['RELOADRUN_GENERATION'], 'w').write(str(os.getpid()))
time.sleep(600)
";

fn daemon(sandbox: &Sandbox, session: &Session, generation: u64) -> i32 {
    let path = sandbox.path(format!("daemon.{generation}"));
    let read = || fs::read_to_string(&path).ok()?.parse().ok();
    session.wait_until("the daemon", || read().is_some());
    read().unwrap()
}

#[test]
fn a_daemon_is_reported_once_and_restarted() {
    let sandbox = Sandbox::new();
    sandbox.write("daemon.py", DAEMON);
    let mut session = start(&sandbox, &[], &["python3", "daemon.py"]);
    session.wait_armed(1);
    let old = daemon(&sandbox, &session, 1);
    let hint = session.wait_where("hint", |hint| hint["message"].as_str().unwrap().contains("behind"));
    let message = hint["message"].as_str().unwrap();
    assert!(message.contains(&format!("({old})")) && message.contains("in the foreground"), "{message}");
    assert!(message.contains("nobody to send SIGHUP to"), "{message}");
    session.wait("waiting");
    assert!(is_alive(old));
    sandbox.write("a.txt", "one");
    assert_eq!(names(&session.wait_armed(2)), ["a.txt"]);
    assert!(!is_alive(old), "{}", session.account());
    let new = daemon(&sandbox, &session, 2);
    session.wait("waiting");
    let ended = session.stop();
    assert!(!is_alive(new));
    assert_eq!(hints(&ended.events).iter().filter(|hint| hint.contains("behind")).count(), 1, "{ended:#?}");
}

#[test]
fn in_ci_a_daemon_is_reported_before_it_is_stopped() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "0");
    sandbox.write("daemon.py", DAEMON);
    let session = sandbox.start_with(["-w", "a.txt", "--", "python3", "daemon.py"], |command| {
        command.env("CI", "true");
    });
    let ended = session.wait_end();
    ended.assert_code(0);
    let hints = hints(&ended.events);
    assert!(hints.iter().any(|hint| hint.contains("behind; it ends with it")), "{ended:#?}");
    let daemon: i32 = sandbox.read("daemon.1").parse().unwrap();
    assert!(!is_alive(daemon));
}

#[test]
fn a_command_that_exits_and_leaves_no_process_is_not_a_daemon() {
    let sandbox = Sandbox::new();
    let mut session = start(&sandbox, &[], &["sh", "-c", "true | true"]);
    session.wait("waiting");
    let ended = session.stop();
    assert!(!hints(&ended.events).iter().any(|hint| hint.contains("behind")), "{ended:#?}");
}

/// Imports the module and prints its number, at its start and at each HUP.
const IMPORTS: &str = "import signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
while True:
    subprocess.run([sys.executable, '-c', 'import module; print(module.NUMBER, flush=True)'], check=True)
    signal.sigwait([signal.SIGHUP])
";

fn never_imports_old_code(on_change: &str, prefix: Option<&str>, words: &[&str], cache: impl Fn(&Path) -> String) {
    let sandbox = Sandbox::new();
    sandbox.write("module.py", "NUMBER = 1000\n");
    sandbox.write("main.py", IMPORTS);
    let arguments = ["-w", "*.py", "--on-change", on_change, "--"];
    let session = sandbox.start_with(arguments.iter().chain(words).chain(&["main.py"]), |command: &mut Command| {
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
        if let Some(prefix) = prefix {
            command.env("PYTHONPYCACHEPREFIX", prefix);
        }
    });
    let mut printed = String::from("1000\n");
    session.wait_until("the first number", || session.stdout() == printed);
    for number in 1001..1025 {
        sandbox.write("module.py", format!("NUMBER = {number}\n"));
        printed += &format!("{number}\n");
        session.wait_until("the new number", || session.stdout().len() >= printed.len());
        assert_eq!(session.stdout(), printed, "old code ran\n{}", session.account());
    }
    let cache = sandbox.path(cache(sandbox.root()));
    let compiled = fs::read_dir(&cache).unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
    assert!(compiled.count() > 0, "Python did write compiled files");
    session.stop();
}

#[test]
fn a_command_that_imports_again_on_a_signal_imports_the_new_code() {
    never_imports_old_code("signal:HUP", None, &["python3"], |_| "__pycache__".to_owned());
}

#[test]
fn compiled_files_below_a_prefix_are_removed_too() {
    let mirrored = |prefix: &'static str| move |root: &Path| format!("{prefix}{}", root.display());
    let real = |root: &Path| root.canonicalize().unwrap();
    for on_change in ["signal:HUP", "restart"] {
        never_imports_old_code(on_change, Some("cache"), &["python3"], |root| mirrored("cache")(&real(root)));
        never_imports_old_code(on_change, None, &["env", "PYTHONPYCACHEPREFIX=cache", "python3"], |root| {
            mirrored("cache")(&real(root))
        });
    }
}
