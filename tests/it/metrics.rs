//! `/ready`, `/status` and `/metrics`: the command's truth for probes and for Prometheus.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::outlet::address_of;
use crate::control::{answer, ask};
use crate::support::http::get;
use crate::support::session::signal;
use crate::support::{Sandbox, Session, apps};

/// Is ready when there is a file, and ends with the code in another.
const APP: &str = "while [ ! -e ready ]; do [ -e code ] && exit $(cat code); sleep 0.02; done; echo >&7; while [ ! -e code ]; do sleep 0.02; done; exit $(cat code)";

fn start(sandbox: &Sandbox, more: &[&str]) -> (Session, SocketAddr) {
    sandbox.write("app.txt", "one");
    let options = ["--name", "web", "-w", "app.txt", "--http", "127.0.0.1:0", "--ready", "fd:7"];
    let mut session = sandbox.start(options.iter().chain(more).chain(&["--", "sh", "-c", APP]));
    let address = address_of(&mut session, "http");
    (session, address)
}

fn until_ready(session: &Session, address: SocketAddr, status: u16) {
    session.wait_until("the answer of /ready", || get(address, "/ready").status == status);
}

/// One sample: `name` or `name{label="value"}`.
fn sample(address: SocketAddr, name: &str) -> Option<f64> {
    let text = get(address, "/metrics").body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

#[test]
fn ready_is_what_the_command_is_and_live_what_the_supervisor_is() {
    let sandbox = Sandbox::new();
    let (mut session, address) = start(&sandbox, &[]);
    session.wait_armed(1);
    let reply = get(address, "/ready");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(
        reply.body.contains("generation 1 has been running for ") && reply.body.contains("not ready yet"),
        "{reply:?}"
    );
    sandbox.write("ready", "");
    until_ready(&session, address, 200);
    assert!(get(address, "/ready").body.ends_with(", ready\n"));
    std::fs::remove_file(sandbox.path("ready")).expect("it is there");
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    assert_eq!(get(address, "/ready").status, 503, "the next one is not ready yet");
    sandbox.write("ready", "");
    until_ready(&session, address, 200);
    sandbox.write("code", "7");
    until_ready(&session, address, 503);
    session.wait("waiting");
    session.wait_until("its exit code in the answer", || get(address, "/ready").body.contains("exited with 7"));
    assert_eq!(get(address, "/live").status, 200, "the loop is healthy");
    session.stop().assert_code(143);
}

#[test]
fn with_overlap_somebody_is_always_ready() {
    let sandbox = Sandbox::new();
    sandbox.write("ready", "");
    let (mut session, address) = start(&sandbox, &["--overlap"]);
    session.wait("ready");
    session.wait_until("its watches", || session.events().iter().any(|event| event["event"] == "watching"));
    std::fs::remove_file(sandbox.path("ready")).expect("it is there");
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    assert_eq!(get(address, "/ready").status, 200, "generation 1 serves");
    assert_eq!(sample(address, "reloadrun_generation"), Some(2.0));
    sandbox.write("ready", "");
    session.wait("ready");
    assert_eq!(get(address, "/ready").status, 200);
    session.stop().assert_code(143);
}

#[test]
fn status_is_what_the_verb_prints() {
    let sandbox = Sandbox::new();
    sandbox.write("ready", "");
    let (mut session, address) = start(&sandbox, &[]);
    session.wait("digest");
    let without_time = |text: &str| {
        let mut status: Value = serde_json::from_str(text).expect("it is JSON");
        status["for_ms"].take();
        status
    };
    let reply = get(address, "/status");
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "application/json"));
    assert_eq!(without_time(&reply.body), without_time(&answer(&sandbox, &["status", "--json"], 0)));
    session.stop().assert_code(143);
}

/// Reads metrics as Prometheus' own library does, and prints type, name, labels and value of each sample.
const PARSER: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family
    for sample in family.samples:
        labels = ','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))
        print(family.type, sample.name, labels, sample.value, sep='\\t')
";

/// Each sample by name and labels, with type and value.
fn parsed(text: &str) -> BTreeMap<String, (String, f64)> {
    let bin = apps::tools("fleet").unwrap_or_else(|message| panic!("{message}"));
    let mut parser = Command::new(bin.join("python3"));
    let parser = parser.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parser = parser.spawn().expect("python");
    parser.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = parser.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{text}");
    let mut samples = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let name = if words[2].is_empty() { words[1].to_owned() } else { format!("{}{{{}}}", words[1], words[2]) };
        let before = samples.insert(name, (words[0].to_owned(), words[3].parse().expect("a number")));
        assert_eq!(before, None, "{line} comes twice");
    }
    samples
}

#[test]
fn prometheus_reads_the_metrics_and_they_tell_what_happened() {
    if apps::offline() {
        return apps::left_out("the library of Prometheus");
    }
    let sandbox = Sandbox::new();
    sandbox.write("ready", "");
    let (mut session, address) = start(&sandbox, &["--prepare", "test $(cat app.txt) != bad", "--on-exit", "restart"]);
    session.wait("ready");
    session.wait_until("its watches", || session.events().iter().any(|event| event["event"] == "watching"));
    sandbox.write("app.txt", "two");
    session.wait("ready");
    answer(&sandbox, &["restart"], 0);
    session.wait("ready");
    // It may come before that.
    session.wait_until("its digest", || {
        session.events().iter().any(|event| event["event"] == "digest" && event["generation"] == 3)
    });
    sandbox.write("app.txt", "bad");
    session.wait("prepare_failed");
    let reply = get(address, "/metrics");
    assert_eq!(
        (reply.status, reply.headers["content-type"].as_str()),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    let samples = parsed(&reply.body);
    let gauge = |name: &str| samples.get(name).filter(|(kind, _)| kind == "gauge").map(|(_, value)| *value);
    let counter = |reason: &str| {
        let name = format!("reloadrun_restarts_total{{reason={reason}}}");
        samples.get(&name).filter(|(kind, _)| kind == "counter").map(|(_, value)| *value)
    };
    for (name, value) in [
        ("reloadrun_generation", 3.0),
        ("reloadrun_serving", 1.0),
        ("reloadrun_paused", 0.0),
        ("reloadrun_degraded", 0.0),
        ("reloadrun_last_reload_success", 0.0),
        ("reloadrun_state{state=running}", 1.0),
        ("reloadrun_state{state=ending}", 0.0),
    ] {
        assert_eq!(gauge(name), Some(value), "{name}\n{}", reply.body);
    }
    for name in ["reload", "stop", "start", "ready"] {
        let seconds =
            gauge(&format!("reloadrun_last_{name}_seconds")).unwrap_or_else(|| panic!("{name}\n{}", reply.body));
        assert!((0.0..60.0).contains(&seconds), "{name}: {seconds}");
    }
    assert_eq!((counter("change"), counter("asked"), counter("crash")), (Some(1.0), Some(1.0), Some(0.0)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_secs_f64();
    assert!((gauge("reloadrun_last_reload_timestamp_seconds").expect("there was one") - now).abs() < 600.0);
    let digest: Value = serde_json::from_str(&get(address, "/status").body).expect("it is JSON");
    let digest = digest["digest"].as_str().expect("there is one");
    assert_eq!(gauge(&format!("reloadrun_digest_info{{digest={digest}}}")), Some(1.0));
    assert!(samples.keys().all(|name| name.starts_with("reloadrun_")), "{samples:?}");
    // Every metric is in the book, and the other way round.
    let book = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operators.md")).expect("it is there");
    let told: Vec<&str> =
        book.lines().filter_map(|line| line.strip_prefix("| `reloadrun_")?.split(['`', '{']).next()).collect();
    let mut exported: Vec<&str> =
        samples.keys().filter_map(|name| name.strip_prefix("reloadrun_")?.split('{').next()).collect();
    exported.dedup();
    for name in &exported {
        assert!(told.contains(name), "docs/operators.md lacks reloadrun_{name}");
    }
    assert_eq!(told.len(), exported.len(), "{told:?} {exported:?}");
    session.stop();
}

#[test]
fn a_supervisor_that_does_not_answer_is_not_ready_and_has_no_metrics() {
    let sandbox = Sandbox::new();
    sandbox.write("ready", "");
    let (mut session, address) = start(&sandbox, &[]);
    session.wait("ready");
    session.signal("STOP");
    for path in ["/ready", "/status", "/metrics"] {
        let reply = get(address, path);
        assert_eq!((reply.status, reply.body.as_str()), (503, "the supervisor does not answer\n"), "{path}");
    }
    session.signal("CONT");
    until_ready(&session, address, 200);
    // A child that is gone is no reason either way: the next generation is.
    signal(session.child_pid(), "CONT");
    assert_eq!(ask(&sandbox, &["stop"]).status.code(), Some(0));
    session.wait_end().assert_code(0);
}
