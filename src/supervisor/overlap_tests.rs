//! Two generations at a time (`--overlap`).

use super::bench::{
    Bench, FIRST_DELAY, HANGS, asked, changed, exited, handed_over, leaving, not_ready, ready, report, restarting,
    short, signal, started, stopped, stopping,
};
use crate::config::OnExit;
use crate::control::Request;
use crate::degraded::{Degraded, Loss};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::generation::Generation;
use crate::os::signals::Signal;
use crate::protocol::{Report, Response, StopReason};
use crate::supervisor::life::Readiness;
use crate::supervisor::machine::{Action, Input};
use std::time::Duration;

const ONE: Generation = Generation::FIRST;

fn two() -> Generation {
    ONE.next()
}

/// The same from a generation of our choice.
fn from(of: Generation, input: Input) -> Input {
    match input {
        Input::Report(_, report) => Input::Report(of, report),
        other => other,
    }
}

/// The first is ready and has handed over; the second has started beside it.
fn side_by_side(on_exit: OnExit) -> Bench {
    let mut bench = Bench::after(on_exit, &[started(), ready(), changed(false, Response::HandOver)]);
    assert_eq!(bench.says(handed_over(true)), "fork 2; start 2");
    assert_eq!(bench.says(started()), "tell started");
    bench
}

fn says(bench: &mut Bench, of: Generation, input: Input) -> String {
    short(&bench.step_of(from(of, input)))
}

#[test]
fn a_child_that_hands_over_stays_until_the_next_one_is_ready() {
    let mut bench = side_by_side(OnExit::Wait);
    assert_eq!(bench.machine.readiness(), Readiness::NotYet);
    assert_eq!(bench.says(ready()), "tell ready; retire 1");
    assert_eq!(bench.machine.readiness(), Readiness::Ready(Duration::ZERO));
    assert_eq!(says(&mut bench, ONE, stopped()), "tell stopped");
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Ended)), "release", "and nothing follows it");
    assert_eq!(bench.says(changed(false, Response::HandOver)), "tell changed");
    let start = bench.step(handed_over(true));
    assert_eq!(short(&start), "fork 3; start 3");
    assert!(matches!(&start[1], Action::Start(_, changes) if changes.len() == 1), "{start:?}");
}

#[test]
fn what_the_next_one_must_not_take_over_begins_anew() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), ready(), changed(false, Response::HandOver)]);
    assert_eq!(bench.says(handed_over(false)), "forget watches; fork 2; start 2");
    let mut bench = Bench::after(OnExit::Wait, &[started(), ready(), changed(true, Response::HandOver)]);
    assert_eq!(bench.says(handed_over(true)), "forget watches; read config; fork 2; start 2");
}

#[test]
fn one_that_ends_or_is_not_ready_in_time_only_watches_and_the_one_before_stays() {
    for (failure, told) in [
        (exited(1), "tell exited; tell not_replaced; end command of 2; name listen"),
        (not_ready(), "tell not_replaced; end command of 2"),
    ] {
        for on_exit in [OnExit::Wait, OnExit::Exit, OnExit::Restart] {
            let mut bench = side_by_side(on_exit);
            assert_eq!(bench.says(failure.clone()), told, "{on_exit:?}");
            assert_eq!(bench.machine.readiness(), Readiness::Never);
            assert_eq!(bench.says(Input::Tick), "", "nothing follows by itself");
            // The next change starts the third beside the first.
            assert_eq!(bench.says(changed(false, Response::Start)), "tell changed");
            assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 3; start 3");
            assert_eq!(bench.says(started()), "tell started");
            assert_eq!(bench.says(ready()), "tell ready; retire 1");
        }
    }
    // It has become ready at the last moment.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(not_ready());
    assert_eq!(bench.says(ready()), "tell ready; retire 1");
    let mut alone = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(alone.says(not_ready()), "tell degraded", "with nobody beside it, it runs on");
}

#[test]
fn a_change_before_it_is_ready_restarts_it_and_the_one_before_stays() {
    let mut bench = side_by_side(OnExit::Wait);
    assert_eq!(bench.says(restarting()), "fork 3");
    assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed");
    assert_eq!(bench.says(stopping()), "tell stopping");
    assert_eq!(bench.says(not_ready()), "tell degraded", "that it is late does not matter any more");
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; start 3");
    assert_eq!(bench.says(ready()), "tell ready; retire 1");
}

#[test]
fn when_the_one_that_stayed_ends_it_is_the_end_of_the_command_only_if_nothing_else_can_become_ready() {
    let mut bench = side_by_side(OnExit::Exit);
    assert_eq!(says(&mut bench, ONE, exited(0)), "tell exited; retire 1", "the second may become ready");
    assert_eq!(bench.says(exited(4)), "tell exited; send stop; send stop");
    let mut bench = side_by_side(OnExit::Exit);
    bench.step(exited(1));
    assert_eq!(says(&mut bench, ONE, exited(4)), "tell exited; retire 1; send stop; send stop");
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(exited(1));
    assert_eq!(says(&mut bench, ONE, exited(4)), "tell exited; retire 1; tell waiting");
    let mut bench = side_by_side(OnExit::Restart);
    bench.step(exited(1));
    assert_eq!(says(&mut bench, ONE, exited(4)), "tell exited; retire 1; tell waiting");
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "send stop; fork 3");
    // It ends between the change and the handing over.
    let mut bench = Bench::after(OnExit::Wait, &[started(), ready(), changed(false, Response::HandOver), exited(0)]);
    assert_eq!(bench.says(handed_over(true)), "retire 1; fork 2; start 2");
}

#[test]
fn an_end_is_asked_of_everyone_and_comes_with_the_last() {
    let mut bench = side_by_side(OnExit::Wait);
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop; send stop");
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Ended)), "release");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 143");
    // One that is being replaced has not been asked before; of one that hangs only its own tree is killed.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(ready());
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop; send stop");
    assert_eq!(says(&mut bench, two(), leaving(ChildEnd::Ended)), "release");
    bench.pass(HANGS);
    assert_eq!(bench.says(Input::Tick), "sweep; release; tell finished; sweep; finish 143");
    // While nobody watches.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step_of(Input::ChildDied(two(), Loss::Left));
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.says(Input::Tick), "", "no other is started");
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 143");
}

#[test]
fn a_child_that_dies_costs_its_own_tree_alone() {
    let spared = |actions: &[Action]| -> Vec<u64> {
        let sweep = actions.iter().find_map(|action| match action {
            Action::Sweep { spared } => Some(spared.iter().map(|generation| generation.number()).collect()),
            _ => None,
        });
        sweep.unwrap()
    };
    let died = |of| Input::ChildDied(of, Loss::Ended(CommandStatus::Exited(1)));
    let mut bench = side_by_side(OnExit::Wait);
    let actions = bench.step_of(died(two()));
    assert_eq!((short(&actions), spared(&actions)), ("forget watches; sweep; release; tell degraded".into(), vec![1]));
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "fork 3; start 3");
    assert_eq!(bench.says(ready()), "tell ready; retire 1");

    let mut bench = side_by_side(OnExit::Wait);
    let actions = bench.step_of(died(ONE));
    assert_eq!((short(&actions), spared(&actions)), ("sweep; release; tell degraded".into(), vec![2]));
    assert_eq!(bench.says(Input::Tick), "", "the second may become ready");
    // With nothing left that runs, the next one comes after a while.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(exited(1));
    assert_eq!(short(&bench.step_of(died(ONE))), "sweep; release; tell degraded");
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "send stop; fork 3");
    // Both at once.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step_of(died(two()));
    assert_eq!(short(&bench.step_of(died(ONE))), "sweep; release; tell degraded");
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "fork 3; start 3");
}

#[test]
fn signals_are_for_the_one_that_serves() {
    let to = |actions: &[Action]| match actions {
        [Action::Send(of, _)] => of.number(),
        other => panic!("{other:?}"),
    };
    let mut bench = side_by_side(OnExit::Wait);
    assert_eq!(to(&bench.step(signal(Signal::USR1))), 1);
    bench.step(ready());
    assert_eq!(to(&bench.step(signal(Signal::USR1))), 2);
}

#[test]
fn the_stop_of_the_one_before_does_not_belong_to_the_next_start() {
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(ready());
    let stopped = |took_ns| report(Report::Stopped { took_ns, killed: false });
    bench.step_of(from(ONE, stopped(5_000_000)));
    bench.step(changed(false, Response::HandOver));
    bench.step(handed_over(true));
    let started = bench.step(started());
    assert!(
        matches!(&started[..], [Action::Tell(_, crate::event::What::Started { stop_ms: None, .. })]),
        "{started:?}"
    );
}

#[test]
fn a_standby_with_the_watch_state_from_before_a_new_config_is_never_started() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), ready(), changed(false, Response::HandOver)]);
    assert_eq!(bench.says(handed_over(false)), "forget watches; fork 2; start 2");
    // The host stops for a change: the next child is forked.
    says(&mut bench, ONE, stopping());
    let moved = short(&bench.step_of(Input::ConfigMovedOn(two())));
    assert!(moved.ends_with("forget watches; read config; fork 2; start 2"), "{moved}");
    let next = says(&mut bench, two(), handed_over(true));
    assert!(!next.contains("start 3") || next.contains("fork 3; start 3"), "{next}");
}

#[test]
fn a_restart_that_was_asked_for_starts_the_next_one_beside_the_one_that_is_ready() {
    let overlapping = |inputs: &[Input]| {
        let mut bench = Bench::overlapping(OnExit::Wait);
        inputs.iter().for_each(|input| drop(bench.step(input.clone())));
        bench
    };
    let mut bench = overlapping(&[started(), ready()]);
    assert_eq!(bench.says(asked(Request::Restart)), "hand over 1; fork 2; answer restart 2 false");
    assert_eq!(bench.says(asked(Request::Restart)), "answer restart 2 true");
    assert_eq!(bench.says(handed_over(true)), "start 2");
    assert_eq!(bench.says(started()), "tell started");
    assert_eq!(bench.says(ready()), "tell ready; retire 1");
    // An end meanwhile is asked of it as always.
    let mut bench = overlapping(&[started(), ready(), asked(Request::Restart)]);
    assert_eq!(bench.says(signal(Signal::TERM)), "dismiss 2; send stop");
    // One that is not ready is no better than none.
    let mut bench = overlapping(&[started()]);
    assert_eq!(bench.says(asked(Request::Restart)), "send stop; fork 2; answer restart 2 false");
}

#[test]
fn a_host_whose_command_may_not_be_traced_ends_it_and_is_not_missed() {
    let needs = |program: &str| Degraded::NeedsRights { program: program.into(), starts_again: true };
    let untraced = || report(Report::Untraced(needs("/bin/su")));
    let rights = || report(Report::Stopping { reason: StopReason::Rights });
    let mut bench = side_by_side(OnExit::Wait);
    assert_eq!(says(&mut bench, ONE, untraced()), "tell degraded");
    says(&mut bench, ONE, rights());
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Reload)), "release", "the second is on its way");
    assert_eq!(bench.says(ready()), "tell ready");
    // The newest has failed, so another follows, untraced.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(exited(1));
    says(&mut bench, ONE, untraced());
    assert!(!bench.machine.traces());
    says(&mut bench, ONE, rights());
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Reload)), "release; send stop");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; start 3");
    // One that is being replaced.
    let mut bench = side_by_side(OnExit::Wait);
    bench.step(ready());
    assert_eq!(says(&mut bench, ONE, leaving(ChildEnd::Reload)), "release");
}
