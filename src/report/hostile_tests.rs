//! No message, of whatever kind, lets a hostile name through to a terminal or a log.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::human::Human;
use super::json;
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use crate::config::Verbosity;
use crate::degraded::tests::every as every_degraded;
use crate::escape::tests::{HOSTILE, assert_harmless};
use crate::event::{Cause, Discovered, Effect, Event, StopReason, WaitingFor, Watching, What};
use crate::exit_code::{CommandStatus, ExitCode};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::verdict::Reason;

fn hostile() -> String {
    HOSTILE.to_owned()
}

fn changes() -> ChangeSet {
    let change = |path: String| Change {
        path: PathBuf::from(path),
        kind: ChangeKind::Modified,
        rule: hostile(),
        config: false,
        open: false,
        seen: Look::ABSENT,
    };
    ChangeSet::new([change(format!("/{HOSTILE}")), change(format!("/x/{HOSTILE}"))])
}

/// Every kind of event, each text in it hostile.
fn every_event() -> Vec<What> {
    let watching = |polled| Watching {
        narrows: polled == 1,
        patterns: vec![hostile()],
        root: hostile(),
        directories: 2,
        files: 3,
        backend: hostile(),
        polled,
    };
    let events = vec![
        What::ConfigLoaded { path: hostile() },
        What::ConfigRejected { path: hostile(), mistakes: vec![hostile(), hostile()] },
        What::Started {
            pid: 1,
            command: hostile(),
            changes: ChangeSet::default(),
            stop_ms: None,
            restart_ms: None,
            cause: Cause::First,
        },
        What::Watching(watching(1)),
        What::Discovered(Discovered { files: 3, elsewhere: 2, written: 1, narrows: true }),
        What::Watching(Watching { patterns: vec![], ..watching(0) }),
        What::Started {
            pid: 1,
            command: hostile(),
            changes: changes(),
            stop_ms: Some(1.0),
            restart_ms: Some(1.0),
            cause: Cause::Change,
        },
        What::Digest { digest: hostile(), files: 2 },
        What::Postponed { path: hostile(), delay_ms: 1.0 },
        What::Changed { changes: changes(), action: Effect::Signal(Signal::HUP) },
        What::Changed { changes: changes(), action: Effect::Restart },
        What::Changed { changes: changes(), action: Effect::Queue },
        What::Changed { changes: changes(), action: Effect::Run },
        What::Preparing { changes: changes() },
        What::Preparing { changes: ChangeSet::default() },
        What::Prepared { ran_ms: 1.0 },
        What::PrepareFailed { status: CommandStatus::CannotRun(hostile()), ran_ms: 1.0, command_runs: true },
        What::PrepareFailed { status: CommandStatus::Exited(1), ran_ms: 1.0, command_runs: false },
        What::Ran { status: CommandStatus::CannotRun(hostile()), ran_ms: 1.0 },
        What::Ran { status: CommandStatus::Exited(0), ran_ms: 1.0 },
        What::Stopping { signal: Signal::TERM, reason: StopReason::Change },
        What::Stopped { took_ms: 1.0, killed: true },
        What::Stopped { took_ms: 1.0, killed: false },
        What::Exited { status: CommandStatus::Exited(1), ran_ms: 1.0 },
        What::Exited { status: CommandStatus::Signaled { signal: 9, name: hostile(), core: true }, ran_ms: 1.0 },
        What::Exited { status: CommandStatus::NotFound(hostile()), ran_ms: 1.0 },
        What::Exited { status: CommandStatus::CannotRun(hostile()), ran_ms: 1.0 },
        What::Waiting(WaitingFor::Change),
        What::Waiting(WaitingFor::Delay(Duration::from_millis(1))),
        What::Hint { message: hostile() },
        What::Listening { address: hostile(), descriptor: 3 },
        What::Serving { option: "http", url: hostile() },
        What::Ready { after_ms: 412.0, reload: false },
        What::Ready { after_ms: 412.0, reload: true },
        What::Reloading { signal: None },
        What::Reloading { signal: Some(Signal::HUP) },
        What::MainProcess { pid: 4720 },
        What::Status { message: hostile() },
        What::StillStopping {
            signal: Signal::TERM,
            reason: StopReason::Change,
            took_ms: 500.0,
            kill_in_ms: Some(4500.0),
            main_ended: false,
        },
        What::Finished { code: ExitCode::USAGE, reason: hostile() },
        What::Paused,
        What::Resumed,
        What::ReloadAsked { path: hostile() },
        What::ReloadProven { path: hostile(), took_ms: 1.0, requests: Some(2) },
        What::CheckStarted { command: hostile(), address: Some(hostile()) },
        What::CheckEnded { status: CommandStatus::CannotRun(hostile()), ran_ms: 1.0 },
        What::Judged { failure: Some(Reason::Leaked), message: hostile() },
        What::Judged { failure: None, message: hostile() },
    ];
    events.into_iter().chain(every_degraded(HOSTILE).into_iter().map(What::Degraded)).collect()
}

/// One number for each kind, without a wildcard: who adds a kind comes by here.
fn number(what: &What) -> usize {
    match what {
        What::ConfigLoaded { .. } => 0,
        What::ConfigRejected { .. } => 1,
        What::Started { .. } => 2,
        What::Watching(_) => 3,
        What::Changed { .. } => 4,
        What::Stopping { .. } => 5,
        What::Stopped { .. } => 6,
        What::Exited { .. } => 7,
        What::Waiting(_) => 8,
        What::Degraded(_) => 9,
        What::Hint { .. } => 10,
        What::Finished { .. } => 11,
        What::StillStopping { .. } => 12,
        What::Listening { .. } => 13,
        What::Ready { .. } => 14,
        What::Reloading { .. } => 32,
        What::Status { .. } => 15,
        What::Preparing { .. } => 16,
        What::Prepared { .. } => 17,
        What::PrepareFailed { .. } => 18,
        What::Ran { .. } => 19,
        What::Discovered(_) => 20,
        What::Paused => 21,
        What::Resumed => 22,
        What::MainProcess { .. } => 23,
        What::ReloadAsked { .. } => 24,
        What::ReloadProven { .. } => 25,
        What::CheckStarted { .. } => 26,
        What::CheckEnded { .. } => 27,
        What::Judged { .. } => 28,
        What::Serving { .. } => 29,
        What::Digest { .. } => 30,
        What::Postponed { .. } => 31,
    }
}

#[test]
fn every_event_is_harmless_as_a_line_and_as_json() {
    let mut seen = [false; 33];
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        let mut human = Human::new(PathBuf::from("/x"), false, verbosity, true);
        for what in every_event() {
            seen[number(&what)] = true;
            let event = Event { generation: Generation::FIRST, what };
            let json = json::line(&event, 1, SystemTime::UNIX_EPOCH, 0);
            assert_harmless(&json);
            assert_eq!(json.lines().count(), 1);
            let text = human.text(&event).unwrap_or_default();
            assert_harmless(&text);
            assert!(text.lines().all(|line| line.starts_with("reloadrun: ")), "{text}");
        }
        let cleared = human.clear().expect("it clears");
        assert_harmless(cleared.strip_prefix(super::human::CLEAR).expect("that first"));
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
}
