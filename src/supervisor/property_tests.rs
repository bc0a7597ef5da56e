//! What holds whatever happens, in whatever order.

use super::bench::{
    Bench, HANGS, asked, changed, degraded, died, exited, fork_failed, from_terminal, handed_over, not_ready, ready,
    reloaded, reloading, report, restarting, seen, signal, started, stopped, stopping, unanswered, watching,
};
use crate::change::ChangeSet;
use crate::config::OnExit;
use crate::control::Request;
use crate::degraded::Degraded;
use crate::exit_code::ChildEnd;
use crate::generation::Generation;
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::{Received, Signal};
use crate::protocol::{Carried, Report, Response};
use crate::supervisor::keyboard::Key;
use crate::supervisor::life::State;
use crate::supervisor::machine::{Action, Input};
use crate::supervisor::signals::Heard;
use crate::supervisor::sweep::Remains;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn any_child_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(started()),
        1 => Just(watching()),
        2 => (any::<bool>(), 0..3usize).prop_map(|(config, response)| {
            changed(config, [Response::Restart, Response::Signal, Response::Start][response])
        }),
        2 => Just(stopping()),
        2 => Just(restarting()),
        1 => Just(stopped()),
        3 => any::<u8>().prop_map(exited),
        1 => Just(degraded()),
        2 => Just(ready()),
        1 => Just(not_ready()),
        1 => prop::option::of(0..3u64).prop_map(reloading),
        1 => prop::option::of(0..3u64).prop_map(reloaded),
        1 => (0..3u64).prop_map(unanswered),
        2 => any::<bool>().prop_map(handed_over),
        3 => (0..3usize, any::<bool>()).prop_map(|(end, hands_over)| {
            let end = [ChildEnd::Reload, ChildEnd::Ended, ChildEnd::Failed][end];
            report(Report::Leaving { end, hands_over, carried: Carried::default() })
        }),
        1 => Just(died()),
    ]
}

fn any_outside_input() -> impl Strategy<Value = Input> {
    let signals =
        [Signal::USR1, Signal::USR2, Signal::WINCH, Signal::CHLD, Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP];
    prop_oneof![
        3 => (0..6usize).prop_map(move |index| from_terminal(signals[index])),
        3 => (0..4usize).prop_map(move |index| signal(signals[index])),
        1 => (4..8usize).prop_map(move |index| signal(signals[index])),
        2 => prop::sample::select(vec![Signal::TSTP, Signal::CONT]).prop_map(signal),
        1 => Just(Input::Beat(Beat::Removed)),
        1 => any::<bool>().prop_map(|all| Input::Unread { all }),
        1 => Just(Input::Beat(Beat::Steady)),
        1 => Just(Input::Beat(Beat::Failed(Errno::EROFS))),
        1 => prop::sample::select(vec![Request::Status, Request::Restart, Request::Pause, Request::Resume, Request::Events, Request::Wait])
            .prop_map(asked),
        1 => Just(asked(Request::Stop)),
        1 => prop::sample::select(vec![Key::Restart, Key::Pause, Key::Why, Key::Help, Key::Quit]).prop_map(Input::Key),
        6 => Just(Input::Tick),
    ]
}

fn any_rules() -> impl Strategy<Value = (OnExit, bool)> {
    (0..3usize, any::<bool>())
        .prop_map(|(on_exit, shares)| ([OnExit::Wait, OnExit::Exit, OnExit::Restart][on_exit], shares))
}

/// Whether this input alone, whatever came before, asks for the end of it all, and with which code. Of the terminal's
/// Ctrl-C that cannot be said when the command may have got it too.
fn end_code(input: &Input, shares_terminal: bool) -> Option<u8> {
    match input {
        Input::Beat(Beat::Removed) | Input::Asked { request: Request::Stop, .. } | Input::Key(Key::Quit) => Some(0),
        Input::Signal(Heard { received: Received { signal: Signal::TERM | Signal::HUP, .. }, .. }) => {
            Some(of_signal(input))
        }
        Input::Signal(Heard {
            received: Received { signal: Signal::INT | Signal::QUIT, from_terminal, .. }, ..
        }) => (!(*from_terminal && shares_terminal)).then(|| of_signal(input)),
        _ => None,
    }
}

fn of_signal(input: &Input) -> u8 {
    let Input::Signal(Heard { received, .. }) = input else { unreachable!("only called for signals") };
    128 + u8::try_from(received.signal.number()).unwrap()
}

/// What the driver has done so far: who has a child, and which of them were told to start.
#[derive(Debug, Default)]
struct World {
    children: BTreeSet<Generation>,
    /// They were told to start.
    started: BTreeSet<Generation>,
    /// It reads the queue.
    reads: Option<Generation>,
    watch_state: u32,
    /// The watch state that each child was forked with.
    forked_with: BTreeMap<Generation, u32>,
    /// The code of the end.
    finished: Option<u8>,
}

impl World {
    /// Something has happened to a child.
    fn take_in(&mut self, input: &Input) {
        if let Input::ChildDied(of, _) | Input::ForkFailed(of, _) | Input::Report(of, Report::Leaving { .. }) = input {
            self.started.remove(of);
            self.reads.take_if(|reads| *reads == *of);
        }
        if let Input::Report(of, Report::HandedOver { .. }) = input {
            self.reads.take_if(|reads| *reads == *of);
        }
        if let Input::ForkFailed(of, _) = input {
            self.children.remove(of);
        }
    }

    /// The driver does as it is told; an action that makes no sense is a mistake.
    fn perform(&mut self, actions: &[Action]) -> Result<(), TestCaseError> {
        for action in actions {
            prop_assert!(self.finished.is_none(), "nothing follows the end: {actions:?}");
            match action {
                Action::Fork(of) => {
                    prop_assert!(self.children.insert(*of), "{of} has a child: {actions:?}");
                    self.forked_with.insert(*of, self.watch_state);
                }
                // The driver leaves it out after a failure to fork.
                Action::Start(of, _) if !self.children.contains(of) => {}
                Action::Start(of, _) => {
                    let state = self.watch_state;
                    prop_assert_eq!(self.forked_with[of], state, "the watch state of another: {:?}", actions);
                    self.started.insert(*of);
                    prop_assert_eq!(self.reads.replace(*of), None, "one reads the queue: {:?}", actions);
                }
                Action::Dismiss(of) | Action::Release(of) => {
                    prop_assert!(self.children.remove(of), "{of} is gone: {actions:?}");
                    self.started.remove(of);
                    self.reads.take_if(|reads| *reads == *of);
                }
                Action::Send(of, _) => prop_assert!(self.children.contains(of), "{of} is gone: {actions:?}"),
                // It kills all others. The one that was lost is still to be let go.
                Action::Sweep { spared } => {
                    self.started.retain(|of| spared.contains(of));
                    self.reads.take_if(|reads| !spared.contains(reads));
                }
                Action::ForgetWatches => self.watch_state += 1,
                Action::Finish(code) => self.finished = Some(code.number()),
                _ => {}
            }
        }
        Ok(())
    }

    /// One of those who were told to start: the newest, or one before it.
    fn one(&self, newest: bool) -> Option<Generation> {
        let mut started = self.started.iter().copied();
        if newest { started.next_back() } else { started.next() }
    }
}

/// What holds of all lives together.
fn check(bench: &mut Bench) -> Result<(), TestCaseError> {
    let states: Vec<State> = bench.machine.succession.lives.all().map(|life| life.state).collect();
    let count = |is: fn(&State) -> bool| states.iter().filter(|state| is(state)).count();
    prop_assert!(count(|state| *state == State::Standby) <= 1, "{states:?}");
    prop_assert!(count(|state| *state == State::Hosting) <= 1, "{states:?}");
    let newest =
        |state: &State| !matches!(state, State::Standby | State::Hosting | State::Retiring(_) | State::Ending(_));
    prop_assert!(count(newest) <= 1, "{states:?}");
    Ok(())
}

/// A machine and its world, as they begin.
fn begin(on_exit: OnExit, shares: bool) -> (Bench, World) {
    let mut world = World::default();
    let first = Generation::FIRST;
    world.perform(&[Action::Fork(first), Action::Start(first, ChangeSet::default())]).expect("it begins so");
    (Bench::new(on_exit, shares), world)
}

fn of(input: Input, generation: Generation) -> Input {
    match input {
        Input::Report(_, report) => Input::Report(generation, report),
        Input::ChildDied(_, loss) => Input::ChildDied(generation, loss),
        Input::ForkFailed(_, errno) => Input::ForkFailed(generation, errno),
        Input::ConfigMovedOn(_) => Input::ConfigMovedOn(generation),
        other => other,
    }
}

fn any_remains() -> impl Strategy<Value = Remains> {
    prop_oneof![
        1 => Just(Remains::Nobody),
        3 => Just(Remains::Some),
        1 => Just(Remains::Unseen),
        1 => Just(Remains::OutOfReach(Degraded::HiddenProcesses)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Also what cannot happen: reports of those who are gone, sweeps and looks that nobody asked for.
    #[test]
    fn no_input_in_whatever_order_is_a_panic_and_no_action_names_a_life_that_is_gone(
        (on_exit, shares) in any_rules(),
        inputs in proptest::collection::vec((
            prop_oneof![
                8 => any_child_input(),
                6 => any_outside_input(),
                1 => Just(fork_failed()),
                1 => Just(Input::ConfigMovedOn(Generation::FIRST)),
                1 => any_remains().prop_map(Input::Swept),
                1 => Just(Input::Seen(vec![seen(7, 'T'), seen(8, 'S')])),
            ],
            0u64..3000,
            0..3u64,
        ), 0..80),
    ) {
        let (mut bench, mut world) = begin(on_exit, shares);
        for (input, pause, age) in inputs {
            bench.pass(Duration::from_millis(pause));
            // The present one, the standby, or one that was there before.
            let generation = world.children.iter().rev().nth(usize::try_from(age).unwrap()).copied();
            let input = of(input, generation.unwrap_or(Generation::FIRST));
            world.take_in(&input);
            let actions = bench.step_of(input);
            world.perform(&actions)?;
            check(&mut bench)?;
            let _ = bench.machine.due();
            if world.finished.is_some() {
                break;
            }
        }
    }

    /// As in real life: what comes from a child comes only while there is one, and its end is the last of it.
    #[test]
    fn an_end_that_was_asked_for_comes_as_soon_as_the_child_has_left(
        (on_exit, shares) in any_rules(),
        steps in proptest::collection::vec((
            any_child_input(), any_outside_input(), any::<bool>(), any::<bool>(), any::<bool>(), 0u64..3000
        ), 0..60),
    ) {
        let (mut bench, mut world) = begin(on_exit, shares);
        let (mut asked, mut unread) = (None, false);
        'run: for (from_child, from_outside, turn, newest, can_fork, pause) in steps {
            bench.pass(Duration::from_millis(pause));
            let mut next = Some(match world.one(newest) {
                Some(generation) if turn => of(from_child, generation),
                _ => from_outside,
            });
            while let Some(input) = next.take() {
                asked = asked.or(end_code(&input, shares));
                // That may have asked before, if the command had ended.
                unread |= matches!(input, Input::Unread { .. });
                world.take_in(&input);
                let actions = bench.step_of(input);
                world.perform(&actions)?;
                for action in &actions {
                    match action {
                        Action::Fork(generation) => {
                            prop_assert!(asked.is_none(), "a child after an end was asked for: {actions:?}");
                            if !can_fork && world.children.contains(generation) {
                                next = Some(Input::ForkFailed(*generation, Errno::EAGAIN));
                            }
                        }
                        Action::Finish(code) => {
                            prop_assert!(world.started.is_empty(), "it ends, and a child lives: {actions:?}");
                            if let Some(asked) = asked && on_exit != OnExit::Exit && !shares && !unread {
                                prop_assert_eq!(code.number(), asked, "the first to ask decides the code");
                            }
                            break 'run;
                        }
                        _ => {}
                    }
                }
                prop_assert!(asked.is_none() || !world.started.is_empty(), "the child has left, and it does not end");
                let bounded = bench.machine.due().is_some_and(|due| due <= bench.now + HANGS);
                prop_assert!(asked.is_none() || bounded, "an end that was asked for is bounded");
            }
        }
    }

    /// Nobody answers any more, and nothing of what was killed ends: the bounds of the child and of two sweeps.
    #[test]
    fn the_run_ends_within_its_bounds_after_a_request_whatever_else_happens(
        (on_exit, shares) in any_rules(),
        before in proptest::collection::vec((
            any_child_input(), any_outside_input(), any::<bool>(), any::<bool>(), 0u64..3000
        ), 0..30),
        after in proptest::collection::vec((any_outside_input(), 0u64..3000), 0..30),
        remains in any_remains(),
    ) {
        let (mut bench, mut world) = begin(on_exit, shares);
        for (from_child, from_outside, turn, newest, pause) in before {
            bench.pass(Duration::from_millis(pause));
            let input = match world.one(newest) {
                Some(generation) if turn => of(from_child, generation),
                _ => from_outside,
            };
            world.take_in(&input);
            let actions = bench.step_of(input);
            world.perform(&actions)?;
            if world.finished.is_some() {
                return Ok(());
            }
        }
        // Longer than two of them are one request.
        bench.pass(Duration::from_secs(1));
        bench.remains = remains;
        let asked_at = bench.now;
        let mut inputs = after.into_iter();
        let mut actions = bench.step(signal(Signal::TERM));
        while !actions.iter().any(|action| matches!(action, Action::Finish(_))) {
            let due = bench.machine.due();
            prop_assert!(due.is_some(), "it waits for ever: {:?}", bench.machine);
            let until = due.unwrap().max(bench.now);
            // What comes from outside comes between two ticks.
            let other = inputs.next().filter(|(_, pause)| bench.now + Duration::from_millis(*pause) < until);
            actions = match other {
                Some((input, pause)) => {
                    bench.pass(Duration::from_millis(pause));
                    bench.step(input)
                }
                None => {
                    bench.now = until;
                    bench.step(Input::Tick)
                }
            };
            prop_assert!(bench.now <= asked_at + HANGS + 2 * Duration::from_secs(11), "it takes too long");
        }
    }
}
