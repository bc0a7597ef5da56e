//! No output can block reloadrun, and output without a reader does not keep anything running.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::termios::{FlowArg, tcflow};

use super::ends::wrapped;
use crate::support::session::{DEADLINE, is_alive, signal};
use crate::support::terminal::pty;
use crate::support::{Sandbox, Session};

/// Each restart writes a line, some events, and with the internal log some kilobytes: together more than any buffer
/// holds.
const RESTARTS: usize = 200;

/// Notes each of its starts.
const NOTES: [&str; 3] = ["sh", "-c", "echo >> ../starts; exec sleep 600"];

fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !fact() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn wait_end(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match child.try_wait().expect("the test owns it") {
            Some(status) => return status,
            None if Instant::now() >= deadline => {
                child.kill().expect("the test owns it");
                panic!("{what}: it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("pids are small")
}

/// This many restarts in a row for the same file do not count as a loop yet.
const NO_LOOP: usize = 20;

/// Creates the files that are saved in turn.
fn make_files(sandbox: &Sandbox, saves: usize) {
    (0..=saves / NO_LOOP).for_each(|number| drop(sandbox.write(format!("app{number}.txt"), "one")));
}

/// The save with this number.
fn save(sandbox: &Sandbox, number: usize) {
    sandbox.write(format!("app{}.txt", number / NO_LOOP), "x".repeat(number));
}

/// Restarts many times with a reader that does not read, then stops reloadrun.
fn restart_and_end(sandbox: &Sandbox, what: &str, mut command: Command) {
    make_files(sandbox, RESTARTS);
    command.args(["-w", "app*.txt", "--"]).args(NOTES).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let starts = || fs::metadata(sandbox.beside().join("starts")).map_or(0, |metadata| metadata.len() as usize);
    let before = starts();
    wait_until(&format!("{what}: the first start"), || starts() > before);
    for number in 1..=RESTARTS {
        save(sandbox, number);
        wait_until(&format!("{what}: restart {number}"), || starts() > before + number);
    }
    signal(pid(&child), "TERM");
    assert_eq!(wait_end(&mut child, what).code(), Some(143), "{what}");
}

/// The two sides of a terminal whose master is not read.
fn frozen() -> (OwnedFd, OwnedFd) {
    // Close-on-exec: other tests start programs at the same time, which must not inherit it.
    pty().expect("a terminal is available")
}

fn clone(descriptor: &OwnedFd) -> OwnedFd {
    descriptor.try_clone().expect("a descriptor is available")
}

/// reloadrun as the shell starts it, with this descriptor as number 9.
fn with_descriptor_9(sandbox: &Sandbox, descriptor: OwnedFd, arguments: &[&str]) -> Command {
    let inner = sandbox.command(arguments);
    let mut outer = wrapped(&["sh", "-c", "exec \"$@\" 9>&2 2>/dev/null", "sh"], &inner, sandbox);
    outer.stderr(descriptor);
    outer
}

/// The same with the internal log.
fn chatty(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    command.env("RELOADRUN_LOG", "trace");
    command
}

#[test]
fn a_stopped_terminal_does_not_block_reloadrun() {
    let sandbox = Sandbox::new();
    let (_master, slave) = frozen();
    let mut command = chatty(&sandbox, &["-v"]);
    command.stderr(clone(&slave));
    restart_and_end(&sandbox, "-v and the inner log", command);

    let (_master, slave) = frozen();
    // Ctrl-S.
    tcflow(&slave, FlowArg::TCOOFF).expect("it is a terminal");
    let mut command = sandbox.command(["-v", "--events", "-"]);
    command.stderr(slave);
    restart_and_end(&sandbox, "-v and the events after Ctrl-S", command);
}

#[test]
fn events_to_a_stopped_terminal_do_not_block_reloadrun() {
    let sandbox = Sandbox::new();
    let (_master, slave) = frozen();
    let path = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).expect("it has a name");
    let mut command = sandbox.command(["-q", "--events"]);
    command.arg(path).stderr(Stdio::null());
    restart_and_end(&sandbox, "--events /dev/pts/N", command);
    restart_and_end(&sandbox, "--events fd:9", with_descriptor_9(&sandbox, slave, &["-q", "--events", "fd:9"]));
}

#[test]
fn a_full_pipe_does_not_block_reloadrun() {
    let sandbox = Sandbox::new();
    let (_reader, writer) = std::io::pipe().expect("a pipe is available");
    let mut command = chatty(&sandbox, &["-v", "--events", "-"]);
    command.stderr(writer);
    restart_and_end(&sandbox, "a pipe for everything", command);

    let fifo = sandbox.beside().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fresh name");
    let mut command = sandbox.command(["-q", "--events"]);
    command.arg(&fifo).stderr(Stdio::null());
    restart_and_end(&sandbox, "a FIFO without a reader", command);

    let (_other, socket) = UnixStream::pair().expect("sockets are available");
    let command = with_descriptor_9(&sandbox, socket.into(), &["-q", "--events", "fd:9"]);
    restart_and_end(&sandbox, "a socket", command);
}

#[test]
fn the_open_files_of_the_command_stay_blocking() {
    let sandbox = Sandbox::new();
    let (_reader, writer) = std::io::pipe().expect("a pipe is available");
    let mut command = sandbox.command(["-v", "--on-exit", "exit", "--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer.try_clone().expect("a descriptor is available"));
    assert_eq!(command.status().expect("it starts").code(), Some(0));
    let flags = nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_GETFL).expect("it is open");
    assert_eq!(flags & nix::libc::O_NONBLOCK, 0, "a command that shares it would lose what it writes");
}

#[test]
fn it_ends_also_with_a_stopped_child_and_thousands_of_signals() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "app.txt", "--", "sleep", "600"]);
    let command = super::ends::pid_of(&session.wait_armed(1));
    let (supervisor, child) = (session.pid(), session.child_pid());
    signal(child, "STOP");
    // Real-time signals are queued one by one. One process sends all of them; a `kill` for each would take a minute.
    let script = "import os, sys\nfor number in range(5000): os.kill(int(sys.argv[1]), 10 if number % 2 else 40)";
    let sent = Command::new("python3").args(["-c", script, &supervisor.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    session.stop().assert_code(143);
    wait_until("the end of the command", || !is_alive(command));
}

/// The reports of this many signals for saves are more than a pipe holds (64 KiB).
const SIGNALS: usize = 400;

#[test]
fn a_stopped_supervisor_does_not_keep_the_child_from_ending_the_command() {
    let sandbox = Sandbox::new();
    make_files(&sandbox, SIGNALS);
    let arguments = ["--on-change", "signal:USR1", "-w", "app*.txt", "--", "sh", "-c"];
    let hears = "trap 'echo >> ../heard' USR1; echo ready; while :; do sleep 0.005; done";
    let mut session = sandbox.start(arguments.iter().chain(&[hears]));
    let command = super::ends::pid_of(&session.wait_armed(1));
    session.wait_until("the trap", || session.stdout() == "ready\n");
    let child = session.child_pid();
    session.signal("STOP");
    let heard = || fs::metadata(sandbox.beside().join("heard")).map_or(0, |metadata| metadata.len());
    for number in 1..=SIGNALS {
        save(&sandbox, number);
        session.wait_until("a signal", || heard() >= number as u64);
    }
    signal(child, "TERM");
    session.wait_until("the end of the command", || !is_alive(command));
    session.signal("CONT");
    session.wait_started(2);
    session.stop().assert_code(143);
}

fn limited(sandbox: &Sandbox, blocks: u32, arguments: &[&str]) -> Session {
    // Only the soft limit, so that the command can raise its own.
    let shell = format!("ulimit -S -f {blocks} && exec \"$@\"");
    let mut inner = sandbox.command(["--events", sandbox.events().to_str().expect("plain")]);
    inner.args(arguments);
    Session::start(wrapped(&["sh", "-c", &shell, "sh"], &inner, sandbox), sandbox)
}

#[test]
fn a_reached_file_size_limit_is_treated_as_a_full_disk() {
    // The limit is reached before the first event, or later; a block has 512 bytes.
    for blocks in [0, 1, 4] {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        let notes = "ulimit -S -f unlimited; echo >> ../starts; exec sleep 600";
        let session = limited(&sandbox, blocks, &["-q", "-w", "app.txt", "--", "sh", "-c", notes]);
        let starts = || fs::metadata(sandbox.beside().join("starts")).map_or(0, |metadata| metadata.len());
        for number in 1..=20 {
            session.wait_until("a start", || starts() == number);
            sandbox.write("app.txt", "x".repeat(number as usize));
        }
        let events = fs::metadata(sandbox.events()).expect("it was made").len();
        assert!(events <= u64::from(blocks) * 512);
        // The written events end in the middle of a line, so they cannot be parsed as JSON.
        fs::remove_file(sandbox.events()).expect("it exists");
        session.stop().assert_code(143);
    }
    // The command is killed by the limit, as without reloadrun.
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["-q", "--on-exit", "exit", "--", "sh", "-c"]);
    command.arg("ulimit -f 1; exec head -c 100000 /dev/zero > ../big").stdin(Stdio::null());
    assert_eq!(command.status().expect("it starts").code(), Some(128 + 25));
}

/// Starts it with a pipe for its standard output, and reads one line.
fn piped(sandbox: &Sandbox, arguments: &[&str], stderr: Stdio) -> Child {
    let mut command = sandbox.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    command.spawn().expect("it starts")
}

#[test]
fn without_a_reader_of_standard_output_it_ends_with_the_command() {
    let sandbox = Sandbox::new();
    for (on_exit, script, code) in [
        ("wait", "while :; do echo x; sleep 0.01; done", 141),
        ("restart", "while :; do echo x; sleep 0.01; done", 141),
        ("wait", "trap '' PIPE; echo x; while echo y 2>/dev/null; do sleep 0.01; done; exit 5", 5),
        // The command has ended before the reader closes.
        ("wait", "echo x; exit 6", 6),
        ("restart", "echo x; sleep 0.02; exit 7", 7),
    ] {
        let mut child = piped(&sandbox, &["--on-exit", on_exit, "-w", "a", "--", "sh", "-c", script], Stdio::null());
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut String::new()).expect("it says something");
        drop(out);
        assert_eq!(wait_end(&mut child, script).code(), Some(code), "{script}");
    }
}

#[test]
fn without_any_reader_it_ends_and_with_a_silent_command_it_keeps_running() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let arguments = ["--interval", "100ms", "-w", "app.txt", "--", "sh", "-c", "echo x; exec sleep 600"];
    // `reloadrun ... 2>&1 | head -1`
    let (mut child, reader) = {
        let (reader, writer) = std::io::pipe().expect("a pipe is available");
        let mut command = sandbox.command(arguments);
        let second = writer.try_clone().expect("a descriptor is available");
        command.stdin(Stdio::null()).stdout(second).stderr(writer);
        (command.spawn().expect("it starts"), reader)
    };
    { reader }.read_exact(&mut [0]).expect("it says something");
    assert_eq!(wait_end(&mut child, "2>&1 | head").code(), Some(141));
    // The other case: a server that writes nothing more, and a reader of reloadrun's own lines.
    let mut child = piped(&sandbox, &arguments, Stdio::null());
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut String::new()).expect("it says something");
    drop(out);
    // The test needs ten heartbeats, so it must sleep.
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().expect("the test owns it").is_none());
    signal(pid(&child), "TERM");
    assert_eq!(wait_end(&mut child, "the end").code(), Some(143));
}

#[test]
fn an_error_message_at_the_start_does_not_wait_forever_for_a_reader() {
    let sandbox = Sandbox::new();
    let (_master, slave) = frozen();
    tcflow(&slave, FlowArg::TCOOFF).expect("it is a terminal");
    let mut command = sandbox.command(["--no-such-flag"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(slave);
    let mut child = command.spawn().expect("it starts");
    assert_eq!(wait_end(&mut child, "a mistake").code(), Some(2));
}

#[test]
fn a_terminal_for_events_does_not_become_the_controlling_terminal() {
    let sandbox = Sandbox::new();
    let (_master, slave) = frozen();
    let path = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).expect("it has a name");
    let mut inner = sandbox.command(["--on-exit", "exit", "--events"]);
    inner.arg(&path).args(["--", "sh", "-c", "if (: < /dev/tty) 2>/dev/null; then exit 9; fi"]);
    let status = wrapped(&["setsid", "--wait"], &inner, &sandbox).stdin(Stdio::null()).status().expect("it starts");
    assert_eq!(status.code(), Some(0));
}
