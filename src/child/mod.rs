//! The child: one per generation. Hosts the command, watches, and leaves with 3 when something changed.
//!
//! The machine decides, the driver does.

mod digest;
mod driver;
mod frozen;
mod hold;
mod inbox;
mod job;
mod launcher;
mod left_behind;
mod machine;
mod main_process;
mod pause;
mod pid_file;
mod readiness;
mod rollout;
mod signalled;
mod standby;
mod step;
mod tracing;
mod watch_thread;

pub use driver::run;
