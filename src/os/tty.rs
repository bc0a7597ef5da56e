//! The terminal: whether there is one, and keeping it sane.

use std::io::{IsTerminal, stdin};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// Whether standard input is a terminal.
pub fn is_stdin() -> bool {
    stdin().is_terminal()
}

/// The terminal's settings as they were found.
pub struct Settings(Termios);

impl Settings {
    /// Those of standard input, if it is a terminal.
    pub fn of_stdin() -> Option<Settings> {
        tcgetattr(stdin()).ok().map(Settings)
    }

    /// Sets them again where they have changed: a command that was killed in raw mode leaves the terminal unusable.
    /// Does nothing in the background, where the terminal is somebody else's.
    pub fn restore(&self) {
        let in_foreground = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
        if in_foreground && tcgetattr(stdin()).is_ok_and(|now| now != self.0) {
            // At once, and not when the output has drained: a terminal held by Ctrl-S never drains.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}
