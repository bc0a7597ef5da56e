//! All exit codes, and the only place that turns an end into a number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit code of a process.
///
/// The numbers follow the shell (POSIX.1-2017, XCU 2.8.2): 126 cannot be run, 127 not found,
/// 128+n ended by signal n; 125 for the wrapper's own failure as in `env`, `nohup` and `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExitCode(u8);

impl ExitCode {
    /// Success.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// A smoke run has failed, and nothing has an exit code of its own.
    pub const FAILED: ExitCode = ExitCode(1);
    /// `--explain`: a change of this path would not restart.
    pub const NOT_WATCHED: ExitCode = ExitCode(1);
    /// A flag, a pattern or the config file is wrong; nothing was started.
    pub const USAGE: ExitCode = ExitCode(2);
    /// Used between child and supervisor only: a watched file changed, start the next generation.
    pub const RELOAD: ExitCode = ExitCode(3);
    /// A verb found no run that is meant.
    pub const NO_SUCH_RUN: ExitCode = ExitCode(3);
    /// `wait`: the generation that has the saves failed, or the run has ended.
    pub const NOT_LIVE: ExitCode = ExitCode(1);
    /// `wait`: whether the saves are live cannot be known.
    pub const UNPROVEN: ExitCode = ExitCode(4);
    /// `wait`: the time is up.
    pub const TIME_IS_UP: ExitCode = ExitCode(124);
    /// reloadrun itself failed.
    pub const OWN_FAILURE: ExitCode = ExitCode(125);
    /// The command was found and cannot be run.
    pub const CANNOT_RUN: ExitCode = ExitCode(126);
    /// The command was not found.
    pub const NOT_FOUND: ExitCode = ExitCode(127);

    /// 128+n, for a process that signal `n` killed.
    pub fn of_signal(number: i32) -> ExitCode {
        ExitCode(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }

    /// The number, 0 to 255.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.0)
    }
}

/// How the command ended, or why it could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStatus {
    /// It exited with this code.
    Exited(u8),
    /// A signal killed it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// The signal's name, `SIGSEGV`.
        name: String,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It was found and cannot be run; the text says why.
    CannotRun(String),
    /// It was not found; the text says where it was searched for.
    NotFound(String),
}

impl CommandStatus {
    /// The exit code of reloadrun for this end.
    pub fn code(&self) -> ExitCode {
        match self {
            CommandStatus::Exited(code) => ExitCode(*code),
            CommandStatus::Signaled { signal, .. } => ExitCode::of_signal(*signal),
            CommandStatus::CannotRun(_) => ExitCode::CANNOT_RUN,
            CommandStatus::NotFound(_) => ExitCode::NOT_FOUND,
        }
    }

    /// Whether this signal killed it.
    pub fn is_of(&self, number: i32) -> bool {
        matches!(self, CommandStatus::Signaled { signal, .. } if *signal == number)
    }

    /// Whether the command ran at all.
    pub fn ran(&self) -> bool {
        matches!(self, CommandStatus::Exited(_) | CommandStatus::Signaled { .. })
    }
}

/// A phrase to follow the command's name: "exited with 1", "was killed by SIGSEGV".
impl fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandStatus::Exited(0) => f.write_str("exited with 0 (success)"),
            CommandStatus::Exited(code) => write!(f, "exited with {code}"),
            CommandStatus::Signaled { name, core: true, .. } => write!(f, "was killed by {name} (core dumped)"),
            CommandStatus::Signaled { name, .. } => write!(f, "was killed by {name}"),
            CommandStatus::CannotRun(why) => write!(f, "cannot be run: {why}"),
            CommandStatus::NotFound(why) => write!(f, "was not found: {why}"),
        }
    }
}

/// How a child exits. The report pipe carries the same information; the exit code is what other tools can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnd {
    /// A watched file or the config file changed.
    Reload,
    /// It was asked to end, and everything it started is gone.
    Ended,
    /// It failed, or lost its supervisor.
    Failed,
}

impl ChildEnd {
    /// The exit code of the child.
    pub fn code(self) -> ExitCode {
        match self {
            ChildEnd::Reload => ExitCode::RELOAD,
            ChildEnd::Ended => ExitCode::SUCCESS,
            ChildEnd::Failed => ExitCode::OWN_FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CommandStatus, ExitCode};

    #[test]
    fn every_exit_code_of_a_command_is_passed_on_unchanged() {
        for code in 0..=u8::MAX {
            assert_eq!(CommandStatus::Exited(code).code().number(), code);
        }
    }

    #[test]
    fn an_end_by_signal_n_is_128_plus_n() {
        for signal in 1..=64 {
            let status = CommandStatus::Signaled { signal, name: String::new(), core: false };
            assert_eq!(i32::from(status.code().number()), 128 + signal);
        }
    }

    #[test]
    fn a_command_that_cannot_be_started_has_the_exit_codes_of_a_shell() {
        assert_eq!(CommandStatus::CannotRun(String::new()).code(), ExitCode::CANNOT_RUN);
        assert_eq!(CommandStatus::NotFound(String::new()).code(), ExitCode::NOT_FOUND);
        assert_eq!((ExitCode::CANNOT_RUN.number(), ExitCode::NOT_FOUND.number()), (126, 127));
    }
}
