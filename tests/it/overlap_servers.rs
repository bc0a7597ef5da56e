//! Real servers with `--listen` and `--overlap` under load: while the next generation comes up, the old one answers.

use std::path::Path;
use std::time::Duration;

use crate::held_servers::{Clients, get, python, start_with, start_without, wanted_restarts};
use crate::support::{Sandbox, Session, apps};

const GUNICORN: [&str; 6] = ["gunicorn", "-w", "4", "--preload", "--no-control-socket", "slow:app"];

/// The fixture with `--overlap`, at this port; its first generation is ready.
fn overlapping(options: &[&str], command: &[&str], bin: Option<&Path>) -> (Sandbox, u16, Session) {
    let (sandbox, port) = (Sandbox::new(), apps::free_port());
    apps::copy_fixture("held", sandbox.root());
    sandbox.write("app.txt", "one");
    let mut session = start_with(&[&["--overlap"], options].concat(), command, bin, &sandbox, port);
    session.wait_armed(1);
    session.wait_until("ready", || session.is_ready(1));
    (sandbox, port, session)
}

/// Restarts it under load. While the next generation is on its way, the one before it answers.
fn replaced_under_load(name: &str, options: &[&str], command: &[&str], bin: Option<&Path>) {
    let restarts = wanted_restarts();
    let (sandbox, port, mut session) = overlapping(options, command, bin);
    let clients = Clients::start(port);
    let mut served_meanwhile = 0;
    for generation in 2..=restarts + 1 {
        sandbox.write("app.txt", generation.to_string());
        session.wait_started(generation);
        while !session.is_ready(generation) {
            let body = get(port, "/").unwrap_or_default();
            served_meanwhile += usize::from(body == (generation - 1).to_string());
            session.wait_until("the end of a failed attempt", || !body.is_empty());
        }
        session.wait_where("stopped", |seen| seen["generation"] == generation - 1);
        let new = generation.to_string();
        session.wait_until("the answer of the new one", || get(port, "/").is_ok_and(|body| body == new));
    }
    let tally = clients.stop();
    eprintln!("{name} with --overlap, {restarts} restarts: {tally}");
    let account = session.account();
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!((tally.refused, &tally.others), (0, &Vec::new()), "{name}: {tally}\n{account}");
    assert_eq!(ended.count("ready"), usize::try_from(restarts).unwrap() + 1, "{account}");
    assert!(served_meanwhile > 0, "the old generation has never answered while the next one came up: {account}");
}

#[test]
fn gunicorn_whose_application_takes_two_seconds_to_import_answers_meanwhile() {
    if let Some(bin) = python("gunicorn") {
        replaced_under_load("gunicorn, slow import", &["--ready", "notify"], &GUNICORN, Some(&bin));
    }
}

/// Without `--preload` gunicorn's READY=1 comes before any import.
#[test]
fn gunicorn_whose_workers_tell_answers_until_one_of_them_serves() {
    if let Some(bin) = python("gunicorn") {
        let command = ["env", "READY_FD=9", "gunicorn", "-w", "2", "--no-control-socket", "slow:app"];
        replaced_under_load("gunicorn, a worker tells", &["--ready", "fd:9"], &command, Some(&bin));
    }
}

#[test]
fn uvicorn_answers_while_the_next_generation_comes_up() {
    if let Some(bin) = python("uvicorn") {
        replaced_under_load("uvicorn", &["--ready", "notify"], &["uvicorn", "--fd", "3", "asgi:app"], Some(&bin));
    }
}

#[test]
fn node_answers_while_the_next_generation_comes_up() {
    if std::process::Command::new("node").arg("--version").output().is_err() {
        return crate::ends::left_out("node with --overlap: it is not installed");
    }
    replaced_under_load("node", &["--ready", "fd:9"], &["env", "READY_FD=9", "node", "server.js"], None);
}

#[test]
fn ten_broken_saves_cost_nothing_and_the_repair_goes_live() {
    let Some(bin) = python("gunicorn") else { return };
    let (sandbox, port) = (Sandbox::new(), apps::free_port());
    apps::copy_fixture("held", sandbox.root());
    sandbox.write("app.txt", "one");
    sandbox.write("code.py", "from wsgi import app\n");
    let options = ["-w", "code.py", "--overlap", "--ready", "notify"];
    let command = ["gunicorn", "-w", "2", "--preload", "--no-control-socket", "code:app"];
    let mut session = start_with(&options, &command, Some(&bin), &sandbox, port);
    session.wait_armed(1);
    session.wait_until("ready", || session.is_ready(1));
    let clients = Clients::start(port);
    for generation in 2..=11 {
        let broken = if generation % 2 == 0 { "from wsgi import app)\n" } else { "from no_such_module import app\n" };
        sandbox.write("code.py", format!("# {generation}\n{broken}"));
        session.wait_where("degraded", |seen| seen["kind"] == "not_replaced" && seen["generation"] == generation);
        assert_eq!(get(port, "/").ok().as_deref(), Some("1"), "{}", session.account());
    }
    let during = clients.stop();
    sandbox.write("code.py", "from wsgi import app  # repaired\n");
    session.wait_where("ready", |seen| seen["generation"] == 12);
    session.wait_where("stopped", |seen| seen["generation"] == 1);
    session.wait_until("the repair", || get(port, "/").is_ok_and(|body| body == "12"));
    session.stop().assert_code(143);
    assert_eq!((during.refused, during.cut, &during.others), (0, 0, &Vec::new()), "{during}");
    assert!(during.answered > 0);
}

#[test]
fn hypercorn_answers_while_the_next_generation_comes_up() {
    if let Some(bin) = python("hypercorn") {
        let options = ["--ready", "notify", "--stop-group", "main"];
        replaced_under_load("hypercorn", &options, &["hypercorn", "-b", "fd://3", "asgi:app"], Some(&bin));
    }
}

#[test]
fn uwsgi_answers_while_the_next_generation_comes_up() {
    if let Some(bin) = python("uwsgi") {
        let options = ["--ready", "notify", "--stop-group", "main"];
        replaced_under_load("uwsgi", &options, &["uwsgi", "--disable-logging", "uwsgi.ini"], Some(&bin));
    }
}

/// A request of two seconds, and a save in the middle of it: the next generation becomes ready meanwhile, and the old one
/// finishes what it works on.
fn finishes_a_request(name: &str, options: &[&str], command: &[&str], bin: Option<&Path>) {
    let (sandbox, port, mut session) = overlapping(options, command, bin);
    session.wait_until("an answer", || get(port, "/").is_ok_and(|body| body == "1"));
    let slow = std::thread::spawn(move || get(port, "/slow"));
    // It must have been accepted: whoever waits in the backlog may be answered by the next one, which is good too.
    std::thread::sleep(Duration::from_millis(500));
    sandbox.write("app.txt", "two");
    session.wait_started(2);
    let body = slow.join().expect("it does not panic");
    assert!(body.as_ref().is_ok_and(|body| body == "1" || body == "2"), "{name}: {body:?}\n{}", session.account());
    session.wait_where("stopped", |seen| seen["generation"] == 1);
    session.wait_until("the next answer", || get(port, "/").is_ok_and(|body| body == "2"));
    session.stop().assert_code(143);
}

#[test]
fn the_old_generation_finishes_its_requests() {
    if let Some(bin) = python("overlapping servers") {
        let bin = Some(bin.as_path());
        let main = ["--ready", "notify", "--stop-group", "main"];
        finishes_a_request("gunicorn", &main[..2], &GUNICORN, bin);
        finishes_a_request("uvicorn", &main[..2], &["uvicorn", "--fd", "3", "asgi:app"], bin);
        finishes_a_request("hypercorn", &main, &["hypercorn", "-b", "fd://3", "asgi:app"], bin);
        finishes_a_request("uwsgi", &main, &["uwsgi", "--disable-logging", "uwsgi.ini"], bin);
    }
    if std::process::Command::new("node").arg("--version").output().is_ok() {
        finishes_a_request("node", &["--ready", "fd:9"], &["env", "READY_FD=9", "node", "server.js"], None);
    }
}

/// A way to restart gunicorn, and what comes of it.
struct Way {
    name: &'static str,
    options: &'static [&'static str],
    /// `slow:app` takes two seconds to import; without a held socket, it binds the address itself.
    command: &'static [&'static str],
    /// What shows that a restart is over.
    over: &'static str,
}

const PRELOADED: &[&str] = &["gunicorn", "-w", "4", "--preload", "--no-control-socket", "slow:app"];

/// The first worker tells: `fixtures/held/gunicorn.conf.py`.
const TELLING: &[&str] = &["env", "READY_FD=9", "gunicorn", "-w", "4", "--preload", "--no-control-socket", "slow:app"];

const WAYS: [Way; 5] = [
    Way { name: "restart, its own socket", options: &[], command: PRELOADED, over: "started" },
    Way {
        name: "its own HUP",
        options: &["--on-change", "signal:HUP"],
        command: &["gunicorn", "-w", "4", "--no-control-socket", "slow:app"],
        over: "changed",
    },
    Way { name: "--listen", options: &["--ready", "notify"], command: PRELOADED, over: "ready" },
    Way { name: "--listen --overlap", options: &["--overlap", "--ready", "notify"], command: PRELOADED, over: "ready" },
    Way {
        name: "--listen --overlap, a worker tells",
        options: &["--overlap", "--ready", "fd:9"],
        command: TELLING,
        over: "ready",
    },
];

/// The table of the decision about `--overlap`: `RELOADRUN_RESTARTS=10 cargo test --test it worst_wait -- --nocapture`.
#[test]
fn the_worst_wait_for_an_application_that_takes_two_seconds_to_import_is_shorter_with_an_overlap() {
    let Some(bin) = python("gunicorn") else { return };
    let restarts = wanted_restarts().min(20);
    for Way { name, options, command, over } in WAYS {
        let (sandbox, port) = (Sandbox::new(), apps::free_port());
        apps::copy_fixture("held", sandbox.root());
        sandbox.write("app.txt", "one");
        let address = format!("127.0.0.1:{port}");
        let mut session = match name.contains("--listen") {
            true => start_with(options, command, Some(&bin), &sandbox, port),
            false => {
                let own = [command, &["-b", &address]].concat();
                start_without(options, &own, Some(&bin), &sandbox)
            }
        };
        session.wait_armed(1);
        session.wait_until("the first answer", || get(port, "/").is_ok());
        let clients = Clients::start(port);
        for generation in 2..=restarts + 1 {
            sandbox.write("app.txt", generation.to_string());
            session.wait_where(over, |seen| over == "changed" || seen["generation"] == generation);
            // Until the workers are there, whichever way they come.
            std::thread::sleep(Duration::from_secs(3));
            session.wait_until("an answer", || get(port, "/").is_ok());
        }
        let tally = clients.stop();
        eprintln!("gunicorn, 2 s of imports, {name}, {restarts} restarts: {tally}");
        let account = session.account();
        session.stop().assert_code(143);
        if name.contains("--listen") {
            assert_eq!((tally.refused, &tally.others), (0, &Vec::new()), "{name}: {tally}\n{account}");
        }
        if name.contains("--overlap") {
            assert!(tally.worst < Duration::from_millis(1900), "nobody waits for the imports: {tally}\n{account}");
        }
    }
}
