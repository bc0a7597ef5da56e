//! `--jitter`: a change leads to something after this run's own share of the time, and nothing of it is lost or done twice.

use serde_json::Value;

use crate::control::{answer, ask, status};
use crate::support::namespace::{Namespace, is_root};
use crate::support::watched::names;
use crate::support::{Sandbox, Session};

/// A run on a host of this name; `None` where no other name can be given to it.
fn on_host(sandbox: &Sandbox, host: &str, arguments: &[&str]) -> Option<Session> {
    let user = if is_root() { &[][..] } else { &["--user", "--map-root-user"] };
    let words: Vec<&str> = ["unshare"].iter().chain(user).chain(&["--uts"]).copied().collect();
    match Namespace::new(&words, &format!("hostname {host}")).start(sandbox, arguments) {
        Ok(session) => Some(session),
        Err(reason) => {
            eprintln!("left out, no host can be given another name here: {reason}");
            None
        }
    }
}

fn delay(postponed: &Value) -> f64 {
    postponed["delay_ms"].as_f64().expect("a number")
}

const COMMAND: [&str; 5] = ["-w", "*.txt;fence", "--", "sleep", "600"];

/// The share of `web-0` is 20.36 s of a minute: two seconds of six.
fn with_two_seconds(sandbox: &Sandbox, more: &[&str]) -> Option<Session> {
    sandbox.write("a.txt", "one");
    sandbox.write("b.txt", "one");
    let mut session = on_host(sandbox, "web-0", &[&["--jitter", "6s"], more, &COMMAND].concat())?;
    session.wait_armed(1);
    assert_eq!(session.events().iter().filter(|event| event["event"] == "postponed").count(), 0, "the first start");
    Some(session)
}

#[test]
fn changes_wait_for_the_share_of_the_host_and_are_one_restart() {
    let sandbox = Sandbox::new();
    let Some(mut session) = with_two_seconds(&sandbox, &[]) else { return };
    sandbox.write("a.txt", "two");
    let postponed = session.wait("postponed");
    // From the notice on: the host was busy for less than a second.
    assert!((1000.0..2037.0).contains(&delay(&postponed)), "{postponed}");
    assert_eq!(postponed["path"].as_str(), sandbox.path("a.txt").to_str());
    assert!(session.stderr().contains("a.txt changed; nothing is done about it for "), "{}", session.stderr());
    sandbox.write("b.txt", "two");
    assert_eq!((session.starts(), status(&sandbox)["state"].as_str()), (1, Some("running")));
    // Whoever waits for his saves waits for this too.
    let waited = ask(&sandbox, &["wait"]);
    assert_eq!(waited.status.code(), Some(4), "{waited:?}");
    let started = session.wait_started(2);
    assert_eq!(names(&started), ["a.txt", "b.txt"]);
    assert!(started["restart_ms"].as_f64().is_some_and(|took| took > 2000.0), "{started}");
    session.wait("watching");
    sandbox.write("a.txt", "three");
    assert!(delay(&session.wait("postponed")) > 1000.0, "each change waits");
    assert_eq!(names(&session.wait_started(3)), ["a.txt"]);
    assert_eq!(session.stop().count("postponed"), 2);
}

#[test]
fn a_restart_that_was_asked_for_does_not_wait_and_takes_in_what_does() {
    let sandbox = Sandbox::new();
    let Some(mut session) = with_two_seconds(&sandbox, &["--jitter", "1h"]) else { return };
    sandbox.write("a.txt", "two");
    let postponed = session.wait("postponed");
    assert!(delay(&postponed) > 60_000.0, "{postponed}");
    answer(&sandbox, &["restart"], 0);
    let started = session.wait_armed(2);
    assert_eq!(started["reason"], "asked");
    // The command has it already: nothing is left that waits. Of the next change it would be the first.
    sandbox.write("fence", "");
    assert_eq!(session.wait("postponed")["path"].as_str(), sandbox.path("fence").to_str());
    session.stop().assert_code(143);
}

#[test]
fn a_stop_does_not_wait_for_a_change_that_does() {
    let sandbox = Sandbox::new();
    let Some(mut session) = with_two_seconds(&sandbox, &["--jitter", "1h"]) else { return };
    sandbox.write("a.txt", "two");
    session.wait("postponed");
    assert_eq!(session.stop().assert_code(143).count("started"), 1);
}

#[test]
fn a_change_of_the_config_file_waits_too_and_the_share_of_the_new_one_counts_from_then_on() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "jitter = 3\nwatch = 'a.txt'\n");
    sandbox.write("a.txt", "one");
    let Some(mut session) = on_host(&sandbox, "web-0", &["--", "sleep", "600"]) else { return };
    session.wait_armed(1);
    sandbox.write("reloadrun.toml", "watch = 'a.txt'\n");
    let postponed = session.wait("postponed");
    assert!((500.0..1019.0).contains(&delay(&postponed)), "{postponed}");
    assert_eq!(session.wait_armed(2)["reason"], "config");
    sandbox.write("a.txt", "two");
    session.wait_armed(3);
    assert_eq!(session.stop().count("postponed"), 1);
}

#[test]
fn a_signal_and_a_preparation_wait_as_well() {
    let sandbox = Sandbox::new();
    let prepare = ["--prepare", "echo prepared >> log", "--on-change", "signal:HUP"];
    let trap = "trap 'echo heard >> log' HUP; while :; do sleep 0.05; done";
    sandbox.write("a.txt", "one");
    let options = [&["--jitter", "3s", "-w", "a.txt"], &prepare[..], &["--", "sh", "-c", trap]].concat();
    let Some(mut session) = on_host(&sandbox, "web-0", &options) else { return };
    session.wait_started(1);
    session.wait_until("the watches", || !status(&sandbox)["watching"].is_null());
    sandbox.write("a.txt", "two");
    assert!(delay(&session.wait("postponed")) > 500.0);
    assert_eq!(sandbox.read("log"), "prepared\n", "for the first start");
    session.wait("changed");
    session.wait_until("the signal", || sandbox.read("log") == "prepared\nprepared\nheard\n");
    session.stop();
}

#[test]
fn runs_of_different_names_on_one_host_have_shares_of_their_own() {
    let mut delays = Vec::new();
    for name in ["one", "one", "two"] {
        let sandbox = Sandbox::new();
        sandbox.write("a.txt", "one");
        let mut session = sandbox.start([&["--jitter", "24h", "--name", name], &COMMAND[..]].concat());
        session.wait_armed(1);
        sandbox.write("a.txt", "two");
        delays.push(delay(&session.wait("postponed")));
        session.stop().assert_code(143);
    }
    // The notice of the change comes at another time each time.
    assert!((delays[0] - delays[1]).abs() < 10_000.0 && (delays[0] - delays[2]).abs() > 10_000.0, "{delays:?}");
}
