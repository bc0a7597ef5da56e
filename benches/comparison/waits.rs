//! Rows that are waits more than work: what is left over, and exit codes. All contenders go through them side by side.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::place::Place;
use crate::shared::Result;
use crate::shared::contender::{Contender, DEADLINE, How, Running};
use crate::shared::stamps::{StampProgram, Stamps, monotonic_ns};
use crate::shared::watched::{PATIENCE, UNTOLD};

/// Whoever has not replaced a command by then never does.
const NEVER: Duration = Duration::from_secs(20);
/// A tool that has not ended by then goes on.
const GOES_ON: Duration = Duration::from_secs(15);
/// What a tool ends after its own end, or after the last start, is gone by then.
const GONE: Duration = Duration::from_secs(2);

/// One tool's cells of these rows, in the order of [`ROWS`].
pub type Cells = [String; ROWS.len()];

pub const ROWS: [&str; 7] = [
    "processes of the command after 3 restarts (3 is right)",
    "alive after SIGTERM to the tool (0 is right)",
    "alive after `kill -9` of the tool (0 is right)",
    "command that ignores the stop signal is replaced after",
    "exit code after SIGTERM",
    "exit code when the command exits with 1",
    "exit code when the command is not found",
];

/// All contenders' cells.
pub fn measure(contenders: &[Contender], stamp: &StampProgram) -> Result<Vec<Cells>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = contenders.iter().map(|contender| scope.spawn(move || cells(contender, stamp))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a measurement has panicked".to_owned())?).collect()
    })
}

fn cells(contender: &Contender, stamp: &StampProgram) -> Result<Cells> {
    let (after_term, code) = after_term(contender)?;
    let [after_restarts, after_kill] = [after_restarts(contender)?, after_kill(contender)?];
    let [failed, not_found] = [passed_on(contender, &["false"])?, passed_on(contender, &["no-such-command"])?];
    Ok([after_restarts, after_term, after_kill, deaf(contender, stamp)?, code, failed, not_found])
}

/// A family that is up, and a tool that watches.
fn watched_family(contender: &Contender) -> Result<(Place, Running)> {
    let place = Place::new()?;
    let running = place.start_family(contender)?;
    if !place.wait_families(1, DEADLINE) {
        return Err(format!("{} has not started the command", contender.name));
    }
    std::thread::sleep(UNTOLD);
    Ok((place, running))
}

fn after_restarts(contender: &Contender) -> Result<String> {
    let (mut place, mut running) = watched_family(contender)?;
    for _ in 0..3 {
        let families = place.families();
        place.save()?;
        if !place.wait_families(families + 1, PATIENCE) {
            return Ok("it lost a save".to_owned());
        }
        std::thread::sleep(GONE);
    }
    let (members, restarts) = (place.members().len(), place.families() - 1);
    running.kill();
    Ok(if restarts == 3 { members.to_string() } else { format!("{members} after {restarts}") })
}

/// What runs, and the exit code.
fn after_term(contender: &Contender) -> Result<(String, String)> {
    let (place, mut running) = watched_family(contender)?;
    running.signal(Signal::SIGTERM)?;
    let code = running.end(GOES_ON)?.map_or("goes on".to_owned(), shown);
    std::thread::sleep(GONE);
    let alive = place.all().len();
    running.kill();
    Ok((alive.to_string(), code))
}

fn after_kill(contender: &Contender) -> Result<String> {
    let (place, mut running) = watched_family(contender)?;
    running.kill();
    std::thread::sleep(GONE);
    Ok(place.all().len().to_string())
}

/// As a shell has it in `$?`.
fn shown(status: ExitStatus) -> String {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1).to_string()
}

fn deaf(contender: &Contender, stamp: &StampProgram) -> Result<String> {
    let (mut place, mut stamps) = (Place::new()?, Stamps::new()?);
    let mut running = place.start_deaf(contender, stamp, &stamps)?;
    if stamps.first(DEADLINE, |_| true)?.is_none() {
        return Err(format!("{} has not started the command", contender.name));
    }
    std::thread::sleep(UNTOLD);
    let before = monotonic_ns();
    let length = place.save()?;
    let replaced = stamps.first(NEVER, |stamp| stamp.length == length)?;
    // The old one may be about to end.
    std::thread::sleep(Duration::from_millis(200));
    let commands = place.commands(stamp);
    running.kill();
    let Some(replaced) = replaced else { return Ok(format!("never ({} s)", NEVER.as_secs())) };
    let seconds = (replaced.at - before) as f64 / 1e9;
    let seconds = if seconds < 1.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") };
    Ok(if commands > 1 { format!("{seconds}, and {commands} run") } else { seconds })
}

/// The exit code of a tool that ends with its command, where it can.
fn passed_on(contender: &Contender, words: &[&str]) -> Result<String> {
    let place = Place::new()?;
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let mut running = contender.start_command(&place.tree, &words, How::EndsWithCommand)?;
    let ended = running.end(GOES_ON)?;
    running.kill();
    Ok(ended.map_or("it goes on".to_owned(), shown))
}
