//! The supervisor: runs no user code, watches nothing, never restarts itself.
//!
//! The machine decides, the driver does; a child is started through the [`Host`], so that neither side knows the
//! other.

mod child_process;
mod driver;
mod job;
mod machine;
mod signals;

pub use driver::{Host, run};
pub use signals::settle as settle_signals;
