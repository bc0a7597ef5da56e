use super::{Action, Input, Machine};
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use crate::config::{OnChange, OnExit};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::os::signals::Signal;
use crate::protocol::{Directive, Report, Response, StopReason};
use crate::stop::StopAction;
use crate::watch::Mark;
use std::time::{Duration, Instant};

const GRACE: Duration = Duration::from_secs(5);

fn set(config: bool) -> ChangeSet {
    let path = "/app.py".into();
    ChangeSet::new([Change {
        path,
        kind: ChangeKind::Modified,
        rule: "r".into(),
        config,
        open: false,
        seen: Look::ABSENT,
    }])
}

fn settled(changes: ChangeSet) -> Input {
    Input::Settled { changes, noticed_ns: 7, quiet: Duration::ZERO }
}

fn changed(response: Response) -> Action {
    Action::Report(Report::Changed { changes: set(false), noticed_ns: 7, quiet: Duration::ZERO, response })
}

fn ended(code: u8) -> Input {
    Input::Ended { status: CommandStatus::Exited(code), ran: Duration::from_secs(1) }
}

fn running(on_change: OnChange) -> (Machine, Instant) {
    let now = Instant::now();
    let mut machine = Machine::new(on_change, OnExit::Wait, GRACE, false);
    assert_eq!(machine.step(Input::Started { pid: 7 }, now), [Action::Report(Report::Started { pid: 7 })]);
    (machine, now)
}

fn stopping(reason: StopReason) -> Action {
    Action::Report(Report::Stopping { reason })
}

fn is_stopped(action: &Action) -> bool {
    matches!(action, Action::Report(Report::Stopped { .. }))
}

/// Whatever is said meanwhile.
fn assert_killed_after(machine: &mut Machine, began: Instant, grace: Duration) {
    let mut last = began;
    while let Some(due) = machine.due().filter(|due| *due < began + grace) {
        assert!(due > last, "the same time twice");
        let actions = machine.step(Input::Tick, due);
        assert!(!actions.iter().any(|action| matches!(action, Action::Stop(_))), "{actions:?}");
        last = due;
    }
    assert_eq!(machine.due(), Some(began + grace));
    assert_eq!(machine.step(Input::Tick, began + grace), [Action::Stop(StopAction::KillAll)]);
}

/// What is said after so many milliseconds of a stop that may take 5 s.
fn slow(reason: StopReason, after: u64, main_ended: bool) -> Action {
    let kill_in_ns = Some((5_000 - after) * 1_000_000);
    Action::Report(Report::StillStopping { reason, took_ns: after * 1_000_000, kill_in_ns, main_ended })
}

#[test]
fn a_stop_that_takes_longer_than_half_a_second_is_told_then_and_once() {
    let half = Duration::from_millis(500);
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(settled(set(false)), now);
    assert_eq!(machine.due(), Some(now + half));
    assert_eq!(machine.step(Input::Tick, now + half - Duration::from_nanos(1)), []);
    assert_eq!(machine.step(Input::Tick, now + half), [slow(StopReason::Change, 500, false)]);
    // Asked on top of it, it says nothing more.
    assert_eq!(machine.step(Input::Told(Directive::Stop), now + half), []);
    assert_killed_after(&mut machine, now, GRACE);

    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Told(Directive::Stop), now);
    assert_eq!(machine.step(ended(0), now), [Action::Stop(StopAction::AskRest)]);
    // On a busy machine.
    let late = Duration::from_millis(812);
    assert_eq!(machine.step(Input::Tick, now + late), [slow(StopReason::Request, 812, true)]);

    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Told(Directive::Stop), now);
    machine.step(Input::TreeGone, now + half);
    assert_eq!(machine.step(Input::Tick, now + half), [], "it has ended");
}

#[test]
fn a_slow_stop_is_told_also_while_its_change_goes_on() {
    let half = Duration::from_millis(500);
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Certain, now);
    let told = [stopping(StopReason::Change), slow(StopReason::Change, 500, false)];
    assert_eq!(machine.step(Input::Tick, now + half), told);
    assert_eq!(machine.step(settled(set(false)), now + half), [changed(Response::Restart)]);
    let last = machine.step(Input::TreeGone, now + half);
    assert!(is_stopped(&last[0]) && last[1] == Action::Leave(ChildEnd::Reload), "{last:?}");
}

#[test]
fn that_the_command_was_stopped_is_told_unless_it_is_being_ended() {
    let (mut machine, now) = running(OnChange::Restart);
    let suspended = Input::Suspended { pid: 7 };
    assert_eq!(machine.step(suspended.clone(), now), [Action::Report(Report::Suspended { pid: 7 })]);
    machine.step(Input::Certain, now);
    assert_eq!(machine.step(suspended, now), [], "the stop continues it");
}

#[test]
fn a_whole_save_begins_the_stop_at_once_and_the_reason_is_told_first() {
    let (mut machine, now) = running(OnChange::Restart);
    let begun = [Action::Stop(StopAction::AskGroup), Action::Report(Report::Restarting)];
    assert_eq!(machine.step(Input::Certain, now), begun, "the supervisor may fork the next child");
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Restart), stopping(StopReason::Change)]);
    let last = machine.step(Input::TreeGone, now);
    assert!(is_stopped(&last[0]));
    assert_eq!(last[1], Action::Leave(ChildEnd::Reload));
}

#[test]
fn a_tree_that_is_gone_before_the_save_has_settled_waits_for_it() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Certain, now);
    assert_eq!(machine.step(ended(0), now), [Action::Stop(StopAction::AskRest)]);
    assert_eq!(machine.step(Input::TreeGone, now), []);
    let last = machine.step(settled(set(false)), now);
    assert_eq!(last[..2], [changed(Response::Restart), stopping(StopReason::Change)]);
    assert!(is_stopped(&last[2]));
    assert_eq!(last[3], Action::Leave(ChildEnd::Reload));
}

#[test]
fn a_save_during_the_stop_is_told_and_leads_to_one_start() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(settled(set(false)), now);
    assert_eq!(machine.step(Input::Unsettled, now), []);
    let gone = machine.step(Input::TreeGone, now);
    assert!(is_stopped(&gone[0]) && gone.len() == 1, "not before it has settled: {gone:?}");
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Restart), Action::Leave(ChildEnd::Reload)]);
}

#[test]
fn an_unfinished_save_stops_nothing_until_it_settles_and_may_come_to_nothing() {
    let (mut machine, now) = running(OnChange::Restart);
    assert_eq!(machine.step(Input::Unsettled, now), []);
    assert_eq!(machine.step(settled(ChangeSet::default()), now), []);
    assert_eq!(machine.due(), None);
}

#[test]
fn a_save_that_comes_to_nothing_after_the_stop_began_still_leads_to_a_start() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Certain, now);
    assert_eq!(machine.step(settled(ChangeSet::default()), now), [stopping(StopReason::Change)]);
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Reload)));
}

#[test]
fn a_signal_instead_of_a_restart_but_not_for_the_config_file_nor_when_nothing_runs() {
    let (mut machine, now) = running(OnChange::Signal(Signal::HUP));
    assert_eq!(machine.step(Input::Certain, now), []);
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Signal), Action::SignalChange]);
    let config = machine.step(settled(set(true)), now);
    assert!(config.contains(&Action::Stop(StopAction::AskGroup)), "{config:?}");

    let (mut machine, now) = running(OnChange::Signal(Signal::HUP));
    machine.step(ended(1), now);
    machine.step(Input::TreeGone, now);
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Start), Action::Leave(ChildEnd::Reload)]);
}

#[test]
fn a_command_that_ended_is_reported_and_its_leftovers_are_ended_before_the_next() {
    let (mut machine, now) = running(OnChange::Restart);
    let report = machine.step(ended(3), now);
    assert!(matches!(&report[..], [Action::Report(Report::Exited { status: CommandStatus::Exited(3), .. })]));
    assert_eq!(
        machine.step(settled(set(false)), now),
        [changed(Response::Start), Action::Stop(StopAction::AskRest), stopping(StopReason::Change)]
    );
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Reload)));
}

#[test]
fn a_command_that_cannot_begin_waits_with_nothing_to_end() {
    let now = Instant::now();
    let mut machine = Machine::new(OnChange::Restart, OnExit::Wait, GRACE, false);
    machine.step(Input::Ended { status: CommandStatus::NotFound("".into()), ran: Duration::ZERO }, now);
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), [Action::Leave(ChildEnd::Ended)]);
}

#[test]
fn who_asks_decides_how_the_child_leaves() {
    for (input, reason, end) in [
        (Input::Told(Directive::Stop), StopReason::Request, ChildEnd::Ended),
        (Input::SupervisorGone, StopReason::Supervisor, ChildEnd::Failed),
        (Input::PulseLost, StopReason::Supervisor, ChildEnd::Failed),
        (Input::Interrupted, StopReason::Signal, ChildEnd::Failed),
    ] {
        let (mut machine, now) = running(OnChange::Restart);
        let alone = reason == StopReason::Supervisor;
        let said = machine.step(input.clone(), now);
        assert_eq!(said[..2], [Action::Stop(StopAction::AskGroup), stopping(reason)]);
        assert_eq!(matches!(said.get(2), Some(Action::Say(_))), alone, "{said:?}");
        assert_killed_after(&mut machine, now, if alone { Duration::from_millis(600) } else { GRACE });
        assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(end)));
        assert_eq!(machine.step(Input::Told(Directive::Stop), now), [], "nothing after the end");
    }
}

#[test]
fn the_second_request_is_kill_and_a_request_after_a_change_is_the_first() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Told(Directive::Stop), now);
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), [Action::Stop(StopAction::KillAll)]);

    let (mut machine, now) = running(OnChange::Restart);
    machine.step(settled(set(false)), now);
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), []);
    assert_eq!(machine.step(Input::Told(Directive::Stop), now), [Action::Stop(StopAction::KillAll)]);
    assert_eq!(
        machine.step(Input::TreeGone, now).last(),
        Some(&Action::Leave(ChildEnd::Ended)),
        "not 3: it is the end"
    );
}

#[test]
fn saves_during_a_stop_never_shorten_the_grace_however_many() {
    for reason in [StopReason::Change, StopReason::Request] {
        let (mut machine, now) = running(OnChange::Restart);
        match reason {
            StopReason::Change => machine.step(settled(set(false)), now),
            _ => machine.step(Input::Told(Directive::Stop), now),
        };
        for saves in 1..40 {
            let at = now + saves * Duration::from_millis(120);
            for input in [Input::Unsettled, Input::Certain, settled(set(saves % 2 == 0)), Input::Tick] {
                let actions = machine.step(input, at);
                assert!(!actions.iter().any(|action| matches!(action, Action::Stop(_))), "{actions:?}");
            }
        }
        assert_killed_after(&mut machine, now, GRACE);
    }
}

#[test]
fn the_grace_ends_in_kill_and_a_kill_that_does_not_help_ends_too() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(Input::Told(Directive::Stop), now);
    assert_killed_after(&mut machine, now, GRACE);
    let last = machine.step(Input::Tick, now + GRACE + Duration::from_secs(10));
    assert_eq!(last.first(), Some(&Action::Stop(StopAction::GiveUp)));
    assert_eq!(last.last(), Some(&Action::Leave(ChildEnd::Ended)));
}

#[test]
fn without_a_supervisor_a_stop_on_its_way_does_not_take_the_whole_grace() {
    let (mut machine, now) = running(OnChange::Restart);
    machine.step(settled(set(false)), now);
    assert!(matches!(machine.step(Input::SupervisorGone, now)[..], [Action::Say(_)]));
    assert_eq!(machine.step(Input::PulseLost, now), [], "said once");
    assert_killed_after(&mut machine, now, Duration::from_millis(600));
    assert_eq!(machine.step(Input::TreeGone, now).last(), Some(&Action::Leave(ChildEnd::Failed)));
}

/// A machine that signals HUP, some time after the start of its command.
fn signalling(on_exit: OnExit, ago: Duration) -> (Machine, Instant) {
    let started = Instant::now();
    let mut machine = Machine::new(OnChange::Signal(Signal::HUP), on_exit, GRACE, false);
    machine.step(Input::Started { pid: 7 }, started);
    (machine, started + ago)
}

fn killed_by(signal: i32) -> CommandStatus {
    CommandStatus::Signaled { signal, name: String::new(), core: false }
}

fn end(status: CommandStatus) -> Input {
    Input::Ended { status, ran: Duration::from_secs(1) }
}

fn unheard(changes: ChangeSet) -> Action {
    Action::Report(Report::Unheard { changes, noticed_ns: 7 })
}

#[test]
fn a_command_that_ends_by_the_signal_for_a_change_is_started_for_that_change() {
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    for (status, on_exit, age, after, starts) in [
        // Killed by it: whenever, and whatever `--on-exit` says.
        (killed_by(1), OnExit::Wait, Duration::ZERO, Duration::ZERO, true),
        (killed_by(1), OnExit::Exit, hour, Duration::ZERO, true),
        (killed_by(1), OnExit::Restart, hour, hour, true),
        // What a shell or a small init makes of it.
        (CommandStatus::Exited(129), OnExit::Exit, hour, second * 9, true),
        (CommandStatus::Exited(129), OnExit::Wait, hour, second * 11, false),
        // Another end is its own.
        (CommandStatus::Exited(3), OnExit::Wait, second, second, false),
        (CommandStatus::Exited(0), OnExit::Wait, second, second, false),
        (CommandStatus::Exited(3), OnExit::Exit, second, second, false),
        (CommandStatus::Exited(3), OnExit::Restart, second, second, false),
        (killed_by(15), OnExit::Wait, second, second, false),
        (killed_by(2), OnExit::Wait, second, second, false),
    ] {
        let (mut machine, now) = signalling(on_exit, age);
        assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Signal), Action::SignalChange]);
        let case = format!("{status:?}, {on_exit:?}, {age:?} old, {after:?} after the signal");
        let said = machine.step(end(status.clone()), now + after);
        if !starts {
            let told = said.iter().any(|action| matches!(action, Action::Report(Report::Exited { .. })));
            assert!(told || status == CommandStatus::Exited(0), "{case}: {said:?}");
            continue;
        }
        let expected = [
            unheard(set(false)),
            Action::TellUnheard(status),
            Action::Stop(StopAction::AskRest),
            stopping(StopReason::Change),
        ];
        assert_eq!(said, expected, "{case}");
        assert_eq!(machine.step(Input::TreeGone, now + after).last(), Some(&Action::Leave(ChildEnd::Reload)), "{case}");
    }
}

#[test]
fn without_a_rest_there_is_nothing_to_stop_before_that_start() {
    let (mut machine, now) = signalling(OnExit::Exit, Duration::ZERO);
    machine.step(settled(set(false)), now);
    machine.step(Input::TreeGone, now);
    let said = machine.step(end(killed_by(1)), now);
    assert_eq!(said, [unheard(set(false)), Action::TellUnheard(killed_by(1)), Action::Leave(ChildEnd::Reload)]);
}

#[test]
fn nothing_is_lost_when_the_signal_ends_a_command_between_two_saves() {
    // A save that has begun is waited for.
    let (mut machine, now) = signalling(OnExit::Wait, Duration::ZERO);
    machine.step(settled(set(false)), now);
    machine.step(Input::Certain, now);
    machine.step(Input::TreeGone, now);
    assert_eq!(machine.step(end(killed_by(1)), now), [unheard(set(false)), Action::TellUnheard(killed_by(1))]);
    assert_eq!(machine.step(settled(set(false)), now), [changed(Response::Restart), Action::Leave(ChildEnd::Reload)]);

    // All signals that may not have been heard are reasons for the start; one long before is not.
    let (mut machine, now) = signalling(OnExit::Wait, Duration::ZERO);
    let other = |name: &str| {
        let change = set(false).iter().next().cloned().unwrap();
        ChangeSet::new([Change { path: name.into(), ..change }])
    };
    let times = [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(61)];
    for (name, at) in ["/old.py", "/one.py", "/two.py"].iter().zip(times) {
        machine.step(settled(other(name)), now + at);
    }
    let said = machine.step(end(killed_by(1)), now + times[2]);
    assert_eq!(said[0], unheard(other("/one.py").merge(other("/two.py"))));
}

#[test]
fn a_signal_that_reached_nobody_causes_a_start_however_the_command_ended() {
    for on_exit in [OnExit::Wait, OnExit::Exit, OnExit::Restart] {
        let (mut machine, now) = signalling(on_exit, Duration::ZERO);
        machine.step(settled(set(false)), now);
        assert_eq!(machine.step(Input::Undelivered, now), []);
        assert_eq!(machine.step(ended(0), now)[0], unheard(set(false)));
    }
}

#[test]
fn a_second_signal_may_come_to_a_command_that_the_first_has_broken() {
    let long = Duration::from_secs(60);
    let (soon, late) = (Duration::from_secs(1), Duration::from_secs(6));
    for (on_exit, second, starts) in [
        (OnExit::Wait, None, false),
        (OnExit::Wait, Some(soon), true),
        (OnExit::Wait, Some(late), false),
        (OnExit::Exit, Some(soon), false),
        (OnExit::Restart, Some(soon), false),
    ] {
        let (mut machine, now) = signalling(on_exit, long);
        machine.step(settled(set(false)), now);
        let last = now + second.unwrap_or_default();
        if second.is_some() {
            machine.step(settled(set(false)), last);
        }
        let said = machine.step(end(CommandStatus::Exited(3)), last + Duration::from_millis(500));
        assert_eq!(
            matches!(said[0], Action::Report(Report::Unheard { .. })),
            starts,
            "{on_exit:?}, {second:?}: {said:?}"
        );
    }
}

#[test]
fn a_save_leads_to_one_start_at_most() {
    // The command of the next generation has had no signal, so its end is its own, by whatever signal.
    let (mut machine, now) = signalling(OnExit::Wait, Duration::ZERO);
    let said = machine.step(end(killed_by(1)), now);
    assert!(matches!(said[..], [Action::Report(Report::Exited { .. })]), "{said:?}");
}

#[test]
fn who_is_left_of_a_command_that_ended_well_is_told_before_its_end() {
    let shortly = Duration::from_millis(200);
    let is_exited = |action: &Action| matches!(action, Action::Report(Report::Exited { .. }));
    for on_exit in [OnExit::Wait, OnExit::Exit, OnExit::Restart] {
        let (mut machine, now) = signalling(on_exit, Duration::from_secs(60));
        assert_eq!(machine.step(ended(0), now), [], "they may be about to end");
        assert_eq!(machine.due(), Some(now + shortly));
        let told = machine.step(Input::Tick, now + shortly);
        assert!(matches!(&told[..], [Action::TellSetAside, exited] if is_exited(exited)), "{told:?}");
        assert_eq!((machine.due(), machine.step(Input::Tick, now + shortly)), (None, vec![]), "once");
    }
    // Nobody is left, a change, a request: the end is told first, and nothing of them.
    let others = [Input::TreeGone, settled(set(false)), Input::Told(Directive::Stop)];
    for input in others {
        let (mut machine, now) = signalling(OnExit::Wait, Duration::from_secs(60));
        machine.step(ended(0), now);
        let said = machine.step(input.clone(), now);
        assert!(is_exited(&said[0]) && !said.contains(&Action::TellSetAside), "{input:?}: {said:?}");
        assert_eq!(said.iter().filter(|action| is_exited(action)).count(), 1);
    }
    // One that failed has not set itself aside.
    let (mut machine, now) = signalling(OnExit::Wait, Duration::from_secs(60));
    assert!(is_exited(&machine.step(ended(1), now)[0]));
}

#[test]
fn a_barrier_is_passed_on_to_the_watcher_and_its_answer_to_the_supervisor_in_every_state() {
    let (mut machine, now) = running(OnChange::Restart);
    let both = |machine: &mut Machine| {
        let asked = machine.step(Input::Told(Directive::Barrier { id: 3 }), now);
        assert_eq!(asked, [Action::Mark(Mark::Asked(3))]);
        assert_eq!(machine.step(Input::Passed(Mark::Asked(3)), now), [Action::Report(Report::Passed { id: 3 })]);
    };
    both(&mut machine);
    machine.step(ended(1), now);
    both(&mut machine);
    machine.step(settled(set(false)), now);
    both(&mut machine);
}

#[path = "overlap_tests.rs"]
mod overlap;

/// In a pause the watcher collects, and answers when the pause is over.
#[test]
fn in_a_pause_nothing_that_ends_waits_for_the_watcher_unless_it_would_lead_to_something() {
    let job_ended = |code| Input::JobEnded { status: CommandStatus::Exited(code), ran: Duration::ZERO };
    let (mut machine, now) = running(OnChange::Queue);
    machine.step(Input::Told(Directive::Pause { on: true }), now);
    let exited = Report::Exited { status: CommandStatus::Exited(7), ran_ns: 1_000_000_000, again: false };
    assert_eq!(machine.step(ended(7), now), [Action::Report(exited.clone())]);
    // The pause comes while the answer is on its way.
    let (mut machine, now) = running(OnChange::Queue);
    assert_eq!(machine.step(ended(7), now), [Action::Mark(Mark::Ended)]);
    let paused = machine.step(Input::Told(Directive::Pause { on: true }), now);
    assert_eq!(paused, [Action::Pause(true), Action::Report(exited)]);
    assert_eq!(machine.step(Input::Passed(Mark::Ended), now), []);
    // A run is over; a preparation while the command runs leads to a restart, and the next start to nothing else.
    let (mut machine, now) = running(OnChange::Run("true".into()));
    machine.step(settled(set(false)), now);
    machine.step(Input::Told(Directive::Pause { on: true }), now);
    let ran = Report::Ran { status: CommandStatus::Exited(0), ran_ns: 0, goes_on: false };
    assert_eq!(machine.step(job_ended(0), now), [Action::Report(ran)]);
    let new = || Machine::new(OnChange::Restart, OnExit::Wait, GRACE, false).preparing(&ChangeSet::default());
    let mut machine = new().paused(true);
    machine.step(Input::Prepare(set(false)), now);
    assert!(machine.step(job_ended(0), now).contains(&Action::Start(set(false))));
    let mut machine = new().paused(true);
    machine.step(Input::Started { pid: 7 }, now);
    machine.step(settled(set(false)), now);
    let prepared = |goes_on, told| {
        let status = CommandStatus::Exited(1);
        Action::Report(Report::Prepared { status, ran_ns: 0, nothing_runs: false, goes_on, told })
    };
    assert_eq!(machine.step(job_ended(1), now), [prepared(true, false), Action::Mark(Mark::Job)], "it is told at once");
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [prepared(false, true)], "and decided later");
    // The pause begins while the answer is on its way.
    let mut machine = new();
    machine.step(Input::Started { pid: 7 }, now);
    machine.step(settled(set(false)), now);
    assert_eq!(machine.step(job_ended(1), now), [Action::Mark(Mark::Job)]);
    let pause = machine.step(Input::Told(Directive::Pause { on: true }), now);
    assert_eq!(pause, [Action::Pause(true), prepared(true, false)]);
    assert_eq!(machine.step(Input::Passed(Mark::Job), now), [prepared(false, true)]);
}

#[path = "jobs_tests.rs"]
mod jobs;
