//! All rounds of one backend, each with its own tree, session and seed.

use std::time::Instant;

use crate::options::{Options, ROUND};
use crate::round::{Round, Tally};

/// The run stops after this many failures.
const ENOUGH: usize = 12;

/// Runs rounds with one backend, as long as the options say.
pub fn run(options: &Options, backend: &'static str) -> Tally {
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut seed = options.seed;
    while tally.edits < options.edits && began.elapsed() < options.time && tally.failed() < ENOUGH {
        let end = began + options.time;
        let edits = ROUND.min(options.edits - tally.edits);
        match Round::begin(options, backend, seed) {
            Ok(mut round) => {
                round.play(edits, end);
                tally.add(&round.tally);
            }
            Err(error) => {
                eprintln!("torture: {backend}, seed {seed}: cannot begin: {error}");
                tally.broken += 1;
            }
        }
        seed = seed.wrapping_add(1);
    }
    tally
}
