//! `probe heard FILE ENDS_ON...`: writes down which signals it hears, each on a line, in their order.
//!
//! The first line is `ready`. Of the signals in ENDS_ON it ends, with 0; it outlives the others. The heard ones are
//! HUP INT QUIT USR1 USR2 TERM CONT WINCH; TSTP has its default action.

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

/// Listens until a signal ends it.
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
