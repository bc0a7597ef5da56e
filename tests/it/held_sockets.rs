//! `--listen`: sockets that are bound once and held from generation to generation.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::ends::{left_out, pid_of, wrapped};
use crate::support::session::DEADLINE;
use crate::support::{Sandbox, Session, apps};

/// Says how the sockets came, once for each generation.
const SHOW: &str = "echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; \
                    for fd in 3 4 5 6; do readlink /proc/$$/fd/$fd; done; exec sleep 600";

/// Accepts one connection after another on the descriptor 3, and answers with its pid. On TERM it ends between two of them.
const ANSWER: &str = "
import os, select, signal, socket, sys
held = socket.socket(fileno=3)
busy = over = False
def end(*_):
    global over
    over = True
    if not busy: os._exit(0)
signal.signal(signal.SIGTERM, end)
while not over:
    select.select([held], [], [])
    busy = True
    one, _ = held.accept()
    one.sendall(str(os.getpid()).encode())
    one.close()
    busy = False
";

/// Who answers on this port.
fn answer(port: u16) -> i32 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens at any time");
    stream.set_read_timeout(Some(DEADLINE)).expect("a fresh socket");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and the end");
    text.parse().unwrap_or_else(|_| panic!("no pid: {text:?}"))
}

fn start(sandbox: &Sandbox, listens: &[&str], command: &[&str]) -> Session {
    sandbox.write("app.txt", "one");
    let listens = listens.iter().flat_map(|listen| ["--listen", listen]);
    sandbox.start(["-w", "app.txt"].into_iter().chain(listens).chain(["--"]).chain(command.iter().copied()))
}

#[test]
fn the_command_gets_the_same_sockets_from_3_up_in_every_generation_with_its_own_pid() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let tcp = format!("tcp:127.0.0.1:{port},name=web");
    let mut session = start(&sandbox, &[&tcp, "unix:app.sock", "tcp:127.0.0.1:0,name=admin"], &["sh", "-c", SHOW]);
    let mut sockets = None;
    for generation in 1..=3 {
        let pid = pid_of(&session.wait_armed(generation));
        session.wait_until("what came", || session.stdout().lines().count() == 4 * generation as usize);
        let stdout = session.stdout();
        let lines: Vec<&str> = stdout.lines().skip(4 * (generation as usize - 1)).collect();
        assert_eq!(lines[0], format!("{pid} {pid} 3 web:unknown:admin"), "{stdout}");
        assert!(lines[1..].iter().all(|line| line.starts_with("socket:[")), "nothing but these three: {stdout}");
        let now = lines[1..].join(" ");
        assert_eq!(*sockets.get_or_insert(now.clone()), now, "the same sockets");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_armed(4);
    let told: Vec<String> = session
        .events()
        .iter()
        .filter(|event| event["event"] == "listening")
        .map(|event| format!("{} {}", event["descriptor"], event["address"]))
        .collect();
    let unix = sandbox.path("app.sock");
    assert_eq!(told[..2], [format!("3 \"tcp:127.0.0.1:{port}\""), format!("4 \"unix:{}\"", unix.display())]);
    assert!(told[2].starts_with("5 \"tcp:127.0.0.1:") && !told[2].ends_with(":0\""), "the port is known: {told:?}");
    let ended = session.stop();
    ended.assert_code(143);
    let holding = format!("reloadrun: holding tcp:127.0.0.1:{port} for the command, as descriptor 3\n");
    assert!(ended.stderr.contains(&holding), "{ended:#?}");
    assert!(!unix.exists(), "the socket file is removed in the end");
    TcpListener::bind(("127.0.0.1", port)).expect("nobody listens in the end");
}

#[test]
fn nobody_is_refused_while_the_command_restarts() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let python = ["python3", "-c", ANSWER];
    let mut session = start(&sandbox, &[&format!("tcp:127.0.0.1:{port}")], &python);
    for generation in 1..=5 {
        let pid = pid_of(&session.wait_armed(generation));
        assert_eq!(answer(port), pid);
        sandbox.write("app.txt", generation.to_string());
        // Who comes now waits for the next one, or is answered by the last one.
        session.wait_where("stopping", |_| true);
        answer(port);
    }
    session.wait_armed(6);
    session.stop().assert_code(143);
}

#[test]
fn an_address_in_use_is_told_with_who_uses_it_before_anything_starts() {
    let sandbox = Sandbox::new();
    let other = "import socket, sys, time\nheld = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nprint('up', flush=True)\ntime.sleep(600)";
    let port = apps::free_port();
    let mut command = Command::new("python3");
    sandbox.furnish(&mut command);
    let mut other =
        command.args(["-c", other, &port.to_string()]).stdout(std::process::Stdio::piped()).spawn().expect("python");
    let mut up = [0; 3];
    other.stdout.as_mut().expect("piped").read_exact(&mut up).expect("it says so");
    for address in [format!("tcp:127.0.0.1:{port}"), format!("tcp:0.0.0.0:{port}"), format!("tcp:[::]:{port}")] {
        let ended = sandbox.start(["--listen", &address, "--", "touch", "started"]).wait_end();
        ended.assert_code(125);
        let expected = format!(
            "reloadrun: --listen {address}: port {port} is in use by process {} (python3); end it (kill ",
            other.id()
        );
        assert!(ended.stderr.starts_with(&expected), "{}", ended.stderr);
    }
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
    assert!(!sandbox.path("started").exists());

    let unix = UnixListener::bind(sandbox.path("app.sock")).expect("fresh");
    sandbox.write("plain", "");
    let (own, name) = (std::process::id(), fs::read_to_string("/proc/self/comm").expect("ours"));
    for (address, expected) in [
        ("unix:app.sock".to_owned(), format!("the socket is in use by process {own} ({})", name.trim())),
        ("unix:plain".to_owned(), "there is a file that is no socket".to_owned()),
        ("unix:missing/app.sock".to_owned(), format!("there is no directory {}", sandbox.path("missing").display())),
        ("tcp:192.0.2.1:80".to_owned(), "this machine does not have the address 192.0.2.1".to_owned()),
    ] {
        let ended = sandbox.start(["--listen", &address, "--", "touch", "started"]).wait_end();
        ended.assert_code(125);
        assert!(ended.stderr.contains(&expected), "{expected} in {}", ended.stderr);
    }
    drop(unix);
    assert!(sandbox.path("plain").exists(), "a file of the user's is never removed");
    let port = apps::free_port();
    let [one, all] = ["127.0.0.1", "0.0.0.0"].map(|ip| format!("tcp:{ip}:{port}"));
    let ended = sandbox.start(["--listen", &one, "--listen", &all, "--", "true"]).wait_end();
    ended.assert_code(125);
    assert!(ended.stderr.contains("the same connections would come to --listen tcp:127.0.0.1"), "{}", ended.stderr);
}

#[test]
fn a_socket_file_that_is_left_over_is_replaced_and_a_new_one_of_somebody_else_stays() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("app.sock");
    drop(UnixListener::bind(&path).expect("fresh"));
    // A process that another test forks at this moment has the socket until it executes its program.
    let deadline = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(&path).is_ok() {
        assert!(Instant::now() < deadline, "somebody still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(path.exists(), "it is left over");
    let mut session = start(&sandbox, &["unix:app.sock"], &["sleep", "600"]);
    session.wait_armed(1);
    UnixStream::connect(&path).expect("it is held").write_all(b"x").expect("it waits");
    // In the way of a removal at the end, which must not hit it.
    fs::remove_file(&path).expect("ours");
    let other = UnixListener::bind(&path).expect("free");
    session.stop().assert_code(143);
    UnixStream::connect(&path).expect("it is still there");
    drop(other);
    // Killed, reloadrun leaves the file, and the next one replaces it.
    fs::remove_file(&path).expect("ours");
    let mut session = start(&sandbox, &["unix:app.sock"], &["sleep", "600"]);
    session.wait_armed(1);
    session.signal("KILL");
    session.wait_end();
    assert!(path.exists());
    let mut session = start(&sandbox, &["unix:app.sock"], &["sleep", "600"]);
    session.wait_armed(1);
    session.stop().assert_code(143);
    assert!(!path.exists());
}

#[test]
fn a_socket_file_of_somebody_else_is_told_and_stays() {
    let sandbox = Sandbox::new();
    for path in [sandbox.beside(), &sandbox.runtime()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let probe = wrapped(&nobody, &sandbox.command(["--version"]), &sandbox).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return left_out("a socket file of somebody else: privileges cannot be dropped here");
    }
    let sticky = sandbox.path("sticky");
    fs::create_dir(&sticky).expect("fresh");
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).expect("ours");
    let path = sticky.join("app.sock");
    drop(UnixListener::bind(&path).expect("fresh"));
    let refused = |address: &str| {
        let inner = sandbox.command(["--listen", address, "--", "true"]);
        let output = wrapped(&nobody, &inner, &sandbox).output().expect("it starts");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    for (mode, expected) in [
        (
            0o755,
            "there is a socket of root (uid 0) already, and nobody is seen to listen at it; remove it if it is left over",
        ),
        (0o777, "a socket of root (uid 0) is left over there, and this user may not remove it; remove it yourself"),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let said = refused("unix:sticky/app.sock");
        assert!(said.contains(expected), "{mode:o}: {said}");
        assert!(path.exists());
    }
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o755)).expect("ours");
    let said = refused("unix:sticky/new.sock");
    assert!(said.contains(&format!("this user may not create a file in {}", sticky.display())), "{said}");
}

/// Listens at `full.sock`, accepts nobody, and has no room for one more.
const FULL: &str = "
import socket, time
held = socket.socket(socket.AF_UNIX)
held.bind('full.sock')
held.listen(0)
waiting = []
while True:
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect('full.sock')
    except BlockingIOError:
        break
    waiting.append(one)
print('up', flush=True)
time.sleep(600)
";

#[test]
fn a_socket_that_takes_no_more_connections_holds_nothing_up() {
    let sandbox = Sandbox::new();
    let mut command = Command::new("python3");
    sandbox.furnish(&mut command);
    let mut other = command.args(["-c", FULL]).stdout(std::process::Stdio::piped()).spawn().expect("python");
    other.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
    let ended = sandbox.start(["--listen", "unix:full.sock", "--", "touch", "started"]).wait_end();
    ended.assert_code(125);
    assert!(ended.stderr.contains("the socket is in use by a process that"), "{}", ended.stderr);
    assert!(!sandbox.path("started").exists());
    let options = ["--ready", "unix:full.sock", "--ready-timeout", "300ms", "--", "sleep", "600"];
    let mut session = sandbox.start(options);
    let late = session.wait_where("degraded", |seen| seen["kind"] == "not_ready");
    assert!(late["message"].as_str().is_some_and(|text| text.contains("full.sock takes no connections")), "{late}");
    session.stop().assert_code(143);
    let ended = sandbox.start(["--ready", "unix:full.sock", "--smoke", "true", "--", "sleep", "600"]).wait_end();
    assert!(ended.stderr.contains("somebody answers at"), "{}", ended.stderr);
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
}

#[test]
fn of_two_sockets_of_one_file_name_the_one_that_is_in_the_way_is_blamed() {
    let sandbox = Sandbox::new();
    for directory in ["elsewhere", "later"] {
        fs::create_dir(sandbox.path(directory)).expect("fresh");
    }
    let bind = |directory: &str| {
        let script = "import socket, sys, time\nheld = socket.socket(socket.AF_UNIX)\nheld.bind(sys.argv[1])\nheld.listen()\nprint('up', flush=True)\ntime.sleep(600)";
        let mut command = Command::new("python3");
        sandbox.furnish(&mut command);
        command.current_dir(sandbox.path(directory)).args(["-c", script, "./twin.sock"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("python");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
        child
    };
    // Whichever comes first in /proc.
    let mut others = [bind("elsewhere"), bind("."), bind("later")];
    let ended = sandbox.start(["--listen", "unix:twin.sock", "--", "true"]).wait_end();
    ended.assert_code(125);
    let expected = format!("the socket is in use by process {} (python3)", others[1].id());
    assert!(ended.stderr.contains(&expected), "{expected} in {}", ended.stderr);
    for other in &mut others {
        other.kill().expect("it is ours");
        other.wait().expect("it is ours");
    }
}

#[test]
fn a_descriptor_of_the_caller_in_the_place_of_a_socket_is_wrong_use() {
    let sandbox = Sandbox::new();
    sandbox.write("given", "");
    let run = |open: &str, listens: &[&str]| {
        let inner = sandbox.command(["--on-exit", "exit"].iter().chain(listens).chain(&["--", "true"]));
        let output = wrapped(&["sh", "-c", &format!("exec {open}; exec \"$@\""), "sh"], &inner, &sandbox).output();
        let output = output.expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let two = ["--listen", "tcp:127.0.0.1:0", "--listen", "unix:a.sock"];
    let (code, said) = run("4<given", &two);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("descriptor 4 was handed over") && said.contains("needs the descriptors 3 to 4"), "{said}");
    let (code, said) = run("3>events", &["--events", "fd:3", "--listen", "tcp:127.0.0.1:0"]);
    assert_eq!((code, said.contains("--listen needs the descriptors 3;")), (Some(2), true), "{said}");
    assert_eq!(run("5<given", &two).0, Some(0), "5 is free to use");
    assert!(!sandbox.path("a.sock").exists());
}

#[test]
fn a_config_file_that_names_other_sockets_is_told_and_the_old_ones_stay() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let config =
        |listen: &str| format!("watch = 'app.txt'\nlisten = {listen}\ncommand = ['python3', '-c', '''{ANSWER}''']\n");
    sandbox.write("app.txt", "one");
    sandbox.write("reloadrun.toml", config(&format!("'tcp:127.0.0.1:{port}'")));
    let mut session = sandbox.start::<&str>([]);
    session.wait_armed(1);
    sandbox.write("reloadrun.toml", config("['unix:other.sock']"));
    let hint = session.wait("hint")["message"].to_string();
    assert!(hint.contains("listen was changed; the sockets stay"), "{hint}");
    let pid = pid_of(&session.wait_armed(2));
    assert_eq!(answer(port), pid);
    // The same as before, with a name more.
    sandbox.write("reloadrun.toml", config(&format!("['tcp:127.0.0.1:{port}']")));
    session.wait_armed(3);
    let ended = session.stop();
    assert_eq!(ended.count("hint"), 1, "{ended:#?}");
}

#[test]
fn other_addresses_of_an_activation_from_outside_do_not_reach_the_command() {
    let sandbox = Sandbox::new();
    let command = ["sh", "-c", "echo $LISTEN_FDS $LISTEN_FDNAMES ${LISTEN_PIDFDID-none}; test $LISTEN_PID = $$"];
    let inner =
        sandbox.command(["-q", "--on-exit", "exit", "--listen", "tcp:127.0.0.1:0", "--"].iter().chain(&command));
    let outer = ["env", "LISTEN_FDS=7", "LISTEN_FDNAMES=x", "LISTEN_PID=1", "LISTEN_PIDFDID=5"];
    let output = wrapped(&outer, &inner, &sandbox).output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 unknown none\n", "{output:?}");
    assert!(output.status.success());
}

#[test]
fn a_shell_that_stays_before_the_server_is_told_and_exec_puts_the_server_in_its_place() {
    let sandbox = Sandbox::new();
    let own = "sh -c 'echo $LISTEN_PID = $$; test $LISTEN_PID = $$'";
    for (line, hints, code) in [(format!("true; {own}; exit $?"), 1, 1), (format!("true; exec {own}"), 0, 0)] {
        let words = ["--on-exit", "exit", "--listen", "tcp:127.0.0.1:0", "--", "sh", "-c", &line];
        let ended = sandbox.start(words).wait_end();
        ended.assert_code(code);
        assert_eq!(ended.count("hint"), hints, "{ended:#?}");
    }
}
