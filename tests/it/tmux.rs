//! Common terminal programs in a real terminal: tmux, with its own server.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::ends::{left_out, pid_of};
use crate::support::Sandbox;
use crate::support::session::{DEADLINE, is_alive};

/// The polling interval.
const STEP: Duration = Duration::from_millis(20);

/// A window with an interactive shell in it, with `$R` for reloadrun and its options.
pub struct Window {
    sandbox: Sandbox,
    server: i32,
}

impl Window {
    /// `None`, with a message, if one of these programs is missing.
    pub fn new(needed: &[&str]) -> Option<Window> {
        for program in ["tmux"].iter().chain(needed) {
            if !Command::new("which").arg(program).output().is_ok_and(|found| found.status.success()) {
                left_out(&format!("{} in a real terminal: {program} is not installed", needed.join(", ")));
                return None;
            }
        }
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        let reloadrun = format!("R={} --events {}", env!("CARGO_BIN_EXE_reloadrun"), sandbox.events().display());
        let mut window = Window { sandbox, server: 0 };
        let size = ["new-session", "-d", "-x", "100", "-y", "30"];
        let variables = ["-e", "PS1=ask> ", "-e", "HISTFILE=", "-e", "INPUTRC=/dev/null", "-e", &reloadrun];
        let options = "O=--interval 100ms --color never -w app.txt";
        let shell = ["-e", options, "bash", "--norc", "--noprofile"];
        window.tmux(&[&size[..], &variables, &shell].concat());
        window.server = window.asked("#{pid}").parse().expect("a pid");
        window.wait_screen("ask>");
        Some(window)
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        self.sandbox.furnish(&mut tmux);
        // The socket is in the directory of the test, so that the server is private.
        tmux.env("TMUX_TMPDIR", self.sandbox.runtime()).env_remove("TMUX").args(["-L", "own", "-f", "/dev/null"]);
        let Output { status, stdout, stderr } = tmux.args(words).output().expect("tmux starts");
        assert!(status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim_end().to_owned()
    }

    /// A value of tmux, such as `#{alternate_on}`.
    fn asked(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format])
    }

    /// Presses keys by their names.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    pub fn line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    pub fn wait_until(&self, what: &str, fact: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !fact() {
            let events = fs::read_to_string(self.sandbox.events()).unwrap_or_default();
            assert!(Instant::now() < deadline, "{what} did not come about:\n{}\n{events}", self.screen());
            std::thread::sleep(STEP);
        }
    }

    pub fn wait_screen(&self, what: &str) {
        self.wait_until(&format!("{what:?}"), || self.screen().contains(what));
    }

    /// Waits for the alternate screen, or for its end.
    fn wait_full_screen(&self, on: bool) {
        self.wait_until(&format!("full screen {on}"), || (self.asked("#{alternate_on}") == "1") == on);
    }

    /// Waits until the shell executes a command again.
    pub fn wait_prompt(&self, word: &str) {
        self.line(&format!("echo '{word}'!"));
        self.wait_screen(&format!("{word}!"));
    }

    fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.sandbox.events()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().map(|line| serde_json::from_str(line).expect("every line is JSON"));
        events.filter(|event: &serde_json::Value| event["event"] == name).collect()
    }

    fn wait_event(&self, name: &str, count: usize) -> serde_json::Value {
        self.wait_until(&format!("{name} {count}"), || self.events(name).len() >= count);
        self.events(name).swap_remove(count - 1)
    }

    /// Saves `app.txt` and waits until this generation runs.
    fn restart(&self, generation: usize) {
        self.sandbox.write("app.txt", format!("for {generation}"));
        self.wait_event("watching", generation);
    }
}

impl Drop for Window {
    /// Ends the server with all its processes, and waits for them.
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        tmux.env("TMUX_TMPDIR", self.sandbox.runtime()).args(["-L", "own", "kill-server"]);
        let _ = tmux.output();
        let deadline = Instant::now() + DEADLINE;
        let commands: Vec<i32> = self.events("started").iter().map(pid_of).collect();
        let all_gone = || !is_alive(self.server) && !commands.iter().any(|pid| is_alive(*pid));
        while self.server != 0 && !all_gone() && Instant::now() < deadline {
            std::thread::sleep(STEP);
        }
    }
}

#[test]
fn in_a_real_terminal_pdb_is_usable_in_every_generation() {
    let Some(window) = Window::new(&["python3"]) else { return };
    window.sandbox.write("app.py", "import os\nanswer = 6 * 7\nbreakpoint()\nprint('went on', os.getpid())\n");
    window.line("$R $O -- python3 app.py");
    for generation in 1..=2 {
        window.wait_event("watching", generation);
        window.wait_until("a prompt", || window.screen().matches("(Pdb)").count() == generation * 2 - 1);
        window.line("p answer * 2");
        window.wait_until("an answer", || window.screen().matches("\n84").count() == generation);
        window.sandbox.write("app.txt", format!("after {generation}"));
    }
    window.wait_event("watching", 3);
    window.wait_until("a prompt", || window.screen().matches("(Pdb)").count() == 5);
    window.line("c");
    window.wait_screen("went on");
    window.wait_event("waiting", 1);
    window.press(&["C-c"]);
    window.line("echo code=$?");
    window.wait_screen("code=130");
}

#[test]
fn in_a_real_terminal_vim_is_suspended_and_resumed_restarted_and_killed() {
    let Some(window) = Window::new(&["vim"]) else { return };
    // The third generation writes nothing, so the screen shows what the second one has left.
    let script = "test $RELOADRUN_GENERATION = 3 && exec sleep 600; exec vim -N -u NONE -i NONE -n note.txt";
    window.line(&format!("$R $O -q --stop-timeout 0 -- sh -c '{script}'"));
    window.wait_event("watching", 1);
    window.wait_full_screen(true);
    window.line("iwritten");
    window.press(&["Escape"]);
    window.wait_screen("written");
    for word in ["first", "second"] {
        window.press(&["C-z"]);
        window.wait_full_screen(false);
        window.wait_prompt(word);
        window.line("fg");
        window.wait_full_screen(true);
        window.wait_screen("written");
    }
    window.line(":w");
    window.wait_until("the file", || window.sandbox.path("note.txt").exists());
    window.restart(2);
    window.wait_full_screen(true);
    window.wait_screen("written");
    assert_eq!(window.sandbox.read("note.txt"), "written\n\n");
    window.restart(3);
    window.wait_full_screen(false);
    assert_eq!(window.asked("#{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag} #{keypad_flag}"), "1 0 0 0");
    window.press(&["C-c"]);
    window.line("echo code=$?");
    window.wait_screen("code=130");
}

#[test]
fn in_a_real_terminal_less_scrolls_is_suspended_and_killed() {
    let Some(window) = Window::new(&["less"]) else { return };
    let lines: String = (1..=200).map(|number| format!("line {number}.\n")).collect();
    window.sandbox.write("long.txt", lines);
    let script = "test $RELOADRUN_GENERATION = 2 && exec sleep 600; exec less long.txt";
    window.line(&format!("$R $O -q --stop-signal KILL -- sh -c '{script}'"));
    window.wait_event("watching", 1);
    window.wait_screen("line 1.");
    window.press(&["G"]);
    window.wait_screen("line 200.");
    window.press(&["C-z"]);
    window.wait_full_screen(false);
    window.wait_prompt("stopped");
    window.line("fg");
    window.wait_full_screen(true);
    window.press(&["g"]);
    window.wait_screen("line 1.");
    window.restart(2);
    window.wait_full_screen(false);
    assert_eq!(window.asked("#{cursor_flag} #{keypad_cursor_flag} #{keypad_flag}"), "1 0 0");
    window.wait_screen("stopped!");
    window.press(&["C-c"]);
    window.line("echo code=$?");
    window.wait_screen("code=130");
}

#[test]
fn in_a_real_terminal_ctrl_z_fg_and_ctrl_c_work_and_the_prompt_is_back_afterwards() {
    let Some(window) = Window::new(&[]) else { return };
    window.line("$R $O -- sleep 600");
    window.wait_event("watching", 1);
    let pid = pid_of(&window.wait_event("started", 1));
    window.press(&["C-z"]);
    window.wait_screen("Stopped");
    window.wait_prompt("one");
    window.line("bg; echo 'in the'back");
    window.wait_screen("in theback");
    window.line("fg; echo code=$?");
    window.wait_until("the foreground", || window.asked("#{pane_current_command}") != "bash");
    window.press(&["C-c"]);
    window.wait_screen("code=130");
    assert!(!is_alive(pid));
    window.wait_prompt("two");
}

#[test]
fn in_a_real_terminal_a_repl_that_is_killed_does_not_move_the_cursor() {
    let Some(window) = Window::new(&["python3", "vim"]) else { return };
    // vim has been on the alternate screen before: some terminals go back to where the cursor was then.
    window.line("vim -N -u NONE -i NONE -n -c q; echo 'before'!");
    window.wait_screen("before!");
    window
        .line("$R $O --stop-signal KILL -- sh -c 'test $RELOADRUN_GENERATION = 2 && exec sleep 600; exec python3 -q'");
    window.wait_event("watching", 1);
    window.line("print(6 * 7)");
    window.wait_screen("\n42\n>>>");
    window.restart(2);
    window.wait_screen("generation 2 runs");
    let screen = window.screen();
    let place = |what: &str| screen.find(what).unwrap_or_else(|| panic!("{what:?} is gone:\n{screen}"));
    assert!(place("before!") < place("\n42\n>>>") && place("\n42\n>>>") < place("app.txt changed"), "{screen}");
    window.press(&["C-c"]);
}

#[test]
fn in_a_real_terminal_clear_leaves_only_the_output_of_the_last_start() {
    let Some(window) = Window::new(&[]) else { return };
    window.line("$R $O --clear -- sh -c 'echo \"this is $RELOADRUN_GENERATION.\"; exec sleep 600'");
    window.wait_event("watching", 1);
    window.wait_screen("this is 1.");
    assert!(!window.screen().contains("ask>"), "{}", window.screen());
    for generation in 2..=4 {
        window.restart(generation);
        window.wait_screen(&format!("this is {generation}."));
        window.wait_screen(&format!("generation {generation} runs"));
        assert!(!window.screen().contains(&format!("this is {}.", generation - 1)), "{}", window.screen());
    }
    window.press(&["C-c"]);
}

#[test]
fn in_a_real_terminal_a_window_may_change_its_size_and_be_closed() {
    let Some(window) = Window::new(&[]) else { return };
    window.tmux(&["set", "-g", "status", "off"]);
    // The server ends with its last window.
    window.tmux(&["new-window", "-d", "sleep", "600"]);
    window.line("$R $O -- sh -c 'trap \"stty size\" WINCH; trap \"\" HUP; echo there; while :; do sleep 0.02; done'");
    window.wait_event("watching", 1);
    window.wait_until("the command", || window.screen().lines().any(|line| line == "there"));
    window.tmux(&["resize-window", "-x", "77", "-y", "22"]);
    window.wait_screen("22 77");
    let pid = pid_of(&window.wait_event("started", 1));
    let child = window.asked("#{pane_pid}").parse().expect("a pid");
    window.tmux(&["kill-window", "-t", ":0"]);
    let deadline = Instant::now() + DEADLINE;
    while is_alive(pid) || is_alive(child) {
        assert!(Instant::now() < deadline, "something outlives its window");
        std::thread::sleep(STEP);
    }
    assert_eq!(window.wait_event("finished", 1)["code"], 129);
}
