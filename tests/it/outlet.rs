//! `--http`: reloadrun answers probes, from a process of its own that is no part of the command.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use super::ends::pid_of;
use crate::support::http::{Visit, get};
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// A run with an outlet on a free port, and where it answers.
pub fn start(sandbox: &Sandbox, more: &[&str], command: &[&str]) -> (Session, SocketAddr) {
    sandbox.write("app.txt", "one");
    let options = ["-w", "app.txt", "--http", "127.0.0.1:0"];
    let mut session = sandbox.start(options.iter().chain(more).chain(&["--"]).chain(command));
    let address = address_of(&mut session, "http");
    (session, address)
}

/// Where an option of the outlet answers.
pub fn address_of(session: &mut Session, option: &str) -> SocketAddr {
    let serving = session.wait_where("serving", |event| event["option"] == option);
    let url = serving["url"].as_str().expect("it is text");
    url.strip_prefix("http://").expect("it is plain HTTP").parse().expect("an address with its port")
}

/// The children of a process with this name.
fn children(pid: i32, name: &str) -> Vec<i32> {
    let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let comm = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    all.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| comm(pid).trim_end() == name).collect()
}

/// The outlet of a run, when it is there.
pub fn outlet_of(session: &Session) -> i32 {
    session.wait_until("the outlet", || children(session.pid(), "reload-outlet").len() == 1);
    children(session.pid(), "reload-outlet")[0]
}

fn descriptors(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_probe_is_answered_by_get_and_head_on_one_connection_and_nothing_else_is() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[], &["sleep", "600"]);
    let mut visit = Visit::to(address);
    for _ in 0..3 {
        let reply = visit.ask("GET", "/live", &[]);
        assert_eq!((reply.status, reply.body.as_str()), (200, "live\n"), "{reply:?}");
        assert_eq!(reply.headers["cache-control"], "no-store");
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{reply:?}");
        let reply = visit.ask("HEAD", "/live?verbose", &[]);
        assert_eq!((reply.status, reply.headers["content-length"].as_str()), (200, "5"), "{reply:?}");
    }
    for path in ["/", "/alive", "/live/", "//live", "/../live", "*"] {
        assert_eq!(Visit::to(address).ask("GET", path, &[]).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let reply = Visit::to(address).ask(method, "/live", &[("Content-Length", "0")]);
        assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "GET, HEAD"), "{method}");
    }
    assert!(session.stderr().contains(&format!("answering at http://{address}/live\n")), "{}", session.stderr());
    session.stop().assert_code(143);
}

#[test]
fn a_name_that_leads_to_this_machine_by_dns_is_not_answered() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[], &["sleep", "600"]);
    let port = address.port();
    let own =
        [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "app.localhost".to_owned(), "[::1]".to_owned()];
    for host in own {
        assert_eq!(Visit::to(address).ask("GET", "/live", &[("Host", &host)]).status, 200, "{host}");
    }
    for host in ["evil.example", &format!("evil.example:{port}"), "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(Visit::to(address).ask("GET", "/live", &[("Host", host)]).status, 403, "{host}");
    }
    let twice = [("Host", "localhost"), ("Host", "evil.example")];
    assert_eq!(Visit::to(address).ask("GET", "/live", &twice).status, 400);
    for (request, expected) in [("GET /live HTTP/1.1\r\n\r\n", 400), ("GET /live HTTP/1.0\r\n\r\n", 200)] {
        let mut visit = Visit::to(address);
        visit.say(request);
        assert_eq!(visit.hear(true).expect("an answer").status, expected, "{request:?}");
    }
    session.stop().assert_code(143);
    // Where all interfaces were asked for, names are somebody's own affair: probes of a cluster use them.
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--http", "0.0.0.0:0", "--", "sleep", "600"]);
    let address: SocketAddr = ([127, 0, 0, 1], address_of(&mut session, "http").port()).into();
    assert_eq!(Visit::to(address).ask("GET", "/live", &[("Host", "pod-7.example")]).status, 200);
    session.stop().assert_code(143);
}

#[test]
fn a_supervisor_that_is_stopped_is_not_live_until_it_goes_on() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[], &["sleep", "600"]);
    assert_eq!(get(address, "/live").status, 200);
    session.signal("STOP");
    for _ in 0..2 {
        let reply = get(address, "/live");
        assert_eq!((reply.status, reply.body.as_str()), (503, "the supervisor does not answer\n"));
    }
    session.signal("CONT");
    session.wait_until("an answer", || get(address, "/live").status == 200);
    session.stop().assert_code(143);
}

#[test]
fn an_outlet_that_is_killed_is_started_again_on_its_port_and_the_command_runs_on() {
    let sandbox = Sandbox::new();
    let (mut session, address) = start(&sandbox, &[], &["sleep", "600"]);
    let pid = pid_of(&session.wait_armed(1));
    for _ in 0..3 {
        let outlet = outlet_of(&session);
        signal(outlet, "KILL");
        session
            .wait_until("the next one", || children(session.pid(), "reload-outlet").iter().any(|next| *next != outlet));
        assert_eq!(get(address, "/live").status, 200);
    }
    assert!(is_alive(pid));
    // It ends all the same by the rules of the command: a change is a restart, and the outlet stays.
    let outlet = outlet_of(&session);
    sandbox.write("app.txt", "two");
    session.wait_armed(2);
    assert_eq!(outlet_of(&session), outlet);
    let ended = session.stop();
    ended.assert_code(143);
    let told: Vec<_> = ended.events.iter().filter(|event| event["event"] == "degraded").collect();
    assert_eq!(told.len(), 1, "it is told once: {told:?}");
    assert_eq!(told[0]["kind"], "outlet_ended");
    assert_eq!(ended.count("started"), 2);
    assert!(!is_alive(outlet));
    TcpListener::bind(address).expect("nobody listens in the end");
}

#[test]
fn an_outlet_has_nothing_of_the_command_and_outlives_every_child_but_not_its_supervisor() {
    let sandbox = Sandbox::new();
    let free = crate::support::apps::free_port();
    let listen = format!("tcp:127.0.0.1:{free}");
    let (mut session, address) = start(&sandbox, &["--listen", &listen], &["sleep", "600"]);
    let command = pid_of(&session.wait_armed(1));
    let outlet = outlet_of(&session);
    assert_eq!(get(address, "/live").status, 200);
    let open = descriptors(outlet);
    let sockets = open.iter().filter(|one| one.starts_with("socket:")).count();
    let others = open.iter().filter(|one| !one.starts_with("socket:") && !one.starts_with("anon_inode:"));
    let others: Vec<&String> = others.filter(|one| *one != "/dev/null").collect();
    assert!(sockets <= 4, "the supervisor, and the socket with its copy: {open:?}");
    assert!(others.iter().all(|one| one.ends_with("/stderr")), "no lockfile, no pipe, no event file: {open:?}");
    let held = descriptors(command);
    assert_eq!(held.iter().filter(|one| one.starts_with("socket:")).count(), 1, "only that of --listen: {held:?}");
    assert!(open.iter().all(|one| !held.contains(one) || one == "/dev/null" || one.ends_with("/stderr")));
    let group = |pid: i32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .expect("it lives")
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(2).map(str::to_owned))
    };
    assert_eq!(group(outlet), Some(outlet.to_string()), "Ctrl-C does not reach it");
    // A child that dies is cleaned up after, and the outlet is not in the way.
    let child = children(session.pid(), "reload-child")[0];
    signal(child, "KILL");
    session.wait_started(2);
    assert!(!is_alive(command) && is_alive(outlet));
    session.signal("KILL");
    session.wait_until("the end of the outlet", || !is_alive(outlet));
    TcpListener::bind(address).expect("nobody listens in the end");
    let command = session.events().iter().rfind(|event| event["event"] == "started").map(pid_of).expect("it ran");
    session.wait_until("the end of the command", || !is_alive(command));
}

#[test]
fn clients_that_do_not_ask_are_let_go_and_heads_that_are_too_large_are_refused() {
    let sandbox = Sandbox::new();
    let (session, address) = start(&sandbox, &[], &["sleep", "600"]);
    let mut large = Visit::to(address);
    let reply = large.ask("GET", "/live", &[("X-Large", &"x".repeat(20_000))]);
    assert_eq!(reply.status, 431);
    let many: Vec<(String, &str)> = (0..100).map(|number| (format!("X-{number}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(Visit::to(address).ask("GET", "/live", &many).status, 431);
    // More than are served at a time, and none of them ends its request.
    let mut slow: Vec<Visit> = (0..300).map(|_| Visit::to(address)).collect();
    slow.iter_mut().take(200).for_each(|visit| visit.say("GET /live HTTP/1.1\r\nHost: "));
    assert_eq!(get(address, "/live").status, 200);
    assert!(slow[0].hear(true).is_none_or(|reply| reply.status == 408), "it was let go");
    session.stop().assert_code(143);
}

#[test]
fn an_address_in_use_is_told_with_who_uses_it_before_anything_starts() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let ended = sandbox.start(["--http", &address.to_string(), "--", "touch", "started"]).wait_end();
    ended.assert_code(125);
    let own = format!("--http {address}: port {} is in use by process {} (", address.port(), std::process::id());
    assert!(ended.stderr.contains(&own), "{ended:#?}");
    assert!(!sandbox.path("started").exists() && ended.events.is_empty());
}

#[test]
fn the_key_of_the_config_file_is_the_same_and_holds_until_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "http = \"127.0.0.1:0\"\nwatch = \"app.txt\"\n");
    let mut session = sandbox.start(["--", "sleep", "600"]);
    let address = address_of(&mut session, "http");
    session.wait_armed(1);
    sandbox.write("reloadrun.toml", "http = \"127.0.0.1:1\"\nwatch = \"app.txt\"\n");
    session
        .wait_where("hint", |event| event["message"].as_str().is_some_and(|text| text.starts_with("http was changed")));
    session.wait_armed(2);
    assert_eq!(get(address, "/live").status, 200);
    sandbox.write("reloadrun.toml", "http = \"localhost\"\nwatch = \"app.txt\"\n");
    let rejected = session.wait("config_rejected");
    assert!(rejected["mistakes"][0].as_str().is_some_and(|text| text.contains("expected an IP address and a port")));
    session.stop().assert_code(143);
}
