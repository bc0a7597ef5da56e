//! When a save is complete: `--debounce`, and new names.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::watched::{
    assert_fence, assert_restart, is_installed, names, on_every_backend, run, watch, watch_without_restarts,
};

/// A pause between saves in a row. The pause itself is tested.
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Nanoseconds between two events.
fn between(earlier: &Value, later: &Value) -> u64 {
    later["monotonic_ns"].as_u64().expect("a number") - earlier["monotonic_ns"].as_u64().expect("a number")
}

/// A temporary name lives for less than this, or it counts after 100 ms.
const BRIEF: Duration = Duration::from_millis(80);

/// Saves with temporary names. False if this machine was so busy that one of them lived too long, which says nothing.
fn temporary_files_do_not_count(backend: &str, arguments: &[&str]) -> bool {
    let sandbox = Sandbox::new();
    sandbox.write(".ignore", "settings\n");
    sandbox.write("settings", "number 0");
    sandbox.write("a.txt", "old");
    let mut session = watch(&sandbox, backend, arguments);
    for number in 1..=30 {
        run(&sandbox, "sed", &["-i", &format!("s/[0-9]*$/{number}/"), "settings"]);
    }
    for millis in [0, 3, 20, 50] {
        let began = Instant::now();
        let path = sandbox.write("y.tmp", "x");
        pause(millis);
        fs::remove_file(path).expect("it exists");
        if began.elapsed() > BRIEF {
            return false;
        }
        let began = Instant::now();
        let path = sandbox.write("targetXYZ/CACHEDIR.TAG", "x");
        pause(millis);
        fs::rename(path.parent().expect("it has one"), sandbox.path("target")).expect("the test owns it");
        if began.elapsed() > BRIEF {
            return false;
        }
        fs::remove_dir_all(sandbox.path("target")).expect("the test owns it");
    }
    assert_eq!(session.starts(), 1, "{arguments:?}: {}", session.account());
    // New names that stay are changes, and only the last name of each file is reported.
    for (generation, temporary, last) in [(2, ".a.txt.AbCd", "a.txt"), (3, "b.tmp", "b.txt")] {
        let began = Instant::now();
        sandbox.write(temporary, "new");
        pause(3);
        fs::rename(sandbox.path(temporary), sandbox.path(last)).expect("the test owns it");
        if began.elapsed() > BRIEF {
            return false;
        }
        assert_restart(&mut session, generation, &[last]);
    }
    assert_eq!(session.stop().count("started"), 3);
    true
}

on_every_backend! {
    fn files_saved_in_a_row_are_one_restart_with_a_debounce_time(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch(&sandbox, backend, &["-w", "*.py", "--debounce", "1500ms"]);
        for number in 0..5 {
            sandbox.write(format!("{number}.py"), "saved");
            pause(200);
        }
        assert_eq!(session.starts(), 1, "the old command runs on meanwhile: {}", session.account());
        assert!(!session.events().iter().any(|seen| seen["event"] == "stopping"), "{}", session.account());
        assert_restart(&mut session, 2, &["0.py", "1.py", "2.py", "3.py", "4.py"]);
        // A save, and a formatter somewhat later.
        sandbox.write("app.py", "saved");
        pause(300);
        sandbox.write("app.py", "formatted");
        assert_restart(&mut session, 3, &["app.py"]);
        let ended = session.stop();
        assert_eq!(ended.count("started"), 3, "{ended:#?}");
        assert_eq!(ended.count("degraded"), 0, "{ended:#?}");
    }

    fn continuous_writes_pass_after_ten_debounce_times_and_that_is_reported_once(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("app.py", "one");
        let mut session = watch(&sandbox, backend, &["-w", "*.py", "--debounce", "200ms"]);
        let begin = Instant::now();
        let deadline = begin + Duration::from_secs(60);
        for number in 0.. {
            sandbox.write("app.py", format!("number {number}"));
            pause(20);
            if session.starts() >= 3 || Instant::now() > deadline {
                break;
            }
        }
        assert!(begin.elapsed() >= Duration::from_millis(2 * 1900), "10 times 200 ms, twice: {:?}", begin.elapsed());
        session.wait_started(3);
        let ended = session.stop();
        let told: Vec<&Value> = ended.events.iter().filter(|seen| seen["event"] == "degraded").collect();
        let [told] = told[..] else { panic!("{ended:#?}") };
        let message = told["message"].as_str().expect("a text");
        assert_eq!(told["kind"], "never_quiet");
        assert!(message.contains("app.py") && message.contains("10 times --debounce"), "{message}");
    }

    fn a_signal_waits_for_the_debounce_time_too(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", "*.py", "--debounce", "1500ms"]);
        for number in 0..3 {
            sandbox.write(format!("{number}.py"), "saved");
            pause(200);
        }
        assert_eq!(names(&session.wait("changed")), ["0.py", "1.py", "2.py"]);
        assert_eq!(session.stop().count("changed"), 1);
    }

    fn a_temporary_file_in_a_directory_watched_as_a_whole_does_not_count(backend) {
        for arguments in [&[][..], &["-w", "."], &["-w", "*"], &["-w", "**"]] {
            let was_quick = (0..20).any(|_| temporary_files_do_not_count(backend, arguments));
            assert!(was_quick, "temporary files never lived as briefly as they should");
        }
    }

    fn a_lock_file_that_the_command_creates_counts_only_when_it_changes_later(backend) {
        let sandbox = Sandbox::new();
        sandbox.write("Cargo.toml", "manifest");
        let mut session = watch(&sandbox, backend, &[]);
        sandbox.write("Cargo.lock", "lock");
        pause(300);
        assert_fence(&sandbox, &mut session, 2);
        sandbox.write("Cargo.lock", "another lock");
        assert_restart(&mut session, 3, &["Cargo.lock"]);
        fs::remove_file(sandbox.path("Cargo.lock")).expect("it exists");
        assert_restart(&mut session, 4, &["Cargo.lock"]);
        session.stop();
        let mut session = watch(&sandbox, backend, &["-w", "*.lock"]);
        sandbox.write("Cargo.lock", "asked for");
        assert_restart(&mut session, 2, &["Cargo.lock"]);
        session.stop();
    }
}

#[test]
fn cargo_run_in_a_fresh_project_is_one_start() {
    if !is_installed("cargo", "cargo run") {
        return;
    }
    let sandbox = Sandbox::new();
    run(&sandbox, "cargo", &["init", "-q", "--vcs", "none", "--name", "hello"]);
    sandbox.write(".gitignore", "target\n");
    let mut session = sandbox.start_with(["--on-exit", "wait", "--", "cargo", "-q", "run", "--offline"], |command| {
        command.env_remove("CARGO_TARGET_DIR");
    });
    session.wait("exited");
    assert!(session.stdout().contains("Hello, world!"), "{}", session.account());
    // All effects of the build are over before this.
    sandbox.write("src/main.rs", "fn main() { println!(\"Hello again!\") }");
    let started = session.wait_started(2);
    assert_eq!(names(&started), ["main.rs"], "{}", session.account());
    session.stop();
}

#[test]
fn the_stop_begins_only_after_the_debounce_time() {
    let sandbox = Sandbox::new();
    let mut session = watch(&sandbox, "inotify", &["-w", "*.py", "--debounce", "700ms"]);
    let watching = session.events().into_iter().find(|seen| seen["event"] == "watching").expect("it is armed");
    sandbox.write("app.py", "saved");
    let stopping = session.wait("stopping");
    assert!(between(&watching, &stopping) >= 700_000_000, "{}", session.account());
    session.stop();
}

#[test]
fn a_save_whose_writer_pauses_waits_for_the_debounce_time_when_that_is_longer() {
    let sandbox = Sandbox::new();
    sandbox.write("app.py", "one");
    let mut session = watch(&sandbox, "inotify", &["-w", "*.py", "--debounce", "1500ms"]);
    fs::remove_file(sandbox.path("app.py")).expect("it exists");
    pause(400);
    sandbox.write("app.py", "two");
    assert_restart(&mut session, 2, &["app.py"]);
    assert_fence(&sandbox, &mut session, 3);
    assert_eq!(session.stop().count("started"), 3);
}
