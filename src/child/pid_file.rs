//! The file that names the command's main process (`--pidfile`), and the process that it names.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::main_process::{Found, Input, MainProcess, Output, PATIENCE};
use crate::os;
use crate::os::process::own_pid;
use crate::os::tree::Process;

/// A pid and what may follow it on other lines.
const MOST_BYTES: u64 = 4096;

/// The command's main process, by the file that names it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    machine: MainProcess,
    /// Becomes readable when the main process ends, whoever its parent is.
    end: Option<OwnedFd>,
}

impl PidFile {
    /// A command whose first process has just been started.
    pub fn new(path: &Path, first: i32) -> PidFile {
        PidFile { path: path.to_owned(), machine: MainProcess::new(first), end: None }
    }

    /// The main process, if it is known.
    pub fn main(&self) -> Option<i32> {
        self.machine.pid()
    }

    /// Whether it was told that no main process is known.
    pub fn is_unknown(&self) -> bool {
        self.machine.is_unknown()
    }

    /// When the file is to be looked at.
    pub fn due(&self) -> Option<Instant> {
        self.machine.next_look()
    }

    /// What becomes readable when the main process ends. `None` where the system has no such thing.
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// Whether the main process has ended and is not ours to collect.
    pub fn ended_elsewhere(&self) -> bool {
        let ended = |end| os::fd::wait_readable([end], Some(Instant::now())).is_ok_and(|[ended]| ended);
        let is_ours = |pid| Process::of(pid).is_some_and(|process| process.parent == own_pid());
        self.end().is_some_and(ended) && !self.main().is_some_and(is_ours)
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        let outputs = self.machine.step(input, Instant::now());
        self.end = match (self.machine.pid(), self.end.take()) {
            (Some(pid), _) if outputs.contains(&Output::Follow(pid)) => os::tree::end_of(pid),
            (Some(_), end) => end,
            (None, _) => None,
        };
        outputs
    }

    /// Looks at the file. These are the living processes of the command's tree.
    pub fn look(&self, tree: &[Process]) -> Found {
        let pid = match read(&self.path) {
            Ok(pid) => pid,
            Err(found) => return found,
        };
        if tree.iter().any(|process| process.pid == pid) {
            Found::Ours(pid)
        } else if Process::of(pid).is_none_or(|process| process.is_dead()) {
            Found::Ended(pid)
        } else {
            Found::Foreign(pid)
        }
    }

    /// Why no main process is known, as the beginning of a sentence.
    pub fn why(&self, found: &Found) -> String {
        let path = self.path.display();
        let within = humantime::format_duration(PATIENCE);
        match found {
            Found::Missing => format!("the command wrote no pid into {path} within {within} (--pidfile)"),
            Found::Unreadable(reason) => format!("{path} cannot be read ({reason}; --pidfile)"),
            Found::Garbage(text) => format!("{path} does not begin with a pid but with {text:?} (--pidfile)"),
            Found::Ended(pid) => {
                format!("{path} names process {pid}, which does not run (--pidfile); it may be an old file")
            }
            Found::Foreign(pid) => {
                format!("{path} names process {pid}, which the command did not start (--pidfile)")
            }
            Found::Ours(pid) => format!("{path} names process {pid}"),
        }
    }
}

/// Another program wrote the file: only a regular one is opened, because the open of a FIFO would wait.
fn read(path: &Path) -> Result<i32, Found> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Found::Missing,
        _ => Found::Unreadable(os::reason(error)),
    };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Found::Unreadable("it is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// The pid stands on the first line; PostgreSQL writes more on the others.
fn parse(text: &str) -> Result<i32, Found> {
    let first = text.trim_start().lines().next().unwrap_or_default().trim_end();
    if first.is_empty() {
        return Err(Found::Missing);
    }
    let garbage = || Found::Garbage(first.chars().take(20).collect());
    first.parse().ok().filter(|pid| *pid > 0).ok_or_else(garbage)
}

#[cfg(test)]
mod tests {
    use super::{Found, parse};

    #[test]
    fn the_pid_stands_on_the_first_line() {
        for (text, pid) in [("7\n", 7), ("4711", 4711), (" 12 \r\n", 12), ("99\n/var/lib/db\n5432\n", 99), ("\n8\n", 8)]
        {
            assert_eq!(parse(text), Ok(pid), "{text:?}");
        }
        for text in ["", " \n"] {
            assert_eq!(parse(text), Err(Found::Missing), "{text:?}");
        }
        for text in ["0", "-7", "7 8", "pid", "99999999999", "\u{0}7"] {
            assert!(matches!(parse(text), Err(Found::Garbage(_))), "{text:?}");
        }
    }
}
