//! `--prepare` with real programs: nginx, whose configuration is swapped like a ConfigMap, and cargo, which builds the server
//! that runs.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::config_maps::Volume;
use super::held_servers::{Clients, get};
use crate::support::watched::{is_installed, run};
use crate::support::{Sandbox, Session, apps};

fn count(session: &Session, accept: impl Fn(&Value) -> bool) -> usize {
    session.events().iter().filter(|event| accept(event)).count()
}

fn is_signal(event: &Value) -> bool {
    event["event"] == "changed" && event["action"] == "signal:SIGHUP"
}

/// A configuration of nginx whose server answers with this text.
fn nginx_conf(beside: &str, port: u16, text: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {beside}/{kind};\n"))
        .collect();
    format!(
        "worker_processes 2;\npid {beside}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{text}'; }} }}\n}}\n"
    )
}

#[test]
fn nginx_gets_one_hup_for_each_configuration_that_it_accepts_and_loses_no_request() {
    if !is_installed("nginx", "a ConfigMap of nginx") {
        return;
    }
    let (sandbox, port) = (Sandbox::new(), apps::free_port());
    let beside = sandbox.beside().display().to_string();
    let conf = |text: &str| nginx_conf(&beside, port, text);
    let mut volume = Volume::new(sandbox.path("volume"));
    volume.publish(&[("nginx.conf", &conf("0"))]);
    let words = format!("nginx -p {beside} -c {}/nginx.conf -e {beside}/error.log", sandbox.path("volume").display());
    let prepare = format!("{words} -q -t");
    let command: Vec<&str> = words.split(' ').chain(["-g", "daemon off; error_log stderr notice;"]).collect();
    let options = ["-w", "volume", "--prepare", &prepare, "--on-change", "signal:HUP", "--stop-signal", "QUIT", "--"];
    let mut session = sandbox.start(options.iter().chain(&command));
    session.wait_started(1);
    session.wait_until("the first answer", || get(port, "/").is_ok_and(|body| body == "0"));
    let clients = Clients::start(port);
    let mut swaps = 0;
    for round in 1..=4 {
        let swap = |volume: &mut Volume, session: &mut Session, text: &str| {
            volume.publish(&[("nginx.conf", &conf(text))]);
            session.wait_where("changed", is_signal);
            session.wait_until("the new answer", || get(port, "/").is_ok_and(|body| body == text));
        };
        swap(&mut volume, &mut session, &format!("good {round}"));
        // Not to be parsed; parsed, and not to be had: both are found by `nginx -t`.
        for broken in ["http {", &conf("x").replace("127.0.0.1", "300.0.0.1")] {
            volume.publish(&[("nginx.conf", broken)]);
            session.wait("prepare_failed");
            // An old worker may still answer for a moment, and then it answers what was good before.
            let good = format!("good {round}");
            session.wait_until("the good answer", || get(port, "/").is_ok_and(|body| body == good));
        }
        swap(&mut volume, &mut session, &format!("repaired {round}"));
        swaps += 2;
    }
    // What a swap leads to late would have come by now.
    std::thread::sleep(Duration::from_millis(300));
    let tally = clients.stop();
    let heard = session.stderr().matches("signal 1 (SIGHUP) received").count();
    assert_eq!((count(&session, is_signal), heard), (swaps, swaps), "{}", session.account());
    assert_eq!((tally.refused, tally.cut, &tally.others), (0, 0, &Vec::new()), "{tally}\n{}", session.account());
    assert!(tally.answered > 50, "{tally}");
    assert_eq!(session.starts(), 1);
    session.stop().assert_code(143);
}

/// A server in Rust that answers with this text.
fn server(text: &str) -> String {
    format!(
        r#"use std::io::{{Read, Write}};
fn main() {{
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {{
        let mut stream = stream.unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {{
            request.extend(byte);
        }}
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{text}");
    }}
}}
"#
    )
}

#[test]
fn while_cargo_builds_the_new_server_the_old_one_answers() {
    // What cargo reads and writes is known from the patterns, or from the trace.
    for watch in [&["-w", "src;Cargo.toml"][..], &[], &["--discover", "only"]] {
        let (sandbox, port) = (Sandbox::new(), apps::free_port());
        let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
        sandbox.write("Cargo.toml", manifest);
        sandbox.write("src/main.rs", server("zero"));
        let options = ["--prepare", "cargo build -q --offline", "--", "target/debug/app"];
        let mut session = sandbox.start_with(watch.iter().chain(&options), |command| {
            command.env("PORT", port.to_string()).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        });
        session.wait_started(1);
        session.wait_until("the first answer", || get(port, "/").is_ok_and(|body| body == "zero"));
        let prepared = |session: &Session| count(session, |event| event["event"] == "prepared");
        let mut old = "zero";
        for (generation, new) in (2..).zip(["one", "two"]) {
            let before = prepared(&session);
            sandbox.write("src/main.rs", server(new));
            session.wait("preparing");
            let mut answered = 0;
            while prepared(&session) == before {
                if get(port, "/").is_ok_and(|body| body == old) {
                    answered += 1;
                } else {
                    // It was stopped in the middle of this one, and the event is on its way.
                    session.wait_until("the end of the preparation", || prepared(&session) > before);
                }
            }
            assert!(answered > 5, "{answered} answers");
            session.wait_started(generation);
            session.wait_until("the new answer", || get(port, "/").is_ok_and(|body| body == new));
            old = new;
            // A build that fails stops nobody.
            sandbox.write("src/main.rs", server(new).replace("for stream", "for broken broken"));
            session.wait("prepare_failed");
            assert_eq!(get(port, "/").ok().as_deref(), Some(old), "{}", session.account());
        }
        assert_eq!(session.starts(), 3, "{}", session.account());
        session.stop().assert_code(143);
        // It is the server, and not what cargo has linked to.
        assert!(fs::metadata(sandbox.path("target/debug/app")).is_ok());
        run(&sandbox, "rm", &["-rf", "target"]);
    }
}
