//! reloadrun and other programs that restart a command, side by side in one run: the table in README.md.
//! `docs/benchmarks.md` says what each row means.

mod place;
mod rows;
#[allow(dead_code, reason = "another benchmark uses the rest")]
#[path = "../shared/mod.rs"]
mod shared;
mod sheet;
mod waits;

use std::path::Path;
use std::process::ExitCode;

use rows::{Bench, Counts};
use shared::contender::Contender;
use shared::machine::Load;
use shared::stamps::StampProgram;
use shared::{Result, circumstances, tell, write_between};
use sheet::Sheet;

const USAGE: &str = "\
cargo bench --bench comparison -- [OPTION]...

  --quick   few of each
  --write   put this run into README.md";

const PEERS: [&str; 6] = ["watchexec", "watchexec, tuned", "entr", "nodemon", "watchfiles", "watchmedo"];

const PLACE: [&str; 2] = [
    "<!-- The table is written by `cargo bench --bench comparison -- --write`. -->\n",
    "<!-- The end of what is written. -->\n",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("comparison: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut quick, mut write) = (false, false);
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            "--quick" => quick = true,
            "--write" => write = true,
            // Cargo says so to every benchmark.
            "--bench" => {}
            _ => return Err(format!("'{word}' is not known; expected\n{USAGE}")),
        }
    }
    ensure_commands_can_be_interrupted()?;
    let absent = Contender::how_to_get_peers(&PEERS);
    absent.iter().for_each(|sentence| println!("{sentence}"));
    let stamp = StampProgram::build()?;
    let contenders = [vec![Contender::floor(), Contender::reloadrun()], Contender::peers(&PEERS)].concat();
    let tools = &contenders[1..];
    let counts = if quick { Counts::QUICK } else { Counts::FULL };
    let (mut load, mut sheet) = (Load::default(), Sheet::begin(tools));
    load.look()?;
    let mut bench = Bench { stamp: &stamp, counts, contenders: &contenders, sheet: &mut sheet };
    bench.saves()?;
    bench.starts()?;
    load.look()?;
    bench.bursts()?;
    let waited = waits::measure(tools, &stamp)?;
    for (row, what) in waits::ROWS.into_iter().enumerate() {
        sheet.add(what.to_owned(), waited.iter().map(|cells| cells[row].clone()));
    }
    sheet.add_known();
    load.look()?;
    let mut about = format!("{} {} {}.", circumstances(&stamp), load.shown().0, rows::versions(tools));
    if quick {
        about.push_str(" A quick run: few of each.");
    }
    println!("\n{about}");
    if write {
        let document = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
        write_between(document, PLACE, &format!("{}\nMeasured on {about}\n\n", sheet.shown()))?;
    }
    Ok(())
}

/// Two of the tools ask a command to end with SIGINT, which a job in the background of a script ignores, and its
/// children with it.
fn ensure_commands_can_be_interrupted() -> Result<()> {
    let path = Path::new("/proc/self/status");
    let text = tell("read", path, std::fs::read_to_string(path))?;
    let ignored = text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let interrupt = 1 << (nix::sys::signal::Signal::SIGINT as u32 - 1);
    match ignored {
        Some(ignored) if ignored & interrupt == 0 => Ok(()),
        Some(_) => {
            Err("SIGINT is ignored here, as in the background of a script; start it in the foreground".to_owned())
        }
        None => Err("cannot understand /proc/self/status".to_owned()),
    }
}
