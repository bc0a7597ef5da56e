//! The terminal: whether there is one, and keeping it sane.

use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use super::fd::{adopt, write_if_ready};

/// What a full-screen program switches on and a dead one leaves on (ECMA-48, xterm's control sequences), switched off:
/// each is without effect where it was off already.
///
/// The alternate screen is entered before it is left: leaving alone puts the cursor where it was when the screen was
/// last entered, in tmux and xterm also if that was long ago.
const LEAVE_FULL_SCREEN: &str = concat!(
    "\x1b[?1049h\x1b[?1049l",                       // the main screen
    "\x1b7\x1b[r\x1b8", // the whole of it scrolls; setting that moves the cursor, so it is saved
    "\x1b[?1l\x1b>",    // cursor keys and keypad as usual
    "\x1b[>4m",         // and modified keys
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l", // no mouse
    "\x1b[?1004l",      // no word of the focus
    "\x1b[?2004l",      // no brackets around what is pasted
    "\x1b[?7h",         // long lines wrap
    "\x1b[?25h",        // the cursor shows
    "\x1b(B\x1b[0m",    // letters are letters, without colour
);

/// Whether standard input is a terminal.
pub fn is_stdin() -> bool {
    stdin().is_terminal()
}

/// Whether standard error is a terminal that shows Ctrl-C as `^C`.
pub fn shows_keys() -> bool {
    let shown = LocalFlags::ECHO | LocalFlags::ECHOCTL;
    tcgetattr(std::io::stderr()).is_ok_and(|now| now.local_flags.contains(shown))
}

/// The terminal's settings as they were found.
pub struct Settings {
    found: Termios,
    /// Whether we were in the foreground when the command got the terminal.
    lent: bool,
    /// Whether it understands no control sequences.
    dumb: bool,
}

impl Settings {
    /// Those of standard input, if it is a terminal. A `dumb` one is sent no control sequences.
    pub fn of_stdin(dumb: bool) -> Option<Settings> {
        tcgetattr(stdin()).ok().map(|found| Settings { found, lent: false, dumb })
    }

    /// Notes that a command gets the terminal now.
    pub fn lend(&mut self) {
        self.lent = in_foreground();
    }

    /// Puts everything back where it has changed: a command that was killed in raw mode leaves the terminal unusable.
    /// Does nothing in the background, where the terminal is somebody else's, and nothing that could be seen if the
    /// settings are as they were found.
    pub fn restore(&self) {
        if self.lent {
            take_back();
        }
        let Ok(left) = tcgetattr(stdin()) else { return };
        if !in_foreground() || left == self.found {
            return;
        }
        // At once, and not when the output has drained: a terminal held by Ctrl-S never drains.
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.found);
        // Line by line and with an echo, a terminal was in nobody's special use.
        let ordinary = LocalFlags::ICANON | LocalFlags::ECHO;
        let lost = self.found.local_flags & ordinary & !left.local_flags;
        if !lost.is_empty() && !self.dumb {
            leave_full_screen();
        }
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Makes our group the foreground group if the one that is has died: a shell that was the command took the terminal
/// for itself and was killed. The caller must not be stopped by SIGTTOU.
fn take_back() {
    let Ok(group) = tcgetpgrp(stdin()) else { return };
    if group.as_raw() <= 0 || killpg(group, None) == Err(Errno::ESRCH) {
        let _ = tcsetpgrp(stdin(), getpgrp());
    }
}

/// To the terminal itself, whatever standard output is; at once or never.
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
