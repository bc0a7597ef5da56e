//! Ctrl-C and Ctrl-\ at the terminal with real programs that handle them differently: the table in the guide.

use std::process::Command;
use std::time::Duration;

use super::ends::{left_out, pid_of, wrapped};
use crate::support::session::is_alive;
use crate::support::{Sandbox, Session, Terminal};

const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";

/// Moves to the foreground of a new terminal, with default signal dispositions.
const AT_ITS_TERMINAL: [&str; 4] = ["env", "--default-signal", "setsid", "--ctty"];

/// A command at a terminal.
struct Desk {
    terminal: Terminal,
    sandbox: Sandbox,
    session: Session,
    pid: i32,
}

impl Desk {
    fn new(command: &[&str]) -> Desk {
        Desk::within(&[], &[], command)
    }

    /// The same with options of reloadrun, and reloadrun started by another program.
    fn within(wrapper: &[&str], options: &[&str], command: &[&str]) -> Desk {
        let (terminal, sandbox) = (Terminal::new(), Sandbox::new());
        sandbox.write("app.txt", "one");
        let mut inner = sandbox.command(["--events".as_ref(), sandbox.events().as_os_str()]);
        inner.args(["--color", "never", "-w", "app.txt"]).args(options).arg("--").args(command);
        let outer = wrapped(&[&AT_ITS_TERMINAL[..], wrapper].concat(), &inner, &sandbox);
        let mut session = Session::start_at(&terminal, outer, &sandbox);
        let pid = pid_of(&session.wait_armed(1));
        Desk { terminal, sandbox, session, pid }
    }

    fn press(&self, key: &str) {
        self.terminal.press(key);
    }

    fn wait_shown(&self, what: &str, times: usize) {
        self.terminal.wait_shown(what, times);
    }

    /// Waits for the end with this exit code, and returns the text on the terminal.
    fn wait_end(self, code: i32) -> String {
        let Desk { terminal, session, pid, .. } = self;
        session.wait_end().assert_code(code);
        assert!(!is_alive(pid));
        terminal.shown()
    }
}

/// Waits until a save no longer counts as a reaction to the key. Only time can show this.
fn later(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

#[test]
fn a_repl_and_a_debugger_handle_ctrl_c_and_the_next_save_restarts() {
    for (command, prompt, taken) in [
        (&["python3", "-i", "-q"][..], ">>> ", "KeyboardInterrupt"),
        (&["python3", "-c", "import pdb; pdb.set_trace(); x = 1"], "(Pdb) ", "KeyboardInterrupt"),
        (&["sh", "-c", "trap 'echo tak''en' INT; echo rea''dy; while :; do sleep 0.05; done"], "ready", "taken"),
    ] {
        let mut desk = Desk::new(command);
        desk.wait_shown(prompt, 1);
        desk.press(CTRL_C);
        desk.wait_shown(taken, 1);
        later(1);
        let prompts = desk.terminal.shown().matches(prompt).count();
        desk.sandbox.write("app.txt", "two");
        desk.session.wait_armed(2);
        desk.wait_shown(prompt, prompts + 1);
        desk.session.stop().assert_code(143);
    }
}

#[test]
fn a_command_that_cleans_up_slowly_after_a_ctrl_c_ends_reloadrun_too() {
    let cleans = "
import time
try:
    print('rea' + 'dy', flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(7)
    print('cleaned', flush=True)
";
    let desk = Desk::new(&["python3", "-c", cleans]);
    desk.wait_shown("ready", 1);
    desk.press(CTRL_C);
    let shown = desk.wait_end(130);
    assert!(shown.contains("cleaned") && !shown.contains("waiting"), "{shown:?}");
}

#[test]
fn ctrl_backslash_ends_reloadrun_only_together_with_the_command() {
    let dumps = "trap 'echo dump''ed' QUIT; echo rea''dy; while :; do sleep 0.02; done";
    let desk = Desk::new(&["sh", "-c", dumps]);
    desk.wait_shown("ready", 1);
    for times in 1..=3 {
        desk.press(CTRL_BACKSLASH);
        desk.wait_shown("dumped", times);
    }
    // A fence: this Ctrl-C counts as the first, so the keys before it did not count as one.
    assert!(is_alive(desk.pid));
    desk.session.stop().assert_code(143);

    let desk = Desk::new(&["sleep", "600"]);
    desk.press(CTRL_BACKSLASH);
    let shown = desk.wait_end(131);
    assert!(shown.contains("^\\\r\nreloadrun: the command was killed by SIGQUIT"), "{shown:?}");
}

#[test]
fn one_ctrl_c_ends_the_first_process_of_a_pid_namespace() {
    let container = ["unshare", "--fork", "--pid", "--mount-proc"];
    if !Command::new(container[0]).args(&container[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return left_out("Ctrl-C to reloadrun as PID 1: no pid namespace can be created here");
    }
    for options in [&[][..], &["--on-exit", "wait"]] {
        let Desk { terminal, session, .. } = Desk::within(&container, options, &["cat"]);
        terminal.press("echoed by cat\n");
        terminal.wait_shown("echoed by cat\r\n", 2);
        terminal.press(CTRL_C);
        session.wait_end().assert_code(130);
        let shown = terminal.shown();
        assert!(shown.ends_with("\r\n") && shown.contains("^C\r\nreloadrun: the command was killed"), "{shown:?}");
    }
}

#[test]
fn output_after_a_ctrl_c_begins_a_new_line() {
    let desk = Desk::new(&["true"]);
    desk.wait_shown("waiting for a change\r\n", 1);
    desk.press(CTRL_C);
    let shown = desk.wait_end(130);
    assert!(shown.ends_with("waiting for a change\r\n^C\r\n"), "{shown:?}");

    let desk = Desk::new(&["sleep", "600"]);
    desk.press(CTRL_C);
    let shown = desk.wait_end(130);
    assert!(shown.contains("^C\r\nreloadrun: the command was killed by SIGINT"), "{shown:?}");

    // Without an echo there is no line to end. A shell that still waits for `stty` ignores a Ctrl-C that `stty` outlives.
    let mut desk = Desk::new(&["sh", "-c", "stty -echo; echo ready; exec sleep 600"]);
    desk.wait_shown("ready\r\n", 1);
    desk.press(CTRL_C);
    desk.session.wait("exited");
    let shown = desk.wait_end(130);
    assert!(!shown.contains("\r\n\r\n"), "{shown:?}");
}

#[test]
fn the_watching_line_comes_before_the_waiting_line() {
    for _ in 0..10 {
        let sandbox = Sandbox::new();
        // With this many directories, setting up the watches takes longer than the command.
        for number in 0..150 {
            sandbox.write(format!("d{number}/app.txt"), "one");
        }
        let mut session = sandbox.start(["--", "true"]);
        session.wait("waiting");
        session.wait_until("both lines", || session.stderr().contains("waiting for a change\n"));
        let said = session.stderr();
        let place = |what: &str| said.find(what).unwrap_or_else(|| panic!("{what:?} is not in {said}"));
        assert!(place("watching everything in ") < place("waiting for a change"), "{said}");
        sandbox.write("d7/app.txt", "two");
        session.wait_started(2);
        session.stop().assert_code(143);
    }
}
