//! Real servers with a socket from `--listen`, restarted under load: no connection is refused, and a request that a server
//! works on is finished. The command lines are those of the guide.
//!
//! `RELOADRUN_RESTARTS=100 cargo test --test it held_servers -- --nocapture` restarts each as many times and shows the table
//! of the guide.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::session::DEADLINE;
use crate::support::{Sandbox, Session, apps};

/// A server as the guide starts it.
struct Server {
    name: &'static str,
    options: &'static [&'static str],
    command: &'static [&'static str],
    /// Whether it finishes the requests that it works on when it is asked to end.
    is_graceful: bool,
    /// After the first answer, until it hears a stop.
    boots: Duration,
}

const GUNICORN: Server = Server {
    name: "gunicorn",
    options: &[],
    command: &["gunicorn", "-w", "4", "--no-control-socket", "wsgi:app"],
    is_graceful: true,
    boots: Duration::ZERO,
};

const DJANGO: Server = Server {
    name: "django",
    options: &[],
    command: &["gunicorn", "-w", "2", "--no-control-socket", "project:application"],
    is_graceful: true,
    boots: Duration::ZERO,
};

const UVICORN: Server = Server {
    name: "uvicorn",
    options: &[],
    command: &["uvicorn", "--fd", "3", "asgi:app"],
    is_graceful: true,
    boots: Duration::ZERO,
};

/// A worker that gets TERM beside its master cuts its requests off.
const HYPERCORN: Server = Server {
    name: "hypercorn",
    options: &["--stop-group", "main"],
    command: &["hypercorn", "-b", "fd://3", "asgi:app"],
    is_graceful: true,
    boots: Duration::ZERO,
};

/// Its other workers may still boot when the first one answers, and such a worker does not hear a stop.
const UWSGI: Server = Server {
    name: "uwsgi",
    options: &["--stop-group", "main"],
    command: &["uwsgi", "--disable-logging", "uwsgi.ini"],
    is_graceful: true,
    boots: Duration::from_millis(500),
};

/// The development server ends at once.
const FLASK: Server = Server {
    name: "flask",
    options: &[],
    command: &["env", "WERKZEUG_RUN_MAIN=true", "WERKZEUG_SERVER_FD=3", "flask", "--app", "web", "run", "--no-reload"],
    is_graceful: false,
    boots: Duration::ZERO,
};

const NODE: Server =
    Server { name: "node", options: &[], command: &["node", "server.js"], is_graceful: true, boots: Duration::ZERO };

const LISTENFD: Server = Server {
    name: "listenfd",
    options: &[],
    command: &[env!("CARGO_BIN_EXE_probe"), "listenfd"],
    is_graceful: true,
    boots: Duration::ZERO,
};

#[test]
fn gunicorn_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    with_python(&GUNICORN);
}

#[test]
fn django_behind_gunicorn_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    with_python(&DJANGO);
}

#[test]
fn uvicorn_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    with_python(&UVICORN);
}

#[test]
fn hypercorn_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    with_python(&HYPERCORN);
}

#[test]
fn uwsgi_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    with_python(&UWSGI);
}

#[test]
fn flask_refuses_nobody_in_a_restart() {
    with_python(&FLASK);
}

#[test]
fn node_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    if Command::new("node").arg("--version").output().is_err() {
        return crate::ends::left_out("node with a held socket: it is not installed");
    }
    restarts_under_load(&NODE, None);
    finishes_a_request(&NODE, None);
}

#[test]
fn a_server_in_the_manner_of_listenfd_refuses_nobody_in_a_restart_and_finishes_its_requests() {
    restarts_under_load(&LISTENFD, None);
    finishes_a_request(&LISTENFD, None);
}

fn with_python(server: &Server) {
    if let Some(bin) = python(server.name) {
        restarts_under_load(server, Some(&bin));
        if server.is_graceful {
            finishes_a_request(server, Some(&bin));
        }
    }
}

/// Where the servers are; `None` where their tests are to be left out.
pub fn python(name: &str) -> Option<PathBuf> {
    match apps::python_env() {
        Ok(bin) => Some(bin),
        Err(_) if apps::offline() => {
            apps::left_out(&format!("{name} with a held socket"));
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

/// Starts it with a socket on this port.
fn start(server: &Server, bin: Option<&Path>, sandbox: &Sandbox, port: u16) -> Session {
    apps::copy_fixture("held", sandbox.root());
    sandbox.write("app.txt", "one");
    start_with(server.options, server.command, bin, sandbox, port)
}

/// The same with these options, for files that are there already.
pub fn start_with(options: &[&str], command: &[&str], bin: Option<&Path>, sandbox: &Sandbox, port: u16) -> Session {
    let listen = format!("tcp:127.0.0.1:{port}");
    let options = [&["--listen", &listen], options].concat();
    start_without(&options, command, bin, sandbox)
}

/// The same for a server that binds its own socket.
pub fn start_without(options: &[&str], command: &[&str], bin: Option<&Path>, sandbox: &Sandbox) -> Session {
    let options = ["-w", "app.txt"].iter().chain(options).chain(&["--"]);
    let words: Vec<OsString> = options.chain(command).map(OsString::from).collect();
    sandbox.start_with(words, |command| {
        if let Some(bin) = bin {
            let rest = std::env::var_os("PATH").unwrap_or_default();
            let all: Vec<PathBuf> = [bin.to_owned()].into_iter().chain(std::env::split_paths(&rest)).collect();
            command.env("PATH", std::env::join_paths(all).expect("plain paths"));
        }
    })
}

/// The body of an answer.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    match reply.split_once("\r\n\r\n") {
        // An answer in chunks has one.
        Some((head, body)) if head.contains(" 200 ") && head.to_lowercase().contains("transfer-encoding: chunked") => {
            Ok(body.split("\r\n").nth(1).unwrap_or_default().to_owned())
        }
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{reply:?}"))),
    }
}

/// What the clients have met.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: usize,
    pub refused: usize,
    /// Accepted, and closed or reset without an answer.
    pub cut: usize,
    pub worst: Duration,
    pub others: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.cut += other.cut;
        self.worst = self.worst.max(other.worst);
        self.others.extend(other.others);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answered, {} refused, {} cut, worst wait {:.2} s",
            self.answered,
            self.refused,
            self.cut,
            self.worst.as_secs_f64()
        )
    }
}

/// One of the clients: one request after another, a short pause after each.
fn client(port: u16, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match get(port, "/") {
            Ok(_) => tally.answered += 1,
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => tally.refused += 1,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => tally.cut += 1,
                _ => tally.others.push(error.to_string()),
            },
        }
        tally.worst = tally.worst.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(3));
    }
    tally
}

/// Four clients at work.
pub struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Clients {
    /// They ask at this port.
    pub fn start(port: u16) -> Clients {
        let over = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || client(port, &over))
        };
        let threads = (0..4).map(start).collect();
        Clients { over, threads }
    }

    /// What all of them have met.
    pub fn stop(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        self.threads.into_iter().for_each(|client| tally.add(client.join().expect("a client does not panic")));
        tally
    }
}

/// How many restarts a test makes.
pub fn wanted_restarts() -> u64 {
    std::env::var("RELOADRUN_RESTARTS").ok().and_then(|count| count.parse().ok()).unwrap_or(4)
}

fn restarts_under_load(server: &Server, bin: Option<&Path>) {
    let restarts = wanted_restarts();
    // So many restarts, each soon after the one before, would be taken for a loop and delayed.
    let pause = Duration::from_millis(if restarts > 50 { 2200 } else { 0 });
    let (sandbox, port) = (Sandbox::new(), apps::free_port());
    let mut session = start(server, bin, &sandbox, port);
    session.wait_armed(1);
    let clients = Clients::start(port);
    for generation in 1..=restarts {
        session.wait_until("the answer of a generation", || {
            get(port, "/").is_ok_and(|body| body == generation.to_string())
        });
        std::thread::sleep(server.boots.max(pause));
        sandbox.write("app.txt", format!("{generation}"));
        session.wait_started(generation + 1);
    }
    let last = (restarts + 1).to_string();
    session.wait_until("the answer of the last generation", || get(port, "/").is_ok_and(|body| body == last));
    std::thread::sleep(server.boots);
    let tally = clients.stop();
    eprintln!("{}, {restarts} restarts: {tally}", server.name);
    let account = session.account();
    session.stop().assert_code(143);
    assert_eq!(tally.refused, 0, "{}: {tally}\n{account}", server.name);
    assert!(tally.others.is_empty(), "{}: {:?}\n{account}", server.name, tally.others);
    assert!(tally.answered > 0);
}

/// In the modes that stop nothing, or bind no socket for it, a request is finished as well.
#[test]
fn gunicorn_finishes_its_requests_whatever_a_change_leads_to() {
    let Some(bin) = python("gunicorn") else { return };
    for (options, is_new) in [
        (&[][..], true),
        (&["--prepare", "true"], true),
        (&["--on-change", "signal:HUP"], false),
        (&["--on-change", "run:kill -HUP $(cat gunicorn.pid)"], false),
        (&["--on-change", "signal:HUP", "--prepare", "true", "--pidfile", "gunicorn.pid"], false),
    ] {
        let (sandbox, port) = (Sandbox::new(), apps::free_port());
        apps::copy_fixture("held", sandbox.root());
        sandbox.write("app.txt", "one");
        let address = format!("127.0.0.1:{port}");
        let command = ["gunicorn", "-w", "2", "-p", "gunicorn.pid", "--no-control-socket", "-b", &address, "wsgi:app"];
        let mut session = start_without(options, &command, Some(&bin), &sandbox);
        session.wait_started(1);
        session.wait_until("an answer", || get(port, "/").is_ok_and(|body| body == "1"));
        let slow = std::thread::spawn(move || get(port, "/slow"));
        std::thread::sleep(Duration::from_millis(500));
        sandbox.write("app.txt", "two");
        session.wait("changed");
        let body = slow.join().expect("it does not panic");
        assert!(body.as_ref().is_ok_and(|body| body == "1"), "{options:?}: {body:?}\n{}", session.account());
        let new = if is_new { "2" } else { "1" };
        session.wait_until("the next answer", || get(port, "/").is_ok_and(|body| body == new));
        session.stop().assert_code(143);
    }
}

/// A request of two seconds, and a save in the middle of it.
fn finishes_a_request(server: &Server, bin: Option<&Path>) {
    let (sandbox, port) = (Sandbox::new(), apps::free_port());
    let mut session = start(server, bin, &sandbox, port);
    session.wait_armed(1);
    session.wait_until("an answer", || get(port, "/").is_ok_and(|body| body == "1"));
    std::thread::sleep(server.boots);
    let slow = std::thread::spawn(move || get(port, "/slow"));
    // It must have been accepted: whoever waits in the backlog is answered by the next one, which is good too.
    std::thread::sleep(Duration::from_millis(500));
    sandbox.write("app.txt", "two");
    let body = slow.join().expect("it does not panic");
    assert!(
        body.as_ref().is_ok_and(|body| body == "1" || body == "2"),
        "{}: {body:?}\n{}",
        server.name,
        session.account()
    );
    session.wait_started(2);
    session.wait_until("the next answer", || get(port, "/").is_ok_and(|body| body == "2"));
    session.stop().assert_code(143);
}
