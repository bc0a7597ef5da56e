//! A command that says by sd_notify(3) that it reloads: what it says is the proof that a signal for a change was taken up.

use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use super::control::{answer, ask};
use crate::support::session::{Ended, signal};
use crate::support::{Sandbox, Session, http};

/// A server that reads `app.txt` at its start and on HUP, and tells of it as systemd wants it. `mode` is a file of words that say
/// how it does that; `gate` holds a reload up until it is gone.
const SERVER: &str = "
import os, signal, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
def mode():
    return open('mode').read().split()
def load():
    open('loaded', 'a').write(open('app.txt').read() + '\\n')
reloads = 0
def reload(*_):
    global reloads
    reloads += 1
    how, gate = mode(), f'gate.{reloads}'
    # A second HUP comes when this is over.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        reload_now(how, gate)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
def reload_now(how, gate):
    if 'deaf' in how:
        return load()
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    if 'old' in how:
        now = 1
    tell('RELOADING=1' + ('' if 'timeless' in how else f'\\nMONOTONIC_USEC={now}'))
    open(gate + '.reached', 'w').close()
    while os.path.exists(gate):
        time.sleep(0.01)
    if 'dies' in how:
        os._exit(9)
    if 'ends' in how:
        os._exit(0)
    if 'fails' in how:
        return
    load()
    tell('READY=1')
signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGUSR1, lambda *_: tell('READY=1'))
load()
tell('READY=1')
while True:
    time.sleep(0.01)
";

struct Notified {
    sandbox: Sandbox,
    session: Session,
}

impl Notified {
    /// One that is ready.
    fn new(mode: &str, options: &[&str]) -> Notified {
        let sandbox = Sandbox::new();
        sandbox.write("app.txt", "0");
        sandbox.write("mode", mode);
        let first = ["-w", "app.txt", "--ready", "notify", "--on-change", "signal:HUP"];
        let mut session = sandbox.start(first.iter().chain(options).chain(&["--", "python3", "-c", SERVER]));
        session.wait_armed(1);
        session.wait_until("ready", || session.is_ready(1));
        Notified { sandbox, session }
    }

    /// The reload of this number will wait.
    fn close_gate(&self, number: u32) {
        self.sandbox.write(format!("gate.{number}"), "");
    }

    /// The command has said RELOADING=1, and waits.
    fn wait_at_gate(&self, number: u32) {
        let reached = self.sandbox.path(format!("gate.{number}.reached"));
        self.session.wait_until("the command at its gate", || reached.exists());
    }

    fn open_gate(&self, number: u32) {
        std::fs::remove_file(self.sandbox.path(format!("gate.{number}"))).unwrap();
    }

    fn command_pid(&self) -> i32 {
        self.status()["command_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("it runs")
    }

    fn reloading(&self) -> Vec<Value> {
        self.session.events().into_iter().filter(|event| event["event"] == "reloading").collect()
    }

    fn save(&self, content: &str) {
        self.sandbox.write("app.txt", content);
    }

    /// A wait in the background, from before whatever comes next.
    fn waiting(&self, options: &[&str]) -> Child {
        let mut command = self.sandbox.command(["wait"].iter().chain(options));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&answer(&self.sandbox, &["status", "--json"], 0)).unwrap()
    }

    fn loaded(&self) -> String {
        self.sandbox.read("loaded").replace('\n', " ")
    }
}

fn of<'a>(ended: &'a Ended, name: &str) -> Vec<&'a Value> {
    ended.events.iter().filter(|event| event["event"] == name).collect()
}

fn code_and_words(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_signal_is_proven_by_reloading_and_then_ready_whenever_it_is_asked() {
    for mode in ["", "timeless"] {
        let notified = Notified::new(mode, &[]);
        assert_eq!(answer(&notified.sandbox, &["wait"], 0), "generation 1 is ready\n");
        for round in 1..4 {
            notified.save(&round.to_string());
            let words = answer(&notified.sandbox, &["wait"], 0);
            assert_eq!(words, "generation 1 has reloaded for SIGHUP, and is ready\n");
            assert!(notified.loaded().ends_with(&format!("{round} ")), "{}", notified.loaded());
        }
        // While it reloads, and after.
        notified.close_gate(4);
        notified.save("4");
        notified.wait_at_gate(4);
        let waiting = notified.waiting(&[]);
        notified.session.wait_until("the event", || notified.reloading().len() == 4);
        let status = notified.status();
        assert_eq!(status["reloading"], true, "{status}");
        assert_eq!((&status["ready"], &status["serving"]), (&Value::Bool(false), &Value::Bool(false)), "{status}");
        assert!(answer(&notified.sandbox, &["status"], 0).contains(", reloading"));
        notified.open_gate(4);
        let (code, words) = code_and_words(&waiting.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{words}");
        assert!(notified.loaded().ends_with("4 "));
        let status = notified.status();
        assert_eq!((&status["ready"], &status["reloading"]), (&Value::Bool(true), &Value::Bool(false)), "{status}");
        assert_eq!(status["last_reload"]["success"], true, "{status}");
        assert_eq!(answer(&notified.sandbox, &["wait"], 0), "generation 1 has reloaded for SIGHUP, and is ready\n");

        let ended = notified.session.stop();
        assert!(ended.stderr.contains("reloadrun: the command has reloaded, and is ready after "), "{ended:#?}");
        let reloading = of(&ended, "reloading");
        assert_eq!(reloading.len(), 4, "{ended:#?}");
        assert!(reloading.iter().all(|event| event["signal"] == "SIGHUP"), "{reloading:?}");
        let ready: Vec<bool> = of(&ended, "ready").iter().map(|event| event["reload"] == true).collect();
        assert_eq!(ready, [false, true, true, true, true]);
    }
}

#[test]
fn the_first_of_two_reloads_does_not_prove_the_second() {
    let mut notified = Notified::new("", &[]);
    notified.close_gate(1);
    notified.close_gate(2);
    notified.save("1");
    notified.wait_at_gate(1);
    notified.save("2");
    let changes = || notified.session.events().iter().filter(|event| event["event"] == "changed").count();
    notified.session.wait_until("the second signal", || changes() == 2);
    notified.open_gate(1);
    notified.session.wait_where("ready", |event| event["reload"] == true);
    let output = ask(&notified.sandbox, &["wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let waiting = notified.waiting(&[]);
    notified.wait_at_gate(2);
    notified.open_gate(2);
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
    assert!(notified.loaded().ends_with("2 "), "{}", notified.loaded());
    notified.session.stop().assert_code(143);
}

#[test]
fn neither_ready_alone_nor_a_reload_that_began_before_the_signal_proves_anything() {
    let mut notified = Notified::new("old", &[]);
    notified.close_gate(1);
    notified.save("1");
    notified.wait_at_gate(1);
    signal(notified.command_pid(), "USR1");
    notified.session.wait_where("ready", |event| event["reload"] == true);
    let output = ask(&notified.sandbox, &["wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    notified.open_gate(1);
    assert!(answer(&notified.sandbox, &["wait"], 4).starts_with("SIGHUP was sent to the command"));
    assert_eq!(notified.reloading()[0]["signal"], Value::Null);
    notified.session.stop().assert_code(143);
}

#[test]
fn a_command_that_does_not_know_the_protocol_keeps_nobody_waiting_but_the_first() {
    let mut notified = Notified::new("deaf", &[]);
    notified.save("1");
    let delivered = "SIGHUP was sent to the command; what it did about it is unknown\n";
    assert_eq!(answer(&notified.sandbox, &["wait"], 4), delivered);
    for round in 2..6 {
        notified.save(&round.to_string());
        // It would take 5 s each else.
        assert_eq!(answer(&notified.sandbox, &["wait", "--timeout", "4s"], 4), delivered);
    }
    let status = notified.status();
    assert_eq!((&status["ready"], &status["serving"]), (&Value::Bool(true), &Value::Bool(true)), "{status}");
    // It learns.
    notified.sandbox.write("mode", "");
    notified.save("6");
    notified.session.wait("reloading");
    notified.session.wait_where("ready", |event| event["reload"] == true);
    assert_eq!(answer(&notified.sandbox, &["wait"], 0), "generation 1 has reloaded for SIGHUP, and is ready\n");
    notified.session.stop().assert_code(143);
}

#[test]
fn a_reload_that_never_ends_is_told_once_and_the_next_one_may_repair_it() {
    let notified = Notified::new("fails", &["--ready-timeout", "6s"]);
    notified.save("1");
    let output = ask(&notified.sandbox, &["wait", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert_eq!(answer(&notified.sandbox, &["wait"], 1), "generation 1 was not ready again in time\n");
    let status = notified.status();
    assert_eq!(
        (&status["ready"], &status["last_reload"]["success"]),
        (&Value::Bool(false), &Value::Bool(false)),
        "{status}"
    );
    notified.sandbox.write("mode", "");
    notified.save("2");
    assert_eq!(answer(&notified.sandbox, &["wait"], 0), "generation 1 has reloaded for SIGHUP, and is ready\n");
    let status = notified.status();
    assert_eq!((&status["ready"], &status["degraded"]), (&Value::Bool(true), &serde_json::json!([])), "{status}");
    let ended = notified.session.stop();
    let told = of(&ended, "degraded");
    assert_eq!(told.len(), 1, "{ended:#?}");
    assert_eq!(told[0]["kind"], "not_ready");
    let message = "not ready after 6s: the command has not sent READY=1 since RELOADING=1; the command runs on";
    assert_eq!(told[0]["message"], message);
}

#[test]
fn a_command_that_ends_while_it_reloads_has_failed_however_it_ends() {
    for (mode, words) in [("dies", "exited with 9"), ("ends", "exited with 0 (success)")] {
        let mut notified = Notified::new(mode, &["--on-exit", "wait"]);
        notified.close_gate(1);
        notified.save("1");
        notified.wait_at_gate(1);
        let waiting = notified.waiting(&[]);
        notified.session.wait("reloading");
        notified.open_gate(1);
        let (code, said) = code_and_words(&waiting.wait_with_output().unwrap());
        assert_eq!((code, said), (Some(1), format!("the command of generation 1 {words}\n")));
        assert_eq!(notified.status()["last_reload"]["success"], false);
        notified.session.stop().assert_code(143);
    }
}

#[test]
fn a_command_that_reloads_by_itself_is_not_ready_meanwhile() {
    let mut notified = Notified::new("", &["--http", "127.0.0.1:0"]);
    // It may have been told before the command was ready.
    let events = notified.session.events();
    let serving =
        events.iter().find(|event| event["event"] == "serving").expect("it answers before the command starts");
    let address: SocketAddr = serving["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let ready = || http::get(address, "/ready").status;
    notified.session.wait_until("the outlet", || ready() == 200);
    notified.close_gate(1);
    signal(notified.command_pid(), "HUP");
    let event = notified.session.wait("reloading");
    assert_eq!(event["signal"], Value::Null, "{event}");
    notified.session.wait_until("503", || ready() == 503);
    let output = ask(&notified.sandbox, &["wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    notified.open_gate(1);
    assert_eq!(answer(&notified.sandbox, &["wait"], 0), "generation 1 is ready\n");
    notified.session.wait_until("200", || ready() == 200);
    let ended = notified.session.stop();
    assert!(ended.stderr.contains("reloadrun: the command reloads\n"), "{ended:#?}");
}
