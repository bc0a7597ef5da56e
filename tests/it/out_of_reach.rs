//! Processes that a stop can miss: those that may not be signalled, those that only look like zombies, unreaped
//! zombies, and all processes on a system without pidfds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use super::ends::{left_out, wrapped};
use crate::support::namespace::is_root;
use crate::support::session::signal;
use crate::support::{Sandbox, Session};

const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// The uid of an ordinary user without a name.
const USER: u32 = 54_321;

/// A sandbox of that user, and a set-uid copy of the probe that runs as root; `None` if that is not possible here.
pub fn with_root_inside() -> Option<(Sandbox, String)> {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "one");
    let program = sandbox.beside().join("probe");
    fs::copy(PROBE, &program).expect("there is room");
    let mine = [sandbox.beside().to_owned(), sandbox.root().to_owned(), sandbox.runtime(), sandbox.path("app.txt")];
    let done = is_root()
        && mine.iter().all(|path| chown(path, Some(USER), None).is_ok())
        && fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).is_ok();
    let program = program.display().to_string();
    let tried = Command::new("setpriv").args(as_user()).args([&program, "rooted", "/nowhere/at/all"]).output().ok()?;
    let works = done && String::from_utf8_lossy(&tried.stderr).contains("cannot write");
    works.then_some((sandbox, program))
}

pub fn as_user() -> [String; 2] {
    [format!("--reuid={USER}"), "--clear-groups".to_owned()]
}

fn start_as_user(sandbox: &Sandbox, arguments: &[&str]) -> Session {
    let events = sandbox.events().display().to_string();
    let inner = sandbox.command(["--events", &events, "--stop-timeout", "1h"].iter().chain(arguments));
    let [user, groups] = as_user();
    Session::start(wrapped(&["setpriv", &user, &groups], &inner, sandbox), sandbox)
}

/// The pid that a probe wrote down, once it is there.
fn pid_in(session: &Session, path: &PathBuf) -> i32 {
    session.wait_until("the probe", || path.exists());
    fs::read_to_string(path).expect("it is whole").parse().expect("a pid")
}

#[test]
fn a_descendant_that_may_not_be_signalled_is_named_and_not_waited_for() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("processes out of reach: no set-uid program can run here");
    };
    for (shell, alone) in [
        // A descendant, one in another session, and the command itself.
        ("PROBE rooted ../it.$RELOADRUN_GENERATION & sleep 600; true", false),
        ("setsid PROBE rooted ../it.$RELOADRUN_GENERATION & sleep 600; true", false),
        ("sleep 600 & setsid sleep 600 & exec PROBE rooted ../it.$RELOADRUN_GENERATION", true),
    ] {
        let command = shell.replace("PROBE", &program);
        let file = |generation: u64| sandbox.beside().join(format!("it.{generation}"));
        // The grace period is an hour: if reloadrun waited for these processes, it would not end in time.
        let mut session = start_as_user(&sandbox, &["-w", "app.txt", "--", "sh", "-c", &command]);
        session.wait_armed(1);
        let first = pid_in(&session, &file(1));
        sandbox.write("app.txt", shell);
        let degraded = session.wait("degraded");
        assert_eq!(degraded["kind"], "out_of_reach", "{alone}");
        let message = degraded["message"].as_str().expect("a sentence").to_owned();
        for word in [format!("process {first} (probe, owned by root)"), format!("sudo kill {first}")] {
            assert!(message.contains(&word), "{alone}: {message}");
        }
        let started = session.wait_armed(2);
        assert!(started["stop_ms"].as_f64() < Some(10_000.0), "{started}");
        let second = pid_in(&session, &file(2));
        let ended = session.stop();
        ended.assert_code(143);
        assert_eq!(ended.count("degraded"), 2, "once for each: {ended:#?}");
        assert!(!ended.stderr.contains("blocked in the kernel"), "{ended:#?}");
        for (pid, generation) in [(first, 1), (second, 2)] {
            assert!(ended.stderr.contains(&format!("process {pid} (probe, owned by root)")), "{ended:#?}");
            fs::remove_file(file(generation)).expect("it lives on until then");
        }
    }
}

#[test]
fn a_process_out_of_reach_that_ends_with_the_others_is_not_reported() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("processes out of reach: no set-uid program can run here");
    };
    // As in `server | sudo tee log`.
    let command =
        format!("trap 'rm ../it; exit 0' TERM; {program} rooted ../it & echo >> ../up; while :; do sleep 0.01; done");
    let mut session = start_as_user(&sandbox, &["-w", "app.txt", "--", "sh", "-c", &command]);
    for generation in 1..=3 {
        session.wait_armed(generation);
        let pid = pid_in(&session, &sandbox.beside().join("it"));
        sandbox.write("app.txt", generation.to_string());
        session.wait("stopped");
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_change_signal_that_may_not_be_sent_is_reported() {
    let Some((sandbox, program)) = with_root_inside() else {
        return left_out("processes out of reach: no set-uid program can run here");
    };
    let mut session =
        start_as_user(&sandbox, &["--on-change", "signal:HUP", "-w", "app.txt", "--", &program, "rooted", "../it"]);
    session.wait_armed(1);
    let pid = pid_in(&session, &sandbox.beside().join("it"));
    sandbox.write("app.txt", "two");
    let message = session.wait("degraded")["message"].as_str().expect("a sentence").to_owned();
    assert!(message.starts_with("SIGHUP did not reach the command") && message.contains(&pid.to_string()), "{message}");
    session.stop().assert_code(143);
}

/// Whether a process is gone with all its threads.
fn is_gone(pid: i32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

#[test]
fn a_process_whose_main_thread_has_ended_is_ended_like_any_other() {
    for shell in [
        "PROBE headless ../it.$RELOADRUN_GENERATION & sleep 600",
        "setsid PROBE headless ../it.$RELOADRUN_GENERATION & sleep 600",
        "exec PROBE headless ../it.$RELOADRUN_GENERATION",
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        let command = shell.replace("PROBE", PROBE);
        let file = |generation: u64| sandbox.beside().join(format!("it.{generation}"));
        let mut session = sandbox.start(["--stop-timeout", "100ms", "-w", "app.txt", "--", "sh", "-c", &command]);
        session.wait_armed(1);
        let first = pid_in(&session, &file(1));
        sandbox.write("app.txt", "two");
        session.wait_armed(2);
        assert!(is_gone(first), "{shell}");
        let second = pid_in(&session, &file(2));
        signal(session.child_pid(), "KILL");
        session.wait_armed(3);
        assert!(is_gone(second), "{shell}");
        let third = pid_in(&session, &file(3));
        let ended = session.stop();
        ended.assert_code(143);
        assert!(is_gone(third), "{shell}");
        assert!(!ended.stderr.contains("left behind"), "{ended:#?}");
    }
}

/// A parent that adopts orphans but reaps only reloadrun itself, like a program that is not made to be init. It prints
/// how many zombies there were at the end.
const COLLECTS_NOBODY: &str = "import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
runs, how = int(sys.argv[1]), sys.argv[2]
for run in range(runs):
    one = subprocess.Popen(sys.argv[3:], stderr=subprocess.PIPE, text=True)
    if how == 'TERM':
        one.stderr.readline()
        one.send_signal(signal.SIGTERM)
    one.stderr.read()
    one.wait()
own = f'/proc/{os.getpid()}/task/{os.getpid()}/children'
print(len(open(own).read().split()))";

#[test]
fn no_zombie_is_left_under_a_parent_that_does_not_reap() {
    for (how, command) in [
        ("end", ["sh", "-c", "setsid sleep 600 & (sleep 600 &) ; exit 0"]),
        ("TERM", ["sh", "-c", "setsid sleep 600 & (sleep 600 &) ; sleep 600"]),
    ] {
        let sandbox = Sandbox::new();
        for number in 0..100 {
            sandbox.write(format!("{number}/app.txt"), "");
        }
        let on_exit = if how == "end" { "exit" } else { "wait" };
        let inner = sandbox.command(["--on-exit", on_exit, "-w", "*.txt", "--"].iter().chain(&command));
        let output = wrapped(&["python3", "-c", COLLECTS_NOBODY, "12", how], &inner, &sandbox).output();
        let output = output.expect("there is python3");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{how}: {output:?}");
    }
}

/// Starts a program under a seccomp filter that makes pidfd_open and pidfd_send_signal fail. Both have the same system
/// call number on every architecture.
const WITHOUT_PIDFDS: &str = "import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
numbers, error = (434, 424), int(sys.argv[1])
code = [(0x20, 0, 0, 0)]
for index, number in enumerate(numbers):
    code.append((0x15, len(numbers) - index, 0, number))
code += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050000 | error)]
program = b''.join(struct.pack('HBBI', *line) for line in code)
buffer = ctypes.create_string_buffer(program)
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
whole = Program(len(code), ctypes.addressof(buffer))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(whole), 0, 0):
    sys.exit('no filter is available')
try:
    os.pidfd_open(os.getpid())
    sys.exit('the filter does nothing')
except OSError as refused:
    assert refused.errno == error, refused
os.execv(sys.argv[2], sys.argv[2:])";

#[test]
fn without_pidfds_everything_is_ended_too() {
    // The errors of an old kernel, and of the filter of an old container runtime.
    for error in ["38", "1"] {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "one");
        let wrapper = ["python3", "-c", WITHOUT_PIDFDS, error];
        let version = wrapped(&wrapper, &sandbox.command(["--version"]), &sandbox).output().expect("there is python3");
        if !version.status.success() {
            return left_out(&format!("a system without pidfds: {}", String::from_utf8_lossy(&version.stderr)));
        }
        let command = format!("setsid {PROBE} headless ../it.$RELOADRUN_GENERATION & sleep 600");
        let events = sandbox.events().display().to_string();
        let arguments = ["--events", &events, "--stop-timeout", "100ms", "-w", "app.txt", "--", "sh", "-c", &command];
        let mut session = Session::start(wrapped(&wrapper, &sandbox.command(arguments), &sandbox), &sandbox);
        session.wait_armed(1);
        let first = pid_in(&session, &sandbox.beside().join("it.1"));
        sandbox.write("app.txt", "two");
        session.wait_armed(2);
        assert!(is_gone(first));
        let second = pid_in(&session, &sandbox.beside().join("it.2"));
        session.stop().assert_code(143);
        assert!(is_gone(second));
    }
}
