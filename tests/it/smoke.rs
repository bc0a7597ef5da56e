//! Smoke runs (`--smoke`, `reloadrun ci`): what becomes of a server in CI is the exit code, and nothing is green by accident.
//!
//! Where it says `naive`, the wrapper that everybody writes first is wrong in the same case, and the test shows how.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ends::{SIGNALS, left_out, wrapped};
use super::terminal::AT_ITS_TERMINAL;
use crate::support::session::{Ended, is_alive, signal};
use crate::support::terminal::Terminal;
use crate::support::{Sandbox, Session, apps};

/// A server with a fault, by its first argument.
const SERVER: &str = r#"
import http.server, os, signal, socket, subprocess, sys, threading, time
mode, port = sys.argv[1], int(sys.argv[2])
host = '::1' if mode == 'six' else '127.0.0.1'
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ':' in host else socket.AF_INET
    daemon_threads = True
    def server_bind(self):
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = host, self.socket.getsockname()[1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = int(mode) if mode.isdigit() else 200
        self.send_response(code)
        if code == 302: self.send_header('Location', '/elsewhere')
        if code != 304: self.send_header('Content-Length', '0')
        self.end_headers()
        self.wfile.flush()
        if mode == 'once' or self.path == '/die':
            os._exit(9)
        if mode == 'gone':
            threading.Thread(target=leave).start()
    def log_message(self, *_): pass
def leave():
    server.shutdown()
    server.server_close()
if mode == 'stubborn':
    for ignored in (signal.SIGINT, signal.SIGTERM): signal.signal(ignored, signal.SIG_IGN)
if mode == 'family':
    sleepers = [subprocess.Popen(['sleep', '1000'], start_new_session=True) for _ in range(2)]
    open('family', 'w').write(' '.join(str(one.pid) for one in sleepers))
if mode == 'early':
    os._exit(9)
if mode == 'liar':
    print('listening', flush=True)
    while not os.path.exists('bind'): time.sleep(0.01)
open('pid', 'w').write(str(os.getpid()))
server = Server((host, port), Handler)
print('really listening', flush=True)
open('listens', 'w').close()
if mode == 'chosen':
    os.write(3, b'\n')
server.serve_forever()
time.sleep(1000)
"#;

/// Exits with 0 if anybody answers there.
const GET: &str = r#"
import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen('http://%s:%s%s' % (sys.argv[1], sys.argv[2], (sys.argv[3:] or ['/'])[0]), timeout=5)
except urllib.error.HTTPError: pass
except Exception as error: sys.exit(str(error))
"#;

/// The wrapper that everybody writes first: the port, the check, the server.
const NAIVE: &str = r#"
port=$1 check=$2; shift 2
"$@" &
server=$!
until python3 get.py 127.0.0.1 "$port" 2>/dev/null; do sleep 0.05; done
sh -c "$check"
code=$?
kill $server
exit $code
"#;

/// A sandbox with the server.
struct Place {
    sandbox: Sandbox,
    port: String,
}

impl Place {
    fn new() -> Place {
        let sandbox = Sandbox::new();
        fs::write(sandbox.path("server.py"), SERVER).expect("it can be written");
        fs::write(sandbox.path("get.py"), GET).expect("it can be written");
        fs::write(sandbox.path("naive.sh"), NAIVE).expect("it can be written");
        sandbox.write("app.txt", "one");
        Place { sandbox, port: apps::free_port().to_string() }
    }

    fn probe(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }

    fn server<'a>(&'a self, mode: &'a str) -> [&'a str; 4] {
        ["python3", "server.py", mode, &self.port]
    }

    /// A check that makes a request.
    fn asks(&self) -> String {
        format!("python3 get.py 127.0.0.1 {}", self.port)
    }

    fn start(&self, options: &[&str], check: &str, server: &[&str]) -> Session {
        let probe = self.probe();
        let words = ["-w", "app.txt", "--ready", &probe, "--smoke", check].into_iter();
        self.sandbox.start(words.chain(options.iter().copied()).chain(["--"]).chain(server.iter().copied()))
    }

    fn run(&self, options: &[&str], check: &str, server: &[&str]) -> Ended {
        self.start(options, check, server).wait_end()
    }

    /// Whether somebody answers at the port.
    fn answers(&self) -> bool {
        let port: u16 = self.port.parse().expect("a port");
        TcpStream::connect(("127.0.0.1", port)).is_ok() || TcpStream::connect(("::1", port)).is_ok()
    }

    fn assert_nothing_is_left(&self) {
        assert!(!self.answers(), "somebody still listens");
        for file in ["pid", "family", "check"] {
            for pid in self.pids(file) {
                assert!(!is_alive(pid), "{pid} of {file} is still there");
            }
        }
    }

    fn pids(&self, file: &str) -> Vec<i32> {
        let text = fs::read_to_string(self.sandbox.path(file)).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// What the naive wrapper makes of it within this time: its exit code, or nothing.
    fn naive(&self, check: &str, server: &[&str], limit: Duration) -> Naive {
        let mut command = Command::new("sh");
        self.sandbox.furnish(&mut command);
        command.args(["naive.sh", &self.port, check]).args(server).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh");
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return Naive { code: status.code(), child };
            }
            if Instant::now() >= until {
                return Naive { code: None, child };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The naive wrapper, and whatever it leaves, which is killed in the end.
struct Naive {
    code: Option<i32>,
    child: Child,
}

impl Drop for Naive {
    fn drop(&mut self) {
        let _ =
            Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// So long something hangs that hangs for ever.
const HANGS: Duration = Duration::from_secs(2);
/// What does not hang ends within this time.
const ENDS: Duration = Duration::from_secs(60);

fn judged(ended: &Ended) -> &Value {
    let judged = ended.events.iter().find(|event| event["event"] == "judged");
    judged.unwrap_or_else(|| panic!("nothing was judged: {ended:#?}"))
}

fn assert_failed(ended: &Ended, code: i32, reason: &str) {
    ended.assert_code(code);
    let judged = judged(ended);
    assert_eq!((&judged["passed"], &judged["reason"]), (&Value::Bool(false), &Value::from(reason)), "{ended:#?}");
    assert!(ended.stderr.contains(&format!("reloadrun: failed ({reason}): ")), "{ended:#?}");
    let last = ended.events.last().expect("there are events");
    assert_eq!((&last["event"], &last["code"]), (&Value::from("finished"), &Value::from(code)));
}

fn assert_passed(ended: &Ended) {
    ended.assert_code(0);
    assert_eq!(judged(ended)["passed"], true, "{ended:#?}");
    assert_eq!(ended.events.last().expect("there are events")["code"], 0);
}

fn message(ended: &Ended) -> &str {
    judged(ended)["message"].as_str().expect("a message")
}

/// A process of nobody's run; killed in the end.
struct Stranger(Child);

impl Stranger {
    fn run(place: &Place, script: &str) -> Stranger {
        let mut command = Command::new("python3");
        place.sandbox.furnish(&mut command);
        command.env_remove("RELOADRUN_LOCKFILE");
        Stranger(command.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python"))
    }

    fn wait_for_a_word(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it says something");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every connection at this port, as soon as it is free there.
fn answerer(port: &str) -> String {
    format!(
        "import socket, time\nwhile True:\n    try: one = socket.create_server(('127.0.0.1', {port})); break\n    except OSError: time.sleep(0.001)\nprint('up', flush=True)\nwhile True:\n    c, _ = one.accept(); c.recv(1000); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n'); c.close()"
    )
}

#[test]
fn a_check_that_succeeds_is_green_with_the_address_in_its_environment_and_nothing_is_left() {
    let place = Place::new();
    let check = "printenv RELOADRUN_URL RELOADRUN_ADDRESS RELOADRUN_GENERATION; python3 get.py 127.0.0.1 ${RELOADRUN_ADDRESS##*:} && ! read x && test -z \"$RELOADRUN_LOCKFILE$RELOADRUN_CONTROL\"";
    let ended = place.run(&[], check, &place.server("plain"));
    assert_passed(&ended);
    let port = &place.port;
    assert!(ended.stdout.contains(&format!("http://localhost:{port}\n127.0.0.1:{port}\n1\n")), "{ended:#?}");
    let names: Vec<&str> = ended.events.iter().filter_map(|event| event["event"].as_str()).collect();
    let at = |name: &str| names.iter().position(|seen| *seen == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
    for pair in
        ["started", "ready", "paused", "check_started", "check_ended", "stopping", "stopped", "judged", "finished"]
            .windows(2)
    {
        assert!(at(pair[0]) < at(pair[1]), "{pair:?} in {names:?}");
    }
    assert_eq!(ended.count("finished"), 1);
    place.assert_nothing_is_left();
}

#[test]
fn a_stale_server_on_the_port_is_refused_with_who_it_is_and_left_alone() {
    let place = Place::new();
    let mut stale = Stranger::run(&place, &answerer(&place.port));
    stale.wait_for_a_word();
    let naive = place.naive("true", &place.server("plain"), ENDS);
    assert_eq!(naive.code, Some(0), "the naive wrapper is green: it has tested the stale server");
    let ended = place.run(&[], "true", &place.server("plain"));
    assert_failed(&ended, 1, "port_taken");
    let who = format!("process {} (python3), running since 20", stale.0.id());
    assert!(message(&ended).contains(&who), "{ended:#?}");
    assert_eq!((ended.count("started"), ended.count("check_started")), (0, 0));
    assert!(stale.0.try_wait().expect("our child").is_none() && place.answers(), "a stranger is never killed");
}

#[test]
fn a_server_that_dies_before_it_is_ready_fails_the_run_with_its_own_code() {
    let place = Place::new();
    let naive = place.naive("true", &place.server("early"), HANGS);
    assert_eq!(naive.code, None, "the naive wrapper waits for ever");
    assert_failed(&place.run(&[], "true", &place.server("early")), 9, "died_before_ready");
    let ended = place.run(&[], "true", &["sh", "-c", "exit 0"]);
    assert_failed(&ended, 1, "died_before_ready");
    assert_failed(&place.run(&[], "true", &["no-such-server"]), 127, "died_before_ready");
    assert_failed(&place.run(&[], "true", &["sh", "-c", "kill -SEGV $$"]), 139, "died_before_ready");
    let ended = place.run(&["--prepare", "exit 6"], "true", &place.server("plain"));
    assert_failed(&ended, 6, "died_before_ready");
    assert!(message(&ended).contains("the preparation exited with 6"), "{ended:#?}");
    // Nor does a policy for the command's end help it.
    assert_failed(&place.run(&["--on-exit", "restart"], "true", &place.server("early")), 9, "died_before_ready");
}

#[test]
fn a_server_that_dies_as_soon_as_it_is_ready_fails_the_run() {
    let place = Place::new();
    let naive = place.naive("true", &place.server("once"), ENDS);
    assert_eq!(naive.code, Some(0), "the naive wrapper is green with a dead server");
    let ended = place.run(&[], "sleep 1", &place.server("once"));
    ended.assert_code(9);
    let reason = judged(&ended)["reason"].as_str().expect("a reason");
    assert!(["died_before_ready", "died_during_check"].contains(&reason), "{ended:#?}");
    place.assert_nothing_is_left();
}

#[test]
fn a_server_that_dies_during_the_check_fails_the_run_although_the_check_is_green() {
    let place = Place::new();
    for check in [
        format!("python3 get.py 127.0.0.1 {} /die; sleep 0.5; true", place.port),
        // The check ends in the same moment.
        format!("python3 get.py 127.0.0.1 {} /die", place.port),
        "kill -KILL $(cat pid)".to_owned(),
    ] {
        let naive = place.naive(&check, &place.server("plain"), ENDS);
        assert_eq!(naive.code, Some(0), "the naive wrapper is green");
        let ended = place.run(&[], &check, &place.server("plain"));
        let code = if check.contains("KILL") { 137 } else { 9 };
        assert_failed(&ended, code, "died_during_check");
        place.assert_nothing_is_left();
    }
    // The check's own code stands above the server's.
    let check = format!("python3 get.py 127.0.0.1 {} /die; sleep 0.5; exit 4", place.port);
    assert_failed(&place.run(&[], &check, &place.server("plain")), 4, "died_during_check");
    // And one that does not end is ended.
    let check = format!("python3 get.py 127.0.0.1 {} /die; sleep 1000", place.port);
    assert_failed(&place.run(&[], &check, &place.server("plain")), 9, "died_during_check");
}

#[test]
fn a_crash_loop_is_not_green_although_there_is_always_a_server() {
    let place = Place::new();
    let check =
        format!("python3 get.py 127.0.0.1 {0} /die; until python3 get.py 127.0.0.1 {0}; do :; done", place.port);
    let looped = ["sh", "-c", "while :; do python3 server.py plain \"$0\"; done", &place.port];
    let naive = place.naive(&check, &looped, ENDS);
    assert_eq!(naive.code, Some(0), "the naive wrapper is green");
    drop(naive);
    // Whoever runs the loop.
    let ended = place.run(&[], &check, &looped);
    assert_failed(&ended, 1, "died_during_check");
    assert!(message(&ended).contains("has started again during the check"), "{ended:#?}");
    assert_failed(&place.run(&["--on-exit", "restart"], &check, &place.server("plain")), 9, "died_during_check");
    place.assert_nothing_is_left();
}

#[test]
fn a_server_that_listens_no_more_has_died_and_a_socket_that_stays_is_enough() {
    let place = Place::new();
    let check = format!("until ! {}; do sleep 0.05; done 2>/dev/null", place.asks());
    let ended = place.run(&[], &check, &place.server("gone"));
    assert_failed(&ended, 1, "died_during_check");
    // A loop behind a socket that reloadrun holds: its process is another one, and that is the server's own affair.
    fs::write(place.sandbox.path("held.py"), HELD).expect("writable");
    let listen = format!("tcp:127.0.0.1:{}", place.port);
    let looped = ["sh", "-c", "while :; do python3 held.py; done"];
    assert_passed(&place.run(&["--listen", &listen], &place.asks(), &looped));
}

#[test]
fn what_a_server_writes_to_its_log_proves_nothing() {
    let place = Place::new();
    let server = place.server("liar");
    // A wrapper that waits for the word in the log makes its check too early.
    let script = format!(
        "python3 server.py liar {0} >log & until grep -q listening log; do sleep 0.05; done; python3 get.py 127.0.0.1 {0}; code=$?; kill $!; exit $code",
        place.port
    );
    let mut command = Command::new("sh");
    place.sandbox.furnish(&mut command);
    let status = command.args(["-c", &script]).stderr(Stdio::null()).status().expect("sh");
    assert_ne!(status.code(), Some(0), "a wrapper that believes the log is red for no reason");
    let mut session = place.start(&[], &place.asks(), &server);
    session.wait("started");
    session.wait_until("the word in the log", || session.stdout().contains("listening"));
    fs::write(place.sandbox.path("bind"), "").expect("writable");
    assert_passed(&session.wait_end());
}

#[test]
fn a_server_on_either_address_of_localhost_is_found() {
    let place = Place::new();
    if TcpListener::bind("[::1]:0").is_ok() {
        let naive = place.naive("true", &place.server("six"), HANGS);
        assert_eq!(naive.code, None, "the naive wrapper waits at the other address for ever");
        drop(naive);
        let check = "python3 get.py '[::1]' ${RELOADRUN_ADDRESS##*:}; echo $RELOADRUN_ADDRESS";
        let ended = place.run(&[], check, &place.server("six"));
        assert_passed(&ended);
        assert!(ended.stdout.contains(&format!("[::1]:{}", place.port)), "{ended:#?}");
    }
    let ended = place.run(&[], "echo $RELOADRUN_ADDRESS", &place.server("plain"));
    assert_passed(&ended);
    assert!(ended.stdout.contains(&format!("127.0.0.1:{}", place.port)), "{ended:#?}");
}

#[test]
fn redirects_and_304_are_ready_and_403_is_not_and_says_so() {
    let place = Place::new();
    for mode in ["302", "304"] {
        assert_passed(&place.run(&[], "true", &place.server(mode)));
    }
    let ended = place.run(&["--ready-timeout", "10s"], "true", &place.server("403"));
    assert_failed(&ended, 1, "not_ready");
    assert!(message(&ended).contains("answers with 403"), "{ended:#?}");
    // Who is content with an answer of any kind says so.
    let probe = format!("tcp:localhost:{}", place.port);
    assert_passed(&place.run(&["--ready", &probe], "true", &place.server("403")));
}

#[test]
fn a_server_that_ignores_every_signal_and_what_it_has_started_are_gone_in_the_end() {
    let place = Place::new();
    for mode in ["stubborn", "family"] {
        let naive = place.naive("true", &place.server(mode), ENDS);
        assert_eq!(naive.code, Some(0));
        let left = if mode == "stubborn" { "pid" } else { "family" };
        assert!(place.pids(left).into_iter().all(is_alive), "the naive wrapper leaves something: {left}");
        place.pids(left).into_iter().for_each(|pid| signal(pid, "KILL"));
        drop(naive);
        let until = Instant::now() + ENDS;
        while place.answers() && Instant::now() < until {}
        let ended = place.run(&["--stop-timeout", "500ms"], "true", &place.server(mode));
        assert_passed(&ended);
        place.assert_nothing_is_left();
    }
}

#[test]
fn what_the_check_has_left_is_gone_too() {
    let place = Place::new();
    let check = "setsid sleep 1000 & echo $! >check; (trap '' TERM; sleep 1000) & exit 0";
    assert_passed(&place.run(&[], check, &place.server("plain")));
    place.assert_nothing_is_left();
}

#[test]
fn a_check_that_hangs_is_ended_at_the_deadline() {
    let place = Place::new();
    let check = "echo $$ >check; sleep 1000";
    let naive = place.naive(check, &place.server("plain"), HANGS);
    assert_eq!(naive.code, None, "the naive wrapper waits for ever");
    drop(naive);
    let ended = place.run(&["--deadline", "10s"], check, &place.server("plain"));
    assert_failed(&ended, 124, "deadline");
    assert!(message(&ended).contains("the check had not ended 10s after the start"), "{ended:#?}");
    place.assert_nothing_is_left();
    // It is one for all of it.
    let ended = place.run(&["--deadline", "1s"], check, &["sleep", "1000"]);
    assert_failed(&ended, 124, "deadline");
    assert!(message(&ended).contains("the server was not ready"), "{ended:#?}");
}

#[test]
fn a_server_that_is_not_ready_in_time_fails_the_run() {
    let place = Place::new();
    let ended = place.run(&["--ready-timeout", "1s"], "true", &["sleep", "1000"]);
    assert_failed(&ended, 1, "not_ready");
    assert!(message(&ended).contains(&format!("nothing listens on 127.0.0.1:{}", place.port)), "{ended:#?}");
}

#[test]
fn the_exit_code_of_the_check_is_the_one_of_the_run() {
    let place = Place::new();
    for (check, code) in [("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137), ("no-such-check", 127)] {
        let ended = place.run(&[], check, &place.server("plain"));
        assert_failed(&ended, code, "check_failed");
        let check = ended.events.iter().find(|event| event["event"] == "check_ended").expect("it ended");
        assert_eq!(check["code"], code);
    }
    place.assert_nothing_is_left();
}

#[test]
fn each_signal_in_the_middle_ends_all_of_it_with_its_code() {
    let place = Place::new();
    for (name, code) in SIGNALS {
        let mut session = place.start(&[], "echo $$ >check; sleep 1000", &place.server("stubborn"));
        session.wait("check_started");
        session.wait_until("the check", || !place.pids("check").is_empty());
        session.signal(name);
        let ended = session.wait_end();
        assert_failed(&ended, code, "interrupted");
        place.assert_nothing_is_left();
        fs::remove_file(place.sandbox.path("check")).expect("it is there");
    }
    // Before the server is ready, too.
    let mut session = place.start(&[], "true", &["sh", "-c", "echo $$ >pid; exec sleep 1000"]);
    session.wait("started");
    session.signal("INT");
    assert_failed(&session.wait_end(), 130, "interrupted");
    place.assert_nothing_is_left();
}

#[test]
fn a_ctrl_c_at_the_naive_wrapper_leaves_the_server_and_here_it_does_not() {
    let place = Place::new();
    let naive = place.naive("sleep 1000", &place.server("plain"), HANGS);
    let until = Instant::now() + ENDS;
    while !place.answers() && Instant::now() < until {}
    let group = format!("-{}", naive.child.id());
    let _ = Command::new("kill").args(["-INT", "--", &group]).status();
    std::thread::sleep(Duration::from_millis(200));
    assert!(place.answers(), "a shell starts what runs in the background with INT ignored");
}

#[test]
fn a_ctrl_c_at_a_terminal_reaches_the_smoke_run_alone_and_ends_both_in_order() {
    let place = Place::new();
    let terminal = Terminal::new();
    let server = "trap 'echo ended in order; exit 0' TERM; trap 'echo got INT; exit 1' INT; python3 server.py plain $0 & wait; wait";
    let check = "trap 'echo the check ends in order; exit 1' TERM; echo checking; sleep 1000 & wait";
    let events = place.sandbox.events();
    let mut command = place.sandbox.command(["--events", events.to_str().expect("text"), "--ready", &place.probe()]);
    command.args(["--smoke", check, "--", "sh", "-c", server, &place.port]);
    let command = wrapped(&AT_ITS_TERMINAL, &command, &place.sandbox);
    let mut session = Session::start_at(&terminal, command, &place.sandbox);
    session.wait("check_started");
    terminal.wait_shown("checking\r\n", 1);
    terminal.press("\x03");
    let ended = session.wait_end();
    ended.assert_code(130);
    assert_eq!(judged(&ended)["reason"], "interrupted");
    let shown = terminal.shown();
    assert!(shown.contains("ended in order") && shown.contains("the check ends in order"), "{shown}");
    assert!(!shown.contains("\ngot INT"), "{shown}");
    place.assert_nothing_is_left();
}

#[test]
fn under_nohup_a_hang_up_ends_nothing() {
    let place = Place::new();
    let mut command = place.sandbox.command(["--events", place.sandbox.events().to_str().expect("text")]);
    command.args(["--ready", &place.probe(), "--smoke", "until test -e go; do sleep 0.05; done", "--"]);
    command.args(place.server("plain"));
    let command = wrapped(&["nohup"], &command, &place.sandbox);
    let mut session = Session::start(command, &place.sandbox);
    session.wait("check_started");
    session.signal("HUP");
    place.sandbox.write("go", "");
    assert_passed(&session.wait_end());
}

/// Whether a process is stopped.
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn a_smoke_run_that_is_stopped_stops_the_server_and_the_check_and_all_go_on_together() {
    let place = Place::new();
    let check = "echo $$ >check; until test -e go; do sleep 0.02; done";
    let mut session = place.start(&[], check, &place.server("plain"));
    session.wait("check_started");
    session.wait_until("the check", || !place.pids("check").is_empty());
    let all = [session.pid(), place.pids("pid")[0], place.pids("check")[0]];
    session.signal("TSTP");
    session.wait_until("the stop of all", || all.iter().all(|pid| is_stopped(*pid)));
    session.signal("CONT");
    session.wait_until("the end of the stop", || !all.iter().any(|pid| is_stopped(*pid)));
    place.sandbox.write("go", "");
    assert_passed(&session.wait_end());
    place.assert_nothing_is_left();
}

#[test]
fn a_supervisor_that_is_killed_is_our_own_failure_and_leaves_nothing() {
    let place = Place::new();
    let mut session = place.start(&[], "sleep 1000", &place.server("family"));
    session.wait("check_started");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.pid())).expect("it runs");
    let supervisor = children.split_whitespace().next().expect("the run comes first").parse().expect("a pid");
    signal(supervisor, "KILL");
    assert_failed(&session.wait_end(), 125, "own_failure");
    place.assert_nothing_is_left();
}

#[test]
fn kill_of_the_smoke_run_itself_leaves_nothing() {
    let place = Place::new();
    let mut session = place.start(&[], "echo $$ >check; sleep 1000", &place.server("family"));
    session.wait("check_started");
    session.wait_until("the check", || !place.pids("check").is_empty());
    signal(session.pid(), "KILL");
    let pids: Vec<i32> = ["pid", "family", "check"].into_iter().flat_map(|file| place.pids(file)).collect();
    assert_eq!(pids.len(), 4);
    session.wait_until("the end of everyone", || !pids.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn whoever_takes_the_port_between_ready_and_the_check_is_noticed() {
    let place = Place::new();
    // It binds as soon as the server has let go of its socket, which is after the answer to the probe.
    let thief = format!(
        "import os, time\nwhile not os.path.exists('listens'): time.sleep(0.001)\n{}",
        answerer(&place.port).replace("print('up', flush=True)", "open('stolen', 'w').close()")
    );
    let check = format!("until test -e stolen; do sleep 0.01; done; {}", place.asks());
    let mut first = Stranger::run(&place, &thief);
    let naive = place.naive(&check, &place.server("gone"), ENDS);
    assert_eq!(naive.code, Some(0), "the naive wrapper is green: it has tested the thief");
    drop(naive);
    first.0.kill().expect("our child");
    drop(first);
    for file in ["listens", "stolen"] {
        fs::remove_file(place.sandbox.path(file)).expect("it is there");
    }
    let second = Stranger::run(&place, &thief);
    let ended = place.run(&[], &check, &place.server("gone"));
    assert_failed(&ended, 1, "port_taken");
    assert!(message(&ended).contains(&format!("process {} (python3)", second.0.id())), "{ended:#?}");
}

#[test]
fn a_server_that_chooses_its_port_tells_it_and_the_check_has_it() {
    let place = Place::new();
    let check = "python3 get.py 127.0.0.1 ${RELOADRUN_ADDRESS##*:} && echo $RELOADRUN_URL";
    let ended = place.run(&["--ready", "fd:3"], check, &["python3", "server.py", "chosen", "0"]);
    assert_passed(&ended);
    assert!(ended.stdout.contains("http://127.0.0.1:"), "{ended:#?}");
    // By a file that it writes.
    let ready = "exec:test -s pid && python3 get.py 127.0.0.1 $(cat port 2>/dev/null)";
    let script = "python3 -c \"import socket; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1])\" >port; exec python3 server.py plain $(cat port)";
    let ended = place.run(&["--ready", ready], "echo at $RELOADRUN_ADDRESS", &["sh", "-c", script]);
    assert_passed(&ended);
    let port = place.sandbox.read("port");
    assert!(ended.stdout.contains(&format!("at 127.0.0.1:{}", port.trim())), "{ended:#?}");
}

/// Gives its listening socket to somebody else, who keeps it.
const GIVES: &str = r#"
import socket, sys
held = socket.create_server(('127.0.0.1', int(sys.argv[1])))
friend = socket.socket(socket.AF_UNIX)
friend.connect('friend.sock')
socket.send_fds(friend, [b'x'], [held.fileno()])
friend.recv(1)
while True:
    c, _ = held.accept(); c.recv(1000); c.sendall(b'HTTP/1.0 200 OK\r\n\r\n'); c.close()
"#;

#[test]
fn a_port_that_is_not_free_in_the_end_is_told_with_who_has_it() {
    let place = Place::new();
    fs::write(place.sandbox.path("gives.py"), GIVES).expect("writable");
    let friend = "import socket, time\none = socket.socket(socket.AF_UNIX); one.bind('friend.sock'); one.listen()\nprint('up', flush=True)\nserver, _ = one.accept(); kept = socket.recv_fds(server, 1, 1); server.send(b'y')\ntime.sleep(1000)";
    let mut friend = Stranger::run(&place, friend);
    friend.wait_for_a_word();
    let ended = place.run(&[], &place.asks(), &["python3", "gives.py", &place.port]);
    assert_failed(&ended, 1, "leaked");
    assert!(message(&ended).contains(&format!("process {} (python3)", friend.0.id())), "{ended:#?}");
}

/// The bytes, mode and times of a file.
fn of(path: &Path) -> (Vec<u8>, u32, [i64; 2]) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).expect("it is there");
    (fs::read(path).expect("readable"), metadata.mode(), [metadata.mtime(), metadata.mtime_nsec()])
}

#[test]
fn a_reload_is_proven_by_touching_and_the_file_gets_back_what_it_had() {
    let place = Place::new();
    let path = place.sandbox.path("app.txt");
    let before = of(&path);
    let ended = place.run(&["--prove-reload", "app.txt"], "test $RELOADRUN_GENERATION = 2", &place.server("plain"));
    assert_passed(&ended);
    assert_eq!((ended.count("started"), ended.count("reload_proven")), (2, 1));
    assert_eq!(of(&path), before);
    // One after the other.
    place.sandbox.write("other.txt", "x");
    let options = ["-w", "other.txt", "--prove-reload", "app.txt", "--prove-reload", "other.txt"];
    let ended = place.run(&options, "test $RELOADRUN_GENERATION = 3", &place.server("plain"));
    assert_passed(&ended);
    assert_eq!(ended.count("reload_proven"), 2);
    // After a failure, and after a signal.
    assert_failed(&place.run(&["--prove-reload", "app.txt"], "exit 3", &place.server("plain")), 3, "check_failed");
    assert_eq!(of(&path), before);
    let mut session = place.start(&["--prove-reload", "app.txt"], "sleep 1000", &place.server("plain"));
    session.wait("check_started");
    fs::write(&path, "what somebody else makes of it").expect("writable");
    session.signal("TERM");
    assert_failed(&session.wait_end(), 143, "interrupted");
    assert_eq!(of(&path), before);
}

#[test]
fn a_reload_that_does_not_come_about_fails_the_run() {
    let place = Place::new();
    // The second generation finds what the first has left.
    let server = ["sh", "-c", "test -e seen && exit 8; touch seen; exec python3 server.py plain \"$0\"", &place.port];
    let ended = place.run(&["--prove-reload", "app.txt"], "true", &server);
    assert_failed(&ended, 8, "died_before_ready");
    assert_eq!(ended.count("check_started"), 0);
    place.assert_nothing_is_left();
    // What is not watched is known before the start.
    place.sandbox.write("other.txt", "x");
    let ended = place.run(&["--prove-reload", "other.txt"], "true", &place.server("plain"));
    ended.assert_code(2);
    assert!(ended.stderr.contains("--prove-reload other.txt: a change of other.txt does nothing"), "{ended:#?}");
}

/// Takes its socket from reloadrun, or binds it itself.
const HELD: &str = r#"
import http.server, os, socket, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists('bad') and self.path == '/' else 200)
        self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
if os.environ['RELOADRUN_GENERATION'] == '2' and 'bad' in sys.argv:
    open('bad', 'w').close(); 
    import threading
    threading.Timer(0.5, lambda: os.remove('bad')).start()
server.serve_forever()
"#;

#[test]
fn with_a_held_socket_no_request_may_fail_while_a_generation_replaces_another() {
    let place = Place::new();
    fs::write(place.sandbox.path("held.py"), HELD).expect("writable");
    let listen = format!("tcp:127.0.0.1:{}", place.port);
    let options = ["--listen", &listen, "--prove-reload", "app.txt"];
    let ended = place.run(&options, &place.asks(), &["python3", "held.py"]);
    assert_passed(&ended);
    let proven = ended.events.iter().find(|event| event["event"] == "reload_proven").expect("it is proven");
    assert!(proven["requests"].as_u64().is_some_and(|count| count > 0), "{proven}");
    place.assert_nothing_is_left();
    let ended = place.run(&options, &place.asks(), &["python3", "held.py", "bad"]);
    assert_failed(&ended, 1, "reload_failed");
    assert!(message(&ended).contains("answered with 503"), "{ended:#?}");
}

#[test]
fn two_generations_at_a_time_leave_no_request_without_an_answer() {
    let place = Place::new();
    fs::write(place.sandbox.path("held.py"), HELD).expect("writable");
    let (listen, ready) = (format!("tcp:127.0.0.1:{}", place.port), format!("exec:{}", place.asks()));
    let options = ["--overlap", "--listen", &listen, "--ready", &ready, "--prove-reload", "app.txt"];
    let ended = place.run(&options, &format!("{}; echo at $RELOADRUN_ADDRESS", place.asks()), &["python3", "held.py"]);
    assert_passed(&ended);
    let at = |name: &str, generation: u64| {
        let is = |event: &Value| event["event"] == name && event["generation"] == generation;
        ended.events.iter().position(is).unwrap_or_else(|| panic!("{name}: {ended:#?}"))
    };
    assert!(at("started", 2) < at("stopped", 1) && at("stopped", 1) < at("reload_proven", 2), "{ended:#?}");
    assert!(ended.events[at("reload_proven", 2)]["requests"].as_u64().is_some_and(|count| count > 0), "{ended:#?}");
    assert!(ended.stdout.contains(&format!("at 127.0.0.1:{}", place.port)), "{ended:#?}");
    // The next generation fails, and the old one stays: that is no reload.
    let server = ["sh", "-c", "test $RELOADRUN_GENERATION = 1 || exit 5; exec python3 held.py"];
    let ended = place.run(&options, "true", &server);
    assert_failed(&ended, 5, "died_before_ready");
    place.assert_nothing_is_left();
}

#[test]
fn make_runs_it_and_is_red_when_it_is() {
    let place = Place::new();
    if Command::new("make").arg("--version").stdout(Stdio::null()).status().is_err() {
        return left_out("make is not installed");
    }
    let reloadrun = place.sandbox.command::<&str>([]).get_program().to_owned();
    let reloadrun = reloadrun.to_str().expect("text");
    let recipe = |check: &str| {
        format!(
            "smoke:\n\t{reloadrun} -q --ready {} --smoke '{check}' -- python3 server.py plain {}\n",
            place.probe(),
            place.port
        )
    };
    for (check, code) in [("true", 0), ("exit 3", 2)] {
        place.sandbox.write("Makefile", recipe(check));
        let mut make = Command::new("make");
        place.sandbox.furnish(&mut make);
        let output = make.args(["smoke", "-j2"]).stdin(Stdio::null()).output().expect("make");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(code != 0, String::from_utf8_lossy(&output.stderr).contains("Error 3"), "{output:?}");
        place.assert_nothing_is_left();
    }
}

#[test]
fn what_the_check_saves_does_not_restart_the_server() {
    let place = Place::new();
    let check = format!("for i in 1 2 3; do echo $i >app.txt; sleep 0.2; done; {}", place.asks());
    let ended = place.run(&[], &check, &place.server("plain"));
    assert_passed(&ended);
    assert_eq!(ended.count("started"), 1);
}

#[test]
fn a_report_says_what_was_shown_and_what_was_not() {
    let place = Place::new();
    let options = ["--report", "junit:out/smoke.xml", "--report", "json:out/smoke.json"];
    assert_passed(&place.run(&options, "true", &place.server("plain")));
    let read = |name: &str| place.sandbox.read(format!("out/smoke.{name}"));
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON");
    let report = json(&read("json"));
    assert_eq!((&report["passed"], &report["code"]), (&Value::Bool(true), &Value::from(0)));
    assert!(read("xml").contains("tests=\"4\" failures=\"0\""), "{}", read("xml"));
    for (server, check, code, reason) in [
        (&place.server("plain")[..], "exit 3", 3, "check_failed"),
        (&place.server("early")[..], "true", 9, "died_before_ready"),
    ] {
        assert_failed(&place.run(&options, check, server), code, reason);
        let report = json(&read("json"));
        assert_eq!((&report["reason"], &report["code"]), (&Value::from(reason), &Value::from(code)));
        let xml = read("xml");
        assert!(xml.contains("failures=\"1\"") && xml.contains(&format!("<failure type=\"{reason}\"")), "{xml}");
        let parsed = Command::new("python3")
            .args(["-c", "import sys, xml.dom.minidom as d; d.parse(sys.argv[1])"])
            .arg(place.sandbox.path("out/smoke.xml"))
            .status()
            .expect("python");
        assert!(parsed.success(), "{xml}");
    }
    // A report of a former run is not taken for that of one that is killed.
    assert_passed(&place.run(&options, "true", &place.server("plain")));
    let mut session = place.start(&options, "sleep 1000", &place.server("plain"));
    session.wait("check_started");
    let pid = place.pids("pid")[0];
    signal(session.pid(), "KILL");
    session.wait_until("the end of the server", || !is_alive(pid));
    assert_eq!(json(&read("json"))["passed"], false);
    assert!(read("xml").contains("failures=\"1\""));
}

#[test]
fn reloadrun_ci_takes_everything_from_the_config_file_and_nothing_else_does() {
    let place = Place::new();
    let (port, probe) = (&place.port, place.probe());
    place.sandbox.write(
        "reloadrun.toml",
        format!(
            "command = ['python3', 'server.py', 'plain', '{port}']\nwatch = 'app.txt'\nready = '{probe}'\nkeys = true\nsmoke = 'test $RELOADRUN_GENERATION = 2'\nprove-reload = 'app.txt'\ndeadline = '1m'\nreport = ['json:smoke.json']\n"
        ),
    );
    let events = place.sandbox.events();
    let ci = |more: &[&str]| {
        let mut command = place.sandbox.command(["ci", "--events"]);
        command.arg(&events).args(more);
        Session::start(command, &place.sandbox).wait_end()
    };
    assert_passed(&ci(&[]));
    let report: Value = serde_json::from_str(&place.sandbox.read("smoke.json")).expect("JSON");
    assert_eq!(report["passed"], true);
    assert_failed(&ci(&["--smoke", "exit 4"]), 4, "check_failed");
    // An ordinary run knows nothing of it.
    let mut session = place.sandbox.start::<&str>([]);
    session.wait("ready");
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!((ended.count("judged"), ended.count("check_started"), ended.starts_of(1)), (0, 0, 1));
}

trait Starts {
    fn starts_of(&self, generation: u64) -> usize;
}

impl Starts for Ended {
    fn starts_of(&self, generation: u64) -> usize {
        self.events.iter().filter(|event| event["event"] == "started" && event["generation"] == generation).count()
    }
}

#[test]
fn wrong_use_is_told_before_anything_starts() {
    let place = Place::new();
    let probe = place.probe();
    let fails = |words: &[&str], expected: &str| {
        let ended = place.sandbox.start(words.iter().chain(&["--", "touch", "started"])).wait_end();
        ended.assert_code(2);
        assert!(ended.stderr.contains(expected), "{expected}: {ended:#?}");
        assert!(!place.sandbox.path("started").exists());
    };
    fails(&["--smoke", "true"], "--smoke needs --ready PROBE");
    fails(&["--smoke", " ", "--ready", &probe], "expected a command");
    fails(&["--report", "junit:x"], "--report is for a smoke run; give --smoke COMMAND too");
    fails(&["--deadline", "1m"], "--deadline is for a smoke run");
    fails(&["--prove-reload", "app.txt"], "--prove-reload is for a smoke run");
    let smoke = |more: &[&'static str], expected: &str| {
        let mut words = vec!["--smoke", "true", "--ready", &probe];
        words.extend(more);
        fails(&words, expected);
    };
    smoke(&["--report", "smoke.xml"], "did you mean junit:smoke.xml?");
    smoke(&["--deadline", "soon"], "expected a duration");
    smoke(&["--deadline", "0"], "must be at least 1ms");
    smoke(&["--prove-reload", "missing"], "--prove-reload missing: no such file");
    smoke(&["--prove-reload", "."], "not a file");
    smoke(&["--prove-reload", "app.txt", "--compare", "content"], "--compare content");
    smoke(&["--prove-reload", "app.txt", "--on-change", "signal:HUP"], "demands another generation");
    let ended = Session::start(place.sandbox.command(["ci", "--", "true"]), &place.sandbox).wait_end();
    ended.assert_code(2);
    assert!(ended.stderr.contains("reloadrun ci needs the command that checks the server"), "{ended:#?}");
}

#[test]
fn in_a_job_of_github_actions_the_log_is_grouped_the_error_marked_and_the_summary_written() {
    let place = Place::new();
    let summary = place.sandbox.beside().join("summary.md");
    let server = [
        "sh",
        "-c",
        "i=0; while [ $i -lt 70 ]; do i=$((i+1)); printf '\\033[32mline %s\\033[0m\\n' $i; done; echo '::error::from the server'; echo '::error::on standard error' >&2; printf 'no end'; exec python3 server.py plain \"$0\"",
        &place.port,
    ];
    let run = |check: &str| {
        let probe = place.probe();
        let words = ["-w", "app.txt", "--ready", &probe, "--smoke", check, "--"].into_iter().chain(server);
        let session = place.sandbox.start_with(words, |command| {
            command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary).env("CI", "true");
        });
        session.wait_end()
    };
    let ended = run("echo from the check; exit 3");
    assert_failed(&ended, 3, "check_failed");
    let log = &ended.stdout;
    assert!(log.contains("::group::sh -c") && log.contains("::group::echo from the check; exit 3\n"), "{ended:#?}");
    assert!(log.contains("\x1b[32mline 1\x1b[0m\n") && log.contains("\x1b[32mline 70\x1b[0m\n"), "{ended:#?}");
    assert!(log.contains("::error title=reloadrun check_failed::the check exited with 3\n"), "{ended:#?}");
    let stopped = log.find("::stop-commands::reloadrun-").expect("commands are stopped");
    let from_the_server = log.find("\n::error::from the server\n").expect("it is passed on");
    let token = log[stopped + "::stop-commands::".len()..].lines().next().expect("a token");
    let resumed = log.find(&format!("\n::{token}::\n")).expect("commands go on");
    assert!(stopped < from_the_server && from_the_server < resumed, "{ended:#?}");
    assert!(ended.stderr.contains("\u{200b}::error::on standard error\n"), "{ended:#?}");
    assert!(!ended.stderr.contains("\n::error") && !ended.stderr.contains("::stop-commands"), "{ended:#?}");
    let text = fs::read_to_string(&summary).expect("it was written");
    assert!(text.contains("### reloadrun: failed (check_failed)") && text.contains("line 70\n"), "{text}");
    assert!(!text.contains("line 10\n") && !text.contains('\x1b'), "the last 50 lines without colours: {text}");
    let before = text.len();
    assert_passed(&run("true"));
    let text = fs::read_to_string(&summary).expect("it was written");
    assert!(text[before..].contains("### reloadrun: passed"), "it is appended: {text}");
}

#[test]
fn in_a_job_of_github_actions_the_order_of_both_outputs_stays_and_a_cancelled_job_ends_in_time() {
    let place = Place::new();
    let probe = place.probe();
    let server = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; trap '' INT TERM; exec python3 server.py stubborn \"$0\"";
    let mut command = place.sandbox.command(["--ready", &probe, "--stop-timeout", "30s", "--smoke"]);
    command.args([
        "trap '' INT TERM; echo checking; sleep 1000 & wait; sleep 1000",
        "--",
        "sh",
        "-c",
        server,
        &place.port,
    ]);
    command.env("GITHUB_ACTIONS", "true").stdin(Stdio::null());
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(writer.try_clone().expect("another")).stderr(writer);
    let mut child = command.spawn().expect("it starts");
    drop(command);
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("checking\n") {
        let count = reader.read(&mut buffer).expect("readable");
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let lines: Vec<&str> = seen.lines().filter(|line| line.starts_with("out ") || line.starts_with("err ")).collect();
    let expected: Vec<String> = (1..10).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect();
    assert_eq!(lines, expected);
    let began = Instant::now();
    signal(i32::try_from(child.id()).expect("small"), "INT");
    let status = child.wait().expect("our child");
    let took = began.elapsed();
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_millis(7500), "KILL would have come: {took:?}");
    place.assert_nothing_is_left();
    std::io::stdout().flush().expect("flushed");
}

/// Forks workers all the time, each with a socket of its own at the port.
const FORKS: &str = r#"
import os, socket, sys, time
def work():
    one = socket.socket(); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(('127.0.0.1', int(sys.argv[1]))); one.listen(64)
    while True:
        c, _ = one.accept(); c.recv(4096); c.sendall(b'HTTP/1.0 200 OK\r\n\r\n'); c.close()
for _ in range(40):
    if os.fork() == 0: work()
    time.sleep(0.02)
time.sleep(1000)
"#;

#[test]
fn workers_that_begin_during_a_look_are_of_the_server() {
    let place = Place::new();
    fs::write(place.sandbox.path("forks.py"), FORKS).expect("writable");
    let ended = place.run(&[], &place.asks(), &["python3", "forks.py", &place.port]);
    assert_passed(&ended);
    place.assert_nothing_is_left();
}

#[test]
fn a_file_that_has_got_the_name_of_a_touched_one_is_left_alone_and_that_is_said() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let (link, old, new) = (place.sandbox.path("link"), place.sandbox.path("app.txt"), place.sandbox.path("new.txt"));
    fs::write(&new, "precious").expect("writable");
    symlink("app.txt", &link).expect("it can be made");
    let before = (of(&old), of(&new));
    let options = ["-w", "link", "--prove-reload", "link"];
    let ended = place.run(&options, "ln -sfn new.txt link", &place.server("plain"));
    assert_passed(&ended);
    assert_eq!((of(&old), of(&new)), before);
    assert!(ended.stderr.contains("/link does not lead to the file that was touched any more"), "{ended:#?}");
    // A FIFO is not read, and a directory not written to.
    for instead in ["mkfifo", "mkdir"] {
        let check = format!("rm app.txt; {instead} app.txt");
        let ended = place.run(&["--prove-reload", "app.txt"], &check, &place.server("plain"));
        assert_passed(&ended);
        assert!(ended.stderr.contains("/app.txt does not lead to"), "{ended:#?}");
        let _ = (fs::remove_file(&old), fs::remove_dir(&old));
        fs::write(&old, "one").expect("writable");
    }
}

#[test]
fn a_report_to_a_fifo_that_nobody_reads_is_an_error_at_the_start() {
    let place = Place::new();
    let path = place.sandbox.path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let ended = place.run(&["--report", "json:fifo", "--deadline", "60s"], "true", &place.server("plain"));
    ended.assert_code(125);
    assert!(ended.stderr.contains("it is a fifo or a socket, and nobody reads there"), "{ended:#?}");
    assert_eq!(ended.count("started"), 0);
}

#[test]
fn a_server_that_does_not_answer_is_not_ready_rather_than_stopped_by_the_deadline() {
    let place = Place::new();
    let script =
        format!("import socket, time\none = socket.create_server(('127.0.0.1', {}))\ntime.sleep(600)", place.port);
    let options = ["--ready-timeout", "1s", "--deadline", "10s"];
    let ended = place.run(&options, "true", &["python3", "-c", &script]);
    assert_failed(&ended, 1, "not_ready");
    assert!(message(&ended).contains("does not answer within"), "{ended:#?}");
}
