//! What the keys of the terminal mean.

use super::bench::{
    Bench, at_the_terminal, changed, ends, exited, from_terminal, killed_by, leaving, rules, seen, signal, started,
    stopped, stopping, suspended,
};
use crate::config::OnExit;
use crate::exit_code::{ChildEnd, CommandStatus};
use crate::os::signals::Signal;
use crate::protocol::Response;
use crate::supervisor::life::{CLEANING_UP, DUMPING, TAKEN, TWICE};
use crate::supervisor::machine::{Input, Rules};
use std::time::Duration;

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
    bench.tree = vec![seen(7, 'D'), seen(8, 'T')];
    assert_eq!(bench.says(Input::Tick), "look; stop as a job");
    assert_eq!(bench.says(Input::Tick), "");
    bench.tree = vec![seen(7, 'T')];
    assert_eq!(bench.says(suspended()), "look; stop as a job");
    assert_eq!(bench.says(from_terminal(Signal::CONT)), "look");
    assert_eq!(bench.says(signal(Signal::TSTP)), "look; stop for certain", "that went to us, and not to the command");
    bench.says(exited(0));
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "stop as a job", "nobody else is there");
    bench.says(signal(Signal::TERM));
    assert_eq!(bench.says(suspended()), "", "an end goes on");
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "");
}

#[test]
fn a_command_that_does_not_share_the_terminal_is_stopped_by_us() {
    let mut bench = Bench::after(OnExit::Wait, &[started()]);
    assert_eq!(bench.says(from_terminal(Signal::TSTP)), "look; stop as a job; look; SIGCONT to 7");
    assert_eq!(bench.says(suspended()), "", "somebody stopped it, but no shell waits for that");
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
                assert_eq!(last, format!("release; tell finished; sweep; finish {code}"), "{context}");
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
        (Duration::ZERO, "release; dismiss 2; tell finished; sweep; finish 130"),
        (TAKEN, "release; dismiss 2; tell finished; sweep; finish 130"),
        (TAKEN + Duration::from_millis(1), "release; start 2"),
        (Duration::from_secs(4), "release; start 2"),
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
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 130");
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
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; fork 2; start 2");
    assert_eq!(at_the_terminal(OnExit::Wait).says(signal(Signal::QUIT)), "send stop", "from a process it means us");
}

#[test]
fn a_ctrl_c_while_all_is_ending_is_a_second_request() {
    let mut bench = at_the_terminal(OnExit::Wait);
    assert_eq!(bench.says(signal(Signal::TERM)), "send stop");
    assert_eq!(bench.says(from_terminal(Signal::INT)), "send stop");
    assert_eq!(bench.says(leaving(ChildEnd::Ended)), "release; tell finished; sweep; finish 143");
}

#[test]
fn a_ctrl_c_during_a_stop_for_a_change_is_the_end() {
    let mut bench = Bench::new(OnExit::Wait, true);
    bench.step(started());
    bench.step(changed(false, Response::Restart));
    assert_eq!(bench.says(from_terminal(Signal::INT)), "", "the command has got it");
    bench.step(stopped());
    assert_eq!(bench.says(leaving(ChildEnd::Reload)), "release; tell finished; sweep; finish 130");
}
