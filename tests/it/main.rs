//! The promises, tested on the program itself, over its event stream. One binary; each module is named by a
//! behaviour.

mod bad_input;
mod ends;
mod lockfile;
mod applications;
mod restart;
mod support;
mod watching;
