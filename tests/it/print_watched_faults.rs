//! `--print-watched` and the death of either of its processes at any moment: the command never sees an error that it would
//! not have seen without, nothing hangs, nothing is left. `RELOADRUN_TRACE_FAULTS=500` makes it as many.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::Sandbox;
use crate::support::session::DEADLINE;

const PROBE: &str = env!("CARGO_BIN_EXE_probe");

/// In the suite.
const FEW: usize = 9;

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "{what} has not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal to one process, which is ours.
fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.expect("there is kill").success(), "{name} to {pid}");
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn end_of(holder: &mut Child) -> Option<i32> {
    wait_for("the end of reloadrun", || holder.try_wait().expect("it is our child")).code()
}

#[test]
fn a_command_sees_no_error_and_does_not_hang_whichever_process_is_killed_or_stopped() {
    let rounds = std::env::var("RELOADRUN_TRACE_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(FEW);
    let mut seed = u64::from(std::process::id()) | 1;
    for round in 0..rounds {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(["--print-watched", "--", PROBE, "storm"]);
        command.arg(sandbox.root()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut holder = command.spawn().expect("it can be started");
        let storm = wait_for("the storm", || number(&sandbox.path("pid")));
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let host: u32 = fs::read_to_string(children).unwrap().trim().parse().expect("the holder has one child");
        // Somewhere in the calls.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(seed >> 50));
        match round % 3 {
            0 => {
                signal("KILL", host);
                assert_eq!(end_of(&mut holder), Some(125));
            }
            1 => {
                signal("KILL", holder.id());
                assert_eq!(end_of(&mut holder), None);
            }
            _ => {
                signal("STOP", host);
                // It is continued, and so the calls are served.
                let count = number(&sandbox.path("count")).unwrap_or(0);
                wait_for("more calls", || number(&sandbox.path("count")).filter(|now| *now > count + 100));
                signal("TERM", holder.id());
                assert_eq!(end_of(&mut holder), Some(128 + 15));
            }
        }
        wait_for("the end of the command", || (!is_alive(storm)).then_some(()));
        let error = fs::read_to_string(sandbox.path("error")).ok();
        assert_eq!(error, None, "in round {round}");
    }
}
