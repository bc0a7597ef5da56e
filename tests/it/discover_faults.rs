//! A traced command and the death of its child or of its supervisor at any moment: it never sees an error that it would not have
//! seen without, nothing hangs, nothing is left. `RELOADRUN_TRACE_FAULTS=500` makes it as many.

use std::fs;
use std::time::Duration;

use crate::support::Sandbox;
use crate::support::session::{Session, is_alive, signal};

/// In the suite.
const FEW: usize = 9;

fn number(sandbox: &Sandbox, name: &str) -> Option<u64> {
    fs::read_to_string(sandbox.path(name)).ok()?.trim().parse().ok()
}

fn wait_for_more(sandbox: &Sandbox, session: &Session) {
    let before = number(sandbox, "count").unwrap_or(0);
    session.wait_until("more calls", || number(sandbox, "count").is_some_and(|now| now > before + 50));
}

#[test]
fn a_traced_command_sees_no_error_and_does_not_hang_whichever_process_is_killed_or_stopped() {
    let rounds = std::env::var("RELOADRUN_TRACE_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(FEW);
    let mut seed = u64::from(std::process::id()) | 1;
    for round in 0..rounds {
        let sandbox = Sandbox::new();
        let root = sandbox.root().display().to_string();
        let mut session = sandbox.start(["--", env!("CARGO_BIN_EXE_probe"), "storm", &root]);
        session.wait_armed(1);
        session.wait_until("the storm", || number(&sandbox, "pid").is_some());
        let storm = i32::try_from(number(&sandbox, "pid").unwrap()).unwrap();
        let child = session.child_pid();
        // Somewhere in the calls.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(seed >> 50));
        match round % 4 {
            0 => {
                signal(child, "KILL");
                session.wait_started(2);
            }
            1 => {
                signal(session.pid(), "KILL");
                session.wait_until("the end of the child", || !is_alive(child));
            }
            2 => {
                // It is continued, and so the calls are served.
                signal(child, "STOP");
                wait_for_more(&sandbox, &session);
            }
            _ => {
                // A save at the same time: the calls that wait end with their process.
                sandbox.write("fence.py", "");
                signal(child, "STOP");
                session.wait_started(2);
            }
        }
        if round % 4 != 2 {
            session.wait_until("the end of the command", || !is_alive(storm));
        }
        let error = fs::read_to_string(sandbox.path("error")).ok();
        assert_eq!(error, None, "in round {round}: {}", session.account());
        if round % 4 != 1 {
            session.stop().assert_code(143);
        }
    }
}
