//! The promises, tested on the program itself, over its event stream. One binary; each module is named by a
//! behaviour.

mod applications;
mod bad_input;
mod bytecode;
mod comings_and_goings;
mod config_file;
mod config_maps;
mod ends;
mod lockfile;
mod on_exit;
mod output;
mod ranks;
mod readme;
mod restart;
mod saves;
mod support;
mod trees;
mod watching;
