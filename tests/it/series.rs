//! Restarts that follow each other within 2 s: loops are slowed down and reported with a remedy; people, formatters and
//! editors with autosave are not delayed; no change is lost.
//!
//! `src/damping_tests.rs` tests the exact delays. A delay is at least half a second and doubles, so the number of slow
//! restarts distinguishes it here from a busy machine.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::watched::{is_installed, names, watch_without_restarts};
use crate::support::{Sandbox, Session};

/// A command that writes watched files and exits.
struct Loop {
    what: &'static str,
    watch: &'static [&'static str],
    script: &'static str,
    /// The end of the message, or the beginning of its end.
    remedy: &'static str,
}

const LOOPS: [Loop; 7] = [
    Loop {
        what: "pytest --cov",
        watch: &["--no-ignore", "-w", "*.py;.coverage.*"],
        script: "for worker in 1 2; do echo data >.coverage.host.$$.X$(date +%N)x; done",
        remedy: "-i '.coverage.host.*'",
    },
    Loop {
        what: "latex",
        watch: &["-w", "*.tex;*.aux;*.toc;*.pdf"],
        script: "for kind in aux toc pdf; do date +%N >paper.$kind; done",
        remedy: "-i 'paper.",
    },
    Loop {
        what: "make",
        watch: &["-w", "*.[cho]"],
        script: "exec make -s",
        // At that time some of them, or all.
        remedy: "-i ",
    },
    Loop {
        what: "vite build",
        watch: &["-w", "src;dist"],
        script: "rm -rf dist; mkdir -p dist/assets; hash=$(date +%N)
            for kind in js css; do echo $hash >dist/assets/index-$hash.$kind; done; echo $hash >dist/index.html",
        remedy: "-i dist",
    },
    Loop {
        what: "fresh names",
        watch: &["-w", "gen/**"],
        script: "mkdir -p gen/parts; echo >gen/parts/$$.$(date +%N)",
        remedy: "-i gen",
    },
    // Like mkdocs and sphinx: clean, copy the theme, write the pages, compress some of them.
    Loop {
        what: "mkdocs build",
        watch: &["-w", "docs;mkdocs.yml", "-w", "site"],
        script: "mkdir -p site; rm -rf site/*; mkdir -p site/css site/search
            for name in css/base.css css/theme.css 404.html index.html search/search_index.json sitemap.xml sitemap.xml.gz
            do sleep 0.02; date +%N >site/$name; done",
        remedy: "-i site",
    },
    Loop {
        what: "make html",
        watch: &["-w", "*.rst;conf.py", "-w", "_build"],
        script: "mkdir -p _build/doctrees _build/html/_static _build/html/_sources; date +%N >_build/doctrees/index.doctree
            date +%N >_build/doctrees/environment.tmp; mv _build/doctrees/environment.tmp _build/doctrees/environment.pickle
            for name in _static/basic.css _static/doctools.js _sources/index.rst.txt index.html objects.inv
            do sleep 0.02; date +%N >_build/html/$name; done",
        remedy: "-i _build",
    },
];

/// Sources of all kinds, so that old files are watched, and a Makefile that is never up to date.
fn write_sources(sandbox: &Sandbox) {
    for name in
        ["app.py", "paper.tex", "a.c", "b.c", "src/main.js", "docs/index.md", "mkdocs.yml", "index.rst", "conf.py"]
    {
        sandbox.write(name, "source");
    }
    sandbox.write(
        "Makefile",
        "all: a.o b.o\n%.o: %.c version.h\n\tcat $^ >$@\nversion.h: FORCE\n\tdate +%N >$@\nFORCE:\n",
    );
}

fn seconds_between(earlier: &Value, later: &Value) -> f64 {
    let at = |event: &Value| event["monotonic_ns"].as_f64().expect("every event has it") / 1e9;
    at(later) - at(earlier)
}

/// The messages of `degraded` events.
fn told(session: &Session) -> Vec<String> {
    let degraded = session.events().into_iter().filter(|event| event["event"] == "degraded");
    degraded.map(|event| event["message"].as_str().expect("it has a message").to_owned()).collect()
}

#[test]
fn commands_that_write_watched_files_are_reported_and_can_finish_every_ten_seconds() {
    let mut running = Vec::new();
    for case in &LOOPS {
        if case.what == "make" && !is_installed("make", "make that restarts itself") {
            continue;
        }
        let sandbox = Sandbox::new();
        write_sources(&sandbox);
        let session = sandbox.start(case.watch.iter().chain(&["--", "sh", "-c", case.script]));
        running.push((case, sandbox, session));
    }
    for (case, _sandbox, mut session) in running {
        let account = |session: &Session| format!("{}\n{}", case.what, session.account());
        // The tenth restart is the eleventh generation.
        let tenth = session.wait_started(11);
        let [line] = &told(&session)[..] else { panic!("one line by the tenth: {}", account(&session)) };
        let remedy = line.rsplit(": ").next().expect("a last part");
        assert!(remedy.starts_with(case.remedy), "{line}\n{}", account(&session));
        let next = session.wait_started(12);
        assert!(seconds_between(&tenth, &next) > 9.5, "{}", account(&session));
        let ended = |event: &&Value| event["event"] == "exited" && event["generation"] == 11;
        assert_eq!(session.events().iter().filter(ended).count(), 1, "it came to its end: {}", account(&session));
        assert_eq!(told(&session).len(), 1, "{}", account(&session));
        let shown = session.stop().stderr;
        assert_eq!(shown.matches(line.as_str()).count(), 1, "{shown}");
    }
}

/// Writes a file with a new name at its start, as long as the file `$1` exists, and keeps running.
const SERVER: &str = "
mkdir -p out
if [ -e \"$1\" ]; then echo x >out/$$.$(date +%N); fi
exec sleep 600";

/// Starts it and waits for the start after which the next restart is delayed by 8 s, and for the output that will cause
/// it. There is no further output.
fn start_server(sandbox: &Sandbox) -> (Session, Value) {
    let permission = sandbox.beside().join("may-write");
    fs::write(&permission, "").expect("the sandbox is writable");
    sandbox.write("app.py", "one");
    let words = ["-w", "out;*.py", "--", "sh", "-c", SERVER, "sh", permission.to_str().expect("plain")];
    let mut session = sandbox.start(words);
    let last = session.wait_armed(10);
    // Each generation has written one.
    session.wait_until("the output that waits", || sandbox.path("out").read_dir().is_ok_and(|out| out.count() >= 10));
    fs::remove_file(&permission).expect("it exists");
    (session, last)
}

#[test]
fn during_a_delay_the_command_keeps_running_and_a_save_of_another_file_restarts_at_once() {
    let sandbox = Sandbox::new();
    let (mut session, waiting) = start_server(&sandbox);
    let before: Vec<Value> = session
        .events()
        .into_iter()
        .filter(|event| event["event"] == "started" || event["event"] == "stopping")
        .collect();
    for (started, stopping) in before.iter().zip(&before[1..]).filter(|(one, _)| one["generation"] == 9) {
        let ran = seconds_between(started, stopping);
        assert!(started["event"] == "stopping" || ran > 3.9, "it ran all the while: {ran}\n{}", session.account());
    }
    sandbox.write("app.py", "two");
    let started = session.wait_started(11);
    let names = names(&started);
    assert!(names.contains(&"app.py".to_owned()), "{names:?}\n{}", session.account());
    assert!(seconds_between(&waiting, &started) < 7.0, "{}", session.account());
    assert!(started["restart_ms"].as_f64() < Some(5000.0), "counted from the save: {started}");
    session.stop();
}

#[test]
fn a_change_that_is_undone_during_the_delay_does_not_restart() {
    let sandbox = Sandbox::new();
    let (mut session, _) = start_server(&sandbox);
    let newest = sandbox.path("out").read_dir().unwrap().map(|entry| entry.unwrap());
    let newest = newest.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap()).expect("ten of them");
    fs::remove_file(newest.path()).expect("it exists");
    // Longer than the delay: nothing may happen.
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(session.starts(), 10, "{}", session.account());
    sandbox.write("app.py", "two");
    assert_eq!(names(&session.wait_started(11)), ["app.py"], "{}", session.account());
    session.stop();
}

#[test]
fn signals_are_neither_counted_nor_delayed() {
    let sandbox = Sandbox::new();
    let mut session = watch_without_restarts(&sandbox, "inotify", &["-w", "*.txt"]);
    for number in 0..70 {
        sandbox.write(format!("{}.txt", number % 10), number.to_string());
        session.wait("changed");
    }
    assert_eq!((session.starts(), told(&session)), (1, vec![]), "{}", session.account());
    session.stop();
}

/// A command that reads the file at its start and prints its content.
fn start_reader(sandbox: &Sandbox) -> (Session, impl Fn() -> String) {
    sandbox.write("app.txt", "start");
    let seen = sandbox.beside().join("seen");
    let script = format!("cat app.txt >{}; exec sleep 600", seen.display());
    let mut session = sandbox.start(["-w", "*.txt", "--", "sh", "-c", &script]);
    session.wait_armed(1);
    (session, move || fs::read_to_string(&seen).unwrap_or_default())
}

/// Asserts that no restart was delayed: a delay would affect nearly all of them, each more than the one before.
fn assert_prompt(session: &Session) {
    let events = session.events();
    let restarts: Vec<f64> = events.iter().filter_map(|event| event["restart_ms"].as_f64()).collect();
    let slow = restarts.iter().filter(|took| **took >= 500.0).count();
    assert!(slow * 5 <= restarts.len(), "{slow} of {} were slow\n{}", restarts.len(), session.account());
    let lines = told(session);
    assert!(lines.len() <= 1 && lines.iter().all(|line| line.contains("after 60 of them")), "{lines:?}");
}

#[test]
fn saves_after_each_start_are_not_delayed_and_reported_once_at_the_tenth() {
    let sandbox = Sandbox::new();
    let (mut session, seen) = start_reader(&sandbox);
    for number in 2..=21 {
        // The pauses of a person who tries things out.
        std::thread::sleep(Duration::from_millis(400));
        sandbox.write("app.txt", format!("for generation {number}"));
        session.wait_armed(number);
        if number == 9 {
            assert_eq!(told(&session), [""; 0], "{}", session.account());
        }
    }
    session.wait_until("the last content", || seen() == "for generation 21");
    assert_prompt(&session);
    session.stop();
}

#[test]
fn saves_followed_by_a_formatter_are_not_delayed() {
    let sandbox = Sandbox::new();
    let (session, seen) = start_reader(&sandbox);
    for number in 0..12 {
        sandbox.write("app.txt", format!("saved {number}"));
        std::thread::sleep(Duration::from_millis(300));
        sandbox.write("app.txt", format!("formatted {number}"));
        std::thread::sleep(Duration::from_millis(700));
    }
    session.wait_until("the last content", || seen() == "formatted 11");
    assert_prompt(&session);
    session.stop();
}

/// A quarter of a minute; a whole minute with `RELOADRUN_LONG=1`.
#[test]
fn an_editor_that_saves_every_second_is_not_delayed() {
    let saves = if std::env::var_os("RELOADRUN_LONG").is_some() { 60 } else { 15 };
    let sandbox = Sandbox::new();
    let (session, seen) = start_reader(&sandbox);
    for number in 0..saves {
        sandbox.write("app.txt", format!("save {number}"));
        std::thread::sleep(Duration::from_secs(1));
    }
    session.wait_until("the last content", || seen() == format!("save {}", saves - 1));
    assert_prompt(&session);
    session.stop();
}

#[test]
fn a_script_that_saves_ten_times_a_second_loses_no_save_when_its_restarts_are_delayed() {
    let sandbox = Sandbox::new();
    let (session, seen) = start_reader(&sandbox);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut number = 0;
    // On a busy machine several saves are one restart.
    while session.starts() < 63 && Instant::now() < deadline {
        number += 1;
        sandbox.write("app.txt", number.to_string());
        std::thread::sleep(Duration::from_millis(100));
    }
    session.wait_until("the last content", || seen() == number.to_string());
    let events = session.events();
    let starts: Vec<&Value> = events.iter().filter(|event| event["event"] == "started").collect();
    let waited: Vec<f64> = starts[61..].iter().filter_map(|event| event["restart_ms"].as_f64()).collect();
    assert!(waited.len() >= 2 && waited[0] >= 500.0 && waited[1] >= 1000.0, "{waited:?}\n{}", session.account());
    let lines = told(&session);
    assert!(lines.len() == 1 && lines[0].ends_with("-i app.txt"), "{lines:?}");
    session.stop();
}
