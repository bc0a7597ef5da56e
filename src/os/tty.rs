//! The terminal: its settings and its foreground process group, and how to restore them.

use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::killpg;
use nix::sys::stat::fstat;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use super::fd::{adopt, read_some, wait_readable, write_if_ready};

/// Switches off the modes that a killed full-screen program leaves on (ECMA-48, xterm's control sequences). Each
/// sequence has no effect if its mode is off.
///
/// The alternate screen is entered before it is left. Leaving alone would move the cursor to its position at the last
/// entry, in tmux and xterm even if the screen is not active.
const LEAVE_FULL_SCREEN: &str = concat!(
    "\x1b[?1049h\x1b[?1049l",                       // the main screen
    "\x1b7\x1b[r\x1b8",                             // the whole screen scrolls; this moves the cursor, so it is saved
    "\x1b[?1l\x1b>",                                // cursor keys and keypad as usual
    "\x1b[>4m",                                     // modified keys as usual
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l", // no mouse
    "\x1b[?1004l",                                  // no focus events
    "\x1b[?2004l",                                  // no bracketed paste
    "\x1b[?7h",                                     // long lines wrap
    "\x1b[?25h",                                    // the cursor shows
    "\x1b(B\x1b[0m",                                // the normal character set, no colour
);

/// Whether standard input is a terminal.
pub fn is_stdin() -> bool {
    stdin().is_terminal()
}

/// Whether this process has a controlling terminal, whose end it would hear of.
pub fn is_controlled() -> bool {
    File::options()
        .read(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open("/dev/tty")
        .is_ok()
}

/// Whether standard error is a terminal that shows Ctrl-C as `^C`.
pub fn shows_keys() -> bool {
    let shown = LocalFlags::ECHO | LocalFlags::ECHOCTL;
    tcgetattr(std::io::stderr()).is_ok_and(|now| now.local_flags.contains(shown))
}

/// The terminal's settings at the start of reloadrun.
pub struct Settings {
    found: Termios,
    /// Whether reloadrun was in the foreground when the command was started.
    lent: bool,
    /// Whether it understands no control sequences.
    dumb: bool,
    /// The settings in which we read single keys, if we do.
    own: Option<Termios>,
}

impl Settings {
    /// Reads the settings of standard input; `None` if it is not a terminal. A `dumb` one gets no control sequences.
    pub fn of_stdin(dumb: bool) -> Option<Settings> {
        tcgetattr(stdin()).ok().map(|found| Settings { found, lent: false, dumb, own: None })
    }

    /// From now on, while we are in the foreground, the terminal gives us single keys and does not show them. Signals by keys
    /// stay as they are.
    pub fn read_keys(&mut self) {
        let mut own = self.found.clone();
        own.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO);
        // A read never waits.
        own.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        own.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        self.own = Some(own);
        self.take_keys();
    }

    /// Takes up reading keys again, in the foreground.
    pub fn take_keys(&self) {
        if let Some(own) = self.own.as_ref().filter(|_| in_foreground()) {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, own);
        }
    }

    /// Reads no keys for now: somebody else gets the terminal as it was.
    pub fn leave_keys(&self) {
        if self.own.is_some() && in_foreground() {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.found);
        }
    }

    /// Notes, before a command starts, whether it gets the terminal.
    pub fn lend(&mut self) {
        self.lent = in_foreground();
    }

    /// Restores settings that have changed: a command that was killed in raw mode leaves the terminal unusable. Does
    /// nothing in the background, where the terminal belongs to another job. Has no visible effect if the settings are
    /// unchanged.
    pub fn restore(&self) {
        if self.lent {
            take_back();
        }
        let Ok(left) = tcgetattr(stdin()) else { return };
        let wanted = self.own.as_ref().unwrap_or(&self.found);
        if !in_foreground() || left == *wanted {
            return;
        }
        // TCSANOW does not wait for pending output, which a terminal stopped by Ctrl-S never finishes.
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, wanted);
        // If line mode or echo were on and are off now, a full-screen program probably left them off.
        let ordinary = LocalFlags::ICANON | LocalFlags::ECHO;
        let lost = wanted.local_flags & ordinary & !left.local_flags;
        if !lost.is_empty() && !self.dumb {
            leave_full_screen();
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        self.leave_keys();
    }
}

/// Reads what is typed at the terminal of standard input, without waiting.
#[derive(Debug)]
pub struct KeyReader {
    terminal: OwnedFd,
}

impl KeyReader {
    /// Opens it again, because the open file is shared with the caller and must not be changed. `None` if it is no terminal, or
    /// cannot be opened.
    pub fn of_stdin() -> Option<KeyReader> {
        let device = |descriptor: BorrowedFd<'_>| fstat(descriptor).ok().map(|stat| stat.st_rdev);
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let open = |path: &str| File::options().read(true).custom_flags(flags).open(path).map(OwnedFd::from).ok();
        is_stdin().then_some(())?;
        let again = open("/proc/self/fd/0").filter(|again| device(again.as_fd()) == device(stdin().as_fd()));
        // After `su`, the terminal can be opened by this name only.
        let terminal = again.or_else(|| open("/dev/tty"))?;
        Some(KeyReader { terminal })
    }

    /// What to wait for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }

    /// Whether what is typed is for us.
    pub fn is_ours(&self) -> bool {
        in_foreground()
    }

    /// Whether something was typed, or the terminal is gone.
    pub fn is_ready(&self) -> bool {
        matches!(wait_readable([self.terminal.as_fd()], Some(Instant::now())), Ok([true]))
    }

    /// What was typed.
    pub fn read(&mut self) -> Vec<u8> {
        let mut buffer = [0; 64];
        let count = read_some(&self.terminal, &mut buffer).unwrap_or(0);
        buffer[..count].to_vec()
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Makes our process group the foreground group if the present one has ended, for example a shell as the command that
/// took the terminal and was killed. The caller must ignore or block SIGTTOU.
fn take_back() {
    let Ok(group) = tcgetpgrp(stdin()) else { return };
    if group.as_raw() <= 0 || killpg(group, None) == Err(Errno::ESRCH) {
        let _ = tcsetpgrp(stdin(), getpgrp());
    }
}

/// Writes to the terminal itself, not to standard output, and gives up if that would block.
fn leave_full_screen() {
    if let Ok(terminal) = adopt(0) {
        write_if_ready(terminal.as_fd(), LEAVE_FULL_SCREEN.as_bytes());
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}
