//! When a save is over: `--debounce`, and names that nobody knew.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::watched::{assert_fence, assert_restart, names, on_every_backend, watch, watch_without_restarts};

/// The pace of what comes in a row. The pace itself is what is tested.
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Nanoseconds between two events.
fn between(earlier: &Value, later: &Value) -> u64 {
    later["monotonic_ns"].as_u64().expect("a number") - earlier["monotonic_ns"].as_u64().expect("a number")
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

    fn steady_writes_pass_after_ten_debounce_times_and_that_is_told_once(backend) {
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
        assert!(message.contains("app.py") && message.contains("10 times --debounce"), "{message}");
    }

    fn a_signal_waits_for_the_quiet_too(backend) {
        let sandbox = Sandbox::new();
        let mut session = watch_without_restarts(&sandbox, backend, &["-w", "*.py", "--debounce", "1500ms"]);
        for number in 0..3 {
            sandbox.write(format!("{number}.py"), "saved");
            pause(200);
        }
        assert_eq!(names(&session.wait("changed")), ["0.py", "1.py", "2.py"]);
        assert_eq!(session.stop().count("changed"), 1);
    }
}

#[test]
fn the_stop_begins_only_after_the_quiet() {
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
    fs::remove_file(sandbox.path("app.py")).expect("it is there");
    pause(400);
    sandbox.write("app.py", "two");
    assert_restart(&mut session, 2, &["app.py"]);
    assert_fence(&sandbox, &mut session, 3);
    assert_eq!(session.stop().count("started"), 3);
}
