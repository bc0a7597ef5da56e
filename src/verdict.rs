//! Why a smoke run has failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a smoke run has failed: the word in events and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The server was not ready in time (`--ready-timeout`).
    NotReady,
    /// It ended before it was ready, or was not prepared.
    DiedBeforeReady,
    /// It ended, or was started again, while the check ran.
    DiedDuringCheck,
    /// Somebody else answers at the address of the probe.
    PortTaken,
    /// What was touched led to no new generation, or a request failed meanwhile.
    ReloadFailed,
    /// The check has failed.
    CheckFailed,
    /// Something is left after the end: a process, or somebody at the port.
    Leaked,
    /// The time for all of it is up (`--deadline`).
    Deadline,
    /// A signal has ended it.
    Interrupted,
    /// reloadrun itself has failed, or could not start.
    OwnFailure,
}

impl Reason {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotReady => "not_ready",
            Reason::DiedBeforeReady => "died_before_ready",
            Reason::DiedDuringCheck => "died_during_check",
            Reason::PortTaken => "port_taken",
            Reason::ReloadFailed => "reload_failed",
            Reason::CheckFailed => "check_failed",
            Reason::Leaked => "leaked",
            Reason::Deadline => "deadline",
            Reason::Interrupted => "interrupted",
            Reason::OwnFailure => "own_failure",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
