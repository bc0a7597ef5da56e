//! Which files a command and all its descendants ask for: seccomp's user notification. A filter sends every system call
//! that names a file to a listener; a thread reads the path and lets the call go on. The command cannot tell.
//!
//! Why this mechanism, what it costs and where it ends: `docs/decisions/0025-what-a-command-reads.md`.

mod calls;
mod deposit;
mod found;
mod gate;
mod install;
mod listener;
mod program;
mod rights;
mod stand_in;

pub use calls::{Access, Gap};
pub use deposit::{deposit, leave_with};
pub use found::{Found, Sighting};
pub use gate::{Gate, Guard, gate};
pub use install::{Installation, Performed, Received, Receiver, Untraceable, prepare};
pub use listener::Listener;
pub use rights::gains_rights;
