//! The promises, tested on the program itself, over its event stream. One binary; each module is named by a
//! behaviour.

mod applications;
mod bad_input;
mod bytecode;
mod comings_and_goings;
mod config_file;
mod config_maps;
mod directories;
mod ends;
mod hostile;
mod init;
mod limits;
mod lockfile;
mod mounts;
mod names;
mod on_exit;
mod output;
mod own_outputs;
mod patterns;
#[path = "../torture/random.rs"]
mod random;
mod ranks;
mod readme;
mod restart;
mod saves;
mod support;
mod terminal;
mod tmux;
mod trees;
mod trust;
mod watching;
