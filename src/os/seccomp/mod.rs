//! Which files a command and all its descendants ask for: seccomp's user notification. A filter sends every system call
//! that names a file to a listener; a thread reads the path and lets the call go on. The command cannot tell.
//!
//! Why this mechanism, what it costs and where it ends: `docs/decisions/0025-what-a-command-reads.md`.

mod calls;
mod found;
mod install;
mod listener;
mod program;
mod rights;
mod trial;

use nix::errno::Errno;

pub use calls::{Access, Gap};
pub use found::{Found, Sighting};
pub use install::{Installation, Performed, Received, Receiver, prepare, take};
pub use listener::Listener;
pub use rights::gains_rights;
pub use trial::trial;

/// Why a command cannot be traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untraceable {
    /// There is no table of system calls for this machine.
    Architecture,
    /// The kernel did not take the filter. EBUSY: somebody else listens already. EINVAL, ENOSYS: it has no user
    /// notification. EPERM, EACCES: it is forbidden.
    Filter(Errno),
    /// The listener could not be handed over.
    HandOver(Errno),
    /// The process ended before it came to its filter.
    NeverBegun,
    /// The memory of a traced process cannot be read.
    Memory,
    /// No call arrived in time.
    Silence,
}
