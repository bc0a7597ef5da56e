//! Probes: small compiled programs for tests and benchmarks, chosen by the first argument. A shell would hide
//! signal masks, and its start would take longer than the measured times.
//!
//! To add one: a module with a `run` that takes the words after its name, and a line in [`SPECIMENS`].

mod contents;
mod floor;
mod headless;
mod heard;
mod listenfd;
mod mirror;
mod record;
mod rooted;
mod storm;
mod tree;

use std::env::ArgsOs;
use std::process::ExitCode;

/// A probe returns to exit with 0, or with a message why it cannot continue.
type Ended = Result<(), String>;

struct Specimen {
    name: &'static str,
    words: &'static str,
    run: fn(ArgsOs) -> Ended,
}

const SPECIMENS: [Specimen; 11] = [
    Specimen { name: "floor", words: "DIR -- COMMAND [ARGUMENT]...", run: floor::run },
    Specimen { name: "headless", words: "FILE", run: headless::run },
    Specimen { name: "heard", words: "FILE ENDS_ON...", run: heard::run },
    Specimen { name: "listenfd", words: "", run: listenfd::run },
    Specimen { name: "mirror", words: "DIR, with /dev/fuse as standard input", run: mirror::run },
    Specimen { name: "opens", words: "FILE COUNT", run: storm::opens },
    Specimen { name: "record", words: "LOG SLOW_STOP_MS DIR...", run: record::run },
    Specimen { name: "rooted", words: "FILE", run: rooted::run },
    Specimen { name: "storm", words: "DIR", run: storm::run },
    Specimen { name: "timed", words: "COMMAND [ARGUMENT]...", run: storm::timed },
    Specimen { name: "tree", words: "DIR PORT SLOW_STOP_MS MEMBER...", run: tree::run },
];

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.nth(1).unwrap_or_default();
    let ended = match SPECIMENS.iter().find(|specimen| name == specimen.name) {
        Some(specimen) => (specimen.run)(words),
        None => Err(usage()),
    };
    if let Err(sentence) = ended {
        eprintln!("probe: {sentence}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn usage() -> String {
    let lines: Vec<String> = SPECIMENS.iter().map(|one| format!("  probe {} {}", one.name, one.words)).collect();
    format!("expected one of\n{}", lines.join("\n"))
}
