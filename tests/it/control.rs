//! A run is asked at its control socket: by the verbs, and by anybody who speaks lines of JSON.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::termios::LocalFlags;
use serde_json::{Value, json};

use super::ends::{pid_of, wrapped};
use crate::support::session::{DEADLINE, is_alive, signal};
use crate::support::watched::{assert_fence, line_read, names, on_every_backend, watch, watch_reading};
use crate::support::{Sandbox, Session, Terminal};

/// The verb with these words, run to its end.
pub fn ask(sandbox: &Sandbox, words: &[&str]) -> Output {
    // Runs without a runtime directory have their sockets in the temporary one: those of others are not to be seen.
    sandbox.command(words).env("TMPDIR", sandbox.runtime()).output().expect("reloadrun starts")
}

/// Asserts the exit code, and returns standard output.
#[track_caller]
pub fn answer(sandbox: &Sandbox, words: &[&str], code: i32) -> String {
    let output = ask(sandbox, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:#?}");
    String::from_utf8(output.stdout).expect("an answer is UTF-8")
}

/// The answer to `status --json`.
pub fn status(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&answer(sandbox, &["status", "--json"], 0)).expect("it is JSON")
}

/// The runs of this sandbox in `list`. It shows those of this user that were started elsewhere, too.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let root = sandbox.root().display().to_string();
    let text = answer(sandbox, &["list"], 0);
    text.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
}

/// The sockets in the runtime directory of the sandbox.
fn sockets(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = fs::read_dir(sandbox.runtime().join("reloadrun")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The only one.
fn socket(sandbox: &Sandbox) -> PathBuf {
    let sockets = sockets(sandbox);
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    sockets[0].clone()
}

/// A client that speaks for itself.
struct Client {
    lines: BufReader<UnixStream>,
}

impl Client {
    fn new(sandbox: &Sandbox) -> Client {
        let stream = UnixStream::connect(socket(sandbox)).expect("somebody listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("it is a socket");
        let mut client = Client { lines: BufReader::new(stream) };
        let greeting = client.hear().expect("a greeting");
        assert_eq!(
            (greeting["protocol"].as_u64(), greeting["reloadrun"].as_str()),
            (Some(1), Some(env!("CARGO_PKG_VERSION")))
        );
        client
    }

    fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.lines.get_mut().write_all(bytes)
    }

    /// The next line; `None` at the end.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).unwrap_or(0);
        (count > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}")))
    }

    fn ask(&mut self, request: Value) -> Value {
        self.say(format!("{request}\n").as_bytes()).expect("it is read");
        self.hear().expect("an answer")
    }
}

#[test]
fn a_run_says_what_it_does_what_it_watches_and_what_the_last_change_led_to() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "1");
    let mut session = sandbox.start(["--name", "web", "-w", "*.py", "--", "sleep", "600"]);
    let pid = pid_of(&session.wait_armed(1));
    let now = status(&sandbox);
    assert_eq!((now["state"].as_str(), now["generation"].as_u64()), (Some("running"), Some(1)), "{now}");
    assert_eq!(
        (now["command_pid"].as_i64(), now["pid"].as_i64()),
        (Some(pid.into()), Some(session.pid().into())),
        "{now}"
    );
    assert_eq!(
        (&now["last_change"], &now["paused"], &now["name"]),
        (&Value::Null, &json!(false), &json!("web")),
        "{now}"
    );
    assert_eq!((&now["watching"]["patterns"], &now["watching"]["files"]), (&json!(["*.py"]), &json!(1)), "{now}");
    assert_eq!(now["directory"].as_str(), sandbox.root().to_str(), "{now}");
    sandbox.write("app.py", "two");
    session.wait_armed(2);
    let now = status(&sandbox);
    let last = &now["last_change"];
    assert_eq!((last["action"].as_str(), last["led_to"].as_u64()), (Some("restart"), Some(2)), "{now}");
    assert_eq!(names(last), ["app.py"]);
    let words = answer(&sandbox, &["status"], 0);
    for expected in [
        "web: sleep 600",
        "generation 2 has been running for ",
        "app.py (restart); generation 2 started ",
        "watches *.py: 1 file in",
    ] {
        assert!(words.contains(expected), "{expected} in\n{words}");
    }
    session.stop().assert_code(143);
    assert!(!sandbox.runtime().join("reloadrun").exists(), "the socket and its directory go with the run");
}

#[test]
fn the_command_has_the_socket_in_its_environment_and_everything_about_it_is_private() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sh", "-c", "echo $RELOADRUN_CONTROL; exec sleep 600"]);
    session.wait_armed(1);
    session.wait_until("the output", || session.stdout().ends_with('\n'));
    let path = PathBuf::from(session.stdout().trim());
    assert_eq!(path, socket(&sandbox));
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
    // It is how the command asks, from any directory.
    let mut inside = sandbox.command(["status", "--json"]);
    inside.current_dir("/").env("RELOADRUN_CONTROL", &path).env_remove("XDG_RUNTIME_DIR");
    let output = inside.output().unwrap();
    let now: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(now["pid"].as_i64(), Some(session.pid().into()));
    session.stop().assert_code(143);
}

#[test]
fn a_restart_is_one_new_generation_and_stops_the_old_one_as_a_save_does() {
    let sandbox = Sandbox::new();
    let mut session = watch(&sandbox, "inotify", &[]);
    let first = pid_of(&session.events().into_iter().find(|event| event["event"] == "started").unwrap());
    assert_eq!(answer(&sandbox, &["restart"], 0), "restarting: generation 2 follows\n");
    let stopping = session.wait("stopping");
    assert_eq!(stopping["reason"], "request");
    let started = session.wait_armed(2);
    assert_eq!(started["changes"], json!([]));
    assert!(!is_alive(first));
    assert_fence(&sandbox, &mut session, 3);
    session.stop().assert_code(143);
}

#[test]
fn a_restart_starts_a_command_that_has_ended_or_waits_for_its_delay() {
    for on_exit in ["wait", "restart"] {
        let sandbox = Sandbox::new();
        let mut session =
            sandbox.start(["--on-exit", on_exit, "--", "sh", "-c", "[ $RELOADRUN_GENERATION = 1 ] || exec sleep 600"]);
        session.wait_where("waiting", |event| event["generation"] == 1);
        ask(&sandbox, &["restart"]);
        session.wait_started(2);
        session.stop().assert_code(143);
    }
}

#[test]
fn a_stop_ends_everything_with_0_and_returns_when_it_has_ended() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sleep", "600"]);
    let pid = pid_of(&session.wait_armed(1));
    assert_eq!(answer(&sandbox, &["stop"], 0), "stopping\n");
    assert!(!is_alive(pid), "the command has ended before the verb");
    let ended = session.wait_end();
    ended.assert_code(0);
    assert_eq!(ended.events.last().unwrap()["reason"], "asked to stop");
}

#[test]
fn a_second_stop_kills() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start([
        "--stop-timeout",
        "1h",
        "--",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 1; done",
    ]);
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout().contains("ready"));
    let mut first = Client::new(&sandbox);
    assert_eq!(first.ask(json!({"ask": "stop"}))["again"], false);
    session.wait("stopping");
    assert_eq!(answer(&sandbox, &["stop"], 0), "stopping with KILL\n");
    assert_eq!(first.hear(), None);
    let ended = session.wait_end();
    ended.assert_code(0);
    assert!(ended.events.iter().any(|event| event["event"] == "stopped" && event["killed"] == true), "{ended:#?}");
}

on_every_backend! {
    fn changes_during_a_pause_are_collected_and_lead_to_one_restart(backend) {
        let sandbox = Sandbox::new();
        for name in ["a.py", "b.py"] {
            sandbox.write(name, "1");
        }
        let mut session = watch_reading(&sandbox, backend, &[], &["a.py", "b.py"]);
        assert!(answer(&sandbox, &["pause"], 0).starts_with("paused"));
        session.wait("paused");
        sandbox.write("a.py", "two");
        sandbox.write("b.py", "two");
        // A pause outlives the child. The next command has read both; they lead to nothing more.
        answer(&sandbox, &["restart"], 0);
        session.wait_armed(2);
        assert_eq!(line_read(&session, 2), "two|two|");
        assert_eq!(status(&sandbox)["paused"], true);
        sandbox.write("a.py", "three");
        sandbox.write("b.py", "three");
        // Three polls: whatever leads to something would have done so.
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!((session.starts(), status(&sandbox)["last_change"].clone()), (2, Value::Null), "{}", session.account());
        answer(&sandbox, &["resume"], 0);
        let started = session.wait_armed(3);
        assert_eq!(names(&started), ["a.py", "b.py"], "{}", session.account());
        assert_eq!(line_read(&session, 3), "three|three|");
        assert_eq!(answer(&sandbox, &["resume"], 0), "it was not paused\n");
        assert_fence(&sandbox, &mut session, 4);
        session.stop().assert_code(143);
    }
}

#[test]
fn a_change_of_the_config_waits_for_the_end_of_a_pause_and_a_killed_child_does_not_end_it() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "debounce = 0");
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_armed(1);
    answer(&sandbox, &["pause"], 0);
    signal(session.child_pid(), "KILL");
    session.wait_armed(2);
    sandbox.write("reloadrun.toml", "debounce = 0.01");
    sandbox.write("app.py", "1");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(session.starts(), 2, "{}", session.account());
    answer(&sandbox, &["resume"], 0);
    session.wait("config_loaded");
    session.wait_armed(3);
    session.stop().assert_code(143);
}

#[test]
fn the_events_of_a_run_that_writes_none_can_be_followed() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "1");
    let mut session = watch(&sandbox, "inotify", &[]);
    let mut follower = Client::new(&sandbox);
    assert_eq!(follower.ask(json!({"ask": "events"})), json!({"answer": "events"}));
    sandbox.write("app.py", "two");
    session.wait_armed(2);
    let mut verb = sandbox.command(["events"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(verb.stdout.take().unwrap()).lines();
    // Nothing tells when the verb has come; a save that it sees does.
    let mut first = None;
    std::thread::scope(|scope| {
        let (sender, seen) = std::sync::mpsc::channel();
        scope.spawn(move || lines.try_for_each(|line| sender.send(line.unwrap())));
        for generation in 3.. {
            sandbox.write("app.py", format!("for generation {generation}"));
            session.wait_armed(generation);
            first = first.or(seen.try_iter().next());
            if first.is_some() {
                break;
            }
        }
        session.stop().assert_code(143);
        let last: Value = serde_json::from_str(&seen.iter().last().unwrap()).unwrap();
        assert_eq!(last["event"], "finished");
    });
    assert!(verb.wait().unwrap().success(), "the end of the run is the end of the verb");
    let told: Vec<String> =
        std::iter::from_fn(|| follower.hear()).map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told.last().map(String::as_str), Some("finished"), "{told:?}");
    for expected in ["changed", "stopping", "stopped", "started", "watching"] {
        assert!(told.iter().any(|event| event == expected), "{expected} in {told:?}");
    }
}

#[test]
fn a_path_is_explained_by_the_flags_of_the_run_that_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.write("src/app.py", "1");
    let session = watch(&sandbox, "inotify", &["-w", "*.py", "-i", "old"]);
    assert!(answer(&sandbox, &["explain", "src/app.py"], 0).starts_with("a change of src/app.py leads to a restart"));
    let not = answer(&sandbox, &["explain", "old/app.py"], 1);
    assert!(not.starts_with("a change of old/app.py does nothing"), "{not}");
    answer(&sandbox, &["explain", "-C", "src", "app.py"], 0);
    answer(&sandbox, &["explain", "README.md"], 1);
    session.stop().assert_code(143);
}

#[test]
fn the_run_of_the_nearest_directory_above_is_asked_and_several_are_listed() {
    let sandbox = Sandbox::new();
    for directory in ["shop/src", "other"] {
        fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    assert_eq!(ask(&sandbox, &["status"]).status.code(), Some(3));
    assert!(listed(&sandbox).is_empty());
    let start = |directory: &str, name: &str| {
        let events = sandbox.beside().join(format!("{name}.jsonl"));
        let mut command = sandbox.command(["--name", name, "-C", directory, "--", "sleep", "600"]);
        command.stdin(Stdio::null()).stderr(fs::File::create(events).unwrap());
        command.spawn().unwrap()
    };
    let mut runs = vec![start(".", "top"), start("shop", "shop")];
    let wait_listed = |count: usize| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let rows = listed(&sandbox);
            if rows.iter().filter(|row| row.contains("running")).count() == count {
                return rows.join("\n");
            }
            assert!(Instant::now() < deadline, "{rows:?}");
        }
    };
    let text = wait_listed(2);
    assert!(text.contains("shop") && text.contains("sleep 600"), "{text}");
    assert!(answer(&sandbox, &["list"], 0).starts_with("PID "));
    let asked = |words: &[&str]| -> Value { serde_json::from_str(&answer(&sandbox, words, 0)).unwrap() };
    for (words, name) in [
        (&["status", "--json"][..], "top"),
        (&["status", "--json", "-C", "other"], "top"),
        (&["status", "--json", "-C", "shop"], "shop"),
        (&["status", "--json", "-C", "shop/src"], "shop"),
        (&["status", "--json", "--name", "shop"], "shop"),
    ] {
        assert_eq!(asked(words)["name"], name, "{words:?}");
    }
    runs.push(start("shop", "twin"));
    wait_listed(3);
    let several = ask(&sandbox, &["status", "-C", "shop/src"]);
    let text = String::from_utf8_lossy(&several.stderr).into_owned();
    assert_eq!(several.status.code(), Some(2), "{text}");
    assert!(
        text.contains("2 runs are meant") && text.contains(" shop: sleep 600") && text.contains(" twin: "),
        "{text}"
    );
    let pid = runs[2].id().to_string();
    assert_eq!(asked(&["status", "--json", "--pid", &pid])["name"], "twin");
    assert_eq!(ask(&sandbox, &["status", "--name", "nobody"]).status.code(), Some(3));
    for run in &mut runs {
        signal(i32::try_from(run.id()).unwrap(), "TERM");
        assert_eq!(run.wait().unwrap().code(), Some(143));
    }
}

#[test]
fn a_verb_takes_no_command_of_its_name_away() {
    let sandbox = Sandbox::new();
    sandbox.script("bin/status", "echo it is $1; exec sleep 600");
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let mut session = sandbox.start_with(["--", "status", "mine"], |command| _ = command.env("PATH", path));
    session.wait_armed(1);
    session.wait_until("the output", || session.stdout() == "it is mine\n");
    assert_eq!(ask(&sandbox, &["-w", "*.py", "status"]).status.code(), Some(2), "a verb comes first");
    assert_eq!(ask(&sandbox, &["status", "--", "x"]).status.code(), Some(2), "a verb has no command");
    let output = ask(&sandbox, &["wait", "500"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("a command of that name comes after --: reloadrun -- wait") && !text.contains("-w '*.py'"),
        "{text}"
    );
    let output = ask(&sandbox, &["wait", "--timeout", "-1"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("tip: "), "{output:?}");
    session.stop().assert_code(143);
}

#[test]
fn the_socket_of_a_killed_run_is_recognised_and_removed_by_the_next() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_armed(1);
    let stale = socket(&sandbox);
    signal(session.pid(), "KILL");
    drop(session);
    assert!(stale.exists());
    assert!(listed(&sandbox).is_empty());
    assert_eq!(ask(&sandbox, &["status"]).status.code(), Some(3));
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_armed(1);
    session.wait_until("the tidying", || !stale.exists());
    assert_eq!(status(&sandbox)["pid"].as_i64(), Some(session.pid().into()));
    session.stop().assert_code(143);
}

#[test]
fn a_socket_beside_it_that_says_nothing_or_nonsense_is_no_run() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_armed(1);
    let directory = sandbox.runtime().join("reloadrun");
    let _silent = UnixListener::bind(directory.join("1-00000000.sock")).unwrap();
    let nonsense = UnixListener::bind(directory.join("1-00000001.sock")).unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = nonsense.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let output = ask(&sandbox, &["list"]);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("running") && text.matches("the run with pid 1 does not answer").count() == 2, "{text}");
    // Nobody waits long for them.
    let began = Instant::now();
    assert_eq!(status(&sandbox)["generation"], 1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    thread.join().unwrap();
    for name in ["1-00000000.sock", "1-00000001.sock"] {
        let _ = fs::remove_file(directory.join(name));
    }
    session.stop().assert_code(143);
}

/// After anything that a client does, the run reacts to a save, and to other clients.
fn assert_undisturbed(sandbox: &Sandbox, session: &mut Session, generation: u64) {
    assert_fence(sandbox, session, generation);
    assert_eq!(status(sandbox)["generation"], generation);
}

#[test]
fn no_client_disturbs_the_run() {
    let sandbox = Sandbox::new();
    let mut session = watch(&sandbox, "inotify", &[]);
    // One that never reads, and asks without an end.
    let mut deaf = UnixStream::connect(socket(&sandbox)).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let mut asked = 0;
    let deadline = Instant::now() + DEADLINE;
    let mut full_since = None;
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300))
        && Instant::now() < deadline
    {
        match deaf.write(b"{\"ask\":\"status\"}\n") {
            Ok(count) => (asked, full_since) = (asked + count, None),
            Err(_) => full_since = full_since.or(Some(Instant::now())),
        }
    }
    assert!(asked < 8 << 20, "its requests wait: {asked} bytes were read");
    assert_undisturbed(&sandbox, &mut session, 2);
    // Followers that never read.
    let followers: Vec<UnixStream> = (0..4)
        .map(|_| {
            let mut follower = UnixStream::connect(socket(&sandbox)).unwrap();
            follower.write_all(b"{\"ask\":\"events\"}\n").unwrap();
            follower
        })
        .collect();
    // Garbage, in one piece and in many.
    let mut garbage = Client::new(&sandbox);
    garbage.say(b"\x00\xff\xfe\n[1,2]\n{\"ask\":null}\n").unwrap();
    for _ in 0..3 {
        assert_eq!(garbage.hear().unwrap()["answer"], "refused");
    }
    assert_eq!(garbage.ask(json!({"ask": "status"}))["answer"], "status", "it is still served");
    // A gigabyte in one line.
    let mut endless = Client::new(&sandbox);
    let (mut sent, block) = (0_u64, vec![b'x'; 1 << 20]);
    while sent < 1 << 30 && endless.say(&block).is_ok() {
        sent += 1 << 20;
    }
    assert!(sent < 1 << 24, "it was let go early, not after {sent} bytes");
    // Half a request and gone; many who come and say nothing.
    let mut half = Client::new(&sandbox);
    half.say(b"{\"ask\":\"sta").unwrap();
    drop(half);
    let idle: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(socket(&sandbox)).unwrap()).collect();
    assert_undisturbed(&sandbox, &mut session, 3);
    for _ in 0..200 {
        drop(UnixStream::connect(socket(&sandbox)));
    }
    assert_undisturbed(&sandbox, &mut session, 4);
    drop((deaf, followers, idle));
    assert_undisturbed(&sandbox, &mut session, 5);
    session.stop().assert_code(143);
}

#[test]
fn a_client_that_writes_nothing_more_gets_its_answers_and_then_the_end() {
    let sandbox = Sandbox::new();
    let session = watch(&sandbox, "inotify", &[]);
    let mut client = Client::new(&sandbox);
    client.say(b"{\"ask\":\"status\"}\n{\"ask\":\"pause\"}\n{\"ask\":\"resume\"}\n{\"ask\":\"half").unwrap();
    client.lines.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    let began = Instant::now();
    let answers: Vec<Value> = std::iter::from_fn(|| client.hear()).collect();
    let kinds: Vec<&str> = answers.iter().map(|answer| answer["answer"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["status", "pause", "resume"]);
    assert!(began.elapsed() < DEADLINE);
    session.stop().assert_code(143);
}

#[test]
fn a_run_is_found_by_the_name_that_it_has_now() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "command = ['sleep', '600']\nname = 'one'\n");
    let mut session = sandbox.start([] as [&str; 0]);
    session.wait_armed(1);
    answer(&sandbox, &["status", "--name", "one"], 0);
    sandbox.write("reloadrun.toml", "command = ['sleep', '600']\nname = 'two'\n");
    session.wait_armed(2);
    assert!(answer(&sandbox, &["status", "--name", "two"], 0).contains("two"));
    answer(&sandbox, &["status", "--name", "one"], 3);
    assert!(listed(&sandbox)[0].contains("two"));
    session.stop().assert_code(143);
}

#[test]
fn a_stopped_run_does_not_answer_and_the_verb_says_so() {
    let sandbox = Sandbox::new();
    let session = watch(&sandbox, "inotify", &[]);
    signal(session.pid(), "STOP");
    let output = ask(&sandbox, &["status"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains(&format!("the run with pid {} does not answer; is it stopped?", session.pid())), "{text}");
    let pid = session.pid().to_string();
    for words in [&["wait", "--timeout", "500ms"][..], &["wait", "--timeout", "500ms", "--pid", &pid]] {
        let output = ask(&sandbox, words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(124), "{text}");
        assert!(text.contains("does not answer; is it stopped?"), "{text}");
    }
    // Whose it is does not show: it may be another.
    let output = ask(&sandbox, &["status", "--name", "web"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let listed = ask(&sandbox, &["list"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("does not answer"), "{listed:?}");
    signal(session.pid(), "CONT");
    session.stop().assert_code(143);
}

#[test]
fn without_a_place_for_the_socket_the_run_goes_on_and_says_so_once() {
    let sandbox = Sandbox::new();
    let mut session =
        sandbox.start_with(["--", "sh", "-c", "echo control=$RELOADRUN_CONTROL; exec sleep 600"], |command| {
            command
                .env("XDG_RUNTIME_DIR", "/proc/nowhere")
                .env("TMPDIR", "/proc/nowhere")
                .env("RELOADRUN_CONTROL", "/outer");
        });
    session.wait_armed(1);
    session.wait_until("the output", || session.stdout() == "control=\n");
    assert_fence(&sandbox, &mut session, 2);
    let ended = session.stop();
    assert_eq!(ended.stderr.matches("this run cannot be asked").count(), 1, "{ended:#?}");
}

#[test]
fn the_socket_of_a_very_long_directory_is_found() {
    let sandbox = Sandbox::new();
    let long = sandbox.beside().join("r".repeat(120));
    fs::create_dir(&long).unwrap();
    let mut session = sandbox.start_with(["--", "sleep", "600"], |command| _ = command.env("XDG_RUNTIME_DIR", &long));
    session.wait_armed(1);
    let mut verb = sandbox.command(["status", "--json"]);
    let output = verb.env("XDG_RUNTIME_DIR", &long).output().unwrap();
    let now: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(now["pid"].as_i64(), Some(session.pid().into()));
    session.stop().assert_code(143);
}

/// A run with `--keys` at a terminal of its own, in the foreground.
fn at_a_terminal(command: &[&str]) -> (Terminal, Sandbox, Session) {
    let (terminal, sandbox) = (Terminal::new(), Sandbox::new());
    sandbox.write("app.txt", "one");
    let mut inner = sandbox.command(["--events".as_ref(), sandbox.events().as_os_str()]);
    inner.args(["--color", "never", "--keys", "-w", "app.txt", "--"]).args(command);
    let outer = wrapped(&["env", "--default-signal", "setsid", "--ctty"], &inner, &sandbox);
    let mut session = Session::start_at(&terminal, outer, &sandbox);
    session.wait_armed(1);
    (terminal, sandbox, session)
}

#[test]
fn single_keys_restart_pause_explain_and_quit_and_the_terminal_is_as_before() {
    let (terminal, sandbox, mut session) = at_a_terminal(&["sh", "-c", "cat; echo got no inp''ut; exec sleep 600"]);
    terminal.wait_shown("keys: r restarts", 1);
    terminal.wait_shown("got no input", 1);
    let raw = terminal.settings();
    assert!(!raw.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO), "keys are read one by one");
    assert!(raw.local_flags.contains(LocalFlags::ISIG), "Ctrl-C is still a signal");
    terminal.press("?");
    terminal.wait_shown("keys: r restarts", 2);
    terminal.press("r");
    session.wait_armed(2);
    terminal.press("p");
    session.wait("paused");
    sandbox.write("app.txt", "two");
    terminal.press("w");
    terminal.wait_shown("generation 2 has been running for ", 1);
    terminal.wait_shown("watches app.txt: 1 file in", 1);
    assert_eq!(session.starts(), 2);
    terminal.press("P");
    session.wait("resumed");
    assert_eq!(names(&session.wait_armed(3)), ["app.txt"]);
    // An arrow and other letters are no keys.
    terminal.press("\x1b[15~xyz");
    terminal.press("q");
    session.wait_end().assert_code(0);
    let after = terminal.settings();
    assert!(after.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{after:?}");
    assert!(!terminal.shown().contains("xyz"), "nothing is echoed");
}

#[test]
fn keys_work_while_nothing_runs_and_ctrl_c_ends_the_run_as_always() {
    let (terminal, _sandbox, mut session) =
        at_a_terminal(&["sh", "-c", "[ $RELOADRUN_GENERATION = 1 ] || exec sleep 600"]);
    session.wait_until("the end of the command", || session.events().iter().any(|event| event["event"] == "waiting"));
    terminal.press("r");
    session.wait_armed(2);
    terminal.press("\x03");
    session.wait_end().assert_code(130);
    assert!(terminal.settings().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
}

#[test]
fn without_a_terminal_keys_are_a_hint_and_the_command_keeps_its_input() {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["--keys", "--on-exit", "exit", "--", "true"]);
    let hint =
        session.wait_where("hint", |event| event["message"].as_str().is_some_and(|text| text.contains("--keys")));
    assert_eq!(hint["message"], "--keys: standard input is not a terminal, so no keys are read");
    session.wait_end().assert_code(0);
    let mut command = sandbox.command(["--keys", "-q", "--on-exit", "exit", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"mine").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"mine");
}
