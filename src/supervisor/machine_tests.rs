use super::{Action, CLEANING_UP, DUMPING, Input, Machine, Rules, TAKEN, TWICE};
use crate::change::{Change, ChangeKind, ChangeSet, Look};
use crate::config::{OnChange, OnExit};
use crate::degraded::{Degraded, Loss};
use crate::event::{Effect, WaitingFor, Watching, What};
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::heartbeat::Beat;
use crate::os::Errno;
use crate::os::signals::{Received, Signal};
use crate::protocol::{Directive, Report, Response, StopReason};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(100);

fn rules(on_exit: OnExit) -> Rules {
    Rules {
        command: "app".into(),
        on_change: OnChange::Restart,
        on_exit,
        stop_signal: Signal::TERM,
        stop_timeout: Duration::from_secs(5),
    }
}

fn set(config: bool) -> ChangeSet {
    let path = if config { "/reloadrun.toml" } else { "/app.py" };
    ChangeSet::new([Change {
        path: path.into(),
        kind: ChangeKind::Modified,
        rule: "r".into(),
        config,
        open: false,
        seen: Look::ABSENT,
    }])
}

fn started() -> Input {
    Input::Report(Report::Started { pid: 7 })
}

fn watching() -> Input {
    let (root, backend) = ("/".to_owned(), "inotify".to_owned());
    Input::Report(Report::Watching(Watching { patterns: vec![], root, directories: 1, files: 1, backend, polled: 0 }))
}

fn changed(config: bool, response: Response) -> Input {
    Input::Report(Report::Changed { changes: set(config), noticed_ns: 1_000_000, quiet: Duration::ZERO, response })
}

fn stopping() -> Input {
    Input::Report(Report::Stopping { reason: StopReason::Change })
}

fn stopped() -> Input {
    Input::Report(Report::Stopped { took_ns: 2_000_000, killed: false })
}

fn exited(code: u8) -> Input {
    Input::Report(Report::Exited { status: CommandStatus::Exited(code), ran_ns: 5 })
}

fn degraded() -> Input {
    Input::Report(Report::Degraded(Degraded::QueueOverflow))
}

fn suspended() -> Input {
    Input::Report(Report::Suspended { pid: 7 })
}

fn leaving(end: ChildEnd) -> Input {
    Input::Report(Report::Leaving { end })
}

fn died() -> Input {
    Input::ChildDied(Loss::NoAnswer)
}

fn signal(signal: Signal) -> Input {
    Input::Signal(Received { signal, from_terminal: false, sender: 1 })
}

fn from_terminal(signal: Signal) -> Input {
    Input::Signal(Received { signal, from_terminal: true, sender: 0 })
}

/// A list of actions, short enough for a table: `release; spawn 2`.
fn short(actions: &[Action]) -> String {
    let words = actions.iter().map(|action| match action {
        Action::ReadConfig => "read config".to_owned(),
        Action::Spawn { generation, .. } => format!("spawn {generation}"),
        Action::Send(Directive::Stop) => "send stop".to_owned(),
        Action::Send(Directive::Signal { number }) => format!("send {number}"),
        Action::Tell(what) => format!("tell {}", what.name()),
        Action::TellSeries(series) => format!("tell series of {}", series.restarts),
        Action::Release => "release".to_owned(),
        Action::EndLine => "end line".to_owned(),
        Action::Sweep => "sweep".to_owned(),
        Action::Suspend(how) => format!("suspend {how:?}"),
        Action::Continue => "continue".to_owned(),
        Action::Finish(code) => format!("finish {}", code.number()),
    });
    words.collect::<Vec<_>>().join("; ")
}

/// A machine with a clock of its own.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new(on_exit: OnExit, shares_terminal: bool) -> Bench {
        let now = Instant::now();
        let (machine, first) = Machine::begin(rules(on_exit), shares_terminal, now);
        assert_eq!(short(&first), "spawn 1");
        Bench { machine, now }
    }

    fn after(on_exit: OnExit, inputs: &[Input]) -> Bench {
        let mut bench = Bench::new(on_exit, false);
        for input in inputs {
            bench.step(input.clone());
        }
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.machine.step(input, self.now, 9_000_000)
    }

    fn says(&mut self, input: Input) -> String {
        short(&self.step(input))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

/// How long a child may take to leave, with a grace of 5 s.
const HANGS: Duration = Duration::from_secs(17);

/// Every situation there is: the command runs; it has ended and a change is waited for; it has ended and the delay
/// runs; the delay is over and the child was told to leave; all was told to end; the child has died.
fn situations() -> [(&'static str, Bench); 6] {
    let mut renewing = Bench::after(OnExit::Restart, &[started(), exited(1)]);
    renewing.pass(FIRST_DELAY);
    assert_eq!(renewing.says(Input::Tick), "send stop");
    let mut ending = Bench::after(OnExit::Wait, &[started(), signal(Signal::TERM)]);
    ending.pass(Duration::from_secs(1));
    [
        ("running", Bench::after(OnExit::Wait, &[started()])),
        ("waiting", Bench::after(OnExit::Wait, &[started(), exited(1)])),
        ("delayed", Bench::after(OnExit::Restart, &[started(), exited(1)])),
        ("renewing", renewing),
        ("ending", ending),
        ("down", Bench::after(OnExit::Wait, &[started(), died()])),
    ]
}

#[test]
fn every_input_in_every_situation_leads_to_what_the_table_says() {
    const DIED: &str = "sweep; tell degraded";
    const LOST: &str = "release; sweep; tell degraded";
    const NEXT: &str = "release; spawn 2";
    const LAST: &str = "release; tell finished; finish 143";
    const ASKED: &str = "suspend Asked";
    let waits = "tell exited; tell waiting";
    const UNREAD: &str = "send stop";
    let table: [(Input, [&str; 6]); 31] = [
        // input                              running       waiting       delayed       renewing      ending        down
        (started(), ["tell started"; 6]),
        (watching(), ["tell watching"; 6]),
        (changed(false, Response::Restart), ["tell changed"; 6]),
        (changed(false, Response::Start), ["tell changed"; 6]),
        (changed(false, Response::Signal), ["tell changed"; 6]),
        (stopping(), ["tell stopping"; 6]),
        (stopped(), ["tell stopped"; 6]),
        (degraded(), ["tell degraded"; 6]),
        (exited(3), [waits, waits, waits, "tell exited", "tell exited", "tell exited"]),
        (leaving(ChildEnd::Reload), [NEXT, NEXT, NEXT, NEXT, LAST, NEXT]),
        (leaving(ChildEnd::Ended), [LOST, LOST, LOST, NEXT, LAST, LOST]),
        (leaving(ChildEnd::Failed), [LOST, LOST, LOST, LOST, LAST, LOST]),
        (died(), [DIED, DIED, DIED, DIED, "sweep; tell finished; finish 143", DIED]),
        (signal(Signal::INT), ["send stop", "send stop", "send stop", "", "send stop", "tell finished; finish 130"]),
        (signal(Signal::TERM), ["send stop", "send stop", "send stop", "", "send stop", "tell finished; finish 143"]),
        (signal(Signal::HUP), ["send stop", "send stop", "send stop", "", "send stop", "tell finished; finish 129"]),
        (signal(Signal::QUIT), ["send stop", "send stop", "send stop", "", "send stop", "tell finished; finish 131"]),
        (signal(Signal::USR1), ["send 10"; 6]),
        (signal(Signal::USR2), ["send 12"; 6]),
        (signal(Signal::WINCH), ["send 28"; 6]),
        (signal(Signal::from_number(40).unwrap()), ["send 40"; 6]),
        (signal(Signal::TSTP), [ASKED, ASKED, ASKED, ASKED, "", ASKED]),
        (signal(Signal::CONT), ["continue"; 6]),
        (suspended(), [""; 6]),
        (signal(Signal::CHLD), [""; 6]),
        (Input::Beat(Beat::Steady), [""; 6]),
        (Input::Beat(Beat::Removed), ["send stop", "send stop", "send stop", "", "", "tell finished; finish 0"]),
        (Input::Beat(Beat::Failed(Errno::EROFS)), ["tell degraded"; 6]),
        (Input::Unread { all: false }, ["", UNREAD, UNREAD, "", "", ""]),
        (Input::Unread { all: true }, [UNREAD, UNREAD, UNREAD, "", "", "tell finished; finish 141"]),
        (Input::Tick, [""; 6]),
    ];
    for (input, expected) in &table {
        for ((situation, mut bench), expected) in situations().into_iter().zip(expected) {
            assert_eq!(bench.says(input.clone()), *expected, "{input:?} when {situation}");
        }
    }
}

#[test]
fn the_policy_decides_what_the_commands_own_end_leads_to() {
    let not_found = CommandStatus::NotFound("no such file".into());
    let cannot_run = CommandStatus::CannotRun("it is a directory".into());
    let signaled = CommandStatus::Signaled { signal: 11, name: "SIGSEGV".into(), core: false };
    for (status, code) in [
        (CommandStatus::Exited(0), 0),
        (CommandStatus::Exited(3), 3),
        (signaled, 139),
        (not_found, 127),
        (cannot_run, 126),
    ] {
        let input = Input::Report(Report::Exited { status, ran_ns: 5 });
        let mut bench = Bench::after(OnExit::Exit, &[started()]);
        assert_eq!(bench.says(input.clone()), "tell exited; send stop", "what it left behind is ended first");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), format!("release; tell finished; finish {code}"));

        let mut bench = Bench::after(OnExit::Wait, &[started()]);
        let waiting = bench.step(input.clone());
        assert_eq!(waiting[1], Action::Tell(What::Waiting(WaitingFor::Change)));
        assert_eq!(bench.machine.due(), None);

        let mut bench = Bench::after(OnExit::Restart, &[started()]);
        let waiting = bench.step(input);
        assert_eq!(waiting[1], Action::Tell(What::Waiting(WaitingFor::Delay(FIRST_DELAY))));
        assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY));
    }
}

#[test]
fn the_delay_passes_the_child_is_renewed_and_the_next_delay_is_longer() {
    let mut bench = Bench::new(OnExit::Restart, false);
    for (generation, delay) in [(2, 100), (3, 200), (4, 400)] {
        bench.says(started());
        assert_eq!(bench.says(exited(1)), "tell exited; tell waiting");
        bench.pass(Duration::from_millis(delay - 1));
        assert_eq!(bench.says(Input::Tick), "", "not before its time");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.says(Input::Tick), "send stop");
        assert_eq!(bench.machine.due(), Some(bench.now + HANGS), "it has its time to leave");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), format!("release; spawn {generation}"));
    }
}

#[test]
fn a_change_during_the_delay_starts_at_once_and_makes_the_next_delay_short() {
    let mut bench = Bench::new(OnExit::Restart, false);
    for _ in 0..3 {
        bench.says(started());
        bench.says(exited(1));
        bench.pass(Duration::from_secs(1));
        bench.says(Input::Tick);
        bench.says(leaving(ChildEnd::Ended));
    }
    bench.says(started());
    bench.says(exited(1));
    assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(800)));
    assert_eq!(bench.says(changed(false, Response::Start)), "tell changed");
    assert_eq!(bench.machine.due(), None, "the child leaves by itself");
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; spawn 5");
    bench.says(started());
    bench.says(exited(1));
    assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY));
}

#[test]
fn a_changed_config_file_is_read_before_the_next_child_and_only_then() {
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(true, Response::Restart)]);
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; read config; spawn 2");
    bench.says(started());
    bench.says(changed(false, Response::Restart));
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; spawn 3");
    // Even if the child dies on the way.
    let mut bench = Bench::after(OnExit::Wait, &[started(), changed(true, Response::Restart), died()]);
    bench.pass(FIRST_DELAY);
    assert_eq!(bench.says(Input::Tick), "read config; spawn 2");
    // In either order of two change sets.
    for (first, second) in [(true, false), (false, true)] {
        let inputs = [started(), changed(first, Response::Restart), changed(second, Response::Restart)];
        assert_eq!(
            Bench::after(OnExit::Wait, &inputs).says(leaving(ChildEnd::Reload)),
            "release; read config; spawn 2"
        );
    }
}

#[test]
fn an_adapted_machine_goes_by_the_new_rules() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    bench.machine.adapt(rules(OnExit::Exit));
    assert_eq!(bench.says(exited(4)), "tell exited; send stop");
}

#[test]
fn a_start_tells_what_led_to_it_and_how_long_all_took_once() {
    let mut bench = Bench::new(OnExit::Wait, false);
    let of = |actions: Vec<Action>| match actions.into_iter().next() {
        Some(Action::Tell(What::Started { pid, command, changes, stop_ms, restart_ms })) => {
            (pid, command, changes.len(), stop_ms, restart_ms)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 0, None, None));
    bench.step(changed(false, Response::Restart));
    bench.step(changed(true, Response::Restart));
    bench.step(stopping());
    bench.step(stopped());
    let spawn = bench.step(leaving(ChildEnd::Reload)).pop();
    assert!(matches!(&spawn, Some(Action::Spawn { changes, .. }) if changes.len() == 2), "{spawn:?}");
    // Noticed at 1 ms, started at 9 ms; the stop took 2 ms.
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 2, Some(2.0), Some(8.0)));
    bench.step(leaving(ChildEnd::Reload));
    assert_eq!(of(bench.step(started())), (7, "app".to_owned(), 0, None, None));
}

#[test]
fn a_change_that_only_sends_a_signal_is_not_behind_the_next_start() {
    let mut bench = Bench::new(OnExit::Wait, false);
    bench.machine.adapt(Rules { on_change: OnChange::Signal(Signal::HUP), ..rules(OnExit::Wait) });
    bench.step(started());
    let told = bench.step(changed(false, Response::Signal));
    assert_eq!(told, [Action::Tell(What::Changed { changes: set(false), action: Effect::Signal(Signal::HUP) })]);
    for (response, action) in [(Response::Restart, Effect::Restart), (Response::Start, Effect::Start)] {
        let told = Bench::after(OnExit::Wait, &[started()]).step(changed(false, response));
        assert_eq!(told, [Action::Tell(What::Changed { changes: set(false), action })]);
    }
    let spawn = bench.step(leaving(ChildEnd::Reload)).pop();
    assert!(matches!(&spawn, Some(Action::Spawn { changes, .. }) if changes.is_empty()), "{spawn:?}");
}

#[test]
fn a_child_that_dies_is_replaced_after_a_growing_delay() {
    let mut bench = Bench::new(OnExit::Wait, false);
    for (generation, delay) in [(2, 100), (3, 200), (4, 400)] {
        assert_eq!(bench.says(died()), "sweep; tell degraded");
        assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(delay)));
        bench.pass(Duration::from_millis(delay - 1));
        assert_eq!(bench.says(Input::Tick), "");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.says(Input::Tick), format!("spawn {generation}"));
    }
    bench.pass(Duration::from_secs(60));
    bench.says(died());
    assert_eq!(bench.machine.due(), Some(bench.now + FIRST_DELAY), "a long life begins the series anew");
}

#[test]
fn a_child_that_cannot_be_started_is_tried_again_and_the_first_one_not_for_ever() {
    for ran_before in [false, true] {
        let mut bench = Bench::new(OnExit::Wait, false);
        if ran_before {
            bench.says(started());
        }
        for delay in [100, 200, 400, 800] {
            assert_eq!(bench.says(Input::SpawnFailed(Errno::EAGAIN)), "tell degraded");
            assert_eq!(bench.machine.due(), Some(bench.now + Duration::from_millis(delay)));
            bench.pass(Duration::from_millis(delay));
            assert!(bench.says(Input::Tick).starts_with("spawn"));
        }
        let fifth = bench.says(Input::SpawnFailed(Errno::EAGAIN));
        assert_eq!(fifth, if ran_before { "tell degraded" } else { "tell finished; finish 125" });
    }
}

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
                Action::Tell(What::Finished { code, reason }) => Some((code.number(), reason.as_str())),
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

fn at_the_terminal(on_exit: OnExit) -> Bench {
    let mut bench = Bench::new(on_exit, true);
    bench.step(started());
    bench
}

#[test]
fn what_the_terminal_sent_the_command_has_got_already() {
    for received in [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::USR1] {
        assert_eq!(at_the_terminal(OnExit::Wait).says(from_terminal(received)), "", "{received}");
    }
    assert_eq!(at_the_terminal(OnExit::Wait).says(from_terminal(Signal::HUP)), "send stop", "the terminal is gone");
    // Sent by a process, it came to us alone; and without a terminal in common the command got nothing.
    assert_eq!(at_the_terminal(OnExit::Wait).says(signal(Signal::INT)), "send stop");
    assert_eq!(at_the_terminal(OnExit::Wait).says(signal(Signal::WINCH)), "send 28");
    assert_eq!(Bench::after(OnExit::Wait, &[started()]).says(from_terminal(Signal::INT)), "end line; send stop");
    // Nothing runs that could have got it.
    for inputs in [&[][..], &[started(), exited(0)]] {
        let mut bench = Bench::new(OnExit::Wait, true);
        inputs.iter().for_each(|input| drop(bench.step(input.clone())));
        assert_eq!(bench.says(from_terminal(Signal::INT)), "end line; send stop", "{inputs:?}");
    }
}

#[test]
fn at_the_terminal_reloadrun_stops_when_the_command_has_stopped() {
    let mut bench = at_the_terminal(OnExit::Wait);
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "", "a command may keep Ctrl-Z to itself");
    assert_eq!(bench.says(Input::Tick), "", "it has time");
    bench.pass(Duration::from_secs(1));
    assert!(bench.machine.due().is_some_and(|due| due <= bench.now));
    assert_eq!(bench.says(Input::Tick), "suspend WithStuck(7)");
    assert_eq!(bench.says(Input::Tick), "");
    assert_eq!(bench.says(suspended()), "suspend WithCommand(7)");
    assert_eq!(bench.says(from_terminal(Signal::CONT)), "continue");
    assert_eq!(bench.says(signal(Signal::TSTP)), "suspend Asked", "that went to us, and not to the command");
    bench.says(exited(0));
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "suspend Alone", "nobody else is there");
    bench.says(signal(Signal::TERM));
    assert_eq!(bench.says(suspended()), "", "an end goes on");
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "");
}

#[test]
fn a_command_that_does_not_share_the_terminal_is_stopped_by_us() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "suspend WithTree");
    assert_eq!(bench.says(suspended()), "", "somebody stopped it, but no shell waits for that");
}

fn ends(status: CommandStatus) -> Input {
    Input::Report(Report::Exited { status, ran_ns: 5 })
}

fn killed_by(signal: Signal) -> CommandStatus {
    CommandStatus::Signaled { signal: signal.number(), name: signal.to_string(), core: false }
}

/// The table of the guide, "The terminal": what the command's own end means after a key that it got.
#[test]
fn an_end_is_put_down_to_the_key_before_it_or_not() {
    const YES: bool = true;
    const NO: bool = false;
    let (int, quit) = (Signal::INT, Signal::QUIT);
    let ms = Duration::from_millis(1);
    let hour = Duration::from_secs(3600);
    let exited = CommandStatus::Exited;
    for (key, after, status, is_why) in [
        // `sleep`, `cat`: at once. A script with a trap, gunicorn, uvicorn: at once or after a while, with any code.
        (int, Duration::ZERO, killed_by(int), YES),
        (int, 7000 * ms, exited(0), YES),
        (int, CLEANING_UP, exited(1), YES),
        // A REPL lives on, and is left much later.
        (int, CLEANING_UP + ms, exited(0), NO),
        (int, CLEANING_UP + ms, killed_by(Signal::from_number(11).unwrap()), NO),
        // The signal itself is never anything else; a shell says it with 130.
        (int, hour, killed_by(int), YES),
        (int, hour, exited(130), YES),
        // A core is dumped, or threads and then an end, as with Go; a thread dump as with Java is none.
        (quit, Duration::ZERO, killed_by(quit), YES),
        (quit, hour, killed_by(quit), YES),
        (quit, hour, exited(131), YES),
        (quit, DUMPING, exited(2), YES),
        (quit, DUMPING + ms, exited(2), NO),
        (quit, 7000 * ms, killed_by(int), NO),
    ] {
        for on_exit in [OnExit::Wait, OnExit::Exit, OnExit::Restart] {
            let mut bench = at_the_terminal(on_exit);
            assert_eq!(bench.says(from_terminal(key)), "");
            bench.pass(after);
            let says = bench.says(ends(status.clone()));
            let context = format!("{status:?} {after:?} after {key}, {on_exit:?}: {says}");
            if is_why {
                let newline = if status.is_of(key.number()) { "end line; " } else { "" };
                assert_eq!(says, format!("{newline}tell exited; send stop"), "{context}");
                let code = 128 + key.number();
                let last = bench.says(leaving(ChildEnd::Ended));
                assert_eq!(last, format!("release; tell finished; finish {code}"), "{context}");
            } else if on_exit != OnExit::Exit {
                assert_eq!(says, "tell exited; tell waiting", "{context}");
            }
        }
    }
    // A longer stop timeout is patience for a clean-up too.
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.machine.adapt(Rules { stop_timeout: 2 * CLEANING_UP, ..rules(OnExit::Wait) });
    bench.says(from_terminal(int));
    bench.pass(2 * CLEANING_UP);
    assert_eq!(bench.says(ends(exited(0))), "tell exited; send stop");
}

#[test]
fn a_save_after_a_ctrl_c_that_the_command_has_outlived_restarts_as_always() {
    for (after, last) in [
        // Both at once: the Ctrl-C was meant for all of it.
        (Duration::ZERO, "release; tell finished; finish 130"),
        (TAKEN, "release; tell finished; finish 130"),
        (TAKEN + Duration::from_millis(1), "release; spawn 2"),
        (Duration::from_secs(4), "release; spawn 2"),
    ] {
        let mut bench = at_the_terminal(OnExit::Wait);
        assert_eq!(bench.says(from_terminal(Signal::INT)), "");
        bench.pass(after);
        bench.says(changed(false, Response::Restart));
        bench.says(stopping());
        bench.says(stopped());
        assert_eq!(bench.says(leaving(ChildEnd::Reload)), last, "{after:?}");
    }
    // A signal instead of a restart is the reason of an end, too.
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.says(from_terminal(Signal::INT));
    bench.pass(Duration::from_secs(4));
    bench.says(changed(false, Response::Signal));
    assert_eq!(bench.says(exited(0)), "tell exited; tell waiting");
    // And so is a new generation.
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.says(from_terminal(Signal::QUIT));
    bench.says(leaving(ChildEnd::Reload));
    bench.says(started());
    assert_eq!(bench.says(exited(0)), "tell exited; tell waiting");
}

#[test]
fn two_ctrl_c_end_a_command_that_keeps_them_to_itself() {
    let mut bench = at_the_terminal(OnExit::Wait);
    assert_eq!(bench.says(from_terminal(Signal::INT)), "");
    bench.pass(TWICE + Duration::from_millis(1));
    assert_eq!(bench.says(from_terminal(Signal::INT)), "", "too long after the first");
    bench.pass(TWICE);
    assert_eq!(bench.says(from_terminal(Signal::INT)), "send stop; send stop", "with KILL");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; finish 130");
}

#[test]
fn ctrl_backslash_at_the_terminal_is_the_commands_whatever_happens() {
    let mut bench = at_the_terminal(OnExit::Wait);
    for _ in 0..3 {
        assert_eq!(bench.says(from_terminal(Signal::QUIT)), "", "one thread dump after another");
    }
    assert_eq!(bench.says(from_terminal(Signal::INT)), "", "and it is no first Ctrl-C either");
    assert_eq!(bench.says(from_terminal(Signal::QUIT)), "");
    assert_eq!(bench.says(exited(0)), "tell exited; send stop", "the Ctrl-C is not forgotten over it");
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.says(signal(Signal::TERM));
    assert_eq!(bench.says(from_terminal(Signal::QUIT)), "", "why does it not end? No second request");
    let mut bench = at_the_terminal(OnExit::Wait);
    bench.says(changed(false, Response::Restart));
    bench.says(from_terminal(Signal::QUIT));
    bench.says(stopped());
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; spawn 2");
    assert_eq!(at_the_terminal(OnExit::Wait).says(signal(Signal::QUIT)), "send stop", "from a process it means us");
}

#[test]
fn output_that_nobody_reads_ends_what_has_ended() {
    for on_exit in [OnExit::Wait, OnExit::Restart] {
        let mut bench = Bench::after(on_exit, &[started(), Input::Unread { all: false }]);
        assert_eq!(bench.says(ends(killed_by(Signal::from_number(13).unwrap()))), "tell exited; send stop");
        assert_eq!(bench.says(Input::Unread { all: true }), "", "it is no second request");
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; finish 141");
        let mut bench = Bench::after(on_exit, &[started(), exited(4), Input::Unread { all: false }]);
        assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; finish 4");
    }
    let mut bench = Bench::after(OnExit::Wait, &[started(), Input::Unread { all: false }]);
    bench.says(changed(false, Response::Restart));
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; spawn 2", "it may have nothing to say");
}

#[test]
fn a_ctrl_c_while_all_is_ending_is_a_second_request() {
    let mut bench = at_the_terminal(OnExit::Wait);
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    assert_eq!(bench.says(from_terminal(Signal::INT)), "send stop");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; finish 143");
}

/// A machine whose command is restarted for files of its own, each time within 2 s: what is said at each.
fn series(count: u64, kind: ChangeKind, response: Response) -> (Bench, Vec<String>) {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    let said = (0..count).map(|number| {
        let path = format!("/out/{}", if kind == ChangeKind::Created { number } else { 0 });
        let change = Change { path: path.into(), kind, ..set(false).iter().next().expect("one").clone() };
        let changes = ChangeSet::new([change]);
        let report = Report::Changed { changes, noticed_ns: 1_000_000, quiet: Duration::ZERO, response };
        let said = bench.says(Input::Report(report));
        bench.step(leaving(ChildEnd::Reload));
        bench.step(started());
        said
    });
    let said = said.collect();
    (bench, said)
}

#[test]
fn a_series_is_told_after_its_change_once_at_the_sixth_or_the_tenth() {
    for response in [Response::Restart, Response::Start] {
        for (kind, at) in [(ChangeKind::Created, 6), (ChangeKind::Modified, 10)] {
            let (_, said) = series(20, kind, response);
            for (index, said) in said.iter().enumerate() {
                let expected = if index + 1 == at {
                    format!("tell changed; tell series of {at}")
                } else {
                    "tell changed".to_owned()
                };
                assert_eq!(*said, expected, "restart {} for {kind} files", index + 1);
            }
        }
    }
}

#[test]
fn signals_are_no_series() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    for _ in 0..70 {
        assert_eq!(bench.says(changed(false, Response::Signal)), "tell changed");
    }
    assert!(!bench.machine.damping().is_in_series());
}

#[test]
fn the_next_child_knows_what_waits_until_the_settings_change() {
    let (mut bench, _) = series(8, ChangeKind::Created, Response::Restart);
    let next = Change { path: "/out/0".into(), ..set(false).iter().next().expect("one").clone() };
    assert_eq!(bench.machine.damping().wait([&next]), Some(Duration::from_secs(4)));
    bench.machine.adapt(rules(OnExit::Wait));
    assert_eq!(bench.machine.damping().wait([&next]), None);
}

#[test]
fn a_save_during_the_stop_is_no_restart_of_its_own() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    for _ in 0..20 {
        assert_eq!(bench.says(changed(false, Response::Restart)), "tell changed");
    }
}

fn any_child_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(started()),
        1 => Just(watching()),
        2 => (any::<bool>(), 0..3usize).prop_map(|(config, response)| {
            changed(config, [Response::Restart, Response::Signal, Response::Start][response])
        }),
        1 => Just(stopping()),
        1 => Just(stopped()),
        3 => any::<u8>().prop_map(exited),
        1 => Just(degraded()),
        2 => (0..3usize).prop_map(|end| leaving([ChildEnd::Reload, ChildEnd::Ended, ChildEnd::Failed][end])),
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
        1 => Just(Input::Beat(Beat::Removed)),
        1 => Just(Input::Beat(Beat::Steady)),
        1 => Just(Input::Beat(Beat::Failed(Errno::EROFS))),
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
        Input::Beat(Beat::Removed) => Some(0),
        Input::Signal(Received { signal: Signal::TERM | Signal::HUP, .. }) => Some(of_signal(input)),
        Input::Signal(Received { signal: Signal::INT | Signal::QUIT, from_terminal, .. }) => {
            (!(*from_terminal && shares_terminal)).then(|| of_signal(input))
        }
        _ => None,
    }
}

fn of_signal(input: &Input) -> u8 {
    let Input::Signal(received) = input else { unreachable!("only called for signals") };
    128 + u8::try_from(received.signal.number()).unwrap()
}

fn is_end_of_child(input: &Input) -> bool {
    matches!(input, Input::ChildDied(_) | Input::SpawnFailed(_) | Input::Report(Report::Leaving { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_in_whatever_order_is_a_panic_and_every_child_ends_before_the_next(
        (on_exit, shares) in any_rules(),
        inputs in proptest::collection::vec(
            (prop_oneof![any_child_input(), any_outside_input(), Just(Input::SpawnFailed(Errno::EAGAIN))], 0u64..3000), 0..60,
        ),
    ) {
        let mut bench = Bench::new(on_exit, shares);
        let mut ended = false;
        for (input, pause) in inputs {
            bench.pass(Duration::from_millis(pause));
            ended |= is_end_of_child(&input);
            let actions = bench.step(input);
            for action in &actions {
                if matches!(action, Action::Spawn { .. }) {
                    prop_assert!(ended, "a second child beside the first: {actions:?}");
                    ended = false;
                }
            }
            let _ = bench.machine.due();
            if actions.iter().any(|action| matches!(action, Action::Finish(_))) {
                break;
            }
        }
    }

    /// As in real life: what comes from a child comes only while there is one, and its end is the last of it.
    #[test]
    fn one_child_at_a_time_and_an_end_asked_for_comes_as_soon_as_the_child_has_left(
        (on_exit, shares) in any_rules(),
        steps in proptest::collection::vec((any_child_input(), any_outside_input(), any::<bool>(), any::<bool>(), 0u64..3000), 0..60),
    ) {
        let mut bench = Bench::new(on_exit, shares);
        let (mut alive, mut asked, mut generation) = (true, None, 1);
        'life: for (from_child, from_outside, turn, can_spawn, pause) in steps {
            bench.pass(Duration::from_millis(pause));
            let mut next = Some(if alive && turn { from_child } else { from_outside });
            while let Some(input) = next.take() {
                alive &= !is_end_of_child(&input);
                asked = asked.or(end_code(&input, shares));
                let actions = bench.step(input);
                let mut finished = None;
                for action in &actions {
                    match action {
                        Action::Spawn { generation: next_one, .. } => {
                            prop_assert!(!alive, "two children: {actions:?}");
                            prop_assert!(asked.is_none(), "a start after an end was asked for: {actions:?}");
                            generation += 1;
                            prop_assert_eq!(next_one.number(), generation);
                            alive = can_spawn;
                            if !can_spawn {
                                next = Some(Input::SpawnFailed(Errno::EAGAIN));
                            }
                        }
                        Action::Finish(code) => finished = Some(code.number()),
                        // Whatever is left of a child that does not answer.
                        Action::Sweep => alive = false,
                        _ => {}
                    }
                }
                if let Some(code) = finished {
                    prop_assert!(!alive, "it ends, and the child lives: {actions:?}");
                    if let Some(asked) = asked && on_exit != OnExit::Exit && !shares {
                        prop_assert_eq!(code, asked, "the first to ask decides the code");
                    }
                    prop_assert_eq!(actions.last(), Some(&Action::Finish(crate::exit_code::CommandStatus::Exited(code).code())));
                    break 'life;
                }
                prop_assert!(asked.is_none() || alive, "the child has left, and it does not end");
                let bounded = bench.machine.due().is_some_and(|due| due <= bench.now + HANGS);
                prop_assert!(asked.is_none() || bounded, "an end that was asked for is bounded");
            }
        }
    }
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
    assert_eq!(bench.says(Input::Tick), "sweep; tell finished; finish 143");
}

#[test]
fn a_ctrl_c_during_a_stop_for_a_change_is_the_end() {
    let mut bench = Bench::new(OnExit::Wait, true);
    bench.step(started());
    bench.step(changed(false, Response::Restart));
    let pressed = Received { signal: Signal::INT, from_terminal: true, sender: 0 };
    assert_eq!(bench.says(Input::Signal(pressed)), "", "the command has got it");
    bench.step(stopped());
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; tell finished; finish 130");
}

#[test]
fn what_lasts_is_told_once_over_all_generations_and_again_after_the_settings_changed() {
    let lasting = |held: usize| {
        Input::Report(Report::Degraded(Degraded::WatchLimit { limit: None, held, interval: Duration::from_secs(1) }))
    };
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(lasting(5)), "tell degraded");
    assert_eq!(bench.says(lasting(5)), "");
    bench.says(changed(false, Response::Restart));
    bench.says(leaving(ChildEnd::Reload));
    assert_eq!(bench.says(lasting(6)), "");
    assert_eq!(bench.says(degraded()), "tell degraded", "what happens now is news each time");
    assert_eq!(bench.says(degraded()), "tell degraded");
    bench.says(changed(true, Response::Restart));
    bench.says(leaving(ChildEnd::Reload));
    assert_eq!(bench.says(lasting(5)), "tell degraded");
}
