use super::{Found, Input, MainProcess, Output, PATIENCE, PAUSE, SUCCESSION};
use crate::exit_code::CommandStatus;
use std::time::{Duration, Instant};

const FIRST: i32 = 7;
const MAIN: i32 = 70;

fn ended(code: u8) -> CommandStatus {
    CommandStatus::Exited(code)
}

/// A clock, and a command that has just been started.
struct Bench {
    machine: MainProcess,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench { machine: MainProcess::new(FIRST), now: Instant::now() }
    }

    fn says(&mut self, input: Input) -> Vec<Output> {
        self.machine.step(input, self.now)
    }

    fn finds(&mut self, found: Found) -> Vec<Output> {
        self.says(Input::Found(found))
    }

    fn after(&mut self, time: Duration) -> &mut Bench {
        self.now += time;
        self
    }

    /// A command that has set itself aside and written its pid.
    fn set_aside() -> Bench {
        let mut bench = Bench::new();
        assert_eq!(bench.says(Input::FirstEnded(ended(0))), []);
        assert_eq!(bench.finds(Found::Ours(MAIN)), [Output::Follow(MAIN)]);
        assert_eq!(bench.machine.next_look(), None, "nothing wakes it while its main process runs");
        bench
    }
}

#[test]
fn a_command_that_has_set_itself_aside_ends_with_the_process_that_the_file_names() {
    let mut bench = Bench::new();
    assert_eq!(bench.machine.next_look(), None);
    assert_eq!(bench.says(Input::FirstEnded(ended(0))), []);
    assert_eq!(bench.machine.next_look(), Some(bench.now), "the first look is at once");
    for found in [Found::Missing, Found::Ended(3), Found::Foreign(4), Found::Garbage("x".into())] {
        assert_eq!(bench.finds(found), []);
        assert_eq!(bench.machine.next_look(), Some(bench.now + PAUSE));
        bench.after(PAUSE);
    }
    assert_eq!(bench.finds(Found::Ours(MAIN)), [Output::Follow(MAIN)]);
    assert_eq!(bench.says(Input::MainEnded(ended(5))), [], "it may have been replaced");
    assert_eq!(bench.finds(Found::Ended(MAIN)), []);
    assert_eq!(bench.says(Input::TreeGone), [Output::Ended(ended(5))]);
    assert_eq!(bench.machine.next_look(), None);
}

#[test]
fn a_first_process_that_fails_is_the_end_of_the_command() {
    for status in [ended(1), CommandStatus::Signaled { signal: 11, name: "SIGSEGV".into(), core: false }] {
        assert_eq!(Bench::new().says(Input::FirstEnded(status.clone())), [Output::Ended(status)]);
    }
}

#[test]
fn a_file_that_names_nobody_of_ours_is_told_once_and_ends_the_wait() {
    for found in
        [Found::Missing, Found::Unreadable("r".into()), Found::Garbage("x".into()), Found::Ended(3), Found::Foreign(4)]
    {
        let mut bench = Bench::new();
        bench.says(Input::FirstEnded(ended(0)));
        bench.after(PATIENCE - PAUSE);
        assert_eq!(bench.finds(found.clone()), []);
        bench.after(PAUSE);
        let told = Output::Unknown { found: found.clone(), first_runs: false };
        assert_eq!(bench.finds(found.clone()), [told, Output::Ended(ended(0))]);
        assert_eq!(bench.finds(found), []);
        assert!(bench.machine.is_unknown());
    }
}

#[test]
fn a_process_that_replaces_the_main_one_is_followed() {
    let mut bench = Bench::set_aside();
    bench.says(Input::MainEnded(ended(0)));
    bench.after(SUCCESSION - PAUSE);
    assert_eq!(bench.finds(Found::Missing), []);
    assert_eq!(bench.finds(Found::Ours(71)), [Output::Follow(71)]);
    assert_eq!(bench.machine.pid(), Some(71));

    bench.says(Input::MainEnded(ended(9)));
    bench.after(SUCCESSION);
    assert_eq!(bench.finds(Found::Ended(71)), [Output::Ended(ended(9))], "others may live on");
}

#[test]
fn a_signal_goes_to_whom_the_file_names_at_that_moment() {
    let mut bench = Bench::set_aside();
    assert_eq!(bench.says(Input::Signal), []);
    assert_eq!(bench.machine.next_look(), Some(bench.now));
    assert_eq!(bench.finds(Found::Ours(71)), [Output::Follow(71), Output::Deliver]);
    assert_eq!(bench.machine.next_look(), None);
    bench.says(Input::Signal);
    assert_eq!(bench.finds(Found::Missing), [Output::Deliver], "the process lives without its file");
}

#[test]
fn a_signal_waits_for_the_main_process() {
    let mut bench = Bench::new();
    bench.says(Input::Signal);
    assert_eq!(bench.finds(Found::Missing), []);
    bench.says(Input::FirstEnded(ended(0)));
    assert_eq!(bench.finds(Found::Missing), []);
    assert_eq!(bench.finds(Found::Ours(MAIN)), [Output::Follow(MAIN), Output::Deliver]);
}

#[test]
fn a_signal_goes_to_a_first_process_that_stays_and_is_named_or_names_nobody() {
    let mut bench = Bench::new();
    bench.says(Input::Signal);
    assert_eq!(bench.finds(Found::Ours(FIRST)), [Output::Follow(FIRST), Output::Deliver]);

    let mut bench = Bench::new();
    bench.says(Input::Signal);
    bench.after(PATIENCE);
    let told = Output::Unknown { found: Found::Missing, first_runs: true };
    assert_eq!(bench.finds(Found::Missing), [told, Output::Deliver]);
    bench.says(Input::Signal);
    bench.after(PATIENCE);
    assert_eq!(bench.finds(Found::Missing), [Output::Deliver], "it is told once");
}

#[test]
fn a_signal_that_reaches_nobody_is_told() {
    let mut bench = Bench::new();
    bench.says(Input::Signal);
    assert_eq!(bench.says(Input::FirstEnded(ended(1))), [Output::Undelivered, Output::Ended(ended(1))]);

    let mut bench = Bench::set_aside();
    bench.says(Input::Signal);
    bench.says(Input::MainEnded(ended(0)));
    assert_eq!(bench.says(Input::TreeGone), [Output::Undelivered, Output::Ended(ended(0))]);
}

#[test]
fn during_a_stop_nothing_is_waited_for() {
    let mut bench = Bench::new();
    assert_eq!(bench.says(Input::Stop), []);
    assert_eq!(bench.says(Input::FirstEnded(ended(0))), [Output::Ended(ended(0))]);

    let mut bench = Bench::new();
    bench.says(Input::FirstEnded(ended(0)));
    assert_eq!(bench.says(Input::Stop), [Output::Ended(ended(0))]);

    let mut bench = Bench::set_aside();
    assert_eq!(bench.says(Input::Stop), []);
    assert_eq!(bench.says(Input::MainEnded(ended(4))), [Output::Ended(ended(4))]);
}

#[test]
fn a_main_process_below_a_first_one_that_stays_is_not_the_end() {
    let mut bench = Bench::new();
    bench.says(Input::Signal);
    bench.finds(Found::Ours(MAIN));
    assert_eq!(bench.says(Input::MainEnded(ended(0))), []);
    assert_eq!(bench.says(Input::FirstEnded(ended(3))), [Output::Ended(ended(3))]);
}
