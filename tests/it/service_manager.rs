//! What the process that started reloadrun is told, if it named a socket for that (`NOTIFY_SOCKET`).

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::ends::wrapped;
use crate::support::session::DEADLINE;
use crate::support::{Sandbox, Session};

/// A service manager: its socket, and what it was told.
struct Manager {
    socket: UnixDatagram,
    address: String,
    heard: Vec<String>,
}

impl Manager {
    fn with_path(sandbox: &Sandbox) -> Manager {
        let path = sandbox.beside().join("notify");
        let address = path.to_str().expect("a plain path").to_owned();
        Manager::of(UnixDatagram::bind(path).expect("a fresh directory"), address)
    }

    fn with_name(sandbox: &Sandbox) -> Manager {
        let name = format!("reloadrun-test{}", sandbox.beside().display());
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        Manager::of(UnixDatagram::bind_addr(&address).expect("nobody else has it"), format!("@{name}"))
    }

    fn of(socket: UnixDatagram, address: String) -> Manager {
        socket.set_read_timeout(Some(DEADLINE)).expect("a time is set");
        Manager { socket, address, heard: Vec::new() }
    }

    /// The next message that is more than a status, with the status it came with.
    fn next(&mut self) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = self.receive(&mut bytes).expect("a message comes");
            let text = String::from_utf8(bytes[..length].to_vec()).expect("it is text");
            self.heard.push(text.clone());
            if !text.starts_with("STATUS=") {
                return text;
            }
        }
    }

    /// The end of a child of the tests interrupts a call.
    fn receive(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.socket.recv(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// Waits for a message that begins so.
    fn wait(&mut self, start: &str) -> String {
        let message = self.next();
        assert!(message.starts_with(start), "{message:?}, not {start}\n{:#?}", self.heard);
        message
    }

    fn start(&self, sandbox: &Sandbox, arguments: &[&str]) -> Session {
        sandbox.write("app.txt", "one");
        let options = ["-w", "app.txt"].iter().chain(arguments);
        sandbox.start_with(options, |command: &mut Command| {
            command.env("NOTIFY_SOCKET", &self.address);
        })
    }
}

/// The monotonic time in a message, microseconds.
fn monotonic(message: &str) -> u64 {
    let time = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{message:?} has no time"))
}

/// CLOCK_MONOTONIC, nanoseconds.
fn clock_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is one");
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).expect("it has begun")
}

#[test]
fn a_service_manager_is_told_of_each_turn_of_a_run_without_a_probe() {
    let sandbox = Sandbox::new();
    for mut manager in [Manager::with_path(&sandbox), Manager::with_name(&sandbox)] {
        let mut session = manager.start(&sandbox, &["--", "sleep", "600"]);
        let ready = manager.wait("READY=1\n");
        assert!(ready.contains("STATUS=generation 1 is running"), "{ready:?}");
        session.wait_armed(1);
        for generation in 2..4 {
            sandbox.write("app.txt", generation.to_string());
            let reloading = manager.wait("RELOADING=1\nMONOTONIC_USEC=");
            assert!(monotonic(&reloading).abs_diff(clock_ns() / 1000) < 60_000_000, "{reloading:?}");
            let ready = manager.wait("READY=1\n");
            assert!(ready.contains(&format!("STATUS=generation {generation} is running")), "{ready:?}");
            session.wait_armed(generation);
        }
        session.stop().assert_code(143);
        manager.wait("STOPPING=1");
        assert!(!manager.heard.iter().any(|message| message.contains("MAINPID")), "{:#?}", manager.heard);
    }
}

#[test]
fn a_reload_of_a_unit_is_a_restart_between_two_messages() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let mut manager = Manager::with_path(&sandbox);
    let inner =
        sandbox.command(["--events", sandbox.events().to_str().expect("plain"), "-w", "app.txt", "--", "sleep", "600"]);
    // As a service has none, a process without a controlling terminal.
    let mut unit = wrapped(&["setsid"], &inner, &sandbox);
    unit.env("NOTIFY_SOCKET", &manager.address);
    let mut session = Session::start(unit, &sandbox);
    manager.wait("READY=1\n");
    session.wait_armed(1);
    for generation in 2..4 {
        let before = clock_ns() / 1000;
        session.signal("HUP");
        let reloading = manager.wait("RELOADING=1\nMONOTONIC_USEC=");
        // systemd takes it for the answer to its own signal only if it is not older.
        assert!(monotonic(&reloading) >= before, "{reloading:?}, {before}");
        manager.wait("READY=1\n");
        assert_eq!(session.wait_armed(generation)["reason"], "asked");
    }
    session.stop().assert_code(143);
    manager.wait("STOPPING=1");
}

/// Says that it is ready when there is a file, and says other things that are not for our parent.
const TELLS: &str = "
import os, socket, time
to = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
assert 'WATCHDOG_USEC' not in os.environ, 'the watchdog is ours'
while not os.path.exists('ready'): time.sleep(0.01)
one.sendto(b'READY=1\\nMAINPID=1\\nSTATUS=of the command', to)
time.sleep(600)
";

#[test]
fn a_service_manager_hears_of_ready_when_the_command_is() {
    let sandbox = Sandbox::new();
    let mut manager = Manager::with_path(&sandbox);
    let mut session = manager.start(&sandbox, &["--ready", "notify", "--", "python3", "-c", TELLS]);
    session.wait_armed(1);
    // Not before: a restart on the way to it is none for the parent.
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    sandbox.write("ready", "");
    let ready = manager.wait("READY=1\n");
    assert!(ready.contains("STATUS=generation 2 is ready"), "{ready:?}");
    std::fs::remove_file(sandbox.path("ready")).expect("it is there");
    sandbox.write("app.txt", "three");
    manager.wait("RELOADING=1\n");
    session.wait_armed(3);
    sandbox.write("ready", "");
    manager.wait("READY=1\n");
    session.stop().assert_code(143);
    manager.wait("STOPPING=1");
    assert!(!manager.heard.iter().any(|message| message.contains("MAINPID")), "{:#?}", manager.heard);
}

#[test]
fn with_overlap_a_restart_is_a_reload_and_a_failed_one_ends_it() {
    let sandbox = Sandbox::new();
    let mut manager = Manager::with_path(&sandbox);
    let script = "if [ $(cat app.txt) = bad ]; then exit 1; fi; echo >&7; exec sleep 600";
    let mut session = manager.start(&sandbox, &["--ready", "fd:7", "--overlap", "--", "sh", "-c", script]);
    manager.wait("READY=1\n");
    session.wait_armed(1);
    sandbox.write("app.txt", "bad");
    let reloading = manager.wait("RELOADING=1\n");
    assert!(reloading.contains("STATUS=generation 1 is running until the next one is ready"), "{reloading:?}");
    session.wait_where("degraded", |event| event["kind"] == "not_replaced");
    let ready = manager.wait("READY=1\n");
    assert!(ready.contains("STATUS=generation 1 is ready"), "{ready:?}");
    sandbox.write("app.txt", "good");
    manager.wait("RELOADING=1\n");
    manager.wait("READY=1\n");
    session.stop().assert_code(143);
    manager.wait("STOPPING=1");
}

#[test]
fn a_command_that_ends_is_not_ready_and_the_status_says_how_it_ended() {
    let sandbox = Sandbox::new();
    let mut manager = Manager::with_path(&sandbox);
    let session = manager.start(&sandbox, &["--on-exit", "restart", "--", "sh", "-c", "sleep 0.2; exit 7"]);
    manager.wait("READY=1\n");
    let reloading = manager.wait("RELOADING=1\n");
    assert!(reloading.contains("exited with 7"), "{reloading:?}");
    manager.wait("READY=1\n");
    session.stop();
    // There may have been restarts in between.
    while !manager.next().starts_with("STOPPING=1") {}
}

/// A run whose process `pid` is to give signs of life; an empty one is not named.
fn watched_by(manager: &Manager, sandbox: &Sandbox, pid: &str) -> Session {
    sandbox.write("app.txt", "one");
    sandbox.start_with(["-w", "app.txt", "--", "sleep", "600"], |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "400000");
        if !pid.is_empty() {
            command.env("WATCHDOG_PID", pid);
        }
    })
}

#[test]
fn the_watchdog_is_fed_at_half_its_time_as_long_as_the_supervisor_runs() {
    let sandbox = Sandbox::new();
    let mut manager = Manager::with_path(&sandbox);
    let session = watched_by(&manager, &sandbox, "");
    let mut times = Vec::new();
    while times.len() < 6 {
        if manager.next() == "WATCHDOG=1" {
            times.push(Instant::now());
        }
    }
    let passed = times[5] - times[0];
    assert!(passed > Duration::from_millis(900), "five pauses of 200 ms took {passed:?}");
    // A supervisor that does not run does not say so: it is silent for longer than two of them.
    session.signal("STOP");
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time is set");
    while manager.receive(&mut [0; 64]).is_ok() {}
    manager.socket.set_read_timeout(Some(DEADLINE)).expect("a time is set");
    session.signal("CONT");
    manager.wait("WATCHDOG=1");
    session.stop().assert_code(143);
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    let sandbox = Sandbox::new();
    let mut manager = Manager::with_path(&sandbox);
    let mut session = watched_by(&manager, &sandbox, "1");
    session.wait_armed(1);
    session.stop().assert_code(143);
    // The first sign would have come at once.
    manager.wait("READY=1");
    manager.wait("STOPPING=1");
}

#[test]
fn the_command_does_not_find_the_socket_of_our_parent() {
    let sandbox = Sandbox::new();
    let manager = Manager::with_path(&sandbox);
    let print = "echo \"${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none}\"";
    let ended = manager.start(&sandbox, &["--on-exit", "exit", "--", "sh", "-c", print]).wait_end();
    assert_eq!(ended.stdout, "none none\n");
    // One of its own it may have.
    sandbox.write("variables", "NOTIFY_SOCKET=/of/mine\n");
    let own = ["--env-file", "variables", "--on-exit", "exit", "--", "sh", "-c", print];
    assert_eq!(manager.start(&sandbox, &own).wait_end().stdout, "/of/mine none\n");
}

#[test]
fn a_manager_that_cannot_be_told_or_does_not_read_costs_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    for address in ["/nobody/is/there", "vsock:2:1", "relative"] {
        let ended = sandbox
            .start_with(["-w", "app.txt", "--on-exit", "exit", "--", "true"], |command: &mut Command| {
                command.env("NOTIFY_SOCKET", address);
            })
            .wait_end();
        ended.assert_code(0);
        assert!(ended.stderr.contains(&format!("NOTIFY_SOCKET={address}: ")), "{}", ended.stderr);
    }
    // Its queue is full after some messages, and the rest of them is waited for by nobody.
    let mut manager = Manager::with_path(&sandbox);
    let mut session = manager.start(&sandbox, &["--", "sleep", "600"]);
    session.wait_armed(1);
    for generation in 2..30 {
        sandbox.write("app.txt", generation.to_string());
        session.wait_armed(generation);
    }
    // When it reads again, it learns the present state.
    manager.wait("READY=1");
    let mut last = manager.next();
    while !last.contains("generation 29 is running") {
        last = manager.next();
    }
    assert!(last.starts_with("READY=1\n"), "{last:?}");
    session.stop().assert_code(143);
}
