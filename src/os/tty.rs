//! The terminal: whether there is one, and keeping it sane.

use std::io::{IsTerminal, stdin};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

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

    /// Sets them again: a command that was killed in raw mode leaves the terminal unusable.
    pub fn restore(&self) {
        // From a background group tcsetattr(3) would stop us with SIGTTOU, unless that is blocked.
        let mut ttou = SigSet::empty();
        ttou.add(Signal::SIGTTOU);
        let mut before = SigSet::empty();
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ttou), Some(&mut before));
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.0);
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}
