//! reloadrun inside another supervisor: the end, the exit code, the count of restarts and the readiness that it sees are the command's. The
//! table is in `docs/operators.md`. honcho is the real one; the part of the others is played by the test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
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
struct Outer(Option<Child>);

impl Outer {
    fn start(command: &mut Command) -> Outer {
        Outer(Some(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"),
        ))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was started")
    }

    fn pid(&mut self) -> i32 {
        i32::try_from(self.child().id()).expect("pids are small")
    }

    /// It says little, so that its pipes take all of that.
    fn ends(mut self) -> Output {
        let child = self.child();
        let deadline = Instant::now() + DEADLINE;
        while child.try_wait().expect("it is our child").is_none() {
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let child = self.0.take().expect("it was started");
        child.wait_with_output().expect("it is our child")
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
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
    sandbox.write(
        "Procfile",
        format!("web: {program} --on-exit exit -w app.txt -- sh app.sh\nother: touch other; exec sleep 600\n"),
    );
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
    let outer = Outer::start(&mut command);
    let first = pid_in(&sandbox);
    fs::remove_file(sandbox.path("pid")).expect("it is there");
    sandbox.write("app.txt", "version 2\n");
    assert_ne!(pid_in(&sandbox), first);
    sandbox.write("code", "7");
    let ended = outer.ends();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(7), "{said}");
    assert_eq!(said.matches("stopped (rc=7)").count(), 1, "{said}");
    assert!(said.contains("version 1") && said.contains("version 2"), "{said}");
}

#[test]
fn a_honcho_that_is_stopped_stops_the_command_gracefully() {
    let sandbox = sandbox();
    let Some(mut command) = honcho(&sandbox) else { return };
    let mut outer = Outer::start(&mut command);
    let pid = pid_in(&sandbox);
    // It has started everything: while it does that, it may lose a signal.
    until("the other process", || sandbox.path("other").exists());
    signal(outer.pid(), "TERM");
    let ended = outer.ends();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
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
    let mut outer = Outer::start(&mut command);
    let mut line = String::new();
    let mut heard = BufReader::new(outer.child().stdout.take().expect("piped"));
    heard.read_line(&mut line).expect("it is readable");
    assert_eq!(line, "\n");
    signal(outer.pid(), "TERM");
    assert_eq!(outer.ends().status.code(), Some(143));
    let mut rest = String::new();
    heard.read_to_string(&mut rest).expect("it ends");
    assert_eq!(rest, "");
}
