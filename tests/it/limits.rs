//! Exhausted limits and refusals of the system: each is reported once, and no save is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::ends::left_out;
use crate::support::session::signal;
use crate::support::{Ended, Namespace, Sandbox, Session};

/// The file names in a `started` or `changed` event.
pub fn names(event: &Value) -> Vec<String> {
    let changes = event["changes"].as_array().expect("it has changes");
    let name = |change: &Value| change["path"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    changes.iter().filter_map(name).collect()
}

/// The messages of `degraded` events.
pub fn complaints(events: &[Value]) -> Vec<String> {
    let degraded = events.iter().filter(|event| event["event"] == "degraded");
    degraded.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Asserts that there was one `degraded` message with these words, in the events and on standard error.
pub fn assert_one_complaint(ended: &Ended, words: &[&str]) {
    let said = complaints(&ended.events);
    assert!(said.len() == 1 && words.iter().all(|word| said[0].contains(word)), "{words:?}\n{ended:#?}");
    assert_eq!(ended.stderr.matches(&said[0]).count(), 1, "{ended:#?}");
}

/// Asserts that programs can tell what it was without reading the sentence.
fn assert_kind(ended: &Ended, kind: &str) {
    let degraded = ended.events.iter().filter(|event| event["event"] == "degraded");
    assert_eq!(degraded.map(|event| &event["kind"]).collect::<Vec<_>>(), [kind], "{ended:#?}");
}

/// The arguments of a run that watches `*.py` and polls often.
pub fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["-w", "*.py", "--interval", "100ms"].iter().chain(more).copied().chain(["--", "sleep", "600"]).collect()
}

/// A signal that `sleep` ignores, so that the generation and its watcher keep running.
pub const GO_ON: [&str; 2] = ["--on-change", "signal:WINCH"];

/// Saves a file and waits until it is reported as the only change.
pub fn assert_told(sandbox: &Sandbox, session: &mut Session, name: &str, content: &str) {
    sandbox.write(name, content);
    let changed = session.wait("changed");
    assert_eq!(names(&changed), [name.rsplit('/').next().unwrap_or(name)], "{name}\n{}", session.account());
}

/// Overflows the child's event queue, with some real changes in between.
fn overflow(sandbox: &Sandbox, session: &Session, most: usize) {
    let child = session.child_pid();
    signal(child, "STOP");
    session.wait_until("the stop", || {
        let stat = fs::read_to_string(format!("/proc/{child}/task/{child}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    });
    // Ignored names fill the queue as well. Each round is three events, and no two in a row are equal, so none are
    // merged.
    for round in 0..=most {
        let path = sandbox.path(["x.pyc", "a/x.pyc"][round % 2]);
        fs::write(&path, "").expect("it can be written");
        fs::remove_file(&path).expect("it exists");
    }
    sandbox.write("a/app.py", "saved in the flood");
    sandbox.write("new/deep/new.py", "new");
    fs::remove_file(sandbox.path("b/gone.py")).expect("it exists");
    fs::remove_dir_all(sandbox.path("c")).expect("it exists");
    sandbox.write("c/again.py", "in a new directory of the old name");
    signal(child, "CONT");
}

const LOST_IN_THE_FLOOD: [&str; 4] = ["app.py", "gone.py", "again.py", "new.py"];

fn tree_for_a_flood() -> (Sandbox, usize) {
    let sandbox = Sandbox::new();
    for name in ["a/app.py", "b/gone.py", "c/again.py", "d/quiet.py"] {
        sandbox.write(name, "one");
    }
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("inotify is there");
    (sandbox, most.trim().parse().expect("a number"))
}

/// Whether the kernel's queue is small enough to be filled in a reasonable time.
fn can_flood(most: usize) -> bool {
    let can = most <= 100_000;
    if !can {
        left_out(&format!("an overflow of the event queue: fs.inotify.max_queued_events is {most}"));
    }
    can
}

fn an_overflow_is_one_restart(backend: &str) {
    let (sandbox, most) = tree_for_a_flood();
    if !can_flood(most) {
        return;
    }
    let mut session = sandbox.start(arguments(&["--backend", backend]));
    session.wait_armed(1);
    overflow(&sandbox, &session, most);
    let started = session.wait_armed(2);
    assert_eq!(names(&started), LOST_IN_THE_FLOOD, "{}", session.account());
    sandbox.write("d/quiet.py", "the fence");
    assert_eq!(names(&session.wait_armed(3)), ["quiet.py"]);
    let ended = session.stop();
    assert_eq!(ended.count("started"), 3, "{ended:#?}");
    assert_one_complaint(&ended, &["the kernel's event queue overflowed", "fs.inotify.max_queued_events"]);
    assert_kind(&ended, "queue_overflow");
}

fn after_an_overflow_everything_is_watched_as_before(backend: &str) {
    let (sandbox, most) = tree_for_a_flood();
    if !can_flood(most) {
        return;
    }
    let mut session = sandbox.start(arguments(&[&GO_ON[..], &["--backend", backend]].concat()));
    session.wait_armed(1);
    overflow(&sandbox, &session, most);
    assert_eq!(names(&session.wait("changed")), LOST_IN_THE_FLOOD, "{}", session.account());
    for name in ["a/app.py", "b/gone.py", "c/again.py", "new/deep/new.py", "d/quiet.py", "new/newer.py"] {
        assert_told(&sandbox, &mut session, name, "saved afterwards");
    }
    let ended = session.stop();
    assert_eq!((ended.count("started"), ended.count("changed")), (1, 7), "{ended:#?}");
}

#[test]
fn an_overflow_is_reported_and_causes_one_restart_with_inotify() {
    an_overflow_is_one_restart("inotify");
}

#[test]
fn an_overflow_is_reported_and_causes_one_restart_with_notify() {
    an_overflow_is_one_restart("notify");
}

#[test]
fn after_an_overflow_everything_is_watched_as_before_with_inotify() {
    after_an_overflow_everything_is_watched_as_before("inotify");
}

#[test]
fn after_an_overflow_everything_is_watched_as_before_with_notify() {
    after_an_overflow_everything_is_watched_as_before("notify");
}

const MANY: usize = 20;

fn many_directories() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..MANY {
        sandbox.write(format!("d{number}/x.py"), "one");
    }
    sandbox
}

/// Under a limit, a save in each directory is reported. After some restarts, the limit has still been reported only
/// once.
fn nothing_is_lost(backend: &str, namespace: &Namespace, what: &str, kind: &str, words: &[&str]) {
    let sandbox = many_directories();
    let mut session = match namespace.start(&sandbox, &arguments(&[&GO_ON[..], &["--backend", backend]].concat())) {
        Ok(session) => session,
        Err(reason) => return left_out(&format!("{what}: {reason}")),
    };
    let watching = session.wait("watching");
    assert!(watching["polled"].as_u64() > Some(0), "{watching}");
    assert_eq!(watching["directories"], MANY + 1, "{watching}");
    for number in 0..MANY {
        assert_told(&sandbox, &mut session, &format!("d{number}/x.py"), "saved");
    }
    assert_told(&sandbox, &mut session, "new/deep/x.py", "new");
    let ended = session.stop();
    assert_eq!((ended.count("started"), ended.count("changed")), (1, MANY + 1), "{ended:#?}");
    assert_one_complaint(&ended, words);
    assert_kind(&ended, kind);

    let mut session = namespace.start(&sandbox, &arguments(&["--backend", backend])).expect("as before");
    session.wait_armed(1);
    for generation in 2..5 {
        sandbox.write(format!("d{generation}/x.py"), format!("saved for generation {generation}"));
        assert_eq!(names(&session.wait_armed(generation)), ["x.py"]);
    }
    let ended = session.stop();
    assert_eq!(ended.count("started"), 4, "{ended:#?}");
    assert_one_complaint(&ended, words);
}

#[test]
fn at_the_limit_of_watches_the_rest_is_polled_and_the_limit_is_reported_once() {
    let namespace = Namespace::of_users("echo 6 > /proc/sys/user/max_inotify_watches");
    let words = [
        "limit of 6 watched directories is reached",
        "`sysctl user.max_inotify_watches=N`",
        "the rest is polled every 100ms",
    ];
    for backend in ["inotify", "notify"] {
        nothing_is_lost(backend, &namespace, "the limit of inotify watches", "watch_limit", &words);
    }
}

#[test]
fn without_an_inotify_instance_everything_is_polled_and_that_is_reported_once() {
    let namespace = Namespace::of_users("echo 0 > /proc/sys/user/max_inotify_instances");
    let words = [
        "limit of 0 inotify instances is reached",
        "`sysctl user.max_inotify_instances=N`",
        "everything is polled every 100ms",
    ];
    for backend in ["inotify", "notify"] {
        nothing_is_lost(backend, &namespace, "the limit of inotify instances", "instance_limit", &words);
    }
}

#[test]
fn with_any_limit_of_open_files_a_running_command_is_restarted_on_a_save() {
    for backend in ["inotify", "notify"] {
        let mut complained = 0;
        for most in 9..=26 {
            let sandbox = Sandbox::new();
            sandbox.write("d/x.py", "one");
            let namespace = Namespace::new(&["env"], &format!("ulimit -n {most}"));
            let arguments = arguments(&[&GO_ON[..], &["--backend", backend]].concat());
            let mut session = namespace.start(&sandbox, &arguments).expect("a shell can lower its limit");
            session.wait_until("a word", || !session.events().is_empty());
            if session.events()[0]["event"] != "started" {
                // The supervisor reports this and tries again.
                session.stop();
                continue;
            }
            session.wait_armed(1);
            assert_told(&sandbox, &mut session, "d/x.py", "saved");
            assert_told(&sandbox, &mut session, "new/y.py", "new");
            let ended = session.stop();
            if ended.count("degraded") > 0 {
                complained += 1;
                assert_one_complaint(&ended, &[&format!("the limit of {most} open files"), "`ulimit -n N`", "polled"]);
            }
        }
        // If the limit allows a child, it also allows the one descriptor of inotify.
        assert!(complained > 0 || backend == "inotify", "no limit was just too low");
    }
}

#[test]
fn an_unreadable_directory_is_reported_once_and_the_rest_works() {
    for backend in ["inotify", "notify", "poll"] {
        let sandbox = many_directories();
        let closed = sandbox.path("d3");
        let mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("the test owns it");
        mode(0o000);
        let namespace = Namespace::of_no_privileges(
            "if ls d3; then echo 'everything can be read here' >&2; exit 1; fi 2>/dev/null",
        );
        let started = namespace.start(&sandbox, &arguments(&["--backend", backend]));
        let mut session = match started {
            Ok(session) => session,
            Err(reason) => {
                mode(0o755);
                return left_out(&format!("an unreadable directory: {reason}"));
            }
        };
        session.wait_armed(1);
        for generation in 2..4 {
            sandbox.write("d4/x.py", format!("saved for generation {generation}"));
            assert_eq!(names(&session.wait_armed(generation)), ["x.py"]);
        }
        // When it is readable again, its files are found and watched.
        mode(0o755);
        assert_eq!(names(&session.wait_armed(4)), ["x.py"]);
        sandbox.write("d3/x.py", "saved where nothing could be read");
        assert_eq!(names(&session.wait_armed(5)), ["x.py"]);
        let ended = session.stop();
        assert_eq!(ended.count("started"), 5, "{ended:#?}");
        assert_one_complaint(&ended, &["d3 cannot be read", "make it readable"]);
    }
}

/// Removes ten thousand watched directories, and saves a file as soon as they are gone.
fn a_save_after_a_great_removal_is_noticed(backend: &str) {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "one");
    for parent in 0..100 {
        sandbox.write(format!("tree/d{parent}/x.py"), "");
        for number in 0..100 {
            fs::create_dir(sandbox.path(format!("tree/d{parent}/e{number}"))).expect("a fresh name");
        }
    }
    let mut session = sandbox.start(arguments(&[&GO_ON[..], &["--backend", backend]].concat()));
    session.wait_started(1);
    assert_eq!(session.wait("watching")["directories"], 10_102);
    let removed = Command::new("rm").arg("-rf").arg(sandbox.path("tree")).status();
    assert!(removed.is_ok_and(|status| status.success()));
    sandbox.write("app.py", "saved");
    session.wait_where("changed", |changed| names(changed).iter().any(|name| name == "app.py"));
    session.wait_until("the end of it", || {
        let changed = session.events().into_iter().filter(|seen| seen["event"] == "changed");
        changed.map(|seen| names(&seen).len()).sum::<usize>() == 101
    });
    assert_told(&sandbox, &mut session, "app.py", "saved again, alone");
    session.stop();
}

#[test]
fn a_save_after_the_removal_of_ten_thousand_directories_is_noticed_with_inotify() {
    a_save_after_a_great_removal_is_noticed("inotify");
}

#[test]
fn a_save_after_the_removal_of_ten_thousand_directories_is_noticed_with_notify() {
    a_save_after_a_great_removal_is_noticed("notify");
}

#[test]
fn a_named_file_in_a_directory_that_cannot_be_listed_is_polled_and_that_is_reported_once() {
    for backend in ["auto", "notify", "poll"] {
        let sandbox = Sandbox::new();
        sandbox.write("closed/app.toml", "one");
        sandbox.write("closed/unnamed.toml", "one");
        let closed = sandbox.path("closed");
        let mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("the test owns it");
        // The directory can be entered but not listed, as with mode 711 for other users.
        mode(0o311);
        let arguments = [
            "--backend",
            backend,
            "--interval",
            "100ms",
            "-w",
            "closed/app.toml;closed/later.toml;fence.py",
            GO_ON[0],
            GO_ON[1],
            "--",
            "sleep",
            "600",
        ];
        let mut session = match Namespace::of_no_privileges("true").start(&sandbox, &arguments) {
            Ok(session) => session,
            Err(reason) => {
                mode(0o700);
                return left_out(&format!("a directory that cannot be listed: {reason}"));
            }
        };
        session.wait_armed(1);
        for (name, content) in [
            ("closed/app.toml", "two, in place"),
            ("closed/later.toml", "new"),
            ("closed/later.toml", "new, and changed"),
            ("fence.py", "told at once"),
        ] {
            assert_told(&sandbox, &mut session, name, content);
        }
        sandbox.write("closed/aside", "three, aside");
        fs::rename(sandbox.path("closed/aside"), sandbox.path("closed/app.toml")).expect("the test owns it");
        assert_eq!(names(&session.wait("changed")), ["app.toml"]);
        fs::remove_file(sandbox.path("closed/app.toml")).expect("it exists");
        assert_eq!(names(&session.wait("changed")), ["app.toml"]);
        sandbox.write("closed/unnamed.toml", "nobody asked for it");
        assert_told(&sandbox, &mut session, "fence.py", "another fence");
        mode(0o700);
        let ended = session.stop();
        let words = ["closed may be entered but not listed", "app.toml is polled every 100ms (--interval)"];
        assert_one_complaint(&ended, &words);
    }
}
