//! What a command writes itself: outputs that are left out do nothing, and a watched file that it rewrites again and
//! again leads to ever rarer restarts, while whoever else saves as often is left alone.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Sandbox, Session};

/// What each command of these tests writes when it starts: a log, bytecode, and a build directory.
const OUTPUTS: &str = "
echo started >>app.log
mkdir -p __pycache__ pkg/__pycache__ target/debug node_modules/.cache
echo $$ >__pycache__/app.cpython-313.pyc
echo $$ >pkg/__pycache__/x.cpython-313.pyc
echo $$ >target/debug/app
echo $$ >node_modules/.cache/x.json
echo $$ >app.db
echo $$ >app.db-journal
echo $$ >data.sqlite3-wal
echo $$ >app.pid
";

/// Rewrites its cache three times in the first two seconds of every start, each time with another content, as long as
/// the file `$1` is there.
const APOLLO: &str = "
trap 'exit 0' TERM
for number in 1 2 3; do
    sleep 0.3
    if [ -e \"$1\" ]; then echo \"{\\\"pid\\\": $$, \\\"number\\\": $number}\" >cache.json; fi
done
while :; do sleep 1; done
";

fn names(event: &Value) -> Vec<String> {
    let changes = event["changes"].as_array().expect("it has changes");
    changes.iter().map(|change| change["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

fn seconds_between(earlier: &Value, later: &Value) -> f64 {
    let at = |event: &Value| event["monotonic_ns"].as_f64().expect("every event has it") / 1e9;
    at(later) - at(earlier)
}

/// What was told as degraded.
fn accusations(session: &Session) -> Vec<String> {
    let degraded = session.events().into_iter().filter(|event| event["event"] == "degraded");
    degraded.map(|event| event["message"].as_str().expect("it has a message").to_owned()).collect()
}

/// Starts the command with the file that lets it write, and waits until it is accused.
fn start_apollo(sandbox: &Sandbox) -> (Session, PathBuf) {
    let permission = sandbox.beside().join("may-write");
    fs::write(&permission, "").expect("the sandbox is writable");
    sandbox.write("cache.json", "{}");
    sandbox.write("app.py", "one");
    let script = sandbox.script("apollo.sh", APOLLO);
    let words = ["-w", "*.json;*.py", "--", script.to_str().expect("plain"), permission.to_str().expect("plain")];
    let mut session = sandbox.start(words);
    session.wait("degraded");
    (session, permission)
}

#[test]
fn a_log_a_database_bytecode_and_a_build_directory_do_not_restart_who_writes_them() {
    for patterns in [&[][..], &["-w", "**"], &["-w", "*.py"]] {
        let sandbox = Sandbox::new();
        let done = sandbox.beside().join("done");
        let script = sandbox.script("app.sh", &format!("{OUTPUTS}\necho >>{}\nexec sleep 600", done.display()));
        let command = ["--", script.to_str().expect("plain")];
        let mut session = sandbox.start(patterns.iter().chain(&command));
        let starts_done = || fs::read_to_string(&done).map_or(0, |text| text.lines().count());
        session.wait_armed(1);
        for generation in 2..=4 {
            session.wait_until("all outputs", || starts_done() + 1 == generation);
            sandbox.write("fence.py", format!("fence before generation {generation}"));
            let started = session.wait_armed(u64::try_from(generation).unwrap());
            assert_eq!(names(&started), ["fence.py"], "{patterns:?}\n{}", session.account());
        }
        session.stop();
    }
}

#[test]
fn a_real_sqlite_database_beside_the_code_does_not_restart_its_writer() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "app.py",
        "import sqlite3, time\nimport helper\nbase = sqlite3.connect('data.db')\n\
         base.execute('pragma journal_mode=wal')\nbase.execute('create table if not exists t (x)')\n\
         for x in range(20):\n    base.execute('insert into t values (?)', (x,))\n    base.commit()\n\
         open('app.log', 'a').write('written\\n')\ntime.sleep(600)\n",
    );
    sandbox.write("helper.py", "one = 1\n");
    let mut session = sandbox.start_with(["--", "python3", "app.py"], |command| {
        command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
    });
    session.wait_armed(1);
    let outputs = ["app.log", "data.db", "__pycache__"].map(|name| sandbox.path(name));
    session.wait_until("the outputs", || outputs.iter().all(|path| path.exists()));
    sandbox.write("fence.py", "fence");
    assert_eq!(names(&session.wait_started(2)), ["fence.py"], "{}", session.account());
    session.stop();
}

#[test]
fn a_command_that_rewrites_its_own_cache_restarts_ever_more_seldom_and_is_told_of_once() {
    let sandbox = Sandbox::new();
    let (mut session, _) = start_apollo(&sandbox);
    let mut starts = Vec::new();
    for _ in 0..3 {
        starts.push(session.wait("started"));
    }
    let gaps: Vec<f64> = starts.windows(2).map(|pair| seconds_between(&pair[0], &pair[1])).collect();
    assert!(gaps[0] >= 4.0 && gaps[1] >= 8.0, "{gaps:?}\n{}", session.account());
    assert!(session.starts() < 15, "{}", session.account());
    let told = accusations(&session);
    let [line] = &told[..] else { panic!("one line: {told:?}\n{}", session.account()) };
    assert!(line.starts_with("cache.json is rewritten") && line.ends_with("-i 'cache.json'"), "{line}");
    let shown = session.stop().stderr;
    assert_eq!(shown.matches(line.as_str()).count(), 1, "{shown}");
}

#[test]
fn while_a_file_is_held_another_one_restarts_at_once_and_the_last_content_wins() {
    let sandbox = Sandbox::new();
    let (mut session, permission) = start_apollo(&sandbox);
    session.wait("started");
    let held = session.wait("started");
    // The command writes its cache, which is held for eight seconds now; a save of the code is not.
    sandbox.write("app.py", "two");
    let saved = Instant::now();
    let started = session.wait_where("started", |event| names(event).contains(&"app.py".to_owned()));
    assert!(saved.elapsed() < Duration::from_secs(6), "{}", session.account());
    assert!(seconds_between(&held, &started) < 6.0, "{}", session.account());
    // The command writes no more; what somebody else writes into the cache leads to a start, late but with all of it.
    fs::remove_file(&permission).expect("it is there");
    sandbox.write("app.py", "three");
    session.wait_where("started", |event| names(event).contains(&"app.py".to_owned()));
    session.wait("watching");
    sandbox.write("cache.json", "first");
    sandbox.write("cache.json", "the last word");
    let last = session.wait("started");
    assert_eq!(names(&last), ["cache.json"], "{}", session.account());
    assert_eq!(sandbox.read("cache.json"), "the last word");
    assert_eq!(accusations(&session).len(), 1);
    session.stop();
}

/// A command that reads the file at its start and tells what it read.
fn start_reader(sandbox: &Sandbox) -> (Session, impl Fn() -> String) {
    sandbox.write("app.txt", "start");
    let seen = sandbox.beside().join("seen");
    let script = format!("cat app.txt >{}; exec sleep 600", seen.display());
    let mut session = sandbox.start(["-w", "app.txt", "--", "sh", "-c", &script]);
    session.wait_armed(1);
    (session, move || fs::read_to_string(&seen).unwrap_or_default())
}

#[test]
fn a_script_that_saves_one_file_every_tenth_of_a_second_is_not_accused() {
    let sandbox = Sandbox::new();
    let (session, seen) = start_reader(&sandbox);
    let began = Instant::now();
    for number in 0..200 {
        sandbox.write("app.txt", number.to_string());
        // The pace is what is tested: nothing is waited for.
        std::thread::sleep(Duration::from_millis(100));
    }
    let writing = began.elapsed();
    session.wait_until("the last content", || seen() == "199");
    // One trial at the most, of a fifth of a second or two.
    let late = began.elapsed() - writing;
    assert!(late < Duration::from_secs(10), "{late:?}\n{}", session.account());
    assert_eq!(accusations(&session), [""; 0], "{}", session.account());
    let events = session.events();
    let starts: Vec<&Value> = events.iter().filter(|event| event["event"] == "started").collect();
    let longest = starts.windows(2).map(|pair| seconds_between(pair[0], pair[1])).fold(0.0, f64::max);
    assert!(starts.len() > 50 && longest < 5.0, "{} starts, {longest} s\n{}", starts.len(), session.account());
    session.stop();
}

#[test]
fn a_test_that_saves_after_every_start_is_not_accused_and_waits_a_little_three_times() {
    let sandbox = Sandbox::new();
    let (mut session, seen) = start_reader(&sandbox);
    let began = Instant::now();
    for number in 2..=101 {
        sandbox.write("app.txt", format!("for generation {number}"));
        session.wait_armed(number);
    }
    let took = began.elapsed();
    session.wait_until("the last content", || seen() == "for generation 101");
    assert!(took < Duration::from_secs(40), "{took:?}\n{}", session.account());
    let slow = session.events().iter().filter(|event| event["restart_ms"].as_f64() > Some(1900.0)).count();
    assert!(slow <= 6, "{slow} slow starts\n{}", session.account());
    assert_eq!(accusations(&session), [""; 0], "{}", session.account());
    session.stop();
}
