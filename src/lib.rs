//! Runs a command and restarts it when the files it depends on change.
//!
//! ```text
//!  terminal / container runtime / CI
//!    |  signals, stdin
//!  supervisor   runs no user code, watches nothing, never restarts itself
//!    |  reports up, directives down
//!  child        one per generation: hosts the command, watches, leaves with 3 on a change
//!    |
//!  command      the user's program and all its descendants
//! ```
//!
//! # Ranks
//! A file imports only from lower ranks; a test (`tests/it/ranks.rs`) checks it against this table.
//!
//! ```text
//! 8 main lib        the program; this page
//! 7 run             an invocation becomes a role
//! 6 cli             words and keys become a Config
//! 5 supervisor      holds what survives a restart
//! 5 child           hosts one generation
//! 4 advice command bytecode heartbeat strays watch report
//! 3 filter settle stop restart remedy protocol
//! 2 config event damping ignore_files program
//! 1 os pattern degraded   the operating system, all unsafe; patterns; what can be worse than it should be
//! 0 change escape generation exit_code error
//! ```
//!
//! # Words
//! supervisor, child, command, generation, heartbeat, pulse, change, change set, settle, stop sequence, grace,
//! snapshot, filter, rule, backend.

mod advice;
mod bytecode;
mod change;
mod child;
mod cli;
mod command;
mod config;
mod damping;
mod degraded;
mod error;
mod escape;
mod event;
mod exit_code;
mod filter;
mod generation;
mod heartbeat;
mod ignore_files;
mod os;
mod pattern;
mod program;
mod protocol;
mod remedy;
mod report;
mod restart;
mod run;
mod settle;
mod stop;
mod strays;
mod supervisor;
mod watch;

pub use exit_code::ExitCode;
pub use run::run;
