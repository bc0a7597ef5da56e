//! A terminal for tests: a pty with the started program in the foreground of a new session.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};

use super::session::DEADLINE;

/// The polling interval.
const STEP: Duration = Duration::from_millis(4);

/// How often the reader checks whether it must end.
const LOOK_MS: u8 = 20;

/// The master side of a terminal.
#[derive(Debug)]
pub struct Terminal {
    master: Option<Arc<OwnedFd>>,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Creates a terminal of 24 lines with 80 columns.
    pub fn new() -> Terminal {
        let (master, slave) = pty().expect("a terminal is available");
        let master = Arc::new(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let reader = {
            let (master, shown, over) = (Arc::clone(&master), Arc::clone(&shown), Arc::clone(&over));
            std::thread::spawn(move || read(&master, &shown, &over))
        };
        let terminal = Terminal { master: Some(master), slave, shown, over, reader: Some(reader) };
        terminal.resize(24, 80);
        terminal
    }

    /// Gives a command this terminal as descriptors 0, 1 and 2. It must be started through `setsid --ctty` to be in the
    /// foreground.
    pub fn give_to(&self, command: &mut Command) {
        let own = || self.slave.try_clone().expect("a descriptor is available");
        command.stdin(own()).stdout(own()).stderr(own()).env("TERM", "xterm");
    }

    /// Types a text.
    pub fn press(&self, keys: &str) {
        let master = self.master.as_ref().expect("it is open").try_clone().expect("a descriptor is available");
        File::from(master).write_all(keys.as_bytes()).expect("a terminal takes what is typed");
    }

    /// All output so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("the reader does not panic")).into_owned()
    }

    /// Waits until this text was shown that many times.
    pub fn wait_shown(&self, what: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.shown().matches(what).count() < times {
            assert!(Instant::now() < deadline, "{what:?} was not shown {times} times:\n{:?}", self.shown());
            std::thread::sleep(STEP);
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let sizes = ["rows".to_owned(), rows.to_string(), "columns".to_owned(), columns.to_string()];
        let slave = self.slave.try_clone().expect("a descriptor is available");
        let status = Command::new("stty").args(sizes).stdin(slave).status();
        assert!(status.is_ok_and(|status| status.success()), "stty fails");
    }

    /// The terminal's settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("it is a terminal")
    }

    /// Closes the window.
    pub fn hang_up(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.master = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Creates both sides, close-on-exec from the start: other tests start programs at the same time, and a terminal is
/// only hung up when no process has it open.
pub fn pty() -> nix::Result<(OwnedFd, OwnedFd)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let slave = open(ptsname_r(&master)?.as_str(), flags, Mode::empty())?;
    Ok((master.into(), slave))
}

fn read(master: &OwnedFd, shown: &Mutex<Vec<u8>>, over: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(LOOK_MS)).unwrap_or(0) == 0 {
            continue;
        }
        match nix::unistd::read(master.as_fd(), &mut buffer) {
            Ok(count @ 1..) => {
                shown.lock().expect("no thread panics while it holds the lock").extend_from_slice(&buffer[..count]);
            }
            // No process has the slave open at the moment.
            _ => std::thread::sleep(STEP),
        }
    }
}
