//! `--print-watched`: runs the command once, traced, and prints what it read, wrote, missed and listed.
//!
//! Two processes, as in a run that restarts: the *holder*, which is the process that was started, and the *host*, which
//! starts the command, serves its calls and prints. The holder has the listener open and never serves it. When the host
//! is killed, the calls of the command wait instead of failing with ENOSYS, until the holder has ended its processes.

mod holder;
mod host;
mod print;

pub use holder::run;
pub use print::Format;
