//! A child whose command runs on while the next one starts (`--overlap`).

use super::{GRACE, changed, ended, is_stopped, set, settled, stopping};
use crate::change::ChangeSet;
use crate::child::machine::Machine;
use crate::child::step::{Action, Input};
use crate::config::{OnChange, OnExit};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::protocol::{Directive, Ready, Report, Response, StopReason};
use crate::stop::StopAction;
use std::time::{Duration, Instant};

const READY: Ready = Ready { after: Duration::from_millis(5), reload: false, answers: None };

fn running() -> (Machine, Instant) {
    let now = Instant::now();
    let mut machine = Machine::new(OnChange::Restart, OnExit::Wait, GRACE, true);
    machine.step(Input::Started { pid: 7 }, now);
    (machine, now)
}

fn ready() -> (Machine, Instant) {
    let (mut machine, now) = running();
    assert_eq!(machine.step(Input::Ready(READY), now), [Action::Report(Report::Ready(READY))]);
    (machine, now)
}

#[test]
fn a_ready_command_runs_on_at_a_change_and_the_watching_is_handed_over_with_all_that_was_noticed() {
    let (mut machine, now) = ready();
    for pending in [Input::Certain, settled(ChangeSet::default()), Input::Unsettled, Input::Certain] {
        assert_eq!(machine.step(pending, now), [], "a save that comes to nothing leads to nothing");
    }
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::HandOver), Action::HandOver]);
    assert_eq!(machine.step(Input::Certain, now), []);
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::HandOver)], "it passed before that");
    let over = machine.step(Input::HandedOver { whole: true }, now);
    assert_eq!(over, [Action::Report(Report::HandedOver { whole: true, carried: machine.carried() })]);
    let retire = machine.step(Input::Told(Directive::Retire), now);
    assert_eq!(retire, [Action::Stop(StopAction::AskGroup), stopping(StopReason::Replaced)]);
    assert_eq!(machine.step(Input::Told(Directive::Retire), now), [], "to be told twice is no escalation");
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), [], "and this is the first request");
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), [Action::Stop(StopAction::KillAll)]);
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Ended)));
}

#[test]
fn a_command_that_is_not_ready_is_stopped_for_a_change() {
    let (mut machine, now) = running();
    assert_eq!(machine.step(Input::Certain, now)[0], Action::Stop(StopAction::AskGroup));
    assert_eq!(machine.step(Input::Ready(READY), now), [], "too late");
    assert_eq!(machine.step(settled(set(false)), now)[0], changed(Response::Restart));
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Reload)));
}

#[test]
fn a_command_that_did_not_become_ready_is_ended_and_the_child_watches_on() {
    let (mut machine, now) = running();
    let end = machine.step(Input::Told(Directive::EndCommand), now);
    assert_eq!(end, [Action::Stop(StopAction::AskGroup), stopping(StopReason::NotReady)]);
    let gone = machine.step(Input::TreeGone, now);
    assert!(matches!(&gone[..], [stopped] if is_stopped(stopped)), "it does not leave: {gone:?}");
    assert_eq!(machine.step(Input::Told(Directive::EndCommand), now), [], "there is nothing to end");
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Start), Action::Leave(ChildEnd::Reload)]);

    // A change in the middle of that stop.
    let (mut machine, now) = running();
    machine.step(Input::Told(Directive::EndCommand), now);
    machine.step(Input::Certain, now);
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Restart)]);
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Reload)));

    // What its first process has left behind is ended as well.
    let (mut machine, now) = running();
    machine.step(ended(1), now);
    let rest = machine.step(Input::Told(Directive::EndCommand), now);
    assert_eq!(rest, [Action::Stop(StopAction::AskRest), stopping(StopReason::NotReady)]);

    let (mut machine, now) = ready();
    assert_eq!(machine.step(Input::Told(Directive::EndCommand), now), [], "it has become ready meanwhile");
    // A request meanwhile is the first one.
    let (mut machine, now) = running();
    machine.step(Input::Told(Directive::EndCommand), now);
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), []);
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Ended)));
}

#[test]
fn a_restart_that_was_asked_for_hands_over_a_command_that_is_ready_and_no_other() {
    let hand_over = || Input::Told(Directive::HandOver);
    let (mut machine, now) = ready();
    assert_eq!(machine.step(hand_over(), now), [Action::HandOver]);
    assert_eq!(machine.step(hand_over(), now), [], "once");
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::HandOver)]);
    assert!(!machine.carried().prepared, "what changed meanwhile is for the next one");
    // It has ended meanwhile: the supervisor sees to that.
    let (mut machine, now) = ready();
    machine.step(ended(0), now);
    assert_eq!(machine.step(hand_over(), now), [Action::HandOver]);
    let (mut machine, now) = running();
    assert_eq!(machine.step(hand_over(), now), [], "nobody asks that of one that is not ready");
    // The next one starts after the stop that is under way.
    let (mut machine, now) = running();
    machine.step(Input::Certain, now);
    assert_eq!(machine.step(hand_over(), now), []);
}

#[test]
fn a_restart_during_a_preparation_waits_for_its_end_and_the_next_one_prepares_anew() {
    let (machine, now) = ready();
    let mut machine = machine.preparing(&ChangeSet::default());
    machine.step(settled(set(false)), now);
    assert_eq!(machine.step(Input::Told(Directive::HandOver), now), []);
    let over = machine.step(Input::JobEnded { status: CommandStatus::Exited(0), ran: Duration::ZERO }, now);
    assert!(
        matches!(&over[..], [Action::Report(Report::Prepared { goes_on: true, .. }), Action::HandOver]),
        "{over:?}"
    );
    assert!(!machine.carried().prepared);
}
