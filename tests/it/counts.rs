//! What `status` counts and measures: restarts by their causes, the last reload, times, and the digest of what was taken in.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::control::{answer, status};
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// The count of one cause, and that of all.
fn restarts(sandbox: &Sandbox, cause: &str) -> (u64, u64) {
    let restarts = &status(sandbox)["restarts"];
    (restarts["by_reason"][cause].as_u64().expect("a number"), restarts["total"].as_u64().expect("a number"))
}

/// The digest of the last event, and that of `status`, which is the same.
fn digest(sandbox: &Sandbox, session: &mut Session) -> String {
    let event = session.wait("digest")["digest"].as_str().expect("a text").to_owned();
    assert_eq!(status(sandbox)["digest"].as_str(), Some(event.as_str()));
    event
}

#[test]
fn restarts_are_counted_by_their_causes() {
    let sandbox = Sandbox::new();
    sandbox.write("reloadrun.toml", "watch = 'a.txt'\non-exit = 'restart'\n");
    sandbox.write("a.txt", "one");
    let script = "sleep 600 & echo $! > pid; wait $!; exit $(cat code)";
    sandbox.write("code", "1");
    let mut session = sandbox.start(["--", "sh", "-c", script]);
    assert_eq!(session.wait_armed(1)["reason"], "first");
    let first = status(&sandbox);
    assert_eq!((&first["restarts"]["total"], &first["last_reload"]), (&json!(0), &Value::Null));
    sandbox.write("a.txt", "two");
    assert_eq!(session.wait_armed(2)["reason"], "change");
    sandbox.write("reloadrun.toml", "watch = 'a.txt'\non-exit = 'restart'\n# another\n");
    assert_eq!(session.wait_armed(3)["reason"], "config");
    answer(&sandbox, &["restart"], 0);
    assert_eq!(session.wait_armed(4)["reason"], "asked");
    for (generation, code, cause) in [(5, "1", "crash"), (6, "0", "exit")] {
        sandbox.write("code", code);
        // Until the command has written it, it is that of the one before, which has ended.
        let pid = || sandbox.read("pid").strip_suffix('\n').and_then(|pid| pid.parse().ok());
        session.wait_until("the pid", || pid().is_some_and(is_alive));
        signal(pid().expect("it is there"), "KILL");
        assert_eq!(session.wait_armed(generation)["reason"], cause, "{}", session.account());
    }
    signal(session.child_pid(), "KILL");
    assert_eq!(session.wait_armed(7)["reason"], "child_died");
    let restarts = status(&sandbox)["restarts"].clone();
    let by_reason = json!({"change": 1, "config": 1, "asked": 1, "crash": 1, "exit": 1, "child_died": 1, "rights": 0});
    assert_eq!(restarts, json!({"total": 6, "by_reason": by_reason}));
    session.stop();
}

#[test]
fn the_last_reload_says_whether_the_new_state_is_live_and_how_long_that_took() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "good");
    let script = "case $(cat a.txt) in good) sleep 0.2; echo >&7; exec sleep 600;; *) exit 3;; esac";
    let prepare = "test \"$(cat a.txt)\" != refused";
    let options = ["-w", "a.txt", "--ready", "fd:7", "--prepare", prepare, "--", "sh", "-c", script];
    let mut session = sandbox.start(options);
    session.wait("ready");
    let serving = |sandbox: &Sandbox| status(sandbox)["serving"].as_bool().expect("it is one");
    assert!(serving(&sandbox));
    let outcome = |sandbox: &Sandbox| {
        let status = status(sandbox);
        (status["last_reload"]["success"].as_bool(), status["last_reload"]["reason"].clone())
    };
    sandbox.write("a.txt", "refused");
    session.wait("prepare_failed");
    assert_eq!(outcome(&sandbox), (Some(false), json!("change")));
    assert!(serving(&sandbox), "the command runs on as it was");
    sandbox.write("a.txt", "bad");
    session.wait("waiting");
    assert_eq!(outcome(&sandbox), (Some(false), json!("change")));
    assert!(!serving(&sandbox));
    sandbox.write("a.txt", "good");
    session.wait("ready");
    assert_eq!(outcome(&sandbox), (Some(true), json!("change")));
    assert!(serving(&sandbox));
    answer(&sandbox, &["restart"], 0);
    session.wait("ready");
    assert_eq!(outcome(&sandbox), (Some(true), json!("asked")));
    let status = status(&sandbox);
    let took = status["last_reload"]["took_ms"].as_f64().expect("a number");
    let ready = status["times"]["ready_ms"].as_f64().expect("a number");
    let start = status["times"]["start_ms"].as_f64().expect("a number");
    assert!(ready >= 200.0 && (took - start - ready).abs() < 0.01, "{status}");
    assert!(status["times"]["stop_ms"].as_f64().is_some(), "{status}");
    session.stop();
}

#[test]
fn a_run_for_changes_and_a_queue_do_not_look_like_a_stop() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "one");
    let mut session = sandbox.start(["-w", "a.txt", "--on-change", "run:exit $(cat code)", "--", "sleep", "600"]);
    session.wait_armed(1);
    for (code, success) in [("3", false), ("0", true)] {
        sandbox.write("code", code);
        sandbox.write("a.txt", code);
        session.wait("ran");
        let status = status(&sandbox);
        assert_eq!((&status["state"], &status["serving"]), (&json!("running"), &json!(true)), "{status}");
        assert_eq!(status["last_reload"]["success"], json!(success), "{status}");
    }
    session.stop();
}

/// Publishes a version of a volume, as the kubelet does.
fn publish(sandbox: &Sandbox, version: u32, content: &str) {
    let (volume, name) = (sandbox.path("volume"), format!("..2026_{version}.{}", std::process::id()));
    sandbox.write(format!("volume/{name}/app.toml"), content);
    symlink(&name, volume.join("..data_tmp")).expect("it is new");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("it replaces the old one");
    if !volume.join("app.toml").exists() {
        symlink("..data/app.toml", volume.join("app.toml")).expect("it is new");
    }
}

#[test]
fn replicas_that_have_taken_in_the_same_version_have_the_same_digest() {
    for (pattern, on_change) in [("volume", "restart"), ("volume/*.toml", "restart"), ("volume", "signal:WINCH")] {
        let digests_of = |first: u32| {
            let sandbox = Sandbox::new();
            publish(&sandbox, first, "one");
            let options = ["-w", pattern, "--on-change", on_change, "--prepare", "test $(cat volume/app.toml) != bad"];
            let mut session = sandbox.start(options.iter().chain(&["--", "sleep", "600"]));
            let mut digests = vec![digest(&sandbox, &mut session)];
            session.wait_until("the watches", || !status(&sandbox)["watching"].is_null());
            publish(&sandbox, first + 1, "two");
            digests.push(digest(&sandbox, &mut session));
            // The command does not have this one.
            publish(&sandbox, first + 2, "bad");
            session.wait("prepare_failed");
            assert_eq!(status(&sandbox)["digest"].as_str(), Some(digests[1].as_str()));
            publish(&sandbox, first + 3, "one");
            digests.push(digest(&sandbox, &mut session));
            session.stop();
            digests
        };
        // The directories of the versions have other names on each node.
        let (one, other) = (digests_of(10), digests_of(20));
        assert_eq!(one, other, "{pattern}, {on_change}");
        assert!(one[0] != one[1] && one[0] == one[2], "{one:?}");
    }
}

#[test]
fn a_whole_tree_has_no_digest_and_the_config_file_belongs_to_it() {
    let sandbox = Sandbox::new();
    sandbox.write("a.txt", "one");
    let mut session = sandbox.start(["--", "sleep", "600"]);
    session.wait_armed(1);
    assert_eq!(status(&sandbox)["digest"], Value::Null);
    session.stop();
    sandbox.write("reloadrun.toml", "watch = 'a.txt'\nenv-file = 'env'\n");
    sandbox.write("env", "A=1\n");
    let mut session = sandbox.start(["--", "sleep", "600"]);
    let first = digest(&sandbox, &mut session);
    sandbox.write("env", "A=2\n");
    session.wait_started(2);
    assert_ne!(digest(&sandbox, &mut session), first);
    assert_eq!(restarts(&sandbox, "config"), (1, 1));
    session.stop();
}
