//! reloadrun inside another supervisor: the end, the exit code, the count of restarts and the readiness that it sees are the command's. The
//! table is in `docs/operators.md`. honcho is the real one; the part of the others is played by the test.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ends::wrapped;
use crate::support::namespace::is_root;
use crate::support::session::{DEADLINE, is_alive, signal};
use crate::support::{Sandbox, Session, apps};

/// Writes its pid, ends with the code in `code` when there is one, and says goodbye on TERM.
const APP: &str = "trap 'echo goodbye; exit 0' TERM; cat app.txt; echo $$ > pid; while [ ! -e code ]; do sleep 0.02; done; exit $(cat code)";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "version 1\n");
    sandbox
}

/// The options and the application.
fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["-w", "app.txt"], more, &["--", "sh", "-c", APP]].concat()
}

fn until(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !fact() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid_in(sandbox: &Sandbox) -> i32 {
    let text = || fs::read_to_string(sandbox.path("pid")).unwrap_or_default();
    until("the pid", || text().ends_with('\n'));
    text().trim().parse().expect("a pid")
}

/// Ends it after the test.
struct Outer {
    child: Child,
    output: PathBuf,
}

impl Outer {
    fn start(command: &mut Command, sandbox: &Sandbox) -> Outer {
        let output = sandbox.beside().join("outer");
        let file = File::create(&output).expect("the sandbox is writable");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn().expect("it starts");
        Outer { child, output }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// What it has written to its standard output so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).expect("it is there")).into_owned()
    }

    /// How it ends, and all that it wrote there.
    fn ends(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status, self.said());
            }
            assert!(Instant::now() < deadline, "it did not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn honcho(sandbox: &Sandbox) -> Option<Command> {
    if apps::offline() {
        apps::left_out("reloadrun under honcho");
        return None;
    }
    let bin = apps::tools("fleet").unwrap_or_else(|message| panic!("{message}"));
    let program = env!("CARGO_BIN_EXE_reloadrun");
    sandbox.write("app.sh", APP);
    sandbox
        .write("Procfile", format!("web: {program} --on-exit exit -w app.txt -- sh app.sh\nother: exec sleep 600\n"));
    let mut command = Command::new(bin.join("honcho"));
    command.args(["start", "--no-colour"]);
    sandbox.furnish(&mut command);
    command.env("PYTHONUNBUFFERED", "1");
    Some(command)
}

#[test]
fn under_honcho_a_change_is_no_end_and_a_crash_is_the_end_with_the_code_of_the_command() {
    let sandbox = sandbox();
    let Some(mut command) = honcho(&sandbox) else { return };
    let outer = Outer::start(&mut command, &sandbox);
    let first = pid_in(&sandbox);
    fs::remove_file(sandbox.path("pid")).expect("it is there");
    sandbox.write("app.txt", "version 2\n");
    assert_ne!(pid_in(&sandbox), first);
    sandbox.write("code", "7");
    let (status, said) = outer.ends();
    assert_eq!(status.code(), Some(7), "{said}");
    assert_eq!(said.matches("stopped (rc=7)").count(), 1, "{said}");
    assert!(said.contains("version 1") && said.contains("version 2"), "{said}");
}

#[test]
fn a_honcho_that_is_stopped_stops_the_command_gracefully() {
    let sandbox = sandbox();
    let Some(mut command) = honcho(&sandbox) else { return };
    let outer = Outer::start(&mut command, &sandbox);
    let pid = pid_in(&sandbox);
    // It ends nothing that it has not said to have started.
    until("the start of both", || outer.said().matches("started (pid=").count() == 2);
    signal(outer.pid(), "TERM");
    let (_, said) = outer.ends();
    assert!(said.contains("goodbye"), "{said}");
    until("the end of the command", || !is_alive(pid));
}

/// What a runtime of containers does: process 1 of a pid namespace, no option about ends.
fn container(sandbox: &Sandbox, more: &[&str]) -> Option<Session> {
    let user = if is_root() { &[][..] } else { &["--user", "--map-root-user"] };
    let wrapper: Vec<&str> =
        ["unshare"].iter().chain(user).chain(&["--pid", "--fork", "--kill-child", "--mount-proc"]).copied().collect();
    let tried = wrapped(&wrapper, &sandbox.command(["--version"]), sandbox).output().expect("unshare is there");
    if !tried.status.success() {
        eprintln!("left out, there are no pid namespaces: {}", String::from_utf8_lossy(&tried.stderr));
        return None;
    }
    let events = sandbox.events();
    let all = [&["--events", events.to_str().expect("plain")], &options(more)[..]].concat();
    Some(Session::start(wrapped(&wrapper, &sandbox.command(all), sandbox), sandbox))
}

#[test]
fn as_process_1_of_a_container_a_change_is_no_restart_of_it_and_its_end_is_the_commands() {
    let sandbox = sandbox();
    let Some(mut session) = container(&sandbox, &[]) else { return };
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "version 1\n");
    sandbox.write("app.txt", "version 2\n");
    session.wait_armed(2);
    sandbox.write("code", "7");
    let ended = session.wait_end();
    ended.assert_code(7);
    assert_eq!((ended.count("started"), ended.stdout.as_str()), (2, "version 1\ngoodbye\nversion 2\n"));
}

#[test]
fn a_container_that_is_stopped_gives_the_command_its_grace() {
    let sandbox = sandbox();
    let Some(mut session) = container(&sandbox, &["--stop-timeout", "20s"]) else { return };
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "version 1\n");
    // The runtime signals process 1; from here that is the child of unshare.
    signal(session.child_pid(), "TERM");
    let ended = session.wait_end();
    ended.assert_code(143);
    assert_eq!(ended.stdout, "version 1\ngoodbye\n");
}

#[test]
fn as_the_process_of_a_systemd_unit_it_ends_as_the_command_does() {
    for (is_unit, event) in [(true, "finished"), (false, "waiting")] {
        let sandbox = sandbox();
        sandbox.write("code", "7");
        let set = if is_unit { "SYSTEMD_EXEC_PID=$$" } else { "SYSTEMD_EXEC_PID=1" };
        let start = format!("export {set}; exec \"$@\"");
        let events = sandbox.events();
        let inner = sandbox.command([&["--events", events.to_str().expect("plain")], &options(&[])[..]].concat());
        let mut session = Session::start(wrapped(&["sh", "-c", &start, "sh"], &inner, &sandbox), &sandbox);
        session.wait("exited");
        session.wait(event);
        if is_unit {
            session.wait_end().assert_code(7);
        } else {
            session.stop().assert_code(143);
        }
    }
}

/// What process-compose, s6 and supervisord have in common: they start a program, wait for its end, take its code, and send TERM.
#[test]
fn under_any_other_supervisor_ends_and_codes_are_those_of_the_command() {
    for (code, expected) in [("0", 0), ("7", 7), ("143", 143)] {
        let sandbox = sandbox();
        let mut session = sandbox.start(options(&["--on-exit", "exit"]));
        session.wait_armed(1);
        sandbox.write("app.txt", "version 2\n");
        session.wait_armed(2);
        sandbox.write("code", code);
        session.wait_end().assert_code(expected);
    }
    let sandbox = sandbox();
    let mut session = sandbox.start(options(&["--on-exit", "exit"]));
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "version 1\n");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.stdout, "version 1\ngoodbye\n");
}

#[test]
fn the_descriptor_on_which_s6_hears_of_readiness_is_the_commands() {
    let sandbox = sandbox();
    // As with `notification-fd 4` in a service directory: the pipe is open there, and a newline means ready.
    let inner = sandbox.command(["--on-exit", "exit", "-w", "app.txt", "--", "sh", "-c", "echo >&4; exec sleep 600"]);
    let mut command = wrapped(&["sh", "-c", "exec 4>&1 1>&2; exec \"$@\"", "sh"], &inner, &sandbox);
    let outer = Outer::start(&mut command, &sandbox);
    until("the newline", || outer.said() == "\n");
    signal(outer.pid(), "TERM");
    let (status, said) = outer.ends();
    assert_eq!((status.code(), said.as_str()), (Some(143), "\n"));
}
