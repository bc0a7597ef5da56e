//! The supervisor: runs no user code, watches nothing, never restarts itself.
//!
//! The machine decides, the driver does; a child is started through the [`Host`], so that neither side knows the
//! other.

mod behind;
mod child_process;
mod driver;
mod facts;
mod host;
mod job;
mod keyboard;
mod life;
mod lives;
mod machine;
mod outlet_process;
mod parent;
mod picture;
mod reception;
mod remedies;
mod server;
mod signals;
mod step;
mod succession;
mod sweep;
mod tally;
mod upward;
mod waits;
mod wishes;

pub use driver::run;
pub use host::{Host, OutletTies};
pub use parent::Parent;
pub use signals::{passed_on as signals_passed_on, settle as settle_signals};
