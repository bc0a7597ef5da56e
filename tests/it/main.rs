//! The promises, tested on the program itself, over its event stream. One binary; each module is named by a
//! behaviour.

mod restart;
mod support;
