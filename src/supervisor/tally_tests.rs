//! The table at the top of `tally.rs`, line by line.

use std::time::{Duration, Instant, SystemTime};

use super::{Known, Tally};
use crate::change::{Change, ChangeSet};
use crate::degraded::{Degraded, Named};
use crate::event::{Cause, Effect, Event, WaitingFor, What};
use crate::exit_code::CommandStatus;
use crate::generation::Generation;
use crate::os::signals::Signal;

fn known(shows_ready: bool) -> Known {
    Known { shows_ready, overlaps: false, has_command: true, patience: Duration::from_secs(60) }
}

fn files() -> ChangeSet {
    ChangeSet::new([Change::unseen("/a".into())])
}

fn changed(action: Effect) -> What {
    What::Changed { changes: files(), action }
}

fn started(cause: Cause) -> What {
    let restart_ms = (cause == Cause::Change).then_some(2000.0);
    What::Started { pid: 7, command: "app".into(), changes: ChangeSet::default(), stop_ms: None, restart_ms, cause }
}

fn exited(code: u8) -> What {
    What::Exited { status: CommandStatus::Exited(code), ran_ms: 1.0 }
}

/// A generation a number; each event comes a second after the one before.
fn tally(shows_ready: bool, events: &[(u64, What)]) -> Tally {
    let (mut tally, start) = (Tally::default(), Instant::now());
    for (second, (number, what)) in events.iter().enumerate() {
        let generation = (1..*number).fold(Generation::FIRST, |generation, _| generation.next());
        let event = Event { generation, what: what.clone() };
        let passed = Duration::from_secs(second as u64);
        tally.take(&event, known(shows_ready), SystemTime::UNIX_EPOCH + passed, start + passed);
    }
    tally
}

/// Whether the last reload has succeeded, and after how many seconds.
fn last(tally: &Tally) -> Option<(bool, f64)> {
    tally.last_reload().map(|last| (last.success, last.took_ms / 1e3))
}

#[test]
fn every_reload_comes_to_its_end() {
    let first = || (1, started(Cause::First));
    let ready = |of| (of, What::Ready { after_ms: 500.0, reload: false });
    let reloading = || (1, What::Reloading { signal: Some(Signal::HUP) });
    let by_itself = || (1, What::Reloading { signal: None });
    let reloaded = || (1, What::Ready { after_ms: 500.0, reload: true });
    let restart = || (1, changed(Effect::Restart));
    let next = || (2, started(Cause::Change));
    let not_ready = What::Degraded(Degraded::NotReady { timeout: Duration::ZERO, reason: String::new() });
    let refused = What::Degraded(Degraded::SignalRefused {
        signal: "SIGHUP".into(),
        process: Named { pid: 7, name: "x".into(), owner: "root".into() },
    });
    let hup = changed(Effect::Signal(Signal::HUP));
    let rejected = What::ConfigRejected { path: String::new(), mistakes: Vec::new() };
    let failed = What::PrepareFailed { status: CommandStatus::Exited(1), ran_ms: 1.0, command_runs: true };
    let ran = |code| What::Ran { status: CommandStatus::Exited(code), ran_ms: 1.0 };
    let cannot = What::Exited { status: CommandStatus::NotFound("x".into()), ran_ms: 0.0 };
    for (shows_ready, events, expected) in [
        (false, vec![first()], None),
        (true, vec![first(), ready(1)], None),
        (true, vec![first(), ready(1), restart(), next()], None),
        (true, vec![first(), ready(1), restart(), next(), ready(2)], Some((true, 2.5))),
        (true, vec![first(), restart(), next(), (2, exited(0))], Some((false, 2.0))),
        (true, vec![first(), restart(), next(), (2, not_ready.clone())], Some((false, 2.0))),
        (true, vec![first(), restart(), next(), ready(2), (2, exited(1))], Some((true, 2.5))),
        (true, vec![first(), restart(), (2, cannot.clone())], Some((false, 1.0))),
        (true, vec![first(), restart(), (2, rejected.clone()), next(), ready(2)], Some((false, 2.5))),
        (true, vec![first(), (2, started(Cause::Crash)), ready(2)], None),
        (true, vec![first(), (2, started(Cause::Asked)), ready(2)], Some((true, 0.5))),
        (false, vec![first(), restart(), next()], Some((true, 2.0))),
        (false, vec![first(), restart(), next(), (2, exited(0))], Some((true, 2.0))),
        (false, vec![first(), restart(), next(), (2, exited(1))], Some((false, 2.0))),
        (false, vec![first(), (1, hup.clone())], Some((true, 0.0))),
        // A command that tells of its reloads: `signal`, `reloading` a second later, `ready` after two.
        (true, vec![first(), ready(1), (1, hup.clone()), reloading()], Some((true, 0.0))),
        (true, vec![first(), ready(1), (1, hup.clone()), reloading(), reloaded()], Some((true, 1.5))),
        (true, vec![first(), ready(1), (1, hup.clone()), reloading(), (1, not_ready.clone())], Some((false, 2.0))),
        (true, vec![first(), ready(1), (1, hup.clone()), reloading(), (1, exited(0))], Some((false, 2.0))),
        (true, vec![first(), ready(1), by_itself(), reloaded()], None),
        (false, vec![first(), (1, hup), (1, refused)], Some((false, 0.0))),
        (false, vec![first(), (1, failed)], None),
        (false, vec![first(), (1, What::Preparing { changes: files() }), (1, ran(1))], Some((false, 1.0))),
        (false, vec![first(), (1, changed(Effect::Run)), (1, ran(0))], Some((true, 1.0))),
        (false, vec![first(), (1, changed(Effect::Run)), (1, ran(3))], Some((false, 1.0))),
        // It could not be started at first, and is repaired.
        (false, vec![(1, cannot), (1, changed(Effect::Start)), (2, started(Cause::First))], Some((true, 1.0))),
    ] {
        assert_eq!(last(&tally(shows_ready, &events)), expected, "{events:?}");
    }
}

#[test]
fn a_command_that_fails_long_after_a_reload_has_not_failed_of_it() {
    let mut events = vec![(1, started(Cause::First)), (1, changed(Effect::Restart)), (2, started(Cause::Change))];
    events.extend((0..70).map(|_| (2, What::Resumed)));
    events.push((2, exited(1)));
    assert_eq!(last(&tally(false, &events)), Some((true, 2.0)));
}

#[test]
fn restarts_are_counted_by_their_causes_and_the_first_start_is_none() {
    let mut events = vec![(1, started(Cause::First)), (1, What::Stopped { took_ms: 7.0, killed: false })];
    for (at, cause) in Cause::OF_RESTARTS.into_iter().enumerate() {
        for _ in 0..=at {
            events.push((2, started(cause)));
            events.push((2, What::Waiting(WaitingFor::Change)));
        }
    }
    let restarts = tally(false, &events).restarts();
    let counts: Vec<u64> = Cause::OF_RESTARTS.iter().map(|cause| restarts.by_reason[cause]).collect();
    assert_eq!((counts, restarts.total), (vec![1, 2, 3, 4, 5, 6, 7], 28));
    assert_eq!(tally(false, &events).times().stop_ms, Some(7.0));
}
