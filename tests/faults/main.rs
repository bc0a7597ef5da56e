//! Random faults: commands with process trees of all kinds, and at random moments a signal to one or two of the
//! processes. A second later either everything runs again correctly, or no process is left. `docs/faults.md` describes
//! its use.

mod fault;
mod options;
mod round;
mod session;
mod tally;

#[path = "../torture/pause.rs"]
mod pause;
#[path = "../torture/random.rs"]
mod random;

use std::process::ExitCode;
use std::time::Instant;

use nix::sys::signal::{SigHandler, Signal};

use options::{Options, ROUND, Wanted};
use round::Round;
use tally::Tally;

/// The run stops after this many failures.
const ENOUGH: usize = 12;

fn main() -> ExitCode {
    // In the background of a script these are ignored, and the kernel drops one that comes before reloadrun listens.
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    match Options::of_process() {
        Ok(Wanted::Run(options)) => run_all(&options),
        Ok(Wanted::List) => {
            println!("faults: test");
            ExitCode::SUCCESS
        }
        Ok(Wanted::Nothing) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("faults: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run_all(options: &Options) -> ExitCode {
    println!("faults: seed {}", options.seed);
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut seed = options.seed;
    while tally.faults < options.faults && began.elapsed() < options.time && tally.failed() < ENOUGH {
        let faults = ROUND.min(options.faults - tally.faults);
        match Round::begin(options, seed) {
            Ok(mut round) => {
                round.play(faults, began + options.time);
                tally.add(round.tally());
            }
            Err(error) => {
                eprintln!("faults: seed {seed}: cannot begin: {error}");
                tally.broken += 1;
            }
        }
        seed = seed.wrapping_add(1);
    }
    print!("{tally}");
    println!("faults: {} passed, {} failed", tally.passed, tally.failed());
    if tally.failed() == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
