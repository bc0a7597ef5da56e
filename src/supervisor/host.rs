//! What lies above the supervisor.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::discover::Kept;
use crate::exit_code::{ChildEnd, ExitCode};
use crate::listen::OutletSocket;
use crate::os::signals::Signal;
use crate::protocol::Ties;

/// What an outlet has from its supervisor.
#[derive(Debug)]
pub struct OutletTies<'a> {
    /// Where it asks the run, as any client of the control socket does.
    pub connection: OwnedFd,
    /// Where it is asked.
    pub sockets: &'a [OutletSocket],
}

/// What lies above the supervisor: where configurations come from, and what a child is.
pub trait Host {
    /// The configuration in force.
    fn config(&self) -> &Config;

    /// Reads the configuration anew and puts it in force.
    ///
    /// # Errors
    /// What is wrong with it, one sentence each; then the one before stays in force.
    fn reload(&mut self) -> std::result::Result<(), Vec<String>>;

    /// The file of the configuration (the config file, an env file) that is not as it was when it was last read.
    fn source_moved_on(&self) -> Option<PathBuf>;

    /// Whether a change of this file counts.
    fn counts(&self, path: &Path) -> bool;

    /// Whether a change of this path would count, and what it leads to, in words, with what is known of the files of the
    /// command. May take long, and is for a process that does nothing else.
    fn explain(&self, path: &Path, known: Kept) -> (bool, String);

    /// Whether the caller of reloadrun ignored a signal.
    fn caller_ignores(&self, signal: Signal) -> bool;

    /// Is a child, in a process of its own.
    fn be_child(&self, ties: Ties) -> ChildEnd;

    /// Is the outlet, in a process of its own, until the connection ends.
    fn be_outlet(&self, ties: OutletTies<'_>) -> ExitCode;
}
