//! `probe heard FILE ENDS_ON...`: records the signals that it gets, one per line, in order.
//!
//! The first line is `ready`. A signal in ENDS_ON ends it, with 0; the others do not. It handles HUP INT QUIT USR1 USR2
//! TERM CONT WINCH; TSTP has its default action.

use std::env::ArgsOs;
use std::fs::{File, OpenOptions};
use std::io::Write;

use nix::sys::signal::{SigSet, Signal};

use super::Ended;

const HEARD: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Records signals until one of them ends it.
pub fn run(mut words: ArgsOs) -> Ended {
    let set: SigSet = HEARD.into_iter().collect();
    set.thread_block().map_err(|errno| errno.to_string())?;
    let path = words.next().ok_or("heard needs a FILE")?;
    let ends_on: Vec<_> = words.collect();
    let opened = OpenOptions::new().append(true).create(true).open(&path);
    let mut file = opened.map_err(|error| format!("cannot append to {}: {error}", path.display()))?;
    note(&mut file, "ready")?;
    loop {
        let signal = set.wait().map_err(|errno| errno.to_string())?;
        let name = signal.as_str().trim_start_matches("SIG");
        note(&mut file, name)?;
        if ends_on.iter().any(|word| word == name) {
            return Ok(());
        }
    }
}

fn note(file: &mut File, word: &str) -> Ended {
    file.write_all(format!("{word}\n").as_bytes()).map_err(|error| error.to_string())
}
