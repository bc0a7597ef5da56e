//! What waits for a job, or for the end of the command: `--prepare`, `--on-change run:` and `queue`.

use super::{GRACE, changed, ended, is_stopped, running, set, settled, stopping};
use crate::change::ChangeSet;
use crate::child::job::Kind;
use crate::child::machine::Machine;
use crate::child::step::{Action, Input};
use crate::config::{OnChange, OnExit};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::protocol::{Directive, Report, Response, StopReason};
use crate::stop::StopAction;
use crate::watch::Mark;
use std::time::{Duration, Instant};

fn job_ended(code: u8) -> Input {
    Input::JobEnded { status: CommandStatus::Exited(code), ran: Duration::ZERO }
}

fn prepared(code: u8, nothing_runs: bool, goes_on: bool) -> Action {
    let status = CommandStatus::Exited(code);
    Action::Report(Report::Prepared { status, ran_ns: 0, nothing_runs, goes_on, told: false })
}

fn preparing(first: bool) -> Action {
    Action::Report(Report::Preparing { changes: set(false), quiet: Duration::ZERO, first })
}

fn exited(code: u8, again: bool) -> Action {
    Action::Report(Report::Exited { status: CommandStatus::Exited(code), ran_ns: 1_000_000_000, again })
}

fn job(kind: Kind) -> Action {
    Action::Job(kind, set(false))
}

/// A command that is not started before it was prepared.
fn before() -> (Machine, Instant) {
    let now = Instant::now();
    let machine = Machine::new(OnChange::Restart, OnExit::Wait, GRACE, false);
    let mut machine = machine.preparing(&ChangeSet::default());
    assert_eq!(machine.step(Input::Prepare(set(false)), now), [preparing(true), job(Kind::Preparation)]);
    assert_eq!(machine.step(Input::JobStarted, now), []);
    (machine, now)
}

#[test]
fn a_command_starts_when_it_is_prepared_and_waits_for_a_change_when_it_cannot_be() {
    let (mut machine, now) = before();
    assert_eq!(machine.step(job_ended(0), now), [Action::Mark(Mark::Job)], "what has changed meanwhile is asked for");
    let starting = Action::Report(Report::Starting { changes: set(false) });
    let start = [prepared(0, false, true), starting, Action::Start(set(false))];
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), start);
    assert_eq!(machine.step(Input::Started { pid: 7 }, now), [Action::Report(Report::Started { pid: 7 })]);

    let (mut machine, now) = before();
    machine.step(job_ended(9), now);
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [prepared(9, true, false)]);
    assert_eq!(machine.step(settled(set(false)), now), [preparing(true), job(Kind::Preparation)], "the repair");
    machine.step(job_ended(0), now);
    assert!(machine.step(Input::Passed(Mark::Job), now).contains(&Action::Start(set(false))));
}

#[test]
fn a_change_during_the_first_preparation_is_prepared_too_before_anything_starts() {
    for code in [0, 9] {
        let (mut machine, now) = before();
        assert_eq!(machine.step(settled(set(false)), now), []);
        machine.step(job_ended(code), now);
        let again = [prepared(code, false, true), preparing(true), job(Kind::Preparation)];
        assert_eq!(machine.step(Input::Passed(Mark::Job), now), again, "{code}");
    }
}

#[test]
fn an_end_before_the_start_ends_the_preparation_and_decides_nothing() {
    for (input, end) in [
        (Input::Told(Directive::Stop), ChildEnd::Ended),
        (Input::Interrupted, ChildEnd::Failed),
        (Input::SupervisorGone, ChildEnd::Failed),
    ] {
        let (mut machine, now) = before();
        let stop = machine.step(input, now);
        assert_eq!(stop[0], Action::Stop(StopAction::AskRest), "{stop:?}");
        assert_eq!(machine.step(job_ended(143), now), []);
        assert_eq!(machine.step(Input::Passed(Mark::Job), now), []);
        let gone = machine.step(Input::TreeGone, now);
        assert!(matches!(&gone[..], [stopped, Action::Leave(how)] if is_stopped(stopped) && *how == end), "{gone:?}");
    }
}

#[test]
fn a_broken_change_leaves_the_command_alone_and_a_good_one_stops_it() {
    let (machine, now) = running(OnChange::Restart);
    let mut machine = machine.preparing(&ChangeSet::default());
    machine.step(Input::Started { pid: 7 }, now);
    assert_eq!(machine.step(Input::Certain, now), [], "nothing is stopped before it is prepared");
    assert_eq!(machine.step(settled(set(false)), now), [preparing(false), job(Kind::Preparation)]);
    machine.step(job_ended(1), now);
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [prepared(1, false, false)]);
    assert!(!machine.carried().prepared);
    machine.step(settled(set(false)), now);
    machine.step(job_ended(0), now);
    let stop = machine.step(Input::Passed(Mark::Job), now);
    assert_eq!(stop[..2], [prepared(0, false, true), changed(Response::Restart)]);
    assert!(stop.contains(&stopping(StopReason::Change)), "{stop:?}");
}

#[test]
fn a_preparation_that_needs_rights_is_begun_anew_and_one_that_is_over_is_not() {
    let (mut machine, now) = before();
    assert_eq!(machine.step(Input::PreparationNeedsRights, now), [Action::PrepareUntraced]);
    machine.step(job_ended(0), now);
    machine.step(Input::Passed(Mark::Job), now);
    assert_eq!(machine.step(Input::PreparationNeedsRights, now), []);
}

#[test]
fn a_queued_command_is_started_again_for_what_changed_while_it_ran_and_else_it_has_ended() {
    let (mut machine, now) = running(OnChange::Queue);
    assert_eq!(machine.step(Input::Certain, now), [], "it finishes");
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Queue)]);
    assert_eq!(machine.step(ended(3), now), [Action::Mark(Mark::Ended)]);
    let again = machine.step(Input::Passed(Mark::Ended), now);
    let dequeued = Action::Report(Report::Dequeued { changes: set(false), noticed_ns: 7, quiet: Duration::ZERO });
    assert_eq!(again[..2], [exited(3, true), dequeued]);
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Reload)));

    let (mut machine, now) = running(OnChange::Queue);
    machine.step(ended(3), now);
    assert_eq!(machine.step(Input::Passed(Mark::Ended), now), [exited(3, false)]);
    machine.step(Input::TreeGone, now);
    assert_eq!(
        machine.step(settled(set(false)), now),
        [changed(Response::Start), Action::Leave(ChildEnd::Reload)],
        "nothing runs that it could wait for"
    );

    // What the watcher finds after the end was there before it.
    let (mut machine, now) = running(OnChange::Queue);
    machine.step(ended(3), now);
    machine.step(settled(set(false)), now);
    assert!(machine.step(Input::Passed(Mark::Ended), now).contains(&exited(3, true)));
}

#[test]
fn a_queued_change_that_could_not_be_prepared_starts_nothing_and_the_end_is_told() {
    let (machine, now) = running(OnChange::Queue);
    let mut machine = machine.preparing(&ChangeSet::default());
    machine.step(Input::Started { pid: 7 }, now);
    machine.step(settled(set(false)), now);
    machine.step(Input::JobStarted, now);
    // The command ends before its preparation.
    assert_eq!(machine.step(ended(0), now), [Action::Mark(Mark::Ended)]);
    assert_eq!(machine.step(Input::Passed(Mark::Ended), now), [], "that decides what follows");
    machine.step(job_ended(1), now);
    let over = machine.step(Input::Passed(Mark::Job), now);
    assert_eq!(over, [prepared(1, false, false), exited(0, false)]);
}

#[test]
fn runs_follow_each_other_and_none_is_cut_off() {
    let (mut machine, now) = running(OnChange::Run("true".into()));
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Run), job(Kind::Run)]);
    assert_eq!(machine.step(settled(set(false)), now), [], "it waits");
    assert_eq!(machine.carried().unserved.len(), 1, "the next child would owe it");
    assert_eq!(machine.step(job_ended(4), now), [Action::Mark(Mark::Job)]);
    let ran = |goes_on| Action::Report(Report::Ran { status: CommandStatus::Exited(4), ran_ns: 0, goes_on });
    let next = machine.step(Input::Passed(Mark::Job), now);
    assert_eq!(next, [ran(true), changed(Response::Run), job(Kind::Run)]);
    machine.step(job_ended(4), now);
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [ran(false)]);
    assert!(machine.carried().unserved.is_empty());
    // The command ends beside a run, and the run goes on.
    machine.step(settled(set(false)), now);
    machine.step(Input::JobStarted, now);
    machine.step(ended(1), now);
    machine.step(job_ended(4), now);
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [ran(false)]);
    // A new configuration takes a restart.
    let (mut machine, now) = running(OnChange::Run("true".into()));
    let restart = machine.step(settled(set(true)), now);
    assert!(restart.contains(&Action::Stop(StopAction::AskGroup)), "{restart:?}");
}
