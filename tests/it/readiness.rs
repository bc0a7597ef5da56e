//! `--ready`: when the command is ready, and that only its own answer counts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ends::{pid_of, wrapped};
use crate::support::{Sandbox, Session, apps};

fn start(sandbox: &Sandbox, options: &[&str], command: &[&str]) -> Session {
    sandbox.write("app.txt", "one");
    sandbox.start(["-w", "app.txt"].iter().chain(options).chain(&["--"]).chain(command))
}

fn python(script: &str) -> [&str; 3] {
    ["python3", "-c", script]
}

/// So long after its start the command was ready, milliseconds.
fn after(ready: &Value) -> f64 {
    ready["after_ms"].as_f64().expect("a number")
}

/// Listens, says when, and answers every request with 503 until `ok` exists.
const SERVER: &str = "
import http.server, os, socket, sys, time
address, port, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ':' in address else socket.AF_INET
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print('asked', self.path, self.headers['Host'], flush=True)
        self.send_response(200 if os.path.exists('ok') or self.path == '/good' else 503)
        self.end_headers()
    def log_message(self, *_): pass
time.sleep(pause)
server = Server((address, port), Handler)
print('listens', time.clock_gettime_ns(time.CLOCK_MONOTONIC), flush=True)
server.serve_forever()
";

fn server<'a>(address: &'a str, port: &'a str, pause: &'a str) -> [&'a str; 6] {
    ["python3", "-c", SERVER, address, port, pause]
}

/// A process that is none of ours, on a port.
struct Stranger(Child);

impl Stranger {
    fn on(sandbox: &Sandbox, port: u16) -> Stranger {
        let script = format!(
            "import socket, time\nheld = socket.create_server(('127.0.0.1', {port}))\nprint('up', flush=True)\ntime.sleep(600)"
        );
        let mut command = Command::new("python3");
        sandbox.furnish(&mut command);
        let mut child = command.args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("python");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
        Stranger(child)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_is_ready_soon_after_it_listens_in_every_generation_and_the_time_is_told() {
    let sandbox = Sandbox::new();
    let port = apps::free_port().to_string();
    let probe = format!("tcp:localhost:{port}");
    let mut session = start(&sandbox, &["--ready", &probe], &server("127.0.0.1", &port, "0.3"));
    for generation in 1..=3 {
        session.wait_started(generation);
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation, "{}", session.account());
        assert!(after(&ready) >= 300.0, "{ready}");
        session.wait_until("its word", || session.stdout().matches("listens").count() == generation as usize);
        let stdout = session.stdout();
        let listens: u64 = stdout
            .lines()
            .filter(|line| line.starts_with("listens"))
            .nth(generation as usize - 1)
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let gap = ready["monotonic_ns"].as_u64().unwrap().saturating_sub(listens);
        // 20 ms where the machine has nothing else to do.
        assert!(gap < 5_000_000_000, "ready was told {gap} ns after the listen");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(4);
    let ended = session.stop();
    assert!(ended.stderr.contains("reloadrun: ready after "), "{ended:#?}");
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_request_must_be_answered_with_2xx_or_3xx() {
    let sandbox = Sandbox::new();
    let port = apps::free_port().to_string();
    let probe = format!("http://localhost:{port}/health?x=1");
    let options = ["--ready", &probe, "--ready-timeout", "6s"];
    let mut session = start(&sandbox, &options, &server("127.0.0.1", &port, "0"));
    let late = session.wait("degraded");
    assert_eq!(late["kind"], "not_ready", "{late}");
    let expected =
        format!("not ready after 6s: http://localhost:{port}/health?x=1 answers with 503; the command runs on");
    assert_eq!(late["message"], expected);
    let asked = format!("asked /health?x=1 localhost:{port}");
    let so_far = session.stdout().matches(&asked).count();
    assert!((2..=14).contains(&so_far), "an answer is not asked for all the time: {so_far}");
    sandbox.write("ok", "");
    let ready = session.wait("ready");
    assert!(after(&ready) >= 6000.0, "also later: {ready}");
    session.stop().assert_code(143);
}

#[test]
fn a_server_on_the_other_address_of_localhost_is_found() {
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::ends::left_out("::1: there is no IPv6 here");
    }
    let sandbox = Sandbox::new();
    let port = apps::free_port().to_string();
    let probe = format!("http://localhost:{port}/good");
    let mut session = start(&sandbox, &["--ready", &probe], &server("::1", &port, "0"));
    session.wait("ready");
    session.stop().assert_code(143);
}

#[test]
fn a_stranger_on_the_port_is_told_with_its_pid_and_never_makes_ready() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let stranger = Stranger::on(&sandbox, port);
    let place = format!("127.0.0.1:{port}");
    for probe in [format!("tcp:localhost:{port}"), format!("http://127.0.0.1:{port}/")] {
        let options = ["--ready", &probe, "--ready-timeout", "1s"];
        let mut session = start(&sandbox, &options, &["sleep", "600"]);
        let told = session.wait("degraded");
        assert_eq!(told["kind"], "answered_by_other");
        let pid = stranger.0.id();
        let expected =
            format!("{place} answers, but it is process {pid} (python3), not ours; the command is not ready by that");
        assert_eq!(told["message"], expected);
        let late = session.wait("degraded");
        assert_eq!(late["kind"], "not_ready");
        assert_eq!(
            late["message"],
            format!(
                "not ready after 1s: {place} answers, but it is process {pid} (python3), not ours; the command runs on"
            )
        );
        let ended = session.stop();
        assert_eq!((ended.count("ready"), ended.count("degraded")), (0, 2), "{ended:#?}");
    }
}

#[test]
fn a_stranger_who_takes_the_port_between_two_generations_is_told() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    // The server ends with the first generation, and the second one is none.
    let script = format!(
        "[ $RELOADRUN_GENERATION = 1 ] || exec sleep 600; exec python3 -c '{}' 127.0.0.1 {port} 0",
        SERVER.replace('\'', "\"")
    );
    let probe = format!("tcp:127.0.0.1:{port}");
    let mut session = start(&sandbox, &["--ready", &probe], &["sh", "-c", &script]);
    session.wait("ready");
    let waiting = std::thread::spawn(move || {
        // SO_REUSEADDR is std's: as soon as nobody listens any more.
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return listener;
            }
            assert!(Instant::now() < until, "the port does not become free");
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    let told = session.wait("degraded")["message"].to_string();
    let own = std::process::id();
    assert!(told.contains(&format!("answers, but it is process {own} (")), "{told}");
    drop(waiting.join().expect("it got it"));
    let ended = session.stop();
    assert_eq!(ended.count("ready"), 1, "of the first generation: {ended:#?}");
}

#[test]
fn a_held_socket_is_ready_when_the_command_answers_on_it() {
    let sandbox = Sandbox::new();
    let script = "
import os, socket, time
held = socket.socket(fileno=3)
time.sleep(0.3)
while True:
    one, _ = held.accept()
    one.recv(9999)
    one.sendall(b'HTTP/1.1 204 No Content\\r\\n\\r\\n')
    one.close()
";
    let port = apps::free_port();
    let (listen, probe) = (format!("tcp:127.0.0.1:{port}"), format!("http://127.0.0.1:{port}/"));
    let mut session = start(&sandbox, &["--listen", &listen, "--ready", &probe], &python(script));
    for generation in 1..=2 {
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation);
        assert!(after(&ready) >= 300.0, "a connection alone is no answer: {ready}");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(3);
    let ended = session.stop();
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_command_that_sends_ready_is_ready_and_what_it_is_doing_is_shown() {
    let sandbox = Sandbox::new();
    let script = "
import array, os, socket, time
to = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
one.sendto(b'STATUS=loading \\x1b[31mthe model\\nMAINPID=1', to)
time.sleep(0.7)
one.sendto(b'STATUS=almost', to)
time.sleep(0.7)
one.sendto(b'READY=1', to)
reader, writer = os.pipe()
one.sendmsg([b'BARRIER=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [writer]))], 0, to)
os.close(writer)
print('barrier', os.read(reader, 1), flush=True)
for _ in range(100): one.sendto(b'WATCHDOG=1\\nSTATUS=serving', to)
print('all sent', flush=True)
time.sleep(600)
";
    let mut session = start(&sandbox, &["--ready", "notify"], &python(script));
    for generation in 1..=2 {
        assert_eq!(session.wait("status")["message"], "loading \u{1b}[31mthe model");
        assert_eq!(session.wait("status")["message"], "almost");
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation);
        assert!(after(&ready) >= 1400.0, "{ready}");
        session.wait_until("the barrier", || {
            session.stdout().matches("barrier b''\nall sent").count() == generation as usize
        });
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(3);
    let ended = session.stop();
    assert!(ended.stderr.contains("the command says: loading \\u{1b}[31mthe model"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("says: serving"), "{}", ended.stderr);
}

#[test]
fn a_server_at_another_address_than_the_probe_is_told_with_where_it_listens() {
    let sandbox = Sandbox::new();
    let wanted = apps::free_port();
    let probe = format!("http://127.0.0.1:{wanted}/");
    let script = "import socket, time\nheld = socket.create_server(('::1', 0), family=socket.AF_INET6)\nprint(held.getsockname()[1], flush=True)\ntime.sleep(600)";
    // In that time it must be up.
    let mut session = start(&sandbox, &["--ready", &probe, "--ready-timeout", "8s"], &python(script));
    let late = session.wait("degraded");
    let port = session.stdout().trim().to_owned();
    let expected = format!(
        "not ready after 8s: nothing listens on 127.0.0.1:{wanted}; the command listens on [::1]:{port}; the command runs on"
    );
    assert_eq!(late["message"], expected);
    session.stop().assert_code(143);
}

#[test]
fn a_newline_on_a_descriptor_is_ready_and_its_end_without_one_is_not() {
    let sandbox = Sandbox::new();
    let script = "sleep 0.3; printf 'almost' >&9; sleep 0.3; echo >&9; exec 9>&-; exec sleep 600";
    let mut session = start(&sandbox, &["--ready", "fd:9"], &["sh", "-c", script]);
    for generation in 1..=3 {
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation);
        // The child looks at the clock a moment after the command has started.
        assert!(after(&ready) >= 500.0, "{ready}");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(4);
    session.stop().assert_code(143);
    // Each worker of a server may write one.
    let script = "echo >&9; while [ ! -e went ]; do sleep 0.01; done; echo >&9; echo >&9; echo alive; exec sleep 600";
    let mut session = start(&sandbox, &["--ready", "fd:9"], &["sh", "-c", script]);
    session.wait("ready");
    sandbox.write("went", "");
    session.wait_until("the second newline", || session.stdout() == "alive\n");
    assert_eq!(session.stop().count("ready"), 1);
    let options = ["--ready", "fd:4", "--ready-timeout", "300ms"];
    let mut session = start(&sandbox, &options, &["sh", "-c", "exec 4>&-; exec sleep 600"]);
    let late = session.wait("degraded")["message"].to_string();
    assert!(late.contains("not ready after 300ms: the command has written no newline to descriptor 4"), "{late}");
    session.stop().assert_code(143);
    // One that the caller has opened is none to be given.
    sandbox.write("given", "");
    let inner = sandbox.command(["--ready", "fd:9", "--", "true"]);
    let output =
        wrapped(&["sh", "-c", "exec 9<given; exec \"$@\"", "sh"], &inner, &sandbox).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_command_for_the_probe_runs_until_it_succeeds_and_knows_whom_it_is_about() {
    let sandbox = Sandbox::new();
    let line = "echo noise; echo $RELOADRUN_GENERATION $RELOADRUN_PID >> probed; test -e ready.$RELOADRUN_GENERATION";
    let command = ["sh", "-c", "rm -f probed; sleep 0.3; > ready.$RELOADRUN_GENERATION; exec sleep 600"];
    let mut session = start(&sandbox, &["--ready", &format!("exec:{line}")], &command);
    for generation in 1..=2 {
        let pid = pid_of(&session.wait_started(generation));
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation);
        assert!(after(&ready) >= 300.0, "{ready}");
        let probed = sandbox.read("probed");
        assert!(probed.lines().all(|line| line == format!("{generation} {pid}")), "{probed}");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(3);
    let ended = session.stop();
    assert_eq!((ended.stdout.as_str(), ended.count("hint")), ("", 0), "{ended:#?}");
}

#[test]
fn a_probe_that_hangs_does_not_outlive_the_command_or_hold_up_its_stop() {
    let sandbox = Sandbox::new();
    let options = ["--ready", "exec:trap '' TERM; sleep 600", "--stop-timeout", "1h"];
    let mut session = start(&sandbox, &options, &["sleep", "600"]);
    session.wait_armed(1);
    sandbox.write("app.txt", "two");
    assert_eq!(session.wait("stopped")["killed"], false);
    session.wait_started(2);
    session.stop().assert_code(143);
    let ended = sandbox
        .start([&options[..2], &["--on-exit", "exit", "--", "sh", "-c", "sleep 0.3; exit 7"]].concat())
        .wait_end();
    ended.assert_code(7);
    assert_eq!((ended.count("ready"), ended.count("hint")), (0, 0), "{ended:#?}");
}

#[test]
fn a_socket_whose_owner_cannot_be_told_counts_if_nobody_answered_before_the_start() {
    // A server in a network namespace of its own cannot be reached; one without /proc/net/tcp entry is played by a listener
    // that hides in another mount of /proc: root's, for a user. What stays is the name of a known proxy.
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let proxy = format!(
        "import socket, time, ctypes\nctypes.CDLL(None).prctl(15, b'docker-proxy')\ntime.sleep(DELAY)\nheld = socket.create_server(('127.0.0.1', {port}))\nprint('up', flush=True)\ntime.sleep(600)"
    );
    let begin = |delay: &str| {
        let mut command = Command::new("python3");
        sandbox.furnish(&mut command);
        let child =
            command.args(["-c", &proxy.replace("DELAY", delay)]).stdout(Stdio::piped()).spawn().expect("python");
        Stranger(child)
    };
    let probe = format!("tcp:127.0.0.1:{port}");
    let mut early = begin("0");
    early.0.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
    let mut session = start(&sandbox, &["--ready", &probe, "--ready-timeout", "500ms"], &["sleep", "600"]);
    let told = session.wait("degraded");
    assert_eq!(told["kind"], "owner_unknown");
    assert!(told["message"].to_string().contains("docker-proxy listens there for somebody else"), "{told}");
    assert_eq!(session.wait("degraded")["kind"], "not_ready");
    let ended = session.stop();
    assert_eq!(ended.count("ready"), 0, "{ended:#?}");
    drop(early);
    let mut session = start(&sandbox, &["--ready", &probe], &["sleep", "600"]);
    session.wait_started(1);
    let late = begin("0.3");
    let told = session.wait("degraded");
    assert!(told["message"].to_string().contains("it is taken for the command's, because nothing answered"), "{told}");
    session.wait("ready");
    let ended = session.stop();
    assert_eq!((ended.count("ready"), ended.count("degraded")), (1, 1), "{ended:#?}");
    drop(late);
}

#[test]
fn a_unix_socket_of_the_command_is_ready_whatever_path_it_was_bound_by() {
    let sandbox = Sandbox::new();
    let script = "
import os, socket, time
if os.path.exists('run.sock'): os.unlink('run.sock')
one = socket.socket(socket.AF_UNIX)
one.bind('./run.sock')
time.sleep(0.3)
one.listen()
time.sleep(600)
";
    let mut session = start(&sandbox, &["--ready", "unix:run.sock"], &python(script));
    for generation in 1..=2 {
        let ready = session.wait("ready");
        assert_eq!(ready["generation"], generation);
        assert!(after(&ready) >= 300.0, "{ready}");
        sandbox.write("app.txt", generation.to_string());
    }
    session.wait_started(3);
    session.stop().assert_code(143);
}

#[test]
fn a_message_of_another_kind_of_sender_does_no_harm() {
    // The descriptors of a flood are closed, and a message that is none is left alone.
    let sandbox = Sandbox::new();
    let script = "
import array, os, socket, time
to = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
null = os.open('/dev/null', os.O_RDONLY)
for _ in range(20):
    one.sendmsg([b'FDSTORE=1'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [null] * 200))], 0, to)
one.sendto(b'', to)
one.sendto(b'\\xff\\xfe=1', to)
one.sendto(b'X=' + b'y' * 100000, to)
child = os.getppid()
print('open', len(os.listdir('/proc/%d/fd' % child)), flush=True)
one.sendto(b'READY=1', to)
time.sleep(600)
";
    let mut session = start(&sandbox, &["--ready", "notify"], &python(script));
    session.wait("ready");
    session.wait_until("its word", || session.stdout().contains("open"));
    let stdout = session.stdout();
    let open: usize = stdout.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(open < 250, "{open}: at most those of a message that is just being read");
    session.stop().assert_code(143);
}

#[test]
fn a_probe_makes_no_connection_that_nobody_closes() {
    let sandbox = Sandbox::new();
    let port = apps::free_port();
    let script = format!(
        "import socket, time\nheld = socket.create_server(('127.0.0.1', {port}))\none, _ = held.accept()\nprint('end', one.recv(1), flush=True)\nheld.settimeout(1)\ntry: held.accept(); print('again', flush=True)\nexcept TimeoutError: print('once', flush=True)\ntime.sleep(600)"
    );
    let mut session = start(&sandbox, &["--ready", &format!("tcp:127.0.0.1:{port}")], &python(&script));
    session.wait("ready");
    session.wait_until("its word", || session.stdout() == "end b''\nonce\n");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| stream.write_all(b"x").is_ok()));
    session.stop().assert_code(143);
}

/// Listens at `tmp.sock` in this directory, which gets its real name after that.
const RENAMED: &str = "
import os, socket, sys, time
os.chdir(sys.argv[1])
one = socket.socket(socket.AF_UNIX); one.bind('tmp.sock'); one.listen(9)
os.rename('tmp.sock', 'app.sock')
print('up', flush=True)
time.sleep(600)
";

#[test]
fn a_stranger_at_a_unix_socket_is_told_whatever_its_name_and_ours_is_ready_without_a_word() {
    let sandbox = Sandbox::new();
    sandbox.write("a/x", "");
    sandbox.write("b/x", "");
    let mut command = Command::new("python3");
    sandbox.furnish(&mut command);
    let mut child = command.args(["-c", RENAMED, "a"]).stdout(Stdio::piped()).spawn().expect("python");
    child.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
    let stranger = Stranger(child);
    let ours = ["python3", "-c", RENAMED, "b"];
    let mut session = start(&sandbox, &["--ready", "unix:a/app.sock", "--ready-timeout", "500ms"], &ours);
    let told = session.wait("degraded");
    assert_eq!(told["kind"], "answered_by_other", "{told}");
    assert!(told["message"].to_string().contains(&format!("process {} (python3)", stranger.0.id())), "{told}");
    assert_eq!(session.wait("degraded")["kind"], "not_ready");
    let ended = session.stop();
    assert_eq!(ended.count("ready"), 0, "{ended:#?}");
    let mut session = start(&sandbox, &["--ready", "unix:b/app.sock"], &ours);
    session.wait("ready");
    let ended = session.stop();
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_child_that_was_forked_during_an_attempt_is_of_the_tree() {
    if TcpListener::bind("[::1]:0").is_err() {
        return crate::ends::left_out("::1: there is no IPv6 here");
    }
    let sandbox = Sandbox::new();
    let port = apps::free_port().to_string();
    // The first address answers slowly and badly. Meanwhile a child begins to listen at the second one.
    let script = "
import os, socket, sys, time
four = socket.create_server(('127.0.0.1', int(sys.argv[1])))
def answer(one, how):
    c, _ = one.accept(); c.recv(4096); how(); return c
def fork():
    if os.fork() == 0:
        six = socket.create_server(('::1', int(sys.argv[1])), family=socket.AF_INET6)
        open('listens', 'w').close()
        while True:
            answer(six, lambda: None).sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')
    while not os.path.exists('listens'): time.sleep(0.01)
answer(four, fork).sendall(b'HTTP/1.1 503 x\\r\\n\\r\\n')
time.sleep(600)
";
    let probe = format!("http://localhost:{port}/");
    let mut session = start(&sandbox, &["--ready", &probe], &["python3", "-c", script, &port]);
    session.wait("ready");
    let ended = session.stop();
    assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
}

#[test]
fn a_server_that_does_not_answer_is_told_in_time() {
    let sandbox = Sandbox::new();
    let port = apps::free_port().to_string();
    let script =
        "import socket, sys, time\none = socket.create_server(('127.0.0.1', int(sys.argv[1])))\ntime.sleep(600)";
    let probe = format!("http://127.0.0.1:{port}/");
    let options = ["--ready", &probe, "--ready-timeout", "1s"];
    let mut session = start(&sandbox, &options, &["python3", "-c", script, &port]);
    let started = session.wait("started")["monotonic_ns"].as_u64().expect("a number");
    let told = session.wait("degraded");
    assert_eq!(told["kind"], "not_ready");
    assert!(told["message"].to_string().contains("takes the request and does not answer within"), "{told}");
    let late = told["monotonic_ns"].as_u64().expect("a number") - started;
    assert!(late < 4_500_000_000, "told {late} ns after the start");
    session.stop().assert_code(143);
}
