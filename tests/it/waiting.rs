//! `reloadrun wait`: when it returns, every save made before the call is live.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control::{answer, ask};
use crate::random::Random;
use crate::support::session::DEADLINE;
use crate::support::watched::{on_every_backend, watch};
use crate::support::{Sandbox, Session};

/// A server that reads its files at its start, and answers each connection with what it has read.
const SERVER: &str = "
import os, socket, sys
read = lambda name: open(name).read() if os.path.exists(name) else '-'
content = '|'.join(read(name) for name in sys.argv[2:])
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', int(sys.argv[1])))
server.listen(64)
while True:
    connection, _ = server.accept()
    connection.sendall(content.encode())
    connection.close()
";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").port()
}

/// What the server answers.
fn request(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it is ready");
    stream.set_read_timeout(Some(DEADLINE)).expect("it is a socket");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// A run of that server, ready.
struct Served {
    sandbox: Sandbox,
    session: Session,
    port: u16,
}

impl Served {
    fn new(backend: &str, options: &[&str], files: &[&str]) -> Served {
        let (sandbox, port) = (Sandbox::new(), free_port());
        for file in files {
            sandbox.write(file, "0");
        }
        let (probe, number) = (format!("tcp:127.0.0.1:{port}"), port.to_string());
        let mut session = sandbox.start(
            ["--backend", backend, "--interval", "100ms", "--ready", &probe]
                .iter()
                .chain(options)
                .chain(&["--", "python3", "-c", SERVER, &number])
                .chain(files),
        );
        session.wait("ready");
        Served { sandbox, session, port }
    }
}

#[test]
fn a_wait_after_a_save_returns_when_the_new_generation_is_ready() {
    let Served { sandbox, session, port } = Served::new("inotify", &[], &["app.txt"]);
    assert_eq!(answer(&sandbox, &["wait"], 0), "generation 1 is ready\n");
    for generation in 2..6 {
        sandbox.write("app.txt", generation.to_string());
        assert_eq!(answer(&sandbox, &["wait"], 0), format!("generation {generation} is ready\n"));
        assert_eq!(request(port), generation.to_string());
    }
    let waited: Value = serde_json::from_str(&answer(&sandbox, &["wait", "--json"], 0)).unwrap();
    assert_eq!((waited["outcome"].as_str(), waited["generation"].as_u64()), (Some("live"), Some(5)));
    session.stop().assert_code(143);
}

#[test]
fn without_a_probe_it_says_that_the_generation_has_started_and_exits_with_4() {
    let sandbox = Sandbox::new();
    let session = watch(&sandbox, "inotify", &[]);
    sandbox.write("app.py", "1");
    assert!(answer(&sandbox, &["wait"], 4).starts_with("generation 2 has started; whether it is ready is unknown"));
    assert_eq!(session.starts(), 2);
    session.stop().assert_code(143);
}

#[test]
fn a_generation_that_fails_is_told_with_its_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "0");
    let mut session = sandbox.start([
        "--ready",
        "exec:true",
        "--",
        "sh",
        "-c",
        "[ $(cat app.py) = 0 ] && exec sleep 600; sleep 0.2; exit 7",
    ]);
    session.wait("ready");
    assert_eq!(answer(&sandbox, &["wait"], 0), "generation 1 is ready\n");
    session.stop().assert_code(143);

    let mut session =
        sandbox.start(["--ready", "notify", "--", "sh", "-c", "[ $(cat app.py) = 0 ] && exec sleep 600; exit 7"]);
    session.wait_armed(1);
    sandbox.write("app.py", "1");
    assert_eq!(answer(&sandbox, &["wait"], 1), "the command of generation 2 exited with 7\n");
    session.stop().assert_code(143);
}

#[test]
fn a_generation_that_is_not_ready_in_time_is_told_and_so_is_the_end_of_the_time_and_of_the_run() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--ready", "exec:false", "--ready-timeout", "300ms", "--", "sleep", "600"]);
    session.wait_armed(1);
    assert!(answer(&sandbox, &["wait"], 1).starts_with("generation 1 was not ready in time"));
    session.stop().assert_code(143);

    let mut session = sandbox.start(["--ready", "exec:false", "--", "sleep", "600"]);
    session.wait_armed(1);
    let output = ask(&sandbox, &["wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let waiting = sandbox.command(["wait"]).stdout(Stdio::piped()).spawn().unwrap();
    let (pid, sandbox_of_status) = (waiting.id(), &sandbox);
    // It is a client by then, or it finds no run; both end.
    answer(sandbox_of_status, &["status"], 0);
    session.stop().assert_code(143);
    let code = waiting.wait_with_output().unwrap().status.code();
    assert!(matches!(code, Some(1 | 3)), "{code:?} of {pid}");
    assert_eq!(ask(&sandbox, &["wait"]).status.code(), Some(3));
}

#[test]
fn settings_that_were_rejected_are_not_live_until_they_are_mended() {
    let sandbox = Sandbox::new();
    let config = "watch = 'a.txt'\ncommand = ['sleep', '600']\nready = 'exec:true'\nenv-file = '.env'\n";
    let good = [("reloadrun.toml", config), (".env", "A=1\n"), ("a.txt", "1")];
    let write = |(name, content): (&str, &str)| drop(sandbox.write(name, content));
    good.into_iter().for_each(write);
    let mut session = sandbox.start([] as [&str; 0]);
    session.wait("ready");
    for (broken, mended) in [(("reloadrun.toml", "bogus = 1\n"), good[0]), ((".env", "A='\n"), good[1])] {
        write(broken);
        let said = answer(&sandbox, &["wait"], 1);
        assert!(said.contains(broken.0) && said.contains("was rejected"), "{said}");
        sandbox.write("a.txt", broken.0);
        assert!(answer(&sandbox, &["wait"], 1).contains("was rejected"), "another save does not mend it");
        write(mended);
        assert!(answer(&sandbox, &["wait"], 0).ends_with("is ready\n"));
    }
    fs::remove_file(sandbox.path(".env")).unwrap();
    assert!(answer(&sandbox, &["wait"], 1).contains("was rejected"));
    session.stop().assert_code(143);
}

#[test]
fn a_command_that_ended_well_has_had_its_saves() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "true"]);
    session.wait("waiting");
    sandbox.write("app.py", "1");
    // Between its start and its end, all that is known is that it has started.
    let output = ask(&sandbox, &["wait"]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    session.wait_where("waiting", |event| event["generation"] == 2);
    assert_eq!(answer(&sandbox, &["wait"], 0), "the command of generation 2 exited with 0 (success)\n");
    session.stop().assert_code(143);
}

#[test]
fn a_wait_during_a_preparation_or_a_run_is_for_what_comes_after_it() {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "0");
    sandbox.write("live.txt", "-");
    let prepare = "cp app.txt built.txt && sleep 0.3 && ! grep bad built.txt";
    let command = ["--", "sh", "-c", "cp built.txt live.txt; exec sleep 100"];
    let mut session = sandbox.start(["-w", "app.txt", "--prepare", prepare].iter().chain(&command));
    session.wait("started");
    sandbox.write("app.txt", "1");
    assert!(answer(&sandbox, &["wait"], 4).starts_with("generation 2 has started"));
    sandbox.write("app.txt", "bad");
    assert!(answer(&sandbox, &["wait"], 1).contains("could not be prepared (exited with 1)"));
    session.stop().assert_code(143);
    let run = "run:cp app.txt live.txt; sleep 0.3; ! grep bad live.txt";
    let mut session = sandbox.start(["-w", "app.txt", "--on-change", run]);
    session.wait("watching");
    sandbox.write("app.txt", "2");
    assert!(answer(&sandbox, &["wait"], 0).contains("the run for the change exited with 0"));
    session.wait("changed");
    sandbox.write("app.txt", "3");
    session.wait("changed");
    sandbox.write("app.txt", "bad");
    assert!(answer(&sandbox, &["wait"], 1).contains("the run for the change exited with 1"));
    assert_eq!(sandbox.read("live.txt"), "bad");
    session.stop().assert_code(143);
}

#[test]
fn in_a_pause_and_after_a_signal_it_says_so_at_once() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start([
        "--on-change",
        "signal:USR1",
        "--",
        "sh",
        "-c",
        "trap 'echo got it' USR1; echo ready; while :; do sleep 0.01; done",
    ]);
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout().contains("ready"));
    sandbox.write("app.py", "1");
    assert!(answer(&sandbox, &["wait"], 4).starts_with("SIGUSR1 was sent to the command"));
    session.wait_until("the signal", || session.stdout().contains("got it"));
    answer(&sandbox, &["pause"], 0);
    sandbox.write("app.py", "2");
    assert!(answer(&sandbox, &["wait"], 4).starts_with("the run is paused"));
    session.stop().assert_code(143);
}

#[test]
fn from_inside_the_run_it_is_refused() {
    let sandbox = Sandbox::new();
    let script = "$RELOADRUN wait; echo code $?; exec sleep 600";
    let mut session = sandbox.start_with(["--", "sh", "-c", script], |command| {
        command.env("RELOADRUN", env!("CARGO_BIN_EXE_reloadrun"));
    });
    session.wait_armed(1);
    session.wait_until("the answer", || session.stdout() == "code 2\n");
    assert!(session.stderr().contains("wait would wait for itself"), "{}", session.stderr());
    session.stop().assert_code(143);
}

#[test]
fn a_killed_child_and_a_save_during_a_stop_keep_nobody_waiting() {
    let Served { sandbox, session, port } = Served::new("inotify", &[], &["app.txt"]);
    for round in 1..8 {
        sandbox.write("app.txt", format!("{round} a"));
        if round % 2 == 0 {
            // It may have left by then, because of the save.
            let _ = Command::new("kill").args(["-KILL", &session.child_pid().to_string()]).output();
        }
        sandbox.write("app.txt", round.to_string());
        answer(&sandbox, &["wait"], 0);
        assert_eq!(request(port), round.to_string(), "{}", session.account());
    }
    session.stop().assert_code(143);
}

#[test]
fn more_clients_than_a_run_serves_at_a_time_all_get_their_answer() {
    let sandbox = Sandbox::new();
    let command = ["--", "sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; echo >&9; exec sleep 600"];
    let mut session = sandbox.start(["-w", "app.txt", "--ready", "fd:9"].iter().chain(&command));
    session.wait_armed(1);
    let wait = || sandbox.command(["wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting: Vec<Child> = (0..50).map(|_| wait()).collect();
    // Those for whom there is no room have been told so by then, or come later; all of them get an answer.
    std::thread::sleep(Duration::from_secs(1));
    sandbox.write("go", "");
    for child in waiting {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", session.account());
    }
    session.stop().assert_code(143);
}

/// The same content in one of the ways in which programs save.
fn save(random: &mut Random, path: &Path, content: &str) {
    let aside = path.with_extension("tmp");
    match random.below(6) {
        0 => fs::write(path, content).unwrap(),
        1 => {
            fs::write(&aside, content).unwrap();
            fs::rename(&aside, path).unwrap();
        }
        2 => {
            let _ = fs::remove_file(path);
            fs::write(path, content).unwrap();
        }
        3 => {
            // In pieces.
            let mut file = fs::File::create(path).unwrap();
            for byte in content.bytes() {
                file.write_all(&[byte]).unwrap();
            }
        }
        4 => {
            fs::write(path, "first").unwrap();
            fs::write(path, content).unwrap();
        }
        _ => {
            fs::write(path, content).unwrap();
            let same = fs::metadata(path).unwrap().modified().unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(same).unwrap();
        }
    }
}

/// So many rounds: `RELOADRUN_WAITS=10000` for more.
fn rounds() -> u64 {
    std::env::var("RELOADRUN_WAITS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

on_every_backend! {
    /// Random saves, each followed by a wait and a request: never an old answer, never a hang.
    fn after_a_wait_no_answer_is_old(backend) {
        let names = ["a.txt", "b.txt", "sub/c.txt"];
        let Served { sandbox, session, port } = Served::new(backend, &["-w", "*.txt"], &names);
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let mut random = Random::new(seed);
        let mut contents = ["0".to_owned(), "0".to_owned(), "0".to_owned()];
        let mut took = Vec::new();
        for round in 1..=rounds() {
            for _ in 0..1 + random.below(3) {
                let which = random.below(3);
                contents[which] = format!("{round}.{}", random.below(1000));
                save(&mut random, &sandbox.path(names[which]), &contents[which]);
            }
            // A stop or a start may be under way.
            std::thread::sleep(Duration::from_micros(500 * random.below(4) as u64));
            let began = Instant::now();
            let output = ask(&sandbox, &["wait"]);
            took.push(began.elapsed());
            assert_eq!(output.status.code(), Some(0), "seed {seed}, round {round}: {output:?}\n{}", session.account());
            assert_eq!(request(port), contents.join("|"), "seed {seed}, round {round}\n{}", session.account());
        }
        took.sort();
        eprintln!("{backend}: {} waits, median {:?}, p95 {:?}, longest {:?}", took.len(), took[took.len() / 2], took[took.len() * 95 / 100], took[took.len() - 1]);
        session.stop().assert_code(143);
    }
}
