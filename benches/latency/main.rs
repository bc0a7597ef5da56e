//! How long a save, a start and doing nothing take: reloadrun against the least that restarts a command
//! (`tests/probe/floor.rs`) and against other programs. `docs/benchmarks.md` says what each row means.

mod rows;
#[allow(dead_code, reason = "another benchmark uses the rest")]
#[path = "../shared/mod.rs"]
mod shared;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rows::{Bench, Counts};
use shared::contender::Contender;
use shared::machine::Load;
use shared::stamps::StampProgram;
use shared::tree::Tree;
use shared::{Result, circumstances, tell};
use table::Table;

const PEERS: [&str; 4] = ["watchexec", "entr", "nodemon", "watchfiles"];

const GROUPS: [&str; 6] = ["save", "start", "edit", "burst", "large", "idle"];

const USAGE: &str = "\
cargo bench --bench latency -- [OPTION]... [GROUP]...

Groups: save, start, edit, burst, large, idle; all of them if none is given.

  --quick          a minute: few of each, and a tenth of the large tree
  --peers          say how to get the other programs that are not installed
  --against FILE   measure another build of reloadrun as well
  --check          exit 1 if a goal is missed by more than twice
  --keep           keep the large tree in the temporary directory and use it again
  --write          put this run into docs/benchmarks.md";

fn main() -> ExitCode {
    match Options::of_process().and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("latency: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    if options.help {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    if options.peers {
        Contender::how_to_get_peers(&PEERS).iter().for_each(|sentence| println!("{sentence}"));
    }
    let stamp = StampProgram::build()?;
    let mut contenders = vec![Contender::floor(), Contender::reloadrun()];
    contenders.extend(options.against.as_deref().map(Contender::other_build));
    contenders.extend(Contender::peers(&PEERS));
    let counts = if options.quick { Counts::QUICK } else { Counts::FULL };
    let mut load = Load::default();
    let mut table = Table::begin();
    let large = options.wants_any(&["start", "edit", "large", "idle"]);
    let large = if large { Some(Tree::large(options.keep, options.quick)?) } else { None };
    let small = Tree::small()?;
    let mut bench = Bench { stamp: &stamp, counts, contenders: &contenders, table: &mut table };
    for group in GROUPS.into_iter().filter(|group| options.wants_any(&[group])) {
        load.look()?;
        match (group, &large) {
            ("save", _) => bench.saves()?,
            ("burst", _) => bench.bursts()?,
            ("start", Some(large)) => {
                bench.starts(&small, counts.starts)?;
                bench.starts(large, counts.large_starts)?;
            }
            ("edit", Some(large)) => bench.early_edits(large)?,
            ("large", Some(large)) => bench.large_saves(large)?,
            ("idle", Some(large)) => {
                bench.idle(&small, 3.0)?;
                bench.idle(large, 12.0)?;
            }
            _ => {}
        }
    }
    load.look()?;
    let about = about(&stamp, &load, options.quick);
    println!("\n{about}");
    if let (sentence, true) = load.shown() {
        eprintln!("latency: warning: {sentence}");
    }
    if options.write {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
        table.write_into(Path::new(document), &about)?;
    }
    Ok(if options.check && table.far_over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// When, on what and how, for whoever reads the table later.
fn about(stamp: &StampProgram, load: &Load, quick: bool) -> String {
    let quick = if quick { " A quick run: few samples, and a tenth of the large tree." } else { "" };
    format!("{}{quick} {}", circumstances(stamp), load.shown().0)
}

/// What was asked for on the command line.
#[derive(Default)]
struct Options {
    help: bool,
    quick: bool,
    peers: bool,
    check: bool,
    keep: bool,
    write: bool,
    against: Option<PathBuf>,
    groups: Vec<String>,
}

impl Options {
    fn of_process() -> Result<Options> {
        let mut options = Options::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" => options.help = true,
                "--quick" => options.quick = true,
                "--peers" => options.peers = true,
                "--check" => options.check = true,
                "--keep" => options.keep = true,
                "--write" => options.write = true,
                "--against" => {
                    let file = PathBuf::from(words.next().ok_or("--against needs a FILE")?);
                    options.against = Some(tell("find", &file, file.canonicalize())?);
                }
                // Cargo says so to every benchmark.
                "--bench" => {}
                group if GROUPS.contains(&group) => options.groups.push(word),
                _ => return Err(format!("'{word}' is not known; expected\n{USAGE}")),
            }
        }
        Ok(options)
    }

    fn wants_any(&self, groups: &[&str]) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|wanted| groups.contains(&wanted.as_str()))
    }
}
