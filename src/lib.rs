//! Runs a command and restarts it when the files it depends on change.
//!
//! ```text
//!  terminal / container runtime / CI
//!    |  signals, stdin
//!  supervisor   runs no user code, reads no events of files, never restarts itself
//!    |  reports up, directives down
//!  child        one per generation: starts the command, watches, exits with 3 on a change
//!    |
//!  command      the user's program and all its descendants
//! ```
//!
//! # Ranks
//! A file imports only from lower ranks; a test (`tests/it/ranks.rs`) checks it against this table.
//!
//! ```text
//! 8 main lib        the program; this page
//! 7 run             chooses the role of this invocation: run, explain or print what is watched
//! 6 cli             reads the command line and the config file into a Config
//! 6 smoke           a run in CI: watched from outside, checked and judged
//! 5 supervisor      keeps what survives a restart
//! 5 child           runs one generation
//! 5 client          asks a run
//! 5 outlet          answers HTTP requests about a run, in a process of its own
//! 5 print_watched   runs a command once and prints the files it names
//! 4 advice command bytecode heartbeat ready strays watch report
//! 3 filter listen settle stop restart remedy protocol control
//! 2 config event damping discover ignore_files program
//! 1 os pattern probe degraded  system calls and all unsafe code; patterns; probes; limitations that are reported
//! 0 address change environment escape generation exit_code error jitter verdict
//! ```
//!
//! # Words
//! supervisor, child, command, generation, heartbeat, pulse, change, change set, settle, stop sequence, grace,
//! snapshot, filter, rule, backend.

mod address;
mod advice;
mod bytecode;
mod change;
mod child;
mod cli;
mod client;
mod command;
mod config;
mod control;
mod damping;
mod degraded;
mod discover;
mod environment;
mod error;
mod escape;
mod event;
mod exit_code;
mod filter;
mod generation;
mod heartbeat;
mod ignore_files;
mod jitter;
mod listen;
mod os;
#[cfg(feature = "outlet")]
mod outlet;
mod pattern;
mod print_watched;
mod probe;
mod program;
mod protocol;
mod ready;
mod remedy;
mod report;
mod restart;
mod run;
mod settle;
mod smoke;
mod stop;
mod strays;
mod supervisor;
mod verdict;
mod watch;

pub use exit_code::ExitCode;
pub use run::run;
