//! How the run ends.

use super::bench::{Bench, HANGS, changed, died, ends, exited, killed_by, leaving, signal, started};
use crate::config::OnExit;
use crate::event::What;
use crate::exit_code::ChildEnd;
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::Signal;
use crate::protocol::Response;
use crate::supervisor::machine::{Action, Input};
use std::time::Duration;

#[test]
fn whoever_asks_first_decides_the_code_and_the_reason() {
    for (input, code, reason) in [
        (signal(Signal::INT), 130, "SIGINT"),
        (signal(Signal::TERM), 143, "SIGTERM"),
        (signal(Signal::HUP), 129, "SIGHUP"),
        (signal(Signal::QUIT), 131, "SIGQUIT"),
        (Input::Beat(Beat::Removed), 0, "the lockfile was removed"),
    ] {
        for last in [leaving(ChildEnd::Ended), leaving(ChildEnd::Reload), leaving(ChildEnd::Failed), died()] {
            let mut bench = Bench::after(OnExit::Exit, &[started(), input.clone(), signal(Signal::TERM), exited(5)]);
            bench.says(Input::Beat(Beat::Removed));
            let actions = bench.step(last);
            let told = actions.iter().find_map(|action| match action {
                Action::Tell(_, What::Finished { code, reason }) => Some((code.number(), reason.as_str())),
                _ => None,
            });
            assert_eq!(told, Some((code, reason)));
            assert!(matches!(actions.last(), Some(Action::Finish(finish)) if finish.number() == code), "{actions:?}");
        }
    }
}

#[test]
fn a_heartbeat_that_fails_is_told_once_until_it_beats_again() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    let failed = || Input::Beat(Beat::Failed(Errno::EROFS));
    for _ in 0..2 {
        assert_eq!(bench.says(failed()), "tell degraded");
        assert_eq!(bench.says(failed()), "");
        assert_eq!(bench.says(Input::Beat(Beat::Steady)), "");
    }
}

#[test]
fn output_that_nobody_reads_ends_what_has_ended() {
    for on_exit in [OnExit::Wait, OnExit::Restart] {
        let mut bench = Bench::after(on_exit, &[started(), Input::Unread { all: false }]);
        assert_eq!(bench.says(ends(killed_by(Signal::from_number(13).unwrap()))), "tell exited; send stop");
        assert_eq!(bench.says(Input::Unread { all: true }), "", "it is no second request");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 141");
        let mut bench = Bench::after(on_exit, &[started(), exited(4), Input::Unread { all: false }]);
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 4");
    }
    let mut bench = Bench::after(OnExit::Wait, &[started(), Input::Unread { all: false }]);
    bench.says(changed(false, Response::Restart));
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 2; start 2", "it may have nothing to say");
}

#[test]
fn the_same_signal_twice_in_a_moment_is_one_request_and_later_it_is_two() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.says(signal(Signal::TERM)), "", "timeout signals the process, then its group");
    bench.pass(Duration::from_millis(300));
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    assert_eq!(bench.says(signal(Signal::INT)), "send stop", "another signal is another request");
}

#[test]
fn a_child_that_does_not_answer_is_ended_all_the_same() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), signal(Signal::TERM)]);
    assert_eq!(bench.machine.due(), Some(bench.now + HANGS));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_secs(3)), "a second request is less patient");
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.says(Input::Tick), "forget watches; sweep; release; tell finished; sweep; finish 143");
}
