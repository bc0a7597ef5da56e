//! The terminal: the command has it while it runs, and its settings are restored afterwards.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::termios::LocalFlags;

use super::ends::{SIGNALS, pid_of, wrapped};
use crate::support::session::{is_alive, signal};
use crate::support::{Ended, Sandbox, Session, Terminal};

/// The sequence that `--clear` writes.
const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";

/// The sequence that leaves the alternate screen.
const MAIN_SCREEN: &str = "\x1b[?1049l";

/// Longer than the 5 s after which the child considers the supervisor hung, with `--interval 100ms`.
const LONGER_THAN_PATIENCE: Duration = Duration::from_secs(6);

/// Moves to the foreground of a new terminal, with default signal dispositions even if the tests run in the background
/// of a script, where INT is ignored.
pub const AT_ITS_TERMINAL: [&str; 4] = ["env", "--default-signal", "setsid", "--ctty"];

/// Records its signals, and ends on the signals given after it.
const HEARD: [&str; 3] = [env!("CARGO_BIN_EXE_probe"), "heard", "../heard"];

/// Counts in a file, which shows whether it is running.
const COUNTS: [&str; 3] = ["sh", "-c", "while :; do echo >> ../count; sleep 0.02; done"];

/// A sandbox with `app.txt`, which is watched.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    sandbox
}

/// The command line of reloadrun with a command.
fn reloadrun(sandbox: &Sandbox, arguments: &[&str], command: &[&str]) -> Command {
    let mut inner = sandbox.command(["--events".as_ref(), sandbox.events().as_os_str()]);
    inner.args(["--color", "never", "-w", "app.txt"]).args(arguments).arg("--").args(command);
    inner
}

/// Starts it in the foreground of a terminal.
pub fn start(terminal: &Terminal, sandbox: &Sandbox, arguments: &[&str], command: &[&str]) -> Session {
    let inner = reloadrun(sandbox, arguments, command);
    Session::start_at(terminal, wrapped(&AT_ITS_TERMINAL, &inner, sandbox), sandbox)
}

/// Starts it without a terminal.
fn start_alone(sandbox: &Sandbox, arguments: &[&str], command: &[&str]) -> Session {
    Session::start(reloadrun(sandbox, arguments, command), sandbox)
}

fn heard(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.beside().join("heard")).unwrap_or_default()
}

fn wait_heard(session: &Session, sandbox: &Sandbox, what: &str) {
    session.wait_until(&format!("{what:?} (and not {:?})", heard(sandbox)), || heard(sandbox) == what);
}

fn count(sandbox: &Sandbox) -> u64 {
    fs::metadata(sandbox.beside().join("count")).map_or(0, |metadata| metadata.len())
}

fn wait_counting(session: &Session, sandbox: &Sandbox) {
    let before = count(sandbox);
    session.wait_until("a count", || count(sandbox) > before + 2);
}

/// State, process group and the foreground group of its terminal.
fn stat(pid: i32) -> (String, i32, i32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse().ok()).unwrap_or(-1);
    (words.first().copied().unwrap_or_default().to_owned(), number(2), number(5))
}

fn is_stopped(pid: i32) -> bool {
    stat(pid).0 == "T"
}

/// Waits, while everything is stopped, longer than a heartbeat may be missed, and asserts that the counter does not
/// change.
fn nothing_moves(sandbox: &Sandbox) {
    let before = count(sandbox);
    // The test must sleep, because nothing may happen.
    std::thread::sleep(LONGER_THAN_PATIENCE);
    assert_eq!(count(sandbox), before, "a stopped command does not count");
}

fn assert_no_alarm(events: &[serde_json::Value], shown: &str) {
    assert!(!events.iter().any(|event| event["event"] == "degraded"), "{events:#?}");
    assert!(!shown.contains("hangs"), "{shown}");
}

/// An interactive shell at a terminal, with `$R` for reloadrun and its options.
struct Shell {
    session: Session,
    terminal: Terminal,
    sandbox: Sandbox,
}

impl Shell {
    fn new() -> Shell {
        let (terminal, sandbox) = (Terminal::new(), sandbox());
        let mut bash = Command::new(AT_ITS_TERMINAL[0]);
        sandbox.furnish(&mut bash);
        bash.args(&AT_ITS_TERMINAL[1..]).args(["bash", "--norc", "--noprofile", "-i"]);
        bash.env("PS1", "ask> ").env("HISTFILE", "").env("INPUTRC", "/dev/null");
        bash.env("R", format!("{} --events {}", env!("CARGO_BIN_EXE_reloadrun"), sandbox.events().display()));
        bash.env("O", "--interval 100ms --color never -w app.txt");
        let session = Session::start_at(&terminal, bash, &sandbox);
        terminal.wait_shown("ask> ", 1);
        Shell { session, terminal, sandbox }
    }

    /// Types a line.
    fn line(&self, line: &str) {
        self.terminal.press(&format!("{line}\n"));
    }

    /// Waits until the shell executes a command again.
    fn wait_prompt(&self, word: &str) {
        // The echo of the typed line has quotes, so only the output matches.
        self.line(&format!("echo '{word}'!"));
        self.terminal.wait_shown(&format!("{word}!"), 1);
    }

    /// The supervisor: the last process that the shell started.
    fn supervisor(&self) -> i32 {
        self.session.child_pid()
    }

    /// Exits from the shell.
    fn leave(self) -> String {
        self.line("exit 7");
        let Shell { session, terminal, .. } = self;
        session.wait_end().assert_code(7);
        terminal.shown()
    }
}

#[test]
fn a_command_at_a_terminal_is_in_its_foreground_and_reads_from_it_in_every_generation() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let asks = ["sh", "-c", "while read -r line; do echo \"heard $line in $RELOADRUN_GENERATION\"; done"];
    let mut session = start(&terminal, &sandbox, &[], &asks);
    for generation in 1..=3 {
        let (_, group, foreground) = stat(pid_of(&session.wait_armed(generation)));
        assert_eq!(group, foreground);
        terminal.press(&format!("word{generation}\n"));
        terminal.wait_shown(&format!("heard word{generation} in {generation}"), 1);
        sandbox.write("app.txt", format!("after {generation}"));
    }
    session.wait_started(4);
    // End of input ends the command, but not reloadrun.
    terminal.press("\x04");
    assert_eq!(session.wait("exited")["code"], 0);
    session.wait("waiting");
    session.stop().assert_code(143);
    assert!(!terminal.shown().contains('\x1b'), "{:?}", terminal.shown());
}

#[test]
fn a_repl_and_a_password_prompt_work_as_if_run_directly() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let mut session = start(&terminal, &sandbox, &[], &["python3", "-i", "-q"]);
    session.wait_armed(1);
    terminal.wait_shown(">>> ", 1);
    terminal.press("print(6 * 7)\n");
    terminal.wait_shown("42\r\n", 1);
    terminal.press("\x03");
    terminal.wait_shown("KeyboardInterrupt", 1);
    terminal.press("print(6 * 8)\n");
    terminal.wait_shown("48\r\n", 1);
    session.stop().assert_code(143);

    let terminal = Terminal::new();
    let asks = "import getpass; print('[' + getpass.getpass('sec' + 'ret? ')[::-1] + ']')";
    let mut session = start(&terminal, &sandbox, &["--on-exit", "exit"], &["python3", "-c", asks]);
    session.wait_armed(1);
    terminal.wait_shown("secret? ", 1);
    terminal.press("wolf\n");
    terminal.wait_shown("[flow]", 1);
    session.wait_end().assert_code(0);
    assert!(!terminal.shown().contains("wolf"), "{:?}", terminal.shown());
}

#[test]
fn a_ctrl_c_reaches_the_command_once_and_if_it_ends_so_does_reloadrun_with_130() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let mut session = start(&terminal, &sandbox, &[], &[&HEARD[..], &["INT"]].concat());
    let pid = pid_of(&session.wait_armed(1));
    wait_heard(&session, &sandbox, "ready\n");
    terminal.press("\x03");
    session.wait_end().assert_code(130);
    assert_eq!(heard(&sandbox), "ready\nINT\n");
    assert!(!is_alive(pid));
}

#[test]
fn a_command_that_handles_ctrl_c_keeps_running_and_a_second_one_ends_everything() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let mut session = start(&terminal, &sandbox, &["--stop-timeout", "1h"], &HEARD);
    let pid = pid_of(&session.wait_armed(1));
    wait_heard(&session, &sandbox, "ready\n");
    terminal.press("\x03");
    wait_heard(&session, &sandbox, "ready\nINT\n");
    // A fence: all effects of the Ctrl-C come before this.
    session.signal("USR1");
    wait_heard(&session, &sandbox, "ready\nINT\nUSR1\n");
    assert!(is_alive(pid));
    terminal.press("\x03");
    session.wait_end().assert_code(130);
    // It is killed at once, perhaps before it could record the second one.
    assert!(heard(&sandbox).matches("INT").count() <= 2, "{}", heard(&sandbox));
    assert!(!is_alive(pid));
}

#[test]
fn a_signal_that_ends_reloadrun_sends_the_command_one_stop_signal() {
    for (name, code) in SIGNALS {
        for at_terminal in [false, true] {
            let (terminal, sandbox) = (Terminal::new(), sandbox());
            let command = [&HEARD[..], &["TERM"]].concat();
            let mut session = match at_terminal {
                true => start(&terminal, &sandbox, &[], &command),
                false => start_alone(&sandbox, &[], &command),
            };
            let pid = pid_of(&session.wait_armed(1));
            wait_heard(&session, &sandbox, "ready\n");
            session.signal(name);
            session.wait_end().assert_code(code);
            assert!(
                ["ready\nTERM\n", "ready\nTERM\nCONT\n"].contains(&&*heard(&sandbox)),
                "{name}: {}",
                heard(&sandbox)
            );
            assert!(!is_alive(pid));
        }
    }
}

#[test]
fn usr1_usr2_and_winch_are_passed_on_once() {
    for at_terminal in [false, true] {
        let (terminal, sandbox) = (Terminal::new(), sandbox());
        let mut session = match at_terminal {
            true => start(&terminal, &sandbox, &["--stop-timeout", "0"], &HEARD),
            false => start_alone(&sandbox, &["--stop-timeout", "0"], &HEARD),
        };
        session.wait_armed(1);
        let mut expected = "ready\n".to_owned();
        wait_heard(&session, &sandbox, &expected);
        for name in ["USR1", "WINCH", "USR2", "WINCH", "USR1"] {
            session.signal(name);
            expected += &format!("{name}\n");
            wait_heard(&session, &sandbox, &expected);
        }
        session.stop().assert_code(143);
    }
}

#[test]
fn a_changed_window_size_is_signalled_once_and_is_correct() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let mut session = start(&terminal, &sandbox, &["--stop-timeout", "0"], &HEARD);
    session.wait_armed(1);
    wait_heard(&session, &sandbox, "ready\n");
    // Only one dimension, because stty sets them one after the other.
    terminal.resize(33, 80);
    session.wait_until("WINCH", || heard(&sandbox).contains("WINCH"));
    session.signal("USR1");
    session.wait_until("the fence", || heard(&sandbox).contains("USR1"));
    assert_eq!(heard(&sandbox), "ready\nWINCH\nUSR1\n");
    session.stop().assert_code(143);

    let terminal = Terminal::new();
    let says = ["sh", "-c", "trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.01; done"];
    let mut session = start(&terminal, &sandbox, &[], &says);
    session.wait_armed(1);
    terminal.wait_shown("ready", 1);
    terminal.resize(44, 111);
    terminal.wait_shown("44 111", 1);
    session.stop().assert_code(143);
}

#[test]
fn a_terminal_that_is_closed_ends_everything() {
    let (mut terminal, sandbox) = (Terminal::new(), sandbox());
    let family = "trap '' HUP; note() { echo $1 >> ../pids; }; note $$
        sh -c 'trap \"\" HUP TERM; echo $$ >> ../pids; while :; do sleep 0.01; done' &
        setsid sh -c 'trap \"\" HUP; echo $$ >> ../pids; exec sleep 600' & wait";
    let mut session = start(&terminal, &sandbox, &["--stop-timeout", "100ms"], &["sh", "-c", family]);
    session.wait_armed(1);
    let pids = || -> Vec<i32> {
        let text = fs::read_to_string(sandbox.beside().join("pids")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    session.wait_until("the family", || pids().len() == 3);
    terminal.hang_up();
    session.wait_end().assert_code(129);
    assert!(!pids().into_iter().any(is_alive));
}

#[test]
fn ctrl_z_stops_and_fg_and_bg_continue_without_a_missed_heartbeat() {
    let shell = Shell::new();
    shell.line(&format!("$R $O -- sh -c '{}'", COUNTS[2]));
    wait_counting(&shell.session, &shell.sandbox);
    let supervisor = shell.supervisor();
    shell.terminal.press("\x1a");
    shell.session.wait_until("the stop", || is_stopped(supervisor));
    shell.wait_prompt("stopped");
    nothing_moves(&shell.sandbox);
    shell.line("bg");
    wait_counting(&shell.session, &shell.sandbox);
    shell.wait_prompt("background");
    shell.line("fg");
    // A fence: Ctrl-Z reaches the job again once it is in the foreground.
    shell.session.wait_until("the foreground", || stat(supervisor).1 == stat(supervisor).2);
    shell.terminal.press("\x1a");
    shell.session.wait_until("the stop", || is_stopped(supervisor));
    shell.line("fg");
    wait_counting(&shell.session, &shell.sandbox);
    shell.sandbox.write("app.txt", "two");
    shell.session.wait_until("a restart", || shell.session.starts() == 2);
    shell.terminal.press("\x03");
    shell.session.wait_until("the end", || !is_alive(supervisor));
    shell.line("echo code=$?");
    shell.terminal.wait_shown("code=130", 1);
    let events = shell.session.events();
    assert_no_alarm(&events, &shell.leave());
}

#[test]
fn a_command_that_stops_itself_returns_to_the_shell_as_if_run_directly() {
    let shell = Shell::new();
    // Programs in raw mode read Ctrl-Z as a key and stop themselves, alone or with their group.
    for (number, how) in
        ["os.kill(os.getpid(), signal.SIGTSTP)", "os.kill(0, signal.SIGTSTP)", "signal.raise_signal(signal.SIGSTOP)"]
            .iter()
            .enumerate()
    {
        shell.line(&format!(
            "$R $O --on-exit exit -- python3 -c 'import os, signal; {how}; print(\"again\" + str({number}))'"
        ));
        shell.session.wait_until("the stop", || {
            let children = format!("/proc/{0}/task/{0}/children", shell.session.pid());
            fs::read_to_string(children).is_ok_and(|pids| pids.trim().parse().is_ok_and(is_stopped))
        });
        shell.wait_prompt(&format!("mine{number}"));
        shell.line("fg; echo code=$?");
        shell.terminal.wait_shown(&format!("again{number}"), 1);
        shell.terminal.wait_shown("code=0", number + 1);
    }
    shell.leave();
}

#[test]
fn tstp_to_the_supervisor_stops_the_whole_tree_and_cont_continues_it() {
    for at_terminal in [false, true] {
        let (terminal, sandbox) = (Terminal::new(), sandbox());
        // One process ignores TSTP, and one left the session.
        let family = format!("trap '' TSTP; setsid sh -c '{}' & {}", COUNTS[2], COUNTS[2]);
        let command = ["sh", "-c", &family];
        let mut session = match at_terminal {
            true => start(&terminal, &sandbox, &["--interval", "100ms"], &command),
            false => start_alone(&sandbox, &["--interval", "100ms"], &command),
        };
        let leader = pid_of(&session.wait_armed(1));
        wait_counting(&session, &sandbox);
        session.signal("TSTP");
        session.wait_until("the stop", || is_stopped(session.pid()));
        // The first process waits in the kernel for its stopped child, between vfork and exec.
        assert!(["T", "D"].contains(&&*stat(leader).0), "{:?}", stat(leader));
        nothing_moves(&sandbox);
        session.signal("CONT");
        wait_counting(&session, &sandbox);
        session.wait_until("the other end of the stop", || !is_stopped(leader));
        sandbox.write("app.txt", "two");
        session.wait_started(2);
        let ended = session.stop();
        ended.assert_code(143);
        assert_no_alarm(&ended.events, &(ended.stderr + &terminal.shown()));
    }
}

#[test]
fn a_stopped_job_that_is_killed_leaves_no_process() {
    let sandbox = sandbox();
    let mut session = start_alone(&sandbox, &[], &COUNTS);
    let leader = pid_of(&session.wait_armed(1));
    wait_counting(&session, &sandbox);
    session.signal("TSTP");
    session.wait_until("the stop", || is_stopped(session.pid()));
    let child = session.child_pid();
    session.signal("KILL");
    assert_eq!(session.wait_end().code(), None);
    let until = std::time::Instant::now() + crate::support::session::DEADLINE;
    while [child, leader].into_iter().any(is_alive) {
        assert!(std::time::Instant::now() < until, "a stopped command outlives its supervisor");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn in_the_background_of_a_script_it_works_and_ignores_ctrl_c() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    // Without job control, a shell starts background commands with INT and QUIT ignored and /dev/null as input.
    let script = "trap 'echo interrupted' INT; \"$@\" & p=$!; echo $p > ../pid; while kill -0 $p; do wait $p; done 2>/dev/null; wait $p; echo code=$?";
    let inner = reloadrun(&sandbox, &[], &[&HEARD[..], &["TERM"]].concat());
    let outer = wrapped(&[&AT_ITS_TERMINAL[..], &["sh", "-c", script, "sh"]].concat(), &inner, &sandbox);
    let mut session = Session::start_at(&terminal, outer, &sandbox);
    session.wait_armed(1);
    wait_heard(&session, &sandbox, "ready\n");
    terminal.press("\x03");
    terminal.wait_shown("interrupted", 1);
    let supervisor = fs::read_to_string(sandbox.beside().join("pid")).expect("noted").trim().parse().expect("a pid");
    signal(supervisor, "USR1");
    wait_heard(&session, &sandbox, "ready\nUSR1\n");
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    session.wait_until("both", || heard(&sandbox).matches("ready").count() == 2);
    signal(supervisor, "TERM");
    let ended: Ended = session.wait_end();
    ended.assert_code(0);
    terminal.wait_shown("code=143", 1);
}

#[test]
fn with_nohup_it_survives_the_terminal_and_with_setsid_it_has_none() {
    for wrapper in [&["setsid", "--ctty", "nohup"][..], &["setsid", "--ctty", "setsid", "--wait"]] {
        let (mut terminal, sandbox) = (Terminal::new(), sandbox());
        let inner = reloadrun(&sandbox, &[], &[&HEARD[..], &["TERM"]].concat());
        let mut session = Session::start_at(&terminal, wrapped(wrapper, &inner, &sandbox), &sandbox);
        session.wait_armed(1);
        wait_heard(&session, &sandbox, "ready\n");
        terminal.hang_up();
        sandbox.write("app.txt", "two");
        session.wait_armed(2);
        session.wait_until("both", || heard(&sandbox).matches("ready").count() == 2);
        session.signal("TERM");
        if wrapper.contains(&"--wait") {
            // TERM ends the outer setsid alone.
            let supervisor: i32 = {
                let started = session.events();
                // Beside it is the directory of the control sockets.
                let mut entries = fs::read_dir(sandbox.runtime()).expect("it exists").flatten();
                let lockfile = entries.find(|entry| entry.path().is_file()).expect("a lockfile");
                let content: serde_json::Value =
                    serde_json::from_slice(&fs::read(lockfile.path()).expect("it exists")).expect("JSON");
                assert!(!started.is_empty());
                pid_of(&content)
            };
            signal(supervisor, "TERM");
            session.wait("finished");
            session.wait_until("the end", || !is_alive(supervisor));
        } else {
            session.wait_end().assert_code(143);
        }
    }
}

/// Enters the modes of a full-screen program, and ignores TERM.
const FULL_SCREEN: &str = "trap '' TERM; stty raw -echo; \
    printf '\\033[?1049h\\033[?25l\\033[?2004h\\033[?1000h'; echo th''ere; while :; do sleep 0.01; done";

#[test]
fn a_restart_of_a_full_screen_program_restores_the_terminal() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let before = terminal.settings();
    let script = format!("test $RELOADRUN_GENERATION = 2 && exec sleep 600; {FULL_SCREEN}");
    let mut session = start(&terminal, &sandbox, &["--stop-timeout", "50ms"], &["sh", "-c", &script]);
    session.wait_armed(1);
    terminal.wait_shown("there", 1);
    assert!(!terminal.settings().local_flags.contains(LocalFlags::ECHO));
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    assert_eq!(terminal.settings(), before);
    terminal.wait_shown("generation 2 runs", 1);
    let shown = terminal.shown();
    let (full, after) = shown.split_once("there").expect("it was there");
    // Messages must not go to the alternate screen, where they would disappear.
    let (sequences, _) =
        after.split_once("reloadrun: app.txt changed; the command had to be killed").expect("the line");
    assert!(!full.contains(MAIN_SCREEN));
    for off in [
        MAIN_SCREEN,
        "\x1b[?25h",
        "\x1b[?2004l",
        "\x1b[?1000l",
        "\x1b[?1002l",
        "\x1b[?1003l",
        "\x1b[?1006l",
        "\x1b[?1l\x1b>",
        "\x1b[0m",
    ] {
        assert_eq!(sequences.matches(off).count(), 1, "{off:?} in {sequences:?}");
    }
    // The next command changes no modes, so no sequences are written.
    sandbox.write("app.txt", "three");
    session.wait_armed(3);
    assert_eq!(terminal.shown().matches(MAIN_SCREEN).count(), 1);
    session.signal("TERM");
    session.wait_end().assert_code(143);
    assert_eq!(terminal.settings(), before, "and so at the end");
}

#[test]
fn the_terminal_is_restored_at_once_when_a_full_screen_program_crashes() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let before = terminal.settings();
    let crash = "stty raw -echo; printf '\\033[?1049h'; kill -SEGV $$";
    let mut session = start(&terminal, &sandbox, &[], &["sh", "-c", crash]);
    session.wait("waiting");
    assert_eq!(terminal.settings(), before, "while a change is waited for");
    terminal.wait_shown("waiting for a change", 1);
    let shown = terminal.shown();
    assert!(shown.find(MAIN_SCREEN) < shown.find("reloadrun: the command was killed by SIGSEGV"), "{shown:?}");
    // In raw mode, Ctrl-C would be an ordinary character.
    terminal.press("\x03");
    session.wait_end().assert_code(130);
}

#[test]
fn escape_sequences_go_to_the_terminal_and_never_into_a_pipe_or_for_an_ordinary_command() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let inner = reloadrun(&sandbox, &["--stop-timeout", "50ms"], &["sh", "-c", FULL_SCREEN]);
    let redirect = ["sh", "-c", "exec \"$@\" > ../out 2>&1", "sh"];
    let outer = wrapped(&[&AT_ITS_TERMINAL[..], &redirect].concat(), &inner, &sandbox);
    let mut session = Session::start_at(&terminal, outer, &sandbox);
    session.wait_armed(1);
    let out = || fs::read_to_string(sandbox.beside().join("out")).unwrap_or_default();
    session.wait_until("the command", || out().contains("there"));
    session.stop().assert_code(143);
    terminal.wait_shown(MAIN_SCREEN, 1);
    assert!(!out().contains(MAIN_SCREEN), "{:?}", out());

    let terminal = Terminal::new();
    let stubborn = "trap '' TERM; echo th''ere; while :; do sleep 0.01; done";
    let mut session = start(&terminal, &sandbox, &["--stop-timeout", "50ms"], &["sh", "-c", stubborn]);
    session.wait_armed(1);
    terminal.wait_shown("there", 1);
    session.stop().assert_code(143);
    assert!(
        !terminal.shown().contains('\x1b'),
        "killed, and yet it had left the terminal alone: {:?}",
        terminal.shown()
    );
}

#[test]
fn the_terminal_is_taken_back_from_a_killed_shell() {
    let shell = Shell::new();
    // An interactive shell makes its own group the foreground group, and ignores TERM.
    shell.line("$R $O --stop-timeout 50ms -- bash --norc --noprofile -i");
    shell.terminal.wait_shown("ask> ", 2);
    let supervisor = shell.supervisor();
    shell.session.wait_until("its own group", || stat(supervisor).1 != stat(supervisor).2);
    shell.line("echo inside=$RELOADRUN_GENERATION");
    shell.terminal.wait_shown("inside=1", 1);
    shell.sandbox.write("app.txt", "two");
    shell.session.wait_until("a restart", || shell.session.starts() == 2);
    shell.line("echo inside=$RELOADRUN_GENERATION");
    shell.terminal.wait_shown("inside=2", 1);
    shell.line("exit 0");
    shell.terminal.wait_shown("waiting for a change", 1);
    shell.terminal.press("\x03");
    shell.session.wait_until("the end", || !is_alive(supervisor));
    shell.line("echo code=$?");
    shell.terminal.wait_shown("code=130", 1);
    shell.leave();
}

#[test]
fn a_script_that_kills_its_own_group_does_not_end_reloadrun() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let script = "trap 'kill 0' EXIT; trap 'exit 0' TERM; sleep 600 & echo th''ere; wait";
    let mut session = start(&terminal, &sandbox, &[], &["sh", "-c", script]);
    session.wait_armed(1);
    for generation in 2..=3 {
        terminal.wait_shown("there", generation - 1);
        sandbox.write("app.txt", format!("for {generation}"));
        session.wait_armed(generation as u64);
    }
    session.stop().assert_code(143);
}

#[test]
fn clear_clears_before_each_start_and_only_a_terminal() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let command = ["sh", "-c", "echo hello; exec sleep 600"];
    let mut session = start(&terminal, &sandbox, &["--clear", "-q"], &command);
    for generation in 1..=5 {
        session.wait_armed(generation);
        terminal.wait_shown("hello", generation as usize);
        sandbox.write("app.txt", format!("after {generation}"));
    }
    session.wait_armed(6);
    terminal.wait_shown("hello", 6);
    session.stop().assert_code(143);
    let expected = format!("{CLEAR}hello\r\n").repeat(6);
    assert_eq!(terminal.shown(), expected, "never after what the command said");

    let mut session = start_alone(&sandbox, &["--clear"], &command);
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "hello\n");
    let ended = session.stop();
    assert!(!ended.stderr.contains('\x1b') && !ended.stdout.contains('\x1b'), "{ended:#?}");
}

#[test]
fn clear_keeps_warnings_since_the_last_start() {
    let (terminal, sandbox) = (Terminal::new(), sandbox());
    let mut session = start(&terminal, &sandbox, &["--clear"], &["sleep", "600"]);
    session.wait_armed(1);
    sandbox.write("reloadrun.toml", "intervall = 1\n");
    session.wait("config_rejected");
    session.wait_armed(2);
    terminal.wait_shown("generation 2 runs", 1);
    let shown = terminal.shown();
    let after = shown.rsplit(CLEAR).next().expect("there is always a last");
    assert!(after.contains("intervall: unknown key"), "{shown:?}");
    session.stop().assert_code(143);
}
