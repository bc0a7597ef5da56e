//! How generations follow each other.

use super::bench::{
    Bench, FIRST_DELAY, HANGS, changed, degraded, died, exited, fork_failed, leaving, report, rules, set, started,
    stopped, stopping,
};
use crate::config::{OnChange, OnExit};
use crate::degraded::Degraded;
use crate::event::{Effect, WaitingFor, What};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::protocol::{Report, Response};
use crate::supervisor::machine::{Action, Input, Rules};
use std::time::Duration;

#[test]
fn the_policy_decides_what_the_commands_own_end_leads_to() {
    let not_found = CommandStatus::NotFound("no such file".into());
    let cannot_run = CommandStatus::CannotRun("it is a directory".into());
    let signaled = CommandStatus::Signaled { signal: 11, name: "SIGSEGV".into(), core: false };
    for (status, code) in [
        (CommandStatus::Exited(0), 0),
        (CommandStatus::Exited(3), 3),
        (signaled, 139),
        (not_found, 127),
        (cannot_run, 126),
    ] {
        let input = report(Report::Exited { status, ran_ns: 5, again: false });
        let mut bench = Bench::after(OnExit::Exit, &[started()]);
        assert_eq!(bench.says(input.clone()), "tell exited; send stop", "what it left behind is ended first");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), format!("release; tell finished; sweep; finish {code}"));

        let mut bench = Bench::after(OnExit::Wait, &[started()]);
        let waiting = bench.step(input.clone());
        assert_eq!(waiting[1], Action::Tell(Generation::FIRST, What::Waiting(WaitingFor::Change)));
        assert_eq!(bench.machine.due(), None);

        let mut bench = Bench::after(OnExit::Restart, &[started()]);
        let waiting = bench.step(input);
        assert_eq!(waiting[1], Action::Tell(Generation::FIRST, What::Waiting(WaitingFor::Delay(FIRST_DELAY))));
        assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY));
    }
}

#[test]
fn the_delay_passes_the_child_is_renewed_and_the_next_delay_is_longer() {
    let mut bench = Bench::new(OnExit::Restart, false);
    for (generation, delay) in [(2, 100), (3, 200), (4, 400)] {
        bench.says(started());
        assert_eq!(bench.says(exited(1)), "tell exited; tell waiting");
        bench.pass(Duration::from_millis(delay - 1));
        assert_eq!(bench.says(Input::Tick), "", "not before its time");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.says(Input::Tick), format!("send stop; fork {generation}"));
        assert_eq!(bench.machine.due(), Some(bench.now + HANGS), "it has its time to leave");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), format!("release; start {generation}"));
    }
}

#[test]
fn a_change_during_the_delay_starts_at_once_and_makes_the_next_delay_short() {
    let mut bench = Bench::new(OnExit::Restart, false);
    for _ in 0..3 {
        bench.says(started());
        bench.says(exited(1));
        bench.pass(Duration::from_secs(1));
        bench.says(Input::Tick);
        bench.says(leaving(ChildEnd::Ended));
    }
    bench.says(started());
    bench.says(exited(1));
    assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(800)));
    assert_eq!(bench.says(changed(false, Response::Start)), "tell changed");
    assert_eq!(bench.machine.due(), None, "the child leaves by itself");
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 5; start 5");
    bench.says(started());
    bench.says(exited(1));
    assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY));
}

#[test]
fn a_changed_config_file_is_read_before_the_next_child_and_only_then() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(true, Response::Restart)]);
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; forget watches; read config; fork 2; start 2");
    bench.says(started());
    bench.says(changed(false, Response::Restart));
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 3; start 3");
    // Even if the child dies on the way.
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(true, Response::Restart), died()]);
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "forget watches; read config; fork 2; start 2");
    // In either order of two change sets.
    for (first, second) in [(true, false), (false, true)] {
        let inputs = [started(), changed(first, Response::Restart), changed(second, Response::Restart)];
        assert_eq!(
            Bench::after(OnExit::Wait, &inputs).says(leaving(ChildEnd::Reload)),
            "release; forget watches; read config; fork 2; start 2"
        );
    }
}

#[test]
fn an_adapted_machine_goes_by_the_new_rules() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    bench.machine.adapt(rules(OnExit::Exit));
    assert_eq!(bench.says(exited(4)), "tell exited; send stop");
}

#[test]
fn a_start_tells_what_led_to_it_and_how_long_all_took_once() {
    let mut bench = Bench::new(OnExit::Wait, false);
    let of = |actions: Vec<Action>| match actions.into_iter().next() {
        Some(Action::Tell(_, What::Started { pid, command, changes, stop_ms, restart_ms, .. })) => {
            (pid, command, changes.len(), stop_ms, restart_ms)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 0, None, None));
    bench.step(changed(false, Response::Restart));
    bench.step(changed(true, Response::Restart));
    bench.step(stopping());
    bench.step(stopped());
    let spawn = bench.step(leaving(ChildEnd::Reload)).pop();
    assert!(matches!(&spawn, Some(Action::Start(_, changes)) if changes.len() == 2), "{spawn:?}");
    // Noticed at 1 ms, started at 9 ms; the stop took 2 ms.
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 2, Some(2.0), Some(8.0)));
    bench.step(leaving(ChildEnd::Reload));
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 0, None, None));
}

#[test]
fn a_change_that_only_sends_a_signal_is_not_behind_the_next_start() {
    let mut bench = Bench::new(OnExit::Wait, false);
    bench.machine.adapt(Rules { on_change: OnChange::Signal(Signal::HUP), ..rules(OnExit::Wait) });
    bench.step(started());
    let told = bench.step(changed(false, Response::Signal));
    assert_eq!(
        told,
        [Action::Tell(Generation::FIRST, What::Changed { changes: set(false), action: Effect::Signal(Signal::HUP) })]
    );
    for (response, action) in [(Response::Restart, Effect::Restart), (Response::Start, Effect::Start)] {
        let told = Bench::after(OnExit::Wait, &[started()]).step(changed(false, response));
        assert_eq!(told, [Action::Tell(Generation::FIRST, What::Changed { changes: set(false), action })]);
    }
    let spawn = bench.step(leaving(ChildEnd::Reload)).pop();
    assert!(matches!(&spawn, Some(Action::Start(_, changes)) if changes.is_empty()), "{spawn:?}");
}

#[test]
fn a_child_that_dies_is_replaced_after_a_growing_delay() {
    let mut bench = Bench::new(OnExit::Wait, false);
    for (generation, delay) in [(2, 100), (3, 200), (4, 400)] {
        assert_eq!(bench.says(died()), "forget watches; sweep; release; tell degraded");
        assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(delay)));
        bench.pass(Duration::from_millis(delay - 1));
        assert_eq!(bench.says(Input::Tick), "");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.says(Input::Tick), format!("fork {generation}; start {generation}"));
    }
    bench.pass(Duration::from_secs(60));
    bench.says(died());
    assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY), "a long life begins the series anew");
}

#[test]
fn a_child_that_cannot_be_started_is_tried_again_and_the_first_one_not_for_ever() {
    for ran_before in [false, true] {
        let mut bench = Bench::new(OnExit::Wait, false);
        if ran_before {
            bench.says(started());
        }
        for delay in [100, 200, 400, 800] {
            assert_eq!(bench.says(fork_failed()), "tell degraded");
            assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(delay)));
            bench.pass(Duration::from_millis(delay));
            assert!(bench.says(Input::Tick).starts_with("fork"));
        }
        let fifth = bench.says(fork_failed());
        assert_eq!(fifth, if ran_before { "tell degraded" } else { "tell finished; sweep; finish 125" });
    }
}

#[test]
fn what_lasts_is_told_once_over_all_generations_and_again_after_the_settings_changed() {
    let lasting = |held: usize| {
        report(Report::Degraded(Degraded::WatchLimit { limit: None, held, interval: Duration::from_secs(1) }))
    };
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(lasting(5)), "tell degraded");
    assert_eq!(bench.says(lasting(5)), "");
    bench.says(changed(false, Response::Restart));
    bench.says(leaving(ChildEnd::Reload));
    assert_eq!(bench.says(lasting(6)), "");
    assert_eq!(bench.says(degraded()), "tell degraded", "what happens now is news each time");
    assert_eq!(bench.says(degraded()), "tell degraded");
    bench.says(changed(true, Response::Restart));
    bench.says(leaving(ChildEnd::Reload));
    assert_eq!(bench.says(lasting(5)), "tell degraded");
}
