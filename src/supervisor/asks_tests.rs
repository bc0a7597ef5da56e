//! What clients and keys ask for.

use super::bench::{Bench, asked, changed, died, exited, leaving, started, stopped, stopping};
use crate::config::OnExit;
use crate::control::Request;
use crate::exit_code::ChildEnd;
use crate::protocol::Response;
use crate::supervisor::keyboard::Key;
use crate::supervisor::machine::{Action, Input};
use std::path::PathBuf;

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
fn a_path_is_explained_by_whoever_has_the_filter() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    let actions = bench.step(asked(Request::explain("/a b".as_ref())));
    assert!(matches!(&actions[..], [Action::AnswerExplain(_, path)] if *path == PathBuf::from("/a b")), "{actions:?}");
}
