//! What the benchmarks share: who is measured, the command that is started, the tree that is saved to, and samples.

pub mod contender;
pub mod machine;
pub mod sample;
pub mod stamps;
pub mod tree;
pub mod watched;

use std::path::Path;

use tempfile::TempDir;

use stamps::StampProgram;

pub type Result<T> = std::result::Result<T, String>;

/// Turns an I/O error into a sentence: "cannot `verb` `path`: ...".
pub fn tell<T>(verb: &str, path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| format!("cannot {verb} {}: {error}", path.display()))
}

/// A directory of our own, removed when dropped.
pub fn temporary() -> Result<TempDir> {
    tempfile::Builder::new().prefix("reloadrun-bench-").tempdir().map_err(|error| error.to_string())
}

/// All of them, each time with another one first: the one before leaves its traces in the caches.
pub fn in_turn(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| (index + round) % count)
}

/// The day, the machine and how the command is linked, for whoever reads the figures later.
pub fn circumstances(stamp: &StampProgram) -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let linked = if stamp.is_static { "statically" } else { "dynamically: the loader is measured too" };
    format!(
        "{}, Linux {}, {cores} cores. The command is linked {linked}.",
        now.split('T').next().unwrap_or(&now),
        machine::kernel()
    )
}

/// Puts text between two lines of a document, in place of what is there.
pub fn write_between(document: &Path, [begin, end]: [&str; 2], text: &str) -> Result<()> {
    let old = tell("read", document, std::fs::read_to_string(document))?;
    let parts = old.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{} has no place for a run", document.display()))?;
    tell("write", document, std::fs::write(document, [before, begin, text, end, after].concat()))
}
