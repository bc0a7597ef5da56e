//! What clients and keys ask for.

use super::bench::{
    Bench, asked, changed, died, exited, handed_over, leaving, ready, reloaded, reloading, report, rules, set, started,
    stopped, stopping, unanswered,
};
use crate::config::{OnChange, OnExit};
use crate::control::Request;
use crate::degraded::{Degraded, Named};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::os::signals::Signal;
use crate::protocol::{Report, Response};
use crate::supervisor::keyboard::Key;
use crate::supervisor::life::TWICE;
use crate::supervisor::machine::{Input, Rules};
use crate::supervisor::server::ClientId;
use std::time::Duration;

#[test]
fn a_restart_that_was_asked_for_is_one_generation_however_often_it_is_asked_for() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(asked(Request::Restart)), "send stop; fork 2; answer restart 2 false");
    // A second stop would mean KILL.
    assert_eq!(bench.says(asked(Request::Restart)), "answer restart 2 true");
    assert_eq!(bench.says(stopping()), "tell stopping");
    assert_eq!(bench.says(stopped()), "tell stopped");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; start 2");
    assert_eq!(bench.says(started()), "tell started");
    assert_eq!(bench.says(asked(Request::Restart)), "send stop; fork 3; answer restart 3 false");
}

#[test]
fn a_restart_during_the_stop_for_a_save_is_on_its_way_already_and_the_grace_stays() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(false, Response::Restart)]);
    assert_eq!(bench.says(asked(Request::Restart)), "answer restart 2 true");
    assert_eq!(bench.says(Input::Key(Key::Restart)), "");
}

#[test]
fn a_restart_starts_a_command_that_has_ended_and_one_whose_child_was_lost() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), exited(1)]);
    assert_eq!(bench.says(asked(Request::Restart)), "send stop; fork 2; answer restart 2 false");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; start 2");
    let mut bench = Bench::after(OnExit::Wait, &[started(), died()]);
    assert_eq!(bench.says(asked(Request::Restart)), "answer restart 2 false");
    assert_eq!(bench.says(Input::Tick), "fork 2; start 2", "the pause is over");
}

#[test]
fn a_pause_outlives_the_child_and_each_child_is_told_once() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(asked(Request::Pause)), "send pause true; tell paused; answer pause false");
    assert_eq!(bench.says(asked(Request::Pause)), "answer pause true");
    bench.step(died());
    bench.pass(std::time::Duration::from_secs(1));
    bench.step(Input::Tick);
    assert!(bench.machine.is_paused(), "the next one is told with its start");
    assert_eq!(bench.says(Input::Key(Key::Pause)), "send pause false; tell resumed");
    assert_eq!(bench.says(asked(Request::Resume)), "answer resume true");
}

#[test]
fn q_ends_and_q_again_kills_and_the_others_only_show() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(Input::Key(Key::Help)), "show Keys");
    assert_eq!(bench.says(Input::Key(Key::Why)), "show Status");
    assert_eq!(bench.says(Input::Key(Key::Quit)), "send stop");
    assert_eq!(bench.says(Input::Key(Key::Quit)), "send stop");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 0");
}

#[test]
fn a_path_is_explained_with_what_the_child_that_watches_knows_of_the_command() {
    let explain = || asked(Request::explain("/a b".as_ref()));
    let recalled = || report(Report::Recalled { known: Box::default() });
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(explain()), "recall 1");
    assert_eq!(bench.says(Input::Tick), "", "it is waited for");
    assert_eq!(bench.says(recalled()), "explain /a b");
    assert_eq!(bench.says(recalled()), "", "once");
    // One that is about to leave, or is gone, need not answer any more.
    assert_eq!(bench.says(explain()), "recall 1");
    assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed; explain /a b");
    assert_eq!(bench.says(explain()), "explain /a b");
    // Nobody is there to take the answer.
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    bench.step(explain());
    bench.step(Input::ClientGone(crate::supervisor::server::ClientId(1)));
    assert_eq!(bench.says(recalled()), "");
}

#[test]
fn a_wait_for_a_signal_is_answered_when_the_command_has_reloaded_for_the_last_one() {
    let signalled = || changed(false, Response::Signal);
    let run = |inputs: &[Input]| {
        let mut bench = with_probe(&[started(), ready()]);
        let on_change = OnChange::Signal(Signal::HUP);
        bench.machine.adapt(Rules { answers_signals: true, on_change, ..rules(OnExit::Wait) });
        bench.step(asked(Request::Wait));
        let said: Vec<String> = inputs.iter().map(|input| bench.says(input.clone())).collect();
        said.into_iter().find_map(|said| said.split_once("answer ").map(|(_, answer)| answer.to_owned()))
    };
    let late = || report(Report::Degraded(Degraded::NotReady { timeout: TWICE, reason: "no answer".into() }));
    let refused = || {
        let process = Named { pid: 7, name: "x".into(), owner: "root".into() };
        report(Report::Degraded(Degraded::SignalRefused { signal: "SIGHUP".into(), process }))
    };
    for (inputs, expected) in [
        (vec![signalled(), passed(1), reloading(Some(1)), reloaded(Some(1))], Some("Live 1")),
        (vec![passed(1)], Some("Live 1")),
        (vec![signalled(), passed(1)], None),
        (vec![signalled(), passed(1), reloading(Some(1))], None),
        (vec![signalled(), passed(1), reloading(None), reloaded(None)], None),
        (vec![signalled(), passed(1), unanswered(1)], Some("Delivered 1")),
        (vec![signalled(), passed(1), reloading(Some(1)), late()], Some("Failed 1")),
        (vec![signalled(), passed(1), reloading(Some(1)), exited(0)], Some("Failed 1")),
        // The next reload may repair one that never ended.
        (vec![signalled(), reloading(Some(1)), late(), signalled(), passed(1)], None),
        (vec![signalled(), reloading(Some(1)), late(), signalled(), passed(1), unanswered(2)], Some("Failed 1")),
        (vec![signalled(), reloading(Some(1)), late(), signalled(), passed(1), reloading(Some(2))], None),
        (
            vec![signalled(), reloading(Some(1)), late(), signalled(), passed(1), reloading(Some(2)), late()],
            Some("Failed 1"),
        ),
        (
            vec![
                signalled(),
                reloading(Some(1)),
                late(),
                signalled(),
                passed(1),
                reloading(Some(2)),
                reloaded(Some(2)),
            ],
            Some("Live 1"),
        ),
        (vec![signalled(), passed(1), exited(0)], Some("Failed 1")),
        (vec![signalled(), refused(), passed(1)], Some("Failed 1")),
        // The second signal was sent before the first was answered.
        (vec![signalled(), signalled(), reloading(Some(1)), passed(1), reloaded(Some(1)), unanswered(1)], None),
        (vec![signalled(), signalled(), passed(1), reloading(Some(1)), reloaded(Some(1)), reloading(Some(2))], None),
        (vec![signalled(), signalled(), passed(1), reloading(Some(2)), reloaded(Some(2))], Some("Live 1")),
        // It reloads by itself.
        (vec![reloading(None), passed(1)], None),
        (vec![reloading(None), passed(1), reloaded(None)], Some("Live 1")),
    ] {
        assert_eq!(run(&inputs).as_deref(), expected, "{inputs:?}");
    }
}

/// Of a run that can show when its command is ready.
fn with_probe(inputs: &[Input]) -> Bench {
    let mut bench = Bench::new(OnExit::Wait, false);
    inputs.iter().for_each(|input| drop(bench.step(input.clone())));
    bench
}

fn passed(id: u64) -> Input {
    report(Report::Passed { id })
}

#[test]
fn a_wait_without_a_change_is_answered_when_the_barrier_is_passed() {
    let mut bench = with_probe(&[started(), ready()]);
    assert_eq!(bench.says(asked(Request::Wait)), "send barrier 1");
    assert_eq!(bench.says(passed(1)), "answer Live 1");
    // Nothing can show it.
    let mut bench = Bench::new(OnExit::Wait, false);
    bench.machine.adapt(Rules { probes: false, ..rules(OnExit::Wait) });
    bench.step(started());
    assert_eq!(bench.says(asked(Request::Wait)), "send barrier 1");
    assert_eq!(bench.says(passed(1)), "answer Started 1");
}

#[test]
fn a_wait_for_a_save_is_answered_when_the_next_generation_is_ready() {
    let mut bench = with_probe(&[started(), ready()]);
    assert_eq!(bench.says(asked(Request::Wait)), "send barrier 1");
    assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed");
    for input in [passed(1), stopping(), stopped(), leaving(ChildEnd::Reload), started()] {
        let said = bench.says(input.clone());
        assert!(!said.contains("answer"), "{input:?}: {said}");
    }
    assert_eq!(bench.says(ready()), "tell ready; answer Live 2");
}

#[test]
fn a_wait_during_a_stop_needs_no_barrier_and_one_whose_child_leaves_before_it_answers_neither() {
    let mut bench = with_probe(&[started(), changed(false, Response::Restart)]);
    assert_eq!(bench.says(asked(Request::Wait)), "");
    let mut lost = with_probe(&[started(), ready()]);
    assert_eq!(lost.says(asked(Request::Wait)), "send barrier 1");
    lost.step(died());
    lost.pass(Duration::from_secs(1));
    lost.step(Input::Tick);
    bench.step(leaving(ChildEnd::Reload));
    for mut bench in [bench, lost] {
        assert_eq!(bench.says(started()), "tell started");
        assert_eq!(bench.says(ready()), "tell ready; answer Live 2");
    }
}

#[test]
fn a_wait_ends_with_whatever_ends_the_generation_or_the_run() {
    let not_ready = report(Report::Degraded(Degraded::NotReady { timeout: TWICE, reason: "no answer".into() }));
    for (inputs, answer) in [
        (&[exited(3)][..], "tell exited; tell waiting; answer Failed 1"),
        (&[exited(0)], "tell exited; tell waiting; answer Failed 1"),
        (&[ready(), asked(Request::Wait), exited(0), passed(2)], "answer Live 1"),
        (&[not_ready], "tell degraded; answer Failed 1"),
        (&[asked(Request::Pause)], "send pause true; tell paused; answer pause false; answer Paused 1"),
        (&[asked(Request::Stop), leaving(ChildEnd::Ended)], "release; tell finished; answer Ended 1; sweep; finish 0"),
    ] {
        let mut bench = with_probe(&[started()]);
        bench.step(asked(Request::Wait));
        assert_eq!(bench.says(passed(1)), "", "it waits for the readiness");
        let said: Vec<String> = inputs.iter().map(|input| bench.says(input.clone())).collect();
        assert_eq!(said.last().unwrap(), answer, "{inputs:?}");
    }
}

#[test]
fn a_wait_for_a_save_that_became_a_signal_says_that_it_was_delivered() {
    let mut bench = Bench::new(OnExit::Wait, false);
    let on_change = OnChange::Signal(Signal::HUP);
    bench.machine.adapt(Rules { on_change, ..rules(OnExit::Wait) });
    bench.step(started());
    bench.step(ready());
    bench.step(asked(Request::Wait));
    assert_eq!(bench.says(passed(1)), "answer Live 1", "nothing was signalled");
    bench.step(asked(Request::Wait));
    assert_eq!(bench.says(changed(false, Response::Signal)), "tell changed");
    assert_eq!(bench.says(passed(2)), "answer Delivered 1");
}

#[test]
fn nobody_waits_for_himself_and_nobody_waits_in_a_pause() {
    let mut bench = with_probe(&[started(), ready()]);
    let from_tree = Input::Asked { client: ClientId(1), request: Request::Wait, from_tree: true };
    assert!(bench.says(from_tree).starts_with("answer refused: wait would wait for itself"));
    bench.step(asked(Request::Pause));
    assert_eq!(bench.says(asked(Request::Wait)), "answer Paused 1");
}

#[test]
fn a_generation_that_runs_on_beside_the_next_one_is_no_answer_for_a_save() {
    let mut bench = with_probe(&[started(), ready(), asked(Request::Wait)]);
    bench.step(changed(false, Response::HandOver));
    assert_eq!(bench.says(passed(1)), "", "the old one is ready, and has not got the save");
    bench.step(handed_over(true));
    bench.step(started());
    assert!(bench.says(ready()).ends_with("; answer Live 2"));
}

fn preparing(first: bool) -> Input {
    report(Report::Preparing { changes: set(false), quiet: Duration::ZERO, first })
}

fn prepared(code: u8, nothing_runs: bool, goes_on: bool) -> Input {
    report(Report::Prepared { status: CommandStatus::Exited(code), ran_ns: 5, nothing_runs, goes_on, told: false })
}

fn ran(code: u8, goes_on: bool) -> Input {
    report(Report::Ran { status: CommandStatus::Exited(code), ran_ns: 5, goes_on })
}

#[test]
fn a_wait_is_not_answered_between_a_preparation_or_a_run_and_what_follows_it() {
    for (before, job, after, answer) in [
        (&[started(), ready()][..], &[preparing(false), prepared(0, false, false)][..], None, ""),
        (&[started(), ready()], &[preparing(false), prepared(1, false, true)], Some(preparing(false)), ""),
        (&[started(), ready()], &[preparing(false), prepared(1, false, false)], None, "Failed"),
        // What ended before says nothing about a change that has come since.
        (&[started(), exited(0)], &[preparing(false)], Some(prepared(0, false, false)), ""),
        (&[started(), exited(0)], &[preparing(false), prepared(1, false, false)], None, "Failed"),
        // The command has never started.
        (&[preparing(true)], &[prepared(1, true, false)], None, "Failed"),
        (
            &[started(), ready()],
            &[changed(false, Response::Run), ran(0, true)],
            Some(changed(false, Response::Run)),
            "",
        ),
        (&[started(), ready()], &[changed(false, Response::Run), ran(0, false)], None, "Live"),
        (&[started(), ready()], &[changed(false, Response::Run), ran(1, false)], None, "Failed"),
        (&[started(), exited(1)], &[changed(false, Response::Run), ran(0, false)], None, "Failed"),
    ] {
        let mut bench = with_probe(before);
        bench.step(asked(Request::Wait));
        let (begins, ends) = job.split_first().unwrap();
        bench.step(begins.clone());
        let mut said = bench.says(passed(1));
        for input in ends.iter().cloned().chain(after) {
            said += &bench.says(input);
        }
        let answered = said.split("answer ").nth(1).unwrap_or_default();
        assert!(answered.starts_with(answer) && answered.is_empty() == answer.is_empty(), "{job:?}: {said}");
    }
}

#[test]
fn a_command_that_starts_after_a_preparation_that_failed_before_runs_and_is_waited_for() {
    let failed = [preparing(true), prepared(1, true, false), preparing(true), prepared(0, true, false)];
    let mut bench = with_probe(&failed);
    bench.step(report(Report::Starting { changes: set(false) }));
    bench.step(asked(Request::Wait));
    assert_eq!(bench.says(passed(1)), "");
    assert_eq!(bench.says(started()), "tell started");
    assert_eq!(bench.says(ready()), "tell ready; answer Live 1");
    // And it stays: no delay of the time before starts it anew.
    let mut bench = Bench::after(OnExit::Restart, &failed);
    bench.step(report(Report::Starting { changes: set(false) }));
    bench.step(started());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.says(Input::Tick), "");
}

#[test]
fn a_wait_for_a_generation_whose_command_cannot_begin_is_answered() {
    let mut bench = with_probe(&[started(), ready(), changed(false, Response::Restart), stopped()]);
    bench.step(asked(Request::Wait));
    bench.step(leaving(ChildEnd::Reload));
    assert_eq!(bench.says(exited(127)), "tell exited; tell waiting; answer Failed 2");
}
