//! Every signal from 1 to 64, sent to the running program: the effect is as in `docs/signals.md`.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use super::ends::pid_of;
use crate::support::session::{is_alive, signal};
use crate::support::{Sandbox, Session};

/// Prints the number of every signal that it gets, and ends on TERM. Python refuses handlers for 32 and 33, so these
/// would kill it. Written in Python because of the real-time signals.
const HEARS: &str = "
import signal, sys
heard = {number for number in range(1, 65) if number not in (9, 17, 18, 19, 32, 33)}
signal.pthread_sigmask(signal.SIG_BLOCK, heard)
print('ready', flush=True)
while True:
    number = int(signal.sigwait(heard))
    if number == 15: sys.exit()
    print(number, flush=True)
";

/// A fence: when it arrives, all effects of earlier signals have happened.
const FENCE: i32 = 10;

/// Number and meaning of each signal in the documented table.
fn table() -> Vec<(i32, String)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/signals.md")).expect("it exists");
    let rows = text.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(char::is_numeric));
    let table: Vec<(i32, String)> = rows
        .flat_map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let mut bounds = cells[1].split('-').map(|number| number.parse::<i32>().expect("a number"));
            let first = bounds.next().expect("a number");
            let last = bounds.next().unwrap_or(first);
            (first..=last).map(|number| (number, cells[3].to_owned())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(table.iter().map(|row| row.0).collect::<Vec<_>>(), (1..=64).collect::<Vec<_>>());
    table
}

fn listening() -> (Sandbox, Session) {
    let sandbox = Sandbox::new();
    let mut session = sandbox.start(["-w", "app.txt", "--", "python3", "-c", HEARS]);
    session.wait_armed(1);
    session.wait_until("the command", || session.stdout() == "ready\n");
    (sandbox, session)
}

#[test]
fn every_signal_to_the_supervisor_does_what_the_table_says() {
    let (_sandbox, session) = listening();
    let mut heard = "ready\n".to_owned();
    for (number, meaning) in table() {
        match meaning.as_str() {
            // This signal is the fence.
            "passed on" if number == FENCE => continue,
            "passed on" => heard += &format!("{number}\n"),
            "ignored" => {}
            _ => continue,
        }
        for number in [number, FENCE] {
            signal(session.pid(), &number.to_string());
            if number == FENCE {
                heard += "10\n";
            }
            let expected = &heard;
            session.wait_until(&format!("{expected:?} after {number}"), || session.stdout() == *expected);
        }
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("started"), 1, "{ended:#?}");
    for (number, meaning) in table() {
        let ends_with = meaning.rsplit_once("with ").and_then(|(_, code)| code.parse().ok());
        if ends_with.is_none() && meaning != "crash" {
            assert!(["passed on", "ignored", "our own", "the kernel's"].contains(&meaning.as_str()), "{meaning}");
            continue;
        }
        let (_sandbox, session) = listening();
        let command = pid_of(&session.events()[0]);
        signal(session.pid(), &number.to_string());
        let status = session.wait_end().status;
        match ends_with {
            Some(code) => assert_eq!(status.code(), Some(code), "{number}"),
            None => assert_eq!(status.signal(), Some(number)),
        }
        let until = std::time::Instant::now() + crate::support::session::DEADLINE;
        while is_alive(command) {
            assert!(std::time::Instant::now() < until, "the command outlives a reloadrun that got {number}");
            std::thread::sleep(std::time::Duration::from_millis(4));
        }
    }
}

#[test]
fn every_signal_to_the_child_is_ignored_or_ends_in_the_next_generation() {
    let ends_it = |row: &(i32, String)| row.1 == "crash" || [1, 2, 9, 15].contains(&row.0);
    let table: Vec<_> = table().into_iter().filter(|row| ![17, 18, 19, 20].contains(&row.0)).collect();
    let (_sandbox, session) = listening();
    let mut expected = "ready\n".to_owned();
    for (number, _) in table.iter().filter(|row| !ends_it(row)) {
        signal(session.child_pid(), &number.to_string());
        // A fence: if the signal has ended the child, this reaches no command.
        session.signal("USR1");
        expected += "10\n";
        session.wait_until(&format!("{expected:?} after {number}"), || session.stdout() == expected);
    }
    let ended = session.stop();
    ended.assert_code(143);
    assert_eq!(ended.count("started"), 1, "{ended:#?}");
    // The delay before a start grows with each death of a child, so each signal gets its own session.
    for (number, _) in table.iter().filter(|row| ends_it(row)) {
        let (_sandbox, mut session) = listening();
        signal(session.child_pid(), &number.to_string());
        let degraded = session.wait("degraded");
        assert_eq!(degraded["kind"], "child_died", "{number}: {degraded}");
        session.wait_armed(2);
        session.stop().assert_code(143);
    }
}
