//! `probe floor DIR -- COMMAND [ARGUMENT]...`: the minimal program that restarts a command on a save, as a baseline.
//!
//! Raw inotify on DIR and all below, then posix_spawn(3); on every close after writing and every rename into place
//! SIGTERM, waitpid(2), posix_spawn(3) again. It has no filter, no waiting for complete saves, no output, ignores new
//! directories, and leaves other processes of the command running.

use std::env::{ArgsOs, vars_os};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawnp};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::Ended;

/// Runs until a signal ends it.
pub fn run(mut words: ArgsOs) -> Ended {
    let directory = PathBuf::from(words.next().ok_or("floor needs a DIR")?);
    let command = match words.next() {
        Some(dashes) if dashes == "--" => words.map(|word| c_string(word.into_vec())).collect::<Result<Vec<_>, _>>()?,
        _ => return Err("floor needs -- before the command".into()),
    };
    let environment = vars_os().map(|(key, value)| c_string([key.into_vec(), value.into_vec()].join(&b'=')));
    let launch = Launch { command, environment: environment.collect::<Result<_, _>>()? };
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(said)?;
    watch(&inotify, &directory)?;
    let mut pid = launch.spawn()?;
    loop {
        // One read takes all events of one save; only the relevant masks were requested.
        inotify.read_events().map_err(said)?;
        kill(pid, Signal::SIGTERM).map_err(said)?;
        waitpid(pid, None).map_err(said)?;
        pid = launch.spawn()?;
    }
}

struct Launch {
    command: Vec<CString>,
    environment: Vec<CString>,
}

impl Launch {
    fn spawn(&self) -> Result<Pid, String> {
        let program = self.command.first().ok_or("floor needs a command")?;
        let actions = PosixSpawnFileActions::init().map_err(said)?;
        let attributes = PosixSpawnAttr::init().map_err(said)?;
        posix_spawnp(program, &actions, &attributes, &self.command, &self.environment).map_err(said)
    }
}

fn watch(inotify: &Inotify, directory: &Path) -> Ended {
    inotify.add_watch(directory, AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO).map_err(said)?;
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            watch(inotify, &entry.path())?;
        }
    }
    Ok(())
}

fn c_string(bytes: Vec<u8>) -> Result<CString, String> {
    CString::new(bytes).map_err(|error| error.to_string())
}

fn said(errno: Errno) -> String {
    errno.desc().to_lowercase()
}
