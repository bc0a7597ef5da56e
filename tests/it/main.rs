//! The promises, tested on the program itself, over its event stream. One binary; each module is named by a
//! behaviour.

mod applications;
mod bad_input;
mod bytecode;
mod config_file;
mod ends;
mod lockfile;
mod on_exit;
mod output;
mod own_outputs;
mod ranks;
mod readme;
mod restart;
mod support;
mod terminal;
mod tmux;
mod watching;
