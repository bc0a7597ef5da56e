//! The grace of a stop: who may shorten it, whom the stop signal reaches, and what is said while it lasts.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::ends::pid_of;
use crate::support::session::is_alive;
use crate::support::{Sandbox, Session};

/// Between two saves: an editor that saves by itself.
const AUTOSAVE: Duration = Duration::from_millis(600);

/// A server that drains after TERM until there is a file `drained` beside the root.
const DRAINS: &str =
    "trap 'while ! test -e ../drained; do sleep 0.01; done; exit 0' TERM; echo ready; while :; do sleep 0.01; done";

/// Starts that server, and waits until it would drain.
fn draining(sandbox: &Sandbox, arguments: &[&str]) -> Session {
    sandbox.write("app.txt", "one");
    let mut session = sandbox.start(arguments.iter().chain(&["--", "sh", "-c", DRAINS]));
    session.wait_armed(1);
    session.wait_until("the trap", || session.stdout() == "ready\n");
    session
}

fn let_go(sandbox: &Sandbox) {
    fs::write(sandbox.beside().join("drained"), "").expect("the sandbox is writable");
}

fn files(event: &Value) -> Vec<String> {
    let changes = event["changes"].as_array().expect("a list");
    let name = |change: &Value| change["path"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    changes.iter().map(|change| name(change).expect("a path")).collect()
}

#[test]
fn saves_during_a_stop_never_kill_and_are_in_the_set_of_the_next_start() {
    for arguments in [&["--stop-timeout", "1h"][..], &["--stop-timeout", "1h", "--debounce", "50ms"]] {
        let sandbox = Sandbox::new();
        let mut session = draining(&sandbox, arguments);
        let pid = pid_of(&session.events().into_iter().find(|event| event["event"] == "started").expect("it runs"));
        sandbox.write("app.txt", "two");
        session.wait("stopping");
        for name in ["b.txt", "c.txt", "app.txt"] {
            // The pace is what is tested.
            sleep(AUTOSAVE);
            sandbox.write(name, format!("saved during the stop: {name}"));
            session.wait_where("changed", |event| files(event).iter().any(|file| file == name));
        }
        assert!(is_alive(pid), "{}", session.account());
        let_go(&sandbox);
        assert_eq!(session.wait("stopped")["killed"], false);
        assert_eq!(files(&session.wait_started(2)), ["app.txt", "b.txt", "c.txt"]);
        session.stop().assert_code(143);
    }
}
