//! The child that is forked while the one before stops.

use super::bench::{
    Bench, FIRST_DELAY, at_the_terminal, changed, died, fork_failed, from_terminal, leaving, report, restarting, short,
    signal, started, stopped, stopping,
};
use crate::config::OnExit;
use crate::degraded::Loss;
use crate::exit_code::ChildEnd;
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::Signal;
use crate::protocol::{Carried, Report, Response, StopReason};
use crate::supervisor::machine::{Action, Input};

#[test]
fn the_next_child_is_forked_when_the_stop_for_a_change_begins_and_starts_when_the_one_before_has_left() {
    for begin in [restarting(), stopping()] {
        let mut bench = Bench::after(OnExit::Wait, &[started()]);
        assert!(bench.says(begin).ends_with("fork 2"));
        assert_eq!(bench.says(stopping()), "tell stopping", "one is enough");
        assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed");
        assert_eq!(bench.says(stopped()), "tell stopped");
        let actions = bench.step(leaving(ChildEnd::Reload));
        assert_eq!(short(&actions), "release; start 2");
        assert!(matches!(&actions[1], Action::Start(_, changes) if changes.len() == 1), "{actions:?}");
    }
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    let request = report(Report::Stopping { reason: StopReason::Request });
    assert_eq!(bench.says(request), "tell stopping", "nothing follows it");
}

#[test]
fn a_standby_is_not_used_where_the_next_child_must_not_go_on_from_here() {
    let stopping = [started(), restarting()];
    let mut bench = Bench::after(OnExit::Wait, &stopping);
    let last = report(Report::Leaving { end: ChildEnd::Reload, hands_over: false, carried: Carried::default() });
    assert_eq!(bench.says(last), "dismiss 2; forget watches; release; fork 2; start 2");
    let mut bench = Bench::after(OnExit::Wait, &stopping);
    bench.step(changed(true, Response::Restart));
    let last = bench.says(leaving(ChildEnd::Reload));
    assert_eq!(last, "release; dismiss 2; forget watches; read config; fork 2; start 2");
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(true, Response::Restart)]);
    assert_eq!(bench.says(restarting()), "", "none is forked where that is known before");
    // The config file was saved while the child started.
    let mut bench = Bench::after(OnExit::Wait, &stopping);
    bench.step(leaving(ChildEnd::Reload));
    let moved = bench.says(Input::ConfigMovedOn(Generation::FIRST));
    assert_eq!(moved, "dismiss 2; forget watches; read config; fork 2; start 2");
}

#[test]
fn an_end_dismisses_the_standby() {
    for ending in [signal(Signal::TERM), Input::Beat(Beat::Removed), Input::Unread { all: true }] {
        let mut bench = Bench::after(OnExit::Wait, &[started(), restarting()]);
        assert_eq!(bench.says(ending), "dismiss 2; send stop");
        assert_eq!(bench.says(restarting()), "", "and no other is forked");
        assert!(bench.says(leaving(ChildEnd::Reload)).starts_with("release; tell finished; sweep; finish"));
    }
    // Pressed while the command was stopped for the change.
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.step(restarting());
    bench.step(from_terminal(Signal::INT));
    bench.step(stopped());
    let last = bench.says(leaving(ChildEnd::Reload));
    assert_eq!(last, "release; dismiss 2; tell finished; sweep; finish 130");
}

#[test]
fn a_standby_that_dies_or_cannot_be_had_is_replaced_without_a_word() {
    let second = Generation::FIRST.next();
    for loss in [
        Input::ChildDied(second, Loss::NoAnswer),
        Input::Report(
            second,
            Report::Leaving { end: ChildEnd::Failed, hands_over: false, carried: Carried::default() },
        ),
    ] {
        let mut bench = Bench::after(OnExit::Wait, &[started(), restarting()]);
        assert_eq!(short(&bench.step_of(loss)), "dismiss 2");
        assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 2; start 2");
    }
    let mut bench = Bench::after(OnExit::Wait, &[started(), restarting()]);
    assert_eq!(short(&bench.step_of(Input::ForkFailed(second, Errno::EAGAIN))), "");
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 2; start 2");
    assert_eq!(bench.says(fork_failed()), "tell degraded", "now it matters");
}

#[test]
fn every_event_names_the_generation_it_was_decided_in() {
    let generations = |actions: &[Action]| -> Vec<(u64, &'static str)> {
        let told = actions.iter().filter_map(|action| match action {
            Action::Tell(generation, what) => Some((generation.number(), what.name())),
            Action::TellSeries(generation, _) => Some((generation.number(), "series")),
            Action::ReadConfig(generation) => Some((generation.number(), "config")),
            _ => None,
        });
        told.collect()
    };
    let mut bench = Bench::after(OnExit::Wait, &[started(), restarting()]);
    assert_eq!(generations(&bench.step(changed(true, Response::Restart))), [(1, "changed")]);
    assert_eq!(generations(&bench.step(stopped())), [(1, "stopped")]);
    assert_eq!(generations(&bench.step(leaving(ChildEnd::Reload))), [(2, "config")], "it is read for the next one");
    // What the first child says now is not heard: it has said its last word.
    assert_eq!(bench.step_of(Input::Report(Generation::FIRST, Report::Stopped { took_ns: 1, killed: false })), []);
    assert_eq!(generations(&bench.step(started())), [(2, "started")]);
    assert_eq!(generations(&bench.step(died())), [(2, "degraded")]);
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "fork 3; start 3");
    assert_eq!(generations(&bench.step(fork_failed())), [(3, "degraded")]);
    assert_eq!(generations(&bench.step(signal(Signal::TERM))), [(3, "finished")]);
}
