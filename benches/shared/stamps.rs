//! The command that is started, and hearing from it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::{Result, tell, temporary};

/// `stamp.rs`, compiled.
pub struct StampProgram {
    pub path: PathBuf,
    /// Without the static C library of the system it is linked dynamically, and the loader is measured too.
    pub is_static: bool,
    _directory: TempDir,
}

impl StampProgram {
    pub fn build() -> Result<StampProgram> {
        let directory = temporary()?;
        let path = directory.path().join("stamp");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/shared/stamp.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let mut said = String::new();
        for is_static in [true, false] {
            let mut command = Command::new(&rustc);
            command.args(["--edition=2024", "--crate-name=stamp", "-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols"]);
            if is_static {
                command.args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
            }
            let built = command.arg("-o").arg(&path).arg(source).output();
            let built = tell("start", Path::new(&rustc), built)?;
            if built.status.success() {
                return Ok(StampProgram { path, is_static, _directory: directory });
            }
            said = String::from_utf8_lossy(&built.stderr).into_owned();
        }
        Err(format!("cannot compile {source}:\n{said}"))
    }
}

/// Whoever starts its command again and again is not waited for any longer.
const LONGEST: Duration = Duration::from_secs(60);

/// What the command says at its start.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub at: i64,
    pub length: i64,
}

impl Stamp {
    fn of_line(line: &str) -> Option<Stamp> {
        let (at, length) = line.split_once(' ')?;
        Some(Stamp { at: at.parse().ok()?, length: length.parse().ok()? })
    }
}

/// The stamps of a command, through a FIFO: who waits at it does not disturb what is measured.
pub struct Stamps {
    pub path: PathBuf,
    fifo: File,
    _directory: TempDir,
}

impl Stamps {
    pub fn new() -> Result<Stamps> {
        let directory = temporary()?;
        let path = directory.path().join("stamps");
        tell("create", &path, mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).map_err(Into::into))?;
        // Also for writing, so that it does not end while no command runs.
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(&path);
        Ok(Stamps { fifo: tell("open", &path, fifo)?, path, _directory: directory })
    }

    /// Waits for the first stamp that is accepted; `None` if it has not come in this time.
    pub fn first(&mut self, patience: Duration, accept: impl Fn(&Stamp) -> bool) -> Result<Option<Stamp>> {
        let late = Instant::now() + patience;
        while Instant::now() < late {
            self.wait(Duration::from_millis(100));
            if let Some(stamp) = self.read()?.into_iter().find(&accept) {
                return Ok(Some(stamp));
            }
        }
        Ok(None)
    }

    /// All stamps, until none has come for this long.
    pub fn until_quiet(&mut self, quiet: Duration) -> Result<Vec<Stamp>> {
        self.until_quiet_or(quiet, Instant::now() + LONGEST)
    }

    fn until_quiet_or(&mut self, quiet: Duration, late: Instant) -> Result<Vec<Stamp>> {
        let (mut all, mut last) = (Vec::new(), Instant::now());
        while last.elapsed() < quiet && Instant::now() < late {
            self.wait(quiet.saturating_sub(last.elapsed()));
            let more = self.read()?;
            if !more.is_empty() {
                last = Instant::now();
                all.extend(more);
            }
        }
        Ok(all)
    }

    /// All stamps, until none has come for `quiet` since the first that tells this length, or until `longest` is over:
    /// then false.
    pub fn after_burst(&mut self, longest: Duration, quiet: Duration, length: i64) -> Result<(Vec<Stamp>, bool)> {
        let (mut all, late) = (Vec::new(), Instant::now() + longest);
        while Instant::now() < late {
            let new = self.until_quiet_or(quiet, late)?;
            let is_quiet = Instant::now() < late;
            all.extend(new);
            if is_quiet && all.iter().any(|stamp: &Stamp| stamp.length == length) {
                return Ok((all, true));
            }
        }
        // One that has started in time and then no more is no endless series; it has lost something.
        let is_quiet = all.last().is_none_or(|stamp| monotonic_ns() - stamp.at > quiet.as_nanos() as i64);
        Ok((all, is_quiet))
    }

    fn wait(&self, most: Duration) {
        let mut polled = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        // Interrupted or not, what counts is what can be read.
        let _ = poll(&mut polled, PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX));
    }

    /// The stamps that are there. Each is written at once, so none is there in part.
    pub fn read(&mut self) -> Result<Vec<Stamp>> {
        let mut buffer = [0; 4096];
        let count = match self.fifo.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(format!("cannot read {}: {error}", self.path.display())),
        };
        Ok(String::from_utf8_lossy(&buffer[..count]).lines().filter_map(Stamp::of_line).collect())
    }
}

pub fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
